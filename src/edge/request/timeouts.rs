//! How long a client is waited for in one request, and which answers are the last of HTTP on their
//! connection.

use http::{StatusCode, Version};
use pingora::proxy::Session;

use crate::config::settings::Patience;

/// Sets what pingora would otherwise keep from the request before, or not know. How long a connection may
/// wait for its next request is for the guard below HTTP.
pub(crate) fn set_client_timeouts(session: &mut Session, upgrades: bool, patience: &Patience) {
    // A client of HTTP/1.0 would take an interim answer for the answer (RFC 9110 section 15.2).
    let is_old = session.req_header().version == Version::HTTP_10;
    session.set_ignore_info_resp(is_old);
    let pause = (!upgrades).then_some(patience.body_pause);
    session.set_read_timeout(pause);
    // Over HTTP/1.1 whoever leaves an answer unread is seen below HTTP (`unread`). Over HTTP/2 it is a
    // stream's window.
    let unread = session.is_http2().then_some(patience.answer_unread);
    session.set_write_timeout(unread);
}

/// Whether after this answer nothing of HTTP follows for the request (RFC 9110 section 15.2): a switch of
/// protocols is the last of it.
pub(crate) fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}
