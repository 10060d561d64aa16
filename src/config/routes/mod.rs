//! `routes:` — what is served, for whom, from where. Whether two routes can match one request is
//! decided by `core::route::table`; here its answer becomes two lines of the file.
//!
//! - `requirements`: what `require` says; `claims`: whom its claims could mean
//! - `holes`: what is not served; `paths`: `path`, `host`, and what an upstream gets of a path
//! - `resources`: what a route is called (RFC 9728); `sessions`: which cookie it takes
//! - `context`: what routes are read against

mod claims;
pub(in crate::config) mod context;
mod holes;
pub(in crate::config) mod paths;
pub(in crate::config) mod requirements;
mod resources;
mod sessions;

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, Method};

use self::context::RouteContext;
use self::holes::{hole, is_hole};
use self::resources::{resource, tell_resources_apart};
use crate::config::cors::Pages;
use crate::config::identity;
use crate::config::names::unknown;
use crate::config::network::networks;
use crate::config::sessions::NO_BODY;
use crate::config::settings::{Client, SessionMode, Upstream};
use crate::config::text::read::{Keys, Value};
use crate::config::upstreams::{self, Upstreams};
use crate::core::address::Networks;
use crate::core::cors::Sharing;
use crate::core::ids::{IssuerName, NO_ROUTE, RouteName};
use crate::core::path::PathPattern;
use crate::core::request::{METHODS, Origin};
use crate::core::route::forwarding::{Forwarding, SentPath};
use crate::core::route::policy::Access;
use crate::core::route::resource::Resource;
use crate::core::route::table::{HostPattern, RouteTable};
use crate::core::route::{Dpop, Route};

/// The routes in the file's order, and the upstreams that they lead to, each once.
pub(super) fn read(
    root: &Keys<'_>,
    around: &RouteContext<'_>,
    identity: &mut identity::Reading,
) -> (Vec<Arc<Route>>, Vec<Arc<Upstream>>) {
    let mut upstreams = Upstreams::read(root, around.network);
    let Some(list) = root.get("routes").filter(Value::is_list) else { return Default::default() };
    let items = list.items();
    if items.is_empty() {
        list.wrong("the list is empty, so everything would be 404; add a route");
    }
    let mut read: Vec<(Keys<'_>, Route)> = Vec::new();
    for item in items {
        let Some(keys) = item.keys() else { continue };
        if is_hole(&keys) {
            read.extend(hole(&keys).map(|hole| (keys, hole)));
            continue;
        }
        let said = identity.of_route(&keys);
        if let Some(mut route) = route(&keys, around, &mut upstreams) {
            route.forwarding.identity = said;
            read.push((keys, route));
        }
    }
    name_all(&mut read);
    tell_resources_apart(&read, around.network);
    let (places, routes): (Vec<Keys<'_>>, Vec<Arc<Route>>) =
        read.into_iter().map(|(keys, route)| (keys, Arc::new(route))).unzip();
    let table = RouteTable::build(&routes);
    if let Ok(table) = &table {
        paths::warn_of_hidden(table, &places, &routes);
        paths::warn_of_variants(table, &places, &routes);
    }
    for conflict in table.err().unwrap_or_default() {
        let (Some(first), Some(second)) = (places.get(conflict.first), places.get(conflict.second)) else {
            list.wrong(format!("two routes conflict: {}", conflict.why));
            continue;
        };
        let why = [conflict.first, conflict.second].into_iter().fold(conflict.why, |why, at| {
            places
                .get(at)
                .zip(routes.get(at))
                .map_or_else(String::new, |(keys, route)| untold(&why, keys, route))
        });
        for (one, other) in [(first, second), (second, first)] {
            let message = format!(
                "could match the same request as {}, and neither is more specific: {}; change or remove one",
                other.place, why
            );
            one.wrong("path", message);
        }
    }
    (routes, upstreams.finish())
}

/// A message about a route with what the file says of its path and host, where a variable holds them.
fn untold(message: &str, keys: &Keys<'_>, route: &Route) -> String {
    let path = Some(route.path.as_str().to_owned());
    let mut message = message.to_owned();
    for (key, text) in [("path", path), ("host", route.host.as_ref().map(host_text))] {
        if let (Some(value), Some(text)) = (keys.get(key), text) {
            message = value.untold(&message, &text);
        }
    }
    message
}

/// `name` is still empty where the file gives none.
fn route(keys: &Keys<'_>, around: &RouteContext<'_>, upstreams: &mut Upstreams<'_>) -> Option<Route> {
    let path = paths::read(keys);
    let given = keys.get("host").map(|value| paths::host(&value));
    let is_host_read = !matches!(given, Some(None));
    let host = given.flatten();
    let methods = methods(keys);
    let access = access(keys, around, path.as_ref());
    let from = from(keys);
    single_out(keys, around, &access);
    for (require, required) in requirements::sections(keys).iter().zip(access.alternatives()) {
        requirements::check_length(require, required, around, &access);
        claims::check_issuer_names(require, required, around.issuers);
        claims::warn_of_namesakes(require, required, around.issuers, &access);
    }
    let upstream = keys.get("to").and_then(|value| upstreams.to(&value, around.network));
    let case_sensitive = upstream.as_ref().is_some_and(|name| upstreams.is_case_sensitive(name));
    let forwarding = Forwarding { case_sensitive, ..forwarding(keys, path.as_ref()) };
    let name = keys.text("name").unwrap_or_default();
    let words = [("allowed", Dpop::Allowed), ("required", Dpop::Required)];
    let dpop = keys.word("dpop", &words, Dpop::Allowed);
    let (cors, pages) = around.cors.of_route(keys, &access);
    let report_only = keys.flag("report_only");
    if report_only {
        keys.warn(
            "report_only",
            "nobody is refused here for lack of a good token: such a request is reported and passes anonymously",
        );
    }
    let resource = match keys.get("resource") {
        // Where it must be follows from the host.
        Some(value) if is_host_read => resource(&value, host.as_ref(), &access, around),
        Some(_) => None,
        None => path.as_ref().map(Resource::of),
    };
    let session = match dpop {
        Dpop::Allowed => sessions::read(keys, around, &access, host.as_ref()),
        Dpop::Required => sessions::none(keys, &access),
    };
    let with_cookie = session.as_ref().and_then(|session| {
        around.pages.iter().find(|client| client.name == session.client)?.session.as_ref()
    });
    let sharing = sharing(
        around.pages.iter().filter(|client| access.takes(&client.issuer, &client.client_id)),
        with_cookie,
        pages,
    );
    is_host_read.then_some(())?;
    Some(Route {
        name: RouteName::new(name),
        path: path?,
        host,
        methods,
        access,
        from,
        session,
        report_only,
        dpop,
        resource: resource?,
        // One that cannot be used was told, and must not hide what else is wrong with this route.
        upstream,
        cors,
        sharing,
        forwarding,
    })
}

/// The pages of these clients, and `others` without cookies; where the cookie of `session` may be used, with
/// what that needs.
pub(super) fn sharing<'a>(
    clients: impl IntoIterator<Item = &'a Client>,
    session: impl IntoIterator<Item = &'a SessionMode>,
    others: Pages,
) -> Sharing {
    let mut csrf_headers: Vec<HeaderName> = Vec::new();
    for header in session.into_iter().map(|session| &session.csrf_header) {
        if !csrf_headers.contains(header) {
            csrf_headers.push(header.clone());
        }
    }
    let mut origins: Vec<Origin> = Vec::new();
    for origin in clients.into_iter().flat_map(|client| &client.origins) {
        if !origins.contains(origin) {
            origins.push(origin.clone());
        }
    }
    let Pages { origins: without_cookies, headers } = others;
    Sharing { origins, without_cookies, credentials: !csrf_headers.is_empty(), csrf_headers, headers }
}

fn methods(keys: &Keys<'_>) -> Option<Vec<Method>> {
    let words: Vec<(&str, usize)> =
        METHODS.iter().enumerate().map(|(at, method)| (method.as_str(), at)).collect();
    let texts = keys.texts("methods")?;
    let methods = texts.iter().filter_map(|(value, _)| METHODS.get(value.word(&words)?).cloned());
    Some(methods.collect())
}

/// How a permitted request is sent on.
fn forwarding(keys: &Keys<'_>, path: Option<&PathPattern>) -> Forwarding {
    let made = |key: &str, make: fn(&str, &PathPattern) -> Result<SentPath, String>| {
        let value = keys.get(key)?;
        let text = value.pattern()?;
        let untold = |why: String| {
            let why = value.untold(&why, &text);
            match keys.get("path").zip(path) {
                Some((value, path)) => value.untold(&why, path.as_str()),
                None => why,
            }
        };
        make(&text, path?).map_err(|why| value.wrong(untold(why))).ok()
    };
    let stripped = made("strip_prefix", SentPath::strip);
    let rewritten = made("rewrite", SentPath::rewrite);
    if keys.has("strip_prefix") && keys.has("rewrite") {
        keys.wrong("strip_prefix", "`rewrite` is given too, which says the whole path; remove one");
    }
    let body_limit = keys.get("body_limit").and_then(|value| value.size(0..=u64::MAX));
    if body_limit == Some(0) {
        keys.warn("body_limit", NO_BODY);
    }
    Forwarding {
        path: rewritten.or(stripped),
        timeouts: upstreams::timeouts(keys),
        body_limit,
        ..Forwarding::default()
    }
}

fn access(keys: &Keys<'_>, around: &RouteContext<'_>, path: Option<&PathPattern>) -> Access {
    let public = keys.flag("public");
    let issuers = issuers(keys, around);
    let clients = clients(keys, around, issuers.as_deref());
    let alternatives = requirements::read(keys, path, issuers.as_deref(), clients.as_deref());
    if !public {
        return Access::Protected(alternatives);
    }
    let wrong = |key, why: &str| {
        keys.wrong(
            key,
            format!("the route is `public`, which lets everybody pass{why}; remove this, or `public`"),
        );
    };
    if keys.has("require") {
        wrong("require", "");
    }
    match issuers {
        Some(issuers) if around.introspecting.len() > 1 => return Access::PublicOf(issuers),
        Some(_) => {
            wrong(
                "issuers",
                ", and no two issuers are asked about opaque tokens, between which it would choose",
            );
        }
        None => {}
    }
    Access::Public
}

/// Where its clients must be, whatever else is required of them.
fn from(keys: &Keys<'_>) -> Option<Networks> {
    let every =
        "every address of its family is in it, so it lets in anybody; name a smaller one, or remove it";
    keys.has("from").then(|| Networks::new(networks(keys, "from", every)))
}

/// An opaque token does not say whose it is, and is shown to one authorization server alone.
fn single_out(keys: &Keys<'_>, around: &RouteContext<'_>, access: &Access) {
    let asked: Vec<String> = around
        .introspecting
        .iter()
        .filter(|issuer| access.takes_issuer(issuer))
        .map(|issuer| format!("`{issuer}`"))
        .collect();
    if let [first, _, ..] = asked.as_slice() {
        keys.wrong(
            "issuers",
            format!(
                "an opaque token could be of {}: it does not say, and must not be shown to an authorization server that \
                 did not issue it; this route must single one out, like `issuers: {}`",
                asked.join(" or "),
                first.trim_matches('`'),
            ),
        );
    }
}

fn issuers(keys: &Keys<'_>, around: &RouteContext<'_>) -> Option<Vec<IssuerName>> {
    let texts = keys.texts("issuers")?;
    for (value, name) in &texts {
        if !around.issuer_names.contains(&name.as_str()) {
            let message = unknown("issuer", name, around.issuer_names.iter().copied());
            value.wrong(value.untold(&message, name));
        }
    }
    Some(texts.into_iter().map(|(_, name)| IssuerName::new(name)).collect())
}

fn clients(
    keys: &Keys<'_>,
    around: &RouteContext<'_>,
    issuers: Option<&[IssuerName]>,
) -> Option<Vec<(IssuerName, String)>> {
    let mut clients = Vec::new();
    for (value, name) in keys.texts("clients")? {
        if !around.client_names.contains(&name.as_str()) {
            let message = unknown("client", &name, around.client_names.iter().copied());
            value.wrong(value.untold(&message, &name));
        }
        let found = around.clients.iter().find(|(other, ..)| *other == name);
        let Some((_, issuer, client_id)) = found else { continue };
        if issuers.is_some_and(|issuers| !issuers.contains(issuer)) {
            value.wrong(format!("the client `{name}` belongs to the issuer `{issuer}`, which `issuers` of this route leaves out"));
        }
        clients.push((issuer.clone(), client_id.clone()));
    }
    Some(clients)
}

/// Gives every route a name of its own: metrics and logs tell routes apart by it.
fn name_all(routes: &mut [(Keys<'_>, Route)]) {
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut sharing: HashMap<String, usize> = HashMap::new();
    for (index, (keys, route)) in routes.iter().enumerate() {
        *sharing.entry(route.path.as_str().to_owned()).or_default() += 1;
        let name = route.name.as_str();
        if is_of_tollgate(name) {
            keys.wrong("name", "so metrics and the log call requests that find no route, or those at Tollgate's own paths; give the route another name");
        }
        if !name.is_empty() && taken.insert(name.to_owned(), index).is_some() {
            keys.wrong("name", "another route is called so too; names are unique");
        }
    }
    for (index, (_, route)) in routes.iter_mut().enumerate() {
        if !route.name.as_str().is_empty() {
            continue;
        }
        let pattern = route.path.as_str().to_owned();
        let shared = sharing.get(&pattern).is_some_and(|count| *count > 1);
        let mut label = if shared { long_label(route) } else { pattern };
        while taken.contains_key(&label) {
            label = format!("{label} #{}", index + 1);
        }
        taken.insert(label.clone(), index);
        route.name = RouteName::new(label);
    }
}

/// Whether metrics and the log say it of requests that find no route, or of those at Tollgate's own paths.
fn is_of_tollgate(name: &str) -> bool {
    name == NO_ROUTE || PathPattern::parse(name).is_ok_and(|path| path.covers_own_paths())
}

/// `GET,POST api.example.com/x/*`
fn long_label(route: &Route) -> String {
    let methods: Vec<&str> = route.methods.iter().flatten().map(Method::as_str).collect();
    let host = route.host.as_ref().map(host_text).unwrap_or_default();
    let space = if methods.is_empty() { "" } else { " " };
    format!("{}{space}{host}{}", methods.join(","), route.path.as_str())
}

fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Below(domain) => format!("*.{domain}"),
    }
}
