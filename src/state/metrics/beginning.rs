//! Series that begin at 0, before anything of theirs has happened: `increase` and `rate` of Prometheus see nothing of the
//! event with which a series appears, and the first stolen cookie is the one to be woken for.
//!
//! Only what has a closed set of labels can begin so: outcomes of clients, causes, results. docs/metrics.md names them.

use std::collections::{HashMap, HashSet};

use prometheus::IntCounterVec;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

use super::{ExchangeOutcome, Metrics};
use crate::config::settings::Settings;
use crate::core::denial::Denial;
use crate::core::ids::RouteName;
use crate::state::open_requests::Ending;

impl Metrics {
    /// The series of whoever is configured are there from now on, and those of clients that are no more are gone.
    /// `token_endpoint`: where pages show proofs of possession, too.
    pub fn begin(&self, settings: &Settings, token_endpoint: Option<&RouteName>) {
        let with_cookies = settings.clients.iter().map(|client| client.name.as_str());
        let native = settings.native_clients.iter().map(|client| client.name.as_str());
        let names: Vec<_> = with_cookies.chain(native).collect();
        for series in [&self.exchanges, &self.sign_ins] {
            forget_others(series, "client", &names);
        }
        for client in names {
            for outcome in ExchangeOutcome::ALL {
                self.exchanges.with_label_values(&[client, outcome.label()]);
            }
            for result in ["ok", "failed"] {
                self.sign_ins.with_label_values(&[client, result]);
            }
        }
        for result in ["ok", "failed"] {
            self.config_reloads.with_label_values(&[result]);
        }
        for cause in Ending::ALL {
            self.streams_ended.with_label_values(&[cause.label()]);
        }
        for issuer in settings.called() {
            self.unknown_kid.with_label_values(&[issuer.name.as_str()]);
        }
        for upstream in &settings.upstreams {
            self.planted_cookies.with_label_values(&[upstream.name.as_str()]);
        }
        let no_room = Denial::NoRoomForProofs.facts().label;
        for route in settings.routes.iter().map(|route| &route.name).chain(token_endpoint) {
            self.denials.with_label_values(&[route.as_str(), no_room]);
        }
    }

    /// The series of routes, upstreams, issuers and transmitters that a reload took away are gone. Requests that began before
    /// still count under their names.
    pub fn forget_what_is_no_more<'s>(&self, before: &'s Settings, after: &'s Settings) {
        let routes = |settings: &'s Settings| settings.routes.iter().map(|route| route.name.as_str());
        let routes = gone(routes(before), routes(after));
        for series in [&self.requests, &self.denials, &self.report_only_denials] {
            forget_gone(series, "route", &routes);
        }
        forget_gone(&self.request_duration, "route", &routes);
        let upstreams =
            |settings: &'s Settings| settings.upstreams.iter().map(|upstream| upstream.name.as_str());
        forget_gone(&self.planted_cookies, "upstream", &gone(upstreams(before), upstreams(after)));
        let (called_before, called_after) = (before.called(), after.called());
        let issuers = gone(
            called_before.iter().map(|called| called.name.as_str()),
            called_after.iter().map(|called| called.name.as_str()),
        );
        for series in [&self.tokens_verified, &self.key_fetches, &self.unknown_kid, &self.introspections] {
            forget_gone(series, "issuer", &issuers);
        }
        forget_gone(&self.as_request_duration, "issuer", &issuers);
        let signals = |settings: &'s Settings| settings.signals.iter().map(|signal| signal.name.as_str());
        forget_gone(&self.signals, "signal", &gone(signals(before), signals(after)));
    }
}

/// Takes those series away whose `label` is none of `known`.
fn forget_others(series: &IntCounterVec, label: &str, known: &[&str]) {
    forget(series, |labels| labels.get(label).is_some_and(|value| !known.contains(value)));
}

/// Takes those series away whose `label` is one of `gone`.
fn forget_gone<T: MetricVecBuilder>(series: &MetricVec<T>, label: &str, gone: &HashSet<&str>) {
    forget(series, |labels| labels.get(label).is_some_and(|value| gone.contains(value)));
}

/// Takes those series away that are gone by their labels.
pub(super) fn forget<T: MetricVecBuilder>(
    series: &MetricVec<T>,
    is_gone: impl Fn(&HashMap<&str, &str>) -> bool,
) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<_, _> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if is_gone(&labels) {
                let _ = series.remove(&labels);
            }
        }
    }
}

/// The names of before that are none any more.
fn gone<'s>(before: impl Iterator<Item = &'s str>, after: impl Iterator<Item = &'s str>) -> HashSet<&'s str> {
    let after: HashSet<_> = after.collect();
    before.filter(|name| !after.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::ClientName;

    #[test]
    fn series_of_clients_that_are_no_more_are_gone_and_the_others_keep_their_counts() {
        let metrics = Metrics::new().unwrap();
        let (stays, goes) = (ClientName::new("stays"), ClientName::new("goes"));
        for client in [&stays, &goes] {
            metrics.exchanged(client, ExchangeOutcome::ReuseDetected);
            metrics.exchanged(client, ExchangeOutcome::Rotated);
        }
        forget_others(&metrics.exchanges, "client", &["stays"]);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains(r#"{client="stays",outcome="reuse_detected"} 1"#), "{text}");
        assert!(text.contains(r#"{client="stays",outcome="rotated"} 1"#), "{text}");
        assert!(!text.contains("goes"), "{text}");
    }
}
