//! Who the client is behind trusted proxies, under which ids its request goes on, and what the upstream
//! is told of it: `X-Request-Id`, `traceparent`, `X-Forwarded-For/Proto/Host`, `Forwarded` (RFC 7239; W3C
//! Trace Context section 3.2).
//!
//! Only what a trusted proxy says is believed, hop by hop from the right. What lies to the left of the client
//! in `X-Forwarded-For` anybody may have written: it is neither believed nor passed on. `Forwarded` is
//! written and not read: a proxy that is trusted must send `X-Forwarded-For`. `X-Forwarded-Host` is read from
//! nobody: an upstream is told the host by which the route was found, or it would act for a host whose rules
//! were not asked.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::core::ids::{RequestId, TraceParent};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED: HeaderName = http::header::FORWARDED;

/// More hops than this are not followed.
const MOST_HOPS: usize = 32;

/// Whether a peer is one of the trusted proxies.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's address: the peer's, or, where the peer is a trusted proxy, the rightmost address of
/// `X-Forwarded-For` that is none. What cannot be read ends the search at the last good address.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer.to_canonical();
    }
    hops(peer, headers, trusted).last().unwrap_or(peer)
}

/// Whether this address, as [`client_address`] found it, may be another's: it is that of a trusted proxy, and
/// what that proxy says of its client cannot be read, or is not read here (`Forwarded`), or goes on for too
/// long. Where nothing is said, the proxy speaks for itself, as with its health checks.
pub fn leaves_doubt(client: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    if !is_trusted(client, trusted) {
        return false;
    }
    let mut told = members(headers).peekable();
    if told.peek().is_none() {
        return headers.contains_key(FORWARDED);
    }
    told.enumerate().any(|(at, told)| told.is_none() || at + 1 >= MOST_HOPS)
}

/// What the last proxy says first.
fn members(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let members = fields.flat_map(|value| value.as_bytes().rsplit(|&b| b == b','));
    members.map(|member| std::str::from_utf8(member).ok().and_then(address))
}

/// The peer, and then each hop before it, up to the client.
fn hops<'h>(peer: IpAddr, headers: &'h HeaderMap, trusted: &'h [IpNet]) -> impl Iterator<Item = IpAddr> + 'h {
    let mut told = members(headers);
    std::iter::successors(Some(peer.to_canonical()), move |&hop| {
        if is_trusted(hop, trusted) { told.next().flatten() } else { None }
    })
    .take(MOST_HOPS)
}

/// An address as proxies write it: bare, IPv6 also in brackets, also with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let bracketed =
        || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Under which ids a request goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifiers {
    pub request_id: RequestId,
    pub trace_parent: TraceParent,
    /// Whether `tracestate` still belongs to `traceparent`; else it must be removed (W3C Trace Context
    /// section 3.3).
    pub keeps_trace_state: bool,
}

/// Keeps the ids that a trusted proxy sent, when they are there once and well-formed; else makes new ones
/// from random bytes: 16 for the request, 16 for the trace, 8 for its parent. `sampled`: what a new trace
/// says of itself.
pub fn identifiers(
    from_trusted_proxy: bool,
    headers: &HeaderMap,
    random: [u8; 40],
    sampled: bool,
) -> Identifiers {
    let (request, trace, parent) = (&random[..16], &random[16..32], &random[32..]);
    let sent = |name| if from_trusted_proxy { single(headers, name) } else { None };
    let trace_parent = sent(TRACEPARENT).and_then(TraceParent::parse);
    Identifiers {
        request_id: sent(X_REQUEST_ID)
            .and_then(RequestId::parse)
            .unwrap_or_else(|| RequestId::from_random(part(request))),
        keeps_trace_state: trace_parent.is_some(),
        trace_parent: trace_parent
            .unwrap_or_else(|| TraceParent::from_random(part(trace), part(parent), sampled)),
    }
}

fn part<const N: usize>(of: &[u8]) -> [u8; N] {
    let mut part = [0; N];
    part.iter_mut().zip(of).for_each(|(to, from)| *to = *from);
    part
}

/// The text of a header that is there exactly once.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// What an upstream is told of a client. Where no trusted proxy speaks for it, that is the same for all
/// requests of one connection that ask for one host.
#[derive(Debug)]
pub struct Told {
    host: Box<str>,
    scheme: &'static str,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Told {
    /// `host` is the one that was asked for, with its port where it came with one; `scheme` is that of the
    /// connection itself. The host is never another; what the request says of addresses and of the scheme
    /// counts only when the peer is a trusted proxy.
    pub fn of(
        peer: IpAddr,
        received: &HeaderMap,
        trusted: &[IpNet],
        host: &str,
        scheme: &'static str,
    ) -> Self {
        Self { headers: headers(peer, received, trusted, host, scheme), host: host.into(), scheme }
    }

    /// `peer`: no trusted proxy.
    pub fn of_stranger(peer: IpAddr, host: &str, scheme: &'static str) -> Self {
        Self::of(peer, &HeaderMap::new(), &[], host, scheme)
    }

    /// Whether it is what is told of a stranger who asks for this host.
    pub fn is_for(&self, host: &str, scheme: &str) -> bool {
        *self.host == *host && self.scheme == scheme
    }
}

/// `X-Forwarded-For/Proto/Host` and `Forwarded`, to set at the upstream after what came was removed.
fn headers(
    peer: IpAddr,
    received: &HeaderMap,
    trusted: &[IpNet],
    host: &str,
    scheme: &'static str,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut chain = [peer; MOST_HOPS];
    let mut length = 0;
    for (place, hop) in chain.iter_mut().zip(hops(peer, received, trusted)) {
        *place = hop;
        length += 1;
    }
    let proxies = chain.iter().take(length).filter(|hop| is_trusted(**hop, trusted)).count();
    let client_scheme = client_scheme(received, proxies).unwrap_or(scheme);

    let (mut addresses, mut forwarded) = (String::with_capacity(48), String::with_capacity(96));
    for (i, hop) in chain.iter().take(length).rev().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        addresses.push_str(separator);
        forwarded.push_str(separator);
        let at = addresses.len();
        // Writing to a String cannot fail.
        let _ = write!(addresses, "{hop}");
        // IPv6 in brackets, and so in quotes (RFC 7239 section 6).
        let (before, after) = if hop.is_ipv4() { ("for=", "") } else { ("for=\"[", "]\"") };
        forwarded.extend([before, addresses.get(at..).unwrap_or_default(), after]);
        // How the client asked, and how the last of several hops asked us.
        if i == 0 {
            write_asked_for(host, client_scheme, &mut forwarded);
        } else if i + 1 == length {
            write_asked_for(host, scheme, &mut forwarded);
        }
    }
    let host = Some(host).filter(|host| is_authority(host));
    let set = |name, text: &str| Some((name, HeaderValue::from_str(text).ok()?));
    let all = [
        set(X_FORWARDED_FOR, &addresses),
        Some((X_FORWARDED_PROTO, HeaderValue::from_static(client_scheme))),
        host.and_then(|host| set(X_FORWARDED_HOST, host)),
        set(FORWARDED, &forwarded),
    ];
    all.into_iter().flatten().collect()
}

/// How the client came to the outermost of so many trusted proxies: each adds to the right how it was asked
/// itself, or one of them sets the field for all. What lies further left anybody may have written.
fn client_scheme(received: &HeaderMap, proxies: usize) -> Option<&'static str> {
    let fields = received.get_all(X_FORWARDED_PROTO).iter().rev();
    let members = fields.flat_map(|value| value.as_bytes().rsplit(|&b| b == b','));
    match members.take(proxies).last()?.trim_ascii() {
        b"http" => Some("http"),
        b"https" => Some("https"),
        _ => None,
    }
}

/// `;host=…;proto=…`, the host in quotes where it is no token (RFC 7239 section 4).
fn write_asked_for(host: &str, scheme: &str, out: &mut String) {
    if is_authority(host) {
        let quote = if host.contains([':', '[']) { "\"" } else { "" };
        out.extend([";host=", quote, host, quote]);
    }
    out.extend([";proto=", scheme]);
}

/// Whether a text can be a host with or without a port: nothing in it needs an escape.
fn is_authority(text: &str) -> bool {
    (1..=260).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn trusted() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]
    }

    fn client(peer: &str, told: &[&str]) -> String {
        let told: Vec<_> = told.iter().map(|value| ("x-forwarded-for", *value)).collect();
        client_address(peer.parse().unwrap(), &headers(&told), &trusted()).to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_says_who_the_client_is() {
        assert_eq!(client("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("::ffff:192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client("2001:db8::7", &["2001:db9::1"]), "2001:db9::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_counts() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "203.0.113.9", "10.0.0.2,10.0.0.3"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["10.0.0.9, 10.0.0.2"]), "10.0.0.9");
        assert_eq!(client("10.0.0.1", &["[2001:db9::1]:443"]), "2001:db9::1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9:1234"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["[2001:db9::1]"]), "2001:db9::1");
    }

    #[test]
    fn junk_ends_the_search_at_the_last_good_address() {
        for junk in ["unknown", "", "203.0.113.9.9", "[1.2.3.4]", "a b", "\u{e9}"] {
            assert_eq!(client("10.0.0.1", &[junk]), "10.0.0.1", "{junk:?}");
            assert_eq!(
                client("10.0.0.1", &[&format!("203.0.113.9, {junk}, 10.0.0.2")]),
                "10.0.0.2",
                "{junk:?}"
            );
        }
        let long = "10.0.0.2,".repeat(MOST_HOPS - 3);
        assert_eq!(client("10.0.0.1", &[&format!("203.0.113.9,{long}10.0.0.2")]), "203.0.113.9");
        let endless = "10.0.0.2,".repeat(10_000);
        assert_eq!(client("10.0.0.1", &[&format!("203.0.113.9,{endless}10.0.0.2")]), "10.0.0.2");
    }

    #[test]
    fn no_header_makes_an_untrusted_peer_somebody_else() {
        bolero::check!().with_max_len(64).with_type::<(u32, Vec<u8>)>().for_each(|(peer, told)| {
            let peer = IpAddr::from(peer.to_be_bytes());
            let Ok(value) = HeaderValue::from_bytes(told) else { return };
            let mut map = HeaderMap::new();
            map.append(X_FORWARDED_FOR, value);
            let found = client_address(peer, &map, &trusted());
            assert!(found == peer || is_trusted(peer, &trusted()));
        });
    }

    const RANDOM: [u8; 40] = {
        let mut random = [1; 40];
        random.split_at_mut(16).1.split_at_mut(16).0.copy_from_slice(&[2; 16]);
        random.split_at_mut(32).1.copy_from_slice(&[3; 8]);
        random
    };
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn ids_are_kept_from_trusted_proxies_when_well_formed() {
        let sent = headers(&[("x-request-id", "abcdef-0123"), ("traceparent", TRACE)]);
        let kept = identifiers(true, &sent, RANDOM, true);
        assert_eq!((kept.request_id.as_str(), kept.trace_parent.as_str()), ("abcdef-0123", TRACE));
        assert!(kept.keeps_trace_state);
        let fresh = identifiers(false, &HeaderMap::new(), RANDOM, false);
        assert!(!fresh.keeps_trace_state);
        assert_eq!(fresh.request_id.as_str(), "01".repeat(16));
        let trace = format!("00-{}-{}", "02".repeat(16), "03".repeat(8));
        assert_eq!(fresh.trace_parent.as_str(), format!("{trace}-00"));
        let sampled = identifiers(false, &sent, RANDOM, true);
        assert_eq!(sampled.trace_parent.as_str(), format!("{trace}-01"));
        for (trusted, refused) in [
            (false, sent.clone()),
            (true, headers(&[("x-request-id", "a b"), ("traceparent", "00-x")])),
            (
                true,
                headers(&[
                    ("x-request-id", "abcdef-0123"),
                    ("x-request-id", "abcdef-0124"),
                    ("traceparent", TRACE),
                    ("traceparent", TRACE),
                ]),
            ),
        ] {
            assert_eq!(identifiers(trusted, &refused, RANDOM, false), fresh, "{refused:?}");
        }
    }

    fn set(peer: &str, https: bool, host: &str, sent: &[(&'static str, &str)]) -> Vec<(String, String)> {
        let scheme = if https { "https" } else { "http" };
        super::headers(peer.parse().unwrap(), &headers(sent), &trusted(), host, scheme)
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn what_is_made_once_for_a_connection_is_what_each_of_its_requests_would_get() {
        for (peer, scheme, host) in [
            ("192.0.2.1", "http", "api.example:8080"),
            ("2001:db9::1", "https", "api.example"),
            ("192.0.2.1", "https", "a\";for=1.1.1.1"),
        ] {
            let told = Told::of_stranger(peer.parse().unwrap(), host, scheme);
            let each = super::headers(peer.parse().unwrap(), &headers(&SENT), &trusted(), host, scheme);
            assert_eq!(told.headers, each);
            assert!(told.is_for(host, scheme));
            assert!(!told.is_for("other.example", scheme) && !told.is_for(host, "ws"));
        }
    }

    fn expected(values: [&str; 4]) -> Vec<(String, String)> {
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"]
            .into_iter()
            .zip(values)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    const SENT: [(&str, &str); 3] = [
        ("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "other.example"),
    ];

    #[test]
    fn what_a_stranger_says_is_overwritten() {
        assert_eq!(
            set("192.0.2.1", false, "api.example:8080", &SENT),
            expected([
                "192.0.2.1",
                "http",
                "api.example:8080",
                "for=192.0.2.1;host=\"api.example:8080\";proto=http"
            ])
        );
        assert_eq!(
            set("2001:db9::1", true, "api.example", &SENT),
            expected([
                "2001:db9::1",
                "https",
                "api.example",
                "for=\"[2001:db9::1]\";host=api.example;proto=https"
            ])
        );
    }

    #[test]
    fn what_a_trusted_proxy_says_goes_on_from_the_client_inwards() {
        assert_eq!(
            set("10.0.0.1", false, "shop.example", &SENT),
            expected([
                "203.0.113.9, 10.0.0.2, 10.0.0.1",
                "https",
                "shop.example",
                "for=203.0.113.9;host=shop.example;proto=https, for=10.0.0.2, for=10.0.0.1;host=shop.example;proto=http",
            ])
        );
        let odd = [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a\";for=1.1.1.1")];
        assert_eq!(
            set("10.0.0.1", false, "shop.example", &odd),
            expected(["10.0.0.1", "http", "shop.example", "for=10.0.0.1;host=shop.example;proto=http"])
        );
    }

    #[test]
    fn the_scheme_is_what_the_outermost_trusted_proxy_was_asked_with() {
        let scheme = |peer: &str, hops: &str, told: &[&str]| {
            let told = told.iter().map(|value| ("x-forwarded-proto", *value));
            let sent: Vec<_> = [("x-forwarded-for", hops)].into_iter().chain(told).collect();
            set(peer, false, "inner.example", &sent).swap_remove(1).1
        };
        let (one, two) = ("203.0.113.9", "203.0.113.9, 10.0.0.2");
        for (peer, hops, told, expected) in [
            ("10.0.0.1", two, &["https,http"][..], "https"),
            ("10.0.0.1", two, &["https", "http"], "https"),
            ("10.0.0.1", two, &["https"], "https"),
            ("10.0.0.1", two, &["https , http, http"], "http"),
            ("10.0.0.1", one, &["https, http"], "http"),
            ("10.0.0.1", one, &["http,https"], "https"),
            ("10.0.0.1", one, &["https, gopher"], "http"),
            ("10.0.0.1", one, &["https,"], "http"),
            ("10.0.0.1", two, &["HTTPS,http"], "http"),
            ("10.0.0.1", two, &[], "http"),
            ("192.0.2.1", two, &["https,https"], "http"),
        ] {
            assert_eq!(scheme(peer, hops, told), expected, "{peer} {hops} {told:?}");
        }
    }

    #[test]
    fn a_host_that_would_break_out_of_its_quotes_is_left_out() {
        let set = set("192.0.2.1", false, "a\";for=1.1.1.1;x=\"", &[]);
        assert_eq!(set.last().unwrap().1, "for=192.0.2.1;proto=http");
        assert!(set.iter().all(|(name, _)| name != "x-forwarded-host"));
    }
}
