//! `/.well-known/oauth-protected-resource` on the wire (RFC 9728 section 3.2). Any page may read it: it holds
//! nothing that depends on who asks.

use http::{HeaderValue, Method, StatusCode, header};
use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::respond::Form;
use crate::edge::request::request_head;
use crate::flows::admit::Target;
use crate::flows::describe_resource::describe_resource;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;

/// A changed configuration is seen by everybody after that long.
const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// The answer, and the denial that it is.
pub(crate) fn answer(
    live: &Live,
    session: &Session,
    target: &Target,
    request_id: &str,
) -> (Answer, Option<Denial>) {
    let (mut answer, denial) = match found(live, session, target) {
        Ok(answer) => (answer, None),
        Err(denial) => (Answer::refusal(&denial, Form::Problem, request_id), Some(denial)),
    };
    answer.set(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    (answer, denial)
}

fn found(live: &Live, session: &Session, target: &Target) -> Result<Answer, Denial> {
    let request = session.req_header();
    OwnEndpoint::ResourceMetadata.takes(&request.method)?;
    let host = request_head::host(request)?;
    let head = request_head::head(request, &host, std::net::Ipv4Addr::UNSPECIFIED.into())?;
    let metadata = describe_resource(live, &head, target)?;
    if request.method == Method::OPTIONS {
        return Ok(options());
    }
    let mut answer = Answer::json(StatusCode::OK, metadata.to_string().into());
    answer.set(header::CACHE_CONTROL, MAX_AGE);
    Ok(answer)
}

/// Clients send header fields of their own along, such as the version of their protocol.
fn options() -> Answer {
    let methods = HeaderValue::from_static("GET, HEAD, OPTIONS");
    let mut answer = Answer::json(StatusCode::NO_CONTENT, bytes::Bytes::new());
    answer.set(header::ALLOW, methods.clone());
    answer.set(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    answer.set(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    answer.set(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answer
}
