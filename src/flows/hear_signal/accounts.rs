//! Suspends accounts, lets them in again, and shuts out for good those that are purged (RISC 1.0 sections 2.2
//! to 2.4), by a block in the list of revocations.
//!
//! Events may arrive in any order, and more than once. The latest event of a transmitter about an account is
//! kept for as long as an older one could be accepted ([`MEMORY`]), and an older one changes nothing. Of two
//! events of the same time, the one that closes the account counts.
//!
//! An event is stored before it is carried out, marked as pending, and once more when it is done. After an
//! outage or crash the next event about that account finds it pending, and carries out the latest. What is
//! done is not repeated: an operator may have lifted the block.
//!
//! A transmitter lifts only its own hold on a block. What an operator or another transmitter holds as well
//! stays until they let go (`core::revocation::holders`).

use std::time::Duration;

use bytes::Bytes;

use super::{Word, reason};
use crate::core::revocation::holders::{Hand, Holder};
use crate::core::revocation::{Change, Kind, Revocation, Target, Whose};
use crate::core::time::Timestamp;
use crate::core::token::security_event::MEMORY;
use crate::core::token::security_event::event::{Event, EventType};
use crate::core::token::security_event::subject::Named;
use crate::flows::heard::key_of;
use crate::flows::ports::{EntryAsSeen, Keep, StoreFault, StoreKey, Stored, Value, Version};
use crate::flows::revoke::blocks::{TRIES, see, too_often};
use crate::flows::revoke::{end_named, end_where_made};
use crate::state::metrics::SignalResult;

/// How long it may take to carry out an event: calls to a store have deadlines of seconds.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// What an event said about an account, and from when. The later one is greater; at the same time the one
/// that closes the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    at: Timestamp,
    is_disabled: bool,
}

/// The latest event about an account, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    said: Said,
    /// Since when it is pending, by the store's clock; `None`: it is done.
    waits_since: Option<Timestamp>,
}

impl Kept {
    fn to_bytes(self) -> Bytes {
        let Self { said: Said { at, is_disabled }, waits_since } = self;
        let mut text = format!("{} {}", at.as_millis(), u8::from(is_disabled));
        if let Some(since) = waits_since {
            text.push_str(&format!(" {}", since.as_millis()));
        }
        text.into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let at = Timestamp::from_millis(words.next()?.parse().ok()?);
        let is_disabled = words.next()? == "1";
        let waits_since = words.next().map(|since| since.parse().map(Timestamp::from_millis)).transpose();
        Some(Self { said: Said { at, is_disabled }, waits_since: waits_since.ok()? })
    }

    /// Whether it may be being carried out at `now`.
    fn is_under_way(self, now: Timestamp) -> bool {
        self.waits_since.is_some_and(|since| now < since.plus(UNDER_WAY))
    }

    async fn put(
        self,
        word: &Word<'_>,
        key: &StoreKey,
        in_place_of: Option<Version>,
    ) -> Result<Option<Version>, StoreFault> {
        let value = Value { bytes: self.to_bytes(), lifetime: MEMORY + MEMORY, keep: Keep::Durably };
        word.gate.store.put_if(key, in_place_of, value).await
    }
}

/// The new state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    Disabled,
    Enabled,
    /// Gone for good. Held apart from the transmitter's other events, so that only an operator can take it
    /// back.
    Purged,
}

impl Account {
    const fn kind(self) -> &'static str {
        match self {
            Self::Disabled | Self::Enabled => "account",
            Self::Purged => "purged",
        }
    }

    /// The type of the event that said this.
    const fn told_by(self, said: Said) -> EventType {
        match (self, said.is_disabled) {
            (Self::Purged, _) => EventType::AccountPurged,
            (_, true) => EventType::AccountDisabled,
            (_, false) => EventType::AccountEnabled,
        }
    }

    fn hand(self, iss: &str) -> Hand {
        match self {
            Self::Disabled | Self::Enabled => Hand::Transmitter(iss.to_owned()),
            Self::Purged => Hand::ForGood(iss.to_owned()),
        }
    }
}

/// Puts an account into a new state, unless its transmitter reported a later one.
pub(super) async fn change(
    word: &Word<'_>,
    event: &Event,
    person: &Named,
    to: Account,
) -> Result<SignalResult, StoreFault> {
    let key = key_of(to.kind(), &[word.iss(), &person.iss, &person.value]);
    let id = own_block(word, event, person, to)?.id();
    let said = Said { at: event.at, is_disabled: to != Account::Enabled };
    let (mut result, mut was_disabled, mut has_changed) = (None, false, false);
    for _ in 0..TRIES {
        // Read first: if another event, not stored yet, changes the block after this, the change below
        // notices.
        let seen = see(word.gate, id).await?;
        let Stored { value, now } = word.gate.store.get(&key).await?;
        let (mut version, bytes) = value.unzip();
        let known = bytes.and_then(|bytes| Kept::from_bytes(&bytes));
        was_disabled |= known.is_some_and(|known| known.said.is_disabled);
        let kept = match known.filter(|known| known.said >= said) {
            Some(known) if known.waits_since.is_none() && !has_changed => {
                return Ok(result.unwrap_or(SignalResult::Ignored));
            }
            Some(known) => Kept { waits_since: None, ..known },
            None => {
                let waiting = Kept { said, waits_since: Some(now) };
                version = waiting.put(word, &key, version).await?;
                if version.is_none() {
                    continue;
                }
                // An older event that is under way may still change the block, so this one stays pending.
                let may_change = known.is_some_and(|known| known.is_under_way(now));
                Kept { said, waits_since: may_change.then_some(now) }
            }
        };
        let is_own = kept.said == said;
        // This event's reason does not apply to another event that is carried out.
        let told = Event { kind: to.told_by(kept.said), reason: None, ..event.clone() };
        let told = if is_own { event } else { &told };
        let block = own_block(word, told, person, to)?;
        let Some(done) = carry(word, told, &block, seen, kept.said.is_disabled, was_disabled).await? else {
            continue;
        };
        has_changed |= done == SignalResult::Applied;
        if is_own {
            result = result.or(Some(done));
        }
        if kept.put(word, &key, version).await?.is_some() {
            return Ok(result.unwrap_or(SignalResult::Ignored));
        }
    }
    Err(too_often())
}

/// Carries out an event on the block as it was seen. `None`: the block has changed since.
async fn carry(
    word: &Word<'_>,
    event: &Event,
    own: &Revocation,
    seen: EntryAsSeen,
    is_disabled: bool,
    was_disabled: bool,
) -> Result<Option<SignalResult>, StoreFault> {
    let standing = seen.entry.as_ref();
    let change = if is_disabled {
        Some(Change::Add(own.clone().beside(standing, word.now)))
    } else {
        let_go(word, own, standing, was_disabled)
    };
    let Some(change) = change else { return Ok(Some(SignalResult::Ignored)) };
    let made = word.gate.revocation_log.append_if(&[seen], std::slice::from_ref(&change)).await;
    let made = made.inspect_err(|fault| {
        if is_disabled {
            end_where_made(word.gate, fault, std::slice::from_ref(change.revocation()));
        }
    });
    if !made? {
        return Ok(None);
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
    Ok(Some(SignalResult::Applied))
}

/// The block of this transmitter alone.
fn own_block(word: &Word<'_>, event: &Event, person: &Named, to: Account) -> Result<Revocation, StoreFault> {
    let target =
        Target { kind: Kind::Sub, whose: Whose::Of(person.iss.clone()), value: person.value.clone() };
    let own =
        Holder { hand: to.hand(word.iss()), until: None, made_at: word.now, reason: Some(reason(event)) };
    Revocation::block(target, vec![own]).ok_or_else(too_often)
}

/// The change of the block when an account is enabled.
fn let_go(
    word: &Word<'_>,
    own: &Revocation,
    standing: Option<&Revocation>,
    was_disabled: bool,
) -> Option<Change> {
    match standing {
        Some(standing) => standing.without(&Account::Enabled.hand(word.iss()), word.now),
        // A Redis that lost the block may get it back from a replica, unless its log says that the block was
        // lifted.
        None => was_disabled.then(|| Change::Lift(own.clone())),
    }
}
