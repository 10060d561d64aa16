//! Calls to authorization servers, over a network that fails in silence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tollgate::config::settings::IssuerConnection;
use tollgate::core::ids::IssuerName;
use tollgate::flows::ports::{Bounds, HttpFault};
use tollgate::io::http_client::{Called, IssuerClients};

use crate::support::http2_upstream::{Http2Upstream, Tls};
use crate::support::tls::Authority;
use crate::support::until;

/// Between a client and a server, until it loses what it knows of the connections that there are: they stay
/// open, and nothing passes any more.
struct Network {
    address: SocketAddr,
    forgets: Arc<AtomicBool>,
}

impl Network {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let forgets = Arc::new(AtomicBool::new(false));
        let first = forgets.clone();
        tokio::spawn(async move {
            let mut forgets = first;
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(server).await.unwrap().into_split();
                tokio::spawn(carry(from_client, to_server, forgets.clone()));
                tokio::spawn(carry(from_server, to_client, forgets));
                // Later connections are carried for ever.
                forgets = Arc::default();
            }
        });
        Self { address, forgets }
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, forgets: Arc<AtomicBool>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if !forgets.load(Ordering::SeqCst) && to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_of_http_2_that_died_in_silence_is_given_up() {
    tollgate::io::install_crypto_providers();
    let authority = Authority::new();
    let identity = authority.sign(&["localhost"]);
    let tls = Tls { identity: &identity, protocols: &["h2"], clients: None };
    let server = Http2Upstream::start(Some(tls)).await;
    let network = Network::before(server.address).await;
    let issuer = IssuerName::new("as");
    let (ca, timeout) = (Some(authority.pem().into_bytes()), Duration::from_secs(5));
    let called = Called { issuer, ca, connection: IssuerConnection::default(), timeout };
    let client = IssuerClients::new([called.clone()]).unwrap();
    let ask = async || {
        let url = format!("https://localhost:{}/token", network.address.port());
        let request = Request::post(url).body(Bytes::from_static(b"a=b")).unwrap();
        let bounds = Bounds { deadline: Duration::from_secs(2), answer_bytes: 100 };
        client.call(called.clone(), request, bounds).await
    };
    assert_eq!(ask().await.unwrap().version(), Version::HTTP_2);
    network.forgets.store(true, Ordering::SeqCst);
    assert_eq!(ask().await.unwrap_err(), HttpFault::Deadline);
    until("another connection", async || ask().await.is_ok()).await;
    assert_eq!(server.noted().last().unwrap().connection, 1);
}
