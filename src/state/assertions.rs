//! Assertions that were made and are still fresh, by token and upstream, so that a caller costs one signature in half an
//! assertion's life. Bounded in bytes; when there is no room, those that were used only once go first.

use std::hash::RandomState;
use std::sync::{Arc, Weak};

use http::HeaderValue;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::core::assertion::{Assertions, Made};
use crate::core::caller::Caller;
use crate::core::ids::UpstreamName;
use crate::core::time::Timestamp;
use crate::core::token::fingerprint::Fingerprint;

type For = (Fingerprint, UpstreamName);

#[derive(Clone, Debug)]
struct Kept {
    made: Made,
    /// By these keys and rules, and no others.
    by: Arc<Assertions>,
    /// Of this caller; only compared. An opaque token's issuer may say something else of it the next time.
    of: Weak<Caller>,
}

#[derive(Clone, Debug)]
struct Bytes;

/// What a place takes beside the text.
const PLACE: u64 = 256;

impl Weighter<For, Kept> for Bytes {
    fn weight(&self, _: &For, kept: &Kept) -> u64 {
        PLACE.saturating_add(u64::try_from(kept.made.value.len()).unwrap_or(u64::MAX))
    }
}

/// What was made lately.
#[derive(Debug)]
pub struct MadeAssertions(Cache<For, Kept, Bytes, RandomState>);

const EXPECTED: usize = 1024;

impl MadeAssertions {
    /// `limit`: in bytes.
    pub fn new(limit: u64) -> Self {
        Self(Cache::with(EXPECTED, limit, Bytes, RandomState::new(), DefaultLifecycle::default()))
    }

    pub fn set_limit(&self, limit: u64) {
        if self.0.capacity() != limit {
            self.0.set_capacity(limit);
        }
    }

    /// One that is fresh and was made of this caller by these keys and rules.
    pub fn get(
        &self,
        whose: &For,
        by: &Arc<Assertions>,
        of: &Arc<Caller>,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let kept = self.0.get(whose)?;
        let is_the_same = Arc::ptr_eq(&kept.by, by) && std::ptr::eq(kept.of.as_ptr(), Arc::as_ptr(of));
        (now < kept.made.fresh_until && is_the_same).then_some(kept.made.value)
    }

    pub fn keep(&self, whose: For, by: Arc<Assertions>, of: &Arc<Caller>, made: Made) {
        self.0.insert(whose, Kept { made, by, of: Arc::downgrade(of) });
    }
}
