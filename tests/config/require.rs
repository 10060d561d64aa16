//! What a route may require: in one way or in several, and of a sign-in nothing that nobody could sign in by.

use tollgate::config::summary::{show_route, summary};
use tollgate::core::route::policy::{ClaimValue, Requirements};

use super::support::*;

const BY_GATEWAY: [&str; 2] = ["mode: session", "mode: token"];

/// A client `web`, if any, and one route with these requirements.
fn with(client: &str, require: &str) -> String {
    let text = good().route(&format!("require: {{ {require} }}")).text();
    if client.is_empty() {
        return text;
    }
    text.replace("routes:", &format!("clients:\n  web: {{ {client} }}\nroutes:"))
}

#[test]
fn an_authentication_context_that_nobody_can_answer_with_is_a_mistake() {
    for (acr, at, says) in [
        ("gold plus", "", "like `[gold, silver]`"),
        ("[gold, gold plus]", "[1]", "has a space in it"),
        ("g\u{f6}ld", "", "not visible ASCII"),
        ("\" gold\"", "", "has a space in it"),
    ] {
        for client in ["", "mode: session"] {
            let text = with(client, &format!("acr: {acr}"));
            only_error(&text, &format!("routes[0].require.acr{at}"), says);
        }
    }
    for acr in ["gold", "\"0\"", "[\"http://id.example/mfa?x=%20\", \"urn:a:b\"]"] {
        settings(&with("mode: session", &format!("acr: {acr}")));
    }
}

#[test]
fn more_contexts_than_a_sign_in_can_ask_for_are_a_mistake_where_the_gateway_signs_people_in() {
    // With the space between.
    let list = |bytes: usize| format!("acr: [{}, {}]", "a".repeat(300), "b".repeat(bytes - 301));
    for client in BY_GATEWAY {
        settings(&with(client, &list(600)));
        for says in ["601 bytes", "600 can be asked for", "`web`"] {
            only_error(&with(client, &list(601)), "routes[0].require.acr", says);
        }
    }
    let by_page = "mode: token, login: page, redirect_uri: \"https://gate.example.com/in\"";
    for client in ["", by_page] {
        settings(&with(client, &list(601)));
    }
}

/// `/oauth/login` takes ten years.
#[test]
fn an_age_that_no_sign_in_could_be_asked_for_is_a_mistake() {
    settings(&with("mode: session", "signed_in_within: 366d"));
    for age in ["0s", "367d", "3651d"] {
        let text = with("mode: session", &format!("signed_in_within: {age}"));
        only_error(&text, "routes[0].require.signed_in_within", "out of bounds");
    }
}

/// The only route, whose `require` is this.
fn requiring(require: &str) -> String {
    good().route(&format!("require: {require}")).text()
}

#[test]
fn one_of_a_list_is_enough_and_a_list_of_one_is_that_one() {
    let text = "[{ claims: { sub: \"{id}\" }, signed_in_within: 5m }, { scope: [a, b], acr: gold }, { any_scope: c }]";
    let loaded = settings(&good().route(&format!("issuers: corp, require: {text}")).text());
    let each: Vec<&Requirements> = loaded.routes[0].access.alternatives().collect();
    let [owner, admin, other] = each.as_slice() else { panic!("{each:?}") };
    assert_eq!(owner.claims[0].values, [ClaimValue::PathParameter("id".to_owned())]);
    assert!(owner.signed_in_within.is_some() && owner.scope.is_empty() && owner.acr.is_empty());
    assert!(admin.scope == ["a", "b"] && admin.acr == ["gold"] && admin.claims.is_empty());
    assert!(other.any_scope == ["c"] && other.signed_in_within.is_none());
    assert!(each.iter().all(|required| required.issuers.as_ref().is_some_and(|names| names.len() == 1)));
    assert!(loaded.read_claims().names().any(|name| name == "sub"));
    assert!(
        show_route(&loaded.routes[0]).contains(
            ": a valid token, issuer corp, one of (claim sub is {id} of the path, signed in within 5m) or \
             (scope a and b, acr gold) or (scope c)"
        ),
        "{}",
        show_route(&loaded.routes[0])
    );
    for one in ["{ scope: a, claims: { sub: \"{id}\" }, acr: [x, y] }", "{}", "{ signed_in_within: 1m }"] {
        let told = |text: &str| {
            let loaded = parse(&requiring(text)).unwrap();
            (format!("{:?}", loaded.settings.routes[0].access), summary("x", &loaded))
        };
        assert_eq!(told(&format!("[{one}]")), told(one));
    }
}

#[test]
fn each_of_a_list_is_looked_at_where_it_stands() {
    for (require, at, says) in [
        ("[]", "", "name what one must have, like `[{ scope: api:read }, { scope: admin }]`"),
        ("[{ scope: a }, {}]", "[1]", "any valid token would pass"),
        ("[{}, { scope: a }]", "[0]", "any valid token would pass"),
        ("[{ scope: a }, { scop: b }]", "[1].scop", "did you mean `scope`"),
        ("[{ scope: a }, { scope: [b, \"c \\\" d\"] }]", "[1].scope[1]", "RFC 6749"),
        ("[{ scope: a }, { claims: { sub: \"{user}\" } }]", "[1].claims.sub", "it has `{id}`"),
        ("[{ scope: a }, { acr: gold plus }]", "[1].acr", "has a space in it"),
        ("[{ scope: a }, { signed_in_within: 0s }]", "[1].signed_in_within", "out of bounds"),
        ("[{ scope: a }, admin]", "[1]", "this must be keys with values: scope, any_scope"),
        ("[{ scope: a }, [{ scope: b }]]", "[1]", "is a list"),
        ("[{ scope: a }, ]", "", ""),
        ("[{ scope: a }, null]", "[1]", "has no value"),
        ("admin", "", "this must be keys with values: scope, any_scope"),
    ] {
        if says.is_empty() {
            settings(&requiring(require));
        } else {
            only_error(&requiring(require), &format!("routes[0].require{at}"), says);
        }
    }
    let public = good().route("public: true, require: [{ scope: a }, { scope: b }]").text();
    only_error(&public, "routes[0].require", "public");
    let long = format!("[{{ scope: a }}, {{ acr: [{}, {}] }}]", "a".repeat(300), "b".repeat(300));
    let text = with("mode: session", "").replace("require: {  }", &format!("require: {long}"));
    only_error(&text, "routes[0].require[1].acr", "601 bytes");
}

/// As of a single one: another issuer's alice is nobody's owner.
#[test]
fn of_each_of_a_list_it_is_said_whom_its_claims_could_mean() {
    let mut parts = good().route("require: [{ scope: admin }, { claims: { sub: \"{id}\" } }]");
    parts.issuers.push_str("  other: { url: \"https://other.example\", audience: api }\n");
    let text = parts.text();
    let warnings = parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).warnings;
    assert!(warnings.iter().any(|warning| warning.path == "routes[0].require[1].claims.sub"), "{warnings:?}");
}

#[test]
fn where_clients_must_be_stands_beside_all_else_and_alone_on_a_public_route() {
    let from = |route: &str| settings(&good().route(route).text()).routes[0].from.clone();
    assert_eq!(from("public: true"), None);
    for route in [
        "public: true, from: [10.0.0.0/8, \"::ffff:192.0.2.1\", \"2001:db8::/32\"]",
        "require: [{ scope: a }, { scope: b }], from: [10.0.0.0/8, 192.0.2.1, \"2001:db8::/32\"]",
    ] {
        let networks = from(route).unwrap();
        assert_eq!(networks.to_string(), "10.0.0.0/8 or 192.0.2.1/32 or 2001:db8::/32");
        assert!(networks.contains([192, 0, 2, 1].into()) && !networks.contains([192, 0, 2, 2].into()));
    }
    let shown = parse(&good().route("public: true, from: 10.0.0.1").text()).unwrap();
    let text = tollgate::config::summary::summary("x", &shown);
    assert!(text.contains("public; from 10.0.0.1/32 alone"), "{text}");
    for (from, at, says) in [
        ("10.0.0.1/8", "", "write `10.0.0.0/8`"),
        ("[10.0.0.0/8, intern]", "[1]", "neither a network nor an address"),
        ("[]", "", "empty"),
    ] {
        for public in ["", "public: true, "] {
            let text = good().route(&format!("{public}from: {from}")).text();
            only_error(&text, &format!("routes[0].from{at}"), says);
        }
    }
    let everybody = parse(&good().route("from: 0.0.0.0/0").text()).unwrap().warnings;
    assert!(everybody.iter().any(|warning| warning.message.contains("lets in anybody")), "{everybody:?}");
}
