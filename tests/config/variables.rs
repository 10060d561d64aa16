//! What variables hold is text, and never more.

use tollgate::config::settings::ClientCredential;
use tollgate::core::route::policy::{Access, ClaimValue};

use super::support::{errors, good, only_error, parse, requirements, settings};

fn with_path(route: &str) -> String {
    good().text().replace("path: /api/*,", &format!("{route},"))
}

#[test]
fn what_a_variable_holds_is_never_a_pattern_of_a_path() {
    for path in
        ["/api/${TRAP}", "${TRAP_PATH}", "/api/${STAR}", "/api${TRAP_STAR}", "/api/${STAR:-x}", "/{${TRAP}}"]
    {
        let text = with_path(&format!("path: \"{path}\""));
        only_error(&text, "routes[0].path", "never a `{name}` or a `*` of a path");
    }
    let text = with_path("path: \"/tenants/${TRAP}/*\"");
    only_error(&text, "routes[0].path", "write those in this file");
    for key in ["rewrite: \"/x/${TRAP}\"", "rewrite: \"/x/${STAR}\"", "strip_prefix: \"/api/${TRAP}\""] {
        let text = with_path(&format!("path: \"/api/{{id}}/*\", {key}"));
        only_error(&text, &format!("routes[0].{}", key.split(':').next().unwrap()), "never a `{name}`");
    }
    let read = settings(&with_path("path: \"/${HELD}/{id}/*\", rewrite: \"/${HELD}/{id}/*\""));
    assert_eq!(read.routes[0].path.as_str(), "/hunter2/{id}/*");
    assert_eq!(read.routes[0].path.parameters().collect::<Vec<_>>(), ["id"]);
    assert_eq!(
        settings(&with_path("path: \"/x/${NO:-*}\"")).routes[0].path.as_str(),
        "/x/*",
        "it stands in the file"
    );
}

#[test]
fn a_default_holds_no_variable() {
    for default in ["${AUD:-${AUDIENCE}}", "${AUDIENCE:-${AUD}}", "${AUD:-a$$b}"] {
        let text = good().client(&format!("resource: \"{default}\"")).text();
        only_error(&text, "clients.web.resource", "a default holds no variable");
        assert!(!errors(&text).concat().contains("api.example.com"));
    }
    assert!(parse(&good().client("resource: \"${AUD:-urn:x}\"").text()).is_ok());
}

#[test]
fn variables_are_replaced_after_parsing_and_once() {
    let settings = settings(&good().client("secret: \"${TWICE}\", resource: \"${AUDIENCE}\"").text());
    assert!(
        matches!(&settings.clients[0].credential, ClientCredential::Secret(s) if s.expose() == "${WEB_APP_SECRET}")
    );
    assert_eq!(settings.clients[0].resource.as_deref(), Some("https://api.example.com"));
    let text = good().route("require: { claims: { sub: \"${TRAP}\", a: \"$$5\" } }").text();
    let loaded = parse(&text).unwrap();
    let claims = &requirements(&loaded.settings, 0).claims;
    assert_eq!(claims[0].values, [ClaimValue::Literal("{id}".into())], "a variable is never a parameter");
    assert_eq!(claims[1].values, [ClaimValue::Literal("$5".into())]);
    assert!(matches!(
        parse(&good().route("public: \"${PUBLIC}\"").text()).unwrap().settings.routes[0].access,
        Access::Public
    ));
}

#[test]
fn a_variable_that_is_missing_or_a_default_in_a_secret_closes_the_gate() {
    only_error(&good().client("secret: \"${NO_SUCH}\"").text(), "clients.web.secret", "`NO_SUCH` is not set");
    only_error(
        &good().client("secret: \"${WEB_APP_SECRET:-x}\"").text(),
        "clients.web.secret",
        "must not have a default",
    );
    only_error(&good().client("secret: \"${EMPTY}\"").text(), "clients.web.secret", "empty");
    only_error(&good().client("secret: 12345678").text(), "clients.web.secret", "quote");
    only_error(&good().client("resource: \"$AUDIENCE\"").text(), "clients.web.resource", "`${NAME}`");
    only_error(&good().client("resource: \"${EMPTY}\"").text(), "clients.web.resource", "empty");
    assert_eq!(
        settings(&good().client("resource: \"${NO:-urn:x}\"").text()).clients[0].resource.as_deref(),
        Some("urn:x")
    );
}
