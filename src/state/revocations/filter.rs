//! Says of most marks that a table does not have them, without a lock and with one word of memory: a Bloom
//! filter (CACM 13(7), 1970) of four bits in one word. Nothing is taken out of it; when it is full another is
//! filled from the table while this one is asked, larger or smaller as the table is by then, and put in its
//! place.
//!
//! It must never say no to a mark that the table has had since before it was asked.

use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::core::revocation::marks::Mark;

/// Marks that the smallest is made for; each size is twice the one before, up to 134 million.
const SMALLEST: usize = 1 << 10;
const SIZES: usize = 18;
/// Marks for each word: 8 bits each. A full one says maybe to one in about 35 marks that are not there, half
/// full to one in 250. More bits would cost more than that: ten million marks have to stay in a processor's
/// cache.
const IN_A_WORD: usize = 8;

type Words = Box<[AtomicU64]>;

#[derive(Debug)]
pub(super) struct Filter {
    state: AtomicUsize,
    /// Two of each size, made when they are needed: one can be filled while the other is asked.
    words: [OnceLock<Words>; 2 * SIZES],
    /// For how many more marks the one that is asked is made.
    left: AtomicIsize,
    filling: Mutex<Option<Filling>>,
}

/// Which words are asked, which are filled, and how often that changed: whoever was told no by words that
/// were given up meanwhile must ask again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(usize);

impl State {
    const BITS: u32 = 8;
    const MASK: usize = (1 << Self::BITS) - 1;

    const fn asked(self) -> Option<usize> {
        (self.0 & Self::MASK).checked_sub(1)
    }

    const fn filled(self) -> Option<usize> {
        (self.0 >> Self::BITS & Self::MASK).checked_sub(1)
    }

    fn next(self, asked: Option<usize>, filled: Option<usize>) -> Self {
        let number = |words: Option<usize>| words.map_or(0, |words| words + 1);
        let times = (self.0 >> (2 * Self::BITS)).wrapping_add(1);
        Self(times << (2 * Self::BITS) | number(filled) << Self::BITS | number(asked))
    }
}

/// How far another one is filled.
#[derive(Debug)]
struct Filling {
    /// The part of the table that comes next.
    part: usize,
    /// How many marks are in it already.
    marks: usize,
}

impl Default for Filter {
    fn default() -> Self {
        let words = std::array::from_fn(|_| OnceLock::new());
        let left = AtomicIsize::new(1 << 10);
        Self { state: AtomicUsize::new(0), words, left, filling: Mutex::default() }
    }
}

impl Filter {
    #[inline]
    fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    #[inline]
    fn words(&self, at: Option<usize>) -> Option<&[AtomicU64]> {
        self.words.get(at?)?.get().map(|words| &**words)
    }

    /// Whether anything was ever put in; if not, it has no mark at all.
    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        self.state().asked().is_some()
    }

    #[inline]
    pub(super) fn may_have(&self, mark: Mark) -> bool {
        let state = self.state();
        let Some(words) = self.words(state.asked()) else { return false };
        has(words, mark) || (self.state() != state && self.may_have_now(mark))
    }

    /// Asked again, as the words were given up in between.
    #[cold]
    #[inline(never)]
    fn may_have_now(&self, mark: Mark) -> bool {
        self.may_have(mark)
    }

    /// To be called while the part of the table that has this mark is locked for writing: so whoever fills
    /// another filter has either begun before, which is seen here, or finds the mark in the table.
    pub(super) fn add(&self, mark: Mark) {
        let mut state = self.state();
        if state.asked().is_none() {
            state = self.begin();
        }
        for words in [state.asked(), state.filled()] {
            set(self.words(words).unwrap_or_default(), mark);
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
    }

    /// The first, unless another thread was faster. It takes no lock: a part of the table is locked.
    fn begin(&self) -> State {
        self.make(0);
        let (never, first) = (State(0), State(0).next(Some(0), None));
        let _ = self.state.compare_exchange(never.0, first.0, Ordering::AcqRel, Ordering::Acquire);
        self.state()
    }

    fn change(&self, state: State) -> State {
        self.state.store(state.0, Ordering::Release);
        state
    }

    pub(super) fn is_full(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0
    }

    /// Goes on with filling another, by one part of the table, unless somebody else is at it. `len`: how many
    /// marks the table has; `each` calls for every mark of a part, `None` when there is no such part.
    pub(super) fn fill(&self, len: usize, each: impl FnOnce(usize, &mut dyn FnMut(Mark)) -> Option<()>) {
        let Ok(mut filling) = self.filling.try_lock() else { return };
        if !self.is_full() {
            return;
        }
        let state = self.state();
        let Some(Filling { part, marks }) = &mut *filling else {
            let size = size_for(len);
            // Not the one that is asked, which stays as it is until the other is whole.
            let at = if state.asked() == Some(2 * size) { 2 * size + 1 } else { 2 * size };
            self.make(at);
            // Whoever still asks these, from when they were asked before, sees by the state that he must ask
            // again.
            let used = self.words(Some(at)).unwrap_or_default();
            used.iter().for_each(|word| word.store(0, Ordering::Release));
            self.change(state.next(state.asked(), Some(at)));
            *filling = Some(Filling { part: 0, marks: 0 });
            return;
        };
        let words = self.words(state.filled()).unwrap_or_default();
        let more = each(*part, &mut |mark| {
            set(words, mark);
            *marks += 1;
        });
        if more.is_some() {
            *part += 1;
            return;
        }
        // One that is full from its beginning, as there is none larger, is not filled again at once.
        let room = (words.len() * IN_A_WORD).max(*marks + *marks / 2) - *marks;
        self.left.store(isize::try_from(room).unwrap_or(isize::MAX), Ordering::Relaxed);
        self.change(state.next(state.filled(), None));
        *filling = None;
    }

    fn make(&self, at: usize) {
        let len = (SMALLEST << (at / 2)) / IN_A_WORD;
        if let Some(words) = self.words.get(at) {
            words.get_or_init(|| (0..len).map(|_| AtomicU64::new(0)).collect());
        }
    }
}

/// Which size has room for half as many again.
fn size_for(len: usize) -> usize {
    let fits = |size: &usize| SMALLEST << size >= len + len / 2;
    (0..SIZES).find(fits).unwrap_or(SIZES - 1)
}

#[inline]
fn has(words: &[AtomicU64], mark: Mark) -> bool {
    let (at, bits) = place(mark, words.len());
    words.get(at).is_some_and(|word| word.load(Ordering::Acquire) & bits == bits)
}

fn set(words: &[AtomicU64], mark: Mark) {
    let (at, bits) = place(mark, words.len());
    if let Some(word) = words.get(at) {
        word.fetch_or(bits, Ordering::Release);
    }
}

/// A word, by the upper bits of a mark, and four bits in it, by the lower ones.
#[allow(clippy::cast_possible_truncation, reason = "a product's upper half is below the number of words")]
const fn place(mark: Mark, words: usize) -> (usize, u64) {
    let bits = mark.low_bits();
    let at = (bits as u128 * words as u128) >> 64;
    (at as usize, 1 << (bits & 63) | 1 << (bits >> 6 & 63) | 1 << (bits >> 12 & 63) | 1 << (bits >> 18 & 63))
}
#[cfg(test)]
mod tests {
    use std::sync::RwLock;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::core::revocation::marks::MarkKey;
    use crate::core::revocation::{Kind, Target, Whose};

    fn mark(n: usize) -> Mark {
        let target = Target { kind: Kind::Jti, whose: Whose::All, value: n.to_string() };
        Mark::of(&MarkKey::from_random(&[3; 16]), &target)
    }

    /// A table of four parts, as the real one uses its filter.
    #[derive(Default)]
    struct Parts {
        parts: [RwLock<Vec<Mark>>; 4],
        filter: Filter,
    }

    impl Parts {
        fn add(&self, n: usize) {
            let mut part = self.parts[n % 4].write().unwrap();
            part.push(mark(n));
            self.filter.add(mark(n));
            drop(part);
            if self.filter.is_full() {
                self.fill();
            }
        }

        fn len(&self) -> usize {
            self.parts.iter().map(|part| part.read().unwrap().len()).sum()
        }

        fn fill(&self) {
            self.filter.fill(self.len(), |part, each| {
                self.parts.get(part).map(|part| part.read().unwrap().iter().copied().for_each(each))
            });
        }

        fn size(&self) -> usize {
            self.filter.words(self.filter.state().asked()).unwrap().len() * IN_A_WORD
        }

        /// How many of 10,000 marks that nobody added may be in it.
        fn maybe(&self) -> usize {
            (0..10_000).filter(|n| self.filter.may_have(mark(usize::MAX - n))).count()
        }
    }

    #[test]
    fn what_was_added_is_found_however_many_there_are_and_little_else() {
        let parts = Parts::default();
        assert_eq!(parts.maybe(), 0);
        for n in 0..20_000 {
            parts.add(n);
            assert!(parts.filter.may_have(mark(n)));
        }
        assert!((0..20_000).all(|n| parts.filter.may_have(mark(n))));
        assert!((20_000..=64 << 10).contains(&parts.size()), "{}", parts.size());
        assert!(parts.maybe() < 500, "{} of 10,000", parts.maybe());
    }

    #[test]
    fn one_that_is_full_of_what_is_gone_is_filled_anew_and_smaller() {
        let parts = Parts::default();
        (0..10_000).for_each(|n| parts.add(n));
        let (size, mut n) = (parts.size(), 10_000);
        // Only the last hundred stay.
        while parts.size() > 1024 {
            parts.add(n);
            parts.parts.iter().for_each(|part| {
                let mut part = part.write().unwrap();
                let surplus = part.len().saturating_sub(25);
                part.drain(..surplus);
            });
            n += 1;
            assert!(n < 4 * size, "it never gets smaller");
        }
        for more in n..n + 100_000 {
            parts.add(more);
            parts.parts[more % 4].write().unwrap().remove(0);
        }
        assert_eq!(parts.size(), 1024);
        assert!((n + 99_900..n + 100_000).all(|n| parts.filter.may_have(mark(n))));
        assert!(parts.maybe() < 500, "{} of 10,000", parts.maybe());
    }

    #[test]
    fn whoever_asks_while_it_is_filled_anew_is_never_told_no_to_what_is_there() {
        const KEPT: usize = 500;
        let (parts, done) = (Parts::default(), AtomicBool::new(false));
        (0..KEPT).for_each(|n| parts.add(n));
        std::thread::scope(|scope| {
            let asking = || {
                let kept: Vec<Mark> = (0..KEPT).map(mark).collect();
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) || rounds == 0 {
                    assert!(kept.iter().all(|mark| parts.filter.may_have(*mark)));
                    rounds += 1;
                }
            };
            let adding = |from: usize| {
                let parts = &parts;
                move || {
                    // Each has its own parts.
                    for n in (from..from + 120_000).step_by(2) {
                        parts.add(n);
                        assert!(parts.filter.may_have(mark(n)));
                        // What is kept stands first.
                        parts.parts[n % 4].write().unwrap().truncate(KEPT / 4 + 50);
                    }
                }
            };
            let askers = [scope.spawn(asking), scope.spawn(asking)];
            let adders = [scope.spawn(adding(1 << 20)), scope.spawn(adding((1 << 30) + 1))];
            let added = adders.map(|adder| adder.join().is_ok());
            done.store(true, Ordering::Relaxed);
            assert!(added.into_iter().chain(askers.map(|asker| asker.join().is_ok())).all(|well| well));
        });
        let times = parts.filter.state().0 >> (2 * State::BITS);
        assert!(times > 50, "it was filled anew {times} times");
    }
}
