//! The simulated world: who there is, what they do, and what must hold while they do it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tollgate::core::denial::SessionEnd;
use tollgate::core::secret::Secret;
use tollgate::core::session::exchange::seal::{Content, Holder};
use tollgate::core::session::exchange::{
    Arrival, Decision, Family, FlightId, Landed, Now, Shape, Successor, Windows, With,
};
use tollgate::core::session::grant::{FamilyId, Generation, Grant, Subject, SubjectSource, Timeouts};
use tollgate::core::session::oauth::Scope;
use tollgate::core::time::Timestamp;

use crate::events::{Bytes, Change, Event, Outcome, Process, Request, Said};

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// Answers to browsers.
    pub(crate) losses: bool,
    /// The authorization server takes up to 50 seconds.
    pub(crate) slow: bool,
    /// Replicas, without a word.
    pub(crate) kills: bool,
    /// The store is away for a while, for all replicas or for one.
    pub(crate) outages: bool,
    /// The authorization server dies between replacing a token and its answer.
    pub(crate) dies_rotating: bool,
    pub(crate) keeps_tokens: bool,
    pub(crate) thief: bool,
    pub(crate) polls: bool,
    /// The store comes back empty once.
    pub(crate) loses_store: bool,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        losses: false,
        slow: false,
        kills: false,
        outages: false,
        dies_rotating: false,
        keeps_tokens: false,
        thief: false,
        polls: false,
        loses_store: false,
    };
}

/// As in `flows/exchange/coordinate.rs`, in milliseconds.
const LEASE: i64 = 6_000;
const SENT_LEASE: i64 = 65_000;
const OWN_LEASE: i64 = 60_000;
const BEAT: i64 = 1_500;
const LOOK: i64 = 1_500;
const PATIENCE: i64 = 5_000;
const FLIGHT: i64 = 60_000;
const GRACE: i64 = 30_000;
/// How far the clocks of two replicas are apart.
const SKEW: i64 = 60_000;
const IDLE_WITH_POLLS: i64 = 400_000;
const IDLE: i64 = 8 * 3_600_000;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 % sides.unsigned_abs()).expect("below its sides")
    }
    fn one_in(&mut self, sides: i64) -> bool {
        self.roll(sides) == 0
    }
}

struct Asked {
    process: Process,
    grant: Grant,
    shape: usize,
    used: bool,
    thief: bool,
}

struct Flying {
    process: Process,
    presented: Grant,
    grant: Grant,
    shape: usize,
    used: bool,
    recovers: bool,
    /// When its replica last began to put a beat that the store took.
    renewed: i64,
    /// Nobody flies it any more.
    over: bool,
    /// What the authorization server gave for it, and when it came.
    token: Option<(String, i64)>,
}

/// What one process remembers.
struct Replica {
    life: u32,
    /// Until when it does not reach the store.
    store_away: i64,
    alive: bool,
    clock: i64,
    /// Requests that wait for a flight, of this process or another.
    waiting: HashMap<FlightId, Vec<Request>>,
    /// Flights of other processes: the beat that was seen, and since when.
    watched: HashMap<FlightId, (Option<u64>, i64)>,
}

pub(crate) struct World {
    pub(crate) steps: usize,
    pub(crate) signed_out: bool,
    pub(crate) seen: BTreeMap<&'static str, usize>,
    pub(crate) history: VecDeque<String>,
    faults: Faults,
    dice: Dice,
    now: i64,
    queue: BTreeMap<(i64, u64), Event>,
    count: u64,
    replicas: Vec<Replica>,
    record: Option<(u64, Vec<u8>)>,
    versions: u64,
    as_token: String,
    as_revoked: bool,
    tokens: u64,
    /// The server replaced a token for this flight, and its answer is in no store.
    rotation_at_risk: Option<FlightId>,
    /// Why an honest browser may be signed out.
    excuse: Option<&'static str>,
    requests: HashMap<Request, Asked>,
    flights: HashMap<FlightId, Flying>,
    jar: Grant,
    given: Vec<Grant>,
    /// Answers of exchanges in a row that made up for one that was lost, and that did not arrive either.
    made_up_in_vain: u8,
    last_receipt: i64,
    next_burst: i64,
    /// When a use was answered last, by nobody's clock.
    use_answered: i64,
    /// Since when each generation has been answered last, and the newest that is known to have arrived.
    answered_at: HashMap<Generation, i64>,
    proven: Generation,
    lost_store_at: Option<i64>,
}

fn stamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn shape(index: usize) -> Shape {
    Shape { scope: Scope::parse(["a", "a b"][index]), resource: None }
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let first = Grant {
            client_id: "web-app".into(),
            iss: "https://as.example".into(),
            refresh_token: "refresh-token-0".into(),
            subject: Some(Subject { sub: "alice".into(), source: SubjectSource::AccessToken }),
            session_id: None,
            scope: Scope::parse("a b"),
            family: FamilyId::from_random([9; 16]),
            generation: 0,
            seed: Secret::new([1; 32]),
            signed_in_at: stamp(0),
            last_used_at: stamp(0),
            exchanged_at: stamp(0),
        };
        let replicas = (0..3)
            .map(|_| Replica {
                life: 0,
                store_away: 0,
                alive: true,
                clock: dice.roll(SKEW) - SKEW / 2,
                waiting: HashMap::new(),
                watched: HashMap::new(),
            })
            .collect();
        Self {
            steps: 0,
            signed_out: false,
            seen: BTreeMap::new(),
            history: VecDeque::new(),
            faults,
            dice,
            now: 0,
            queue: BTreeMap::new(),
            count: 0,
            replicas,
            record: None,
            versions: 0,
            as_token: "refresh-token-0".into(),
            as_revoked: false,
            tokens: 0,
            rotation_at_risk: None,
            excuse: None,
            requests: HashMap::new(),
            flights: HashMap::new(),
            jar: first.clone(),
            given: vec![first],
            made_up_in_vain: 0,
            last_receipt: 0,
            next_burst: SKEW,
            use_answered: 0,
            answered_at: HashMap::new(),
            proven: 0,
            lost_store_at: None,
        }
    }

    pub(crate) fn run(&mut self, steps: usize) {
        while self.steps < steps && !self.signed_out {
            if self.queue.first_key_value().is_none_or(|((when, _), _)| *when > self.next_burst) {
                self.plan_burst();
            }
            let ((now, _), event) = self.queue.pop_first().expect("a burst was planned");
            self.now = now;
            self.steps += 1;
            self.history.push_back(format!("{now}: {event:?}").chars().take(300).collect());
            if self.history.len() > 150 {
                self.history.pop_front();
            }
            self.step(event);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn after(&mut self, delay: i64, event: Event) {
        self.count += 1;
        self.queue.insert((self.now + delay, self.count), event);
    }

    fn plan_burst(&mut self) {
        let from = self.next_burst - self.now;
        self.next_burst += 10_000 + self.dice.roll(200_000);
        for _ in 0..=self.dice.roll(6) {
            let (delay, shape) = (self.dice.roll(800), usize::from(self.dice.one_in(4)));
            let used = !self.faults.polls || self.dice.one_in(2);
            self.after(from + delay, Event::Send { used, shape });
        }
        let delay = from + self.dice.roll(2_000);
        if self.faults.kills && self.dice.one_in(3) {
            let replica = usize::try_from(self.dice.roll(3)).expect("one of three");
            self.after(delay, Event::Kill(replica));
        }
        if self.faults.outages && self.dice.one_in(4) {
            let all = self.dice.one_in(2);
            let replica = usize::try_from(self.dice.roll(3)).expect("one of three");
            self.after(delay, Event::StoreAway((!all).then_some(replica)));
        }
        if self.faults.thief && self.dice.one_in(2) {
            let delay = from + self.dice.roll(100_000);
            self.after(delay, Event::Steal);
        }
        if self.faults.loses_store && self.lost_store_at.is_none() && self.dice.one_in(4) {
            self.after(delay, Event::StoreLost);
        }
        if self.dice.one_in(3) {
            // The page uses its newest access token, somewhere.
            let (process, generation) = (self.some_process(), self.jar.generation);
            if let Some(process) = process {
                self.after(from + 5_000, Event::Read(process, Change::Seen(generation)));
            }
        }
    }

    fn some_process(&mut self) -> Option<Process> {
        let alive: Vec<usize> = (0..3).filter(|replica| self.replicas[*replica].alive).collect();
        if alive.is_empty() {
            return None;
        }
        let at = usize::try_from(self.dice.roll(i64::try_from(alive.len()).expect("few"))).expect("few");
        Some(Process { replica: alive[at], life: self.replicas[alive[at]].life })
    }

    fn lives(&self, process: Process) -> bool {
        let replica = &self.replicas[process.replica];
        replica.alive && replica.life == process.life
    }

    fn windows(&self) -> Windows {
        let idle = if self.faults.polls { IDLE_WITH_POLLS } else { IDLE };
        let idle = Duration::from_millis(idle.unsigned_abs());
        Windows {
            grace: Duration::from_millis(GRACE.unsigned_abs()),
            timeouts: Timeouts { idle, absolute: Duration::from_secs(7 * 86_400) },
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Send { used, shape } => {
                let grant = self.jar.clone();
                self.send(grant, shape, used, false);
            }
            Event::Arrive(request) => {
                if let Some(asked) = self.requests.get(&request) {
                    let process = asked.process;
                    self.present(process, request);
                    self.after(PATIENCE, Event::OutOfPatience(request));
                }
            }
            Event::Read(process, change) if self.lives(process) => self.read(process, change),
            Event::Put { process, change, expected, bytes, outcome, read_at } => {
                self.put(process, change, expected, bytes, outcome, read_at);
            }
            Event::Acted(process, change, outcome) if self.lives(process) => {
                self.act(process, change, outcome)
            }
            Event::PostLeaves(flight) => {
                if self.flights.get(&flight).is_some_and(|flying| self.lives(flying.process)) {
                    let slow = self.faults.slow && self.dice.one_in(12);
                    let delay = if slow { self.dice.roll(50_000) } else { self.dice.roll(1_500) };
                    self.after(delay, Event::AsWorks(flight));
                }
            }
            Event::AsWorks(flight) => self.as_works(flight),
            Event::AsAnswers(flight, said) => self.as_answers(flight, said),
            Event::Look(process, flight) if self.lives(process) => self.look(process, flight),
            Event::OutOfPatience(request) => self.refuse(request),
            Event::Receive { next, with_cookie, used } => {
                if self.dice.one_in(3) {
                    // Not before what its tabs had sent with the cookie before has arrived.
                    self.after(4_000, Event::UseToken { of: next.generation, with_cookie });
                }
                if with_cookie {
                    self.jar = *next;
                    self.made_up_in_vain = 0;
                }
                if used {
                    self.use_answered = self.now;
                }
            }
            // Known limit: an answer that arrived out of order has put an older cookie into the jar.
            Event::UseToken { of, with_cookie } if with_cookie && of > self.jar.generation => {}
            Event::UseToken { of, with_cookie } => {
                if let Some(process) = self.some_process() {
                    self.count(if with_cookie { "token" } else { "token without cookie" });
                    self.change(process, Change::Seen(of), 0);
                }
            }
            Event::Steal => {
                let at = usize::try_from(self.dice.roll(i64::try_from(self.given.len()).expect("few")))
                    .expect("few");
                let copy = self.given[at].clone();
                self.count("stolen");
                self.send(copy, 0, true, true);
            }
            Event::Kill(replica) => self.kill(replica),
            Event::Start(replica) => {
                self.replicas[replica].alive = true;
                self.replicas[replica].life += 1;
            }
            Event::StoreAway(of) => {
                self.count("outage");
                for replica in 0..3 {
                    if of.is_none_or(|of| of == replica) {
                        let long = if self.dice.one_in(4) { 90_000 } else { 20_000 };
                        self.replicas[replica].store_away = self.now + self.dice.roll(long);
                    }
                }
            }
            Event::StoreLost => {
                self.count("store lost");
                self.lost_store_at = Some(self.now);
                self.record = None;
                (self.proven, self.excuse) = (0, Some("the store was lost"));
            }
            // Whose process is gone.
            Event::Read(..) | Event::Acted(..) | Event::Look(..) => {}
        }
    }

    fn send(&mut self, grant: Grant, shape: usize, used: bool, thief: bool) {
        let Some(process) = self.some_process() else { return };
        self.count(if used { "use" } else { "poll" });
        self.count += 1;
        let request = self.count;
        self.requests.insert(request, Asked { process, grant, shape, used, thief });
        let delay = self.dice.roll(3_000);
        self.after(delay, Event::Arrive(request));
    }

    fn present(&mut self, process: Process, request: Request) {
        self.count += 1;
        let new = FlightId(self.count);
        self.change(process, Change::Present(request, new), 0);
    }

    fn change(&mut self, process: Process, change: Change, delay: i64) {
        let delay = delay + self.dice.roll(20);
        self.after(delay, Event::Read(process, change));
    }

    fn reaches_store(&self, process: Process) -> bool {
        self.now >= self.replicas[process.replica].store_away
    }

    fn read(&mut self, process: Process, change: Change) {
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
            (None, Change::Present(request, _)) => {
                let Some(asked) = self.requests.get(request) else { return };
                Family::of(&asked.grant)
            }
            (None, Change::Land(flight)) => Family::of(&self.flights[flight].grant),
            _ => before,
        };
        let mut family = before.clone();
        let Some(outcome) = self.apply(process, &change, &mut family) else { return };
        let delay = self.dice.roll(20);
        if family == before {
            return self.after(delay, Event::Acted(process, change, outcome));
        }
        let expected = self.record.as_ref().map(|(version, _)| *version);
        let (bytes, read_at) = (Bytes(family.to_bytes()), self.now);
        self.after(delay, Event::Put { process, change, expected, bytes, outcome, read_at });
    }

    /// Applies the transition; `None`: nobody asks any more.
    fn apply(&mut self, process: Process, change: &Change, family: &mut Family) -> Option<Outcome> {
        let here = stamp(self.now + self.replicas[process.replica].clock);
        let now = Now { here, store: stamp(self.now - 1_000_000) };
        Some(match change {
            Change::Present(request, new) => {
                let asked = self.requests.get(request)?;
                let decision =
                    family.present(&asked.grant, &shape(asked.shape), asked.used, self.windows(), now, *new);
                opened(decision, family, &asked.grant)
            }
            Change::Sends(flight) => Outcome::Did(family.sends(*flight)),
            Change::Beat(flight) => Outcome::Did(family.beat(*flight)),
            Change::Failed(flight) | Change::TakeBack(flight) => Outcome::Did(family.failed(*flight)),
            Change::Ended(flight) => {
                let decides = family.failed(*flight);
                if decides {
                    family.end(SessionEnd::InvalidGrant, Some(self.flights[flight].grant.generation));
                }
                Outcome::Did(decides)
            }
            Change::BreakLease(flight, beat) => {
                Outcome::Did(family.beat_of(*flight) == Some(*beat) && family.failed(*flight))
            }
            Change::Seen(generation) => Outcome::Did(family.token_seen(*generation)),
            Change::Land(flight) => {
                let flying = &self.flights[flight];
                let used = flying.used || family.is_used(*flight);
                let (arrival, next) = arrival(*flight, flying, used, here, &mut self.dice);
                match family.landed(arrival.clone(), now) {
                    Landed::Kept => Outcome::Landed { next: Box::new(next), arrival: Box::new(arrival) },
                    Landed::Before | Landed::TooLate { .. } => Outcome::PresentAgain,
                    Landed::GivenUp => Outcome::GivenUp,
                }
            }
        })
    }

    fn put(
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
        let secret = format!("refresh-token-{}", self.tokens);
        assert!(!bytes.windows(secret.len()).any(|found| found == secret.as_bytes()), "a token in the store");
        self.versions += 1;
        self.record = Some((self.versions, bytes));
        self.put_is_done(&change, &outcome, read_at);
        if self.faults.outages && self.dice.one_in(60) {
            return self.store_failed(process, change, true);
        }
        self.after(0, Event::Acted(process, change, outcome));
    }

    /// What is true from the moment on at which it is in the store.
    fn put_is_done(&mut self, change: &Change, outcome: &Outcome, read_at: i64) {
        match (change, outcome) {
            (Change::Land(flight), Outcome::Landed { next, arrival }) => {
                if self.rotation_at_risk == Some(*flight) {
                    self.rotation_at_risk = None;
                }
                for generation in arrival.from..=arrival.of {
                    self.answered_at.insert(generation, read_at);
                }
                if self.flights[flight].token.as_ref().is_some_and(|(_, at)| self.now - at > 1_000) {
                    self.count("landed late");
                }
                self.count(if arrival.recovers { "recovered" } else { "rotated" });
                if arrival.recovers {
                    self.made_up_in_vain += 1;
                    if self.made_up_in_vain >= 2 {
                        self.excuse = Some("three answers in a row were lost");
                    }
                }
                if self.lost_store_at.is_some() {
                    self.count("rotated after loss");
                }
                self.given.push((**next).clone());
            }
            (Change::Present(request, _), _) => {
                if let Some(asked) = self.requests.get(request) {
                    self.proven = self.proven.max(asked.grant.generation);
                }
            }
            (Change::Beat(flight), _) => self.renewed(*flight, read_at),
            (Change::Seen(generation), Outcome::Did(true)) => self.proven = self.proven.max(*generation),
            _ => {}
        }
    }

    fn renewed(&mut self, flight: FlightId, at: i64) {
        let flying = self.flights.get_mut(&flight).expect("it flies");
        flying.renewed = flying.renewed.max(at);
    }

    /// Nobody flies it any more, and all who wait for it present again.
    fn gives_up(&mut self, process: Process, flight: FlightId) {
        self.count("gave up");
        if self.rotation_at_risk == Some(flight) {
            self.excuse = Some("its replica lost the store for longer than its lease");
        }
        self.flights.get_mut(&flight).expect("it flies").over = true;
        self.present_again(process, flight);
    }

    /// `done`: it was put all the same.
    fn store_failed(&mut self, process: Process, change: Change, done: bool) {
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
                    self.excuse = Some("the store was away for longer than a flight");
                }
            }
            Change::Failed(flight) => {
                self.tell(process, flight);
                self.change(process, Change::TakeBack(flight), 1_000);
            }
            Change::Ended(flight) => self.change(process, Change::Ended(flight), 700),
            Change::BreakLease(flight, _) => {
                self.replicas[process.replica].watched.insert(flight, (None, self.now));
                self.after(LOOK, Event::Look(process, flight));
            }
            Change::Seen(_) => {}
        }
    }

    fn act(&mut self, process: Process, change: Change, outcome: Outcome) {
        match (change, outcome) {
            (Change::Present(request, new), outcome) => self.presented(process, request, new, outcome),
            (Change::Sends(flight), Outcome::Did(true)) => {
                let delay = self.dice.roll(50);
                self.after(delay, Event::PostLeaves(flight));
            }
            (Change::Sends(flight), _) => self.tell(process, flight),
            (Change::Beat(flight), Outcome::Did(true)) => self.change(process, Change::Beat(flight), BEAT),
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

    fn presented(&mut self, process: Process, request: Request, new: FlightId, outcome: Outcome) {
        let Some(asked) = self.requests.get(&request) else {
            // Its browser is gone; the flight begins all the same.
            if matches!(outcome, Outcome::Begin { .. }) {
                self.change(process, Change::TakeBack(new), 0);
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
                    self.after(10, Event::Look(process, flight));
                }
            }
            Outcome::AnswerAgain { next, with_cookie, used } => {
                self.count("answered again");
                self.answer(request, next, with_cookie, used);
            }
            Outcome::Replay | Outcome::Over | Outcome::IsIdle => {
                if matches!(outcome, Outcome::Replay) {
                    self.count("replay");
                }
                self.session_is_over(request, matches!(outcome, Outcome::IsIdle));
            }
            _ => unreachable!("not of a cookie"),
        }
    }

    /// A spent generation out of its window gets nothing while the store knows of it.
    fn must_be_caught(&mut self, generation: Generation, outcome: &Outcome) {
        let answered = self.answered_at.get(&generation).copied().unwrap_or(i64::MAX - GRACE);
        if generation < self.proven && self.now >= answered + GRACE + 1_000 {
            let refused = match outcome {
                Outcome::Replay | Outcome::Over | Outcome::IsIdle => true,
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

    fn session_is_over(&mut self, request: Request, is_idle: bool) {
        let Some(asked) = self.requests.remove(&request) else { return };
        if is_idle {
            self.count("idle");
            let allowed = IDLE_WITH_POLLS - GRACE - 2 * SKEW;
            let unused = self.now - self.use_answered;
            assert!(unused >= allowed, "idle {unused} ms after it was used");
        } else if !self.faults.thief {
            assert!(self.excuse.is_some(), "an honest browser was signed out");
        }
        if !asked.thief || self.faults.thief {
            self.signed_out = true;
        }
    }

    fn as_works(&mut self, flight: FlightId) {
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
        if self.faults.dies_rotating && self.dice.one_in(60) {
            self.excuse = Some("the server replaced a token and died");
            return self.after(2_000, Event::AsAnswers(flight, Said::Error));
        }
        let delay = self.dice.roll(1_000);
        self.after(delay, Event::AsAnswers(flight, Said::Token(token)));
    }

    fn as_answers(&mut self, flight: FlightId, said: Said) {
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
                self.change(process, Change::Land(flight), 0);
            }
            Said::InvalidGrant => self.change(process, Change::Ended(flight), 0),
            Said::Error => self.change(process, Change::Failed(flight), 0),
        }
    }

    fn look(&mut self, process: Process, flight: FlightId) {
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
        self.after(LOOK, Event::Look(process, flight));
    }

    fn waiting(&mut self, process: Process, flight: FlightId) -> Vec<Request> {
        let replica = &mut self.replicas[process.replica];
        replica.watched.remove(&flight);
        replica.waiting.remove(&flight).unwrap_or_default()
    }

    fn present_again(&mut self, process: Process, flight: FlightId) {
        for request in self.waiting(process, flight) {
            self.present(process, request);
        }
    }

    /// All who wait hear that there is no answer now.
    fn tell(&mut self, process: Process, flight: FlightId) {
        if let Some(flying) = self.flights.get_mut(&flight) {
            flying.over = true;
        }
        for request in self.waiting(process, flight) {
            self.refuse(request);
        }
    }

    /// 503: the cookie stays, and most pages try again soon.
    fn refuse(&mut self, request: Request) {
        let Some(asked) = self.requests.remove(&request) else { return };
        self.count("503");
        if !asked.thief && !self.dice.one_in(3) {
            let delay = 1_000 + self.dice.roll(4_000);
            self.after(delay, Event::Send { used: asked.used, shape: asked.shape });
        }
    }

    fn answer(&mut self, request: Request, next: Box<Grant>, with_cookie: bool, used: bool) {
        let Some(asked) = self.requests.remove(&request) else { return };
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

    fn kill(&mut self, replica: usize) {
        if !self.replicas[replica].alive {
            return;
        }
        self.count("killed");
        let process = Process { replica, life: self.replicas[replica].life };
        if let Some(flight) = self.rotation_at_risk.take_if(|flight| self.flights[flight].process == process)
        {
            self.history.push_back(format!("{flight:?} died with its answer"));
            self.excuse = Some("the answer died with its replica");
        }
        // A POST that has left, and is still to be worked on, dies with its answer too.
        let on_its_way = self.queue.values().any(|event| match event {
            Event::AsWorks(flight) => self.flights[flight].process == process,
            _ => false,
        });
        if on_its_way && !self.faults.keeps_tokens {
            self.excuse = Some("the answer will find no replica");
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
fn opened(decision: Decision, family: &Family, presented: &Grant) -> Outcome {
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
        Decision::AnswerAgain { answer, of, with_cookie, .. } => {
            let holder = holder.reach(family, of).expect("a way along the links");
            let plain = holder.open(Content::Answer, &answer).expect("sealed for this holder");
            let next = Box::new(Grant::from_bytes(plain.expose()).expect("a grant"));
            Outcome::AnswerAgain { used: next.counts_as_use(), next, with_cookie }
        }
        Decision::Replay => Outcome::Replay,
        Decision::Over { end: SessionEnd::IdleTimeout, .. } => Outcome::IsIdle,
        Decision::Over { .. } => Outcome::Over,
    }
}

/// What a flight brings; here the answer is the next grant, which the cookie holds.
fn arrival(
    flight: FlightId,
    flying: &Flying,
    used: bool,
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
        successor: Successor {
            generation: next.generation,
            last_used_at: next.last_used_at,
            used,
            grant: seal(Content::Grant),
        },
        answer: seal(Content::Answer),
        links,
        worth_for: None,
        issued: None,
    };
    (arrival, next)
}
