//! The record of the family in the store, and how it is changed: read, apply, put if nobody was faster, then
//! act.

use tollgate::core::session::activity::Activity;
use tollgate::core::session::exchange::{Family, FlightId, Landed, Now, RefreshRequest};
use tollgate::core::session_end::SessionEnd;

use super::flights::{arrival, opened};
use super::{BEAT, FLIGHT, GRACE, LOOKS, OWN_LEASE, World, shape, stamp};
use crate::events::{Bytes, Change, Event, Outcome, Process};

/// What is kept of a session has never so many bytes, whatever comes.
const LARGEST: usize = 48 * 1024;

impl World {
    pub(super) fn change(&mut self, process: Process, change: Change, delay: i64) {
        let delay = delay + self.dice.roll(20);
        self.after(delay, Event::Read(process, change));
    }

    pub(super) fn reaches_store(&self, process: Process) -> bool {
        self.now >= self.replicas[process.replica].store_away
    }

    pub(super) fn read(&mut self, process: Process, change: Change) {
        if let Change::Sends(flight) | Change::Beat(flight) | Change::Land(flight) | Change::Ended(flight) =
            change
            && self.flights[&flight].over
        {
            return;
        }
        if !self.reaches_store(process) {
            return self.store_failed(process, change, false);
        }
        let known = self.record.as_ref().map(|(_, bytes)| Family::from_bytes(bytes).expect("a record"));
        let before = known.unwrap_or_else(|| Family::of(&self.given[0]));
        let before = match (&self.record, &change) {
            (None, Change::Revoke(look)) => return self.looked(process, *look, Vec::new()),
            (None, Change::SignIn(_)) => Family::of(&self.revoking.grant),
            (None, Change::TakenBack(request)) => {
                let Some(asked) = self.requests.get(request) else { return };
                Family::of(&asked.grant)
            }
            (None, Change::Present(request, _)) => {
                let Some(asked) = self.requests.get(request) else { return };
                Family::of(&asked.grant)
            }
            (None, Change::Land(flight)) => Family::of(&self.flights[flight].grant),
            _ => before,
        };
        let mut family = before.clone();
        let Some(outcome) = self.apply(process, &change, &mut family) else { return };
        self.nothing_more_comes(&outcome);
        let delay = self.dice.roll(20);
        if family == before {
            return self.after(delay, Event::Acted(process, change, outcome));
        }
        let expected = self.record.as_ref().map(|(version, _)| *version);
        let (bytes, read_at) = (Bytes(family.to_bytes()), self.now);
        self.after(delay, Event::Put { process, change, expected, bytes, outcome, read_at });
    }

    /// Applies the transition; `None`: nobody asks any more.
    pub(super) fn apply(
        &mut self,
        process: Process,
        change: &Change,
        family: &mut Family,
    ) -> Option<Outcome> {
        let here = stamp(self.now + self.replicas[process.replica].clock);
        let now = Now { here, store: stamp(self.now - 1_000_000) };
        Some(match change {
            Change::Present(request, new) => {
                let asked = self.requests.get(request)?;
                let refresh = RefreshRequest {
                    shape: &shape(asked.shape),
                    activity: Activity::use_if(asked.used),
                    flight: *new,
                };
                let decision = family.present(&asked.grant, refresh, self.windows(), now);
                opened(decision, family, &asked.grant)
            }
            Change::Withdraw(_, made, given_ago) => {
                family.withdraw_answer(*made, *given_ago, now);
                Outcome::PresentAgain
            }
            Change::Sends(flight) => Outcome::Did(family.begin_sending(*flight)),
            Change::Beat(flight) => Outcome::Did(family.beat(*flight)),
            Change::Failed(flight) | Change::TakeBack(flight) => Outcome::Did(family.forget_flight(*flight)),
            Change::Ended(flight) => {
                let decides = family.forget_flight(*flight);
                if decides {
                    let flying = &self.flights[flight];
                    let end = if flying.was_named { SessionEnd::Revoked } else { SessionEnd::InvalidGrant };
                    family.end(end, Some(flying.grant.generation));
                }
                Outcome::Did(decides)
            }
            Change::BreakLease(flight, beat) => {
                Outcome::Did(family.beat_of(*flight) == Some(*beat) && family.forget_flight(*flight))
            }
            Change::Seen(generation) => Outcome::Did(family.note_token_use(*generation)),
            Change::TakenBack(request) => {
                let generation = self.requests.get(request)?.grant.generation;
                let was_over = family.refuse_and_mark(generation);
                family.end(SessionEnd::Revoked, Some(generation));
                let revoke = was_over.is_none_or(|(_, revoke)| revoke);
                Outcome::Over { end: SessionEnd::Revoked, revoke, of: generation }
            }
            Change::SignIn(attempt) => {
                family.issue(Some(self.first_issued(*attempt, here)?), now);
                Outcome::Did(true)
            }
            Change::Revoke(look) => Outcome::Issued(self.ends(*look, family)),
            Change::Land(flight) => {
                let flying = &self.flights[flight];
                let used = flying.used || family.is_used(*flight);
                let waiting = self.replicas[process.replica].waiting.get(flight);
                let is_awaited = waiting
                    .is_some_and(|waiting| waiting.iter().any(|asked| self.requests.contains_key(asked)));
                let (arrival, next) = arrival(*flight, flying, used, is_awaited, here, &mut self.dice);
                match family.land(arrival.clone(), now) {
                    Landed::Kept { .. } => {
                        Outcome::Landed { next: Box::new(next), arrival: Box::new(arrival) }
                    }
                    Landed::Before | Landed::TooLate { .. } => Outcome::PresentAgain,
                    Landed::GivenUp => Outcome::GivenUp,
                }
            }
        })
    }

    pub(super) fn put(
        &mut self,
        process: Process,
        change: Change,
        expected: Option<u64>,
        Bytes(bytes): Bytes,
        outcome: Outcome,
        read_at: i64,
    ) {
        // What a process sent arrives also when the process has ended since.
        if !self.reaches_store(process) {
            return self.store_failed(process, change, false);
        }
        if expected != self.record.as_ref().map(|(version, _)| *version) {
            if self.lives(process) {
                self.count("overtaken");
                self.change(process, change, 0);
            }
            return;
        }
        assert!(bytes.len() < LARGEST, "{} bytes are kept of one session", bytes.len());
        let secret = format!("refresh-token-{}", self.tokens);
        assert!(!String::from_utf8_lossy(&bytes).contains(&secret), "a token in the store");
        self.versions += 1;
        self.record = Some((self.versions, bytes));
        self.put_is_done(&change, &outcome, read_at);
        if self.faults.outages && self.dice.one_in(60) {
            if let Outcome::Over { revoke: true, of, .. } = outcome
                && self.lives(process)
            {
                // What cannot be undone is done.
                self.hands_to_server(of);
            }
            return self.store_failed(process, change, true);
        }
        self.after(0, Event::Acted(process, change, outcome));
    }

    /// What is true from the moment on at which it is in the store.
    pub(super) fn put_is_done(&mut self, change: &Change, outcome: &Outcome, read_at: i64) {
        match (change, outcome) {
            (Change::Land(flight), Outcome::Landed { next, arrival }) => {
                if self.rotation_at_risk == Some(*flight) {
                    self.rotation_at_risk = None;
                }
                for generation in arrival.from..=arrival.of {
                    self.answered_at.insert(generation, read_at);
                }
                self.nobodys = (!arrival.is_awaited).then_some((arrival.from, arrival.of));
                if self.flights[flight].token.as_ref().is_some_and(|(_, at)| self.now - at > 1_000) {
                    self.count("landed late");
                }
                self.count(if arrival.recovers { "recovered" } else { "rotated" });
                if arrival.recovers {
                    self.made_up_in_vain += 1;
                    if self.made_up_in_vain >= 2 {
                        self.is_excused("three answers in a row were lost", arrival.of);
                    }
                }
                if self.lost_store_at.is_some() {
                    self.count("rotated after loss");
                }
                self.given.push((**next).clone());
                self.has_handed_out(*flight);
            }
            (Change::Ended(flight), Outcome::Did(true)) => {
                let flying = &self.flights[flight];
                let (was_named, generation) = (flying.was_named, flying.grant.generation);
                self.is_ended(generation, was_named);
            }
            (Change::TakenBack(_), Outcome::Over { of, .. }) => self.is_ended(*of, true),
            (Change::Revoke(_), _) => self.is_ended_by_revoker(),
            (Change::Present(..), Outcome::Over { revoke: true, of, .. }) => self.revoking.is_ended(*of),
            (Change::Present(request, _), outcome) => {
                if let Some(asked) = self.requests.get(request) {
                    self.proven = self.proven.max(asked.grant.generation);
                }
                if let Outcome::AnswerAgain { next, .. } = outcome
                    && let Some((from, of)) = self.nobodys.take_if(|(_, of)| *of + 1 == next.generation)
                {
                    let landed = self.answered_at.get(&of).copied().unwrap_or(read_at);
                    self.count(if read_at - landed >= GRACE { "waited long" } else { "waited" });
                    for generation in from.max(self.proven)..=of {
                        self.answered_at.insert(generation, read_at);
                    }
                    self.given_late = Some((from.max(self.proven), of));
                }
            }
            (Change::Withdraw(_, made, None), _) => {
                self.count("withdrawn");
                // For whoever got it all the same its window begins then.
                if let Some((from, of)) = self.given_late.filter(|(_, of)| of + 1 == *made) {
                    for generation in from..=of {
                        self.answered_at.insert(generation, read_at);
                    }
                }
            }
            (Change::Beat(flight), _) => self.renewed(*flight, read_at),
            (Change::Seen(generation), Outcome::Did(true)) => self.proven = self.proven.max(*generation),
            _ => {}
        }
    }

    pub(super) fn renewed(&mut self, flight: FlightId, at: i64) {
        let flying = self.flights.get_mut(&flight).expect("it flies");
        flying.renewed = flying.renewed.max(at);
    }

    /// `done`: it was put all the same.
    pub(super) fn store_failed(&mut self, process: Process, change: Change, done: bool) {
        if !self.lives(process) {
            return;
        }
        match change {
            Change::Present(request, new) => {
                self.refuse(request);
                if done {
                    self.count("in doubt");
                }
                self.change(process, Change::TakeBack(new), 1_000);
            }
            Change::Withdraw(request, ..) => self.refuse(request),
            Change::TakeBack(flight) => self.change(process, Change::TakeBack(flight), 1_000),
            Change::Sends(flight) => {
                self.tell(process, flight);
                self.change(process, Change::TakeBack(flight), 1_000);
            }
            Change::Beat(flight) if self.now - self.flights[&flight].renewed >= OWN_LEASE => {
                self.gives_up(process, flight);
            }
            Change::Beat(flight) => self.change(process, Change::Beat(flight), BEAT),
            Change::Land(flight) => {
                let came = self.flights[&flight].token.as_ref().map_or(0, |(_, at)| *at);
                if self.now - came < FLIGHT {
                    self.change(process, Change::Land(flight), 700);
                } else if !self.faults.keeps_tokens {
                    self.is_excused_by_loss("the store was away for longer than a flight", flight);
                }
            }
            Change::Failed(flight) => {
                self.tell(process, flight);
                self.change(process, Change::TakeBack(flight), 1_000);
            }
            Change::Ended(flight) => self.change(process, Change::Ended(flight), 700),
            Change::BreakLease(flight, _) => {
                self.replicas[process.replica].watched.insert(flight, (None, self.now));
                self.after(LOOKS.0, Event::Look(process, flight));
            }
            // The list decides.
            Change::TakenBack(request) => {
                if let Some(asked) = self.requests.get(&request) {
                    self.hands_to_server(asked.grant.generation);
                }
                self.session_is_over(request, false);
            }
            Change::Revoke(look) => self.looked_in_vain(process, look),
            // The browser begins again.
            Change::Seen(_) | Change::SignIn(_) => {}
        }
    }

    pub(super) fn act(&mut self, process: Process, change: Change, outcome: Outcome) {
        match (change, outcome) {
            (Change::Present(request, new), outcome) => self.presented(process, request, new, outcome),
            (Change::Withdraw(request, ..), _) => self.present(process, request),
            (Change::Sends(flight), Outcome::Did(true)) => {
                let delay = self.dice.roll(50);
                self.after(delay, Event::PostLeaves(flight));
            }
            (Change::Sends(flight), _) => self.tell(process, flight),
            (Change::Beat(flight), Outcome::Did(true)) => self.change(process, Change::Beat(flight), BEAT),
            (Change::Land(flight), Outcome::Landed { arrival, .. }) if !arrival.is_awaited => {
                self.present_again(process, flight);
            }
            (Change::Land(flight), Outcome::Landed { next, arrival }) => {
                let used = arrival.successor.used;
                for request in self.waiting(process, flight) {
                    match self.requests.get(&request).map(|asked| asked.used && !used) {
                        Some(true) => self.present(process, request),
                        Some(false) => self.answer(request, next.clone(), true, used),
                        None => {}
                    }
                }
            }
            (Change::TakenBack(request), Outcome::Over { end, revoke, of }) => {
                self.is_over_by(end, revoke, of);
                self.session_is_over(request, false);
            }
            (Change::SignIn(attempt), _) => self.is_signed_in(process, attempt),
            (Change::Revoke(look), Outcome::Issued(issued)) => {
                let delay = self.dice.roll(50);
                self.after(delay, Event::Names(process, look, issued));
            }
            (Change::Ended(flight), Outcome::Did(true)) if self.flights[&flight].was_named => {
                self.hands_to_server(self.flights[&flight].grant.generation);
                self.tell(process, flight);
            }
            (Change::Land(flight), Outcome::PresentAgain) => self.present_again(process, flight),
            (Change::Land(flight), _) | (Change::Failed(flight) | Change::Ended(flight), _) => {
                self.tell(process, flight);
            }
            (Change::BreakLease(flight, _), Outcome::Did(did)) => {
                if did {
                    self.count("lease broken");
                }
                self.present_again(process, flight);
            }
            _ => {}
        }
    }
}
