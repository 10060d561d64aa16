//! What `/readyz` tells: whether requests are served at all, and what is missing while they are.

use serde::Serialize;

use super::Admin;
use crate::flows::ports::StoreHealth;
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
        let live = self.gate.live.load();
        let without_keys: Vec<_> = live.issuers.iter().filter(|issuer| !issuer.keys_ready()).collect();
        let none_has = !without_keys.is_empty() && without_keys.len() == live.issuers.iter().count();
        let because = if self.drain.sends_away() {
            Some("draining")
        } else if none_has {
            Some("no issuer's keys could be read yet")
        } else {
            match self.gate.revocations.currency() {
                Currency::Unknown => Some("the list of revocations is not loaded"),
                Currency::Stale { .. } => Some("the list of revocations is too old"),
                Currency::Current { .. } => None,
            }
        };
        let issuers =
            without_keys.iter().map(|issuer| format!("issuer {}: no keys yet", issuer.settings.name));
        let transmitters = live.transmitters.iter().filter(|transmitter| !transmitter.signer.keys_ready());
        let transmitters = transmitters.map(|transmitter| {
            format!("signals {}: no keys yet, nothing that it sends is taken", transmitter.settings.name)
        });
        let store = match self.gate.store.health() {
            StoreHealth::Up => None,
            StoreHealth::Away { alone: false, .. } => Some("store: away, what needs it is refused"),
            StoreHealth::Away { alone: true, .. } => Some("store: away, this process coordinates alone"),
        };
        let list = match self.gate.revocation_log.health() {
            StoreHealth::Up => None,
            StoreHealth::Away { alone: false, .. } => {
                Some("revocations: the list cannot be written, nothing can be taken back")
            }
            StoreHealth::Away { alone: true, .. } => {
                Some("revocations: the list is followed, but cannot be kept on this machine")
            }
        };
        let unasked = live.issuers.iter().filter(|issuer| {
            issuer.introspections().is_some_and(|introspections| introspections.trouble().is_some())
        });
        let unasked = unasked.map(|issuer| {
            format!("issuer {}: could not be asked about an opaque token", issuer.settings.name)
        });
        let degraded = issuers
            .chain(unasked)
            .chain(transmitters)
            .chain(store.into_iter().chain(list).map(str::to_owned))
            .collect();
        Readiness { ready: because.is_none(), because, degraded }
    }
}
