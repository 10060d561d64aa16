//! What replicas make of the list of revocations when they ask it, and what must hold of everybody.

use tollgate::core::revocation::{GrantIdentity, Kind, Rule};
use tollgate::core::session::exchange::FlightId;
use tollgate::core::session::grant::{Generation, Grant};
use tollgate::core::session_end::SessionEnd;
use tollgate::core::time::Timestamp;
use tollgate::core::token::id::TokenId;

use super::revoking::{Attempt, CLIENT, Out, Revoking, SUB, TOKEN_LIFE};
use super::{SKEW, World, stamp};
use crate::events::{Change, Event, Outcome, Process, Request};

/// Within this time of its acknowledgement a revocation is enforced by every replica that is in touch.
const WITHIN: i64 = 1_000;

impl World {
    pub(super) fn is_in_touch_again(&mut self, replica: usize) {
        if !self.faults.revocations {
            return;
        }
        let at = self.replicas[replica].store_away.max(self.now);
        let own = &mut self.revoking.own[replica];
        if self.replicas[replica].store_away <= self.now {
            *own = own.restarted(self.now);
        }
        own.in_touch_since = at;
        let delay = at - self.now + self.dice.roll(400);
        self.after(delay, Event::Follow(replica));
    }

    pub(super) fn follow(&mut self, replica: usize) {
        let process = Process { replica, life: self.replicas[replica].life };
        if !self.replicas[replica].alive || !self.reaches_store(process) {
            return;
        }
        let writes = self.dice.one_in(2);
        let Revoking { own, shared, .. } = &mut self.revoking;
        if own[replica].follow(shared, writes) {
            let delay = self.dice.roll(30);
            self.after(delay, Event::Follow(replica));
        } else {
            let now = self.here(replica);
            let Revoking { own, shared, grant, out, .. } = &self.revoking;
            let of = |seconds: i64, sub| GrantIdentity {
                sub: Some(sub),
                signed_in_at: Timestamp::from_secs(now.as_secs() - seconds),
                ..GrantIdentity::of(grant)
            };
            let ages = [0, 100, 200, 300, 400];
            let others = ages.into_iter().flat_map(|age| [of(age, SUB), of(age, "bob")]);
            let grants: Vec<_> = others.chain([GrantIdentity::of(grant)]).collect();
            let tokens: Vec<_> = out.iter().map(Out::facts).collect();
            own[replica].must_agree(shared, &grants, &tokens, now);
        }
    }

    /// For long enough to know of everything.
    fn is_in_touch(&self, replica: usize) -> bool {
        let since = self.revoking.own[replica].in_touch_since;
        self.now >= since + WITHIN && self.now >= self.replicas[replica].store_away
    }

    /// The replica's own list; `None`: it is not loaded.
    pub(super) fn admits(&self, replica: usize, grant: &Grant) -> Option<bool> {
        let Revoking { own, shared, .. } = &self.revoking;
        let own = &own[replica];
        if self.is_in_touch(replica) {
            assert!(own.has_all_until(shared, self.now - WITHIN), "replica {replica} is late");
        }
        let admitted = own.tables.admits_grant(&GrantIdentity::of(grant), self.here(replica));
        own.is_loaded().then(|| admitted.expect("complete"))
    }

    pub(super) fn arrive(&mut self, process: Process, request: Request) {
        if !self.faults.revocations {
            return self.present(process, request);
        }
        let grant = self.requests[&request].grant.clone();
        match self.admits(process.replica, &grant) {
            None => self.refuse(request),
            Some(true) => self.present(process, request),
            Some(false) => {
                self.requests.get_mut(&request).expect("it came").was_named = true;
                self.count("taken back when presented");
                if !self.is_in_touch(process.replica) {
                    self.is_excused(
                        "a replica that is cut off goes by what was lifted meanwhile",
                        grant.generation,
                    );
                }
                self.change(process, Change::TakenBack(request), 0);
            }
        }
    }

    pub(super) fn gives_access_token(&mut self, flight: FlightId) {
        if self.faults.revocations {
            let out = self.new_token();
            self.flights.get_mut(&flight).expect("it flies").issued = Some(out);
        }
    }

    pub(super) fn new_token(&mut self) -> Out {
        self.count += 1;
        let mut id = [0; 32];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        // One that was asked for with another scope may say less, or more, than the one before.
        let [says_other_sid, says_other_sub] = [self.dice.one_in(4), self.dice.one_in(4)];
        let Revoking { grant, says: [sid, sub, client], .. } = &self.revoking;
        let [sid, sub] = [*sid != says_other_sid, *sub != says_other_sub];
        Out {
            id: TokenId::from_bytes(id),
            family: grant.family,
            sid: grant.session_id.clone().filter(|_| sid),
            sub: sub.then_some(SUB),
            client: client.then_some(CLIENT),
            issued_at: self.now,
        }
    }

    /// The list is asked again when the authorization server has answered.
    pub(super) fn is_taken_back_meanwhile(&mut self, flight: FlightId) -> bool {
        if !self.faults.revocations {
            return false;
        }
        let flying = &self.flights[&flight];
        let replica = flying.process.replica;
        let admits = self.admits(replica, &flying.grant) != Some(false);
        let token = flying.issued.as_ref().expect("it came");
        let admits_token = self.revoking.admits_token(replica, token, self.here(replica));
        if admits && !admits_token {
            // By the server's clock it is older than its session by a replica's.
            self.is_excused_by_loss("the list names its new access token", flight);
        }
        let was_named = !(admits && admits_token);
        self.flights.get_mut(&flight).expect("it flies").was_named = was_named;
        was_named
    }

    /// What a flight brought may be handed out from now on.
    pub(super) fn has_handed_out(&mut self, flight: FlightId) {
        if !self.faults.revocations {
            return;
        }
        let flying = &self.flights[&flight];
        assert!(!flying.was_named, "what the list of its replica names was handed out");
        assert!(!self.revoking.is_over, "a session that was revoked handed something out");
        let out = flying.issued.clone().expect("it came");
        self.revoking.out.push(out);
        self.nothing_named_is_left();
    }

    /// Its end is in the store. `by_us`: else it was the authorization server that ended it.
    pub(super) fn is_ended(&mut self, generation: Generation, by_us: bool) {
        self.revoking.is_over = true;
        self.revoking.is_ended(generation);
        if !by_us {
            self.revoking.handed = self.revoking.handed.max(Some(generation));
        }
    }

    pub(super) fn is_ended_by_revoker(&mut self) {
        self.count("ended in the store");
        self.revoking.is_over = true;
    }

    /// Nobody gets anything of a session whose end is in the store.
    pub(super) fn nothing_more_comes(&self, outcome: &Outcome) {
        let gets = matches!(
            outcome,
            Outcome::Begin { .. }
                | Outcome::Join(_)
                | Outcome::AskAgainAfter(_)
                | Outcome::AnswerAgain { .. }
                | Outcome::Landed { .. }
        );
        assert!(!(gets && self.revoking.is_over), "a session that was revoked gets {outcome:?}");
    }

    /// Of a session that somebody has looked for twice, every access token that lives is refused.
    pub(super) fn nothing_named_is_left(&self) {
        let Revoking { attempts, grant, out, shared, .. } = &self.revoking;
        let now = stamp(self.now);
        let done = attempts.iter().filter(|attempt| attempt.is_done && attempt.lifted_at.is_none());
        for Attempt { revocation, .. } in done {
            // An operator may have said something else of the same since. By every clock.
            let Some(standing) = shared.records.get(&revocation.id()) else { continue };
            let holds = standing.until.is_none_or(|until| stamp(self.now + SKEW) < until);
            if !holds || !Revoking::names(revocation, grant) {
                continue;
            }
            for token in out.iter().filter(|token| token.family == grant.family) {
                let lives = self.now < token.issued_at + TOKEN_LIFE;
                // Known limit: a watermark on a client reaches tokens that name it by what they say alone.
                let is_watermark = matches!(revocation.rule, Rule::Before(_));
                let is_left =
                    is_watermark && revocation.target.kind == Kind::Client && token.client.is_some();
                let refused = shared.refuses_token(&token.facts(), now) || is_left;
                assert!(!lives || refused, "{revocation:?} did not reach {token:?}");
            }
        }
    }

    /// Whether a revocation that was in force when this session came, or later, names it.
    pub(super) fn is_named_by_a_revocation(&self) -> bool {
        let Revoking { attempts, grant, came_at, .. } = &self.revoking;
        let counts = |attempt: &&Attempt| attempt.lifted_at.is_none_or(|at| at + WITHIN >= *came_at);
        attempts.iter().filter(counts).any(|attempt| Revoking::names(&attempt.revocation, grant))
    }

    pub(super) fn hands_to_server(&mut self, generation: Generation) {
        if self.faults.revocations {
            self.revoking.handed = self.revoking.handed.max(Some(generation));
            let (delay, family) = (self.dice.roll(2_000), self.revoking.grant.family);
            self.after(delay, Event::AsRevokes(family));
        }
    }

    /// Its holder has come, and hears that it is over.
    pub(super) fn is_over_by(&mut self, end: SessionEnd, revoke: bool, of: Generation) {
        if revoke {
            self.hands_to_server(of);
        }
        if !self.faults.revocations || end != SessionEnd::Revoked {
            return;
        }
        self.count("holder came");
        // Whoever dies between the two cannot say it.
        let may_have_died = self.faults.kills && self.revoking.promised >= Some(of);
        let is_handed = self.revoking.handed >= Some(of) || may_have_died;
        assert!(is_handed, "the refresh token of generation {of} was not revoked");
    }
}
