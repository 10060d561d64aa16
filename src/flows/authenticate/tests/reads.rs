//! What is kept of the claims of a token that is remembered is all that anybody looks up of them.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::core::path::CanonicalPath;
use crate::core::route::policy;
use crate::core::token::facts::TokenFacts;

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
