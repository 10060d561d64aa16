//! Upstreams as pingora sees them: which server takes a request, and how it is reached. Names are resolved
//! off the hot path; a request waits only while no address is known that may still be right.
//!
//! - `server`: address, protocol, TLS, timeouts of one server; `in_step`: deadlines that many requests share
//! - `authorities`: by whom its certificate may be signed
//! - `lookup`: the addresses of a name
//! - `balance`: the order among several servers
//! - `upgrade`: connections for requests that may switch protocols
//! - `standing`: how a server has fared; `health`: asks servers how they are
//!
//! It must never decide whether a request may go there: the permit does.

pub(super) mod authorities;
mod balance;
mod health;
mod in_step;
mod lookup;
mod server;
mod standing;
mod upgrade;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::HashMap;
use balance::Balancer;
pub(crate) use health::Prober;
use parking_lot::Mutex;
use serde_json::Value;
pub(crate) use server::{Server, allow_switch, over_http1, set_upstream_timeouts};
#[cfg(test)]
pub(in crate::edge) use tests::upstream_at;
use tokio::time::Instant;
pub(crate) use upgrade::Switch;

use self::authorities::PeerAuthorities;
use crate::config::settings;
use crate::core::ids::UpstreamName;
use crate::core::route::permit::Permit;
use crate::state::metrics::Metrics;

/// The upstreams of one configuration, by name.
#[derive(Debug)]
pub(crate) struct Upstreams {
    by_name: HashMap<UpstreamName, Arc<Upstream>>,
    /// Whether these upstreams are in force: from [`Self::take_over`] until others do. Locked by whoever
    /// changes the metrics of servers, so that a late update for old upstreams does not remove series of new
    /// ones.
    counts: Mutex<bool>,
}

/// One upstream: a server, or several.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) settings: Arc<settings::Upstream>,
    /// Never empty.
    servers: Vec<Arc<Server>>,
    /// `None` where there is one server.
    balancer: Option<Balancer>,
    /// The server whose turn it is when all are set aside.
    turn: AtomicUsize,
    /// The start of the times in `standing`.
    started: Instant,
    metrics: Metrics,
}

impl Upstreams {
    /// Builds the upstreams of a configuration. `before`: those before a reload. An unchanged upstream is
    /// kept as it is; in a changed one, servers with the same address keep what is known of their health.
    /// `brought`: see [`authorities`].
    ///
    /// # Errors
    /// The URL of an upstream without a host; config.yaml cannot have one.
    pub(crate) fn new(
        settings: &[Arc<settings::Upstream>],
        metrics: &Metrics,
        before: Option<&Self>,
        brought: Option<&PeerAuthorities>,
    ) -> Result<Self, String> {
        let upstreams = settings.iter().map(|settings| {
            let known = before.and_then(|before| before.get(&settings.name));
            let upstream = match known.filter(|known| *known.settings == **settings) {
                Some(known) => known.clone(),
                None => {
                    Arc::new(Upstream::new(settings.clone(), metrics, known.map(AsRef::as_ref), brought)?)
                }
            };
            Ok((settings.name.clone(), upstream))
        });
        Ok(Self { by_name: upstreams.collect::<Result<_, String>>()?, counts: Mutex::new(false) })
    }

    pub(crate) fn get(&self, name: &UpstreamName) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }

    /// Puts these upstreams in force: updates the metrics of all their servers and removes those of servers
    /// that are gone. To be called before requests go to them, because a server keeps hold of the series that
    /// its first request begins.
    pub(crate) fn take_over(&self, before: Option<&Self>) {
        if let Some(before) = before {
            *before.counts.lock() = false;
        }
        let mut counts = self.counts.lock();
        *counts = true;
        for upstream in before.iter().flat_map(|before| before.by_name.values()) {
            for server in &upstream.servers {
                upstream.metrics.forget_server(&server.upstream, &server.authority);
            }
        }
        for upstream in self.by_name.values() {
            for server in &upstream.servers {
                upstream.tell(server);
            }
        }
    }

    /// Updates the metrics of all servers, and removes those of any other: a late request from before a
    /// reload may have reported a server that is gone. Upstreams that are no longer in force do nothing.
    pub(crate) fn tell(&self, metrics: &Metrics) {
        let counts = self.counts.lock();
        if !*counts {
            return;
        }
        for (upstream, authority, _) in metrics.servers() {
            let upstream = UpstreamName::new(upstream);
            let servers = self.get(&upstream).map(|upstream| &upstream.servers);
            if !servers.is_some_and(|servers| servers.iter().any(|server| server.authority == authority)) {
                metrics.forget_server(&upstream, &authority);
            }
        }
        metrics.forget_servers_but(|upstream, authority| {
            let servers = self.get(&UpstreamName::new(upstream)).map(|upstream| &upstream.servers);
            servers.is_some_and(|servers| servers.iter().any(|server| server.authority == authority))
        });
        for upstream in self.by_name.values() {
            upstream.servers.iter().for_each(|server| upstream.tell(server));
        }
    }

    fn checked(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.by_name.values().filter(|upstream| upstream.settings.health.is_some())
    }
}

impl Upstream {
    fn new(
        settings: Arc<settings::Upstream>,
        metrics: &Metrics,
        before: Option<&Self>,
        brought: Option<&PeerAuthorities>,
    ) -> Result<Self, String> {
        let known = |server: &settings::Server| {
            before?.servers.iter().find(|known| known.url == server.url).map(AsRef::as_ref)
        };
        let servers = settings.servers.iter().map(|server| {
            Server::new(&settings, server, known(server), brought)
                .map(Arc::new)
                .ok_or_else(|| format!("upstream {} has no host: {}", settings.name, server.url))
        });
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let balancer = (servers.len() > 1).then(|| Balancer::new(&settings.balance, &servers));
        let started = before.map_or_else(Instant::now, |before| before.started);
        let turn = AtomicUsize::new(0);
        Ok(Self { settings, servers, balancer, turn, started, metrics: metrics.clone() })
    }

    /// Chooses the server for a request. `tried`: servers that failed it. `None`: no server is well.
    pub(crate) fn choose(
        &self,
        permit: &Permit,
        client: IpAddr,
        tried: Option<&Arc<Server>>,
    ) -> Option<Arc<Server>> {
        let Some(balancer) = &self.balancer else {
            return self.servers.first().filter(|server| server.standing.is_healthy()).cloned();
        };
        let key = match balancer {
            Balancer::Consistent(_, name) => who(permit, name, client),
            Balancer::RoundRobin(_) | Balancer::Random(_) => Cow::Borrowed(""),
        };
        self.choose_by(balancer, key.as_bytes(), tried)
    }

    fn choose_by(&self, balancer: &Balancer, key: &[u8], tried: Option<&Arc<Server>>) -> Option<Arc<Server>> {
        let is_another = |server: &Arc<Server>| tried.is_none_or(|tried| !Arc::ptr_eq(tried, server));
        let takes_it =
            |server: &Arc<Server>| is_another(server) && server.standing.takes_requests(|| self.now());
        let is_healthy = |server: &Arc<Server>| is_another(server) && server.standing.is_healthy();
        let chosen = balancer.first(key, takes_it).or_else(|| self.one_that(takes_it));
        // If all are set aside, one of them may be back.
        let chosen = chosen.or_else(|| match balancer {
            Balancer::Consistent(..) if tried.is_none() => balancer.first(key, is_healthy),
            _ => self.next_that(is_healthy),
        });
        chosen.or_else(|| self.one_that(|server| server.standing.is_healthy()))
    }

    /// The next server, in turn, that `will_do`. Turns find the first server that is back, whichever it is.
    /// The balancer's own order would not: it was asked many times by now, possibly a multiple of the number
    /// of servers.
    fn next_that(&self, will_do: impl Fn(&Arc<Server>) -> bool) -> Option<Arc<Server>> {
        let from = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.servers.len())?;
        let (before, from) = self.servers.split_at(from);
        from.iter().chain(before).find(|server| will_do(server)).cloned()
    }

    fn one_that(&self, will_do: impl Fn(&Arc<Server>) -> bool) -> Option<Arc<Server>> {
        self.servers.iter().find(|server| will_do(server)).cloned()
    }

    /// Notes that a request which tried since `began` could not reach the server. Returns whether there is
    /// another.
    pub(crate) fn could_not_connect(&self, server: &Arc<Server>, began: Instant) -> bool {
        if server.standing.could_not_connect(self.at(began), self.now()) {
            tracing::warn!(upstream = %server.upstream, server = server.authority, "cannot be reached");
            self.tell(server);
        }
        self.balancer.is_some()
    }

    /// Notes that a server was reached.
    pub(crate) fn reached(&self, server: &Arc<Server>) {
        if server.standing.reached() {
            tracing::info!(upstream = %server.upstream, server = server.authority, "can be reached again");
            self.tell(server);
        }
    }

    fn checked(&self, server: &Arc<Server>, good: bool) {
        if server.standing.checked(good) {
            let health = if good { "is well again" } else { "is not well, and gets no requests" };
            tracing::warn!(upstream = %server.upstream, server = server.authority, "{health}");
            self.tell(server);
        }
    }

    fn tell(&self, server: &Server) {
        let is_well = server.standing.is_well(self.now());
        self.metrics.upstream_healthy(&server.upstream, &server.authority, is_well);
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// A time in milliseconds since [`Self::started`].
    fn at(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The key by which an upstream keeps callers together: the value of a claim, or else the address.
fn who<'p>(permit: &'p Permit, name: &str, client: IpAddr) -> Cow<'p, str> {
    match permit.token().and_then(|token| token.claims().get(name)) {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(value) => Cow::Owned(value.to_string()),
        None => Cow::Owned(client.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::server::tests::{server_at, upstream};
    use super::*;
    use crate::config::settings::Balance;
    use crate::state::metrics::UpstreamResult;

    /// One whose only server has a name with these addresses.
    pub(in crate::edge) fn upstream_at(
        addresses: &[SocketAddr],
        metrics: &Metrics,
    ) -> (Upstream, Arc<Server>) {
        let settings = Arc::new(upstream(&["http://several.test:81"]));
        let server = Arc::new(server_at(addresses));
        let one = Upstream::new(settings, metrics, None, None).unwrap();
        (Upstream { servers: vec![server.clone()], ..one }, server)
    }

    /// Who is asked by requests of this key that try once again, one after the other.
    fn asked(upstream: &Upstream, key: &[u8], requests: usize) -> Vec<[usize; 2]> {
        let balancer = upstream.balancer.as_ref().unwrap();
        let place = |server: &Arc<Server>| {
            upstream.servers.iter().position(|other| Arc::ptr_eq(other, server)).unwrap()
        };
        let request = || {
            let first = upstream.choose_by(balancer, key, None).unwrap();
            let second = upstream.choose_by(balancer, key, Some(&first)).unwrap();
            [place(&first), place(&second)]
        };
        std::iter::repeat_with(request).take(requests).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn while_all_servers_are_set_aside_each_is_tried_in_turn() {
        let metrics = Metrics::new().unwrap();
        for (number, balance) in (2..=13).flat_map(|number| {
            let balances = [Balance::RoundRobin, Balance::Random, Balance::Consistent("sub".to_owned())];
            balances.into_iter().map(move |balance| (number, balance))
        }) {
            let urls: Vec<_> = (1..=number).map(|at| format!("http://10.0.0.{at}")).collect();
            let urls: Vec<_> = urls.iter().map(String::as_str).collect();
            let settings = Arc::new(settings::Upstream { balance, ..upstream(&urls) });
            let up = Upstream::new(settings, &metrics, None, None).unwrap();
            for server in &up.servers {
                up.could_not_connect(server, Instant::now());
            }
            let asked = asked(&up, b"alice", number);
            assert!(asked.iter().all(|[first, second]| first != second), "{asked:?}");
            let all: std::collections::HashSet<_> = asked.iter().flatten().collect();
            assert_eq!(all.len(), number, "{:?} {asked:?}", up.settings.balance);
            if matches!(up.settings.balance, Balance::Consistent(_)) {
                assert!(asked.iter().all(|[first, _]| first == &asked[0][0]), "alice stays where she is");
            }
            // The first that is back has all of it at once.
            up.reached(&up.servers[number - 1]);
            let balancer = up.balancer.as_ref().unwrap();
            for _ in 0..3 {
                let chosen = up.choose_by(balancer, b"alice", None).unwrap();
                assert!(Arc::ptr_eq(&chosen, &up.servers[number - 1]));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_of_many_requests_sets_a_server_aside_for_a_second() {
        let metrics = Metrics::new().unwrap();
        let settings = Arc::new(upstream(&["http://10.0.0.1", "http://10.0.0.2"]));
        let up = Upstream::new(settings, &metrics, None, None).unwrap();
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        for _ in 0..50 {
            tokio::time::advance(Duration::from_millis(10)).await;
            assert!(up.could_not_connect(&up.servers[0], began));
        }
        let takes = || up.servers[0].standing.takes_requests(|| up.now());
        assert!(!takes());
        tokio::time::advance(Duration::from_millis(510)).await;
        assert!(takes(), "a second after the first of them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_nobody_asks_for_is_not_out_for_ever_and_one_that_is_gone_not_told_of() {
        let metrics = Metrics::new().unwrap();
        let upstreams = |urls: &[&str], before| {
            Upstreams::new(&[Arc::new(upstream(urls))], &metrics, before, None).unwrap()
        };
        let told = |upstreams: &Upstreams| {
            upstreams.tell(&metrics);
            metrics.servers().into_iter().map(|(_, server, well)| (server, well)).collect::<Vec<_>>()
        };
        let expected = |all: &[(&str, bool)]| {
            all.iter().map(|(server, well)| ((*server).to_owned(), *well)).collect::<Vec<_>>()
        };
        let before = upstreams(&["http://10.0.0.1:1", "http://10.0.0.2:2"], None);
        before.take_over(None);
        let up = before.get(&UpstreamName::new("up")).unwrap().clone();
        let first = up.servers[0].clone();
        up.could_not_connect(&first, Instant::now());
        let after = upstreams(&["http://10.0.0.1:1"], Some(&before));
        after.take_over(Some(&before));
        // A request of before the reload.
        up.could_not_connect(&up.servers[1], Instant::now());
        assert_eq!(told(&after), expected(&[("10.0.0.1:1", false)]));
        tokio::time::advance(std::time::Duration::from_secs(299)).await;
        assert_eq!(told(&after), expected(&[("10.0.0.1:1", false)]));
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        assert_eq!(told(&after), expected(&[("10.0.0.1:1", true)]));
    }

    #[tokio::test]
    async fn whoever_asks_beside_a_reload_takes_no_series_of_a_new_server_away() {
        let metrics = Metrics::new().unwrap();
        let upstreams =
            |url, before| Upstreams::new(&[Arc::new(upstream(&[url]))], &metrics, before, None).unwrap();
        let server =
            |upstreams: &Upstreams| upstreams.get(&UpstreamName::new("up")).unwrap().servers[0].clone();
        let before = upstreams("http://10.0.0.1:1", None);
        before.take_over(None);
        let after = upstreams("http://10.0.0.2:2", Some(&before));
        after.take_over(Some(&before));
        server(&after).count(&metrics, UpstreamResult::Ok);
        // A probe that began before the reload, a request that did, and a probe that comes after it.
        before.tell(&metrics);
        server(&before).count(&metrics, UpstreamResult::Ok);
        after.tell(&metrics);
        server(&after).count(&metrics, UpstreamResult::Ok);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let told = text.lines().filter_map(|line| line.strip_prefix("tollgate_upstream_requests_total"));
        let told: Vec<_> = told.collect();
        assert_eq!(told, [r#"{result="ok",server="10.0.0.2:2",upstream="up"} 2"#]);
    }
}
