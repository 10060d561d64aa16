//! Bodies that break, stop or are answered before they end. A fault ends the connection to the upstream,
//! and nothing that came after it is ever a request there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tollgate::config::settings::Settings;

use crate::http2_upstreams::{body_of, playing};
use crate::streams::HANDSHAKE;
use crate::support::client::{Client, HOST, request};
use crate::support::frames::{DATA, END_HEADERS, End, HEADERS, RST_STREAM, RawHttp2, block, frame};
use crate::support::gateway::Gateway;
use crate::support::tls::{Http2, read};
use crate::support::upstream::Upstream;
use crate::support::within;

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: gate.localhost:8080\r\n\r\n";

/// How long a client may pause where the test is about that. Ours, which do not mean to, need a hundredth.
const PAUSE: Duration = Duration::from_secs(1);

/// An upstream that the test plays itself, and a gateway that sends everything to it.
struct Stage {
    listener: TcpListener,
    gateway: Gateway,
}

impl Stage {
    async fn set() -> Self {
        Self::patient(Duration::from_secs(30)).await
    }

    /// `pause`: how long a client may pause while it sends a body.
    async fn patient(pause: Duration) -> Self {
        Self::adjusted(|settings| {
            settings.patience.body_pause = pause;
            settings.patience.stream_stopped = pause;
        })
        .await
    }

    /// Nor may the upstream be silent for longer; it may pause while it takes a body, until it has answered.
    async fn impatient(pause: Duration) -> Self {
        Self::adjusted(|settings| {
            settings.patience.body_pause = pause;
            settings.patience.stream_stopped = pause;
            Arc::get_mut(&mut settings.upstreams[0]).unwrap().timeouts.read = pause;
        })
        .await
    }

    async fn adjusted(adjust: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let routes = format!("routes: [{{ path: /*, to: \"http://{to}\", public: true }}]");
        let gateway = Gateway::adjusted(&routes, adjust).await;
        Self { listener, gateway }
    }

    /// The gateway's next connection.
    async fn accept(&self) -> Client {
        let (socket, _) = within("a connection to the upstream", self.listener.accept()).await.unwrap();
        Client::over(socket)
    }

    /// What was sent on a connection until it ended.
    async fn all_of(peer: &mut Client) -> String {
        within("the end of the connection to the upstream", peer.rest()).await
    }

    /// Somebody else is served, on a connection of its own.
    async fn serves_another(&self) {
        let address = self.gateway.public;
        let another = tokio::spawn(async move { Client::connect(address).await.get("/another", &[]).await });
        let mut peer = self.accept().await;
        let head = peer.take_head().await.unwrap();
        assert!(head.starts_with("GET /another HTTP/1.1\r\n"), "{head}");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        assert_eq!(another.await.unwrap().body, b"ok");
    }
}

fn is_unfinished(seen: &str) -> bool {
    seen.contains("part") && !seen.contains("0\r\n\r\n") && !seen.contains("hidden")
}

#[tokio::test]
async fn a_fault_inside_a_body_ends_the_connection_to_the_upstream() {
    let chunked = ("Transfer-Encoding", "chunked");
    let length = ("Content-Length", "1000");
    let chunk = "4\r\npart\r\n";
    for (framing, part, fault) in [
        (chunked, chunk, "zz\r\n"),
        (chunked, chunk, "-1\r\n"),
        (chunked, "9\r\npart", ""),
        (chunked, "4\r\npart", "XX0\r\n\r\n"),
        (chunked, chunk, ""),
        (length, "part", ""),
    ] {
        let stage = Stage::set().await;
        let mut client = stage.gateway.connect().await;
        client.send(request("POST", "/x", &[framing], part.as_bytes().get(..0).unwrap())).await;
        client.send(part).await;
        let mut peer = stage.accept().await;
        peer.until(b"part").await;
        if !fault.is_empty() {
            client.send(format!("{fault}{HIDDEN}")).await;
            let answers = client.rest().await;
            assert!(
                answers.starts_with("HTTP/1.1 400 ") && answers.matches("HTTP/1.1 ").count() == 1,
                "{answers}"
            );
        }
        drop(client);
        let seen = Stage::all_of(&mut peer).await;
        assert!(is_unfinished(&seen), "{framing:?} {fault:?}: {seen}");
        stage.serves_another().await;
    }
}

#[tokio::test]
async fn a_client_that_stops_inside_a_body_hears_408_and_ends_the_connection_to_the_upstream() {
    for (method, framing, more) in [
        ("POST", ("Transfer-Encoding", "chunked"), &[][..]),
        ("POST", ("Content-Length", "1000"), &[]),
        // Whoever asks for an upgrade may not pause for longer in a body.
        ("POST", ("Content-Length", "1000"), &HANDSHAKE),
        ("GET", ("Transfer-Encoding", "chunked"), &HANDSHAKE),
    ] {
        let stage = Stage::patient(PAUSE).await;
        let mut client = stage.gateway.connect().await;
        let head = request(method, "/x", &[&[framing], more].concat(), b"");
        client.send([&head[..], b"4\r\npart\r\n"].concat()).await;
        let mut peer = stage.accept().await;
        let seen = Stage::all_of(&mut peer).await;
        assert!(is_unfinished(&seen), "{seen}");
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.keeps_alive()), (408, false));
        stage.serves_another().await;
    }
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/x")];

#[tokio::test]
async fn a_fault_inside_a_body_of_http_2_ends_the_connection_to_the_upstream_and_no_other_stream() {
    for length in [None, Some(("content-length", "1000"))] {
        for fault in [
            frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()),
            // Longer than its padding says.
            frame(DATA, 8, 1, &[200, 1, 1]),
            Vec::new(),
        ] {
            let stage = Stage::set().await;
            let mut client = RawHttp2::connect(stage.gateway.public, &[]).await;
            let fields: Vec<_> = POST.iter().copied().chain(length).collect();
            client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
            client.send(&frame(DATA, 0, 1, b"part")).await;
            let mut peer = stage.accept().await;
            peer.until(b"part").await;
            if fault.is_empty() {
                drop(client);
            } else {
                client.send(&fault).await;
            }
            let seen = Stage::all_of(&mut peer).await;
            assert!(is_unfinished(&seen), "{fault:?}: {seen}");
            stage.serves_another().await;
        }
    }
}

/// Early answers, to which method, and with which status. Most end with their head (RFC 9112 section 6.3), so
/// that nothing of a body says that they did.
const EARLY: [(&str, &str, u16); 4] = [
    ("POST", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    ("POST", "HTTP/1.1 204 No Content\r\n\r\n", 204),
    ("POST", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 401),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 200),
];

#[tokio::test]
async fn a_body_of_http_2_that_stops_ends_also_when_it_was_answered() {
    for (method, answer, status) in EARLY.into_iter().chain([("POST", "", 408)]) {
        let stage = Stage::impatient(PAUSE).await;
        let mut client = RawHttp2::connect(stage.gateway.public, &[]).await;
        let fields = [&[(":method", method)], &POST[1..]].concat();
        let head = frame(HEADERS, END_HEADERS, 1, &block(&fields));
        client.send(&[head, frame(DATA, 0, 1, b"part")].concat()).await;
        let mut peer = stage.accept().await;
        peer.until(b"part").await;
        peer.send(answer).await;
        let seen = Stage::all_of(&mut peer).await;
        assert!(is_unfinished(&seen), "{seen}");
        assert_eq!(client.end_of(1).await, End::Answered(status), "{method} {answer}");
        assert_eq!(stage.gateway.logged(1).await[0]["outcome"], "body_too_slow", "{method} {answer}");
        stage.serves_another().await;
    }
}

#[tokio::test]
async fn a_body_that_trickles_ends_also_when_it_was_answered() {
    for (method, answer, status) in EARLY {
        let stage = Stage::impatient(PAUSE).await;
        let mut client = stage.gateway.connect().await;
        client.send(request(method, "/x", &[("Content-Length", "1000000")], b"")).await;
        client.send("part").await;
        let mut peer = stage.accept().await;
        peer.until(b"part").await;
        peer.send(answer).await;
        assert_eq!(client.first(method).await.unwrap().status, status);
        within(&format!("the end of a trickle after {method} {answer}"), async {
            while client.try_send("x").await && !client.hears_within(PAUSE / 10).await {}
        })
        .await;
        let seen = Stage::all_of(&mut peer).await;
        assert!(is_unfinished(&seen), "{seen}");
        assert_eq!(stage.gateway.logged(1).await[0]["outcome"], "body_too_slow", "{method} {answer}");
    }
}

/// The upstream's timeout runs out while it waits for a body, and is not its fault.
#[tokio::test]
async fn an_upstream_is_not_blamed_for_a_client_that_stops() {
    let upstream = Upstream::start().await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let gateway = Gateway::adjusted(&routes, |settings| {
        Arc::get_mut(&mut settings.upstreams[0]).unwrap().timeouts.read = Duration::from_millis(300);
    })
    .await;
    let mut old = gateway.connect().await;
    old.send(request("POST", "/x", &[("Content-Length", "1000")], b"")).await;
    old.send("part").await;
    assert_eq!(old.answer().await.status, 408);
    let mut new = RawHttp2::connect(gateway.public, &[]).await;
    new.send(&frame(HEADERS, END_HEADERS, 1, &block(&POST))).await;
    new.send(&frame(DATA, 0, 1, b"part")).await;
    assert_eq!(new.end_of(1).await, End::Answered(408));
    let lines = gateway.logged(2).await;
    assert!(lines.iter().all(|line| line["outcome"] == "body_too_slow"), "{lines:?}");
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let mut sent = metrics.lines().filter(|line| line.starts_with("tollgate_upstream_requests_total{"));
    let counted = sent.next().unwrap();
    assert!(counted.contains("result=\"abandoned\"") && counted.ends_with(" 2"), "{metrics}");
    assert_eq!(sent.next(), None, "{metrics}");
}

/// 8 MB of body, of which the upstream wants nothing.
#[tokio::test]
async fn an_early_answer_is_read_although_the_body_is_still_on_its_way() {
    for ends in ["Connection: close\r\n", ""] {
        let stage = Stage::set().await;
        let mut client = stage.gateway.connect().await;
        client.send(request("POST", "/x", &[("Content-Length", "8000000")], b"")).await;
        client.send("part").await;
        let mut peer = stage.accept().await;
        peer.until(b"part").await;
        peer.send(format!("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n{ends}\r\nno")).await;
        if !ends.is_empty() {
            drop(peer);
        }
        // A simple client sends everything before it reads.
        let some = vec![b'x'; 100_000];
        for _ in 0..75 {
            client.try_send(&some).await;
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.body[..]), (403, &b"no"[..]));
    }
}

#[tokio::test]
async fn an_early_answer_is_read_over_http_2_too() {
    let stage = Stage::set().await;
    let mut client = Http2::clear_text(stage.gateway.public).await;
    let post = Request::post(format!("http://{HOST}/x")).body(()).unwrap();
    let (answer, mut body) = client.sender.send_request(post, false).unwrap();
    body.send_data(Bytes::from_static(b"part"), false).unwrap();
    let mut peer = stage.accept().await;
    peer.until(b"part").await;
    peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
    drop(peer);
    for _ in 0..5 {
        let _ = body.send_data(Bytes::from(vec![b'x'; 100_000]), false);
    }
    let answer = read(answer).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (403, &b"no"[..]));
}

#[tokio::test]
async fn expect_100_continue_is_between_client_and_upstream() {
    let stage = Stage::set().await;
    let expecting = [("Expect", "100-continue"), ("Content-Length", "4")];
    let mut client = stage.gateway.connect().await;
    client.send(request("POST", "/x", &expecting, b"")).await;
    let mut peer = stage.accept().await;
    let head = peer.take_head().await.unwrap();
    assert!(head.to_ascii_lowercase().contains("expect: 100-continue\r\n"), "{head}");
    assert!(!client.hears_soon().await, "nobody but the upstream says that it wants the body");
    peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.interim().await, 100);
    client.send("body").await;
    peer.until(b"body").await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    assert_eq!(client.answer().await.body, b"ok");

    let mut client = stage.gateway.connect().await;
    client.send(request("POST", "/x", &expecting, b"")).await;
    let mut peer = stage.accept().await;
    peer.take_head().await.unwrap();
    peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 417);
    // The body was never asked for and never came: the upstream would take the next request for it.
    drop(client);
    let seen = Stage::all_of(&mut peer).await;
    assert!(seen.is_empty(), "{seen}");
    stage.serves_another().await;
}

/// pingora passes on no interim answer of an upstream of HTTP/2, and none to a client of HTTP/2: whoever hears
/// of no 100 must not make the other side wait for a body.
#[tokio::test]
async fn whoever_waits_for_100_continue_gets_it_here_where_the_upstream_speaks_http_2() {
    let (asked, mut heads) = unbounded_channel();
    let to = playing(None, move |_, (request, mut respond)| {
        let asked = asked.clone();
        async move {
            let (head, body) = request.into_parts();
            asked.send(head.headers).unwrap();
            let body = body_of(body).await;
            let head = Response::builder().header("content-length", body.len()).body(()).unwrap();
            respond.send_response(head, false).unwrap().send_data(body.into(), true).unwrap();
        }
    })
    .await;
    let gateway = Gateway::with(&format!("routes: [{{ path: /*, to: \"h2c://{to}\", public: true }}]")).await;
    let expecting = [("Expect", "100-continue"), ("Content-Length", "4")];
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        client.send(request("POST", "/x", &expecting, b"")).await;
        assert_eq!(client.interim().await, 100);
        client.send("body").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.body[..], answer.keeps_alive()), (200, &b"body"[..], true));
        assert_eq!(heads.recv().await.unwrap().get("expect"), None);
    }
    let post =
        || Request::post(format!("http://{HOST}/x")).header("expect", "100-continue").body(()).unwrap();
    let answer = Http2::clear_text(gateway.public).await.ask(post(), &[b"body"]).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"body"[..]));
    assert_eq!(heads.recv().await.unwrap().get("expect"), None);

    // The body of a client of HTTP/1.0 comes unasked (RFC 9110 section 10.1.1).
    let stage = Stage::set().await;
    let mut old = stage.gateway.connect().await;
    old.send(format!(
        "POST /x HTTP/1.0\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
    ))
    .await;
    let mut new = Http2::clear_text(stage.gateway.public).await;
    let asked = tokio::spawn(async move { new.ask(post(), &[b"body"]).await });
    for _ in 0..2 {
        let mut peer = stage.accept().await;
        let head = peer.take_head().await.unwrap().to_ascii_lowercase();
        assert!(!head.contains("expect:"), "{head}");
        peer.until(b"body").await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    }
    assert_eq!(asked.await.unwrap().unwrap().status, 200);
    assert_eq!(old.answer().await.status, 200);
}

/// Resets the connection where `drop` would end it.
#[tokio::test]
async fn a_reset_inside_a_body_is_no_end_of_it() {
    let stage = Stage::set().await;
    let socket = TcpStream::connect(stage.gateway.public).await.unwrap();
    socket.set_zero_linger().unwrap();
    let mut client = Client::over(socket);
    client.send(request("POST", "/x", &[("Transfer-Encoding", "chunked")], b"")).await;
    client.send("4\r\npart\r\n").await;
    let mut peer = stage.accept().await;
    peer.until(b"part").await;
    drop(client);
    let seen = Stage::all_of(&mut peer).await;
    assert!(is_unfinished(&seen), "{seen}");
    stage.serves_another().await;
}
