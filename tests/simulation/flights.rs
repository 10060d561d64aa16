//! Flights to the authorization server: how they end, and how replicas wait for those of each other.

use tollgate::core::session::exchange::seal::{Content, Holder};
use tollgate::core::session::exchange::{Arrival, Decision, Family, FlightId, Successor, With};
use tollgate::core::session::grant::Grant;
use tollgate::core::session_end::SessionEnd;
use tollgate::core::time::Timestamp;

use super::{Dice, Flying, LEASE, LOOKS, SENT_LEASE, World, shape};
use crate::events::{Change, Event, Outcome, Process, Request, Said};

impl World {
    pub(super) fn as_works(&mut self, flight: FlightId) {
        let flying = &self.flights[&flight];
        let sent = flying.grant.refresh_token.expose().clone();
        if self.dice.one_in(10) {
            let delay = self.dice.roll(1_000);
            return self.after(delay, Event::AsAnswers(flight, Said::Error));
        }
        if self.as_revoked || sent != self.as_token {
            let why = self.excuse.is_some() || self.faults.thief || self.as_revoked;
            assert!(why, "a replaced refresh token was sent again");
            self.as_revoked = true;
            return self.after(100, Event::AsAnswers(flight, Said::InvalidGrant));
        }
        if !self.faults.keeps_tokens {
            self.tokens += 1;
            self.as_token = format!("refresh-token-{}", self.tokens);
            self.rotation_at_risk = Some(flight);
        }
        let token = self.as_token.clone();
        self.gives_access_token(flight);
        if self.faults.dies_rotating && self.dice.one_in(60) {
            self.is_excused_by_loss("the server replaced a token and died", flight);
            return self.after(2_000, Event::AsAnswers(flight, Said::Error));
        }
        let delay = self.dice.roll(1_000);
        self.after(delay, Event::AsAnswers(flight, Said::Token(token)));
    }

    pub(super) fn as_answers(&mut self, flight: FlightId, said: Said) {
        let Flying { process, over, .. } = self.flights[&flight];
        if !self.lives(process) || over {
            return;
        }
        match said {
            Said::Token(token) => {
                let now = self.now;
                if let Some(flying) = self.flights.get_mut(&flight) {
                    flying.token = Some((token, now));
                }
                if self.is_taken_back_meanwhile(flight) {
                    self.count("taken back in flight");
                    return self.change(process, Change::Ended(flight), 0);
                }
                self.change(process, Change::Land(flight), 0);
            }
            Said::InvalidGrant => self.change(process, Change::Ended(flight), 0),
            Said::Error => self.change(process, Change::Failed(flight), 0),
        }
    }

    pub(super) fn look(&mut self, process: Process, flight: FlightId) {
        let now = self.now;
        let Some((seen, since)) = self.replicas[process.replica].watched.get(&flight).copied() else {
            return;
        };
        let mut next = (seen, now);
        if self.reaches_store(process) {
            let known = self.record.as_ref().and_then(|(_, bytes)| Family::from_bytes(bytes));
            let Some((beat, sent)) =
                known.and_then(|family| Some((family.beat_of(flight)?, family.is_sent(flight))))
            else {
                return self.present_again(process, flight);
            };
            if seen == Some(beat) {
                if now - since >= if sent { SENT_LEASE } else { LEASE } {
                    return self.change(process, Change::BreakLease(flight, beat), 0);
                }
                next = (seen, since);
            } else {
                next = (Some(beat), now);
            }
        }
        self.replicas[process.replica].watched.insert(flight, next);
        self.after(LOOKS.1, Event::Look(process, flight));
    }

    pub(super) fn waiting(&mut self, process: Process, flight: FlightId) -> Vec<Request> {
        let replica = &mut self.replicas[process.replica];
        replica.watched.remove(&flight);
        replica.waiting.remove(&flight).unwrap_or_default()
    }

    pub(super) fn present_again(&mut self, process: Process, flight: FlightId) {
        for request in self.waiting(process, flight) {
            self.present(process, request);
        }
    }

    /// All who wait hear that there is no answer now.
    pub(super) fn tell(&mut self, process: Process, flight: FlightId) {
        if let Some(flying) = self.flights.get_mut(&flight) {
            flying.over = true;
        }
        for request in self.waiting(process, flight) {
            self.refuse(request);
        }
    }

    /// Nobody flies it any more, and all who wait for it present again.
    pub(super) fn gives_up(&mut self, process: Process, flight: FlightId) {
        self.count("gave up");
        if self.rotation_at_risk == Some(flight) {
            self.is_excused_by_loss("its replica lost the store for longer than its lease", flight);
        }
        self.flights.get_mut(&flight).expect("it flies").over = true;
        self.present_again(process, flight);
    }

    pub(super) fn kill(&mut self, replica: usize) {
        if !self.replicas[replica].alive {
            return;
        }
        self.count("killed");
        let process = Process { replica, life: self.replicas[replica].life };
        if let Some(flight) = self.rotation_at_risk.take_if(|flight| self.flights[flight].process == process)
        {
            self.is_excused_by_loss("the answer died with its replica", flight);
        }
        // A POST that has left, and is still to be worked on, dies with its answer too.
        let on_its_way = self.queue.values().find_map(|event| match event {
            Event::AsWorks(flight) if self.flights[flight].process == process => Some(*flight),
            _ => None,
        });
        if let Some(flight) = on_its_way.filter(|_| !self.faults.keeps_tokens) {
            self.is_excused_by_loss("the answer will find no replica", flight);
        }
        self.requests.retain(|_, asked| asked.process != process);
        let replica_state = &mut self.replicas[replica];
        replica_state.alive = false;
        replica_state.waiting.clear();
        replica_state.watched.clear();
        let long = 1_000 + self.dice.roll(10_000);
        self.after(long, Event::Start(replica));
    }
}

/// What a decision gives to the holder of the presented grant.
pub(super) fn opened(decision: Decision, family: &Family, presented: &Grant) -> Outcome {
    let holder = Holder::of(presented);
    match decision {
        Decision::Exchange { with: With::Presented, recovers, .. } => {
            Outcome::Begin { grant: Box::new(presented.clone()), recovers }
        }
        Decision::Exchange { with: With::Newest { grant, generation }, recovers, .. } => {
            let newest = holder.newest(family, generation, &grant);
            Outcome::Begin { grant: Box::new(newest.expect("sealed for this holder")), recovers }
        }
        Decision::Join(flight) => Outcome::Join(flight),
        Decision::AskAgainAfter(flight) => Outcome::AskAgainAfter(flight),
        Decision::AnswerAgain { answer, of, age, given_ago, with_cookie } => {
            let holder = holder.reach(family, of).expect("a way along the links");
            let plain = holder.open(Content::Answer, &answer).expect("sealed for this holder");
            let next = Box::new(Grant::from_bytes(plain.expose()).expect("a grant"));
            Outcome::AnswerAgain { used: next.counts_as_use(), next, age, given_ago, with_cookie }
        }
        Decision::TooMany => Outcome::TooMany,
        Decision::Replay => Outcome::Replay,
        Decision::Over { end: SessionEnd::IdleTimeout, .. } => Outcome::IsIdle,
        Decision::Over { end, revoke } => Outcome::Over { end, revoke, of: presented.generation },
    }
}

/// What a flight brings; here the answer is the next grant, which the cookie holds.
pub(super) fn arrival(
    flight: FlightId,
    flying: &Flying,
    used: bool,
    is_awaited: bool,
    here: Timestamp,
    dice: &mut Dice,
) -> (Arrival, Grant) {
    let (token, _) = flying.token.clone().expect("it came");
    let seed = std::array::from_fn(|_| u8::try_from(dice.roll(256)).expect("a byte"));
    let next = flying.grant.successor(Some(token.as_str().into()), seed, here, used);
    let holder = Holder::of(&flying.grant);
    let nonce = || std::array::from_fn(|_| 7);
    let seal = |content| holder.seal(content, next.to_bytes().expose(), nonce()).expect("sealed");
    let mut links = vec![holder.link_to(&next, nonce()).expect("a link")];
    if flying.presented.generation < flying.grant.generation {
        links.push(Holder::of(&flying.presented).link_to(&flying.grant, nonce()).expect("a link"));
    }
    let arrival = Arrival {
        flight,
        from: flying.presented.generation,
        of: flying.grant.generation,
        shape: shape(flying.shape),
        recovers: flying.recovers,
        is_awaited,
        successor: Successor {
            generation: next.generation,
            last_used_at: next.last_used_at,
            used,
            grant: seal(Content::Grant),
        },
        answer: seal(Content::Answer),
        links,
        worth_for: None,
        issued: flying.issued(next.generation, here),
    };
    (arrival, next)
}
