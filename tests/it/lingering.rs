//! Clients of HTTP/1.x that have their answer while they still send, on a connection that ends: they go on
//! for a moment, read the answer and the end, and nothing tells them of a reset (RFC 9112 section 9.6).

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate::config::settings::Settings;
use tollgate::state::metrics::ListenerKind;

use crate::http2_upstreams::playing;
use crate::support::address::Address;
use crate::support::client::{Client, HOST, Wire, request};
use crate::support::gateway::Gateway;
use crate::support::tls::{Authority, connect};
use crate::support::{eventually, within};

/// However busy the machine is, a test has sent all by then.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

const PIECE: [u8; 1000] = [b'x'; 1000];

fn lingers_long(settings: &mut Settings) {
    settings.patience.linger = LONG;
}

/// `/open/*` needs no token, all else does.
fn routes(to: &str) -> String {
    format!("routes: [{{ path: /open/*, to: \"{to}\", public: true }}, {{ path: /*, to: \"{to}\" }}]")
}

fn upload(version: &str, path: &str, fields: &str, pieces: usize) -> String {
    let length = pieces * PIECE.len();
    format!("POST {path} HTTP/{version}\r\nHost: {HOST}\r\n{fields}Content-Length: {length}\r\n\r\n")
}

async fn says(wire: &mut impl Wire, bytes: &[u8]) -> std::io::Result<()> {
    wire.write_all(bytes).await?;
    wire.flush().await
}

/// Everything that comes until the other side ends in good order; over TLS it says so.
async fn hears_to_the_end(wire: &mut impl Wire, what: &str) -> String {
    let mut seen = Vec::new();
    let ended = within("the end", wire.read_to_end(&mut seen)).await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(ended.is_ok(), "{what}: {ended:?} after {seen:?}");
    seen
}

async fn goes_on(wire: &mut impl Wire, pieces: usize, what: &str) {
    for sent in 0..pieces {
        let said = says(wire, &PIECE).await;
        assert!(said.is_ok(), "{what}: {said:?} after {sent} pieces");
    }
    // Of a reset that came since then the socket tells whoever reads.
    assert_eq!(hears_to_the_end(wire, what).await, "", "{what}");
}

/// Uploads 60 kB, and is answered after the first: the connection ends with the answer.
async fn is_answered_and_goes_on(mut wire: impl Wire, head: &str, status: u16) {
    says(&mut wire, head.as_bytes()).await.unwrap();
    says(&mut wire, &PIECE).await.unwrap();
    let answer = hears_to_the_end(&mut wire, head).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{head}{answer}");
    goes_on(&mut wire, 59, head).await;
}

/// What is refused, with 60 kB of body to come, on a connection that ends with that.
fn refused() -> [String; 3] {
    [
        upload("1.1", "/x", "Connection: close\r\n", 60),
        upload("1.0", "/x", "", 60),
        upload("1.1", "/x", "Expect: 100-continue\r\n", 60),
    ]
}

/// What fails, as nobody listens there.
fn failing() -> [String; 2] {
    [upload("1.1", "/open/x", "", 60), upload("1.1", "/open/x", "Connection: close\r\n", 60)]
}

#[tokio::test]
async fn whoever_is_refused_while_sending_reads_of_it_and_of_no_reset() {
    let nobody = Address::reserve();
    let gateway = Gateway::adjusted(&routes(&nobody.url()), lingers_long).await;
    for head in refused() {
        let wire = TcpStream::connect(gateway.public).await.unwrap();
        is_answered_and_goes_on(wire, &head, 401).await;
    }
}

#[tokio::test]
async fn whoever_is_sending_when_the_upstream_fails_reads_of_it_and_of_no_reset() {
    let nobody = Address::reserve();
    let gateway = Gateway::adjusted(&routes(&nobody.url()), lingers_long).await;
    for head in failing() {
        let wire = TcpStream::connect(gateway.public).await.unwrap();
        is_answered_and_goes_on(wire, &head, 502).await;
    }
}

#[tokio::test]
async fn whoever_sends_to_the_admin_listener_what_nobody_reads_hears_of_no_reset() {
    let nobody = Address::reserve();
    let gateway = Gateway::adjusted(&routes(&nobody.url()), lingers_long).await;
    let wire = TcpStream::connect(gateway.admin).await.unwrap();
    let head = format!("GET /livez HTTP/1.1\r\nHost: {}\r\nContent-Length: 60000\r\n\r\n", gateway.admin);
    is_answered_and_goes_on(wire, &head, 200).await;
}

async fn over_tls(authority: &Authority, routes: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    authority.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let at = folder.path().display();
    let tls = format!("[{{ certificate: {at}/gate.pem, key: {at}/gate.key }}]");
    let top = format!("public_url: https://{HOST}\nlisten: [{{ address: 127.0.0.1:0, tls: {tls} }}]");
    Gateway::listening_as(&top, routes, lingers_long).await
}

async fn shakes_hands(gateway: &Gateway, authority: &Authority) -> impl Wire + use<> {
    let config = authority.client(&[&TLS13], None);
    connect(gateway.public, config, "gate.localhost", &["http/1.1"]).await.unwrap()
}

#[tokio::test]
async fn over_tls_the_end_is_said_before_the_socket_ends() {
    let (nobody, authority) = (Address::reserve(), Authority::new());
    let gateway = over_tls(&authority, &routes(&nobody.url())).await;
    for head in refused() {
        is_answered_and_goes_on(shakes_hands(&gateway, &authority).await, &head, 401).await;
    }
}

#[tokio::test]
async fn over_tls_the_end_is_said_after_a_failure_too() {
    let (nobody, authority) = (Address::reserve(), Authority::new());
    let gateway = over_tls(&authority, &routes(&nobody.url())).await;
    for head in failing() {
        is_answered_and_goes_on(shakes_hands(&gateway, &authority).await, &head, 502).await;
    }
}

#[tokio::test]
async fn whoever_said_more_before_a_failure_reads_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::adjusted(&routes(&to), lingers_long).await;
    let mut wire = TcpStream::connect(gateway.public).await.unwrap();
    says(&mut wire, &request("GET", "/open/x", &[], b"")).await.unwrap();
    let mut peer = Client::over(within("the upstream", listener.accept()).await.unwrap().0);
    peer.take_head().await.unwrap();
    says(&mut wire, &request("GET", "/open/second", &[], b"")).await.unwrap();
    let early = tokio::time::timeout(SHORT, wire.read(&mut [0])).await;
    assert!(early.is_err(), "nothing is said before the answer");
    drop((peer, listener));
    let answer = hears_to_the_end(&mut wire, "a failure").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    goes_on(&mut wire, 59, "a failure").await;
}

/// Is answered by an upstream that wants no more of the upload, and goes on: 600 kB, of which nobody reads
/// the most.
async fn an_upload_that_is_refused_goes_on(mut wire: impl Wire, what: &str) {
    says(&mut wire, upload("1.1", "/open/x", "", 600).as_bytes()).await.unwrap();
    says(&mut wire, &PIECE).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nno") {
        let count = within("the answer", wire.read_buf(&mut answer)).await.unwrap();
        assert!(count > 0, "{what}: {}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{what}: {}", String::from_utf8_lossy(&answer));
    goes_on(&mut wire, 599, what).await;
}

/// Takes no more than a piece of each upload.
async fn refusing_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let mut peer = Client::over(listener.accept().await.unwrap().0);
            peer.take_head().await.unwrap();
            peer.until(&PIECE).await;
            peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
                .await;
        }
    });
    to
}

/// The same over HTTP/2. What goes out of scope is reset, with `NO_ERROR` as the answer is whole (RFC 9113
/// section 8.1).
async fn refusing_http2_upstream() -> String {
    let address = playing(None, |_, (request, mut respond)| async move {
        let mut body = request.into_body();
        body.data().await.unwrap().unwrap();
        let head = Response::builder().status(413).header("content-length", "2").body(()).unwrap();
        respond.send_response(head, false).unwrap().send_data(Bytes::from_static(b"no"), true).unwrap();
    })
    .await;
    format!("h2c://{address}")
}

/// In clear text, and over TLS.
async fn an_upload_to_it_goes_on(to: &str) {
    let gateway = Gateway::adjusted(&routes(to), lingers_long).await;
    let wire = TcpStream::connect(gateway.public).await.unwrap();
    an_upload_that_is_refused_goes_on(wire, to).await;

    let authority = Authority::new();
    let gateway = over_tls(&authority, &routes(to)).await;
    let wire = shakes_hands(&gateway, &authority).await;
    an_upload_that_is_refused_goes_on(wire, "over TLS").await;
}

#[tokio::test]
async fn an_upload_that_its_upstream_refuses_is_not_reset() {
    an_upload_to_it_goes_on(&refusing_upstream().await).await;
}

#[tokio::test]
async fn an_upload_that_its_http_2_upstream_refuses_is_not_reset() {
    an_upload_to_it_goes_on(&refusing_http2_upstream().await).await;
}

/// Its answer is whole, although the request fails then.
#[tokio::test]
async fn whoever_pauses_for_too_long_after_an_early_answer_hears_of_no_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::adjusted(&routes(&to), |settings| {
        lingers_long(settings);
        // Longer than a busy machine takes for the answer.
        settings.patience.body_pause = Duration::from_secs(2);
    })
    .await;
    let mut wire = TcpStream::connect(gateway.public).await.unwrap();
    says(&mut wire, upload("1.1", "/open/x", "", 60).as_bytes()).await.unwrap();
    says(&mut wire, &PIECE).await.unwrap();
    let mut peer = Client::over(within("the upstream", listener.accept()).await.unwrap().0);
    peer.until(&PIECE).await;
    peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = hears_to_the_end(&mut wire, "a pause").await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("\r\n\r\nno"), "{answer}");
    goes_on(&mut wire, 59, "a pause").await;
}

/// To a client of HTTP/1.0 an answer without a length ends with its connection: an end in good order would
/// make it whole (RFC 9112 section 8).
#[tokio::test]
async fn an_answer_that_breaks_off_is_never_ended_in_good_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let authority = Authority::new();
    let gateway = over_tls(&authority, &routes(&to)).await;
    let mut wire = shakes_hands(&gateway, &authority).await;
    says(&mut wire, upload("1.0", "/open/x", "", 60).as_bytes()).await.unwrap();
    says(&mut wire, &PIECE).await.unwrap();
    let mut peer = Client::over(within("the upstream", listener.accept()).await.unwrap().0);
    peer.until(&PIECE).await;
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n").await;
    drop(peer);
    let mut seen = Vec::new();
    let ended = within("the end", wire.read_to_end(&mut seen)).await;
    assert!(seen.ends_with(b"\r\n\r\npart"), "{}", String::from_utf8_lossy(&seen));
    assert!(ended.is_err(), "nobody may take it for whole");
}

/// A client whose connection has ended, and who does not close it.
async fn stays(gateway: &Gateway) -> TcpStream {
    let mut wire = TcpStream::connect(gateway.public).await.unwrap();
    let head = upload("1.1", "/x", "Connection: close\r\n", 60);
    says(&mut wire, head.as_bytes()).await.unwrap();
    assert!(hears_to_the_end(&mut wire, &head).await.starts_with("HTTP/1.1 401 "));
    wire
}

#[tokio::test]
async fn what_lingers_takes_a_place_until_its_client_closes() {
    let nobody = Address::reserve();
    let limited = format!("limits: {{ connections: 1 }}\n{}", routes(&nobody.url()));
    let gateway = Gateway::adjusted(&limited, lingers_long).await;
    let open = gateway.app.gate.metrics.connections(ListenerKind::Public);
    let wire = stays(&gateway).await;
    assert_eq!(open.get(), 1);
    assert!(gateway.connect().await.is_closed().await, "a second has no place");
    drop(wire);
    eventually("the place to be free", || open.get() == 0).await;
}

#[tokio::test]
async fn what_lingers_is_bounded_in_time_and_in_bytes_and_ends_before_a_stop() {
    let nobody = Address::reserve();
    let gateway =
        Gateway::adjusted(&routes(&nobody.url()), |settings| settings.patience.linger = SHORT).await;
    let open = gateway.app.gate.metrics.connections(ListenerKind::Public);
    let wire = stays(&gateway).await;
    eventually("the end of the patience", || open.get() == 0).await;
    let another = stays(&gateway).await;
    within("the stop", gateway.app.stop(Duration::ZERO)).await;
    drop((wire, another));

    let gateway = Gateway::adjusted(&routes(&nobody.url()), lingers_long).await;
    let open = gateway.app.gate.metrics.connections(ListenerKind::Public);
    let mut wire = stays(&gateway).await;
    // The kernel's buffers take some, and no more once nobody reads.
    let much = vec![b'x'; 1 << 20];
    let mut taken = 0;
    while let Ok(said) = tokio::time::timeout(SHORT, says(&mut wire, &much)).await {
        said.expect("no reset");
        taken += 1;
        assert!(taken < 100, "somebody reads on and on");
    }
    assert_eq!(open.get(), 1, "there is time to read the answer");
}
