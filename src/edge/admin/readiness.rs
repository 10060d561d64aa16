//! What `/readyz` tells: whether requests are served at all, and what is missing while they are.

use serde::Serialize;

use super::Admin;
use crate::core::time::Timestamp;
use crate::flows::ports::StoreHealth;
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;
use crate::state::revocations::Currency;

/// What `/readyz` says. `degraded` names what is missing while requests are still served.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
    degraded: Vec<String>,
}

impl Admin {
    pub(super) fn readiness(&self) -> Readiness {
        self.serving.load().upstreams.tell(&self.gate.metrics);
        let (live, now) = (self.gate.live.load(), self.gate.clock.now());
        let without_keys: Vec<_> = live.issuers.iter().filter(|issuer| !issuer.keys_ready()).collect();
        let none_has = !without_keys.is_empty() && without_keys.len() == live.issuers.iter().count();
        let because = if self.drain.sends_away() {
            Some("draining")
        } else if none_has {
            Some("no issuer's keys could be read yet")
        } else {
            match self.gate.revocations.currency(now) {
                Currency::Unknown => Some("the list of revocations is not loaded"),
                Currency::Stale { .. } => Some("the list of revocations is too old"),
                Currency::Current { .. } => None,
            }
        };
        let store = match self.gate.store.health() {
            StoreHealth::Up => None,
            StoreHealth::Away { alone: false, .. } => Some("store: away, what needs it is refused"),
            StoreHealth::Away { alone: true, .. } => Some("store: away, this process coordinates alone"),
        };
        let list = list_trouble(&self.gate.revocation_log.health());
        let list = list.map(|trouble| format!("revocations: the list {trouble}"));
        let degraded = issuers(&live, now)
            .into_iter()
            .chain(transmitters(&live, now))
            .chain(servers(&self.gate.metrics.servers()))
            .chain(store.map(str::to_owned))
            .chain(list)
            .collect();
        Readiness { ready: because.is_none(), because, degraded }
    }
}

/// What the list of revocations lacks.
pub(super) const fn list_trouble(health: &StoreHealth) -> Option<&'static str> {
    match health {
        StoreHealth::Up => None,
        StoreHealth::Away { alone: false, .. } => {
            Some("cannot be written or followed, nothing can be taken back here")
        }
        StoreHealth::Away { alone: true, .. } => Some("is followed, but cannot be kept on this machine"),
    }
}

/// What is missing of a signer's keys.
fn keys(of: &IssuerState, now: Timestamp) -> Option<&'static str> {
    match of.last_error() {
        _ if !of.keys_ready() => Some("no keys yet"),
        _ if !of.keys_usable(now) => {
            Some("could not be asked for its keys for so long that those from before count no more")
        }
        Some(_) if of.is_fetched() => Some("could not be asked for its keys, those from before count"),
        _ => None,
    }
}

fn issuers(live: &Live, now: Timestamp) -> Vec<String> {
    let trouble = live.issuers.iter().flat_map(|issuer| {
        let unasked =
            issuer.introspections().is_some_and(|introspections| introspections.trouble().is_some());
        let unasked = unasked.then_some("could not be asked about an opaque token");
        let name = &issuer.settings.name;
        keys(issuer, now).into_iter().chain(unasked).map(move |what| format!("issuer {name}: {what}"))
    });
    trouble.collect()
}

fn transmitters(live: &Live, now: Timestamp) -> Vec<String> {
    let trouble = live.transmitters.iter().filter_map(|transmitter| {
        let rest = if transmitter.signer.keys_usable(now) { "" } else { ", nothing that it sends is taken" };
        Some(format!("signals {}: {}{rest}", transmitter.settings.name, keys(&transmitter.signer, now)?))
    });
    trouble.collect()
}

/// `all`: upstream, server and whether it is well, in their order.
fn servers(all: &[(String, String, bool)]) -> Vec<String> {
    let trouble = all.chunk_by(|(one, ..), (other, ..)| one == other).filter_map(|of_one| {
        let (upstream, ..) = of_one.first()?;
        let sick: Vec<&str> =
            of_one.iter().filter(|(.., well)| !well).map(|(_, server, _)| server.as_str()).collect();
        let which = if sick.len() == of_one.len() { "no server is well" } else { "not well" };
        (!sick.is_empty()).then(|| format!("upstream {upstream}: {which}: {}", sick.join(", ")))
    });
    trouble.collect()
}
