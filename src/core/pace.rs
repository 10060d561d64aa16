//! Whether a request's body comes fast enough. A client that sends a byte now and then, and never stops for
//! long, would otherwise hold its connection, a place at the upstream and memory for as long as it likes.
//!
//! It must never judge a client that could not send because nobody read: what comes late is counted
//! before it is judged.

use std::time::Duration;

/// One body's credit. A client begins with a pause's worth, and gets a second for each `rate` bytes, but
/// never more than a pause ahead: megabytes at the beginning do not pay for a trickle afterwards.
///
/// With a pause of 30 s and 256 bytes a second a telephone in a lift survives: GPRS carries four times as
/// much, and a gap of 29 s in its coverage costs nothing when what was sent before came at any usable speed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pause: Duration,
    /// Bytes a second; never 0.
    rate: u32,
    /// Until when the credit lasts, on the clock of `now`.
    until: Duration,
}

impl Pace {
    /// `now`: on any clock that goes on steadily, the same for every call.
    pub fn new(pause: Duration, rate: u32, now: Duration) -> Self {
        Self { pause, rate: rate.max(1), until: now.saturating_add(pause) }
    }

    /// Some of the body came. False when it came too slowly.
    pub fn came(&mut self, bytes: usize, now: Duration) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let credit = Duration::from_secs(u64::from(bytes)) / self.rate;
        let until = self.until.saturating_add(credit);
        self.until = until.min(now.saturating_add(self.pause));
        now <= until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    /// After how many seconds a client is refused that sends `bytes` every `seconds`. `None`: not in a day.
    fn refused_after(bytes: usize, seconds: u64) -> Option<u64> {
        let mut pace = Pace::new(PAUSE, 256, Duration::ZERO);
        (1..86_400 / seconds)
            .map(|turn| turn * seconds)
            .find(|now| !pace.came(bytes, Duration::from_secs(*now)))
    }

    #[test]
    fn a_trickle_is_refused_within_two_pauses_and_slow_clients_are_not() {
        assert_eq!(refused_after(1, 29), Some(58));
        assert!(refused_after(1, 1).unwrap() <= 31);
        assert!(refused_after(200, 1).unwrap() < 300);
        assert_eq!(refused_after(300, 1), None);
        assert_eq!(refused_after(10_000, 29), None, "a phone between two dead spots");
    }

    #[test]
    fn what_was_fast_does_not_pay_for_a_trickle() {
        let mut pace = Pace::new(PAUSE, 256, Duration::ZERO);
        assert!(pace.came(100_000_000, Duration::from_secs(1)));
        assert!(pace.came(1, Duration::from_secs(30)));
        assert!(!pace.came(1, Duration::from_secs(60)));
    }

    #[test]
    fn who_could_not_send_meanwhile_is_not_judged() {
        let mut pace = Pace::new(PAUSE, 256, Duration::ZERO);
        assert!(pace.came(64 * 1024, Duration::from_secs(59)), "an upstream that read nothing for a minute");
        assert!(pace.came(64 * 1024, Duration::from_secs(118)));
    }
}
