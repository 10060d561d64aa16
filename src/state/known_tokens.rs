//! Which tokens were found good lately, by fingerprint alone and in bounded memory, so that they are told from
//! tokens never seen before anything is done for them. Nobody but whoever has good tokens can fill it.
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
    pub fn remember(&self, token: &str) -> bool {
        let fingerprint = Fingerprint::of(token);
        let is_new = self.0.get(&fingerprint).is_none();
        if is_new {
            self.0.insert(fingerprint, ());
        }
        is_new
    }

    pub fn knows(&self, token: &str) -> bool {
        self.0.get(&Fingerprint::of(token)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_good_is_known_and_nothing_else_and_memory_is_bounded() {
        let known = KnownTokens::default();
        for at in 0..2 * TOKENS {
            assert!(known.remember(&format!("token {at}")));
            known.remember("in use");
        }
        assert!(!known.remember("in use"));
        assert!(known.knows("in use") && !known.knows("in usf") && !known.knows(""));
        assert!(known.0.len() <= TOKENS);
    }
}
