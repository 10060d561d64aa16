//! Interim answers (RFC 9110 section 15.2): they go on, and are no answer.

use std::sync::Arc;

use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::upstream::{PAUSE, Received, Upstream, plain};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n";

/// Answers with these fields early, and when it is released with 200.
async fn hinting(fields: &'static str) -> Upstream {
    let answer = move |seen: &Received| {
        [HINTS.as_bytes(), fields.as_bytes(), b"\r\n", PAUSE, &plain(seen)[..]].concat()
    };
    Upstream::answering(Arc::new(answer)).await
}

#[tokio::test]
async fn a_client_that_leaves_after_an_interim_answer_got_none() {
    let upstream = hinting("").await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/public/x", &[], b"")).await;
    assert_eq!(client.interim().await, 103);
    drop(client);
    let line = gateway.logged(1).await.remove(0);
    assert_eq!((&line["status"], &line["outcome"]), (&499.into(), &"client_gone".into()), "{line}");
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let counted = |status: u16| metrics.contains(&format!("status=\"{status}\"}}"));
    assert!(counted(499) && !counted(103), "{metrics}");
}

#[tokio::test]
async fn what_is_of_one_connection_goes_no_further_in_interim_answers_too() {
    let upstream = hinting("Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n").await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/public/x", &[], b"")).await;
    let early = client.first("GET").await.unwrap();
    assert_eq!((early.status, early.header("link")), (103, Some("</a.css>")));
    for name in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(early.header(name), None, "{early:?}");
    }
    upstream.release(1);
    assert_eq!(client.answer().await.status, 200);
}
