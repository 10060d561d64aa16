//! What one address may have.

use std::sync::Arc;

use serde_json::json;

use crate::streams::HANDSHAKE;
use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::holder::Holder;
use crate::support::issuer::Issuer;
use crate::support::tls::Http2;
use crate::support::until;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn an_address_that_asks_too_often_hears_when_to_come_back_and_others_are_served() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "trusted_proxies: 127.0.0.1\nlimits: {{ requests_per_address: 5/h }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        upstream.url()
    ))
    .await;
    let mut client = gateway.connect().await;
    for round in 1..=8 {
        let answer = client.get("/x", &[("X-Forwarded-For", "192.0.2.1")]).await;
        assert_eq!(answer.status, if round <= 5 { 200 } else { 429 }, "{round}");
        let after = answer.header("retry-after").map(|after| after.parse::<u64>().unwrap());
        // One of five in an hour is allowed again after 12 minutes.
        let is_told = after.is_some_and(|after| (600..=720).contains(&after));
        assert_eq!(is_told, round > 5, "{round}: {after:?}");
        assert!(answer.keeps_alive());
    }
    // A reload forgets nobody.
    crate::upstreams::reload(&gateway, &gateway.rest.replace("5/h", "4/h"));
    assert_eq!(client.get("/x", &[("X-Forwarded-For", "192.0.2.1")]).await.status, 429);
    crate::upstreams::reload(&gateway, &gateway.rest);
    // One network of IPv6 is one client; another address has its own.
    for (address, status) in [
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 200),
        ("2001:db8::4", 200),
        ("2001:db8::5", 200),
        ("2001:db8::6", 429),
        ("2001:db8:0:1::6", 200),
    ] {
        assert_eq!(client.get("/x", &[("X-Forwarded-For", address)]).await.status, status, "{address}");
    }
    let body = b"grant_type=refresh_token&client_id=x";
    let fields = [("X-Forwarded-For", "192.0.2.1"), ("Content-Type", "application/x-www-form-urlencoded")];
    client.send(request("POST", "/oauth/token", &fields, body)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (429, Some("temporarily_unavailable")));
    assert_eq!(upstream.received().len(), 5 + 1 + 5 + 1);
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "limits: {{ connections_per_address: 2 }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        upstream.url()
    ))
    .await;
    let mut one = gateway.connect().await;
    let mut two = gateway.connect().await;
    assert_eq!((one.get("/", &[]).await.status, two.get("/", &[]).await.status), (200, 200));
    assert!(gateway.connect().await.is_closed().await, "a third is closed unanswered");
    drop(one);
    until("a place to be free again", async || {
        let mut client = Client::connect(gateway.public).await;
        client.try_send("GET / HTTP/1.1\r\nHost: gate.localhost\r\n\r\n").await;
        client.answer_to("GET").await.is_some_and(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(two.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn many_requests_on_one_connection_need_room_too() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "limits: {{ connections: 2 }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        upstream.url()
    ))
    .await;
    let mut client = Http2::clear_text(gateway.public).await;
    let get = || http::Request::get(format!("http://{HOST}/hold")).body(()).unwrap();
    let held = [
        client.sender.send_request(get(), true).unwrap().0,
        client.sender.send_request(get(), true).unwrap().0,
    ];
    until("both to be held", async || upstream.received().len() == 2).await;
    let refused = client.ask(get(), &[]).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("2")));
    assert_eq!(gateway.admin("/livez").await.status, 200);
    upstream.release(2);
    for answer in held {
        assert_eq!(crate::support::tls::read(answer).await.unwrap().status, 200);
    }
    assert_eq!(
        client
            .ask(http::Request::get(format!("http://{HOST}/x")).body(()).unwrap(), &[])
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_has_its_share_of_the_requests_under_way() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "trusted_proxies: 127.0.0.1\nlimits: {{ connections: 40, connections_per_address: 10 }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        upstream.url()
    ))
    .await;
    let mut client = Http2::clear_text(gateway.public).await;
    let get = |path: &str, address: Option<&str>| {
        let request = http::Request::get(format!("http://{HOST}{path}"));
        let request =
            address.into_iter().fold(request, |request, one| request.header("x-forwarded-for", one));
        request.body(()).unwrap()
    };
    // A quarter of all places, which is whoever's comes, and a share.
    let mut held = Vec::new();
    for number in 1..=20 {
        held.push(client.sender.send_request(get("/hold", Some("2001:db8::1")), true).unwrap().0);
        until("a request to be held", async || upstream.received().len() == number).await;
    }
    for (address, status) in [
        (Some("2001:db8::2"), 429),
        (Some("2001:db8:0:1::1"), 200),
        (Some("192.0.2.1"), 200),
        // The proxy itself stands for many.
        (None, 200),
    ] {
        let answer = client.ask(get("/x", address), &[]).await.unwrap();
        assert_eq!(answer.status, status, "{address:?}");
        assert_eq!(answer.header("retry-after"), (status == 429).then_some("2"));
    }
    upstream.release(20);
    until("its places to be free again", async || {
        client.ask(get("/x", Some("2001:db8::2")), &[]).await.unwrap().status == 200
    })
    .await;
}

/// A client behind the trusted proxy that every test here is.
struct Behind<'a> {
    client: Client,
    address: &'a str,
}

impl<'a> Behind<'a> {
    async fn new(gateway: &Gateway, address: &'a str) -> Self {
        Self { client: gateway.connect().await, address }
    }

    /// Status, reason and Retry-After of a request with a token, or without.
    async fn get(&mut self, path: &str, token: Option<&str>) -> (u16, String, Option<u64>) {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut fields = vec![("X-Forwarded-For", self.address)];
        fields.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        let answer = self.client.get(path, &fields).await;
        assert!(answer.keeps_alive());
        let reason = match answer.status {
            200 => String::new(),
            _ => {
                answer.json()["type"].as_str().unwrap().trim_start_matches("urn:tollgate:refusal:").to_owned()
            }
        };
        (answer.status, reason, answer.header("retry-after").map(|after| after.parse().unwrap()))
    }

    async fn status(&mut self, path: &str, token: Option<&str>) -> u16 {
        self.get(path, token).await.0
    }
}

async fn metric(gateway: &Gateway, line: &str) -> u64 {
    let text = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let found = text.lines().find_map(|one| one.strip_prefix(line));
    found.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn an_address_that_is_denied_too_often_gets_no_work_done_and_what_is_known_goes_on() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "trusted_proxies: 127.0.0.1\nlimits: {{ denials_per_address: 3/h }}\nroutes:
  - {{ path: /api/*, to: \"{to}\" }}
  - {{ path: /admin/*, to: \"{to}\", require: {{ scope: admin }} }}
  - {{ path: /public/*, to: \"{to}\", public: true }}\n"
    ))
    .await;
    let mut bad = Behind::new(&gateway, "192.0.2.1").await;
    let known = gateway.issuer.token("alice", "");
    assert_eq!(bad.status("/api/x", Some(&known)).await, 200);
    for turn in 0..3 {
        let forged = Issuer::new().token("alice", "");
        assert_eq!(bad.get("/api/x", Some(&forged)).await, (401, "bad_signature".into(), None), "{turn}");
    }
    // Now nothing that was never seen is looked at, good or not, on public routes neither.
    let verified = r#"tollgate_tokens_verified_total{issuer="test",path="verified"}"#;
    let before = metric(&gateway, verified).await;
    let unseen = gateway.issuer.token("bob", "");
    for (path, token) in
        [("/api/x", &*unseen), ("/api/x", "junk"), ("/public/x", &unseen), ("/public/x", "a.b.c")]
    {
        let (status, reason, after) = bad.get(path, Some(token)).await;
        assert_eq!((status, &*reason), (429, "too_many_denials"), "{path} {token}");
        // One of three in an hour is forgiven after 20 minutes.
        assert!(after.is_some_and(|after| (1100..=1200).contains(&after)), "{after:?}");
    }
    assert_eq!(metric(&gateway, verified).await, before, "no signature was checked");
    let counted = r#"tollgate_denials_total{reason="too_many_denials",route="/api/*"}"#;
    assert_eq!(metric(&gateway, counted).await, 2);
    // A reload forgets nothing.
    crate::upstreams::reload(&gateway, &gateway.rest.replace("3/h", "2/h"));
    assert_eq!(bad.status("/api/x", Some(&unseen)).await, 429);
    // What needs no work is answered as ever.
    assert_eq!(bad.status("/api/x", Some(&known)).await, 200);
    assert_eq!(bad.status("/admin/x", Some(&known)).await, 403);
    assert_eq!(bad.status("/public/x", None).await, 200);
    assert_eq!(bad.status("/api/x", None).await, 401);
    assert_eq!(bad.status("/nowhere", None).await, 404);
    assert_eq!(bad.status("/api/x", Some(&"x".repeat(9000))).await, 431);
    // Nobody else pays, and whoever was found good elsewhere is known here.
    let mut neighbour = Behind::new(&gateway, "192.0.2.2").await;
    assert_eq!(neighbour.status("/api/x", Some(&unseen)).await, 200);
    assert_eq!(bad.status("/api/x", Some(&unseen)).await, 200);
    let body = b"grant_type=refresh_token&client_id=x";
    let fields = [("X-Forwarded-For", "192.0.2.1"), ("Content-Type", "application/x-www-form-urlencoded")];
    bad.client.send(request("POST", "/oauth/token", &fields, body)).await;
    assert_eq!(
        bad.client.answer().await.json()["error"],
        "invalid_client",
        "an unknown client is cheap to refuse"
    );
}

#[tokio::test]
async fn denials_of_one_ipv6_network_count_together_and_a_spoofed_address_does_not() {
    let upstream = Upstream::start().await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\" }}]\n", upstream.url());
    let limit = "limits: { denials_per_address: 2/h }\n";
    let gateway = Gateway::with(&format!("trusted_proxies: 127.0.0.1\n{limit}{routes}")).await;
    for address in ["2001:db8::1", "2001:db8::ffff:2"] {
        assert_eq!(Behind::new(&gateway, address).await.status("/", Some("junk")).await, 401);
    }
    assert_eq!(Behind::new(&gateway, "2001:db8::3").await.status("/", Some("junk")).await, 429);
    assert_eq!(Behind::new(&gateway, "2001:db8:0:1::3").await.status("/", Some("junk")).await, 401);
    // What comes from no trusted proxy is the peer's, whatever it says.
    let gateway = Gateway::with(&format!("{limit}{routes}")).await;
    for (address, status) in [("192.0.2.1", 401), ("192.0.2.2", 401), ("192.0.2.3", 429)] {
        assert_eq!(Behind::new(&gateway, address).await.status("/", Some("junk")).await, status, "{address}");
    }
    // `0` is off.
    let gateway = Gateway::with(&format!("limits: {{ denials_per_address: 0 }}\n{routes}")).await;
    let mut client = Behind::new(&gateway, "192.0.2.1").await;
    for _ in 0..200 {
        assert_eq!(client.status("/", Some("junk")).await, 401);
    }
    // 120 in a minute unless told otherwise.
    let gateway = Gateway::with(&routes).await;
    let mut client = Behind::new(&gateway, "192.0.2.1").await;
    for turn in 0..120 {
        assert_eq!(client.status("/", Some("junk")).await, 401, "{turn}");
    }
    let mut more = 0;
    while client.status("/", Some("junk")).await == 401 {
        more += 1;
        assert!(more < 120, "two in a second are forgiven, and no more");
    }
}

#[tokio::test]
async fn an_address_that_waits_is_served_again() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "limits: {{ denials_per_address: 4/s }}\nroutes: [{{ path: /*, to: \"{}\" }}]\n",
        upstream.url()
    ))
    .await;
    let mut client = Behind::new(&gateway, "").await;
    let mut refused = 0;
    while client.status("/", Some("junk")).await == 401 {
        refused += 1;
        assert!(refused < 400, "four in a second are forgiven, and no more");
    }
    let unseen = gateway.issuer.token("alice", "");
    until("a new token to be taken", async || client.status("/", Some(&unseen)).await == 200).await;
}

/// What honest callers meet, and what a page of anybody's can make a visitor's browser send.
#[tokio::test]
async fn what_honest_callers_meet_does_not_count() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let app = "http://app.gate.localhost:3000";
    let server = Upstream::answering(Arc::new(crate::csrf::authorization_server)).await;
    let gateway = Gateway::with(&format!(
        "  fake: {{ url: \"{}\", audience: \"https://api.example.com\" }}
limits: {{ denials_per_address: 1/h }}
clients:
  web-app: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"{app}/back\", origins: [\"{app}\"] }}
  phone: {{ mode: native, issuer: fake }}
routes:
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: admin }}, methods: [GET] }}
  - {{ path: /strict/*, to: \"{to}\", require: {{ acr: gold }}, clients: web-app }}\n",
        server.url()
    ))
    .await;
    let bearer = gateway.bearer("alice", "");
    let expired =
        format!("Bearer {}", gateway.issuer.token_with(json!({ "exp": 1_000_000_000, "iat": 999_999_000 })));
    let foreign = format!("Bearer {}", gateway.issuer.token_with(json!({ "sub": "bob", "client_id": "x" })));
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let refresh = "grant_type=refresh_token&client_id=web-app";
    let code = format!(
        "grant_type=authorization_code&client_id=web-app&code=x&redirect_uri={app}/back&code_verifier={}",
        "v".repeat(43)
    );
    let native = "grant_type=refresh_token&client_id=phone&refresh_token=made-up";
    let evil = ("Origin", "http://evil.example");
    let cross_site = ("Sec-Fetch-Site", "cross-site");
    let get = |path, fields: &[(&str, &str)]| request("GET", path, fields, b"");
    let post = |fields: &[(&str, &str)], body: &str| {
        request("POST", "/oauth/token", &[fields, &[form]].concat(), body.as_bytes())
    };
    let planted = [("Origin", app), ("Cookie", "__Secure-tollgate-web-app=planted")];
    let foreign_page = [("Origin", "http://evil.example"), ("Sec-WebSocket-Protocol", "tollgate.bearer.!")];
    let socket = [&HANDSHAKE[..], &foreign_page].concat();
    for (what, bytes, status) in [
        ("no token", get("/api/x", &[]), 401),
        ("an expired token", get("/api/x", &[("Authorization", &expired)]), 401),
        ("a token of another client", get("/strict/x", &[("Authorization", &foreign)]), 401),
        ("too weak a sign-in", get("/strict/x", &[("Authorization", &bearer)]), 401),
        ("not enough", get("/api/x", &[("Authorization", &bearer)]), 403),
        (
            "two credentials",
            get("/api/x", &[("Authorization", "Bearer a"), ("Authorization", "Bearer b")]),
            400,
        ),
        ("another scheme", get("/api/x", &[("Authorization", "Basic eDp5")]), 401),
        ("a token in the query", get("/api/x?access_token=x", &[]), 400),
        ("no such path", get("/nowhere", &[]), 404),
        ("no such method", request("PUT", "/api/x", &[], b""), 405),
        ("an ambiguous path", get("/api//x", &[]), 400),
        ("a foreign page's socket", get("/api/x", &socket), 403),
        ("a foreign page's refresh", post(&[("Origin", "http://evil.example")], refresh), 403),
        ("a foreign page's code", post(&[("Origin", "http://evil.example")], &code), 403),
        ("a foreign page's native refresh", post(&[evil], native), 403),
        ("a foreign form's native refresh", post(&[("Origin", "null"), cross_site], native), 403),
        ("a native refresh of a page that hides where it is", post(&[cross_site], native), 403),
        ("two pages' native refresh", post(&[("Origin", app), evil], native), 403),
        ("a foreign page's credentials", post(&[evil, ("Authorization", "Basic cGhvbmU6eA==")], native), 403),
        ("no session", post(&[("Origin", app)], refresh), 400),
        ("a planted cookie", post(&planted, refresh), 400),
        ("an authorization server that is away", post(&[("Origin", app)], &code), 503),
    ] {
        for _ in 0..3 {
            let mut client = gateway.connect().await;
            client.send(&bytes).await;
            assert_eq!(client.answer().await.status, status, "{what}");
        }
        let unseen = gateway.issuer.token_with(json!({ "sub": what, "scope": "admin" }));
        assert_eq!(Behind::new(&gateway, "").await.status("/api/x", Some(&unseen)).await, 200, "{what}");
    }
    let asked = |path: &str| server.received().iter().filter(|asked| asked.path() == path).count();
    assert_eq!(asked("/token"), 0, "it is no matter of the authorization server's");
}

/// Where an upstream lets every page send tokens: what pages that no client lists are denied brakes no one
/// but them.
#[tokio::test]
async fn no_page_brakes_its_visitor_where_an_upstream_lets_it_send_tokens() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let app = "http://app.gate.localhost:3000";
    let gateway = Gateway::with(&format!(
        "trusted_proxies: 127.0.0.1
limits: {{ denials_per_address: 3/h }}
clients: {{ web-app: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"{app}/back\", origins: [\"{app}\"] }} }}
routes:
  - {{ path: /open/*, to: \"{to}\", cors: upstream }}
  - {{ path: /api/*, to: \"{to}\" }}\n"
    ))
    .await;
    let evil = Some("http://evil.example");
    let mut client = gateway.connect().await;
    let mut get = async |address: &str, path: &str, origin: Option<&str>, token: &str| {
        let bearer = format!("Bearer {token}");
        let mut fields = vec![("X-Forwarded-For", address), ("Authorization", &*bearer)];
        fields.extend(origin.map(|origin| ("Origin", origin)));
        client.get(path, &fields).await.status
    };
    let mut tokens = (0..).map(|n| gateway.issuer.token_with(json!({ "sub": format!("user {n}") })));
    let mut unseen = || tokens.next().unwrap();
    let visitor = "192.0.2.1";
    for turn in 0..5 {
        let expected = if turn < 3 { 401 } else { 429 };
        assert_eq!(get(visitor, "/open/x", evil, "junk").await, expected, "{turn}");
    }
    // Pages like it pay, and nobody else behind this address.
    assert_eq!(get(visitor, "/open/x", Some("http://other.example"), &unseen()).await, 429);
    let known = unseen();
    for (path, origin) in [("/open/x", None), ("/open/x", Some(app)), ("/api/x", evil), ("/api/x", None)] {
        assert_eq!(get(visitor, path, origin, &unseen()).await, 200, "{path} {origin:?}");
        assert_eq!(get(visitor, path, origin, &known).await, 200, "{path} {origin:?}");
    }
    assert_eq!(get(visitor, "/open/x", evil, &known).await, 200, "what is known goes on");
    // Whoever is braked is so with an Origin too; listed pages, and what no upstream lets pages send, count
    // as ever.
    for (address, path, origin) in
        [("192.0.2.2", "/open/x", None), ("192.0.2.3", "/open/x", Some(app)), ("192.0.2.4", "/api/x", evil)]
    {
        for turn in 0..3 {
            assert_eq!(get(address, path, origin, "junk").await, 401, "{address} {turn}");
        }
        for (path, origin) in [("/open/x", evil), ("/open/x", None), ("/api/x", None)] {
            assert_eq!(get(address, path, origin, &unseen()).await, 429, "{address} {path} {origin:?}");
        }
    }
}

/// A client with a page and a native one, of this authorization server; `denials`: what one address may have.
fn with_clients(server: &Upstream, back: &str, denials: &str) -> Gateway {
    let config = format!(
        "trusted_proxies: 127.0.0.1
limits: {{ denials_per_address: {denials} }}
issuers: {{ fake: {{ url: \"{}\", audience: \"https://api.example.com\" }} }}
clients:
  web-app: {{ mode: token, login: page, redirect_uri: \"{back}\" }}
  phone: {{ mode: native }}
routes: [{{ path: /api/*, to: \"http://127.0.0.1:9\" }}]
",
        server.url()
    );
    Gateway::unready(&config, |_| {}).unwrap()
}

#[tokio::test]
async fn made_up_codes_count_and_reach_the_authorization_server_no_more() {
    let server = Upstream::answering(Arc::new(crate::csrf::authorization_server)).await;
    let back = format!("http://{HOST}/back");
    let gateway = with_clients(&server, &back, "4/h");
    let asked = || server.received().iter().filter(|asked| asked.path() == "/token").count();
    let verifier = "v".repeat(43);
    let code = format!(
        "grant_type=authorization_code&client_id=web-app&code=made-up&redirect_uri={back}&code_verifier={verifier}"
    );
    let native = "grant_type=refresh_token&client_id=phone&refresh_token=made-up".to_owned();
    let send = async |body: &str, address: &str| {
        let origin = format!("http://{HOST}");
        let form = "application/x-www-form-urlencoded";
        let fields = [("Content-Type", form), ("Origin", &*origin), ("X-Forwarded-For", address)];
        let mut client = gateway.connect().await;
        client.send(request("POST", "/oauth/token", &fields, body.as_bytes())).await;
        client.answer().await
    };
    for body in [&code, &native, &code, &native] {
        let answer = send(body, "192.0.2.1").await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_grant")), "{body}");
    }
    assert_eq!(asked(), 4);
    for body in [&code, &native] {
        let answer = send(body, "192.0.2.1").await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (429, &json!("temporarily_unavailable")),
            "{body}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(
            answer.header("retry-after").is_some_and(|after| (800..=900).contains(&after.parse().unwrap()))
        );
    }
    assert_eq!(asked(), 4);
    assert_eq!(send(&code, "192.0.2.2").await.status, 400, "nobody else pays");
    assert_eq!(asked(), 5);
    // Tokens are no longer looked at either.
    assert_eq!(Behind::new(&gateway, "192.0.2.1").await.status("/api/x", Some("junk")).await, 429);
}

/// A proof of possession, whatever it is, takes nobody out of the brake: an authorization server may look at
/// it before it looks at the code.
#[tokio::test]
async fn a_proof_of_possession_is_no_way_around_the_brake() {
    let server = Upstream::answering(Arc::new(crate::csrf::authorization_server)).await;
    let back = format!("http://{HOST}/back");
    let gateway = with_clients(&server, &back, "120/h");
    let asked = || server.received().iter().filter(|asked| asked.path() == "/token").count();
    let holder = Holder::new();
    let verifier = "v".repeat(43);
    let code = format!(
        "grant_type=authorization_code&client_id=web-app&code=made-up&redirect_uri={back}&code_verifier={verifier}"
    );
    let native = "grant_type=refresh_token&client_id=phone&refresh_token=made-up".to_owned();
    let token_endpoint = format!("{}/token", server.url());
    let proof = || holder.proof("POST", &token_endpoint, "");
    let used = proof();
    let made_up = || "x".to_owned();
    let again = || used.clone();
    /// Address, body, proof, what is said of it, and how often that server is asked.
    type Case<'a> = (&'a str, &'a str, &'a dyn Fn() -> String, &'a str, usize);
    let cases: [Case<'_>; 4] = [
        ("192.0.2.1", &code, &proof, "use_dpop_nonce", 120),
        ("192.0.2.2", &native, &made_up, "invalid_dpop_proof", 120),
        ("192.0.2.3", &native, &proof, "use_dpop_nonce", 120),
        // The first time it is somebody's.
        ("192.0.2.4", &code, &again, "invalid_dpop_proof", 1),
    ];
    for (address, body, proof, error, reach_it) in cases {
        let before = asked();
        let mut client = gateway.connect().await;
        let mut send = async || {
            let (origin, proof) = (format!("http://{HOST}"), proof());
            let form = "application/x-www-form-urlencoded";
            let fields = [
                ("Content-Type", form),
                ("Origin", &*origin),
                ("X-Forwarded-For", address),
                ("DPoP", &*proof),
            ];
            client.send(request("POST", "/oauth/token", &fields, body.as_bytes())).await;
            client.answer().await
        };
        for turn in 0..120 {
            let answer = send().await;
            let expected = if turn == 0 && reach_it == 1 { "use_dpop_nonce" } else { error };
            assert_eq!((answer.status, &answer.json()["error"]), (400, &json!(expected)), "{address} {turn}");
        }
        let answer = send().await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (429, &json!("temporarily_unavailable")),
            "{address}"
        );
        assert_eq!(asked() - before, reach_it, "{address}");
    }
}
