//! What makes a request one of a client's own pages, and on which routes.

use super::support::*;

#[test]
fn a_route_where_no_window_passes_is_warned_of_where_windows_are_to() {
    let warned = |client: &str, route: &str| {
        let warnings = parse(&session(client, route)).unwrap().warnings.into_iter();
        warnings.filter(|it| it.message.contains("every window that goes there is 403")).collect::<Vec<_>>()
    };
    let found = warned("csrf: fetch_metadata", "");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].path == "routes[0]" && found[0].line > 0, "{found:?}");
    assert!(found[0].message.contains("add `sign_in: web`"), "{found:?}");
    for (client, route) in [
        ("csrf: fetch_metadata", "sign_in: web"),
        ("csrf: fetch_metadata", "public: true"),
        ("csrf: fetch_metadata", "host: other.example.com"),
        ("csrf: fetch_metadata", "dpop: required"),
        ("", ""),
    ] {
        assert!(warned(client, route).is_empty(), "{client}; {route}");
    }
}
