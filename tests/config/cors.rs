//! `cors.origins`: which pages may read answers, and with what.

use tollgate::config;
use tollgate::core::cors::Sharing;

use super::support::*;

fn top(list: &str) -> String {
    good().with(&format!("cors: {{ origins: {list} }}")).text()
}

fn on_route(list: &str, more: &str) -> String {
    good().route(&format!("cors: {{ origins: {list} }}{more}")).text()
}

fn others(sharing: &Sharing) -> Vec<String> {
    sharing.without_cookies.iter().map(ToString::to_string).collect()
}

#[test]
fn pages_are_listed_for_all_routes_and_for_one_beside_those_of_clients() {
    let listed = "cors: { origins: [\"https://App.example.com:443\", \"https://*.preview.example.com\"], headers: If-Match }";
    let parts = good().client("origins: \"https://portal.example.com\"").with(listed);
    let more = "[\"https://app.example.com\", \"https://more.example.com\", \"http://localhost:5173\", \"http://*.localhost:3000\"]";
    let read = settings(&parts.clone().route(&format!("cors: {{ origins: {more} }}")).text());
    let everywhere = ["https://app.example.com", "https://*.preview.example.com"];
    let route = &read.routes[0].sharing;
    let own = ["https://more.example.com", "http://localhost:5173", "http://*.localhost:3000"];
    assert_eq!(others(route), [&everywhere[..], &own[..]].concat());
    assert_eq!(route.origins.len(), 1, "a client's own stay apart");
    assert!(!route.credentials && route.headers.len() == 1);
    assert_eq!(others(&read.sharing_elsewhere), everywhere);
    assert!(read.sharing.without_cookies.is_empty(), "nothing of it under /oauth/");
    for short in ["cors: gateway", "cors: upstream", "cors: {}", "name: x"] {
        let read = settings(&parts.clone().route(short).text());
        assert_eq!(others(&read.routes[0].sharing), everywhere, "{short}");
    }
    assert!(settings(&good().route("cors: gateway").text()).routes[0].sharing.without_cookies.is_empty());
}

#[test]
fn everybodys_pages_are_for_public_routes() {
    for more in [", public: true", ", public: true, dpop: required"] {
        assert_eq!(others(&settings(&on_route("\"*\"", more)).routes[0].sharing), ["every origin"]);
    }
    only_error(&top("\"*\""), "cors.origins", "only a route that is `public` can be for those");
    only_error(&on_route("\"*\"", ""), "routes[0].cors.origins", "the route is not `public`");
    only_error(
        &on_route("[\"*\"]", ", report_only: true"),
        "routes[0].cors.origins[0]",
        "the route is not `public`",
    );
    let inside = on_route("\"*\"", ", public: true, from: 10.0.0.0/8");
    only_error(&inside, "routes[0].cors.origins", "the route is only for some addresses (`from`)");
    let both = on_route("[\"https://app.example.com\", \"*\"]", ", public: true");
    only_error(&both, "routes[0].cors.origins[1]", "the others in this list mean nothing");
}

#[test]
fn what_is_no_origin_of_pages_is_refused_with_a_remedy() {
    for (text, says) in [
        ("https://app.example.com/", "without path or `/` at its end"),
        ("app.example.com", "write it like `https://app.example.com`"),
        ("null", "write it like `https://app.example.com`"),
        ("https://u:p@app.example.com", "user or password"),
        ("http://app.example.com", "must be `https`, except on loopback"),
        ("http://*.preview.example.com", "must be `https`, except on loopback"),
        ("https://pr-*.example.com", "one whole label at the left"),
        ("https://a.*.example.com", "one whole label at the left"),
        ("https://*.*.example.com", "one whole label at the left"),
        ("https://*", "one whole label at the left"),
        ("https://*.example.com/", "one whole label at the left"),
        ("*.example.com", "one whole label at the left"),
        ("https://*.com", "whoever registers a name there"),
        ("https://*.example.", "whoever registers a name there"),
    ] {
        only_error(&top(&format!("[\"{text}\"]")), "cors.origins[0]", says);
        only_error(&on_route(&format!("\"{text}\""), ""), "routes[0].cors.origins", says);
        only_error(&on_route(&format!("\"{text}\""), ", public: true"), "routes[0].cors.origins", says);
    }
    only_error(
        &good().client("origins: [\"https://*.preview.example.com\"]").text(),
        "clients.web.origins[0]",
        "`cors.origins`, for pages that bring a token, takes `https://*.preview.example.com`",
    );
    only_error(&good().client("origins: \"*\"").text(), "clients.web.origins", "listed one by one");
}

#[test]
fn check_says_whose_pages_a_route_is_for() {
    let loaded = parse(&top("[\"https://app.example.com\", \"https://*.preview.example.com\"]")).unwrap();
    let text = config::summary::summary("x", &loaded);
    let told = "a valid token; for pages of https://app.example.com, https://*.preview.example.com without cookies\n";
    assert!(text.contains(told), "{text}");
    let all = parse(&on_route("\"*\"", ", public: true")).unwrap();
    let text = config::summary::summary("x", &all);
    assert!(text.contains("public; for pages of every origin without cookies\n"), "{text}");
    let theirs =
        parse(&good().with("cors: { origins: \"https://app.example.com\" }").route("cors: upstream").text());
    assert!(!config::summary::summary("x", &theirs.unwrap()).contains("pages of"));
    let none = config::summary::summary("x", &parse(&good().text()).unwrap());
    assert!(!none.contains("pages of"), "{none}");
}
