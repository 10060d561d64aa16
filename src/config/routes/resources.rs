//! `routes[].resource` — the name by which clients ask for tokens for a route (RFC 8707, RFC 9728).

use crate::config::network::Network;
use crate::config::routes::context::RouteContext;
use crate::config::settings::Issuer;
use crate::config::text::read::{Keys, Value};
use crate::core::ids::IssuerName;
use crate::core::route::Route;
use crate::core::route::policy::Access;
use crate::core::route::resource::Resource;
use crate::core::route::table::HostPattern;

/// `resource`: at the gateway itself, and an audience of tokens that the route takes.
pub(in crate::config) fn resource(
    value: &Value<'_>,
    host: Option<&HostPattern>,
    access: &Access,
    around: &RouteContext<'_>,
) -> Option<Resource> {
    let text = value.text()?;
    let resource = Resource::parse(&text).map_err(|why| value.wrong(value.untold(&why, &text))).ok()?;
    if let (Some(public), Some(origin)) = (&around.network.public_url, resource.origin()) {
        let is_here = match host {
            None => origin == public,
            Some(pattern) => {
                let name = origin.host_name();
                pattern.covers(name) && public.at(name) == *origin
            }
        };
        if !is_here {
            let here = match host {
                Some(HostPattern::Exact(name)) => public.at(name),
                Some(HostPattern::Below(name)) => public.at(&format!("<name>.{name}")),
                None => public.clone(),
            };
            value.wrong(format!(
                "is not where this route is served, and clients look for its metadata there (RFC 9728 section 3): begin it with `{}`",
                here.as_str()
            ));
            return None;
        }
    }
    let takes = |issuer: &&Issuer| access.takes_issuer(&issuer.name);
    let is_audience = |issuer: &Issuer| issuer.rules.audiences.contains(&text);
    if all_read(access, around) && !around.issuers.iter().filter(takes).any(is_audience) {
        value.wrong(
            "is in no `audience` of an issuer whose tokens the route takes, so a token for it would be refused; add it there",
        );
    }
    Some(resource)
}

/// Whether every issuer is known whose tokens the route takes: one that could not be read has its own
/// mistake, and may be the one whose audience it is.
fn all_read(access: &Access, around: &RouteContext<'_>) -> bool {
    let is_read = |name: &IssuerName| around.issuers.iter().any(|issuer| issuer.name == *name);
    let names = around.issuer_names.iter().map(|name| IssuerName::new(*name));
    let mut unread = names.filter(|name| !is_read(name)).peekable();
    // Of which issuer a client is that could not be read, nobody can tell.
    let names_clients = access.alternatives().any(|required| required.clients.is_some());
    let clients_are_read = !names_clients || around.clients.len() == around.client_names.len();
    unread.peek().is_none() || (clients_are_read && !unread.any(|name| access.takes_issuer(&name)))
}

/// Two spellings of one resource would have one place for their metadata.
pub(in crate::config) fn tell_resources_apart(routes: &[(Keys<'_>, Route)], network: &Network) {
    let Some(public) = &network.public_url else { return };
    let identifier = |route: &Route| {
        let at = match &route.host {
            Some(HostPattern::Exact(name)) => public.at(name),
            _ => public.clone(),
        };
        route.resource.identifier(&at)
    };
    for (keys, route) in routes.iter().filter(|(keys, _)| keys.has("resource")) {
        let mine = identifier(route);
        let other = routes
            .iter()
            .filter(|(_, other)| other.is_served())
            .map(|(_, other)| identifier(other))
            .any(|other| other != mine && other.trim_end_matches('/') == mine.trim_end_matches('/'));
        if other {
            keys.wrong(
                "resource",
                "another route's resource is the same but for a `/` at its end; write both the same way",
            );
        }
    }
}
