//! A stop loses no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use tokio::net::TcpStream;

use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::tls::Http2;
use crate::support::upstream::{PAUSE, Received, Upstream};
use crate::support::{eventually, within};

#[tokio::test]
async fn requests_in_flight_end_well_and_idle_connections_close() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut idle = gateway.connect().await;
    assert_eq!(idle.get("/public/x", &[]).await.status, 200);
    let mut busy = gateway.connect().await;
    busy.send(request("GET", "/public/hold", &[], b"")).await;
    eventually("the request at the upstream", || upstream.received().len() == 2).await;

    let (public, log) = (gateway.public, gateway.log.clone());
    let stopping = tokio::spawn(gateway.app.stop(Duration::ZERO));
    assert!(idle.is_closed().await);
    within("a closed listener", async { while TcpStream::connect(public).await.is_ok() {} }).await;
    assert!(!stopping.is_finished(), "it waits for the request");
    upstream.release(1);
    let answer = busy.answer().await;
    assert_eq!(answer.status, 200);
    within("the stop", stopping).await.unwrap();
    assert_eq!(log.lines().len(), 2, "every line was written before the stop ended");
}

/// Whatever they are, and whoever's.
#[tokio::test]
async fn what_is_under_way_at_the_end_of_the_drain_is_cut_off() {
    let feed = |_: &_| [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", PAUSE].concat();
    let upstream = Upstream::answering(Arc::new(feed)).await;
    let to = upstream.url();
    let routes =
        format!("routes: [{{ path: /public/*, to: \"{to}\", public: true }}, {{ path: /*, to: \"{to}\" }}]");
    let gateway =
        Gateway::adjusted(&routes, |settings| settings.patience.drain = Duration::from_secs(1)).await;
    let bearer = gateway.bearer("alice", "");
    let (mut client, mut asking) = (gateway.connect().await, gateway.connect().await);
    client.send(request("GET", "/public/feed", &[], b"")).await;
    client.until(b"1\r\na\r\n").await;
    asking.send(request("GET", "/hold", &[("Authorization", &bearer)], b"")).await;
    let mut other = Http2::clear_text(gateway.public).await;
    let get = |path| Request::get(format!("http://{HOST}{path}")).header("authorization", &bearer);
    let mut get = |path| other.sender.send_request(get(path).body(()).unwrap(), true).unwrap().0;
    let (feed, held) = (get("/feed"), get("/hold"));
    let mut feed = within("an answer", feed).await.unwrap().into_body();
    assert_eq!(within("a piece", feed.data()).await.unwrap().unwrap(), "a");
    eventually("all at the upstream", || upstream.received().len() == 4).await;

    let log = gateway.log.clone();
    let stopping = tokio::spawn(gateway.app.stop(Duration::ZERO));
    within("the ends", async { (client.rest().await, asking.rest().await) }).await;
    assert!(within("the end of a feed", feed.data()).await.is_none_or(|piece| piece.is_err()));
    within("the end of a question", held).await.unwrap_err();
    within("the end of a connection", other.ended()).await;
    within("the stop", stopping).await.unwrap();
    let lines = log.lines();
    let lines: Vec<_> = lines.iter().map(|line| (line["path"].as_str(), line["outcome"].as_str())).collect();
    for path in ["/public/feed", "/hold", "/feed"] {
        assert!(lines.contains(&(Some(path), Some("ended_drain_over"))), "{lines:?}");
    }
}

/// The authorization server says nothing.
#[tokio::test]
async fn a_token_request_that_is_cut_off_is_logged_under_its_own_name_and_address() {
    let answer = |asked: &Received| match asked.path() {
        "/token" => PAUSE.to_vec(),
        _ => crate::csrf::authorization_server(asked),
    };
    let server = Upstream::answering(Arc::new(answer)).await;
    let rest = format!(
        "  fake: {{ url: \"{}\", audience: \"https://api.example.com\" }}
trusted_proxies: 127.0.0.1
clients: {{ phone: {{ mode: native, issuer: fake }} }}
routes: [{{ path: /*, to: \"http://127.0.0.1:9\" }}]",
        server.url()
    );
    let gateway = Gateway::adjusted(&rest, |settings| settings.patience.drain = Duration::from_secs(1)).await;
    let fields = [
        ("X-Request-Id", "one-that-hangs"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let mut client = gateway.connect().await;
    let body = b"grant_type=refresh_token&client_id=phone&refresh_token=x";
    client.send(request("POST", "/oauth/token", &fields, body)).await;
    let is_asked = || server.received().iter().any(|asked| asked.path() == "/token");
    eventually("the question at the authorization server", is_asked).await;

    let log = gateway.log.clone();
    within("the stop", gateway.app.stop(Duration::ZERO)).await;
    within("the end", client.rest()).await;
    let lines = log.lines();
    let told = |name: &str| lines[0][name].as_str().map(str::to_owned);
    assert_eq!(told("outcome").as_deref(), Some("ended_drain_over"), "{lines:?}");
    assert_eq!(
        (told("path").as_deref(), told("request_id").as_deref(), told("address").as_deref()),
        (Some("/oauth/token"), Some("one-that-hangs"), Some("192.0.2.7"))
    );
}

#[tokio::test]
async fn readiness_fails_before_the_listener_closes() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (public, admin) = (gateway.public, gateway.admin);
    let mut busy = gateway.connect().await;
    busy.send(request("GET", "/public/hold", &[], b"")).await;
    eventually("the request at the upstream", || upstream.received().len() == 1).await;
    let stopping = tokio::spawn(gateway.app.stop(Duration::from_secs(3)));
    within("a failing readiness", async {
        loop {
            let mut probe = Client::connect(admin).await;
            probe.send("GET /readyz HTTP/1.1\r\nHost: probe\r\n\r\n").await;
            let answer = probe.answer().await;
            if answer.status == 503 {
                assert_eq!(answer.json()["because"], "draining");
                return;
            }
        }
    })
    .await;
    let answer = Client::connect(public).await.get("/public/x", &[]).await;
    assert_eq!(answer.status, 200, "still served");
    assert!(!answer.keeps_alive(), "and told to go elsewhere next");
    upstream.release(1);
    assert_eq!(busy.answer().await.status, 200);
    within("the stop", stopping).await.unwrap();
}

/// Clients that connect, ask and reconnect as fast as they can; the stop comes in their midst. A
/// connection that was made is answered; a refused one was never a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_request() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let public = gateway.public;
    let (answered, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let (answered, lost, over) = (answered.clone(), lost.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let Ok(stream) = TcpStream::connect(public).await else { return };
                    let mut client = Client::over(stream);
                    loop {
                        let sent = client.try_send(request("GET", "/public/x", &[], b"")).await;
                        let answer = if sent { client.answer_to("GET").await } else { None };
                        match answer {
                            Some(answer) if answer.status == 200 => {
                                answered.fetch_add(1, Ordering::Relaxed);
                                // Half of them use each connection once.
                                if number % 2 == 0 || !answer.keeps_alive() {
                                    break;
                                }
                            }
                            _ => {
                                lost.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                }
            })
        })
        .collect();
    eventually("load", || answered.load(Ordering::Relaxed) > 200).await;
    within("the stop", gateway.app.stop(Duration::from_millis(200))).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        within("a client", client).await.unwrap();
    }
    assert_eq!(lost.load(Ordering::Relaxed), 0, "of {}", answered.load(Ordering::Relaxed));
}

#[tokio::test]
async fn many_gateways_live_in_one_process_and_free_their_ports() {
    let upstream = Upstream::start().await;
    for _ in 0..3 {
        let gateway = Gateway::start(&upstream).await;
        let (public, admin) = (gateway.public, gateway.admin);
        assert_eq!(gateway.connect().await.get("/public/x", &[]).await.status, 200);
        within("the stop", gateway.app.stop(Duration::ZERO)).await;
        assert!(TcpStream::connect(public).await.is_err());
        assert!(TcpStream::connect(admin).await.is_err());
    }
}
