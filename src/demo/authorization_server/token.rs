//! The token endpoint (RFC 6749 section 3.2) and the revocation endpoint (RFC 7009).
//!
//! Clients prove themselves with `client_secret_basic`, where id and secret are form-encoded first
//! (RFC 6749 section 2.3.1), or `client_secret_post`; never with both. Secrets are compared in
//! constant time, and an unknown client takes as long as a known one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::form::{Form, FormFault};
use super::grants::{Granted, Refused, SignIn};
use super::keys::sha256;
use super::{ACR, AsClient, Shared, keys, now};
use crate::core::secret::SecretString;
use crate::core::time::Timestamp;
use crate::demo::serve::{self, Answer};

/// How long an ID token may be used after its making.
const ID_TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// RFC 6749 section 5.2.
#[derive(Debug)]
struct OAuthError {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
    /// The client tried with `Authorization`: the answer names the scheme.
    challenge: bool,
}

impl OAuthError {
    const fn new(error: &'static str, description: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description, challenge: false }
    }

    const fn client(description: &'static str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, error: "invalid_client", description, challenge: true }
    }

    fn answer(self) -> Answer {
        let body = json!({ "error": self.error, "error_description": self.description });
        let mut answer = serve::json(self.status, &body);
        if self.challenge {
            let challenge = HeaderValue::from_static("Basic realm=\"token\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

impl From<FormFault> for OAuthError {
    fn from(fault: FormFault) -> Self {
        Self::new("invalid_request", fault.text())
    }
}

impl From<Refused> for OAuthError {
    fn from(refused: Refused) -> Self {
        let description = match refused {
            Refused::Unknown => "it is not known here, or it has ended",
            Refused::Expired => "it has expired",
            Refused::Replayed => "it was used before; everything that came of it has ended",
            Refused::WrongClient => "it was given to another client",
            Refused::WrongRedirectUri => "it was given for another redirect_uri",
            Refused::WrongVerifier => "the code_verifier does not match the code_challenge",
            Refused::NotNow => {
                return Self {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    ..Self::new("temporarily_unavailable", "too many grants are open")
                };
            }
        };
        Self::new("invalid_grant", description)
    }
}

/// `POST /token`.
pub(super) async fn token(shared: &Shared, request: Request<Incoming>) -> Answer {
    shared.counts.token_requests.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(shared.options.token_latency).await;
    let (headers, form) = Form::read(request).await;
    match exchange(shared, &headers, form) {
        Ok(body) => serve::json(StatusCode::OK, &body),
        Err(error) => error.answer(),
    }
}

/// `POST /revoke`.
pub(super) async fn revoke(shared: &Shared, request: Request<Incoming>) -> Answer {
    let (headers, form) = Form::read(request).await;
    match end(shared, &headers, form) {
        Ok(()) => serve::answer(StatusCode::OK, "application/json", ""),
        Err(error) => error.answer(),
    }
}

fn exchange(
    shared: &Shared,
    headers: &HeaderMap,
    form: Result<Form, FormFault>,
) -> Result<Value, OAuthError> {
    let form = form?;
    let client = authenticate(shared, headers, &form)?;
    if form.get("resource").is_some_and(|resource| resource != shared.options.audience) {
        return Err(OAuthError::new("invalid_target", "this resource is not served here"));
    }
    match form.get("grant_type") {
        Some("authorization_code") => by_code(shared, client, &form),
        Some("refresh_token") => by_refresh_token(shared, client, &form),
        Some(_) => Err(OAuthError::new("unsupported_grant_type", "authorization_code or refresh_token")),
        None => Err(OAuthError::new("invalid_request", "grant_type is missing")),
    }
}

fn by_code(shared: &Shared, client: &AsClient, form: &Form) -> Result<Value, OAuthError> {
    let needed = |name, description| form.get(name).ok_or(OAuthError::new("invalid_request", description));
    let code = needed("code", "code is missing")?;
    let redirect_uri = needed("redirect_uri", "redirect_uri is missing")?;
    let verifier = needed("code_verifier", "code_verifier is missing")?;
    let now = now();
    let granted = shared.grants().redeem(now, code, &client.id, redirect_uri, verifier)?;
    let scope = granted.sign_in.scope.clone();
    answer(shared, now, &granted, &scope, granted.sign_in.nonce.as_deref())
}

fn by_refresh_token(shared: &Shared, client: &AsClient, form: &Form) -> Result<Value, OAuthError> {
    shared.counts.refreshes.fetch_add(1, Ordering::SeqCst);
    let token =
        form.get("refresh_token").ok_or(OAuthError::new("invalid_request", "refresh_token is missing"))?;
    let now = now();
    let mut grants = shared.grants();
    // RFC 6749 section 6: the scope may narrow. Asked for too much, the token stays unused.
    let scope = match (form.get("scope"), grants.look(token)) {
        (Some(asked), Some(sign_in)) if !within(asked, &sign_in.scope) => {
            return Err(OAuthError::new("invalid_scope", "more than what was granted"));
        }
        (asked, _) => asked.map(str::to_owned),
    };
    let granted = grants.refresh(now, token, &client.id)?;
    drop(grants);
    let scope = scope.unwrap_or_else(|| granted.sign_in.scope.clone());
    answer(shared, now, &granted, &scope, None)
}

fn within(asked: &str, granted: &str) -> bool {
    asked.split_ascii_whitespace().all(|scope| granted.split_ascii_whitespace().any(|own| own == scope))
}

/// RFC 6749 section 5.1; the access token as RFC 9068 section 2.2 has it, the ID token as OpenID Connect
/// Core section 2.
fn answer(
    shared: &Shared,
    now: Timestamp,
    granted: &Granted,
    scope: &str,
    nonce: Option<&str>,
) -> Result<Value, OAuthError> {
    let failed = || OAuthError {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        ..OAuthError::new("server_error", "no token could be made")
    };
    let SignIn { client_id, subject, session_id, auth_time, .. } = &granted.sign_in;
    let lifetime = shared.options.access_token_lifetime;
    let claims = |audience: &str, lifetime| {
        json!({
            "iss": shared.options.issuer,
            "sub": subject,
            "aud": audience,
            "iat": now.as_secs(),
            "exp": now.plus(lifetime).as_secs(),
            "auth_time": auth_time.as_secs(),
            "acr": ACR,
            "sid": session_id,
        })
    };
    let with = |mut claims: Value, more: Value| {
        if let (Value::Object(claims), Value::Object(more)) = (&mut claims, more) {
            claims.extend(more);
        }
        claims
    };
    let jti = keys::random_id().ok_or_else(failed)?;
    let access = with(
        claims(&shared.options.audience, lifetime),
        json!({ "client_id": client_id, "scope": scope, "jti": jti }),
    );
    let mut body = json!({
        "access_token": shared.key.sign("at+jwt", &access).ok_or_else(failed)?,
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "scope": scope,
        "refresh_token": granted.refresh_token,
    });
    if within("openid", scope) {
        let nonce = nonce.map_or(json!({}), |nonce| json!({ "nonce": nonce }));
        let id = with(claims(client_id, ID_TOKEN_LIFETIME), nonce);
        let id = shared.key.sign("JWT", &id).ok_or_else(failed)?;
        body = with(body, json!({ "id_token": id }));
    }
    Ok(body)
}

/// Ends the grant behind a refresh token. What is not known is ended already (RFC 7009 section 2.2).
fn end(shared: &Shared, headers: &HeaderMap, form: Result<Form, FormFault>) -> Result<(), OAuthError> {
    let form = form?;
    let client = authenticate(shared, headers, &form)?;
    let token = form.get("token").ok_or(OAuthError::new("invalid_request", "token is missing"))?;
    if token.contains('.') {
        return Err(OAuthError::new("unsupported_token_type", "access tokens end by themselves"));
    }
    if shared.grants().revoke(token, &client.id) {
        shared.counts.revocations.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn authenticate<'s>(
    shared: &'s Shared,
    headers: &HeaderMap,
    form: &Form,
) -> Result<&'s AsClient, OAuthError> {
    let mut authorization = headers.get_all(header::AUTHORIZATION).iter();
    let (id, secret) = match (authorization.next(), authorization.next()) {
        (Some(_), Some(_)) => {
            return Err(OAuthError::new("invalid_request", "two Authorization headers"));
        }
        (Some(value), None) => {
            if form.get("client_secret").is_some() {
                return Err(OAuthError::new("invalid_request", "the client proves itself in two ways"));
            }
            basic(value).ok_or(OAuthError::client("Authorization is not Basic with an id and a secret"))?
        }
        (None, _) => {
            let id = form.get("client_id").ok_or(OAuthError::client("the client does not say who it is"))?;
            let secret = form.get("client_secret").ok_or(OAuthError::client("the client proves nothing"))?;
            (id.to_owned(), SecretString::from(secret))
        }
    };
    if form.get("client_id").is_some_and(|also| also != id) {
        return Err(OAuthError::new("invalid_request", "client_id and Authorization name different clients"));
    }
    let client = shared.client(&id);
    // Hashes are compared, so that neither length nor place of a difference shows in the time.
    let right = client.map_or([0; 32], |client| sha256(client.secret.expose().as_bytes()));
    let same = verify_slices_are_equal(&right, &sha256(secret.expose().as_bytes())).is_ok();
    client.filter(|_| same).ok_or(OAuthError::client("no client with this id and secret"))
}

/// `client_secret_basic` (RFC 6749 section 2.3.1).
fn basic(value: &HeaderValue) -> Option<(String, SecretString)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decoded(id)?, SecretString::new(form_decoded(secret)?)))
}

/// One form-encoded value, read as the value of a parameter; `None` when it holds a separator.
fn form_decoded(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return None;
    }
    let parameter = format!("v={text}");
    form_urlencoded::parse(parameter.as_bytes()).next().map(|(_, value)| value.into_owned())
}
