//! Networks that fail in silence: calls to authorization servers over them, and connections that last.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tollgate::config::settings::IssuerConnection;
use tollgate::core::ids::IssuerName;
use tollgate::flows::ports::{Bounds, HttpFault};
use tollgate::io::http_client::{Called, IssuerClients};

use crate::streams::{HANDSHAKE, SWITCHES, accept};
use crate::support::client::{HOST, request};
use crate::support::gateway::Gateway;
use crate::support::http2_upstream::{Http2Upstream, Tls};
use crate::support::tls::{Authority, Http2};
use crate::support::{until, within};

/// Between a client and a server. Over the first connection nothing passes while it is told so, and nobody
/// hears of that; over later ones everything does.
struct Network {
    address: SocketAddr,
    passes: watch::Sender<bool>,
}

impl Network {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (passes, first) = watch::channel(true);
        tokio::spawn(async move {
            let mut passes = first;
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(server).await.unwrap().into_split();
                tokio::spawn(carry(from_client, to_server, passes.clone()));
                tokio::spawn(carry(from_server, to_client, passes));
                passes = watch::channel(true).1;
            }
        });
        Self { address, passes }
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passes: watch::Receiver<bool>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let passed = passes.wait_for(|passes| *passes).await.is_ok();
        if !passed || to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

/// An authorization server of HTTP/2 behind such a network, and its client.
struct Scene {
    network: Network,
    server: Http2Upstream,
    called: Called,
    client: IssuerClients,
}

impl Scene {
    async fn new() -> Self {
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
        Self { network, server, called, client }
    }

    async fn ask(&self, seconds: u64) -> Result<Response<Bytes>, HttpFault> {
        let url = format!("https://localhost:{}/token", self.network.address.port());
        let request = Request::post(url).body(Bytes::from_static(b"a=b")).unwrap();
        let bounds = Bounds { deadline: Duration::from_secs(seconds), answer_bytes: 100 };
        self.client.call(self.called.clone(), request, bounds).await
    }

    fn last_connection(&self) -> usize {
        self.server.noted().last().unwrap().connection
    }
}

#[tokio::test]
async fn a_connection_of_http_2_that_died_in_silence_is_given_up() {
    let scene = Scene::new().await;
    assert_eq!(scene.ask(2).await.unwrap().version(), Version::HTTP_2);
    scene.network.passes.send_replace(false);
    assert_eq!(scene.ask(2).await.unwrap_err(), HttpFault::Deadline);
    until("another connection", async || scene.ask(2).await.is_ok()).await;
    assert_eq!(scene.last_connection(), 1);
}

/// An answer may hold the one refresh token that counts from then on.
#[tokio::test]
async fn an_answer_is_waited_for_although_later_calls_go_over_another_connection() {
    let scene = Scene::new().await;
    assert!(scene.ask(2).await.is_ok());
    scene.network.passes.send_replace(false);
    let meanwhile = async {
        until("another connection", async || scene.ask(2).await.is_ok()).await;
        assert_eq!(scene.last_connection(), 1);
        scene.network.passes.send_replace(true);
    };
    let both = async { tokio::join!(scene.ask(600), meanwhile) };
    let (answer, ()) = within("an answer", both).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(scene.last_connection(), 0, "over the first connection");
}

/// Whether the kernel asks whether they live at all connections of this process for which `is_it` holds, by
/// their own port and the other's. Such a timer has the number 2 (proc_net_tcp.txt of Linux).
fn are_asked(is_it: impl Fn(u16, u16) -> bool) -> bool {
    let port = |address: &str| u16::from_str_radix(&address[address.len() - 4..], 16).unwrap();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let open = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = open.filter(|fields| fields[3] == "01" && is_it(port(fields[1]), port(fields[2])));
    found.next().is_some_and(|first| first[5].starts_with("02") && found.all(|one| one[5].starts_with("02")))
}

#[tokio::test]
async fn connections_that_say_nothing_are_asked_whether_they_live() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, other) = (listener.local_addr().unwrap(), Http2Upstream::start(None).await);
    let routes = format!(
        "routes: [{{ path: /chat, to: \"http://{server}\", public: true }}, \
         {{ path: /hold, to: \"h2c://{}\", public: true }}]",
        other.address
    );
    let gateway = Gateway::with(&routes).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/chat", &HANDSHAKE, b"")).await;
    let mut upstream = accept(&listener).await;
    upstream.take_head().await.unwrap();
    upstream.send(SWITCHES).await;
    assert_eq!(client.interim().await, 101);
    let mut asking = Http2::clear_text(gateway.public).await;
    let held = tokio::spawn(async move {
        let request = Request::get(format!("http://{HOST}/hold")).body(()).unwrap();
        asking.ask(request, &[]).await
    });
    for port in [server.port(), other.address.port()] {
        until("questions to an upstream", async || are_asked(|_, to| to == port)).await;
    }
    until("questions to clients", async || are_asked(|here, _| here == gateway.public.port())).await;
    other.release(1);
    assert_eq!(held.await.unwrap().unwrap().status, 200);
}
