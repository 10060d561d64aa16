//! Calls authorization servers: one pooled client for each issuer, with the certificates that the
//! issuer is trusted by, and the way that leads there (`connector`). It never repeats a request, never
//! follows a redirect, and never reads more or waits longer than it was told to.
//!
//! What was begun under a configuration is called as that one says, whatever a reload made of the issuer's
//! name: a refresh token and a credential never go to their server by the trust or the proxy of another.
//!
//! Trust comes from the system's store (`ca-certificates`; `SSL_CERT_FILE` is obeyed), because that
//! is where operators put their own authorities and where distrusted ones are removed; `ca` of an
//! issuer replaces it.

mod connector;
mod fault;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::OnceCell;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::config::settings::{Issuer, IssuerConnection};
use crate::core::ids::IssuerName;
use crate::core::session::exchange::lease::FLIGHT;
use crate::flows::ports::{Bounds, HttpClient, HttpFault};
use crate::io::names::Names;
use connector::{Connector, NoTunnel};
use fault::Resolver;

/// An idle connection is given up after this long: before the 5 s at which many servers close it, so
/// that a POST, which is never repeated, does not meet a closing connection.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(3);
/// A call that has no answer after so long keeps its connection to itself, and later calls go over another:
/// one of HTTP/2 is shared, and what goes away on the way to a server says nothing. The call itself waits on:
/// its answer may come when the network is back, and a refresh token be lost without it.
const SILENCE: Duration = Duration::from_secs(5);
/// The header of an answer, in bytes and in fields.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_HEADER_FIELDS: usize = 128;

/// How long a connection may take to be there, without TLS.
const CONNECTING: Duration = Duration::from_secs(5);

type Pooled = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// What a client is made of: who is called, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    pub issuer: IssuerName,
    /// Certificates (PEM) that are trusted; `None`: the system's.
    pub ca: Option<Vec<u8>>,
    pub connection: IssuerConnection,
    /// How long a call may take.
    pub timeout: Duration,
}

impl From<&Issuer> for Called {
    fn from(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.name.clone(),
            ca: issuer.ca.clone(),
            connection: issuer.connection.clone(),
            timeout: issuer.timeout,
        }
    }
}

/// The port [`HttpClient`] over hyper and rustls.
pub struct IssuerClients {
    made: ArcSwap<Clients>,
}

struct IssuerClient {
    called: Called,
    /// Made for the first call: the system's authorities are some hundred files, and many an issuer is never
    /// called.
    http: OnceCell<Pooled>,
    trusts: Trusts,
    names: Names,
    /// How long a proxy may take for a tunnel.
    patience: Duration,
    /// The latest cause of a failure, so that each is logged once.
    last_cause: Mutex<String>,
}

/// Why no client can be made for an issuer.
#[derive(Debug, thiserror::Error)]
#[error("issuers.{issuer}.ca: {why}")]
pub struct ClientSetupError {
    pub issuer: IssuerName,
    pub why: String,
}

impl IssuerClients {
    /// # Errors
    /// When a `ca` holds no certificate, or one that cannot be read.
    pub fn new(called: impl IntoIterator<Item = Called>) -> Result<Self, ClientSetupError> {
        Ok(Self { made: ArcSwap::from_pointee(Clients::new(called, Names::default())?) })
    }

    /// As [`HttpClient::send`].
    pub fn call(
        &self,
        called: Called,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>> {
        let client = self.made.load().of(called);
        Box::pin(async move {
            let client = client.map_err(|error| {
                tracing::error!(%error, "no client can be made for this issuer");
                HttpFault::Tls
            })?;
            client.call(request, bounds).await
        })
    }

    /// What the latest fault of a call to this issuer did not say, for operators; as the log has it.
    pub fn last_cause(&self, issuer: &IssuerName) -> Option<String> {
        let made = self.made.load();
        let cause =
            made.by_name.get(issuer)?.last_cause.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!cause.is_empty()).then_some(cause)
    }
}

/// Those of one configuration.
struct Clients {
    by_name: HashMap<IssuerName, Arc<IssuerClient>>,
    system: Trusts,
    /// They outlive a configuration.
    names: Names,
}

/// Whom an issuer's certificate must be from.
#[derive(Clone)]
enum Trusts {
    Own(Arc<RootCertStore>),
    /// Read once for all.
    System(Arc<OnceCell<Arc<RootCertStore>>>),
}

impl Trusts {
    async fn roots(&self) -> Result<Arc<RootCertStore>, JoinError> {
        match self {
            Self::Own(roots) => Ok(roots.clone()),
            Self::System(read) => {
                let roots = read.get_or_try_init(async || spawn_blocking(system_roots).await.map(Arc::new));
                roots.await.cloned()
            }
        }
    }
}

impl Clients {
    fn new(called: impl IntoIterator<Item = Called>, names: Names) -> Result<Self, ClientSetupError> {
        let system = Trusts::System(Arc::default());
        let made =
            |called: Called| Ok((called.issuer.clone(), IssuerClient::new(called, &system, &names)?.into()));
        Ok(Self { by_name: called.into_iter().map(made).collect::<Result<_, _>>()?, system, names })
    }

    /// The client for this issuer, as whoever calls it has it in their configuration. Of another than the
    /// present one little is under way: each such call has a client of its own.
    fn of(&self, called: Called) -> Result<Arc<IssuerClient>, ClientSetupError> {
        match self.by_name.get(&called.issuer) {
            Some(client) if client.called == called => Ok(client.clone()),
            _ => IssuerClient::new(called, &self.system, &self.names).map(Arc::new),
        }
    }
}

/// The system's authorities. None at all is no error here: an issuer on loopback needs none, and a
/// call that does will say so.
pub(super) fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, unreadable) = roots.add_parsable_certificates(found.certs);
    if unreadable > 0 {
        tracing::debug!(unreadable, "certificates of the system are not used");
    }
    if roots.is_empty() {
        tracing::warn!(
            "the system trusts no certificate authority; https issuers need `ca`, or the package ca-certificates"
        );
    }
    roots
}

fn own_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not readable as PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate cannot be used: {error}"))?;
    }
    if roots.is_empty() { Err("the file holds no certificate in PEM form".to_owned()) } else { Ok(roots) }
}

fn pooled(
    roots: Arc<RootCertStore>,
    connection: IssuerConnection,
    patience: Duration,
    names: Names,
) -> Result<Pooled, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new_with_resolver(Resolver(names));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECTING));
    // As long as a call may take.
    tcp.set_tcp_user_timeout(Some(FLIGHT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(Connector::new(tcp, connection, patience));
    let client = Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .set_host(true)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION_KEPT)
        .pool_max_idle_per_host(16)
        .http1_max_headers(MAX_HEADER_FIELDS)
        .http1_max_buf_size(MAX_HEADER_BYTES)
        .http2_max_header_list_size(64 * 1024)
        .build(connector);
    Ok(client)
}

impl HttpClient for IssuerClients {
    fn set_issuers(&self, issuers: &[Arc<Issuer>]) -> Result<(), String> {
        let called = issuers.iter().map(|issuer| Called::from(&**issuer));
        let names = self.made.load().names.clone();
        self.made.store(Arc::new(Clients::new(called, names).map_err(|error| error.to_string())?));
        Ok(())
    }

    fn send(
        &self,
        issuer: &Issuer,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>> {
        self.call(Called::from(issuer), request, bounds)
    }
}

impl IssuerClient {
    fn new(called: Called, system: &Trusts, names: &Names) -> Result<Self, ClientSetupError> {
        let own = called.ca.as_ref().map(|pem| own_roots(pem)).transpose();
        let own = own.map_err(|why| ClientSetupError { issuer: called.issuer.clone(), why })?;
        let trusts = own.map_or_else(|| system.clone(), |roots| Trusts::Own(Arc::new(roots)));
        // It ends before the call does, which would not say that it was the proxy.
        let patience = CONNECTING.min(called.timeout.saturating_mul(4) / 5);
        let (names, http) = (names.clone(), OnceCell::new());
        Ok(Self { called, http, trusts, names, patience, last_cause: Mutex::default() })
    }

    async fn call(&self, request: Request<Bytes>, bounds: Bounds) -> Result<Response<Bytes>, HttpFault> {
        let began = Instant::now();
        let mut request = request.map(Full::new);
        let connection = capture_connection(&mut request);
        let mut answer = pin!(self.ask(request, bounds.answer_bytes));
        let patience = SILENCE.min(bounds.deadline);
        if let Ok(answer) = timeout_at(began + patience, &mut answer).await {
            return answer;
        }
        if let Some(connection) = &*connection.connection_metadata() {
            connection.poison();
        }
        timeout_at(began + bounds.deadline, answer).await.unwrap_or(Err(HttpFault::Deadline))
    }

    async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        answer_bytes: usize,
    ) -> Result<Response<Bytes>, HttpFault> {
        let http = self.http().await?;
        let answer = http.request(request).await.map_err(|error| {
            self.log_cause(&error);
            if is_of_the_proxy(&error) { HttpFault::Proxy } else { fault::of(&error) }
        })?;
        let (head, body) = answer.into_parts();
        if body.size_hint().lower() > answer_bytes as u64 {
            return Err(HttpFault::TooLarge);
        }
        let body = Limited::new(body, answer_bytes).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { HttpFault::TooLarge } else { HttpFault::Broken }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn http(&self) -> Result<&Pooled, HttpFault> {
        let made = self.http.get_or_try_init(async || {
            let roots = self.trusts.roots().await.map_err(|error| error.to_string())?;
            let (connection, names) = (self.called.connection.clone(), self.names.clone());
            pooled(roots, connection, self.patience, names).map_err(|error| error.to_string())
        });
        made.await.map_err(|error| {
            tracing::error!(issuer = %self.called.issuer, error, "no client can be made for this issuer");
            HttpFault::Tls
        })
    }

    /// What the fault does not say, for the operator: refused, unknown name, untrusted certificate, and on
    /// which way.
    fn log_cause(&self, error: &hyper_util::client::legacy::Error) {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            cause = format!("{cause}: {inner}");
            source = inner.source();
        }
        let Called { issuer, connection, .. } = &self.called;
        if let (Some(proxy), false) = (&connection.proxy, is_of_the_proxy(error)) {
            cause = format!("{cause} (through the proxy {proxy})");
        }
        if let Some(connect_to) = &connection.connect_to {
            cause = format!("{cause} ({} is connected to at {})", connect_to.of, connect_to.to);
        }
        let mut last = self.last_cause.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != cause {
            tracing::warn!(%issuer, cause, "a call to the authorization server failed");
            *last = cause;
        }
    }
}

/// Whether it failed before the issuer could have anything to do with it.
fn is_of_the_proxy(error: &hyper_util::client::legacy::Error) -> bool {
    fault::causes(error).any(|cause| cause.is::<NoTunnel>())
}

impl fmt::Debug for IssuerClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerClients").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::config::settings::{HostPort, KeySource, Proxy};
    use crate::core::token::testing::ISS;
    use crate::io::testing::{Reply, TestServer, nobody};
    use crate::state::issuer_keys::testing::issuer;

    /// Somebody who calls `issuer`.
    struct Calling {
        clients: IssuerClients,
        issuer: Issuer,
    }

    fn called(ca: Option<Vec<u8>>) -> Issuer {
        Issuer { ca, ..issuer(ISS, KeySource::Discovery(None)) }
    }

    fn trusting(ca: Option<Vec<u8>>) -> Calling {
        let issuer = called(ca);
        Calling { clients: IssuerClients::new([Called::from(&issuer)]).unwrap(), issuer }
    }

    fn client() -> Calling {
        trusting(None)
    }

    async fn send(
        client: &Calling,
        method: &str,
        url: String,
        millis: u64,
        answer_bytes: usize,
    ) -> Result<Response<Bytes>, HttpFault> {
        let request = Request::builder().method(method).uri(url).body(Bytes::from_static(b"a=b")).unwrap();
        let bounds = Bounds { deadline: Duration::from_millis(millis), answer_bytes };
        client.clients.send(&client.issuer, request, bounds).await
    }

    async fn ask(server: &TestServer, reply: Reply, millis: u64) -> Result<Response<Bytes>, HttpFault> {
        server.answer("/x", reply);
        send(&client(), "POST", format!("{}/x", server.url), millis, 1000).await
    }

    #[tokio::test]
    async fn an_answer_comes_back_as_it_is() {
        let server = TestServer::start().await;
        let answer = ask(&server, Reply::json("{}"), 5000).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"{}"[..]));
        let answer = ask(&server, Reply::Status(500), 5000).await.unwrap();
        assert_eq!(answer.status().as_u16(), 500);
    }

    #[tokio::test]
    async fn no_more_is_read_than_allowed() {
        let server = TestServer::start().await;
        assert_eq!(ask(&server, Reply::Endless, 5000).await.unwrap_err(), HttpFault::TooLarge);
        assert_eq!(ask(&server, Reply::Huge(1001), 5000).await.unwrap_err(), HttpFault::TooLarge);
        assert_eq!(ask(&server, Reply::Huge(1000), 5000).await.unwrap().body().len(), 1000);
        assert_eq!(ask(&server, Reply::EndlessHeader, 5000).await.unwrap_err(), HttpFault::Broken);
    }

    #[tokio::test]
    async fn nobody_is_waited_for_longer_than_the_deadline() {
        let server = TestServer::start().await;
        for slow in [Reply::Hang, Reply::Drip] {
            let began = std::time::Instant::now();
            assert_eq!(ask(&server, slow, 100).await.unwrap_err(), HttpFault::Deadline);
            assert!(began.elapsed() >= Duration::from_millis(100));
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let server = TestServer::start().await;
        server.answer("/other", Reply::json("{}"));
        let answer = ask(&server, Reply::Redirect("/other".to_owned()), 5000).await.unwrap();
        assert_eq!(answer.status().as_u16(), 302);
        assert_eq!(server.asked("/other"), 0);
    }

    #[tokio::test]
    async fn what_breaks_is_told_apart_from_what_cannot_be_reached() {
        let server = TestServer::start().await;
        assert_eq!(ask(&server, Reply::Half, 5000).await.unwrap_err(), HttpFault::Broken);
        let nobody = nobody();
        assert_eq!(send(&client(), "GET", nobody, 5000, 1000).await.unwrap_err(), HttpFault::Connect);
    }

    #[tokio::test]
    async fn a_request_is_never_repeated_not_even_on_a_connection_that_was_used_before() {
        let server = TestServer::start().await;
        let client = client();
        let url = format!("{}/x", server.url);
        server.answer("/x", Reply::json("{}"));
        send(&client, "POST", url.clone(), 5000, 1000).await.unwrap();
        server.answer("/x", Reply::Close);
        let fault = send(&client, "POST", url, 5000, 1000).await.unwrap_err();
        assert_eq!(fault, HttpFault::Broken);
        assert_eq!(server.asked("/x"), 2);
    }

    #[test]
    fn a_ca_that_holds_no_certificate_is_an_error_that_names_its_issuer() {
        for bad in ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let called = Called::from(&called(Some(bad.as_bytes().to_vec())));
            let error = IssuerClients::new([Called { issuer: IssuerName::new("corp"), ..called }]);
            let text = error.unwrap_err().to_string();
            assert!(text.starts_with("issuers.corp.ca: "), "{text}");
        }
    }

    /// A TLS server that only its own authority vouches for, as `localhost`; answers 204.
    async fn tls_server() -> u16 {
        use rustls_pki_types::PrivateKeyDer;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let chain = CertificateDer::pem_slice_iter(include_bytes!("../../tests/data/tls/localhost.pem"));
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../tests/data/tls/localhost.key"));
        crate::io::install_crypto_providers();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key.unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        });
        port
    }

    #[tokio::test]
    async fn a_server_is_trusted_by_the_issuers_ca_and_by_its_name_or_not_at_all() {
        let port = tls_server().await;
        let ca = include_bytes!("../../tests/data/tls/ca.pem").to_vec();
        let trusting = trusting(Some(ca));
        let ask = async |client: &Calling, host: &str| {
            send(client, "GET", format!("https://{host}:{port}/"), 5000, 1000)
                .await
                .map(|a| a.status().as_u16())
        };
        assert_eq!(ask(&trusting, "localhost").await, Ok(204));
        assert_eq!(ask(&trusting, "127.0.0.1").await, Err(HttpFault::Certificate));
        assert_eq!(ask(&client(), "localhost").await, Err(HttpFault::Certificate));
    }

    #[tokio::test]
    async fn no_address_no_connection_and_no_tls_are_told_apart() {
        use tokio::io::AsyncWriteExt as _;

        let says = async |text: &'static [u8]| {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("https://{}/", listener.local_addr().unwrap());
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.write_all(text).await;
                }
            });
            url
        };
        // Longer than a label may be (RFC 1035 section 2.3.4), so that nobody has to be asked.
        let no_name = format!("http://{}.invalid/", "x".repeat(64));
        for (url, fault) in [
            (no_name, HttpFault::Dns),
            (nobody(), HttpFault::Connect),
            (says(b"HTTP/1.1 400 x\r\n\r\n").await, HttpFault::Tls),
            (says(b"").await, HttpFault::Tls),
        ] {
            let told = send(&client(), "GET", url.clone(), 30_000, 1000).await.unwrap_err();
            assert_eq!(told, fault, "{url}");
            assert!(told.is_before_the_call(), "{url}");
        }
    }

    /// As where the first nameserver is down: each look-up takes as long as a call may.
    #[tokio::test]
    async fn an_address_that_comes_too_late_for_one_call_serves_the_next() {
        let server = TestServer::start().await;
        server.answer("/x", Reply::json("{}"));
        let url = server.url.replace("127.0.0.1", "as.invalid");
        let finds = Arc::new(Semaphore::new(0));
        let resolver = finds.clone();
        let names = Names::with(move |name| {
            assert_eq!(name, "as.invalid");
            let finds = resolver.clone();
            async move {
                finds.acquire().await.unwrap().forget();
                Ok(Arc::from([([127, 0, 0, 1], 0).into()]))
            }
            .boxed()
        });
        let issuer = called(None);
        let made = ArcSwap::from_pointee(Clients::new([Called::from(&issuer)], names).unwrap());
        let calling = Calling { clients: IssuerClients { made }, issuer };
        let ask = async |millis| send(&calling, "POST", format!("{url}/x"), millis, 1000).await;
        assert_eq!(ask(100).await.unwrap_err(), HttpFault::Deadline);
        finds.add_permits(1);
        assert_eq!(ask(30_000).await.unwrap().status(), 200);
        calling
            .clients
            .set_issuers(&[Arc::new(Issuer { timeout: Duration::from_secs(1), ..called(None) })])
            .unwrap();
        assert_eq!(ask(30_000).await.unwrap().status(), 200, "a reload forgets no name");
    }

    #[tokio::test]
    async fn what_was_begun_is_sent_by_the_trust_and_the_way_that_it_began_with() {
        let port = tls_server().await;
        let ca = include_bytes!("../../tests/data/tls/ca.pem").to_vec();
        let began = trusting(Some(ca));
        let ask = async || {
            let answer = send(&began, "POST", format!("https://localhost:{port}/"), 5000, 1000).await;
            answer.map(|answer| answer.status().as_u16())
        };
        let distrusting = called(None);
        let proxy = Proxy { at: HostPort::of(&nobody().parse().unwrap()).unwrap(), credentials: None };
        let elsewhere = Issuer {
            connection: IssuerConnection { proxy: Some(proxy), connect_to: None },
            ..called(began.issuer.ca.clone())
        };
        for (name_means, now) in [
            ("nobody any more", None),
            ("a server that others vouch for", Some(distrusting)),
            ("one that is reached by a proxy", Some(elsewhere)),
        ] {
            began.clients.set_issuers(&now.map(Arc::new).into_iter().collect::<Vec<_>>()).unwrap();
            assert_eq!(ask().await, Ok(204), "{name_means}");
        }
    }

    #[test]
    fn the_calls_of_one_configuration_share_their_connections() {
        let Calling { clients, issuer } = client();
        let of = |issuer: &Issuer| clients.made.load().of(Called::from(issuer)).unwrap();
        assert!(Arc::ptr_eq(&of(&issuer), &of(&issuer)));
    }
}
