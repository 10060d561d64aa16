//! What is still to be done, by what it concerns. However often it is asked for, one errand at a time does
//! it, and takes over what is asked for meanwhile. So whoever asks over and over during an outage does not
//! leave an errand each time.
//!
//! It must never lose what was asked for: whoever begins takes everything, and looks once more before it
//! ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What came, for each thing that somebody is at, since they took what there was.
type Left<K, V> = HashMap<K, Option<V>>;

#[derive(Debug)]
pub struct Backlog<K: Eq + Hash, V>(Arc<Mutex<Left<K, V>>>);

impl<K: Eq + Hash, V> Default for Backlog<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Whoever has it does all that is to be done of one thing.
#[derive(Debug)]
pub struct Turn<K: Eq + Hash, V> {
    left: Arc<Mutex<Left<K, V>>>,
    of: K,
    is_over: bool,
}

impl<K: Eq + Hash + Clone, V> Backlog<K, V> {
    /// Leaves something to do, `join`ed with what is left already. Returns the turn to the caller, who then
    /// does it; `None`: somebody is at it, and does this too.
    pub fn leave(&self, of: K, new: V, join: impl FnOnce(&mut V, V)) -> Option<Turn<K, V>> {
        match lock(&self.0).entry(of.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Some(new));
                Some(Turn { left: Arc::clone(&self.0), of, is_over: false })
            }
            Entry::Occupied(mut held) => {
                match held.get_mut() {
                    Some(left) => join(left, new),
                    none => *none = Some(new),
                }
                None
            }
        }
    }
}

impl<K: Eq + Hash, V> Turn<K, V> {
    pub const fn of(&self) -> &K {
        &self.of
    }

    /// What came since this was asked last.
    pub fn came(&mut self) -> Option<V> {
        if self.is_over { None } else { lock(&self.left).get_mut(&self.of)?.take() }
    }

    /// The same; where nothing came the turn is over, and whoever leaves something next has another.
    pub fn take(&mut self) -> Option<V> {
        if self.is_over {
            return None;
        }
        let mut all = lock(&self.left);
        let came = all.get_mut(&self.of).and_then(Option::take);
        if came.is_none() {
            all.remove(&self.of);
            self.is_over = true;
        }
        came
    }
}

/// Also of a task that panics: others may go on.
impl<K: Eq + Hash, V> Drop for Turn<K, V> {
    fn drop(&mut self) {
        if !self.is_over {
            lock(&self.left).remove(&self.of);
        }
    }
}

fn lock<K, V>(left: &Mutex<Left<K, V>>) -> MutexGuard<'_, Left<K, V>> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(backlog: &Backlog<char, Vec<u8>>, of: char, number: u8) -> Option<Turn<char, Vec<u8>>> {
        backlog.leave(of, vec![number], |left, new| left.extend(new))
    }

    #[test]
    fn one_at_a_time_does_all_that_is_left_of_one_thing() {
        let backlog = Backlog::default();
        let mut turn = leave(&backlog, 'a', 1).unwrap();
        assert!(leave(&backlog, 'a', 2).is_none());
        let mut other = leave(&backlog, 'b', 9).unwrap();
        assert_eq!((turn.take(), other.take()), (Some(vec![1, 2]), Some(vec![9])));
        assert_eq!((turn.of(), other.of()), (&'a', &'b'));
        // What comes while it is done.
        assert!(leave(&backlog, 'a', 3).is_none() && leave(&backlog, 'a', 4).is_none());
        assert_eq!((turn.came(), turn.came()), (Some(vec![3, 4]), None));
        assert!(leave(&backlog, 'a', 5).is_none());
        assert_eq!((turn.take(), turn.take()), (Some(vec![5]), None));
        // It is over: whoever comes next does it, and what is left of the old turn takes nothing away.
        let mut next = leave(&backlog, 'a', 6).unwrap();
        assert_eq!(turn.take(), None);
        drop(turn);
        assert!(leave(&backlog, 'a', 7).is_none());
        assert_eq!(next.take(), Some(vec![6, 7]));
    }

    #[test]
    fn a_turn_that_ends_in_the_middle_hinders_nobody() {
        let backlog = Backlog::default();
        let turn = leave(&backlog, 'a', 1).unwrap();
        drop(turn);
        assert_eq!(leave(&backlog, 'a', 2).unwrap().take(), Some(vec![2]));
    }
}
