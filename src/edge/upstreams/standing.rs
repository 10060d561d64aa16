//! A server's health, by checks (active) and by the connections to it (passive). A server that cannot be
//! reached gets no requests for a while that doubles with each failure; after that one request tries it.
//! Without requests nobody would learn that it is back, so a failure counts for at most [`REMEMBERED`] ms.
//!
//! The only server must never be set aside: `choose` makes sure of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::config::settings::HealthCheck;

/// The first time aside, in milliseconds.
const FIRST_PAUSE: u64 = 1_000;
const LONGEST_PAUSE: u64 = 30_000;
/// How long a failed connection makes a server count as not well, in milliseconds, unless one succeeds.
const REMEMBERED: u64 = 300_000;
/// The number of checks in a row that must fail.
const FAILED_CHECKS: u32 = 2;

/// The health of one server in one configuration. What is known of the server is shared with the
/// configurations before and after. Times are milliseconds since the gateway started.
#[derive(Debug)]
pub(super) struct Standing {
    connections: Arc<Connections>,
    /// `None`: there are no checks. So a check of an earlier configuration that ends late cannot mark a
    /// server as failing that no later check would clear.
    checks: Option<Arc<Checks>>,
}

/// The outcomes of connections to it.
#[derive(Debug, Default)]
struct Connections {
    /// Until when it gets no requests; 0: it gets them now.
    aside_until: AtomicU64,
    /// From when on one request may try it; 0: any request may.
    next_try: AtomicU64,
    /// How many connections failed in a row.
    failures: AtomicU32,
    /// When the last of these failed.
    failed_at: AtomicU64,
}

/// The outcomes of checks.
#[derive(Debug, Default)]
struct Checks {
    /// How many failed in a row.
    failed: AtomicU32,
    sick: AtomicBool,
}

impl Standing {
    /// Begins with what is known. `before`: the same server in the configuration before.
    pub(super) fn new(before: Option<&Self>, health: Option<&HealthCheck>) -> Self {
        let known = before.and_then(|before| before.checks.clone());
        Self {
            connections: before.map(|before| before.connections.clone()).unwrap_or_default(),
            checks: health.map(|_| known.unwrap_or_default()),
        }
    }

    /// Whether its last checks were good, or there are none.
    pub(super) fn is_healthy(&self) -> bool {
        !self.checks.as_ref().is_some_and(|checks| checks.sick.load(Relaxed))
    }

    /// Whether it is healthy and its last connection did not fail lately.
    pub(super) fn is_well(&self, now: u64) -> bool {
        let Connections { failed_at, failures, .. } = &*self.connections;
        let failed_lately = now < failed_at.load(Relaxed).saturating_add(REMEMBERED);
        self.is_healthy() && !(failed_lately && failures.load(Relaxed) > 0)
    }

    /// Whether a request should go there. After its time aside it returns true once, to whoever asks first.
    pub(super) fn takes_requests(&self, now: impl FnOnce() -> u64) -> bool {
        if !self.is_healthy() {
            return false;
        }
        let next_try = &self.connections.next_try;
        let next = next_try.load(Relaxed);
        if next == 0 {
            return true;
        }
        let now = now();
        now >= next
            && next_try.compare_exchange(next, now.saturating_add(FIRST_PAUSE), Relaxed, Relaxed).is_ok()
    }

    /// Notes that a request which tried since `began` could not reach it. Returns whether that is news.
    /// Attempts that began before its time aside was over are no news, however many they are: otherwise one
    /// moment of many requests would count as many failures.
    pub(super) fn could_not_connect(&self, began: u64, now: u64) -> bool {
        let Connections { aside_until, next_try, failures, failed_at } = &*self.connections;
        let until = aside_until.load(Relaxed);
        if began < until {
            return false;
        }
        let before = failures.load(Relaxed);
        let aside = FIRST_PAUSE.saturating_mul(1 << before.min(8)).min(LONGEST_PAUSE);
        let next = now.saturating_add(aside);
        if aside_until.compare_exchange(until, next, Relaxed, Relaxed).is_err() {
            return false;
        }
        failures.store(before.saturating_add(1), Relaxed);
        let failed_at = failed_at.swap(now, Relaxed);
        // Stored last, so that a connection that succeeds meanwhile is not left with a failure that nothing
        // clears.
        next_try.store(next, Relaxed);
        before == 0 || now >= failed_at.saturating_add(REMEMBERED)
    }

    /// Notes a connection. Returns whether that is news.
    pub(super) fn reached(&self) -> bool {
        let Connections { aside_until, next_try, failures, .. } = &*self.connections;
        if aside_until.load(Relaxed) == 0 && next_try.load(Relaxed) == 0 {
            return false;
        }
        aside_until.store(0, Relaxed);
        next_try.store(0, Relaxed);
        failures.swap(0, Relaxed) > 0
    }

    /// Notes the outcome of a check. Returns whether the server's health changed.
    pub(super) fn checked(&self, good: bool) -> bool {
        let Some(Checks { failed, sick }) = self.checks.as_deref() else { return false };
        if good {
            failed.store(0, Relaxed);
            let was_aside = self.reached();
            return sick.swap(false, Relaxed) || was_aside;
        }
        let in_a_row = failed.load(Relaxed).saturating_add(1);
        failed.store(in_a_row, Relaxed);
        in_a_row >= FAILED_CHECKS && !sick.swap(true, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One that is checked.
    fn standing() -> Standing {
        Standing::new(None, Some(&check()))
    }

    fn check() -> HealthCheck {
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(5));
        HealthCheck { path: "/healthz".to_owned(), interval, timeout }
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_set_aside_for_longer_and_longer() {
        let standing = standing();
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
            now += LONGEST_PAUSE;
        }
        assert!(standing.takes_requests(|| now));
        assert!(standing.reached());
        assert!(standing.takes_requests(|| 0) && standing.takes_requests(|| 0));
        assert!(!standing.reached(), "it was well already");
    }

    #[test]
    fn many_that_fail_in_one_moment_are_one_failure() {
        let standing = standing();
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
        let standing = standing();
        let news = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| standing.could_not_connect(0, 10))).collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|news| *news).count()
        });
        assert_eq!((news, standing.connections.failures.load(Relaxed)), (1, 1));
    }

    #[test]
    fn a_check_that_fails_twice_makes_it_sick_and_one_that_is_good_well() {
        let standing = standing();
        assert!(!standing.checked(false) && standing.is_healthy());
        assert!(standing.checked(false) && !standing.is_healthy());
        assert!(!standing.checked(false), "it was sick already");
        assert!(!standing.takes_requests(|| 0));
        assert!(standing.checked(true) && standing.takes_requests(|| 0));
    }

    #[test]
    fn what_checks_find_counts_where_they_are_made_and_a_reload_keeps_it() {
        let before = standing();
        let [other_check, unchecked] =
            [Some(check()), None].map(|health| Standing::new(Some(&before), health.as_ref()));
        assert!(!before.checked(false) && before.checked(false));
        assert!(!before.is_healthy() && !other_check.is_healthy());
        assert!(unchecked.is_healthy() && unchecked.takes_requests(|| 0) && unchecked.is_well(0));
        assert!(Standing::new(Some(&unchecked), Some(&check())).is_healthy(), "it is asked anew");
        assert!(before.could_not_connect(0, 10));
        assert!(!unchecked.takes_requests(|| 10), "what became of connections counts everywhere");
    }

    #[test]
    fn that_it_could_not_be_reached_counts_no_longer_when_nobody_has_tried_for_long() {
        let standing = standing();
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
