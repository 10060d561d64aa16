//! What the log tells operators of a set-up that is wrong, here or at the authorization server.

use super::*;
use crate::flows::testing::lines::Lines;

fn strict() -> Client {
    Client { accept_any_access_token: false, ..client() }
}

#[tokio::test]
async fn an_access_token_that_would_be_refused_is_told_with_what_to_change() {
    for (changes, reason, told) in [
        (json!({ "aud": "web-app" }), "wrong_token_type", "make the AS name an API there"),
        (json!({ "aud": "else" }), "wrong_audience", "for one of issuers.demo.audience"),
        (json!({ "iat": null }), "token_malformed", "as `detail` asks"),
        (json!({ "exp": 1_800_000_000 }), "token_lives_too_long", "raise issuers.demo.max_token_lifetime"),
        (json!({ "groups": "g".repeat(9000) }), "token_too_large", "raise limits.token"),
    ] {
        let mut issuer = issuer(Duration::from_secs(5));
        issuer.rules.audiences.push("web-app".into());
        let scene = Scene::of(strict(), issuer);
        let lines = Lines::listen();
        let header = json!({ "alg": "ES256", "kid": keys().p256.kid() });
        let token = keys().p256.sign_as(&header, &with(claims_at(scene.clock.now()), changes));
        scene.next(Instead::With(json!({ "access_token": token, "scope": null })));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
        let text = lines.text();
        assert!(text.contains(&format!("reason=\"{reason}\"")) && text.contains(told), "{reason}: {text}");
        assert_eq!(text.contains("for one of issuers.demo.audience"), reason == "wrong_audience", "{text}");
    }
}
