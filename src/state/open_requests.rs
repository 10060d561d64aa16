//! The requests in flight that were let in for a caller. When the caller's access is taken back they must
//! end, even if no byte passes. `flows::open_requests` decides which end, `edge` ends them.
//!
//! A long-lived response ends with its access token, unless its session has another by then: the tokens of
//! such sessions that come to this process are kept here for that.
//!
//! It must never decide that a request may go on.

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

/// The most tokens kept of one session. A page needs one, and the next before that expires.
const TOKENS: usize = 16;

/// Why a request in flight was ended: the label `cause` of `streams_ended_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ending {
    /// Its token or its session was taken back.
    Revoked = 1,
    /// Its token has expired, and its session has no other that the route takes.
    Expired,
    /// Its session is over: signed out, or timed out.
    SessionOver,
    /// The list of revocations is out of date.
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

/// The session whose cookie let a request in.
#[derive(Debug)]
pub struct OfSession {
    pub family: FamilyId,
    pub marks: GrantMarks,
    pub signed_in_at: Timestamp,
    pub last_used_at: Timestamp,
    pub timeouts: Timeouts,
    pub client: Arc<Client>,
    /// Set while the store is asked whether the session was used at another replica.
    pub is_asked_about: AtomicBool,
    /// The access token of the session, as it was verified.
    pub token: Arc<Caller>,
}

/// One request in flight.
#[derive(Debug)]
pub struct OpenRequest {
    /// The caller that was let in.
    token: Arc<Caller>,
    session: Option<Box<OfSession>>,
    lasting: OnceLock<Box<Lasting>>,
    /// An [`Ending`], or 0.
    ending: AtomicU8,
    told: AtomicWaker,
}

/// A response that goes on until somebody ends it: a WebSocket, a feed, gRPC.
#[derive(Debug)]
pub struct Lasting {
    pub route: Arc<Route>,
    pub path: CanonicalPath,
    /// The tokens of its session, once it is known which session that is.
    tokens: OnceLock<Arc<Tokens>>,
    holds: Mutex<Holds>,
}

/// The token that lets a response go on, and until when.
#[derive(Clone, Debug)]
pub struct Holds {
    pub token: Arc<Caller>,
    pub until: Timestamp,
}

/// The access tokens of one session that came to this process while one of its responses goes on.
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

    /// The token that lets the request go on now.
    pub fn token(&self) -> Arc<Caller> {
        self.lasting().map_or_else(|| self.token.clone(), |lasting| lasting.holds().token)
    }

    /// Marks the response as long-lived. It ends at `until`, unless its session has another token by then.
    pub fn mark_lasting(&self, route: Arc<Route>, path: CanonicalPath, until: Timestamp) {
        let holds = Mutex::new(Holds { token: self.token.clone(), until });
        let lasting = Lasting { route, path, tokens: OnceLock::new(), holds };
        let _ = self.lasting.set(Box::new(lasting));
    }

    /// Ends the request. The first reason counts.
    pub fn end(&self, why: Ending) {
        let _ = self.ending.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
        self.told.wake();
    }

    /// Why the request was ended, if it was.
    pub fn ending(&self) -> Option<Ending> {
        let ending = self.ending.load(Ordering::Acquire);
        Ending::ALL.into_iter().find(|why| *why as u8 == ending)
    }

    /// Ready once the request was ended; registers the task to be woken then.
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

    /// Lets the response go on with another token.
    pub fn continue_by(&self, holds: Holds) {
        *lock(&self.holds) = holds;
    }

    /// The tokens of its session that came here, the one that expires last first.
    pub fn tokens(&self) -> Vec<Arc<KnownCaller>> {
        self.tokens.get().map(|tokens| lock(&tokens.0).clone()).unwrap_or_default()
    }
}

impl Tokens {
    fn add(&self, token: &Arc<KnownCaller>, now: Timestamp) {
        let mut all = lock(&self.0);
        let ends = |token: &KnownCaller| token.token().expires_at();
        // The same token may be here as verified at other times; all of these are kept.
        all.retain(|known| ends(known) > now && !Arc::ptr_eq(known, token));
        let at = all.partition_point(|known| ends(known) > ends(token));
        all.insert(at, token.clone());
        all.truncate(TOKENS);
    }
}

/// All requests in flight that were let in for a caller.
#[derive(Debug, Default)]
pub struct OpenRequests {
    /// Every open request, under its address in memory.
    all: DashMap<usize, Arc<OpenRequest>, RandomState>,
    /// The tokens of the sessions that have a long-lived response.
    sessions: DashMap<FamilyId, Weak<Tokens>, RandomState>,
    /// The size of [`Self::sessions`], to be read without a lock.
    known: AtomicUsize,
}

fn place(open: &Arc<OpenRequest>) -> usize {
    Arc::as_ptr(open).addr()
}

impl OpenRequests {
    /// Adds a request that was let in by this token, which may be its session's.
    pub fn enter(&self, token: Arc<Caller>, session: Option<Box<OfSession>>) -> Arc<OpenRequest> {
        let (lasting, ending, told) = (OnceLock::new(), AtomicU8::new(0), AtomicWaker::new());
        let open = Arc::new(OpenRequest { token, session, lasting, ending, told });
        self.all.insert(place(&open), open.clone());
        open
    }

    /// Removes a request that is over.
    pub fn leave(&self, open: &Arc<OpenRequest>) {
        self.all.remove(&place(open));
    }

    /// The requests in flight now.
    pub fn all(&self) -> Vec<Arc<OpenRequest>> {
        self.all.iter().map(|entry| entry.value().clone()).collect()
    }

    /// Notes which session a long-lived response belongs to, so that it sees that session's tokens.
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

    /// Keeps an access token that a session was given or has used, if one of its responses is long-lived.
    pub fn renewed(&self, family: FamilyId, token: &Arc<KnownCaller>, now: Timestamp) {
        let tokens = self.sessions.get(&family).and_then(|tokens| tokens.upgrade());
        if let Some(tokens) = tokens {
            tokens.add(token, now);
        }
    }

    /// Whether the session has a long-lived response.
    pub fn has_lasting(&self, family: FamilyId) -> bool {
        self.sessions() > 0 && self.sessions.get(&family).is_some_and(|tokens| tokens.strong_count() > 0)
    }

    /// Forgets the sessions that have no long-lived response any more.
    pub fn sweep(&self) {
        self.sessions.retain(|_, tokens| {
            let stays = tokens.strong_count() > 0;
            if !stays {
                self.known.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
    }

    /// How many sessions have a long-lived response; some may have ended since the last [`Self::sweep`].
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
