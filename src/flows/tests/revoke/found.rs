//! That a session is found by what names it, whatever happened meanwhile: access tokens that do not say whose
//! they are go with it.

use super::*;

/// A session of alice's, one of whose access tokens says neither session, nor client, nor subject.
async fn session(scene: &Scene) -> (String, String) {
    let claims = json!({ "jti": "t", "sub": null, "client_id": null });
    scene.signed_in_with(claims, Some(&id_token_of("alice"))).await
}

const NAMES: [(&str, &str); 3] = [("sub", "alice"), ("sid", "sid-1"), ("client", "web-app")];

#[tokio::test]
async fn a_session_is_found_after_a_crash() {
    for (kind, value) in NAMES {
        let scene = Scene::strict();
        let (cookie, token) = session(&scene).await;
        scene.store.crash();
        scene.pass(1);
        let restarted = scene.replica();
        assert_eq!(restarted.takes(&token).await, Ok(()));
        restarted.revoke(json!({ "kind": kind, "value": value })).await.unwrap();
        assert_eq!(restarted.takes(&token).await, Err(Denial::Revoked), "{kind}");
        let refusal = restarted.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{kind}");
    }
}

/// Moments count in whole seconds.
#[tokio::test]
async fn a_session_that_began_in_the_very_second_of_a_watermark_is_ended_by_it() {
    for (kind, value) in NAMES {
        let scene = Scene::strict();
        let (_, token) = session(&scene).await;
        scene.replica().revoke(json!({ "kind": kind, "value": value })).await.unwrap();
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{kind}");
    }
    let scene = Scene::strict();
    let before = scene.clock.now().to_rfc3339();
    scene.pass(1);
    let (_, token) = session(&scene).await;
    scene.revoke(json!({ "kind": "sub", "value": "alice", "before": before })).await.unwrap();
    assert_eq!(scene.takes(&token).await, Ok(()), "one that began in the second after it is not");
}

/// What it hands out since says no more of itself than before.
#[tokio::test]
async fn a_session_that_the_store_lost_is_found_again_from_its_next_exchange_on() {
    for (kind, value) in NAMES {
        for fails_first in [false, true] {
            let scene = Scene::strict();
            let empty = scene.store.held();
            let (cookie, _) = session(&scene).await;
            scene.store.go_back_to(&empty);
            if fails_first {
                // It leaves a record, in which nothing shows when the session began to be known.
                scene.next(Instead::Fault(HttpFault::Connect));
                scene.refresh(&cookie).await.unwrap_err();
                assert_eq!(scene.store.len("family:"), 1);
            }
            scene.next(access_token(&scene, json!({ "jti": "u", "sub": null, "client_id": null })));
            let answer = scene.refresh(&cookie).await.unwrap();
            let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
            assert_eq!(scene.takes(&token).await, Ok(()));
            scene.replica().revoke(json!({ "kind": kind, "value": value })).await.unwrap();
            assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{kind} {fails_first}");
        }
    }
}

/// The store was away when it was looked for; the second look is seconds later.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_not_found_takes_its_access_tokens_along_when_its_cookie_comes() {
    let scene = Scene::strict();
    let (cookie, token) = session(&scene).await;
    scene.store.set_away(true);
    scene.revoke(json!({ "kind": "sid", "value": "sid-1" })).await.unwrap_err();
    scene.store.set_away(false);
    assert_eq!(scene.takes(&token).await, Ok(()), "it does not say whose it is");
    for _ in 0..2 {
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
        // While there is anything to do, no time passes.
        scene.revoked(&["refresh-token-0"]).await;
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
    }
}

/// Issuers may call one person differently in the two tokens, and an operator may know either name.
#[tokio::test]
async fn a_person_is_found_by_what_either_token_calls_them_and_blocked_by_it() {
    for name in ["alice", "00u1"] {
        let scene = Scene::strict();
        let claims = json!({ "jti": "t", "sub": "alice" });
        let (cookie, token) = scene.signed_in_with(claims, Some(&id_token_of("00u1"))).await;
        scene.pass(1);
        scene.revoke(json!({ "kind": "sub", "value": name, "block": true })).await.unwrap();
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{name}");
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{name}");
        let Instead::With(tokens) = access_token(&scene, json!({ "jti": "u" })) else { unreachable!() };
        scene.next(Instead::With(with(tokens, json!({ "id_token": id_token_of("00u1") }))));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SignInRevoked, "{name}");
    }
}

/// As of a session of a release that did not note the name of the ID token, or whose index a store lost.
#[tokio::test]
async fn a_person_is_found_by_the_name_that_the_id_token_of_an_exchange_says_first() {
    let scene = Scene::strict();
    let (cookie, _) = scene.signed_in_with(json!({ "jti": "t", "sub": "alice" }), None).await;
    let exchange = async |jti: &str, cookie: &str| {
        let Instead::With(tokens) = access_token(&scene, json!({ "jti": jti })) else { unreachable!() };
        scene.next(Instead::With(with(tokens, json!({ "id_token": id_token_of("00u1") }))));
        scene.pass(100);
        scene.refresh(cookie).await
    };
    let answer = exchange("u", &cookie).await.unwrap();
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    scene.pass(1);
    scene.revoke(json!({ "kind": "sub", "value": "00u1", "block": true })).await.unwrap();
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "it is found");

    // It was blocked before anybody knew that the session is theirs.
    let (cookie, _) = scene.signed_in_with(json!({ "jti": "v", "sub": "alice" }), None).await;
    let refusal = exchange("w", &cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "it is heard of");
}

/// What an exchange answers whose ID token calls alice `00u1`.
fn called_otherwise(scene: &Scene, jti: &str) -> Instead {
    let Instead::With(tokens) = access_token(scene, json!({ "jti": jti })) else { unreachable!() };
    Instead::With(with(tokens, json!({ "id_token": id_token_of("00u1") })))
}

/// The record of the session is there then, and its index must not be missing for good.
#[tokio::test(start_paused = true)]
async fn a_name_that_an_exchange_says_first_finds_its_person_also_where_the_store_s_answer_was_lost() {
    let scene = Scene::strict();
    let (cookie, _) = scene.signed_in_with(json!({ "jti": "t", "sub": "alice" }), None).await;
    scene.next(called_otherwise(&scene, "u"));
    scene.store.loses_an_answer();
    let answer = scene.refresh(&cookie).await.unwrap();
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(scene.takes(&token).await, Ok(()));
    scene.pass(1);
    scene.revoke(json!({ "kind": "sub", "value": "00u1" })).await.unwrap();
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
}

/// Another replica took them back while this one could not reach the store, and found no session of theirs,
/// nor at its second look.
#[tokio::test(start_paused = true)]
async fn who_is_taken_back_by_a_name_that_is_not_noted_yet_gets_no_session() {
    let scene = Scene::strict();
    let (cookie, _) = scene.signed_in_with(json!({ "jti": "t", "sub": "alice" }), None).await;
    scene.next(called_otherwise(&scene, "u"));
    scene.server.answers.forget_permits(PLENTY);
    let other = scene.without_memory();
    let (refused, ()) = tokio::join!(scene.refresh(&cookie), async {
        scene.arrived(2).await;
        scene.store.set_away(true);
        scene.server.answers.add_permits(1);
        // The browser is told that nobody knows yet.
        tokio::time::sleep(Duration::from_secs(6)).await;
        scene.pass(1);
        other.revoke(json!({ "kind": "sub", "value": "00u1" })).await.unwrap();
        assert_eq!(other.gate.errands.finished(Duration::from_secs(60)).await, 0, "it looks no more");
        scene.store.set_away(false);
    });
    assert_eq!(refused.unwrap_err().denial, Denial::AuthorizationServerUnavailable);
    scene.revoked(&["refresh-token-0", "refresh-token-1"]).await;
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
}
