//! Connections for requests that may switch protocols (RFC 9110 section 7.8): reads are put off until what
//! was written has been handled.
//!
//! pingora 0.9.1 takes the end of such a request's empty body for the end of the conversation if it reads the
//! `101` first (cloudflare/pingora#946): the client's WebSocket is then open, and dead. pingora looks at both
//! in one poll, in any order. Here the first read after a write is put off by one poll, so that the end of
//! the body comes first.
//!
//! pingora has one read timeout for before and after the switch. A WebSocket may be silent for long. An
//! upstream that has not answered, or whose answer is not a switch, may be silent for `timeouts.read` at
//! most, which is enforced here until whoever sees the `101` says so.
//!
//! It must never hold back data: a read that is put off is woken at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::ext::{connect, set_tcp_keepalive};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Whether the upstream of one request has switched protocols.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    /// Notes that it has; from now on it may be silent.
    pub(crate) fn made(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn was_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Connects for one request that may switch protocols.
#[derive(Debug)]
pub(super) struct Connector {
    /// How long the upstream may be silent before it switches.
    pub(super) read: Duration,
    pub(super) switch: Switch,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::ConnectError, "upstreams are reached over TCP alone");
        };
        let tcp = connect(address, None).await?;
        Ok(VirtualSocketStream::new(Box::new(InTurn::new(tcp, self.read, self.switch.clone()))).into())
    }
}

/// A connection whose first read after a write is put off by one poll, and whose reads have a timeout before
/// the switch.
#[derive(Debug)]
struct InTurn<I> {
    io: I,
    wrote: bool,
    read: Duration,
    switch: Switch,
    /// Runs while nothing comes.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<I> InTurn<I> {
    fn new(io: I, read: Duration, switch: Switch) -> Self {
        Self { io, wrote: false, read, switch, deadline: None }
    }

    /// Whether the upstream was silent for too long; if not, `cx` is woken when it is.
    fn was_silent(&mut self, cx: &mut Context<'_>) -> bool {
        if self.switch.was_done() {
            self.deadline = None;
            return false;
        }
        let read = self.read;
        self.deadline.get_or_insert_with(|| Box::pin(sleep(read))).as_mut().poll(cx).is_ready()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for InTurn<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.wrote) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let came = Pin::new(&mut self.io).poll_read(cx, buf);
        if came.is_ready() {
            self.deadline = None;
        } else if self.was_silent(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        came
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for InTurn<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
        self.deadline = None;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl VirtualSocket for InTurn<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.io.set_nodelay(true),
            VirtualSockOpt::KeepAlive(asking) => {
                set_tcp_keepalive(&self.io, &asking).map_err(io::Error::other)
            }
            // No peer of ours asks for others.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_came_is_read_one_poll_after_what_was_written_and_no_later() {
        let (io, mut peer) = tokio::io::duplex(64);
        let mut connection = InTurn::new(io, Duration::from_secs(60), Switch::default());
        let mut came = [0; 5];
        for answer in [b"first", b"again"] {
            peer.write_all(answer).await.unwrap();
            connection.write_all(b"request").await.unwrap();
            assert!(connection.read_exact(&mut came).now_or_never().is_none());
            connection.read_exact(&mut came).now_or_never().expect("put off once").unwrap();
            assert_eq!(&came, answer);
        }
        peer.write_all(b"early").await.unwrap();
        connection.write_all(b"request").await.unwrap();
        let read = timeout(Duration::from_secs(10), connection.read_exact(&mut came));
        read.await.expect("whoever was put off is woken").unwrap();
        assert_eq!(&came, b"early");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_read_before_the_switch_and_none_after_it() {
        let (io, mut peer) = tokio::io::duplex(64);
        let (read, switch) = (Duration::from_secs(60), Switch::default());
        let mut connection = InTurn::new(io, read, switch.clone());
        let began = tokio::time::Instant::now();
        let mut came = [0; 2];
        let silent = connection.read_exact(&mut came).await.unwrap_err();
        assert_eq!((silent.kind(), began.elapsed() >= read), (io::ErrorKind::TimedOut, true));
        peer.write_all(b"he").await.unwrap();
        connection.read_exact(&mut came).await.unwrap();
        let half = connection.read_exact(&mut came).await.unwrap_err();
        assert_eq!(half.kind(), io::ErrorKind::TimedOut, "each silence counts");
        switch.made();
        assert!(timeout(read * 100, connection.read_exact(&mut came)).await.is_err(), "it may be silent now");
    }
}
