//! One server as pingora sees it: its address, protocol, TLS settings and every timeout (pingora has no
//! defaults).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderName, HeaderValue};
use pingora::protocols::TcpKeepalive;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::CertKey;
use prometheus::IntCounter;
use url::{Host, Url};

use super::authorities::{PeerAuthorities, wrapped};
use super::in_step::in_step;
use super::lookup::Lookup;
use super::standing::Standing;
use super::upgrade::{Connector, Switch};
use crate::config::settings::{self, Timeouts, Upstream, UpstreamTls};
use crate::core::denial::Denial;
use crate::core::ids::UpstreamName;
use crate::core::secret::Secret;
use crate::state::metrics::{Metrics, UpstreamResult};

/// How long an idle connection to a server is kept. Less than the 5 seconds after which many servers (Node,
/// uvicorn, Apache) close theirs, so that a POST, which is not retried (RFC 9110 section 9.2.2), does not
/// meet a closing connection.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(3);
/// A connection on which nothing comes for `ASK_AFTER` is asked whether it lives (RFC 9293 section 3.8.4):
/// the upstream of a WebSocket may be silent for long, and a NAT on the way may forget it. The kernel at the
/// other end answers, not the server. The connection is given up if nothing is confirmed for longer than a
/// network is usually cut that comes back.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);
const UNCONFIRMED: Duration = Duration::from_secs(90);
/// The most concurrent requests on one HTTP/2 connection, if the server allows as many.
const STREAMS: u32 = 128;
/// The receive window for each answer over HTTP/2, in bytes. A connection's window has room for all of its
/// answers, so that one whose client does not read takes nothing from the others (RFC 9113 section 5.2.2).
const ANSWER_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAMS * ANSWER_WINDOW;

/// The number of generations of a server's connections; bounded, because pingora never forgets one.
const GENERATIONS: u64 = 4096;

/// The most addresses of a name that one request tries.
const ADDRESSES: usize = 3;

/// One server of an upstream.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) upstream: UpstreamName,
    pub(super) url: Url,
    /// `host[:port]`: the `Host` that it is sent, and the label of its metrics.
    pub(crate) authority: String,
    pub(crate) host_header: HeaderValue,
    /// The headers by which Tollgate authenticates itself, on every request.
    pub(crate) own_headers: Vec<(HeaderName, HeaderValue)>,
    template: HttpPeer,
    lookup: Option<Arc<Lookup>>,
    /// The generation of its connections; see [`Self::allow_http2_again`].
    generation: Arc<AtomicU64>,
    pub(super) standing: Standing,
    /// The counter of its answered requests, once there was one. A reload that removes the series removes
    /// this server, too.
    ok: OnceLock<IntCounter>,
}

impl Server {
    /// Makes a server. `before`: the same server in an earlier configuration, whose known state is kept.
    /// `brought`: the system's authorities, if the connector does not know them.
    pub(super) fn new(
        upstream: &Upstream,
        settings: &settings::Server,
        before: Option<&Self>,
        brought: Option<&PeerAuthorities>,
    ) -> Option<Self> {
        let url = settings.url.clone();
        let port = url.port_or_known_default()?;
        let host = url.host()?;
        let secure = url.scheme() == "https";
        let (literal, name) = match &host {
            Host::Ipv4(ip) => (Some(IpAddr::V4(*ip)), ip.to_string()),
            Host::Ipv6(ip) => (Some(IpAddr::V6(*ip)), ip.to_string()),
            Host::Domain(name) => (None, (*name).to_owned()),
        };
        let authority = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        let placeholder = SocketAddr::new(literal.unwrap_or(IpAddr::from([0, 0, 0, 0])), port);
        let asked_for = upstream.tls.server_name.as_deref().unwrap_or(&name);
        let sni = if secure { asked_for.to_owned() } else { String::new() };
        let mut template = HttpPeer::new(placeholder, secure, sni);
        set_upstream_timeouts(&mut template, upstream.timeouts);
        template.options.max_h2_streams = STREAMS as usize;
        template.options.h2_stream_window_size = Some(ANSWER_WINDOW);
        template.options.h2_connection_window_size = Some(CONNECTION_WINDOW);
        match (secure, settings.prior_knowledge) {
            (true, _) => template.options.set_http_version(2, 1),
            (false, true) => template.options.set_http_version(2, 2),
            (false, false) => template.options.set_http_version(1, 1),
        }
        if secure {
            set_tls(&mut template, &upstream.tls, brought);
        }
        template.group_key = group(&upstream.tls, settings);
        Some(Self {
            upstream: upstream.name.clone(),
            host_header: HeaderValue::from_str(&authority).ok()?,
            own_headers: own_headers(upstream)?,
            url,
            authority,
            template,
            lookup: match before {
                Some(before) => before.lookup.clone(),
                None => literal.is_none().then(|| Arc::new(Lookup::new(name, port))),
            },
            generation: before.map(|before| before.generation.clone()).unwrap_or_default(),
            standing: Standing::new(before.map(|before| &before.standing), upstream.health.as_ref()),
            ok: OnceLock::new(),
        })
    }

    /// Counts the outcome of a request that it was sent.
    pub(crate) fn count(&self, metrics: &Metrics, result: UpstreamResult) {
        let series = || metrics.upstream_answers(&self.upstream, &self.authority, result);
        // Nearly all outcomes are this one, and looking a series up costs as much as counting a few.
        if result == UpstreamResult::Ok { self.ok.get_or_init(series).inc() } else { series().inc() }
    }

    /// Where to connect now, apart from the addresses that `failed`. Waits at most `patience` for the name to
    /// resolve.
    ///
    /// # Errors
    /// [`Denial::UpstreamUnavailable`] when there is no address: the name does not resolve, or only to those
    /// that failed.
    pub(crate) async fn peer(
        &self,
        failed: &[SocketAddr],
        patience: Duration,
    ) -> Result<Box<HttpPeer>, Denial> {
        let mut peer = Box::new(self.template.clone());
        peer.group_key = peer.group_key.wrapping_add(self.generation.load(Ordering::Relaxed));
        if let Some(lookup) = &self.lookup {
            let address = lookup.address(failed, patience).await.ok_or(Denial::UpstreamUnavailable)?;
            peer._address = PeerAddress::Inet(address);
        }
        Ok(peer)
    }

    /// All of its addresses, the one in use first; none if its name does not resolve.
    pub(super) async fn peers(&self, patience: Duration) -> Vec<Box<HttpPeer>> {
        let addresses = match &self.lookup {
            Some(lookup) => lookup.addresses(patience).await.into_iter().map(PeerAddress::Inet).collect(),
            None => vec![self.template._address.clone()],
        };
        let at = |address| Box::new(HttpPeer { _address: address, ..self.template.clone() });
        addresses.into_iter().map(at).collect()
    }

    /// Moves requests on from an address that failed a check.
    pub(crate) fn not_well_at(&self, peer: &HttpPeer) {
        if let (Some(lookup), PeerAddress::Inet(address)) = (&self.lookup, &peer._address) {
            lookup.next_after(*address);
        }
    }

    /// Moves requests to an address that passed a check.
    pub(super) fn well_at(&self, peer: &HttpPeer) {
        if let (Some(lookup), PeerAddress::Inet(address)) = (&self.lookup, &peer._address) {
            lookup.prefer(*address);
        }
    }

    /// Whether a request that could not reach the addresses in `failed` should try another.
    pub(crate) fn may_be_elsewhere(&self, failed: &[SocketAddr]) -> bool {
        failed.len() < ADDRESSES && self.lookup.as_ref().is_some_and(|lookup| lookup.may_have_another(failed))
    }

    /// Lets later requests use HTTP/2, after the server asked for HTTP/1.1 for one (RFC 9113 section 7).
    /// pingora would remember that by the connection's group key and never use HTTP/2 again, so the key
    /// changes.
    pub(crate) fn allow_http2_again(&self) {
        let next = |generation| (generation < GENERATIONS).then_some(generation + 1);
        let _ = self.generation.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

/// Sets the timeouts of a request's connection.
pub(crate) fn set_upstream_timeouts(peer: &mut HttpPeer, timeouts: Timeouts) {
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.write_timeout = Some(timeouts.write);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    peer.options.read_timeout = Some(in_step(timeouts.read, now));
    peer.options.idle_timeout = Some(in_step(IDLE_CONNECTION_KEPT, now));
    give_up_in_silence(peer, timeouts.write);
}

/// Sets when a connection ends whose network lets nothing through any more. The kernel would retransmit for
/// a quarter of an hour; meanwhile requests go on choosing one that is shared (HTTP/2), and nobody at a
/// WebSocket hears of it. `write`: for so long a server may take nothing, which the kernel counts likewise
/// (tcp(7)).
fn give_up_in_silence(peer: &mut HttpPeer, write: Duration) {
    let beyond = write.saturating_sub(ASK_AFTER);
    peer.options.tcp_keepalive = Some(TcpKeepalive {
        idle: ASK_AFTER,
        interval: ASK_EVERY,
        count: 9, // Linux' own, which does not count beside `user_timeout`.
        #[cfg(target_os = "linux")]
        user_timeout: ASK_AFTER + beyond + UNCONFIRMED,
    });
    // That holds for a connection as long as it lives, whichever requests find it.
    let beyond = u64::try_from(beyond.as_millis()).unwrap_or(u64::MAX);
    peer.group_key = peer.group_key.wrapping_add(beyond.wrapping_mul(2 * GENERATIONS));
}

/// Prepares a connection for a request that must not use HTTP/2, whatever the server offers. It is pooled
/// apart: other requests would otherwise find it, and stay on HTTP/1.1.
pub(crate) fn over_http1(peer: &mut HttpPeer) {
    peer.options.set_http_version(1, 1);
    peer.group_key = peer.group_key.rotate_left(32);
}

/// Prepares a connection for a request that may switch protocols, and for that request alone. `read`: how
/// long the upstream may be silent before it switches; `silent`: after that.
pub(crate) fn allow_switch(peer: &mut HttpPeer, read: Duration, silent: Duration) -> Switch {
    let switch = Switch::default();
    peer.options.custom_l4 = Some(Arc::new(Connector { read, switch: switch.clone() }));
    peer.options.read_timeout = Some(read.max(silent));
    // Pooled apart from all others.
    peer.group_key = !peer.group_key;
    peer.options.idle_timeout = Some(Duration::ZERO);
    switch
}

fn set_tls(peer: &mut HttpPeer, tls: &UpstreamTls, brought: Option<&PeerAuthorities>) {
    peer.options.ca = if tls.authorities.is_empty() {
        brought.cloned()
    } else {
        Some(tls.authorities.iter().map(wrapped).collect())
    };
    peer.client_cert_key = tls.identity.as_ref().map(|identity| {
        let chain = identity.chain.iter().map(|der| der.to_vec()).collect();
        Arc::new(CertKey::new(chain, identity.key.expose().clone()))
    });
}

/// A key for what pingora's pool does not distinguish: protocol, authorities, and the client certificate
/// beyond its serial number. After a reload that changes one of them no old connection fits.
fn group(tls: &UpstreamTls, server: &settings::Server) -> u64 {
    let mut hash = Context::new(&SHA256);
    let mut add = |part: &[u8]| {
        hash.update(&part.len().to_le_bytes());
        hash.update(part);
    };
    add(server.url.scheme().as_bytes());
    add(&[u8::from(server.prior_knowledge)]);
    add(&tls.authorities.len().to_le_bytes());
    tls.authorities.iter().for_each(|der| add(der));
    if let Some(identity) = &tls.identity {
        identity.chain.iter().for_each(|der| add(der));
        add(identity.key.expose());
    }
    hash.finish().as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// `None`: one is no valid header value; config.yaml cannot have one.
fn own_headers(upstream: &Upstream) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let sensitive = |secret: &Secret<Vec<u8>>| {
        let mut value = HeaderValue::from_bytes(secret.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    upstream.headers.iter().map(|(name, secret)| Some((name.clone(), sensitive(secret)?))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::lookup::tests::found;
    use super::*;
    use crate::config::settings::{Balance, SentHost};

    pub(in crate::edge::upstreams) fn upstream(urls: &[&str]) -> Upstream {
        let server = |url: &&str| settings::Server { url: url.parse().unwrap(), prior_knowledge: false };
        Upstream {
            name: UpstreamName::new("up"),
            servers: urls.iter().map(server).collect(),
            host: SentHost::Upstream,
            case_sensitive: false,
            balance: Balance::RoundRobin,
            tls: UpstreamTls::default(),
            headers: Vec::new(),
            health: None,
            timeouts: Timeouts::default(),
            retries: 1,
        }
    }

    pub(in crate::edge::upstreams) fn server(url: &str) -> Server {
        let upstream = upstream(&[url]);
        Server::new(&upstream, &upstream.servers[0], None, None).unwrap()
    }

    /// A server whose name has these addresses.
    pub(in crate::edge::upstreams) fn server_at(addresses: &[SocketAddr]) -> Server {
        Server { lookup: Some(found(addresses)), ..server("http://several.test:81") }
    }

    #[tokio::test]
    async fn literals_need_no_lookup_and_every_timeout_is_set() {
        let peer = server("http://127.0.0.1:3000").peer(&[], Duration::ZERO).await.unwrap();
        assert_eq!(peer._address, PeerAddress::Inet("127.0.0.1:3000".parse().unwrap()));
        assert!(!peer.is_tls());
        let options = &peer.options;
        assert!(options.connection_timeout.is_some() && options.total_connection_timeout.is_some());
        assert!(options.read_timeout.is_some() && options.write_timeout.is_some());
        assert!(options.max_h2_streams >= 100);
        let window = |size: Option<u32>| size.unwrap() as usize;
        let all = options.max_h2_streams * window(options.h2_stream_window_size);
        assert!(all <= window(options.h2_connection_window_size), "no answer takes another's room");
        let v6 = server("https://[::1]/").peer(&[], Duration::ZERO).await.unwrap();
        assert_eq!(v6._address, PeerAddress::Inet("[::1]:443".parse().unwrap()));
        assert_eq!(v6.sni, "::1");
    }

    #[tokio::test]
    async fn a_connection_that_is_dead_in_silence_is_given_up_after_what_a_server_may_take_for_itself() {
        let server = server("http://127.0.0.1:3000");
        let mut groups = Vec::new();
        for write in [1, 60, 61, 24 * 60 * 60].map(Duration::from_secs) {
            let mut peer = server.peer(&[], Duration::ZERO).await.unwrap();
            set_upstream_timeouts(&mut peer, Timeouts { write, ..Timeouts::default() });
            let TcpKeepalive { idle, user_timeout, .. } = peer.options.tcp_keepalive.clone().unwrap();
            let minute = Duration::from_secs(60);
            assert!(user_timeout >= write + minute, "a server may take nothing for {write:?}");
            assert!(user_timeout >= idle + minute, "a link that is cut for a minute ends nothing");
            assert!(user_timeout <= write.max(minute) + 2 * minute, "{write:?}: {user_timeout:?}");
            groups.push(peer.group_key);
        }
        assert_eq!(groups[0], groups[1]);
        groups.dedup();
        assert_eq!(groups.len(), 3, "each has what it may take, whoever made the connection");
    }

    #[tokio::test]
    async fn an_unused_connection_is_given_up_before_servers_close_it() {
        for url in ["http://127.0.0.1:3000", "https://127.0.0.1:3000"] {
            let kept = server(url).peer(&[], Duration::ZERO).await.unwrap().options.idle_timeout.unwrap();
            assert!(kept > Duration::from_secs(1) && kept < Duration::from_secs(4), "{url}: {kept:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_wants_http_1_1_has_other_connections_from_then_on_and_not_for_ever_others() {
        let server = server("https://127.0.0.1:1");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2 * GENERATIONS {
            let mut peer = server.peer(&[], Duration::ZERO).await.unwrap();
            seen.insert(peer.group_key);
            over_http1(&mut peer);
            assert!(!seen.contains(&peer.group_key), "apart from those over HTTP/2");
            server.allow_http2_again();
        }
        assert_eq!(seen.len() as u64, GENERATIONS + 1);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_an_unavailable_upstream() {
        let server = server("http://no-such-host.invalid:81");
        assert_eq!(server.peer(&[], Duration::from_secs(10)).await.unwrap_err(), Denial::UpstreamUnavailable);
    }

    #[test]
    fn connections_of_different_protocols_and_authorities_are_never_shared() {
        let plain = upstream(&["http://127.0.0.1:1"]);
        let mut with_ca = upstream(&["https://127.0.0.1:1"]);
        let key = |upstream: &Upstream| group(&upstream.tls, &upstream.servers[0]);
        let system = key(&with_ca);
        with_ca.tls.authorities = vec![vec![1, 2].into()];
        let one = key(&with_ca);
        with_ca.tls.authorities = vec![vec![1].into(), vec![2].into()];
        let two = key(&with_ca);
        let h2c = settings::Server { prior_knowledge: true, ..plain.servers[0].clone() };
        let keys = [key(&plain), system, one, two, group(&plain.tls, &h2c)];
        let different: std::collections::HashSet<u64> = keys.into_iter().collect();
        assert_eq!(different.len(), 5);
    }
}
