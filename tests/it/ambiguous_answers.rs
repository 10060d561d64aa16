//! Upstreams whose answers have two readings, or that say more than they were asked. No client ever gets
//! what was meant for another, or what nobody meant for anybody (RFC 9112 section 11.1).

use std::sync::Arc;

use http::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::streams::{HANDSHAKE, SWITCHES};
use crate::support::PATIENCE;
use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::upstream::{PAUSE, Received, Upstream};

/// An answer that nobody may get.
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!";

fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

/// How an upstream answers, and what of it may be in the body that a client gets. `None`: no body at all.
fn odd_answers() -> Vec<(&'static str, String, Option<&'static str>)> {
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    let cl = "Content-Length: 2\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    let plain = ok(cl, "ok");
    vec![
        ("more after its length", ok(cl, &format!("ok{EVIL}")), Some("ok")),
        ("more after its chunks", ok(te, &format!("{chunks}{EVIL}")), Some("ok")),
        ("length and chunks", ok(&format!("{cl}{te}"), &format!("{chunks}{EVIL}")), Some("ok")),
        ("chunks and length", ok(&format!("{te}{cl}"), &format!("{chunks}{EVIL}")), Some("ok")),
        (
            "a longer length and chunks",
            ok(&format!("Content-Length: 100\r\n{te}"), &format!("{chunks}{EVIL}")),
            Some("ok"),
        ),
        ("two lengths", ok(&format!("{cl}Content-Length: 50\r\n"), &format!("ok{EVIL}")), None),
        ("two lengths the other way", ok(&format!("Content-Length: 50\r\n{cl}"), &format!("ok{EVIL}")), None),
        ("two equal lengths", ok(&format!("{cl}{cl}"), "ok"), Some("ok")),
        ("a list of equal lengths", ok("Content-Length: 2, 2\r\n", "ok"), Some("ok")),
        ("a list of lengths", ok("Content-Length: 2, 50\r\n", &format!("ok{EVIL}")), None),
        ("a signed length", ok("Content-Length: +2\r\n", &format!("ok{EVIL}")), None),
        ("a negative length", ok("Content-Length: -2\r\n", &format!("ok{EVIL}")), None),
        ("a length in hex", ok("Content-Length: 0x2\r\n", &format!("ok{EVIL}")), None),
        ("TE: xchunked", ok(&format!("Transfer-Encoding: xchunked\r\n{cl}"), &format!("ok{EVIL}")), None),
        (
            "TE: chunked, identity",
            ok("Transfer-Encoding: chunked, identity\r\n", &format!("{chunks}{EVIL}")),
            None,
        ),
        ("TE twice", ok(&format!("{te}{te}"), &format!("{chunks}{EVIL}")), None),
        ("TE in HTTP/1.0", ok(te, &format!("{chunks}{EVIL}")).replace("1.1 200", "1.0 200"), None),
        ("bare LF", format!("HTTP/1.1 200 OK\nContent-Length: 2\n\nok{EVIL}"), Some("ok")),
        ("bare LF before TE", ok(&format!("X-A: a\n{te}{cl}"), &format!("{chunks}{EVIL}")), Some("ok")),
        ("bare CR", ok(&format!("X-A: a\rX-B: b\r\n{cl}"), "ok"), None),
        ("NUL", ok(&format!("X-A: a\0b\r\n{cl}"), "ok"), None),
        ("obs-fold", ok(&format!("X-A: a\r\n b\r\n{cl}"), "ok"), Some("ok")),
        ("obs-fold of a length", ok("Content-Length: 2\r\n 5\r\n", &format!("ok{EVIL}")), None),
        (
            "a space before the colon",
            ok(&format!("Transfer-Encoding : chunked\r\n{cl}"), &format!("ok{EVIL}")),
            None,
        ),
        ("a size in hex of chunks", ok(te, &format!("0x2\r\nok\r\n0\r\n\r\n{EVIL}")), None),
        ("a signed chunk", ok(te, &format!("+2\r\nok\r\n0\r\n\r\n{EVIL}")), None),
        ("a huge chunk", ok(te, &format!("ffffffffffffffff\r\nok{EVIL}")), None),
        ("no CR LF after a chunk", ok(te, &format!("2\r\nokXX0\r\n\r\n{EVIL}")), None),
        ("LF in an extension", ok(te, &format!("2;a\nb\r\nok\r\n0\r\n\r\n{EVIL}")), Some("ok")),
        ("trailers", ok(te, "2\r\nok\r\n0\r\nX-A: b\r\n\r\n"), Some("ok")),
        ("204 with a body", format!("HTTP/1.1 204 No Content\r\n{cl}\r\n{EVIL}"), Some("")),
        ("204 with chunks", format!("HTTP/1.1 204 No Content\r\n{te}\r\n{chunks}{EVIL}"), Some("")),
        ("304 with a body", format!("HTTP/1.1 304 Not Modified\r\n{cl}\r\nok{EVIL}"), Some("")),
        ("a hundred interim answers", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100) + &plain, Some("ok")),
        ("early hints", format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{plain}"), Some("ok")),
        (
            "an interim answer with a length",
            format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 100\r\n\r\n{plain}"),
            Some("ok"),
        ),
        (
            "a switch that nobody asked for",
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n{EVIL}"
            ),
            None,
        ),
        (
            "a switch with a length",
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n{cl}\r\n{EVIL}"
            ),
            None,
        ),
        (
            "Connection: Transfer-Encoding",
            ok(&format!("Connection: Transfer-Encoding\r\n{te}"), &format!("{chunks}{EVIL}")),
            Some("ok"),
        ),
        (
            "Connection: Content-Length",
            ok(&format!("Connection: Content-Length\r\n{cl}"), &format!("ok{EVIL}")),
            Some("ok"),
        ),
        ("HTTP/2", ok(cl, "ok").replace("1.1 200", "2.0 200"), None),
        ("a status of two digits", ok(cl, "ok").replace("200", "20"), None),
        ("a status of four digits", ok(cl, "ok").replace("200", "2000"), None),
        ("no reason", ok(cl, "ok").replace("200 OK", "200"), Some("ok")),
        ("empty lines before", format!("\r\n\r\n{plain}"), Some("ok")),
        ("no HTTP", EVIL[20..].to_owned(), None),
        ("too many fields", ok(&format!("{}{cl}", "X-A: b\r\n".repeat(300)), "ok"), None),
        ("a field of 2 MB", ok(&format!("X-A: {}\r\n{cl}", "b".repeat(2 << 20)), "ok"), None),
        (
            "an answer that breaks off",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\nok".to_owned(),
            None,
        ),
        (
            "chunks that break off",
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{te}\r\n2\r\nok\r\n"),
            None,
        ),
    ]
}

/// An answer that has not ended by then lasts as long as its connection.
async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, future).await.ok()
}

/// Answers `/public/odd/N` with the odd answer of that number, everybody else by their path. All share its
/// connections.
async fn odd_upstream() -> Upstream {
    let odd: Vec<String> = odd_answers().into_iter().map(|(_, odd, _)| odd).collect();
    Upstream::answering(Arc::new(move |seen: &Received| match seen.path().strip_prefix("/public/odd/") {
        Some(number) => odd[number.parse::<usize>().unwrap()].clone().into_bytes(),
        None => ok(&format!("Content-Length: {}\r\n", seen.path().len()), seen.path()).into_bytes(),
    }))
    .await
}

#[tokio::test]
async fn no_answer_harms_the_next_one_on_either_side() {
    let mut wrong = Vec::new();
    let upstream = odd_upstream().await;
    let gateway = Gateway::start(&upstream).await;
    for (number, (name, _, may)) in odd_answers().into_iter().enumerate() {
        let path = format!("/public/odd/{number}");
        for method in ["GET", "HEAD"] {
            let mut first = gateway.connect().await;
            first.send(request(method, &path, &[], b"")).await;
            let ended = soon(first.whole(method)).await;
            let waited = ended.is_none();
            let answer = ended.flatten();
            if let Some(answer) = &answer
                && answer.status < 400
            {
                let body = String::from_utf8_lossy(&answer.body);
                let fits = if method == "HEAD" { body.is_empty() } else { may == Some(&*body) };
                let framings = answer.all("content-length").len() + answer.all("transfer-encoding").len();
                if !fits || framings > 1 {
                    wrong.push(format!("{name}: {method}: {answer:?}"));
                }
            }
            if method == "GET" && may.is_some_and(|body| !body.is_empty()) && answer.is_none() {
                wrong.push(format!("{name}: no answer"));
            }
            if waited {
                wrong.push(format!("{name}: {method}: waits"));
                first = gateway.connect().await;
            }
            // Somebody else, and the same client again where its connection lives on.
            for (who, client) in [("another", &mut gateway.connect().await), ("the same", &mut first)] {
                client.try_send(request("GET", "/public/next", &[], b"")).await;
                match client.whole("GET").await {
                    Some(next) if next.status == 200 && next.body == b"/public/next" => {}
                    None if who == "the same" => {}
                    other => wrong.push(format!("{name}: {method}: {who} got {other:?}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

#[tokio::test]
async fn no_answer_harms_the_next_one_over_http_2() {
    let mut wrong = Vec::new();
    // How large a head of an upstream may be does not depend on the client's version, and costs seconds.
    let upstream = odd_upstream().await;
    let gateway = Gateway::start(&upstream).await;
    let small = odd_answers().into_iter().enumerate().filter(|(_, (_, odd, _))| odd.len() < 1 << 20);
    for (number, (name, _, may)) in small {
        let path = format!("/public/odd/{number}");
        let mut client = Http2::clear_text(gateway.public).await;
        for method in ["GET", "HEAD"] {
            let ask = |path: &str| {
                Request::builder().method(method).uri(format!("http://{HOST}{path}")).body(()).unwrap()
            };
            let Some(answer) = soon(client.ask(ask(&path), &[])).await else {
                wrong.push(format!("{name}: {method}: waits"));
                continue;
            };
            match answer {
                Ok(answer) if answer.status.as_u16() < 400 => {
                    let body = String::from_utf8_lossy(&answer.body);
                    let fits = if method == "HEAD" { body.is_empty() } else { may == Some(&*body) };
                    if !fits {
                        wrong.push(format!("{name}: {method}: {answer:?}"));
                    }
                }
                Ok(_) => {}
                Err(error) if may.is_some_and(|body| !body.is_empty()) => {
                    wrong.push(format!("{name}: {method}: no answer: {error}"));
                }
                Err(_) => {}
            }
            let next = Request::get(format!("http://{HOST}/public/next")).body(()).unwrap();
            match client.ask(next, &[]).await {
                Ok(next) if next.status == 200 && next.body == b"/public/next" => {}
                other => wrong.push(format!("{name}: {method}: the same connection got {other:?}")),
            }
            let other = gateway.connect().await.get("/public/next", &[]).await;
            if other.body != b"/public/next" {
                wrong.push(format!("{name}: {method}: another got {other:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_head_says_nothing_else() {
    let framings = ["Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: 0", "X-A: b"];
    let upstream = Upstream::answering(Arc::new(move |seen: &Received| {
        let at: usize = seen.path().strip_prefix("/public/").unwrap().parse().unwrap();
        let field = framings[at];
        let early = format!("HTTP/1.1 103 Early Hints\r\n{field}\r\n\r\n");
        let body = if at == 0 { "0\r\n\r\n" } else { "" };
        format!("{early}HTTP/1.1 204 No Content\r\n{field}\r\n\r\n{body}").into_bytes()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    for (at, field) in framings.iter().enumerate() {
        client.send(request("GET", &format!("/public/{at}"), &[], b"")).await;
        for status in [103, 204] {
            let answer = client.first("GET").await.unwrap();
            assert_eq!(answer.status, status, "{field}");
            for name in ["transfer-encoding", "content-length"] {
                assert_eq!(answer.header(name), None, "{field}: {answer:?}");
            }
            assert!(answer.keeps_alive(), "{field}: {answer:?}");
        }
    }
}

/// Nor may a switch of protocols have a length or a coding (RFC 9110 section 8.6, RFC 9112 section 6.1).
#[tokio::test]
async fn a_switch_of_protocols_says_nothing_of_a_body() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| {
        let framing = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        SWITCHES.replacen("Upgrade", &format!("{framing}Upgrade"), 1).into_bytes()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/public/x", &HANDSHAKE, b"")).await;
    let answer = client.first("GET").await.unwrap();
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")), "{answer:?}");
    for name in ["transfer-encoding", "content-length"] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
}

/// Bytes that wait on a pooled connection before its next request are no answer to it.
#[tokio::test]
async fn what_an_upstream_says_unasked_is_nobodys_answer() {
    let upstream = Upstream::answering(Arc::new(|seen: &Received| {
        if seen.path() == "/public/first" {
            return [ok("Content-Length: 2\r\n", "ok").as_bytes(), PAUSE, EVIL.as_bytes()].concat();
        }
        ok("Content-Length: 6\r\n", "honest").into_bytes()
    }))
    .await;
    let gateway = Gateway::start(&upstream).await;
    for _ in 0..20 {
        let mut first = gateway.connect().await;
        assert_eq!(first.get("/public/first", &[]).await.body, b"ok");
        upstream.release(1);
        let next = gateway.connect().await.get("/public/next", &[]).await;
        assert_eq!((next.status, &next.body[..]), (200, &b"honest"[..]));
    }
}

/// An upstream that answers before it was asked is not believed, or answers only the first to come.
#[tokio::test]
async fn an_answer_before_the_request_reaches_no_second_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let early = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = socket.write_all(ok("Content-Length: 5\r\n", "early").as_bytes()).await;
                let mut peer = Client::over(socket);
                loop {
                    peer.take_head().await?;
                    if !peer.try_send(ok("Content-Length: 6\r\n", "honest")).await {
                        return None::<()>;
                    }
                }
            });
        }
    });
    let gateway =
        Gateway::with(&format!("routes: [{{ path: /*, to: \"http://{address}\", public: true }}]")).await;
    for _ in 0..5 {
        // The late answer to the first must not become the answer to the second.
        for _ in 0..2 {
            let answer = gateway.connect().await.get("/x", &[]).await;
            assert!(
                answer.status == 502 || answer.body == b"early" || answer.body == b"honest",
                "{answer:?}"
            );
        }
    }
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    assert!(metrics.contains("tollgate_requests_total"), "{metrics}");
    early.abort();
}
