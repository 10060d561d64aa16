//! `routes[].require.claims`: what a token must say, by its own words or by the request's path.
//!
//! Who somebody is, only their issuer can say: `sub` is unique at its issuer and nowhere else (RFC 7519
//! section 4.1.2). So a route that takes tokens of several issuers and asks who somebody is gets a warning.

use crate::config::settings::Issuer;
use crate::config::text::read::{Keys, Value};
use crate::core::path::PathPattern;
use crate::core::route::policy::{Access, ClaimRequirement, ClaimValue, Requirements};
use crate::core::token::json::is_exact;

/// `path`: of the route.
pub(in crate::config) fn read(value: &Value<'_>, path: Option<&PathPattern>) -> Vec<ClaimRequirement> {
    let mut claims = Vec::new();
    let named = value.named("claim");
    if named.is_empty() && value.keys().is_some() {
        value.wrong("names no claim; name one, or remove it");
    }
    for (name, value) in named {
        if name.is_empty() {
            value.wrong("a claim needs a name");
        }
        let items = value.items();
        if items.is_empty() {
            value.wrong("the list is empty, so no token could pass; fill it, or remove it");
        }
        let values = items.iter().filter_map(|item| claim_value(item, path)).collect();
        claims.push(ClaimRequirement { name: name.to_owned(), values });
    }
    claims
}

fn claim_value(value: &Value<'_>, path: Option<&PathPattern>) -> Option<ClaimValue> {
    if let Some(literal) = value.literal() {
        if literal.as_number().is_some_and(|number| !is_exact(number)) {
            value.wrong("no token could pass: a number so large loses digits wherever JSON is read; claims are compared with whole numbers of 64 bits, or with text");
        }
        return Some(ClaimValue::Literal(literal));
    }
    // What a variable holds is never a parameter: braces count where they stand in the file.
    let parameter = value.written().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(name) = parameter else {
        let text = value.text()?;
        let inside = value.written().replace("${", "");
        if inside.contains('{') {
            value.wrong("mixes a parameter with other text; `\"{name}\"` must stand alone");
        }
        return Some(ClaimValue::Literal(text.into()));
    };
    let known: Vec<&str> = path.map(|path| path.parameters().collect()).unwrap_or_default();
    if path.is_some() && !known.contains(&name) {
        let names: Vec<String> = known.iter().map(|name| format!("`{{{name}}}`")).collect();
        let has = if names.is_empty() { "no parameter".to_owned() } else { names.join(", ") };
        value.wrong(format!("`path` has no `{{{name}}}`; it has {has}"));
    }
    Some(ClaimValue::PathParameter(name.to_owned()))
}

/// Routes see an issuer by its one name, whatever its access tokens say (`core::token::issuer`). `require`:
/// where `required` stands.
pub(in crate::config) fn check_issuer_names(require: &Keys<'_>, required: &Requirements, issuers: &[Issuer]) {
    let other_name = |value: &ClaimValue| match value {
        ClaimValue::Literal(literal) => {
            let iss = literal.as_str()?;
            let rules = issuers.iter().map(|issuer| &issuer.rules).find(|rules| rules.is_called(iss))?;
            (rules.iss != iss).then(|| (iss.to_owned(), rules))
        }
        ClaimValue::PathParameter(_) => None,
    };
    for claim in required.claims.iter().filter(|claim| claim.name == "iss") {
        let others: Vec<_> = claim.values.iter().filter_map(other_name).collect();
        let alone = if others.len() == claim.values.len() { ", so no token could pass" } else { "" };
        for (iss, rules) in others {
            require.section("claims").wrong(
                "iss",
                format!(
                    "`{iss}` matches no token{alone}: what stands in `access_token_issuer` of the issuer `{0}` counts as its `url` from \
                     here on; write that, or `issuers: {0}` in the route",
                    rules.issuer
                ),
            );
        }
    }
}

/// A route that takes tokens of several issuers, and asks only who somebody is at theirs. `require`: where
/// `required` stands; `access`: of the route.
pub(in crate::config) fn warn_of_namesakes(
    require: &Keys<'_>,
    required: &Requirements,
    issuers: &[Issuer],
    access: &Access,
) {
    let taken = issuers.iter().filter(|issuer| access.takes_issuer(&issuer.name));
    let taken: Vec<String> = taken.map(|issuer| format!("`{}`", issuer.name)).collect();
    let singles_out = |claim: &ClaimRequirement| claim.name == "iss" && claim.values.len() == 1;
    if taken.len() < 2 || required.claims.iter().any(singles_out) {
        return;
    }
    let names = require.section("claims");
    for claim in required.claims.iter().filter(|claim| is_somebody(claim)) {
        names.warn(
            &claim.name,
            format!(
                "tokens of {} are compared with it alike, so whoever has the same name at another issuer passes for them; \
                 single one out with `issuers`, unless all of them call everybody the same",
                taken.join(" and "),
            ),
        );
    }
}

fn is_somebody(claim: &ClaimRequirement) -> bool {
    claim.name == "sub" || claim.values.iter().any(|value| matches!(value, ClaimValue::PathParameter(_)))
}
