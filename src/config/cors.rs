//! `cors:` and `routes[].cors` — who answers preflights, which pages beside those of clients may read
//! answers, and which headers pages may send beside those that they always may. What they do send passes no
//! gate by that: a header that Tollgate reserves is removed all the same, and a cookie needs a client that
//! lists the page's origin.

use std::cell::RefCell;

use http::HeaderName;

use crate::config::network::{is_loopback, origin, origin_url, refuse_clear_text};
use crate::config::text::read::{Keys, Value};
use crate::config::text::tree::Place;
use crate::core::cors::is_always_allowed;
use crate::core::cors::page_pattern::PagePattern;
use crate::core::identity_headers::ReservedHeaders;
use crate::core::request::Origin;
use crate::core::route::CorsSpeaker;
use crate::core::route::policy::Access;

/// What no page can set (Fetch Standard section 2.2.2, forbidden request-header), beside the families below.
const OF_BROWSERS: [&str; 19] = [
    "accept-charset",
    "accept-encoding",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "date",
    "dnt",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
const FAMILIES_OF_BROWSERS: [&str; 3] = ["sec-", "proxy-", "access-control-"];

const RIGHT: &str = "write it like `https://app.example.com`, without path or `/` at its end";

/// What pages may do beside what a client allows its own.
#[derive(Clone, Default)]
pub(super) struct Pages {
    /// Who may read answers, without cookies.
    pub(super) origins: Vec<PagePattern>,
    /// What they may send.
    pub(super) headers: Vec<HeaderName>,
}

/// What pages may do, while it is read: first what `cors` says, then route by route.
#[derive(Default)]
pub(super) struct Allowed {
    everywhere: Pages,
    noted: RefCell<Vec<(Place, HeaderName)>>,
}

impl Allowed {
    pub(super) fn read(root: &Keys<'_>) -> Self {
        let mut allowed = Self::default();
        let keys = root.section("cors");
        let why_not = "stands for every page, and only a route that is `public` can be for those: write it there, like `cors: { origins: \"*\" }`, and list origins here";
        allowed.everywhere = Pages { origins: origins(&keys, Err(why_not)), headers: allowed.headers(&keys) };
        allowed
    }

    /// What is so on every route.
    pub(super) fn everywhere(&self) -> &Pages {
        &self.everywhere
    }

    /// Who speaks CORS on a route, and all that its pages may in addition.
    pub(super) fn of_route(&self, route: &Keys<'_>, access: &Access) -> (CorsSpeaker, Pages) {
        let words = [("gateway", CorsSpeaker::Gateway), ("upstream", CorsSpeaker::Upstream)];
        let mut pages = self.everywhere.clone();
        let Some(value) = route.get("cors") else { return (CorsSpeaker::Gateway, pages) };
        let Some(keys) = value.keys() else {
            return (value.word(&words).unwrap_or(CorsSpeaker::Gateway), pages);
        };
        let everybody = match access {
            _ if route.has("from") => Err(
                "stands for every page, and the route is only for some addresses (`from`): any page could read it through the browser of somebody there; list the origins of the pages that may",
            ),
            Access::Public | Access::PublicOf(_) => Ok(()),
            Access::Protected(_) => Err(
                "stands for every page, and the route is not `public`: its answers are for whoever has a token; list the origins of the pages that may have one",
            ),
        };
        let own = Pages { origins: origins(&keys, everybody), headers: self.headers(&keys) };
        pages.origins.extend(own.origins.into_iter().filter(|own| !self.everywhere.origins.contains(own)));
        pages.headers.extend(own.headers.into_iter().filter(|own| !self.everywhere.headers.contains(own)));
        (CorsSpeaker::Gateway, pages)
    }

    fn headers(&self, keys: &Keys<'_>) -> Vec<HeaderName> {
        let mut headers: Vec<HeaderName> = Vec::new();
        for (value, text) in keys.texts("headers").unwrap_or_default() {
            let Some(name) = header(&value, &text) else { continue };
            if !headers.contains(&name) {
                self.noted.borrow_mut().push((value.place, name.clone()));
                headers.push(name);
            }
        }
        headers
    }

    /// Whether what was read would reach an upstream. `reserved`: with the identity headers of every route,
    /// and Tollgate's own for every upstream.
    pub(super) fn check(&self, root: &Keys<'_>, reserved: &ReservedHeaders) {
        for (place, _) in self.noted.borrow().iter().filter(|(_, name)| reserved.is_reserved(name.as_str())) {
            root.wrong_at(
                place,
                "is removed from every request, because it tells upstreams who calls (`identity`), or is Tollgate's own for one \
                 (`headers` of an upstream); remove it here, or choose another name there",
            );
        }
    }
}

/// `everybody`: whether all pages may be meant, or why not.
fn origins(keys: &Keys<'_>, everybody: Result<(), &str>) -> Vec<PagePattern> {
    let texts = keys.texts("origins").unwrap_or_default();
    let mut origins = Vec::new();
    for (value, text) in &texts {
        let pattern = match (text.as_str(), everybody) {
            ("*", Err(why)) => {
                value.wrong(why);
                None
            }
            ("*", Ok(())) => {
                if texts.len() > 1 {
                    value.wrong("stands for every page, so the others in this list mean nothing; remove them, or this");
                }
                Some(PagePattern::EVERYBODY)
            }
            (text, _) => page_pattern(value, text),
        };
        origins.extend(pattern.filter(|pattern| !origins.contains(pattern)));
    }
    origins
}

fn page_pattern(value: &Value<'_>, text: &str) -> Option<PagePattern> {
    let Some((pattern, one)) = PagePattern::parse(text) else {
        if text.contains('*') {
            value.wrong("a `*` stands for one whole label at the left of a host, like `https://*.preview.example.com`, without path or `/` at its end");
            return None;
        }
        origin(value, text, RIGHT)?;
        return None;
    };
    refuse_clear_text(value, &one);
    if pattern.is_wildcard() && !is_below_a_domain(&one) {
        value.wrong("a `*` right below a top-level domain stands for whoever registers a name there; write one below your own, like `https://*.preview.example.com`");
    }
    Some(pattern)
}

/// Whether a name is below another that has two labels, or is this machine's.
fn is_below_a_domain(origin: &Origin) -> bool {
    let labels = origin.host_name().split('.').filter(|label| !label.is_empty()).count();
    labels > 2 || origin_url(origin).is_some_and(|url| is_loopback(&url))
}

fn header(value: &Value<'_>, text: &str) -> Option<HeaderName> {
    if text == "*" {
        value.wrong(
            "stands for no header where a request has credentials (Fetch Standard section 3.3); list the names, like `[If-Match]`",
        );
        return None;
    }
    let Ok(name) = text.parse::<HeaderName>() else {
        value.wrong("is not a header name; use letters, digits and `-`, like `If-Match`");
        return None;
    };
    let why = if is_always_allowed(&name) {
        "may be sent without being listed; remove it"
    } else if is_of_browsers(name.as_str()) {
        "is the browser's own and set by no page (Fetch Standard, forbidden request-header); remove it"
    } else if ReservedHeaders::new(std::iter::empty()).is_reserved(name.as_str()) {
        "is Tollgate's own and removed from every request, so no upstream would get it; remove it"
    } else {
        return Some(name);
    };
    value.wrong(why);
    None
}

fn is_of_browsers(name: &str) -> bool {
    OF_BROWSERS.contains(&name) || FAMILIES_OF_BROWSERS.iter().any(|family| name.starts_with(family))
}
