//! The turn of one server: it may have several addresses.

use std::net::SocketAddr;

use pingora::ErrorType;
use pingora::upstreams::peer::HttpPeer;
use tokio::time::Instant;

use crate::core::denial::Denial;
use crate::edge::errors::denial_of_upstream;
use crate::edge::upstreams::Server;

#[derive(Debug)]
pub(crate) struct Turn {
    pub(in crate::edge) began: Instant,
    /// Where it could not be reached.
    pub(in crate::edge) failed: Vec<SocketAddr>,
    /// What the last of these comes to.
    pub(in crate::edge) denial: Option<Denial>,
}

impl Turn {
    pub(in crate::edge) fn begin() -> Self {
        Self { began: Instant::now(), failed: Vec::new(), denial: None }
    }

    /// No connection could be made at `peer`. Returns whether another address of the server may be tried.
    pub(in crate::edge) fn try_next_address(
        &mut self,
        server: &Server,
        peer: &HttpPeer,
        kind: &ErrorType,
    ) -> bool {
        server.not_well_at(peer);
        self.failed.extend(peer._address.as_inet());
        self.denial = Some(denial_of_upstream(kind));
        server.may_be_elsewhere(&self.failed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pingora::protocols::l4::socket::SocketAddr as PeerAddress;

    use super::*;
    use crate::edge::upstreams::upstream_at;
    use crate::state::metrics::Metrics;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn at(number: u8) -> SocketAddr {
        ([10, 0, 0, number], 80).into()
    }

    async fn next(server: &Server, turn: &Turn) -> Option<Box<HttpPeer>> {
        server.peer(&turn.failed, PATIENCE).await.ok()
    }

    fn address(peer: &HttpPeer) -> SocketAddr {
        let PeerAddress::Inet(address) = peer._address else { panic!("{peer}") };
        address
    }

    fn is_well(metrics: &Metrics) -> Vec<bool> {
        metrics.servers().into_iter().map(|(.., is_well)| is_well).collect()
    }

    /// A count of failures would turn requests back to the address with every second of them.
    #[tokio::test]
    async fn requests_that_fail_together_at_one_address_all_go_to_the_next() {
        let metrics = Metrics::new().unwrap();
        let (upstream, server) = upstream_at(&[at(1), at(2)], &metrics);
        for requests in 1..=6 {
            let bad = address(&next(&server, &Turn::begin()).await.unwrap());
            let mut turns: Vec<_> = std::iter::repeat_with(Turn::begin).take(requests).collect();
            let mut peers = Vec::new();
            for turn in &turns {
                peers.push(next(&server, turn).await.unwrap());
            }
            for (turn, peer) in turns.iter_mut().zip(&peers) {
                assert_eq!(address(peer), bad);
                assert!(turn.try_next_address(&server, peer, &ErrorType::ConnectTimedout));
            }
            for turn in &turns {
                assert_ne!(address(&next(&server, turn).await.unwrap()), bad, "of {requests}");
            }
            let later = next(&server, &Turn::begin()).await.unwrap();
            assert_ne!(address(&later), bad, "it has settled after {requests}");
        }
        assert!(is_well(&metrics).is_empty(), "nothing was said of the server");
        let last = next(&server, &Turn::begin()).await.unwrap();
        let mut turn = Turn::begin();
        assert!(turn.try_next_address(&server, &last, &ErrorType::ConnectRefused));
        let other = next(&server, &turn).await.unwrap();
        assert!(!turn.try_next_address(&server, &other, &ErrorType::ConnectTimedout), "there is no third");
        assert_eq!(turn.denial, Some(Denial::UpstreamTimeout), "what the last one comes to");
        upstream.could_not_connect(&server, turn.began);
        assert_eq!(is_well(&metrics), [false]);
    }

    #[tokio::test]
    async fn a_request_tries_three_addresses_of_a_name() {
        let metrics = Metrics::new().unwrap();
        let (_, server) = upstream_at(&[at(1), at(2), at(3), at(4)], &metrics);
        let mut turn = Turn::begin();
        for more in [true, true, false] {
            let peer = next(&server, &turn).await.unwrap();
            assert_eq!(turn.try_next_address(&server, &peer, &ErrorType::ConnectRefused), more);
        }
        assert_eq!(turn.failed, [at(1), at(2), at(3)]);
        assert_eq!(address(&next(&server, &Turn::begin()).await.unwrap()), at(4), "the next begins there");
    }
}
