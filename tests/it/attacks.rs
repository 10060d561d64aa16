//! What somebody would try who wants past the gate: requests hidden in requests, headers that look like
//! others, credentials in the wrong place, pages of other origins.

use serde_json::json;

use crate::streams::UPGRADE;
use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// A request that must never be taken for one.
const HIDDEN: &str = "GET /public/hidden HTTP/1.1\r\nHost: gate.localhost:8080\r\n\r\n";

#[tokio::test]
async fn no_request_is_read_out_of_the_body_of_another() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let length = format!("Content-Length: {}\r\n", HIDDEN.len());
    let longer = format!("Content-Length: {}\r\n", HIDDEN.len() + 5);
    let mut passed = 0;
    for path in ["/api/x", "/public/x", "/oauth/token", "/nowhere", "/public/../x"] {
        for (fields, before) in [
            (length.clone(), ""),
            (format!("{UPGRADE}{length}"), ""),
            (UPGRADE.to_owned(), ""),
            (format!("Connection: content-length\r\n{length}"), ""),
            (format!("Expect: 100-continue\r\n{length}"), ""),
            (format!("{longer}Transfer-Encoding: chunked\r\n"), "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n".to_owned(), "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n".to_owned(), "0\r\n\r\n"),
            (format!("Transfer_Encoding: chunked\r\n{longer}"), "0\r\n\r\n"),
            (format!("Content-Length: 0\r\n{length}"), ""),
            (String::new(), ""),
        ] {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let head = format!("POST {path} {version}\r\nHost: {HOST}\r\n{fields}\r\n");
                let mut client = gateway.connect().await;
                client.send(format!("{head}{before}{HIDDEN}")).await;
                let first = client.answer().await;
                passed += usize::from(first.status == 200);
                assert!(first.status != 200 || path == "/public/x", "{head}{first:?}");
                // The next request on the connection is the next one that was sent, or there is none.
                client.try_send(request("PUT", "/oauth/token", &[], b"")).await;
                if let Some(next) = client.answer_to("PUT").await {
                    assert_eq!(next.status, 405, "{head}{first:?}{next:?}");
                }
            }
        }
    }
    assert!(passed > 10);
    assert_eq!(upstream.received().len(), passed);
    for seen in upstream.received() {
        assert_eq!(seen.path(), "/public/x", "{seen:#?}");
    }
}

#[tokio::test]
async fn what_frames_a_request_has_no_second_spelling_at_the_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let fields = [("Transfer_Encoding", "chunked"), ("Content_Length", "7")];
    let mut client = gateway.connect().await;
    client.send(request("POST", "/public/x", &fields, b"hello")).await;
    assert_eq!(client.answer().await.status, 200);
    let seen = upstream.only();
    assert_eq!((seen.header("content-length"), &seen.raw_body[..]), (Some("5"), &b"hello"[..]));
    assert_eq!((seen.header("transfer_encoding"), seen.header("content_length")), (None, None));
}

#[tokio::test]
async fn no_credential_goes_to_the_token_endpoint_in_a_query() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let mut client = gateway.connect().await;
    for query in ["access_token=a", "refresh_token=a", "client_id=other", "code=a", "x"] {
        let target = format!("/oauth/token?{query}");
        client.send(request("POST", &target, &[form], b"grant_type=refresh_token&client_id=web")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")), "{query}");
        assert!(answer.json()["error_description"].as_str().unwrap().contains("query"), "{query}");
        assert!(answer.keeps_alive());
    }
    assert!(!gateway.log.text().contains('?'));
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
