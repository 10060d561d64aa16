//! How old this replica's knowledge of the list is, by two clocks; the larger age counts. The monotonic clock
//! stands still while the machine sleeps, and the list grows old all the same; the wall clock may be set
//! back, and must not make a list look younger. Where it is set forward, the gate is closed until the list is
//! known to be complete again.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::core::time::Timestamp;

/// How far the list can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Currency {
    /// It was never loaded.
    Unknown,
    /// It is complete as of so long ago.
    Current { age: Duration },
    /// It is complete as of so long ago, which is too long.
    Stale { age: Duration },
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct AsOf {
    pub steady: Instant,
    pub wall: Timestamp,
}

/// Moments of the steady clock in milliseconds since `born`, plus one; 0: never. Those of the wall clock in
/// milliseconds.
#[derive(Debug)]
pub(super) struct Freshness {
    born: Instant,
    as_of: AtomicU64,
    until: AtomicU64,
    as_of_wall: AtomicI64,
    until_wall: AtomicI64,
}

const FOR_GOOD: u64 = u64::MAX;

impl Default for Freshness {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            as_of: AtomicU64::new(0),
            until: AtomicU64::new(0),
            as_of_wall: AtomicI64::new(i64::MAX),
            until_wall: AtomicI64::new(i64::MIN),
        }
    }
}

impl Freshness {
    fn millis(&self, at: Instant) -> u64 {
        let millis = at.saturating_duration_since(self.born).as_millis();
        u64::try_from(millis).unwrap_or(FOR_GOOD - 2).saturating_add(1)
    }

    pub(super) fn set_for_good(&self) {
        self.as_of.fetch_max(self.millis(Instant::now()), Ordering::AcqRel);
        self.until.store(FOR_GOOD, Ordering::Release);
    }

    pub(super) fn set(&self, as_of: AsOf, staleness: Duration) {
        // No moment is so late. Doubt closes the gate.
        let until = as_of.steady.checked_add(staleness).map_or(0, |until| self.millis(until));
        self.as_of.fetch_max(self.millis(as_of.steady), Ordering::AcqRel);
        // The latest word counts, also where the wall clock was put back since the one before.
        if until >= self.until.fetch_max(until, Ordering::AcqRel) {
            self.as_of_wall.store(as_of.wall.as_millis(), Ordering::Release);
            self.until_wall.store(as_of.wall.plus(staleness).as_millis(), Ordering::Release);
        }
    }

    pub(super) fn close_gate(&self) {
        self.until.store(1, Ordering::Release);
    }

    /// `now`: by the wall clock, which whoever asks has read.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        match self.until.load(Ordering::Acquire) {
            0 => false,
            FOR_GOOD => true,
            until => {
                now.as_millis() < self.until_wall.load(Ordering::Acquire)
                    && self.millis(Instant::now()) < until
            }
        }
    }

    pub(super) fn currency(&self, now: Timestamp) -> Currency {
        let as_of = self.as_of.load(Ordering::Acquire);
        if as_of == 0 {
            return Currency::Unknown;
        }
        let age = match self.until.load(Ordering::Acquire) {
            FOR_GOOD => Duration::ZERO,
            _ => {
                let by_wall = now.since(Timestamp::from_millis(self.as_of_wall.load(Ordering::Acquire)));
                by_wall.max(Duration::from_millis(self.millis(Instant::now()).saturating_sub(as_of)))
            }
        };
        if self.holds(now) { Currency::Current { age } } else { Currency::Stale { age } }
    }
}
