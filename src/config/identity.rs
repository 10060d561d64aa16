//! `identity:` and `routes[].identity` — what tells the upstream who is calling. A header of either is
//! removed from every request that comes in, whatever its route, so none may be one that requests need, or
//! that means something to others.
//!
//! What a route says takes the place of what `identity` says under the same key: `headers` as a whole, the
//! keys of `assertion` one by one. The keys that sign are everybody's.

use std::time::Duration;

use http::HeaderName;

use crate::config::keys::assertion_keys;
use crate::config::settings::Identity;
use crate::config::text::read::{Keys, Value};
use crate::core::assertion::{AssertionRules, Binding};
use crate::core::identity_headers::{HeaderList, ReservedHeaders, WhichList};
use crate::core::route::identity::RouteIdentity;

/// Headers that HTTP (RFC 9110), browsers or the upstream need for something else, folded; beside
/// those that `core::identity_headers` reserves.
const TAKEN: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "dpop",
    "expect",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "te",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "www-authenticate",
];
const TAKEN_FAMILIES: &[&str] = &["sec-", "access-control-"];

/// Under these names oauth2-proxy tells upstreams who calls, so that many read them; no proxy sends them of
/// itself. They are reserved, as all of `X-Forwarded-*`, and may carry a claim.
const OF_OAUTH2_PROXY: [&str; 4] =
    ["x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username"];

const ASSERTION: HeaderName = HeaderName::from_static("x-auth-assertion");

const DEFAULT: [(HeaderName, &str); 4] = [
    (HeaderName::from_static("x-auth-subject"), "sub"),
    (HeaderName::from_static("x-auth-client"), "client_id"),
    (HeaderName::from_static("x-auth-scope"), "scope"),
    (HeaderName::from_static("x-auth-issuer"), "iss"),
];

/// What upstreams learn, while it is read: first `identity`, then route by route.
pub(super) struct Reading {
    identity: Identity,
    names: Names,
}

pub(super) fn read(root: &Keys<'_>) -> Reading {
    let keys = root.section("identity");
    let mut names = Names::default();
    let headers = match keys.get("headers") {
        Some(value) => headers(&value, &mut names),
        None => {
            let headers = DEFAULT.into_iter().map(|(name, claim)| (name, claim.to_owned()));
            headers.inspect(|(name, _)| names.note(name, Carries::Claim, "the default")).collect()
        }
    };
    let is_on = keys.has("assertion");
    let keys_of_it = keys.section("assertion");
    let rules = assertion(&keys_of_it, None, is_on, &mut names).filter(|_| is_on);
    let assertion_keys = keys_of_it.get("keys").map(|value| assertion_keys(&value)).unwrap_or_default();
    let default = RouteIdentity {
        headers: WhichList::default(),
        forwards_access_token: access_token(&keys, false),
        assertion: rules,
    };
    let assertion_keys = is_on.then_some(assertion_keys);
    Reading { identity: Identity { headers: vec![headers], default, assertion_keys }, names }
}

impl Reading {
    /// What the upstream of a route learns. `route`: its keys.
    pub(super) fn of_route(&mut self, route: &Keys<'_>) -> RouteIdentity {
        let keys = route.section("identity");
        let default = self.identity.default.clone();
        let headers = match keys.get("headers") {
            Some(value) => {
                let own = headers(&value, &mut self.names);
                self.list(own)
            }
            None => default.headers,
        };
        let forwards_access_token = access_token(&keys, default.forwards_access_token);
        let is_own = keys.get("assertion").is_some_and(|value| value.keys().is_some());
        let own = assertion(&keys.section("assertion"), default.assertion.as_ref(), is_own, &mut self.names);
        let assertion = match keys.get("assertion") {
            None => default.assertion,
            Some(_) if is_own => own,
            Some(value) => {
                value.word(&[("off", ())]);
                None
            }
        };
        if assertion.is_some() {
            self.identity.assertion_keys.get_or_insert_default();
        }
        RouteIdentity { headers, forwards_access_token, assertion }
    }

    /// Routes that say the same share it: each list is made of each token.
    fn list(&mut self, own: HeaderList) -> WhichList {
        let lists = &mut self.identity.headers;
        let at = lists.iter().position(|list| *list == own).unwrap_or_else(|| {
            lists.push(own);
            lists.len().saturating_sub(1)
        });
        WhichList::nth(at)
    }

    pub(super) fn finish(self) -> Identity {
        self.identity
    }
}

/// Whether some route of the file has assertions made, where `identity` has none.
pub(super) fn is_asserted_on_a_route(root: &Keys<'_>) -> bool {
    let Some(routes) = root.get("routes").filter(Value::is_list) else { return false };
    routes.items().iter().filter_map(Value::keys).any(|route| {
        route.section("identity").get("assertion").is_some_and(|assertion| assertion.keys().is_some())
    })
}

/// Whether the access token goes on.
fn access_token(keys: &Keys<'_>, default: bool) -> bool {
    keys.word("access_token", &[("strip", false), ("forward", true)], default)
}

/// `inherited`: what holds for keys that are not given.
fn assertion(
    keys: &Keys<'_>,
    inherited: Option<&AssertionRules>,
    is_on: bool,
    names: &mut Names,
) -> Option<AssertionRules> {
    let header = match keys.get("header") {
        None => Some(inherited.map_or(ASSERTION, |rules| rules.header.clone())),
        Some(value) => value.text().and_then(|text| own_header(&value, &text, Carries::Assertion)),
    };
    // One that is inherited was looked at where it stands.
    let is_named_here = keys.has("header") || inherited.is_none();
    if let Some(header) = header.as_ref().filter(|_| is_on && is_named_here) {
        let (key, place) = match keys.get("header") {
            Some(value) => ("header", value.place.to_string()),
            None => ("", keys.place.to_string()),
        };
        if let Some(other) = names.other_use(header, Carries::Assertion) {
            keys.wrong(key, format!("is one of the identity headers too ({other}); choose another name"));
        }
        names.note(header, Carries::Assertion, place);
    }
    let (ttl, binding) =
        inherited.map_or((Duration::from_secs(60), Binding::Upstream), |rules| (rules.ttl, rules.binding));
    let ttl = keys.duration("ttl", ttl, Duration::from_secs(10)..=Duration::from_secs(3600));
    let words = [("upstream", Binding::Upstream), ("request", Binding::Request)];
    let binding = keys.word("bind", &words, binding);
    header.map(|header| AssertionRules { header, ttl, binding })
}

/// What an upstream finds in a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    Claim,
    Assertion,
}

/// The names that are given out so far, folded, with where they stand. An upstream may be behind several
/// routes: what is a signed assertion on one must not be on another what a claim says, which may be of its
/// caller's choice.
#[derive(Default)]
struct Names(Vec<(String, Carries, String)>);

impl Names {
    fn note(&mut self, header: &HeaderName, carries: Carries, place: impl Into<String>) {
        self.0.push((fold(header.as_str()), carries, place.into()));
    }

    /// Where the name carries something else.
    fn other_use(&self, header: &HeaderName, carries: Carries) -> Option<&str> {
        let fold = fold(header.as_str());
        let other = self.0.iter().find(|(name, other, _)| *name == fold && *other != carries)?;
        Some(&other.2)
    }
}

/// A header that nobody needs for anything else.
fn own_header(value: &Value<'_>, written: &str, carries: Carries) -> Option<HeaderName> {
    let Ok(name) = written.parse::<HeaderName>() else {
        value.wrong("is not a header name; use letters, digits and `-`, like `X-Auth-Subject`");
        return None;
    };
    if carries == Carries::Claim && OF_OAUTH2_PROXY.contains(&name.as_str()) {
        return Some(name);
    }
    if is_taken(&fold(name.as_str())) {
        value.wrong("this header has another meaning; choose a name of its own, like `X-Auth-Subject`");
        return None;
    }
    Some(name)
}

/// Whether a header means something to HTTP, to Tollgate, or to others. `fold`: its name, folded.
pub(super) fn is_taken(fold: &str) -> bool {
    ReservedHeaders::new(std::iter::empty()).is_reserved(fold)
        || TAKEN.contains(&fold)
        || TAKEN_FAMILIES.iter().any(|family| fold.starts_with(family))
}

fn headers(value: &Value<'_>, names: &mut Names) -> HeaderList {
    let mut headers = HeaderList::new();
    let mut folded: Vec<(String, &str)> = Vec::new();
    for (written, value) in value.named("header") {
        if value.is_list() {
            value.wrong("is a list; a header holds one claim, name it");
            continue;
        }
        let Some(claim) = value.text() else { continue };
        let Some(name) = own_header(&value, written, Carries::Claim) else { continue };
        let fold = fold(name.as_str());
        if let Some((_, other)) = folded.iter().find(|(other, _)| *other == fold) {
            value.wrong(format!(
                "is the same as `{other}` to servers that read every sign as `-` and no case; keep one of the two"
            ));
            continue;
        }
        folded.push((fold, written));
        if let Some(other) = names.other_use(&name, Carries::Claim) {
            value.wrong(format!("is the header of an assertion too ({other}); choose another name"));
        }
        names.note(&name, Carries::Claim, value.place.to_string());
        headers.push((name, claim));
    }
    headers
}

/// As reserved names are compared: without case, every sign that is not a letter or digit a `-`.
pub(super) fn fold(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}
