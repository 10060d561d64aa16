//! How Tollgate's own answers are written: refusals as problem+json (RFC 9457), on OAuth endpoints as OAuth
//! JSON (RFC 6749 section 5.2), to transmitters of signals as RFC 8935 asks, for a navigation as a page. What
//! a refusal says is decided in `core::denial`.
//!
//! pingora's own error answers, which close the connection and name the server, are used for nothing that
//! gets as far as a phase of ours: only what its parser refuses gets its bare 400 or 405.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use serde::Serialize;

use crate::core::denial::Denial;
use crate::core::forwarded::X_REQUEST_ID;
use crate::core::path::CanonicalPath;
use crate::core::session::navigation::is_navigation;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::offer::Offer;
use crate::edge::answers::pages::Pages;
use crate::edge::request::body;
use crate::edge::request::request_head;

/// The OAuth endpoints where a browser may go, with a person who reads the answer.
const WHERE_PEOPLE_GO: [&str; 3] = ["/oauth/login", "/oauth/callback", "/oauth/logout"];

/// A client may have a callback of its own below the one for all.
fn is_at_or_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// In which form a refusal is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'p> {
    /// `application/problem+json`
    Problem,
    /// `{"error": …, "error_description": …}`
    OAuth,
    /// `{"err": …, "description": …}` where a Security Event Token is not taken (RFC 8935 section 2.3); else
    /// a problem: the rest are errors of HTTP.
    SecurityEvent,
    /// A page, for a navigation.
    Page(&'p Pages, Offer<'p>),
}

impl<'p> Form<'p> {
    /// A person gets a page, a program a problem; on OAuth endpoints refusals speak OAuth, but where a
    /// browser goes there.
    pub(crate) fn fit_for(request: &RequestHeader, pages: &'p Pages) -> Self {
        let raw = request_head::path(request);
        // As it is judged, however it is spelled. What cannot be judged is at no endpoint.
        let judged = CanonicalPath::parse(raw.as_bytes());
        let path = judged.as_ref().map_or(raw.as_ref(), CanonicalPath::as_str);
        let is_of_oauth = path.starts_with("/oauth/");
        let for_people = WHERE_PEOPLE_GO.iter().any(|place| is_at_or_below(path, place)) || !is_of_oauth;
        match (for_people, is_navigation(&request.headers)) {
            (true, true) => Self::Page(pages, Offer::Nothing),
            (true, false) if !is_of_oauth => Self::Problem,
            _ => Self::OAuth,
        }
    }
}

/// Rounded up: who comes back earlier is refused again.
const fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(if duration.subsec_nanos() > 0 { 1 } else { 0 })
}

impl Answer {
    /// The answer that a refusal gets, but for its challenge.
    pub(crate) fn refusal(denial: &Denial, form: Form<'_>, request_id: &str) -> Self {
        Self::refusal_offering(denial, form, request_id, Offer::Nothing)
    }

    /// The same, with what a person, or the script of a page, may do about it.
    pub(crate) fn refusal_offering(
        denial: &Denial,
        form: Form<'_>,
        request_id: &str,
        offer: Offer<'_>,
    ) -> Self {
        let login_url = offer.login_url();
        let mut answer = match form {
            Form::Problem => problem(denial, request_id, login_url),
            Form::OAuth => oauth_error(denial, login_url),
            Form::SecurityEvent if denial.facts().status == StatusCode::BAD_REQUEST => not_taken(denial),
            Form::SecurityEvent => problem(denial, request_id, None),
            Form::Page(pages, Offer::Nothing) => pages.refusal(denial, offer, request_id),
            Form::Page(pages, known) => pages.refusal(denial, known, request_id),
        };
        if let Denial::MethodNotAllowed { allow } = denial
            && let Ok(allow) =
                HeaderValue::from_str(&allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", "))
        {
            answer.set(header::ALLOW, allow);
        }
        if let Some(after) = denial.retry_after() {
            answer.set(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        answer
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<&'a str>,
}

/// The answer to a refusal. It depends on the cookie or the token, which no `Vary` says: so it is not stored,
/// heuristically or otherwise (RFC 9111 section 4.2.2).
fn problem(denial: &Denial, request_id: &str, login_url: Option<&str>) -> Answer {
    let facts = denial.facts();
    let problem = Problem {
        r#type: format!("urn:tollgate:refusal:{}", facts.label),
        title: facts.title,
        status: facts.status.as_u16(),
        detail: facts.detail,
        request_id,
        login_url,
    };
    let mut answer = Answer {
        status: facts.status,
        headers: Vec::with_capacity(6),
        body: serde_json::to_vec(&problem).unwrap_or_default().into(),
    };
    answer.set(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer.no_store()
}

#[derive(Serialize)]
struct OAuthError<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<&'a str>,
}

fn oauth_error(denial: &Denial, login_url: Option<&str>) -> Answer {
    let facts = denial.facts();
    let otherwise = if facts.status.is_server_error() { "server_error" } else { "invalid_request" };
    let error = match denial {
        // OpenID Connect Core 1.0 section 3.1.2.6, said of a session here.
        Denial::NotSignedIn { .. } => OAuthError {
            error: "login_required",
            error_description: Some(facts.detail),
            error_uri: None,
            login_url,
        },
        Denial::FromAuthorizationServer(said)
        | Denial::ProofRefusedThere(said)
        | Denial::ClientCredentialRefused { said, .. } => OAuthError {
            error: &said.error,
            error_description: said.description.as_deref(),
            error_uri: said.uri.as_deref(),
            login_url,
        },
        _ => OAuthError {
            error: facts.oauth_error.unwrap_or(otherwise),
            error_description: Some(facts.detail),
            error_uri: None,
            login_url,
        },
    };
    Answer::json(facts.status, serde_json::to_vec(&error).unwrap_or_default().into()).no_store()
}

#[derive(Serialize)]
struct NotTaken<'a> {
    err: &'a str,
    description: &'a str,
}

/// RFC 8935 section 2.3 wants to be told the language, too.
fn not_taken(denial: &Denial) -> Answer {
    let facts = denial.facts();
    let err = facts.oauth_error.unwrap_or("invalid_request");
    let body = serde_json::to_vec(&NotTaken { err, description: facts.detail }).unwrap_or_default();
    let mut answer = Answer::json(facts.status, body.into()).no_store();
    answer.set(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    answer
}

/// Writes an answer; the connection lives on where the request's body allows it. HEAD gets the
/// header alone.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn send(session: &mut Session, answer: Answer, request_id: &str) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len().saturating_add(5)))?;
    for (name, value) in answer.headers {
        head.append_header(name, value)?;
    }
    head.insert_header(X_REQUEST_ID, request_id)?;
    head.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    if answer.status != StatusCode::NO_CONTENT {
        head.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    }
    let empty = answer.body.is_empty() || session.req_header().method == Method::HEAD;
    body::before_answer(session, answer.status);
    // It is the client's doing that nothing can be written to it; pingora does not say whose.
    session.write_response_header(Box::new(head), empty).await.map_err(|error| error.into_down())?;
    if !empty {
        session.write_response_body(Some(answer.body), true).await.map_err(|error| error.into_down())?;
    }
    body::after_answer(session).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use serde_json::Value;

    use super::*;
    use crate::core::server_error::ServerError;

    fn header<'a>(answer: &'a Answer, name: &HeaderName) -> Option<&'a str> {
        answer.headers.iter().find(|(given, _)| given == name).and_then(|(_, value)| value.to_str().ok())
    }

    #[test]
    fn a_refusal_is_a_problem_with_its_request_id() {
        let mut answer = Answer::refusal(&Denial::NoCredential, Form::Problem, "abc");
        answer.challenge(&Denial::NoCredential, None, None);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["type"], "urn:tollgate:refusal:no_credential");
        assert_eq!(body["status"], 401);
        assert_eq!(body["request_id"], "abc");
        assert_eq!(header(&answer, &header::CONTENT_TYPE), Some("application/problem+json"));
        assert!(header(&answer, &header::WWW_AUTHENTICATE).unwrap().starts_with("Bearer"));
    }

    #[test]
    fn oauth_refusals_speak_oauth_and_are_not_stored() {
        let answer = Answer::refusal(&Denial::AuthorizationServerUnavailable, Form::OAuth, "abc");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["error"], "temporarily_unavailable");
        assert_eq!(header(&answer, &header::CACHE_CONTROL), Some("no-store"));
        assert_eq!(header(&answer, &header::RETRY_AFTER), Some("2"));
    }

    #[test]
    fn at_an_oauth_endpoint_a_refusal_speaks_oauth_however_it_is_spelled() {
        let pages = Pages::new(true);
        for (target, is_oauth) in [
            ("/oauth/token", true),
            ("/oauth/token?x=/", true),
            ("/%6fauth/%74oken", true),
            ("http://gate.example/oauth/token", true),
            ("HTTP://gate.example/%6Fauth/token?a", true),
            // What is ambiguous is told by how it begins.
            ("/oauth//token", true),
            ("/oauth/login", true),
            ("/%6fauthx/token", false),
            ("/api/oauth/token", false),
            ("http://gate.example?/oauth/token", false),
        ] {
            let mut request = RequestHeader::build("POST", target.as_bytes(), None).unwrap();
            request.insert_header(header::HOST, "gate.example").unwrap();
            let form = Form::fit_for(&request, &pages);
            assert_eq!(matches!(form, Form::OAuth), is_oauth, "{target}: {form:?}");
        }
    }

    #[test]
    fn what_the_authorization_server_said_goes_on_as_it_came() {
        let said =
            ServerError { error: "invalid_target".into(), description: None, uri: None, dpop_nonce: None };
        let denial = Denial::FromAuthorizationServer(Box::new(said));
        let answer = Answer::refusal(&denial, Form::OAuth, "abc");
        assert_eq!(&answer.body[..], br#"{"error":"invalid_target"}"#);
    }

    #[test]
    fn a_wrong_method_learns_the_right_ones() {
        let denial = Denial::MethodNotAllowed { allow: vec![Method::GET, Method::HEAD] };
        let answer = Answer::refusal(&denial, Form::Problem, "abc");
        assert_eq!(header(&answer, &header::ALLOW), Some("GET, HEAD"));
    }

    #[test]
    fn who_comes_back_when_told_is_not_too_early() {
        for (millis, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (59_500, "60")] {
            let denial =
                Denial::TooManyDenials { retry_after: Duration::from_millis(millis), only_reported: false };
            let answer = Answer::refusal(&denial, Form::Problem, "abc");
            assert_eq!(header(&answer, &header::RETRY_AFTER), Some(seconds), "{millis}");
        }
    }
}
