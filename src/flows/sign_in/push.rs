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
use crate::core::server_error::ServerError;
use crate::core::session::oauth::pushed::{PushAnswer, RequestUri};
use crate::core::session::oauth::request::ServerForm;
use crate::flows::call_authorization_server::{log_invalid_client, push_authorization_request};
use crate::flows::keep_keys_fresh::Means;
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
    pub(super) asks_for: AsksFor,
}

/// Who said what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AsksFor {
    /// The configuration alone.
    WhatIsConfigured,
    /// Also whoever linked here: `acr_values`, `max_age`, or what the client lets its pages add.
    MoreByLink,
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
    let Push { client, issuer, endpoints, form, asks_for } = pushing;
    let Some(url) = &endpoints.pushed_authorization else {
        tracing::error!(client = %client.name, issuer = %client.issuer, "the AS publishes no pushed authorization request endpoint that may be used, and its metadata or clients.{}.pushed want requests pushed there, so nobody can sign in", client.name);
        return Err(Denial::AuthorizationServerUnavailable);
    };
    brake::before_work(gate, live, address, gate.clock.now())?;
    let Some(_place) = gate.exchanges.begin_push(&client.issuer) else {
        tracing::error!(client = %client.name, "too many authorization requests are being pushed to the AS; another was refused");
        return Err(Denial::AuthorizationServerUnavailable);
    };
    let means = Means::of(gate);
    match push_authorization_request(means, &*gate.random, issuer, endpoints, url, client.into(), form).await
    {
        PushAnswer::Taken(name) => Ok(name),
        PushAnswer::Refused(said) => {
            log_refusal(client, asks_for, &said);
            Err(Denial::SignInRefused(said))
        }
        PushAnswer::InvalidClient(said) => {
            log_invalid_client(live, &client.name, &client.credential, &client.issuer, &said);
            Err(Denial::AuthorizationServerUnavailable)
        }
        PushAnswer::Unusable(outage) => {
            tracing::error!(client = %client.name, issuer = %client.issuer, why = outage.why, status = outage.status, "an authorization request could not be pushed");
            Err(outage.denial())
        }
    }
}

/// No browser was there yet, so the person who is shown the refusal did nothing that could be mended: it is
/// the configuration, the client's registration, or what a link asked for.
fn log_refusal(client: &Client, asks_for: AsksFor, said: &ServerError) {
    let (name, issuer) = (&client.name, &client.issuer);
    let (error, error_description) = (&said.error, &said.description);
    if asks_for == AsksFor::MoreByLink || said.wants_the_person() {
        tracing::warn!(
            client = %name, %issuer, error, error_description,
            "the AS refused a pushed authorization request: it does not take what the link to /oauth/login added to it, or else \
             what is configured for this client (clients.{name}.scope, resource, authorize) or registered for it there"
        );
    } else {
        tracing::error!(
            client = %name, %issuer, error, error_description,
            "the AS refused a pushed authorization request, so nobody can sign in: what is configured for this client \
             (clients.{name}.scope, resource, authorize) must be what it takes, and the redirect URI must be registered there"
        );
    }
}
