//! The list of a single replica: its file is the truth. One thread writes it; only what is on the disk is
//! applied to the tables that requests ask, in the order of the commits, and only then a change is answered.
//!
//! While the file is given up for another process the tables stay as they are; what that process wrote counts
//! when it is taken back.

mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::file::ListFile;
use super::reading::Shelf;
use crate::core::revocation::{Change, Revocation, RevocationId};
use crate::flows::ports::{
    Clock, EntryAsSeen, Exclusive, HandedTo, ListQuery, Listed, RevocationLog, StoreFault, StoreHealth,
};
use crate::io::store_file::keeping::{Errands, Keeping};
use crate::io::store_file::{Backend, Phase, ReachedAt, StoreFileError};
use crate::io::watched_clock::WatchedClock;
use crate::state::revocations::Revocations;
use writer::{Append, Errand, Writer};

/// How long a start waits for the list.
const LOAD: Duration = Duration::from_secs(1);

/// What no key of config.yaml says; tests say it.
#[derive(Clone, Debug)]
pub(super) struct Tuning {
    /// How long a call waits at most: for the disk, and while the file is given up because another process
    /// takes over.
    pub(super) patience: Duration,
    /// How often what has ended is taken out.
    pub(super) sweep: Duration,
    /// How many records are loaded at once, and how many that have ended are taken out in one commit.
    pub(super) piece: usize,
    pub(super) backend: Backend,
}

impl Default for Tuning {
    fn default() -> Self {
        let (patience, sweep) = (Duration::from_secs(10), Duration::from_secs(60));
        Self { patience, sweep, piece: 8192, backend: Backend::default() }
    }
}

/// The port [`RevocationLog`] over a file.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writer: Errands<Errand>,
    /// [`RevocationLog::load`] has begun what [`RevocationLog::follow`] goes on with.
    has_begun: AtomicBool,
    tuning: Tuning,
}

/// What callers and the writer share.
struct Shared {
    clock: WatchedClock,
    shelf: Arc<Shelf>,
    keeping: Keeping,
}

impl Shared {
    fn fault(&self) -> StoreFault {
        let why = self.keeping.why_away();
        StoreFault::Unavailable(why.unwrap_or_else(|| "the list of revocations is closed".to_owned()))
    }
}

const ENDED: &str = "what writes the list of revocations has ended; restart Tollgate";

fn writer_ended() -> StoreFault {
    StoreFault::Unavailable(ENDED.to_owned())
}

impl EmbeddedLog {
    /// Opens the file in `folder`, made now when there is none. Blocks while it is checked.
    ///
    /// # Errors
    /// When the file cannot be used: in use, damaged, on a full disk.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::start(folder, clock, Tuning::default(), Phase::Open)
    }

    /// One whose file another process has still: calls wait until [`Exclusive::open`].
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn closed(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::start(folder, clock, Tuning::default(), Phase::Closed)
    }

    pub(super) fn start(
        folder: &Path,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
        phase: Phase,
    ) -> Result<Self, StoreFileError> {
        let keeping = Keeping::new(clock.clone(), phase);
        let clock = WatchedClock::new(clock);
        let shared = Arc::new(Shared { clock, shelf: Arc::default(), keeping });
        let (errands, received) = mpsc::channel();
        Writer::start(folder, shared.clone(), received, tuning.clone())?;
        let writer = Errands::new(errands, ENDED);
        Ok(Self { shared, writer, has_begun: AtomicBool::new(false), tuning })
    }

    /// How many the file has, ended ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.shared.shelf.with(ListFile::len).unwrap()
    }

    /// The writer loads the list, says that it is complete, and applies every change from there on.
    fn begin_to_follow(&self, tables: &Arc<Revocations>) -> mpsc::Receiver<()> {
        let (whole, is_whole) = mpsc::channel();
        if let Err(ended) = self.writer.send(Errand::Follow(tables.clone(), whole)) {
            tracing::error!("{ended}");
        }
        is_whole
    }

    async fn write(
        &self,
        found: &[EntryAsSeen],
        changes: &[Change],
        until: Instant,
    ) -> Result<bool, StoreFault> {
        if changes.is_empty() {
            return Ok(true);
        }
        match self.shared.keeping.when_open(|| self.send(found, changes, until)).await? {
            // It may have ended in the midst of it.
            ReachedAt::Here(answer) => answer.await.map_err(|_| StoreFault::Unfinished(ENDED.to_owned()))?,
            ReachedAt::There(to) => to.revocations.append_if(found, changes).await,
        }
    }

    fn send(
        &self,
        found: &[EntryAsSeen],
        changes: &[Change],
        until: Instant,
    ) -> Result<oneshot::Receiver<Result<bool, StoreFault>>, StoreFault> {
        let (answer, answered) = oneshot::channel();
        let append = Append { found: found.to_vec(), changes: changes.to_vec(), answer, until };
        self.writer.send(Errand::Append(append)).map_err(|_| writer_ended())?;
        Ok(answered)
    }

    /// Waits for all that the writer was asked before.
    async fn behind_the_writer(&self) -> Result<ReachedAt<()>, StoreFault> {
        let pass = || {
            let (passes, passed) = oneshot::channel();
            self.writer.send(Errand::Pass(passes)).map_err(|_| writer_ended())?;
            Ok(passed)
        };
        match self.shared.keeping.when_open(pass).await? {
            ReachedAt::Here(passed) => passed.await.map(ReachedAt::Here).map_err(|_| writer_ended()),
            ReachedAt::There(to) => Ok(ReachedAt::There(to)),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        what: impl Fn(&ListFile) -> Result<T, StoreFileError> + Clone + Send + 'static,
    ) -> Result<ReachedAt<T>, StoreFault> {
        loop {
            if let ReachedAt::There(to) = self.shared.keeping.when_open(|| Ok(())).await? {
                return Ok(ReachedAt::There(to));
            }
            if let Some(read) = self.shared.shelf.read(what.clone()).await {
                return read.map(ReachedAt::Here);
            }
            // It was closed just now, or it has failed.
            if self.shared.keeping.why_away().is_some() {
                return Err(self.shared.fault());
            }
        }
    }

    async fn in_time<T>(&self, doing: impl Future<Output = Result<T, StoreFault>>) -> Result<T, StoreFault> {
        timeout(self.tuning.patience, doing).await.unwrap_or(Err(StoreFault::Deadline))
    }
}

impl Exclusive for EmbeddedLog {
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// Answers when whoever follows has the whole list.
    fn open(&self) -> BoxFuture<'_, Result<(), String>> {
        self.writer.ask(Errand::Open).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), String>> {
        self.shared.keeping.close(&self.writer, Errand::Close).boxed()
    }

    fn mark_handed_over(&self, to: Option<&HandedTo>) {
        self.shared.keeping.mark_handed_over(to);
    }
}

impl RevocationLog for EmbeddedLog {
    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>> {
        let until = Instant::now() + self.tuning.patience;
        self.in_time(self.write(found, changes, until)).boxed()
    }

    /// Behind what is being written: that it is not there yet says nothing while a disk hangs.
    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>> {
        let find = async move {
            if let ReachedAt::There(to) = self.behind_the_writer().await? {
                return to.revocations.find(id).await;
            }
            match self.read(move |file| file.find(id)).await? {
                ReachedAt::Here(found) => Ok(found),
                ReachedAt::There(to) => to.revocations.find(id).await,
            }
        };
        self.in_time(find).boxed()
    }

    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>> {
        let list = async {
            let here = part.clone();
            match self.read(move |file| file.list(&here)).await? {
                ReachedAt::Here(listed) => Ok(listed),
                ReachedAt::There(to) => to.revocations.list(part).await,
            }
        };
        self.in_time(list).boxed()
    }

    fn load(&self, tables: &Arc<Revocations>) {
        if self.shared.keeping.is_open() {
            // Whether it was loaded or the time is up, requests find out from the tables.
            let _ = self.begin_to_follow(tables).recv_timeout(LOAD);
            self.has_begun.store(true, Ordering::Release);
        }
    }

    fn follow(&self, tables: Arc<Revocations>) -> BoxFuture<'_, ()> {
        async move {
            if !self.has_begun.swap(false, Ordering::AcqRel) {
                drop(self.begin_to_follow(&tables));
            }
            loop {
                sleep(self.tuning.sweep).await;
                sweep(&tables, &self.shared.clock).await;
            }
        }
        .boxed()
    }

    fn health(&self) -> StoreHealth {
        let keeping = &self.shared.keeping;
        keeping.handed_to().map_or_else(|| keeping.health(), |to| to.revocations.health())
    }
}

/// Forgets what has ended, beside the runtime.
pub(super) async fn sweep(tables: &Arc<Revocations>, clock: &WatchedClock) {
    let (tables, Some(now)) = (tables.clone(), clock.sure()) else { return };
    // It ends with an error only by a panic, which has been told.
    let _ = tokio::task::spawn_blocking(move || tables.sweep(now)).await;
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog").finish_non_exhaustive()
    }
}
