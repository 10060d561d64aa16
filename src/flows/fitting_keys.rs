//! Whether an issuer's keys are of any use: a token counts only with an algorithm that is listed here, and
//! neither side tells the other which it takes.

use crate::config::settings::Issuer;
use crate::core::token::jwks::KeySet;

/// Tells operators of an issuer of whom no token can be good.
pub(in crate::flows) fn warn_if_no_key_fits(issuer: &Issuer, keys: &KeySet) {
    if let Some(lack) = no_key_fits(issuer, keys) {
        tracing::warn!(issuer = %issuer.name, "{lack}");
    }
}

/// What is to be said where an issuer has keys, and none for an algorithm that its tokens may have here.
/// Nothing of one that is asked about its tokens, and signs nobody in: its keys may be for nothing here.
pub(in crate::flows) fn no_key_fits(issuer: &Issuer, keys: &KeySet) -> Option<String> {
    let taken = &issuer.rules.algorithms;
    let needs_keys = issuer.introspection.is_none() || issuer.signs_in;
    (needs_keys && !keys.is_empty() && !keys.verifies_any_of(taken)).then(|| {
        let list = |names: Vec<&str>| names.join(", ");
        format!(
            "its keys are for {}, and `issuers.{}.algorithms` takes {} alone: every token that it signs is refused; add what it signs with",
            list(keys.algorithms().into_iter().collect()),
            issuer.name,
            list(taken.iter().map(|algorithm| algorithm.name()).collect()),
        )
    })
}
