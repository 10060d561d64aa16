//! Where Tollgate's own messages go: standard error, as JSON or text. Requests are logged by
//! `edge::proxy::access_log`, to standard output.
//!
//! Whoever logs never waits for whoever reads: a full pipe would stop the worker that logs a failed request,
//! and soon all of them. So messages go the way of the access log, and panics too.
//!
//! Other crates never log below `warn`, whatever `log.level` says: at `debug` some of them print request
//! headers, and with them tokens. What they warn of, strangers may cause at will: they have a share, and
//! those that are known to say each such thing have none. Audit and theft are told at every level
//! (`state::log_targets`), and have room that no other message takes.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::settings::{Log as Settings, LogFormat};
use crate::io::line_writer::LineWriter;
use crate::state::lines::Lines;
use crate::state::log_targets::{AUDIT, SECURITY};
use crate::state::metrics::Log;

/// How long a panic waits until it is written: it may be the last that the process says.
const PANIC: Duration = Duration::from_millis(200);
/// So many messages of other crates are written in each [`SHARE_LASTS`]; the log says how many more there
/// were.
const SHARE: u32 = 60;
const SHARE_LASTS: Duration = Duration::from_secs(60);

/// The messages of this process, which are written until [`Self::finish`].
#[derive(Debug)]
pub struct Messages(LineWriter);

impl Messages {
    /// What waits to be written.
    pub fn lines(&self) -> &Arc<Lines> {
        self.0.lines()
    }

    /// Says a text as it is.
    pub fn say(&self, text: &str) {
        let _ = self.lines().write(format!("{text}\n").as_bytes());
    }

    /// Writes what was said so far, for as long as somebody reads it: two seconds at most.
    pub fn finish(self) {
        // There is nobody left to tell.
        let _ = self.0.finish();
    }
}

/// Installs the subscriber for this process, of which the first call counts, and says panics in the same way.
///
/// # Errors
/// When standard error cannot be written to.
pub fn install(log: &Settings) -> io::Result<Messages> {
    let sink = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let messages = Messages(LineWriter::start(Log::Messages, log.format, Box::new(sink), Arc::default())?);
    let (filter, to) = (targets(log.level), ToLines::new(messages.lines().clone()));
    let layer = match log.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(to).boxed(),
        LogFormat::Text => {
            let no_colour = std::env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
            let colours = io::stderr().is_terminal() && !no_colour;
            fmt::layer().with_ansi(colours).with_writer(to).boxed()
        }
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    let lines = messages.lines().clone();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = lines.write(told(panic).as_bytes());
        lines.wait(PANIC);
    }));
    Ok(messages)
}

/// Where messages go, by who says them.
struct ToLines {
    lines: Arc<Lines>,
    others: Mutex<Share>,
}

/// What is left of the share of other crates.
struct Share {
    began: Instant,
    said: u32,
}

/// One message: the subscriber writes each at once.
struct Message<'l> {
    lines: &'l Lines,
    speaker: Speaker,
}

#[derive(Clone, Copy)]
enum Speaker {
    /// The lines that an operator must not miss.
    Trail,
    Tollgate,
    Another,
    /// Another, whose share is used up.
    OneTooMany,
}

impl ToLines {
    fn new(lines: Arc<Lines>) -> Self {
        Self { lines, others: Mutex::new(Share { began: Instant::now(), said: 0 }) }
    }

    fn speaker(&self, target: &str) -> Speaker {
        match target {
            AUDIT | SECURITY => Speaker::Trail,
            _ if target.split("::").next() == Some("tollgate") => Speaker::Tollgate,
            _ if self.others.lock().unwrap_or_else(PoisonError::into_inner).takes_one(Instant::now()) => {
                Speaker::Another
            }
            _ => Speaker::OneTooMany,
        }
    }
}

impl Share {
    fn takes_one(&mut self, now: Instant) -> bool {
        if now.duration_since(self.began) >= SHARE_LASTS {
            *self = Self { began: now, said: 0 };
        }
        self.said = self.said.saturating_add(1);
        self.said <= SHARE
    }
}

impl<'l> MakeWriter<'l> for ToLines {
    type Writer = Message<'l>;

    fn make_writer(&'l self) -> Message<'l> {
        Message { lines: &self.lines, speaker: Speaker::Tollgate }
    }

    /// What comes by way of the crate `log` has that for its target here.
    fn make_writer_for(&'l self, message: &Metadata<'_>) -> Message<'l> {
        Message { lines: &self.lines, speaker: self.speaker(message.target()) }
    }
}

impl Write for Message<'_> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        // The log says itself how many are missing.
        let _ = match self.speaker {
            Speaker::Trail => self.lines.write(message),
            Speaker::Tollgate | Speaker::Another => self.lines.write_ordinary(message),
            Speaker::OneTooMany => self.lines.lost(1),
        };
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As the library says it.
fn told(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let mut text = format!("thread '{}' {panic}\n", thread.name().unwrap_or("<unnamed>"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("{backtrace}\n"));
    }
    text
}

fn targets(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("tollgate", level)
        .with_target(AUDIT, Level::INFO)
        .with_target(SECURITY, Level::INFO)
        // What pingora says of single requests and handshakes is said by us, without the query.
        .with_target("pingora_proxy", LevelFilter::OFF)
        .with_target("pingora_core::connectors", LevelFilter::OFF)
        .with_target("pingora_core::apps", LevelFilter::OFF)
        .with_target("pingora_core::protocols", LevelFilter::OFF)
        // Nor what it says of connections; that none can be taken, for want of files, it says as an error.
        .with_target("pingora_core::services::listening", LevelFilter::ERROR)
        // They warn of each frame and each name that a peer should not have sent, without a limit.
        .with_target("h2", LevelFilter::OFF)
        .with_target("rustls", LevelFilter::OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_stay_below_what_could_print_a_token() {
        let filter = targets(Level::TRACE);
        assert!(filter.would_enable("tollgate::flows", &Level::TRACE));
        for target in ["pingora_core::protocols::http::v1", "h2", "hyper", "pingora_proxy"] {
            assert!(!filter.would_enable(target, &Level::DEBUG), "{target}");
        }
    }

    #[test]
    fn audit_and_theft_are_told_at_every_level() {
        for level in [Level::ERROR, Level::WARN, Level::TRACE] {
            let filter = targets(level);
            assert!(filter.would_enable(AUDIT, &Level::INFO), "{level}");
            assert!(filter.would_enable(SECURITY, &Level::WARN), "{level}");
        }
        assert!(!targets(Level::ERROR).would_enable("tollgate::flows::exchange", &Level::WARN));
    }

    #[test]
    fn what_a_peer_sends_at_will_writes_no_message_and_that_no_connection_is_taken_does() {
        let filter = targets(Level::TRACE);
        for target in ["h2::proto::ping_pong", "rustls::msgs::handshake", "pingora_core::protocols"] {
            assert!(!filter.would_enable(target, &Level::ERROR), "{target}");
        }
        assert!(filter.would_enable("pingora_core::services::listening", &Level::ERROR));
        assert!(!filter.would_enable("pingora_core::services::listening", &Level::WARN));
    }

    /// Says it to a log of its own. What was written, and how many lines were lost.
    fn said(say: impl FnOnce()) -> (String, u64) {
        let lines = Arc::new(Lines::default());
        let layer = fmt::layer().with_ansi(false).with_writer(ToLines::new(lines.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let mut written = Vec::new();
        lines.take(&mut written);
        (String::from_utf8(written).unwrap(), lines.newly_lost())
    }

    #[test]
    fn other_crates_have_a_share_of_the_log_and_no_more() {
        let (written, lost) = said(|| {
            for _ in 0..SHARE + 5 {
                tracing::error!(target: "tollgates", "theirs");
            }
            tracing::warn!(target: "tollgate::edge", "ours");
        });
        assert_eq!(written.matches("theirs").count(), SHARE as usize);
        assert!(written.contains("ours"));
        assert_eq!(lost, 5, "and it is counted");
        let mut share = Share { began: Instant::now(), said: SHARE };
        assert!(!share.takes_one(share.began));
        assert!(share.takes_one(share.began + SHARE_LASTS), "it begins anew");
    }

    #[test]
    fn no_flood_of_messages_keeps_audit_and_theft_out_of_the_log() {
        let much = "x".repeat(1 << 20);
        let (written, lost) = said(|| {
            for _ in 0..5 {
                tracing::warn!(target: "tollgate::edge", much);
            }
            tracing::info!(target: AUDIT, "taken back");
            tracing::warn!(target: SECURITY, "theft");
        });
        assert!(lost > 0, "there was no room for all");
        assert!(written.contains("taken back") && written.contains("theft"));
    }
}
