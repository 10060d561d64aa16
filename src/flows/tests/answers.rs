//! What becomes of each answer of an authorization server: outages, refusals, tokens of somebody else,
//! tokens that are of no use.

use super::*;
use crate::core::server_error::ServerError;
use crate::core::token::testing::new_p256;

#[tokio::test]
async fn no_outage_of_the_server_costs_the_session() {
    let html = || "<html>oops</html>".to_owned();
    let outages = [
        Instead::Fault(HttpFault::Dns),
        Instead::Fault(HttpFault::Connect),
        Instead::Fault(HttpFault::Tls),
        Instead::Fault(HttpFault::Certificate),
        Instead::Fault(HttpFault::Proxy),
        Instead::Fault(HttpFault::Deadline),
        Instead::Fault(HttpFault::Broken),
        Instead::Fault(HttpFault::TooLarge),
        Instead::Answer(500, "application/json", json!({ "error": "invalid_grant" }).to_string()),
        Instead::Answer(502, "text/html", html()),
        Instead::Answer(200, "text/html", html()),
        Instead::Answer(200, "application/json", r#"{"access_token":"a","token_type":"Bea"#.to_owned()),
        Instead::Answer(400, "application/json", json!({ "error": "invalid_client" }).to_string()),
        Instead::Answer(401, "application/json", json!({ "error": "invalid_client" }).to_string()),
        Instead::Answer(302, "text/plain", String::new()),
        Instead::Answer(429, "application/json", json!({ "error": "invalid_grant" }).to_string()),
    ];
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    for outage in &outages {
        scene.next(outage.clone());
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable, "{outage:?}");
        assert!(refusal.set_cookie.is_none(), "{outage:?}");
        assert_eq!(refusal.denial.facts().status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refusal.denial.retry_after().is_some());
    }
    scene.counted("exchanges_total", "outcome=\"as_unavailable\"", outages.len());
    // Nothing of it is remembered, and the POST was sent once each time.
    assert_eq!(scene.asked(), 1 + outages.len());
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test]
async fn a_refusal_without_a_word_wants_the_person_and_costs_no_session() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.next(Instead::Answer(400, "text/plain", String::new()));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    let expected = Denial::FromAuthorizationServer(Box::new(ServerError::wordless()));
    assert_eq!((refusal.denial, refusal.set_cookie), (expected, None));
    assert!(ServerError::wordless().wants_the_person());
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test]
async fn whoever_asks_is_told_when_the_server_wants_to_be_asked_again() {
    let busy = Denial::AuthorizationServerBusy { retry_after: Duration::from_secs(30) };
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    for cookie in [Some(&*cookie), None] {
        scene.next(Instead::Later(30));
        let refresh = "grant_type=refresh_token&client_id=web-app".to_owned();
        let body = if cookie.is_some() { refresh } else { code_exchange() };
        let refusal = scene.post(cookie, &body).await.unwrap_err();
        assert_eq!((refusal.denial, refusal.set_cookie), (busy.clone(), None));
    }
    scene.counted("exchanges_total", "outcome=\"as_unavailable\"", 1);
    assert_eq!(
        scene.refresh(&cookie).await.unwrap().outcome.label(),
        "rotated",
        "nothing of it is remembered"
    );
}

#[tokio::test]
async fn the_servers_own_end_of_the_session_clears_the_cookie() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.next(Instead::Answer(400, "application/json", json!({ "error": "invalid_grant" }).to_string()));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::InvalidGrant));
    assert!(clears(refusal.set_cookie.as_ref()));
    scene.counted("exchanges_total", "outcome=\"invalid_grant\"", 1);
}

#[tokio::test]
async fn other_errors_of_the_server_go_to_the_page_and_keep_the_cookie() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let error = json!({ "error": "invalid_target", "error_description": "no \"such\" thing\r\n" });
    scene.next(Instead::Answer(400, "application/json", error.to_string()));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    let expected = Denial::FromAuthorizationServer(Box::new(ServerError {
        error: "invalid_target".into(),
        description: Some("no such thing".into()),
        uri: None,
        dpop_nonce: None,
    }));
    assert_eq!(refusal.denial, expected);
    assert!(refusal.set_cookie.is_none());
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test]
async fn a_server_that_repeats_the_refresh_token_in_its_error_does_not_show_it_to_the_page() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let repeats = "Invalid refresh token (expired): refresh-token-0";
    for (error, status) in [("invalid_token", 400), ("refresh-token-0", 503)] {
        let said = json!({ "error": error, "error_description": repeats }).to_string();
        scene.next(Instead::Answer(401, "application/json", said));
        let denial = scene.refresh(&cookie).await.unwrap_err().denial;
        assert_eq!(denial.facts().status, status);
        assert!(!format!("{denial:?}").contains("refresh-token-0"), "{denial:?}");
    }
    assert!(scene.refresh(&cookie).await.is_ok(), "the session is kept");
}

#[tokio::test]
async fn tokens_of_somebody_else_are_never_handed_out() {
    for (id_token, why) in [
        (id_token_of("mallory"), "other subject"),
        (
            id_token(
                &json!({"iss": "https://other", "aud": "web-app", "exp": 1_800_000_000, "sub": "alice"}),
            ),
            "other issuer",
        ),
        (id_token(&json!({"iss": AS, "aud": "other", "exp": 1_800_000_000, "sub": "alice"})), "other client"),
    ] {
        let scene = Scene::new();
        scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
        let cookie = scene.signed_in_cookie().await;
        scene.next(Instead::With(json!({ "id_token": id_token })));
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AnswerMismatch, "{why}");
        assert!(refusal.set_cookie.is_none());
        scene.revoked(&["refresh-token-1"]).await;
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{why}");
    }
}

/// Some servers give the ID token of the sign-in again with each refresh.
#[tokio::test]
async fn an_id_token_that_has_expired_is_refused_at_sign_in_and_ends_no_session() {
    let expired = |sub| {
        let claims = json!({ "iss": AS, "aud": "web-app", "exp": 1_600_000_000, "sub": sub });
        Instead::With(json!({ "id_token": id_token(&claims) }))
    };
    let scene = Scene::new();
    scene.next(expired("alice"));
    assert_eq!(scene.post(None, &code_exchange()).await.unwrap_err().denial, Denial::AnswerMismatch);
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let cookie = scene.signed_in_cookie().await;
    scene.next(expired("alice"));
    let answer = scene.refresh(&cookie).await.unwrap();
    assert_eq!(answer.outcome.label(), "rotated");
    scene.next(expired("mallory"));
    let refusal = scene.refresh(&cookie_of(&answer)).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch, "whose it is counts all the same");
}

#[tokio::test]
async fn an_access_token_that_the_gateway_would_refuse_is_a_fault_of_set_up() {
    let scene = Scene::strict();
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
    assert!(refusal.set_cookie.is_none());
    scene.revoked(&["refresh-token-0"]).await;
    scene.counted("sign_ins_total", "result=\"failed\"", 1);
}

#[tokio::test]
async fn an_opaque_access_token_is_judged_by_what_its_issuer_says_of_it() {
    let scene = Scene::of(Client { accept_any_access_token: false, ..client() }, introspecting_issuer());
    let says = |changes: Value| {
        let good =
            json!({ "active": true, "token_type": "Bearer", "iss": null, "aud": AUDIENCE, "sid": "sid-1" });
        let said = with(with(claims_at(scene.clock.now()), good), changes);
        *scene.server.introspection.lock().unwrap() = Some(said);
    };
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable, "it cannot be asked");
    scene.pass(1);
    says(json!({}));
    let answer = scene.sign_in().await;
    assert_eq!(answer.subject.as_deref(), Some("alice"));
    scene.pass(1);
    *scene.server.introspection.lock().unwrap() = None;
    let answer = scene.refresh(&cookie_of(&answer)).await.unwrap();
    assert_eq!(answer.outcome.label(), "rotated", "an outage of the introspection costs no session");
    scene.pass(1);
    says(json!({ "client_id": "another" }));
    let refusal = scene.refresh(&cookie_of(&answer)).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
}

#[tokio::test]
async fn an_access_token_gone_bad_keeps_the_session_with_its_next_cookie() {
    let lenient = Scene::new();
    let cookie = lenient.signed_in_cookie().await;
    let strict = Scene::strict();
    let (gate, live) = (&lenient.gate, &strict.live);
    let headers = headers(Some(&cookie));
    let body = b"grant_type=refresh_token&client_id=web-app";
    let refusal = token(gate, live, &head(&Method::POST, &headers), body).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
    let next = refusal.set_cookie.unwrap();
    let next = next.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
    assert_eq!(lenient.refresh(&next).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test]
async fn a_verified_access_token_says_who_signed_in_and_what_was_granted() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let answer = scene.sign_in().await;
    assert_eq!(answer.subject.as_deref(), Some("alice"));
    let cookie = cookie_of(&answer);
    let wide = "grant_type=refresh_token&client_id=web-app&scope=api:read+openid";
    assert_eq!(scene.post(Some(&cookie), wide).await.unwrap_err().denial, Denial::InvalidScope);
    scene.next(access_token(&scene, json!({ "jti": "t-2" })));
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test]
async fn a_verified_access_token_of_somebody_else_is_never_handed_out() {
    for changes in [json!({ "sub": "mallory" }), json!({ "client_id": "other" })] {
        let scene = Scene::strict();
        scene.next(access_token(&scene, json!({})));
        let cookie = cookie_of(&scene.sign_in().await);
        scene.next(access_token(&scene, changes));
        assert_eq!(scene.refresh(&cookie).await.unwrap_err().denial, Denial::AnswerMismatch);
        scene.revoked(&["refresh-token-1"]).await;
    }
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({ "client_id": "other" })));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
    scene.revoked(&["refresh-token-0"]).await;
}

/// The token endpoint says it once: what is signed with a key that was published just now is not thrown away
/// for that.
#[tokio::test]
async fn an_access_token_whose_key_was_published_just_now_is_handed_out() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({ "sub": "alice" })));
    let cookie = scene.signed_in_cookie().await;
    let key = new_p256("new");
    *scene.server.jwks.lock().unwrap() = json!({ "keys": [keys().p256.jwk(), key.jwk()] });
    scene.pass(5);
    let signed = |claims| {
        let token = key.sign(&with(claims_at(scene.clock.now()), claims));
        Instead::With(json!({ "access_token": token, "scope": null }))
    };
    scene.next(signed(json!({ "sub": "alice", "jti": "t-1" })));
    let answer = scene.refresh(&cookie).await.unwrap();
    // Whose it is, is compared all the same.
    scene.next(signed(json!({ "sub": "mallory", "jti": "t-2" })));
    let refusal = scene.refresh(&cookie_of(&answer)).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
    // Once the keys may be asked for again, one that they do not have is refused.
    scene.pass(6);
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(scene.takes(&token).await, Ok(()));
    let other = new_p256("other");
    scene.pass(20);
    let token = other.sign(&with(claims_at(scene.clock.now()), json!({})));
    scene.next(Instead::With(json!({ "access_token": token, "scope": null })));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
}

/// Authlib's generator of RFC 9068 writes no `kid` at all (RFC 7515 section 4.1.4 lets it).
#[tokio::test]
async fn an_access_token_that_names_no_key_waits_for_the_next_keys_like_one_that_does() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({ "sub": "alice" })));
    let cookie = scene.signed_in_cookie().await;
    let key = new_p256("new");
    *scene.server.jwks.lock().unwrap() = json!({ "keys": [key.jwk()] });
    let nameless = |claims| {
        let claims = with(claims_at(scene.clock.now()), with(json!({ "sub": "alice" }), claims));
        key.sign_as(&json!({ "alg": "ES256", "typ": "at+jwt" }), &claims)
    };
    let answered = |token: &str| Instead::With(json!({ "access_token": token, "scope": null }));
    scene.pass(5);
    scene.next(answered(&nameless(json!({ "jti": "t-1" }))));
    let answer = scene.refresh(&cookie).await.unwrap();
    scene.pass(6);
    let token = nameless(json!({ "jti": "t-2" }));
    scene.next(answered(&token));
    assert_eq!(scene.refresh(&cookie_of(&answer)).await.unwrap().outcome.label(), "rotated");
    assert_eq!(scene.takes(&token).await, Ok(()));
}

/// Also where nobody can say whether the token was taken back: whose it is was verified.
#[tokio::test]
async fn whose_a_token_is_counts_also_when_the_list_grew_old_while_the_server_was_asked() {
    for (claims, denial) in [
        (json!({ "sub": "mallory" }), Some(Denial::AnswerMismatch)),
        (json!({ "client_id": "other" }), Some(Denial::AnswerMismatch)),
        (json!({}), None),
    ] {
        let scene = Scene::strict();
        scene.next(access_token(&scene, json!({ "sub": "alice" })));
        let cookie = scene.signed_in_cookie().await;
        let arrived = scene.asked() + 1;
        scene.server.answers.forget_permits(PLENTY);
        scene.next(access_token(&scene, with(json!({ "sub": "alice", "jti": "t-1" }), claims)));
        let meanwhile = async {
            scene.arrived(arrived).await;
            scene.gate.revocations.nobody_follows();
            scene.server.answers.add_permits(PLENTY);
        };
        let (answered, ()) = tokio::join!(scene.refresh(&cookie), meanwhile);
        assert_eq!(answered.err().map(|refusal| refusal.denial), denial);
    }
}

#[tokio::test]
async fn keys_that_cannot_be_had_do_not_cost_the_session() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let cookie = cookie_of(&scene.sign_in().await);
    // A gateway that never had the keys.
    let keyless = Scene::strict();
    *keyless.server.jwks.lock().unwrap() = json!("no keys");
    "refresh-token-0".clone_into(&mut keyless.server.current.lock().unwrap());
    keyless.next(access_token(&scene, json!({ "jti": "t-2" })));
    let answer = keyless.refresh(&cookie).await.unwrap();
    keyless.pass(60);
    keyless.next(access_token(&keyless, json!({ "sub": "mallory" })));
    let refusal = keyless.refresh(&cookie_of(&answer)).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
    keyless.next(access_token(&keyless, json!({ "client_id": "other" })));
    let refusal = keyless.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AnswerMismatch);
    keyless.next(access_token(&keyless, json!({})));
    let refusal = keyless.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable);
}
