//! `POST /oauth/token` in `token` mode: a code for a session, a session for a new access token.
//! What was exchanged is remembered in this process.
//!
//! In order: read the parameters, find the client, check the origin, and only then look at the
//! cookie or ask anybody. A refresh token never appears in an answer; an outage never clears a
//! cookie.

mod judge;
mod refresh;
pub(in crate::flows) mod session_cookie;
mod sign_in;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::settings::{Client, GrantType};
use crate::core::denial::{Denial, SessionEnd};
use crate::core::request::RequestHead;
use crate::core::session::exchange::Windows;
use crate::core::session::oauth::request::{Parameters, TokenRequest};
use crate::core::session::origin::may_touch_cookie;
use crate::flows::Gate;
use crate::state::live::Live;
use crate::state::metrics::ExchangeOutcome;

/// What `/oauth/token` answers. Everything of it may be shown to the page and the log.
#[derive(Debug)]
pub struct OAuthAnswer {
    pub status: StatusCode,
    /// JSON; empty with 204.
    pub body: Bytes,
    pub set_cookie: Option<HeaderValue>,
    pub client: Arc<Client>,
    pub subject: Option<String>,
    /// For the access log: an `ExchangeOutcome` label, or `signed_in`, `signed_out`.
    pub outcome: &'static str,
}

/// A refusal of `/oauth/token`.
#[derive(Debug)]
pub struct OAuthRefusal {
    pub denial: Denial,
    pub client: Option<Arc<Client>>,
    /// Clears the cookie where the session is over; carries the next one where only the access
    /// token is of no use.
    pub set_cookie: Option<HeaderValue>,
    pub subject: Option<String>,
}

impl OAuthRefusal {
    pub(in crate::flows) const fn before_client(denial: Denial) -> Self {
        Self { denial, client: None, set_cookie: None, subject: None }
    }

    /// With the cookie cleared where the denial says so.
    pub(in crate::flows) fn of(denial: Denial, client: &Arc<Client>, subject: Option<String>) -> Self {
        let set_cookie = denial.clears_cookie().then(|| session_cookie::clear(client)).flatten();
        Self { denial, client: Some(Arc::clone(client)), set_cookie, subject }
    }
}

/// `POST /oauth/token`: code exchange and refresh. `body` is whole and within its limit. The clock is
/// read anew at each step: one may wait for the AS.
///
/// # Errors
/// Every refusal, with what becomes of the cookie.
pub async fn token(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    body: &[u8],
) -> Result<OAuthAnswer, OAuthRefusal> {
    let parameters = Parameters::read(head.headers, body).map_err(OAuthRefusal::before_client)?;
    let client = find_client(live, &parameters).map_err(OAuthRefusal::before_client)?;
    let request = permitted_request(live, head, &client, &parameters);
    let at = At { gate, live, client: &client, head };
    match request {
        Ok(TokenRequest::Refresh { scope, background }) => refresh::refresh(at, scope, !background).await,
        Ok(TokenRequest::Code { code, verifier, redirect_uri }) => {
            sign_in::sign_in(at, code, verifier, &redirect_uri).await
        }
        Err(denial) => {
            count_refused(gate, &client, &parameters);
            Err(OAuthRefusal::of(denial, &client, None))
        }
    }
}

fn permitted_request(
    live: &Live,
    head: &RequestHead<'_>,
    client: &Client,
    parameters: &Parameters,
) -> Result<TokenRequest, Denial> {
    may_touch_cookie(head.headers, &client.origins, &live.settings.public_url)?;
    let request = TokenRequest::read(parameters, client.resource.as_deref())?;
    let grant = match &request {
        TokenRequest::Code { .. } => GrantType::AuthorizationCode,
        TokenRequest::Refresh { .. } => GrantType::RefreshToken,
    };
    if client.grants.contains(&grant) { Ok(request) } else { Err(Denial::UnauthorizedClient) }
}

fn count_refused(gate: &Gate, client: &Client, parameters: &Parameters) {
    if parameters.get("grant_type") == Some("authorization_code") {
        gate.metrics.signed_in(&client.name, false);
    } else {
        gate.metrics.exchanged(&client.name, ExchangeOutcome::Refused);
    }
}

/// Which client the parameters name.
///
/// # Errors
/// [`Denial::UnknownClient`], [`Denial::InvalidRequest`].
pub(in crate::flows) fn find_client(live: &Live, parameters: &Parameters) -> Result<Arc<Client>, Denial> {
    let client_id = parameters.client_id()?;
    let found = live.settings.clients.iter().find(|client| client.client_id == client_id);
    found.cloned().ok_or(Denial::UnknownClient)
}

/// Whom a request concerns; what every step needs.
#[derive(Clone, Copy)]
struct At<'a> {
    gate: &'a Arc<Gate>,
    live: &'a Arc<Live>,
    client: &'a Arc<Client>,
    head: &'a RequestHead<'a>,
}

impl At<'_> {
    /// How long the browser waits for its answer.
    fn patience(&self) -> Duration {
        let issuer = self.live.issuers.by_name(&self.client.issuer);
        issuer.map_or(Duration::from_secs(5), |issuer| issuer.settings.timeout)
    }
}

pub(in crate::flows) fn windows(live: &Live, client: &Client) -> Windows {
    Windows { grace: live.settings.sessions.grace, timeouts: session_cookie::timeouts(client) }
}

const fn outcome_of_end(end: SessionEnd) -> ExchangeOutcome {
    match end {
        SessionEnd::IdleTimeout | SessionEnd::AbsoluteTimeout => ExchangeOutcome::Expired,
        SessionEnd::Revoked | SessionEnd::ReuseDetected => ExchangeOutcome::Revoked,
        SessionEnd::InvalidGrant => ExchangeOutcome::InvalidGrant,
    }
}
