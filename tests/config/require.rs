//! What a route may require of a sign-in: nothing that nobody could sign in by.

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

#[test]
fn where_clients_must_be_stands_beside_all_else_and_alone_on_a_public_route() {
    let from = |route: &str| settings(&good().route(route).text()).routes[0].from.clone();
    assert_eq!(from("public: true"), None);
    for route in [
        "public: true, require: { address: [10.0.0.0/8, \"::ffff:192.0.2.1\", \"2001:db8::/32\"] }",
        "require: { scope: a, address: [10.0.0.0/8, 192.0.2.1, \"2001:db8::/32\"] }",
    ] {
        let networks = from(route).unwrap();
        assert_eq!(networks.to_string(), "10.0.0.0/8 or 192.0.2.1/32 or 2001:db8::/32");
        assert!(networks.contains([192, 0, 2, 1].into()) && !networks.contains([192, 0, 2, 2].into()));
    }
    let shown = parse(&good().route("public: true, require: { address: 10.0.0.1 }").text()).unwrap();
    let text = tollgate::config::summary::summary("x", &shown);
    assert!(text.contains("public; from 10.0.0.1/32 alone"), "{text}");
    let only = |require: &str, at: &str, says: &str| {
        for public in ["", "public: true, "] {
            let text = good().route(&format!("{public}require: {{ {require} }}")).text();
            only_error(&text, &format!("routes[0].require{at}"), says);
        }
    };
    only("address: 10.0.0.1/8", ".address", "write `10.0.0.0/8`");
    only("address: [10.0.0.0/8, intern]", ".address[1]", "neither a network nor an address");
    only("address: []", ".address", "empty");
    for require in ["{ scope: a, address: 10.0.0.1 }", "{ scope: a }", "{}"] {
        let text = good().route(&format!("public: true, require: {require}")).text();
        only_error(&text, "routes[0].require", "nothing but `address`");
    }
    let everybody = parse(&good().route("require: { address: 0.0.0.0/0 }").text()).unwrap().warnings;
    assert!(everybody.iter().any(|warning| warning.message.contains("lets in anybody")), "{everybody:?}");
}
