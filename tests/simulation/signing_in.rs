//! Sign-ins, in the steps of `flows/exchange/code`: the list is asked, it is noted by what the session can be
//! found, its record is put, and then the browser gets its cookie. Who was signed out signs in again.

use tollgate::core::ids::FamilyId;
use tollgate::core::revocation::Kind;
use tollgate::core::secret::Secret;
use tollgate::core::session::exchange::Issued;
use tollgate::core::session::grant::Grant;
use tollgate::core::time::Timestamp;

use super::World;
use crate::events::{Change, Event, Process, Signing};

/// A browser that has not got its cookie by then begins again.
const BEGINS_AGAIN: i64 = 8_000;
const PATIENCE: i64 = 5_000;

impl World {
    pub(super) fn is_signed_out(&mut self) {
        if self.faults.revocations && !self.signed_out {
            self.count("signed out");
            let delay = if self.dice.one_in(3) { 3_000 } else { 70_000 };
            let delay = delay + self.dice.roll(3_000);
            if self.dice.one_in(2) {
                let before = delay - 2_000 + self.dice.roll(3_500);
                self.plan_job(before, true);
            }
            self.after(delay, Event::SignsIn);
        }
        self.signed_out = true;
    }

    /// What was is forgotten, but for the list and those who work at it.
    pub(super) fn signs_in(&mut self) {
        if self.revoking.is_signed_in && !self.signed_out {
            return;
        }
        self.after(BEGINS_AGAIN, Event::SignsIn);
        self.nothing_named_is_left();
        self.queue.retain(|_, event| {
            !matches!(
                event,
                Event::Read(_, change) | Event::Acted(_, change, _) | Event::Put { change, .. }
                    if !matches!(change, Change::Revoke(_))
            ) && !matches!(
                event,
                Event::Arrive(_)
                    | Event::PostLeaves(_)
                    | Event::AsWorks(_)
                    | Event::AsAnswers(..)
                    | Event::Look(..)
                    | Event::OutOfPatience(_)
                    | Event::Receive { .. }
                    | Event::UseToken { .. }
                    | Event::Signing(..)
            )
        });
        self.requests.clear();
        for replica in &mut self.replicas {
            replica.waiting.clear();
            replica.watched.clear();
        }
        self.revoking.attempt += 1;
        self.tokens += 1;
        self.as_token = format!("refresh-token-{}", self.tokens);
        (self.record, self.rotation_at_risk, self.excuse) = (None, None, None);
        (self.as_revoked, self.signed_out) = (false, false);
        (self.made_up_in_vain, self.last_receipt, self.proven) = (0, self.now, 0);
        self.answered_at.clear();
        self.nobodys = None;
        let mut family = [9; 16];
        family[..8].copy_from_slice(&self.revoking.attempt.to_be_bytes());
        // The session at the authorization server often is the one from before.
        let sid = self.revoking.attempt - u64::from(self.dice.one_in(4));
        let grant = Grant {
            refresh_token: self.as_token.as_str().into(),
            session_id: Some(format!("session-{sid}")),
            family: FamilyId::from_random(family),
            seed: Secret::new([u8::try_from(self.dice.roll(256)).expect("a byte"); 32]),
            ..self.given[0].clone()
        };
        self.given = vec![grant.clone()];
        self.jar = grant.clone();
        let says = match self.dice.roll(3) {
            0 => [false; 3],
            1 => [true; 3],
            _ => [self.dice.one_in(2), self.dice.one_in(2), self.dice.one_in(2)],
        };
        self.revoking.begin(grant, says);
        if let Some(process) = self.some_process() {
            let (delay, attempt) = (50 + self.dice.roll(500), self.revoking.attempt);
            self.after(delay, Event::Signing(process, attempt, Signing::Came));
        }
    }

    pub(super) fn goes_on_signing_in(&mut self, process: Process, attempt: u64, how_far: Signing) {
        if attempt != self.revoking.attempt {
            return;
        }
        match how_far {
            Signing::Came => {
                let here = self.here(process.replica);
                let dated = |grant: &mut Grant| {
                    (grant.signed_in_at, grant.last_used_at, grant.exchanged_at) = (here, here, here);
                };
                dated(&mut self.revoking.grant);
                dated(&mut self.jar);
                dated(&mut self.given[0]);
                self.revoking.came_at = self.now;
                let token = self.new_token();
                let admits = self.admits(process.replica, &self.revoking.grant) == Some(true)
                    && self.revoking.admits_token(process.replica, &token, here);
                self.revoking.first_token = Some(token);
                if !admits {
                    return self.count("sign-in refused");
                }
                let delay = if self.dice.one_in(3) { self.dice.roll(PATIENCE) } else { self.dice.roll(50) };
                self.after(delay, Event::Signing(process, attempt, Signing::Notes));
            }
            Signing::Notes if self.reaches_store(process) => {
                let [.., says_client] = self.revoking.says;
                let noted = [(Kind::Sid, true), (Kind::Sub, true), (Kind::Client, !says_client)];
                self.revoking.noted.extend(noted.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind));
                self.change(process, Change::SignIn(attempt), 0);
            }
            Signing::Notes => {}
        }
    }

    pub(super) fn first_issued(&self, attempt: u64, here: Timestamp) -> Option<Issued> {
        let first = self.revoking.first_token.as_ref().filter(|_| attempt == self.revoking.attempt);
        first.map(|token| token.noted(0, here))
    }

    /// Its record is in the store: the browser gets what it waits for.
    pub(super) fn is_signed_in(&mut self, process: Process, attempt: u64) {
        if attempt != self.revoking.attempt || self.now > self.revoking.came_at + PATIENCE {
            return;
        }
        // Whoever took it back before it was noted has not found it.
        if self.admits(process.replica, &self.revoking.grant) != Some(true) {
            return self.count("sign-in refused late");
        }
        self.count("signed in");
        self.revoking.is_signed_in = true;
        let first = self.revoking.first_token.clone().expect("it came");
        self.revoking.out.push(first);
        self.nothing_named_is_left();
    }
}
