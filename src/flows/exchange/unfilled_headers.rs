//! Whether the first ID token of a client fills the identity headers that are to be filled from it.
//!
//! OpenID Connect Core 1.0 section 5.4: with an access token issued, a provider may answer for the scopes
//! `profile`, `email` and the like at its UserInfo endpoint alone. An absent claim leaves its header out,
//! which no upstream tells from a person without one; so operators are told once a client. Those of which the
//! ID token says that they stand elsewhere are told of with those of access tokens.

use std::collections::BTreeSet;

use crate::config::settings::{Client, IdentityFrom, Settings};
use crate::core::identity_headers::fills;
use crate::core::secret::SecretString;
use crate::core::session::oauth::answer::claims_from_token_endpoint;
use crate::core::token::claims::Claims;
use crate::flows::Gate;
use crate::flows::claims_elsewhere::warn_of_claims_elsewhere;
use crate::state::live::Live;

/// Says which headers will be missing, of the first sign-in of each client in this process.
pub(super) fn warn_of_unfilled(gate: &Gate, live: &Live, client: &Client, id_token: Option<&SecretString>) {
    let settings = &live.settings;
    let is_told_by_it = client.session.as_ref().is_some_and(|mode| mode.identity == IdentityFrom::IdToken);
    let Some(claims) = id_token.filter(|_| is_told_by_it).and_then(claims_from_token_endpoint) else {
        return;
    };
    let claims = Claims::from(&claims);
    if let Some(issuer) = live.issuers.by_name(&client.issuer) {
        warn_of_claims_elsewhere(issuer, claims, filled_for(settings, client).map(|(_, claim)| claim));
    }
    if !gate.exchanges.claim_first_id_token(&client.name) {
        return;
    }
    // These two are the access token's (`Caller::of_session`).
    let is_of_id_token = |name: &str| !matches!(name, "client_id" | "scope");
    let unfilled: BTreeSet<String> = filled_for(settings, client)
        .filter(|(_, name)| is_of_id_token(name) && !fills(claims, name) && !claims.has_elsewhere(name))
        .map(|(header, name)| format!("{header} ({name})"))
        .collect();
    if unfilled.is_empty() {
        return;
    }
    tracing::warn!(
        client = %client.name,
        issuer = %client.issuer,
        headers = unfilled.into_iter().collect::<Vec<_>>().join(", "),
        "the first ID token of this client has no claim for these identity headers, or none that a header can say (null, an empty list or object), so upstreams do not get them: ask for the \
         scope that brings it (profile, email, groups), let the AS put it into the ID token and not into UserInfo alone \
         (docs/deployment.md says where), or set clients.{}.identity: access_token where it is in access tokens",
        client.name,
    );
}

/// Header and claim, of each route that takes its session.
fn filled_for<'s>(settings: &'s Settings, client: &Client) -> impl Iterator<Item = (&'s str, &'s str)> {
    let takes_it = |taken: &crate::core::route::TakesSession| taken.client == client.name;
    let routes = settings.routes.iter().filter(move |route| route.session.as_ref().is_some_and(takes_it));
    let lists = routes.map(|route| route.forwarding.identity.headers.of(&settings.identity.headers));
    lists.flatten().map(|(header, name)| (header.as_str(), name.as_str()))
}
