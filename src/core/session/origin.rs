//! Whether a request may use a cookie of ours, or have one set, for `POST` and `DELETE /oauth/token`, and for
//! `POST /oauth/logout`.
//!
//! It passes with a listed `Origin`, or from the gateway's own pages where the gateway's own origin is
//! listed: `Sec-Fetch-Site: same-origin` (Fetch Metadata) and no `Origin`, or `null`. A navigation passes
//! nowhere but at the sign-out: a form on a foreign site could plant a session otherwise. One that a service
//! worker may have taken from such a form passes nowhere. Decided before any store or authorization server is
//! asked.

use http::{HeaderMap, header};

use crate::core::denial::Denial;
use crate::core::request::Origin;
use crate::core::session::fetch_metadata::{MODE, SITE, TwoReadings, only};
use crate::core::session::navigation::hides_where_it_began;

/// `listed`: the client's origins. `own`: the gateway as browsers see it; `None`: it was asked at another
/// host.
///
/// # Errors
/// [`Denial::OriginNotAllowed`] for everything that is not known to come from a listed origin.
pub fn may_touch_cookie(headers: &HeaderMap, listed: &[Origin], own: Option<&Origin>) -> Result<(), Denial> {
    let mode = only(headers, &MODE).map_err(denied)?;
    if mode.is_some_and(|mode| mode.eq_ignore_ascii_case(b"navigate")) {
        return Err(Denial::OriginNotAllowed);
    }
    may_sign_out(headers, listed, own)
}

/// The same for `POST /oauth/logout`, where a form of the client's own pages may lead too: a sign-out plants
/// nothing.
///
/// # Errors
/// As [`may_touch_cookie`].
pub fn may_sign_out(headers: &HeaderMap, listed: &[Origin], own: Option<&Origin>) -> Result<(), Denial> {
    if hides_where_it_began(headers).map_err(denied)? {
        return Err(Denial::OriginNotAllowed);
    }
    let site = only(headers, &SITE).map_err(denied)?;
    let passes = match only(headers, &header::ORIGIN).map_err(denied)? {
        origin @ (None | Some(b"null")) => is_same_origin(origin, site, listed, own),
        Some(origin) => listed.iter().any(|listed| listed.is_sent_as(origin)),
    };
    if passes { Ok(()) } else { Err(Denial::OriginNotAllowed) }
}

const fn denied(_: TwoReadings) -> Denial {
    Denial::OriginNotAllowed
}

/// Whether a page of the gateway's own origin asks, and that is among the client's. Browsers leave `Origin`
/// out of such a request, or send `null` where the page says `no-referrer`. To another host of the gateway's,
/// same-origin are the pages of that host.
pub(super) fn is_same_origin(
    origin: Option<&[u8]>,
    site: Option<&[u8]>,
    listed: &[Origin],
    own: Option<&Origin>,
) -> bool {
    let is_own_listed = own.is_some_and(|own| listed.contains(own));
    matches!(origin, None | Some(b"null")) && site == Some(b"same-origin") && is_own_listed
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// What it is, the listed origins, the headers, and whether it passes.
    type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'static str, &'static str)], bool);

    const OWN: &str = "http://localhost:8080";
    const APP: &str = "https://app.example";

    fn passes(listed: &[&str], headers: &[(&'static str, &'static str)]) -> bool {
        let listed: Vec<_> = listed.iter().map(|text| Origin::parse(text).unwrap()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        may_touch_cookie(&map, &listed, Some(&Origin::parse(OWN).unwrap())).is_ok()
    }

    #[test]
    fn only_pages_of_a_listed_origin_pass() {
        let same = ("sec-fetch-site", "same-origin");
        let cross = ("sec-fetch-site", "cross-site");
        let cors = ("sec-fetch-mode", "cors");
        let (by_worker, empty) = (("sec-fetch-mode", "same-origin"), ("sec-fetch-dest", "empty"));
        let html = ("accept", "text/html,*/*;q=0.8");
        let rows: &[Row<'_>] = &[
            ("own page, fetch", &[OWN], &[same, cors, ("origin", OWN)], true),
            ("own page, no Origin", &[OWN], &[same, cors], true),
            ("own page, null Origin", &[OWN], &[same, cors, ("origin", "null")], true),
            ("own page without metadata", &[OWN], &[("origin", OWN)], true),
            ("own page, own origin not listed", &[APP], &[same, cors, ("origin", OWN)], false),
            ("own page, own origin not listed, no Origin", &[APP], &[same, cors], false),
            ("listed origin on another site", &[APP], &[cross, cors, ("origin", APP)], true),
            (
                "listed origin, spelt as no browser does",
                &[APP],
                &[("origin", "https://APP.example:443")],
                false,
            ),
            ("foreign origin", &[APP], &[cross, cors, ("origin", "https://evil.example")], false),
            ("listed name, other scheme", &[APP], &[cross, cors, ("origin", "http://app.example")], false),
            (
                "listed name, other port",
                &[APP],
                &[cross, cors, ("origin", "https://app.example:8443")],
                false,
            ),
            ("longer name", &[APP], &[("origin", "https://app.example.evil.example")], false),
            ("null from another site", &[OWN], &[cross, cors, ("origin", "null")], false),
            ("same site, other origin", &[OWN], &[("sec-fetch-site", "same-site"), cors], false),
            ("typed by the user", &[OWN], &[("sec-fetch-site", "none")], false),
            ("nothing at all", &[OWN], &[], false),
            ("null and no metadata", &[OWN], &[("origin", "null")], false),
            (
                "form of a foreign page",
                &[OWN],
                &[cross, ("sec-fetch-mode", "navigate"), ("origin", "null")],
                false,
            ),
            ("form of our own page", &[OWN], &[same, ("sec-fetch-mode", "navigate"), ("origin", OWN)], false),
            (
                "own page, fetch of its own origin alone",
                &[OWN],
                &[same, by_worker, empty, ("accept", "*/*"), ("origin", OWN)],
                true,
            ),
            (
                "form of any page, by way of a worker",
                &[OWN],
                &[same, by_worker, empty, html, ("origin", OWN)],
                false,
            ),
            ("the same, no Origin", &[OWN], &[same, by_worker, empty, html], false),
            ("two Origins", &[APP], &[("origin", APP), ("origin", APP)], false),
            ("two sites", &[OWN], &[same, cross], false),
            ("Origin with a path", &[APP], &[("origin", "https://app.example/")], false),
        ];
        for (what, listed, headers, expected) in rows {
            assert_eq!(passes(listed, headers), *expected, "{what}");
        }
    }

    #[test]
    fn a_form_of_a_listed_origin_may_sign_out_and_no_other() {
        let form = ("sec-fetch-mode", "navigate");
        let (same, cross) = (("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site"));
        let (empty, html) = (("sec-fetch-dest", "empty"), ("accept", "text/html,*/*;q=0.8"));
        let chromium = ("user-agent", "Mozilla/5.0 AppleWebKit/537.36 Chrome/148.0.0.0 Safari/537.36");
        let webkit = ("user-agent", "Mozilla/5.0 AppleWebKit/605.1.15 Version/26.0 Safari/605.1.15");
        for (listed, headers, expected) in [
            (&[OWN][..], &[same, form, ("origin", OWN)][..], true),
            (&[OWN], &[same, form, ("origin", "null")], true),
            (&[APP], &[cross, form, ("origin", APP)], true),
            (&[OWN], &[cross, form, ("origin", "null")], false),
            (&[OWN], &[cross, form, ("origin", APP)], false),
            (&[APP], &[same, form], false),
            (&[OWN], &[("sec-fetch-site", "none"), form], false),
            (&[OWN], &[], false),
            // By way of a service worker: Chromium names who sends it, Firefox the worker, WebKit either.
            (&[OWN], &[same, form, empty, html, ("origin", OWN), chromium], true),
            (&[OWN], &[same, form, empty, html, ("origin", OWN), webkit], false),
            (&[OWN], &[same, form, empty, html, ("origin", APP), chromium], false),
            (&[OWN], &[same, form, empty, html, ("origin", "null")], false),
            (&[OWN], &[same, ("sec-fetch-mode", "same-origin"), empty, html, ("origin", OWN)], false),
        ] {
            let listed: Vec<_> = listed.iter().map(|text| Origin::parse(text).unwrap()).collect();
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            let own = Origin::parse(OWN).unwrap();
            assert_eq!(may_sign_out(&map, &listed, Some(&own)).is_ok(), expected, "{headers:?}");
        }
    }

    #[test]
    fn at_another_host_of_the_gateway_same_origin_is_not_our_own() {
        let listed = [Origin::parse(OWN).unwrap()];
        for (origin, at_ours, elsewhere) in
            [(None, true, false), (Some("null"), true, false), (Some(OWN), true, true)]
        {
            let mut map = HeaderMap::new();
            map.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
            if let Some(origin) = origin {
                map.insert("origin", HeaderValue::from_static(origin));
            }
            let passes = |own| may_touch_cookie(&map, &listed, own).is_ok();
            assert_eq!((passes(Some(&listed[0])), passes(None)), (at_ours, elsewhere), "{origin:?}");
            let passes = |own| may_sign_out(&map, &listed, own).is_ok();
            assert_eq!((passes(Some(&listed[0])), passes(None)), (at_ours, elsewhere), "{origin:?}");
        }
    }
}
