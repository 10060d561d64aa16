//! What `/readyz` tells: whether requests are served at all, and what is missing while they are.

use serde::Serialize;

use super::Admin;
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
        let live = self.gate.live.load();
        let without_keys: Vec<_> = live.issuers.iter().filter(|issuer| !issuer.keys_ready()).collect();
        let none_has = !without_keys.is_empty() && without_keys.len() == live.issuers.iter().count();
        let because = if self.drain.sends_away() {
            Some("draining")
        } else if none_has {
            Some("no issuer's keys could be read yet")
        } else {
            match self.gate.revocations.currency(self.gate.clock.now()) {
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
        let list = match self.gate.revocation_log.health() {
            StoreHealth::Up => None,
            StoreHealth::Away { alone: false, .. } => {
                Some("revocations: the list cannot be written or followed, nothing can be taken back here")
            }
            StoreHealth::Away { alone: true, .. } => {
                Some("revocations: the list is followed, but cannot be kept on this machine")
            }
        };
        let degraded = issuers(&live)
            .into_iter()
            .chain(transmitters(&live))
            .chain(servers(&self.gate.metrics.servers()))
            .chain(store.into_iter().chain(list).map(str::to_owned))
            .collect();
        Readiness { ready: because.is_none(), because, degraded }
    }
}

/// What is missing of a signer's keys.
fn keys(of: &IssuerState) -> Option<&'static str> {
    match of.last_error() {
        _ if !of.keys_ready() => Some("no keys yet"),
        Some(_) if of.is_fetched() => Some("could not be asked for its keys, those from before count"),
        _ => None,
    }
}

fn issuers(live: &Live) -> Vec<String> {
    let trouble = live.issuers.iter().flat_map(|issuer| {
        let unasked =
            issuer.introspections().is_some_and(|introspections| introspections.trouble().is_some());
        let unasked = unasked.then_some("could not be asked about an opaque token");
        let name = &issuer.settings.name;
        keys(issuer).into_iter().chain(unasked).map(move |what| format!("issuer {name}: {what}"))
    });
    trouble.collect()
}

fn transmitters(live: &Live) -> Vec<String> {
    let trouble = live.transmitters.iter().filter_map(|transmitter| {
        let rest = if transmitter.signer.keys_ready() { "" } else { ", nothing that it sends is taken" };
        Some(format!("signals {}: {}{rest}", transmitter.settings.name, keys(&transmitter.signer)?))
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
