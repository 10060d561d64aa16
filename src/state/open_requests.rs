//! The requests that are under way for somebody: whoever takes access back must reach them, also while nothing passes.
//! Each can be told to end; `flows::open_requests` decides which are, `edge` ends them.
//!
//! What lasts has an end, the one of its token. It goes on where its session has got another in time: those that came to
//! this process are kept here for as long as something of their session lasts.
//!
//! It must never say that somebody may go on.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::task::AtomicWaker;

use crate::core::caller::Caller;
use crate::core::revocation::marks::GrantMarks;
use crate::core::route::Route;
use crate::core::route::path::CanonicalPath;
use crate::core::session::grant::{FamilyId, Timeouts};
use crate::core::time::Timestamp;

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
    /// What its access token was found to be.
    pub token: Arc<Caller>,
}

/// One request under way.
#[derive(Debug)]
pub struct OpenRequest {
    /// By which it was let in.
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
    /// Of its session, once that is known.
    tokens: OnceLock<Arc<Tokens>>,
    holds: Mutex<Holds>,
}

/// By what it goes on, and until when.
#[derive(Clone, Debug)]
pub struct Holds {
    pub token: Arc<Caller>,
    pub until: Timestamp,
}

/// Access tokens of one session that came to this process while something of it lasts.
#[derive(Debug, Default)]
struct Tokens(Mutex<Vec<Arc<Caller>>>);

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

    /// Its answer has begun, and goes on until somebody ends it: `until`, unless there is another token by then.
    pub fn lasts(&self, route: Arc<Route>, path: CanonicalPath, until: Timestamp) {
        let holds = Mutex::new(Holds { token: self.token.clone(), until });
        let lasting = Lasting { route, path, tokens: OnceLock::new(), holds };
        let _ = self.lasting.set(Box::new(lasting));
    }

    /// Tells whoever serves it to end it. The first reason counts; false where there was one.
    pub fn end(&self, why: Ending) -> bool {
        let first = self.ending.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire).is_ok();
        self.told.wake();
        first
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
    pub fn goes_on(&self, holds: Holds) {
        *lock(&self.holds) = holds;
    }

    /// The tokens that its session has got here, the one that lives longest first.
    pub fn tokens(&self) -> Vec<Arc<Caller>> {
        self.tokens.get().map(|tokens| lock(&tokens.0).clone()).unwrap_or_default()
    }
}

impl Tokens {
    fn add(&self, token: &Arc<Caller>, now: Timestamp) {
        let mut all = lock(&self.0);
        let ends = |token: &Arc<Caller>| token.token().expires_at();
        all.retain(|known| ends(known) > now && !is_same(known, token));
        let at = all.partition_point(|known| ends(known) > ends(token));
        all.insert(at, token.clone());
        all.truncate(TOKENS);
    }
}

/// Whether both are the same reading of the same token.
fn is_same(one: &Arc<Caller>, other: &Arc<Caller>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

/// All that are under way for somebody.
#[derive(Debug, Default)]
pub struct OpenRequests {
    /// By their addresses in memory.
    all: DashMap<usize, Arc<OpenRequest>, RandomState>,
    /// Of the sessions of which something lasts.
    sessions: DashMap<FamilyId, Weak<Tokens>, RandomState>,
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
    pub fn belongs(&self, lasting: &Lasting, family: FamilyId) {
        let tokens = match self.sessions.entry(family) {
            Entry::Occupied(mut known) => known.get().upgrade().unwrap_or_else(|| {
                let tokens = Arc::default();
                known.insert(Arc::downgrade(&tokens));
                tokens
            }),
            Entry::Vacant(place) => {
                let tokens = Arc::default();
                place.insert(Arc::downgrade(&tokens));
                tokens
            }
        };
        let _ = lasting.tokens.set(tokens);
    }

    /// A session has got this access token. Kept where something of the session lasts.
    pub fn renewed(&self, family: FamilyId, token: &Arc<Caller>, now: Timestamp) {
        let tokens = self.sessions.get(&family).and_then(|tokens| tokens.upgrade());
        if let Some(tokens) = tokens {
            tokens.add(token, now);
        }
    }

    /// Forgets sessions of which nothing lasts any more.
    pub fn sweep(&self) {
        self.sessions.retain(|_, tokens| tokens.strong_count() > 0);
    }

    /// How many sessions have something that lasts; some may be over.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}
