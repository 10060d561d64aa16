//! `to: none`: what other routes cover and nothing serves, in whatever spelling it is asked for.

use serde_json::json;

use crate::support::client::{Answer, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::operator::Operator;
use crate::support::upstream::Upstream;
use crate::upstreams::reload;

const OPERATORS: &str = "0123456789abcdef";
const APP: &str = "http://app.gate.localhost:3000";

fn routes(to: &str) -> String {
    format!(
        "clients: {{ web: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"{APP}/back\", origins: \"{APP}\" }} }}
routes:
  - {{ path: /api/*, to: \"{to}\", public: true }}
  - {{ path: /api/internal/*, to: none }}
  - {{ path: /api/internal/docs, to: \"{to}\", public: true }}
  - {{ path: /api/internal/jobs, to: \"{to}\", public: true, methods: GET }}
  - {{ path: /api/internal/jobs, to: none }}
  - {{ path: /api/shop, host: \"*.localhost\", to: none }}
  - {{ path: \"/kept/{{id}}\", to: \"{to}\", public: true, encoded_slash: keep }}
  - {{ path: /kept/a%2Fb, to: none, encoded_slash: keep }}
  - {{ path: /none, to: none }}
"
    )
}

#[tokio::test]
async fn a_hole_is_answered_as_where_no_route_is_in_every_spelling() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&routes(&upstream.url())).await;
    let mut client = gateway.connect().await;
    let bearer = gateway.bearer("alice", "api:read");
    let nothing = client.get("/nothing", &[]).await;
    for (method, path, status) in [
        ("GET", "/api/x", 200),
        ("GET", "/api/internals", 200),
        ("GET", "/api/internal", 404),
        ("GET", "/api/internal/", 404),
        ("GET", "/api/internal/x?y", 404),
        ("POST", "/api/internal/x/y", 404),
        ("OPTIONS", "/api/internal/x", 404),
        ("GET", "/api/%69nternal/x", 404),
        ("GET", "/api/internal/docs", 200),
        ("GET", "/api/internal/jobs", 200),
        ("POST", "/api/internal/jobs", 404),
        ("GET", "/api/shop", 404),
        ("GET", "/none", 404),
        ("GET", "/kept/a%2Fc", 200),
        ("GET", "/kept/a%2Fb", 404),
        // What a service could take for it.
        ("GET", "/api/Internal/x", 400),
        ("GET", "/api/internal;x/y", 400),
        ("GET", "/api/x/../internal/y", 400),
        ("GET", "/api//internal/y", 400),
        ("GET", "/api/internal%2Fx", 400),
    ] {
        let before = upstream.received().len();
        client.send(request(method, path, &[("Authorization", &bearer)], b"")).await;
        let answer = client.answer_to(method).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(upstream.received().len() - before, usize::from(status == 200), "{method} {path}");
        if status == 404 {
            let told = |answer: &Answer| {
                let mut json = answer.json();
                json.as_object_mut().unwrap().remove("request_id");
                (json, answer.all("www-authenticate").len(), answer.all("allow").len())
            };
            assert_eq!(told(&answer), told(&nothing), "{method} {path}");
        }
    }
    let fields = [("Origin", APP), ("Access-Control-Request-Method", "GET")];
    for (path, status) in [("/api/x", 204), ("/api/internal/x", 404), ("/api/internal/jobs", 204)] {
        client.send(request("OPTIONS", path, &fields, b"")).await;
        assert_eq!(client.answer_to("OPTIONS").await.unwrap().status, status, "{path}");
    }
    let lines = gateway.logged(24).await;
    let hole = lines.iter().find(|line| line["path"] == "/api/internal/x/y").unwrap();
    assert_eq!((&hole["outcome"], hole.get("route")), (&json!("no_route"), None));
}

#[tokio::test]
async fn a_hole_has_no_metadata_no_metrics_and_the_status_page_calls_it_none() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::administered(OPERATORS, &routes(&upstream.url())).await;
    let mut client = gateway.connect().await;
    for (path, status) in [("/api", 200), ("/none", 404), ("/api/internal", 404)] {
        let answer = client.get(&format!("/.well-known/oauth-protected-resource{path}"), &[]).await;
        assert_eq!(answer.status, status, "{path}");
    }
    assert_eq!(client.get("/none", &[]).await.status, 404);
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    assert!(metrics.contains("route=\"/api/*\"") && !metrics.contains("route=\"/none\""), "{metrics}");
    let status = Operator::with_token(&gateway, OPERATORS).get("/status").await.json();
    let hole = status["routes"].as_array().unwrap().iter().find(|route| route["path"] == "/none").unwrap();
    assert_eq!((&hole["upstream"], &hole["public"]), (&json!("none"), &json!(false)));
}

#[tokio::test]
async fn a_reload_makes_a_hole_and_closes_it() {
    let upstream = Upstream::start().await;
    let served = routes(&upstream.url());
    let gateway = Gateway::with(&served).await;
    let status = async |path: &str| gateway.connect().await.get(path, &[]).await.status;
    assert_eq!(status("/api/x").await, 200);
    let public = format!("to: \"{}\", public: true }}\n  - {{ path: /api/internal/*", upstream.url());
    reload(&gateway, &served.replacen(&public, "to: none }\n  - { path: /api/internal/*", 1));
    assert_eq!((status("/api/x").await, status("/api/internal/docs").await), (404, 200));
    reload(&gateway, &served);
    assert_eq!((status("/api/x").await, status("/api/internal/x").await), (200, 404));
}

#[tokio::test]
async fn explain_says_which_hole_it_is() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&routes(&upstream.url())).await;
    let explain = async |method: &str, path: &str| {
        let url = format!("http://{HOST}{path}");
        let (code, text) = crate::explain::explain(gateway.folder(), &[method, &url]).await;
        (code, text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let (code, told) = explain("GET", "/api/internal/x").await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("NO /api/internal/* -> none: not served, 404"), "{told}");
    assert!(told.contains("not /api/* its path is less specific"), "{told}");
    assert!(told.contains("refused: 404 no_route"), "{told}");
    let (code, told) = explain("GET", "/api/internal/docs").await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("not /api/internal/* its path is less specific"), "{told}");
    let (_, told) = explain("POST", "/api/internal/jobs").await;
    assert!(told.contains("NO /api/internal/jobs -> none"), "{told}");
}
