//! What clients may know of a resource before they have a token for it (RFC 9728 section 3): which
//! authorization servers its tokens come from, and which scopes there are. Answered from the configuration,
//! to anybody.

use serde_json::Value;

use crate::core::denial::Denial;
use crate::core::path::SLASH;
use crate::core::request::RequestHead;
use crate::core::route::Route;
use crate::core::route::resource::{WELL_KNOWN, metadata};
use crate::core::route::table::HostPattern;
use crate::flows::admit::Target;
use crate::state::live::Live;

/// The metadata of the resource that the target names, as it is known under the host that was asked.
///
/// # Errors
/// `NoRoute` where no route belongs to that resource; `AmbiguousTarget` where it has an encoded slash
/// besides.
pub fn describe_resource(live: &Live, head: &RequestHead<'_>, target: &Target) -> Result<Value, Denial> {
    let path = target.path.as_str().strip_prefix(WELL_KNOWN).ok_or(Denial::NoRoute)?;
    let host = head.host_name()?;
    let at = live.settings.public_url.at(host);
    let belongs = |route: &&Route| {
        route.is_served()
            && route.host.as_ref().is_none_or(|pattern: &HostPattern| pattern.covers(host))
            && route.resource.is_at(&at, path)
    };
    let routes = live.settings.routes.iter().map(AsRef::as_ref).filter(belongs);
    let issuers = live.settings.issuers.iter().map(|issuer| (&issuer.name, issuer.rules.iss.as_str()));
    let described = metadata(routes, issuers, &at);
    described.ok_or(if target.path.has_encoded_slash() {
        Denial::AmbiguousTarget(SLASH)
    } else {
        Denial::NoRoute
    })
}
