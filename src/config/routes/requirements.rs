//! `routes[].require`: what a token must have, in one way or in one of several. What a list of claims says is
//! for `claims`.

use std::time::Duration;

use crate::config::routes::claims;
use crate::config::routes::context::RouteContext;
use crate::config::settings::Client;
use crate::config::text::read::{Keys, Value};
use crate::core::ids::IssuerName;
use crate::core::path::PathPattern;
use crate::core::route::policy::{Access, Alternatives, Requirements};
use crate::core::session::step_up::{LONGEST_ACR_VALUES, is_acr};

/// `path`: of the route. `issuers`, `clients`: whose tokens it takes, in whatever way they pass.
pub(in crate::config) fn read(
    keys: &Keys<'_>,
    path: Option<&PathPattern>,
    issuers: Option<&[IssuerName]>,
    clients: Option<&[(IssuerName, String)]>,
) -> Alternatives {
    if let Some(list) = keys.get("require").filter(Value::is_list) {
        check_list(&list);
    }
    let mut each = sections(keys).into_iter().map(|require| Requirements {
        issuers: issuers.map(<[_]>::to_vec),
        clients: clients.map(<[_]>::to_vec),
        ..one_way(&require, path)
    });
    let first = each.next().unwrap_or_default();
    Alternatives::new(first, each.collect())
}

/// An entry that asks for nothing would make the others idle.
fn check_list(list: &Value<'_>) {
    let entries = list.items();
    if entries.is_empty() {
        list.wrong(
            "the list is empty, so no token could pass; name what one must have, like `[{ scope: api:read }, { scope: admin }]`, \
             or remove the key, and any valid token passes",
        );
    }
    if entries.len() > 1 {
        for entry in entries.iter().filter(|entry| entry.is_empty_section()) {
            entry.wrong(
                "asks for nothing, so any valid token would pass, whatever the others ask for; fill it, or remove it",
            );
        }
    }
}

/// Where each way to pass is said; there is one at least.
pub(in crate::config) fn sections<'a>(keys: &Keys<'a>) -> Vec<Keys<'a>> {
    let said = keys.get("require").map(|value| value.alternatives()).unwrap_or_default();
    let said: Vec<Keys<'a>> = said.iter().filter_map(Value::keys).collect();
    if said.is_empty() { vec![keys.section("require")] } else { said }
}

fn one_way(require: &Keys<'_>, path: Option<&PathPattern>) -> Requirements {
    let scopes = |key| require.get(key).map(scope_values).unwrap_or_default();
    let (scope, any_scope) = (scopes("scope"), scopes("any_scope"));
    let claims = require.get("claims").map(|value| claims::read(&value, path)).unwrap_or_default();
    let acr = require.get("acr").as_ref().map(acr_values).unwrap_or_default();
    let within = require.get("signed_in_within");
    let bounds = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);
    let signed_in_within = within.and_then(|value| value.duration(bounds));
    Requirements { scope, any_scope, claims, acr, signed_in_within, issuers: None, clients: None }
}

/// Authentication contexts that somebody can sign in by. An authorization server is asked for all of them at
/// once, with a space between (OpenID Connect Core 1.0 section 3.1.2.1).
fn acr_values(value: &Value<'_>) -> Vec<String> {
    let mut read = Vec::new();
    for (item, text) in value.texts().unwrap_or_default() {
        if text.contains(' ') {
            item.wrong("has a space in it, by which authorization servers tell several apart, so none ever answers with it; write a list, like `[gold, silver]`");
        } else if !is_acr(&text) {
            item.wrong("has a character that is not visible ASCII, and no request can ask an authorization server for it (RFC 9470 section 3); write it as that server names it, like `urn:example:mfa`");
        }
        read.push(text);
    }
    read
}

/// What the gateway asks for where it signs people in has a longest list. `require`: where `required` stands;
/// `access`: of the route.
pub(in crate::config) fn check_length(
    require: &Keys<'_>,
    required: &Requirements,
    around: &RouteContext<'_>,
    access: &Access,
) {
    let bytes = required.acr.join(" ").len();
    let signs_in =
        |client: &&Client| client.login.is_some() && access.takes(&client.issuer, &client.client_id);
    if bytes <= LONGEST_ACR_VALUES {
        return;
    }
    if let Some(client) = around.pages.iter().find(signs_in) {
        require.wrong(
            "acr",
            format!(
                "its values have {bytes} bytes together, and {LONGEST_ACR_VALUES} can be asked for at a sign-in, which the gateway does for `{}`; name fewer, or let the route take other `clients`",
                client.name
            ),
        );
    }
}

/// Scope values (RFC 6749 section 3.3), as text with spaces or as a list.
pub(in crate::config) fn scope_values(value: Value<'_>) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for (item, text) in value.texts().unwrap_or_default() {
        let mut parts = text.split(' ').filter(|part| !part.is_empty()).peekable();
        if parts.peek().is_none() {
            item.wrong("is nothing but spaces; name a scope, or remove it");
        }
        for part in parts {
            let fits = part.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
            if !fits {
                item.wrong("a scope is printable ASCII without `\"` and `\\` (RFC 6749 section 3.3); separate several by spaces");
            } else if values.iter().any(|value| value == part) {
                item.wrong(item.untold(&format!("names the scope `{part}` twice; remove one"), &text));
            } else {
                values.push(part.to_owned());
            }
        }
    }
    values
}
