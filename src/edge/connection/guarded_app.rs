//! The app that pingora's listener calls with each connection: it puts every connection under guard. It also
//! ends in order: connections accepted in time are still served, those that wait without a request are closed
//! last.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use crate::edge::connection::connection_guard::{Bounds, Guarded};
use crate::edge::connection::connections::{ConnectionPlace, Connections, Whose};
use crate::edge::connection::door::Door;
use crate::edge::connection::life::Life;
use crate::edge::connection::proxy_protocol::{Balancers, peer, set_peer};

/// How long a stopping listener waits for the first request of the connections it has accepted.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// How long the task of an accepted connection may take to start.
const LAST_ACCEPTED: Duration = Duration::from_millis(50);

/// What a listener's connections come in by: how they are opened, counted and bounded.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) door: Arc<Door>,
    pub(crate) balancers: Arc<Balancers>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) bounds: Bounds,
}

/// A pingora app whose connections are all under guard.
pub(crate) struct GuardedApp<A> {
    pub(super) inner: Arc<A>,
    pub(super) entry: Entry,
    pub(super) backlog: Arc<Backlog>,
    /// Becomes true when connections that wait for a request are to close.
    pub(super) closing: ShutdownWatch,
}

/// A second, non-blocking handle on a listening socket. With it, connections that the kernel accepted before
/// the listener closed are still taken and served. Empty once another process does that.
#[derive(Debug)]
pub(crate) struct Backlog(Mutex<Option<TcpListener>>);

impl Backlog {
    pub(crate) fn new(socket: TcpListener) -> Self {
        Self(Mutex::new(Some(socket)))
    }

    /// # Errors
    /// When no more files can be open, or the listener is closed.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        let socket = self.0.lock();
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(socket.try_clone()?.into())
    }

    pub(crate) fn forget(&self) {
        self.take();
    }

    fn take(&self) -> Option<TcpListener> {
        self.0.lock().take()
    }
}

impl<A> std::fmt::Debug for GuardedApp<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedApp").field("connections", &self.entry.connections).finish_non_exhaustive()
    }
}

impl<A> GuardedApp<A>
where
    A: ServerApp + Send + Sync + 'static,
{
    /// Serves one connection until it ends or pingora takes it back. Once `shutdown` is set, its next answer
    /// is the last; over HTTP/2 a GOAWAY says so at once (RFC 9113 section 6.8). `is_last`: the listener has
    /// stopped, and `shutdown` alone ends the connection.
    fn serve(
        &self,
        io: Stream,
        shutdown: ShutdownWatch,
        is_last: bool,
    ) -> impl Future<Output = Option<Stream>> + use<A> {
        let Entry { door, balancers, connections, bounds } = &self.entry;
        let whose = balancers.whose(peer(&*io));
        let place = ConnectionPlace::take(connections, door, whose);
        let balancers = matches!(whose, Whose::Unintroduced(_)).then(|| balancers.clone());
        let (door, connections, bounds) = (door.clone(), connections.clone(), *bounds);
        let inner = self.inner.clone();
        let closing = self.closing.clone();
        async move {
            let mut place = place?;
            let serving = async move {
                // Boxed, because a handshake's state is large and must not stay for the life of the
                // connection.
                let entered = Box::pin(async {
                    tokio::select! {
                        entered = enter(io, &door, balancers.as_deref(), &mut place) => entered,
                        () = last_requests(closing) => None,
                    }
                });
                let (io, life) = entered.await?;
                let shutdown = match life.filter(|_| !is_last) {
                    Some(life) => life.until(shutdown),
                    None => shutdown,
                };
                let guarded = Guarded::new(io, place, bounds).ok()?;
                inner.process_new(Box::new(guarded), &shutdown).await
            };
            connections.cut_off.unless(serving).await
        }
    }

    /// Takes what waits at the listening socket, then closes it for good.
    fn drain_backlog(&self) {
        let Some(listener) = self.backlog.take() else { return };
        while let Ok((socket, peer)) = listener.accept() {
            let accepted =
                socket.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(socket));
            let Ok(socket) = accepted else { continue };
            let stream = with_addresses(socket, peer);
            tokio::spawn(self.serve(Box::new(stream), self.closing.clone(), true));
        }
    }
}

/// Lets a connection in once it is known whose it is. `balancers`: set for a connection of a load balancer,
/// which says that in a PROXY header. `None`: it is not let in.
async fn enter(
    mut io: Stream,
    door: &Door,
    balancers: Option<&Balancers>,
    place: &mut ConnectionPlace,
) -> Option<(Stream, Option<Arc<Life>>)> {
    if let Some(balancers) = balancers {
        let mut stream = io.into_any().downcast::<TcpStream>().ok()?;
        place.pass_to(balancers.introduce(&mut stream).await?)?;
        io = stream;
    }
    door.enter(io).await
}

/// Waits until the listener has stopped and [`LAST_REQUESTS`] are over.
async fn last_requests(mut closing: ShutdownWatch) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(LAST_REQUESTS).await;
}

/// The stream as pingora's own listener would have made it, with the peer's address.
fn with_addresses(socket: tokio::net::TcpStream, peer: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::from(socket);
    set_peer(&mut stream, peer);
    stream
}

#[async_trait]
impl<A> ServerApp for GuardedApp<A>
where
    A: ServerApp + Send + Sync + 'static,
{
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.serve(io, shutdown.clone(), false).await
    }

    /// Called by pingora after the last accept. Connections made in time are still served a request; then the
    /// inner app closes those that are idle.
    async fn cleanup(&self) {
        // The last accepted connections count only once their tasks have started.
        tokio::time::sleep(LAST_ACCEPTED).await;
        self.drain_backlog();
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
        let deadline = Instant::now() + LAST_REQUESTS;
        while self.entry.connections.awaited() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.inner.cleanup().await;
    }
}
