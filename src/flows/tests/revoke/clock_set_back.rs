//! Access is taken back while the clock of this gateway is behind, so that sessions are dated after that
//! moment which began before it.

use super::*;

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn what_began_before_the_clock_was_set_back_is_out_once_it_is_right_again() {
    let scene = Scene::strict();
    let (cookie, token) = scene.signed_in_with(json!({ "jti": "t" }), None).await;
    scene.clock.pass(-HOUR);
    scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap();
    scene.clock.pass(HOUR);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
    scene.pass(5);
    let (_, token) = scene.signed_in_with(json!({ "jti": "u" }), None).await;
    assert_eq!(scene.takes(&token).await, Ok(()), "whoever signs in again is in");
}

/// The clocks of replicas may differ: who signed in at one that is ahead of this one goes on.
#[tokio::test]
async fn what_began_a_moment_ahead_of_this_clock_goes_on() {
    let scene = Scene::strict();
    let of_now = |scene: &Scene, jti: &str| json!({ "jti": jti, "iat": scene.clock.now().as_secs() });
    let (cookie, token) = scene.signed_in_with(of_now(&scene, "t"), None).await;
    scene.clock.pass(-60_000);
    scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap();
    scene.clock.pass(60_000);
    assert_eq!(scene.takes(&token).await, Ok(()));
    scene.next(access_token(&scene, of_now(&scene, "u")));
    scene.refresh(&cookie).await.unwrap();
}
