//! Tells operators, once an issuer, that its tokens leave out claims that are read here and say that they
//! stand elsewhere (OpenID Connect Core 1.0 section 5.6.2). Whoever such a token is of looks like a person
//! without groups to a route, and to an upstream. It must never look for them, nor change what is judged.

use std::collections::BTreeSet;

use crate::config::settings::Settings;
use crate::core::token::claims::Claims;
use crate::state::issuer_keys::IssuerState;

/// What routes require of access tokens of this issuer, and upstreams are told from them.
pub(super) fn read_of_access_tokens<'s>(
    settings: &'s Settings,
    issuer: &IssuerState,
) -> impl Iterator<Item = &'s str> {
    let routes = settings.routes.iter().filter(|route| route.access.takes_issuer(&issuer.settings.name));
    let required = routes.flat_map(|route| route.access.named_claims());
    required.chain(settings.identity.headers.iter().flatten().map(|(_, claim)| claim.as_str()))
}

/// `claims`: all that a token of this issuer says; `read`: what is read of it.
pub(super) fn warn_of_claims_elsewhere<'s>(
    issuer: &IssuerState,
    claims: Claims<'_>,
    read: impl Iterator<Item = &'s str>,
) {
    if !claims.has_any_elsewhere() {
        return;
    }
    let elsewhere: BTreeSet<&str> = read.filter(|claim| claims.has_elsewhere(claim)).collect();
    if elsewhere.is_empty() || !issuer.claim_word_of_claims_elsewhere() {
        return;
    }
    tracing::warn!(
        issuer = %issuer.settings.name,
        claims = elsewhere.into_iter().collect::<Vec<_>>().join(", "),
        "a token of this issuer does not have these claims and says that they stand elsewhere (_claim_names or hasgroups, as Entra ID does of people in \
         many groups), where the gateway does not look: routes that require them refuse its bearer (claim_elsewhere), and upstreams do not get the headers; \
         let the issuer put fewer into the token, such as the roles of the application, or the groups assigned to it (docs/deployment.md says where)",
    );
}
