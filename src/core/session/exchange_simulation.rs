//! One browser with several tabs and one cookie jar, an AS that rotates and punishes reuse, a
//! network that delays, loses and fails, and a thief; in virtual time, from a seed.

use super::*;
use std::collections::{BTreeMap, HashMap};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

enum Event {
    /// A tab sends what is in the jar.
    Send {
        shape: usize,
        used: bool,
    },
    Arrive {
        grant: Grant,
        shape: usize,
        used: bool,
    },
    AsAnswers {
        flight: FlightId,
        grant: Grant,
        works: bool,
    },
    /// Others may join between the answer and this.
    Land {
        flight: FlightId,
        next: Grant,
    },
    /// An answer reaches the browser, with the cookie of this generation.
    Receive {
        cookie: Option<u64>,
    },
    Steal,
}

struct World {
    dice: Dice,
    family: Family<u64>,
    given: HashMap<u64, Grant>,
    landed_at: HashMap<u64, i64>,
    jar: Grant,
    as_current: u64,
    windows: Windows,
    /// Requests that wait for the flight: presented grant, shape, and whether they use the session.
    waiting: Vec<(Grant, usize, bool)>,
    /// When a use arrived last, and when one was answered last.
    use_arrived: i64,
    use_answered: i64,
    polls: u64,
    uses: u64,
    events: BTreeMap<(i64, u64), Event>,
    count: u64,
    /// No answer overtakes another on the browser's one connection.
    last_receipt: i64,
    lost_in_a_row: u8,
    with_thief: bool,
    caught: bool,
    signed_out: bool,
}

/// From the request that began it, in milliseconds.
const LONGEST_FLIGHT: i64 = 8_300;

/// Milliseconds.
fn at(now: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + now)
}

impl World {
    fn new(seed: u64, with_thief: bool) -> Self {
        Self::with_polls(seed, with_thief, 0, WINDOWS)
    }

    /// `polls` of ten requests are background ones.
    fn with_polls(seed: u64, with_thief: bool, polls: u64, windows: Windows) -> Self {
        let first = grant();
        let mut world = Self {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            family: Family::of(&first),
            given: HashMap::from([(0, first.clone())]),
            landed_at: HashMap::new(),
            jar: first,
            as_current: 0,
            windows,
            waiting: Vec::new(),
            use_arrived: 0,
            use_answered: 0,
            polls: 0,
            uses: 0,
            events: BTreeMap::new(),
            count: 0,
            last_receipt: 0,
            lost_in_a_row: 0,
            with_thief,
            caught: false,
            signed_out: false,
        };
        let mut burst = 0;
        for _ in 0..30 {
            burst += 10_000 + world.dice.roll(200_000) as i64;
            for _ in 0..1 + world.dice.roll(6) {
                let (when, shape) = (burst + world.dice.roll(800) as i64, world.dice.roll(2) as usize);
                let used = polls == 0 || world.dice.roll(10) >= polls;
                world.add(when, Event::Send { shape, used });
            }
            if with_thief && world.dice.roll(3) == 0 {
                let when = burst + world.dice.roll(100_000) as i64;
                world.add(when, Event::Steal);
            }
        }
        world
    }

    fn add(&mut self, when: i64, event: Event) {
        self.count += 1;
        self.events.insert((when, self.count), event);
    }

    fn run(mut self) -> Self {
        while let Some(((now, _), event)) = self.events.pop_first() {
            if self.signed_out {
                break;
            }
            self.step(now, event);
        }
        self
    }

    fn step(&mut self, now: i64, event: Event) {
        match event {
            Event::Send { shape, used } => {
                let (grant, delay) = (self.jar.clone(), self.dice.roll(5_000) as i64);
                self.add(now + delay, Event::Arrive { grant, shape, used });
            }
            Event::Arrive { grant, shape, used } => self.arrive(&grant, shape, used, now),
            Event::AsAnswers { flight, grant, works } => self.as_answers(flight, &grant, works, now),
            Event::Land { flight, next } => self.land(flight, next, now),
            Event::Receive { cookie } => {
                if let Some(generation) = cookie {
                    self.jar = self.given[&generation].clone();
                }
            }
            Event::Steal => self.steal(now),
        }
    }

    fn shape(index: usize) -> Shape {
        shape(["a", "a b"][index])
    }

    fn arrive(&mut self, grant: &Grant, shape: usize, used: bool, now: i64) {
        if used {
            self.use_arrived = self.use_arrived.max(now);
        }
        match self.family.present(grant, &Self::shape(shape), used, self.windows, at(now)) {
            Decision::Exchange { flight, grant: sent, .. } => {
                assert_eq!(sent.generation, self.as_current, "a replaced refresh token was sent again");
                let counted = at(self.use_arrived + LONGEST_FLIGHT);
                assert!(sent.last_used_at <= counted, "a poll counted as use");
                self.waiting.push((grant.clone(), shape, used));
                let (delay, works) = (self.dice.roll(8_000) as i64, self.dice.roll(6) != 0);
                self.add(now + delay, Event::AsAnswers { flight, grant: *sent, works });
            }
            Decision::Join | Decision::AskAgainAfterFlight => {
                self.waiting.push((grant.clone(), shape, used));
            }
            Decision::AnswerAgain { answer, with_cookie, .. } => {
                if used {
                    (self.use_answered, self.uses) = (self.use_answered.max(now), self.uses + 1);
                } else {
                    self.polls += 1;
                }
                self.respond(with_cookie.then_some(answer), now);
            }
            Decision::Over { end: SessionEnd::IdleTimeout, .. } => {
                let unused = Duration::from_millis((now - self.use_answered).unsigned_abs());
                let allowed = self.windows.timeouts.idle - self.windows.grace;
                assert!(unused >= allowed, "idle after {unused:?} although it was used");
                self.signed_out = true;
            }
            Decision::Replay | Decision::Over { .. } => {
                assert!(self.with_thief, "an honest browser was signed out at {now}");
                self.signed_out = true;
            }
        }
    }

    fn as_answers(&mut self, flight: FlightId, of: &Grant, works: bool, now: i64) {
        if works {
            let used = self.family.is_used(flight);
            let next = of.successor(Some("new".into()), [0; 32], at(now), used);
            let delay = self.dice.roll(300) as i64;
            self.add(now + delay, Event::Land { flight, next });
        } else {
            self.family.failed(flight);
            self.waiting.clear(); // 503
        }
    }

    fn land(&mut self, flight: FlightId, next: Grant, now: i64) {
        let generation = next.generation;
        let landed_at = next.exchanged_at;
        if self.family.landed(flight, next.clone(), generation, None, landed_at) == Landed::Kept {
            self.as_current = generation;
            self.given.insert(generation, next);
            self.landed_at.insert(generation - 1, landed_at.as_millis() - at(0).as_millis());
        }
        for (grant, shape, used) in std::mem::take(&mut self.waiting) {
            self.arrive(&grant, shape, used, now);
        }
    }

    fn respond(&mut self, cookie: Option<u64>, now: i64) {
        let lost = self.lost_in_a_row < 2 && self.dice.roll(4) == 0;
        self.lost_in_a_row = if lost { self.lost_in_a_row + 1 } else { 0 };
        if !lost {
            self.last_receipt = self.last_receipt.max(now + self.dice.roll(3_000) as i64);
            self.add(self.last_receipt, Event::Receive { cookie });
        }
    }

    /// A copy of some cookie that was given out is presented by somebody else.
    fn steal(&mut self, now: i64) {
        let generation = self.dice.roll(self.family.latest + 1);
        let grace = i64::try_from(WINDOWS.grace.as_millis()).unwrap();
        let out_of_window = self.landed_at.get(&generation).is_some_and(|at| now >= at + grace);
        let spent = generation < self.family.proven && out_of_window;
        let covered =
            self.family.landings.iter().any(|l| {
                l.answers.opens_window_for(generation) && now < l.at.as_millis() - 1_000_000 + grace
            });
        let copy = self.given[&generation].clone();
        match self.family.present(&copy, &Self::shape(0), true, self.windows, at(now)) {
            Decision::Replay | Decision::Over { .. } => {
                self.caught = true;
                self.signed_out = true;
            }
            Decision::Exchange { flight, grant, .. } => {
                assert!(!spent || covered, "a spent generation was exchanged");
                assert_eq!(grant.generation, self.as_current);
                self.add(now + 1, Event::AsAnswers { flight, grant: *grant, works: true });
            }
            _ => assert!(!spent || covered, "a spent generation was answered"),
        }
    }
}

#[test]
fn honest_tabs_stay_signed_in_and_no_replaced_token_is_sent_again() {
    for seed in 0..400 {
        let world = World::new(seed, false).run();
        assert!(!world.signed_out, "seed {seed}");
        assert!(world.as_current > 3, "seed {seed}: nothing happened");
    }
}

#[test]
fn a_session_that_is_used_does_not_go_idle_and_one_that_is_only_polled_does() {
    let timeouts = Timeouts { idle: Duration::from_secs(400), ..WINDOWS.timeouts };
    let windows = Windows { timeouts, ..WINDOWS };
    let (mut went_idle, mut uses, mut polls) = (0, 0, 0);
    for seed in 0..200 {
        let world = World::with_polls(seed, false, 5, windows).run();
        went_idle += usize::from(world.signed_out);
        (uses, polls) = (uses + world.uses, polls + world.polls);
    }
    assert!(uses > 5_000 && polls > 5_000, "{uses} uses and {polls} polls");
    assert!(went_idle < 150, "{went_idle} of 200");
    let only_polled = (0..40).filter(|seed| World::with_polls(*seed, false, 10, windows).run().signed_out);
    assert_eq!(only_polled.count(), 40);
}

#[test]
fn a_spent_generation_is_caught() {
    let caught = (0..400).filter(|seed| World::new(*seed, true).run().caught).count();
    assert!(caught > 200, "{caught} of 400 runs with a thief");
}
