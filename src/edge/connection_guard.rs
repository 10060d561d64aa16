//! Watches over one downstream connection, below HTTP: it counts it, and ends it when a request's
//! header does not arrive in time or does not end. pingora's own timeouts are per read, so that a
//! header sent one byte a minute would keep a connection for ever; and it reads up to 1 MiB of header,
//! from the beginning again at each piece that comes.
//!
//! It must never touch the bytes. What waits *between* two requests is bounded by pingora's
//! keep-alive timeout, which `proxy` sets for every request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use pingora::server::ShutdownWatch;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// From a connection's beginning, or a request's first byte, to the end of its header.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How much more than the largest header is read while one is due: a header that is a little too large is
/// answered, and a body may come with it.
const BEYOND_HEADER: usize = 128 * 1024;
/// More connections than this at once are closed unanswered, however many files may be open.
const MAX_CONNECTIONS: usize = 20_000;
/// Open files that are kept for all else: the admin listener, authorization servers, the log.
const OTHER_FILES: usize = 64;
/// How long a stopping listener waits for the first request of connections that it has accepted.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Accepted, and nothing came yet.
const FRESH: u8 = 0;
/// A request's header is arriving.
const HEADER: u8 = 1;
/// A request is being answered.
const BUSY: u8 = 2;
/// Answered; the next request may come.
const IDLE: u8 = 3;

/// How many connections the listeners may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) public: usize,
    pub(crate) admin: usize,
}

impl Most {
    /// `open_files`: how many this process may have, where it is known. A client's connection needs a second
    /// file, towards the upstream. Were all of them clients', health could not be asked any more.
    pub(crate) fn within(open_files: Option<usize>) -> Self {
        let Some(files) = open_files else { return Self { public: MAX_CONNECTIONS, admin: MAX_CONNECTIONS } };
        let others = (files / 4).max(OTHER_FILES);
        let public = (files.saturating_sub(others) / 2).clamp(1, MAX_CONNECTIONS);
        Self { public, admin: (others / 2).min(MAX_CONNECTIONS) }
    }

    /// Whether fewer clients are served at once than could be.
    pub(crate) const fn is_reduced(self) -> bool {
        self.public < MAX_CONNECTIONS
    }
}

/// The open connections of one listener.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicUsize,
    /// Those on which a request is due: `FRESH` or `HEADER`.
    awaited: AtomicUsize,
    most: usize,
    gauge: IntGauge,
}

impl Connections {
    /// `most`: connections beyond are closed unanswered.
    pub(crate) fn new(gauge: IntGauge, most: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), awaited: AtomicUsize::new(0), most, gauge })
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn awaited(&self) -> usize {
        self.awaited.load(Ordering::Acquire)
    }
}

/// One connection, as the proxy sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: AtomicU8,
    all: Arc<Connections>,
}

impl Connection {
    fn new(all: Arc<Connections>) -> Arc<Self> {
        all.open.fetch_add(1, Ordering::AcqRel);
        all.awaited.fetch_add(1, Ordering::AcqRel);
        all.gauge.inc();
        Arc::new(Self { phase: AtomicU8::new(FRESH), all })
    }

    /// The connection that a request came on.
    pub(crate) fn of(digest: Option<&Digest>) -> Option<Arc<Self>> {
        digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Self>>().cloned()
    }

    /// A request's header is complete.
    pub(crate) fn request_begins(&self) {
        self.enter(BUSY);
    }

    /// A request was answered.
    pub(crate) fn request_ended(&self) {
        self.enter(IDLE);
    }

    fn enter(&self, phase: u8) {
        let before = self.phase.swap(phase, Ordering::AcqRel);
        match (is_awaited(before), is_awaited(phase)) {
            (false, true) => {
                self.all.awaited.fetch_add(1, Ordering::AcqRel);
            }
            (true, false) => {
                self.all.awaited.fetch_sub(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }
}

const fn is_awaited(phase: u8) -> bool {
    matches!(phase, FRESH | HEADER)
}

/// A connection under guard.
#[derive(Debug)]
struct Guarded {
    io: Stream,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    /// Runs while a header is due.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Read since a header is due.
    header_bytes: usize,
    bounds: HeaderBounds,
}

/// What a header may take.
#[derive(Clone, Copy, Debug)]
struct HeaderBounds {
    /// From the connection's beginning, or a request's first byte, to its header's end.
    patience: Duration,
    bytes: usize,
}

impl Guarded {
    fn new(io: Stream, all: Arc<Connections>, bounds: HeaderBounds) -> pingora::Result<Self> {
        let connection = Connection::new(all);
        let label = Box::new(ResponseHeader::build(200, Some(0))?);
        let digest = Arc::new(ProxyDigest::new(label, Some(Box::new(connection.clone()))));
        let deadline = Some(Box::pin(tokio::time::sleep(bounds.patience)));
        Ok(Self { io, connection, digest, deadline, header_bytes: 0, bounds })
    }

    /// Bytes came: the first of a request start its deadline anew.
    ///
    /// # Errors
    /// When they are more than any header has.
    fn bytes_came(&mut self, count: usize) -> io::Result<()> {
        match self.connection.phase() {
            IDLE => {
                self.connection.enter(HEADER);
                self.deadline = None;
                self.header_bytes = count;
            }
            FRESH => {
                self.connection.enter(HEADER);
                self.header_bytes = count;
            }
            HEADER => self.header_bytes = self.header_bytes.saturating_add(count),
            _ => return Ok(()),
        }
        if self.header_bytes > self.bounds.bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the header does not end"));
        }
        Ok(())
    }

    /// Whether a header that is due did not come in time.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        if !is_awaited(self.connection.phase()) {
            self.deadline = None;
            return false;
        }
        let patience = self.bounds.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        deadline.as_mut().poll(cx).is_ready()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.connection.enter(BUSY);
        self.connection.all.gauge.dec();
        self.connection.all.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut me.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len().saturating_sub(before);
                Poll::Ready(if count > 0 { me.bytes_came(count) } else { Ok(()) })
            }
            Poll::Pending if me.is_overdue(cx) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the header did not arrive in time")))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        self.io.shutdown().await;
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

impl Peek for Guarded {}

/// A pingora app whose connections are all under guard.
pub(crate) struct GuardedApp<A> {
    inner: Arc<A>,
    connections: Arc<Connections>,
    /// A second handle on the listening socket: what the kernel had accepted before the listener
    /// closed is still taken from it and answered.
    backlog: Mutex<Option<std::net::TcpListener>>,
    shutdown: ShutdownWatch,
    bounds: HeaderBounds,
}

impl<A> std::fmt::Debug for GuardedApp<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedApp").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl<A> GuardedApp<A>
where
    A: ServerApp + Send + Sync + 'static,
{
    /// `backlog` is a non-blocking duplicate of the listening socket; `largest_header` in bytes.
    pub(crate) fn new(
        inner: A,
        connections: Arc<Connections>,
        backlog: std::net::TcpListener,
        shutdown: ShutdownWatch,
        largest_header: usize,
    ) -> Self {
        let bytes = largest_header.saturating_add(BEYOND_HEADER);
        let bounds = HeaderBounds { patience: HEADER_DEADLINE, bytes };
        Self { inner: Arc::new(inner), connections, backlog: Mutex::new(Some(backlog)), shutdown, bounds }
    }

    /// Takes what waits at the listening socket, then closes it for good.
    fn drain_backlog(&self) {
        let Some(listener) = self.backlog.lock().take() else { return };
        while let Ok((socket, peer)) = listener.accept() {
            let accepted =
                socket.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(socket));
            let Ok(socket) = accepted else { continue };
            let stream = with_addresses(socket, peer);
            let Ok(guarded) = Guarded::new(Box::new(stream), self.connections.clone(), self.bounds) else {
                continue;
            };
            let (inner, shutdown) = (self.inner.clone(), self.shutdown.clone());
            tokio::spawn(async move { inner.process_new(Box::new(guarded), &shutdown).await });
        }
    }
}

/// The stream as pingora's own listener would have made it.
fn with_addresses(socket: tokio::net::TcpStream, peer: std::net::SocketAddr) -> TcpStream {
    use std::os::fd::AsRawFd;
    let mut stream = TcpStream::from(socket);
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let _ = digest.peer_addr.set(Some(peer.into()));
    stream.set_socket_digest(digest);
    stream
}

#[async_trait]
impl<A> ServerApp for GuardedApp<A>
where
    A: ServerApp + Send + Sync + 'static,
{
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if self.connections.open() >= self.connections.most {
            return None;
        }
        let guarded = Guarded::new(io, self.connections.clone(), self.bounds).ok()?;
        self.inner.process_new(Box::new(guarded), shutdown).await
    }

    /// After the last accept: connections that were made in time are still served their request;
    /// then the inner app closes those that wait idle.
    async fn cleanup(&self) {
        self.drain_backlog();
        let deadline = Instant::now() + LAST_REQUESTS;
        while self.connections.awaited() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.inner.cleanup().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);
    const BOUNDS: HeaderBounds = HeaderBounds { patience: SOON, bytes: 1000 };

    async fn pair() -> (Guarded, tokio::net::TcpStream, Arc<Connections>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let all = Connections::new(IntGauge::new("connections", "x").unwrap(), 1);
        let guarded = Guarded::new(Box::new(TcpStream::from(socket)), all.clone(), BOUNDS).unwrap();
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

    #[test]
    fn clients_leave_files_for_everything_else() {
        let most = |files| Most::within(Some(files));
        assert_eq!((most(1024), most(1024).is_reduced()), (Most { public: 384, admin: 128 }, true));
        assert!(!most(65_536).is_reduced() && !Most::within(None).is_reduced());
        for files in [0, 1, 64, 100, 256, 4096, 20_000, 1 << 40] {
            let Most { public, admin } = most(files);
            assert!(public >= 1 && admin >= 1);
            assert!(files < 128 || 2 * public + admin < files, "{files}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_ends() {
        let (mut guarded, _client, all) = pair().await;
        assert_eq!((all.open(), all.awaited()), (1, 1));
        assert_eq!(end(&mut guarded).await, io::ErrorKind::TimedOut);
        drop(guarded);
        assert_eq!((all.open(), all.awaited()), (0, 0));
    }

    #[tokio::test]
    async fn a_header_in_small_pieces_ends_at_its_deadline_too() {
        let (mut guarded, mut client, _) = pair().await;
        let started = Instant::now();
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SOON / 10).await;
            }
        });
        assert_eq!(end(&mut guarded).await, io::ErrorKind::TimedOut);
        assert!(started.elapsed() < SOON * 10, "each piece did not begin it anew");
        drop(guarded);
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn a_header_that_does_not_end_ends_the_connection_and_a_body_does_not() {
        let (mut guarded, mut client, _) = pair().await;
        client.write_all(&[b'x'; 1000]).await.unwrap();
        guarded.read_exact(&mut [0; 1000]).await.unwrap();
        guarded.connection.request_begins();
        client.write_all(&[b'x'; 2000]).await.unwrap();
        guarded.read_exact(&mut [0; 2000]).await.unwrap();
        guarded.connection.request_ended();
        client.write_all(&[b'x'; 1001]).await.unwrap();
        assert_eq!(end(&mut guarded).await, io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_request_in_progress_and_an_idle_connection_have_no_deadline_but_the_next_header_has() {
        let (mut guarded, mut client, all) = pair().await;
        let connection = guarded.connection.clone();
        connection.request_begins();
        assert_eq!(all.awaited(), 0);
        assert!(tokio::time::timeout(SOON * 3, guarded.read(&mut [0; 16])).await.is_err(), "still open");
        connection.request_ended();
        assert!(tokio::time::timeout(SOON * 3, guarded.read(&mut [0; 16])).await.is_err(), "still open");
        client.write_all(b"G").await.unwrap();
        assert_eq!(guarded.read(&mut [0; 16]).await.unwrap(), 1);
        assert_eq!(all.awaited(), 1);
        assert_eq!(end(&mut guarded).await, io::ErrorKind::TimedOut);
    }
}
