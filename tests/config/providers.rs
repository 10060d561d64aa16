//! What some providers need said of them, and what of theirs is a mistake: `access_token_issuer`,
//! `clients_without_audience`, templates of tenants, and those who only sign people in.

use tollgate::config::summary::summary;

use super::support::*;

const URL: &str = "https://login.example.com/t/v2.0";
const SAID: &str = "http://fs.example.com/adfs/services/trust";

/// With these keys of an issuer, and those below it.
fn issuers(corp: &str, others: &str) -> Parts {
    Parts { issuers: format!("  corp: {{ url: \"{URL}\", audience: api, {corp} }}\n{others}"), ..good() }
}

fn warnings(parts: &Parts, about: &str) -> Vec<String> {
    let found = parse(&parts.text()).unwrap().warnings.into_iter().filter(|one| one.message.contains(about));
    found.map(|one| format!("{}: {}", one.path, one.message)).collect()
}

#[test]
fn access_tokens_may_say_another_name_which_is_never_called() {
    for (given, read) in [
        (SAID.to_owned(), vec![SAID]),
        (format!("[\"{SAID}\", \"{URL}\"]"), vec![SAID, URL]),
        ("urn:fs".to_owned(), vec!["urn:fs"]),
    ] {
        let given = if given.starts_with('[') { given } else { format!("\"{given}\"") };
        let parts = issuers(&format!("access_token_issuer: {given}"), "");
        let loaded = parse(&parts.text()).unwrap();
        let rules = &loaded.settings.issuers[0].rules;
        assert_eq!(
            (rules.iss.as_str(), rules.access_token_iss.as_slice()),
            (URL, &read.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
        );
        assert!(!loaded.warnings.iter().any(|one| one.path.starts_with("issuers")), "{:?}", loaded.warnings);
        let shown = summary("config.yaml", &loaded);
        assert!(shown.contains(&format!("{URL} (access tokens: {})", read.join(" or "))), "{shown}");
    }
    assert!(settings(&issuers("", "").text()).issuers[0].rules.access_token_iss.is_empty());
    for (bad, part) in [
        ("\"\"", "is empty"),
        ("\" x\"", "a space"),
        ("[]", "the list is empty"),
        ("[a, a]", "in this list already"),
        ("\"https://sts.windows.net/{tenantid}/\"", "template"),
    ] {
        let text = issuers(&format!("access_token_issuer: {bad}"), "").text();
        let found = errors(&text);
        assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
    }
    let idle = issuers(&format!("access_token_issuer: \"{URL}\""), "");
    only_error(&idle.text(), "issuers.corp.access_token_issuer", "has no effect");
}

#[test]
fn each_name_of_an_issuer_is_its_own() {
    let said = format!("access_token_issuer: \"{SAID}\"");
    for (other, key) in [
        (format!("url: \"{URL}\""), "url"),
        (format!("url: \"https://two.example.com\", {said}"), "access_token_issuer"),
        (
            format!("url: \"https://two.example.com\", access_token_issuer: [x, \"{URL}\"]"),
            "access_token_issuer",
        ),
    ] {
        let parts = issuers(&said, &format!("  two: {{ audience: api, {other} }}\n"));
        only_error(&parts.text(), &format!("issuers.two.{key}"), "`corp`");
    }
    let sts = "https://sts.windows.net/t/";
    let parts = issuers(
        &format!("access_token_issuer: \"{sts}\""),
        &format!("  old: {{ audience: api, url: \"{sts}\" }}\n"),
    );
    only_error(&parts.text(), "issuers.old.url", "claims this `iss`, too");
    let apart = issuers(
        &said,
        "  two: { audience: api, url: \"https://two.example.com\", access_token_issuer: x }\n",
    );
    assert_eq!(settings(&apart.text()).issuers.len(), 2);
}

#[test]
fn a_route_asks_for_an_issuer_by_its_url() {
    let with = |claims: &str| {
        let mut parts = issuers(&format!("access_token_issuer: [\"{SAID}\", \"{URL}\"]"), "");
        parts.routes = format!(
            "  - {{ path: /api/*, to: \"http://10.0.0.1:3000\", require: {{ claims: {{ iss: {claims} }} }} }}\n"
        );
        parts.text()
    };
    let path = "routes[0].require.claims.iss";
    let alone = format!("`{SAID}` matches no token, so no token could pass: what stands in");
    only_error(&with(&format!("\"{SAID}\"")), path, &alone);
    only_error(&with(&format!("\"{SAID}\"")), path, "counts as its `url`");
    let beside = with(&format!("[\"{URL}\", \"{SAID}\"]"));
    only_error(&beside, path, &format!("`{SAID}` matches no token: what stands in"));
    only_error(&beside, path, "`issuers: corp`");
    settings(&with(&format!("[\"{URL}\", \"https://else.example\"]")));
}

#[test]
fn clients_without_audience_go_with_no_profile_that_has_one() {
    let parts = issuers("clients_without_audience: [a, b]", "");
    let loaded = parse(&parts.text()).unwrap();
    assert_eq!(loaded.settings.issuers[0].rules.clients_without_audience, ["a", "b"]);
    let shown = summary("config.yaml", &loaded);
    assert!(shown.contains("audience api, or none with tokens of a or b"), "{shown}");
    for token_type in ["at+jwt", "application/at+jwt"] {
        let both = issuers(&format!("clients_without_audience: a, token_type: {token_type}"), "");
        only_error(&both.text(), "issuers.corp.clients_without_audience", "RFC 9068");
    }
    assert!(parse(&issuers("clients_without_audience: a, token_type: JWT", "").text()).is_ok());
    let bad = errors(&issuers("clients_without_audience: []", "").text());
    assert!(bad.len() == 1 && bad[0].contains("the list is empty"), "{bad:?}");
}

#[test]
fn the_template_of_a_tenant_is_no_issuer() {
    for url in ["https://login.microsoftonline.com/{tenantid}/v2.0", "https://login.example.com/x}"] {
        let parts = Parts { issuers: format!("  corp: {{ url: \"{url}\", audience: api }}\n"), ..good() };
        only_error(&parts.text(), "issuers.corp.url", "one issuer for each tenant");
    }
}

#[test]
fn whoever_only_signs_people_in_is_warned_of_where_a_client_is_theirs() {
    let of = |url: &str, client: &str| {
        let mut parts = good().client(client);
        parts.issuers = format!("  google: {{ url: \"{url}\", audience: api }}\n");
        warnings(&parts, "only signs people in")
    };
    for url in ["https://accounts.google.com", "https://appleid.apple.com"] {
        let warned = of(url, "");
        assert!(warned.len() == 1 && warned[0].starts_with("clients.web: `google`"), "{warned:?}");
        assert!(warned[0].contains("Keycloak"), "{warned:?}");
    }
    assert_eq!(of("https://accounts.example.com", ""), Vec::<String>::new());
    assert_eq!(of("https://accounts.google.com", "accept_any_access_token: true"), Vec::<String>::new());
    let mut alone = good();
    alone.issuers = "  google: { url: \"https://accounts.google.com\", audience: api }\n".to_owned();
    assert_eq!(warnings(&alone, "only signs people in"), Vec::<String>::new());
}

#[test]
fn where_metadata_are_and_what_is_for_every_tenant_is_no_issuer() {
    for (url, right) in [
        (
            "https://login.example.com/.well-known/openid-configuration",
            "write the `issuer` that stands in them",
        ),
        ("https://login.example.com/.well-known/oauth-authorization-server/a", "write the `issuer`"),
        ("https://login.microsoftonline.com/common/v2.0", "one issuer for each tenant"),
        ("https://login.microsoftonline.com/organizations/v2.0", "one issuer for each tenant"),
    ] {
        let text = good().text().replace("https://login.example.com\"", &format!("{url}\""));
        only_error(&text, "issuers.corp.url", right);
    }
    let tenant = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    settings(&good().text().replace("https://login.example.com", tenant));
}
