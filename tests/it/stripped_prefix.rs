//! What an upstream is told of the prefix that `strip_prefix` takes off, and that nobody else can tell it.

use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn an_upstream_is_told_what_strip_prefix_took_off_and_nothing_by_anybody_else() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let gateway = Gateway::with(&format!(
        "routes:
  - {{ path: /svc/*, to: \"{to}\", public: true, strip_prefix: /svc }}
  - {{ path: \"/of/{{tenant}}/*\", to: \"{to}\", public: true, strip_prefix: \"/of/{{tenant}}\" }}
  - {{ path: /moved/*, to: \"{to}\", public: true, rewrite: \"/*\" }}
  - {{ path: /plain/*, to: \"{to}\", public: true }}
  - {{ path: /own-cors/*, to: \"{to}\", cors: upstream, strip_prefix: /own-cors }}
"
    ))
    .await;
    let forged = [
        ("X-Forwarded-Prefix", "/evil"),
        ("X_Forwarded_Prefix", "/evil"),
        ("X-Forwarded.Prefix", "/evil"),
        ("Connection", "X-Forwarded-Prefix"),
    ];
    let preflight = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET")];
    for (method, path, fields, sent, told) in [
        ("GET", "/svc/a/b?c", &forged[..], "/a/b?c", vec!["/svc"]),
        ("GET", "/svc", &forged[..3], "/", vec!["/svc"]),
        ("POST", "/of/a,b%20c/", &[], "/", vec!["/of/a%2Cb%20c"]),
        ("GET", "/moved/x", &forged, "/x", vec![]),
        ("GET", "/plain/x", &forged, "/plain/x", vec![]),
        ("OPTIONS", "/own-cors/x", &preflight, "/x", vec!["/own-cors"]),
    ] {
        let mut client = gateway.connect().await;
        client.send(request(method, path, fields, b"")).await;
        assert_eq!(client.answer_to(method).await.unwrap().status, 200, "{path}");
        let seen = upstream.received().pop().unwrap();
        assert_eq!((seen.path(), seen.all("x-forwarded-prefix")), (sent, told), "{path}");
        assert!(!seen.head.contains("evil"), "{path}: {seen:?}");
    }
    let mut client = Http2::clear_text(gateway.public).await;
    let ask = http::Request::get(format!("http://{}/svc/x", crate::support::client::HOST));
    let ask = ask.header("x-forwarded-prefix", "/evil").body(()).unwrap();
    assert_eq!(client.ask(ask, &[]).await.unwrap().status, 200);
    assert_eq!(upstream.received().pop().unwrap().all("x-forwarded-prefix"), ["/svc"]);
}
