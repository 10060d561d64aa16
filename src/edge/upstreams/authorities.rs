//! The authorities of the system, by which upstreams over TLS are trusted that have no `ca` of their own.
//!
//! pingora's connectors read them only at start, each on its own, hundreds of files each time, and panic if
//! one cannot be read. So connectors read them only where an upstream needs them, after we have read them
//! once ourselves. An upstream that a reload adds, where none needed them before, carries them with each
//! connection.

use std::sync::Arc;

use pingora::tls::{RootCertStore, load_platform_certs_incl_env_into_store};
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls_pki_types::CertificateDer;

use crate::config::settings::{Settings, Upstream};

/// Authorities that go with a connection, and count instead of those that the connector knows.
pub(crate) type PeerAuthorities = Arc<[WrappedX509]>;

/// They cannot be read, and are needed.
#[derive(Debug, thiserror::Error)]
#[error(
    "an upstream is https, and the system's certificates cannot be read; install ca-certificates, or set SSL_CERT_FILE"
)]
pub struct Unreadable;

/// Whether connections to some upstream are trusted by the system's authorities.
pub(crate) fn are_needed(settings: &Settings) -> bool {
    settings.upstreams.iter().any(|upstream| are_needed_by(upstream))
}

fn are_needed_by(upstream: &Upstream) -> bool {
    upstream.tls.authorities.is_empty()
        && upstream.servers.iter().any(|server| server.url.scheme() == "https")
}

/// What to tell connectors to read (`ca_file`); `None`: the system's authorities.
///
/// # Errors
/// Where they are needed and cannot be read.
pub(crate) fn for_connectors(settings: &Settings) -> Result<Option<String>, Unreadable> {
    if !are_needed(settings) {
        return Ok(Some("/dev/null".to_owned()));
    }
    can_be_read().map(|()| None)
}

/// Whether a connector that is made now would read them, and not panic.
///
/// # Errors
/// It would panic.
pub(super) fn can_be_read() -> Result<(), Unreadable> {
    load_platform_certs_incl_env_into_store(&mut RootCertStore::empty()).map_err(|_| Unreadable)
}

/// The system's authorities, for connections of a configuration that needs them while the connectors, made
/// for `started_with`, do not know them.
///
/// # Errors
/// When there is none that can be read.
pub(crate) fn brought(
    settings: &Settings,
    started_with: &Settings,
) -> Result<Option<PeerAuthorities>, Unreadable> {
    if !are_needed(settings) || are_needed(started_with) {
        return Ok(None);
    }
    let certificates = rustls_native_certs::load_native_certs().certs;
    let brought: PeerAuthorities = certificates.iter().filter(|der| is_usable(der)).map(wrapped).collect();
    if brought.is_empty() { Err(Unreadable) } else { Ok(Some(brought)) }
}

/// `certificate`: one that [`parse_x509`] takes; it panics at others.
pub(super) fn wrapped(certificate: &CertificateDer<'_>) -> WrappedX509 {
    WrappedX509::new(certificate.to_vec(), parse_x509)
}

fn is_usable(certificate: &CertificateDer<'_>) -> bool {
    x509_parser::parse_x509_certificate(certificate).is_ok()
        && RootCertStore::empty().add(certificate.clone()).is_ok()
}
