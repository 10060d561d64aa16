//! How a session begins and how it ends.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::config::settings::PrivateKey;
use crate::core::brake::Tally;
use crate::core::session::oauth::authentication::{Audience, KeyNames};
use crate::core::signing::write_pem;
use crate::flows::brake;

#[tokio::test]
async fn a_code_becomes_a_session_in_a_cookie() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let answer = scene.sign_in().await;
    assert_eq!((answer.status, answer.outcome.label()), (StatusCode::OK, "signed_in"));
    assert_eq!(answer.subject.as_deref(), Some("alice"));
    let body = body(&answer);
    assert_eq!((&body["access_token"], &body["token_type"]), (&"access-token-0".into(), &"Bearer".into()));
    assert_eq!((&body["expires_in"], &body["refresh_after"]), (&300.into(), &240.into()));
    assert_eq!(body["session_expires_in"], 3600);
    assert!(body["id_token"].is_string());
    let cookie = answer.set_cookie.unwrap();
    let cookie = cookie.to_str().unwrap();
    assert!(
        cookie.ends_with("; Path=/oauth/token; Max-Age=3600; Secure; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let (headers, form) = scene.server.token_requests.lock().unwrap()[0].clone();
    assert_eq!(headers["authorization"], "Basic d2ViLWFwcDpzM2NyZXQ=");
    assert_eq!(
        form,
        format!(
            "grant_type=authorization_code&code=code-1&code_verifier={}&redirect_uri=https%3A%2F%2Fgate.example%2Fcallback&resource=https%3A%2F%2Fapi.example",
            "v".repeat(43)
        )
    );
    scene.counted("sign_ins_total", "result=\"ok\"", 1);
}

#[tokio::test]
async fn without_a_refresh_token_there_is_an_access_token_and_no_cookie() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "refresh_token": null })));
    let answer = scene.sign_in().await;
    assert!(answer.set_cookie.is_none());
    let body = body(&answer);
    assert_eq!(body["access_token"], "access-token-0");
    assert!(body.get("refresh_after").is_none() && body.get("session_expires_in").is_none());
}

#[tokio::test]
async fn a_code_that_the_server_refuses_is_the_pages_business() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let body = code_exchange().replace("code=code-1", "code=spent");
    let refusal = scene.post(Some(&cookie), &body).await.unwrap_err();
    assert!(
        matches!(refusal.denial, Denial::FromAuthorizationServer(ref said) if said.error == "invalid_grant")
    );
    assert!(refusal.set_cookie.is_none());
}

#[tokio::test]
async fn a_sign_in_ends_the_session_whose_cookie_came_with_it() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("mallory") })));
    let planted = scene.signed_in_cookie().await;
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let answer = scene.post(Some(&planted), &code_exchange()).await.unwrap();
    let refusal = scene.refresh(&planted).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::SignedInAsAnother));
    scene.revoked(&["refresh-token-0"]).await;
    assert!(scene.refresh(&cookie_of(&answer)).await.is_ok());
}

/// One of each path that the cookie had (RFC 6265bis section 5.7).
#[tokio::test]
async fn a_sign_in_takes_the_place_of_every_session_of_the_cookies_name() {
    let scene = Scene::new();
    let (one, two) = (scene.signed_in_cookie().await, scene.signed_in_cookie().await);
    let both = format!("{one}; {COOKIE_NAME}={two}");
    let answer = scene.post(Some(&both), &code_exchange()).await.unwrap();
    let cleared: Vec<_> = answer.also_clears.iter().map(|said| said.to_str().unwrap().to_owned()).collect();
    assert!(
        cleared.iter().all(|said| said.contains("=; Path=/") && said.contains("; Max-Age=0;")),
        "{cleared:?}"
    );
    assert_eq!(cleared.len(), 3);
    for ended in [one, two] {
        let refusal = scene.refresh(&ended).await.unwrap_err();
        assert_eq!(refusal.denial.facts().label, "signed_in_again");
    }
    assert!(scene.refresh(&cookie_of(&answer)).await.is_ok());
}

#[tokio::test]
async fn a_second_sign_in_of_one_person_does_not_ask_the_server_to_end_their_grant() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let first = scene.signed_in_cookie().await;
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let answer = scene.post(Some(&first), &code_exchange()).await.unwrap();
    let refusal = scene.refresh(&first).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::SignedInAgain));
    // What is revoked later shows that nothing was before.
    scene.delete(&headers(Some(&cookie_of(&answer))), "client_id=web-app").await.unwrap();
    scene.revoked(&["refresh-token-1"]).await;
}

/// Two tabs: one signs in again while the other waits for an exchange of the session before.
#[tokio::test]
async fn a_sign_in_during_an_exchange_costs_the_new_session_neither_its_cookie_nor_its_grant() {
    for (who, revoked) in [("alice", vec![]), ("bob", vec!["late", "refresh-token-0"])] {
        let scene = Scene::new();
        scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
        let cookie = scene.signed_in_cookie().await;
        scene.server.answers.forget_permits(PLENTY);
        scene.next(Instead::With(json!({ "id_token": id_token_of(who) })));
        let late = json!({ "access_token": "a", "token_type": "Bearer", "refresh_token": "late" });
        scene.next(Instead::Answer(200, "application/json", late.to_string()));
        let code = code_exchange();
        let (signed_in, waited) = tokio::join!(
            async {
                let answer = scene.post(Some(&cookie), &code).await.unwrap();
                scene.server.answers.add_permits(PLENTY);
                answer
            },
            async {
                scene.arrived(2).await;
                tokio::join!(scene.refresh(&cookie), async {
                    scene.arrived(3).await;
                    scene.server.answers.add_permits(1);
                })
                .0
            }
        );
        let again = scene.refresh(&cookie).await;
        for refusal in [waited, again].map(Result::unwrap_err) {
            assert_eq!(refusal.denial.facts().label, "signed_in_again", "{who}");
            assert!(refusal.set_cookie.is_none(), "it would take the new cookie away");
        }
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(5)).await, 0);
        scene.revoked(&revoked).await;
        assert!(scene.refresh(&cookie_of(&signed_in)).await.is_ok());
    }
}

/// The person may be signed in already, and an authorization server may end all of one grant together.
#[tokio::test]
async fn tokens_that_nobody_got_because_of_an_outage_are_not_revoked() {
    let scene = Scene::with(client(), Duration::from_millis(20));
    scene.server.answers.forget_permits(PLENTY);
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable, "the browser waits no longer");
    scene.server.answers.add_permits(PLENTY);
    scene.revoked(&[]).await;
    let scene = Scene::new();
    scene.server.answers.forget_permits(PLENTY);
    let code = code_exchange();
    let (refused, ()) = tokio::join!(scene.post(None, &code), async {
        scene.arrived(1).await;
        scene.store.set_away(true);
        scene.server.answers.add_permits(PLENTY);
    });
    assert_eq!(refused.unwrap_err().denial, Denial::StoreUnavailable);
    scene.revoked(&[]).await;
}

#[tokio::test]
async fn a_refresh_token_too_large_for_a_cookie_is_said_so() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "refresh_token": "r".repeat(4000) })));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionTooLarge);
}

#[tokio::test]
async fn an_access_token_of_a_type_that_nobody_knows_makes_no_session() {
    let scene = Scene::strict();
    for token_type in ["mac", "PoP", "N_A"] {
        let Instead::With(mut members) = access_token(&scene, json!({})) else { unreachable!() };
        members["token_type"] = token_type.into();
        scene.next(Instead::With(members));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AccessTokenUnusable, "{token_type}");
        assert!(refusal.set_cookie.is_none(), "{token_type}");
    }
}

#[tokio::test]
async fn made_up_codes_cannot_pile_up_at_a_slow_server() {
    let scene = Scene::with(client(), Duration::from_millis(50));
    scene.server.answers.forget_permits(PLENTY);
    let at = client().issuer;
    let place = || scene.gate.exchanges.begin_code_exchange(&at);
    let places: Vec<_> = std::iter::from_fn(place).take(CODE_EXCHANGES - 1).collect();
    let one_more = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(one_more.denial, Denial::AuthorizationServerUnavailable, "nobody waits longer for the server");
    assert_eq!(scene.asked(), 0);
    drop(places);
    let places: Vec<_> = std::iter::from_fn(place).take(CODE_EXCHANGES).collect();
    assert_eq!(places.len(), CODE_EXCHANGES - 1, "the browser is gone, its exchange is still under way");
    let none_left = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(none_left.denial, Denial::AuthorizationServerUnavailable);
    drop(places);
    scene.server.answers.add_permits(PLENTY);
    assert!(scene.post(None, &code_exchange()).await.is_ok());
    assert_eq!(scene.asked(), 2, "the one that found no place never went");
}

#[tokio::test]
async fn an_address_that_was_denied_too_often_keeps_its_sessions() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let cookie = scene.signed_in_cookie().await;
    let (gate, live, address) = (&scene.gate, &scene.live, IpAddr::V4(Ipv4Addr::LOCALHOST));
    for _ in 0..20 {
        brake::note(gate, live, address, &Denial::BadSignature, Tally::Everybody);
    }
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert!(matches!(refusal.denial, Denial::TooManyDenials { .. }), "{:?}", refusal.denial);
    assert_eq!(scene.asked(), 1, "the authorization server is left alone");
    // A session goes on, and the token that it gets is known.
    scene.next(access_token(&scene, json!({ "jti": "t-2" })));
    let answer = scene.refresh(&cookie).await.unwrap();
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let brake = |token: &str| {
        brake::before_token(
            gate,
            live,
            gate.fingerprint_key.of(token),
            address,
            Tally::Everybody,
            gate.clock.now(),
        )
    };
    assert_eq!(brake(&token), Ok(()));
    assert!(matches!(brake("made.up.token"), Err(Denial::TooManyDenials { .. })));
    scene.pass(3);
    scene.next(access_token(&scene, json!({ "jti": "t-3" })));
    assert!(scene.post(None, &code_exchange()).await.is_ok(), "3 seconds are one denial's worth");
}

#[tokio::test]
async fn sign_out_ends_every_copy_of_the_cookie_and_can_be_repeated() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    for _ in 0..2 {
        let answer = scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        assert_eq!((answer.status, answer.outcome.label()), (StatusCode::NO_CONTENT, "signed_out"));
        assert!(answer.body.is_empty() && clears(answer.set_cookie.as_ref()));
    }
    scene.revoked(&["refresh-token-0"]).await;
    scene.pass(24 * 3600 - 1);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    assert_eq!(scene.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_revokes_nothing_is_asked_a_few_times_and_again_by_who_asks_again() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let revokes_nothing = |how| *scene.server.revokes_nothing.lock().unwrap() = how;
    let asked = async || {
        for _ in 0..3 {
            scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        }
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(3600)).await, 0);
        std::mem::take(&mut *scene.server.revoked.lock().unwrap()).len()
    };
    for how in [
        (503, "temporarily_unavailable"),
        (400, "invalid_client"),
        (401, "invalid_client"),
        (400, "invalid_request"),
    ] {
        revokes_nothing(Some(how));
        assert_eq!(asked().await, 5, "as often as for one who asks once: {how:?}");
    }
    revokes_nothing(None);
    assert_eq!(asked().await, 1);
    assert_eq!(asked().await, 0, "it was told");
}

/// RFC 8414 section 2: each endpoint has its own list. Who publishes none for this one takes the same at
/// both.
#[tokio::test]
async fn a_client_proves_itself_to_the_revocation_endpoint_by_a_method_of_that() {
    const METHODS: &str = "_endpoint_auth_methods_supported";
    let (basic, post) = ("client_secret_basic", "client_secret_post");
    for (token, revocation, by_basic) in
        [(post, Some(basic), true), (basic, Some(post), false), (post, None, false), (basic, None, true)]
    {
        let scene = Scene::new();
        let mut metadata = json!({ format!("token{METHODS}"): [token] });
        if let Some(revocation) = revocation {
            metadata[format!("revocation{METHODS}")] = json!([revocation]);
        }
        *scene.server.metadata.lock().unwrap() = metadata;
        let cookie = scene.signed_in_cookie().await;
        scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        scene.revoked(&["refresh-token-0"]).await;
        let asked = |requests: &Mutex<Vec<(HeaderMap, String)>>| {
            let (headers, form) = requests.lock().unwrap().last().unwrap().clone();
            (headers.contains_key("authorization"), form.contains("client_secret="))
        };
        assert_eq!(asked(&scene.server.token_requests), (token == basic, token == post));
        let found = asked(&scene.server.revocation_requests);
        assert_eq!(found, (by_basic, !by_basic), "{token}, {revocation:?}");
    }
}

#[tokio::test]
async fn an_assertion_is_for_the_endpoint_that_is_asked_where_that_is_configured() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    for (audience, at_token, at_revocation) in [
        (Audience::Issuer, String::from(AS), String::from(AS)),
        (Audience::TokenEndpoint, format!("{AS}/token"), format!("{AS}/token")),
        (Audience::Endpoint, format!("{AS}/token"), format!("{AS}/revoke")),
    ] {
        let key = PrivateKey {
            pem: Secret::new(write_pem(key.as_ref()).as_bytes().to_vec()),
            algorithm: Algorithm::Es256,
            names: KeyNames::default(),
            audience,
        };
        let scene = Scene::with(
            Client { credential: ClientCredential::PrivateKey(key), ..client() },
            Duration::from_secs(5),
        );
        let cookie = scene.signed_in_cookie().await;
        scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        scene.revoked(&["refresh-token-0"]).await;
        let aud = |requests: &Mutex<Vec<(HeaderMap, String)>>| {
            let (_, form) = requests.lock().unwrap().last().unwrap().clone();
            let mut form = form_urlencoded::parse(form.as_bytes());
            let (_, assertion) = form.find(|(name, _)| name == "client_assertion").unwrap();
            let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
            serde_json::from_slice::<Value>(&claims).unwrap()["aud"].clone()
        };
        let found = [aud(&scene.server.token_requests), aud(&scene.server.revocation_requests)];
        assert_eq!(found, [at_token, at_revocation], "{audience:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_revokes_such_tokens_is_asked_once() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    *scene.server.revokes_nothing.lock().unwrap() = Some((400, "unsupported_token_type"));
    for _ in 0..2 {
        scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(3600)).await, 0);
    }
    scene.revoked(&["refresh-token-0"]).await;
}

#[tokio::test]
async fn sign_out_without_a_session_is_done_at_once() {
    let scene = Scene::new();
    for cookie in [None, Some("not-ours")] {
        let answer = scene.delete(&headers(cookie), "client_id=web-app").await.unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        // Nobody knows whose other sessions to end, and success would say that they are over.
        let refusal = scene.delete(&headers(cookie), "client_id=web-app&everywhere=true").await.unwrap_err();
        assert!(refusal.denial == Denial::NoSession && refusal.set_cookie.is_none(), "{cookie:?}");
    }
    for bad in ["", "client_id=web-app&everywhere=here", "client_id=web-app&client_id=web-app"] {
        let refusal = scene.delete(&headers(None), bad).await.unwrap_err();
        assert!(matches!(refusal.denial, Denial::InvalidRequest(_)), "{bad}");
    }
}

#[tokio::test]
async fn sign_out_in_mid_flight_hands_nothing_out_and_revokes_what_arrives() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    let (refreshed, signed_out) = tokio::join!(scene.refresh(&cookie), async {
        scene.arrived(2).await;
        let answer = scene.delete(&headers(Some(&cookie)), "client_id=web-app").await;
        scene.server.answers.add_permits(1);
        answer
    });
    assert!(signed_out.is_ok());
    assert_eq!(refreshed.unwrap_err().denial, Denial::SessionEnded(SessionEnd::Revoked));
    scene.revoked(&["refresh-token-0", "refresh-token-1"]).await;
}
