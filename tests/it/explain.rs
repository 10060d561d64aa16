//! `tollgate explain` beside a gateway with the same configuration: it says what the gateway does.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tollgate::cli::{Next, Surroundings, prepare};
use tollgate::config::machine::Variables;

use crate::support::client::{HOST, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::{AUDIENCE, ISS, Issuer};
use crate::support::upstream::Upstream;

/// Exit code and all that was printed.
pub async fn explain(folder: &Path, arguments: &[&str]) -> (u8, String) {
    let folder = folder.to_owned();
    let arguments: Vec<_> =
        ["tollgate", "explain"].iter().chain(arguments).map(std::ffi::OsString::from).collect();
    tokio::task::spawn_blocking(move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut around =
            Surroundings { machine: &Variables(&|_| None), folder: &folder, out: &mut out, err: &mut err };
        let Next::Done(code) = prepare(arguments, &mut around) else { panic!("it goes on") };
        (code, String::from_utf8([out, err].concat()).unwrap())
    })
    .await
    .unwrap()
}

async fn gateway(upstream: &Upstream) -> Gateway {
    let to = upstream.url();
    Gateway::with(&format!(
        "routes:
  - {{ path: /*, to: \"{to}\", public: true }}
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: \"/api/users/{{id}}/*\", to: \"{to}\", require: {{ scope: api:read, claims: {{ sub: \"{{id}}\" }} }}, strip_prefix: /api }}
  - {{ path: /api/step-up, to: \"{to}\", require: {{ acr: gold, signed_in_within: 5m }} }}
  - {{ path: /api/read, to: \"{to}\", methods: GET }}
  - {{ path: \"/kept/{{id}}\", to: \"{to}\", encoded_slash: keep, require: {{ claims: {{ sub: \"{{id}}\" }} }} }}
  - {{ path: /trial/*, to: \"{to}\", report_only: true, require: {{ any_scope: [a, b] }} }}
"
    ))
    .await
}

/// What is asked for, and the token that comes along.
type Asked = (&'static str, &'static str, Option<String>);

fn requests(gateway: &Gateway) -> Vec<Asked> {
    let with = |claims: Value| Some(gateway.issuer.token_with(claims));
    let good = || with(json!({ "sub": "alice", "scope": "api:read", "acr": "tin" }));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    vec![
        ("GET", "/page", None),
        ("GET", "/page?x=1", good()),
        ("GET", "/page", Some("opaque".to_owned())),
        ("GET", "/api/x", None),
        ("GET", "/api/x?a=%41&b", good()),
        ("POST", "/api/%75sers/alice/orders", good()),
        ("GET", "/api/users/bob/orders", good()),
        ("GET", "/api/x", with(json!({ "scope": "other" }))),
        ("GET", "/api/step-up", good()),
        ("GET", "/api/step-up", with(json!({ "acr": "gold", "auth_time": now }))),
        ("GET", "/api/read", good()),
        ("POST", "/api/read", good()),
        ("GET", "/api/../page", good()),
        ("GET", "/api;x/y", good()),
        ("GET", "/API/x", good()),
        ("GET", "/api/Step-Up", good()),
        ("GET", "/api/users/Alice/x", good()),
        ("GET", "/oauth;x/token", good()),
        ("GET", "/OAuth/token", good()),
        ("GET", "/api/x?access_token=hidden", good()),
        ("GET", "/kept/a%2Flice", with(json!({ "sub": "a/lice" }))),
        ("GET", "/kept/%61%2flice/?x", with(json!({ "sub": "a/lice" }))),
        ("GET", "/kept/alice%2Fx", good()),
        ("GET", "/kept/alice%2f..%2fa", good()),
        ("GET", "/kept%2Falice", good()),
        ("GET", "/api/a%2Fb", good()),
        ("GET", "/oauth/token%2Fx", None),
        ("GET", "/.well-known/oauth-protected-resource/kept%2Fx", None),
        ("GET", "/api/x", with(json!({ "aud": "else" }))),
        ("GET", "/api/x", with(json!({ "exp": now - 100, "iat": now - 200 }))),
        ("GET", "/api/x", with(json!({ "iss": "https://else" }))),
        ("GET", "/api/x", with(json!({ "nonce": "n" }))),
        ("GET", "/api/x", with(json!({ "cnf": {} }))),
        ("GET", "/api/x", with(json!({ "sub": 5 }))),
        ("GET", "/api/x", Some(Issuer::new().token("mallory", "api:read"))),
        ("GET", "/api/x", Some("a".repeat(9000))),
        ("GET", "/trial/x", None),
        ("GET", "/trial/x", good()),
        ("GET", "/trial/x", with(json!({ "scope": "b" }))),
    ]
}

/// Asks the gateway and `explain`; they must say the same.
async fn compare(gateway: &Gateway, upstream: &Upstream, requests: Vec<Asked>) {
    let mut client = gateway.connect().await;
    for (method, target, token) in requests {
        let bearer = token.as_ref().map(|token| format!("Bearer {token}"));
        let fields: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        let before = upstream.received().len();
        client.send(request(method, target, &fields, b"")).await;
        let answer = client.answer().await;
        let url = format!("http://{HOST}{target}");
        let mut arguments = vec![method, &url];
        if let Some(token) = &token {
            arguments.extend(["--token", token]);
        }
        let (code, text) = explain(gateway.folder(), &arguments).await;
        let told = format!("{method} {target}: {} {}\n{text}", answer.status, answer.head);
        assert_eq!(code, u8::from(answer.status != 200), "{told}");
        let (_, verdict) = text.split_once("\nverdict   ").unwrap_or_else(|| panic!("{told}"));
        if answer.status == 200 {
            assert!(verdict.starts_with("passes"), "{told}");
            let received = upstream.received();
            assert_eq!(received.len(), before + 1, "{told}");
            let seen = received.last().unwrap();
            let path = seen.path().split('?').next().unwrap();
            assert!(text.contains(&format!("upstream  {method} {}{path}", upstream.url())), "{told}");
            for name in ["x-auth-subject", "x-auth-client", "x-auth-scope", "x-auth-issuer"] {
                let line = seen.header(name).map(|value| format!("          {name}: {value}\n"));
                match line {
                    Some(line) => assert!(text.contains(&line), "{told}"),
                    None => assert!(!text.contains(name), "{told}"),
                }
            }
        } else {
            assert!(verdict.starts_with(&format!("refused: {} ", answer.status)), "{told}");
            // Under `/oauth/` it is the JSON of OAuth, which has no labels.
            if let Some(kind) = answer.json()["type"].as_str() {
                let label = kind.rsplit(':').next().unwrap();
                assert!(verdict.contains(&format!(" {label}: ")), "{told}");
            }
            let challenges = answer.all("www-authenticate");
            assert_eq!(verdict.matches("WWW-Authenticate: ").count(), challenges.len(), "{told}");
            for challenge in challenges {
                assert!(verdict.contains(&format!("WWW-Authenticate: {challenge}\n")), "{told}");
            }
            assert_eq!(upstream.received().len(), before);
        }
        for secret in token.iter().map(String::as_str).chain(["hidden"]) {
            assert!(secret == "opaque" || !text.contains(secret), "{told}");
        }
    }
}

#[tokio::test]
async fn of_a_route_with_an_identity_of_its_own_it_says_what_its_upstream_gets() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "identity: {{ assertion: {{}} }}
routes:
  - {{ path: /plain/*, to: \"{to}\" }}
  - {{ path: /own/*, to: \"{to}\", identity: {{ headers: {{ X-User: email, X-Auth-Scope: sub }}, access_token: forward, assertion: {{ header: X-Signed }} }} }}
  - {{ path: /none/*, to: \"{to}\", identity: {{ headers: {{}}, assertion: off }} }}
"
    ))
    .await;
    let token = || Some(gateway.issuer.token_with(json!({ "sub": "alice", "email": "a@x", "scope": "s" })));
    let paths = ["/plain/x", "/own/x", "/none/x"];
    compare(&gateway, &upstream, paths.map(|path| ("GET", path, token())).to_vec()).await;
    let names = ["x-user", "x-auth-subject", "x-auth-scope", "x-signed", "x-auth-assertion"];
    for (path, seen) in paths.into_iter().zip(upstream.received()) {
        let (code, text) = explain(gateway.folder(), &["GET", path, "--token", &token().unwrap()]).await;
        assert_eq!(code, 0, "{text}");
        for name in names {
            assert_eq!(
                text.contains(&format!(" {name}: ")),
                seen.header(name).is_some(),
                "{path} {name}: {text}"
            );
        }
        assert_eq!(text.contains("but for Authorization"), seen.header("authorization").is_some(), "{text}");
        let user = seen.header("x-user").map(|value| format!("x-user: {value}\n"));
        assert!(user.is_none_or(|line| text.contains(&line)), "{text}");
    }
}

#[tokio::test]
async fn it_says_what_a_gateway_with_this_configuration_does() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    compare(&gateway, &upstream, requests(&gateway)).await;
    let lines = gateway.logged(requests(&gateway).len()).await;
    let reported = lines.iter().filter(|line| line.get("report_only").is_some()).count();
    assert_eq!(reported, 2, "the trials of the list");
}

#[tokio::test]
async fn where_clients_must_be_is_said_to_be_what_only_a_running_gateway_knows() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let from = "from: [10.0.0.0/8, \"::1\"]";
    let gateway = Gateway::with(&format!(
        "routes:
  - {{ path: /public/*, to: \"{to}\", public: true, {from} }}
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }}, {from} }}
"
    ))
    .await;
    for (path, token, code) in [
        ("/public/x", None, 0),
        ("/api/x", None, 1),
        ("/api/x", Some(gateway.issuer.token("alice", "api:read")), 0),
    ] {
        let mut arguments = vec!["GET", path];
        arguments.extend(token.iter().flat_map(|token| ["--token", token.as_str()]));
        let (exit, text) = explain(gateway.folder(), &arguments).await;
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = "? address in 10.0.0.0/8 or ::1/128 only a running gateway knows the client's address";
        assert!(exit == code && squeezed.contains(told), "{path}: {text}");
    }
}

#[tokio::test]
async fn it_says_which_route_does_not_take_an_encoded_slash() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    for (path, told) in [
        ("/api/a%2fb", "not /api/* it does not say `encoded_slash: keep`"),
        ("/kept%2Fx", "not /* it does not say `encoded_slash: keep`"),
    ] {
        let (code, text) = explain(gateway.folder(), &["GET", &format!("http://{HOST}{path}")]).await;
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == 1 && squeezed(&text).contains(&squeezed(told)), "{text}");
    }
    let (code, text) = explain(gateway.folder(), &["GET", &format!("http://{HOST}/kept/a%2fb")]).await;
    assert!(code == 1 && text.contains("/kept/a%2Fb") && text.contains("encoded slashes stay"), "{text}");
}

#[tokio::test]
async fn it_says_which_route_was_meant_in_another_case() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let url = format!("http://{HOST}/api/Step-Up");
    let (code, text) = explain(gateway.folder(), &["GET", &url]).await;
    let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == 1 && squeezed.contains("`case_sensitive: true`"), "{text}");
    assert!(squeezed.contains("not /api/step-up its path differs in upper and lower case"), "{text}");
    assert!(!squeezed.contains("not /api/read"), "{text}");
}

#[tokio::test]
async fn it_says_it_also_of_sessions_of_methods_and_of_paths_of_tollgates_own() {
    const OTHER: &str = "http://127.0.0.1:9/other";
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let asked = "introspection: { client_id: g, secret: s3cret, endpoint: \"http://127.0.0.1:9/i\" }";
    let gateway = Gateway::unready(
        &format!(
            "issuers:
  test: {{ url: \"{ISS}\", audience: \"{AUDIENCE}\", jwks_file: jwks.json, {asked} }}
  other: {{ url: \"{OTHER}\", audience: \"{AUDIENCE}\", jwks_file: jwks.json, {asked} }}
  as: {{ url: \"http://127.0.0.1:9\", audience: \"{AUDIENCE}\" }}
clients: {{ portal: {{ mode: session, issuer: as }} }}
routes:
  - {{ path: /*, to: \"{to}\", public: true, issuers: test }}
  - {{ path: /app/*, to: \"{to}\", issuers: as, sign_in: portal }}
  - {{ path: /polled/*, to: \"{to}\", issuers: as, require: {{ scope: x }} }}
"
        ),
        |_| {},
    )
    .unwrap();
    gateway.wait_until_ready().await;
    let of = |iss: &str| Some(gateway.issuer.token_with(json!({ "iss": iss, "sub": "alice" })));
    let requests = vec![
        ("GET", "/x", None),
        ("GET", "/x", of(ISS)),
        ("GET", "/x", of(OTHER)),
        ("GET", "/app/x", None),
        ("POST", "/app/x", None),
        ("GET", "/polled/x", None),
        ("get", "/x", None),
        ("TRACE", "/x", None),
        ("Delete", "/x", None),
        ("GET", "/oauth/nothing", None),
        ("POST", "/oauth/events", None),
        ("GET", "/.well-known/jwks.json", None),
        ("GET", "/.well-known/oauth-protected-resource/nothing", None),
        ("POST", "/.well-known/oauth-protected-resource", None),
        ("DELETE", "/.well-known/oauth-protected-resource/nothing", None),
        ("PUT", "/.well-known/jwks.json", None),
        ("GET", "/oauth/token", None),
        ("PUT", "/oauth/login", None),
        ("POST", "/oauth/callback", None),
        ("GET", "/oauth/logout", None),
        ("POST", "/oauth/logout/next", None),
        ("POST", "/oauth/session", None),
        ("GET", "/oauth/backchannel-logout", None),
        ("GET", "/oauth/events", None),
    ];
    compare(&gateway, &upstream, requests).await;
    let issuer = async |token: &Option<String>| {
        let arguments = ["GET", "/x", "--token", token.as_deref().unwrap()];
        explain(gateway.folder(), &arguments).await.1
    };
    assert!(issuer(&of(ISS)).await.contains("ok  public, tokens of test  the token has test"));
    assert!(issuer(&of(OTHER)).await.contains("NO  public, tokens of test  the token has other"));
    let (code, text) = explain(gateway.folder(), &["GET", "/.well-known/oauth-protected-resource"]).await;
    assert!(code == 0 && text.contains("Tollgate answers it itself"), "{text}");
}

#[tokio::test]
async fn nobody_can_tell_either_where_a_route_only_reports() {
    let upstream = Upstream::start().await;
    let rest = format!("routes: [{{ path: /*, to: \"{}\", report_only: true }}]", upstream.url());
    let gateway = Gateway::with(&rest).await;
    let away = gateway.issuer.token_with(json!({ "iss": "http://127.0.0.1:9" }));
    let (code, text) = explain(gateway.folder(), &["GET", "/x", "--token", &away]).await;
    assert!(code == 2 && text.contains("give them with --jwks"), "{code}: {text}");
    let arguments = ["GET", "/x", "--token", &away, "--jwks", "jwks.json"];
    let (code, text) = explain(gateway.folder(), &arguments).await;
    assert!(code == 0 && text.contains("verdict   passes\n"), "{code}: {text}");
}

#[tokio::test]
async fn it_says_what_a_bound_token_needs() {
    const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "routes:
  - {{ path: /api/*, to: \"{to}\" }}
  - {{ path: /bound/*, to: \"{to}\", dpop: required, require: {{ scope: api:read }} }}
"
    ))
    .await;
    let bound = gateway.issuer.token_with(json!({ "scope": "api:read", "cnf": { "jkt": JKT } }));
    let free = gateway.issuer.token("alice", "api:read");
    let proof = format!("?   proof           with each request one of the key {JKT} must come in DPoP");
    for (path, token, code, told) in [
        ("/bound/x", bound.clone(), 0, proof.as_str()),
        ("/bound/x", format!("DPoP {bound}"), 0, "ok  dpop: a token is bound to a key"),
        ("/api/x", bound.clone(), 0, proof.as_str()),
        ("/api/x", format!("Bearer {bound}"), 1, "refused: 401 bound_token_as_bearer"),
        ("/api/x", format!("DPoP {free}"), 1, "refused: 401 token_not_bound"),
        ("/bound/x", free.clone(), 1, "NO  dpop: a token is bound to a key"),
        ("/bound/x", free.clone(), 1, "refused: 401 bearer_not_allowed"),
        ("/bound/x", free, 1, "ok  scope api:read"),
    ] {
        let (found, text) = explain(gateway.folder(), &["GET", path, "--token", &token]).await;
        assert!(found == code && text.contains(told), "{told}: {found}: {text}");
    }
    let arguments = ["GET", "/bound/x", "--token", &bound];
    assert!(explain(gateway.folder(), &arguments).await.1.contains(&format!("cnf is {{\"jkt\":\"{JKT}\"}}")));
    let (_, text) = explain(gateway.folder(), &["GET", "/bound/x"]).await;
    assert!(text.contains("WWW-Authenticate: DPoP realm=") && !text.contains("Bearer"), "{text}");
    assert!(text.contains("-   dpop: a token is bound to a key"), "{text}");
}

#[tokio::test]
async fn it_says_which_requests_may_use_a_session() {
    let gateway = Gateway::unready(
        "issuers: { as: { url: \"http://127.0.0.1:9\", audience: api } }
clients:
  portal: { mode: session, csrf_header: X-Portal, origins: [\"http://gate.localhost:8080\", \"http://app.gate.localhost:3000\"] }
  wiki: { mode: session, csrf: fetch_metadata }
routes:
  - { path: /api/*, to: \"http://127.0.0.1:9\", clients: portal }
  - { path: /app/*, to: \"http://127.0.0.1:9\", sign_in: portal }
  - { path: /raw/*, to: \"http://127.0.0.1:9\", clients: wiki }
  - { path: /wiki/*, to: \"http://127.0.0.1:9\", sign_in: wiki }
",
        |_| {},
    )
    .unwrap();
    let pages = "`x-portal: 1` from a page of http://gate.localhost:8080, http://app.gate.localhost:3000\n";
    let by_word = "`x-csrf: 1` from a page of http://gate.localhost:8080, or without it what the browser calls \
                   Sec-Fetch-Site: same-origin (`csrf: fetch_metadata`)\n";
    let (window, none) = ("?   who may use it  a window that goes there", "?   who may use it  no window");
    for (path, windows, others) in [
        ("/api/x", none, pages),
        ("/app/x", window, pages),
        ("/raw/x", none, by_word),
        ("/wiki/x", window, by_word),
    ] {
        let (code, text) = explain(gateway.folder(), &["GET", path]).await;
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(windows) && text.contains(&format!("; else {others}")), "{path}: {text}");
        let (_, readers) = text.split_once("pages of other origins  ").unwrap();
        let told = if path == "/raw/x" { "none" } else { "http://app.gate.localhost:3000" };
        assert!(readers.starts_with(&format!("{told} may read")), "its own pages ask nobody: {text}");
    }
}

#[tokio::test]
async fn it_says_why_a_token_for_clients_alone_is_none_for_an_api() {
    const AWAY: &str = "http://127.0.0.1:9";
    let gateway = Gateway::unready(
        &format!(
            "issuers:
  as: {{ url: \"{AWAY}\", audience: spa }}
clients: {{ spa: {{ mode: native }} }}
routes: [{{ path: /*, to: \"{AWAY}\" }}]
"
        ),
        |_| {},
    )
    .unwrap();
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({ "iss": AWAY, "sub": "alice", "aud": "spa", "iat": now, "exp": now + 300 });
    let token = gateway.issuer.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" }), &claims);
    let arguments = ["GET", "/x", "--token", &token, "--jwks", "jwks.json"];
    let (code, text) = explain(gateway.folder(), &arguments).await;
    assert!(code == 1 && text.contains("accepted: spa; but this is for clients alone"), "{text}");
    assert!(text.contains("refused: 401 wrong_token_type"), "{text}");
}

#[tokio::test]
async fn it_says_how_far_a_token_came_and_what_is_missing() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let token =
        gateway.issuer.token_with(json!({ "sub": "bob", "scope": "api:read", "aud": "else\u{1b}[31m" }));
    let (code, text) = explain(gateway.folder(), &["GET", "/api/users/alice", "--token", &token]).await;
    assert_eq!(code, 1);
    let line = |start: &str| {
        text.lines()
            .find(|line| line.trim_start().starts_with(start))
            .unwrap_or_else(|| panic!("{start}:\n{text}"))
    };
    assert!(line("route").contains("ok  /api/users/{id}/* -> "));
    assert!(line("-   not /api/*").ends_with("its path is less specific"));
    assert!(line("-   not /*").ends_with("its path is less specific"));
    assert!(line("ok  issuer").contains("is `test`"));
    line("ok  signature");
    assert!(line("NO  audience").contains("accepted: https://api.example.com"));
    line("-   identifiers");
    assert!(line("require").contains("-   scope api:read"), "not judged by a token that does not hold");
    assert!(line("claims").contains(": "), "its signature held");
    assert!(!text.contains('\u{1b}'), "{text:?}");

    let token = gateway.issuer.token("bob", "api:read");
    let (code, text) = explain(gateway.folder(), &["GET", "/api/users/alice", "--token", &token]).await;
    assert_eq!(code, 1);
    assert!(text.contains("ok  scope api:read  the token has api:read"), "{text}");
    assert!(text.contains("NO  claim sub is {id} of the path  the token has \"bob\""), "{text}");
    assert!(text.contains("?   revocations"), "{text}");

    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let refresh =
        json!({ "iss": ISS, "aud": AUDIENCE, "iat": now, "exp": now + 300, "token_type": "refresh" });
    let refresh = gateway.issuer.sign(&json!({ "alg": "ES256", "kid": "k1" }), &refresh);
    let (_, text) = explain(gateway.folder(), &["GET", "/api/x", "--token", &refresh]).await;
    let why = "accepted: at+jwt, JWT or absent; its claim token_type says that it is an ID token or a refresh token";
    assert!(text.contains("NO  type") && text.contains(why), "{text}");
    let id_token = json!({ "iss": ISS, "aud": AUDIENCE, "iat": now, "exp": now + 300, "nonce": "n" });
    let id_token = gateway.issuer.sign(&json!({ "alg": "ES256", "kid": "k1" }), &id_token);
    let (_, text) = explain(gateway.folder(), &["GET", "/api/x", "--token", &id_token]).await;
    assert!(text.contains("NO  type") && text.contains("its claim nonce is that of an ID token"), "{text}");
    assert!(text.contains("issuers.<name>.claims.access_token"), "{text}");

    let forged = Issuer::new().token("mallory", "api:read");
    let (_, text) = explain(gateway.folder(), &["GET", "/api/x", "--token", &forged]).await;
    assert!(text.contains("NO  signature") && text.contains("-   audience"), "{text}");
    assert!(text.contains("\nunproven  "), "what it says is not believed:\n{text}");
    let (code, text) = explain(gateway.folder(), &["POST", "/oauth/token"]).await;
    assert!(code == 0 && text.contains("Tollgate answers it itself"), "{text}");
    let (code, text) = explain(gateway.folder(), &["GET", "/oauth/token"]).await;
    assert!(code == 1 && text.contains("refused: 405 method_not_allowed"), "{text}");
    assert!(text.contains("this path takes POST, DELETE"), "{text}");
    let spaced = gateway.issuer.token_with(json!({ "sub": "alice", "scope": ["api", "api:read x"] }));
    let (code, text) = explain(gateway.folder(), &["GET", "/api/x", "--token", &spaced]).await;
    assert!(code == 1 && text.contains("the token has api \"api:read x\""), "{text}");
    let (code, text) = explain(gateway.folder(), &["GET", "http://evil.example/api/x"]).await;
    assert!(code == 1 && text.contains("refused: 421 unknown_host"), "{text}");
}

#[tokio::test]
async fn keys_come_from_a_file_or_from_the_issuer_itself() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::new();
    let keys = issuer.jwks().to_string();
    let server = Upstream::answering(std::sync::Arc::new(move |asked| {
        let iss = format!("http://{}", asked.header("host").unwrap());
        let metadata = json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks"), "token_endpoint": iss });
        let body = if asked.path() == "/jwks" { keys.clone() } else { metadata.to_string() };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }))
    .await;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let config = |url: &str| {
        format!(
            "public_url: http://gate.localhost:8080\nlisten: 127.0.0.1:0\nissuers:
  as: {{ url: \"{url}\", audience: \"https://api.example.com\", timeout: 2s }}
routes: [{{ path: /*, to: \"http://127.0.0.1:1\" }}]\n"
        )
    };
    write("config.yaml", &config(&server.url()));
    write("away.yaml", &config("http://127.0.0.1:9"));
    write("jwks.json", &issuer.jwks().to_string());
    write("token", &format!("Bearer {}\n", issuer.token_with(json!({ "iss": server.url() }))));
    write("away", &issuer.token_with(json!({ "iss": "http://127.0.0.1:9" })));
    write("empty", "\n");
    write("no.json", "{\"keys\": []}");
    let path = folder.path();
    let (code, text) = explain(path, &["GET", "/x", "--token-file", "token"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(!server.received().is_empty());
    let away = ["GET", "/x", "--config", "away.yaml", "--token-file", "away"];
    let (code, text) = explain(path, &away).await;
    assert!(code == 2 && text.contains("give them with --jwks") && text.contains("503"), "{text}");
    let asked = server.received().len();
    let (code, text) = explain(path, &[&away[..], &["--jwks", "jwks.json"]].concat()).await;
    assert_eq!((code, server.received().len()), (0, asked), "{text}");
    for (wrong, says) in [
        (&["GET", "/x", "--token-file", "empty"][..], "no token in it"),
        (&["GET", "/x", "--token-file", "missing"], "missing"),
        (&["GET", "/x", "--jwks", "no.json"], "no key in it"),
        (&["GET", "/x", "--jwks", "token"], "not a JWK Set"),
        (&["GET", "x"], "write a URL"),
        (&["GET", "http://u:p@gate.localhost/x"], "user or password"),
        (&["G ET", "/x"], "invalid value"),
        (&["GET"], "required"),
        (&["GET", "/x", "--config", "missing.yaml"], "missing.yaml"),
        (&["GET", "/x", "--token", "hush\n\u{7f}"], "no header can hold"),
    ] {
        let (code, text) = explain(path, wrong).await;
        assert!(code == 2 && text.contains(says), "{wrong:?}: {code}: {text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[tokio::test]
async fn it_says_what_only_a_running_gateway_does() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "identity: {{ assertion: {{ header: X-Caller }} }}\nroutes: [{{ path: /*, to: \"{}\" }}]",
        upstream.url()
    ))
    .await;
    let token = gateway.issuer.token("alice", "");
    let (code, text) = explain(gateway.folder(), &["GET", "/x", "--token", &token]).await;
    assert!(code == 0 && text.contains("x-caller: the assertion, which a running gateway signs"), "{text}");

    let asks = gateway.text.replace("jwks_file: jwks.json }", "jwks_file: jwks.json, introspection: { client_id: g, secret: s3cret, endpoint: \"http://127.0.0.1:9/i\" } }");
    std::fs::write(gateway.folder().join("asks.yaml"), asks).unwrap();
    let arguments = ["GET", "/x", "--token", "opaque", "--config", "asks.yaml"];
    let (code, text) = explain(gateway.folder(), &arguments).await;
    assert!(code == 2 && text.contains("?   introspection   only test knows what this token is"), "{text}");
    assert!(text.contains("verdict   nobody can tell here") && !text.contains("refused"), "{text}");
}

#[tokio::test]
async fn it_tells_a_claim_that_stands_elsewhere_from_one_that_nobody_has() {
    const ELSEWHERE: &str = "the token says that this claim is kept elsewhere (_claim_names or hasgroups), where the gateway does not look";
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "identity: {{ headers: {{ X-Auth-Subject: sub, X-Groups: groups }} }}
routes:
  - {{ path: /staff/*, to: \"{to}\", require: {{ claims: {{ groups: staff }} }} }}
  - {{ path: /all/*, to: \"{to}\" }}
"
    ))
    .await;
    let many = || gateway.issuer.token_with(json!({ "sub": "alice", "_claim_names": { "groups": "src1" } }));
    let none = || gateway.issuer.token_with(json!({ "sub": "alice" }));
    let asked = vec![
        ("GET", "/staff/x", Some(many())),
        ("GET", "/staff/x", Some(none())),
        ("GET", "/all/x", Some(many())),
        ("GET", "/all/x", Some(none())),
    ];
    compare(&gateway, &upstream, asked).await;
    for (path, token, told, untold) in [
        ("/staff/x", many(), format!("NO  claim groups is \"staff\"  {ELSEWHERE}"), "the token has none"),
        ("/staff/x", many(), "refused: 403 claim_elsewhere: ".to_owned(), "claim_mismatch"),
        ("/staff/x", none(), "NO  claim groups is \"staff\"  the token has none".to_owned(), ELSEWHERE),
        ("/staff/x", none(), "refused: 403 claim_mismatch: ".to_owned(), "claim_elsewhere"),
        ("/all/x", many(), format!("headers   NO  x-groups (groups)  left out: {ELSEWHERE}"), "refused"),
        ("/all/x", none(), "verdict   passes".to_owned(), ELSEWHERE),
    ] {
        let (_, text) = explain(gateway.folder(), &["GET", path, "--token", &token]).await;
        assert!(text.contains(&told) && !text.contains(untold), "{path} {told}: {text}");
    }
}

#[tokio::test]
async fn it_says_which_of_several_alternatives_holds_or_why_each_does_not() {
    const SHARED: &str = "ok  issuer test  the token has test\n";
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "routes:
  - path: \"/users/{{id}}\"
    to: \"{to}\"
    issuers: test
    require: [{{ claims: {{ sub: \"{{id}}\" }} }}, {{ scope: admin, signed_in_within: 5m }}]
"
    ))
    .await;
    let token = |claims: Value| Some(gateway.issuer.token_with(claims));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let owner = || token(json!({ "sub": "alice", "scope": "openid" }));
    let admin = |ago| token(json!({ "sub": "bob", "scope": "admin", "auth_time": now - ago }));
    let nobody = || token(json!({ "sub": "bob", "scope": "openid" }));
    let asked = [owner(), admin(10), admin(600), nobody(), None].map(|token| ("GET", "/users/alice", token));
    compare(&gateway, &upstream, asked.to_vec()).await;
    let alternative = |mark: &str, at: usize| format!("{mark:<4}alternative {at} of 2\n");
    for (token, marks, says) in [
        (
            owner(),
            ["ok", "NO"],
            ["ok    claim sub is {id} of the path  the token has \"alice\"", "verdict   passes\n", SHARED],
        ),
        (
            admin(10),
            ["NO", "ok"],
            [
                "NO    claim sub is {id} of the path  the token has \"bob\"",
                "ok    scope admin  the token has admin",
                SHARED,
            ],
        ),
        (
            admin(600),
            ["NO", "NO"],
            ["NO    signed in within 5m  the token has ", "refused: 401 step_up_needed", "max_age=\"300\""],
        ),
        (
            nobody(),
            ["NO", "NO"],
            ["NO    scope admin  the token has openid", "refused: 403 claim_mismatch", SHARED],
        ),
    ] {
        let (_, text) = explain(gateway.folder(), &["GET", "/users/alice", "--token", &token.unwrap()]).await;
        for told in [alternative(marks[0], 1), alternative(marks[1], 2)] {
            assert!(text.contains(&told), "{told}: {text}");
        }
        for told in says {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
    let (_, text) = explain(gateway.folder(), &["GET", "/users/alice"]).await;
    assert!(text.contains(&alternative("-", 1)) && text.contains("NO  a valid token\n"), "{text}");
}
