//! Sign-ins that make no session.

use super::*;
use crate::core::token::testing::new_p256;

#[tokio::test]
async fn who_comes_back_late_again_or_with_a_foreign_state_may_start_again() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let query = "client_id=web-app&return_to=/app&acr_values=gold&max_age=60";
    let asked = scene.login(&mut browser, query).await.unwrap();
    let again = |refusal: &SignInRefusal| refusal.again.clone().unwrap();
    let from_start = login_path("web-app", None, &StepUp::default());

    let elsewhere = scene.back(&mut Browser::default(), &asked, "cross-site").await.unwrap_err();
    assert_eq!(
        (elsewhere.denial.clone(), again(&elsewhere)),
        (Denial::SignInNotUnderWay, from_start.clone())
    );
    for state in ["x", "x.web", "x.other", ""] {
        let refused = scene.arrive(&browser.goes("cross-site"), &format!("code=code-1&state={state}")).await;
        let refusal = refused.unwrap_err();
        assert_eq!((refusal.denial.facts().status.as_u16(), again(&refusal)), (400, from_start.clone()));
        assert!(refusal.set_cookies.is_empty());
    }
    let renamed = asked.state().replace(".web", ".other");
    let refused = scene.arrive(&browser.goes("cross-site"), &format!("code=code-1&state={renamed}")).await;
    assert_eq!(refused.unwrap_err().denial, Denial::SignInNotUnderWay);

    scene.pass(600);
    let mut late = browser.clone();
    let refusal = scene.back(&mut late, &asked, "cross-site").await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SignInNotUnderWay);
    assert_eq!(
        again(&refusal),
        login_path("web-app", Some("/app"), &StepUp::read(Some("gold"), Some("60")).unwrap())
    );
    assert_eq!((late.transactions(), scene.asked()), (0, 0));

    scene.server.next.lock().unwrap().clear();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    let mut copied = browser.clone();
    scene.back(&mut browser, &asked, "cross-site").await.unwrap();
    for again in [&mut browser, &mut copied] {
        let refusal = scene.back(again, &asked, "cross-site").await.unwrap_err();
        assert_eq!((refusal.denial, scene.asked()), (Denial::SignInNotUnderWay, 1));
    }
    assert!(scene.refresh(&browser.cookies[COOKIE_NAME]).await.is_ok());
}

#[tokio::test]
async fn an_id_token_of_another_sign_in_or_none_makes_no_session() {
    for (what, spoil) in [
        ("another nonce", json!({ "nonce": "other" })),
        ("no nonce", json!({ "nonce": null })),
        ("another client", json!({ "aud": "other" })),
        ("another issuer", json!({ "iss": "https://evil.example" })),
        ("over", json!({ "exp": 1 })),
        ("nobody's signature", json!(false)),
        ("none", Value::Null),
    ] {
        let scene = Scene::with(by_gateway(), Duration::from_secs(5));
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
        let id_token = match spoil {
            Value::Null => Value::Null,
            // Signed by nobody.
            Value::Bool(_) => {
                asked.id_token(&json!({})).rsplit_once('.').unwrap().0.to_owned().add(".AAAA").into()
            }
            spoil => asked.id_token(&spoil).into(),
        };
        scene.next(Instead::With(json!({ "id_token": id_token })));
        let refused = scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await;
        let refusal = refused.unwrap_err();
        assert_eq!(refusal.denial, Denial::AnswerMismatch, "{what}");
        browser.takes(&refusal.set_cookies);
        assert!(browser.cookies.is_empty(), "{what}: {:?}", browser.cookies);
        scene.revoked(&["refresh-token-0"]).await;
        scene.counted("sign_ins_total", "result=\"failed\"", 1);
    }
    let scene =
        Scene::with(Client { scope: Some("api:read".into()), ..by_gateway() }, Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    assert!(
        scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await.is_ok(),
        "none was asked for"
    );
}

/// Canaille signs with RS512, and names nobody in `aud`, until its client is told otherwise.
#[tokio::test]
async fn what_is_wrong_with_an_id_token_is_told_with_what_to_change() {
    for (changes, told) in [
        (json!(false), "issuers.demo.algorithms (ES256)"),
        (json!({ "aud": ["other"] }), r#"aud="[\"other\"]" client_id="web-app""#),
    ] {
        let scene = Scene::with(by_gateway(), Duration::from_secs(5));
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
        let id_token = if changes.is_boolean() {
            let claims = json!({
                "iss": AS, "aud": "web-app", "iat": 1_700_000_000, "exp": 1_800_000_000, "sub": "alice",
                "nonce": asked.0["nonce"],
            });
            keys().p384.sign_as(&json!({ "alg": "ES384", "kid": keys().p384.kid() }), &claims)
        } else {
            asked.id_token(&changes)
        };
        scene.next(Instead::With(json!({ "id_token": id_token })));
        let lines = Lines::listen();
        let refused = scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await;
        assert_eq!(refused.unwrap_err().denial, Denial::AnswerMismatch);
        let text = lines.text();
        assert!(text.contains("event=\"security\"") && text.contains(told), "{text}");
    }
}

#[tokio::test]
async fn an_answer_of_another_server_or_of_none_is_not_used() {
    for (promises, iss, good) in [
        (true, Some(AS), true),
        (false, Some(AS), true),
        (false, None, true),
        (true, None, false),
        (false, Some("https://evil.example"), false),
    ] {
        let scene = Scene::with(by_gateway(), Duration::from_secs(5));
        let named = json!({ "authorization_response_iss_parameter_supported": promises });
        *scene.server.metadata.lock().unwrap() = named;
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
        let iss = iss.map(|iss| format!("&iss={iss}")).unwrap_or_default();
        scene.next(Instead::With(json!({ "id_token": asked.id_token(&json!({})) })));
        let arrived =
            scene.arrive(&browser.goes("cross-site"), &format!("{}{iss}", asked.answered("code-1"))).await;
        assert_eq!(arrived.is_ok(), good, "{promises} {iss}");
        if let Err(refusal) = arrived {
            assert_eq!((refusal.denial, scene.asked()), (Denial::AnswerMismatch, 0));
        }
    }
}

/// Glewlwyd sends the assertion of a pushed request on to the browser.
#[tokio::test]
async fn why_an_answer_that_came_back_is_none_is_told_to_operators_alone() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let lines = Lines::listen();
    let query = "code=code-1&state=s.web&client_assertion=e30.hidden.AAAA";
    let refusal = scene.arrive(&Browser::default().goes("cross-site"), query).await.unwrap_err();
    assert!(matches!(refusal.denial, Denial::InvalidRequest(_)), "{:?}", refusal.denial);
    let text = lines.text();
    assert!(text.contains("answer has a credential") && !text.contains("hidden"), "{text}");
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn what_the_server_says_instead_of_a_code_ends_the_sign_in_and_touches_no_session() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    scene.back(&mut browser, &asked, "cross-site").await.unwrap();
    for (error, status, is_told) in [
        ("access_denied", 403, false),
        ("login_required", 403, false),
        ("temporarily_unavailable", 503, false),
        ("invalid_scope", 403, true),
    ] {
        let asked = scene.login(&mut browser, "client_id=web-app&return_to=/app").await.unwrap();
        let query = format!("error={error}&error_description=no+offline_access&state={}", asked.state());
        let lines = Lines::listen();
        let refusal = scene.arrive(&browser.goes("cross-site"), &query).await.unwrap_err();
        assert_eq!(refusal.denial.facts().status.as_u16(), status, "{error}");
        let told = r#"error="invalid_scope" error_description="no offline_access""#;
        assert_eq!(lines.text().contains(told), is_told, "{error}: {}", lines.text());
        assert_eq!(refusal.again.as_deref(), Some("/oauth/login?client_id=web-app&return_to=%2Fapp"));
        browser.takes(&refusal.set_cookies);
        assert_eq!(browser.transactions(), 0);
    }
    assert!(scene.refresh(&browser.cookies[COOKIE_NAME]).await.is_ok());
}

/// Keycloak's, of a page that is left of before its person signed in in another tab.
#[tokio::test]
async fn a_sign_in_that_expired_at_the_server_begins_anew_by_itself_unless_it_had_just_begun() {
    let expired = ("temporarily_unavailable", "authentication_expired");
    for (seconds, (error, description), denial) in [
        (10, expired, None),
        (9, expired, Some(Denial::SignInNotUnderWay)),
        (10, (expired.0, "overloaded"), Some(Denial::AuthorizationServerUnavailable)),
        (600, expired, Some(Denial::SignInNotUnderWay)),
    ] {
        let scene = Scene::with(by_gateway(), Duration::from_secs(5));
        let mut browser = Browser::default();
        let query = "client_id=web-app&return_to=/app&max_age=60";
        let asked = scene.login(&mut browser, query).await.unwrap();
        scene.pass(seconds);
        let said = format!("error={error}&error_description={description}&state={}", asked.state());
        match scene.arrive(&browser.goes("cross-site"), &said).await {
            Ok(Arrived::Anew { goes_to, set_cookies, .. }) => {
                assert_eq!((denial, seconds), (None, 10));
                browser.takes(&set_cookies);
                assert_eq!((browser.transactions(), scene.asked()), (0, 0));
                let query = goes_to.strip_prefix("/oauth/login?").unwrap();
                assert_eq!(query, "client_id=web-app&return_to=%2Fapp&max_age=60");
                let asked = scene.login(&mut browser, query).await.unwrap();
                let metrics = String::from_utf8(scene.gate.metrics.render().unwrap()).unwrap();
                assert!(!metrics.contains("tollgate_sign_ins_total{"), "{metrics}");
                assert_eq!((asked.0["max_age"].as_str(), browser.transactions()), ("60", 1));
            }
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => {
                assert_eq!(Some(refusal.denial), denial, "{seconds} {description}");
                assert!(
                    refusal.again.unwrap().starts_with("/oauth/login?client_id=web-app&return_to=%2Fapp")
                );
            }
        }
    }
}

#[tokio::test]
async fn a_code_that_is_refused_and_an_answer_without_a_refresh_token_make_no_session() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    let lines = Lines::listen();
    let refused = scene.arrive(&browser.goes("cross-site"), &asked.answered("spent")).await;
    assert_eq!(lines.count("error=\"invalid_grant\""), 1, "{}", lines.text());
    let refusal = refused.unwrap_err();
    assert!(
        matches!(&refusal.denial, Denial::FromAuthorizationServer(said) if said.error == "invalid_grant")
    );
    browser.takes(&refusal.set_cookies);
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    let without = json!({ "refresh_token": null, "id_token": asked.id_token(&json!({})) });
    scene.next(Instead::With(without));
    let refused = scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await;
    let refusal = refused.unwrap_err();
    assert_eq!(refusal.denial, Denial::NoRefreshToken);
    browser.takes(&refusal.set_cookies);
    assert!(browser.cookies.is_empty());
}

#[tokio::test]
async fn a_session_goes_on_whose_successor_a_sign_in_did_not_bring() {
    let scene = Scene::with(in_session_mode(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let claims = || json!({ "sub": "alice", "client_id": "web-app" });
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    scene.next(verified(&scene, &asked, claims()));
    let arrived = scene.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await.unwrap();
    let Arrived::SignedIn(signed_in) = arrived else { panic!("not signed in") };
    browser.takes(&signed_in.set_cookies);
    let before = browser.cookies[SESSION].clone();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    let Instead::With(mut without) = verified(&scene, &asked, claims()) else { unreachable!() };
    without["refresh_token"] = Value::Null;
    scene.next(Instead::With(without));
    let refused = scene.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await;
    let refusal = refused.unwrap_err();
    assert_eq!(refusal.denial, Denial::NoRefreshToken);
    browser.takes(&refusal.set_cookies);
    assert_eq!(browser.cookies.get(SESSION), Some(&before));
    assert_eq!(scene.ended(&before).await, None);
}

#[tokio::test]
async fn while_the_store_is_away_no_code_is_spent_and_the_same_sign_in_goes_on_later() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app&return_to=/app").await.unwrap();
    scene.store.set_away(true);
    let refused = scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await;
    let refusal = refused.unwrap_err();
    assert_eq!((refusal.denial, scene.asked()), (Denial::StoreUnavailable, 0));
    browser.takes(&refusal.set_cookies);
    scene.store.set_away(false);
    assert_eq!(scene.back(&mut browser, &asked, "cross-site").await.unwrap().goes_to, "/app");
}

/// Nobody can tell yet, and nobody is to be suspected.
#[tokio::test]
async fn an_id_token_whose_key_was_published_just_now_is_an_outage_of_a_moment() {
    for header in [json!({ "alg": "ES256", "kid": "new" }), json!({ "alg": "ES256" })] {
        let scene = Scene::with(by_gateway(), Duration::from_secs(5));
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
        scene.back(&mut browser, &asked, "cross-site").await.unwrap();
        let key = new_p256("new");
        *scene.server.jwks.lock().unwrap() = json!({ "keys": [keys().p256.jwk(), key.jwk()] });
        for (seconds, denial) in [(5, Some(Denial::AuthorizationServerUnavailable)), (6, None)] {
            scene.pass(seconds);
            let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
            let claims = json!({
                "iss": AS, "aud": "web-app", "iat": 1_700_000_000, "exp": 1_800_000_000, "sub": "alice",
                "nonce": asked.0["nonce"],
            });
            scene.next(Instead::With(json!({ "id_token": key.sign_as(&header, &claims) })));
            let lines = Lines::listen();
            let arrived = scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await;
            assert_eq!(arrived.err().map(|refusal| refusal.denial), denial, "{header}");
            assert!(!lines.text().contains("event=\"security\""), "{}", lines.text());
        }
    }
}

#[tokio::test]
async fn what_a_key_signs_that_was_taken_back_signs_nobody_in() {
    let kid = keys().p256.kid();
    for (wanted, signs) in [
        (json!({ "kind": "kid", "value": kid }), false),
        (json!({ "kind": "kid", "value": kid, "issuer": "*" }), false),
        (json!({ "kind": "kid", "value": "another" }), true),
    ] {
        // Its access token is opaque: of the two the ID token alone shows a key.
        let scene = Scene::with(by_gateway(), Duration::from_secs(5));
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
        scene.revoke(wanted.clone()).await.unwrap();
        let lines = Lines::listen();
        let back = scene.back(&mut browser, &asked, "cross-site").await;
        assert_eq!(back.err().map(|refusal| refusal.denial), (!signs).then_some(Denial::SignInRevoked));
        assert_eq!(browser.cookies.contains_key(COOKIE_NAME), signs, "{wanted}");
        assert_eq!(lines.text().contains("a key which was revoked here"), !signs, "{}", lines.text());
        scene.revoked(if signs { &[] } else { &["refresh-token-0"] }).await;
    }
}
