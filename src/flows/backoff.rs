//! Pauses between attempts at work that must not be lost: each twice as long as the one before, up to a
//! bound.

use std::time::Duration;

/// The pauses between attempts.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct Backoff {
    pub(in crate::flows) first: Duration,
    pub(in crate::flows) longest: Duration,
}

impl Backoff {
    /// The pause that follows `pause`.
    pub(in crate::flows) fn after(self, pause: Duration) -> Duration {
        pause.saturating_mul(2).min(self.longest)
    }
}
