//! Which DPoP proofs were used (RFC 9449 section 11.1), each for as long as its age allows it to be used.
//! Memory of this process alone: other replicas, and this one after a restart, know nothing of them.
//!
//! It must never forget a proof that could be used again: when it is full, no new proof is taken. Which
//! proofs could depends on the largest `clock_skew` that ever applied. When a reload raises it, or the clock
//! is set back, all that was dropped by then stays too old.
//!
//! A proof with a nonce of the authorization server could be used for as long as that server takes the nonce.
//! It is remembered no longer than others; after that the server knows it.
//!
//! There are two of these memories. That of the routes is filled by clients with a bound token and its key,
//! that of the token endpoint by clients with a session, or with made-up codes until the brake stops them. So
//! neither can keep the other from its work. Within one each [`Holder`] has a share, whatever keys it makes.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ahash::RandomState;

use crate::core::address::ClientNetwork;
use crate::core::ids::FamilyId;
use crate::core::time::Timestamp;
use crate::core::token::binding::Thumbprint;
use crate::core::token::dpop::{LIFE, Plausible, ValidProof};

/// How many parts with a lock each there are. The proof chooses its part: a client that chooses its `jti` may
/// aim at one, and gains nothing, because no part has a limit of its own.
const PARTS: usize = 32;
/// How many counters there are for holders. A holder has its counter by a hash under a secret of the process,
/// so nobody can tell with whom they share one, and hardly anybody shares one with a flood.
const PLACES: usize = 1 << u16::BITS;
/// What one proof takes, in bytes, rather too many than too few.
const ROOM: u64 = 76;
/// The smallest number of proofs there is room for, whatever the configuration says.
const LEAST: usize = 64 * 1024;
/// [`LIFE`], in seconds.
#[allow(clippy::cast_possible_wrap)] // a minute
const LIFE_SECS: i64 = LIFE.as_secs() as i64;
/// How many expired proofs are dropped with each new one: more than arrive, and few enough that nobody waits.
const SWEPT: usize = 8;
/// The same in each part when there is no room for a new one.
const SWEPT_FOR_ROOM: usize = 4096;

type Id = [u8; 16];

/// Who is charged for a proof. Anybody can make keys and have tokens bound to each, so it is the key only
/// where nothing better is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder<'a> {
    /// A subject of an issuer, with all of its sessions and tokens.
    Subject { iss: &'a str, sub: &'a str },
    /// A session whose subject is not known.
    Session(FamilyId),
    /// A client that exchanges a code: it has proven nothing yet.
    Address(ClientNetwork),
    /// The key of a token without a subject.
    Key(Thumbprint),
}

/// The outcome of noting a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    First,
    Again,
    /// Not known: the proof may have been dropped.
    TooOld,
    /// Not noted: there is no room.
    NoRoom,
}

#[derive(Debug)]
pub struct UsedProofs {
    parts: [Mutex<Part>; PARTS],
    /// The number of proofs by the counter of their holder. Made with the first proof, as many gateways never
    /// see one.
    of_holders: OnceLock<Box<[AtomicU32]>>,
    places: RandomState,
    /// The number of proofs in all parts.
    held: AtomicUsize,
    most: AtomicUsize,
    /// The largest `clock_skew` that ever applied, in seconds: a proof is remembered for [`LIFE`] and this.
    clock_skew: AtomicI64,
    /// Proofs made in this second or before may have been dropped, though by their age they could be used.
    forgotten: AtomicI64,
}

#[derive(Debug, Default)]
struct Part {
    used: HashSet<Id, RandomState>,
    /// The same proofs, each with the counter of its holder, by the second in which they were made.
    made: BTreeMap<i64, Vec<(Id, u16)>>,
}

impl UsedProofs {
    /// Remembers nothing yet. `limit`: in bytes. `clock_skew`: the largest difference between clocks.
    pub fn new(limit: u64, clock_skew: Duration) -> Self {
        Self::with_places(limit, clock_skew, secret())
    }

    fn with_places(limit: u64, clock_skew: Duration, places: RandomState) -> Self {
        let parts = std::array::from_fn(|_| Mutex::default());
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(LEAST));
        let (clock_skew, forgotten) = (AtomicI64::new(whole_seconds(clock_skew)), AtomicI64::new(i64::MIN));
        let of_holders = OnceLock::new();
        let made = Self { parts, of_holders, places, held, most, clock_skew, forgotten };
        made.set_limit(limit);
        made
    }

    /// Changes the limit, in bytes.
    pub fn set_limit(&self, limit: u64) {
        let most = usize::try_from(limit / ROOM).unwrap_or(usize::MAX);
        self.most.store(most.max(LEAST), Ordering::Relaxed);
    }

    /// Allows clocks to differ by `largest` from now on. To be called before a request is judged by it. `now`
    /// is read after the last drop under the smaller skew.
    pub fn allow_clock_skew(&self, largest: Duration, now: impl FnOnce() -> Timestamp) {
        let largest = whole_seconds(largest);
        let before = self.clock_skew.fetch_max(largest, Ordering::SeqCst);
        if largest > before {
            self.forgotten.fetch_max(now().as_secs() - LIFE_SECS - before, Ordering::SeqCst);
        }
    }

    /// How many proofs are remembered.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether a proof with this id was used.
    pub fn knows(&self, proof: &Plausible<'_>, now: Timestamp) -> bool {
        let Some(part) = self.part_of(proof.id()) else { return false };
        let mut part = lock(part);
        self.sweep(&mut part, SWEPT, now);
        part.used.contains(proof.id())
    }

    /// Notes a valid proof, charged to `holder`.
    pub fn note(&self, proof: &ValidProof, holder: Holder<'_>, now: Timestamp) -> Use {
        match self.try_to_note(proof, holder, now) {
            Use::NoRoom => {
                self.sweep_all(now);
                self.try_to_note(proof, holder, now)
            }
            told => told,
        }
    }

    fn sweep_all(&self, now: Timestamp) {
        self.parts.iter().for_each(|part| self.sweep(&mut lock(part), SWEPT_FOR_ROOM, now));
    }

    fn try_to_note(&self, proof: &ValidProof, holder: Holder<'_>, now: Timestamp) -> Use {
        let place = self.place_of(holder);
        let (Some(part), Some(of_holder)) = (self.part_of(&proof.id), self.of_holder(place)) else {
            return Use::NoRoom;
        };
        let mut part = lock(part);
        self.sweep(&mut part, SWEPT, now);
        if part.used.contains(&proof.id) {
            return Use::Again;
        }
        let made_in = proof.made_at.as_secs();
        if made_in <= self.forgotten.load(Ordering::SeqCst) {
            return Use::TooOld;
        }
        // Requests in several parts may all see the last room: a few more proofs than the limit.
        if !self.has_room(of_holder.load(Ordering::Relaxed)) {
            return Use::NoRoom;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        of_holder.fetch_add(1, Ordering::Relaxed);
        part.used.insert(proof.id);
        part.made.entry(made_in).or_default().push((proof.id, place));
        Use::First
    }

    fn part_of(&self, id: &Id) -> Option<&Mutex<Part>> {
        let [first, ..] = *id;
        self.parts.get(usize::from(first) % PARTS)
    }

    fn of_holder(&self, place: u16) -> Option<&AtomicU32> {
        let make = || std::iter::repeat_with(AtomicU32::default).take(PLACES).collect();
        self.of_holders.get_or_init(make).get(usize::from(place))
    }

    fn place_of(&self, holder: Holder<'_>) -> u16 {
        let [one, two, ..] = self.places.hash_one(holder).to_ne_bytes();
        u16::from_ne_bytes([one, two])
    }

    fn sweep(&self, part: &mut Part, most: usize, now: Timestamp) {
        let mut dropped = 0;
        // One second more, because the time of a proof is cut to whole seconds.
        let over = now.as_secs() - LIFE_SECS - self.clock_skew.load(Ordering::SeqCst) - 1;
        part.sweep(most, over, |made_in, place| {
            dropped += 1;
            // Too old for good: a clock that is set back would find the proof young again.
            self.forgotten.fetch_max(made_in, Ordering::SeqCst);
            if let Some(of_holder) = self.of_holder(place) {
                of_holder.fetch_sub(1, Ordering::Relaxed);
            }
        });
        self.held.fetch_sub(dropped, Ordering::Relaxed);
    }

    /// Whether a holder with this many proofs may have one more: as long as it has fewer than there is room
    /// left. So a single holder fills at most half, the next half of the rest, and so on.
    fn has_room(&self, of_holder: u32) -> bool {
        let (held, most) = (self.held.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        usize::try_from(of_holder).is_ok_and(|of_holder| of_holder < most.saturating_sub(held))
    }
}

/// The secret of this process.
#[cfg(not(test))]
fn secret() -> RandomState {
    RandomState::new()
}

/// A fixed secret: which holders share a counter is then the same in every test run.
#[cfg(test)]
const fn secret() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// Rounds up to whole seconds.
fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX / 2)
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    /// Drops up to `most` proofs made in the second `over` or before. Calls `dropped` for each, with the
    /// second it was made in and the counter of its holder.
    fn sweep(&mut self, most: usize, over: i64, mut dropped: impl FnMut(i64, u16)) {
        for _ in 0..most {
            let Some(mut oldest) = self.made.first_entry() else {
                // Gives back what a flood took.
                self.used.shrink_to(LEAST / PARTS);
                break;
            };
            if *oldest.key() > over {
                break;
            }
            match oldest.get_mut().pop() {
                Some((id, place)) => {
                    self.used.remove(&id);
                    dropped(*oldest.key(), place);
                }
                None => drop(oldest.remove()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::of_parts;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const SKEW: Duration = Duration::from_secs(30);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn proof(key: &str, jti: u64, made_at: Timestamp) -> ValidProof {
        let [digest, key_digest] = [jti.to_string(), key.to_owned()].map(|text| of_parts(&[text.as_bytes()]));
        let key = Thumbprint::from_digest(key_digest);
        let id = *of_parts(&[&key_digest, &digest]).first_chunk().unwrap();
        ValidProof { key, id, made_at }
    }

    impl UsedProofs {
        /// As the proof of a token that names nobody.
        fn note_by_key(&self, proof: &ValidProof, now: Timestamp) -> Use {
            self.note(proof, Holder::Key(proof.key), now)
        }
    }

    #[test]
    fn a_proof_is_used_once_for_as_long_as_it_would_be_good() {
        let used = UsedProofs::new(1 << 20, SKEW);
        let one = proof("a", 1, NOW);
        assert_eq!(used.note_by_key(&one, NOW), Use::First);
        for later in [0, 1, 89, 90] {
            let then = after(later);
            used.sweep_all(then);
            assert_eq!(used.note_by_key(&one, then), Use::Again, "{later}");
            let other = proof("a", 1000 + later, then);
            assert_eq!(used.note_by_key(&other, then), Use::First);
            assert_eq!(used.note_by_key(&other, then), Use::Again);
        }
        assert_eq!(used.note_by_key(&proof("b", 1, NOW), NOW), Use::First, "another key's");
        used.sweep_all(after(91));
        assert_eq!(used.note_by_key(&one, after(91)), Use::TooOld, "it was forgotten");
    }

    /// Two proofs that were used, of which the first is forgotten, in the 91st second.
    fn one_of_two_forgotten() -> (UsedProofs, ValidProof, ValidProof) {
        let used = UsedProofs::new(1 << 20, SKEW);
        let (forgotten, remembered) = (proof("a", 1, NOW), proof("a", 2, after(1)));
        for made in [&forgotten, &remembered] {
            assert_eq!(used.note_by_key(made, after(1)), Use::First);
        }
        used.sweep_all(after(91));
        assert_eq!(used.held(), 1);
        (used, forgotten, remembered)
    }

    #[test]
    fn none_comes_again_when_the_clock_is_set_back() {
        let (used, forgotten, remembered) = one_of_two_forgotten();
        let back = after(5);
        assert_eq!(used.note_by_key(&forgotten, back), Use::TooOld);
        assert_eq!(used.note_by_key(&remembered, back), Use::Again);
        // Nobody else is kept out for as long as the clock was ahead.
        assert_eq!(used.note_by_key(&proof("a", 3, after(1)), back), Use::First);
        assert_eq!(used.note_by_key(&proof("a", 4, back), back), Use::First);
    }

    #[test]
    fn none_comes_again_when_clocks_may_differ_by_more() {
        let (used, forgotten, remembered) = one_of_two_forgotten();
        used.allow_clock_skew(Duration::from_secs(300), || after(91));
        let late = after(301);
        used.sweep_all(late);
        assert_eq!(used.note_by_key(&forgotten, late), Use::TooOld);
        assert_eq!(used.note_by_key(&remembered, late), Use::Again);
        // Of those that came never, too old is what was too old before, and nothing else.
        assert_eq!(used.note_by_key(&proof("a", 3, after(1)), late), Use::TooOld);
        assert_eq!(used.note_by_key(&proof("a", 4, after(2)), late), Use::First);
        // It may be smaller again, and larger after that.
        used.allow_clock_skew(Duration::ZERO, || late);
        used.sweep_all(after(302));
        used.allow_clock_skew(Duration::from_millis(299_001), || after(302));
        assert_eq!(used.note_by_key(&remembered, after(302)), Use::Again);
        used.sweep_all(after(362));
        assert_eq!(used.note_by_key(&remembered, after(362)), Use::TooOld);
    }

    /// How many of so many proofs of a key are taken.
    fn taken(used: &UsedProofs, key: &str, jtis: std::ops::Range<usize>, now: Timestamp) -> usize {
        jtis.filter(|jti| used.note_by_key(&proof(key, *jti as u64, now), now) == Use::First).count()
    }

    #[test]
    fn what_is_over_makes_room_and_what_is_not_never_does() {
        let used = UsedProofs::new(0, SKEW);
        assert_eq!(taken(&used, "a", 0..LEAST, NOW), LEAST / 2, "one key has half of it");
        assert_eq!(used.note_by_key(&proof("a", LEAST as u64, NOW), NOW), Use::NoRoom);
        assert_eq!(used.note_by_key(&proof("a", 7, NOW), NOW), Use::Again, "none was forgotten for it");
        assert_eq!(taken(&used, "a", LEAST..LEAST + LEAST / 4, after(91)), LEAST / 4);
        let held: usize = used.parts.iter().map(|part| part.lock().unwrap().used.len()).sum();
        assert_eq!(used.held(), held);
        assert!(held < LEAST / 2, "{held}");
        let of_holders: u32 =
            used.of_holders.get().unwrap().iter().map(|count| count.load(Ordering::Relaxed)).sum();
        assert_eq!(usize::try_from(of_holders), Ok(held));
    }

    #[test]
    fn a_flood_with_one_key_leaves_room_to_all_others() {
        let used = UsedProofs::with_places(0, SKEW, RandomState::with_seeds(1, 2, 3, 4));
        taken(&used, "flood", 0..LEAST, NOW);
        // One in 65,536 shares its place.
        let others: usize = (0..1000).map(|key| taken(&used, &format!("key {key}"), 0..8, NOW)).sum();
        assert!(others >= 999 * 8, "{others}");
        // None of them more than half of what is left.
        let left = LEAST - used.held();
        assert_eq!(taken(&used, "second", 0..LEAST, NOW), left.div_ceil(2));
        assert_eq!(used.note_by_key(&proof("flood", LEAST as u64, NOW), NOW), Use::NoRoom);
        assert_eq!(used.note_by_key(&proof("third", 1, NOW), NOW), Use::First);
    }

    /// Anybody makes as many keys as they like; whose they are is another matter.
    #[test]
    fn a_flood_of_one_holder_with_many_keys_leaves_room_to_all_others() {
        let of = |sub| Holder::Subject { iss: "https://as.example", sub };
        let family = |byte| Holder::Session(FamilyId::from_random([byte; 16]));
        let address = |last: u8| Holder::Address(std::net::IpAddr::from([192, 0, 2, last]).into());
        for [flood, second, third] in [
            [of("mallory"), of("alice"), of("bob")],
            [family(1), family(2), family(3)],
            [address(1), address(2), address(3)],
            [of("mallory"), family(1), address(1)],
        ] {
            let used = UsedProofs::with_places(0, SKEW, RandomState::with_seeds(1, 2, 3, 4));
            let mut jti = 0;
            let mut next = |holder, most| {
                let mut taken = 0;
                for _ in 0..most {
                    jti += 1;
                    // A key for each.
                    taken +=
                        usize::from(used.note(&proof(&jti.to_string(), jti, NOW), holder, NOW) == Use::First);
                }
                taken
            };
            assert_eq!(next(flood, LEAST), LEAST / 2, "{flood:?}");
            assert_eq!(next(second, LEAST), LEAST / 4, "{second:?}");
            assert_eq!((next(third, 100), next(flood, 1)), (100, 0), "{third:?}");
        }
        // It is used, whoever comes with it.
        let used = UsedProofs::new(0, SKEW);
        let one = proof("a", 1, NOW);
        assert_eq!(
            [of("alice"), of("bob")].map(|holder| used.note(&one, holder, NOW)),
            [Use::First, Use::Again]
        );
    }

    #[test]
    fn each_of_many_floods_takes_half_of_what_is_left_and_leaves_room_to_the_next() {
        let used = UsedProofs::with_places(0, SKEW, RandomState::with_seeds(1, 2, 3, 4));
        let floods: Vec<_> = (1..12).map(|flood| taken(&used, &flood.to_string(), 0..LEAST, NOW)).collect();
        assert_eq!(floods, (1..12).map(|flood| LEAST >> flood).collect::<Vec<_>>());
        assert_eq!(taken(&used, "honest", 0..10, NOW), 10);
        assert_eq!(taken(&used, "1", LEAST..LEAST + 10, NOW), 0);
    }

    #[test]
    fn it_may_take_as_many_bytes_as_the_configuration_says() {
        let used = UsedProofs::new(0, SKEW);
        assert_eq!(used.most.load(Ordering::Relaxed), LEAST);
        used.set_limit(ROOM * 1_000_000);
        assert_eq!(used.most.load(Ordering::Relaxed), 1_000_000);
    }

    #[test]
    fn many_at_once_are_told_apart() {
        let used = UsedProofs::new(1 << 20, SKEW);
        let first = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for jti in 0..500 {
                        if used.note_by_key(&proof("a", jti, NOW), NOW) == Use::First {
                            first.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(first.into_inner(), 500);
    }
}
