//! Who brings this access token: whether it was found good before, else its form, its issuer, the keys and
//! the judgement; and each time, whether it was taken back, and whether whoever brings it may use it
//! (`prove_possession`). Reads memory only, except that a key nobody knows is asked for once, in one flight,
//! with a deadline. Opaque tokens are for `introspect`.
//!
//! A token that is remembered is judged as the whole judgement would judge it: what can change with time,
//! keys or configuration is compared, and where it did change the whole judgement follows.

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

/// Authenticates an access token: recalled where it is known, else judged in full; then asked about in the
/// list of revocations; then its caller proves possession, where it is bound to a key.
///
/// # Errors
/// What is wrong with it (401); `TooManyDenials` (429) before work for who had too many; `KeysUnavailable`,
/// `KeyNotKnownYet` (of one that its issuer has just given) or `IntrospectionUnavailable` (503) while its
/// issuer cannot be asked, `RevocationsUnavailable` while it is not known what was taken back; or whatever
/// prevents this caller from using it.
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

/// Recalls or judges the token, and asks the list of revocations. Possession is not proven yet.
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
    // Remembered even when it was taken back: otherwise each request with it would be verified again, and
    // that counts against no address.
    gate.verified_tokens.remember(found.clone());
    gate.revocations.admit_token(&found.notes.marks, found.token().issued_at(), now)?;
    brake::remember(gate, live, fingerprint);
    Ok(found)
}

/// The token as it was judged before, where all of that still holds.
///
/// # Errors
/// `KeysUnavailable`: its issuer's keys are too old, and the whole judgement would wait once more for the
/// same.
async fn recall(
    gate: &Gate,
    live: &Live,
    token: &Fingerprint,
    now: Timestamp,
) -> Result<Option<Arc<KnownCaller>>, Denial> {
    let found = gate.verified_tokens.get(token, &live.issuers, now).filter(|found| found.notes.was_signed());
    let Some(found) = found else { return Ok(None) };
    if !found.notes.issuer.is_fresh(now) {
        // Keys that are too old are no grounds any more.
        keys_for(Means::of(gate), &found.notes.issuer, now, |_| true).await?;
    }
    Ok(found.notes.has_its_keys().then_some(found))
}

/// Makes of a judged token what later requests with it are let in by.
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

/// A good JWT, and the keys that its signature was verified with.
#[derive(Debug)]
pub(crate) struct JudgedJwt {
    pub(crate) token: VerifiedToken,
    issuer: Arc<IssuerState>,
    keys: Arc<KeySet>,
}

/// What to do with a token whose `kid` is unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnUnknownKey {
    /// It comes again when its issuer may be asked for another.
    Refuse,
    /// Its issuer says it once: to refuse it is to throw it away.
    AskIssuerFirst,
}

/// Verifies a JWT by its issuer's rules and keys. `limit`: the longest, in bytes.
///
/// # Errors
/// The first check that does not hold.
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
