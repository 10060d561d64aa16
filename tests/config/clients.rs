//! Clients: what each mode takes, and how they prove who they are.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate::config;
use tollgate::config::Loaded;
use tollgate::config::settings::*;
use tollgate::core::session::oauth::authentication::Audience;
use tollgate::core::token::Algorithm;

use super::support::*;

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

#[test]
fn a_client_whose_code_anybody_can_exchange_is_warned_of() {
    let warned = |text: &str| {
        let warnings = parse(text).unwrap().warnings;
        warnings.iter().any(|warning| warning.message.contains("public client"))
    };
    assert!(warned(&session("", "")) && warned(&session("", "").replace("mode: session", "mode: token")));
    assert!(!warned(&session("secret: \"${WEB_APP_SECRET}\"", "")));
    assert!(!warned(&good().client("").text()), "`login: page` has a warning of its own");
    assert!(!warned(&native("")));
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
fn an_id_token_is_asked_for_where_no_scope_is_named() {
    assert!(settings(&session("identity: id_token", "")).clients[0].session.is_some());
    assert!(
        settings(&session("identity: id_token, scope: openid api:read", "")).clients[0].session.is_some()
    );
    let without = session("identity: id_token, scope: api:read", "");
    only_error(&without, "clients.web.identity", "without `openid` in `scope`");
}

fn key_file(name: &str, pem: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{name}.pem"));
    let whole = fs::read_to_string(&path).is_ok_and(|found| found == pem);
    if !whole {
        fs::write(&path, pem).unwrap();
    }
    path.display().to_string()
}

const P384: &str = include_str!("../data/config/p384.pem");

const ED25519: &str = include_str!("../data/config/ed25519.pem");

const RSA2048: &str = include_str!("../data/config/rsa2048.pem");

const RSA1024: &str = include_str!("../data/config/rsa1024.pem");

const SEC1: &str = include_str!("../data/config/sec1.pem");
