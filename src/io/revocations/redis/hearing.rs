//! What a replica hears of the log while it takes in the list whole, which may take minutes: what is revoked
//! meanwhile is refused here within a second, as it is at all other times, and whoever revokes it here is
//! answered.
//!
//! It hears all from where the log was when that began, each entry once and in order. So what it heard of an
//! entry is later than what was read of it, and must never be overwritten by that. What was revoked shortly
//! before, when this replica had lost its place in the log already, it looks for first.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::log_position::way_on;
use super::unwritten::Unwritten;
use super::{Shared, scripts};
use crate::core::revocation::{Change, RevocationId};
use crate::core::time::Timestamp;
use crate::flows::ports::StoreFault;
use crate::io::revocations::file::Position;
use crate::state::revocations::{Currency, Revocations};

/// How far the clocks of replicas may be apart.
const APART: Duration = Duration::from_secs(60);

pub(super) struct Hearing {
    shared: Arc<Shared>,
    tables: Arc<Revocations>,
    begin: Position,
    gap: Option<Gap>,
    heard: Mutex<Heard>,
}

/// What the log has from before the hearing begins, and this replica may not know: nothing says from where on
/// that is.
pub(super) struct Gap {
    /// Behind this entry.
    pub(super) after: u64,
    /// All that was made before this is known.
    pub(super) since: Timestamp,
}

struct Heard {
    /// Up to here.
    up_to: Position,
    ids: HashSet<RevocationId>,
    /// What the file may lack.
    changes: Unwritten,
}

impl Hearing {
    pub(super) fn new(
        shared: &Arc<Shared>,
        tables: &Arc<Revocations>,
        begin: Position,
        gap: Option<Gap>,
    ) -> Self {
        let heard = Mutex::new(Heard { up_to: begin, ids: HashSet::new(), changes: Unwritten::default() });
        Self { shared: shared.clone(), tables: tables.clone(), begin, gap, heard }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) -> Position {
        self.begin
    }

    pub(super) fn up_to(&self) -> Position {
        self.heard().up_to
    }

    /// What it heard, and where in the log.
    pub(super) fn into_changes(self) -> Unwritten {
        self.heard.into_inner().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// Keeps what it heard for the file, and takes it into the tables.
    fn take(&self, changes: Vec<(Position, Change)>) {
        let news: Vec<_> = changes.iter().map(|(_, change)| change.clone()).collect();
        self.heard().changes.take(changes);
        self.tables.apply(&news);
        self.shared.progress.send_modify(|progress| progress.taken += news.len() as u64);
    }

    /// Those of which nothing was heard: of all others the tables have what is later.
    pub(super) fn leaves<'c>(&self, changes: &'c [Change]) -> Cow<'c, [Change]> {
        let heard = self.heard();
        if heard.ids.is_empty() {
            return Cow::Borrowed(changes);
        }
        changes.iter().filter(|change| !heard.ids.contains(&change.id())).cloned().collect()
    }

    /// Hears for as long as it is polled, unless the log does not lead on or cannot be read: Redis lost it
    /// once more, and whoever takes in the list must begin anew, or this replica would hear nothing for as
    /// long as that takes.
    pub(super) async fn go_on(&self) -> StoreFault {
        let Shared { clock, tuning, wake, .. } = &*self.shared;
        // Who lets in nobody yet needs to hear nothing, and must not answer as if what was revoked counted
        // here.
        if self.tables.currency(clock.now()) == Currency::Unknown {
            return pending().await;
        }
        if let Some(gap) = &self.gap {
            self.look_into(gap).await;
        }
        loop {
            tokio::select! {
                () = sleep(tuning.poll) => {}
                () = wake.notified() => {}
            }
            loop {
                match self.hear().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(fault) => return fault,
                }
            }
        }
    }

    /// Takes what was revoked there, and not lifted since. What this replica has itself may be more than that
    /// log says, and what was lifted is found by who compares both.
    async fn look_into(&self, gap: &Gap) {
        let (since, mut from) = (gap.since.minus(APART), gap.after);
        let mut made = HashMap::new();
        loop {
            // An outage ends what is taken in, too.
            let Ok(read) = self.shared.read_log(from).await else { return };
            if read.epoch != self.begin.epoch {
                return;
            }
            let known = from;
            for entry in read.entries.into_iter().filter(|entry| entry.seq > known) {
                from = entry.seq;
                match entry.change.filter(|_| entry.seq <= self.begin.seq) {
                    Some(add @ Change::Add(_)) if add.revocation().made_at >= since => {
                        made.insert(add.id(), ((self.begin, add), entry.nonce));
                    }
                    Some(other) => drop(made.remove(&other.id())),
                    None => {}
                }
            }
            if from == known || from >= self.begin.seq {
                break;
            }
        }
        let (made, nonces): (Vec<_>, Vec<_>) = made.into_values().unzip();
        self.take(made);
        self.shared.awaited.came(nonces);
    }

    /// Reads on in the log. Returns whether there is more.
    async fn hear(&self) -> Result<bool, StoreFault> {
        let at = self.up_to();
        // An outage ends what is taken in, too.
        let Ok(read) = self.shared.read_log(at.seq).await else { return Ok(false) };
        let proof = way_on(at, None, &read).map_err(|_| scripts::moved())?;
        let (mut up_to, mut news, mut nonces) = (at, Vec::new(), Vec::new());
        for entry in read.entries.into_iter().skip(proof) {
            let change = entry.change.ok_or_else(scripts::unreadable)?;
            up_to = Position { epoch: read.epoch, seq: entry.seq, nonce: entry.nonce };
            news.push((up_to, change));
            nonces.push(entry.nonce);
        }
        {
            let mut heard = self.heard();
            heard.up_to = up_to;
            heard.ids.extend(news.iter().map(|(_, change)| change.id()));
        }
        self.take(news);
        self.shared.awaited.came(nonces);
        Ok(up_to.seq < read.last)
    }
}
