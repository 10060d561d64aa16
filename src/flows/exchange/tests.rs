//! The whole of `/oauth/token` against an authorization server that rotates, counts, and can be
//! told to fail in every way that counts.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use http::header::{CONTENT_TYPE, COOKIE, HeaderName, ORIGIN};
use http::{HeaderMap, Method, Request, Response};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::config::settings::{
    AccessTokenForwarding, ClientCredential, CookieSettings, Identity, Issuer, KeySource, Limits, Log,
    LogFormat, SameSite, Sessions, Settings, SubjectInLog,
};
use crate::core::ids::{ClientName, IssuerName};
use crate::core::request::Origin;
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::core::time::Timestamp;
use crate::core::token::testing::{AUDIENCE, claims_at, keys, with};
use crate::core::token::{Algorithm, ClaimNames, TokenRules};
use crate::flows::logout::sign_out;
use crate::flows::ports::{Bounds, Clock, HttpClient, HttpFault, Randomness};
use crate::state::errands::Errands;
use crate::state::exchanges::{CODE_EXCHANGES, Exchanges};
use crate::state::issuer_keys::Issuers;
use crate::state::metrics::Metrics;

const AS: &str = "https://as.example";
const OWN: &str = "https://gate.example";
const COOKIE_NAME: &str = "__Secure-tollgate-web";
const REDIRECT: &str = "https://gate.example/callback";

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Different bytes at each call; nobody guesses here.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Randomness for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        bytes.iter_mut().zip(count.iter().rev().cycle()).for_each(|(byte, value)| *byte = *value);
    }
}

/// What the token endpoint does next, instead of its work.
#[derive(Clone, Debug)]
enum Instead {
    Fault(HttpFault),
    Answer(u16, &'static str, String),
    /// Its work, with these members put into the answer (`null` takes one out).
    With(Value),
}

/// An AS that rotates refresh tokens and ends a session whose replaced token comes back.
#[derive(Debug)]
struct FakeServer {
    current: Mutex<String>,
    made: AtomicUsize,
    token_requests: Mutex<Vec<(HeaderMap, String)>>,
    revoked: Mutex<Vec<String>>,
    next: Mutex<VecDeque<Instead>>,
    jwks: Mutex<Value>,
    /// A permit an answer.
    answers: Semaphore,
}

const PLENTY: usize = 1 << 20;

impl FakeServer {
    fn new() -> Self {
        Self {
            current: Mutex::new("none".into()),
            made: AtomicUsize::new(0),
            token_requests: Mutex::default(),
            revoked: Mutex::default(),
            next: Mutex::default(),
            jwks: Mutex::new(json!({ "keys": [keys().p256.jwk()] })),
            answers: Semaphore::new(PLENTY),
        }
    }

    fn token_endpoint(&self, headers: &HeaderMap, body: &str) -> Result<Response<Bytes>, HttpFault> {
        self.token_requests.lock().unwrap().push((headers.clone(), body.to_owned()));
        let members = match self.next.lock().unwrap().pop_front() {
            Some(Instead::Fault(fault)) => return Err(fault),
            Some(Instead::Answer(status, content_type, body)) => {
                return Ok(answer(status, content_type, body));
            }
            Some(Instead::With(members)) => members,
            None => json!({}),
        };
        let asked: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let field =
            |name: &str| asked.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut current = self.current.lock().unwrap();
        let good = match field("grant_type") {
            Some("authorization_code") => field("code").is_some_and(|code| code.starts_with("code")),
            Some("refresh_token") => field("refresh_token") == Some(&current),
            _ => false,
        };
        if !good {
            "ended".clone_into(&mut current);
            return Ok(answer(400, "application/json", json!({ "error": "invalid_grant" }).to_string()));
        }
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        *current = format!("refresh-token-{number}");
        let mut body = json!({
            "access_token": format!("access-token-{number}"), "token_type": "Bearer", "expires_in": 300,
            "scope": "openid offline_access api:read", "refresh_token": *current, "secret_of_the_as": "x",
        });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        Ok(answer(200, "application/json", body.to_string()))
    }
}

fn answer(status: u16, content_type: &str, body: String) -> Response<Bytes> {
    Response::builder().status(status).header(CONTENT_TYPE, content_type).body(body.into()).unwrap()
}

impl HttpClient for FakeServer {
    fn send(
        &self,
        _issuer: &IssuerName,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>> {
        let (parts, body) = request.into_parts();
        let body = String::from_utf8(body.to_vec()).unwrap();
        async move {
            match (parts.method, parts.uri.path()) {
                (Method::POST, "/token") => {
                    assert!(bounds.answer_bytes <= 256 * 1024 && bounds.deadline <= Duration::from_secs(60));
                    self.answers.acquire().await.unwrap().forget();
                    self.token_endpoint(&parts.headers, &body)
                }
                (Method::POST, "/revoke") => {
                    let token = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "token").unwrap().1;
                    self.revoked.lock().unwrap().push(token.into_owned());
                    Ok(answer(200, "application/json", String::new()))
                }
                (Method::GET, path) if path.contains("/.well-known/") => Ok(answer(
                    200,
                    "application/json",
                    json!({
                        "issuer": AS, "jwks_uri": format!("{AS}/jwks"), "token_endpoint": format!("{AS}/token"),
                        "revocation_endpoint": format!("{AS}/revoke"),
                        "authorization_endpoint": format!("{AS}/auth"), "response_types_supported": ["code"],
                    })
                    .to_string(),
                )),
                _ => Ok(answer(200, "application/json", self.jwks.lock().unwrap().to_string())),
            }
        }
        .boxed()
    }
}

struct Scene {
    gate: Arc<Gate>,
    live: Arc<Live>,
    server: Arc<FakeServer>,
    clock: Arc<TestClock>,
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
            audiences: vec![AUDIENCE.into()],
            algorithms: vec![Algorithm::Es256],
            token_type: None,
            clock_skew: Duration::from_secs(30),
            max_token_lifetime: Duration::from_secs(24 * 3600),
            claims: ClaimNames::default(),
            client_ids: vec!["web-app".into()],
        },
        keys: KeySource::Discovery(None),
        timeout,
        ca: None,
        keys_refresh: Duration::from_secs(600),
    }
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
        let issuers = vec![Arc::new(issuer)];
        let settings = Settings {
            public_url: Origin::parse(OWN).unwrap(),
            listen: "127.0.0.1:0".parse().unwrap(),
            admin: "127.0.0.1:0".parse().unwrap(),
            trusted_proxies: Vec::new(),
            issuers: issuers.clone(),
            clients: vec![Arc::new(client)],
            upstreams: Vec::new(),
            routes: Vec::new(),
            identity: Identity { headers: Vec::new(), access_token: AccessTokenForwarding::Strip },
            sessions: Sessions {
                idle_timeout: Duration::from_secs(3600),
                absolute_timeout: Duration::from_secs(24 * 3600),
                grace: Duration::from_secs(30),
                keys: Vec::new(),
            },
            store: "data".into(),
            limits: Limits { token: 8192, header: 32 * 1024, body: 1024 * 1024 },
            log: Log { format: LogFormat::Json, level: tracing::Level::INFO, subject: SubjectInLog::Plain },
        };
        let live = Arc::new(Live {
            settings: Arc::new(settings),
            routes: RouteTable::build(&[]).unwrap(),
            issuers: Issuers::new(&issuers, None),
            cookie_keys: KeyRing::new(vec![Secret::new(vec![5; 32])]).unwrap(),
        });
        let server = Arc::new(FakeServer::new());
        let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000_000)));
        let gate = Arc::new(Gate {
            live: ArcSwap::from(Arc::clone(&live)),
            exchanges: Exchanges::default(),
            errands: Errands::default(),
            metrics: Metrics::new().unwrap(),
            clock: clock.clone(),
            random: Arc::new(Counted::default()),
            http: server.clone(),
        });
        Self { gate, live, server, clock }
    }

    fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
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

    /// Waits until the AS was told to revoke these tokens, and no others.
    async fn revoked(&self, expected: &[&str]) {
        for _ in 0..1000 {
            if self.server.revoked.lock().unwrap().len() >= expected.len() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut found = self.server.revoked.lock().unwrap().clone();
        found.sort();
        assert_eq!(found, expected);
    }

    fn counted(&self, series: &str, label: &str, count: usize) {
        let text = String::from_utf8(self.gate.metrics.render().unwrap()).unwrap();
        let line = format!("tollgate_{series}{{client=\"web\",{label}}} {count}");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

fn head<'a>(method: &'a Method, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead {
        method,
        target: b"/oauth/token",
        host: "gate.example",
        headers,
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

#[tokio::test]
async fn a_code_becomes_a_session_in_a_cookie() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let answer = scene.sign_in().await;
    assert_eq!((answer.status, answer.outcome), (StatusCode::OK, "signed_in"));
    assert_eq!(answer.subject.as_deref(), Some("alice"));
    let body = body(&answer);
    assert_eq!((&body["access_token"], &body["token_type"]), (&"access-token-0".into(), &"Bearer".into()));
    assert_eq!((&body["expires_in"], &body["refresh_after"]), (&300.into(), &240.into()));
    assert_eq!(body["session_expires_in"], 3600);
    assert!(body["id_token"].is_string());
    let cookie = answer.set_cookie.unwrap();
    let cookie = cookie.to_str().unwrap();
    assert!(
        cookie.ends_with("; Path=/oauth/token; Max-Age=3600; Secure; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let (headers, form) = scene.server.token_requests.lock().unwrap()[0].clone();
    assert_eq!(headers["authorization"], "Basic d2ViLWFwcDpzM2NyZXQ=");
    assert_eq!(
        form,
        format!(
            "grant_type=authorization_code&code=code-1&code_verifier={}&redirect_uri=https%3A%2F%2Fgate.example%2Fcallback&resource=https%3A%2F%2Fapi.example",
            "v".repeat(43)
        )
    );
    scene.counted("sign_ins_total", "result=\"ok\"", 1);
}

#[tokio::test]
async fn a_cookie_becomes_a_new_access_token_and_the_next_cookie() {
    let scene = Scene::new();
    let first = scene.signed_in_cookie().await;
    scene.pass(100);
    let answer = scene.refresh(&first).await.unwrap();
    assert_eq!(answer.outcome, "rotated");
    let json = body(&answer);
    assert_eq!(json["access_token"], "access-token-1");
    assert!(json.get("id_token").is_none());
    assert_ne!(cookie_of(&answer), first);
    let (_, form) = scene.server.token_requests.lock().unwrap()[1].clone();
    assert_eq!(
        form,
        "grant_type=refresh_token&refresh_token=refresh-token-0&scope=openid+offline_access+api%3Aread&resource=https%3A%2F%2Fapi.example"
    );
    let next = scene.refresh(&cookie_of(&answer)).await.unwrap();
    assert_eq!(body(&next)["access_token"], "access-token-2");
    scene.counted("exchanges_total", "outcome=\"rotated\"", 2);
}

#[tokio::test]
async fn fifty_at_once_cost_the_server_one_call() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let answers = join_all((0..50).map(|_| scene.refresh(&cookie))).await;
    assert_eq!(scene.asked(), 2);
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    for answer in &answers {
        assert_eq!((answer.status, &answer.set_cookie), (StatusCode::OK, &answers[0].set_cookie));
        assert_eq!(body(answer)["access_token"], "access-token-1");
    }
    scene.counted("exchanges_total", "outcome=\"rotated\"", 1);
    scene.counted("exchanges_total", "outcome=\"coalesced\"", 49);
}

#[tokio::test]
async fn within_grace_the_same_answer_is_given_again_with_less_time_left() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let first = scene.refresh(&cookie).await.unwrap();
    scene.pass(20);
    let again = scene.refresh(&cookie).await.unwrap();
    assert_eq!((again.outcome, scene.asked()), ("answered_again", 2));
    assert_eq!(cookie_of(&again), cookie_of(&first));
    let (first, again) = (body(&first), body(&again));
    assert_eq!(again["access_token"], first["access_token"]);
    assert_eq!((&again["expires_in"], &again["refresh_after"]), (&280.into(), &220.into()));
    assert_eq!(again["session_expires_in"], 3580);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_made_up_for_after_grace() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.refresh(&cookie).await.unwrap();
    scene.pass(600);
    let recovered = scene.refresh(&cookie).await.unwrap();
    assert_eq!(
        (recovered.outcome, &body(&recovered)["access_token"]),
        ("recovered", &"access-token-2".into())
    );
    let (_, form) = scene.server.token_requests.lock().unwrap()[2].clone();
    assert!(form.contains("refresh_token=refresh-token-1"), "{form}");
}

#[tokio::test]
async fn a_spent_cookie_ends_the_session_everywhere() {
    let scene = Scene::new();
    let stolen = scene.signed_in_cookie().await;
    let second = cookie_of(&scene.refresh(&stolen).await.unwrap());
    let third = cookie_of(&scene.refresh(&second).await.unwrap());
    scene.pass(31);
    let refusal = scene.refresh(&stolen).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    assert!(clears(refusal.set_cookie.as_ref()));
    let refusal = scene.refresh(&third).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    assert_eq!(scene.asked(), 3, "the AS is not asked with a spent or ended grant");
    scene.revoked(&["refresh-token-0", "refresh-token-2"]).await;
    scene.counted("exchanges_total", "outcome=\"reuse_detected\"", 1);
    scene.counted("exchanges_total", "outcome=\"revoked\"", 1);
}

#[tokio::test]
async fn no_outage_of_the_server_costs_the_session() {
    let html = || "<html>oops</html>".to_owned();
    let outages = [
        Instead::Fault(HttpFault::Connect),
        Instead::Fault(HttpFault::Deadline),
        Instead::Fault(HttpFault::Broken),
        Instead::Fault(HttpFault::TooLarge),
        Instead::Answer(500, "application/json", json!({ "error": "invalid_grant" }).to_string()),
        Instead::Answer(502, "text/html", html()),
        Instead::Answer(200, "text/html", html()),
        Instead::Answer(200, "application/json", r#"{"access_token":"a","token_type":"Bea"#.to_owned()),
        Instead::Answer(400, "application/json", json!({ "error": "invalid_client" }).to_string()),
        Instead::Answer(401, "application/json", json!({ "error": "invalid_client" }).to_string()),
        Instead::Answer(302, "text/plain", String::new()),
        Instead::Answer(429, "application/json", json!({ "error": "invalid_grant" }).to_string()),
    ];
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    for outage in &outages {
        scene.next(outage.clone());
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable, "{outage:?}");
        assert!(refusal.set_cookie.is_none(), "{outage:?}");
        assert_eq!(refusal.denial.facts().status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refusal.denial.retry_after().is_some());
    }
    scene.counted("exchanges_total", "outcome=\"as_unavailable\"", outages.len());
    // Nothing of it is remembered, and the POST was sent once each time.
    assert_eq!(scene.asked(), 1 + outages.len());
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome, "rotated");
}

#[tokio::test]
async fn a_slow_server_is_given_up_for_the_browser_and_not_for_the_session() {
    let scene = Scene::with(client(), Duration::from_millis(20));
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable);
    assert!(refusal.set_cookie.is_none());
    // The flight goes on; who comes back gets its answer, and the AS is not asked twice.
    let (answer, ()) = tokio::join!(scene.refresh(&cookie), async {
        tokio::task::yield_now().await;
        scene.server.answers.add_permits(1);
    });
    let answer = answer.unwrap();
    assert_eq!((answer.outcome, scene.asked()), ("coalesced", 2));
    assert_eq!(body(&answer)["access_token"], "access-token-1");
}

#[tokio::test]
async fn a_browser_that_leaves_does_not_cut_the_exchange_short() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    tokio::select! {
        biased;
        _ = scene.refresh(&cookie) => panic!("answered before the server"),
        () = tokio::task::yield_now() => {} // and the request is dropped
    }
    scene.server.answers.add_permits(1);
    while scene.server.made.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let answer = scene.refresh(&cookie).await.unwrap();
    assert_eq!(scene.asked(), 2);
    assert_eq!(body(&answer)["access_token"], "access-token-1");
}

#[tokio::test]
async fn the_servers_own_end_of_the_session_clears_the_cookie() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.next(Instead::Answer(400, "application/json", json!({ "error": "invalid_grant" }).to_string()));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::InvalidGrant));
    assert!(clears(refusal.set_cookie.as_ref()));
    scene.counted("exchanges_total", "outcome=\"invalid_grant\"", 1);
}

#[tokio::test]
async fn other_errors_of_the_server_go_to_the_page_and_keep_the_cookie() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let error = json!({ "error": "invalid_target", "error_description": "no \"such\" thing\r\n" });
    scene.next(Instead::Answer(400, "application/json", error.to_string()));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    let expected = Denial::FromAuthorizationServer {
        error: "invalid_target".into(),
        description: Some("no such thing".into()),
    };
    assert_eq!(refusal.denial, expected);
    assert!(refusal.set_cookie.is_none());
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome, "rotated");
}

#[tokio::test]
async fn a_server_that_repeats_the_refresh_token_in_its_error_does_not_show_it_to_the_page() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let repeats = "Invalid refresh token (expired): refresh-token-0";
    for (error, status) in [("invalid_token", 400), ("refresh-token-0", 503)] {
        let said = json!({ "error": error, "error_description": repeats }).to_string();
        scene.next(Instead::Answer(401, "application/json", said));
        let denial = scene.refresh(&cookie).await.unwrap_err().denial;
        assert_eq!(denial.facts().status, status);
        assert!(!format!("{denial:?}").contains("refresh-token-0"), "{denial:?}");
    }
    assert!(scene.refresh(&cookie).await.is_ok(), "the session is kept");
}

#[tokio::test]
async fn a_server_that_does_not_rotate_gets_rotation_from_us() {
    let scene = Scene::new();
    let first = scene.signed_in_cookie().await;
    for _ in 0..2 {
        scene.next(Instead::With(json!({ "refresh_token": null })));
    }
    let second = cookie_of(&scene.refresh(&first).await.unwrap());
    "refresh-token-0".clone_into(&mut scene.server.current.lock().unwrap());
    let third = cookie_of(&scene.refresh(&second).await.unwrap());
    assert!(first != second && second != third);
    let (_, form) = scene.server.token_requests.lock().unwrap()[2].clone();
    assert!(form.contains("refresh_token=refresh-token-0"), "{form}");
    scene.pass(31);
    let refusal = scene.refresh(&first).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
}

#[tokio::test]
async fn tokens_of_somebody_else_are_never_handed_out() {
    for (id_token, why) in [
        (id_token_of("mallory"), "other subject"),
        (
            id_token(
                &json!({"iss": "https://other", "aud": "web-app", "exp": 1_800_000_000, "sub": "alice"}),
            ),
            "other issuer",
        ),
        (id_token(&json!({"iss": AS, "aud": "other", "exp": 1_800_000_000, "sub": "alice"})), "other client"),
    ] {
        let scene = Scene::new();
        scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
        let cookie = scene.signed_in_cookie().await;
        scene.next(Instead::With(json!({ "id_token": id_token })));
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AnswerMismatch, "{why}");
        assert!(refusal.set_cookie.is_none());
        scene.revoked(&["refresh-token-1"]).await;
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{why}");
    }
}

#[tokio::test]
async fn an_access_token_that_the_gateway_would_refuse_is_a_fault_of_set_up() {
    let scene = Scene::strict();
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
    assert!(refusal.set_cookie.is_none());
    scene.revoked(&["refresh-token-0"]).await;
    scene.counted("sign_ins_total", "result=\"failed\"", 1);
}

#[tokio::test]
async fn an_access_token_gone_bad_keeps_the_session_with_its_next_cookie() {
    let lenient = Scene::new();
    let cookie = lenient.signed_in_cookie().await;
    let strict = Scene::strict();
    let (gate, live) = (&lenient.gate, &strict.live);
    let headers = headers(Some(&cookie));
    let body = b"grant_type=refresh_token&client_id=web-app";
    let refusal = token(gate, live, &head(&Method::POST, &headers), body).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
    let next = refusal.set_cookie.unwrap();
    let next = next.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
    assert_eq!(lenient.refresh(&next).await.unwrap().outcome, "rotated");
}

/// An access token that this gateway verifies, with these claims changed.
fn access_token(scene: &Scene, changes: Value) -> Instead {
    let token = keys().p256.sign(&with(claims_at(scene.clock.now()), changes));
    Instead::With(json!({ "access_token": token, "scope": null }))
}

#[tokio::test]
async fn a_verified_access_token_says_who_signed_in_and_what_was_granted() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let answer = scene.sign_in().await;
    assert_eq!(answer.subject.as_deref(), Some("alice"));
    let cookie = cookie_of(&answer);
    let wide = "grant_type=refresh_token&client_id=web-app&scope=api:read+openid";
    assert_eq!(scene.post(Some(&cookie), wide).await.unwrap_err().denial, Denial::InvalidScope);
    scene.next(access_token(&scene, json!({ "jti": "t-2" })));
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome, "rotated");
}

#[tokio::test]
async fn a_verified_access_token_of_somebody_else_is_never_handed_out() {
    for changes in [json!({ "sub": "mallory" }), json!({ "client_id": "other" })] {
        let scene = Scene::strict();
        scene.next(access_token(&scene, json!({})));
        let cookie = cookie_of(&scene.sign_in().await);
        scene.next(access_token(&scene, changes));
        assert_eq!(scene.refresh(&cookie).await.unwrap_err().denial, Denial::AnswerMismatch);
        scene.revoked(&["refresh-token-1"]).await;
    }
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({ "client_id": "other" })));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
    scene.revoked(&["refresh-token-0"]).await;
}

#[tokio::test]
async fn keys_that_cannot_be_had_do_not_cost_the_session() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let cookie = cookie_of(&scene.sign_in().await);
    // A gateway that never had the keys.
    let keyless = Scene::strict();
    *keyless.server.jwks.lock().unwrap() = json!("no keys");
    "refresh-token-0".clone_into(&mut keyless.server.current.lock().unwrap());
    keyless.next(access_token(&scene, json!({ "jti": "t-2" })));
    let answer = keyless.refresh(&cookie).await.unwrap();
    keyless.pass(60);
    keyless.next(access_token(&keyless, json!({ "sub": "mallory" })));
    let refusal = keyless.refresh(&cookie_of(&answer)).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
    keyless.next(access_token(&keyless, json!({ "client_id": "other" })));
    let refusal = keyless.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
    keyless.next(access_token(&keyless, json!({})));
    let refusal = keyless.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable);
}

#[tokio::test]
async fn idle_and_absolute_timeouts_end_the_session_and_the_refresh_token() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.pass(3600);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::IdleTimeout));
    assert!(clears(refusal.set_cookie.as_ref()));
    scene.revoked(&["refresh-token-0"]).await;
    scene.counted("exchanges_total", "outcome=\"expired\"", 1);

    let scene = Scene::new();
    let mut cookie = scene.signed_in_cookie().await;
    for _ in 0..47 {
        scene.pass(1800);
        cookie = cookie_of(&scene.refresh(&cookie).await.unwrap());
    }
    scene.pass(1800);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::AbsoluteTimeout));
}

#[tokio::test]
async fn a_poll_does_not_keep_a_session_alive() {
    let scene = Scene::new();
    let mut cookie = scene.signed_in_cookie().await;
    scene.pass(1800);
    let poll = "grant_type=refresh_token&client_id=web-app&background=true";
    let answer = scene.post(Some(&cookie), poll).await.unwrap();
    assert_eq!(body(&answer)["session_expires_in"], 1800);
    cookie = cookie_of(&answer);
    scene.pass(1800);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::IdleTimeout));
}

#[tokio::test]
async fn scope_narrows_and_never_widens() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let wide = "grant_type=refresh_token&client_id=web-app&scope=api:read+admin";
    assert_eq!(scene.post(Some(&cookie), wide).await.unwrap_err().denial, Denial::InvalidScope);
    assert_eq!(scene.asked(), 1);
    let narrow = "grant_type=refresh_token&client_id=web-app&scope=api:read";
    let (whole, narrowed) = tokio::join!(scene.refresh(&cookie), scene.post(Some(&cookie), narrow));
    assert_ne!(body(&whole.unwrap())["access_token"], body(&narrowed.unwrap())["access_token"]);
    let requests = scene.server.token_requests.lock().unwrap();
    assert!(requests[1].1.contains("refresh-token-0") && requests[2].1.contains("refresh-token-1"));
    assert!(requests[2].1.contains("scope=api%3Aread&"), "{}", requests[2].1);
}

#[tokio::test]
async fn foreign_origins_and_navigations_reach_neither_cookie_nor_server() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let sec_fetch_mode = HeaderName::from_static("sec-fetch-mode");
    let mut foreign = headers(Some(&cookie));
    foreign.insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
    let mut navigation = headers(Some(&cookie));
    navigation.insert(sec_fetch_mode, HeaderValue::from_static("navigate"));
    for headers in [foreign, navigation] {
        for body in [code_exchange().as_str(), "grant_type=refresh_token&client_id=web-app"] {
            let refusal = scene.send(headers.clone(), body).await.unwrap_err();
            assert_eq!(refusal.denial, Denial::OriginNotAllowed);
            assert!(refusal.set_cookie.is_none());
        }
        let refusal = scene.delete(&headers, "client_id=web-app").await.unwrap_err();
        assert_eq!(refusal.denial, Denial::OriginNotAllowed);
    }
    assert_eq!(scene.asked(), 1);
    assert!(scene.refresh(&cookie).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_read_in_one_way_is_refused_and_nothing_is_cleared() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let refused = |result: Result<OAuthAnswer, OAuthRefusal>| {
        let refusal = result.unwrap_err();
        assert!(refusal.set_cookie.is_none(), "{refusal:?}");
        refusal.denial
    };
    let twice = format!("{cookie}; {COOKIE_NAME}={cookie}");
    assert_eq!(refused(scene.refresh(&twice).await), Denial::SeveralCredentials);
    assert_eq!(refused(scene.refresh("not-ours").await), Denial::NoSession);
    let post = |body| scene.post(None, body);
    assert_eq!(refused(post("grant_type=refresh_token&client_id=web-app").await), Denial::NoSession);
    assert_eq!(refused(post("grant_type=refresh_token&client_id=other").await), Denial::UnknownClient);
    assert_eq!(refused(post("grant_type=password&client_id=web-app").await), Denial::UnsupportedGrantType);
    for body in [
        "grant_type=refresh_token",
        "grant_type=refresh_token&client_id=web-app&client_id=web-app",
        "grant_type=refresh_token&client_id=web-app&refresh_token=x",
        "grant_type=refresh_token&client_id=web-app&client_secret=x",
        &code_exchange().replace("callback", "elsewhere"),
        &code_exchange().replace("code_verifier", "x"),
    ] {
        assert!(matches!(refused(post(body).await), Denial::InvalidRequest(_)), "{body}");
    }
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn grants_that_the_client_does_not_have_are_refused() {
    let scene =
        Scene::with(Client { grants: vec![GrantType::RefreshToken], ..client() }, Duration::from_secs(5));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!((refusal.denial, scene.asked()), (Denial::UnauthorizedClient, 0));
}

#[tokio::test]
async fn a_cookie_of_another_client_key_or_server_is_no_session_and_stays() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    for other in [
        Client { name: ClientName::new("other"), ..client() },
        Client { client_id: "web-app-2".into(), ..client() },
    ] {
        let other_id = other.client_id.clone();
        let scene = Scene::with(other, Duration::from_secs(5));
        let body = format!("grant_type=refresh_token&client_id={other_id}");
        let refusal = scene.post(Some(&cookie), &body).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::NoSession);
        assert!(refusal.set_cookie.is_none());
    }
    let mut elsewhere = issuer(Duration::from_secs(5));
    elsewhere.rules.iss = "https://other.example".into();
    let scene = Scene::of(client(), elsewhere);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!((refusal.denial, scene.asked()), (Denial::NoSession, 0));
}

#[tokio::test]
async fn without_a_refresh_token_there_is_an_access_token_and_no_cookie() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "refresh_token": null })));
    let answer = scene.sign_in().await;
    assert!(answer.set_cookie.is_none());
    let body = body(&answer);
    assert_eq!(body["access_token"], "access-token-0");
    assert!(body.get("refresh_after").is_none() && body.get("session_expires_in").is_none());
}

#[tokio::test]
async fn a_code_that_the_server_refuses_is_the_pages_business() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let body = code_exchange().replace("code=code-1", "code=spent");
    let refusal = scene.post(Some(&cookie), &body).await.unwrap_err();
    assert!(
        matches!(refusal.denial, Denial::FromAuthorizationServer { ref error, .. } if error == "invalid_grant")
    );
    assert!(refusal.set_cookie.is_none());
}

#[tokio::test]
async fn a_sign_in_ends_the_session_whose_cookie_came_with_it() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("mallory") })));
    let planted = scene.signed_in_cookie().await;
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let answer = scene.post(Some(&planted), &code_exchange()).await.unwrap();
    let refusal = scene.refresh(&planted).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    scene.revoked(&["refresh-token-0"]).await;
    assert!(scene.refresh(&cookie_of(&answer)).await.is_ok());
}

#[tokio::test]
async fn a_second_sign_in_of_one_person_does_not_ask_the_server_to_end_their_grant() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let first = scene.signed_in_cookie().await;
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let answer = scene.post(Some(&first), &code_exchange()).await.unwrap();
    let refusal = scene.refresh(&first).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    // What is revoked later shows that nothing was before.
    scene.delete(&headers(Some(&cookie_of(&answer))), "client_id=web-app").await.unwrap();
    scene.revoked(&["refresh-token-1"]).await;
}

#[tokio::test]
async fn tokens_that_a_browser_did_not_wait_for_are_revoked() {
    let scene = Scene::with(client(), Duration::from_millis(20));
    scene.server.answers.forget_permits(PLENTY);
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable);
    scene.server.answers.add_permits(1);
    scene.revoked(&["refresh-token-0"]).await;
}

#[tokio::test]
async fn a_refresh_token_too_large_for_a_cookie_is_said_so() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "refresh_token": "r".repeat(4000) })));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionTooLarge);
}

#[tokio::test]
async fn made_up_codes_cannot_pile_up_at_a_slow_server() {
    let scene = Scene::with(client(), Duration::from_millis(50));
    scene.server.answers.forget_permits(PLENTY);
    let places: Vec<_> =
        std::iter::from_fn(|| scene.gate.exchanges.begin_code_exchange()).take(CODE_EXCHANGES - 1).collect();
    let one_more = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(one_more.denial, Denial::AuthorizationServerUnavailable, "nobody waits longer for the server");
    assert_eq!(scene.asked(), 0);
    drop(places);
    let places: Vec<_> =
        std::iter::from_fn(|| scene.gate.exchanges.begin_code_exchange()).take(CODE_EXCHANGES).collect();
    assert_eq!(places.len(), CODE_EXCHANGES - 1, "the browser is gone, its exchange is still under way");
    drop(places);
    scene.server.answers.add_permits(PLENTY);
    assert!(scene.post(None, &code_exchange()).await.is_ok());
}

#[tokio::test]
async fn sign_out_ends_every_copy_of_the_cookie_and_can_be_repeated() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    for _ in 0..2 {
        let answer = scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        assert_eq!((answer.status, answer.outcome), (StatusCode::NO_CONTENT, "signed_out"));
        assert!(answer.body.is_empty() && clears(answer.set_cookie.as_ref()));
    }
    scene.revoked(&["refresh-token-0"]).await;
    scene.pass(24 * 3600 - 1);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn sign_out_without_a_session_is_done_at_once() {
    let scene = Scene::new();
    for cookie in [None, Some("not-ours")] {
        let answer = scene.delete(&headers(cookie), "client_id=web-app").await.unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    for bad in ["", "client_id=web-app&everywhere=true", "client_id=web-app&client_id=web-app"] {
        let refusal = scene.delete(&headers(None), bad).await.unwrap_err();
        assert!(matches!(refusal.denial, Denial::InvalidRequest(_)), "{bad}");
    }
}

#[tokio::test]
async fn sign_out_in_mid_flight_hands_nothing_out_and_revokes_what_arrives() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    let (refreshed, signed_out) = tokio::join!(scene.refresh(&cookie), async {
        tokio::task::yield_now().await;
        let answer = scene.delete(&headers(Some(&cookie)), "client_id=web-app").await;
        scene.server.answers.add_permits(1);
        answer
    });
    assert!(signed_out.is_ok());
    assert_eq!(refreshed.unwrap_err().denial, Denial::SessionEnded(SessionEnd::Revoked));
    scene.revoked(&["refresh-token-0", "refresh-token-1"]).await;
}

#[tokio::test]
async fn what_is_remembered_goes_when_no_cookie_can_be_good_any_more() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.refresh(&cookie).await.unwrap();
    assert_eq!(scene.gate.exchanges.len(), 1);
    scene.pass(24 * 3600 - 1);
    scene.gate.exchanges.sweep(scene.clock.now());
    assert_eq!(scene.gate.exchanges.len(), 1);
    scene.pass(1);
    scene.gate.exchanges.sweep(scene.clock.now());
    assert!(scene.gate.exchanges.is_empty());
}
