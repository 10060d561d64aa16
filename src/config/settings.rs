//! What was asked, parsed: no optional value that has a default, no name that is not resolved, no
//! file that is not read. Nothing behind this module sees YAML.
//!
//! - `clients`: the applications; `signals`: transmitters of shared signals
//! - `store`: what is kept where; `issuer_connection`: how an issuer is reached

mod clients;
mod issuer_connection;
mod signals;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use url::Url;

use crate::core::cors::Sharing;
use crate::core::identity_headers::HeaderList;
use crate::core::ids::{IssuerName, UpstreamName};
use crate::core::request::Origin;
use crate::core::route::Route;
use crate::core::route::identity::RouteIdentity;
use crate::core::secret::Secret;
use crate::core::time::Timestamp;
use crate::core::token::TokenRules;
use crate::core::token::claims::ReadClaims;

pub use crate::core::session::oauth::grant_type::GrantType;
pub use clients::{
    Client, ClientCredential, CookieSettings, IdentityFrom, Login, NativeClient, PrivateKey,
    RegisteredClient, SameSite, SessionMode,
};
pub use issuer_connection::{ConnectTo, HostPort, IssuerConnection, Proxy, ProxyCredentials};
pub use signals::{Signal, SignalKeys};
pub use store::{OnOutage, Redis, RedisCredentials, RedisServer, RedisTls, Store, Topology};

/// One whole configuration.
#[derive(Debug)]
pub struct Settings {
    /// The gateway as browsers see it.
    pub public_url: Origin,
    /// Never empty.
    pub listen: Vec<Listener>,
    pub admin: Admin,
    /// The proxies whose `X-Forwarded-For`, `X-Request-Id` and `traceparent` are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub issuers: Vec<Arc<Issuer>>,
    /// Those with a cookie.
    pub clients: Vec<Arc<Client>>,
    /// Those without; no `client_id` is in both.
    pub native_clients: Vec<Arc<NativeClient>>,
    /// The pages that may read what Tollgate's own endpoints answer: those of clients alone.
    pub sharing: Sharing,
    /// The pages that may read refusals elsewhere that concern no route.
    pub sharing_elsewhere: Sharing,
    pub upstreams: Vec<Arc<Upstream>>,
    /// In the file's order, holes too; each `upstream` is one of `upstreams`.
    pub routes: Vec<Arc<Route>>,
    pub identity: Identity,
    pub sessions: Sessions,
    /// The transmitters whose word takes access back; each `iss` once.
    pub signals: Vec<Arc<Signal>>,
    pub store: Store,
    pub limits: Limits,
    pub patience: Patience,
    /// How long new connections are taken after SIGTERM, while readiness fails.
    pub lame_duck: Duration,
    /// Whether a new `traceparent` asks for its trace to be recorded.
    pub trace_sampled: bool,
    pub log: Log,
    /// Those that Tollgate shows beside its listeners' and the one in `store`, each file once.
    pub certificates: Vec<ShownCertificate>,
    /// All of it as the file says it, without its secrets.
    pub shown: serde_json::Value,
    /// See [`Self::read_claims`].
    pub reads: OnceLock<ReadClaims>,
}

/// Where operators come in.
#[derive(Clone, Debug)]
pub struct Admin {
    pub address: SocketAddr,
    /// What they prove themselves with; `None`: one is made and kept in the store folder.
    pub token: Option<Secret<Vec<u8>>>,
    /// Names in `Host` that are answered beside IP addresses and `localhost`; lower case.
    pub hosts: Vec<String>,
}

/// Where requests are taken.
#[derive(Clone, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub serves: Serves,
    /// Load balancers whose connections begin with the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
}

impl Listener {
    /// Whether those that listen cannot become the others without listening anew. Their order says nothing.
    pub fn have_moved(before: &[Self], after: &[Self]) -> bool {
        let place = |listener: &Self| {
            let serves = std::mem::discriminant(&listener.serves);
            (listener.address, serves, listener.proxy_protocol.clone())
        };
        let mut left: Vec<_> = before.iter().map(place).collect();
        let mut take = |listener: &Self| {
            let at = left.iter().position(|other| *other == place(listener));
            at.map(|at| left.swap_remove(at)).is_some()
        };
        !after.iter().all(&mut take) || !left.is_empty()
    }
}

/// What a listener does.
#[derive(Clone, Debug)]
pub enum Serves {
    /// HTTP/1.1, and HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    ClearText,
    /// HTTP/1.1 and HTTP/2 over TLS.
    Tls(Arc<ServerTls>),
    /// Sends everybody to https.
    RedirectToHttps,
}

/// How a listener speaks TLS.
#[derive(Debug)]
pub struct ServerTls {
    /// Chosen by the name that the client asks for (SNI); the first for all others. Never empty.
    pub certificates: Vec<Arc<Certificate>>,
    pub clients: ClientCertificates,
}

/// A certificate of the gateway with its chain and key.
#[derive(Debug)]
pub struct Certificate {
    /// Host names, in lower case, and IP addresses; `*.` stands for one label.
    pub names: Vec<String>,
    pub key: Arc<CertifiedKey>,
    pub shown: ShownCertificate,
}

impl Certificate {
    /// Whether it is for this host (RFC 6125 section 6.4.3). `host`: in lower case, an IPv6 address without
    /// brackets.
    pub fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            None => name == host,
            Some(below) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == below)
            }
        })
    }
}

/// A certificate that Tollgate shows, to clients, upstreams or authorization servers, and from when until
/// when it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// As the configuration names it.
    pub file: String,
    pub begins_at: Timestamp,
    pub ends_at: Timestamp,
}

/// Whether clients show certificates of their own.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    NotAsked,
    /// One that `roots` have signed; with `required` there is no connection without.
    Asked {
        roots: Arc<RootCertStore>,
        required: bool,
    },
}

impl ClientCertificates {
    /// Whether whoever came in by `others` could by these.
    pub fn take_all_that(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::NotAsked, _) | (Self::Asked { required: false, .. }, Self::NotAsked) => true,
            (Self::Asked { .. }, Self::NotAsked) => false,
            (Self::Asked { roots, required }, Self::Asked { roots: theirs, required: was_required }) => {
                (*was_required || !required) && theirs.roots.iter().all(|root| roots.roots.contains(root))
            }
        }
    }
}

/// An issuer of access tokens, and how to reach it.
#[derive(Debug)]
pub struct Issuer {
    pub name: IssuerName,
    pub rules: TokenRules,
    pub keys: KeySource,
    /// How long a call to it may take in all.
    pub timeout: Duration,
    /// Certificates (PEM) trusted for it, instead of the system's.
    pub ca: Option<Vec<u8>>,
    pub connection: IssuerConnection,
    /// How often its keys are fetched again.
    pub keys_refresh: Duration,
    /// How it is asked about opaque tokens; `None`: they are refused.
    pub introspection: Option<Introspection>,
    /// The gateway signs people in there, and so out.
    pub signs_in: bool,
}

/// How an issuer is asked about opaque tokens (RFC 7662).
#[derive(Debug, PartialEq, Eq)]
pub struct Introspection {
    pub client_id: String,
    /// Never [`ClientCredential::None`].
    pub credential: ClientCredential,
    /// `None`: the discovered one.
    pub endpoint: Option<Url>,
    /// How long an answer is remembered at most.
    pub cache: Duration,
}

/// Where an issuer's keys and endpoints come from.
#[derive(Debug)]
pub enum KeySource {
    /// RFC 8414, then OpenID Connect Discovery 1.0. `None`: both derived from `iss`; `Some`: this document.
    Discovery(Option<Url>),
    /// Keys from this URL; there are no other endpoints.
    JwksUri(Url),
    /// Keys from this file, read at load.
    JwksFile { path: PathBuf, text: Vec<u8> },
    /// HMAC with this secret, which is long enough for each of the issuer's algorithms.
    SharedSecret(Secret<Vec<u8>>),
}

/// Where permitted requests go: one server, or several that do the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: UpstreamName,
    /// At least one, each address once.
    pub servers: Vec<Server>,
    pub host: SentHost,
    /// It takes paths that differ by upper and lower case for different ones.
    pub case_sensitive: bool,
    pub balance: Balance,
    pub tls: UpstreamTls,
    /// What Tollgate proves itself with, whoever calls; each value can be that of a header.
    pub headers: Vec<(HeaderName, Secret<Vec<u8>>)>,
    /// `None`: servers are not asked how they are.
    pub health: Option<HealthCheck>,
    pub timeouts: Timeouts,
    /// How often a request is tried again at most, where that is safe.
    pub retries: usize,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `http` or `https`, host and port; no path.
    pub url: Url,
    /// HTTP/2 in clear text with prior knowledge (RFC 9113 section 3.3): `h2c` in config.yaml.
    pub prior_knowledge: bool,
}

/// The `Host` that an upstream gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SentHost {
    /// The server's own.
    #[default]
    Upstream,
    /// The one that the client asked for.
    Client,
}

/// Which server takes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    Random,
    /// The same one for equal values of this claim; for a caller without it, for the same address.
    Consistent(String),
}

/// How TLS is spoken with an upstream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Authorities that sign its certificates, in DER; empty: the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The name that its certificates are for; `None`: the host of its URL.
    pub server_name: Option<String>,
    /// What Tollgate shows.
    pub identity: Option<ClientIdentity>,
}

/// A certificate that Tollgate shows as a client, with its chain and key, in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// Never empty; its own first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Secret<Vec<u8>>,
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
}

/// Deadlines towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Without a byte from it.
    pub read: Duration,
    /// Without it taking a byte.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { connect: Duration::from_secs(2), read: minute, write: minute }
    }
}

/// What upstreams learn of callers; each route has its own of it.
#[derive(Debug)]
pub struct Identity {
    /// The lists of headers that routes name: the first is that of `identity`, the others are those of
    /// routes.
    pub headers: Vec<HeaderList>,
    /// What a route has that says nothing of its own.
    pub default: RouteIdentity,
    /// Keys of assertions, PKCS#8 PEM. The first signs, all are published; an empty list: one is made and
    /// kept in the store folder. `None`: nothing is signed.
    pub assertion_keys: Option<Vec<Secret<Vec<u8>>>>,
}

/// Every header by which an upstream is told who calls, on whatever route. Several routes may lead to one
/// upstream, which believes a header wherever it comes from; so nobody else may set it on any.
pub(crate) fn identity_names<'s>(
    identity: &'s Identity,
    routes: &'s [Arc<Route>],
) -> impl Iterator<Item = &'s HeaderName> {
    let of_routes = routes.iter().map(|route| &route.forwarding.identity);
    let assertions = std::iter::once(&identity.default).chain(of_routes);
    let assertions = assertions.filter_map(|identity| Some(&identity.assertion.as_ref()?.header));
    identity.headers.iter().flatten().map(|(name, _)| name).chain(assertions)
}

impl Settings {
    /// See [`identity_names`].
    pub fn identity_names(&self) -> impl Iterator<Item = &HeaderName> {
        identity_names(&self.identity, &self.routes)
    }

    /// Every header that nobody but Tollgate may set: see [`identity_names`], and its own for upstreams.
    pub fn reserved_names(&self) -> impl Iterator<Item = &HeaderName> {
        let own = self.upstreams.iter().flat_map(|upstream| &upstream.headers);
        self.identity_names().chain(own.map(|(name, _)| name))
    }

    /// The claims of a token that are read after its headers were made: what routes require, by what
    /// upstreams keep callers together, and what the headers of sessions are made of, once the session is
    /// known.
    pub fn read_claims(&self) -> &ReadClaims {
        self.reads.get_or_init(|| {
            let required = self.routes.iter().flat_map(|route| route.access.named_claims());
            let balanced = self.upstreams.iter().filter_map(|upstream| match &upstream.balance {
                Balance::Consistent(claim) => Some(claim.as_str()),
                Balance::RoundRobin | Balance::Random => None,
            });
            let lists = self.identity.headers.iter().filter(|_| !self.clients.is_empty());
            let told = lists.flatten().map(|(_, claim)| claim.as_str());
            required.chain(balanced).chain(told).collect()
        })
    }

    /// The most by which the clock of any issuer's callers may differ from ours.
    pub fn largest_clock_skew(&self) -> Duration {
        self.issuers.iter().map(|issuer| issuer.rules.clock_skew).max().unwrap_or_default()
    }
}

#[derive(Debug)]
pub struct Sessions {
    pub idle_timeout: Duration,
    pub absolute_timeout: Duration,
    /// How long an answer is given again to the same generation.
    pub grace: Duration,
    /// Cookie keys, the first seals; empty: one is made and kept in the store folder.
    pub keys: Vec<Secret<Vec<u8>>>,
}

/// Sizes in bytes, and how much of something one may have.
#[derive(Debug)]
pub struct Limits {
    pub token: usize,
    /// For tokens that were verified.
    pub token_memory: u64,
    pub header: usize,
    pub body: u64,
    /// Open at once.
    pub connections: usize,
    /// Open at once from one address.
    pub connections_per_address: usize,
    /// How often in how long one address may ask.
    pub requests_per_address: Option<(u32, Duration)>,
    /// How often in how long one address may be denied before work is refused it.
    pub denials_per_address: Option<(u32, Duration)>,
}

/// How long clients may take. `timeouts.keep_alive` sets how long they may wait with their next request, and
/// no key sets the rest; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From a connection's beginning, or a request's first byte, to the end of its header.
    pub header: Duration,
    /// How long a client may pause while it sends a body.
    pub body_pause: Duration,
    /// Bytes a second with which a body must come over a longer time.
    pub body_rate: u32,
    /// After how long a request of HTTP/2 ends whose body has stopped. Longer than the pause: it may also be
    /// the upstream that does not read, whose own timeouts come first (`edge/request/inflow.rs`).
    pub stream_stopped: Duration,
    /// How long a client may leave an answer unread. Whoever reads slowly leaves none.
    pub answer_unread: Duration,
    /// How long is read on, once a connection ends, of what its client is still sending.
    pub linger: Duration,
    /// How long a connection may wait for its next request.
    pub next_request: Duration,
    /// How long an HTTP/2 connection may be without a request.
    pub http2_idle: Duration,
    /// How long a connection that was upgraded may be silent on both sides. WebSockets have pings of their
    /// own, but not all send them.
    pub conversation_silent: Duration,
    /// How long requests in flight may take to end when the gateway stops.
    pub drain: Duration,
}

impl Patience {
    pub const DRAIN: Duration = Duration::from_secs(30);
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            body_pause: Duration::from_secs(30),
            body_rate: 256,
            stream_stopped: Duration::from_secs(90),
            answer_unread: Duration::from_secs(60),
            linger: Duration::from_secs(1),
            next_request: Duration::from_secs(75),
            http2_idle: Duration::from_secs(75),
            conversation_silent: Duration::from_secs(3600),
            drain: Self::DRAIN,
        }
    }
}

#[derive(Debug)]
pub struct Log {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
    pub subject: SubjectInLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectInLog {
    Plain,
    Hash,
    None,
}
