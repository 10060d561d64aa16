//! The newest access token, when it is used, proves that the answer it came with has arrived, on whatever replica that
//! was: the generation before its own is spent then, outside `grace`. An older one may have come without a cookie. For a page whose APIs are behind this gateway a stolen
//! older cookie is so noticed although the newer one was not presented yet.
//!
//! What lasts of that session goes on by the new token, too.
//!
//! The request that brings the token does not wait for it, and the store is asked once for each token and replica.

use std::sync::Arc;

use bytes::Bytes;

use super::coordinate::change_known;
use crate::core::caller::{Beside as _, Caller};
use crate::core::session::exchange::Issued;
use crate::core::session::grant::{FamilyId, Generation};
use crate::core::time::Timestamp;
use crate::core::token::id::TokenId;
use crate::flows::Gate;
use crate::flows::ports::{Keep, Store, StoreKey, Value};
use crate::state::live::Live;
use crate::state::verified_tokens::Remembered;

fn key(id: TokenId) -> StoreKey {
    StoreKey::new("token", id)
}

/// Notes which generation a token came with, for whoever sees it. Without it only the cookie proves receipt.
pub(super) async fn note(gate: &Gate, family: FamilyId, issued: Option<Issued>) {
    let Some(Issued { id, expires_at, generation }) = issued else { return };
    let mut bytes = family.as_bytes().to_vec();
    bytes.extend_from_slice(&generation.to_be_bytes());
    let value =
        Value { bytes: bytes.into(), lifetime: expires_at.since(gate.clock.now()), keep: Keep::WhileRunning };
    if !value.lifetime.is_zero() {
        let _ = gate.store.put_if(&key(id), None, value).await;
    }
}

/// The session that a token was handed out in, and the generation that it came with; `None` where nobody noted that.
pub(in crate::flows) async fn family_of(store: &dyn Store, id: TokenId) -> Option<(FamilyId, Generation)> {
    let (_, bytes) = store.get(&key(id)).await.ok()?.value?;
    read(&bytes)
}

/// A token was found good, with a request: what lasts of its session may go on by it.
pub(in crate::flows) fn used(gate: &Gate, live: &Live, found: &Arc<Remembered>, now: Timestamp) {
    seen(gate, live, found);
    if gate.open_requests.sessions() > 0
        && let Some(family) = found.beside.family()
    {
        gate.open_requests.renewed(family, &(Arc::clone(found) as Arc<Caller>), now);
    }
}

fn seen(gate: &Gate, live: &Live, found: &Arc<Remembered>) {
    if !found.beside.is_first_use() {
        return;
    }
    let token = found.token();
    let of_a_page =
        live.settings.clients.iter().any(|client| {
            client.issuer == *token.issuer() && token.client() == Some(client.client_id.as_str())
        });
    if !of_a_page || !gate.seen_tokens.remember(found.beside.fingerprint) {
        return;
    }
    let (store, clock, found) = (Arc::clone(&gate.store), Arc::clone(&gate.clock), Arc::clone(found));
    let open_requests = Arc::clone(&gate.open_requests);
    gate.errands.spawn(async move {
        let Some((family, generation)) = family_of(&*store, found.beside.marks.id).await else { return };
        found.beside.is_of(family);
        let now = clock.now();
        open_requests.renewed(family, &(found as Arc<Caller>), now);
        let _ =
            change_known(&*store, &*clock, family, || None, |known, _| known.token_seen(generation)).await;
    });
}

fn read(bytes: &Bytes) -> Option<(FamilyId, Generation)> {
    let (family, generation) = bytes.split_first_chunk()?;
    Some((FamilyId::from_bytes(*family), Generation::from_be_bytes(generation.try_into().ok()?)))
}
