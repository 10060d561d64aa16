//! Use of the newest access token, at any replica, proves that the answer it came in arrived: outside `grace`
//! the generation before is then spent. An older token may have come without a cookie, so it proves nothing.
//! Thus a stolen older cookie is noticed before the newer one is presented, if the page's APIs are behind
//! this gateway.
//!
//! What lasts of that session goes on by the new token, too.
//!
//! The request that brings the token does not wait for any of this, and the store is asked once for each
//! token and replica. If it does not answer, a later request with the token asks again: what was not noted
//! then may be the one sign of a theft.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::caller::CallerNotes as _;
use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::session::exchange::{Family, Issued};
use crate::core::session::grant::Generation;
use crate::core::time::Timestamp;
use crate::core::token::id::TokenId;
use crate::flows::Gate;
use crate::flows::family::record::change_known;
use crate::flows::ports::{Clock, Keep, Store, StoreFault, StoreKey, Value};
use crate::state::known_tokens::KnownTokens;
use crate::state::live::Live;
use crate::state::open_requests::OpenRequests;
use crate::state::verified_tokens::KnownCaller;

/// After the store failed to answer, no request with a token asks it again for this long.
const PAUSE_AFTER_OUTAGE: Duration = Duration::from_secs(2);
/// Pauses between attempts to note which session a token is of, when the first came to nothing.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// How long after its answer a token's note may still arrive: all of [`RETRIES`].
const LATEST_NOTE: Duration = Duration::from_secs(15);

fn key(id: TokenId) -> StoreKey {
    StoreKey::new("token", id)
}

/// Notes which generation a token came with, for whoever sees it. Without it only the cookie proves receipt.
pub(super) async fn note(gate: &Arc<Gate>, family: FamilyId, issued: Option<Issued>) {
    let Some(issued) = issued else { return };
    if try_to_note(gate, family, issued).await.is_ok() {
        return;
    }
    let late = Arc::clone(gate);
    gate.errands.spawn(async move {
        for pause in RETRIES {
            tokio::time::sleep(pause).await;
            if try_to_note(&late, family, issued).await.is_ok() {
                return;
            }
        }
        tracing::warn!(%family, "which session an access token is of could not be noted: its use proves no receipt");
    });
}

async fn try_to_note(gate: &Gate, family: FamilyId, issued: Issued) -> Result<(), StoreFault> {
    let Issued { id, expires_at, generation } = issued;
    let mut bytes = family.as_bytes().to_vec();
    bytes.extend_from_slice(&generation.to_be_bytes());
    let value =
        Value { bytes: bytes.into(), lifetime: expires_at.since(gate.clock.now()), keep: Keep::WhileRunning };
    if value.lifetime.is_zero() { Ok(()) } else { gate.store.put_if(&key(id), None, value).await.map(drop) }
}

/// The session that a token was handed out in, and the generation that it came with; `None` where nobody
/// noted that.
///
/// # Errors
/// The store failed: nobody can say.
pub(in crate::flows) async fn family_of(
    store: &dyn Store,
    id: TokenId,
) -> Result<Option<(FamilyId, Generation)>, StoreFault> {
    Ok(store.get(&key(id)).await?.value.and_then(|(_, bytes)| read(&bytes)))
}

/// A token was found good, with a request: what lasts of its session may go on by it.
pub(in crate::flows) fn note_use(gate: &Gate, live: &Live, found: &Arc<KnownCaller>, now: Timestamp) {
    tell_of_use(gate, live, found, now);
    if gate.open_requests.sessions() > 0
        && let Some(family) = found.notes.family()
    {
        gate.open_requests.renewed(family, found, now);
    }
}

fn tell_of_use(gate: &Gate, live: &Live, found: &Arc<KnownCaller>, now: Timestamp) {
    if !found.notes.claim_lookup(now) {
        return;
    }
    let token = found.token();
    // One that names no client may be any client's of its issuer.
    let may_be_of_a_page = live.settings.clients.iter().any(|client| {
        client.issuer == *token.issuer() && token.client().is_none_or(|named| named == client.client_id)
    });
    if !may_be_of_a_page || gate.seen_tokens.knows(found.notes.fingerprint) {
        return;
    }
    let seen = Seen {
        store: Arc::clone(&gate.store),
        clock: Arc::clone(&gate.clock),
        open_requests: Arc::clone(&gate.open_requests),
        seen_tokens: Arc::clone(&gate.seen_tokens),
        found: Arc::clone(found),
    };
    gate.errands.spawn(async move { seen.tell().await });
}

/// A token that somebody used, and whoever is to hear of it.
struct Seen {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    open_requests: Arc<OpenRequests>,
    seen_tokens: Arc<KnownTokens>,
    found: Arc<KnownCaller>,
}

impl Seen {
    /// Tells it once: again only where the store could not say, or where the note of the token may still
    /// come.
    async fn tell(&self) {
        let told = self.try_to_tell().await;
        let (beside, now) = (&self.found.notes, self.clock.now());
        let issued_at = self.found.token().issued_at().plus(beside.issuer.settings.rules.clock_skew);
        match told {
            Err(_) => beside.asks_again_from(now.plus(PAUSE_AFTER_OUTAGE)),
            Ok(false) if now < issued_at.plus(LATEST_NOTE) => beside.asks_again_from(now.plus(LATEST_NOTE)),
            Ok(_) => drop(self.seen_tokens.remember(beside.fingerprint)),
        }
    }

    /// Whether there was anybody to tell.
    async fn try_to_tell(&self) -> Result<bool, Denial> {
        let Self { store, clock, found, .. } = self;
        let mut known = None;
        for id in found.notes.marks.noted_by() {
            known = family_of(&**store, id).await.map_err(|_| Denial::StoreUnavailable)?;
            if known.is_some() {
                break;
            }
        }
        let Some((family, generation)) = known else { return Ok(false) };
        found.notes.set_family(family);
        self.open_requests.renewed(family, found, clock.now());
        let step = |known: &mut Family, _| known.note_token_use(generation);
        change_known(&**store, &**clock, family, || None, step).await.map(|_| true)
    }
}

fn read(bytes: &Bytes) -> Option<(FamilyId, Generation)> {
    let (family, generation) = bytes.split_first_chunk()?;
    Some((FamilyId::from_bytes(*family), Generation::from_be_bytes(generation.try_into().ok()?)))
}
