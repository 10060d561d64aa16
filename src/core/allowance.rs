//! How often an address may do something: a leaky bucket (the generic cell rate algorithm of ITU-T I.371).
//! With `120/m` it may do it 120 times at once, and then once every half second.

use std::time::Duration;

use crate::core::time::Timestamp;

/// So many in so long: `limits.requests_per_address`, `limits.denials_per_address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub most: u32,
    pub window: Duration,
}

impl Allowance {
    /// What one costs.
    fn price(self) -> Duration {
        self.window / self.most.max(1)
    }

    /// The most that is owed. What was under way when it was too much is paid for too, but nobody waits for
    /// hours because of one moment.
    const fn ceiling(self) -> Duration {
        self.window.saturating_mul(10)
    }
}

/// What an address owes for what it did. Time pays it off; while a window's worth is owed it has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debt {
    owed: Duration,
    since: Timestamp,
}

impl Debt {
    /// The allowance of an address that did nothing lately.
    pub const fn none(now: Timestamp) -> Self {
        Self { owed: Duration::ZERO, since: now }
    }

    /// After one more.
    #[must_use]
    pub fn with_one_more(self, allowance: Allowance, now: Timestamp) -> Self {
        let owed = self.left(allowance, now).saturating_add(allowance.price());
        Self { owed: owed.min(allowance.ceiling()), since: now }
    }

    /// Caps the debt at one window, for callers that ask before they act.
    #[must_use]
    pub fn within(self, allowance: Allowance, now: Timestamp) -> Self {
        Self { owed: self.left(allowance, now).min(allowance.window), since: now }
    }

    /// After how long one more is allowed; `None`: now.
    pub fn wait(self, allowance: Allowance, now: Timestamp) -> Option<Duration> {
        let with_one_more = self.left(allowance, now).saturating_add(allowance.price());
        let over = with_one_more.saturating_sub(allowance.window);
        (!over.is_zero()).then_some(over)
    }

    /// A clock that was set back by more than a window forgives: nobody is to wait for it to catch up.
    fn left(self, allowance: Allowance, now: Timestamp) -> Duration {
        if self.since.since(now) > allowance.window {
            return Duration::ZERO;
        }
        self.owed.saturating_sub(now.since(self.since)).min(allowance.ceiling())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DEFAULT: Allowance = Allowance { most: 120, window: Duration::from_secs(60) };

    fn after(milliseconds: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(milliseconds))
    }

    fn after_doing(times: u32, allowance: Allowance) -> Debt {
        (0..times).fold(Debt::none(NOW), |debt, _| debt.with_one_more(allowance, NOW))
    }

    #[test]
    fn so_many_are_allowed_at_once_and_then_one_a_share_of_the_window() {
        for (most, window) in [(1, 1), (3, 1), (7, 60), (120, 60), (5, 3600), (5000, 1)] {
            let allowance = Allowance { most, window: Duration::from_secs(window) };
            assert_eq!(after_doing(most - 1, allowance).wait(allowance, NOW), None, "{allowance:?}");
            assert!(after_doing(most, allowance).wait(allowance, NOW).is_some(), "{allowance:?}");
        }
        let debt = after_doing(120, DEFAULT);
        assert_eq!(debt.wait(DEFAULT, NOW), Some(Duration::from_millis(500)));
        assert_eq!(debt.wait(DEFAULT, after(499)), Some(Duration::from_millis(1)));
        assert_eq!(debt.wait(DEFAULT, after(500)), None);
        let debt = debt.with_one_more(DEFAULT, after(500));
        assert_eq!(debt.wait(DEFAULT, after(500)), Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_was_under_way_is_paid_for_and_nobody_waits_for_ever() {
        assert_eq!(after_doing(1000, DEFAULT).wait(DEFAULT, NOW), Some(Duration::from_millis(440_500)));
        let most = after_doing(100_000, DEFAULT);
        assert_eq!(most, after_doing(1200, DEFAULT));
        assert_eq!(most.wait(DEFAULT, after(540_499)), Some(Duration::from_millis(1)));
        assert_eq!(most.wait(DEFAULT, after(540_500)), None);
    }

    #[test]
    fn who_does_it_less_often_never_waits() {
        let mut debt = Debt::none(NOW);
        for turn in 1..10_000 {
            debt = debt.with_one_more(DEFAULT, after(turn * 500));
            assert_eq!(debt.wait(DEFAULT, after(turn * 500)), None, "{turn}");
        }
    }

    #[test]
    fn another_allowance_counts_at_once() {
        let stricter = Allowance { most: 2, window: Duration::from_secs(10) };
        let debt = after_doing(120, DEFAULT);
        assert_eq!(debt.wait(stricter, NOW), Some(Duration::from_secs(55)));
        assert_eq!(debt.wait(stricter, after(55_000)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up() {
        let debt = after_doing(120, DEFAULT);
        assert!(debt.wait(DEFAULT, NOW.minus(Duration::from_secs(1))).is_some());
        assert_eq!(debt.wait(DEFAULT, NOW.minus(Duration::from_secs(3600))), None);
    }
}
