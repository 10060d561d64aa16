//! `sessions:`, `limits:`, `timeouts:`, `log:` — how long, how large, how loud.

use std::time::Duration;

use crate::config::keys::cookie_keys;
use crate::config::settings::{Limits, Log, LogFormat, Patience, Sessions, SubjectInLog};
use crate::config::text::read::Keys;
use crate::config::text::values::show_duration;
use crate::core::session::grant::Timeouts;
use crate::core::token::DEFAULT_TOKEN_LIMIT;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// No browser keeps a cookie for longer (RFC 6265bis section 5.5).
const LONGEST_COOKIE_LIFE: Duration = Duration::from_secs(400 * 86_400);

pub(super) fn sessions(root: &Keys<'_>) -> Sessions {
    let keys = root.section("sessions");
    let Timeouts { idle: idle_timeout, absolute: absolute_timeout } =
        timeouts(&keys, Timeouts { idle: 8 * HOUR, absolute: 7 * DAY });
    let grace = keys.duration("grace", 30 * SECOND, SECOND..=300 * SECOND);
    if keys.has("grace") && grace >= absolute_timeout {
        keys.wrong("grace", "is not shorter than `absolute_timeout`; an answer must not outlive its session");
    }
    let cookie_keys = keys.get("keys").map(|value| cookie_keys(&value)).unwrap_or_default();
    Sessions { idle_timeout, absolute_timeout, grace, keys: cookie_keys }
}

/// `idle_timeout` and `absolute_timeout` of all sessions, or of one client's. A default `idle_timeout` that
/// is longer than `absolute_timeout` is shortened to it.
pub(super) fn timeouts(keys: &Keys<'_>, default: Timeouts) -> Timeouts {
    let given = |key| keys.get(key).and_then(|value| value.duration(SECOND..=LONGEST_COOKIE_LIFE));
    let (given_idle, given_absolute) = (given("idle_timeout"), given("absolute_timeout"));
    let absolute = given_absolute.unwrap_or(default.absolute);
    let idle = given_idle.unwrap_or(default.idle.min(absolute));
    if idle > absolute {
        let message = format!(
            "`idle_timeout` ({}) is longer than `absolute_timeout` ({}), so it would never count; shorten it",
            show_duration(idle),
            show_duration(absolute)
        );
        keys.wrong("idle_timeout", message);
    }
    Timeouts { idle, absolute }
}

pub(super) const NO_BODY: &str =
    "`0` refuses every request that has a body; for no limit write what nobody reaches, like `1000GiB`";

pub(super) fn limits(root: &Keys<'_>) -> Limits {
    let keys = root.section("limits");
    let default = u64::try_from(DEFAULT_TOKEN_LIMIT).unwrap_or(u64::MAX);
    let token = keys.size("token", default, 256..=64 << 10);
    let header = keys.size("header", 32 << 10, 1 << 10..=64 << 10);
    let body = keys.size("body", 10 << 20, 0..=1 << 50);
    if body == 0 {
        keys.warn("body", NO_BODY);
    }
    if token > header {
        let key = if keys.has("token") { "token" } else { "header" };
        keys.wrong(
            key,
            "`token` is larger than `header`, in which it travels; make `header` larger or `token` smaller",
        );
    }
    let connections = count(&keys, "connections", 20_000);
    let connections_per_address = count(&keys, "connections_per_address", 1000);
    if connections_per_address >= connections {
        let key = if keys.has("connections_per_address") { "connections_per_address" } else { "connections" };
        keys.warn(
            key,
            format!(
                "one address may have all {connections} connections, and then nobody else is served; write a `connections_per_address` well below"
            ),
        );
    }
    let token_memory = keys.size("token_memory", 64 << 20, 0..=64 << 30);
    let bytes = |size| usize::try_from(size).unwrap_or(usize::MAX);
    Limits {
        token: bytes(token),
        token_memory,
        header: bytes(header),
        body,
        connections,
        connections_per_address,
        requests_per_address: rate(&keys, "requests_per_address", None),
        denials_per_address: rate(&keys, "denials_per_address", Some((120, 60 * SECOND))),
    }
}

/// How long a client may take, and how long new ones are taken after SIGTERM.
pub(super) fn patience(root: &Keys<'_>) -> (Patience, Duration) {
    let keys = root.section("timeouts");
    let keep_alive = keys.duration("keep_alive", 75 * SECOND, SECOND..=DAY);
    let lame_duck = keys.duration("lame_duck", SECOND, Duration::ZERO..=300 * SECOND);
    (Patience { next_request: keep_alive, http2_idle: keep_alive, ..Patience::default() }, lame_duck)
}

/// How often in how long; `0` is `None`.
fn rate(keys: &Keys<'_>, key: &str, default: Option<(u32, Duration)>) -> Option<(u32, Duration)> {
    keys.get(key).map_or(default, |value| value.rate().flatten())
}

/// A whole number above 0.
fn count(keys: &Keys<'_>, key: &str, default: usize) -> usize {
    let Some(value) = keys.get(key) else { return default };
    let Some(text) = value.measure() else { return default };
    match text.parse() {
        Ok(count) if count > 0 => count,
        _ => {
            let message = format!("`{text}` is not a whole number above 0; write it like `{default}`");
            value.wrong(value.untold(&message, &text));
            default
        }
    }
}

pub(super) fn log(root: &Keys<'_>) -> Log {
    use tracing::Level;
    let keys = root.section("log");
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let subjects =
        [("plain", SubjectInLog::Plain), ("hash", SubjectInLog::Hash), ("none", SubjectInLog::None)];
    Log {
        format: keys.word("format", &[("json", LogFormat::Json), ("text", LogFormat::Text)], LogFormat::Json),
        level: keys.word("level", &levels, Level::INFO),
        subject: keys.word("subject", &subjects, SubjectInLog::Plain),
    }
}
