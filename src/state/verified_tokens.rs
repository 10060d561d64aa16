//! The cache of verified access tokens, keyed by the fingerprint of the whole token. Bounded in bytes; when
//! it is full, tokens that were used only once go first, so that a client with many good tokens cannot push
//! out those in use.
//!
//! It must never call a token good for longer than its judgement holds: only while its times are right, its
//! issuer belongs to the current configuration (whose lists made its headers), and its issuer's keys are the
//! very ones that verified it. Whether it was revoked is asked elsewhere, each time. For an opaque token only
//! what was made of the answer is here; how long that answer counts is up to `state::introspections`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use ahash::RandomState;
use prometheus::IntCounter;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::core::caller::{Caller, CallerNotes};
use crate::core::identity_headers::HeaderList;
use crate::core::ids::FamilyId;
use crate::core::revocation::marks::TokenMarks;
use crate::core::time::Timestamp;
use crate::core::token::claims::ReadClaims;
use crate::core::token::fingerprint::Fingerprint;
use crate::core::token::jwks::KeySet;
use crate::core::token::verified::VerifiedToken;
use crate::state::issuer_keys::{IssuerState, Issuers};
use crate::state::token_memory::expected;

/// No request asks the store any more.
const NEVER: i64 = i64::MAX;
/// The furthest that a request may set the next question ahead, in milliseconds. A time beyond it was set
/// before the clock was put back.
const FURTHEST_AHEAD: i64 = 60_000;

/// What a token was verified by. Held weakly, for comparison alone, so that it can be freed.
#[derive(Debug)]
pub enum Grounds {
    /// A signature by a key of this set.
    Keys(Weak<KeySet>),
    /// This answer of its issuer.
    Word(Weak<VerifiedToken>),
}

/// The caller of a verified token, with all that was found out about it.
pub type KnownCaller = Caller<TokenNotes>;

/// What is known of a verified token beside whom it names.
#[derive(Debug)]
#[repr(C)] // in this order: see `VerifiedToken`
pub struct TokenNotes {
    /// The fingerprint of its text.
    pub fingerprint: Fingerprint,
    /// The counter of its uses.
    pub uses: IntCounter,
    /// The issuer, as of the configuration that judged the token.
    pub issuer: Arc<IssuerState>,
    grounds: Grounds,
    /// From when on, in milliseconds, a request with it asks the store which session it is of. [`NEVER`]: one
    /// does, or did.
    asks_from: AtomicI64,
    size: u64,
    /// The keys by which it is looked up in the list of revocations.
    pub marks: TokenMarks,
    /// The session it was handed out in, once known.
    family: OnceLock<FamilyId>,
}

impl CallerNotes for TokenNotes {
    fn marks(&self) -> Option<&TokenMarks> {
        Some(&self.marks)
    }

    fn family(&self) -> Option<FamilyId> {
        self.family.get().copied()
    }

    fn set_family(&self, family: FamilyId) {
        let _ = self.family.set(family);
    }
}

impl TokenNotes {
    pub const fn new(
        fingerprint: Fingerprint,
        marks: TokenMarks,
        uses: IntCounter,
        issuer: Arc<IssuerState>,
        grounds: Grounds,
    ) -> Self {
        let asks_from = AtomicI64::new(i64::MIN);
        Self { fingerprint, uses, issuer, grounds, asks_from, size: 0, marks, family: OnceLock::new() }
    }

    /// Makes the caller of this token. `headers` (see [`Caller::new`]) are filled from all of its claims; of
    /// the claims only those that the configuration still reads are kept.
    pub fn of(self, token: VerifiedToken, headers: &[HeaderList], reads: &ReadClaims) -> Arc<KnownCaller> {
        let mut made = Caller::new(token, headers, self).with_only(reads);
        let other_names = size_of_val(&*made.notes.marks.by_other_names);
        let size = ROOM.saturating_add(made.size()).saturating_add(other_names);
        made.notes.size = u64::try_from(size).unwrap_or(u64::MAX);
        Arc::new(made)
    }

    /// Returns whether this request is to ask the store which session the token is of: the first is, and then
    /// none until [`Self::asks_again_from`].
    pub fn claim_lookup(&self, now: Timestamp) -> bool {
        let from = self.asks_from.load(Ordering::Relaxed);
        let takes = || self.asks_from.compare_exchange(from, NEVER, Ordering::Relaxed, Ordering::Relaxed);
        let wait = from.saturating_sub(now.as_millis());
        let is_due = wait <= 0 || (from != NEVER && wait > FURTHEST_AHEAD);
        is_due && takes().is_ok()
    }

    /// Lets a request ask again from `moment` on, at most a minute ahead, after one got no answer.
    pub fn asks_again_from(&self, moment: Timestamp) {
        self.asks_from.store(moment.as_millis(), Ordering::Relaxed);
    }

    /// Whether its issuer's keys are still those that verified it.
    pub fn has_its_keys(&self) -> bool {
        matches!(&self.grounds, Grounds::Keys(keys) if self.issuer.has_keys(keys))
    }

    /// Whether it was verified by a signature, rather than by its issuer's answer.
    pub const fn was_signed(&self) -> bool {
        matches!(self.grounds, Grounds::Keys(_))
    }

    /// Whether it was verified by this answer.
    pub fn rests_on(&self, answer: &Arc<VerifiedToken>) -> bool {
        matches!(&self.grounds, Grounds::Word(word) if std::ptr::eq(word.as_ptr(), Arc::as_ptr(answer)))
    }
}

impl KnownCaller {
    /// Whether its token would be verified by these issuers too, as far as they decide that: by the same
    /// rules, and by the issuer's current keys or answer.
    pub fn is_good_by(&self, issuers: &Issuers) -> bool {
        let judged_by = &self.notes.issuer.settings;
        let same = issuers.by_name(&judged_by.name).filter(|now| now.settings.rules == judged_by.rules);
        let Some(issuer) = same else { return false };
        match &self.notes.grounds {
            Grounds::Keys(keys) => {
                let has_its_key = |kid| issuer.keys().is_some_and(|keys| keys.has(kid));
                issuer.has_keys(keys) || self.token().kid().is_some_and(has_its_key)
            }
            Grounds::Word(_) => issuer.introspections().is_some(),
        }
    }
}

/// What an entry takes beside what was found, in bytes: its places in a list and a table.
const ROOM: usize = 128;

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<u64, Arc<KnownCaller>> for Bytes {
    fn weight(&self, _: &u64, remembered: &Arc<KnownCaller>) -> u64 {
        remembered.notes.size
    }
}

/// The verified tokens, by a prefix of their fingerprints, which keeps the table small; the whole fingerprint
/// is compared at the value. Of two tokens with one prefix the newer is known.
#[derive(Debug)]
pub struct VerifiedTokens(Cache<u64, Arc<KnownCaller>, Bytes, RandomState>);

impl VerifiedTokens {
    /// Remembers nothing yet. `limit`: in bytes (see `limits.token_memory`).
    pub fn new(limit: u64) -> Self {
        let (hashed, life) = (RandomState::new(), DefaultLifecycle::default());
        Self(Cache::with(expected(limit), limit, Bytes, hashed, life))
    }

    /// Changes the limit, in bytes.
    pub fn set_limit(&self, limit: u64) {
        if self.0.capacity() != limit {
            self.0.set_capacity(limit);
        }
    }

    /// What was found out about a token, while configuration and clock allow. The caller must still make sure
    /// that the keys are not too old, and then compare them.
    pub fn get(&self, token: &Fingerprint, issuers: &Issuers, now: Timestamp) -> Option<Arc<KnownCaller>> {
        let found = self.0.get(&token.prefix()).filter(|found| found.notes.fingerprint == *token)?;
        if !found.token().is_timely(now) {
            self.forget(token);
            return None;
        }
        issuers.has(&found.notes.issuer).then_some(found)
    }

    pub fn remember(&self, found: Arc<KnownCaller>) {
        self.0.insert(found.notes.fingerprint.prefix(), found);
    }

    pub fn forget(&self, token: &Fingerprint) {
        self.0.remove_if(&token.prefix(), |found| found.notes.fingerprint == *token);
    }

    /// How many tokens there are, and how many bytes they take.
    pub fn held(&self) -> (usize, u64) {
        (self.0.len(), self.0.weight())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::IntCounter;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::settings::KeySource;
    use crate::core::ids::IssuerName;
    use crate::core::revocation::TokenIdentity;
    use crate::core::revocation::marks::MarkKey;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{ISS, NOW, claims, jwks, keys, rules, with};
    use crate::state::issuer_keys::testing::issuer;

    const LIMIT: u64 = 1 << 20;

    fn issuers() -> Issuers {
        Issuers::new(&[Arc::new(issuer(ISS, KeySource::Discovery(None)))], None)
    }

    /// What is found of a token with these claims, under as many names as one likes.
    fn found(issuers: &Issuers, changes: Value, reads: &[&str]) -> impl Fn(usize) -> Arc<KnownCaller> {
        let reads: ReadClaims = reads.iter().copied().collect();
        let keys_of = Arc::new(KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0);
        let text = keys().p256.sign(&with(claims(), changes));
        let token = Unverified::parse(&text, 1 << 16).unwrap().verify(&keys_of, &rules(), NOW).unwrap();
        let marks = TokenMarks::of(&MarkKey::from_random(&[1; 16]), &TokenIdentity::of(&token, ISS, &text));
        let uses = IntCounter::new("uses", "uses").unwrap();
        let issuer = issuers.by_name(&IssuerName::new("demo")).unwrap().clone();
        move |at| {
            let (marks, uses, issuer) = (marks.clone(), uses.clone(), issuer.clone());
            let grounds = Grounds::Keys(Arc::downgrade(&keys_of));
            TokenNotes::new(nth(at), marks, uses, issuer, grounds).of(token.clone(), &[], &reads)
        }
    }

    fn nth(at: usize) -> Fingerprint {
        Fingerprint::of(at.to_string())
    }

    #[test]
    fn memory_is_bounded_and_tokens_in_use_outlive_a_flood_of_good_ones() {
        let (memory, issuers) = (VerifiedTokens::new(LIMIT), issuers());
        let found = found(&issuers, json!({}), &[]);
        let knows = |at| memory.get(&nth(at), &issuers, NOW).is_some();
        let in_use = 50;
        for at in 0..in_use {
            memory.remember(found(at));
            assert!(knows(at));
        }
        for at in 1000..20_000 {
            memory.remember(found(at));
        }
        assert_eq!((0..in_use).filter(|at| knows(*at)).count(), in_use);
        let (tokens, bytes) = memory.held();
        assert!(bytes <= LIMIT && bytes > LIMIT / 2, "{bytes}");
        assert!((100..1500).contains(&tokens), "{tokens}: each takes a kilobyte or two");
    }

    #[test]
    fn what_is_small_on_the_wire_and_large_in_memory_counts_as_large() {
        let issuers = issuers();
        let nested: Value = vec![json!([]); 2000].into();
        let changes = json!({ "nested": nested });
        let plain = found(&issuers, json!({}), &["nested"])(0);
        let large = found(&issuers, changes.clone(), &["nested"])(0);
        assert!(large.notes.size > plain.notes.size + 2000 * 60);
        let unread = found(&issuers, changes, &[])(0);
        assert!(unread.notes.size < plain.notes.size, "what nobody reads is not kept");
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up_for_as_long() {
        let asked = found(&issuers(), json!({}), &[])(0);
        let (found, after) = (&asked.notes, |seconds| NOW.plus(Duration::from_secs(seconds)));
        let back = NOW.minus(Duration::from_secs(3600));
        assert!(found.claim_lookup(NOW) && !found.claim_lookup(NOW) && !found.claim_lookup(back), "once");
        found.asks_again_from(after(15));
        assert!(!found.claim_lookup(NOW) && !found.claim_lookup(after(14)));
        assert!(found.claim_lookup(back), "it was said by another clock");
        assert!(!found.claim_lookup(back) && !found.claim_lookup(after(3600)), "once");
        found.asks_again_from(after(15));
        assert!(found.claim_lookup(after(15)));
    }

    #[test]
    fn without_a_limit_above_zero_nothing_is_remembered() {
        let (memory, issuers) = (VerifiedTokens::new(LIMIT), issuers());
        memory.remember(found(&issuers, json!({}), &[])(1));
        assert_eq!(memory.held().0, 1);
        memory.set_limit(0);
        assert_eq!(memory.held(), (0, 0));
        memory.remember(found(&issuers, json!({}), &[])(1));
        assert_eq!(memory.held(), (0, 0));
    }
}
