//! `clients:` in `mode: native` — applications without a browser's cookie, which hold their tokens
//! themselves.
//!
//! The gateway lends such a client's secret only to grants that say by themselves whose they are; any other
//! would let everybody who reaches the gateway act as the client (RFC 6749 section 4.4). Redirect URIs are
//! those of applications (RFC 8252 section 7).

use url::Url;

use crate::config::clients::registration::{
    DEFAULT_GRANTS, Registration, is_password, missing_redirect_uri, resource, scope,
};
use crate::config::network::{is_loopback, is_trimmed};
use crate::config::settings::{GrantType, NativeClient};
use crate::config::text::read::{Keys, Value};

/// Keys of clients whose pages run in browsers, and why they mean nothing here.
const OF_PAGES: [(&str, &str); 14] = [
    ("login", "the application signs its user in itself"),
    ("authorize", "the application signs its user in itself"),
    ("authorize_from_page", "the application signs its user in itself"),
    ("return_to", "the application signs its user in itself"),
    ("end_session", "the application signs its user out itself"),
    ("post_logout_redirect_uri", "the application signs its user out itself"),
    ("identity", "there is no session here"),
    ("csrf", "no cookie is used"),
    ("csrf_header", "no cookie is used"),
    ("origins", "no browser's page uses it"),
    ("cookie", "there is no cookie"),
    (
        "idle_timeout",
        "there is no session here; how long its refresh token lives is the authorization server's affair",
    ),
    (
        "absolute_timeout",
        "there is no session here; how long its refresh token lives is the authorization server's affair",
    ),
    ("accept_any_access_token", "its access tokens are handed out as they come"),
];

/// `registration`: `None` when it could not be read.
pub(in crate::config) fn read(keys: &Keys<'_>, registration: Option<Registration>) -> Option<NativeClient> {
    for (key, why) in OF_PAGES {
        if keys.has(key) {
            keys.wrong(key, format!("means nothing in `native` mode: {why}; remove it"));
        }
    }
    let lends = keys.has("secret") || keys.has("private_key");
    let grants = grants(keys, lends);
    let redirect_uri = keys.get("redirect_uri").map(|value| redirect_uri(&value));
    if redirect_uri.is_none() && lends && grants.contains(&GrantType::AuthorizationCode) {
        missing_redirect_uri(keys, "the gateway lends its credential to the code exchange of this one alone");
    }
    let (scope, resource) = (scope(keys), resource(keys));
    if let Some(value) = keys.get("scope")
        && !grants.iter().any(|grant| grant.asks_for_scope())
    {
        value.warn("is never asked for: with none of this client's `grants` does the gateway name a scope, its callers do; remove it");
    }
    let Registration { name, client_id, issuer, credential } = registration?;
    Some(NativeClient {
        name,
        client_id,
        issuer,
        credential,
        redirect_uri: redirect_uri.flatten(),
        grants,
        scope,
        resource,
    })
}

fn grants(keys: &Keys<'_>, lends: bool) -> Vec<GrantType> {
    let Some(texts) = keys.texts("grants") else { return DEFAULT_GRANTS.to_vec() };
    let mut grants = Vec::new();
    for (value, text) in texts {
        if is_password(&value, &text) {
            continue;
        }
        let Some(grant) = value.word(&GrantType::NAMES) else { continue };
        if lends && !grant.may_borrow_the_secret() {
            value.wrong(format!(
                "the gateway would lend its credential to whoever asks with `{}`; it does so only for `authorization_code` and `refresh_token`. Remove this grant, or remove `secret` and `private_key`, so that callers bring their own",
                grant.name()
            ));
        }
        grants.push(grant);
    }
    grants
}

/// RFC 8252 section 7: `https`, loopback with `http`, or a scheme of the application's own, which has a dot.
fn redirect_uri(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if !is_trimmed(value, &text) {
        return None;
    }
    let fits = Url::parse(&text).is_ok_and(|url| match url.scheme() {
        "https" => url.host().is_some() && url.fragment().is_none(),
        "http" => is_loopback(&url) && url.fragment().is_none(),
        own => own.contains('.') && url.fragment().is_none(),
    });
    if !fits {
        value.wrong(format!(
            "`{}` is no redirect URI of an application (RFC 8252 section 7); write it like `http://127.0.0.1/signed-in` (the port does not count), `com.example.app:/signed-in` or `https://app.example.com/signed-in`",
            value.written()
        ));
        return None;
    }
    Some(text)
}
