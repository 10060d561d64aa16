//! The newest access token, when it is used, proves that the answer it came with has arrived, on whatever replica that
//! was: the generation before its own is spent then, outside `grace`. An older one may have come without a cookie. For a page whose APIs are behind this gateway a stolen
//! older cookie is so noticed although the newer one was not presented yet.
//!
//! The request that brings the token does not wait for it, and the store is asked once for each token and replica.

use std::sync::Arc;

use bytes::Bytes;

use super::coordinate::change_known;
use crate::core::session::exchange::Issued;
use crate::core::session::grant::{FamilyId, Generation};
use crate::core::token::bearer::Spelled;
use crate::core::token::id::TokenId;
use crate::flows::Gate;
use crate::flows::ports::{Clock, Keep, Store, StoreKey, Value};
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

/// A token was found good. `token`: as it came.
pub(in crate::flows) fn seen(gate: &Gate, live: &Live, found: &Remembered, token: Spelled<'_>) {
    if !found.beside.is_first_use() {
        return;
    }
    let (token, Ok(text)) = (found.token(), token.text()) else { return };
    let of_a_page =
        live.settings.clients.iter().any(|client| {
            client.issuer == *token.issuer() && token.client() == Some(client.client_id.as_str())
        });
    if !of_a_page || !gate.seen_tokens.remember(found.beside.fingerprint) {
        return;
    }
    let id = TokenId::of(&found.beside.issuer.settings.rules.iss, token.id(), text);
    let (store, clock) = (Arc::clone(&gate.store), Arc::clone(&gate.clock));
    gate.errands.spawn(async move { prove(&*store, &*clock, id).await });
}

async fn prove(store: &dyn Store, clock: &dyn Clock, id: TokenId) {
    let Ok(found) = store.get(&key(id)).await else { return };
    let Some((family, generation)) = found.value.and_then(|(_, bytes)| read(&bytes)) else { return };
    let _ = change_known(store, clock, family, || None, |known, _| known.token_seen(generation)).await;
}

fn read(bytes: &Bytes) -> Option<(FamilyId, Generation)> {
    let (family, generation) = bytes.split_first_chunk()?;
    Some((FamilyId::from_bytes(*family), Generation::from_be_bytes(generation.try_into().ok()?)))
}
