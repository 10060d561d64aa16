//! How the gateway is reached, and how it reaches issuers.

use std::fs;
use std::path::Path;

use tollgate::config;

use super::support::*;

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
