//! What variables hold is text, and never more.

use crate::{errors, good, only_error, parse, settings};

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
