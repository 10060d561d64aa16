//! How a session lives and ends, what counts as its use, and what is remembered of it.

use super::*;

#[test]
fn timeouts_are_those_of_the_grant_that_would_be_used() {
    let mut scene = Scene::new();
    assert!(matches!(
        scene.present(0, 3600),
        other!(Decision::Over { end: SessionEnd::IdleTimeout, revoke: true })
    ));
    // A lost answer counts as use: its generation is good until the successor's own timeout.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 3000);
    assert!(scene.exchange(0, 1, 4000));
    scene.family.drop_stale(WINDOWS, now(7601));
    assert!(matches!(scene.present(0, 7601), other!(Decision::Over { end: SessionEnd::IdleTimeout, .. })));
    // A spent generation is theft whatever its age.
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 10);
    assert!(matches!(scene.present(0, 5000), other!(Decision::Replay)));
}

/// Streams of a session ask for it at replicas where nobody used it.
#[test]
fn the_last_use_is_known_while_the_next_exchange_is_under_way() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 100);
    let last_use = |scene: &Scene| {
        let exchanged = scene.family.successor().map_or(at(0), |next| next.last_used_at);
        scene.family.last_use(exchanged)
    };
    assert_eq!(last_use(&scene), at(100));
    scene.family.prove_receipt(1);
    let flying = scene.begin(1, &Shape::default(), true, 200);
    assert_eq!((scene.family.successor(), last_use(&scene)), (None, at(100)));
    scene.land(&flying, 210);
    assert_eq!(last_use(&scene), at(210));
    // A poll is no use, also when what it brought is forgotten.
    let flying = scene.begin(2, &Shape::default(), false, 300);
    scene.land(&flying, 301);
    scene.family.prove_receipt(3);
    scene.begin(3, &Shape::default(), false, 400);
    assert_eq!(last_use(&scene), at(210));
    // Nor is one forgotten by a store that had lost a part.
    scene.family.prove_receipt(9);
    assert_eq!(last_use(&scene), at(210));
}

#[test]
fn a_family_that_ends_in_mid_flight_gets_nothing() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), true, 0);
    scene.family.end(SessionEnd::Revoked, Some(0));
    assert_eq!(scene.land(&flying, 1), Landed::TooLate { revoke: true });
    assert!(matches!(
        scene.present(0, 2),
        other!(Decision::Over { end: SessionEnd::Revoked, revoke: false })
    ));
}

#[test]
fn a_newer_sign_in_of_the_same_person_revokes_nothing_that_its_grant_may_hang_on() {
    for (end, revokes) in [(SessionEnd::SignedInAgain, false), (SessionEnd::SignedInAsAnother, true)] {
        let mut scene = Scene::new();
        scene.exchange(0, 0, 0);
        let flying = scene.begin(1, &Shape::default(), true, 1);
        scene.family.end(end, Some(0));
        assert_eq!(scene.land(&flying, 2), Landed::TooLate { revoke: revokes });
        assert_eq!(scene.family.refuse_and_mark(1), Some((end, revokes)));
    }
}

#[test]
fn a_foreground_request_that_joins_makes_the_flight_count_as_use() {
    let mut scene = Scene::new();
    let flying = scene.begin(0, &Shape::default(), false, 0);
    let joins = |scene: &mut Scene, used| {
        assert!(matches!(scene.present_used(0, &Shape::default(), used, 0), other!(Decision::Join(_))));
    };
    joins(&mut scene, false);
    assert!(!scene.family.is_used(flying.id));
    joins(&mut scene, true);
    assert!(scene.family.is_used(flying.id));
}

#[test]
fn an_answer_of_a_poll_is_not_given_again_to_a_use() {
    let mut scene = Scene::new();
    let present = |scene: &mut Scene, used, seconds| scene.present_used(0, &Shape::default(), used, seconds);
    let polled = scene.begin(0, &Shape::default(), false, 10);
    assert_eq!(scene.land(&polled, 10), KEPT);
    assert!(matches!(present(&mut scene, false, 11), Outcome::Again { answer: 1, .. }));
    // The use is exchanged in turn, with the successor's grant, and is no lost answer.
    let used = scene.begin(0, &Shape::default(), true, 12);
    assert!(!used.recovers && used.grant.generation == 1);
    assert_eq!(scene.land(&used, 12), KEPT);
    assert_eq!(scene.grants[2].last_used_at, at(12));
    // From here on that answer stands for uses and polls alike.
    for used in [true, false] {
        assert!(matches!(present(&mut scene, used, 39), Outcome::Again { answer: 2, with_cookie: true, .. }));
    }
}

#[test]
fn what_is_remembered_of_a_busy_family_is_bounded() {
    let mut scene = Scene::new();
    for round in 0..300_usize {
        scene.exchange(round, round as u64, 0);
    }
    assert!(scene.family.landings.len() <= LANDINGS);
    assert!(scene.family.to_bytes().len() < 32 * 1024, "{}", scene.family.to_bytes().len());
    assert!(scene.family.landings.iter().filter(|landing| landing.answer.is_some()).count() <= ANSWERS);
    scene.family.drop_stale(WINDOWS, now(30));
    assert!(scene.family.landings.is_empty());
    assert!(scene.family.to_bytes().len() < 1000, "{}", scene.family.to_bytes().len());
    // The newest was not presented yet, so its grant is still needed; once it was, nothing is kept.
    assert!(scene.family.successor.is_some());
    scene.family.prove_receipt(300);
    scene.family.drop_stale(WINDOWS, now(31));
    assert!(scene.family.successor.is_none());
}

/// A shape of its own for each number.
fn other_shape(number: u64) -> Shape {
    shape(&format!("scope-{number}"))
}

#[test]
fn what_is_remembered_of_one_cookie_in_ever_new_shapes_is_bounded() {
    let mut scene = Scene::new();
    for number in 0..UNPROVEN {
        assert!(!scene.exchange_as(0, &other_shape(number), number, 0));
    }
    for number in UNPROVEN..300 {
        assert!(
            matches!(scene.present_as(0, &other_shape(number), 1), other!(Decision::TooMany)),
            "{number}"
        );
    }
    assert!(scene.family.to_bytes().len() < 32 * 1024, "{}", scene.family.to_bytes().len());
    // What was answered is answered again, and every cookie that was given out is good.
    for number in UNPROVEN - ANSWERS as u64..UNPROVEN {
        let again = scene.present_as(0, &other_shape(number), 29);
        assert!(matches!(again, Outcome::Again { answer, .. } if answer == number + 1), "{again:?}");
    }
    assert!(!scene.exchange_as(40, &other_shape(300), UNPROVEN, 29), "a newer one shows that it came");
    assert!(!scene.exchange_as(0, &other_shape(301), UNPROVEN + 1, 29), "so there is room for a late tab");
    assert!(!scene.exchange(66, 66, 29));
    scene.family.drop_stale(WINDOWS, now(60));
    assert!(scene.family.to_bytes().len() < 1000, "{}", scene.family.to_bytes().len());
}

#[test]
fn whoever_lost_all_of_many_answers_is_made_up_for_twice_as_ever() {
    let mut scene = Scene::new();
    for number in 0..UNPROVEN {
        scene.exchange_as(0, &other_shape(number), number, 0);
    }
    assert!(scene.exchange(0, UNPROVEN, 30));
    assert!(matches!(scene.present_as(0, &shape("a"), 31), other!(Decision::TooMany)), "within its window");
    assert!(scene.exchange(0, UNPROVEN + 1, 60));
    assert!(matches!(scene.present(0, 90), other!(Decision::Replay)));
}

/// Whoever has all cookies and tokens of a session, and chooses among them.
#[test]
fn what_is_remembered_of_a_session_is_bounded_whatever_its_holder_presents() {
    let (mut dice, mut largest) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    let mut roll = |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % sides as u64).unwrap()
    };
    for round in 0..8 {
        let mut scene = Scene::new();
        let (mut seconds, mut held) = (0, 0);
        for number in 0..400 {
            seconds += i64::from(roll(20) == 0);
            // One cookie for a while, then another, mostly the oldest that still gets something.
            let newest = scene.grants.len() - 1;
            held = if roll(70) == 0 { newest - roll(newest.min(60) + 1) } else { held };
            if roll(60) == 0 {
                scene.family.note_token_use(newest as u64);
            }
            match scene.present_as(held, &other_shape(number), seconds) {
                Outcome::Exchange(flying) => assert_eq!(scene.land(&flying, seconds), KEPT),
                other!(Decision::Replay | Decision::Over { .. }) => break,
                _ => held = newest,
            }
            largest = largest.max(scene.family.to_bytes().len());
        }
        assert!(largest < 32 * 1024, "{largest} in round {round}");
    }
    assert!(largest > 12 * 1024, "little was tried: {largest}");
}

#[test]
fn access_tokens_are_known_until_they_end_and_not_without_bound() {
    let mut family = Family::of(&grant());
    let token = |number: i64, ends: i64| Issued {
        id: TokenId::of("https://as", Some(&number.to_string()), ""),
        expires_at: at(ends),
        generation: 0,
    };
    let first: Vec<_> = (0..1000).map(|number| token(number, 10 + number)).collect();
    let pushed_out: Vec<_> = first.iter().filter_map(|token| family.issue(Some(*token), now(0))).collect();
    assert_eq!(family.issued().len(), TOKENS);
    assert!(family.issued().iter().all(|token| token.expires_at > at(700)), "those that end first went");
    assert_eq!(pushed_out, first[..1000 - TOKENS], "and nobody forgets them");
    assert_eq!(family.issue(Some(token(0, 5000)), now(4000)), None, "what has ended makes room");
    assert_eq!(family.issued().len(), 1);
    // It passes until its end and `clock_skew`, at a replica whose clock is behind even later.
    family.issue(None, now(5000 + 600 + 299));
    assert_eq!(family.issued().len(), 1);
    family.issue(None, now(5000 + 600 + 300));
    assert_eq!(family.issued(), []);
}

#[test]
fn a_record_that_lost_something_says_so_for_good() {
    let mut scene = Scene::new();
    scene.family.begin(None, now(0));
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 1);
    let [first, .., last] = &scene.grants[..] else { panic!("two exchanges") };
    assert!(!scene.family.has_gap() && !scene.family.has_gap_by(first) && !scene.family.has_gap_by(last));
    // It was lost whole, and made anew of a cookie.
    let mut anew = Family::of(last);
    assert!(anew.has_gap());
    anew.issue(None, now(2));
    assert!(Family::from_bytes(&anew.to_bytes()).unwrap().has_gap());
    // Or the latest of it, which the cookie shows.
    let mut before = Family::of(first);
    before.begin(None, now(0));
    assert!(before.has_gap_by(last) && !before.has_gap());
    before.prove_receipt(last.generation);
    assert!(before.has_gap());
}

#[test]
fn what_is_lost_while_a_flight_is_in_the_air_leaves_a_gap() {
    let mut scene = Scene::new();
    scene.family.begin(None, now(0));
    let before = scene.family.clone();
    scene.exchange(0, 0, 0);
    let flying = scene.begin(1, &shape("a"), false, 1);
    scene.family = before;
    assert!(matches!(scene.land(&flying, 2), Landed::Kept { .. }));
    assert!(scene.family.has_gap());
}

#[test]
fn what_a_session_handed_out_last_is_known_for_as_long_as_it_may_pass() {
    let mut family = Family::of(&grant());
    family.extend_life(WINDOWS.timeouts);
    let session = family.keep_until();
    assert_eq!(session, family.signed_in_at().plus(WINDOWS.timeouts.absolute));
    let expires_at = session.plus(Duration::from_secs(3600));
    let id = TokenId::of("https://as", Some("last"), "");
    family.issue(Some(Issued { id, expires_at, generation: 0 }), now(0));
    assert_eq!(family.keep_until(), expires_at.plus(Duration::from_secs(600 + 300)));
}

#[test]
fn what_a_store_keeps_is_read_as_it_was_written_and_nothing_else_is() {
    let mut scene = Scene::new();
    scene.exchange_as(0, &shape("a b"), 0, 0);
    let flying = scene.begin(0, &shape("a"), false, 1);
    scene.family.beat(flying.id);
    let bytes = scene.family.to_bytes();
    assert_eq!(Family::from_bytes(&bytes), Some(scene.family.clone()));
    assert_eq!(Family::from_bytes(&bytes[..bytes.len() - 1]), None);
    assert_eq!(Family::from_bytes(&[&[2], &bytes[1..]].concat()), None, "another version");
    bolero::check!().for_each(|bytes: &[u8]| drop(Family::from_bytes(bytes)));
}

#[test]
fn nothing_in_a_store_opens_without_a_cookie() {
    let mut scene = Scene::new();
    scene.exchange(0, 0, 0);
    scene.exchange(1, 1, 1);
    let kept = scene.family.to_bytes();
    let found = |secret: &[u8]| kept.windows(secret.len()).any(|window| window == secret);
    assert!(found(b"https://as.example"), "what is not secret can be found in this way");
    for generation in 0..=2 {
        assert!(!found(format!("rt-{generation}").as_bytes()), "the refresh token of {generation}");
        assert!(!found(seed(generation).expose()), "the seed of {generation}");
    }
    // A cookie opens what is kept for its generation and later ones, and nothing earlier.
    let holder = |generation: usize| Holder::of(&scene.grants[generation]);
    assert!(holder(0).reach(&scene.family, 1).is_some());
    assert!(holder(1).reach(&scene.family, 0).is_none());
}
