//! What `/status` tells, as JSON and as a page for people. Nothing in it is secret: names, ages, counts.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Readiness;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::state::live::Live;

/// Everything that `/status` tells.
#[derive(Debug, Serialize)]
pub(super) struct Status<'a> {
    version: &'static str,
    public_url: &'a str,
    #[serde(flatten)]
    readiness: &'a Readiness,
    issuers: Vec<Issuer<'a>>,
    routes: Vec<Route<'a>>,
    servers: Vec<Server>,
    store: String,
    refusals: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
struct Issuer<'a> {
    name: &'a str,
    iss: &'a str,
    keys: usize,
    /// Since they were last read; none where they stand in the configuration.
    keys_age_seconds: Option<u64>,
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Route<'a> {
    name: &'a str,
    path: &'a str,
    upstream: &'a str,
    public: bool,
}

/// A server of an upstream: whether it answers its health checks and can be reached.
#[derive(Debug, Serialize)]
struct Server {
    upstream: String,
    server: String,
    healthy: bool,
}

#[derive(Debug, Serialize)]
struct Refusal {
    reason: &'static str,
    count: u64,
    route: String,
    latest: String,
}

impl<'a> Status<'a> {
    pub(super) fn of(gate: &Gate, live: &'a Live, readiness: &'a Readiness) -> Self {
        let now = gate.clock.now();
        let issuers = live.issuers.iter().map(|issuer| Issuer {
            name: issuer.settings.name.as_str(),
            iss: &issuer.settings.rules.iss,
            keys: issuer.keys().map_or(0, |keys| keys.len()),
            keys_age_seconds: issuer.keys_age(now).map(|age| age.as_secs()),
            last_error: issuer.last_error().map(|error| error.to_string()),
        });
        let routes = live.settings.routes.iter().map(|route| Route {
            name: route.name.as_str(),
            path: route.path.as_str(),
            upstream: route.upstream.as_str(),
            public: matches!(route.access, crate::core::route::policy::Access::Public),
        });
        let servers = gate.metrics.servers().into_iter();
        let servers = servers.map(|(upstream, server, healthy)| Server { upstream, server, healthy });
        let refusals = gate.operators.refusals.all().into_iter().map(|(reason, latest)| Refusal {
            reason,
            count: latest.count,
            route: latest.route.to_string(),
            latest: show(latest.at),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            public_url: live.settings.public_url.as_str(),
            readiness,
            issuers: issuers.collect(),
            routes: routes.collect(),
            servers: servers.collect(),
            store: live.settings.store.folder.display().to_string(),
            refusals: refusals.collect(),
        }
    }

    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// RFC 3339, in UTC.
fn show(at: Timestamp) -> String {
    let since = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or_default());
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string()
}
