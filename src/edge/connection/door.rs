//! What clients meet at a listener before HTTP: nothing, or TLS 1.2 and 1.3 (RFC 5246, RFC 8446) with the
//! certificate of the host that they ask for (SNI, RFC 6066 section 3) and the choice of HTTP/2 (ALPN,
//! RFC 7301).
//!
//! The handshake is ours and not pingora's so that it counts as a connection, has a deadline, and its
//! failures do not fill the log: scanners cause them all day.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as TcpStream;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::config::settings::{Certificate, ClientCertificates, ServerTls, Serves, ShownCertificate};
use crate::edge::connection::life::Life;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How connections come in at one listener.
#[derive(Debug)]
pub(crate) enum Door {
    ClearText,
    RedirectToHttps,
    Tls(ArcSwap<Secured>),
}

/// The TLS configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    config: Arc<ServerConfig>,
    certificates: Vec<Arc<Certificate>>,
    clients: ClientCertificates,
    /// Ends the connections that came in under this configuration.
    life: Arc<Life>,
}

impl Door {
    /// # Errors
    /// What rustls cannot use of the certificates, as text.
    pub(crate) fn new(serves: &Serves) -> Result<Self, String> {
        Ok(match serves {
            Serves::ClearText => Self::ClearText,
            Serves::RedirectToHttps => Self::RedirectToHttps,
            Serves::Tls(tls) => Self::Tls(ArcSwap::from_pointee(Secured {
                config: server_config(tls)?,
                certificates: tls.certificates.clone(),
                clients: tls.clients.clone(),
                life: Arc::default(),
            })),
        })
    }

    /// Whether both are of one kind, so that this one can adopt the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Takes over the certificates of another door, for handshakes from now on. If a client certificate that
    /// was accepted before might not be accepted now, open connections end after their next answer.
    pub(crate) fn adopt(&self, other: Self) {
        if let (Self::Tls(mine), Self::Tls(theirs)) = (self, other) {
            let before = mine.load_full();
            let theirs = theirs.into_inner();
            if theirs.clients.take_all_that(&before.clients) {
                let life = before.life.clone();
                mine.store(Arc::new(Secured { life, ..Secured::clone(&theirs) }));
            } else {
                mine.store(theirs);
                before.life.end();
            }
        }
    }

    /// The certificates that it shows now, with their dates.
    pub(crate) fn certificates(&self) -> Vec<ShownCertificate> {
        let Self::Tls(secured) = self else { return Vec::new() };
        secured.load().certificates.iter().map(|certificate| certificate.shown.clone()).collect()
    }

    /// Lets a connection in: does the TLS handshake, if there is one. Returns what ends the connection when
    /// the TLS configuration changes. `None`: the handshake failed or took too long.
    pub(crate) async fn enter(&self, io: Stream) -> Option<(Stream, Option<Arc<Life>>)> {
        let Self::Tls(secured) = self else { return Some((io, None)) };
        let (config, life) = {
            let secured = secured.load();
            (secured.config.clone(), secured.life.clone())
        };
        let acceptor = Acceptor::from_server_config(config);
        let io = io.into_any().downcast::<TcpStream>().ok()?;
        let secured = tokio::time::timeout(HANDSHAKE, acceptor.tls_handshake(*io)).await.ok()?.ok()?;
        Some((Box::new(secured), Some(life)))
    }
}

fn server_config(tls: &ServerTls) -> Result<Arc<ServerConfig>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?;
    let builder = match &tls.clients {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        ClientCertificates::Asked { roots, required } => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
            let verifier = if *required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| text(&error))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName(tls.certificates.clone())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if matches!(tls.clients, ClientCertificates::NotAsked) {
        config.ticketer = Ticketer::new().map_err(|error| text(&error))?;
    } else {
        // No resumption: a client that resumes shows no certificate, and the one it showed before may have
        // expired since, or its authority may be trusted no more.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(Arc::new(config))
}

/// Chooses the certificate for the name that the client asks for, and the first for any other.
#[derive(Debug)]
struct ByName(Vec<Arc<Certificate>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = |name: &str| self.0.iter().find(|certificate| certificate.covers(name));
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let found = name.as_deref().and_then(named).or_else(|| self.0.first());
        found.map(|certificate| certificate.key.clone())
    }
}
