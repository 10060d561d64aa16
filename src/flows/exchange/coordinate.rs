//! How all replicas agree that a flight is under way.
//!
//! A flight's lease is its beat in the store. Whoever waits for a flight of another replica watches the beat,
//! and breaks the lease when it stood still for long enough by this replica's own clock while the store
//! answered all the time: for [`LEASE`], or for [`SENT_LEASE`] once the store says that its request has left.
//! Whoever flies gives up before that, by its own clock ([`beat`]). So neither clocks that differ nor an
//! outage of the store, for all replicas or for one of them, let two replicas send one refresh token while
//! the answer of the first may still come.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::core::session::exchange::FlightId;
use crate::core::session::exchange::lease::{BEAT, LEASE, LOOKS, OWN_LEASE, SENT_LEASE};
use crate::core::session::grant::{Grant, Timeouts};
use crate::flows::Gate;
use crate::flows::family::record::{change, key, read};
use crate::state::exchanges::{FlightEnd, FlightWaiter, Watch};

/// How long a flight is watched through an outage of the store.
const WATCH_THROUGH_OUTAGE: Duration = Duration::from_secs(120);

/// Waits with all others here for a flight that somebody else began.
pub(super) fn wait_for(
    gate: &Arc<Gate>,
    grant: &Grant,
    timeouts: Timeouts,
    flight: FlightId,
) -> FlightWaiter {
    let (watch, waiting) = gate.exchanges.watch(grant.family, flight);
    if let Some(watch) = watch {
        // Not to an end that nobody needs: who stops is not waited for.
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
            // Whoever flies could not show that it lives either.
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

/// Renews the lease of a flight, until the store has failed for so long that another replica may soon break
/// it.
pub(super) async fn beat(gate: &Gate, grant: &Grant, timeouts: Timeouts, flight: FlightId) {
    let mut renewed = Instant::now();
    loop {
        sleep(BEAT).await;
        let began = Instant::now();
        let beat = change(gate, grant, timeouts, |family, _| family.beat(flight));
        match timeout_at(renewed + OWN_LEASE, beat).await {
            Ok(Ok(_)) => renewed = began,
            // A store that does not answer now may at the next beat.
            Ok(Err(_)) => {}
            Err(_) => break,
        }
    }
    tracing::error!(
        family = %grant.family,
        "the store was away for so long that an exchange was given up; the session is lost if the AS has replaced the refresh token"
    );
}

/// Takes back a flight that may or may not have been noted before the store failed.
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
