//! What an issuer answered about opaque tokens (RFC 7662), and which introspection calls are under way.
//! Memory only; `flows::introspect` makes the calls.
//!
//! Good tokens have a cache of their own, bounded in bytes, so that made-up tokens push none of them out. A
//! token is known by the fingerprint of its text. There is one call at a time for a token and a bounded
//! number for an issuer, and tokens that were never good get only a share of those.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::fingerprint::Fingerprint;
use crate::core::token::verified::VerifiedToken;

/// The most that the good tokens of one issuer take, in bytes, and about how many tokens that is.
const BYTES: u64 = 32 << 20;
const TOKENS: usize = 16 * 1024;
/// The most tokens that are remembered as not good.
const REFUSED: usize = 16 * 1024;
/// The most calls under way at one issuer, and how many of them may be for tokens that were never found good.
const CALLS: usize = 64;
const CALLS_FOR_STRANGERS: usize = 48;
/// The longest that a token is remembered as not good. It is short because a server may learn of a new token
/// a moment late.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// How long a token is remembered as ended, once its issuer has said so twice. A client with many ended
/// tokens causes no more calls by them, and does not count as one that makes tokens up.
const ENDED_FOR: Duration = Duration::from_secs(60);
/// The pause after a call that brought no answer.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// How far the time of a request may lie before that of an answer which it did not see asked for: requests
/// read the clock once, at their start.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The shortest time between two messages of one kind.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The verified token, or why it is refused.
pub type Verdict = Result<Arc<VerifiedToken>, Denial>;

/// The answers of one issuer, and the calls to it.
#[derive(Debug)]
pub struct Introspections {
    memory: ArcSwap<Memory>,
    cache: Duration,
    trouble: Mutex<Trouble>,
}

/// Why the issuer cannot be asked.
#[derive(Debug, Default)]
struct Trouble {
    now: Option<Arc<str>>,
    told_at: Option<Timestamp>,
    told_of_one_at: Option<Timestamp>,
}

/// What is known of a token, or what to do to find out.
#[derive(Debug)]
pub enum Lookup {
    /// An answer that still counts.
    Known(Verdict),
    /// A call is under way: wait for it.
    UnderWay(Landing),
    /// A call is to be made: the caller must carry out the [`Flight`].
    Begun(Flight, Landing),
    /// No call may be made now: the last one failed a moment ago.
    Paused,
    /// No call may be made now: too many are under way.
    Full,
}

/// What a call brought.
#[derive(Debug)]
pub enum CallOutcome {
    Judged(Verdict),
    /// There was no answer. `of_the_server`: because of the server, whatever the token.
    Failed {
        of_the_server: bool,
    },
}

impl Introspections {
    /// Remembers nothing yet. `cache`: the longest that an answer counts.
    pub fn new(cache: Duration) -> Self {
        Self { memory: ArcSwap::from_pointee(Memory::default()), cache, trouble: Mutex::default() }
    }

    /// The answer about a token, while it counts.
    pub fn recall(&self, id: Fingerprint, now: Timestamp) -> Option<Verdict> {
        self.memory.load().recall(id, now)
    }

    /// The answer about a token, or the call that will bring it.
    pub fn find(&self, id: Fingerprint, now: Timestamp) -> Lookup {
        let memory = self.memory.load();
        memory.begin(&memory, id, now, self.cache)
    }

    /// Forgets every answer, but not which tokens were good before. Calls under way end for those who wait
    /// for them, and are not remembered.
    pub fn forget(&self) {
        let once_good = Arc::clone(&self.memory.load().once_good);
        self.memory.store(Arc::new(Memory { once_good, ..Memory::default() }));
    }

    /// How many good tokens are remembered; some may have expired.
    pub fn held(&self) -> usize {
        self.memory.load().good.len()
    }

    /// Why the last call failed; `None`: it did not.
    pub fn trouble(&self) -> Option<Arc<str>> {
        lock(&self.trouble).now.clone()
    }

    /// Notes that the issuer could not be asked, whatever the token. Returns whether the log is to say so
    /// now.
    pub fn failed(&self, why: &str, now: Timestamp) -> bool {
        let mut trouble = lock(&self.trouble);
        trouble.now = Some(why.into());
        is_due(&mut trouble.told_at, now)
    }

    /// Notes that there was no answer about one token, which may be the token's doing and is no outage of the
    /// issuer. Returns whether the log is to say so now.
    pub fn failed_for_one(&self, now: Timestamp) -> bool {
        is_due(&mut lock(&self.trouble).told_of_one_at, now)
    }

    /// Notes that the issuer has answered. Returns whether it could not be asked before.
    pub fn answered(&self) -> bool {
        lock(&self.trouble).now.take().is_some()
    }
}

#[derive(Debug)]
struct Memory {
    good: Cache<Fingerprint, Known<Good>, InBytes>,
    refused: Cache<Fingerprint, Known<Denial>>,
    /// The tokens that were ever good, and whether they still were at the last answer, however long ago.
    once_good: Arc<Cache<Fingerprint, bool>>,
    calls: Mutex<Calls>,
}

/// An answer about a token, and from when until when it counts.
#[derive(Clone, Debug)]
struct Known<T> {
    said: T,
    since: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Debug)]
struct Good {
    token: Arc<VerifiedToken>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Calls {
    under_way: HashMap<Fingerprint, watch::Receiver<Option<Verdict>>>,
    paused_since: Option<Timestamp>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            good: Cache::with_weighter(TOKENS, BYTES, InBytes),
            refused: Cache::new(REFUSED),
            once_good: Arc::new(Cache::new(TOKENS)),
            calls: Mutex::default(),
        }
    }
}

impl Memory {
    fn recall(&self, id: Fingerprint, now: Timestamp) -> Option<Verdict> {
        let good = self.good.get(&id).filter(|known| known.counts(now)).map(|known| Ok(known.said.token));
        good.or_else(|| self.refused.get(&id).filter(|known| known.counts(now)).map(|known| Err(known.said)))
    }

    fn begin(&self, shared: &Arc<Self>, id: Fingerprint, now: Timestamp, cache: Duration) -> Lookup {
        let was_good = self.once_good.get(&id) == Some(true);
        let mut calls = lock(&self.calls);
        // A call leaves its answer before it leaves `under_way`, so this finds one that ended meanwhile.
        if let Some(verdict) = self.recall(id, now) {
            return Lookup::Known(verdict);
        }
        let room = if was_good { CALLS } else { CALLS_FOR_STRANGERS };
        let has_room = calls.under_way.len() < room;
        let paused = calls.paused_since.is_some_and(|since| is_within(since, since.plus(FAILED_FOR), now));
        match calls.under_way.entry(id) {
            Entry::Occupied(call) => Lookup::UnderWay(Landing(call.get().clone())),
            Entry::Vacant(_) if paused => Lookup::Paused,
            Entry::Vacant(_) if !has_room => Lookup::Full,
            Entry::Vacant(free) => {
                let (told, hears) = watch::channel(None);
                free.insert(hears.clone());
                let flight =
                    Flight { memory: Arc::clone(shared), id, told, began: now, cache, is_open: true };
                Lookup::Begun(flight, Landing(hears))
            }
        }
    }
}

impl<T> Known<T> {
    /// Whether the answer counts at `now`. A clock that was set back prolongs nothing.
    fn counts(&self, now: Timestamp) -> bool {
        is_within(self.since, self.until, now)
    }
}

/// Whether [`TELL_EVERY`] has passed since `told_at`; if so, sets that to now.
fn is_due(told_at: &mut Option<Timestamp>, now: Timestamp) -> bool {
    let is_due = !told_at.is_some_and(|at| is_within(at, at.plus(TELL_EVERY), now));
    if is_due {
        *told_at = Some(now);
    }
    is_due
}

fn is_within(since: Timestamp, until: Timestamp, now: Timestamp) -> bool {
    since <= now.plus(AT_ONCE) && now < until
}

/// A call under way. If it is dropped without an end, it counts as failed.
#[derive(Debug)]
pub struct Flight {
    memory: Arc<Memory>,
    id: Fingerprint,
    told: watch::Sender<Option<Verdict>>,
    began: Timestamp,
    cache: Duration,
    is_open: bool,
}

impl Flight {
    /// Ends the call. An answer counts from when it was asked for, so that it does not outlive a revocation
    /// at the issuer meanwhile. A failure counts from now.
    pub fn land_with(mut self, outcome: CallOutcome, now: Timestamp) {
        self.land(outcome, now);
    }

    fn land(&mut self, outcome: CallOutcome, now: Timestamp) {
        self.is_open = false;
        let asked_at = self.began;
        let mut failed = false;
        let verdict = match outcome {
            CallOutcome::Judged(Ok(token)) => Ok(token),
            CallOutcome::Judged(Err(Denial::TokenInactive { .. })) => {
                Err(Denial::TokenInactive { was_good: self.memory.once_good.get(&self.id).is_some() })
            }
            CallOutcome::Judged(Err(denial)) => Err(denial),
            CallOutcome::Failed { of_the_server } => {
                failed = of_the_server;
                Err(Denial::IntrospectionUnavailable)
            }
        };
        match &verdict {
            Ok(token) => {
                self.memory.once_good.insert(self.id, true);
                let until = asked_at.plus(self.cache).min(token.expires_at());
                if asked_at < until {
                    let said = Good {
                        token: Arc::clone(token),
                        bytes: u64::try_from(token.size().saturating_add(PLACE)).unwrap_or(u64::MAX),
                    };
                    self.memory.good.insert(self.id, Known { said, since: asked_at, until });
                }
            }
            Err(denial @ Denial::IntrospectionUnavailable) => self.refuse(denial, now, FAILED_FOR),
            Err(denial) => {
                self.refuse(denial, asked_at, self.refused_for(denial));
                self.memory.good.remove(&self.id);
                // Only where there is an entry: a token that was never good gets none.
                let _ = self.memory.once_good.replace(self.id, false, true);
            }
        }
        let mut calls = lock(&self.memory.calls);
        calls.under_way.remove(&self.id);
        if failed {
            calls.paused_since = Some(now);
        }
        drop(calls);
        self.told.send_replace(Some(verdict));
    }

    /// How long a refusal counts. A token that has ended stays so, even where `cache` is 0.
    fn refused_for(&self, denial: &Denial) -> Duration {
        match (denial, self.memory.once_good.get(&self.id)) {
            (Denial::TokenInactive { .. }, Some(false)) => ENDED_FOR,
            _ => REFUSED_FOR.min(self.cache),
        }
    }

    fn refuse(&self, denial: &Denial, since: Timestamp, long: Duration) {
        let known = Known { said: denial.clone(), since, until: since.plus(long) };
        self.memory.refused.insert(self.id, known);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.is_open {
            self.land(CallOutcome::Failed { of_the_server: false }, self.began);
        }
    }
}

/// The end of a call, for whoever waits for it.
#[derive(Debug)]
pub struct Landing(watch::Receiver<Option<Verdict>>);

impl Landing {
    pub async fn verdict(mut self) -> Verdict {
        let landed = self.0.wait_for(Option::is_some).await;
        landed.ok().and_then(|verdict| verdict.clone()).unwrap_or(Err(Denial::IntrospectionUnavailable))
    }
}

#[derive(Clone, Debug)]
struct InBytes;

impl Weighter<Fingerprint, Known<Good>> for InBytes {
    fn weight(&self, _: &Fingerprint, known: &Known<Good>) -> u64 {
        known.said.bytes
    }
}

/// What an entry takes beside the token, in bytes: its fingerprint, and its places in two caches.
const PLACE: usize = 512;

/// No invariant spans a panic: every change under these locks is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::token::introspection::IntrospectionAnswer;
    use crate::core::token::testing::{NOW, claims, rules, with};

    const CACHE: Duration = Duration::from_secs(30);
    const INACTIVE: Denial = Denial::TokenInactive { was_good: false };

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    /// A good token that ends so many seconds after [`NOW`].
    fn token(ends: i64, more: Value) -> CallOutcome {
        let exp = json!({"active": true, "token_type": "Bearer", "exp": NOW.as_secs() + ends});
        let body = with(with(claims(), exp), more).to_string();
        CallOutcome::Judged(
            IntrospectionAnswer::parse(body.as_bytes()).unwrap().judge(&rules(), NOW).map(Arc::new),
        )
    }

    fn good() -> CallOutcome {
        token(300, json!({}))
    }

    fn refused(denial: Denial) -> CallOutcome {
        CallOutcome::Judged(Err(denial))
    }

    fn id(text: impl std::fmt::Display) -> Fingerprint {
        Fingerprint::of(text.to_string())
    }

    #[track_caller]
    fn begin(known: &Introspections, text: &str, now: Timestamp) -> (Flight, Landing) {
        match known.find(id(text), now) {
            Lookup::Begun(flight, landing) => (flight, landing),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn learn(known: &Introspections, text: &str, outcome: CallOutcome, now: Timestamp) {
        begin(known, text, now).0.land_with(outcome, now);
    }

    fn remembered(known: &Introspections, text: &str, now: Timestamp) -> Option<Verdict> {
        known.recall(id(text), now)
    }

    #[tokio::test]
    async fn there_is_one_call_for_a_token_and_everybody_hears_of_its_end() {
        let known = Introspections::new(CACHE);
        let (flight, first) = begin(&known, "a", NOW);
        let Lookup::UnderWay(second) = known.find(id("a"), NOW) else { panic!() };
        let (_other, _) = begin(&known, "b", NOW);
        flight.land_with(good(), later(1));
        assert_eq!(first.verdict().await.unwrap().subject(), Some("alice"));
        assert_eq!(second.verdict().await.unwrap().subject(), Some("alice"));
        assert!(matches!(remembered(&known, "a", later(1)), Some(Ok(_))));
    }

    #[test]
    fn a_good_answer_counts_from_when_it_was_asked_for_and_no_longer_than_its_token() {
        let known = Introspections::new(CACHE);
        begin(&known, "slow", NOW).0.land_with(good(), later(20));
        learn(&known, "short", token(10, json!({})), NOW);
        for (text, ends) in [("slow", 30), ("short", 10)] {
            assert!(matches!(remembered(&known, text, later(ends - 1)), Some(Ok(_))), "{text}");
            assert!(remembered(&known, text, later(ends)).is_none(), "{text}");
        }
        let nothing = Introspections::new(Duration::ZERO);
        learn(&nothing, "a", good(), NOW);
        assert!(remembered(&nothing, "a", NOW).is_none());
        assert_eq!(nothing.held(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_live_longer() {
        let known = Introspections::new(CACHE);
        learn(&known, "a", good(), later(100));
        assert!(remembered(&known, "a", later(99)).is_some());
        assert!(remembered(&known, "a", later(98)).is_none());
    }

    #[test]
    fn that_a_token_is_not_good_is_remembered_briefly() {
        let known = Introspections::new(CACHE);
        for (text, denial) in [("made up", INACTIVE), ("for others", Denial::WrongAudience)] {
            learn(&known, text, refused(denial.clone()), NOW);
            assert_eq!(remembered(&known, text, later(4)).unwrap().unwrap_err(), denial);
            assert!(remembered(&known, text, later(5)).is_none());
        }
        let short = Introspections::new(Duration::from_secs(1));
        learn(&short, "x", refused(INACTIVE), NOW);
        assert!(remembered(&short, "x", later(1)).is_none(), "not for longer than a good one");
    }

    #[test]
    fn a_token_that_was_good_and_has_ended_is_told_from_one_that_never_was() {
        let known = Introspections::new(CACHE);
        learn(&known, "a", good(), NOW);
        learn(&known, "a", refused(INACTIVE), later(60));
        let ended = remembered(&known, "a", later(61)).unwrap().unwrap_err();
        assert_eq!(ended, Denial::TokenInactive { was_good: true });
        learn(&known, "b", refused(INACTIVE), later(60));
        assert_eq!(remembered(&known, "b", later(61)).unwrap().unwrap_err(), INACTIVE);
    }

    #[tokio::test]
    async fn also_without_a_memory_it_is_known_what_was_good_before_however_often_it_is_asked_about() {
        let nothing = Introspections::new(Duration::ZERO);
        learn(&nothing, "a", good(), NOW);
        let ended = Denial::TokenInactive { was_good: true };
        // What is said once may be a mistake of a moment; said twice it is known for a minute.
        for (asked, known_until) in [(1, None), (1, Some(60)), (61, Some(120)), (121, Some(180))] {
            let (flight, landing) = begin(&nothing, "a", later(asked));
            flight.land_with(refused(INACTIVE), later(asked));
            assert_eq!(landing.verdict().await.unwrap_err(), ended);
            if let Some(until) = known_until {
                assert_eq!(remembered(&nothing, "a", later(until)).unwrap().unwrap_err(), ended);
            }
        }
        learn(&nothing, "b", refused(INACTIVE), NOW);
        assert!(matches!(nothing.find(id("b"), later(1)), Lookup::Begun(..)), "of others nothing is known");
    }

    #[test]
    fn what_was_good_is_known_to_have_been_also_after_everything_was_forgotten() {
        let known = Introspections::new(CACHE);
        learn(&known, "a", good(), NOW);
        for round in 1..=3 {
            known.forget();
            learn(&known, "a", refused(INACTIVE), later(60 * round));
            let ended = remembered(&known, "a", later(60 * round)).unwrap().unwrap_err();
            assert_eq!(ended, Denial::TokenInactive { was_good: true }, "{round}");
        }
        learn(&known, "b", refused(INACTIVE), NOW);
        assert_eq!(known.memory.load().once_good.len(), 1, "made-up ones take no room there");
    }

    #[tokio::test]
    async fn a_call_without_an_answer_is_not_made_again_for_a_moment_and_says_nothing_of_the_token() {
        let known = Introspections::new(CACHE);
        learn(&known, "a", good(), NOW);
        let (flight, landing) = begin(&known, "a", later(30));
        flight.land_with(CallOutcome::Failed { of_the_server: false }, later(35));
        assert_eq!(landing.verdict().await.unwrap_err(), Denial::IntrospectionUnavailable);
        assert_eq!(
            remembered(&known, "a", later(35)).unwrap().unwrap_err(),
            Denial::IntrospectionUnavailable
        );
        learn(&known, "b", good(), later(35)); // others are asked about
        learn(&known, "a", refused(INACTIVE), later(36));
        let ended = remembered(&known, "a", later(36)).unwrap().unwrap_err();
        assert_eq!(ended, Denial::TokenInactive { was_good: true });
        let (flight, landing) = begin(&known, "dropped", later(40));
        drop(flight);
        assert_eq!(landing.verdict().await.unwrap_err(), Denial::IntrospectionUnavailable);
    }

    #[test]
    fn while_the_server_is_away_nobody_is_asked_about_any_token_for_a_moment() {
        let known = Introspections::new(CACHE);
        learn(&known, "good", good(), NOW);
        learn(&known, "a", CallOutcome::Failed { of_the_server: true }, NOW);
        assert!(matches!(known.find(id("b"), NOW), Lookup::Paused));
        assert!(matches!(remembered(&known, "good", NOW), Some(Ok(_))));
        begin(&known, "b", later(1));
    }

    #[test]
    fn strangers_cannot_take_all_the_room() {
        let known = Introspections::new(CACHE);
        learn(&known, "known", good(), NOW);
        learn(&known, "ended", good(), NOW);
        learn(&known, "ended", refused(INACTIVE), later(30));
        let now = later(60);
        let flights: Vec<_> = (0..CALLS_FOR_STRANGERS).map(|n| begin(&known, &n.to_string(), now)).collect();
        for text in ["one more", "ended"] {
            assert!(matches!(known.find(id(text), now), Lookup::Full), "{text}");
        }
        assert!(matches!(known.find(id("0"), now), Lookup::UnderWay(_)));
        let (flight, _) = begin(&known, "known", now);
        drop(flight);
        drop(flights);
        begin(&known, "one more", now);
    }

    #[test]
    fn made_up_tokens_push_no_good_one_out_and_memory_is_bounded() {
        let known = Introspections::new(CACHE);
        learn(&known, "in use", good(), NOW);
        for n in 0..3 * REFUSED {
            learn(&known, &format!("made up {n}"), refused(INACTIVE), NOW);
        }
        assert!(matches!(remembered(&known, "in use", NOW), Some(Ok(_))));
        let memory = known.memory.load();
        assert!(memory.refused.len() <= REFUSED);
        let roles = json!({"roles": vec!["a role with a long name"; 1000]});
        for n in 0..600 {
            learn(&known, &format!("large {n}"), token(300, roles.clone()), NOW);
        }
        assert!(memory.good.weight() <= BYTES && memory.good.len() < 500, "{}", memory.good.len());
    }

    #[tokio::test]
    async fn what_is_forgotten_does_not_come_back_with_a_call_that_began_before() {
        let known = Introspections::new(CACHE);
        learn(&known, "a", good(), NOW);
        let (flight, landing) = begin(&known, "b", NOW);
        known.forget();
        assert_eq!(known.held(), 0);
        let (again, _) = begin(&known, "b", NOW);
        flight.land_with(good(), NOW);
        assert!(landing.verdict().await.is_ok(), "whoever waited gets it");
        assert!(remembered(&known, "b", NOW).is_none());
        again.land_with(refused(INACTIVE), NOW);
        assert!(matches!(remembered(&known, "b", NOW), Some(Err(_))));
    }

    #[test]
    fn people_hear_once_a_minute_that_the_issuer_cannot_be_asked() {
        let known = Introspections::new(CACHE);
        assert!(
            known.failed("down", NOW) && !known.failed("slow", later(59)) && known.failed("down", later(60))
        );
        assert_eq!(known.trouble().as_deref(), Some("down"));
        assert!(known.answered() && !known.answered() && known.trouble().is_none());
        assert!(!known.failed("down", later(61)), "an issuer that fails now and then does not fill the log");
    }

    #[test]
    fn that_one_token_brought_no_answer_is_said_now_and_then_and_is_no_trouble_with_the_issuer() {
        let known = Introspections::new(CACHE);
        assert!(known.failed_for_one(NOW) && !known.failed_for_one(later(59)));
        assert_eq!(known.trouble(), None);
        assert!(known.failed("down", later(59)), "and silences nothing that is");
        assert!(known.failed_for_one(later(60)));
        assert_eq!(known.trouble().as_deref(), Some("down"));
    }
}
