//! A disk that fails when it is told to.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

const PAGE: u64 = 4096;

/// What the disk does, and how often it was asked to keep something.
#[derive(Debug, Default)]
pub(in crate::io) struct Faults {
    pub(in crate::io) full: AtomicBool,
    /// The same for all but the first page, which says where everything is: it is written in its place when
    /// the file is opened, and has its room.
    pub(in crate::io) full_behind: AtomicBool,
    /// `fsync` fails, though everything was written.
    pub(in crate::io) loses: AtomicBool,
    /// The library fails in the midst of a write.
    pub(in crate::io) panics: AtomicBool,
    /// `fsync` does not come back while this is true.
    pub(in crate::io) hangs: AtomicBool,
    /// Nor does a read, while this is true.
    pub(in crate::io) reads_hang: AtomicBool,
    /// How many threads wait for a read.
    pub(in crate::io) hanging: AtomicUsize,
    pub(in crate::io) syncs: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Faulty {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl Faulty {
    pub(super) fn new(file: FileBackend, faults: Arc<Faults>) -> Self {
        Self { file, faults }
    }

    fn room(&self, at: u64) -> io::Result<()> {
        let is_full = at >= PAGE && self.faults.full_behind.load(Ordering::SeqCst);
        let is_full = is_full || self.faults.full.load(Ordering::SeqCst);
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.faults.hanging.fetch_add(1, Ordering::SeqCst);
        while self.faults.reads_hang.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.faults.hanging.fetch_sub(1, Ordering::SeqCst);
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room(len)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        assert!(!self.faults.panics.load(Ordering::SeqCst), "told to");
        while self.faults.hangs.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        if self.faults.loses.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk lost it"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room(offset)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
