//! `/.well-known/jwks.json` on the wire: the keys by which upstreams check assertions (RFC 7517). Anybody may
//! read them without proving anything.

use http::{HeaderValue, StatusCode, header};
use pingora::http::RequestHeader;

use crate::core::denial::Denial;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::pages::Pages;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::reply::EndpointReply;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

/// Whoever caches the keys for longer meets a new one late: publish it so long before it signs.
const FRESH_FOR: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Answers a request to `/.well-known/jwks.json`.
pub(crate) fn answer(
    live: &Live,
    pages: &Pages,
    request: &RequestHeader,
    who: &Identification,
) -> EndpointReply {
    match keys(live, request) {
        Ok(answer) => EndpointReply::done(answer, RequestOutcome::Ok),
        Err(denial) => {
            let form = Form::fit_for(request, pages);
            let answer = Answer::refusal(&denial, form, who.ids.request_id.as_str());
            EndpointReply::refused(answer, denial)
        }
    }
}

fn keys(live: &Live, request: &RequestHeader) -> Result<Answer, Denial> {
    let assertions = live.assertions.as_ref().ok_or(Denial::NoRoute)?;
    OwnEndpoint::AssertionKeys.takes(&request.method)?;
    let mut answer = Answer::json(StatusCode::OK, assertions.jwks().clone());
    answer.set(header::CACHE_CONTROL, FRESH_FOR);
    Ok(answer)
}
