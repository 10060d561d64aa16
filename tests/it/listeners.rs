//! TLS, HTTP/2 and several listeners.

use std::time::{Duration, Instant};

use http::{Method, Request};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpSocket;

use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::tls::{Authority, Http2, connect};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, within};

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A gateway whose first listener speaks TLS for `gate.localhost` and `*.other.test`, the second redirects,
/// the third serves in clear text.
async fn gateway(upstream: &Upstream, authority: &Authority, client_certificates: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    authority.sign(&["gate.localhost"]).write(folder.path(), "gate");
    authority.sign(&["*.other.test"]).write(folder.path(), "other");
    std::fs::write(folder.path().join("clients.pem"), authority.pem()).unwrap();
    let at = folder.path().display();
    let to = upstream.url();
    let rest = format!(
        "routes:
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /api/*, to: \"{to}\" }}
  - {{ path: /public/*, to: \"{to}\", public: true, host: a.other.test }}
  - {{ path: /below/*, to: \"{to}\", public: true, host: \"*.other.test\" }}
"
    );
    let listen = format!(
        "listen:
  - address: 127.0.0.1:0
    tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}, {{ certificate: {at}/other.pem, key: {at}/other.key }}]
    {client_certificates}
  - {{ address: 127.0.0.1:0, redirect: https }}
  - 127.0.0.1:0
"
    )
    .replace("clients.pem", &format!("{at}/clients.pem"));
    Gateway::listening(&format!("public_url: https://{HOST}\n{listen}"), &rest).await
}

#[tokio::test]
async fn tls_1_2_and_1_3_carry_http_1_and_2_with_the_certificate_that_was_asked_for() {
    let upstream = Upstream::start().await;
    let authority = Authority::new();
    let gateway = gateway(&upstream, &authority, "").await;
    for version in BOTH {
        let config = authority.client(&[version], None);
        let stream = connect(gateway.public, config.clone(), "gate.localhost", &["http/1.1"]).await.unwrap();
        let mut client = Client::over(stream);
        let answer = client.get("/public/x", &[]).await;
        assert_eq!(answer.status, 200);

        let stream =
            connect(gateway.public, config.clone(), "a.other.test", &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut client = Http2::over(stream).await;
        let request = Request::get("https://a.other.test/public/y").body(()).unwrap();
        assert_eq!(client.ask(request, &[]).await.unwrap().status, 200);

        let wrong = connect(gateway.public, config, "a.b.other.test", &["h2"]).await;
        assert!(
            wrong.is_err(),
            "a wildcard stands for one label, and the first certificate is for another host"
        );
    }
    let seen = upstream.received();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|seen| seen.header("x-forwarded-proto") == Some("https")));
    assert_eq!(seen[1].header("x-forwarded-host"), Some("a.other.test"));
    assert!(seen[1].header("forwarded").unwrap().contains("proto=https"));
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_where_the_operator_says_so() {
    let upstream = Upstream::start().await;
    let (authority, foreign) = (Authority::new(), Authority::new());
    let (good, bad) = (authority.sign(&["phone"]), foreign.sign(&["phone"]));
    for (settings, without) in [
        ("client_certificates: { ca: clients.pem }", false),
        ("client_certificates: { ca: clients.pem, required: false }", true),
    ] {
        let gateway = gateway(&upstream, &authority, settings).await;
        for (shows, passes) in [(Some(&good), true), (Some(&bad), false), (None, without)] {
            let config = authority.client(&[&TLS13], shows);
            let stream = connect(gateway.public, config, "gate.localhost", &["http/1.1"]).await.unwrap();
            let mut client = Client::over(stream);
            // In TLS 1.3 the client hears of a refusal when it reads.
            client.try_send(request("GET", "/public/x", &[], b"")).await;
            let status = client.answer_to("GET").await.map(|answer| answer.status);
            assert_eq!(status, passes.then_some(200), "{settings} {passes}");
        }
    }
}

/// Who resumes a session shows no certificate again, and what it was let in by may have ended since.
#[tokio::test]
async fn nobody_resumes_a_session_where_client_certificates_are_asked_for() {
    let upstream = Upstream::start().await;
    let authority = Authority::new();
    let phone = authority.sign(&["phone"]);
    for (settings, resumes) in [
        ("", true),
        ("client_certificates: { ca: clients.pem }", false),
        ("client_certificates: { ca: clients.pem, required: false }", false),
    ] {
        let gateway = gateway(&upstream, &authority, settings).await;
        for version in BOTH {
            let config = authority.client(&[version], Some(&phone));
            for again in [false, true] {
                let stream = connect(gateway.public, config.clone(), "gate.localhost", &["http/1.1"]);
                let stream = stream.await.unwrap();
                let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                assert_eq!(resumed, again && resumes, "{settings} {version:?}");
                assert_eq!(Client::over(stream).get("/public/x", &[]).await.status, 200);
            }
        }
    }
}

#[tokio::test]
async fn the_redirecting_listener_sends_everybody_to_the_same_place_under_https() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, &Authority::new(), "").await;
    let mut client = Client::connect(gateway.app.running.public[1]).await;
    for (method, target, host, location) in [
        ("GET", "/public/x?q=%41&r", HOST, Some("https://gate.localhost:8080/public/x?q=%41&r")),
        ("POST", "/%61pi", "gate.localhost", Some("https://gate.localhost:8080/api")),
        ("GET", "/oauth/token", "a.other.test:80", Some("https://a.other.test:8080/oauth/token")),
        ("GET", "/x", "b.c.other.test", Some("https://b.c.other.test:8080/x")),
        ("GET", "/", "evil.example", None),
        ("GET", "/", "evil.example/x.other.test", None),
        ("GET", "/", "evil.example?x.other.test", None),
        ("GET", "/", "evil.example#.other.test", None),
        ("GET", "/", "evil.example\\.other.test", None),
        ("GET", "/", "<evil>.other.test", None),
        ("GET", "/", "a..other.test", None),
        ("GET", "/", ".other.test", None),
        ("GET", "/", "a.other.test.", None),
        ("GET", "/", &format!("{}.other.test", "a".repeat(30_000)), None),
        ("GET", "//evil.example", HOST, None),
    ] {
        client
            .send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer x\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.header("location"), location, "{target} {host}");
        assert_eq!(answer.status == 308, location.is_some(), "{target} {host}");
        assert!(answer.keeps_alive());
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn http_2_with_prior_knowledge_and_http_1_share_a_listener_in_clear_text() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, &Authority::new(), "").await;
    let address = gateway.app.running.public[2];
    let mut client = Http2::clear_text(address).await;
    let get = |path: &str| Request::get(format!("http://{HOST}{path}")).body(()).unwrap();
    let answer = client.ask(get("/public/x"), &[]).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"ok"[..]));
    let refused = client.ask(get("/api/x"), &[]).await.unwrap();
    assert_eq!(refused.status.as_u16(), 401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer realm=\"api\", "));
    let mut head = get("/api/x");
    *head.method_mut() = Method::HEAD;
    let answer = client.ask(head, &[]).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (401, 0));
    assert_eq!(Client::connect(address).await.get("/public/x", &[]).await.status, 200);
    // What a balancer sends to see whether anybody is there: shorter than the preface of HTTP/2.
    let mut old = Client::connect(address).await;
    old.send("OPTIONS / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.answer().await.status, 421);
}

/// A browser with many cookies sends each in a field of its own over HTTP/2.
#[tokio::test]
async fn the_cookies_of_a_browser_are_one_field_however_it_sends_them() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let crumbs: Vec<String> = (0..120).map(|at| format!("c{at}=v")).collect();
    let ask = |crumbs: &[String], others: usize| {
        let mut request = Request::get(format!("http://{HOST}/public/x"));
        for crumb in crumbs {
            request = request.header("cookie", crumb);
        }
        (0..others).fold(request, |request, _| request.header("x-many", "1")).body(()).unwrap()
    };
    let mut client = Http2::clear_text(gateway.public).await;
    assert_eq!(client.ask(ask(&crumbs, 0), &[]).await.unwrap().status.as_u16(), 200);
    let fields: Vec<_> = crumbs.iter().map(|crumb| ("Cookie", crumb.as_str())).collect();
    assert_eq!(gateway.connect().await.get("/public/x", &fields).await.status, 200);
    let together = crumbs.join("; ");
    assert_eq!(gateway.connect().await.get("/public/x", &[("Cookie", &together)]).await.status, 200);
    for received in upstream.received() {
        assert_eq!(received.all("cookie"), [together.as_str()]);
    }
    assert_eq!(upstream.received().len(), 3);
    // They are no way around the limit for others.
    assert_eq!(client.ask(ask(&crumbs, 101), &[]).await.unwrap().status.as_u16(), 431);
}

#[tokio::test]
async fn cookies_and_hosts_of_http_2_are_judged_as_those_of_http_1() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "clients: {{ web: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"http://{HOST}/b\" }} }}
routes: [{{ path: /public/*, to: \"{to}\", public: true }}]"
    ))
    .await;
    let mut client = Http2::clear_text(gateway.public).await;
    let crumbs = Request::get(format!("http://{HOST}/public/x"))
        .header("cookie", "a=1")
        .header("cookie", "__Secure-tollgate-web=v")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    assert_eq!(client.ask(crumbs, &[]).await.unwrap().status, 200);
    assert_eq!(upstream.only().all("cookie"), ["a=1; b=2"]);
    let two = Request::post(format!("http://{HOST}/oauth/token"))
        .header("origin", format!("http://{HOST}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("cookie", "__Secure-tollgate-web=v")
        .header("cookie", "__Secure-tollgate-web=w")
        .body(())
        .unwrap();
    let answer = client.ask(two, &[b"grant_type=refresh_token&client_id=web"]).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (400, None));
    for (uri, host, status) in [
        ("http://evil.example/public/x", None, 421),
        ("http://gate.localhost/public/../api", None, 400),
        ("http://gate.localhost/public/x", Some("evil.example"), 400),
    ] {
        let mut request = Request::get(uri).body(()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        // A connection each: of one that is over nobody would say anything.
        let answer = Http2::clear_text(gateway.public).await.ask(request, &[]).await;
        assert_eq!(answer.unwrap().status.as_u16(), status, "{uri} {host:?}");
    }
    assert_eq!(upstream.received().len(), 1);
}

/// cloudflare/pingora#935: an empty last DATA frame must not become a second end of the chunked body.
#[tokio::test]
async fn a_streamed_upload_over_http_2_reaches_an_http_1_upstream_with_one_end() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = Http2::clear_text(gateway.public).await;
    for round in 0..3 {
        let request = Request::post(format!("http://{HOST}/public/{round}")).body(()).unwrap();
        let answer = client.ask(request, &[b"one", b"two"]).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let seen = upstream.received();
    assert_eq!(seen.len(), 3, "{seen:#?}");
    for seen in &seen {
        let body = String::from_utf8(seen.raw_body.clone()).unwrap();
        assert!(body.ends_with("\r\n0\r\n\r\n"), "{body:?}");
        assert_eq!(body.matches("0\r\n\r\n").count(), 1, "{body:?}");
        assert_eq!(seen.connection, 0, "the connection stays in step, and is used again");
    }
}

#[tokio::test]
async fn a_large_upload_over_http_2_that_is_refused_still_hears_why() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = Http2::clear_text(gateway.public).await;
    let request = Request::post(format!("http://{HOST}/api/x")).body(()).unwrap();
    let part = vec![b'x'; 16 * 1024];
    let parts: Vec<&[u8]> = (0..32).map(|_| &part[..]).collect();
    let answer = client.ask(request, &parts).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (401, Some("application/problem+json"))
    );
    let get = Request::get(format!("http://{HOST}/public/x")).body(()).unwrap();
    assert_eq!(client.ask(get, &[]).await.unwrap().status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_counts_as_a_connection_and_a_stop_does_not_wait_for_it() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, &Authority::new(), "").await;
    let _silent = Client::connect(gateway.public).await;
    crate::support::until("the connection to be counted", async || {
        let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
        metrics.contains("tollgate_connections{listener=\"public\"} 1")
    })
    .await;
    let began = Instant::now();
    within("the stop", gateway.app.stop(Duration::ZERO)).await;
    assert!(began.elapsed() < PATIENCE, "one second is promised");
}

#[tokio::test]
async fn all_of_ipv4_and_one_address_of_ipv6_share_a_port() {
    let Some((port, _held)) = port_of_both() else { return }; // no IPv6 here, for nobody
    let upstream = Upstream::start().await;
    let top = format!("public_url: http://{HOST}\nlisten: [\"0.0.0.0:{port}\", \"[::1]:{port}\"]");
    let rest = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]\n", upstream.url());
    let _gateway = Gateway::listening(&top, &rest).await;
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let mut client = Client::connect(address.parse().unwrap()).await;
        assert_eq!(client.get("/x", &[]).await.status, 200, "{address}");
    }
}

/// A port that is free at both, held by sockets that do not listen, beside which the gateway's may. `None`
/// without IPv6.
fn port_of_both() -> Option<(u16, [TcpSocket; 2])> {
    loop {
        let six = TcpSocket::new_v6().ok()?;
        six.set_reuseaddr(true).unwrap();
        six.bind("[::1]:0".parse().unwrap()).ok()?;
        let port = six.local_addr().unwrap().port();
        let four = TcpSocket::new_v4().unwrap();
        four.set_reuseaddr(true).unwrap();
        if four.bind(format!("0.0.0.0:{port}").parse().unwrap()).is_ok() {
            return Some((port, [six, four]));
        }
    }
}
