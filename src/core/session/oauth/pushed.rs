//! What an AS answers to a pushed authorization request: under which name a browser brings it to the
//! authorization endpoint (RFC 9126 section 2.2), or why not (section 2.3).
//!
//! Whatever is not plainly one of both counts as an outage.

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::answer::{ServerAnswer, lifetime, members, refusal};
use super::outage::Outage;
use crate::core::server_error::ServerError;

/// The most bytes that an answer may have.
pub const LIMIT: usize = 16 * 1024;
/// The longest name, in bytes: RFC 9101 section 5.2 wants no more than 512, and it must fit into an address.
const LONGEST_REQUEST_URI: usize = 2048;

/// How the AS answered.
#[derive(Debug)]
pub enum PushAnswer {
    Taken(RequestUri),
    /// `invalid_client`: the gateway's credential does not count there.
    InvalidClient(Box<ServerError>),
    /// Any other OAuth error.
    Refused(Box<ServerError>),
    /// No answer of a working AS.
    Unusable(Outage),
}

/// The name of one pushed request. Whoever knows it can begin one sign-in with it, which only the browser
/// that has its cookie can end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestUri(String);

impl RequestUri {
    fn read(text: &str) -> Option<Self> {
        let is_uri = text.len() <= LONGEST_REQUEST_URI
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && Url::parse(text).is_ok();
        is_uri.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Sorts an answer of the pushed authorization request endpoint.
pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> PushAnswer {
    match sort(status, headers, body) {
        PushAnswer::Unusable(outage) => PushAnswer::Unusable(outage.answered(status, body)),
        other => other,
    }
}

fn sort(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> PushAnswer {
    let unusable = |why: &'static str| PushAnswer::Unusable(why.into());
    let members = match members(status, headers, body) {
        Ok(members) => members,
        Err(outage) => return PushAnswer::Unusable(outage),
    };
    if status == StatusCode::CREATED {
        return taken(&members).map_or_else(unusable, PushAnswer::Taken);
    }
    if !status.is_client_error() {
        return unusable("the AS answered with an unexpected status");
    }
    match refusal(&members, None) {
        ServerAnswer::InvalidClient(said) => PushAnswer::InvalidClient(said),
        ServerAnswer::InvalidGrant(said) | ServerAnswer::Refused(said) => PushAnswer::Refused(said),
        ServerAnswer::Unusable(outage) => PushAnswer::Unusable(outage),
        ServerAnswer::Tokens(_) => unusable("the AS answered with an unexpected status"),
    }
}

fn taken(members: &Map<String, Value>) -> Result<RequestUri, &'static str> {
    let request_uri = members.get("request_uri").and_then(Value::as_str).and_then(RequestUri::read);
    let request_uri = request_uri.ok_or("the AS's answer has no request_uri that can be used")?;
    match lifetime(members.get("expires_in"))? {
        Some(life) if !life.is_zero() => Ok(request_uri),
        _ => Err("the AS's answer has no expires_in that lies ahead"),
    }
}

#[cfg(test)]
mod tests {
    use http::header;
    use serde_json::json;

    use super::*;

    const URN: &str = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c";

    fn answered(status: u16, body: &Value) -> PushAnswer {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json;charset=utf-8".parse().unwrap());
        read(StatusCode::from_u16(status).unwrap(), &headers, body.to_string().as_bytes())
    }

    #[test]
    fn a_request_that_was_taken_has_a_name_that_counts_for_a_while() {
        for name in [
            URN.to_owned(),
            format!("urn:x:{}", "a".repeat(LONGEST_REQUEST_URI - 6)),
            "https://as.example/r/1".into(),
        ] {
            let answer = answered(201, &json!({ "request_uri": name, "expires_in": 60, "more": [] }));
            assert!(matches!(&answer, PushAnswer::Taken(uri) if uri.as_str() == name), "{answer:?}");
        }
        for bad in [
            json!({ "request_uri": URN }),
            json!({ "request_uri": URN, "expires_in": 0 }),
            json!({ "request_uri": URN, "expires_in": -1 }),
            json!({ "request_uri": URN, "expires_in": "soon" }),
            json!({ "expires_in": 60 }),
            json!({ "request_uri": "", "expires_in": 60 }),
            json!({ "request_uri": [URN], "expires_in": 60 }),
            json!({ "request_uri": "no-uri", "expires_in": 60 }),
            json!({ "request_uri": "urn:a b", "expires_in": 60 }),
            json!({ "request_uri": "urn:a\nb", "expires_in": 60 }),
            json!({ "request_uri": format!("urn:x:{}", "a".repeat(LONGEST_REQUEST_URI)), "expires_in": 60 }),
            json!([]),
        ] {
            assert!(matches!(answered(201, &bad), PushAnswer::Unusable(_)), "{bad}");
        }
        let good = json!({ "request_uri": URN, "expires_in": 60 });
        for status in [200, 202, 302, 500, 503, 429] {
            assert!(matches!(answered(status, &good), PushAnswer::Unusable(_)), "{status}");
        }
        let page = read(StatusCode::CREATED, &HeaderMap::new(), good.to_string().as_bytes());
        assert!(matches!(page, PushAnswer::Unusable(_)), "it is not JSON");
    }

    #[test]
    fn an_error_is_the_servers_word_and_what_is_none_an_outage() {
        let said = answered(400, &json!({ "error": "invalid_request", "error_description": "no \"x\"" }));
        let PushAnswer::Refused(error) = said else { panic!("{said:?}") };
        assert_eq!((error.error.as_str(), error.description.as_deref()), ("invalid_request", Some("no x")));
        assert!(matches!(answered(401, &json!({ "error": "invalid_client" })), PushAnswer::InvalidClient(_)));
        assert!(matches!(answered(400, &json!({ "error": "invalid_grant" })), PushAnswer::Refused(_)));
        for outage in [json!({ "error": "temporarily_unavailable" }), json!({}), json!({ "error": "a\"b" })] {
            assert!(matches!(answered(400, &outage), PushAnswer::Unusable(_)), "{outage}");
        }
    }
}
