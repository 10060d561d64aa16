//! What operators see at `/metrics`: every series that Tollgate has, with typed labels, so that a
//! label outside its closed set cannot be written.
//!
//! - `series`: name, help and labels of each
//! - `labels`: the closed sets; `request_outcome`: what became of a request, in the access log too
//! - `beginning`: which series begin at 0
//! - `at_hand`: what every request counts, without a look-up; `servers`: what is counted of each server of an
//!   upstream

mod at_hand;
mod beginning;
#[cfg(test)]
mod documented;
mod labels;
mod request_outcome;
mod series;
mod servers;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use prometheus::core::{Atomic, Collector, GenericGaugeVec};
use prometheus::{Encoder, Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use crate::config::settings::ShownCertificate;
use crate::core::ids::{ClientName, IssuerName, RouteName, SignalName, UpstreamName};
use crate::core::revocation::Kind;
use crate::core::time::Timestamp;
use crate::core::token::security_event::event::EventType;
use crate::state::open_requests::Ending;
use crate::state::revocations::{Currency, Revocations};
pub use at_hand::RouteCounts;
use beginning::Gone;
pub use labels::{
    ExchangeOutcome, IntrospectionResult, ListenerKind, Log, RefusedProxyHeader, ServerEndpoint,
    SignalResult, UpstreamResult,
};
pub use request_outcome::{Reason, RequestOutcome};
use series::{
    AuthorizationServers, Clients, Listeners, Process, Registrar, Requests, Revoking, Tokens, Upstreams,
};

/// All series of one process. A clone writes to the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    tokens: Tokens,
    authorization_servers: AuthorizationServers,
    clients: Clients,
    revoking: Revoking,
    upstreams: Upstreams,
    listeners: Listeners,
    process: Process,
    gone: Arc<Mutex<Gone>>,
}

impl Metrics {
    /// # Errors
    /// Only when two series have one name: a mistake in `series`.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("tollgate".to_owned()), None)?;
        let to = Registrar(&registry);
        let metrics = Self {
            requests: Requests::register(&to)?,
            tokens: Tokens::register(&to)?,
            authorization_servers: AuthorizationServers::register(&to)?,
            clients: Clients::register(&to)?,
            revoking: Revoking::register(&to)?,
            upstreams: Upstreams::register(&to)?,
            listeners: Listeners::register(&to)?,
            process: Process::register(&to)?,
            registry,
            gone: Arc::default(),
        };
        // There from the beginning, so that the first lost line is seen.
        for log in [Log::Access, Log::Messages] {
            metrics.log_lines_lost(log, 0);
        }
        metrics.process.config_is_taken_over.set(1);
        metrics.process.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    pub fn request_answered(&self, route: &RouteName, status: StatusCode, took: Duration) {
        self.answers(route, status).inc();
        self.answer_times(route).observe(took.as_secs_f64());
    }

    fn answers(&self, route: &RouteName, status: StatusCode) -> IntCounter {
        self.requests.answered.with_label_values(&[route.as_str(), status.as_str()])
    }

    fn answer_times(&self, route: &RouteName) -> Histogram {
        self.requests.duration.with_label_values(&[route.as_str()])
    }

    pub fn token_verified(&self, issuer: &IssuerName, took: Duration) {
        self.tokens.verified.with_label_values(&[issuer.as_str(), "verified"]).inc();
        self.tokens.verify_duration.observe(took.as_secs_f64());
    }

    /// A token that was found good before was so again.
    pub fn token_recalled(&self, took: Duration) {
        self.tokens.recall_duration.observe(took.as_secs_f64());
    }

    /// What is counted up each time that happens to a token of this issuer.
    pub fn token_recalls(&self, issuer: &IssuerName) -> IntCounter {
        self.tokens.verified.with_label_values(&[issuer.as_str(), "cached"])
    }

    /// An opaque token was found good by an answer of its issuer that was waited for.
    pub fn token_introspected(&self, issuer: &IssuerName, took: Duration) {
        self.tokens.verified.with_label_values(&[issuer.as_str(), "introspected"]).inc();
        self.tokens.auth_duration.with_label_values(&["introspected"]).observe(took.as_secs_f64());
    }

    pub fn introspected(&self, issuer: &IssuerName, result: IntrospectionResult) {
        self.tokens.introspections.with_label_values(&[issuer.as_str(), result.label()]).inc();
    }

    pub fn signal_heard(&self, signal: &SignalName, event: EventType, result: SignalResult) {
        self.revoking.signals.with_label_values(&[signal.as_str(), event.name(), result.label()]).inc();
    }

    pub fn denied(&self, route: &RouteName, reason: Reason) {
        self.requests.denials.with_label_values(&[route.as_str(), reason.label()]).inc();
    }

    pub fn would_be_denied(&self, route: &RouteName, reason: Reason) {
        self.requests.report_only_denials.with_label_values(&[route.as_str(), reason.label()]).inc();
    }

    pub fn exchanged(&self, client: &ClientName, outcome: ExchangeOutcome) {
        self.clients.exchanges.with_label_values(&[client.as_str(), outcome.label()]).inc();
    }

    pub fn signed_in(&self, client: &ClientName, ok: bool) {
        self.clients.sign_ins.with_label_values(&[client.as_str(), if ok { "ok" } else { "failed" }]).inc();
    }

    /// `fault`: why it brought no answer, where it brought none.
    pub fn authorization_server_called(
        &self,
        issuer: &IssuerName,
        endpoint: ServerEndpoint,
        took: Duration,
        fault: Option<&'static str>,
    ) {
        self.authorization_servers
            .request_duration
            .with_label_values(&[issuer.as_str(), endpoint.label()])
            .observe(took.as_secs_f64());
        if let Some(reason) = fault {
            self.authorization_servers
                .call_failures
                .with_label_values(&[issuer.as_str(), endpoint.label(), reason])
                .inc();
        }
    }

    pub fn keys_fetched(&self, issuer: &IssuerName, ok: bool) {
        self.authorization_servers
            .key_fetches
            .with_label_values(&[issuer.as_str(), if ok { "ok" } else { "failed" }])
            .inc();
    }

    /// Sets how old the keys of each issuer are and should become, and drops the figures of issuers that are
    /// gone. Infinitely old while none were ever read: an alert must not be silent because there is no number
    /// yet.
    pub fn set_keys_ages(&self, ages: &[KeysAge<'_>]) {
        for told in [&self.authorization_servers.keys_age, &self.authorization_servers.keys_refresh] {
            keep_only(told, |told| ages.iter().any(|own| own.of.as_str() == told));
        }
        for KeysAge { of, age, refresh } in ages {
            let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            self.authorization_servers.keys_age.with_label_values(&[of.as_str()]).set(age);
            self.authorization_servers
                .keys_refresh
                .with_label_values(&[of.as_str()])
                .set(refresh.as_secs_f64());
        }
    }

    /// From when until when certificates count, as the next reading shall say it, and nothing of any other.
    pub fn set_certificates(&self, shown: &[ShownCertificate]) {
        for told in [&self.listeners.certificate_begin, &self.listeners.certificate_end] {
            keep_only(told, |told| shown.iter().any(|own| own.file == told));
        }
        for certificate in shown {
            let file = [certificate.file.as_str()];
            self.listeners.certificate_begin.with_label_values(&file).set(certificate.begins_at.as_secs());
            self.listeners.certificate_end.with_label_values(&file).set(certificate.ends_at.as_secs());
        }
    }

    pub fn unknown_kid(&self, issuer: &IssuerName) {
        self.tokens.unknown_kid.with_label_values(&[issuer.as_str()]).inc();
    }

    pub fn stream_ended(&self, cause: Ending) {
        self.requests.ended.with_label_values(&[cause.label()]).inc();
    }

    /// `count` cookies of our names were taken out of an upstream's answer.
    pub fn planted_cookies(&self, upstream: &UpstreamName, count: usize) {
        self.upstreams.planted_cookies.with_label_values(&[upstream.as_str()]).inc_by(count as u64);
    }

    /// A token came to the admin listener that is not its own.
    pub fn admin_token_refused(&self) {
        self.listeners.admin_tokens_refused.inc();
    }

    /// Counts a connection of a load balancer that did not say whose it is.
    pub fn proxy_header_refused(&self, why: RefusedProxyHeader) {
        self.listeners.proxy_headers_refused.with_label_values(&[why.label()]).inc();
    }

    pub fn config_reloaded(&self, taken_over: bool) {
        self.process.config_is_taken_over.set(taken_over.into());
        self.process.config_reloads.with_label_values(&[if taken_over { "ok" } else { "failed" }]).inc();
    }

    /// So many more were lost.
    pub fn log_lines_lost(&self, log: Log, lines: u64) {
        self.process.log_lines_lost.with_label_values(&[log.label()]).inc_by(lines);
    }

    /// How the store fares, as the next reading shall say it.
    pub fn set_store_up(&self, up: bool) {
        self.revoking.store_up.set(up.into());
    }

    /// How many revocations there are and how current they are, as the next reading shall say it. Without a
    /// list the lag is infinite: every comparison with a number that is none is false, and an alert would be
    /// silent.
    pub fn set_revocations(&self, list: &Revocations, now: Timestamp) {
        for kind in Kind::ALL {
            let count = i64::try_from(list.count(kind)).unwrap_or(i64::MAX);
            self.revoking.revocations.with_label_values(&[kind.label()]).set(count);
        }
        self.revoking.lag.set(match list.currency(now) {
            Currency::Unknown => f64::INFINITY,
            Currency::Current { age } | Currency::Stale { age } => age.as_secs_f64(),
        });
    }

    /// How many used proofs of possession are remembered, as the next reading shall say it.
    pub fn set_used_proofs(&self, on_routes: usize, at_token_endpoint: usize) {
        for (at, held) in [("routes", on_routes), ("token_endpoint", at_token_endpoint)] {
            self.tokens.used_proofs.with_label_values(&[at]).set(i64::try_from(held).unwrap_or(i64::MAX));
        }
    }

    pub fn connections(&self, listener: ListenerKind) -> IntGauge {
        self.listeners.connections.with_label_values(&[listener.label()])
    }

    /// Requests not yet answered: what a drain waits for.
    pub const fn in_flight(&self) -> &IntGauge {
        &self.requests.in_flight
    }

    pub fn set_started(&self, unix_seconds: f64) {
        self.process.up_since.set(unix_seconds);
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a series cannot be written; a mistake in this file.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// How old the keys of an issuer, or of a transmitter, are.
#[derive(Clone, Copy, Debug)]
pub struct KeysAge<'a> {
    pub of: &'a IssuerName,
    /// `None`: they were never read.
    pub age: Option<Duration>,
    /// At which they are read again.
    pub refresh: Duration,
}

/// Takes those series of a gauge away whose one label has none of these values.
fn keep_only<P: Atomic>(gauge: &GenericGaugeVec<P>, is_kept: impl Fn(&str) -> bool) {
    for family in gauge.collect() {
        let named = family.get_metric().iter().flat_map(|series| series.get_label());
        let gone = named.map(prometheus::proto::LabelPair::value).filter(|told| !is_kept(told));
        gone.for_each(|name| drop(gauge.remove_label_values(&[name])));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::time::Timestamp;

    #[test]
    fn the_documentation_has_every_series_and_no_other() {
        let table = include_str!("../../docs/metrics.md").split("## ").next().unwrap();
        let documented: BTreeSet<&str> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        // A name, and what it says.
        let literals: Vec<&str> = include_str!("metrics/series.rs").split('"').collect();
        let described = literals.windows(3).filter(|part| part[1].trim() == "," && part[2].ends_with('.'));
        let described: BTreeSet<&str> = described.map(|part| part[0]).collect();
        assert_eq!(documented, described);
        assert!(documented.len() > 20);
    }

    #[test]
    fn a_series_appears_with_its_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.request_answered(&RouteName::new("/api/*"), StatusCode::OK, Duration::from_millis(3));
        metrics.exchanged(&ClientName::new("web-app"), ExchangeOutcome::AnsweredAgain);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains(r#"tollgate_requests_total{route="/api/*",status="200"} 1"#), "{text}");
        assert!(
            text.contains(r#"tollgate_exchanges_total{client="web-app",outcome="answered_again"} 1"#),
            "{text}"
        );
    }

    #[test]
    fn whether_the_latest_configuration_counts_is_told_until_it_does() {
        let metrics = Metrics::new().unwrap();
        let told = || {
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            text.contains("\ntollgate_config_last_reload_successful 1\n")
        };
        assert!(told(), "the one that it started with does");
        for taken_over in [false, false, true] {
            metrics.config_reloaded(taken_over);
            assert_eq!(told(), taken_over);
        }
    }

    #[test]
    fn a_list_that_is_not_there_is_infinitely_behind() {
        let metrics = Metrics::new().unwrap();
        metrics.set_revocations(&Revocations::new([1; 16]), Timestamp::from_secs(1));
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        // A spelling that Prometheus reads.
        assert!(text.contains("\ntollgate_revocation_lag_seconds inf\n"), "{text}");
    }

    #[test]
    fn the_dates_of_each_certificate_are_told_and_of_one_that_is_gone_nothing() {
        let metrics = Metrics::new().unwrap();
        let shown = |file: &str, begin, end| ShownCertificate {
            file: file.to_owned(),
            begins_at: Timestamp::from_secs(begin),
            ends_at: Timestamp::from_secs(end),
        };
        let told = |all: &[_]| {
            metrics.set_certificates(all);
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            let lines = text.lines().filter_map(|line| line.strip_prefix("tollgate_certificate_"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let both = [shown("tls/a.pem", 5, 1_800_000_000), shown("tls/b.pem", 6, 7)];
        let lines = [
            "begin_time_seconds{certificate=\"tls/a.pem\"} 5",
            "begin_time_seconds{certificate=\"tls/b.pem\"} 6",
            "end_time_seconds{certificate=\"tls/a.pem\"} 1800000000",
            "end_time_seconds{certificate=\"tls/b.pem\"} 7",
        ];
        assert_eq!(told(&both), lines);
        let lines = lines.map(|line| line.replace(" 6", " 8").replace(" 7", " 9"));
        assert_eq!(told(&[shown("tls/b.pem", 8, 9)]), [&*lines[1], &*lines[3]]);
    }

    #[test]
    fn keys_that_were_never_read_are_infinitely_old_and_of_whom_they_are_not_fetched_nothing_is_said() {
        let metrics = Metrics::new().unwrap();
        let (read, unread, gone) =
            (IssuerName::new("read"), IssuerName::new("unread"), IssuerName::new("signals/gone"));
        let age = Some(Duration::from_secs(7));
        let told = |ages: &[_]| {
            metrics.set_keys_ages(ages);
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            let lines = text.lines().filter_map(|line| line.strip_prefix("tollgate_keys_age_seconds"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let refresh = Duration::from_secs(600);
        let of = |of, age| KeysAge { of, age, refresh };
        let all = [of(&gone, age), of(&read, age), of(&unread, None)];
        assert_eq!(
            told(&all),
            ["{issuer=\"read\"} 7", "{issuer=\"signals/gone\"} 7", "{issuer=\"unread\"} inf"]
        );
        assert_eq!(told(&[of(&read, None)]), ["{issuer=\"read\"} inf"]);
        let text = || String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text().contains("\ntollgate_keys_refresh_seconds{issuer=\"read\"} 600\n"), "{}", text());
        assert!(told(&[]).is_empty() && !text().contains("keys_refresh"), "{}", text());
    }
}
