//! Request bodies that Tollgate reads itself, and those that nobody will read.
//!
//! It must never buffer more than its limit, nor wait longer than its deadline. A body that stays
//! unread ends the connection (`lingering`), unless it is small enough to be thrown away: otherwise
//! its bytes would be taken for the next request (RFC 9112 section 9.3).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version, header};
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::edge::errors;

/// Bodies announced up to this size are read and thrown away after a refusal.
const DISCARDED: u64 = 64 * 1024;
/// How much of a larger body of HTTP/2 is still read after the answer: a stream that is reset right
/// after it has no answer for some clients. For how long a smaller one of HTTP/1.1, too.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// How large a body may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) bytes: usize,
    /// What whoever sends a larger one is told.
    pub(crate) why: &'static str,
}

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum Unread {
    Refused(Denial),
    /// Nobody is there any more to be refused; pingora is told so.
    ClientGone(Box<Error>),
}

impl From<Denial> for Unread {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

/// The whole body, asked for with `100 Continue` where the client waits for that.
///
/// # Errors
/// [`Denial::BodyTooLarge`] beyond the bound, [`Denial::BodyTooSlow`] after `deadline`,
/// [`Denial::BadRequest`] when it is not framed as HTTP; [`Unread::ClientGone`] when it breaks off.
pub(crate) async fn read_whole(
    session: &mut Session,
    bound: Bound,
    deadline: Duration,
) -> Result<Bytes, Unread> {
    let too_large = || Unread::Refused(Denial::BodyTooLarge(bound.why));
    if announced(session).is_some_and(|length| length > bound.bytes as u64) {
        return Err(too_large());
    }
    let reading = async {
        if expects_continue(session.req_header()) {
            send_continue(session).await.map_err(unread)?;
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = session.read_request_body().await.map_err(unread)? {
            if body.len().saturating_add(chunk.len()) > bound.bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(deadline, reading).await.unwrap_or(Err(Unread::Refused(Denial::BodyTooSlow)))
}

/// pingora does not say here whose doing it is.
fn unread(error: Box<Error>) -> Unread {
    match errors::denial_of_client(error.etype()) {
        Some(denial) => Unread::Refused(denial),
        None => Unread::ClientGone(error.into_down()),
    }
}

/// `Content-Length`; pingora has already refused what is not one number.
pub(crate) fn announced(session: &Session) -> Option<u64> {
    let value = session.get_header(header::CONTENT_LENGTH)?.to_str().ok()?;
    value.split(',').next()?.trim().parse().ok()
}

/// Whether the client waits to be told that its body is wanted (RFC 9110 section 10.1.1).
pub(crate) fn expects_continue(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_11 && says_expect_continue(request)
}

/// Whether it says that, in whatever version: clients of HTTP/1.1 alone are told to go on.
fn says_expect_continue(request: &RequestHeader) -> bool {
    let expected = request.headers.get(header::EXPECT);
    expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Asks for a body on its way to an upstream where that cannot: pingora passes on no interim answer of
/// HTTP/2, and none to a client of HTTP/2. `Expect` goes no further then (RFC 9110 sections 10.1.1 and
/// 15.2), in this try and those after it. From HTTP/1.1 to HTTP/1.1 it is left to the upstream.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn answer_expectation(
    session: &mut Session,
    to_upstream: &mut RequestHeader,
) -> pingora::Result<()> {
    let received = session.req_header();
    let passes_on = received.version == Version::HTTP_11 && to_upstream.version == Version::HTTP_11;
    if passes_on || !says_expect_continue(received) {
        return Ok(());
    }
    if expects_continue(received) && !session.is_body_done() {
        send_continue(session).await.map_err(|error| error.into_down())?;
    }
    session.req_header_mut().remove_header(&header::EXPECT);
    to_upstream.remove_header(&header::EXPECT);
    Ok(())
}

/// pingora ends the keep-alive when anything is written before the body was read: not for this.
async fn send_continue(session: &mut Session) -> pingora::Result<()> {
    session.set_close_on_response_before_downstream_finish(false);
    let go_on = Box::new(ResponseHeader::build(100, Some(0))?);
    let sent = session.write_response_header(go_on, false).await;
    session.set_close_on_response_before_downstream_finish(true);
    sent
}

/// Before an answer that does not wait for the body, because it says whether the connection lives on:
/// pingora discards a small rest then. A connection that ends anyway is none that it would read; and it ends
/// where the body was waited for in vain, which is said (RFC 9110 section 15.5.9, RFC 9112 section 9.6).
pub(crate) fn before_answer(session: &mut Session, status: StatusCode) {
    if status == StatusCode::REQUEST_TIMEOUT {
        session.set_keepalive(None);
    }
    let is_discarded = !session.is_body_done()
        && is_small(session)
        && !expects_continue(session.req_header())
        && session.get_keepalive().is_some();
    if is_discarded {
        session.set_close_on_response_before_downstream_finish(false);
        session.set_total_drain_timeout(Some(LINGER));
    }
}

fn is_small(session: &Session) -> bool {
    announced(session).is_some_and(|length| length <= DISCARDED)
}

/// Reads on for a moment after the answer, where its connection has others.
pub(crate) async fn after_answer(session: &mut Session) {
    if !session.is_http2() || session.is_body_done() || is_small(session) {
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
