//! A logout token says its issuer's one name, and ends what came by the other.

use super::super::other_name::{SAID, issuer_of_two_names, strict};
use super::*;

#[tokio::test]
async fn a_sign_out_at_the_issuer_reaches_tokens_by_either_name_and_is_said_by_one() {
    for over in [json!({ "sub": "alice" }), json!({ "sid": "s-1" })] {
        let scene = Scene::of(strict(), issuer_of_two_names());
        let id_token = id_token(
            &json!({ "iss": AS, "aud": "web-app", "exp": 1_800_000_000, "sub": "alice", "sid": "s-1" }),
        );
        let claims = json!({ "iss": SAID, "sub": "alice", "jti": "a-1" });
        let alice = scene.signed_in_with(claims, Some(&id_token)).await;
        let by_the_other = logout_token(&scene, with(over.clone(), json!({ "iss": SAID })));
        let refused = scene.is_told(&by_the_other).await;
        assert!(matches!(refused, Err(Denial::LogoutTokenRefused(_))), "{refused:?}");
        assert!(!scene.is_out(&alice).await, "{over}");
        let (cookie, token) =
            scene.signed_in_with(json!({ "iss": SAID, "sub": "alice", "jti": "a-2" }), Some(&id_token)).await;
        scene.is_told(&logout_token(&scene, over.clone())).await.unwrap();
        assert!(scene.is_out(&(cookie, token)).await, "{over}");
    }
}
