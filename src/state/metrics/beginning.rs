//! Series that begin at 0, before anything of theirs has happened: `increase` and `rate` of Prometheus see
//! nothing of the event with which a series appears, and the first stolen cookie is the one to be woken for.
//!
//! Only what has a closed set of labels can begin so: outcomes of clients, causes, results. docs/metrics.md
//! names them.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use prometheus::IntCounterVec;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

use super::{ExchangeOutcome, Metrics, RefusedProxyHeader};
use crate::config::settings::Settings;
use crate::core::denial::Denial;
use crate::core::ids::RouteName;
use crate::state::open_requests::Ending;

impl Metrics {
    /// The series of whoever is configured are there from now on, and those of clients that are no more are
    /// gone. `token_endpoint`: where pages show proofs of possession, too.
    pub fn begin(&self, settings: &Settings, token_endpoint: Option<&RouteName>) {
        let names: Vec<_> = settings.registered_clients().map(|client| client.name.as_str()).collect();
        for series in [&self.clients.exchanges, &self.clients.sign_ins] {
            forget_others(series, "client", &names);
        }
        for client in names {
            for outcome in ExchangeOutcome::ALL {
                self.clients.exchanges.with_label_values(&[client, outcome.label()]);
            }
            for result in ["ok", "failed"] {
                self.clients.sign_ins.with_label_values(&[client, result]);
            }
        }
        for result in ["ok", "failed"] {
            self.process.config_reloads.with_label_values(&[result]);
        }
        for why in RefusedProxyHeader::ALL {
            self.listeners.proxy_headers_refused.with_label_values(&[why.label()]);
        }
        for cause in Ending::ALL {
            self.requests.ended.with_label_values(&[cause.label()]);
        }
        for issuer in settings.called() {
            self.tokens.unknown_kid.with_label_values(&[issuer.name.as_str()]);
        }
        for upstream in &settings.upstreams {
            self.upstreams.planted_cookies.with_label_values(&[upstream.name.as_str()]);
        }
        let no_room = Denial::NoRoomForProofs.facts().label;
        let served = settings.routes.iter().filter(|route| route.is_served());
        for route in served.map(|route| &route.name).chain(token_endpoint) {
            self.requests.denials.with_label_values(&[route.as_str(), no_room]);
        }
    }

    /// The series of routes, upstreams, issuers and transmitters that a reload took away are gone.
    pub fn forget_what_is_no_more(&self, before: &Settings, after: &Settings) {
        let mut lock = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = &mut *lock;
        for (names, here, there) in [
            (&mut gone.routes, routes(before), routes(after)),
            (&mut gone.upstreams, upstreams(before), upstreams(after)),
            (&mut gone.issuers, issuers(before), issuers(after)),
            (&mut gone.signals, signals(before), signals(after)),
        ] {
            names.extend(here);
            names.retain(|name| !there.contains(name));
        }
        drop(lock);
        self.forget_again();
    }

    /// What was under way at a reload, and ended after it, still counted under names that are none any more.
    pub fn forget_again(&self) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        for series in [&self.requests.answered, &self.requests.denials, &self.requests.report_only_denials] {
            forget_gone(series, "route", &gone.routes);
        }
        forget_gone(&self.requests.duration, "route", &gone.routes);
        forget_gone(&self.upstreams.planted_cookies, "upstream", &gone.upstreams);
        for series in [
            &self.tokens.verified,
            &self.authorization_servers.key_fetches,
            &self.tokens.unknown_kid,
            &self.tokens.introspections,
            &self.authorization_servers.call_failures,
        ] {
            forget_gone(series, "issuer", &gone.issuers);
        }
        forget_gone(&self.authorization_servers.request_duration, "issuer", &gone.issuers);
        forget_gone(&self.revoking.signals, "signal", &gone.signals);
    }
}

/// Names that were of something once, and are of nothing now. As many as configurations ever had.
#[derive(Debug, Default)]
pub(super) struct Gone {
    routes: HashSet<String>,
    upstreams: HashSet<String>,
    /// Transmitters too, by how they are called as issuers of keys.
    issuers: HashSet<String>,
    signals: HashSet<String>,
}

fn routes(settings: &Settings) -> HashSet<String> {
    let served = settings.routes.iter().filter(|route| route.is_served());
    served.map(|route| route.name.as_str().to_owned()).collect()
}

fn upstreams(settings: &Settings) -> HashSet<String> {
    settings.upstreams.iter().map(|upstream| upstream.name.as_str().to_owned()).collect()
}

fn issuers(settings: &Settings) -> HashSet<String> {
    settings.called().iter().map(|called| called.name.as_str().to_owned()).collect()
}

fn signals(settings: &Settings) -> HashSet<String> {
    settings.signals.iter().map(|signal| signal.name.as_str().to_owned()).collect()
}

/// Takes those series away whose `label` is none of `known`.
fn forget_others(series: &IntCounterVec, label: &str, known: &[&str]) {
    forget(series, |labels| labels.get(label).is_some_and(|value| !known.contains(value)));
}

/// Takes those series away whose `label` is one of `gone`.
fn forget_gone<T: MetricVecBuilder>(series: &MetricVec<T>, label: &str, gone: &HashSet<String>) {
    if gone.is_empty() {
        return;
    }
    forget(series, |labels| labels.get(label).is_some_and(|value| gone.contains(*value)));
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
        forget_others(&metrics.clients.exchanges, "client", &["stays"]);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains(r#"{client="stays",outcome="reuse_detected"} 1"#), "{text}");
        assert!(text.contains(r#"{client="stays",outcome="rotated"} 1"#), "{text}");
        assert!(!text.contains("goes"), "{text}");
    }
}
