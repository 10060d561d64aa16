//! An authorization server that dates its tokens back, as Entra ID does by five minutes: whoever signs in
//! again after everything of theirs was taken back is in, and what they had is not.

use super::*;

fn behind(seconds: u64) -> Issuer {
    let mut issuer = issuer(Duration::from_secs(5));
    issuer.rules.iat_behind = Duration::from_secs(seconds);
    issuer
}

#[tokio::test]
async fn who_signs_in_again_is_in_and_what_was_taken_back_is_out() {
    for (said, is_let_in) in [(300, true), (0, false)] {
        let scene = Scene::of(Client { accept_any_access_token: false, ..client() }, behind(said));
        let dated = |scene: &Scene, jti: &str| {
            let at = scene.clock.now().as_secs() - 300;
            json!({ "jti": jti, "iat": at, "nbf": at })
        };
        let (cookie, before) = scene.signed_in_with(dated(&scene, "t"), None).await;
        scene.pass(5);
        scene.delete(&headers(Some(&cookie)), EVERYWHERE).await.unwrap();
        scene.pass(5);
        scene.next(access_token(&scene, dated(&scene, "u")));
        let again = scene.post(None, &code_exchange()).await;
        assert_eq!(scene.takes(&before).await, Err(Denial::Revoked), "{said}");
        match again {
            Ok(answer) => {
                assert!(is_let_in, "{said}");
                let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
                assert_eq!(scene.takes(&token).await, Ok(()));
                scene.pass(1);
                scene.delete(&headers(Some(&cookie_of(&answer))), EVERYWHERE).await.unwrap();
                assert_eq!(
                    scene.takes(&token).await,
                    Err(Denial::Revoked),
                    "as soon as it is taken back again"
                );
            }
            Err(refusal) => assert_eq!((is_let_in, refusal.denial), (false, Denial::SignInRevoked)),
        }
    }
}

/// Where an issuer dates nothing back after all, a token is no younger than when it was first seen.
#[tokio::test]
async fn no_token_outlives_what_is_taken_back_after_it_was_seen() {
    let scene = Scene::of(client(), behind(300));
    let (_, token) = scene.signed_in_with(json!({ "jti": "t" }), None).await;
    assert_eq!(scene.takes(&token).await, Ok(()));
    scene.pass(1);
    scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap();
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
}
