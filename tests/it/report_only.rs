//! Routes with `report_only`: what they would refuse passes as nobody's and is reported; what is no matter of
//! the credential is refused as ever.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::streams::{HANDSHAKE, SWITCHES};
use crate::support::client::{HOST, request};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Upstream};

async fn gateway(to: &str, more: &str) -> Gateway {
    Gateway::with(&format!(
        "{more}clients:
  spa: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"http://{HOST}/cb\" }}
routes:
  - {{ path: /trial/*, to: \"{to}\", report_only: true, require: {{ scope: api:read }} }}
  - {{ path: /trial/public/*, to: \"{to}\", report_only: true, public: true }}
  - {{ path: /trial/read, to: \"{to}\", report_only: true, methods: [GET] }}
  - {{ path: /trial/cors, to: \"{to}\", report_only: true, cors: upstream }}
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
"
    ))
    .await
}

/// A request that would be refused: its name, path, fields, and the reason.
type Case = (&'static str, &'static str, Vec<(&'static str, String)>, &'static str);

fn refused(gateway: &Gateway) -> Vec<Case> {
    let bearer = |token: String| ("Authorization", format!("Bearer {token}"));
    let with = |claims: Value| bearer(gateway.issuer.token_with(claims));
    let good = gateway.issuer.token("alice", "api:read");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    vec![
        ("nothing", "/trial/x", vec![], "no_credential"),
        ("another scheme", "/trial/x", vec![("Authorization", "Basic eDp5".to_owned())], "scheme_not_taken"),
        ("no JWT", "/trial/x", vec![bearer("opaque".to_owned())], "token_malformed"),
        ("expired", "/trial/x", vec![with(json!({ "exp": now - 100, "iat": now - 200 }))], "token_expired"),
        ("another audience", "/trial/x", vec![with(json!({ "aud": "else" }))], "wrong_audience"),
        ("another issuer", "/trial/x", vec![with(json!({ "iss": "https://else" }))], "unknown_issuer"),
        (
            "a forged one",
            "/trial/x",
            vec![bearer(crate::support::issuer::Issuer::new().token("mallory", "api:read"))],
            "bad_signature",
        ),
        (
            "an issuer that is away",
            "/trial/x",
            vec![with(json!({ "iss": "http://127.0.0.1:9" }))],
            "keys_unavailable",
        ),
        (
            "too little scope",
            "/trial/x",
            vec![bearer(gateway.issuer.token("bob", "other"))],
            "insufficient_scope",
        ),
        ("two", "/trial/x", vec![bearer(good.clone()), bearer(good.clone())], "several_credentials"),
        (
            "in the query",
            "/trial/x?a=1&access_token=hidden&b=2",
            vec![bearer(good.clone())],
            "token_in_query",
        ),
        ("too large", "/trial/x", vec![bearer("a".repeat(9000))], "token_too_large"),
        (
            "bad, where none is needed",
            "/trial/public/x",
            vec![bearer("opaque".to_owned())],
            "token_malformed",
        ),
    ]
}

#[tokio::test]
async fn what_would_be_refused_passes_as_nobodys_and_is_reported() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url(), "identity: { access_token: forward }\n").await;
    let cases = refused(&gateway);
    let mut client = gateway.connect().await;
    for (name, path, fields, _) in &cases {
        let mut fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.push(("X-Auth-Subject", "forged"));
        fields.push(("Cookie", "a=1; __Secure-tollgate-spa=sealed"));
        let answer = client.get(path, &fields).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]), "{name}");
        assert_eq!(answer.challenge(), None, "{name}");
    }
    let received = upstream.received();
    assert_eq!(received.len(), cases.len());
    for (seen, (name, path, ..)) in received.iter().zip(&cases) {
        for field in ["authorization", "x-auth-subject", "x-auth-client", "x-auth-scope", "x-auth-issuer"] {
            assert_eq!(seen.header(field), None, "{name}");
        }
        assert_eq!(seen.header("cookie"), Some("a=1"), "{name}");
        let sent = if path.contains('?') { "/trial/x?a=1&b=2" } else { path };
        assert_eq!(seen.path(), sent, "{name}");
    }
    let lines = gateway.logged(cases.len()).await;
    for (line, (name, _, _, reason)) in lines.iter().zip(&cases) {
        assert_eq!((&line["status"], &line["outcome"]), (&json!(200), &json!("ok")), "{name}");
        assert_eq!(line["report_only"], *reason, "{name}");
    }
    let bob = lines.iter().find(|line| line["report_only"] == "insufficient_scope").unwrap();
    assert_eq!((&bob["subject"], &bob["client"]), (&json!("bob"), &json!("web-app")), "the log says who");
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    for line in [
        r#"tollgate_report_only_denials_total{reason="no_credential",route="/trial/*"} 1"#,
        r#"tollgate_report_only_denials_total{reason="insufficient_scope",route="/trial/*"} 1"#,
        r#"tollgate_report_only_denials_total{reason="token_malformed",route="/trial/public/*"} 1"#,
        r#"tollgate_requests_total{route="/trial/*",status="200"} 12"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    let denials: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("tollgate_denials_total{")).collect();
    assert!(denials.iter().all(|line| line.ends_with(" 0")), "nothing was refused:\n{metrics}");
}

#[tokio::test]
async fn whoever_has_a_good_token_is_known_there_as_elsewhere() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url(), "").await;
    let bearer = gateway.bearer("alice", "api:read");
    let answer = gateway.connect().await.get("/trial/x", &[("Authorization", &bearer)]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.only().header("x-auth-subject"), Some("alice"));
    let line = &gateway.logged(1).await[0];
    assert_eq!((&line["subject"], line.get("report_only")), (&json!("alice"), None));
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    assert!(!metrics.contains("report_only_denials_total{"), "{metrics}");
}

#[tokio::test]
async fn a_trial_lets_nothing_through_that_is_no_matter_of_the_credential() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url(), "limits: { body: 10 }\n").await;
    let mut client = gateway.connect().await;
    for (method, target, body, status) in [
        ("GET", "/trial/../api/x", "", 400),
        ("GET", "/trial/%2e%2e/api/x", "", 400),
        ("GET", "/trial//x", "", 400),
        ("GET", "/else", "", 404),
        ("POST", "/trial/read", "", 405),
        ("POST", "/trial/x", "more than ten bytes", 413),
        ("GET", "/api/x", "", 401),
    ] {
        client.send(request(method, target, &[], body.as_bytes())).await;
        assert_eq!(client.answer().await.status, status, "{method} {target}");
    }
    client.send("GET /trial/x HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 421);
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_trial_counts_against_nobody_but_a_brake_holds_there_too() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url(), "limits: { denials_per_address: 3/h }\n").await;
    let mut client = gateway.connect().await;
    let bad = |n: usize| format!("Bearer {}", gateway.issuer.token_with(json!({ "aud": "else", "jti": n })));
    for n in 0..6 {
        assert_eq!(client.get("/trial/x", &[("Authorization", &bad(n))]).await.status, 200, "{n}");
    }
    for (line, n) in gateway.logged(6).await.iter().zip(0..) {
        // Past the allowance nothing is verified for it, and it goes on as nobody's.
        let reason = if n < 3 { "wrong_audience" } else { "too_many_denials" };
        assert_eq!(line["report_only"], reason, "{n}");
    }
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let denials: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("tollgate_denials_total{")).collect();
    assert!(denials.iter().all(|line| line.ends_with(" 0")), "nothing was refused:\n{metrics}");
    let fresh = gateway.bearer("alice", "api:read");
    assert_eq!(client.get("/api/x", &[("Authorization", &fresh)]).await.status, 200, "nobody was denied yet");
    for n in 6..9 {
        assert_eq!(client.get("/api/x", &[("Authorization", &bad(n))]).await.status, 401, "{n}");
    }
    assert_eq!(client.get("/trial/x", &[("Authorization", &bad(9))]).await.status, 429, "it would be work");
    assert_eq!(client.get("/trial/x", &[]).await.status, 200);
}

#[tokio::test]
async fn a_stream_that_would_be_refused_is_opened_as_nobodys() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| SWITCHES.as_bytes().to_vec())).await;
    let gateway = gateway(&upstream.url(), "").await;
    let mut fields = HANDSHAKE.to_vec();
    fields.push(("Authorization", "Bearer opaque"));
    let mut client = gateway.connect().await;
    client.send(request("GET", "/trial/chat", &fields, b"")).await;
    assert_eq!(client.interim().await, 101);
    // From a page that is not listed, as subprotocol.
    let mut fields = HANDSHAKE.to_vec();
    fields.push(("Origin", "https://evil.example"));
    fields.push(("Sec-WebSocket-Protocol", "chat, tollgate.bearer.YS5iLmM"));
    let mut client = gateway.connect().await;
    client.send(request("GET", "/trial/chat", &fields, b"")).await;
    assert_eq!(client.interim().await, 101);
    let all = upstream.received();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].header("authorization"), all[0].header("x-auth-subject")), (None, None));
    assert_eq!(all[1].header("sec-websocket-protocol"), Some("chat"));
}

/// A preflight has the target of the request that it is for.
#[tokio::test]
async fn a_page_that_has_its_token_in_the_query_may_ask_first() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url(), "").await;
    let mut client = gateway.connect().await;
    for (target, origin, status) in [
        ("/trial/x?access_token=hidden", "http://gate.localhost:8080", 204),
        ("/trial/x?access_token=hidden", "http://evil.example", 403),
        ("/api/x?access_token=hidden", "http://gate.localhost:8080", 400),
        ("/trial/cors?a=1&access_token=hidden", "http://evil.example", 200),
    ] {
        let fields = [("Origin", origin), ("Access-Control-Request-Method", "GET")];
        client.send(request("OPTIONS", target, &fields, b"")).await;
        assert_eq!(client.answer().await.status, status, "{target} from {origin}");
    }
    assert_eq!(upstream.only().line(), "OPTIONS /trial/cors?a=1");
}
