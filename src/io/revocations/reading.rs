//! The open file of the list, among those who read it and the one who writes, closes and opens it.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;

use super::file::ListFile;
use crate::flows::ports::StoreFault;
use crate::io::store_file::StoreFileError;

/// How many read at once, each with a thread of its own, which a disk that hangs holds on to however long
/// somebody waits.
const AT_ONCE: usize = 4;

/// The file, while it is open. Who reads keeps it open for so long; no reading takes longer than a moment.
pub(super) struct Shelf {
    file: RwLock<Option<ListFile>>,
    room: Arc<Semaphore>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { file: RwLock::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Shelf {
    /// Does `what` with the file. `None`: it is not open.
    pub(super) fn with<T>(&self, what: impl FnOnce(&ListFile) -> T) -> Option<T> {
        self.file.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(what)
    }

    /// Puts a file there, or none, and returns what was there, once nobody reads it any more.
    pub(super) fn replace(&self, file: Option<ListFile>) -> Option<ListFile> {
        std::mem::replace(&mut *self.file.write().unwrap_or_else(PoisonError::into_inner), file)
    }

    /// Does `what` with the file, beside the runtime. Waits while others hold all threads: callers have their
    /// deadlines.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&ListFile) -> Result<T, StoreFileError> + Send + 'static,
    ) -> Option<Result<T, StoreFault>> {
        let (shelf, room) = (self.clone(), self.room.clone().acquire_owned().await);
        let read = tokio::task::spawn_blocking(move || {
            let _room = room;
            shelf.with(what)
        });
        let read = read.await;
        match read {
            Ok(read) => read.map(|read| read.map_err(|error| StoreFault::Unavailable(error.to_string()))),
            Err(_) => Some(Err(StoreFault::Unavailable("the list of revocations cannot be read".to_owned()))),
        }
    }
}
