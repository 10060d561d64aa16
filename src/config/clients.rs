//! `clients:` — the applications that may use `/oauth/token`, what they prove themselves with, and
//! the cookie that holds their sessions (RFC 6265bis sections 4.1.3, 5.1.4; RFC 6749; RFC 7523).

use std::time::Duration;

use url::Url;

use crate::config::keys::private_key;
use crate::config::names::{unknown, valid_name};
use crate::config::network::{Network, certainly_cross_site, is_loopback, origin, origin_url, url};
use crate::config::read::{Keys, Value};
use crate::config::sessions::lifetimes;
use crate::config::settings::{
    Client, ClientCredential, CookieSettings, GrantType, Issuer, KeySource, SameSite, Sessions,
};
use crate::core::ids::{ClientName, IssuerName};
use crate::core::request::Origin;
use crate::core::secret::SecretString;

/// Where the cookie must be sent to.
const TOKEN_ENDPOINT: &str = "/oauth/token";

/// A client that was read, and where.
pub(super) struct Read<'a> {
    pub(super) client: Client,
    keys: Keys<'a>,
}

/// What the clients are read against.
pub(super) struct Around<'a> {
    pub(super) network: &'a Network,
    pub(super) issuers: &'a [Issuer],
    /// Every name under `issuers`, also of those that could not be read.
    pub(super) issuer_names: &'a [&'a str],
    pub(super) sessions: &'a Sessions,
}

pub(super) fn read<'a>(root: &Keys<'a>, around: &Around<'_>) -> Vec<Read<'a>> {
    let mut clients: Vec<Read<'a>> = Vec::new();
    for (name, value) in root.get("clients").map(|value| value.named("name")).unwrap_or_default() {
        let fits = valid_name(name, &value);
        let Some(keys) = value.keys() else { continue };
        let Some(client) = client(name, &keys, around).filter(|_| fits) else { continue };
        for other in &clients {
            let other = &other.client;
            if other.cookie.name == client.cookie.name {
                keys.section("cookie").wrong(
                    "name",
                    format!(
                        "the client `{}` has a cookie of this name too, and both are sent to {TOKEN_ENDPOINT}; give each its own",
                        other.name
                    ),
                );
            }
            if other.client_id == client.client_id {
                keys.wrong(
                    "client_id",
                    format!(
                        "the client `{}` has the `client_id` `{}` too, and {TOKEN_ENDPOINT} tells clients apart by it; give each its own",
                        other.name, other.client_id
                    ),
                );
            }
        }
        clients.push(Read { client, keys });
    }
    clients
}

fn client(name: &str, keys: &Keys<'_>, around: &Around<'_>) -> Option<Client> {
    let client_id = keys.get("client_id").map_or_else(|| Some(name.to_owned()), |value| client_id(&value));
    let issuer = issuer(keys, around);
    keys.word("mode", &[("token", ())], ());
    keys.word("login", &[("page", ())], ());
    keys.warn(
        "login",
        "`login: page`: the page itself runs the sign-in, so a script that is slipped into it can run one with its own verifier and keep the tokens",
    );
    let credential = credential(keys);
    let cookie = cookie(name, keys);
    let origins = origins(keys, around.network, cookie.same_site);
    let redirect_uri = redirect_uri(keys, around.network, &origins);
    let scope = scope(keys);
    let resource = keys.get("resource").and_then(|value| resource(&value));
    let grants = grants(keys);
    let accept_any_access_token = keys.flag("accept_any_access_token");
    let defaults = (around.sessions.idle_timeout, around.sessions.absolute_timeout);
    let (idle_timeout, absolute_timeout): (Duration, Duration) = lifetimes(keys, defaults);
    Some(Client {
        name: ClientName::new(name),
        client_id: client_id?,
        issuer: issuer?,
        credential: credential?,
        origins,
        scope,
        resource,
        redirect_uri: redirect_uri?,
        grants,
        cookie,
        idle_timeout,
        absolute_timeout,
        accept_any_access_token,
    })
}

/// RFC 6749 appendix A.1: printable ASCII.
fn client_id(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if !text.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        value.wrong("a `client_id` is printable ASCII (RFC 6749 appendix A.1)");
        return None;
    }
    Some(text)
}

fn issuer(keys: &Keys<'_>, around: &Around<'_>) -> Option<IssuerName> {
    let name = match keys.get("issuer") {
        Some(value) => {
            let name = value.text()?;
            if !around.issuer_names.contains(&name.as_str()) {
                value.wrong(unknown("issuer", &name, around.issuer_names.iter().copied()));
                return None;
            }
            name
        }
        None => match around.issuer_names {
            [] => return None,
            [only] => (*only).to_owned(),
            several => {
                let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
                keys.wrong(
                    "issuer",
                    format!(
                        "several issuers are configured; say with `issuer` whose client this is: {}",
                        names.join(", ")
                    ),
                );
                return None;
            }
        },
    };
    let source = around.issuers.iter().find(|issuer| issuer.name.as_str() == name).map(|issuer| &issuer.keys);
    if source.is_some_and(|source| !matches!(source, KeySource::Discovery(_))) {
        keys.wrong(
            "issuer",
            format!("the issuer `{name}` has keys and no endpoints, so this client could exchange nothing; let it be discovered"),
        );
    }
    Some(IssuerName::new(name))
}

fn credential(keys: &Keys<'_>) -> Option<ClientCredential> {
    if keys.has("secret") && keys.has("private_key") {
        keys.wrong(
            "private_key",
            "`secret` is given too; a client proves itself in one way, keep one of the two",
        );
    }
    let secret = keys.get("secret").map(|value| secret(&value));
    let key = keys.get("private_key").map(|value| private_key(&value).map(ClientCredential::PrivateKey));
    secret.or(key).unwrap_or(Some(ClientCredential::None))
}

fn secret(value: &Value<'_>) -> Option<ClientCredential> {
    let bytes = value.secret()?;
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) if !text.chars().any(char::is_control) => {
            Some(ClientCredential::Secret(SecretString::from(text)))
        }
        _ => {
            value.wrong("the secret is not one line of text (UTF-8)");
            None
        }
    }
}

fn origins(keys: &Keys<'_>, network: &Network, same_site: SameSite) -> Vec<Origin> {
    let Some(texts) = keys.texts("origins") else { return network.public_url.iter().cloned().collect() };
    let mut origins = Vec::new();
    for (value, text) in texts {
        let right = "write it like `https://portal.example.com`, without path or `/` at its end";
        let Some(origin) = origin(&value, &text, right) else { continue };
        if !origin.is_https() && !origin_url(&origin).is_some_and(|url| is_loopback(&url)) {
            value.wrong("must be `https`, except on loopback: a page that came over `http` can be anybody's");
        }
        if let Some(public) = &network.public_url
            && same_site != SameSite::None
            && certainly_cross_site(&origin, public)
        {
            value.wrong(format!(
                    "is on another site than `public_url` ({}), so browsers withhold the cookie; serve both under one domain, or set `cookie: {{ same_site: none }}`",
                    public.as_str()
                ));
        }
        origins.push(origin);
    }
    origins
}

fn redirect_uri(keys: &Keys<'_>, network: &Network, origins: &[Origin]) -> Option<String> {
    let value = keys.get("redirect_uri")?;
    let (text, url) = url(&value)?;
    if url.scheme() == "http" && !(network.on_loopback() && is_loopback(&url)) {
        value.wrong("must be `https`, except on loopback: the code in it would travel in the clear");
        return None;
    }
    if !origins.is_empty() && !origins.iter().any(|origin| same_origin(origin, &url)) {
        value.warn(
            "its origin is not among `origins`: the page that gets the code there cannot hand it in itself",
        );
    }
    Some(text)
}

fn same_origin(origin: &Origin, url: &Url) -> bool {
    url.origin().ascii_serialization() == origin.as_str()
}

/// One text with spaces, or a list; joined by one space.
fn scope(keys: &Keys<'_>) -> Option<String> {
    let values = crate::config::routes::scope_values(keys.get("scope")?);
    (!values.is_empty()).then(|| values.join(" "))
}

/// RFC 8707 section 2: an absolute URI without fragment.
fn resource(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let uri = Url::parse(&text);
    if !uri.is_ok_and(|uri| uri.fragment().is_none()) {
        value.wrong(format!(
            "`{}` is not an absolute URI without fragment (RFC 8707 section 2); write it like `https://api.example.com`",
            value.written()
        ));
        return None;
    }
    Some(text)
}

fn grants(keys: &Keys<'_>) -> Vec<GrantType> {
    let words =
        [("authorization_code", GrantType::AuthorizationCode), ("refresh_token", GrantType::RefreshToken)];
    let Some(texts) = keys.texts("grants") else {
        return vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
    };
    let other = ["client_credentials", "password", "urn:ietf:params:oauth:grant-type:"];
    let mut grants = Vec::new();
    for (value, text) in texts {
        if other.iter().any(|other| text.starts_with(other)) {
            value.wrong("this grant is not for pages: the gateway lends its client secret only to `authorization_code` and `refresh_token`");
        } else if let Some(grant) = value.word(&words) {
            grants.push(grant);
        }
    }
    grants
}

fn cookie(client: &str, keys: &Keys<'_>) -> CookieSettings {
    let keys = keys.section("cookie");
    let path = keys.text("path").unwrap_or_else(|| TOKEN_ENDPOINT.to_owned());
    let covers = match TOKEN_ENDPOINT.strip_prefix(path.as_str()) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || path.ends_with('/'),
        None => false,
    };
    if !covers {
        keys.wrong(
            "path",
            format!("a cookie with this path is not sent to {TOKEN_ENDPOINT}; use `{TOKEN_ENDPOINT}`, `/oauth` or `/`"),
        );
    }
    let name = keys.text("name").unwrap_or_else(|| format!("__Secure-tollgate-{client}"));
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if keys.has("name") && (name.len() > 128 || !name.bytes().all(token)) {
        keys.wrong(
            "name",
            "is no cookie name; use letters, digits, `-`, `_` and `.`, at most 128 (RFC 6265 section 4.1.1)",
        );
    }
    // Browsers compare these prefixes without case.
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("__host-") && path != "/" {
        keys.wrong(
            "name",
            "a name that begins with `__Host-` needs `path: /`, or browsers drop the cookie; begin it with `__Secure-`, or set the path",
        );
    }
    let words = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
    let same_site = keys.word("same_site", &words, SameSite::Strict);
    if same_site == SameSite::None {
        keys.warn("same_site", "`none`: browsers send the cookie along from every site; only the check of `Origin` stands between");
    }
    CookieSettings { name, path, same_site }
}

/// Warns of what only the whole shows.
pub(super) fn finish(clients: Vec<Read<'_>>, issuers: &mut [Issuer]) -> Vec<Client> {
    let mut finished = Vec::new();
    for Read { client, keys } in clients {
        if let Some(issuer) = issuers.iter_mut().find(|issuer| issuer.name == client.issuer) {
            issuer.rules.client_ids.push(client.client_id.clone());
            if issuer.rules.audiences.contains(&client.client_id) {
                keys.warn(
                    "client_id",
                    format!("is also an `audience` of the issuer `{}`: its ID tokens would look like access tokens", issuer.name),
                );
            }
        }
        if client.accept_any_access_token {
            keys.warn(
                "accept_any_access_token",
                "access tokens that this gateway would refuse are handed out; it cannot take them back",
            );
        }
        finished.push(client);
    }
    finished
}
