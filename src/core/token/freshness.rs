//! When an issuer's keys are good, old, or worth fetching: a decision over what is remembered and
//! `now`, nothing else. Who fetches, and how, is `flows::keep_keys_fresh`.
//!
//! What must always hold:
//! - one fetch of an issuer at a time;
//! - unknown `kid`s, however many, cost at most one fetch a cooldown, also while fetches fail;
//! - a failed fetch never shortens the life of good keys;
//! - a key that the issuer publishes is accepted within one cooldown.

use std::time::Duration;

use crate::core::time::Timestamp;

/// What is remembered of an issuer's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// When the fetch that brought the present keys began.
    fetched_at: Option<Timestamp>,
    /// When the latest fetch began, whatever became of it.
    tried_at: Option<Timestamp>,
    /// What was fetched up to then is fetched again, however young it is.
    doubted_at: Option<Timestamp>,
    /// Failures since the last success.
    failures: u32,
    in_flight: bool,
}

/// How old is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys are fetched again at this age (`keys_refresh`).
    pub refresh: Duration,
    /// The least time between the beginnings of two fetches.
    pub cooldown: Duration,
    /// The same while there are no keys at all: nothing is served, so the issuer is asked more often.
    pub retry: Duration,
    /// Keys that could not be fetched again are used up to this age.
    pub keep: Duration,
}

impl Limits {
    /// 10 s of cooldown: an issuer that rotates without overlap refuses nobody for longer, and random
    /// `kid`s cost it at most six calls a minute. Keys are kept for 24 h while the issuer does not
    /// answer: an outage of the AS over a night must not become one of the APIs, and a withdrawn key
    /// must not live for ever because its issuer cannot be reached.
    pub const fn new(refresh: Duration) -> Self {
        let day = Duration::from_secs(24 * 3600);
        let longest = if refresh.as_secs() > day.as_secs() / 2 { refresh.saturating_mul(2) } else { day };
        Self { refresh, cooldown: Duration::from_secs(10), retry: Duration::from_secs(2), keep: longest }
    }
}

/// What to do with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Verify with the keys at hand.
    Use,
    /// The same, and begin a fetch beside it.
    UseAndRefresh,
    /// Wait for the fetch under way.
    Wait,
    /// Begin a fetch and wait for it.
    FetchAndWait,
    /// The issuer does not publish that key.
    RefuseUnknownKey,
    /// Nobody can tell now: there are no keys, or the latest fetch failed.
    RefuseUnavailable,
}

impl Decision {
    /// Whether a fetch begins with it; the caller must then call [`Freshness::begin`].
    pub const fn begins_fetch(self) -> bool {
        matches!(self, Self::UseAndRefresh | Self::FetchAndWait)
    }
}

impl Freshness {
    /// What to do with a token whose key is known, or is not.
    pub fn decide(&self, limits: &Limits, kid_known: bool, now: Timestamp) -> Decision {
        let age = self.age(now);
        let usable = self.is_usable(limits, now);
        let pause = if usable { limits.cooldown } else { limits.retry };
        let may_fetch = !self.in_flight && self.rested(pause, now);
        if usable && kid_known {
            let old = age.is_some_and(|age| age >= limits.refresh) || self.is_ahead(limits.cooldown, now);
            return if (old || self.is_doubted(now)) && may_fetch {
                Decision::UseAndRefresh
            } else {
                Decision::Use
            };
        }
        if self.in_flight {
            Decision::Wait
        } else if may_fetch {
            Decision::FetchAndWait
        } else if usable && self.failures == 0 {
            Decision::RefuseUnknownKey
        } else {
            Decision::RefuseUnavailable
        }
    }

    /// Whether tokens are verified with the keys at hand.
    pub fn is_usable(&self, limits: &Limits, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age < limits.keep)
    }

    /// For how long no fetch begins because of an unknown `kid`.
    pub fn rest(&self, limits: &Limits, now: Timestamp) -> Duration {
        let tried = self.tried_at.filter(|_| !self.rested(limits.cooldown, now));
        tried.map_or(Duration::ZERO, |tried| limits.cooldown.saturating_sub(now.since(tried)))
    }

    /// A fetch begins.
    pub const fn begin(&mut self, now: Timestamp) {
        self.in_flight = true;
        self.tried_at = Some(now);
    }

    /// It brought keys. Their age counts from its beginning.
    pub const fn succeeded(&mut self) {
        self.in_flight = false;
        self.failures = 0;
        self.fetched_at = self.tried_at;
    }

    /// It brought none; the keys at hand stay what they are.
    pub const fn failed(&mut self) {
        self.in_flight = false;
        self.failures = self.failures.saturating_add(1);
    }

    /// A copy for an owner that fetches by itself: what is under way here does not come there, so it was not
    /// tried there.
    pub const fn apart(self) -> Self {
        let tried_at = if self.in_flight { self.fetched_at } else { self.tried_at };
        Self { in_flight: false, tried_at, ..self }
    }

    /// Whom the issuer is known by has changed: the keys at hand are used, and fetched again as soon as that
    /// may be. A fetch that is under way began before, and does not count.
    pub const fn doubt(&mut self, now: Timestamp) {
        self.doubted_at = Some(now);
    }

    /// Since the keys at hand were read; `None` when there never were any.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.fetched_at.map(|fetched| now.since(fetched))
    }

    pub const fn failures(&self) -> u32 {
        self.failures
    }

    pub const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Whether the keys at hand were read later than `now`: the clock was set back, and says nothing of their
    /// age. A request that read the clock a moment before the fetch is no such case.
    fn is_ahead(&self, by: Duration, now: Timestamp) -> bool {
        self.fetched_at.is_some_and(|fetched| fetched.since(now) > by)
    }

    /// A doubt that lies ahead, because the clock was set back, waits until it is reached.
    fn is_doubted(&self, now: Timestamp) -> bool {
        self.doubted_at
            .is_some_and(|doubted| doubted <= now && self.fetched_at.is_some_and(|at| at <= doubted))
    }

    /// Whether the latest fetch began at least `pause` ago. A clock that was set back by more than
    /// that does not count as rest that never ends.
    fn rested(&self, pause: Duration, now: Timestamp) -> bool {
        self.tried_at.is_none_or(|tried| now.since(tried) >= pause || tried.since(now) > pause)
    }
}

#[cfg(test)]
mod tests {
    use bolero::TypeGenerator;

    use super::*;

    const LIMITS: Limits = Limits::new(Duration::from_secs(600));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + seconds)
    }

    fn fetched(seconds: i64) -> Freshness {
        let mut freshness = Freshness::default();
        freshness.begin(at(seconds));
        freshness.succeeded();
        freshness
    }

    #[test]
    fn fresh_keys_are_used_and_old_ones_are_used_and_refreshed() {
        let freshness = fetched(0);
        assert_eq!(freshness.decide(&LIMITS, true, at(599)), Decision::Use);
        assert_eq!(freshness.decide(&LIMITS, true, at(600)), Decision::UseAndRefresh);
        let mut refreshing = freshness;
        refreshing.begin(at(600));
        assert_eq!(refreshing.decide(&LIMITS, true, at(601)), Decision::Use);
    }

    #[test]
    fn without_keys_a_token_waits_for_one_fetch_and_then_is_unavailable_until_the_next() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.decide(&LIMITS, false, at(0)), Decision::FetchAndWait);
        freshness.begin(at(0));
        assert_eq!(freshness.decide(&LIMITS, false, at(0)), Decision::Wait);
        freshness.failed();
        assert_eq!(freshness.decide(&LIMITS, false, at(1)), Decision::RefuseUnavailable);
        assert_eq!(freshness.decide(&LIMITS, false, at(2)), Decision::FetchAndWait);
    }

    #[test]
    fn a_new_kid_is_fetched_once_a_cooldown_and_refused_between() {
        let freshness = fetched(0);
        assert_eq!(freshness.decide(&LIMITS, false, at(9)), Decision::RefuseUnknownKey);
        let rest = |seconds| freshness.rest(&LIMITS, at(seconds)).as_secs();
        assert_eq!([rest(0), rest(9), rest(10), rest(99)], [10, 1, 0, 0]);
        assert_eq!([rest(-1), rest(-11)], [10, 0], "by a clock that was set back");
        assert_eq!(Freshness::default().rest(&LIMITS, at(0)), Duration::ZERO);
        assert_eq!(freshness.decide(&LIMITS, false, at(10)), Decision::FetchAndWait);
    }

    #[test]
    fn an_unknown_kid_while_the_issuer_does_not_answer_is_nobodys_fault() {
        let mut freshness = fetched(0);
        freshness.begin(at(20));
        freshness.failed();
        assert_eq!(freshness.decide(&LIMITS, false, at(21)), Decision::RefuseUnavailable);
        assert_eq!(freshness.decide(&LIMITS, true, at(21)), Decision::Use);
    }

    #[test]
    fn keys_outlive_an_outage_of_a_day_and_no_longer() {
        let mut freshness = fetched(0);
        for hour in 1..24 {
            freshness.begin(at(hour * 3600));
            freshness.failed();
            let decision = freshness.decide(&LIMITS, true, at(hour * 3600 + 1));
            assert_eq!(decision, Decision::Use, "{hour}");
        }
        assert_eq!(freshness.decide(&LIMITS, true, at(24 * 3600)), Decision::FetchAndWait);
    }

    #[test]
    fn keys_are_always_kept_for_longer_than_they_are_refreshed() {
        let limits = Limits::new(Duration::from_secs(7 * 24 * 3600));
        assert!(limits.keep > limits.refresh);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_fetching() {
        let freshness = fetched(10_000);
        assert_eq!(freshness.decide(&LIMITS, false, at(0)), Decision::FetchAndWait);
        // A request that read the clock just before the fetch began is no such case.
        assert_eq!(freshness.decide(&LIMITS, false, at(9_999)), Decision::RefuseUnknownKey);
        // Keys whose age nobody knows are used and fetched again, once a cooldown.
        assert_eq!(freshness.decide(&LIMITS, true, at(9_990)), Decision::Use);
        let mut freshness = fetched(10_000);
        for set_back in [0, 10] {
            assert_eq!(freshness.decide(&LIMITS, true, at(set_back)), Decision::UseAndRefresh);
            freshness.begin(at(set_back));
            freshness.failed();
            assert_eq!(freshness.decide(&LIMITS, true, at(set_back + 9)), Decision::Use);
        }
        freshness.begin(at(20));
        freshness.succeeded();
        assert_eq!(freshness.decide(&LIMITS, true, at(40)), Decision::Use);
    }

    #[test]
    fn keys_that_are_doubted_are_used_and_fetched_again_until_a_later_fetch_brought_some() {
        let mut freshness = fetched(0);
        freshness.begin(at(20));
        freshness.doubt(at(21));
        freshness.succeeded();
        let decided = |freshness: &Freshness, seconds| freshness.decide(&LIMITS, true, at(seconds));
        assert_eq!(decided(&freshness, 29), Decision::Use, "within the cooldown");
        assert_eq!(decided(&freshness, 30), Decision::UseAndRefresh, "that fetch began before");
        freshness.begin(at(30));
        freshness.failed();
        assert_eq!(
            (decided(&freshness, 39), decided(&freshness, 40)),
            (Decision::Use, Decision::UseAndRefresh)
        );
        assert_eq!(decided(&freshness, 19), Decision::Use, "a clock that was set back");
        freshness.begin(at(40));
        freshness.succeeded();
        assert_eq!(decided(&freshness, 60), Decision::Use);
        let mut without = Freshness::default();
        without.doubt(at(0));
        assert_eq!(without.decide(&LIMITS, false, at(0)), Decision::FetchAndWait);
    }

    /// What happens to an issuer, in any order.
    #[derive(Clone, Copy, Debug, TypeGenerator)]
    enum Event {
        Token { kid_known: bool },
        FetchSucceeds,
        FetchFails,
        TimePasses { tenths: u8 },
        LongTimePasses { minutes: u8 },
    }

    #[test]
    fn the_invariants_hold_in_every_order_of_events() {
        bolero::check!().with_type::<Vec<Event>>().for_each(|events| {
            let mut freshness = Freshness::default();
            let mut now = at(0);
            let mut last_begun: Option<(Timestamp, bool)> = None;
            let mut last_good: Option<Timestamp> = None;
            for event in events {
                match *event {
                    Event::TimePasses { tenths } => {
                        now = now.plus(Duration::from_millis(u64::from(tenths) * 100))
                    }
                    Event::LongTimePasses { minutes } => {
                        now = now.plus(Duration::from_secs(u64::from(minutes) * 60));
                    }
                    Event::FetchSucceeds if freshness.is_in_flight() => {
                        freshness.succeeded();
                        last_good = last_begun.map(|(at, _)| at);
                    }
                    Event::FetchFails if freshness.is_in_flight() => freshness.failed(),
                    Event::FetchSucceeds | Event::FetchFails => {}
                    Event::Token { kid_known } => {
                        let usable = last_good.is_some_and(|good| now.since(good) < LIMITS.keep);
                        let known = kid_known && usable;
                        let decision = freshness.decide(&LIMITS, known, now);
                        if decision.begins_fetch() {
                            assert!(!freshness.is_in_flight(), "one fetch at a time");
                            if let Some((before, _)) = last_begun {
                                let pause = if usable { LIMITS.cooldown } else { LIMITS.retry };
                                assert!(now.since(before) >= pause, "one fetch a cooldown");
                            }
                            freshness.begin(now);
                            last_begun = Some((now, usable));
                        }
                        let uses = matches!(decision, Decision::Use | Decision::UseAndRefresh);
                        assert_eq!(uses, known, "good keys are used whatever failed, and nothing else is");
                        // A new kid is never refused for longer than one cooldown after a fetch began.
                        if let Some((before, _)) = last_begun
                            && matches!(decision, Decision::RefuseUnknownKey | Decision::RefuseUnavailable)
                        {
                            assert!(now.since(before) < LIMITS.cooldown);
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn ten_thousand_unknown_kids_in_a_cooldown_cost_one_fetch_also_while_fetches_fail() {
        for fails in [false, true] {
            let mut freshness = fetched(-60);
            let mut fetches = 0;
            for request in 0..10_000_i64 {
                let now = Timestamp::from_millis(at(0).as_millis() + request);
                let decision = freshness.decide(&LIMITS, false, now);
                if decision.begins_fetch() {
                    fetches += 1;
                    freshness.begin(now);
                    if fails { freshness.failed() } else { freshness.succeeded() }
                }
            }
            assert_eq!(fetches, 1);
        }
    }
}
