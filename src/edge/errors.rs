//! What errors of pingora's come to for the client: the one mapping, whichever side failed. What the refusal
//! then says is decided in `core::denial`.

use pingora::{Error, ErrorSource, ErrorType};

use crate::core::denial::Denial;

/// What an error is to the client; `None` when the client is gone.
pub(in crate::edge) fn denial(error: &Error) -> Option<Denial> {
    match error.esource() {
        ErrorSource::Upstream => Some(denial_of_upstream(error.etype())),
        ErrorSource::Downstream => denial_of_client(error.etype()),
        ErrorSource::Internal | ErrorSource::Unset => Some(Denial::Internal),
    }
}

/// What it is to the client that an upstream failed so.
pub(in crate::edge) const fn denial_of_upstream(failed: &ErrorType) -> Denial {
    use ErrorType::{ConnectTimedout, ReadTimedout, TLSHandshakeTimedout, WriteTimedout};
    match failed {
        ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout => Denial::UpstreamTimeout,
        _ => Denial::UpstreamUnavailable,
    }
}

/// What it is to the client that its own side failed so; `None`: it is gone.
pub(in crate::edge) fn denial_of_client(failed: &ErrorType) -> Option<Denial> {
    match failed {
        ErrorType::ReadTimedout => Some(Denial::BodyTooSlow),
        // Over HTTP/2 it has reset its stream, or its connection is lost.
        ErrorType::H2Error
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ReadError
        | ErrorType::ConnectionClosed => None,
        _ => Some(Denial::BadRequest("The request is not framed as HTTP asks.")),
    }
}
