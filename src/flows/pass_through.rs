//! `POST /oauth/token` of a native client: passed on to its authorization server, and the answer back.
//!
//! A DPoP proof is passed on as it came (RFC 9449 section 5): it is between the client and its server.
//!
//! A browser's request is refused before the brake and the authorization server, unless it is from a page of
//! a listed origin: otherwise any page could get its visitor's address braked.
//!
//! There is no session here: no cookie is read or set, nothing is remembered, and tokens are not judged
//! before they are used. The gateway's secret is lent only as `core::session::oauth::native` allows. It must
//! never repeat a request: a refresh token may have been replaced although no answer came. So a refresh waits
//! for as long as an answer may take, because nobody keeps a late one, and the client has no other token.
//!
//! Tested in `src/flows/tests/pass_through.rs`, against an authorization server of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::settings::{ClientCredential, GrantType, NativeClient};
use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::core::session::exchange::lease::FLIGHT;
use crate::core::session::oauth::answer::ServerAnswer;
use crate::core::session::oauth::native::{ClientProver, NativeRequest, Registered};
use crate::core::session::oauth::request::Parameters;
use crate::core::token::dpop::{self, DPOP};
use crate::flows::call_authorization_server::{self, ClientAtServer, ask_token_endpoint};
use crate::flows::heard::is_of_a_browser;
use crate::flows::oauth_answer::OAuthAnswer;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::{Gate, brake};
use crate::state::live::Live;
use crate::state::metrics::{ExchangeOutcome, RequestOutcome};

/// Passes a request on to the authorization server, and returns its answer.
///
/// # Errors
/// Every refusal, the gateway's and the AS's.
pub(in crate::flows) async fn pass_through(
    gate: &Gate,
    live: &Live,
    head: &RequestHead<'_>,
    client: &Arc<NativeClient>,
    parameters: &Parameters,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let result = match may_go_on(gate, live, head, client, parameters) {
        Ok(request) => ask_server(gate, live, head, client, &request).await,
        Err(denial) => Err(denial),
    };
    let outcome = count(gate, client, parameters, &result);
    match result {
        Ok((body, dpop_nonce)) => Ok(OAuthAnswer {
            status: StatusCode::OK,
            body,
            set_cookie: None,
            also_clears: Vec::new(),
            dpop_nonce,
            client: client.name.clone(),
            subject: None,
            family: None,
            outcome,
        }),
        Err(denial) => {
            Err(OAuthRefusal { client: Some(client.name.clone()), ..OAuthRefusal::before_client(denial) })
        }
    }
}

/// Checks that the request may go on, before anything is done for it.
fn may_go_on(
    gate: &Gate,
    live: &Live,
    head: &RequestHead<'_>,
    client: &NativeClient,
    parameters: &Parameters,
) -> Result<NativeRequest, Denial> {
    if is_of_a_browser(head.headers) && live.settings.sharing.reader(head.headers).is_none() {
        return Err(Denial::OriginNotAllowed);
    }
    let request = NativeRequest::read(head.headers, parameters, registered(client))?;
    brake::before_work(gate, live, head.client_address, gate.clock.now())?;
    Ok(request)
}

fn registered(client: &NativeClient) -> Registered<'_> {
    Registered {
        client_id: &client.client_id,
        grants: &client.grants,
        lends: !matches!(client.credential, ClientCredential::None),
        redirect_uri: client.redirect_uri.as_deref(),
        scope: client.scope.as_deref(),
        resource: client.resource.as_deref(),
    }
}

/// The body, and a nonce for the client's next DPoP proof.
type Answered = (Bytes, Option<HeaderValue>);

async fn ask_server(
    gate: &Gate,
    live: &Live,
    head: &RequestHead<'_>,
    client: &NativeClient,
    request: &NativeRequest,
) -> Result<Answered, Denial> {
    dpop::carried(head.headers).map_err(|wrong| Denial::InvalidDpopProof(wrong.why()))?;
    // Bounded, because anybody can begin one, and each may wait for a slow AS.
    let refreshes = request.grant == GrantType::RefreshToken;
    let (exchanges, at) = (&gate.exchanges, &client.issuer);
    let place =
        if refreshes { exchanges.begin_passed_refresh(at) } else { exchanges.begin_code_exchange(at) };
    let Some(_place) = place else {
        tracing::error!(client = %client.name, "too many requests wait for the AS; another was refused");
        return Err(Denial::AuthorizationServerUnavailable);
    };
    let proof = match &request.prover {
        ClientProver::Lent => call_authorization_server::ClientProof::Ours(&client.credential),
        ClientProver::Brought { authentication, .. } => {
            call_authorization_server::ClientProof::Brought(authentication)
        }
    };
    let asked = ClientAtServer { client_id: &client.client_id, issuer: &client.issuer, proof };
    let asking = ask_token_endpoint(gate, live, asked, &request.form, head.headers.get(DPOP));
    let late = ServerAnswer::Unusable("the AS did not answer in time".into());
    match tokio::time::timeout(patience(live, client, refreshes), asking).await.unwrap_or(late) {
        ServerAnswer::Tokens(answer) => {
            let nonce = answer.dpop_nonce.as_deref().and_then(|nonce| HeaderValue::from_str(nonce).ok());
            Ok((Bytes::copy_from_slice(answer.to_native_json().expose().as_bytes()), nonce))
        }
        ServerAnswer::InvalidGrant(said) | ServerAnswer::Refused(said) => Err(Denial::of_unproven(said)),
        ServerAnswer::InvalidClient(said) => match request.prover {
            ClientProver::Brought { by_basic, .. } => Err(Denial::ClientCredentialRefused { said, by_basic }),
            ClientProver::Lent => {
                call_authorization_server::log_invalid_client(
                    live,
                    &client.name,
                    &client.credential,
                    &client.issuer,
                    &said,
                );
                Err(Denial::AuthorizationServerUnavailable)
            }
        },
        ServerAnswer::Unusable(outage) => {
            tracing::error!(client = %client.name, issuer = %client.issuer, why = outage.why, status = outage.status, "a native client's request brought no answer");
            Err(outage.denial())
        }
    }
}

/// How long the caller waits for the AS.
fn patience(live: &Live, client: &NativeClient, refreshes: bool) -> Duration {
    let issuer = live.issuers.by_name(&client.issuer);
    let timeout = issuer.map_or(Duration::from_secs(5), |issuer| issuer.settings.timeout);
    if refreshes { FLIGHT } else { timeout }
}

/// Counts a refresh as an exchange, and every other grant as a sign-in. A device that polls for its user is
/// not counted. Returns the outcome for the log.
fn count(
    gate: &Gate,
    client: &NativeClient,
    parameters: &Parameters,
    result: &Result<Answered, Denial>,
) -> RequestOutcome {
    if parameters.get("grant_type") == Some(GrantType::RefreshToken.name()) {
        let outcome = match result {
            Ok(_) => ExchangeOutcome::Rotated,
            Err(Denial::AuthorizationServerUnavailable | Denial::AuthorizationServerBusy { .. }) => {
                ExchangeOutcome::AsUnavailable
            }
            Err(Denial::FromAuthorizationServer(said)) if said.error == "invalid_grant" => {
                ExchangeOutcome::InvalidGrant
            }
            Err(_) => ExchangeOutcome::Refused,
        };
        gate.metrics.exchanged(&client.name, outcome);
        return RequestOutcome::Exchanged(outcome);
    }
    let waits = |error: &str| matches!(error, "authorization_pending" | "slow_down");
    if !matches!(result, Err(Denial::FromAuthorizationServer(said)) if waits(&said.error)) {
        gate.metrics.signed_in(&client.name, result.is_ok());
    }
    RequestOutcome::SignedIn
}
