//! A file in the store folder, as redb writes it: how one is made and opened, and what is told of one that
//! cannot be used. `keeping`: how one is given up for another process, and taken back.
//!
//! It must never make a new file in place of one that cannot be read.

#[cfg(test)]
pub(in crate::io) mod faults;
pub(in crate::io) mod keeping;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError};

use crate::flows::ports::{HandedTo, random};
use crate::io::folder;
use crate::io::system::SystemRandomness;

/// Why a store file cannot be used. Every text names it and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreFileError {
    #[error(
        "the store folder {path} cannot be used: {source}; make it writable for this user, or set `store`"
    )]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "the store file {path} is in use by another process; stop that one, or give this one a `store` of its own"
    )]
    InUse { path: PathBuf },
    #[error("the store file {path} is damaged ({why}); restore it from a backup, or move it away: {without}")]
    Damaged { path: PathBuf, why: String, without: &'static str },
    #[error(
        "the store file {path} was written by another version of Tollgate ({why}); run that one, or move it away"
    )]
    OtherVersion { path: PathBuf, why: String },
    #[error(
        "the store file {path} cannot be written, because its disk is full, or a quota or the limit of a file's size (ulimit -f) is reached; make room there"
    )]
    Full { path: PathBuf },
    #[error("the store file {path} cannot be used: {why}")]
    Other { path: PathBuf, why: String },
}

/// One file of the folder.
#[derive(Clone, Debug)]
pub(in crate::io) struct Place {
    pub(in crate::io) folder: PathBuf,
    pub(in crate::io) kind: &'static Kind,
}

/// What is the same of all files of a kind.
#[derive(Debug)]
pub(in crate::io) struct Kind {
    /// Its name in the store folder.
    pub(in crate::io) name: &'static str,
    /// What it means to go on without it.
    pub(in crate::io) without: &'static str,
    /// How many bytes of pages are kept in memory.
    pub(in crate::io) cache: usize,
}

impl StoreFileError {
    /// Whether nobody knows what of the file is on the disk; where there was no room that is known.
    pub(in crate::io) const fn leaves_doubt(&self) -> bool {
        !matches!(self, Self::Full { .. })
    }
}

impl Place {
    pub(in crate::io) fn new(folder: &Path, kind: &'static Kind) -> Self {
        Self { folder: folder.to_owned(), kind }
    }

    pub(in crate::io) fn path(&self) -> PathBuf {
        self.folder.join(self.kind.name)
    }

    pub(in crate::io) fn damaged(&self, why: impl Into<String>) -> StoreFileError {
        StoreFileError::Damaged { path: self.path(), why: why.into(), without: self.kind.without }
    }

    pub(in crate::io) fn other(&self, why: impl Into<String>) -> StoreFileError {
        StoreFileError::Other { path: self.path(), why: why.into() }
    }

    fn folder_fault(&self, source: io::Error) -> StoreFileError {
        StoreFileError::Folder { path: self.folder.clone(), source }
    }

    /// Opens the file, which is checked whole, and made by `begin` now when there is none. Returns its length
    /// too.
    pub(in crate::io) fn open(
        &self,
        how: &Backend,
        begin: impl FnOnce(&Database) -> Result<(), redb::Error>,
    ) -> Result<(Database, u64), StoreFileError> {
        let fault = |source| self.folder_fault(source);
        folder::make(&self.folder).map_err(fault)?;
        let path = self.path();
        if !path.try_exists().map_err(fault)? {
            self.make(&path, how, begin)?;
        }
        let length = fs::metadata(&path).map_err(fault)?.len();
        if length == 0 {
            return Err(self.damaged("it is empty"));
        }
        Ok((self.open_at(&path, how, true)?, length))
    }

    /// Opens the file again after a write that failed. `anew`: in a copy that is on the disk. After an
    /// `fsync` that failed the kernel takes what it could not write for written, shows it to whoever reads,
    /// and writes it never: the next `fsync` succeeds without it.
    pub(in crate::io) fn open_again(&self, how: &Backend, anew: bool) -> Result<Database, StoreFileError> {
        let path = self.path();
        let database = self.open_at(&path, how, false)?;
        if !anew {
            return Ok(database);
        }
        // No other process has it meanwhile.
        let draft = self.draft();
        let copied = self.copy(&path, &draft).and_then(|()| fs::rename(&draft, &path));
        if copied.is_err() {
            folder::remove_draft(&draft).map_err(|source| self.folder_fault(source))?;
        }
        copied.and_then(|()| self.sync_folder()).map_err(|error| self.told(redb::Error::Io(error)))?;
        drop(database);
        self.open_at(&path, how, false)
    }

    fn draft(&self) -> PathBuf {
        let unique: [u8; 8] = random(&SystemRandomness);
        self.folder.join(format!(".{}.{:016x}", self.kind.name, u64::from_be_bytes(unique)))
    }

    fn copy(&self, path: &Path, draft: &Path) -> io::Result<()> {
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
        io::copy(&mut File::open(path)?, &mut copy)?;
        copy.sync_all()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    /// Makes the file beside its place and puts it there when it is whole, so that an empty or unfinished one
    /// is always damage. Of two processes one wins.
    fn make(
        &self,
        path: &Path,
        how: &Backend,
        begin: impl FnOnce(&Database) -> Result<(), redb::Error>,
    ) -> Result<(), StoreFileError> {
        let fault = |source| self.folder_fault(source);
        let draft = self.draft();
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(fault)?;
        let begun = self.open_at(&draft, how, false).and_then(|database| {
            begin(&database).map_err(|error| self.told(error))?;
            database.close().map_err(|error| self.told(error.into()))
        });
        let put = begun.map(|()| folder::put_new(&draft, path));
        folder::remove_draft(&draft).map_err(fault)?;
        match put? {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(fault(error)),
            Ok(()) => self.sync_folder().map_err(fault),
        }
    }

    fn open_at(&self, path: &Path, how: &Backend, check: bool) -> Result<Database, StoreFileError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| self.told(redb::Error::Io(error)))?;
        let backend = FileBackend::new(file).map_err(|error| self.told(error.into()))?;
        let mut builder = Database::builder();
        builder.set_cache_size(self.kind.cache).set_check_integrity_on_open(check);
        how.open(&builder, backend).map_err(|error| self.told(error.into()))
    }

    /// What an error of the library means.
    pub(in crate::io) fn told(&self, error: redb::Error) -> StoreFileError {
        use redb::Error;
        let path = self.path();
        match error {
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreFileError::InUse { path },
            Error::Corrupted(why) => self.damaged(why),
            Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                self.damaged(error.to_string())
            }
            Error::Io(error) if has_no_room(error.kind()) => StoreFileError::Full { path },
            Error::UpgradeRequired(_) | Error::TableTypeMismatch { .. } => {
                StoreFileError::OtherVersion { path, why: error.to_string() }
            }
            error => StoreFileError::Other { path, why: error.to_string() },
        }
    }
}

/// Whether a write failed for want of room: on the disk, or by a limit of the user's or of the process's.
const fn has_no_room(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}

/// How a file is reached; tests let it fail.
#[derive(Clone, Debug, Default)]
pub(in crate::io) struct Backend {
    #[cfg(test)]
    pub(in crate::io) faults: Option<std::sync::Arc<faults::Faults>>,
}

impl Backend {
    fn open(&self, builder: &redb::Builder, file: FileBackend) -> Result<Database, DatabaseError> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            return builder.create_with_backend(faults::Faulty::new(file, faults.clone()));
        }
        builder.create_with_backend(file)
    }
}

/// What a file is to this process.
#[derive(Clone, Debug)]
pub(in crate::io) enum Phase {
    Open,
    /// Another process may have it, or may have it still. It may come back.
    Closed,
    /// Another process has it for good, and can be asked for what is in it, unless it does not know how.
    HandedOver(Option<HandedTo>),
}

/// Where a call finds what it needs of a file.
pub(in crate::io) enum ReachedAt<T> {
    /// In the file: it was open, and this came of it.
    Here(T),
    /// At the process that took over.
    There(HandedTo),
}
