//! A code for a session, a session for a new access token: at `POST /oauth/token` in `token` mode, and in the
//! middle of a request in `session` mode. What was exchanged is remembered in the store.
//!
//! In order: the client being known, check the origin, read what is asked, and only then look at the
//! cookie or ask anybody. A refresh token never appears in an answer; an outage never clears a
//! cookie.
//!
//! - `code`: a code for a session; `refresh`: a session for a new access token
//! - `presented`: what comes of a presented grant
//! - `coordinate`: how replicas agree on what becomes of a session; `flight`: one call to the AS, and what is
//!   kept of it
//! - `judge`: whether new tokens may be handed out; `explain_unusable`: why the AS's are of no use here
//! - `page_key`: the key of a page whose tokens are bound to it
//! - `receipts`: how it is noticed that an answer arrived
//! - `unfilled_headers`: what an ID token lacks that upstreams are to be told

pub(in crate::flows) mod code;
pub(in crate::flows) mod coordinate;
mod explain_unusable;
mod flight;
pub(in crate::flows) mod judge;
pub(in crate::flows) mod page_key;
mod presented;
pub(in crate::flows) mod receipts;
pub(in crate::flows) mod refresh;
mod unfilled_headers;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::core::server_error::ServerError;
use crate::core::session::exchange::Windows;
use crate::core::session::oauth::answer::PageTokens;
use crate::core::session::oauth::request::{Parameters, TokenRequest};
use crate::core::session::origin::may_touch_cookie;
use crate::core::session_end::SessionEnd;
use crate::flows::client_request::ClientRequest;
use crate::flows::family::session_cookie;
use crate::flows::oauth_answer::OAuthAnswer;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::{Gate, call_authorization_server};
use crate::state::live::Live;
use crate::state::metrics::ExchangeOutcome;

/// Code exchange and refresh of a client with a cookie.
///
/// # Errors
/// Every refusal, with what becomes of the cookie.
pub(in crate::flows) async fn exchange(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    client: &Arc<Client>,
    parameters: &Parameters,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let request = ClientRequest { gate, live, client, head };
    match permitted_request(live, head, client, parameters) {
        Ok(TokenRequest::Refresh { scope, activity }) => refresh::refresh(request, scope, activity).await,
        Ok(TokenRequest::Code { code, verifier, redirect_uri }) => {
            code::exchange_code(request, code, verifier, &redirect_uri).await
        }
        Err(denial) => {
            count_refused(gate, client, parameters);
            Err(OAuthRefusal::of(denial, client, None))
        }
    }
}

fn permitted_request(
    live: &Live,
    head: &RequestHead<'_>,
    client: &Client,
    parameters: &Parameters,
) -> Result<TokenRequest, Denial> {
    may_touch_cookie(head.headers, &client.origins, head.asked_at(&live.settings.public_url))?;
    TokenRequest::read(head.headers, parameters, &client.grants, client.resource.as_deref())
}

fn count_refused(gate: &Gate, client: &Client, parameters: &Parameters) {
    if parameters.get("grant_type") == Some("authorization_code") {
        gate.metrics.signed_in(&client.name, false);
    } else {
        gate.metrics.exchanged(&client.name, ExchangeOutcome::Refused);
    }
}

pub(in crate::flows) fn windows(live: &Live, client: &Client) -> Windows {
    Windows { grace: live.settings.sessions.grace, timeouts: session_cookie::timeouts(client) }
}

/// Says once a client that a page can use an access token after its session went idle. One of `session` mode
/// has no token to use: its session is judged at each request.
fn warn_of_long_life(gate: &Gate, client: &Client, expires_in: Option<Duration>) {
    let outlives = client.session.is_none() && expires_in.is_some_and(|life| life > client.idle_timeout);
    if outlives && gate.exchanges.claim_warning(&client.name) {
        tracing::warn!(
            client = %client.name,
            "access tokens live longer than idle_timeout: a page can use one after its session went idle; \
             shorten their life at the AS, or lengthen clients.{}.idle_timeout",
            client.name,
        );
    }
}

/// The gateway's own fault; the session stays.
fn log_invalid_client(live: &Live, client: &Client, said: &ServerError) {
    call_authorization_server::log_invalid_client(
        live,
        &client.name,
        &client.credential,
        &client.issuer,
        said,
    );
}

/// Says what nobody else tells an operator: why the AS exchanged nothing. It is asked again with what it
/// wants in a proof.
fn log_refused(client: &Client, said: &ServerError, what: &'static str) {
    if matches!(said.error.as_str(), "use_dpop_nonce" | "invalid_dpop_proof") {
        return;
    }
    tracing::warn!(
        client = %client.name,
        issuer = %client.issuer,
        error = said.error,
        error_description = said.description,
        "the AS refused {what}; where it says unauthorized_client, the client may not use this grant there, or, at some servers, \
         its credential does not count"
    );
}

/// What the AS wants in the page's next proof.
fn nonce_header(page: &PageTokens) -> Option<HeaderValue> {
    page.dpop_nonce.as_deref().and_then(|nonce| HeaderValue::from_str(nonce).ok())
}

const fn outcome_of_end(end: SessionEnd) -> ExchangeOutcome {
    match end {
        SessionEnd::IdleTimeout | SessionEnd::AbsoluteTimeout => ExchangeOutcome::Expired,
        SessionEnd::Revoked
        | SessionEnd::ReuseDetected
        | SessionEnd::SignedInAgain
        | SessionEnd::SignedInAsAnother => ExchangeOutcome::Revoked,
        SessionEnd::InvalidGrant => ExchangeOutcome::InvalidGrant,
    }
}
