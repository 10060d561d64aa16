//! Whether an ID token is good for this client: `core::token::id_token` judges it, with keys that are fetched
//! once if nobody knows the one that it names.

use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::id_token::{Expected, Plausible, VerifiedIdToken};
use crate::core::token::jwt::Unverified;
use crate::core::token::to_client::Wrong;
use crate::flows::Gate;
use crate::flows::keep_keys_fresh::{Means, keys_for_one_time_message};
use crate::state::issuer_keys::IssuerState;

/// Why an ID token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    #[error("{0}")]
    Wrong(#[from] Wrong),
    /// Nobody can tell now.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
}

/// Judges an ID token of this issuer. `limit`: the longest that is looked at, in bytes.
///
/// # Errors
/// The first thing that is wrong with it, or that its issuer's keys are not at hand.
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
        keys_for_one_time_message(Means::of(gate), issuer, now, |keys| plausible.key_is_known(keys)).await;
    let keys = keys.map_err(|denial| match denial {
        Denial::UnknownKey => NotBelieved::Wrong(denial.into()),
        _ => NotBelieved::KeysUnavailable,
    })?;
    Ok(plausible.verify(&keys, expected)?)
}
