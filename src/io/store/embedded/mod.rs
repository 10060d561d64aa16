//! The store of a single replica: memory is the truth while the process runs, and a file in the store folder
//! holds what must outlive it.
//!
//! A durable value is seen by nobody before it is on the disk. What is `Keep::WhileRunning` goes to the file
//! only when that is closed in good order. Lifetimes are those of the wall clock, which a restart does not
//! stop.

mod file;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::new_version;
use crate::core::clock_watch::SureTime;
use crate::core::time::Timestamp;
use crate::flows::ports::{
    Clock, Exclusive, HandedTo, Keep, Store, StoreFault, StoreHealth, StoreKey, Stored, Value, Version,
};
use crate::io::store_file::keeping::{Errands, Keeping};
use crate::io::store_file::{Backend, Phase, ReachedAt, StoreFileError};
use crate::io::watched_clock::WatchedClock;
use file::Record;
use writer::{Errand, Put, Writer};

/// What no key of config.yaml says; tests say it.
pub(super) struct Tuning {
    /// How long a call waits at most: for the disk, for another write of its key, and while the file is given
    /// up because another process takes over.
    pub(super) patience: Duration,
    /// How often what has ended is taken out.
    pub(super) sweep: Duration,
    pub(super) backend: Backend,
}

impl Default for Tuning {
    fn default() -> Self {
        let (patience, sweep) = (Duration::from_secs(10), Duration::from_secs(60));
        Self { patience, sweep, backend: Backend::default() }
    }
}

/// The port [`Store`] over a file and memory.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Errands<Errand>,
    patience: Duration,
}

/// What callers and the writer share.
struct Shared {
    clock: Arc<dyn Clock>,
    watched: WatchedClock,
    slots: DashMap<String, Slot>,
    keeping: Keeping,
}

/// What is known of one key.
#[derive(Debug, Default)]
struct Slot {
    /// What callers see; it may have ended.
    held: Option<Record>,
    /// The version that the file has.
    on_file: Option<Version>,
    /// A durable value is on its way to the disk; the sender goes when it has arrived, or failed.
    writing: Option<watch::Receiver<()>>,
}

impl Slot {
    fn seen(&self, now: Timestamp) -> Option<&Record> {
        self.held.as_ref().filter(|held| now < held.ends)
    }

    /// What callers may see, or may have to see yet.
    fn lasting(&self, now: Option<SureTime>) -> Option<&Record> {
        self.held.as_ref().filter(|held| now.is_none_or(|now| now.at() < held.ends))
    }
}

/// Where a call stands after one look at its key.
enum Step {
    Answered(Option<Version>),
    Written(oneshot::Receiver<Result<Version, StoreFault>>),
    /// Look again when this changes, or its sender is gone.
    Wait(watch::Receiver<()>),
}

impl EmbeddedStore {
    /// Opens the file in `folder`, made now when there is none. Blocks while it reads.
    ///
    /// # Errors
    /// When the file cannot be used: in use, damaged, on a full disk.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::open_as(folder, clock, Tuning::default())
    }

    /// One whose file another process has still: calls wait until [`Exclusive::open`].
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn closed(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::start(folder, clock, Tuning::default(), Phase::Closed)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shared.slots.len()
    }

    pub(super) fn open_as(
        folder: &Path,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
    ) -> Result<Self, StoreFileError> {
        Self::start(folder, clock, tuning, Phase::Open)
    }

    fn start(
        folder: &Path,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
        phase: Phase,
    ) -> Result<Self, StoreFileError> {
        let Tuning { patience, sweep, backend } = tuning;
        let keeping = Keeping::new(clock.clone(), phase);
        let watched = WatchedClock::new(clock.clone());
        let shared = Arc::new(Shared { clock, watched, slots: DashMap::new(), keeping });
        let (errands, received) = mpsc::channel();
        Writer::start(folder, shared.clone(), received, backend, sweep)?;
        Ok(Self { shared, writer: Errands::new(errands, ENDED), patience })
    }

    async fn found(&self, key: &StoreKey) -> Result<Stored, StoreFault> {
        match self.shared.keeping.when_open(|| Ok(self.seen(key))).await? {
            ReachedAt::Here(found) => Ok(found),
            ReachedAt::There(to) => to.store.get(key).await,
        }
    }

    fn seen(&self, key: &StoreKey) -> Stored {
        let now = self.shared.clock.now();
        let slot = self.shared.slots.get(key.as_str());
        let seen = slot.as_ref().and_then(|slot| slot.seen(now));
        Stored { value: seen.map(|held| (held.version, held.bytes.clone())), now }
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        value: &Value,
        until: Instant,
    ) -> Result<Option<Version>, StoreFault> {
        loop {
            let look = || self.look(key, expected, value, until);
            let step = match self.shared.keeping.when_open(look).await? {
                ReachedAt::Here(step) => step,
                ReachedAt::There(to) => return to.store.put_if(key, expected, value.clone()).await,
            };
            match step {
                Step::Answered(outcome) => return Ok(outcome),
                // It may have ended in the midst of it.
                Step::Written(answer) => {
                    return answer.await.map_err(|_| StoreFault::Unfinished(ENDED.to_owned()))?.map(Some);
                }
                // An error says that the sender is gone.
                Step::Wait(mut written) => drop(written.changed().await),
            }
        }
    }

    /// One look at the key, and what is to be done about it.
    fn look(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        value: &Value,
        until: Instant,
    ) -> Result<Step, StoreFault> {
        let now = self.shared.clock.now();
        let mut slot = match self.shared.slots.entry(key.as_str().to_owned()) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(_) if expected.is_some() => return Ok(Step::Answered(None)),
            Entry::Vacant(entry) => entry.insert(Slot::default()),
        };
        if let Some(writing) = slot.writing.as_ref().filter(|writing| writing.has_changed().is_ok()) {
            return match self.shared.keeping.why_away() {
                Some(why) => Err(StoreFault::Unavailable(why)),
                None => Ok(Step::Wait(writing.clone())),
            };
        }
        if slot.seen(now).map(|held| held.version) != expected {
            return Ok(Step::Answered(None));
        }
        let version = new_version();
        let record = Record { version, ends: now.plus(value.lifetime), bytes: value.bytes.clone() };
        if value.keep == Keep::WhileRunning {
            slot.held = Some(record);
            return Ok(Step::Answered(Some(version)));
        }
        let ((done, writing), (answer, answered)) = (watch::channel(()), oneshot::channel());
        let put = Put { key: key.as_str().to_owned(), record, done, answer, until };
        self.writer.send(Errand::Put(put)).map_err(|_| writer_ended())?;
        slot.writing = Some(writing);
        Ok(Step::Written(answered))
    }
}

const ENDED: &str = "what writes the store file has ended; restart Tollgate";

fn writer_ended() -> StoreFault {
    StoreFault::Unavailable(ENDED.to_owned())
}

impl Exclusive for EmbeddedStore {
    fn open(&self) -> BoxFuture<'_, Result<(), String>> {
        self.writer.ask(Errand::Open).boxed()
    }

    /// Writes everything that has not ended, durable or not: what the next process finds is all that there
    /// was.
    fn close(&self) -> BoxFuture<'_, Result<(), String>> {
        self.shared.keeping.close(&self.writer, Errand::Close).boxed()
    }

    fn mark_handed_over(&self, to: Option<&HandedTo>) {
        self.shared.keeping.mark_handed_over(to);
    }
}

impl Store for EmbeddedStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        async { timeout(self.patience, self.found(key)).await.unwrap_or(Err(StoreFault::Deadline)) }.boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Value,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        async move {
            let put = self.put(key, expected, &value, Instant::now() + self.patience);
            timeout(self.patience, put).await.unwrap_or(Err(StoreFault::Deadline))
        }
        .boxed()
    }

    fn health(&self) -> StoreHealth {
        let keeping = &self.shared.keeping;
        keeping.handed_to().map_or_else(|| keeping.health(), |to| to.store.health())
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("keys", &self.shared.slots.len()).finish_non_exhaustive()
    }
}
