//! What a reload does to an issuer's keys, what the metrics say of their age meanwhile, and what becomes of
//! what was begun at an issuer before.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::keys::{Key, MovedClock, Publisher};
use crate::reload::settings;
use crate::support::client::{HOST, request};
use crate::support::gateway::Gateway;
use crate::support::http2_upstream::{Tls, server_config};
use crate::support::issuer::AUDIENCE;
use crate::support::tls::{Authority, Identity};
use crate::support::until;
use crate::support::upstream::Upstream;

/// TLS in front of a server, with a certificate that can be changed or taken away.
struct Front {
    address: SocketAddr,
    speaks: watch::Sender<Option<Arc<ServerConfig>>>,
    task: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let speaks = watch::Sender::new(None::<Arc<ServerConfig>>);
        let task = tokio::spawn({
            let speaks = speaks.clone();
            async move {
                let mut connections = JoinSet::new();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let mut changed = speaks.subscribe();
                    let config = changed.borrow_and_update().clone();
                    let relay = async move {
                        let mut from = TlsAcceptor::from(config?).accept(socket).await.ok()?;
                        let mut to = TcpStream::connect(server).await.ok()?;
                        tokio::io::copy_bidirectional(&mut from, &mut to).await.ok()
                    };
                    connections.spawn(async move {
                        tokio::select! {
                            _ = relay => {}
                            _ = changed.changed() => {}
                        }
                    });
                }
            }
        });
        Self { address, speaks, task }
    }

    /// From now on with this certificate, or not at all; the connections that there are end.
    fn speak_as(&self, identity: Option<&Identity>) {
        let config = |identity| server_config(&Tls { identity, protocols: &["http/1.1"], clients: None });
        self.speaks.send_replace(identity.map(|identity| Arc::new(config(identity))));
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// What the metrics say of the age of keys, by issuer.
async fn ages(gateway: &Gateway) -> Vec<(String, String)> {
    let text = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let series = text.lines().filter_map(|line| line.strip_prefix("tollgate_keys_age_seconds{issuer=\""));
    let series = series.map(|line| line.split_once("\"} ").unwrap());
    series.map(|(issuer, age)| (issuer.to_owned(), age.to_owned())).collect()
}

fn is_finite(age: &str) -> bool {
    age.parse::<f64>().unwrap().is_finite()
}

#[tokio::test]
async fn a_renewed_ca_leaves_the_keys_while_their_issuer_is_away_and_has_them_fetched_again() {
    let publisher = Publisher::start().await;
    let front = Front::before(publisher.server.address).await;
    let (old, renewed) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, old.pem()).unwrap();
    front.speak_as(Some(&old.sign(&["127.0.0.1"])));
    let (iss, key) = (front.url(), Key::new("only"));
    publisher.publish(
        "/.well-known/openid-configuration",
        json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks") }),
    );
    publisher.publish_keys("/jwks", &[&key]);
    let upstream = Upstream::start().await;
    let clock = Arc::new(MovedClock::default());
    let rest = format!(
        "issuers:\n  far: {{ url: \"{iss}\", audience: \"{AUDIENCE}\", ca: \"{}\" }}\nroutes: [{{ path: /*, to: \"{}\" }}]\n",
        ca.display(),
        upstream.url()
    );
    let moved = clock.clone();
    let gateway = Gateway::outside(&rest, |outside| outside.clock = moved).unwrap();
    gateway.wait_until_ready().await;
    let status =
        async |token: &str| gateway.connect().await.get("/x", &[("Authorization", token)]).await.status;
    let token = |seconds: i64| {
        let now = tollgate::flows::ports::Clock::now(&*clock);
        key.bearer(&iss, tollgate::core::time::Timestamp::from_secs(now.as_secs() - seconds))
    };
    let known = token(1);
    assert_eq!(status(&known).await, 200);

    front.speak_as(None);
    std::fs::write(&ca, renewed.pem()).unwrap();
    gateway.app.reload(settings(&gateway, &rest, |text| text)).unwrap();
    assert_eq!(status(&known).await, 200);
    assert_eq!(status(&token(2)).await, 200, "one that was never seen before");
    assert_eq!(gateway.admin("/readyz").await.status, 200);
    let told = ages(&gateway).await;
    assert!(told.len() == 1 && is_finite(&told[0].1), "{told:?}");

    // Young as they are they are fetched again, over a connection that the new authority vouches for.
    let asked = publisher.asked("/jwks");
    front.speak_as(Some(&renewed.sign(&["127.0.0.1"])));
    clock.later(11);
    until("the keys again", async || publisher.asked("/jwks") > asked).await;
    assert_eq!(status(&token(3)).await, 200);
}

#[tokio::test]
async fn the_age_of_keys_is_infinite_until_they_are_read_and_not_told_where_they_are_not_fetched() {
    let publisher = Publisher::start().await;
    let upstream = Upstream::start().await;
    let routes = format!("routes: [{{ path: /*, to: \"{}\" }}]\n", upstream.url());
    // Beside it `discovered`, who never answers, and `test`, whose keys are in a file.
    let with = |far: &str| format!("  far: {{ audience: \"{AUDIENCE}\", {far} }}\n{routes}");
    let first = with(&format!("url: \"{}\"", publisher.url()));
    publisher.discovered_at("/jwks");
    publisher.publish_keys("/jwks", &[&Key::new("only")]);
    let gateway = Gateway::with(&first).await;
    until("the keys", async || {
        let told = ages(&gateway).await;
        let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["discovered", "far"]);
        assert_eq!(told[0].1, "inf", "it was never read");
        is_finite(&told[1].1)
    })
    .await;
    let reload = |rest: &str| gateway.app.reload(settings(&gateway, rest, |text| text)).unwrap();
    let never_read = |name: &str| (name.to_owned(), "inf".to_owned());
    reload(&with("url: \"http://127.0.0.1:9/other\""));
    assert_eq!(ages(&gateway).await, ["discovered", "far"].map(never_read));
    reload(&with("url: \"http://127.0.0.1:9/other\", jwks_file: jwks.json"));
    assert_eq!(ages(&gateway).await, [never_read("discovered")]);
    reload(&first);
    assert_eq!(ages(&gateway).await.len(), 2);
    reload(&routes);
    assert_eq!(ages(&gateway).await, [never_read("discovered")]);
}

/// Signing out is answered as soon as it counts here; the authorization server is told behind that.
#[tokio::test]
async fn a_refresh_token_is_revoked_although_its_issuer_got_another_name_meanwhile() {
    let publisher = Publisher::start().await;
    let (iss, upstream) = (publisher.url(), Upstream::start().await);
    let endpoint = |name: &str| format!("{iss}/{name}");
    publisher.publish(
        "/.well-known/openid-configuration",
        json!({ "issuer": iss, "jwks_uri": endpoint("jwks"), "token_endpoint": endpoint("token"),
            "revocation_endpoint": endpoint("revoke") }),
    );
    publisher.publish_keys("/jwks", &[&Key::new("only")]);
    publisher.publish(
        "/token",
        json!({ "access_token": "opaque", "token_type": "Bearer", "refresh_token": "rt-1" }),
    );
    let rest = format!(
        "issuers: {{ far: {{ url: \"{iss}\", audience: \"{AUDIENCE}\" }} }}
clients: {{ web-app: {{ mode: token, login: page, redirect_uri: \"http://{HOST}/back\", accept_any_access_token: true }} }}
routes: [{{ path: /*, to: \"{}\" }}]
",
        upstream.url()
    );
    let gateway = Gateway::unready(&rest, |_| {}).unwrap();
    gateway.wait_until_ready().await;
    let mut client = gateway.connect().await;
    let origin = format!("http://{HOST}");
    let own = ("Origin", origin.as_str());
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let verifier = "v".repeat(43);
    let code = format!(
        "grant_type=authorization_code&client_id=web-app&code=x&redirect_uri=http://{HOST}/back&code_verifier={verifier}"
    );
    client.send(request("POST", "/oauth/token", &[own, form], code.as_bytes())).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let cookies = answer.all("set-cookie");
    let cookie = cookies.iter().find(|cookie| !cookie.contains("Max-Age=0;")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    client.send(request("DELETE", "/oauth/token?client_id=web-app", &[own, ("Cookie", cookie)], b"")).await;
    assert_eq!(client.answer().await.status, 204);

    until("the server to be told in vain", async || publisher.asked("/revoke") > 0).await;
    let renamed = |text: String| text.replace("far:", "near:");
    gateway.app.reload(settings(&gateway, &rest, renamed)).unwrap();
    let in_vain = publisher.asked("/revoke");
    publisher.publish("/revoke", json!({}));
    until("the server to be told", async || publisher.asked("/revoke") > in_vain).await;
    let told = publisher.server.received();
    let told = told.iter().rfind(|seen| seen.path() == "/revoke").unwrap();
    let form = String::from_utf8_lossy(&told.raw_body).into_owned();
    assert!(form.contains("token=rt-1"), "{form}");
}
