//! The list that replicas share: Redis is the truth, and its log tells each replica what changed. Each keeps
//! the list in a file too, written behind, so that it can start while Redis is away, and so that nothing
//! acknowledged is lost while any replica lives: a Redis that lost it gets it back.
//!
//! - `scripts`: what is asked of Redis
//! - `follower`: the task that keeps tables and file in step with the log
//! - `local`: the replica's own file
//! - `unwritten`: what that may lack of what counts here
//! - `awaited`: who waits until it has a change of their own
//! - `log_position`: whether the log leads from what it knows to what there is
//! - `resync`: what it does where it does not
//! - `hearing`: what it hears of the log meanwhile
//! - `page`: how much of the log is read at once
//! - `hindrance`: what keeps it from that, though Redis answers
//! - `give_back`: what of that Redis had lost, and gets again
//!
//! A replica admits on what it knows for `max_staleness` at most, whatever `on_outage` says.

mod awaited;
mod follower;
mod give_back;
mod hearing;
mod hindrance;
mod local;
mod log_position;
mod page;
mod resync;
mod scripts;
mod unwritten;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::embedded::sweep;
use crate::core::revocation::{Change, Revocation, RevocationId};
use crate::flows::ports::{
    Clock, EntryAsSeen, Exclusive, HandedTo, ListQuery, Listed, RevocationLog, StoreFault, StoreHealth,
};
use crate::io::store::redis::link::KeptLink;
use crate::io::store_file::Backend;
use crate::io::watched_clock::WatchedClock;
use crate::state::revocations::Revocations;
use awaited::Awaited;
use follower::Follower;
use local::Local;
use page::Page;
use scripts::Names;

/// How long an answer waits for this replica's own tables and file, which are behind by a moment.
const OWN: Duration = Duration::from_secs(1);
/// How long taking the file back may take until a hand-over goes on without it.
const OPENING: Duration = Duration::from_secs(10);

/// What no key of config.yaml says; tests say it.
#[derive(Clone, Debug)]
pub(super) struct Tuning {
    /// How often the log is read.
    pub(super) poll: Duration,
    /// How often what has ended is taken out.
    pub(super) sweep: Duration,
    /// How long a change waits until it counts in this replica's own tables.
    pub(super) own: Duration,
    /// How long the disk may take for anything that is waited for.
    pub(super) disk: Duration,
    pub(super) backend: Backend,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(200),
            sweep: Duration::from_secs(60),
            own: OWN,
            disk: Duration::from_secs(10),
            backend: Backend::default(),
        }
    }
}

/// The port [`RevocationLog`] over Redis, with a file of its own.
pub struct RedisLog {
    shared: Arc<Shared>,
}

/// What callers and the follower share.
struct Shared {
    link: Arc<KeptLink>,
    names: Names,
    page: Page,
    clock: Arc<dyn Clock>,
    watched: WatchedClock,
    max_staleness: Duration,
    tuning: Tuning,
    local: Arc<Local>,
    /// Something was appended here, or the file may be opened.
    wake: Notify,
    progress: watch::Sender<Progress>,
    awaited: Awaited,
    is_followed: AtomicBool,
    /// What keeps it from being followed, though Redis answers.
    hindered: Mutex<StoreHealth>,
    /// Whoever has the file for good.
    handed_to: OnceLock<HandedTo>,
}

/// How far the follower is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// How many changes the tables took from the log.
    taken: u64,
    /// Up to which of these the file has all.
    written: u64,
    /// How often it was tried to open the file.
    openings: u64,
}

impl RedisLog {
    /// Waits for nothing, neither Redis nor the file in `folder`. `is_closed`: another process has that file
    /// still.
    pub(in crate::io) fn start(
        link: Arc<KeptLink>,
        folder: &Path,
        max_staleness: Duration,
        clock: Arc<dyn Clock>,
        is_closed: bool,
    ) -> Self {
        Self::start_as(link, folder, max_staleness, clock, is_closed, Tuning::default())
    }

    pub(super) fn start_as(
        link: Arc<KeptLink>,
        folder: &Path,
        max_staleness: Duration,
        clock: Arc<dyn Clock>,
        is_closed: bool,
        tuning: Tuning,
    ) -> Self {
        let names = Names::of(&link);
        let local = Local::new(folder, tuning.backend.clone(), tuning.disk, clock.clone(), is_closed);
        let local = Arc::new(local);
        let (wake, progress, is_followed) = (Notify::new(), watch::Sender::default(), AtomicBool::new(false));
        let (awaited, watched) = (Awaited::default(), WatchedClock::new(clock.clone()));
        let shared = Shared {
            link,
            names,
            page: Page::default(),
            clock,
            watched,
            max_staleness,
            tuning,
            local,
            wake,
            progress,
            awaited,
            is_followed,
            hindered: Mutex::default(),
            handed_to: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Waits until the follower is so far, but not for long. Returns whether it is; nobody waits for one that
    /// does not run.
    async fn follower_is(&self, within: Duration, so_far: impl FnMut(&Progress) -> bool) -> bool {
        if !self.shared.is_followed.load(Ordering::Acquire) {
            return true;
        }
        self.shared.wake.notify_one();
        let mut progress = self.shared.progress.subscribe();
        timeout(within, progress.wait_for(so_far)).await.is_ok()
    }
}

impl Exclusive for RedisLog {
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// Answers also where the file cannot be opened: Redis has the list, and it is tried again.
    fn open(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let before = self.shared.progress.borrow().openings;
            self.shared.local.set_may_open(true);
            self.follower_is(OPENING, |progress| progress.openings > before).await;
            Ok(())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            self.shared.local.set_may_open(false);
            self.shared.local.close().await
        }
        .boxed()
    }

    fn mark_handed_over(&self, to: Option<&HandedTo>) {
        // It is told once.
        to.map(|to| self.shared.handed_to.set(to.clone()));
    }
}

impl RevocationLog for RedisLog {
    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>> {
        async move {
            if changes.is_empty() {
                return Ok(true);
            }
            let Shared { link, names, awaited, is_followed, wake, tuning, .. } = &*self.shared;
            let nonce = scripts::nonce();
            let own = awaited.wait_for(nonce);
            let made =
                link.ask(async |line| scripts::append(line, names, found, changes, nonce).await).await?;
            if !made || !is_followed.load(Ordering::Acquire) {
                return Ok(made);
            }
            wake.notify_one();
            // The server that took it may have died before anybody else heard of it.
            own.within(tuning.own).await.map(|()| true)
        }
        .boxed()
    }

    /// Asks Redis, and the file while that is away. What the file lacks another replica may have written, and
    /// Redis may be about to write it: that says nothing.
    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>> {
        async move {
            let Shared { link, names, local, .. } = &*self.shared;
            match link.ask(async |line| scripts::find(line, names, id).await).await {
                Ok(found) => Ok(found),
                Err(fault) => match local.read(move |file| file.find(id)).await {
                    Some(Ok(Some(found))) => Ok(Some(found)),
                    Some(Ok(None) | Err(_)) | None => Err(fault),
                },
            }
        }
        .boxed()
    }

    /// Reads the file, here or where it was handed to: Redis knows no order.
    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>> {
        async move {
            if let Some(to) = self.shared.handed_to.get() {
                return to.revocations.list(part).await;
            }
            let taken = self.shared.progress.borrow().taken;
            let away = |otherwise: &str| {
                let why = self.shared.local.why_away().unwrap_or_else(|| otherwise.to_owned());
                Err(StoreFault::Unavailable(why))
            };
            // What was answered must not be missing.
            if !self.follower_is(OWN, |progress| progress.written >= taken).await {
                return away("the file that it is read from is not written yet");
            }
            let part = part.clone();
            let listed = self.shared.local.read(move |file| file.list(&part)).await;
            listed.unwrap_or_else(|| away("the file that it is read from is not open"))
        }
        .boxed()
    }

    fn follow(&self, tables: Arc<Revocations>) -> BoxFuture<'_, ()> {
        async move {
            let _following = Following::begin(&self.shared.is_followed);
            let sweeping = async {
                loop {
                    sleep(self.shared.tuning.sweep).await;
                    sweep(&tables, &self.shared.watched).await;
                }
            };
            // Beside the tables: a disk that hangs must not keep those from forgetting.
            let taking_out = async {
                let Shared { local, tuning, watched, .. } = &*self.shared;
                loop {
                    sleep(tuning.sweep).await;
                    if let Some(now) = watched.sure() {
                        local.take_out_ended(now).await;
                    }
                }
            };
            let following = Follower::new(self.shared.clone(), tables.clone()).run();
            tokio::select! {
                () = sweeping => {}
                () = taking_out => {}
                () = following => {}
            }
        }
        .boxed()
    }

    /// The health of what is followed, then of its own file.
    fn health(&self) -> StoreHealth {
        let hindered = self.shared.hindered().clone();
        if hindered == StoreHealth::Up { self.shared.local.health() } else { hindered }
    }
}

impl Shared {
    fn hindered(&self) -> MutexGuard<'_, StoreHealth> {
        self.hindered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For as long as it lives somebody follows.
struct Following<'f>(&'f AtomicBool);

impl<'f> Following<'f> {
    fn begin(is_followed: &'f AtomicBool) -> Self {
        is_followed.store(true, Ordering::Release);
        Self(is_followed)
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLog").field("progress", &*self.shared.progress.borrow()).finish_non_exhaustive()
    }
}
