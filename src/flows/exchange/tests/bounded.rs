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
