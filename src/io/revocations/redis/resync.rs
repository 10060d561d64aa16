//! What a replica does when the log does not lead from what it knows to what there is: it takes in all that Redis has,
//! and then follows the log from where that was when it began.
//!
//! If the log was merely cut, what this replica has and Redis has not was lifted while it was away. If Redis lost what
//! it had acknowledged (it came back empty, or another server took over without it), Redis gets it back (`give_back`).

use std::time::Duration;

use tokio::time::timeout;

use super::Shared;
use super::follower::{File, Follower, PAGE};
use super::give_back::Told;
use super::local::PIECE;
use super::scripts::{self, Entry, Read};
use crate::core::revocation::{Change, Revocation};
use crate::flows::ports::StoreFault;
use crate::io::revocations::file::{Mark, Position};

/// When it is tried to open a file that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What becomes of what only this replica has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resync {
    /// It was lifted.
    Lift,
    /// It is put into Redis again.
    Keep,
}

/// Whether what was read leads on from `cursor`, and how many entries only prove that. `applied`: what the tables have
/// must be there too, or others may have taken its numbers.
pub(super) fn way_on(cursor: Position, applied: Option<Position>, read: &Read) -> Result<usize, Resync> {
    let is_lost = |known: Position| {
        let is_another = |entry: &Entry| entry.seq == known.seq && entry.nonce != known.nonce;
        read.epoch != known.epoch || read.last < known.seq || read.entries.iter().any(is_another)
    };
    if is_lost(cursor) || applied.is_some_and(is_lost) {
        return Err(Resync::Keep);
    }
    match read.entries.first() {
        // There was nothing before it.
        None if cursor.seq == 0 && read.last == 0 => Ok(0),
        Some(first) if cursor.seq == 0 && first.seq == 1 => Ok(0),
        Some(first) if first.seq == cursor.seq => Ok(1),
        None | Some(_) => Err(Resync::Lift),
    }
}

impl Follower {
    /// `reached`: how often Redis had been reached when `how` was decided.
    pub(super) async fn resync(&mut self, how: Resync, reached: u64) -> Result<(), StoreFault> {
        self.finish_writing().await;
        let Shared { link, names, .. } = &*self.shared.clone();
        let server = link.ask(async |line| scripts::server(line, names).await).await?;
        let last = link.ask(async |line| scripts::last(line, names).await).await?;
        // Only the log tells tables that have been followed up to some place what was lifted since.
        let of_tables = self.applied.filter(|at| at.epoch == last.epoch && at.seq <= last.seq);
        let begin = of_tables.filter(|_| self.cursor.is_none()).unwrap_or(last);
        if let Some(cursor) = self.cursor.filter(|_| !self.hindrance.is_there()) {
            tracing::warn!(
                ?how,
                from = cursor.seq,
                to = begin.seq,
                "the list of revocations is read whole from Redis"
            );
        }
        // What Redis forgot must not come over what is known here.
        self.compare(how, reached, server.as_deref()).await?;
        let mut at = 0;
        loop {
            let scan = async |line: &_| scripts::scan(line, names, at, server.as_deref()).await;
            let (next, records) = link.ask(scan).await?;
            self.check_still(reached)?;
            self.tables.apply(&records);
            self.keep(records, Mark::default()).await;
            at = next;
            if at == 0 {
                break;
            }
        }
        // It may be further than the log is now: what takes those numbers is new.
        self.applied = None;
        self.advance_to(begin);
        self.keep(Vec::new(), Mark { position: Some(begin), ..Mark::default() }).await;
        if matches!(self.file, File::Open) {
            self.tell(|progress| progress.written = begin.seq);
        }
        self.answer_before(begin).await;
        Ok(())
    }

    /// Another connection may lead to another server. In a cluster one connection may, too: the server is asked who it is.
    fn check_still(&self, reached: u64) -> Result<(), StoreFault> {
        if self.shared.link.times_reached() == reached { Ok(()) } else { Err(scripts::moved()) }
    }

    /// Answers those whose own change was in what was read whole, as far as the end of the log shows it.
    async fn answer_before(&self, begin: Position) {
        let Shared { link, names, awaited, .. } = &*self.shared;
        if awaited.is_nobody() {
            return;
        }
        let from = begin.seq.saturating_sub(PAGE as u64 - 1);
        let Ok(read) = link.ask(async |line| scripts::read(line, names, from, PAGE).await).await else {
            return;
        };
        let before = || read.entries.iter().filter(|entry| entry.seq <= begin.seq);
        let is_begin = |entry: &Entry| entry.seq == begin.seq && entry.nonce == begin.nonce;
        // Another server's log says nothing about what was read.
        if read.epoch == begin.epoch && before().any(is_begin) {
            awaited.came(before().map(|entry| entry.nonce));
        }
    }

    /// Looks for all that only this replica has.
    async fn compare(&mut self, how: Resync, reached: u64, server: Option<&str>) -> Result<(), StoreFault> {
        let Shared { link, names, local, .. } = &*self.shared.clone();
        let (mut after, mut told) = (None, Told::default());
        while matches!(self.file, File::Open) {
            let Some(piece) = local.piece(after).await else {
                // It must not say that it is further: then it is compared when it is open again.
                self.shut(PAUSE);
                return Ok(());
            };
            debug_assert!(piece.changes.len() <= PIECE);
            let behind = async |line: &_| scripts::behind(line, names, &piece.changes, server).await;
            let behind = link.ask(behind).await?;
            self.check_still(reached)?;
            let named =
                behind.into_iter().filter_map(|(at, is_there)| Some((piece.changes.get(at)?, is_there)));
            let (less, lacking): (Vec<_>, Vec<_>) = named.partition(|(_, is_there)| *is_there);
            let those = |of: Vec<(&Change, bool)>| -> Vec<Revocation> {
                of.into_iter().map(|(change, _)| change.revocation().clone()).collect()
            };
            match how {
                Resync::Lift => self.lift_here(those(lacking)).await,
                Resync::Keep => self.give_back(those(less), those(lacking), &mut told).await?,
            }
            after = piece.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// It was lifted elsewhere.
    pub(super) async fn lift_here(&mut self, gone: Vec<Revocation>) {
        let gone: Vec<_> = gone.into_iter().map(Change::Lift).collect();
        self.tables.apply(&gone);
        self.keep(gone, Mark::default()).await;
    }

    /// Writes to the file, where it is open.
    async fn keep(&mut self, changes: Vec<Change>, mark: Mark) {
        let is_needed = !changes.is_empty() || mark != Mark::default();
        if is_needed && matches!(self.file, File::Open) && !self.shared.local.write_now(changes, mark).await {
            self.shut(PAUSE);
        }
    }

    /// Everything up to the cursor is in the file, or that is shut.
    async fn finish_writing(&mut self) {
        if let File::Writing { writing, .. } = &mut self.file {
            if timeout(self.shared.tuning.disk, writing).await.is_ok_and(|written| written.unwrap_or(false)) {
                self.file = File::Open;
            } else {
                self.shut(PAUSE);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.keep(waiting, Mark { position: self.cursor, ..Mark::default() }).await;
    }
}
