//! The header plan, applied: what an upstream gets.
//!
//! This runs after pingora has applied `Connection` (RFC 9110 section 7.6.1), and again on each retry: first
//! everything reserved is taken out, then ours is set. So a client can neither send an identity header nor
//! have one removed.

use std::net::IpAddr;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};

use crate::core::forwarded::{Identifiers, X_REQUEST_ID};
use crate::core::identity_headers::ReservedHeaders;
use crate::core::route::permit::Permit;
use crate::core::session::cookie;
use crate::core::token::dpop::DPOP;
use crate::core::token::subprotocol::{self, ForUpstream};
use crate::state::live::Live;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

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
    if let Some(prefix) = plan.permit.stripped_prefix() {
        headers.insert(X_FORWARDED_PREFIX, value(prefix)?);
    }
    for (name, value) in plan.forwarded.iter().chain(identity).chain(plan.own) {
        headers.insert(name.clone(), of_one_caller(value));
    }
    Ok(())
}

/// What tells of one caller stays out of the table that all requests of a connection of HTTP/2 share (RFC
/// 7541 sections 6.2.3 and 7.1.3): a server that has lost its place there would read it as another caller's.
fn of_one_caller(value: &HeaderValue) -> HeaderValue {
    let mut value = value.clone();
    value.set_sensitive(true);
    value
}

pub(super) fn value(text: impl TryInto<HeaderValue>) -> pingora::Result<HeaderValue> {
    text.try_into().map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))
}

/// A value that no other message has. HTTP/2 does not index it then (RFC 7541 section 6.2.3): in the table it
/// would only push out what comes again.
pub(super) fn unique(text: &str) -> pingora::Result<HeaderValue> {
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
pub(super) fn is_our_cookie(live: &Live, name: &[u8]) -> bool {
    let is_configured = || live.settings.clients.iter().any(|client| client.cookie.name.as_bytes() == name);
    cookie::is_by_default_ours(name) || is_configured()
}

/// Equal lengths given twice, or as a list, become one (RFC 9110 section 8.6); pingora has refused those that
/// differ. `None`: it is one already, or none.
pub(super) fn one_content_length(headers: &HeaderMap) -> Option<Vec<u8>> {
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
