//! What is under way ends when its access does: WebSockets, feeds, calls, downloads, uploads, questions
//! without an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate::core::revocation::{Change, Kind, Revocation, Rule, Target, Whose};

use crate::keys::MovedClock;
use crate::streams::{HANDSHAKE, MASKED, SWITCHES, TEXT, accept};
use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::http2_upstream::Http2Upstream;
use crate::support::issuer::{AUDIENCE, ISS};
use crate::support::tls::Http2;
use crate::support::{PATIENCE, eventually, within};

/// A second is promised, and pinned where the clock is the test's own
/// (`src/flows/tests/open_requests.rs`); here machines are busy.
const SOON: Duration = PATIENCE;
const FEED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "9\r\ndata: 1\n\n\r\n";

/// A gateway whose one upstream the test plays, and where tokens end by their clock alone.
async fn stage() -> (TcpListener, Gateway) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let gateway = Gateway::with(&format!("routes: [{{ path: /*, to: \"http://{to}\" }}]")).await;
    (listener, gateway)
}

/// The same, and its clock.
async fn stage_with_clock() -> (TcpListener, Gateway, Arc<MovedClock>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clock = Arc::new(MovedClock::default());
    let moved = Arc::clone(&clock);
    let rest = format!(
        "issuers: {{ test: {{ url: \"{ISS}\", audience: \"{AUDIENCE}\", jwks_file: jwks.json }} }}
routes: [{{ path: /*, to: \"http://{}\" }}]",
        listener.local_addr().unwrap()
    );
    let gateway = Gateway::outside(&rest, |outside| outside.clock = moved).unwrap();
    gateway.wait_until_ready().await;
    (listener, gateway, clock)
}

fn token(gateway: &Gateway, claims: Value) -> String {
    format!("Bearer {}", gateway.issuer.token_with(claims))
}

fn revocation(gateway: &Gateway, kind: Kind, value: &str) -> Revocation {
    let whose = if kind == Kind::Issuer { Whose::All } else { Whose::Of(ISS.to_owned()) };
    let target = Target { kind, whose, value: value.to_owned() };
    let rule = if kind == Kind::Sub { Rule::Block } else { Rule::Outright };
    Revocation::new(target, rule, gateway.app.gate.clock.now())
}

async fn change(gateway: &Gateway, change: Change) {
    gateway.app.gate.revocation_log.append(&[change]).await.unwrap();
}

async fn revoke(gateway: &Gateway, kind: Kind, value: &str) {
    change(gateway, Change::Add(revocation(gateway, kind, value))).await;
}

async fn ended(gateway: &Gateway, cause: &str) -> f64 {
    let text = gateway.admin("/metrics").await.body;
    let text = String::from_utf8(text).unwrap();
    let line = format!("tollgate_streams_ended_total{{cause=\"{cause}\"}} ");
    text.lines().find_map(|said| said.strip_prefix(&line)).map_or(0.0, |count| count.parse().unwrap())
}

/// One request of HTTP/1.1 under way, with what its upstream has said so far.
async fn under_way(
    (listener, gateway): (&TcpListener, &Gateway),
    (method, fields): (&str, &[(&str, &str)]),
    body: &str,
    says: &str,
) -> (Client, Client) {
    let mut client = gateway.connect().await;
    client.send(request(method, "/x", fields, b"")).await;
    client.send(body).await;
    let mut peer = accept(listener).await;
    peer.take_head().await.unwrap();
    if !says.is_empty() {
        peer.send(says).await;
        let head = client.take_head().await.unwrap();
        assert_eq!(head.get(..12), says.get(..12));
    }
    (client, peer)
}

#[tokio::test]
async fn what_is_revoked_ends_whatever_is_under_way_and_nobody_elses() {
    let stage = stage().await;
    let (listener, gateway) = (&stage.0, &stage.1);
    // Little is sent on only with what follows it.
    let download = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(10_000));
    let upload = [("Content-Length", "1000000")];
    for (what, method, more, body, says, status) in [
        ("a WebSocket", "GET", &HANDSHAKE[..], "", SWITCHES, 101),
        ("a feed", "GET", &[], "", FEED, 200),
        ("a download", "GET", &[], "", &download, 200),
        ("an upload", "POST", &upload[..], "the first of it", "", 499),
        ("a question without an answer", "GET", &[], "", "", 499),
    ] {
        let [hers, his] = ["alice", "bob"].map(|sub| token(gateway, json!({ "sub": sub, "jti": what })));
        let fields = [more, &[("Authorization", hers.as_str())]].concat();
        let (mut client, mut peer) = under_way((listener, gateway), (method, &fields), body, says).await;
        let fields = [&HANDSHAKE[..], &[("Authorization", his.as_str())]].concat();
        let (mut other, mut others) = under_way((listener, gateway), ("GET", &fields), "", SWITCHES).await;
        let before = ended(gateway, "revoked").await;
        let began = Instant::now();
        revoke(gateway, Kind::Sub, "alice").await;
        client.rest().await;
        assert!(began.elapsed() < SOON, "{what} ended after {:?}", began.elapsed());
        peer.rest().await;
        assert_eq!(ended(gateway, "revoked").await, before + 1.0, "{what}");
        let hers = |line: &&Value| line["outcome"] != "ok";
        eventually("her line", || gateway.log.lines().iter().filter(hers).count() as f64 > before).await;
        let lines = gateway.log.lines();
        let line = lines.iter().rfind(hers).unwrap();
        assert_eq!(
            (line["outcome"].as_str(), line["status"].as_u64(), line["subject"].is_string()),
            (Some("ended_revoked"), Some(status), true),
            "{what}: {line}"
        );
        assert_eq!((line["method"].as_str(), line["path"].as_str()), (Some(method), Some("/x")), "{line}");
        others.send(TEXT).await;
        other.take(TEXT).await;
        other.send(MASKED).await;
        others.take(MASKED).await;
        change(gateway, Change::Lift(revocation(gateway, Kind::Sub, "alice"))).await;
    }
    eventually("nothing to be under way", || gateway.app.gate.metrics.in_flight().get() == 0).await;
}

#[tokio::test]
async fn a_connection_that_has_carried_others_ends_with_the_one_that_is_under_way() {
    let (listener, gateway) = stage().await;
    let [first, second] = ["one", "two"].map(|jti| token(&gateway, json!({ "jti": jti })));
    let mut client = gateway.connect().await;
    client.send(request("GET", "/x", &[("Authorization", first.as_str())], b"")).await;
    let mut peer = accept(&listener).await;
    peer.take_head().await.unwrap();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.status, 200);
    client.send(request("GET", "/x", &[("Authorization", second.as_str())], b"")).await;
    peer.take_head().await.unwrap();
    peer.send([FEED, EVENT].concat()).await;
    client.until(EVENT.as_bytes()).await;
    revoke(&gateway, Kind::Jti, "one").await;
    peer.send(EVENT).await;
    client.until([EVENT, EVENT].concat().as_bytes()).await;
    revoke(&gateway, Kind::Jti, "two").await;
    client.rest().await;
    peer.rest().await;
}

#[tokio::test]
async fn over_http_2_a_stream_ends_and_its_neighbours_live() {
    let upstream = Http2Upstream::start(None).await;
    let routes = format!(
        "upstreams: {{ calls: {{ url: \"h2c://{}\" }} }}\nroutes: [{{ path: /*, to: calls }}]",
        upstream.address
    );
    let gateway = Gateway::with(&routes).await;
    let mut client = Http2::clear_text(gateway.public).await;
    let mut open = Vec::new();
    for jti in ["one", "two"] {
        let hers = token(&gateway, json!({ "jti": jti }));
        let get = Request::get(format!("http://{HOST}/hold")).header("authorization", hers);
        open.push(client.sender.send_request(get.body(()).unwrap(), true).unwrap().0);
    }
    eventually("both at the upstream", || upstream.noted().len() == 2).await;
    revoke(&gateway, Kind::Jti, "one").await;
    let (second, first) = (open.pop().unwrap(), open.pop().unwrap());
    let reset = within("the reset", first).await.unwrap_err();
    assert_eq!(reset.reason(), Some(h2::Reason::CANCEL), "{reset:?}");
    upstream.release(2);
    assert_eq!(within("the answer", second).await.unwrap().status(), 200);
    assert_eq!(ended(&gateway, "revoked").await, 1.0);
}

#[tokio::test]
async fn a_feed_over_http_2_is_reset_and_its_upstream_let_go() {
    let (listener, gateway) = stage().await;
    let mut client = Http2::clear_text(gateway.public).await;
    let hers = token(&gateway, json!({ "jti": "one" }));
    let get = Request::get(format!("http://{HOST}/x")).header("authorization", hers);
    let (answer, _) = client.sender.send_request(get.body(()).unwrap(), true).unwrap();
    let mut peer = accept(&listener).await;
    peer.take_head().await.unwrap();
    peer.send([FEED, EVENT].concat()).await;
    let mut body = within("an answer", answer).await.unwrap().into_body();
    assert_eq!(within("an event", body.data()).await.unwrap().unwrap(), Bytes::from("data: 1\n\n"));
    revoke(&gateway, Kind::Jti, "one").await;
    assert!(within("the reset", body.data()).await.unwrap().is_err());
    peer.rest().await;
}

#[tokio::test]
async fn what_lasts_ends_with_its_token_and_a_download_goes_on() {
    let (listener, gateway, clock) = stage_with_clock().await;
    let now = gateway.app.gate.clock.now().as_secs();
    let hers = token(&gateway, json!({ "exp": now + 100 }));
    let fields = [("Authorization", hers.as_str())];
    let upgrade = [&HANDSHAKE[..], &fields].concat();
    let stage = (&listener, &gateway);
    let download =
        "HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthe\r\n";
    let (mut file, mut file_peer) = under_way(stage, ("GET", &fields), "", download).await;
    let (mut feed, mut feed_peer) = under_way(stage, ("GET", &fields), "", FEED).await;
    let (mut chat, mut chat_peer) = under_way(stage, ("GET", &upgrade), "", SWITCHES).await;
    feed_peer.send(EVENT).await;
    feed.take(EVENT.as_bytes()).await;
    chat_peer.send(TEXT).await;
    chat.take(TEXT).await;
    clock.later(101);
    for (client, peer) in [(&mut feed, &mut feed_peer), (&mut chat, &mut chat_peer)] {
        client.rest().await;
        peer.rest().await;
    }
    assert_eq!(ended(&gateway, "expired").await, 2.0);
    file_peer.send("4\r\nfile\r\n0\r\n\r\n").await;
    assert!(file.rest_or_first().await.contains("the\r\n"));
    file.until(b"file\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn what_lasts_is_known_by_its_answer_and_not_by_what_comes_before_it() {
    let (listener, gateway, clock) = stage_with_clock().await;
    let now = gateway.app.gate.clock.now().as_secs();
    let hers = token(&gateway, json!({ "exp": now + 100 }));
    let fields = [("Authorization", hers.as_str())];
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    let (mut feed, mut peer) = under_way((&listener, &gateway), ("GET", &fields), "", early).await;
    peer.send([FEED, EVENT].concat()).await;
    feed.until(EVENT.as_bytes()).await;
    clock.later(101);
    feed.rest().await;
    peer.rest().await;
    assert_eq!(ended(&gateway, "expired").await, 1.0);
    let lines = gateway.logged(1).await;
    assert_eq!(
        (lines[0]["status"].as_u64(), lines[0]["outcome"].as_str()),
        (Some(200), Some("ended_expired"))
    );
}

#[tokio::test]
async fn what_begins_while_clocks_may_differ_goes_on_for_as_long_as_its_token_is_taken() {
    let (listener, gateway, clock) = stage_with_clock().await;
    let now = gateway.app.gate.clock.now().as_secs();
    // Expired, and still taken: the clock skew is 30 s.
    let hers = token(&gateway, json!({ "iat": now - 100, "exp": now - 1 }));
    let fields = [&HANDSHAKE[..], &[("Authorization", hers.as_str())]].concat();
    let (mut chat, mut peer) = under_way((&listener, &gateway), ("GET", &fields), "", SWITCHES).await;
    peer.send(TEXT).await;
    chat.take(TEXT).await;
    // Another that ends before it: whoever looks has looked by then.
    let first = token(&gateway, json!({ "iat": now - 100, "exp": now - 15, "jti": "first" }));
    let fields = [&HANDSHAKE[..], &[("Authorization", first.as_str())]].concat();
    let (mut before, _before) = under_way((&listener, &gateway), ("GET", &fields), "", SWITCHES).await;
    clock.later(16);
    before.rest().await;
    peer.send(TEXT).await;
    chat.take(TEXT).await;
    clock.later(14);
    chat.rest().await;
    assert_eq!(ended(&gateway, "expired").await, 2.0);
}

#[tokio::test]
async fn what_nobody_was_let_in_for_is_not_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let gateway =
        Gateway::with(&format!("routes: [{{ path: /*, to: \"http://{to}\", public: true }}]")).await;
    let (mut nobody, mut peer) = under_way((&listener, &gateway), ("GET", &HANDSHAKE), "", SWITCHES).await;
    let hers = token(&gateway, json!({ "jti": "one" }));
    let fields = [&HANDSHAKE[..], &[("Authorization", hers.as_str())]].concat();
    let (mut somebody, _) = under_way((&listener, &gateway), ("GET", &fields), "", SWITCHES).await;
    revoke(&gateway, Kind::Issuer, ISS).await;
    somebody.rest().await;
    peer.send(TEXT).await;
    nobody.take(TEXT).await;
}
