//! What the tests of the configuration share.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tollgate::cli::{Next, Surroundings};
use tollgate::config::Loaded;
use tollgate::config::error::ConfigErrors;
use tollgate::config::machine::Variables;
use tollgate::config::settings::*;
use tollgate::core::route::policy::{Access, Requirements};
use tollgate::{cli, config};

pub(crate) const TOP: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn env(name: &str) -> Option<String> {
    match name {
        "WEB_APP_SECRET" | "PORTAL_SECRET" => Some("a secret of the demo".to_owned()),
        "AUDIENCE" => Some("https://api.example.com".to_owned()),
        "PUBLIC" => Some("true".to_owned()),
        "TRAP" => Some("{id}".to_owned()),
        "TRAP_PATH" => Some("/api/{id}".to_owned()),
        "TRAP_STAR" => Some("/*".to_owned()),
        "STAR" => Some("*".to_owned()),
        "TWICE" => Some("${WEB_APP_SECRET}".to_owned()),
        "SECRET_DURATION" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => held(name).map(str::to_owned),
    }
}

/// Variables whose content no message may repeat, not even a part of it.
pub(crate) fn held(name: &str) -> Option<&'static str> {
    Some(match name {
        "SPACE_AFTER" => "https://login.example.com ",
        "HELD_LETTER" => "e",
        "HELD" => "hunter2",
        "HELD_NAME" => "hunter2.example",
        "HELD_CASE" => "HUNTER2.example",
        "HELD_PORT" => "hunter2.example:8080",
        "HELD_DOT" => "hunter2.example.",
        "HELD_URL" => "https://hunter2.example/x?y",
        "HELD_PATH" => "/hunter2",
        "HELD_SPELT" => "/%68unter2",
        "HELD_SCOPES" => "hunter2 hunter2",
        "HELD_TIME" => "4242d",
        "HELD_NETWORK" => "10.42.42.0/8",
        "HELD_ADDRESS" => "10.42.42.1:8080",
        _ => return None,
    })
}

pub(crate) fn no_file(_: &Path) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::NotFound.into())
}

pub(crate) fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    config::parse(text, Path::new("/etc/tollgate"), &env, &|path| fs::read(path))
}

pub(crate) fn settings(text: &str) -> Settings {
    match parse(text) {
        Ok(loaded) => loaded.settings,
        Err(errors) => panic!("refused:\n{errors}\n{text}"),
    }
}

pub(crate) fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors
            .mistakes
            .iter()
            .map(|m| format!("{}:{} {}: {}", m.line, m.column, m.path, m.message))
            .collect(),
    }
}

/// The one mistake of `text`, which must be at `path` and say `part`.
#[track_caller]
pub(crate) fn only_error(text: &str, path: &str, part: &str) {
    let found = parse(text).map(|_| ()).expect_err(text);
    assert_eq!(found.mistakes.len(), 1, "{found}\n{text}");
    assert_eq!(found.mistakes[0].path, path, "{found}");
    assert!(found.mistakes[0].message.contains(part), "{found}");
    assert!(found.mistakes[0].line > 0, "{found}");
}

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) top: String,
    pub(crate) issuers: String,
    pub(crate) clients: String,
    pub(crate) routes: String,
}

/// A configuration that is good, with parts to replace.
pub(crate) fn good() -> Parts {
    Parts {
        top: "public_url: https://gate.example.com\nlisten: 0.0.0.0:8080\n".to_owned(),
        issuers: "  corp: { url: \"https://login.example.com\", audience: api }\n".to_owned(),
        clients: String::new(),
        routes: "  - { path: /api/*, to: \"http://10.0.0.1:3000\" }\n".to_owned(),
    }
}

impl Parts {
    pub(crate) fn text(&self) -> String {
        let clients =
            if self.clients.is_empty() { String::new() } else { format!("clients:\n{}", self.clients) };
        // Somebody in front speaks TLS.
        let in_front = if self.top.contains("trusted_proxies:") { "" } else { "trusted_proxies: 10.0.0.1\n" };
        format!("{}issuers:\n{}{clients}routes:\n{}{in_front}", self.top, self.issuers, self.routes)
    }

    /// One more line at the top.
    pub(crate) fn with(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// The issuer `corp` with more keys.
    pub(crate) fn issuer(mut self, more: &str) -> Self {
        self.issuers = format!("  corp: {{ url: \"https://login.example.com\", audience: api, {more} }}\n");
        self
    }

    /// A client `web` with more keys.
    pub(crate) fn client(mut self, more: &str) -> Self {
        self.clients.push_str(&format!(
            "  web: {{ mode: token, login: page, redirect_uri: \"https://gate.example.com/in\", {more} }}\n"
        ));
        self
    }

    /// The only route, with more keys.
    pub(crate) fn route(mut self, more: &str) -> Self {
        self.routes = format!("  - {{ path: \"/api/{{id}}/*\", to: \"http://10.0.0.1:3000\", {more} }}\n");
        self
    }
}

pub(crate) fn requirements(settings: &Settings, index: usize) -> &Requirements {
    match &settings.routes[index].access {
        Access::Protected(alternatives) => alternatives.first(),
        Access::Public | Access::PublicOf(_) => panic!("route {index} is public"),
    }
}

/// A file in which every key of the schema stands.
pub(crate) fn full(folder: &Path) -> String {
    fs::write(folder.join("keys.json"), JWKS).unwrap();
    fs::write(folder.join("cookie.1"), format!("{}\n", "0a".repeat(32))).unwrap();
    fs::write(folder.join("ca.pem"), CERTIFICATE).unwrap();
    fs::write(folder.join("client.pem"), P256).unwrap();
    write_certificate(folder, "gate", &["gate.example.com"]);
    r#"
public_url: https://gate.example.com
listen:
  - address: 0.0.0.0:443
    tls: [{ certificate: gate.pem, key: gate.key }]
    client_certificates: { ca: gate.pem, required: false }
  - { address: 0.0.0.0:80, redirect: https }
admin: { address: 127.0.0.1:9000, token: 0123456789abcdef, hosts: Gate.internal }
trusted_proxies: [10.0.0.0/8, "::1"]
issuers:
  corp:
    url: https://login.example.com/realms/main
    audience: ["${AUDIENCE}"]
    discovery: https://login.example.com/meta.json
    algorithms: [ES256]
    token_type: at+jwt
    clock_skew: 10s
    max_token_lifetime: 1h
    timeout: 3s
    ca: ca.pem
    proxy: { url: "http://proxy.internal:3128", username: gate, password: proxy-hunter2 }
    connect_to: keycloak.svc:8443
    keys_refresh: 5m
    claims: { scope: scp, client: [azp], session: [sid], id: jti, access_token: uid }
    introspection: { client_id: gateway, secret: "${WEB_APP_SECRET}", cache: 10s }
  keys:
    url: https://keys.example.com
    audience: api
    jwks_uri: https://keys.example.com/jwks
    introspection: { client_id: gateway, private_key: { file: client.pem }, kid: asks, certificate: ca.pem, assertion_audience: endpoint, endpoint: https://keys.example.com/ask }
  file: { url: https://file.example.com, audience: api, jwks_file: keys.json }
  old: { url: https://old.example.com, audience: api, shared_secret: "0123456789abcdef0123456789abcdef" }
clients:
  portal:
    client_id: 0oa1b2c3
    issuer: corp
    mode: token
    login: page
    private_key: { file: client.pem }
    kid: "2026"
    certificate: ca.pem
    assertion_audience: token_endpoint
    origins: https://portal.example.com
    scope: openid offline_access
    resource: https://api.example.com
    redirect_uri: https://portal.example.com/in
    grants: refresh_token
    cookie: { name: __Host-portal, path: /, same_site: lax }
    accept_any_access_token: true
    idle_timeout: 30m
    absolute_timeout: 12h
  web:
    issuer: corp
    mode: token
    login: page
    secret: ${WEB_APP_SECRET}
    redirect_uri: https://gate.example.com/
  desk:
    issuer: corp
    mode: session
    scope: openid
    authorize: { prompt: consent }
    pushed: true
    return_to: https://portal.example.com
    post_logout_redirect_uri: https://gate.example.com/bye
    identity: id_token
    csrf_header: X-Asked
routes:
  - path: /a/{id}/*
    to: http://10.0.0.1:3000
    name: a
    host: api.example.com
    methods: [GET, POST]
    from: [10.0.0.0/8, "2001:db8::/32"]
    require:
      scope: api:read admin
      any_scope: [x, y]
      claims: { "https://example.com/roles": [staff, 7, true], sub: "{id}" }
      acr: urn:example:mfa
      signed_in_within: 5m
    issuers: [corp, old]
    clients: portal
    report_only: true
    resource: https://api.example.com
    cors: upstream
    timeouts: { connect: 1s, read: 2s, write: 3s }
    body_limit: 1KiB
    encoded_slash: keep
    strip_prefix: /a
    identity:
      headers: { X-Staff: email }
      access_token: strip
      assertion: { header: X-Signed, ttl: 30s, bind: request }
  - { path: /b, to: "http://10.0.0.1:3000/", public: true, issuers: [corp, old], cors: gateway, encoded_slash: refuse, rewrite: /x }
  - { path: /c, to: several, public: false, issuers: keys, cors: { origins: https://app.example.com, headers: If-Match } }
  - { path: /d, to: several, issuers: corp, sign_in: desk, extends_session: false }
upstreams:
  several:
    url: [https://c.example.net, https://d.example.net]
    host: client
    case_sensitive: true
    balance: { consistent: sub }
    health: { path: /healthz, interval: 5s, timeout: 1s }
    tls: { ca: gate.pem, server_name: gate.example.com, certificate: gate.pem, key: gate.key }
    headers: { X-Api-Key: upstream-hunter2 }
    timeouts: { connect: 1s, read: 2s, write: 3s }
    retries: 2
identity: { headers: { X-User: sub }, access_token: forward, assertion: { keys: [{ file: gate.key }] } }
sessions: { idle_timeout: 1h, absolute_timeout: 1d, grace: 10s, keys: [{ file: cookie.1 }] }
signals:
  okta:
    issuer: https://okta.example.com
    audience: https://gate.example.com/oauth/events
    token: signals-hunter2-hunter2
    revokes: [corp, file]
    events: [session-revoked, credential-change]
    discovery: https://okta.example.com/ssf.json
    timeout: 3s
    ca: ca.pem
    proxy: { url: "http://proxy.internal", username: gate, password: proxy-hunter2 }
    connect_to: "[fd00::7]:443"
  corp: { issuer: https://login.example.com/realms/main, audience: [a, b], revokes: corp }
  url: { issuer: https://url.example.com, audience: a, revokes: corp, jwks_uri: https://url.example.com/keys }
  file: { issuer: https://file.example.com/, audience: a, revokes: corp, jwks_file: keys.json }
store:
  url: ["rediss://sentinel-1:26379/2", "rediss://[fd00::2]:26379"]
  path: /var/lib/tollgate
  username: gate
  password: redis-hunter2
  ca: gate.pem
  certificate: gate.pem
  key: gate.key
  sentinel: { master: mymaster, username: watcher, password: sentinel-hunter2 }
  cluster: false
  prefix: "gate-a:"
  on_outage: serve
  max_staleness: 1m
limits: { token: 4KiB, header: 16KiB, body: 1MiB, connections: 5000, connections_per_address: 100, requests_per_address: 600/m, denials_per_address: 30/m }
log: { format: text, level: debug, subject: hash }
cors: { origins: "https://*.preview.example.com", headers: [Idempotency-Key] }
"#
    .to_owned()
}

pub(crate) fn credentials(username: Option<&str>, password: &str) -> RedisCredentials {
    RedisCredentials { username: username.map(str::to_owned), password: Some(password.into()) }
}

/// A client `cli` in `native` mode.
pub(crate) fn native(more: &str) -> String {
    let mut parts = good();
    parts.clients = format!("  cli: {{ mode: native, {more} }}\n");
    parts.text()
}

/// A client `web` in `session` mode, and one route.
pub(crate) fn session(client: &str, route: &str) -> String {
    good()
        .route(route)
        .text()
        .replace("routes:", &format!("clients:\n  web: {{ mode: session, {client} }}\nroutes:"))
}

/// A certificate for these names and its key, in PEM, written to `<name>.pem` and `<name>.key`.
pub(crate) fn write_certificate(folder: &Path, name: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}

/// A configuration with this `store`, and what replicas must share beside it.
pub(crate) fn stored(store: &str) -> String {
    let token = "admin: { address: 127.0.0.1:8081, token: 0123456789abcdef }";
    let keys = format!("sessions: {{ keys: [\"{}\"] }}", "0a".repeat(32));
    good().with(&format!("store: {store}\n{token}\n{keys}")).text()
}

/// Every example of a configuration in the README and in docs/, with the page that has it. Routes alone stand
/// under their key.
pub(crate) fn documented_examples() -> Vec<(String, String)> {
    let docs = fs::read_dir(Path::new(TOP).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.chain([Path::new(TOP).join("README.md")]);
    let examples = |page: PathBuf| {
        let text = fs::read_to_string(&page).unwrap();
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        let examples =
            text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        let examples = examples.map(|text| match text.starts_with("  - ") {
            true => format!("routes:\n{text}"),
            false => text,
        });
        examples.map(|example| (name.clone(), example)).collect::<Vec<_>>()
    };
    pages.filter(|page| page.extension().is_some_and(|kind| kind == "md")).flat_map(examples).collect()
}

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> (Next, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut around = Surroundings { machine: &Variables(&env), folder, out: &mut out, err: &mut err };
    let next = cli::prepare(["tollgate"].iter().chain(arguments).map(Into::into), &mut around);
    (next, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// RFC 8037 appendix A.2.
pub(crate) const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"EC"}]}"#;

pub(crate) const P256: &str = include_str!("../data/config/p256.pem");

pub(crate) const CERTIFICATE: &str = include_str!("../data/config/certificate.pem");
