//! What the rules need to know of a request, independent of who read it from the wire.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use http::{HeaderMap, Method};

use crate::core::denial::Denial;

/// The methods that a route may name.
pub const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// The longest target that a request can be sent with, in bytes: the `http` crate takes no longer one. A path
/// may grow threefold when it is brought into its one spelling, so that what came may be shorter.
pub const LONGEST_TARGET: usize = 65_534;

/// Whether a target of this path and query (without its `?`) can be sent.
///
/// # Errors
/// [`Denial::HeaderTooLarge`]
pub fn check_length(path: &str, query: Option<&str>) -> Result<(), Denial> {
    let query = query.map_or(0, |query| query.len().saturating_add("?".len()));
    if path.len().saturating_add(query) > LONGEST_TARGET { Err(Denial::HeaderTooLarge) } else { Ok(()) }
}

/// The head of a request, as it came.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    /// The request target in origin form, undecoded, with its query. An absolute-form target was
    /// already checked against `Host` and cut down to this.
    pub target: &'a [u8],
    pub host: Host<'a>,
    pub headers: &'a HeaderMap,
    /// Whether it asks to become a WebSocket (RFC 6455 section 4.1).
    pub upgrades: bool,
    /// The client: the peer's address, or what a trusted proxy said of it.
    pub client_address: IpAddr,
}

impl RequestHead<'_> {
    /// The host without its port, as routes name it.
    ///
    /// # Errors
    /// As [`Host::name`] says.
    pub fn host_name(&self) -> Result<&str, Denial> {
        self.host.name()
    }

    /// `own`, the gateway as browsers see it, where its host was asked. Ports are not compared, as elsewhere.
    pub fn asked_at<'o>(&self, own: &'o Origin) -> Option<&'o Origin> {
        (self.host_name() == Ok(own.host_name())).then_some(own)
    }
}

/// Whom a request is for, read once: the `Host` header or `:authority`, with or without a port.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    name: Option<&'a str>,
    is_named: bool,
}

impl<'a> Host<'a> {
    /// `authority`: in lower case; empty where the request names nobody.
    pub fn read(authority: &'a str) -> Self {
        Self { name: host_name(authority), is_named: !authority.is_empty() }
    }

    /// The name or address without the port; an IPv6 address keeps its brackets.
    ///
    /// # Errors
    /// [`Denial::UnknownHost`] where there is none; [`Denial::BadRequest`] where it is no host (RFC 9112
    /// section 3.2).
    pub fn name(self) -> Result<&'a str, Denial> {
        match self.name {
            Some(name) => Ok(name),
            None if self.is_named => {
                Err(Denial::BadRequest("The Host header names neither a host nor an address."))
            }
            None => Err(Denial::UnknownHost),
        }
    }
}

/// Refuses methods that nobody is served by, whatever the target.
///
/// # Errors
/// TRACE and CONNECT; one that has a small letter. Methods differ by case (RFC 9110 section 9.1): `delete` is
/// another than DELETE to a route, and the same to many a service.
pub fn check_method(method: &Method) -> Result<(), Denial> {
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return Err(Denial::MethodNotAllowed { allow: METHODS.to_vec() });
    }
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Denial::BadRequest("The method is not written in capitals."));
    }
    Ok(())
}

/// The longest name of a host (RFC 1035 section 2.3.4), as text and without its last dot.
const LONGEST_NAME: usize = 253;

/// The host of `host[:port]` (RFC 3986 section 3.2.2): a name of letters, digits, `-`, `_` and dots between
/// its labels, or an address, IPv6 in its brackets. That RFC lets more into a name than any host has; an
/// upstream, a redirect or a page could read it as something else.
pub fn host_name(authority: &str) -> Option<&str> {
    let name_ends = match authority.strip_prefix('[') {
        Some(address) => {
            let (address, _) = address.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            address.len().saturating_add("[]".len())
        }
        None => end_of_name(authority.as_bytes())?,
    };
    let (name, port) = authority.split_at_checked(name_ends)?;
    is_port(port).then_some(name)
}

/// Where the name before a port ends, if it is one; one dot may stand behind it.
fn end_of_name(authority: &[u8]) -> Option<usize> {
    let mut in_label = false;
    let mut ends = authority.len();
    for (at, byte) in authority.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => in_label = true,
            b'.' if in_label => in_label = false,
            b':' => {
                ends = at;
                break;
            }
            _ => return None,
        }
    }
    let has_last_dot = !in_label && ends > 0;
    (ends > 0 && ends <= LONGEST_NAME.saturating_add(has_last_dot.into())).then_some(ends)
}

/// Whether this is nothing, or a colon and a port, which may be left out (RFC 3986 section 3.2.3).
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
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

    /// Parses `https://host[:port]` as somebody wrote it. `null`, paths, user information, other schemes and
    /// what is no host's name are no origin.
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
        host_name(authority)?;
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

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
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
            ("a-1.b_2.example", Some("a-1.b_2.example")),
            ("a.example.", Some("a.example.")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("[2001:db8::1]:", Some("[2001:db8::1]")),
            ("[::ffff:192.0.2.1]", Some("[::ffff:192.0.2.1]")),
            ("[::1", None),
            ("[::1]x:80", None),
            ("[::1].a.example", None),
            ("[::1/x]", None),
            ("[fe80::1%25eth0]", None),
            ("[v1.x]", None),
            ("[]", None),
            ("evil.example/x.a.example", None),
            ("evil.example?x.a.example", None),
            ("evil.example#x.a.example", None),
            ("evil.example\\x.a.example", None),
            ("evil.example x.a.example", None),
            ("u@a.example", None),
            ("<x>.a.example", None),
            ("a%2eexample", None),
            ("\u{fc}.example", None),
            ("a..example", None),
            (".a.example", None),
            (".", None),
            ("..", None),
            ("a.example..", None),
            ("a.example:65535", Some("a.example")),
            ("a.example:65536", None),
            ("a.example:+80", None),
            ("", None),
            (":80", None),
            ("a:b", None),
            ("a:80:80", None),
            ("a:123456", None),
        ] {
            assert_eq!(host_name(authority), name, "{authority:?}");
        }
        let (longest, longer) =
            (format!("{}.example:80", "a".repeat(245)), format!("{}.example", "a".repeat(246)));
        assert_eq!(host_name(&longest).map(str::len), Some(253));
        assert_eq!(host_name(&longer), None);
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
            "https://a*b.example",
        ] {
            assert!(Origin::parse(bad).is_none(), "{bad:?}");
        }
    }
}
