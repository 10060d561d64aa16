//! The replica's own file of the list. It is never the truth: where it cannot be used, that is told, and the list is
//! kept in memory until it can.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::core::revocation::{Change, RevocationId};
use crate::core::time::Timestamp;
use crate::io::revocations::file::{ListFile, Mark, Piece, Stretch};
use crate::io::revocations::loading::Loading;
use crate::io::revocations::reading::Shelf;
use crate::io::store_file::{Backend, StoreFileError};
use crate::state::revocations::Revocations;

/// How long the disk may take for anything that is waited for.
pub(super) const DISK: Duration = Duration::from_secs(10);
/// How many records are read at once.
pub(super) const PIECE: usize = 1000;

pub(super) struct Local {
    folder: PathBuf,
    backend: Backend,
    pub(super) shelf: Arc<Shelf>,
    /// Whether it is this process's turn.
    may_open: AtomicBool,
    /// As of when the file has all that was acknowledged, in milliseconds; 0: never.
    complete_at: Arc<AtomicI64>,
    away: Mutex<Option<String>>,
}

impl Local {
    pub(super) fn new(folder: &Path, backend: Backend, is_closed: bool) -> Self {
        Self {
            folder: folder.to_owned(),
            backend,
            shelf: Arc::default(),
            may_open: AtomicBool::new(!is_closed),
            complete_at: Arc::default(),
            away: Mutex::default(),
        }
    }

    pub(super) fn may_be_opened(&self, may: bool) {
        self.may_open.store(may, Ordering::Release);
    }

    pub(super) fn may_open(&self) -> bool {
        self.may_open.load(Ordering::Acquire)
    }

    pub(super) fn is_complete_at(&self, at: Timestamp) {
        self.complete_at.store(at.as_millis(), Ordering::Release);
    }

    pub(super) fn why_away(&self) -> Option<String> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn goes_away(&self, why: String) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.as_ref() != Some(&why) {
            tracing::error!(
                why,
                "the list of revocations cannot be kept here; it is followed in Redis all the same, but without it this \
                 process does not start while Redis is away"
            );
        }
        *away = Some(why);
    }

    /// Opens the file, and gives what it says of itself. `None`: it cannot be used, or is not this process's now.
    pub(super) async fn open(&self) -> Option<Mark> {
        let (folder, backend, shelf) = (self.folder.clone(), self.backend.clone(), self.shelf.clone());
        let open = move || {
            // One that a hanging disk held up is let go first.
            drop(shelf.replace(None));
            let file = ListFile::open(&folder, &backend)?;
            let mark = file.mark()?;
            Ok((file, mark))
        };
        let (file, mark) = self.told(spawn_blocking(open)).await?;
        let was_away = self.away.lock().unwrap_or_else(PoisonError::into_inner).take();
        if was_away.is_some() {
            tracing::warn!("the list of revocations can be kept here again");
        }
        self.complete_at.store(mark.synced_at.map_or(0, Timestamp::as_millis), Ordering::Release);
        drop(self.shelf.replace(Some(file)));
        if !self.may_open() {
            // It was told to close meanwhile.
            drop(self.shelf.replace(None));
            return None;
        }
        Some(mark)
    }

    async fn told<T>(
        &self,
        doing: impl Future<Output = Result<Result<T, StoreFileError>, JoinError>>,
    ) -> Option<T> {
        let why = match timeout(DISK, doing).await {
            Ok(Ok(Ok(done))) => return Some(done),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "the file cannot be read".to_owned(),
            Err(_) => "the disk does not answer".to_owned(),
        };
        self.goes_away(why);
        None
    }

    /// Loads the whole file into `tables`. Gives whether that went well.
    pub(super) async fn load(&self, tables: &Arc<Revocations>) -> bool {
        let (shelf, tables) = (self.shelf.clone(), tables.clone());
        let load = move || {
            let mut loading = Loading::begin();
            loop {
                match shelf.with(|file| loading.go_on(file, &tables, PIECE)) {
                    Some(Ok(true)) => {}
                    Some(Ok(false)) => return Ok(true),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(false),
                }
            }
        };
        match spawn_blocking(load).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) => self.fail(&error),
            Err(_) => false,
        }
    }

    fn fail(&self, error: &StoreFileError) -> bool {
        self.goes_away(error.to_string());
        drop(self.shelf.replace(None));
        false
    }

    /// Begins to write. Gives whether it is on the disk; otherwise the file is shut.
    pub(super) fn write(self: &Arc<Self>, changes: Vec<Change>, mark: Mark) -> JoinHandle<bool> {
        let local = self.clone();
        spawn_blocking(move || match local.shelf.with(|file| file.write_marked(&changes, &mark)) {
            Some(Ok(())) => {
                if let Some(at) = mark.synced_at {
                    local.is_complete_at(at);
                }
                true
            }
            Some(Err(error)) => local.fail(&error),
            None => false,
        })
    }

    /// Writes, and waits for it.
    pub(super) async fn write_now(self: &Arc<Self>, changes: Vec<Change>, mark: Mark) -> bool {
        let writing = self.write(changes, mark);
        self.told(async { Ok(Ok(writing.await.unwrap_or(false))) }).await.unwrap_or(false)
    }

    pub(super) async fn piece(&self, after: Option<RevocationId>) -> Option<Piece> {
        self.shelf.read(move |file| file.piece(Stretch { after, last: None }, PIECE)).await?.ok()
    }

    /// Takes out what has ended, in pieces, so that others have their turn in between. Where the disk hangs this waits, and
    /// holds up nobody else.
    pub(super) async fn take_out_ended(self: &Arc<Self>, now: Timestamp) {
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
