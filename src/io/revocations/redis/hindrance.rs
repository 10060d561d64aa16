//! What keeps a replica from following the list of a Redis that answers: an entry that it cannot read, a
//! right that it does not have. Each is told once, and until it is over it is tried ever more seldom: reading
//! a list whole costs much.
//!
//! It must never hold up a replica over a new connection, which may lead to a server that is well.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How many reasons are told apart.
const REASONS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Hindrance {
    told: BTreeSet<String>,
    pause: Duration,
    /// Until when it is not tried again, and over the how manieth connection.
    rests: Option<(Instant, u64)>,
}

impl Hindrance {
    /// Records a hindrance. `shortest`: the first pause. Returns whether to log it.
    pub(super) fn record(&mut self, why: &str, shortest: Duration, reached: u64) -> bool {
        self.pause = self.pause.saturating_mul(2).clamp(shortest.min(LONGEST_PAUSE), LONGEST_PAUSE);
        self.rests = Some((Instant::now() + self.pause, reached));
        self.told.len() < REASONS && self.told.insert(why.to_owned())
    }

    /// Whether it is too early to try again.
    pub(super) fn rests(&self, reached: u64) -> bool {
        self.rests.is_some_and(|(until, over)| over == reached && Instant::now() < until)
    }

    pub(super) fn is_there(&self) -> bool {
        self.rests.is_some()
    }

    /// The list is followed. Returns whether anything kept it from that.
    pub(super) fn clear(&mut self) -> bool {
        self.is_there() && std::mem::take(self).is_there()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_until_it_is_over_and_pauses_grow_to_ten_seconds() {
        let (mut hindrance, shortest) = (Hindrance::default(), Duration::from_millis(200));
        assert!(!hindrance.rests(1) && !hindrance.clear());
        for round in 0..2 {
            let mut pauses = Vec::new();
            for n in 0..8 {
                assert_eq!(hindrance.record("a", shortest, 1), n == 0, "{round}");
                assert_eq!(hindrance.record("b", shortest, 1), n == 0, "{round}");
                assert!(hindrance.rests(1) && !hindrance.rests(2), "another connection is another matter");
                pauses.push(hindrance.pause);
            }
            assert!(
                pauses.is_sorted() && pauses[0] == shortest * 2 && pauses[7] == LONGEST_PAUSE,
                "{pauses:?}"
            );
            assert!(hindrance.clear() && !hindrance.clear() && !hindrance.rests(1));
        }
    }
}
