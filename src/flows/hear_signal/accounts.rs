//! Suspends accounts and lets them in again (RISC 1.0 sections 2.3 and 2.4): a block of the list, which stands until it is
//! lifted.
//!
//! Words may come in any order, and again: the latest of a transmitter about an account is kept for as long as an older one
//! could be taken ([`MEMORY`]), and an older one changes nothing. Of two that happened in the same moment the one that
//! closes counts.
//!
//! One target has one block, so its maker is a list: whoever holds it. A transmitter takes back its own word alone; what an
//! operator, or another transmitter, holds as well stays until they let go. Two of them who speak of one account at the
//! same moment may not see each other; then the latter holds it alone.

use bytes::Bytes;

use super::{Word, reason};
use crate::core::revocation::{Change, Kind, Revocation, Rule, Target, Whose};
use crate::core::time::Timestamp;
use crate::core::token::security_event::MEMORY;
use crate::core::token::security_event::event::{Event, Named};
use crate::flows::heard::key_of;
use crate::flows::ports::{Keep, StoreFault, Value};
use crate::flows::revoke::carry_out;
use crate::state::metrics::SignalResult;

/// How often somebody else may be faster.
const TRIES: usize = 16;
/// A maker without a name.
const NAMELESS: &str = "operator";

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

async fn carry(
    word: &Word<'_>,
    event: &Event,
    person: &Named,
    is_disabled: bool,
    known: Option<Said>,
) -> Result<SignalResult, StoreFault> {
    let target =
        Target { kind: Kind::Sub, whose: Whose::Of(person.iss.clone()), value: person.value.clone() };
    let own = Revocation {
        target,
        rule: Rule::Block,
        until: None,
        made_at: word.now,
        made_by: Some(word.iss().to_owned()),
        reason: Some(reason(event)),
    };
    let standing = word.gate.revocation_log.find(own.id()).await?;
    let standing = standing.filter(|standing| standing.until.is_none_or(|until| word.now < until));
    if is_disabled {
        suspend(word, event, own, standing).await
    } else {
        let_in(word, event, own, standing, known).await
    }
}

async fn suspend(
    word: &Word<'_>,
    event: &Event,
    own: Revocation,
    standing: Option<Revocation>,
) -> Result<SignalResult, StoreFault> {
    let block = match standing {
        None => own,
        // Whoever held it goes on to; an end that they set does not count while the account is disabled.
        Some(standing) => {
            let mut holders = holders(&standing);
            holders.retain(|holder| holder != word.iss());
            holders.push(word.iss().to_owned());
            Revocation { made_by: Some(holders.join(" ")), ..own }
        }
    };
    carry_out(word.gate, std::slice::from_ref(&block)).await?;
    word.audit(event, "revoked", &block);
    Ok(SignalResult::Applied)
}

async fn let_in(
    word: &Word<'_>,
    event: &Event,
    own: Revocation,
    standing: Option<Revocation>,
    known: Option<Said>,
) -> Result<SignalResult, StoreFault> {
    // A replica may not have written down yet what another one just did.
    let was_disabled = known.is_some_and(|known| known.is_disabled);
    let Some(standing) = standing.or_else(|| was_disabled.then_some(own)) else {
        return Ok(SignalResult::Ignored);
    };
    let mut holders = holders(&standing);
    let held = holders.len();
    holders.retain(|holder| holder != word.iss());
    if holders.len() == held {
        return Ok(SignalResult::Ignored);
    }
    let change = match holders.join(" ") {
        none if none.is_empty() => Change::Lift(standing),
        others => Change::Add(Revocation { made_by: Some(others), ..standing }),
    };
    word.gate.revocation_log.append(std::slice::from_ref(&change)).await?;
    let what =
        if matches!(change, Change::Lift(_)) { "lifted a revocation" } else { "let go of a revocation" };
    word.audit(
        event,
        what,
        &Revocation { made_by: Some(word.iss().to_owned()), ..change.revocation().clone() },
    );
    Ok(SignalResult::Applied)
}

fn holders(block: &Revocation) -> Vec<String> {
    let made_by = block.made_by.as_deref().unwrap_or(NAMELESS);
    made_by.split(' ').filter(|holder| !holder.is_empty()).map(ToOwned::to_owned).collect()
}
