//! Who passes, what the upstream sees, and how a refusal looks.

use serde_json::json;

use crate::support::client::{HOST, request};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn a_good_token_passes_and_the_upstream_learns_who_calls() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let answer =
        client.get("/api/x?q=%41&r", &[("Authorization", &gateway.bearer("alice", "api:read openid"))]).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));

    let seen = upstream.only();
    assert_eq!(seen.line(), "GET /api/x?q=%41&r");
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("x-auth-client"), Some("web-app"));
    assert_eq!(seen.header("x-auth-scope"), Some("api:read openid"));
    assert_eq!(seen.header("x-auth-issuer"), Some(crate::support::issuer::ISS));
    assert_eq!(seen.header("authorization"), None, "the token stays here");
    assert_eq!(seen.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(seen.header("x-forwarded-host"), Some(HOST));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert!(seen.header("forwarded").unwrap().contains("for=127.0.0.1"));
    assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
    assert!(seen.header("traceparent").unwrap().starts_with("00-"));
    assert_eq!(answer.header("server"), None);
}

#[tokio::test]
async fn the_token_goes_on_only_where_the_operator_says_so() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "identity: {{ access_token: forward }}\nroutes: [{{ path: /*, to: \"{}\" }}]",
        upstream.url()
    ))
    .await;
    let bearer = gateway.bearer("alice", "");
    gateway.connect().await.get("/", &[("Authorization", &bearer)]).await;
    assert_eq!(upstream.only().header("authorization"), Some(bearer.as_str()));
}

#[tokio::test]
async fn nobody_else_sets_an_identity_header_in_any_spelling() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let spoofed = [
        "X-Auth-Subject",
        "x-auth-subject",
        "X_Auth_Subject",
        "X-AUTH_SUBJECT",
        "x.auth.subject",
        "X-Auth~Scope",
        "X-Auth-Issuer",
        "x_auth_client",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-Anything",
        "Forwarded",
        "Client-Cert",
        "Client_Cert_Chain",
        "X-Real-IP",
        "X-Original-URL",
        "X-Original-Anything",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X_Method_Override",
        "SCRIPT_NAME",
        "Path-Info",
        "X-Script-Name",
        "Daphne-Root-Path",
        "X-Scheme",
        "Proxy",
        "X-Request-Id",
        "X_Request_Id",
    ];
    let mut fields: Vec<_> = spoofed.iter().map(|name| (*name, "forged")).collect();
    fields.push(("X-Auth-Subject", "forged"));
    fields.push(("X-Harmless", "kept"));
    let bearer = gateway.bearer("alice", "api:read");
    let mut client = gateway.connect().await;
    for path in ["/public/a", "/public/b", "/api/c"] {
        let mut fields = fields.clone();
        if path != "/public/a" {
            fields.push(("Authorization", &bearer));
        }
        assert_eq!(client.get(path, &fields).await.status, 200);
    }
    client.send(request("OPTIONS", "/public/d", &fields, b"")).await;
    assert_eq!(client.answer().await.status, 200);
    let all = upstream.received();
    assert_eq!(all.len(), 4);
    for seen in &all {
        assert!(!seen.head.contains("forged"), "{}", seen.head);
        assert_eq!(seen.header("x-harmless"), Some("kept"));
    }
    assert_eq!(all[0].header("x-auth-subject"), None, "nobody is nobody");
    assert_eq!(all[2].header("x-auth-subject"), Some("alice"));
}

#[tokio::test]
async fn connection_cannot_take_an_identity_header_away() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let fields = [
        ("Authorization", &*gateway.bearer("alice", "api:read")),
        ("Connection", "x-auth-subject, x-auth-scope, x-request-id, x-hop"),
        ("X-Hop", "for the gateway alone"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("TE", "trailers"),
    ];
    let answer = gateway.connect().await.get("/api/x", &fields).await;
    assert_eq!(answer.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("x-auth-scope"), Some("api:read"));
    assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
    for gone in ["x-hop", "keep-alive", "proxy-authorization", "te", "connection"] {
        assert_eq!(seen.header(gone), None, "{gone}: {}", seen.head);
    }
}

/// Path, fields, status, reason, and what the challenge must contain.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str, Option<&'a str>);

#[tokio::test]
async fn refusals_look_as_the_contract_says() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let reader = gateway.bearer("alice", "api:read");
    let expired =
        format!("Bearer {}", gateway.issuer.token_with(json!({ "exp": 1_000_000_000, "iat": 999_999_000 })));
    let cases: [Case<'_>; 12] = [
        ("/api/x", &[], 401, "no_credential", Some("Bearer")),
        ("/api/x", &[("Authorization", "Bearer x")], 401, "token_malformed", Some("error=\"invalid_token\"")),
        ("/api/x", &[("Authorization", &expired)], 401, "token_expired", Some("error=\"invalid_token\"")),
        ("/public/x", &[("Authorization", &expired)], 401, "token_expired", Some("error=\"invalid_token\"")),
        (
            "/admin/x",
            &[("Authorization", &reader)],
            403,
            "insufficient_scope",
            Some("scope=\"api:read admin\""),
        ),
        ("/api/x?access_token=secret", &[], 400, "token_in_query", Some("error=\"invalid_request\"")),
        ("/nowhere", &[], 404, "no_route", None),
        ("/oauth", &[], 404, "no_route", None),
        ("/public/../api/x", &[], 400, "ambiguous_target", None),
        ("/public/%2e%2e/api/x", &[], 400, "ambiguous_target", None),
        ("/public//x", &[], 400, "ambiguous_target", None),
        ("/public/a%2fb", &[], 400, "ambiguous_target", None),
    ];
    for (path, fields, status, reason, challenge) in cases {
        let answer = client.get(path, fields).await;
        assert_eq!(answer.status, status, "{path} {fields:?}: {}", answer.head);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:tollgate:refusal:{reason}"), "{path}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("server"), None);
        match (challenge, answer.challenge()) {
            (Some(wanted), Some(given)) => assert!(given.contains(wanted), "{path}: {given}"),
            (None, None) => {}
            other => panic!("{path}: {other:?}"),
        }
        assert!(answer.keeps_alive(), "{path}: one refusal does not cost the connection");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_person_gets_a_page_and_a_program_a_problem() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let page = client.get("/api/x", &[("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html")]).await;
    assert_eq!(page.status, 401);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.challenge().unwrap().starts_with(r#"Bearer realm="api", "#));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert!(text.contains(page.header("x-request-id").unwrap()), "{text}");

    let fetch = client.get("/api/x", &[("Sec-Fetch-Mode", "cors"), ("Accept", "text/html")]).await;
    assert_eq!(fetch.header("content-type"), Some("application/problem+json"));
    let form = [("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html")];
    assert_eq!(client.get("/oauth/token", &form).await.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn no_token_no_error_and_two_are_one_too_many() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let anonymous = client.get("/api/x", &[]).await;
    assert!(!anonymous.challenge().unwrap().contains("error"));
    let bearer = gateway.bearer("alice", "api:read");
    let two = client.get("/api/x", &[("Authorization", &bearer), ("Authorization", &bearer)]).await;
    assert_eq!(two.status, 400);
    assert_eq!(two.json()["type"], "urn:tollgate:refusal:several_credentials");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn other_methods_and_other_hosts() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("POST", "/read/x", &[], b"")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.json()["type"], "urn:tollgate:refusal:method_not_allowed");
    assert!(answer.header("allow").unwrap().contains("GET"));

    client.send(request("TRACE", "/public/x", &[], b"")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 405);
    assert!(!answer.header("allow").unwrap().contains("TRACE"));

    client.send("GET /public/x HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.json()["type"]), (421, &json!("urn:tollgate:refusal:unknown_host")));
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn what_is_judged_is_what_is_sent() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let cases = [
        ("/public/%61b?%61=%2e%2e", "/public/ab?%61=%2e%2e"),
        ("/public/%C3%A4/~x", "/public/%C3%A4/~x"),
        ("/public/a;v=1,2/b@c:d", "/public/a;v=1,2/b@c:d"),
        ("/public/?", "/public/?"),
        ("/public", "/public"),
    ];
    for (asked, _) in cases {
        let answer = client.get(asked, &[]).await;
        assert_eq!(answer.status, 200, "{asked}: {}", String::from_utf8_lossy(&answer.body));
    }
    client.send(format!("GET http://{HOST}/public/abs HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_eq!(client.answer().await.status, 200);
    let seen: Vec<_> = upstream.received().iter().map(|seen| seen.path().to_owned()).collect();
    let wanted: Vec<_> = cases.iter().map(|(_, sent)| *sent).chain(["/public/abs"]).collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_known_by_its_address() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "trusted_proxies: [127.0.0.0/8]\nroutes: [{{ path: /*, to: \"{}\", public: true }}]",
        upstream.url()
    ))
    .await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Request-Id", "from-the-proxy-1"),
        ("traceparent", trace),
        ("tracestate", "a=b"),
    ];
    let answer = gateway.connect().await.get("/", &fields).await;
    assert_eq!(answer.header("x-request-id"), Some("from-the-proxy-1"));
    let seen = upstream.only();
    assert_eq!(seen.header("x-request-id"), Some("from-the-proxy-1"));
    assert_eq!(seen.header("traceparent"), Some(trace));
    assert_eq!(seen.header("tracestate"), Some("a=b"));
    assert!(seen.header("x-forwarded-for").unwrap().contains("203.0.113.9"));
    assert_eq!(gateway.logged(1).await[0]["address"], "203.0.113.9");
}

#[tokio::test]
async fn the_host_that_was_judged_is_the_host_that_is_told_whatever_a_trusted_proxy_passes_on() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "trusted_proxies: [127.0.0.0/8]\nroutes:\n  - {{ path: /*, host: a.example, to: \"{to}\", public: true }}\n  \
         - {{ path: /*, host: b.example, to: \"{to}\", require: {{ scope: api:read }} }}\n"
    ))
    .await;
    // As a proxy that leaves the client's own fields alone passes them on.
    let fields = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\n\
                  Forwarded: for=203.0.113.9;host=b.example\r\n";
    let mut client = gateway.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")).await;
    assert_eq!(client.answer().await.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.header("x-forwarded-host"), Some("a.example"));
    assert_eq!(
        seen.header("forwarded"),
        Some("for=203.0.113.9;host=a.example;proto=https, for=127.0.0.1;host=a.example;proto=http")
    );
    assert!(!seen.head.contains("b.example"), "{}", seen.head);
}

#[tokio::test]
async fn a_new_trace_is_sampled_where_the_operator_says_so_and_a_proxys_is_as_it_came() {
    let upstream = Upstream::start().await;
    let route = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    for (top, flags) in [
        ("", "-00"),
        ("trace: { sampled: true }\n", "-01"),
        ("trace: { sampled: true }\ntrusted_proxies: 127.0.0.1\n", "-00"),
    ] {
        let gateway = Gateway::with(&format!("{top}{route}")).await;
        assert_eq!(gateway.connect().await.get("/", &[("traceparent", theirs)]).await.status, 200);
        let seen = upstream.received().pop().unwrap();
        let sent = seen.header("traceparent").unwrap();
        assert!(sent.ends_with(flags), "{top}: {sent}");
        assert_eq!(sent == theirs, top.contains("trusted"));
    }
}

#[tokio::test]
async fn a_later_version_of_traceparent_goes_on_as_the_one_that_is_known() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "trusted_proxies: 127.0.0.1\nroutes: [{{ path: /*, to: \"{to}\", public: true }}]"
    ))
    .await;
    let theirs = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [("traceparent", &*format!("01-{theirs}-what-comes")), ("tracestate", "a=b")];
    assert_eq!(gateway.connect().await.get("/", &fields).await.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.header("traceparent"), Some(&*format!("00-{theirs}")));
    assert_eq!(seen.header("tracestate"), Some("a=b"));
}

#[tokio::test]
async fn the_log_says_who_and_what_and_holds_no_token() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let token = gateway.issuer.token("alice", "api:read");
    let mut client = gateway.connect().await;
    let fields = [("Authorization", &*format!("Bearer {token}")), ("Cookie", "session=crumb")];
    let answer = client.get("/api/x?code=secret-code", &fields).await;
    let refused = client.get("/api/y?access_token=secret-token", &[]).await;
    let without_scope = format!("Bearer {}", gateway.issuer.token("bob", "other"));
    client.get("/api/z", &[("Authorization", &*without_scope)]).await;
    let lines = gateway.logged(3).await;
    let (first, second, third) = (&lines[0], &lines[1], &lines[2]);
    assert_eq!(first["request_id"].as_str(), answer.header("x-request-id"));
    assert_eq!(first["subject"], "alice");
    assert_eq!(first["client"], "web-app");
    assert_eq!(first["route"], "/api/*");
    assert_eq!(first["path"], "/api/x");
    assert_eq!((&first["status"], &first["outcome"]), (&json!(200), &json!("ok")));
    assert_eq!((&first["method"], &first["bytes"]), (&json!("GET"), &json!(2)));
    assert_eq!(second["request_id"].as_str(), refused.header("x-request-id"));
    assert_eq!((&second["status"], &second["outcome"]), (&json!(400), &json!("token_in_query")));
    assert_eq!((&third["status"], &third["outcome"]), (&json!(403), &json!("insufficient_scope")));
    assert_eq!((&third["subject"], &third["client"]), (&json!("bob"), &json!("web-app")));
    let text = gateway.log.text();
    for secret in [&*token, "secret-code", "secret-token", "crumb"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn the_admin_listener_tells_operators_and_no_web_page() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.get("/public/x", &[]).await;
    client.get("/api/x", &[]).await;
    gateway.logged(2).await;
    assert_eq!(gateway.admin("/livez").await.status, 200);
    let ready = gateway.admin("/readyz").await;
    assert_eq!((ready.status, ready.json()["ready"].as_bool()), (200, Some(true)));
    assert_eq!(ready.json()["degraded"], json!(["issuer discovered: no keys yet"]));
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    for line in [
        r#"tollgate_requests_total{route="/public/*",status="200"} 1"#,
        r#"tollgate_requests_total{route="/api/*",status="401"} 1"#,
        r#"tollgate_denials_total{reason="no_credential",route="/api/*"} 1"#,
        r#"tollgate_connections{listener="public"} 1"#,
        "tollgate_requests_in_flight 0",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} is not in:\n{metrics}");
    }
    for (path, host, status) in [
        ("/metrics", "rebound.example", 421),
        ("/readyz", "rebound.example", 200),
        ("/metrics", "localhost:1", 200),
    ] {
        let mut client = crate::support::client::Client::connect(gateway.admin).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, status, "{path} as {host}");
    }
    assert_eq!(gateway.admin("/").await.status, 401);
    assert_eq!(gateway.admin("/nothing").await.status, 404);
    assert_eq!(gateway.connect().await.get("/metrics", &[]).await.status, 404, "not on the public side");
}
