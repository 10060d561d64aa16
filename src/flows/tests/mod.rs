//! Tokens, sessions, and what takes them back, against an authorization server that rotates, counts, and can
//! be told to fail in every way that counts.
//!
//! - `server`: that authorization server
//! - `requests`: what a request to the token endpoint may ask; `at_another_host`: at another host of the
//!   gateway's
//! - `answers`: what becomes of each answer of the authorization server; `logged`: what the log tells of them
//! - `generations`: which cookie gets which answer; `bounded`: how much is remembered
//! - `replicas`: several gateways that share a store, and a store that goes away
//! - `dpop`: pages that prove a key; `pass_through`: native clients
//! - `sign_in`: sign-in and sign-out by the gateway; `sign_in_and_out`: how a session begins and ends
//! - `session`: requests of a client in `session` mode; `open_requests`: what goes on until somebody ends it
//! - `revoke`: what operators take back; `backchannel_logout`: what an issuer says; `hear_signal`: what a
//!   transmitter says
//! - `two_issuers`: what one says is nothing of the other's; `other_name`: one that has two names

mod answers;
mod at_another_host;
mod backchannel_logout;
mod bounded;
mod dpop;
mod generations;
mod hear_signal;
mod logged;
mod open_requests;
mod other_name;
mod pass_through;
mod replicas;
mod requests;
mod revoke;
mod server;
mod session;
mod sign_in;
mod sign_in_and_out;
mod two_issuers;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use http::header::{CONTENT_TYPE, COOKIE, HeaderName, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::config::settings::{
    Client, ClientCredential, CookieSettings, GrantType, Introspection, Issuer, IssuerConnection, KeySource,
    NativeClient, SameSite, Settings,
};
use crate::core::denial::Denial;
use crate::core::ids::{ClientName, IssuerName};
use crate::core::request::{Host, Origin, RequestHead};
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::core::token::testing::{AUDIENCE, claims_at, keys, with};
use crate::core::token::{Algorithm, ClaimNames, TokenRules};
use crate::flows::client_request::ClientRequest;
use crate::flows::exchange::{judge, page_key, receipts, refresh, windows};
use crate::flows::family::session_cookie;
use crate::flows::oauth_answer::{OAuthAnswer, OAuthRefusal};
use crate::flows::ports::{Bounds, Clock, HttpClient, HttpFault, Randomness};
use crate::flows::testing::{self, FakeStore, MemoryLog, TestClock};
use crate::flows::token_endpoint::{sign_out, token};
use crate::flows::{Gate, Operators, Ports};
use crate::state::exchanges::{CODE_EXCHANGES, PASSED_REFRESHES};
use crate::state::issuer_keys::Issuers;
use crate::state::live::Live;
use crate::state::metrics::Metrics;
use crate::state::transmitters::Transmitters;
use server::{FakeServer, Instead, PLENTY};

const AS: &str = "https://as.example";
const OWN: &str = "https://gate.example";
const COOKIE_NAME: &str = "__Secure-tollgate-web";
const REDIRECT: &str = "https://gate.example/callback";

/// Different bytes at each call; nobody guesses here.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Randomness for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        bytes.iter_mut().zip(count.iter().rev().cycle()).for_each(|(byte, value)| *byte = *value);
    }
}

struct Scene {
    gate: Arc<Gate>,
    live: Arc<Live>,
    server: Arc<FakeServer>,
    clock: Arc<TestClock>,
    store: Arc<FakeStore>,
    /// What replicas share of it they know at once.
    log: Arc<MemoryLog>,
}

fn client() -> Client {
    Client {
        name: ClientName::new("web"),
        client_id: "web-app".into(),
        issuer: IssuerName::new("demo"),
        credential: ClientCredential::Secret("s3cret".into()),
        origins: vec![Origin::parse(OWN).unwrap()],
        scope: Some("openid offline_access api:read".into()),
        resource: Some("https://api.example".into()),
        redirect_uri: REDIRECT.into(),
        login: None,
        session: None,
        grants: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        cookie: CookieSettings {
            name: COOKIE_NAME.into(),
            path: "/oauth/token".into(),
            same_site: SameSite::Strict,
        },
        idle_timeout: Duration::from_secs(3600),
        absolute_timeout: Duration::from_secs(24 * 3600),
        accept_any_access_token: true,
    }
}

fn issuer(timeout: Duration) -> Issuer {
    Issuer {
        name: IssuerName::new("demo"),
        rules: TokenRules {
            issuer: IssuerName::new("demo"),
            iss: AS.into(),
            access_token_iss: Vec::new(),
            audiences: vec![AUDIENCE.into()],
            clients_without_audience: Vec::new(),
            algorithms: vec![Algorithm::Es256],
            token_type: None,
            clock_skew: Duration::from_secs(30),
            iat_behind: Duration::ZERO,
            max_token_lifetime: Duration::from_secs(24 * 3600),
            claims: ClaimNames::default(),
            client_ids: vec!["web-app".into()],
        },
        keys: KeySource::Discovery(None),
        timeout,
        ca: None,
        connection: IssuerConnection::default(),
        keys_refresh: Duration::from_secs(600),
        introspection: None,
        signs_in: false,
    }
}

/// It is asked about opaque tokens.
fn introspecting_issuer() -> Issuer {
    let asked = Introspection {
        client_id: "gateway".into(),
        credential: ClientCredential::Secret("s3cret".into()),
        endpoint: Some(format!("{AS}/introspect").parse().unwrap()),
        cache: Duration::from_secs(30),
    };
    Issuer { introspection: Some(asked), ..issuer(Duration::from_secs(5)) }
}

impl Scene {
    fn new() -> Self {
        Self::with(client(), Duration::from_secs(5))
    }

    fn with(client: Client, timeout: Duration) -> Self {
        Self::of(client, issuer(timeout))
    }

    /// Access tokens must be such that the gateway takes them.
    fn strict() -> Self {
        Self::with(Client { accept_any_access_token: false, ..client() }, Duration::from_secs(5))
    }

    fn of(client: Client, issuer: Issuer) -> Self {
        Self::with_clients(vec![client], vec![], issuer)
    }

    fn with_native(client: NativeClient) -> Self {
        Self::with_clients(vec![], vec![client], issuer(Duration::from_secs(5)))
    }

    fn with_clients(clients: Vec<Client>, native: Vec<NativeClient>, issuer: Issuer) -> Self {
        Self::with_issuers(clients, native, vec![issuer])
    }

    fn with_issuers(clients: Vec<Client>, native: Vec<NativeClient>, issuers: Vec<Issuer>) -> Self {
        let issuers: Vec<_> = issuers.into_iter().map(Arc::new).collect();
        let settings = Settings {
            issuers: issuers.clone(),
            clients: clients.into_iter().map(Arc::new).collect(),
            native_clients: native.into_iter().map(Arc::new).collect(),
            ..testing::settings(OWN)
        };
        let live = Arc::new(Live {
            settings: Arc::new(settings),
            routes: RouteTable::build(&[]).unwrap(),
            issuers: Issuers::new(&issuers, None),
            transmitters: Transmitters::default(),
            cookie_keys: Arc::new(KeyRing::new(vec![Secret::new(vec![5; 32])]).unwrap()),
            assertions: None,
        });
        let server = Arc::new(FakeServer::new());
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000)));
        let store = Arc::new(FakeStore::new(clock.clone()));
        let log = Arc::new(MemoryLog::default());
        let random = Arc::new(Counted::default());
        Self::at(live, server, clock, random, store, log)
    }

    fn at(
        live: Arc<Live>,
        server: Arc<FakeServer>,
        clock: Arc<TestClock>,
        random: Arc<dyn Randomness>,
        store: Arc<FakeStore>,
        log: Arc<MemoryLog>,
    ) -> Self {
        let ports = Ports {
            clock: clock.clone(),
            random,
            http: server.clone(),
            store: store.clone(),
            revocation_log: log.clone(),
        };
        let (tables, metrics) = (log.tables(), Metrics::new().unwrap());
        let gate = Gate::new(live.clone(), tables, metrics, Operators::default(), ports);
        let gate = Arc::new(gate);
        Self { gate, live, server, clock, store, log }
    }

    /// Another replica of this gateway, or the same after a restart: they share the store and the AS.
    fn replica(&self) -> Self {
        self.replica_with(self.store.clone())
    }

    /// The same gateway after it lost what it had stored.
    fn without_memory(&self) -> Self {
        self.replica_with(Arc::new(FakeStore::new(self.clock.clone())))
    }

    fn replica_with(&self, store: Arc<FakeStore>) -> Self {
        let (live, server, clock) = (self.live.clone(), self.server.clone(), self.clock.clone());
        Self::at(live, server, clock, Arc::clone(&self.gate.random), store, self.log.clone())
    }

    fn pass(&self, seconds: i64) {
        self.clock.pass(seconds * 1000);
    }

    fn next(&self, instead: Instead) {
        self.server.next.lock().unwrap().push_back(instead);
    }

    fn asked(&self) -> usize {
        self.server.token_requests.lock().unwrap().len()
    }

    async fn send(&self, headers: HeaderMap, body: &str) -> Result<OAuthAnswer, OAuthRefusal> {
        let head = head(&Method::POST, &headers);
        token(&self.gate, &self.live, &head, body.as_bytes()).await
    }

    async fn post(&self, cookie: Option<&str>, body: &str) -> Result<OAuthAnswer, OAuthRefusal> {
        self.send(headers(cookie), body).await
    }

    async fn refresh(&self, cookie: &str) -> Result<OAuthAnswer, OAuthRefusal> {
        self.post(Some(cookie), "grant_type=refresh_token&client_id=web-app").await
    }

    async fn delete(&self, headers: &HeaderMap, query: &str) -> Result<OAuthAnswer, OAuthRefusal> {
        sign_out(&self.gate, &self.live, &head(&Method::DELETE, headers), Some(query)).await
    }

    async fn sign_in(&self) -> OAuthAnswer {
        self.post(None, &code_exchange()).await.unwrap()
    }

    async fn signed_in_cookie(&self) -> String {
        cookie_of(&self.sign_in().await)
    }

    /// Waits until so many requests have come to the token endpoint.
    async fn arrived(&self, count: usize) {
        testing::arrived(&self.server.arrived, count).await;
    }

    /// Waits until the gateway has done what it does behind its answers: the AS was told to revoke these
    /// tokens then, and no others.
    async fn revoked(&self, expected: &[&str]) {
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0, "errands are left");
        let mut found = self.server.revoked.lock().unwrap().clone();
        found.sort();
        assert_eq!(found, expected);
    }

    fn counted(&self, series: &str, label: &str, count: usize) {
        let text = String::from_utf8(self.gate.metrics.render().unwrap()).unwrap();
        let line = format!("tollgate_{series}{{client=\"web\",{label}}} {count}");
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
}

fn head<'a>(method: &'a Method, headers: &'a HeaderMap) -> RequestHead<'a> {
    head_at("gate.example", method, headers)
}

fn head_at<'a>(host: &'a str, method: &'a Method, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead {
        method,
        target: b"/oauth/token",
        host: Host::read(host),
        headers,
        upgrades: false,
        client_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn headers(cookie: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ORIGIN, HeaderValue::from_static(OWN));
    if let Some(cookie) = cookie {
        let text = format!("a=1; {COOKIE_NAME}={cookie}");
        headers.insert(COOKIE, HeaderValue::try_from(text).unwrap());
    }
    headers
}

fn code_exchange() -> String {
    let verifier = "v".repeat(43);
    format!(
        "grant_type=authorization_code&client_id=web-app&code=code-1&code_verifier={verifier}&redirect_uri={REDIRECT}"
    )
}

/// An access token that this gateway verifies, with these claims changed.
fn access_token(scene: &Scene, changes: Value) -> Instead {
    let token = keys().p256.sign(&with(claims_at(scene.clock.now()), changes));
    Instead::With(json!({ "access_token": token, "scope": null }))
}

fn body(answer: &OAuthAnswer) -> Value {
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(!text.contains("refresh-token") && !text.contains("secret_of_the_as"), "{text}");
    serde_json::from_str(text).unwrap()
}

fn cookie_of(answer: &OAuthAnswer) -> String {
    let text = answer.set_cookie.as_ref().expect("a cookie").to_str().unwrap();
    text.strip_prefix(&format!("{COOKIE_NAME}=")).unwrap().split(';').next().unwrap().to_owned()
}

fn clears(cookie: Option<&HeaderValue>) -> bool {
    cookie.is_some_and(|value| value.to_str().unwrap().contains("=; Path=/oauth/token; Max-Age=0; Secure"))
}

fn id_token(claims: &Value) -> String {
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("e30.{payload}.c2ln")
}

fn id_token_of(sub: &str) -> String {
    id_token(&json!({ "iss": AS, "aud": "web-app", "exp": 1_800_000_000, "sub": sub, "sid": "sid-1" }))
}
