//! A small HTTP/1.1 server for the demo's own parts. It listens on loopback and nowhere else: what
//! stands behind it signs people in without a password.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

/// How long a client may take to send its request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections are served at once; more wait in the listener's queue.
const CONNECTIONS: usize = 512;

/// A body of the demo's own parts: whole, or a stream of events.
pub(super) type Payload = UnsyncBoxBody<Bytes, Infallible>;

/// An answer of the demo's own parts.
pub(super) type Answer = Response<Payload>;

/// A running server. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `listener` in the current tokio runtime; each request goes to `answer`.
    ///
    /// # Errors
    /// When the listener is not on a loopback address, or cannot be used.
    pub(super) fn start<S, F>(listener: std::net::TcpListener, state: Arc<S>, answer: F) -> io::Result<Self>
    where
        S: Send + Sync + 'static,
        F: AsyncAnswer<S>,
    {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the demo listens on loopback only, not on {address}"),
            ));
        }
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept(listener, state, answer));
        Ok(Self { address, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection, and returns when they are closed.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A function from shared state and a request to an answer.
pub(super) trait AsyncAnswer<S>: Copy + Send + Sync + 'static {
    fn answer(self, state: Arc<S>, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

impl<S, F, Fut> AsyncAnswer<S> for F
where
    F: Fn(Arc<S>, Request<Incoming>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    fn answer(self, state: Arc<S>, request: Request<Incoming>) -> impl Future<Output = Answer> + Send {
        self(state, request)
    }
}

async fn accept<S, F>(listener: TcpListener, state: Arc<S>, answer: F)
where
    S: Send + Sync + 'static,
    F: AsyncAnswer<S>,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer.answer(state, request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    TooLarge,
    Broken,
}

/// The whole body, at most `limit` bytes of it.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, BodyFault> {
    match Limited::new(body, limit).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyFault::TooLarge),
        Err(_) => Err(BodyFault::Broken),
    }
}

/// An answer that no cache keeps and no browser guesses the type of.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    streamed(status, content_type, Full::new(body.into()).boxed_unsync())
}

/// An answer whose body comes bit by bit.
pub(super) fn streamed(status: StatusCode, content_type: &'static str, body: Payload) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

/// To whoever asks by a name that is not the server's.
pub(super) fn unknown_host() -> Answer {
    answer(StatusCode::MISDIRECTED_REQUEST, "text/plain", "unknown host\n")
}

/// `value` as JSON.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    answer(status, "application/json", format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_off_loopback_is_refused() {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let refused =
            Server::start(listener, Arc::new(()), |_, _| async { json(StatusCode::OK, &true.into()) });
        assert!(refused.unwrap_err().to_string().contains("loopback only"));
    }
}
