//! The list of revocations that the simulated replicas share, and what each makes of it: the real tables,
//! kept in step with a log that is cut short, as `io/revocations/redis` does it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use tollgate::core::clock_watch::ClockWatch;
use tollgate::core::revocation::{Change, GrantIdentity, Revocation, RevocationId, TokenIdentity};
use tollgate::core::time::Timestamp;
use tollgate::state::revocations::Revocations;

/// How many changes the log keeps, how many are read at once, and how many records.
const LOG: usize = 6;
const PAGE: usize = 3;
const PIECE: usize = 8;

type Records = BTreeMap<RevocationId, Revocation>;

fn change(records: &mut Records, change: Change) -> Change {
    match change {
        Change::Add(new) => {
            let id = new.id();
            let new = match records.get(&id) {
                Some(old) => new.in_place_of(old),
                None => new,
            };
            records.insert(id, new.clone());
            Change::Add(new)
        }
        Change::Lift(old) => {
            records.remove(&old.id());
            Change::Lift(old)
        }
    }
}

/// The truth.
#[derive(Default)]
pub(crate) struct SharedList {
    pub(crate) records: Records,
    log: VecDeque<(u64, Change)>,
    seq: u64,
    /// When each change was acknowledged, from the first on.
    made_at: Vec<i64>,
}

impl SharedList {
    pub(crate) fn append(&mut self, new: Change, now: i64) {
        let new = change(&mut self.records, new);
        self.seq += 1;
        self.made_at.push(now);
        self.log.push_back((self.seq, new));
        if self.log.len() > LOG {
            self.log.pop_front();
        }
    }

    pub(crate) fn refuses_token(&self, token: &TokenIdentity<'_>, now: Timestamp) -> bool {
        self.records.values().any(|revocation| revocation.refuses_token(token, now))
    }
}

/// Where a replica is that reads the list whole.
#[derive(Clone, Copy)]
struct Resync {
    begin: u64,
    after: Option<RevocationId>,
}

/// What one replica knows of the list.
pub(crate) struct OwnList {
    pub(crate) tables: Revocations,
    records: Records,
    cursor: Option<u64>,
    resync: Option<Resync>,
    /// Its file, which is behind.
    file: (Records, Option<u64>),
    /// Since when it is in touch with the list.
    pub(crate) in_touch_since: i64,
}

impl OwnList {
    pub(crate) fn new() -> Self {
        Self::of_file((Records::new(), Some(0)), 0)
    }

    fn of_file(file: (Records, Option<u64>), now: i64) -> Self {
        let tables = Revocations::new([7; 16]);
        tables.mark_complete();
        let loaded: Vec<_> = file.0.values().cloned().map(Change::Add).collect();
        tables.apply(&loaded);
        let (records, cursor) = file.clone();
        Self { tables, records, cursor, resync: None, file, in_touch_since: now }
    }

    /// What a process that was killed leaves to the next.
    pub(crate) fn restarted(&self, now: i64) -> Self {
        Self::of_file(self.file.clone(), now)
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.cursor.is_some()
    }

    pub(crate) fn is_up_to_date(&self, shared: &SharedList) -> bool {
        self.resync.is_none() && self.cursor == Some(shared.seq)
    }

    /// Whether it has everything that was acknowledged before this moment.
    pub(crate) fn has_all_until(&self, shared: &SharedList, moment: i64) -> bool {
        let needed = shared.made_at.partition_point(|made| *made <= moment);
        self.cursor.is_some_and(|cursor| cursor >= u64::try_from(needed).expect("few"))
    }

    fn apply(&mut self, new: Change) {
        self.tables.apply(std::slice::from_ref(&new));
        change(&mut self.records, new);
    }

    /// One step nearer to the truth. Gives whether another is needed. `writes`: the file is written.
    pub(crate) fn follow(&mut self, shared: &SharedList, writes: bool) -> bool {
        if let Some(resync) = self.resync {
            self.read_whole(shared, resync);
        } else {
            let first = shared.log.front().map_or(1, |(seq, _)| *seq);
            match self.cursor {
                Some(cursor) if cursor >= first || first == 1 => {
                    let news: Vec<_> =
                        shared.log.iter().filter(|(seq, _)| *seq > cursor).take(PAGE).cloned().collect();
                    for (seq, new) in news {
                        self.apply(new);
                        self.cursor = Some(seq);
                    }
                }
                _ => self.resync = Some(Resync { begin: shared.seq, after: None }),
            }
        }
        if writes {
            self.file = (self.records.clone(), self.cursor);
        }
        !self.is_up_to_date(shared)
    }

    fn read_whole(&mut self, shared: &SharedList, resync: Resync) {
        let from = resync.after.map_or(Bound::Unbounded, Bound::Excluded);
        let piece: Vec<_> = shared.records.range((from, Bound::Unbounded)).take(PIECE).collect();
        if let Some((last, _)) = piece.last() {
            self.resync = Some(Resync { after: Some(**last), ..resync });
            for (_, revocation) in piece {
                self.apply(Change::Add(revocation.clone()));
            }
            return;
        }
        // What only this replica has was lifted while it was away.
        let is_lifted = |own: &&Revocation| !shared.records.contains_key(&own.id());
        let lifted: Vec<_> = self.records.values().filter(is_lifted).cloned().collect();
        for lifted in lifted {
            self.apply(Change::Lift(lifted));
        }
        (self.cursor, self.resync) = (Some(resync.begin), None);
    }

    /// Its tables decide as the whole list does.
    pub(crate) fn must_agree(
        &self,
        shared: &SharedList,
        grants: &[GrantIdentity<'_>],
        tokens: &[TokenIdentity<'_>],
        now: Timestamp,
    ) {
        let sure = ClockWatch::trusting(now).look(now, Duration::ZERO);
        self.tables.sweep(sure.expect("a moment"));
        for grant in grants {
            let refused = shared.records.values().any(|revocation| revocation.refuses_grant(grant, now));
            assert_eq!(self.tables.admits_grant(grant, now), Ok(!refused), "{grant:?} at {now:?}");
        }
        for token in tokens {
            let admitted =
                self.tables.admit_token(&self.tables.marks_of(token), token.issued_at, now).is_ok();
            assert_eq!(admitted, !shared.refuses_token(token, now), "{token:?} at {now:?}");
        }
    }
}
