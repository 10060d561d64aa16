//! Clients that say more before they have their answer (RFC 9112 sections 2.2 and 9.3.2): that answer is
//! theirs, and the last of its connection.

use std::sync::Arc;

use crate::streams::HANDSHAKE;
use crate::support::client::{Client, request};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http2_upstream::Http2Upstream;
use crate::support::upstream::{Received, Upstream, plain};

fn second() -> Vec<u8> {
    request("GET", "/public/second", &[], b"")
}

/// After a first request that is being answered, and what was said since.
async fn is_answered_once(client: &mut Client, name: &str, release: impl FnOnce()) {
    assert!(!client.hears_soon().await, "{name}: nothing is said before the answer");
    release();
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{name}: {answer:?}");
    assert!(!answer.keeps_alive(), "{name}: {answer:?}");
    assert!(client.is_closed().await, "{name}");
}

#[tokio::test]
async fn a_request_is_answered_although_another_came_meanwhile() {
    for (name, method, body, then) in [
        ("a request", "GET", &b""[..], second()),
        ("one after a body", "POST", b"hello", second()),
        ("a stray end of line", "POST", b"hello", b"\r\n".to_vec()),
        ("much", "GET", b"", [second(), vec![b'x'; 100 << 10]].concat()),
    ] {
        let upstream = Upstream::start().await;
        let gateway = Gateway::start(&upstream).await;
        let mut client = gateway.connect().await;
        client.send(request(method, "/public/hold", &[], body)).await;
        eventually("the first to arrive", || upstream.received().len() == 1).await;
        client.send(then).await;
        is_answered_once(&mut client, name, || upstream.release(1)).await;
        assert_eq!(upstream.only().raw_body, body, "{name}");
        let line = gateway.logged(1).await.remove(0);
        assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"ok".into()), "{name}: {line}");
    }
}

#[tokio::test]
async fn a_request_to_an_http_2_upstream_is_answered_although_another_came_meanwhile() {
    let upstream = Http2Upstream::start(None).await;
    let to = format!("h2c://{}", upstream.address);
    let gateway = Gateway::with(&format!("routes: [{{ path: /*, to: \"{to}\", public: true }}]")).await;
    for (at, (method, body)) in [("GET", &b""[..]), ("POST", b"hello")].into_iter().enumerate() {
        let mut client = gateway.connect().await;
        client.send(request(method, "/hold", &[], body)).await;
        eventually("the first to arrive", || upstream.noted().len() == at + 1).await;
        client.send(second()).await;
        is_answered_once(&mut client, method, || upstream.release(1)).await;
        assert_eq!(upstream.noted().len(), at + 1);
    }
}

#[tokio::test]
async fn whoever_asks_for_another_protocol_waits_for_the_answer() {
    let upstream = Upstream::answering(Arc::new(|seen: &Received| plain(seen))).await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/public/hold", &HANDSHAKE, b"")).await;
    eventually("the first to arrive", || upstream.received().len() == 1).await;
    client.send(second()).await;
    assert_eq!(client.answer().await.status, 400);
    assert!(client.is_closed().await);
    assert_eq!(upstream.received().len(), 1);
}
