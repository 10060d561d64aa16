//! Assertions that were made and are still fresh, by token, upstream and lifetime, so that a caller costs one
//! signature in half an assertion's life. Bounded in bytes; when there is no room, those that were used only
//! once go first.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::RandomState;
use http::HeaderValue;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::core::assertion::{Assertions, Made};
use crate::core::caller::Caller;
use crate::core::ids::UpstreamName;
use crate::core::time::Timestamp;
use crate::core::token::fingerprint::Fingerprint;
use crate::state::token_memory::expected;
use crate::state::verified_tokens::KnownCaller;

/// For whom, to whom, for how long: two routes to one upstream may differ in it, and neither gets that of the
/// other.
type For = (Fingerprint, UpstreamName, Duration);

#[derive(Clone, Debug)]
struct Kept {
    made: Made,
    /// The keys that it is made by, and no others.
    by: Arc<Assertions>,
    /// The caller whose it is; only compared. An opaque token's issuer may say something else of it the next
    /// time.
    of: Weak<Caller>,
}

#[derive(Clone, Debug)]
struct Bytes;

/// What a place takes beside the text. What is only compared is dropped with its caller, but its room is not
/// given back.
const PLACE: usize = 256 + size_of::<KnownCaller>();
/// How far a request's moment may lie before that of the one which had it made.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Weighter<For, Kept> for Bytes {
    fn weight(&self, _: &For, kept: &Kept) -> u64 {
        u64::try_from(PLACE.saturating_add(kept.made.value.len())).unwrap_or(u64::MAX)
    }
}

/// What was made lately.
#[derive(Debug)]
pub struct MadeAssertions(Cache<For, Kept, Bytes, RandomState>);

impl MadeAssertions {
    /// `limit`: in bytes.
    pub fn new(limit: u64) -> Self {
        let (hashed, life) = (RandomState::new(), DefaultLifecycle::default());
        Self(Cache::with(expected(limit), limit, Bytes, hashed, life))
    }

    pub fn set_limit(&self, limit: u64) {
        if self.0.capacity() != limit {
            self.0.set_capacity(limit);
        }
    }

    /// One that is fresh and was made of this caller by these keys. After a clock was set back, what it made
    /// before is from the future to whoever reads it.
    pub fn get(
        &self,
        whose: &For,
        by: &Arc<Assertions>,
        of: &Arc<Caller>,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let kept = self.0.get(whose)?;
        let is_the_same = Arc::ptr_eq(&kept.by, by) && std::ptr::addr_eq(kept.of.as_ptr(), Arc::as_ptr(of));
        let is_fresh = kept.made.made_at <= now.plus(AT_ONCE) && now < kept.made.fresh_until;
        (is_fresh && is_the_same).then_some(kept.made.value)
    }

    pub fn keep(&self, whose: For, by: Arc<Assertions>, of: &Arc<Caller>, made: Made) {
        self.0.insert(whose, Kept { made, by, of: Arc::downgrade(of) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::assertion::About;
    use crate::core::signing::SigningKey;
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{ISS, NOW, claims, jwks, keys, rules};

    fn assertions() -> Arc<Assertions> {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
        Arc::new(Assertions::new("https://gate.example".to_owned(), vec![key]).unwrap())
    }

    fn caller() -> Arc<Caller> {
        let set = KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0;
        let text = keys().p256.sign(&claims());
        let token = Unverified::parse(&text, 8192).unwrap().verify(&set, &rules(), NOW).unwrap();
        Arc::new(Caller::new(token, &[], ()))
    }

    const TTL: Duration = Duration::from_secs(60);

    fn whose(token: &str) -> For {
        (Fingerprint::of(token), UpstreamName::new("api"), TTL)
    }

    #[test]
    fn one_serves_for_half_its_life_and_not_before_it_was_made() {
        let (kept, by, of) = (MadeAssertions::new(1 << 20), assertions(), caller());
        let about = About { upstream: &UpstreamName::new("api"), request: None };
        let made = by.make(&of, ISS, about, TTL, NOW).unwrap();
        kept.keep(whose("a"), Arc::clone(&by), &of, made.clone());
        let at = |now| kept.get(&whose("a"), &by, &of, now);
        let seconds = Duration::from_secs;
        assert_eq!(at(NOW), Some(made.value.clone()));
        assert_eq!(at(NOW.plus(seconds(29))), Some(made.value.clone()));
        assert_eq!(at(NOW.plus(seconds(30))), None);
        assert_eq!(
            at(NOW.minus(seconds(1))),
            Some(made.value),
            "a request that read the clock a moment before"
        );
        assert_eq!(at(NOW.minus(Duration::from_millis(1001))), None, "a clock that was set back");
        assert_eq!(kept.get(&whose("a"), &by, &caller(), NOW), None, "another caller");
        assert_eq!(kept.get(&whose("a"), &assertions(), &of, NOW), None, "other keys");
        let (token, upstream, _) = whose("a");
        assert_eq!(kept.get(&(token, upstream, TTL * 2), &by, &of, NOW), None, "another lifetime");
    }

    #[test]
    fn what_is_kept_of_a_caller_that_is_gone_counts_too() {
        let (kept, by) = (MadeAssertions::new(1 << 20), assertions());
        let about = About { upstream: &UpstreamName::new("api"), request: None };
        let made = by.make(&caller(), ISS, about, TTL, NOW).unwrap();
        let least = made.value.len() + size_of::<KnownCaller>();
        for n in 0..100_u64 {
            kept.keep(whose(&n.to_string()), Arc::clone(&by), &caller(), made.clone());
            assert!(kept.0.weight() >= (n + 1) * u64::try_from(least).unwrap());
        }
    }
}
