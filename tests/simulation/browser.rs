//! What tabs and a thief do, and what they must get.

use tollgate::core::session::exchange::FlightId;
use tollgate::core::session::grant::{Generation, Grant};

use super::{Asked, BEAT, Flying, GRACE, IDLE_WITH_POLLS, LOOKS, SKEW, World};
use crate::events::{Change, Event, Outcome, Process, Request};

impl World {
    pub(super) fn send(&mut self, grant: Grant, shape: usize, used: bool, thief: bool) {
        let Some(process) = self.some_process() else { return };
        self.count(if used { "use" } else { "poll" });
        self.count += 1;
        let request = self.count;
        self.requests.insert(request, Asked { process, grant, shape, used, thief, was_named: false });
        let delay = self.dice.roll(3_000);
        self.after(delay, Event::Arrive(request));
    }

    pub(super) fn present(&mut self, process: Process, request: Request) {
        self.count += 1;
        let new = FlightId(self.count);
        self.change(process, Change::Present(request, new), 0);
    }

    pub(super) fn presented(&mut self, process: Process, request: Request, new: FlightId, outcome: Outcome) {
        let Some(asked) = self.requests.get(&request) else {
            // Its browser is gone; the flight begins all the same.
            if matches!(outcome, Outcome::Begin { .. }) {
                self.change(process, Change::TakeBack(new), 0);
            }
            if let Outcome::Over { revoke: true, of, .. } = outcome {
                self.hands_to_server(of);
            }
            return;
        };
        let (thief, generation) = (asked.thief, asked.grant.generation);
        if thief {
            self.must_be_caught(generation, &outcome);
        }
        match outcome {
            Outcome::Begin { grant, recovers } => {
                let asked = &self.requests[&request];
                let (presented, shape, used) = (asked.grant.clone(), asked.shape, asked.used);
                let flying = Flying {
                    process,
                    presented,
                    grant: *grant,
                    shape,
                    used,
                    recovers,
                    renewed: self.now,
                    over: false,
                    token: None,
                    issued: None,
                    was_named: false,
                };
                self.flights.insert(new, flying);
                self.replicas[process.replica].waiting.entry(new).or_default().push(request);
                self.change(process, Change::Sends(new), 0);
                self.change(process, Change::Beat(new), BEAT);
            }
            Outcome::Join(flight) | Outcome::AskAgainAfter(flight) => {
                self.count("coalesced");
                let ours = self.flights.get(&flight).is_some_and(|flying| flying.process == process);
                let replica = &mut self.replicas[process.replica];
                replica.waiting.entry(flight).or_default().push(request);
                if !ours && !replica.watched.contains_key(&flight) {
                    replica.watched.insert(flight, (None, self.now));
                    self.after(LOOKS.0, Event::Look(process, flight));
                }
            }
            Outcome::AnswerAgain { next, age, given_ago, .. }
                if self.faults.goes_bad && age >= self.windows().grace && self.dice.one_in(2) =>
            {
                self.change(process, Change::Withdraw(request, next.generation, given_ago), 0);
            }
            Outcome::AnswerAgain { next, with_cookie, used, .. } => {
                self.count("answered again");
                self.answer(request, next, with_cookie, used);
            }
            Outcome::TooMany => {
                assert!(self.faults.hoards, "honest tabs asked for too much");
                self.count("too many");
                self.refuse(request);
            }
            Outcome::Replay | Outcome::Over { .. } | Outcome::IsIdle => {
                match outcome {
                    Outcome::Replay => self.count("replay"),
                    Outcome::Over { end, revoke, of } => self.is_over_by(end, revoke, of),
                    _ => {}
                }
                self.session_is_over(request, matches!(outcome, Outcome::IsIdle));
            }
            _ => unreachable!("not of a cookie"),
        }
    }

    /// A spent generation out of its window gets nothing while the store knows of it.
    pub(super) fn must_be_caught(&mut self, generation: Generation, outcome: &Outcome) {
        let answered = self.answered_at.get(&generation).copied().unwrap_or(i64::MAX - GRACE);
        if generation < self.proven && self.now >= answered + GRACE + 1_000 {
            let refused = match outcome {
                Outcome::Replay | Outcome::Over { .. } | Outcome::IsIdle => true,
                // It is under way for this generation since before that was spent.
                Outcome::Join(flight) | Outcome::AskAgainAfter(flight) => {
                    let flying = &self.flights[flight];
                    (flying.presented.generation..=flying.grant.generation).contains(&generation)
                }
                _ => false,
            };
            assert!(refused, "a spent generation got {outcome:?}");
            self.count("spent and refused");
        }
    }

    pub(super) fn session_is_over(&mut self, request: Request, is_idle: bool) {
        let Some(asked) = self.requests.remove(&request) else { return };
        if is_idle {
            self.count("idle");
            let allowed = IDLE_WITH_POLLS - GRACE - 2 * SKEW;
            let unused = self.now - self.use_answered;
            assert!(unused >= allowed, "idle {unused} ms after it was used");
        } else if !self.faults.thief {
            let excused = self.excuse.is_some() || self.is_named_by_a_revocation();
            assert!(excused, "an honest browser was signed out");
        }
        if !asked.thief || self.faults.thief {
            self.is_signed_out();
        }
    }

    /// 503: the cookie stays, and most pages try again soon.
    pub(super) fn refuse(&mut self, request: Request) {
        let Some(asked) = self.requests.remove(&request) else { return };
        self.count("503");
        if !asked.thief && !self.dice.one_in(3) {
            let delay = 1_000 + self.dice.roll(4_000);
            self.after(delay, Event::Send { used: asked.used, shape: asked.shape });
        }
    }

    pub(super) fn answer(&mut self, request: Request, next: Box<Grant>, with_cookie: bool, used: bool) {
        let Some(asked) = self.requests.remove(&request) else { return };
        assert!(!asked.was_named, "a session that the list names got an answer");
        if asked.thief {
            return;
        }
        if self.faults.losses && self.dice.one_in(6) {
            self.count("lost");
        } else {
            // One connection: no answer overtakes another.
            self.last_receipt = self.last_receipt.max(self.now + self.dice.roll(3_000));
            let delay = self.last_receipt - self.now;
            self.after(delay, Event::Receive { next, with_cookie, used: used && asked.used });
        }
    }
}
