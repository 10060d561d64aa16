//! How a connection of HTTP/1.x ends while its client may still be sending: in stages (RFC 9112 section 9.6).
//! A socket that is closed over bytes that nobody has read is reset: the client's next write fails, and the
//! reset may overtake the answer. So the write side ends first, over TLS with its closing message, and what
//! comes is read until the client closes too. pingora reads on only where a connection is to live; else it
//! shuts it down and drops it, or just drops it.
//!
//! It must never end in good order an answer that broke off: one without a length would look whole (section
//! 8). It holds its connection's place, for a bounded time and a bounded number of bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora::protocols::Stream;
use pingora::proxy::Session;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::edge::connection::connections::Connection;

/// How much is still read of what a client sends after its last answer.
const MOST_READ: usize = 1024 * 1024;

/// After a whole answer, before pingora drops its session or takes it back: ends the connection where more
/// than the answer took may come, unless it lives on. `failed`: then pingora drops it, whatever the answer
/// says.
pub(crate) async fn after_answer(session: &mut Session, connection: Option<&Connection>, failed: bool) {
    let has_unread = !session.is_body_done();
    let Some(connection) = connection.filter(|connection| has_unread || connection.hears_early()) else {
        return;
    };
    if session.is_http2() || (!failed && session.get_keepalive().is_some()) {
        return;
    }
    if has_unread {
        connection.mark_lingering();
    }
    session.shutdown().await;
}

/// How far the end of a connection is. pingora ends again what was ended here.
#[derive(Debug)]
pub(crate) enum End {
    Open,
    /// Nothing more is written.
    Lingers(Lingering),
    Over,
}

/// What comes after the last answer, read for a moment and thrown away.
#[derive(Debug)]
pub(crate) struct Lingering {
    timer: Pin<Box<Sleep>>,
    seen: usize,
}

impl Lingering {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { timer: Box::pin(sleep(patience)), seen: 0 }
    }

    /// Ends when the client has closed, or has had its time. Who sends too much is read no more, and has that
    /// time too: a socket's buffers alone may hold more, and what fills them must not reset whoever is about
    /// to read.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, io: &mut Stream) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; 4096];
        while self.seen <= MOST_READ {
            let mut piece = ReadBuf::new(&mut space);
            if ready!(Pin::new(&mut *io).poll_read(cx, &mut piece)).is_err() || piece.filled().is_empty() {
                return Poll::Ready(());
            }
            self.seen = self.seen.saturating_add(piece.filled().len());
        }
        Poll::Pending
    }
}
