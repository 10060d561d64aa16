//! What pingora's errors about an upstream mean: whose fault, and what the client hears of it.

use pingora::ErrorType;

use crate::core::denial::Denial;

/// Whether it could not be reached at all.
pub(crate) const fn is_connecting(kind: &ErrorType) -> bool {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout, InvalidCert,
        SocketError, TLSHandshakeFailure, TLSHandshakeTimedout,
    };
    matches!(
        kind,
        ConnectTimedout
            | ConnectRefused
            | ConnectNoRoute
            | ConnectError
            | ConnectProxyFailure
            | SocketError
            | InvalidCert
            | TLSHandshakeFailure
            | TLSHandshakeTimedout
    )
}

/// What the client hears.
pub(crate) const fn upstream_denial(kind: &ErrorType) -> Denial {
    use ErrorType::{ConnectTimedout, ReadTimedout, TLSHandshakeTimedout, WriteTimedout};
    match kind {
        ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout => Denial::UpstreamTimeout,
        _ => Denial::UpstreamUnavailable,
    }
}
