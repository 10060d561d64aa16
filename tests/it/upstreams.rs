//! The servers behind the gateway: how they are spoken with, how requests are spread over them, and what
//! becomes of a request when one of them fails.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::streams::HANDSHAKE;
use crate::support::address::Address;
use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::http2_upstream::{Http2Upstream, Tls};
use crate::support::operator::Operator;
use crate::support::tls::{Authority, Http2};
use crate::support::upstream::{PAUSE, Received, Upstream, plain};
use crate::support::{PATIENCE, eventually, until, within};
use http::{Request, Version};
use tollgate::config::settings::Settings;

/// An upstream `api` of these servers, and a public route to it.
fn api(servers: &[&str], more: &str) -> String {
    let servers = servers.join("\", \"");
    format!(
        "upstreams: {{ api: {{ url: [\"{servers}\"]{more} }} }}\nroutes: [{{ path: /*, to: api, public: true }}]\n"
    )
}

/// What the gateway was started with, but for this.
pub fn reload(gateway: &Gateway, rest: &str) {
    gateway.app.reload(settings(gateway, rest)).unwrap();
}

fn settings(gateway: &Gateway, rest: &str) -> Settings {
    let text = gateway.text.replace(&gateway.rest, rest);
    let read = |path: &Path| std::fs::read(path);
    let loaded = tollgate::config::parse(&text, gateway.folder(), &|_| None, &read);
    loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}")).settings
}

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8(gateway.admin("/metrics").await.body).unwrap()
}

async fn status(gateway: &Gateway, path: &str) -> u16 {
    gateway.connect().await.get(path, &[]).await.status
}

#[tokio::test]
async fn what_is_sent_may_differ_from_what_was_judged() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&format!(
        "upstreams: {{ api: {{ url: \"{}\", host: client }} }}
routes:
  - {{ path: \"/users/{{id}}/*\", to: api, require: {{ claims: {{ sub: \"{{id}}\" }} }}, strip_prefix: \"/users/{{id}}\" }}
  - {{ path: \"/old/{{id}}/*\", to: \"{}\", public: true, rewrite: \"/v2/{{id}}/items/*\" }}
",
        upstream.url(),
        upstream.url()
    ))
    .await;
    let bearer = gateway.bearer("alice", "");
    let mut client = gateway.connect().await;
    let sent = |at: usize| {
        let received = upstream.received()[at].clone();
        (received.path().to_owned(), received.header("host").unwrap().to_owned())
    };
    assert_eq!(client.get("/users/alice/x%2C%7e/?q=%41", &[("Authorization", &bearer)]).await.status, 200);
    assert_eq!(sent(0), ("/x%2C~/?q=%41".to_owned(), HOST.to_owned()));
    assert_eq!(client.get("/users/alice", &[("Authorization", &bearer)]).await.status, 200);
    assert_eq!(sent(1).0, "/");
    let foreign = client.get("/users/bob/x", &[("Authorization", &bearer)]).await;
    assert_eq!(foreign.status, 403, "the whole path was judged");
    assert_eq!(client.get("/old/7/x?y", &[]).await.status, 200);
    assert_eq!(sent(2), ("/v2/7/items/x?y".to_owned(), upstream.address.to_string()));
    assert_eq!(client.get("/old/7/..%2fx", &[]).await.status, 400);
    assert_eq!(upstream.received().len(), 3);
}

/// What `host: client` hands on is a host, whatever an attacker would like the service to read there.
#[tokio::test]
async fn what_is_no_host_reaches_no_upstream_under_a_wildcard() {
    let (upstream, newer) = (Upstream::start().await, Http2Upstream::start(None).await);
    let gateway = Gateway::with(&format!(
        "upstreams:
  old: {{ url: \"{}\", host: client }}
  new: {{ url: \"h2c://{}\", host: client }}
routes:
  - {{ path: /old/*, to: old, public: true, host: \"*.other.test\" }}
  - {{ path: /new/*, to: new, public: true, host: \"*.other.test\" }}
",
        upstream.url(),
        newer.address
    ))
    .await;
    let ask = async |path: &str, host: &str| {
        let mut client = gateway.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        client.answer().await.status
    };
    let long = format!("{}.other.test", "a".repeat(30_000));
    for (host, status) in [
        ("evil.example/x.other.test", 400),
        ("evil.example?x.other.test", 400),
        ("evil.example#x.other.test", 400),
        ("evil.example\\x.other.test", 400),
        ("evil.example x.other.test", 400),
        ("u@evil.example:1@x.other.test", 400),
        ("<x>.other.test", 400),
        ("a..other.test", 400),
        (".other.test", 400),
        ("[::1].other.test", 400),
        ("a.other.test:70000", 400),
        (&long, 400),
        ("a.other.test.", 421),
        ("other.test", 421),
    ] {
        for path in ["/old/x", "/new/x"] {
            assert_eq!(ask(path, host).await, status, "{path} {host}");
        }
    }
    assert!(upstream.received().is_empty() && newer.noted().is_empty());
    for host in ["a.other.test", "a_1.b-2.other.test:81", "A.other.test:"] {
        assert_eq!((ask("/old/x", host).await, ask("/new/x", host).await), (200, 200), "{host}");
    }
    assert_eq!(upstream.received()[1].header("host"), Some("a_1.b-2.other.test:81"));
}

#[tokio::test]
async fn a_route_has_its_own_deadlines_and_body_limit() {
    let upstream = Upstream::start().await;
    let url = upstream.url();
    let gateway = Gateway::with(&format!(
        "limits: {{ body: 100B }}
routes:
  - {{ path: /*, to: \"{url}\", public: true }}
  - {{ path: /quick/*, to: \"{url}\", public: true, timeouts: {{ read: 50ms }} }}
  - {{ path: /large/*, to: \"{url}\", public: true, body_limit: 1KiB }}
"
    ))
    .await;
    let mut client = gateway.connect().await;
    let begun = Instant::now();
    assert_eq!(client.get("/quick/hold", &[]).await.status, 504);
    assert!(begun.elapsed() < PATIENCE, "long before the upstream's own deadline");
    for (path, length, status) in
        [("/x", 100, 200), ("/x", 101, 413), ("/large/x", 1024, 200), ("/large/x", 1025, 413)]
    {
        let mut client = gateway.connect().await;
        client.send(request("POST", path, &[], &vec![b'a'; length])).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{path} {length}");
        if status == 413 {
            let bound = if path == "/x" { "limits.body." } else { "the body_limit of its route." };
            assert!(answer.json()["detail"].as_str().unwrap().ends_with(bound), "{path}: {answer:?}");
        }
        let mut client = gateway.connect().await;
        let head = request("POST", path, &[("Transfer-Encoding", "chunked")], b"");
        let chunk = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "a".repeat(length));
        client.send([&head, chunk.as_bytes()].concat()).await;
        assert_eq!(client.answer().await.status, status, "{path} {length} in chunks");
    }
}

/// An address whose backlog is full, so that whoever connects hears nothing; and what keeps it so.
async fn deaf() -> (String, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..16 {
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(connected) => held.push(connected.unwrap()),
            Err(_) => return (format!("http://{address}"), (listener, held)),
        }
    }
    panic!("a backlog of one took 16 connections");
}

/// Takes connections and reads nothing.
async fn unreading() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn each_phase_towards_an_upstream_has_its_deadline() {
    let ((deaf, _held), unreading) = (deaf().await, unreading().await);
    let deadlines = |connect, read, write| {
        format!("public: true, timeouts: {{ connect: {connect}, read: {read}, write: {write} }}")
    };
    let rest = format!(
        "limits: {{ body: 1GiB }}
routes:
  - {{ path: /connect, to: \"{deaf}\", {} }}
  - {{ path: /read, to: \"{unreading}\", {} }}
  - {{ path: /write, to: \"{unreading}\", {} }}
",
        deadlines("300ms", "1m", "1m"),
        deadlines("1m", "300ms", "1m"),
        // What was not taken in time may have been answered early, which is waited for.
        deadlines("1m", "300ms", "300ms"),
    );
    // A client whose body stopped has less time than that.
    let gateway =
        Gateway::adjusted(&rest, |settings| settings.patience.stream_stopped = Duration::from_millis(400))
            .await;
    for (path, length) in [("/connect", 0), ("/read", 0), ("/write", 64 << 20)] {
        let begun = Instant::now();
        let (mut reading, mut writing) = TcpStream::connect(gateway.public).await.unwrap().into_split();
        let head = request("PUT", path, &[("Content-Length", &length.to_string())], b"");
        let sending = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let _ = writing.write_all(&head).await;
            let _ = writing.write_all(&vec![b'x'; length]).await;
            writing
        });
        let mut answer = [0; 12];
        within("an answer", tokio::io::AsyncReadExt::read_exact(&mut reading, &mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 504", "{path}");
        assert!(begun.elapsed() < PATIENCE, "{path}: long before the other deadlines");
        sending.abort();
    }
    let mut client = Http2::clear_text(gateway.public).await;
    let put = Request::put(format!("http://{HOST}/write")).body(()).unwrap();
    let (answer, mut body) = client.sender.send_request(put, false).unwrap();
    body.send_data(vec![b'x'; 64 << 20].into(), true).unwrap();
    assert_eq!(within("an answer", answer).await.unwrap().status(), 504);
    let lines = gateway.logged(4).await;
    assert_eq!(lines[3]["outcome"], "upstream_timeout");
}

#[tokio::test]
async fn tls_is_checked_against_the_own_authority_and_a_certificate_is_shown() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let identity = authority.sign(&["api.internal"]);
    let tls = Tls { identity: &identity, protocols: &["h2", "http/1.1"], clients: Some(&clients) };
    let upstream = Http2Upstream::start(Some(tls)).await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.path().join("other.pem"), Authority::new().pem()).unwrap();
    clients.sign(&["gate"]).write(folder.path(), "gate");
    let url = format!("https://{}", upstream.address);
    let rest = |ca: &str, name: &str, shown: &str| {
        api(&[&url], &format!(", tls: {{ ca: {at}/{ca}.pem, server_name: {name}{shown} }}"))
    };
    let shown = format!(", certificate: {at}/gate.pem, key: {at}/gate.key");
    let good = rest("ca", "api.internal", &shown);
    let gateway = Gateway::with(&good).await;
    assert_eq!(status(&gateway, "/x").await, 200);
    let noted = upstream.noted().remove(0);
    assert_eq!((noted.version, noted.certificate), (Version::HTTP_2, true));
    assert_eq!((noted.name.as_deref(), noted.host), (Some("api.internal"), upstream.address.to_string()));
    // The connection is there, and still it is not used by a configuration that would not have made it.
    for bad in [
        rest("other", "api.internal", &shown),
        rest("ca", "elsewhere", &shown),
        rest("ca", "api.internal", ""),
    ] {
        reload(&gateway, &bad);
        assert_eq!(status(&gateway, "/x").await, 502, "{bad}");
    }
    reload(&gateway, &good);
    assert_eq!(status(&gateway, "/x").await, 200);
    assert_eq!(upstream.noted()[1].connection, 0, "the first connection was kept");
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered_and_http_1_elsewhere() {
    let authority = Authority::new();
    let identity = authority.sign(&["localhost"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let tls = format!(", tls: {{ ca: {}/ca.pem, server_name: localhost }}", folder.path().display());
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"][..], Version::HTTP_11),
        (&[][..], Version::HTTP_11),
    ] {
        let upstream =
            Http2Upstream::start(Some(Tls { identity: &identity, protocols, clients: None })).await;
        let gateway = Gateway::with(&api(&[&format!("https://{}", upstream.address)], &tls)).await;
        for _ in 0..3 {
            assert_eq!(status(&gateway, "/x?y=1").await, 200, "{protocols:?}");
        }
        let noted = upstream.noted();
        assert!(noted.iter().all(|one| one.version == version && one.line == "GET /x?y=1"), "{noted:?}");
        assert!(noted.iter().all(|one| one.connection == 0), "one connection serves all: {noted:?}");
        // What wants to become a WebSocket goes over HTTP/1.1, where it can.
        assert_eq!(gateway.connect().await.get("/socket", &HANDSHAKE).await.status, 200);
        let last = upstream.noted().pop().unwrap();
        assert_eq!((last.line.as_str(), last.version), ("GET /socket", Version::HTTP_11), "{protocols:?}");
        // And what a client of HTTP/1.0 asks for, who could not read an answer without a length.
        let mut old = gateway.connect().await;
        old.send(format!("GET /old HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!(old.answer().await.status, 200);
        let last = upstream.noted().pop().unwrap();
        assert_eq!((last.line.as_str(), last.version), ("GET /old", Version::HTTP_11), "{protocols:?}");
    }
}

#[tokio::test]
async fn h2c_carries_many_requests_on_one_connection() {
    let upstream = Http2Upstream::start(None).await;
    let gateway = Gateway::with(&api(&[&format!("h2c://{}", upstream.address)], "")).await;
    assert_eq!(status(&gateway, "/first").await, 200);
    let mut held = Vec::new();
    for at in 0..100 {
        let mut client = gateway.connect().await;
        client.send(request("POST", "/hold", &[], b"body")).await;
        held.push(client);
        eventually("the request to arrive", || upstream.noted().len() == at + 2).await;
    }
    upstream.release(100);
    for mut client in held {
        assert_eq!(client.answer().await.status, 200);
    }
    let noted = upstream.noted();
    assert!(noted.iter().all(|one| one.connection == 0), "{noted:?}");
    assert!(noted.iter().skip(1).all(|one| one.body == b"body" && one.host == upstream.address.to_string()));
}

#[tokio::test]
async fn an_http_2_server_that_restarts_costs_no_get() {
    let upstream = Http2Upstream::start(None).await;
    let address = upstream.address;
    let gateway = Gateway::with(&api(&[&format!("h2c://{address}")], "")).await;
    assert_eq!(status(&gateway, "/x").await, 200);
    for _ in 0..5 {
        upstream.hang_up();
        assert_eq!(status(&gateway, "/x").await, 200);
    }
}

#[tokio::test]
async fn requests_are_spread_over_the_servers() {
    let servers = [Upstream::start().await, Upstream::start().await, Upstream::start().await];
    let urls: Vec<String> = servers.iter().map(Upstream::url).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let counts = || servers.each_ref().map(|server| server.received().len());
    let gateway = Gateway::with(&api(&urls, "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..30 {
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    assert_eq!(counts(), [10, 10, 10], "each in turn");
    for received in servers.iter().flat_map(|server| server.received()) {
        assert!(urls.iter().any(|url| url.ends_with(received.header("host").unwrap())));
    }
    reload(&gateway, &api(&urls, ", balance: random"));
    for _ in 0..60 {
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    assert!(counts().iter().all(|count| *count > 10), "{:?}", counts());

    let routes = "routes: [{ path: /*, to: api }]\n";
    let consistent = api(&urls, ", balance: { consistent: sub }");
    let consistent = format!("{}\n{routes}", consistent.lines().next().unwrap());
    reload(&gateway, &consistent);
    let mut used = HashSet::new();
    // That none of so many goes to one of the servers happens once in ten milliards.
    for subject in 0..60 {
        let bearer = gateway.bearer(&format!("subject {subject}"), "");
        let before = counts();
        for _ in 0..3 {
            assert_eq!(client.get("/x", &[("Authorization", &bearer)]).await.status, 200);
        }
        let after = counts();
        let same: Vec<usize> = (0..3).filter(|at| after[*at] - before[*at] == 3).collect();
        assert_eq!(same.len(), 1, "one subject, one server: {before:?} {after:?}");
        used.insert(same[0]);
    }
    assert_eq!(used.len(), 3, "many subjects, all servers");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_costs_no_request_whatever_its_method() {
    let begun = Instant::now();
    let (good, bad) = (Upstream::start().await, Address::reserve());
    let gateway = Gateway::with(&api(&[&bad.url(), &good.url()], "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..10 {
        client.send(request("POST", "/x", &[], b"body")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert!(good.received().iter().all(|one| one.raw_body == b"body"));
    assert_eq!(good.received().len(), 10);
    let told = metrics(&gateway).await;
    let health =
        |server: SocketAddr| format!("tollgate_upstream_healthy{{server=\"{server}\",upstream=\"api\"}}");
    assert!(told.contains(&format!("{} 0", health(bad.address))), "{told}");
    assert!(told.contains(&format!("{} 1", health(good.address))), "{told}");
    let failed: u64 = told
        .lines()
        .find_map(|line| {
            line.contains("connect_failed").then(|| line.rsplit(' ').next().unwrap().parse().unwrap())
        })
        .unwrap();
    assert!(failed <= 1 + begun.elapsed().as_secs(), "it was set aside after the first: {failed}");
    let seen = Operator::of(&gateway).get("/status").await.json()["servers"].clone();
    let seen: Vec<(&str, bool)> = seen
        .as_array()
        .unwrap()
        .iter()
        .map(|server| (server["server"].as_str().unwrap(), server["healthy"].as_bool().unwrap()))
        .collect();
    assert_eq!(seen.len(), 2);
    assert!(seen.contains(&(bad.authority().as_str(), false)), "{seen:?}");
    assert!(seen.contains(&(good.address.to_string().as_str(), true)), "{seen:?}");
}

#[tokio::test]
async fn the_only_server_is_never_set_aside() {
    let address = Address::reserve();
    let gateway = Gateway::with(&api(&[&address.url()], "")).await;
    let healthy = async |value: &str| {
        let told = metrics(&gateway).await;
        told.lines().any(|line| line.contains("upstream_healthy{") && line.ends_with(value))
    };
    assert!(healthy(" 1").await);
    for _ in 0..3 {
        assert_eq!(status(&gateway, "/x").await, 502);
    }
    assert!(healthy(" 0").await);
    let _upstream = Upstream::on(address.listen(), Arc::new(plain));
    assert_eq!(status(&gateway, "/x").await, 200, "at once");
    assert!(healthy(" 1").await);
}

#[tokio::test]
async fn servers_may_have_names_with_several_addresses() {
    // `localhost` may be ::1 first, where nobody listens.
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let urls = [&one, &two].map(|server| format!("http://localhost:{}", server.address.port()));
    // And one may have none.
    let gateway = Gateway::with(&api(&[&urls[0], "http://no-such-host.invalid:81", &urls[1]], "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..10 {
        client.send(request("POST", "/x", &[], b"body")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert!(one.received().iter().all(|received| received.header("host") == urls[0].strip_prefix("http://")));
    until("both servers to be used", async || {
        assert_eq!(status(&gateway, "/x").await, 200);
        !one.received().is_empty() && !two.received().is_empty()
    })
    .await;
}

#[tokio::test]
async fn when_no_server_can_be_reached_the_answer_is_502_and_the_first_that_returns_is_used() {
    let (one, two) = (Address::reserve(), Address::reserve());
    let gateway = Gateway::with(&api(&[&one.url(), &two.url()], "")).await;
    for _ in 0..5 {
        assert_eq!(status(&gateway, "/x").await, 502);
    }
    let upstream = Upstream::on(two.listen(), Arc::new(plain));
    until("the server to be used again", async || status(&gateway, "/x").await == 200).await;
    assert!(!upstream.received().is_empty());
}

#[tokio::test]
async fn of_several_that_are_set_aside_any_that_is_back_is_used() {
    let servers = [Address::reserve(), Address::reserve(), Address::reserve()];
    let urls = servers.each_ref().map(Address::url);
    let gateway = Gateway::with(&api(&urls.each_ref().map(String::as_str), "")).await;
    // Each was tried again after a second, and is set aside for two by then.
    let begun = Instant::now();
    until("all to be set aside for longer", async || {
        assert_eq!(status(&gateway, "/x").await, 502);
        begun.elapsed() > Duration::from_millis(1_500)
    })
    .await;
    let _upstream = Upstream::on(servers[2].listen(), Arc::new(plain));
    // Two of three are asked by each request.
    let answers = [status(&gateway, "/x").await, status(&gateway, "/x").await, status(&gateway, "/x").await];
    assert!(answers.contains(&200), "{answers:?}");
    for _ in 0..5 {
        assert_eq!(status(&gateway, "/x").await, 200, "and nobody else is asked from then on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_under_load_costs_no_get_and_is_used_again_when_it_is_back() {
    let (address, two) = (Address::reserve(), Upstream::start().await);
    let one = Upstream::on(address.listen(), Arc::new(plain));
    let gateway = Gateway::with(&api(&[&one.url(), &two.url()], "")).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, answered, address) = (stop.clone(), answered.clone(), gateway.public);
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                while !stop.load(Ordering::Acquire) {
                    assert_eq!(client.get("/x", &[]).await.status, 200);
                    answered.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    let more = async |count: usize| {
        let before = answered.load(Ordering::Acquire);
        eventually("more answers", || answered.load(Ordering::Acquire) >= before + count).await;
    };
    more(50).await;
    drop(one);
    more(200).await;
    let one = Upstream::on(address.listen(), Arc::new(plain));
    eventually("the server that is back to be used", || one.received().len() > 20).await;
    stop.store(true, Ordering::Release);
    for client in load {
        within("the load", client).await.unwrap();
    }
}

/// Breaks every connection at its second request, without an answer.
async fn breaking_at_the_second() -> Upstream {
    let seen = Mutex::new(HashSet::new());
    let answer = move |request: &Received| {
        if seen.lock().unwrap().insert(request.connection) { plain(request) } else { Vec::new() }
    };
    Upstream::answering(Arc::new(answer)).await
}

#[tokio::test]
async fn a_stale_connection_costs_no_get_and_a_post_is_sent_once() {
    let upstream = breaking_at_the_second().await;
    let gateway = Gateway::with(&api(&[&upstream.url()], "")).await;
    let mut client = gateway.connect().await;
    for _ in 0..5 {
        assert_eq!(client.get("/get", &[]).await.status, 200);
    }
    let before = upstream.received().len();
    client.send(request("POST", "/post", &[], b"once")).await;
    assert_eq!(client.answer().await.status, 502);
    let posts: Vec<Received> = upstream.received().split_off(before);
    assert_eq!(posts.len(), 1, "{posts:#?}");
    assert_eq!(posts[0].raw_body, b"once");
}

#[tokio::test]
async fn what_was_sent_is_sent_again_only_where_that_is_safe() {
    let upstream = Upstream::answering(Arc::new(|_: &Received| Vec::new())).await;
    let cases = [
        ("", "GET", &b""[..], 2),
        ("", "PUT", b"whole", 2),
        ("", "DELETE", b"", 2),
        ("", "POST", b"once", 1),
        ("", "PATCH", b"once", 1),
        (", retries: 0", "GET", b"", 1),
        (", retries: 3", "GET", b"", 4),
        (", retries: 3", "POST", b"once", 1),
    ];
    for (retries, method, body, tries) in cases {
        let gateway = Gateway::with(&api(&[&upstream.url()], retries)).await;
        let before = upstream.received().len();
        let mut client = gateway.connect().await;
        client.send(request(method, "/x", &[], body)).await;
        assert_eq!(client.answer().await.status, 502, "{retries} {method}");
        let received = upstream.received().split_off(before);
        assert_eq!(received.len(), tries, "{retries} {method}");
        assert!(received.iter().all(|one| one.raw_body == body), "{received:#?}");
    }
}

#[tokio::test]
async fn a_body_is_sent_again_whole_and_with_one_end_or_not_at_all() {
    let upstream = breaking_at_the_second().await;
    let gateway = Gateway::with(&api(&[&upstream.url()], "")).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/first", &[]).await.status, 200);
    let head = request("PUT", "/x", &[("Transfer-Encoding", "chunked")], b"");
    client.send([&head, &b"3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n"[..]].concat()).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.get("/after", &[]).await.status, 200, "the connection is in step");
    let received = upstream.received();
    let puts: Vec<&Received> = received.iter().filter(|one| one.path() == "/x").collect();
    assert_eq!(puts.len(), 2, "{received:#?}");
    for put in puts {
        let text = String::from_utf8(put.raw_body.clone()).unwrap();
        let data: String = text.split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(data, "whole", "{text}");
        assert_eq!(text.matches("0\r\n\r\n").count(), 1, "{text}");
    }

    // What is larger than what is kept of it is sent once.
    let upstream = Upstream::answering(Arc::new(|_: &Received| Vec::new())).await;
    let gateway = Gateway::with(&api(&[&upstream.url()], "")).await;
    let mut client = gateway.connect().await;
    client.send(request("PUT", "/x", &[], &vec![b'a'; 100 << 10])).await;
    assert_eq!(client.answer().await.status, 502);
    assert_eq!(upstream.only().raw_body.len(), 100 << 10);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_never_begun_again() {
    let broken = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf".to_vec();
    let upstream = Upstream::answering(Arc::new(move |_: &Received| broken.clone())).await;
    let gateway = Gateway::with(&api(&[&upstream.url()], ", retries: 3")).await;
    let mut client = gateway.connect().await;
    client.send(request("GET", "/x", &[], b"")).await;
    let seen = client.rest().await;
    assert!(seen.starts_with("HTTP/1.1 200") && seen.ends_with("half"), "{seen}");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn what_was_sent_counts_once_with_what_became_of_it() {
    let upstream = Upstream::answering(Arc::new(|request: &Received| match request.path() {
        "/half" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf".to_vec(),
        "/part" => {
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", PAUSE, b"0\r\n\r\n"]
                .concat()
        }
        "/odd" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: odd\r\nConnection: close\r\n\r\n".to_vec(),
        "/nothing" => Vec::new(),
        _ => plain(request),
    }))
    .await;
    let of_client = |path: &str| {
        format!("upstreams: {{ api: {{ url: \"{}\" }} }}
routes: [{{ path: /*, to: api, public: true }}, {{ path: {path}, to: api, public: true, timeouts: {{ read: 50ms }} }}]
", upstream.url())
    };
    let gateway = Gateway::with(&of_client("/slow/hold")).await;
    let mut expected: HashMap<&str, usize> = HashMap::new();
    for (path, leaves_after, result, times) in [
        ("/x", None, "ok", 1),
        ("/half", None, "failed", 1),
        ("/odd", None, "failed", 1),
        ("/nothing", None, "failed", 2),
        ("/slow/hold", None, "timeout", 1),
        ("/hold", Some(None), "abandoned", 1),
        ("/part", Some(Some("part")), "ok", 1),
    ] {
        let before = upstream.received().len();
        let mut client = gateway.connect().await;
        client.send(request("GET", path, &[("Connection", "close")], b"")).await;
        eventually("the request to arrive", || upstream.received().len() > before).await;
        match leaves_after {
            Some(Some(part)) => client.until(part.as_bytes()).await,
            Some(None) => {}
            None => drop(client.rest().await),
        }
        drop(client);
        *expected.entry(result).or_default() += times;
        let all: usize = expected.values().sum();
        until(path, async || counted(&gateway).await.values().sum::<usize>() == all).await;
        let counted = counted(&gateway).await;
        assert!(expected.iter().all(|(result, count)| counted[*result] == *count), "{path}: {counted:?}");
    }
    // Nothing is counted late.
    assert_eq!(counted(&gateway).await.values().sum::<usize>(), upstream.received().len());
}

/// What became of the requests that were sent to upstreams, and of how many.
async fn counted(gateway: &Gateway) -> HashMap<String, usize> {
    let told = metrics(gateway).await;
    let series =
        told.lines().filter_map(|line| line.strip_prefix("tollgate_upstream_requests_total{result=\""));
    let counts = series.map(|line| {
        let result = line.split_once('"').unwrap().0;
        (result.to_owned(), line.rsplit(' ').next().unwrap().parse().unwrap())
    });
    counts.collect()
}

/// Well while the flag is set.
async fn with_health(well: Arc<AtomicBool>) -> Upstream {
    let answer = move |request: &Received| {
        if request.path() != "/healthz" || well.load(Ordering::Acquire) {
            plain(request)
        } else {
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
    };
    Upstream::answering(Arc::new(answer)).await
}

fn served(upstream: &Upstream) -> usize {
    upstream.received().iter().filter(|one| one.path() != "/healthz").count()
}

#[tokio::test]
async fn a_server_whose_health_check_fails_gets_no_requests_until_it_is_well() {
    let health = [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false))];
    let servers = [with_health(health[0].clone()).await, with_health(health[1].clone()).await];
    let urls = servers.each_ref().map(Upstream::url);
    let checked = |more: &str| {
        api(&[&urls[0], &urls[1]], &format!(", health: {{ path: /healthz, interval: 100ms }}{more}"))
    };
    let gateway = Gateway::with(&checked("")).await;
    let sick = async |count: usize| {
        metrics(&gateway).await.matches("upstream_healthy{").count() == 2
            && metrics(&gateway)
                .await
                .lines()
                .filter(|line| line.contains("upstream_healthy{") && line.ends_with(" 0"))
                .count()
                == count
    };
    until("the sick server to be seen", async || sick(1).await).await;
    let mut client = gateway.connect().await;
    let before = served(&servers[1]);
    for _ in 0..10 {
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    assert_eq!(served(&servers[1]), before);
    assert_eq!(served(&servers[0]), 10);

    // A reload that changes the upstream knows it too, before anybody is asked again.
    reload(&gateway, &checked(", retries: 0"));
    assert!(sick(1).await);
    for _ in 0..10 {
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    assert_eq!(served(&servers[1]), before);

    health[0].store(false, Ordering::Release);
    until("both to be seen sick", async || sick(2).await).await;
    assert_eq!(client.get("/x", &[]).await.status, 502, "no server is well");
    health[1].store(true, Ordering::Release);
    until("the other to be well", async || sick(1).await).await;
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/x", &[]).await.status, 200);
    assert_eq!(served(&servers[1]), before + 1);

    // A reload that is refused changes nothing, not even what is known of servers that it would not ask.
    let mut refused = settings(&gateway, &api(&[&urls[0], &urls[1]], ""));
    Arc::get_mut(&mut refused.issuers[0]).unwrap().ca = Some(b"no certificate".to_vec());
    gateway.app.reload(refused).unwrap_err();
    let before = served(&servers[0]);
    for _ in 0..2 {
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    assert_eq!(served(&servers[0]), before, "it is still known to be sick");

    // Without checks every server counts as well.
    health[1].store(false, Ordering::Release);
    reload(&gateway, &api(&[&urls[0], &urls[1]], ""));
    assert!(sick(0).await);
    let before = servers.each_ref().map(served);
    for _ in 0..10 {
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    assert_eq!(servers.each_ref().map(served), [before[0] + 5, before[1] + 5], "both serve");
}

#[tokio::test]
async fn a_server_that_says_nothing_to_its_health_check_keeps_no_other_from_being_asked() {
    let (silent, health) = (unreading().await, Arc::new(AtomicBool::new(true)));
    let server = with_health(health.clone()).await;
    let check = ", health: { path: /healthz, interval: 100ms, timeout: 1m }";
    let gateway = Gateway::with(&api(&[&silent, &server.url()], check)).await;
    let checks = || server.received().iter().filter(|one| one.path() == "/healthz").count();
    eventually("it to be asked while the other says nothing", || checks() >= 3).await;
    health.store(false, Ordering::Release);
    let is_out = format!("tollgate_upstream_healthy{{server=\"{}\",upstream=\"api\"}} 0", server.address);
    until("it to be out", async || metrics(&gateway).await.contains(&is_out)).await;
}

#[tokio::test]
async fn health_is_asked_for_over_http_2_too() {
    let upstream = Http2Upstream::start(None).await;
    let url = format!("h2c://{}", upstream.address);
    let gateway =
        Gateway::with(&api(&[&url], ", health: { path: \"/healthz?deep=1\", interval: 100ms }")).await;
    let asked = || upstream.noted().iter().filter(|one| one.line == "GET /healthz?deep=1").count();
    eventually("some checks", || asked() >= 4).await;
    assert_eq!(status(&gateway, "/x").await, 200, "it is well");
    assert!(
        metrics(&gateway)
            .await
            .lines()
            .any(|line| line.contains("upstream_healthy{") && line.ends_with(" 1"))
    );
}

#[tokio::test]
async fn a_reload_keeps_connections_and_what_is_known_of_servers() {
    let (one, dead) = (Upstream::start().await, Address::reserve());
    let rest = api(&[&dead.url(), &one.url()], "");
    let gateway = Gateway::with(&rest).await;
    let mut client = gateway.connect().await;
    for _ in 0..4 {
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    let failures = async || {
        let told = metrics(&gateway).await;
        let line = told.lines().find(|line| line.contains("connect_failed")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let (before, begun) = (failures().await, Instant::now());
    for change in
        [rest.clone() + "limits: { body: 1KiB }\n", api(&[&dead.url(), &one.url()], ", host: client")]
    {
        reload(&gateway, &change);
        assert_eq!(client.get("/x", &[]).await.status, 200);
        assert_eq!(client.get("/x", &[]).await.status, 200);
    }
    let since = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(failures().await <= before + 1 + since, "the dead one is still aside");
    assert!(one.received().iter().all(|received| received.connection == 0), "and the connection still used");
    reload(&gateway, &api(&[&one.url()], ""));
    let told = metrics(&gateway).await;
    assert!(!told.contains(&format!("upstream_healthy{{server=\"{}\"", dead.address)), "{told}");
}
