//! Why a Security Event Token (SET) is refused, in the words in which its transmitter is told (RFC 8935
//! section 2.4).

use super::Denial;

/// Why a SET is not taken, by the codes of RFC 8935 section 2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It cannot be read as a SET, or an event in it not as what it says it is.
    InvalidRequest,
    /// No key of the transmitter made it, or one that was revoked.
    InvalidKey,
    InvalidIssuer,
    InvalidAudience,
    /// Its sender is not the transmitter.
    AuthenticationFailed,
    /// Its transmitter may not say this.
    AccessDenied,
}

impl Code {
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidKey => "invalid_key",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AccessDenied => "access_denied",
        }
    }
}

/// What is wrong with a SET, in words that may be told to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct RefusedEvent {
    pub code: Code,
    pub why: &'static str,
}

impl RefusedEvent {
    pub const fn new(code: Code, why: &'static str) -> Self {
        Self { code, why }
    }

    pub(in crate::core) const fn invalid(why: &'static str) -> Self {
        Self::new(Code::InvalidRequest, why)
    }
}

impl From<Denial> for RefusedEvent {
    fn from(denial: Denial) -> Self {
        let (code, why) = match denial {
            Denial::TokenTooLarge => (Code::InvalidRequest, "The token exceeds limits.token."),
            Denial::UnknownIssuer => {
                (Code::InvalidIssuer, "The token's iss is none of the configured transmitters.")
            }
            Denial::WrongAudience => (Code::InvalidAudience, "The token has no aud."),
            Denial::UnknownKey => (Code::InvalidKey, denial.facts().detail),
            Denial::BadSignature => (Code::AuthenticationFailed, denial.facts().detail),
            Denial::Revoked => (Code::InvalidKey, "The token's key was revoked here."),
            other => (Code::InvalidRequest, other.facts().detail),
        };
        Self { code, why }
    }
}
