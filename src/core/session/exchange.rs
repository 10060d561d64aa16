//! What becomes of a presented generation: the state of one family, as a value, and its
//! transitions. Whoever keeps the value (a map in the process, later a store with compare-and-set)
//! applies one transition at a time and carries out what it says.
//!
//! The words: a **flight** is an exchange under way. A flight that lands makes the next generation;
//! the one before is **answered** (the same answer again within `grace`), then **unproven** until
//! its successor is presented, then **spent**. A spent generation that comes back is a stolen
//! cookie, and ends the family.
//!
//! An answer that was made up for counts as lost. When its generation is presented after all, out of
//! the window, two hold copies of one cookie: without this rule a thief and a browser that take turns
//! would each make up for the other's answers, and never be noticed.
//!
//! A use of the session is never lost: an answer that a poll got is not given again to a use, which gets an
//! exchange of its own, made with the successor's grant. An answer that was a use already stands for the uses
//! within `grace` after it; by so much may a session go idle early.
//!
//! Promises: a refresh token that a landed flight replaced is never used again; one flight a family
//! at a time; two lost answers in a row are forgiven, the third is not; what is kept is bounded by
//! the session's timeouts.
//!
//! Known limit: browsers keep the cookie that arrives last. When an answer is overtaken on the way
//! by a later generation *and* that one was already presented, the browser goes back to a spent
//! generation, which looks like theft. Answers on one connection keep their order. So does a browser
//! that gets an answer after it was made up for, and then loses the one that made up for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::denial::SessionEnd;
use crate::core::session::grant::{Generation, Grant, Timeouts};
use crate::core::session::oauth::Scope;
use crate::core::time::Timestamp;

/// How many lost answers in a row are forgiven.
const FORGIVEN: u8 = 2;
/// How many answers of one family are kept within `grace`; an exchange takes the place of a lost one.
const ANSWERS: usize = 8;
/// How many landings are remembered within `grace`; the oldest are spent early.
const LANDINGS: usize = 256;

/// What an exchange asks for. Only requests of one shape share an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    pub scope: Option<Scope>,
    pub resource: Option<String>,
}

/// Names a flight, so that one that was given up cannot land later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightId(u64);

/// The windows that decisions are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub grace: Duration,
    pub timeouts: Timeouts,
}

/// Which generations a flight answers.
#[derive(Clone, Copy, Debug)]
struct Answers {
    /// The generation that asked.
    from: Generation,
    /// The oldest that was good in its own right, and so has a window after this flight. A
    /// generation that was already spent and within its window gets an answer, but no new window.
    window_from: Generation,
    /// The generation whose grant is exchanged.
    of: Generation,
}

impl Answers {
    const fn reaches(&self, generation: Generation) -> bool {
        self.from <= generation && generation <= self.of
    }
    const fn opens_window_for(&self, generation: Generation) -> bool {
        self.window_from <= generation && generation <= self.of
    }
}

#[derive(Clone, Debug)]
struct Flight {
    id: FlightId,
    answers: Answers,
    shape: Shape,
    used: bool,
    /// The answer before was lost.
    recovers: bool,
}

#[derive(Clone, Debug)]
struct Landing<A> {
    answers: Answers,
    shape: Shape,
    at: Timestamp,
    answer: Option<Kept<A>>,
}

#[derive(Clone, Debug)]
struct Kept<A> {
    answer: A,
    worth_until: Option<Timestamp>,
    /// Its exchange was recorded as use of the session.
    used: bool,
}

/// One family. `A` is the answer that browsers get; this module hands it on unread.
#[derive(Clone, Debug)]
pub struct Family<A> {
    /// The newest generation that was given out.
    latest: Generation,
    /// The newest generation whose receipt is proven; it and all later ones are good.
    proven: Generation,
    lost: u8,
    /// The generations whose answers were made up for by the latest recovery: the first and the last.
    given_up: Option<(Generation, Generation)>,
    /// The grant of `latest`, while an older generation may still need it.
    successor: Option<Grant>,
    flight: Option<Flight>,
    flights: u64,
    landings: VecDeque<Landing<A>>,
    over: Option<Over>,
    signed_in_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Over {
    end: SessionEnd,
    /// The newest generation whose refresh token was handed out for revocation at the AS.
    revoked: Option<Generation>,
}

/// What to do with a presented generation.
#[derive(Debug)]
pub enum Decision<A> {
    /// Begin this flight with this grant, for this requester and all who join.
    Exchange { flight: FlightId, grant: Box<Grant>, recovers: bool },
    /// A flight of this generation and shape is under way: its answer is the answer.
    Join,
    /// A flight of another shape is under way: when it has landed, ask again.
    AskAgainAfterFlight,
    /// The same answer again. `with_cookie`: no later generation is known, so its cookie is still the newest.
    AnswerAgain { answer: A, age: Duration, with_cookie: bool },
    /// A spent generation: stolen. The family is over now; revoke the presented refresh token.
    Replay,
    /// The session is over. `revoke`: the presented refresh token was not yet revoked.
    Over { end: SessionEnd, revoke: bool },
}

/// How a flight was received on landing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// Its answer may be handed out.
    Kept,
    /// The family ended meanwhile: revoke the new tokens.
    TooLate,
    /// A later generation overtook the flight: its answer is nobody's, and says nothing of the session
    /// that goes on. Not to be revoked: an AS may end more with it than the one token.
    GivenUp,
}

impl<A: Clone> Family<A> {
    /// The family of a grant that nothing is known of.
    pub fn of(grant: &Grant) -> Self {
        Self {
            latest: grant.generation,
            proven: grant.generation,
            lost: 0,
            given_up: None,
            successor: None,
            flight: None,
            flights: 0,
            landings: VecDeque::new(),
            over: None,
            signed_in_at: grant.signed_in_at,
        }
    }

    /// Somebody presents `grant` and asks for `shape`. `used`: it counts as use of the session.
    pub fn present(
        &mut self,
        grant: &Grant,
        shape: &Shape,
        used: bool,
        windows: Windows,
        now: Timestamp,
    ) -> Decision<A> {
        let presented = grant.generation;
        if let Some((end, revoke)) = self.refuses(presented) {
            return Decision::Over { end, revoke };
        }
        self.drop_stale(windows, now);
        let given_up = self.given_up.is_some_and(|(first, last)| (first..=last).contains(&presented));
        self.receipt_proven(presented);
        let in_window = self.landings.iter().any(|landing| landing.answers.opens_window_for(presented));
        if (presented < self.proven || given_up) && !in_window {
            return self.replayed(presented);
        }
        if let Some(decision) = self.kept_answer(presented, shape, used, now) {
            return decision;
        }
        if let Some(flight) = &mut self.flight {
            if flight.shape == *shape && flight.answers.reaches(presented) {
                flight.used |= used;
                return Decision::Join;
            }
            return Decision::AskAgainAfterFlight;
        }
        let lost = presented < self.latest && !in_window;
        if lost && self.lost >= FORGIVEN {
            return self.replayed(presented);
        }
        self.begin(grant, shape, used, lost, windows, now)
    }

    /// Why the session is over, if it is, and whether the refresh token of this generation is still
    /// to be revoked at the AS; it counts as revoked from here on.
    pub fn refuses(&mut self, presented: Generation) -> Option<(SessionEnd, bool)> {
        let over = self.over.as_mut()?;
        let revoke = over.revoked.is_none_or(|revoked| presented > revoked);
        if revoke {
            over.revoked = Some(presented);
        }
        Some((over.end, revoke))
    }

    /// The answer that `presented` already got, while it lasts and says of use what is to be said.
    fn kept_answer(
        &self,
        presented: Generation,
        shape: &Shape,
        used: bool,
        now: Timestamp,
    ) -> Option<Decision<A>> {
        let fits = |landing: &&Landing<A>| landing.answers.reaches(presented) && landing.shape == *shape;
        let landing = self.landings.iter().rev().find(fits)?;
        let kept = landing.answer.as_ref()?;
        if kept.worth_until.is_some_and(|until| now >= until) || (used && !kept.used) {
            return None;
        }
        Some(Decision::AnswerAgain {
            answer: kept.answer.clone(),
            age: now.since(landing.at),
            with_cookie: landing.answers.of.saturating_add(1) == self.latest,
        })
    }

    fn begin(
        &mut self,
        presented: &Grant,
        shape: &Shape,
        used: bool,
        recovers: bool,
        windows: Windows,
        now: Timestamp,
    ) -> Decision<A> {
        let grant = if presented.generation == self.latest {
            presented.clone()
        } else if let Some(successor) = self.successor.clone() {
            successor
        } else {
            // The successor went with its timeouts: so did the session.
            return self.end_now(
                presented.ended(windows.timeouts, now).unwrap_or(SessionEnd::IdleTimeout),
                presented,
            );
        };
        if let Some(end) = grant.ended(windows.timeouts, now) {
            return self.end_now(end, presented);
        }
        self.flights += 1;
        let flight = FlightId(self.flights);
        self.flight = Some(Flight {
            id: flight,
            answers: Answers {
                from: presented.generation,
                window_from: presented.generation.max(self.proven),
                of: grant.generation,
            },
            shape: shape.clone(),
            used,
            recovers,
        });
        Decision::Exchange { flight, grant: Box::new(grant), recovers }
    }

    fn end_now(&mut self, end: SessionEnd, presented: &Grant) -> Decision<A> {
        self.end(end, Some(presented.generation));
        Decision::Over { end, revoke: true }
    }

    fn replayed(&mut self, presented: Generation) -> Decision<A> {
        self.end(SessionEnd::ReuseDetected, Some(presented));
        Decision::Replay
    }

    /// Whether anybody who waits for this flight uses the session (nobody does in a poll). Whoever joins later is
    /// to look whether the answer counts as use, and else to present again.
    pub fn is_used(&self, flight: FlightId) -> bool {
        self.flight.as_ref().is_some_and(|under_way| under_way.id == flight && under_way.used)
    }

    /// The AS answered: `successor` is the next grant. `worth_until`: when the answer is no longer
    /// worth giving again.
    pub fn landed(
        &mut self,
        flight: FlightId,
        successor: Grant,
        answer: A,
        worth_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Landed {
        let Some(landing) = self.flight.take_if(|under_way| under_way.id == flight) else {
            return if self.over.is_some() { Landed::TooLate } else { Landed::GivenUp };
        };
        if successor.generation <= self.latest {
            return Landed::GivenUp;
        }
        if landing.recovers {
            self.lost = self.lost.saturating_add(1);
            self.given_up = Some((landing.answers.from.saturating_add(1), landing.answers.of));
        }
        self.latest = successor.generation;
        let used = successor.counts_as_use();
        self.successor = Some(successor);
        self.landings.push_back(Landing {
            answers: landing.answers,
            shape: landing.shape,
            at: now,
            answer: Some(Kept { answer, worth_until, used }),
        });
        if let Some(old) =
            self.landings.len().checked_sub(ANSWERS + 1).and_then(|at| self.landings.get_mut(at))
        {
            old.answer = None;
        }
        if self.landings.len() > LANDINGS {
            self.landings.pop_front();
        }
        Landed::Kept
    }

    /// The flight brought nothing: it is forgotten, and the next request begins another.
    /// Whether it was still the one under way.
    pub fn failed(&mut self, flight: FlightId) -> bool {
        self.flight.take_if(|under_way| under_way.id == flight).is_some()
    }

    /// A generation, or an access token that came with it, was seen: it reached its browser.
    pub fn receipt_proven(&mut self, generation: Generation) {
        if generation > self.latest {
            // Sealed by us, so given out by us, before this memory began.
            self.latest = generation;
            self.flight = None;
            self.successor = None;
        }
        if generation > self.proven {
            self.proven = generation;
            self.lost = 0;
        }
    }

    /// The session is over; `revoked`: the generation whose refresh token the caller revokes at the
    /// AS. Gives the newest grant where it is known here and may not have reached its browser.
    pub fn end(&mut self, end: SessionEnd, revoked: Option<Generation>) -> Option<Grant> {
        if self.over.is_none() {
            self.over = Some(Over { end, revoked });
        }
        self.flight = None;
        self.landings = VecDeque::new();
        self.successor.take()
    }

    /// Why the session is over, if it is.
    pub fn over(&self) -> Option<SessionEnd> {
        self.over.map(|over| over.end)
    }

    /// Forgets answers out of their window and a successor out of its timeouts.
    pub fn drop_stale(&mut self, windows: Windows, now: Timestamp) {
        while self.landings.front().is_some_and(|landing| now >= landing.at.plus(windows.grace)) {
            self.landings.pop_front();
        }
        let needed = self.proven < self.latest || !self.landings.is_empty();
        if !needed
            || self.successor.as_ref().is_some_and(|grant| grant.ended(windows.timeouts, now).is_some())
        {
            self.successor = None;
        }
        if self.landings.is_empty() {
            self.landings.shrink_to_fit();
        }
    }

    /// When no grant of this family can be good any more, so that nothing need be known of it.
    pub fn forget_at(&self, timeouts: Timeouts) -> Timestamp {
        self.signed_in_at.plus(timeouts.absolute)
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
