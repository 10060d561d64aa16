//! The file of the list: every revocation under its id, and when each ends. Only what is asked for is in
//! memory: ten million are promised.
//!
//! It must never answer that something was written before it is on the disk.

use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, WriteTransaction};

use crate::core::clock_watch::SureTime;
use crate::core::revocation::{Change, Revocation, RevocationId};
use crate::core::time::Timestamp;
use crate::flows::ports::{ListQuery, Listed};
use crate::io::store_file::{Backend, Kind, Place, StoreFileError};

pub(super) const LIST: Kind = Kind {
    name: "revocations.redb",
    without: "what was revoked before is then accepted again, unless replicas share the list in Redis",
    cache: 32 << 20,
};
type Id<'k> = &'k [u8; 16];
/// End and id: see [`end_key`].
type EndKey = [u8; 24];
/// Id → [`Revocation::to_bytes`].
const RECORDS: TableDefinition<'_, Id<'_>, &[u8]> = TableDefinition::new("records");
/// End in whole seconds (8 bytes, big endian) and id, of those that end.
const ENDS: TableDefinition<'_, &EndKey, ()> = TableDefinition::new("ends");
/// The number of a commit, and which in it → what it took out. For a process that comes back to the file:
/// what is not there any more it does not see.
const LIFTED: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("lifted");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT: &str = "format";
/// What this program writes and reads.
const THIS_FORMAT: u64 = 1;
/// How many commits there were.
const COMMITS: &str = "commits";
/// Where a file that stands behind a Redis is in the log there.
const EPOCH: &str = "epoch";
const SEQ: &str = "seq";
const NONCE: &str = "nonce";
/// As of when it has all that was acknowledged, in milliseconds since 1970.
const SYNCED_AT: &str = "synced-at";
/// For how many commits it is known what they took out.
const REMEMBERED: u64 = 4096;
/// How many records one call of [`ListFile::list`] looks at.
const SCANNED: usize = 4096;
/// What has ended is kept for so long: clocks of replicas differ.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// The open file; no other process has it.
pub(super) struct ListFile {
    place: Place,
    database: Database,
}

/// A place in the log that replicas share: the entry with this number, which this nonce proves to be the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) nonce: u64,
}

/// What a file that stands behind a Redis says of itself; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) position: Option<Position>,
    pub(super) synced_at: Option<Timestamp>,
}

/// The ids behind `after`, up to `last`; without these all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stretch {
    pub(super) after: Option<RevocationId>,
    pub(super) last: Option<RevocationId>,
}

/// A part of the list for those who keep tables, and where the next begins.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) changes: Vec<Change>,
    pub(super) next: Option<RevocationId>,
}

impl ListFile {
    pub(super) fn place(folder: &Path) -> Place {
        Place::new(folder, &LIST)
    }

    /// Opens the file in `folder`, made now when there is none.
    pub(super) fn open(folder: &Path, how: &Backend) -> Result<Self, StoreFileError> {
        let place = Self::place(folder);
        let (database, _) = place.open(how, begin)?;
        let file = Self { place, database };
        match file.about(FORMAT).map_err(|error| match error {
            redb::Error::TableDoesNotExist(_) => file.place.damaged("it holds no list"),
            error => file.place.told(error),
        })? {
            Some(THIS_FORMAT) => Ok(file),
            format => {
                let why = format!("format {}, not {THIS_FORMAT}", format.unwrap_or_default());
                Err(StoreFileError::OtherVersion { path: file.place.path(), why })
            }
        }
    }

    /// Opens the file again after a write that failed, and shows that it can be written. `anew`: as
    /// [`Place::open_again`] says.
    pub(super) fn open_again(folder: &Path, how: &Backend, anew: bool) -> Result<Self, StoreFileError> {
        let place = Self::place(folder);
        let file = Self { database: place.open_again(how, anew)?, place };
        file.write(&[])?;
        Ok(file)
    }

    pub(super) fn close(self) -> Result<(), StoreFileError> {
        let Self { place, database } = self;
        database.close().map_err(|error| place.told(error.into()))
    }

    fn about(&self, key: &str) -> Result<Option<u64>, redb::Error> {
        Ok(self.database.begin_read()?.open_table(ABOUT)?.get(key)?.map(|value| value.value()))
    }

    /// How many commits there were.
    pub(super) fn commits(&self) -> Result<u64, StoreFileError> {
        self.about(COMMITS).map(Option::unwrap_or_default).map_err(|error| self.place.told(error))
    }

    /// Makes these changes in their order; all are on the disk when this returns, or it is not known what is.
    /// Then the file must be opened again.
    pub(super) fn write(&self, changes: &[Change]) -> Result<(), StoreFileError> {
        self.write_at(changes, |about| {
            // It has something now that a Redis does not know of.
            if !changes.is_empty() {
                about.remove(EPOCH)?;
            }
            Ok(())
        })
    }

    /// As [`Self::write`], with where that is in the log that replicas share.
    pub(super) fn write_marked(&self, changes: &[Change], mark: &Mark) -> Result<(), StoreFileError> {
        self.write_at(changes, |about| {
            if let Some(Position { epoch, seq, nonce }) = mark.position {
                about.insert(EPOCH, epoch)?;
                about.insert(SEQ, seq)?;
                about.insert(NONCE, nonce)?;
            }
            if let Some(synced_at) = mark.synced_at {
                about.insert(SYNCED_AT, u64::try_from(synced_at.as_millis()).unwrap_or(0))?;
            }
            Ok(())
        })
    }

    /// Where it is in the log that replicas share.
    pub(super) fn mark(&self) -> Result<Mark, StoreFileError> {
        let read = || {
            let about = self.database.begin_read()?.open_table(ABOUT)?;
            let get = |key| Ok::<_, redb::Error>(about.get(key)?.map(|value| value.value()));
            let position = match (get(EPOCH)?, get(SEQ)?, get(NONCE)?) {
                (Some(epoch), Some(seq), Some(nonce)) => Some(Position { epoch, seq, nonce }),
                _ => None,
            };
            let synced_at = get(SYNCED_AT)?.and_then(|millis| i64::try_from(millis).ok());
            Ok(Mark { position, synced_at: synced_at.map(Timestamp::from_millis) })
        };
        read().map_err(|error: redb::Error| self.place.told(error))
    }

    fn write_at(
        &self,
        changes: &[Change],
        note: impl FnOnce(&mut About<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), StoreFileError> {
        let write = || {
            let mut transaction = self.database.begin_write()?;
            // Otherwise damage to the last commit passes for one that was not finished, and what it brought
            // is forgotten.
            transaction.set_two_phase_commit(true);
            let commit = count(&transaction)?;
            note(&mut transaction.open_table(ABOUT)?)?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                let mut ends = transaction.open_table(ENDS)?;
                let mut lifted = transaction.open_table(LIFTED)?;
                for (at, change) in changes.iter().enumerate() {
                    make(&mut records, &mut ends, change)?;
                    if let Change::Lift(gone) = change {
                        let at = u32::try_from(at).unwrap_or(u32::MAX);
                        lifted.insert((commit, at), gone.to_bytes().as_slice())?;
                    }
                }
                if changes.iter().any(|change| matches!(change, Change::Lift(_))) {
                    lifted.retain_in(..(commit.saturating_sub(REMEMBERED), 0), |_, _| false)?;
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.place.told(error))
    }

    /// Takes out what has ended, at most `limit` of it. Returns how many that were.
    pub(super) fn take_out_ended(&self, now: SureTime, limit: usize) -> Result<usize, StoreFileError> {
        let ended = self.ended(now.at(), limit)?;
        if !ended.is_empty() {
            self.take_out(&ended)?;
        }
        Ok(ended.len())
    }

    /// What has ended, at most `limit` of it.
    fn ended(&self, now: Timestamp, limit: usize) -> Result<Vec<EndKey>, StoreFileError> {
        let last = end_key(now.minus(GRACE), [0; 16]);
        let read = || {
            let ends = self.database.begin_read()?.open_table(ENDS)?;
            let ended = ends.range::<&EndKey>(..&last)?.take(limit);
            ended.map(|end| Ok(*end?.0.value())).collect::<Result<_, redb::Error>>()
        };
        read().map_err(|error| self.place.told(error))
    }

    /// Takes these out, but for those that were put again since they were seen: whoever writes beside this
    /// waits for nobody, and they have another end now.
    fn take_out(&self, ended: &[EndKey]) -> Result<(), StoreFileError> {
        let take_out = || {
            let transaction = self.database.begin_write()?;
            {
                let mut records = transaction.open_table(RECORDS)?;
                let mut ends = transaction.open_table(ENDS)?;
                for end in ended {
                    let [_, _, _, _, _, _, _, _, id @ ..] = end;
                    if ends.remove(end)?.is_some() {
                        records.remove(id)?;
                    }
                }
            }
            Ok(transaction.commit()?)
        };
        take_out().map_err(|error: redb::Error| self.place.told(error))
    }

    /// How many there are, ended ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        use redb::ReadableTableMetadata as _;
        self.database.begin_read().unwrap().open_table(RECORDS).unwrap().len().unwrap()
    }

    pub(super) fn find(&self, id: RevocationId) -> Result<Option<Revocation>, StoreFileError> {
        let read = || {
            let record = self.database.begin_read()?.open_table(RECORDS)?.get(id.as_bytes())?;
            Ok(record.map(|record| Revocation::from_bytes(record.value())))
        };
        let found = read().map_err(|error: redb::Error| self.place.told(error))?;
        found.map(|record| record.ok_or_else(|| self.unreadable())).transpose()
    }

    pub(super) fn unreadable(&self) -> StoreFileError {
        self.place.damaged("a revocation in it cannot be read")
    }

    /// Calls `each` with at most `scanned` of these records, until it says that it is enough. Returns where
    /// the next part begins.
    fn scan(
        &self,
        Stretch { after, last }: Stretch,
        scanned: usize,
        mut each: impl FnMut(Revocation) -> bool,
    ) -> Result<Option<RevocationId>, StoreFileError> {
        let told = |error| self.place.told(error);
        let begin = || {
            let records = self.database.begin_read()?.open_table(RECORDS)?;
            let from = after.as_ref().map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes()));
            let to = last.as_ref().map_or(Bound::Unbounded, |id| Bound::Included(id.as_bytes()));
            Ok(records.range::<Id<'_>>((from, to))?)
        };
        let mut records = begin().map_err(told)?;
        let (mut seen, mut last) = (0, None);
        for record in &mut records {
            let (id, record) = record.map_err(|error| told(error.into()))?;
            if seen == scanned {
                return Ok(last);
            }
            seen += 1;
            last = Some(RevocationId::from_bytes(*id.value()));
            let revocation = Revocation::from_bytes(record.value()).ok_or_else(|| self.unreadable())?;
            if each(revocation) {
                break;
            }
        }
        Ok(if records.next().is_some() { last } else { None })
    }

    pub(super) fn list(&self, part: &ListQuery) -> Result<Listed, StoreFileError> {
        let mut revocations = Vec::new();
        let limit = part.limit.max(1);
        let next = self.scan(Stretch { after: part.after, last: None }, SCANNED, |revocation| {
            if part.takes(&revocation.target) {
                revocations.push(revocation);
            }
            revocations.len() == limit
        })?;
        Ok(Listed { revocations, next })
    }

    /// At most `limit` of these, as changes.
    pub(super) fn piece(&self, stretch: Stretch, limit: usize) -> Result<Piece, StoreFileError> {
        let mut changes = Vec::with_capacity(limit);
        let next = self.scan(stretch, limit, |revocation| {
            changes.push(Change::Add(revocation));
            false
        })?;
        Ok(Piece { changes, next })
    }

    /// What was lifted after this many commits and is not there now. `None`: that is not known any more.
    pub(super) fn lifted_since(&self, commits: u64) -> Result<Option<Vec<Change>>, StoreFileError> {
        let told = |error| self.place.told(error);
        if self.commits()?.saturating_sub(commits) > REMEMBERED {
            return Ok(None);
        }
        let read = || {
            let table = self.database.begin_read()?.open_table(LIFTED)?;
            let lifted = table.range((commits.saturating_add(1), 0)..)?;
            lifted
                .map(|entry| Ok(Revocation::from_bytes(entry?.1.value())))
                .collect::<Result<Vec<_>, redb::Error>>()
        };
        let mut changes = Vec::new();
        for lifted in read().map_err(told)? {
            let lifted = lifted.ok_or_else(|| self.unreadable())?;
            if self.find(lifted.id())?.is_none() {
                changes.push(Change::Lift(lifted));
            }
        }
        Ok(Some(changes))
    }
}

/// A new file.
fn begin(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(ENDS)?;
    transaction.open_table(LIFTED)?;
    transaction.open_table(ABOUT)?.insert(FORMAT, THIS_FORMAT)?;
    Ok(transaction.commit()?)
}

/// Gives this commit its number.
fn count(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    let mut about = transaction.open_table(ABOUT)?;
    let commit = about.get(COMMITS)?.map_or(0, |commits| commits.value()).saturating_add(1);
    about.insert(COMMITS, commit)?;
    Ok(commit)
}

type Records<'t> = Table<'t, Id<'static>, &'static [u8]>;
type About<'t> = Table<'t, &'static str, u64>;
type Ends<'t> = Table<'t, &'static EndKey, ()>;

fn make(records: &mut Records<'_>, ends: &mut Ends<'_>, change: &Change) -> Result<(), redb::Error> {
    let id = change.id();
    let before = records.get(id.as_bytes())?.and_then(|before| Revocation::from_bytes(before.value()));
    if let Some(end) = before.as_ref().and_then(|before| before.until) {
        ends.remove(&end_key(end, *id.as_bytes()))?;
    }
    match change {
        Change::Add(new) => {
            let new = match &before {
                Some(before) => new.clone().in_place_of(before),
                None => new.clone(),
            };
            records.insert(id.as_bytes(), new.to_bytes().as_slice())?;
            if let Some(end) = new.until {
                ends.insert(&end_key(end, *id.as_bytes()), ())?;
            }
        }
        Change::Lift(_) => drop(records.remove(id.as_bytes())?),
    }
    Ok(())
}

/// Sorts by the whole second in which it ends.
fn end_key(end: Timestamp, id: [u8; 16]) -> EndKey {
    let seconds = u64::try_from(end.as_secs()).unwrap_or(0).to_be_bytes();
    let mut key = [0; 24];
    let (first, second) = key.split_at_mut(8);
    first.copy_from_slice(&seconds);
    second.copy_from_slice(&id);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock_watch::testing::sure;
    use crate::core::revocation::{Kind as Of, Rule, Target, Whose};

    #[test]
    fn what_is_put_again_while_the_ended_are_taken_out_stays() {
        let (folder, made_at) = (tempfile::tempdir().unwrap(), Timestamp::from_secs(1_800_000_000));
        let file = ListFile::open(folder.path(), &Backend::default()).unwrap();
        let ending = |value: &str, seconds| {
            let target = Target { kind: Of::Sid, whose: Whose::All, value: value.to_owned() };
            let until = Some(made_at.plus(Duration::from_secs(seconds)));
            Revocation { until, ..Revocation::new(target, Rule::Outright, made_at) }
        };
        let put = |ending: &Revocation| file.write(&[Change::Add(ending.clone())]).unwrap();
        let [renewed, over] = ["renewed", "over"].map(|value| ending(value, 10));
        put(&renewed);
        put(&over);
        let now = made_at.plus(Duration::from_secs(100));
        let ended = file.ended(now, 10).unwrap();
        assert_eq!(ended.len(), 2);
        // By whoever writes, before the commit of whoever takes out.
        let renewed = ending("renewed", 1000);
        put(&renewed);
        file.take_out(&ended).unwrap();
        assert_eq!(file.find(over.id()).unwrap(), None);
        assert_eq!(file.find(renewed.id()).unwrap(), Some(renewed.clone()));
        // It ends by its new end.
        let later = made_at.plus(Duration::from_secs(1100));
        assert_eq!(file.take_out_ended(sure(later), 10).unwrap(), 1);
        assert_eq!(file.find(renewed.id()).unwrap(), None);
    }
}
