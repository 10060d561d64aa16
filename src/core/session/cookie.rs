//! How a session travels: reading `Cookie`, writing `Set-Cookie`, and keeping ours from upstreams
//! (RFC 6265bis; h2 crumbs as in RFC 9113 section 8.2.3).
//!
//! Cookies are read byte for byte: names are case-sensitive, only SP and TAB are trimmed, all
//! `Cookie` fields count in their order. Two cookies of one name of ours have two readings: none is
//! used, and nothing is cleared.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::core::denial::Denial;

/// The most bytes that a `Set-Cookie` of ours may have: browsers drop what passes 4,096.
pub const LIMIT: usize = 4_000;

/// How the names begin that cookies of `token` and of `session` mode have by default, those of sign-ins too.
pub const BY_PATH: &str = "__Secure-tollgate-";
pub const BY_HOST: &str = "__Host-Http-tollgate-";

/// The paths that a cookie for `/oauth/token` may have.
pub const PATHS: [&str; 4] = ["/", "/oauth", "/oauth/", "/oauth/token"];

/// Whether a name is one that this gateway makes, whichever client has it, or had it before its configuration
/// changed.
pub fn is_by_default_ours(name: &[u8]) -> bool {
    [BY_PATH, BY_HOST].iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// The attributes of a cookie of ours. It is always `Secure` and `HttpOnly` and has no `Domain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    pub name: &'a str,
    pub path: &'a str,
    /// `Strict`, `Lax` or `None`.
    pub same_site: &'static str,
}

/// Why a cookie cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieFault {
    #[error("the cookie would have {bytes} bytes; browsers keep 4,000")]
    TooLarge { bytes: usize },
    #[error("the cookie's name, path or value has a character that no header may carry")]
    NotAHeader,
}

/// The value of our cookie `name`; `None` when it did not come.
///
/// # Errors
/// [`Denial::SeveralCredentials`] when it came more than once.
pub fn read<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Denial> {
    let mut found = None;
    for field in headers.get_all(header::COOKIE) {
        for pair in pairs(field.as_bytes()) {
            if named(pair) == Some(name.as_bytes()) {
                if found.is_some() {
                    return Err(Denial::SeveralCredentials);
                }
                found = Some(trimmed(pair.get(position(pair).saturating_add(1)..).unwrap_or_default()));
            }
        }
    }
    Ok(found)
}

/// The `Set-Cookie` that gives the browser `value` for `max_age`, in whole seconds and rather longer: a
/// session's last second must not take its cookie away.
///
/// # Errors
/// When a browser would not keep it.
pub fn set(attributes: Attributes<'_>, value: &str, max_age: Duration) -> Result<HeaderValue, CookieFault> {
    let Attributes { name, path, same_site } = attributes;
    let seconds = max_age.as_secs().saturating_add(u64::from(max_age.subsec_nanos() > 0));
    let text =
        format!("{name}={value}; Path={path}; Max-Age={seconds}; Secure; HttpOnly; SameSite={same_site}");
    if text.len() > LIMIT {
        return Err(CookieFault::TooLarge { bytes: text.len() });
    }
    let mut header = HeaderValue::try_from(text).map_err(|_| CookieFault::NotAHeader)?;
    header.set_sensitive(true);
    Ok(header)
}

/// The `Set-Cookie` that takes the cookie away again: the same attributes, no time left.
///
/// # Errors
/// As [`set`].
pub fn clear(attributes: Attributes<'_>) -> Result<HeaderValue, CookieFault> {
    set(attributes, "", Duration::ZERO)
}

/// The `Set-Cookie`s that take away what a browser keeps under this name at other paths, from before its path
/// was changed: browsers tell cookies apart by their paths too (RFC 6265bis section 5.7) and send them all,
/// and of two none is used. A name that is kept for the root was never anywhere else.
pub fn clear_elsewhere(attributes: Attributes<'_>) -> Vec<HeaderValue> {
    let is_for_root = |prefix: &[u8]| prefix.eq_ignore_ascii_case(b"__Host-");
    if attributes.name.as_bytes().get(.."__Host-".len()).is_some_and(is_for_root) {
        return Vec::new();
    }
    let others = PATHS.into_iter().filter(|path| *path != attributes.path);
    others.filter_map(|path| clear(Attributes { path, ..attributes }).ok()).collect()
}

/// What an upstream gets of the `Cookie` fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForUpstream {
    /// One field, and nothing of it is ours: as it came.
    Unchanged,
    /// One field with the others, in their order. HTTP/2 brings them in pieces, which HTTP/1.1 does not
    /// know (RFC 9113 section 8.2.3).
    Rest(HeaderValue),
    /// Nothing is left: no `Cookie` at all.
    Nothing,
}

/// The cookies whose names are `ours`, each with its value, in their order.
pub fn those(headers: &HeaderMap, ours: impl Fn(&[u8]) -> bool) -> Vec<(&str, &[u8])> {
    let fields = headers.get_all(header::COOKIE).iter().flat_map(|field| pairs(field.as_bytes()));
    let mine = fields.filter_map(|pair| {
        let name = named(pair).filter(|name| ours(name))?;
        let value = trimmed(pair.get(position(pair).saturating_add(1)..).unwrap_or_default());
        Some((std::str::from_utf8(name).ok()?, value))
    });
    mine.collect()
}

/// Takes the cookies whose names are `ours` out of every `Cookie` field.
pub fn without(headers: &HeaderMap, ours: impl Fn(&[u8]) -> bool) -> ForUpstream {
    let ours = |pair: &[u8]| named(pair).is_some_and(&ours);
    let fields = || headers.get_all(header::COOKIE).iter().flat_map(|field| pairs(field.as_bytes()));
    let crumbs = headers.get_all(header::COOKIE).iter().nth(1).is_some();
    if !crumbs && !fields().any(ours) {
        return ForUpstream::Unchanged;
    }
    let rest: Vec<&[u8]> = fields().filter(|pair| !pair.is_empty() && !ours(pair)).collect();
    if rest.is_empty() {
        return ForUpstream::Nothing;
    }
    // The parts were header values, so their join is one; were it not, nothing is the safe answer.
    HeaderValue::from_bytes(&rest.join(&b"; "[..])).map_or(ForUpstream::Nothing, ForUpstream::Rest)
}

/// Whether a `Set-Cookie` of an upstream would plant a cookie whose name is one of `ours`. A cookie
/// without a name is sent by browsers as its bare value, so `=name=value` plants one too.
pub fn sets_one_of(set_cookie: &[u8], ours: impl Fn(&[u8]) -> bool) -> bool {
    let pair = pairs(set_cookie).next().unwrap_or_default();
    let start = pair.iter().position(|byte| !matches!(byte, b'=' | b' ' | b'\t')).unwrap_or(pair.len());
    let pair = pair.get(start..).unwrap_or_default();
    ours(trimmed(pair.get(..position(pair)).unwrap_or_default()))
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';').map(trimmed)
}

/// Where the first `=` is, or the end.
fn position(pair: &[u8]) -> usize {
    pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len())
}

/// The name of a pair; a pair without `=` has none.
fn named(pair: &[u8]) -> Option<&[u8]> {
    let at = position(pair);
    (at < pair.len()).then(|| trimmed(pair.get(..at).unwrap_or_default()))
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "__Secure-tollgate-web";

    fn cookies(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::COOKIE, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn our_cookie_is_found_whatever_stands_around_it() {
        for fields in [
            &["__Secure-tollgate-web=v"][..],
            &["a=1; __Secure-tollgate-web=v; b=2"],
            &["a=1;\t __Secure-tollgate-web=v\t"],
            &["a=1", "b=2", "__Secure-tollgate-web=v"],
            &["a=\"x\";;=;__Secure-tollgate-web=v;b"],
            &["x__Secure-tollgate-web=no; __secure-tollgate-web=no; __Secure-tollgate-web=v"],
        ] {
            assert_eq!(read(&cookies(fields), NAME), Ok(Some(&b"v"[..])), "{fields:?}");
        }
        for fields in [&[][..], &["a=1"], &["__Secure-tollgate-web"], &["\u{a0}__Secure-tollgate-web=v"]] {
            assert_eq!(read(&cookies(fields), NAME), Ok(None), "{fields:?}");
        }
        assert_eq!(read(&cookies(&["__Secure-tollgate-web=a=b"]), NAME), Ok(Some(&b"a=b"[..])));
    }

    #[test]
    fn two_of_our_name_are_refused_in_one_field_and_across_fields() {
        for fields in [
            &["__Secure-tollgate-web=a; __Secure-tollgate-web=b"][..],
            &["__Secure-tollgate-web=a", "__Secure-tollgate-web=a"],
            &["__Secure-tollgate-web=a; x=1", "__Secure-tollgate-web ="],
        ] {
            assert_eq!(read(&cookies(fields), NAME), Err(Denial::SeveralCredentials), "{fields:?}");
        }
    }

    #[test]
    fn a_cookie_of_ours_has_all_its_attributes_and_is_cleared_with_the_same() {
        let attributes = Attributes { name: NAME, path: "/oauth/token", same_site: "Strict" };
        assert_eq!(
            set(attributes, "v", Duration::from_secs(60)).unwrap(),
            "__Secure-tollgate-web=v; Path=/oauth/token; Max-Age=60; Secure; HttpOnly; SameSite=Strict"
        );
        assert_eq!(
            clear(attributes).unwrap(),
            "__Secure-tollgate-web=; Path=/oauth/token; Max-Age=0; Secure; HttpOnly; SameSite=Strict"
        );
        let last = set(attributes, "v", Duration::from_millis(1)).unwrap();
        assert!(last.to_str().unwrap().contains("; Max-Age=1;"), "{last:?}");
        let room = LIMIT - clear(attributes).unwrap().len();
        assert!(set(attributes, &"v".repeat(room), Duration::ZERO).is_ok());
        let fault = set(attributes, &"v".repeat(room + 1), Duration::ZERO).unwrap_err();
        assert_eq!(fault, CookieFault::TooLarge { bytes: LIMIT + 1 });
        assert_eq!(set(attributes, "v\r\nX: y", Duration::ZERO), Err(CookieFault::NotAHeader));
    }

    #[test]
    fn a_cookie_is_taken_away_at_every_path_but_its_own() {
        let cleared = |name, path| {
            let attributes = Attributes { name, path, same_site: "Strict" };
            let said = clear_elsewhere(attributes).into_iter();
            said.map(|said| said.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let at = |path| format!("{NAME}=; Path={path}; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
        assert_eq!(cleared(NAME, "/oauth/token"), [at("/"), at("/oauth"), at("/oauth/")]);
        assert_eq!(cleared(NAME, "/"), [at("/oauth"), at("/oauth/"), at("/oauth/token")]);
        for name in ["__Host-Http-tollgate-web", "__host-mine"] {
            assert!(cleared(name, "/").is_empty(), "{name}");
        }
    }

    #[test]
    fn cookies_are_found_by_what_their_names_begin_with() {
        let headers = cookies(&["a=1; tx-b = 2;tx-c=3=4", "tx-b=5; tx; x=tx-d"]);
        let found = those(&headers, |name| name.starts_with(b"tx-"));
        assert_eq!(found, [("tx-b", &b"2"[..]), ("tx-c", b"3=4"), ("tx-b", b"5")]);
    }

    #[test]
    fn an_upstream_gets_every_cookie_but_ours() {
        let names = |name: &[u8]| [NAME, "other"].iter().any(|ours| ours.as_bytes() == name);
        assert_eq!(without(&cookies(&["a=1; b=2"]), names), ForUpstream::Unchanged);
        assert_eq!(without(&cookies(&[]), names), ForUpstream::Unchanged);
        assert_eq!(without(&cookies(&["__Secure-tollgate-web=v", "other=1"]), names), ForUpstream::Nothing);
        assert_eq!(
            without(
                &cookies(&["a=1; __Secure-tollgate-web=v; b", "__Secure-tollgate-web =w;c=\"3\""]),
                names
            ),
            ForUpstream::Rest(HeaderValue::from_static("a=1; b; c=\"3\""))
        );
    }

    #[test]
    fn nothing_that_is_sent_on_can_be_read_as_ours() {
        bolero::check!().with_type::<Vec<Vec<u8>>>().for_each(|fields| {
            let mut headers = HeaderMap::new();
            for field in fields {
                // Bytes that make our short name likely.
                let field: Vec<u8> = field.iter().map(|b| b"ab=; \tc"[usize::from(*b) % 7]).collect();
                headers.append(header::COOKIE, HeaderValue::from_bytes(&field).unwrap());
            }
            let sent = match without(&headers, |name| name == b"a") {
                ForUpstream::Unchanged => {
                    assert!(headers.get_all(header::COOKIE).iter().count() <= 1);
                    headers
                }
                ForUpstream::Nothing => HeaderMap::new(),
                ForUpstream::Rest(rest) => HeaderMap::from_iter([(header::COOKIE, rest)]),
            };
            assert_eq!(read(&sent, "a"), Ok(None));
        });
    }

    #[test]
    fn names_that_are_made_here_are_known_without_their_client() {
        for ours in
            [NAME, "__Host-Http-tollgate-gone", "__Host-Http-tollgate-web-tx-abc", "__Secure-tollgate-"]
        {
            assert!(is_by_default_ours(ours.as_bytes()), "{ours}");
        }
        for theirs in [
            "",
            "__Secure-tollgate",
            "__secure-tollgate-web",
            "__Host-tollgate-web",
            "x__Secure-tollgate-web",
        ] {
            assert!(!is_by_default_ours(theirs.as_bytes()), "{theirs}");
        }
    }

    #[test]
    fn an_upstream_cannot_set_a_cookie_of_ours() {
        let names = |name: &[u8]| name == NAME.as_bytes();
        for planted in [
            "__Secure-tollgate-web=v; Path=/",
            " __Secure-tollgate-web =v",
            "__Secure-tollgate-web",
            "=__Secure-tollgate-web=v; Secure",
        ] {
            assert!(sets_one_of(planted.as_bytes(), names), "{planted}");
        }
        for theirs in ["session=1", "__Secure-tollgate-web2=1", "a=__Secure-tollgate-web=1", ""] {
            assert!(!sets_one_of(theirs.as_bytes(), names), "{theirs}");
        }
    }
}
