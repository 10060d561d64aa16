//! Clients of HTTP/1.1 that leave unread what they asked for, and clients that only read slowly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tollgate::state::metrics::ListenerKind;

use crate::support::client::{Client, HOST, Wire, request};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::tls::{Authority, connect};

const SHORT: Duration = Duration::from_secs(1);

/// An upstream whose every answer is a head of 400 kB, and how many it gave.
async fn verbose() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let fields = format!("X-Long: {}\r\n", "x".repeat(4000)).repeat(100);
    tokio::spawn(async move {
        loop {
            let mut peer = Client::over(listener.accept().await.unwrap().0);
            let (asked, answer) = (counted.clone(), format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"));
            tokio::spawn(async move {
                while peer.take_head().await.is_some() {
                    asked.fetch_add(1, Ordering::SeqCst);
                    peer.try_send(&answer).await;
                }
            });
        }
    });
    (address, asked)
}

/// Asks again and again, and never reads, until the gateway closes.
async fn asks_and_reads_nothing(gateway: &Gateway, asked: &AtomicUsize, mut client: impl Wire) {
    let metrics = &gateway.app.gate.metrics;
    let open = metrics.connections(ListenerKind::Public);
    let before = asked.load(Ordering::SeqCst);
    eventually("the connection", || open.get() == 1).await;
    // Four megabytes are more than a socket may hold at either end.
    for number in 1..100 {
        let sent =
            client.write_all(&request("GET", "/x", &[], b"")).await.is_ok() && client.flush().await.is_ok();
        let is_answered =
            || asked.load(Ordering::SeqCst) == before + number && metrics.in_flight().get() == 0;
        eventually("an answer that fits, or the end", || !sent || is_answered() || open.get() == 0).await;
        if !sent || open.get() == 0 {
            break;
        }
    }
    eventually("the end of the connection", || open.get() == 0).await;
    assert_eq!(metrics.in_flight().get(), 0);
}

#[tokio::test]
async fn answers_that_end_with_their_head_and_are_not_read_end_the_connection() {
    let (to, asked) = verbose().await;
    let routes = format!("routes: [{{ path: /*, to: \"http://{to}\", public: true }}]");
    let gateway = Gateway::adjusted(&routes, |settings| settings.patience.answer_unread = SHORT).await;
    let client = TcpStream::connect(gateway.public).await.unwrap();
    asks_and_reads_nothing(&gateway, &asked, client).await;

    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let at = folder.path().display();
    let top = format!(
        "public_url: https://{HOST}\nlisten: [{{ address: 127.0.0.1:0, tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}] }}]"
    );
    let gateway =
        Gateway::listening_as(&top, &routes, |settings| settings.patience.answer_unread = SHORT).await;
    let config = authority.client(&[&TLS13], None);
    let client = connect(gateway.public, config, "gate.localhost", &["http/1.1"]).await.unwrap();
    asks_and_reads_nothing(&gateway, &asked, client).await;
}

/// It takes longer than `answer_unread` for what pingora writes at once, and for what makes room in a
/// socket's buffer.
#[tokio::test]
async fn a_client_that_reads_slowly_and_without_pause_is_served() {
    const LENGTH: usize = 2 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut peer = Client::over(listener.accept().await.unwrap().0);
        peer.take_head().await.unwrap();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
        peer.try_send(vec![b'x'; LENGTH]).await;
    });
    let routes = format!("routes: [{{ path: /*, to: \"http://{to}\", public: true }}]");
    let unread = Duration::from_secs(2);
    let gateway = Gateway::adjusted(&routes, |settings| settings.patience.answer_unread = unread).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = socket.connect(gateway.public).await.unwrap();
    client.write_all(&request("GET", "/x", &[], b"")).await.unwrap();
    let (mut clock, mut seen) = (tokio::time::interval(Duration::from_millis(40)), 0);
    while seen < LENGTH {
        clock.tick().await;
        let mut piece = [0; 5 * 1024];
        let count = client.read(&mut piece).await.unwrap();
        assert!(count > 0, "it ended after {seen} bytes");
        seen += count;
    }
}
