//! `encoded_slash: keep`: what `%2F` is on the routes that say so, on those that do not, and in what Tollgate
//! itself says.

use serde_json::json;

use crate::support::client::HOST;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

async fn gateway(upstream: &Upstream) -> Gateway {
    let to = upstream.url();
    Gateway::with(&format!(
        "routes:
  - {{ path: /*, to: \"{to}\", public: true }}
  - {{ path: \"/api/projects/{{id}}\", to: \"{to}\", encoded_slash: keep, require: {{ claims: {{ project: \"{{id}}\" }} }} }}
  - {{ path: \"/api/projects/{{id}}/members\", to: \"{to}\" }}
  - {{ path: /packages/*, to: \"{to}\", public: true, encoded_slash: keep, strip_prefix: /packages }}
  - {{ path: \"/old/{{id}}\", to: \"{to}\", public: true, encoded_slash: keep, rewrite: \"/new%2Fer/{{id}}\" }}
  - {{ path: \"/teams/a%2Fb/{{id}}\", to: \"{to}\", encoded_slash: keep }}
"
    ))
    .await
}

#[tokio::test]
async fn it_is_judged_and_sent_as_part_of_its_segment() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let bearer = format!(
        "Bearer {}",
        gateway.issuer.token_with(json!({ "sub": "alice", "project": ["group/name", "group", "a/b/c"] }))
    );
    let mut client = gateway.connect().await;
    for (path, sent) in [
        ("/api/projects/group%2Fname", "/api/projects/group%2Fname"),
        ("/api/projects/%67roup%2fname/?x=%2f", "/api/projects/group%2Fname/?x=%2f"),
        ("/api/projects/a%2Fb%2Fc", "/api/projects/a%2Fb%2Fc"),
        ("/api/projects/group", "/api/projects/group"),
        ("/packages/@scope%2fname/-/x", "/@scope%2Fname/-/x"),
        ("/old/a%2Fb", "/new%2Fer/a%2Fb"),
        ("/teams/a%2Fb/7", "/teams/a%2Fb/7"),
        ("/teams/a/b/7", "/teams/a/b/7"),
    ] {
        let before = upstream.received().len();
        assert_eq!(client.get(path, &[("Authorization", &bearer)]).await.status, 200, "{path}");
        assert_eq!(upstream.received()[before].path(), sent);
    }
    let before = upstream.received().len();
    for (path, status) in [
        // The whole segment is compared, and nothing that is decoded twice or cut off.
        ("/api/projects/group%2Fother", 403),
        ("/api/projects/group%2Fname%2Fmore", 403),
        ("/api/projects/group%252Fname", 400),
        ("/api/projects/group%2Fname;x", 400),
        ("/api/projects/group%2F..", 400),
        ("/api/projects/group%2f..%2fgroup", 400),
        ("/api/projects/%2e%2e%2fgroup", 400),
        ("/api/projects/group%2f", 400),
        ("/api/projects/group%5cname", 400),
        // These routes do not say so, or what a decoding service found would be theirs.
        ("/a%2Fb", 400),
        ("/api/projects/group%2Fname/members", 400),
        ("/api/projects/group%2Fmembers", 400),
        ("/api%2Fprojects/group", 400),
        ("/packages%2Fx", 400),
        ("/oauth/token%2Fx", 400),
        ("/oauth%2Ftoken", 400),
    ] {
        let answer = client.get(path, &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, status, "{path}");
        let kind = answer.json()["type"].as_str().map(str::to_owned);
        let ambiguous = Some("urn:tollgate:refusal:ambiguous_target".to_owned());
        // Under `/oauth/` it is the JSON of OAuth.
        assert!(status != 400 || path.starts_with("/oauth/") || kind == ambiguous, "{path} {kind:?}");
    }
    assert_eq!(upstream.received().len(), before);
    let lines = gateway.logged(24).await;
    assert_eq!(lines[0]["path"], "/api/projects/group%2Fname");
}

/// RFC 9728 section 3.1: the metadata is where the identifier says, and that has the encoded slash.
#[tokio::test]
async fn a_resource_may_have_one_and_its_metadata_is_found() {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    let refused = client.get("/teams/a%2fb/7", &[]).await;
    let place = format!("resource_metadata=\"http://{HOST}{WELL_KNOWN}/teams/a%2Fb\"");
    assert_eq!(refused.status, 401);
    assert!(refused.challenge().unwrap().contains(&place), "{}", refused.head);
    for spelled in ["/teams/a%2Fb", "/teams/a%2fb/"] {
        let metadata = client.get(&format!("{WELL_KNOWN}{spelled}"), &[]).await;
        assert_eq!(metadata.status, 200, "{spelled}");
        assert_eq!(metadata.json()["resource"], format!("http://{HOST}/teams/a%2Fb"));
    }
    for (path, status) in
        [("/teams/a/b", 404), ("/teams/a%2Fc", 400), ("/teams/a%2f..", 400), ("%2Fteams", 400)]
    {
        assert_eq!(client.get(&format!("{WELL_KNOWN}{path}"), &[]).await.status, status, "{path}");
    }
    assert!(upstream.received().is_empty());
}
