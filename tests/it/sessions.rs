//! Requests with a session cookie, on real sockets: what the upstream, the browser and the log see of it.

mod authorization;
mod ways_in;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tollgate::core::ids::FamilyId;
use tollgate::core::secret::Secret;
use tollgate::core::session::grant::{Grant, Subject, SubjectSource};
use tollgate::core::session::sealed::{Binding, Purpose};
use tollgate::flows::ports::Clock as _;

use crate::assertion;
use crate::keys::MovedClock;
use crate::streams::{HANDSHAKE, MASKED, SWITCHES, accept};
use crate::support::client::{Answer, Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::{AUDIENCE, Issuer};
use crate::support::upstream::{PAUSE, Received, Upstream};
use crate::support::{eventually, until, within};

const COOKIE: &str = "__Host-Http-tollgate-web-app";
const OWN: &str = "http://gate.localhost:8080";
const LISTED: &str = "http://app.gate.localhost:3000";
const FETCH: [(&str, &str); 3] =
    [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors"), ("X-CSRF", "1")];
const PAGE: [(&str, &str); 3] =
    [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];

/// An authorization server that rotates, and a gateway with one client in session mode before `to`. Whatever
/// session is made here has no access token yet: its first request exchanges.
struct World {
    server: Upstream,
    /// By whose key its access tokens are signed.
    issuer: Arc<Issuer>,
    /// Of the gateway and of the server.
    clock: Arc<MovedClock>,
    exchanges: Arc<AtomicUsize>,
    /// Whether the server waits with its answers to exchanges until they are released.
    waits: Arc<AtomicBool>,
    /// How long its access tokens live, in seconds.
    life: Arc<AtomicU64>,
    /// What it says to an exchange instead, once it does.
    refuses: Arc<OnceLock<&'static str>>,
    families: AtomicUsize,
    gateway: Gateway,
}

impl World {
    async fn start(to: &str) -> Self {
        Self::with(to, "").await
    }

    async fn with(to: &str, more: &str) -> Self {
        Self::answering_within("5s", to, more).await
    }

    /// `timeout`: how long a request waits for its exchange.
    async fn answering_within(timeout: &str, to: &str, more: &str) -> Self {
        Self::configured(timeout, "", to, more).await
    }

    /// `client`: more of its keys.
    async fn configured(timeout: &str, client: &str, to: &str, more: &str) -> Self {
        let (issuer, exchanges) = (Arc::new(Issuer::new()), Arc::new(AtomicUsize::new(0)));
        let (keys, count) = (issuer.jwks().to_string(), Arc::clone(&exchanges));
        let clock = Arc::new(MovedClock::default());
        let (signer, of_server) = (Arc::clone(&issuer), Arc::clone(&clock));
        let waits = Arc::new(AtomicBool::new(false));
        let waiting = Arc::clone(&waits);
        let life = Arc::new(AtomicU64::new(300));
        let lives = Arc::clone(&life);
        let refuses = Arc::new(OnceLock::new());
        let refusing: Arc<OnceLock<&str>> = Arc::clone(&refuses);
        let server = Upstream::answering(Arc::new(move |asked: &Received| {
            let iss = format!("http://{}", asked.header("host").unwrap());
            let refusal = refusing.get().filter(|_| asked.path() == "/token");
            let body = match asked.path() {
                "/jwks" => keys.clone(),
                "/token" if refusal.is_some() => {
                    count.fetch_add(1, Ordering::SeqCst);
                    json!({ "error": refusal }).to_string()
                }
                "/token" => {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let (now, life) = (of_server.now().as_secs(), lives.load(Ordering::SeqCst));
                    let claims = json!({ "iss": iss, "aud": AUDIENCE, "sub": "alice", "scope": "api:read",
                        "jti": format!("t-{number}"), "iat": now, "exp": now + i64::try_from(life).unwrap() });
                    // It names no client, as those of many servers: the session does.
                    let token = signer.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" }), &claims);
                    json!({ "access_token": token, "token_type": "Bearer", "expires_in": life, "refresh_token": format!("rt-{number}") })
                        .to_string()
                }
                _ => json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks"), "token_endpoint": format!("{iss}/token"),
                    "authorization_endpoint": format!("{iss}/authorize"), "response_types_supported": ["code"] })
                .to_string(),
            };
            let length = body.len();
            let wait = if asked.path() == "/token" && waiting.load(Ordering::SeqCst) { PAUSE } else { b"" };
            let status = if refusal.is_some() { "400 Bad Request" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
            [head.as_bytes(), wait, body.as_bytes()].concat()
        }))
        .await;
        let config = format!(
            "issuers: {{ as: {{ url: \"{}\", audience: \"{AUDIENCE}\", timeout: {timeout} }} }}
clients: {{ web-app: {{ mode: session, scope: openid, origins: [\"{OWN}\", \"{LISTED}\"]{client} }} }}
routes:
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: /admin/*, to: \"{to}\", require: {{ scope: admin }} }}
  - {{ path: /app/*, to: \"{to}\", sign_in: web-app }}
  - {{ path: /fresh/*, to: \"{to}\", sign_in: web-app, require: {{ signed_in_within: 5m, acr: [gold, silver] }} }}
  - {{ path: /either/*, to: \"{to}\", sign_in: web-app, require: [{{ scope: admin }}, {{ acr: [gold, silver], signed_in_within: 5m }}, {{ acr: tin }}] }}
  - {{ path: /any/*, to: \"{to}\", sign_in: web-app, require: [{{ scope: admin, acr: gold }}, {{ scope: api:read }}] }}
  - {{ path: /trial/*, to: \"{to}\", report_only: true, require: {{ scope: admin }} }}
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /dead/*, to: \"http://127.0.0.1:9\" }}
{more}",
            server.url()
        );
        let moved = Arc::clone(&clock);
        let gateway = Gateway::outside(&config, |outside| outside.clock = moved).unwrap();
        let families = AtomicUsize::new(0);
        Self { server, issuer, clock, exchanges, waits, life, refuses, families, gateway }
    }

    /// A session of alice, as a sign-in leaves it behind: `Cookie`.
    fn session(&self) -> String {
        self.session_named(None)
    }

    /// `sid`: what the server calls it.
    fn session_named(&self, sid: Option<&str>) -> String {
        let live = self.gateway.app.gate.live.load_full();
        let number = u8::try_from(self.families.fetch_add(1, Ordering::SeqCst)).unwrap();
        let now = self.clock.now();
        let grant = Grant {
            client_id: "web-app".into(),
            iss: self.server.url(),
            refresh_token: "rt".into(),
            subject: Some(Subject { sub: "alice".into(), source: SubjectSource::AccessToken }),
            session_id: sid.map(str::to_owned),
            scope: None,
            family: FamilyId::from_random([number; 16]),
            generation: 0,
            seed: Secret::new([number; 32]),
            signed_in_at: now,
            last_used_at: now,
            exchanged_at: now,
        };
        let binding = Binding { purpose: Purpose::Session, cookie: COOKIE, client: "web-app" };
        let sealed = live.cookie_keys.seal(binding, grant.to_bytes().expose(), [number; 12]).unwrap();
        format!("{COOKIE}={sealed}")
    }

    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], more: &[(&str, &str)]) -> Answer {
        let mut client = self.gateway.connect().await;
        client.send(request(method, path, &[fields, more].concat(), b"")).await;
        client.answer_to(method).await.unwrap()
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)], cookie: &str) -> Answer {
        self.ask("GET", path, fields, &[("Cookie", cookie)]).await
    }

    fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }
}

/// `Cookie` for what an answer sets.
fn next(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie:\n{}", answer.head));
    assert!(set.starts_with(&format!("{COOKIE}=")) && set.contains("; Path=/; Max-Age="), "{set}");
    assert!(set.ends_with("; Secure; HttpOnly; SameSite=Strict"), "{set}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.head);
    set.split(';').next().unwrap().to_owned()
}

fn cached(_: &Received) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: public, max-age=60\r\nCDN-Cache-Control: max-age=9\r\n\
      Surrogate-Control: max-age=9\r\nPragma: x\r\nExpires: Thu, 01 Jan 2099 00:00:00 GMT\r\nSet-Cookie: theirs=1\r\n\
      Set-Cookie: __Host-Http-tollgate-web-app=planted\r\n\r\nok"
        .to_vec()
}

#[tokio::test]
async fn the_upstream_sees_who_calls_and_nothing_of_the_session_whose_next_cookie_rides_on_the_answer() {
    let upstream = Upstream::answering(Arc::new(cached)).await;
    let world = World::start(&upstream.url()).await;
    let cookie = world.session();
    let answer = world.get("/api/x", &FETCH, &format!("a=1; {cookie}; b=2")).await;
    let set = answer.all("set-cookie");
    assert_eq!((answer.status, set.len(), set[0]), (200, 2, "theirs=1"), "{}", answer.head);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    for of_caches in ["expires", "pragma", "cdn-cache-control", "surrogate-control"] {
        assert_eq!(answer.header(of_caches), None, "{}", answer.head);
    }
    let got = upstream.only();
    assert_eq!((got.header("x-auth-subject"), got.header("cookie")), (Some("alice"), Some("a=1; b=2")));
    assert_eq!(got.header("authorization"), None);
    let second = set[1].split(';').next().unwrap().to_owned();
    assert!(second != cookie && !second.ends_with("planted"));
    let again = world.get("/api/x", &FETCH, &second).await;
    assert_eq!((again.status, again.all("set-cookie")), (200, vec!["theirs=1"]));
    assert_eq!(again.header("cache-control"), Some("public, max-age=60"));
    assert_eq!(again.header("surrogate-control"), Some("max-age=9"), "without a cookie the upstream says it");
    assert!(again.all("vary").contains(&"Cookie"), "no shared cache gives it to others: {}", again.head);
    assert_eq!(world.exchanges(), 1);
    let lines = world.gateway.logged(2).await;
    for line in &lines {
        assert_eq!(
            (line["subject"].as_str(), line["outcome"].as_str()),
            (Some("alice"), Some("ok")),
            "{line}"
        );
        assert_eq!(line["family"], "0".repeat(32), "{line}");
    }
    let text = world.gateway.log.text();
    assert!(!text.contains(second.split_once('=').unwrap().1), "{text}");
}

#[tokio::test]
async fn a_client_that_is_gone_before_its_answer_is_written_is_no_failure_of_the_gateway() {
    let world = World::start("http://127.0.0.1:9").await;
    world.waits.store(true, Ordering::SeqCst);
    let socket = TcpStream::connect(world.gateway.public).await.unwrap();
    // Resets the connection where `drop` would end it.
    socket.set_zero_linger().unwrap();
    let mut client = Client::over(socket);
    let cookie = world.session();
    let fields = [&FETCH[..], &[("Cookie", cookie.as_str())]].concat();
    client.send(request("GET", "/admin/x", &fields, b"")).await;
    eventually("the exchange", || world.exchanges() == 1).await;
    drop(client);
    world.server.release(1);
    let line = world.gateway.logged(1).await.remove(0);
    assert_eq!(line["outcome"], "client_gone", "{line}");
}

#[tokio::test]
async fn headers_and_assertion_name_the_same_client_of_a_session() {
    let upstream = Upstream::start().await;
    let world = World::with(&upstream.url(), "identity: { assertion: {} }").await;
    let first = world.get("/api/x", &FETCH, &world.session()).await;
    assert_eq!(world.get("/api/x", &FETCH, &next(&first)).await.status, 200);
    for got in upstream.received() {
        let claims = assertion::read(got.header("x-auth-assertion").unwrap()).1;
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("alice"), &json!("web-app")));
        let told = (got.header("x-auth-subject"), got.header("x-auth-client"));
        assert_eq!(told, (Some("alice"), Some("web-app")));
    }
}

#[tokio::test]
async fn a_session_is_told_of_on_each_route_in_the_way_of_that_route() {
    let upstream = Upstream::start().await;
    let own = format!(
        "  - {{ path: /own/*, to: \"{}\", identity: {{ headers: {{ X-User: sub, X-App: client_id }}, \
         access_token: forward, assertion: {{ header: X-Signed }} }} }}\n",
        upstream.url()
    );
    let world = World::with(&upstream.url(), &own).await;
    let mut cookie = world.session();
    for path in ["/own/x", "/api/x", "/own/x", "/api/x"] {
        let answer = world.get(path, &FETCH, &cookie).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.head);
        if answer.header("set-cookie").is_some() {
            cookie = next(&answer);
        }
        let got = upstream.received().pop().unwrap();
        let of = |name| got.header(name);
        let (own, plain) = ((of("x-user"), of("x-app")), (of("x-auth-subject"), of("x-auth-client")));
        let told = (Some("alice"), Some("web-app"));
        let is_own = path == "/own/x";
        assert_eq!(if is_own { own } else { plain }, told, "{path}");
        assert_eq!(if is_own { plain } else { own }, (None, None), "{path}");
        assert_eq!((of("authorization").is_some(), of("x-signed").is_some()), (is_own, is_own), "{path}");
    }
}

#[tokio::test]
async fn the_assertion_names_the_session_that_its_access_token_does_not_name() {
    let upstream = Upstream::start().await;
    let world = World::with(&upstream.url(), "identity: { assertion: {} }").await;
    for sid in [Some("s-1"), Some("s-2"), None] {
        let first = world.get("/api/x", &FETCH, &world.session_named(sid)).await;
        assert_eq!(world.get("/api/x", &FETCH, &next(&first)).await.status, 200);
        let got = upstream.received();
        for got in &got[got.len() - 2..] {
            let claims = assertion::read(got.header("x-auth-assertion").unwrap()).1;
            assert_eq!(claims["sid"].as_str(), sid);
        }
    }
}

#[tokio::test]
async fn many_requests_at_once_all_get_the_same_cookie_for_one_exchange() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let cookie = world.session();
    let all = futures_util::future::join_all((0..20).map(|_| world.get("/api/x", &FETCH, &cookie))).await;
    let cookies: std::collections::HashSet<_> = all.iter().map(next).collect();
    assert!(all.iter().all(|answer| answer.status == 200));
    assert_eq!((cookies.len(), world.exchanges()), (1, 1));
}

#[tokio::test]
async fn the_cookie_rides_on_a_streamed_answer_and_not_on_what_goes_before_it() {
    let streamed = |_: &Received| {
        let head = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
                    HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                    2\r\na\n\r\n";
        [head.as_bytes(), PAUSE, b"0\r\n\r\n"].concat()
    };
    let upstream = Upstream::answering(Arc::new(streamed)).await;
    let world = World::start(&upstream.url()).await;
    let mut client = world.gateway.connect().await;
    let events = [("Sec-Fetch-Site", "same-origin"), ("Accept", "text/event-stream")];
    let cookie = world.session();
    let fields = [&events[..], &[("Cookie", cookie.as_str())]].concat();
    client.send(request("GET", "/api/events", &fields, b"")).await;
    let early = client.take_head().await.unwrap();
    assert!(early.starts_with("HTTP/1.1 103 ") && !early.to_lowercase().contains("set-cookie"), "{early}");
    let head = client.take_head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains(&format!("set-cookie: {}=", COOKIE.to_lowercase())), "{head}");
    upstream.release(1);
    client.until(b"0\r\n\r\n").await;
}

#[tokio::test]
async fn the_cookie_rides_on_the_upgrade_of_a_websocket_that_a_listed_page_opens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(&format!("http://{}", listener.local_addr().unwrap())).await;
    let cookie = world.session();
    for origin in ["http://evil.example", "http://evil.gate.localhost:3000", "null"] {
        let fields = [&HANDSHAKE[..], &[("Origin", origin)]].concat();
        let answer = world.get("/api/chat", &fields, &cookie).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{origin}");
    }
    assert_eq!(world.get("/api/chat", &HANDSHAKE, &cookie).await.status, 403, "without an origin");
    assert_eq!(world.exchanges(), 0);
    let mut page = world.gateway.connect().await;
    let fields = [&HANDSHAKE[..], &[("Origin", LISTED), ("Cookie", cookie.as_str())]].concat();
    page.send(request("GET", "/api/chat", &fields, b"")).await;
    let mut peer: Client = accept(&listener).await;
    let asked = peer.take_head().await.unwrap().to_lowercase();
    assert!(asked.contains("x-auth-subject: alice") && !asked.contains("cookie:"), "{asked}");
    peer.send(SWITCHES).await;
    let answer = page.take_head().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.to_lowercase().contains(&format!("set-cookie: {}=", COOKIE.to_lowercase())), "{answer}");
    page.send(MASKED).await;
    peer.take(MASKED).await;
}

/// A WebSocket of alice's, open on both sides, and the cookie that came with it.
async fn chat(world: &World, listener: &TcpListener) -> (Client, Client, String) {
    let cookie = world.session();
    let mut page = world.gateway.connect().await;
    let fields = [&HANDSHAKE[..], &[("Origin", LISTED), ("Cookie", cookie.as_str())]].concat();
    page.send(request("GET", "/api/chat", &fields, b"")).await;
    let mut peer = accept(listener).await;
    peer.take_head().await.unwrap();
    peer.send(SWITCHES).await;
    let answer = page.first("GET").await.unwrap();
    assert_eq!(answer.status, 101);
    (page, peer, next(&answer))
}

#[tokio::test]
async fn a_websocket_ends_with_its_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(&format!("http://{}", listener.local_addr().unwrap())).await;
    let (mut page, mut peer, cookie) = chat(&world, &listener).await;
    let (mut other, mut others, _) = chat(&world, &listener).await;
    let signed_out =
        world.ask("POST", "/oauth/logout?client_id=web-app", &FETCH, &[("Cookie", &cookie)]).await;
    assert_eq!(signed_out.status, 200, "{}", signed_out.head);
    page.rest().await;
    peer.rest().await;
    other.send(MASKED).await;
    others.take(MASKED).await;
}

#[tokio::test]
async fn a_websocket_lives_for_as_long_as_its_session_gets_access_tokens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::start().await;
    let more = format!("  - {{ path: /other/*, to: \"{}\" }}\n", upstream.url());
    let world = World::with(&format!("http://{}", listener.local_addr().unwrap()), &more).await;
    world.life.store(60, Ordering::SeqCst);
    let (mut page, mut peer, mut cookie) = chat(&world, &listener).await;
    let (mut unused, _unused_peer, _) = chat(&world, &listener).await;
    // From the half of its life on the token is exchanged for the next, by any request of the session.
    for _ in 0..2 {
        world.clock.later(31);
        let before = cookie.clone();
        until("another token", async || {
            let answer = world.get("/other/x", &FETCH, &cookie).await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            if answer.header("set-cookie").is_some() {
                cookie = next(&answer);
            }
            cookie != before
        })
        .await;
    }
    // Whoever looks has looked since the end of the first token when the other is over.
    unused.rest().await;
    page.send(MASKED).await;
    peer.take(MASKED).await;
    world.clock.later(61);
    page.rest().await;
    peer.rest().await;
}

#[tokio::test]
async fn the_cookie_rides_on_refusals_and_on_failures_of_the_upstream_too() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let answer = world.get("/admin/x", &FETCH, &world.session()).await;
    assert_eq!(answer.status, 403);
    let cookie = next(&answer);
    assert_eq!(world.get("/api/x", &FETCH, &cookie).await.status, 200);
    let answer = world.get("/dead/x", &FETCH, &world.session()).await;
    assert_eq!(answer.status, 502);
    next(&answer);
    let answer = world.get("/trial/x", &FETCH, &world.session()).await;
    assert_eq!(answer.status, 200);
    next(&answer);
    let nobodys = upstream.received().pop().unwrap();
    assert_eq!((nobodys.path(), nobodys.header("x-auth-subject")), ("/trial/x", None));
}

#[tokio::test]
async fn no_cookie_of_a_session_comes_after_its_end() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let mut cookie = String::new();
    until("an answer that was not cut off by the end of its session", async || {
        cookie = world.session();
        let mut client = world.gateway.connect().await;
        let fields = [&FETCH[..], &[("Cookie", cookie.as_str())]].concat();
        let before = upstream.received().len();
        client.send(request("GET", "/api/hold", &fields, b"")).await;
        eventually("the request at the upstream", || upstream.received().len() > before).await;
        let logout = "/oauth/logout?client_id=web-app";
        let signed_out = world.ask("POST", logout, &FETCH, &[("Cookie", &cookie)]).await;
        assert_eq!(signed_out.status, 200, "{}", signed_out.head);
        upstream.release(1);
        let answer = client.whole("GET").await;
        assert!(answer.as_ref().is_none_or(|answer| answer.all("set-cookie").is_empty()), "{answer:?}");
        answer.is_some_and(|answer| answer.status == 200)
    })
    .await;
    let over = world.get("/api/x", &FETCH, &cookie).await;
    assert_eq!(
        (over.status, over.json()["type"].as_str()),
        (401, Some("urn:tollgate:refusal:session_revoked"))
    );
    assert!(over.header("set-cookie").unwrap().contains("=; Path=/; Max-Age=0;"));
    let public = world.get("/public/x", &FETCH, &cookie).await;
    assert_eq!((public.status, public.header("set-cookie")), (200, None));
}

#[tokio::test]
async fn a_session_s_access_token_goes_on_where_the_operator_says_so() {
    let upstream = Upstream::start().await;
    let world = World::with(&upstream.url(), "identity: { access_token: forward }\n").await;
    assert_eq!(world.get("/api/x", &FETCH, &world.session()).await.status, 200);
    let got = upstream.only();
    assert!(got.header("authorization").unwrap().starts_with("Bearer ey"), "{}", got.head);
    assert_eq!(world.ask("GET", "/public/x", &FETCH, &[]).await.status, 200);
    assert_eq!(upstream.received()[1].header("authorization"), None);
}

#[tokio::test]
async fn a_script_without_a_session_is_told_where_to_sign_in_and_never_sent_there() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let referrer = [("Referer", "http://gate.localhost:8080/app/mail?box=1")];
    for (path, more, return_to) in [
        ("/api/x?y=1", &referrer[..], "&return_to=%2Fapp%2Fmail%3Fbox%3D1"),
        ("/api/x?y=1", &[], ""),
        ("/app/x?y=1", &referrer, "&return_to=%2Fapp%2Fmail%3Fbox%3D1"),
        ("/app/x?y=1", &[("Accept", "text/html")], "&return_to=%2Fapp%2Fx%3Fy%3D1"),
    ] {
        let answer = world.ask("GET", path, &FETCH, more).await;
        let problem = answer.json();
        assert_eq!((answer.status, answer.header("location")), (401, None));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["login_url"], format!("{OWN}/oauth/login?client_id=web-app{return_to}"));
        assert_eq!(problem["type"], "urn:tollgate:refusal:no_session");
        assert!(answer.challenge().unwrap().starts_with("Bearer "));
    }
    // A bad token is no matter of sessions.
    let answer = world.ask("GET", "/api/x", &FETCH, &[("Authorization", "Bearer a.b.c")]).await;
    assert_eq!((answer.status, answer.json().get("login_url")), (401, None));
    // Whoever says nothing of itself and reads pages gets one.
    let answer = world.ask("GET", "/app/x", &[("Accept", "text/html")], &[]).await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert_eq!((answer.status, answer.header("location")), (401, None));
    assert!(text.contains("oauth&#x2f;login?client_id=web-app&amp;return_to="), "{text}");
    // Nor is a cookie that is not of our pages of any use.
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        let same_origin = [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")];
        let answer = world.ask(method, "/api/x", &same_origin, &[("Cookie", &world.session())]).await;
        assert_eq!(answer.status, 403, "{method}");
        assert_eq!(answer.json()["type"], "urn:tollgate:refusal:cross_site_request");
    }
    // A window hears that this is no page, and what would make it one.
    let answer = world.ask("GET", "/api/x", &PAGE, &[("Cookie", &world.session())]).await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    assert!(text.contains("A session cannot open a page here") && text.contains("needs sign_in"), "{text}");
    assert!(upstream.received().is_empty());
    assert_eq!(world.exchanges(), 0);
}

#[tokio::test]
async fn a_person_without_a_session_is_sent_to_sign_in_and_comes_back() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let sign_in = &*format!("{OWN}/oauth/login?client_id=web-app&return_to=%2Fapp%2Fx%3Fy%3D1");
    for method in ["GET", "HEAD"] {
        let answer = world.ask(method, "/app/x?y=1", &PAGE, &[]).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some(sign_in)), "{method}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // Where a browser may withhold the cookie: once more, from a page of ours.
    let [_, mode, dest] = PAGE;
    let from = |site| [("Sec-Fetch-Site", site), mode, dest];
    for site in ["cross-site", "none"] {
        let answer = world.ask("GET", "/app/x?y=1", &from(site), &[]).await;
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
        assert!(text.contains("http-equiv=\"refresh\" content=\"0; url=&#x2f;app&#x2f;x?y=1\""), "{text}");
    }
    let answer = world.ask("GET", "/app/x?y=1", &from("same-origin"), &[]).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some(sign_in)));
    // One that does not open is left alone.
    let answer = world.get("/app/x?y=1", &from("cross-site"), &format!("{COOKIE}=x")).await;
    assert_eq!(
        (answer.status, answer.header("location"), answer.header("set-cookie")),
        (303, Some(sign_in), None)
    );
    // Nobody was refused yet.
    let metrics = async || String::from_utf8(world.gateway.admin("/metrics").await.body).unwrap();
    let refused = "tollgate_denials_total{reason=\"no_session\"";
    assert!(!metrics().await.contains(refused), "{}", metrics().await);
    let lines = world.gateway.logged(6).await;
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    let (sent, asked) = ("sent_to_sign_in", "asked_once_more");
    assert_eq!(outcomes, [sent, sent, asked, asked, sent, sent]);
    // What is loaded in advance, or into a frame, or is no page, begins nothing.
    let advance = world.ask("GET", "/app/x", &PAGE, &[("Sec-Purpose", "prefetch")]).await;
    let frame = world.ask("GET", "/app/x", &[mode, ("Sec-Fetch-Dest", "iframe")], &[]).await;
    let posted = world.ask("POST", "/app/x", &PAGE, &[]).await;
    let api = world.ask("GET", "/api/x", &PAGE, &[]).await;
    for answer in [advance, frame, posted, api] {
        assert_eq!((answer.status, answer.header("location")), (401, None));
    }
    assert!(metrics().await.contains(&format!("{refused},route=\"/app/*\"}} 3")), "{}", metrics().await);
    assert!(upstream.received().is_empty());
    // With a session the page opens, from wherever.
    let answer = world.get("/app/x", &from("cross-site"), &world.session()).await;
    assert_eq!(answer.status, 200);
    next(&answer);
}

#[tokio::test]
async fn a_page_that_needs_a_stronger_sign_in_leads_there_and_a_script_is_told() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let stronger = |place: &str| {
        format!("{OWN}/oauth/login?client_id=web-app{place}&acr_values=gold+silver&max_age=300")
    };
    let answer = world.get("/fresh/x", &PAGE, &world.session()).await;
    let page = stronger("&return_to=%2Ffresh%2Fx");
    assert_eq!((answer.status, answer.header("location")), (303, Some(&*page)));
    let cookie = next(&answer);
    let answer = world.get("/fresh/x", &FETCH, &cookie).await;
    assert_eq!((answer.status, answer.json()["login_url"].as_str()), (401, Some(&*stronger(""))));
    assert!(answer.challenge().unwrap().contains("insufficient_user_authentication"));
    assert!(upstream.received().is_empty());
    // Of alternatives it is led to what the first asks for that lacks nothing else; where one holds, nowhere.
    let answer = world.get("/either/x", &PAGE, &cookie).await;
    let page = stronger("&return_to=%2Feither%2Fx");
    assert_eq!((answer.status, answer.header("location")), (303, Some(&*page)));
    assert_eq!(world.get("/any/x", &PAGE, &cookie).await.status, 200);
}

#[tokio::test]
async fn on_a_public_route_a_session_says_who_calls_and_one_that_does_not_hold_counts_as_absent() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let cookie = world.session();
    let of_a_page = [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "no-cors")];
    for (fields, cookie) in
        [(&FETCH[..], "x=y"), (&FETCH, &format!("{COOKIE}=x")), (&of_a_page, &cookie), (&PAGE, &cookie)]
    {
        let answer = world.get("/public/x", fields, cookie).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None), "{fields:?} {cookie}");
        // RFC 9110 section 12.5.5: whoever comes with a session that counts would be given what is for nobody
        // otherwise.
        assert_eq!(answer.all("vary"), ["Cookie", "x-csrf", "Origin"], "{}", answer.head);
        assert_eq!(answer.header("cache-control"), None, "and the upstream says who may keep it");
        assert_eq!(upstream.received().pop().unwrap().header("x-auth-subject"), None);
    }
    assert_eq!(world.exchanges(), 0);
    let answer = world.get("/public/x", &FETCH, &cookie).await;
    assert_eq!(answer.status, 200);
    next(&answer);
    assert_eq!(upstream.received().pop().unwrap().header("x-auth-subject"), Some("alice"));
    let trial = world.get("/trial/x", &of_a_page, &cookie).await;
    assert_eq!((trial.status, trial.all("vary")), (200, vec!["Cookie", "x-csrf", "Origin"]));
    assert_eq!(world.get("/public/x", &FETCH, &format!("{cookie}; {cookie}")).await.status, 400);
    let private = world.get("/api/x", &FETCH, &next(&world.get("/api/x", &FETCH, &cookie).await)).await;
    assert_eq!((private.status, private.header("cache-control")), (200, Some("private")));
}

#[tokio::test]
async fn where_the_browsers_word_counts_an_answer_to_anybody_depends_on_it() {
    let upstream = Upstream::start().await;
    let world = World::configured("5s", ", csrf: fetch_metadata", &upstream.url(), "").await;
    let cookie = world.session();
    let loads = |mode, dest, accept| {
        let site = ("Sec-Fetch-Site", "same-origin");
        [site, ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest), ("Accept", accept)]
    };
    for (fields, subject) in [
        (loads("navigate", "document", "text/html"), None),
        (loads("no-cors", "script", "*/*"), Some("alice")),
        (loads("same-origin", "empty", "*/*"), Some("alice")),
        // A service worker asks for it in the place of a page that opens, which may be anybody's doing.
        (loads("same-origin", "empty", "text/html,*/*;q=0.8"), None),
    ] {
        let answer = world.get("/public/x", &fields, &cookie).await;
        let told = ["sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "accept"];
        let varies = [&["Cookie", "x-csrf"], &told[..], &["Origin"]].concat();
        assert_eq!((answer.status, answer.all("vary")), (200, varies), "{fields:?}");
        assert_eq!(upstream.received().pop().unwrap().header("x-auth-subject"), subject);
    }
}

#[tokio::test]
async fn two_authorization_headers_are_one_too_many_for_a_session_too() {
    let world = World::start("http://127.0.0.1:9").await;
    let cookie = world.session();
    let session = "/oauth/session?client_id=web-app";
    let cases = [
        ("GET", session),
        ("POST", "/oauth/logout?client_id=web-app"),
        ("DELETE", "/oauth/token?client_id=web-app"),
    ];
    for (method, path) in cases {
        let fields =
            [("Cookie", cookie.as_str()), ("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
        let answer = world.ask(method, path, &FETCH, &fields).await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (400, None),
            "{method} {path}: {}",
            answer.head
        );
    }
    assert_eq!(world.get(session, &FETCH, &cookie).await.status, 200, "it goes on");
}

#[tokio::test]
async fn a_page_asks_who_is_signed_in_before_it_shows_anything() {
    let world = World::start("http://127.0.0.1:9").await;
    let path = "/oauth/session?client_id=web-app";
    let answer = world.get(path, &FETCH, &world.session()).await;
    assert_eq!((answer.status, answer.json()["sub"].as_str()), (200, Some("alice")), "{}", answer.head);
    let cookie = next(&answer);
    let listed = [("Origin", LISTED), ("X-CSRF", "1")];
    let answer = world.get(path, &listed, &cookie).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(LISTED)));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!((answer.header("cache-control"), answer.header("set-cookie")), (Some("no-store"), None));
    assert_eq!(world.get(path, &[], &cookie).await.status, 403);
    let nobody = world.ask("GET", path, &FETCH, &[]).await;
    assert_eq!((nobody.status, nobody.json()["error"].as_str()), (401, Some("login_required")));
    assert_eq!(nobody.json()["login_url"], format!("{OWN}/oauth/login?client_id=web-app"));
    // RFC 9110 section 15.5.2; for no scheme of these does a browser ask its person.
    assert_eq!(nobody.schemes(), ["Bearer", "DPoP"], "{}", nobody.head);
    assert_eq!(world.ask("POST", path, &FETCH, &[]).await.status, 405);
    assert_eq!(world.ask("GET", "/oauth/session?client_id=x", &FETCH, &[]).await.status, 400);
    let asks = [("Origin", LISTED), ("Access-Control-Request-Method", "GET")];
    for path in [path, "/api/x"] {
        let preflight = world.ask("OPTIONS", path, &asks, &[]).await;
        assert_eq!(preflight.status, 204, "{path}");
        assert_eq!(preflight.header("access-control-allow-credentials"), Some("true"));
        let allowed = preflight.header("access-control-allow-headers").unwrap();
        assert!(allowed.to_lowercase().contains("x-csrf"), "{allowed}");
    }
    let lines: Vec<Value> = world.gateway.logged(8).await;
    assert_eq!(lines[0]["route"], "/oauth/session", "{}", lines[0]);
    assert_eq!(HOST, "gate.localhost:8080");
}

/// What SIGTERM sets off. By the time of a stop the authorization server may have replaced the refresh token
/// already.
#[tokio::test]
async fn a_stop_waits_for_an_exchange_whether_somebody_waits_for_it_or_not() {
    let upstream = Upstream::start().await;
    // Even the shorter is longer than a busy machine takes to reach the server, for its keys too.
    for (timeout, status) in [("20s", 200), ("3s", 503)] {
        let world = World::answering_within(timeout, &upstream.url(), "").await;
        world.waits.store(true, Ordering::SeqCst);
        let cookie = world.session();
        let mut client = world.gateway.connect().await;
        client.send(request("GET", "/api/x", &[&FETCH[..], &[("Cookie", &*cookie)]].concat(), b"")).await;
        eventually("the exchange", || world.exchanges() == 1).await;
        if status == 503 {
            assert_eq!(client.answer().await.status, 503, "nobody waits for it from here on");
        }
        let World { server, gateway, exchanges, .. } = world;
        let (public, gate) = (gateway.public, gateway.app.gate.clone());
        let mut stopping = tokio::spawn(gateway.app.stop(Duration::ZERO));
        until("a closed listener", async || TcpStream::connect(public).await.is_err()).await;
        // All else that a stop waits for here takes a second at most.
        let over = tokio::time::timeout(Duration::from_millis(1_500), &mut stopping).await;
        assert!(over.is_err(), "it waits for the authorization server");
        server.release(1);
        if status == 200 {
            let answer = client.answer().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            next(&answer);
        }
        within("the stop", stopping).await.unwrap();
        let under_way = gate.exchanges.hold().landed(Duration::ZERO).await;
        assert_eq!((under_way, exchanges.load(Ordering::SeqCst)), (0, 1), "it landed, and was not cut off");
    }
}
