//! How somebody without a session, or with a sign-in that is too weak, comes to sign in. A person who opens a
//! page is taken there, and comes back to where they were. A script is told where that would be and never
//! redirected: it could only follow to a page that it cannot read. What a browser loads in advance begins no
//! sign-in: nobody asked for it.
//!
//! After a link from another site, or a chain of redirects that another site is part of, a browser withholds
//! `SameSite=Strict` cookies: whoever may come from there without a cookie may have one, and is asked once
//! more from a page of our own origin (RFC 6265bis section 5.2). That request is same-origin, so that there
//! is no third. It costs who types an address and is not signed in one page more, which nobody sees; not to
//! ask costs who is signed in another sign-in.

use http::{HeaderMap, HeaderName, Method, header};

use super::authorization::logout_path;
use super::csrf::is_page_load;
use super::fetch_metadata::PURPOSE;
use super::navigation::{asks_for_page, is_navigation, may_withhold_strict_cookies};
use crate::core::denial::Denial;
use crate::core::request::Origin;

/// Said by browsers before `Sec-Purpose`.
const OLD_PURPOSE: HeaderName = HeaderName::from_static("purpose");

/// A request that was refused for want of a session.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest<'a> {
    pub denial: &'a Denial,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// Its target, with its query.
    pub target: &'a [u8],
    /// The route is a page.
    pub signs_in: bool,
    /// The client's session cookie came along.
    pub brought_cookie: bool,
    /// That cookie is `SameSite=Strict`: others come along with every page load.
    pub cookie_is_strict: bool,
    /// It was asked where the gateway's own pages may sign the client's people out.
    pub may_sign_out: bool,
}

/// The way to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayIn {
    /// To the same target, from a page of our own.
    OnceMore(String),
    /// To sign-in, which is at `public_url` alone: a URL.
    SignIn(String),
    /// The same, for whoever is not sent there.
    Told(String),
    /// A sign-in would not mend it, because the person who is signed in may not; somebody else might, who
    /// signs in once they have signed out: the path of ours for the form that does so.
    AsAnother(String),
}

/// `None`: neither a sign-in nor another person would mend it. `own`: the gateway as browsers see it.
pub fn way_in(refused: RefusedRequest<'_>, client_id: &str, own: &Origin) -> Option<WayIn> {
    let headers = refused.headers;
    let is_page = refused.signs_in && is_page_load(refused.method, headers) == Ok(true);
    if !is_mended_by_sign_in(refused.denial) {
        let may_another = is_page && refused.brought_cookie && is_mended_by_another_person(refused.denial);
        return (may_another && refused.may_sign_out).then(|| WayIn::AsAnother(logout_path(client_id)));
    }
    let target = String::from_utf8_lossy(refused.target);
    if is_page && !is_in_advance(headers) {
        let is_withheld =
            refused.cookie_is_strict && !refused.brought_cookie && may_withhold_strict_cookies(headers);
        return Some(if is_withheld {
            WayIn::OnceMore(target.into_owned())
        } else {
            WayIn::SignIn(sign_in(own, client_id, Some(&target), refused.denial))
        });
    }
    // What else a script asks for is nothing to come back to.
    let asks_for_page = is_navigation(headers) || asks_for_page(headers);
    let is_its_page = refused.signs_in && refused.method.is_safe() && asks_for_page;
    if is_its_page {
        return Some(WayIn::Told(sign_in(own, client_id, Some(&target), refused.denial)));
    }
    login_url(refused.denial, headers, client_id, own).map(WayIn::Told)
}

/// The URL of the sign-in that a refused script is told: it leads back to the page of our own that the script
/// is of. `None`: a sign-in would not mend it. `headers`: the request's; `own`: as for [`way_in`].
pub fn login_url(denial: &Denial, headers: &HeaderMap, client_id: &str, own: &Origin) -> Option<String> {
    is_mended_by_sign_in(denial).then(|| sign_in(own, client_id, page_of(headers, own), denial))
}

const fn is_mended_by_sign_in(denial: &Denial) -> bool {
    matches!(denial, Denial::NotSignedIn { .. } | Denial::StepUp { .. })
}

/// Whoever opens the page with a session that lacks what it needs could do nothing else: the application that
/// would sign them out is what they may not open, and a sign-in finds the same person signed in.
const fn is_mended_by_another_person(denial: &Denial) -> bool {
    matches!(
        denial,
        Denial::InsufficientScope { .. } | Denial::ClaimMismatch { .. } | Denial::ClaimElsewhere { .. }
    )
}

/// `return_to`: else the sign-in leads to the client's pages, wherever they are.
fn sign_in(own: &Origin, client_id: &str, return_to: Option<&str>, denial: &Denial) -> String {
    let mut query = form_urlencoded::Serializer::new(format!("{}/oauth/login?", own.as_str()));
    query.append_pair("client_id", client_id);
    if let Some(return_to) = return_to {
        query.append_pair("return_to", return_to);
    }
    if let Denial::StepUp { acr_values, max_age } = denial {
        if !acr_values.is_empty() {
            query.append_pair("acr_values", &acr_values.join(" "));
        }
        if let Some(max_age) = max_age {
            query.append_pair("max_age", &max_age.as_secs().to_string());
        }
    }
    query.finish().replacen("?&", "?", 1)
}

/// The page of our own whose script asked, as a path, where the browser says so.
fn page_of<'a>(headers: &'a HeaderMap, own: &Origin) -> Option<&'a str> {
    let page = headers.get(header::REFERER)?.to_str().ok()?;
    page.strip_prefix(own.as_str()).filter(|path| path.starts_with('/'))
}

fn is_in_advance(headers: &HeaderMap) -> bool {
    [PURPOSE, OLD_PURPOSE]
        .iter()
        .flat_map(|name| headers.get_all(name))
        .any(|purpose| purpose.as_bytes().windows(8).any(|word| word == b"prefetch"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    const TARGET: &str = "/app/a%20b?x=1&y=%2F";
    const RETURN: &str = "client_id=0oa&return_to=%2Fapp%2Fa%2520b%3Fx%3D1%26y%3D%252F";
    const PAGE: [(&str, &str); 2] = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

    struct Asked<'a>(&'a Method, bool, bool, &'a [(&'static str, &'static str)]);

    fn of(denial: &Denial, asked: &Asked<'_>) -> Option<WayIn> {
        as_strict(denial, asked, true)
    }

    fn as_strict(denial: &Denial, asked: &Asked<'_>, cookie_is_strict: bool) -> Option<WayIn> {
        let Asked(method, signs_in, brought_cookie, fields) = *asked;
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let own = Origin::parse("https://gate.example").unwrap();
        let target = TARGET.as_bytes();
        let headers = &headers;
        let refused = RefusedRequest {
            denial,
            method,
            headers,
            target,
            signs_in,
            brought_cookie,
            cookie_is_strict,
            may_sign_out: true,
        };
        way_in(refused, "0oa", &own)
    }

    const NONE: Denial = Denial::NotSignedIn { ended: None };

    fn sign_in(more: &str) -> Option<WayIn> {
        Some(WayIn::SignIn(format!("https://gate.example/oauth/login?{RETURN}{more}")))
    }

    fn told(query: &str) -> Option<WayIn> {
        Some(WayIn::Told(format!("https://gate.example/oauth/login?{query}")))
    }

    #[test]
    fn a_person_who_opens_a_page_is_taken_to_sign_in_and_a_script_is_told_where_it_is() {
        let [mode, dest] = PAGE;
        let page = |more: (&'static str, &'static str)| [mode, dest, more];
        let (ours, cors) = (("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"));
        let (all, page_a) = (("accept", "*/*"), ("referer", "https://gate.example/app/a"));
        let get = &Method::GET;
        assert_eq!(of(&NONE, &Asked(get, true, false, &page(ours))), sign_in(""));
        assert_eq!(of(&NONE, &Asked(&Method::HEAD, true, false, &page(ours))), sign_in(""));
        for (what, asked, return_to) in [
            ("a fetch of the page", Asked(get, true, false, &[cors, ("accept", "text/html")]), RETURN),
            ("a fetch", Asked(get, true, false, &[cors, all, page_a]), "client_id=0oa&return_to=%2Fapp%2Fa"),
            ("a fetch that says not whose it is", Asked(get, true, false, &[cors, all]), "client_id=0oa"),
            ("no browser", Asked(get, true, false, &[]), "client_id=0oa"),
            ("a browser of old", Asked(get, true, false, &[("accept", "text/html")]), RETURN),
            ("in advance", Asked(get, true, false, &page(("sec-purpose", "prefetch;prerender"))), RETURN),
            ("in advance, of old", Asked(get, true, false, &page(("purpose", "prefetch"))), RETURN),
            ("a form", Asked(&Method::POST, true, false, &PAGE), "client_id=0oa"),
            ("an API", Asked(get, false, false, &PAGE), "client_id=0oa"),
            ("a frame", Asked(get, true, false, &[mode, ("sec-fetch-dest", "iframe")]), RETURN),
        ] {
            assert_eq!(of(&NONE, &asked), told(return_to), "{what}");
        }
    }

    #[test]
    fn whose_cookie_may_be_withheld_is_asked_once_more_from_a_page_of_ours_and_no_third_time() {
        let [mode, dest] = PAGE;
        let ended = Denial::NotSignedIn { ended: Some(crate::core::session_end::SessionEnd::IdleTimeout) };
        for (site, is_withheld) in
            [("cross-site", true), ("none", true), ("same-site", false), ("same-origin", false)]
        {
            let fields = [mode, dest, ("sec-fetch-site", site)];
            let without = Asked(&Method::GET, true, false, &fields);
            let once_more = Some(WayIn::OnceMore(TARGET.to_owned()));
            let expected = if is_withheld { once_more } else { sign_in("") };
            assert_eq!(of(&NONE, &without), expected, "{site}");
            assert_eq!(as_strict(&NONE, &without, false), sign_in(""), "{site}: others come along");
            assert_eq!(of(&ended, &Asked(&Method::GET, true, true, &fields)), sign_in(""), "{site}");
        }
        // A browser that could not say that it comes from a page of ours.
        assert_eq!(of(&NONE, &Asked(&Method::GET, true, false, &PAGE)), sign_in(""));
    }

    #[test]
    fn a_sign_in_that_is_too_weak_says_what_would_do() {
        let step_up = Denial::StepUp {
            acr_values: vec!["gold".to_owned(), "a+b".to_owned()],
            max_age: Some(Duration::from_secs(300)),
        };
        let more = "&acr_values=gold+a%2Bb&max_age=300";
        assert_eq!(of(&step_up, &Asked(&Method::GET, true, true, &PAGE)), sign_in(more));
        let asked = Asked(&Method::GET, true, true, &[]);
        assert_eq!(of(&step_up, &asked), told(&format!("client_id=0oa{more}")));
        let max_age = Denial::StepUp { acr_values: vec![], max_age: Some(Duration::ZERO) };
        assert_eq!(of(&max_age, &Asked(&Method::GET, true, true, &PAGE)), sign_in("&max_age=0"));
    }

    /// What `check` lets a route ask for.
    #[test]
    fn what_a_route_asks_for_is_read_as_that_where_the_sign_in_begins() {
        use crate::core::session::oauth::request::Parameters;
        use crate::core::session::step_up::{LONGEST_ACR_VALUES, StepUp, is_acr};
        let saml =
            ["PasswordProtectedTransport", "TimeSyncToken", "SmartcardPKI", "X509", "Kerberos", "TLSClient"];
        let saml = saml.map(|name| format!("urn:oasis:names:tc:SAML:2.0:ac:classes:{name}")).to_vec();
        for acr_values in [saml, vec!["~!\"\\%+&=".to_owned()], vec!["a".repeat(LONGEST_ACR_VALUES)], vec![]]
        {
            assert!(acr_values.iter().all(|acr| is_acr(acr)));
            for max_age in [Some(Duration::from_secs(366 * 86_400)), Some(Duration::from_secs(1)), None] {
                let denial = Denial::StepUp { acr_values: acr_values.clone(), max_age };
                let Some(WayIn::SignIn(url)) = of(&denial, &Asked(&Method::GET, true, true, &PAGE)) else {
                    panic!("not sent there")
                };
                let asked = Parameters::from_form(url.split_once('?').unwrap().1.as_bytes()).unwrap();
                let read = StepUp::read(asked.get("acr_values"), asked.get("max_age"));
                assert_eq!(read, Ok(StepUp { acr_values: acr_values.clone(), max_age }));
            }
        }
    }

    #[test]
    fn a_script_comes_back_to_its_own_page_where_that_is_ours_and_else_to_the_client_s_pages() {
        let to = |referrer| of(&NONE, &Asked(&Method::POST, false, false, &[("referer", referrer)]));
        let back = |path: &str| told(&format!("client_id=0oa&return_to={path}"));
        assert_eq!(to("https://gate.example/app?x=1"), back("%2Fapp%3Fx%3D1"));
        for elsewhere in
            ["https://evil.example/app", "https://gate.example.evil/app", "https://gate.example:1/", "/app"]
        {
            assert_eq!(to(elsewhere), told("client_id=0oa"), "{elsewhere}");
        }
        assert_eq!(of(&NONE, &Asked(&Method::POST, false, false, &[])), told("client_id=0oa"));
    }

    #[test]
    fn what_a_sign_in_does_not_mend_leads_nowhere() {
        for denial in [Denial::CrossSiteRequest, Denial::StoreUnavailable, Denial::TokenExpired] {
            assert_eq!(of(&denial, &Asked(&Method::GET, true, true, &PAGE)), None, "{denial:?}");
        }
    }

    #[test]
    fn who_is_signed_in_and_may_not_open_a_page_may_sign_out_there() {
        let get = &Method::GET;
        let out = Some(WayIn::AsAnother("/oauth/logout?client_id=0oa".to_owned()));
        for denial in [
            Denial::InsufficientScope { needed: vec![] },
            Denial::ClaimMismatch { claim: "groups".into() },
            Denial::ClaimElsewhere { claim: "groups".into() },
        ] {
            assert_eq!(of(&denial, &Asked(get, true, true, &PAGE)), out, "{denial:?}");
            for (what, asked) in [
                ("an API", Asked(get, false, true, &PAGE)),
                ("nobody's session", Asked(get, true, false, &PAGE)),
                ("a form", Asked(&Method::POST, true, true, &PAGE)),
                ("a script", Asked(get, true, true, &[("sec-fetch-mode", "cors")])),
            ] {
                assert_eq!(of(&denial, &asked), None, "{what}: {denial:?}");
            }
        }
    }
}
