//! Opaque tokens from the request to the permit, against issuers that answer as they are told and count what
//! they are asked. Time is the tests' own.

mod asking;
mod outages;
mod refusing;
mod remembering;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair as SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::*;
use crate::config::settings::Issuer;
use crate::core::brake::Tally;
use crate::core::request::{Host, RequestHead};
use crate::core::revocation::wanted::Wanted;
use crate::core::revocation::{Change, Revocation, Rule, Target};
use crate::core::route::permit::Permit;
use crate::core::route::policy::Access;
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::core::token::id::TokenId;
use crate::core::token::testing::{AUDIENCE, NOW, claims_at, jwks, keys, with};
use crate::flows::admit::{admit, read_target};
use crate::flows::authenticate::authenticate;
use crate::flows::keep_keys_fresh::refresh_now;
use crate::flows::ports::HttpFault;
use crate::flows::revoke::revoke;
use crate::flows::testing::{self, FakeStore, MemoryLog, TestClock};
use crate::flows::{Operators, Ports};
use crate::state::transmitters::Transmitters;

const DEMO: &str = r#"  demo: { url: "https://as.example", audience: "https://api.example.com", timeout: 500ms, introspection: { client_id: gateway, secret: s3cret } }
"#;
const ROUTES: &str = r#"  - { path: /api/*, to: "http://127.0.0.1:1", require: { scope: "api:read" } }
  - { path: /page/*, to: "http://127.0.0.1:1", public: true }
"#;

/// Nobody guesses here.
#[derive(Debug)]
struct Constant;

impl Randomness for Constant {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// What an issuer answers about a token.
#[derive(Clone, Debug)]
enum Says {
    Json(Value),
    Raw(u16, &'static str, String),
    Fault(HttpFault),
    Nothing,
}

/// Host, headers and form.
type Question = (String, HeaderMap, HashMap<String, String>);

/// Issuers at `https://<name>.example`; each calls whatever it does not know inactive.
#[derive(Debug)]
struct Issuing {
    says: Mutex<HashMap<String, Says>>,
    asked: Mutex<Vec<Question>>,
    metadata: Mutex<Value>,
    /// A permit an answer.
    answers: Semaphore,
    arrived: watch::Sender<usize>,
}

const PLENTY: usize = 1 << 20;

impl Issuing {
    fn answer_about(&self, form: &HashMap<String, String>) -> Result<Response<Bytes>, HttpFault> {
        let says = self.says.lock().unwrap().get(&form["token"]).cloned();
        let made = |status: u16, media_type: &str, body: String| {
            let answer = Response::builder().status(status).header(CONTENT_TYPE, media_type);
            answer.header(LOCATION, "https://as.example/elsewhere").body(Bytes::from(body)).unwrap()
        };
        match says {
            None => Ok(made(200, "application/json", json!({"active": false}).to_string())),
            Some(Says::Json(body)) => Ok(made(200, "application/json;charset=UTF-8", body.to_string())),
            Some(Says::Raw(status, media_type, body)) => Ok(made(status, media_type, body)),
            Some(Says::Fault(fault)) => Err(fault),
            Some(Says::Nothing) => unreachable!("it is waited for"),
        }
    }
}

impl HttpClient for Issuing {
    fn send(
        &self,
        _: &Issuer,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>> {
        async move {
            let (parts, body) = request.into_parts();
            let host = parts.uri.host().unwrap().to_owned();
            match (parts.method, parts.uri.path()) {
                (Method::POST, "/introspect") => {
                    assert!(bounds.answer_bytes <= 64 * 1024 && bounds.deadline <= Duration::from_secs(5));
                    let form: HashMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
                    self.asked.lock().unwrap().push((host, parts.headers, form.clone()));
                    self.arrived.send_modify(|count| *count += 1);
                    self.answers.acquire().await.unwrap().forget();
                    if matches!(self.says.lock().unwrap().get(&form["token"]), Some(Says::Nothing)) {
                        std::future::pending::<()>().await;
                    }
                    self.answer_about(&form)
                }
                (Method::GET, path) if path.contains("/.well-known/") => {
                    let issuer = format!("https://{host}");
                    let basis = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks"),
                        "introspection_endpoint": format!("{issuer}/introspect")});
                    Ok(Response::new(with(basis, self.metadata.lock().unwrap().clone()).to_string().into()))
                }
                _ => Ok(Response::new(jwks(&[keys().p256.jwk()]).into())),
            }
        }
        .boxed()
    }
}

struct Scene {
    gate: Arc<Gate>,
    issuing: Arc<Issuing>,
    clock: Arc<TestClock>,
}

fn live(issuers: &str, routes: &str, before: Option<&Live>) -> Live {
    let text = format!(
        "public_url: http://localhost:8080\nlisten: 127.0.0.1:0\nlimits: {{ denials_per_address: 100/m }}\nissuers:\n{issuers}routes:\n{routes}"
    );
    let none = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = crate::config::parse(&text, Path::new("/"), &|_| None, &none);
    let settings = Arc::new(loaded.unwrap_or_else(|errors| panic!("{errors}")).settings);
    Live {
        routes: RouteTable::build(&settings.routes).unwrap(),
        issuers: Issuers::new(&settings.issuers, before.map(|live| &live.issuers)),
        transmitters: Transmitters::default(),
        cookie_keys: Arc::new(KeyRing::new(vec![Secret::new(vec![7; 32])]).unwrap()),
        settings,
        assertions: None,
    }
}

impl Scene {
    fn new() -> Self {
        Self::with(DEMO, ROUTES)
    }

    fn with(issuers: &str, routes: &str) -> Self {
        let clock = Arc::new(TestClock::at(NOW));
        let issuing = Arc::new(Issuing {
            says: Mutex::default(),
            asked: Mutex::default(),
            metadata: Mutex::new(json!({})),
            answers: Semaphore::new(PLENTY),
            arrived: watch::Sender::new(0),
        });
        let log = Arc::new(MemoryLog::default());
        let ports = Ports {
            clock: clock.clone(),
            random: Arc::new(Constant),
            http: issuing.clone(),
            store: Arc::new(FakeStore::new(clock.clone())),
            revocation_log: log.clone(),
        };
        let live = Arc::new(live(issuers, routes, None));
        let (tables, metrics) = (log.tables(), Metrics::new().unwrap());
        let gate = Gate::new(live, tables, metrics, Operators::default(), ports);
        Self { gate: Arc::new(gate), issuing, clock }
    }

    fn later(&self, millis: i64) {
        self.clock.pass(millis);
    }

    /// What a good token's issuer says of it, with changes.
    fn says(&self, token: &str, changes: Value) {
        let good =
            with(claims_at(self.clock.now()), json!({"active": true, "token_type": "Bearer", "iss": null}));
        self.issuing.says.lock().unwrap().insert(token.to_owned(), Says::Json(with(good, changes)));
    }

    fn says_badly(&self, token: &str, says: Says) {
        self.issuing.says.lock().unwrap().insert(token.to_owned(), says);
    }

    fn ends(&self, token: &str) {
        self.issuing.says.lock().unwrap().remove(token);
    }

    fn asked(&self) -> usize {
        self.issuing.asked.lock().unwrap().len()
    }

    /// Until so many questions have arrived.
    async fn arrived(&self, count: usize) {
        testing::arrived(&self.issuing.arrived, count).await;
    }

    /// Answers wait from now on.
    fn hold(&self) {
        self.issuing.answers.forget_permits(PLENTY);
    }

    fn release(&self) {
        self.issuing.answers.add_permits(PLENTY);
    }

    async fn get(&self, target: &str, token: &str) -> Result<Permit, Denial> {
        let authorization = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization)]);
        let live = self.gate.live.load_full();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let head = RequestHead {
            method: &Method::GET,
            target: target.as_bytes(),
            host: Host::read("localhost:8080"),
            headers: &headers,
            upgrades: false,
            client_address: address,
        };
        let target = read_target(&live, &head).unwrap();
        let admitted = admit(&self.gate, &live, &head, target, self.clock.now()).await;
        if let Some(reported) = admitted.as_ref().ok().and_then(|admitted| admitted.permit.reported()) {
            brake::note(&self.gate, &live, address, &reported.denial, Tally::Trial);
        }
        admitted.map(|admitted| admitted.permit).map_err(|refusal| {
            brake::note(&self.gate, &live, address, &refusal.denial, Tally::Everybody);
            refusal.denial
        })
    }

    async fn call(&self, token: &str) -> Result<(), Denial> {
        self.get("/api/x", token).await.map(drop)
    }

    async fn revoke(&self, wanted: Value) {
        let wanted: Wanted = serde_json::from_value(wanted).unwrap();
        revoke(&self.gate, vec![wanted], None).await.unwrap();
    }

    /// As a token without an id is taken back that was handed out.
    async fn revoke_text(&self, token: &str) {
        let target = Target::token(TokenId::of("https://as.example", None, token));
        let noted = Revocation::new(target, Rule::Outright, self.clock.now());
        self.gate.revocation_log.append(&[Change::Add(noted)]).await.unwrap();
    }

    #[track_caller]
    fn metric(&self, line: &str) {
        let text = String::from_utf8(self.gate.metrics.render().unwrap()).unwrap();
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
}

const INACTIVE: Denial = Denial::TokenInactive { was_good: false };
