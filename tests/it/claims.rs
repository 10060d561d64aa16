//! What tokens of some authorization servers say of groups and roles, as routes require it and as upstreams
//! are told of it.

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
