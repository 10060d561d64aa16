use super::*;
use crate::core::session::grant::tests::grant;

const WINDOWS: Windows = Windows {
    grace: Duration::from_secs(30),
    timeouts: Timeouts { idle: Duration::from_secs(3600), absolute: Duration::from_secs(24 * 3600) },
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1000 + seconds)
}

fn shape(scope: &str) -> Shape {
    Shape { scope: Scope::parse(scope), resource: None }
}

/// A family, and the grants that were given out for it, by generation.
struct Scene {
    family: Family<u64>,
    grants: Vec<Grant>,
}

impl Scene {
    fn new() -> Self {
        Self { family: Family::of(&grant()), grants: vec![grant()] }
    }

    fn present(&mut self, generation: usize, now: i64) -> Decision<u64> {
        self.present_as(generation, &Shape::default(), now)
    }

    fn present_as(&mut self, generation: usize, shape: &Shape, now: i64) -> Decision<u64> {
        self.family.present(&self.grants[generation].clone(), shape, true, WINDOWS, at(now))
    }

    fn land(&mut self, flight: FlightId, of: &Grant, now: i64) -> Landed {
        let token = format!("rt-{}", of.generation + 1);
        let next = of.successor(Some(token.as_str().into()), [0; 32], at(now), true);
        let answer = next.generation;
        let landed = self.family.landed(flight, next.clone(), answer, None, at(now));
        if landed == Landed::Kept {
            self.grants.push(next);
        }
        landed
    }

    /// Presents, expects an exchange of `of`, and lands it.
    fn exchange(&mut self, presented: usize, of: u64, now: i64) -> bool {
        self.exchange_as(presented, &Shape::default(), of, now)
    }

    fn exchange_as(&mut self, presented: usize, shape: &Shape, of: u64, now: i64) -> bool {
        let decision = self.present_as(presented, shape, now);
        let Decision::Exchange { flight, grant, recovers } = decision else { panic!("{decision:?}") };
        assert_eq!(grant.generation, of);
        assert_eq!(grant.refresh_token.expose(), &format!("rt-{of}"));
        assert_eq!(self.land(flight, &grant, now), Landed::Kept);
        recovers
    }
}

#[test]
fn fifty_of_one_generation_share_one_flight() {
    let mut scene = Scene::new();
    let Decision::Exchange { flight, grant, .. } = scene.present(0, 0) else { panic!() };
    for _ in 1..50 {
        assert!(matches!(scene.present(0, 1), Decision::Join));
    }
    assert_eq!(scene.land(flight, &grant, 2), Landed::Kept);
    assert!(
        matches!(scene.present(0, 31), Decision::AnswerAgain { answer: 1, with_cookie: true, age } if age.as_secs() == 29)
    );
}

#[test]
fn a_failure_is_not_remembered() {
    let mut scene = Scene::new();
    let Decision::Exchange { flight, .. } = scene.present(0, 0) else { panic!() };
    scene.family.failed(flight);
    assert!(!scene.exchange(0, 0, 1));
}

#[test]
fn a_flight_that_was_given_up_cannot_land() {
    let mut scene = Scene::new();
    let Decision::Exchange { flight: first, grant, .. } = scene.present(0, 0) else { panic!() };
    scene.family.failed(first);
    let Decision::Exchange { flight: second, .. } = scene.present(0, 1) else { panic!() };
    assert_eq!(scene.land(first, &grant, 2), Landed::GivenUp);
    assert_eq!(scene.land(second, &grant, 2), Landed::Kept);
}

#[test]
fn a_lost_answer_is_recovered_with_the_successors_grant_twice_and_no_more() {
    let mut scene = Scene::new();
    assert!(!scene.exchange(0, 0, 0));
    assert!(scene.exchange(0, 1, 100));
    // Within the window of the recovery: its answer again, to old and new alike.
    assert!(matches!(scene.present(0, 110), Decision::AnswerAgain { answer: 2, with_cookie: true, .. }));
    assert!(scene.exchange(0, 2, 200));
    assert!(matches!(scene.present(0, 300), Decision::Replay));
    assert!(matches!(scene.present(3, 301), Decision::Over { end: SessionEnd::ReuseDetected, revoke: true }));
}

#[test]
fn a_failed_recovery_is_not_a_lost_answer() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    for round in 1..10 {
        let Decision::Exchange { flight, recovers: true, .. } = scene.present(0, round * 100) else {
            panic!()
        };
        scene.family.failed(flight);
    }
    assert!(scene.exchange(0, 1, 2000));
}

#[test]
fn receipt_makes_the_older_generation_spent_after_its_window() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 10);
    // A late tab within the window: its answer, without a cookie that would turn the browser back.
    assert!(matches!(scene.present(0, 29), Decision::AnswerAgain { answer: 1, with_cookie: false, .. }));
    assert!(matches!(scene.present(0, 30), Decision::Replay));
    // The family is over for everybody, and each newer refresh token is revoked once.
    assert!(matches!(scene.present(2, 31), Decision::Over { end: SessionEnd::ReuseDetected, revoke: true }));
    assert!(matches!(scene.present(2, 32), Decision::Over { revoke: false, .. }));
    assert!(matches!(scene.present(0, 33), Decision::Over { revoke: false, .. }));
}

#[test]
fn an_access_token_that_was_seen_proves_receipt() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.family.receipt_proven(1);
    assert!(matches!(scene.present(0, 40), Decision::Replay));
}

#[test]
fn proof_of_receipt_starts_the_count_of_lost_answers_again() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    assert!(scene.exchange(0, 1, 100));
    assert!(scene.exchange(0, 2, 200));
    assert!(!scene.exchange(3, 3, 300));
    assert!(scene.exchange(3, 4, 400));
    assert!(scene.exchange(3, 5, 500));
    assert!(matches!(scene.present(3, 600), Decision::Replay));
}

#[test]
fn a_thief_and_a_browser_that_take_turns_are_noticed() {
    // The browser has generation 1; the thief, with a copy of 0, makes up for its "lost" answer.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    assert!(scene.exchange(0, 1, 100));
    assert!(matches!(scene.present(1, 129), Decision::AnswerAgain { answer: 2, .. }), "only late");
    assert!(matches!(scene.present(1, 130), Decision::Replay));
    // Both within grace: whoever comes second after it makes up for the answer of the other.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 100);
    assert!(scene.exchange(1, 2, 200));
    assert!(matches!(scene.present(2, 300), Decision::Replay));
    // A generation that was never given up is none of this.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    assert!(scene.exchange(0, 1, 100));
    assert!(!scene.exchange(2, 2, 200) && !scene.exchange(3, 3, 300));
}

#[test]
fn another_scope_waits_and_is_exchanged_in_turn_with_the_successors_grant() {
    let mut scene = Scene::new();
    let (narrow, wide) = (shape("a"), shape("a b"));
    let Decision::Exchange { flight, grant, .. } = scene.present_as(0, &wide, 0) else { panic!() };
    assert!(matches!(scene.present_as(0, &narrow, 0), Decision::AskAgainAfterFlight));
    scene.land(flight, &grant, 1);
    assert!(!scene.exchange_as(0, &narrow, 1, 1));
    assert!(matches!(scene.present_as(0, &narrow, 2), Decision::AnswerAgain { answer: 2, .. }));
    assert!(matches!(
        scene.present_as(0, &wide, 2),
        Decision::AnswerAgain { answer: 1, with_cookie: false, .. }
    ));
}

#[test]
fn other_scopes_do_not_open_the_window_of_a_spent_generation_again() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 5);
    scene.exchange_as(0, &shape("a"), 2, 25);
    assert!(matches!(scene.present_as(0, &shape("a"), 29), Decision::AnswerAgain { .. }));
    assert!(matches!(scene.present_as(0, &shape("a"), 31), Decision::Replay));
}

#[test]
fn an_answer_whose_token_is_nearly_over_is_not_given_again() {
    let mut scene = Scene::new();
    let Decision::Exchange { flight, grant, .. } = scene.present(0, 0) else { panic!() };
    let next = grant.successor(Some("rt-1".into()), [0; 32], at(0), true);
    scene.grants.push(next.clone());
    scene.family.landed(flight, next, 1, Some(at(20)), at(0));
    assert!(matches!(scene.present(0, 19), Decision::AnswerAgain { .. }));
    assert!(!scene.exchange(0, 1, 20));
}

#[test]
fn timeouts_are_those_of_the_grant_that_would_be_used() {
    let mut scene = Scene::new();
    assert!(matches!(scene.present(0, 3600), Decision::Over { end: SessionEnd::IdleTimeout, revoke: true }));
    // A lost answer counts as use: its generation is good until the successor's own timeout.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 3000);
    assert!(scene.exchange(0, 1, 4000));
    scene.family.drop_stale(WINDOWS, at(7601));
    assert!(matches!(scene.present(0, 7601), Decision::Over { end: SessionEnd::IdleTimeout, .. }));
    // A spent generation is theft whatever its age.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 10);
    assert!(matches!(scene.present(0, 5000), Decision::Replay));
}

#[test]
fn a_family_that_ends_in_mid_flight_gets_nothing() {
    let mut scene = Scene::new();
    let Decision::Exchange { flight, grant, .. } = scene.present(0, 0) else { panic!() };
    scene.family.end(SessionEnd::Revoked, Some(0));
    assert_eq!(scene.land(flight, &grant, 1), Landed::TooLate);
    assert!(matches!(scene.present(0, 2), Decision::Over { end: SessionEnd::Revoked, revoke: false }));
}

#[test]
fn a_foreground_request_that_joins_makes_the_flight_count_as_use() {
    let mut scene = Scene::new();
    let grant = grant();
    let present =
        |scene: &mut Scene, used| scene.family.present(&grant, &Shape::default(), used, WINDOWS, at(0));
    let Decision::Exchange { flight, .. } = present(&mut scene, false) else { panic!() };
    assert!(matches!(present(&mut scene, false), Decision::Join));
    assert!(!scene.family.is_used(flight));
    assert!(matches!(present(&mut scene, true), Decision::Join));
    assert!(scene.family.is_used(flight));
}

#[test]
fn an_answer_of_a_poll_is_not_given_again_to_a_use() {
    let mut scene = Scene::new();
    let present = |scene: &mut Scene, used, now| {
        scene.family.present(&grant(), &Shape::default(), used, WINDOWS, at(now))
    };
    let Decision::Exchange { flight, grant: of, .. } = present(&mut scene, false, 10) else { panic!() };
    let polled = of.successor(Some("rt-1".into()), [0; 32], at(10), false);
    assert_eq!(scene.family.landed(flight, polled.clone(), 1, None, at(10)), Landed::Kept);
    assert!(matches!(present(&mut scene, false, 11), Decision::AnswerAgain { answer: 1, .. }));
    // The use is exchanged in turn, with the successor's grant, and is no lost answer.
    let Decision::Exchange { flight, grant: of, recovers: false } = present(&mut scene, true, 12) else {
        panic!()
    };
    assert_eq!(of.generation, 1);
    let used = of.successor(Some("rt-2".into()), [0; 32], at(12), true);
    assert_eq!(used.last_used_at, at(12));
    assert_eq!(scene.family.landed(flight, used, 2, None, at(12)), Landed::Kept);
    // From here on that answer stands for uses and polls alike.
    for used in [true, false] {
        assert!(matches!(
            present(&mut scene, used, 39),
            Decision::AnswerAgain { answer: 2, with_cookie: true, .. }
        ));
    }
}

#[test]
fn what_is_remembered_of_a_busy_family_is_bounded() {
    let mut scene = Scene::new();
    for round in 0..1000_usize {
        scene.exchange(round, round as u64, 0);
    }
    assert!(scene.family.landings.len() <= LANDINGS);
    assert!(scene.family.landings.iter().filter(|landing| landing.answer.is_some()).count() <= ANSWERS);
    scene.family.drop_stale(WINDOWS, at(30));
    assert!(scene.family.landings.is_empty());
    // The newest was not presented yet, so its grant is still needed; once it was, nothing is kept.
    assert!(scene.family.successor.is_some());
    scene.family.receipt_proven(1000);
    scene.family.drop_stale(WINDOWS, at(31));
    assert!(scene.family.successor.is_none());
}

/// One browser with several tabs and one cookie jar, an AS that rotates and punishes reuse, a
/// network that delays, loses and fails, and a thief; in virtual time, from a seed.
mod simulation {
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
            let covered = self.family.landings.iter().any(|l| {
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
        let only_polled =
            (0..40).filter(|seed| World::with_polls(*seed, false, 10, windows).run().signed_out);
        assert_eq!(only_polled.count(), 40);
    }

    #[test]
    fn a_spent_generation_is_caught() {
        let caught = (0..400).filter(|seed| World::new(*seed, true).run().caught).count();
        assert!(caught > 200, "{caught} of 400 runs with a thief");
    }
}
