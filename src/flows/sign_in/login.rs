//! `GET /oauth/login`: a browser is sent to the authorization server, and takes along in a cookie what the
//! gateway must know again when it comes back.
//!
//! Anybody may link here: it changes nothing but cookies of sign-ins under way, of which the oldest give way.
//! It leads only to the authorization server, and from there to where the client's sign-ins may lead.

use std::sync::Arc;

use http::{HeaderValue, Method};

use super::push::{AsksFor, Push, push};
use super::{SignInRefusal, binding, clear, clients, registration, request_of};
use crate::config::settings::{Client, Login};
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::path::{CanonicalPath, EncodedSlash};
use crate::core::request::RequestHead;
use crate::core::route::table::RouteMatch;
use crate::core::secret::Secret;
use crate::core::session::authorization::{AuthorizationRequest, from_page, pushed_url};
use crate::core::session::cookie;
use crate::core::session::navigation::{goes_there, says_what_it_opens};
use crate::core::session::oauth::request::Parameters;
use crate::core::session::return_to::Places;
use crate::core::session::step_up::StepUp;
use crate::core::session::transaction::{self, LIFETIME, Transaction, UnderWay, attributes, give_way};
use crate::flows::Gate;
use crate::flows::keep_keys_fresh::endpoints;
use crate::flows::ports::random;
use crate::state::live::Live;

/// Where the browser goes, and what it takes along.
#[derive(Debug)]
pub struct Begun {
    pub location: String,
    pub set_cookies: Vec<HeaderValue>,
    pub client: ClientName,
}

/// Begins a sign-in. `query`: `client_id`, and if wanted `return_to`, `acr_values`, `max_age`, and what the
/// client lets its pages add.
///
/// # Errors
/// Why the browser is sent nowhere.
pub async fn login(
    gate: &Gate,
    live: &Live,
    head: &RequestHead<'_>,
    query: Option<&str>,
) -> Result<Begun, SignInRefusal> {
    const ELSEWHERE: Denial = Denial::InvalidRequest("Sign-in is at the host of public_url.");
    if !goes_there(head.headers) {
        return Err(Denial::NotANavigation.into());
    }
    // The callback is there, and no cookie that is set elsewhere would be.
    if head.host_name() != Ok(live.settings.public_url.host_name()) {
        return Err(ELSEWHERE.into());
    }
    let parameters = Parameters::from_form(query.unwrap_or_default().as_bytes())?;
    let (client, login) = client_of(live, &parameters)?;
    let places = Places { own: &live.settings.public_url, pages: &client.origins, listed: &login.return_to };
    let return_to = places.read(parameters.get("return_to"))?;
    if leads_to_page_of(live, client, &return_to) && !says_what_it_opens(head.headers) {
        return Err(Denial::PageLoadNotShown.into());
    }
    let step_up = StepUp::read(parameters.get("acr_values"), parameters.get("max_age"))?;
    let added = from_page(&login.authorize_from_page, |name| parameters.get(name))?;
    let asked = step_up.clone();
    let refusal = |denial| SignInRefusal::of(denial, client, Some(&return_to), &asked);
    let issuer = live.issuers.by_name(&client.issuer).ok_or_else(|| refusal(Denial::Internal))?;
    let endpoints = endpoints(gate, issuer).await.map_err(refusal)?;
    let Some(endpoint) = &endpoints.authorization else {
        tracing::error!(client = %client.name, issuer = %client.issuer, "the AS publishes no authorization endpoint that may be used, so nobody can sign in");
        return Err(refusal(Denial::AuthorizationServerUnavailable));
    };
    let bits = Secret::new(random(&*gate.random));
    let name = client.name.as_str();
    let at = registration(client, issuer);
    let begun = Transaction::begin(name, &bits, return_to.clone(), step_up, at, gate.clock.now());
    let cookie = cookie(gate, live, client, &begun).ok_or_else(|| refusal(Denial::Internal))?;
    let older = under_way(live, head);
    let mut set_cookies: Vec<_> = give_way(&older, cookie.len()).into_iter().filter_map(clear).collect();
    set_cookies.push(cookie);
    let request = AuthorizationRequest { from_page: &added, ..request_of(client, login) };
    let location = if login.pushed || endpoints.requires_pushed {
        let is_as_configured = asked == StepUp::default() && added.is_empty();
        let asks_for = if is_as_configured { AsksFor::WhatIsConfigured } else { AsksFor::MoreByLink };
        let form = &request.pushed(&begun);
        let pushing = Push { client, issuer, endpoints: &endpoints, form, asks_for };
        let pushed = push(gate, live, pushing, head.client_address).await;
        // It ends here, where another would end when the browser is back.
        let name = pushed.inspect_err(|_| gate.metrics.signed_in(&client.name, false)).map_err(refusal)?;
        pushed_url(endpoint, &client.client_id, &name)
    } else {
        request.url(endpoint, &begun)
    };
    Ok(Begun { location: location.into(), set_cookies, client: client.name.clone() })
}

fn client_of<'l>(live: &'l Live, parameters: &Parameters) -> Result<(&'l Arc<Client>, &'l Login), Denial> {
    const BY_PAGE: Denial =
        Denial::InvalidRequest("This client's own page signs people in (login: page), not the gateway.");
    let client_id = parameters.client_id()?;
    let known = clients(live).find(|(client, _)| client.client_id == client_id);
    let is_by_page = || live.settings.client_by_id(client_id).is_some();
    known.ok_or_else(|| if is_by_page() { BY_PAGE } else { Denial::UnknownClient })
}

/// Whether a sign-in leads to a page that a browser opens by the client's session. One that does not say of a
/// request what it opens is refused there, and would come back here for ever.
fn leads_to_page_of(live: &Live, client: &Client, return_to: &str) -> bool {
    let path = return_to.split(['?', '#']).next().unwrap_or_default();
    let Ok(path) = CanonicalPath::parse_with(path.as_bytes(), EncodedSlash::Keep) else { return false };
    match live.routes.find(live.settings.public_url.host_name(), &Method::GET, path) {
        RouteMatch::Route(matched) => {
            let takes = matched.route().session.as_ref();
            takes.is_some_and(|takes| takes.signs_in && takes.client == client.name)
        }
        _ => false,
    }
}

fn cookie(gate: &Gate, live: &Live, client: &Client, begun: &Transaction) -> Option<HeaderValue> {
    let name = transaction::cookie_name(client.name.as_str(), &begun.state);
    let plain = begun.to_bytes();
    let sealed = live.cookie_keys.seal(binding(client, &name), plain.expose(), random(&*gate.random)).ok()?;
    cookie::set(attributes(&name), &sealed, LIFETIME).ok()
}

/// The sign-ins that are under way in this browser, of all clients: their cookies come together.
fn under_way<'h>(live: &Live, head: &RequestHead<'h>) -> Vec<UnderWay<'h>> {
    let is_session =
        |name: &[u8]| live.settings.clients.iter().any(|client| client.cookie.name.as_bytes() == name);
    let of =
        |name: &[u8]| clients(live).find(|(client, _)| transaction::is_named_for(name, client.name.as_str()));
    let read = |name: &str, value| {
        let sealed = std::str::from_utf8(value).ok()?;
        let (client, _) = of(name.as_bytes())?;
        let plain = live.cookie_keys.open(binding(client, name), sealed)?;
        Transaction::from_bytes(plain.expose())
    };
    cookie::those(head.headers, |name| of(name).is_some() && !is_session(name))
        .into_iter()
        .map(|(name, value)| UnderWay {
            name,
            bytes: name.len() + value.len(),
            began_at: read(name, value).map(|transaction| transaction.began_at),
        })
        .collect()
}
