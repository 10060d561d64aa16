//! What pages of other origins may read, and what they learn before they send.

use std::sync::Arc;

use serde_json::json;

use crate::support::client::{Answer, Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::upstream::{Received, Upstream};

const OWN: &str = "http://gate.localhost:8080";
const APP: &str = "http://app.gate.localhost:3000";
const OTHER: &str = "http://other.gate.localhost:3000";
const EVIL: &str = "http://evil.gate.localhost:3000";

/// What pages may send everywhere.
const ALWAYS: &str = "Authorization, Content-Type, DPoP, traceparent, tracestate, baggage";

async fn gateway(upstream: &Upstream) -> Gateway {
    let to = upstream.url();
    Gateway::with(&format!(
        "clients:
  web-app: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"http://{HOST}/back\", origins: [\"{OWN}\", \"{APP}\"] }}
  other: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"{OTHER}/back\", origins: [\"{OTHER}\"] }}
routes:
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /other/*, to: \"{to}\", clients: other }}
  - {{ path: /read, to: \"{to}\", methods: GET, public: true }}
  - {{ path: /read, to: \"{to}\", methods: PUT }}
  - {{ path: /own-cors/*, to: \"{to}\", cors: upstream }}
  - {{ path: \"/kept/{{id}}\", to: \"{to}\", methods: GET, encoded_slash: keep }}
"
    ))
    .await
}

async fn preflight(client: &mut Client, path: &str, origin: &str, method: &str) -> Answer {
    let fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "authorization"),
        ("Sec-Fetch-Mode", "cors"),
    ];
    client.send(request("OPTIONS", path, &fields, b"")).await;
    client.answer().await
}

#[tokio::test]
async fn preflights_are_answered_for_the_clients_that_the_route_takes() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    for (path, origin, method, methods) in [
        ("/api/x", APP, "GET", Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        ("/api/x", OWN, "PATCH", Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        ("/api/x", OTHER, "GET", Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        ("/public/x", APP, "POST", Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        ("/other/x", OTHER, "GET", Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        ("/other/x", APP, "GET", None),
        ("/read", APP, "PUT", Some("PUT")),
        ("/read", APP, "GET", Some("GET")),
        ("/api/x", EVIL, "GET", None),
        ("/api/x", "null", "GET", None),
        ("/oauth/token", APP, "POST", Some("POST, DELETE")),
        ("/oauth/token", OTHER, "DELETE", Some("POST, DELETE")),
        ("/oauth/token", EVIL, "POST", None),
    ] {
        let answer = preflight(&mut client, path, origin, method).await;
        assert_eq!(answer.header("access-control-allow-methods"), methods, "{path} {origin}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{path}");
        assert!(answer.keeps_alive());
        if methods.is_none() {
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{path}");
            continue;
        }
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("access-control-allow-headers"), Some(ALWAYS));
        assert_eq!(answer.header("access-control-max-age"), Some("600"));
        let is_ours = path.starts_with("/oauth/");
        assert_eq!(answer.header("access-control-allow-credentials"), is_ours.then_some("true"), "{path}");
        assert_eq!(answer.header("cache-control"), is_ours.then_some("no-store"), "{path}");
    }
    assert!(upstream.received().is_empty(), "none of it reached the upstream");
}

#[tokio::test]
async fn listed_pages_may_send_the_headers_that_are_configured_and_they_arrive() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "cors: {{ headers: [Idempotency-Key] }}
clients:
  web-app: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"http://{HOST}/back\", origins: [\"{APP}\"] }}
routes:
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: /more/*, to: \"{to}\", cors: {{ headers: [If-Match, X-Requested-With] }} }}
  - {{ path: /own-cors/*, to: \"{to}\", cors: upstream }}
"
    ))
    .await;
    let mut client = gateway.connect().await;
    for (path, more) in [
        ("/api/x", ", idempotency-key"),
        ("/more/x", ", idempotency-key, if-match, x-requested-with"),
        ("/oauth/token", ", idempotency-key"),
    ] {
        let answer = preflight(&mut client, path, APP, "POST").await;
        let allowed = format!("{ALWAYS}{more}");
        assert_eq!(answer.header("access-control-allow-headers"), Some(allowed.as_str()), "{path}");
        for origin in [EVIL, "null"] {
            let answer = preflight(&mut client, path, origin, "POST").await;
            assert_eq!((answer.status, answer.header("access-control-allow-headers")), (403, None), "{path}");
        }
    }
    assert!(upstream.received().is_empty());
    preflight(&mut client, "/own-cors/x", APP, "POST").await;
    assert_eq!(upstream.received().len(), 1, "its upstream says what it takes");
    let token = gateway.bearer("alice", "api:read");
    let fields = [
        ("Authorization", token.as_str()),
        ("Origin", APP),
        ("If-Match", "\"a\""),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("baggage", "user=bob"),
    ];
    assert_eq!(client.get("/more/x", &fields).await.status, 200);
    let seen = upstream.received().pop().unwrap();
    assert_eq!((seen.header("if-match"), seen.header("baggage")), (Some("\"a\""), Some("user=bob")));
    let trace = seen.header("traceparent").unwrap();
    assert!(!trace.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "a page is not believed in it: {trace}");
}

#[tokio::test]
async fn a_preflight_for_a_method_that_the_path_lacks_learns_those_that_it_has() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let answer = preflight(&mut client, "/read", APP, "DELETE").await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, Some("GET")));
    assert_eq!(preflight(&mut client, "/nothing", APP, "GET").await.status, 404);
    assert_eq!(preflight(&mut client, "/oauth/login", APP, "GET").await.status, 404);
    assert_eq!(preflight(&mut client, "/api/..%2fx", APP, "GET").await.status, 400);
    for method in ["GET", "PUT"] {
        assert_eq!(preflight(&mut client, "/kept/a%2Fb", APP, method).await.status, 204, "{method}");
        assert_eq!(preflight(&mut client, "/read%2Fx", APP, method).await.status, 400, "{method}");
        assert_eq!(preflight(&mut client, "/api/a%2Fb", APP, method).await.status, 400, "{method}");
    }
}

#[tokio::test]
async fn a_page_reads_answers_and_refusals_and_foreign_pages_neither() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept-Encoding\r\n\
          Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
          Access-Control-Expose-Headers: ETag\r\nAccess-Control-Expose-Headers: X-Total\r\n\r\nok"
            .to_vec()
    }))
    .await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let bearer = gateway.bearer("alice", "api:read");
    let ours = "WWW-Authenticate, Retry-After, X-Request-Id, DPoP-Nonce";
    let exposed = format!("{ours}, ETag, X-Total");
    for (path, origin, token, status, reads) in [
        ("/api/x", APP, true, 200, Some(exposed.as_str())),
        ("/api/x", EVIL, true, 200, None),
        ("/api/x", APP, false, 401, Some(ours)),
        ("/api/x", EVIL, false, 401, None),
        ("/public/x", APP, false, 200, Some(exposed.as_str())),
        ("/nothing", APP, false, 404, Some(ours)),
        ("/nothing", EVIL, false, 404, None),
        ("/read", APP, false, 200, Some(exposed.as_str())),
        ("/other/x", APP, true, 401, None),
        ("/other/x", OTHER, true, 401, Some(ours)),
        ("/api/%2e%2e/x", APP, false, 400, Some(ours)),
    ] {
        let mut fields = vec![("Origin", origin), ("Sec-Fetch-Mode", "cors")];
        if token {
            fields.push(("Authorization", &bearer));
        }
        let answer = client.get(path, &fields).await;
        let what = format!("{path} {origin}");
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.header("access-control-expose-headers"), reads, "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), reads.map(|_| origin), "{what}");
        let credentials = (reads.is_some() && matches!(status, 400 | 404)).then_some("true");
        assert_eq!(answer.header("access-control-allow-credentials"), credentials, "{what}");
        let varies = if status == 200 { vec!["Accept-Encoding", "Origin"] } else { vec!["Origin"] };
        assert_eq!(answer.all("vary"), varies, "{what}");
    }
    let answer = client.get("/public/x", &[]).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.all("vary"), ["Accept-Encoding", "Origin"], "also for those who sent no Origin");
    let lines = gateway.logged(12).await;
    assert_eq!(lines[2]["outcome"], json!("no_credential"));
}

#[tokio::test]
async fn errors_of_the_token_endpoint_are_readable_by_every_listed_page_and_no_other() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let body = b"grant_type=refresh_token&client_id=web-app";
    for (origin, status, reads) in [(APP, 400, true), (OTHER, 403, true), (EVIL, 403, false)] {
        client.send(request("POST", "/oauth/token", &[("Origin", origin), form], body)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), reads.then_some(origin));
        assert_eq!(answer.header("access-control-allow-credentials"), reads.then_some("true"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    client.send(request("DELETE", "/oauth/token?client_id=web-app", &[("Origin", APP)], b"")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(APP)));
}

#[tokio::test]
async fn a_route_may_leave_cors_to_its_upstream_which_sees_nobody_in_a_preflight() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: https://its.own.example\r\nVary: X\r\n\r\n"
            .to_vec()
    }))
    .await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let fields = [
        ("Origin", "https://its.own.example"),
        ("Access-Control-Request-Method", "PUT"),
        ("X-Auth-Subject", "admin"),
        ("X-HTTP-Method-Override", "PUT"),
        ("Cookie", "a=1; __Secure-tollgate-web-app=v"),
    ];
    client.send(request("OPTIONS", "/own-cors/x?q=1", &fields, b"")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://its.own.example"));
    assert_eq!(answer.all("vary"), ["X"]);
    let seen = upstream.only();
    assert_eq!(seen.line(), "OPTIONS /own-cors/x?q=1");
    client.send(request("OPTIONS", "/own-cors/x?access_token=abc", &fields[..2], b"")).await;
    assert_eq!(client.answer().await.status, 400, "a token in the query is written to logs on its way");
    assert_eq!((seen.header("x-auth-subject"), seen.header("cookie")), (None, Some("a=1")));
    assert_eq!(seen.header("x-http-method-override"), None);
    assert_eq!(seen.header("access-control-request-method"), Some("PUT"));
}

/// Whatever is more than a preflight needs what every request to the route needs.
#[tokio::test]
async fn what_only_looks_like_a_preflight_passes_no_gate() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let asks = ("Access-Control-Request-Method", "GET");
    let origin = ("Origin", APP);
    for (method, fields, body) in [
        ("OPTIONS", vec![asks], &b""[..]),
        ("OPTIONS", vec![origin], b""),
        ("OPTIONS", vec![origin, asks], b"x"),
        ("OPTIONS", vec![origin, asks, ("Authorization", "Bearer x")], b""),
        ("OPTIONS", vec![origin, asks, ("Connection", "Upgrade"), ("Upgrade", "websocket")], b""),
        ("OPTIONS", vec![origin, asks, asks], b""),
        ("GET", vec![origin, asks], b""),
        ("POST", vec![origin, asks], b""),
    ] {
        for path in ["/own-cors/x", "/api/x"] {
            client.send(request(method, path, &fields, body)).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 401, "{method} {path} {fields:?}");
        }
    }
    assert!(upstream.received().is_empty());
}

/// HTTP/2 needs no header to say that a body comes.
#[tokio::test]
async fn what_has_a_body_over_http_2_is_no_preflight() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = Http2::clear_text(gateway.public).await;
    for (parts, status) in [(&[&b"x"[..]][..], 401), (&[], 200)] {
        let asked = http::Request::options(format!("http://{HOST}/own-cors/x"))
            .header("origin", APP)
            .header("access-control-request-method", "PUT");
        assert_eq!(client.ask(asked.body(()).unwrap(), parts).await.unwrap().status, status, "{parts:?}");
    }
    assert_eq!(upstream.only().raw_body, b"");
}
