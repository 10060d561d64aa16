//! An issuer that is away, or says what is no answer.

use super::*;

#[tokio::test]
async fn whatever_is_no_answer_is_an_outage_and_says_nothing_of_the_token() {
    let good = with(claims_at(NOW), json!({"active": true, "token_type": "Bearer", "iss": null})).to_string();
    let raw = |status, media_type, body: &str| Says::Raw(status, media_type, body.to_owned());
    for bad in [
        Says::Fault(HttpFault::Dns),
        Says::Fault(HttpFault::Connect),
        Says::Fault(HttpFault::Tls),
        Says::Fault(HttpFault::Certificate),
        Says::Fault(HttpFault::Proxy),
        Says::Fault(HttpFault::Deadline),
        Says::Fault(HttpFault::Broken),
        Says::Fault(HttpFault::TooLarge),
        Says::Nothing,
        raw(200, "application/json", r#"{"active":"true"}"#),
        raw(200, "application/json", r#"{"active":null}"#),
        raw(200, "application/json", "{}"),
        raw(200, "application/json", r#"{"active":false,"active":true}"#),
        raw(200, "application/json", r#"{"active":tr"#),
        raw(200, "application/json", ""),
        raw(200, "text/html", &good),
        raw(200, "application/token-introspection+jwt", "eyJ.e30.AA"),
        raw(201, "application/json", &good),
        raw(204, "application/json", ""),
        raw(302, "application/json", &good),
        raw(400, "application/json", r#"{"error":"invalid_request"}"#),
        raw(401, "application/json", r#"{"error":"invalid_client"}"#),
        raw(403, "application/json", r#"{"active":false}"#),
        raw(404, "text/html", "<html>"),
        raw(429, "application/json", r#"{"active":false}"#),
        raw(500, "application/json", r#"{"active":false}"#),
        raw(503, "text/plain", ""),
    ] {
        let scene = Scene::new();
        scene.says_badly("opaque", bad.clone());
        let denial = scene.call("opaque").await.unwrap_err();
        assert_eq!(denial, Denial::IntrospectionUnavailable, "{bad:?}");
        assert_eq!(denial.facts().status, 503);
        assert!(denial.retry_after().is_some());
        let of_the_server = match &bad {
            Says::Fault(fault) => fault.is_before_the_call(),
            Says::Raw(status, ..) => *status == 401,
            _ => false,
        };
        let issuer = scene.gate.live.load().issuers.iter().next().unwrap().clone();
        let trouble = issuer.introspections().unwrap().trouble();
        assert_eq!(
            trouble.is_some(),
            of_the_server,
            "{bad:?}: no token makes it look as if the issuer were away"
        );
        // Nobody asks again for a second; then it is as good as ever.
        scene.says("opaque", json!({}));
        scene.later(999);
        assert_eq!(scene.call("opaque").await, Err(Denial::IntrospectionUnavailable), "{bad:?}");
        assert_eq!(scene.asked(), 1);
        scene.later(1);
        scene.call("opaque").await.unwrap_or_else(|denial| panic!("{bad:?}: {denial:?}"));
        scene.metric(r#"tollgate_introspections_total{issuer="demo",result="failed"} 1"#);
    }
}

#[tokio::test]
async fn while_the_issuer_is_away_what_is_remembered_goes_on() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    scene.says_badly("opaque", Says::Fault(HttpFault::Connect));
    scene.says_badly("new", Says::Fault(HttpFault::Connect));
    assert_eq!(scene.call("new").await, Err(Denial::IntrospectionUnavailable));
    scene.call("opaque").await.unwrap();
    scene.later(30_000);
    assert_eq!(scene.call("opaque").await, Err(Denial::IntrospectionUnavailable), "and no longer");
    let issuer = scene.gate.live.load().issuers.iter().next().unwrap().clone();
    assert_eq!(issuer.introspections().unwrap().trouble().as_deref(), Some("no connection could be made"));
}

#[tokio::test]
async fn an_issuer_without_an_introspection_endpoint_is_an_outage_too() {
    let scene = Scene::new();
    *scene.issuing.metadata.lock().unwrap() = json!({"introspection_endpoint": null});
    assert_eq!(scene.call("opaque").await, Err(Denial::IntrospectionUnavailable));
    assert_eq!(scene.asked(), 0);
}
