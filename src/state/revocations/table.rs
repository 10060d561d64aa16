//! The marks of one kind with what is known of each. Most lookups end at the [`Filter`] in front, which takes
//! no lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::filter::Filter;
use crate::core::clock_watch::SureTime;
use crate::core::revocation::marks::{Mark, Pair};
use crate::core::revocation::standing::{End, Standing};
use crate::core::revocation::{Change, Rule};
use crate::core::time::Timestamp;

/// What a table knows of one mark.
pub(super) trait Known: Copy + Default + Send + Sync {
    fn change(&mut self, change: &Change);
    fn refuses(&self, since: Timestamp, now: Timestamp) -> bool;
    fn is_worth_keeping(&self, now: Timestamp) -> bool;
    /// Whether everything said of it was lifted.
    fn is_nothing(&self) -> bool;
}

impl Known for Standing {
    fn change(&mut self, change: &Change) {
        Self::change(self, change);
    }

    fn refuses(&self, since: Timestamp, now: Timestamp) -> bool {
        Self::refuses(self, since, now)
    }

    fn is_worth_keeping(&self, now: Timestamp) -> bool {
        Self::is_worth_keeping(self, now)
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Its end is enough to know of what is only ever refused outright.
impl Known for End {
    fn change(&mut self, change: &Change) {
        let revocation = change.revocation();
        debug_assert_eq!(revocation.rule, Rule::Outright);
        *self = match change {
            Change::Add(_) => Self::of(revocation.until),
            Change::Lift(_) => Self::NEVER_WAS,
        };
    }

    fn refuses(&self, _: Timestamp, now: Timestamp) -> bool {
        self.is_ahead(now)
    }

    fn is_worth_keeping(&self, now: Timestamp) -> bool {
        self.is_ahead(now)
    }

    fn is_nothing(&self) -> bool {
        *self == Self::NEVER_WAS
    }
}

/// Marks of one kind.
#[derive(Debug)]
pub(super) struct Table<V> {
    /// How many parts.
    cut: usize,
    /// From the first change on: most lists are empty for ever, and most kinds are never named.
    parts: OnceLock<Box<[Part<V>]>>,
    filter: Filter,
    len: AtomicUsize,
}

type Held<V> = HashMap<Mark, V, BuildHasherDefault<MarkHasher>>;

/// A part grows by itself and is locked by itself, so that nothing waits for long. On a line of a cache of
/// its own.
#[derive(Debug)]
#[repr(align(64))]
struct Part<V>(RwLock<Held<V>>);

impl<V> Default for Part<V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<V> Part<V> {
    fn read(&self) -> RwLockReadGuard<'_, Held<V>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held<V>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Known> Table<V> {
    /// `cut`: into how many parts, a power of two.
    pub(super) fn new(cut: usize) -> Self {
        Self { cut, parts: OnceLock::new(), filter: Filter::default(), len: AtomicUsize::new(0) }
    }

    fn parts(&self) -> &[Part<V>] {
        self.parts.get_or_init(|| (0..self.cut).map(|_| Part::default()).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn part(&self, mark: Mark) -> Option<&Part<V>> {
        // A map chooses by the highest bits and the lowest.
        let at = (mark.high_bits() >> 40) as usize & self.cut.wrapping_sub(1);
        self.parts().get(at)
    }

    #[inline]
    pub(super) fn refuses(&self, mark: Mark, since: Timestamp, now: Timestamp) -> bool {
        self.filter.may_have(mark) && self.knows_against(mark, since, now)
    }

    /// Apart, so that what most lookups do is short.
    #[cold]
    #[inline(never)]
    fn knows_against(&self, mark: Mark, since: Timestamp, now: Timestamp) -> bool {
        let Some(part) = self.part(mark) else { return false };
        part.read().get(&mark).is_some_and(|known| known.refuses(since, now))
    }

    /// Whether it may refuse anything at all.
    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        self.filter.is_in_use()
    }

    pub(super) fn change(&self, mark: Mark, change: &Change) {
        let Some(part) = self.part(mark) else { return };
        let mut held = part.write();
        match held.entry(mark) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().change(change);
                if entry.get().is_nothing() {
                    entry.remove();
                    self.len.fetch_sub(1, Ordering::AcqRel);
                }
            }
            Entry::Vacant(entry) => {
                let mut known = V::default();
                known.change(change);
                if !known.is_nothing() {
                    entry.insert(known);
                    self.len.fetch_add(1, Ordering::AcqRel);
                    self.filter.add(mark);
                }
            }
        }
        drop(held);
        if self.filter.is_full() {
            self.filter.fill(self.len(), |part, each| {
                self.parts().get(part).map(|part| part.read().keys().copied().for_each(each))
            });
        }
    }

    pub(super) fn sweep(&self, now: SureTime) {
        // Where nothing ever changed there is nothing to forget.
        for part in self.parts.get().into_iter().flatten() {
            part.write().retain(|_, known| {
                let stays = known.is_worth_keeping(now.at());
                if !stays {
                    self.len.fetch_sub(1, Ordering::AcqRel);
                }
                stays
            });
        }
    }
}

/// Values of one issuer, and values of all.
#[derive(Debug)]
pub(super) struct Scoped<V> {
    one: Table<V>,
    all: Table<V>,
}

impl<V: Known> Scoped<V> {
    pub(super) fn new(parts: usize) -> Self {
        Self { one: Table::new(parts), all: Table::new(parts) }
    }

    pub(super) const fn of(&self, all: bool) -> &Table<V> {
        if all { &self.all } else { &self.one }
    }

    pub(super) const fn both(&self) -> [&Table<V>; 2] {
        [&self.one, &self.all]
    }

    pub(super) fn len(&self) -> usize {
        self.one.len() + self.all.len()
    }

    #[inline]
    pub(super) fn refuses(&self, marks: Option<&Pair>, since: Timestamp, now: Timestamp) -> bool {
        // Marks are read only where there is something to compare them with: they are seldom in a cache.
        self.is_in_use()
            && marks.is_some_and(|marks| {
                self.one.refuses(marks.here, since, now) || self.all.refuses(marks.anywhere, since, now)
            })
    }

    #[inline]
    fn is_in_use(&self) -> bool {
        self.one.is_in_use() || self.all.is_in_use()
    }
}

/// A mark is a hash already.
#[derive(Debug, Default)]
struct MarkHasher(u64);

impl Hasher for MarkHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "marks hash as one number");
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
}
