//! `routes[].sign_in`, `routes[].extends_session` — whose session cookie a route takes: of one client alone,
//! so that a request with two such cookies has one reading.

use crate::config::names::unknown;
use crate::config::routes::context::RouteContext;
use crate::config::settings::Client;
use crate::config::text::read::Keys;
use crate::core::request::Origin;
use crate::core::route::TakesSession;
use crate::core::route::policy::Access;
use crate::core::route::table::HostPattern;
use crate::core::session::csrf::Csrf;

/// The session of a route that takes only tokens which are bound to a key: none, as a session has no key to
/// prove.
pub(in crate::config) fn none(keys: &Keys<'_>, access: &Access) -> Option<TakesSession> {
    let of_public = ["clients"].into_iter().filter(|_| is_public(access));
    for key in ["sign_in", "extends_session"].into_iter().chain(of_public).filter(|key| keys.has(key)) {
        keys.wrong(
            key,
            "the route has `dpop: required`, and the browser of a session has no key to prove; remove this, or `dpop`",
        );
    }
    None
}

pub(in crate::config) fn read(
    keys: &Keys<'_>,
    around: &RouteContext<'_>,
    access: &Access,
    host: Option<&HostPattern>,
) -> Option<TakesSession> {
    let is_public = is_public(access);
    let taken: Vec<&Client> = around
        .pages
        .iter()
        .filter(|client| client.session.is_some() && access.takes(&client.issuer, &client.client_id))
        .collect();
    let named = keys.get("sign_in").is_some();
    if named {
        check_sign_in_host(keys, around, host);
    }
    let client = match (named, is_public) {
        (true, _) => signs_in(keys, around, &taken, is_public),
        (false, true) => of_public(keys, around, &taken),
        (false, false) => only(keys, &taken),
    };
    if let Some(client) = client.filter(|_| !named && !is_public) {
        warn_of_host(keys, around, host, client);
        warn_of_windows(keys, around, host, client);
    }
    let extends = keys.get("extends_session");
    let counts = extends.as_ref().is_none_or(crate::config::text::read::Value::flag);
    if let (Some(value), None, false) = (&extends, client, named) {
        value.wrong("means nothing here: the route takes no session cookie; remove it");
    }
    client.map(|client| TakesSession { client: client.name.clone(), signs_in: named, counts_as_use: counts })
}

fn is_public(access: &Access) -> bool {
    !matches!(access, Access::Protected(_))
}

/// The host of `public_url`, where a route is never asked there: the cookie of a sign-in is set at that host
/// and goes nowhere else.
fn out_of_reach<'a>(around: &RouteContext<'a>, host: Option<&HostPattern>) -> Option<&'a str> {
    let public = around.network.public_url.as_ref().map(Origin::host_name)?;
    host.filter(|host| !host.covers(public)).map(|_| public)
}

/// Whoever has a session there gets 401 with a `login_url` at each call, and a page that follows it comes
/// back to the same.
fn warn_of_host(keys: &Keys<'_>, around: &RouteContext<'_>, host: Option<&HostPattern>, client: &Client) {
    if let Some(public) = out_of_reach(around, host) {
        keys.warn(
            "host",
            format!(
                "the route takes the session of `{}`, but is of another `host` than `public_url` (`{public}`), and the session's cookie never comes there; serve it at that host, or name with `clients` whose tokens it takes",
                client.name
            ),
        );
    }
}

/// Warns for an application that knows nothing of the gateway, where no window that goes there passes.
fn warn_of_windows(keys: &Keys<'_>, around: &RouteContext<'_>, host: Option<&HostPattern>, client: &Client) {
    let by_metadata = client.session.as_ref().is_some_and(|mode| mode.csrf == Csrf::FetchMetadata);
    if by_metadata && out_of_reach(around, host).is_none() {
        keys.warn(
            "sign_in",
            format!(
                "the route takes the session of `{0}` (`csrf: fetch_metadata`) without `sign_in`, so every window that goes there is 403 for whoever is signed in; where it has pages, add `sign_in: {0}`",
                client.name
            ),
        );
    }
}

fn check_sign_in_host(keys: &Keys<'_>, around: &RouteContext<'_>, host: Option<&HostPattern>) {
    if let Some(public) = out_of_reach(around, host) {
        keys.wrong(
            "sign_in",
            format!("the route is of another `host` than `public_url` (`{public}`), and the session's cookie never comes there; serve the page at that host"),
        );
    }
}

/// The client that `sign_in` names.
fn signs_in<'a>(
    keys: &Keys<'_>,
    around: &RouteContext<'_>,
    taken: &[&'a Client],
    is_public: bool,
) -> Option<&'a Client> {
    let value = keys.get("sign_in")?;
    let name = value.text()?;
    if is_public {
        value.wrong("the route is `public`, so nobody is sent to sign in; remove this, or `public`");
        return None;
    }
    if !around.client_names.contains(&name.as_str()) {
        let message = unknown("client", &name, around.client_names.iter().copied());
        value.wrong(value.untold(&message, &name));
        return None;
    }
    let client = around.pages.iter().find(|client| client.name.as_str() == name);
    if client.is_some_and(|client| client.session.is_none()) || around.natives.contains(&name.as_str()) {
        value.wrong(format!(
            "the client `{name}` is not in `session` mode: its pages send an access token, which no navigation can; make it `mode: session`, or let the page be `public`"
        ));
        return None;
    }
    let taken = taken.iter().find(|client| client.name.as_str() == name).copied();
    if client.is_some() && taken.is_none() {
        value.wrong(format!("the route does not take the client `{name}` (see its `clients` and `issuers`)"));
    }
    taken
}

fn only<'a>(keys: &Keys<'_>, taken: &[&'a Client]) -> Option<&'a Client> {
    match taken {
        [] => None,
        [only] => Some(only),
        [first, ..] => {
            keys.wrong(
                "clients",
                format!(
                    "the route would take the session cookies of {}, and a request may bring several; single one out, like `clients: {}`, or with `sign_in`",
                    names(taken),
                    first.name
                ),
            );
            None
        }
    }
}

/// The client whose session says who calls where everybody passes: that which `clients` names, or the only
/// one. The tokens that count there, and the pages that may read answers, are those of every client.
fn of_public<'a>(keys: &Keys<'_>, around: &RouteContext<'_>, taken: &[&'a Client]) -> Option<&'a Client> {
    if keys.has("clients") {
        return named_on_public(keys, around, taken);
    }
    match taken {
        [] => None,
        [only] => Some(only),
        [first, ..] => {
            keys.warn(
                "public",
                format!(
                    "a request may bring the session cookies of {}, so none counts here and a session says of nobody who calls; where one is to, name its client, like `clients: {}`",
                    names(taken),
                    first.name
                ),
            );
            None
        }
    }
}

fn named_on_public<'a>(
    keys: &Keys<'_>,
    around: &RouteContext<'_>,
    taken: &[&'a Client],
) -> Option<&'a Client> {
    let named = keys.texts("clients")?;
    let [(value, name)] = named.as_slice() else {
        keys.wrong(
            "clients",
            "the route is `public`, where this names the one client in `session` mode whose cookie says who calls; name one, or remove it",
        );
        return None;
    };
    let has_no_session = around.natives.contains(&name.as_str())
        || around.pages.iter().any(|client| client.name.as_str() == name && client.session.is_none());
    if has_no_session {
        value.wrong(format!(
            "the route is `public`, which lets everybody pass; this names the client in `session` mode whose cookie says who calls, and `{name}` is not: remove this, or `public`"
        ));
    }
    taken.iter().find(|client| client.name.as_str() == name).copied()
}

fn names(clients: &[&Client]) -> String {
    clients.iter().map(|client| format!("`{}`", client.name)).collect::<Vec<_>>().join(" and ")
}
