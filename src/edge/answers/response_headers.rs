//! What of an upstream's answer goes to the client, and what is said with it.

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;

use crate::core::cors::SPOKEN_BY_UPSTREAMS;
use crate::core::forwarded::X_REQUEST_ID;
use crate::core::route::{CorsSpeaker, Route};
use crate::core::session::cookie;
use crate::core::token::subprotocol;
use crate::core::websocket;
use crate::edge::answers::answer::VARY_BY_ORIGIN;
use crate::edge::answers::request_headers::{is_our_cookie, one_content_length, unique, value};
use crate::edge::request::timeouts::is_final;
use crate::state::live::Live;

/// Whether a field is of one connection only (RFC 9110 section 7.6.1), whether `Connection` names it or not.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "upgrade" | "te")
}

/// Takes an answer to change it, and the reason that its server gave, where that is one of its own. Names go
/// out in lower case after that, but for a few of HTTP's own, as those of requests do: see
/// [`to_upstream`](super::request_headers::to_upstream).
pub(crate) fn take(answer: &mut ResponseHeader) -> (Parts, Option<String>) {
    let reason =
        answer.get_reason_phrase().filter(|reason| answer.status.canonical_reason() != Some(*reason));
    let reason = reason.map(str::to_owned);
    let none = ResponseHeader::from(http::Response::new(()).into_parts().0);
    (std::mem::replace(answer, none).into(), reason)
}

/// Gives back what [`take`] took.
///
/// # Errors
/// When the reason cannot be written.
pub(crate) fn give_back(
    answer: &mut ResponseHeader,
    parts: Parts,
    reason: Option<&str>,
) -> pingora::Result<()> {
    *answer = parts.into();
    match reason {
        Some(reason) => answer.set_reason_phrase(Some(reason)),
        None => Ok(()),
    }
}

/// Refuses an answer that has two readings. pingora would pass on one with several codings, or codings that
/// it does not know, for the client to guess (RFC 9112 section 6.3); and a switch of protocols that is none,
/// so that what follows would be read as its next answer, or go to the upstream unseen (RFC 9110 section
/// 15.2.2). `wish`: the fields of a request for a WebSocket.
///
/// # Errors
/// Why, for the log.
pub(crate) fn check_reading(answer: &ResponseHeader, wish: Option<&HeaderMap>) -> Result<(), &'static str> {
    if answer.status == StatusCode::SWITCHING_PROTOCOLS
        && !wish.is_some_and(|wish| websocket::is_accepted(wish, &answer.headers))
    {
        return Err("its 101 accepts no handshake of a WebSocket (RFC 6455 section 4.2.2)");
    }
    let mut codings = answer.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| {
        answer.version == Version::HTTP_11 && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
    };
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if is_chunked(coding) => Ok(()),
        _ => Err("its Transfer-Encoding is not chunked, once, over HTTP/1.1 (RFC 9112 section 6.1)"),
    }
}

/// Turns the upstream's answer into the client's: no hop-by-hop field, no cookie of our name.
/// `Transfer-Encoding` stays, pingora frames by it; `Upgrade` stays on 101. Returns how many cookies of our
/// name it dropped.
///
/// # Errors
/// When a header cannot be written.
pub(crate) fn to_client(answer: &mut Parts, live: &Live, request_id: &str) -> pingora::Result<usize> {
    let planted = if answer.headers.contains_key(header::SET_COOKIE) {
        remove_planted_cookies(&mut answer.headers, live)
    } else {
        0
    };
    // Each says its own version of what it forwards, and nobody else's (RFC 9110 section 6.2).
    answer.version = Version::HTTP_11;
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        remove_hop_by_hop(&mut answer.headers);
    }
    if answer.status == StatusCode::NO_CONTENT || answer.status.is_informational() {
        // They end with their head, and nothing may say otherwise (RFC 9110 section 8.6, RFC 9112 section
        // 6.1).
        answer.headers.remove(header::TRANSFER_ENCODING);
        answer.headers.remove(header::CONTENT_LENGTH);
    }
    if !is_final(answer.status) {
        return Ok(planted);
    }
    if let Some(length) = one_content_length(&answer.headers) {
        answer.headers.insert(header::CONTENT_LENGTH, value(length)?);
    }
    answer.headers.insert(X_REQUEST_ID, unique(request_id)?);
    Ok(planted)
}

/// Marks an answer to a session as private, where its upstream does not speak of caches itself. Caches know
/// that of `Authorization` (RFC 9111 section 3.5), and of a cookie only where it is said.
pub(crate) fn mark_private(answer: &mut HeaderMap) {
    if !answer.contains_key(header::CACHE_CONTROL) {
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Says that an answer depends on whether a session came along, also the one that nobody's session led to: a
/// cache must not give that to somebody who has one, nor theirs to others (RFC 9110 section 12.5.5).
pub(crate) fn vary_by_cookie(answer: &mut HeaderMap) {
    if !varies_by(answer, b"cookie") {
        answer.append(header::VARY, HeaderValue::from_static("Cookie"));
    }
}

/// Says that an answer depends on this field of its request.
pub(crate) fn vary_by(answer: &mut HeaderMap, field: &HeaderName) {
    if !varies_by(answer, field.as_str().as_bytes()) {
        answer.append(header::VARY, field.clone().into());
    }
}

/// Sets a session's cookie on an upstream's answer, which nobody may store then, whatever the upstream said
/// of that, and to whom: targeted fields count before `Cache-Control` (RFC 9213 section 2.2).
pub(crate) fn set_session_cookie(answer: &mut HeaderMap, cookie: HeaderValue) {
    remove_where(answer, |name| {
        name.as_str().ends_with("cache-control")
            || matches!(name.as_str(), "surrogate-control" | "expires" | "pragma")
    });
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.append(header::SET_COOKIE, cookie);
}

/// Turns an answer into one that a client of HTTP/1.0 can read: without chunks (RFC 9112 section 6.1).
/// Returns whether the end of the connection is then the end of the body.
pub(crate) fn without_chunks(answer: &mut Parts, method: &Method) -> bool {
    answer.headers.remove(header::TRANSFER_ENCODING);
    !never_has_body(answer.status, method) && !answer.headers.contains_key(header::CONTENT_LENGTH)
}

/// Whether a final answer ends with its head, so far as its head says so (RFC 9112 section 6.3): pingora
/// tells nobody of the end of a body that there is not.
pub(crate) fn ends_with_head(answer: &ResponseHeader, method: &Method) -> bool {
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    let is_empty = |length: &HeaderValue| {
        let digits = length.as_bytes().trim_ascii();
        !digits.is_empty() && digits.iter().all(|digit| *digit == b'0')
    };
    never_has_body(answer.status, method)
        || answer.headers.get(header::CONTENT_LENGTH).is_some_and(is_empty)
            && !answer.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whether a client notices by itself that the answer is not whole (RFC 9112 section 8): else it ends with
/// its connection.
pub(crate) fn says_where_it_ends(answer: &ResponseHeader) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| answer.headers.contains_key(name))
}

/// Whether an answer has no body, whatever its upstream sends (RFC 9110 section 6.4.1).
pub(crate) fn never_has_body(status: impl Into<Option<StatusCode>>, method: &Method) -> bool {
    *method == Method::HEAD
        || matches!(status.into(), Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
}

/// Chooses the subprotocol that a page offered for want of one of its own, where the upstream chose none.
/// `received`: the client's headers.
pub(crate) fn choose_subprotocol(answer: &mut Parts, received: &HeaderMap) {
    let is_open = answer.status == StatusCode::SWITCHING_PROTOCOLS
        && !answer.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    if is_open && subprotocol::offers_name(received) {
        let chosen = HeaderValue::from_static(subprotocol::WITHOUT_TOKEN);
        answer.headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
}

/// Lets the pages that may read an upstream's answer do so, unless the upstream speaks CORS itself.
pub(crate) fn share(answer: &mut Parts, route: &Route, request: &HeaderMap) {
    if answer.status.is_informational() || route.cors == CorsSpeaker::Upstream {
        return;
    }
    let reader = route.sharing.reader(request);
    let headers =
        reader.map(|reader| reader.headers(answer.headers.get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS)));
    remove_where(&mut answer.headers, |name| {
        name.as_str().starts_with("access-control-") && SPOKEN_BY_UPSTREAMS.contains(name)
    });
    for (name, value) in headers.unwrap_or_default() {
        answer.headers.insert(name, value);
    }
    if !varies_by(&answer.headers, b"origin") {
        answer.headers.append(header::VARY, VARY_BY_ORIGIN);
    }
}

/// `name`: in lower case.
fn varies_by(headers: &HeaderMap, name: &[u8]) -> bool {
    headers
        .get_all(header::VARY)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|given| given == b"*" || given.eq_ignore_ascii_case(name))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .map(str::trim)
        // What most answers say names no field.
        .filter(|option| !["close", "keep-alive"].iter().any(|known| option.eq_ignore_ascii_case(known)))
        .filter_map(|name| name.parse().ok())
        .filter(|name| *name != header::TRANSFER_ENCODING && *name != header::CONTENT_LENGTH)
        .collect();
    remove_where(headers, |name| is_hop_by_hop(name) || nominated.contains(name));
}

/// One look at the names that are there costs less than many for names that mostly are not.
fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in &gone {
        headers.remove(name);
    }
}

fn remove_planted_cookies(headers: &mut HeaderMap, live: &Live) -> usize {
    let is_planted =
        |value: &HeaderValue| cookie::sets_one_of(value.as_bytes(), |name| is_our_cookie(live, name));
    let all = headers.get_all(header::SET_COOKIE);
    // Nearly all answers plant none: nothing is copied to see that.
    let planted = all.iter().filter(|value| is_planted(value)).count();
    if planted > 0 {
        tracing::warn!("an upstream tried to set a cookie of Tollgate's name; it was dropped");
        let theirs: Vec<HeaderValue> = all.iter().filter(|value| !is_planted(value)).cloned().collect();
        headers.remove(header::SET_COOKIE);
        for value in theirs {
            headers.append(header::SET_COOKIE, value);
        }
    }
    planted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_an_answer_is_not_passed_on_is_told() {
        let answer = |status: u16, fields: &[(&'static str, &'static str)]| {
            let mut answer = ResponseHeader::build(status, None).unwrap();
            for (name, value) in fields {
                answer.append_header(*name, *value).unwrap();
            }
            check_reading(&answer, None)
        };
        assert_eq!(answer(200, &[("transfer-encoding", "Chunked")]), Ok(()));
        assert!(answer(101, &[]).unwrap_err().contains("handshake of a WebSocket"));
        let codings = [("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")];
        assert!(answer(200, &codings).unwrap_err().contains("chunked, once"));
    }
}
