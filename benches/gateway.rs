//! The price of the gate: CPU time per request of Tollgate, which verifies an access token and sets
//! identity headers, beside a bare pingora proxy (benches/passthrough) that does nothing. Both get
//! the same requests for the same upstream, turn by turn in one run, so that what else the machine
//! does hits both. Answered by `make bench-gateway`; the load stays on this machine and is bounded.
//!
//! usage: gateway [--rounds N] [--requests N] [--connections N]

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a program for people who measure"
)]

mod started;

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use started::{Started, free_addresses};

type Failure = Box<dyn Error + Send + Sync>;

const ISSUER: &str = "http://127.0.0.1:1/bench";
const AUDIENCE: &str = "https://api.example.com";
const ANSWER: &[u8] = br#"{"items":[{"id":1,"name":"a thing"},{"id":2,"name":"another thing"}]}"#;

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    /// For each proxy in each round.
    requests: usize,
    connections: usize,
}

/// A proxy under measurement.
struct Proxy {
    name: &'static str,
    started: Started,
}

fn main() -> Result<(), Failure> {
    let extent = extent()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(extent))
}

fn extent() -> Result<Extent, Failure> {
    let mut extent = Extent { rounds: 10, requests: 40_000, connections: 64 };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("a number is missing")?.parse()?;
        match name.as_str() {
            "--rounds" => extent.rounds = value,
            "--requests" => extent.requests = value,
            "--connections" => extent.connections = value,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok(extent)
}

async fn measure(extent: Extent) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("tollgate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure_in(&folder, extent).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn measure_in(folder: &Path, extent: Extent) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let upstream = start_upstream().await?;
    let (token, jwks) = token()?;
    let proxies = [start_bare(upstream, threads)?, start_gateway(folder, upstream, &jwks)?];
    for proxy in &proxies {
        wait_until_it_answers(proxy, &token).await?;
    }
    println!(
        "{} rounds of {} requests each, {} connections, {threads} cores; CPU per request in microseconds",
        extent.rounds, extent.requests, extent.connections
    );
    for proxy in &proxies {
        load(proxy.started.address, &token, extent.requests / 4, extent.connections).await?;
    }
    println!("{:>5} {:>10} {:>10} {:>7}   requests/s", "round", proxies[0].name, proxies[1].name, "ratio");
    let mut measured: Vec<[f64; 3]> = Vec::new();
    for round in 1..=extent.rounds {
        let mut cost = [0.0; 2];
        let mut rate = [0.0; 2];
        // Every other round begins with the other one.
        let order = if round % 2 == 0 { [1, 0] } else { [0, 1] };
        for which in order {
            let proxy = &proxies[which];
            let (before, begun) = (cpu_time(proxy)?, Instant::now());
            load(proxy.started.address, &token, extent.requests, extent.connections).await?;
            let requests = extent.requests as f64;
            rate[which] = requests / begun.elapsed().as_secs_f64();
            cost[which] = (cpu_time(proxy)? - before).as_secs_f64() * 1e6 / requests;
        }
        let ratio = cost[1] / cost[0];
        println!(
            "{round:>5} {:>10.1} {:>10.1} {ratio:>7.2}   {:.0} {:.0}",
            cost[0], cost[1], rate[0], rate[1]
        );
        measured.push([cost[0], cost[1], ratio]);
    }
    let [bare, gateway, ratio] = [0, 1, 2].map(|column| median(measured.iter().map(|row| row[column])));
    println!("median {bare:>9.1} {gateway:>10.1} {ratio:>7.2}");
    println!("An authenticated request costs {ratio:.2} times the CPU of a bare pass through pingora.");
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Answers every request with the same small JSON.
async fn start_upstream() -> Result<SocketAddr, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let answer = hyper::service::service_fn(|_| async {
                Response::builder()
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from_static(ANSWER)))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
            );
        }
    });
    Ok(address)
}

/// An ES256 access token that lives for an hour, and the JWKS that verifies it.
fn token() -> Result<(String, String), Failure> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let point = key.public_key().as_ref();
    let (x, y) = point[1..].split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench", "x": encode(x), "y": encode(y),
    }]});
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "bench" });
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "web-app", "scope": "api:read profile",
        "jti": "5d1f0c9e7a424c0f", "sid": "0f8fad5bd9cb469f", "iat": now, "exp": now + 3600,
    });
    let signed =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = key.sign(&random, signed.as_bytes())?;
    Ok((format!("{signed}.{}", encode(signature.as_ref())), jwks.to_string()))
}

fn start_bare(upstream: SocketAddr, threads: usize) -> Result<Proxy, Failure> {
    let binary = match std::env::var_os("PASSTHROUGH") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_BIN_EXE_tollgate")).with_file_name("passthrough"),
    };
    let [address] = free_addresses()?;
    let process = Command::new(&binary)
        .args([address.to_string(), upstream.to_string(), threads.to_string()])
        .spawn()
        .map_err(|error| format!("{}: {error}; see scripts/bench", binary.display()))?;
    Ok(Proxy { name: "bare", started: Started { address, process } })
}

fn start_gateway(folder: &Path, upstream: SocketAddr, jwks: &str) -> Result<Proxy, Failure> {
    let config = json!({
        "issuers": { "bench": { "url": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json" } },
        "routes": [
            { "path": "/api/*", "to": format!("http://{upstream}"), "require": { "scope": "api:read" } },
            { "path": "/api/users/{id}/*", "to": format!("http://{upstream}"), "require": { "scope": "api:read" } },
            { "path": "/static/*", "to": format!("http://{upstream}"), "public": true },
        ],
    });
    Ok(Proxy { name: "gateway", started: started::start_gateway(folder, jwks, config)? })
}

async fn wait_until_it_answers(proxy: &Proxy, token: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match load(proxy.started.address, token, 1, 1).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(format!("{}: {error}", proxy.name).into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Sends `requests` over `connections` kept connections; every answer must be the upstream's.
async fn load(address: SocketAddr, token: &str, requests: usize, connections: usize) -> Result<(), Failure> {
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..connections {
        let share = requests / connections + usize::from(worker < requests % connections);
        let request = Request::builder()
            .uri("/api/things/17?page=2")
            .header("host", format!("localhost:{}", address.port()))
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json")
            .header("accept-encoding", "gzip, br")
            .header("user-agent", "tollgate-bench")
            .body(Empty::<Bytes>::new())?;
        workers.spawn(send(address, request, share));
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

async fn send(address: SocketAddr, request: Request<Empty<Bytes>>, times: usize) -> Result<(), Failure> {
    if times == 0 {
        return Ok(());
    }
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    for _ in 0..times {
        sender.ready().await?;
        let answer = sender.send_request(request.clone()).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK || body != ANSWER {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
    }
    drop(sender);
    connection.await??;
    Ok(())
}

/// User and system time of all threads of `proxy` so far (proc(5), fields 14 and 15 of stat).
fn cpu_time(proxy: &Proxy) -> Result<Duration, Failure> {
    /// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that Rust runs on.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.started.process.id()))?;
    let after_name = stat.rsplit_once(')').ok_or("stat without a name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields
        .get(11..13)
        .ok_or("stat is short")?
        .iter()
        .map(|field| field.parse::<u64>())
        .sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
