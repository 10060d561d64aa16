//! What is looked at in a verified token, by policies and identity headers alike.

use super::claims::Claims;
use super::scope_values::ScopeValues;
use super::verified::VerifiedToken;
use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;

/// What policies and identity headers look at in a verified token. Holding one proves nothing; a
/// [`crate::core::route::permit::Permit`] is made from a [`VerifiedToken`] only.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    pub issuer: &'a IssuerName,
    /// The client, read by the issuer's claim names.
    pub client: Option<&'a str>,
    /// The scope, read by the issuer's claim names.
    pub scope: &'a ScopeValues,
    pub acr: Option<&'a str>,
    /// `auth_time`.
    pub signed_in_at: Option<Timestamp>,
    pub claims: Claims<'a>,
    /// It is bound to a key, which whoever brought it has proven.
    pub is_bound: bool,
}

impl<'a> From<&'a VerifiedToken> for TokenFacts<'a> {
    fn from(token: &'a VerifiedToken) -> Self {
        Self {
            issuer: token.issuer(),
            client: token.client(),
            scope: token.scope(),
            acr: token.acr(),
            signed_in_at: token.signed_in_at(),
            claims: token.claims(),
            is_bound: token.bound_to().is_some(),
        }
    }
}
