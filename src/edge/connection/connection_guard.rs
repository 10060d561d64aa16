//! Watches over one downstream connection, below HTTP. It ends the connection when a request's header does
//! not arrive in time or does not end, when no next request comes, or when nothing is read of what is written
//! (`unread`). pingora's own timeouts are per read, so a header sent one byte a minute would keep a
//! connection for ever; and it reads up to 1 MiB of header, from the beginning again at each piece that
//! comes.
//!
//! It must never change the bytes. One timer serves all waits for what a client sends, and is re-armed only
//! when it fires: a timer for each wait would cost more than the rest.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::edge::connection::confirmed::Counting;
use crate::edge::connection::connections::{ConnectionPlace, Phase};
use crate::edge::connection::lingering::{End, Lingering};
use crate::edge::connection::unread::Unread;

/// How a client begins HTTP/2 (RFC 9113 section 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection under guard.
#[derive(Debug)]
pub(crate) struct Guarded {
    io: Stream,
    place: ConnectionPlace,
    digest: Arc<ProxyDigest>,
    /// Many requests at once: their headers are bounded by the HTTP/2 codec, and what waits between
    /// them by the idle timeout of `server`.
    is_http2: bool,
    /// Read ahead to tell HTTP/2 by its preface; given out again first.
    peeked: VecDeque<u8>,
    /// What is waited for, and until when.
    due: Option<(Due, Instant)>,
    /// Ends when something is due, or before.
    timer: Option<Pin<Box<Sleep>>>,
    /// Read since a header is due.
    header_bytes: usize,
    bounds: Bounds,
    unread: Unread,
    end: End,
}

/// What a client owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The header of a request, to its end.
    Header,
    /// The first byte of the next request.
    NextRequest,
}

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// From the connection's beginning, or a request's first byte, to its header's end.
    pub(crate) patience: Duration,
    /// How much is read while a header is due.
    pub(crate) bytes: usize,
    /// From one request's end to the first byte of the next (HTTP/1.x).
    pub(crate) between: Duration,
    /// How long what is written may be left unread.
    pub(crate) unread: Duration,
    /// How long it is read on after the last answer.
    pub(crate) linger: Duration,
    /// How that is known, where it is.
    pub(crate) counting: Option<Counting>,
}

impl Guarded {
    pub(crate) fn new(io: Stream, place: ConnectionPlace, bounds: Bounds) -> pingora::Result<Self> {
        let label = Box::new(ResponseHeader::build(200, Some(0))?);
        let digest = Arc::new(ProxyDigest::new(label, Some(Box::new(place.0.clone()))));
        let due = Instant::now().checked_add(bounds.patience).map(|at| (Due::Header, at));
        let is_http2 = matches!(io.selected_alpn_proto(), Some(ALPN::H2));
        Ok(Self {
            io,
            place,
            digest,
            is_http2,
            peeked: VecDeque::new(),
            due,
            timer: None,
            header_bytes: 0,
            bounds,
            unread: Unread::new(bounds.unread),
            end: End::Open,
        })
    }

    /// What came of writing to the client; `of_all`: of all that was written before.
    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        of_all: bool,
    ) -> Poll<io::Result<T>> {
        let (io, counting) = (&self.io, self.bounds.counting);
        self.unread.observe_write(cx, written, of_all, || counting?.of(io.id()))
    }

    /// Bytes came: the first of a request start its deadline anew.
    ///
    /// # Errors
    /// When they are more than any header has.
    fn bytes_came(&mut self, count: usize) -> io::Result<()> {
        match self.place.0.phase() {
            Phase::Idle if self.is_http2 => return Ok(()),
            Phase::Idle => {
                self.place.0.enter(Phase::Header);
                self.due = None;
                self.header_bytes = count;
            }
            Phase::Fresh => {
                self.place.0.enter(Phase::Header);
                self.header_bytes = count;
            }
            Phase::Header => self.header_bytes = self.header_bytes.saturating_add(count),
            Phase::Complete if !self.is_http2 => self.place.0.mark_early(),
            Phase::Busy | Phase::Complete => return Ok(()),
        }
        if self.header_bytes > self.bounds.bytes && !self.is_http2 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the header does not end"));
        }
        Ok(())
    }

    /// Whether what is due did not come in time: a header, or the next request.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let (what, patience) = match self.place.0.phase() {
            Phase::Fresh | Phase::Header => (Due::Header, self.bounds.patience),
            Phase::Idle if !self.is_http2 => (Due::NextRequest, self.bounds.between),
            Phase::Idle | Phase::Busy | Phase::Complete => {
                self.due = None;
                return false;
            }
        };
        let same = self.due.filter(|(before, _)| *before == what);
        let Some((_, at)) = same.or_else(|| Some((what, Instant::now().checked_add(patience)?))) else {
            return false;
        };
        self.due = Some((what, at));
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= at {
                return true;
            }
            // It was set for what has come since.
            timer.as_mut().reset(at);
        }
        false
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if !me.peeked.is_empty() {
            let count = me.peeked.len().min(buf.remaining());
            me.peeked.drain(..count).for_each(|byte| buf.put_slice(&[byte]));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut me.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len().saturating_sub(before);
                Poll::Ready(if count > 0 { me.bytes_came(count) } else { Ok(()) })
            }
            Poll::Pending if me.is_overdue(cx) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came in time")))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let written = Pin::new(&mut me.io).poll_write(cx, bytes);
        me.wrote(cx, written, false)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let written = Pin::new(&mut me.io).poll_flush(cx);
        me.wrote(cx, written, true)
    }

    /// The end of TLS is written too, and may be left unread. pingora ends a session of HTTP/1.x so, not by
    /// [`Shutdown`].
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if matches!(me.end, End::Open) {
            let written = Pin::new(&mut me.io).poll_shutdown(cx);
            ready!(me.wrote(cx, written, true))?;
            let lingers = me.place.0.lingers();
            me.end = if lingers { End::Lingers(Lingering::new(me.bounds.linger)) } else { End::Over };
        }
        if let End::Lingers(lingering) = &mut me.end {
            ready!(lingering.poll(cx, &mut me.io));
            me.end = End::Over;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let written = Pin::new(&mut me.io).poll_write_vectored(cx, bytes);
        me.wrote(cx, written, false)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl Ssl for Guarded {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.io.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.io.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.selected_alpn_proto()
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.io.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.io.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.io.get_write_pending_time()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.io.set_socket_digest(digest);
    }
}

#[async_trait]
impl Peek for Guarded {
    /// Asked once, before anything was read: whether a client begins with the preface of HTTP/2
    /// (RFC 9113 section 3.4). Waits no longer than for the first byte that differs.
    async fn try_peek(&mut self, into: &mut [u8]) -> io::Result<bool> {
        let mut seen: Vec<u8> = Vec::with_capacity(H2_PREFACE.len());
        while seen.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&seen) {
            let mut piece = [0; H2_PREFACE.len()];
            let wanted = H2_PREFACE.len().saturating_sub(seen.len());
            let count = self.read(piece.get_mut(..wanted).unwrap_or_default()).await?;
            if count == 0 {
                break;
            }
            seen.extend(piece.iter().take(count));
        }
        into.fill(0);
        into.iter_mut().zip(&seen).for_each(|(to, from)| *to = *from);
        self.is_http2 = seen == H2_PREFACE;
        self.peeked = seen.into();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use pingora::protocols::l4::stream::Stream as TcpStream;
    use prometheus::IntGauge;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::edge::connection::connections::{Connections, MostOfOne, Whose};
    use crate::edge::connection::door::Door;

    const SOON: Duration = Duration::from_millis(100);
    /// Longer than a busy machine takes for anything. Who waits for the end of one of these stops the clock
    /// first (`tokio::time::pause`), which then goes on by itself to whatever is due next.
    const BOUNDS: Bounds = Bounds {
        patience: Duration::from_secs(60),
        bytes: 1000,
        between: Duration::from_secs(600),
        unread: Duration::from_secs(60),
        linger: Duration::from_secs(60),
        counting: None,
    };

    async fn pair() -> (Guarded, tokio::net::TcpStream, Arc<Connections>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let all = Connections::new(
            IntGauge::new("connections", "x").unwrap(),
            2,
            MostOfOne { most: 1, but_for: vec!["10.0.0.0/8".parse().unwrap()] },
        );
        let place = ConnectionPlace::take(&all, &Arc::new(Door::ClearText), Whose::Nobody).unwrap();
        let guarded = Guarded::new(Box::new(TcpStream::from(socket)), place, BOUNDS).unwrap();
        (guarded, client, all)
    }

    /// Reads until an error; its kind.
    async fn end(guarded: &mut Guarded) -> io::ErrorKind {
        loop {
            match guarded.read(&mut [0; 16]).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof,
                Ok(_) => {}
                Err(error) => return error.kind(),
            }
        }
    }

    /// Whether nothing ends it before, while nothing comes.
    async fn is_open_after(time: Duration, guarded: &mut Guarded) -> bool {
        tokio::time::timeout(time, guarded.read(&mut [0; 16])).await.is_err()
    }

    #[tokio::test]
    async fn an_address_has_its_share_and_trusted_proxies_stand_for_many() {
        let (guarded, _client, all) = pair().await;
        let door = Arc::new(Door::ClearText);
        let take =
            |address: &str| ConnectionPlace::take(&all, &door, Whose::Client(address.parse().unwrap()));
        let first = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.9").is_none(), "the listener is full");
        drop(guarded);
        assert!(take("192.0.2.1").is_none(), "one is its share");
        drop(take("192.0.2.2").unwrap());
        drop(first);
        drop(take("192.0.2.1").unwrap());
        let proxied = [take("10.0.0.1").unwrap(), take("10.0.0.1").unwrap()];
        assert_eq!(all.open(), 2);
        drop(proxied);
        assert_eq!(all.open(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_ends() {
        let (mut guarded, _client, all) = pair().await;
        assert_eq!((all.open(), all.awaited()), (1, 1));
        tokio::time::pause();
        assert_eq!(end(&mut guarded).await, io::ErrorKind::TimedOut);
        drop(guarded);
        assert_eq!((all.open(), all.awaited()), (0, 0));
    }

    #[tokio::test]
    async fn a_header_in_small_pieces_ends_at_its_deadline_too() {
        let (mut guarded, mut client, _) = pair().await;
        tokio::time::pause();
        let started = Instant::now();
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(BOUNDS.patience / 10).await;
            }
        });
        assert_eq!(end(&mut guarded).await, io::ErrorKind::TimedOut);
        assert!(started.elapsed() < BOUNDS.patience * 2, "each piece did not begin it anew");
        drop(guarded);
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn a_header_that_does_not_end_ends_the_connection_and_a_body_does_not() {
        let (mut guarded, mut client, _) = pair().await;
        client.write_all(&[b'x'; 1000]).await.unwrap();
        guarded.read_exact(&mut [0; 1000]).await.unwrap();
        guarded.place.0.begin_request();
        client.write_all(&[b'x'; 2000]).await.unwrap();
        guarded.read_exact(&mut [0; 2000]).await.unwrap();
        guarded.place.0.end_request();
        client.write_all(&[b'x'; 1001]).await.unwrap();
        assert_eq!(end(&mut guarded).await, io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn whoever_speaks_before_the_answer_still_gets_it_and_then_the_end() {
        let (mut guarded, mut client, _) = pair().await;
        let connection = guarded.place.0.clone();
        connection.begin_request();
        client.write_all(b"body").await.unwrap();
        guarded.read_exact(&mut [0; 4]).await.unwrap();
        assert!(!connection.hears_early());
        connection.complete_request();
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        guarded.read_exact(&mut [0; 1]).await.unwrap();
        assert!(connection.hears_early());
        let serving = tokio::spawn(async move {
            guarded.write_all(b"answer").await.unwrap();
            AsyncWriteExt::shutdown(&mut guarded).await.unwrap();
        });
        // With bytes unread a socket that closes says that it is reset, which may overtake the answer.
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"answer");
        assert!(!serving.is_finished(), "it waits for what is on its way");
        client.write_all(b"Host: x\r\n\r\n").await.unwrap();
        drop(client);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_lingers_once() {
        let (mut guarded, client, _) = pair().await;
        guarded.place.0.mark_lingering();
        tokio::time::pause();
        let began = Instant::now();
        AsyncWriteExt::shutdown(&mut guarded).await.unwrap();
        assert!(began.elapsed() >= BOUNDS.linger, "its client is still there");
        assert!(futures_util::poll!(std::pin::pin!(AsyncWriteExt::shutdown(&mut guarded))).is_ready());
        drop(client);
    }

    #[tokio::test]
    async fn the_preface_of_http2_is_told_at_the_first_byte_that_differs_and_nothing_is_lost() {
        for (sent, http2) in [
            (&H2_PREFACE[..], true),
            (b"OPTIONS / HTTP/1.0\r\n\r\n", false),
            (b"PRI * HTTP/1.1\r\n", false),
            (b"P", false),
        ] {
            let (mut guarded, mut client, _) = pair().await;
            client.write_all(sent).await.unwrap();
            if sent.len() == 1 {
                client.shutdown().await.unwrap();
            }
            let mut seen = [0; 24];
            assert!(guarded.try_peek(&mut seen).await.unwrap());
            assert_eq!((seen == *H2_PREFACE, guarded.is_http2), (http2, http2));
            client.shutdown().await.unwrap();
            let mut all = Vec::new();
            guarded.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, sent);
        }
    }

    #[tokio::test]
    async fn a_preface_that_does_not_go_on_ends_at_the_deadline() {
        let (mut guarded, mut client, _) = pair().await;
        client.write_all(&H2_PREFACE[..10]).await.unwrap();
        tokio::time::pause();
        let error = guarded.try_peek(&mut [0; 24]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_comes_between_requests_of_http2_is_no_header() {
        let (mut guarded, mut client, all) = pair().await;
        client.write_all(H2_PREFACE).await.unwrap();
        guarded.try_peek(&mut [0; 24]).await.unwrap();
        guarded.place.0.begin_request();
        guarded.place.0.end_request();
        client.write_all(b"ping").await.unwrap();
        guarded.read_exact(&mut [0; 28]).await.unwrap();
        assert_eq!(all.awaited(), 0);
        tokio::time::pause();
        assert!(is_open_after(BOUNDS.patience * 3, &mut guarded).await);
        assert!(is_open_after(BOUNDS.between * 3, &mut guarded).await);
    }

    #[tokio::test]
    async fn a_connection_on_which_no_next_request_comes_ends() {
        let (mut guarded, mut client, all) = pair().await;
        let connection = guarded.place.0.clone();
        // The timer of the first header is running when the second request is waited for, and ends before.
        client.write_all(b"G").await.unwrap();
        guarded.read_exact(&mut [0; 1]).await.unwrap();
        tokio::time::pause();
        assert!(is_open_after(BOUNDS.patience / 2, &mut guarded).await);
        connection.begin_request();
        connection.end_request();
        let began = Instant::now();
        assert_eq!(end(&mut guarded).await, io::ErrorKind::TimedOut);
        assert!((BOUNDS.between..BOUNDS.between * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(all.awaited(), 0);
    }

    #[tokio::test]
    async fn a_request_in_progress_has_no_deadline_and_an_idle_connection_a_later_one_than_a_header() {
        let (mut guarded, mut client, all) = pair().await;
        let connection = guarded.place.0.clone();
        connection.begin_request();
        assert_eq!(all.awaited(), 0);
        tokio::time::pause();
        assert!(is_open_after(BOUNDS.between * 3, &mut guarded).await);
        connection.end_request();
        assert!(is_open_after(BOUNDS.patience * 3, &mut guarded).await);
        tokio::time::resume();
        client.write_all(b"G").await.unwrap();
        assert_eq!(guarded.read(&mut [0; 16]).await.unwrap(), 1);
        assert_eq!(all.awaited(), 1);
        tokio::time::pause();
        let began = Instant::now();
        assert_eq!(end(&mut guarded).await, io::ErrorKind::TimedOut);
        assert!(began.elapsed() < BOUNDS.between, "a header is due: {:?}", began.elapsed());
    }

    /// A connection whose buffers are small at both ends.
    async fn narrow_pair(unread: Duration) -> (Guarded, tokio::net::TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(32 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = TcpStream::from(listener.accept().await.unwrap().0);
        let all = Connections::new(
            IntGauge::new("connections", "x").unwrap(),
            1,
            MostOfOne { most: 1, but_for: Vec::new() },
        );
        let place = ConnectionPlace::take(&all, &Arc::new(Door::ClearText), Whose::Nobody).unwrap();
        (
            Guarded::new(
                Box::new(stream),
                place,
                Bounds { unread, counting: Counting::of_this_kernel(), ..BOUNDS },
            )
            .unwrap(),
            client,
        )
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_of_what_is_written_is_noticed_and_each_later_write_fails_at_once() {
        let (mut guarded, client) = narrow_pair(SOON).await;
        let piece = [b'x'; 4096];
        let error = loop {
            if let Err(error) = guarded.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let again = futures_util::poll!(Box::pin(guarded.write_all(&piece)));
        assert!(matches!(again, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut));
        drop(client);
    }

    /// For longer than `unread` no write ends.
    #[tokio::test]
    async fn a_client_that_reads_slowly_and_without_pause_is_waited_for() {
        let (mut guarded, mut client) = narrow_pair(SOON * 15).await;
        let reading = tokio::spawn(async move {
            let mut clock = tokio::time::interval(SOON / 3);
            let (mut seen, mut piece) = (0, [0; 1024]);
            while seen < 200_000 {
                clock.tick().await;
                seen += client.read(&mut piece).await.unwrap();
            }
        });
        guarded.write_all(&[b'x'; 200_000]).await.unwrap();
        guarded.flush().await.unwrap();
        reading.await.unwrap();
    }
}
