//! `/oauth/token` on the wire. What an exchange does is tested with its flow.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::client::{HOST, request};
use crate::support::frames::{DATA, END_HEADERS, HEADERS, RST_STREAM, RawHttp2, block, frame};
use crate::support::gateway::Gateway;
use crate::support::issuer::ISS;
use crate::support::upstream::Upstream;
use crate::support::{eventually, within};

#[tokio::test]
async fn other_methods_learn_the_right_ones_in_oauth_words() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    for method in ["GET", "PUT", "OPTIONS"] {
        client.send(request(method, "/oauth/token", &[], b"")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST, DELETE"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json()["error"], "invalid_request");
        assert!(answer.keeps_alive());
    }
    let lines = gateway.logged(3).await;
    assert_eq!(
        (&lines[0]["route"], &lines[0]["outcome"]),
        (&json!("/oauth/token"), &json!("method_not_allowed"))
    );
}

#[tokio::test]
async fn a_token_request_has_a_limit() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("POST", "/oauth/token", &[], &[b'x'; 16 * 1024 + 1])).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.json()["error"]), (413, &json!("invalid_request")));
    let why = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert!(why.contains("16 KiB") && !why.contains("limits."), "{why}");

    let mut client = gateway.connect().await;
    client.send(request("POST", "/oauth/token", &[("Transfer-Encoding", "chunked")], b"")).await;
    let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
    client.send([&chunk[..], b"1\r\nx\r\n0\r\n\r\n"].concat()).await;
    assert_eq!(client.answer().await.status, 413);
}

/// Whoever comes along may send there, and each holds a connection and what has come so far. Nothing but the
/// deadline for these bodies ends it so soon: a byte comes well before every pause is over.
#[tokio::test]
async fn a_body_that_trickles_to_an_endpoint_of_ours_ends() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "signals: {{ itself: {{ issuer: \"{ISS}\", audience: gate, revokes: test }} }}
routes: [{{ path: /*, to: \"{}\", public: true }}]",
        upstream.url()
    ))
    .await;
    let trickles = async |(path, content_type): (&str, &str), framing: (&str, &str)| {
        let mut client = gateway.connect().await;
        client.send(request("POST", path, &[("Content-Type", content_type), framing], b"")).await;
        let piece = if framing.1 == "chunked" { "1\r\nx\r\n" } else { "x" };
        within(path, async {
            while client.try_send(piece).await && !client.hears_within(Duration::from_millis(200)).await {}
        })
        .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 408, "{path}: {}", answer.head);
        assert_eq!(answer.header("connection"), Some("close"), "{path}: {framing:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        // A small rest of it is waited for, and not for long.
        within(path, client.rest()).await;
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    let endpoints = [
        ("/oauth/token", FORM),
        ("/oauth/backchannel-logout", FORM),
        ("/oauth/events", "application/secevent+jwt"),
    ];
    let framings = [("Content-Length", "1000"), ("Transfer-Encoding", "chunked")];
    let all = endpoints.iter().flat_map(|endpoint| framings.map(|framing| trickles(*endpoint, framing)));
    join_all(all).await;
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_a_body_is_written_down_as_gone_and_was_refused_nothing() {
    let gateway = Gateway::with(&format!(
        "signals: {{ itself: {{ issuer: \"{ISS}\", audience: gate, revokes: test }} }}
routes: [{{ path: /*, to: \"http://127.0.0.1:9\" }}]"
    ))
    .await;
    let mut left = 0;
    for path in ["/oauth/token", "/oauth/backchannel-logout", "/oauth/events"] {
        for framing in [("Content-Length", "1000"), ("Transfer-Encoding", "chunked")] {
            let mut client = gateway.connect().await;
            client.send(request("POST", path, &[framing], b"")).await;
            client.send("4\r\npart\r\n").await;
            client.finish().await;
            assert_eq!(within("the end", client.rest()).await, "", "{path} {framing:?}");
            left += 1;
        }
        for loses_connection in [false, true] {
            let mut client = RawHttp2::connect(gateway.public, &[]).await;
            let fields = [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", path)];
            client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
            client.send(&frame(DATA, 0, 1, b"part")).await;
            eventually("the request", || gateway.app.gate.metrics.in_flight().get() == 1).await;
            if !loses_connection {
                client.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await;
                left += 1;
                gateway.logged(left).await;
                continue;
            }
            drop(client);
            left += 1;
        }
        for line in gateway.logged(left).await.iter().rev().take(4) {
            assert_eq!(
                (line["route"].as_str(), line["status"].as_u64(), line["outcome"].as_str()),
                (Some(path), Some(499), Some("client_gone")),
                "{line}"
            );
        }
    }
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    assert!(!metrics.contains("bad_request"), "{metrics}");
    // What is no HTTP is still refused.
    let mut client = gateway.connect().await;
    client.send(request("POST", "/oauth/token", &[("Transfer-Encoding", "chunked")], b"")).await;
    client.send("zz\r\n").await;
    assert_eq!(client.answer().await.status, 400);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_and_keeps_its_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client
        .send(format!(
            "POST /oauth/token HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        ))
        .await;
    assert_eq!(client.interim().await, 100);
    client.send("a=b").await;
    let answer = client.answer().await;
    assert!((400..=403).contains(&answer.status), "{}", answer.head);
    assert!(answer.keeps_alive());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn endpoints_that_do_not_exist_are_404_and_never_a_route() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::with(&format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url())).await;
    let mut client = gateway.connect().await;
    for path in [
        "/oauth/nothing",
        "/oauth",
        "/oauth/",
        "/.well-known/jwks.json",
        "/.well-known/oauth-protected-resource/api",
        "/o%61uth/token/x",
    ] {
        let answer = client.get(path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.all("cache-control"), ["no-store"], "{path}");
    }
    assert!(upstream.received().is_empty());
    assert_eq!(client.get("/.well-known/security.txt", &[]).await.status, 200);
    assert_eq!(upstream.only().path(), "/.well-known/security.txt");
}

#[tokio::test]
async fn no_credential_goes_to_the_token_endpoint_in_a_query() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let mut client = gateway.connect().await;
    for query in ["access_token=a", "refresh_token=a", "client_id=other", "code=a", "x"] {
        let target = format!("/oauth/token?{query}");
        client.send(request("POST", &target, &[form], b"grant_type=refresh_token&client_id=web")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")), "{query}");
        assert!(answer.json()["error_description"].as_str().unwrap().contains("query"), "{query}");
        assert!(answer.keeps_alive());
    }
    assert!(!gateway.log.text().contains('?'));
}
