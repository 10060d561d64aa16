use super::*;

use crate::core::secret::Secret;
use crate::core::session::exchange::family::UNPROVEN;
use crate::core::session::exchange::issued::TOKENS;
use crate::core::session::exchange::landing::{ANSWERS, LANDINGS};
use crate::core::session::exchange::seal::{Content, Holder};
use crate::core::session::grant::Grant;
use crate::core::session::grant::tests::grant;

const WINDOWS: Windows = Windows {
    grace: Duration::from_secs(30),
    timeouts: Timeouts { idle: Duration::from_secs(3600), absolute: Duration::from_secs(24 * 3600) },
};

/// Landed, and nothing made room for it.
const KEPT: Landed = Landed::Kept { pushed_out: None };

/// What a second is called by the gateway's clock.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1000 + seconds)
}

/// The store's clock tells another time.
fn now(seconds: i64) -> Now {
    Now { here: at(seconds), store: Timestamp::from_secs(900_000 + seconds) }
}

fn shape(scope: &str) -> Shape {
    Shape { scope: Scope::parse(scope), ..Shape::default() }
}

/// A family as its store keeps it, and the grants that were given out for it, by generation.
struct Scene {
    family: Family,
    grants: Vec<Grant>,
    flights: u64,
}

/// A flight under way, and what it exchanges.
struct Flying {
    id: FlightId,
    from: u64,
    grant: Grant,
    shape: Shape,
    recovers: bool,
    /// When it lands.
    is_awaited: bool,
}

impl Flying {
    /// What it brings; the answer is the number of the generation.
    fn arrival(&self, next: &Grant, worth_for: Option<Duration>) -> Arrival {
        let holder = Holder::of(&self.grant);
        let seal = |content, plain: &[u8]| holder.seal(content, plain, [0; 12]).unwrap();
        let asked = Grant { generation: self.from, seed: seed(self.from), ..self.grant.clone() };
        let links = if self.from == self.grant.generation {
            vec![]
        } else {
            vec![Holder::of(&asked).link_to(&self.grant, [0; 12]).unwrap()]
        };
        Arrival {
            flight: self.id,
            from: self.from,
            of: self.grant.generation,
            shape: self.shape.clone(),
            recovers: self.recovers,
            is_awaited: self.is_awaited,
            successor: Successor {
                generation: next.generation,
                last_used_at: next.last_used_at,
                used: next.counts_as_use(),
                grant: seal(Content::Grant, next.to_bytes().expose()),
            },
            answer: seal(Content::Answer, &next.generation.to_be_bytes()),
            links: links.into_iter().chain([holder.link_to(next, [0; 12]).unwrap()]).collect(),
            worth_for,
            issued: None,
        }
    }
}

fn seed(generation: u64) -> Secret<[u8; 32]> {
    Secret::new([u8::try_from(generation % 251).unwrap() + 1; 32])
}

/// What became of a presented generation, opened by its holder.
#[derive(Debug)]
enum Outcome {
    Exchange(Box<Flying>),
    Again { answer: u64, age: Duration, with_cookie: bool },
    Other(Decision),
}

impl std::fmt::Debug for Flying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {}", self.id, self.grant.generation)
    }
}

impl Scene {
    fn new() -> Self {
        Self { family: Family::of(&grant()), grants: vec![grant()], flights: 0 }
    }

    fn present(&mut self, generation: usize, now: i64) -> Outcome {
        self.present_as(generation, &Shape::default(), now)
    }

    fn present_as(&mut self, generation: usize, shape: &Shape, seconds: i64) -> Outcome {
        self.present_used(generation, shape, true, seconds)
    }

    fn present_used(&mut self, generation: usize, shape: &Shape, used: bool, seconds: i64) -> Outcome {
        let presented = self.grants[generation].clone();
        self.flights += 1;
        let flight = FlightId(self.flights);
        let asked = RefreshRequest { shape, activity: Activity::use_if(used), flight };
        let decision = self.family.present(&presented, asked, WINDOWS, now(seconds));
        // As every replica does, it is written and read again between any two steps.
        self.family = Family::from_bytes(&self.family.to_bytes()).unwrap();
        let holder = Holder::of(&presented);
        match decision {
            Decision::Exchange { flight, with, recovers } => {
                let grant = match with {
                    With::Presented => presented.clone(),
                    With::Newest { grant, generation } => {
                        let before = holder.reach(&self.family, generation - 1).unwrap();
                        Grant::from_bytes(before.open(Content::Grant, &grant).unwrap().expose()).unwrap()
                    }
                };
                let (from, shape) = (presented.generation, shape.clone());
                let is_awaited = true;
                Outcome::Exchange(Box::new(Flying { id: flight, from, grant, shape, recovers, is_awaited }))
            }
            Decision::AnswerAgain { answer, of, age, with_cookie, .. } => {
                let plain = holder.reach(&self.family, of).unwrap().open(Content::Answer, &answer).unwrap();
                let answer = u64::from_be_bytes(plain.expose().as_slice().try_into().unwrap());
                Outcome::Again { answer, age, with_cookie }
            }
            other => Outcome::Other(other),
        }
    }

    fn begin(&mut self, generation: usize, shape: &Shape, used: bool, seconds: i64) -> Flying {
        match self.present_used(generation, shape, used, seconds) {
            Outcome::Exchange(flying) => *flying,
            other => panic!("{other:?}"),
        }
    }

    fn land(&mut self, flying: &Flying, seconds: i64) -> Landed {
        self.land_worth(flying, self.family.is_used(flying.id), None, seconds)
    }

    /// Begins an exchange, which lands when nobody waits any more.
    fn exchange_for_nobody(&mut self, presented: usize, of: u64, worth_for: Option<Duration>, seconds: i64) {
        let flying = self.begin(presented, &Shape::default(), true, seconds);
        assert_eq!((flying.grant.generation, flying.recovers), (of, false));
        let flying = Flying { is_awaited: false, ..flying };
        assert_eq!(self.land_worth(&flying, true, worth_for, seconds), KEPT);
    }

    fn land_worth(
        &mut self,
        flying: &Flying,
        used: bool,
        worth_for: Option<Duration>,
        seconds: i64,
    ) -> Landed {
        let number = flying.grant.generation + 1;
        let token = format!("rt-{number}");
        let next =
            flying.grant.successor(Some(token.as_str().into()), *seed(number).expose(), at(seconds), used);
        let landed = self.family.land(flying.arrival(&next, worth_for), now(seconds));
        self.family = Family::from_bytes(&self.family.to_bytes()).unwrap();
        if landed == KEPT && self.grants.len() as u64 == number {
            self.grants.push(next);
        }
        landed
    }

    /// Presents, expects an exchange of `of`, and lands it.
    fn exchange(&mut self, presented: usize, of: u64, seconds: i64) -> bool {
        self.exchange_as(presented, &Shape::default(), of, seconds)
    }

    fn exchange_as(&mut self, presented: usize, shape: &Shape, of: u64, seconds: i64) -> bool {
        let flying = self.begin(presented, shape, true, seconds);
        assert_eq!(flying.grant.generation, of);
        assert_eq!(flying.grant.refresh_token.expose(), &format!("rt-{of}"));
        assert_eq!(self.land(&flying, seconds), KEPT);
        flying.recovers
    }
}

macro_rules! other {
    ($pattern:pat) => {
        Outcome::Other($pattern)
    };
}

mod nobodys;
mod sessions;

#[test]
fn fifty_of_one_generation_share_one_flight() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    for _ in 1..50 {
        assert!(matches!(scene.present(0, 1), other!(Decision::Join(_))));
    }
    assert_eq!(scene.land(&flying, 2), KEPT);
    assert!(
        matches!(scene.present(0, 31), Outcome::Again { answer: 1, with_cookie: true, age } if age.as_secs() == 29)
    );
}

#[test]
fn a_failure_is_not_remembered() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    assert!(scene.family.forget_flight(flying.id));
    assert!(!scene.exchange(0, 0, 1));
}

#[test]
fn a_flight_that_was_given_up_ends_nothing_and_lands_only_as_the_newest() {
    // Somebody declared it failed; it comes in before the one that took its place.
    let mut scene = Scene::new();
    let first = scene.begin(0, &Shape::default(), true, 0);
    assert!(scene.family.forget_flight(first.id));
    let second = scene.begin(0, &Shape::default(), true, 1);
    assert!(
        !scene.family.forget_flight(first.id) && scene.family.beat(second.id) && !scene.family.beat(first.id)
    );
    assert_eq!(scene.land_worth(&first, true, None, 2), KEPT);
    assert!(
        !scene.family.forget_flight(second.id),
        "what the other hears is about a token that was replaced"
    );
    assert!(matches!(scene.present(0, 3), Outcome::Again { answer: 1, with_cookie: true, .. }));
    // It comes in after it.
    let mut scene = Scene::new();
    let first = scene.begin(0, &Shape::default(), true, 0);
    assert!(scene.family.forget_flight(first.id));
    let second = scene.begin(0, &Shape::default(), true, 1);
    assert_eq!(scene.land(&second, 2), KEPT);
    assert_eq!(scene.land(&first, 3), Landed::GivenUp);
}

#[test]
fn a_flight_that_landed_and_was_not_heard_of_does_not_land_again() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    assert_eq!(scene.land(&flying, 1), KEPT);
    let family = scene.family.clone();
    assert_eq!(scene.land(&flying, 2), Landed::Before);
    assert_eq!(scene.family, family);
}

#[test]
fn a_flight_lives_while_it_beats() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    let first = scene.family.beat_of(flying.id).unwrap();
    assert!(scene.family.beat(flying.id));
    assert_ne!(scene.family.beat_of(flying.id), Some(first));
    scene.land(&flying, 1);
    assert_eq!(scene.family.beat_of(flying.id), None);
}

#[test]
fn a_flight_that_was_given_up_sends_nothing() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    assert!(!scene.family.is_sent(flying.id));
    let before = scene.family.clone();
    assert!(scene.family.begin_sending(flying.id) && scene.family.is_sent(flying.id));
    assert!(!scene.family.is_worth_more_than(&before));
    assert_ne!(scene.family.beat_of(flying.id), before.beat_of(flying.id), "its lease begins anew");
    assert!(scene.family.forget_flight(flying.id));
    assert!(!scene.family.begin_sending(flying.id) && !scene.family.is_sent(flying.id));
    let next = scene.begin(0, &Shape::default(), true, 1);
    assert!(!scene.family.begin_sending(flying.id) && !scene.family.is_sent(next.id));
}

#[test]
fn a_beat_need_not_outlive_the_process_and_all_else_must() {
    let mut scene = Scene::new();
    let before = scene.family.clone();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    scene.family.beat(flying.id);
    assert!(!scene.family.is_worth_more_than(&before));
    scene.land(&flying, 1);
    assert!(scene.family.is_worth_more_than(&before));
    let before = scene.family.clone();
    scene.family.prove_receipt(1);
    assert!(scene.family.is_worth_more_than(&before));
}

#[test]
fn a_lost_answer_is_recovered_with_the_successors_grant_twice_and_no_more() {
    let mut scene = Scene::new();
    assert!(!scene.exchange(0, 0, 0));
    assert!(scene.exchange(0, 1, 100));
    // Within the window of the recovery: its answer again, to old and new alike.
    assert!(matches!(scene.present(0, 110), Outcome::Again { answer: 2, with_cookie: true, .. }));
    assert!(scene.exchange(0, 2, 200));
    assert!(matches!(scene.present(0, 300), other!(Decision::Replay)));
    assert!(matches!(
        scene.present(3, 301),
        other!(Decision::Over { end: SessionEnd::ReuseDetected, revoke: true })
    ));
}

#[test]
fn a_failed_recovery_is_not_a_lost_answer() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    for round in 1..10 {
        let flying = scene.begin(0, &Shape::default(), true, round * 100);
        assert!(flying.recovers && scene.family.forget_flight(flying.id));
    }
    assert!(scene.exchange(0, 1, 2000));
}

#[test]
fn receipt_makes_the_older_generation_spent_after_its_window() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 10);
    // A late tab within the window: its answer, without a cookie that would turn the browser back.
    assert!(matches!(scene.present(0, 29), Outcome::Again { answer: 1, with_cookie: false, .. }));
    assert!(matches!(scene.present(0, 30), other!(Decision::Replay)));
    // The family is over for everybody, and each newer refresh token is revoked once.
    assert!(matches!(
        scene.present(2, 31),
        other!(Decision::Over { end: SessionEnd::ReuseDetected, revoke: true })
    ));
    assert!(matches!(scene.present(2, 32), other!(Decision::Over { revoke: false, .. })));
    assert!(matches!(scene.present(0, 33), other!(Decision::Over { revoke: false, .. })));
}

#[test]
fn an_access_token_that_was_seen_proves_receipt() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    assert!(scene.family.note_token_use(1));
    assert!(matches!(scene.present(0, 40), other!(Decision::Replay)));
}

#[test]
fn an_access_token_that_may_have_come_without_its_cookie_proves_nothing() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange_as(0, &shape("a"), 1, 1);
    assert!(matches!(scene.present(0, 2), Outcome::Again { answer: 1, with_cookie: false, .. }));
    assert!(!scene.family.note_token_use(1) && !scene.family.note_token_use(3));
    assert!(scene.exchange(0, 2, 40));
}

#[test]
fn a_generation_that_a_flight_recovers_for_is_no_replay_when_its_successor_shows_up() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    let flying = scene.begin(0, &Shape::default(), true, 100);
    assert!(flying.recovers);
    assert!(matches!(scene.present(1, 101), other!(Decision::Join(_))));
    assert!(matches!(scene.present(0, 102), other!(Decision::Join(_))));
    assert_eq!(scene.land(&flying, 103), KEPT);
    assert!(matches!(scene.present(0, 104), Outcome::Again { answer: 2, .. }));
    assert!(matches!(scene.present(0, 133), other!(Decision::Replay)));
    // Where the flight brings nothing, it is one.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    let flying = scene.begin(0, &Shape::default(), true, 100);
    assert!(matches!(scene.present(1, 101), other!(Decision::Join(_))));
    assert!(scene.family.forget_flight(flying.id));
    assert!(matches!(scene.present(0, 102), other!(Decision::Replay)));
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
    assert!(matches!(scene.present(3, 600), other!(Decision::Replay)));
}

#[test]
fn a_thief_and_a_browser_that_take_turns_are_noticed() {
    // The browser has generation 1; the thief, with a copy of 0, makes up for its "lost" answer.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    assert!(scene.exchange(0, 1, 100));
    assert!(matches!(scene.present(1, 129), Outcome::Again { answer: 2, .. }), "only late");
    // And so on in turns: each makes up for the answer of the other, and none of them proves anything.
    assert!(scene.exchange(1, 2, 200));
    assert!(matches!(scene.present(2, 300), other!(Decision::Replay)));
    // Or the browser comes twice in a row: then what the thief has is spent.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    assert!(scene.exchange(0, 1, 100) && scene.exchange(1, 2, 200) && !scene.exchange(3, 3, 300));
    assert!(matches!(scene.present(2, 400), other!(Decision::Replay)));
}

#[test]
fn an_answer_that_arrives_although_it_was_made_up_for_is_one_lost_answer_more() {
    // Generation 1 arrived; a late tab with 0 makes up for it, and that answer is lost.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    assert!(scene.exchange(0, 1, 31));
    assert!(scene.exchange(1, 2, 100), "the second in a row");
    // What arrives at last, and was never made up for, ends the count.
    assert!(!scene.exchange(3, 3, 200));
    assert!(scene.exchange(3, 4, 300) && scene.exchange(3, 5, 400));
    assert!(matches!(scene.present(3, 500), other!(Decision::Replay)));
}

#[test]
fn another_scope_waits_and_is_exchanged_in_turn_with_the_successors_grant() {
    let mut scene = Scene::new();
    let (narrow, wide) = (shape("a"), shape("a b"));
    let flying = scene.begin(0, &wide, true, 0);
    assert!(matches!(scene.present_as(0, &narrow, 0), other!(Decision::AskAgainAfter(_))));
    scene.land(&flying, 1);
    assert!(!scene.exchange_as(0, &narrow, 1, 1));
    assert!(matches!(scene.present_as(0, &narrow, 2), Outcome::Again { answer: 2, .. }));
    assert!(matches!(scene.present_as(0, &wide, 2), Outcome::Again { answer: 1, with_cookie: false, .. }));
}

#[test]
fn other_scopes_do_not_open_the_window_of_a_spent_generation_again() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 5);
    scene.exchange_as(0, &shape("a"), 2, 25);
    assert!(matches!(scene.present_as(0, &shape("a"), 29), Outcome::Again { .. }));
    assert!(matches!(scene.present_as(0, &shape("a"), 31), other!(Decision::Replay)));
}

#[test]
fn an_answer_whose_token_is_nearly_over_is_not_given_again() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    assert_eq!(scene.land_worth(&flying, true, Some(Duration::from_secs(20)), 0), KEPT);
    assert!(matches!(scene.present(0, 19), Outcome::Again { .. }));
    assert!(!scene.exchange(0, 1, 20));
}
