//! What an issuer is asked, and about which tokens.

use super::*;

#[tokio::test]
async fn a_good_token_passes_and_the_upstream_learns_who_calls() {
    let scene = Scene::new();
    scene.says("opaque", json!({"scope": "api:read"}));
    let permit = scene.get("/api/x", "opaque").await.unwrap();
    let headers: HashMap<_, _> =
        permit.identity().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers["x-auth-subject"], "alice");
    assert_eq!(headers["x-auth-client"], "web-app");
    assert_eq!(headers["x-auth-issuer"], "https://as.example", "although the answer did not name it");
    scene.says("weak", json!({"scope": "openid"}));
    assert!(matches!(scene.call("weak").await, Err(Denial::InsufficientScope { .. })));
    scene.call("opaque").await.unwrap();
    assert_eq!(scene.asked(), 2);
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="active"} 2"#);
    scene.metric(r#"tollgate_tokens_verified_total{issuer="demo",path="introspected"} 2"#);
    scene.metric(r#"tollgate_tokens_verified_total{issuer="demo",path="cached"} 1"#);
    scene.metric(r#"tollgate_auth_duration_seconds_count{path="introspected"} 2"#);
    scene.metric(r#"tollgate_as_request_duration_seconds_count{endpoint="introspection",issuer="demo"} 2"#);
}

#[tokio::test]
async fn the_question_is_that_of_rfc_7662_and_proves_who_asks() {
    let scene = Scene::new();
    scene.call("a+b/c==").await.unwrap_err();
    let (_, headers, form) = scene.issuing.asked.lock().unwrap()[0].clone();
    let expected = [("token", "a+b/c=="), ("token_type_hint", "access_token")];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(headers[ACCEPT], "application/json");
    assert_eq!(headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
    assert_eq!(headers[AUTHORIZATION], "Basic Z2F0ZXdheTpzM2NyZXQ=");

    let scene = Scene::new();
    *scene.issuing.metadata.lock().unwrap() =
        json!({"introspection_endpoint_auth_methods_supported": ["client_secret_post"]});
    scene.call("opaque").await.unwrap_err();
    let (_, headers, form) = scene.issuing.asked.lock().unwrap()[0].clone();
    assert!(!headers.contains_key(AUTHORIZATION));
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("gateway", "s3cret"));

    let document = SigningKey::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    let pem = format!(
        r"-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
        STANDARD.encode(document.as_ref())
    );
    let scene = Scene::with(&DEMO.replace("secret: s3cret", &format!("private_key: \"{pem}\"")), ROUTES);
    scene.call("opaque").await.unwrap_err();
    let (_, headers, form) = scene.issuing.asked.lock().unwrap()[0].clone();
    assert!(!headers.contains_key(AUTHORIZATION));
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!(form["client_assertion"].split('.').count(), 3);

    for (audience, endpoint, expected) in [
        ("issuer", "", "https://as.example"),
        ("token_endpoint", "", "https://as.example/token"),
        // What is configured does not say where the token endpoint is.
        ("token_endpoint", ", endpoint: \"https://as.example/introspect\"", "https://as.example/token"),
        ("endpoint", "", "https://as.example/introspect"),
    ] {
        let credential = format!("private_key: \"{pem}\", assertion_audience: {audience}{endpoint}");
        let scene = Scene::with(&DEMO.replace("secret: s3cret", &credential), ROUTES);
        *scene.issuing.metadata.lock().unwrap() = json!({"token_endpoint": "https://as.example/token"});
        scene.call("opaque").await.unwrap_err();
        let (_, _, form) = scene.issuing.asked.lock().unwrap()[0].clone();
        let claims = form["client_assertion"].split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["aud"], expected, "{audience}{endpoint}");
    }

    let given = DEMO.replace("s3cret", "s3cret, endpoint: \"https://other.example/introspect\"");
    let scene = Scene::with(&given, ROUTES);
    scene.call("opaque").await.unwrap_err();
    assert_eq!(scene.issuing.asked.lock().unwrap()[0].0, "other.example");
}

#[tokio::test]
async fn what_looks_like_a_jwt_is_never_shown_to_an_issuer() {
    let scene = Scene::new();
    let good = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://as.example"})));
    scene.call(&good).await.unwrap();
    let (message, _) = good.rsplit_once('.').unwrap();
    let stranger =
        keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://stranger.example"})));
    for bad in [format!("{message}.AAAA"), format!("{message}."), message.to_owned(), stranger] {
        assert_eq!(scene.call(&bad).await.unwrap_err().facts().status, 401, "{bad}");
    }
    let large = "x".repeat(8193);
    assert_eq!(scene.call(&large).await, Err(Denial::TokenTooLarge));
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_not_to_be_asked_has_no_opaque_tokens() {
    let scene = Scene::with(
        "  demo: { url: \"https://as.example\", audience: \"https://api.example.com\" }\n",
        ROUTES,
    );
    scene.says("opaque", json!({}));
    for target in ["/api/x", "/page/x"] {
        assert!(matches!(scene.get(target, "opaque").await, Err(Denial::TokenMalformed(_))));
    }
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn an_issuer_of_opaque_tokens_alone_needs_no_keys() {
    let scene = Scene::new();
    *scene.issuing.metadata.lock().unwrap() = json!({"jwks_uri": null});
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    let live = scene.gate.live.load_full();
    let issuer = live.issuers.iter().next().unwrap();
    refresh_now(&scene.gate, issuer).await.unwrap();
    assert!(issuer.keys_ready(), "so the gateway becomes ready");
    let jwt = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://as.example"})));
    assert_eq!(scene.call(&jwt).await, Err(Denial::UnknownKey));
}

#[tokio::test]
async fn among_several_issuers_only_the_one_of_the_route_is_shown_a_token() {
    let two = format!("{DEMO}{}", DEMO.replace("demo:", "other:").replace("as.example", "other.example"));
    let routes = r#"  - { path: /api/*, to: "http://127.0.0.1:1", issuers: other, require: { scope: "api:read" } }
  - { path: /page/*, to: "http://127.0.0.1:1", public: true, issuers: demo }
"#;
    let scene = Scene::with(&two, routes);
    scene.says("opaque", json!({}));
    let issuer_of = |permit: Permit| permit.token().unwrap().issuer().to_string();
    assert_eq!(issuer_of(scene.get("/api/x", "opaque").await.unwrap()), "other");
    assert_eq!(issuer_of(scene.get("/page/x", "opaque").await.unwrap()), "demo");
    let hosts: Vec<String> =
        scene.issuing.asked.lock().unwrap().iter().map(|(host, ..)| host.clone()).collect();
    assert_eq!(hosts, ["other.example", "as.example"]);
    // Where none is singled out nobody is asked.
    let live = scene.gate.live.load_full();
    let anywhere = Brought::ByRequest {
        to: &Access::Public,
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tally: Tally::Everybody,
        by: crate::flows::prove_possession::Presentation::Having,
    };
    let refused = authenticate(&scene.gate, &live, "new", anywhere, scene.clock.now()).await;
    assert!(matches!(refused, Err(Denial::TokenMalformed(_))));
    assert_eq!(scene.asked(), 2);
    // A JWT of the other issuer does not pass a public route either that names one.
    let jwt = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({"iss": "https://other.example"})));
    assert_eq!(scene.get("/page/x", &jwt).await.unwrap_err(), Denial::IssuerNotAccepted);
}
