//! How all replicas agree on what becomes of a family: it is read from the store, one transition is applied, and
//! it is put back if nobody else was faster; only then is anything done about it.
//!
//! A flight's lease is its beat in the store. Whoever waits for a flight of another replica watches the beat, and
//! breaks the lease when it stood still for long enough by this replica's own clock while the store answered all the
//! time: for [`LEASE`], or for [`SENT_LEASE`] once the store says that its request has left. Whoever flies gives up
//! before that, by its own clock ([`beat`]). So neither clocks that differ nor an outage of the store, for all
//! replicas or for one of them, let two replicas send one refresh token while the answer of the first may still come.
//!
//! It must never let an exchange or a sign-out go on that the store did not take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::core::denial::Denial;
use crate::core::session::exchange::lease::{BEAT, LEASE, LOOKS, OWN_LEASE, SENT_LEASE};
use crate::core::session::exchange::{Family, FlightId, Now};
use crate::core::session::grant::{FamilyId, Grant, Timeouts};
use crate::flows::Gate;
use crate::flows::ports::{Clock, Found, Keep, Store, StoreFault, StoreKey, Value};
use crate::state::exchanges::{Heard, Waiting, Watch};

/// How long a flight is watched through an outage of the store.
const WATCH: Duration = Duration::from_secs(120);
/// How often a change is tried again because others were faster; each failure means that somebody succeeded.
const ATTEMPTS: usize = 1_000;
/// A record outlives its session by this, as the clocks of replicas may differ by so much.
const SLACK: Duration = Duration::from_secs(300);

pub(in crate::flows) fn key(family: FamilyId) -> StoreKey {
    StoreKey::new("family", family)
}

fn unavailable(fault: &StoreFault) -> Denial {
    match fault {
        StoreFault::Unreadable(_) => tracing::error!(%fault, "a session is left alone"),
        _ => tracing::warn!(%fault, "the store could not be asked about a session"),
    }
    Denial::StoreUnavailable
}

fn read(of: FamilyId, found: &Found) -> Result<Option<Family>, StoreFault> {
    let Some((_, bytes)) = &found.value else { return Ok(None) };
    let unreadable =
        || StoreFault::Unreadable(format!("this release cannot read what it has of the session {of}"));
    Family::from_bytes(bytes).map(Some).ok_or_else(unreadable)
}

/// Changes what is known of the family of `grant`, durably where it matters; `step` may run several times.
///
/// # Errors
/// [`Denial::StoreUnavailable`]; it is then not known whether the change was made.
pub(in crate::flows) async fn change<T>(
    gate: &Gate,
    grant: &Grant,
    timeouts: Timeouts,
    step: impl FnMut(&mut Family, Now) -> T + Send,
) -> Result<T, Denial> {
    change_in(&*gate.store, &*gate.clock, grant, timeouts, step).await
}

/// As [`change`], in this store.
///
/// # Errors
/// As [`change`].
pub(in crate::flows) async fn change_in<T>(
    store: &dyn Store,
    clock: &dyn Clock,
    grant: &Grant,
    timeouts: Timeouts,
    mut step: impl FnMut(&mut Family, Now) -> T + Send,
) -> Result<T, Denial> {
    let unknown = || {
        let mut family = Family::of(grant);
        family.extend_life(timeouts);
        Some(family)
    };
    let step = |family: &mut Family, now| {
        let outcome = step(family, now);
        family.extend_life(timeouts);
        outcome
    };
    change_known(store, clock, grant.family, unknown, step).await?.ok_or(Denial::StoreUnavailable)
}

/// As [`change`], where no grant is at hand. `unknown`: what to begin with when the store knows nothing; `Ok(None)`:
/// there is nothing to change.
///
/// # Errors
/// As [`change`].
pub(in crate::flows) async fn change_known<T>(
    store: &dyn Store,
    clock: &dyn Clock,
    of: FamilyId,
    unknown: impl Fn() -> Option<Family> + Send,
    step: impl FnMut(&mut Family, Now) -> T + Send,
) -> Result<Option<T>, Denial> {
    try_to_change_known(store, clock, of, unknown, step).await.map_err(|fault| unavailable(&fault))
}

/// As [`change_known`], for whoever is to hear what failed.
///
/// # Errors
/// The store failed; it is then not known whether the change was made.
pub(in crate::flows) async fn try_to_change_known<T>(
    store: &dyn Store,
    clock: &dyn Clock,
    of: FamilyId,
    unknown: impl Fn() -> Option<Family> + Send,
    mut step: impl FnMut(&mut Family, Now) -> T + Send,
) -> Result<Option<T>, StoreFault> {
    let key = key(of);
    for _ in 0..ATTEMPTS {
        let found = store.get(&key).await?;
        let now = Now { store: found.now, here: clock.now() };
        let Some(before) = read(of, &found)?.or_else(&unknown) else { return Ok(None) };
        let mut family = before.clone();
        let outcome = step(&mut family, now);
        if family == before {
            return Ok(Some(outcome));
        }
        let keep = if family.is_worth_more_than(&before) { Keep::Durably } else { Keep::WhileRunning };
        let value = Value {
            bytes: family.to_bytes().into(),
            lifetime: family.keep_until().since(now.here) + SLACK,
            keep,
        };
        let expected = found.value.map(|(version, _)| version);
        if store.put_if(&key, expected, value).await?.is_some() {
            return Ok(Some(outcome));
        }
    }
    let why = format!("the session {of} is changed so often that no change of ours came through");
    Err(StoreFault::Unavailable(why))
}

/// What is known of a family; `None`: nothing.
///
/// # Errors
/// [`Denial::StoreUnavailable`]
pub(in crate::flows) async fn look(store: &dyn Store, of: FamilyId) -> Result<Option<Family>, Denial> {
    let found = store.get(&key(of)).await;
    found.and_then(|found| read(of, &found)).map_err(|fault| unavailable(&fault))
}

/// Waits with all others here for a flight that somebody else began.
pub(super) fn wait_for(gate: &Arc<Gate>, grant: &Grant, timeouts: Timeouts, flight: FlightId) -> Waiting {
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
    let until = Instant::now() + WATCH;
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
    watch.tell(Heard::PresentAgain);
}

async fn break_lease(gate: &Gate, grant: &Grant, timeouts: Timeouts, flight: FlightId, beat: u64) {
    let broken = change(gate, grant, timeouts, |family, _| {
        family.beat_of(flight) == Some(beat) && family.failed(flight)
    });
    if broken.await == Ok(true) {
        tracing::warn!(
            family = %grant.family,
            "an exchange that another replica began shows no life; the next request begins another"
        );
    }
}

/// Renews the lease of a flight, until the store has failed for so long that another replica may soon break it.
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
            if change(&gate, &grant, timeouts, |family, _| family.failed(flight)).await.is_ok() {
                return;
            }
        }
    });
}
