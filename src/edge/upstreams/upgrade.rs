//! Connections for requests that may switch protocols (RFC 9110 section 7.8): what an upstream says is read after what
//! was written to it.
//!
//! pingora 0.9.1 takes the end of such a request's empty body for the end of the conversation, where it reads
//! the `101` before it has come to that end (cloudflare/pingora#946): the client's WebSocket is open, and dead. It
//! looks at both in one poll, in any order. Here the first read after a write is put off by one poll, and so the
//! end comes first.
//!
//! It must never keep back what came: whoever is put off is woken at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::ext::connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Connects for a request that may switch protocols.
#[derive(Debug)]
pub(super) struct Connector;

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::ConnectError, "upstreams are reached over TCP alone");
        };
        let tcp = connect(address, None).await?;
        Ok(VirtualSocketStream::new(Box::new(InTurn { io: tcp, wrote: false })).into())
    }
}

/// A connection whose first read after a write is put off by one poll.
#[derive(Debug)]
struct InTurn<I> {
    io: I,
    wrote: bool,
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
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for InTurn<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
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
        let mut connection = InTurn { io, wrote: false };
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
}
