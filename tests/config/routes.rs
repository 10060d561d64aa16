//! Routes: paths, requirements, names, and who may read their answers.

use tollgate::config;
use tollgate::core::cors::Sharing;
use tollgate::core::route::CorsSpeaker;

use super::support::*;

#[test]
fn a_trial_is_warned_about() {
    let loaded = parse(&good().route("report_only: true").text()).unwrap();
    assert!(loaded.settings.routes[0].report_only);
    let warning = loaded.warnings.iter().find(|warning| warning.path == "routes[0].report_only");
    assert!(warning.unwrap().message.contains("nobody is refused"), "{:?}", loaded.warnings);
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("a valid token; report only"), "{text}");
    assert!(parse(&good().route("report_only: true, public: true").text()).is_ok());
    let none = parse(&good().route("report_only: false").text()).unwrap();
    assert!(none.warnings.iter().all(|warning| !warning.path.contains("report_only")));
    only_error(&good().route("report_only: 1").text(), "routes[0].report_only", "true");
}

#[test]
fn no_route_is_called_what_tollgate_calls_its_own() {
    for name in [
        "-",
        "/oauth/token",
        "/oauth/callback",
        "/.well-known/jwks.json",
        "/.well-known/oauth-protected-resource",
    ] {
        only_error(
            &good().route(&format!("name: \"{name}\"")).text(),
            "routes[0].name",
            "Tollgate's own paths",
        );
    }
    for name in ["--", "token", "/oauthx", "/.well-known/other"] {
        assert!(parse(&good().route(&format!("name: \"{name}\"")).text()).is_ok(), "{name}");
    }
}

#[test]
fn a_resource_is_at_the_gateway_and_an_audience_of_an_issuer_that_the_route_takes() {
    let audience = |of: &str, other: &str, more: &str| {
        // Routes are written behind it.
        let mut parts = good().with("trusted_proxies: 10.0.0.1");
        parts.issuers = format!(
            "  corp: {{ url: \"https://login.example.com\", audience: {of} }}\n  other: {{ url: \"https://other\", audience: {other} }}\n"
        );
        parts.route(more).text()
    };
    let at = "routes[0].resource";
    let gate = "\"https://gate.example.com/api\"";
    assert!(parse(&audience(gate, "x", &format!("resource: {gate}"))).is_ok());
    assert!(parse(&audience("x", gate, &format!("resource: {gate}, issuers: other"))).is_ok());
    only_error(&audience("x", "y", &format!("resource: {gate}")), at, "in no `audience`");
    only_error(&audience("x", gate, &format!("resource: {gate}, issuers: corp")), at, "in no `audience`");
    only_error(
        &audience("\"https://gate.example.com/api/\"", "y", &format!("resource: {gate}")),
        at,
        "in no `audience`",
    );
    // A mistake elsewhere makes none here, and hides none but of a route that may be concerned.
    let broken = |more: &str| {
        let text = audience("x", "y", &format!("resource: {gate}{more}"));
        text.replace("https://login.example.com", "ftp://login.example.com")
    };
    only_error(&broken(""), "issuers.corp.url", "");
    only_error(&broken(", issuers: corp"), "issuers.corp.url", "");
    let both = parse(&broken(", issuers: other")).unwrap_err();
    let paths: Vec<&str> = both.mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(paths, ["issuers.corp.url", at], "{both}");
    let api = "\"https://api.example.com\"";
    only_error(
        &audience(api, "x", &format!("resource: {api}")),
        at,
        "begin it with `https://gate.example.com`",
    );
    assert!(parse(&audience(api, "x", &format!("resource: {api}, host: api.example.com"))).is_ok());
    assert!(parse(&audience(api, "x", &format!("resource: {api}, host: \"*.example.com\""))).is_ok());
    only_error(
        &audience(gate, "x", &format!("resource: {gate}, host: api.example.com")),
        at,
        "`https://api.example.com`",
    );
    only_error(
        &audience(api, "x", &format!("resource: {api}, host: \"*.api.example.com\"")),
        at,
        "https://<name>.api",
    );
    let port = "\"https://gate.example.com:8443\"";
    only_error(&audience(port, "x", &format!("resource: {port}")), at, "begin it with");
    only_error(&audience("api", "x", "resource: api"), at, "write it like");
    only_error(&audience("api", "x", "resource: \"https://gate.example.com/a?b\""), at, "no query");
    // One place for two spellings.
    let both = audience(
        "[\"https://gate.example.com\", \"https://gate.example.com/\"]",
        "x",
        "resource: \"https://gate.example.com/\"",
    );
    let second =
        "  - { path: /other, to: \"http://10.0.0.1:3000\", resource: \"https://gate.example.com\" }\n";
    let told = errors(&format!("{both}{second}"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|mistake| mistake.contains("write both the same way")), "{told:?}");
    assert!(parse(&format!("{both}{}", second.replace(".com\"", ".com/\""))).is_ok());
    let root = "  - { path: /*, to: \"http://10.0.0.1:3000\" }\n";
    assert!(
        errors(&format!("{both}{root}"))[0].contains("another route's resource is the same but for a `/`")
    );
}

#[test]
fn a_claim_of_id_tokens_tells_no_access_tokens_apart() {
    for claim in ["nonce", "at_hash", "sub", "azp", "sid"] {
        let text = good().issuer(&format!("claims: {{ access_token: [uid, {claim}] }}")).text();
        only_error(&text, "issuers.corp.claims.access_token[1]", "is in ID tokens, too");
    }
}

#[test]
fn routes_say_one_thing_and_nothing_against_it() {
    let one = |more: &str| good().route(more).text();
    only_error(&one("public: true, require: { scope: a }"), "routes[0].require", "public");
    only_error(&one("public: true, issuers: corp"), "routes[0].issuers", "public");
    only_error(&one("public: \"true\""), "routes[0].public", "without quotes");
    only_error(&one("methods: [get]"), "routes[0].methods[0]", "did you mean `GET`");
    only_error(&one("methods: []"), "routes[0].methods", "empty");
    only_error(&one("issuers: [crop]"), "routes[0].issuers[0]", "did you mean `corp`");
    only_error(&one("clients: [web]"), "routes[0].clients[0]", "no client is configured");
    only_error(&one("require: { scope: \"a \\\"b\" }"), "routes[0].require.scope", "RFC 6749");
    only_error(&one("require: { scope: \"a a\" }"), "routes[0].require.scope", "twice");
    only_error(
        &one("require: { claims: { sub: \"{user}\" } }"),
        "routes[0].require.claims.sub",
        "it has `{id}`",
    );
    only_error(
        &one("require: { claims: { sub: \"x{id}\" } }"),
        "routes[0].require.claims.sub",
        "stand alone",
    );
    only_error(
        &one("require: { claims: { sub: [] } }"),
        "routes[0].require.claims.sub",
        "no token could pass",
    );
    only_error(
        &one("require: { claims: { sub: {id} } }"),
        "routes[0].require.claims.sub",
        "quote it: `\"{id}\"`",
    );
    for lost in ["1e15", "-9007199254740991.0"] {
        let text = one(&format!("require: {{ claims: {{ level: {lost} }} }}"));
        only_error(&text, "routes[0].require.claims.level", "64 bits");
    }
    only_error(&one("require: { claims: {} }"), "routes[0].require.claims", "no claim");
    only_error(
        &one("require: { signed_in_within: 0s }"),
        "routes[0].require.signed_in_within",
        "out of bounds",
    );
    only_error(&one("require:"), "routes[0].require", "has no value");
    only_error(&Parts { routes: "  []\n".to_owned(), ..good() }.text(), "routes", "404");
    for own in ["/oauth", "/oauth/*", "/.well-known/jwks.json", "/.well-known/oauth-protected-resource/*"] {
        only_error(&good().text().replace("/api/*", own), "routes[0].path", "belong to Tollgate");
    }
    for theirs in ["/.well-known/security.txt", "/.well-known/*"] {
        settings(&good().text().replace("/api/*", theirs));
    }
    let mut two = good().client("");
    two.issuers.push_str("  other: { url: \"https://other\", audience: x }\n");
    let two =
        two.route("issuers: other, clients: web").text().replace("mode: token", "mode: token, issuer: corp");
    only_error(&two, "routes[0].clients", "belongs to the issuer `corp`");
}

#[test]
fn a_route_says_whether_it_takes_encoded_slashes() {
    let routes = |lines: &str| Parts { routes: lines.to_owned(), ..good() }.text();
    let one = |path: &str, more: &str| {
        routes(&format!("  - {{ path: \"{path}\", to: \"http://10.0.0.1:3000\"{more} }}\n"))
    };
    for (more, keeps) in [("", false), (", encoded_slash: refuse", false), (", encoded_slash: keep", true)] {
        let route = settings(&one("/a/{b}", more)).routes[0].clone();
        assert_eq!(route.path.keeps_encoded_slashes(), keeps, "{more}");
        let text = config::summary::summary("config.yaml", &parse(&one("/a/{b}", more)).unwrap());
        assert_eq!(text.contains("a valid token; encoded slashes stay\n"), keeps, "{text}");
    }
    only_error(
        &one("/a", ", encoded_slash: decode"),
        "routes[0].encoded_slash",
        "write one of `refuse`, `keep`",
    );
    only_error(&one("/a/b%2Fc", ""), "routes[0].path", "add `encoded_slash: keep`");
    assert!(parse(&one("/a/b%2Fc", ", encoded_slash: keep, strip_prefix: \"/a/b%2Fc\"")).is_ok());
    only_error(&one("/a/b%2fc", ", encoded_slash: keep"), "routes[0].path", "write `b%2Fc`");
    only_error(&one("/oauth%2Fc", ", encoded_slash: keep"), "routes[0].path", "belong to Tollgate");
    only_error(&one("/a", ", rewrite: \"/b%2Fc\""), "routes[0].rewrite", "`encoded_slash: keep`");
    let hidden =
        format!("{}{}", good().routes, "  - { path: /x/a%2Fb, to: \"http://u\", encoded_slash: keep }\n");
    let beside = |path: &str| {
        let more = format!("  - {{ path: \"{path}\", to: \"http://u\" }}\n");
        let loaded = parse(&routes(&format!("{hidden}{more}"))).unwrap();
        loaded
            .warnings
            .into_iter()
            .find(|warning| warning.path == "routes[1].path")
            .map(|warning| warning.message)
    };
    assert!(beside("/x/a/*").unwrap().contains("would find what routes[2] covers"));
    assert_eq!(beside("/x/*"), None);
    let both = format!(
        "{}{}",
        "  - { path: \"/a/{x}\", to: \"http://u\", encoded_slash: keep }\n",
        "  - { path: \"/a/{y}\", to: \"http://u\" }\n"
    );
    assert!(
        errors(&routes(&both))[0].contains("could match the same request"),
        "it makes no path more specific"
    );
}

#[test]
fn two_routes_that_could_match_one_request_are_both_told() {
    let routes = "  - { path: \"/a/{x}\", to: \"http://u\" }\n  - { path: /b, to: \"http://u\" }\n  - { path: \"/a/{y}\", to: \"http://u\", methods: GET }\n  - { path: \"/a/{y}\", to: \"http://u\", methods: [GET, POST] }\n";
    let told = errors(&Parts { routes: routes.to_owned(), ..good() }.text());
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("8:")
            && told[0].contains("routes[2].path: could match the same request as routes[3]"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("9:")
            && told[1].contains("routes[3].path: could match the same request as routes[2]"),
        "{told:?}"
    );
    let unknown = "  - { path: /a, to: nowhere }\n  - { path: /a, to: \"http://u\" }\n";
    let unknown = errors(&Parts { routes: unknown.to_owned(), ..good() }.text());
    assert_eq!(unknown.len(), 3, "an upstream that is not there hides no conflict: {unknown:?}");
    let apart = "  - { path: /a, to: \"http://u\", methods: GET }\n  - { path: /a, to: \"http://u\", methods: POST }\n  - { path: /a, to: \"http://u\", host: a.example.com }\n";
    assert!(parse(&Parts { routes: apart.to_owned(), ..good() }.text()).is_ok());
}

#[test]
fn a_pattern_or_host_that_cannot_be_read_says_what_would_be_right() {
    for (bad, part) in [
        ("api", "`/api`"),
        ("/api/", "drop the last"),
        ("/a/*/b", "last segment"),
        ("/a/x{id}", "whole segment"),
        ("/a/../b", ""),
        ("/%6fauth/x", ""),
    ] {
        only_error(&good().text().replace("/api/*", &format!("{bad:?}")), "routes[0].path", part);
    }
    for bad in ["https://a.example", "a.example/x", "*", "a.*.example"] {
        only_error(&good().route(&format!("host: \"{bad}\"")).text(), "routes[0].host", "");
    }
}

#[test]
fn routes_have_names_of_their_own() {
    let routes = "  - { path: /a, to: \"http://u\", methods: [GET] }
  - { path: /a, to: \"http://u\", methods: [POST, PUT] }
  - { path: /a, to: \"http://u\", host: a.example.com }
  - { path: /b, to: \"http://u\" }
  - { path: /c, to: \"http://u\", name: /b }\n";
    let settings = settings(&Parts { routes: routes.to_owned(), ..good() }.text());
    let names: Vec<&str> = settings.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["GET /a", "POST,PUT /a", "a.example.com/a", "/b #4", "/b"]);
    let twice = "  - { path: /a, to: \"http://u\", name: x }\n  - { path: /b, to: \"http://u\", name: x }\n";
    only_error(&Parts { routes: twice.to_owned(), ..good() }.text(), "routes[1].name", "unique");
}

#[test]
fn a_route_may_ask_for_tokens_that_are_bound_to_a_key_and_takes_no_session_then() {
    use tollgate::core::route::Dpop;
    for (key, dpop) in
        [("", Dpop::Allowed), ("dpop: allowed", Dpop::Allowed), ("dpop: required", Dpop::Required)]
    {
        assert_eq!(settings(&good().route(key).text()).routes[0].dpop, dpop, "{key}");
    }
    let told = errors(&good().route("dpop: maybe").text());
    assert!(told[0].contains("routes[0].dpop") && told[0].contains("`allowed`, `required`"), "{told:?}");
    // A client in session mode, whose cookie the route would take.
    let required = settings(&session("scope: openid", "dpop: required"));
    assert!(required.routes[0].session.is_none() && !required.routes[0].sharing.credentials);
    assert!(settings(&session("scope: openid", "dpop: allowed")).routes[0].session.is_some());
    for key in ["sign_in: web", "extends_session: false"] {
        let told = errors(&session("scope: openid", &format!("dpop: required, {key}")));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("has no key to prove; remove this, or `dpop`"), "{told:?}");
    }
    let loaded = parse(&good().route("dpop: required").text()).unwrap();
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("; only tokens bound to a key"), "{text}");
}

#[test]
fn answers_are_shared_with_the_pages_of_the_clients_that_a_route_takes() {
    let client = |name: &str, issuer: &str, origins: &str| {
        format!(
            "  {name}: {{ mode: token, login: page, issuer: {issuer}, redirect_uri: \"https://gate.example.com/in\", origins: [{origins}] }}\n"
        )
    };
    let mut parts = good();
    parts.issuers.push_str("  old: { url: \"https://old.example.com\", audience: api }\n");
    parts.clients = client("a", "corp", "\"https://a.example.com\", \"https://b.example.com\"")
        + &client("b", "old", "\"https://b.example.com\"");
    let route =
        |path: &str, more: &str| format!("  - {{ path: {path}, to: \"http://10.0.0.1:3000\"{more} }}\n");
    parts.routes = [
        route("/all", ""),
        route("/public", ", public: true"),
        route("/a", ", clients: a"),
        route("/b", ", clients: [b]"),
        route("/old", ", issuers: old"),
    ]
    .concat();
    let settings = settings(&parts.text());
    let origins = |sharing: &Sharing| -> String {
        sharing.origins.iter().map(|origin| &origin.as_str()[8..9]).collect()
    };
    let shared: Vec<_> = settings.routes.iter().map(|route| origins(&route.sharing)).collect();
    assert_eq!(shared, ["ab", "ab", "ab", "b", "b"]);
    assert_eq!(origins(&settings.sharing), "ab");
    assert!(settings.sharing.credentials && !settings.routes[0].sharing.credentials);
}

#[test]
fn headers_that_pages_may_send_are_those_that_would_reach_an_upstream() {
    let top = |list: &str| good().with(&format!("cors: {{ headers: {list} }}")).text();
    let route = |list: &str| good().route(&format!("cors: {{ headers: {list} }}")).text();
    let names = |sharing: &Sharing| -> Vec<String> {
        sharing.headers.iter().map(|name| name.as_str().to_owned()).collect()
    };
    let both = good().with("cors: { headers: [If-Match, X-Requested-With] }");
    let both = settings(&both.route("cors: { headers: [Idempotency-Key, if-match, IF-MATCH] }").text());
    assert_eq!(names(&both.sharing), ["if-match", "x-requested-with"]);
    assert_eq!(names(&both.routes[0].sharing), ["if-match", "x-requested-with", "idempotency-key"]);
    assert_eq!(both.routes[0].cors, CorsSpeaker::Gateway);
    assert!(settings(&good().route("cors: {}").text()).routes[0].sharing.headers.is_empty());
    for (name, says) in [
        ("traceparent", "without being listed"),
        ("authorization", "without being listed"),
        ("DPoP", "without being listed"),
        ("Cookie", "set by no page"),
        ("Sec-Fetch-Site", "set by no page"),
        ("Proxy-Authorization", "set by no page"),
        ("Transfer-Encoding", "set by no page"),
        ("X-Forwarded-For", "Tollgate's own"),
        ("X_Real_IP", "Tollgate's own"),
        ("X-HTTP-Method-Override", "Tollgate's own"),
        ("X-Auth-Subject", "tells upstreams who calls"),
        ("X.Auth.Scope", "tells upstreams who calls"),
        ("\"*\"", "list the names"),
        ("\"a b\"", "not a header name"),
    ] {
        only_error(&top(&format!("[{name}]")), "cors.headers[0]", says);
        only_error(&route(&format!("[If-Match, {name}]")), "routes[0].cors.headers[1]", says);
    }
    only_error(&good().route("cors: both").text(), "routes[0].cors", "write one of");
    let own = good().with("identity: { headers: { X-User: sub } }");
    only_error(&own.with("cors: { headers: [x-user] }").text(), "cors.headers[0]", "who calls");
    let on_route = good().route("identity: { headers: { X-Staff: sub } }");
    only_error(&on_route.with("cors: { headers: [x-staff] }").text(), "cors.headers[0]", "who calls");
}

#[test]
fn a_hole_says_which_paths_it_is_about_and_nothing_of_serving_them() {
    let beside = |more: &str| {
        let mut parts = good();
        parts.routes.push_str(&format!("  - {{ path: \"/api/{{id}}/x\", to: none{more} }}\n"));
        parts
    };
    let loaded = parse(&beside(", host: \"*.example.com\", encoded_slash: keep").text()).unwrap();
    let hole = &loaded.settings.routes[1];
    assert!(!hole.is_served() && loaded.settings.routes[0].is_served());
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("*.example.com/api/{id}/x -> none: not served, 404\n"), "{text}");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    for (key, value) in [
        ("name", "x"),
        ("methods", "GET"),
        ("from", "10.0.0.0/8"),
        ("public", "false"),
        ("require", "{ scope: a }"),
        ("issuers", "corp"),
        ("clients", "x"),
        ("sign_in", "x"),
        ("extends_session", "false"),
        ("report_only", "true"),
        ("dpop", "required"),
        ("resource", "\"https://gate.example.com/api\""),
        ("cors", "upstream"),
        ("strip_prefix", "/api"),
        ("rewrite", "/x"),
        ("timeouts", "{ read: 1s }"),
        ("body_limit", "1KiB"),
        ("identity", "{ access_token: forward }"),
    ] {
        let says =
            if key == "methods" { "one for every method" } else { "nothing is served here (`to: none`)" };
        only_error(&beside(&format!(", {key}: {value}")).text(), &format!("routes[1].{key}"), says);
    }
    let own = tollgate::config::schema::paths();
    let own =
        own.iter().filter_map(|(path, _)| path.strip_prefix("routes[].")).filter(|key| !key.contains('.'));
    assert_eq!(own.count(), 18 + 4, "each key of a route is either refused above or one of a hole");
    only_error(
        &beside("").with("upstreams: { none: { url: \"http://10.0.0.2:3000\" } }").text(),
        "upstreams.none",
        "give it another name",
    );
    only_error(&beside("").text().replace("to: none", "to: nothing"), "routes[1].to", "no upstream");
    let told = errors(&beside("").text().replace("/api/{id}/x", "/api/*"));
    assert!(told.len() == 2 && told.iter().all(|one| one.contains("neither is more specific")), "{told:?}");
}

#[test]
fn what_other_programs_take_for_a_parameter_and_for_no_limit_is_warned_about() {
    let warned = |text: &str| -> Vec<(String, String)> {
        let warnings = parse(text).unwrap().warnings;
        warnings.into_iter().map(|warning| (warning.path, warning.message)).collect()
    };
    let path = |path: &str| good().text().replace("/api/*", &format!("\"{path}\""));
    for (spelled, name) in [
        ("/users/:id/*", "{id}"),
        ("/a/:user_2", "{user_2}"),
        ("/flights/:from-:to", "{from}"),
        ("/files/:name.json", "{name}"),
    ] {
        let told = warned(&path(spelled));
        assert!(told.len() == 1 && told[0].0 == "routes[0].path" && told[0].1.contains(name), "{told:?}");
    }
    for literal in ["/v1/x:undelete", "/a/:1", "/a/:", "/users/{id}"] {
        assert!(warned(&path(literal)).is_empty(), "{literal}");
    }
    for (text, place) in [
        (good().with("limits: { body: 0 }").text(), "limits.body"),
        (good().route("body_limit: 0").text(), "routes[0].body_limit"),
    ] {
        let told = warned(&text);
        assert!(told.len() == 1 && told[0].0 == place && told[0].1.contains("`1000GiB`"), "{told:?}");
    }
}
