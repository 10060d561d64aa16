//! The labels of series whose values are a closed set: what is none of them cannot be written.

/// How an exchange ended: the label `outcome` of `exchanges_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExchangeOutcome {
    Rotated,
    Coalesced,
    AnsweredAgain,
    /// Exchanged with the successor's grant: the answer before was lost.
    Recovered,
    Expired,
    Revoked,
    InvalidGrant,
    ReuseDetected,
    AsUnavailable,
    Refused,
}

impl ExchangeOutcome {
    pub const ALL: [Self; 10] = [
        Self::Rotated,
        Self::Coalesced,
        Self::AnsweredAgain,
        Self::Recovered,
        Self::Expired,
        Self::Revoked,
        Self::InvalidGrant,
        Self::ReuseDetected,
        Self::AsUnavailable,
        Self::Refused,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Coalesced => "coalesced",
            Self::AnsweredAgain => "answered_again",
            Self::Recovered => "recovered",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::InvalidGrant => "invalid_grant",
            Self::ReuseDetected => "reuse_detected",
            Self::AsUnavailable => "as_unavailable",
            Self::Refused => "refused",
        }
    }
}

/// Which endpoint of an AS was called: the label `endpoint` of `as_request_duration_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerEndpoint {
    Metadata,
    Jwks,
    PushedAuthorization,
    Token,
    Revocation,
    Introspection,
}

/// What came of asking an issuer about an opaque token: the label `result` of `introspections_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntrospectionResult {
    /// A good token.
    Active,
    Inactive,
    /// Active, and not for here: another audience, no access token, expired.
    Refused,
    /// There was no answer.
    Failed,
    /// It was not asked: too many calls were under way.
    Overloaded,
}

impl IntrospectionResult {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Overloaded => "overloaded",
        }
    }
}

/// What came of an event that a transmitter told of: the label `result` of `signals_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalResult {
    /// Something was taken back, or given again.
    Applied,
    /// About the stream itself.
    Acknowledged,
    /// Of a type that is not used, or nothing follows from it, or something later is known.
    Ignored,
    /// It was heard before.
    Repeated,
}

impl SignalResult {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Acknowledged => "acknowledged",
            Self::Ignored => "ignored",
            Self::Repeated => "repeated",
        }
    }
}

/// What is written of requests and of what we do: the label `log` of `log_lines_lost_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Log {
    /// To standard output.
    Access,
    /// Our own, to standard error.
    Messages,
}

impl Log {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Messages => "messages",
        }
    }
}

impl ServerEndpoint {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Jwks => "jwks",
            Self::PushedAuthorization => "pushed_authorization",
            Self::Token => "token",
            Self::Revocation => "revocation",
            Self::Introspection => "introspection",
        }
    }
}
