//! Listeners behind a load balancer of layer 4, which says whose a connection is by the PROXY protocol.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::tls::{Authority, Http2, connect, connect_over};
use crate::support::upstream::Upstream;
use crate::support::{until, within};

const CLIENT: &str = "203.0.113.7";
const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";
const V1_OF_IPV6: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";
const V1_OF_MAPPED: &[u8] = b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:192.0.2.1 56324 443\r\n";
/// Of a client beside the balancer.
const V1_OF_NEIGHBOUR: &[u8] = b"PROXY TCP4 127.0.0.77 192.0.2.1 56324 443\r\n";
const V1_OF_NOBODY: &[u8] = b"PROXY UNKNOWN\r\n";
/// With one fact more (its `AUTHORITY`).
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x01\xbb\x02\0\x03abc";
const V2_OF_ITSELF: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
/// What it says beside that does not count, as that it is of UDP.
const V2_OF_ITSELF_AT_LENGTH: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x12\0\x01x";
const V2_OF_WRONG_CHECKSUM: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x01\xbb\x03\0\x04abcd";
const V2_OF_UDP: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x01\xbb";

/// Every balancer is at `balancers`; `/here/*` is for the client alone.
async fn gateway(upstream: &Upstream, balancers: &str, more: &str) -> Gateway {
    patient(upstream, balancers, more, Duration::from_millis(300)).await
}

/// `patience`: how long a header may take.
async fn patient(upstream: &Upstream, balancers: &str, more: &str, patience: Duration) -> Gateway {
    let to = upstream.url();
    let listen = format!("listen: {{ address: 127.0.0.1:0, proxy_protocol: {balancers} }}");
    let routes = format!(
        "{more}routes:
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /here/*, to: \"{to}\", public: true, from: {CLIENT} }}
"
    );
    let top = format!("public_url: http://{HOST}\n{listen}");
    Gateway::listening_as(&top, &routes, |settings| settings.patience.header = patience).await
}

/// A connection of a balancer that has sent this.
async fn balanced(to: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8(gateway.admin("/metrics").await.body).unwrap()
}

/// How many were refused: malformed, incomplete and late ones.
async fn refused(gateway: &Gateway) -> [usize; 3] {
    let metrics = metrics(gateway).await;
    ["malformed", "incomplete", "late"].map(|reason| {
        let series = format!("tollgate_proxy_headers_refused_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    })
}

async fn has_open(gateway: &Gateway, count: usize) -> bool {
    metrics(gateway).await.contains(&format!("\ntollgate_connections{{listener=\"public\"}} {count}\n"))
}

/// A client that asked in one piece with its header, when it was answered.
async fn ask(gateway: &Gateway, header: &[u8]) -> Option<Client> {
    let mut client = Client::over(TcpStream::connect(gateway.public).await.unwrap());
    client.try_send([header, &request("GET", "/public/x", &[], b"")].concat()).await;
    let answer = client.answer_to("GET").await?;
    (answer.status == 200).then_some(client)
}

#[tokio::test]
async fn whose_a_connection_is_counts_for_upstreams_routes_and_the_log() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "127.0.0.0/8", "").await;
    let mut answered = 0;
    for (header, client, here) in [
        (V1, CLIENT, 200),
        (V2, CLIENT, 200),
        (V1_OF_MAPPED, CLIENT, 200),
        (V1_OF_IPV6, "2001:db8::7", 403),
        // Its own, as to see whether somebody answers.
        (V1_OF_NOBODY, "127.0.0.1", 403),
        (V2_OF_ITSELF, "127.0.0.1", 403),
        (V2_OF_ITSELF_AT_LENGTH, "127.0.0.1", 403),
    ] {
        let mut asks = Client::over(balanced(gateway.public, header).await);
        // What the client says of itself counts as little as at every other listener.
        let spoofs = [("X-Forwarded-For", CLIENT), ("Forwarded", "for=203.0.113.7")];
        for _ in 0..2 {
            assert_eq!(asks.get("/public/x", &spoofs).await.status, 200, "{header:?}");
            assert_eq!(upstream.last().header("x-forwarded-for"), Some(client), "{header:?}");
        }
        assert_eq!(asks.get("/here/x", &spoofs).await.status, here, "{header:?}");
        answered += 3;
        assert_eq!(gateway.logged(answered).await.last().unwrap()["address"], client);
    }
    assert_eq!(refused(&gateway).await, [0, 0, 0]);
}

#[tokio::test]
async fn it_comes_before_tls_and_before_http_2_in_whatever_pieces() {
    let upstream = Upstream::start().await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let at = folder.path().display();
    let top = format!(
        "public_url: https://{HOST}
listen:
  - address: 127.0.0.1:0
    tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}]
    proxy_protocol: [127.0.0.1]
  - {{ address: 127.0.0.1:0, redirect: https, proxy_protocol: 127.0.0.1 }}
"
    );
    let route = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let gateway = Gateway::listening(&top, &route).await;
    for protocol in ["http/1.1", "h2"] {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in V2 {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let config = authority.client(&[&TLS13], None);
        let stream = connect_over(stream, config, "gate.localhost", &[protocol]).await.unwrap();
        let status = if protocol == "h2" {
            let request = Request::get(format!("https://{HOST}/x")).body(()).unwrap();
            Http2::over(stream).await.ask(request, &[]).await.unwrap().status.as_u16()
        } else {
            Client::over(stream).get("/x", &[]).await.status
        };
        assert_eq!((status, upstream.last().header("x-forwarded-for")), (200, Some(CLIENT)), "{protocol}");
    }

    // With the first record of TLS in one piece.
    let name = ServerName::try_from("gate.localhost").unwrap();
    let mut tls = ClientConnection::new(authority.client(&[&TLS13], None).into(), name).unwrap();
    let mut both = V2.to_vec();
    tls.write_tls(&mut both).unwrap();
    let mut stream = balanced(gateway.public, &both).await;
    assert_eq!(within("an answer", stream.read_u8()).await.unwrap(), 22, "a handshake, not an alert");

    let redirecting = gateway.app.running.public[1];
    let mut client = Client::over(balanced(redirecting, V1).await);
    assert_eq!(client.get("/x", &[]).await.status, 308);
    let config = authority.client(&[&TLS13], None);
    assert!(connect(gateway.public, config, "gate.localhost", &["h2"]).await.is_err(), "TLS without it");
}

#[tokio::test]
async fn http_2_in_clear_text_may_come_in_one_piece_with_it() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "127.0.0.1", "").await;
    let mut client = Http2::over(balanced(gateway.public, V1).await).await;
    let request = Request::get(format!("http://{HOST}/here/x")).body(()).unwrap();
    assert_eq!(client.ask(request, &[]).await.unwrap().status, 200);
    let both = [V2, format!("GET /here/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()].concat();
    assert_eq!(Client::over(balanced(gateway.public, &both).await).answer().await.status, 200);
}

#[tokio::test]
async fn a_balancer_that_does_not_say_it_well_and_in_time_is_closed_unanswered_and_counted() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "127.0.0.1", "").await;
    let get = request("GET", "/public/x", &[], b"");
    let mut expected = [0; 3];
    let too_long = [b"PROXY UNKNOWN ", &[b'f'; 200][..]].concat();
    for malformed in
        [&b""[..], b"PROXY TCP4 1.2.3.4 nobody 1 2\r\n", &too_long, V2_OF_UDP, V2_OF_WRONG_CHECKSUM]
    {
        let mut client = gateway.connect().await;
        client.try_send([malformed, &get].concat()).await;
        assert!(client.is_closed().await, "{malformed:?}");
        expected[0] += 1;
        assert_eq!(refused(&gateway).await, expected, "{malformed:?}");
    }
    for incomplete in [&V2[..20], b"PROXY TCP4 1.2.3.4"] {
        let mut client = Client::over(balanced(gateway.public, incomplete).await);
        client.finish().await;
        assert!(client.is_closed().await, "{incomplete:?}");
        expected[1] += 1;
        assert_eq!(refused(&gateway).await, expected, "{incomplete:?}");
    }
    for late in [&V2[..20], b"P", b""] {
        let mut client = Client::over(balanced(gateway.public, late).await);
        assert!(client.is_closed().await, "{late:?}");
        expected[2] += 1;
        assert_eq!(refused(&gateway).await, expected, "{late:?}");
    }
    assert!(upstream.received().is_empty());
    assert!(ask(&gateway, V1).await.is_some(), "others are let in");
}

#[tokio::test]
async fn a_look_whether_somebody_listens_is_no_fault() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "127.0.0.1", "").await;
    let looks = TcpStream::connect(gateway.public).await.unwrap();
    until("it to be there", async || has_open(&gateway, 1).await).await;
    drop(looks);
    until("it to be gone", async || has_open(&gateway, 0).await).await;
    assert_eq!(refused(&gateway).await, [0, 0, 0]);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "[10.0.0.0/8, \"2001:db8::/32\"]", "").await;
    let both = [V1, format!("GET /here/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()].concat();
    let mut client = Client::over(balanced(gateway.public, &both).await);
    let answer = within("an answer", client.rest()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(upstream.received().is_empty());
    // Nor has anybody to.
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/public/x", &[]).await.status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn clients_have_their_share_of_connections_and_the_balancer_as_many_as_there_are() {
    let upstream = Upstream::start().await;
    // Clients may be in the same networks as their balancers are.
    let gateway = gateway(&upstream, "127.0.0.0/8", "limits: { connections_per_address: 2 }\n").await;
    let mut open = Vec::new();
    for (header, times) in [(V1, 2), (V1_OF_IPV6, 2), (V1_OF_NEIGHBOUR, 2), (V2_OF_ITSELF, 4)] {
        for _ in 0..times {
            open.push(ask(&gateway, header).await.unwrap());
        }
    }
    for header in [V2, V1_OF_IPV6, V1_OF_NEIGHBOUR] {
        assert!(ask(&gateway, header).await.is_none(), "{header:?} has its share");
    }
    open.truncate(1);
    until("a place to be free again", async || ask(&gateway, V2).await.is_some()).await;
    assert_eq!(refused(&gateway).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_balancer_that_says_nothing_yet_has_its_share_too_and_takes_no_clients_place() {
    let upstream = Upstream::start().await;
    // A quarter of all places, where that is more than an address has.
    let limits = "limits: { connections: 12, connections_per_address: 2 }\n";
    let gateway = patient(&upstream, "127.0.0.1", limits, Duration::from_secs(60)).await;
    let silent = [gateway.connect().await, gateway.connect().await, gateway.connect().await];
    until("all to be there", async || has_open(&gateway, 3).await).await;
    assert!(gateway.connect().await.is_closed().await, "a fourth");
    drop(silent);
    let mut served = Vec::new();
    until("room again", async || {
        served.extend(ask(&gateway, V1).await);
        !served.is_empty()
    })
    .await;
    served.push(ask(&gateway, V1_OF_IPV6).await.unwrap());
    served.push(ask(&gateway, V1_OF_NEIGHBOUR).await.unwrap());
}

#[tokio::test]
async fn rates_and_proxies_that_are_believed_go_by_the_address_that_is_told() {
    let upstream = Upstream::start().await;
    let more = "limits: { requests_per_address: 2/h }\ntrusted_proxies: 2001:db8::/32\n";
    let gateway = gateway(&upstream, "127.0.0.1", more).await;
    let told = [("X-Forwarded-For", CLIENT)];
    // A proxy that is believed, before the balancer.
    let mut proxy = Client::over(balanced(gateway.public, V1_OF_IPV6).await);
    assert_eq!(proxy.get("/here/x", &told).await.status, 200);
    // Nobody who is.
    let mut neighbour = Client::over(balanced(gateway.public, V1_OF_NEIGHBOUR).await);
    assert_eq!(neighbour.get("/here/x", &told).await.status, 403);
    let mut client = Client::over(balanced(gateway.public, V1).await);
    assert_eq!(client.get("/public/x", &[]).await.status, 200);
    assert_eq!(client.get("/public/x", &[]).await.status, 429, "the third of its address");
    assert_eq!(neighbour.get("/public/x", &[]).await.status, 200);
}
