//! `cors:` and `routes[].cors` — who answers preflights, and which headers pages of listed origins may send
//! beside those that they always may. What they do send passes no gate by that: a header that Tollgate
//! reserves is removed all the same.

use std::cell::RefCell;

use http::HeaderName;

use crate::config::read::{Keys, Value};
use crate::config::tree::Place;
use crate::core::cors::is_always_allowed;
use crate::core::identity_headers::ReservedHeaders;
use crate::core::route::CorsSpeaker;

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

/// The headers that pages may send, while they are read: first those of `cors`, then route by route.
#[derive(Default)]
pub(super) struct Allowed {
    everywhere: Vec<HeaderName>,
    noted: RefCell<Vec<(Place, HeaderName)>>,
}

impl Allowed {
    pub(super) fn read(root: &Keys<'_>) -> Self {
        let mut allowed = Self::default();
        allowed.everywhere = allowed.headers(&root.section("cors"));
        allowed
    }

    /// Those of every route, and of Tollgate's own endpoints.
    pub(super) fn everywhere(&self) -> &[HeaderName] {
        &self.everywhere
    }

    /// Who speaks CORS on a route, and all that its pages may send in addition.
    pub(super) fn of_route(&self, route: &Keys<'_>) -> (CorsSpeaker, Vec<HeaderName>) {
        let words = [("gateway", CorsSpeaker::Gateway), ("upstream", CorsSpeaker::Upstream)];
        let Some(value) = route.get("cors") else { return (CorsSpeaker::Gateway, self.everywhere.clone()) };
        let Some(keys) = value.keys() else {
            return (value.word(&words).unwrap_or(CorsSpeaker::Gateway), self.everywhere.clone());
        };
        let mut headers = self.everywhere.clone();
        headers.extend(self.headers(&keys).into_iter().filter(|own| !self.everywhere.contains(own)));
        (CorsSpeaker::Gateway, headers)
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

fn header(value: &Value<'_>, text: &str) -> Option<HeaderName> {
    if text == "*" {
        value.wrong(
            "stands for no header where a request has credentials (Fetch Standard section 3.3); list the names, like `[If-Match]`",
        );
        return None;
    }
    let Ok(name) = text.parse::<HeaderName>() else {
        value.wrong("is no header name; use letters, digits and `-`, like `If-Match`");
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
