//! A bounded set of fingerprints of tokens. What membership means is for whoever holds one to say: that a
//! token was found good lately and so costs no work, that its session was looked for, that its revocation was
//! sent to the authorization server. Only good tokens are put in, so nobody else can fill it.
//!
//! Being known is no judgement: a known token is judged like any other each time.

use quick_cache::sync::Cache;

use crate::core::token::fingerprint::Fingerprint;

/// The most tokens that are known at once: about 6 MB. Of more, those that come least often are forgotten.
const TOKENS: usize = 64 * 1024;

/// The fingerprints of good tokens.
#[derive(Debug)]
pub struct KnownTokens(Cache<Fingerprint, ()>);

impl Default for KnownTokens {
    fn default() -> Self {
        Self(Cache::new(TOKENS))
    }
}

impl KnownTokens {
    /// This token was found good; whether it was not known before.
    pub fn remember(&self, token: Fingerprint) -> bool {
        let is_new = self.0.get(&token).is_none();
        if is_new {
            self.0.insert(token, ());
        }
        is_new
    }

    pub fn forget(&self, token: Fingerprint) {
        self.0.remove(&token);
    }

    pub fn knows(&self, token: Fingerprint) -> bool {
        self.0.get(&token).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_good_is_known_and_nothing_else_and_memory_is_bounded() {
        let known = KnownTokens::default();
        let [in_use, other, none] = ["in use", "in usf", ""].map(Fingerprint::of);
        for at in 0..2 * TOKENS {
            assert!(known.remember(Fingerprint::of(format!("token {at}"))));
            known.remember(in_use);
        }
        assert!(!known.remember(in_use));
        assert!(known.knows(in_use));
        known.forget(other);
        assert!(known.knows(in_use) && !known.knows(other) && !known.knows(none));
        assert!(known.0.len() <= TOKENS);
    }
}
