//! How long a client is waited for in one request, and which requests and answers are the last of HTTP on their
//! connection.

use http::{Method, StatusCode, Version, header};
use pingora::proxy::Session;

use crate::config::settings::Patience;

/// How long a connection may wait for its next request, in seconds.
const KEEP_ALIVE: u64 = 75;

/// pingora forgets the keep-alive timeout at each request's header, and would then wait for ever.
pub(crate) fn set_timeouts(session: &mut Session, draining: bool, patience: &Patience) {
    if draining {
        session.set_keepalive(None);
    } else if session.get_keepalive().is_some() {
        session.set_keepalive(Some(KEEP_ALIVE));
    }
    let pause = (!may_upgrade(session)).then_some(patience.body_pause);
    session.set_read_timeout(pause);
    session.set_write_timeout(Some(patience.answer_unread));
}

/// Whether after this answer nothing of HTTP follows for the request: a switch of protocols is the last of it.
pub(crate) fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Whether the client asked for a WebSocket on its connection (RFC 6455 section 4.1), which is the only switch of
/// protocols that pingora passes on. A request with a body is not waited for longer because it says so.
pub(crate) fn may_upgrade(session: &Session) -> bool {
    let request = session.req_header();
    let is = |name, value: &str| {
        request.headers.get(name).is_some_and(|field| field.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    request.version == Version::HTTP_11
        && request.method == Method::GET
        && is(header::UPGRADE, "websocket")
        && !request.headers.contains_key(header::TRANSFER_ENCODING)
        && (!request.headers.contains_key(header::CONTENT_LENGTH) || is(header::CONTENT_LENGTH, "0"))
        && session.is_upgrade_req()
}
