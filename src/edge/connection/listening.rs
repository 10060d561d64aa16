//! Listening sockets, bound here or inherited from the process before; and one listener with its connections,
//! from its first accept to its last answer.
//!
//! A listener ends in one of two ways. If it closes, connections that the kernel had already accepted are
//! still served. If another process goes on accepting from the same socket, the waiting ones are left to that
//! process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as PingoraService;
use pingora::services::listening::Service;
use rustix::net::sockopt;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::edge::connection::connections::Connections;
use crate::edge::connection::door::Door;
use crate::edge::connection::guarded_app::{Backlog, Entry, GuardedApp};
use crate::edge::connection::listen_error::ListenError;

/// The accept backlog: connections that the kernel may hold for a listener.
const BACKLOG: u32 = 4096;
/// A client's connection on which nothing comes for `ASK_AFTER` is asked whether it lives (RFC 9293 section
/// 3.8.4), and ends if nobody answers for two minutes more: a client with a WebSocket or an event stream
/// may be gone silently, and a NAT forgets a connection on which nothing passes.
const ASK_AFTER: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_secs(30);
const ASK_TIMES: u32 = 4;
/// The buffers of a downstream connection below HTTP and TLS, in bytes: much of what an idle connection
/// costs. Reads need none, as HTTP and TLS read into buffers of their own, which are as large. Writes have
/// room for one Ethernet packet; bodies bypass it.
const READ_BUFFER: usize = 0;
const WRITE_BUFFER: usize = 1460;
/// How often a listener that ends looks whether its connections have ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the tasks of cut-off connections may take to end: each still writes its line of the access log.
const CUT_OFF: Duration = Duration::from_secs(1);

/// The listening sockets of the process before, each with the configured address: port 0 stays port 0.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    pub fn new(sockets: Vec<(SocketAddr, OwnedFd)>) -> Self {
        Self(sockets.into_iter().map(|(address, socket)| (address, socket.into())).collect())
    }

    /// Returns the inherited socket for this address, or binds one. Inherited sockets that are not asked for
    /// close when `self` is dropped.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn listen(
        &mut self,
        key: &'static str,
        address: SocketAddr,
    ) -> Result<ListeningSocket, ListenError> {
        let inherited = self.0.iter().position(|(asked_for, _)| *asked_for == address);
        let socket = match inherited {
            Some(at) => {
                let (_, socket) = self.0.swap_remove(at);
                socket.set_nonblocking(true).map(|()| socket)
            }
            None => bind(address),
        };
        let socket = socket.and_then(|socket| ask_whether_they_live(&socket).map(|()| socket));
        socket.and_then(|socket| Ok((socket.local_addr()?, socket))).map_or_else(
            |source| match source.kind() {
                io::ErrorKind::AddrInUse => Err(ListenError::InUse { key, address }),
                _ => Err(ListenError::Address { key, address, source }),
            },
            |(is_at, socket)| Ok(ListeningSocket { key, asked_for: address, is_at, socket }),
        )
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Sets what the connections that are accepted from this socket inherit.
fn ask_whether_they_live(socket: &TcpListener) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(socket, ASK_TIMES)?;
    Ok(())
}

/// A listening socket that nobody accepts from yet.
#[derive(Debug)]
pub(crate) struct ListeningSocket {
    /// The key of config.yaml that asks for it.
    key: &'static str,
    asked_for: SocketAddr,
    /// The actual address: that of [`Self::asked_for`], except for port 0.
    is_at: SocketAddr,
    socket: TcpListener,
}

/// A listener that is ready, but does not accept yet.
pub(crate) struct Entrance {
    service: Box<dyn PingoraService>,
    socket: TcpListener,
    accepting: watch::Receiver<bool>,
    listener: Listener,
}

/// What is known of a listener before and while it accepts.
#[derive(Debug)]
struct Listener {
    /// The key of config.yaml that asks for it.
    key: &'static str,
    asked_for: SocketAddr,
    address: SocketAddr,
    door: Arc<Door>,
    /// The connections of all listeners of this key.
    connections: Arc<Connections>,
    backlog: Arc<Backlog>,
    /// Set to true to stop accepting.
    stop: watch::Sender<bool>,
    /// Set to true to close connections that wait for a request.
    close: watch::Sender<bool>,
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entrance").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Entrance {
    /// # Errors
    /// When the socket cannot be used.
    pub(crate) fn new<A>(socket: ListeningSocket, entry: Entry, app: Arc<A>) -> Result<Self, ListenError>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let ListeningSocket { key, asked_for, is_at, socket } = socket;
        let fault = |source| ListenError::Address { key, address: is_at, source };
        let backlog = Arc::new(Backlog::new(socket.try_clone().map_err(fault)?));
        let ((stop, accepting), (close, closing)) = (watch::channel(false), watch::channel(false));
        let (door, connections) = (entry.door.clone(), entry.connections.clone());
        let app = GuardedApp { inner: app, entry, backlog: backlog.clone(), closing };
        let mut service = Service::new(key.to_owned(), app);
        let buffers = L4BufferSettings::new(READ_BUFFER, WRITE_BUFFER);
        service.add_listener(ListenerConfig::tcp(is_at.to_string()).l4_buffer(buffers));
        let listener = Listener { key, asked_for, address: is_at, door, connections, backlog, stop, close };
        Ok(Self { service: Box::new(service), socket, accepting, listener })
    }

    pub(crate) const fn door(&self) -> &Arc<Door> {
        &self.listener.door
    }

    /// Starts accepting connections.
    pub(crate) fn open(self) -> Listening {
        let Self { mut service, socket, accepting, listener } = self;
        let mut sockets = Fds::new();
        sockets.add(listener.address.to_string(), socket.into_raw_fd());
        let sockets: ListenFds = Arc::new(Mutex::new(sockets));
        let task = tokio::spawn(async move { service.start_service(Some(sockets), accepting, 1).await });
        Listening { listener, task }
    }
}

/// One listener and its connections.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: Listener,
    task: JoinHandle<()>,
}

impl Listening {
    pub(crate) const fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// The configured address: port 0 stays port 0.
    pub(crate) const fn asked_for(&self) -> SocketAddr {
        self.listener.asked_for
    }

    pub(crate) fn door(&self) -> &Door {
        &self.listener.door
    }

    /// A second handle on its socket, for another process, with the configured address.
    ///
    /// # Errors
    /// When no more files can be open.
    pub(crate) fn socket(&self) -> io::Result<(SocketAddr, OwnedFd)> {
        Ok((self.listener.asked_for, self.listener.backlog.socket()?))
    }

    /// Closes the listener, then waits for its connections to end, at most for `patience`, after which they
    /// are cut off.
    pub(crate) async fn stop(self, patience: Duration) {
        self.end(Instant::now() + patience).await;
    }

    /// Stops accepting, because another process does so on this socket, and leaves it the connections that
    /// wait there. Connections that are open here may stay idle for `idle`; a request that arrives is
    /// answered, and the answer closes its connection. Then as [`Self::stop`].
    pub(crate) async fn leave(self, idle: Duration, patience: Duration) {
        let (idle, deadline) = (Instant::now() + idle, Instant::now() + patience);
        self.listener.backlog.forget();
        let _ = self.listener.stop.send(true);
        self.listener.connections_ended(idle).await;
        self.end(deadline).await;
    }

    async fn end(self, deadline: Instant) {
        let Self { listener, task } = self;
        let _ = listener.close.send(true);
        let _ = listener.stop.send(true);
        let _ = task.await;
        listener.connections_ended(deadline).await;
        let left = listener.connections.open();
        if left > 0 {
            // They belong to all listeners of this key, which end at once.
            if listener.connections.cut_off.all() {
                let listeners = listener.key;
                tracing::warn!(listeners, left, "connections were cut off at the end of the drain");
            }
            listener.connections_ended(Instant::now() + CUT_OFF).await;
        }
    }
}

impl Listener {
    /// Waits until no connection is open, at most until `deadline`.
    async fn connections_ended(&self, deadline: Instant) {
        while self.connections.open() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
