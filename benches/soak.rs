//! Saturation for minutes: does anything fail, and does memory grow? Clients on this machine ask a gateway of
//! their own as fast as it answers, over kept and over new connections, with tokens and bodies, while a
//! WebSocket speaks and 10 GB go up and down. Answered by `make soak`; the load stays on the loopback.
//!
//! Ends with 1 when an answer is not the one that was asked for, or when the gateway's memory has grown.
//!
//! usage: soak [--seconds N]      (also TOLLGATE_SOAK_SECONDS; 600)

#![allow(clippy::cast_precision_loss, reason = "a program for people who measure")]

mod started;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use started::Started;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const ISSUER: &str = "http://127.0.0.1:1/soak";
const AUDIENCE: &str = "https://api.example.com";
/// One large body; they follow one another.
const LARGE: u64 = 10 << 30;
/// Clients that ask as fast as they are answered.
const CLIENTS: usize = 32;
/// How much more memory the gateway may have at the end than after a tenth of the time.
const GROWTH: u64 = 32 << 20;
/// Exchanges on one connection before the next.
const KEPT: usize = 1000;

/// What was done so far.
#[derive(Default)]
struct Done {
    over: AtomicBool,
    requests: AtomicU64,
    bytes: AtomicU64,
    frames: AtomicU64,
}

fn main() -> Result<(), Failure> {
    let mut seconds: u64 = std::env::var("TOLLGATE_SOAK_SECONDS").map_or(Ok(600), |text| text.parse())?;
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--seconds" => seconds = arguments.next().ok_or("a number is missing")?.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let folder = std::env::temp_dir().join(format!("tollgate-soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(soak(&folder, Duration::from_secs(seconds.max(10))));
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn soak(folder: &Path, time: Duration) -> Result<(), Failure> {
    let upstream = start_upstream().await?;
    let (token, jwks) = token()?;
    let gateway = start_gateway(folder, upstream, &jwks)?;
    let (done, address) = (Arc::new(Done::default()), gateway.address);
    let token: Arc<str> = token.into();
    wait_until_it_answers(address, &token).await?;
    let mut work = JoinSet::new();
    for number in 0..CLIENTS {
        work.spawn(ask(address, token.clone(), done.clone(), number));
    }
    work.spawn(upload(address, done.clone()));
    work.spawn(download(address, done.clone()));
    work.spawn(talk(address, done.clone()));
    println!("{CLIENTS} clients, a WebSocket and two large bodies for {} s", time.as_secs());
    println!("{:>8} {:>12} {:>10} {:>10} {:>10}", "seconds", "requests", "GB", "frames", "memory MB");
    let began = Instant::now();
    let (mut settled, mut most) = (None, 0);
    let mut failure = None;
    while began.elapsed() < time && failure.is_none() {
        tokio::select! {
            () = tokio::time::sleep(time / 20) => {}
            Some(ended) = work.join_next() => failure = ended?.err(),
        }
        let memory = memory(&gateway)?;
        if settled.is_none() && began.elapsed() >= time / 10 {
            settled = Some(memory);
        }
        most = most.max(memory);
        println!(
            "{:>8} {:>12} {:>10.1} {:>10} {:>10.1}",
            began.elapsed().as_secs(),
            done.requests.load(Ordering::Relaxed),
            done.bytes.load(Ordering::Relaxed) as f64 / f64::from(1 << 30),
            done.frames.load(Ordering::Relaxed),
            memory as f64 / f64::from(1 << 20),
        );
    }
    done.over.store(true, Ordering::Relaxed);
    while let Some(ended) = work.join_next().await {
        failure = failure.or(ended?.err());
    }
    if let Some(failure) = failure {
        return Err(format!("an answer was wrong: {failure}").into());
    }
    let settled = settled.unwrap_or(most);
    let grown = most.saturating_sub(settled);
    if grown > GROWTH {
        return Err(format!("the gateway's memory grew by {} MB", grown >> 20).into());
    }
    println!("no error; memory grew by {:.1} MB after it had settled", grown as f64 / f64::from(1 << 20));
    Ok(())
}

/// One connection, read by lines where that is due.
struct Wire {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Wire {
    fn over(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read: BufReader::with_capacity(64 * 1024, read), write }
    }

    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// First line and `Content-Length`. `None` at the end.
    async fn head(&mut self) -> Result<Option<(String, u64)>, Failure> {
        let mut first = String::new();
        if self.read.read_line(&mut first).await? == 0 {
            return Ok(None);
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.read.read_line(&mut line).await?;
            match line.trim_end().split_once(": ") {
                None => return Ok(Some((first, length))),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse()?
                }
                Some(_) => {}
            }
        }
    }

    /// Reads so many bytes and forgets them.
    async fn skip(&mut self, mut bytes: u64, done: &Done) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 * 1024];
        while bytes > 0 {
            let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
            let count = self.read.read(buffer.get_mut(..most).unwrap_or_default()).await?;
            if count == 0 {
                return Err("a body broke off".into());
            }
            bytes -= count as u64;
            done.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if done.over.load(Ordering::Relaxed) && bytes > 1 << 20 {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn answer(&mut self, status: &str, done: &Done) -> Result<(), Failure> {
        let (first, length) = self.head().await?.ok_or("no answer")?;
        if !first.contains(status) {
            return Err(first.into());
        }
        self.skip(length, done).await?;
        done.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Small requests, some with bodies, on connections that are kept for a while.
async fn ask(address: SocketAddr, token: Arc<str>, done: Arc<Done>, number: usize) -> Result<(), Failure> {
    let head = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let requests = [
        (head("GET /api/things/17?page=2", &bearer), "200"),
        (head("POST /api/things", &format!("{bearer}Content-Length: 5\r\n")) + "hello", "200"),
        (
            head("POST /api/things", &format!("{bearer}Transfer-Encoding: chunked\r\n"))
                + "5\r\nhello\r\n0\r\n\r\n",
            "200",
        ),
    ];
    let kept = if number.is_multiple_of(4) { 1 } else { KEPT };
    while !done.over.load(Ordering::Relaxed) {
        let mut wire = Wire::connect(address).await?;
        for (request, status) in requests.iter().cycle().skip(number).take(kept) {
            wire.write.write_all(request.as_bytes()).await?;
            wire.answer(status, &done).await?;
        }
    }
    Ok(())
}

async fn upload(address: SocketAddr, done: Arc<Done>) -> Result<(), Failure> {
    let piece = vec![b'x'; 64 * 1024];
    while !done.over.load(Ordering::Relaxed) {
        let mut wire = Wire::connect(address).await?;
        let head = format!("POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n");
        wire.write.write_all(head.as_bytes()).await?;
        for _ in 0..LARGE / piece.len() as u64 {
            wire.write.write_all(&piece).await?;
            done.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
            if done.over.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        wire.answer("200", &done).await?;
    }
    Ok(())
}

async fn download(address: SocketAddr, done: Arc<Done>) -> Result<(), Failure> {
    while !done.over.load(Ordering::Relaxed) {
        let mut wire = Wire::connect(address).await?;
        wire.write.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        wire.answer("200", &done).await?;
    }
    Ok(())
}

/// A WebSocket that hears what it says.
async fn talk(address: SocketAddr, done: Arc<Done>) -> Result<(), Failure> {
    let mut wire = Wire::connect(address).await?;
    let head = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    wire.write.write_all(head.as_bytes()).await?;
    let (first, _) = wire.head().await?.ok_or("no answer")?;
    if !first.contains("101") {
        return Err(first.into());
    }
    let frame = *b"\x81\x85\x00\x00\x00\x00hello";
    let mut heard = [0; 11];
    while !done.over.load(Ordering::Relaxed) {
        wire.write.write_all(&frame).await?;
        wire.read.read_exact(&mut heard).await?;
        if heard != frame {
            return Err("another frame came back".into());
        }
        done.frames.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Answers small things with small things, `/large` with much, and echoes on `/chat`.
async fn start_upstream() -> Result<SocketAddr, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(answer_all(Wire::over(stream)));
        }
    });
    Ok(address)
}

async fn answer_all(mut wire: Wire) -> Result<(), Failure> {
    let nobody = Done::default();
    let piece = vec![b'x'; 64 * 1024];
    while let Some((first, length)) = wire.head().await? {
        if first.contains(" /chat ") {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            wire.write.write_all(switch.as_bytes()).await?;
            tokio::io::copy_buf(&mut wire.read, &mut wire.write).await?;
            return Ok(());
        }
        wire.skip(length, &nobody).await?;
        if first.starts_with("POST /api/") && length == 0 {
            // It came in chunks.
            let mut line = String::new();
            while line != "0\r\n" {
                line.clear();
                wire.read.read_line(&mut line).await?;
            }
            wire.read.read_line(&mut line).await?;
        }
        if first.starts_with("GET /large ") {
            wire.write
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
                .await?;
            for _ in 0..LARGE / piece.len() as u64 {
                wire.write.write_all(&piece).await?;
            }
        } else {
            wire.write.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await?;
        }
    }
    Ok(())
}

/// An ES256 access token that lives for a day, and the JWKS that verifies it.
fn token() -> Result<(String, String), Failure> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let point = key.public_key().as_ref();
    let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "soak", "x": encode(x), "y": encode(y),
    }]});
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "soak" });
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "web-app", "scope": "api:read",
        "jti": "5d1f0c9e7a424c0f", "iat": now, "exp": now + 86_000,
    });
    let signed =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = key.sign(&random, signed.as_bytes())?;
    Ok((format!("{signed}.{}", encode(signature.as_ref())), jwks.to_string()))
}

fn start_gateway(folder: &Path, upstream: SocketAddr, jwks: &str) -> Result<Started, Failure> {
    let to = format!("http://{upstream}");
    let config = json!({
        "issuers": { "soak": { "url": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json" } },
        "routes": [
            { "path": "/api/*", "to": to, "require": { "scope": "api:read" } },
            { "path": "/large", "to": to, "public": true },
            { "path": "/chat", "to": to, "public": true },
        ],
        "limits": { "body": format!("{}MiB", LARGE >> 20) },
    });
    started::start_gateway(folder, jwks, config)
}

async fn wait_until_it_answers(address: SocketAddr, token: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let request = format!("GET /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let once = async || {
        let mut wire = Wire::connect(address).await?;
        wire.write.write_all(request.as_bytes()).await?;
        wire.answer("200", &Done::default()).await
    };
    loop {
        match once().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Resident memory of the gateway, in bytes (proc(5), `VmRSS` of status).
fn memory(gateway: &Started) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
