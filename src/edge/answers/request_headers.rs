//! Makes the headers that an upstream gets.
//!
//! This runs after pingora has applied `Connection` (RFC 9110 section 7.6.1), and again on each retry. First
//! every reserved header is removed, then the gateway's own are set. So a client can neither send an identity
//! header nor have one removed.

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

/// Headers for the next hop only, or about trailers, of which none goes on. From HTTP/2 to HTTP/2 pingora
/// leaves them in.
const OF_ONE_HOP: [HeaderName; 3] =
    [header::PROXY_AUTHORIZATION, header::PROXY_AUTHENTICATE, header::TRAILER];

/// What identifies a request, in logs and at the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Identification {
    pub(crate) ids: Identifiers,
    pub(crate) peer: IpAddr,
    /// The client's address: the peer's, or the one that a trusted proxy named.
    pub(crate) client: IpAddr,
}

/// What a request to an upstream is made of, beside what the client sent.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) live: &'a Live,
    pub(crate) reserved: &'a ReservedHeaders,
    pub(crate) permit: &'a Permit,
    pub(crate) who: &'a Identification,
    /// The headers as the client sent them.
    pub(crate) received: &'a HeaderMap,
    /// Whether it asks for a WebSocket.
    pub(crate) upgrades: bool,
    /// `Host` for the upstream.
    pub(crate) host: &'a HeaderValue,
    /// The forwarding headers.
    pub(crate) forwarded: &'a [(HeaderName, HeaderValue)],
    /// The headers by which Tollgate authenticates itself, whoever calls.
    pub(crate) own: &'a [(HeaderName, HeaderValue)],
}

/// Turns the client's request into the upstream's. Names go out in lower case, except a few of HTTP's own:
/// one header map is cheaper than two, and case means nothing (RFC 9110 section 5.1).
///
/// # Errors
/// When a header or the target cannot be written. Nothing is sent then.
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

/// About how many headers are set.
const OURS: usize = 16;

fn set_headers(headers: &mut HeaderMap, plan: &Outgoing<'_>) -> pingora::Result<()> {
    remove_reserved(headers, plan);
    remove_our_cookies(headers, plan.live);
    take_off_our_subprotocols(headers, plan)?;
    if !plan.upgrades {
        // pingora would pass on an upgrade to WebSocket whatever the method, and add a missing `Connection`.
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

/// Keeps a header about one caller out of the compression table that all requests of an HTTP/2 connection
/// share (RFC 7541 sections 6.2.3 and 7.1.3): a server that has lost its place in the table would take it for
/// another caller's.
fn of_one_caller(value: &HeaderValue) -> HeaderValue {
    let mut value = value.clone();
    value.set_sensitive(true);
    value
}

pub(super) fn value(text: impl TryInto<HeaderValue>) -> pingora::Result<HeaderValue> {
    text.try_into().map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))
}

/// Makes a value that no other message has. HTTP/2 does not index it (RFC 7541 section 6.2.3): in the table
/// it would only displace values that recur.
pub(super) fn unique(text: &str) -> pingora::Result<HeaderValue> {
    let mut value = value(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The `Authorization` that forwards a session's access token.
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
    // A proof is for this request at this gateway, and nobody else may get it to use it again. One that came
    // without a token is not for the gateway.
    if plan.received.contains_key(DPOP) && brings_token(plan.received) {
        headers.remove(DPOP);
    }
}

/// Whether a token came, in whatever way, valid or not.
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

/// Removes the subprotocols that carried the token. The token goes on in `Authorization`, if the operator
/// says so.
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

/// Whether a cookie of this name belongs to Tollgate: a session, or a sign-in under way. Browsers and other
/// replicas may still have cookies of clients that are gone or renamed, so the default names count whatever
/// is configured.
pub(super) fn is_our_cookie(live: &Live, name: &[u8]) -> bool {
    let is_configured = || live.settings.clients.iter().any(|client| client.cookie.name.as_bytes() == name);
    cookie::is_by_default_ours(name) || is_configured()
}

/// Merges equal lengths that were given twice, or as a list, into one (RFC 9110 section 8.6); pingora has
/// refused different ones. `None`: there is one already, or none.
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

/// The target to send: the judged path, byte for byte, or what its route makes of it, with the query as it
/// came. `None`: the client wrote it just so.
///
/// # Errors
/// When it cannot be a target.
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
