//! Another configuration for a gateway that runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::version::TLS13;
use tollgate::config::settings::{Settings, SubjectInLog};

use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::operator::Operator;
use crate::support::tls::{Authority, Http2, connect};
use crate::support::upstream::Upstream;
use crate::support::{eventually, until, within};

/// What the gateway was started with, with these routes; `change` has the last word.
pub fn settings(gateway: &Gateway, routes: &str, change: impl FnOnce(String) -> String) -> Settings {
    let text = change(gateway.text.replace(&gateway.rest, routes));
    let read = |path: &Path| std::fs::read(path);
    let loaded = tollgate::config::parse(&text, gateway.folder(), &|_| None, &read);
    loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}")).settings
}

fn route(path: &str, upstream: &Upstream) -> String {
    format!("routes: [{{ path: {path}, to: \"{}\", public: true }}]\n", upstream.url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::with(&route("/x/*", &one)).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, answered, address) = (stop.clone(), answered.clone(), gateway.public);
            tokio::spawn(async move {
                let mut client = crate::support::client::Client::connect(address).await;
                while !stop.load(Ordering::Acquire) {
                    client.send(request("POST", "/x/y", &[], b"body")).await;
                    let answer = client.answer().await;
                    assert_eq!(
                        (answer.status, &answer.body[..], answer.keeps_alive()),
                        (200, &b"ok"[..], true)
                    );
                    answered.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    for round in 0..100 {
        let before = answered.load(Ordering::Acquire);
        let upstream = if round % 2 == 0 { &two } else { &one };
        let changed = settings(&gateway, &route("/x/*", upstream), |text| text);
        assert_eq!(gateway.app.reload(changed).unwrap(), Vec::<&str>::new());
        let more = || answered.load(Ordering::Acquire) >= before + 8;
        crate::support::eventually("requests after the reload", more).await;
    }
    stop.store(true, Ordering::Release);
    for client in load {
        within("the load", client).await.unwrap();
    }
    assert!(one.received().len() > 100 && two.received().len() > 100, "both upstreams were used");
}

#[tokio::test]
async fn a_request_keeps_the_configuration_that_it_began_with() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::with(&route("/*", &one)).await;
    let mut held = gateway.connect().await;
    held.send(request("GET", "/hold", &[], b"")).await;
    crate::support::eventually("the request to arrive", || one.received().len() == 1).await;
    gateway.app.reload(settings(&gateway, &route("/other/*", &two), |text| text)).unwrap();
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/x", &[]).await.status, 404, "the new routes count");
    assert_eq!(client.get("/other/x", &[]).await.status, 200);
    one.release(1);
    assert_eq!(held.answer().await.status, 200, "the old request ends as it began");
}

#[tokio::test]
async fn what_is_counted_begins_at_zero_for_whoever_is_configured() {
    let upstream = Upstream::start().await;
    let client = |name: &str| {
        let callback = format!("http://{HOST}/cb");
        format!(
            "clients: {{ {name}: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"{callback}\" }} }}\n"
        )
    };
    let rest = |name: &str| format!("{}{}", client(name), route("/x/*", &upstream));
    let gateway = Gateway::with(&rest("web")).await;
    let metrics = async || String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let fresh = metrics().await;
    let page = include_str!("../../docs/metrics.md");
    let said = page.split("So these begin at 0").nth(1).unwrap().split(". ").next().unwrap();
    let said: Vec<_> = said.split('`').skip(1).step_by(2).collect();
    assert!(said.len() > 5, "{said:?}");
    for series in said.iter().copied() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let begins = |line: &str| {
            line.starts_with(&format!("tollgate_{name}{{"))
                && line.contains(labels.trim_end_matches('}'))
                && line.ends_with(" 0")
        };
        assert!(fresh.lines().any(begins), "{series} is not at 0 in:\n{fresh}");
    }
    // What a label may say stands in the series' row, and why a request was refused in a table of its own.
    let mut told = 0;
    for line in fresh.lines().filter(|line| line.ends_with(" 0")) {
        let Some((name, labels)) = line.trim_start_matches("tollgate_").split_once('{') else { continue };
        if !said.iter().any(|series| series.split('{').next() == Some(name)) {
            continue;
        }
        let row = page.lines().find(|row| row.starts_with(&format!("| `{name}` |"))).unwrap();
        for (label, value) in labels.split("\",").filter_map(|pair| pair.split_once("=\"")) {
            let value = value.split('"').next().unwrap();
            let place = match label {
                "client" | "issuer" | "route" | "upstream" => continue,
                "reason" if name == "denials_total" => page.split("<!-- reasons -->").nth(1).unwrap(),
                _ => row,
            };
            assert!(place.contains(&format!("`{value}`")), "{name}: {label} {value} is not in\n{place}");
            told += 1;
        }
    }
    assert!(told > 15, "{told}");
    let stolen =
        |name: &str| format!("tollgate_exchanges_total{{client=\"{name}\",outcome=\"reuse_detected\"}} 0\n");
    assert!(fresh.contains(&stolen("web")), "{fresh}");
    assert!(
        fresh.contains("tollgate_denials_total{reason=\"no_room_for_proofs\",route=\"/oauth/token\"} 0\n")
    );
    gateway.app.reload(settings(&gateway, &rest("other"), |text| text)).unwrap();
    let reloaded = metrics().await;
    assert!(reloaded.contains(&stolen("other")), "{reloaded}");
    assert!(!reloaded.contains("client=\"web\""), "of a client that is no more:\n{reloaded}");
}

#[tokio::test]
async fn of_what_a_reload_takes_away_no_series_is_left() {
    let upstream = Upstream::start().await;
    let of = |name: &str| {
        format!(
            "  {name}: {{ url: \"http://127.0.0.1:9/{name}\", audience: a, jwks_file: jwks.json }}
signals: {{ {name}: {{ issuer: \"http://127.0.0.1:9/{name}/hears\", audience: a, jwks_file: jwks.json, revokes: test }} }}
upstreams: {{ {name}: {{ url: \"{}\" }} }}
routes: [{{ name: {name}, path: /x/*, to: {name}, public: true }}]\n",
            upstream.url()
        )
    };
    let gateway = Gateway::with(&of("gone")).await;
    let metrics = async || String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/x/y", &[]).await.status, 200);
    assert_eq!(client.get("/x/y", &[("Authorization", "Bearer none")]).await.status, 401);
    let sent = "\ntollgate_upstream_requests_total{result=\"ok\",server=";
    until("the end of the request", async || metrics().await.contains(sent)).await;
    let before = metrics().await;
    for series in [
        "requests_total{route=\"gone\"",
        "request_duration_seconds_count{route=\"gone\"",
        "denials_total{reason=\"token_malformed\",route=\"gone\"",
        "planted_cookies_total{upstream=\"gone\"",
        "unknown_kid_total{issuer=\"gone\"} 0",
        "unknown_kid_total{issuer=\"signals/gone\"} 0",
    ] {
        assert!(before.contains(&format!("\ntollgate_{series}")), "{series} is not in:\n{before}");
    }
    let mut late = gateway.connect().await;
    late.send(request("GET", "/x/hold", &[], b"")).await;
    eventually("the request at the upstream", || upstream.received().len() == 2).await;
    gateway.app.reload(settings(&gateway, &of("come"), |text| text)).unwrap();
    let nothing_is_left = async || {
        let after = metrics().await;
        let left: Vec<_> = after.lines().filter(|line| line.contains("gone\"")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(after.contains("\ntollgate_unknown_kid_total{issuer=\"signals/come\"} 0"), "{after}");
    };
    nothing_is_left().await;
    // What was under way counts as what it began as, once it ends.
    let noted = gateway.logged(2).await.len();
    upstream.release(1);
    assert_eq!(late.answer().await.status, 200);
    gateway.logged(noted + 1).await;
    nothing_is_left().await;
}

#[tokio::test]
async fn keys_stay_and_what_needs_a_restart_is_said() {
    let upstream = Upstream::start().await;
    let rest = format!("routes: [{{ path: /*, to: \"{}\" }}]\n", upstream.url());
    let gateway = Gateway::with(&rest).await;
    let bearer = gateway.bearer("alice", "");
    let mut client = gateway.connect().await;
    let elsewhere = |text: String| {
        let listen = format!("listen: {}", gateway.public);
        text.replace(&listen, "listen: [127.0.0.1:0, 127.0.0.1:0]")
            + "log: { format: text, subject: hash }\nlimits: { header: 16KiB }\nstore: elsewhere\n"
    };
    let keys = || gateway.app.gate.live.load().cookie_keys.clone();
    let sealed_with = keys();
    for _ in 0..2 {
        let told = gateway.app.reload(settings(&gateway, &rest, elsewhere)).unwrap();
        assert_eq!(told, ["listen", "store", "limits.header", "log"], "as long as it is so");
        assert_eq!(
            client.get("/x", &[("Authorization", &bearer)]).await.status,
            200,
            "the keys are still there"
        );
        let large = "x".repeat(20 * 1024);
        let answer = client.get("/x", &[("Authorization", &bearer), ("X-Large", &large)]).await;
        assert_eq!(answer.status, 200, "the smaller limit waits as a whole");
        let subject = gateway.app.gate.live.load().settings.log.subject;
        assert_eq!(subject, SubjectInLog::Plain, "in every log");
    }
    assert!(!gateway.folder().join("elsewhere").exists());
    std::fs::remove_file(gateway.folder().join("data/cookie.key")).unwrap();
    assert_eq!(gateway.app.reload(settings(&gateway, &rest, |text| text)).unwrap(), Vec::<&str>::new());
    assert!(Arc::ptr_eq(&keys(), &sealed_with), "the key of the cookies too");
}

#[tokio::test]
async fn certificates_change_for_new_connections_and_old_ones_go_on() {
    let upstream = Upstream::start().await;
    let (before, after) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    before.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let at = folder.path().display();
    let top = format!(
        "public_url: https://{HOST}\nlisten: {{ address: 127.0.0.1:0, tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}] }}"
    );
    let rest = route("/*", &upstream);
    let gateway = Gateway::listening(&top, &rest).await;
    let reached = async |authority: &Authority| {
        connect(gateway.public, authority.client(&[&TLS13], None), "gate.localhost", &["h2"]).await
    };
    let mut old = Http2::over(reached(&before).await.unwrap()).await;
    let get = || http::Request::get(format!("https://{HOST}/x")).body(()).unwrap();
    assert_eq!(old.ask(get(), &[]).await.unwrap().status, 200);

    after.sign(&["gate.localhost"]).write(folder.path(), "gate");
    gateway.app.reload(settings(&gateway, &rest, |text| text)).unwrap();
    assert!(reached(&before).await.is_err(), "the old certificate is gone");
    let mut new = Http2::over(reached(&after).await.unwrap()).await;
    assert_eq!(new.ask(get(), &[]).await.unwrap().status, 200);
    assert_eq!(old.ask(get(), &[]).await.unwrap().status, 200);
    within("the stop", gateway.app.stop(Duration::ZERO)).await;
}

#[tokio::test]
async fn certificates_change_also_while_another_listener_waits_for_a_restart() {
    let upstream = Upstream::start().await;
    let (before, after) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    before.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let at = folder.path().display();
    let tls =
        format!("{{ address: 127.0.0.1:0, tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}] }}");
    let listen = |listeners: &str| format!("public_url: https://{HOST}\nlisten: {listeners}");
    let top = listen(&format!("[{tls}, 127.0.0.1:0]"));
    let rest = route("/*", &upstream);
    let gateway = Gateway::listening(&top, &rest).await;
    let reached = async |authority: &Authority| {
        connect(gateway.public, authority.client(&[&TLS13], None), "gate.localhost", &["h2"]).await.is_ok()
    };
    let reload = |listeners: &str| {
        let changed = settings(&gateway, &rest, |text| text.replace(&top, &listen(listeners)));
        gateway.app.reload(changed).unwrap()
    };
    let reordered = reload(&format!("[127.0.0.1:0, {tls}]"));
    assert_eq!(reordered, Vec::<&str>::new(), "their order says nothing");
    assert!(reached(&before).await);

    after.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let waiting = reload(&format!("[{{ address: 127.0.0.1:0, redirect: https }}, 127.0.0.1:0, {tls}]"));
    assert_eq!(waiting, ["listen"]);
    assert!(!reached(&before).await && reached(&after).await, "the certificate is the new one");
}

#[tokio::test]
async fn who_came_in_by_an_authority_that_counts_no_more_has_one_answer_left() {
    let upstream = Upstream::start().await;
    let (server, gone, stays) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    server.sign(&["gate.localhost"]).write(folder.path(), "gate");
    let at = folder.path().display();
    let trust = |authorities: String| std::fs::write(folder.path().join("clients.pem"), authorities).unwrap();
    trust(gone.pem());
    let top = format!(
        "public_url: https://{HOST}\nlisten: {{ address: 127.0.0.1:0, tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}], client_certificates: {{ ca: {at}/clients.pem }} }}"
    );
    let rest = route("/*", &upstream);
    let gateway = Gateway::listening(&top, &rest).await;
    let reload = || gateway.app.reload(settings(&gateway, &rest, |text| text)).unwrap();
    let config = server.client(&[&TLS13], Some(&gone.sign(&["phone"])));
    let by = async |protocol: &str| {
        connect(gateway.public, config.clone(), "gate.localhost", &[protocol]).await.unwrap()
    };
    let mut client = Client::over(by("http/1.1").await);
    let mut over_http_2 = Http2::over(by("h2").await).await;
    let get = || http::Request::get(format!("https://{HOST}/x")).body(()).unwrap();
    assert!(client.get("/x", &[]).await.keeps_alive());

    // Another authority is no reason to end anything.
    trust(gone.pem() + &stays.pem());
    assert_eq!(reload(), Vec::<&str>::new());
    assert!(client.get("/x", &[]).await.keeps_alive());
    assert_eq!(over_http_2.ask(get(), &[]).await.unwrap().status, 200);

    trust(stays.pem());
    assert_eq!(reload(), Vec::<&str>::new());
    let last = client.get("/x", &[]).await;
    assert_eq!((last.status, last.keeps_alive()), (200, false), "{last:?}");
    assert!(client.is_closed().await);
    within("the end of the connection of HTTP/2", over_http_2.ended()).await;
    let config = server.client(&[&TLS13], Some(&stays.sign(&["phone"])));
    let stream = connect(gateway.public, config, "gate.localhost", &["http/1.1"]).await.unwrap();
    assert!(Client::over(stream).get("/x", &[]).await.keeps_alive(), "who comes in now stays");
}

#[tokio::test]
async fn the_dates_of_certificates_are_of_those_that_listeners_show() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    for name in ["before", "after"] {
        authority.sign(&["gate.localhost"]).write(folder.path(), name);
    }
    let at = folder.path().display();
    let top = |address: &str, name: &str| {
        format!(
            "public_url: https://{HOST}\nlisten: {{ address: {address}, tls: [{{ certificate: {at}/{name}.pem, key: {at}/{name}.key }}] }}"
        )
    };
    let (started_with, rest) = (top("127.0.0.1:0", "before"), route("/*", &upstream));
    let gateway = Gateway::listening(&started_with, &rest).await;
    let reload = |top: &str| {
        let changed = settings(&gateway, &rest, |text| text.replace(&started_with, top));
        gateway.app.reload(changed).unwrap()
    };
    let told = async || {
        let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
        let status = Operator::of(&gateway).get("/status").await.json();
        ["before", "after"].map(|name| {
            let file = format!("{at}/{name}.pem");
            let in_metrics = metrics.contains(&format!("end_time_seconds{{certificate=\"{file}\"}}"));
            let all = status["certificates"].as_array().unwrap();
            assert_eq!(in_metrics, all.iter().any(|told| told["file"] == file.as_str()), "{name}\n{status}");
            in_metrics
        })
    };
    assert_eq!(told().await, [true, false]);
    assert_eq!(reload(&top("127.0.0.2:0", "after")), ["listen"]);
    assert_eq!(told().await, [true, false], "nobody shows the other before a restart");
    assert_eq!(reload(&top("127.0.0.1:0", "after")), Vec::<&str>::new());
    assert_eq!(told().await, [false, true]);
    assert_eq!(reload("listen: 127.0.0.1:0\npublic_url: http://localhost"), ["listen"]);
    assert_eq!(told().await, [false, true], "the listener goes on");
}
