//! What becomes of bytes that a client of HTTP/1.1 sends while its request is still being answered: the next
//! request (RFC 9112 section 9.3.2), or a stray empty line after a body (section 2.2). The current request is
//! answered as if they had not come, and the connection ends with that answer. A client that pipelines
//! repeats the next request on another connection.
//!
//! It must never read a request out of them: what one reader takes for a second request another takes for a
//! part of the first (section 11.2).

use pingora::proxy::Session;

use crate::edge::connection::connections::Connection;

/// Lets a request to an upstream survive bytes that follow it: pingora reads on from the client meanwhile,
/// and would fail the request unless pipelining is on. A client that asks to switch protocols has to wait for
/// the answer.
pub(crate) fn bear(session: &mut Session, connection: Option<&Connection>, upgrades: bool) {
    session.set_pipelining_enabled(!upgrades);
    if session.is_body_done() {
        complete_body(connection, upgrades);
    }
}

/// Marks the body as complete: what follows on the connection is not part of this request. Over HTTP/2
/// nothing follows on its stream.
pub(crate) fn complete_body(connection: Option<&Connection>, upgrades: bool) {
    if let Some(connection) = connection.filter(|_| !upgrades) {
        connection.complete_request();
    }
}

/// Makes this answer the connection's last, if something already followed the request.
pub(crate) fn before_answer(session: &mut Session, connection: Option<&Connection>) {
    if connection.is_some_and(Connection::hears_early) {
        session.set_keepalive(None);
    }
}

/// Throws away what pingora has read of it.
pub(crate) fn after_answer(session: &mut Session, connection: Option<&Connection>) {
    before_answer(session, connection);
    session.set_pipelining_enabled(false);
}
