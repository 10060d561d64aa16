//! An upstream on a bare socket. It records what it received, byte for byte, and answers as told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection it came on.
    pub connection: usize,
    /// Request line and fields, with the empty line.
    pub head: String,
    /// As it was on the wire, chunks and all.
    pub raw_body: Vec<u8>,
}

impl Received {
    /// `METHOD target`
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap()
    }

    pub fn path(&self) -> &str {
        self.line().split_once(' ').unwrap().1
    }

    /// The values of a field, in their order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields().filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The one value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times:\n{}", all.len(), self.head);
        all.first().copied()
    }

    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head.lines().skip(1).filter_map(|line| line.split_once(": "))
    }
}

/// In an answer: here the upstream waits until it is released.
pub const PAUSE: &[u8] = b"<pause>";

/// How to answer one request.
pub type Answer = Arc<dyn Fn(&Received) -> Vec<u8> + Send + Sync>;

pub struct Upstream {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    /// One permit lets one request to a path with `/hold`, or one paused answer, go on.
    gate: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// 200 with `ok`.
pub fn plain(_: &Received) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok".to_vec()
}

impl Upstream {
    pub async fn start() -> Self {
        Self::answering(Arc::new(plain)).await
    }

    pub async fn answering(answer: Answer) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    pub fn on(listener: TcpListener, answer: Answer) -> Self {
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(0));
        let task = tokio::spawn({
            let (received, gate) = (received.clone(), gate.clone());
            async move {
                // With the upstream its connections end.
                let mut connections = JoinSet::new();
                for connection in 0.. {
                    let (socket, _) = listener.accept().await.unwrap();
                    // What is written late arrives before what the other side says next.
                    socket.set_nodelay(true).unwrap();
                    let (received, gate, answer) = (received.clone(), gate.clone(), answer.clone());
                    connections
                        .spawn(async move { serve(socket, connection, &received, &gate, &answer).await });
                }
            }
        });
        Self { address, received, gate, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The latest request.
    pub fn last(&self) -> Received {
        self.received().pop().expect("a request")
    }

    /// The only request so far.
    pub fn only(&self) -> Received {
        let all = self.received();
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0].clone()
    }

    /// Lets `count` held requests be answered.
    pub fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }
}

async fn serve(
    mut socket: TcpStream,
    connection: usize,
    received: &Mutex<Vec<Received>>,
    gate: &Semaphore,
    answer: &Answer,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            more(&mut socket, &mut buffer).await?;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let request = Received { connection, head, raw_body: Vec::new() };
        let wanted = |buffer: &[u8]| match request.header("content-length") {
            Some(length) => buffer.len() >= length.parse::<usize>().unwrap(),
            None if request.header("transfer-encoding").is_some() => buffer.ends_with(b"0\r\n\r\n"),
            None => true,
        };
        while !wanted(&buffer) {
            more(&mut socket, &mut buffer).await?;
        }
        let request = Received { raw_body: std::mem::take(&mut buffer), ..request };
        received.lock().unwrap().push(request.clone());
        if request.path().contains("/hold") {
            gate.acquire().await.unwrap().forget();
        }
        let bytes = answer(&request);
        let mut rest = &bytes[..];
        while let Some(at) = find(rest, PAUSE) {
            socket.write_all(&rest[..at]).await.ok()?;
            gate.acquire().await.unwrap().forget();
            rest = &rest[at + PAUSE.len()..];
        }
        socket.write_all(rest).await.ok()?;
        if find(&bytes, b"Connection: close").is_some() || bytes.is_empty() {
            return None;
        }
    }
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let count = socket.read_buf(buffer).await.ok()?;
    (count > 0).then_some(())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
