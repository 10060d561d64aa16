//! Tells an upstream who calls, under the gateway's signature (see [`crate::core::assertion`]). One that was
//! made for the same token and upstream serves again for half its life, unless each request has its own. The
//! route says whether and how.
//!
//! Where it is asked for and cannot be made, nothing goes to the upstream.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

use crate::core::assertion::{About, Binding, RequestFacts};
use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::route::permit::Permit;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::ports::random;
use crate::state::live::Live;
use crate::state::verified_tokens::KnownCaller;

/// The header that goes with a request of this caller, who has this token, on a route that asks for it.
///
/// # Errors
/// [`Denial::Internal`] when it cannot be signed, or nobody knows how.
pub(in crate::flows) fn make_assertion(
    gate: &Gate,
    live: &Live,
    permit: &Permit,
    method: &Method,
    caller: &Arc<Caller>,
    token: &KnownCaller,
    now: Timestamp,
) -> Result<(HeaderName, HeaderValue), Denial> {
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
            make(Some(RequestFacts { method, path: permit.path().as_str(), id }))?.value
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
