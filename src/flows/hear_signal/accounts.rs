//! Suspends accounts and lets them in again (RISC 1.0 sections 2.3 and 2.4): a block of the list, which stands until it is
//! lifted.
//!
//! Words may come in any order, and again: the latest of a transmitter about an account is kept for as long as an older one
//! could be taken ([`MEMORY`]), and an older one changes nothing. Of two that happened in the same moment the one that
//! closes counts.
//!
//! A transmitter takes back its own word alone; what an operator, or another transmitter, holds as well stays until they let
//! go (`core::revocation::holders`).

use bytes::Bytes;

use super::{Word, reason};
use crate::core::revocation::holders::{Hand, Holder};
use crate::core::revocation::{Change, Kind, Revocation, Target, Whose};
use crate::core::time::Timestamp;
use crate::core::token::security_event::MEMORY;
use crate::core::token::security_event::event::{Event, Named};
use crate::flows::heard::key_of;
use crate::flows::ports::{Keep, StoreFault, Value};
use crate::flows::revoke::blocks::{TRIES, see, too_often};
use crate::flows::revoke::end_named;
use crate::state::metrics::SignalResult;

/// What was said of an account, and when that was so. The later is greater, then the one that closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    at: Timestamp,
    is_disabled: bool,
}

impl Said {
    fn to_bytes(self) -> Bytes {
        format!("{} {}", self.at.as_millis(), u8::from(self.is_disabled)).into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, is_disabled) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self { at: Timestamp::from_millis(at.parse().ok()?), is_disabled: is_disabled == "1" })
    }
}

/// Suspends an account, or lets it in again, unless its transmitter said something later of it.
pub(super) async fn change(
    word: &Word<'_>,
    event: &Event,
    person: &Named,
    is_disabled: bool,
) -> Result<SignalResult, StoreFault> {
    let store = &word.gate.store;
    let key = key_of("account", &[word.iss(), &person.iss, &person.value]);
    let said = Said { at: event.at, is_disabled };
    let mut result = None;
    for _ in 0..TRIES {
        let found = store.get(&key).await?.value;
        let known = found.as_ref().and_then(|(_, bytes)| Said::from_bytes(bytes));
        if let Some(later) = known.filter(|known| *known >= said) {
            return match result {
                None => Ok(SignalResult::Ignored),
                Some(done) if later == said => Ok(done),
                // What was done here before that was known is undone.
                Some(_) => carry(word, event, person, later.is_disabled, known).await,
            };
        }
        let done = carry(word, event, person, is_disabled, known).await?;
        let done = *result.get_or_insert(done);
        let value = Value { bytes: said.to_bytes(), lifetime: MEMORY + MEMORY, keep: Keep::Durably };
        let version = found.map(|(version, _)| version);
        if store.put_if(&key, version, value).await?.is_some() {
            return Ok(done);
        }
    }
    Err(StoreFault::Unavailable("an account is changed all the time".to_owned()))
}

/// Does what a word says, once: whatever somebody else does to the block meanwhile is looked at again.
async fn carry(
    word: &Word<'_>,
    event: &Event,
    person: &Named,
    is_disabled: bool,
    known: Option<Said>,
) -> Result<SignalResult, StoreFault> {
    let own = own_block(word, event, person)?;
    for _ in 0..TRIES {
        let seen = see(word.gate, own.id()).await?;
        let change = if is_disabled {
            Some(Change::Add(own.clone().beside(seen.entry.as_ref(), word.now)))
        } else {
            let was_disabled = known.is_some_and(|known| known.is_disabled);
            let_go(word, &own, seen.entry.as_ref(), was_disabled)
        };
        let Some(change) = change else { return Ok(SignalResult::Ignored) };
        if !word.gate.revocation_log.append_if(&[seen], std::slice::from_ref(&change)).await? {
            continue;
        }
        let what = match (is_disabled, &change) {
            (true, _) => "revoked",
            (false, Change::Lift(_)) => "lifted a revocation",
            (false, Change::Add(_)) => "let go of a revocation",
        };
        word.audit(event, what, &Revocation { until: change.revocation().until, ..own.clone() });
        if is_disabled {
            end_named(word.gate, std::slice::from_ref(change.revocation())).await?;
        }
        return Ok(SignalResult::Applied);
    }
    Err(too_often())
}

/// What its transmitter alone makes of an account that it disables.
fn own_block(word: &Word<'_>, event: &Event, person: &Named) -> Result<Revocation, StoreFault> {
    let target =
        Target { kind: Kind::Sub, whose: Whose::Of(person.iss.clone()), value: person.value.clone() };
    let own = Holder { hand: hand(word), until: None, made_at: word.now, reason: Some(reason(event)) };
    Revocation::block(target, vec![own]).ok_or_else(too_often)
}

/// What becomes of the block of an account that is enabled.
fn let_go(
    word: &Word<'_>,
    own: &Revocation,
    standing: Option<&Revocation>,
    was_disabled: bool,
) -> Option<Change> {
    match standing {
        Some(standing) => standing.without(&hand(word), word.now),
        // A Redis that lost it may yet get it back from a replica, unless its log says that it was lifted.
        None => was_disabled.then(|| Change::Lift(own.clone())),
    }
}

fn hand(word: &Word<'_>) -> Hand {
    Hand::Transmitter(word.iss().to_owned())
}
