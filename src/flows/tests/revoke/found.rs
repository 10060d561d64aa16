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
