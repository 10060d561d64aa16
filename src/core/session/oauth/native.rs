//! What a native client may ask of `/oauth/token`, and what of it goes on to the AS.
//!
//! The caller proves itself to the AS, in at most one way (RFC 6749 section 2.3); what it shows goes on as it
//! came. Where the gateway lends the client's secret, it lends it to nobody who shows one, and only for a
//! code with its verifier and the configured `redirect_uri`, or for a refresh token. What is not named here
//! does not reach the AS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use super::authentication::Authentication;
use super::grant_type::GrantType;
use super::request::{Parameters, ServerForm};
use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::session::pkce;

/// Whether a grant can do without a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

/// The allow-list: which parameters of each grant go on, beside `grant_type` and the client's credentials.
/// `audience` of `client_credentials` is in no RFC; some servers issue nothing without it.
const fn allowed(grant: GrantType) -> &'static [(&'static str, Need)] {
    use Need::{Optional, Required};
    match grant {
        // RFC 6749 section 4.1.3, RFC 7636 section 4.5.
        GrantType::AuthorizationCode => &[
            ("code", Required),
            ("code_verifier", Optional),
            ("redirect_uri", Optional),
            ("scope", Optional),
            ("resource", Optional),
        ],
        // RFC 6749 section 6.
        GrantType::RefreshToken => {
            &[("refresh_token", Required), ("scope", Optional), ("resource", Optional)]
        }
        // RFC 6749 section 4.4.2.
        GrantType::ClientCredentials => {
            &[("scope", Optional), ("resource", Optional), ("audience", Optional)]
        }
        // RFC 8628 section 3.4.
        GrantType::DeviceCode => &[("device_code", Required), ("resource", Optional)],
        // RFC 8693 section 2.1.
        GrantType::TokenExchange => &[
            ("subject_token", Required),
            ("subject_token_type", Required),
            ("actor_token", Optional),
            ("actor_token_type", Optional),
            ("requested_token_type", Optional),
            ("audience", Optional),
            ("scope", Optional),
            ("resource", Optional),
        ],
        // RFC 7523 section 2.1.
        GrantType::JwtBearer => &[("assertion", Required), ("scope", Optional), ("resource", Optional)],
    }
}

/// What is configured for the client that a request names.
#[derive(Clone, Copy, Debug)]
pub struct Registered<'a> {
    pub client_id: &'a str,
    pub grants: &'a [GrantType],
    /// The gateway has the client's credential.
    pub lends: bool,
    pub redirect_uri: Option<&'a str>,
    pub scope: Option<&'a str>,
    pub resource: Option<&'a str>,
}

/// A request that may go on.
#[derive(Debug)]
pub struct NativeRequest {
    pub grant: GrantType,
    pub form: ServerForm,
    pub prover: ClientProver,
}

/// Who proves to the AS that it is the client.
#[derive(Debug)]
pub enum ClientProver {
    /// The gateway, with the credential that it has.
    Lent,
    /// The caller, with what it brought.
    Brought {
        authentication: Authentication,
        /// It used the `Authorization` header, and is owed a challenge when the AS refuses it.
        by_basic: bool,
    },
}

impl NativeRequest {
    /// Reads a request of the client that it names.
    ///
    /// # Errors
    /// Says which parameter or credential is missing, too much or wrong.
    pub fn read(
        headers: &HeaderMap,
        parameters: &Parameters,
        client: Registered<'_>,
    ) -> Result<Self, Denial> {
        let grant = parameters.grant_type(client.grants)?;
        let prover = if client.lends {
            lent(headers, parameters, grant)
        } else {
            brought(headers, parameters, client)
        }?;
        if grant == GrantType::AuthorizationCode {
            code_is_bound(parameters, client)?;
        }
        Ok(Self { grant, form: form(parameters, grant, client)?, prover })
    }
}

fn lent(headers: &HeaderMap, parameters: &Parameters, grant: GrantType) -> Result<ClientProver, Denial> {
    if !grant.may_borrow_the_secret() {
        return Err(Denial::UnauthorizedClient);
    }
    parameters.bring_no_credential(headers)?;
    Ok(ClientProver::Lent)
}

/// RFC 7636 section 4.6: whoever borrows the secret shows with the verifier that the code is its own.
fn code_is_bound(parameters: &Parameters, client: Registered<'_>) -> Result<(), Denial> {
    if client.lends && !parameters.get("code_verifier").is_some_and(pkce::is_verifier) {
        return Err(Denial::InvalidRequest(
            "code_verifier is required: 43 to 128 unreserved characters (PKCE).",
        ));
    }
    match (client.redirect_uri, parameters.get("redirect_uri")) {
        (Some(configured), Some(given)) if same_redirect(configured, given) => Ok(()),
        (None, _) if !client.lends => Ok(()),
        (Some(_), None) if !client.lends => Ok(()),
        _ => {
            Err(Denial::InvalidRequest("redirect_uri must be the one that the gateway has for this client."))
        }
    }
}

/// Equal; on loopback whatever the port, which an application is given anew each time it starts (RFC 8252
/// section 7.3). `localhost` too, which section 8.3 advises against: some servers let the port vary with that
/// name alone, and it is they who decide. A code is of use here only with its verifier.
fn same_redirect(configured: &str, given: &str) -> bool {
    configured == given
        || loopback_without_port(configured)
            .is_some_and(|configured| Some(configured) == loopback_without_port(given))
}

/// Host and what follows the port, of an `http` URI on loopback.
fn loopback_without_port(uri: &str) -> Option<(&'static str, &str)> {
    let (host, rest) = ["http://127.0.0.1", "http://[::1]", "http://localhost"]
        .into_iter()
        .find_map(|host| uri.strip_prefix(host).map(|rest| (host, rest)))?;
    let after = match rest.strip_prefix(':') {
        None => rest,
        Some(port) => port.trim_start_matches(|c: char| c.is_ascii_digit()),
    };
    (after.is_empty() || after.starts_with(['/', '?'])).then_some((host, after))
}

fn form(parameters: &Parameters, grant: GrantType, client: Registered<'_>) -> Result<ServerForm, Denial> {
    let mut form = ServerForm::of(grant);
    for (name, need) in allowed(grant) {
        let configured = match *name {
            "scope" if grant.asks_for_scope() => client.scope,
            "resource" => client.resource,
            _ => None,
        };
        let given = parameters.get(name);
        if *name == "resource" && client.lends && given.is_some_and(|given| Some(given) != configured) {
            return Err(Denial::InvalidRequest(
                "resource is the client's, from the gateway's configuration.",
            ));
        }
        match given.or(configured) {
            Some(value) => form.add(name, value.into()),
            None if *need == Need::Required => {
                return Err(Denial::InvalidRequest("A parameter that this grant needs is missing."));
            }
            None => {}
        }
    }
    Ok(form)
}

/// What the caller shows of itself, in one way or none.
fn brought(
    headers: &HeaderMap,
    parameters: &Parameters,
    client: Registered<'_>,
) -> Result<ClientProver, Denial> {
    const SEVERAL: Denial = Denial::InvalidRequest(
        "Show the client's credentials in one way: Authorization: Basic, client_secret, or client_assertion (RFC 6749 section 2.3).",
    );
    let basic = basic(headers)?;
    let secret = parameters.get("client_secret");
    let assertion = match (parameters.get("client_assertion"), parameters.get("client_assertion_type")) {
        (None, None) => None,
        (Some(assertion), Some(kind)) => Some((assertion, kind)),
        _ => {
            return Err(Denial::InvalidRequest(
                "client_assertion and client_assertion_type come together (RFC 7521 section 4.2).",
            ));
        }
    };
    let mut fields: Vec<(&'static str, SecretString)> = Vec::new();
    if parameters.get("client_id").is_some() || basic.is_none() {
        fields.push(("client_id", client.client_id.into()));
    }
    let (authorization, by_basic) = match (basic, secret, assertion) {
        (None, None, None) => (None, false),
        (Some(basic), None, None) => {
            if basic.client_id.expose() != client.client_id {
                return Err(Denial::InvalidRequest("Authorization and client_id name two clients."));
            }
            (Some(basic.header), true)
        }
        (None, Some(secret), None) => {
            fields.push(("client_secret", secret.into()));
            (None, false)
        }
        (None, None, Some((assertion, kind))) => {
            fields.push(("client_assertion_type", kind.into()));
            fields.push(("client_assertion", assertion.into()));
            (None, false)
        }
        _ => return Err(SEVERAL),
    };
    Ok(ClientProver::Brought { authentication: Authentication { authorization, fields }, by_basic })
}

/// Credentials in the `Authorization` header.
#[derive(Debug)]
struct Basic {
    client_id: SecretString,
    /// As it came.
    header: HeaderValue,
}

/// Id and secret are form-encoded before base64 (RFC 6749 section 2.3.1, RFC 7617 section 2).
fn basic(headers: &HeaderMap) -> Result<Option<Basic>, Denial> {
    const UNREADABLE: Denial = Denial::InvalidRequest(
        "Authorization must be Basic with the form-encoded client_id and secret (RFC 6749 section 2.3.1).",
    );
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Denial::InvalidRequest("Send one Authorization header."));
    }
    let read = || {
        let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
        let pair = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(encoded.trim()).ok())??;
        let pair = Zeroizing::new(pair);
        let id = pair.get(..pair.iter().position(|byte| *byte == b':')?)?;
        let whole = [b"=", id].concat();
        let mut decoded = form_urlencoded::parse(&whole);
        let (_, id) = decoded.next()?;
        decoded.next().is_none().then(|| SecretString::new(id.into_owned()))
    };
    let client_id = read().ok_or(UNREADABLE)?;
    let mut header = field.clone();
    header.set_sensitive(true);
    Ok(Some(Basic { client_id, header }))
}

/// The client that a request names: in its body, or else by `Authorization: Basic`.
///
/// # Errors
/// [`Denial::InvalidRequest`] when it names none, or names it in a way that cannot be read.
pub fn named_client(headers: &HeaderMap, parameters: &Parameters) -> Result<String, Denial> {
    match parameters.get("client_id") {
        Some(client_id) => Ok(client_id.to_owned()),
        None => match basic(headers)? {
            Some(basic) if !basic.client_id.expose().is_empty() => Ok(basic.client_id.expose().clone()),
            _ => parameters.client_id().map(ToOwned::to_owned),
        },
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
