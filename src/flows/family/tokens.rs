//! The tokens of a session in the store, sealed for whoever holds the cookie of the generation that they came
//! with: whoever has the store alone has no token, and whoever has the cookie alone needs the store.
//!
//! They are kept before the cookie goes out, for as long as they may be used: a restart or another replica
//! finds them.

use std::time::Duration;

use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::session::exchange::seal::{Content, Holder};
pub(in crate::flows) use crate::core::session::exchange::tokens::SessionTokens;
use crate::core::session::exchange::{REPLICA_CLOCK_SKEW, Sealed};
use crate::core::session::grant::{Generation, Grant};
use crate::flows::Gate;
use crate::flows::ports::{Keep, StoreFault, StoreKey, Value, random};

/// How often it is tried to put them where others were faster than.
const ATTEMPTS: usize = 8;

fn key(family: FamilyId, generation: Generation) -> StoreKey {
    StoreKey::new("tokens", format_args!("{family}:{generation}"))
}

fn unavailable(fault: &StoreFault) -> Denial {
    tracing::warn!(%fault, "the store could not be asked about the tokens of a session");
    Denial::StoreUnavailable
}

/// Keeps `tokens` for the holder of `grant`, durably.
///
/// # Errors
/// [`Denial::StoreUnavailable`]; it is then not known whether they are kept.
pub(in crate::flows) async fn keep(
    gate: &Gate,
    client: &Client,
    grant: &Grant,
    tokens: &SessionTokens,
) -> Result<(), Denial> {
    let now = gate.clock.now();
    // Of an ID token no moment is the last: it says at every sign-out whose session that is.
    let session = grant.signed_in_at.plus(client.absolute_timeout);
    let until = if tokens.id_token.is_some() { session } else { tokens.expires_at.min(session) };
    let sealed = Holder::of(grant).seal(Content::Tokens, tokens.to_bytes().expose(), random(&*gate.random));
    let bytes = sealed.map_err(|_| Denial::Internal)?.0.into();
    put(gate, grant, Value { bytes, lifetime: until.since(now) + REPLICA_CLOCK_SKEW, keep: Keep::Durably })
        .await
}

/// The tokens that came with the cookie of `grant`; `None`: they are gone.
///
/// # Errors
/// [`Denial::StoreUnavailable`]
pub(in crate::flows) async fn of(gate: &Gate, grant: &Grant) -> Result<Option<SessionTokens>, Denial> {
    let found = gate.store.get(&key(grant.family, grant.generation)).await;
    let found = found.map_err(|fault| unavailable(&fault))?;
    let Some((_, bytes)) = found.value.filter(|(_, bytes)| !bytes.is_empty()) else { return Ok(None) };
    Ok(opened(&Holder::of(grant), &bytes))
}

/// Takes the tokens of a session that is over out of the store, so that one alone gets them of all who ask,
/// on whatever replica. `None`: they are gone, or the store cannot be asked now.
pub(in crate::flows) async fn take(gate: &Gate, holder: &Holder) -> Option<SessionTokens> {
    let key = key(holder.family(), holder.generation());
    let found = gate.store.get(&key).await.map_err(|fault| unavailable(&fault)).ok()?;
    let (version, bytes) = found.value.filter(|(_, bytes)| !bytes.is_empty())?;
    let nothing =
        Value { bytes: bytes::Bytes::new(), lifetime: REPLICA_CLOCK_SKEW, keep: Keep::WhileRunning };
    let put = gate.store.put_if(&key, Some(version), nothing).await;
    put.map_err(|fault| unavailable(&fault)).ok()??;
    opened(holder, &bytes)
}

fn opened(holder: &Holder, bytes: &[u8]) -> Option<SessionTokens> {
    let tokens = holder
        .open(Content::Tokens, &Sealed(bytes.to_vec()))
        .and_then(|plain| SessionTokens::from_bytes(plain.expose()));
    if tokens.is_none() {
        tracing::error!(family = %holder.family(), "what the store holds of a session's tokens does not open with its cookie");
    }
    tokens
}

/// Nobody needs them any more, but whoever asked just now.
pub(in crate::flows) async fn forget(gate: &Gate, grant: &Grant, grace: Duration) {
    let nothing = Value { bytes: bytes::Bytes::new(), lifetime: grace, keep: Keep::WhileRunning };
    // What stays is sealed, and goes with its session.
    let _ = put(gate, grant, nothing).await;
}

async fn put(gate: &Gate, grant: &Grant, value: Value) -> Result<(), Denial> {
    let key = key(grant.family, grant.generation);
    for _ in 0..ATTEMPTS {
        let found = gate.store.get(&key).await.map_err(|fault| unavailable(&fault))?;
        let expected = found.value.map(|(version, _)| version);
        let put = gate.store.put_if(&key, expected, value.clone()).await;
        if put.map_err(|fault| unavailable(&fault))?.is_some() {
            return Ok(());
        }
    }
    tracing::error!(family = %grant.family, "the tokens of a session are changed so often that ours were not kept");
    Err(Denial::StoreUnavailable)
}
