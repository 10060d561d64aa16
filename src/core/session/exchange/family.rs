//! The state of one family and its transitions. The header of the folder explains the words.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::landing::{ANSWERS, Answers, Given, LANDINGS, Landing};
use super::links::{Link, Links};
use super::{
    Arrival, Decision, FlightId, Issued, Landed, Now, RefreshRequest, Shape, Successor, Windows, With,
};
use crate::core::session::activity::Activity;
use crate::core::session::grant::{Generation, Grant, Timeouts};
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;

/// The number of lost answers in a row that are forgiven.
const FORGIVEN: u8 = 2;
/// The most generations without a proven receipt. Beyond that, within its window, only the newest generation
/// begins another exchange. No browser keeps the oldest of so many cookies; it presents a newer one, which
/// proves the receipt.
pub(super) const UNPROVEN: Generation = 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flight {
    pub(super) id: FlightId,
    pub(super) answers: Answers,
    pub(super) shape: Shape,
    pub(super) used: bool,
    /// The heartbeat, counted up while the flight is alive.
    pub(super) beat: u64,
    /// Whether its request may have reached the AS.
    #[serde(default)]
    pub(super) sent: bool,
}

/// One family: all that is known of the generations of one sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// The newest generation that was given out.
    latest: Generation,
    /// The newest generation with a proven receipt; it and all later ones are good.
    proven: Generation,
    lost: u8,
    /// The first and the last generation whose answers the latest recovery made up for.
    given_up: Option<(Generation, Generation)>,
    /// The grant of `latest`, while an older generation may still need it.
    pub(super) successor: Option<Successor>,
    /// How holders of older generations reach what is sealed for later ones.
    links: Links,
    pub(super) flight: Option<Flight>,
    pub(super) landings: VecDeque<Landing>,
    /// The access tokens that were handed out and may still be accepted by some replica.
    pub(super) issued: Vec<Issued>,
    over: Option<Over>,
    signed_in_at: Timestamp,
    /// The last use that was noted apart from grants: see [`Self::use_at`].
    #[serde(default)]
    used_at: Option<Timestamp>,
    /// Some tokens that it handed out are missing in [`Self::issued`]: the store once lost this record, or
    /// its latest version.
    #[serde(default)]
    pub(super) has_gap: bool,
    /// When the record may be forgotten: no grant of this family can be good after it.
    keep_until: Timestamp,
    /// The issuer of the session, for revocations.
    iss: String,
    subject: Option<String>,
    /// What the ID token calls its person, where that is another name.
    #[serde(default)]
    pub(super) other_name: Option<String>,
    session_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Over {
    end: SessionEnd,
    /// The newest generation whose refresh token was given to a caller to revoke at the AS.
    revoked: Option<Generation>,
}

impl Family {
    /// The family of a grant that the store does not know.
    pub fn of(grant: &Grant) -> Self {
        Self {
            latest: grant.generation,
            proven: grant.generation,
            lost: 0,
            given_up: None,
            successor: None,
            links: Links::default(),
            flight: None,
            landings: VecDeque::new(),
            issued: Vec::new(),
            over: None,
            signed_in_at: grant.signed_in_at,
            used_at: None,
            has_gap: true,
            keep_until: grant.signed_in_at,
            iss: grant.iss.clone(),
            subject: grant.subject.as_ref().map(|subject| subject.sub.clone()),
            other_name: None,
            session_id: grant.session_id.clone(),
        }
    }

    /// Decides what a presented grant gets: an answer that is kept, that of a flight, a flight of its own, or
    /// the end of the session.
    pub fn present(
        &mut self,
        grant: &Grant,
        request: RefreshRequest<'_>,
        windows: Windows,
        now: Now,
    ) -> Decision {
        let presented = grant.generation;
        if let Some((end, revoke)) = self.refuse_and_mark(presented) {
            return Decision::Over { end, revoke };
        }
        self.drop_stale(windows, now);
        self.note_presented(presented);
        let in_window = self.is_in_window(presented, windows, now);
        if presented < self.proven && !in_window && !self.gets_window_from_flight(presented) {
            return self.replayed(presented);
        }
        if let Some(end) = self.ended(grant, windows.timeouts, now) {
            return self.end_now(end, presented);
        }
        if let Some(decision) = self.kept_answer(presented, request, windows.grace, now) {
            return decision;
        }
        if let Some(decision) = self.join_flight(presented, request) {
            return decision;
        }
        let is_lost = presented < self.latest && !in_window;
        if is_lost && self.lost >= FORGIVEN {
            return self.replayed(presented);
        }
        // Recoveries of lost answers have a bound of their own, `FORGIVEN`.
        let unproven = self.latest.saturating_sub(self.proven);
        if presented < self.latest && in_window && unproven >= UNPROVEN {
            return Decision::TooMany;
        }
        self.begin_flight(grant, request, is_lost, windows.timeouts, now)
    }

    /// Notes that the cookie of a generation was presented, which proves its receipt. If a recovery had
    /// already made up for it, the count of lost answers stays: otherwise a thief and a browser that take
    /// turns would never be noticed.
    fn note_presented(&mut self, presented: Generation) {
        let lost_before = self.lost;
        self.prove_receipt(presented);
        if self.given_up.is_some_and(|(first, last)| (first..=last).contains(&presented)) {
            self.lost = lost_before;
        }
    }

    /// Whether a generation has its window once the flight under way has landed.
    fn gets_window_from_flight(&self, presented: Generation) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.answers.opens_window_for(presented))
    }

    /// Waits for the flight under way, if there is one: for its answer if that is what is asked for, else for
    /// its end.
    fn join_flight(&mut self, presented: Generation, request: RefreshRequest<'_>) -> Option<Decision> {
        let flight = self.flight.as_mut()?;
        if flight.shape != *request.shape || !flight.answers.reaches(presented) {
            return Some(Decision::AskAgainAfter(flight.id));
        }
        flight.used |= request.activity.is_use();
        Some(Decision::Join(flight.id))
    }

    /// Whether a generation may get the answer of a landing: of a recent one or, if the generation is not
    /// spent, of one that waits.
    fn is_in_window(&self, presented: Generation, windows: Windows, now: Now) -> bool {
        self.landings.iter().any(|landing| {
            landing.answers.opens_window_for(presented)
                && (landing.is_recent(windows.grace, now.store)
                    || (presented >= self.proven && self.waits(landing)))
        })
    }

    /// Whether the answer of a landing waits until somebody presents a generation that it is for. That is
    /// bounded, in case nobody ever comes while the answer is worth giving.
    fn waits(&self, landing: &Landing) -> bool {
        landing.is_nobodys(self.latest, self.proven) && self.latest.saturating_sub(self.proven) < UNPROVEN
    }

    /// Ends the session if presenting the grant would end it, and returns that decision. `None`: it would
    /// not, and nothing was changed.
    pub fn end_if_over(&mut self, grant: &Grant, windows: Windows, now: Now) -> Option<Decision> {
        let mut presented = self.clone();
        let request =
            RefreshRequest { shape: &Shape::default(), activity: Activity::Poll, flight: FlightId::NONE };
        let decision = presented.present(grant, request, windows, now);
        matches!(decision, Decision::Over { .. } | Decision::Replay).then(|| {
            *self = presented;
            decision
        })
    }

    /// Why the session is over, if it is, and whether the caller is to revoke this generation's refresh token
    /// at the AS. It counts as revoked from then on.
    pub fn refuse_and_mark(&mut self, presented: Generation) -> Option<(SessionEnd, bool)> {
        let over = self.over.as_mut()?;
        let revoke = over.end.revokes_tokens() && over.revoked.is_none_or(|revoked| presented > revoked);
        if revoke {
            over.revoked = Some(presented);
        }
        Some((over.end, revoke))
    }

    /// Why the session has timed out, if it has. Not while a flight is under way: that began in time.
    fn ended(&self, grant: &Grant, timeouts: Timeouts, now: Now) -> Option<SessionEnd> {
        let newest = self.successor.as_ref().map_or(grant.last_used_at, |next| next.last_used_at);
        let last_used_at = self.last_use(newest.max(grant.last_used_at));
        let ended = || timeouts.ended(self.signed_in_at, last_used_at, now.here);
        self.flight.is_none().then(ended).flatten()
    }

    /// The answer kept for a generation, while it is worth giving. Not to a use, if the answer was obtained
    /// by a poll.
    fn kept_answer(
        &mut self,
        presented: Generation,
        request: RefreshRequest<'_>,
        grace: Duration,
        now: Now,
    ) -> Option<Decision> {
        let used = request.activity.is_use();
        let fits =
            |landing: &&mut Landing| landing.answers.reaches(presented) && landing.shape == *request.shape;
        let landing = self.landings.iter_mut().rev().find(fits)?;
        let answer = landing.answer.clone()?;
        if landing.worth_until.is_some_and(|until| now.store >= until) || (used && !landing.used) {
            return None;
        }
        let given_before = landing.give(self.proven, now.store);
        let stands_for_use = now.store < landing.at.plus(grace);
        let decision = Decision::AnswerAgain {
            answer,
            of: landing.answers.of,
            age: now.store.since(landing.at),
            given_ago: given_before.map(|given| now.store.since(given)),
            with_cookie: landing.answers.of.saturating_add(1) == self.latest,
        };
        // A use stands for all within `grace` after it, which spares a write for each.
        if used && !stands_for_use && self.used_at.is_none_or(|at| now.here >= at.plus(grace)) {
            self.use_at(now.here);
        }
        Some(decision)
    }

    /// Withdraws the answer that made this generation, because its access token turned out to be useless.
    /// `given_ago`: as told to whoever got the answer. If they were the first, it counts as given to nobody.
    pub fn withdraw_answer(&mut self, made: Generation, given_ago: Option<Duration>, now: Now) {
        let is_nobodys = given_ago.is_none() && made == self.latest && self.proven < made;
        let makes = |landing: &&mut Landing| landing.answers.of.saturating_add(1) == made;
        if let Some(landing) = self.landings.iter_mut().find(makes) {
            landing.withdraw(is_nobodys.then_some(now.store));
        }
    }

    fn begin_flight(
        &mut self,
        presented: &Grant,
        request: RefreshRequest<'_>,
        recovers: bool,
        timeouts: Timeouts,
        now: Now,
    ) -> Decision {
        let (with, of, last_used_at) = if presented.generation == self.latest {
            (With::Presented, presented.generation, presented.last_used_at)
        } else if let Some(Successor { generation, last_used_at, grant, .. }) = &self.successor {
            (With::Newest { grant: grant.clone(), generation: *generation }, *generation, *last_used_at)
        } else {
            // The successor was dropped when it timed out, so the session has timed out.
            let end = presented.ended(timeouts, now.here).unwrap_or(SessionEnd::IdleTimeout);
            return self.end_now(end, presented.generation);
        };
        let last_used_at = self.last_use(last_used_at);
        if let Some(end) = timeouts.ended(self.signed_in_at, last_used_at, now.here) {
            return self.end_now(end, presented.generation);
        }
        let answers =
            Answers { from: presented.generation, window_from: presented.generation.max(self.proven), of };
        self.flight = Some(Flight {
            id: request.flight,
            answers,
            shape: request.shape.clone(),
            used: request.activity.is_use(),
            beat: 0,
            sent: false,
        });
        Decision::Exchange { flight: request.flight, with, recovers }
    }

    fn end_now(&mut self, end: SessionEnd, presented: Generation) -> Decision {
        self.end(end, Some(presented));
        Decision::Over { end, revoke: true }
    }

    fn replayed(&mut self, presented: Generation) -> Decision {
        self.end(SessionEnd::ReuseDetected, Some(presented));
        Decision::Replay
    }

    /// Lands a flight: the AS has answered. A flight that was given up may still land, unless a later
    /// generation is known: what it brought is then the newest, and another flight with the same grant could
    /// bring nothing.
    pub fn land(&mut self, arrival: Arrival, now: Now) -> Landed {
        let Arrival { flight, from, of, shape, recovers, successor, .. } = arrival;
        if self.landings.iter().any(|landing| landing.flight == flight) {
            return Landed::Before;
        }
        if let Some(over) = self.over {
            return Landed::TooLate { revoke: over.end.revokes_tokens() };
        }
        if successor.generation <= self.latest {
            return Landed::GivenUp;
        }
        // The store lost the record while the flight was under way.
        self.has_gap |= of > self.latest;
        let ours = self.flight.take().filter(|under_way| under_way.id == flight);
        let answers = Answers { from, window_from: from.max(self.proven), of };
        if recovers {
            self.lost = self.lost.saturating_add(1);
            self.given_up = Some((from.saturating_add(1), of));
        }
        self.latest = successor.generation;
        self.landings.push_back(Landing {
            flight,
            answers: ours.map_or(answers, |flight| flight.answers),
            shape,
            at: now.store,
            given: if arrival.is_awaited { Given::WhenLanded } else { Given::NotYet },
            used: successor.used,
            worth_until: arrival.worth_for.map(|life| now.store.plus(life)),
            answer: Some(arrival.answer),
        });
        self.successor = Some(successor);
        self.links.add(arrival.links);
        let pushed_out = self.issue(arrival.issued, now);
        let full = self.landings.len().checked_sub(ANSWERS + 1);
        if let Some(old) = full.and_then(|at| self.landings.get_mut(at)) {
            old.answer = None;
        }
        if self.landings.len() > LANDINGS {
            self.landings.pop_front();
        }
        self.drop_links();
        Landed::Kept { pushed_out }
    }

    /// Notes a use of the session without an exchange.
    pub fn use_at(&mut self, at: Timestamp) {
        if self.over.is_none() {
            self.used_at = self.used_at.max(Some(at));
        }
    }

    /// The last use of the session: the later of what a grant tells (`told`) and what was noted here.
    pub fn last_use(&self, told: Timestamp) -> Timestamp {
        self.used_at.map_or(told, |noted| noted.max(told))
    }

    /// Notes the use of an access token that came with this generation. Returns whether that proves that the
    /// cookie arrived, too. It does not if a later generation is known: the answer is then given without its
    /// cookie. Nor if the family is over, or knows no such generation because the store lost its record.
    pub fn note_token_use(&mut self, generation: Generation) -> bool {
        let is_proof = self.over.is_none() && generation == self.latest;
        if is_proof {
            self.prove_receipt(generation);
        }
        is_proof
    }

    /// Notes that a generation reached its browser, because its cookie or the newest access token was
    /// presented.
    pub fn prove_receipt(&mut self, generation: Generation) {
        if generation > self.latest {
            // A newer generation than known, and sealed by us: the record lost what came before.
            self.has_gap = true;
            self.latest = generation;
            self.flight = None;
            self.forget_successor();
            self.links = Links::default();
        }
        if generation > self.proven {
            self.proven = generation;
            self.lost = 0;
        }
    }

    /// Ends the session. `revoked`: the generation whose refresh token the caller revokes at the AS. Drops
    /// what was kept for later exchanges. Keeps which access tokens were handed out, and the links to a grant
    /// that the caller has already taken out, to revoke its refresh token too.
    pub fn end(&mut self, end: SessionEnd, revoked: Option<Generation>) {
        if self.over.is_none() {
            self.over = Some(Over { end, revoked });
        }
        self.flight = None;
        self.landings.clear();
        self.successor = None;
    }

    /// The newest grant, while it may not have reached its browser.
    pub const fn successor(&self) -> Option<&Successor> {
        self.successor.as_ref()
    }

    /// The newest generation that was given out.
    pub const fn latest(&self) -> Generation {
        self.latest
    }

    /// Whether no newer cookie than this generation's is known to have arrived.
    pub const fn is_unspent(&self, generation: Generation) -> bool {
        generation >= self.proven
    }

    /// Why the session is over, if it is.
    pub fn over(&self) -> Option<SessionEnd> {
        self.over.map(|over| over.end)
    }

    /// The links that lead from one generation to another.
    pub fn way(&self, from: Generation, to: Generation) -> Option<Vec<&Link>> {
        self.links.way(from, to)
    }

    /// Whether this differs from `before` in more than the flight under way, and so must outlive the process.
    pub fn is_worth_more_than(&self, before: &Self) -> bool {
        let without_flight = |family: &Self| Self { flight: None, ..family.clone() };
        without_flight(self) != without_flight(before)
    }

    /// Drops answers whose window is over, and a successor that has timed out.
    pub fn drop_stale(&mut self, windows: Windows, now: Now) {
        let waiting = self.landings.back().filter(|newest| self.waits(newest)).map(|newest| newest.flight);
        self.landings
            .retain(|landing| landing.is_recent(windows.grace, now.store) || waiting == Some(landing.flight));
        let needed = self.proven < self.latest || !self.landings.is_empty();
        let ended = |next: &Successor| {
            windows.timeouts.ended(self.signed_in_at, self.last_use(next.last_used_at), now.here)
        };
        if !needed || self.successor.as_ref().is_some_and(|next| ended(next).is_some()) {
            self.forget_successor();
        }
        self.drop_links();
    }

    /// Drops the successor: it has reached its browser, or is useless. The use that it tells of is kept,
    /// because it may be noted nowhere else.
    fn forget_successor(&mut self) {
        if let Some(next) = self.successor.take() {
            self.use_at(next.last_used_at);
        }
    }

    /// Keeps the links that a generation within its window, or an unproven one, may still need.
    fn drop_links(&mut self) {
        let oldest = self.landings.iter().map(|landing| landing.answers.from).fold(self.proven, Ord::min);
        self.links.keep_from(oldest);
    }

    /// Keeps the record for as long as grants of this family may live. If a timeout was shortened since,
    /// older cookies may last longer.
    pub fn extend_life(&mut self, timeouts: Timeouts) {
        self.keep_until = self.keep_until.max(self.signed_in_at.plus(timeouts.absolute));
    }

    pub const fn signed_in_at(&self) -> Timestamp {
        self.signed_in_at
    }

    /// When the record may be forgotten: no grant and no access token of this family can be good after it.
    pub fn keep_until(&self) -> Timestamp {
        self.issued.iter().map(Issued::known_until).fold(self.keep_until, Ord::max)
    }
}
