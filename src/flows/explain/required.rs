//! What a token has of what a route requires, in words. Decided by `core::route::policy`.

use crate::core::route::policy::Requirements;
use crate::core::time::Timestamp;
use crate::core::token::scope_values::is_one;
use crate::core::token::verified::VerifiedToken;
use crate::flows::explain::token::shown;

/// What is said of a claim that the token does not have.
pub(super) const ELSEWHERE: &str = "the token says that this claim is kept elsewhere (_claim_names or hasgroups), where the gateway does not look";

/// What the token has of the one thing that is required.
pub(super) fn brought(alone: &Requirements, token: &VerifiedToken) -> String {
    let absent = || "none".to_owned();
    let has = if alone.issuers.is_some() {
        token.issuer().to_string()
    } else if alone.clients.is_some() {
        token.client().map_or_else(absent, shown)
    } else if !alone.scope.is_empty() || !alone.any_scope.is_empty() {
        if token.scope().is_empty() { absent() } else { shown(&scope(token)) }
    } else if let Some(required) = alone.claims.first() {
        if token.claims().has_elsewhere(&required.name) {
            return ELSEWHERE.to_owned();
        }
        token.claims().get(&required.name).map_or_else(absent, |value| shown(&value.to_string()))
    } else if alone.acr.is_empty() {
        token.signed_in_at().map_or_else(absent, Timestamp::to_rfc3339)
    } else {
        token.acr().map_or_else(absent, shown)
    };
    format!("the token has {has}")
}

/// The scope values of a token; one that is none between spaces stands in quotes.
fn scope(token: &VerifiedToken) -> String {
    let told = |value: &str| if is_one(value) { value.to_owned() } else { format!("\"{value}\"") };
    token.scope().iter().map(told).collect::<Vec<_>>().join(" ")
}
