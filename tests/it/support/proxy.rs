//! An HTTP proxy that opens tunnels (RFC 9110 section 9.3.6), or does something else. It notes what it saw.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of a request for a tunnel.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// A tunnel to this server, wherever it should lead.
    Opens(SocketAddr),
    /// These bytes, and the connection ends.
    Answers(&'static str),
    Hangs,
}

/// One connection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its first head, up to the empty line.
    pub head: String,
    /// What the client sent in its tunnel.
    pub carried: Vec<u8>,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

pub struct Proxy {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.spawn(serve(client, does, seen.clone()));
                }
            }
        });
        Self { address, seen, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// In the order in which they asked.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// `None`: a connection broke.
async fn serve(mut client: TcpStream, does: Does, all: Arc<Mutex<Vec<Seen>>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let place = {
        let mut all = all.lock().unwrap();
        all.push(Seen { head: String::from_utf8(head).unwrap(), carried: Vec::new() });
        all.len() - 1
    };
    let server = match does {
        Does::Opens(server) => server,
        Does::Answers(bytes) => return client.write_all(bytes.as_bytes()).await.ok(),
        Does::Hangs => return client.read_u8().await.map(|_| ()).ok(),
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await.ok()?.into_split();
    let up = async {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from_client.read(&mut piece).await {
            all.lock().unwrap()[place].carried.extend_from_slice(&piece[..count]);
            to_server.write_all(&piece[..count]).await.ok()?;
        }
        to_server.shutdown().await.ok()
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        to_client.shutdown().await.ok()
    };
    tokio::join!(up, down);
    Some(())
}
