//! `clients.<name>.cookie` — the cookie that holds a session: where it is sent, and what browsers demand of
//! its name (RFC 6265bis sections 4.1.3 and 5.1.4). It is always `Secure`, `HttpOnly` and without `Domain`.

use crate::config::clients::registration::Mode;
use crate::config::settings::{CookieSettings, SameSite};
use crate::config::text::read::Keys;
use crate::core::session::cookie;

/// Where the cookie of a client in `token` mode is sent to; in `session` mode it is sent everywhere.
const TOKEN_ENDPOINT: &str = "/oauth/token";

/// Prefixes that a browser keeps only with `Path=/`. What `__Secure-` and `__Http-` demand, ours have.
const NEED_THE_ROOT: [&str; 2] = ["__Host-Http-", "__Host-"];
const NEED_NO_MORE: [&str; 2] = ["__Secure-", "__Http-"];

/// The cookie of a client whose pages run in browsers.
pub(in crate::config) fn read(client: &str, keys: &Keys<'_>, mode: Mode) -> CookieSettings {
    let keys = keys.section("cookie");
    let is_session = mode == Mode::Session;
    let default = if is_session { "/" } else { TOKEN_ENDPOINT };
    let path = keys.text("path").unwrap_or_else(|| default.to_owned());
    if is_session && path != "/" {
        keys.wrong(
            "path",
            "in `session` mode the cookie goes with every request and its path is `/`; remove this",
        );
    }
    if !is_session && !cookie::PATHS.contains(&path.as_str()) {
        keys.wrong(
            "path",
            format!("a cookie with this path is not sent to {TOKEN_ENDPOINT}; use `{TOKEN_ENDPOINT}`, `/oauth` or `/`"),
        );
    }
    let prefix = if is_session { cookie::BY_HOST } else { cookie::BY_PATH };
    let name = keys.text("name").unwrap_or_else(|| format!("{prefix}{client}"));
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if keys.has("name") && (name.len() > 128 || !name.bytes().all(token)) {
        keys.wrong(
            "name",
            "is no cookie name; use letters, digits, `-`, `_` and `.`, at most 128 (RFC 6265 section 4.1.1)",
        );
    }
    guarded(&keys, &name, if is_session { "/" } else { &path });
    if is_session && !begins_with(&name, "__Host-") {
        keys.warn(
            "name",
            "in `session` mode a cookie that a sibling subdomain planted would sign people in as somebody else; begin it with `__Host-Http-`",
        );
    }
    let words = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
    let same_site = keys.word("same_site", &words, SameSite::Strict);
    if same_site == SameSite::None {
        keys.warn(
            "same_site",
            "`none`: browsers send the cookie along from every site; only the check of `Origin` protects it",
        );
    }
    CookieSettings { name, path, same_site }
}

/// Browsers compare the prefixes without case.
fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
}

fn guarded(keys: &Keys<'_>, name: &str, path: &str) {
    if let Some(prefix) = NEED_THE_ROOT.iter().find(|prefix| begins_with(name, prefix)) {
        if path != "/" {
            keys.wrong(
                "name",
                format!("a name that begins with `{prefix}` needs `path: /`, or browsers drop the cookie; begin it with `__Secure-`, or set the path"),
            );
        }
    } else if !NEED_NO_MORE.iter().any(|prefix| begins_with(name, prefix)) {
        keys.warn(
            "name",
            "has no prefix that browsers guard: whoever answers for this host or a sibling subdomain over plain `http` can plant a cookie of this name; begin it with `__Secure-` (or with `__Host-`, which needs `path: /` and keeps siblings out altogether)",
        );
    }
}
