//! Load balancers of layer 4, which say whose a connection is before its first byte: the PROXY protocol
//! (`core/proxy_protocol.rs` reads it). The address that they say is the peer's from there on, for limits,
//! routes, upstreams and the log.
//!
//! It must never believe such a header of anybody else, nor guess whether one comes (section 2): from a
//! balancer each connection has one, or is closed without a word.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

use crate::core::forwarded::is_trusted;
use crate::core::proxy_protocol::{self, Announced, Progress};
use crate::edge::connection::connections::Whose;
use crate::state::metrics::{Metrics, RefusedProxyHeader};

/// How long nobody is told again of headers that are refused.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The balancers of one listener.
#[derive(Debug)]
pub(crate) struct Balancers {
    networks: Vec<IpNet>,
    /// How long a header is waited for.
    patience: Duration,
    metrics: Metrics,
    told_at: Mutex<Option<Instant>>,
}

/// Why a connection has no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lacking {
    /// Nothing came, and it was closed: a look whether somebody listens.
    Everything,
    Refused(RefusedProxyHeader),
}

impl Balancers {
    pub(crate) const fn new(networks: Vec<IpNet>, patience: Duration, metrics: Metrics) -> Self {
        Self { networks, patience, metrics, told_at: Mutex::new(None) }
    }

    /// Returns whose a connection from this address is.
    pub(crate) fn whose(&self, peer: Option<IpAddr>) -> Whose {
        match peer {
            Some(peer) if is_trusted(peer, &self.networks) => Whose::Unintroduced(peer),
            Some(peer) => Whose::Client(peer),
            None => Whose::Nobody,
        }
    }

    /// Reads the header of a connection of theirs and not a byte beyond it, and has the address that it says
    /// be its peer's. Returns whose the connection is; `None` where there is no header that counts.
    pub(crate) async fn introduce(&self, stream: &mut TcpStream) -> Option<Whose> {
        let late = Err(Lacking::Refused(RefusedProxyHeader::Late));
        match timeout(self.patience, read_header(stream)).await.unwrap_or(late) {
            Ok(Announced::Client(client)) => {
                set_peer(stream, client);
                Some(Whose::Client(client.ip()))
            }
            Ok(Announced::Own) => Some(Whose::Nobody),
            Err(Lacking::Everything) => None,
            Err(Lacking::Refused(why)) => {
                self.tell(stream, why);
                None
            }
        }
    }

    fn tell(&self, stream: &TcpStream, why: RefusedProxyHeader) {
        self.metrics.proxy_header_refused(why);
        let mut told_at = self.told_at.lock();
        if told_at.is_none_or(|told_at| told_at.elapsed() >= TOLD_AGAIN_AFTER) {
            *told_at = Some(Instant::now());
            tracing::warn!(
                balancer = peer(stream).map(tracing::field::display),
                reason = why.label(),
                "a connection was closed because its balancer did not say whose it is: is the PROXY protocol \
                 switched on there? (`proxy_protocol`, tollgate_proxy_headers_refused_total)"
            );
        }
    }
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Announced, Lacking> {
    let mut header = Vec::new();
    loop {
        let missing = match proxy_protocol::read(&header) {
            Ok(Progress::Whole(announced)) => return Ok(announced),
            Ok(Progress::Missing(missing)) => missing,
            Err(_) => return Err(Lacking::Refused(RefusedProxyHeader::Malformed)),
        };
        let came = (&mut *stream).take(missing as u64).read_buf(&mut header).await;
        if came.is_ok_and(|count| count > 0) {
            continue;
        }
        return Err(if header.is_empty() {
            Lacking::Everything
        } else {
            Lacking::Refused(RefusedProxyHeader::Incomplete)
        });
    }
}

/// The address of the other side; an IPv4-mapped one (RFC 4291 section 2.5.5.2) is the IPv4 address.
pub(crate) fn peer(stream: &(impl GetSocketDigest + ?Sized)) -> Option<IpAddr> {
    let socket = stream.get_socket_digest()?;
    Some(socket.peer_addr()?.as_inet()?.ip().to_canonical())
}

/// Has everybody who asks hear this address.
pub(crate) fn set_peer(stream: &mut TcpStream, peer: SocketAddr) {
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let _ = digest.peer_addr.set(Some(peer.into()));
    stream.set_socket_digest(digest);
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";

    #[tokio::test]
    async fn a_header_is_read_in_whatever_pieces_it_comes_and_nothing_behind_it() {
        for piece in [1, 2, 7, 4096] {
            let (mut balancer, mut here) = tokio::io::duplex(piece);
            let sends = async {
                balancer.write_all(&[LINE, b"GET / HTTP/1.1\r\n\r\n"].concat()).await.unwrap();
                drop(balancer);
            };
            let reads = async {
                let announced = read_header(&mut here).await;
                assert_eq!(announced, Ok(Announced::Client("203.0.113.7:56324".parse().unwrap())));
                let mut behind = Vec::new();
                here.read_to_end(&mut behind).await.unwrap();
                assert_eq!(behind, b"GET / HTTP/1.1\r\n\r\n", "by {piece}");
            };
            tokio::join!(sends, reads);
        }
    }

    #[tokio::test]
    async fn a_look_whether_somebody_listens_is_told_apart_from_half_a_header_and_from_something_else() {
        for (sent, lacking) in [
            (&b""[..], Lacking::Everything),
            (&LINE[..20], Lacking::Refused(RefusedProxyHeader::Incomplete)),
            (b"G", Lacking::Refused(RefusedProxyHeader::Malformed)),
            (b"\x16\x03\x01\x02\x00", Lacking::Refused(RefusedProxyHeader::Malformed)),
        ] {
            let mut sent = sent;
            assert_eq!(read_header(&mut sent).await, Err(lacking));
        }
    }
}
