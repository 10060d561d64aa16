//! Operators who take sessions back at any replica and at any moment, and what must hold while they do: the
//! steps of `flows/revoke`, each an event of its own.

use std::collections::BTreeSet;

use tollgate::core::ids::FamilyId;
use tollgate::core::revocation::{
    Change as ListChange, GrantIdentity, Kind, Revocation, Rule, Target, TokenIdentity, Whose,
};
use tollgate::core::session::exchange::{Family, Issued};
use tollgate::core::session::grant::{Generation, Grant};
use tollgate::core::session_end::SessionEnd;
use tollgate::core::time::Timestamp;
use tollgate::core::token::id::TokenId;

use super::{World, stamp};
use crate::events::{Event, Look, Process};
use crate::list::{OwnList, SharedList};

/// As in `flows/revoke`, in milliseconds.
const AGAIN: i64 = 3_000;
/// How long an operator waits for an answer before asking again.
const ASKS_AGAIN: i64 = 10_000;
/// How long an access token lives.
pub(super) const TOKEN_LIFE: i64 = 300_000;
const LONG: i64 = 8 * 86_400_000;

pub(super) const ISS: &str = "https://as.example";
pub(super) const CLIENT: &str = "web-app";
pub(super) const SUB: &str = "alice";

/// An access token that the authorization server gave.
#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) id: TokenId,
    pub(super) family: FamilyId,
    /// What it says of itself.
    pub(super) sid: Option<String>,
    pub(super) sub: Option<&'static str>,
    pub(super) client: Option<&'static str>,
    pub(super) issued_at: i64,
}

impl Out {
    pub(super) fn facts(&self) -> TokenIdentity<'_> {
        TokenIdentity {
            id: self.id,
            iss: ISS,
            jti: None,
            sid: self.sid.as_deref(),
            sub: self.sub,
            client: self.client,
            kid: None,
            issued_at: stamp(self.issued_at),
        }
    }

    /// As a family notes it, by the clock of the replica that does.
    pub(super) fn noted(&self, generation: Generation, here: Timestamp) -> Issued {
        let life = std::time::Duration::from_millis(TOKEN_LIFE.unsigned_abs());
        let expires_at = here.plus(life).max(stamp(self.issued_at + TOKEN_LIFE));
        Issued { id: self.id, expires_at, generation }
    }
}

/// What an operator wants.
struct Job {
    target: Target,
    rule: Wanted,
    is_acknowledged: bool,
}

#[derive(Clone, Copy)]
enum Wanted {
    Outright,
    /// So many milliseconds ago.
    Before(i64),
    /// Ends by itself after so many milliseconds, or never.
    Block(Option<i64>),
}

/// What one replica made of a job.
pub(super) struct Attempt {
    job: usize,
    pub(super) revocation: Revocation,
    pub(super) lifted_at: Option<i64>,
    /// It has looked twice.
    pub(super) is_done: bool,
}

pub(super) struct Revoking {
    pub(super) shared: SharedList,
    pub(super) own: Vec<OwnList>,
    jobs: Vec<Job>,
    pub(super) attempts: Vec<Attempt>,
    /// The session that is signed in, or that is being signed in.
    pub(super) grant: Grant,
    pub(super) is_signed_in: bool,
    /// Attempts to sign in.
    pub(super) attempt: u64,
    /// When the list was asked for it.
    pub(super) came_at: i64,
    pub(super) first_token: Option<Out>,
    /// Whether access tokens say which session, subject and client they belong to.
    pub(super) says: [bool; 3],
    /// By what the session can be found.
    pub(super) noted: BTreeSet<Kind>,
    pub(super) out: Vec<Out>,
    /// Its end is in the store.
    pub(super) is_over: bool,
    /// The newest generations whose refresh token the store, and the authorization server, know as revoked.
    pub(super) promised: Option<Generation>,
    pub(super) handed: Option<Generation>,
}

impl Revoking {
    pub(super) fn new(grant: Grant) -> Self {
        Self {
            shared: SharedList::default(),
            own: (0..3).map(|_| OwnList::new()).collect(),
            jobs: Vec::new(),
            attempts: Vec::new(),
            grant,
            is_signed_in: false,
            attempt: 0,
            came_at: 0,
            first_token: None,
            says: [true; 3],
            noted: BTreeSet::new(),
            out: Vec::new(),
            is_over: false,
            promised: None,
            handed: None,
        }
    }

    /// Nothing is left of the session before.
    pub(super) fn begin(&mut self, grant: Grant, says: [bool; 3]) {
        (self.grant, self.says) = (grant, says);
        (self.is_signed_in, self.is_over) = (false, false);
        (self.promised, self.handed, self.first_token) = (None, None, None);
        self.noted.clear();
        self.out.clear();
    }

    pub(super) fn is_ended(&mut self, generation: Generation) {
        self.promised = self.promised.max(Some(generation));
    }

    pub(super) fn admits_token(&self, replica: usize, token: &Out, here: Timestamp) -> bool {
        let (tables, facts) = (&self.own[replica].tables, token.facts());
        let says_nothing = token.sid.is_none() && token.sub.is_none() && token.client.is_none();
        says_nothing || tables.admit_token(&tables.marks_of(&facts), facts.issued_at, here).is_ok()
    }

    pub(super) fn names(revocation: &Revocation, grant: &Grant) -> bool {
        revocation.refuses_grant(&GrantIdentity::of(grant), revocation.made_at)
    }
}

impl World {
    pub(super) fn here(&self, replica: usize) -> Timestamp {
        stamp(self.now + self.replicas[replica].clock)
    }

    pub(super) fn plan_revocations(&mut self, from: i64) {
        if self.dice.one_in(4) {
            let delay = from + self.dice.roll(3_000);
            self.plan_job(delay, true);
        }
        if self.dice.one_in(2) {
            let delay = from + self.dice.roll(3_000);
            self.plan_job(delay, false);
        }
    }

    /// `ours`: it names what the session belongs to, though perhaps not the session.
    pub(super) fn plan_job(&mut self, delay: i64, ours: bool) {
        let pick = |ours_is: String, else_is: &str| if ours { ours_is } else { else_is.to_owned() };
        let grant = &self.revoking.grant;
        let of_issuer = if self.dice.one_in(4) { Whose::All } else { Whose::Of(ISS.to_owned()) };
        let sid = grant.session_id.clone().unwrap_or_default();
        let family = if ours { grant.family } else { FamilyId::from_random([8; 16]) };
        let ends = self.dice.one_in(3).then(|| 1_000 * (5 + self.dice.roll(100)));
        let before = if self.dice.one_in(2) { 0 } else { self.dice.roll(400_000) };
        let target = |kind, value| Target { kind, whose: of_issuer.clone(), value };
        let (target, rule) = match self.dice.roll(7) {
            0 => (Target::family(family), Wanted::Outright),
            1 => (target(Kind::Sid, pick(sid, "elsewhere")), Wanted::Outright),
            2 => (target(Kind::Sid, pick(sid, "elsewhere")), Wanted::Block(ends)),
            3 => (target(Kind::Sub, pick(SUB.to_owned(), "bob")), Wanted::Before(before)),
            4 => (target(Kind::Sub, pick(SUB.to_owned(), "bob")), Wanted::Block(ends)),
            5 => (target(Kind::Client, pick(CLIENT.to_owned(), "other")), Wanted::Before(before)),
            _ => (target(Kind::Client, pick(CLIENT.to_owned(), "other")), Wanted::Block(ends)),
        };
        let job = self.revoking.jobs.len();
        if matches!(rule, Wanted::Block(None)) || self.dice.one_in(3) {
            let soon = if self.dice.one_in(2) { 3_000 } else { 60_000 };
            let lifted = delay + self.dice.roll(soon);
            self.after(lifted, Event::Lifts(job));
        }
        self.revoking.jobs.push(Job { target, rule, is_acknowledged: false });
        self.after(delay, Event::Asks(job));
    }

    pub(super) fn operator_asks(&mut self, job: usize) {
        if self.revoking.jobs[job].is_acknowledged {
            return;
        }
        self.after(ASKS_AGAIN, Event::Asks(job));
        if let Some(process) = self.some_process() {
            let delay = self.dice.roll(200);
            self.after(delay, Event::Appends(process, job));
        }
    }

    pub(super) fn appends(&mut self, process: Process, job: usize) {
        if !self.reaches_store(process) {
            return;
        }
        let Job { target, rule, .. } = &self.revoking.jobs[job];
        let here = self.here(process.replica);
        let after = |millis: i64| Timestamp::from_millis(here.as_millis() + millis);
        let (rule, until) = match rule {
            Wanted::Outright => (Rule::Outright, Some(after(LONG))),
            Wanted::Before(ago) => (Rule::Before(after(-ago)), Some(after(LONG))),
            // Tables know whole seconds.
            Wanted::Block(ends) => {
                (Rule::Block, ends.map(|ends| Timestamp::from_secs(after(ends).as_secs())))
            }
        };
        let revocation = Revocation { until, ..Revocation::new(target.clone(), rule, here) };
        self.count(if Revoking::names(&revocation, &self.revoking.grant) {
            "revoked"
        } else {
            "revoked other"
        });
        self.append(ListChange::Add(revocation.clone()));
        let attempt = self.revoking.attempts.len();
        self.revoking.attempts.push(Attempt { job, revocation, lifted_at: None, is_done: false });
        if self.faults.outages && self.dice.one_in(20) {
            // Nobody heard that it was appended.
            return;
        }
        let delay = self.dice.roll(200);
        self.after(delay, Event::LooksFor(process, Look { attempt, is_second: false }));
    }

    fn append(&mut self, change: ListChange) {
        self.revoking.shared.append(change, self.now);
        for replica in 0..3 {
            let delay = self.dice.roll(400);
            self.after(delay, Event::Follow(replica));
        }
    }

    /// The families that it names are found by themselves, or by what was noted of them.
    pub(super) fn looks_for(&mut self, process: Process, look: Look) {
        if !self.reaches_store(process) {
            return self.looked_in_vain(process, look);
        }
        let Revoking { attempts, grant, noted, shared, .. } = &mut self.revoking;
        if look.is_second {
            let made = &mut attempts[look.attempt].revocation;
            let Some(standing) = shared.records.get(&made.id()) else {
                // Lifted: whoever came since is not to be ended.
                return self.looked(process, look, Vec::new());
            };
            *made = standing.clone();
        }
        let Target { kind, value, .. } = &attempts[look.attempt].revocation.target;
        let found = match kind {
            Kind::Family => *value == grant.family.to_string(),
            Kind::Sid => Some(value) == grant.session_id.as_ref() && noted.contains(kind),
            Kind::Sub => value == SUB && noted.contains(kind),
            _ => value == CLIENT && noted.contains(kind),
        };
        if found {
            self.change(process, crate::events::Change::Revoke(look), 0);
        } else {
            self.looked(process, look, Vec::new());
        }
    }

    /// As `reach::end` does.
    pub(super) fn ends(&self, look: Look, family: &mut Family) -> Vec<Issued> {
        let Revocation { target, rule, .. } = &self.revoking.attempts[look.attempt].revocation;
        if target.kind == Kind::Family && target.value != self.revoking.grant.family.to_string() {
            return Vec::new();
        }
        if let Rule::Before(before) = rule
            && family.signed_in_at().as_secs() > before.as_secs()
        {
            return Vec::new();
        }
        if family.over().is_none() {
            family.end(SessionEnd::Revoked, None);
        }
        family.issued().to_vec()
    }

    pub(super) fn names(&mut self, process: Process, look: Look, issued: &[Issued]) {
        if !self.reaches_store(process) {
            return self.looked_in_vain(process, look);
        }
        let here = self.here(process.replica);
        for token in issued {
            let until = token.known_until();
            if here < until {
                self.count("named");
                self.append(ListChange::Add(Revocation {
                    until: Some(Timestamp::from_secs(until.as_secs())),
                    ..Revocation::new(Target::token(token.id), Rule::Outright, here)
                }));
            }
        }
        self.looked(process, look, Vec::new());
    }

    pub(super) fn looked(&mut self, process: Process, look: Look, issued: Vec<Issued>) {
        if !issued.is_empty() {
            return self.names(process, look, &issued);
        }
        let attempt = &mut self.revoking.attempts[look.attempt];
        if look.is_second {
            attempt.is_done = true;
            self.count("looked twice");
            self.nothing_named_is_left();
        } else {
            let job = attempt.job;
            self.revoking.jobs[job].is_acknowledged = true;
            self.after(AGAIN, Event::LooksFor(process, Look { is_second: true, ..look }));
        }
    }

    /// The operator asks again; the second look is nobody's but the replica's.
    pub(super) fn looked_in_vain(&mut self, process: Process, look: Look) {
        self.count("looked in vain");
        if look.is_second {
            self.after(2_000, Event::LooksFor(process, look));
        }
    }

    pub(super) fn lifts(&mut self, job: usize) {
        let is_known = self.revoking.jobs[job].is_acknowledged;
        if !is_known || !self.some_process().is_some_and(|process| self.reaches_store(process)) {
            return self.after(5_000, Event::Lifts(job));
        }
        let made = self.revoking.attempts.iter().filter(|attempt| attempt.job == job);
        let ids: Vec<_> = made.map(|attempt| attempt.revocation.id()).collect();
        for id in ids {
            if let Some(known) = self.revoking.shared.records.get(&id).cloned() {
                self.count("lifted");
                self.append(ListChange::Lift(known));
                for attempt in &mut self.revoking.attempts {
                    if attempt.revocation.id() == id {
                        attempt.lifted_at.get_or_insert(self.now);
                    }
                }
            }
        }
    }
}
