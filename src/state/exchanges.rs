//! The exchanges that this process knows of, by family: each family's state machine
//! ([`crate::core::session::exchange`]) beside the answer that its waiters wait for.
//!
//! Memory only. A family is remembered until no grant of it can be good any more, so that a spent
//! or signed-out cookie is refused for as long as it could be presented; answers are kept for their
//! window. A restart forgets all of it: what outlives one comes with the store.
//!
//! No guard of the map is held across an await: every method here is synchronous.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::{DashMap, DashSet};
use tokio::sync::watch;

use crate::core::denial::{Denial, SessionEnd};
use crate::core::ids::ClientName;
use crate::core::secret::SecretString;
use crate::core::session::exchange::{Decision, Family, FlightId, Landed, Shape, Windows};
use crate::core::session::grant::{FamilyId, Grant};
use crate::core::session::oauth::answer::PageTokens;
use crate::core::time::Timestamp;

/// How often what is out of its window is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// What a landed flight gives to everybody who waited for it.
#[derive(Debug)]
pub struct Exchanged {
    /// For the page; or why it gets no token although the session goes on.
    pub page: Result<PageTokens, Denial>,
    /// It is recorded as use of the session.
    pub used: bool,
    /// The successor's grant, sealed.
    pub cookie: SecretString,
    pub session_ends_at: Timestamp,
    pub landed_at: Timestamp,
    pub subject: Option<String>,
}

/// The most code exchanges at once. Anybody can begin one, and each may wait a minute for a slow AS.
pub const CODE_EXCHANGES: usize = 1_000;

type FlightResult = Result<Arc<Exchanged>, Denial>;

/// All families of this process.
#[derive(Debug, Default)]
pub struct Exchanges {
    families: Arc<DashMap<FamilyId, Entry>>,
    next_sweep: AtomicI64,
    code_exchanges: Arc<AtomicUsize>,
    warned: DashSet<ClientName>,
}

/// Leave to exchange a code at the AS; it is given back when dropped.
#[derive(Debug)]
pub struct CodeExchanging(Arc<AtomicUsize>);

impl Drop for CodeExchanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct Entry {
    family: Family<Arc<Exchanged>>,
    /// Of the flight under way.
    waiting: Option<watch::Receiver<Option<FlightResult>>>,
    windows: Windows,
}

impl Entry {
    /// A flight is under way exactly while somebody can wait for it; were it not, the wait is over at once.
    fn waiting(&self) -> Waiting {
        Waiting(self.waiting.clone().unwrap_or_else(|| watch::channel(None).1))
    }
}

/// What becomes of a presented grant.
#[derive(Debug)]
pub enum Presented {
    /// Exchange `grant` and land `flight`; `waiting` hears of it too.
    Begin {
        flight: UnderWay,
        waiting: Waiting,
        grant: Box<Grant>,
        recovers: bool,
    },
    /// Somebody's flight brings the answer.
    Join(Waiting),
    /// Somebody's flight is in the way; present again after it.
    AskAgain(Waiting),
    AnswerAgain {
        answer: Arc<Exchanged>,
        age: Duration,
        with_cookie: bool,
    },
    /// Theft; the family is over. Revoke the presented refresh token.
    Replay,
    Over {
        end: SessionEnd,
        revoke: bool,
    },
}

impl Exchanges {
    /// Presents a grant, as [`Family::present`] says.
    pub fn present(
        &self,
        grant: &Grant,
        shape: &Shape,
        used: bool,
        windows: Windows,
        now: Timestamp,
    ) -> Presented {
        self.sweep_when_due(now);
        let mut entry = self.entry(grant, windows);
        match entry.family.present(grant, shape, used, windows, now) {
            Decision::Exchange { flight, grant, recovers } => {
                let (sender, receiver) = watch::channel(None);
                entry.waiting = Some(receiver.clone());
                let flight = UnderWay {
                    families: Arc::clone(&self.families),
                    family: grant.family,
                    id: flight,
                    result: sender,
                };
                Presented::Begin { flight, waiting: Waiting(receiver), grant, recovers }
            }
            Decision::Join => Presented::Join(entry.waiting()),
            Decision::AskAgainAfterFlight => Presented::AskAgain(entry.waiting()),
            Decision::AnswerAgain { answer, age, with_cookie } => {
                Presented::AnswerAgain { answer, age, with_cookie }
            }
            Decision::Replay => Presented::Replay,
            Decision::Over { end, revoke } => Presented::Over { end, revoke },
        }
    }

    /// A place among the code exchanges; `None` when there are [`CODE_EXCHANGES`] already.
    pub fn begin_code_exchange(&self) -> Option<CodeExchanging> {
        let place = CodeExchanging(Arc::clone(&self.code_exchanges));
        (self.code_exchanges.fetch_add(1, Ordering::AcqRel) < CODE_EXCHANGES).then_some(place)
    }

    /// Whether nobody was told yet that this client's access tokens outlive its sessions. Says so once.
    pub fn first_warning_of(&self, client: &ClientName) -> bool {
        self.warned.insert(client.clone())
    }

    /// Ends a family, known or not. Gives the refresh tokens that are now to be revoked at the AS.
    #[must_use]
    pub fn end(&self, grant: &Grant, end: SessionEnd, windows: Windows) -> Vec<SecretString> {
        let mut entry = self.entry(grant, windows);
        let presented = grant.refresh_token.clone();
        if let Some((_, revoke)) = entry.family.refuses(grant.generation) {
            return if revoke { vec![presented] } else { Vec::new() };
        }
        let newest = entry.family.end(end, Some(grant.generation)).map(|newest| newest.refresh_token);
        let newest = newest.filter(|newest| *newest != presented);
        std::iter::once(presented).chain(newest).collect()
    }

    fn entry(&self, grant: &Grant, windows: Windows) -> dashmap::mapref::one::RefMut<'_, FamilyId, Entry> {
        let mut entry = self.families.entry(grant.family).or_insert_with(|| Entry {
            family: Family::of(grant),
            waiting: None,
            windows,
        });
        entry.windows = windows;
        entry
    }

    /// How many families are remembered.
    pub fn len(&self) -> usize {
        self.families.len()
    }

    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Forgets answers out of their window, and families of which no grant can be good any more.
    pub fn sweep(&self, now: Timestamp) {
        self.families.retain(|_, entry| {
            entry.family.drop_stale(entry.windows, now);
            now < entry.family.forget_at(entry.windows.timeouts)
        });
    }

    fn sweep_when_due(&self, now: Timestamp) {
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now.plus(SWEEP_EVERY).as_millis();
        let ours = now.as_millis() >= due
            && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if ours {
            self.sweep(now);
        }
    }
}

/// A flight, owned by whoever asks the AS. It lands or fails; dropped, it has failed.
#[derive(Debug)]
pub struct UnderWay {
    families: Arc<DashMap<FamilyId, Entry>>,
    family: FamilyId,
    id: FlightId,
    result: watch::Sender<Option<FlightResult>>,
}

impl UnderWay {
    /// Whether anybody who waits uses the session.
    pub fn is_used(&self) -> bool {
        self.families.get(&self.family).is_some_and(|entry| entry.family.is_used(self.id))
    }

    /// The AS answered. `Landed::TooLate`: the waiters are told that the session is over, and the
    /// caller revokes the new tokens. `Landed::GivenUp`: they are told to come again.
    pub fn land(self, successor: Grant, answer: Exchanged, worth_until: Option<Timestamp>) -> Landed {
        let answer = Arc::new(answer);
        let at = answer.landed_at;
        let landed = self.entry(|entry| {
            let landed = entry.family.landed(self.id, successor, Arc::clone(&answer), worth_until, at);
            if landed == Landed::Kept {
                entry.waiting = None;
            }
            landed
        });
        let landed = landed.unwrap_or(Landed::TooLate);
        let result = if landed == Landed::Kept { Ok(answer) } else { Err(self.overtaken()) };
        self.result.send_replace(Some(result));
        landed
    }

    /// The AS, or what it answered, ends the session, unless the flight was given up: then it is about
    /// a grant that nobody holds any more. Waiters get `denial`. Whether the session is over, by this or before:
    /// then the caller revokes the new tokens.
    pub fn end(self, end: SessionEnd, of: &Grant, denial: Denial) -> bool {
        let decides = self.entry(|entry| {
            let decides = entry.family.failed(self.id);
            if decides {
                entry.waiting = None;
                entry.family.end(end, Some(of.generation));
            }
            decides
        });
        let told = if decides == Some(true) { denial } else { self.overtaken() };
        self.result.send_replace(Some(Err(told)));
        self.over().is_some()
    }

    /// No use came of it; nothing is remembered. Waiters get `denial`.
    pub fn fail(self, denial: Denial) {
        self.forget();
        self.result.send_replace(Some(Err(denial)));
    }

    /// What those get who waited for a flight that decides nothing any more: the session's end, or, where it
    /// goes on with a later generation, word to come again. That must not clear the later cookie.
    fn overtaken(&self) -> Denial {
        self.over().map_or(Denial::AuthorizationServerUnavailable, Denial::SessionEnded)
    }

    /// Why the session is over, if it is; a family that was forgotten has passed its last timeout.
    fn over(&self) -> Option<SessionEnd> {
        self.families.get(&self.family).map_or(Some(SessionEnd::AbsoluteTimeout), |entry| entry.family.over())
    }

    fn forget(&self) {
        self.entry(|entry| {
            if entry.family.failed(self.id) {
                entry.waiting = None;
            }
        });
    }

    fn entry<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.families.get_mut(&self.family).map(|mut entry| change(&mut entry))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Waits for a flight.
#[derive(Debug)]
pub struct Waiting(watch::Receiver<Option<FlightResult>>);

impl Waiting {
    /// # Errors
    /// What the flight failed with; [`Denial::AuthorizationServerUnavailable`] when it was dropped.
    pub async fn landed(mut self) -> FlightResult {
        match self.0.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(Denial::AuthorizationServerUnavailable)),
            Err(_) => Err(Denial::AuthorizationServerUnavailable),
        }
    }
}
