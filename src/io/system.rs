//! The machine's clock and randomness.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Randomness};

/// How long whoever writes our messages has for the last one.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The random generator of aws-lc-rs, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    /// Ends the process when there is no randomness: a key or a state of zeros would be worse.
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            tracing::error!("the operating system has no randomness; Tollgate ends");
            std::thread::sleep(LAST_WORDS);
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::ports::random;

    #[test]
    fn the_clock_is_this_centurys() {
        assert!(SystemClock.now() > Timestamp::from_secs(1_700_000_000));
    }

    #[test]
    fn randomness_does_not_repeat() {
        assert_ne!(random::<32>(&SystemRandomness), random::<32>(&SystemRandomness));
    }
}
