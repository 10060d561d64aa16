//! Documents that anybody may read without proving anything: the keys by which upstreams check assertions
//! (RFC 7517).

use http::{HeaderValue, Method, StatusCode, header};

use crate::core::denial::Denial;
use crate::edge::answers::answer::Answer;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;

/// Whoever caches the keys for longer meets a new one late: publish it so long before it signs.
const FRESH_FOR: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// `/.well-known/jwks.json`
///
/// # Errors
/// `NoRoute` where no assertions are made; `MethodNotAllowed`.
pub(crate) fn assertion_keys(live: &Live, method: &Method) -> Result<Answer, Denial> {
    let assertions = live.assertions.as_ref().ok_or(Denial::NoRoute)?;
    OwnEndpoint::AssertionKeys.takes(method)?;
    let mut answer = Answer::json(StatusCode::OK, assertions.jwks().clone());
    answer.set(header::CACHE_CONTROL, FRESH_FOR);
    Ok(answer)
}
