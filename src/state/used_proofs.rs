//! Which proofs of possession were used (RFC 9449 section 11.1), for as long as each would be good by its age. Memory of
//! this process alone: another replica, and this one after a restart, knows nothing of them.
//!
//! It must never forget one that could be used again: where there is no more room no new one is taken. Only whoever has a
//! key, and a token or a session with it, can fill it; and only a part of it, where few other keys have their place.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ahash::RandomState;

use crate::core::time::Timestamp;
use crate::core::token::dpop::Proven;

/// In so many parts, by the key that proofs are made with.
const PARTS: usize = 32;
/// What one takes, in its two places, rather too many bytes than too few.
const ROOM: u64 = 72;
/// There is room for so many in each part, whatever the configuration says.
const LEAST: usize = 2048;
/// How many that are over are dropped with each new one: more than come, and never so many that somebody waits.
const SWEPT: usize = 8;

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
    /// In each part.
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
        let made = Self { parts: std::array::from_fn(|_| Mutex::default()), most: AtomicUsize::new(LEAST) };
        made.set_limit(limit);
        made
    }

    /// The memory may have this many bytes from now on.
    pub fn set_limit(&self, limit: u64) {
        let most = usize::try_from(limit / ROOM / PARTS as u64).unwrap_or(usize::MAX);
        self.most.store(most.max(LEAST), Ordering::Relaxed);
    }

    /// Notes a proof that holds.
    pub fn note(&self, proof: &Proven, now: Timestamp) -> Use {
        let [first, ..] = *proof.key.bytes();
        let Some(part) = self.parts.get(usize::from(first) % PARTS) else { return Use::NoRoom };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.sweep(now);
        if part.used.contains(&proof.id) {
            return Use::Again;
        }
        if part.used.len() >= self.most.load(Ordering::Relaxed) {
            return Use::NoRoom;
        }
        part.used.insert(proof.id);
        let over = proof.until.as_secs().saturating_add(1);
        part.ending.entry(over).or_default().push(proof.id);
        Use::First
    }
}

impl Part {
    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT {
            let Some(mut oldest) = self.ending.first_entry() else {
                // What a flood took is given back.
                self.used.shrink_to(LEAST);
                return;
            };
            if *oldest.key() > now.as_secs() {
                return;
            }
            match oldest.get_mut().pop() {
                Some(id) => drop(self.used.remove(&id)),
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
    use crate::core::token::binding::Thumbprint;

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

    #[test]
    fn what_is_over_makes_room_and_what_is_not_never_does() {
        let used = UsedProofs::new(0);
        let most = LEAST as u64;
        for jti in 0..most {
            assert_eq!(used.note(&proof("a", jti, 60), NOW), Use::First);
        }
        assert_eq!(used.note(&proof("a", most, 60), NOW), Use::NoRoom);
        assert_eq!(used.note(&proof("a", 7, 60), NOW), Use::Again, "none was forgotten for it");
        // The rest, made later, whose keys have their place elsewhere.
        let elsewhere = (0..100).map(|key| proof(&format!("key {key}"), 1, 60));
        assert!(elsewhere.filter(|proof| used.note(proof, NOW) == Use::First).count() > 80);
        let later = NOW.plus(Duration::from_secs(61));
        for jti in most..2 * most {
            assert_eq!(used.note(&proof("a", jti, 200), later), Use::First, "{jti}");
        }
        let held: usize = used.parts.iter().map(|part| part.lock().unwrap().used.len()).sum();
        assert!(held < 2 * LEAST, "{held}");
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
