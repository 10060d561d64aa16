//! Why a session is over, and what is done about it: whether its cookie is cleared and its refresh tokens are
//! revoked. It is kept in stores: variants may be added, and none removed.

use serde::{Deserialize, Serialize};

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEnd {
    IdleTimeout,
    AbsoluteTimeout,
    /// Sign-out, or a revocation of its family.
    Revoked,
    /// A spent generation was presented again.
    ReuseDetected,
    /// The AS answered `invalid_grant`.
    InvalidGrant,
    /// The browser signed in again. A newer session has taken the place of this one, and of its cookie.
    SignedInAgain,
    /// The same, as somebody else.
    SignedInAsAnother,
}

impl SessionEnd {
    /// Whether the session's refresh tokens are revoked at the AS. An AS may end all tokens of one person and
    /// client together (RFC 7009 section 2.1), those of the newer session too.
    pub const fn revokes_tokens(self) -> bool {
        !matches!(self, Self::SignedInAgain)
    }

    /// Whether the cookie that came along is cleared. After a newer sign-in the browser may have the newer
    /// one by now, under the same name.
    pub const fn clears_cookie(self) -> bool {
        !matches!(self, Self::SignedInAgain | Self::SignedInAsAnother)
    }
}
