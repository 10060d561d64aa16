//! What upstreams learn of callers: what a route says takes the place of what `identity` says, key by key,
//! and no name means two things.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tollgate::config::settings::*;
use tollgate::config::summary::summary;
use tollgate::config::{self, Loaded};
use tollgate::core::assertion::{AssertionRules, Binding};
use tollgate::core::route::identity::RouteIdentity;

use super::support::*;

/// `identity` of the file, and of routes one after the other.
fn text(all: &str, routes: &[&str]) -> String {
    let route =
        |(at, said): (usize, &&str)| format!("  - {{ path: /{at}, to: \"http://10.0.0.1:3000\"{said} }}\n");
    let routes = routes.iter().enumerate().map(route).collect();
    Parts { routes, ..good().with(all) }.text()
}

fn read(text: &str) -> Loaded {
    config::parse(text, Path::new("/etc/tollgate"), &env, &no_file).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Of each route: its headers, whether the token goes on, header, seconds and binding of its assertion.
type Told = (Vec<(String, String)>, bool, Option<(String, u64, Binding)>);

fn told(settings: &Settings) -> Vec<Told> {
    let of = |identity: &RouteIdentity| {
        let headers = identity.headers.of(&settings.identity.headers).iter();
        let assertion = identity.assertion.as_ref().map(|AssertionRules { header, ttl, binding }| {
            (header.as_str().to_owned(), ttl.as_secs(), *binding)
        });
        let headers = headers.map(|(name, claim)| (name.to_string(), claim.clone())).collect();
        (headers, identity.forwards_access_token, assertion)
    };
    settings.routes.iter().map(|route| of(&route.forwarding.identity)).collect()
}

#[test]
fn a_key_of_a_route_takes_the_place_of_the_same_key_and_the_others_stay() {
    let all = "identity: { headers: { X-User: sub, X-App: client_id }, access_token: forward, \
               assertion: { header: X-Signed, ttl: 30s, bind: request } }";
    let routes = [
        "",
        ", identity: {}",
        ", identity: { headers: { X-Mail: email } }",
        ", identity: { headers: {} }",
        ", identity: { access_token: strip }",
        ", identity: { assertion: off }",
        ", identity: { assertion: {} }",
        ", identity: { assertion: { ttl: 5m } }",
        ", identity: { assertion: { header: X-Other } }",
        ", identity: { assertion: { bind: upstream } }",
        ", identity: { headers: { X-User: email }, access_token: strip, assertion: { header: X-Z, ttl: 10s, bind: upstream } }",
    ];
    let settings = read(&text(all, &routes)).settings;
    let pair = |name: &str, claim: &str| (name.to_owned(), claim.to_owned());
    let signed = |header: &str, ttl, binding| Some((header.to_owned(), ttl, binding));
    let both = || vec![pair("x-user", "sub"), pair("x-app", "client_id")];
    let request = || signed("x-signed", 30, Binding::Request);
    let expected = [
        (both(), true, request()),
        (both(), true, request()),
        (vec![pair("x-mail", "email")], true, request()),
        (vec![], true, request()),
        (both(), false, request()),
        (both(), true, None),
        (both(), true, request()),
        (both(), true, signed("x-signed", 300, Binding::Request)),
        (both(), true, signed("x-other", 30, Binding::Request)),
        (both(), true, signed("x-signed", 30, Binding::Upstream)),
        (vec![pair("x-user", "email")], false, signed("x-z", 10, Binding::Upstream)),
    ];
    for ((route, told), expected) in routes.iter().zip(told(&settings)).zip(expected) {
        assert_eq!(told, expected, "{route}");
    }
    let names: BTreeSet<&str> = settings.identity_names().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-app", "x-mail", "x-other", "x-signed", "x-user", "x-z"].into());
}

#[test]
fn an_assertion_of_a_route_alone_has_the_documented_defaults_and_a_key_that_is_made() {
    let settings = read(&text("", &["", ", identity: { assertion: {} }"])).settings;
    let assertions: Vec<_> = told(&settings).into_iter().map(|(_, _, assertion)| assertion).collect();
    let default = ("x-auth-assertion".to_owned(), 60, Binding::Upstream);
    assert_eq!(assertions, [None, Some(default)]);
    assert_eq!(settings.identity.assertion_keys.map(|keys| keys.len()), Some(0));
    let none = read(&text("", &[", identity: { assertion: off }"])).settings;
    assert_eq!((told(&none)[0].2.clone(), none.identity.assertion_keys), (None, None));
}

#[test]
fn names_that_no_route_uses_stay_reserved_and_equal_lists_are_one() {
    let own = ", identity: { headers: { X-User: sub } }";
    let other = ", identity: { headers: { X-User: email } }";
    let settings = read(&text("identity: { assertion: {} }", &[own, other, own])).settings;
    let names: BTreeSet<&str> = settings.identity_names().map(|name| name.as_str()).collect();
    assert!(names.contains("x-auth-subject") && names.contains("x-auth-assertion"), "{names:?}");
    assert_eq!(settings.identity.headers.len(), 3, "that of the file, and two of routes");
}

#[test]
fn a_route_takes_no_name_that_means_something_else() {
    for (said, path, part) in [
        ("{ headers: { Cookie: sub } }", "headers.Cookie", "another meaning"),
        ("{ headers: { Authorization: sub } }", "headers.Authorization", "another meaning"),
        ("{ headers: { X-Forwarded-Host: sub } }", "headers.X-Forwarded-Host", "another meaning"),
        ("{ headers: { X-A: sub, X_A: iss } }", "headers.X_A", "same as `X-A`"),
        ("{ headers: { X-A: [sub] } }", "headers.X-A", "one claim"),
        ("{ assertion: { header: Host } }", "assertion.header", "another meaning"),
        ("{ assertion: { header: X-Forwarded-User } }", "assertion.header", "another meaning"),
        ("{ assertion: { ttl: 1s } }", "assertion.ttl", "10s"),
        ("{ assertion: { keys: [] } }", "assertion.keys", "unknown key"),
        ("{ assertion: on }", "assertion", "only `off` works"),
        ("{ assertion: false }", "assertion", "this must be `off`"),
        ("{ assertion: null }", "assertion", "give `off`, or keys"),
        ("{ assertion: [] }", "assertion", "`off`, or keys"),
        ("{ access_token: keep }", "access_token", "`forward`"),
        ("{ header: {} }", "header", "did you mean `headers`"),
    ] {
        let text = text("", &["", &format!(", identity: {said}")]);
        only_error(&text, &format!("routes[1].identity.{path}"), part);
    }
}

#[test]
fn what_is_an_assertion_on_one_route_is_a_claim_on_none() {
    let claim = ", identity: { headers: { x_signed: nickname } }";
    let signed = ", identity: { assertion: { header: X-Signed } }";
    for (all, routes, path, other) in [
        (
            "",
            [signed, claim],
            "routes[1].identity.headers.x_signed",
            "an assertion too (routes[0].identity.assertion.header)",
        ),
        (
            "",
            [claim, signed],
            "routes[1].identity.assertion.header",
            "identity headers too (routes[0].identity.headers.x_signed)",
        ),
        (
            "identity: { assertion: { header: X-Signed } }",
            ["", claim],
            "routes[1].identity.headers.x_signed",
            "an assertion too (identity.assertion.header)",
        ),
        (
            "identity: { headers: { X.Signed: sub } }",
            ["", signed],
            "routes[1].identity.assertion.header",
            "identity headers too (identity.headers",
        ),
        // By default names, too.
        (
            "",
            ["", ", identity: { assertion: { header: x_auth_subject } }"],
            "routes[1].identity.assertion.header",
            "identity headers too (the default)",
        ),
        (
            "",
            [", identity: { assertion: {} }", ", identity: { headers: { X-Auth-Assertion: sub } }"],
            "routes[1].identity.headers.X-Auth-Assertion",
            "an assertion too (routes[0].identity.assertion)",
        ),
        // Where one and the same route says both.
        (
            "",
            ["", ", identity: { headers: { X-A: sub }, assertion: { header: X-A } }"],
            "routes[1].identity.assertion.header",
            "identity headers too (routes[1].identity.headers.X-A)",
        ),
    ] {
        only_error(&text(all, &routes), path, other);
    }
    // One that no route turns on takes no name; and one name may carry different claims.
    read(&text("", &[", identity: { assertion: off, headers: { X-Auth-Assertion: sub } }"]));
    read(&text("", &[", identity: { headers: { X-A: sub } }", ", identity: { headers: { X-A: email } }"]));
}

#[test]
fn with_redis_the_keys_are_given_also_where_one_route_alone_has_an_assertion() {
    let redis = "store: rediss://cache";
    let about = |all: &str, route: &str| errors(&text(&format!("{all}\n{redis}"), &["", route])).join("\n");
    let needed = "identity.assertion.keys";
    assert!(about("", ", identity: { assertion: { ttl: 30s } }").contains(needed));
    assert!(!about("", ", identity: { assertion: off }").contains(needed));
    assert!(!about("", ", identity: { headers: {} }").contains(needed));
}

#[test]
fn check_shows_what_is_different_on_a_route() {
    let routes = [
        "",
        ", identity: { access_token: strip }",
        ", identity: { headers: { X-User: email }, access_token: forward, assertion: { ttl: 30s, bind: request } }",
        ", identity: { headers: {} }",
    ];
    let shown = summary("config.yaml", &read(&text("", &routes)));
    let line = |at: usize| {
        let start = format!("/{at} -> ");
        shown.lines().find(|line| line.contains(&start)).unwrap()
    };
    for same in [0, 1] {
        assert!(!line(same).contains("tells who calls"), "{shown}");
    }
    assert!(line(2).ends_with(
        "; tells who calls by x-user, the access token, an assertion of 30s in x-auth-assertion, one a request"
    ), "{shown}");
    assert!(line(3).ends_with("; tells who calls by no headers"), "{shown}");
    let off = summary(
        "config.yaml",
        &read(&text("identity: { assertion: {} }", &["", ", identity: { assertion: off }"])),
    );
    assert!(off.contains("; tells who calls by no assertion\n"), "{off}");
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
        "X-Forwarded-Access-Token",
        "X-Forwarded-User-Id",
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
    only_error(&headers("\"X A\": sub"), "identity.headers[\"X A\"]", "not a header name");
    only_error(&headers("X-A: [sub]"), "identity.headers.X-A", "one claim");
}

#[test]
fn the_headers_of_oauth2_proxy_may_carry_claims() {
    const HEADERS: &str = "{ headers: { X-Forwarded-User: sub, x-forwarded-email: email, X-Forwarded-Groups: groups, \
                           X-Forwarded-Preferred-Username: preferred_username } }";
    let route = format!(", identity: {HEADERS}");
    let settings = read(&text(&format!("identity: {HEADERS}"), &["", &route])).settings;
    let pair = |name: &str, claim: &str| (name.to_owned(), claim.to_owned());
    let expected = [
        pair("x-forwarded-user", "sub"),
        pair("x-forwarded-email", "email"),
        pair("x-forwarded-groups", "groups"),
        pair("x-forwarded-preferred-username", "preferred_username"),
    ];
    for (headers, _, _) in told(&settings) {
        assert_eq!(headers, expected);
    }
    let twice = ", identity: { headers: { X-Forwarded-User: sub, x-forwarded-user: email } }";
    only_error(
        &text("", &["", twice]),
        "routes[1].identity.headers.x-forwarded-user",
        "same as `X-Forwarded-User`",
    );
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
