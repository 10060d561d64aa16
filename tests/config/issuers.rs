//! Issuers: their keys, names and audiences, and how they are asked about opaque tokens.

use std::fs;
use std::time::Duration;

use tollgate::config;
use tollgate::config::settings::*;
use tollgate::core::route::policy::Access;
use tollgate::core::token::Algorithm;

use super::support::*;

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
        let found = found.filter(|warning| warning.message.contains("has the same name"));
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
