//! The file of the embedded store: one table of redb, read whole at start.
//!
//! It must never make a new file in place of one that cannot be read, and never answer that something was
//! written before it is on the disk.

use std::path::Path;

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::core::time::Timestamp;
use crate::flows::ports::{Version, random};
use crate::io::store_file::{Backend, Kind, Place, StoreFileError};
use crate::io::system::SystemRandomness;

pub(super) const STORE: Kind = Kind {
    name: "store.redb",
    without: "nobody is signed out by that, but sign-outs and used cookies of before are forgotten",
    // Every value is in memory anyway.
    cache: 8 << 20,
};
/// Key → version and end (8 bytes each, big endian), then the bytes.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT: &str = "format";
/// What this program writes and reads.
const THIS_FORMAT: u64 = 1;
/// A file that is so much larger than what it holds is made smaller at start.
const WASTE: u64 = 4;
/// No file is made smaller below this, in bytes.
const SMALLEST_FILE: u64 = 4 << 20;

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
    place: Place,
    database: Database,
}

impl StoreFile {
    /// Opens the file in `folder`, made now when there is none, and returns all that is in it: what has ended
    /// nobody knows at a start for sure.
    pub(super) fn open(
        folder: &Path,
        how: &Backend,
    ) -> Result<(Self, Vec<(String, Record)>), StoreFileError> {
        let place = Place::new(folder, &STORE);
        let (database, length) = place.open(how, begin)?;
        let mut file = Self { place, database };
        let held = file.load()?;
        let content: u64 =
            held.iter().map(|(key, record)| key.len() + 16 + record.bytes.len()).map(|n| n as u64).sum();
        if length > SMALLEST_FILE && length / WASTE > content {
            let compacted = file.database.compact().map_err(|error| file.place.told(error.into()));
            if let Err(error @ StoreFileError::Full { .. }) = compacted {
                // That must not keep a gateway from starting. What it cannot write it tells then.
                tracing::warn!(%error, "the store file stays larger than it need be");
                let Self { place, database } = file;
                drop(database);
                file = Self { database: place.open_again(how, false)?, place };
            } else {
                compacted?;
            }
        }
        Ok((file, held))
    }

    fn load(&self) -> Result<Vec<(String, Record)>, StoreFileError> {
        let damaged = |why: &str| self.place.damaged(why);
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
            error => self.place.told(error),
        })?;
        if format != Some(THIS_FORMAT) {
            let why = format!("format {}, not {THIS_FORMAT}", format.unwrap_or_default());
            return Err(StoreFileError::OtherVersion { path: self.place.path(), why });
        }
        let whole = |(key, record): (String, Option<Record>)| Some((key, record?));
        let records: Option<Vec<_>> = records.into_iter().map(whole).collect();
        records.ok_or_else(|| damaged("a value in it is too short"))
    }

    /// Puts and removes; everything is on the disk when this returns, or it is not known what is. Then the
    /// file must be opened again.
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
        write().map_err(|error| self.place.told(error))
    }

    /// What the file has under `key`.
    pub(super) fn read(&self, key: &str) -> Result<Option<Record>, StoreFileError> {
        let read = || {
            let transaction = self.database.begin_read()?;
            let record = transaction.open_table(VALUES)?.get(key)?;
            Ok(record.and_then(|record| Record::read(record.value())))
        };
        read().map_err(|error| self.place.told(error))
    }

    /// Writes something that nobody reads: only that shows that it can be written.
    pub(super) fn prove(&self) -> Result<(), StoreFileError> {
        let write = || {
            let transaction = self.database.begin_write()?;
            let at: [u8; 8] = random(&SystemRandomness);
            transaction.open_table(ABOUT)?.insert("proved", u64::from_be_bytes(at))?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.place.told(error))
    }

    pub(super) fn close(self) -> Result<(), StoreFileError> {
        let Self { place, database } = self;
        database.close().map_err(|error| place.told(error.into()))
    }

    /// Opens the file again after a write that failed; nothing is read. `anew`: as [`Place::open_again`]
    /// says.
    pub(super) fn open_again(folder: &Path, how: &Backend, anew: bool) -> Result<Self, StoreFileError> {
        let place = Place::new(folder, &STORE);
        Ok(Self { database: place.open_again(how, anew)?, place })
    }
}

/// A new file.
fn begin(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(VALUES)?;
    transaction.open_table(ABOUT)?.insert(FORMAT, THIS_FORMAT)?;
    Ok(transaction.commit()?)
}
