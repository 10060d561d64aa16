//! Which of several servers takes a request: pingora-load-balancing's algorithms, asked again while what
//! they name is not well.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::Extensions;
use pingora::lb::Backend;
use pingora::lb::selection::{BackendIter, BackendSelection, Consistent, Random, RoundRobin};
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use url::Host;

use super::server::Server;
use crate::config::settings::Balance;

/// How often an algorithm is asked for another server before they are gone through one by one.
const ASKED: usize = 64;

/// An order over several servers.
pub(super) enum Balancer {
    RoundRobin(Arc<RoundRobin>),
    Random(Arc<Random>),
    /// The same server for equal values of this claim.
    Consistent(Arc<Consistent>, String),
}

impl std::fmt::Debug for Balancer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balancer").finish_non_exhaustive()
    }
}

impl Balancer {
    pub(super) fn new(balance: &Balance, servers: &[Arc<Server>]) -> Self {
        let backends: BTreeSet<Backend> = servers.iter().map(backend).collect();
        match balance {
            Balance::RoundRobin => Self::RoundRobin(Arc::new(RoundRobin::build(&backends))),
            Balance::Random => Self::Random(Arc::new(Random::build(&backends))),
            Balance::Consistent(claim) => {
                Self::Consistent(Arc::new(Consistent::build(&backends)), claim.clone())
            }
        }
    }

    /// The first server, in the order for `key`, that will do.
    pub(super) fn first(&self, key: &[u8], will_do: impl FnMut(&Arc<Server>) -> bool) -> Option<Arc<Server>> {
        match self {
            Self::RoundRobin(selection) => first(selection.iter(key), will_do),
            Self::Random(selection) => first(selection.iter(key), will_do),
            Self::Consistent(selection, _) => first(selection.iter(key), will_do),
        }
    }
}

fn first(mut order: impl BackendIter, mut will_do: impl FnMut(&Arc<Server>) -> bool) -> Option<Arc<Server>> {
    let mut refused: Option<Arc<Server>> = None;
    for _ in 0..ASKED {
        let server = order.next()?.ext.get::<Arc<Server>>()?;
        if refused.as_ref().is_some_and(|refused| Arc::ptr_eq(refused, server)) {
            continue;
        }
        if will_do(server) {
            return Some(server.clone());
        }
        refused = Some(server.clone());
    }
    None
}

/// A server as the algorithms know it: under its address, or, where it has a name, under one made of the
/// name, so that every replica and every reload has the same ring.
fn backend(server: &Arc<Server>) -> Backend {
    let url = &server.url;
    let port = url.port_or_known_default().unwrap_or_default();
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        _ => {
            let mut octets = [0; 16];
            let digest = digest(&SHA256, server.authority.as_bytes());
            octets.iter_mut().zip(digest.as_ref()).for_each(|(octet, byte)| *octet = *byte);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    };
    let mut ext = Extensions::new();
    ext.insert(server.clone());
    Backend { addr: PeerAddress::Inet(SocketAddr::new(ip, port)), weight: 1, ext }
}
