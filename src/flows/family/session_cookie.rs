//! The grant in its cookie: reading what a browser sent, writing what it gets.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::config::settings::{Client, SameSite};
use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::session::cookie::{self, Attributes};
use crate::core::session::grant::{Grant, Timeouts};
use crate::core::session::sealed::{Binding, Purpose};
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::ports::random;
use crate::state::live::Live;

/// The grant that came along. `None`: no cookie of this client, or one that does not open, or one
/// of another AS or `client_id` than the configured; it is left alone.
///
/// # Errors
/// [`Denial::SeveralCredentials`] when several cookies have the name.
pub(in crate::flows) fn read(
    live: &Live,
    client: &Client,
    headers: &HeaderMap,
) -> Result<Option<Grant>, Denial> {
    let Some(value) = cookie::read(headers, &client.cookie.name)? else { return Ok(None) };
    Ok(std::str::from_utf8(value).ok().and_then(|text| open(live, client, text)))
}

/// The grants in all cookies of the client's name, for a sign-in, which takes the place of them all. They are
/// no credential: of several none is used.
pub(in crate::flows) fn read_all(live: &Live, client: &Client, headers: &HeaderMap) -> Vec<Grant> {
    cookie::those(headers, |name| name == client.cookie.name.as_bytes())
        .into_iter()
        .filter_map(|(_, value)| open(live, client, std::str::from_utf8(value).ok()?))
        .take(cookie::PATHS.len())
        .collect()
}

/// The grant in the value of a cookie; `None` as in [`read`].
pub(in crate::flows) fn open(live: &Live, client: &Client, sealed: &str) -> Option<Grant> {
    let plain = live.cookie_keys.open(binding(client), sealed)?;
    let grant = Grant::from_bytes(plain.expose())?;
    let issuer = live.issuers.by_name(&client.issuer)?;
    (grant.client_id == client.client_id && grant.iss == issuer.settings.rules.iss).then_some(grant)
}

/// Seals a grant, and makes sure that a browser will keep it.
///
/// # Errors
/// [`Denial::SessionTooLarge`], with the part that is too large in the log.
pub(in crate::flows) fn seal(
    gate: &Gate,
    live: &Live,
    client: &Client,
    grant: &Grant,
) -> Result<SecretString, Denial> {
    let sealed = live
        .cookie_keys
        .seal(binding(client), grant.to_bytes().expose(), random(&*gate.random))
        .map_err(|_| Denial::Internal)?;
    if let Err(fault) = cookie::set(attributes(client), &sealed, client.absolute_timeout) {
        let (part, bytes) = grant.largest_part();
        tracing::error!(client = %client.name, %fault, part, bytes, "a session does not fit its cookie; its largest part is named here");
        return Err(Denial::SessionTooLarge);
    }
    Ok(SecretString::new(sealed))
}

/// Until when the browser keeps the cookie of a grant. In `token` mode an exchange is the use, and the
/// session goes idle when nobody came for the next; in `session` mode it is used between exchanges, which the
/// cookie does not say.
pub(in crate::flows) fn kept_until(client: &Client, grant: &Grant) -> Timestamp {
    let timeouts = timeouts(client);
    if client.session.is_some() { grant.ends_at_latest(timeouts) } else { grant.ends_at(timeouts) }
}

/// `Set-Cookie` with a sealed grant; the browser keeps it until then (see [`kept_until`]), and never so short
/// that it removes itself: that a session is over is told with its next request.
pub(in crate::flows) fn set(
    client: &Client,
    sealed: &SecretString,
    until: Timestamp,
    now: Timestamp,
) -> Option<HeaderValue> {
    let max_age = until.since(now).max(Duration::from_secs(1));
    cookie::set(attributes(client), sealed.expose(), max_age).ok()
}

/// `Set-Cookie` that takes the cookie away.
pub(in crate::flows) fn clear(client: &Client) -> Option<HeaderValue> {
    cookie::clear(attributes(client)).ok()
}

/// `Set-Cookie`s that leave a sign-in's cookie alone with its name, at whatever path the one before was.
pub(in crate::flows) fn clear_elsewhere(client: &Client) -> Vec<HeaderValue> {
    cookie::clear_elsewhere(attributes(client))
}

pub(in crate::flows) const fn timeouts(client: &Client) -> Timeouts {
    Timeouts { idle: client.idle_timeout, absolute: client.absolute_timeout }
}

fn attributes(client: &Client) -> Attributes<'_> {
    Attributes {
        name: &client.cookie.name,
        path: &client.cookie.path,
        same_site: match client.cookie.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        },
    }
}

/// A cookie of one mode is none in the other.
fn binding(client: &Client) -> Binding<'_> {
    let purpose = if client.session.is_some() { Purpose::Session } else { Purpose::Refresh };
    Binding { purpose, cookie: &client.cookie.name, client: client.name.as_str() }
}
