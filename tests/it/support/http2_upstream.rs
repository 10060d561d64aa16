//! An upstream that speaks HTTP/2 in clear text, or HTTP/2 and HTTP/1.1 over TLS. It notes what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, Version};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tls::{Authority, Identity};

/// One request.
#[derive(Clone, Debug)]
pub struct Noted {
    pub connection: usize,
    pub version: Version,
    /// `METHOD target`
    pub line: String,
    pub host: String,
    pub body: Vec<u8>,
    /// Whether a client certificate was shown.
    pub certificate: bool,
    /// The name that was asked for (SNI).
    pub name: Option<String>,
}

/// How it speaks TLS.
pub struct Tls<'a> {
    pub identity: &'a Identity,
    pub protocols: &'a [&'a str],
    /// Who must have signed the client's certificate.
    pub clients: Option<&'a Authority>,
}

pub struct Http2Upstream {
    pub address: SocketAddr,
    noted: Arc<Mutex<Vec<Noted>>>,
    gate: Arc<Semaphore>,
    /// Tells the connections that there are now to end.
    hang_up: tokio::sync::broadcast::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Notes {
    noted: Arc<Mutex<Vec<Noted>>>,
    gate: Arc<Semaphore>,
    connection: usize,
    certificate: bool,
    name: Option<String>,
}

impl Http2Upstream {
    /// HTTP/2 with prior knowledge where `tls` is `None`.
    pub async fn start(tls: Option<Tls<'_>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let noted: Arc<Mutex<Vec<Noted>>> = Arc::default();
        let gate = Arc::new(Semaphore::new(0));
        let hang_up = tokio::sync::broadcast::Sender::new(1);
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(server_config(&tls))));
        let task = tokio::spawn({
            let (noted, gate, hang_up) = (noted.clone(), gate.clone(), hang_up.clone());
            async move {
                let mut connections = JoinSet::new();
                for connection in 0.. {
                    let (socket, _) = listener.accept().await.unwrap();
                    let (noted, gate) = (noted.clone(), gate.clone());
                    let mut notes = Notes { noted, gate, connection, certificate: false, name: None };
                    let acceptor = acceptor.clone();
                    let mut ended = hang_up.subscribe();
                    let serving = async move {
                        let Some(acceptor) = acceptor else { return http2(socket, notes).await };
                        let Ok(stream) = acceptor.accept(socket).await else { return };
                        let (_, session) = stream.get_ref();
                        notes.certificate = session.peer_certificates().is_some();
                        notes.name = session.server_name().map(str::to_owned);
                        if session.alpn_protocol() == Some(b"h2") {
                            http2(stream, notes).await;
                        } else {
                            http1(stream, notes).await;
                        }
                    };
                    connections.spawn(async move {
                        tokio::select! {
                            () = serving => {}
                            _ = ended.recv() => {}
                        }
                    });
                }
            }
        });
        Self { address, noted, gate, hang_up, task }
    }

    pub fn noted(&self) -> Vec<Noted> {
        self.noted.lock().unwrap().clone()
    }

    /// Ends every connection.
    pub fn hang_up(&self) {
        let _ = self.hang_up.send(());
    }

    /// Lets `count` requests to a path with `/hold` be answered.
    pub fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }
}

pub fn server_config(tls: &Tls<'_>) -> ServerConfig {
    let provider = Arc::new(default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match tls.clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(tls.identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(tls.identity.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = tls.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin, notes: Notes) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(answer(request, respond, notes.clone()));
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    notes: Notes,
) -> Result<(), h2::Error> {
    let (head, mut stream) = request.into_parts();
    if head.uri.path() == "/only-http-1" {
        respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED);
        return Ok(());
    }
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        let _ = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let held = target.contains("/hold");
    notes.noted.lock().unwrap().push(Noted {
        connection: notes.connection,
        version: head.version,
        line: format!("{} {target}", head.method),
        host: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
        body,
        certificate: notes.certificate,
        name: notes.name,
    });
    if held {
        notes.gate.acquire().await.unwrap().forget();
    }
    let head = Response::builder().header("content-length", "2").body(()).unwrap();
    respond.send_response(head, false)?.send_data(Bytes::from_static(b"ok"), true)
}

/// Requests without a body.
async fn http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, notes: Notes) {
    let mut buffer = Vec::new();
    while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
        let host = head.lines().find_map(|line| line.strip_prefix("Host: ").or(line.strip_prefix("host: ")));
        notes.noted.lock().unwrap().push(Noted {
            connection: notes.connection,
            version: Version::HTTP_11,
            line: head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned(),
            host: host.unwrap_or_default().to_owned(),
            body: Vec::new(),
            certificate: notes.certificate,
            name: notes.name.clone(),
        });
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}
