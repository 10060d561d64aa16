//! The simulated world: who there is, what they do, and what must hold while they do it.

mod browser;
mod enforcing;
mod excuse;
mod flights;
mod revoking;
mod signing_in;
mod store;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tollgate::core::ids::FamilyId;
use tollgate::core::secret::Secret;
use tollgate::core::session::exchange::lease;
use tollgate::core::session::exchange::{FlightId, Issued, Shape, Windows};
use tollgate::core::session::grant::{Generation, Grant, Subject, SubjectSource, Timeouts};
use tollgate::core::session::oauth::Scope;
use tollgate::core::time::Timestamp;

use self::excuse::Excuse;
use self::revoking::{Out, Revoking};
use crate::events::{Change, Event, Process, Request};

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
    /// Operators take back what the session belongs to, and other things; who was signed out signs in again.
    pub(crate) revocations: bool,
    /// Somebody presents a copy of a cookie again and again, each time for something else.
    pub(crate) hoards: bool,
    /// An answer that waited is found to be of no use by whoever gets it: its access token was taken back.
    pub(crate) goes_bad: bool,
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
        revocations: false,
        hoards: false,
        goes_bad: false,
    };
}

/// In milliseconds, as all that follows.
const LEASE: i64 = millis(lease::LEASE);
const SENT_LEASE: i64 = millis(lease::SENT_LEASE);
const OWN_LEASE: i64 = millis(lease::OWN_LEASE);
const BEAT: i64 = millis(lease::BEAT);
const LOOKS: (i64, i64) = (millis(lease::LOOKS.0), millis(lease::LOOKS.1));
const FLIGHT: i64 = millis(lease::FLIGHT);
const PATIENCE: i64 = 5_000;
const GRACE: i64 = 30_000;
/// How far the clocks of two replicas are apart.
const SKEW: i64 = 60_000;
const IDLE_WITH_POLLS: i64 = 400_000;
const IDLE: i64 = 8 * 3_600_000;

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // they are short
const fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

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
    /// By the list of its replica, when it came.
    was_named: bool,
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
    /// The access token.
    issued: Option<Out>,
    /// By the list of its replica, when that came.
    was_named: bool,
}

impl Flying {
    fn issued(&self, generation: Generation, here: Timestamp) -> Option<Issued> {
        self.issued.as_ref().map(|out| out.noted(generation, here))
    }
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
    pub(crate) history: VecDeque<(i64, Event)>,
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
    excuse: Option<Excuse>,
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
    /// Which generations the newest exchange answers, while nobody has got its answer.
    nobodys: Option<(Generation, Generation)>,
    /// The same of the one that somebody got last after it had waited.
    given_late: Option<(Generation, Generation)>,
    lost_store_at: Option<i64>,
    /// How many there are; those of tabs are the first two.
    shapes: usize,
    revoking: Revoking,
}

fn stamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn shape(index: usize) -> Shape {
    let scope = match index {
        0 => "a",
        1 => "a b",
        other => &format!("a {other}"),
    };
    Shape { scope: Scope::parse(scope), ..Shape::default() }
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
            revoking: Revoking::new(first.clone()),
            jar: first.clone(),
            given: vec![first],
            made_up_in_vain: 0,
            last_receipt: 0,
            next_burst: SKEW,
            use_answered: 0,
            answered_at: HashMap::new(),
            proven: 0,
            nobodys: None,
            given_late: None,
            lost_store_at: None,
            shapes: 1,
        }
    }

    pub(crate) fn run(&mut self, steps: usize) {
        if self.faults.revocations {
            self.after(0, Event::SignsIn);
        }
        while self.steps < steps && (self.faults.revocations || !self.signed_out) {
            if self.queue.first_key_value().is_none_or(|((when, _), _)| *when > self.next_burst) {
                self.plan_burst();
            }
            let ((now, _), event) = self.queue.pop_first().expect("a burst was planned");
            self.now = now;
            // Whoever waits looks often, and mostly sees nothing.
            if !matches!(event, Event::Look(..)) {
                self.steps += 1;
                self.history.push_back((now, event.clone()));
            }
            if self.history.len() > 150 {
                self.history.pop_front();
            }
            self.step(event);
            self.looks_at_excuse();
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
        if self.faults.hoards && self.dice.one_in(2) {
            let copy = Box::new(self.jar.clone());
            for _ in 0..100 {
                let delay = from + self.dice.roll(200_000);
                self.after(delay, Event::Hoard(copy.clone()));
            }
        }
        if self.faults.thief && !self.faults.hoards && self.dice.one_in(2) {
            let delay = from + self.dice.roll(100_000);
            self.after(delay, Event::Steal);
        }
        if self.faults.loses_store && self.lost_store_at.is_none() && self.dice.one_in(4) {
            self.after(delay, Event::StoreLost);
        }
        if self.faults.revocations {
            self.plan_revocations(from);
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
            Event::Send { .. } if self.faults.revocations && !self.revoking.is_signed_in => {}
            Event::Send { used, shape } => {
                let grant = self.jar.clone();
                self.send(grant, shape, used, false);
            }
            Event::Arrive(request) => {
                if let Some(asked) = self.requests.get(&request) {
                    let process = asked.process;
                    self.arrive(process, request);
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
            Event::Hoard(copy) => {
                self.shapes += 1;
                self.send(*copy, self.shapes, true, true);
            }
            Event::Kill(replica) => self.kill(replica),
            Event::Start(replica) => {
                self.replicas[replica].alive = true;
                self.replicas[replica].life += 1;
                self.is_in_touch_again(replica);
            }
            Event::StoreAway(of) => {
                self.count("outage");
                for replica in 0..3 {
                    if of.is_none_or(|of| of == replica) {
                        let long = if self.dice.one_in(4) { 90_000 } else { 20_000 };
                        self.replicas[replica].store_away = self.now + self.dice.roll(long);
                        self.is_in_touch_again(replica);
                    }
                }
            }
            Event::StoreLost => {
                self.count("store lost");
                self.lost_store_at = Some(self.now);
                self.record = None;
                self.proven = 0;
                self.store_is_lost();
            }
            Event::SignsIn => self.signs_in(),
            Event::Signing(process, attempt, how_far) if self.lives(process) => {
                self.goes_on_signing_in(process, attempt, how_far);
            }
            Event::Asks(job) => self.operator_asks(job),
            Event::Appends(process, job) if self.lives(process) => self.appends(process, job),
            Event::LooksFor(process, look) if self.lives(process) => self.looks_for(process, look),
            Event::Names(process, look, issued) if self.lives(process) => self.names(process, look, &issued),
            Event::Lifts(job) => self.lifts(job),
            Event::Follow(replica) => self.follow(replica),
            Event::AsRevokes(family) => self.as_revoked |= family == self.jar.family,
            // Whose process is gone.
            Event::Read(..)
            | Event::Acted(..)
            | Event::Look(..)
            | Event::Signing(..)
            | Event::Appends(..)
            | Event::LooksFor(..)
            | Event::Names(..) => {}
        }
    }
}
