//! What lasts: WebSockets, event streams, trailers, bodies larger than any buffer.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::alone::{most_resident, resident, was_run_alone};
use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::http2_upstream::{Tls, server_config};
use crate::support::tls::{Authority, Http2, connect};
use crate::support::upstream::{PAUSE, Received, Upstream, plain};
use crate::support::within;

/// The handshake of RFC 6455 section 1.3.
pub const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
/// The same as it is sent.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
pub const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub const TEXT: &[u8] = b"\x81\x05hello";
/// From a client: masked.
pub const MASKED: &[u8] = b"\x81\x85\x00\x00\x00\x00hello";
/// How often one is opened in a row: one in sixteen was dead, before.
const OPENINGS: usize = 300;
const CLOSE: &[u8] = b"\x88\x02\x03\xe8";

/// A gateway in front of an upstream that the test plays itself. `read`: how long that may pause.
async fn stage(read: Duration) -> (TcpListener, Gateway) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let routes = format!("routes: [{{ path: /*, to: \"http://{to}\" }}]");
    let gateway = Gateway::adjusted(&routes, |settings| {
        Arc::get_mut(&mut settings.upstreams[0]).unwrap().timeouts.read = read;
        settings.patience.body_pause = read;
    })
    .await;
    (listener, gateway)
}

pub async fn accept(listener: &TcpListener) -> Client {
    Client::over(within("a connection to the upstream", listener.accept()).await.unwrap().0)
}

#[tokio::test]
async fn a_websocket_carries_frames_both_ways_and_may_be_silent_for_long() {
    let silence = Duration::from_secs(1);
    let (listener, gateway) = stage(silence).await;
    let bearer = gateway.bearer("alice", "");
    let mut client = gateway.connect().await;
    let fields = [&HANDSHAKE[..], &[("Authorization", bearer.as_str())]].concat();
    client.send(request("GET", "/chat", &fields, b"")).await;
    let mut peer = accept(&listener).await;
    let head = peer.take_head().await.unwrap().to_ascii_lowercase();
    assert!(
        head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nconnection: upgrade\r\n"),
        "{head}"
    );
    assert!(head.contains("x-auth-subject: alice\r\n") && !head.contains("authorization"), "{head}");
    peer.send([SWITCHES.as_bytes(), TEXT].concat()).await;
    assert_eq!(client.interim().await, 101);
    client.take(TEXT).await;
    client.send(MASKED).await;
    peer.take(MASKED).await;
    // Longer than any read may take elsewhere.
    tokio::time::sleep(silence * 3).await;
    peer.send(TEXT).await;
    client.take(TEXT).await;
    client.send(MASKED).await;
    peer.take(MASKED).await;
    // The client says goodbye, the upstream answers and closes.
    peer.send(CLOSE).await;
    client.take(CLOSE).await;
    drop(peer);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_websocket_may_be_silent_for_as_long_as_its_upstream_may_where_that_is_longer() {
    let short = Duration::from_secs(1);
    for (read, lives) in [(Duration::from_secs(60), true), (short, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let routes = format!("routes: [{{ path: /*, to: \"http://{to}\", public: true }}]");
        let gateway = Gateway::adjusted(&routes, |settings| {
            Arc::get_mut(&mut settings.upstreams[0]).unwrap().timeouts.read = read;
            settings.patience.conversation_silent = short;
        })
        .await;
        let mut client = gateway.connect().await;
        client.send(request("GET", "/chat", &HANDSHAKE, b"")).await;
        let mut peer = accept(&listener).await;
        peer.take_head().await.unwrap();
        peer.send(SWITCHES).await;
        assert_eq!(client.interim().await, 101);
        if lives {
            assert!(!client.hears_within(short * 3).await);
            peer.send(TEXT).await;
            client.take(TEXT).await;
        } else {
            assert!(client.is_closed().await);
        }
    }
}

/// A wish for a WebSocket is no way to wait for an hour.
#[tokio::test]
async fn an_upstream_that_has_not_switched_may_be_silent_no_longer_than_any_other() {
    let (listener, gateway) = stage(Duration::from_millis(200)).await;
    let bearer = gateway.bearer("alice", "");
    let fields = [&HANDSHAKE[..], &[("Authorization", bearer.as_str())]].concat();
    let asked = async || {
        let mut client = gateway.connect().await;
        client.send(request("GET", "/chat", &fields, b"")).await;
        let mut peer = accept(&listener).await;
        peer.take_head().await.unwrap();
        (client, peer)
    };
    // It says nothing; or that it will, and then nothing.
    for early in ["", "HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n"] {
        let (mut client, mut peer) = asked().await;
        peer.send(early).await;
        if !early.is_empty() {
            assert_eq!(client.interim().await, 103);
        }
        assert_eq!(client.answer().await.status, 504);
        assert!(peer.is_closed().await);
    }
    // It answers as if it had not been asked to switch, and stops.
    let (mut client, mut peer) = asked().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    assert!(client.rest().await.ends_with("\r\n\r\nhello"));
    assert!(peer.is_closed().await);
    let outcomes: Vec<_> = gateway.logged(3).await.iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["upstream_timeout"; 3]);
}

#[tokio::test]
async fn a_websocket_lives_however_soon_its_upstream_switches() {
    let (listener, gateway) = stage(Duration::from_secs(60)).await;
    let bearer = gateway.bearer("alice", "");
    let fields = [&HANDSHAKE[..], &[("Authorization", bearer.as_str())]].concat();
    let listener = listener.into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    // Switches before the request has come, as a fast one does by chance. It has a thread of its own to be
    // fast.
    let upstream = std::thread::spawn(move || {
        for _ in 0..OPENINGS {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(SWITCHES.as_bytes()).unwrap();
            let (mut came, mut piece) = (Vec::new(), [0; 4096]);
            while !came.ends_with(MASKED) {
                let length = peer.read(&mut piece).unwrap();
                assert!(length > 0, "the conversation ended");
                came.extend(&piece[..length]);
            }
            peer.write_all(TEXT).unwrap();
        }
    });
    for _ in 0..OPENINGS {
        let mut client = gateway.connect().await;
        client.send(request("GET", "/chat", &fields, b"")).await;
        assert_eq!(client.interim().await, 101);
        client.send(MASKED).await;
        client.take(TEXT).await;
    }
    upstream.join().unwrap();
}

#[tokio::test]
async fn a_websocket_that_one_side_leaves_ends_on_the_other() {
    let (listener, gateway) = stage(Duration::from_secs(60)).await;
    let bearer = gateway.bearer("alice", "");
    let fields = [&HANDSHAKE[..], &[("Authorization", bearer.as_str())]].concat();
    let mut client = gateway.connect().await;
    client.send(request("GET", "/chat", &fields, b"")).await;
    let mut peer = accept(&listener).await;
    peer.take_head().await.unwrap();
    peer.send(SWITCHES).await;
    assert_eq!(client.interim().await, 101);
    client.send(MASKED).await;
    // A half-close: what was sent before it arrives.
    client.finish().await;
    peer.take(MASKED).await;
    assert!(peer.is_closed().await);
}

#[tokio::test]
async fn a_websocket_whose_upstream_fails_ends_without_a_word_of_http() {
    let (listener, gateway) = stage(Duration::from_secs(60)).await;
    let bearer = gateway.bearer("alice", "");
    let fields = [&HANDSHAKE[..], &[("Authorization", bearer.as_str())]].concat();
    let mut client = gateway.connect().await;
    client.send(request("GET", "/chat", &fields, b"")).await;
    let (socket, _) = within("a connection to the upstream", listener.accept()).await.unwrap();
    socket.set_zero_linger().unwrap();
    let mut peer = Client::over(socket);
    peer.take_head().await.unwrap();
    peer.send([SWITCHES.as_bytes(), TEXT].concat()).await;
    assert_eq!(client.interim().await, 101);
    client.take(TEXT).await;
    drop(peer);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_websocket_needs_what_every_request_needs() {
    let (listener, gateway) = stage(Duration::from_secs(60)).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/chat", &HANDSHAKE, b"")).await;
    assert_eq!(client.answer().await.status, 401);
    // And its refusal by the upstream is an answer like any other.
    let bearer = gateway.bearer("alice", "");
    let fields = [&HANDSHAKE[..], &[("Authorization", bearer.as_str())]].concat();
    client.send(request("GET", "/chat", &fields, b"")).await;
    let mut peer = accept(&listener).await;
    peer.take_head().await.unwrap();
    peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.body[..]), (403, &b"no"[..]));
}

/// What is no wish for a WebSocket by RFC 9110 section 7.8 and RFC 6455 section 4.1 is none to the upstream;
/// and one that switches all the same is not believed. A proxy before the gateway would take what follows for
/// its next answer.
#[tokio::test]
async fn what_only_looks_like_a_wish_for_a_websocket_is_none() {
    let upstream = Upstream::answering(Arc::new(|seen: &Received| {
        assert_eq!((seen.header("upgrade"), seen.header("connection")), (None, None), "{}", seen.head);
        if seen.path() == "/switches" { SWITCHES.into() } else { plain(seen) }
    }))
    .await;
    let gateway =
        Gateway::with(&format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url())).await;
    let (method, version) = ("GET", "HTTP/1.1");
    let (connection, upgrade) = ("Connection: Upgrade\r\n", "Upgrade: websocket\r\n");
    let (key, version_13) =
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Sec-WebSocket-Version: 13\r\n");
    for (what, method, version, fields, body) in [
        ("no Connection", method, version, format!("{upgrade}{key}{version_13}"), ""),
        (
            "Connection names something else",
            method,
            version,
            UPGRADE.replace("Connection: Upgrade", "Connection: keep-alive"),
            "",
        ),
        ("no Upgrade", method, version, format!("{connection}{key}{version_13}"), ""),
        ("two protocols", method, version, UPGRADE.replace("websocket", "websocket, h2c"), ""),
        ("two fields", method, version, format!("{UPGRADE}Upgrade: h2c\r\n"), ""),
        (
            "another protocol",
            method,
            version,
            format!("{connection}{key}{version_13}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            "",
        ),
        ("no key", method, version, UPGRADE.replace(key, ""), ""),
        ("two keys", method, version, format!("{UPGRADE}{key}"), ""),
        ("a key that is none", method, version, UPGRADE.replace("ZQ==", ""), ""),
        ("no version", method, version, UPGRADE.replace(version_13, ""), ""),
        ("another version", method, version, UPGRADE.replace("13", "8"), ""),
        ("HTTP/1.0", method, "HTTP/1.0", UPGRADE.to_owned(), ""),
        ("POST", "POST", version, format!("{UPGRADE}Content-Length: 2\r\n"), "hi"),
        ("POST without a body", "POST", version, UPGRADE.to_owned(), ""),
        ("a length", method, version, format!("{UPGRADE}Content-Length: 2\r\n"), "hi"),
        ("chunks", method, version, format!("{UPGRADE}Transfer-Encoding: chunked\r\n"), "0\r\n\r\n"),
    ] {
        for (path, status) in [("/plain", 200), ("/switches", 502)] {
            let mut client = gateway.connect().await;
            client.send(format!("{method} {path} {version}\r\nHost: {HOST}\r\n{fields}\r\n{body}")).await;
            assert_eq!(client.answer().await.status, status, "{what} {path}");
        }
    }
}

/// A connection that has switched is a way past every route. An answer of status 101 that does not accept the
/// client's key (RFC 6455 section 4.2.2), whatever else it says, is one of an upstream that passes on a status
/// it was told, and what the client sends next is its next request.
#[tokio::test]
async fn what_follows_a_switch_that_accepts_nothing_does_not_reach_the_upstream() {
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let bare = "HTTP/1.1 101 Switching Protocols\r\n";
    for switch in [
        format!("{bare}\r\n"),
        SWITCHES.replace("Upgrade: websocket\r\n", ""),
        SWITCHES.replace("Connection: Upgrade\r\n", ""),
        SWITCHES.replace("websocket", "h2c"),
        SWITCHES.replace(ACCEPT, ""),
        SWITCHES.replace("s3pP", "S3pP"),
        SWITCHES.replace(ACCEPT, &ACCEPT.repeat(2)),
    ] {
        let answer = switch.clone();
        let upstream = Upstream::answering(Arc::new(move |seen: &Received| {
            if seen.path() == "/status/101" { answer.clone().into_bytes() } else { plain(seen) }
        }))
        .await;
        let routes = format!(
            "routes: [{{ path: /status/*, to: \"{0}\", public: true }}, {{ path: /private/*, to: \"{0}\" }}]",
            upstream.url()
        );
        let gateway = Gateway::with(&routes).await;
        let mut client = gateway.connect().await;
        client.send(request("GET", "/status/101", &HANDSHAKE, b"")).await;
        assert_eq!(client.answer().await.status, 502, "{switch}");
        client.try_send(request("GET", "/private/x", &[("X-Auth-Subject", "admin")], b"")).await;
        if let Some(next) = client.answer_to("GET").await {
            assert_eq!(next.status, 401, "{switch}");
        }
        assert_eq!(gateway.connect().await.get("/status/200", &[]).await.status, 200);
        let paths: Vec<_> = upstream.received().iter().map(|seen| seen.path().to_owned()).collect();
        assert_eq!(paths, ["/status/101", "/status/200"], "{switch}");
    }
}

#[tokio::test]
async fn a_websocket_works_over_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to, authority) = (listener.local_addr().unwrap(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let at = folder.path().display();
    let top = format!(
        "public_url: https://{HOST}\nlisten: {{ address: 127.0.0.1:0, tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}] }}"
    );
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let upstreams = format!(
        "upstreams: {{ api: {{ url: \"https://{to}\", tls: {{ ca: {at}/ca.pem, server_name: api.internal }} }} }}"
    );
    let routes = format!("{upstreams}\nroutes: [{{ path: /*, to: api, public: true }}]");
    let gateway = Gateway::listening(&top, &routes).await;
    let config = authority.client(&[&TLS13], None);
    let stream = connect(gateway.public, config, "gate.localhost", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // A browser opens a second connection for a WebSocket.
    let config = authority.client(&[&TLS13], None);
    let mut client =
        Client::over(connect(gateway.public, config, "gate.localhost", &["http/1.1"]).await.unwrap());
    client.send(request("GET", "/chat", &HANDSHAKE, b"")).await;
    let identity = authority.sign(&["api.internal"]);
    // HTTP/2 is offered, and does not fit: an upgrade is HTTP/1.1 on both sides.
    let tls = server_config(&Tls { identity: &identity, protocols: &["h2", "http/1.1"], clients: None });
    let (socket, _) = within("a connection to the upstream", listener.accept()).await.unwrap();
    let stream = TlsAcceptor::from(Arc::new(tls)).accept(socket).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut peer = Client::over(stream);
    peer.take_head().await.unwrap();
    peer.send(SWITCHES).await;
    assert_eq!(client.interim().await, 101);
    client.send(MASKED).await;
    peer.take(MASKED).await;
    peer.send(TEXT).await;
    client.take(TEXT).await;
}

/// Each event is released only when the one before it has arrived.
#[tokio::test]
async fn events_arrive_one_by_one_over_http_1_and_2() {
    let events = |framed: bool| {
        Arc::new(move |_: &Received| {
            let framing = if framed { "Transfer-Encoding: chunked\r\n" } else { "Connection: close\r\n" };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n");
            let event = |n: u8| {
                let event = format!("data: {n}\n\n");
                if framed { format!("{:x}\r\n{event}\r\n", event.len()) } else { event }
            };
            let end = if framed { "0\r\n\r\n" } else { "" };
            [
                head.as_bytes(),
                event(1).as_bytes(),
                PAUSE,
                event(2).as_bytes(),
                PAUSE,
                event(3).as_bytes(),
                end.as_bytes(),
            ]
            .concat()
        })
    };
    for framed in [true, false] {
        let upstream = Upstream::answering(events(framed)).await;
        let gateway = Gateway::start(&upstream).await;
        let mut client = gateway.connect().await;
        client.send(request("GET", "/public/events", &[("Accept", "text/event-stream")], b"")).await;
        client.until(b"data: 1\n\n").await;
        upstream.release(1);
        client.until(b"data: 2\n\n").await;
        upstream.release(1);
        assert_eq!(client.answer().await.body, b"data: 1\n\ndata: 2\n\ndata: 3\n\n");

        let mut client = Http2::clear_text(gateway.public).await;
        let get = Request::get(format!("http://{HOST}/public/events")).body(()).unwrap();
        let (answer, _) = client.sender.send_request(get, true).unwrap();
        let mut body = within("an answer", answer).await.unwrap().into_body();
        for event in [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"] {
            assert_eq!(within("an event", body.data()).await.unwrap().unwrap(), &event[..]);
            upstream.release(1);
        }
        assert!(ends(&mut body).await);
    }
}

#[tokio::test]
async fn an_event_stream_that_the_client_leaves_ends_at_the_upstream() {
    for http2 in [false, true] {
        let (listener, gateway) = stage(Duration::from_secs(60)).await;
        let bearer = gateway.bearer("alice", "");
        let address = gateway.public;
        let mut first = gateway.connect().await;
        let mut second = Http2::clear_text(address).await;
        let mut stream = None;
        if http2 {
            let get = Request::get(format!("http://{HOST}/events")).header("authorization", &bearer);
            stream = Some(second.sender.send_request(get.body(()).unwrap(), true).unwrap());
        } else {
            first.send(request("GET", "/events", &[("Authorization", &bearer)], b"")).await;
        }
        let mut peer = accept(&listener).await;
        peer.take_head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
        if let Some((answer, _)) = stream {
            let mut body = within("an answer", answer).await.unwrap().into_body();
            body.data().await.unwrap().unwrap();
        } else {
            first.until(b"one").await;
        }
        drop(first);
        drop(second);
        assert!(peer.is_closed().await);
    }
}

/// Whether nothing follows but the end.
async fn ends(body: &mut h2::RecvStream) -> bool {
    while let Some(piece) = within("the end", body.data()).await {
        if !piece.unwrap().is_empty() {
            return false;
        }
    }
    true
}

/// What pingora does with trailers between HTTP/2 and HTTP/1.1: it drops them, in both directions.
#[tokio::test]
async fn trailers_do_not_pass_between_the_versions_and_harm_nothing() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        b"HTTP/1.1 200 OK\r\nTrailer: grpc-status\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n"
            .to_vec()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = Http2::clear_text(gateway.public).await;
    for _ in 0..2 {
        let post =
            Request::post(format!("http://{HOST}/public/x")).header("te", "trailers").body(()).unwrap();
        let (answer, mut stream) = client.sender.send_request(post, false).unwrap();
        stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
        stream
            .send_trailers(
                [("x-auth-subject".parse().unwrap(), "admin".parse().unwrap())].into_iter().collect(),
            )
            .unwrap();
        let mut body = within("an answer", answer).await.unwrap().into_body();
        assert_eq!(within("a body", body.data()).await.unwrap().unwrap(), &b"ok"[..]);
        assert!(ends(&mut body).await);
        assert_eq!(within("trailers", body.trailers()).await.unwrap(), None);
    }
    for seen in upstream.received() {
        assert_eq!(seen.raw_body, b"5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(seen.header("x-auth-subject"), None);
    }
}

#[tokio::test]
async fn head_and_options_pass_over_both_versions() {
    let upstream = Upstream::answering(Arc::new(|seen: &Received| {
        let body = if seen.line().starts_with("HEAD ") { "" } else { "ok" };
        format!("HTTP/1.1 200 OK\r\nAllow: GET\r\nContent-Length: 2\r\n\r\n{body}").into_bytes()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    let mut old = gateway.connect().await;
    let mut new = Http2::clear_text(gateway.public).await;
    for method in ["HEAD", "OPTIONS", "HEAD"] {
        old.send(request(method, "/public/x", &[], b"")).await;
        let answer = old.answer_to(method).await.unwrap();
        assert_eq!(
            (answer.header("content-length"), answer.header("allow")),
            (Some("2"), Some("GET")),
            "{method}"
        );
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let ask = Request::builder().method(&method).uri(format!("http://{HOST}/public/x")).body(()).unwrap();
        let answer = new.ask(ask, &[]).await.unwrap();
        assert_eq!(
            (answer.header("content-length"), answer.header("allow")),
            (Some("2"), Some("GET")),
            "{method}"
        );
        assert_eq!(answer.body.is_empty(), method == Method::HEAD);
    }
    assert_eq!(upstream.received().len(), 6);
}

/// Reads what comes and counts it; answers with as much.
async fn echo_of_sizes(listener: TcpListener) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.ok()?);
                }
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut left: usize = length.unwrap_or("0").parse().unwrap();
                while left > 0 {
                    let most = left.min(buffer.len());
                    let count = socket.read(&mut buffer[..most]).await.ok()?;
                    if count == 0 {
                        return None::<()>;
                    }
                    left -= count;
                }
                let wanted: usize = head.split(['/', ' ']).find_map(|part| part.parse().ok()).unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {wanted}\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.ok()?;
                let mut left = wanted;
                while left > 0 {
                    let most = left.min(buffer.len());
                    socket.write_all(&buffer[..most]).await.ok()?;
                    left -= most;
                }
            }
        });
    }
}

const LARGE: usize = 256 << 20;
/// How much more memory a large body may cost: some buffers.
const FLAT: usize = 16 << 20;

async fn large(address: SocketAddr) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let piece = vec![b'x'; 256 * 1024];
    let head = request("POST", "/1", &[("Content-Length", &LARGE.to_string())], b"");
    socket.write_all(&head).await.unwrap();
    let before = resident();
    for _ in 0..LARGE / piece.len() {
        socket.write_all(&piece).await.unwrap();
    }
    let mut client = Client::over(socket);
    assert_eq!(client.answer().await.body.len(), 1);
    drop(client);

    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&request("GET", &format!("/{LARGE}"), &[], b"")).await.unwrap();
    let mut buffer = piece;
    let mut seen = 0;
    while seen < LARGE {
        seen += within("more of a large answer", socket.read(&mut buffer)).await.unwrap();
    }
    let more = most_resident() - before;
    assert!(more < FLAT, "{} MB more", more >> 20);
}

/// Before an upstream that answers as [`echo_of_sizes`] does.
async fn before_sizes() -> (Gateway, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let upstream = tokio::spawn(echo_of_sizes(listener));
    let gateway = Gateway::with(&format!(
        "limits: {{ body: 1024MiB }}\nroutes: [{{ path: /*, to: \"http://{to}\", public: true }}]"
    ))
    .await;
    (gateway, upstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_cost_no_memory_either_way() {
    if was_run_alone(module_path!(), "large_bodies_cost_no_memory_either_way") {
        return;
    }
    let (gateway, upstream) = before_sizes().await;
    large(gateway.public).await;
    upstream.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_over_http_2_cost_no_memory_either_way() {
    if was_run_alone(module_path!(), "large_bodies_over_http_2_cost_no_memory_either_way") {
        return;
    }
    let (gateway, upstream) = before_sizes().await;
    let size = 128 << 20;
    let mut client = Http2::clear_text(gateway.public).await;
    let post =
        Request::post(format!("http://{HOST}/{size}")).header("content-length", size).body(()).unwrap();
    let (answer, mut stream) = client.sender.send_request(post, false).unwrap();
    let before = resident();
    let mut left: usize = size;
    while left > 0 {
        stream.reserve_capacity(left.min(64 * 1024));
        let room = within("room in the window", std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        let piece = room.unwrap().unwrap().min(left);
        left -= piece;
        stream.send_data(Bytes::from(vec![b'x'; piece]), left == 0).unwrap();
    }
    let mut body = within("an answer", answer).await.unwrap().into_body();
    let mut seen = 0;
    while let Some(piece) = within("more of a large answer", body.data()).await {
        let piece = piece.unwrap();
        seen += piece.len();
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    assert_eq!(seen, size);
    let more = most_resident() - before;
    assert!(more < FLAT, "{} MB more", more >> 20);
    upstream.abort();
}

/// What gRPC asks of a proxy: messages in both directions on one stream, and the status in trailers.
#[tokio::test]
async fn grpc_talks_both_ways_and_ends_with_trailers_where_the_upstream_speaks_http_2() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, te) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        told.send(request.headers()["te"].clone()).unwrap();
        tokio::spawn(async move {
            let mut body = request.into_body();
            let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut answer = respond.send_response(head, false).unwrap();
            while let Some(message) = body.data().await {
                let message = message.unwrap();
                let _ = body.flow_control().release_capacity(message.len());
                answer.send_data(message, false).unwrap();
            }
            let mut trailers = http::HeaderMap::new();
            for (name, value) in [
                ("grpc-status", "0"),
                ("grpc-message", "done"),
                // These are of the head alone (RFC 9110 section 6.5.1).
                ("set-cookie", "__Host-Http-tollgate-portal=planted"),
                ("x-request-id", "another"),
                ("access-control-allow-origin", "*"),
                ("vary", "*"),
                ("proxy-authenticate", "Basic"),
            ] {
                trailers.insert(name, http::HeaderValue::from_static(value));
            }
            answer.send_trailers(trailers).unwrap();
        });
        while connection.accept().await.is_some() {}
    });
    let gateway =
        Gateway::with(&format!("routes: [{{ path: /*, to: \"h2c://{address}\", public: true }}]\n")).await;
    let mut client = Http2::clear_text(gateway.public).await;
    let request = http::Request::post(format!("http://{HOST}/echo.Echo/Talk"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (answer, mut sending) = client.sender.send_request(request, false).unwrap();
    sending.send_data(bytes::Bytes::from_static(b"first"), false).unwrap();
    let mut body = within("the head", answer).await.unwrap().into_body();
    for message in ["first", "second", "third"] {
        if message != "first" {
            sending.send_data(bytes::Bytes::from_static(message.as_bytes()), false).unwrap();
        }
        let echo = within("an echo before the next message", body.data()).await.unwrap().unwrap();
        assert_eq!(&echo[..], message.as_bytes());
        let _ = body.flow_control().release_capacity(echo.len());
    }
    sending.send_data(bytes::Bytes::new(), true).unwrap();
    assert!(within("the end", body.data()).await.is_none_or(|rest| rest.unwrap().is_empty()));
    let trailers = within("the trailers", body.trailers()).await.unwrap().unwrap();
    let names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["grpc-status", "grpc-message"]);
    assert_eq!(within("the request's te", te).await.unwrap(), "trailers");
}
