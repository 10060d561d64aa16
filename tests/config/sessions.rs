//! Clients in `session` mode, their sign-in and the routes that take their cookie.

use tollgate::config;
use tollgate::core::route::policy::Access;
use tollgate::core::session::csrf::Csrf;

use super::support::*;

#[test]
fn a_client_in_session_mode_is_signed_in_by_the_gateway() {
    let web = settings(&session("scope: openid", "sign_in: web, extends_session: false"));
    let (client, route) = (&web.clients[0], &web.routes[0]);
    assert_eq!(client.redirect_uri, "https://gate.example.com/oauth/callback");
    assert_eq!((client.cookie.name.as_str(), client.cookie.path.as_str()), ("__Host-Http-tollgate-web", "/"));
    assert!(client.login.is_some() && client.grants.is_empty());
    assert_eq!(client.session.as_ref().unwrap().csrf_header.as_str(), "x-csrf");
    let taken = route.session.as_ref().unwrap();
    assert_eq!((taken.client.as_str(), taken.signs_in, taken.counts_as_use), ("web", true, false));
    assert!(route.sharing.credentials && route.sharing.csrf_headers.len() == 1);
    let only = settings(&session("", ""));
    assert!(!only.routes[0].session.as_ref().unwrap().signs_in, "the only session client needs no name");
    for (client, route, place, says) in [
        ("login: page", "", "clients.web.login", "the gateway signs people in"),
        ("grants: [refresh_token]", "", "clients.web.grants", "ask for no tokens"),
        ("accept_any_access_token: true", "", "clients.web.accept_any_access_token", "itself uses"),
        ("cookie: { path: /oauth }", "", "clients.web.cookie.path", "its path is `/`"),
        ("identity: id_token, scope: api:read", "", "clients.web.identity", "`openid`"),
        ("csrf_header: Content-Type", "", "clients.web.csrf_header", "`X-`"),
        ("redirect_uri: \"https://gate.example.com/in\"", "", "clients.web.redirect_uri", "/oauth/callback"),
        ("authorize: { state: x }", "", "clients.web.authorize.state", "itself"),
        ("authorize: { request_uri: x }", "", "clients.web.authorize.request_uri", "own parameters"),
        ("authorize: { audience: [a, b] }", "", "clients.web.authorize.audience", "has one value"),
        ("authorize: { audience: [] }", "", "clients.web.authorize.audience", "has one value"),
        ("csrf: fetch", "", "clients.web.csrf", "fetch_metadata"),
        (
            "csrf: fetch_metadata, origins: \"https://app.example.com\"",
            "",
            "clients.web.csrf",
            "`https://gate.example.com`), which `origins` leaves out",
        ),
        ("authorize_from_page: state", "", "clients.web.authorize_from_page", "made anew"),
        (
            "authorize_from_page: [prompt, request]",
            "",
            "clients.web.authorize_from_page[1]",
            "own parameters",
        ),
        ("authorize_from_page: client_assertion", "", "clients.web.authorize_from_page", "take the place"),
        (
            "authorize: { client_assertion_type: x }",
            "",
            "clients.web.authorize.client_assertion_type",
            "take the place",
        ),
        ("authorize_from_page: max_age", "", "clients.web.authorize_from_page", "as it is"),
        ("authorize_from_page: return_to", "", "clients.web.authorize_from_page", "where the sign-in leads"),
        ("authorize_from_page: [a, a]", "", "clients.web.authorize_from_page[1]", "in this list already"),
        ("authorize_from_page: a b", "", "clients.web.authorize_from_page", "no name"),
        (
            "end_session: { client_id: x }",
            "",
            "clients.web.end_session.client_id",
            "the client's `client_id`",
        ),
        ("end_session: { id_token_hint: x }", "", "clients.web.end_session.id_token_hint", "ID token"),
        (
            "end_session: { post_logout_redirect_uri: x }",
            "",
            "clients.web.end_session.post_logout_redirect_uri",
            "the client's `post_logout_redirect_uri`",
        ),
        ("end_session: { a: [b] }", "", "clients.web.end_session.a", "has one value"),
        ("return_to: \"https://app.example.com/\"", "", "clients.web.return_to", "without path"),
        (
            "post_logout_redirect_uri: \"http://gate.example.com/\"",
            "",
            "clients.web.post_logout_redirect_uri",
            "https",
        ),
        ("", "sign_in: wbe", "routes[0].sign_in", "did you mean `web`"),
        ("", "public: true, sign_in: web", "routes[0].sign_in", "`public`"),
        ("", "host: other.example.com, sign_in: web", "routes[0].sign_in", "another `host`"),
    ] {
        only_error(&session(client, route), place, says);
    }
}

#[test]
fn the_browser_s_word_does_where_the_operator_says_so_and_check_says_what_that_means() {
    assert_eq!(settings(&session("", "")).clients[0].session.as_ref().unwrap().csrf, Csrf::Header);
    let loaded = parse(&session("csrf: fetch_metadata", "sign_in: web")).unwrap();
    assert_eq!(loaded.settings.clients[0].session.as_ref().unwrap().csrf, Csrf::FetchMetadata);
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("CSRF judged by what browsers say of requests"), "{text}");
    assert!(text.contains("markup that is injected into any page of this origin"), "{text}");
}

#[test]
fn a_client_says_what_its_pages_may_add_to_a_sign_in_and_what_goes_along_with_a_sign_out() {
    let keys = "authorize_from_page: [prompt, login_hint], end_session: { logout_uri: x, federated: \"true\" }, pushed: true";
    let loaded = parse(&session(keys, "")).unwrap();
    let login = loaded.settings.clients[0].login.as_ref().unwrap();
    assert_eq!(login.authorize_from_page, ["prompt", "login_hint"]);
    let more = [("logout_uri", "x"), ("federated", "true")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(login.end_session, more);
    assert!(login.pushed);
    let text = config::summary::summary("x", &loaded);
    assert!(text.contains("pages may add prompt, login_hint to a sign-in"), "{text}");
    assert!(text.contains("with pushed requests"), "{text}");
    assert!(!settings(&session("", "")).clients[0].login.as_ref().unwrap().pushed);
}

#[test]
fn a_session_does_not_come_to_another_host_and_check_says_so() {
    let warned = |route: &str| {
        let loaded = parse(&session("", route)).unwrap();
        config::summary::summary("x", &loaded).contains("the session's cookie never comes there")
    };
    assert!(warned("host: other.example.com"));
    assert!(warned("host: \"*.other.example.com\""));
    for good in
        ["", "host: gate.example.com", "host: \"*.example.com\"", "host: other.example.com, public: true"]
    {
        assert!(!warned(good), "{good}");
    }
    let named = session("", "host: other.example.com, clients: cli").replace(
        "routes:",
        "  cli: { mode: native, secret: s3cret, redirect_uri: \"com.example:/in\" }\nroutes:",
    );
    let text = config::summary::summary("x", &parse(&named).unwrap());
    assert!(!text.contains("never comes there"), "{text}");
}

#[test]
fn clients_of_two_issuers_do_not_share_a_callback() {
    let two = |more: &str| {
        let mut text = good();
        text.issuers.push_str("  other: { url: \"https://other.example\", audience: x }\n");
        text.text().replace(
            "routes:",
            &format!("clients:\n  web: {{ mode: token, issuer: corp }}\n  desk: {{ mode: session, issuer: other, {more} }}\nroutes:"),
        )
    };
    only_error(&two(""), "clients.desk", "/oauth/callback/desk");
    let own = settings(&two("redirect_uri: \"https://gate.example.com/oauth/callback/desk\""));
    assert_eq!(own.clients[1].redirect_uri, "https://gate.example.com/oauth/callback/desk");
    let wrong = two("redirect_uri: \"https://gate.example.com/oauth/callback/web\"");
    only_error(&wrong, "clients.desk.redirect_uri", "or `https://gate.example.com/oauth/callback/desk`");
    let one = good()
        .text()
        .replace("routes:", "clients:\n  web: { mode: token }\n  desk: { mode: session }\nroutes:");
    assert_eq!(settings(&one).clients.len(), 2, "one issuer cannot be mixed up");
}

#[test]
fn a_route_takes_the_session_cookie_of_one_client() {
    let two = |route: &str| session("", route).replace("routes:", "  other: { mode: session }\nroutes:");
    only_error(&two(""), "routes[0]", "single one out");
    let taken = |text: &str| settings(text).routes[0].session.as_ref().map(|taken| taken.client.to_string());
    assert_eq!(taken(&two("sign_in: other")).as_deref(), Some("other"));
    assert_eq!(taken(&two("clients: web")).as_deref(), Some("web"));
    for (clients, says) in
        [("[web, other]", "name one"), ("plain", "`plain` is not"), ("nobody", "no client `nobody`")]
    {
        let text = two(&format!("public: true, clients: {clients}"))
            .replace("  other:", "  plain: { mode: token, login: gateway }\n  other:");
        let at = if clients == "[web, other]" { "routes[0].clients" } else { "routes[0].clients[0]" };
        let found = parse(&text).unwrap_err();
        assert_eq!(found.mistakes.len(), 1, "{found}");
        assert!(
            at.starts_with(&found.mistakes[0].path) && found.mistakes[0].message.contains(says),
            "{found}"
        );
    }
    let warned = |route: &str| {
        let warnings = parse(&two(route)).unwrap().warnings;
        warnings.into_iter().find(|warning| warning.path == "routes[0].public").map(|warning| warning.message)
    };
    for client in ["web", "other"] {
        let route = format!("public: true, clients: {client}");
        assert_eq!((taken(&two(&route)).as_deref(), warned(&route)), (Some(client), None));
    }
    let loaded = settings(&two("public: true, clients: web"));
    assert!(matches!(loaded.routes[0].access, Access::Public), "the tokens of all clients count");
    assert_eq!(taken(&two("public: true")), None, "a request may bring either");
    let warning = warned("public: true").unwrap();
    assert!(warning.contains("`web` and `other`") || warning.contains("`other` and `web`"), "{warning}");
    only_error(&two("public: true, clients: web, dpop: required"), "routes[0].clients", "dpop: required");
    only_error(&two("clients: web, sign_in: other"), "routes[0].sign_in", "does not take the client");
    let page = good().client("").route("sign_in: web").text();
    only_error(&page, "routes[0].sign_in", "not in `session` mode");
    only_error(
        &good().client("").route("extends_session: false").text(),
        "routes[0].extends_session",
        "no session cookie",
    );
    for (key, why) in [
        ("csrf_header: X-A", "`/oauth/token`"),
        ("csrf: fetch_metadata", "`/oauth/token`"),
        ("identity: id_token", "its own access token"),
    ] {
        let name = key.split(':').next().unwrap();
        only_error(&good().client(key).text(), &format!("clients.web.{name}"), why);
    }
    for key in [
        "authorize: { prompt: login }",
        "authorize_from_page: prompt",
        "pushed: true",
        "end_session: { logout_uri: x }",
        "return_to: \"https://app.example.com\"",
        "post_logout_redirect_uri: \"https://a.test/\"",
    ] {
        let name = key.split(':').next().unwrap();
        only_error(&good().client(key).text(), &format!("clients.web.{name}"), "`login: page`");
    }
}

#[test]
fn a_proxy_that_must_be_there_and_is_not_named_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "gate", &["gate.example.com"]);
    let at = folder.path().display();
    let tls =
        format!("{{ address: 0.0.0.0:443, tls: [{{ certificate: {at}/gate.pem, key: {at}/gate.key }}] }}");
    let warned = |public_url: &str, listen: &str, more: &str| {
        let rest = "issuers: { corp: { url: \"https://login.example.com\", audience: api } }\nroutes: [{ path: /x, to: \"http://10.0.0.1:3000\" }]\n";
        let text = format!("public_url: {public_url}\nlisten: {listen}\n{more}{rest}");
        parse(&text).unwrap().warnings.into_iter().find(|warning| warning.path == "listen")
    };
    let (public, clear) = ("https://gate.example.com", "0.0.0.0:8080");
    let warning = warned(public, clear, "").unwrap();
    assert_eq!(warning.line, 2);
    for part in ["`trusted_proxies: [10.0.0.0/8]`", "one address", "`http`", "`tls`"] {
        assert!(warning.message.contains(part), "{part}: {}", warning.message);
    }
    let redirects = "[0.0.0.0:8080, { address: 0.0.0.0:80, redirect: https }]";
    assert!(warned(public, redirects, "").is_some());
    for (public_url, listen, more) in [
        (public, clear, "trusted_proxies: 10.0.0.1\n"),
        (public, tls.as_str(), ""),
        (public, &format!("[{clear}, {tls}]"), ""),
        ("http://localhost:8080", clear, ""),
    ] {
        assert_eq!(warned(public_url, listen, more), None, "{public_url} {listen} {more}");
    }
}
