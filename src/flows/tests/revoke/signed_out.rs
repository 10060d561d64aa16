//! What signing out takes back: the access tokens of the session, and everywhere those of every device.

use super::*;

#[tokio::test]
async fn signing_out_takes_the_access_tokens_back_and_everywhere_those_of_every_device() {
    for everywhere in [false, true] {
        let scene = Scene::strict();
        let claims = |jti: &str| json!({ "jti": jti, "sub": "alice" });
        let (here, token) = scene.signed_in_with(claims("t"), None).await;
        let (there, other) = scene.signed_in_with(claims("u"), None).await;
        let query = format!("client_id=web-app&everywhere={everywhere}");
        assert_eq!(scene.delete(&headers(Some(&here)), &query).await.unwrap().status, 204);
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
        assert_eq!(scene.takes(&other).await.is_err(), everywhere);
        if !everywhere {
            scene.next(access_token(&scene, claims("v")));
        }
        assert_eq!(scene.refresh(&there).await.is_err(), everywhere);
        // Whoever signs in again is in again.
        scene.pass(61); // tokens are a minute old here
        let (again, token) = scene.signed_in_with(claims("w"), None).await;
        scene.next(access_token(&scene, claims("x")));
        assert_eq!(scene.takes(&token).await, Ok(()));
        scene.refresh(&again).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_cookie_whose_session_is_over_signs_nobody_out_elsewhere() {
    for (over, end) in [
        (Over::SignedOut, SessionEnd::Revoked),
        (Over::Spent, SessionEnd::ReuseDetected),
        (Over::Idle, SessionEnd::IdleTimeout),
        (Over::Revoked, SessionEnd::Revoked),
    ] {
        let scene = Scene::strict();
        let claims = |jti: &str| json!({ "jti": jti, "sub": "alice" });
        let id_token = id_token_of("alice");
        let (copy, first) = scene.signed_in_with(claims("t"), Some(&id_token)).await;
        let mut newest = copy.clone();
        match over {
            Over::SignedOut => {
                scene.delete(&headers(Some(&copy)), "client_id=web-app").await.unwrap();
            }
            Over::Spent => {
                for jti in ["t1", "t2"] {
                    scene.next(access_token(&scene, claims(jti)));
                    newest = cookie_of(&scene.refresh(&newest).await.unwrap());
                }
                scene.pass(31);
            }
            Over::Idle => scene.pass(12 * 3600),
            Over::Revoked => drop(scene.revoke(json!({ "kind": "sid", "value": "sid-1" })).await.unwrap()),
        }
        scene.pass(61);
        let (there, other) = scene.signed_in_with(claims("u"), None).await;
        for _ in 0..2 {
            let refusal = scene.delete(&headers(Some(&copy)), EVERYWHERE).await.unwrap_err();
            assert_eq!(refusal.denial, Denial::SessionEnded(end), "{over:?}");
            assert!(clears(refusal.set_cookie.as_ref()), "{over:?}");
            // The authorization server hears of it, whoever ended the session.
            scene.revoked(&["refresh-token-0"]).await;
        }
        // What showed the theft is gone from the browser: so the family has ended for the thief, too.
        if over == Over::Spent {
            scene.counted("exchanges_total", "outcome=\"reuse_detected\"", 1);
            assert_eq!(scene.gate.errands.finished(std::time::Duration::from_secs(60)).await, 0);
        }
        assert!(scene.takes(&first).await.is_err(), "{over:?}");
        let refusal = scene.refresh(&newest).await.unwrap_err();
        assert!(matches!(refusal.denial, Denial::SessionEnded(_)), "{over:?}");
        assert_eq!(scene.takes(&other).await, Ok(()), "{over:?}");
        scene.next(access_token(&scene, claims("v")));
        scene.refresh(&there).await.unwrap();
        assert!(scene.log.all().iter().all(|entry| entry.target.kind != Kind::Sub), "{over:?}");
        // It can still be put away.
        assert_eq!(scene.delete(&headers(Some(&copy)), "client_id=web-app").await.unwrap().status, 204);
    }
}

#[tokio::test]
async fn who_could_not_be_signed_out_everywhere_is_when_they_ask_again_and_not_twice() {
    let scene = Scene::strict();
    let claims = |jti: &str| json!({ "jti": jti, "sub": "alice" });
    let (here, _) = scene.signed_in_with(claims("t"), None).await;
    let (there, other) = scene.signed_in_with(claims("u"), None).await;
    scene.log.set_away(true);
    let refusal = scene.delete(&headers(Some(&here)), EVERYWHERE).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    scene.log.set_away(false);
    assert_eq!(scene.takes(&other).await, Ok(()));
    let mut named = Vec::new();
    for _ in 0..2 {
        assert_eq!(scene.delete(&headers(Some(&here)), EVERYWHERE).await.unwrap().status, 204);
        named.push(scene.log.all());
        assert_eq!(scene.takes(&other).await, Err(Denial::Revoked));
        assert!(scene.refresh(&there).await.is_err());
    }
    assert_eq!(named[0].len(), named[1].len(), "what is named already is not named again");
    // A copy of it does nothing to whoever signed in again.
    scene.pass(61);
    let (again, token) = scene.signed_in_with(claims("w"), None).await;
    scene.delete(&headers(Some(&here)), EVERYWHERE).await.unwrap();
    assert_eq!(scene.takes(&token).await, Ok(()));
    scene.next(access_token(&scene, claims("x")));
    scene.refresh(&again).await.unwrap();
}

#[tokio::test]
async fn a_session_that_nobody_knows_the_person_of_is_ended_alone_or_not_at_all() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let refusal = scene.delete(&headers(Some(&cookie)), EVERYWHERE).await.unwrap_err();
    assert!(matches!(refusal.denial, Denial::InvalidRequest(why) if why.contains("without everywhere")));
    scene.refresh(&cookie).await.unwrap();
    assert_eq!(scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap().status, 204);
}

/// Whatever its client takes, a token may be good here a moment after it could not be judged.
#[tokio::test]
async fn a_token_that_could_not_be_judged_yet_when_it_was_handed_out_is_taken_back_with_its_session() {
    for is_early in [false, true] {
        let scene = Scene::new();
        let jwks = scene.server.jwks.lock().unwrap().clone();
        if !is_early {
            // Before anything is asked of it: a gateway that never had the keys.
            *scene.server.jwks.lock().unwrap() = json!("no keys");
        }
        let cookie = scene.signed_in_cookie().await;
        let begins = scene.clock.now().as_secs() + if is_early { 60 } else { 0 };
        scene.next(access_token(&scene, json!({ "jti": "t", "nbf": begins })));
        let answer = scene.refresh(&cookie).await.unwrap();
        let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
        assert!(scene.takes(&token).await.is_err(), "{is_early}");
        *scene.server.jwks.lock().unwrap() = jwks;
        scene.pass(61);
        assert_eq!(scene.takes(&token).await, Ok(()), "{is_early}");
        let signed_out = scene.delete(&headers(Some(&cookie_of(&answer))), "client_id=web-app").await;
        assert_eq!(signed_out.unwrap().status, 204);
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{is_early}");
    }
}
