//! An HTTP/1.1 client that sends the bytes it is given.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// The host under which every test's gateway is known.
pub const HOST: &str = "gate.localhost:8080";

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times:\n{}", all.len(), self.head);
        all.first().copied()
    }

    /// The first of what would help; a scheme that would do as well may follow (RFC 9449 section 7.1).
    pub fn challenge(&self) -> Option<&str> {
        self.challenges().first().copied()
    }

    /// The schemes that would do.
    pub fn schemes(&self) -> Vec<&str> {
        self.challenges().into_iter().filter_map(|one| one.split([' ', ',']).next()).collect()
    }

    /// One line; what follows `Bearer` begins with `DPoP`.
    fn challenges(&self) -> Vec<&str> {
        let Some(line) = self.header("www-authenticate") else { return Vec::new() };
        match line.find(", DPoP ") {
            Some(end) => vec![&line[..end], &line[end + 2..]],
            None => vec![line],
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn keeps_alive(&self) -> bool {
        self.header("connection") != Some("close")
    }
}

/// What an HTTP client speaks over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

pub struct Client {
    stream: Box<dyn Wire>,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(stream: impl Wire + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Waits until `part` has arrived, and takes nothing.
    pub async fn until(&mut self, part: &[u8]) {
        within("a part of an answer", async {
            while !self.buffer.windows(part.len()).any(|window| window == part) {
                assert!(self.more().await, "the connection ended");
            }
        })
        .await;
    }

    /// Everything until the other side closes.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// As `send`, but the other side may have closed meanwhile.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Waits for exactly these bytes and takes them.
    pub async fn take(&mut self, bytes: &[u8]) {
        within("bytes", async {
            while self.buffer.len() < bytes.len() {
                assert!(self.more().await, "the connection ended");
            }
        })
        .await;
        assert_eq!(self.buffer.drain(..bytes.len()).collect::<Vec<_>>(), bytes);
    }

    /// As a server: the head of the next request. `None` at the end.
    pub async fn take_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(String::from_utf8(self.buffer.drain(..at + 4).collect()).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Whether anything comes within a short time.
    pub async fn hears_soon(&mut self) -> bool {
        self.hears_within(std::time::Duration::from_millis(300)).await
    }

    pub async fn hears_within(&mut self, patience: std::time::Duration) -> bool {
        tokio::time::timeout(patience, self.more()).await.unwrap_or(false)
    }

    /// What comes first, or everything when the other side closes.
    pub async fn rest_or_first(&mut self) -> String {
        within("an answer", self.more()).await;
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    /// Nothing more is sent; answers are still read.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    pub async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, fields, b"")).await;
        self.answer().await
    }

    /// The status that whoever brings this access token gets at a path.
    pub async fn status(&mut self, path: &str, token: &str) -> u16 {
        self.get(path, &[("Authorization", &format!("Bearer {token}"))]).await.status
    }

    /// The next answer that is not `100 Continue`.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await.expect("an answer")
    }

    /// The status of the next answer, whatever it is.
    pub async fn interim(&mut self) -> u16 {
        self.first("GET").await.unwrap().status
    }

    /// The next answer, whatever it is.
    pub async fn first(&mut self, method: &str) -> Option<Answer> {
        within("an answer", self.read(method)).await
    }

    /// `None` when the connection ends before an answer begins.
    pub async fn answer_to(&mut self, method: &str) -> Option<Answer> {
        loop {
            let answer = within("an answer", self.read(method)).await?;
            if answer.status != 100 {
                return Some(answer);
            }
        }
    }

    /// Whether the other side closes without another byte.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        self.buffer.is_empty()
            && matches!(within("the end", self.stream.read(&mut byte)).await, Ok(0) | Err(_))
    }

    async fn read(&mut self, method: &str) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                assert!(self.buffer.is_empty(), "half a head: {}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let bodiless = method == "HEAD" || matches!(status, 100..=199 | 204 | 304);
        if !bodiless {
            match self.body(&answer).await {
                Some(body) => answer.body = body,
                None => panic!("the body broke off: {}", String::from_utf8_lossy(&self.buffer)),
            }
        }
        Some(answer)
    }

    /// The next answer that is not `100 Continue`. `None` when there is none, or not the whole of it.
    pub async fn whole(&mut self, method: &str) -> Option<Answer> {
        loop {
            let end = within("a head", async {
                loop {
                    if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                        break Some(at + 4);
                    }
                    if !self.more().await {
                        break None;
                    }
                }
            })
            .await?;
            let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
            let status = head.split(' ').nth(1)?.parse().ok()?;
            let mut answer = Answer { status, head, body: Vec::new() };
            if method != "HEAD" && !matches!(status, 100..=199 | 204 | 304) {
                answer.body = within("a body", self.body(&answer)).await?;
            }
            if !matches!(status, 100 | 102..=199) {
                return Some(answer);
            }
        }
    }

    async fn body(&mut self, answer: &Answer) -> Option<Vec<u8>> {
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            return Some(self.buffer.drain(..length).collect());
        }
        if answer.header("transfer-encoding").is_some() {
            while !self.buffer.ends_with(b"0\r\n\r\n") {
                if !self.more().await {
                    return None;
                }
            }
            return Some(unchunked(&std::mem::take(&mut self.buffer)));
        }
        while self.more().await {}
        Some(std::mem::take(&mut self.buffer))
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }
}

fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = raw.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = &raw[end + 4 + size..];
    }
}

/// A request as bytes, with `Host`, and `Content-Length` where there is a body.
pub fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}
