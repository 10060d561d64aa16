//! The gateway as a client of an authorization server: token, revocation and pushed authorization request
//! endpoint.
//!
//! A request to the token endpoint is sent once and never repeated: it may have been done although
//! no answer came. A revocation may be repeated (RFC 7009 section 2.1: it is idempotent). A pushed request is
//! not: the person who waits can begin again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use url::Url;

use crate::config::settings::{Client, ClientCredential, PrivateKey};
use crate::core::ids::{ClientName, IssuerName};
use crate::core::metadata::{ClientAuthentication, Endpoints};
use crate::core::secret::SecretString;
use crate::core::server_error::ServerError;
use crate::core::session::exchange::lease::FLIGHT;
use crate::core::session::oauth::answer::{self, ServerAnswer};
use crate::core::session::oauth::authentication::{
    Audience, AuthenticatedEndpoint, Authentication, Credential, Unproven, authenticate,
};
use crate::core::session::oauth::pushed::{self, PushAnswer};
use crate::core::session::oauth::request::ServerForm;
use crate::core::time::Timestamp;
use crate::core::token::Algorithm;
use crate::core::token::dpop::DPOP;
use crate::flows::Gate;
use crate::flows::keep_keys_fresh::{Means, endpoints};
use crate::flows::ports::{self, Bounds, HttpFault, Randomness};
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;
use crate::state::metrics::ServerEndpoint;

const REVOCATION_DEADLINE: Duration = Duration::from_secs(10);
const REVOCATION_ANSWER: usize = 16 * 1024;
/// Pauses before the second and each later attempt to revoke a token.
const REVOCATION_PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];

/// The client that a call is made as.
#[derive(Clone, Copy, Debug)]
pub struct ClientAtServer<'a> {
    pub client_id: &'a str,
    pub issuer: &'a IssuerName,
    pub proof: ClientProof<'a>,
}

/// What shows the AS that it is the client.
#[derive(Clone, Copy, Debug)]
pub enum ClientProof<'a> {
    /// The gateway's credential, in the way that the AS offers.
    Ours(&'a ClientCredential),
    /// What the caller brought, as it came.
    Brought(&'a Authentication),
}

impl ClientAtServer<'_> {
    /// Whether a text of the AS contains the gateway's own credential. One that the caller sent may be shown
    /// to the caller.
    fn is_repeated_in(self, text: &str) -> bool {
        match self.proof {
            ClientProof::Ours(credential) => {
                Credential::from(credential).is_repeated_in(self.client_id, text)
            }
            ClientProof::Brought(_) => false,
        }
    }
}

impl<'a> From<&'a ClientCredential> for Credential<'a> {
    fn from(credential: &'a ClientCredential) -> Self {
        match credential {
            ClientCredential::None => Self::None,
            ClientCredential::Secret(secret) => Self::Secret(secret),
            ClientCredential::PrivateKey(key) => {
                let PrivateKey { pem, algorithm, names, audience } = key;
                Self::PrivateKey { pem, algorithm: *algorithm, names, audience: *audience }
            }
        }
    }
}

impl<'a> From<&'a Client> for ClientAtServer<'a> {
    fn from(client: &'a Client) -> Self {
        Self {
            client_id: &client.client_id,
            issuer: &client.issuer,
            proof: ClientProof::Ours(&client.credential),
        }
    }
}

/// Asks the token endpoint of the client's AS, once. `proof`: a DPoP proof of the key that the access token
/// is to be bound to (RFC 9449 section 5).
pub async fn ask_token_endpoint(
    gate: &Gate,
    live: &Live,
    client: ClientAtServer<'_>,
    form: &ServerForm,
    proof: Option<&HeaderValue>,
) -> ServerAnswer {
    let whole = async {
        let (issuer, endpoints) = issuer_of(gate, live, client.issuer).await?;
        let url = endpoints.token.as_ref().ok_or("the AS publishes no token endpoint")?;
        let bounds = Bounds { deadline: FLIGHT, answer_bytes: answer::LIMIT };
        let place = place(issuer, &endpoints, url, &endpoints.token_auth);
        let mut request = post(&*gate.random, gate.clock.now(), place, client, form)?;
        if let Some(proof) = proof {
            request.headers_mut().insert(DPOP, proof.clone());
        }
        send(Means::of(gate), issuer, ServerEndpoint::Token, request, bounds).await.map_err(said)
    };
    match tokio::time::timeout(FLIGHT, whole).await {
        Ok(Ok(response)) => {
            unrepeated(answer::read(response.status(), response.headers(), response.body()), client, form)
        }
        Ok(Err(why)) => ServerAnswer::Unusable(why.into()),
        Err(_) => ServerAnswer::Unusable(said(HttpFault::Deadline).into()),
    }
}

/// Pushes an authorization request to `url`, once (RFC 9126 section 2). The client proves itself as at the
/// token endpoint.
pub(in crate::flows) async fn push_authorization_request(
    means: Means<'_>,
    random: &dyn Randomness,
    issuer: &IssuerState,
    endpoints: &Endpoints,
    url: &Url,
    client: ClientAtServer<'_>,
    form: &ServerForm,
) -> PushAnswer {
    let place = place(issuer, endpoints, url, &endpoints.token_auth);
    let request = match post(random, means.clock.now(), place, client, form) {
        Ok(request) => request,
        Err(why) => return PushAnswer::Unusable(why.into()),
    };
    let bounds = Bounds { deadline: issuer.settings.timeout, answer_bytes: pushed::LIMIT };
    match send(means, issuer, ServerEndpoint::PushedAuthorization, request, bounds).await {
        Ok(response) => {
            let answer = pushed::read(response.status(), response.headers(), response.body());
            // Nothing of the form is a secret: without pushing it would stand in the browser's address.
            let told = |said| without(said, |text| client.is_repeated_in(text));
            match answer {
                PushAnswer::InvalidClient(said) => PushAnswer::InvalidClient(told(said)),
                PushAnswer::Refused(said) => PushAnswer::Refused(told(said)),
                other => other,
            }
        }
        Err(fault) => PushAnswer::Unusable(said(fault).into()),
    }
}

/// An AS that repeats in its error what it was sent must not carry a refresh token to the page, nor anything
/// that is secret into the log.
pub(in crate::flows) fn unrepeated(
    answer: ServerAnswer,
    client: ClientAtServer<'_>,
    form: &ServerForm,
) -> ServerAnswer {
    let told = |said| without(said, |text| form.is_repeated_in(text) || client.is_repeated_in(text));
    match answer {
        ServerAnswer::InvalidGrant(said) => ServerAnswer::InvalidGrant(told(said)),
        ServerAnswer::InvalidClient(said) => ServerAnswer::InvalidClient(told(said)),
        // A short secret may be a part of some code by chance.
        ServerAnswer::Refused(said) if form.is_repeated_in(&said.error) => {
            ServerAnswer::Unusable("the AS repeated a secret in the name of its error".into())
        }
        ServerAnswer::Refused(said) => ServerAnswer::Refused(told(said)),
        other => other,
    }
}

/// What an AS said, but for texts in which it repeats what it must not.
fn without(mut said: Box<ServerError>, is_repeated_in: impl Fn(&str) -> bool) -> Box<ServerError> {
    let fit = |text: &String| !is_repeated_in(text);
    said.description = said.description.take().filter(fit);
    said.uri = said.uri.take().filter(fit);
    said.dpop_nonce = said.dpop_nonce.take().filter(fit);
    said
}

const SECRET_IS_ENCODED: &str = "client_secret_basic form-encodes some characters of this secret (RFC 6749 section 2.3.1), which not \
     every AS undoes: where it is right otherwise, take one of letters, digits, `-`, `.` and `_`";

fn changes_in_basic(secret: &str) -> bool {
    !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*'))
}

/// What else may be wrong with a secret that does not count, shown by this method.
pub(in crate::flows) fn encoding_note(credential: &ClientCredential, method: &str) -> Option<&'static str> {
    let is_changed =
        matches!(credential, ClientCredential::Secret(secret) if changes_in_basic(secret.expose()));
    (is_changed && method == "client_secret_basic").then_some(SECRET_IS_ENCODED)
}

/// Says in the log what an AS answered to the gateway's own credential, and how that was shown: it may be
/// over, or the client may be registered there with another method.
pub(in crate::flows) fn log_invalid_client(
    live: &Live,
    name: &ClientName,
    credential: &ClientCredential,
    issuer: &IssuerName,
    said: &ServerError,
) {
    let endpoints = live.issuers.by_name(issuer).and_then(|issuer| issuer.endpoints());
    let takes = endpoints.as_ref().map(|endpoints| &endpoints.token_auth);
    let method = takes.map(|takes| Credential::from(credential).method(takes));
    let note = method.and_then(|method| encoding_note(credential, method));
    let credential = Credential::from(credential);
    tracing::error!(
        client = %name,
        %issuer,
        method,
        assertion_alg = takes.and_then(|takes| credential.algorithm(takes)).map(Algorithm::name),
        assertion_audience = credential.audience().map(Audience::name),
        error_description = said.description,
        note,
        "the AS answered invalid_client: the client's credential in the configuration does not count there, or not by this \
         method, or signature, with which the client must be registered"
    );
}

/// Revokes a refresh token at the AS (RFC 7009), behind the caller's back and with a few attempts; once,
/// however often its cookie is presented.
pub fn revoke_in_background(gate: &Arc<Gate>, live: &Arc<Live>, client: &Arc<Client>, token: SecretString) {
    let fingerprint = gate.fingerprint_key.of(token.expose());
    if !gate.revoked_there.remember(fingerprint) {
        return;
    }
    let (gate, live, client) = (Arc::clone(gate), Arc::clone(live), Arc::clone(client));
    let errands = gate.errands.clone();
    errands.spawn(async move {
        let form = ServerForm::revocation(&token);
        let mut pauses = REVOCATION_PAUSES.iter();
        loop {
            match revoke(&gate, &live, &client, &form).await {
                RevocationAttempt::Done => return,
                RevocationAttempt::Impossible(why) => {
                    tracing::info!(client = %client.name, why, "a refresh token was not revoked at the AS");
                    return;
                }
                RevocationAttempt::Failed(why) => {
                    let Some(pause) = pauses.next() else {
                        tracing::warn!(client = %client.name, %why, "a refresh token could not be revoked at the AS");
                        gate.revoked_there.forget(fingerprint);
                        return;
                    };
                    tokio::time::sleep(*pause).await;
                }
            }
        }
    });
}

enum RevocationAttempt {
    Done,
    Impossible(&'static str),
    Failed(Cow<'static, str>),
}

async fn revoke(gate: &Gate, live: &Live, client: &Client, form: &ServerForm) -> RevocationAttempt {
    let (issuer, endpoints) = match issuer_of(gate, live, &client.issuer).await {
        Ok(found) => found,
        Err(why) => return RevocationAttempt::Failed(why.into()),
    };
    let Some(url) = &endpoints.revocation else {
        return RevocationAttempt::Impossible("the AS publishes no revocation endpoint");
    };
    let place = place(issuer, &endpoints, url, &endpoints.revocation_auth);
    let request = match post(&*gate.random, gate.clock.now(), place, client.into(), form) {
        Ok(request) => request,
        Err(why) => return RevocationAttempt::Impossible(why),
    };
    let bounds = Bounds { deadline: REVOCATION_DEADLINE, answer_bytes: REVOCATION_ANSWER };
    match send(Means::of(gate), issuer, ServerEndpoint::Revocation, request, bounds).await {
        Ok(response) if response.status().is_success() => RevocationAttempt::Done,
        Ok(response) => {
            let answer = answer::read(response.status(), response.headers(), response.body());
            let manner = Credential::from(&client.credential).manner(&endpoints.revocation_auth);
            not_revoked(unrepeated(answer, client.into(), form), &manner)
        }
        Err(fault) => RevocationAttempt::Failed(said(fault).into()),
    }
}

/// What an AS says that did not revoke a token. Of its errors one alone will be the same next time (RFC 7009
/// section 2.2.1).
fn not_revoked(answer: ServerAnswer, manner: &str) -> RevocationAttempt {
    match answer {
        ServerAnswer::Refused(said) if said.error == "unsupported_token_type" => {
            RevocationAttempt::Impossible("the AS does not revoke this kind of token")
        }
        ServerAnswer::InvalidClient(said) => {
            let said = said.description.map(|text| format!(": {text}")).unwrap_or_default();
            RevocationAttempt::Failed(
                format!(
                    "the AS answered invalid_client: the client's credential does not count there, or not by {manner}{said}"
                )
                .into(),
            )
        }
        ServerAnswer::Unusable(outage) => {
            let status = outage.status.map(|status| format!(" (it answered {status})")).unwrap_or_default();
            RevocationAttempt::Failed(format!("{}{status}", outage.why).into())
        }
        _ => RevocationAttempt::Failed("the AS did not revoke it".into()),
    }
}

async fn issuer_of<'a>(
    gate: &Gate,
    live: &'a Live,
    name: &IssuerName,
) -> Result<(&'a IssuerState, Arc<Endpoints>), &'static str> {
    let issuer = live.issuers.by_name(name).ok_or("the client's issuer is not configured")?;
    let endpoints = endpoints(gate, issuer)
        .await
        .map_err(|_| "the AS's endpoints are not known: it was not reached yet")?;
    Ok((issuer, endpoints))
}

pub(in crate::flows) fn place<'a>(
    issuer: &'a IssuerState,
    endpoints: &'a Endpoints,
    url: &'a Url,
    takes: &'a ClientAuthentication,
) -> AuthenticatedEndpoint<'a> {
    AuthenticatedEndpoint {
        url,
        takes,
        iss: &issuer.settings.rules.iss,
        token_endpoint: endpoints.token.as_ref(),
    }
}

/// The request that brings `form` there.
///
/// # Errors
/// What is wrong with the client or the endpoint, as text for operators.
pub(in crate::flows) fn post(
    random: &dyn Randomness,
    now: Timestamp,
    place: AuthenticatedEndpoint<'_>,
    client: ClientAtServer<'_>,
    form: &ServerForm,
) -> Result<Request<Bytes>, &'static str> {
    let Authentication { authorization, fields } = match client.proof {
        ClientProof::Ours(credential) => {
            authenticate(credential.into(), client.client_id, place, ports::random(random), now)
                .map_err(Unproven::why)?
        }
        ClientProof::Brought(authentication) => authentication.clone(),
    };
    let body = Bytes::copy_from_slice(form.encode(&fields).expose().as_bytes());
    let mut request = Request::post(place.url.as_str())
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .body(body)
        .map_err(|_| "the AS's endpoint is no address that can be called")?;
    if let Some(value) = authorization {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

pub(in crate::flows) async fn send(
    means: Means<'_>,
    issuer: &IssuerState,
    endpoint: ServerEndpoint,
    request: Request<Bytes>,
    bounds: Bounds,
) -> Result<Response<Bytes>, HttpFault> {
    // The wall clock may be set meanwhile.
    let began = Instant::now();
    let result = means.http.send(&issuer.settings, request, bounds).await;
    let fault = result.as_ref().err().map(|fault| fault.label());
    means.metrics.authorization_server_called(&issuer.settings.name, endpoint, began.elapsed(), fault);
    result
}

pub(in crate::flows) const fn said(fault: HttpFault) -> &'static str {
    match fault {
        HttpFault::Dns => "the AS's name has no address: the look-up (DNS) failed",
        HttpFault::Connect => "no connection to the AS could be made",
        HttpFault::Tls => "no TLS could be agreed on with the AS",
        HttpFault::Certificate => "the AS's certificate is not trusted, has ended, or is for another name",
        HttpFault::Proxy => "the proxy on the way to the AS opened no tunnel",
        HttpFault::Deadline => "the AS did not answer within the deadline",
        HttpFault::Broken => "the connection to the AS broke before its answer was complete",
        HttpFault::TooLarge => "the AS's answer is larger than Tollgate reads of this endpoint",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_large_is_not_said_to_be_the_token_endpoints() {
        // The same words are for revocation and for pushed requests, each with a bound of its own.
        let text = said(HttpFault::TooLarge);
        assert!(text.contains("larger than Tollgate reads") && !text.contains("token endpoint"), "{text}");
    }
}
