//! config.yaml → settings: everything that is wrong is said at once, each with path, line and
//! remedy, and what is not said to be wrong means what docs/configuration.md says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "config/csrf.rs"]
mod csrf;
#[path = "config/dates.rs"]
mod dates;
#[path = "config/defaults.rs"]
mod defaults;
#[path = "config/identity.rs"]
mod identity;
#[path = "config/json_schema.rs"]
mod json_schema;
#[path = "config/machine.rs"]
mod machine;
#[path = "config/providers.rs"]
mod providers;
#[path = "config/require.rs"]
mod require;
#[path = "config/variables.rs"]
mod variables;
#[path = "config/yaml.rs"]
mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tollgate::cli::{self, Next, Surroundings};
use tollgate::config::machine::Variables;
use tollgate::config::settings::*;
use tollgate::config::{self, Loaded, error::ConfigErrors, schema};
use tollgate::core::assertion::Binding;
use tollgate::core::cors::Sharing;
use tollgate::core::route::CorsSpeaker;
use tollgate::core::route::identity::RouteIdentity;
use tollgate::core::route::policy::{Access, ClaimValue, Requirements};
use tollgate::core::session::csrf::Csrf;
use tollgate::core::session::oauth::authentication::Audience;
use tollgate::core::token::Algorithm;
use tollgate::core::token::security_event::event::EventType;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

fn env(name: &str) -> Option<String> {
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
fn held(name: &str) -> Option<&'static str> {
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

fn no_file(_: &Path) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::NotFound.into())
}

fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    config::parse(text, Path::new("/etc/tollgate"), &env, &|path| fs::read(path))
}

fn settings(text: &str) -> Settings {
    match parse(text) {
        Ok(loaded) => loaded.settings,
        Err(errors) => panic!("refused:\n{errors}\n{text}"),
    }
}

fn errors(text: &str) -> Vec<String> {
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
fn only_error(text: &str, path: &str, part: &str) {
    let found = parse(text).map(|_| ()).expect_err(text);
    assert_eq!(found.mistakes.len(), 1, "{found}\n{text}");
    assert_eq!(found.mistakes[0].path, path, "{found}");
    assert!(found.mistakes[0].message.contains(part), "{found}");
    assert!(found.mistakes[0].line > 0, "{found}");
}

#[derive(Clone)]
struct Parts {
    top: String,
    issuers: String,
    clients: String,
    routes: String,
}

/// A configuration that is good, with parts to replace.
fn good() -> Parts {
    Parts {
        top: "public_url: https://gate.example.com\nlisten: 0.0.0.0:8080\n".to_owned(),
        issuers: "  corp: { url: \"https://login.example.com\", audience: api }\n".to_owned(),
        clients: String::new(),
        routes: "  - { path: /api/*, to: \"http://10.0.0.1:3000\" }\n".to_owned(),
    }
}

impl Parts {
    fn text(&self) -> String {
        let clients =
            if self.clients.is_empty() { String::new() } else { format!("clients:\n{}", self.clients) };
        // Somebody in front speaks TLS.
        let in_front = if self.top.contains("trusted_proxies:") { "" } else { "trusted_proxies: 10.0.0.1\n" };
        format!("{}issuers:\n{}{clients}routes:\n{}{in_front}", self.top, self.issuers, self.routes)
    }

    /// One more line at the top.
    fn with(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// The issuer `corp` with more keys.
    fn issuer(mut self, more: &str) -> Self {
        self.issuers = format!("  corp: {{ url: \"https://login.example.com\", audience: api, {more} }}\n");
        self
    }

    /// A client `web` with more keys.
    fn client(mut self, more: &str) -> Self {
        self.clients.push_str(&format!(
            "  web: {{ mode: token, login: page, redirect_uri: \"https://gate.example.com/in\", {more} }}\n"
        ));
        self
    }

    /// The only route, with more keys.
    fn route(mut self, more: &str) -> Self {
        self.routes = format!("  - {{ path: \"/api/{{id}}/*\", to: \"http://10.0.0.1:3000\", {more} }}\n");
        self
    }
}

fn requirements(settings: &Settings, index: usize) -> &Requirements {
    match &settings.routes[index].access {
        Access::Protected(requirements) => requirements,
        Access::Public | Access::PublicOf(_) => panic!("route {index} is public"),
    }
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_line_and_a_remedy() {
    let text = fs::read_to_string(Path::new(TOP).join("tests/data/config/mistakes.yaml")).unwrap();
    let told = config::parse(&text, Path::new(""), &env, &no_file).unwrap_err().to_string() + "\n";
    let golden = Path::new(TOP).join("tests/data/config/mistakes.txt");
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&golden, &told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(golden).unwrap());
}

#[test]
fn the_example_at_the_top_level_is_valid_and_means_what_it_says() {
    let loaded = config::load(&Path::new(TOP).join("config.yaml"), &env).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.public_url.as_str(), "http://localhost:8080");
    assert_eq!(settings.issuers[0].rules.iss, "http://127.0.0.1:8082");
    assert_eq!(settings.issuers[0].rules.audiences, ["https://api.example.com"]);
    assert_eq!(settings.issuers[0].rules.client_ids, ["web-app", "portal"]);
    let [client, portal] = settings.clients.as_slice() else { panic!("two clients") };
    assert!(
        matches!(&client.credential, ClientCredential::Secret(s) if s.expose() == "a secret of the demo")
    );
    for client in [client, portal] {
        assert_eq!(client.redirect_uri, "http://localhost:8080/oauth/callback");
        assert!(client.login.is_some());
    }
    assert!(client.session.is_none() && portal.session.is_some());
    assert_eq!(portal.cookie.name, "__Host-Http-tollgate-portal");
    assert_eq!(client.cookie.name, "__Secure-tollgate-web-app");
    assert_eq!(client.cookie.path, "/oauth/token");
    assert_eq!(client.cookie.same_site, SameSite::Strict);
    assert_eq!(settings.routes.len(), 7);
    assert!(settings.routes[6].session.as_ref().is_some_and(|taken| taken.signs_in));
    assert_eq!(settings.upstreams.len(), 1, "equal `to` share one upstream");
    for public in [0, 4, 5] {
        assert!(matches!(settings.routes[public].access, Access::Public));
    }
    assert_eq!(requirements(settings, 2).claims[0].values, [ClaimValue::PathParameter("id".to_owned())]);
    assert_eq!(requirements(settings, 3).scope, ["api:read", "admin"]);
    assert_eq!(requirements(settings, 3).signed_in_within, Some(Duration::from_secs(300)));
    assert_eq!(settings.store.folder, Path::new(TOP).join("data"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

/// The parser names a line behind the last.
#[test]
fn a_file_that_breaks_off_is_wrong_at_its_last_line() {
    for (text, last) in [("a: b\nc", 2), ("a: b\nc\n", 2), ("a: b\nc\n\n", 3), ("a: {", 1), ("a: \"b\n\n", 2)]
    {
        let errors = parse(text).unwrap_err();
        assert_eq!(
            errors.mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(),
            [last],
            "{text:?}: {errors}"
        );
    }
}

#[test]
fn what_the_file_leaves_out_has_the_documented_default() {
    let settings = settings(&good().client("").text());
    assert_eq!(settings.admin.address.to_string(), "127.0.0.1:8081");
    assert_eq!(settings.store.folder, Path::new("/etc/tollgate/data"));
    let issuer = &settings.issuers[0];
    assert_eq!(issuer.timeout, Duration::from_secs(5));
    assert_eq!(issuer.keys_refresh, Duration::from_secs(600));
    assert_eq!(issuer.rules.clock_skew, Duration::from_secs(30));
    assert_eq!(issuer.rules.max_token_lifetime, Duration::from_secs(86_400));
    assert_eq!(
        issuer.rules.algorithms,
        [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa]
    );
    assert_eq!(issuer.rules.claims, tollgate::core::token::ClaimNames::default());
    assert_eq!(issuer.rules.token_type, None);
    assert!(matches!(issuer.keys, KeySource::Discovery(None)));
    let client = &settings.clients[0];
    assert_eq!((client.client_id.as_str(), client.issuer.as_str()), ("web", "corp"));
    assert_eq!(client.origins[0].as_str(), "https://gate.example.com");
    assert_eq!(client.grants, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
    assert_eq!(client.idle_timeout, Duration::from_secs(8 * 3600));
    assert_eq!(client.absolute_timeout, Duration::from_secs(7 * 86_400));
    assert!(matches!(client.credential, ClientCredential::None));
    assert!(!client.accept_any_access_token);
    assert_eq!(settings.routes[0].cors, CorsSpeaker::Gateway);
    assert_eq!(settings.sessions.grace, Duration::from_secs(30));
    assert_eq!(
        (settings.limits.token, settings.limits.header, settings.limits.body),
        (8192, 32768, 10 << 20)
    );
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.log.level, tracing::Level::INFO);
    assert_eq!(settings.log.subject, SubjectInLog::Plain);
    let headers: Vec<_> =
        settings.identity.headers.iter().flatten().map(|(n, c)| (n.as_str(), c.as_str())).collect();
    let default = [
        ("x-auth-subject", "sub"),
        ("x-auth-client", "client_id"),
        ("x-auth-scope", "scope"),
        ("x-auth-issuer", "iss"),
    ];
    assert_eq!(headers, default);
    assert_eq!(settings.identity.default, RouteIdentity::default());
    assert_eq!(settings.routes[0].forwarding.identity, RouteIdentity::default());
    assert!(settings.identity.assertion_keys.is_none());
}

/// A file in which every key of the schema stands.
fn full(folder: &Path) -> String {
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
  - { path: /c, to: several, public: false, issuers: keys, cors: { headers: If-Match } }
  - { path: /d, to: several, issuers: corp, sign_in: desk, extends_session: false }
upstreams:
  several:
    url: [https://c.example.net, https://d.example.net]
    host: client
    case_sensitive: true
    balance: { consistent: sub }
    health: { path: /healthz, interval: 5s, timeout: 1s }
    tls: { ca: gate.pem, server_name: gate.example.com, certificate: gate.pem, key: gate.key }
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
  sentinel: { master: mymaster, username: watcher, password: sentinel-hunter2 }
  cluster: false
  prefix: "gate-a:"
  on_outage: serve
  max_staleness: 1m
limits: { token: 4KiB, header: 16KiB, body: 1MiB, connections: 5000, connections_per_address: 100, requests_per_address: 600/m, denials_per_address: 30/m }
log: { format: text, level: debug, subject: hash }
cors: { headers: [Idempotency-Key] }
"#
    .to_owned()
}

#[test]
fn every_key_of_the_schema_is_read_and_every_key_that_is_read_is_in_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let text = full(folder.path());
    let loaded =
        config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap_or_else(|e| panic!("{e}"));
    let known: BTreeSet<String> = schema::paths().into_iter().map(|(path, _)| path).collect();
    assert_eq!(loaded.asked, known);
}

/// By them a logout token, or an ID token, is told to be for somebody here (OpenID Connect Back-Channel
/// Logout 1.0 section 2.6).
#[test]
fn a_client_is_a_client_of_its_own_issuer_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = full(folder.path())
        .replace("  web:\n    issuer: corp\n", "  web:\n    issuer: next\n")
        .replace("  keys:\n", "  next: { url: https://next.example.com, audience: api }\n  keys:\n");
    let Loaded { settings, .. } = config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap();
    let known: Vec<_> = settings
        .issuers
        .iter()
        .map(|issuer| {
            let ids: Vec<&str> = issuer.rules.client_ids.iter().map(String::as_str).collect();
            (issuer.name.as_str(), ids, issuer.signs_in)
        })
        .collect();
    assert_eq!(
        known,
        [
            ("corp", vec!["0oa1b2c3", "desk"], true),
            ("next", vec!["web"], false),
            ("keys", vec![], false),
            ("file", vec![], false),
            ("old", vec![], false)
        ]
    );
}

#[test]
fn long_forms_mean_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let text = full(folder.path());
    let Loaded { settings, .. } = config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap();
    let shown: Vec<&str> = settings.certificates.iter().map(|shown| shown.file.as_str()).collect();
    assert_eq!(shown, ["ca.pem", "gate.pem"], "to upstreams, and with a private key");
    let corp = &settings.issuers[0];
    assert_eq!(corp.rules.iss, "https://login.example.com/realms/main");
    assert_eq!(corp.rules.audiences, ["https://api.example.com"]);
    assert_eq!(corp.rules.client_ids, ["0oa1b2c3", "web", "desk"]);
    assert_eq!(corp.rules.claims.scope, ["scp"]);
    assert_eq!(corp.rules.claims.access_token, ["uid"]);
    assert!(matches!(&corp.keys, KeySource::Discovery(Some(url)) if url.path() == "/meta.json"));
    assert_eq!(corp.ca.as_deref(), Some(CERTIFICATE.as_bytes()));
    let credentials_for_proxy =
        ProxyCredentials { username: "gate".to_owned(), password: "proxy-hunter2".into() };
    let proxy = |port| Proxy {
        at: HostPort::new("proxy.internal", port),
        credentials: Some(credentials_for_proxy.clone()),
    };
    let detour =
        |of: &str, host: &str, port| Detour { of: HostPort::new(of, 443), to: HostPort::new(host, port) };
    assert_eq!(corp.way.proxy, Some(proxy(3128)));
    assert_eq!(corp.way.detour, Some(detour("login.example.com", "keycloak.svc", 8443)));
    assert_eq!(settings.issuers[1].way, Way::default());
    assert!(matches!(settings.issuers[1].keys, KeySource::JwksUri(_)));
    assert!(
        matches!(&settings.issuers[2].keys, KeySource::JwksFile { path, .. } if *path == folder.path().join("keys.json"))
    );
    assert!(matches!(&settings.issuers[3].keys, KeySource::SharedSecret(s) if s.expose().len() == 32));
    assert_eq!(settings.issuers[3].rules.algorithms, [Algorithm::Hs256]);
    let portal = &settings.clients[0];
    assert!(
        matches!(&portal.credential, ClientCredential::PrivateKey(key) if key.algorithm == Algorithm::Es256
            && key.names.kid.as_deref() == Some("2026")
            && key.audience == Audience::TokenEndpoint
            && key.names.certificate.as_deref() == Some("NLtWMsqntetVDImsJHdhdJAFbK8T5GIFqOirAs2MHcI"))
    );
    assert_eq!(portal.scope.as_deref(), Some("openid offline_access"));
    assert_eq!(portal.grants, [GrantType::RefreshToken]);
    assert_eq!(
        portal.cookie,
        CookieSettings { name: "__Host-portal".to_owned(), path: "/".to_owned(), same_site: SameSite::Lax }
    );
    let a = requirements(&settings, 0);
    assert_eq!((a.scope.len(), a.any_scope.len(), a.acr.len()), (2, 2, 1));
    let literal = |value: serde_json::Value| ClaimValue::Literal(value);
    assert_eq!(a.claims[0].name, "https://example.com/roles");
    assert_eq!(a.claims[0].values, [literal("staff".into()), literal(7.into()), literal(true.into())]);
    let public_url = &settings.public_url;
    let resources = settings.routes.iter().map(|route| route.resource.identifier(public_url));
    assert_eq!(
        resources.collect::<Vec<_>>(),
        [
            "https://api.example.com",
            "https://gate.example.com/b",
            "https://gate.example.com/c",
            "https://gate.example.com/d"
        ]
    );
    assert_eq!(settings.routes.iter().filter(|route| route.report_only).count(), 1);
    let portal = (corp.name.clone(), "0oa1b2c3".to_owned());
    assert_eq!(a.clients.as_deref(), Some([portal].as_slice()));
    let names: Vec<&str> = settings.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["a", "/b", "/c", "/d"]);
    let upstreams: Vec<&str> = settings.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(upstreams, ["several", "http://10.0.0.1:3000"]);
    assert_eq!(settings.sessions.keys[0].expose(), &[10; 32]);
    assert_eq!(settings.trusted_proxies.len(), 2);
    let okta = &settings.signals[0];
    assert_eq!(okta.rules.revokes, ["https://login.example.com/realms/main", "https://file.example.com"]);
    assert_eq!(okta.rules.events, [EventType::SessionRevoked, EventType::CredentialChange]);
    assert_eq!(okta.token.as_ref().unwrap().expose(), b"signals-hunter2-hunter2");
    let SignalKeys::Own(called) = &okta.keys else { panic!("{:?}", okta.keys) };
    assert!(matches!(&called.keys, KeySource::Discovery(Some(url)) if url.path() == "/ssf.json"));
    assert_eq!(
        (called.timeout, called.ca.as_deref()),
        (Duration::from_secs(3), Some(CERTIFICATE.as_bytes()))
    );
    assert_eq!(called.way.proxy, Some(proxy(80)));
    assert_eq!(called.way.detour, Some(detour("okta.example.com", "[fd00::7]", 443)));
    let corp = &settings.signals[1];
    assert!(matches!(&corp.keys, SignalKeys::OfIssuer(name) if name.as_str() == "corp"));
    assert_eq!((corp.rules.algorithms.as_slice(), corp.rules.events.len()), (&[Algorithm::Es256][..], 6));
    let names: Vec<_> = settings.called().iter().map(|called| called.name.to_string()).collect();
    assert_eq!(names, ["corp", "keys", "file", "old", "signals/okta", "signals/url", "signals/file"]);
    let store = &settings.store;
    assert_eq!(store.folder, Path::new("/var/lib/tollgate"));
    assert_eq!(
        store.to_string(),
        "rediss://sentinel-1:26379,[fd00::2]:26379/2 (Sentinels of mymaster)",
        "neither user nor password"
    );
    let redis = store.redis.as_ref().unwrap();
    assert_eq!((redis.prefix.as_str(), redis.on_outage, redis.database), ("gate-a:", OnOutage::Serve, 2));
    assert_eq!(redis.max_staleness, Duration::from_secs(60));
    assert_eq!(redis.tls.as_ref().unwrap().authorities.len(), 1);
    assert_eq!(redis.credentials, credentials(Some("gate"), "redis-hunter2"));
    let Topology::Sentinel { master, credentials: of_sentinels } = &redis.topology else { panic!() };
    assert_eq!(master, "mymaster");
    assert_eq!(*of_sentinels, credentials(Some("watcher"), "sentinel-hunter2"));
}

fn credentials(username: Option<&str>, password: &str) -> RedisCredentials {
    RedisCredentials { username: username.map(str::to_owned), password: Some(password.into()) }
}

#[test]
fn a_secret_never_shows_in_settings_or_errors() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = config::parse(&full(folder.path()), folder.path(), &env, &|path| fs::read(path)).unwrap();
    let shown = format!("{:?}{}", loaded.settings, config::summary::summary("config.yaml", &loaded));
    for secret in
        ["a secret of the demo", "0123456789abcdef", "MIGHAgEA", "0a0a0a0a", "10, 10, 10", "-hunter2"]
    {
        assert!(!shown.contains(secret), "{secret}");
    }
    let told = errors(&good().issuer("shared_secret: hunter2, algorithms: [ES256]").text()).concat();
    assert!(!told.contains("hunter2"), "{told}");
    let told = errors(&good().issuer("clock_skew: \"${SECRET_DURATION}\"").text()).concat();
    assert!(!told.contains("hunter2") && told.contains("SECRET_DURATION"), "{told}");
    for line in [r#"origins: "https://u:hunter2@app.example.com""#, "secret: [hunter2]", "secert: hunter2"] {
        let told = errors(&good().client(line).text()).concat();
        assert!(!told.contains("hunter2"), "{told}");
    }
    let told = errors(&good().with("sessions: { keys: [hunter2] }").text()).concat();
    assert!(!told.contains("hunter2"), "{told}");
}

/// Whose braces nobody quoted: its parts are names of keys then.
#[test]
fn a_secret_in_braces_is_repeated_by_no_message() {
    let secret = "clients.web.secret";
    for braces in [
        "{hunter2}",
        "{hunter2, hunter2}",
        "{ file: a, hunter2: b }",
        "{ fil: hunter2, hunter2: {} }",
        "{ hunter2: [1] }",
    ] {
        let text = good().client(&format!("secret: {braces}")).text();
        only_error(&text, secret, "other keys than `file`; write text in quotes");
        assert!(!parse(&text).unwrap_err().to_string().contains("hunter2"), "{braces}");
    }
    for (text, place) in [
        (good().with("sessions: { keys: {hunter2} }"), "sessions.keys"),
        (good().with("sessions: { keys: {hunter2: 1, hunter2: 2} }"), "sessions.keys"),
        (good().with("sessions: { keys: [{hunter2}] }"), "sessions.keys[0]"),
        (good().with("admin: { address: 127.0.0.1:1, token: {hunter2} }"), "admin.token"),
        (good().issuer("shared_secret: {hunter2: x}, algorithms: HS256"), "issuers.corp.shared_secret"),
    ] {
        let found = errors(&text.text()).concat();
        assert!(found.contains(place) && !found.contains("hunter2"), "{found}");
    }
    let twice = errors(&good().client("secret: { file: a, file: b }").text()).concat();
    assert!(twice.contains("clients.web.secret.file: is given twice"), "{twice}");
}

#[test]
fn no_error_repeats_what_a_variable_holds() {
    let gate = "public_url: https://gate.example.com";
    let again = |routes: &str| Parts { routes: routes.to_owned(), ..good() };
    let client = |more: &str| good().client(more);
    let every_name = ["HELD", "HELD_NAME", "HELD_CASE", "HELD_PORT", "HELD_DOT", "HELD_URL", "HELD_SPELT"];
    let mut cases: Vec<Parts> = Vec::new();
    for name in every_name {
        let keys =
            ["host", "issuers", "clients", "sign_in", "methods", "resource", "strip_prefix", "rewrite"];
        for key in keys.into_iter().chain(["encoded_slash"]) {
            cases.push(good().route(&format!("{key}: \"${{{name}}}\"")));
        }
        cases.push(again(&format!("  - {{ path: \"${{{name}}}/\", to: \"http://10.0.0.1:3000\" }}\n")));
        cases.push(again(&format!("  - {{ path: \"/${{{name}}}/../x\", to: \"http://10.0.0.1:3000\" }}\n")));
        cases.push(again(&format!("  - {{ path: \"/x/*\", to: \"${{{name}}}\" }}\n")));
        for key in ["issuer", "origins", "grants", "login", "mode", "redirect_uri", "return_to"] {
            cases.push(client(&format!("{key}: \"${{{name}}}\"")));
        }
        for key in ["url", "discovery", "algorithms", "clock_skew", "ca"] {
            cases.push(good().issuer(&format!("{key}: \"${{{name}}}\"")));
        }
        for key in ["admin", "trusted_proxies", "limits: { connections", "log: { level", "store: { url"] {
            let end = if key.contains('{') { " }" } else { "" };
            cases.push(good().with(&format!("{key}: \"${{{name}}}\"{end}")));
        }
    }
    let to = "to: \"http://10.0.0.1:3000\"";
    cases.extend([
        again(&format!("  - {{ path: \"${{HELD_PATH}}/*\", {to} }}\n").repeat(2)),
        again(&format!("  - {{ path: /x, host: \"${{HELD_NAME}}\", {to} }}\n").repeat(2)),
        again(&format!("  - {{ path: /x/*, name: \"${{HELD}}\", {to} }}\n  - {{ path: /y/*, name: \"${{HELD}}\", {to} }}\n")),
        again(&format!("  - {{ path: \"${{HELD_PATH}}/*\", strip_prefix: /x, {to} }}\n")),
        good().route("require: { scope: \"${HELD_SCOPES}\" }"),
        good().issuer("timeout: \"${HELD_TIME}\""),
        good().with("trusted_proxies: \"${HELD_NETWORK}\""),
        good().with("admin: \"${HELD_ADDRESS}\""),
    ]);
    let mut same_id = good().client("client_id: \"${HELD}\"");
    same_id.clients += &same_id.clients.replace("web:", "other:");
    cases.push(same_id);
    let mut listeners = good();
    listeners.top = format!("{gate}\nlisten: [\"${{HELD_ADDRESS}}\", \"${{HELD_ADDRESS}}\"]\n");
    cases.push(listeners);
    let short = errors(&good().route("clients: \"${HELD_LETTER}\"").text()).concat();
    assert!(short.contains("there is no client `${HELD_LETTER}`; no client is configured"), "{short}");
    let mut told = 0;
    for text in cases.iter().map(Parts::text) {
        let Err(errors) = parse(&text) else { continue };
        told += 1;
        let shown = errors.to_string().to_lowercase();
        for held in ["hunter2", "4242", "10.42"] {
            assert!(!shown.contains(held), "{shown}\n{text}");
        }
    }
    assert!(told > 100, "{told} of {}", cases.len());
}

#[test]
fn variables_are_replaced_after_parsing_and_once() {
    let settings = settings(&good().client("secret: \"${TWICE}\", resource: \"${AUDIENCE}\"").text());
    assert!(
        matches!(&settings.clients[0].credential, ClientCredential::Secret(s) if s.expose() == "${WEB_APP_SECRET}")
    );
    assert_eq!(settings.clients[0].resource.as_deref(), Some("https://api.example.com"));
    let text = good().route("require: { claims: { sub: \"${TRAP}\", a: \"$$5\" } }").text();
    let loaded = parse(&text).unwrap();
    let claims = &requirements(&loaded.settings, 0).claims;
    assert_eq!(claims[0].values, [ClaimValue::Literal("{id}".into())], "a variable is never a parameter");
    assert_eq!(claims[1].values, [ClaimValue::Literal("$5".into())]);
    assert!(matches!(
        parse(&good().route("public: \"${PUBLIC}\"").text()).unwrap().settings.routes[0].access,
        Access::Public
    ));
}

#[test]
fn a_variable_that_is_missing_or_a_default_in_a_secret_closes_the_gate() {
    only_error(&good().client("secret: \"${NO_SUCH}\"").text(), "clients.web.secret", "`NO_SUCH` is not set");
    only_error(
        &good().client("secret: \"${WEB_APP_SECRET:-x}\"").text(),
        "clients.web.secret",
        "must not have a default",
    );
    only_error(&good().client("secret: \"${EMPTY}\"").text(), "clients.web.secret", "empty");
    only_error(&good().client("secret: 12345678").text(), "clients.web.secret", "quote");
    only_error(&good().client("resource: \"$AUDIENCE\"").text(), "clients.web.resource", "`${NAME}`");
    only_error(&good().client("resource: \"${EMPTY}\"").text(), "clients.web.resource", "empty");
    assert_eq!(
        settings(&good().client("resource: \"${NO:-urn:x}\"").text()).clients[0].resource.as_deref(),
        Some("urn:x")
    );
}

#[test]
fn a_secret_file_is_read_beside_the_config_without_one_newline() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], Result<&str, &str>); 6] = [
        (b"hunter2\n", Ok("hunter2")),
        (b"hunter2\r\n", Ok("hunter2")),
        (b"${WEB_APP_SECRET}", Ok("${WEB_APP_SECRET}")),
        (b"two\n\n", Err("one line")),
        (b"", Err("empty")),
        (b"\n", Err("nothing but a newline")),
    ];
    fs::write(folder.path().join("config.yaml"), good().client("secret: { file: secret.txt }").text())
        .unwrap();
    for (content, expected) in cases {
        fs::write(folder.path().join("secret.txt"), content).unwrap();
        let loaded = config::load(&folder.path().join("config.yaml"), &env);
        match (loaded, expected) {
            (Ok(loaded), Ok(secret)) => {
                let ClientCredential::Secret(found) = &loaded.settings.clients[0].credential else {
                    panic!()
                };
                assert_eq!(found.expose(), secret);
            }
            (Err(errors), Err(part)) => assert!(errors.to_string().contains(part), "{errors}"),
            (loaded, _) => panic!("{content:?}: {loaded:?}"),
        }
    }
    fs::remove_file(folder.path().join("secret.txt")).unwrap();
    let errors = config::load(&folder.path().join("config.yaml"), &env).unwrap_err();
    assert!(errors.to_string().contains("`secret.txt` cannot be read"), "{errors}");
    assert!(errors.to_string().contains("clients.web.secret.file"), "{errors}");
}

#[test]
fn the_network_must_make_sense() {
    let top = |top: &str| Parts { top: top.to_owned(), ..good() }.text();
    only_error(&top("public_url: http://gate.example.com\nlisten: 0.0.0.0:80\n"), "public_url", "https");
    only_error(
        &top("public_url: https://gate.example.com/\nlisten: 0.0.0.0:80\n"),
        "public_url",
        "without path",
    );
    only_error(
        &top("public_url: https://gate.example.com\nlisten: localhost:80\n"),
        "listen",
        "IP address and port",
    );
    only_error(
        &top("public_url: https://gate.example.com\nlisten: 127.0.0.1:8081\n"),
        "listen",
        "same address",
    );
    only_error(
        &top("public_url: https://gate.example.com\nlisten: 0.0.0.0:9\nadmin: 127.0.0.1:9\n"),
        "admin",
        "same address",
    );
    only_error(
        &top("public_url: https://gate.example.com\nlisten: 127.0.0.1:9\nadmin: \"[::ffff:127.0.0.1]:9\"\n"),
        "admin",
        "same address",
    );
    only_error(&good().with("trusted_proxies: [10.1.0.0/8]").text(), "trusted_proxies[0]", "`10.0.0.0/8`");
    let mapped = "trusted_proxies: [\"::ffff:10.0.0.0/104\", \"::ffff:192.0.2.1\", \"2001:db8::/32\"]";
    let proxies = settings(&good().with(mapped).text()).trusted_proxies;
    let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"], "as peers are compared");
    only_error(
        &good().with("trusted_proxies: \"::ffff:10.1.0.0/104\"").text(),
        "trusted_proxies",
        "`10.0.0.0/8`",
    );
    assert!(
        parse(&good().with("trusted_proxies: 0.0.0.0/0").text()).unwrap().warnings[0]
            .message
            .contains("anybody")
    );
    for loopback in ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080", "http://app.localhost"]
    {
        assert!(parse(&top(&format!("public_url: {loopback}\nlisten: 0.0.0.0:80\n"))).is_ok(), "{loopback}");
    }
}

#[test]
fn a_proxy_and_another_address_are_said_so_that_they_can_be_used() {
    let at = |key: &str| format!("issuers.corp.{key}");
    for (keys, place, says) in [
        ("proxy: \"https://proxy:3128\"", "proxy", "write `http://`"),
        ("proxy: \"proxy:3128\"", "proxy", "write it like `http://proxy.internal:3128`"),
        ("proxy: proxy.internal", "proxy", "write it like `http://proxy.internal:3128`"),
        ("proxy: \"socks5://proxy:1080\"", "proxy", "write it like `http://proxy.internal:3128`"),
        ("proxy: \"http://proxy:3128/\"", "proxy", "without path"),
        ("proxy: \"http://gate:hunter2@proxy:3128\"", "proxy", "user or password"),
        ("proxy: { url: \"http://proxy\", username: gate }", "proxy.username", "`password` beside it"),
        ("proxy: { url: \"http://proxy\", password: x }", "proxy.password", "`username` beside it"),
        ("proxy: { url: \"http://proxy\", username: \"a:b\", password: x }", "proxy.username", "RFC 7617"),
        ("proxy: { url: \"http://proxy\", username: a, password: \"x\\ny\" }", "proxy.password", "one line"),
        ("proxy: { url: \"http://proxy\", username: a, password: \"${X:-y}\" }", "proxy.password", "default"),
        ("connect_to: keycloak.svc", "connect_to", "write them like `keycloak.svc:8443`"),
        ("connect_to: \"https://keycloak.svc:8443\"", "connect_to", "is not a host and a port"),
        ("proxy: \"http://proxy\", jwks_file: x.json", "jwks_file", "cannot be read"),
    ] {
        let told = errors(&good().issuer(keys).text());
        assert!(told.iter().any(|told| told.contains(&at(place)) && told.contains(says)), "{keys}: {told:?}");
        assert!(!told.iter().any(|told| told.contains("hunter2")), "{told:?}");
    }
    let shared = "shared_secret: \"0123456789abcdef0123456789abcdef\"";
    for key in ["proxy: \"http://proxy:3128\"", "connect_to: keycloak.svc:8443"] {
        let place = at(key.split(':').next().unwrap());
        only_error(&good().issuer(&format!("{shared}, {key}")).text(), &place, "never called");
        let signals =
            format!("signals: {{ own: {{ issuer: \"https://login.example.com\", audience: a, {key} }} }}");
        let place = place.replace("issuers.corp", "signals.own");
        only_error(&good().with(&signals).text(), &place, "never called");
    }
    let written = "issuers.corp.connect_to";
    only_error(&good().issuer("connect_to: \"${HELD_PATH}\"").text(), written, "`${HELD_PATH}` is not");
}

#[test]
fn an_issuer_in_clear_text_is_called_through_no_proxy_and_another_host_than_its_own_not_at_connect_to() {
    let top = "public_url: http://localhost:8080\nlisten: 127.0.0.1:8080\n".to_owned();
    let local = |keys: &str| Parts {
        top: top.clone(),
        issuers: format!("  corp: {{ audience: api, {keys} }}\n"),
        ..good()
    };
    let proxy = "proxy: \"http://proxy:3128\"";
    let plain = format!("url: \"http://127.0.0.1:8082\", {proxy}");
    only_error(&local(&plain).text(), "issuers.corp.proxy", "`url` is `http`");
    let mixed = format!("url: \"https://as.example\", jwks_uri: \"http://localhost/keys\", {proxy}");
    only_error(&local(&mixed).text(), "issuers.corp.proxy", "`jwks_uri` is `http`");
    let near = local("url: \"http://127.0.0.1:8082\", connect_to: \"127.0.0.1:9082\"");
    assert!(parse(&near.text()).unwrap().warnings.is_empty());

    let elsewhere = "discovery: \"https://login.example.com:8443/meta\", connect_to: keycloak.svc:8443";
    let warnings = parse(&good().issuer(elsewhere).text()).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].path, "issuers.corp.connect_to");
    assert!(warnings[0].message.contains("says nothing of `discovery`"), "{warnings:?}");
    let same = "discovery: \"https://login.example.com/meta\", connect_to: keycloak.svc:8443";
    assert!(parse(&good().issuer(same).text()).unwrap().warnings.is_empty());
}

#[test]
fn a_proxy_in_the_environment_that_is_not_read_is_warned_of_once() {
    let warnings = |text: &str, variable: &str, held: &str| -> Vec<String> {
        let env = |name: &str| if name == variable { Some(held.to_owned()) } else { env(name) };
        let read = config::parse(text, Path::new("/etc/tollgate"), &env, &|path| fs::read(path)).unwrap();
        let warnings = read.warnings.iter();
        warnings.map(|warning| format!("{}: {}", warning.path, warning.message)).collect()
    };
    let two = Parts {
        issuers: good().issuers + "  next: { url: \"https://next.example.com\", audience: api }\n",
        ..good()
    }
    .with("signals: { okta: { issuer: \"https://okta.example\", audience: a, revokes: corp } }")
    .text();
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let told = warnings(&two, variable, "http://gate:hunter2@proxy:3128");
        let [told] = told.as_slice() else { panic!("{told:?}") };
        assert!(told.starts_with(&format!("issuers: `{variable}` is set")), "{told}");
        assert!(told.contains("are `issuers.corp`, `issuers.next`, `signals.okta`;"), "{told}");
        assert!(told.contains("`issuers.corp.proxy: http://proxy.internal:3128`"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert!(warnings(&two, "HTTPS_PROXY", "").is_empty());
    assert!(warnings(&two, "NO_PROXY", "*").is_empty());
    let proxied = good().issuer("proxy: \"http://proxy:3128\"").text();
    let given = good().issuer("shared_secret: \"0123456789abcdef0123456789abcdef\"").text();
    for text in [proxied, given] {
        let told = warnings(&text, "HTTPS_PROXY", "http://proxy:3128");
        assert!(!told.iter().any(|told| told.contains("HTTPS_PROXY")), "{told:?}");
    }
    let mut local = good();
    local.top = "public_url: http://localhost:8080\nlisten: 127.0.0.1:8080\n".to_owned();
    local.issuers = "  corp: { audience: api, url: \"https://localhost:8443\" }\n".to_owned();
    assert!(warnings(&local.text(), "HTTPS_PROXY", "http://proxy:3128").is_empty());
}

#[test]
fn issuers_are_reached_over_https_unless_all_is_on_loopback() {
    let issuer = |keys: &str| Parts { issuers: format!("  corp: {{ audience: api, {keys} }}\n"), ..good() };
    only_error(&issuer("url: \"http://login.example.com\"").text(), "issuers.corp.url", "https");
    only_error(&issuer("url: \"http://127.0.0.1:8082\"").text(), "issuers.corp.url", "https");
    let url = "url: \"https://login.example.com\"";
    only_error(
        &issuer(&format!("{url}, jwks_uri: \"http://a/keys\"")).text(),
        "issuers.corp.jwks_uri",
        "https",
    );
    only_error(
        &issuer(&format!("{url}, discovery: \"http://a/meta\"")).text(),
        "issuers.corp.discovery",
        "https",
    );
    let mut local = issuer("url: \"http://127.0.0.1:8082\"");
    local.top = "public_url: http://localhost:8080\nlisten: 127.0.0.1:8080\n".to_owned();
    assert!(parse(&local.text()).unwrap().warnings.is_empty());
    local.issuers = local.issuers.replace("127.0.0.1", "as.internal");
    assert!(parse(&local.text()).unwrap().warnings[0].message.contains("https"));
    for bad in [
        "login.example.com",
        "https://login.example.com#x",
        "https://u:p@login.example.com",
        "https://a?b",
        "ftp://a",
    ] {
        only_error(&issuer(&format!("url: \"{bad}\"")).text(), "issuers.corp.url", "");
    }
}

#[test]
fn an_issuer_has_one_source_of_keys_and_the_algorithms_that_fit_it() {
    let secret = "shared_secret: 0123456789abcdef0123456789abcdef";
    only_error(
        &good().issuer("shared_secret: 0123456789abcdef0123456789abcde").text(),
        "issuers.corp.shared_secret",
        "31 bytes",
    );
    only_error(
        &good().issuer(&format!("{secret}, jwks_uri: \"https://a/k\"")).text(),
        "issuers.corp.shared_secret",
        "keep one",
    );
    only_error(
        &good().issuer(&format!("{secret}, algorithms: [HS256, RS256]")).text(),
        "issuers.corp.algorithms[1]",
        "only HS256, HS384 and HS512",
    );
    only_error(&good().issuer(&format!("{secret}, timeout: 3s")).text(), "issuers.corp.timeout", "no effect");
    for name in ["HS256", "HS384", "HS512"] {
        let told = format!("{name} needs `shared_secret`");
        let beside = format!("algorithms: [ES256, {name}]");
        only_error(&good().issuer(&beside).text(), "issuers.corp.algorithms[1]", &told);
    }
    only_error(&good().issuer("algorithms: [none]").text(), "issuers.corp.algorithms[0]", "not known");
    only_error(
        &good().issuer("algorithms: [rs256]").text(),
        "issuers.corp.algorithms[0]",
        "did you mean `RS256`",
    );
    only_error(&good().issuer("algorithms: []").text(), "issuers.corp.algorithms", "empty");
    only_error(&good().issuer("jwks_file: gone.json").text(), "issuers.corp.jwks_file", "cannot be read");
    only_error(&good().issuer("ca: gone.pem").text(), "issuers.corp.ca", "cannot be read");
    let folder = tempfile::tempdir().unwrap();
    for (name, pem, says) in [
        ("none.pem", "no certificate\n", "no certificate"),
        (
            "empty.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be an authority's",
        ),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, pem).unwrap();
        let ca = format!("ca: {}", path.display());
        only_error(&good().issuer(&ca).text(), "issuers.corp.ca", says);
    }
    assert!(parse(&good().issuer(secret).text()).unwrap().warnings[0].message.contains("HS256"));
}

#[test]
fn a_shared_secret_is_long_enough_for_each_algorithm_that_is_listed() {
    let of = |length: usize, algorithms: &str| {
        let secret = "s".repeat(length);
        good().issuer(&format!("shared_secret: {secret}, algorithms: {algorithms}")).text()
    };
    for (length, algorithms, told) in [
        (
            31,
            "HS256",
            "has 31 bytes; HS256 needs 32 or more (RFC 7518 section 3.2); `openssl rand -base64 48`",
        ),
        (
            47,
            "[HS256, HS384]",
            "has 47 bytes; HS384 needs 48 or more (RFC 7518 section 3.2); `openssl rand -base64 48`",
        ),
        (63, "HS512", "has 63 bytes; HS512 needs 64 or more (RFC 7518 section 3.2); `openssl rand -hex 64`"),
        (20, "[HS512, HS256]", "has 20 bytes; HS512 needs 64 or more"),
    ] {
        only_error(&of(length, algorithms), "issuers.corp.shared_secret", told);
    }
    use Algorithm::{Hs256, Hs384, Hs512};
    for (length, text, algorithms) in [
        (32, "HS256", &[Hs256][..]),
        (48, "[HS384]", &[Hs384]),
        (64, "HS512", &[Hs512]),
        (64, "[HS512, HS256]", &[Hs512, Hs256]),
    ] {
        let loaded = parse(&of(length, text)).unwrap();
        assert_eq!(loaded.settings.issuers[0].rules.algorithms, algorithms);
        let names: Vec<&str> = algorithms.iter().map(|one| one.name()).collect();
        assert!(loaded.warnings[0].message.starts_with(&format!("{}: whoever", names.join(", "))));
        let summary = config::summary::summary("config.yaml", &loaded);
        assert!(summary.contains(&format!("{} with a shared secret", names.join(" or "))), "{summary}");
    }
}

#[test]
fn a_number_where_text_is_due_is_quoted_as_it_is_meant() {
    for number in ["12e45", "7", "0x10", "1.50"] {
        let text = good().client(&format!("client_id: {number}")).text();
        only_error(&text, "clients.web.client_id", "quote it as you mean it");
        let told = errors(&text).concat();
        assert!(!told.contains('+') && !told.contains("`\""), "{told}");
    }
    only_error(
        &good().route("public: 12e45").text(),
        "routes[0].public",
        "is a number, neither `true` nor `false`",
    );
}

#[test]
fn a_url_has_no_space_around_it_that_would_be_sent_and_compared() {
    let spaced = |parts: &Parts| parts.text().replace("https://login.example.com", "${SPACE_AFTER}");
    only_error(&spaced(&good()), "issuers.corp.url", "ends with a space");
    only_error(
        &good().issuer("discovery: \"${SPACE_AFTER}\"").text(),
        "issuers.corp.discovery",
        "ends with a space",
    );
    only_error(
        &good().client("resource: \"${SPACE_AFTER}\"").text(),
        "clients.web.resource",
        "ends with a space",
    );
    let native = native("redirect_uri: \"${SPACE_AFTER}\"");
    assert!(errors(&native).concat().contains("ends with a space"), "{native}");
}

#[test]
fn an_issuer_has_an_audience_and_an_iss_of_its_own() {
    let issuers = |text: &str| Parts { issuers: text.to_owned(), ..good() }.text();
    only_error(
        &issuers("  corp: { url: \"https://a\", audience: \"\" }\n"),
        "issuers.corp.audience",
        "empty",
    );
    only_error(&issuers("  corp: { url: \"https://a\", audience: [] }\n"), "issuers.corp.audience", "empty");
    only_error(&issuers("  corp: { url: \"https://a\" }\n"), "issuers.corp", "`audience` is missing");
    let two = "  a: { url: \"https://a\", audience: x }\n  b: { url: \"https://a\", audience: y }\n";
    only_error(&issuers(two), "issuers.b.url", "`a` has this URL too");
    only_error(&issuers("  {}\n"), "issuers", "no issuer");
    only_error(
        &issuers("  \"a b\": { url: \"https://a\", audience: x }\n"),
        "issuers[\"a b\"]",
        "does not fit",
    );
}

#[test]
fn clients_must_be_able_to_do_what_they_are_for() {
    let web = |more: &str| good().client(more).text();
    only_error(&web("issuer: crop"), "clients.web.issuer", "did you mean `corp`");
    only_error(
        &web("secret: x, private_key: { file: a.pem }").replace("a.pem", &key_file("p256", P256)),
        "clients.web.private_key",
        "keep one",
    );
    only_error(&web("grants: [client_credentials]"), "clients.web.grants[0]", "lends its client secret");
    only_error(&web("grants: [refresh]"), "clients.web.grants[0]", "`refresh_token`");
    only_error(&web("origins: [\"https://gate.example.com/\"]"), "clients.web.origins[0]", "without path");
    only_error(
        &web(
            "origins: [\"https://gate.example.com\", \"http://app.example.com\"], cookie: { same_site: none }",
        ),
        "clients.web.origins[1]",
        "https",
    );
    only_error(&web("origins: \"https://other.test\""), "clients.web.origins", "another site");
    assert!(parse(&web("origins: \"https://other.test\", cookie: { same_site: none }")).is_ok());
    assert!(parse(&web("origins: \"https://app.example.com\"")).is_ok());
    only_error(&web("resource: api"), "clients.web.resource", "RFC 8707");
    only_error(&web("idle_timeout: 8d"), "clients.web.idle_timeout", "longer than `absolute_timeout`");
    only_error(
        &web("").replace("mode: token", "mode: bff"),
        "clients.web.mode",
        "`token`, `session`, `native`",
    );
    only_error(
        &web("").replace("https://gate.example.com/in", "/in"),
        "clients.web.redirect_uri",
        "write it whole",
    );
    only_error(
        &web("").replace("https://gate.example.com/in", "http://gate.example.com/in"),
        "clients.web.redirect_uri",
        "in the clear",
    );
    only_error(
        &web("").replace(" redirect_uri: \"https://gate.example.com/in\",", ""),
        "clients.web",
        "`redirect_uri` is missing",
    );
    let mut two = good().client("");
    two.issuers.push_str("  other: { url: \"https://other\", audience: x }\n");
    only_error(&two.text(), "clients.web", "whose client this is");
    only_error(&good().issuer("jwks_uri: \"https://a/k\"").client("").text(), "clients.web", "no endpoints");
}

#[test]
fn a_client_that_is_an_audience_is_warned_of_unless_the_type_tells_its_tokens_apart() {
    let of = |audience: &str, more: &str, client: &str| {
        let mut parts = good().client(client);
        parts.issuers =
            format!("  corp: {{ url: \"https://login.example.com\", audience: {audience}, {more} }}\n");
        let warnings = parse(&parts.text()).unwrap().warnings;
        let found = warnings.into_iter().find(|warning| warning.message.contains("is also an `audience`"));
        assert!(found.as_ref().is_none_or(|warning| warning.path.starts_with("clients.web")), "{found:?}");
        found.map(|warning| warning.message)
    };
    let alone = of("web", "", "").unwrap();
    assert!(alone.contains("every other `audience` there is a client, too"), "{alone}");
    assert!(alone.contains("refused (`wrong_token_type`), unless its `typ` is `at+jwt`"), "{alone}");
    assert!(alone.contains("issuers.corp.audience"), "{alone}");
    let beside = of("[api, spa]", "token_type: jwt", "client_id: spa").unwrap();
    assert!(!beside.contains("every other") && beside.contains("`wrong_token_type`"), "{beside}");
    assert_eq!(of("[api, web]", "token_type: at+jwt", ""), None);
    assert_eq!(of("api", "", ""), None);
}

#[test]
fn a_claim_that_names_somebody_is_warned_of_where_several_issuers_could_mean_somebody_else() {
    let of = |route: &str, more: &str| -> Vec<String> {
        let two = "issuers:
  one: { url: \"https://one.example.com\", audience: api }
  two: { url: \"https://two.example.com\", audience: api }
clients:
  first: { mode: native, issuer: one }
  second: { mode: native, issuer: two }
";
        let text = format!(
            "public_url: https://gate.example.com\nlisten: 127.0.0.1:8443\n{two}routes: [{{ path: \"/users/{{id}}/*\", to: \"http://10.0.0.1\", require: {{ claims: {route} }}{more} }}]\n"
        );
        let found = parse(&text).unwrap().warnings.into_iter();
        let found = found.filter(|warning| warning.message.contains("called the same"));
        found.map(|warning| format!("{}: {}", warning.path, warning.message)).collect()
    };
    let warned = of("{ sub: \"{id}\" }", "");
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].starts_with("routes[0].require.claims.sub: tokens of `one` and `two`"), "{warned:?}");
    assert!(warned[0].contains("`issuers`"), "{warned:?}");
    assert_eq!(of("{ sub: alice }", "").len(), 1);
    assert_eq!(of("{ tenant: [staff, \"{id}\"], sub: [alice, bob] }", ", clients: [first, second]").len(), 2);
    for (claims, more) in [
        ("{ sub: \"{id}\" }", ", issuers: one"),
        ("{ sub: \"{id}\" }", ", clients: second"),
        ("{ sub: \"{id}\", iss: \"https://one.example.com\" }", ""),
        ("{ roles: staff }", ""),
    ] {
        assert!(of(claims, more).is_empty(), "{claims}{more}");
    }
    let both = "{ sub: \"{id}\", iss: [\"https://one.example.com\", \"https://two.example.com\"] }";
    assert_eq!(of(both, "").len(), 1);
    let mut one = good();
    one.routes =
        "  - { path: \"/users/{id}\", to: \"http://10.0.0.1\", require: { claims: { sub: \"{id}\" } } }\n"
            .into();
    assert!(parse(&one.text()).unwrap().warnings.iter().all(|warning| !warning.path.contains("claims")));
}

#[test]
fn the_type_of_another_kind_of_token_is_none_of_access_tokens() {
    for typ in [
        "tollgate+jwt",
        "application/Tollgate+JWT",
        "logout+jwt",
        "LOGOUT+JWT",
        "secevent+jwt",
        "application/dpop+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
    ] {
        let text = good().issuer(&format!("token_type: {typ}")).text();
        only_error(&text, "issuers.corp.token_type", "an access token's is like `at+jwt`");
    }
    for typ in ["at+jwt", "application/at+JWT", "JWT", "my-access+jwt", "Bearer"] {
        assert!(parse(&good().issuer(&format!("token_type: {typ}")).text()).is_ok(), "{typ}");
    }
}

#[test]
fn cookies_reach_the_token_endpoint_and_do_not_overwrite_each_other() {
    let web = |cookie: &str| good().client(&format!("cookie: {{ {cookie} }}")).text();
    only_error(&web("path: /app"), "clients.web.cookie.path", "not sent to");
    only_error(&web("path: /oauth/tok"), "clients.web.cookie.path", "not sent to");
    only_error(&web("name: __Host-x"), "clients.web.cookie.name", "`path: /`");
    for (name, prefix) in [("__host-http-x", "`__Host-Http-`"), ("__HOST-x", "`__Host-`")] {
        only_error(
            &web(&format!("name: {name}")),
            "clients.web.cookie.name",
            &format!("{prefix} needs `path: /`"),
        );
        assert!(
            parse(&web(&format!("name: {name}, path: /")))
                .unwrap()
                .warnings
                .iter()
                .all(|w| !w.path.contains("cookie"))
        );
    }
    for (name, warned) in [("__Secure-x", false), ("__hTTP-x", false), ("__secure", true), ("x", true)] {
        let warnings = parse(&web(&format!("name: {name}"))).unwrap().warnings;
        let found =
            warnings.iter().any(|w| w.path == "clients.web.cookie.name" && w.message.contains("sibling"));
        assert_eq!(found, warned, "{name}: {warnings:?}");
    }
    only_error(&web("name: a;b"), "clients.web.cookie.name", "no cookie name");
    only_error(&web("same_site: Lax"), "clients.web.cookie.same_site", "did you mean `lax`");
    for path in ["/", "/oauth", "/oauth/", "/oauth/token"] {
        assert!(parse(&web(&format!("path: {path}"))).is_ok(), "{path}");
    }
    assert!(parse(&web("name: __Host-x, path: /")).is_ok());
    let mut two = good().client("cookie: { name: same }");
    two.clients.push_str(&two.clients.replace("web", "app"));
    only_error(&two.text(), "clients.app.cookie.name", "`web` has a cookie of this name too");
    let mut two = good().client("client_id: same");
    two.clients.push_str(&two.clients.replace("web", "app"));
    only_error(&two.text(), "clients.app.client_id", "`client_id` `same` too");
}

/// A client `cli` in `native` mode.
fn native(more: &str) -> String {
    let mut parts = good();
    parts.clients = format!("  cli: {{ mode: native, {more} }}\n");
    parts.text()
}

#[test]
fn native_clients_hold_their_tokens_themselves() {
    let settings = settings(&native(""));
    let client = &settings.native_clients[0];
    assert!(settings.clients.is_empty() && client.name.as_str() == "cli" && client.client_id == "cli");
    assert_eq!(client.grants, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
    assert!(matches!(client.credential, ClientCredential::None) && client.redirect_uri.is_none());
    assert_eq!(settings.issuers[0].rules.client_ids, ["cli"]);
    for key in [
        "login: page",
        "origins: \"https://gate.example.com\"",
        "cookie: { name: __Secure-x }",
        "idle_timeout: 1h",
        "absolute_timeout: 1h",
        "accept_any_access_token: true",
    ] {
        let path = format!("clients.cli.{}", key.split(':').next().unwrap());
        only_error(&native(key), &path, "means nothing in `native` mode");
    }
    let route = "clients:\n  cli: { mode: native }\n";
    let text = good().route("clients: cli").text().replace("routes:", &format!("{route}routes:"));
    assert_eq!(requirements(&self::settings(&text), 0).clients.as_ref().unwrap()[0].1, "cli");
    let twice = good().client("client_id: cli").text().replace("routes:", "  cli: { mode: native }\nroutes:");
    only_error(&twice, "clients.cli", "`client_id` `cli` too");
}

#[test]
fn a_scope_that_no_grant_of_a_native_client_asks_for_is_warned_of() {
    let warned = |grants: &str| {
        let warnings = parse(&native(&format!("scope: api:read{grants}"))).unwrap().warnings;
        warnings.into_iter().any(|warning| warning.path == "clients.cli.scope")
    };
    assert!(
        warned("") && warned(", grants: [refresh_token, \"urn:ietf:params:oauth:grant-type:device_code\"]")
    );
    assert!(!warned(", grants: [refresh_token, client_credentials]"));
}

#[test]
fn the_secret_of_a_native_client_is_lent_to_two_grants_alone() {
    let redirect = "redirect_uri: \"http://127.0.0.1/in\"";
    let secret = format!("secret: \"${{WEB_APP_SECRET}}\", {redirect}");
    let settings = settings(&native(&secret));
    assert_eq!(settings.native_clients[0].redirect_uri.as_deref(), Some("http://127.0.0.1/in"));
    for grant in
        GrantType::NAMES.map(|(name, _)| name).iter().filter(|name| name.len() != 18 && name.len() != 13)
    {
        assert!(parse(&native(&format!("grants: [\"{grant}\"]"))).is_ok(), "{grant}");
        only_error(
            &native(&format!("{secret}, grants: [\"{grant}\"]")),
            "clients.cli.grants[0]",
            "bring their own",
        );
    }
    only_error(&native("grants: [password]"), "clients.cli.grants[0]", "RFC 9700");
    only_error(&native("grants: [device_cod]"), "clients.cli.grants[0]", "not known here");
    only_error(&native("secret: \"${WEB_APP_SECRET}\""), "clients.cli", "`redirect_uri` is missing");
    assert!(parse(&native("secret: \"${WEB_APP_SECRET}\", grants: refresh_token")).is_ok());
    for good in
        ["com.example.app:/in", "http://[::1]:9/in", "http://localhost/in", "https://app.example.com/in"]
    {
        assert!(parse(&native(&format!("redirect_uri: \"{good}\""))).is_ok(), "{good}");
    }
    for bad in ["http://app.example.com/in", "myapp:/in", "/in", "https://app.example.com/in#x"] {
        let text = native(&format!("redirect_uri: \"{bad}\""));
        only_error(&text, "clients.cli.redirect_uri", "RFC 8252");
    }
}

#[test]
fn whom_assertions_are_for_is_the_issuer_or_an_endpoint() {
    let key = key_file("p256", P256);
    let client = |more: &str| good().client(&format!("private_key: {{ file: \"{key}\" }}{more}")).text();
    for (more, expected) in [
        ("", Audience::Issuer),
        (", assertion_audience: issuer", Audience::Issuer),
        (", assertion_audience: token_endpoint", Audience::TokenEndpoint),
        (", assertion_audience: endpoint", Audience::Endpoint),
    ] {
        let settings = settings(&client(more));
        let ClientCredential::PrivateKey(key) = &settings.clients[0].credential else { panic!() };
        assert_eq!(key.audience, expected, "{more}");
    }
    let wrong = client(", assertion_audience: token");
    only_error(&wrong, "clients.web.assertion_audience", "`token_endpoint`");
    let issuer = |audience: &str, source: &str| {
        good()
            .issuer(&format!(
                "{source}introspection: {{ client_id: gateway, private_key: {{ file: \"{key}\" }}, assertion_audience: {audience}, endpoint: https://as.example/ask }}"
            ))
            .text()
    };
    const KEYS: &str = "jwks_uri: https://as.example/jwks, ";
    settings(&issuer("token_endpoint", ""));
    settings(&issuer("endpoint", KEYS));
    let place = "issuers.corp.introspection.assertion_audience";
    only_error(&issuer("token_endpoint", KEYS), place, "no metadata");
}

#[test]
fn private_keys_are_read_and_their_algorithm_follows() {
    let with = |name: &str, pem: &str| {
        good().client(&format!("private_key: {{ file: \"{}\" }}", key_file(name, pem))).text()
    };
    let good_keys = [
        ("p256", P256, Algorithm::Es256),
        ("p384", P384, Algorithm::Es384),
        ("ed25519", ED25519, Algorithm::EdDsa),
        ("rsa2048", RSA2048, Algorithm::Rs256),
    ];
    for (name, pem, algorithm) in good_keys {
        let settings = settings(&with(name, pem));
        let ClientCredential::PrivateKey(key) = &settings.clients[0].credential else { panic!() };
        assert_eq!(key.algorithm, algorithm);
    }
    let named = |pem: &str, more: &str| {
        let key = key_file("named", pem);
        let certificate = key_file("certificate", CERTIFICATE);
        let more = more.replace("CERTIFICATE", &certificate);
        good().client(&format!("private_key: {{ file: \"{key}\" }}, {more}")).text()
    };
    let names = |text: &str| {
        let settings = settings(text);
        let ClientCredential::PrivateKey(key) = &settings.clients[0].credential else { panic!() };
        (key.algorithm, key.names.kid.clone(), key.names.certificate.is_some())
    };
    assert_eq!(names(&named(P256, "kid: k")), (Algorithm::Es256, Some("k".to_owned()), false));
    assert_eq!(names(&named(P256, "certificate: \"CERTIFICATE\"")), (Algorithm::Es256, None, true));
    let of_rsa = rcgen::CertificateParams::new(vec![])
        .unwrap()
        .self_signed(&rcgen::KeyPair::from_pem(RSA2048).unwrap())
        .unwrap();
    let of_rsa = format!("certificate: \"{}\"", key_file("of-rsa", &of_rsa.pem()));
    assert_eq!(names(&named(RSA2048, &of_rsa)), (Algorithm::Ps256, None, true));
    for other in [P384, ED25519, RSA2048] {
        let text = named(other, "certificate: \"CERTIFICATE\"");
        only_error(&text, "clients.web.certificate", "is not of `private_key`");
    }
    only_error(&named(P256, "certificate: nowhere.pem"), "clients.web.certificate", "cannot be read");
    for alone in ["kid: k", "certificate: nowhere.pem", "assertion_audience: endpoint"] {
        let place = format!("clients.web.{}", alone.split(':').next().unwrap());
        only_error(&good().client(alone).text(), &place, "belongs to a `private_key`");
        only_error(
            &good().client(&format!("secret: s, {alone}")).text(),
            &place,
            "belongs to a `private_key`",
        );
    }
    only_error(&with("rsa1024", RSA1024), "clients.web.private_key", "2048");
    only_error(&with("sec1", SEC1), "clients.web.private_key", "openssl pkcs8");
    only_error(&with("cert", CERTIFICATE), "clients.web.private_key", "private key is needed");
    only_error(&with("text", "hunter2"), "clients.web.private_key", "PKCS#8");
}

#[test]
fn a_trial_is_warned_about() {
    let loaded = parse(&good().route("report_only: true").text()).unwrap();
    assert!(loaded.settings.routes[0].report_only);
    let warning = loaded.warnings.iter().find(|warning| warning.path == "routes[0].report_only");
    assert!(warning.unwrap().message.contains("nobody is refused"), "{:?}", loaded.warnings);
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("a valid token; report only"), "{text}");
    assert!(parse(&good().route("report_only: true, public: true").text()).is_ok());
    let none = parse(&good().route("report_only: false").text()).unwrap();
    assert!(none.warnings.iter().all(|warning| !warning.path.contains("report_only")));
    only_error(&good().route("report_only: 1").text(), "routes[0].report_only", "true");
}

#[test]
fn no_route_is_called_what_tollgate_calls_its_own() {
    for name in [
        "-",
        "/oauth/token",
        "/oauth/callback",
        "/.well-known/jwks.json",
        "/.well-known/oauth-protected-resource",
    ] {
        only_error(
            &good().route(&format!("name: \"{name}\"")).text(),
            "routes[0].name",
            "Tollgate's own paths",
        );
    }
    for name in ["--", "token", "/oauthx", "/.well-known/other"] {
        assert!(parse(&good().route(&format!("name: \"{name}\"")).text()).is_ok(), "{name}");
    }
}

#[test]
fn a_resource_is_at_the_gateway_and_an_audience_of_an_issuer_that_the_route_takes() {
    let audience = |of: &str, other: &str, more: &str| {
        // Routes are written behind it.
        let mut parts = good().with("trusted_proxies: 10.0.0.1");
        parts.issuers = format!(
            "  corp: {{ url: \"https://login.example.com\", audience: {of} }}\n  other: {{ url: \"https://other\", audience: {other} }}\n"
        );
        parts.route(more).text()
    };
    let at = "routes[0].resource";
    let gate = "\"https://gate.example.com/api\"";
    assert!(parse(&audience(gate, "x", &format!("resource: {gate}"))).is_ok());
    assert!(parse(&audience("x", gate, &format!("resource: {gate}, issuers: other"))).is_ok());
    only_error(&audience("x", "y", &format!("resource: {gate}")), at, "in no `audience`");
    only_error(&audience("x", gate, &format!("resource: {gate}, issuers: corp")), at, "in no `audience`");
    only_error(
        &audience("\"https://gate.example.com/api/\"", "y", &format!("resource: {gate}")),
        at,
        "in no `audience`",
    );
    // A mistake elsewhere makes none here, and hides none but of a route that may be concerned.
    let broken = |more: &str| {
        let text = audience("x", "y", &format!("resource: {gate}{more}"));
        text.replace("https://login.example.com", "ftp://login.example.com")
    };
    only_error(&broken(""), "issuers.corp.url", "");
    only_error(&broken(", issuers: corp"), "issuers.corp.url", "");
    let both = parse(&broken(", issuers: other")).unwrap_err();
    let paths: Vec<&str> = both.mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(paths, ["issuers.corp.url", at], "{both}");
    let api = "\"https://api.example.com\"";
    only_error(
        &audience(api, "x", &format!("resource: {api}")),
        at,
        "begin it with `https://gate.example.com`",
    );
    assert!(parse(&audience(api, "x", &format!("resource: {api}, host: api.example.com"))).is_ok());
    assert!(parse(&audience(api, "x", &format!("resource: {api}, host: \"*.example.com\""))).is_ok());
    only_error(
        &audience(gate, "x", &format!("resource: {gate}, host: api.example.com")),
        at,
        "`https://api.example.com`",
    );
    only_error(
        &audience(api, "x", &format!("resource: {api}, host: \"*.api.example.com\"")),
        at,
        "https://<name>.api",
    );
    let port = "\"https://gate.example.com:8443\"";
    only_error(&audience(port, "x", &format!("resource: {port}")), at, "begin it with");
    only_error(&audience("api", "x", "resource: api"), at, "write it like");
    only_error(&audience("api", "x", "resource: \"https://gate.example.com/a?b\""), at, "no query");
    // One place for two spellings.
    let both = audience(
        "[\"https://gate.example.com\", \"https://gate.example.com/\"]",
        "x",
        "resource: \"https://gate.example.com/\"",
    );
    let second =
        "  - { path: /other, to: \"http://10.0.0.1:3000\", resource: \"https://gate.example.com\" }\n";
    let told = errors(&format!("{both}{second}"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|mistake| mistake.contains("write both the same way")), "{told:?}");
    assert!(parse(&format!("{both}{}", second.replace(".com\"", ".com/\""))).is_ok());
    let root = "  - { path: /*, to: \"http://10.0.0.1:3000\" }\n";
    assert!(
        errors(&format!("{both}{root}"))[0].contains("another route's resource is the same but for a `/`")
    );
}

#[test]
fn a_claim_of_id_tokens_tells_no_access_tokens_apart() {
    for claim in ["nonce", "at_hash", "sub", "azp", "sid"] {
        let text = good().issuer(&format!("claims: {{ access_token: [uid, {claim}] }}")).text();
        only_error(&text, "issuers.corp.claims.access_token[1]", "is in ID tokens, too");
    }
}

#[test]
fn routes_say_one_thing_and_nothing_against_it() {
    let one = |more: &str| good().route(more).text();
    only_error(&one("public: true, require: { scope: a }"), "routes[0].require", "public");
    only_error(&one("public: true, issuers: corp"), "routes[0].issuers", "public");
    only_error(&one("public: \"true\""), "routes[0].public", "without quotes");
    only_error(&one("methods: [get]"), "routes[0].methods[0]", "did you mean `GET`");
    only_error(&one("methods: []"), "routes[0].methods", "empty");
    only_error(&one("issuers: [crop]"), "routes[0].issuers[0]", "did you mean `corp`");
    only_error(&one("clients: [web]"), "routes[0].clients[0]", "no client is configured");
    only_error(&one("require: { scope: \"a \\\"b\" }"), "routes[0].require.scope", "RFC 6749");
    only_error(&one("require: { scope: \"a a\" }"), "routes[0].require.scope", "twice");
    only_error(
        &one("require: { claims: { sub: \"{user}\" } }"),
        "routes[0].require.claims.sub",
        "it has `{id}`",
    );
    only_error(
        &one("require: { claims: { sub: \"x{id}\" } }"),
        "routes[0].require.claims.sub",
        "stand alone",
    );
    only_error(
        &one("require: { claims: { sub: [] } }"),
        "routes[0].require.claims.sub",
        "no token could pass",
    );
    only_error(
        &one("require: { claims: { sub: {id} } }"),
        "routes[0].require.claims.sub",
        "quote it: `\"{id}\"`",
    );
    for lost in ["1e15", "-9007199254740991.0"] {
        let text = one(&format!("require: {{ claims: {{ level: {lost} }} }}"));
        only_error(&text, "routes[0].require.claims.level", "64 bits");
    }
    only_error(&one("require: { claims: {} }"), "routes[0].require.claims", "no claim");
    only_error(
        &one("require: { signed_in_within: 0s }"),
        "routes[0].require.signed_in_within",
        "out of bounds",
    );
    only_error(&one("require:"), "routes[0].require", "has no value");
    only_error(&Parts { routes: "  []\n".to_owned(), ..good() }.text(), "routes", "404");
    for own in ["/oauth", "/oauth/*", "/.well-known/jwks.json", "/.well-known/oauth-protected-resource/*"] {
        only_error(&good().text().replace("/api/*", own), "routes[0].path", "belong to Tollgate");
    }
    for theirs in ["/.well-known/security.txt", "/.well-known/*"] {
        settings(&good().text().replace("/api/*", theirs));
    }
    let mut two = good().client("");
    two.issuers.push_str("  other: { url: \"https://other\", audience: x }\n");
    let two =
        two.route("issuers: other, clients: web").text().replace("mode: token", "mode: token, issuer: corp");
    only_error(&two, "routes[0].clients", "belongs to the issuer `corp`");
}

#[test]
fn an_upstream_is_one_server_and_never_tollgate_itself() {
    let to = |url: &str| good().text().replace("http://10.0.0.1:3000", url);
    for bad in [
        "api",
        "10.0.0.1:3000",
        "ftp://10.0.0.1:3000",
        "http://10.0.0.1:3000/base",
        "http://10.0.0.1?x",
        "http://u@10.0.0.1",
        "http://",
    ] {
        only_error(&to(bad), "routes[0].to", "like `http://10.0.0.1:3000`");
    }
    for own in [
        "http://127.0.0.1:8081",
        "http://localhost:8081",
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://[::ffff:127.0.0.1]:8081",
        "http://[::ffff:7f00:1]:8080",
        "http://[::ffff:0.0.0.0]:8081",
        "https://gate.example.com",
    ] {
        only_error(&to(own), "routes[0].to", "Tollgate itself");
    }
    let mapped = good().with("admin: \"[::ffff:127.0.0.1]:9\"").text();
    let to_mapped = mapped.replace("http://10.0.0.1:3000", "http://127.0.0.1:9");
    only_error(&to_mapped, "routes[0].to", "Tollgate itself");
    assert!(parse(&to("http://10.0.0.1:8081")).is_ok());
}

/// `upstreams: { api: … }`, and a route to it.
fn upstream(keys: &str) -> String {
    let text = good().with(&format!("upstreams: {{ api: {{ {keys} }} }}")).text();
    text.replace("to: \"http://10.0.0.1:3000\"", "to: api")
}

#[test]
fn an_upstream_has_servers_and_says_how_they_are_spoken_with() {
    let loaded = parse(&upstream("url: http://10.0.0.1:3000")).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let short = &loaded.settings.upstreams;
    assert_eq!((short.len(), short[0].name.as_str()), (1, "api"));
    assert_eq!(loaded.settings.routes[0].upstream, short[0].name);
    assert_eq!(
        (short[0].host, &short[0].balance, short[0].retries),
        (SentHost::Upstream, &Balance::RoundRobin, 1)
    );
    assert_eq!((short[0].timeouts, &short[0].health), (Timeouts::default(), &None));
    assert_eq!(short[0].tls, UpstreamTls::default());

    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "a", &["api.internal"]);
    let text = upstream(
        "url: [https://a.example, \"h2c://10.0.0.1:3000\"], host: client, balance: { consistent: org.id }, retries: 0, \
         timeouts: { connect: 500ms }, health: { path: \"/up?deep=1\", interval: 5s }, \
         tls: { ca: a.pem, server_name: api.internal, certificate: a.pem, key: a.key }",
    );
    let loaded = config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap();
    let long = &loaded.settings.upstreams[0];
    let servers: Vec<_> =
        long.servers.iter().map(|server| (server.url.as_str(), server.prior_knowledge)).collect();
    assert_eq!(servers, [("https://a.example/", false), ("http://10.0.0.1:3000/", true)]);
    assert_eq!((long.host, long.retries), (SentHost::Client, 0));
    assert_eq!(long.balance, Balance::Consistent("org.id".to_owned()));
    assert_eq!(long.timeouts, Timeouts { connect: Duration::from_millis(500), ..Timeouts::default() });
    let health = long.health.clone().unwrap();
    assert_eq!(
        (health.path.as_str(), health.interval.as_secs(), health.timeout.as_secs()),
        ("/up?deep=1", 5, 2)
    );
    assert_eq!((long.tls.authorities.len(), long.tls.server_name.as_deref()), (1, Some("api.internal")));
    let shown = long.tls.identity.as_ref().unwrap();
    assert_eq!(shown.chain.len(), 1);
    assert!(!format!("{shown:?}").contains(&format!("{:?}", &shown.key.expose()[..8])));

    let random = settings(&upstream("url: [http://a, http://b], balance: random"));
    assert_eq!(random.upstreams[0].balance, Balance::Random);
    let h2c = settings(&good().text().replace("http://10.0.0.1:3000", "h2c://10.0.0.1"));
    assert_eq!(h2c.upstreams[0].name.as_str(), "h2c://10.0.0.1");
    assert!(h2c.upstreams[0].servers[0].prior_knowledge);
}

#[test]
fn what_an_upstream_cannot_be_is_told_with_its_place() {
    let wrong = |keys: &str, path: &str, part: &str| only_error(&upstream(keys), path, part);
    let with = |keys: &str| format!("url: https://10.0.0.1, {keys}");
    wrong("host: client", "upstreams.api", "`url` is missing");
    wrong("url: []", "upstreams.api.url", "the list is empty");
    wrong("url: [http://a, ftp://b]", "upstreams.api.url[1]", "not an `http`, `https` or `h2c` URL");
    wrong("url: [http://a, \"h2c://a:80\"]", "upstreams.api.url[1]", "in this list already");
    wrong("url: [http://a, https://a]", "upstreams.api.url[1]", "by its scheme alone");
    wrong("url: http://127.0.0.1:8080", "upstreams.api.url", "Tollgate itself");
    let with_another = |url: &str, other: &str, its: &str| {
        upstream(&format!("url: \"{url}\" }}, {other}: {{ url: \"{its}\""))
    };
    let one = with_another("http://2a.example:80", "api2", "https://a.example");
    only_error(&one, "upstreams.api2", "reads as `api` followed by that one's");
    for (url, its) in
        [("http://2a.example", "https://b.example"), ("http://2a.example:81", "http://a.example")]
    {
        assert!(parse(&with_another(url, "api2", its)).is_ok(), "{url} {its}");
    }
    wrong(&with("host: both"), "upstreams.api.host", "write one of");
    wrong(&with("balance: robin"), "upstreams.api.balance", "`round_robin`");
    wrong(
        &with("balance: { consistently: sub }"),
        "upstreams.api.balance.consistently",
        "did you mean `consistent`?",
    );
    wrong(&with("balance: [random]"), "upstreams.api.balance", "is a list");
    wrong(&with("retries: 6"), "upstreams.api.retries", "from 0 to 5");
    wrong(&with("retries: some"), "upstreams.api.retries", "whole number");
    wrong(&with("health: {}"), "upstreams.api.health", "`path` is missing");
    wrong(&with("health: { path: up }"), "upstreams.api.health.path", "like `/healthz`");
    wrong(&with("health: { path: /up, interval: 1ms }"), "upstreams.api.health.interval", "out of bounds");
    wrong(&with("timeouts: { connect: 2m }"), "upstreams.api.timeouts.connect", "from 1ms to 1m");
    wrong(&with("timeouts: { idle: 2m }"), "upstreams.api.timeouts.idle", "unknown key");
    wrong(&with("tls: { ca: none.pem }"), "upstreams.api.tls.ca", "cannot be read");
    wrong(&with("tls: { server_name: \"not a name\" }"), "upstreams.api.tls.server_name", "is not a host");
    wrong(&with("tls: { certificate: a.pem }"), "upstreams.api.tls.certificate", "`key` is missing");
    wrong(&with("tls: { key: a.key }"), "upstreams.api.tls.key", "`certificate` is missing");
    wrong("url: http://a, tls: { server_name: b }", "upstreams.api.tls", "no server is `https`");
    let misnamed = upstream("url: http://a").replace("to: api", "to: apo");
    only_error(&misnamed, "routes[0].to", "did you mean `api`?");
    let unused = good().with("upstreams: { api: { url: http://a, balance: random } }").text();
    let warnings = parse(&unused).unwrap().warnings;
    assert!(
        warnings.iter().any(|warning| warning.message.contains("no route leads to `api`")),
        "{warnings:?}"
    );
    assert!(warnings.iter().any(|warning| warning.message.contains("nothing to balance")), "{warnings:?}");
    for (health, place) in [
        ("interval: 1s, timeout: 2s", Some("timeout")),
        ("interval: 1s", Some("interval")),
        ("interval: 2s, timeout: 2s", None),
        ("timeout: 10s", None),
    ] {
        let text = upstream(&with(&format!("health: {{ path: /up, {health} }}")));
        let warnings = parse(&text).unwrap().warnings;
        let place = place.map(|key| format!("upstreams.api.health.{key}"));
        let told = warnings.iter().find(|warning| warning.message.contains("not longer than `interval`"));
        assert_eq!(told.map(|warning| warning.path.clone()), place, "{health}");
    }
}

#[test]
fn a_client_certificate_and_its_key_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "a", &["a"]);
    write_certificate(folder.path(), "b", &["b"]);
    for (pair, part) in [
        ("certificate: a.pem, key: b.key", "not the key of this certificate"),
        ("certificate: a.pem, key: a.pem", "no private key"),
        ("certificate: a.key, key: a.key", "no certificate"),
    ] {
        let text = upstream(&format!("url: https://a, tls: {{ {pair} }}"));
        let told = config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap_err().to_string();
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_route_says_how_it_is_sent_on() {
    let forwarding = |keys: &str| settings(&good().route(keys).text()).routes[0].forwarding.clone();
    assert_eq!(settings(&good().text()).routes[0].forwarding, Default::default());
    let own = forwarding("strip_prefix: \"/api/{id}\", timeouts: { read: 5m }, body_limit: 1GiB");
    assert!(own.path.is_some());
    assert_eq!((own.timeouts.read, own.timeouts.connect), (Some(Duration::from_secs(300)), None));
    assert_eq!(own.body_limit, Some(1 << 30));
    assert!(forwarding("rewrite: \"/v2/{id}/*\"").path.is_some());
    let wrong = |keys: &str, path: &str, part: &str| only_error(&good().route(keys).text(), path, part);
    wrong("strip_prefix: /other", "routes[0].strip_prefix", "does not begin with it");
    wrong("strip_prefix: api", "routes[0].strip_prefix", "write `/api`");
    wrong("rewrite: \"/{other}\"", "routes[0].rewrite", "it has `{id}`");
    wrong("rewrite: /x, strip_prefix: /api", "routes[0].strip_prefix", "remove one");
    wrong("timeouts: { read: 60 }", "routes[0].timeouts.read", "write `60s`");
    wrong("body_limit: 1GB", "routes[0].body_limit", "not a size");
}

#[test]
fn an_upstream_says_whether_it_tells_upper_and_lower_case_apart() {
    for (more, apart) in [("", false), (", case_sensitive: false", false), (", case_sensitive: true", true)] {
        let text = upstream(&format!("url: http://10.0.0.1:3000{more}"));
        let loaded = parse(&text).unwrap();
        assert_eq!(loaded.settings.upstreams[0].case_sensitive, apart, "{more}");
        assert_eq!(loaded.settings.routes[0].forwarding.case_sensitive, apart, "{more}");
        let summary = config::summary::summary("config.yaml", &loaded);
        assert_eq!(
            summary.contains("http://10.0.0.1:3000, tells upper and lower case apart\n"),
            apart,
            "{summary}"
        );
    }
    only_error(
        &upstream("url: http://10.0.0.1:3000, case_sensitive: yes please"),
        "upstreams.api.case_sensitive",
        "neither `true` nor `false`",
    );
    let warned = |first: &str, second: &str| {
        let routes = format!("  - {{ path: /Docs/*, to: {first} }}\n  - {{ path: /docs/*, to: {second} }}\n");
        let upstreams = "upstreams: { a: { url: http://10.0.0.1:3000, case_sensitive: true }, b: { url: http://10.0.0.2:3000 } }";
        let text = Parts { routes, ..good() }.with(upstreams).text();
        let found =
            parse(&text).unwrap().warnings.into_iter().find(|warning| warning.path == "routes[1].path");
        found.map(|warning| warning.message)
    };
    assert!(
        warned("a", "b").unwrap().contains("differs from that of routes[0] by upper and lower case alone")
    );
    assert!(warned("b", "b").is_some());
    assert_eq!(warned("a", "a"), None);
}

#[test]
fn an_address_that_may_have_all_connections_is_warned_of() {
    let warned = |limits: &str| {
        let warnings = parse(&good().with(&format!("limits: {{ {limits} }}")).text()).unwrap().warnings;
        warnings.into_iter().find(|one| one.message.contains("all")).map(|one| one.path)
    };
    for (limits, path) in [
        ("connections: 5000", None),
        ("connections: 1000", Some("limits.connections")),
        ("connections: 200, connections_per_address: 50", None),
        ("connections: 200, connections_per_address: 200", Some("limits.connections_per_address")),
    ] {
        assert_eq!(warned(limits).as_deref(), path, "{limits}");
    }
}

#[test]
fn a_route_says_whether_it_takes_encoded_slashes() {
    let routes = |lines: &str| Parts { routes: lines.to_owned(), ..good() }.text();
    let one = |path: &str, more: &str| {
        routes(&format!("  - {{ path: \"{path}\", to: \"http://10.0.0.1:3000\"{more} }}\n"))
    };
    for (more, keeps) in [("", false), (", encoded_slash: refuse", false), (", encoded_slash: keep", true)] {
        let route = settings(&one("/a/{b}", more)).routes[0].clone();
        assert_eq!(route.path.keeps_encoded_slashes(), keeps, "{more}");
        let text = config::summary::summary("config.yaml", &parse(&one("/a/{b}", more)).unwrap());
        assert_eq!(text.contains("a valid token; encoded slashes stay\n"), keeps, "{text}");
    }
    only_error(
        &one("/a", ", encoded_slash: decode"),
        "routes[0].encoded_slash",
        "write one of `refuse`, `keep`",
    );
    only_error(&one("/a/b%2Fc", ""), "routes[0].path", "add `encoded_slash: keep`");
    assert!(parse(&one("/a/b%2Fc", ", encoded_slash: keep, strip_prefix: \"/a/b%2Fc\"")).is_ok());
    only_error(&one("/a/b%2fc", ", encoded_slash: keep"), "routes[0].path", "write `b%2Fc`");
    only_error(&one("/oauth%2Fc", ", encoded_slash: keep"), "routes[0].path", "belong to Tollgate");
    only_error(&one("/a", ", rewrite: \"/b%2Fc\""), "routes[0].rewrite", "`encoded_slash: keep`");
    let hidden =
        format!("{}{}", good().routes, "  - { path: /x/a%2Fb, to: \"http://u\", encoded_slash: keep }\n");
    let beside = |path: &str| {
        let more = format!("  - {{ path: \"{path}\", to: \"http://u\" }}\n");
        let loaded = parse(&routes(&format!("{hidden}{more}"))).unwrap();
        loaded
            .warnings
            .into_iter()
            .find(|warning| warning.path == "routes[1].path")
            .map(|warning| warning.message)
    };
    assert!(beside("/x/a/*").unwrap().contains("would find what routes[2] covers"));
    assert_eq!(beside("/x/*"), None);
    let both = format!(
        "{}{}",
        "  - { path: \"/a/{x}\", to: \"http://u\", encoded_slash: keep }\n",
        "  - { path: \"/a/{y}\", to: \"http://u\" }\n"
    );
    assert!(
        errors(&routes(&both))[0].contains("could match the same request"),
        "it makes no path more specific"
    );
}

#[test]
fn two_routes_that_could_match_one_request_are_both_told() {
    let routes = "  - { path: \"/a/{x}\", to: \"http://u\" }\n  - { path: /b, to: \"http://u\" }\n  - { path: \"/a/{y}\", to: \"http://u\", methods: GET }\n  - { path: \"/a/{y}\", to: \"http://u\", methods: [GET, POST] }\n";
    let told = errors(&Parts { routes: routes.to_owned(), ..good() }.text());
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("8:")
            && told[0].contains("routes[2].path: could match the same request as routes[3]"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("9:")
            && told[1].contains("routes[3].path: could match the same request as routes[2]"),
        "{told:?}"
    );
    let apart = "  - { path: /a, to: \"http://u\", methods: GET }\n  - { path: /a, to: \"http://u\", methods: POST }\n  - { path: /a, to: \"http://u\", host: a.example.com }\n";
    assert!(parse(&Parts { routes: apart.to_owned(), ..good() }.text()).is_ok());
}

#[test]
fn a_pattern_or_host_that_cannot_be_read_says_what_would_be_right() {
    for (bad, part) in [
        ("api", "`/api`"),
        ("/api/", "drop the last"),
        ("/a/*/b", "last segment"),
        ("/a/x{id}", "whole segment"),
        ("/a/../b", ""),
        ("/%6fauth/x", ""),
    ] {
        only_error(&good().text().replace("/api/*", &format!("{bad:?}")), "routes[0].path", part);
    }
    for bad in ["https://a.example", "a.example/x", "*", "a.*.example"] {
        only_error(&good().route(&format!("host: \"{bad}\"")).text(), "routes[0].host", "");
    }
}

#[test]
fn a_jwks_file_is_read_at_load() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yaml"), good().issuer("jwks_file: keys.json").text()).unwrap();
    for (content, part) in [
        ("{}", "JWK set"),
        ("{\"keys\": []}", "no key"),
        ("{\"keys\": [{\"kty\": \"EC\"}]}", "keys[0]"),
        ("no json", "JWK set"),
    ] {
        fs::write(folder.path().join("keys.json"), content).unwrap();
        let errors = config::load(&folder.path().join("config.yaml"), &env).unwrap_err().to_string();
        assert!(errors.contains("issuers.corp.jwks_file") && errors.contains(part), "{errors}");
    }
    fs::write(folder.path().join("keys.json"), JWKS).unwrap();
    let loaded = config::load(&folder.path().join("config.yaml"), &env).unwrap();
    assert!(loaded.warnings[0].message.contains("passed over: keys[1]"), "{:?}", loaded.warnings);
}

#[test]
fn routes_have_names_of_their_own() {
    let routes = "  - { path: /a, to: \"http://u\", methods: [GET] }
  - { path: /a, to: \"http://u\", methods: [POST, PUT] }
  - { path: /a, to: \"http://u\", host: a.example.com }
  - { path: /b, to: \"http://u\" }
  - { path: /c, to: \"http://u\", name: /b }\n";
    let settings = settings(&Parts { routes: routes.to_owned(), ..good() }.text());
    let names: Vec<&str> = settings.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["GET /a", "POST,PUT /a", "a.example.com/a", "/b #4", "/b"]);
    let twice = "  - { path: /a, to: \"http://u\", name: x }\n  - { path: /b, to: \"http://u\", name: x }\n";
    only_error(&Parts { routes: twice.to_owned(), ..good() }.text(), "routes[1].name", "unique");
}

#[test]
fn identity_headers_have_no_other_meaning_and_no_double() {
    let headers = |headers: &str| good().with(&format!("identity: {{ headers: {{ {headers} }} }}")).text();
    only_error(&headers("X-A: sub, X_A: iss"), "identity.headers.X_A", "same as `X-A`");
    only_error(&headers("X-A: sub, x-a: iss"), "identity.headers.x-a", "same as `X-A`");
    for taken in [
        "Host",
        "content-length",
        "Authorization",
        "Cookie",
        "Connection",
        "Transfer-Encoding",
        "TE",
        "X-Forwarded-For",
        "X_Forwarded_User",
        "Forwarded",
        "X-Request-Id",
        "Content_Type",
    ] {
        only_error(
            &headers(&format!("{taken}: sub")),
            &format!("identity.headers.{taken}"),
            "another meaning",
        );
    }
    only_error(&headers("\"X A\": sub"), "identity.headers[\"X A\"]", "no header name");
    only_error(&headers("X-A: [sub]"), "identity.headers.X-A", "one claim");
}

#[test]
fn times_and_sizes_stay_within_reason() {
    let top = |line: &str| good().with(line).text();
    only_error(
        &top("sessions: { idle_timeout: 8d }"),
        "sessions.idle_timeout",
        "longer than `absolute_timeout`",
    );
    only_error(&top("sessions: { absolute_timeout: 401d }"), "sessions.absolute_timeout", "out of bounds");
    only_error(&top("sessions: { grace: 0s }"), "sessions.grace", "from 1s to 5m");
    only_error(&top("sessions: { grace: 6m }"), "sessions.grace", "from 1s to 5m");
    only_error(&top("sessions: { idle_timeout: 5M }"), "sessions.idle_timeout", "`5m`");
    only_error(&top("sessions: { idle_timeout: 30 }"), "sessions.idle_timeout", "write `30s`");
    only_error(&top("sessions: { keys: [abc] }"), "sessions.keys[0]", "tollgate keys cookie");
    only_error(&top("sessions: { keys: abc }"), "sessions.keys", "a list");
    only_error(&top("limits: { token: 64KiB }"), "limits.token", "larger than `header`");
    only_error(&top("limits: { token: 8KB }"), "limits.token", "`KiB`");
    only_error(&top("limits: { header: 1MiB }"), "limits.header", "out of bounds");
    only_error(&top("limits: { connections: 0 }"), "limits.connections", "above 0");
    only_error(
        &top("limits: { connections_per_address: many }"),
        "limits.connections_per_address",
        "above 0",
    );
    only_error(&top("limits: { requests_per_address: 5 }"), "limits.requests_per_address", "`120/m`");
    let limits = settings(&top("limits: { requests_per_address: 5/s, connections: 7 }")).limits;
    assert_eq!((limits.requests_per_address, limits.connections), (Some((5, Duration::from_secs(1))), 7));
    assert_eq!(limits.denials_per_address, Some((120, Duration::from_secs(60))));
    only_error(&top("limits: { denials_per_address: often }"), "limits.denials_per_address", "`120/m`");
    for (rate, read) in [("0", None), ("30/h", Some((30, Duration::from_secs(3600))))] {
        let limits = settings(&top(&format!("limits: {{ denials_per_address: {rate} }}"))).limits;
        assert_eq!(limits.denials_per_address, read);
    }
    only_error(&top("log: { level: loud }"), "log.level", "write one of");
    let short = settings(&top("sessions: { absolute_timeout: 1h }"));
    assert_eq!(short.sessions.idle_timeout, Duration::from_secs(3600), "a longer default gives way");
    assert_eq!(settings(&top("limits: { body: 0, header: 16384 }")).limits.header, 16384);
}

#[test]
fn keys_that_do_nothing_are_unknown_keys() {
    let later = ["routes_: []", "identity: { assertions: {} }", "log: { colour: red }"];
    for line in later {
        let told = errors(&good().with(line).text());
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("unknown key"), "{told:?}");
    }
}

#[test]
fn a_route_may_ask_for_tokens_that_are_bound_to_a_key_and_takes_no_session_then() {
    use tollgate::core::route::Dpop;
    for (key, dpop) in
        [("", Dpop::Allowed), ("dpop: allowed", Dpop::Allowed), ("dpop: required", Dpop::Required)]
    {
        assert_eq!(settings(&good().route(key).text()).routes[0].dpop, dpop, "{key}");
    }
    let told = errors(&good().route("dpop: maybe").text());
    assert!(told[0].contains("routes[0].dpop") && told[0].contains("`allowed`, `required`"), "{told:?}");
    // A client in session mode, whose cookie the route would take.
    let required = settings(&session("scope: openid", "dpop: required"));
    assert!(required.routes[0].session.is_none() && !required.routes[0].sharing.credentials);
    assert!(settings(&session("scope: openid", "dpop: allowed")).routes[0].session.is_some());
    for key in ["sign_in: web", "extends_session: false"] {
        let told = errors(&session("scope: openid", &format!("dpop: required, {key}")));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("has no key to prove; remove this, or `dpop`"), "{told:?}");
    }
    let loaded = parse(&good().route("dpop: required").text()).unwrap();
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("; tokens bound to a key alone"), "{text}");
}

/// A client `web` in `session` mode, and one route.
fn session(client: &str, route: &str) -> String {
    good()
        .route(route)
        .text()
        .replace("routes:", &format!("clients:\n  web: {{ mode: session, {client} }}\nroutes:"))
}

#[test]
fn a_client_in_session_mode_is_signed_in_by_the_gateway() {
    let web = settings(&session("scope: openid", "sign_in: web, extends_session: false"));
    let (client, route) = (&web.clients[0], &web.routes[0]);
    assert_eq!(client.redirect_uri, "https://gate.example.com/oauth/callback");
    assert_eq!((client.cookie.name.as_str(), client.cookie.path.as_str()), ("__Host-Http-tollgate-web", "/"));
    assert!(client.login.is_some() && client.grants.is_empty());
    assert_eq!(client.session.as_ref().unwrap().csrf_header.as_str(), "x-csrf");
    let taken = route.session.as_ref().unwrap();
    assert_eq!((taken.client.as_str(), taken.signs_in, taken.counts_as_use), ("web", true, false));
    assert!(route.sharing.credentials && route.sharing.csrf_headers.len() == 1);
    let only = settings(&session("", ""));
    assert!(!only.routes[0].session.as_ref().unwrap().signs_in, "the only session client needs no name");
    for (client, route, place, says) in [
        ("login: page", "", "clients.web.login", "the gateway signs people in"),
        ("grants: [refresh_token]", "", "clients.web.grants", "ask for no tokens"),
        ("accept_any_access_token: true", "", "clients.web.accept_any_access_token", "itself uses"),
        ("cookie: { path: /oauth }", "", "clients.web.cookie.path", "its path is `/`"),
        ("identity: id_token, scope: api:read", "", "clients.web.identity", "`openid`"),
        ("csrf_header: Content-Type", "", "clients.web.csrf_header", "`X-`"),
        ("redirect_uri: \"https://gate.example.com/in\"", "", "clients.web.redirect_uri", "/oauth/callback"),
        ("authorize: { state: x }", "", "clients.web.authorize.state", "itself"),
        ("authorize: { request_uri: x }", "", "clients.web.authorize.request_uri", "own parameters"),
        ("authorize: { audience: [a, b] }", "", "clients.web.authorize.audience", "has one value"),
        ("authorize: { audience: [] }", "", "clients.web.authorize.audience", "has one value"),
        ("csrf: fetch", "", "clients.web.csrf", "fetch_metadata"),
        (
            "csrf: fetch_metadata, origins: \"https://app.example.com\"",
            "",
            "clients.web.csrf",
            "`https://gate.example.com`), which `origins` leaves out",
        ),
        ("authorize_from_page: state", "", "clients.web.authorize_from_page", "made anew"),
        (
            "authorize_from_page: [prompt, request]",
            "",
            "clients.web.authorize_from_page[1]",
            "own parameters",
        ),
        ("authorize_from_page: max_age", "", "clients.web.authorize_from_page", "as it is"),
        ("authorize_from_page: return_to", "", "clients.web.authorize_from_page", "where the sign-in leads"),
        ("authorize_from_page: [a, a]", "", "clients.web.authorize_from_page[1]", "in this list already"),
        ("authorize_from_page: a b", "", "clients.web.authorize_from_page", "no name"),
        (
            "end_session: { client_id: x }",
            "",
            "clients.web.end_session.client_id",
            "the client's `client_id`",
        ),
        ("end_session: { id_token_hint: x }", "", "clients.web.end_session.id_token_hint", "ID token"),
        (
            "end_session: { post_logout_redirect_uri: x }",
            "",
            "clients.web.end_session.post_logout_redirect_uri",
            "the client's `post_logout_redirect_uri`",
        ),
        ("end_session: { a: [b] }", "", "clients.web.end_session.a", "has one value"),
        ("return_to: \"https://app.example.com/\"", "", "clients.web.return_to", "without path"),
        (
            "post_logout_redirect_uri: \"http://gate.example.com/\"",
            "",
            "clients.web.post_logout_redirect_uri",
            "https",
        ),
        ("", "sign_in: wbe", "routes[0].sign_in", "did you mean `web`"),
        ("", "public: true, sign_in: web", "routes[0].sign_in", "`public`"),
        ("", "host: other.example.com, sign_in: web", "routes[0].sign_in", "another `host`"),
    ] {
        only_error(&session(client, route), place, says);
    }
}

#[test]
fn the_browser_s_word_does_where_the_operator_says_so_and_check_says_what_that_means() {
    assert_eq!(settings(&session("", "")).clients[0].session.as_ref().unwrap().csrf, Csrf::Header);
    let loaded = parse(&session("csrf: fetch_metadata", "sign_in: web")).unwrap();
    assert_eq!(loaded.settings.clients[0].session.as_ref().unwrap().csrf, Csrf::FetchMetadata);
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("told apart by what browsers say of requests"), "{text}");
    assert!(text.contains("markup that is slipped into any page of this origin"), "{text}");
}

#[test]
fn a_client_says_what_its_pages_may_add_to_a_sign_in_and_what_goes_along_with_a_sign_out() {
    let keys =
        "authorize_from_page: [prompt, login_hint], end_session: { logout_uri: x, federated: \"true\" }";
    let loaded = parse(&session(keys, "")).unwrap();
    let login = loaded.settings.clients[0].login.as_ref().unwrap();
    assert_eq!(login.authorize_from_page, ["prompt", "login_hint"]);
    let more = [("logout_uri", "x"), ("federated", "true")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(login.end_session, more);
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("pages may add prompt, login_hint to a sign-in"), "{text}");
}

#[test]
fn a_session_does_not_come_to_another_host_and_check_says_so() {
    let warned = |route: &str| {
        let loaded = parse(&session("", route)).unwrap();
        config::summary::summary("x", &loaded).contains("the session's cookie never comes there")
    };
    assert!(warned("host: other.example.com"));
    assert!(warned("host: \"*.other.example.com\""));
    for good in
        ["", "host: gate.example.com", "host: \"*.example.com\"", "host: other.example.com, public: true"]
    {
        assert!(!warned(good), "{good}");
    }
    let named = session("", "host: other.example.com, clients: cli").replace(
        "routes:",
        "  cli: { mode: native, secret: s3cret, redirect_uri: \"com.example:/in\" }\nroutes:",
    );
    let text = config::summary::summary("x", &parse(&named).unwrap());
    assert!(!text.contains("never comes there"), "{text}");
}

#[test]
fn an_id_token_is_asked_for_where_no_scope_is_named() {
    assert!(settings(&session("identity: id_token", "")).clients[0].session.is_some());
    assert!(
        settings(&session("identity: id_token, scope: openid api:read", "")).clients[0].session.is_some()
    );
    let without = session("identity: id_token, scope: api:read", "");
    only_error(&without, "clients.web.identity", "without `openid` in `scope`");
}

#[test]
fn clients_of_two_issuers_do_not_share_a_callback() {
    let two = |more: &str| {
        let mut text = good();
        text.issuers.push_str("  other: { url: \"https://other.example\", audience: x }\n");
        text.text().replace(
            "routes:",
            &format!("clients:\n  web: {{ mode: token, issuer: corp }}\n  desk: {{ mode: session, issuer: other, {more} }}\nroutes:"),
        )
    };
    only_error(&two(""), "clients.desk", "/oauth/callback/desk");
    let own = settings(&two("redirect_uri: \"https://gate.example.com/oauth/callback/desk\""));
    assert_eq!(own.clients[1].redirect_uri, "https://gate.example.com/oauth/callback/desk");
    let wrong = two("redirect_uri: \"https://gate.example.com/oauth/callback/web\"");
    only_error(&wrong, "clients.desk.redirect_uri", "or `https://gate.example.com/oauth/callback/desk`");
    let one = good()
        .text()
        .replace("routes:", "clients:\n  web: { mode: token }\n  desk: { mode: session }\nroutes:");
    assert_eq!(settings(&one).clients.len(), 2, "one issuer cannot be mixed up");
}

#[test]
fn a_route_takes_the_session_cookie_of_one_client() {
    let two = |route: &str| session("", route).replace("routes:", "  other: { mode: session }\nroutes:");
    only_error(&two(""), "routes[0]", "single one out");
    let taken = |text: &str| settings(text).routes[0].session.as_ref().map(|taken| taken.client.to_string());
    assert_eq!(taken(&two("sign_in: other")).as_deref(), Some("other"));
    assert_eq!(taken(&two("clients: web")).as_deref(), Some("web"));
    for (clients, says) in
        [("[web, other]", "name one"), ("plain", "`plain` is not"), ("nobody", "no client `nobody`")]
    {
        let text = two(&format!("public: true, clients: {clients}"))
            .replace("  other:", "  plain: { mode: token, login: gateway }\n  other:");
        let at = if clients == "[web, other]" { "routes[0].clients" } else { "routes[0].clients[0]" };
        let found = parse(&text).unwrap_err();
        assert_eq!(found.mistakes.len(), 1, "{found}");
        assert!(
            at.starts_with(&found.mistakes[0].path) && found.mistakes[0].message.contains(says),
            "{found}"
        );
    }
    let warned = |route: &str| {
        let warnings = parse(&two(route)).unwrap().warnings;
        warnings.into_iter().find(|warning| warning.path == "routes[0].public").map(|warning| warning.message)
    };
    for client in ["web", "other"] {
        let route = format!("public: true, clients: {client}");
        assert_eq!((taken(&two(&route)).as_deref(), warned(&route)), (Some(client), None));
    }
    let loaded = settings(&two("public: true, clients: web"));
    assert!(matches!(loaded.routes[0].access, Access::Public), "the tokens of all clients count");
    assert_eq!(taken(&two("public: true")), None, "a request may bring either");
    let warning = warned("public: true").unwrap();
    assert!(warning.contains("`web` and `other`") || warning.contains("`other` and `web`"), "{warning}");
    only_error(&two("public: true, clients: web, dpop: required"), "routes[0].clients", "dpop: required");
    only_error(&two("clients: web, sign_in: other"), "routes[0].sign_in", "does not take the client");
    let page = good().client("").route("sign_in: web").text();
    only_error(&page, "routes[0].sign_in", "not in `session` mode");
    only_error(
        &good().client("").route("extends_session: false").text(),
        "routes[0].extends_session",
        "no session cookie",
    );
    for (key, why) in [
        ("csrf_header: X-A", "`/oauth/token`"),
        ("csrf: fetch_metadata", "`/oauth/token`"),
        ("identity: id_token", "its own access token"),
    ] {
        let name = key.split(':').next().unwrap();
        only_error(&good().client(key).text(), &format!("clients.web.{name}"), why);
    }
    for key in [
        "authorize: { prompt: login }",
        "authorize_from_page: prompt",
        "end_session: { logout_uri: x }",
        "return_to: \"https://app.example.com\"",
        "post_logout_redirect_uri: \"https://a.test/\"",
    ] {
        let name = key.split(':').next().unwrap();
        only_error(&good().client(key).text(), &format!("clients.web.{name}"), "`login: page`");
    }
}

/// `introspection` with these keys, of the issuer that has these.
fn introspection(keys: &str, issuer: &str) -> String {
    good().issuer(&format!("introspection: {{ client_id: gateway, {keys} }}{issuer}")).text()
}

#[test]
fn an_issuer_is_asked_about_opaque_tokens_by_somebody_and_somewhere() {
    let place = |key: &str| format!("issuers.corp.introspection{key}");
    let asked = settings(&introspection("secret: s3cret", "")).issuers[0].clone();
    let asked = asked.introspection.as_ref().unwrap();
    assert_eq!((asked.client_id.as_str(), asked.cache), ("gateway", Duration::from_secs(30)));
    assert_eq!((&asked.credential, &asked.endpoint), (&ClientCredential::Secret("s3cret".into()), &None));

    only_error(&introspection("cache: 1s", ""), &place(""), "neither `secret` nor `private_key`");
    assert!(errors(&introspection("secret: a, private_key: b", "")).concat().contains("keep one of the two"));
    only_error(&introspection("private_key: b", ""), &place(".private_key"), "PKCS#8");
    only_error(&introspection("secret: a, cache: 11m", ""), &place(".cache"), "10m");
    only_error(&introspection("secret: a, endpoint: \"http://as/ask\"", ""), &place(".endpoint"), "https");
    only_error(&introspection("secret: a, chache: 1s", ""), &place(".chache"), "did you mean `cache`");
    only_error(&good().issuer("introspection: { secret: a }").text(), &place(""), "client_id");
    let only_keys = ", jwks_uri: \"https://as/keys\"";
    only_error(&introspection("secret: a", only_keys), &place(""), "`endpoint` is missing");
    assert!(parse(&introspection("secret: a, endpoint: \"https://as/ask\"", only_keys)).is_ok());
    assert!(parse(&introspection("secret: a, cache: 0s", "")).is_ok());

    // Whoever is asked is called, and so has a timeout, also where its keys are given.
    let shared = "shared_secret: 0123456789abcdef0123456789abcdef, timeout: 1s";
    only_error(&good().issuer(shared).text(), "issuers.corp.timeout", "never called");
    assert!(parse(&introspection("secret: a, endpoint: \"https://as/ask\"", &format!(", {shared}"))).is_ok());
    let refreshed = format!(", {shared}, keys_refresh: 1m");
    let text = introspection("secret: a, endpoint: \"https://as/ask\"", &refreshed);
    only_error(&text, "issuers.corp.keys_refresh", "never called");
}

#[test]
fn among_issuers_that_are_asked_about_opaque_tokens_a_route_singles_one_out() {
    let asked = |name: &str| {
        format!(
            "  {name}: {{ url: \"https://{name}.example\", audience: api, introspection: {{ client_id: g, secret: s }} }}\n"
        )
    };
    let issuers =
        format!("{}{}  plain: {{ url: \"https://plain.example\", audience: api }}\n", asked("a"), asked("b"));
    let route = |more: &str| {
        let clients =
            "  web: { mode: token, login: page, issuer: b, redirect_uri: \"https://gate.example.com/in\" }\n";
        let routes = format!("  - {{ path: /x, to: \"http://u\"{more} }}\n");
        Parts { issuers: issuers.clone(), clients: clients.to_owned(), routes, ..good() }.text()
    };
    for several in [
        "",
        ", public: true",
        ", issuers: [a, b]",
        ", public: true, issuers: [a, b, plain]",
        ", require: { scope: x }",
    ] {
        let found = parse(&route(several)).unwrap_err().mistakes;
        assert_eq!(found.len(), 1, "{several}");
        assert!(
            found[0].message.contains("`a` or `b`") && found[0].message.contains("like `issuers: a`"),
            "{}",
            found[0].message
        );
        assert_eq!(
            found[0].path,
            if several.contains("issuers") { "routes[0].issuers" } else { "routes[0]" }
        );
    }
    for one in [
        ", issuers: a",
        ", issuers: [b, plain]",
        ", issuers: plain",
        ", clients: web",
        ", public: true, issuers: [a, plain]",
    ] {
        assert!(parse(&route(one)).is_ok(), "{one}: {}", parse(&route(one)).unwrap_err());
    }
    let public = settings(&route(", public: true, issuers: a"));
    assert!(matches!(&public.routes[0].access, Access::PublicOf(issuers) if issuers[0].as_str() == "a"));
    // A mistake elsewhere makes none here.
    let broken = route(", public: true, issuers: a").replacen("secret: s", "secret: s, cache: 11m", 1);
    only_error(&broken, "issuers.a.introspection.cache", "10m");
    // One that is asked needs no choice.
    let one = Parts { issuers: asked("a"), ..good() };
    assert!(parse(&one.clone().text()).is_ok());
    let text =
        Parts { routes: "  - { path: /x, to: \"http://u\", public: true, issuers: a }\n".to_owned(), ..one }
            .text();
    only_error(&text, "routes[0].issuers", "public");
}

#[test]
fn a_transmitter_has_keys_and_a_say_over_subjects_of_issuers() {
    let place = |key: &str| format!("signals.okta{key}");
    let with = |parts: Parts, keys: &str| {
        let all =
            format!("signals: {{ okta: {{ issuer: \"https://okta.example\", audience: gate, {keys} }} }}");
        parts.with(&all).text()
    };
    let text = |keys: &str| with(good(), keys);
    let okta = settings(&text("")).signals[0].clone();
    assert_eq!((okta.name.as_str(), okta.rules.iss.as_str()), ("okta", "https://okta.example"));
    assert_eq!(okta.rules.revokes, ["https://login.example.com"], "of the only issuer");
    assert_eq!(okta.rules.events, EventType::USED);
    assert!(okta.token.is_none());
    let SignalKeys::Own(called) = &okta.keys else { panic!("{:?}", okta.keys) };
    assert!(
        matches!(&called.keys, KeySource::Discovery(Some(url)) if url.as_str() == "https://okta.example/.well-known/ssf-configuration")
    );
    assert!(settings(&good().text()).signals.is_empty());
    assert!(settings(&good().with("signals: {}").text()).signals.is_empty());

    only_error(&text("revokes: crop"), &place(".revokes"), "did you mean `corp`?");
    only_error(&text("events: [session-revoke]"), &place(".events[0]"), "did you mean `session-revoked`?");
    only_error(&text("events: [verification]"), &place(".events[0]"), "write one of `session-revoked`");
    only_error(&text("events: []"), &place(".events"), "the list is empty");
    only_error(&text("token: short"), &place(".token"), "16 or more");
    only_error(&text("jwks_uri: \"http://okta.example\""), &place(".jwks_uri"), "https");
    only_error(
        &text("jwks_uri: \"https://okta.example\", discovery: \"https://okta.example\""),
        &place(".jwks_uri"),
        "keep one of the two",
    );
    only_error(&text("secret: x"), &place(".secret"), "unknown key");
    only_error(&text("timeout: 2m"), &place(".timeout"), "from 100ms to 1m");
    only_error(&good().with("signals: { okta: { audience: gate } }").text(), &place(""), "issuer");
    only_error(&good().with("signals: { okta: { issuer: \"https://x\" } }").text(), &place(""), "audience");
    only_error(
        &good().with("signals: { o k: { issuer: \"https://x\", audience: a } }").text(),
        "signals[\"o k\"]",
        "fit",
    );
    let twice =
        "signals: { a: { issuer: \"https://x\", audience: a }, b: { issuer: \"https://x\", audience: b } }";
    only_error(&good().with(twice).text(), "signals.b.issuer", "`signals.a` has this issuer too");

    let mut two = good();
    two.issuers.push_str("  other: { url: \"https://other\", audience: x }\n");
    only_error(&with(two.clone(), ""), &place(""), "`corp`, `other`");
    assert_eq!(settings(&with(two, "revokes: [other, corp]")).signals[0].rules.revokes.len(), 2);
    // A mistake elsewhere makes none here.
    let broken = with(good().issuer("clock_skew: 11m"), "revokes: corp");
    only_error(&broken, "issuers.corp.clock_skew", "10m");
    let lonely = parse(&text("events: [account-disabled]")).unwrap().warnings;
    assert!(lonely.iter().any(|warning| warning.path == place(".events")), "{lonely:?}");
}

#[test]
fn a_transmitter_that_is_an_issuer_has_its_keys_unless_they_are_a_secret() {
    let same = |more: &str| {
        format!("signals: {{ corp: {{ issuer: \"https://login.example.com\", audience: gate, {more} }} }}")
    };
    let of_issuer = settings(&good().issuer("clock_skew: 10s, algorithms: [RS256]").with(&same("")).text());
    let signal = &of_issuer.signals[0];
    assert!(matches!(&signal.keys, SignalKeys::OfIssuer(name) if name.as_str() == "corp"));
    assert_eq!(signal.rules.clock_skew, Duration::from_secs(10));
    assert_eq!(signal.rules.algorithms, [Algorithm::Rs256]);
    assert_eq!(of_issuer.called().len(), 1);
    only_error(&good().with(&same("timeout: 1s")).text(), "signals.corp.timeout", "never called");
    let own =
        settings(&good().with(&same("discovery: \"https://login.example.com/ssf\", timeout: 1s")).text());
    assert!(matches!(own.signals[0].keys, SignalKeys::Own(_)));
    let shared = good().issuer("shared_secret: 0123456789abcdef0123456789abcdef");
    only_error(&shared.clone().with(&same("")).text(), "signals.corp.issuer", "`jwks_uri` or `jwks_file`");
    assert!(parse(&shared.with(&same("jwks_uri: \"https://login.example.com/keys\"")).text()).is_ok());
}

#[test]
fn an_assertion_has_a_header_of_its_own_and_keys_that_sign() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    fs::write(folder.path().join("a"), &key).unwrap();
    fs::write(folder.path().join("public"), "-----BEGIN PUBLIC KEY-----\n").unwrap();
    let told = |assertion: &str| {
        let text = good().with(&format!("identity: {{ assertion: {assertion} }}")).text();
        let read = |path: &Path| fs::read(path);
        config::parse(&text, folder.path(), &env, &read)
            .map(|loaded| {
                let identity = loaded.settings.identity;
                (identity.default.assertion.unwrap(), identity.assertion_keys.unwrap().len())
            })
            .map_err(|errors| errors.to_string())
    };
    let (assertion, keys) = told("{}").unwrap();
    assert_eq!((assertion.header.as_str(), assertion.ttl), ("x-auth-assertion", Duration::from_secs(60)));
    assert_eq!((assertion.binding, keys), (Binding::Upstream, 0));
    let (assertion, keys) =
        told("{ header: X-Caller, ttl: 10s, bind: request, keys: [{ file: a }] }").unwrap();
    assert_eq!((assertion.header.as_str(), assertion.binding, keys), ("x-caller", Binding::Request, 1));
    for (wrong, why) in [
        ("{ header: Cookie }", "another meaning"),
        ("{ header: X_Auth_Subject }", "identity headers"),
        ("{ ttl: 1s }", "10s"),
        ("{ bind: path }", "request"),
        ("{ keys: [] }", "the list is empty"),
        ("{ keys: [{ file: a }, { file: a }] }", "in this list already"),
        ("{ keys: [{ file: public }] }", "the private key is needed"),
    ] {
        let told = told(wrong).unwrap_err();
        assert!(told.contains("identity.assertion") && told.contains(why), "{wrong}: {told}");
    }
    let text = good().with("identity: { assertion: {} }").with("store: rediss://cache").text();
    let told = errors(&text).join("\n");
    assert!(told.contains("identity.assertion.keys"), "{told}");
}

/// A certificate for these names and its key, in PEM, written to `<name>.pem` and `<name>.key`.
fn write_certificate(folder: &Path, name: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}

fn listening(folder: &Path, listen: &str) -> Result<Loaded, Vec<String>> {
    let text = good().text().replace("listen: 0.0.0.0:8080\n", &format!("listen: {listen}\n"));
    let read = |path: &Path| fs::read(path);
    config::parse(&text, folder, &env, &read).map_err(|errors| {
        errors.mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect()
    })
}

#[test]
fn listen_is_an_address_or_keys_or_a_list_of_either() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "a", &["Gate.example.com"]);
    write_certificate(folder.path(), "b", &["*.other.example", "other.example"]);
    let tls = "tls: [{ certificate: a.pem, key: a.key }, { certificate: b.pem, key: b.key }]";
    let loaded = listening(
        folder.path(),
        &format!("[\"[::]:80\", {{ address: 0.0.0.0:443, {tls}, client_certificates: {{ ca: b.pem }} }}, {{ address: 0.0.0.0:8088, redirect: https }}]"),
    )
    .unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let [plain, secure, redirect] = &loaded.settings.listen[..] else { panic!() };
    assert!(matches!(plain.serves, Serves::ClearText) && matches!(redirect.serves, Serves::RedirectToHttps));
    let Serves::Tls(tls) = &secure.serves else { panic!() };
    assert!(matches!(tls.clients, ClientCertificates::Asked { required: true, .. }));
    for (host, covered) in [
        ("gate.example.com", [true, false]),
        ("other.example", [false, true]),
        ("a.other.example", [false, true]),
        ("a.b.other.example", [false, false]),
        (".other.example", [false, false]),
    ] {
        let covers: Vec<bool> = tls.certificates.iter().map(|certificate| certificate.covers(host)).collect();
        assert_eq!(covers, covered, "{host}");
    }
    let one = listening(folder.path(), "{ address: 0.0.0.0:443, tls: [{ certificate: b.pem, key: b.key }] }")
        .unwrap();
    assert_eq!(one.warnings.len(), 1);
    assert!(one.warnings[0].message.contains("`gate.example.com`"), "{:?}", one.warnings);
}

/// As systems do that let `[::]` take IPv4 too, which is what the gateway asks for nowhere and Linux does.
#[test]
fn addresses_of_two_families_are_in_each_others_way_at_the_widest_of_ipv6_alone() {
    let folder = tempfile::tempdir().unwrap();
    for listen in [
        "[0.0.0.0:443, \"[::1]:443\"]",
        "[\"[2001:db8::1]:443\", 0.0.0.0:443]",
        "[127.0.0.1:443, \"[::1]:443\"]",
        "[\"[::]:443\", 0.0.0.0:80]",
        "\"[::1]:8081\"",
    ] {
        let loaded = listening(folder.path(), listen);
        assert!(loaded.is_ok(), "{listen}: {:?}", loaded.err());
    }
}

#[test]
fn a_certificate_may_be_for_an_address() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "ip", &["10.0.0.1", "::1"]);
    let listen = "{ address: 0.0.0.0:443, tls: [{ certificate: ip.pem, key: ip.key }] }";
    let warnings = |public: &str| {
        let text = good().text().replace("https://gate.example.com", public);
        let text = text.replace("listen: 0.0.0.0:8080\n", &format!("listen: {listen}\n"));
        config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap().warnings
    };
    for public in ["https://10.0.0.1", "https://10.0.0.1:8443", "https://[::1]:8443"] {
        assert!(warnings(public).is_empty(), "{public}: {:?}", warnings(public));
    }
    assert!(warnings("https://10.0.0.2")[0].message.contains("`10.0.0.2`"));
    assert!(warnings("https://[::2]")[0].message.contains("`::2`"));
}

#[test]
fn admin_is_an_address_or_keys_with_a_token_that_nobody_guesses() {
    let settings = settings(
        &good()
            .with("admin: { address: 0.0.0.0:9000, token: \"${WEB_APP_SECRET}x\", hosts: [Gate.Internal] }")
            .text()
            .replace("${WEB_APP_SECRET}", "0123456789abcde"),
    );
    assert_eq!(settings.admin.address.to_string(), "0.0.0.0:9000");
    assert_eq!(settings.admin.token.unwrap().expose(), b"0123456789abcdex");
    assert_eq!(settings.admin.hosts, ["gate.internal"]);
    let none = parse(&good().with("admin: { address: 0.0.0.0:9000, hosts: [] }").text()).unwrap();
    assert!(none.settings.admin.hosts.is_empty(), "as without it");
    for (admin, place, message) in [
        ("{ token: 0123456789abcdef }", "admin", "`address` is missing"),
        ("{ address: 0.0.0.0:9000, token: short }", "admin.token", "16 or more"),
        ("{ address: 0.0.0.0:9000, token: \"0123 456789abcdef\" }", "admin.token", "without spaces"),
        ("{ address: 0.0.0.0:9000, hosts: \"https://x\" }", "admin.hosts", "is not a host name"),
        ("[0.0.0.0:9000]", "admin", "is a list"),
    ] {
        only_error(&good().with(&format!("admin: {admin}")).text(), place, message);
    }
}

/// A configuration with this `store`, and what replicas must share beside it.
fn stored(store: &str) -> String {
    let token = "admin: { address: 127.0.0.1:8081, token: 0123456789abcdef }";
    let keys = format!("sessions: {{ keys: [\"{}\"] }}", "0a".repeat(32));
    good().with(&format!("store: {store}\n{token}\n{keys}")).text()
}

#[test]
fn store_is_a_folder_or_a_redis_in_short_and_in_long() {
    let of = |store: &str| settings(&stored(store)).store;
    assert_eq!(of("kept"), Store::folder("/etc/tollgate/kept"));
    assert_eq!(of("{ path: /kept }"), Store::folder("/kept"));
    assert_eq!(of("{}"), Store::folder("/etc/tollgate/data"));
    let short = of("redis://cache");
    assert_eq!(short.folder, Path::new("/etc/tollgate/data"));
    let redis = short.redis.unwrap();
    assert_eq!(redis.servers, [RedisServer { host: "cache".to_owned(), port: 6379 }]);
    assert_eq!((redis.topology, redis.tls, redis.database), (Topology::Single, None, 0));
    assert_eq!((redis.prefix.as_str(), redis.on_outage), ("tollgate:", OnOutage::Refuse));
    assert_eq!(redis.max_staleness, Duration::from_secs(300));
    assert_eq!(redis.credentials, RedisCredentials::default());
    assert_eq!(of("{ url: redis://cache }"), of("redis://cache"));
    assert_eq!(of("{ url: [redis://cache:6379/0] }"), of("redis://cache"));

    let secure = of("\"rediss://us%40er:p%2Fw:d@[::1]:6380/3\"").redis.unwrap();
    assert_eq!(secure.servers, [RedisServer { host: "::1".to_owned(), port: 6380 }]);
    assert_eq!((secure.tls, secure.database), (Some(RedisTls::default()), 3));
    assert_eq!(secure.credentials, credentials(Some("us@er"), "p/w:d"));
    let named = of("\"redis://:${WEB_APP_SECRET}@cache\"").redis.unwrap();
    assert_eq!(named.credentials, credentials(None, "a secret of the demo"));
    assert_eq!(
        of("{ url: \"redis://127.0.0.1\", password: x }").redis.unwrap().credentials,
        credentials(None, "x")
    );

    let cluster = of("{ url: [redis://a, redis://b:7000], cluster: true }").redis.unwrap();
    assert_eq!((cluster.servers.len(), &cluster.topology), (2, &Topology::Cluster));
    assert_eq!(cluster.to_string(), "redis://a:6379,b:7000/0 (cluster)");
    let watched = of("{ url: redis://a:26379/1, sentinel: mymaster }").redis.unwrap();
    assert_eq!(watched.database, 1);
    assert!(matches!(watched.topology, Topology::Sentinel { master, .. } if master == "mymaster"));
}

#[test]
fn a_redis_without_tls_is_warned_about_unless_it_is_on_this_machine() {
    for (url, warned) in [
        ("redis://cache", true),
        ("redis://10.0.0.1", true),
        ("rediss://cache", false),
        ("redis://localhost", false),
        ("redis://127.0.0.1", false),
        ("\"redis://[::1]\"", false),
    ] {
        let warnings = parse(&stored(url)).unwrap().warnings;
        assert_eq!(warnings.iter().any(|warning| warning.message.contains("not encrypted")), warned, "{url}");
    }
}

#[test]
fn what_a_store_cannot_be_is_told_with_its_place_and_without_a_password() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "ca", &["ca"]);
    let ca = folder.path().join("ca.pem").display().to_string();
    for (store, place, message) in [
        ("http://cache:6379", "store", "is not a URL of Redis"),
        ("redis:/cache", "store", "names no host"),
        ("\"redis://:hunter2@\"", "store", "is not a URL of Redis"),
        ("\"redis://u:hun/ter2@cache\"", "store", "goes into `password`"),
        ("\"redis://u:12/hunter2@cache\"", "store", "is not the number of a database"),
        ("\"redis://hunter2@cache\"", "store", "a user and no password"),
        ("\"rediss://:hunter2@cache/0#insecure\"", "store", "a query or a fragment"),
        ("\"redis://:hunter2@cache/0?protocol=3\"", "store", "a query or a fragment"),
        ("redis://cache/one", "store", "is not the number of a database"),
        ("{ url: [] }", "store.url", "the list is empty"),
        ("{ url: [redis://a, redis://b] }", "store.url", "several servers"),
        (
            "{ url: [\"redis://:hunter2@a\", \"redis://:hunter2@a\"], cluster: true }",
            "store.url[1]",
            "in this list already",
        ),
        ("{ url: [redis://a, rediss://b], cluster: true }", "store.url[1]", "TLS with all or with none"),
        ("{ url: [redis://a/1, redis://b/2], sentinel: m }", "store.url[1]", "another database"),
        ("{ url: redis://a/1, cluster: true }", "store.url", "only the database 0"),
        ("{ url: redis://a, cluster: true, sentinel: m }", "store.cluster", "no Sentinels"),
        ("{ url: \"redis://:hunter2@a\", password: hunter3 }", "store.url", "keep one of the two"),
        ("{ url: \"redis://:hunter2@a\", sentinel: m }", "store.url", "`sentinel.password`"),
        (
            "{ url: [\"redis://:hunter2@a\", \"redis://:hunter3@b\"], cluster: true }",
            "store.url",
            "different users or passwords",
        ),
        ("{ url: redis://a, username: gate }", "store.username", "no `password` beside it"),
        (
            "{ url: redis://a, sentinel: { master: m, username: gate } }",
            "store.sentinel.username",
            "no `password`",
        ),
        ("{ url: redis://a, sentinel: { password: x } }", "store.sentinel", "`master` is missing"),
        (
            "{ url: redis://a, password: \"${WEB_APP_SECRET:-x}\" }",
            "store.password",
            "must not have a default",
        ),
        ("\"redis://:${NO:-hunter2}@cache\"", "store", "must not have a default"),
        ("\"${NO:-redis://:hunter2@cache}\"", "store", "must not have a default"),
        ("{ url: [\"redis://:${HELD:-x}@cache\"] }", "store.url[0]", "must not have a default"),
        ("{ url: redis://a, prefix: \"a b\" }", "store.prefix", "without spaces"),
        ("{ url: redis://a, prefix: \"{a}\" }", "store.prefix", "brackets"),
        ("{ url: redis://a, on_outage: wait }", "store.on_outage", "write one of `refuse`, `serve`"),
        ("{ on_outage: serve }", "store.on_outage", "there is no `url`"),
        ("{ max_staleness: 1m }", "store.max_staleness", "there is no `url`"),
        ("{ url: redis://a, max_staleness: 1s }", "store.max_staleness", "10s"),
        ("{ path: kept, password: hunter2 }", "store.password", "there is no `url`"),
        (&format!("{{ url: redis://a, ca: {ca} }}"), "store.ca", "without TLS"),
    ] {
        only_error(&stored(store), place, message);
        let told = errors(&stored(store)).concat();
        assert!(!told.contains("hunter") && !told.contains("ter2"), "{told}");
    }
    let host = settings(&stored("\"redis://:${HELD}@${NO:-cache}\"")).store.redis.unwrap();
    assert_eq!(host.servers[0].host, "cache", "a host may have a default");
}

#[test]
fn a_mistake_hides_no_other_of_its_route_or_store() {
    let places = |text: &str| -> Vec<String> {
        parse(text).unwrap_err().mistakes.into_iter().map(|mistake| mistake.path).collect()
    };
    let route =
        good().route("host: \"a b\", methods: GOT, sign_in: nobody, strip_prefix: /x, cors: both").text();
    let at = |keys: &[&str]| keys.iter().map(|key| format!("routes[0].{key}")).collect::<Vec<_>>();
    assert_eq!(places(&route), at(&["host", "methods", "sign_in", "strip_prefix", "cors"]));
    let route = good().route("resource: \"/x\", extends_session: false").text();
    assert_eq!(places(&route), at(&["resource", "extends_session"]));
    let misplaced = good().route("host: \"a b\", resource: \"https://gate.example.com/api\"").text();
    assert_eq!(places(&misplaced), at(&["host"]), "where it must be follows from the host");
    let both = ["sessions.keys", "admin.token"];
    for store in ["redis://cache/one", "redis://${NO_SUCH}"] {
        let errors = errors(&good().with(&format!("store: \"{store}\"")).text());
        assert!(errors.len() == 3 && both.iter().all(|key| errors.concat().contains(key)), "{errors:?}");
    }
    let errors = errors(&good().with("store: { url: \"redis://\", username: \"\", password: \"\" }").text());
    assert_eq!(errors.len(), 5, "{errors:?}");
}

#[test]
fn with_redis_what_replicas_share_must_be_given() {
    let alone = errors(&good().with("store: redis://127.0.0.1").text());
    assert_eq!(alone.len(), 2, "{alone:?}");
    assert!(alone[0].contains("`sessions.keys`") && alone[0].contains("tollgate keys cookie"), "{alone:?}");
    assert!(alone[1].contains("`admin.token`"), "{alone:?}");
}

#[test]
fn what_is_shown_of_a_configuration_holds_no_secret() {
    let text = good()
        .with("admin: { address: 0.0.0.0:9000, token: 0123456789abcdef }\nsessions: { keys: [\"0a\"] }")
        .client("secret: hunter2hunter2, scope: a b")
        .text()
        .replace("[\"0a\"]", &format!("[\"{}\"]", "0a".repeat(32)));
    let shown = settings(&text).shown;
    assert_eq!(shown["admin"]["token"], "[secret]");
    assert_eq!(shown["clients"]["web"]["secret"], "[secret]");
    assert_eq!(shown["clients"]["web"]["scope"], "a b");
    assert_eq!(shown["sessions"]["keys"][0], "[secret]");
    assert_eq!(shown["listen"], "0.0.0.0:8080");
    let redis = "{ url: [\"redis://gate:hunter2@a:1/0\", \"redis://gate:hunter2@b\"], cluster: true }";
    let redis = settings(&stored(redis)).shown;
    assert_eq!(redis["store"]["url"][0], "redis://[secret]@a:1/0");
    assert_eq!(settings(&stored("redis://cache:6379/0")).shown["store"], "redis://cache:6379/0");
    assert_eq!(
        settings(&stored("{ url: redis://a, password: hunter2 }")).shown["store"]["password"],
        "[secret]"
    );
    let text = format!("{shown}{redis}");
    assert!(
        !text.contains("hunter2") && !text.contains("0123456789abcdef") && !text.contains("0a0a"),
        "{text}"
    );
}

#[test]
fn a_proxy_that_must_be_there_and_is_not_named_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "gate", &["gate.example.com"]);
    let at = folder.path().display();
    let tls =
        format!("{{ address: 0.0.0.0:443, tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}] }}");
    let warned = |public_url: &str, listen: &str, more: &str| {
        let rest = "issuers: { corp: { url: \"https://login.example.com\", audience: api } }\nroutes: [{ path: /x, to: \"http://10.0.0.1:3000\" }]\n";
        let text = format!("public_url: {public_url}\nlisten: {listen}\n{more}{rest}");
        parse(&text).unwrap().warnings.into_iter().find(|warning| warning.path == "listen")
    };
    let (public, clear) = ("https://gate.example.com", "0.0.0.0:8080");
    let warning = warned(public, clear, "").unwrap();
    assert_eq!(warning.line, 2);
    for part in ["`trusted_proxies: [10.0.0.0/8]`", "one address", "`http`", "`tls`"] {
        assert!(warning.message.contains(part), "{part}: {}", warning.message);
    }
    let redirects = "[0.0.0.0:8080, { address: 0.0.0.0:80, redirect: https }]";
    assert!(warned(public, redirects, "").is_some());
    for (public_url, listen, more) in [
        (public, clear, "trusted_proxies: 10.0.0.1\n"),
        (public, tls.as_str(), ""),
        (public, &format!("[{clear}, {tls}]"), ""),
        ("http://localhost:8080", clear, ""),
    ] {
        assert_eq!(warned(public_url, listen, more), None, "{public_url} {listen} {more}");
    }
}

#[test]
fn what_a_listener_cannot_do_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "a", &["gate.example.com"]);
    write_certificate(folder.path(), "b", &["gate.example.com"]);
    for (listen, place, message) in [
        ("[]", "listen", "the list is empty"),
        ("{ address: 0.0.0.0:80, redirect: https }", "listen", "nothing is served"),
        ("[0.0.0.0:80, 0.0.0.0:80]", "listen[1]", "same address as listen[0]; give one another port"),
        ("[0.0.0.0:80, 127.0.0.1:80]", "listen[1]", "same address as listen[0]; give"),
        ("[\"[::1]:80\", \"[::]:80\"]", "listen[1]", "same address as listen[0]; give"),
        ("[0.0.0.0:80, \"[::]:80\"]", "listen[1]", "`[::]` takes IPv4 too; leave the one of IPv4 out"),
        ("[\"[::]:80\", 127.0.0.1:80]", "listen[1]", "`[::]` takes IPv4 too; leave the one of IPv4 out"),
        ("\"[::]:8081\"", "listen", "`[::]` takes IPv4 too, so `listen` and `admin` (127.0.0.1:8081)"),
        ("[0.0.0.0:80, \"127.0.0.1:8081\"]", "listen", "same address"),
        ("{ address: x }", "listen.address", "is not an address"),
        ("{ tls: [] }", "listen", "`address` is missing"),
        ("{ address: 0.0.0.0:443, tls: [] }", "listen.tls", "the list is empty"),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.pem, key: b.key }] }",
            "listen.tls[0].key",
            "not the key of this certificate",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.key, key: a.key }] }",
            "listen.tls[0].certificate",
            "no certificate",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.pem, key: a.pem }] }",
            "listen.tls[0].key",
            "no private key",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: gone.pem, key: a.key }] }",
            "listen.tls[0].certificate",
            "cannot be read",
        ),
        (
            "{ address: 0.0.0.0:443, client_certificates: { ca: a.pem } }",
            "listen.client_certificates",
            "over TLS only",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.pem, key: a.key }], redirect: https }",
            "listen.redirect",
            "in clear text",
        ),
        ("{ adress: 0.0.0.0:443 }", "listen.adress", "did you mean `address`?"),
        ("[[0.0.0.0:443]]", "listen[0]", "is a list"),
    ] {
        let told = listening(folder.path(), listen).unwrap_err();
        assert!(
            told.iter().any(|told| told.starts_with(&format!("{place}:")) && told.contains(message)),
            "{listen}: {told:?}"
        );
    }
    let text = "public_url: http://localhost:8080\nlisten: [127.0.0.1:8080, { address: 127.0.0.1:80, redirect: https }]\nissuers: { a: { url: \"https://a\", audience: x } }\nroutes: [{ path: /a, to: \"http://10.0.0.1:1\" }]\n";
    only_error(text, "listen[1].redirect", "nowhere to redirect to");
}

#[test]
fn answers_are_shared_with_the_pages_of_the_clients_that_a_route_takes() {
    let client = |name: &str, issuer: &str, origins: &str| {
        format!(
            "  {name}: {{ mode: token, login: page, issuer: {issuer}, redirect_uri: \"https://gate.example.com/in\", origins: [{origins}] }}\n"
        )
    };
    let mut parts = good();
    parts.issuers.push_str("  old: { url: \"https://old.example.com\", audience: api }\n");
    parts.clients = client("a", "corp", "\"https://a.example.com\", \"https://b.example.com\"")
        + &client("b", "old", "\"https://b.example.com\"");
    let route =
        |path: &str, more: &str| format!("  - {{ path: {path}, to: \"http://10.0.0.1:3000\"{more} }}\n");
    parts.routes = [
        route("/all", ""),
        route("/public", ", public: true"),
        route("/a", ", clients: a"),
        route("/b", ", clients: [b]"),
        route("/old", ", issuers: old"),
    ]
    .concat();
    let settings = settings(&parts.text());
    let origins = |sharing: &Sharing| -> String {
        sharing.origins.iter().map(|origin| &origin.as_str()[8..9]).collect()
    };
    let shared: Vec<_> = settings.routes.iter().map(|route| origins(&route.sharing)).collect();
    assert_eq!(shared, ["ab", "ab", "ab", "b", "b"]);
    assert_eq!(origins(&settings.sharing), "ab");
    assert!(settings.sharing.credentials && !settings.routes[0].sharing.credentials);
}

#[test]
fn headers_that_pages_may_send_are_those_that_would_reach_an_upstream() {
    let top = |list: &str| good().with(&format!("cors: {{ headers: {list} }}")).text();
    let route = |list: &str| good().route(&format!("cors: {{ headers: {list} }}")).text();
    let names = |sharing: &Sharing| -> Vec<String> {
        sharing.headers.iter().map(|name| name.as_str().to_owned()).collect()
    };
    let both = good().with("cors: { headers: [If-Match, X-Requested-With] }");
    let both = settings(&both.route("cors: { headers: [Idempotency-Key, if-match, IF-MATCH] }").text());
    assert_eq!(names(&both.sharing), ["if-match", "x-requested-with"]);
    assert_eq!(names(&both.routes[0].sharing), ["if-match", "x-requested-with", "idempotency-key"]);
    assert_eq!(both.routes[0].cors, CorsSpeaker::Gateway);
    assert!(settings(&good().route("cors: {}").text()).routes[0].sharing.headers.is_empty());
    for (name, says) in [
        ("traceparent", "without being listed"),
        ("authorization", "without being listed"),
        ("DPoP", "without being listed"),
        ("Cookie", "set by no page"),
        ("Sec-Fetch-Site", "set by no page"),
        ("Proxy-Authorization", "set by no page"),
        ("Transfer-Encoding", "set by no page"),
        ("X-Forwarded-For", "Tollgate's own"),
        ("X_Real_IP", "Tollgate's own"),
        ("X-HTTP-Method-Override", "Tollgate's own"),
        ("X-Auth-Subject", "tells upstreams who calls"),
        ("X.Auth.Scope", "tells upstreams who calls"),
        ("\"*\"", "list the names"),
        ("\"a b\"", "no header name"),
    ] {
        only_error(&top(&format!("[{name}]")), "cors.headers[0]", says);
        only_error(&route(&format!("[If-Match, {name}]")), "routes[0].cors.headers[1]", says);
    }
    only_error(&good().route("cors: both").text(), "routes[0].cors", "write one of");
    let own = good().with("identity: { headers: { X-User: sub } }");
    only_error(&own.with("cors: { headers: [x-user] }").text(), "cors.headers[0]", "who calls");
    let on_route = good().route("identity: { headers: { X-Staff: sub } }");
    only_error(&on_route.with("cors: { headers: [x-staff] }").text(), "cors.headers[0]", "who calls");
}

#[test]
fn keys_given_twice_are_all_told_with_their_own_lines() {
    let text = "public_url: https://gate.example.com\nlisten: 0.0.0.0:80\nissuers:\n  a: { url: https://a, audience: x }\n  a: { url: https://b, audience: x }\nroutes:\n  - path: /a\n    to: http://u\n    to: http://v\n";
    assert_eq!(
        errors(text),
        [
            "5:3 issuers.a: is given twice; keep one of the two",
            "9:5 routes[0].to: is given twice; keep one of the two"
        ]
    );
}

#[test]
fn a_mark_of_the_byte_order_is_no_part_of_the_file() {
    assert!(parse(&format!("\u{feff}{}", good().text())).is_ok());
    let errors = errors(&format!("\u{feff}nonsense: 1\n{}", good().text()));
    assert!(errors.len() == 1 && errors[0].starts_with("1:"), "{errors:?}");
    assert!(errors[0].contains(" nonsense: unknown key"), "{errors:?}");
}

#[test]
fn text_that_is_no_configuration_is_refused_with_a_line() {
    for (text, line) in [
        ("a: [1, 2\nb: 3\n", 2),
        ("a: *nowhere\n", 1),
        ("a: !tag x\n", 1),
        ("? [a]\n: b\n", 1),
        ("---\na: 1\n---\nb: 2\n", 1),
    ] {
        let found = parse(text).unwrap_err();
        assert_eq!(found.mistakes.len(), 1, "{found}");
        assert!(found.mistakes[0].line >= line, "{text:?}: {found}");
    }
    for empty in ["", "\n", "# nothing\n", "null\n", "[]\n", "text\n", "{}\n", "\u{feff}"] {
        assert!(parse(empty).is_err(), "{empty:?}");
    }
    for (text, remedy) in [
        ("# nothing\n", "the file says nothing; docs/configuration.md"),
        ("a:\n\tb: c\n", "indented with spaces"),
        ("a:\n  - b\n   - c: d\n", "compare the indentation"),
    ] {
        let found = parse(text).unwrap_err().to_string();
        assert!(found.contains(remedy), "{text:?}: {found}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, b"a: b\nc: \xff\n").unwrap();
    assert_eq!(config::load(&file, &env).unwrap_err().mistakes[0].line, 2);
    fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(config::load(&file, &env).unwrap_err().to_string().contains("1 MiB"));
    assert!(config::load(folder.path(), &env).unwrap_err().to_string().contains("cannot be read"));
}

/// Nobody has to correct some before the rest is told, and no harmless warning keeps another back.
#[test]
fn however_many_mistakes_and_warnings_there_are_all_are_told() {
    let unknown: String = (0..320).map(|n| format!("nonsense{n}: 1\n")).collect();
    let found = parse(&format!("{}{unknown}", good().text())).unwrap_err();
    assert_eq!(found.mistakes.len(), 320);
    assert!(found.mistakes.iter().all(|mistake| mistake.path.starts_with("nonsense")), "{found}");
    let lines: Vec<usize> =
        found.mistakes.iter().map(|mistake| mistake.line).filter(|line| *line > 0).collect();
    assert!(lines.len() == 320 && lines.is_sorted(), "{lines:?}");
    let trials: String = (0..260)
        .map(|n| format!("  - {{ path: /{n}/*, to: \"http://10.0.0.1\", report_only: true }}\n"))
        .collect();
    let loaded = parse(&Parts { routes: trials, ..good() }.text()).unwrap();
    let told: std::collections::BTreeSet<_> = loaded.warnings.iter().map(|warning| &warning.path).collect();
    assert_eq!(told.len(), 260);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yaml"), format!("{}{unknown}", good().text())).unwrap();
    let (_, _, err) = command(folder.path(), &["check"]);
    assert!(err.trim_end().ends_with("\n320 mistakes"), "{err}");
}

#[test]
fn a_key_of_a_section_that_stands_beside_it_is_told_where_it_belongs() {
    for key in ["scope: x", "any_scope: [a, b]", "acr: gold", "signed_in_within: 5m"] {
        let at = format!("routes[0].{}", key.split(':').next().unwrap());
        only_error(&good().route(key).text(), &at, "under `require`");
    }
    only_error(&good().with("subject: plain").text(), "subject", "under `log`");
    only_error(&good().route("reqire: { scope: x }").text(), "routes[0].reqire", "did you mean `require`");
}

#[test]
fn anchors_and_depth_cost_a_bounded_time() {
    let begun = Instant::now();
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 10_000].join(","));
    let deep = "[".repeat(500_000);
    let maps = "{a: ".repeat(900);
    let closed = "[a] ".repeat(100_000);
    let lines: String = (0..2000).map(|n| format!("{}a:\n", " ".repeat(n % 500))).collect();
    let mistakes: String = (0..5000).map(|n| format!("k{n}: 1\n")).collect();
    for text in [laughs, long, deep, maps, closed, lines, mistakes] {
        let found = parse(&text).unwrap_err();
        assert!(found.mistakes.len() <= 5010, "{}", found.mistakes.len());
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn no_text_makes_it_panic_and_every_refusal_says_something() {
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Err(errors) = config::parse(&text, Path::new(""), &|_| None, &no_file) {
            assert!(!errors.mistakes.is_empty());
        }
    });
}

/// A good file in which something was put out of place is read or refused, with a reason.
#[test]
fn no_damage_to_a_good_file_makes_it_panic() {
    let good = fs::read_to_string(Path::new(TOP).join("config.yaml")).unwrap();
    let spare = [
        "{", "}", "[", "]", ":", "null", "-", "&a", "*a", "${X}", "\"", "5", "true", "\n", " ", "~", "<<",
        "!t",
    ];
    bolero::check!().with_iterations(2000).with_type::<(u16, u8, u8)>().for_each(|&(at, cut, which)| {
        let lines: Vec<&str> = good.split_inclusive(' ').collect();
        let at = usize::from(at) % lines.len();
        let until = (at + usize::from(cut % 4)).min(lines.len());
        let damaged = format!(
            "{}{}{}",
            lines[..at].concat(),
            spare[usize::from(which) % spare.len()],
            lines[until..].concat()
        );
        if let Err(errors) = config::parse(&damaged, Path::new(""), &env, &no_file) {
            assert!(!errors.mistakes.is_empty());
            assert!(
                !errors.to_string().contains("cannot be read as a configuration"),
                "no reason given:\n{damaged}"
            );
        }
    });
}

#[test]
fn the_documentation_names_every_key_and_no_other() {
    let file = Path::new(TOP).join("docs/configuration.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- keys -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /keys -->").unwrap();
    let right = format!("{before}<!-- keys -->\n{}<!-- /keys -->{after}", schema::reference());
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&file, &right).unwrap();
        return;
    }
    assert!(text == right, "docs/configuration.md is not what the schema says; TOLLGATE_BLESS=1 writes it");
    for (path, key) in schema::paths() {
        assert!(text.contains(&format!("| `{path}` |")), "{path}");
        assert!(!key.meaning.is_empty() && key.meaning.ends_with('.'), "{path}");
    }
}

/// Every example of a configuration in the README and in docs/, with the page that has it. Routes alone stand
/// under their key.
fn documented_examples() -> Vec<(String, String)> {
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

/// What a part of a file needs beside it to be a whole one.
const AROUND: &str = "
public_url: https://gate.example.com
listen: 127.0.0.1:8080
trusted_proxies: [127.0.0.1/32]
admin: { address: 127.0.0.1:8081, token: { file: admin } }
issuers: { corp: { url: https://login.example.com, audience: [https://gate.example.com, https://api.example.com] } }
routes: [{ path: /around/*, to: http://127.0.0.1:3000 }]
sessions: { keys: [{ file: cookie }] }
";

/// `example` with all that it leaves out.
fn completed(example: &str) -> String {
    let around: serde_json::Map<String, serde_json::Value> = serde_yaml::from_str(AROUND).unwrap();
    let mut file: serde_json::Map<String, serde_json::Value> = serde_yaml::from_str(example).unwrap();
    for (key, value) in around {
        file.entry(key).or_insert(value);
    }
    serde_json::to_string_pretty(&file).unwrap()
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "gate", &["gate.example.com"]);
    let given = |file: &Path| match file.extension().and_then(|kind| kind.to_str()) {
        Some("key") => fs::read(folder.path().join("gate.key")),
        Some("pem" | "crt") => fs::read(folder.path().join("gate.pem")),
        _ => Ok(b"0123456789abcdef".repeat(4)),
    };
    let (mut whole, mut parts) = (BTreeSet::new(), BTreeSet::new());
    for (page, example) in documented_examples() {
        let is_whole = example.contains("public_url:");
        let text = if is_whole { example } else { completed(&example) };
        let read = config::parse(&text, Path::new(""), &|_| Some("value".to_owned()), &given);
        assert!(read.is_ok(), "{}\n{page}\n{text}", read.unwrap_err());
        let found = if is_whole { &mut whole } else { &mut parts };
        found.insert(page);
    }
    for page in ["README.md", "configuration.md"] {
        assert!(whole.contains(page), "{page}: {whole:?}");
    }
    for page in ["spa.md", "deployment.md"] {
        assert!(parts.contains(page), "{page}: {parts:?}");
    }
}

fn command(folder: &Path, arguments: &[&str]) -> (Next, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut around = Surroundings { machine: &Variables(&env), folder, out: &mut out, err: &mut err };
    let next = cli::prepare(["tollgate"].iter().chain(arguments).map(Into::into), &mut around);
    (next, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn check_says_what_a_good_file_does_and_ends_with_0() {
    let (next, out, err) = command(Path::new(TOP), &["check"]);
    assert!(matches!(next, Next::Done(0)), "{err}");
    for part in [
        "config.yaml is valid",
        "/api/admin/*",
        "demo",
        "web-app: mode token, of demo, client secret, the gateway signs in",
        "; or the session of portal, for which navigations sign in",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("a secret of the demo"));
}

#[test]
fn check_and_run_say_everything_that_is_wrong_and_end_with_1() {
    for command_name in ["check", "run"] {
        let (next, out, err) = command(Path::new(TOP), &[command_name, "tests/data/config/mistakes.yaml"]);
        assert!(matches!(next, Next::Done(1)));
        assert!(out.is_empty());
        assert!(err.contains("tests/data/config/mistakes.yaml:1:1: public_url"), "{err}");
        assert!(err.lines().count() > 30, "{err}");
    }
}

#[test]
fn run_reads_the_named_file_or_looks_in_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let (next, _, err) = command(folder.path(), &["run"]);
    assert!(matches!(next, Next::Done(1)));
    assert!(err.contains("./config.yaml") && err.contains("/etc/tollgate/config.yaml"), "{err}");
    fs::write(folder.path().join("config.yaml"), good().text()).unwrap();
    let Next::Run(loaded, (path, name)) = command(folder.path(), &["run"]).0 else {
        panic!("it does not run")
    };
    assert_eq!(
        (loaded.warnings.len(), path, name.as_str()),
        (0, folder.path().join("config.yaml"), "config.yaml")
    );
    let page = good().client("").text();
    fs::write(folder.path().join("page.yaml"), &page).unwrap();
    let warned = command(folder.path(), &["run", "page.yaml"]).0;
    let line = 1 + page.lines().position(|line| line.contains("login: page")).unwrap();
    assert!(matches!(&warned, Next::Run(loaded, _) if loaded.warnings[0].line == line), "{warned:?}");
    assert!(matches!(command(folder.path(), &["run", "config.yaml"]).0, Next::Run(..)));
    assert!(matches!(command(folder.path(), &["run", "gone.yaml"]).0, Next::Done(1)));
    assert!(matches!(command(folder.path(), &["demo", "--once"]).0, Next::Demo { once: true }));
}

#[test]
fn keys_cookie_prints_a_fresh_key_that_the_file_takes() {
    let (_, first, _) = command(Path::new(TOP), &["keys", "cookie"]);
    let (_, second, _) = command(Path::new(TOP), &["keys", "cookie"]);
    assert_ne!(first, second);
    let text = good().with(&format!("sessions: {{ keys: [{}, {}] }}", first.trim(), second.trim())).text();
    assert_eq!(settings(&text).sessions.keys.len(), 2);
    only_error(&text.replace(second.trim(), first.trim()), "sessions.keys[1]", "already");
}

#[test]
fn wrong_arguments_end_with_2_and_version_with_0() {
    assert!(matches!(command(Path::new(TOP), &["chekc"]).0, Next::Done(2)));
    assert!(matches!(command(Path::new(TOP), &[]).0, Next::Done(2)));
    let folder = tempfile::tempdir().unwrap();
    for (wrong, says) in [
        (&["revoke"][..], "--sub <SUB>"),
        (&["revoke", "--reason", "why"], "--sub <SUB>"),
        (&["revoke", "--lift", "0a", "--reason", "why"], "cannot be used with"),
        (&["revoke", "--sub", "a", "--sid", "b"], "cannot be used with"),
    ] {
        let (next, _, err) = command(folder.path(), wrong);
        assert!(matches!(next, Next::Done(2)) && err.contains(says), "{wrong:?}: {err}");
    }
    let (next, _, err) = command(folder.path(), &["revoke", "--issuer", "corp"]);
    assert!(matches!(next, Next::Done(1)) && err.contains("no configuration"), "{err}");
    let (next, out, _) = command(Path::new(TOP), &["--version"]);
    assert!(matches!(next, Next::Done(0)));
    assert_eq!(out.trim(), concat!("tollgate ", env!("CARGO_PKG_VERSION")));
}

fn key_file(name: &str, pem: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{name}.pem"));
    let whole = fs::read_to_string(&path).is_ok_and(|found| found == pem);
    if !whole {
        fs::write(&path, pem).unwrap();
    }
    path.display().to_string()
}

/// RFC 8037 appendix A.2.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"EC"}]}"#;
const P256: &str = include_str!("data/config/p256.pem");
const P384: &str = include_str!("data/config/p384.pem");
const ED25519: &str = include_str!("data/config/ed25519.pem");
const RSA2048: &str = include_str!("data/config/rsa2048.pem");
const RSA1024: &str = include_str!("data/config/rsa1024.pem");
const SEC1: &str = include_str!("data/config/sec1.pem");
const CERTIFICATE: &str = include_str!("data/config/certificate.pem");
