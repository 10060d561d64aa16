//! What upstreams and pages are told of a session.

use super::paused::{page_load, where_to};
use super::*;
use crate::core::identity_headers::WhichList;
use crate::core::session::way_in::WayIn;
use crate::core::signing::SigningKey;
use crate::core::token::testing::{TestKey, new_p256};

fn subject_told(served: &InSession) -> Option<&str> {
    let headers = served.caller.identity(WhichList::default());
    let (_, value) = headers.iter().find(|(name, _)| name == "x-auth-subject")?;
    value.to_str().ok()
}

/// An ID token with all that it says of itself and of the sign-in, besides.
fn person(sub: &str, name: &str) -> String {
    by(&keys().p256, sub, name, json!({ "at_hash": "a" }))
}

/// The same as a refresh brings it.
fn refreshed(sub: &str, name: &str) -> String {
    by(&keys().p256, sub, name, json!({}))
}

fn by(key: &TestKey, sub: &str, name: &str, changes: Value) -> String {
    let claims = json!({
        "iss": AS, "aud": "web-app", "azp": "web-app", "exp": 1_800_000_000, "iat": 1_600_000_000, "nbf": 1_600_000_000,
        "jti": "i-1", "nonce": "n", "c_hash": "c", "s_hash": "s", "sid": "sid-1", "amr": ["pwd"],
        "typ": "ID", "sub": sub, "name": name,
    });
    key.sign_as(&json!({ "alg": "ES256", "kid": key.kid() }), &with(claims, changes))
}

#[tokio::test]
async fn upstreams_are_told_who_calls_by_the_id_token_where_that_is_asked_for() {
    let scene = Scene::of(session_client(IdentityFrom::IdToken), issuer(Duration::from_secs(5)));
    let cookie = scene.session_with(300, Some(&person("alice@corp", "Alice"))).await;
    let served = scene.ask(&cookie).await.unwrap();
    assert_eq!(subject_told(&served), Some("alice@corp"));
    assert_eq!(served.caller.token().subject(), Some("alice"), "requirements look at the access token");
    // An exchange that brings none keeps it, on every replica.
    scene.pass(295);
    scene.next_token("token-1");
    let second = scene.good(&cookie).await.unwrap();
    for replica in [&scene, &scene.replica()] {
        assert_eq!(subject_told(&replica.ask(&second).await.unwrap()), Some("alice@corp"));
        assert_eq!(subject_told(&replica.ask(&cookie).await.unwrap()), Some("alice@corp"));
    }
    // One that brings another replaces it.
    scene.pass(295);
    scene.next_tokens(json!({ "jti": "token-2" }), Some(&refreshed("alice@corp", "Alice B.")));
    let third = scene.good(&second).await.unwrap();
    let held = scene.ask(&third).await.unwrap().held;
    assert_eq!(held.id_claims.as_ref().unwrap()["name"], "Alice B.");
    // One of somebody else ends the session.
    scene.pass(295);
    scene.next_tokens(json!({ "jti": "token-3" }), Some(&refreshed("mallory@corp", "Mallory")));
    let served = scene.ask(&third).await.unwrap();
    assert_eq!((subject_told(&served), served.found.token().id()), (Some("alice@corp"), Some("token-2")));
    scene.pass(60);
    scene.is_over(&third, SessionEnd::Revoked).await;
}

/// What the one before said stays, and so does the session: also where upstreams are told by it only later.
#[tokio::test]
async fn an_id_token_of_a_refresh_that_is_not_believed_tells_nobody_anything() {
    let forged = by(&new_p256("p256"), "alice@corp", "Mallory", json!({}));
    let over = by(&keys().p256, "alice@corp", "Mallory", json!({ "exp": 1_600_000_300 }));
    let of_another = by(&keys().p256, "alice@corp", "Mallory", json!({ "at_hash": "a" }));
    let unsigned = id_token(&json!({ "iss": AS, "aud": "web-app", "sub": "alice@corp", "name": "Mallory" }));
    for identity in [IdentityFrom::IdToken, IdentityFrom::AccessToken] {
        for bad in [&forged, &over, &of_another, &unsigned] {
            let mut scene = Scene::of(session_client(identity), issuer(Duration::from_secs(5)));
            let cookie = scene.session_with(300, Some(&person("alice@corp", "Alice"))).await;
            scene.pass(295);
            scene.next_tokens(json!({ "jti": "token-1" }), Some(bad));
            let lines = Lines::listen();
            let next = scene.good(&cookie).await.unwrap();
            let text = lines.text();
            assert_eq!(text.matches("is not believed").count(), 1, "{text}");
            assert!(!text.contains("event=\"security\""), "{text}");
            scene.reload(session_client(IdentityFrom::IdToken));
            for replica in [&scene, &scene.replica()] {
                let served = replica.ask(&next).await.unwrap();
                assert_eq!(served.held.id_claims.as_ref().unwrap()["name"], "Alice");
                assert_eq!(served.found.token().id(), Some("token-1"));
            }
        }
    }
    // The same again is none of that, though it has ended and is of the access token before.
    let scene = Scene::of(session_client(IdentityFrom::IdToken), issuer(Duration::from_secs(5)));
    let ended = by(&keys().p256, "alice@corp", "Alice", json!({ "exp": 1_600_000_300, "at_hash": "a" }));
    let cookie = scene.session_with(300, Some(&ended)).await;
    scene.pass(295);
    scene.next_tokens(json!({ "jti": "token-1" }), Some(&ended));
    let lines = Lines::listen();
    assert!(scene.good(&cookie).await.is_some());
    assert!(!lines.text().contains("is not believed"), "{}", lines.text());
    // Nor does one count whose key was taken back.
    let scene = Scene::of(session_client(IdentityFrom::IdToken), issuer(Duration::from_secs(5)));
    let key = new_p256("leaked");
    *scene.server.jwks.lock().unwrap() = json!({ "keys": [keys().p256.jwk(), key.jwk()] });
    scene.revoke(json!({ "kind": "kid", "value": "leaked" })).await.unwrap();
    let cookie = scene.session_with(300, Some(&person("alice@corp", "Alice"))).await;
    scene.pass(295);
    let leaked = by(&key, "alice@corp", "Mallory", json!({}));
    scene.next_tokens(json!({ "jti": "token-1" }), Some(&leaked));
    let lines = Lines::listen();
    let next = scene.good(&cookie).await.unwrap();
    assert!(lines.text().contains("was revoked here"), "{}", lines.text());
    let held = scene.ask(&next).await.unwrap().held;
    assert_eq!(held.id_claims.as_ref().unwrap()["name"], "Alice");
}

#[tokio::test]
async fn what_upstreams_are_told_by_follows_a_reload_also_where_a_session_is_in_memory() {
    let mut scene = Scene::in_session();
    let cookie = scene.session_with(300, Some(&person("alice@corp", "Alice"))).await;
    assert_eq!(subject_told(&scene.ask(&cookie).await.unwrap()), Some("alice"));
    for (identity, told) in [(IdentityFrom::IdToken, "alice@corp"), (IdentityFrom::AccessToken, "alice")] {
        scene.reload(session_client(identity));
        for _ in 0..2 {
            assert_eq!(subject_told(&scene.ask(&cookie).await.unwrap()), Some(told));
        }
    }
}

#[tokio::test]
async fn who_is_told_of_a_session_by_assertion_hears_which_it_is_also_after_a_reload() {
    let mut scene = Scene::in_session();
    let cookie = scene.session(300).await;
    let served = scene.ask(&cookie).await.unwrap();
    assert_eq!(served.caller.session_told(), None, "no header has a name for it");
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let keys = vec![SigningKey::from_pem(pem.as_bytes()).unwrap()];
    let assertions = Assertions::new(OWN.to_owned(), keys).unwrap();
    scene.reload_with(session_client(IdentityFrom::AccessToken), Some(Arc::new(assertions)));
    let [first, second] = [scene.ask(&cookie).await.unwrap(), scene.ask(&cookie).await.unwrap()];
    assert_eq!((first.caller.session_told(), subject_told(&first)), (Some("sid-1"), Some("alice")));
    assert!(Arc::ptr_eq(&first.caller, &second.caller), "made once, so its assertion serves again");
    scene.reload(session_client(IdentityFrom::AccessToken));
    assert_eq!(scene.ask(&cookie).await.unwrap().caller.session_told(), None);
}

#[tokio::test]
async fn without_the_id_token_that_is_asked_for_nobody_is_told_of_at_all() {
    let scene = Scene::of(session_client(IdentityFrom::IdToken), issuer(Duration::from_secs(5)));
    let cookie = scene.session_with(300, None).await;
    assert_eq!(scene.denied(&cookie).await, (Denial::NotSignedIn { ended: None }, None));
}

/// Nobody mends it but a sign-in: so it is asked for, and neither is the session thrown away nor the log
/// filled.
#[tokio::test]
async fn whose_id_token_is_gone_is_asked_to_sign_in_and_keeps_the_session() {
    let scene = Scene::of(session_client(IdentityFrom::IdToken), issuer(Duration::from_secs(5)));
    let cookie = scene.session_with(300, Some(&person("alice@corp", "Alice"))).await;
    // Redis came back without it.
    tokens::forget(&scene.gate, &scene.grant_in(&cookie), Duration::from_secs(1)).await;
    scene.pass(295);
    scene.next_token("token-1");
    let lines = Lines::listen();
    let (denial, next) = scene.denied(&cookie).await;
    assert_eq!(denial, Denial::NotSignedIn { ended: None });
    let next = cookie_in(&next.expect("the cookie of the exchange"));
    for cookie in [&next, &next, &cookie] {
        let not = scene.ask(cookie).await.unwrap_err();
        assert_eq!(not.denial, Denial::NotSignedIn { ended: None });
        assert!(not.side.ride.is_none_or(|ride| ride.generation == Some(1)), "nothing is cleared");
        let login = format!("{OWN}/oauth/login?client_id=web-app&return_to=%2Fapp");
        assert_eq!(where_to(&not.denial, &page_load()), Some(WayIn::SignIn(login)));
    }
    assert_eq!(scene.asked(), 1);
    assert_eq!(lines.text().matches("has no ID token").count(), 1, "{}", lines.text());
    // Once an exchange brings one all is well.
    scene.pass(300);
    scene.next_tokens(json!({ "jti": "token-2" }), Some(&refreshed("alice@corp", "Alice")));
    let served = scene.ask(&next).await;
    assert_eq!(subject_told(&served.unwrap()), Some("alice@corp"));
    scene.revoked(&[]).await;
}

#[tokio::test]
async fn who_signed_in_before_upstreams_were_told_by_id_tokens_is_asked_to_sign_in() {
    let mut scene = Scene::in_session();
    let cookie = scene.session_with(300, None).await;
    assert!(scene.ask(&cookie).await.is_ok());
    scene.reload(session_client(IdentityFrom::IdToken));
    let lines = Lines::listen();
    for _ in 0..3 {
        assert_eq!(scene.denied(&cookie).await, (Denial::NotSignedIn { ended: None }, None));
    }
    assert_eq!(lines.text().matches("has no ID token").count(), 1, "{}", lines.text());
    // The store is not asked at each request either.
    scene.store.set_away(true);
    assert_eq!(scene.denied(&cookie).await, (Denial::NotSignedIn { ended: None }, None));
    scene.store.set_away(false);
    // And it is forgotten with what asked for it.
    scene.reload(session_client(IdentityFrom::AccessToken));
    assert!(scene.ask(&cookie).await.is_ok());
}

/// As where the store's memory stands in for it (`on_outage: serve`).
#[tokio::test]
async fn an_id_token_that_the_store_has_lost_is_kept_by_an_exchange_where_it_is_in_memory() {
    let scene = Scene::of(session_client(IdentityFrom::IdToken), issuer(Duration::from_secs(5)));
    let cookie = scene.session_with(300, Some(&person("alice@corp", "Alice"))).await;
    assert!(scene.ask(&cookie).await.is_ok());
    tokens::forget(&scene.gate, &scene.grant_in(&cookie), Duration::from_secs(1)).await;
    scene.pass(295);
    scene.next_token("token-1");
    let next = scene.ask(&cookie).await.unwrap().ride.unwrap();
    for replica in [&scene, &scene.replica()] {
        let served = replica.ask(&cookie_in(&next.set_cookie)).await.unwrap();
        assert_eq!((subject_told(&served), served.found.token().id()), (Some("alice@corp"), Some("token-1")));
    }
    // It is still compared with.
    scene.pass(295);
    scene.next_tokens(json!({ "jti": "token-2" }), Some(&refreshed("mallory@corp", "Mallory")));
    let served = scene.ask(&cookie_in(&next.set_cookie)).await.unwrap();
    assert_eq!((subject_told(&served), served.found.token().id()), (Some("alice@corp"), Some("token-1")));
}

#[tokio::test]
async fn a_page_is_told_who_is_signed_in_and_until_when_and_gets_no_token() {
    for identity in [IdentityFrom::AccessToken, IdentityFrom::IdToken] {
        let scene = Scene::of(session_client(identity), issuer(Duration::from_secs(5)));
        let cookie = scene.session_with(300, Some(&person("alice@corp", "Alice"))).await;
        scene.pass(100);
        let asked = async |headers: &HeaderMap, query| {
            who(&scene.gate, &scene.live, &head(&Method::GET, headers), query).await
        };
        let said = asked(&asks(&cookie), Some("client_id=web-app")).await.unwrap();
        let body: Value = serde_json::from_slice(&said.body).unwrap();
        let mut expected =
            json!({ "client_id": "web-app", "sub": "alice", "expires_in": 200, "session_expires_in": 3500 });
        if identity == IdentityFrom::IdToken {
            expected["sub"] = "alice@corp".into();
            expected["claims"] = json!({ "name": "Alice" });
        }
        assert_eq!(body, expected);
        let denied = async |headers: &HeaderMap, query| asked(headers, query).await.unwrap_err().denial;
        let known = Some("client_id=web-app");
        assert_eq!(denied(&headers(Some(&cookie)), known).await, Denial::CrossSiteRequest);
        assert_eq!(denied(&HeaderMap::new(), known).await, Denial::CrossSiteRequest);
        assert_eq!(denied(&asks("none"), known).await, Denial::NotSignedIn { ended: None });
        assert_eq!(denied(&asks(&cookie), Some("client_id=x")).await, Denial::UnknownClient);
        assert!(matches!(denied(&asks(&cookie), None).await, Denial::InvalidRequest(_)));
        scene.pass(3500);
        assert_eq!(denied(&asks(&cookie), known).await, ended(SessionEnd::IdleTimeout), "to ask is no use");
    }
    let scene = Scene::new();
    let asked =
        who(&scene.gate, &scene.live, &head(&Method::GET, &asks("x")), Some("client_id=web-app")).await;
    assert!(matches!(asked.unwrap_err().denial, Denial::InvalidRequest(_)));
}
