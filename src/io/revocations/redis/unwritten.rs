//! What the tables have of the log and the file may lack, because it is being written, is shut, or its disk hangs. It was
//! answered, and this replica may be the only one that has it: a Redis that lost it gets it back from here, too.
//!
//! It is bounded: of a file that cannot be written for long the latest changes are kept.

use std::collections::{HashSet, VecDeque};

use crate::core::revocation::{Change, Revocation};
use crate::io::revocations::file::Position;

/// How many changes are kept.
const KEPT: usize = 100_000;

/// In the order of the log.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    changes: VecDeque<(Position, Change)>,
    /// How many there were ever, and up to which of them the file has all.
    taken: u64,
    written: u64,
}

impl Unwritten {
    pub(super) fn take(&mut self, changes: impl IntoIterator<Item = (Position, Change)>) {
        for change in changes {
            self.taken += 1;
            self.changes.push_back(change);
        }
        let excess = self.changes.len().saturating_sub(KEPT);
        self.changes.drain(..excess);
    }

    /// The file has all up to here.
    pub(super) fn drop_written(&mut self, up_to: Position) {
        let has = |at: &Position| at.epoch == up_to.epoch && at.seq <= up_to.seq;
        let count = self.changes.iter().take_while(|(at, _)| has(at)).count();
        self.changes.drain(..count);
        // What there was no room for stood before these.
        if count > 0 || self.changes.is_empty() {
            self.written = self.taken - self.changes.len() as u64;
        }
    }

    /// All of it counts in another log up to here.
    pub(super) fn move_to(&mut self, begin: Position) {
        self.changes.iter_mut().for_each(|(at, _)| *at = begin);
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// All of them, in their order.
    pub(super) fn changes(&self) -> Vec<Change> {
        self.changes.iter().map(|(_, change)| change.clone()).collect()
    }

    /// What it says now of those that were not lifted since.
    pub(super) fn standing(&self) -> Vec<Revocation> {
        let mut seen = HashSet::new();
        let latest = self.changes.iter().rev().filter(|(_, change)| seen.insert(change.id()));
        let added = latest.filter_map(|(_, change)| match change {
            Change::Add(revocation) => Some(revocation.clone()),
            Change::Lift(_) => None,
        });
        added.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::revocation::{Kind, Rule, Target, Whose};
    use crate::core::time::Timestamp;

    fn entry(value: u64) -> Revocation {
        let target = Target { kind: Kind::Jti, whose: Whose::All, value: value.to_string() };
        Revocation::new(target, Rule::Outright, Timestamp::from_secs(1))
    }

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch, seq, nonce: 0 }
    }

    #[test]
    fn what_is_written_goes_in_the_order_of_one_log_and_what_was_lifted_does_not_stand() {
        let mut unwritten = Unwritten::default();
        unwritten.take((1..=4).map(|n| (at(7, n), Change::Add(entry(n)))));
        unwritten.take([(at(7, 5), Change::Lift(entry(3)))]);
        unwritten.drop_written(at(7, 1));
        assert_eq!(unwritten.written(), 1);
        assert_eq!(unwritten.standing(), [entry(4), entry(2)]);
        unwritten.drop_written(at(8, 9));
        assert_eq!((unwritten.written(), unwritten.taken()), (1, 5), "another log says nothing of it");
        unwritten.move_to(at(8, 9));
        unwritten.drop_written(at(8, 9));
        assert_eq!((unwritten.written(), unwritten.standing().len()), (5, 0));
    }

    #[test]
    fn what_there_is_no_room_for_is_not_said_to_be_written() {
        let mut unwritten = Unwritten::default();
        let count = KEPT as u64 + 10;
        unwritten.take((1..=count).map(|n| (at(7, n), Change::Add(entry(n)))));
        assert_eq!((unwritten.standing().len(), unwritten.written()), (KEPT, 0));
        unwritten.drop_written(at(7, 5));
        assert_eq!(unwritten.written(), 0);
        unwritten.drop_written(at(7, 11));
        assert_eq!(unwritten.written(), 11);
    }
}
