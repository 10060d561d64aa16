//! TLS 1.3 as all systems are asked for it: one certificate (ECDSA, P-256), one cipher suite, one key
//! exchange, so that what differs is the system.
//!
//! Handshakes are counted by a load of our own, since wrk resumes sessions (RFC 8446 section 2.2): then the
//! server signs nothing. It runs as a process of its own, on the cores of the load.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme,
    StreamOwned,
};

use crate::Failure;
use crate::asking::{ANSWER, Answer, PATH, ask, connect};

/// As OpenSSL names it. wrk asks for it first, as OpenSSL does by itself.
pub(crate) const CIPHER_SUITE: &str = "TLS_AES_256_GCM_SHA384";

/// Writes `tls.pem`, a certificate and its key; gives what trusts it and nothing else.
pub(crate) fn make_certificate(folder: &Path) -> Result<Client, Failure> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    std::fs::write(folder.join("tls.pem"), certificate.pem() + &key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    Client::new(verifier)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    })
}

/// Speaks TLS 1.3 and nothing else, and shakes hands in full each time.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<ClientConfig>);

impl Client {
    fn new(verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, Failure> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// The handshake is part of what is asked next.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, Failure> {
        let session = ClientConnection::new(self.0.clone(), ServerName::try_from("localhost")?)?;
        Ok(StreamOwned::new(session, connect(address)?))
    }
}

/// The load of full handshakes: a connection for each request, so many at a time. Says how many were sent,
/// refused and broken, as load.lua does.
///
/// # Errors
/// When the arguments are not `ADDRESS TOKENS SECONDS CONNECTIONS`.
pub(crate) fn send_handshakes(arguments: &[String]) -> Result<(), Failure> {
    let [address, tokens, seconds, connections] = arguments else {
        return Err("handshakes ADDRESS TOKENS SECONDS CONNECTIONS".into());
    };
    let address: SocketAddr = address.parse()?;
    let token = std::fs::read_to_string(tokens)?.lines().next().ok_or("no tokens")?.to_owned();
    let connections: usize = connections.parse()?;
    let client = Client::new(Arc::new(Credulous))?;
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let [sent, refused, broken] = [const { AtomicU64::new(0) }; 3];
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                while Instant::now() < end {
                    match handshake_and_ask(&client, address, &token) {
                        Ok(Answer { status: 200, body }) if body == ANSWER => &sent,
                        Ok(_) => &refused,
                        Err(_) => &broken,
                    }
                    .fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let [sent, refused, broken] = [sent, refused, broken].map(AtomicU64::into_inner);
    println!("sent {sent} refused {refused} broken {broken}");
    Ok(())
}

fn handshake_and_ask(client: &Client, address: SocketAddr, token: &str) -> Result<Answer, Failure> {
    let mut stream = client.connect(address)?;
    let answer = ask(&mut stream, PATH, Some(token))?;
    match stream.conn.handshake_kind() {
        Some(HandshakeKind::Full) => Ok(answer),
        other => Err(format!("not a full handshake: {other:?}").into()),
    }
}

/// Trusts every certificate: to verify the server's two signatures costs more than the server takes to make
/// one, and the load must cost less than what is measured. Before that, a client that does verify was
/// answered.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
