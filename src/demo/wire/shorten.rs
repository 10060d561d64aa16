//! What may be shown of a message: headers that matter, and bodies in which every secret is cut to its
//! first ten characters. What cannot be read as what it says it is shows its size and nothing else.

use std::borrow::Cow;

use http::{HeaderMap, header};
use serde_json::Value;

use crate::demo::tap::Body;

/// How much of a secret is shown, in characters.
const SHOWN: usize = 10;
/// The longest text that is shown whole, in characters.
const LONGEST_SHOWN: usize = 400;

/// Parameters and members whose values are secret, or long and random.
const SECRETS: [&str; 14] = [
    "access_token",
    "client_assertion",
    "client_secret",
    "code",
    "code_challenge",
    "code_verifier",
    "id_token",
    "id_token_hint",
    "nonce",
    "refresh_token",
    "session",
    "session_state",
    "state",
    "token",
];

/// The headers that are shown, in this order.
const HEADERS: [&str; 26] = [
    "host",
    "user-agent",
    "origin",
    "sec-fetch-site",
    "sec-fetch-mode",
    "content-type",
    "authorization",
    "cookie",
    "x-auth-subject",
    "x-auth-client",
    "x-auth-scope",
    "x-auth-issuer",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "traceparent",
    "location",
    "set-cookie",
    "www-authenticate",
    "retry-after",
    "cache-control",
    "access-control-allow-origin",
    "content-security-policy",
    "upgrade",
    "content-length",
];

/// The headers that matter, as name and value, in a fixed order.
pub(super) fn headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let mut shown = Vec::new();
    for name in HEADERS {
        for value in headers.get_all(name) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let text = match name {
                "authorization" => credentials(&text),
                "cookie" => cookies(&text),
                "set-cookie" => set_cookie(&text),
                "location" => target(&text),
                "user-agent" => cut(&text, 40).into_owned(),
                _ => text.into_owned(),
            };
            shown.push((name, cut(&text, LONGEST_SHOWN).into_owned()));
        }
    }
    shown
}

/// A request target or a URL, with the secrets in its query shortened.
pub(super) fn target(text: &str) -> String {
    match text.split_once('?') {
        None => cut(text, LONGEST_SHOWN).into_owned(),
        Some((path, query)) => cut(&format!("{path}?{}", parameters(query)), 2 * LONGEST_SHOWN).into_owned(),
    }
}

/// A body; `None` when there is none.
pub(super) fn body(headers: &HeaderMap, body: &Body) -> Option<String> {
    if body.length == 0 {
        return None;
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    let size = || {
        let kind = if media_type.is_empty() { "body" } else { media_type };
        format!("({}, {} bytes)", cut(kind, 60), body.length)
    };
    let text = std::str::from_utf8(&body.bytes).ok().filter(|_| body.is_whole());
    let shown = match media_type.to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" => text.map(|form| parameters(form).replace('&', "\n&")),
        media if media == "application/json" || media.ends_with("+json") => text.and_then(json),
        _ => None,
    };
    Some(shown.unwrap_or_else(size))
}

/// `text` cut to its first ten characters.
pub(super) fn secret(text: &str) -> Cow<'_, str> {
    cut(text, SHOWN)
}

fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}…", text.get(..at).unwrap_or_default())),
    }
}

/// `Bearer eyJhbGciOi…`
fn credentials(text: &str) -> String {
    match text.split_once(' ') {
        Some((scheme, rest)) => format!("{} {}", cut(scheme, SHOWN), secret(rest)),
        None => secret(text).into_owned(),
    }
}

/// Every value of a `Cookie` header may be a secret.
fn cookies(text: &str) -> String {
    let one = |cookie: &str| match cookie.split_once('=') {
        Some((name, value)) => format!("{name}={}", secret(value)),
        None => secret(cookie).into_owned(),
    };
    text.split(';').map(|cookie| one(cookie.trim())).collect::<Vec<_>>().join("; ")
}

fn set_cookie(text: &str) -> String {
    match text.split_once(';') {
        Some((pair, attributes)) => format!("{};{attributes}", cookies(pair)),
        None => cookies(text),
    }
}

/// A query or a form, as it was written but for its secrets.
fn parameters(text: &str) -> String {
    let one = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if is_secret(name) || looks_secret(value) => format!("{name}={}", secret(value)),
        _ => pair.to_owned(),
    };
    text.split('&').map(one).collect::<Vec<_>>().join("&")
}

fn json(text: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    hide(&mut value, false);
    serde_json::to_string_pretty(&value).ok()
}

fn hide(value: &mut Value, is_secret_here: bool) {
    match value {
        Value::String(text) if is_secret_here || looks_secret(text) => *text = secret(text).into_owned(),
        Value::String(text) => *text = cut(text, LONGEST_SHOWN).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, is_secret_here)),
        Value::Object(members) => {
            for (name, member) in members {
                // The upstream of the demo answers with what it received.
                match (name.as_str(), &mut *member) {
                    ("cookie" | "set-cookie", Value::String(text)) => *text = cookies(text),
                    ("query", Value::String(text)) => *text = parameters(text),
                    _ => {}
                }
                hide(member, is_secret_here || is_secret(name));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_secret(name: &str) -> bool {
    // A name may be percent-encoded; then nobody of ours wrote it.
    name.contains('%') || SECRETS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// A JWT under whatever name.
fn looks_secret(text: &str) -> bool {
    text.contains("eyJ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const LONG: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

    fn shown(content_type: &'static str, text: &str) -> Option<String> {
        let mut map = HeaderMap::new();
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        body(&map, &Body { bytes: text.into(), length: text.len() as u64 })
    }

    #[test]
    fn no_header_shows_more_than_ten_characters_of_a_secret() {
        let mut map = HeaderMap::new();
        let mut add = |name: &'static str, value: String| map.append(name, value.try_into().unwrap());
        add("authorization", format!("Bearer {LONG}"));
        add("cookie", format!("theme=dark; __Secure-tollgate-web-app={LONG};x"));
        add("set-cookie", format!("s={LONG}; Path=/oauth/token; HttpOnly"));
        add("location", format!("http://localhost:8080/?code={LONG}&state={LONG}&iss=http%3A%2F%2Fa"));
        add("x-api-key", "never shown".into());
        let lines: Vec<String> = headers(&map).into_iter().map(|(n, v)| format!("{n}: {v}")).collect();
        assert_eq!(
            lines,
            [
                "authorization: Bearer eyJhbGciOi…",
                "cookie: theme=dark; __Secure-tollgate-web-app=eyJhbGciOi…; x",
                "location: http://localhost:8080/?code=eyJhbGciOi…&state=eyJhbGciOi…&iss=http%3A%2F%2Fa",
                "set-cookie: s=eyJhbGciOi…; Path=/oauth/token; HttpOnly",
            ]
        );
    }

    #[test]
    fn no_body_shows_more_than_ten_characters_of_a_secret() {
        let form = format!("grant_type=authorization_code&code={LONG}&c%6fde={LONG}&x={LONG}");
        assert_eq!(
            shown("application/x-www-form-urlencoded", &form).unwrap(),
            "grant_type=authorization_code\n&code=eyJhbGciOi…\n&c%6fde=eyJhbGciOi…\n&x=eyJhbGciOi…"
        );
        let json =
            format!(r#"{{"access_token":"{LONG}","a":[{{"token":["0123456789abc"]}}],"s":"Bearer {LONG}"}}"#);
        let shown_json = shown("application/json; charset=utf-8", &json).unwrap();
        assert!(shown_json.contains("eyJhbGciOi…") && shown_json.contains("0123456789…"), "{shown_json}");
        assert!(!shown_json.contains("ES") && !shown_json.contains("abc"), "{shown_json}");
    }

    #[test]
    fn what_is_not_what_it_says_shows_its_size() {
        assert_eq!(shown("application/json", "{\"a\"").unwrap(), "(application/json, 4 bytes)");
        assert_eq!(shown("text/html", "<p>").unwrap(), "(text/html, 3 bytes)");
        assert_eq!(shown("application/json", ""), None);
        let mut map = HeaderMap::new();
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let half = Body { bytes: b"{}".to_vec(), length: 3 };
        assert_eq!(body(&map, &half).unwrap(), "(application/json, 3 bytes)");
    }

    #[test]
    fn a_target_keeps_its_path_and_loses_its_secrets() {
        assert_eq!(target("/a/b"), "/a/b");
        assert_eq!(target("/?code=0123456789abc&x=1"), "/?code=0123456789…&x=1");
        assert_eq!(target("/oauth/token?client_id=web-app"), "/oauth/token?client_id=web-app");
    }
}
