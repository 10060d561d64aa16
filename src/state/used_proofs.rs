//! Which proofs of possession were used (RFC 9449 section 11.1), for as long as each would be good by its age. Memory of
//! this process alone: another replica, and this one after a restart, knows nothing of them.
//!
//! It must never forget one that could be used again: where there is no more room no new one is taken. There are two:
//! that of the routes is filled by whoever has a token and the key that it is bound to; that of the token endpoint by
//! whoever has a session, or makes up codes for as long as the brake lets them, with any keys. Neither can keep the other
//! from its work.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::core::time::Timestamp;
use crate::core::token::binding::Thumbprint;
use crate::core::token::dpop::{Plausible, Proven};

/// In so many parts, by the key that proofs are made with.
const PARTS: usize = 32;
/// What one takes, in its two places, rather too many bytes than too few.
const ROOM: u64 = 72;
/// There is room for so many, whatever the configuration says.
const LEAST: usize = 64 * 1024;
/// How many that are over are dropped with each new one: more than come, and never so many that somebody waits.
const SWEPT: usize = 8;
/// And in each part where there is no room for one.
const SWEPT_FOR_ROOM: usize = 4096;

type Id = [u8; 16];

/// What came of noting a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    First,
    Again,
    /// Nobody can say, because there is no room for it.
    NoRoom,
}

#[derive(Debug)]
pub struct UsedProofs {
    parts: [Mutex<Part>; PARTS],
    /// In all parts.
    held: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Debug, Default)]
struct Part {
    used: HashSet<Id, RandomState>,
    /// The same, by the second from which on they are too old.
    ending: BTreeMap<i64, Vec<Id>>,
}

impl UsedProofs {
    /// `limit`: in bytes.
    pub fn new(limit: u64) -> Self {
        let parts = std::array::from_fn(|_| Mutex::default());
        let made = Self { parts, held: AtomicUsize::new(0), most: AtomicUsize::new(LEAST) };
        made.set_limit(limit);
        made
    }

    /// The memory may have this many bytes from now on.
    pub fn set_limit(&self, limit: u64) {
        let most = usize::try_from(limit / ROOM).unwrap_or(usize::MAX);
        self.most.store(most.max(LEAST), Ordering::Relaxed);
    }

    /// How many are remembered.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether it was used, whoever made it.
    pub fn knows(&self, proof: &Plausible<'_>, now: Timestamp) -> bool {
        let Some(part) = self.part_of(&proof.key()) else { return false };
        let mut part = lock(part);
        self.sweep(&mut part, SWEPT, now);
        part.used.contains(proof.id())
    }

    /// Notes a proof that holds.
    pub fn note(&self, proof: &Proven, now: Timestamp) -> Use {
        match self.try_to_note(proof, now) {
            Use::NoRoom => {
                self.parts.iter().for_each(|part| self.sweep(&mut lock(part), SWEPT_FOR_ROOM, now));
                self.try_to_note(proof, now)
            }
            told => told,
        }
    }

    fn try_to_note(&self, proof: &Proven, now: Timestamp) -> Use {
        let Some(part) = self.part_of(&proof.key) else { return Use::NoRoom };
        let mut part = lock(part);
        self.sweep(&mut part, SWEPT, now);
        if part.used.contains(&proof.id) {
            return Use::Again;
        }
        if !self.has_room(part.used.len()) {
            return Use::NoRoom;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        part.used.insert(proof.id);
        let over = proof.until.as_secs().saturating_add(1);
        part.ending.entry(over).or_default().push(proof.id);
        Use::First
    }

    fn part_of(&self, key: &Thumbprint) -> Option<&Mutex<Part>> {
        let [first, ..] = *key.bytes();
        self.parts.get(usize::from(first) % PARTS)
    }

    fn sweep(&self, part: &mut Part, most: usize, now: Timestamp) {
        self.held.fetch_sub(part.sweep(most, now), Ordering::Relaxed);
    }

    /// Whether one more may be kept in a part with so many. One part may fill half of all; beyond that there is room for
    /// those with less than a quarter.
    fn has_room(&self, in_part: usize) -> bool {
        let (held, most) = (self.held.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        held < most && (held < most / 2 || in_part < most / 4)
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    /// Drops some of what is over; how many it were.
    fn sweep(&mut self, most: usize, now: Timestamp) -> usize {
        let mut dropped = 0;
        for _ in 0..most {
            let Some(mut oldest) = self.ending.first_entry() else {
                // What a flood took is given back.
                self.used.shrink_to(LEAST / PARTS);
                break;
            };
            if *oldest.key() > now.as_secs() {
                break;
            }
            match oldest.get_mut().pop() {
                Some(id) => dropped += usize::from(self.used.remove(&id)),
                None => drop(oldest.remove()),
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::digest::of_parts;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn proof(key: &str, jti: u64, lives: u64) -> Proven {
        let [digest, key_digest] = [jti.to_string(), key.to_owned()].map(|text| of_parts(&[text.as_bytes()]));
        let key = Thumbprint::from_digest(key_digest);
        let id = *of_parts(&[&key_digest, &digest]).first_chunk().unwrap();
        Proven { key, id, until: NOW.plus(Duration::from_secs(lives)) }
    }

    #[test]
    fn a_proof_is_used_once_for_as_long_as_it_would_be_good() {
        let used = UsedProofs::new(1 << 20);
        let one = proof("a", 1, 60);
        assert_eq!(used.note(&one, NOW), Use::First);
        for later in [0, 1, 59, 60] {
            let then = NOW.plus(Duration::from_secs(later));
            assert_eq!(used.note(&one, then), Use::Again, "{later}");
            let other = proof("a", 1000 + later, 200);
            assert_eq!(used.note(&other, then), Use::First);
            assert_eq!(used.note(&other, then), Use::Again);
        }
        assert_eq!(used.note(&proof("b", 1, 60), NOW), Use::First, "another key's");
    }

    /// How many of so many proofs of a key are taken.
    fn taken(
        used: &UsedProofs,
        key: &str,
        jtis: std::ops::Range<usize>,
        lives: u64,
        now: Timestamp,
    ) -> usize {
        jtis.filter(|jti| used.note(&proof(key, *jti as u64, lives), now) == Use::First).count()
    }

    #[test]
    fn what_is_over_makes_room_and_what_is_not_never_does() {
        let used = UsedProofs::new(0);
        assert_eq!(taken(&used, "a", 0..LEAST, 60, NOW), LEAST / 2, "one key has half of it");
        assert_eq!(used.note(&proof("a", LEAST as u64, 60), NOW), Use::NoRoom);
        assert_eq!(used.note(&proof("a", 7, 60), NOW), Use::Again, "none was forgotten for it");
        // All others together have the rest, and none of them more than a quarter. A few have their place beside the first.
        let others: usize = (0..64).map(|key| taken(&used, &format!("key {key}"), 0..64, 60, NOW)).sum();
        assert!((55 * 64..=64 * 64).contains(&others), "{others}");
        assert_eq!(used.held.load(Ordering::Relaxed), LEAST / 2 + others);
        let later = NOW.plus(Duration::from_secs(61));
        assert_eq!(taken(&used, "a", LEAST..LEAST + LEAST / 4, 200, later), LEAST / 4);
        let held: usize = used.parts.iter().map(|part| part.lock().unwrap().used.len()).sum();
        assert_eq!(used.held.load(Ordering::Relaxed), held);
        assert!(held < LEAST / 2, "{held}");
    }

    #[test]
    fn it_may_take_as_many_bytes_as_the_configuration_says() {
        let used = UsedProofs::new(0);
        assert_eq!(used.most.load(Ordering::Relaxed), LEAST);
        used.set_limit(ROOM * 1_000_000);
        assert_eq!(used.most.load(Ordering::Relaxed), 1_000_000);
    }

    #[test]
    fn many_at_once_are_told_apart() {
        let used = UsedProofs::new(1 << 20);
        let first = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for jti in 0..500 {
                        if used.note(&proof("a", jti, 60), NOW) == Use::First {
                            first.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(first.into_inner(), 500);
    }
}
