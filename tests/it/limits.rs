//! What one address may have.

use crate::support::client::{Client, HOST};
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::until;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn an_address_that_asks_too_often_hears_when_to_come_back_and_others_are_served() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "trusted_proxies: 127.0.0.1\nlimits: {{ requests_per_address: 5/h }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        upstream.url()
    ))
    .await;
    let mut client = gateway.connect().await;
    for round in 1..=8 {
        let answer = client.get("/x", &[("X-Forwarded-For", "192.0.2.1")]).await;
        assert_eq!(answer.status, if round <= 5 { 200 } else { 429 }, "{round}");
        assert_eq!(answer.header("retry-after"), (round > 5).then_some("3600"));
        assert!(answer.keeps_alive());
    }
    // One network of IPv6 is one client; another address has its own.
    for (address, status) in [
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 200),
        ("2001:db8::4", 200),
        ("2001:db8::5", 200),
        ("2001:db8::6", 429),
        ("2001:db8:0:1::6", 200),
    ] {
        assert_eq!(client.get("/x", &[("X-Forwarded-For", address)]).await.status, status, "{address}");
    }
    let body = b"grant_type=refresh_token&client_id=x";
    let fields = [("X-Forwarded-For", "192.0.2.1"), ("Content-Type", "application/x-www-form-urlencoded")];
    client.send(crate::support::client::request("POST", "/oauth/token", &fields, body)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (429, Some("temporarily_unavailable")));
    assert_eq!(upstream.received().len(), 5 + 1 + 5 + 1);
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "limits: {{ connections_per_address: 2 }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        upstream.url()
    ))
    .await;
    let mut one = gateway.connect().await;
    let mut two = gateway.connect().await;
    assert_eq!((one.get("/", &[]).await.status, two.get("/", &[]).await.status), (200, 200));
    assert!(gateway.connect().await.is_closed().await, "a third is closed unanswered");
    drop(one);
    until("a place to be free again", async || {
        let mut client = Client::connect(gateway.public).await;
        client.try_send("GET / HTTP/1.1\r\nHost: gate.localhost\r\n\r\n").await;
        client.answer_to("GET").await.is_some_and(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(two.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn many_requests_on_one_connection_need_room_too() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "limits: {{ connections: 2 }}\nroutes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        upstream.url()
    ))
    .await;
    let mut client = Http2::clear_text(gateway.public).await;
    let get = || http::Request::get(format!("http://{HOST}/hold")).body(()).unwrap();
    let held = [
        client.sender.send_request(get(), true).unwrap().0,
        client.sender.send_request(get(), true).unwrap().0,
    ];
    until("both to be held", async || upstream.received().len() == 2).await;
    let refused = client.ask(get(), &[]).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("2")));
    assert_eq!(gateway.admin("/livez").await.status, 200);
    upstream.release(2);
    for answer in held {
        assert_eq!(crate::support::tls::read(answer).await.unwrap().status, 200);
    }
    assert_eq!(
        client
            .ask(http::Request::get(format!("http://{HOST}/x")).body(()).unwrap(), &[])
            .await
            .unwrap()
            .status,
        200
    );
}
