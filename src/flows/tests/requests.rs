//! What a request may ask, and for how long.

use super::*;

#[tokio::test]
async fn idle_and_absolute_timeouts_end_the_session_and_the_refresh_token() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.pass(3600);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::IdleTimeout));
    assert!(clears(refusal.set_cookie.as_ref()));
    scene.revoked(&["refresh-token-0"]).await;
    scene.counted("exchanges_total", "outcome=\"expired\"", 1);

    let scene = Scene::new();
    let mut cookie = scene.signed_in_cookie().await;
    for _ in 0..47 {
        scene.pass(1800);
        cookie = cookie_of(&scene.refresh(&cookie).await.unwrap());
    }
    scene.pass(1800);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::AbsoluteTimeout));
}

#[tokio::test]
async fn a_poll_does_not_keep_a_session_alive() {
    let scene = Scene::new();
    let mut cookie = scene.signed_in_cookie().await;
    scene.pass(1800);
    let poll = "grant_type=refresh_token&client_id=web-app&background=true";
    let answer = scene.post(Some(&cookie), poll).await.unwrap();
    assert_eq!(body(&answer)["session_expires_in"], 1800);
    cookie = cookie_of(&answer);
    scene.pass(1800);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::IdleTimeout));
}

#[tokio::test]
async fn a_session_whose_time_runs_out_during_an_exchange_or_after_it_is_over() {
    let poll = "grant_type=refresh_token&client_id=web-app&background=true";
    let idle = Denial::SessionEnded(SessionEnd::IdleTimeout);
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.pass(3599);
    scene.server.answers.forget_permits(PLENTY);
    let (polled, ()) = tokio::join!(scene.post(Some(&cookie), poll), async {
        scene.pass(1);
        scene.server.answers.add_permits(1);
    });
    let refusal = polled.unwrap_err();
    assert!(clears(refusal.set_cookie.as_ref()));
    assert_eq!(refusal.denial, idle);
    scene.revoked(&["refresh-token-1"]).await;

    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.pass(3590);
    assert!(scene.post(Some(&cookie), poll).await.is_ok());
    scene.pass(9);
    assert_eq!(scene.post(Some(&cookie), poll).await.unwrap().outcome.label(), "answered_again");
    scene.pass(1);
    let refusal = scene.post(Some(&cookie), poll).await.unwrap_err();
    assert_eq!(refusal.denial, idle);
    assert!(clears(refusal.set_cookie.as_ref()));
    // The newest one, too, whose cookie never came.
    scene.revoked(&["refresh-token-0", "refresh-token-1"]).await;
}

/// A lid that was closed in mid-refresh, and opened after the session's end.
#[tokio::test]
async fn a_session_that_ends_after_a_lost_answer_takes_the_newest_refresh_token_along() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    assert!(scene.refresh(&cookie).await.is_ok());
    scene.pass(7200);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::IdleTimeout));
    scene.revoked(&["refresh-token-0", "refresh-token-1"]).await;
    assert!(scene.refresh(&cookie).await.is_err());
    scene.revoked(&["refresh-token-0", "refresh-token-1"]).await;
}

#[tokio::test]
async fn a_use_that_finds_the_answer_of_a_poll_is_recorded() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.pass(1800);
    let poll = "grant_type=refresh_token&client_id=web-app&background=true";
    scene.post(Some(&cookie), poll).await.unwrap();
    assert_eq!(scene.post(Some(&cookie), poll).await.unwrap().outcome.label(), "answered_again");
    let used = scene.refresh(&cookie).await.unwrap();
    assert_eq!((used.outcome.label(), scene.asked()), ("rotated", 3));
    assert_eq!(body(&used)["session_expires_in"], 3600);
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "answered_again");
    scene.pass(3599);
    assert!(scene.refresh(&cookie_of(&used)).await.is_ok());
}

#[tokio::test]
async fn a_use_that_joins_a_poll_is_recorded() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.pass(1800);
    let poll = "grant_type=refresh_token&client_id=web-app&background=true";
    let (polled, used) = tokio::join!(scene.post(Some(&cookie), poll), scene.refresh(&cookie));
    assert!(polled.is_ok());
    assert_eq!(body(&used.unwrap())["session_expires_in"], 3600);
}

#[tokio::test]
async fn what_an_answer_says_of_time_grows_less_with_its_age() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let first = scene.refresh(&cookie).await.unwrap();
    scene.pass(20);
    let again = scene.refresh(&cookie).await.unwrap();
    for (name, at_first) in [("expires_in", 300), ("refresh_after", 240), ("session_expires_in", 3600)] {
        assert_eq!((&body(&first)[name], &body(&again)[name]), (&at_first.into(), &(at_first - 20).into()));
    }
    let max_age = |answer: &OAuthAnswer| {
        let text = answer.set_cookie.as_ref().unwrap().to_str().unwrap().to_owned();
        text.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().to_owned()
    };
    assert_eq!((max_age(&first), max_age(&again)), ("3600".to_owned(), "3580".to_owned()));
}

#[tokio::test]
async fn scope_narrows_and_never_widens() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let wide = "grant_type=refresh_token&client_id=web-app&scope=api:read+admin";
    assert_eq!(scene.post(Some(&cookie), wide).await.unwrap_err().denial, Denial::InvalidScope);
    assert_eq!(scene.asked(), 1);
    let narrow = "grant_type=refresh_token&client_id=web-app&scope=api:read";
    let (whole, narrowed) = tokio::join!(scene.refresh(&cookie), scene.post(Some(&cookie), narrow));
    assert_ne!(body(&whole.unwrap())["access_token"], body(&narrowed.unwrap())["access_token"]);
    let requests = scene.server.token_requests.lock().unwrap();
    assert!(requests[1].1.contains("refresh-token-0") && requests[2].1.contains("refresh-token-1"));
    assert!(requests[2].1.contains("scope=api%3Aread&"), "{}", requests[2].1);
}

#[tokio::test]
async fn foreign_origins_and_navigations_reach_neither_cookie_nor_server() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let sec_fetch_mode = HeaderName::from_static("sec-fetch-mode");
    let mut foreign = headers(Some(&cookie));
    foreign.insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
    let mut navigation = headers(Some(&cookie));
    navigation.insert(sec_fetch_mode, HeaderValue::from_static("navigate"));
    for headers in [foreign, navigation] {
        for body in [code_exchange().as_str(), "grant_type=refresh_token&client_id=web-app"] {
            let refusal = scene.send(headers.clone(), body).await.unwrap_err();
            assert_eq!(refusal.denial, Denial::OriginNotAllowed);
            assert!(refusal.set_cookie.is_none());
        }
        let refusal = scene.delete(&headers, "client_id=web-app").await.unwrap_err();
        assert_eq!(refusal.denial, Denial::OriginNotAllowed);
    }
    assert_eq!(scene.asked(), 1);
    assert!(scene.refresh(&cookie).await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_read_in_one_way_is_refused_and_nothing_is_cleared() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let refused = |result: Result<OAuthAnswer, OAuthRefusal>| {
        let refusal = result.unwrap_err();
        assert!(refusal.set_cookie.is_none(), "{refusal:?}");
        refusal.denial
    };
    let twice = format!("{cookie}; {COOKIE_NAME}={cookie}");
    assert_eq!(refused(scene.refresh(&twice).await), Denial::SeveralCredentials);
    assert_eq!(refused(scene.refresh("not-ours").await), Denial::NoSession);
    let post = |body| scene.post(None, body);
    assert_eq!(refused(post("grant_type=refresh_token&client_id=web-app").await), Denial::NoSession);
    assert_eq!(refused(post("grant_type=refresh_token&client_id=other").await), Denial::UnknownClient);
    assert_eq!(refused(post("grant_type=password&client_id=web-app").await), Denial::UnsupportedGrantType);
    for body in [
        "grant_type=refresh_token",
        "grant_type=refresh_token&client_id=web-app&client_id=web-app",
        "grant_type=refresh_token&client_id=web-app&refresh_token=x",
        "grant_type=refresh_token&client_id=web-app&client_secret=x",
        &code_exchange().replace("callback", "elsewhere"),
        &code_exchange().replace("code_verifier", "x"),
    ] {
        assert!(matches!(refused(post(body).await), Denial::InvalidRequest(_)), "{body}");
    }
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn grants_that_the_client_does_not_have_are_refused() {
    let scene =
        Scene::with(Client { grants: vec![GrantType::RefreshToken], ..client() }, Duration::from_secs(5));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!((refusal.denial, scene.asked()), (Denial::UnauthorizedClient, 0));
    for body in
        ["grant_type=client_credentials&client_id=web-app", "grant_type=authorization_code&client_id=web-app"]
    {
        assert_eq!(scene.post(None, body).await.unwrap_err().denial, Denial::UnauthorizedClient, "{body}");
    }
    let unknown = "grant_type=password&client_id=web-app";
    assert_eq!(scene.post(None, unknown).await.unwrap_err().denial, Denial::UnsupportedGrantType);
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn a_cookie_of_another_client_key_or_server_is_no_session_and_stays() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    for other in [
        Client { name: ClientName::new("other"), ..client() },
        Client { client_id: "web-app-2".into(), ..client() },
    ] {
        let other_id = other.client_id.clone();
        let scene = Scene::with(other, Duration::from_secs(5));
        let body = format!("grant_type=refresh_token&client_id={other_id}");
        let refusal = scene.post(Some(&cookie), &body).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::NoSession);
        assert!(refusal.set_cookie.is_none());
    }
    let mut elsewhere = issuer(Duration::from_secs(5));
    elsewhere.rules.iss = "https://other.example".into();
    let scene = Scene::of(client(), elsewhere);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!((refusal.denial, scene.asked()), (Denial::NoSession, 0));
}

/// RFC 6749 section 6: no more may be asked for than was granted, and who asks for nothing gets all of that;
/// a server need not name it, nor by the name that it was asked for with.
#[tokio::test]
async fn an_exchange_asks_for_the_configured_scope_where_all_of_it_was_granted_and_else_for_none() {
    for (configured, granted, asked) in [
        ("openid offline_access api:read", "api:read", Some("openid offline_access api:read")),
        ("api:read", "api:read api:write", Some("api:read")),
        // Keycloak names no scope that is not to be included in tokens.
        ("openid roles", "openid", None),
        ("openid offline_access api:read admin", "openid offline_access api:read", None),
        ("openid email", "openid https://www.googleapis.com/auth/userinfo.email", None),
    ] {
        let scene =
            Scene::with(Client { scope: Some(configured.into()), ..client() }, Duration::from_secs(5));
        scene.next(Instead::With(json!({ "scope": granted })));
        let cookie = scene.signed_in_cookie().await;
        // What the next answer names makes no difference.
        scene.next(Instead::With(json!({ "scope": "other" })));
        let cookie = cookie_of(&scene.refresh(&cookie).await.unwrap());
        scene.refresh(&cookie).await.unwrap();
        for request in &scene.server.token_requests.lock().unwrap()[1..] {
            let mut form = form_urlencoded::parse(request.1.as_bytes());
            let sent = form.find(|(name, _)| name == "scope").map(|(_, scope)| scope.into_owned());
            assert_eq!(sent.as_deref(), asked, "{configured} of which {granted} was granted");
        }
    }
}
