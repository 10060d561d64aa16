//! `/.well-known/oauth-protected-resource` on the wire (RFC 9728 section 3.2). Any page may read it: it holds
//! nothing that depends on who asks.

use http::{HeaderValue, Method, StatusCode, header};
use pingora::http::RequestHeader;

use crate::core::denial::Denial;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::reply::{EndpointReply, Readers};
use crate::edge::request::request_head;
use crate::flows::admit::Target;
use crate::flows::describe_resource::describe_resource;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

/// A changed configuration is seen by everybody after that long.
const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Answers a request to `/.well-known/oauth-protected-resource`, or below.
pub(crate) fn answer(
    live: &Live,
    request: &RequestHeader,
    target: &Target,
    who: &Identification,
) -> EndpointReply {
    let mut reply = match found(live, request, target) {
        Ok(answer) => EndpointReply::done(answer, RequestOutcome::Ok),
        Err(denial) => {
            let answer = Answer::refusal(&denial, Form::Problem, who.ids.request_id.as_str());
            EndpointReply::refused(answer, denial)
        }
    };
    reply.answer.set(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    EndpointReply { readers: Readers::AsItSays, ..reply }
}

fn found(live: &Live, request: &RequestHeader, target: &Target) -> Result<Answer, Denial> {
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
