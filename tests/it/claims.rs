//! What tokens of some authorization servers say of groups and roles, as routes require it and as upstreams
//! are told of it; and routes that are for one kind of people or another.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

fn bearer(gateway: &Gateway, claims: Value) -> String {
    format!("Bearer {}", gateway.issuer.token_with(claims))
}

/// Zitadel's claim of roles is an object: each role has the organizations in which it was granted.
#[tokio::test]
async fn an_object_is_required_and_sent_by_the_names_of_its_members() {
    const ROLES: &str = "urn:zitadel:iam:org:project:roles";
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "identity: {{ headers: {{ X-User: sub, X-Roles: \"{ROLES}\" }} }}
routes:
  - {{ path: /admin/*, to: \"{to}\", require: {{ claims: {{ \"{ROLES}\": [admin, owner] }} }} }}
  - {{ path: \"/orgs/{{id}}/*\", to: \"{to}\", require: {{ claims: {{ \"{ROLES}.admin\": \"{{id}}\" }} }} }}
"
    ))
    .await;
    let mut client = gateway.connect().await;
    let org = json!({ "123": "org.example.com" });
    for (path, roles, header) in [
        ("/admin/x", json!({ "viewer": org, "admin": org }), Some("admin,viewer")),
        ("/admin/x", json!({ "owner, really": org, "owner": {} }), Some("owner,owner%2C really")),
        ("/admin/x", json!({ "viewer": org }), None),
        ("/admin/x", json!({ "admin": false, "viewer": org }), None),
        ("/admin/x", json!({ "viewer": { "admin": org } }), None),
        ("/admin/x", json!({}), None),
        ("/admin/x", json!([{ "admin": org }]), None),
        ("/admin/x", json!(["admin"]), Some("admin")),
        ("/orgs/123/x", json!({ "viewer": {}, "admin": org }), Some("admin,viewer")),
        ("/orgs/124/x", json!({ "admin": org }), None),
    ] {
        let token = bearer(&gateway, json!({ "sub": "alice", ROLES: roles }));
        for round in ["new", "known"] {
            let before = upstream.received().len();
            let answer = client.get(path, &[("Authorization", &token)]).await;
            let told = format!("{path} {roles} {round}: {}", answer.head);
            match header {
                Some(header) => {
                    assert_eq!(answer.status, 200, "{told}");
                    assert_eq!(upstream.received().pop().unwrap().header("x-roles"), Some(header), "{told}");
                }
                None => {
                    assert_eq!(answer.status, 403, "{told}");
                    assert_eq!(answer.json()["type"], "urn:tollgate:refusal:claim_mismatch", "{told}");
                    assert_eq!(upstream.received().len(), before, "{told}");
                }
            }
        }
    }
}

/// Entra ID leaves out the groups of people who are in many, and says where they stand.
#[tokio::test]
async fn who_has_groups_that_stand_elsewhere_is_refused_for_that_and_upstreams_are_told_of_none() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "identity: {{ headers: {{ X-User: sub, X-Groups: groups }} }}
routes:
  - {{ path: /staff/*, to: \"{to}\", require: {{ claims: {{ groups: staff }} }} }}
  - {{ path: /all/*, to: \"{to}\" }}
"
    ))
    .await;
    let elsewhere = json!({
        "_claim_names": { "groups": "src1" },
        "_claim_sources": { "src1": { "endpoint": "https://graph.windows.net/x/getMemberObjects" } },
    });
    let mut client = gateway.connect().await;
    for (claims, reason) in [
        (elsewhere, "claim_elsewhere"),
        (json!({ "hasgroups": true }), "claim_elsewhere"),
        (json!({}), "claim_mismatch"),
        (json!({ "_claim_names": { "address": "src1" } }), "claim_mismatch"),
        (json!({ "groups": ["other"], "_claim_names": { "groups": "src1" } }), "claim_mismatch"),
    ] {
        let token = bearer(&gateway, claims.clone());
        // The second time of what is kept of the token.
        for _ in 0..2 {
            let answer = client.get("/staff/x", &[("Authorization", &token)]).await;
            assert_eq!(answer.status, 403, "{claims}: {}", answer.head);
            assert_eq!(answer.json()["type"], format!("urn:tollgate:refusal:{reason}"), "{claims}");
            assert_eq!(answer.challenge(), None, "{claims}: {}", answer.head);
        }
        let answer = client.get("/all/x", &[("Authorization", &token)]).await;
        assert_eq!(answer.status, 200, "{claims}: {}", answer.head);
        let groups = claims["groups"].is_array().then_some("other");
        assert_eq!(upstream.received().pop().unwrap().header("x-groups"), groups, "{claims}");
    }
    let metrics = gateway.admin("/metrics").await;
    let counted = r#"tollgate_denials_total{reason="claim_elsewhere",route="/staff/*"} 4"#;
    assert!(String::from_utf8_lossy(&metrics.body).contains(counted));
}

/// For whoever owns it, or an administrator who signed in just now.
#[tokio::test]
async fn one_of_several_alternatives_lets_a_request_pass_and_who_has_none_is_told_of_one() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "routes:
  - path: \"/users/{{id}}/*\"
    to: \"{to}\"
    require:
      - {{ scope: api:read, claims: {{ sub: \"{{id}}\" }} }}
      - {{ scope: [api:read, admin], signed_in_within: 5m, acr: gold }}
  - {{ path: /reports/*, to: \"{to}\", require: [{{ scope: reports }}, {{ scope: admin }}] }}
  - {{ path: /trial/*, to: \"{to}\", report_only: true, require: [{{ scope: reports }}, {{ scope: admin }}] }}
"
    ))
    .await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = |sub: &str, scope: &str, signed_in: Option<u64>| {
        let mut claims = json!({ "sub": sub, "scope": scope, "acr": "gold" });
        if let Some(ago) = signed_in {
            claims["auth_time"] = json!(now - ago);
        }
        bearer(&gateway, claims)
    };
    let mut client = gateway.connect().await;
    for (path, token, status, reason, challenge) in [
        ("/users/alice/x", Some(token("alice", "api:read", None)), 200, "", ""),
        ("/users/alice/x", Some(token("bob", "api:read admin", Some(10))), 200, "", ""),
        ("/users/alice/x", Some(token("bob", "api:read", Some(10))), 403, "claim_mismatch", ""),
        (
            "/users/alice/x",
            Some(token("alice", "openid", None)),
            403,
            "insufficient_scope",
            ", scope=\"api:read\"",
        ),
        (
            "/users/alice/x",
            Some(token("bob", "api:read admin", Some(600))),
            401,
            "step_up_needed",
            ", acr_values=\"gold\", max_age=\"300\"",
        ),
        ("/users/alice/x", None, 401, "no_credential", ", scope=\"api:read\""),
        ("/reports/x", Some(token("bob", "reports", None)), 200, "", ""),
        ("/reports/x", Some(token("bob", "admin", None)), 200, "", ""),
        ("/reports/x", Some(token("bob", "openid", None)), 403, "insufficient_scope", ", scope=\"reports\""),
    ] {
        let fields: Vec<_> = token.iter().map(|token| ("Authorization", token.as_str())).collect();
        let answer = client.get(path, &fields).await;
        let told = format!("{path} {reason}: {}", answer.head);
        assert_eq!(answer.status, status, "{told}");
        if status == 200 {
            assert!(upstream.received().pop().unwrap().header("x-auth-subject").is_some(), "{told}");
            continue;
        }
        assert_eq!(answer.json()["type"], format!("urn:tollgate:refusal:{reason}"), "{told}");
        let given = answer.challenge().unwrap_or_default();
        assert!(given.ends_with(challenge) && given.is_empty() == challenge.is_empty(), "{told}");
    }
    let metadata = client.get("/.well-known/oauth-protected-resource/users", &[]).await;
    assert_eq!(metadata.json()["scopes_supported"], json!(["api:read", "admin"]));
    for (scope, subject) in [("admin", Some("bob")), ("openid", None)] {
        let answer = client.get("/trial/x", &[("Authorization", &token("bob", scope, None))]).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert_eq!(upstream.received().pop().unwrap().header("x-auth-subject"), subject, "{scope}");
    }
}
