//! Authenticates an access token: recalls it if it was verified before, or else checks its form, its issuer,
//! its keys and its claims. Then, each time, it checks the revocations and the proof of possession
//! (`prove_possession`). Reads memory only, except that an unknown key is asked for once, in one flight, with
//! a deadline. Opaque tokens are left to `introspect`.
//!
//! A recalled token is judged no differently from a new one: whatever can change with time, keys or
//! configuration is compared, and if any of it did, the token is judged again in full.

use std::sync::Arc;
use std::time::Instant;

use crate::core::denial::Denial;
use crate::core::revocation::TokenIdentity;
use crate::core::time::Timestamp;
use crate::core::token::bearer::Spelled;
use crate::core::token::check::{Check, Failed};
use crate::core::token::fingerprint::Fingerprint;
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::Unverified;
use crate::core::token::verified::VerifiedToken;
use crate::flows::brought::Brought;
use crate::flows::claims_elsewhere::{read_of_access_tokens, warn_of_claims_elsewhere};
use crate::flows::introspect;
use crate::flows::keep_keys_fresh::{Means, keys_for, keys_for_one_time_message};
use crate::flows::prove_possession::prove_possession;
use crate::flows::{Gate, brake};
use crate::state::issuer_keys::{IssuerState, Issuers};
use crate::state::live::Live;
use crate::state::verified_tokens::{Grounds, KnownCaller, TokenNotes};

/// Authenticates an access token: recalled or verified, looked up in the list of revocations, and, if it is
/// bound to a key, used with a proof of it.
///
/// # Errors
/// What is wrong with the token (401); `TooManyDenials` (429) before work for an address with too many
/// denials; `KeysUnavailable`, `IntrospectionUnavailable`, or (for a token fresh from its issuer)
/// `KeyNotKnownYet` (503) while the issuer cannot be asked; `RevocationsUnavailable` (503) while the list of
/// revocations is out of date; or why this caller may not use it.
pub async fn authenticate(
    gate: &Gate,
    live: &Live,
    token: impl Into<Spelled<'_>>,
    brought: Brought<'_>,
    now: Timestamp,
) -> Result<Arc<KnownCaller>, Denial> {
    let token = token.into();
    let found = find(gate, live, token, brought, now).await?;
    prove_possession(gate, live, &found, token.bytes(), brought.by())?;
    Ok(found)
}

/// Recalls or verifies the token, and looks it up in the list of revocations. Does not ask for possession.
async fn find(
    gate: &Gate,
    live: &Live,
    token: Spelled<'_>,
    brought: Brought<'_>,
    now: Timestamp,
) -> Result<Arc<KnownCaller>, Denial> {
    let began = Instant::now();
    if token.bytes().len() > live.settings.limits.token {
        return Err(Denial::TokenTooLarge);
    }
    let fingerprint = gate.fingerprint_key.of(token.bytes());
    if let Some(issuer) = introspect::whom_to_ask(live, token, brought) {
        return introspect::introspect(gate, live, issuer, token.text()?, fingerprint, brought).await;
    }
    if let Some(found) = recall(gate, live, &fingerprint, now).await? {
        let admitted = gate.revocations.admit_token(&found.notes.marks, found.token().issued_at(), now);
        found.notes.uses.inc();
        gate.metrics.token_recalled(began.elapsed());
        return admitted.map(|()| found);
    }
    let token = token.text()?;
    if let Brought::ByRequest { from, tally, .. } = brought {
        brake::before_token(gate, live, fingerprint, from, tally, now)?;
    }
    let (means, limit) = (Means::of(gate), live.settings.limits.token);
    let on_unknown_key = match brought {
        Brought::ByRequest { .. } => OnUnknownKey::Refuse,
        Brought::ByIssuer(..) => OnUnknownKey::AskIssuerFirst,
    };
    let judged = verify_jwt(means, &live.issuers, limit, token, on_unknown_key, now).await?;
    let found = remembered(gate, live, judged, fingerprint, token);
    // Remembered even if it was revoked: otherwise every request with it would be verified anew, which counts
    // against no address.
    gate.verified_tokens.remember(found.clone());
    gate.revocations.admit_token(&found.notes.marks, found.token().issued_at(), now)?;
    brake::remember(gate, live, fingerprint);
    Ok(found)
}

/// The token as it was verified before, if all of that still holds.
///
/// # Errors
/// `KeysUnavailable`: its issuer's keys are too old, and verifying it anew would wait for the same keys.
async fn recall(
    gate: &Gate,
    live: &Live,
    token: &Fingerprint,
    now: Timestamp,
) -> Result<Option<Arc<KnownCaller>>, Denial> {
    let found = gate.verified_tokens.get(token, &live.issuers, now).filter(|found| found.notes.was_signed());
    let Some(found) = found else { return Ok(None) };
    if !found.notes.issuer.is_fresh(now) {
        // Keys that are too old prove nothing any more.
        keys_for(Means::of(gate), &found.notes.issuer, now, |_| true).await?;
    }
    Ok(found.notes.has_its_keys().then_some(found))
}

/// Makes the cache entry that lets later requests with this token in.
fn remembered(
    gate: &Gate,
    live: &Live,
    judged: JudgedJwt,
    fingerprint: Fingerprint,
    text: &str,
) -> Arc<KnownCaller> {
    let JudgedJwt { token, issuer, keys } = judged;
    warn_of_claims_elsewhere(&issuer, token.claims(), read_of_access_tokens(&live.settings, &issuer));
    let facts = TokenIdentity::of(&token, &issuer.settings.rules.iss, text);
    let marks = gate.revocations.marks_by_each_name(&facts, text);
    let uses = gate.metrics.token_recalls(&issuer.settings.name);
    let found = TokenNotes::new(fingerprint, marks, uses, issuer, Grounds::Keys(Arc::downgrade(&keys)));
    found.of(token, &live.settings.identity.headers, live.settings.read_claims())
}

/// A valid JWT, and the keys that verified it.
#[derive(Debug)]
pub(crate) struct JudgedJwt {
    pub(crate) token: VerifiedToken,
    issuer: Arc<IssuerState>,
    keys: Arc<KeySet>,
}

/// What to do with a token whose `kid` is unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnUnknownKey {
    /// Refuse it: the client may send it again once the issuer may be asked for another key.
    Refuse,
    /// Ask the issuer first: the token comes only once, so a refusal would lose it.
    AskIssuerFirst,
}

/// Verifies a JWT by its issuer's rules and keys. `limit`: the longest token, in bytes.
///
/// # Errors
/// The first check that fails.
pub(crate) async fn verify_jwt(
    means: Means<'_>,
    issuers: &Issuers,
    limit: usize,
    token: &str,
    on_unknown_key: OnUnknownKey,
    now: Timestamp,
) -> Result<JudgedJwt, Failed> {
    let began = Instant::now();
    let unverified = Unverified::parse(token, limit)?;
    let issuer = issuers.of_access_tokens(unverified.iss());
    let issuer = issuer.ok_or_else(|| Check::Issuer.failed(Denial::UnknownIssuer))?;
    let plausible = unverified.check(&issuer.settings.rules, now)?;
    let keys = match on_unknown_key {
        OnUnknownKey::Refuse => keys_for(means, issuer, now, |keys| plausible.key_is_known(keys)).await,
        OnUnknownKey::AskIssuerFirst => {
            keys_for_one_time_message(means, issuer, now, |keys| plausible.key_is_at_hand(keys)).await
        }
    };
    let keys = keys.map_err(|denial| Check::Key.failed(denial))?;
    let token = plausible.verify(&keys)?;
    means.metrics.token_verified(&issuer.settings.name, began.elapsed());
    Ok(JudgedJwt { token, issuer: issuer.clone(), keys })
}

#[cfg(test)]
mod tests;
