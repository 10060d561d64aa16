//! stub
use std::time::Duration;

use crate::core::ids::IssuerName;

/// Who may pass a route.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody; a token that comes along is still verified, and refused when bad.
    Public,
    /// Whoever brings a valid token that satisfies the requirements.
    Protected(Requirements),
}

/// What a protected route requires of a verified token; all of it must hold.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// All of these.
    pub scope: Vec<String>,
    /// One of these, when there are any.
    pub any_scope: Vec<String>,
    pub claims: Vec<ClaimRequirement>,
    /// One of these, when there are any (RFC 9470).
    pub acr: Vec<String>,
    /// At most this long since sign-in (RFC 9470 `max_age`).
    pub signed_in_within: Option<Duration>,
    /// Only tokens of these issuers, when set.
    pub issuers: Option<Vec<IssuerName>>,
    /// Only tokens of these clients, when set: issuer and `client_id`.
    pub clients: Option<Vec<(IssuerName, String)>>,
}

/// `claims: { name: value or list }`: equal, or contained when the claim is a list; one of `values`.
#[derive(Clone, Debug)]
pub struct ClaimRequirement {
    /// Looked up literally first, then dots descend.
    pub name: String,
    pub values: Vec<ClaimValue>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClaimValue {
    /// `"{id}"`: what the path has at that parameter.
    PathParameter(String),
    /// A string, number or boolean.
    Literal(serde_json::Value),
}
