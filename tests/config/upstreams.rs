//! Upstreams: servers, certificates, and how requests are sent on.

use std::fs;
use std::time::Duration;

use tollgate::config;
use tollgate::config::settings::*;

use super::support::*;

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
    assert_eq!(loaded.settings.routes[0].upstream.as_ref(), Some(&short[0].name));
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
        assert_eq!(summary.contains("http://10.0.0.1:3000, case-sensitive\n"), apart, "{summary}");
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
        warned("a", "b").unwrap().contains("differs from that of routes[0] only in upper and lower case")
    );
    assert!(warned("b", "b").is_some());
    assert_eq!(warned("a", "a"), None);
}

#[test]
fn tollgate_may_prove_itself_to_an_upstream_by_headers_of_its_own_that_show_nowhere() {
    let text = upstream(
        "url: http://10.0.0.1:3000, headers: { Authorization: \"Basic aHVudGVyMg==\", X-Api-Key: \"${WEB_APP_SECRET}\" }",
    );
    let loaded = parse(&text).unwrap();
    let headers = &loaded.settings.upstreams[0].headers;
    let found: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.expose().as_slice())).collect();
    assert_eq!(
        found,
        [("authorization", &b"Basic aHVudGVyMg=="[..]), ("x-api-key", b"a secret of the demo")]
    );
    let reserved: Vec<&str> = loaded.settings.reserved_names().map(|name| name.as_str()).collect();
    assert!(reserved.contains(&"x-api-key") && reserved.contains(&"x-auth-subject"), "{reserved:?}");
    let summary = config::summary::summary("x", &loaded);
    assert!(summary.contains("gets authorization, x-api-key of Tollgate's own"), "{summary}");
    let shown = &loaded.settings.shown["upstreams"]["api"]["headers"];
    assert_eq!(shown["Authorization"], "[secret]");
    let all = format!("{:?}{summary}{}", loaded.settings, loaded.settings.shown);
    assert!(!all.contains("aHVudGVyMg") && !all.contains("a secret of the demo"), "{all}");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "from a file\n").unwrap();
    let text = upstream("url: http://10.0.0.1:3000, headers: { X-Api-Key: { file: key } }");
    let loaded = config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap();
    assert_eq!(loaded.settings.upstreams[0].headers[0].1.expose(), b"from a file");
    assert_eq!(loaded.settings.shown["upstreams"]["api"]["headers"]["X-Api-Key"]["file"], "key");
}

#[test]
fn a_header_that_means_something_else_is_no_credential_of_tollgates() {
    let with = |headers: &str| upstream(&format!("url: http://10.0.0.1:3000, headers: {{ {headers} }}"));
    let at = |name: &str| format!("upstreams.api.headers.{name}");
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Upgrade",
        "Transfer-Encoding",
        "transfer_encoding",
        "Content-Length",
        "Host",
        "Cookie",
        "X-Forwarded-For",
        "X-Request-Id",
        "traceparent",
        "Forwarded",
        "Sec-WebSocket-Key",
        "DPoP",
    ] {
        only_error(&with(&format!("{name}: hunter2")), &at(name), "another meaning");
    }
    only_error(&with("Path-Info: /x"), &at("Path-Info"), "another meaning");
    for mount in ["SCRIPT_NAME", "X-Script-Name", "Daphne-Root-Path"] {
        assert!(parse(&with(&format!("{mount}: /app"))).is_ok(), "{mount}");
    }
    only_error(&with("X-Auth-Subject: hunter2"), &at("X-Auth-Subject"), "tells upstreams who calls");
    only_error(&with("x_auth_subject: hunter2"), &at("x_auth_subject"), "tells upstreams who calls");
    only_error(&with("X-Key: a, x_key: b"), &at("x_key"), "keep one of the two");
    only_error(&with("\"X Key\": a"), "upstreams.api.headers[\"X Key\"]", "is not a header name");
    for bad in ["\"hunter2\\n\"", "\" hunter2\"", "\"hunter2\\u0000\""] {
        let text = with(&format!("X-Key: {bad}"));
        only_error(&text, &at("X-Key"), "can be no value of a header");
        assert!(!errors(&text).concat().contains("hunter2"));
    }
    only_error(&with("X-Key: \"${NO:-hunter2}\""), &at("X-Key"), "must not have a default");
    only_error(&with("X-Key: [hunter2]"), &at("X-Key"), "is a list");
    only_error(&with("X-Key: {hunter2}"), &at("X-Key"), "other keys than `file`");
    only_error(&upstream("url: http://10.0.0.1:3000, headers: hunter2"), "upstreams.api.headers", "is text");

    let forwards =
        with("Authorization: hunter2").replace("to: api", "to: api, identity: { access_token: forward }");
    only_error(&forwards, &at("Authorization"), "`access_token: forward`");
    let elsewhere = with("X-Key: hunter2").replace("to: api", "to: api, identity: { access_token: forward }");
    settings(&elsewhere);
    let pages = with("X-Key: a") + "cors: { headers: [X-Key] }\n";
    only_error(&pages, "cors.headers[0]", "Tollgate's own");
}
