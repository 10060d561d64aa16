//! Answers that came when nobody waited any more.

use super::*;

/// In seconds.
fn long(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn an_answer_that_nobody_got_waits_and_its_window_begins_when_it_is_given() {
    let mut scene = Scene::new();
    scene.exchange_for_nobody(0, 0, long(3600), 8);
    for seconds in [600, 629] {
        let again = scene.present(0, seconds);
        let old = u64::try_from(seconds - 8).unwrap();
        assert!(
            matches!(again, Outcome::Again { answer: 1, with_cookie: true, age } if age.as_secs() == old),
            "{again:?}"
        );
    }
    // From here on it was given, and may be lost.
    assert!(scene.exchange(0, 1, 630));
}

#[test]
fn a_copy_of_a_cookie_is_noticed_although_an_answer_waited() {
    // Whoever comes first has the answer, and uses it.
    let mut scene = Scene::new();
    scene.exchange_for_nobody(0, 0, long(3600), 8);
    assert!(matches!(scene.present(0, 600), Outcome::Again { answer: 1, .. }));
    scene.family.prove_receipt(1);
    assert!(matches!(scene.present(0, 629), Outcome::Again { answer: 1, .. }));
    assert!(matches!(scene.present(0, 630), other!(Decision::Replay)));
    // Its receipt is shown some other way: it was given.
    let mut scene = Scene::new();
    scene.exchange_for_nobody(0, 0, long(3600), 8);
    scene.family.prove_receipt(1);
    assert!(matches!(scene.present(0, 38), other!(Decision::Replay)));
    // What was spent before it was given has no window after that.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    let late = scene.begin(0, &Shape::default(), true, 100);
    assert_eq!(scene.land(&Flying { is_awaited: false, ..late }, 108), KEPT);
    assert!(matches!(scene.present(1, 600), Outcome::Again { answer: 2, .. }));
    assert!(matches!(scene.present(0, 601), other!(Decision::Replay)));
}

#[test]
fn an_answer_waits_while_it_is_the_newest() {
    let mut scene = Scene::new();
    scene.exchange_for_nobody(0, 0, long(3600), 8);
    scene.exchange_as(0, &shape("a"), 1, 20);
    assert!(matches!(scene.present(0, 37), Outcome::Again { answer: 1, with_cookie: false, .. }));
    scene.family.prove_receipt(2);
    assert!(matches!(scene.present(0, 67), other!(Decision::Replay)));
}

#[test]
fn who_uses_the_session_by_an_answer_that_waited_is_there_then() {
    let mut scene = Scene::new();
    scene.exchange_for_nobody(0, 0, long(7200), 8);
    assert!(matches!(scene.present_used(0, &Shape::default(), false, 3000), Outcome::Again { .. }));
    assert_eq!(scene.family.last_use(at(8)), at(8), "a poll is no use");
    assert!(matches!(scene.present(0, 3010), Outcome::Again { .. }));
    assert_eq!(scene.family.last_use(at(8)), at(3010), "a use after it is");
    let mut scene = Scene::new();
    scene.exchange_for_nobody(0, 0, long(7200), 8);
    assert!(matches!(scene.present(0, 3000), Outcome::Again { .. }));
    assert_eq!(scene.family.last_use(at(8)), at(3000));
    assert!(!scene.exchange(1, 1, 6000), "not idle");
    // Nobody was there for too long.
    let mut scene = Scene::new();
    scene.exchange_for_nobody(0, 0, long(7200), 8);
    assert!(matches!(scene.present(0, 3608), other!(Decision::Over { end: SessionEnd::IdleTimeout, .. })));
}

#[test]
fn answers_that_come_too_late_to_be_worth_giving_are_not_lost_but_not_without_end() {
    let mut scene = Scene::new();
    let mut seconds = 0;
    for of in 0..UNPROVEN {
        seconds += 40;
        scene.exchange_for_nobody(0, of, long(20), seconds);
    }
    // From here on as ever.
    assert!(scene.exchange(0, UNPROVEN, seconds + 40));
    assert!(scene.exchange(0, UNPROVEN + 1, seconds + 80));
    assert!(matches!(scene.present(0, seconds + 120), other!(Decision::Replay)));
    assert!(scene.family.to_bytes().len() < 32 * 1024, "{}", scene.family.to_bytes().len());
}

/// Its access token was good no more.
#[test]
fn an_answer_that_is_withdrawn_goes_to_nobody_and_is_lost_only_by_those_who_had_it_before() {
    let waited = || {
        let mut scene = Scene::new();
        scene.exchange_for_nobody(0, 0, long(3600), 8);
        assert!(matches!(scene.present(0, 600), Outcome::Again { answer: 1, .. }));
        scene
    };
    let recovers = |scene: &mut Scene, seconds| {
        let flying = scene.begin(0, &Shape::default(), true, seconds);
        assert_eq!(flying.grant.generation, 1);
        assert!(scene.family.forget_flight(flying.id));
        flying.recovers
    };
    // Whoever asked was the first to be told of it.
    let mut scene = waited();
    scene.family.withdraw_answer(1, None, now(600));
    for seconds in [600, 629, 630, 2000] {
        assert!(!recovers(&mut scene, seconds), "{seconds}");
    }
    // Another had it, for whom its window began then.
    let mut scene = waited();
    scene.family.withdraw_answer(1, long(10), now(610));
    assert!(!recovers(&mut scene, 629) && recovers(&mut scene, 630));
    // Another got it meanwhile, and has come with its cookie.
    let mut scene = waited();
    scene.family.prove_receipt(1);
    scene.family.withdraw_answer(1, None, now(610));
    assert!(!recovers(&mut scene, 629));
    assert!(matches!(scene.present(0, 630), other!(Decision::Replay)));
    // Or comes with it a moment later: for a tab that sent the one before meanwhile its window is open.
    let mut scene = waited();
    scene.family.withdraw_answer(1, None, now(610));
    scene.family.prove_receipt(1);
    assert!(!recovers(&mut scene, 639));
    assert!(matches!(scene.present(0, 640), other!(Decision::Replay)));
}

#[test]
fn a_record_of_a_release_before_has_answers_that_were_given() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    let written = scene.family.to_bytes();
    let field = b"\xa5given";
    let at = written.windows(field.len()).position(|part| part == field).unwrap();
    let given = b"\xaaWhenLanded";
    let end = at + field.len() + given.len();
    assert_eq!(&written[at + field.len()..end], given);
    let mut before = [&written[..at], &written[end..]].concat();
    // The map that it was in has one member less.
    let map = before[..at].windows(7).rposition(|part| part[1..] == *b"\xa6fligh").unwrap();
    before[map] -= 1;
    assert_eq!(Family::from_bytes(&before), Some(scene.family));
}
