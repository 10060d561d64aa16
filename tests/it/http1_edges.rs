//! The edges of HTTP/1.1: sizes, bodies, connections that live on, upstreams that fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::address::Address;
use crate::support::client::{HOST, request};
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::upstream::{PAUSE, Received, Upstream};
use crate::support::{PATIENCE, eventually, within};
use serde_json::json;

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let large = "x".repeat(33 * 1024);
    let answer = gateway.connect().await.get("/public/x", &[("X-Large", &large)]).await;
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (431, &json!("urn:tollgate:refusal:header_too_large"))
    );
    let many: Vec<_> = (0..101).map(|_| ("X-Many", "1")).collect();
    assert_eq!(gateway.connect().await.get("/public/x", &many).await.status, 431);
    let long = "x".repeat(9 * 1024);
    let answer = gateway.connect().await.get("/api/x", &[("Authorization", &format!("Bearer {long}"))]).await;
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (431, &json!("urn:tollgate:refusal:token_too_large"))
    );
    assert!(upstream.received().is_empty());
}

/// What browsers send as it is grows threefold in its one spelling, and a rewrite may add to that. More than
/// 64 KiB no request can be sent with.
#[tokio::test]
async fn a_target_that_grows_too_large_is_431() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let longer = "x".repeat(1_000);
    let gateway = Gateway::with(&format!(
        "routes:
  - {{ path: /*, to: \"{to}\", public: true }}
  - {{ path: /api/*, to: \"{to}\" }}
  - {{ path: /longer/*, to: \"{to}\", public: true, rewrite: \"/{longer}/*\" }}
  - {{ path: /trial/*, to: \"{to}\", report_only: true, rewrite: \"/{longer}/*\" }}
  - {{ path: /theirs/*, to: \"{to}\", public: true, cors: upstream, rewrite: \"/{longer}/*\" }}
"
    ))
    .await;
    let (fits, grown) = ("|".repeat(21_700), "|".repeat(22_000));
    for path in ["/", "/api/", "/oauth/", "/longer/", "/trial/", "/theirs/"] {
        let answer = gateway.connect().await.get(&format!("{path}{grown}"), &[]).await;
        assert_eq!(answer.status, 431, "{path}");
        if path != "/oauth/" {
            assert_eq!(answer.json()["type"], "urn:tollgate:refusal:header_too_large", "{path}");
        }
    }
    let mut client = gateway.connect().await;
    for (path, status) in [("/", 200), ("/api/", 401), ("/longer/", 431), ("/trial/", 431), ("/theirs/", 431)]
    {
        let answer = client.get(&format!("{path}{fits}"), &[]).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let asks = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")];
    client.send(request("OPTIONS", &format!("/theirs/{fits}"), &asks, b"")).await;
    assert_eq!(client.answer().await.status, 431);
    assert_eq!(upstream.only().path().len(), 1 + 3 * fits.len());
}

/// RFC 9112 section 3.2.2 with RFC 9110 section 4.2.1: the path of an `http` URL may be empty, also before a
/// query.
#[tokio::test]
async fn the_absolute_form_without_a_path_asks_for_the_root() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::with(&format!("routes: [{{ path: /, to: \"{}\", public: true }}]", upstream.url())).await;
    let mut client = gateway.connect().await;
    for (target, seen) in [
        (format!("http://{HOST}"), "/"),
        (format!("http://{HOST}?x=1"), "/?x=1"),
        (format!("HTTP://{HOST}/?x=1"), "/?x=1"),
        (format!("http://{HOST}?"), "/?"),
        (format!("http://{HOST}?//evil.example"), "/?//evil.example"),
    ] {
        let answer = client.get(&target, &[]).await;
        assert_eq!((answer.status, upstream.received().pop().unwrap().path()), (200, seen), "{target}");
    }
    assert_eq!(client.get("http://evil.example?x=1", &[]).await.status, 400);
    let logged = gateway.logged(5).await;
    assert_eq!(logged[1]["path"], "/");
    assert_eq!(upstream.received().len(), 5);
}

/// What is refused before the endpoint is looked at speaks its language too.
#[tokio::test]
async fn an_early_refusal_at_the_token_endpoint_speaks_oauth_however_it_is_spelled() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for target in ["/oauth/token", "/%6fauth/token", "http://other.example/oauth/token"] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: other.example\r\nContent-Length: 0\r\n\r\n");
        let mut client = gateway.connect().await;
        client.send(head).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (421, Some("application/json")),
            "{target}"
        );
        assert_eq!(answer.json()["error"], "invalid_request", "{target}");
    }
}

/// On public routes too whatever is in `Authorization` is judged.
#[tokio::test]
async fn a_public_route_says_that_it_takes_no_other_scheme() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for scheme in ["Basic eDp5", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0"] {
        let answer = gateway.connect().await.get("/public/x", &[("Authorization", scheme)]).await;
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (401, &json!("urn:tollgate:refusal:scheme_not_taken"))
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("Bearer and DPoP") && !detail.contains("eDp5"), "{detail}");
        assert!(answer.challenge().unwrap().starts_with("Bearer "), "no error came of a token");
    }
    assert!(upstream.received().is_empty());
}

/// pingora reads a line with a space in its target once more, escaped; any other is judged as it came.
#[tokio::test]
async fn what_no_target_may_have_is_escaped_where_there_is_a_space_and_else_refused() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::with(&format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url())).await;
    let mut came = Vec::new();
    for (target, sent) in [
        ("/a b", Some("/a%20b")),
        ("/\u{e9} <\">", Some("/%C3%A9%20%3C%22%3E")),
        ("/x y?q=\u{e9}", Some("/x%20y?q=%C3%A9")),
        ("/x?q=\"<>", None),
        ("/x?q=\u{e9}", None),
        ("/\u{e9}", None),
        ("/a\"b", None),
        ("/a<b>", None),
    ] {
        let mut client = gateway.connect().await;
        client.send(request("GET", target, &[], b"")).await;
        let status = client.answer().await.status;
        assert_eq!(status, if sent.is_some() { 200 } else { 400 }, "{target}");
        came.extend(sent);
        assert_eq!(upstream.received().iter().map(|seen| seen.path()).collect::<Vec<_>>(), came, "{target}");
    }
}

#[tokio::test]
async fn a_kept_connection_waits_75_seconds_for_its_next_request_and_no_longer() {
    let upstream = Upstream::start().await;
    let short = Duration::from_millis(200);
    let routes = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let gateway = Gateway::adjusted(&routes, |settings| {
        assert_eq!(settings.patience.next_request, Duration::from_secs(75), "unless this test is in a hurry");
        settings.patience.next_request = short;
    })
    .await;
    let mut client = gateway.connect().await;
    let began = Instant::now();
    assert!(client.get("/x", &[]).await.keeps_alive());
    assert!(client.is_closed().await);
    assert!((short..PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn how_long_a_connection_may_wait_for_its_next_request_is_configured() {
    let upstream = Upstream::start().await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let gateway = Gateway::with(&format!("timeouts: {{ keep_alive: 1s }}\n{routes}")).await;
    let began = Instant::now();
    let mut client = gateway.connect().await;
    assert!(client.get("/x", &[]).await.keeps_alive());
    let mut http2 = Http2::clear_text(gateway.public).await;
    let asked = http::Request::get(format!("http://{HOST}/x")).body(()).unwrap();
    assert_eq!(http2.ask(asked, &[]).await.unwrap().status, 200);
    assert!(client.is_closed().await);
    within("the end of the connection", http2.ended()).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_host_or_400() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for head in [
        "GET /public/x HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nHost: other.example\r\n\r\n"),
        format!("GET http://other.example/public/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /public/x HTTP/1.1\r\nHost: user@{HOST}\r\n\r\n"),
    ] {
        let mut client = gateway.connect().await;
        client.send(&head).await;
        assert_eq!(client.answer().await.status, 400, "{head}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_announced_or_not() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "limits: {{ body: 64KiB }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]",
        upstream.url()
    ))
    .await;
    let body = vec![b'x'; 200 * 1024];
    let mut client = gateway.connect().await;
    client.send(request("POST", "/announced", &[], &body)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.json()["type"]), (413, &json!("urn:tollgate:refusal:body_too_large")));
    assert!(!answer.keeps_alive());
    assert!(upstream.received().is_empty(), "nothing of it went on");

    let mut client = gateway.connect().await;
    let head = request("POST", "/chunked", &[("Transfer-Encoding", "chunked")], b"");
    client.send(head).await;
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..3 {
        client.try_send(&chunk).await;
    }
    client.try_send("0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 413);

    let mut client = gateway.connect().await;
    client.send(request("POST", "/fits", &[], &body[..64 * 1024])).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn bodies_arrive_as_they_were_sent() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let body: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[at as usize % 4]).collect();
    client.send(request("POST", "/public/length", &[], &body)).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(upstream.received()[0].raw_body, body);

    let head = request("POST", "/public/chunks", &[("Transfer-Encoding", "chunked")], b"");
    client
        .send([&head[..], b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Auth-Subject: forged\r\n\r\n"].concat())
        .await;
    assert_eq!(client.answer().await.status, 200);
    let seen = &upstream.received()[1];
    let raw = String::from_utf8(seen.raw_body.clone()).unwrap();
    assert!(raw.ends_with("0\r\n\r\n") && raw.matches("0\r\n\r\n").count() == 1, "{raw:?}");
    assert!(!raw.contains("forged"), "trailers do not pass");

    let twice = format!(
        "POST /public/twice HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi"
    );
    client.send(twice).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(upstream.received()[2].all("content-length"), ["2"]);
}

#[tokio::test]
async fn a_refusal_costs_no_connection_not_even_with_a_body() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let bearer = gateway.bearer("alice", "api:read");
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        client.send(request("POST", "/api/x", &[], &[b'x'; 4096])).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 401);
        assert!(answer.keeps_alive());
        let answer = client.get("/api/x", &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn a_large_upload_that_is_refused_still_hears_why() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("POST", "/api/x", &[], &vec![b'x'; 900 * 1024])).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 401);
    assert!(!answer.keeps_alive());
}

#[tokio::test]
async fn whoever_waits_for_100_continue_is_refused_before_sending() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    let head = format!(
        "POST /api/x HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
    );
    client.send(head).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 401);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn head_has_no_body_and_keeps_the_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    for path in ["/public/x", "/api/x", "/nowhere"] {
        client.send(request("HEAD", path, &[], b"")).await;
        let answer = client.answer_to("HEAD").await.unwrap();
        assert_ne!(answer.header("content-length"), Some("0"), "{path}");
    }
    assert_eq!(client.get("/public/x", &[]).await.status, 200, "nothing was left on the connection");
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for _ in 0..5 {
        assert_eq!(gateway.connect().await.get("/public/x", &[]).await.status, 200);
    }
    assert!(upstream.received().iter().all(|seen| seen.connection == 0), "{:#?}", upstream.received());
}

#[tokio::test]
async fn the_client_says_close_and_gets_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    assert!(!client.get("/public/x", &[("Connection", "close")]).await.keeps_alive());
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_answer_streams_while_it_is_made() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        [&head[..], PAUSE, b"4\r\ndefg\r\n0\r\n\r\n"].concat()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/public/x", &[], b"")).await;
    client.until(b"abc").await;
    upstream.release(1);
    assert_eq!(client.answer().await.body, b"abcdefg");
}

#[tokio::test]
async fn an_upstream_that_fails_is_502_in_our_own_words() {
    let closed = Address::reserve();
    let silent = Upstream::answering(Arc::new(|_: &Received| Vec::new())).await;
    let babbling = Upstream::answering(Arc::new(|_: &Received| b"nonsense\r\n\r\n".to_vec())).await;
    let gateway = Gateway::with(&format!(
        "routes:\n  - {{ path: /closed, to: \"{}\", public: true }}\n  \
         - {{ path: /silent, to: \"{}\", public: true }}\n  - {{ path: /babbling, to: \"{}\", public: true }}",
        closed.url(),
        silent.url(),
        babbling.url()
    ))
    .await;
    for path in ["/closed", "/silent", "/babbling"] {
        let answer = gateway.connect().await.get(path, &[]).await;
        assert_eq!(answer.status, 502, "{path}");
        assert_eq!(answer.json()["type"], "urn:tollgate:refusal:upstream_unavailable", "{path}");
        assert_eq!(answer.header("server"), None);
    }
    let lines = gateway.logged(3).await;
    assert!(lines.iter().all(|line| line["outcome"] == "upstream_unavailable"), "{lines:?}");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = Upstream::start().await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let gateway = Gateway::adjusted(&routes, |settings| {
        Arc::get_mut(&mut settings.upstreams[0]).unwrap().timeouts.read = Duration::from_millis(300);
    })
    .await;
    let answer = gateway.connect().await.get("/hold", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (504, &json!("urn:tollgate:refusal:upstream_timeout"))
    );
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    assert!(metrics.contains(r#"result="timeout""#), "{metrics}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf".to_vec()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/public/x", &[], b"")).await;
    let raw = within("the end", client.rest()).await;
    assert!(raw.ends_with("half"), "{raw}");
    gateway.logged(1).await;
    eventually("nothing in flight", || gateway.app.gate.metrics.in_flight().get() == 0).await;
}

/// Clients that read the version of an answer (curl does) would take the gateway for one of HTTP/1.0.
#[tokio::test]
async fn an_answer_of_http_1_0_goes_on_as_one_of_this_gateway() {
    let upstream = Upstream::answering(Arc::new(|seen: &Received| {
        let plain = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        match seen.line() {
            "GET /public/none" => "HTTP/1.0 204 No Content\r\n\r\n".to_owned(),
            "GET /public/hints" => format!("HTTP/1.0 103 Early Hints\r\nLink: </x>\r\n\r\n{plain}"),
            _ => plain.to_owned(),
        }
        .into_bytes()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    for (path, body) in [("/public/x", "hello"), ("/public/none", ""), ("/public/hints", "hello")] {
        client.send(request("GET", path, &[], b"")).await;
        if path == "/public/hints" {
            let hints = client.first("GET").await.unwrap();
            assert!(hints.head.starts_with("HTTP/1.1 103 "), "{}", hints.head);
        }
        let answer = client.answer().await;
        assert!(answer.head.starts_with("HTTP/1.1 20"), "{}", answer.head);
        assert_eq!(&*answer.body, body.as_bytes(), "{path}");
        assert!(answer.keeps_alive(), "{}", answer.head);
    }
}

/// RFC 9112 section 6.1 and RFC 9110 section 15.2; nginx speaks HTTP/1.0 to what is behind it unless told
/// otherwise.
#[tokio::test]
async fn a_client_of_http_1_0_gets_neither_chunks_nor_interim_answers() {
    let upstream = Upstream::answering(Arc::new(|seen: &Received| {
        let head = "HTTP/1.1 200 OK\r\n";
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        match seen.line() {
            "HEAD /public/chunks" => chunked,
            "GET /public/chunks" => format!("{chunked}3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
            "GET /public/end" => format!("{head}Connection: close\r\n\r\nhello"),
            "GET /public/none" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            _ => format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{head}Content-Length: 5\r\n\r\nhello"
            ),
        }
        .into_bytes()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    for (line, body, keeps) in [
        ("GET /public/chunks", "hello", false),
        ("GET /public/end", "hello", false),
        ("GET /public/hints", "hello", true),
        ("GET /public/none", "", true),
        ("HEAD /public/chunks", "", true),
        ("GET /api/x", "", true),
    ] {
        for keep_alive in ["", "Connection: keep-alive\r\n"] {
            let mut client = gateway.connect().await;
            client.send(format!("{line} HTTP/1.0\r\nHost: {HOST}\r\n{keep_alive}\r\n")).await;
            let answer = client.first(line.split(' ').next().unwrap()).await.unwrap();
            assert!(!answer.head.contains("ransfer-"), "{}", answer.head);
            let keeps = keeps && !keep_alive.is_empty();
            assert_eq!(
                answer.header("connection"),
                Some(if keeps { "keep-alive" } else { "close" }),
                "{line}"
            );
            if line.contains("/api/") {
                assert_eq!(answer.status, 401);
            } else {
                assert_eq!(answer.body, body.as_bytes(), "{line}");
            }
            if keeps {
                client.send(format!("GET /public/hints HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
                assert_eq!(client.first("GET").await.unwrap().body, b"hello");
            }
            assert!(client.is_closed().await, "{line}");
        }
    }
}
