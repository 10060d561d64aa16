//! Durations and sizes, strictly: a form that two people could read differently is refused with
//! the form that is meant. Pure; says what would be right.

use std::time::Duration;

/// `90s 5m 12h 7d`, `500ms`, `1h30m`. A bare number has no unit, and `5M` could be months.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, String> {
    const RIGHT: &str = "write a number and a unit: `500ms`, `90s`, `5m`, `12h` or `7d`";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{text}` has no unit; for seconds write `{text}s`"));
    }
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        if number.is_empty() || !matches!(unit, "ms" | "s" | "m" | "h" | "d") {
            return Err(format!("`{text}` is not a duration; {RIGHT}"));
        }
        rest = after;
    }
    humantime::parse_duration(text).map_err(|_| format!("`{text}` is not a duration; {RIGHT}"))
}

/// `120/m`: how often in how long; `0`: without limit.
pub(in crate::config) fn rate(text: &str) -> Result<Option<(u32, Duration)>, String> {
    let wrong = || {
        format!(
            "`{text}` is not a rate; write how often in a second, minute or hour, like `120/m`; `0` is no limit"
        )
    };
    if text == "0" {
        return Ok(None);
    }
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let digits = count.bytes().all(|b| b.is_ascii_digit());
    let count = count.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    Ok((count > 0).then_some((count, Duration::from_secs(seconds))))
}

/// A duration as this file would write it.
pub(in crate::config) fn show_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match seconds {
        _ if millis > 0 => format!("{}ms", duration.as_millis()),
        0 => "0s".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// `8KiB 10MiB 1GiB 512B`, in bytes.
pub(in crate::config) fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| factor > 0)
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| {
            format!("`{text}` is not a size; write a number of bytes, or one with `KiB`, `MiB` or `GiB`")
        })
}

/// A size as this file would write it.
pub(in crate::config) fn show_size(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        b if b % (1 << 30) == 0 => format!("{}GiB", b >> 30),
        b if b % (1 << 20) == 0 => format!("{}MiB", b >> 20),
        b if b % (1 << 10) == 0 => format!("{}KiB", b >> 10),
        b => b.to_string(),
    }
}

/// The one of `known` that was probably meant.
pub(in crate::config) fn meant<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let lower = written.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let shorter = written.chars().count().min(candidate.chars().count());
            *distance <= shorter.div_ceil(4).max(1) && *distance < shorter
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_reading() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in [
            "",
            "5M",
            "5 m",
            "m",
            "1.5h",
            "-5s",
            "5w",
            "5y",
            "5min",
            "5s ",
            "5sm",
            "99999999999999999999d",
            "٣s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("30"), Err("`30` has no unit; for seconds write `30s`".to_owned()));
    }

    #[test]
    fn rates_have_one_reading() {
        assert_eq!(rate("120/m"), Ok(Some((120, Duration::from_secs(60)))));
        assert_eq!(rate("5/s"), Ok(Some((5, Duration::from_secs(1)))));
        assert_eq!((rate("0"), rate("0/h")), (Ok(None), Ok(None)));
        for bad in ["", "120", "/m", "120/", "120/min", "-1/s", "+1/s", "1.5/s", "120 / m", "99999999999/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_one_reading() {
        assert_eq!(size("8KiB"), Ok(8192));
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("512B"), Ok(512));
        for bad in ["", "8K", "8KB", "8kib", "8 KiB", "1.5MiB", "-1", "18446744073709551615GiB", "KiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_is_what_would_be_written() {
        for text in ["90s", "5m", "12h", "7d", "500ms", "0s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["8KiB", "10MiB", "1GiB", "1000"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn near_misses_are_recognised_and_strangers_are_not() {
        let known = ["to", "path", "methods", "public"];
        assert_eq!(meant("too", known), Some("to"));
        assert_eq!(meant("method", known), Some("methods"));
        assert_eq!(meant("Public", known), Some("public"));
        assert_eq!(meant("extra", known), None);
        assert_eq!(meant("x", known), None);
    }
}
