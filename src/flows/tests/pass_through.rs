//! Requests of native clients, beside a client with a cookie of the same gateway.

use super::*;

use http::header::AUTHORIZATION;

fn native(credential: ClientCredential) -> NativeClient {
    let grants = match credential {
        ClientCredential::None => GrantType::NAMES.map(|(_, grant)| grant).to_vec(),
        _ => vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
    };
    NativeClient {
        name: ClientName::new("web"),
        client_id: "cli".into(),
        issuer: IssuerName::new("demo"),
        credential,
        redirect_uri: Some("http://127.0.0.1/in".into()),
        grants,
        scope: None,
        resource: None,
    }
}

fn public() -> Scene {
    Scene::with_native(native(ClientCredential::None))
}

fn lending() -> Scene {
    Scene::with_native(native(ClientCredential::Secret("s3cret".into())))
}

/// As an application sends it: no origin.
async fn ask(scene: &Scene, basic: Option<&str>, body: &str) -> Result<OAuthAnswer, OAuthRefusal> {
    use base64::Engine as _;
    let mut headers = headers(Some("whatever"));
    headers.remove(ORIGIN);
    if let Some(pair) = basic {
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Basic {encoded}")).unwrap());
    }
    scene.send(headers, body).await
}

fn json_of(answer: &OAuthAnswer) -> Value {
    assert!(answer.set_cookie.is_none());
    serde_json::from_slice(&answer.body).unwrap()
}

fn code() -> String {
    let verifier = "v".repeat(43);
    format!(
        "grant_type=authorization_code&client_id=cli&code=code-1&code_verifier={verifier}&redirect_uri=http://127.0.0.1:4711/in"
    )
}

#[tokio::test]
async fn the_refresh_token_comes_back_untouched_and_no_cookie_is_read_or_set() {
    let scene = public();
    let signed_in = ask(&scene, None, &code()).await.unwrap();
    let tokens = json_of(&signed_in);
    assert_eq!(tokens["refresh_token"], "refresh-token-0");
    assert!(tokens.get("secret_of_the_as").is_none() && tokens.get("refresh_after").is_none());
    let refresh = "grant_type=refresh_token&client_id=cli&refresh_token=refresh-token-0&more=x";
    assert_eq!(json_of(&ask(&scene, None, refresh).await.unwrap())["refresh_token"], "refresh-token-1");
    let requests = scene.server.token_requests.lock().unwrap();
    assert_eq!(requests[1].1, "grant_type=refresh_token&refresh_token=refresh-token-0&client_id=cli");
    assert!(requests.iter().all(|(headers, _)| !headers.contains_key(AUTHORIZATION)));
    assert!(scene.gate.exchanges.is_empty());
    drop(requests);
    scene.counted("sign_ins_total", "result=\"ok\"", 1);
    scene.counted("exchanges_total", "outcome=\"rotated\"", 1);
}

#[tokio::test]
async fn what_the_caller_brings_goes_on_as_it_came() {
    let scene = public();
    scene.next(Instead::Answer(
        200,
        "application/json",
        r#"{"access_token":"a","token_type":"Bearer"}"#.into(),
    ));
    ask(&scene, Some("cli:s%20"), "grant_type=client_credentials").await.unwrap();
    scene.next(Instead::Answer(
        200,
        "application/json",
        r#"{"access_token":"a","token_type":"N_A","issued_token_type":"urn:x"}"#.into(),
    ));
    let exchange = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&client_id=cli&client_secret=s&subject_token=t&subject_token_type=k";
    assert_eq!(json_of(&ask(&scene, None, exchange).await.unwrap())["issued_token_type"], "urn:x");
    let requests = scene.server.token_requests.lock().unwrap();
    assert_eq!(requests[0].0[AUTHORIZATION], "Basic Y2xpOnMlMjA=");
    assert_eq!(requests[0].1, "grant_type=client_credentials");
    assert!(requests[1].1.ends_with("&client_id=cli&client_secret=s"), "{}", requests[1].1);
}

#[tokio::test]
async fn errors_of_the_server_reach_the_caller() {
    let device = "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=cli&device_code=d";
    for error in ["authorization_pending", "slow_down", "expired_token", "access_denied", "invalid_grant"] {
        let scene = public();
        let body = json!({ "error": error, "error_uri": "https://as.example/e", "more": 1 });
        scene.next(Instead::Answer(400, "application/json", body.to_string()));
        let refusal = ask(&scene, None, device).await.unwrap_err();
        let Denial::FromAuthorizationServer(said) = &refusal.denial else { panic!("{refusal:?}") };
        assert_eq!((said.error.as_str(), said.uri.as_deref()), (error, Some("https://as.example/e")));
        assert!(refusal.set_cookie.is_none());
    }
    for (basic, body) in [
        (Some("cli:wrong"), "grant_type=client_credentials"),
        (None, "grant_type=client_credentials&client_id=cli&client_secret=wrong"),
    ] {
        let scene = public();
        scene.next(Instead::Answer(401, "application/json", r#"{"error":"invalid_client"}"#.into()));
        let denial = ask(&scene, basic, body).await.unwrap_err().denial;
        assert_eq!(denial.facts().status, StatusCode::UNAUTHORIZED);
        assert!(
            matches!(denial, Denial::ClientCredentialRefused { by_basic, .. } if by_basic == basic.is_some())
        );
    }
}

#[tokio::test]
async fn outages_and_our_own_wrong_secret_are_503() {
    for instead in [
        Instead::Fault(HttpFault::Connect),
        Instead::Fault(HttpFault::TooLarge),
        Instead::Answer(500, "application/json", "{}".into()),
        Instead::Answer(200, "text/html", "<html>".into()),
        Instead::Answer(401, "application/json", r#"{"error":"invalid_client"}"#.into()),
    ] {
        let scene = lending();
        scene.next(instead);
        let refresh = "grant_type=refresh_token&client_id=cli&refresh_token=t";
        let denial = ask(&scene, None, refresh).await.unwrap_err().denial;
        assert_eq!(denial, Denial::AuthorizationServerUnavailable);
        assert_eq!(scene.asked(), 1, "never repeated");
        scene.counted("exchanges_total", "outcome=\"as_unavailable\"", 1);
    }
}

#[tokio::test]
async fn a_server_that_wants_to_be_asked_later_says_when() {
    let scene = public();
    scene.next(Instead::Later(30));
    let refused = ask(&scene, None, "grant_type=refresh_token&client_id=cli&refresh_token=t").await;
    let retry_after = Duration::from_secs(30);
    assert_eq!(refused.unwrap_err().denial, Denial::AuthorizationServerBusy { retry_after });
    scene.counted("exchanges_total", "outcome=\"as_unavailable\"", 1);
}

/// It may have replaced the refresh token, and nobody else keeps what it answers.
#[tokio::test(start_paused = true)]
async fn a_refresh_is_waited_for_longer_than_anything_else() {
    let timeout = Duration::from_secs(5);
    let scene = public();
    ask(&scene, None, &code()).await.unwrap();
    scene.server.answers.forget_permits(PLENTY);
    let refresh = "grant_type=refresh_token&client_id=cli&refresh_token=refresh-token-0";
    let code = code();
    let (refreshed, signed_in, ()) =
        tokio::join!(ask(&scene, None, refresh), ask(&scene, None, &code), async {
            tokio::time::sleep(timeout + Duration::from_secs(1)).await;
            scene.server.answers.add_permits(PLENTY);
        });
    assert_eq!(signed_in.unwrap_err().denial, Denial::AuthorizationServerUnavailable);
    assert_eq!(json_of(&refreshed.unwrap())["refresh_token"], "refresh-token-1");
    // But not for ever.
    scene.server.answers.forget_permits(PLENTY);
    let began = tokio::time::Instant::now();
    let refresh = refresh.replace("token-0", "token-1");
    let denial = ask(&scene, None, &refresh).await.unwrap_err().denial;
    assert_eq!((denial, began.elapsed().as_secs()), (Denial::AuthorizationServerUnavailable, 60));
}

#[tokio::test]
async fn refreshes_that_wait_are_bounded_and_take_no_place_of_a_sign_in() {
    let scene = public();
    let at = IssuerName::new("demo");
    let places: Vec<_> = std::iter::from_fn(|| scene.gate.exchanges.begin_passed_refresh(&at)).collect();
    assert_eq!(places.len(), PASSED_REFRESHES);
    let refresh = "grant_type=refresh_token&client_id=cli&refresh_token=refresh-token-0";
    let denial = ask(&scene, None, refresh).await.unwrap_err().denial;
    assert_eq!((denial, scene.asked()), (Denial::AuthorizationServerUnavailable, 0));
    ask(&scene, None, &code()).await.unwrap();
    drop(places);
    ask(&scene, None, refresh).await.unwrap();
}

#[tokio::test]
async fn our_secret_is_lent_to_a_bound_code_and_to_a_refresh_token_alone() {
    let scene = lending();
    assert!(ask(&scene, None, &code()).await.is_ok());
    let refresh = "grant_type=refresh_token&client_id=cli&refresh_token=refresh-token-0";
    assert!(ask(&scene, None, refresh).await.is_ok());
    assert!(
        scene
            .server
            .token_requests
            .lock()
            .unwrap()
            .iter()
            .all(|(headers, _)| headers.contains_key(AUTHORIZATION))
    );
    let others = GrantType::NAMES.into_iter().filter(|(_, grant)| !grant.may_borrow_the_secret());
    for (name, _) in others {
        let body = format!(
            "grant_type={name}&client_id=cli&device_code=d&subject_token=t&subject_token_type=k&assertion=a"
        );
        assert_eq!(ask(&scene, None, &body).await.unwrap_err().denial, Denial::UnauthorizedClient);
    }
    assert_eq!(
        ask(&scene, None, "grant_type=password&client_id=cli").await.unwrap_err().denial,
        Denial::UnsupportedGrantType
    );
    for (basic, body) in [
        (Some("cli:s3cret"), refresh.to_owned()),
        (None, format!("{refresh}&client_secret=x")),
        (None, code().replace("code_verifier", "x")),
        (None, code().replace("/in", "/out")),
    ] {
        let denial = ask(&scene, basic, &body).await.unwrap_err().denial;
        assert!(matches!(denial, Denial::InvalidRequest(_)), "{body}");
    }
    assert_eq!(scene.asked(), 2);
}

#[tokio::test]
async fn a_native_client_has_nothing_to_sign_out_of() {
    let scene = public();
    let refusal = scene.delete(&headers(None), "client_id=cli").await.unwrap_err();
    assert!(matches!(refusal.denial, Denial::InvalidRequest(why) if why.contains("no session")));
    assert!(refusal.set_cookie.is_none());
}
