//! Every reason for which Tollgate refuses, and what each looks like from outside: one closed enum,
//! one table. A refusal that is not in here cannot be sent.
//!
//! Sources: RFC 9110 (status), RFC 6750 section 3.1 (bearer errors), RFC 9470 (step-up),
//! RFC 6749 section 5.2 (token endpoint errors), RFC 9449 sections 5 and 7.1 (DPoP), RFC 6585 (429, 431).
//!
//! How a refusal is written (problem+json, OAuth JSON) is decided in `edge::answers::respond`; what it says
//! is decided here. `detail` never repeats what the caller sent.

mod facts;
mod rows;
pub mod security_event;

use std::time::Duration;

use http::Method;

pub use self::facts::{PROOF_FORGED, PROOF_OF_ANOTHER_KEY, PROOF_OUT_OF_TIME};
pub use self::rows::{Facts, LogLevel};
use self::security_event::RefusedEvent;
use crate::core::server_error::ServerError;
pub use crate::core::session_end::SessionEnd;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    // The request itself.
    /// The target has more than one reading; the text says which part.
    AmbiguousTarget(&'static str),
    /// The request cannot be read in one way; the text says why.
    BadRequest(&'static str),
    UnknownHost,
    NoRoute,
    MethodNotAllowed {
        allow: Vec<Method>,
    },
    HeaderTooLarge,
    TokenTooLarge,
    /// Larger than may be here; the text says by which bound.
    BodyTooLarge(&'static str),
    /// The body did not arrive in time.
    BodyTooSlow,

    // The credential.
    NoCredential,
    /// `Authorization` by a scheme that is neither `Bearer` nor `DPoP`, and so no access token.
    SchemeNotTaken,
    /// Two `Authorization` headers, or two cookies of one name of ours.
    SeveralCredentials,
    /// `access_token` in the query (RFC 9700 section 4.3.2).
    TokenInQuery,
    /// Not a JWS in compact form with a readable header and claims, those that are required among them; the
    /// text says which part.
    TokenMalformed(&'static str),
    /// `iss` is none of the configured issuers, or absent.
    UnknownIssuer,
    AlgorithmNotAllowed,
    /// `crit`, `b64`, `zip` or an encrypted token.
    UnsupportedHeader,
    WrongTokenType,
    UnknownKey,
    BadSignature,
    WrongAudience,
    TokenExpired,
    TokenNotYetValid,
    /// Lives longer than `max_token_lifetime`.
    TokenLivesTooLong,
    /// A token bound to a key (`cnf`, RFC 7800) whose proof Tollgate cannot check.
    BindingNotSupported,
    /// A token that is bound to a key came as if it was anybody's (RFC 9449 section 7.1).
    BoundTokenAsBearer,
    /// A token that is bound to no key came with the scheme `DPoP`.
    TokenNotBound,
    /// A token of anybody's, where only those are taken that are bound to a key.
    BearerNotAllowed,
    /// A token came with the scheme `DPoP` and without a proof.
    ProofMissing,
    /// What came as a proof (RFC 9449 section 4.3) is none, or not of this request; the text says what would
    /// be right.
    ProofInvalid(&'static str),
    /// The proof was made too long ago, or in the future.
    ProofOutOfTime,
    /// The proof was made with another key than the token is bound to.
    ProofOfAnotherKey,
    /// The proof was used before.
    ProofReplayed,
    IssuerNotAccepted,
    ClientNotAccepted,
    Revoked,
    /// Its issuer was asked about an opaque token and says that it is not active (RFC 7662 section 2.2).
    TokenInactive {
        /// It was found good here before, so it has ended; else it may never have been one.
        was_good: bool,
    },

    /// No session came along, or one that is over; sessions are taken here.
    NotSignedIn {
        ended: Option<SessionEnd>,
    },
    /// A session cookie came with a request that is not known to be of one of the client's pages.
    CrossSiteRequest,
    /// A window goes somewhere with a session, where the route does not say that it is a page (`sign_in`).
    WindowWithoutSignIn,
    /// A person opens a page with a session, or signs in for one, and the browser does not say so (Fetch
    /// Metadata).
    PageLoadNotShown,

    /// The client's address is in none of the networks that the route lets in.
    AddressNotAllowed,

    // What the credential allows.
    InsufficientScope {
        needed: Vec<String>,
    },
    ClaimMismatch {
        claim: String,
    },
    /// The token does not have the claim, and says that it stands elsewhere.
    ClaimElsewhere {
        claim: String,
    },
    /// Sign-in too weak or too long ago (RFC 9470).
    StepUp {
        acr_values: Vec<String>,
        max_age: Option<Duration>,
    },

    // `/oauth/*`.
    OriginNotAllowed,
    /// RFC 6749 section 5.2 `invalid_request`; the text says what would be right.
    InvalidRequest(&'static str),
    UnknownClient,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidScope,
    /// RFC 9449 section 5 `invalid_dpop_proof`, of a request for a token; the text says what would be right.
    InvalidDpopProof(&'static str),
    /// The same, and whoever has the proof's key did not make it.
    DpopProofForged,
    /// The same, and it came before.
    DpopProofReplayed,
    /// A sign-in begins and ends with a browser that goes there.
    NotANavigation,
    /// The browser comes back from the AS to a sign-in that is over, or was never its own.
    SignInNotUnderWay,
    /// The AS did not sign the person in; in its words.
    SignInRefused(Box<ServerError>),
    /// The AS signed the person in, but not as freshly or strongly as was asked.
    StepUpNotDone,
    /// The AS signed the person in, and what it gave is revoked here: they are suspended, or it was made
    /// before that.
    SignInRevoked,
    /// The AS gave no refresh token, so that there is no session: a fault of set-up.
    NoRefreshToken,
    /// No session: the cookie is absent or does not open. It is not cleared.
    NoSession,
    /// The session ended (timeouts, sign-out, theft, the AS said so). The cookie is cleared.
    SessionEnded(SessionEnd),
    /// What came as a logout token (OpenID Connect Back-Channel Logout) is none that is taken here; the text
    /// says why.
    LogoutTokenRefused(&'static str),
    /// The same, and its issuer did not make it.
    LogoutTokenForged(&'static str),
    /// A logout token that was good before: it has expired, or was used.
    LogoutTokenOver(&'static str),
    /// What came as a Security Event Token is none that is taken here; RFC 8935 section 2.4 has the code.
    SecurityEventRefused(RefusedEvent),
    /// Any other OAuth error of the AS, passed on as it came (already checked to be printable).
    FromAuthorizationServer(Box<ServerError>),
    /// The AS does not take the proof of possession that came with a code or of a native client, or wants its
    /// nonce in it; in its words. Whoever sent it has shown nothing yet.
    ProofRefusedThere(Box<ServerError>),
    /// The AS did not take the credentials that the caller brought for its client.
    ClientCredentialRefused {
        said: Box<ServerError>,
        /// They came as `Authorization: Basic`, so a challenge goes back (RFC 6749 section 5.2).
        by_basic: bool,
    },
    /// The AS's answer does not fit the grant (other `sub`, `iss` or client).
    AnswerMismatch,
    /// The AS gave an access token that the gateway itself would refuse: a fault of set-up.
    AccessTokenUnusable,
    /// The AS's tokens make a session that fits no cookie.
    SessionTooLarge,

    // What we depend on.
    KeysUnavailable,
    /// Its key is none of those at hand, and those were asked for before it came: nobody can tell until they
    /// are asked for again. Of what another server says once, and sends again after a 503 alone.
    KeyNotKnownYet {
        retry_after: Duration,
    },
    /// The issuer of an opaque token cannot be asked about it.
    IntrospectionUnavailable,
    AuthorizationServerUnavailable,
    /// It says when it wants to be asked again.
    AuthorizationServerBusy {
        retry_after: Duration,
    },
    /// What must outlive a request cannot be read or written.
    StoreUnavailable,
    /// What was taken back is not known, or no longer known to be all.
    RevocationsUnavailable,
    UpstreamUnavailable,
    UpstreamTimeout,
    /// One address asks too often.
    TooManyRequests {
        retry_after: Duration,
    },
    /// One address has its share of the requests that can be under way.
    TooManyAtOnce,
    /// One address was denied too often, and this would be work.
    TooManyDenials {
        retry_after: Duration,
        /// Its denials were only reported, and so is this.
        only_reported: bool,
    },
    /// One session cookie was exchanged so often, each time for another answer, that its successor is to be
    /// presented first.
    TooManyExchanges,
    /// More requests are under way than there is room for.
    Overloaded,
    /// So many proofs of possession were used lately that nobody could tell whether another was.
    NoRoomForProofs,
    /// Tollgate itself failed; nothing about it leaves the process but the request id.
    Internal,
}

impl Denial {
    /// What the AS said of a request of somebody who has shown nothing yet. It may look at the proof before
    /// it looks at what is to be exchanged.
    pub fn of_unproven(said: Box<ServerError>) -> Self {
        match said.error.as_str() {
            "invalid_dpop_proof" | "use_dpop_nonce" => Self::ProofRefusedThere(said),
            _ => Self::FromAuthorizationServer(said),
        }
    }

    /// After how long it is worth trying again (`Retry-After`, RFC 9110 section 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable
            | Self::IntrospectionUnavailable
            | Self::AuthorizationServerUnavailable
            | Self::StoreUnavailable
            | Self::RevocationsUnavailable
            | Self::TooManyExchanges
            | Self::TooManyAtOnce
            | Self::Overloaded
            | Self::NoRoomForProofs => Some(Duration::from_secs(2)),
            Self::TooManyRequests { retry_after }
            | Self::TooManyDenials { retry_after, .. }
            | Self::KeyNotKnownYet { retry_after }
            | Self::AuthorizationServerBusy { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the cookie that came along must be cleared with the refusal. Only a session that is
    /// over for certain, and as its end says: an outage, or a cookie that does not open, never clears one.
    pub fn clears_cookie(&self) -> bool {
        matches!(self, Self::SessionEnded(end) if end.clears_cookie())
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn only_an_ended_session_clears_its_cookie() {
        assert!(Denial::SessionEnded(SessionEnd::InvalidGrant).clears_cookie());
        for kept in [
            Denial::NoSession,
            Denial::SessionEnded(SessionEnd::SignedInAgain),
            Denial::SessionEnded(SessionEnd::SignedInAsAnother),
            Denial::AuthorizationServerUnavailable,
            Denial::StoreUnavailable,
            Denial::OriginNotAllowed,
            Denial::Internal,
        ] {
            assert!(!kept.clears_cookie(), "{kept:?}");
        }
    }

    #[test]
    fn what_is_unavailable_says_when_to_come_back() {
        for denial in [
            Denial::KeysUnavailable,
            Denial::KeyNotKnownYet { retry_after: Duration::from_secs(9) },
            Denial::IntrospectionUnavailable,
            Denial::AuthorizationServerUnavailable,
            Denial::StoreUnavailable,
        ] {
            assert_eq!(denial.facts().status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(denial.retry_after().is_some());
        }
    }
}
