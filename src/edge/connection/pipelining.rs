//! What becomes of bytes that a client of HTTP/1.1 sends while its request is still being answered: the next
//! request (RFC 9112 section 9.3.2), or a stray empty line after a body (section 2.2). The request that they
//! follow is answered as if they had not come, and its answer is the last of the connection: whoever
//! pipelines asks again on another.
//!
//! It must never read a request out of them: what one reader takes for a second request another takes for a
//! part of the first (section 11.2).

use pingora::proxy::Session;

use crate::edge::connection::connections::Connection;

/// The request goes to an upstream: from here on pingora waits for what its client says. It would fail the
/// request over what follows it, unless pipelining is on. Who asks for another protocol must wait for the
/// answer.
pub(crate) fn bear(session: &mut Session, connection: Option<&Connection>, upgrades: bool) {
    session.set_pipelining_enabled(!upgrades);
    if session.is_body_done() {
        complete_body(connection, upgrades);
    }
}

/// Marks the body as complete: what comes from here on is not of this request. Over HTTP/2 nothing ever
/// does, on its stream.
pub(crate) fn complete_body(connection: Option<&Connection>, upgrades: bool) {
    if let Some(connection) = connection.filter(|_| !upgrades) {
        connection.complete_request();
    }
}

/// Says that the connection ends with this answer, where that is so already.
pub(crate) fn before_answer(session: &mut Session, connection: Option<&Connection>) {
    if connection.is_some_and(Connection::hears_early) {
        session.set_keepalive(None);
    }
}

/// What pingora has read of it goes no further.
pub(crate) fn after_answer(session: &mut Session, connection: Option<&Connection>) {
    before_answer(session, connection);
    session.set_pipelining_enabled(false);
}
