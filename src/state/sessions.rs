//! This replica's memory of sessions in `session` mode: the tokens of each generation, so that a request need
//! not ask the store, and for each family when it was last used and the newest generation seen here.
//!
//! It is a bounded cache: what was dropped is read from the store again. It must never decide that a session
//! goes on. The grant in the cookie, the list of revocations and the token itself decide that.

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

/// The most families held at once: about 10 MB. Beyond that the least used are dropped, and read from the
/// store when they come back.
const FAMILIES: usize = 64 * 1024;
/// The memory that one generation takes beside its texts, in bytes.
const PLACE: u64 = 400;
/// How long before its expiry an access token is exchanged, but never before half of its life is over: a
/// short-lived one would serve a single request.
const EXCHANGE_BEFORE_END: Duration = Duration::from_secs(10);

/// While a long-lived response of its session is open, an access token is exchanged in the last of this many
/// equal parts of its life. The response goes on only if the next token is there in time, and a page may send
/// no request for as long as its user does nothing.
const LAST_PART: u32 = 5;

/// The tokens of one generation, in memory. A value in the cache never changes, because its size is counted
/// when it is put there.
#[derive(Clone, Debug)]
pub struct HeldTokens {
    pub access_token: SecretString,
    pub expires_at: Timestamp,
    /// When the access token is due to be exchanged for the next.
    pub due_at: Timestamp,
    /// The same while a long-lived response of the session is open.
    pub due_early_at: Timestamp,
    /// The claims of the ID token, where the identity headers are filled from it.
    pub id_claims: Option<Map<String, Value>>,
    /// The ID token itself, kept only together with [`Self::id_claims`]: the store may lose it, and an
    /// exchange need not return another.
    pub id_token: Option<SecretString>,
    spoken_of: Option<SpokenOf>,
    /// The size in bytes without [`Self::spoken_of`].
    own_size: u64,
    size: u64,
}

/// The caller that upstreams are told of, made once for each verification of the access token. The verified
/// token is held weakly, for comparison alone, so that it can be freed.
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
    /// Weighs the tokens and says when they are due. `since`: when they came.
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
    /// The new access token is refused here, and the next one would be, too.
    AccessTokenUnusable,
    /// The AS refused the request.
    Refused,
    /// The AS wants the user to sign in again.
    WantsThePerson,
    /// The session has no ID token to fill the identity headers from.
    NoIdToken,
    /// The key that signed the new access token is not known yet, and the next token would have the same key.
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
    /// The factor of the end in [`Self::packed`]: larger than the number of reasons, so that one is added to
    /// it.
    const PLACES: i64 = 8;

    /// End and reason in one number, so that one atomic store sets both.
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

/// What is known of one family, beside its tokens.
#[derive(Debug)]
pub struct KnownFamily {
    newest: AtomicU64,
    /// One more than the newest generation whose receipt the store was told of; 0: none.
    told: AtomicU64,
    used_at: AtomicI64,
    /// The last use that the store was told of, in milliseconds.
    noted_at: AtomicI64,
    is_over: AtomicBool,
    /// Until when the session is not exchanged again, and why: see [`Pause::packed`].
    paused: AtomicI64,
    /// The earliest time for an exchange ahead of [`HeldTokens::due_at`], in milliseconds.
    early_from: AtomicI64,
}

impl KnownFamily {
    /// Begins with what the store says. `used_at`: the later of the last uses that the store and the grant
    /// tell of.
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

    /// Notes a generation that a request brought or an exchange made.
    pub fn note_generation(&self, generation: Generation) {
        self.newest.fetch_max(generation, Ordering::Relaxed);
    }

    pub fn newest(&self) -> Generation {
        self.newest.load(Ordering::Relaxed)
    }

    /// Returns true once for each generation: the store is then to be told that its cookie arrived.
    pub fn claim_first_sight(&self, generation: Generation) -> bool {
        let told = generation.saturating_add(1);
        self.told.load(Ordering::Relaxed) < told && self.told.fetch_max(told, Ordering::Relaxed) < told
    }

    pub fn used_at(&self) -> Timestamp {
        Timestamp::from_millis(self.used_at.load(Ordering::Relaxed))
    }

    /// Records a use now. Returns whether the store is to be told, at most once in `every`.
    pub fn record_use(&self, now: Timestamp, every: Duration) -> bool {
        self.used_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        let noted = self.noted_at.load(Ordering::Relaxed);
        now >= Timestamp::from_millis(noted).plus(every)
            && self
                .noted_at
                .compare_exchange(noted, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Records a use that the store already knows, from an exchange or from another replica.
    pub fn mark_noted(&self, at: Timestamp) {
        self.used_at.fetch_max(at.as_millis(), Ordering::Relaxed);
        self.noted_at.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// Records that the store could not be told: the next request tells it again.
    pub fn mark_unnoted(&self) {
        self.noted_at.store(i64::MIN, Ordering::Relaxed);
        self.told.store(0, Ordering::Relaxed);
    }

    /// Whether the session is over, as far as the store was heard to say.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn mark_over(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Why another exchange would fail now, if it would. A pause whose end is further ahead than any lasts
    /// began before the clock was set back, and delays nobody until the clock is there again.
    pub fn paused(&self, now: Timestamp) -> Option<Pause> {
        Pause::unpacked(self.paused.load(Ordering::Relaxed))
            .filter(|(_, until)| now < *until && until.since(now) <= EXCHANGE_BEFORE_END)
            .map(|(why, _)| why)
    }

    /// Whether an exchange may begin ahead of [`HeldTokens::due_at`]. It never holds up one that is due.
    pub fn may_be_early(&self, now: Timestamp) -> bool {
        now.as_millis() >= self.early_from.load(Ordering::Relaxed)
    }

    /// Puts off the next exchange ahead of time after one that failed. The tokens at hand are good until
    /// `expires_at`; the longer that is, the longer the wait.
    pub fn delay_early(&self, now: Timestamp, expires_at: Timestamp) {
        let pause = EXCHANGE_BEFORE_END.max(expires_at.since(now) / 4);
        self.early_from.store(now.plus(pause).as_millis(), Ordering::Relaxed);
    }

    /// Stops further exchanges for [`EXCHANGE_BEFORE_END`], after one that failed for this reason.
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

/// The sessions that were lately used at this replica.
#[derive(Debug)]
pub struct Sessions {
    tokens: Cache<(FamilyId, Generation), Arc<HeldTokens>, Bytes, RandomState>,
    families: Cache<FamilyId, Arc<KnownFamily>>,
}

impl Sessions {
    /// Makes an empty cache. `limit`: what all tokens may take, in bytes.
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

    /// Returns the caller of a session's request. `held`: the tokens of this generation. `token`: what the
    /// access token was found to be. `make`: builds the caller from it, once, unless there is no room to
    /// remember the result.
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
        // The weak reference keeps the token's allocation, though not what it owned.
        let more = in_bytes(caller.size().saturating_add(size_of_val(&**token)));
        let size = held.own_size.saturating_add(more);
        let spoken_of = Some(SpokenOf { token: Arc::downgrade(token), caller: Arc::clone(&caller) });
        // A value too large for its shard would evict the tokens themselves. `replace` does not bring back
        // tokens that an exchange has dropped meanwhile.
        if size <= self.tokens.shard_capacity() / 2 {
            let held = HeldTokens { spoken_of, size, ..held.clone() };
            let _ = self.tokens.replace((family, generation), Arc::new(held), true);
        }
        caller
    }

    /// Drops the tokens of a generation that was exchanged for the next.
    pub fn drop_tokens(&self, family: FamilyId, generation: Generation) {
        self.tokens.remove(&(family, generation));
    }

    pub fn family(&self, family: FamilyId) -> Option<Arc<KnownFamily>> {
        self.families.get(&family)
    }

    /// Remembers a family. If two requests do so at once, the first one's value stays; returns that.
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
