//! What is counted of each server of an upstream, and forgotten when a reload takes the server away.

use prometheus::IntCounter;
use prometheus::core::Collector as _;

use super::{Metrics, UpstreamResult, beginning};
use crate::core::ids::UpstreamName;

impl Metrics {
    /// What is counted up each time that this comes of a request.
    pub fn upstream_answers(
        &self,
        upstream: &UpstreamName,
        server: &str,
        result: UpstreamResult,
    ) -> IntCounter {
        self.upstreams.requests.with_label_values(&[upstream.as_str(), server, result.label()])
    }

    pub fn upstream_healthy(&self, upstream: &UpstreamName, server: &str, healthy: bool) {
        self.upstreams.healthy.with_label_values(&[upstream.as_str(), server]).set(healthy.into());
    }

    /// Upstream, server, and whether it is healthy, of every server, in their order.
    pub fn servers(&self) -> Vec<(String, String, bool)> {
        let families = self.upstreams.healthy.collect();
        let series = families.iter().flat_map(|family| family.get_metric());
        let mut servers: Vec<_> = series
            .map(|series| {
                let label = |name: &str| {
                    let label = series.get_label().iter().find(|label| label.name() == name);
                    label.map(|label| label.value().to_owned()).unwrap_or_default()
                };
                (label("upstream"), label("server"), series.get_gauge().get_value() > 0.0)
            })
            .collect();
        servers.sort();
        servers
    }

    /// Nothing more is said of requests to servers that are none of these: a reload took them away.
    /// `is_known`: by upstream and server.
    pub fn forget_servers_but(&self, is_known: impl Fn(&str, &str) -> bool) {
        beginning::forget(&self.upstreams.requests, |labels| {
            let label = |name| labels.get(name).copied().unwrap_or_default();
            !is_known(label("upstream"), label("server"))
        });
    }

    /// Nothing more is said of this server's health: a reload took it away.
    pub fn forget_server(&self, upstream: &UpstreamName, server: &str) {
        let _ = self.upstreams.healthy.remove_label_values(&[upstream.as_str(), server]);
    }
}
