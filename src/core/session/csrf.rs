//! Whether a request may use the session cookie that came with it: a browser sends the cookie along with requests that
//! a foreign page makes, and only what the browser itself says of a request, or what such a page cannot send, tells them
//! apart (Fetch Metadata; Fetch Standard section 3.2; RFC 6455 section 10.2).
//!
//! A table, from the narrowest row to the widest; what no row lets pass is refused, before any store or authorization
//! server is asked. A header that is given twice has two readings and passes in no row. `POST` and `DELETE /oauth/token`
//! are in [`super::origin`].

use http::{HeaderMap, HeaderName, Method, header};

use super::fetch_metadata::{DEST, MODE, SITE, TwoReadings, only};
use super::navigation::goes_there;
use super::origin::is_same_origin;
use crate::core::denial::Denial;
use crate::core::request::Origin;

/// Whose pages may use the session.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    /// The client's origins.
    pub listed: &'a [Origin],
    /// The gateway as browsers see it; `None`: it was asked at another host.
    pub own: Option<&'a Origin>,
    /// With the value `1`: a page sends it by script, after a preflight where it is another origin's.
    pub csrf_header: &'a HeaderName,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// It is to become a WebSocket.
    pub upgrades: bool,
    /// Of a route that is a page, where a link from anywhere may lead.
    pub signs_in: bool,
}

/// Decides.
///
/// # Errors
/// [`Denial::CrossSiteRequest`] for everything that is not known to come from one of the client's pages;
/// [`Denial::PageLoadNotShown`] where a person opens a page, and the browser does not say enough of it.
pub fn may_use_session(asked: Asked<'_>, pages: Pages<'_>) -> Result<(), Denial> {
    if passes(asked, pages).unwrap_or(false) {
        return Ok(());
    }
    let opens_page = asked.signs_in && reads(asked.method) && goes_there(asked.headers);
    Err(if opens_page { Denial::PageLoadNotShown } else { Denial::CrossSiteRequest })
}

fn reads(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn passes(asked: Asked<'_>, pages: Pages<'_>) -> Result<bool, TwoReadings> {
    let Asked { method, headers, upgrades, signs_in } = asked;
    let origin = only(headers, &header::ORIGIN)?;
    let site = only(headers, &SITE)?;
    let is_listed = origin.is_some_and(|origin| pages.listed.iter().any(|listed| listed.is_sent_as(origin)));
    if upgrades {
        // It carries no Fetch Metadata in most browsers, and no page can add a header to it.
        return Ok(is_listed);
    }
    if signs_in && is_page_load(method, headers)? {
        return Ok(true);
    }
    let is_ours = is_listed || is_same_origin(origin, site, pages.listed, pages.own);
    let is_event_source = *method == Method::GET
        && only(headers, &header::ACCEPT)?.is_some_and(|accept| accept == b"text/event-stream");
    if is_event_source && is_ours {
        return Ok(true);
    }
    // No browser of today: whoever is none could send whatever it likes.
    let is_no_browser = method.is_safe() && origin.is_none() && site.is_none();
    Ok(only(headers, pages.csrf_header)? == Some(b"1") && (is_ours || is_no_browser))
}

/// Whether a browser loads a page with it, into a window of its own.
///
/// # Errors
/// [`TwoReadings`]
pub fn is_page_load(method: &Method, headers: &HeaderMap) -> Result<bool, TwoReadings> {
    let mode = only(headers, &MODE)?;
    let dest = only(headers, &DEST)?;
    Ok(reads(method) && mode == Some(b"navigate") && dest == Some(b"document"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const OWN: &str = "https://gate.example";
    const APP: &str = "https://app.example";
    const EVIL: (&str, &str) = ("origin", "https://evil.example");
    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
    const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
    const SIBLING: (&str, &str) = ("sec-fetch-site", "same-site");
    const CORS: (&str, &str) = ("sec-fetch-mode", "cors");
    const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
    const DOCUMENT: (&str, &str) = ("sec-fetch-dest", "document");
    const CSRF: (&str, &str) = ("x-csrf", "1");
    const EVENTS: (&str, &str) = ("accept", "text/event-stream");
    const LISTED: (&str, &str) = ("origin", APP);
    const OURS: (&str, &str) = ("origin", OWN);

    type Fields<'a> = &'a [(&'static str, &'static str)];

    fn asked(method: &Method, upgrades: bool, signs_in: bool, listed: &[&str], fields: Fields<'_>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let listed: Vec<_> = listed.iter().map(|text| Origin::parse(text).unwrap()).collect();
        let own = Origin::parse(OWN).unwrap();
        let csrf_header = HeaderName::from_static("x-csrf");
        may_use_session(
            Asked { method, headers: &headers, upgrades, signs_in },
            Pages { listed: &listed, own: Some(&own), csrf_header: &csrf_header },
        )
        .is_ok()
    }

    #[test]
    fn a_person_whose_browser_does_not_say_that_it_opens_a_page_hears_that() {
        const HTML: (&str, &str) = ("accept", "text/html");
        let denied = |method: &Method, signs_in, fields: Fields<'_>| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let (own, csrf_header) = (Origin::parse(OWN).unwrap(), HeaderName::from_static("x-csrf"));
            let listed = std::slice::from_ref(&own);
            may_use_session(
                Asked { method, headers: &headers, upgrades: false, signs_in },
                Pages { listed, own: Some(&own), csrf_header: &csrf_header },
            )
            .unwrap_err()
        };
        let by_worker = [CROSS, NAVIGATE, ("sec-fetch-dest", "empty")];
        for (what, method, signs_in, fields, is_said) in [
            ("a browser of before", Method::GET, true, &[HTML][..], true),
            ("one that names no destination", Method::GET, true, &[CROSS, NAVIGATE, HTML], true),
            ("passed on by a service worker", Method::HEAD, true, &by_worker, true),
            ("not a page", Method::GET, false, &by_worker, false),
            ("a form", Method::POST, true, &by_worker, false),
            ("in a frame", Method::GET, true, &[CROSS, NAVIGATE, ("sec-fetch-dest", "iframe")], false),
            ("a script of before", Method::GET, true, &[HTML, EVIL], false),
            ("a script", Method::GET, true, &[CORS, HTML], false),
        ] {
            let expected = if is_said { Denial::PageLoadNotShown } else { Denial::CrossSiteRequest };
            assert_eq!(denied(&method, signs_in, fields), expected, "{what}");
        }
    }

    #[test]
    fn at_another_host_nothing_is_of_our_own_origin() {
        let own = Origin::parse(OWN).unwrap();
        let csrf_header = HeaderName::from_static("x-csrf");
        for origin in [None, Some("null")] {
            let fields = [SAME, CSRF].into_iter().chain(origin.map(|origin| ("origin", origin)));
            let headers: HeaderMap = fields
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let asked = Asked { method: &Method::GET, headers: &headers, upgrades: false, signs_in: false };
            let listed = std::slice::from_ref(&own);
            let passes =
                |own| may_use_session(asked, Pages { listed, own, csrf_header: &csrf_header }).is_ok();
            assert_eq!((passes(Some(&own)), passes(None)), (true, false), "{origin:?}");
        }
    }

    #[test]
    fn a_link_from_anywhere_opens_a_page_that_signs_in_and_nothing_else() {
        for (what, method, signs_in, fields, passes) in [
            ("a link in a mail", Method::GET, true, &[CROSS, NAVIGATE, DOCUMENT][..], true),
            (
                "typed by the user",
                Method::HEAD,
                true,
                &[("sec-fetch-site", "none"), NAVIGATE, DOCUMENT],
                true,
            ),
            ("a page that does not sign in", Method::GET, false, &[SAME, NAVIGATE, DOCUMENT], false),
            ("a form of another site", Method::POST, true, &[CROSS, NAVIGATE, DOCUMENT, EVIL], false),
            ("a form of our own page", Method::POST, true, &[SAME, NAVIGATE, DOCUMENT, OURS], false),
            ("in a frame", Method::GET, true, &[CROSS, NAVIGATE, ("sec-fetch-dest", "iframe")], false),
            ("in an object", Method::GET, true, &[CROSS, NAVIGATE, ("sec-fetch-dest", "object")], false),
            ("a picture", Method::GET, true, &[CROSS, ("sec-fetch-mode", "no-cors")], false),
            ("says nothing of itself", Method::GET, true, &[], false),
            ("two modes", Method::GET, true, &[NAVIGATE, CORS, DOCUMENT], false),
            ("two destinations", Method::GET, true, &[NAVIGATE, DOCUMENT, DOCUMENT], false),
            ("two sites", Method::GET, true, &[CROSS, SAME, NAVIGATE, DOCUMENT], false),
        ] {
            assert_eq!(asked(&method, false, signs_in, &[OWN], fields), passes, "{what}");
        }
    }

    #[test]
    fn a_websocket_is_opened_by_pages_of_listed_origins_alone() {
        for (what, listed, fields, passes) in [
            ("a listed origin", &[APP][..], &[LISTED][..], true),
            ("our own, listed", &[OWN], &[OURS, SAME, ("sec-fetch-mode", "websocket")], true),
            ("our own, not listed", &[APP], &[OURS, SAME], false),
            ("another origin", &[APP], &[EVIL], false),
            ("another origin with our header", &[APP], &[EVIL, CSRF, SAME], false),
            ("no origin", &[OWN], &[SAME, CSRF], false),
            ("null", &[OWN], &[("origin", "null"), SAME, CSRF], false),
            ("two origins", &[OWN, APP], &[LISTED, OURS], false),
        ] {
            assert_eq!(asked(&Method::GET, true, true, listed, fields), passes, "{what}");
            assert_eq!(asked(&Method::GET, true, false, listed, fields), passes, "{what}");
        }
    }

    #[test]
    fn events_go_to_our_own_pages_and_to_those_of_listed_origins() {
        for (what, method, listed, fields, passes) in [
            ("our own page", Method::GET, &[OWN][..], &[EVENTS, SAME, CORS][..], true),
            ("our own page, not listed", Method::GET, &[APP], &[EVENTS, SAME, CORS], false),
            ("a listed page", Method::GET, &[APP], &[EVENTS, LISTED, SIBLING, CORS], true),
            ("another page", Method::GET, &[APP], &[EVENTS, EVIL, CROSS, CORS], false),
            ("another page of our site", Method::GET, &[OWN], &[EVENTS, SIBLING], false),
            ("without an origin", Method::GET, &[OWN], &[EVENTS, CROSS], false),
            ("nobody knows whose", Method::GET, &[OWN], &[EVENTS], false),
            ("another method", Method::POST, &[OWN], &[EVENTS, SAME], false),
            ("among others", Method::GET, &[OWN], &[("accept", "text/event-stream, */*"), SAME], false),
            ("twice", Method::GET, &[OWN], &[EVENTS, EVENTS, SAME], false),
        ] {
            assert_eq!(asked(&method, false, false, listed, fields), passes, "{what}");
        }
    }

    #[test]
    fn whatever_else_is_asked_needs_our_header_and_one_of_our_pages() {
        for (what, listed, fields, get, post) in [
            ("our own page", &[OWN][..], &[SAME, CORS, CSRF][..], true, true),
            ("our own page, null origin", &[OWN], &[SAME, CSRF, ("origin", "null")], true, true),
            ("our own page without the header", &[OWN], &[SAME, CORS], false, false),
            ("our own page, another value", &[OWN], &[SAME, ("x-csrf", "true")], false, false),
            ("our own page, no value", &[OWN], &[SAME, ("x-csrf", "")], false, false),
            ("our own page, the header twice", &[OWN], &[SAME, CSRF, CSRF], false, false),
            ("our own page, not listed", &[APP], &[SAME, CORS, CSRF], false, false),
            ("our own origin, without metadata", &[OWN], &[OURS, CSRF], true, true),
            ("a listed page", &[APP], &[SIBLING, CORS, LISTED, CSRF], true, true),
            ("a listed page without the header", &[APP], &[SIBLING, CORS, LISTED], false, false),
            ("another page", &[OWN, APP], &[CROSS, CORS, EVIL, CSRF], false, false),
            ("another page of our site", &[OWN], &[SIBLING, CSRF], false, false),
            ("null from elsewhere", &[OWN], &[CROSS, ("origin", "null"), CSRF], false, false),
            ("typed by the user", &[OWN], &[("sec-fetch-site", "none"), CSRF], false, false),
            ("no browser", &[OWN], &[CSRF], true, false),
            ("no browser, without the header", &[OWN], &[], false, false),
            ("no metadata and null", &[OWN], &[("origin", "null"), CSRF], false, false),
            ("two origins", &[OWN, APP], &[SAME, CSRF, LISTED, OURS], false, false),
            ("a navigation of our own page", &[OWN], &[SAME, NAVIGATE, DOCUMENT], false, false),
        ] {
            for (method, passes) in [
                (Method::GET, get),
                (Method::HEAD, get),
                (Method::OPTIONS, get),
                (Method::POST, post),
                (Method::PUT, post),
                (Method::PATCH, post),
                (Method::DELETE, post),
                (Method::from_bytes(b"PURGE").unwrap(), post),
            ] {
                assert_eq!(asked(&method, false, false, listed, fields), passes, "{what} {method}");
            }
        }
    }
}
