//! `clients.<name>` of clients that the gateway signs people in for, and of those in `session` mode: what
//! goes to the authorization endpoint beside our own parameters (RFC 6749 section 4.1.1), where a sign-in and
//! a sign-out may lead, and what makes a request with a session cookie one of the client's own pages.

use http::HeaderName;

use crate::config::clients::registration::Mode;
use crate::config::network::{Network, is_loopback, origin, url};
use crate::config::settings::{Client, IdentityFrom, Login, SessionMode};
use crate::config::text::read::{Keys, Value};
use crate::core::request::Origin;
use crate::core::session::authorization::asks_for_id_token;
use crate::core::session::csrf::Csrf;

/// Where the authorization server sends browsers after a sign-in by the gateway.
pub(in crate::config) const CALLBACK: &str = "/oauth/callback";

/// Parameters of an authorization request that Tollgate sets itself, and where they come from.
const OURS: [(&str, &str); 10] = [
    ("client_id", "the client's `client_id`"),
    ("response_type", "always `code`"),
    ("response_mode", "always `query`"),
    ("redirect_uri", "the client's `redirect_uri`"),
    ("scope", "the client's `scope`"),
    ("resource", "the client's `resource`"),
    ("state", "made anew for each sign-in"),
    ("nonce", "made anew for each sign-in"),
    ("code_challenge", "made anew for each sign-in"),
    ("code_challenge_method", "always `S256`"),
];
/// Those that would carry a whole request past ours (RFC 9101), a token, or a credential.
const NOT_TAKEN: [&str; 6] =
    ["request", "request_uri", "id_token_hint", "client_secret", "client_assertion", "client_assertion_type"];

/// Those of `/oauth/login` itself, which are no business of the list of what a page may add.
const OF_LOGIN: [(&str, &str); 3] = [
    ("return_to", "is where the sign-in leads; it goes to no authorization server"),
    ("acr_values", "is passed on as it is, and the gateway looks whether it was done"),
    ("max_age", "is passed on as it is, and the gateway looks whether it was done"),
];
/// Parameters of a sign-out that Tollgate sets itself, and where they come from.
const OURS_AT_SIGN_OUT: [(&str, &str); 3] = [
    ("client_id", "the client's `client_id`"),
    ("id_token_hint", "the ID token of the session"),
    ("post_logout_redirect_uri", "the client's `post_logout_redirect_uri`"),
];

/// Keys that mean nothing without a session.
const OF_SESSION_MODE: [(&str, &str); 3] = [
    ("csrf", "no request uses a cookie, but for those to `/oauth/token`"),
    ("csrf_header", "no request uses a cookie, but for those to `/oauth/token`"),
    ("identity", "a request brings its own access token, and the identity is in it"),
];
/// Keys that mean nothing where a page signs people in.
const OF_GATEWAY_LOGIN: [(&str, &str); 6] = [
    ("authorize", "the page itself asks the authorization endpoint"),
    ("authorize_from_page", "the page itself asks the authorization endpoint"),
    ("pushed", "the page itself asks the authorization server, and pushes its request where it must"),
    ("end_session", "the page itself signs out at the authorization server"),
    ("return_to", "the page itself goes on after its sign-in"),
    ("post_logout_redirect_uri", "the page itself signs out at the authorization server"),
];

/// Whether a page runs the sign-in.
pub(in crate::config) fn is_by_page(keys: &Keys<'_>, mode: Mode) -> bool {
    let by_page = keys.word("login", &[("gateway", false), ("page", true)], false);
    if !by_page {
        return false;
    }
    if mode == Mode::Session {
        keys.wrong(
            "login",
            "in `session` mode no page holds a token, so the gateway signs people in; remove this",
        );
        return false;
    }
    keys.warn(
        "login",
        "`login: page`: the page itself runs the sign-in, so a script that is injected into it can run one with its own verifier and keep the tokens",
    );
    for (key, why) in OF_GATEWAY_LOGIN.into_iter().filter(|(key, _)| keys.has(key)) {
        keys.wrong(key, format!("means nothing with `login: page`: {why}; remove it"));
    }
    true
}

pub(in crate::config) fn read(keys: &Keys<'_>, network: &Network) -> Login {
    let authorize = parameters(keys, "authorize", why_reserved);
    let end_session = parameters(keys, "end_session", |name| {
        let (_, from) = OURS_AT_SIGN_OUT.into_iter().find(|(ours, _)| *ours == name)?;
        Some(sets_itself(name, from))
    });
    let return_to = keys.texts("return_to").unwrap_or_default();
    let return_to = return_to.iter().filter_map(|(value, text)| returns_to(value, text)).collect();
    let after_logout = keys.get("post_logout_redirect_uri").and_then(|value| {
        let (text, url) = url(&value)?;
        let is_safe = url.scheme() == "https" || (network.on_loopback() && is_loopback(&url));
        if !is_safe {
            value.wrong("must be `https`, except on loopback");
        }
        is_safe.then_some(text)
    });
    Login {
        authorize,
        authorize_from_page: from_page(keys),
        pushed: keys.flag("pushed"),
        return_to,
        post_logout_redirect_uri: after_logout,
        end_session,
    }
}

/// The callback is the gateway's own, where the cookie of the sign-in is; a client may have one of its own
/// there.
pub(in crate::config) fn redirect_uri(client: &str, keys: &Keys<'_>, network: &Network) -> Option<String> {
    let own = format!("{}{CALLBACK}", network.public_url.as_ref()?.as_str());
    let Some(value) = keys.get("redirect_uri") else { return Some(own) };
    let text = value.text()?;
    if text != own && text.strip_prefix(own.as_str()) != Some(&format!("/{client}")) {
        value.wrong(format!(
            "the gateway signs people in (`login: gateway`), and its callback is `{own}`, or `{own}/{client}`: register one of them; or set `login: page` where the page exchanges the code itself"
        ));
        return None;
    }
    Some(text)
}

/// A code that one authorization server made must never be sent to another (RFC 9700 section 4.4.2): where
/// servers do not name themselves in their answers, only the address tells whose it is.
pub(in crate::config) fn tell_issuers_apart(clients: &[(&Keys<'_>, &Client)]) {
    for (at, (keys, client)) in clients.iter().enumerate().filter(|(_, (_, client))| client.login.is_some()) {
        let shares = |(_, other): &&(&Keys<'_>, &Client)| {
            other.login.is_some()
                && other.redirect_uri == client.redirect_uri
                && other.issuer != client.issuer
        };
        if let Some((_, other)) = clients.iter().take(at).find(shares) {
            let public = client.redirect_uri.split(CALLBACK).next().unwrap_or_default();
            keys.wrong(
                "redirect_uri",
                format!(
                    "the client `{}` of another issuer comes back to the same address, and one issuer could pass the other's codes on as its own (RFC 9700 section 4.4.2); register and set `redirect_uri: {public}{CALLBACK}/{}`",
                    other.name, client.name
                ),
            );
        }
    }
}

fn returns_to(value: &Value<'_>, text: &str) -> Option<Origin> {
    let right = "write it like `https://portal.example.com`, without path or `/` at its end";
    origin(value, text, right)
}

/// The parameters of `key`; `reserved` says why one may not be there.
fn parameters(
    keys: &Keys<'_>,
    key: &'static str,
    reserved: impl Fn(&str) -> Option<String>,
) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    for (name, value) in keys.get(key).map(|value| value.named("parameter")).unwrap_or_default() {
        // The table lets every map of the kind hold lists; twice the same parameter is an error there (RFC
        // 6749 section 3.1).
        if value.is_list() {
            value.wrong("is a list; a parameter has one value (RFC 6749 section 3.1), write it as text");
            continue;
        }
        let Some(text) = value.text() else { continue };
        match reserved(name) {
            Some(why) => value.wrong(why),
            None => parameters.push((name.to_owned(), text)),
        }
    }
    parameters
}

/// Why a parameter may not be added to an authorization request.
fn why_reserved(name: &str) -> Option<String> {
    if let Some((_, from)) = OURS.into_iter().find(|(ours, _)| *ours == name) {
        return Some(sets_itself(name, from));
    }
    NOT_TAKEN
        .contains(&name)
        .then(|| format!("`{name}` would take the place of our own parameters; remove it"))
}

fn sets_itself(name: &str, from: &str) -> String {
    format!("Tollgate sets `{name}` itself ({from}); remove it")
}

/// Which parameters a page may add to its sign-in.
fn from_page(keys: &Keys<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (value, name) in keys.texts("authorize_from_page").unwrap_or_default() {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        let of_login = OF_LOGIN.into_iter().find(|(own, _)| *own == name);
        if let Some(why) = why_reserved(&name) {
            value.wrong(why);
        } else if let Some((_, why)) = of_login {
            value.wrong(format!("`{name}` {why}; remove it"));
        } else if name.is_empty() || !name.bytes().all(is_name) {
            value.wrong("is no name of a parameter; write it like `login_hint`");
        } else {
            names.push(name);
        }
    }
    names
}

/// What there is in `session` mode alone.
pub(in crate::config) fn session(
    keys: &Keys<'_>,
    scope: Option<&str>,
    network: &Network,
    origins: &[Origin],
) -> SessionMode {
    if keys.has("accept_any_access_token") {
        keys.wrong(
            "accept_any_access_token",
            "means nothing in `session` mode: the gateway itself uses its access tokens; remove it",
        );
    }
    if keys.has("grants") {
        keys.wrong("grants", "means nothing in `session` mode: its pages ask for no tokens; remove it");
    }
    let words = [("access_token", IdentityFrom::AccessToken), ("id_token", IdentityFrom::IdToken)];
    let identity = keys.word("identity", &words, IdentityFrom::AccessToken);
    if identity == IdentityFrom::IdToken && !asks_for_id_token(scope) {
        keys.wrong("identity", "`id_token`: without `openid` in `scope` there is no ID token; add it");
    }
    SessionMode { csrf_header: csrf_header(keys), csrf: csrf(keys, network, origins), identity }
}

/// Only pages of the gateway's own origin are told apart without a header of theirs (Fetch Metadata Request
/// Headers).
fn csrf(keys: &Keys<'_>, network: &Network, origins: &[Origin]) -> Csrf {
    let words = [("header", Csrf::Header), ("fetch_metadata", Csrf::FetchMetadata)];
    let csrf = keys.word("csrf", &words, Csrf::Header);
    if csrf == Csrf::Header {
        return csrf;
    }
    let public = network.public_url.as_ref().filter(|public| !origins.contains(public));
    if let Some(public) = public.filter(|_| !origins.is_empty()) {
        let public = public.as_str();
        keys.wrong(
            "csrf",
            format!("`fetch_metadata`: it is for pages at `public_url` (`{public}`), which `origins` leaves out; add it there, or remove this"),
        );
        return Csrf::Header;
    }
    keys.warn(
        "csrf",
        "`csrf: fetch_metadata`: requests need no header of the page, so markup that is injected into any page of this origin can ask in a person's name, by a picture, a link or a form; keep it for applications that cannot send `csrf_header`",
    );
    csrf
}

pub(in crate::config) fn no_session(keys: &Keys<'_>) {
    for (key, why) in OF_SESSION_MODE.into_iter().filter(|(key, _)| keys.has(key)) {
        keys.wrong(key, format!("means nothing in `token` mode: {why}; remove it"));
    }
}

/// A header that makes a browser ask first whether a foreign page may send it (Fetch section 2.2.2), and that
/// nothing else uses.
fn csrf_header(keys: &Keys<'_>) -> HeaderName {
    const DEFAULT: HeaderName = HeaderName::from_static("x-csrf");
    let Some(value) = keys.get("csrf_header") else { return DEFAULT };
    let Some(text) = value.text() else { return DEFAULT };
    match HeaderName::try_from(text.as_str()) {
        Ok(name) if name.as_str().starts_with("x-") => name,
        _ => {
            value.wrong("is no header of an application's own; begin it with `X-`, like `X-CSRF`");
            DEFAULT
        }
    }
}
