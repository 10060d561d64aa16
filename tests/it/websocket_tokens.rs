//! A page's token as subprotocol of its WebSocket: who may bring it, what the upstream and the page see of
//! it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::streams::{HANDSHAKE, MASKED, SWITCHES, TEXT, accept};
use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::{AUDIENCE, Issuer};
use crate::support::tls::Http2;
use crate::support::upstream::{Received, Upstream};

const APP: &str = "http://app.gate.localhost:3000";
const OTHER: &str = "http://other.gate.localhost:3000";

/// An authorization server with keys, and a gateway before an upstream. Two applications; `/chat/*` takes
/// both, `/app/*` the first alone, `/public/*` everybody.
struct World {
    server: Upstream,
    issuer: Issuer,
    gateway: Gateway,
}

impl World {
    async fn start(to: &str, more: &str) -> Self {
        let issuer = Issuer::new();
        let keys = issuer.jwks().to_string();
        let server = Upstream::answering(Arc::new(move |asked: &Received| {
            let issuer = format!("http://{}", asked.header("host").unwrap());
            let metadata =
                json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "token_endpoint": issuer });
            let body = if asked.path() == "/jwks" { keys.clone() } else { metadata.to_string() };
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }))
        .await;
        let client = |id: &str, origin: &str| {
            format!(
                "  {id}: {{ mode: token, login: page, redirect_uri: \"{origin}/back\", origins: [\"{origin}\"] }}\n"
            )
        };
        let config = format!(
            "issuers: {{ as: {{ url: \"{}\", audience: \"{AUDIENCE}\" }} }}\nclients:\n{}{}routes:
  - {{ path: /chat/*, to: \"{to}\", require: {{ scope: chat }} }}
  - {{ path: /app/*, to: \"{to}\", clients: web-app }}
  - {{ path: /own-cors/*, to: \"{to}\", cors: upstream }}
  - {{ path: /public/*, to: \"{to}\", public: true }}
{more}",
            server.url(),
            client("web-app", APP),
            client("other", OTHER),
        );
        let gateway = Gateway::unready(&config, |_| {}).unwrap();
        Self { server, issuer, gateway }
    }

    /// A good token, but for what `claims` say.
    fn token(&self, claims: Value) -> String {
        let mut all = json!({ "iss": self.server.url(), "sub": "alice", "scope": "chat" });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        self.issuer.token_with(all)
    }
}

pub fn subprotocol(token: &str) -> String {
    format!("tollgate.bearer.{}", URL_SAFE_NO_PAD.encode(token))
}

/// A handshake from `origin` that offers `subprotocols`.
pub fn handshake<'a>(origin: &'a str, subprotocols: &'a str) -> Vec<(&'a str, &'a str)> {
    [&HANDSHAKE[..], &[("Origin", origin), ("Sec-WebSocket-Protocol", subprotocols)]].concat()
}

async fn stage(more: &str) -> (TcpListener, World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(&format!("http://{}", listener.local_addr().unwrap()), more).await;
    (listener, world)
}

/// The value of a field in a head, whole.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let found: Vec<_> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(given, _)| given.eq_ignore_ascii_case(name))
        .collect();
    assert!(found.len() < 2, "{head}");
    found.first().map(|(_, value)| *value)
}

/// Opens a WebSocket whose upstream chooses `chosen`. Gives the head that the upstream saw, what the page was
/// answered, and both ends.
async fn open(
    (listener, world): &(TcpListener, World),
    fields: &[(&str, &str)],
    chosen: Option<&str>,
) -> (String, Option<String>, Client, Client) {
    let mut page = world.gateway.connect().await;
    page.send(request("GET", "/chat/x", fields, b"")).await;
    let mut peer = accept(listener).await;
    let head = peer.take_head().await.unwrap();
    let chosen = chosen.map(|one| format!("Sec-WebSocket-Protocol: {one}\r\n\r\n")).unwrap_or("\r\n".into());
    peer.send(format!("{}{chosen}", SWITCHES.strip_suffix("\r\n").unwrap())).await;
    let answer = page.take_head().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.contains("bearer."), "{answer}");
    let answered = field(&answer, "sec-websocket-protocol").map(str::to_owned);
    (head, answered, page, peer)
}

#[tokio::test]
async fn a_token_as_subprotocol_opens_a_websocket_and_stays_here() {
    let stage = stage("").await;
    let token = stage.1.token(json!({}));
    let ours = subprotocol(&token);
    let offers = [
        (format!("chat, {ours}"), Some("chat")),
        (format!("{ours},chat"), Some("chat")),
        (format!("v2,{ours} , chat"), Some("v2, chat")),
        (format!("chat, {}", ours.replace("tollgate.bearer", "Tollgate.BEARER")), Some("chat")),
        (format!("tollgate.bearer, chat, {ours}"), Some("chat")),
        (ours.clone(), None),
        (format!("tollgate.bearer, {ours}"), None),
    ];
    for (at, (offered, left)) in offers.iter().enumerate() {
        let origin = if at % 2 == 0 { APP } else { OTHER };
        let chosen = left.and_then(|left| left.rsplit(", ").next());
        let (head, answered, mut page, mut peer) = open(&stage, &handshake(origin, offered), chosen).await;
        assert_eq!(field(&head, "sec-websocket-protocol"), *left, "{offered}");
        assert_eq!(field(&head, "x-auth-subject"), Some("alice"));
        assert_eq!(field(&head, "authorization"), None);
        assert!(!head.contains(&token) && !head.to_lowercase().contains("bearer"), "{head}");
        // Where the upstream chooses none, a page that offered the bare name gets that.
        let expected = chosen.or(offered.starts_with("tollgate.bearer,").then_some("tollgate.bearer"));
        assert_eq!(answered.as_deref(), expected, "{offered}");
        page.send(MASKED).await;
        peer.take(MASKED).await;
        peer.send(TEXT).await;
        page.take(TEXT).await;
    }
    let lines = stage.1.gateway.logged(offers.len()).await;
    assert!(lines.iter().all(|line| line["subject"] == "alice" && line["status"] == 101), "{lines:?}");
    assert!(!stage.1.gateway.log.text().contains("bearer"));
    // Several fields are one list.
    let mut fields = handshake(APP, "a");
    fields.extend([("Sec-WebSocket-Protocol", ours.as_str()), ("Sec-WebSocket-Protocol", "b")]);
    let (head, ..) = open(&stage, &fields, None).await;
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("a, b"));
    // Named by `Connection` it is gone, and was read all the same.
    let mut fields = handshake(APP, &ours);
    fields[0].1 = "Upgrade, Sec-WebSocket-Protocol";
    let (head, ..) = open(&stage, &fields, None).await;
    assert_eq!(
        (field(&head, "sec-websocket-protocol"), field(&head, "x-auth-subject")),
        (None, Some("alice"))
    );
}

#[tokio::test]
async fn the_subprotocols_of_an_application_stay_as_they_came() {
    let stage = stage("").await;
    let bearer = format!("Bearer {}", stage.1.token(json!({})));
    let mut fields = handshake("http://anybody.example", "chat,v2");
    fields.push(("Authorization", &bearer));
    let (head, answered, ..) = open(&stage, &fields, Some("v2")).await;
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat,v2"));
    assert_eq!(answered.as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_token_as_subprotocol_goes_on_where_the_operator_says_so() {
    let stage = stage("identity: { access_token: forward }\n").await;
    let token = stage.1.token(json!({}));
    let (head, ..) = open(&stage, &handshake(APP, &format!("chat, {}", subprotocol(&token))), None).await;
    assert_eq!(field(&head, "authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"));
}

/// What is asked for, how, and what must come of it.
type Case<'a> = (&'static str, &'a str, Vec<(&'a str, &'a str)>, u16, &'static str);

#[tokio::test]
async fn a_token_as_subprotocol_is_refused_in_every_other_case() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url(), "").await;
    let gateway = &world.gateway;
    let good = subprotocol(&world.token(json!({})));
    let other = subprotocol(&world.token(json!({ "client_id": "other" })));
    let stranger = Issuer::new().token_with(json!({ "iss": world.server.url(), "sub": "alice" }));
    let (forged, huge) = (subprotocol(&stranger), subprotocol(&"x".repeat(9000)));
    let scopeless = subprotocol(&world.token(json!({ "scope": "" })));
    let bearer = format!("Bearer {}", world.token(json!({})));
    let both = format!("{good}, {good}");
    let malformed = format!("{good}=");
    let with = |origin, offered, name, value| {
        let mut fields = handshake(origin, offered);
        fields.push((name, value));
        fields
    };
    let without = |name: &str| {
        let mut fields = handshake(APP, &good);
        fields.retain(|(given, _)| *given != name);
        fields
    };
    let cases: Vec<Case<'_>> = vec![
        ("no origin", "/chat/x", without("Origin"), 403, "origin_not_allowed"),
        ("a foreign origin", "/chat/x", handshake("http://evil.example", &good), 403, "origin_not_allowed"),
        (
            "the gateway's own at another port",
            "/chat/x",
            handshake("http://gate.localhost:8081", &good),
            403,
            "origin_not_allowed",
        ),
        ("null", "/chat/x", handshake("null", &good), 403, "origin_not_allowed"),
        ("two origins", "/chat/x", with(APP, &good, "Origin", APP), 403, "origin_not_allowed"),
        (
            "no spelling of browsers",
            "/chat/x",
            handshake("HTTP://app.gate.localhost:3000", &good),
            403,
            "origin_not_allowed",
        ),
        (
            "an origin whose client the route does not take",
            "/app/x",
            handshake(OTHER, &other),
            403,
            "origin_not_allowed",
        ),
        (
            "a public route, a foreign origin",
            "/public/x",
            handshake("http://evil.example", &good),
            403,
            "origin_not_allowed",
        ),
        ("a public route, a bad token", "/public/x", handshake(APP, &forged), 401, "bad_signature"),
        ("a token of another client", "/app/x", handshake(APP, &other), 401, "client_not_accepted"),
        ("a forged token", "/chat/x", handshake(APP, &forged), 401, "bad_signature"),
        ("not enough", "/chat/x", handshake(APP, &scopeless), 403, "insufficient_scope"),
        (
            "nothing behind the prefix",
            "/chat/x",
            handshake(APP, "chat, tollgate.bearer."),
            401,
            "token_malformed",
        ),
        ("padding", "/chat/x", handshake(APP, &malformed), 401, "token_malformed"),
        ("no base64url", "/chat/x", handshake(APP, "tollgate.bearer.!!"), 401, "token_malformed"),
        ("the name alone", "/chat/x", handshake(APP, "tollgate.bearer"), 401, "no_credential"),
        ("too large", "/chat/x", handshake(APP, &huge), 431, "token_too_large"),
        ("two tokens", "/chat/x", handshake(APP, &both), 400, "several_credentials"),
        (
            "two tokens in two fields",
            "/chat/x",
            with(APP, &good, "Sec-WebSocket-Protocol", &good),
            400,
            "several_credentials",
        ),
        (
            "beside Authorization",
            "/chat/x",
            with(APP, &good, "Authorization", &bearer),
            400,
            "several_credentials",
        ),
        (
            "beside Basic",
            "/chat/x",
            with(APP, &good, "Authorization", "Basic eDp5"),
            400,
            "several_credentials",
        ),
        ("and in the query", "/chat/x?access_token=x", handshake(APP, &good), 400, "token_in_query"),
        ("no upgrade", "/chat/x", without("Upgrade"), 400, "bad_request"),
        ("no Connection", "/chat/x", without("Connection"), 400, "bad_request"),
        ("no upgrade, public", "/public/x", without("Upgrade"), 400, "bad_request"),
    ];
    for (what, path, fields, status, reason) in &cases {
        let mut client = gateway.connect().await;
        client.send(request("GET", path, fields, b"")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, *status, "{what}");
        assert_eq!(answer.json()["type"], format!("urn:tollgate:refusal:{reason}"), "{what}");
        assert!(answer.keeps_alive(), "{what}");
    }
    // Other methods, and what looks like a preflight where the upstream would answer it.
    for (method, path) in [("POST", "/chat/x"), ("OPTIONS", "/chat/x"), ("OPTIONS", "/own-cors/x")] {
        let fields = with(APP, &good, "Access-Control-Request-Method", "GET");
        let mut client = gateway.connect().await;
        client.send(request(method, path, &fields, b"")).await;
        assert_eq!(client.answer_to(method).await.unwrap().status, 400, "{method} {path}");
    }
    // HTTP/2 has no upgrade.
    let mut client = Http2::clear_text(gateway.public).await;
    let ask = http::Request::get(format!("http://{HOST}/chat/x")).header("origin", APP);
    let ask = ask.header("sec-websocket-protocol", &good).body(()).unwrap();
    assert_eq!(client.ask(ask, &[]).await.unwrap().status, 400);
    assert!(upstream.received().is_empty(), "{:#?}", upstream.received());
    assert!(!gateway.log.text().contains("bearer"));
}
