//! A server for tests that answers as it is told, well or badly, and counts what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What one path answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// 200 with this body and content type.
    Ok(&'static str, Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Says nothing more.
    Hang,
    /// A header and then one byte after another, for ever.
    Drip,
    /// Promises more than it sends and closes.
    Half,
    /// A chunked body without end.
    Endless,
    /// A body of this many bytes, announced by `Content-Length`.
    Huge(usize),
    /// Closes without an answer.
    Close,
    /// Headers without end.
    EndlessHeader,
}

impl Reply {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Ok("application/json", body.into())
    }
}

/// Listens on a free port of loopback until it is dropped.
pub(crate) struct TestServer {
    pub(crate) url: String,
    script: Arc<Script>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Script {
    replies: Mutex<HashMap<String, Reply>>,
    asked: Mutex<HashMap<String, usize>>,
    /// While true, answers wait.
    held: watch::Sender<bool>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Script::default());
        let served = script.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = served.clone();
                tokio::spawn(async move { serve(stream, &script).await });
            }
        });
        Self { url, script, task }
    }

    /// From now on `path` answers this; other paths answer 404.
    pub(crate) fn answer(&self, path: &str, reply: Reply) {
        self.script.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// How often `path` was asked.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.script.asked.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// Answers wait until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.script.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.script.held.send_replace(false);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The address of a server that is not there. For as long as this process runs nobody else is given its port:
/// a socket keeps it, and does not listen.
pub(crate) fn nobody() -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    format!("http://{address}")
}

/// Answers one request after another until the client goes. A write that fails ends it.
async fn serve(mut stream: TcpStream, script: &Script) {
    while let Some(path) = read_path(&mut stream).await {
        *script.asked.lock().unwrap().entry(path.clone()).or_default() += 1;
        let mut held = script.held.subscribe();
        let _ = held.wait_for(|held| !held).await;
        let reply = script.replies.lock().unwrap().get(&path).cloned().unwrap_or(Reply::Status(404));
        if write_reply(&mut stream, &reply).await.is_none() {
            return;
        }
    }
}

async fn read_path(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let body = head.to_ascii_lowercase();
    let length =
        body.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(head.split(' ').nth(1)?.to_owned())
}

/// `None` when the connection is over.
async fn write_reply(stream: &mut TcpStream, reply: &Reply) -> Option<()> {
    let head = |status: u16, rest: &str| format!("HTTP/1.1 {status} x\r\n{rest}\r\n");
    match reply {
        Reply::Ok(content_type, body) => {
            let fields = format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len());
            stream.write_all(head(200, &fields).as_bytes()).await.ok()?;
            stream.write_all(body).await.ok()
        }
        Reply::Status(status) => {
            stream.write_all(head(*status, "content-length: 0\r\n").as_bytes()).await.ok()
        }
        Reply::Redirect(to) => {
            let fields = format!("location: {to}\r\ncontent-length: 0\r\n");
            stream.write_all(head(302, &fields).as_bytes()).await.ok()
        }
        Reply::Hang => {
            let _ = stream.read_u8().await;
            None
        }
        Reply::Drip => {
            stream.write_all(head(200, "content-length: 900\r\n").as_bytes()).await.ok()?;
            loop {
                stream.write_all(b" ").await.ok()?;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        Reply::Half => {
            stream.write_all(head(200, "content-length: 1000\r\n").as_bytes()).await.ok()?;
            stream.write_all(b"{\"keys\":[").await.ok()?;
            None
        }
        Reply::Endless => {
            stream.write_all(head(200, "transfer-encoding: chunked\r\n").as_bytes()).await.ok()?;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            loop {
                stream.write_all(chunk.as_bytes()).await.ok()?;
            }
        }
        Reply::Huge(length) => {
            stream.write_all(head(200, &format!("content-length: {length}\r\n")).as_bytes()).await.ok()?;
            stream.write_all(&vec![b' '; *length]).await.ok()
        }
        Reply::Close => None,
        Reply::EndlessHeader => {
            stream.write_all(b"HTTP/1.1 200 x\r\n").await.ok()?;
            let field = format!("x-a: {}\r\n", "a".repeat(1000));
            loop {
                stream.write_all(field.as_bytes()).await.ok()?;
            }
        }
    }
}
