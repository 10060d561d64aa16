//! What is remembered of one person and of one session is bounded, and whoever has too much loses the oldest.

use serde_json::json;

use super::*;
use crate::flows::revoke::reach;

#[tokio::test]
async fn sessions_that_were_signed_out_make_nobody_lose_one() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({ "jti": "kept" })));
    let kept = scene.sign_in().await;
    let timeouts = session_cookie::timeouts(&scene.live.settings.clients[0]);
    for number in 0..5 {
        scene.next(access_token(&scene, json!({ "jti": format!("t{number}") })));
        let cookie = cookie_of(&scene.sign_in().await);
        let grant = scene.grant_of(&cookie);
        reach::note(&scene.gate, &scene.live, &grant, None, timeouts, 2).await.unwrap();
        scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
    }
    assert_eq!(scene.takes(body(&kept)["access_token"].as_str().unwrap()).await, Ok(()));
}

#[tokio::test]
async fn of_sessions_that_were_signed_out_no_name_of_their_person_leaves_an_entry() {
    for name in ["alice", "00u1"] {
        let scene = Scene::strict();
        let held = || scene.store.bytes_of("families:");
        let mut sizes = Vec::new();
        for number in 0..3 {
            let claims = json!({ "jti": format!("t{number}") });
            let (cookie, _) = scene.signed_in_with(claims, Some(&id_token_of(name))).await;
            scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
            assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
            sizes.push(held());
        }
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{name}: {sizes:?}");
    }
}

#[tokio::test]
async fn somebody_with_too_many_sessions_loses_the_oldest() {
    let scene = Scene::strict();
    let mut sessions = Vec::new();
    for jti in ["one", "two", "three"] {
        scene.next(access_token(&scene, json!({ "jti": jti })));
        let answer = scene.sign_in().await;
        sessions.push((cookie_of(&answer), body(&answer)["access_token"].as_str().unwrap().to_owned()));
    }
    let newest = scene.grant_of(&sessions[2].0);
    let timeouts = session_cookie::timeouts(&scene.live.settings.clients[0]);
    reach::note(&scene.gate, &scene.live, &newest, None, timeouts, 2).await.unwrap();
    assert_eq!(scene.takes(&sessions[0].1).await, Err(Denial::Revoked));
    for (_, token) in &sessions[1..] {
        assert_eq!(scene.takes(token).await, Ok(()));
    }
    assert_eq!(
        scene.refresh(&sessions[0].0).await.unwrap_err().denial,
        Denial::SessionEnded(SessionEnd::Revoked)
    );
}

#[tokio::test]
async fn a_token_for_which_there_is_no_room_any_more_is_taken_back_by_itself() {
    let scene = Scene::strict();
    let long = json!({ "exp": scene.clock.now().as_secs() + 23 * 3600 });
    let mut tokens = Vec::new();
    scene.next(access_token(&scene, with(long.clone(), json!({ "jti": "first" }))));
    let signed_in = scene.sign_in().await;
    let mut cookie = cookie_of(&signed_in);
    tokens.push(body(&signed_in)["access_token"].as_str().unwrap().to_owned());
    for number in 1..=256 {
        scene.next(access_token(&scene, with(long.clone(), json!({ "jti": format!("t{number}") }))));
        scene.pass(31);
        let answer = scene.refresh(&cookie).await.unwrap();
        cookie = cookie_of(&answer);
        tokens.push(body(&answer)["access_token"].as_str().unwrap().to_owned());
    }
    assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
    assert_eq!(scene.takes(&tokens[0]).await, Err(Denial::Revoked), "the 257th pushed it out");
    assert_eq!(scene.takes(&tokens[1]).await, Ok(()));
    scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
    for token in &tokens {
        assert_eq!(scene.takes(token).await, Err(Denial::Revoked));
    }
}

/// A page that always sends the cookie of its sign-in, each time for other scope: every exchange gave that a
/// new window.
#[tokio::test]
async fn one_cookie_is_exchanged_for_so_many_tokens_and_then_its_successor_is_to_come() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "scope": "a b c d e f g" })));
    let first = scene.signed_in_cookie().await;
    let scope_of = |number: u32| {
        let chosen = ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate();
        let chosen: Vec<_> = chosen.filter(|(bit, _)| number >> bit & 1 == 1).map(|(_, name)| name).collect();
        chosen.join("+")
    };
    let ask = |number| format!("grant_type=refresh_token&client_id=web-app&scope={}", scope_of(number));
    let mut newest = String::new();
    for number in 1..=64 {
        newest = cookie_of(&scene.post(Some(&first), &ask(number)).await.unwrap());
    }
    let asked = scene.asked();
    for number in 65..=127 {
        let refusal = scene.post(Some(&first), &ask(number)).await.unwrap_err();
        assert_eq!(
            (refusal.denial.clone(), refusal.set_cookie),
            (Denial::TooManyExchanges, None),
            "{number}"
        );
        assert_eq!(refusal.denial.facts().status, StatusCode::TOO_MANY_REQUESTS);
        assert!(refusal.denial.retry_after().is_some());
    }
    assert_eq!(scene.asked(), asked);
    // A late tab has what was answered, and the browser goes on with what it was given.
    assert_eq!(scene.post(Some(&first), &ask(64)).await.unwrap().outcome.label(), "answered_again");
    assert_eq!(scene.post(Some(&newest), &ask(127)).await.unwrap().outcome.label(), "rotated");
}
