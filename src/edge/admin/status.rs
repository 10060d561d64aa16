//! What `/status` tells, as JSON and as a page for people. Nothing in it is secret: names, ages, counts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::readiness::{Readiness, list_trouble};
use crate::config::settings::{self, OnOutage};
use crate::core::ids::UpstreamName;
use crate::core::revocation::Kind;
use crate::core::route;
use crate::core::route::policy::Access;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::ports::StoreHealth;
use crate::flows::reload::ReloadsSoFar;
use crate::state::live::Live;
use crate::state::revocations::{self as state, Currency};
use crate::state::transmitters::Transmitter;

/// Everything that `/status` tells.
#[derive(Debug, Serialize)]
pub(super) struct Status<'a> {
    version: &'static str,
    public_url: &'a str,
    #[serde(flatten)]
    readiness: &'a Readiness,
    config: Config,
    issuers: Vec<Issuer<'a>>,
    /// Transmitters of shared signals.
    signals: Vec<Signal<'a>>,
    routes: Vec<Route<'a>>,
    servers: Vec<Server>,
    /// Those that Tollgate shows.
    certificates: Vec<Certificate>,
    store: Store,
    revocations: Revocations,
    refusals: Vec<Refusal>,
}

/// Which configuration counts, and what of the file does not.
#[derive(Debug, Serialize)]
struct Config {
    /// None: that of the start.
    taken_over_at: Option<String>,
    /// The keys that changed, and count only after a restart.
    after_restart: Vec<&'static str>,
    /// One that was read later, and does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<RefusedConfig>,
}

#[derive(Debug, Serialize)]
struct RefusedConfig {
    at: String,
    /// As the log has them.
    mistakes: Vec<String>,
}

impl Config {
    fn of(reloads: &ReloadsSoFar) -> Self {
        let ReloadsSoFar { taken_over_at, after_restart, refused } = reloads.clone();
        let refused = refused.map(|(at, mistakes)| RefusedConfig { at: at.to_rfc3339(), mistakes });
        Self { taken_over_at: taken_over_at.map(Timestamp::to_rfc3339), after_restart, refused }
    }
}

#[derive(Debug, Serialize)]
struct Issuer<'a> {
    name: &'a str,
    iss: &'a str,
    /// What its access tokens say, where that is something else.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    access_token_iss: &'a [String],
    keys: usize,
    /// Since they were last read; none where they stand in the configuration.
    keys_age_seconds: Option<u64>,
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection: Option<Introspection>,
}

/// How it goes with asking an issuer about opaque tokens.
#[derive(Debug, Serialize)]
struct Introspection {
    /// Good tokens that are remembered.
    remembered: usize,
    last_error: Option<String>,
}

/// A transmitter of shared signals.
#[derive(Debug, Serialize)]
struct Signal<'a> {
    name: &'a str,
    iss: &'a str,
    /// Its keys, or those of the issuer that it is.
    keys: usize,
    keys_age_seconds: Option<u64>,
    last_error: Option<String>,
    events: Vec<&'static str>,
    /// When it last sent something good; none since this process began.
    heard_at: Option<String>,
}

impl<'a> Signal<'a> {
    fn of(transmitter: &'a Transmitter, now: Timestamp) -> Self {
        let Transmitter { settings, signer, .. } = transmitter;
        Self {
            name: settings.name.as_str(),
            iss: &settings.rules.iss,
            keys: signer.keys().map_or(0, |keys| keys.len()),
            keys_age_seconds: signer.keys_age(now).map(|age| age.as_secs()),
            last_error: signer.last_error().map(|error| error.to_string()),
            events: settings.rules.events.iter().map(|event| event.name()).collect(),
            heard_at: transmitter.heard_at().map(Timestamp::to_rfc3339),
        }
    }
}

#[derive(Debug, Serialize)]
struct Route<'a> {
    name: &'a str,
    path: &'a str,
    upstream: &'a str,
    public: bool,
    report_only: bool,
    dpop: &'static str,
    /// What else tells routes apart, where the file has it, as `/config` shows it.
    #[serde(flatten)]
    as_written: BTreeMap<&'static str, Value>,
}

impl<'a> Route<'a> {
    /// `written`: what the file has of it.
    fn of(route: &'a route::Route, written: Option<&Value>) -> Self {
        let as_it_is = ["host", "sign_in", "require"].into_iter();
        let as_it_is = as_it_is.filter_map(|key| Some((key, written?.get(key)?.clone())));
        // One of a list may be written without the list.
        let as_list = ["methods", "from", "issuers", "clients"].into_iter().filter_map(|key| {
            let value = written?.get(key)?.clone();
            Some((key, if value.is_array() { value } else { Value::from(vec![value]) }))
        });
        Self {
            name: route.name.as_str(),
            path: route.path.as_str(),
            upstream: route.upstream.as_ref().map_or("none", UpstreamName::as_str),
            public: !matches!(route.access, Access::Protected(_)),
            report_only: route.report_only,
            dpop: route.dpop.name(),
            as_written: as_it_is.chain(as_list).collect(),
        }
    }
}

/// A server of an upstream: whether it answers its health checks and can be reached.
#[derive(Debug, Serialize)]
struct Server {
    upstream: String,
    server: String,
    healthy: bool,
}

#[derive(Debug, Serialize)]
struct Certificate {
    file: String,
    begins_at: String,
    ends_at: String,
}

impl Certificate {
    fn of(shown: &settings::ShownCertificate) -> Self {
        let settings::ShownCertificate { file, begins_at, ends_at } = shown;
        Self { file: file.clone(), begins_at: begins_at.to_rfc3339(), ends_at: ends_at.to_rfc3339() }
    }
}

/// Where what must outlive a request is kept.
#[derive(Debug, Serialize)]
struct Store {
    kind: &'static str,
    at: String,
    up: bool,
    /// What holds while it is away; a folder has no choice.
    on_outage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    away_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Store {
    fn of(settings: &settings::Store, health: StoreHealth) -> Self {
        let (away_since, why) = away(health);
        let serves = settings.redis.as_ref().is_some_and(|redis| redis.on_outage == OnOutage::Serve);
        Self {
            kind: if settings.redis.is_some() { "redis" } else { "folder" },
            at: settings.to_string(),
            up: away_since.is_none(),
            on_outage: if serves { "serve" } else { "refuse" },
            away_since,
            why,
        }
    }
}

/// Since when, and why.
fn away(health: StoreHealth) -> (Option<String>, Option<String>) {
    match health {
        StoreHealth::Up => (None, None),
        StoreHealth::Away { since, why, .. } => (Some(since.to_rfc3339()), Some(why)),
    }
}

/// What was taken back.
#[derive(Debug, Serialize)]
struct Revocations {
    /// How many entries there are of each kind; kinds without any are left out.
    entries: BTreeMap<&'static str, usize>,
    /// Since the list was last known to be complete; none: never.
    age_seconds: Option<f64>,
    /// Whether requests are judged by it; else they are refused.
    in_use: bool,
    /// What is wrong with the list, as `/readyz` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'static str>,
    /// Since when there is this trouble.
    #[serde(skip_serializing_if = "Option::is_none")]
    away_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Revocations {
    fn of(list: &state::Revocations, health: StoreHealth, now: Timestamp) -> Self {
        let trouble = list_trouble(&health);
        let (away_since, why) = away(health);
        let counts = Kind::ALL.map(|kind| (kind.label(), list.count(kind))).into_iter();
        let (age, in_use) = match list.currency(now) {
            Currency::Unknown => (None, false),
            Currency::Stale { age } => (Some(age), false),
            Currency::Current { age } => (Some(age), true),
        };
        Self {
            entries: counts.filter(|(_, count)| *count > 0).collect(),
            age_seconds: age.map(|age| age.as_secs_f64()),
            in_use,
            trouble,
            away_since,
            why,
        }
    }
}

#[derive(Debug, Serialize)]
struct Refusal {
    reason: &'static str,
    count: u64,
    route: String,
    latest: String,
}

impl<'a> Status<'a> {
    /// `store`: where it was opened. `certificates`: those that are shown now.
    pub(super) fn of(
        gate: &Gate,
        live: &'a Live,
        store: &settings::Store,
        certificates: &[settings::ShownCertificate],
        readiness: &'a Readiness,
    ) -> Self {
        let now = gate.clock.now();
        let issuers = live.issuers.iter().map(|issuer| Issuer {
            name: issuer.settings.name.as_str(),
            iss: &issuer.settings.rules.iss,
            access_token_iss: &issuer.settings.rules.access_token_iss,
            keys: issuer.keys().map_or(0, |keys| keys.len()),
            keys_age_seconds: issuer.keys_age(now).map(|age| age.as_secs()),
            last_error: issuer.last_error().map(|error| error.to_string()),
            introspection: issuer.introspections().map(|introspections| Introspection {
                remembered: introspections.held(),
                last_error: introspections.trouble().map(|why| why.to_string()),
            }),
        });
        // In the order of the file.
        let written = live.settings.shown.get("routes");
        let routes = live.settings.routes.iter().enumerate();
        let routes = routes.map(|(at, route)| Route::of(route, written.and_then(|all| all.get(at))));
        let servers = gate.metrics.servers().into_iter();
        let servers = servers.map(|(upstream, server, healthy)| Server { upstream, server, healthy });
        let refusals = gate.operators.refusals.all().into_iter().map(|(reason, latest)| Refusal {
            reason,
            count: latest.count,
            route: latest.route.to_string(),
            latest: latest.at.to_rfc3339(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            public_url: live.settings.public_url.as_str(),
            readiness,
            config: Config::of(&gate.operators.reloads.so_far()),
            issuers: issuers.collect(),
            signals: live.transmitters.iter().map(|transmitter| Signal::of(transmitter, now)).collect(),
            routes: routes.collect(),
            servers: servers.collect(),
            certificates: certificates.iter().map(Certificate::of).collect(),
            store: Store::of(store, gate.store.health()),
            revocations: Revocations::of(&gate.revocations, gate.revocation_log.health(), now),
            refusals: refusals.collect(),
        }
    }

    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::edge::answers::pages::Pages;

    #[test]
    fn a_list_that_cannot_be_written_is_told_from_one_that_is_not_kept_here() {
        let (list, now) = (state::Revocations::new([1; 16]), Timestamp::from_secs(1_800_000_000));
        let told = |health| {
            let revocations = Revocations::of(&list, health, now);
            let store = json!({ "up": true, "at": "data" });
            let (html, _) = Pages::new(false)
                .status(&json!({ "ready": true, "config": {}, "revocations": revocations, "store": store }));
            (serde_json::to_value(&revocations).unwrap()["trouble"].clone(), html)
        };
        let away = |alone| StoreHealth::Away { since: now, why: "the disk is full".to_owned(), alone };
        for (health, trouble) in [
            (away(false), "cannot be written or followed, nothing can be taken back here"),
            (away(true), "is followed, but cannot be kept on this machine"),
        ] {
            let (json, html) = told(health);
            assert_eq!(json, trouble);
            assert!(html.contains(&format!("the list {trouble}: the disk is full.")), "{html}");
        }
        let (json, html) = told(StoreHealth::Up);
        assert!(json.is_null() && html.contains("None.") && !html.contains("the list"), "{html}");
    }
}
