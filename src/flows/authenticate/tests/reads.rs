//! What is kept of the claims of a token that is remembered is all that anybody looks up of them.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::core::path::CanonicalPath;
use crate::core::route::policy;
use crate::core::route::policy::{ClaimRequirement, ClaimValue};
use crate::core::token::facts::TokenFacts;
use crate::flows::testing::lines::Lines;

fn settings(clients: &str) -> Settings {
    let text = format!(
        r#"
public_url: http://localhost:8080
listen: 127.0.0.1:0
issuers: {{ demo: {{ url: "https://as.example", audience: api }} }}
{clients}
upstreams:
  api: {{ url: ["http://127.0.0.1:1", "http://127.0.0.1:2"], balance: {{ consistent: org.id }} }}
routes:
  - {{ path: /tenant/*, to: api, require: {{ claims: {{ tenant: a }} }} }}
  - {{ path: "/users/{{id}}", to: api, require: {{ claims: {{ sub: "{{id}}", realm.roles: [admin, owner] }} }} }}
  - {{ path: /anybody, to: api }}
identity: {{ headers: {{ X-Name: name, X-Client: client_id }} }}
"#
    );
    let none = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = crate::config::parse(&text, Path::new("/"), &|_| None, &none);
    loaded.unwrap_or_else(|errors| panic!("{errors}")).settings
}

const CLIENT: &str =
    "clients: { web: { mode: token, login: page, redirect_uri: \"http://localhost:8080/in\" } }";

#[test]
fn what_is_read_of_a_remembered_token_is_what_routes_upstreams_and_sessions_need() {
    let names = |clients| settings(clients).read_claims().names().map(str::to_owned).collect::<Vec<_>>();
    let required = ["org.id", "realm.roles", "sub", "tenant"];
    assert_eq!(names(""), required);
    for told in ["name", "client_id"].iter().chain(&required) {
        assert!(names(CLIENT).iter().any(|name| name == told), "a session's headers are made later: {told}");
    }
}

/// As Entra ID says it of people who are in many groups.
#[tokio::test]
async fn that_tokens_of_an_issuer_have_claims_elsewhere_is_told_once() {
    let mut scene = Scene::new().await;
    let reload = |before: &Live| {
        let mut live = live(AUDIENCE, SUBJECT, Some(before));
        let settings = Arc::get_mut(&mut live.settings).unwrap();
        let claims = vec![ClaimRequirement {
            name: "groups".to_owned(),
            values: vec![ClaimValue::Literal(json!("staff"))],
        }];
        let access = Access::Protected(Requirements { claims, ..Requirements::default() }.into());
        settings.routes = vec![Arc::new(Route { access, ..route::testing::route("/*") })];
        settings.identity.headers[0].push((HeaderName::from_static("x-roles"), "roles".to_owned()));
        Arc::new(live)
    };
    scene.live = reload(&scene.live);
    let token = |changes: Value| keys().p256.sign(&with(claims(), changes));
    let lines = Lines::listen();
    let mut count = async |changes: Value| {
        scene.recalls(&token(changes)).await.unwrap();
        scene.live = reload(&scene.live);
        lines.count("stand elsewhere")
    };
    for unsaid in [
        json!({}),
        json!({ "_claim_names": { "address": "src1" } }),
        json!({ "_claim_names": { "groups": "src1", "roles": "src1" }, "groups": [], "roles": "admin" }),
        json!({ "hasgroups": false }),
    ] {
        assert_eq!(count(unsaid).await, 0);
    }
    let both = json!({ "_claim_names": { "groups": "src1", "roles": "src1", "address": "src1" } });
    assert_eq!(count(both.clone()).await, 1);
    assert_eq!(count(with(both, json!({ "sub": "bob" }))).await, 1, "a reload tells nobody again");
    assert_eq!(count(json!({ "hasgroups": true })).await, 1);
    let text = lines.text();
    assert!(text.contains("claims=\"groups, roles\"") && text.contains("issuer=demo"), "{text}");
}

#[test]
fn of_what_is_kept_each_route_judges_as_of_the_whole_token() {
    let settings = settings("");
    let set = KeySet::parse(&jwks_of(&[keys().p256.jwk()])).unwrap().0;
    let whole = |changes: Value| {
        let text = keys().p256.sign(&with(claims(), changes));
        let rules = crate::core::token::testing::rules();
        Unverified::parse(&text, 8192).unwrap().verify(&set, &rules, NOW).unwrap()
    };
    let paths = ["/tenant/x", "/users/alice", "/users/bob", "/anybody"];
    let tenants = [json!(null), json!("a"), json!("b"), json!(["b", "a"]), json!({ "a": "a" })];
    let roles = [
        json!({ "realm": { "roles": ["admin"] } }),
        json!({ "realm.roles": "owner", "realm": { "roles": "none" } }),
        json!({ "realm.roles": ["none"], "realm": { "roles": "admin" } }),
        json!({ "realm": "admin" }),
        json!({ "org": { "id": 7 }, "org.id": "x" }),
    ];
    let (mut judged, mut passed) = (0, 0);
    for tenant in &tenants {
        for roles in &roles {
            let token = whole(with(json!({ "tenant": tenant }), roles.clone()));
            let kept = token.clone().with_only(settings.read_claims());
            assert!(kept.size() < token.size());
            assert_eq!(kept.claims().get("org.id"), token.claims().get("org.id"));
            assert_eq!((kept.claims().get("iss"), token.claims().get("iss").is_some()), (None, true));
            for path in paths {
                let path = CanonicalPath::parse(path.as_bytes()).unwrap();
                for route in &settings.routes {
                    let [kept, whole] = [&kept, &token]
                        .map(|token| policy::judge(route, &path, Some(TokenFacts::from(token)), NOW));
                    assert_eq!(kept, whole, "{} {tenant} {roles}", route.name);
                    judged += 1;
                    passed += usize::from(whole.is_ok());
                }
            }
        }
    }
    assert!(passed > 0 && passed < judged, "{passed} of {judged}: some pass, some do not");
}
