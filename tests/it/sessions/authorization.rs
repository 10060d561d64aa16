//! `Authorization` beside the cookie of a good session: that header alone decides.

use super::*;

/// A token of bob's by this issuer, in the name of the authorization server of the world.
fn bobs(world: &World, issuer: &Issuer) -> String {
    let now = world.clock.now().as_secs();
    let claims = json!({ "iss": world.server.url(), "aud": AUDIENCE, "sub": "bob", "scope": "api:read", "jti": "bobs",
        "iat": now, "exp": now + 300 });
    format!("Bearer {}", issuer.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" }), &claims))
}

#[tokio::test]
async fn authorization_beside_a_session_decides_alone_and_the_cookie_is_not_looked_at() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let cookie = world.session();
    let (good, forged) = (bobs(&world, &world.issuer), bobs(&world, &Issuer::new()));
    for path in ["/api/x", "/app/x", "/public/x"] {
        let ask = async |authorization: &str| {
            let both = [("Cookie", cookie.as_str()), ("Authorization", authorization)];
            let answer = world.ask("GET", path, &FETCH, &both).await;
            assert_eq!(answer.header("set-cookie"), None, "{path} {authorization}");
            answer
        };
        assert_eq!(ask(&good).await.status, 200, "{path}");
        let got = upstream.received().pop().unwrap();
        assert_eq!((got.header("x-auth-subject"), got.header("cookie")), (Some("bob"), None), "{path}");
        let passed = upstream.received().len();
        for (authorization, reason) in [
            (forged.as_str(), "bad_signature"),
            ("Bearer a.b.c", "token_malformed"),
            ("Bearer", "token_malformed"),
            ("Basic YWxpY2U6c2VjcmV0", "scheme_not_taken"),
        ] {
            let answer = ask(authorization).await;
            let said = format!("urn:tollgate:refusal:{reason}");
            assert_eq!(
                (answer.status, answer.json()["type"].as_str()),
                (401, Some(&*said)),
                "{path} {authorization}"
            );
        }
        assert_eq!(upstream.received().len(), passed, "{path}");
    }
    assert_eq!(world.exchanges(), 0);
    // The session is as good as before.
    assert_eq!(world.get("/api/x", &FETCH, &cookie).await.status, 200);
    assert_eq!(upstream.received().pop().unwrap().header("x-auth-subject"), Some("alice"));
}
