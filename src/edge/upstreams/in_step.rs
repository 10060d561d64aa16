//! Deadlines that many requests share. pingora has one timer for all deadlines within ten milliseconds, and
//! keeps it until it ends, also where what was waited for came long ago: deadlines of half a minute would
//! be three thousand timers for each thread. So requests that begin at about the same time get the same
//! deadline.

use std::time::Duration;

/// A deadline is put off by at most this part of it.
const PART: u32 = 32;
/// What pingora tells apart.
const RESOLUTION: Duration = Duration::from_millis(10);

/// At least `timeout`, and at most a thirty-second part more: until the next moment at which such deadlines
/// end. `now`: since some moment that is the same for all.
pub(super) fn in_step(timeout: Duration, now: Duration) -> Duration {
    let step = timeout / PART;
    if step <= RESOLUTION {
        return timeout;
    }
    let over = (now + timeout).as_nanos() % step.as_nanos();
    let over = u64::try_from(over).map_or(Duration::ZERO, Duration::from_nanos);
    timeout + (step - over)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn requests_of_a_long_time_share_a_few_deadlines() {
        let moments = (0..30_000).map(|ms| Duration::from_secs(1_795_838_758) + Duration::from_millis(ms));
        let ends: HashSet<Duration> = moments.map(|now| now + in_step(TIMEOUT, now)).collect();
        assert!(ends.len() <= PART as usize + 1, "{}", ends.len());
    }

    #[test]
    fn none_comes_early_or_much_too_late() {
        for timeout in
            [TIMEOUT, Duration::from_secs(1), Duration::from_secs(86_400), Duration::from_millis(321)]
        {
            for now in (0..100_000).step_by(17).map(Duration::from_millis) {
                let waits = in_step(timeout, now);
                assert!(
                    waits >= timeout && waits <= timeout + timeout / PART,
                    "{timeout:?} at {now:?}: {waits:?}"
                );
            }
        }
    }

    #[test]
    fn short_ones_and_none_at_all_stay_as_they_are() {
        for timeout in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(300)] {
            assert_eq!(in_step(timeout, TIMEOUT + Duration::from_millis(3)), timeout);
        }
    }
}
