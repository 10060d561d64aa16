//! Routes that tell their upstreams who calls in ways of their own, before one and the same upstream: what
//! each is told, and that nobody brings to one what another believes.

use serde_json::{Value, json};

use crate::assertion::read;
use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Upstream};
use crate::upstreams::reload;

/// Every name that any of these routes sets.
const NAMES: [&str; 8] = [
    "x-auth-subject",
    "x-auth-client",
    "x-auth-scope",
    "x-auth-issuer",
    "x-user",
    "x-mail",
    "x-signed",
    "x-auth-assertion",
];

fn routes(to: &str) -> String {
    format!(
        "routes:
  - {{ path: /plain/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: /user/*, to: \"{to}\", identity: {{ headers: {{ X-User: sub }}, access_token: forward }} }}
  - {{ path: /mail/*, to: \"{to}\", identity: {{ headers: {{ X-Mail: email, X-User: email, X-Auth-Subject: tenant }} }} }}
  - {{ path: /none/*, to: \"{to}\", identity: {{ headers: {{}} }} }}
  - {{ path: /signed/*, to: \"{to}\", identity: {{ headers: {{}}, assertion: {{ header: X-Signed, ttl: 2m }} }} }}
  - {{ path: /short/*, to: \"{to}\", identity: {{ headers: {{}}, assertion: {{ ttl: 30s }} }} }}
  - {{ path: /each/*, to: \"{to}\", identity: {{ headers: {{}}, assertion: {{ header: X-Signed, bind: request }} }} }}
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /public/mail/*, to: \"{to}\", public: true, identity: {{ headers: {{ X-Mail: email }} }} }}
  - {{ path: /cors/*, to: \"{to}\", cors: upstream }}
  - {{ path: /trial/*, to: \"{to}\", report_only: true, identity: {{ headers: {{ X-Mail: email }}, access_token: forward, assertion: {{}} }} }}
"
    )
}

fn bearer(gateway: &Gateway, subject: &str) -> String {
    let claims = json!({ "sub": subject, "scope": "api:read", "email": format!("{subject}@x") });
    format!("Bearer {}", gateway.issuer.token_with(claims))
}

/// What an upstream was told, assertions left out.
fn told(seen: &Received) -> Vec<(&str, &str)> {
    let is_claim = |name: &&str| !["x-signed", "x-auth-assertion"].contains(name);
    NAMES.into_iter().filter(is_claim).filter_map(|name| Some((name, seen.header(name)?))).collect()
}

fn sent_to<'a>(received: &'a [Received], path: &str) -> Vec<&'a Received> {
    received.iter().filter(|seen| seen.path() == path).collect()
}

#[tokio::test]
async fn each_route_says_who_calls_in_its_own_way_also_by_a_token_that_was_known_before() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&routes(&upstream.url())).await;
    let (alice, bob) = (bearer(&gateway, "alice"), bearer(&gateway, "bob"));
    let mut client = gateway.connect().await;
    for round in 0..3 {
        for (token, name) in [(&alice, "alice"), (&bob, "bob")] {
            let mail = format!("{name}@x");
            let issuer = "http://127.0.0.1:9/issuer";
            let plain = vec![
                ("x-auth-subject", name),
                ("x-auth-client", "web-app"),
                ("x-auth-scope", "api:read"),
                ("x-auth-issuer", issuer),
            ];
            let mut cases = vec![
                ("/plain/x", plain.clone(), false),
                ("/user/x", vec![("x-user", name)], true),
                // The claim `tenant` is not there, and the subject is not what stands in for it.
                ("/mail/x", vec![("x-user", &*mail), ("x-mail", &mail)], false),
                ("/none/x", vec![], false),
                ("/public/x", plain, false),
                ("/public/mail/x", vec![("x-mail", &mail)], false),
                ("/trial/x", vec![("x-mail", &mail)], true),
            ];
            let count = cases.len();
            cases.rotate_left(round % count);
            for (path, expected, forwarded) in cases {
                let answer = client.get(path, &[("Authorization", token)]).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.head);
                let seen = upstream.received().pop().unwrap();
                assert_eq!(told(&seen), expected, "{path} {name}");
                assert_eq!(seen.header("authorization").is_some(), forwarded, "{path}");
                let asserted = seen.header("x-auth-assertion").or(seen.header("x-signed")).is_some();
                assert_eq!(asserted, path == "/trial/x", "{path}: {}", seen.head);
            }
        }
    }
}

#[tokio::test]
async fn what_one_route_sets_nobody_brings_to_any_route() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&routes(&upstream.url())).await;
    let alice = bearer(&gateway, "alice");
    let spelled: Vec<String> = NAMES
        .iter()
        .flat_map(|name| {
            [(*name).to_owned(), name.to_uppercase(), name.replace('-', "_"), name.replace('-', ".")]
        })
        .collect();
    let nominated = NAMES.join(", ");
    let mut client = gateway.connect().await;
    let forged = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let forged = spelled.iter().map(|name| (name.clone(), "forged".to_owned()));
        forged.chain(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    };
    let token = ("Authorization", alice.as_str());
    let preflight = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")];
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "other")];
    for (method, path, more) in [
        ("GET", "/plain/x", vec![token]),
        ("GET", "/user/x", vec![token]),
        ("GET", "/mail/x", vec![token]),
        ("GET", "/none/x", vec![token]),
        ("GET", "/signed/x", vec![token]),
        ("GET", "/short/x", vec![token]),
        ("POST", "/each/x", vec![token]),
        ("GET", "/plain/x", vec![token, ("Connection", &nominated)]),
        ("GET", "/plain/x", vec![token, upgrade[0], upgrade[1]]),
        ("GET", "/public/x", vec![]),
        ("GET", "/public/mail/x", vec![]),
        ("GET", "/public/x", vec![("Connection", &nominated)]),
        ("OPTIONS", "/public/x", vec![]),
        ("OPTIONS", "/cors/x", preflight.to_vec()),
        // Nobody's, although the route would say who calls.
        ("GET", "/trial/x", vec![]),
        ("GET", "/trial/x", vec![("Authorization", "Bearer forged")]),
    ] {
        let fields = forged(&more);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let before = upstream.received().len();
        client.send(request(method, path, &fields, b"")).await;
        let answer = client.answer_to(method).await.unwrap();
        assert_eq!(answer.status, 200, "{method} {path} {more:?}: {}", answer.head);
        let received = upstream.received();
        assert_eq!(received.len(), before + 1);
        let seen = received.last().unwrap();
        assert!(!seen.head.contains("forged"), "{method} {path} {more:?}: {}", seen.head);
        if !more.contains(&token) {
            assert!(NAMES.iter().all(|name| seen.header(name).is_none()), "{path}: {}", seen.head);
        }
    }
}

#[tokio::test]
async fn each_route_has_its_own_assertion_or_none_and_no_route_gets_that_of_another() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&routes(&upstream.url())).await;
    let alice = bearer(&gateway, "alice");
    let mut client = gateway.connect().await;
    // Two that are kept for the same token and upstream, in turn, with one a request between them.
    let order = ["/signed/x", "/short/x", "/each/x", "/plain/x"];
    for path in order.iter().cycle().take(3 * order.len()) {
        assert_eq!(client.get(path, &[("Authorization", &alice)]).await.status, 200);
    }
    let received = upstream.received();
    let life = |assertion: &str| {
        let claims = read(assertion).1;
        (claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), claims)
    };
    let (kept, fresh): (Vec<_>, Vec<_>) = ["/signed/x", "/short/x"]
        .into_iter()
        .zip([("x-signed", 120), ("x-auth-assertion", 30)])
        .map(|(path, (name, ttl))| {
            let made: Vec<&str> =
                sent_to(&received, path).into_iter().map(|seen| seen.header(name).unwrap()).collect();
            let (lives, claims) = life(made[0]);
            assert_eq!((lives, &claims["jti"]), (ttl, &Value::Null), "{path}");
            (made.iter().all(|one| *one == made[0]), made.len())
        })
        .unzip();
    assert_eq!((kept, fresh), (vec![true, true], vec![3, 3]), "each is made once and serves again");
    for seen in sent_to(&received, "/each/x") {
        let (_, claims) = life(seen.header("x-signed").unwrap());
        assert_eq!((&claims["path"], &claims["method"]), (&json!("/each/x"), &json!("GET")));
    }
    for (path, absent) in [
        ("/signed/x", "x-auth-assertion"),
        ("/short/x", "x-signed"),
        ("/each/x", "x-auth-assertion"),
        ("/plain/x", "x-signed"),
        ("/plain/x", "x-auth-assertion"),
    ] {
        assert!(sent_to(&received, path).iter().all(|seen| seen.header(absent).is_none()), "{path} {absent}");
    }
    let keys = client.get("/.well-known/jwks.json", &[]).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "published, although `identity` has none");
}

#[tokio::test]
async fn a_reload_changes_what_a_route_says_at_once_for_tokens_that_are_known() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let with = |one: &str, two: &str| {
        format!(
            "routes:\n  - {{ path: /one/*, to: \"{to}\"{one} }}\n  - {{ path: /two/*, to: \"{to}\"{two} }}\n"
        )
    };
    let (user, mail) =
        (", identity: { headers: { X-User: sub } }", ", identity: { headers: { X-Mail: email } }");
    let gateway = Gateway::with(&with(user, mail)).await;
    let alice = bearer(&gateway, "alice");
    let mut client = gateway.connect().await;
    let (is_user, is_mail): (&[_], &[_]) = (&[("x-user", "alice")], &[("x-mail", "alice@x")]);
    let steps: [(&str, &str, &[_], &[_]); 4] = [
        (user, mail, is_user, is_mail),
        // The same lists in another order.
        (mail, user, is_mail, is_user),
        (", identity: { headers: {} }", mail, &[], is_mail),
        (
            user,
            ", identity: { headers: { X-Mail: email }, access_token: forward, assertion: {} }",
            is_user,
            is_mail,
        ),
    ];
    for (at, (one, two, told_one, told_two)) in steps.into_iter().enumerate() {
        reload(&gateway, &with(one, two));
        for _ in 0..2 {
            // What a route said before is still nobody's to bring where it is said elsewhere.
            for (path, expected) in [("/one/x", told_one), ("/two/x", told_two)] {
                let fields = [("Authorization", alice.as_str()), ("X-Mail", "forged")];
                assert_eq!(client.get(path, &fields).await.status, 200);
                let seen = upstream.received().pop().unwrap();
                assert_eq!(told(&seen), expected, "{at} {path}");
                let is_last = at == 3 && path == "/two/x";
                assert_eq!(seen.header("authorization").is_some(), is_last, "{at} {path}");
                assert_eq!(seen.header("x-auth-assertion").is_some(), is_last, "{at} {path}");
            }
        }
    }
}

/// An upstream that was behind oauth2-proxy: it reads these of whoever sends them.
#[tokio::test]
async fn the_headers_of_oauth2_proxy_are_set_and_nobody_brings_any_of_their_kind() {
    const OTHERS: [&str; 4] =
        ["x-forwarded-access-token", "x-forwarded-roles", "x_forwarded_user", "x-forwarded.groups"];
    const THEIRS: [&str; 4] =
        ["x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username"];
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "routes:
  - path: /app/*
    to: \"{to}\"
    identity: {{ headers: {{ X-Forwarded-User: sub, X-Forwarded-Email: email, X-Forwarded-Groups: groups, X-Forwarded-Preferred-Username: preferred_username }} }}
  - {{ path: /plain/*, to: \"{to}\" }}
  - {{ path: /public/*, to: \"{to}\", public: true }}
"
    ))
    .await;
    let claims = json!({ "sub": "alice", "email": "alice@x", "groups": ["staff", "a,b"] });
    let token = format!("Bearer {}", gateway.issuer.token_with(claims));
    let nominated = THEIRS.join(", ");
    let mut client = gateway.connect().await;
    for path in ["/app/x", "/plain/x", "/public/x"] {
        for connection in ["keep-alive", &nominated] {
            let forged = THEIRS.iter().chain(&OTHERS).map(|name| (*name, "forged"));
            let fields: Vec<_> =
                [("Authorization", &*token), ("Connection", connection)].into_iter().chain(forged).collect();
            let answer = client.get(path, &fields).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.head);
            let seen = upstream.received().pop().unwrap();
            assert!(!seen.head.contains("forged"), "{path}: {}", seen.head);
            let told = THEIRS.map(|name| seen.header(name));
            // The claim `preferred_username` is not there.
            let all = [Some("alice"), Some("alice@x"), Some("staff,a%2Cb"), None];
            assert_eq!(told, if path == "/app/x" { all } else { [None; 4] }, "{path}: {}", seen.head);
            assert_eq!(seen.header("x-forwarded-proto"), Some("http"), "{path}: {}", seen.head);
        }
    }
}
