//! A moment as Tollgate knows it: milliseconds since 1970-01-01T00:00:00Z (RFC 7519 section 2,
//! `NumericDate`, with the fraction kept). The clock is read in `io`; everything else is told.

use std::time::{Duration, UNIX_EPOCH};

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
        // Not into the next second: in whole ones it would be younger than it is, and pass what is older.
        let fraction = (seconds.fract() * 1000.0).round().min(999.0);
        #[allow(clippy::cast_possible_truncation)]
        let (whole, millis) = (seconds.trunc() as i64, fraction as i64);
        Some(Self::from_millis(whole.saturating_mul(1000).saturating_add(millis)))
    }

    /// RFC 3339 in UTC, as `2026-01-01T00:00:00Z`; between 1970 and 9999.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self(i64::try_from(since.as_millis()).ok()?))
    }

    /// RFC 3339 in UTC, in whole seconds; 1970 for what was before.
    pub fn to_rfc3339(self) -> String {
        #[allow(clippy::cast_precision_loss)]
        let latest = (self.as_secs() as f64).min(Self::MAX_SECONDS);
        let since = Duration::try_from_secs_f64(latest).unwrap_or_default();
        humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
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
        for (date, millis) in
            [(0.0, 0), (1.5, 1500), (1.001, 1001), (1.9994, 1999), (1_800_000_000.25, 1_800_000_000_250)]
        {
            assert_eq!(Timestamp::from_numeric_date(date), Some(Timestamp::from_millis(millis)), "{date}");
        }
        for date in [1.9996, 1.999_999_999, 1_799_999_999.999_999_8] {
            let moment = Timestamp::from_numeric_date(date).unwrap();
            assert_eq!(
                moment.as_secs(),
                if date < 2.0 { 1 } else { 1_799_999_999 },
                "{date} is in the second that it began"
            );
        }
        for absurd in [-1.0, 1e300, f64::NAN, f64::INFINITY, 253_402_300_800.0] {
            assert_eq!(Timestamp::from_numeric_date(absurd), None, "{absurd}");
        }
    }

    #[test]
    fn what_is_written_for_people_is_read_again() {
        for text in ["1970-01-01T00:00:00Z", "2026-11-25T20:00:01Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::from_rfc3339(text).unwrap().to_rfc3339(), text);
        }
        assert_eq!(Timestamp::from_rfc3339("2026-01-01T00:00:00.5Z").unwrap().as_millis() % 1000, 500);
        for bad in ["", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "1969-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::from_rfc3339(bad), None, "{bad}");
        }
        assert_eq!(Timestamp::from_secs(i64::MAX).to_rfc3339(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_secs(-5).to_rfc3339(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let last = Timestamp::from_millis(i64::MAX);
        assert_eq!(last.plus(Duration::from_secs(1)), last);
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), Duration::ZERO);
        assert_eq!(Timestamp::from_secs(i64::MAX).as_millis(), i64::MAX);
    }
}
