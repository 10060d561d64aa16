//! A next cookie whose answer is about to leave, after the session has ended: over the one of a newer sign-in
//! it would sign that out.

use super::*;
use crate::core::session::ride::Ride;

/// The next cookie of a session, whose answer is still under way.
async fn under_way(scene: &Scene) -> (Grant, Ride) {
    let cookie = scene.session(300).await;
    scene.pass(295);
    scene.next_token("token-1");
    let ride = scene.ask(&cookie).await.unwrap().ride.unwrap();
    (scene.grant_in(&cookie), ride)
}

async fn ends(scene: &Scene, grant: &Grant) {
    let timeouts = session_cookie::timeouts(scene.client());
    let ended = end_family(&scene.gate, grant, timeouts, SessionEnd::SignedInAgain).await;
    assert_eq!(ended.is_stored, Ok(()));
}

#[tokio::test]
async fn no_cookie_leaves_after_the_session_has_ended_here() {
    let scene = Scene::in_session();
    let (grant, ride) = under_way(&scene).await;
    assert!(session::may_leave(&scene.gate, &ride).await);
    ends(&scene, &grant).await;
    assert!(!session::may_leave(&scene.gate, &ride).await, "however soon it is");
    scene.pass(31);
    assert!(!session::may_leave(&scene.gate, &ride).await);
}

#[tokio::test]
async fn no_cookie_leaves_late_after_the_session_has_ended_elsewhere() {
    let scene = Scene::in_session();
    let (grant, ride) = under_way(&scene).await;
    scene.pass(31);
    assert!(session::may_leave(&scene.gate, &ride).await, "it is the newest");
    ends(&scene.replica(), &grant).await;
    assert!(!session::may_leave(&scene.gate, &ride).await, "the newest of a session that is over");
}
