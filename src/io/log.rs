//! Where Tollgate's own messages go: standard error, as JSON or text. Requests are logged by
//! `edge::access_log`, to standard output.
//!
//! Other crates never log below `warn`, whatever `log.level` says: at `debug` some of them print
//! request headers, and with them tokens.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::settings::{Log, LogFormat};

/// Installs the subscriber for this process; the first call counts.
pub fn install(log: &Log) {
    let filter = targets(log.level);
    let layer = match log.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
        LogFormat::Text => {
            let no_colour = std::env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
            let colours = io::stderr().is_terminal() && !no_colour;
            fmt::layer().with_ansi(colours).with_writer(io::stderr).boxed()
        }
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

fn targets(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("tollgate", level)
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
}
