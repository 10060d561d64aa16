//! Tells an upstream who calls, in a statement signed by the gateway (see [`crate::core::assertion`]). The
//! route says whether and how. An assertion bound to an upstream alone is reused for the same token and
//! upstream for half of its life.
//!
//! If a route asks for one and it cannot be made, nothing goes to the upstream.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::core::assertion::{About, Binding, RequestFacts};
use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::route::permit::Permit;
use crate::flows::ports::random;
use crate::flows::route_request::RouteRequest;
use crate::state::verified_tokens::KnownCaller;

/// Makes the header for a permitted request, on a route that asks for one. `caller`: whom the upstream is
/// told of. `token`: the access token that was verified for the request.
///
/// # Errors
/// [`Denial::Internal`] when it cannot be signed, or nothing is configured to sign it with.
pub(in crate::flows) fn make_assertion(
    request: RouteRequest<'_>,
    permit: &Permit,
    caller: &Arc<Caller>,
    token: &KnownCaller,
) -> Result<(HeaderName, HeaderValue), Denial> {
    let RouteRequest { gate, live, head, now } = request;
    let route = permit.route();
    let (Some(assertions), Some(rules), Some(upstream)) =
        (&live.assertions, &route.forwarding.identity.assertion, &route.upstream)
    else {
        tracing::error!(route = %route.name, "an assertion is asked for, and nothing is there to make it");
        return Err(Denial::Internal);
    };
    let make = |request| {
        let iss = &token.notes.issuer.settings.rules.iss;
        let about = About { upstream, request };
        assertions.make(caller, iss, about, rules.ttl, now).map_err(|error| {
            tracing::error!(%error, "an assertion cannot be made");
            Denial::Internal
        })
    };
    let value = match rules.binding {
        Binding::Request => {
            let id = random(&*gate.random);
            make(Some(RequestFacts { method: head.method, path: permit.path().as_str(), id }))?.value
        }
        Binding::Upstream => {
            let whose = (token.notes.fingerprint, upstream.clone(), rules.ttl);
            match gate.made_assertions.get(&whose, assertions, caller, now) {
                Some(value) => value,
                None => {
                    let made = make(None)?;
                    gate.made_assertions.keep(whose, assertions.clone(), caller, made.clone());
                    made.value
                }
            }
        }
    };
    Ok((rules.header.clone(), value))
}
