//! What the tests need around a gateway.
//!
//! - `issuer`: an issuer of tokens whose keys are in a file
//! - `holder`: whoever has the key that a token is bound to
//! - `upstream`: an upstream that records what it received, byte for byte
//! - `http2_upstream`: one that speaks HTTP/2, and TLS
//! - `client`: an HTTP/1.1 client that sends what it is told, also what no client should
//! - `frames`: HTTP/2 frame by frame, also those that no library would send
//! - `tls`: certificates, and clients that speak TLS and HTTP/2
//! - `gateway`: a gateway in this process, on ports of its own
//! - `operator`: whoever has the token of its admin listener
//! - `authorization_server`: one over TLS, under whatever name it is called; `proxy`: an HTTP proxy on the
//!   way to it
//! - `redis`: Redis servers, each a process of its own
//! - `address`: an address that nobody else takes while nobody listens there
//! - `alone`: a test in a process of its own, for what is measured of a process

pub mod address;
pub mod alone;
pub mod authorization_server;
pub mod client;
pub mod frames;
pub mod gateway;
pub mod holder;
pub mod http2_upstream;
pub mod issuer;
pub mod operator;
pub mod proxy;
#[allow(dead_code)] // Sentinels and clusters are for the tests of the store alone.
#[path = "../../../src/io/store/tests/servers.rs"]
pub mod redis;
pub mod tls;
pub mod upstream;

use std::future::Future;
use std::time::Duration;

/// Nothing in these tests takes longer, however busy the machine is, unless it is broken. Shorter than the
/// first of the gateway's own deadlines for bodies (30 s), which would end what should have ended for a
/// better reason.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// Fails the test when `what` does not come true.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, async || holds()).await;
}

/// The same for what has to be asked for. Looks again and again: nothing tells of these conditions.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    within(what, async {
        while !holds().await {
            looks.tick().await;
        }
    })
    .await;
}

/// Fails the test when `future` does not end.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for: {what}"),
    }
}
