//! The page over the public sockets of a whole demo: its files, its buttons, its wire.

use std::time::Duration;

use http::{StatusCode, header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::demo::browser::{Answer, Browser};
use crate::demo::ports::Ports;
use crate::demo::sign_in::{GatewaySignIn, through_the_gateway};
use crate::demo::{Pace, World};

const QUICK: Pace = Pace { token_latency: Duration::ZERO, grace: Duration::from_millis(300) };
const SAME_ORIGIN: (&str, &str) = ("Sec-Fetch-Site", "same-origin");
const OWN: (&str, &str) = ("X-Demo", "1");

async fn world(first_port: u16) -> World {
    let world = World::start(Ports::find_from(first_port).unwrap(), QUICK).unwrap();
    let ready = format!("{}/readyz", world.places.admin);
    let browser = Browser::new();
    for _ in 0..3000 {
        if browser.get(&ready, &[]).await.is_ok_and(|answer| answer.status == StatusCode::OK) {
            return world;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the gateway is not ready");
}

impl World {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.places.gateway)
    }

    /// Sends this to the upstream itself, and reads until the answer has `wanted` in it.
    async fn asked_by_hand(&self, request: &str, wanted: &str) -> String {
        let authority = self.places.upstream.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(authority).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        let mut piece = [0; 4096];
        while !said.contains(wanted) {
            let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut piece)).await;
            let read = read.unwrap_or_else(|_| panic!("no {wanted:?} in {said}")).unwrap();
            assert_ne!(read, 0, "it ended without {wanted:?}: {said}");
            said.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        said
    }

    /// Presses a button, as the page does.
    async fn press(&self, path: &str, body: &Value) -> Value {
        let answer = self.post_json(path, &[SAME_ORIGIN, OWN], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
        answer.json()
    }

    async fn post_json(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("Content-Type", "application/json"));
        let body = body.to_string().into();
        Browser::new().send_body(Method::POST, &self.url(path), &headers, body).await.unwrap()
    }

    /// Alice, with her jar and her access token.
    async fn alice(&self) -> (Browser, String) {
        let request = GatewaySignIn {
            gateway: &self.places.gateway,
            issuer: &self.places.authorization_server,
            client_id: CLIENT,
            user: "alice",
            an_hour_ago: false,
            max_age: None,
        };
        let browser = Browser::new();
        through_the_gateway(&browser, &request).await.unwrap();
        let answer = self.refresh(&browser).await;
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        (browser, token)
    }

    async fn hello(&self, token: &str) -> StatusCode {
        let bearer = format!("Bearer {token}");
        let answer = Browser::new().get(&self.url("/api/hello"), &[("Authorization", &bearer)]).await;
        answer.unwrap().status
    }

    fn admin_token(&self) -> String {
        let token = std::fs::read_to_string(self.folder.path().join("data/admin.token")).unwrap();
        token.trim().to_owned()
    }

    /// The list of revocations, but for the access tokens that went with a session.
    async fn listed(&self) -> Value {
        let url = format!("{}/revocations", self.places.admin);
        let bearer = format!("Bearer {}", self.admin_token());
        let listed = Browser::new().get(&url, &[("Authorization", &bearer)]).await.unwrap().json();
        let all = listed["revocations"].as_array().unwrap().clone();
        all.into_iter().filter(|one| one["made_by"] == "operator").collect()
    }

    async fn refresh(&self, browser: &Browser) -> Answer {
        let form = [("grant_type", "refresh_token"), ("client_id", CLIENT)];
        browser.post(&self.url("/oauth/token"), &[SAME_ORIGIN], &form).await.unwrap()
    }
}

fn session_of(token: &str) -> Value {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let text: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "session": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_from_the_binary_with_their_headers() {
    let world = world(21_000).await;
    let browser = Browser::new();
    for (path, content_type, text) in files::all() {
        let answer = browser.get(&world.url(path), &[]).await.unwrap();
        assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::OK, text.as_bytes()), "{path}");
        assert_eq!(answer.header(&header::CONTENT_TYPE), content_type, "{path}");
        assert_eq!(answer.header(&header::CACHE_CONTROL), "no-store", "{path}");
        assert_eq!(answer.header(&header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(
            answer.header(&header::CONTENT_SECURITY_POLICY),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "{path}"
        );
    }
    let status =
        async |method, path: &str| browser.send(method, &world.url(path), &[], None).await.unwrap().status;
    assert_eq!(status(Method::HEAD, "/app/page.js").await, StatusCode::OK);
    assert_eq!(status(Method::GET, "/app/nothing.js").await, StatusCode::NOT_FOUND);
    assert_eq!(status(Method::POST, "/app/page.js").await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(status(Method::GET, "/app/replay").await, StatusCode::METHOD_NOT_ALLOWED);
    let about = browser.get(&world.url("/app/about"), &[]).await.unwrap().json();
    assert_eq!((&about["client_id"], &about["session_client_id"]), (&json!(CLIENT), &json!(SESSION_CLIENT)));
    let portal = format!("{}/portal/", world.places.upstream);
    for (subject, shown) in [("alice", "alice"), ("a%3Cb%3E", "a%3Cb%3E"), ("<b>", "nobody")] {
        let page = browser.get(&portal, &[("X-Auth-Subject", subject)]).await.unwrap();
        assert!(
            String::from_utf8_lossy(&page.body).contains(&format!("<strong>{shown}</strong>")),
            "{subject}"
        );
    }
    world.stop().await;
}

#[test]
fn a_page_loads_nothing_but_its_own_files() {
    let known: Vec<&str> = files::all().map(|(path, ..)| path).collect();
    for (path, content_type, text) in files::all() {
        let quoted = |before: &'static str| {
            text.split(before).skip(1).filter_map(|rest| rest.split(['"', '\'']).next()).collect::<Vec<_>>()
        };
        for name in quoted("src=\"").into_iter().chain(quoted("href=\"")) {
            assert!(
                known.contains(&name) || name.starts_with('#') || name == "/portal/",
                "{path} loads {name}"
            );
        }
        for name in quoted("from './") {
            assert!(known.contains(&&*format!("/app/{name}")), "{path} imports {name}");
        }
        let active =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "style=\"", "onclick=\"", "@import"];
        for word in active.into_iter().filter(|_| content_type != "image/svg+xml") {
            assert!(!text.contains(word), "{word} in {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_answer_to_the_page_of_their_own_origin_only() {
    let world = world(22_000).await;
    let foreign: [&[(&str, &str)]; 8] = [
        &[],
        &[SAME_ORIGIN],
        &[OWN],
        &[("Sec-Fetch-Site", "cross-site"), OWN],
        &[("Sec-Fetch-Site", "same-site"), OWN],
        &[("Sec-Fetch-Site", "none"), OWN],
        &[SAME_ORIGIN, ("X-Demo", "2")],
        &[SAME_ORIGIN, ("Sec-Fetch-Site", "cross-site"), OWN],
    ];
    let controls = [
        "authorization-server/stop",
        "authorization-server/start",
        "counts",
        "jar",
        "replay",
        "revoke/account",
        "revoke/device",
        "revoke/key",
        "lift/account",
        "lift/key",
    ];
    for control in controls {
        for headers in foreign {
            let answer = world.post_json(&format!("/app/{control}"), headers, &json!({})).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{control} {headers:?}");
        }
    }
    assert!(world.taps[1].is_open(), "the authorization server is still up");
    assert_eq!(world.listed().await, json!([]), "nothing was taken back");
    for body in [json!({}), json!({ "session": "ab" }), json!({ "session": 1 }), json!([])] {
        let answer = world.post_json("/app/jar", &[SAME_ORIGIN, OWN], &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let large = json!({ "session": "a".repeat(2000) });
    let answer = world.post_json("/app/jar", &[SAME_ORIGIN, OWN], &large).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    world.stop().await;
}

/// A foreign page whose name comes to mean 127.0.0.1 (DNS rebinding) is of the same origin as what it then
/// asks.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_answers_to_a_name_that_was_rebound() {
    let world = world(26_000).await;
    let own = world.places.upstream.strip_prefix("http://").unwrap();
    for (host, status) in [("evil.example:8083", 421), ("localhost:8083", 421), (own, 200)] {
        for path in ["/", "/app/wire", "/app/about", "/api/hello"] {
            let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let said = world.asked_by_hand(&get, "\r\n\r\n").await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{path} as {host}: {said}");
        }
        let button = format!(
            "POST /app/counts HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-origin\r\nX-Demo: 1\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        let wanted = if status == 200 { "token_requests" } else { "unknown host" };
        let said = world.asked_by_hand(&button, wanted).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "a button as {host}: {said}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_authorization_server_costs_no_session_and_goes_on_where_it_was() {
    let world = world(23_000).await;
    let (browser, token) = world.alice().await;
    assert_eq!(
        world.press("/app/authorization-server/stop", &json!({})).await["authorization_server"],
        "stopped"
    );
    let page = format!("{}/authorize", world.places.authorization_server);
    assert!(Browser::new().get(&page, &[]).await.is_err(), "it is out of reach");
    let answer = world.refresh(&browser).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        !answer.header(&header::RETRY_AFTER).is_empty() && !answer.headers.contains_key(header::SET_COOKIE)
    );
    let bearer = format!("Bearer {token}");
    let call = browser.get(&world.url("/api/hello"), &[("Authorization", &bearer)]).await.unwrap();
    assert_eq!(call.status, StatusCode::OK, "a living token goes on");
    assert_eq!(
        world.press("/app/authorization-server/start", &json!({})).await["authorization_server"],
        "up"
    );
    assert_eq!(world.refresh(&browser).await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_cookie_ends_the_session_for_thief_and_victim() {
    let world = world(24_000).await;
    let (browser, token) = world.alice().await;
    let (bystander, _) = world.alice().await;
    let session = session_of(&token);
    assert_eq!(world.press("/app/replay", &session_of("another")).await["outcome"], "unknown");
    let jar = world.press("/app/jar", &session).await;
    let name = jar["jar"]["name"].as_str().unwrap();
    let value = browser.cookie(name).unwrap().value;
    assert_eq!(jar["jar"]["value"], format!("{}…", &value[..10]));
    assert_eq!(jar["jar"]["length"], value.len());
    let mut outcomes = Vec::new();
    let presented = loop {
        let said = world.press("/app/replay", &session).await;
        let outcome = said["outcome"].as_str().unwrap().to_owned();
        match &*outcome {
            "swap_first" => assert_eq!(world.refresh(&browser).await.status, StatusCode::OK),
            "wait" => tokio::time::sleep(Duration::from_millis(said["milliseconds"].as_u64().unwrap())).await,
            _ => break said,
        }
        outcomes.push(outcome);
        assert!(outcomes.len() < 20, "{outcomes:?}");
    };
    let waits = outcomes.iter().skip_while(|outcome| *outcome == "swap_first");
    assert!(
        waits.clone().all(|outcome| outcome == "wait") && outcomes.len() - waits.count() == 1,
        "{outcomes:?}"
    );
    assert_eq!(presented, json!({ "outcome": "presented", "status": 400, "error": "invalid_grant" }));
    assert_eq!(world.refresh(&browser).await.status, StatusCode::BAD_REQUEST, "the victim is out too");
    assert_eq!(world.refresh(&bystander).await.status, StatusCode::OK, "another session goes on");
    assert_eq!(world.press("/app/jar", &session).await["jar"], Value::Null);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_take_back_what_they_say_and_nothing_that_a_page_names() {
    let world = world(27_000).await;
    let (browser, token) = world.alice().await;
    for body in
        [json!({}), json!({ "person": "carol" }), json!({ "person": "*" }), json!({ "person": ["bob"] })]
    {
        let answer = world.post_json("/app/revoke/device", &[SAME_ORIGIN, OWN], &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(world.press("/app/lift/account", &json!({})).await["asked"], Value::Null, "nothing to lift");
    assert_eq!(world.listed().await, json!([]));

    let others = json!({ "kind": "client", "value": CLIENT, "person": "bob", "issuer": "*" });
    let said = world.press("/app/revoke/account", &others).await;
    let asked = &said["asked"];
    assert_eq!((&asked["status"], &asked["target"]), (&json!(201), &json!("/revocations")));
    let wanted = json!({ "kind": "sub", "value": "alice", "block": true, "reason": "account suspended" });
    assert_eq!(asked["body"], wanted);
    assert!(!said.to_string().contains(&world.admin_token()));
    assert_eq!(world.listed().await.as_array().unwrap().len(), 1);
    let about = Browser::new().get(&world.url("/app/about"), &[]).await.unwrap().json();
    assert_eq!(about["taken_back"], json!({ "account": asked["answer"]["id"], "key": null }));
    assert_eq!(world.hello(&token).await, StatusCode::UNAUTHORIZED);
    let refused = world.refresh(&browser).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.headers.contains_key(header::SET_COOKIE), "the cookie is cleared");
    assert_eq!(world.press("/app/lift/account", &others).await["asked"]["status"], 200);
    assert_eq!(world.listed().await, json!([]));

    let (browser, token) = world.alice().await;
    let said = world.press("/app/revoke/key", &json!({ "value": "another" })).await;
    assert_eq!(said["asked"]["status"], 201);
    assert_eq!(world.hello(&token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(world.press("/app/lift/key", &json!({})).await["asked"]["status"], 200);
    assert_eq!(world.hello(&token).await, StatusCode::OK, "the token is good again");

    let said = world.press("/app/revoke/device", &json!({ "person": "bob" })).await;
    assert_eq!(said["asked"]["body"], json!({ "kind": "sub", "value": "bob", "reason": "device lost" }));
    assert_eq!(world.hello(&token).await, StatusCode::OK, "alice is not bob");
    world.press("/app/revoke/device", &json!({ "person": "alice" })).await;
    assert_eq!(world.hello(&token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(world.refresh(&browser).await.status, StatusCode::BAD_REQUEST);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_comes_through_the_gateway_as_it_happens_and_does_not_show_itself() {
    let world = world(25_000).await;
    let authority = world.places.gateway.strip_prefix("http://").unwrap();
    let mut page = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET /app/wire HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    page.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    let mut until = async |wanted: &str| {
        let mut piece = [0; 4096];
        while !told.contains(wanted) {
            let read = tokio::time::timeout(Duration::from_secs(60), page.read(&mut piece)).await;
            let read = read.unwrap_or_else(|_| panic!("no {wanted:?} in {told}")).unwrap();
            assert_ne!(read, 0, "it ended without {wanted:?}: {told}");
            told.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        told.clone()
    };
    until("event: hello").await;
    until(r#"{"authorization_server":"up"}"#).await;
    let (_, token) = world.alice().await;
    let told = until(r#""leg":"gateway-as","from":"gateway","to":"AS""#).await;
    assert!(told.to_ascii_lowercase().contains("content-type: text/event-stream"), "{told}");
    world.press("/app/authorization-server/stop", &json!({})).await;
    let bearer = format!("Bearer {token}");
    Browser::new().get(&world.url("/api/hello"), &[("Authorization", &bearer)]).await.unwrap();
    until(r#"{"authorization_server":"stopped"}"#).await;
    let told = until(r#""leg":"gateway-upstream","from":"gateway","to":"upstream""#).await;
    assert!(!told.contains(&token[..11]) && !told.contains("/app/"), "{told}");
    // An open page does not hold up the end.
    tokio::time::timeout(Duration::from_secs(20), world.stop()).await.unwrap();
}
