//! What is remembered of an answer, and for how long.

use super::*;

#[tokio::test]
async fn fifty_at_once_cost_one_call_which_outlives_the_request_that_began_it() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.call("so-that-its-endpoints-are-known").await.unwrap_err();
    scene.hold();
    {
        let mut request = Box::pin(scene.call("opaque"));
        assert!(request.as_mut().now_or_never().is_none());
        scene.arrived(2).await;
    } // the client went away
    let all = join_all((0..50).map(|_| scene.call("opaque")));
    let release = async {
        tokio::task::yield_now().await;
        scene.release();
    };
    let (verdicts, ()) = tokio::join!(all, release);
    assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
    assert_eq!(scene.asked(), 2);
}

#[tokio::test]
async fn an_answer_is_remembered_for_as_long_as_configured_and_not_beyond_the_token() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.says("short", json!({"exp": NOW.as_secs() + 10}));
    scene.call("opaque").await.unwrap();
    scene.call("short").await.unwrap();
    scene.ends("opaque");
    scene.ends("short");
    scene.later(9_999);
    scene.call("opaque").await.unwrap();
    scene.call("short").await.unwrap();
    scene.later(1);
    assert_eq!(scene.call("short").await, Err(Denial::TokenInactive { was_good: true }));
    scene.later(19_999);
    scene.call("opaque").await.unwrap();
    scene.later(1);
    assert_eq!(scene.call("opaque").await, Err(Denial::TokenInactive { was_good: true }));
    assert_eq!(scene.asked(), 4);
}

#[tokio::test]
async fn without_a_memory_the_issuer_is_asked_about_every_request() {
    let scene = Scene::with(&DEMO.replace("s3cret", "s3cret, cache: 0s"), ROUTES);
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    scene.ends("opaque");
    assert_eq!(scene.call("opaque").await, Err(Denial::TokenInactive { was_good: true }));
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
}

#[tokio::test]
async fn what_is_not_good_is_remembered_for_five_seconds() {
    let scene = Scene::new();
    scene.says("other-api", json!({"aud": "https://other.example"}));
    for _ in 0..3 {
        assert_eq!(scene.call("made-up").await, Err(INACTIVE));
        assert_eq!(scene.call("other-api").await, Err(Denial::WrongAudience));
    }
    assert_eq!(scene.asked(), 2);
    scene.says("made-up", json!({}));
    scene.later(5_000);
    scene.call("made-up").await.unwrap();
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="inactive"} 1"#);
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="refused"} 1"#);
}

#[tokio::test]
async fn a_refresh_and_other_rules_forget_what_was_said() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    let before = scene.gate.live.load_full();
    refresh_now(&scene.gate, before.issuers.iter().next().unwrap()).await.unwrap();
    scene.ends("opaque");
    assert_eq!(
        scene.call("opaque").await,
        Err(Denial::TokenInactive { was_good: true }),
        "a refresh forgets"
    );

    scene.says("another", json!({}));
    scene.call("another").await.unwrap();
    scene.gate.live.store(Arc::new(live(DEMO, ROUTES, Some(&before))));
    scene.ends("another");
    scene.call("another").await.unwrap();
    let narrower = DEMO.replace(AUDIENCE, "https://narrower.example.com");
    scene.says("another", json!({}));
    scene.gate.live.store(Arc::new(live(&narrower, ROUTES, Some(&before))));
    assert_eq!(scene.call("another").await, Err(Denial::WrongAudience), "other rules forget");
}

#[tokio::test]
async fn what_an_upstream_is_told_follows_the_newest_answer() {
    use crate::core::assertion::Assertions;
    use crate::core::signing::{self, write_pem};
    let scene = Scene::new();
    let der = SigningKey::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    let key = signing::SigningKey::from_pem(write_pem(der.as_ref()).as_bytes()).unwrap();
    let made = Assertions::new("https://gate.example".to_owned(), vec![key]);
    let routes = ROUTES.replace("path: /api/*", "path: /api/*, identity: { assertion: { ttl: 2m } }");
    let with_assertions = Live { assertions: Some(Arc::new(made.unwrap())), ..live(DEMO, &routes, None) };
    scene.gate.live.store(Arc::new(with_assertions));
    let told = async || {
        let permit = scene.get("/api/x", "opaque").await.unwrap();
        let (_, scope) = permit.identity().iter().find(|(name, _)| name == "x-auth-scope").unwrap();
        (scope.to_str().unwrap().to_owned(), permit.assertion().unwrap().1.clone())
    };
    scene.says("opaque", json!({"scope": "api:read admin"}));
    let (scope, assertion) = told().await;
    assert_eq!(told().await, (scope.clone(), assertion.clone()), "made once");
    scene.later(30_000);
    scene.says("opaque", json!({"scope": "api:read"}));
    let (narrower, another) = told().await;
    assert!(scope.contains("admin") && !narrower.contains("admin"));
    let payload = another.to_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["scope"], "api:read");
}
