//! A moment as Tollgate knows it: milliseconds since 1970-01-01T00:00:00Z (RFC 7519 section 2,
//! `NumericDate`, with the fraction kept). The clock is read in `io`; everything else is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in wall-clock time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest moment accepted from outside: 9999-12-31T23:59:59Z, in seconds.
    const MAX_SECONDS: f64 = 253_402_300_799.0;

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// A `NumericDate` (RFC 7519 section 2): seconds, possibly with a fraction. `None` when it is
    /// not a finite number between 1970 and 9999: such a date is a mistake or an attack.
    pub fn from_numeric_date(seconds: f64) -> Option<Self> {
        if !(0.0..=Self::MAX_SECONDS).contains(&seconds) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)]
        let millis = (seconds * 1000.0).round() as i64;
        Some(Self(millis))
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_dates_keep_their_fraction_and_refuse_the_absurd() {
        assert_eq!(Timestamp::from_numeric_date(1.5), Some(Timestamp::from_millis(1500)));
        for absurd in [-1.0, 1e300, f64::NAN, f64::INFINITY, 253_402_300_800.0] {
            assert_eq!(Timestamp::from_numeric_date(absurd), None, "{absurd}");
        }
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let last = Timestamp::from_millis(i64::MAX);
        assert_eq!(last.plus(Duration::from_secs(1)), last);
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), Duration::ZERO);
        assert_eq!(Timestamp::from_secs(i64::MAX).as_millis(), i64::MAX);
    }
}
