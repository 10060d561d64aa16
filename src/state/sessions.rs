//! What this process knows of sessions whose pages hold a cookie alone: the tokens of their generations, so
//! that a request asks no store, and of each family its last use and the newest generation that was seen
//! here.
//!
//! Memory only and bounded; none of it is needed to be right: what is gone is read from the store again. It
//! must never say that a session goes on: the grant in the cookie, the list of revocations and the token
//! itself say that.

use std::ptr::addr_eq;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use serde_json::{Map, Value};

use crate::core::caller::Caller;
use crate::core::ids::FamilyId;
use crate::core::secret::SecretString;
use crate::core::session::exchange::tokens::SessionTokens;
use crate::core::session::grant::Generation;
use crate::core::time::Timestamp;
use crate::core::token::json;
use crate::state::token_memory::expected;

/// The most families that are known at once: about 10 MB. Of more, those that come least often are read
/// again.
const FAMILIES: usize = 64 * 1024;
/// What a generation takes beside its texts.
const PLACE: u64 = 400;
/// An access token that ends within it is exchanged, but not before half of its life: one that is short would
/// serve one request alone.
const EXCHANGE_BEFORE_END: Duration = Duration::from_secs(10);

/// While something of its session lasts here, it is exchanged in this part of its life: what lasts goes on
/// only by another that is there in time, and a page asks for it no more often than its person does
/// something.
const LAST_PART: u32 = 5;

/// The tokens of one generation, at hand. It does not change where it is remembered: what it takes is counted
/// once.
#[derive(Clone, Debug)]
pub struct HeldTokens {
    pub access_token: SecretString,
    pub expires_at: Timestamp,
    /// From here on it is exchanged for another.
    pub due_at: Timestamp,
    /// The same, while something of its session lasts.
    pub due_early_at: Timestamp,
    /// The claims of the ID token, where upstreams are told who calls by it.
    pub id_claims: Option<Map<String, Value>>,
    /// Itself, there: the store may lose it, and an exchange need not bring another.
    pub id_token: Option<SecretString>,
    spoken_of: Option<SpokenOf>,
    /// Without what upstreams are told.
    own_size: u64,
    size: u64,
}

/// What upstreams are told, made once for each reading of the access token. That is only compared: what is
/// gone must not stay in memory for it.
#[derive(Clone, Debug)]
struct SpokenOf {
    token: Weak<Caller>,
    caller: Arc<Caller>,
}

impl SpokenOf {
    fn is_of(&self, token: &Arc<Caller>) -> bool {
        addr_eq(self.token.as_ptr(), Arc::as_ptr(token))
    }
}

impl HeldTokens {
    /// `since`: when the tokens came.
    pub fn new(tokens: &SessionTokens, since: Timestamp, id_claims: Option<Map<String, Value>>) -> Self {
        let life = tokens.expires_at.since(since);
        let id_token = tokens.id_token.clone().filter(|_| id_claims.is_some());
        let size = PLACE
            .saturating_add(in_bytes(tokens.access_token.expose().len()))
            .saturating_add(id_token.as_ref().map_or(0, |token| in_bytes(token.expose().len())))
            .saturating_add(id_claims.as_ref().map_or(0, |claims| in_bytes(json::size_of_members(claims))));
        Self {
            access_token: tokens.access_token.clone(),
            expires_at: tokens.expires_at,
            due_at: tokens.expires_at.minus(EXCHANGE_BEFORE_END.min(life / 2)),
            due_early_at: tokens.expires_at.minus(EXCHANGE_BEFORE_END.max(life / LAST_PART).min(life / 2)),
            id_claims,
            id_token,
            spoken_of: None,
            own_size: size,
            size,
        }
    }
}

fn in_bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Why a session is not exchanged again at each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The access token that came is refused here: another would be, too.
    AccessTokenUnusable,
    /// The AS refused the request.
    Refused,
    /// The AS wants the person to sign in there.
    WantsThePerson,
    /// The session has no ID token, by which upstreams would be told who calls.
    NoIdToken,
    /// The key of the access token that came is not known yet: another would be signed by it, too.
    KeyNotKnownYet,
}

impl Pause {
    const ALL: [Self; 5] = [
        Self::AccessTokenUnusable,
        Self::Refused,
        Self::WantsThePerson,
        Self::NoIdToken,
        Self::KeyNotKnownYet,
    ];
    /// For the end in one number with the reason.
    const PLACES: i64 = 8;

    /// In one number, so that end and reason are of one pause.
    fn packed(self, until: Timestamp) -> i64 {
        let at = Self::ALL.into_iter().zip(0..).find_map(|(why, at)| (why == self).then_some(at));
        until.as_millis().saturating_mul(Self::PLACES).saturating_add(at.unwrap_or_default())
    }

    fn unpacked(packed: i64) -> Option<(Self, Timestamp)> {
        let at = usize::try_from(packed.rem_euclid(Self::PLACES)).ok()?;
        let until = Timestamp::from_millis(packed.div_euclid(Self::PLACES));
        Self::ALL.get(at).map(|why| (*why, until))
    }
}

/// What is known of a family, beside its tokens.
#[derive(Debug)]
pub struct KnownFamily {
    newest: AtomicU64,
    /// The newest generation whose receipt the store was told of, and one more.
    told: AtomicU64,
    used_at: AtomicI64,
    /// The last use that the store knows.
    noted_at: AtomicI64,
    is_over: AtomicBool,
    /// Until when it is not exchanged again, and why: see [`Pause::packed`].
    paused: AtomicI64,
    /// No exchange before it is due, while something of it lasts, begins before.
    early_from: AtomicI64,
}

impl KnownFamily {
    /// As the store has it. `used_at`: the later of what the store and the grant say.
    pub fn new(newest: Generation, used_at: Timestamp, is_over: bool) -> Self {
        Self {
            newest: AtomicU64::new(newest),
            told: AtomicU64::new(0),
            used_at: AtomicI64::new(used_at.as_millis()),
            noted_at: AtomicI64::new(used_at.as_millis()),
            is_over: AtomicBool::new(is_over),
            paused: AtomicI64::new(0),
            early_from: AtomicI64::new(i64::MIN),
        }
    }

    /// A generation was seen, or made.
    pub fn note_generation(&self, generation: Generation) {
        self.newest.fetch_max(generation, Ordering::Relaxed);
    }

    pub fn newest(&self) -> Generation {
        self.newest.load(Ordering::Relaxed)
    }

    /// Whether the store was not yet told that this generation arrived. Says so once.
    pub fn claim_first_sight(&self, generation: Generation) -> bool {
        let told = generation.saturating_add(1);
        self.told.load(Ordering::Relaxed) < told && self.told.fetch_max(told, Ordering::Relaxed) < told
    }

    pub fn used_at(&self) -> Timestamp {
        Timestamp::from_millis(self.used_at.load(Ordering::Relaxed))
    }

    /// It is used now; whether the store is to be told, which it is once in `every`.
    pub fn record_use(&self, now: Timestamp, every: Duration) -> bool {
        self.used_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        let noted = self.noted_at.load(Ordering::Relaxed);
        now >= Timestamp::from_millis(noted).plus(every)
            && self
                .noted_at
                .compare_exchange(noted, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// The store was told by an exchange, or another replica was.
    pub fn mark_noted(&self, at: Timestamp) {
        self.used_at.fetch_max(at.as_millis(), Ordering::Relaxed);
        self.noted_at.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// The store did not take what it was told: with the next request it is told again.
    pub fn mark_unnoted(&self) {
        self.noted_at.store(i64::MIN, Ordering::Relaxed);
        self.told.store(0, Ordering::Relaxed);
    }

    /// The session is over, as far as the store says.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn mark_over(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Why another exchange would bring nothing now. A pause whose end is further ahead than one lasts began
    /// before the clock was set back, and holds nobody up until the clock is there again.
    pub fn paused(&self, now: Timestamp) -> Option<Pause> {
        Pause::unpacked(self.paused.load(Ordering::Relaxed))
            .filter(|(_, until)| now < *until && until.since(now) <= EXCHANGE_BEFORE_END)
            .map(|(why, _)| why)
    }

    /// Whether it may be exchanged before that is due. One that is due is never held up by this.
    pub fn may_be_early(&self, now: Timestamp) -> bool {
        now.as_millis() >= self.early_from.load(Ordering::Relaxed)
    }

    /// An exchange brought nothing, and the tokens at hand are good until `expires_at`: nobody waits for
    /// another for a moment, and for longer where there is time.
    pub fn delay_early(&self, now: Timestamp, expires_at: Timestamp) {
        let pause = EXCHANGE_BEFORE_END.max(expires_at.since(now) / 4);
        self.early_from.store(now.plus(pause).as_millis(), Ordering::Relaxed);
    }

    /// An exchange brought nothing, and another would not for a moment.
    pub fn pause(&self, why: Pause, now: Timestamp) {
        self.paused.store(why.packed(now.plus(EXCHANGE_BEFORE_END)), Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<(FamilyId, Generation), Arc<HeldTokens>> for Bytes {
    fn weight(&self, _: &(FamilyId, Generation), held: &Arc<HeldTokens>) -> u64 {
        held.size
    }
}

/// The sessions that were used here lately.
#[derive(Debug)]
pub struct Sessions {
    tokens: Cache<(FamilyId, Generation), Arc<HeldTokens>, Bytes, RandomState>,
    families: Cache<FamilyId, Arc<KnownFamily>>,
}

impl Sessions {
    /// `limit`: of their tokens, in bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            tokens: Cache::with(
                expected(limit),
                limit,
                Bytes,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
            families: Cache::new(FAMILIES),
        }
    }

    pub fn set_limit(&self, limit: u64) {
        if self.tokens.capacity() != limit {
            self.tokens.set_capacity(limit);
        }
    }

    pub fn tokens(&self, family: FamilyId, generation: Generation) -> Option<Arc<HeldTokens>> {
        self.tokens.get(&(family, generation))
    }

    pub fn hold(&self, family: FamilyId, generation: Generation, held: HeldTokens) -> Arc<HeldTokens> {
        let held = Arc::new(held);
        self.tokens.insert((family, generation), Arc::clone(&held));
        held
    }

    /// The caller whose session it is. `held`: its tokens, of this generation. `token`: as the access token
    /// says it. `make`: what is said of them instead; it is made again each time only where there is no room
    /// to remember it.
    pub fn caller(
        &self,
        (family, generation): (FamilyId, Generation),
        held: &HeldTokens,
        token: &Arc<Caller>,
        make: impl FnOnce() -> Caller<()>,
    ) -> Arc<Caller> {
        if let Some(made) = held.spoken_of.as_ref().filter(|made| made.is_of(token)) {
            return Arc::clone(&made.caller);
        }
        let caller: Arc<Caller> = Arc::new(make());
        // Of a token that is gone its own place is left, for as long as it is compared with.
        let more = in_bytes(caller.size().saturating_add(size_of_val(&**token)));
        let size = held.own_size.saturating_add(more);
        let spoken_of = Some(SpokenOf { token: Arc::downgrade(token), caller: Arc::clone(&caller) });
        // What is too large for its part of the memory would take the tokens with it. What was exchanged
        // meanwhile does not come back.
        if size <= self.tokens.shard_capacity() / 2 {
            let held = HeldTokens { spoken_of, size, ..held.clone() };
            let _ = self.tokens.replace((family, generation), Arc::new(held), true);
        }
        caller
    }

    /// They were exchanged for others.
    pub fn drop_tokens(&self, family: FamilyId, generation: Generation) {
        self.tokens.remove(&(family, generation));
    }

    pub fn family(&self, family: FamilyId) -> Option<Arc<KnownFamily>> {
        self.families.get(&family)
    }

    /// Remembers a family; where two learn of it at once the first counts.
    pub fn know(&self, family: FamilyId, known: KnownFamily) -> Arc<KnownFamily> {
        let known = Arc::new(known);
        let learnt = self.families.get_or_insert_with(&family, || Ok::<_, ()>(Arc::clone(&known)));
        learnt.unwrap_or(known)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::token::introspection::IntrospectionAnswer;
    use crate::core::token::testing::{NOW, claims, rules, with};

    const AT: Timestamp = Timestamp::from_secs(1000);

    fn tokens(length: usize, life: u64) -> SessionTokens {
        SessionTokens {
            access_token: SecretString::new("a".repeat(length)),
            id_token: None,
            expires_at: AT.plus(Duration::from_secs(life)),
        }
    }

    fn family(at: u8) -> FamilyId {
        FamilyId::from_random([at; 16])
    }

    #[test]
    fn tokens_are_held_by_generation_and_memory_is_bounded() {
        let sessions = Sessions::new(1 << 16);
        let hold =
            |generation| sessions.hold(family(1), generation, HeldTokens::new(&tokens(1000, 60), AT, None));
        hold(0);
        assert!(sessions.tokens(family(1), 0).is_some());
        assert!(sessions.tokens(family(1), 1).is_none() && sessions.tokens(family(2), 0).is_none());
        sessions.drop_tokens(family(1), 0);
        assert!(sessions.tokens(family(1), 0).is_none());
        (0..1000).for_each(|generation| drop(hold(generation)));
        let held = (0..1000).filter(|generation| sessions.tokens(family(1), *generation).is_some()).count();
        assert!((10..60).contains(&held), "{held}");
    }

    /// Whom an access token names that has so many roles.
    fn with_roles(count: usize) -> Arc<Caller> {
        let says = json!({ "active": true, "token_type": "Bearer", "roles": vec!["a role"; count] });
        let answer = IntrospectionAnswer::parse(with(claims(), says).to_string().as_bytes()).unwrap();
        Arc::new(Caller::new(answer.judge(&rules(), NOW).unwrap(), &[], ()))
    }

    #[test]
    fn what_upstreams_are_told_is_made_once_and_counts_in_what_a_session_takes() {
        let sessions = Sessions::new(4 << 20);
        let (token, at) = (with_roles(100), (family(1), 0));
        let of_session = |token: &Arc<Caller>| token.of_session("web-app", Some("sid"), None, &[]);
        let held = sessions.hold(family(1), 0, HeldTokens::new(&tokens(10, 60), AT, None));
        let without = sessions.tokens.weight();
        let told = sessions.caller(at, &held, &token, || of_session(&token));
        let with_it = sessions.tokens.weight();
        assert!(with_it >= without + told.size() as u64, "{without} {with_it} {}", told.size());
        let held_now = sessions.tokens(family(1), 0).unwrap();
        let again = sessions.caller(at, &held_now, &token, || panic!("made twice"));
        assert!(Arc::ptr_eq(&told, &again));
        // Another reading of the token takes its place.
        let anew = with_roles(100);
        sessions.caller(at, &held_now, &anew, || of_session(&anew));
        assert_eq!(sessions.tokens.weight(), with_it);
        // What was exchanged meanwhile does not come back.
        sessions.drop_tokens(family(1), 0);
        sessions.caller(at, &held, &token, || of_session(&token));
        assert!(sessions.tokens(family(1), 0).is_none());
        for generation in 0..2000 {
            let held = sessions.hold(family(2), generation, HeldTokens::new(&tokens(10, 60), AT, None));
            sessions.caller((family(2), generation), &held, &token, || of_session(&token));
        }
        let at_hand =
            (0..2000).filter(|generation| sessions.tokens(family(2), *generation).is_some()).count();
        assert!(at_hand > 10 && at_hand * told.size() <= 4 << 20, "{at_hand} of {} bytes", told.size());
    }

    #[test]
    fn what_is_too_large_to_be_remembered_leaves_the_tokens_at_hand() {
        let sessions = Sessions::new(1 << 16);
        let token = with_roles(2000);
        let held = sessions.hold(family(1), 0, HeldTokens::new(&tokens(10, 60), AT, None));
        for _ in 0..2 {
            let told = sessions
                .caller((family(1), 0), &held, &token, || token.of_session("web-app", None, None, &[]));
            assert!(told.size() > 1 << 16);
            assert!(sessions.tokens(family(1), 0).is_some());
        }
    }

    #[test]
    fn a_token_is_due_ten_seconds_before_its_end_or_at_half_of_a_short_life() {
        for (life, due, early) in [
            (3600, 3590, 2880),
            (300, 290, 240),
            (50, 40, 40),
            (40, 30, 30),
            (20, 10, 10),
            (10, 5, 5),
            (2, 1, 1),
            (0, 0, 0),
        ] {
            let held = HeldTokens::new(&tokens(1, life), AT, None);
            let at = |seconds| AT.plus(Duration::from_secs(seconds));
            assert_eq!((held.due_at, held.due_early_at), (at(due), at(early)), "{life}");
        }
    }

    #[test]
    fn an_exchange_before_it_is_due_that_brought_nothing_is_not_tried_at_each_request() {
        let known = KnownFamily::new(0, AT, false);
        let at = |seconds| AT.plus(Duration::from_secs(seconds));
        assert!(known.may_be_early(AT));
        for (left, pause) in [(720, 180), (40, 10), (12, 10), (0, 10)] {
            known.delay_early(AT, at(left));
            let may = [pause - 1, pause].map(|seconds| known.may_be_early(at(seconds)));
            assert_eq!(may, [false, true], "{left}");
        }
    }

    #[test]
    fn the_store_is_told_of_a_use_once_in_a_while_and_of_a_receipt_once() {
        let sessions = Sessions::new(1 << 16);
        let known = sessions.know(family(1), KnownFamily::new(3, AT, false));
        let again = sessions.know(family(1), KnownFamily::new(0, Timestamp::from_secs(0), true));
        assert!(Arc::ptr_eq(&known, &again), "the first counts");
        let at = |seconds| AT.plus(Duration::from_secs(seconds));
        let every = Duration::from_secs(10);
        let told: Vec<bool> = [5, 10, 11, 19, 20].map(|now| known.record_use(at(now), every)).into();
        assert_eq!(told, [false, true, false, false, true]);
        assert_eq!(known.used_at(), at(20));
        known.mark_unnoted();
        assert!(known.record_use(at(21), every));
        assert!(known.claim_first_sight(3) && !known.claim_first_sight(3) && !known.claim_first_sight(2));
        assert!(known.claim_first_sight(4) && !known.claim_first_sight(4));
        known.note_generation(2);
        assert_eq!(known.newest(), 3);
        assert_eq!(known.paused(AT), None);
        for why in Pause::ALL {
            known.pause(why, AT);
            assert_eq!(
                [known.paused(AT), known.paused(at(9)), known.paused(at(10))],
                [Some(why), Some(why), None]
            );
        }
    }

    #[test]
    fn a_pause_does_not_outlast_a_clock_that_is_set_back() {
        let known = KnownFamily::new(0, AT, false);
        for why in Pause::ALL {
            known.pause(why, AT.plus(Duration::from_secs(3600)));
            assert_eq!(known.paused(AT), None, "{why:?}");
        }
    }
}
