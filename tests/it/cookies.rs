//! What upstreams may do with cookies: nothing to ours.

use std::sync::Arc;

use crate::support::client::HOST;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// Two clients, one with a name of its own.
fn clients() -> String {
    format!(
        "clients:\n  spa: {{ mode: token, login: page, redirect_uri: \"http://{HOST}/cb\", issuer: discovered }}\n  \
           other: {{ mode: token, login: page, redirect_uri: \"http://{HOST}/cb\", issuer: discovered, cookie: {{ name: __Host-mine, path: / }} }}\n"
    )
}

#[tokio::test]
async fn no_spelling_of_set_cookie_plants_a_cookie_of_ours() {
    let planting = |_: &crate::support::upstream::Received| {
        b"HTTP/1.1 200 OK\r\n\
          Set-Cookie: __Secure-tollgate-spa=evil; Path=/oauth/token; Secure; Domain=example.com\r\n\
          set-cookie: __Host-mine=evil; Path=/; Secure\r\n\
          SET-COOKIE:\t __Host-mine \t=evil\r\n\
          Set-Cookie: =__Secure-tollgate-spa=evil\r\n\
          Set-Cookie: = = __Host-mine=evil\r\n\
          Set-Cookie: __Host-mine\r\n\
          Set-Cookie: __Host-mine; Max-Age=0\r\n\
          Set-Cookie: __Host-mine2=theirs\r\n\
          Set-Cookie: a=__Host-mine=theirs\r\n\
          Content-Length: 0\r\n\r\n"
            .to_vec()
    };
    let upstream = Upstream::answering(Arc::new(planting)).await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let gateway = Gateway::with(&format!("{}{routes}", clients())).await;
    let answer = gateway.connect().await.get("/", &[]).await;
    assert_eq!(answer.all("set-cookie"), ["__Host-mine2=theirs", "a=__Host-mine=theirs"]);
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let counted = metrics.lines().find(|line| line.starts_with("tollgate_planted_cookies_total{"));
    assert!(counted.is_some_and(|line| line.ends_with(" 7")), "{counted:?}");
}

#[tokio::test]
async fn the_cookies_of_all_clients_stay_here_whatever_stands_around_them() {
    let upstream = Upstream::start().await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let gateway = Gateway::with(&format!("{}{routes}", clients())).await;
    let cookies = "__Host-mine=v;\t__Secure-tollgate-spa =\"v\"; a=1;;__Host-mine=; b; __host-mine=theirs";
    let fields = [("Cookie", cookies), ("cookie", "__Host-mine=w"), ("COOKIE", "c=\"__Host-mine=x\"")];
    gateway.connect().await.get("/", &fields).await;
    assert_eq!(upstream.only().all("cookie"), ["a=1; b; __host-mine=theirs; c=\"__Host-mine=x\""]);
}

/// Browsers keep cookies for days, and replicas get a new configuration one after the other.
#[tokio::test]
async fn the_cookies_of_clients_that_are_gone_stay_here_too() {
    let planting = |_: &crate::support::upstream::Received| {
        b"HTTP/1.1 200 OK\r\n\
          Set-Cookie: __Secure-tollgate-gone=evil; Path=/oauth/token; Secure\r\n\
          Set-Cookie: __Host-Http-tollgate-gone=evil; Path=/; Secure; HttpOnly\r\n\
          Set-Cookie: tollgate=theirs\r\n\
          Content-Length: 0\r\n\r\n"
            .to_vec()
    };
    let upstream = Upstream::answering(Arc::new(planting)).await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]", upstream.url());
    let sent = "__Host-Http-tollgate-portal=v; a=1; __Secure-tollgate-app=v; __Host-Http-tollgate-portal-tx-x=v; __Secure-other=2";
    for clients in [String::new(), clients()] {
        let gateway = Gateway::with(&format!("{clients}{routes}")).await;
        let answer = gateway.connect().await.get("/", &[("Cookie", sent)]).await;
        assert_eq!(answer.all("set-cookie"), ["tollgate=theirs"]);
        assert_eq!(upstream.received().last().unwrap().all("cookie"), ["a=1; __Secure-other=2"]);
    }
}

#[tokio::test]
async fn our_cookies_stay_here_and_no_upstream_plants_one() {
    let planting = |_: &crate::support::upstream::Received| {
        b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: __Secure-tollgate-spa=early\r\n\r\n\
          HTTP/1.1 200 OK\r\nSet-Cookie: __Secure-tollgate-spa=evil; Path=/oauth/token; Secure\r\n\
          Set-Cookie: theirs=1\r\nConnection: x-hop\r\nX-Hop: y\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
    };
    let upstream = Upstream::answering(std::sync::Arc::new(planting)).await;
    let gateway = Gateway::with(&format!(
        "clients:\n  spa: {{ mode: token, login: page, secret: hush, redirect_uri: \"http://{HOST}/cb\", issuer: discovered }}\n\
         routes: [{{ path: /*, to: \"{}\", public: true }}]",
        upstream.url()
    ))
    .await;
    let fields =
        [("Cookie", "a=1; __Secure-tollgate-spa=sealed; b=2"), ("Cookie", "__Secure-tollgate-spa=again")];
    let mut client = gateway.connect().await;
    let early = client.get("/", &fields).await;
    assert_eq!((early.status, early.header("set-cookie")), (103, None));
    let answer = client.answer().await;
    assert_eq!(upstream.only().header("cookie"), Some("a=1; b=2"));
    assert_eq!(answer.all("set-cookie"), ["theirs=1"]);
    assert_eq!((answer.header("x-hop"), answer.header("keep-alive")), (None, None));
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let counted = metrics.lines().find(|line| line.starts_with("tollgate_planted_cookies_total{"));
    assert!(counted.is_some_and(|line| line.ends_with(" 2")), "{metrics}");
}
