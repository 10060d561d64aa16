//! What is open by a token of one name of its issuer.

use super::super::other_name::{SAID, issuer_of_two_names, strict};
use super::*;

#[tokio::test]
async fn it_goes_on_by_a_token_of_the_other_name_and_ends_when_its_person_is_out() {
    for (first, second) in [(SAID, AS), (AS, SAID), (SAID, SAID)] {
        let scene = Scene::of(strict(), issuer_of_two_names());
        scene.with_routes(vec![route()]);
        scene.next(minute(&scene, "first", json!({ "iss": first })));
        let answer = scene.sign_in().await;
        let kept = scene.opens(body(&answer)["access_token"].as_str().unwrap()).await;
        scene.pass(59);
        scene.refreshed(&cookie_of(&answer), "second", json!({ "iss": second })).await;
        scene.pass(30);
        assert_eq!(scene.ending(&kept), None, "{first}, then {second}");
        assert_eq!(kept.token().token().id(), Some("second"));
        scene.revoke(json!({ "kind": "sub", "value": "alice", "issuer": "demo" })).await.unwrap();
        assert_eq!(scene.ending(&kept), Some(Ending::Revoked), "{first}, then {second}");
    }
}
