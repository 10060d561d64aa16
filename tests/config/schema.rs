//! What each key means, and what a file means that leaves it out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tollgate::config;
use tollgate::config::settings::*;
use tollgate::config::{Loaded, schema};
use tollgate::core::route::CorsSpeaker;
use tollgate::core::route::identity::RouteIdentity;
use tollgate::core::route::policy::{Access, ClaimValue};
use tollgate::core::session::oauth::authentication::Audience;
use tollgate::core::token::Algorithm;
use tollgate::core::token::security_event::event::EventType;

use super::support::*;

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

#[test]
fn every_key_of_the_schema_is_read_and_every_key_that_is_read_is_in_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let text = full(folder.path());
    let loaded =
        config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap_or_else(|e| panic!("{e}"));
    let known: BTreeSet<String> = schema::paths().into_iter().map(|(path, _)| path).collect();
    assert_eq!(loaded.asked, known);
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
        |of: &str, host: &str, port| ConnectTo { of: HostPort::new(of, 443), to: HostPort::new(host, port) };
    assert_eq!(corp.connection.proxy, Some(proxy(3128)));
    assert_eq!(corp.connection.connect_to, Some(detour("login.example.com", "keycloak.svc", 8443)));
    assert_eq!(settings.issuers[1].connection, IssuerConnection::default());
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
    assert_eq!(called.connection.proxy, Some(proxy(80)));
    assert_eq!(called.connection.connect_to, Some(detour("okta.example.com", "[fd00::7]", 443)));
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
    let tls = redis.tls.as_ref().unwrap();
    assert!(tls.authorities.len() == 1 && tls.identity.is_some());
    assert_eq!(redis.credentials, credentials(Some("gate"), "redis-hunter2"));
    let Topology::Sentinel { master, credentials: of_sentinels } = &redis.topology else { panic!() };
    assert_eq!(master, "mymaster");
    assert_eq!(*of_sentinels, credentials(Some("watcher"), "sentinel-hunter2"));
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
