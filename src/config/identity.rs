//! `identity:` — which headers tell the upstream who is calling. Such a header is removed from every
//! request that comes in, so none may be one that requests need, or that means something to others.

use http::HeaderName;

use crate::config::read::{Keys, Value};
use crate::config::settings::{AccessTokenForwarding, Identity};
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
    let words = [("strip", AccessTokenForwarding::Strip), ("forward", AccessTokenForwarding::Forward)];
    Identity { headers, access_token: keys.word("access_token", &words, AccessTokenForwarding::Strip) }
}

fn headers(value: &Value<'_>) -> Vec<(HeaderName, String)> {
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    let always = ReservedHeaders::new(std::iter::empty());
    let mut folded: Vec<(String, &str)> = Vec::new();
    for (written, value) in value.named("header") {
        if value.is_list() {
            value.wrong("is a list; a header holds one claim, name it");
            continue;
        }
        let Some(claim) = value.text() else { continue };
        let Ok(name) = written.parse::<HeaderName>() else {
            value.wrong("is no header name; use letters, digits and `-`, like `X-Auth-Subject`");
            continue;
        };
        let fold = fold(name.as_str());
        if always.is_reserved(&fold)
            || TAKEN.contains(&fold.as_str())
            || TAKEN_FAMILIES.iter().any(|family| fold.starts_with(family))
        {
            value.wrong("this header has another meaning; choose a name of its own, like `X-Auth-Subject`");
            continue;
        }
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
