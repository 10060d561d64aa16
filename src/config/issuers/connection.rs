//! `proxy` and `connect_to` of an issuer and of a transmitter of signals — how calls get there where the
//! straight way does not lead there. The environment's `HTTPS_PROXY` is not read: it would be every issuer's,
//! and who sets it for one program seldom knows of the others.
//!
//! Must never repeat the URL of a proxy in a message: a password may stand in it.

use url::Url;

use crate::config::network::{is_loopback, origin, origin_url};
use crate::config::settings::{
    ConnectTo, HostPort, Issuer, IssuerConnection, KeySource, Proxy, ProxyCredentials, Signal, SignalKeys,
};
use crate::config::text::read::{Keys, Value};
use crate::core::secret::SecretString;

/// The keys that say something of the way.
pub(in crate::config) const KEYS: [&str; 2] = ["proxy", "connect_to"];
/// Variables by which other programs are told of a proxy for `https`.
const VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// `url`: the issuer's own, `others`: those that are called beside it, with the key that gives each. `None`
/// where the way cannot be read.
pub(in crate::config) fn read(
    keys: &Keys<'_>,
    url: Option<&Url>,
    others: &[(&str, &Url)],
) -> Option<IssuerConnection> {
    let proxy = keys.get("proxy").map(|value| proxy(&value));
    let to = keys.get("connect_to").map(|value| connect_to(&value));
    let own = url.map(|url| ("url", url));
    let called = || own.iter().chain(others);
    if keys.has("proxy")
        && let Some((key, _)) = called().find(|(_, url)| url.scheme() == "http")
    {
        keys.wrong(
            "proxy",
            format!(
                "`{key}` is `http`, and what is called in clear text goes through no proxy, which could answer it itself; \
                 call it by `https`, or remove this"
            ),
        );
    }
    let of = url.and_then(HostPort::of);
    if keys.has("connect_to") && of.is_some() {
        for (key, _) in others.iter().filter(|(_, url)| HostPort::of(url) != of) {
            keys.warn(
                "connect_to",
                format!(
                    "says nothing of `{key}`, which is at another host or port than `url` and is called where it says"
                ),
            );
        }
    }
    let proxy = match proxy {
        Some(proxy) => Some(proxy?),
        None => None,
    };
    let connect_to = match to {
        Some(to) => Some(ConnectTo { of: of?, to: to? }),
        None => None,
    };
    Some(IssuerConnection { proxy, connect_to })
}

fn proxy(value: &Value<'_>) -> Option<Proxy> {
    let Some(keys) = value.keys() else {
        return Some(Proxy { at: place(value)?, credentials: None });
    };
    let at = keys.get("url").map(|value| place(&value));
    let credentials = credentials(&keys);
    Some(Proxy { at: at??, credentials: credentials? })
}

/// Where a proxy is.
fn place(value: &Value<'_>) -> Option<HostPort> {
    let text = value.text()?;
    if text.contains('@') {
        value.wrong(
            "has a user or password in it; write `proxy: { url: http://proxy.internal:3128, username: …, password: { file: … } }`",
        );
        return None;
    }
    let right = "write it like `http://proxy.internal:3128`, without path or `/` at its end";
    let origin = origin(value, &text, right)?;
    if origin.is_https() {
        value.wrong(
            "is `https`, and TLS is not spoken with the proxy itself: what goes through its tunnel is encrypted for the issuer \
             already; write `http://`",
        );
        return None;
    }
    origin_url(&origin).and_then(|url| HostPort::of(&url))
}

/// The inner `None`: none are shown.
#[allow(clippy::option_option)]
fn credentials(keys: &Keys<'_>) -> Option<Option<ProxyCredentials>> {
    let username = keys.get("username").map(|value| username(&value));
    let password = keys.get("password").map(|value| password(&value));
    match (username, password) {
        (None, None) => Some(None),
        (Some(username), Some(password)) => {
            Some(Some(ProxyCredentials { username: username?, password: password? }))
        }
        (Some(_), None) => {
            keys.wrong("username", "has no `password` beside it; add it, or remove this");
            None
        }
        (None, Some(_)) => {
            keys.wrong("password", "has no `username` beside it; add it, or remove this");
            None
        }
    }
}

/// RFC 7617 section 2: a `:` ends it.
fn username(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.contains(':') {
        value.wrong("has a `:` in it, which no proxy could tell from the beginning of the password (RFC 7617 section 2)");
        return None;
    }
    Some(text)
}

fn password(value: &Value<'_>) -> Option<SecretString> {
    let bytes = value.secret()?;
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) if !text.chars().any(char::is_control) => Some(SecretString::from(text)),
        _ => {
            value.wrong("the password is not one line of text (UTF-8)");
            None
        }
    }
}

fn connect_to(value: &Value<'_>) -> Option<HostPort> {
    let text = value.text()?;
    let read = HostPort::parse(&text);
    if read.is_none() {
        value.wrong(format!(
            "`{}` is not a host and a port; write them like `keycloak.svc:8443` or `[::1]:8443`",
            value.written()
        ));
    }
    read
}

/// Whoever sets a proxy in the environment expects that it is used, and would look for the fault elsewhere.
pub(in crate::config) fn warn_of_environment(root: &Keys<'_>, issuers: &[Issuer], signals: &[Signal]) {
    let Some(variable) = VARIABLES.into_iter().find(|name| root.is_in_environment(name)) else { return };
    let transmitters = signals.iter().filter_map(|signal| match &signal.keys {
        SignalKeys::Own(called) => Some((format!("signals.{}", signal.name), &**called)),
        SignalKeys::OfIssuer(_) => None,
    });
    let issuers = issuers.iter().map(|issuer| (format!("issuers.{}", issuer.name), issuer));
    let straight: Vec<String> = issuers
        .chain(transmitters)
        .filter(|(_, called)| goes_out_straight(called))
        .map(|(at, _)| at)
        .collect();
    let Some(first) = straight.first() else { return };
    root.warn(
        "issuers",
        format!(
            "`{variable}` is set, and Tollgate takes no proxy from its environment: called straight, and not through that, are `{}`; \
             name the proxy, like `{first}.proxy: http://proxy.internal:3128`, or unset the variable where none is meant",
            straight.join("`, `"),
        ),
    );
}

/// Whether it is called over https, elsewhere than on this machine, and through no proxy.
fn goes_out_straight(called: &Issuer) -> bool {
    let is_called = matches!(called.keys, KeySource::Discovery(_) | KeySource::JwksUri(_))
        || called.introspection.is_some();
    let goes_out = |url: Url| url.scheme() == "https" && !is_loopback(&url);
    called.connection.proxy.is_none() && is_called && Url::parse(&called.rules.iss).is_ok_and(goes_out)
}
