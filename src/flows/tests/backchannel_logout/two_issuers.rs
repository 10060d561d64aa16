//! Logout tokens of two issuers.

use super::super::two_issuers::SECOND_AS;
use super::*;

/// Ids are often numbers that are counted, and nobody else's sign-outs may be spent by them.
#[tokio::test]
async fn the_id_of_one_issuers_logout_token_is_not_that_of_another() {
    let (scene, key) = Scene::of_two_issuers(client());
    let now = scene.clock.now().as_secs();
    let theirs = json!({
        "iss": SECOND_AS, "aud": "second-app", "iat": now, "exp": now + 120, "jti": "logout-1", "sub": "alice",
        "events": { EVENT: {} },
    });
    let header = json!({ "alg": "ES256", "kid": key.kid(), "typ": "logout+jwt" });
    let theirs = key.sign_as(&header, &theirs);
    let said = scene.is_told(&theirs).await.unwrap();
    assert_eq!(said.client, Some(ClientName::new("second")));
    let said = scene.is_told(&logout_token(&scene, json!({ "sub": "alice" }))).await.unwrap();
    assert_eq!(said.client, Some(ClientName::new("web")));
    let whose: Vec<_> = scene.log.all().into_iter().filter_map(|entry| entry.made_by).collect();
    assert!(
        whose.len() == 2 && whose.contains(&AS.to_owned()) && whose.contains(&SECOND_AS.to_owned()),
        "{whose:?}"
    );
    assert!(matches!(scene.is_told(&theirs).await, Err(Denial::LogoutTokenOver(_))), "each of them once");
}
