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
