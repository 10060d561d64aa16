//! What the tables have of the log and the file may lack, because it is being written, is shut, or its disk
//! hangs. It was answered, and this replica may be the only one that has it: a Redis that lost it gets it
//! back from here, too.
//!
//! It is bounded: of a file that cannot be written for long the latest changes are kept. So is what is heard
//! while the list is read whole: a Redis that lost a long list is given all of it back, by every replica, and
//! each hears that.

use std::collections::{HashSet, VecDeque};

use crate::core::revocation::{Change, Revocation};
use crate::io::revocations::file::Position;

/// How many changes are kept.
const KEPT: usize = 100_000;
/// For how many there is room where there are none.
const FEW: usize = 1_000;

/// In the order of the log.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    changes: VecDeque<(Position, Change)>,
    /// How many there were ever, and up to which of them the file has all.
    taken: u64,
    written: u64,
    /// Some between them are not here.
    has_gap: bool,
}

impl Unwritten {
    pub(super) fn take(&mut self, changes: impl IntoIterator<Item = (Position, Change)>) {
        for change in changes {
            if self.changes.len() == KEPT {
                self.changes.pop_front();
            }
            self.taken += 1;
            self.changes.push_back(change);
        }
    }

    /// Takes what was heard of Redis after it. `is_compared`: Redis has all that stood here before. Else that
    /// is not to give way to what Redis has: what there is no room for is the earliest of what was heard.
    pub(super) fn take_heard(&mut self, heard: Self, is_compared: bool) {
        let room = if is_compared { KEPT } else { KEPT - self.changes.len() };
        let left_out = heard.changes.len().saturating_sub(room);
        let too_many = heard.taken - heard.changes.len() as u64 + left_out as u64;
        if too_many > 0 && is_compared {
            self.changes.clear();
        }
        self.has_gap |= too_many > 0 && !is_compared;
        self.taken += too_many;
        self.take(heard.changes.into_iter().skip(left_out));
    }

    /// The file has all up to here.
    pub(super) fn drop_written(&mut self, up_to: Position) {
        let has = |at: &Position| at.epoch == up_to.epoch && at.seq <= up_to.seq;
        let count = self.changes.iter().take_while(|(at, _)| has(at)).count();
        self.changes.drain(..count);
        if self.changes.is_empty() {
            self.changes.shrink_to(FEW);
        }
        // What there was no room for stood before these.
        if !self.has_gap && (count > 0 || self.changes.is_empty()) {
            self.written = self.taken - self.changes.len() as u64;
        }
    }

    /// All of it counts in another log up to here.
    pub(super) fn move_to(&mut self, begin: Position) {
        self.changes.iter_mut().for_each(|(at, _)| *at = begin);
        self.has_gap = false;
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

    #[test]
    fn twice_as_much_as_is_kept_takes_no_more_room_and_none_when_it_is_written() {
        let mut unwritten = Unwritten::default();
        unwritten.take((1..=2 * KEPT as u64).map(|n| (at(7, n), Change::Add(entry(n % 10)))));
        assert_eq!((unwritten.changes.len(), unwritten.taken()), (KEPT, 2 * KEPT as u64));
        assert!(unwritten.changes.capacity() < 2 * KEPT, "{}", unwritten.changes.capacity());
        unwritten.drop_written(at(7, 2 * KEPT as u64));
        assert!(unwritten.changes.capacity() < 2 * FEW, "{}", unwritten.changes.capacity());
    }

    #[test]
    fn what_redis_may_lack_does_not_give_way_to_what_was_heard_of_it_and_all_of_that_is_counted() {
        let kept = KEPT as u64;
        for (is_compared, heard, stands) in [
            (false, kept - 2, true),
            (false, kept + 10, true),
            (false, 3 * kept, true),
            (true, kept - 2, true),
            (true, kept + 10, false),
        ] {
            let (mut unwritten, mut noise) = (Unwritten::default(), Unwritten::default());
            unwritten.take([(at(7, 1), Change::Add(entry(1))), (at(7, 2), Change::Add(entry(2)))]);
            noise.take((1..=heard).map(|n| (at(8, n), Change::Lift(entry(3)))));
            unwritten.take_heard(noise, is_compared);
            let still = if stands { vec![entry(2), entry(1)] } else { Vec::new() };
            assert_eq!(unwritten.standing(), still, "{is_compared} {heard}");
            assert_eq!((unwritten.taken(), unwritten.changes.len()), (heard + 2, KEPT));
            assert!(unwritten.changes.capacity() < 2 * KEPT);
            unwritten.drop_written(at(7, 2));
            let written = if stands && heard < kept { 2 } else { 0 };
            assert_eq!(unwritten.written(), written, "{is_compared} {heard}: not all before is written");
            unwritten.move_to(at(8, heard));
            unwritten.drop_written(at(8, heard));
            assert_eq!(unwritten.written(), heard + 2, "whoever waits for the file is answered");
        }
    }
}
