//! The file of the embedded store: one table of redb, read whole at start.
//!
//! It must never make a new file in place of one that cannot be read, and never answer that something was
//! written before it is on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::core::time::Timestamp;
use crate::flows::ports::{Version, random};
use crate::io::system::SystemRandomness;

/// Its name in the store folder.
const NAME: &str = "store.redb";
/// Key → version and end (8 bytes each, big endian), then the bytes.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT: &str = "format";
/// What this program writes and reads.
const THIS_FORMAT: u64 = 1;
/// Pages that are kept in memory; every value is there anyway.
const CACHE: usize = 8 << 20;
/// A file that is so much larger than what it holds is made smaller at start.
const WASTE: u64 = 4;
/// No file is made smaller below this, in bytes.
const SMALL: u64 = 4 << 20;

/// Why the store file cannot be used. Every text names it and says what to do.
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
    #[error(
        "the store file {path} is damaged ({why}); restore it from a backup, or move it away: nobody is signed \
         out by that, but sign-outs and used cookies of before are forgotten"
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "the store file {path} was written by another version of Tollgate ({why}); run that one, or move it away"
    )]
    OtherVersion { path: PathBuf, why: String },
    #[error("the store file {path} cannot be written, because its disk is full; make room there")]
    Full { path: PathBuf },
    #[error("the store file {path} cannot be used: {why}")]
    Other { path: PathBuf, why: String },
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) version: Version,
    pub(super) ends: Timestamp,
    pub(super) bytes: Bytes,
}

impl Record {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.bytes.len());
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.extend_from_slice(&self.ends.as_millis().to_be_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (version, rest) = text.split_first_chunk()?;
        let (ends, bytes) = rest.split_first_chunk()?;
        Some(Self {
            version: Version(u64::from_be_bytes(*version)),
            ends: Timestamp::from_millis(i64::from_be_bytes(*ends)),
            bytes: Bytes::copy_from_slice(bytes),
        })
    }
}

/// The open file; no other process has it.
pub(super) struct StoreFile {
    path: PathBuf,
    database: Database,
}

impl StoreFile {
    /// Opens the file in `folder`, made now when there is none, and gives all that is in it and has not ended.
    pub(super) fn open(
        folder: &Path,
        now: Timestamp,
        how: &Backend,
    ) -> Result<(Self, Vec<(String, Record)>), StoreFileError> {
        let fault = |source| StoreFileError::Folder { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
        let path = Self::path(folder);
        if !path.try_exists().map_err(fault)? {
            make(folder, &path, how)?;
        }
        let length = fs::metadata(&path).map_err(fault)?.len();
        if length == 0 {
            return Err(StoreFileError::Damaged { path, why: "it is empty".to_owned() });
        }
        let mut file = Self { database: open(&path, how, true)?, path };
        let (held, ended) = file.load(now)?;
        file.write(&[], &ended)?;
        let content: u64 =
            held.iter().map(|(key, record)| key.len() + 16 + record.bytes.len()).map(|n| n as u64).sum();
        if length > SMALL && length / WASTE > content {
            file.database.compact().map_err(|error| told(&file.path, error.into()))?;
        }
        Ok((file, held))
    }

    /// What has not ended, and the keys of what has.
    #[allow(clippy::type_complexity)]
    fn load(&self, now: Timestamp) -> Result<(Vec<(String, Record)>, Vec<String>), StoreFileError> {
        let damaged = |why: &str| StoreFileError::Damaged { path: self.path.clone(), why: why.to_owned() };
        let read = || {
            let transaction = self.database.begin_read()?;
            let format = transaction.open_table(ABOUT)?.get(FORMAT)?.map(|format| format.value());
            let mut records = Vec::new();
            for entry in transaction.open_table(VALUES)?.iter()? {
                let (key, record) = entry?;
                records.push((key.value().to_owned(), Record::read(record.value())));
            }
            Ok((format, records))
        };
        let (format, records) = read().map_err(|error: redb::Error| match error {
            redb::Error::TableDoesNotExist(_) => damaged("it holds no store"),
            error => told(&self.path, error),
        })?;
        if format != Some(THIS_FORMAT) {
            let why = format!("format {}, not {THIS_FORMAT}", format.unwrap_or_default());
            return Err(StoreFileError::OtherVersion { path: self.path.clone(), why });
        }
        let (mut held, mut ended) = (Vec::with_capacity(records.len()), Vec::new());
        for (key, record) in records {
            let record = record.ok_or_else(|| damaged("a value in it is too short"))?;
            if now < record.ends { held.push((key, record)) } else { ended.push(key) }
        }
        Ok((held, ended))
    }

    /// Puts and removes; everything is on the disk when this returns, or it is not known what is. Then the file must
    /// be opened again.
    pub(super) fn write(&self, put: &[(&str, &Record)], removed: &[String]) -> Result<(), StoreFileError> {
        if put.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let write = || {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(VALUES)?;
                for (key, record) in put {
                    table.insert(*key, record.write().as_slice())?;
                }
                for key in removed {
                    table.remove(key.as_str())?;
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|error| told(&self.path, error))
    }

    /// What the file has under `key`.
    pub(super) fn read(&self, key: &str) -> Result<Option<Record>, StoreFileError> {
        let read = || {
            let transaction = self.database.begin_read()?;
            let record = transaction.open_table(VALUES)?.get(key)?;
            Ok(record.and_then(|record| Record::read(record.value())))
        };
        read().map_err(|error| told(&self.path, error))
    }

    /// Writes something that nobody reads: only that shows that it can be written.
    pub(super) fn prove(&self) -> Result<(), StoreFileError> {
        let write = || {
            let transaction = self.database.begin_write()?;
            let at: [u8; 8] = random(&SystemRandomness);
            transaction.open_table(ABOUT)?.insert("proved", u64::from_be_bytes(at))?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| told(&self.path, error))
    }

    /// Where it is.
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(NAME)
    }

    pub(super) fn close(self) -> Result<(), StoreFileError> {
        let Self { path, database } = self;
        database.close().map_err(|error| told(&path, error.into()))
    }

    /// Opens the file again after a write that failed; nothing is read.
    pub(super) fn open_again(folder: &Path, how: &Backend) -> Result<Self, StoreFileError> {
        let path = Self::path(folder);
        Ok(Self { database: open(&path, how, false)?, path })
    }
}

/// Makes the file beside its place and links it there when it is whole, so that an empty or unfinished one is
/// always damage. Of two processes one wins.
fn make(folder: &Path, path: &Path, how: &Backend) -> Result<(), StoreFileError> {
    let fault = |source| StoreFileError::Folder { path: folder.to_owned(), source };
    let unique: [u8; 8] = random(&SystemRandomness);
    let draft = folder.join(format!(".{NAME}.{:016x}", u64::from_be_bytes(unique)));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(fault)?;
    let begun = open(&draft, how, false).and_then(|database| {
        let begin = || {
            let transaction = database.begin_write()?;
            transaction.open_table(VALUES)?;
            transaction.open_table(ABOUT)?.insert(FORMAT, THIS_FORMAT)?;
            Ok(transaction.commit()?)
        };
        begin().map_err(|error| told(path, error))?;
        database.close().map_err(|error| told(path, error.into()))
    });
    let linked = begun.map(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft).map_err(fault)?;
    match linked? {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(fault(error)),
        Ok(()) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault),
    }
}

fn open(path: &Path, how: &Backend, check: bool) -> Result<Database, StoreFileError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| told(path, redb::Error::Io(error)))?;
    let backend = FileBackend::new(file).map_err(|error| told(path, error.into()))?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(check);
    how.open(&builder, backend).map_err(|error| told(path, error.into()))
}

fn told(path: &Path, error: redb::Error) -> StoreFileError {
    use redb::Error;
    let path = path.to_owned();
    match error {
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreFileError::InUse { path },
        Error::Corrupted(why) => StoreFileError::Damaged { path, why },
        Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreFileError::Damaged { path, why: error.to_string() }
        }
        Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            StoreFileError::Full { path }
        }
        Error::UpgradeRequired(_) | Error::TableTypeMismatch { .. } => {
            StoreFileError::OtherVersion { path, why: error.to_string() }
        }
        error => StoreFileError::Other { path, why: error.to_string() },
    }
}

/// How the file is reached; tests let it fail.
#[derive(Clone, Debug, Default)]
pub(in crate::io::store) struct Backend {
    #[cfg(test)]
    pub(in crate::io::store) faults: Option<std::sync::Arc<super::faults::Faults>>,
}

impl Backend {
    fn open(&self, builder: &redb::Builder, file: FileBackend) -> Result<Database, DatabaseError> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            return builder.create_with_backend(super::faults::Faulty::new(file, faults.clone()));
        }
        builder.create_with_backend(file)
    }
}
