//! Load balancers of layer 4, which say whose a connection is before its first byte (the PROXY protocol,
//! versions 1 and 2, <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). The address that they
//! say is the peer's from there on, for limits, routes, upstreams and the log.
//!
//! It must never believe such a header of anybody else, nor guess whether one comes (section 2): from a
//! balancer each connection has one, or is closed without a word.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use prometheus::IntCounter;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

use crate::core::forwarded::is_trusted;

/// The longest header, in bytes: addresses take 36, a certificate's facts some hundred (section 2.2.5).
const LONGEST: usize = 4 * 1024;
/// How long nobody is told again of headers that are refused.
const AGAIN: Duration = Duration::from_secs(60);

/// The balancers of one listener.
#[derive(Debug)]
pub(crate) struct Balancers {
    networks: Vec<IpNet>,
    /// How long a header is waited for.
    patience: Duration,
    refused: IntCounter,
    told_at: Mutex<Option<Instant>>,
}

/// Why a connection has no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Lacking {
    /// A look whether somebody listens.
    #[error("nothing came")]
    Everything,
    #[error("what came does not begin with one that is well-formed and for TCP")]
    Header,
    #[error("it did not come in time")]
    Time,
}

impl Balancers {
    pub(crate) const fn new(networks: Vec<IpNet>, patience: Duration, refused: IntCounter) -> Self {
        Self { networks, patience, refused, told_at: Mutex::new(None) }
    }

    pub(crate) fn has(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| is_trusted(peer, &self.networks))
    }

    /// Reads the header of a connection of theirs, and has the address that it says be its peer's. `None`:
    /// there is none that counts.
    pub(crate) async fn introduce(&self, stream: &mut TcpStream) -> Option<()> {
        match timeout(self.patience, read_header(stream)).await.unwrap_or(Err(Lacking::Time)) {
            Ok((client, rest)) => {
                stream.rewind(&rest);
                if let Some(client) = client {
                    set_peer(stream, client);
                }
                Some(())
            }
            Err(Lacking::Everything) => None,
            Err(lacking) => {
                self.tell(stream, lacking);
                None
            }
        }
    }

    fn tell(&self, stream: &TcpStream, why: Lacking) {
        self.refused.inc();
        let mut told_at = self.told_at.lock();
        if told_at.is_none_or(|told_at| told_at.elapsed() >= AGAIN) {
            *told_at = Some(Instant::now());
            tracing::warn!(
                balancer = peer(stream).map(tracing::field::display),
                %why,
                "a connection was closed because its balancer did not say whose it is: is the PROXY protocol \
                 switched on there? (`proxy_protocol`, tollgate_proxy_headers_refused_total)"
            );
        }
    }
}

/// Whose a connection is, where its header says that, and what came behind it.
async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(Option<SocketAddr>, Vec<u8>), Lacking> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let mut came = Vec::with_capacity(LONGEST);
    loop {
        let room = LONGEST.saturating_sub(came.len());
        match ProxyHeader::parse(&came, config) {
            Ok((header, length)) => {
                let told = header.proxied_address();
                if told.is_some_and(|told| told.protocol != Protocol::Stream) {
                    return Err(Lacking::Header);
                }
                let client = told.map(|told| told.source);
                return Ok((client, came.split_off(length)));
            }
            Err(Error::BufferTooShort) if room > 0 => {}
            Err(_) => return Err(Lacking::Header),
        }
        let count = (&mut *stream).take(room as u64).read_buf(&mut came).await;
        match count.map_err(|error: io::Error| error.kind()) {
            Ok(0) | Err(_) if came.is_empty() => return Err(Lacking::Everything),
            Ok(0) | Err(_) => return Err(Lacking::Header),
            Ok(_) => {}
        }
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

    const V4: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";

    /// Version 2 of a command, and of a family and protocol, with what follows.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
    }

    fn addresses() -> Vec<u8> {
        [&[203, 0, 113, 7, 192, 0, 2, 1][..], &56324_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
    }

    async fn read(bytes: &[u8], piece: usize) -> Result<(Option<SocketAddr>, Vec<u8>), Lacking> {
        let (mut balancer, mut here) = tokio::io::duplex(piece);
        let sends = async {
            let _ = balancer.write_all(bytes).await;
            drop(balancer);
        };
        let (read, ()) = tokio::join!(
            async {
                let read = read_header(&mut here).await;
                let mut behind = Vec::new();
                here.read_to_end(&mut behind).await.unwrap();
                read.map(|(client, rest)| (client, [rest, behind].concat()))
            },
            sends
        );
        read
    }

    #[tokio::test]
    async fn each_version_says_whose_it_is_in_whatever_pieces_it_comes_and_nothing_behind_it_is_lost() {
        let client: SocketAddr = "203.0.113.7:56324".parse().unwrap();
        let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";
        let with_more = v2(0x21, 0x11, &[addresses(), vec![4, 0, 2, 0, 0]].concat());
        for (header, says) in [
            (V4.to_vec(), Some(client)),
            (v6.to_vec(), Some("[2001:db8::7]:56324".parse().unwrap())),
            (v2(0x21, 0x11, &addresses()), Some(client)),
            (with_more, Some(client)),
            (v2(0x20, 0x11, &addresses()), None),
            (v2(0x20, 0, b""), None),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n".to_vec(), None),
        ] {
            for piece in [1, 2, 7, 4096] {
                let sent = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
                let read = read(&sent, piece).await;
                assert_eq!(read, Ok((says, b"GET / HTTP/1.1\r\n\r\n".to_vec())), "{header:?} by {piece}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_or_none_of_tcp_is_refused_and_a_look_whether_somebody_listens_is_told_apart() {
        for wrong in [
            b"GET / HTTP/1.1\r\nHost: gate.localhost\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 99999\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 192.0.2.1 56324 443\r\n".to_vec(),
            V4[..20].to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            v2(0x21, 0x12, &addresses()),
            v2(0x31, 0x11, &addresses()),
            v2(0x21, 0x11, &addresses()[..8]),
            v2(0x21, 0x11, &[0; LONGEST]),
        ] {
            assert_eq!(read(&wrong, 4096).await, Err(Lacking::Header), "{wrong:?}");
        }
        assert_eq!(read(b"", 16).await, Err(Lacking::Everything));
    }
}
