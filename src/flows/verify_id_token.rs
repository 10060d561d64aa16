//! Whether an ID token is good for this client: `core::token::id_token` judges it, with keys that are fetched
//! once if nobody knows the one that it names, or the one that signed it. What a key signs that was taken
//! back here is believed no more than any other word of it.

use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::id_token::{Expected, Plausible, VerifiedIdToken};
use crate::core::token::jwt::Unverified;
use crate::core::token::to_client::Wrong;
use crate::flows::Gate;
use crate::flows::heard::check_signer;
use crate::flows::keep_keys_fresh::{Means, keys_for_one_time_message};
use crate::state::issuer_keys::IssuerState;

/// Why an ID token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    #[error("{0}")]
    Wrong(#[from] Wrong),
    #[error("the key that signed it, or its issuer, was revoked here")]
    Revoked,
    /// Nobody can tell now.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
    /// Nobody can tell now.
    #[error("what was revoked is not known")]
    RevocationsUnavailable,
}

/// Judges an ID token of this issuer. `limit`: the longest that is looked at, in bytes.
///
/// # Errors
/// The first thing that is wrong with it, or that nobody can tell: its issuer's keys are not at hand, or the
/// list of what was taken back.
pub async fn verify_id_token(
    gate: &Gate,
    issuer: &IssuerState,
    text: &str,
    limit: usize,
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<VerifiedIdToken, NotBelieved> {
    let unverified = Unverified::parse(text, limit).map_err(Wrong::from)?;
    let plausible = Plausible::check(unverified, &issuer.settings.rules, now)?;
    let keys =
        keys_for_one_time_message(Means::of(gate), issuer, now, |keys| plausible.key_is_at_hand(keys)).await;
    let keys = keys.map_err(|denial| match denial {
        Denial::UnknownKey => NotBelieved::Wrong(denial.into()),
        _ => NotBelieved::KeysUnavailable,
    })?;
    let verified = plausible.verify(&keys, expected)?;
    check_signer(gate, &issuer.settings.rules.iss, verified.kid(), now).map_err(|denial| match denial {
        Denial::Revoked => NotBelieved::Revoked,
        _ => NotBelieved::RevocationsUnavailable,
    })?;
    Ok(verified)
}
