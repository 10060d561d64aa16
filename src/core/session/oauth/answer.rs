//! What the AS answered, and the part of it that a page may see (RFC 6749 section 5).
//!
//! A page never sees a refresh token, nor anything that is not named here. Whatever is not plainly
//! an answer of an AS counts as an outage: the session is kept, and nothing is remembered of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Scope;
use super::outage::Outage;
use crate::core::secret::SecretString;
use crate::core::server_error::ServerError;
use crate::core::time::Timestamp;
use crate::core::token::dpop::DPOP_NONCE;
use crate::core::token::json::object;

/// The most bytes that an answer of a token endpoint may have.
pub const LIMIT: usize = 128 * 1024;
const LONGEST_ERROR: usize = 100;
const LONGEST_DESCRIPTION: usize = 500;
const LONGEST_NONCE: usize = 1000;
/// An `expires_in` beyond it is a mistake.
const LONGEST_LIFETIME: u64 = 10 * 365 * 24 * 3600;

/// How the AS answered.
#[derive(Debug)]
pub enum ServerAnswer {
    Tokens(Box<TokenAnswer>),
    /// `invalid_grant`: the refresh token or the code is no good.
    InvalidGrant(Box<ServerError>),
    /// `invalid_client`: the fault of whoever authenticated the client.
    InvalidClient(Box<ServerError>),
    /// Any other OAuth error that concerns the caller.
    Refused(Box<ServerError>),
    /// No answer of a working AS.
    Unusable(Outage),
}

impl ServerError {
    /// What an authorization endpoint says of itself (section 4.1.2.1), as far as it may be shown.
    pub fn read(error: &str, description: Option<&str>) -> Option<Self> {
        let description = description.map(printable).filter(|text| !text.is_empty());
        is_code(error).then(|| Self { error: error.to_owned(), description, uri: None, dpop_nonce: None })
    }
}

/// A successful answer (section 5.1).
#[derive(Debug)]
pub struct TokenAnswer {
    pub access_token: SecretString,
    pub token_type: String,
    pub expires_in: Option<Duration>,
    pub scope: Option<Scope>,
    pub id_token: Option<SecretString>,
    pub refresh_token: Option<SecretString>,
    /// RFC 8693 section 2.2.1.
    pub issued_token_type: Option<String>,
    /// For the next proof of possession (RFC 9449 section 8.2).
    pub dpop_nonce: Option<String>,
}

impl TokenAnswer {
    /// Whether the access token is only for whoever proves a key (RFC 9449 section 5).
    pub fn is_bound(&self) -> bool {
        self.token_type.eq_ignore_ascii_case("DPoP")
    }

    /// Whether the type of the access token is one that Tollgate knows how to use (RFC 6749 section 7.1).
    pub fn is_understood(&self) -> bool {
        self.is_bound() || self.token_type.eq_ignore_ascii_case("Bearer")
    }

    /// The JSON for a native client: its refresh token is its own.
    pub fn to_native_json(&self) -> SecretString {
        let body = Body {
            expires_in: self.expires_in.map(|life| life.as_secs()),
            scope: self.scope.as_ref(),
            id_token: exposed(self.id_token.as_ref()),
            refresh_token: exposed(self.refresh_token.as_ref()),
            issued_token_type: self.issued_token_type.as_deref(),
            ..Body::new(&self.access_token, &self.token_type)
        };
        SecretString::new(body.to_json())
    }
}

/// An answer as whoever asked the gateway reads it (RFC 6749 section 5.1).
#[derive(Default, Serialize)]
struct Body<'a> {
    access_token: &'a str,
    token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_expires_in: Option<u64>,
}

impl<'a> Body<'a> {
    fn new(access_token: &'a SecretString, token_type: &'a str) -> Self {
        Self { access_token: access_token.expose(), token_type, ..Self::default() }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn exposed(token: Option<&SecretString>) -> Option<&str> {
    token.map(|token| token.expose().as_str())
}

/// What an AS that works says, whatever it is.
pub(super) fn members(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Map<String, Value>, Outage> {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(Outage::said("the AS answered that it is not available", headers));
    }
    if status.is_server_error() {
        return Err("the AS answered with a server error".into());
    }
    if matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) {
        return Err(Outage::said("the AS asks to come back later", headers));
    }
    if !is_json(headers) {
        return Err(match status {
            // Section 5.2 of RFC 6749 wants `invalid_client`.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "the AS answered with something that is not JSON, as some do where the client's credential does not count, or not \
                 by the method with which it is shown"
            }
            _ => "the AS answered with something that is not JSON",
        }
        .into());
    }
    object(body)
        .map_err(|_| "the AS answered with JSON that cannot be read, or that has a member twice".into())
}

/// Sorts an answer of the token endpoint.
pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ServerAnswer {
    match sort(status, headers, body) {
        ServerAnswer::Unusable(outage) => ServerAnswer::Unusable(outage.answered(status, body)),
        other => other,
    }
}

fn sort(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ServerAnswer {
    let unusable = |why: &'static str| ServerAnswer::Unusable(why.into());
    let members = match members(status, headers, body) {
        Ok(members) => members,
        Err(outage) => return ServerAnswer::Unusable(outage),
    };
    if status == StatusCode::OK {
        return match tokens(&members) {
            Ok(answer) => {
                ServerAnswer::Tokens(Box::new(TokenAnswer { dpop_nonce: dpop_nonce(headers), ..answer }))
            }
            Err(why) => unusable(why),
        };
    }
    if status.is_client_error() {
        refusal(&members, dpop_nonce(headers))
    } else {
        unusable("the AS answered with an unexpected status")
    }
}

/// Whether what came with these headers is JSON by its media type.
pub fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// The nonce that came along (RFC 9449 section 8.1); two, or what is none, are none.
fn dpop_nonce(headers: &HeaderMap) -> Option<String> {
    let mut fields = headers.get_all(DPOP_NONCE).iter();
    let nonce = fields.next()?.to_str().ok()?;
    let is_one = fields.next().is_none() && !nonce.is_empty() && nonce.len() <= LONGEST_NONCE;
    (is_one && nonce.chars().all(|c| c != ' ' && is_error_character(c))).then(|| nonce.to_owned())
}

fn tokens(members: &Map<String, Value>) -> Result<TokenAnswer, &'static str> {
    let access_token = token(members, "access_token")?.ok_or("the AS's answer has no access_token")?;
    let token_type = match members.get("token_type") {
        Some(Value::String(text)) if is_code(text) => text.clone(),
        _ => return Err("the AS's answer has no readable token_type"),
    };
    let scope = match members.get("scope") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => {
            Some(Scope::parse(text).ok_or("the AS's answer has a scope that cannot be read")?)
        }
        Some(_) => return Err("the AS's answer has a scope that is not a string"),
    };
    Ok(TokenAnswer {
        access_token,
        token_type,
        expires_in: lifetime(members.get("expires_in"))?,
        scope,
        id_token: token(members, "id_token")?,
        refresh_token: token(members, "refresh_token")?,
        issued_token_type: match members.get("issued_token_type") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if is_code(text) => Some(text.clone()),
            Some(_) => return Err("the AS's answer has an issued_token_type that cannot be read"),
        },
        dpop_nonce: None,
    })
}

/// A token: visible characters (RFC 6749 appendix A.12 and A.17); an empty one counts as absent.
fn token(members: &Map<String, Value>, name: &str) -> Result<Option<SecretString>, &'static str> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text.bytes().all(|b| (0x20..=0x7e).contains(&b)) => {
            Ok(Some(text.as_str().into()))
        }
        Some(_) => Err("the AS's answer has a token that is not a visible string"),
    }
}

/// Seconds as a number; as a string too, because some ASs send one.
pub(super) fn lifetime(value: Option<&Value>) -> Result<Option<Duration>, &'static str> {
    let seconds = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    seconds
        .filter(|seconds| *seconds <= LONGEST_LIFETIME)
        .map(|seconds| Some(Duration::from_secs(seconds)))
        .ok_or("the AS's answer has an expires_in that is no number of seconds")
}

pub(super) fn refusal(members: &Map<String, Value>, dpop_nonce: Option<String>) -> ServerAnswer {
    let Some(error) = members.get("error").and_then(Value::as_str).filter(|text| is_code(text)) else {
        return ServerAnswer::Unusable("the AS refused without an OAuth error".into());
    };
    let description = members.get("error_description").and_then(Value::as_str).map(printable);
    let uri = members.get("error_uri").and_then(Value::as_str).filter(|text| is_error_uri(text));
    let uri = uri.map(ToOwned::to_owned);
    let said = Box::new(ServerError { error: error.to_owned(), description, uri, dpop_nonce });
    match error {
        "invalid_grant" => ServerAnswer::InvalidGrant(said),
        "invalid_client" => ServerAnswer::InvalidClient(said),
        "server_error" | "temporarily_unavailable" => {
            ServerAnswer::Unusable("the AS says that it is not available".into())
        }
        _ => ServerAnswer::Refused(said),
    }
}

/// Section 5.2 and appendix A.7: `%x20-21 / %x23-5B / %x5D-7E`.
pub(super) const fn is_error_character(character: char) -> bool {
    matches!(character, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e')
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_ERROR && text.chars().all(is_error_character)
}

/// Appendix A.9: a URI-reference, without space.
fn is_error_uri(text: &str) -> bool {
    text.len() <= LONGEST_DESCRIPTION && text.chars().all(|c| c != ' ' && is_error_character(c))
}

/// What an `error_description` may hold, and no more than a line of it.
fn printable(text: &str) -> String {
    text.chars().filter(|c| is_error_character(*c)).take(LONGEST_DESCRIPTION).collect()
}

/// What a page gets of an answer, and again within the window.
#[derive(Debug)]
pub struct PageTokens {
    pub access_token: SecretString,
    pub token_type: String,
    pub expires_in: Option<Duration>,
    pub scope: Option<Scope>,
    /// On a code exchange only.
    pub id_token: Option<SecretString>,
    /// For the page's next proof; it travels in a header.
    pub dpop_nonce: Option<String>,
}

impl PageTokens {
    /// After how long a page should ask for the next one, when it needs one: the smaller of 80 % of
    /// the token's life and half of `idle_timeout`.
    pub fn refresh_after(&self, idle_timeout: Duration) -> Duration {
        let half = idle_timeout / 2;
        self.expires_in.map_or(half, |life| half.min(life.saturating_mul(4) / 5))
    }

    /// Until when this is worth giving again, the answer having come at `at`: a token that ends
    /// within ten seconds (or has less than half of a short life left) is not.
    pub fn worth_until(&self, at: Timestamp) -> Option<Timestamp> {
        let life = self.expires_in?;
        Some(at.plus(life.saturating_sub(Duration::from_secs(10).min(life / 2))))
    }

    /// The JSON for the page, `age` after the AS answered. `session_ends_in`: none, when there is
    /// no session to refresh from.
    pub fn to_json(
        &self,
        age: Duration,
        idle_timeout: Duration,
        session_ends_in: Option<Duration>,
    ) -> String {
        let body = Body {
            expires_in: self.expires_in.map(|life| life.saturating_sub(age).as_secs()),
            scope: self.scope.as_ref(),
            id_token: exposed(self.id_token.as_ref()),
            refresh_after: session_ends_in
                .map(|_| self.refresh_after(idle_timeout).saturating_sub(age).as_secs()),
            session_expires_in: session_ends_in.map(|ends| ends.as_secs()),
            ..Body::new(&self.access_token, &self.token_type)
        };
        body.to_json()
    }
}

/// The claims of a JWT whose signature was **not** checked. Only for tokens that came straight from
/// the token endpoint over TLS (OpenID Connect Core 1.0 section 3.1.3.7, point 6), never for one
/// that a caller sent.
pub fn claims_from_token_endpoint(token: &SecretString) -> Option<Map<String, Value>> {
    let mut parts = token.expose().split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    object(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// What an ID token of the token endpoint says of its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    pub sub: String,
    pub session_id: Option<String>,
}

/// Reads an ID token that came from the token endpoint: `iss`, `aud`, `azp`, `exp` and `sub` as in OpenID
/// Connect Core 1.0 section 3.1.3.7. The nonce is checked by whoever made it: the page. `clients`: those of
/// this issuer here, who are trusted as audiences beside this one. `now`: `None` in an answer to a refresh,
/// where an AS may give the ID token of the sign-in again (section 12.2 says nothing of `exp`).
pub fn identified(
    id_token: &SecretString,
    iss: &str,
    client_id: &str,
    clients: &[String],
    clock_skew: Duration,
    now: Option<Timestamp>,
) -> Option<Identified> {
    let claims = claims_from_token_endpoint(id_token)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let for_us = match claims.get("aud")? {
        Value::String(aud) => aud == client_id,
        Value::Array(all) => {
            let is_client = |aud: &Value| {
                aud.as_str().is_some_and(|aud| aud == client_id || clients.iter().any(|client| client == aud))
            };
            all.iter().any(|aud| aud.as_str() == Some(client_id))
                && (text("azp") == Some(client_id) || all.iter().all(is_client))
        }
        _ => false,
    };
    let azp_fits = claims.get("azp").is_none_or(|azp| azp.as_str() == Some(client_id));
    let expires = claims.get("exp").and_then(Value::as_f64).and_then(Timestamp::from_numeric_date);
    let in_time = now.is_none_or(|now| expires.is_some_and(|expires| now < expires.plus(clock_skew)));
    let good = text("iss") == Some(iss) && for_us && azp_fits && in_time;
    let sub = text("sub").filter(|sub| !sub.is_empty())?;
    good.then(|| Identified { sub: sub.to_owned(), session_id: text("sid").map(ToOwned::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    fn answered(status: u16, content_type: &'static str, body: &str) -> ServerAnswer {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        read(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    fn json_answer(status: u16, body: &str) -> ServerAnswer {
        answered(status, "application/json;charset=UTF-8", body)
    }

    #[test]
    fn a_good_answer_is_read() {
        let body = r#"{"access_token":"at","token_type":"Bearer","expires_in":30,"scope":"b a",
            "refresh_token":"rt","id_token":"a.b.c","more":{"x":1}}"#;
        let ServerAnswer::Tokens(answer) = json_answer(200, body) else { panic!("not read") };
        let native: Value = serde_json::from_str(answer.to_native_json().expose()).unwrap();
        let expected = json!({"access_token": "at", "token_type": "Bearer", "expires_in": 30, "scope": "a b",
            "refresh_token": "rt", "id_token": "a.b.c"});
        assert_eq!(native, expected, "an allow-list");
        assert_eq!(answer.access_token.expose(), "at");
        assert_eq!(answer.refresh_token.unwrap().expose(), "rt");
        assert_eq!(answer.expires_in, Some(Duration::from_secs(30)));
        assert_eq!(answer.scope, Scope::parse("a b"));
    }

    #[test]
    fn whatever_is_not_plainly_an_answer_is_an_outage() {
        let good = r#"{"access_token":"at","token_type":"Bearer"}"#;
        for (status, content_type, body) in [
            (500, "application/json", good),
            (502, "text/html", "<html>"),
            (503, "application/json", r#"{"error":"invalid_grant"}"#),
            (429, "application/json", r#"{"error":"invalid_grant"}"#),
            (200, "text/html", "<html>"),
            (400, "text/html", "<html>invalid_grant</html>"),
            (200, "application/json", r#"{"access_token":"at","token_ty"#),
            (200, "application/json", r#"{"access_token":"at","access_token":"b","token_type":"Bearer"}"#),
            (200, "application/json", r#"{"token_type":"Bearer"}"#),
            (200, "application/json", r#"{"access_token":"at"}"#),
            (200, "application/json", r#"{"access_token":"a\nt","token_type":"Bearer"}"#),
            (200, "application/json", r#"{"access_token":7,"token_type":"Bearer"}"#),
            (200, "application/json", r#"{"access_token":"at","token_type":"Bearer","expires_in":-1}"#),
            (200, "application/json", r#"{"access_token":"at","token_type":"Bearer","scope":["a"]}"#),
            (200, "application/json", "null"),
            (201, "application/json", good),
            (302, "application/json", good),
            (400, "application/json", r#"{"error":"temporarily_unavailable"}"#),
            (400, "application/json", r#"{"error":"a\u0000b"}"#),
            (400, "application/json", r#"{"message":"no"}"#),
            (404, "application/json", "{}"),
        ] {
            let read = answered(status, content_type, body);
            assert!(matches!(read, ServerAnswer::Unusable(_)), "{status} {content_type} {body}: {read:?}");
        }
    }

    #[test]
    fn oauth_errors_are_told_apart_and_cleaned() {
        for status in [400, 401, 403] {
            let body = r#"{"error":"invalid_grant","error_description":"gone"}"#;
            assert!(matches!(json_answer(status, body), ServerAnswer::InvalidGrant(_)));
            let body = body.replace("invalid_grant", "invalid_client");
            assert!(matches!(json_answer(status, &body), ServerAnswer::InvalidClient(_)));
        }
        for error in ["authorization_pending", "slow_down", "expired_token", "access_denied"] {
            let body = json!({ "error": error }).to_string();
            assert!(matches!(json_answer(400, &body), ServerAnswer::Refused(said) if said.error == error));
        }
        let body = r#"{"error":"invalid_target","error_description":"a\"b\\c\r\nd<é>","error_uri":"https://as/e?1","more":1}"#;
        let ServerAnswer::Refused(said) = json_answer(400, body) else { panic!("not refused") };
        assert_eq!((said.error.as_str(), said.description.as_deref()), ("invalid_target", Some("abcd<>")));
        assert_eq!(said.uri.as_deref(), Some("https://as/e?1"));
        let ServerAnswer::Refused(said) = json_answer(400, &body.replace("/e?1", " e")) else {
            panic!("not refused")
        };
        assert_eq!(said.uri, None);
    }

    fn page(expires_in: Option<u64>) -> PageTokens {
        PageTokens {
            access_token: "at".into(),
            token_type: "Bearer".into(),
            expires_in: expires_in.map(Duration::from_secs),
            scope: None,
            id_token: None,
            dpop_nonce: None,
        }
    }

    #[test]
    fn the_page_learns_when_to_come_back() {
        let secs = Duration::from_secs;
        let json = |tokens: PageTokens, age| -> Value {
            serde_json::from_str(&tokens.to_json(secs(age), secs(1000), Some(secs(900)))).unwrap()
        };
        let body = json(page(Some(100)), 7);
        assert_eq!((&body["expires_in"], &body["refresh_after"]), (&93.into(), &73.into()));
        assert_eq!(body["session_expires_in"], 900);
        assert!(body.get("refresh_token").is_none());
        assert_eq!(json(page(Some(10_000)), 0)["refresh_after"], 500);
        let unknown = json(page(None), 0);
        assert!(unknown.get("expires_in").is_none());
        assert_eq!(unknown["refresh_after"], 500);
        assert_eq!(json(page(Some(5)), 60)["expires_in"], 0);
    }

    #[test]
    fn an_answer_is_given_again_only_while_its_token_is_worth_it() {
        let at = Timestamp::from_secs(100);
        assert_eq!(page(Some(60)).worth_until(at), Some(Timestamp::from_secs(150)));
        assert_eq!(page(Some(10)).worth_until(at), Some(Timestamp::from_secs(105)));
        assert_eq!(page(None).worth_until(at), None);
    }

    fn jwt(claims: &Value) -> SecretString {
        SecretString::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())))
    }

    #[test]
    fn an_id_token_must_be_for_this_client_of_this_issuer_and_in_time() {
        let read = |claims: Value| {
            let now = Some(Timestamp::from_secs(100));
            let clients = ["web".to_owned(), "mobile".to_owned()];
            identified(&jwt(&claims), "https://as", "web", &clients, Duration::from_secs(30), now)
        };
        let good = json!({"iss": "https://as", "aud": "web", "exp": 200, "sub": "alice", "sid": "s"});
        let expected = Identified { sub: "alice".into(), session_id: Some("s".into()) };
        assert_eq!(read(good.clone()), Some(expected));
        for (name, value) in [
            ("iss", json!("https://other")),
            ("aud", json!("other")),
            ("aud", json!(["web", "other"])),
            ("aud", json!(["mobile"])),
            ("aud", json!([])),
            ("azp", json!("other")),
            ("exp", json!(60)),
            ("exp", json!("200")),
            ("sub", json!("")),
            ("sub", json!(7)),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
        let mut several = good;
        several["aud"] = json!(["web", "mobile"]);
        assert!(read(several.clone()).is_some(), "both are clients here");
        several["azp"] = json!("mobile");
        assert_eq!(read(several.clone()), None, "and it says for which of them it was made");
        several["aud"] = json!(["web", "other"]);
        several["azp"] = json!("web");
        assert!(read(several).is_some());
        assert_eq!(claims_from_token_endpoint(&"opaque".into()), None);
    }

    #[test]
    fn any_answer_is_read_without_harm() {
        bolero::check!().with_type::<(u16, Vec<u8>)>().for_each(|(status, body)| {
            let status = StatusCode::from_u16(100 + status % 500).unwrap();
            let json =
                HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
            let _ = read(status, &json, body);
        });
    }
}
