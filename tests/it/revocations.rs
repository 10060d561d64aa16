//! The list of revocations at the admin listener, and what it does to requests.

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::issuer::ISS;
use crate::support::operator::{Operator, ask};
use crate::support::upstream::Upstream;

/// What operators do with the list.
trait Revoking {
    async fn revoke(&self, wanted: Value) -> Value;
    async fn listed(&self, query: &str) -> Vec<String>;
}

impl Revoking for Operator {
    async fn revoke(&self, wanted: Value) -> Value {
        let answer = self.post("/revocations", &wanted).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    async fn listed(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("/revocations{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let all = answer.json()["revocations"].as_array().unwrap().clone();
        all.iter().map(|entry| entry["value"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_client_is_revoked_by_its_client_id_and_whoever_gives_its_name_is_told_of_it() {
    let rest = "clients:
  portal: { client_id: 0oa1b2c3, issuer: discovered, mode: native }
  cli: { client_id: portal-cli, issuer: discovered, mode: native }
  own: { client_id: cli, issuer: discovered, mode: native }
routes: [{ path: /x/*, to: \"http://127.0.0.1:9\" }]";
    let gateway = Gateway::with(rest).await;
    let admin = Operator::of(&gateway);
    let wanted = |value: &str, issuer: &str| json!({ "kind": "client", "value": value, "issuer": issuer });
    // It may be another application, of before or of others: its tokens must be refused all the same.
    for issuer in ["discovered", "*"] {
        let made = admin.revoke(wanted("portal", issuer)).await;
        assert!(made["doubt"].as_str().unwrap().contains("0oa1b2c3"), "{made}");
    }
    let listed = admin.get("/revocations").await.json();
    let entries = listed["revocations"].as_array().unwrap();
    assert_eq!(entries.iter().filter(|entry| entry["doubt"].is_string()).count(), 2, "{listed}");
    // What is a client_id there is one, and so is a name of another issuer's client.
    for (value, issuer) in
        [("0oa1b2c3", "discovered"), ("cli", "discovered"), ("cli", "*"), ("portal", "test")]
    {
        assert_eq!(admin.revoke(wanted(value, issuer)).await.get("doubt"), None, "{value}");
    }
    let person = admin.revoke(json!({ "kind": "sub", "value": "portal", "issuer": "*" })).await;
    assert_eq!(person.get("doubt"), None);
}

#[tokio::test]
async fn what_is_revoked_is_refused_at_once_and_nothing_of_it_reaches_the_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (admin, mut client) = (Operator::of(&gateway), gateway.connect().await);
    let token = |jti: &str, sub: &str| {
        gateway.issuer.token_with(json!({ "jti": jti, "sub": sub, "scope": "api:read", "sid": "s1" }))
    };
    let (first, second) = (token("one", "alice"), token("two", "alice"));
    assert_eq!(client.status("/api/x", &first).await, 200);
    let made =
        admin.revoke(json!({ "kind": "jti", "value": "one", "issuer": "test", "reason": "leaked" })).await;
    assert_eq!(
        (&made["kind"], &made["issuer"], &made["reason"]),
        (&json!("jti"), &json!("test"), &json!("leaked"))
    );
    assert_eq!((&made["block"], &made["made_by"]), (&json!(false), &json!("127.0.0.1")));
    let seen = upstream.received().len();
    let refused = client.get("/api/x", &[("Authorization", &format!("Bearer {first}"))]).await;
    assert_eq!(refused.status, 401);
    assert!(refused.challenge().unwrap().contains("error=\"invalid_token\""), "{refused:?}");
    assert_eq!(client.status("/public/x", &first).await, 401, "on a public route, too");
    assert_eq!(upstream.received().len(), seen);
    assert_eq!(client.status("/api/x", &second).await, 200);
    for (kind, value) in [("sid", "s1"), ("sub", "alice"), ("client", "web-app"), ("kid", "k1")] {
        let id = admin.revoke(json!({ "kind": kind, "value": value, "issuer": "*" })).await["id"].clone();
        assert_eq!(client.status("/api/x", &second).await, 401, "{kind}");
        let lifted = admin.ask("DELETE", &format!("/revocations/{}", id.as_str().unwrap())).await;
        assert_eq!(lifted.status, 200);
        assert_eq!(client.status("/api/x", &second).await, 200, "{kind} lifted");
    }
    admin.revoke(json!({ "kind": "issuer", "value": ISS })).await;
    assert_eq!(client.status("/api/x", &second).await, 401);
    let told = admin.get("/status").await.json();
    assert_eq!(told["revocations"]["in_use"], true);
    assert_eq!(told["revocations"]["entries"]["jti"], 1);
    let metrics = admin.get("/metrics").await;
    let text = String::from_utf8(metrics.body).unwrap();
    for line in ["tollgate_revocations{kind=\"jti\"} 1", "tollgate_revocation_lag_seconds 0"] {
        assert!(text.lines().any(|known| known == line), "{line} is not in:\n{text}");
    }
}

#[tokio::test]
async fn an_altered_signature_does_not_bring_a_revoked_token_back() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (admin, mut client) = (Operator::of(&gateway), gateway.connect().await);
    admin.revoke(json!({ "kind": "jti", "value": "one", "issuer": "test" })).await;
    // ECDSA: each signing gives another text of one token.
    let mut texts = std::collections::BTreeSet::new();
    let claims = json!({ "jti": "one", "sub": "alice", "scope": "api:read" });
    while texts.len() < 3 {
        texts.insert(gateway.issuer.token_with(claims.clone()));
    }
    for text in texts {
        assert_eq!(client.status("/api/x", &text).await, 401);
    }
}

#[tokio::test]
async fn the_list_is_shown_in_parts_and_filtered() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let admin = Operator::of(&gateway);
    let many: Vec<Value> =
        (0..25).map(|at| json!({ "kind": "jti", "value": format!("t{at}"), "issuer": "test" })).collect();
    let answer = admin.post("/revocations", &Value::from(many)).await;
    assert_eq!((answer.status, answer.json()["revocations"].as_array().unwrap().len()), (201, 25));
    admin.revoke(json!({ "kind": "sub", "value": "alice", "issuer": "*" })).await;
    admin.revoke(json!({ "kind": "sub", "value": "alice", "issuer": "discovered", "block": true })).await;
    assert_eq!(admin.listed("").await.len(), 27);
    assert_eq!(admin.listed("?kind=sub").await, ["alice", "alice"]);
    assert_eq!(admin.listed("?kind=jti&value=t7").await, ["t7"]);
    assert_eq!(admin.listed("?issuer=discovered").await.len(), 2, "those of all issuers are its, too");
    let (mut seen, mut after) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let part = admin.get(&format!("/revocations?limit=10{after}")).await.json();
        let entries = part["revocations"].as_array().unwrap();
        assert!(entries.len() <= 10);
        seen.extend(entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
        match part["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 27);
    for bad in ["?kind=person", "?issuer=nobody", "?after=x", "?limit=0", "?limit=1001", "?what=1"] {
        let answer = admin.get(&format!("/revocations{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn mistakes_are_said_all_at_once_and_then_nothing_is_revoked() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let admin = Operator::of(&gateway);
    let wanted = json!([
        { "kind": "sub", "value": "alice", "issuer": "test" },
        { "kind": "sub", "value": "bob" },
        { "kind": "jti", "value": "", "issuer": "test", "block": true },
        { "kind": "sub" },
        { "reason": "nobody knows whose" },
    ]);
    let answer = admin.post("/revocations", &wanted).await;
    assert_eq!(answer.status, 422);
    let said = answer.json();
    let mistakes = said["mistakes"].as_array().unwrap();
    let mistakes: Vec<_> = mistakes.iter().map(|one| json!([one["at"], one["member"]])).collect();
    let each = json!([
        [1, "issuer"],
        [2, "value"],
        [2, "block"],
        [3, "value"],
        [3, "issuer"],
        [4, "kind"],
        [4, "value"],
    ]);
    assert_eq!(json!(mistakes), each);
    let alone = admin.post("/revocations", &json!({ "kind": "sub" })).await;
    assert_eq!((alone.status, &alone.json()["mistakes"][0]["member"]), (422, &json!("value")));
    assert_eq!(admin.listed("").await.len(), 0);
    for bad in ["", "{", "[1]", r#"{"kind":"sub","value":"a","when":"now"}"#] {
        let fields = [("Authorization", admin.bearer.as_str()), ("Content-Type", "application/json")];
        assert_eq!(ask(gateway.admin, "POST", "/revocations", &fields, bad).await.status, 400, "{bad}");
    }
    let many = vec![json!({ "kind": "jti", "value": "a", "issuer": "test" }); 1001];
    assert_eq!(admin.post("/revocations", &Value::from(many)).await.status, 413);
    assert_eq!(admin.ask("DELETE", "/revocations/0123456789abcdef0123456789abcdef").await.status, 404);
    assert_eq!(admin.ask("DELETE", "/revocations/x").await.status, 404);
    assert_eq!(admin.ask("PUT", "/revocations").await.status, 405);
    assert_eq!(admin.get("/revocations/x").await.status, 405);
}

#[tokio::test]
async fn only_an_operator_may_write_or_read_the_list() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let admin = Operator::of(&gateway);
    let wanted = json!({ "kind": "jti", "value": "a", "issuer": "test" }).to_string();
    let json_type = ("Content-Type", "application/json");
    let own = ("Authorization", admin.bearer.as_str());
    for (fields, expected) in [
        (&[json_type][..], 401),
        (&[json_type, ("Authorization", "Bearer x")], 401),
        (&[own, ("Content-Type", "text/plain")], 415),
        (&[own, json_type, ("Origin", "http://evil.example")], 403),
        (&[own, json_type, ("Sec-Fetch-Site", "cross-site")], 403),
        (&[own, json_type], 201),
    ] {
        assert_eq!(
            ask(gateway.admin, "POST", "/revocations", fields, &wanted).await.status,
            expected,
            "{fields:?}"
        );
    }
    assert_eq!(ask(gateway.admin, "GET", "/revocations", &[], "").await.status, 401);
    let mut public = gateway.connect().await;
    public.send(request("GET", "/revocations", &[], b"")).await;
    assert_eq!(public.answer().await.status, 404, "not at the public listener");
}
