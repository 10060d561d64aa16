//! Client and upstream of HTTP/2 that speak at once, or end what they say with trailers: who is waited for,
//! and who is blamed.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

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
    // What the upstream would be blamed for is over first, and is longer than a busy machine takes for an
    // answer.
    let gateway = Gateway::adjusted(&h2c(upstream, ", timeouts: { read: 2s }"), |settings| {
        settings.patience.stream_stopped = Duration::from_secs(4);
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

/// A request whose body ends with trailers.
async fn with_trailers(gateway: &Gateway) -> (Http2, h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut client = Http2::clear_text(gateway.public).await;
    let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
    body.send_data(Bytes::from("body"), false).unwrap();
    body.send_trailers(trailers()).unwrap();
    (client, answer, body)
}

#[tokio::test]
async fn a_body_that_ends_with_trailers_has_an_end() {
    let (go, gone) = watch::channel(false);
    let (heard, mut hears) = mpsc::unbounded_channel();
    let upstream = playing(None, move |at, (request, mut respond)| {
        let (mut gone, heard) = (gone.clone(), heard.clone());
        async move {
            let body = body_of(request.into_body()).await;
            heard.send(Err(body)).unwrap();
            if at == 1 {
                gone.wait_for(|gone| *gone).await.unwrap();
                respond.send_response(ok(), true).unwrap();
                return;
            }
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            heard.send(Ok(reset.unwrap())).unwrap();
        }
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, SILENCE)).await;
    let (_client, answer, _body) = with_trailers(&gateway).await;
    assert_eq!(within("an answer", answer).await.unwrap().status(), 504, "it was silent");
    assert_eq!(outcome(&gateway, 1).await, "upstream_timeout");
    assert_eq!(hears.recv().await.unwrap(), Err(b"body".to_vec()));
    assert_eq!(within("the end", hears.recv()).await.unwrap(), Ok(Reason::CANCEL));

    let stopped = Duration::from_secs(1);
    let gateway =
        Gateway::adjusted(&h2c(upstream, ""), |settings| settings.patience.stream_stopped = stopped).await;
    let (_client, answer, _body) = with_trailers(&gateway).await;
    tokio::pin!(answer);
    assert!(tokio::time::timeout(stopped * 3, &mut answer).await.is_err(), "nobody stopped");
    go.send(true).unwrap();
    assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
    assert_eq!(outcome(&gateway, 1).await, "ok");

    assert_eq!(hears.recv().await.unwrap(), Err(b"body".to_vec()));
    let (_client, _answer, mut body) = with_trailers(&gateway).await;
    assert_eq!(within("the body", hears.recv()).await.unwrap(), Err(b"body".to_vec()));
    body.send_reset(Reason::CANCEL);
    assert_eq!(within("its end", hears.recv()).await.unwrap(), Ok(Reason::CANCEL));
    assert_eq!(outcome(&gateway, 2).await, "client_gone");
}

/// As in gRPC: a client subscribes, leaves its side open, and hears nothing until there is something to hear.
#[tokio::test]
async fn who_subscribes_may_wait_for_the_first_word_as_long_as_the_upstream_may_be_silent() {
    const STOPPED: Duration = Duration::from_millis(300);
    let (go, gone) = watch::channel(false);
    let upstream = playing(None, move |_, (request, mut respond)| {
        let mut gone = gone.clone();
        async move {
            let mut subscription = request.into_body();
            assert_eq!(subscription.data().await.unwrap().unwrap(), "events of 7");
            gone.wait_for(|gone| *gone).await.unwrap();
            let mut stream = respond.send_response(ok(), false).unwrap();
            stream.send_data(Bytes::from("event"), false).unwrap();
            assert!(body_of(subscription).await.is_empty());
            stream.send_trailers(trailers()).unwrap();
        }
    })
    .await;
    let gateway = Gateway::adjusted(&h2c(upstream, ", timeouts: { read: 1h }"), |settings| {
        settings.patience.stream_stopped = STOPPED;
    })
    .await;
    let mut client = Http2::clear_text(gateway.public).await;
    let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
    body.send_data(Bytes::from("events of 7"), false).unwrap();
    tokio::pin!(answer);
    assert!(tokio::time::timeout(STOPPED * 6, &mut answer).await.is_err(), "nobody stopped");
    go.send(true).unwrap();
    let mut answer = within("an answer", answer).await.unwrap().into_body();
    assert_eq!(within("an event", answer.data()).await.unwrap().unwrap(), "event");
    body.send_data(Bytes::new(), true).unwrap();
    assert!(within("its trailers", answer.trailers()).await.unwrap().is_some());
    assert_eq!(outcome(&gateway, 1).await, "ok");
}

/// The last of the body waits for room for longer than the upstream may be silent; then its time begins.
#[tokio::test]
async fn what_an_upstream_takes_is_no_silence() {
    const READ: Duration = Duration::from_secs(4);
    let upstream = playing(None, |_, (request, mut respond)| async move {
        let mut stream = respond.send_response(ok(), false).unwrap();
        tokio::time::sleep(READ * 2).await;
        assert_eq!(body_of(request.into_body()).await.len(), 70_000);
        tokio::time::sleep(READ / 2).await;
        stream.send_data(Bytes::from("done"), true).unwrap();
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, ", timeouts: { read: 4s }")).await;
    let mut client = Http2::clear_text(gateway.public).await;
    let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
    let mut answer = within("an answer", answer).await.unwrap().into_body();
    // The window of a stream has 65,535 bytes (RFC 9113 section 6.9.2).
    body.send_data(vec![b'x'; 60_000].into(), false).unwrap();
    body.send_data(vec![b'x'; 10_000].into(), true).unwrap();
    assert_eq!(within("its end", answer.data()).await.unwrap().unwrap(), "done");
    assert_eq!(outcome(&gateway, 1).await, "ok");
}

/// Each piece of the answer is read within `answer_unread`, several together are not within what an upstream
/// has.
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
