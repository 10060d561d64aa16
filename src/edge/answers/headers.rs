//! The header plan, applied: what an upstream gets, and what of its answer goes to the client.
//!
//! Towards the upstream this runs after pingora has applied `Connection` (RFC 9110 section 7.6.1), and
//! again on each retry: first everything reserved is taken out, then ours is set. So a client can
//! neither send an identity header nor have one removed.

use std::net::IpAddr;

use bytes::Bytes;
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType};

use crate::core::cors::SPOKEN_BY_UPSTREAMS;
use crate::core::forwarded::Identifiers;
use crate::core::identity_headers::ReservedHeaders;
use crate::core::route::permit::Permit;
use crate::core::route::{CorsSpeaker, Route};
use crate::core::session::cookie;
use crate::core::token::dpop::DPOP;
use crate::core::token::subprotocol::{self, ForUpstream};
use crate::edge::answers::answer::VARY_BY_ORIGIN;
use crate::edge::answers::respond::X_REQUEST_ID;
use crate::edge::request::timeouts::is_final;
use crate::state::live::Live;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Whether a field is of one connection only (RFC 9110 section 7.6.1), whether `Connection` names it or not.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "upgrade" | "te")
}

/// What a client says to us as its proxy, or of trailers, none of which go on. From HTTP/2 to HTTP/2 pingora
/// leaves them be.
const OF_ONE_HOP: [HeaderName; 3] =
    [header::PROXY_AUTHORIZATION, header::PROXY_AUTHENTICATE, header::TRAILER];

/// Who a request is, in logs and at the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Identification {
    pub(crate) ids: Identifiers,
    pub(crate) peer: IpAddr,
    /// The client: the peer, or what a trusted proxy said of it.
    pub(crate) client: IpAddr,
}

/// What is needed beside the permit to send a request to its upstream.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) live: &'a Live,
    pub(crate) reserved: &'a ReservedHeaders,
    pub(crate) permit: &'a Permit,
    pub(crate) who: &'a Identification,
    /// As the client sent them.
    pub(crate) received: &'a HeaderMap,
    /// Whether it asks for a WebSocket.
    pub(crate) upgrades: bool,
    /// `Host` for the upstream.
    pub(crate) host: &'a HeaderValue,
    /// What it is told of the client and of what that asked for.
    pub(crate) forwarded: &'a [(HeaderName, HeaderValue)],
    /// What Tollgate itself proves itself with, whoever calls.
    pub(crate) own: &'a [(HeaderName, HeaderValue)],
}

/// Turns the client's request into the upstream's. Names go out in lower case, but for a few of HTTP's own:
/// one map of headers is cheaper than two, and case means nothing (RFC 9110 section 5.1).
///
/// # Errors
/// When a header or the target cannot be written; nothing is sent then.
pub(crate) fn to_upstream(request: &mut RequestHeader, plan: &Outgoing<'_>) -> pingora::Result<()> {
    let changed = changed_target(request, plan.permit)?;
    let none = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(std::mem::replace(request, none));
    if let Some(target) = changed {
        parts.uri = target.into();
    }
    set_headers(&mut parts.headers, plan)?;
    *request = parts.into();
    Ok(())
}

/// About as many are set.
const OURS: usize = 16;

fn set_headers(headers: &mut HeaderMap, plan: &Outgoing<'_>) -> pingora::Result<()> {
    remove_reserved(headers, plan);
    remove_our_cookies(headers, plan.live);
    take_off_our_subprotocols(headers, plan)?;
    if !plan.upgrades {
        // pingora passes on a wish for a WebSocket whatever the method, and adds the `Connection` that is
        // missing.
        headers.remove(header::UPGRADE);
        headers.remove(header::CONNECTION);
    }
    for of_one_hop in OF_ONE_HOP {
        headers.remove(of_one_hop);
    }
    if let Some(length) = one_content_length(headers) {
        headers.insert(header::CONTENT_LENGTH, value(length)?);
    }
    headers.reserve(OURS);
    if let Some(token) = plan.permit.session_token() {
        headers.insert(header::AUTHORIZATION, bearer(token.expose())?);
    }
    headers.insert(header::HOST, plan.host.clone());
    headers.insert(X_REQUEST_ID, unique(plan.who.ids.request_id.as_str())?);
    headers.insert(TRACEPARENT, unique(plan.who.ids.trace_parent.as_str())?);
    if !plan.who.ids.keeps_trace_state {
        headers.remove(TRACESTATE);
    }
    let identity = plan.permit.identity().iter().chain(plan.permit.assertion());
    for (name, value) in plan.forwarded.iter().chain(identity).chain(plan.own) {
        headers.insert(name.clone(), value.clone());
    }
    Ok(())
}

fn value(text: impl TryInto<HeaderValue>) -> pingora::Result<HeaderValue> {
    text.try_into().map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))
}

/// A value that no other message has. HTTP/2 does not index it then (RFC 7541 section 6.2.3): in the table it
/// would only push out what comes again.
fn unique(text: &str) -> pingora::Result<HeaderValue> {
    let mut value = value(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The access token of a session goes on where tokens do, if the operator says so.
fn bearer(token: &str) -> pingora::Result<HeaderValue> {
    let mut value = value(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn remove_reserved(headers: &mut HeaderMap, plan: &Outgoing<'_>) {
    let keeps_token = plan.permit.forwards_access_token();
    let goes = |name: &&HeaderName| {
        if **name == header::AUTHORIZATION { !keeps_token } else { plan.reserved.is_reserved(name.as_str()) }
    };
    let reserved: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
    for name in reserved {
        headers.remove(name);
    }
    // A proof is of this request and this gateway, and is shown to nobody who could show it again; one that
    // no token came with is not for us.
    if plan.received.contains_key(DPOP) && brings_token(plan.received) {
        headers.remove(DPOP);
    }
}

/// Whether a token came, in whatever way and of whatever worth.
fn brings_token(received: &HeaderMap) -> bool {
    received.contains_key(header::AUTHORIZATION) || !matches!(subprotocol::offered(received), Ok(None))
}

fn remove_our_cookies(headers: &mut HeaderMap, live: &Live) {
    if !headers.contains_key(header::COOKIE) {
        return;
    }
    match cookie::without(headers, |name| is_our_cookie(live, name)) {
        cookie::ForUpstream::Unchanged => {}
        cookie::ForUpstream::Rest(rest) => drop(headers.insert(header::COOKIE, rest)),
        cookie::ForUpstream::Nothing => drop(headers.remove(header::COOKIE)),
    }
}

/// The token that came as subprotocol goes on where tokens do: in `Authorization`, if the operator says so.
fn take_off_our_subprotocols(headers: &mut HeaderMap, plan: &Outgoing<'_>) -> pingora::Result<()> {
    if plan.permit.forwards_access_token()
        && let Ok(Some(offered)) = subprotocol::offered(plan.received)
        && let Ok(token) = offered.token()
    {
        headers.insert(header::AUTHORIZATION, bearer(token.expose())?);
    }
    match subprotocol::without(headers) {
        ForUpstream::Unchanged => {}
        ForUpstream::Rest(rest) => drop(headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest)),
        ForUpstream::Nothing => drop(headers.remove(header::SEC_WEBSOCKET_PROTOCOL)),
    }
    Ok(())
}

/// Whether a cookie of this name is a session, or a sign-in under way. Browsers and other replicas still have
/// those of clients that are gone or have another name, so what is named as ours by default counts whoever is
/// configured.
fn is_our_cookie(live: &Live, name: &[u8]) -> bool {
    let is_configured = || live.settings.clients.iter().any(|client| client.cookie.name.as_bytes() == name);
    cookie::is_by_default_ours(name) || is_configured()
}

/// Equal lengths given twice, or as a list, become one (RFC 9110 section 8.6); pingora has refused those that
/// differ. `None`: it is one already, or none.
fn one_content_length(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut fields = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = fields.next()?.as_bytes();
    let comma = first.iter().position(|byte| *byte == b',');
    if fields.next().is_none() && comma.is_none() {
        return None;
    }
    let one = comma.and_then(|at| first.get(..at)).unwrap_or(first);
    Some(one.trim_ascii().to_vec())
}

/// The path that was judged, byte for byte, or what its route makes of it, and the query as it came. `None`
/// where that is how the client wrote it.
///
/// # Errors
/// When it can be no target.
fn changed_target(request: &RequestHeader, permit: &Permit) -> pingora::Result<Option<PathAndQuery>> {
    let path = permit.sent_path().as_str();
    let as_it_came = match (request.raw_path().strip_prefix(path.as_bytes()), permit.query()) {
        (Some([]), None) => true,
        (Some([b'?', rest @ ..]), Some(query)) => rest == query.as_bytes(),
        _ => false,
    };
    if as_it_came {
        return Ok(None);
    }
    let target = permit.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
    target.map(Some).map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))
}

/// Takes an answer to change it, and the reason that its server gave, where that is one of its own. Names go
/// out in lower case after that, but for a few of HTTP's own, as those of requests do: see [`to_upstream`].
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

/// Whether an answer has one reading. pingora would pass on one with several codings, or codings that it does
/// not know, for the client to guess (RFC 9112 section 6.3); and a switch of protocols that the client did
/// not ask for, so that what follows would be read as its next answer (RFC 9110 section 15.2.2).
pub(crate) fn has_one_reading(answer: &ResponseHeader, may_upgrade: bool) -> bool {
    if answer.status == StatusCode::SWITCHING_PROTOCOLS && !may_upgrade {
        return false;
    }
    let mut codings = answer.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => {
            answer.version == Version::HTTP_11
                && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
        }
        (Some(_), Some(_)) => false,
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

/// What an upstream answers to somebody whom a cookie proved is nobody else's. Caches know that of
/// `Authorization` (RFC 9111 section 3.5), and of a cookie only where it is said: where the upstream does not
/// speak of caches itself, that it is for one person alone.
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

fn never_has_body(status: StatusCode, method: &Method) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
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
    let all: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    let is_planted =
        |value: &HeaderValue| cookie::sets_one_of(value.as_bytes(), |name| is_our_cookie(live, name));
    let (planted, theirs): (Vec<_>, Vec<_>) = all.into_iter().partition(is_planted);
    if !planted.is_empty() {
        tracing::warn!("an upstream tried to set a cookie of Tollgate's name; it was dropped");
        headers.remove(header::SET_COOKIE);
        for value in theirs {
            headers.append(header::SET_COOKIE, value);
        }
    }
    planted.len()
}
