//! Asks the admin listener of a gateway that runs, as the commands do. Over one kept connection; nothing is
//! repeated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::core::secret::Secret;

/// How long an answer may take. A list that is changed by thousands waits for the disk.
const DEADLINE: Duration = Duration::from_secs(60);

/// One gateway's admin listener.
#[derive(Debug)]
pub struct AdminClient {
    address: SocketAddr,
    authorization: HeaderValue,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// What it answered.
#[derive(Clone, Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub body: Bytes,
}

impl AdminClient {
    /// `listens`: where it listens; an address of all interfaces is asked on loopback. `name`: who asks.
    pub fn new(listens: SocketAddr, name: &str, token: &Secret<Vec<u8>>) -> Self {
        let ip = match listens.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let name: String = name.chars().filter(|c| !c.is_control() && *c != ':').take(64).collect();
        let both = [name.as_bytes(), b":", token.expose()].concat();
        let basic = format!("Basic {}", STANDARD.encode(Secret::new(both).expose()));
        // Base64 is always a header's value.
        let mut authorization =
            HeaderValue::from_str(&basic).unwrap_or_else(|_| HeaderValue::from_static(""));
        authorization.set_sensitive(true);
        let http = Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        Self { address: SocketAddr::new(ip, listens.port()), authorization, http }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `target`: path and query. `body`: JSON.
    ///
    /// # Errors
    /// Why there is no answer, as text for people.
    pub async fn ask(&self, method: Method, target: &str, body: Option<Vec<u8>>) -> Result<Answered, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.address))
            .header(header::AUTHORIZATION, self.authorization.clone());
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| format!("this cannot be asked: {error}"))?;
        let asking = async {
            let answer = self.http.request(request).await.map_err(|error| self.no_answer(&error))?;
            let status = answer.status();
            let body = answer.into_body().collect().await;
            let body = body.map_err(|error| format!("the answer of {} broke off: {error}", self.address))?;
            Ok(Answered { status, body: body.to_bytes() })
        };
        let late = || format!("no answer from {} within {} s", self.address, DEADLINE.as_secs());
        tokio::time::timeout(DEADLINE, asking).await.map_err(|_| late())?
    }

    fn no_answer(&self, error: &hyper_util::client::legacy::Error) -> String {
        let mut text =
            format!("the admin listener at {} does not answer; does the gateway run? ({error}", self.address);
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text + ")"
    }
}
