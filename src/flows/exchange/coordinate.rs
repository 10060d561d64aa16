//! How replicas agree that a flight is under way.
//!
//! A flight holds its lease by a heartbeat in the store. A replica that waits for it watches the beat, and
//! breaks the lease when the beat has stood still for too long by its own clock while the store answered all
//! the time: for [`LEASE`], or for [`SENT_LEASE`] once the store says that the request was sent. The replica
//! that flies gives up before that, by its own clock ([`beat`]). So neither differing clocks nor an outage of
//! the store, for some replicas or all, lets two replicas send one refresh token while the answer to the
//! first may still come.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::core::session::exchange::FlightId;
use crate::core::session::exchange::lease::{BEAT, LEASE, LOOKS, OWN_LEASE, SENT_LEASE};
use crate::core::session::grant::{Grant, Timeouts};
use crate::flows::Gate;
use crate::flows::family::record::{change, key, read};
use crate::state::exchanges::{FlightEnd, FlightWaiter, Watch};

/// How long a flight is watched while the store is away.
const WATCH_THROUGH_OUTAGE: Duration = Duration::from_secs(120);

/// Waits for a flight that another request or replica began. The first to wait in this process watches it for
/// all.
pub(super) fn wait_for(
    gate: &Arc<Gate>,
    grant: &Grant,
    timeouts: Timeouts,
    flight: FlightId,
) -> FlightWaiter {
    let (watch, waiting) = gate.exchanges.watch(grant.family, flight);
    if let Some(watch) = watch {
        // Not an errand: a shutdown need not wait for it.
        let (gate, grant) = (Arc::clone(gate), grant.clone());
        tokio::spawn(async move { watch_from_afar(&gate, &grant, timeouts, flight, watch).await });
    }
    waiting
}

async fn watch_from_afar(gate: &Gate, grant: &Grant, timeouts: Timeouts, flight: FlightId, watch: Watch) {
    let key = key(grant.family);
    let until = Instant::now() + WATCH_THROUGH_OUTAGE;
    let (mut pause, longest) = LOOKS;
    let (mut seen, mut since) = (None, Instant::now());
    while Instant::now() < until {
        match gate.store.get(&key).await.map(|found| read(grant.family, &found)) {
            Ok(Ok(known)) => {
                let Some(family) = known else { break };
                let Some(beat) = family.beat_of(flight) else { break };
                let lease = if family.is_sent(flight) { SENT_LEASE } else { LEASE };
                if seen != Some(beat) {
                    (seen, since) = (Some(beat), Instant::now());
                } else if since.elapsed() >= lease {
                    break_lease(gate, grant, timeouts, flight, beat).await;
                    break;
                }
            }
            // The replica that flies could not renew its lease, either.
            Ok(Err(_)) | Err(_) => since = Instant::now(),
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(longest);
    }
    watch.tell(FlightEnd::PresentAgain);
}

async fn break_lease(gate: &Gate, grant: &Grant, timeouts: Timeouts, flight: FlightId, beat: u64) {
    let broken = change(gate, grant, timeouts, |family, _| {
        family.beat_of(flight) == Some(beat) && family.forget_flight(flight)
    });
    if broken.await == Ok(true) {
        tracing::warn!(
            family = %grant.family,
            "an exchange that another replica began shows no life; the next request begins another"
        );
    }
}

/// Renews the lease of a flight. Returns once the store has failed for so long that another replica may soon
/// break the lease.
pub(super) async fn beat(gate: &Gate, grant: &Grant, timeouts: Timeouts, flight: FlightId) {
    let mut renewed = Instant::now();
    loop {
        sleep(BEAT).await;
        let began = Instant::now();
        let beat = change(gate, grant, timeouts, |family, _| family.beat(flight));
        match timeout_at(renewed + OWN_LEASE, beat).await {
            Ok(Ok(_)) => renewed = began,
            // The store may answer at the next beat.
            Ok(Err(_)) => {}
            Err(_) => break,
        }
    }
    tracing::error!(
        family = %grant.family,
        "the store was away for so long that an exchange was given up; the session is lost if the AS has replaced the refresh token"
    );
}

/// Removes, in the background, a flight that may or may not have been noted before the store failed.
pub(super) fn forget_flight(gate: &Arc<Gate>, grant: &Grant, timeouts: Timeouts, flight: FlightId) {
    let (gate, grant) = (Arc::clone(gate), grant.clone());
    tokio::spawn(async move {
        for _ in 0..SENT_LEASE.as_secs() {
            sleep(Duration::from_secs(1)).await;
            if change(&gate, &grant, timeouts, |family, _| family.forget_flight(flight)).await.is_ok() {
                return;
            }
        }
    });
}
