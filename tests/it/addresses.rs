//! Routes with `from`: who comes from elsewhere is refused, whatever they bring, and who comes from
//! there has shown nothing else by it.

use serde_json::json;

use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const INSIDE: &str = "203.0.113.9, 10.1.2.3";
const OUTSIDE: &str = "10.1.2.3, 203.0.113.9";

/// Behind a proxy on loopback.
async fn gateway(to: &str) -> Gateway {
    let from = "from: [10.0.0.0/8, \"2001:db8::/32\"]";
    Gateway::with(&format!(
        "trusted_proxies: [127.0.0.0/8]
limits: {{ denials_per_address: 3/h }}
clients:
  web: {{ mode: session, issuer: discovered }}
routes:
  - {{ path: /public/*, to: \"{to}\", public: true, {from} }}
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }}, {from} }}
  - {{ path: /page/*, to: \"{to}\", sign_in: web, {from} }}
  - {{ path: /trial/*, to: \"{to}\", report_only: true, {from} }}
  - {{ path: /theirs/*, to: \"{to}\", cors: upstream, {from} }}
  - {{ path: /here, to: \"{to}\", public: true, from: 127.0.0.1 }}
"
    ))
    .await
}

#[tokio::test]
async fn who_comes_from_elsewhere_is_refused_before_anything_they_bring_is_looked_at() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url()).await;
    let mut client = gateway.connect().await;
    let good = format!("Bearer {}", gateway.issuer.token("alice", "api:read"));
    for (from, credential) in [
        (OUTSIDE, None),
        (OUTSIDE, Some(good.as_str())),
        (OUTSIDE, Some("Bearer no.such.token")),
        ("2001:db9::1", Some(good.as_str())),
        // Nobody says where they are but the proxy itself.
        ("", Some(good.as_str())),
    ] {
        for path in ["/public/x", "/api/x", "/page/x", "/trial/x", "/theirs/x"] {
            let mut fields = vec![("X-Forwarded-For", from), ("Accept", "application/json")];
            fields.extend(credential.map(|credential| ("Authorization", credential)));
            let answer = client.get(path, &fields).await;
            let told = (answer.status, answer.json()["type"].clone(), answer.json().get("error").is_some());
            let expected = (403, json!("urn:tollgate:refusal:address_not_allowed"), false);
            assert_eq!(told, expected, "{path} {from} {credential:?}");
            assert_eq!(answer.header("www-authenticate"), None, "{path}");
        }
    }
    // A person is not led to sign in, which would mend nothing.
    let navigates = [
        ("X-Forwarded-For", OUTSIDE),
        ("Accept", "text/html"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Site", "none"),
    ];
    let answer = client.get("/page/x", &navigates).await;
    assert_eq!((answer.status, answer.header("location")), (403, None));
    // Nor does it hear of a preflight.
    let asks = [
        ("X-Forwarded-For", OUTSIDE),
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "GET"),
    ];
    for path in ["/theirs/x", "/api/x"] {
        client.send(request("OPTIONS", path, &asks, b"")).await;
        assert_eq!(client.answer().await.status, 403, "{path}");
    }
    assert!(upstream.received().is_empty());
    let counted = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let series = "tollgate_denials_total{reason=\"address_not_allowed\",route=\"/api/*\"}";
    assert!(counted.lines().any(|line| line.starts_with(series)), "{counted}");
}

#[tokio::test]
async fn who_comes_from_there_passes_a_public_route_and_shows_nothing_else_by_it() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url()).await;
    let mut client = gateway.connect().await;
    let good = format!("Bearer {}", gateway.issuer.token("alice", "api:read"));
    let weak = format!("Bearer {}", gateway.issuer.token("alice", "other"));
    for from in [INSIDE, "2001:db8::7", "::ffff:10.1.2.3"] {
        for (path, credential, status) in [
            ("/public/x", None, 200),
            ("/api/x", None, 401),
            ("/api/x", Some(weak.as_str()), 403),
            ("/api/x", Some(good.as_str()), 200),
            ("/page/x", None, 401),
            ("/trial/x", None, 200),
        ] {
            let mut fields = vec![("X-Forwarded-For", from)];
            fields.extend(credential.map(|credential| ("Authorization", credential)));
            assert_eq!(client.get(path, &fields).await.status, status, "{path} {from} {credential:?}");
        }
    }
    assert_eq!(client.get("/here", &[]).await.status, 200, "the proxy itself");
    assert_eq!(client.get("/here", &[("X-Forwarded-For", INSIDE)]).await.status, 403);
}

/// Doubt closes the gate: the proxy's own address stands in for nobody whom it names in a way that is not
/// read here.
#[tokio::test]
async fn a_proxy_whose_client_cannot_be_read_is_not_taken_for_it() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]
routes: [{{ path: /*, to: \"{to}\", public: true, from: [127.0.0.0/8, 10.0.0.0/8] }}]"
    ))
    .await;
    let mut client = gateway.connect().await;
    let hops = vec!["10.0.0.7"; 40].join(", ");
    for (fields, status) in [
        (&[][..], 200),
        (&[("X-Forwarded-For", "10.0.0.7")], 200),
        (&[("X-Forwarded-For", "10.0.0.8, 10.0.0.7")], 200),
        (&[("X-Forwarded-For", "10.0.0.7"), ("Forwarded", "for=8.8.8.8")], 200),
        (&[("X-Forwarded-For", "8.8.8.8")], 403),
        (&[("X-Forwarded-For", "unknown")], 403),
        (&[("X-Forwarded-For", "8.8.8.8,")], 403),
        (&[("X-Forwarded-For", "fe80::1%eth0")], 403),
        (&[("X-Forwarded-For", "")], 403),
        (&[("X-Forwarded-For", hops.as_str())], 403),
        (&[("Forwarded", "for=8.8.8.8")], 403),
    ] {
        assert_eq!(client.get("/x", fields).await.status, status, "{fields:?}");
    }
}

#[tokio::test]
async fn what_nobody_trusted_says_of_an_address_is_not_believed() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "routes: [{{ path: /*, to: \"{}\", public: true, from: 10.0.0.0/8 }}]",
        upstream.url()
    ))
    .await;
    let mut client = gateway.connect().await;
    for field in ["X-Forwarded-For", "X-Real-IP", "Forwarded"] {
        for says in ["10.0.0.1", "for=10.0.0.1"] {
            assert_eq!(client.get("/x", &[(field, says)]).await.status, 403, "{field}: {says}");
        }
    }
    assert!(upstream.received().is_empty());
}
