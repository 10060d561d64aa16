//! Opens the connection below TLS: straight, to another address than that of the URL, or through the tunnel
//! of an HTTP proxy (RFC 9110 section 9.3.6). Who must answer at its end is not decided here: TLS above
//! checks the host of the URL, whatever the way.
//!
//! It must never send a proxy anything but the target of the tunnel and what is meant for it: what is called
//! in clear text goes through none.

use std::error::Error;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::fault::{NoConnection, Resolver};
use crate::config::settings::{HostPort, IssuerConnection, Proxy, ProxyCredentials};
use crate::core::secret::SecretString;

/// The head of a proxy's answer, in bytes and in fields.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEAD_FIELDS: usize = 64;

type Tcp = HttpConnector<Resolver>;

/// Connects as [`IssuerConnection`] says.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: Tcp,
    connection: IssuerConnection,
    /// How long a proxy may take for its tunnel in all.
    patience: Duration,
}

/// Why a proxy opened no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTunnel {
    #[error("the proxy {proxy} cannot be reached")]
    NotReached { proxy: String, source: Box<dyn Error + Send + Sync> },
    #[error("the proxy {proxy} had opened no tunnel to {to} after {patience:?}")]
    TooLate { proxy: String, to: String, patience: Duration },
    #[error(
        "the proxy {proxy} wants credentials for a tunnel to {to} (407); give `proxy.username` and `proxy.password`"
    )]
    CredentialsMissing { proxy: String, to: String },
    #[error(
        "the proxy {proxy} does not take `proxy.username` and `proxy.password` for a tunnel to {to} (407)"
    )]
    CredentialsRefused { proxy: String, to: String },
    #[error(
        "the proxy {proxy} wants credentials for a tunnel to {to} in another way than `Basic` (407), and no other is spoken here"
    )]
    NotByPassword { proxy: String, to: String },
    #[error("the proxy {proxy} refuses a tunnel to {to}: it answers {status}")]
    Refused { proxy: String, to: String, status: StatusCode },
    #[error("the proxy {proxy} gave no answer that can be read when it was asked for a tunnel to {to}")]
    NoAnswer { proxy: String, to: String, source: hyper::Error },
    #[error("the proxy {proxy} said something in its tunnel to {to} before the server could")]
    Spoke { proxy: String, to: String },
    #[error("{to} is called in clear text, which goes through no proxy")]
    ClearText { to: String },
}

impl Connector {
    pub(super) const fn new(tcp: Tcp, connection: IssuerConnection, patience: Duration) -> Self {
        Self { tcp, connection, patience }
    }

    /// Where what is called here is connected to. `None`: nowhere, it has no host.
    fn place(&self, called: &Uri) -> Option<HostPort> {
        let port = called.port_u16().unwrap_or(if is_https(called) { 443 } else { 80 });
        let place = HostPort::new(called.host()?, port);
        match &self.connection.connect_to {
            Some(connect_to) if connect_to.of == place => Some(connect_to.to.clone()),
            _ => Some(place),
        }
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

type Connection = TokioIo<TcpStream>;
type Fault = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Connection, Fault>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, called: Uri) -> Self::Future {
        let (tcp, patience) = (self.tcp.clone(), self.patience);
        let place = self.place(&called);
        let proxy = self.connection.proxy.clone();
        Box::pin(async move {
            let place = place.ok_or("the URL names no host")?;
            let Some(proxy) = proxy else { return Ok(connect(tcp, &place).await.map_err(NoConnection)?) };
            let to = place.to_string();
            if !is_https(&called) {
                return Err(NoTunnel::ClearText { to }.into());
            }
            let opened = tokio::time::timeout(patience, through(tcp, &proxy, &to)).await;
            let proxy = proxy.to_string();
            opened.unwrap_or(Err(NoTunnel::TooLate { proxy, to, patience })).map_err(Into::into)
        })
    }
}

async fn connect(mut tcp: Tcp, place: &HostPort) -> Result<Connection, Fault> {
    let at = Uri::builder().scheme("http").authority(place.to_string()).path_and_query("/").build()?;
    Ok(tcp.call(at).await?)
}

/// The connection at whose other end, by the proxy's word, `to` is.
async fn through(tcp: Tcp, proxy: &Proxy, to: &str) -> Result<Connection, NoTunnel> {
    let at = || proxy.to_string();
    let straight = connect(tcp, &proxy.at).await;
    let connection = straight.map_err(|source| NoTunnel::NotReached { proxy: at(), source })?;
    let unread = |source| NoTunnel::NoAnswer { proxy: at(), to: to.to_owned(), source };
    let (mut sender, conversation) = http1::Builder::new()
        .max_headers(MAX_HEAD_FIELDS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(connection)
        .await
        .map_err(unread)?;
    let request =
        ask(proxy, to).map_err(|error| NoTunnel::NotReached { proxy: at(), source: error.into() })?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(unread)?;
        if !answer.status().is_success() {
            return Err(refused(proxy, to, answer.status(), answer.headers()));
        }
        hyper::upgrade::on(answer).await.map_err(unread)
    };
    let (mut asked, mut conversation) = (pin!(asked), pin!(conversation.with_upgrades()));
    // What was answered counts, also where the connection broke right after it.
    let tunnel = tokio::select! {
        biased;
        tunnel = &mut asked => tunnel,
        _ = &mut conversation => asked.await,
    }?;
    let spoke = || NoTunnel::Spoke { proxy: at(), to: to.to_owned() };
    // Nobody speaks in it before the client of TLS does (RFC 8446 section 2).
    let tunnel = tunnel.downcast::<Connection>().map_err(|_| spoke())?;
    if tunnel.read_buf.is_empty() { Ok(tunnel.io) } else { Err(spoke()) }
}

/// `CONNECT` with its target in authority-form (RFC 9112 section 3.2.3), and no more than that says of whom
/// it is for.
fn ask(proxy: &Proxy, to: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(to)
        .header(HOST, to)
        .header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")));
    let request = match &proxy.credentials {
        Some(credentials) => request.header(PROXY_AUTHORIZATION, basic(credentials)?),
        None => request,
    };
    request.body(Empty::new())
}

/// RFC 7617 section 2.
fn basic(credentials: &ProxyCredentials) -> Result<HeaderValue, http::Error> {
    let ProxyCredentials { username, password } = credentials;
    let pair = SecretString::new(format!("{username}:{}", password.expose()));
    let value = SecretString::new(format!("Basic {}", STANDARD.encode(pair.expose())));
    let mut value = HeaderValue::from_str(value.expose())?;
    value.set_sensitive(true);
    Ok(value)
}

fn refused(proxy: &Proxy, to: &str, status: StatusCode, headers: &HeaderMap) -> NoTunnel {
    let (at, to) = (proxy.to_string(), to.to_owned());
    if status != StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return NoTunnel::Refused { proxy: at, to, status };
    }
    let mut schemes =
        headers.get_all(PROXY_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).peekable();
    let names_some = schemes.peek().is_some();
    let takes_passwords = schemes.any(|offered| offered.to_ascii_lowercase().contains("basic"));
    match &proxy.credentials {
        _ if names_some && !takes_passwords => NoTunnel::NotByPassword { proxy: at, to },
        Some(_) => NoTunnel::CredentialsRefused { proxy: at, to },
        None => NoTunnel::CredentialsMissing { proxy: at, to },
    }
}
