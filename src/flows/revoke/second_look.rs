//! Looks for the sessions of an entry a second time: a replica that did not know the entry yet may have let
//! somebody in meanwhile, and the store may have been away. It goes on for as long as that takes, for each
//! entry by itself, so that one whose sessions cannot be ended holds up no other.
//!
//! If it is not known whether an entry was written, its absence proves little: an abandoned write may be
//! carried out late, and a Redis that lost it may get it back from a replica. So such an entry is looked for
//! repeatedly, for a while.
//!
//! It must never end sessions that began after an entry was lifted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{RETRY, end_sessions, ends_sessions};
use crate::core::revocation::{Revocation, RevocationId, Rule};
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::ports::StoreFault;
use crate::state::backlog::Turn;

/// The delay before the second look.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// How long an unconfirmed entry may still appear, from when the list could last be asked.
const IN_DOUBT: Duration = Duration::from_secs(120);

/// What a second look at an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Until when the entry may still appear; `None`: it is known to be written.
    comes_until: Option<Instant>,
    /// The time of the watermark that may still appear, if it has one.
    before: Option<Timestamp>,
}

impl Sought {
    const WRITTEN: Self = Self { comes_until: None, before: None };

    fn in_doubt(revocation: &Revocation) -> Self {
        Self { comes_until: Some(Instant::now() + IN_DOUBT), before: moment(revocation) }
    }

    /// Keeps the later of two moments.
    fn join(&mut self, new: Self) {
        self.comes_until = self.comes_until.max(new.comes_until);
        self.before = self.before.max(new.before);
    }

    /// Extends the wait, because the list cannot be asked, and nothing is added to it meanwhile.
    fn extend_wait(&mut self) {
        self.comes_until = self.comes_until.map(|_| Instant::now() + IN_DOUBT);
    }

    /// Whether an entry may still appear beside what is there.
    fn may_come(&self, there: Option<&Revocation>) -> bool {
        let is_there = there.is_some_and(|there| moment(there) >= self.before);
        !is_there && self.comes_until.is_some_and(|until| Instant::now() < until)
    }
}

const fn moment(revocation: &Revocation) -> Option<Timestamp> {
    match revocation.rule {
        Rule::Before(before) => Some(before),
        Rule::Outright | Rule::Block => None,
    }
}

/// Schedules second looks at these entries. `is_written`: whether the list is known to have them.
pub(super) fn leave(gate: &Arc<Gate>, revocations: &[Revocation], is_written: bool) {
    let of = |revocation: &Revocation| {
        let sought = if is_written { Sought::WRITTEN } else { Sought::in_doubt(revocation) };
        gate.second_looks.leave(revocation.id(), sought, Sought::join)
    };
    let turns: Vec<_> =
        revocations.iter().filter(|revocation| ends_sessions(revocation)).filter_map(of).collect();
    if !turns.is_empty() {
        let late = Arc::clone(gate);
        gate.errands.spawn(async move { look_at_all(&late, turns).await });
    }
}

async fn look_at_all(gate: &Gate, turns: Vec<Turn<RevocationId, Sought>>) {
    let mut looks: Vec<_> = turns.into_iter().filter_map(Look::due_soon).collect();
    while let Some(first) = looks.iter().map(|look| look.due).min() {
        sleep_until(first).await;
        let now = Instant::now();
        let (due, mut left): (Vec<_>, Vec<_>) = looks.into_iter().partition(|look| look.due <= now);
        let (mut failed, mut fault) = (0, None);
        for mut look in due {
            let told = look.now(gate).await;
            if let Err(new) = &told {
                failed += 1;
                fault.get_or_insert_with(|| new.clone());
            }
            left.extend(if told == Ok(true) { Look::due_soon(look.turn) } else { Some(look.put_off()) });
        }
        if let Some(fault) = fault {
            tracing::warn!(%fault, failed, "sessions that were revoked could not be looked for again yet");
        }
        looks = left;
    }
}

/// A second look that is due.
struct Look {
    turn: Turn<RevocationId, Sought>,
    sought: Sought,
    due: Instant,
    /// The pause before the next attempt, if this one fails.
    pause: Duration,
}

impl Look {
    /// A look after [`LOOK_AGAIN_AFTER`]; `None`: nothing is left to look for.
    fn due_soon(mut turn: Turn<RevocationId, Sought>) -> Option<Self> {
        let sought = turn.take()?;
        Some(Self { turn, sought, due: Instant::now() + LOOK_AGAIN_AFTER, pause: RETRY.first })
    }

    fn put_off(self) -> Self {
        let (due, pause) = (Instant::now() + self.pause, RETRY.after(self.pause));
        Self { due, pause, ..self }
    }

    /// Ends the sessions that the entry names as it is now: of two times that were asked for, the later
    /// counts. Returns whether nothing is left to do.
    async fn now(&mut self, gate: &Gate) -> Result<bool, StoreFault> {
        let there = gate.revocation_log.find(*self.turn.of()).await;
        let there = there.inspect_err(|_| self.sought.extend_wait())?;
        if let Some(standing) = &there {
            end_sessions(gate, std::slice::from_ref(standing)).await?;
        }
        Ok(!self.sought.may_come(there.as_ref()))
    }
}
