//! The record of a family in the store, which all replicas share: it is read, one transition is applied, and
//! it is put back if nobody else was faster; only then is anything done about it.
//!
//! It must never let an exchange or a sign-out go on that the store did not take.

use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::session::exchange::{Family, Now, REPLICA_CLOCK_SKEW};
use crate::core::session::grant::{Grant, Timeouts};
use crate::flows::Gate;
use crate::flows::ports::{Clock, Keep, Store, StoreFault, StoreKey, Stored, Value};

/// How often a change is tried again because others were faster; each failure means that somebody succeeded.
const ATTEMPTS: usize = 1_000;

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

pub(in crate::flows) fn read(of: FamilyId, found: &Stored) -> Result<Option<Family>, StoreFault> {
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

/// As [`change`], where no grant is at hand. `unknown`: what to begin with when the store knows nothing;
/// `Ok(None)`: there is nothing to change.
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
            lifetime: family.keep_until().since(now.here) + REPLICA_CLOCK_SKEW,
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
