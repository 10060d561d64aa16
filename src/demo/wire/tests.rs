//! What a page gets to see of requests that pass a tap.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use super::*;
use crate::demo::browser::Browser;
use crate::demo::tap::Tap;
use crate::demo::upstream::Upstream;

fn wire() -> Arc<Wire> {
    let feed = Arc::new(Feed::new("run".into()));
    let cookies = Arc::new(KeptCookies::new("c".into(), Duration::from_secs(3)));
    Arc::new(Wire { feed, cookies })
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The next `count` entries, and the text in which they came.
async fn told(feed: &Feed, count: usize) -> (Vec<Value>, String) {
    let mut body = feed.join(None).unwrap();
    let (mut entries, mut all) = (Vec::new(), String::new());
    while entries.len() < count {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
        let text = frame.expect("nothing came").unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        if text.contains("event: entry") {
            let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            entries.push(serde_json::from_str(data).unwrap());
        }
        all.push_str(&text);
    }
    (entries, all)
}

#[tokio::test]
async fn a_page_sees_requests_and_answers_and_no_secret() {
    let (wire, (listener, address)) = (wire(), listener());
    let upstream = Upstream::start(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let _tap = Tap::start(listener, upstream.address(), wire.witnesses(Leg::Gateway)).unwrap();
    let (url, browser) = (format!("http://{address}"), Browser::new());
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    let bearer = format!("Bearer {token}");
    browser.get(&format!("{url}/app/wire"), &[]).await.unwrap();
    let headers = [("Authorization", &*bearer), ("Cookie", "c=0123456789-secret")];
    browser.get(&format!("{url}/api/a?code=0123456789-secret&x=1"), &headers).await.unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", "0123456789-secret")];
    browser.post(&format!("{url}/oauth/token"), &[("User-Agent", THIEF)], &form).await.unwrap();
    browser.send(Method::HEAD, &format!("{url}/demo/counts"), &[], None).await.unwrap();

    let (entries, all) = told(&wire.feed, 2).await;
    let [call, theft] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(
        (&call["from"], &call["to"], &call["leg"]),
        (&json!("browser"), &json!("gateway"), &json!("browser-gateway"))
    );
    assert_eq!((&call["method"], &call["target"]), (&json!("GET"), &json!("/api/a?code=0123456789…&x=1")));
    assert!(
        call["headers"].as_array().unwrap().contains(&json!(["authorization", "Bearer eyJhbGciOi…"])),
        "{call}"
    );
    assert_eq!(call["answer"]["status"], 200);
    assert!(call["answer"]["body"].as_str().unwrap().contains("this is what arrived"));
    assert_eq!(
        (&theft["from"], &theft["body"]),
        (&json!("thief"), &json!("grant_type=refresh_token\n&refresh_token=0123456789…"))
    );
    for secret in ["-secret", "c2lnbmF0dXJl", "eyJhbGciOiJ", "/app/wire", "/demo/counts"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_early_is_told_as_such() {
    let (wire, (listener, address)) = (wire(), listener());
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tap =
        Tap::start(listener, server.local_addr().unwrap(), wire.witnesses(Leg::AuthorizationServer)).unwrap();
    let url = format!("http://{address}/token");
    let (browser, none) = (Browser::new(), []);
    let asked = browser.post(&url, &[], &none);
    let breaks_off = async {
        let (stream, _) = server.accept().await.unwrap();
        stream.readable().await.unwrap();
        drop(stream);
    };
    let (answer, ()) = tokio::join!(asked, breaks_off);
    assert!(answer.is_err());
    tap.close().await;
    let (entries, _) = told(&wire.feed, 1).await;
    assert_eq!((&entries[0]["leg"], &entries[0]["broken_off"]), (&json!("gateway-as"), &json!(true)));
    assert_eq!(entries[0].get("answer"), None);
}

#[test]
fn the_sign_in_page_is_asked_for_by_the_browser_and_everything_else_by_the_gateway() {
    let from = |path| ends(Leg::AuthorizationServer, path, &HeaderMap::new()).1;
    assert_eq!((from("/authorize"), from("/token"), from("/jwks")), ("browser", "gateway", "gateway"));
}

#[tokio::test]
async fn of_the_admin_listener_a_page_sees_what_changes_something() {
    let (wire, (listener, address)) = (wire(), listener());
    let upstream = Upstream::start(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let _tap = Tap::start(listener, upstream.address(), wire.witnesses(Leg::Admin)).unwrap();
    let (url, browser) = (format!("http://{address}"), Browser::new());
    for path in ["/readyz", "/metrics", "/revocations"] {
        browser.get(&format!("{url}{path}"), &[]).await.unwrap();
    }
    let headers = [("Authorization", "Bearer 0123456789-secret"), ("Content-Type", "application/json")];
    let body = json!({ "kind": "sub", "value": "alice" }).to_string();
    browser.send_body(Method::POST, &format!("{url}/revocations"), &headers, body.into()).await.unwrap();

    let (entries, _) = told(&wire.feed, 1).await;
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((&entry["leg"], &entry["from"]), (&json!("operator-gateway"), &json!("operator")));
    assert_eq!((&entry["method"], &entry["target"]), (&json!("POST"), &json!("/revocations")));
    let headers = entry["headers"].to_string();
    assert!(headers.contains("Bearer 0123456789…") && !headers.contains("secret"), "{headers}");
}
