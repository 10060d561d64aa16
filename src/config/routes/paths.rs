//! `routes[].path`, `routes[].encoded_slash` and `routes[].host` — which paths a route covers at which hosts,
//! whether one that is written with an encoded slash is ever found, and whether two differ by something that
//! their service may not see.

use std::sync::Arc;

use crate::config::text::read::{Keys, Value};
use crate::core::path::{EncodedSlash, PathPattern};
use crate::core::route::Route;
use crate::core::route::table::{HostPattern, RouteTable};

/// What the route covers.
pub(in crate::config) fn read(keys: &Keys<'_>) -> Option<PathPattern> {
    let words = [("refuse", EncodedSlash::Refuse), ("keep", EncodedSlash::Keep)];
    let slash = keys.word("encoded_slash", &words, EncodedSlash::Refuse);
    keys.get("path").and_then(|value| path(&value, slash))
}

fn path(value: &Value<'_>, slash: EncodedSlash) -> Option<PathPattern> {
    let text = value.pattern()?;
    let pattern = match PathPattern::parse_with(&text, slash) {
        Ok(pattern) => pattern,
        Err(why) => {
            value.wrong(value.untold(&why, &text));
            return None;
        }
    };
    if pattern.covers_own_paths() {
        value.wrong(
            "`/oauth`, `/.well-known/oauth-protected-resource` and `/.well-known/jwks.json` belong to Tollgate; \
             serve this under another path",
        );
        return None;
    }
    if let Some(name) = text.split('/').find_map(parameter_of_others) {
        let why = format!(
            "`:{name}` stands for itself here, and for no parameter; write `{{{name}}}` for any one segment"
        );
        value.warn(value.untold(&why, &text));
    }
    Some(pattern)
}

/// The name of a parameter as Express, Rails and Gin spell it.
fn parameter_of_others(segment: &str) -> Option<&str> {
    // Behind it an extension may follow, or another one.
    let rest = segment.strip_prefix(':')?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.get(..end).filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

pub(in crate::config) fn host(value: &Value<'_>) -> Option<HostPattern> {
    let text = value.text()?;
    HostPattern::parse(&text).map_err(|why| value.wrong(value.untold(&why, &text))).ok()
}

/// A route that is written with an encoded slash, and is never found.
pub(in crate::config) fn warn_of_hidden(table: &RouteTable, places: &[Keys<'_>], routes: &[Arc<Route>]) {
    for (keys, route) in places.iter().zip(routes) {
        if let Some(other) = table.hidden_by(route).and_then(|other| places.get(other)) {
            let message = format!(
                "no request reaches it, because a service that decodes the slash would find what {} covers; move one of the two",
                other.place
            );
            keys.warn("path", message);
        }
    }
}

/// Two routes that differ by case alone, of a service that may take both for the same.
pub(in crate::config) fn warn_of_variants(table: &RouteTable, places: &[Keys<'_>], routes: &[Arc<Route>]) {
    for &(first, second) in table.case_variants() {
        let of_both = [first, second].map(|at| places.get(at).zip(routes.get(at)));
        let [Some((keys, route)), Some((other_keys, other))] = of_both else { continue };
        if route.forwarding.case_sensitive && other.forwarding.case_sensitive {
            continue;
        }
        let message = format!(
            "differs from that of {} only in upper and lower case: a service that takes both for the same serves what each covers under the \
             other's policy too; say `case_sensitive: true` at their upstreams if they tell them apart, or keep one of the two",
            keys.place
        );
        other_keys.warn("path", message);
    }
}
