//! Whether a request may use the session cookie that came with it: a browser sends the cookie along with
//! requests that a foreign page makes, and only what the browser itself says of a request, or what such a
//! page cannot send, tells them apart (Fetch Metadata; Fetch Standard section 3.2; RFC 6455 section 10.2).
//!
//! A table, from the narrowest row to the widest; what no row lets pass is refused, before any store or
//! authorization server is asked. A header that is given twice has two readings and passes in no row. `POST`
//! and `DELETE /oauth/token` are in [`super::origin`].
//!
//! The last row is for applications that know nothing of the gateway, where their operator says so: the
//! browser's word alone counts there. A redirect cannot forge it: it is of the whole chain (Fetch Metadata
//! Request Headers section 2.3).

use http::{HeaderMap, HeaderName, Method, header};

use super::fetch_metadata::{DEST, MODE, SITE, TwoReadings, only};
use super::navigation::{asks_for_page, goes_there, hides_where_it_began};
use super::origin::is_same_origin;
use crate::core::denial::Denial;
use crate::core::request::Origin;

/// The pages that may use the session.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    /// The client's origins.
    pub listed: &'a [Origin],
    /// The gateway as browsers see it; `None`: it was asked at another host.
    pub own: Option<&'a Origin>,
    /// The header that has the value `1`: a page sends it by script, after a preflight where it is another
    /// origin's.
    pub csrf_header: &'a HeaderName,
    pub csrf: Csrf,
}

/// What shows that one of the client's pages asks, beside what opens pages, event streams and WebSockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Csrf {
    /// A header of the page's, by script.
    #[default]
    Header,
    /// That, or the browser's word: of pages that were not written for the gateway.
    FetchMetadata,
}

impl Csrf {
    /// The fields of a request, beside its cookie and its origin, by which it is decided whether its session
    /// counts. `signs_in`: of a route that is a page.
    pub fn decides_by(self, csrf_header: &HeaderName, signs_in: bool) -> impl Iterator<Item = &HeaderName> {
        let told: &[HeaderName] = match self {
            Self::Header if !signs_in => &[],
            Self::FetchMetadata if !signs_in => &TOLD_AND_ASKED_FOR,
            _ => &TOLD_ASKED_FOR_AND_LED_FROM,
        };
        std::iter::once(csrf_header).chain(told)
    }
}

/// What browsers say of their requests, with what tells a navigation that a worker asks for.
static TOLD_AND_ASKED_FOR: [HeaderName; 4] = [SITE, MODE, DEST, header::ACCEPT];
/// The same, with what tells a download.
static TOLD_ASKED_FOR_AND_LED_FROM: [HeaderName; 5] = [SITE, MODE, DEST, header::ACCEPT, header::REFERER];

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct SessionUse<'a> {
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// It is to become a WebSocket.
    pub upgrades: bool,
    /// The route is a page, where a link from anywhere may lead.
    pub signs_in: bool,
}

/// Decides.
///
/// # Errors
/// [`Denial::CrossSiteRequest`] for everything that is not known to come from one of the client's pages;
/// [`Denial::PageLoadNotShown`] where a person opens a page, and the browser does not say enough of it;
/// [`Denial::WindowWithoutSignIn`] where they go to what is no page.
pub fn may_use_session(asked: SessionUse<'_>, pages: Pages<'_>) -> Result<(), Denial> {
    if passes(asked, pages).unwrap_or(false) {
        return Ok(());
    }
    let by_worker = hides_where_it_began(asked.headers).unwrap_or(false);
    let is_window = reads(asked.method) && (goes_there(asked.headers) || by_worker);
    Err(match (is_window, asked.signs_in) {
        (true, true) => Denial::PageLoadNotShown,
        (true, false) => Denial::WindowWithoutSignIn,
        (false, _) => Denial::CrossSiteRequest,
    })
}

fn reads(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn passes(asked: SessionUse<'_>, pages: Pages<'_>) -> Result<bool, TwoReadings> {
    let SessionUse { method, headers, upgrades, signs_in } = asked;
    let origin = only(headers, &header::ORIGIN)?;
    let site = only(headers, &SITE)?;
    let is_listed = origin.is_some_and(|origin| pages.listed.iter().any(|listed| listed.is_sent_as(origin)));
    if upgrades {
        // It carries no Fetch Metadata in most browsers, and no page can add a header to it.
        return Ok(is_listed);
    }
    if signs_in && (is_page_load(method, headers)? || is_download(asked, origin, pages)?) {
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
    let has_header = only(headers, pages.csrf_header)? == Some(b"1");
    let is_told = match pages.csrf {
        Csrf::Header => false,
        Csrf::FetchMetadata if site.is_none() => is_listed && changes_something_untold(method, headers)?,
        Csrf::FetchMetadata => site == Some(b"same-origin") && is_of_own_page(asked, origin, pages)?,
    };
    Ok(is_told || (has_header && (is_ours || is_no_browser)))
}

/// Whether what the browser says is `same-origin` comes from a page of the gateway's own origin, which is
/// among the client's.
///
/// Not where a window goes there by itself: a sign-in leads wherever a foreign link says, and from a page of
/// ours, so that nobody could tell the two apart. Where a route signs in, any link may lead there as it is.
/// Nor where a service worker asks, and a page of another origin may have begun it.
fn is_of_own_page(
    asked: SessionUse<'_>,
    origin: Option<&[u8]>,
    pages: Pages<'_>,
) -> Result<bool, TwoReadings> {
    let SessionUse { method, headers, signs_in, .. } = asked;
    let (Some(mode), Some(dest)) = (only(headers, &MODE)?, only(headers, &DEST)?) else {
        // No browser that says the one leaves out the others.
        return Ok(false);
    };
    let own = pages.own.filter(|own| pages.listed.contains(own));
    let is_own = own.is_some_and(|own| match origin {
        None | Some(b"null") => true,
        Some(origin) => own.is_sent_as(origin),
    });
    let into_page = matches!(dest, b"iframe" | b"frame" | b"object" | b"embed");
    let goes_there = reads(method) && mode == b"navigate" && !into_page;
    let is_link = signs_in && reads(method);
    Ok(is_own && (is_link || !(goes_there || hides_where_it_began(headers)?)))
}

/// Whether a page of the gateway's own origin has a file downloaded (`<a download>`). WebKit says nothing of
/// such a request but the page that it is of (WebKitGTK 2.50): a link by which a window would pass.
fn is_download(asked: SessionUse<'_>, origin: Option<&[u8]>, pages: Pages<'_>) -> Result<bool, TwoReadings> {
    let SessionUse { method, headers, .. } = asked;
    let says_something = [&SITE, &MODE, &DEST].iter().any(|name| headers.contains_key(*name));
    let own = pages.own.filter(|own| pages.listed.contains(own));
    let page = only(headers, &header::REFERER)?;
    let is_of_own_page = own.zip(page).is_some_and(|(own, page)| {
        page.strip_prefix(own.as_str().as_bytes()).is_some_and(|path| path.starts_with(b"/"))
    });
    Ok(reads(method) && !says_something && origin.is_none() && is_of_own_page && asks_for_page(headers))
}

/// Whether a browser that says nothing of its requests sends what changes something. It names an `Origin`
/// with that.
fn changes_something_untold(method: &Method, headers: &HeaderMap) -> Result<bool, TwoReadings> {
    let says_something = only(headers, &MODE)?.is_some() || only(headers, &DEST)?.is_some();
    Ok(!says_something && !method.is_safe())
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
    const EMPTY: (&str, &str) = ("sec-fetch-dest", "empty");
    const CSRF: (&str, &str) = ("x-csrf", "1");
    const EVENTS: (&str, &str) = ("accept", "text/event-stream");
    const LISTED: (&str, &str) = ("origin", APP);
    const OURS: (&str, &str) = ("origin", OWN);
    const CHROMIUM: (&str, &str) =
        ("user-agent", "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36");
    const WEBKIT: (&str, &str) =
        ("user-agent", "Mozilla/5.0 AppleWebKit/605.1.15 (KHTML, like Gecko) Version/60.5 Safari/605.1.15");

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
            SessionUse { method, headers: &headers, upgrades, signs_in },
            Pages { listed: &listed, own: Some(&own), csrf_header: &csrf_header, csrf: Csrf::Header },
        )
        .is_ok()
    }

    /// The same where the browser's word does.
    fn told(method: &Method, signs_in: bool, listed: &[&str], fields: Fields<'_>) -> bool {
        let headers: HeaderMap = map(fields);
        let listed: Vec<_> = listed.iter().map(|text| Origin::parse(text).unwrap()).collect();
        let (own, csrf_header) = (Origin::parse(OWN).unwrap(), HeaderName::from_static("x-csrf"));
        let pages =
            Pages { listed: &listed, own: Some(&own), csrf_header: &csrf_header, csrf: Csrf::FetchMetadata };
        may_use_session(SessionUse { method, headers: &headers, upgrades: false, signs_in }, pages).is_ok()
    }

    fn map(fields: Fields<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_person_who_opens_a_page_that_is_not_known_for_one_hears_why() {
        const HTML: (&str, &str) = ("accept", "text/html");
        let denied = |method: &Method, signs_in, fields: Fields<'_>| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let (own, csrf_header) = (Origin::parse(OWN).unwrap(), HeaderName::from_static("x-csrf"));
            let listed = std::slice::from_ref(&own);
            may_use_session(
                SessionUse { method, headers: &headers, upgrades: false, signs_in },
                Pages { listed, own: Some(&own), csrf_header: &csrf_header, csrf: Csrf::Header },
            )
            .unwrap_err()
        };
        let by_worker = [CROSS, NAVIGATE, EMPTY];
        let in_its_place = [SAME, ("sec-fetch-mode", "same-origin"), EMPTY, HTML];
        let (no_window, none) = (Denial::CrossSiteRequest, ("sec-fetch-site", "none"));
        for (what, method, signs_in, fields, expected) in [
            ("a browser of before", Method::GET, true, &[HTML][..], Denial::PageLoadNotShown),
            ("no destination", Method::GET, true, &[CROSS, NAVIGATE, HTML], Denial::PageLoadNotShown),
            ("by a service worker", Method::HEAD, true, &by_worker, Denial::PageLoadNotShown),
            ("in Firefox", Method::GET, true, &in_its_place, Denial::PageLoadNotShown),
            ("not a page, in Firefox", Method::GET, false, &in_its_place, Denial::WindowWithoutSignIn),
            ("not a page", Method::GET, false, &by_worker, Denial::WindowWithoutSignIn),
            ("a link there", Method::GET, false, &[SAME, NAVIGATE, DOCUMENT], Denial::WindowWithoutSignIn),
            ("typed", Method::HEAD, false, &[none, NAVIGATE, DOCUMENT], Denial::WindowWithoutSignIn),
            ("a form", Method::POST, true, &by_worker, no_window.clone()),
            ("a form, in Firefox", Method::POST, true, &in_its_place, no_window.clone()),
            ("a form there", Method::POST, false, &[CROSS, NAVIGATE, DOCUMENT], no_window.clone()),
            (
                "a frame",
                Method::GET,
                true,
                &[CROSS, NAVIGATE, ("sec-fetch-dest", "iframe")],
                no_window.clone(),
            ),
            ("a script of before", Method::GET, true, &[HTML, EVIL], no_window.clone()),
            ("a script", Method::GET, true, &[CORS, HTML], no_window.clone()),
            ("a script there", Method::GET, false, &[SAME, CORS, EMPTY], no_window),
        ] {
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
            let asked =
                SessionUse { method: &Method::GET, headers: &headers, upgrades: false, signs_in: false };
            let listed = std::slice::from_ref(&own);
            for csrf in [Csrf::Header, Csrf::FetchMetadata] {
                let pages = |own| Pages { listed, own, csrf_header: &csrf_header, csrf };
                let passes = |own| may_use_session(asked, pages(own)).is_ok();
                assert_eq!((passes(Some(&own)), passes(None)), (true, false), "{origin:?} {csrf:?}");
            }
            let told = [SAME, CORS, EMPTY].into_iter().chain(origin.map(|origin| ("origin", origin)));
            let headers = map(&told.collect::<Vec<_>>());
            let passes = |own| {
                let pages = Pages { listed, own, csrf_header: &csrf_header, csrf: Csrf::FetchMetadata };
                may_use_session(SessionUse { headers: &headers, ..asked }, pages).is_ok()
            };
            assert_eq!((passes(Some(&own)), passes(None)), (true, false), "{origin:?}, by its word");
        }
    }

    /// What browsers say of themselves: what it is, its mode and its destination.
    const KINDS: [(&str, &str, &str); 13] = [
        ("a fetch", "cors", "empty"),
        ("a fetch of its own origin alone", "same-origin", "empty"),
        ("a beacon", "no-cors", "empty"),
        ("a picture", "no-cors", "image"),
        ("a script", "no-cors", "script"),
        ("a module", "cors", "script"),
        ("a style", "no-cors", "style"),
        ("a font", "cors", "font"),
        ("a worker", "same-origin", "worker"),
        ("a frame", "navigate", "iframe"),
        ("an object", "navigate", "object"),
        ("a window", "navigate", "document"),
        ("a window, by way of a worker", "navigate", "empty"),
    ];

    #[test]
    fn by_the_browser_s_word_its_own_pages_alone_pass_whatever_they_ask_for() {
        let methods = [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST, Method::PUT, Method::DELETE];
        let sites = [Some("same-origin"), Some("same-site"), Some("cross-site"), Some("none"), None];
        for (kind, mode, dest) in KINDS {
            for (site, method, signs_in) in sites.iter().flat_map(|site| {
                methods.iter().flat_map(move |method| [false, true].map(|signs_in| (*site, method, signs_in)))
            }) {
                let mut fields = vec![("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
                fields.extend(site.map(|site| ("sec-fetch-site", site)));
                let goes_there = reads(method) && mode == "navigate" && ["document", "empty"].contains(&dest);
                let is_link = signs_in && goes_there && dest == "document";
                let is_ours = site == Some("same-origin") && (signs_in || !goes_there);
                // A form that a worker passes on, and that names nobody.
                let is_anybodys = !reads(method) && (mode, dest) == ("navigate", "empty");
                let passes = is_link || (is_ours && !is_anybodys);
                let what = format!("{kind}: {method} {site:?}, signs in: {signs_in}");
                assert_eq!(told(method, signs_in, &[OWN, APP], &fields), passes, "{what}");
                // Said by the own page, too, or by none that can be named; and by another. Of a form that a
                // worker passes on Chromium's word counts.
                for ((origin, is_own), browser) in
                    [(OWN, true), ("null", true), (APP, false), (EVIL.1, false)]
                        .into_iter()
                        .flat_map(|origin| [CHROMIUM, WEBKIT].map(|browser| (origin, browser)))
                {
                    let fields = [&fields[..], &[("origin", origin), browser]].concat();
                    let is_believed = origin != "null" && browser == CHROMIUM;
                    let passes = is_link || (is_ours && is_own && (is_believed || !is_anybodys));
                    let what = format!("{what}, of {origin} by {}", browser.1);
                    assert_eq!(told(method, signs_in, &[OWN, APP], &fields), passes, "{what}");
                }
                // As without it, where the own origin is not the client's.
                let strict = asked(method, false, signs_in, &[APP], &fields);
                assert_eq!(told(method, signs_in, &[APP], &fields), strict, "{what}, not listed");
            }
        }
    }

    #[test]
    fn what_a_worker_asks_for_in_a_page_s_place_counts_as_anybody_s() {
        let in_its_place =
            [SAME, ("sec-fetch-mode", "same-origin"), EMPTY, ("accept", "text/html,*/*;q=0.8")];
        for (method, signs_in, passes) in [
            (Method::GET, true, true), // where any link may lead
            (Method::GET, false, false),
            (Method::HEAD, false, false),
            (Method::POST, true, false),
            (Method::POST, false, false),
        ] {
            for origin in [None, Some(OURS), Some(("origin", "null"))] {
                let fields: Vec<_> = in_its_place.into_iter().chain(origin).collect();
                assert_eq!(
                    told(&method, signs_in, &[OWN], &fields),
                    passes,
                    "{method} {signs_in} {origin:?}"
                );
            }
        }
    }

    #[test]
    fn where_a_browser_says_nothing_the_origin_counts_of_what_changes_something() {
        for (what, fields, get, post) in [
            ("our own page", &[OURS][..], false, true),
            ("a listed page", &[LISTED], false, true),
            ("another page", &[EVIL], false, false),
            ("over http", &[("origin", "http://gate.example")], false, false),
            ("null", &[("origin", "null")], false, false),
            ("nothing at all", &[], false, false),
            ("two origins", &[OURS, OURS], false, false),
            ("a mode alone", &[OURS, CORS], false, false),
            ("a site alone", &[SAME], false, false),
            ("a site alone, and our own origin", &[SAME, OURS], false, false),
            ("no destination", &[SAME, CORS], false, false),
            ("no mode", &[SAME, ("sec-fetch-dest", "empty")], false, false),
            ("a destination alone", &[OURS, DOCUMENT], false, false),
            ("a site that is none", &[OURS, ("sec-fetch-site", "Same-Origin")], false, false),
            ("no site", &[OURS, ("sec-fetch-site", "")], false, false),
            ("a fetch of our own page", &[SAME, CORS, EMPTY], true, true),
            ("two sites", &[SAME, SAME, CORS, EMPTY], false, false),
            ("two modes", &[SAME, CORS, CORS, EMPTY], false, false),
            ("two destinations", &[SAME, CORS, EMPTY, EMPTY], false, false),
            ("the header twice", &[SAME, CORS, EMPTY, CSRF, CSRF], false, false),
            ("the header, as ever", &[OURS, CSRF], true, true),
            ("a listed page with the header", &[SIBLING, CORS, LISTED, CSRF], true, true),
            ("a listed page without it", &[SIBLING, CORS, LISTED], false, false),
        ] {
            for (method, passes) in
                [(Method::GET, get), (Method::HEAD, get), (Method::POST, post), (Method::DELETE, post)]
            {
                assert_eq!(told(&method, false, &[OWN, APP], fields), passes, "{what} {method}");
            }
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
    fn a_page_of_ours_downloads_with_a_link_in_a_browser_that_says_nothing_of_that() {
        const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        const FROM: (&str, &str) = ("referer", "https://gate.example/app/");
        for (what, method, signs_in, listed, fields, passes) in [
            ("by our own page", Method::GET, true, OWN, &[HTML, FROM][..], true),
            ("where no link leads", Method::GET, false, OWN, &[HTML, FROM], false),
            ("a form", Method::POST, true, OWN, &[HTML, FROM], false),
            ("not listed", Method::GET, true, APP, &[HTML, FROM], false),
            ("of a page that is not named", Method::GET, true, OWN, &[HTML], false),
            ("by another site", Method::GET, true, OWN, &[HTML, ("referer", "https://evil.example/")], false),
            (
                "by a longer name",
                Method::GET,
                true,
                OWN,
                &[HTML, ("referer", "https://gate.example.evil.example/")],
                false,
            ),
            ("by an origin", Method::GET, true, OWN, &[HTML, ("referer", "https://gate.example")], false),
            ("two pages", Method::GET, true, OWN, &[HTML, FROM, FROM], false),
            ("a picture", Method::GET, true, OWN, &[("accept", "image/*,*/*;q=0.5"), FROM], false),
            ("with an origin", Method::GET, true, OWN, &[HTML, FROM, EVIL], false),
            ("a site is told", Method::GET, true, OWN, &[HTML, FROM, SIBLING], false),
            ("a frame", Method::GET, true, OWN, &[HTML, FROM, NAVIGATE, ("sec-fetch-dest", "iframe")], false),
        ] {
            assert_eq!(asked(&method, false, signs_in, &[listed], fields), passes, "{what}");
            assert_eq!(told(&method, signs_in, &[listed], fields), passes, "{what}, by the browser's word");
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
