//! An authorization request is pushed (RFC 9126): the authorization server gets it from the gateway, which
//! proves that it is the client, and the browser brings no more than its name.
//!
//! It is asked once, within the `timeout` of the issuer. Whatever comes of it, nothing is lost: the person
//! may begin again. Anybody can make the gateway ask, so whoever was denied too often is braked, and there
//! are so many at once and no more.

use std::net::IpAddr;

use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::metadata::Endpoints;
use crate::core::session::oauth::pushed::{PushAnswer, RequestUri};
use crate::core::session::oauth::request::ServerForm;
use crate::flows::call_authorization_server::{log_invalid_client, push_authorization_request};
use crate::flows::{Gate, brake};
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;

/// What is pushed where, and as whose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Push<'a> {
    pub(super) client: &'a Client,
    pub(super) issuer: &'a IssuerState,
    pub(super) endpoints: &'a Endpoints,
    pub(super) form: &'a ServerForm,
}

/// Returns the name under which the authorization server knows the request. `address`: who begins the
/// sign-in.
///
/// # Errors
/// Why there is none.
pub(super) async fn push(
    gate: &Gate,
    live: &Live,
    pushing: Push<'_>,
    address: IpAddr,
) -> Result<RequestUri, Denial> {
    let Push { client, issuer, endpoints, form } = pushing;
    let Some(url) = &endpoints.pushed_authorization else {
        tracing::error!(client = %client.name, issuer = %client.issuer, "the AS publishes no pushed authorization request endpoint that may be used, and its metadata or clients.{}.pushed want requests pushed there, so nobody can sign in", client.name);
        return Err(Denial::AuthorizationServerUnavailable);
    };
    brake::before_work(gate, live, address, gate.clock.now())?;
    let Some(_place) = gate.exchanges.begin_push() else {
        tracing::error!(client = %client.name, "too many authorization requests are being pushed to the AS; another was refused");
        return Err(Denial::AuthorizationServerUnavailable);
    };
    match push_authorization_request(gate, issuer, endpoints, url, client.into(), form).await {
        PushAnswer::Taken(name) => Ok(name),
        PushAnswer::Refused(said) => Err(Denial::SignInRefused(said)),
        PushAnswer::InvalidClient(said) => {
            log_invalid_client(live, &client.name, &client.credential, &client.issuer, &said);
            Err(Denial::AuthorizationServerUnavailable)
        }
        PushAnswer::Unusable(outage) => {
            tracing::error!(client = %client.name, issuer = %client.issuer, why = outage.why, "an authorization request could not be pushed");
            Err(outage.denial())
        }
    }
}
