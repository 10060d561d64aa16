//! `routes[].path` and `routes[].encoded_slash` — which paths a route covers, and whether one that is written with an
//! encoded slash is ever found.

use std::sync::Arc;

use crate::config::read::{Keys, Value};
use crate::core::route::Route;
use crate::core::route::path::{EncodedSlash, PathPattern};
use crate::core::route::table::RouteTable;

/// What the route covers.
pub(super) fn read(keys: &Keys<'_>) -> Option<PathPattern> {
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
    Some(pattern)
}

/// A route that is written with an encoded slash, and is never found.
pub(super) fn warn_of_hidden(table: &RouteTable, places: &[Keys<'_>], routes: &[Arc<Route>]) {
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
