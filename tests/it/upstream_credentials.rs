//! `headers` of an upstream: what Tollgate proves itself with. Each request to its servers has it, no other
//! server gets it, and nobody else can bring it.

use std::sync::Arc;

use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::until;
use crate::support::upstream::{Received, Upstream, plain};

const BASIC: &str = "Basic dG9sbGdhdGU6aHVudGVyMg==";

fn config(to: &Upstream, other: &Upstream, key: &str) -> String {
    let (to, other) = (to.url(), other.url());
    format!(
        "upstreams:
  api: {{ url: \"{to}\", headers: {{ Authorization: \"{BASIC}\", X-Api-Key: {key} }}, retries: 2, health: {{ path: /healthz, interval: 100ms }} }}
routes:
  - {{ path: /api/*, to: api, require: {{ scope: api:read }} }}
  - {{ path: /open/*, to: api, public: true }}
  - {{ path: /theirs/*, to: api, cors: upstream }}
  - {{ path: /trial/*, to: api, report_only: true }}
  - {{ path: /other/*, to: \"{other}\", public: true }}
"
    )
}

/// What this request has of both headers, each once and in no other spelling.
fn credentials(received: &Received) -> [Option<&str>; 2] {
    let spellings =
        received.fields().filter(|(name, _)| name.replace(['_', '.'], "-").eq_ignore_ascii_case("x-api-key"));
    assert!(spellings.count() < 2, "{}", received.line());
    ["authorization", "x-api-key"].map(|name| received.header(name))
}

const BROUGHT: [(&str, &str); 4] = [
    ("X-Api-Key", "stolen"),
    ("x_api_key", "stolen"),
    ("X-API.Key", "stolen"),
    ("Connection", "X-Api-Key, Authorization"),
];

#[tokio::test]
async fn each_request_to_it_has_them_whoever_calls_and_none_to_another_server() {
    let (upstream, other) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::with(&config(&upstream, &other, "key-hunter2")).await;
    let mut client = gateway.connect().await;
    let bearer = gateway.bearer("alice", "api:read");
    for (path, token) in
        [("/api/x", true), ("/open/x", false), ("/open/x", true), ("/trial/x", false), ("/trial/x", true)]
    {
        let mut fields = BROUGHT.to_vec();
        fields.extend(token.then_some(("Authorization", bearer.as_str())));
        assert_eq!(client.get(path, &fields).await.status, 200, "{path}");
    }
    let asks = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "GET"),
        ("X-Api-Key", "stolen"),
    ];
    client.send(request("OPTIONS", "/theirs/x", &asks, b"")).await;
    assert_eq!(client.answer().await.status, 200);
    let is_check = |received: &Received| received.path() == "/healthz";
    until("a health check", async || upstream.received().iter().any(is_check)).await;
    let received = upstream.received();
    assert_eq!(received.iter().filter(|received| !is_check(received)).count(), 6);
    let (preflights, requests): (Vec<&Received>, Vec<&Received>) =
        received.iter().partition(|received| received.line().starts_with("OPTIONS"));
    // It is judged by nothing but its route, and nobody's: so it has no credential, of Tollgate's neither.
    assert_eq!(preflights.iter().map(|one| credentials(one)).collect::<Vec<_>>(), [[None, None]]);
    for received in requests {
        assert_eq!(credentials(received), [Some(BASIC), Some("key-hunter2")], "{}", received.line());
    }

    assert_eq!(client.get("/other/x", &BROUGHT).await.status, 200);
    assert_eq!(credentials(&other.only()), [None, None], "nobody's on other routes");

    let shown = [gateway.admin("/metrics").await.body];
    let shown: String = shown.iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect();
    gateway.logged(7).await;
    for secret in ["hunter2", "dG9sbGdhdGU6"] {
        assert!(!shown.contains(secret) && !gateway.log.text().contains(secret));
    }
}

#[tokio::test]
async fn each_retry_has_them_and_a_reload_changes_them() {
    let fails =
        |received: &Received| if received.path() == "/healthz" { plain(received) } else { Vec::new() };
    let (upstream, other) = (Upstream::answering(Arc::new(fails)).await, Upstream::start().await);
    let gateway = Gateway::with(&config(&upstream, &other, "key-1")).await;
    let tries = |key: &'static str| {
        let all = upstream.received();
        all.iter()
            .filter(|one| one.path() == "/open/x" && credentials(one) == [Some(BASIC), Some(key)])
            .count()
    };
    let asks = async || gateway.connect().await.get("/open/x", &[("X-Api-Key", "stolen")]).await.status;
    assert_eq!(asks().await, 502);
    assert_eq!(tries("key-1"), 3);

    let text = gateway.text.replace("key-1", "key-2");
    std::fs::write(gateway.folder().join("config.yaml"), &text).unwrap();
    let loaded = tollgate::config::load(&gateway.folder().join("config.yaml"), &|_| None).unwrap();
    assert!(gateway.app.reload(loaded.settings).unwrap().is_empty(), "nothing waits for a restart");
    assert_eq!(asks().await, 502);
    assert_eq!((tries("key-1"), tries("key-2")), (3, 3));
}
