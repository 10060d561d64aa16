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

#[path = "exchange_simulation.rs"]
mod simulation;
