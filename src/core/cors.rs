//! Which pages of other origins may read an answer, and what they may send: the CORS protocol
//! (Fetch Standard section 3.3) as the gateway speaks it.
//!
//! It says what a browser may show to a page, and whose pages may bring a token with a WebSocket. Whether a
//! request is let through is never decided here: that is the token's affair on routes, and
//! `session::origin`'s where a cookie is used. Pages that are no client's read nothing that a cookie could
//! have led to.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::core::cors::page_pattern::PagePattern;
use crate::core::request::Origin;

pub mod page_pattern;

/// What a page may send beyond what any page may. The last three are those of W3C Trace Context and Baggage,
/// which pages that are traced add to each of their calls; who is believed in them is another matter
/// (`core::forwarded`).
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, DPoP, traceparent, tracestate, baggage";
/// What a page may read of an answer beyond what any page may.
const EXPOSED_HEADERS: &str = "WWW-Authenticate, Retry-After, X-Request-Id, DPoP-Nonce";
/// How long a browser remembers a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The pages that answers are shared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// The origins whose pages may read them: those of clients.
    pub origins: Vec<Origin>,
    /// The pages that may beside those, never with cookies: `cors.origins`.
    pub without_cookies: Vec<PagePattern>,
    /// Whether the requests of clients' pages may carry cookies.
    pub credentials: bool,
    /// What a page must send beside a session cookie.
    pub csrf_headers: Vec<HeaderName>,
    /// What its requests may carry beside what they always may.
    pub headers: Vec<HeaderName>,
}

/// Whether a page may send this header on every route.
pub fn is_always_allowed(name: &HeaderName) -> bool {
    ALLOWED_HEADERS.split(", ").any(|allowed| name.as_str().eq_ignore_ascii_case(allowed))
}

/// A page that may read the answer to its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    origin: HeaderValue,
    credentials: bool,
    /// What it may send beside what every such page may.
    headers: Vec<HeaderName>,
}

impl Sharing {
    /// The page that asked, when it may read the answer. `request`: the headers of its request.
    pub fn reader(&self, request: &HeaderMap) -> Option<Reader> {
        let origin = origin(request)?;
        if self.origins.iter().any(|listed| listed.is_sent_as(origin.as_bytes())) {
            let own = self.headers.iter().filter(|name| !self.csrf_headers.contains(name));
            let headers = self.csrf_headers.iter().chain(own).cloned().collect();
            return Some(Reader { origin: origin.clone(), credentials: self.credentials, headers });
        }
        let pattern = self.without_cookies.iter().find(|pattern| pattern.covers(origin.as_bytes()))?;
        let is_for_all = *pattern == PagePattern::EVERYBODY;
        let origin = if is_for_all { HeaderValue::from_static("*") } else { origin.clone() };
        Some(Reader { origin, credentials: false, headers: self.headers.clone() })
    }

    /// Whether the page that asked is one that the operator has named: not one of everybody's.
    pub fn names_page(&self, request: &HeaderMap) -> bool {
        origin(request).is_some_and(|origin| {
            let origin = origin.as_bytes();
            let mut patterns =
                self.without_cookies.iter().filter(|pattern| **pattern != PagePattern::EVERYBODY);
            self.origins.iter().any(|listed| listed.is_sent_as(origin))
                || patterns.any(|pattern| pattern.covers(origin))
        })
    }

    /// Whether every page may read them.
    pub fn is_with_everybody(&self) -> bool {
        self.without_cookies.contains(&PagePattern::EVERYBODY)
    }

    /// Whether the page that opens a WebSocket may bring its token with it. No preflight comes before, so
    /// that any page could (RFC 6455 section 10.2): those may that could read an answer, and those of `own`,
    /// the gateway as browsers see it, which need no leave to read one.
    pub fn lets_bring_token(&self, request: &HeaderMap, own: &Origin) -> bool {
        self.reader(request).is_some()
            || origin(request).is_some_and(|origin| own.is_sent_as(origin.as_bytes()))
    }
}

/// The origin of the page that sent it, where that has one reading.
fn origin(request: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = request.get_all(header::ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

impl Reader {
    /// The headers that let it read an answer. `exposed`: what the upstream exposes beside ours.
    pub fn headers<'a>(
        &self,
        exposed: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut names = EXPOSED_HEADERS.to_owned();
        for more in exposed.into_iter().filter_map(|value| value.to_str().ok()) {
            names.push_str(", ");
            names.push_str(more);
        }
        let names = HeaderValue::try_from(names).unwrap_or(HeaderValue::from_static(EXPOSED_HEADERS));
        let mut headers = self.origin_headers();
        headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, names));
        headers
    }

    /// The answer to its preflight. `methods`: those of the route.
    pub fn preflight_headers(&self, methods: &[Method]) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = self.origin_headers();
        let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        if let Ok(methods) = HeaderValue::try_from(methods) {
            headers.push((header::ACCESS_CONTROL_ALLOW_METHODS, methods));
        }
        let more = self.headers.iter().map(HeaderName::as_str);
        let allowed = std::iter::once(ALLOWED_HEADERS).chain(more).collect::<Vec<_>>().join(", ");
        let allowed = HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS));
        headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, allowed));
        headers.push((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE));
        headers
    }

    fn origin_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(5);
        headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone()));
        if self.credentials {
            headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        headers
    }
}

/// Everything by which an upstream would speak CORS itself.
pub static SPOKEN_BY_UPSTREAMS: [HeaderName; 7] = [
    HeaderName::from_static("access-control-allow-private-network"),
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// A preflight, and the method that the page wants to use. Only [`preflight`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    method: Method,
}

impl Preflight {
    pub fn method(&self) -> &Method {
        &self.method
    }
}

/// Reads a preflight; `None` when the request is none. A preflight carries neither credentials nor a
/// body (Fetch section 4.9), so `OPTIONS` with either is a request like any other.
pub fn preflight(method: &Method, headers: &HeaderMap) -> Option<Preflight> {
    if *method != Method::OPTIONS {
        return None;
    }
    let carries = |name: &HeaderName| headers.contains_key(name);
    let has_body = carries(&header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let is_more = has_body
        || carries(&header::AUTHORIZATION)
        || carries(&header::UPGRADE)
        || carries(&header::SEC_WEBSOCKET_PROTOCOL);
    if is_more || !carries(&header::ORIGIN) {
        return None;
    }
    let mut asked = headers.get_all(header::ACCESS_CONTROL_REQUEST_METHOD).iter();
    let (Some(asked), None) = (asked.next(), asked.next()) else { return None };
    Some(Preflight { method: Method::from_bytes(asked.as_bytes()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "https://app.example";

    fn map(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn sharing(credentials: bool) -> Sharing {
        Sharing { origins: vec![Origin::parse(APP).unwrap()], credentials, ..Sharing::default() }
    }

    #[test]
    fn only_a_page_of_a_listed_origin_reads_along() {
        for (origins, reads) in [
            (&[APP][..], true),
            (&[], false),
            (&["https://evil.example"], false),
            (&["null"], false),
            (&["*"], false),
            (&["https://app.example.evil.example"], false),
            (&["https://sub.app.example"], false),
            (&["http://app.example"], false),
            (&["https://app.example:443"], false),
            (&["https://APP.example"], false),
            (&["https://app.example/"], false),
            (&[APP, APP], false),
            (&[APP, "https://evil.example"], false),
        ] {
            let origins: Vec<_> = origins.iter().map(|origin| (header::ORIGIN, *origin)).collect();
            assert_eq!(sharing(true).reader(&map(&origins)).is_some(), reads, "{origins:?}");
        }
        assert_eq!(Sharing::default().reader(&map(&[(header::ORIGIN, APP)])), None);
    }

    #[test]
    fn a_reader_learns_what_it_may_do() {
        let text = |headers: Vec<(HeaderName, HeaderValue)>| -> String {
            headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect()
        };
        let reader = |credentials| sharing(credentials).reader(&map(&[(header::ORIGIN, APP)])).unwrap();
        assert_eq!(
            text(reader(false).preflight_headers(&[Method::GET, Method::PATCH])),
            "access-control-allow-origin: https://app.example\n\
             access-control-allow-methods: GET, PATCH\n\
             access-control-allow-headers: Authorization, Content-Type, DPoP, traceparent, tracestate, baggage\n\
             access-control-max-age: 600\n"
        );
        assert_eq!(
            text(reader(true).headers([&HeaderValue::from_static("ETag")])),
            "access-control-allow-origin: https://app.example\n\
             access-control-allow-credentials: true\n\
             access-control-expose-headers: WWW-Authenticate, Retry-After, X-Request-Id, DPoP-Nonce, ETag\n"
        );
    }

    #[test]
    fn a_page_may_send_what_is_listed_beside_what_it_always_may_each_once() {
        let [csrf, etag] = ["x-csrf", "if-match"].map(HeaderName::from_static);
        let sharing =
            Sharing { csrf_headers: vec![csrf.clone()], headers: vec![etag, csrf], ..sharing(true) };
        let headers = sharing.reader(&map(&[(header::ORIGIN, APP)])).unwrap().preflight_headers(&[]);
        let allowed = headers.iter().find(|(name, _)| *name == header::ACCESS_CONTROL_ALLOW_HEADERS);
        let always = "Authorization, Content-Type, DPoP, traceparent, tracestate, baggage";
        assert_eq!(allowed.unwrap().1, format!("{always}, x-csrf, if-match"));
        for (name, is) in [("authorization", true), ("dpop", true), ("baggage", true), ("if-match", false)] {
            assert_eq!(is_always_allowed(&HeaderName::from_static(name)), is, "{name}");
        }
    }

    #[test]
    fn a_preflight_is_told_from_other_requests_with_options() {
        let asks = (header::ACCESS_CONTROL_REQUEST_METHOD, "PUT");
        let origin = (header::ORIGIN, APP);
        let read = |method: Method, fields: &[(HeaderName, &'static str)]| {
            preflight(&method, &map(fields)).map(|preflight| preflight.method)
        };
        assert_eq!(read(Method::OPTIONS, &[origin.clone(), asks.clone()]), Some(Method::PUT));
        let empty = (header::CONTENT_LENGTH, "0");
        assert_eq!(read(Method::OPTIONS, &[origin.clone(), asks.clone(), empty]), Some(Method::PUT));
        assert_eq!(read(Method::GET, &[origin.clone(), asks.clone()]), None);
        assert_eq!(read(Method::OPTIONS, std::slice::from_ref(&origin)), None);
        assert_eq!(read(Method::OPTIONS, std::slice::from_ref(&asks)), None);
        assert_eq!(read(Method::OPTIONS, &[origin.clone(), asks.clone(), asks.clone()]), None);
        let spaced = (header::ACCESS_CONTROL_REQUEST_METHOD, "P UT");
        assert_eq!(read(Method::OPTIONS, &[origin.clone(), spaced]), None);
        for more in [
            (header::AUTHORIZATION, "Bearer x"),
            (header::CONTENT_LENGTH, "1"),
            (header::TRANSFER_ENCODING, "chunked"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_PROTOCOL, "tollgate.bearer.YQ"),
        ] {
            let fields = [origin.clone(), asks.clone(), more];
            assert_eq!(read(Method::OPTIONS, &fields), None, "{fields:?}");
        }
    }
}
