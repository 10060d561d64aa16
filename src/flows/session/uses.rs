//! When a session was last used, and which of its cookies arrived. Known here at once and reported to the
//! store in the background, uses at most once in a tenth of `idle_timeout`. So at another replica, or after a
//! restart, a session may go idle early by that much, and never late.

use std::sync::Arc;

use tokio::time::timeout;

use crate::core::denial::Denial;
use crate::core::session::activity::Activity;
use crate::core::session::grant::Grant;
use crate::core::time::Timestamp;
use crate::flows::client_request::ClientRequest;
use crate::flows::family::record;
use crate::flows::family::session_cookie;
use crate::state::sessions::KnownFamily;

/// What is known of a session, from memory or else from the store. `is_enough`: whether the cookie's own
/// dates will do while the store is away.
///
/// # Errors
/// [`Denial::StoreUnavailable`]
pub(super) async fn known(
    request: ClientRequest<'_>,
    grant: &Grant,
    is_enough: bool,
) -> Result<Arc<KnownFamily>, Denial> {
    if let Some(known) = request.gate.sessions.family(grant.family) {
        known.note_generation(grant.generation);
        return Ok(known);
    }
    let known = match look(request, grant).await {
        Ok(known) => request.gate.sessions.know(grant.family, known),
        Err(_) if is_enough => Arc::new(KnownFamily::new(grant.generation, grant.last_used_at, false)),
        Err(denial) => return Err(denial),
    };
    known.note_generation(grant.generation);
    Ok(known)
}

/// Asks the store whether the session was used at another replica, because it seems idle here.
///
/// # Errors
/// [`Denial::StoreUnavailable`]
pub(super) async fn look_again(
    request: ClientRequest<'_>,
    grant: &Grant,
    known: &KnownFamily,
) -> Result<(), Denial> {
    let found = look(request, grant).await?;
    known.mark_noted(found.used_at());
    known.note_generation(found.newest());
    if found.is_over() {
        known.mark_over();
    }
    Ok(())
}

async fn look(request: ClientRequest<'_>, grant: &Grant) -> Result<KnownFamily, Denial> {
    let found = timeout(request.patience(), record::look(&*request.gate.store, grant.family)).await;
    let found = found.map_err(|_| Denial::StoreUnavailable)??;
    Ok(match found {
        None => KnownFamily::new(grant.generation, grant.last_used_at, false),
        Some(family) => {
            let used_at = family.last_use(grant.last_used_at);
            KnownFamily::new(family.latest(), used_at, family.over().is_some())
        }
    })
}

/// Notes a valid request of the session.
pub(super) fn note(
    request: ClientRequest<'_>,
    grant: &Grant,
    known: &Arc<KnownFamily>,
    activity: Activity,
    now: Timestamp,
) {
    let is_used = activity.is_use() && known.record_use(now, request.client.idle_timeout / 10);
    // Before the first cookie of a family there was no answer that could be lost.
    let arrived = known.claim_first_sight(grant.generation) && grant.generation > 0;
    if !is_used && !arrived {
        return;
    }
    let (gate, grant, known) = (Arc::clone(request.gate), grant.clone(), Arc::clone(known));
    let timeouts = session_cookie::timeouts(request.client);
    request.gate.errands.spawn(async move {
        let told = record::change(&gate, &grant, timeouts, |family, _| {
            if is_used {
                family.use_at(now);
            }
            if arrived && family.over().is_none() {
                family.prove_receipt(grant.generation);
            }
        });
        if told.await.is_err() {
            known.mark_unnoted();
        }
    });
}
