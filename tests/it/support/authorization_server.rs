//! An authorization server over TLS, under whatever name it is called: its metadata and its keys, and `{}`
//! from anywhere else. It notes what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::http2_upstream::{Tls, server_config};
use super::tls::Identity;

/// Here it closes the connection instead of an answer.
pub const CLOSES: &str = "/closes";

pub struct AuthorizationServer {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AuthorizationServer {
    pub async fn start(identity: &Identity, keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<String>>> = Arc::default();
        let config = server_config(&Tls { identity, protocols: &["http/1.1"], clients: None });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (noted, keys) = (received.clone(), keys.to_string());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(acceptor.clone(), socket, noted.clone(), keys.clone()));
            }
        });
        Self { address, received, task }
    }

    /// Each request whole, in the order in which they came.
    pub fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

/// One request a connection. `None`: it broke.
async fn serve(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    noted: Arc<Mutex<Vec<String>>>,
    keys: String,
) -> Option<()> {
    let mut stream = acceptor.accept(socket).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let length = field("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let (path, iss) = (head.split(' ').nth(1).unwrap().to_owned(), format!("https://{}", field("host")?));
    noted.lock().unwrap().push(format!("{head}{}", String::from_utf8(body).unwrap()));
    let answer = match path.as_str() {
        CLOSES => return None,
        "/jwks" => keys,
        known if known.starts_with("/.well-known/") => {
            json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks") }).to_string()
        }
        _ => "{}".to_owned(),
    };
    let length = answer.len();
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{answer}");
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}
