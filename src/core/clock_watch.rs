//! How far the wall clock may be trusted when expired entries are deleted. A look-up that a wrong clock
//! misleads is right again when the clock is; what was deleted stays deleted. So a clock that runs ahead for
//! a while (a machine that was paused, a wrong word of NTP, RFC 5905) must cost nothing that was to be
//! remembered.
//!
//! A monotonic clock says how long the process has run. Wall time minus run time is when the process started,
//! and should never change. If it moves later, the wall clock was set forward or the machine slept; the new
//! value is believed once it has held for as long as the process had run before, at least an hour, at most a
//! day. At start it must hold for an hour. A clock that is set back is believed at once.

use std::time::Duration;

use super::time::Timestamp;

/// The least and the longest time for which a clock must hold before it is believed.
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A moment that has come, whatever the wall clock says by mistake. Only a [`ClockWatch`] makes one, so that
/// nothing is thrown away by the wall clock alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SureTime(Timestamp);

impl SureTime {
    pub const fn at(self) -> Timestamp {
        self.0
    }
}

/// What the two clocks have said.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    /// When the process began, as far as that is believed.
    believed: Option<Timestamp>,
    /// The earliest moment at which it began by all that the clocks said since `since`.
    claimed: Timestamp,
    /// Since when that stands, in time that the process has run.
    since: Duration,
}

impl ClockWatch {
    /// The first look. The clock is not believed yet.
    pub const fn begin(wall: Timestamp) -> Self {
        Self { believed: None, claimed: wall, since: Duration::ZERO }
    }

    /// The same for whoever remembers nothing of before, so that what has an end got it by this very clock.
    pub const fn trusting(wall: Timestamp) -> Self {
        Self { believed: Some(wall), ..Self::begin(wall) }
    }

    /// What time it is for whoever throws away, so long after the first look by the clock that nobody sets.
    /// `None`: nothing is to be thrown away yet.
    pub fn look(&mut self, wall: Timestamp, running: Duration) -> Option<SureTime> {
        let began = wall.minus(running);
        self.claimed = self.claimed.min(began);
        if self.believed.is_some_and(|believed| began <= believed) {
            *self = Self { believed: Some(began), claimed: began, since: running };
        } else if running.saturating_sub(self.since) >= self.since.clamp(HOUR, DAY) {
            *self = Self { believed: Some(self.claimed), claimed: began, since: running };
        }
        self.believed.map(|believed| SureTime(believed.plus(running)))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A moment that has come.
    pub(crate) fn sure(at: Timestamp) -> SureTime {
        SureTime(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A wall clock that is off, looked at once a minute.
    struct Seen {
        watch: ClockWatch,
        running: Duration,
    }

    impl Seen {
        const BEGAN: Timestamp = Timestamp::from_secs(1_800_000_000);

        fn begin(ahead: Duration) -> Self {
            Self { watch: ClockWatch::begin(Self::BEGAN.plus(ahead)), running: Duration::ZERO }
        }

        /// How far behind the time that it is, in seconds, the last look was, after `time` in which the clock
        /// was ahead by so much. Negative: ahead of it.
        fn pass(&mut self, time: Duration, ahead: Duration) -> Option<i64> {
            let (until, mut sure) = (self.running + time, None);
            while self.running < until {
                self.running += MINUTE;
                let wall = Self::BEGAN.plus(self.running).plus(ahead);
                sure = self.watch.look(wall, self.running);
            }
            let now = Self::BEGAN.plus(self.running).as_secs();
            sure.map(|sure| now - sure.at().as_secs())
        }
    }

    #[test]
    fn a_clock_that_is_ahead_for_less_than_a_day_or_less_than_the_process_ran_was_never_believed() {
        for ahead in [MINUTE, HOUR, 100 * DAY] {
            let day = DAY - MINUTE;
            for (ran, wrong_for) in
                [(3 * DAY, MINUTE), (3 * DAY, HOUR), (3 * DAY, day), (5 * HOUR, 5 * HOUR - MINUTE)]
            {
                let mut seen = Seen::begin(Duration::ZERO);
                assert_eq!(seen.pass(ran, Duration::ZERO), Some(0));
                let mut left = wrong_for;
                while left > Duration::ZERO {
                    assert_eq!(seen.pass(MINUTE, ahead), Some(0), "{ahead:?} {left:?}");
                    left -= MINUTE;
                }
                assert_eq!(seen.pass(MINUTE, Duration::ZERO), Some(0));
            }
        }
    }

    #[test]
    fn one_that_stays_there_is_believed_within_two_days_however_far_it_went() {
        for ahead in [HOUR, 100 * DAY, 9000 * DAY] {
            let mut seen = Seen::begin(Duration::ZERO);
            seen.pass(3 * DAY, Duration::ZERO);
            seen.pass(2 * DAY, ahead);
            let behind = seen.pass(MINUTE, ahead).unwrap();
            assert_eq!(behind, -i64::try_from(ahead.as_secs()).unwrap());
        }
    }

    #[test]
    fn a_machine_that_sleeps_every_night_lags_by_three_nights_at_most() {
        let mut seen = Seen::begin(Duration::ZERO);
        let (mut asleep, night) = (Duration::ZERO, 8 * HOUR);
        seen.pass(16 * HOUR, asleep);
        for _ in 0..30 {
            asleep += night;
            let behind = seen.pass(16 * HOUR, asleep).unwrap() + i64::try_from(asleep.as_secs()).unwrap();
            // What the watch takes for steps of the clock is time that went by.
            assert!((0..=3 * 8 * 3600).contains(&behind), "{behind}");
        }
    }

    #[test]
    fn the_clock_of_a_start_is_believed_after_an_hour_in_which_it_was_never_put_back() {
        let mut seen = Seen::begin(Duration::ZERO);
        assert_eq!(seen.pass(HOUR - MINUTE, Duration::ZERO), None);
        assert_eq!(seen.pass(MINUTE, Duration::ZERO), Some(0));
        let mut wrong = Seen::begin(100 * DAY);
        assert_eq!(wrong.pass(HOUR - MINUTE, 100 * DAY), None);
        assert_eq!(wrong.pass(MINUTE, Duration::ZERO), Some(0), "the earliest of the hour counts");
    }

    #[test]
    fn a_clock_of_long_ago_at_a_start_costs_two_hours() {
        let mut seen = Seen { watch: ClockWatch::begin(Timestamp::from_secs(0)), running: Duration::ZERO };
        seen.pass(HOUR, Duration::ZERO);
        assert!(seen.pass(HOUR - MINUTE, Duration::ZERO).unwrap() > 1_000_000_000);
        assert_eq!(seen.pass(MINUTE, Duration::ZERO), Some(0));
    }

    #[test]
    fn a_clock_that_is_put_back_is_believed_at_once_and_where_nothing_is_of_before_that_of_the_start_too() {
        let mut seen = Seen::begin(HOUR);
        assert_eq!(seen.pass(2 * HOUR, HOUR), Some(-3600));
        assert_eq!(seen.pass(MINUTE, Duration::ZERO), Some(0));
        let (now, mut trusting) = (Seen::BEGAN, ClockWatch::trusting(Seen::BEGAN));
        for (wall, sure) in [(now, now), (now.plus(DAY), now), (now.minus(DAY), now.minus(DAY))] {
            assert_eq!(trusting.look(wall, Duration::ZERO), Some(SureTime(sure)), "{wall:?}");
        }
    }
}
