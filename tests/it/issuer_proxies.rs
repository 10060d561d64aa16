//! Ways to an authorization server that are not the straight one: through the tunnel of a proxy, and to
//! another address than that of its URL.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use tollgate::config::settings::{ConnectTo, HostPort, IssuerConnection, Proxy as Through, ProxyCredentials};
use tollgate::core::ids::IssuerName;
use tollgate::flows::ports::{Bounds, HttpFault};
use tollgate::io::http_client::{Called, IssuerClients};

use crate::support::address::Address;
use crate::support::authorization_server::{AuthorizationServer, CLOSES};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::issuer::{AUDIENCE, Issuer};
use crate::support::operator::Operator;
use crate::support::proxy::{Does, Proxy};
use crate::support::tls::Authority;
use crate::support::upstream::Upstream;

/// Names that no resolver knows (RFC 6761 section 6.4).
const HOST: &str = "login.invalid";
const OTHER: &str = "other.invalid";

struct Scene {
    authority: Authority,
    server: AuthorizationServer,
    issuer: Issuer,
}

impl Scene {
    /// A server whose certificate is for these names.
    async fn named(names: &[&str]) -> Self {
        tollgate::io::install_crypto_providers();
        let (authority, issuer) = (Authority::new(), Issuer::new());
        let server = AuthorizationServer::start(&authority.sign(names), issuer.jwks()).await;
        Self { authority, server, issuer }
    }

    async fn proxy(&self) -> Proxy {
        Proxy::start(Does::Opens(self.server.address)).await
    }

    fn client(&self, connection: IssuerConnection) -> Calls {
        self.client_within(connection, Duration::from_secs(20))
    }

    fn client_within(&self, connection: IssuerConnection, timeout: Duration) -> Calls {
        let issuer = IssuerName::new("corp");
        let ca = Some(self.authority.pem().into_bytes());
        let called = Called { issuer, ca, connection, timeout };
        Calls(IssuerClients::new([called.clone()]).unwrap(), called)
    }
}

struct Calls(IssuerClients, Called);

impl Calls {
    async fn post(&self, url: &str) -> Result<Response<Bytes>, HttpFault> {
        let request = Request::post(url).header("authorization", "Basic for-the-server");
        let request = request.body(Bytes::from_static(b"refresh_token=s3cret")).unwrap();
        let bounds = Bounds { deadline: self.1.timeout, answer_bytes: 1000 };
        self.0.call(self.1.clone(), request, bounds).await
    }

    fn cause(&self) -> String {
        self.0.last_cause(&self.1.issuer).unwrap_or_default()
    }
}

fn at(address: std::net::SocketAddr) -> HostPort {
    HostPort::new(&address.ip().to_string(), address.port())
}

fn through(proxy: &Proxy) -> IssuerConnection {
    IssuerConnection { proxy: Some(Through { at: at(proxy.address), credentials: None }), connect_to: None }
}

fn with_password(connection: IssuerConnection) -> IssuerConnection {
    let credentials = ProxyCredentials { username: "gate".to_owned(), password: "hunter2".into() };
    IssuerConnection {
        proxy: connection.proxy.map(|proxy| Through { credentials: Some(credentials), ..proxy }),
        ..connection
    }
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

#[tokio::test]
async fn a_proxy_learns_host_and_port_and_carries_what_it_cannot_read() {
    let scene = Scene::named(&[HOST]).await;
    let proxy = scene.proxy().await;
    let client = scene.client(through(&proxy));
    let answer = client.post(&format!("https://{HOST}/token?x=y")).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"{}"[..]));
    let [received] = scene.server.received().try_into().unwrap();
    assert!(received.starts_with("POST /token?x=y HTTP/1.1\r\n"), "{received}");
    assert!(received.to_lowercase().contains(&format!("host: {HOST}\r\n")), "{received}");
    assert!(received.ends_with("refresh_token=s3cret"), "{received}");

    let [seen] = proxy.seen().try_into().unwrap();
    assert_eq!(seen.line(), format!("CONNECT {HOST}:443 HTTP/1.1"));
    let mut names: Vec<String> = Vec::new();
    for line in seen.head.lines().skip(1).filter(|line| !line.is_empty()) {
        names.push(line.split_once(':').unwrap().0.to_lowercase());
    }
    names.sort();
    assert_eq!(names, ["host", "user-agent"], "{}", seen.head);
    assert!(seen.head.to_lowercase().contains(&format!("host: {HOST}:443\r\n")), "{}", seen.head);
    assert_eq!(seen.carried[0], 0x16, "a handshake of TLS (RFC 8446 section 5.1)");
    for plain in ["POST", "/token", "s3cret", "for-the-server"] {
        assert!(!has(&seen.carried, plain) && !seen.head.contains(plain), "{plain}");
    }
    let answer = client.post(&format!("https://{HOST}:8443/token")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(proxy.seen()[1].line(), format!("CONNECT {HOST}:8443 HTTP/1.1"));
}

#[tokio::test]
async fn credentials_for_the_proxy_are_the_proxys_alone() {
    let scene = Scene::named(&[HOST]).await;
    let proxy = scene.proxy().await;
    let client = scene.client(with_password(through(&proxy)));
    client.post(&format!("https://{HOST}/token")).await.unwrap();
    let [seen] = proxy.seen().try_into().unwrap();
    assert!(
        seen.head.to_lowercase().contains(&"proxy-authorization: Basic Z2F0ZTpodW50ZXIy\r\n".to_lowercase()),
        "{}",
        seen.head
    );
    assert!(seen.head.contains("Z2F0ZTpodW50ZXIy"), "{}", seen.head);
    let [received] = scene.server.received().try_into().unwrap();
    assert!(!received.to_lowercase().contains("proxy-"), "{received}");
}

#[tokio::test]
async fn who_must_answer_is_the_host_of_the_url_on_every_way() {
    let scene = Scene::named(&[OTHER]).await;
    let proxy = scene.proxy().await;
    let to = at(scene.server.address);
    let connect_to = Some(ConnectTo { of: HostPort::new(HOST, 443), to: to.clone() });
    for (connection, says) in [
        (through(&proxy), format!("(through the proxy http://{})", proxy.address)),
        (
            IssuerConnection { proxy: None, connect_to: connect_to.clone() },
            format!("({HOST}:443 is connected to at {to})"),
        ),
        (IssuerConnection { connect_to, ..through(&proxy) }, format!("({HOST}:443 is connected to at {to})")),
    ] {
        let client = scene.client(connection);
        let fault = client.post(&format!("https://{HOST}/token")).await.unwrap_err();
        assert_eq!(fault, HttpFault::Certificate);
        let cause = client.cause();
        assert!(cause.contains("certificate") && cause.contains(&says), "{cause}");
    }
    assert!(scene.server.received().is_empty(), "nothing was said to it");
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_told_from_the_server_and_says_why() {
    let scene = Scene::named(&[HOST]).await;
    let nobody = Address::reserve();
    for (does, password, says) in [
        (
            Does::Answers("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
            false,
            "it answers 403 Forbidden",
        ),
        (Does::Answers("HTTP/1.1 502 Bad Gateway\r\n\r\n"), false, "it answers 502"),
        (Does::Answers("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), false, "it answers 302"),
        (
            Does::Answers("HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"a\"\r\n\r\n"),
            false,
            "(407); give `proxy.username` and `proxy.password`",
        ),
        (
            Does::Answers(
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"a\"\r\n\r\n",
            ),
            true,
            "does not take `proxy.username` and `proxy.password`",
        ),
        (
            Does::Answers(
                "HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            ),
            true,
            "in another way than `Basic`",
        ),
        (Does::Answers(""), false, "gave no answer that can be read"),
        (Does::Answers("SSH-2.0-OpenSSH\r\n\r\n"), false, "gave no answer that can be read"),
        (Does::Answers("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), false, "before the server could"),
    ] {
        let proxy = Proxy::start(does).await;
        let connection = if password { with_password(through(&proxy)) } else { through(&proxy) };
        let client = scene.client(connection);
        let fault = client.post(&format!("https://{HOST}/token")).await.unwrap_err();
        let cause = client.cause();
        assert_eq!(fault, HttpFault::Proxy, "{does:?}: {cause}");
        assert!(cause.contains(says) && cause.contains(&proxy.url()), "{does:?}: {cause}");
        assert!(cause.contains(&format!("{HOST}:443")), "{cause}");
        assert!(!cause.contains("hunter2") && !cause.contains("Z2F0"), "{cause}");
        assert_eq!(proxy.seen().len(), 1, "{does:?}: it is asked once");
    }
    let away = IssuerConnection {
        proxy: Some(Through { at: HostPort::parse(&nobody.authority()).unwrap(), credentials: None }),
        connect_to: None,
    };
    let client = scene.client(away);
    assert_eq!(client.post(&format!("https://{HOST}/token")).await.unwrap_err(), HttpFault::Proxy);
    let cause = client.cause();
    assert!(cause.contains("cannot be reached") && cause.contains("refused"), "{cause}");
    assert!(scene.server.received().is_empty());
}

#[tokio::test]
async fn a_proxy_that_hangs_is_named_before_the_deadline_of_the_call() {
    let scene = Scene::named(&[HOST]).await;
    let proxy = Proxy::start(Does::Hangs).await;
    let client = scene.client_within(through(&proxy), Duration::from_millis(1500));
    assert_eq!(client.post(&format!("https://{HOST}/token")).await.unwrap_err(), HttpFault::Proxy);
    let cause = client.cause();
    assert!(cause.contains("had opened no tunnel") && cause.contains("after 1.2s"), "{cause}");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn a_post_is_not_repeated_when_its_tunnel_breaks() {
    let scene = Scene::named(&[HOST]).await;
    let proxy = scene.proxy().await;
    let client = scene.client(through(&proxy));
    let fault = client.post(&format!("https://{HOST}{CLOSES}")).await.unwrap_err();
    assert_eq!(fault, HttpFault::Broken);
    assert_eq!((proxy.seen().len(), scene.server.received().len()), (1, 1));
    // Whatever came of it, the next call gets a tunnel of its own.
    client.post(&format!("https://{HOST}/token")).await.unwrap();
    assert_eq!((proxy.seen().len(), scene.server.received().len()), (2, 2));
}

#[tokio::test]
async fn what_is_called_in_clear_text_goes_through_no_proxy() {
    let scene = Scene::named(&[HOST]).await;
    let proxy = scene.proxy().await;
    let client = scene.client(through(&proxy));
    let plain = Upstream::start().await;
    assert_eq!(client.post(&format!("{}/token", plain.url())).await.unwrap_err(), HttpFault::Proxy);
    assert!(client.cause().contains("called in clear text"), "{}", client.cause());
    assert!(proxy.seen().is_empty() && plain.received().is_empty());
}

#[tokio::test]
async fn connections_to_the_host_and_port_of_the_issuer_go_where_connect_to_says() {
    let scene = Scene::named(&[HOST, OTHER]).await;
    let to = at(scene.server.address);
    let connect_to = Some(ConnectTo { of: HostPort::new(HOST, 443), to: to.clone() });
    let client = scene.client(IssuerConnection { proxy: None, connect_to: connect_to.clone() });
    assert_eq!(client.post(&format!("https://{HOST}/token")).await.unwrap().status(), 200);
    let [received] = scene.server.received().try_into().unwrap();
    assert!(received.to_lowercase().contains(&format!("host: {HOST}\r\n")), "{received}");
    for elsewhere in [format!("https://{OTHER}/token"), format!("https://{HOST}:8443/token")] {
        assert_eq!(client.post(&elsewhere).await.unwrap_err(), HttpFault::Dns, "{elsewhere}");
    }
    assert_eq!(scene.server.received().len(), 1);

    let proxy = scene.proxy().await;
    let client = scene.client(IssuerConnection { connect_to, ..through(&proxy) });
    for host in [HOST, OTHER] {
        assert_eq!(client.post(&format!("https://{host}/token")).await.unwrap().status(), 200, "{host}");
    }
    let lines: Vec<String> = proxy.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, [format!("CONNECT {to} HTTP/1.1"), format!("CONNECT {OTHER}:443 HTTP/1.1")]);
}

#[tokio::test]
async fn keys_are_discovered_through_a_proxy_and_one_that_refuses_is_seen_by_operators() {
    let scene = Scene::named(&[HOST]).await;
    let (proxy, refuses) =
        (scene.proxy().await, Proxy::start(Does::Answers("HTTP/1.1 403 Forbidden\r\n\r\n")).await);
    let (upstream, folder) = (Upstream::start().await, tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, scene.authority.pem()).unwrap();
    let (ca, to) = (ca.display(), upstream.url());
    let rest = format!(
        "issuers:
  far: {{ url: \"https://{HOST}\", audience: \"{AUDIENCE}\", ca: \"{ca}\", proxy: \"{}\" }}
  shut: {{ url: \"https://{OTHER}\", audience: \"{AUDIENCE}\", ca: \"{ca}\", proxy: {{ url: \"{}\", username: gate, password: hunter2 }} }}
routes: [{{ path: /*, to: \"{to}\" }}]
",
        proxy.url(),
        refuses.url()
    );
    let gateway = Gateway::unready(&rest, |_| {}).unwrap();
    let ask = async |iss: &str| {
        let token = scene.issuer.token_with(json!({ "iss": iss, "sub": "alice" }));
        let fields = [("Authorization", format!("Bearer {token}"))];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        gateway.connect().await.get("/x", &fields).await.status
    };
    assert_eq!(ask(&format!("https://{HOST}")).await, 200);
    assert_eq!(ask(&format!("https://{OTHER}")).await, 503);
    eventually("the refusal", || !refuses.seen().is_empty()).await;
    let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let failures: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("tollgate_as_call_failures_total")).collect();
    assert!(!failures.is_empty(), "{metrics}");
    for line in failures {
        assert!(line.contains("issuer=\"shut\"") && line.contains("reason=\"proxy\""), "{line}");
    }
    let operator = Operator::of(&gateway);
    let status = operator.get("/status").await.json();
    let error = status["issuers"][1]["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("the proxy on the way there opened no tunnel"), "{error}");
    let shown = String::from_utf8(operator.get("/config").await.body).unwrap();
    assert!(shown.contains(&refuses.url()) && !shown.contains("hunter2"), "{shown}");
}
