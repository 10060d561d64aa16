//! The demo's upstream: it answers every request with what it received, so that one sees what the
//! gateway let through, what it added, and what never arrived. It serves the page of the demo too.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::page::Stage;
use super::serve::{self, Answer, BodyFault, Server, read_body};

/// The largest body that is read, in bytes.
const LIMIT: usize = 16 * 1024 * 1024;

/// A running upstream. Dropping it ends it.
#[derive(Debug)]
pub struct Upstream(Server);

impl Upstream {
    /// Serves on `listener` in the current tokio runtime.
    ///
    /// # Errors
    /// When the listener is not on loopback or cannot be used.
    pub fn start(listener: std::net::TcpListener) -> io::Result<Self> {
        Server::start(listener, Arc::new(None), answer).map(Self)
    }

    /// The same, with the page of the demo at `/` and `/app/`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) fn start_with_page(listener: std::net::TcpListener, stage: Stage) -> io::Result<Self> {
        Server::start(listener, Arc::new(Some(stage)), answer).map(Self)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Closes the listener and every connection.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

async fn answer(stage: Arc<Option<Stage>>, request: Request<Incoming>) -> Answer {
    let request = match &*stage {
        None => request,
        Some(stage) => match stage.answer(request).await {
            Ok(answer) => return answer,
            Err(request) => request,
        },
    };
    let (head, body) = request.into_parts();
    let body_bytes = match read_body(body, LIMIT).await {
        Ok(body) => body.len(),
        Err(BodyFault::TooLarge) => {
            return serve::json(
                StatusCode::PAYLOAD_TOO_LARGE,
                &json!({ "upstream": "the body is too large" }),
            );
        }
        Err(BodyFault::Broken) => {
            return serve::json(StatusCode::BAD_REQUEST, &json!({ "upstream": "the body broke off" }));
        }
    };
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &head.headers {
        headers
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let headers: BTreeMap<&str, Value> = headers
        .into_iter()
        .map(|(name, mut values)| match values.pop() {
            Some(only) if values.is_empty() => (name, Value::String(only)),
            last => (name, values.into_iter().chain(last).collect()),
        })
        .collect();
    serve::json(
        StatusCode::OK,
        &json!({
            "upstream": "this is what arrived",
            "method": head.method.as_str(),
            "path": head.uri.path(),
            "query": head.uri.query(),
            "headers": headers,
            "body_bytes": body_bytes,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::browser::Browser;

    #[tokio::test]
    async fn it_says_what_arrived() {
        let upstream = Upstream::start(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let url = format!("http://{}/api/a%20b?c=d", upstream.address());
        let headers = [("X-Auth-Subject", "alice"), ("X-Twice", "1"), ("X-Twice", "2")];
        let said = Browser::new().post(&url, &headers, &[("a", "1")]).await.unwrap().json();
        assert_eq!(
            (&said["method"], &said["path"], &said["query"]),
            (&json!("POST"), &json!("/api/a%20b"), &json!("c=d"))
        );
        assert_eq!(said["headers"]["x-auth-subject"], "alice");
        assert_eq!(said["headers"]["x-twice"], json!(["1", "2"]));
        assert_eq!(said["body_bytes"], 3);
        assert_eq!(said["headers"]["authorization"], Value::Null);
    }
}
