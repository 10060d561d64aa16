//! Opaque tokens from the request to the permit, against issuers that answer as they are told and count what they are
//! asked. Time is the tests' own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair as SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::*;
use crate::core::request::RequestHead;
use crate::core::revocation::wanted::Wanted;
use crate::core::revocation::{Change, Revocation, Rule, Target};
use crate::core::route::permit::Permit;
use crate::core::route::policy::Access;
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::core::time::Timestamp;
use crate::core::token::testing::{AUDIENCE, NOW, claims_at, jwks, keys, with};
use crate::flows::admit::{admit, read_target};
use crate::flows::authenticate::authenticate;
use crate::flows::keep_keys_fresh::refresh_now;
use crate::flows::revoke::revoke;
use crate::flows::testing::{MemoryLog, MemoryStore};
use crate::flows::{Operators, Ports};

const DEMO: &str = r#"  demo: { url: "https://as.example", audience: "https://api.example.com", timeout: 500ms, introspection: { client_id: gateway, secret: s3cret } }
"#;
const ROUTES: &str = r#"  - { path: /api/*, to: "http://127.0.0.1:1", require: { scope: "api:read" } }
  - { path: /page/*, to: "http://127.0.0.1:1", public: true }
"#;

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

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
        _: &IssuerName,
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
        let clock = Arc::new(TestClock(AtomicI64::new(NOW.as_millis())));
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
            store: Arc::new(MemoryStore::new(clock.clone())),
            revocations: log.tables(),
            revocation_log: log.clone(),
        };
        let live = Arc::new(live(issuers, routes, None));
        let gate = Gate::new(live, Metrics::new().unwrap(), Operators::default(), ports);
        Self { gate: Arc::new(gate), issuing, clock }
    }

    fn later(&self, millis: i64) {
        self.clock.0.fetch_add(millis, Ordering::SeqCst);
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
        self.issuing.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
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
            host: "localhost:8080",
            headers: &headers,
            upgrades: false,
            client_address: address,
        };
        let target = read_target(&live, &head).unwrap();
        let admitted = admit(&self.gate, &live, &head, target, self.clock.now()).await;
        if let Some(reported) = admitted.as_ref().ok().and_then(|admitted| admitted.permit.reported()) {
            brake::note_reported(&self.gate, &live, address, &reported.denial);
        }
        admitted.map(|admitted| admitted.permit).map_err(|refusal| {
            brake::note(&self.gate, &live, address, &refusal.denial);
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
        let noted = Revocation {
            target: Target::token(TokenId::of("https://as.example", None, token)),
            rule: Rule::Outright,
            until: None,
            made_at: self.clock.now(),
            made_by: None,
            reason: None,
        };
        self.gate.revocation_log.append(&[Change::Add(noted)]).await.unwrap();
    }

    #[track_caller]
    fn metric(&self, line: &str) {
        let text = String::from_utf8(self.gate.metrics.render().unwrap()).unwrap();
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
}

const INACTIVE: Denial = Denial::TokenInactive { was_good: false };

#[tokio::test]
async fn a_good_token_passes_and_the_upstream_learns_who_calls() {
    let scene = Scene::new();
    scene.says("opaque", json!({"scope": "api:read"}));
    let permit = scene.get("/api/x", "opaque").await.unwrap();
    let headers: HashMap<_, _> =
        permit.identity().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers["x-auth-subject"], "alice");
    assert_eq!(headers["x-auth-client"], "web-app");
    assert_eq!(headers["x-auth-issuer"], "https://as.example", "although the answer did not name it");
    scene.says("weak", json!({"scope": "openid"}));
    assert!(matches!(scene.call("weak").await, Err(Denial::InsufficientScope { .. })));
    scene.call("opaque").await.unwrap();
    assert_eq!(scene.asked(), 2);
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="active"} 2"#);
    scene.metric(r#"tollgate_tokens_verified_total{issuer="demo",path="introspected"} 2"#);
    scene.metric(r#"tollgate_tokens_verified_total{issuer="demo",path="cached"} 1"#);
    scene.metric(r#"tollgate_auth_duration_seconds_count{path="introspected"} 2"#);
    scene.metric(r#"tollgate_as_request_duration_seconds_count{endpoint="introspection",issuer="demo"} 2"#);
}

#[tokio::test]
async fn the_question_is_that_of_rfc_7662_and_proves_who_asks() {
    let scene = Scene::new();
    scene.call("a+b/c==").await.unwrap_err();
    let (_, headers, form) = scene.issuing.asked.lock().unwrap()[0].clone();
    let expected = [("token", "a+b/c=="), ("token_type_hint", "access_token")];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(headers[ACCEPT], "application/json");
    assert_eq!(headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
    assert_eq!(headers[AUTHORIZATION], "Basic Z2F0ZXdheTpzM2NyZXQ=");

    let scene = Scene::new();
    *scene.issuing.metadata.lock().unwrap() =
        json!({"introspection_endpoint_auth_methods_supported": ["client_secret_post"]});
    scene.call("opaque").await.unwrap_err();
    let (_, headers, form) = scene.issuing.asked.lock().unwrap()[0].clone();
    assert!(!headers.contains_key(AUTHORIZATION));
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("gateway", "s3cret"));

    let document = SigningKey::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    let pem = format!(
        r"-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
        STANDARD.encode(document.as_ref())
    );
    let scene = Scene::with(&DEMO.replace("secret: s3cret", &format!("private_key: \"{pem}\"")), ROUTES);
    scene.call("opaque").await.unwrap_err();
    let (_, headers, form) = scene.issuing.asked.lock().unwrap()[0].clone();
    assert!(!headers.contains_key(AUTHORIZATION));
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!(form["client_assertion"].split('.').count(), 3);

    let given = DEMO.replace("s3cret", "s3cret, endpoint: \"https://other.example/introspect\"");
    let scene = Scene::with(&given, ROUTES);
    scene.call("opaque").await.unwrap_err();
    assert_eq!(scene.issuing.asked.lock().unwrap()[0].0, "other.example");
}

#[tokio::test]
async fn what_looks_like_a_jwt_is_never_shown_to_an_issuer() {
    let scene = Scene::new();
    let good = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://as.example"})));
    scene.call(&good).await.unwrap();
    let (message, _) = good.rsplit_once('.').unwrap();
    let stranger =
        keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://stranger.example"})));
    for bad in [format!("{message}.AAAA"), format!("{message}."), message.to_owned(), stranger] {
        assert_eq!(scene.call(&bad).await.unwrap_err().facts().status, 401, "{bad}");
    }
    let large = "x".repeat(8193);
    assert_eq!(scene.call(&large).await, Err(Denial::TokenTooLarge));
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_not_to_be_asked_has_no_opaque_tokens() {
    let scene = Scene::with(
        "  demo: { url: \"https://as.example\", audience: \"https://api.example.com\" }\n",
        ROUTES,
    );
    scene.says("opaque", json!({}));
    for target in ["/api/x", "/page/x"] {
        assert!(matches!(scene.get(target, "opaque").await, Err(Denial::TokenMalformed(_))));
    }
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn fifty_at_once_cost_one_call_which_outlives_the_request_that_began_it() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.call("so-that-its-endpoints-are-known").await.unwrap_err();
    scene.hold();
    {
        let mut request = Box::pin(scene.call("opaque"));
        assert!(request.as_mut().now_or_never().is_none());
        scene.arrived(2).await;
    } // the client went away
    let all = join_all((0..50).map(|_| scene.call("opaque")));
    let release = async {
        tokio::task::yield_now().await;
        scene.release();
    };
    let (verdicts, ()) = tokio::join!(all, release);
    assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
    assert_eq!(scene.asked(), 2);
}

#[tokio::test]
async fn an_answer_is_remembered_for_as_long_as_configured_and_not_beyond_the_token() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.says("short", json!({"exp": NOW.as_secs() + 10}));
    scene.call("opaque").await.unwrap();
    scene.call("short").await.unwrap();
    scene.ends("opaque");
    scene.ends("short");
    scene.later(9_999);
    scene.call("opaque").await.unwrap();
    scene.call("short").await.unwrap();
    scene.later(1);
    assert_eq!(scene.call("short").await, Err(Denial::TokenInactive { was_good: true }));
    scene.later(19_999);
    scene.call("opaque").await.unwrap();
    scene.later(1);
    assert_eq!(scene.call("opaque").await, Err(Denial::TokenInactive { was_good: true }));
    assert_eq!(scene.asked(), 4);
}

#[tokio::test]
async fn without_a_memory_the_issuer_is_asked_about_every_request() {
    let scene = Scene::with(&DEMO.replace("s3cret", "s3cret, cache: 0s"), ROUTES);
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    scene.ends("opaque");
    assert_eq!(scene.call("opaque").await, Err(Denial::TokenInactive { was_good: true }));
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
}

#[tokio::test]
async fn what_is_not_good_is_remembered_for_five_seconds() {
    let scene = Scene::new();
    scene.says("other-api", json!({"aud": "https://other.example"}));
    for _ in 0..3 {
        assert_eq!(scene.call("made-up").await, Err(INACTIVE));
        assert_eq!(scene.call("other-api").await, Err(Denial::WrongAudience));
    }
    assert_eq!(scene.asked(), 2);
    scene.says("made-up", json!({}));
    scene.later(5_000);
    scene.call("made-up").await.unwrap();
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="inactive"} 1"#);
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="refused"} 1"#);
}

#[tokio::test]
async fn whatever_is_no_answer_is_an_outage_and_says_nothing_of_the_token() {
    let good = with(claims_at(NOW), json!({"active": true, "token_type": "Bearer", "iss": null})).to_string();
    let raw = |status, media_type, body: &str| Says::Raw(status, media_type, body.to_owned());
    for bad in [
        Says::Fault(HttpFault::Connect),
        Says::Fault(HttpFault::Deadline),
        Says::Fault(HttpFault::Broken),
        Says::Fault(HttpFault::TooLarge),
        Says::Nothing,
        raw(200, "application/json", r#"{"active":"true"}"#),
        raw(200, "application/json", r#"{"active":null}"#),
        raw(200, "application/json", "{}"),
        raw(200, "application/json", r#"{"active":false,"active":true}"#),
        raw(200, "application/json", r#"{"active":tr"#),
        raw(200, "application/json", ""),
        raw(200, "text/html", &good),
        raw(200, "application/token-introspection+jwt", "eyJ.e30.AA"),
        raw(201, "application/json", &good),
        raw(204, "application/json", ""),
        raw(302, "application/json", &good),
        raw(400, "application/json", r#"{"error":"invalid_request"}"#),
        raw(401, "application/json", r#"{"error":"invalid_client"}"#),
        raw(403, "application/json", r#"{"active":false}"#),
        raw(404, "text/html", "<html>"),
        raw(429, "application/json", r#"{"active":false}"#),
        raw(500, "application/json", r#"{"active":false}"#),
        raw(503, "text/plain", ""),
    ] {
        let scene = Scene::new();
        scene.says_badly("opaque", bad.clone());
        let denial = scene.call("opaque").await.unwrap_err();
        assert_eq!(denial, Denial::IntrospectionUnavailable, "{bad:?}");
        assert_eq!(denial.facts().status, 503);
        assert!(denial.retry_after().is_some());
        let of_the_server = match &bad {
            Says::Fault(fault) => *fault == HttpFault::Connect,
            Says::Raw(status, ..) => *status == 401,
            _ => false,
        };
        let issuer = scene.gate.live.load().issuers.iter().next().unwrap().clone();
        let trouble = issuer.introspections().unwrap().trouble();
        assert_eq!(
            trouble.is_some(),
            of_the_server,
            "{bad:?}: no token makes it look as if the issuer were away"
        );
        // Nobody asks again for a second; then it is as good as ever.
        scene.says("opaque", json!({}));
        scene.later(999);
        assert_eq!(scene.call("opaque").await, Err(Denial::IntrospectionUnavailable), "{bad:?}");
        assert_eq!(scene.asked(), 1);
        scene.later(1);
        scene.call("opaque").await.unwrap_or_else(|denial| panic!("{bad:?}: {denial:?}"));
        scene.metric(r#"tollgate_introspections_total{issuer="demo",result="failed"} 1"#);
    }
}

#[tokio::test]
async fn while_the_issuer_is_away_what_is_remembered_goes_on() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    scene.says_badly("opaque", Says::Fault(HttpFault::Connect));
    scene.says_badly("new", Says::Fault(HttpFault::Connect));
    assert_eq!(scene.call("new").await, Err(Denial::IntrospectionUnavailable));
    scene.call("opaque").await.unwrap();
    scene.later(30_000);
    assert_eq!(scene.call("opaque").await, Err(Denial::IntrospectionUnavailable), "and no longer");
    let issuer = scene.gate.live.load().issuers.iter().next().unwrap().clone();
    assert_eq!(issuer.introspections().unwrap().trouble().as_deref(), Some("no connection could be made"));
}

#[tokio::test]
async fn an_issuer_without_an_introspection_endpoint_is_an_outage_too() {
    let scene = Scene::new();
    *scene.issuing.metadata.lock().unwrap() = json!({"introspection_endpoint": null});
    assert_eq!(scene.call("opaque").await, Err(Denial::IntrospectionUnavailable));
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn an_issuer_of_opaque_tokens_alone_needs_no_keys() {
    let scene = Scene::new();
    *scene.issuing.metadata.lock().unwrap() = json!({"jwks_uri": null});
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    let live = scene.gate.live.load_full();
    let issuer = live.issuers.iter().next().unwrap();
    refresh_now(&scene.gate, issuer).await.unwrap();
    assert!(issuer.keys_ready(), "so the gateway becomes ready");
    let jwt = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://as.example"})));
    assert_eq!(scene.call(&jwt).await, Err(Denial::UnknownKey));
}

#[tokio::test]
async fn what_is_revoked_here_is_refused_at_once_also_where_it_is_remembered() {
    for (wanted, changes) in [
        (json!({"kind": "jti", "value": "t-1"}), json!({})),
        (json!({"kind": "sub", "value": "alice"}), json!({})),
        (json!({"kind": "client", "value": "web-app", "block": true}), json!({})),
        (json!({"kind": "sid", "value": "s-1"}), json!({"sid": "s-1"})),
        (json!({"kind": "issuer", "value": "demo"}), json!({})),
    ] {
        let scene = Scene::new();
        scene.says("opaque", changes);
        scene.call("opaque").await.unwrap();
        scene.revoke(wanted.clone()).await;
        assert_eq!(scene.call("opaque").await, Err(Denial::Revoked), "{wanted}");
        assert_eq!(scene.asked(), 1);
    }
}

#[tokio::test]
async fn a_token_that_was_handed_out_while_its_issuer_was_away_is_revoked_by_its_text() {
    let scene = Scene::new();
    scene.says("opaque", json!({"jti": "another name"}));
    scene.call("opaque").await.unwrap();
    scene.revoke_text("opaque").await;
    assert_eq!(scene.call("opaque").await, Err(Denial::Revoked));
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_refused_in_every_spelling_and_no_other_with_it() {
    let random = "Lq8tNMkwQ2_qC9yv4xIsfWmZ-0eCz3XBPoTUd1KhJ7";
    for (taken, spellings, other) in [
        (
            format!("ory_at_{random}A.b5c0"),
            [format!("ory_at_{random}B.b5c0"), format!("{random}A.b5c0")],
            format!("ory_at_{random}A.c5c0"),
        ),
        (
            format!("v4.local.{random}A"),
            [format!("v4.local.{random}A="), format!("v4.local.{random}C")],
            format!("v4.local.x{random}"),
        ),
    ] {
        let scene = Scene::new();
        for token in spellings.iter().chain([&taken, &other]) {
            scene.says(token, json!({"jti": null}));
            scene.call(token).await.unwrap();
        }
        scene.revoke_text(&taken).await;
        for token in spellings.iter().chain([&taken]) {
            assert_eq!(scene.call(token).await, Err(Denial::Revoked), "{token}");
        }
        scene.call(&other).await.unwrap();
    }
}

#[tokio::test]
async fn made_up_tokens_neither_fill_the_issuer_nor_keep_known_ones_from_it() {
    let scene = Scene::with(DEMO, ROUTES);
    scene.says("known", json!({}));
    scene.call("known").await.unwrap();
    scene.later(30_000);
    scene.hold();
    let names: Vec<String> = (0..90).map(|n| format!("made-up-{n}")).collect();
    let flood = join_all(names.iter().map(|token| scene.call(token)));
    let known = async {
        scene.arrived(1 + 48).await;
        let known = scene.call("known");
        let release = async {
            scene.arrived(1 + 49).await;
            scene.release();
        };
        tokio::join!(known, release).0
    };
    let (verdicts, known) = tokio::join!(flood, known);
    assert_eq!(known, Ok(()));
    let of = |wanted: &Denial| verdicts.iter().filter(|verdict| verdict.as_ref() == Err(wanted)).count();
    assert_eq!((of(&INACTIVE), of(&Denial::IntrospectionUnavailable)), (48, 42));
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="overloaded"} 42"#);
}

#[tokio::test]
async fn an_address_that_shows_too_many_made_up_tokens_has_no_more_of_them_asked_about() {
    let scene = Scene::new();
    scene.says("known", json!({}));
    scene.says("new", json!({}));
    scene.call("known").await.unwrap();
    for n in 0..100 {
        assert_eq!(scene.call(&format!("made-up-{n}")).await, Err(INACTIVE));
    }
    let asked = scene.asked();
    for token in ["made-up-101", "new"] {
        assert!(matches!(scene.call(token).await, Err(Denial::TooManyDenials { .. })));
    }
    scene.call("known").await.unwrap();
    assert_eq!(scene.asked(), asked);
}

#[tokio::test]
async fn a_trial_is_no_way_around_the_brake_to_the_issuer_and_brakes_nothing_elsewhere() {
    let trial = r#"  - { path: /trial/*, to: "http://127.0.0.1:1", report_only: true, require: { scope: "api:read" } }"#;
    let scene = Scene::with(DEMO, &format!("{ROUTES}{trial}\n"));
    for token in ["known", "new"] {
        scene.says(token, json!({}));
    }
    scene.call("known").await.unwrap();
    for n in 0..100 {
        let permit = scene.get("/trial/x", &format!("made-up-{n}")).await.unwrap();
        assert_eq!(permit.reported().unwrap().denial, INACTIVE);
    }
    let asked = scene.asked();
    for token in ["made-up-101", "new"] {
        let permit = scene.get("/trial/x", token).await.unwrap();
        let denial = &permit.reported().unwrap().denial;
        assert!(matches!(denial, Denial::TooManyDenials { only_reported: true, .. }), "{denial:?}");
        assert!(permit.token().is_none());
    }
    assert_eq!(scene.asked(), asked);
    assert!(scene.get("/trial/x", "known").await.unwrap().token().is_some());
    scene.call("new").await.unwrap();
    assert_eq!(scene.asked(), asked + 1, "a trial keeps nobody from anything elsewhere");
    assert!(scene.get("/trial/x", "new").await.unwrap().token().is_some());
    scene.later(600);
    scene.says("later", json!({}));
    assert!(scene.get("/trial/x", "later").await.unwrap().token().is_some(), "and is over with time");
}

#[tokio::test]
async fn a_refresh_and_other_rules_forget_what_was_said() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    let before = scene.gate.live.load_full();
    refresh_now(&scene.gate, before.issuers.iter().next().unwrap()).await.unwrap();
    scene.ends("opaque");
    assert_eq!(scene.call("opaque").await, Err(INACTIVE), "a refresh forgets");

    scene.says("another", json!({}));
    scene.call("another").await.unwrap();
    scene.gate.live.store(Arc::new(live(DEMO, ROUTES, Some(&before))));
    scene.ends("another");
    scene.call("another").await.unwrap();
    let narrower = DEMO.replace(AUDIENCE, "https://narrower.example.com");
    scene.says("another", json!({}));
    scene.gate.live.store(Arc::new(live(&narrower, ROUTES, Some(&before))));
    assert_eq!(scene.call("another").await, Err(Denial::WrongAudience), "other rules forget");
}

#[tokio::test]
async fn among_several_issuers_only_the_one_of_the_route_is_shown_a_token() {
    let two = format!("{DEMO}{}", DEMO.replace("demo:", "other:").replace("as.example", "other.example"));
    let routes = r#"  - { path: /api/*, to: "http://127.0.0.1:1", issuers: other, require: { scope: "api:read" } }
  - { path: /page/*, to: "http://127.0.0.1:1", public: true, issuers: demo }
"#;
    let scene = Scene::with(&two, routes);
    scene.says("opaque", json!({}));
    let issuer_of = |permit: Permit| permit.token().unwrap().issuer().to_string();
    assert_eq!(issuer_of(scene.get("/api/x", "opaque").await.unwrap()), "other");
    assert_eq!(issuer_of(scene.get("/page/x", "opaque").await.unwrap()), "demo");
    let hosts: Vec<String> =
        scene.issuing.asked.lock().unwrap().iter().map(|(host, ..)| host.clone()).collect();
    assert_eq!(hosts, ["other.example", "as.example"]);
    // Where none is singled out nobody is asked.
    let live = scene.gate.live.load_full();
    let anywhere = Brought::ByRequest {
        to: &Access::Public,
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        only_reports: false,
    };
    let refused = authenticate(&scene.gate, &live, "new", anywhere, scene.clock.now()).await;
    assert!(matches!(refused, Err(Denial::TokenMalformed(_))));
    assert_eq!(scene.asked(), 2);
    // A JWT of the other issuer does not pass a public route either that names one.
    let jwt = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://other.example"})));
    assert_eq!(scene.get("/page/x", &jwt).await.unwrap_err(), Denial::IssuerNotAccepted);
}

#[tokio::test]
async fn what_an_upstream_is_told_follows_the_newest_answer() {
    use crate::core::assertion::{Assertions, Binding};
    use crate::core::signing::{self, write_pem};
    let scene = Scene::new();
    let der = SigningKey::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    let key = signing::SigningKey::from_pem(write_pem(der.as_ref()).as_bytes()).unwrap();
    let header = http::HeaderName::from_static("x-auth-assertion");
    let ttl = Duration::from_secs(120);
    let made = Assertions::new(header, ttl, Binding::Upstream, "https://gate.example".to_owned(), vec![key]);
    let with_assertions = Live { assertions: Some(Arc::new(made.unwrap())), ..live(DEMO, ROUTES, None) };
    scene.gate.live.store(Arc::new(with_assertions));
    let told = async || {
        let permit = scene.get("/api/x", "opaque").await.unwrap();
        let (_, scope) = permit.identity().iter().find(|(name, _)| name == "x-auth-scope").unwrap();
        (scope.to_str().unwrap().to_owned(), permit.assertion().unwrap().1.clone())
    };
    scene.says("opaque", json!({"scope": "api:read admin"}));
    let (scope, assertion) = told().await;
    assert_eq!(told().await, (scope.clone(), assertion.clone()), "made once");
    scene.later(30_000);
    scene.says("opaque", json!({"scope": "api:read"}));
    let (narrower, another) = told().await;
    assert!(scope.contains("admin") && !narrower.contains("admin"));
    let payload = another.to_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["scope"], "api:read");
}
