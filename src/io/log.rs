//! Where Tollgate's own messages go: standard error, as JSON or text. Requests are logged by
//! `edge::access_log`, to standard output.
//!
//! Whoever logs never waits for whoever reads: a full pipe would stop the worker that logs a failed request, and soon
//! all of them. So messages go the way of the access log, and panics too.
//!
//! Other crates never log below `warn`, whatever `log.level` says: at `debug` some of them print
//! request headers, and with them tokens. Audit and theft are told at every level (`state::log_targets`).

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
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
    let (filter, lines) = (targets(log.level), messages.lines().clone());
    let to = move || ToLines(lines.clone());
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

/// One message: the subscriber writes each at once.
struct ToLines(Arc<Lines>);

impl Write for ToLines {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        // The log says itself how many are missing.
        let _ = self.0.write(message);
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
        .with_target("pingora_core::services::listening", LevelFilter::OFF)
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
}
