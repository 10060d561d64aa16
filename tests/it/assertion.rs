//! The signed word of the gateway to an upstream about who calls.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::issuer::ISS;
use crate::support::upstream::Upstream;

/// What an assertion says: header and claims. That it holds is tested with another library (tests/e2e).
pub(crate) fn read(assertion: &str) -> (Value, Value) {
    let mut parts = assertion.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

async fn start(identity: &str, routes: &[(&str, &Upstream, &str)]) -> Gateway {
    let routes: Vec<_> = routes
        .iter()
        .map(|(path, upstream, more)| format!("{{ path: {path}, to: \"{}\"{more} }}", upstream.url()))
        .collect();
    Gateway::with(&format!("identity: {identity}\nroutes: [{}]", routes.join(", "))).await
}

#[tokio::test]
async fn an_upstream_is_told_who_calls_under_a_signature_and_by_nobody_else() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let routes = [("/one/*", &one, ""), ("/two/*", &two, ""), ("/public/*", &one, ", public: true")];
    let gateway = start("{ assertion: {} }", &routes).await;
    let mut client = gateway.connect().await;
    let alice = gateway.bearer("alice", "api:read");
    let forged = [("X-Auth-Assertion", "forged"), ("x_auth.assertion", "forged")];
    for _ in 0..2 {
        let fields = [forged[0], forged[1], ("Authorization", alice.as_str())];
        assert_eq!(client.get("/one/x", &fields).await.status, 200);
    }
    client.get("/two/x", &[("Authorization", &alice)]).await;
    client.get("/one/x", &[("Authorization", &gateway.bearer("bob", ""))]).await;
    client.get("/public/x", &forged).await;

    let seen = one.received();
    let made = |at: usize| seen[at].header("x-auth-assertion").unwrap().to_owned();
    assert_eq!(made(0), made(1), "it serves again");
    let (header, claims) = read(&made(0));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("tollgate+jwt"), &json!("ES256")));
    assert_eq!(claims["iss"], "http://gate.localhost:8080");
    assert_eq!(claims["aud"], one.url().as_str());
    assert_eq!(claims["sub_id"], json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" }));
    assert_eq!((&claims["client_id"], &claims["scope"]), (&json!("web-app"), &json!("api:read")));
    assert_eq!(read(&made(2)).1["sub"], "bob");
    assert_eq!(seen[3].header("x-auth-assertion"), None, "nobody is nobody, whatever was sent");
    for request in &seen {
        assert_eq!(request.header("x_auth.assertion"), None);
    }
    assert_eq!(read(two.only().header("x-auth-assertion").unwrap()).1["aud"], two.url().as_str());
}

#[tokio::test]
async fn one_for_each_request_names_what_was_judged() {
    let upstream = Upstream::start().await;
    let identity = "{ assertion: { header: X-Caller, bind: request } }";
    let gateway = start(identity, &[("/api/*", &upstream, ", strip_prefix: /api")]).await;
    let mut client = gateway.connect().await;
    let alice = gateway.bearer("alice", "");
    for _ in 0..2 {
        client.send(request("POST", "/api/%61?q=1", &[("Authorization", &alice)], b"")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let claims: Vec<Value> =
        upstream.received().iter().map(|seen| read(seen.header("x-caller").unwrap()).1).collect();
    for claims in &claims {
        assert_eq!((&claims["method"], &claims["path"]), (&json!("POST"), &json!("/api/a")));
    }
    assert_ne!(claims[0]["jti"], claims[1]["jti"]);
}

#[tokio::test]
async fn the_public_keys_are_for_everybody_where_assertions_are_made() {
    let upstream = Upstream::start().await;
    let gateway = start("{ assertion: {} }", &[("/*", &upstream, "")]).await;
    let mut client = gateway.connect().await;
    let answer = client.get("/.well-known/jwks.json", &[]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let keys = answer.json();
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["use"], &key["alg"]), (&json!("EC"), &json!("sig"), &json!("ES256")));
    assert!(key["kid"].is_string() && key.get("d").is_none(), "{key}");
    client.send(request("POST", "/.well-known/jwks.json", &[], b"")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    let lines = gateway.logged(2).await;
    let told: Vec<_> = lines.iter().map(|line| (&line["route"], &line["outcome"])).collect();
    let route = json!("/.well-known/jwks.json");
    assert_eq!(told, [(&route, &json!("ok")), (&route, &json!("method_not_allowed"))]);
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let counted = r#"tollgate_requests_total{route="/.well-known/jwks.json",status="200"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");

    let off = start("{}", &[("/*", &upstream, "")]).await;
    assert_eq!(off.connect().await.get("/.well-known/jwks.json", &[]).await.status, 404);
    assert_eq!(off.logged(1).await[0]["outcome"], "no_route");
}
