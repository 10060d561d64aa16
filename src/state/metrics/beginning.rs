//! Series that begin at 0, before anything of theirs has happened: `increase` and `rate` of Prometheus see nothing of the
//! event with which a series appears, and the first stolen cookie is the one to be woken for.
//!
//! Only what has a closed set of labels can begin so: outcomes of clients, causes, results. docs/metrics.md names them.

use std::collections::HashMap;

use prometheus::IntCounterVec;
use prometheus::core::Collector;

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
        for issuer in &settings.issuers {
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
}

/// Takes those series away whose `label` is none of `known`.
fn forget_others(series: &IntCounterVec, label: &str, known: &[&str]) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<_, _> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if labels.get(label).is_some_and(|value| !known.contains(value)) {
                let _ = series.remove(&labels);
            }
        }
    }
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
