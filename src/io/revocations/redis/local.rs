//! The replica's own file of the list. It is never the truth: where it cannot be used, that is told, and the
//! list is kept in memory until it can.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::core::clock_watch::SureTime;
use crate::core::revocation::{Change, RevocationId};
use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, StoreFault, StoreHealth};
use crate::io::revocations::file::{ListFile, Mark, Piece, Stretch};
use crate::io::revocations::loading::Loading;
use crate::io::revocations::reading::Shelf;
use crate::io::store_file::{Backend, StoreFileError};
use crate::state::revocations::Revocations;

/// How many records are read at once.
pub(super) const PIECE: usize = 1000;
const NO_ANSWER: &str = "the disk does not answer";

pub(super) struct Local {
    folder: PathBuf,
    backend: Backend,
    /// How long the disk may take for anything that is waited for.
    disk: Duration,
    shelf: Arc<Shelf>,
    /// What opens the file. It may hang, and no other begins before it returned.
    opener: tokio::sync::Mutex<Option<JoinHandle<Result<Mark, StoreFileError>>>>,
    /// Whether it is this process's turn.
    may_open: AtomicBool,
    /// As of when the file has all that was acknowledged, in milliseconds; 0: never.
    complete_at: Arc<AtomicI64>,
    clock: Arc<dyn Clock>,
    health: Mutex<StoreHealth>,
    /// There was no room on the disk when it failed.
    was_full: AtomicBool,
}

impl Local {
    pub(super) fn new(
        folder: &Path,
        backend: Backend,
        disk: Duration,
        clock: Arc<dyn Clock>,
        is_closed: bool,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            backend,
            disk,
            shelf: Arc::default(),
            opener: tokio::sync::Mutex::default(),
            may_open: AtomicBool::new(!is_closed),
            complete_at: Arc::default(),
            clock,
            health: Mutex::default(),
            was_full: AtomicBool::new(false),
        }
    }

    pub(super) fn set_may_open(&self, may: bool) {
        self.may_open.store(may, Ordering::Release);
    }

    pub(super) fn may_open(&self) -> bool {
        self.may_open.load(Ordering::Acquire)
    }

    pub(super) fn mark_complete_at(&self, at: Timestamp) {
        self.complete_at.store(at.as_millis(), Ordering::Release);
    }

    pub(super) fn health(&self) -> StoreHealth {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn why_away(&self) -> Option<String> {
        self.health().why_away()
    }

    fn note_away(&self, why: String) {
        let now = self.clock.now();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let before = health.clone().why_away();
        health.set_away(why.clone(), now, true);
        drop(health);
        if before.as_ref() != Some(&why) {
            tracing::error!(
                why,
                "the list of revocations cannot be kept here; it is followed in Redis all the same, but without it this \
                 process does not start while Redis is away"
            );
        }
    }

    /// Something takes longer than it may.
    pub(super) fn tell_no_answer(&self) {
        self.note_away(NO_ANSWER.to_owned());
    }

    pub(super) fn tell_well(&self) {
        if self.health.lock().unwrap_or_else(PoisonError::into_inner).set_up().is_some() {
            tracing::warn!("the list of revocations can be kept here again");
        }
    }

    /// Opens the file, and returns what it says of itself. `None`: it cannot be used yet, or is not this
    /// process's now. What takes longer than the disk may is waited for the next time: to begin anew would
    /// take as long again.
    pub(super) async fn open(self: &Arc<Self>) -> Option<Mark> {
        let mut opener = self.opener.lock().await;
        let opening = match &mut *opener {
            Some(late) => late,
            none => {
                let (local, has_failed) = (self.clone(), self.why_away().is_some());
                none.insert(spawn_blocking(move || local.open_now(has_failed)))
            }
        };
        let opened = timeout(self.disk, opening).await;
        if opened.is_ok() {
            *opener = None;
        }
        let mark = self.outcome(opened)?;
        // It may have been told to close since.
        self.read(|_| Ok(())).await?.ok()?;
        self.tell_well();
        Some(mark)
    }

    fn open_now(&self, has_failed: bool) -> Result<Mark, StoreFileError> {
        // One that a hanging disk held up is let go first.
        drop(self.shelf.replace(None));
        if self.was_full.load(Ordering::Acquire) {
            // It was well before, and to check the whole list is for nothing while there is no room.
            ListFile::open_again(&self.folder, &self.backend, false)?.close()?;
        }
        let file = ListFile::open(&self.folder, &self.backend)?;
        let mark = file.mark()?;
        if has_failed {
            // A full disk can be read.
            file.write_marked(&[], &Mark::default())?;
        }
        self.complete_at.store(mark.synced_at.map_or(0, Timestamp::as_millis), Ordering::Release);
        drop(self.shelf.replace(Some(file)));
        if !self.may_open() {
            // It was told to close meanwhile: whoever else opens it must not find it locked.
            drop(self.shelf.replace(None));
        }
        Ok(mark)
    }

    /// Waits for it. `None`: why not was told.
    async fn told<T, E>(
        &self,
        doing: impl Future<Output = Result<Result<T, StoreFileError>, E>>,
    ) -> Option<T> {
        self.outcome(timeout(self.disk, doing).await)
    }

    fn outcome<T, E>(&self, outcome: Result<Result<Result<T, StoreFileError>, E>, Elapsed>) -> Option<T> {
        let why = match outcome {
            Ok(Ok(Ok(done))) => return Some(done),
            Ok(Ok(Err(error))) => {
                self.failed(&error);
                return None;
            }
            Ok(Err(_)) => "the file cannot be read".to_owned(),
            Err(_) => NO_ANSWER.to_owned(),
        };
        self.note_away(why);
        None
    }

    /// Loads the whole file into `tables`. Returns whether that went well.
    pub(super) async fn load(&self, tables: &Arc<Revocations>) -> bool {
        let mut loading = Loading::begin();
        loop {
            let (shelf, tables) = (self.shelf.clone(), tables.clone());
            let load = move || {
                let has_more = shelf.with(|file| loading.go_on(file, &tables, PIECE));
                (loading, has_more)
            };
            // A long list takes longer than the disk may take for a piece of it.
            let Some((rest, loaded)) = self.told(async { spawn_blocking(load).await.map(Ok) }).await else {
                return false;
            };
            loading = rest;
            match loaded {
                Some(Ok(true)) => {}
                Some(Ok(false)) => return true,
                Some(Err(error)) => return self.fail(&error),
                None => return false,
            }
        }
    }

    fn failed(&self, error: &StoreFileError) {
        self.was_full.store(matches!(error, StoreFileError::Full { .. }), Ordering::Release);
        self.note_away(error.to_string());
    }

    fn fail(&self, error: &StoreFileError) -> bool {
        self.failed(error);
        drop(self.shelf.replace(None));
        false
    }

    /// Begins to write. Returns whether it is on the disk; otherwise the file is shut.
    pub(super) fn write(self: &Arc<Self>, changes: Vec<Change>, mark: Mark) -> JoinHandle<bool> {
        let local = self.clone();
        spawn_blocking(move || match local.shelf.with(|file| file.write_marked(&changes, &mark)) {
            Some(Ok(())) => {
                if let Some(at) = mark.synced_at {
                    local.mark_complete_at(at);
                }
                true
            }
            Some(Err(error)) => local.fail(&error),
            None => false,
        })
    }

    /// Does `what` with the file. `None`: it is not open.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&ListFile) -> Result<T, StoreFileError> + Send + 'static,
    ) -> Option<Result<T, StoreFault>> {
        timeout(self.disk, self.shelf.read(what)).await.unwrap_or(Some(Err(StoreFault::Deadline)))
    }

    pub(super) async fn piece(&self, after: Option<RevocationId>) -> Option<Piece> {
        self.read(move |file| file.piece(Stretch { after, last: None }, PIECE)).await?.ok()
    }

    /// Takes out what has ended, in pieces, so that others have their turn in between. Where the disk hangs
    /// this waits, and holds up nobody else.
    pub(super) async fn take_out_ended(self: &Arc<Self>, now: SureTime) {
        loop {
            let local = self.clone();
            let take_out = move || match local.shelf.with(|file| file.take_out_ended(now, PIECE)) {
                Some(Ok(taken)) => taken == PIECE,
                Some(Err(error)) => local.fail(&error),
                None => false,
            };
            if !spawn_blocking(take_out).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Closes the file with what it says of itself, whatever happens.
    pub(super) async fn close(&self) -> Result<(), String> {
        let (shelf, complete_at) = (self.shelf.clone(), self.complete_at.clone());
        let close = move || {
            let Some(file) = shelf.replace(None) else { return Ok(()) };
            let at = complete_at.load(Ordering::Acquire);
            let mark = Mark { synced_at: (at > 0).then(|| Timestamp::from_millis(at)), ..Mark::default() };
            let written = file.write_marked(&[], &mark);
            written.and(file.close())
        };
        let closed = spawn_blocking(close).await.map_err(|_| "the list cannot be closed".to_owned())?;
        closed.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::revocation::{Kind, Revocation, Rule, Target, Whose};
    use crate::io::store::tests::{LONG, until};
    use crate::io::store_file::faults::Faults;
    use crate::io::system::SystemClock;

    fn some(n: usize) -> Change {
        let target = Target { kind: Kind::Jti, whose: Whose::All, value: n.to_string() };
        Change::Add(Revocation::new(target, Rule::Outright, Timestamp::from_secs(1)))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_disk_that_hangs_is_told_in_time_and_costs_one_thread() {
        let (folder, faults) = (tempfile::tempdir().unwrap(), Arc::new(Faults::default()));
        let backend = Backend { faults: Some(faults.clone()) };
        let (disk, clock) = (Duration::from_millis(200), Arc::new(SystemClock));
        let tables = Arc::new(Revocations::new([7; 16]));
        // Written by one that has all the time in the world.
        let patient = Arc::new(Local::new(folder.path(), Backend::default(), LONG, clock.clone(), false));
        assert!(patient.open().await.is_some());
        assert!(patient.write((0..3000).map(some).collect(), Mark::default()).await.unwrap());
        patient.close().await.unwrap();
        let local = Arc::new(Local::new(folder.path(), backend, disk, clock, false));

        // It is let go before anything is asserted: a test that fails would wait for it.
        faults.reads_hang.store(true, Ordering::SeqCst);
        let (mut opened, mut hanging) = (0, Vec::new());
        for _ in 0..4 {
            opened += usize::from(local.open().await.is_some());
            hanging.push(faults.hanging.load(Ordering::SeqCst));
        }
        faults.reads_hang.store(false, Ordering::SeqCst);
        assert!(opened == 0 && hanging.iter().all(|threads| *threads <= 1), "{opened} {hanging:?}");
        assert_eq!(local.why_away().as_deref(), Some(NO_ANSWER));
        until("the file", async || local.open().await.is_some()).await;
        assert_eq!(local.why_away(), None);

        faults.reads_hang.store(true, Ordering::SeqCst);
        let (loaded, read) = (local.load(&tables).await, local.piece(None).await);
        faults.reads_hang.store(false, Ordering::SeqCst);
        assert!(!loaded && read.is_none());
        assert_eq!(local.why_away().as_deref(), Some(NO_ANSWER));
        until("the file", async || local.open().await.is_some() && local.load(&tables).await).await;
        assert_eq!(tables.count(Kind::Jti), 3000);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_opening_that_takes_longer_than_the_disk_may_is_not_begun_anew() {
        let (folder, faults) = (tempfile::tempdir().unwrap(), Arc::new(Faults::default()));
        let backend = Backend { faults: Some(faults.clone()) };
        let (disk, clock) = (Duration::from_millis(200), Arc::new(SystemClock));
        drop(ListFile::open(folder.path(), &Backend::default()).unwrap());
        let local = Arc::new(Local::new(folder.path(), backend, disk, clock, false));
        let is_open = || local.shelf.with(|_| ()).is_some();
        for is_this_process_turn in [false, true] {
            local.set_may_open(true);
            faults.reads_hang.store(true, Ordering::SeqCst);
            let opened = local.open().await;
            let why_away = local.why_away();
            local.set_may_open(is_this_process_turn);
            faults.reads_hang.store(false, Ordering::SeqCst);
            assert_eq!((opened.is_some(), why_away.as_deref()), (false, Some(NO_ANSWER)));
            if is_this_process_turn {
                until("the file", async || is_open()).await;
                // Whoever began anew would hang again.
                faults.reads_hang.store(true, Ordering::SeqCst);
                let opened = local.open().await;
                faults.reads_hang.store(false, Ordering::SeqCst);
                assert_eq!((opened.is_some(), local.why_away()), (true, None));
            } else {
                let another = async || ListFile::open(folder.path(), &Backend::default()).is_ok();
                until("the file, by another process", another).await;
                assert!(local.open().await.is_none() && !is_open());
            }
        }
    }
}
