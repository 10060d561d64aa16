//! Sign-in and sign-out by the gateway on the wire: which headers and pages a browser gets. What is decided,
//! and why, is tested with its flow; real browsers are in tests/e2e.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::keys::MovedClock;
use crate::reload;
use crate::support::client::{Answer, Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::Issuer;
use crate::support::upstream::{Received, Upstream};

/// Same site as the gateway, another origin, and listed.
const LISTED: &str = "http://app.gate.localhost:3000";
const CROSS: [(&str, &str); 3] = going("cross-site");
const OWN: [(&str, &str); 3] = going("same-origin");

const fn going(site: &str) -> [(&str, &str); 3] {
    [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Site", site)]
}

/// Takes any code for the nonce of the sign-in.
fn authorization_server(issuer: &Issuer, asked: &Received, number: usize) -> Vec<u8> {
    let url = format!("http://{}", asked.header("host").unwrap());
    let body = match asked.path() {
        "/token" => tokens(issuer, &url, &asked.raw_body, number),
        "/jwks" => issuer.jwks(),
        _ => json!({
            "issuer": url, "authorization_endpoint": format!("{url}/auth"), "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/jwks"), "end_session_endpoint": format!("{url}/out"),
            "response_types_supported": ["code"],
        }),
    };
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn tokens(issuer: &Issuer, url: &str, form: &[u8], number: usize) -> Value {
    let form: BTreeMap<String, String> = form_urlencoded::parse(form).into_owned().collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let access_token = issuer.token_with(json!({
        "iss": url, "sub": "alice", "scope": "api:read", "jti": format!("token-{number}"), "client_id": form.get("client_id"),
    }));
    let claims = json!({
        "iss": url, "aud": form.get("client_id"), "sub": "alice", "nonce": form.get("code"), "iat": now, "exp": now + 300,
    });
    let id_token = issuer.sign(&json!({ "alg": "ES256", "kid": "k1" }), &claims);
    json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 300, "refresh_token": "rt-of-the-as",
        "id_token": id_token,
    })
}

struct World {
    server: Upstream,
    api: Upstream,
    gateway: Gateway,
    clock: Arc<MovedClock>,
    client: Client,
    /// By name and path (RFC 6265bis section 5.7).
    cookies: BTreeMap<(String, String), String>,
}

impl World {
    async fn start() -> Self {
        Self::with("mode: token").await
    }

    async fn with(mode: &str) -> Self {
        Self::of_pages_at(&[&format!("http://{HOST}"), LISTED], mode).await
    }

    async fn of_pages_at(origins: &[&str], mode: &str) -> Self {
        let issuer = Issuer::new();
        let count = AtomicUsize::new(0);
        let answer = move |asked: &Received| {
            authorization_server(&issuer, asked, count.fetch_add(1, Ordering::Relaxed))
        };
        let server = Upstream::answering(Arc::new(answer)).await;
        let planting = |_: &Received| {
            b"HTTP/1.1 200 OK\r\nSet-Cookie: __Host-Http-tollgate-web-app-tx-abcdefghijklmnop=evil; Path=/; Secure\r\n\
              Set-Cookie: theirs=1\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        };
        let api = Upstream::answering(Arc::new(planting)).await;
        let config = format!(
            "issuers: {{ as: {{ url: \"{}\", audience: \"https://api.example.com\" }} }}
clients: {{ web-app: {{ {mode}, origins: {origins:?} }} }}
routes: [{{ path: /api/*, to: \"{url}\" }}, {{ path: /open/*, to: \"{url}\", public: true }}]
",
            server.url(),
            url = api.url(),
        );
        let clock = Arc::new(MovedClock::default());
        let moved = Arc::clone(&clock);
        let gateway = Gateway::outside(&config, |outside| outside.clock = moved).unwrap();
        let client = gateway.connect().await;
        Self { server, api, gateway, clock, client, cookies: BTreeMap::new() }
    }

    /// As a browser: brings its cookies, and keeps what it gets.
    async fn send(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let path = target.split('?').next().unwrap();
        let is_sent = |at: &str| {
            path.strip_prefix(at)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || at.ends_with('/'))
        };
        let sent = self.cookies.iter().filter(|((_, path), _)| is_sent(path));
        let cookies: Vec<_> = sent.map(|((name, _), value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut all = fields.to_vec();
        if !cookies.is_empty() {
            all.push(("Cookie", &cookies));
        }
        self.client.send(request(method, target, &all, body.as_bytes())).await;
        let answer = self.client.answer().await;
        for cookie in answer.all("set-cookie") {
            let (pair, attributes) = cookie.split_once("; ").unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            let path = attributes.split("; ").find_map(|one| one.strip_prefix("Path=")).unwrap_or("/");
            let key = (name.to_owned(), path.to_owned());
            if attributes.contains("Max-Age=0;") {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
        answer
    }

    /// Begins a sign-in; gives the query of the callback.
    async fn begin(&mut self, query: &str) -> String {
        let answer = self.send("GET", &format!("/oauth/login?{query}"), &OWN, "").await;
        let to = answer.header("location").unwrap_or_else(|| panic!("{}", answer.head));
        let query = to.strip_prefix(&format!("{}/auth?", self.server.url())).unwrap();
        let asked: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        format!("code={}&state={}", asked["nonce"], asked["state"])
    }

    /// Where the client's session cookie is kept.
    fn paths(&self) -> Vec<&str> {
        let ours = self.cookies.keys().filter(|(name, _)| name == "__Secure-tollgate-web-app");
        ours.map(|(_, path)| path.as_str()).collect()
    }

    /// Asks for an access token; the status.
    async fn exchange(&mut self) -> u16 {
        let fields = [
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let body = "grant_type=refresh_token&client_id=web-app";
        self.send("POST", "/oauth/token", &fields, body).await.status
    }

    fn codes_spent(&self) -> usize {
        self.server.received().iter().filter(|asked| asked.path() == "/token").count()
    }
}

fn page(answer: &Answer) -> &str {
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{}", answer.head);
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"),
        "{policy}"
    );
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    std::str::from_utf8(&answer.body).unwrap()
}

#[tokio::test]
async fn a_browser_is_led_to_the_server_and_back_and_the_page_gets_its_token() {
    let mut world = World::start().await;
    let callback = world.begin("client_id=web-app&return_to=%2Fapp%3Fx%3D1").await;
    let ((name, _), _) = world.cookies.first_key_value().unwrap();
    assert!(name.starts_with("__Host-Http-tollgate-web-app-tx-"), "{name}");

    let answer = world.send("GET", &format!("/oauth/callback?{callback}"), &CROSS, "").await;
    assert_eq!((answer.status, answer.header("location")), (200, None));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let text = page(&answer);
    assert!(text.contains(r#"<meta http-equiv="refresh" content="0; url=&#x2f;app?x=1">"#), "{text}");
    assert!(!text.contains("<script"), "{text}");
    let set = answer.all("set-cookie");
    assert!(
        set[0].contains("-tx-") && set[0].ends_with("=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"),
        "{set:?}"
    );
    assert!(
        set[1].starts_with("__Secure-tollgate-web-app=") && set[1].contains("; Path=/oauth/token; "),
        "{set:?}"
    );

    let fields = [
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let body = "grant_type=refresh_token&client_id=web-app";
    let answer = world.send("POST", "/oauth/token", &fields, body).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let bearer = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    assert_eq!(world.send("GET", "/api/x", &[("Authorization", &bearer)], "").await.status, 200);

    let lines = world.gateway.logged(4).await;
    let shown = |line: &Value| ["route", "outcome", "client", "subject"].map(|name| line[name].clone());
    assert_eq!(shown(&lines[0])[..3], [json!("/oauth/login"), json!("sign_in_begun"), json!("web-app")]);
    assert_eq!(
        shown(&lines[1]),
        [json!("/oauth/callback"), json!("signed_in"), json!("web-app"), json!("alice")]
    );
    let log = world.gateway.log.text();
    let code = callback.strip_prefix("code=").unwrap().split('&').next().unwrap();
    assert!(!log.contains(code) && !log.contains("rt-of-the-as"), "{log}");
}

/// Whoever copies it from there into `tollgate revoke --client` takes back what is meant.
#[tokio::test]
async fn the_log_calls_a_client_everywhere_as_its_authorization_server_does() {
    let mut world = World::with("mode: token, client_id: 0oa1b2c3").await;
    let callback = world.begin("client_id=0oa1b2c3&return_to=%2Fapp").await;
    assert_eq!(world.send("GET", &format!("/oauth/callback?{callback}"), &CROSS, "").await.status, 200);
    let fields = [
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let body = "grant_type=refresh_token&client_id=0oa1b2c3";
    let answer = world.send("POST", "/oauth/token", &fields, body).await;
    let bearer = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    assert_eq!(world.send("GET", "/api/x", &[("Authorization", &bearer)], "").await.status, 200);
    world.cookies.clear();
    assert_eq!(world.send("POST", "/oauth/token", &fields, body).await.status, 400, "nobody is signed in");
    assert_eq!(world.send("DELETE", "/oauth/token?client_id=0oa1b2c3", &fields[..2], "").await.status, 204);
    let lines = world.gateway.logged(6).await;
    for line in &lines {
        assert_eq!(line["client"], "0oa1b2c3", "{line}");
    }
    let metrics = String::from_utf8(world.gateway.admin("/metrics").await.body).unwrap();
    let rotated = r#"tollgate_exchanges_total{client="web-app",outcome="rotated"} 1"#;
    assert!(metrics.contains(rotated), "metrics have the name in config.yaml: {metrics}");
}

#[tokio::test]
async fn a_browser_takes_along_what_the_gateway_must_know_again_and_nothing_that_others_see() {
    let mut world = World::start().await;
    let answer = world.send("GET", "/oauth/login?client_id=web-app", &OWN, "").await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.ends_with("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"), "{set}");
    world.cookies.insert(("theirs".into(), "/".into()), "1".into());
    let answer = world.send("GET", "/open/x", &[], "").await;
    assert_eq!(world.api.only().all("cookie"), ["theirs=1"]);
    assert_eq!(answer.all("set-cookie"), ["theirs=1"], "an upstream plants no sign-in");
}

#[tokio::test]
async fn who_does_not_come_back_from_a_sign_in_of_his_own_gets_a_page_that_starts_again() {
    let mut world = World::start().await;
    let callback = world.begin("client_id=web-app&return_to=%2Fapp").await;
    let target = format!("/oauth/callback?{callback}");
    assert_eq!(world.send("GET", &target, &CROSS, "").await.status, 200);
    let state = callback.split("state=").nth(1).unwrap();
    let own_error = format!("/oauth/callback?error=access_denied&state={state}");
    for (target, client) in [
        (target.as_str(), "?client_id=web-app"),
        ("/oauth/callback?code=x&state=foreign.web-app", "?client_id=web-app"),
        ("/oauth/callback?code=x&state=foreign.nobody", "?"),
        ("/oauth/callback?code=x", "?"),
        ("/oauth/callback?error=access_denied&state=foreign.web-app", "?client_id=web-app"),
        // As where the code is in the fragment, which is told to nobody.
        ("/oauth/callback", "?"),
        (own_error.as_str(), "?client_id=web-app"),
    ] {
        let answer = world.send("GET", target, &CROSS, "").await;
        assert_eq!((answer.status, answer.header("cache-control")), (303, Some("no-store")), "{target}");
        assert!(answer.all("set-cookie").is_empty() && answer.body.is_empty(), "{target}");
        // What has no fragment of its own has the one of where the browser was.
        let location = format!("/oauth/login/again{client}#again");
        assert_eq!(answer.header("location"), Some(location.as_str()), "{target}");
        let answer = world.send("GET", &format!("/oauth/login/again{client}"), &CROSS, "").await;
        assert_eq!((answer.status, answer.header("cache-control")), (400, Some("no-store")), "{target}");
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"), "{target}");
        let text = page(&answer);
        assert!(text.contains(r#"<a href="&#x2f;oauth&#x2f;login?client_id=web-app">"#), "{target}: {text}");
        assert!(answer.all("set-cookie").is_empty(), "{target}");
    }
    assert_eq!(world.codes_spent(), 1);

    let callback = world.begin("client_id=web-app&return_to=%2Fapp").await;
    let state = callback.split("state=").nth(1).unwrap();
    let denied = format!("/oauth/callback?error=access_denied&error_description=%3Cb%3Eno&state={state}");
    let answer = world.send("GET", &denied, &CROSS, "").await;
    assert_eq!(answer.status, 403);
    let text = page(&answer);
    assert!(text.contains("access_denied: &lt;b&gt;no"), "{text}");
    assert!(text.contains("login?client_id=web-app&amp;return_to=%2Fapp"), "{text}");
    assert_eq!(world.paths(), ["/oauth/token"], "the session before goes on");
}

#[tokio::test]
async fn a_sign_in_that_expired_at_the_server_goes_on_to_a_new_one_by_a_page() {
    let mut world = World::with("mode: session").await;
    let callback = world.begin("client_id=web-app&return_to=%2Fapp").await;
    let state = callback.split("state=").nth(1).unwrap();
    let expired = "error=temporarily_unavailable&error_description=authentication_expired";
    let target = format!("/oauth/callback?{expired}&state={state}");
    world.clock.later(10);
    let answer = world.send("GET", &target, &OWN, "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let to = "&#x2f;oauth&#x2f;login?client_id=web-app&amp;return_to=%2Fapp";
    let text = page(&answer);
    assert!(text.contains(&format!(r#"http-equiv="refresh" content="0; url={to}">"#)), "{text}");
    assert!(world.cookies.is_empty(), "{:?}", world.cookies);
    let callback = world.begin("client_id=web-app&return_to=%2Fapp").await;
    let answer = world.send("GET", &format!("/oauth/callback?{callback}"), &OWN, "").await;
    assert!(page(&answer).contains(r#"content="0; url=&#x2f;app">"#));
}

#[tokio::test]
async fn a_callback_of_a_client_s_own_works_like_the_one_for_all() {
    let own = format!("mode: session, redirect_uri: \"http://{HOST}/oauth/callback/web-app\"");
    let mut world = World::with(&own).await;
    let callback = world.begin("client_id=web-app").await;
    let elsewhere = world.send("GET", &format!("/oauth/callback?{callback}"), &OWN, "").await;
    assert_eq!((elsewhere.status, world.codes_spent()), (303, 0));
    let target = format!("/oauth/callback/web-app?{callback}");
    let once_more = world.send("GET", &target, &CROSS, "").await;
    assert!(page(&once_more).contains("callback&#x2f;web-app?code="), "{}", page(&once_more));
    assert_eq!(world.send("GET", &target, &OWN, "").await.all("set-cookie").len(), 2);
    let again = world.send("GET", &target, &OWN, "").await;
    assert_eq!((again.status, world.codes_spent()), (303, 1));
    assert_eq!(again.header("location"), Some("/oauth/login/again?client_id=web-app#again"));
}

#[tokio::test]
async fn scripts_and_other_methods_are_told_so_in_json() {
    let mut world = World::start().await;
    let script = [
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Origin", "http://gate.localhost:8080"),
    ];
    for (method, target, status, allow) in [
        ("GET", "/oauth/login?client_id=web-app", 403, None),
        ("GET", "/oauth/callback?code=a&state=b.web-app", 403, None),
        ("POST", "/oauth/login?client_id=web-app", 405, Some("GET")),
        ("HEAD", "/oauth/login?client_id=web-app", 405, Some("GET")),
        ("POST", "/oauth/callback?code=a&state=b.web-app", 405, Some("GET")),
        ("GET", "/oauth/logout?client_id=web-app", 405, Some("POST")),
        ("DELETE", "/oauth/logout?client_id=web-app", 405, Some("POST")),
        ("GET", "/oauth/logout/next?client_id=web-app", 403, None),
        ("POST", "/oauth/logout/next?client_id=web-app", 405, Some("GET")),
    ] {
        world.client.send(request(method, target, &script, b"")).await;
        let answer = world.client.answer_to(method).await.unwrap();
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {target}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.all("set-cookie").is_empty());
    }
    let answer = world.send("GET", "/oauth/logout?client_id=web-app", &OWN, "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    page(&answer);
}

#[tokio::test]
async fn a_sign_out_leads_a_browser_to_the_server_and_tells_a_script_where() {
    let mut world = World::start().await;
    let out = format!("{}/out?client_id=web-app", world.server.url());
    let form = [OWN[0], OWN[1], OWN[2], ("Origin", "http://gate.localhost:8080")];
    let answer = world.send("POST", "/oauth/logout?client_id=web-app", &form, "").await;
    // No redirect: a form's page may hold its forms to its own origin.
    assert_eq!((answer.status, answer.header("location")), (200, None));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let escaped = out.replace('/', "&#x2f;");
    let text = page(&answer);
    assert!(text.contains(&format!(r#"<meta http-equiv="refresh" content="0; url={escaped}">"#)), "{text}");
    let cleared = answer.header("set-cookie").unwrap();
    assert!(cleared.starts_with("__Secure-tollgate-web-app=; Path=/oauth/token; Max-Age=0;"), "{cleared}");

    let script = [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Site", "same-site"), ("Origin", LISTED)];
    let answer = world.send("POST", "/oauth/logout?client_id=web-app", &script, "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "end_session_url": out })));
    assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));

    let preflight = [("Origin", LISTED), ("Access-Control-Request-Method", "POST")];
    let answer = world.send("OPTIONS", "/oauth/logout", &preflight, "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, Some("POST")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    for (fields, content_type) in [
        (&[CROSS[0], CROSS[1], CROSS[2], ("Origin", "null")], "text/html; charset=utf-8"),
        (&[CROSS[0], CROSS[1], CROSS[2], ("Origin", "http://evil.example")], "text/html; charset=utf-8"),
        (&[script[0], script[1], script[1], ("Origin", "http://evil.example")], "application/json"),
    ] {
        let answer = world.send("POST", "/oauth/logout?client_id=web-app", fields, "").await;
        assert_eq!((answer.status, answer.header("content-type")), (403, Some(content_type)));
        assert!(answer.all("set-cookie").is_empty());
    }
}

/// Script of this origin reads every page of it, in whatever window; a redirect's address it does not.
#[tokio::test]
async fn the_id_token_of_a_session_goes_to_the_server_by_a_redirect_and_stands_in_no_page() {
    let mut world = World::with("mode: session").await;
    let callback = world.begin("client_id=web-app").await;
    world.send("GET", &format!("/oauth/callback?{callback}"), &OWN, "").await;
    let form = [OWN[0], OWN[1], OWN[2], ("Origin", "http://gate.localhost:8080")];
    let answer = world.send("POST", "/oauth/logout?client_id=web-app", &form, "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let next = "url=&#x2f;oauth&#x2f;logout&#x2f;next?client_id=web-app\">";
    let text = page(&answer);
    assert!(text.contains(next) && !text.contains("id_token_hint") && !text.contains("ey"), "{text}");
    let kept = answer.all("set-cookie")[1];
    assert!(kept.starts_with("__Host-Http-tollgate--out-web-app="), "{kept}");
    assert!(kept.ends_with("; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict"), "{kept}");

    let target = "/oauth/logout/next?client_id=web-app";
    let out = format!("{}/out?", world.server.url());
    let answer = world.send("GET", target, &OWN, "").await;
    let location = answer.header("location").unwrap();
    assert!(answer.status == 303 && location.starts_with(&format!("{out}id_token_hint=ey")), "{location}");
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert!(world.cookies.is_empty(), "{:?}", world.cookies);
    let again = world.send("GET", target, &OWN, "").await;
    assert_eq!((again.status, again.header("location")), (303, Some(&*format!("{out}client_id=web-app"))));
    let nobody = world.send("GET", "/oauth/logout/next?client_id=x", &OWN, "").await;
    assert_eq!(nobody.status, 400);
    page(&nobody);
}

#[tokio::test]
async fn in_session_mode_the_callback_comes_twice_so_that_it_sees_the_session_before() {
    let mut world = World::with("mode: session").await;
    let callback = world.begin("client_id=web-app").await;
    let target = format!("/oauth/callback?{callback}");
    let answer = world.send("GET", &target, &CROSS, "").await;
    assert_eq!((answer.status, world.codes_spent()), (200, 0));
    assert!(answer.all("set-cookie").is_empty());
    let escaped = target.replace('&', "&amp;").replace('/', "&#x2f;");
    let text = page(&answer);
    assert!(text.contains(&format!(r#"content="0; url={escaped}">"#)), "{text}");
    let answer = world.send("GET", &target, &OWN, "").await;
    assert_eq!((answer.status, world.codes_spent()), (200, 1));
    let set = answer.all("set-cookie")[1];
    assert!(set.starts_with("__Host-Http-tollgate-web-app=") && set.contains("; Path=/; "), "{set}");
    assert!(page(&answer).contains(r#"content="0; url=&#x2f;">"#));
}

#[tokio::test]
async fn a_cookie_whose_path_was_changed_is_alone_with_its_name_after_the_next_sign_in() {
    for (first, second) in [("/oauth/token", "/"), ("/", "/oauth"), ("/oauth/", "/oauth/token")] {
        let mut world = World::with(&format!("mode: token, cookie: {{ path: {first} }}")).await;
        let callback = world.begin("client_id=web-app").await;
        let target = format!("/oauth/callback?{callback}");
        assert_eq!(world.send("GET", &target, &OWN, "").await.status, 200);
        assert_eq!((world.exchange().await, world.paths()), (200, vec![first]));
        let changed = reload::settings(&world.gateway, &world.gateway.rest, |text| {
            text.replace(&format!("path: {first} }}"), &format!("path: {second} }}"))
        });
        world.gateway.app.reload(changed).unwrap();
        assert_eq!(world.exchange().await, 200);
        assert_eq!(world.paths().len(), 2, "as browsers keep them");
        assert_eq!(world.exchange().await, 400, "nobody knows which is whose");
        let callback = world.begin("client_id=web-app").await;
        let target = format!("/oauth/callback?{callback}");
        assert_eq!(world.send("GET", &target, &OWN, "").await.status, 200);
        assert_eq!((world.exchange().await, world.paths()), (200, vec![second]));
    }
}

#[tokio::test]
async fn a_page_at_another_origin_alone_is_where_a_sign_in_leads_that_nobody_says_more_of() {
    let mut world = World::of_pages_at(&[LISTED], "mode: session").await;
    let script = [("Sec-Fetch-Site", "same-site"), ("Origin", LISTED), ("X-CSRF", "1")];
    for target in ["/api/x", "/oauth/session?client_id=web-app"] {
        let answer = world.send("GET", target, &script, "").await;
        assert_eq!(answer.status, 401, "{target}");
        let login_url = format!("http://{HOST}/oauth/login?client_id=web-app");
        assert_eq!(answer.json()["login_url"], login_url, "{target}");
    }
    let callback = world.begin("client_id=web-app").await;
    let answer = world.send("GET", &format!("/oauth/callback?{callback}"), &OWN, "").await;
    let to = format!("{LISTED}/").replace('/', "&#x2f;");
    assert!(page(&answer).contains(&format!("content=\"0; url={to}\"")), "{}", page(&answer));
}
