//! Request bodies that Tollgate reads itself, and those that nobody will read.
//!
//! It must never buffer more than its limit, nor wait longer than its deadline. A body that stays
//! unread ends the connection, unless it is small enough to be thrown away: otherwise its bytes
//! would be taken for the next request (RFC 9112 section 9.3).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Version, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::core::denial::Denial;

/// Bodies announced up to this size are read and thrown away after a refusal.
const DISCARDED: u64 = 64 * 1024;
/// How much of a larger body is still read after the answer, so that its sender sees the answer and
/// not a reset connection.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// The whole body, asked for with `100 Continue` where the client waits for that.
///
/// # Errors
/// [`Denial::BodyTooLarge`] over `limit` bytes, [`Denial::BodyTooSlow`] after `deadline`,
/// [`Denial::BadRequest`] when it is not framed as HTTP or breaks off.
pub(crate) async fn read_whole(
    session: &mut Session,
    limit: usize,
    deadline: Duration,
) -> Result<Bytes, Denial> {
    if announced(session).is_some_and(|length| length > limit as u64) {
        return Err(Denial::BodyTooLarge);
    }
    let reading = async {
        if expects_continue(session) {
            send_continue(session).await.map_err(|_| BROKEN)?;
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = session.read_request_body().await.map_err(|_| BROKEN)? {
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(Denial::BodyTooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(deadline, reading).await.unwrap_or(Err(Denial::BodyTooSlow))
}

const BROKEN: Denial = Denial::BadRequest("The request body is not complete.");

/// `Content-Length`; pingora has already refused what is not one number.
pub(crate) fn announced(session: &Session) -> Option<u64> {
    let value = session.get_header(header::CONTENT_LENGTH)?.to_str().ok()?;
    value.split(',').next()?.trim().parse().ok()
}

fn expects_continue(session: &Session) -> bool {
    session.req_header().version == Version::HTTP_11
        && session
            .get_header(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// pingora ends the keep-alive when anything is written before the body was read: not for this.
async fn send_continue(session: &mut Session) -> pingora::Result<()> {
    session.set_close_on_response_before_downstream_finish(false);
    let go_on = Box::new(ResponseHeader::build(100, Some(0))?);
    let sent = session.write_response_header(go_on, false).await;
    session.set_close_on_response_before_downstream_finish(true);
    sent
}

/// What becomes of a body that an answer does not wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// There is none, or pingora discards it after the answer: the connection lives on.
    Discarded,
    /// The connection ends; what is on its way is read for a moment.
    Lingers,
    /// The connection ends; the client waits for `100 Continue` and sends nothing.
    NeverSent,
}

/// Decides before the answer is written, because the answer says whether the connection lives on.
pub(crate) fn before_answer(session: &mut Session) -> Unread {
    if session.is_body_done() {
        return Unread::Discarded;
    }
    if expects_continue(session) {
        return Unread::NeverSent;
    }
    if announced(session).is_some_and(|length| length <= DISCARDED) {
        session.set_close_on_response_before_downstream_finish(false);
        session.set_total_drain_timeout(Some(LINGER));
        return Unread::Discarded;
    }
    Unread::Lingers
}

/// Reads on for a moment after the answer.
pub(crate) async fn after_answer(session: &mut Session, unread: Unread) {
    if unread != Unread::Lingers {
        return;
    }
    let reading = async {
        let mut seen = 0_usize;
        while let Ok(Some(chunk)) = session.read_request_body().await {
            seen = seen.saturating_add(chunk.len());
            if seen > LINGER_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, reading).await;
}
