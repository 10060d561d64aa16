//! An access token that is of no use any more, for whatever reason: its session gets another, in the middle
//! of a request.

use super::*;
use crate::core::token::testing::{TestKey, new_p256};

/// An access token that this key signed, for ten minutes.
fn signed_by(scene: &Scene, key: &TestKey, jti: &str) -> Instead {
    let now = scene.clock.now();
    let token = key.sign(&with(claims_at(now), json!({ "iss": AS, "jti": jti })));
    Instead::With(json!({ "access_token": token, "scope": null, "expires_in": null }))
}

#[tokio::test]
async fn a_session_whose_tokens_key_is_gone_gets_another() {
    // Another key in its place, and another of its name.
    for kid in ["new", keys().p256.kid()] {
        let scene = Scene::in_session();
        let cookie = scene.session(3000).await;
        assert_eq!(scene.good(&cookie).await, None);
        let key = new_p256(kid);
        *scene.server.jwks.lock().unwrap() = json!({ "keys": [key.jwk()] });
        scene.pass(700);
        scene.next(signed_by(&scene, &key, "token-1"));
        // The one who learns of the new keys, and the next.
        assert!(scene.ask(&cookie).await.is_ok(), "{kid}");
        scene.pass(11);
        let served = scene.ask(&cookie).await.unwrap();
        assert_eq!((served.found.token().id(), scene.asked()), (Some("token-1"), 1), "{kid}");
    }
}

#[tokio::test]
async fn a_session_whose_opaque_token_has_ended_at_its_issuer_gets_another() {
    let scene = Scene::of(session_client(IdentityFrom::AccessToken), introspecting_issuer());
    let says = |said: Value| *scene.server.introspection.lock().unwrap() = Some(said);
    let cookie = scene.session(300).await;
    scene.pass(295);
    let now = scene.clock.now().as_secs();
    let good =
        json!({ "active": true, "token_type": "Bearer", "aud": AUDIENCE, "sid": "sid-1", "jti": "opaque" });
    says(with(with(claims_at(scene.clock.now()), good), json!({ "iss": null, "exp": now + 3000 })));
    let opaque = || Instead::With(json!({ "access_token": "opaque-1", "scope": null, "expires_in": 3000 }));
    scene.next(opaque());
    let second = scene.good(&cookie).await.unwrap();
    assert_eq!((scene.good(&second).await, scene.asked()), (None, 1));
    says(json!({ "active": false }));
    scene.pass(31);
    scene.next_token("token-2");
    let served = scene.ask(&second).await.unwrap();
    assert_eq!((served.found.token().id(), scene.asked()), (Some("token-2"), 2));
}

/// Whoever has the cookie is served at once, and nobody is asked.
#[tokio::test]
async fn a_session_is_served_with_the_same_token_after_a_crash() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.store.crash();
    assert_eq!((scene.replica().good(&cookie).await, scene.asked()), (None, 0));
}

/// The issuer's keys were asked for just now, and it has signed with another since: that is found out in a
/// moment.
#[tokio::test]
async fn a_token_whose_key_was_published_just_now_is_kept_until_that_is_known() {
    for (life, exchanged_at) in [(10, 6), (8, 9)] {
        let scene = Scene::in_session();
        let cookie = scene.session(life).await;
        assert_eq!(scene.good(&cookie).await, None);
        let key = new_p256("new");
        *scene.server.jwks.lock().unwrap() = json!({ "keys": [keys().p256.jwk(), key.jwk()] });
        scene.pass(exchanged_at);
        scene.next(signed_by(&scene, &key, "token-1"));
        let next = match scene.ask(&cookie).await {
            Ok(served) => {
                assert_eq!((served.found.token().id(), life), (Some("token-0"), 10), "that is good still");
                served.ride.unwrap()
            }
            Err(not) => {
                assert_eq!((&not.denial, life), (&Denial::KeysUnavailable, 8));
                not.side.ride.unwrap()
            }
        };
        let next = cookie_in(&next.set_cookie);
        for _ in 0..3 {
            assert_eq!(scene.denied(&next).await, (Denial::KeysUnavailable, None));
        }
        assert_eq!(scene.asked(), 1, "another token would be signed by the same");
        scene.pass(11 - exchanged_at);
        let served = scene.ask(&next).await.unwrap();
        assert_eq!((served.found.token().id(), scene.asked()), (Some("token-1"), 1));
    }
}
