//! Whether a request is a navigation of a browser, and from where (Fetch Metadata Request Headers).

use http::{HeaderMap, HeaderName, header};

use super::fetch_metadata::{DEST, MODE, PURPOSE, SITE, TwoReadings, only};

/// Whether a tab or window goes there, because a person wants to: no script asks, no frame, and no browser
/// ahead of time.
///
/// A browser that says nothing of itself (all of them did so before 2023) goes there where it asks for a page
/// and names no `Origin`, as a `fetch` across origins does. That is enough for a sign-in: what it sets is
/// bound to a `SameSite=Lax` cookie, which comes along with navigations alone.
///
/// One that a service worker passes on (`fetch(event.request)`) is a navigation to nothing (`empty`). No page
/// can make such a request: `mode: "navigate"` is a TypeError, and a request that anything is changed of is
/// none any more (Fetch Standard section 5.4, constructor of `Request`). A worker sees those to its own
/// origin alone; of a frame there it says `empty` too.
pub fn goes_there(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, expected: &[u8]| only(headers, name) == Ok(Some(expected));
    let says_something = [&MODE, &DEST, &SITE].iter().any(|name| headers.contains_key(*name));
    if headers.contains_key(PURPOSE) {
        return false;
    }
    if says_something {
        let to_a_window = is(&DEST, b"document") || is(&DEST, b"empty") || !headers.contains_key(DEST);
        is(&MODE, b"navigate") && to_a_window
    } else {
        asks_for_page(headers) && !headers.contains_key(header::ORIGIN)
    }
}

/// Whether the browser says of its requests what they are and what for, as it must for pages that take a
/// session.
pub fn says_what_it_opens(headers: &HeaderMap) -> bool {
    headers.contains_key(MODE) && headers.contains_key(DEST)
}

/// Whether it may be a navigation that a service worker asks for in a page's place, of which the browser
/// does not say where it began: `Sec-Fetch-Site` is then of the worker, which is of the origin that is
/// asked, and so may `Origin` be.
///
/// What a worker changes of a navigation is the worker's own request, of mode `same-origin` (Fetch Standard
/// section 5.4, constructor of `Request`). Firefox makes that of `fetch(event.request)` too, a form of
/// another site included (seen in 153). A navigation asks for `text/html` by name, which no `fetch` does by
/// itself. Chromium leaves what a worker passes on unchanged the navigation that it was (148). WebKit does
/// so but for `Sec-Fetch-Site`, and where a form's page sends no referrer it writes the worker's `Origin` for
/// the `null` of that page (WebKitGTK 2.50): so an `Origin` counts there in Chromium alone.
///
/// # Errors
/// [`TwoReadings`]
pub fn hides_where_it_began(headers: &HeaderMap) -> Result<bool, TwoReadings> {
    if only(headers, &DEST)? != Some(b"empty") {
        return Ok(false);
    }
    Ok(match only(headers, &MODE)? {
        Some(b"same-origin") => asks_for_page(headers),
        Some(b"navigate") => {
            let is_named = !matches!(only(headers, &header::ORIGIN)?, None | Some(b"null"));
            !(is_named && is_chromium(headers)?)
        }
        _ => false,
    })
}

/// Whether the browser is made of Chromium, by the name that all of them have (`Chrome/`, which on iOS, where
/// it is WebKit, is `CriOS/`). No page can change what a browser calls itself as it goes somewhere.
fn is_chromium(headers: &HeaderMap) -> Result<bool, TwoReadings> {
    let name = only(headers, &header::USER_AGENT)?.unwrap_or_default();
    Ok(name.windows(7).any(|part| part == b"Chrome/"))
}

/// Whether the browser may have withheld the `SameSite=Strict` cookies.
///
/// It did where another site sent it here. Where nothing of the web did (`none`: an address that was typed, a
/// bookmark, a link in a mail program) Firefox does so all the same if a redirect of another site is in the
/// chain (RFC 6265bis section 5.2), of which `none` says nothing. `same-site` is said of no such chain, and
/// who says nothing could not say that it comes from a page of ours when it is asked once more.
pub fn may_withhold_strict_cookies(headers: &HeaderMap) -> bool {
    matches!(only(headers, &SITE), Ok(Some(b"cross-site" | b"none")))
}

/// Whether a person reads the answer: the browser goes there, or, where it says nothing, asks for a page. A
/// `fetch` does neither.
pub fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get(MODE) {
        Some(mode) => mode.as_bytes() == b"navigate",
        None => asks_for_page(headers),
    }
}

/// Whether it asks for `text/html` by name.
pub fn asks_for_page(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .any(|range| range.split(';').next().is_some_and(|range| range.trim() == "text/html"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
    const DOCUMENT: (&str, &str) = ("sec-fetch-dest", "document");
    const EMPTY: (&str, &str) = ("sec-fetch-dest", "empty");
    const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
    const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

    #[test]
    fn a_person_goes_there_and_no_script_no_frame_and_no_forecast() {
        for (fields, goes) in [
            (&[NAVIGATE, DOCUMENT, CROSS, HTML][..], true),
            (&[NAVIGATE, DOCUMENT, ("sec-fetch-site", "none")], true),
            (&[NAVIGATE], true),
            // Passed on by a service worker.
            (&[NAVIGATE, EMPTY, CROSS, HTML], true),
            (&[NAVIGATE, EMPTY, ("sec-purpose", "prefetch")], false),
            (&[NAVIGATE, EMPTY, EMPTY], false),
            (&[("sec-fetch-mode", "same-origin"), EMPTY, HTML], false),
            (&[("sec-fetch-mode", "cors"), EMPTY, HTML], false),
            (&[EMPTY, HTML], false),
            (&[NAVIGATE, ("sec-fetch-dest", "iframe"), HTML], false),
            (&[NAVIGATE, ("sec-fetch-dest", "object"), HTML], false),
            (&[NAVIGATE, DOCUMENT, ("sec-purpose", "prefetch")], false),
            (&[NAVIGATE, DOCUMENT, ("sec-purpose", "prefetch;prerender")], false),
            (&[NAVIGATE, NAVIGATE, DOCUMENT], false),
            (&[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), HTML], false),
            (&[("sec-fetch-mode", "cors"), HTML], false),
            (&[CROSS, HTML], false),
            (&[HTML], true),
            (&[HTML, ("origin", "https://evil.example")], false),
            (&[("accept", "*/*")], false),
            (&[], false),
        ] {
            assert_eq!(goes_there(&headers(fields)), goes, "{fields:?}");
        }
    }

    #[test]
    fn a_browser_of_before_fetch_metadata_does_not_say_what_it_opens() {
        for (fields, says) in [
            (&[NAVIGATE, DOCUMENT, HTML][..], true),
            (&[NAVIGATE, EMPTY, HTML], true),
            // Chrome 76 to 79.
            (&[NAVIGATE, CROSS, HTML], false),
            (&[HTML], false),
        ] {
            assert_eq!(says_what_it_opens(&headers(fields)), says, "{fields:?}");
        }
    }

    #[test]
    fn a_navigation_that_a_worker_asks_for_may_have_begun_anywhere() {
        const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
        const BY_WORKER: (&str, &str) = ("sec-fetch-mode", "same-origin");
        const OURS: (&str, &str) = ("origin", "https://gate.example");
        const CHROMIUM: (&str, &str) = (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36",
        );
        const WEBKIT: (&str, &str) = (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/60.5 Safari/605.1.15",
        );
        for (what, fields, hides) in [
            ("Firefox", &[SAME, BY_WORKER, EMPTY, HTML, OURS][..], Ok(true)),
            ("Firefox, of a page that sends no referrer", &[SAME, BY_WORKER, EMPTY, HTML], Ok(true)),
            ("a fetch", &[SAME, BY_WORKER, EMPTY, ("accept", "*/*"), OURS], Ok(false)),
            ("a script of a worker", &[SAME, BY_WORKER, ("sec-fetch-dest", "worker"), HTML], Ok(false)),
            ("Chromium, by name", &[SAME, NAVIGATE, EMPTY, HTML, OURS, CHROMIUM], Ok(false)),
            ("Chromium, null", &[SAME, NAVIGATE, EMPTY, HTML, ("origin", "null"), CHROMIUM], Ok(true)),
            ("WebKit, by name", &[SAME, NAVIGATE, EMPTY, HTML, OURS, WEBKIT], Ok(true)),
            ("WebKit, null", &[SAME, NAVIGATE, EMPTY, HTML, ("origin", "null"), WEBKIT], Ok(true)),
            ("WebKit, a link", &[SAME, NAVIGATE, EMPTY, HTML, WEBKIT], Ok(true)),
            ("a browser without a name", &[SAME, NAVIGATE, EMPTY, HTML, OURS], Ok(true)),
            ("two names", &[NAVIGATE, EMPTY, OURS, CHROMIUM, WEBKIT], Err(TwoReadings)),
            ("a form", &[SAME, NAVIGATE, DOCUMENT, HTML, ("origin", "null")], Ok(false)),
            ("a script that loads a page", &[SAME, ("sec-fetch-mode", "cors"), EMPTY, HTML], Ok(false)),
            ("a browser of before", &[HTML], Ok(false)),
            ("two modes", &[BY_WORKER, NAVIGATE, EMPTY], Err(TwoReadings)),
            ("two destinations", &[BY_WORKER, EMPTY, DOCUMENT], Err(TwoReadings)),
            ("two origins", &[NAVIGATE, EMPTY, OURS, OURS], Err(TwoReadings)),
        ] {
            assert_eq!(hides_where_it_began(&headers(fields)), hides, "{what}");
        }
    }

    #[test]
    fn strict_cookies_may_be_withheld_where_another_site_had_a_part_in_it() {
        for (site, may) in
            [("cross-site", true), ("none", true), ("same-site", false), ("same-origin", false)]
        {
            assert_eq!(may_withhold_strict_cookies(&headers(&[("sec-fetch-site", site)])), may, "{site}");
        }
        assert!(!may_withhold_strict_cookies(&headers(&[])));
        assert!(!may_withhold_strict_cookies(&headers(&[CROSS, ("sec-fetch-site", "none")])));
    }

    #[test]
    fn a_navigation_is_told_apart_from_a_fetch() {
        for (name, value, navigation) in [
            ("sec-fetch-mode", "navigate", true),
            ("sec-fetch-mode", "cors", false),
            ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", true),
            ("accept", "application/json, text/html;q=0.5", true),
            ("accept", "*/*", false),
            ("accept", "text/html-like", false),
        ] {
            assert_eq!(is_navigation(&headers(&[(name, value)])), navigation, "{name}: {value}");
        }
        let fetch = headers(&[("sec-fetch-mode", "cors"), ("accept", "text/html")]);
        assert!(!is_navigation(&fetch), "what the browser says of itself counts first");
    }
}
