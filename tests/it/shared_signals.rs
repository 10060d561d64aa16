//! `/oauth/events` on the wire. What becomes of sessions is tested with its flow.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::streams::{HANDSHAKE, SWITCHES, accept};
use crate::support::PATIENCE;
use crate::support::client::{Answer, Client, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::{ISS, Issuer};
use crate::support::operator::Operator;
use crate::support::upstream::Upstream;

const PATH: &str = "/oauth/events";
const TYPE: (&str, &str) = ("Content-Type", "application/secevent+jwt");
const TOKEN: (&str, &str) = ("Authorization", "Bearer what-the-transmitter-was-given");
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const ENABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-enabled";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";

/// The issuer whose keys are known, as a transmitter: without the secret of one.
const ITSELF: &str =
    "signals: { itself: { issuer: \"http://127.0.0.1:9/issuer\", audience: gate, revokes: test } }\n";

/// A transmitter with a key of its own.
struct Transmitter {
    key: Issuer,
    server: Upstream,
}

impl Transmitter {
    async fn start() -> Self {
        let key = Issuer::new();
        let keys = key.jwks().to_string();
        let server = Upstream::answering(Arc::new(move |asked| {
            let iss = format!("http://{}", asked.header("host").unwrap());
            let metadata = json!({
                "spec_version": "1_0", "issuer": iss, "jwks_uri": format!("{iss}/jwks"),
                "delivery_methods_supported": ["urn:ietf:rfc:8935"],
            });
            let (status, body) = match asked.path() {
                "/jwks" => ("200 OK", keys.clone()),
                "/.well-known/ssf-configuration" => ("200 OK", metadata.to_string()),
                _ => ("404 Not Found", String::new()),
            };
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }))
        .await;
        Self { key, server }
    }

    /// It may use two events, shows a secret and is asked for its keys.
    fn config(&self) -> String {
        format!(
            "signals: {{ okta: {{ issuer: \"{}\", audience: gate, token: what-the-transmitter-was-given, revokes: test, \
             events: [session-revoked, account-disabled] }} }}\n",
            self.server.url()
        )
    }

    fn set(&self, event: &str, changes: &Value) -> String {
        set(&self.key, &self.server.url(), event, changes)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A good SET about alice, but for what `changes` say.
fn set(key: &Issuer, iss: &str, event: &str, changes: &Value) -> String {
    let mut claims = json!({
        "iss": iss, "aud": "gate", "iat": now(), "jti": format!("{event} {changes}"),
        "sub_id": { "format": "iss_sub", "iss": ISS, "sub": "alice" }, "events": { event: {} },
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    key.sign(&json!({ "alg": "ES256", "typ": "secevent+jwt", "kid": "k1" }), &claims)
}

fn routes(upstream: &Upstream) -> String {
    format!("routes: [{{ path: /api/*, to: \"{}\" }}]\n", upstream.url())
}

async fn tell(client: &mut Client, set: &str, more: &[(&str, &str)]) -> Answer {
    let fields: Vec<_> = std::iter::once(TYPE).chain(more.iter().copied()).collect();
    client.send(request("POST", PATH, &fields, set.as_bytes())).await;
    client.answer().await
}

#[track_caller]
fn refused(answer: &Answer, err: &str) {
    assert_eq!((answer.status, &answer.json()["err"]), (400, &json!(err)), "{answer:?}");
    assert!(answer.json()["description"].is_string() && answer.json().as_object().unwrap().len() == 2);
    for (name, value) in
        [("content-type", "application/json"), ("content-language", "en"), ("cache-control", "no-store")]
    {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    assert!(answer.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn whose_session_was_revoked_elsewhere_is_out_here_at_once() {
    let (upstream, transmitter) = (Upstream::start().await, Transmitter::start().await);
    let gateway = Gateway::with(&format!("{}{}", routes(&upstream), transmitter.config())).await;
    let mut client = gateway.connect().await;
    let of = |sub: &str| gateway.issuer.token_with(json!({ "sub": sub, "jti": sub }));
    let (hers, his) = (of("alice"), of("bob"));
    assert_eq!(client.status("/api/x", &hers).await, 200);
    let said = transmitter.set(REVOKED, &json!({}));
    let answer = tell(&mut client, &said, &[TOKEN]).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.all("set-cookie").is_empty() && answer.header("access-control-allow-origin").is_none());
    assert_eq!(client.status("/api/x", &hers).await, 401);
    assert_eq!(client.status("/api/x", &his).await, 200);
    assert_eq!(tell(&mut client, &said, &[TOKEN]).await.status, 202, "once more");

    // Where it signs a token, that counts for nothing.
    let claims = json!({ "iss": transmitter.server.url(), "aud": "https://api.example.com", "sub": "bob",
        "iat": now(), "exp": now() + 60, "jti": "x" });
    let theirs = transmitter.key.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }), &claims);
    assert_eq!(client.status("/api/x", &theirs).await, 401);

    let told: Vec<_> = gateway.logged(6).await.into_iter().filter(|line| line["route"] == PATH).collect();
    assert_eq!(told.len(), 2);
    for line in &told {
        let known = (&line["outcome"], &line["client"], &line["subject"]);
        assert_eq!(known, (&json!("shared_signal"), &json!("okta"), &json!("alice")), "{line}");
    }
    assert!(!gateway.log.text().contains("eyJ"), "no token is in the log");
    let text = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    for series in [
        "tollgate_revocations{kind=\"sub\"} 1",
        "tollgate_signals_total{event=\"session-revoked\",result=\"applied\",signal=\"okta\"} 1",
        "tollgate_signals_total{event=\"session-revoked\",result=\"repeated\",signal=\"okta\"} 1",
        "tollgate_key_fetches_total{issuer=\"signals/okta\",result=\"ok\"} 1",
    ] {
        assert!(text.contains(series), "{series}\n{text}");
    }
    let listed = Operator::of(&gateway).get("/revocations?kind=sub").await.json()["revocations"][0].clone();
    assert_eq!((&listed["value"], &listed["issuer"]), (&json!("alice"), &json!("test")), "{listed}");
    assert_eq!(
        (&listed["made_by"], &listed["reason"]),
        (&json!(transmitter.server.url()), &json!("session-revoked")),
        "{listed}"
    );
    let known = Operator::of(&gateway).get("/status").await.json()["signals"][0].clone();
    assert_eq!(
        (&known["name"], &known["keys"], &known["last_error"]),
        (&json!("okta"), &json!(1), &Value::Null),
        "{known}"
    );
    assert_eq!(known["events"], json!(["session-revoked", "account-disabled"]));
    assert!(known["heard_at"].is_string(), "{known}");
    let page = Operator::of(&gateway).get("/").await;
    let page = String::from_utf8(page.body).unwrap();
    assert!(
        page.contains("<h2>Signals</h2>") && page.contains("session-revoked, account-disabled"),
        "{page}"
    );
}

#[tokio::test]
async fn an_account_that_is_disabled_is_shut_out_until_it_is_enabled() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!("{}{ITSELF}", routes(&upstream))).await;
    let mut client = gateway.connect().await;
    let token = gateway.issuer.token_with(json!({ "sub": "alice", "iat": now() + 20 }));
    assert_eq!(client.status("/api/x", &token).await, 200);
    let query = format!("{PATH}?stream=1");
    let said = set(&gateway.issuer, ISS, DISABLED, &json!({ "iat": now() - 2 }));
    client.send(request("POST", &query, &[TYPE], said.as_bytes())).await;
    assert_eq!(client.answer().await.status, 202, "an address may have a query");
    assert_eq!(client.status("/api/x", &token).await, 401, "however young the token");
    let listed = Operator::of(&gateway).get("/revocations?kind=sub").await.json()["revocations"][0].clone();
    assert_eq!((&listed["held_by"][0]["name"], &listed["until"]), (&json!(ISS), &Value::Null), "{listed}");
    let said = set(&gateway.issuer, ISS, ENABLED, &json!({ "iat": now() - 1 }));
    assert_eq!(tell(&mut client, &said, &[]).await.status, 202);
    assert_eq!(client.status("/api/x", &token).await, 200);
}

#[tokio::test]
async fn what_is_under_way_for_somebody_ends_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let gateway = Gateway::with(&format!("routes: [{{ path: /*, to: \"http://{to}\" }}]\n{ITSELF}")).await;
    let hers = format!("Bearer {}", gateway.issuer.token_with(json!({ "sub": "alice" })));
    let mut stream = gateway.connect().await;
    let fields = [&HANDSHAKE[..], &[("Authorization", hers.as_str())]].concat();
    stream.send(request("GET", "/x", &fields, b"")).await;
    let mut peer = accept(&listener).await;
    peer.take_head().await.unwrap();
    peer.send(SWITCHES).await;
    assert!(stream.take_head().await.unwrap().contains(" 101 "));
    let mut client = gateway.connect().await;
    let began = Instant::now();
    let said = set(&gateway.issuer, ISS, REVOKED, &json!({}));
    assert_eq!(tell(&mut client, &said, &[]).await.status, 202);
    stream.rest().await;
    peer.rest().await;
    // A second is promised; machines are busy.
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_does_not_hold_is_told_by_the_codes_of_rfc_8935_and_changes_nothing() {
    let (upstream, transmitter) = (Upstream::start().await, Transmitter::start().await);
    let gateway = Gateway::with(&format!("{}{}", routes(&upstream), transmitter.config())).await;
    let mut client = gateway.connect().await;
    let good = transmitter.set(REVOKED, &json!({}));
    for (set, code) in [
        ("x".to_owned(), "invalid_request"),
        (String::new(), "invalid_request"),
        (transmitter.set(REVOKED, &json!({ "exp": now() + 60 })), "invalid_request"),
        (transmitter.set(REVOKED, &json!({ "sub_id": null })), "invalid_request"),
        (
            transmitter.set(REVOKED, &json!({ "sub_id": { "format": "email", "email": "a@b.c" } })),
            "invalid_request",
        ),
        (transmitter.set(REVOKED, &json!({ "aud": "else" })), "invalid_audience"),
        (transmitter.set(REVOKED, &json!({ "iss": "https://else.example" })), "invalid_issuer"),
        (transmitter.set(ENABLED, &json!({})), "access_denied"),
        (
            transmitter.set(
                REVOKED,
                &json!({ "sub_id": { "format": "iss_sub", "iss": "https://x", "sub": "alice" } }),
            ),
            "access_denied",
        ),
        (set(&gateway.issuer, &transmitter.server.url(), REVOKED, &json!({})), "authentication_failed"),
        (gateway.issuer.token("alice", "api:read"), "invalid_issuer"),
    ] {
        refused(&tell(&mut client, &set, &[TOKEN]).await, code);
    }
    refused(&tell(&mut client, &good, &[]).await, "authentication_failed");
    let other = ("Authorization", "Bearer what-the-transmitter-was-not-given");
    refused(&tell(&mut client, &good, &[other]).await, "authentication_failed");
    for header in [("Origin", "null"), ("Origin", "http://gate.localhost:8080"), ("Sec-Fetch-Site", "none")] {
        refused(&tell(&mut client, &good, &[TOKEN, header]).await, "invalid_request");
    }
    for kind in ["application/jwt", "application/x-www-form-urlencoded"] {
        client.send(request("POST", PATH, &[("Content-Type", kind), TOKEN], good.as_bytes())).await;
        refused(&client.answer().await, "invalid_request");
    }
    let token = gateway.issuer.token("alice", "api:read");
    assert_eq!(client.status("/api/x", &token).await, 200);
    assert_eq!(tell(&mut client, &good, &[TOKEN]).await.status, 202);
    let stream = json!({ "sub_id": { "format": "opaque", "id": "stream" } });
    assert_eq!(tell(&mut client, &transmitter.set(VERIFICATION, &stream), &[TOKEN]).await.status, 202);
    let text = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let denied = format!("tollgate_denials_total{{reason=\"security_event_denied\",route=\"{PATH}\"}} 2");
    assert!(text.contains(&denied), "{text}");
}

#[tokio::test]
async fn other_methods_and_too_much_learn_what_is_right() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!("{}{ITSELF}", routes(&upstream))).await;
    let mut client = gateway.connect().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        client.send(request(method, PATH, &[], b"")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    let fields = [("Origin", "http://app.localhost"), ("Access-Control-Request-Method", "POST")];
    client.send(request("OPTIONS", PATH, &fields, b"")).await;
    let preflight = client.answer().await;
    assert_eq!(preflight.status, 404, "no page may call it");
    assert!(preflight.header("access-control-allow-origin").is_none());
    client.send(request("POST", PATH, &[TYPE], &[b'x'; 8 * 1024 + 1])).await;
    let large = client.answer().await;
    assert_eq!(large.status, 413);
    assert!(large.json()["detail"].as_str().unwrap().contains("limits.token"), "{large:?}");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn without_transmitters_nothing_is_there() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let said = set(&gateway.issuer, ISS, REVOKED, &json!({}));
    assert_eq!(tell(&mut client, &said, &[]).await.status, 404);
    client.send(request("GET", PATH, &[], b"")).await;
    assert_eq!(client.answer().await.status, 404);
    assert_eq!(Operator::of(&gateway).get("/status").await.json()["signals"], json!([]));
    // A reload can add one.
    let text = format!("{}{ITSELF}", gateway.text);
    let read = |path: &Path| std::fs::read(path);
    let loaded = tollgate::config::parse(&text, gateway.folder(), &|_| None, &read).unwrap();
    assert!(gateway.app.reload(loaded.settings).unwrap().is_empty());
    assert_eq!(tell(&mut client, &said, &[]).await.status, 202);
}

#[tokio::test]
async fn while_its_keys_are_away_a_transmitter_is_told_when_to_come_back() {
    let upstream = Upstream::start().await;
    let signals = "signals: { away: { issuer: \"http://127.0.0.1:9\", audience: gate, revokes: test, jwks_uri: \"http://127.0.0.1:9/k\" } }\n";
    let gateway = Gateway::with(&format!("{}{signals}", routes(&upstream))).await;
    let mut client = gateway.connect().await;
    let said = set(&gateway.issuer, "http://127.0.0.1:9", REVOKED, &json!({}));
    let answer = tell(&mut client, &said, &[]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let ready = gateway.admin("/readyz").await;
    assert_eq!(ready.status, 200);
    let degraded = ready.json()["degraded"].to_string();
    assert!(degraded.contains("signals away: no keys yet"), "{degraded}");
}

#[tokio::test]
async fn who_sends_too_much_that_is_none_gets_no_more_work_done() {
    let (upstream, transmitter) = (Upstream::start().await, Transmitter::start().await);
    let limits = "limits: { denials_per_address: 3/h }\n";
    let gateway = Gateway::with(&format!("{}{}{limits}", routes(&upstream), transmitter.config())).await;
    let mut client = gateway.connect().await;
    let good = transmitter.set(REVOKED, &json!({}));
    // What a page can make a visitor's browser send does not count, nor what others make the transmitter
    // send.
    for _ in 0..5 {
        refused(
            &tell(&mut client, "x", &[TOKEN, ("Origin", "https://evil.example")]).await,
            "invalid_request",
        );
        refused(&tell(&mut client, "x", &[TOKEN]).await, "invalid_request");
        let elsewhere = transmitter.set(REVOKED, &json!({ "aud": "not-ours" }));
        refused(&tell(&mut client, &elsewhere, &[TOKEN]).await, "invalid_audience");
    }
    refused(&tell(&mut client, &good, &[]).await, "authentication_failed");
    for _ in 0..2 {
        let forged = set(&gateway.issuer, &transmitter.server.url(), REVOKED, &json!({}));
        refused(&tell(&mut client, &forged, &[TOKEN]).await, "authentication_failed");
    }
    let braked = tell(&mut client, &good, &[TOKEN]).await;
    assert_eq!(braked.status, 429, "{braked:?}");
    assert!(braked.header("retry-after").is_some());
}
