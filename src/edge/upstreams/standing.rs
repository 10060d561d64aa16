//! What is known of a server's health, by checks (actively) and by what became of connections to it
//! (passively). A server that cannot be reached is set aside for a moment that doubles each time; when the
//! moment is over, one request tries it. Without requests nobody learns that it is back, so a failure counts
//! for [`REMEMBERED`] at most.
//!
//! It must never set the only server aside; whoever chooses sees to that.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// How long a server is set aside at first, in milliseconds; it doubles.
const FIRST: u64 = 1_000;
const LONGEST: u64 = 30_000;
/// How long after a connection that failed, in milliseconds, a server is not well, if none was made since.
const REMEMBERED: u64 = 300_000;
/// Checks that must fail in a row.
const FAILED_CHECKS: u32 = 2;

/// The health of one server. Times are milliseconds since the gateway started.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Until when it gets no request; 0: it gets some.
    aside_until: AtomicU64,
    /// From when on one request may try it; 0: all may.
    next_try: AtomicU64,
    /// Connections that failed in a row.
    failures: AtomicU32,
    /// When the latest of them failed.
    failed_at: AtomicU64,
    /// Health checks that failed in a row.
    failed_checks: AtomicU32,
    sick: AtomicBool,
}

impl Standing {
    /// Whether its last health checks were good, or there were none.
    pub(super) fn is_healthy(&self) -> bool {
        !self.sick.load(Relaxed)
    }

    /// Whether it is healthy, and its last connection did not fail lately.
    pub(super) fn is_well(&self, now: u64) -> bool {
        let failed_lately = now < self.failed_at.load(Relaxed).saturating_add(REMEMBERED);
        self.is_healthy() && !(failed_lately && self.failures.load(Relaxed) > 0)
    }

    /// Whether a request should go there. After its time aside it says yes once, to whoever asks first.
    pub(super) fn takes_requests(&self, now: impl FnOnce() -> u64) -> bool {
        if !self.is_healthy() {
            return false;
        }
        let next = self.next_try.load(Relaxed);
        if next == 0 {
            return true;
        }
        let now = now();
        now >= next
            && self.next_try.compare_exchange(next, now.saturating_add(FIRST), Relaxed, Relaxed).is_ok()
    }

    /// It could not be reached by a request that tried since `began`. True when that is news. What began
    /// before its time aside was over says nothing new, however many they are and however long they took:
    /// else one moment of many requests would be one failure after the other.
    pub(super) fn could_not_connect(&self, began: u64, now: u64) -> bool {
        let until = self.aside_until.load(Relaxed);
        if began < until {
            return false;
        }
        let before = self.failures.load(Relaxed);
        let aside = FIRST.saturating_mul(1 << before.min(8)).min(LONGEST);
        let next = now.saturating_add(aside);
        if self.aside_until.compare_exchange(until, next, Relaxed, Relaxed).is_err() {
            return false;
        }
        self.failures.store(before.saturating_add(1), Relaxed);
        let failed_at = self.failed_at.swap(now, Relaxed);
        // Last, so that whoever is reached meanwhile is not left with a failure that nothing ends.
        self.next_try.store(next, Relaxed);
        before == 0 || now >= failed_at.saturating_add(REMEMBERED)
    }

    /// It was reached. True when it had not been before.
    pub(super) fn reached(&self) -> bool {
        if self.aside_until.load(Relaxed) == 0 && self.next_try.load(Relaxed) == 0 {
            return false;
        }
        self.aside_until.store(0, Relaxed);
        self.next_try.store(0, Relaxed);
        self.failures.swap(0, Relaxed) > 0
    }

    /// What a health check found. True when its health changed.
    pub(super) fn checked(&self, good: bool) -> bool {
        if good {
            self.failed_checks.store(0, Relaxed);
            let was_aside = self.reached();
            return self.sick.swap(false, Relaxed) || was_aside;
        }
        let failed = self.failed_checks.load(Relaxed).saturating_add(1);
        self.failed_checks.store(failed, Relaxed);
        failed >= FAILED_CHECKS && !self.sick.swap(true, Relaxed)
    }

    /// Nobody asks any more how it is.
    pub(super) fn stop_checking(&self) {
        self.failed_checks.store(0, Relaxed);
        self.sick.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_reached_is_set_aside_for_longer_and_longer() {
        let standing = Standing::default();
        assert!(standing.takes_requests(|| 0));
        assert!(standing.could_not_connect(0, 10));
        assert!(!standing.takes_requests(|| 1_009));
        assert!(standing.takes_requests(|| 1_010), "then one tries it");
        assert!(!standing.takes_requests(|| 1_010), "and only one");
        assert!(!standing.could_not_connect(1_010, 2_000));
        assert!(!standing.takes_requests(|| 3_999));
        assert!(standing.takes_requests(|| 4_000));
        let mut now = 4_000;
        for _ in 0..80 {
            standing.could_not_connect(now, now);
            now += LONGEST;
        }
        assert!(standing.takes_requests(|| now));
        assert!(standing.reached());
        assert!(standing.takes_requests(|| 0) && standing.takes_requests(|| 0));
        assert!(!standing.reached(), "it was well already");
    }

    #[test]
    fn many_that_fail_in_one_moment_are_one_failure() {
        let standing = Standing::default();
        let news = (0..50).filter(|_| standing.could_not_connect(0, 10)).count();
        assert_eq!(news, 1);
        assert!(!standing.could_not_connect(9, 2_009), "one that waited for long, and began before");
        assert!(standing.takes_requests(|| 2_010));
        // While nobody else is left it is asked nevertheless.
        assert!(!standing.could_not_connect(500, 2_500));
        assert!(!standing.could_not_connect(2_010, 2_020));
        assert!(!standing.takes_requests(|| 4_019) && standing.takes_requests(|| 4_020), "twice as long");
    }

    #[test]
    fn of_failures_at_the_very_same_time_one_counts() {
        let standing = Standing::default();
        let news = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| standing.could_not_connect(0, 10))).collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|news| *news).count()
        });
        assert_eq!((news, standing.failures.load(Relaxed)), (1, 1));
    }

    #[test]
    fn a_check_that_fails_twice_makes_it_sick_and_one_that_is_good_well() {
        let standing = Standing::default();
        assert!(!standing.checked(false) && standing.is_healthy());
        assert!(standing.checked(false) && !standing.is_healthy());
        assert!(!standing.checked(false), "it was sick already");
        assert!(!standing.takes_requests(|| 0));
        assert!(standing.checked(true) && standing.takes_requests(|| 0));
        standing.checked(false);
        standing.checked(false);
        standing.stop_checking();
        assert!(standing.is_healthy());
    }

    #[test]
    fn that_it_could_not_be_reached_counts_no_longer_when_nobody_has_tried_for_long() {
        let standing = Standing::default();
        assert!(standing.is_well(0));
        assert!(standing.could_not_connect(1_000, 1_000));
        assert!(!standing.could_not_connect(61_000, 61_000), "that is no news");
        assert!(!standing.is_well(1_000 + REMEMBERED) && standing.is_well(61_000 + REMEMBERED));
        assert!(standing.could_not_connect(61_000 + REMEMBERED, 61_000 + REMEMBERED), "and news again");
        assert!(!standing.is_well(61_000 + REMEMBERED));
        assert!(standing.reached() && standing.is_well(61_000 + REMEMBERED));
        assert!(!standing.checked(false) && standing.checked(false));
        assert!(!standing.is_well(u64::MAX), "what checks found is asked again and again");
    }
}
