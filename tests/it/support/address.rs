//! An address on loopback that stays with its test while nobody listens there, before a server starts or
//! after it died: otherwise the system could give its port to anybody.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

pub struct Address {
    pub address: SocketAddr,
    /// Bound and never listening, so that connections are refused. Its port is shared with listeners of
    /// `listen` alone.
    _held: TcpSocket,
}

impl Address {
    pub fn reserve() -> Self {
        let held = bound("127.0.0.1:0".parse().unwrap());
        Self { address: held.local_addr().unwrap(), _held: held }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `host:port`, as metrics name a server.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Listens there from now on.
    pub fn listen(&self) -> TcpListener {
        bound(self.address).listen(1024).unwrap()
    }
}

/// Keeps a port on loopback for a listener that is not ours and allows for others (`SO_REUSEADDR`), before
/// and after it listens there; itself it never does.
pub fn beside_a_listener() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
