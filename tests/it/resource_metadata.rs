//! Whom clients should ask for a token, and for which (RFC 9728): the challenge leads to the metadata, and
//! that names the resource by which it was found.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// `gate.localhost:8080` is `public_url`; `/only` is served under `shop.localhost` alone, `/w` under names
/// below it.
async fn gateway(upstream: &Upstream) -> Gateway {
    let to = upstream.url();
    Gateway::with(&format!(
        "routes:
  - {{ path: /api/*, to: \"{to}\", issuers: test, require: {{ scope: api:read }} }}
  - {{ path: \"/api/{{id}}/*\", to: \"{to}\", issuers: test, require: {{ scope: api:read, any_scope: [a, b] }} }}
  - {{ path: /api/admin/*, to: \"{to}\", require: {{ acr: [gold, silver], signed_in_within: 5m }} }}
  - {{ path: /named/*, to: \"{to}\", require: {{ scope: named }} }}
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /only/*, to: \"{to}\", host: shop.localhost }}
  - {{ path: /w/*, to: \"{to}\", host: \"*.shop.localhost\" }}
"
    ))
    .await
}

async fn ask(client: &mut Client, method: &str, target: &str, host: &str) -> Answer {
    client
        .send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://any.example\r\n\r\n"))
        .await;
    client.answer_to(method).await.unwrap()
}

/// The URL that a challenge gives for the metadata.
fn metadata_url(answer: &Answer) -> String {
    let challenge = answer.challenge().unwrap();
    let (_, rest) = challenge.split_once("resource_metadata=\"").unwrap_or_else(|| panic!("{challenge}"));
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_challenge_leads_to_the_metadata_of_the_resource_that_was_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    for (host, path, resource) in [
        (HOST, "/api/x", "http://gate.localhost:8080/api"),
        (HOST, "/api/x/y", "http://gate.localhost:8080/api"),
        (HOST, "/api/admin/y", "http://gate.localhost:8080/api/admin"),
        ("gate.localhost", "/api/x", "http://gate.localhost:8080/api"),
        ("shop.localhost:8080", "/only/x", "http://shop.localhost:8080/only"),
        ("a.shop.localhost", "/w/x", "http://a.shop.localhost:8080/w"),
        ("b.shop.localhost", "/named", "http://b.shop.localhost:8080/named"),
    ] {
        let refused = ask(&mut client, "GET", path, host).await;
        assert_eq!(refused.status, 401, "{host}{path}");
        let url = metadata_url(&refused);
        // RFC 9728 section 3.1: what the identifier says of the place.
        let (origin, rest) = resource.split_at(resource[7..].find('/').unwrap() + 7);
        assert_eq!(url, format!("{origin}{WELL_KNOWN}{rest}"));
        let (host, target) = url.strip_prefix("http://").unwrap().split_at(origin.len() - 7);
        let metadata = ask(&mut client, "GET", target, host).await;
        assert_eq!(metadata.status, 200, "{url}");
        assert_eq!(metadata.json()["resource"], resource, "section 3.3");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn metadata_says_whose_tokens_and_which_scopes() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let answer = ask(&mut client, "GET", &format!("{WELL_KNOWN}/api"), HOST).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(
        answer.json(),
        json!({
            "resource": "http://gate.localhost:8080/api",
            "authorization_servers": ["http://127.0.0.1:9/issuer"],
            "scopes_supported": ["api:read", "a", "b"],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported":
                ["ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
        })
    );
    let both = ask(&mut client, "GET", &format!("{WELL_KNOWN}/named"), HOST).await.json();
    assert_eq!(both["authorization_servers"], json!(["http://127.0.0.1:9/issuer", "http://127.0.0.1:9"]));
    for (method, target, host, status) in [
        ("HEAD", "/api", HOST, 200),
        ("GET", "/api/", HOST, 200),
        ("GET", "/public", HOST, 200),
        ("GET", "", HOST, 404),
        ("GET", "/api/x", HOST, 404),
        ("GET", "/nothing", HOST, 404),
        ("GET", "/only", HOST, 404),
        ("GET", "/w", "shop.localhost", 404),
        ("GET", "/api", "evil.example", 421),
        ("GET", "/api/../api", HOST, 400),
        ("POST", "/api", HOST, 405),
        ("DELETE", "/nothing", HOST, 405),
    ] {
        let answer = ask(&mut client, method, &format!("{WELL_KNOWN}{target}"), host).await;
        assert_eq!(answer.status, status, "{method} {host} {target}");
        if status == 404 || status == 405 {
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            assert_eq!(answer.challenge(), None);
        }
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
    let line = &gateway.logged(1).await[0];
    assert_eq!((&line["route"], &line["outcome"]), (&json!(WELL_KNOWN), &json!("ok")));
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn any_page_may_read_it_also_with_header_fields_of_its_own() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let fields = [
        ("Origin", "https://any.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "mcp-protocol-version"),
    ];
    client.send(request("OPTIONS", &format!("{WELL_KNOWN}/api"), &fields, b"")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(answer.header("access-control-allow-headers"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS"));
    client.send(request("OPTIONS", &format!("{WELL_KNOWN}/nothing"), &fields, b"")).await;
    assert_eq!(client.answer().await.status, 404);
}

#[tokio::test]
async fn a_resource_is_called_what_the_operator_says() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let text = format!(
        "issuers:
  corp: {{ url: \"http://127.0.0.1:9\", audience: [\"http://{HOST}\", \"http://shop.localhost:8080/all\"] }}
routes:
  - {{ path: /api/*, to: \"{to}\", resource: \"http://{HOST}\", require: {{ scope: read }} }}
  - {{ path: /more/*, to: \"{to}\", resource: \"http://{HOST}\", require: {{ scope: more }} }}
  - {{ path: /only/*, to: \"{to}\", host: shop.localhost, resource: \"http://shop.localhost:8080/all\" }}
"
    );
    let gateway = Gateway::unready(&text, |_| {}).unwrap();
    let mut client = gateway.connect().await;
    for path in ["/api/x", "/more/x"] {
        let refused = ask(&mut client, "GET", path, HOST).await;
        assert_eq!(metadata_url(&refused), format!("http://{HOST}{WELL_KNOWN}"));
    }
    let refused = ask(&mut client, "GET", "/only/x", "shop.localhost").await;
    assert_eq!(metadata_url(&refused), format!("http://shop.localhost:8080{WELL_KNOWN}/all"));
    let root = ask(&mut client, "GET", WELL_KNOWN, HOST).await.json();
    assert_eq!(
        (&root["resource"], &root["scopes_supported"]),
        (&json!(format!("http://{HOST}")), &json!(["read", "more"]))
    );
    for (target, host) in [("/api", HOST), ("/only", "shop.localhost"), ("", "shop.localhost")] {
        assert_eq!(
            ask(&mut client, "GET", &format!("{WELL_KNOWN}{target}"), host).await.status,
            404,
            "{host} {target}"
        );
    }
    let all: Value = ask(&mut client, "GET", &format!("{WELL_KNOWN}/all"), "shop.localhost").await.json();
    assert_eq!(all["resource"], "http://shop.localhost:8080/all");
}

#[tokio::test]
async fn a_challenge_says_what_a_token_must_have() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let metadata = format!("resource_metadata=\"http://{HOST}{WELL_KNOWN}");
    let anonymous = client.get("/api/x/y", &[]).await;
    let wanted = format!("Bearer realm=\"api\", {metadata}/api\", scope=\"api:read a\"");
    assert_eq!(anonymous.challenge(), Some(&*wanted));
    let other = gateway.bearer("alice", "other b");
    let lacking = client.get("/api/x/y", &[("Authorization", &other)]).await;
    assert_eq!(lacking.status, 403);
    let challenge = lacking.challenge().unwrap();
    assert!(
        challenge
            .starts_with(&format!("Bearer realm=\"api\", {metadata}/api\", error=\"insufficient_scope\", "))
    );
    assert!(challenge.ends_with(", scope=\"api:read b\""), "{challenge}");
    let opaque = client.get("/api/x/y", &[("Authorization", "Bearer opaque")]).await;
    let challenge = opaque.challenge().unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert!(challenge.ends_with(", scope=\"api:read a\""), "{challenge}");
    let step_up = client.get("/api/admin/y", &[("Authorization", &other)]).await;
    assert_eq!(step_up.status, 401);
    let challenge = step_up.challenge().unwrap();
    assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
    assert!(challenge.ends_with(", acr_values=\"gold silver\", max_age=\"300\""), "{challenge}");
    let bad = client.get("/public/x", &[("Authorization", "Bearer opaque")]).await;
    let challenge = bad.challenge().unwrap();
    assert!(
        challenge.starts_with(&format!("Bearer realm=\"api\", {metadata}/public\", error=\"invalid_token\"")),
        "{challenge}"
    );
    assert!(!challenge.contains("scope="), "{challenge}");
}
