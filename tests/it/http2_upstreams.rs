//! Upstreams of HTTP/2 that are slow, silent, or refuse: who waits for whom, and who is blamed.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::streams::HANDSHAKE;
use crate::support::client::{HOST, request};
use crate::support::frames::{ACK, END_HEADERS, END_STREAM, HEADERS, RawHttp2, SETTINGS, frame};
use crate::support::gateway::Gateway;
use crate::support::http2_upstream::{Http2Upstream, Tls, server_config};
use crate::support::tls::{Authority, Http2, Identity};
use crate::support::upstream::Upstream;
use crate::support::{eventually, within};

/// A stream of an upstream that is played here.
pub type Stream = (Request<RecvStream>, SendResponse<Bytes>);

/// An upstream that does with the `n`-th request what `act` says, over h2c or over TLS.
pub async fn playing<Act, Acts>(identity: Option<&Identity>, act: Act) -> SocketAddr
where
    Act: Fn(usize, Stream) -> Acts + Clone + Send + Sync + 'static,
    Acts: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = identity
        .map(|identity| Arc::new(server_config(&Tls { identity, protocols: &["h2"], clients: None })));
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        let count = Arc::new(AtomicUsize::new(0));
        loop {
            let socket = listener.accept().await.unwrap().0;
            let (act, count, config) = (act.clone(), count.clone(), config.clone());
            connections.spawn(async move {
                match config {
                    None => play(socket, act, count).await,
                    Some(config) => {
                        let Ok(stream) = TlsAcceptor::from(config).accept(socket).await else { return };
                        play(stream, act, count).await;
                    }
                }
            });
        }
    });
    address
}

async fn play<Act, Acts>(socket: impl AsyncRead + AsyncWrite + Unpin, act: Act, count: Arc<AtomicUsize>)
where
    Act: Fn(usize, Stream) -> Acts,
    Acts: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok(stream)) = connection.accept().await {
        streams.spawn(act(count.fetch_add(1, Ordering::SeqCst), stream));
    }
}

pub async fn body_of(mut stream: RecvStream) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(piece)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    body
}

pub fn ok() -> Response<()> {
    Response::new(())
}

/// Answers with what it was sent.
async fn echo((request, mut respond): Stream) {
    let body = body_of(request.into_body()).await;
    let Ok(mut stream) = respond.send_response(ok(), false) else { return };
    let _ = stream.send_data(body.into(), true);
}

/// What a client says to its proxy goes no further, also where nothing but HTTP/2 is spoken.
#[tokio::test]
async fn what_is_meant_for_one_hop_stays_here_from_http_2_to_http_2() {
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let upstream = playing(None, move |_, (request, mut respond): Stream| {
        tell.send(request.headers().clone()).unwrap();
        async move { drop(respond.send_response(ok(), true)) }
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, "")).await;
    let request = Request::get(format!("http://{HOST}/x"))
        .header("proxy-authorization", "Basic eDp5")
        .header("proxy-authenticate", "Basic")
        .header("trailer", "x-a")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let answer = Http2::clear_text(gateway.public).await.ask(request, &[]).await.unwrap();
    assert_eq!(answer.status, 200);
    let seen = within("the request", heard.recv()).await.unwrap();
    for gone in ["proxy-authorization", "proxy-authenticate", "trailer"] {
        assert!(!seen.contains_key(gone), "{gone}: {seen:?}");
    }
    assert_eq!(seen["te"], "trailers", "gRPC asks for it");
}

/// A server that has lost its place in the table of a connection reads another caller's fields there:
/// lighttpd 1.4.69 does after a URL that is too long for it.
#[tokio::test]
async fn who_calls_never_stands_in_the_table_that_requests_share() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let gateway = Gateway::with(&format!("routes: [{{ path: /*, to: \"h2c://{upstream}\" }}]\n")).await;
    let bearer = gateway.bearer("alice", "api:read");
    let client = tokio::spawn({
        let mut client = gateway.connect().await;
        async move { client.get("/x", &[("Authorization", &bearer)]).await }
    });
    let (read, mut write) = within("a connection", listener.accept()).await.unwrap().0.into_split();
    let mut read = tokio::io::BufReader::new(read);
    read.read_exact(&mut [0; 24]).await.unwrap();
    write.write_all(&[frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()).await.unwrap();
    let head = loop {
        let frame = RawHttp2::next_of(&mut read).await.unwrap();
        if frame.kind == HEADERS {
            break frame;
        }
    };
    let (kept, passing) = names_in(&head.payload);
    assert_eq!(kept, 0, "names that the table takes up");
    assert!(passing >= 10, "{passing} are identity headers, and what is told of the client");
    // 200, and the end.
    write.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, head.stream, &[0x88])).await.unwrap();
    assert_eq!(client.await.unwrap().status, 200);
}

/// How many fields of a block are spelled with their names: those that the table takes up, and those that it
/// never does (RFC 7541 section 6.2).
fn names_in(mut block: &[u8]) -> (usize, usize) {
    let (mut kept, mut passing) = (0, 0);
    while let Some(first) = block.first().copied() {
        let bits = match first {
            0x80.. => 7,
            0x40..0x80 => 6,
            0x20..0x40 => 5,
            _ => 4,
        };
        let index = integer(&mut block, bits);
        let texts = match (first, index) {
            (0x20..0x40 | 0x80.., _) => 0,
            (0x40..0x80, 0) => {
                kept += 1;
                2
            }
            (0x10..0x20, 0) => {
                passing += 1;
                2
            }
            (_, 0) => 2,
            _ => 1,
        };
        for _ in 0..texts {
            let length = integer(&mut block, 7);
            block = &block[length..];
        }
    }
    (kept, passing)
}

/// RFC 7541 section 5.1.
fn integer(block: &mut &[u8], bits: u32) -> usize {
    let mut next = || {
        let (first, rest) = block.split_first().unwrap();
        *block = rest;
        usize::from(*first)
    };
    let most = (1 << bits) - 1;
    let mut number = next() & most;
    let mut shift = 0;
    while number >= most {
        let byte = next();
        number += (byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    number
}

fn routed(to: &str, more: &str) -> String {
    format!(
        "upstreams: {{ api: {{ url: \"{to}\"{more} }} }}\nroutes: [{{ path: /*, to: api, public: true }}]\n"
    )
}

pub fn h2c(upstream: SocketAddr, more: &str) -> String {
    routed(&format!("h2c://{upstream}"), more)
}

/// A server's certificate, and what makes the gateway believe it.
fn secured() -> (tempfile::TempDir, Identity, String) {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let tls = format!(", tls: {{ ca: {}/ca.pem, server_name: localhost }}", folder.path().display());
    (folder, authority.sign(&["localhost"]), tls)
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://{HOST}{path}")).body(()).unwrap()
}

pub fn post(path: &str) -> Request<()> {
    Request::post(format!("http://{HOST}{path}")).body(()).unwrap()
}

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8(gateway.admin("/metrics").await.body).unwrap()
}

/// The outcome of the `n`-th request in the access log.
pub async fn outcome(gateway: &Gateway, count: usize) -> String {
    let lines = gateway.logged(count).await;
    lines[count - 1]["outcome"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_nobody_elses_answers() {
    let sent = Arc::new(AtomicUsize::new(0));
    let upstream = playing(None, {
        let sent = sent.clone();
        move |_, (request, mut respond)| {
            let sent = sent.clone();
            async move {
                let mut left = if request.uri().path() == "/large" { 3 << 20 } else { 2 };
                let mut stream = respond.send_response(ok(), false).unwrap();
                while left > 0 {
                    stream.reserve_capacity(left);
                    let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    left -= room;
                    sent.fetch_add(room, Ordering::SeqCst);
                    stream.send_data(vec![b'x'; room].into(), left == 0).unwrap();
                }
            }
        }
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, "")).await;
    assert_eq!(gateway.connect().await.get("/small", &[]).await.status, 200);
    let socket = TcpStream::connect(gateway.public).await.unwrap();
    let (sender, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut unread = Vec::new();
    for _ in 0..60 {
        let mut sender = sender.clone().ready().await.unwrap();
        unread.push(within("its head", sender.send_request(get("/large"), true).unwrap().0).await.unwrap());
    }
    eventually("more than one answer's worth", || sent.load(Ordering::SeqCst) >= 8 << 20).await;
    for _ in 0..20 {
        assert_eq!(gateway.connect().await.get("/small", &[]).await.body, b"xx");
    }
    drop(unread);
    connection.abort();
}

#[tokio::test]
async fn uploads_that_an_upstream_does_not_read_stop_no_others_of_their_connection() {
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let stuck = playing(None, move |_, stream| {
        held.lock().unwrap().push(stream);
        async {}
    })
    .await;
    let good = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "routes: [{{ path: /stuck, to: \"h2c://{stuck}\", public: true }}, {{ path: /x, to: \"{}\", public: true }}]",
        good.url()
    ))
    .await;
    let mut client = Http2::clear_text(gateway.public).await;
    assert_eq!(client.ask(post("/x"), &[b"before"]).await.unwrap().status, 200);
    let mut waiting = Vec::new();
    for at in 0..60 {
        let (answer, mut body) = client.sender.send_request(post("/stuck"), false).unwrap();
        body.reserve_capacity(200_000);
        while body.capacity() < 200_000 {
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
            within(&format!("room for upload {at}"), room).await.unwrap().unwrap();
        }
        body.send_data(Bytes::from(vec![b'x'; 200_000]), false).unwrap();
        waiting.push((answer, body));
    }
    assert_eq!(client.ask(post("/x"), &[&[b'x'; 20_000]]).await.unwrap().status, 200);
    for (answer, _) in &mut waiting {
        assert!(futures_util::poll!(answer).is_pending(), "an upload that should be stuck");
    }
}

/// It is the upstream that is silent, not the client, and nothing is sent a second time.
#[tokio::test]
async fn an_upstream_that_does_not_answer_what_has_no_body_is_504() {
    let (_folder, identity, tls) = secured();
    for secure in [false, true] {
        let count = Arc::new(AtomicUsize::new(0));
        let upstream = playing(secure.then_some(&identity), {
            let count = count.clone();
            move |_, stream| {
                count.fetch_add(1, Ordering::SeqCst);
                async move {
                    std::future::pending::<()>().await;
                    drop(stream);
                }
            }
        })
        .await;
        let timeouts = ", timeouts: { read: 300ms }";
        let gateway = Gateway::with(&match secure {
            true => routed(&format!("https://{upstream}"), &format!("{tls}{timeouts}")),
            false => h2c(upstream, timeouts),
        })
        .await;
        for (at, method) in ["GET", "POST", "DELETE"].into_iter().enumerate() {
            let fields = format!("{method} /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n");
            let mut client = gateway.connect().await;
            client.send(fields).await;
            assert_eq!(client.answer().await.status, 504, "{method} secure: {secure}");
            let empty = Request::builder().method(method).uri(format!("http://{HOST}/x"));
            let empty = empty.header("content-length", "0").body(()).unwrap();
            let mut client = Http2::clear_text(gateway.public).await;
            assert_eq!(client.ask(empty, &[]).await.unwrap().status, 504, "{method} secure: {secure}");
            // On a busy machine the last may be given up before the server has looked at it.
            eventually("each at the server", || count.load(Ordering::SeqCst) >= 2 * (at + 1)).await;
            assert_eq!(count.load(Ordering::SeqCst), 2 * (at + 1), "each once");
        }
        assert_eq!(outcome(&gateway, 6).await, "upstream_timeout");
    }
}

/// Over HTTP/1.1 a connection closes, over HTTP/2 a stream is reset or its connection lost.
#[tokio::test]
async fn who_leaves_is_written_down_as_gone_whatever_the_version() {
    let upstream = playing(None, |_, (_, mut respond)| async move {
        let mut stream = respond.send_response(ok(), false).unwrap();
        stream.send_data(Bytes::from("piece"), false).unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, "")).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/x", &[], b"")).await;
    client.until(b"piece").await;
    drop(client);
    assert_eq!(outcome(&gateway, 1).await, "client_gone");
    for loses_connection in [false, true] {
        let mut client = Http2::clear_text(gateway.public).await;
        let (answer, mut stream) = client.sender.send_request(get("/x"), true).unwrap();
        let mut body = within("an answer", answer).await.unwrap().into_body();
        within("a piece", body.data()).await.unwrap().unwrap();
        if loses_connection {
            drop(client);
        } else {
            stream.send_reset(Reason::CANCEL);
        }
        let count = 2 + usize::from(loses_connection);
        assert_eq!(outcome(&gateway, count).await, "client_gone", "connection lost: {loses_connection}");
    }
    assert!(!metrics(&gateway).await.contains("reason=\"bad_request\""));
}

/// RFC 9113 section 8.7: neither was processed.
#[tokio::test]
async fn a_post_that_a_server_refused_unprocessed_is_sent_again() {
    let upstream = playing(None, |at, (request, mut respond)| async move {
        if at == 0 {
            respond.send_reset(Reason::REFUSED_STREAM);
        } else {
            echo((request, respond)).await;
        }
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, "")).await;
    let mut client = gateway.connect().await;
    client.send(request("POST", "/x", &[], b"once")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"once"[..]));
}

/// As the one before, where the connection takes no more. What the server may have acted on is 502.
#[tokio::test]
async fn a_post_is_sent_again_after_goaway_where_the_server_did_not_see_it() {
    for (last, status) in [(0_u32, 200), (1, 502)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            socket.write_all(&frame(4, ACK, 0, &[])).await.unwrap();
            let mut came = Vec::new();
            while !came.ends_with(b"once") {
                assert!(socket.read_buf(&mut came).await.unwrap() > 0);
            }
            socket.write_all(&frame(7, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())).await.unwrap();
            // All that comes until the other side has had it; only then is it gone.
            socket.shutdown().await.unwrap();
            while socket.read_buf(&mut came).await.is_ok_and(|count| count > 0) {}
            let (socket, _) = listener.accept().await.unwrap();
            play(socket, |_, stream| echo(stream), Arc::default()).await;
        });
        let gateway = Gateway::with(&h2c(upstream, "")).await;
        let mut client = gateway.connect().await;
        client.send(request("POST", "/x", &[], b"once")).await;
        assert_eq!(client.answer().await.status, status, "last stream: {last}");
        serving.abort();
    }
}

/// The connection that it is given then speaks HTTP/1.1, and is for its like.
#[tokio::test]
async fn a_request_of_http_1_0_leaves_the_others_http_2() {
    let (_folder, identity, tls) = secured();
    let offers = Tls { identity: &identity, protocols: &["h2", "http/1.1"], clients: None };
    let upstream = Http2Upstream::start(Some(offers)).await;
    let gateway = Gateway::with(&routed(&format!("https://{}", upstream.address), &tls)).await;
    let old = async || {
        let mut old = gateway.connect().await;
        old.send(format!("GET /old HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(old.answer().await.status, 200);
    };
    old().await;
    assert_eq!(gateway.connect().await.get("/x", &[]).await.status, 200);
    old().await;
    let noted = upstream.noted();
    let versions: Vec<_> = noted.iter().map(|one| one.version).collect();
    assert_eq!(versions, [Version::HTTP_11, Version::HTTP_2, Version::HTTP_11]);
    assert_eq!(noted[0].connection, noted[2].connection, "it is kept");
}

/// One path that wants HTTP/1.1 gets it, and the others keep HTTP/2.
#[tokio::test]
async fn a_server_that_asks_for_http_1_1_once_is_asked_over_http_2_again() {
    let (_folder, identity, tls) = secured();
    let offers = Tls { identity: &identity, protocols: &["h2", "http/1.1"], clients: None };
    let upstream = Http2Upstream::start(Some(offers)).await;
    let gateway = Gateway::with(&routed(&format!("https://{}", upstream.address), &tls)).await;
    for path in ["/x", "/only-http-1", "/x", "/only-http-1", "/x"] {
        assert_eq!(gateway.connect().await.get(path, &[]).await.status, 200, "{path}");
    }
    let noted = upstream.noted();
    let versions: Vec<_> = noted.iter().map(|one| (one.line.as_str(), one.version)).collect();
    let (new, old) = (("GET /x", Version::HTTP_2), ("GET /only-http-1", Version::HTTP_11));
    assert_eq!(versions, [new, old, new, old, new]);
    // Nor does it matter that its client was told to go on.
    let mut client = gateway.connect().await;
    client
        .send(request("POST", "/only-http-1", &[("Expect", "100-continue"), ("Content-Length", "4")], b""))
        .await;
    assert_eq!(client.interim().await, 100);
    client.send("body").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_websocket_that_servers_of_http_2_alone_refuse_sets_none_aside() {
    let (_folder, identity, tls) = secured();
    let offers = || Tls { identity: &identity, protocols: &["h2"], clients: None };
    let servers = [Http2Upstream::start(Some(offers())).await, Http2Upstream::start(Some(offers())).await];
    let urls = servers.each_ref().map(|server| format!("https://{}", server.address)).join("\", \"");
    let routes = routed(&urls, &tls).replace(&format!("\"{urls}\""), &format!("[\"{urls}\"]"));
    let gateway = Gateway::with(&routes).await;
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        client.send(request("GET", "/x", &HANDSHAKE, b"")).await;
        assert_eq!(client.answer().await.status, 502);
    }
    let told = metrics(&gateway).await;
    let count = |line: &str| told.lines().filter(|told| told.starts_with(line)).collect::<Vec<_>>();
    let healthy = count("tollgate_upstream_healthy");
    assert!(healthy.len() == 2 && healthy.iter().all(|line| line.ends_with(" 1")), "{healthy:?}");
    let tries = count("tollgate_upstream_requests_total");
    let sum: f64 = tries.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert_eq!(sum, 2.0, "none was tried at the next: {tries:?}");
}

/// What the upstream may take to read is for `timeouts.write` to say.
#[tokio::test]
async fn an_upload_waits_for_its_upstream_as_long_as_the_upstream_may_pause() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let upstream = playing(None, move |_, stream| {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|gone| *gone).await.unwrap();
            echo(stream).await;
        }
    })
    .await;
    let gateway = Gateway::adjusted(&h2c(upstream, ", timeouts: { write: 80s }"), |settings| {
        settings.patience.stream_stopped = Duration::from_millis(200);
    })
    .await;
    let mut client = Http2::clear_text(gateway.public).await;
    let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
    body.send_data(Bytes::from(vec![b'x'; 100_000]), true).unwrap();
    tokio::pin!(answer);
    let wait = tokio::time::timeout(Duration::from_secs(1), &mut answer).await;
    assert!(wait.is_err(), "it was given up: {wait:?}");
    go.send(true).unwrap();
    let answer = within("the answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(body);
}

/// Not once its upstream has waited in vain for the rest.
#[tokio::test]
async fn a_body_that_is_too_large_is_refused_at_once_on_its_way_to_http_2() {
    let upstream = playing(None, |_, stream| echo(stream)).await;
    let gateway = Gateway::with(&(h2c(upstream, "") + "limits: { body: 1KiB }\n")).await;
    let head = format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut client = gateway.connect().await;
    client.send(head + "400\r\n" + &"x".repeat(1024) + "\r\n").await;
    client.send("1\r\nx\r\n").await;
    assert_eq!(client.answer().await.status, 413);
    let mut client = Http2::clear_text(gateway.public).await;
    let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
    body.send_data(Bytes::from(vec![b'x'; 1025]), false).unwrap();
    assert_eq!(within("the refusal", answer).await.unwrap().status(), 413);
    drop(body);
}

/// Twelve pieces, over three times as long as the upstream may be silent.
/// In all longer than the upstream of `SLOW` may be silent, and each sooner, on a busy machine too.
const PIECES: usize = 5;
const BETWEEN: Duration = Duration::from_millis(800);
const SLOW: &str = ", timeouts: { read: 3s }";
pub const SILENCE: &str = ", timeouts: { read: 400ms }";

#[tokio::test]
async fn an_upload_may_take_longer_than_its_upstream_may_be_silent() {
    let upstream = playing(None, |_, stream| echo(stream)).await;
    let gateway = Gateway::with(&h2c(upstream, SLOW)).await;
    let mut old = gateway.connect().await;
    let mut new = Http2::clear_text(gateway.public).await;
    let head = format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {PIECES}\r\n\r\n");
    old.send(head).await;
    let (answer, mut body) = new.sender.send_request(post("/x"), false).unwrap();
    let mut clock = tokio::time::interval(BETWEEN);
    for at in 1..=PIECES {
        clock.tick().await;
        old.send("x").await;
        body.send_data(Bytes::from("x"), at == PIECES).unwrap();
    }
    let first = old.answer().await;
    assert_eq!((first.status, first.body.len()), (200, PIECES));
    assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
    // The connection is what it was.
    assert!(first.keeps_alive());
    old.send(request("POST", "/x", &[], b"again")).await;
    assert_eq!(old.answer().await.body, b"again");
    assert_eq!(old.get("/x", &[]).await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_is_silent_once_it_has_the_body_is_504() {
    let (_folder, identity, tls) = secured();
    for secure in [false, true] {
        let count = Arc::new(AtomicUsize::new(0));
        let upstream = playing(secure.then_some(&identity), {
            let count = count.clone();
            move |_, (request, respond)| {
                count.fetch_add(1, Ordering::SeqCst);
                async move {
                    body_of(request.into_body()).await;
                    std::future::pending::<()>().await;
                    drop(respond);
                }
            }
        })
        .await;
        let gateway = Gateway::with(&match secure {
            true => routed(&format!("https://{upstream}"), &format!("{tls}{SILENCE}")),
            false => h2c(upstream, SILENCE),
        })
        .await;
        for method in ["POST", "PUT"] {
            let mut client = gateway.connect().await;
            client.send(request(method, "/x", &[], b"body")).await;
            assert_eq!(client.answer().await.status, 504, "{method} secure: {secure}");
            let mut client = Http2::clear_text(gateway.public).await;
            let asked = Request::builder().method(method).uri(format!("http://{HOST}/x")).body(()).unwrap();
            assert_eq!(client.ask(asked, &[b"body"]).await.unwrap().status, 504, "{method} secure: {secure}");
        }
        eventually("all at the upstream", || count.load(Ordering::SeqCst) >= 4).await;
        assert_eq!(count.load(Ordering::SeqCst), 4, "each once");
        for line in gateway.logged(4).await {
            assert_eq!(line["outcome"], "upstream_timeout", "{line}");
        }
        let told = metrics(&gateway).await;
        assert!(
            told.lines().any(|line| line.contains("result=\"timeout\"") && line.ends_with(" 4")),
            "{told}"
        );
    }
}

/// As in gRPC: it lasts while either side speaks, and ends when both are silent.
#[tokio::test]
async fn a_conversation_lasts_while_either_side_speaks() {
    let upstream = playing(None, |_, (request, mut respond)| async move {
        let mut stream = respond.send_response(ok(), false).unwrap();
        stream.send_data(Bytes::from("hello"), false).unwrap();
        body_of(request.into_body()).await;
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = Gateway::with(&h2c(upstream, SLOW)).await;
    let mut client = Http2::clear_text(gateway.public).await;
    let (answer, mut body) = client.sender.send_request(post("/x"), false).unwrap();
    let mut answer = within("an answer", answer).await.unwrap().into_body();
    within("a piece", answer.data()).await.unwrap().unwrap();
    let mut clock = tokio::time::interval(BETWEEN);
    for _ in 0..PIECES {
        clock.tick().await;
        body.send_data(Bytes::from("x"), false).unwrap();
        assert!(futures_util::poll!(Box::pin(answer.data())).is_pending(), "it ended");
    }
    assert!(within("its end", answer.data()).await.unwrap().is_err());
    assert_eq!(outcome(&gateway, 1).await, "upstream_timeout");
}

/// The server may speak HTTP/2, and does not.
#[tokio::test]
async fn what_is_sent_over_http_1_after_all_is_as_it_was() {
    let (_folder, identity, tls) = secured();
    let offers = Tls { identity: &identity, protocols: &["http/1.1"], clients: None };
    let upstream = Http2Upstream::start(Some(offers)).await;
    let gateway = Gateway::with(&routed(&format!("https://{}", upstream.address), &tls)).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        client.send(request("POST", "/x", &[], b"body")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.body[..], answer.keeps_alive()), (200, &b"ok"[..], true));
    }
    let mut client = Http2::clear_text(gateway.public).await;
    assert_eq!(client.ask(post("/x"), &[b"body"]).await.unwrap().body, b"ok");
    assert!(upstream.noted().iter().all(|one| one.connection == 0 && one.version == Version::HTTP_11));
}

/// `timeouts.write` is over, and no answer comes, for longer than `timeouts.read`: nobody waits for ever.
#[tokio::test]
async fn an_upload_that_its_upstream_stops_to_take_ends() {
    let upstream = playing(None, |_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let gateway =
        Gateway::adjusted(&h2c(upstream, ", timeouts: { write: 200ms, read: 200ms }"), |settings| {
            settings.patience.stream_stopped = Duration::from_secs(1);
        })
        .await;
    let mut client = gateway.connect().await;
    client.send(request("POST", "/x", &[], &[b'x'; 200_000])).await;
    client.rest().await;
    assert_eq!(outcome(&gateway, 1).await, "upstream_timeout");
    let mut client = Http2::clear_text(gateway.public).await;
    assert!(client.ask(post("/x"), &[&[b'x'; 200_000]]).await.is_err());
}

/// Whatever it says of its length: clients take what follows such a head for a fault of the whole stream.
#[tokio::test]
async fn an_answer_that_has_no_body_has_none_whatever_comes_behind_it() {
    let to = playing(None, |_, (request, mut respond): Stream| async move {
        let status = if request.uri().path().ends_with("204") { 204 } else { 200 };
        let answer = Response::builder().status(status).body(()).unwrap();
        let Ok(mut stream) = respond.send_response(answer, false) else { return };
        let _ = stream.send_data(Bytes::from_static(b"null"), true);
    })
    .await;
    let gateway = Gateway::with(&format!("routes: [{{ path: /*, to: \"h2c://{to}\", public: true }}]")).await;
    let mut client = Http2::clear_text(gateway.public).await;
    for (path, body) in [("204", ""), ("200", "null"), ("204", "")] {
        let asked = Request::get(format!("http://{HOST}/{path}")).body(()).unwrap();
        let answer = client.ask(asked, &[]).await.unwrap();
        assert_eq!((answer.status.as_u16().to_string().as_str(), &*answer.body), (path, body.as_bytes()));
    }
    let mut client = gateway.connect().await;
    for path in ["/204", "/200"] {
        assert_eq!(client.get(path, &[]).await.status.to_string(), path[1..]);
    }
}
