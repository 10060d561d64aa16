//! `GET /oauth/logout/next`: where the page of a sign-out leads, and from there a redirect to the
//! authorization server, with the ID token of the session that has just ended as hint (OpenID Connect
//! RP-Initiated Logout 1.0 section 2).
//!
//! What stands in a page any script of the gateway's origin reads: it opened the window, or answers for it as
//! a service worker. The address that a navigation is redirected to neither of them gets (Fetch Standard
//! section 2.2.6: an opaque-redirect filtered response), and the page there is of another origin. So the hint
//! is told here alone: to a browser that goes there, says so, and has the cookie of the sign-out; and once.
//!
//! Without all of that a browser is led there as one that nobody was signed in with: anybody may link here.
//! It must never lead where whoever asks says.

use std::sync::Arc;

use http::HeaderValue;

use super::binding;
use super::logout::{at_the_server, client_named, else_to};
use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::request::RequestHead;
use crate::core::secret::SecretString;
use crate::core::session::cookie;
use crate::core::session::navigation::{goes_there, says_what_it_opens};
use crate::core::session::oauth::answer::claims_from_token_endpoint;
use crate::core::session::oauth::request::Parameters;
use crate::core::session::sign_out::{SignOut, attributes, cookie_name};
use crate::flows::Gate;
use crate::flows::family::tokens;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::state::live::Live;

/// Where a browser goes that signs out.
#[derive(Debug)]
pub struct LedOn {
    pub goes_to: String,
    /// Takes the cookie away that it came with.
    pub set_cookie: Option<HeaderValue>,
    pub client: ClientName,
}

/// Leads a browser on to the authorization server, or, where that has no place to sign out, to the client's
/// pages.
///
/// # Errors
/// No navigation, or nobody knows of which client.
pub async fn lead_on(
    gate: &Gate,
    live: &Live,
    head: &RequestHead<'_>,
    query: Option<&str>,
) -> Result<LedOn, OAuthRefusal> {
    let before_client = OAuthRefusal::before_client;
    if !goes_there(head.headers) {
        return Err(before_client(Denial::NotANavigation));
    }
    let parameters = Parameters::from_form(query.unwrap_or_default().as_bytes()).map_err(before_client)?;
    let (client, login) = client_named(live, &parameters)?;
    let name = cookie_name(client.name.as_str());
    let brought = cookie::read(head.headers, &name).ok().flatten();
    let under_way = brought.and_then(|value| read(live, client, &name, value));
    let hint = match under_way.filter(|it| !it.is_over(gate.clock.now()) && says_what_it_opens(head.headers))
    {
        Some(sign_out) => tokens::take(gate, &sign_out.holder).await.and_then(|tokens| tokens.id_token),
        None => None,
    };
    let hint = hint.filter(|token| is_of_the_server(live, client, token));
    let goes_to = at_the_server(gate, live, client, login, hint.as_ref()).await;
    Ok(LedOn {
        goes_to: goes_to.map_or_else(|| else_to(live, client, login), Into::into),
        set_cookie: brought.and_then(|_| cookie::clear(attributes(&name)).ok()),
        client: client.name.clone(),
    })
}

/// A reload may have moved the client to another authorization server meanwhile, which this is no word for.
fn is_of_the_server(live: &Live, client: &Client, token: &SecretString) -> bool {
    let iss = live.issuers.by_name(&client.issuer).map(|issuer| issuer.settings.rules.iss.as_str());
    let claims = claims_from_token_endpoint(token);
    iss.is_some() && claims.as_ref().and_then(|claims| claims.get("iss")?.as_str()) == iss
}

fn read(live: &Live, client: &Arc<Client>, cookie: &str, value: &[u8]) -> Option<SignOut> {
    let sealed = std::str::from_utf8(value).ok()?;
    let plain = live.cookie_keys.open(binding(client, cookie), sealed)?;
    SignOut::from_bytes(plain.expose())
}
