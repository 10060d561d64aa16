//! Upstreams as pingora sees them: an address, TLS or not, and every timeout set (pingora has none of
//! its own). Names are resolved off the hot path; a request waits only for the first resolution.
//!
//! It must never decide whether a request may go there: that is the permit's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::HttpPeer;
use url::Host;

use crate::config::settings::Upstream;
use crate::core::denial::Denial;
use crate::core::ids::UpstreamName;

/// How long a resolved name counts as fresh.
const FRESH: Duration = Duration::from_secs(10);
/// How long an unused connection to an upstream is kept.
const IDLE: Duration = Duration::from_secs(30);

/// The upstreams of one configuration, by name.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(HashMap<UpstreamName, Arc<Server>>);

impl Upstreams {
    /// `before`: what a reload takes over from; servers that did not change keep what they know.
    ///
    /// # Errors
    /// The URL of an upstream that has no host; config.yaml cannot bring one.
    pub(crate) fn new(settings: &[Arc<Upstream>], before: Option<&Self>) -> Result<Self, String> {
        let servers = settings.iter().map(|upstream| {
            let known = before.and_then(|before| before.get(&upstream.name));
            if let Some(known) = known.filter(|known| *known.settings == **upstream) {
                return Ok((upstream.name.clone(), known.clone()));
            }
            let server = Server::new(upstream.clone())
                .ok_or_else(|| format!("upstream {} has no host: {}", upstream.name, upstream.url))?;
            Ok((upstream.name.clone(), Arc::new(server)))
        });
        Ok(Self(servers.collect::<Result<_, String>>()?))
    }

    pub(crate) fn get(&self, name: &UpstreamName) -> Option<&Arc<Server>> {
        self.0.get(name)
    }
}

/// One upstream.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: UpstreamName,
    settings: Arc<Upstream>,
    /// `host[:port]`: the `Host` that it is sent, and the label of its metrics.
    pub(crate) authority: String,
    pub(crate) host_header: HeaderValue,
    template: HttpPeer,
    lookup: Option<Lookup>,
}

impl Server {
    fn new(settings: Arc<Upstream>) -> Option<Self> {
        let url = &settings.url;
        let port = url.port_or_known_default()?;
        let host = url.host()?;
        let tls = url.scheme() == "https";
        let (literal, name) = match &host {
            Host::Ipv4(ip) => (Some(IpAddr::V4(*ip)), ip.to_string()),
            Host::Ipv6(ip) => (Some(IpAddr::V6(*ip)), ip.to_string()),
            Host::Domain(name) => (None, (*name).to_owned()),
        };
        let authority = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        let placeholder = SocketAddr::new(literal.unwrap_or(IpAddr::from([0, 0, 0, 0])), port);
        let sni = if tls { name.clone() } else { String::new() };
        let mut template = HttpPeer::new(placeholder, tls, sni);
        template.options.connection_timeout = Some(settings.connect_timeout);
        template.options.total_connection_timeout = Some(settings.connect_timeout);
        template.options.read_timeout = Some(settings.read_timeout);
        template.options.write_timeout = Some(settings.write_timeout);
        template.options.idle_timeout = Some(IDLE);
        Some(Self {
            name: settings.name.clone(),
            settings: settings.clone(),
            host_header: HeaderValue::from_str(&authority).ok()?,
            authority,
            template,
            lookup: literal.is_none().then(|| Lookup::new(name, port, settings.connect_timeout)),
        })
    }

    /// Where to connect now.
    ///
    /// # Errors
    /// [`Denial::UpstreamUnavailable`] when its name does not resolve.
    pub(crate) async fn peer(self: &Arc<Self>) -> Result<HttpPeer, Denial> {
        let mut peer = self.template.clone();
        if let Some(lookup) = &self.lookup {
            let address = match lookup.known() {
                Some((address, true)) => address,
                Some((address, false)) => {
                    self.clone().look_up_behind();
                    address
                }
                None => lookup.now().await.ok_or(Denial::UpstreamUnavailable)?,
            };
            peer._address = PeerAddress::Inet(address);
        }
        Ok(peer)
    }

    /// An address of it could not be reached: the next one's turn. False when there is no other.
    pub(crate) fn could_not_connect(&self) -> bool {
        let Some(lookup) = &self.lookup else { return false };
        lookup.turn.fetch_add(1, Ordering::Relaxed);
        lookup.found.load().as_ref().is_some_and(|found| found.addresses.len() > 1)
    }

    fn look_up_behind(self: Arc<Self>) {
        let Some(lookup) = &self.lookup else { return };
        if !lookup.running.swap(true, Ordering::AcqRel) {
            tokio::spawn(async move {
                if let Some(lookup) = &self.lookup {
                    lookup.now().await;
                    lookup.running.store(false, Ordering::Release);
                }
            });
        }
    }
}

/// The addresses of a name. They stay in use while a new resolution fails.
#[derive(Debug)]
struct Lookup {
    name: String,
    port: u16,
    deadline: Duration,
    found: ArcSwapOption<Found>,
    /// Which address is used: the same one until it cannot be reached.
    turn: AtomicUsize,
    running: AtomicBool,
}

#[derive(Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Lookup {
    fn new(name: String, port: u16, deadline: Duration) -> Self {
        let (turn, running) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { name, port, deadline, found: ArcSwapOption::empty(), turn, running }
    }

    /// The address in use, and whether it is fresh.
    fn known(&self) -> Option<(SocketAddr, bool)> {
        let found = self.found.load();
        let found = found.as_ref()?;
        Some((self.chosen(&found.addresses)?, found.at.elapsed() < FRESH))
    }

    fn chosen(&self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        let turn = self.turn.load(Ordering::Relaxed).checked_rem(addresses.len())?;
        addresses.get(turn).copied()
    }

    async fn now(&self) -> Option<SocketAddr> {
        let looking = tokio::net::lookup_host((self.name.as_str(), self.port));
        let addresses: Vec<_> = match tokio::time::timeout(self.deadline, looking).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => {
                tracing::warn!(name = %self.name, %error, "an upstream's name does not resolve");
                return None;
            }
            Err(_) => {
                tracing::warn!(name = %self.name, "an upstream's name did not resolve in time");
                return None;
            }
        };
        let chosen = self.chosen(&addresses)?;
        self.found.store(Some(Arc::new(Found { addresses, at: Instant::now() })));
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Arc<Server> {
        let upstream = Upstream {
            name: UpstreamName::new("up"),
            url: url.parse().unwrap(),
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
        };
        Arc::new(Server::new(Arc::new(upstream)).unwrap())
    }

    #[tokio::test]
    async fn literals_need_no_lookup_and_every_timeout_is_set() {
        let peer = server("http://127.0.0.1:3000").peer().await.unwrap();
        assert_eq!(peer._address, PeerAddress::Inet("127.0.0.1:3000".parse().unwrap()));
        assert!(!peer.is_tls());
        let options = &peer.options;
        assert!(options.connection_timeout.is_some() && options.total_connection_timeout.is_some());
        assert!(options.read_timeout.is_some() && options.write_timeout.is_some());
        let v6 = server("https://[::1]/").peer().await.unwrap();
        assert_eq!(v6._address, PeerAddress::Inet("[::1]:443".parse().unwrap()));
        assert_eq!(v6.sni, "::1");
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_the_next_address_gets_its_turn() {
        let server = server("http://localhost:81");
        assert_eq!(server.authority, "localhost:81");
        assert!(server.lookup.as_ref().unwrap().known().is_none());
        server.peer().await.unwrap();
        assert!(server.lookup.as_ref().unwrap().known().unwrap().1, "fresh after the first request");

        let found = ["10.0.0.1:80", "10.0.0.2:80"].map(|text| text.parse().unwrap()).to_vec();
        let found = Found { addresses: found, at: Instant::now() };
        server.lookup.as_ref().unwrap().found.store(Some(Arc::new(found)));
        let first = server.peer().await.unwrap()._address;
        assert_eq!(first, server.peer().await.unwrap()._address);
        assert!(server.could_not_connect());
        assert_ne!(first, server.peer().await.unwrap()._address);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_an_unavailable_upstream() {
        let server = server("http://no-such-host.invalid:81");
        assert_eq!(server.peer().await.unwrap_err(), Denial::UpstreamUnavailable);
    }
}
