//! `cors.origins`: pages that are no client's, with a token that they bring, and with nothing else.

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::explain::explain;
use crate::streams::{MASKED, SWITCHES, accept};
use crate::support::client::{Answer, Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Upstream};
use crate::upstreams::reload;
use crate::websocket_tokens::{handshake, subprotocol};

const OWN: &str = "http://gate.localhost:8080";
const APP: &str = "https://app.example.com";
const MORE: &str = "https://more.example.com";
const PORTAL: &str = "http://portal.gate.localhost:3000";
const EVIL: &str = "https://evil.example";
/// What `https://*.preview.example.com` is not.
const NEAR_MISSES: [&str; 8] = [
    "https://preview.example.com",
    "https://a.b.preview.example.com",
    "http://pr-7.preview.example.com",
    "https://pr-7.preview.example.com:8443",
    "https://pr-7.preview.example.com.evil.example",
    "https://evil-preview.example.com",
    "https://evil.example/.preview.example.com",
    "https://PR-7.preview.example.com",
];
const PREVIEW: &str = "https://pr-7.preview.example.com";

/// Verifies tokens, and has no client.
fn verifying(to: &str) -> String {
    format!(
        "cors: {{ origins: [\"{APP}\", \"https://*.preview.example.com\"] }}
routes:
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: /more/*, to: \"{to}\", methods: GET, cors: {{ origins: \"{MORE}\", headers: If-Match }} }}
  - {{ path: /public/*, to: \"{to}\", public: true, cors: {{ origins: \"*\" }} }}
  - {{ path: /own-cors/*, to: \"{to}\", cors: upstream }}
"
    )
}

async fn preflight(client: &mut Client, path: &str, origin: &str) -> Answer {
    let fields = [("Origin", origin), ("Access-Control-Request-Method", "GET")];
    client.send(request("OPTIONS", path, &fields, b"")).await;
    client.answer_to("OPTIONS").await.unwrap()
}

#[tokio::test]
async fn listed_pages_are_answered_their_preflights_where_there_is_no_client() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&verifying(&upstream.url())).await;
    let mut client = gateway.connect().await;
    let always = "Authorization, Content-Type, DPoP, traceparent, tracestate, baggage";
    let mut cases = vec![
        ("/api/x", APP, Some(APP)),
        ("/api/x", PREVIEW, Some(PREVIEW)),
        ("/api/x", MORE, None),
        ("/api/x", EVIL, None),
        ("/api/x", "null", None),
        ("/api/x", OWN, None),
        ("/more/x", APP, Some(APP)),
        ("/more/x", MORE, Some(MORE)),
        ("/more/x", EVIL, None),
        ("/public/x", APP, Some(APP)),
        ("/public/x", EVIL, Some("*")),
        ("/public/x", "null", Some("*")),
        ("/oauth/token", APP, None),
        ("/oauth/session", PREVIEW, None),
    ];
    cases.extend(NEAR_MISSES.map(|origin| ("/api/x", origin, None)));
    for (path, origin, shared) in cases {
        let answer = preflight(&mut client, path, origin).await;
        let what = format!("{path} {origin}");
        assert_eq!(answer.status, if shared.is_some() { 204 } else { 403 }, "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), shared, "{what}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{what}");
        assert_eq!(answer.all("vary"), ["Origin"], "{what}");
        let more = if path == "/more/x" { format!("{always}, if-match") } else { always.to_owned() };
        let headers = shared.map(|_| more.as_str());
        assert_eq!(answer.header("access-control-allow-headers"), headers, "{what}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn listed_pages_read_answers_and_refusals_without_cookies() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: https://evil.example\r\n\
          Access-Control-Allow-Credentials: true\r\n\r\nok"
            .to_vec()
    }))
    .await;
    let gateway = Gateway::with(&verifying(&upstream.url())).await;
    let mut client = gateway.connect().await;
    let bearer = gateway.bearer("alice", "api:read");
    let mut cases = vec![
        ("/api/x", APP, true, 200, Some(APP)),
        ("/api/x", PREVIEW, true, 200, Some(PREVIEW)),
        ("/api/x", APP, false, 401, Some(APP)),
        ("/api/x", EVIL, true, 200, None),
        ("/api/x", "null", true, 200, None),
        ("/more/x", MORE, true, 200, Some(MORE)),
        ("/public/x", PREVIEW, false, 200, Some(PREVIEW)),
        ("/public/x", EVIL, false, 200, Some("*")),
        ("/public/x", EVIL, true, 200, Some("*")),
        ("/nothing", APP, true, 404, Some(APP)),
        ("/nothing", MORE, true, 404, None),
        ("/nothing", EVIL, true, 404, None),
        ("/oauth/nothing", APP, false, 404, None),
        ("/oauth/token", APP, false, 405, None),
    ];
    cases.extend(NEAR_MISSES.map(|origin| ("/api/x", origin, true, 200, None)));
    for (path, origin, token, status, shared) in cases {
        let mut fields = vec![("Origin", origin)];
        fields.extend(token.then_some(("Authorization", bearer.as_str())));
        let answer = client.get(path, &fields).await;
        let what = format!("{path} {origin}");
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), shared, "{what}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{what}");
        assert_eq!(answer.header("access-control-expose-headers").is_some(), shared.is_some(), "{what}");
        assert_eq!(answer.all("vary"), ["Origin"], "{what}");
    }
    let two = [("Origin", APP), ("Origin", APP), ("Authorization", &bearer)];
    assert_eq!(client.get("/public/x", &two).await.header("access-control-allow-origin"), None);
}

/// What is refused before its target was read, too.
#[tokio::test]
async fn listed_pages_read_what_is_refused_for_its_head_or_its_rate() {
    let upstream = Upstream::start().await;
    let config = format!("limits: {{ requests_per_address: 2/h }}\n{}", verifying(&upstream.url()));
    let gateway = Gateway::with(&config).await;
    let mut client = gateway.connect().await;
    let large = "x".repeat(40_000);
    for (path, more, status, shared) in [
        ("/api/x", Some(("X-Large", large.as_str())), 431, Some(APP)),
        ("/oauth/token", Some(("X-Large", large.as_str())), 431, None),
        ("/api//x", None, 400, Some(APP)),
        ("/api/x", None, 401, Some(APP)),
        ("/api/x", None, 429, Some(APP)),
        ("/oauth/token", None, 429, None),
    ] {
        let mut fields = vec![("Origin", APP)];
        fields.extend(more);
        let answer = client.get(path, &fields).await;
        let told = (answer.status, answer.header("access-control-allow-origin"));
        assert_eq!(told, (status, shared), "{path}");
        if !answer.keeps_alive() {
            client = gateway.connect().await;
        }
    }
}

/// A page of anybody's can have its visitor's browser send tokens where everybody may read: that must not
/// keep the visitor from what they came for.
#[tokio::test]
async fn pages_of_everybody_brake_nobody_else_behind_their_visitors_address() {
    let upstream = Upstream::start().await;
    let config = format!("limits: {{ denials_per_address: 3/h }}\n{}", verifying(&upstream.url()));
    let gateway = Gateway::with(&config).await;
    let mut client = gateway.connect().await;
    let asks = async |client: &mut Client, path: &str, origin: &str, token: &str| {
        client.get(path, &[("Origin", origin), ("Authorization", token)]).await.status
    };
    for at in 0..6 {
        let status = asks(&mut client, "/public/x", EVIL, &format!("Bearer a.b.{at}")).await;
        assert_eq!(status, if at < 3 { 401 } else { 429 }, "{at}");
    }
    assert_eq!(asks(&mut client, "/api/x", APP, &gateway.bearer("alice", "api:read")).await, 200);
    assert_eq!(asks(&mut client, "/public/x", PREVIEW, &gateway.bearer("bob", "api:read")).await, 200);
}

/// Beside clients: what is theirs stays theirs.
#[tokio::test]
async fn listed_pages_use_no_session_and_nothing_under_oauth() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "cors: {{ origins: [\"{APP}\"] }}
clients:
  portal: {{ mode: session, issuer: discovered, origins: [\"{PORTAL}\"] }}
  web: {{ mode: token, issuer: discovered }}
routes:
  - {{ path: /app/*, to: \"{to}\", clients: portal }}
  - {{ path: /open/*, to: \"{to}\", public: true, clients: portal, cors: {{ origins: \"*\" }} }}
"
    ))
    .await;
    let mut client = gateway.connect().await;
    for (path, origin, shared, with_cookies) in [
        ("/app/x", PORTAL, Some(PORTAL), true),
        ("/app/x", APP, Some(APP), false),
        ("/app/x", EVIL, None, false),
        ("/open/x", PORTAL, Some(PORTAL), true),
        ("/open/x", APP, Some(APP), false),
        ("/open/x", EVIL, Some("*"), false),
        ("/nothing", PORTAL, Some(PORTAL), true),
        ("/nothing", APP, Some(APP), false),
        ("/oauth/session?client_id=portal", APP, None, false),
    ] {
        let (what, credentials) = (format!("{path} {origin}"), with_cookies.then_some("true"));
        let answer = preflight(&mut client, path, origin).await;
        let allowed = answer.header("access-control-allow-headers").unwrap_or_default();
        assert_eq!(answer.header("access-control-allow-origin"), shared, "{what}");
        assert_eq!(answer.header("access-control-allow-credentials"), credentials, "{what}");
        assert_eq!(allowed.contains("x-csrf"), with_cookies && path != "/nothing", "{what}");
        let answer = client.get(path, &[("Origin", origin)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), shared, "{what}");
        assert_eq!(answer.header("access-control-allow-credentials"), credentials, "{what}");
    }
    let session = ("Cookie", "__Host-Http-tollgate-portal=AAAA");
    let csrf = ("X-CSRF", "1");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for (method, path, body, of_client) in [
        ("GET", "/app/x", &b""[..], 401),
        ("GET", "/oauth/session?client_id=portal", b"", 401),
        ("POST", "/oauth/token", b"grant_type=refresh_token&client_id=web", 400),
        ("DELETE", "/oauth/token?client_id=web", b"", 204),
        ("POST", "/oauth/logout?client_id=portal", b"", 200),
    ] {
        for (origin, status) in
            [(APP, 403), (EVIL, 403), (if path.contains("token") { OWN } else { PORTAL }, of_client)]
        {
            let fields = [("Origin", origin), session, csrf, form];
            client.send(request(method, path, &fields, body)).await;
            let answer = client.answer_to(method).await.unwrap();
            assert_eq!(answer.status, status, "{method} {path} {origin}");
        }
    }
    let before = upstream.received().len();
    let answer = client.get("/open/x", &[("Origin", APP), session, csrf]).await;
    assert_eq!((answer.status, upstream.received().len()), (200, before + 1));
    assert_eq!(upstream.received().pop().unwrap().header("x-auth-subject"), None);
    let to_app = format!("/oauth/login?client_id=portal&return_to={APP}/");
    let navigation = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    assert_eq!(client.get(&to_app, &navigation).await.status, 400, "no sign-in leads there");
}

#[tokio::test]
async fn listed_pages_and_the_gateways_own_open_websockets_with_their_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::with(&verifying(&to)).await;
    let token = gateway.issuer.token("alice", "api:read");
    let ours = subprotocol(&token);
    for (path, origin) in [
        ("/api/x", APP),
        ("/api/x", PREVIEW),
        ("/api/x", OWN),
        ("/more/x", MORE),
        ("/public/x", EVIL),
        ("/public/x", OWN),
        ("/own-cors/x", APP),
        ("/own-cors/x", OWN),
    ] {
        let mut page = gateway.connect().await;
        page.send(request("GET", path, &handshake(origin, &format!("chat, {ours}")), b"")).await;
        let mut peer = accept(&listener).await;
        let head = peer.take_head().await.unwrap();
        assert!(head.to_lowercase().contains("x-auth-subject: alice\r\n"), "{path} {origin}: {head}");
        assert!(!head.contains("bearer"), "{head}");
        peer.send(SWITCHES).await;
        let answer = page.take_head().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{path} {origin}: {answer}");
        page.send(MASKED).await;
        peer.take(MASKED).await;
    }
    let refused = NEAR_MISSES.into_iter().chain([
        EVIL,
        MORE,
        "null",
        "http://gate.localhost:8081",
        "https://gate.localhost:8080",
    ]);
    for (path, origin) in refused.map(|origin| ("/api/x", origin)).chain([("/own-cors/x", EVIL)]) {
        let mut page = gateway.connect().await;
        page.send(request("GET", path, &handshake(origin, &ours), b"")).await;
        let answer = page.answer().await;
        assert_eq!(answer.status, 403, "{path} {origin}");
        assert_eq!(answer.json()["type"], "urn:tollgate:refusal:origin_not_allowed", "{path} {origin}");
    }
    for path in ["/api/x", "/public/x"] {
        let mut fields = handshake(OWN, &ours);
        fields.retain(|(name, _)| *name != "Origin");
        let mut page = gateway.connect().await;
        page.send(request("GET", path, &fields, b"")).await;
        assert_eq!(page.answer().await.status, 403, "{path}, no origin");
        fields.extend([("Origin", OWN), ("Origin", OWN)]);
        let mut page = gateway.connect().await;
        page.send(request("GET", path, &fields, b"")).await;
        assert_eq!(page.answer().await.status, 403, "{path}, two origins");
    }
}

#[tokio::test]
async fn a_reload_takes_listed_pages_off_and_lists_them_again() {
    let upstream = Upstream::start().await;
    let listed = verifying(&upstream.url());
    let (_, unlisted) = listed.split_once('\n').unwrap();
    let gateway = Gateway::with(&listed).await;
    let status = async |origin: &str| preflight(&mut gateway.connect().await, "/api/x", origin).await.status;
    assert_eq!((status(APP).await, status(PREVIEW).await), (204, 204));
    reload(&gateway, unlisted);
    assert_eq!((status(APP).await, status(PREVIEW).await), (403, 403));
    reload(&gateway, &listed);
    assert_eq!((status(APP).await, status(EVIL).await), (204, 403));
}

#[tokio::test]
async fn explain_says_which_pages_may_read_the_answer() {
    let upstream = Upstream::start().await;
    let all = verifying(&upstream.url());
    let gateway = Gateway::with(&all).await;
    let top = "https://app.example.com, https://*.preview.example.com";
    let by = "may read the answer without cookies (`cors`)";
    for (path, told) in [
        ("/api/x", format!("cors      ?   pages of other origins  {top} {by}\n")),
        ("/more/x", format!("  {top}, {MORE} {by}\n")),
        ("/public/x", format!("  {top}, every origin {by}\n")),
        ("/own-cors/x", "its upstream says which may read the answer (`cors: upstream`)\n".to_owned()),
    ] {
        let (_, text) = explain(gateway.folder(), &["GET", &format!("http://{HOST}{path}")]).await;
        assert!(text.contains(&told), "{path}: {text}");
    }
    let (_, rest) = all.split_once('\n').unwrap();
    let gateway = Gateway::with(rest).await;
    let (_, text) = explain(gateway.folder(), &["GET", "/api/x"]).await;
    assert!(text.contains("pages of other origins  none may read the answer\n"), "{text}");
}
