//! Who brings this access token: its form, its issuer, the keys, the judgement, and whether it was taken back. Reads
//! memory only, except that a key nobody knows is asked for once, in one flight, with a deadline.

use std::sync::Arc;
use std::time::Instant;

use crate::core::denial::Denial;
use crate::core::revocation::TokenFacts;
use crate::core::time::Timestamp;
use crate::core::token::check::{Check, Failed};
use crate::core::token::jwt::{Unverified, VerifiedToken};
use crate::flows::keep_keys_fresh::{Means, keys_for};
use crate::flows::{Gate, brake};
use crate::state::issuer_keys::Issuers;
use crate::state::live::Live;

/// Who brings this access token.
///
/// # Errors
/// What is wrong with it (401); `KeysUnavailable` (503) while its issuer's keys cannot be had, `RevocationsUnavailable`
/// while it is not known what was taken back.
pub async fn authenticate(
    gate: &Gate,
    live: &Live,
    token: &str,
    now: Timestamp,
) -> Result<Arc<VerifiedToken>, Denial> {
    let verified = judge(Means::of(gate), &live.issuers, live.settings.limits.token, token, now).await?;
    check_revocations(gate, live, &verified, token, now)?;
    brake::remember(gate, live, token);
    Ok(verified)
}

fn check_revocations(
    gate: &Gate,
    live: &Live,
    token: &VerifiedToken,
    text: &str,
    now: Timestamp,
) -> Result<(), Denial> {
    let issuer = live.issuers.by_name(token.issuer()).ok_or(Denial::UnknownIssuer)?;
    let marks = gate.revocations.marks_of(&TokenFacts::of(token, &issuer.settings.rules.iss, text));
    gate.revocations.admit_token(&marks, token.issued_at(), now)
}

/// `limit`: the longest token, in bytes.
///
/// # Errors
/// The first check that does not hold.
pub(crate) async fn judge(
    means: Means<'_>,
    issuers: &Issuers,
    limit: usize,
    token: &str,
    now: Timestamp,
) -> Result<Arc<VerifiedToken>, Failed> {
    let began = Instant::now();
    let unverified = Unverified::parse(token, limit)?;
    let issuer =
        issuers.by_iss(unverified.iss()).ok_or_else(|| Check::Issuer.failed(Denial::UnknownIssuer))?;
    let plausible = unverified.check(&issuer.settings.rules, now)?;
    let keys = keys_for(means, issuer, now, |keys| plausible.key_is_known(keys)).await;
    let keys = keys.map_err(|denial| Check::Key.failed(denial))?;
    let verified = plausible.verify(&keys)?;
    means.metrics.token_verified(&issuer.settings.name, began.elapsed());
    Ok(Arc::new(verified))
}
