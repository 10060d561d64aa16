//! What the rules need to know of a request, independent of who read it from the wire.

use std::net::IpAddr;
use std::ops::Range;

use http::{HeaderMap, Method};

use crate::core::denial::Denial;

/// The methods that a route may name.
pub const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// The head of a request, as it came.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    /// The request target in origin form, undecoded, with its query. An absolute-form target was
    /// already checked against `Host` and cut down to this.
    pub target: &'a [u8],
    /// The `Host` header or `:authority`, lower case, with its port where it came with one.
    pub host: &'a str,
    pub headers: &'a HeaderMap,
    /// Whether it asks to become a WebSocket (RFC 6455 section 4.1).
    pub upgrades: bool,
    /// The client: the peer's address, or what a trusted proxy said of it.
    pub client_address: IpAddr,
}

impl RequestHead<'_> {
    /// `host` without its port, as routes name it. `None` when it is no host with or without a port.
    pub fn host_name(&self) -> Option<&str> {
        host_name(self.host)
    }
}

/// Refuses methods that nobody is served by, whatever the target.
///
/// # Errors
/// TRACE and CONNECT; one that has a small letter. Methods differ by case (RFC 9110 section 9.1): `delete` is another
/// than DELETE to a route, and the same to many a service.
pub fn check_method(method: &Method) -> Result<(), Denial> {
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return Err(Denial::MethodNotAllowed { allow: METHODS.to_vec() });
    }
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Denial::BadRequest("The method is not written in capitals."));
    }
    Ok(())
}

/// The host of `host[:port]` (RFC 3986 section 3.2.2); an IPv6 address keeps its brackets.
pub fn host_name(authority: &str) -> Option<&str> {
    let name_ends = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    let (name, port) = match authority.get(name_ends..)?.bytes().position(|byte| byte == b':') {
        Some(at) => authority.split_at_checked(name_ends + at)?,
        None => (authority, ":0"),
    };
    let port = port.strip_prefix(':')?;
    (!name.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

/// An origin as browsers compare them (RFC 6454 section 4): scheme, host, port; lower case, the
/// default port left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    text: String,
    /// Where in it.
    host: Range<usize>,
}

impl Origin {
    /// `scheme`: `http` or `https`.
    fn new(scheme: &str, authority: &str) -> Self {
        let starts = scheme.len().saturating_add("://".len());
        let host = starts..starts.saturating_add(host_name(authority).map_or(0, str::len));
        Self { text: format!("{scheme}://{authority}"), host }
    }

    /// Parses `https://host[:port]` as somebody wrote it. `null`, paths, user information and other
    /// schemes are no origin.
    pub fn parse(text: &str) -> Option<Self> {
        let url = url::Url::parse(text).ok()?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
            && !text.ends_with('/');
        let origin = url.origin().ascii_serialization();
        let (scheme, authority) = origin.split_once("://").filter(|_| plain)?;
        Some(Self::new(scheme, authority))
    }

    /// `https://host[:port]`
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is what a browser's `Origin` header holds, byte for byte: browsers have one spelling
    /// for each origin (HTML Standard section 7.1.1), and any other comes from something else.
    pub fn is_sent_as(&self, header: &[u8]) -> bool {
        self.text.as_bytes() == header
    }

    pub fn is_https(&self) -> bool {
        self.text.starts_with("https://")
    }

    /// The same scheme and port at another host. `host`: lower case, without port.
    #[must_use]
    pub fn at(&self, host: &str) -> Self {
        let scheme = if self.is_https() { "https" } else { "http" };
        let port = self.text.get(self.host.end..).unwrap_or_default();
        Self::new(scheme, &format!("{host}{port}"))
    }

    /// `host[:port]`, as a `Host` header has it.
    pub fn authority(&self) -> &str {
        self.text.get(self.host.start..).unwrap_or_default()
    }

    /// The host without its port, as [`RequestHead::host_name`] has it.
    pub fn host_name(&self) -> &str {
        self.text.get(self.host.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_without_its_port() {
        for (authority, name) in [
            ("a.example", Some("a.example")),
            ("a.example:8080", Some("a.example")),
            ("a.example:", Some("a.example")),
            ("[::1]", Some("[::1]")),
            ("[::1]:8080", Some("[::1]")),
            ("[::1", None),
            ("[::1]x:80", Some("[::1]x")),
            ("", None),
            (":80", None),
            ("a:b", None),
            ("a:80:80", None),
            ("a:123456", None),
        ] {
            assert_eq!(host_name(authority), name, "{authority:?}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        assert_eq!(Origin::parse("https://A.example:443").unwrap().as_str(), "https://a.example");
        assert_eq!(Origin::parse("http://localhost:8080").unwrap().authority(), "localhost:8080");
        for (origin, host, there) in [
            ("https://a.example", "b.example", "https://b.example"),
            ("http://localhost:8080", "[::1]", "http://[::1]:8080"),
            ("http://[::1]:8080", "localhost", "http://localhost:8080"),
        ] {
            assert_eq!(Origin::parse(origin).unwrap().at(host).as_str(), there);
        }
        for bad in [
            "null",
            "",
            "https://a.example/",
            "https://a.example/x",
            "https://u@a.example",
            "file:///x",
            "a.example",
        ] {
            assert!(Origin::parse(bad).is_none(), "{bad:?}");
        }
    }
}
