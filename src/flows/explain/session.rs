//! Which requests may use the session that a route takes, in words. Decided by `core::session::csrf`.

use crate::config::settings::{Client, SessionMode};
use crate::core::session::csrf::Csrf;

/// Says which requests may use the session of `client` on a route. `signs_in`: the route is a page.
pub(super) fn who_may_use(client: &Client, mode: &SessionMode, signs_in: bool) -> String {
    let SessionMode { csrf_header, csrf, .. } = mode;
    let origins: Vec<&str> = client.origins.iter().map(|origin| origin.as_str()).collect();
    let windows = if signs_in {
        "a window that goes there by GET or HEAD"
    } else {
        "no window that goes there by GET or HEAD (the route has no `sign_in`)"
    };
    let untold = match csrf {
        Csrf::Header => "",
        Csrf::FetchMetadata => {
            ", or without it what the browser calls Sec-Fetch-Site: same-origin (`csrf: fetch_metadata`)"
        }
    };
    format!("{windows}; else `{csrf_header}: 1` from a page of {}{untold}", origins.join(", "))
}
