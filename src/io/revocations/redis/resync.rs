//! What a replica does when the log does not lead from what it knows to what there is: it takes in all that
//! Redis has, and then follows the log from where that was when it began.
//!
//! If the log was merely cut, what this replica has and Redis has not was lifted while it was away. If Redis
//! lost what it had acknowledged (it came back empty, or another server took over without it), Redis gets it
//! back (`give_back`).
//!
//! That may take minutes. Requests are let in meanwhile by what is known, so it must never keep this replica
//! from hearing what is revoked since (`hearing`), whatever it waits for, be it the disk.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Shared;
use super::follower::{File, Follower};
use super::give_back::LogView;
use super::hearing::{Gap, Hearing};
use super::local::PIECE;
use super::log_position::Resync;
use super::page::PAGE;
use super::scripts::{self, Entry};
use crate::core::revocation::{Change, Revocation};
use crate::flows::ports::StoreFault;
use crate::io::revocations::file::{Mark, Position};

/// When it is tried to open a file that failed.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a whole list is read from, and how.
#[derive(Clone, Copy)]
struct ReadFrom<'a> {
    how: Resync,
    /// How often Redis had been reached when that was decided.
    reached: u64,
    server: Option<&'a str>,
    hearing: &'a Hearing,
}

impl Follower {
    /// `reached`: how often Redis had been reached when `how` was decided.
    pub(super) async fn resync(&mut self, how: Resync, reached: u64) -> Result<(), StoreFault> {
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
        let gap = self.cursor.map(|cursor| self.gap_before(begin, cursor));
        let hearing = Hearing::new(&self.shared, &self.tables, begin, gap);
        let from = ReadFrom { how, reached, server: server.as_deref(), hearing: &hearing };
        let whole = tokio::select! {
            whole = self.take_in_all(from, begin) => whole,
            fault = hearing.go_on() => Err(fault),
        };
        if whole.is_ok() {
            // It may be further than the log is now: what takes those numbers is new.
            self.applied = Some(hearing.up_to());
            self.advance_to(begin);
            self.unwritten.move_to(begin);
        }
        self.unwritten.take_heard(hearing.into_changes(), whole.is_ok());
        self.note_written(Some(begin).filter(|_| whole.is_ok() && matches!(self.file, File::Open)));
        whole?;
        self.answer_before(begin).await;
        Ok(())
    }

    /// What others made between the last look at the log and `begin`. A failover loses few entries, so what
    /// took their numbers is not far behind them.
    fn gap_before(&self, begin: Position, cursor: Position) -> Gap {
        let near = cursor.seq.min(begin.seq).saturating_sub(PAGE as u64);
        let long_ago = || self.shared.clock.now().minus(self.shared.max_staleness);
        Gap {
            after: if cursor.epoch == begin.epoch { near } else { 0 },
            since: self.synced_at.unwrap_or_else(long_ago),
        }
    }

    /// All up to `begin`, into the tables and the file.
    async fn take_in_all(&mut self, from: ReadFrom<'_>, begin: Position) -> Result<(), StoreFault> {
        let ReadFrom { reached, server, hearing, .. } = from;
        let Shared { link, names, .. } = &*self.shared.clone();
        self.finish_writing().await;
        // What Redis forgot must not come over what is known here.
        self.compare(from).await?;
        let mut at = 0;
        loop {
            let scan = async |line: &_| scripts::scan(line, names, at, server).await;
            let (next, records) = link.ask(scan).await?;
            self.check_still(reached)?;
            self.tables.apply(&hearing.leaves(&records));
            self.keep(records, Mark::default()).await;
            at = next;
            if at == 0 {
                break;
            }
        }
        self.keep(Vec::new(), Mark { position: Some(begin), ..Mark::default() }).await;
        Ok(())
    }

    /// Another connection may lead to another server. In a cluster one connection may, too: the server is
    /// asked who it is.
    fn check_still(&self, reached: u64) -> Result<(), StoreFault> {
        if self.shared.link.times_reached() == reached { Ok(()) } else { Err(scripts::moved()) }
    }

    /// Answers those whose own change was in what was read whole, as far as the end of the log shows it.
    async fn answer_before(&self, begin: Position) {
        let Shared { awaited, page, .. } = &*self.shared;
        if awaited.is_nobody() {
            return;
        }
        let from = begin.seq.saturating_sub(page.now() as u64 - 1);
        let Ok(read) = self.shared.read_log(from).await else { return };
        let before = || read.entries.iter().filter(|entry| entry.seq <= begin.seq);
        let is_begin = |entry: &Entry| entry.seq == begin.seq && entry.nonce == begin.nonce;
        // Another server's log says nothing about what was read.
        if read.epoch == begin.epoch && before().any(is_begin) {
            awaited.came(before().map(|entry| entry.nonce));
        }
    }

    /// Looks for all that only this replica has.
    async fn compare(&mut self, from: ReadFrom<'_>) -> Result<(), StoreFault> {
        let (local, mut after, mut told) = (self.shared.local.clone(), None, LogView::default());
        if matches!(self.file, File::Open) {
            // Else what the file still has and was lifted since would be given back.
            for piece in self.unwritten.changes().chunks(PIECE) {
                self.keep(piece.to_vec(), Mark::default()).await;
            }
        }
        // First: what only this replica may have is not to wait for a long file, while what it hears takes
        // its room.
        let standing: Vec<_> = self.unwritten.standing().into_iter().map(Change::Add).collect();
        for piece in standing.chunks(PIECE) {
            self.compare_these(piece, from, &mut told).await?;
        }
        while matches!(self.file, File::Open) {
            let Some(piece) = local.piece(after).await else {
                // It must not say that it is further: then it is compared when it is open again.
                self.shut(OPEN_AGAIN_AFTER);
                break;
            };
            debug_assert!(piece.changes.len() <= PIECE);
            self.compare_these(&piece.changes, from, &mut told).await?;
            after = piece.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn compare_these(
        &mut self,
        changes: &[Change],
        from: ReadFrom<'_>,
        told: &mut LogView,
    ) -> Result<(), StoreFault> {
        let ReadFrom { how, reached, server, hearing } = from;
        let Shared { link, names, .. } = &*self.shared.clone();
        let behind = async |line: &_| scripts::behind(line, names, changes, server).await;
        let behind = link.ask(behind).await?;
        self.check_still(reached)?;
        let named = behind.into_iter().filter_map(|(at, is_there)| Some((changes.get(at)?, is_there)));
        let (less, lacking): (Vec<_>, Vec<_>) = named.partition(|(_, is_there)| *is_there);
        let those = |of: Vec<(&Change, bool)>| -> Vec<Revocation> {
            of.into_iter().map(|(change, _)| change.revocation().clone()).collect()
        };
        match how {
            Resync::Lift => self.lift_here(those(lacking), hearing).await,
            Resync::Keep => self.give_back(those(less), those(lacking), told, hearing).await?,
        }
        Ok(())
    }

    /// It was lifted elsewhere.
    pub(super) async fn lift_here(&mut self, gone: Vec<Revocation>, hearing: &Hearing) {
        let gone: Vec<_> = gone.into_iter().map(Change::Lift).collect();
        self.tables.apply(&hearing.leaves(&gone));
        // The file may be shut, and what was added before may be among what it lacks.
        self.unwritten.take(gone.iter().map(|lift| (hearing.begin(), lift.clone())));
        self.keep(gone, Mark::default()).await;
    }

    /// Writes to the file, where it is open. Whoever stops waiting for that leaves what is being written to
    /// whoever writes next.
    async fn keep(&mut self, changes: Vec<Change>, mark: Mark) {
        let is_needed = !changes.is_empty() || mark != Mark::default();
        if is_needed && matches!(self.file, File::Open) {
            let writing = self.shared.local.write(changes, mark);
            self.file = File::Writing { writing, up_to: None, since: Instant::now() };
            self.wait_until_written().await;
        }
    }

    async fn wait_until_written(&mut self) {
        let File::Writing { writing, .. } = &mut self.file else { return };
        match timeout(self.shared.tuning.disk, writing).await {
            Ok(Ok(true)) => self.file = File::Open,
            Ok(_) => self.shut(OPEN_AGAIN_AFTER),
            Err(_) => {
                self.shared.local.tell_no_answer();
                self.shut(OPEN_AGAIN_AFTER);
            }
        }
    }

    /// Everything up to the cursor is in the file, or that is shut.
    async fn finish_writing(&mut self) {
        self.wait_until_written().await;
        let waiting = std::mem::take(&mut self.waiting);
        self.keep(waiting, Mark { position: self.cursor, ..Mark::default() }).await;
        if matches!(self.file, File::Open) {
            self.note_written(self.cursor);
        }
    }
}
