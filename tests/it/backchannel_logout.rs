//! `/oauth/backchannel-logout` on the wire. What becomes of sessions is tested with its flow.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::{ISS, Issuer};
use crate::support::operator::Operator;
use crate::support::upstream::Upstream;

const PATH: &str = "/oauth/backchannel-logout";
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// `web-app` is a client of the issuer whose keys are known, `spa` of the one that is down.
async fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    let rest = format!(
        "clients: {{ spa: {{ mode: token, login: page, redirect_uri: \"http://{HOST}/cb\", issuer: discovered }} }}
routes:
  - {{ path: /api/*, to: \"{0}\" }}
  - {{ path: /*, to: \"{0}\", public: true }}
{more}",
        upstream.url()
    );
    let adjust = |settings: &mut tollgate::config::settings::Settings| {
        let issuer = Arc::get_mut(&mut settings.issuers[0]).unwrap();
        issuer.rules.client_ids.push("web-app".to_owned());
    };
    Gateway::adjusted(&rest, adjust).await
}

/// A good logout token, but for what `changes` say; `null` takes a member out.
fn logout_token(issuer: &Issuer, changes: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": ISS, "aud": "web-app", "iat": now, "exp": now + 120, "jti": "l1", "sid": "s1",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    issuer.sign(&json!({ "alg": "ES256", "typ": "logout+jwt", "kid": "k1" }), &claims)
}

async fn tell(client: &mut Client, token: &str, more: &[(&str, &str)]) -> Answer {
    let fields: Vec<_> = std::iter::once(FORM).chain(more.iter().copied()).collect();
    client.send(request("POST", PATH, &fields, format!("logout_token={token}").as_bytes())).await;
    client.answer().await
}

#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(error)), "{answer:?}");
    assert!(answer.json()["error_description"].is_string());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn who_has_signed_out_at_the_issuer_is_out_here_at_once() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    let of_session = |sid: &str| gateway.issuer.token_with(json!({ "sid": sid, "sub": "alice", "jti": sid }));
    let (first, second) = (of_session("s1"), of_session("s2"));
    assert_eq!(client.status("/api/x", &first).await, 200);
    let answer = tell(&mut client, &logout_token(&gateway.issuer, &json!({})), &[]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.all("set-cookie").is_empty() && answer.header("access-control-allow-origin").is_none());
    assert_eq!(client.status("/api/x", &first).await, 401);
    assert_eq!(client.status("/api/x", &second).await, 200);
    let everywhere = json!({ "sid": null, "sub": "alice", "jti": "l2" });
    let query = format!("{PATH}?tenant=1");
    let body = format!("logout_token={}", logout_token(&gateway.issuer, &everywhere));
    client.send(request("POST", &query, &[FORM], body.as_bytes())).await;
    assert_eq!(client.answer().await.status, 200, "a registered address may have a query");
    assert_eq!(client.status("/api/x", &second).await, 401);
    let told: Vec<_> = gateway.logged(6).await.into_iter().filter(|line| line["route"] == PATH).collect();
    assert!(told.iter().all(|line| line["outcome"] == "backchannel_logout"), "{told:?}");
    assert_eq!((told.len(), &told[1]["subject"]), (2, &json!("alice")));
    assert!(!gateway.log.text().contains("eyJ"), "no token is in the log");
    let metrics = gateway.admin("/metrics").await;
    let text = String::from_utf8(metrics.body).unwrap();
    for series in [
        "tollgate_revocations{kind=\"sid\"} 1".to_owned(),
        "tollgate_revocations{kind=\"sub\"} 1".to_owned(),
        format!("tollgate_requests_total{{route=\"{PATH}\",status=\"200\"}} 2"),
    ] {
        assert!(text.contains(&series), "{series}\n{text}");
    }
}

#[tokio::test]
async fn what_does_not_hold_is_400_and_changes_nothing() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    let token = gateway.issuer.token_with(json!({ "sid": "s1", "sub": "alice" }));
    for changes in [
        json!({ "aud": "stranger" }),
        json!({ "nonce": "n" }),
        json!({ "events": {} }),
        json!({ "jti": null }),
        json!({ "exp": null }),
        json!({ "exp": 1 }),
        json!({ "iss": "https://else.example" }),
    ] {
        refused(
            &tell(&mut client, &logout_token(&gateway.issuer, &changes), &[]).await,
            400,
            "invalid_request",
        );
    }
    refused(&tell(&mut client, &token, &[]).await, 400, "invalid_request");
    refused(&tell(&mut client, "", &[]).await, 400, "invalid_request");
    let good = logout_token(&gateway.issuer, &json!({}));
    for header in [("Origin", "null"), ("Origin", "http://gate.localhost:8080"), ("Sec-Fetch-Site", "none")] {
        refused(&tell(&mut client, &good, &[header]).await, 400, "invalid_request");
    }
    client.send(request("POST", PATH, &[("Content-Type", "application/jwt")], good.as_bytes())).await;
    refused(&client.answer().await, 400, "invalid_request");
    assert_eq!(client.status("/api/x", &token).await, 200);
    assert_eq!(tell(&mut client, &good, &[("Cookie", "a=b"), ("Authorization", "x")]).await.status, 200);
    let again = tell(&mut client, &good, &[]).await;
    refused(&again, 400, "invalid_request");
    assert!(again.json()["error_description"].as_str().unwrap().contains("used before"));
}

#[tokio::test]
async fn other_methods_and_too_much_learn_what_is_right() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        client.send(request(method, PATH, &[], b"")).await;
        let answer = client.answer().await;
        refused(&answer, 405, "invalid_request");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    let fields = [("Origin", "http://app.localhost"), ("Access-Control-Request-Method", "POST")];
    client.send(request("OPTIONS", PATH, &fields, b"")).await;
    let preflight = client.answer().await;
    assert_eq!(preflight.status, 404, "no page may call it");
    assert!(preflight.header("access-control-allow-origin").is_none());
    // Longer than `limits.token` and what may be beside it.
    client.send(request("POST", PATH, &[FORM], &[b'x'; 13 * 1024])).await;
    let large = client.answer().await;
    refused(&large, 413, "invalid_request");
    assert!(large.json()["error_description"].as_str().unwrap().contains("limits.token"));
    let mut client = gateway.connect().await;
    let long = tell(&mut client, &"x".repeat(9 * 1024), &[]).await;
    refused(&long, 400, "invalid_request");
    assert!(long.json()["error_description"].as_str().unwrap().contains("limits.token"));
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn while_the_issuers_keys_are_away_it_is_told_when_to_come_back() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    let token = logout_token(&gateway.issuer, &json!({ "iss": "http://127.0.0.1:9", "aud": "spa" }));
    let answer = tell(&mut client, &token, &[]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn who_sends_too_much_that_is_none_gets_no_more_work_done() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "limits: { denials_per_address: 3/h }\n").await;
    let mut client = gateway.connect().await;
    let good = logout_token(&gateway.issuer, &json!({}));
    // What a page can make a visitor's browser send does not count.
    for _ in 0..5 {
        refused(&tell(&mut client, "x", &[("Origin", "https://evil.example")]).await, 400, "invalid_request");
        assert_eq!(
            tell(&mut client, &logout_token(&gateway.issuer, &json!({ "exp": 1 })), &[]).await.status,
            400
        );
    }
    // Nor does what anybody with an account at the issuer makes it send: its address is the issuer's.
    for _ in 0..5 {
        let elsewhere = logout_token(&gateway.issuer, &json!({ "aud": "not-ours" }));
        refused(&tell(&mut client, &elsewhere, &[]).await, 400, "invalid_request");
        refused(&tell(&mut client, "x", &[]).await, 400, "invalid_request");
    }
    for _ in 0..3 {
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let forged =
            format!("{signed}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
        refused(&tell(&mut client, &forged, &[]).await, 400, "invalid_request");
    }
    let braked = tell(&mut client, &good, &[]).await;
    refused(&braked, 429, "temporarily_unavailable");
    assert!(braked.header("retry-after").is_some());
}

#[tokio::test]
async fn what_an_issuer_said_is_listed_under_its_name() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "").await;
    let mut client = gateway.connect().await;
    assert_eq!(tell(&mut client, &logout_token(&gateway.issuer, &json!({})), &[]).await.status, 200);
    let entry = Operator::of(&gateway).get("/revocations?kind=sid").await.json()["revocations"][0].clone();
    assert_eq!((&entry["value"], &entry["issuer"]), (&json!("s1"), &json!("test")), "{entry}");
    assert_eq!(
        (&entry["made_by"], &entry["reason"]),
        (&json!(ISS), &json!("back-channel logout")),
        "{entry}"
    );
}
