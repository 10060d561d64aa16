//! `upstreams:` and `to:` — the servers behind the gateway: where they are, how they are spoken with, and
//! how requests are spread over them.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use rustls_pki_types::ServerName;
use url::Url;

use crate::config::identity::{fold, is_taken};
use crate::config::names::NO_UPSTREAM;
use crate::config::names::{unknown, valid_name};
use crate::config::network::Network;
use crate::config::network::certificates;
use crate::config::settings::{
    Balance, HealthCheck, Identity, SentHost, Server, Timeouts, Upstream, UpstreamTls, identity_names,
};
use crate::config::text::read::{Keys, Value};
use crate::core::identity_headers::says_mount_point;
use crate::core::ids::UpstreamName;
use crate::core::path::CanonicalPath;
use crate::core::route::Route;
use crate::core::route::forwarding::PhaseTimeouts;
use crate::core::secret::Secret;

const RIGHT: &str = "write scheme, host and port of one server, like `http://10.0.0.1:3000`";
const CONNECT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const PROGRESS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
const MOST_RETRIES: usize = 5;

/// The upstreams so far: those with a name, and those that routes name by a URL.
pub(super) struct Upstreams<'a> {
    read: Vec<Arc<Upstream>>,
    /// Every name under `upstreams`, also of those that could not be read, and whether a route leads there.
    named: Vec<(&'a str, Value<'a>, bool)>,
}

impl<'a> Upstreams<'a> {
    pub(super) fn read(root: &Keys<'a>, network: &Network) -> Self {
        let named = root.get("upstreams").map(|value| value.named("name")).unwrap_or_default();
        let read = named.iter().filter_map(|(name, value)| upstream(name, value, network)).map(Arc::new);
        Self {
            read: read.collect(),
            named: named.iter().map(|(name, value)| (*name, value.clone(), false)).collect(),
        }
    }

    /// `to`: a name under `upstreams`, or the URL of one server. Equal URLs share one upstream.
    pub(super) fn to(&mut self, value: &Value<'_>, network: &Network) -> Option<UpstreamName> {
        let text = value.text()?;
        if !text.contains([':', '/', '?', '#', '@']) {
            let Some((_, _, used)) = self.named.iter_mut().find(|(name, ..)| *name == text) else {
                let known = self.named.iter().map(|(name, ..)| *name);
                value.wrong(format!(
                    "{}; or {RIGHT}",
                    value.untold(&unknown("upstream", &text, known), &text)
                ));
                return None;
            };
            *used = true;
            return Some(UpstreamName::new(text));
        }
        let server = server(value, &text, network)?;
        let scheme = if server.prior_knowledge { "h2c" } else { server.url.scheme() };
        let origin = server.url.origin().ascii_serialization();
        let authority = origin.split_once("://").map_or(origin.as_str(), |(_, authority)| authority);
        let name = UpstreamName::new(format!("{scheme}://{authority}"));
        if !self.read.iter().any(|upstream| upstream.name == name) {
            self.read.push(Arc::new(Upstream {
                name: name.clone(),
                servers: vec![server],
                host: SentHost::Upstream,
                case_sensitive: false,
                balance: Balance::RoundRobin,
                tls: UpstreamTls::default(),
                headers: Vec::new(),
                health: None,
                timeouts: Timeouts::default(),
                retries: 1,
            }));
        }
        Some(name)
    }

    /// Whether this one was said to tell upper and lower case in paths apart.
    pub(super) fn is_case_sensitive(&self, name: &UpstreamName) -> bool {
        self.read.iter().any(|upstream| upstream.name == *name && upstream.case_sensitive)
    }

    /// All of them, once every route was read.
    pub(super) fn finish(self) -> Vec<Arc<Upstream>> {
        self.tell_apart();
        for (name, value, used) in &self.named {
            if !used {
                value.warn(format!("no route leads to `{name}`"));
            }
        }
        self.read
    }
}

impl Upstreams<'_> {
    /// The metrics tell series apart by the hash of their labels one after the other, without a sign between:
    /// `api` with `2a.example` would share one with `api2` and `a.example`.
    fn tell_apart(&self) {
        let mut known: HashMap<String, &Upstream> = HashMap::new();
        for upstream in &self.read {
            for server in &upstream.servers {
                let labels = format!("{}{}", upstream.name, server.url.authority());
                let other = known.insert(labels, upstream).filter(|other| other.name != upstream.name);
                let named = self.named.iter().find(|(name, ..)| *name == upstream.name.as_str());
                if let (Some(other), Some((_, value, _))) = (other, named) {
                    value.wrong(format!(
                        "followed by its server this name reads as `{}` followed by that one's, and metrics would count both as one; rename one \
                         of the two",
                        other.name,
                    ));
                }
            }
        }
    }
}

fn upstream(name: &str, value: &Value<'_>, network: &Network) -> Option<Upstream> {
    let named = valid_name(name, value);
    if name == NO_UPSTREAM {
        value.wrong("no upstream can be called so: `to: none` says of a route that nothing is served there; give it another name");
    }
    let keys = value.keys()?;
    let servers = keys.get("url").map(|value| servers(&value, network)).unwrap_or_default();
    let host = keys.word(
        "host",
        &[("upstream", SentHost::Upstream), ("client", SentHost::Client)],
        SentHost::Upstream,
    );
    let case_sensitive = keys.flag("case_sensitive");
    let balance = balance(&keys, servers.len());
    let tls = tls(&keys, &servers);
    let headers = headers(&keys);
    let health = health(&keys);
    let timeouts = Timeouts::default().but(timeouts(&keys));
    let retries = keys.get("retries").and_then(|value| value.count(0..=MOST_RETRIES)).unwrap_or(1);
    (named && !servers.is_empty()).then_some(())?;
    let name = UpstreamName::new(name);
    Some(Upstream { name, servers, host, case_sensitive, balance, tls, headers, health, timeouts, retries })
}

fn servers(value: &Value<'_>, network: &Network) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for (value, text) in value.texts().unwrap_or_default() {
        let Some(server) = server(&value, &text, network) else { continue };
        let place =
            |server: &Server| (server.url.host_str().map(str::to_owned), server.url.port_or_known_default());
        if servers.iter().any(|other| place(other) == place(&server)) {
            value.wrong(format!("`{}` is in this list already; remove one", value.written()));
        } else if servers.iter().any(|other| other.url.authority() == server.url.authority()) {
            value.wrong(format!(
                "`{}` differs from another in this list by its scheme alone, and metrics would call both the same; remove one",
                value.written()
            ));
        }
        servers.push(server);
    }
    servers
}

fn server(value: &Value<'_>, text: &str, network: &Network) -> Option<Server> {
    let written = value.written();
    let (as_http, prior_knowledge) = match text.strip_prefix("h2c://") {
        Some(rest) => (format!("http://{rest}"), true),
        None => (text.to_owned(), false),
    };
    let url =
        Url::parse(&as_http).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        value.wrong(format!("`{written}` is not an `http`, `https` or `h2c` URL; {RIGHT}"));
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        value.wrong(format!("has a user or password in it; {RIGHT}"));
        return None;
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        value.wrong(format!(
            "`{written}` has more than a server in it: the path of a request is sent as it was judged, or as `strip_prefix` or `rewrite` of its route says; {RIGHT}"
        ));
        return None;
    }
    if let Some(own) = network.is_own(&url) {
        value.wrong(format!("`{written}` is Tollgate itself (`{own}`); name the server behind it"));
        return None;
    }
    if let Some(own) = network.may_be_own(&url, value) {
        value.warn(format!(
            "`{written}` is an address of this machine, where `{own}` takes connections at every address: if they come back to Tollgate, name the server behind it"
        ));
    }
    Some(Server { url, prior_knowledge })
}

fn balance(keys: &Keys<'_>, servers: usize) -> Balance {
    let Some(value) = keys.get("balance") else { return Balance::RoundRobin };
    if servers == 1 {
        value.warn("there is one server, so there is nothing to balance");
    }
    match value.keys() {
        Some(keys) => keys.text("consistent").map_or(Balance::RoundRobin, Balance::Consistent),
        None => {
            let words = [("round_robin", false), ("random", true)];
            if value.word(&words) == Some(true) { Balance::Random } else { Balance::RoundRobin }
        }
    }
}

fn tls(upstream: &Keys<'_>, servers: &[Server]) -> UpstreamTls {
    let keys = upstream.section("tls");
    let authorities = keys.get("ca").and_then(|value| certificates::authorities(&value)).unwrap_or_default();
    let server_name = keys.get("server_name").and_then(|value| {
        let text = value.text()?;
        let fits = ServerName::try_from(text.as_str()).is_ok();
        if !fits {
            value.wrong(format!("`{}` is not a host; write it like `api.internal`", value.written()));
        }
        fits.then_some(text)
    });
    let identity = certificates::client_identity(&keys).map(|(identity, _)| identity);
    if upstream.has("tls")
        && !servers.is_empty()
        && servers.iter().all(|server| server.url.scheme() != "https")
    {
        upstream.wrong(
            "tls",
            "no server is `https`, so TLS is spoken with none; write `https` in `url`, or remove this",
        );
    }
    UpstreamTls { authorities, server_name, identity }
}

/// The headers by which Tollgate proves itself. Of those that mean something to others `Authorization` is for
/// that (RFC 9110 section 11.6.2), and where an application is mounted nobody else can say.
fn headers(upstream: &Keys<'_>) -> Vec<(HeaderName, Secret<Vec<u8>>)> {
    let mut headers: Vec<(HeaderName, Secret<Vec<u8>>)> = Vec::new();
    for (written, value) in own_headers(upstream) {
        let Ok(name) = written.parse::<HeaderName>() else {
            value.wrong("is not a header name; use letters, digits and `-`, like `X-Api-Key`");
            continue;
        };
        let folded = fold(name.as_str());
        if is_taken(&folded) && name != AUTHORIZATION && !says_mount_point(&folded) {
            value.wrong("this header has another meaning; write `Authorization`, or a name of its own, like `X-Api-Key`");
            continue;
        }
        if headers.iter().any(|(other, _)| fold(other.as_str()) == folded) {
            value.wrong("is the same as another to servers that read every sign as `-` and no case; keep one of the two");
            continue;
        }
        let Some(secret) = value.secret() else { continue };
        let is_trimmed = secret.expose().trim_ascii().len() == secret.expose().len();
        if !is_trimmed || HeaderValue::from_bytes(secret.expose()).is_err() {
            value.wrong("can be no value of a header (RFC 9110 section 5.5): it has a control character, or a space at one of its ends");
            continue;
        }
        headers.push((name, secret));
    }
    headers
}

fn own_headers<'a>(upstream: &Keys<'a>) -> Vec<(&'a str, Value<'a>)> {
    upstream.get("headers").map(|value| value.named("header")).unwrap_or_default()
}

/// Whether what Tollgate proves itself with is nothing that it says of callers, nor sends for them.
pub(super) fn check_headers(
    root: &Keys<'_>,
    upstreams: &[Arc<Upstream>],
    routes: &[Arc<Route>],
    identity: &Identity,
) {
    let told: Vec<String> = identity_names(identity, routes).map(|name| fold(name.as_str())).collect();
    let named = root.get("upstreams").map(|value| value.named("name")).unwrap_or_default();
    for (upstream, value) in named {
        let is_read = upstreams.iter().any(|read| read.name.as_str() == upstream);
        let Some(keys) = value.keys().filter(|_| is_read) else { continue };
        for (written, value) in own_headers(&keys) {
            let forwards = |route: &Arc<Route>| {
                route.upstream.as_ref().is_some_and(|name| name.as_str() == upstream)
                    && route.forwarding.identity.forwards_access_token
            };
            if told.contains(&fold(written)) {
                value.wrong("tells upstreams who calls on some route (`identity`), and may be no credential of Tollgate's; choose another name there or here");
            } else if written.eq_ignore_ascii_case(AUTHORIZATION.as_str()) && routes.iter().any(forwards) {
                value.wrong("a route to it sends the caller's access token in this header (`access_token: forward`), where there is room for one; remove this, or let that route strip the token");
            }
        }
    }
}

fn health(upstream: &Keys<'_>) -> Option<HealthCheck> {
    upstream.has("health").then_some(())?;
    let keys = upstream.section("health");
    let path = keys.get("path").and_then(|value| {
        let text = value.text()?;
        let path = text.split_once('?').map_or(text.as_str(), |(path, _)| path);
        let fits =
            CanonicalPath::parse(path.as_bytes()).is_ok() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            value.wrong(format!("`{}` is not a path; write it like `/healthz`", value.written()));
        }
        fits.then_some(text)
    });
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    let interval = keys.duration("interval", Duration::from_secs(10), bounds);
    let timeout = keys.duration("timeout", Duration::from_secs(2), CONNECT);
    if timeout > interval {
        let place = if keys.has("timeout") { "timeout" } else { "interval" };
        keys.warn(
            place,
            "a server that says nothing is asked again when `timeout` is over, not after `interval`; write a `timeout` that is not longer than `interval`",
        );
    }
    Some(HealthCheck { path: path?, interval, timeout })
}

/// `timeouts` of an upstream or of a route: what is given.
pub(super) fn timeouts(keys: &Keys<'_>) -> PhaseTimeouts {
    let keys = keys.section("timeouts");
    let given = |key, bounds| keys.get(key).and_then(|value| value.duration(bounds));
    PhaseTimeouts {
        connect: given("connect", CONNECT),
        read: given("read", PROGRESS),
        write: given("write", PROGRESS),
    }
}

impl Timeouts {
    /// These, but for what another place gives.
    #[must_use]
    pub fn but(self, other: PhaseTimeouts) -> Self {
        Self {
            connect: other.connect.unwrap_or(self.connect),
            read: other.read.unwrap_or(self.read),
            write: other.write.unwrap_or(self.write),
        }
    }
}
