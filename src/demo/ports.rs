//! Where the demo listens: 8080 to 8083, or the first four that are free ten, twenty, … further on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::story::Places;

/// The ports of the configuration as it is written.
const WRITTEN: u16 = 8080;
const BLOCK: usize = 10;
const BLOCKS: usize = 90;

/// Four ports in a row, held until they are used.
#[derive(Debug)]
pub(super) struct Ports {
    base: u16,
    pub(super) authorization_server: TcpListener,
    pub(super) upstream: TcpListener,
    /// The gateway's public address, and its admin address.
    pub(super) gateway: [TcpListener; 2],
    /// The public one on IPv6, where a browser tries `localhost` first: nobody else may answer there. `None`:
    /// this machine has no IPv6.
    pub(super) gateway_v6: Option<TcpListener>,
}

impl Ports {
    /// The first block in which all four are free.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find() -> io::Result<Self> {
        Self::find_from(WRITTEN)
    }

    pub(super) fn find_from(first: u16) -> io::Result<Self> {
        let mut fault = None;
        for base in (first..u16::MAX - 3).step_by(BLOCK).take(BLOCKS) {
            match Self::take(base) {
                Ok(ports) => return Ok(ports),
                Err(why) => fault = Some(why),
            }
        }
        Err(fault.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse)))
    }

    fn take(base: u16) -> io::Result<Self> {
        let gateway_v6 = match TcpListener::bind((Ipv6Addr::LOCALHOST, base)) {
            Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => return Err(fault),
            bound => bound.ok(),
        };
        let bind = |offset: u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, base + offset)));
        let (authorization_server, upstream) = (bind(2)?, bind(3)?);
        Ok(Self { base, gateway: [bind(0)?, bind(1)?], gateway_v6, authorization_server, upstream })
    }

    /// Whether these are not the ports of the configuration as it is written.
    pub(super) fn moved(&self) -> bool {
        self.base != WRITTEN
    }

    pub(super) fn text(&self) -> String {
        format!("{}–{}", self.base, self.base + 3)
    }

    /// The URLs. The authorization server is on another site than the gateway: ports do not make
    /// sites, and within one site browsers hide what a `SameSite` cookie does.
    pub(super) fn places(&self) -> Places {
        Places {
            gateway: format!("http://localhost:{}", self.base),
            admin: format!("http://127.0.0.1:{}", self.base + 1),
            authorization_server: format!("http://127.0.0.1:{}", self.base + 2),
            upstream: format!("http://127.0.0.1:{}", self.base + 3),
        }
    }

    /// The configuration with the ports that were found.
    pub(super) fn substituted(&self, configuration: &str) -> String {
        (0..4).fold(configuration.to_owned(), |text, offset| {
            text.replace(&format!(":{}", WRITTEN + offset), &format!(":{}", self.base + offset))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_move_together_when_one_is_taken() {
        let free = Ports::find().unwrap();
        let base = free.base;
        let taken = free.upstream;
        drop((free.gateway, free.gateway_v6, free.authorization_server));
        let moved = Ports::find_from(base).unwrap();
        assert!(moved.base > base && (moved.base - base).is_multiple_of(10));
        let text = moved.substituted("listen: 127.0.0.1:8080\nto: http://127.0.0.1:8083\n");
        assert_eq!(
            text,
            format!("listen: 127.0.0.1:{}\nto: http://127.0.0.1:{}\n", moved.base, moved.base + 3)
        );
        drop(taken);
    }
}
