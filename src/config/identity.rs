//! `identity:` — which headers tell the upstream who is calling. Such a header is removed from every
//! request that comes in, so none may be one that requests need, or that means something to others.

use std::time::Duration;

use http::HeaderName;

use crate::config::keys::assertion_keys;
use crate::config::read::{Keys, Value};
use crate::config::settings::{AccessTokenForwarding, Assertion, Identity};
use crate::core::assertion::Binding;
use crate::core::identity_headers::ReservedHeaders;

/// Headers that HTTP (RFC 9110), browsers or the upstream need for something else, folded; beside
/// those that `core::identity_headers` reserves.
const TAKEN: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "dpop",
    "expect",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "te",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "www-authenticate",
];
const TAKEN_FAMILIES: &[&str] = &["sec-", "access-control-"];

const ASSERTION: HeaderName = HeaderName::from_static("x-auth-assertion");

const DEFAULT: [(HeaderName, &str); 4] = [
    (HeaderName::from_static("x-auth-subject"), "sub"),
    (HeaderName::from_static("x-auth-client"), "client_id"),
    (HeaderName::from_static("x-auth-scope"), "scope"),
    (HeaderName::from_static("x-auth-issuer"), "iss"),
];

pub(super) fn read(root: &Keys<'_>) -> Identity {
    let keys = root.section("identity");
    let headers = match keys.get("headers") {
        Some(value) => headers(&value),
        None => DEFAULT.into_iter().map(|(name, claim)| (name, claim.to_owned())).collect(),
    };
    let assertion = assertion(&keys.section("assertion"), keys.has("assertion"), &headers);
    let words = [("strip", AccessTokenForwarding::Strip), ("forward", AccessTokenForwarding::Forward)];
    let access_token = keys.word("access_token", &words, AccessTokenForwarding::Strip);
    Identity { headers, access_token, assertion }
}

/// `identity`: the headers that are taken already.
fn assertion(keys: &Keys<'_>, is_on: bool, identity: &[(HeaderName, String)]) -> Option<Assertion> {
    let header = match keys.get("header") {
        None => Some(ASSERTION),
        Some(value) => value.text().and_then(|text| own_header(&value, &text)),
    };
    let taken =
        |header: &HeaderName| identity.iter().any(|(name, _)| fold(name.as_str()) == fold(header.as_str()));
    if is_on && header.as_ref().is_some_and(taken) {
        let key = if keys.has("header") { "header" } else { "" };
        keys.wrong(key, "is one of the identity headers too; choose another name");
    }
    let ttl =
        keys.duration("ttl", Duration::from_secs(60), Duration::from_secs(10)..=Duration::from_secs(3600));
    let words = [("upstream", Binding::Upstream), ("request", Binding::Request)];
    let binding = keys.word("bind", &words, Binding::Upstream);
    let keys = keys.get("keys").map(|value| assertion_keys(&value)).unwrap_or_default();
    header.filter(|_| is_on).map(|header| Assertion { header, ttl, binding, keys })
}

/// A header that nobody needs for anything else.
fn own_header(value: &Value<'_>, written: &str) -> Option<HeaderName> {
    let Ok(name) = written.parse::<HeaderName>() else {
        value.wrong("is no header name; use letters, digits and `-`, like `X-Auth-Subject`");
        return None;
    };
    let fold = fold(name.as_str());
    if ReservedHeaders::new(std::iter::empty()).is_reserved(&fold)
        || TAKEN.contains(&fold.as_str())
        || TAKEN_FAMILIES.iter().any(|family| fold.starts_with(family))
    {
        value.wrong("this header has another meaning; choose a name of its own, like `X-Auth-Subject`");
        return None;
    }
    Some(name)
}

fn headers(value: &Value<'_>) -> Vec<(HeaderName, String)> {
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    let mut folded: Vec<(String, &str)> = Vec::new();
    for (written, value) in value.named("header") {
        if value.is_list() {
            value.wrong("is a list; a header holds one claim, name it");
            continue;
        }
        let Some(claim) = value.text() else { continue };
        let Some(name) = own_header(&value, written) else { continue };
        let fold = fold(name.as_str());
        if let Some((_, other)) = folded.iter().find(|(other, _)| *other == fold) {
            value.wrong(format!(
                "is the same as `{other}` to servers that read every sign as `-` and no case; keep one of the two"
            ));
            continue;
        }
        folded.push((fold, written));
        headers.push((name, claim));
    }
    headers
}

/// As reserved names are compared: without case, every sign that is not a letter or digit a `-`.
fn fold(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}
