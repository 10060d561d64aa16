//! Which proofs of possession were used (RFC 9449 section 11.1), for as long as each would be good by its age. Memory of
//! this process alone: another replica, and this one after a restart, knows nothing of them.
//!
//! It must never forget one that could be used again: where there is no more room no new one is taken. There are two:
//! that of the routes is filled by whoever has a token and the key that it is bound to; that of the token endpoint by
//! whoever has a session, or makes up codes for as long as the brake lets them, with any keys. Neither can keep the other
//! from its work.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::core::time::Timestamp;
use crate::core::token::binding::Thumbprint;
use crate::core::token::dpop::{Plausible, Proven};

/// In so many parts, so that not everybody waits for one lock. By the proof: who chooses its `jti` may choose the part, and
/// gains nothing by it, because no part has a limit of its own.
const PARTS: usize = 32;
/// How many of each key there are is counted in so many places. A key has its place by a hash under a secret of the
/// process: nobody knows with whom they share it, and hardly anybody shares it with a flood.
const PLACES: usize = 1 << u16::BITS;
/// What one takes, in its two places, rather too many bytes than too few.
const ROOM: u64 = 76;
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
    /// How many there are of each key, by its place.
    of_key: Box<[AtomicU32]>,
    places: RandomState,
    /// In all parts.
    held: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Debug, Default)]
struct Part {
    used: HashSet<Id, RandomState>,
    /// The same with the places of their keys, by the second from which on they are too old.
    ending: BTreeMap<i64, Vec<(Id, u16)>>,
}

impl UsedProofs {
    /// `limit`: in bytes.
    pub fn new(limit: u64) -> Self {
        Self::with_places(limit, RandomState::new())
    }

    fn with_places(limit: u64, places: RandomState) -> Self {
        let parts = std::array::from_fn(|_| Mutex::default());
        let of_key = std::iter::repeat_with(AtomicU32::default).take(PLACES).collect();
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(LEAST));
        let made = Self { parts, of_key, places, held, most };
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
        let Some(part) = self.part_of(proof.id()) else { return false };
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
        let place = self.place_of(&proof.key);
        let (Some(part), Some(of_key)) = (self.part_of(&proof.id), self.of_key.get(usize::from(place)))
        else {
            return Use::NoRoom;
        };
        let mut part = lock(part);
        self.sweep(&mut part, SWEPT, now);
        if part.used.contains(&proof.id) {
            return Use::Again;
        }
        // Those who look at once in several parts may all find the last room: a few more than there should be.
        if !self.has_room(of_key.load(Ordering::Relaxed)) {
            return Use::NoRoom;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        of_key.fetch_add(1, Ordering::Relaxed);
        part.used.insert(proof.id);
        let over = proof.until.as_secs().saturating_add(1);
        part.ending.entry(over).or_default().push((proof.id, place));
        Use::First
    }

    fn part_of(&self, id: &Id) -> Option<&Mutex<Part>> {
        let [first, ..] = *id;
        self.parts.get(usize::from(first) % PARTS)
    }

    fn place_of(&self, key: &Thumbprint) -> u16 {
        let [one, two, ..] = self.places.hash_one(key.bytes()).to_ne_bytes();
        u16::from_ne_bytes([one, two])
    }

    fn sweep(&self, part: &mut Part, most: usize, now: Timestamp) {
        let mut dropped = 0;
        part.sweep(most, now, |place| {
            dropped += 1;
            if let Some(of_key) = self.of_key.get(usize::from(place)) {
                of_key.fetch_sub(1, Ordering::Relaxed);
            }
        });
        self.held.fetch_sub(dropped, Ordering::Relaxed);
    }

    /// Whether one more may be kept of a key with so many. One key may fill half of all; beyond that there is room for
    /// those with less than a quarter.
    fn has_room(&self, of_key: u32) -> bool {
        let (held, most) = (self.held.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        held < most && (held < most / 2 || usize::try_from(of_key).is_ok_and(|of_key| of_key < most / 4))
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    /// Drops some of what is over, and tells the places of their keys.
    fn sweep(&mut self, most: usize, now: Timestamp, mut dropped: impl FnMut(u16)) {
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
                Some((id, place)) => {
                    self.used.remove(&id);
                    dropped(place);
                }
                None => drop(oldest.remove()),
            }
        }
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
        let later = NOW.plus(Duration::from_secs(61));
        assert_eq!(taken(&used, "a", LEAST..LEAST + LEAST / 4, 200, later), LEAST / 4);
        let held: usize = used.parts.iter().map(|part| part.lock().unwrap().used.len()).sum();
        assert_eq!(used.held(), held);
        assert!(held < LEAST / 2, "{held}");
        let of_keys: u32 = used.of_key.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        assert_eq!(usize::try_from(of_keys), Ok(held));
    }

    #[test]
    fn a_flood_with_one_key_leaves_room_to_all_others() {
        let used = UsedProofs::with_places(0, RandomState::with_seeds(1, 2, 3, 4));
        taken(&used, "flood", 0..LEAST, 60, NOW);
        // One in 65,536 shares its place.
        let others: usize = (0..1000).map(|key| taken(&used, &format!("key {key}"), 0..8, 60, NOW)).sum();
        assert!(others >= 999 * 8, "{others}");
        // None of them more than a quarter of all.
        assert_eq!(taken(&used, "second", 0..LEAST, 60, NOW), LEAST / 4);
        assert_eq!(used.note(&proof("flood", LEAST as u64, 60), NOW), Use::NoRoom);
        assert_eq!(used.note(&proof("third", 1, 60), NOW), Use::First);
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
