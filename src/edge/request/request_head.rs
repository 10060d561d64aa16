//! Reads the head of a request as pingora parsed it, and refuses what pingora lets through and Tollgate
//! must not: heads that are too large, framing with two readings, no or several hosts, TRACE, absolute-form
//! targets for somebody else (RFC 9112 sections 3.2, 3.3 and 6.1).

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::core::request::{Host, RequestHead, check_method};
use crate::core::websocket;

/// The most header fields in one request. All `Cookie` fields are one: HTTP/2 takes them apart, a browser a
/// cookie each (RFC 9113 section 8.2.3).
const FIELDS: usize = 100;

/// The most options in `Connection`, as in pingora.
const OPTIONS: usize = 9;
/// The headers that `Connection` must not name, as in pingora: without them a request would be somebody
/// else's.
const KEPT_FROM_CONNECTION: [&str; 4] = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// The size of a head over HTTP/2 in bytes, as RFC 9113 section 6.5.2 counts it.
pub(crate) fn size(request: &RequestHeader) -> usize {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
    request.raw_path().len() + request.headers.iter().map(field).sum::<usize>()
}

/// The head as it came (HTTP/1.x). `None` for HTTP/2, whose codec has refused what is not well-formed.
pub(crate) fn raw(session: &Session) -> Option<Bytes> {
    let request: &RequestHeader = session.req_header();
    (request.version != Version::HTTP_2).then(|| session.to_h1_raw())
}

/// Refuses a head that a parser before or behind this one could read in another way: pingora lets chunks
/// override a length, and takes any coding that ends in `chunked`; the `http` crate drops fragments. RFC 9112
/// sections 3.2 and 6.1 let a server refuse all of these.
pub(crate) fn check_framing(request: &RequestHeader, raw: &[u8]) -> Result<(), Denial> {
    let line = raw.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.is_empty());
    if line.is_some_and(|line| line.contains(&b'#')) {
        return Err(Denial::BadRequest("The target has a fragment."));
    }
    let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err(Denial::BadRequest("The only transfer coding is chunked, once."));
    }
    // pingora has removed the length from what it parsed.
    if names_content_length(raw) {
        return Err(Denial::BadRequest("The body has a length and comes in chunks."));
    }
    Ok(())
}

fn names_content_length(raw: &[u8]) -> bool {
    let name = header::CONTENT_LENGTH;
    raw.split(|byte| *byte == b'\n').any(|line| {
        let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
        field.len() < line.len() && field.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes())
    })
}

/// `size` is that of the whole head in bytes, as it came.
pub(crate) fn check(request: &RequestHeader, size: usize, limit: usize) -> Result<(), Denial> {
    if size > limit || has_too_many_fields(request) {
        return Err(Denial::HeaderTooLarge);
    }
    check_connection(request)?;
    if request.version == Version::HTTP_2 && request.headers.values().any(has_outer_space) {
        return Err(Denial::BadRequest("A field begins or ends with a space."));
    }
    check_method(&request.method)
}

/// Whether a value begins or ends with a space, which some readers drop (RFC 9113 section 8.2.1). Over
/// HTTP/1.1 it is no part of the value.
fn has_outer_space(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// Refuses a `Connection` that names a header no client may have removed, or no valid name (RFC 9110 section
/// 7.6.1). pingora would refuse it too, but only after the token was judged.
fn check_connection(request: &RequestHeader) -> Result<(), Denial> {
    let mut options = request
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty());
    let is_bad = |option: &[u8]| {
        HeaderName::from_bytes(option).map_or(true, |name| KEPT_FROM_CONNECTION.contains(&name.as_str()))
    };
    if options.by_ref().take(OPTIONS).any(is_bad) || options.next().is_some() {
        return Err(Denial::BadRequest(
            "Connection names Host, X-Forwarded-For, -Host or -Proto, or what is no field, or too many.",
        ));
    }
    Ok(())
}

fn has_too_many_fields(request: &RequestHeader) -> bool {
    let headers = &request.headers;
    let crumbs = || headers.get_all(header::COOKIE).iter().count().saturating_sub(1);
    headers.len() > FIELDS && headers.len() - crumbs() > FIELDS
}

/// The host that the request names, in lower case. For HTTP/1.0 without `Host` that of an absolute-form
/// target (RFC 9112 section 3.2.2), and empty where it has none. In HTTP/2 `:authority` takes its place;
/// pingora has refused a request in which the two differ (RFC 9113 section 8.3.1).
pub(crate) fn host(request: &RequestHeader) -> Result<Cow<'_, str>, Denial> {
    let mut fields = request.headers.get_all(header::HOST).iter();
    let authority = || request.uri.authority().map(http::uri::Authority::as_str);
    let host = match (fields.next(), fields.next()) {
        (None, _) if request.version == Version::HTTP_2 => authority().unwrap_or_default(),
        (Some(host), None) => {
            host.to_str().map_err(|_| Denial::BadRequest("The Host header is not text."))?
        }
        (None, _) if request.version == Version::HTTP_10 => authority_of_target(request)?,
        (None, _) => return Err(Denial::BadRequest("The request has no Host header.")),
        (Some(_), Some(_)) => return Err(Denial::BadRequest("The request has several Host headers.")),
    };
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

fn authority_of_target(request: &RequestHeader) -> Result<&str, Denial> {
    let Some(rest) = without_scheme(request.raw_path()) else { return Ok("") };
    let authority = rest.get(..end_of_authority(rest)).unwrap_or_default();
    std::str::from_utf8(authority).map_err(|_| Denial::BadRequest("The target's host is not text."))
}

/// Puts the path into an absolute-form target that has none before its query: there it means `/` (RFC 9110
/// section 4.2.1).
pub(crate) fn complete(request: &mut RequestHeader) -> Result<(), Denial> {
    let raw = request.raw_path();
    if raw.first() == Some(&b'/') {
        return Ok(());
    }
    let Some(rest) = without_scheme(raw) else { return Ok(()) };
    let (before, behind) =
        raw.split_at(raw.len().saturating_sub(rest.len()).saturating_add(end_of_authority(rest)));
    if behind.first() == Some(&b'?') {
        let whole = [before, b"/", behind].concat();
        request.set_raw_path(&whole).map_err(|_| Denial::BadRequest("The target is no URL."))?;
    }
    Ok(())
}

fn end_of_authority(rest: &[u8]) -> usize {
    rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len())
}

/// The target in origin form. An absolute-form target must name the same host as `Host` does.
pub(crate) fn target<'r>(request: &'r RequestHeader, host: &str) -> Result<&'r [u8], Denial> {
    let raw = request.raw_path();
    if raw.first() == Some(&b'/') {
        return Ok(raw);
    }
    let Some(rest) = without_scheme(raw) else { return Ok(raw) };
    let (authority, target) = rest.split_at(end_of_authority(rest));
    if !authority.eq_ignore_ascii_case(host.as_bytes()) {
        return Err(Denial::BadRequest("The target names another host than the Host header."));
    }
    Ok(if target.is_empty() { b"/" } else { target })
}

/// The path as it came, without the query and, in absolute form, without the host.
pub(crate) fn path(request: &RequestHeader) -> Cow<'_, str> {
    let host = host(request).unwrap_or_default();
    let target = target(request, &host).unwrap_or_default();
    let path = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    String::from_utf8_lossy(path)
}

fn without_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// The head of a request as flows see it.
pub(crate) fn head<'r>(
    request: &'r RequestHeader,
    host: &'r str,
    client_address: IpAddr,
) -> Result<RequestHead<'r>, Denial> {
    let target = target(request, host)?;
    Ok(RequestHead {
        method: &request.method,
        target,
        host: Host::read(host),
        headers: &request.headers,
        upgrades: may_upgrade(request),
        client_address,
    })
}

/// Whether the client asks for a WebSocket on its connection (RFC 6455 section 4.1), which is the only switch
/// of protocols that pingora passes on. It would do so for any method, and without `Connection: Upgrade`,
/// which a proxy before us that knows nothing of upgrades has taken away (RFC 9110 section 7.8). A request
/// with a body is not waited for longer because it says so.
pub(crate) fn may_upgrade(request: &RequestHeader) -> bool {
    let mut lengths = request.headers.get_all(header::CONTENT_LENGTH).iter();
    request.version == Version::HTTP_11
        && request.method == Method::GET
        && websocket::is_asked_for(&request.headers)
        && !request.headers.contains_key(header::TRANSFER_ENCODING)
        && lengths.all(|length| length.as_bytes() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn one_host_in_lower_case() {
        assert_eq!(host(&request("/", &[("host", "A.Example:80")])).unwrap(), "a.example:80");
        assert!(host(&request("/", &[])).is_err());
        assert!(host(&request("/", &[("host", "a"), ("host", "a")])).is_err());
        let mut old = request("/", &[]);
        old.set_version(Version::HTTP_10);
        assert_eq!(host(&old).unwrap(), "");
        let mut old = request("http://A.example:80/x", &[]);
        old.set_version(Version::HTTP_10);
        assert_eq!(host(&old).unwrap(), "a.example:80", "there is no other");
        assert_eq!(target(&old, "a.example:80").unwrap(), b"/x");
    }

    #[test]
    fn absolute_form_is_reduced_when_it_names_the_same_host() {
        let of = |text: &str| {
            let mut request = request(text, &[]);
            complete(&mut request).unwrap();
            target(&request, "a.example").map(|target| String::from_utf8_lossy(target).into_owned())
        };
        assert_eq!(of("http://A.example/x?y").unwrap(), "/x?y");
        assert_eq!(of("HTTP://a.example").unwrap(), "/");
        assert_eq!(of("http://a.example?x=1").unwrap(), "/?x=1");
        assert_eq!(of("http://a.example?").unwrap(), "/?");
        assert!(of("http://b.example/x").is_err());
        assert!(of("http://b.example?x").is_err());
        assert!(of("http://u@a.example/x").is_err());
        assert_eq!(of("/http://b.example/x").unwrap(), "/http://b.example/x");
    }

    #[test]
    fn a_body_is_framed_in_one_way() {
        let check =
            |fields: &[(&'static str, &str)], raw: &str| check_framing(&request("/", fields), raw.as_bytes());
        let te = |value| ("transfer-encoding", value);
        assert!(check(&[], "GET / HTTP/1.1\r\nContent-Length: 1\r\n").is_ok());
        assert!(check(&[te("Chunked")], "GET / HTTP/1.1\r\nX: content-length: 1\r\n").is_ok());
        for coding in ["gzip, chunked", "chunked, chunked", "identity", ""] {
            assert!(check(&[te(coding)], "GET / HTTP/1.1\r\n").is_err(), "{coding}");
        }
        assert!(check(&[te("chunked"), te("chunked")], "GET / HTTP/1.1\r\n").is_err());
        assert!(check(&[te("chunked")], "GET / HTTP/1.1\r\ncontent-LENGTH:1\r\n").is_err());
        assert!(check(&[], "\r\nGET /#x HTTP/1.1\r\n").is_err());
        assert!(check(&[], "GET / HTTP/1.1\r\nX: #\r\n").is_ok());
    }

    #[test]
    fn large_heads_and_trace_are_refused() {
        assert_eq!(check(&request("/", &[]), 33, 32), Err(Denial::HeaderTooLarge));
        let many: Vec<_> = (0..=FIELDS).map(|_| ("x", "y")).collect();
        assert_eq!(check(&request("/", &many), 32, 32), Err(Denial::HeaderTooLarge));
        let mut trace = request("/", &[]);
        trace.set_method(Method::TRACE);
        assert!(matches!(check(&trace, 32, 32), Err(Denial::MethodNotAllowed { .. })));
        for (method, passes) in
            [("DELETE", true), ("PROPFIND", true), ("M-SEARCH", true), ("delete", false), ("Get", false)]
        {
            let mut request = request("/", &[]);
            request.set_method(Method::from_bytes(method.as_bytes()).unwrap());
            assert_eq!(check(&request, 32, 32).is_ok(), passes, "{method}");
        }
    }
}
