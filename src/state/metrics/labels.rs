//! The labels of series whose values are a closed set: what is none of them cannot be written.

/// All of an enum. One that has no place here does not compile.
macro_rules! all {
    ($kind:ident: $($one:ident),*) => {{
        const fn _has_a_place(one: $kind) {
            match one { $($kind::$one => {})* }
        }
        [$($kind::$one),*]
    }};
}
#[cfg(test)]
pub(in crate::state) use all;

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
    pub const ALL: [Self; 10] = all!(
        ExchangeOutcome: Rotated, Coalesced, AnsweredAgain, Recovered, Expired, Revoked, InvalidGrant, ReuseDetected,
        AsUnavailable, Refused
    );

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
    pub const ALL: [Self; 5] = all!(IntrospectionResult: Active, Inactive, Refused, Failed, Overloaded);

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
    /// Its type is not used, or nothing follows from it, or something later is known.
    Ignored,
    /// It was heard before.
    Repeated,
}

impl SignalResult {
    pub const ALL: [Self; 4] = all!(SignalResult: Applied, Acknowledged, Ignored, Repeated);

    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Acknowledged => "acknowledged",
            Self::Ignored => "ignored",
            Self::Repeated => "repeated",
        }
    }
}

/// What came of a request to a server: the label `result` of `upstream_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamResult {
    /// Answered, whatever the status.
    Ok,
    /// No connection could be made, so nothing was sent.
    ConnectFailed,
    Timeout,
    /// There was no answer, or none that can be passed on whole.
    Failed,
    /// The client left, or the request was ended, before there was an answer.
    Abandoned,
}

impl UpstreamResult {
    pub const ALL: [Self; 5] = all!(UpstreamResult: Ok, ConnectFailed, Timeout, Failed, Abandoned);

    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ConnectFailed => "connect_failed",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// For whom a listener is: the label `listener` of `connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    Public,
    Admin,
}

impl ListenerKind {
    pub const ALL: [Self; 2] = all!(ListenerKind: Public, Admin);

    pub const fn label(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// Why a connection of a load balancer is closed that did not say whose it is: the label `reason` of
/// `proxy_headers_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedProxyHeader {
    /// What came is no header of the PROXY protocol, or not a well-formed one for TCP.
    Malformed,
    /// It was closed in the midst of one.
    Incomplete,
    /// None was whole in time.
    Late,
}

impl RefusedProxyHeader {
    pub const ALL: [Self; 3] = all!(RefusedProxyHeader: Malformed, Incomplete, Late);

    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Incomplete => "incomplete",
            Self::Late => "late",
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
    pub const ALL: [Self; 2] = all!(Log: Access, Messages);

    pub const fn label(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Messages => "messages",
        }
    }
}

impl ServerEndpoint {
    pub const ALL: [Self; 6] =
        all!(ServerEndpoint: Metadata, Jwks, PushedAuthorization, Token, Revocation, Introspection);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_each_where_it_has_the_series() {
        let page = include_str!("../../../docs/metrics.md");
        let names_all = |series: &str, labels: &[&str]| {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{series}` |"))).unwrap();
            for label in labels {
                assert!(row.contains(&format!("`{label}`")), "{series} has no {label}: {row}");
            }
        };
        names_all("upstream_requests_total", &UpstreamResult::ALL.map(UpstreamResult::label));
        names_all("connections", &ListenerKind::ALL.map(ListenerKind::label));
        names_all("as_request_duration_seconds", &ServerEndpoint::ALL.map(ServerEndpoint::label));
        names_all("introspections_total", &IntrospectionResult::ALL.map(IntrospectionResult::label));
        names_all("signals_total", &SignalResult::ALL.map(SignalResult::label));
        names_all("proxy_headers_refused_total", &RefusedProxyHeader::ALL.map(RefusedProxyHeader::label));
        names_all("log_lines_lost_total", &Log::ALL.map(Log::label));
        names_all("exchanges_total", &ExchangeOutcome::ALL.map(ExchangeOutcome::label));
    }
}
