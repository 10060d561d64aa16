//! What operators ask the admin listener for, and who else gets nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::address::Address;
use crate::support::client::{Answer, Client, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::AUDIENCE;
use crate::support::operator::{self, Operator};
use crate::support::until;
use crate::support::upstream::{Received, Upstream};

const GOOD: &str = "0123456789abcdef0123456789abcdef";

async fn ask(gateway: &Gateway, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    ask_with(gateway, (method, path), fields, "").await
}

async fn ask_with(
    gateway: &Gateway,
    (method, path): (&str, &str),
    fields: &[(&str, &str)],
    body: &str,
) -> Answer {
    let json = (!body.is_empty()).then_some(("Content-Type", "application/json"));
    let fields: Vec<_> = fields.iter().copied().chain(json).collect();
    operator::ask(gateway.admin, method, path, &fields, body).await
}

#[tokio::test]
async fn a_token_is_made_once_for_its_owner_alone_and_opens_what_health_does_not() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let file = gateway.folder().join("data/admin.token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let bearer = Operator::of(&gateway).bearer;
    for path in ["/", "/status", "/config"] {
        let refused = ask(&gateway, "GET", path, &[]).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").unwrap().contains("Basic"), "browsers can ask for it");
        assert_eq!(ask(&gateway, "GET", path, &[("Authorization", &bearer)]).await.status, 200, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(&gateway, "GET", path, &[]).await.status, 200, "{path}");
    }
    let told = ask(&gateway, "POST", "/reload", &[("Authorization", &bearer)]).await;
    assert_eq!(told.status, 409, "this one was not started from a file");
    drop(gateway.app.gate.operators.reloads.listen());
    let told = ask(&gateway, "POST", "/reload", &[("Authorization", &bearer)]).await;
    assert_eq!(told.status, 503, "it is ending");
    assert!(String::from_utf8_lossy(&told.body).contains("ask the one that serves"), "{told:?}");
}

#[tokio::test]
async fn whatever_is_there_is_done_for_nobody_without_the_token() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let good = Operator::of(&gateway).bearer;
    let entry = r#"{"kind":"jti","value":"x","issuer":"test"}"#;
    let id = "0".repeat(32);
    let one = format!("/revocations/{id}");
    let all = [
        ("GET", "/"),
        ("GET", "/status"),
        ("GET", "/config"),
        ("POST", "/reload"),
        ("GET", "/revocations"),
        ("POST", "/revocations"),
        ("DELETE", one.as_str()),
        ("POST", "/issuers/test/refresh"),
    ];
    let wrong = format!("{good}x");
    let heads = [("HEAD", "/"), ("HEAD", "/status"), ("HEAD", "/config"), ("HEAD", "/revocations")];
    for asked in all.into_iter().chain(heads) {
        for authorization in [None, Some(wrong.as_str()), Some("Bearer "), Some("Basic Og==")] {
            let fields: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
            let body = if asked == ("POST", "/revocations") { entry } else { "" };
            let answer = ask_with(&gateway, asked, &fields, body).await;
            assert_eq!(answer.status, 401, "{asked:?} {authorization:?}");
        }
    }
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    for line in ["tollgate_revocations{kind=\"jti\"} 0", "tollgate_config_reloads_total{result=\"failed\"} 0"]
    {
        assert!(metrics.contains(line), "{line}: something was done:\n{metrics}");
    }
    // All of it is there, for whoever has the token.
    for (method, path) in all {
        let answer = ask(&gateway, method, path, &[("Authorization", &good)]).await;
        assert!(!matches!(answer.status, 401 | 405), "{method} {path}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_token_that_is_not_the_one_is_counted_and_a_browser_that_has_none_yet_is_not() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let counted = async |count: u32| {
        let metrics = String::from_utf8(ask(&gateway, "GET", "/metrics", &[]).await.body).unwrap();
        metrics.contains(&format!("\ntollgate_admin_tokens_refused_total {count}\n"))
    };
    assert_eq!(ask(&gateway, "GET", "/status", &[]).await.status, 401);
    let bearer = Operator::of(&gateway).bearer;
    assert_eq!(ask(&gateway, "GET", "/status", &[("Authorization", &bearer)]).await.status, 200);
    assert!(counted(0).await);
    for path in ["/status", "/revocations"] {
        assert_eq!(ask(&gateway, "GET", path, &[("Authorization", "Bearer guessed")]).await.status, 401);
    }
    assert!(counted(2).await);
}

#[tokio::test]
async fn a_token_of_the_operators_own_is_the_only_one() {
    let upstream = Upstream::start().await;
    let rest = format!("routes: [{{ path: /*, to: \"{}\" }}]\n", upstream.url());
    let gateway = Gateway::adjusted(&rest, |settings| {
        settings.admin.token = Some(tollgate::core::secret::Secret::new(GOOD.as_bytes().to_vec()));
    })
    .await;
    let with = async |token: &str| {
        ask(&gateway, "GET", "/status", &[("Authorization", &format!("Bearer {token}"))]).await.status
    };
    assert_eq!((with(GOOD).await, with(&GOOD[1..]).await), (200, 401));
    assert!(!gateway.folder().join("data/admin.token").exists());
}

/// Nobody fills the memory with what nobody asked for.
#[tokio::test]
async fn a_body_is_waited_for_only_where_there_is_something_to_say_and_by_whoever_may() {
    const ANNOUNCED: (&str, &str) = ("Content-Length", "4194304");
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let bearer = Operator::of(&gateway).bearer;
    let authorized = ("Authorization", bearer.as_str());
    let json = ("Content-Type", "application/json");
    // No byte of the body is ever sent.
    let announces = async |method: &str, path: &str, fields: &[(&str, &str)]| {
        let fields = [&[ANNOUNCED][..], fields].concat();
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut client = Client::connect(gateway.admin).await;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{}\r\n", gateway.admin, fields.concat());
        client.send(head).await;
        (client, method.to_owned())
    };
    for (method, path, fields, status) in [
        ("GET", "/livez", &[][..], 200),
        ("HEAD", "/livez", &[], 200),
        ("GET", "/readyz", &[], 200),
        ("GET", "/metrics", &[], 200),
        ("GET", "/status", &[authorized], 200),
        ("GET", "/revocations", &[authorized], 200),
        ("GET", "/status", &[], 401),
        ("POST", "/revocations", &[json], 401),
        ("POST", "/reload", &[json], 401),
    ] {
        let (mut client, method) = announces(method, path, fields).await;
        let answer = client.answer_to(&method).await.unwrap();
        assert_eq!((answer.status, answer.keeps_alive()), (status, false), "{method} {path}");
        assert!(client.is_closed().await, "{method} {path}");
    }
    // What is said where it is wanted is heard, and no more of it than is ever wanted.
    let (mut client, method) = announces("POST", "/reload", &[json, authorized]).await;
    client.send(vec![b' '; 2000]).await;
    assert_eq!(client.answer_to(&method).await.unwrap().status, 413);
    let (mut client, method) = announces("POST", "/revocations", &[json, authorized]).await;
    client.send(vec![b' '; 4 << 20]).await;
    assert_eq!(client.answer_to(&method).await.unwrap().status, 400, "no JSON");
}

/// RFC 9110 section 10.1.1.
#[tokio::test]
async fn whoever_waits_to_be_asked_for_a_body_is_asked_where_it_is_wanted() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let entry = r#"{"kind":"jti","value":"x","issuer":"test"}"#;
    let head = |authorization: &str| {
        format!(
            "POST /revocations HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            gateway.admin,
            entry.len()
        )
    };
    let mut client = Client::connect(gateway.admin).await;
    client.send(head(&format!("Authorization: {}\r\n", Operator::of(&gateway).bearer))).await;
    assert_eq!(client.interim().await, 100);
    client.send(entry).await;
    assert_eq!(client.interim().await, 201);
    // Nothing is wanted of somebody who may not ask.
    let mut client = Client::connect(gateway.admin).await;
    client.send(head("")).await;
    assert_eq!(client.interim().await, 401);
}

#[tokio::test]
async fn the_status_tells_of_issuers_routes_and_refusals_and_of_no_secret() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "clients: {{ web: {{ mode: token, login: page, issuer: discovered, secret: hunter2hunter2, redirect_uri: \"http://gate.localhost/b\" }} }}
routes: [{{ name: \"<b>x</b>\", path: /x/*, to: \"{0}\" }}, {{ path: /trial/*, to: \"{0}\", report_only: true, dpop: required }}]
",
        upstream.url()
    );
    let gateway = Gateway::with(&rest).await;
    let bearer = Operator::of(&gateway).bearer;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        client.send(request("GET", "/x/y", &[], b"")).await;
        assert_eq!(client.answer().await.status, 401);
    }
    let status = ask(&gateway, "GET", "/status", &[("Authorization", &bearer)]).await.json();
    assert_eq!(
        (&status["ready"], &status["issuers"][0]["name"], &status["issuers"][0]["keys"]),
        (&json!(true), &json!("test"), &json!(1))
    );
    assert_eq!(status["degraded"], json!(["issuer discovered: no keys yet"]));
    assert_eq!(status["refusals"][0]["reason"], "no_credential");
    assert_eq!(
        (&status["refusals"][0]["count"], &status["refusals"][0]["route"]),
        (&json!(3), &json!("<b>x</b>"))
    );
    let page = ask(&gateway, "GET", "/", &[("Authorization", &bearer)]).await;
    let html = String::from_utf8(page.body.clone()).unwrap();
    assert_eq!(
        (&status["routes"][0]["report_only"], &status["routes"][1]["report_only"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        (&status["routes"][0]["dpop"], &status["routes"][1]["dpop"]),
        (&json!("allowed"), &json!("required"))
    );
    assert!(html.contains("<td>token, bound to a key, report only</td>"), "{html}");
    assert!(
        html.contains("no_credential") && html.contains("&lt;b&gt;x") && !html.contains("<b>x"),
        "{html}"
    );
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let config = ask(&gateway, "GET", "/config", &[("Authorization", &bearer)]).await.json();
    assert_eq!(config["clients"]["web"]["secret"], "[secret]");
    assert_eq!(config["routes"][0]["path"], "/x/*");
    for text in [status.to_string(), html, config.to_string()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn the_status_tells_routes_apart_by_what_the_file_says_of_them() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "routes:
  - {{ path: /x/*, to: \"{0}\", host: a.example.com, methods: [GET, POST], require: {{ scope: [read, write] }} }}
  - {{ path: /x/*, to: \"{0}\", host: b.example.com, from: [127.0.0.0/8], issuers: test }}
  - {{ path: /*, to: \"{0}\", public: true }}
",
        upstream.url()
    );
    let gateway = Gateway::with(&rest).await;
    let bearer = Operator::of(&gateway).bearer;
    let status = ask(&gateway, "GET", "/status", &[("Authorization", &bearer)]).await.json();
    let told = |at: usize| {
        let route = &status["routes"][at];
        ["host", "methods", "from", "issuers", "require"]
            .map(|key| route.get(key).cloned().unwrap_or_default())
    };
    let none = Value::Null;
    assert_eq!(
        told(0),
        [
            json!("a.example.com"),
            json!(["GET", "POST"]),
            none.clone(),
            none.clone(),
            json!({ "scope": ["read", "write"] })
        ]
    );
    assert_eq!(
        told(1),
        [json!("b.example.com"), none.clone(), json!(["127.0.0.0/8"]), json!(["test"]), none.clone()]
    );
    assert_eq!(told(2), [const { Value::Null }; 5]);
    let page = ask(&gateway, "GET", "/", &[("Authorization", &bearer)]).await;
    let html = String::from_utf8(page.body).unwrap().replace("&#x2f;", "/");
    let required = r#"token<br>require: <code>{"scope": ["read", "write"]}</code>"#;
    for told in [
        "<td>GET, POST a.example.com/x/*</td>",
        required,
        "<br>issuers: test",
        "<br>from: 127.0.0.0/8",
        "public</td>",
    ] {
        assert!(html.contains(told), "{told}\n{html}");
    }
}

#[tokio::test]
async fn the_status_tells_how_it_goes_with_asking_about_opaque_tokens_as_json_and_on_the_page() {
    let (upstream, silent) = (Upstream::start().await, Address::reserve());
    let server = Upstream::answering(Arc::new(|_: &Received| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let body = json!({
            "active": true, "token_type": "Bearer", "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300,
        })
        .to_string();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }))
    .await;
    let issuer = |name: &str, asked: &str| {
        let url =
            format!("url: \"http://127.0.0.1:9/{name}\", audience: \"{AUDIENCE}\", jwks_file: jwks.json");
        format!("  {name}: {{ {url}{asked} }}\n")
    };
    let asked = |server: &str| {
        format!(", introspection: {{ client_id: gate, secret: hunter2hunter2, endpoint: \"{server}/i\" }}")
    };
    let issuers = [("plain", String::new()), ("well", asked(&server.url())), ("ill", asked(&silent.url()))];
    let issuers: String = issuers.iter().map(|(name, asked)| issuer(name, asked)).collect();
    let route = |name: &str| {
        format!("  - {{ path: /{name}/*, to: \"{}\", issuers: {name}, require: {{}} }}\n", upstream.url())
    };
    let routes = format!("routes:\n{}{}", route("well"), route("ill"));
    let gateway = Gateway::unready(&format!("issuers:\n{issuers}{routes}"), |_| {}).unwrap();
    gateway.wait_until_ready().await;
    let mut client = gateway.connect().await;
    for (path, status) in [("/well/x", 200), ("/ill/x", 503)] {
        let answer = client.get(path, &[("Authorization", "Bearer opaque")]).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let bearer = Operator::of(&gateway).bearer;
    let status = ask(&gateway, "GET", "/status", &[("Authorization", &bearer)]).await.json();
    let told = |at: usize| &status["issuers"][at]["introspection"];
    assert_eq!((told(0), told(1)), (&Value::Null, &json!({ "remembered": 1, "last_error": null })));
    let why = told(2)["last_error"].as_str().unwrap();
    let page = ask(&gateway, "GET", "/", &[("Authorization", &bearer)]).await;
    let html = String::from_utf8(page.body).unwrap();
    let cells: Vec<&str> = html
        .lines()
        .filter(|line| line.contains("127.0.0.1:9&#x2f;"))
        .filter_map(|row| row.rsplit("<td>").next())
        .collect();
    let ill = format!("0 remembered; cannot be asked: {why}</td></tr>");
    assert_eq!(cells, ["</td></tr>", "1 remembered</td></tr>", &ill], "{html}");
    assert!(!html.contains("hunter2"), "{html}");
}

#[tokio::test]
async fn an_issuers_keys_are_fetched_at_once_when_an_operator_asks() {
    let upstream = Upstream::start().await;
    let keys = crate::support::issuer::Issuer::new();
    let other = crate::support::issuer::Issuer::new();
    let published = Arc::new(std::sync::Mutex::new(keys.jwks()));
    let server = {
        let published = published.clone();
        Upstream::answering(Arc::new(move |_: &Received| {
            let body = published.lock().unwrap().to_string();
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .into_bytes()
        }))
        .await
    };
    let rest = format!(
        "issuers: {{ far: {{ url: \"{}\", audience: \"{}\", jwks_uri: \"{}/jwks\" }} }}\nroutes: [{{ path: /*, to: \"{}\" }}]\n",
        crate::support::issuer::ISS,
        crate::support::issuer::AUDIENCE,
        server.url(),
        upstream.url()
    );
    let gateway = Gateway::unready(&rest, |_| {}).unwrap();
    let mut client = gateway.connect().await;
    let token = format!("Bearer {}", keys.token("alice", ""));
    assert_eq!(client.get("/", &[("Authorization", &token)]).await.status, 200);

    *published.lock().unwrap() = other.jwks();
    let bearer = Operator::of(&gateway).bearer;
    let refresh = async |name: &str, fields: &[(&str, &str)]| {
        ask(&gateway, "POST", &format!("/issuers/{name}/refresh"), fields).await
    };
    assert_eq!(refresh("far", &[]).await.status, 401);
    assert_eq!(client.get("/", &[("Authorization", &token)]).await.status, 200, "nothing happened yet");
    let told = refresh("far", &[("Authorization", &bearer)]).await;
    assert_eq!((told.status, told.json()), (200, json!({ "issuer": "far", "keys": 1 })));
    assert_eq!(
        client.get("/", &[("Authorization", &token)]).await.status,
        401,
        "the key that was taken away is gone"
    );
    assert_eq!(refresh("near", &[("Authorization", &bearer)]).await.status, 404);

    *published.lock().unwrap() = json!({ "no": "keys" });
    let degraded = async || ask(&gateway, "GET", "/readyz", &[]).await.json()["degraded"].clone();
    assert_eq!(degraded().await, json!([]));
    let told = refresh("far", &[("Authorization", &bearer)]).await;
    assert_eq!(told.status, 502);
    let away = "issuer far: could not be asked for its keys, those from before count";
    assert_eq!(degraded().await, json!([away]));
    assert!(told.json()["error"].as_str().is_some_and(|why| !why.is_empty()), "{told:?}");
    let good = format!("Bearer {}", other.token("alice", ""));
    assert_eq!(
        client.get("/", &[("Authorization", &good)]).await.status,
        200,
        "good keys outlive a failed fetch"
    );
    let _: Value = told.json();
}

#[tokio::test]
async fn servers_that_are_not_well_are_degraded_and_the_gateway_is_ready() {
    let (one, two) = (Address::reserve(), Address::reserve());
    let upstream = Upstream::on(two.listen(), Arc::new(crate::support::upstream::plain));
    let gateway = Gateway::with(&format!(
        "upstreams: {{ api: {{ url: [\"{}\", \"{}\"] }} }}\nroutes: [{{ path: /*, to: api, public: true }}]\n",
        one.url(),
        two.url()
    ))
    .await;
    let degraded = async || {
        let ready = ask(&gateway, "GET", "/readyz", &[]).await;
        assert_eq!(ready.status, 200);
        let all = ready.json()["degraded"].as_array().unwrap().clone();
        let all = all.iter().map(|what| what.as_str().unwrap().to_owned());
        all.filter(|what| what.starts_with("upstream")).collect::<Vec<_>>()
    };
    assert_eq!(degraded().await, Vec::<String>::new());
    for _ in 0..2 {
        assert_eq!(gateway.connect().await.get("/", &[]).await.status, 200);
    }
    assert_eq!(degraded().await, [format!("upstream api: not well: {}", one.authority())]);
    drop(upstream);
    let mut both = [one.authority(), two.authority()];
    both.sort();
    until("both to be known", async || {
        assert_eq!(gateway.connect().await.get("/", &[]).await.status, 502);
        degraded().await == [format!("upstream api: no server is well: {}", both.join(", "))]
    })
    .await;
}

#[tokio::test]
async fn pages_of_other_origins_see_nothing_of_the_admin_listener() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for (path, field, status) in [
        ("/metrics", "Sec-Fetch-Site: cross-site", 403),
        ("/readyz", "Sec-Fetch-Site: same-site", 403),
        ("/metrics", "Origin: http://evil.example", 403),
        ("/metrics", "Origin: null", 403),
        ("/metrics", "Sec-Fetch-Site: none", 200),
    ] {
        let mut client = Client::connect(gateway.admin).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{field}\r\n\r\n", gateway.admin)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{path} with {field}");
        assert!(!answer.head.to_ascii_lowercase().contains("access-control-"), "{}", answer.head);
    }
    // Nor may one ask with more than any page may.
    let mut client = Client::connect(gateway.admin).await;
    let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization";
    client.send(format!("OPTIONS /reload HTTP/1.1\r\nHost: {}\r\n{preflight}\r\n\r\n", gateway.admin)).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 403);
    assert!(!answer.head.to_ascii_lowercase().contains("access-control-"), "{}", answer.head);
}
