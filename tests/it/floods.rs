//! Clients that are slow on purpose, or that send what costs the other side more than them. Each is bounded,
//! and somebody else is served meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::alone::{resident, was_run_alone};
use crate::support::client::{Client, HOST, request};
use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, PING, RST_STREAM, RawHttp2,
    SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::upstream::{Received, Upstream};
use crate::support::{PATIENCE, eventually, until, within};

const SHORT: Duration = Duration::from_secs(1);
/// Before a header's deadline (10 s), which ends a connection for another reason.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A gateway with short patience, whose `/public/*` goes to `upstream`.
async fn impatient(upstream: &Upstream) -> Gateway {
    let routes = format!("routes: [{{ path: /public/*, to: \"{}\", public: true }}]", upstream.url());
    Gateway::adjusted(&routes, |settings| {
        settings.patience.header = SHORT;
        settings.patience.body_pause = SHORT;
        settings.patience.body_rate = 1000;
        settings.patience.stream_stopped = SHORT * 2;
        settings.patience.answer_unread = SHORT;
        settings.patience.http2_idle = SHORT;
    })
    .await
}

/// Somebody else is served, and soon.
async fn serves_others(address: SocketAddr) {
    let began = Instant::now();
    assert_eq!(Client::connect(address).await.get("/public/other", &[]).await.status, 200);
    let mut client = Http2::clear_text(address).await;
    let get = Request::get(format!("http://{HOST}/public/other")).body(()).unwrap();
    assert_eq!(client.ask(get, &[]).await.unwrap().status, 200);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

const MUCH: usize = 24 << 20;

#[tokio::test]
async fn slow_headers_end_before_and_after_other_requests() {
    let upstream = Upstream::start().await;
    let gateway = impatient(&upstream).await;
    for first in [false, true] {
        let mut client = gateway.connect().await;
        if !first {
            assert_eq!(client.get("/public/x", &[]).await.status, 200);
        }
        let began = Instant::now();
        let trickle = request("GET", "/public/x", &[("X-A", &"b".repeat(1000))], b"");
        for byte in trickle.chunks(1) {
            if !client.try_send(byte).await || client.hears_within(SHORT / 10).await {
                break;
            }
        }
        let _ = client.rest().await;
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
    serves_others(gateway.public).await;
    assert!(upstream.received().iter().all(|seen| seen.path() != "/public/x" || seen.raw_body.is_empty()));
}

/// A byte well before every pause is over.
#[tokio::test]
async fn a_body_that_trickles_ends_over_both_versions() {
    let upstream = Upstream::start().await;
    let gateway = impatient(&upstream).await;
    for framing in [("Content-Length", "100000"), ("Transfer-Encoding", "chunked")] {
        let mut client = gateway.connect().await;
        client.send(request("POST", "/public/x", &[framing], b"")).await;
        let piece = if framing.1 == "chunked" { "1\r\nx\r\n" } else { "x" };
        within("the end of a trickle", async {
            while client.try_send(piece).await && !client.hears_within(SHORT / 10).await {}
        })
        .await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (408, &"urn:tollgate:refusal:body_too_slow".into())
        );
        assert!(!answer.keeps_alive());
    }
    let mut client = RawHttp2::connect(gateway.public, &[]).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&post("/public/x")))).await;
    let mut writing = client.write;
    let trickle = tokio::spawn(async move {
        while writing.write_all(&frame(DATA, 0, 1, b"x")).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let end = RawHttp2::end_of_read(&mut client.read, 1).await;
    trickle.abort();
    assert!(end.is_refusal(), "{end:?}");
    assert!(upstream.received().is_empty());
    serves_others(gateway.public).await;
}

#[tokio::test]
async fn a_slow_client_that_means_it_is_served() {
    let upstream = Upstream::start().await;
    let routes = format!("routes: [{{ path: /public/*, to: \"{}\", public: true }}]", upstream.url());
    // So long, and so slow, that a machine that holds its client up for a while does not count.
    let pause = SHORT * 3;
    let gateway = Gateway::adjusted(&routes, |settings| {
        settings.patience.body_pause = pause;
        settings.patience.body_rate = 100;
    })
    .await;
    let mut client = gateway.connect().await;
    let body = vec![b'x'; 4000];
    client.send(request("POST", "/public/x", &[("Content-Length", "4000")], b"")).await;
    let began = Instant::now();
    for piece in body.chunks(100) {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() > pause, "slower than a pause in all");
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(upstream.only().raw_body, body);
}

fn post(path: &'static str) -> [(&'static str, &'static str); 4] {
    [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", path)]
}

fn get(path: &'static str) -> [(&'static str, &'static str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", path)]
}

/// The connections of an upstream: how many it ever had, and how many are open.
#[derive(Default)]
struct Connections {
    begun: AtomicUsize,
    open: AtomicUsize,
}

/// An upstream whose every answer has 64 MB.
async fn generous() -> (SocketAddr, Arc<Connections>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(Connections::default());
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let counted = counted.clone();
            tokio::spawn(async move {
                counted.open.fetch_add(1, Ordering::SeqCst);
                counted.begun.fetch_add(1, Ordering::SeqCst);
                let mut peer = Client::over(socket);
                let piece = vec![b'x'; 64 * 1024];
                'requests: while let Some(head) = peer.take_head().await {
                    let pieces = if head.contains("/large") { 1024 } else { 1 };
                    let length = pieces * piece.len();
                    peer.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
                    for _ in 0..pieces {
                        if !peer.try_send(&piece).await {
                            break 'requests;
                        }
                    }
                }
                counted.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_and_frees_the_upstream() {
    if was_run_alone(module_path!(), "an_answer_that_nobody_reads_ends_and_frees_the_upstream") {
        return;
    }
    let (to, connections) = generous().await;
    let routes = format!("routes: [{{ path: /public/*, to: \"http://{to}\", public: true }}]");
    let gateway = Gateway::adjusted(&routes, |settings| {
        settings.patience.answer_unread = SHORT;
        settings.patience.http2_idle = SHORT;
    })
    .await;
    let before = resident();
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut client = TcpStream::connect(gateway.public).await.unwrap();
        client.write_all(&request("GET", "/public/large", &[], b"")).await.unwrap();
        readers.push(client);
    }
    // Over HTTP/2 both ways not to read: no window, and a large window and no reading.
    let (none, large) = ([(4, 0)], [(4, (1 << 31) - 1)]);
    let mut more = Vec::new();
    for settings in [&none[..], &large[..]] {
        let mut client = RawHttp2::connect(gateway.public, settings).await;
        if settings == large {
            client.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
        }
        for stream in [1, 3, 5, 7] {
            client
                .send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/public/large"))))
                .await;
        }
        more.push(client);
    }
    // On a busy machine the first are over before the last begin.
    eventually("requests at the upstream", || connections.begun.load(Ordering::SeqCst) >= 16).await;
    serves_others(gateway.public).await;
    eventually("their end", || connections.open.load(Ordering::SeqCst) <= 2).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < MUCH, "{} MB more", grown >> 20);
    serves_others(gateway.public).await;
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_431_or_the_end() {
    if was_run_alone(module_path!(), "too_many_or_too_large_headers_are_431_or_the_end") {
        return;
    }
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let before = resident();
    // A header that does not end, and one with too many fields.
    let mut client = gateway.connect().await;
    let endless = format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nX: {}", "x".repeat(1 << 20));
    client.try_send(&endless).await;
    let _ = client.rest().await;
    for many in [101, 300, 3000] {
        let mut client = gateway.connect().await;
        client.try_send(request("GET", "/public/x", &vec![("X-A", "b"); many], b"")).await;
        let answers = client.rest_or_first().await;
        assert!(answers.starts_with("HTTP/1.1 4"), "{answers}");
    }
    // The same over HTTP/2: one large field, many fields, and one indexed field many times (a bomb).
    let large = "b".repeat(60_000);
    let bomb = {
        let mut bytes = block(&get("/public/x"));
        bytes.extend([0x40, 3, b'x', b'-', b'a', 0x7f, 0xe1, 0x1e]);
        bytes.extend(vec![b'b'; 4000]);
        bytes.extend(vec![0xbe; 8000]);
        bytes
    };
    for block in [
        block(&[&get("/public/x")[..], &[("x-a", large.as_str())]].concat()),
        block(&[&get("/public/x")[..], &vec![("x-a", "b"); 101]].concat()),
        block(&[&get("/public/x")[..], &vec![("x-a", "b"); 3000]].concat()),
        bomb,
    ] {
        let mut client = RawHttp2::connect(gateway.public, &[]).await;
        let mut pieces = block.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let end = if kind == HEADERS { END_STREAM } else { 0 };
            client.send(&frame(kind, flags | end, 1, piece)).await;
            kind = CONTINUATION;
        }
        let end = client.end_of(1).await;
        assert!(end.is_refusal(), "{end:?}");
    }
    assert!(upstream.received().is_empty());
    let grown = resident().saturating_sub(before);
    assert!(grown < MUCH, "{} MB more", grown >> 20);
    serves_others(gateway.public).await;
}

/// Sends pieces until the other side has had enough, or all were sent. How many were sent, and whether it
/// was ended, for which it waits after the last.
async fn flood(
    client: RawHttp2,
    most: usize,
    patience: Duration,
    piece: impl Fn(usize) -> Vec<u8>,
) -> (usize, bool) {
    let RawHttp2 { mut read, mut write } = client;
    let reading = tokio::spawn(async move {
        loop {
            match RawHttp2::next_of(&mut read).await {
                None => return,
                Some(frame) if frame.kind == GOAWAY => return,
                Some(_) => {}
            }
        }
    });
    for sent in 0..most {
        let wrote = tokio::time::timeout(Duration::from_secs(5), write.write_all(&piece(sent))).await;
        if reading.is_finished() || !matches!(wrote, Ok(Ok(()))) {
            reading.abort();
            return (sent, true);
        }
        tokio::task::yield_now().await;
    }
    let ended = tokio::time::timeout(patience, reading).await.is_ok();
    (most, ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rapid_reset_is_ended_and_asks_no_upstream_without_bound() {
    if was_run_alone(module_path!(), "a_rapid_reset_is_ended_and_asks_no_upstream_without_bound") {
        return;
    }
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let before = resident();
    let client = RawHttp2::connect(gateway.public, &[]).await;
    let piece = |sent: usize| {
        let stream = u32::try_from(sent * 2 + 1).unwrap();
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/public/hold")));
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let (sent, ended) = flood(client, 20_000, AT_ONCE, piece).await;
    assert!(ended, "{sent} requests were opened and reset");
    serves_others(gateway.public).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < MUCH, "{} MB more", grown >> 20);
    eventually("nothing in flight", || gateway.app.gate.metrics.in_flight().get() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_small_frames_are_bounded() {
    if was_run_alone(module_path!(), "floods_of_small_frames_are_bounded") {
        return;
    }
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let before = resident();
    let zero = frame(HEADERS, END_HEADERS, 1, &block(&post("/public/x")));
    let none: Vec<u8> = Vec::new();
    for (name, first, piece, ends) in [
        ("PING", &none, frame(PING, 0, 0, &[7; 8]), false),
        ("PING that confirms nothing", &none, frame(PING, ACK, 0, &[7; 8]), false),
        ("SETTINGS", &none, frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]), false),
        ("empty SETTINGS", &none, frame(SETTINGS, 0, 0, &[]), false),
        ("SETTINGS that confirm nothing", &none, frame(SETTINGS, ACK, 0, &[]), true),
        ("WINDOW_UPDATE", &none, frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), false),
        ("WINDOW_UPDATE beyond all", &none, frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()), true),
        ("WINDOW_UPDATE of nothing", &none, frame(WINDOW_UPDATE, 0, 0, &[0; 4]), true),
        ("empty DATA", &zero, frame(DATA, 0, 1, &[]), false),
        ("unknown frames", &none, frame(0xee, 0, 0, &[0; 100]), false),
        (
            "CONTINUATION",
            &frame(HEADERS, 0, 1, &block(&get("/public/x"))),
            frame(CONTINUATION, 0, 1, &block(&[("x-a", "b")])),
            true,
        ),
        (
            "empty CONTINUATION",
            &frame(HEADERS, 0, 1, &block(&get("/public/x"))),
            frame(CONTINUATION, 0, 1, &[]),
            true,
        ),
    ] {
        let mut client = RawHttp2::connect(gateway.public, &[]).await;
        client.send(first).await;
        let many = piece.repeat(100);
        let (sent, ended) =
            flood(client, 300, if ends { AT_ONCE } else { Duration::ZERO }, |_| many.clone()).await;
        assert!(ended || !ends, "{name}: {sent} times 100 frames");
        serves_others(gateway.public).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < MUCH, "{} MB more", grown >> 20);
    eventually("nothing in flight", || gateway.app.gate.metrics.in_flight().get() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_streams_than_are_allowed_reach_the_upstream_at_once() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = RawHttp2::connect(gateway.public, &[]).await;
    let mut refused = 0;
    for number in 0..150 {
        let stream = number * 2 + 1;
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/public/hold")))).await;
    }
    eventually("a hundred requests at the upstream", || upstream.received().len() == 100).await;
    within("refusals", async {
        while refused < 50 {
            refused += usize::from(client.next().await.unwrap().kind == RST_STREAM);
        }
    })
    .await;
    assert_eq!(upstream.received().len(), 100);
    serves_others(gateway.public).await;
}

/// It has connections to spare, and 100 requests on each. None of them fails for want of an upstream that is
/// quick.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_take_every_place_that_requests_have() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "limits: {{ connections: 200, connections_per_address: 50 }}\nroutes: [{{ path: /public/*, to: \"{}\", public: true, timeouts: {{ connect: 1m }} }}]\n",
        upstream.url()
    ))
    .await;
    let flooding = async |requests: u32| {
        let mut client = RawHttp2::connect(gateway.public, &[]).await;
        for number in 0..requests {
            client.send(&frame(HEADERS, END_HEADERS, number * 2 + 1, &block(&post("/public/x")))).await;
        }
        client
    };
    let held = [flooding(100).await, flooding(100).await];
    until("200 requests to be held, or its share and refusals", async || {
        let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
        let refused = metrics.lines().filter(|line| line.contains("reason=\"too_many_at_once\""));
        let refused: i64 = refused.map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum();
        gateway.app.gate.metrics.in_flight().get() + refused >= 200
    })
    .await;
    assert_eq!(flooding(1).await.end_of(1).await, End::Answered(429));
    let refused = gateway.connect().await.get("/public/x", &[]).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("2")));
    assert_eq!(refused.json()["type"], "urn:tollgate:refusal:too_many_at_once");
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::over(socket.connect(gateway.public).await.unwrap());
    assert_eq!(other.get("/public/x", &[]).await.status, 200);
    drop(held);
    until("its places to be free again", async || {
        gateway.connect().await.get("/public/x", &[]).await.status == 200
    })
    .await;
}

/// Receives with an upstream that answers as told, so that the case above has no shared state.
#[tokio::test]
async fn an_idle_connection_of_http_2_ends_also_when_it_pings() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    }))
    .await;
    let gateway = impatient(&upstream).await;
    let mut client = RawHttp2::connect(gateway.public, &[]).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get("/public/x")))).await;
    let mut writing = client.write;
    let pings = tokio::spawn(async move {
        while writing.write_all(&frame(PING, 0, 0, &[7; 8])).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    within("the end of an idle connection", async {
        while RawHttp2::next_of(&mut client.read).await.is_some() {}
    })
    .await;
    pings.abort();
}
