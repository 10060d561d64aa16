//! Why a gateway does not start, with what would be right.

use std::io;
use std::net::SocketAddr;

use crate::edge::upstreams::authorities::Unreadable;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{key} {address} is in use; stop what listens there, or choose another address for `{key}`")]
    InUse { key: &'static str, address: SocketAddr },
    #[error("{key} {address} cannot be listened on: {source}")]
    Address { key: &'static str, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Certificates(#[from] Unreadable),
    #[error("listen {address}: the certificates cannot be used: {why}")]
    Tls { address: SocketAddr, why: String },
    #[error("{0}")]
    Upstream(String),
}
