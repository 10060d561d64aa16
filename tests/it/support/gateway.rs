//! A gateway in this process, on ports of its own, configured by text.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tollgate::app::{App, Outside, StartError};
use tollgate::config::settings::Settings;

use super::address::beside_a_listener;
use super::client::Client;
use super::issuer::Issuer;
use super::upstream::Upstream;
use super::{eventually, until};

/// `test` has its keys in a file; `discovered` is an authorization server that is down.
const ISSUERS: &str = "issuers:
  test: { url: \"http://127.0.0.1:9/issuer\", audience: \"https://api.example.com\", jwks_file: jwks.json }
  discovered: { url: \"http://127.0.0.1:9\", audience: \"https://api.example.com\" }
";

const TOP: &str = "public_url: http://gate.localhost:8080\nlisten: 127.0.0.1:0";
const ANY: &str = "127.0.0.1:0";

/// The access log, in memory.
#[derive(Clone, Default)]
pub struct AccessLog(Arc<Mutex<Vec<u8>>>);

impl Write for AccessLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl AccessLog {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Its ports, unless a test gave them, are given to nobody else for as long as it is here: when it has
/// stopped, whoever connects is refused.
pub struct Gateway {
    pub app: App,
    /// The first listener.
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub issuer: Issuer,
    pub log: AccessLog,
    /// The whole configuration, and the part of it that a test gave.
    pub text: String,
    pub rest: String,
    folder: TempDir,
    _ports: [TcpSocket; 2],
}

impl Gateway {
    /// Routes to `upstream`: `/api/*` needs `api:read`, `/public/*` nothing, `/admin/*` also `admin`,
    /// `/read/*` takes GET alone.
    pub async fn start(upstream: &Upstream) -> Self {
        let to = upstream.url();
        Self::with(&format!(
            "routes:
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: /admin/*, to: \"{to}\", require: {{ scope: [api:read, admin] }} }}
  - {{ path: /read/*, to: \"{to}\", public: true, methods: [GET] }}
"
        ))
        .await
    }

    /// The rest of the configuration, in YAML.
    pub async fn with(rest: &str) -> Self {
        Self::adjusted(rest, |_| {}).await
    }

    /// As `with`, and then what no key of config.yaml can say yet.
    pub async fn adjusted(rest: &str, adjust: impl FnOnce(&mut Settings)) -> Self {
        let gateway = Self::unready(&format!("{ISSUERS}{rest}"), adjust).unwrap();
        gateway.wait_until_ready().await;
        gateway
    }

    /// Starts with what was asked, issuers included, and waits for nothing.
    pub fn unready(rest: &str, adjust: impl FnOnce(&mut Settings)) -> Result<Self, StartError> {
        Self::starting(TOP, rest, adjust, |_| {})
    }

    /// As `unready`, in a world of the test's own.
    pub fn outside(rest: &str, outside: impl FnOnce(&mut Outside)) -> Result<Self, StartError> {
        Self::starting(TOP, rest, |_| {}, outside)
    }

    /// `top`: `public_url` and `listen`.
    pub async fn listening(top: &str, rest: &str) -> Self {
        Self::listening_as(top, rest, |_| {}).await
    }

    /// As `listening`, and then as `adjusted`.
    pub async fn listening_as(top: &str, rest: &str, adjust: impl FnOnce(&mut Settings)) -> Self {
        let gateway = Self::starting(top, &format!("{ISSUERS}{rest}"), adjust, |_| {}).unwrap();
        gateway.wait_until_ready().await;
        gateway
    }

    /// With a token of the operators' own.
    pub async fn administered(token: &str, rest: &str) -> Self {
        let gateway = Self::administered_unready(token, rest);
        gateway.wait_until_ready().await;
        gateway
    }

    /// The same, and waits for nothing.
    pub fn administered_unready(token: &str, rest: &str) -> Self {
        Self::administered_as(token, rest, |_| {})
    }

    pub fn administered_as(token: &str, rest: &str, adjust: impl FnOnce(&mut Settings)) -> Self {
        let admin = format!("{{ address: 127.0.0.1:0, token: {token} }}");
        Self::configured(TOP, &admin, &format!("{ISSUERS}{rest}"), adjust, |_| {}).unwrap()
    }

    fn starting(
        top: &str,
        rest: &str,
        adjust: impl FnOnce(&mut Settings),
        change: impl FnOnce(&mut Outside),
    ) -> Result<Self, StartError> {
        Self::configured(top, ANY, rest, adjust, change)
    }

    fn configured(
        top: &str,
        admin: &str,
        rest: &str,
        adjust: impl FnOnce(&mut Settings),
        change: impl FnOnce(&mut Outside),
    ) -> Result<Self, StartError> {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::new();
        std::fs::write(folder.path().join("jwks.json"), issuer.jwks().to_string()).unwrap();
        let ports = [beside_a_listener(), beside_a_listener()];
        let [listen, own] = ports.each_ref().map(|port| port.local_addr().unwrap().to_string());
        // What a test says itself stays as it is.
        let top = if top == TOP { top.replace(ANY, &listen) } else { top.to_owned() };
        let text = format!("{top}\nadmin: {}\n{rest}", admin.replace(ANY, &own));
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, &text).unwrap();
        let loaded = match tollgate::config::load(&path, &|_| None) {
            Ok(loaded) => loaded,
            Err(errors) => panic!("{errors}\n{text}"),
        };
        let log = AccessLog::default();
        let mut settings = loaded.settings;
        adjust(&mut settings);
        let settings = Arc::new(settings);
        let mut outside = Outside { access_log: Box::new(log.clone()), ..Outside::system(&settings)? };
        change(&mut outside);
        let app = App::start(settings, outside)?;
        let (public, admin) = (app.running.public[0], app.running.admin);
        let rest = rest.strip_prefix(ISSUERS).unwrap_or(rest).to_owned();
        Ok(Self { app, public, admin, issuer, log, text, rest, folder, _ports: ports })
    }

    /// To which the configuration's paths are relative.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub async fn wait_until_ready(&self) {
        until("readiness", async || self.admin("/readyz").await.status == 200).await;
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.public).await
    }

    /// `Authorization` with a good token.
    pub fn bearer(&self, subject: &str, scope: &str) -> String {
        format!("Bearer {}", self.issuer.token(subject, scope))
    }

    /// Asks the admin listener.
    pub async fn admin(&self, path: &str) -> super::client::Answer {
        let mut client = Client::connect(self.admin).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin)).await;
        client.answer().await
    }

    /// The access log, once it has `count` lines.
    pub async fn logged(&self, count: usize) -> Vec<Value> {
        eventually("the access log", || self.log.text().lines().count() >= count).await;
        self.log.lines()
    }
}
