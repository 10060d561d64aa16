//! The requests that are under way for somebody: whoever takes access back must reach them, also while
//! nothing passes. Each can be told to end; `flows::open_requests` decides which are, `edge` ends them.
//!
//! What lasts has an end, the one of its token. It goes on where its session has got another in time: those
//! that came to this process are kept here for as long as something of their session lasts.
//!
//! It must never say that somebody may go on.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::task::AtomicWaker;

use crate::config::settings::Client;
use crate::core::caller::Caller;
use crate::core::ids::FamilyId;
use crate::core::path::CanonicalPath;
use crate::core::revocation::marks::GrantMarks;
use crate::core::route::Route;
use crate::core::session::grant::Timeouts;
use crate::core::time::Timestamp;
use crate::state::verified_tokens::KnownCaller;

/// The tokens of one session that are kept here at once. A page needs one, and another before that ends.
const TOKENS: usize = 16;

/// Why a request under way was ended: the label `cause` of `streams_ended_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ending {
    /// Its token or its session was taken back.
    Revoked = 1,
    /// Its token has expired, and its session got no other that would do.
    Expired,
    /// Its session is over: signed out, or timed out.
    SessionOver,
    /// It is not known any more what was taken back.
    RevocationsUnavailable,
}

impl Ending {
    pub const ALL: [Self; 4] =
        [Self::Revoked, Self::Expired, Self::SessionOver, Self::RevocationsUnavailable];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::SessionOver => "session_over",
            Self::RevocationsUnavailable => "revocations_unavailable",
        }
    }
}

/// The session by whose cookie somebody was let in.
#[derive(Debug)]
pub struct OfSession {
    pub family: FamilyId,
    pub marks: GrantMarks,
    pub signed_in_at: Timestamp,
    pub last_used_at: Timestamp,
    pub timeouts: Timeouts,
    pub client: Arc<Client>,
    /// Somebody asks the store whether it is used elsewhere.
    pub is_asked_about: AtomicBool,
    /// What its access token was found to be.
    pub token: Arc<Caller>,
}

/// One request under way.
#[derive(Debug)]
pub struct OpenRequest {
    /// The caller by whose token it was let in.
    token: Arc<Caller>,
    session: Option<Box<OfSession>>,
    lasting: OnceLock<Box<Lasting>>,
    /// An [`Ending`], or 0.
    ending: AtomicU8,
    told: AtomicWaker,
}

/// What goes on until somebody ends it.
#[derive(Debug)]
pub struct Lasting {
    pub route: Arc<Route>,
    pub path: CanonicalPath,
    /// The tokens of its session, once that is known.
    tokens: OnceLock<Arc<Tokens>>,
    holds: Mutex<Holds>,
}

/// What a request goes on by, and until when.
#[derive(Clone, Debug)]
pub struct Holds {
    pub token: Arc<Caller>,
    pub until: Timestamp,
}

/// Access tokens of one session that came to this process while something of it lasts.
#[derive(Debug, Default)]
struct Tokens(Mutex<Vec<Arc<KnownCaller>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OpenRequest {
    pub fn session(&self) -> Option<&OfSession> {
        self.session.as_deref()
    }

    pub fn lasting(&self) -> Option<&Lasting> {
        self.lasting.get().map(|lasting| &**lasting)
    }

    /// The token that it goes on by.
    pub fn token(&self) -> Arc<Caller> {
        self.lasting().map_or_else(|| self.token.clone(), |lasting| lasting.holds().token)
    }

    /// Its answer has begun, and goes on until somebody ends it: `until`, unless there is another token by
    /// then.
    pub fn mark_lasting(&self, route: Arc<Route>, path: CanonicalPath, until: Timestamp) {
        let holds = Mutex::new(Holds { token: self.token.clone(), until });
        let lasting = Lasting { route, path, tokens: OnceLock::new(), holds };
        let _ = self.lasting.set(Box::new(lasting));
    }

    /// Tells whoever serves it to end it. The first reason counts.
    pub fn end(&self, why: Ending) {
        let _ = self.ending.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
        self.told.wake();
    }

    /// Why it was told to end, if it was.
    pub fn ending(&self) -> Option<Ending> {
        let ending = self.ending.load(Ordering::Acquire);
        Ending::ALL.into_iter().find(|why| *why as u8 == ending)
    }

    /// Ready once it was told to end.
    pub fn poll_ending(&self, cx: &Context<'_>) -> Poll<Ending> {
        if self.ending.load(Ordering::Acquire) == 0 {
            self.told.register(cx.waker());
        }
        self.ending().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Lasting {
    pub fn holds(&self) -> Holds {
        lock(&self.holds).clone()
    }

    /// It goes on by another token.
    pub fn continue_by(&self, holds: Holds) {
        *lock(&self.holds) = holds;
    }

    /// The tokens that its session has got here, the one that lives longest first.
    pub fn tokens(&self) -> Vec<Arc<KnownCaller>> {
        self.tokens.get().map(|tokens| lock(&tokens.0).clone()).unwrap_or_default()
    }
}

impl Tokens {
    fn add(&self, token: &Arc<KnownCaller>, now: Timestamp) {
        let mut all = lock(&self.0);
        let ends = |token: &KnownCaller| token.token().expires_at();
        // Of one token there may be several readings.
        all.retain(|known| ends(known) > now && !Arc::ptr_eq(known, token));
        let at = all.partition_point(|known| ends(known) > ends(token));
        all.insert(at, token.clone());
        all.truncate(TOKENS);
    }
}

/// All that are under way for somebody.
#[derive(Debug, Default)]
pub struct OpenRequests {
    /// Every open request, under its address in memory.
    all: DashMap<usize, Arc<OpenRequest>, RandomState>,
    /// The tokens of the sessions of which something lasts.
    sessions: DashMap<FamilyId, Weak<Tokens>, RandomState>,
    /// How many these are, to ask without a lock.
    known: AtomicUsize,
}

fn place(open: &Arc<OpenRequest>) -> usize {
    Arc::as_ptr(open).addr()
}

impl OpenRequests {
    /// A request was let in by this token, or by its session's.
    pub fn enter(&self, token: Arc<Caller>, session: Option<Box<OfSession>>) -> Arc<OpenRequest> {
        let (lasting, ending, told) = (OnceLock::new(), AtomicU8::new(0), AtomicWaker::new());
        let open = Arc::new(OpenRequest { token, session, lasting, ending, told });
        self.all.insert(place(&open), open.clone());
        open
    }

    /// It is over.
    pub fn leave(&self, open: &Arc<OpenRequest>) {
        self.all.remove(&place(open));
    }

    /// Those that are under way now.
    pub fn all(&self) -> Vec<Arc<OpenRequest>> {
        self.all.iter().map(|entry| entry.value().clone()).collect()
    }

    /// It is known whose session a lasting one belongs to.
    pub fn assign_to_session(&self, lasting: &Lasting, family: FamilyId) {
        let tokens = match self.sessions.entry(family) {
            Entry::Occupied(mut known) => known.get().upgrade().unwrap_or_else(|| {
                let tokens = Arc::default();
                known.insert(Arc::downgrade(&tokens));
                tokens
            }),
            Entry::Vacant(place) => {
                let tokens = Arc::default();
                place.insert(Arc::downgrade(&tokens));
                self.known.fetch_add(1, Ordering::Relaxed);
                tokens
            }
        };
        let _ = lasting.tokens.set(tokens);
    }

    /// A session has got this access token, or uses it. Kept where something of the session lasts.
    pub fn renewed(&self, family: FamilyId, token: &Arc<KnownCaller>, now: Timestamp) {
        let tokens = self.sessions.get(&family).and_then(|tokens| tokens.upgrade());
        if let Some(tokens) = tokens {
            tokens.add(token, now);
        }
    }

    /// Whether something of this session lasts.
    pub fn has_lasting(&self, family: FamilyId) -> bool {
        self.sessions() > 0 && self.sessions.get(&family).is_some_and(|tokens| tokens.strong_count() > 0)
    }

    /// Forgets sessions of which nothing lasts any more.
    pub fn sweep(&self) {
        self.sessions.retain(|_, tokens| {
            let stays = tokens.strong_count() > 0;
            if !stays {
                self.known.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
    }

    /// How many sessions have something that lasts; some may be over.
    pub fn sessions(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use prometheus::IntCounter;
    use serde_json::json;

    use super::*;
    use crate::config::settings::KeySource;
    use crate::core::ids::RouteName;
    use crate::core::revocation::TokenIdentity;
    use crate::core::revocation::marks::{MarkKey, TokenMarks};
    use crate::core::route;
    use crate::core::token::fingerprint::Fingerprint;
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{ISS, NOW, claims, jwks, keys, rules, with};
    use crate::state::issuer_keys::Issuers;
    use crate::state::issuer_keys::testing::issuer;
    use crate::state::verified_tokens::{Grounds, TokenNotes};

    const FAMILY: FamilyId = FamilyId::from_bytes([1; 16]);

    /// A token that lives for so many seconds.
    fn token(life: i64) -> Arc<KnownCaller> {
        let key = &keys().p256;
        let (set, _) = KeySet::parse(&jwks(&[key.jwk()])).unwrap();
        let text = key.sign(&with(claims(), json!({ "exp": NOW.as_secs() + life })));
        let token = Unverified::parse(&text, 8192).unwrap().verify(&set, &rules(), NOW).unwrap();
        let issuers = Issuers::new(&[Arc::new(issuer(ISS, KeySource::Discovery(None)))], None);
        let marks = TokenMarks::of(&MarkKey::from_random(&[1; 16]), &TokenIdentity::of(&token, ISS, &text));
        let (uses, grounds) = (IntCounter::new("uses", "uses").unwrap(), Grounds::Keys(Weak::new()));
        let issuer = issuers.iter().next().unwrap().clone();
        TokenNotes::new(Fingerprint::of(text), marks, uses, issuer, grounds).of(
            token,
            &[],
            &[].into_iter().collect(),
        )
    }

    fn route() -> Arc<Route> {
        Arc::new(Route { name: RouteName::new("chat"), ..route::testing::route("/chat") })
    }

    #[test]
    fn who_serves_it_hears_that_it_ends_once_and_for_the_first_reason() {
        let all = OpenRequests::default();
        let (one, other) = (all.enter(token(60), None), all.enter(token(60), None));
        let (waker, woken) = counting_waker();
        let cx = Context::from_waker(&waker);
        assert!(one.poll_ending(&cx).is_pending() && other.poll_ending(&cx).is_pending());
        one.end(Ending::Revoked);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        one.end(Ending::Expired);
        assert_eq!(one.poll_ending(&cx), Poll::Ready(Ending::Revoked));
        assert!(other.poll_ending(&cx).is_pending());
        for why in Ending::ALL {
            let open = all.enter(token(60), None);
            open.end(why);
            assert_eq!(open.ending(), Some(why));
            all.leave(&open);
        }
        all.leave(&one);
        assert_eq!(all.all().len(), 1);
    }

    /// A waker that counts.
    fn counting_waker() -> (Waker, Arc<AtomicUsize>) {
        #[derive(Default)]
        struct Counts(Arc<AtomicUsize>);
        impl Wake for Counts {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let counts = Counts::default();
        let count = counts.0.clone();
        (Arc::new(counts).into(), count)
    }

    #[test]
    fn the_tokens_of_a_session_are_known_while_something_of_it_lasts_and_never_too_many() {
        let all = OpenRequests::default();
        all.renewed(FAMILY, &token(60), NOW);
        let open = all.enter(token(60), None);
        open.mark_lasting(route(), CanonicalPath::parse(b"/chat").unwrap(), NOW);
        let lasting = open.lasting().unwrap();
        assert!(lasting.tokens().is_empty());
        assert!(!all.has_lasting(FAMILY));
        all.assign_to_session(lasting, FAMILY);
        assert!(all.has_lasting(FAMILY) && !all.has_lasting(FamilyId::from_bytes([2; 16])));
        assert!(lasting.tokens().is_empty(), "what came before is not known");
        let lives = || -> Vec<i64> {
            let ends = |token: &Arc<KnownCaller>| token.token().expires_at().as_secs() - NOW.as_secs();
            lasting.tokens().iter().map(ends).collect()
        };
        let twice = token(30);
        for token in [&token(60), &twice, &token(90), &twice] {
            all.renewed(FAMILY, token, NOW);
        }
        all.renewed(FamilyId::from_bytes([2; 16]), &token(600), NOW);
        assert_eq!(lives(), [90, 60, 30]);
        all.renewed(FAMILY, &token(70), NOW.plus(Duration::from_secs(60)));
        assert_eq!(lives(), [90, 70], "what has expired is forgotten");
        (100..200).for_each(|life| all.renewed(FAMILY, &token(life), NOW));
        assert_eq!(lives(), (184..200).rev().collect::<Vec<_>>());
        all.leave(&open);
        all.sweep();
        assert_eq!(all.sessions(), 1, "still held");
        drop(open);
        assert!(!all.has_lasting(FAMILY));
        all.sweep();
        assert_eq!(all.sessions(), 0);
    }
}
