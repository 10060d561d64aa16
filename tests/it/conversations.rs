//! Client and upstream of HTTP/2 that speak at once, or end what they say with trailers: who is waited for, and who is blamed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpStream;

use crate::http2_upstreams::{SILENCE, Stream, body_of, h2c, ok, outcome, playing, post};
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::within;

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_LANGUAGE, HeaderValue::from_static("de"))])
}

/// Answers at once, and keeps what comes.
async fn answers_early(at: usize, (request, mut respond): Stream) {
    if at == 0 {
        let answer = Response::builder().status(401).body(()).unwrap();
        respond.send_response(answer, true).unwrap();
    } else {
        let mut stream = respond.send_response(ok(), false).unwrap();
        stream.send_data(Bytes::from("said"), false).unwrap();
        stream.send_trailers(trailers()).unwrap();
    }
    std::future::pending::<()>().await;
    drop(request);
}

/// With the head, or with trailers: nothing of a body says that it ended.
#[tokio::test]
async fn who_stops_after_a_whole_answer_is_the_client() {
    let upstream = playing(None, answers_early).await;
    let gateway = Gateway::adjusted(&h2c(upstream, SILENCE), |settings| {
        settings.patience.stream_stopped = Duration::from_secs(1);
    })
    .await;
    for (at, status) in [401, 200].into_iter().enumerate() {
        let mut client = Http2::clear_text(gateway.public).await;
        let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
        body.send_data(Bytes::from("part"), false).unwrap();
        assert_eq!(within("an answer", answer).await.unwrap().status(), status);
        assert_eq!(outcome(&gateway, at + 1).await, "body_too_slow", "{status}");
    }
}

/// The last of the body waits for room for longer than the upstream may be silent; then its time begins.
#[tokio::test]
async fn what_an_upstream_takes_is_no_silence() {
    const READ: Duration = Duration::from_secs(1);
    let upstream = playing(None, |_, (request, mut respond)| async move {
        let mut stream = respond.send_response(ok(), false).unwrap();
        tokio::time::sleep(READ * 2).await;
        assert_eq!(body_of(request.into_body()).await.len(), 70_000);
        tokio::time::sleep(READ / 2).await;
        stream.send_data(Bytes::from("done"), true).unwrap();
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, ", timeouts: { read: 1s }")).await;
    let mut client = Http2::clear_text(gateway.public).await;
    let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
    let mut answer = within("an answer", answer).await.unwrap().into_body();
    // The window of a stream has 65,535 bytes (RFC 9113 section 6.9.2).
    body.send_data(vec![b'x'; 60_000].into(), false).unwrap();
    body.send_data(vec![b'x'; 10_000].into(), true).unwrap();
    assert_eq!(within("its end", answer.data()).await.unwrap().unwrap(), "done");
    assert_eq!(outcome(&gateway, 1).await, "ok");
}

/// Each piece of the answer is read within `answer_unread`, several together are not within what an upstream has.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_blamed_on_its_upstream() {
    const LENGTH: usize = 600_000;
    let upstream = playing(None, |_, (request, mut respond)| async move {
        let mut stream = respond.send_response(ok(), false).unwrap();
        stream.send_data(vec![b'x'; LENGTH].into(), true).unwrap();
        body_of(request.into_body()).await;
    })
    .await;
    let gateway = Gateway::adjusted(&h2c(upstream, SILENCE), |settings| {
        settings.patience.stream_stopped = Duration::from_millis(300);
    })
    .await;
    let socket = TcpStream::connect(gateway.public).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let (answer, mut body) = sender.ready().await.unwrap().send_request(post("/x"), false).unwrap();
    body.send_data(Bytes::from("part"), false).unwrap();
    let mut answer = within("an answer", answer).await.unwrap().into_body();
    let (mut seen, mut unread) = (0, 0);
    while seen < LENGTH {
        let piece = within("a piece", answer.data()).await.unwrap().expect("the answer goes on");
        (seen, unread) = (seen + piece.len(), unread + piece.len());
        if unread > 60_000 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            answer.flow_control().release_capacity(std::mem::take(&mut unread)).unwrap();
        }
    }
    connection.abort();
}
