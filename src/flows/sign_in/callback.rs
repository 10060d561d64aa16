//! `GET /oauth/callback`: the browser comes back from the authorization server with a code, which is
//! exchanged for a session (RFC 6749 section 4.1.2).
//!
//! Checks in order: that this is a navigation; that the sign-in was begun in this browser, and for which
//! client; that the answer is from this authorization server (RFC 9207). Only then is the code spent, once.
//! It must never answer with a redirect when it sets a session, because in a redirect chain that began on
//! another site the browser withholds the cookie just set. It must always do so for a code whose sign-in this
//! browser did not begin: a script of the gateway's origin may have opened an address prepared elsewhere, and
//! would read the code from the page's address (RFC 9700 section 4.5).

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use super::{NewSession, SignInRefusal, binding, clear, clients, only_way_in, registration, request_of};
use crate::config::settings::{Client, Login, SameSite};
use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::request::RequestHead;
use crate::core::secret::SecretString;
use crate::core::session::authorization::{AuthorizationResponse, login_path};
use crate::core::session::cookie;
use crate::core::session::exchange::REPLICA_CLOCK_SKEW;
use crate::core::session::navigation::{goes_there, may_withhold_strict_cookies};
use crate::core::session::step_up::{Began, StepUp};
use crate::core::session::transaction::{self, LIFETIME, Transaction, client_named_by, state_id};
use crate::flows::Gate;
use crate::flows::client_request::ClientRequest;
use crate::flows::exchange::code::{Code, CodeBearer, OwnSignIn, prepare};
use crate::flows::keep_keys_fresh::endpoints;
use crate::flows::ports::{Keep, StoreKey, Value};
use crate::state::live::Live;
use crate::state::log_targets::SECURITY;

/// What becomes of a browser that came back.
#[derive(Debug)]
pub enum Arrived {
    /// It is sent to the same address once more, from a page of ours, because it withheld the cookie of the
    /// previous session.
    Again {
        client: ClientName,
    },
    /// To begin once more, by itself: it expired at the authorization server.
    Anew {
        goes_to: String,
        set_cookies: Vec<HeaderValue>,
        client: ClientName,
    },
    SignedIn(Box<SignedIn>),
}

/// A completed sign-in.
#[derive(Debug)]
pub struct SignedIn {
    pub goes_to: String,
    pub set_cookies: Vec<HeaderValue>,
    pub client: ClientName,
    pub whose: NewSession,
}

/// Completes a sign-in. `path`: where the browser came back to.
///
/// # Errors
/// Why nobody is signed in; no session was touched. Or, with [`SignInRefusal::signed_in`], why the sign-in is
/// not as it was asked for; the previous session is over then.
pub async fn callback(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    path: &str,
    query: Option<&str>,
) -> Result<Arrived, SignInRefusal> {
    if !goes_there(head.headers) {
        return Err(Denial::NotANavigation.into());
    }
    let answer = AuthorizationResponse::read(query.unwrap_or_default()).map_err(|denial| {
        // The user sees nothing of what came, not even that it was unreadable.
        tracing::warn!(
            why = denial.facts().detail,
            "a browser came back from a sign-in with an answer that is none"
        );
        SignInRefusal { again: only_way_in(live), ..strangers(denial.into()) }
    })?;
    let named = client_named_by(answer.state.expose());
    let Some((client, login)) = clients(live).find(|(client, _)| Some(client.name.as_str()) == named) else {
        let refusal = strangers(Denial::SignInNotUnderWay.into());
        return Err(SignInRefusal { again: only_way_in(live), ..refusal });
    };
    if client.redirect_uri.strip_prefix(live.settings.public_url.as_str()) != Some(path) {
        // The address of another client, which the code may be for (RFC 9700 section 4.4.2).
        return Err(strangers(refusal(Denial::SignInNotUnderWay, client, None)));
    }
    let cookie = transaction::cookie_name(client.name.as_str(), &answer.state);
    let transaction = match read(live, client, head, &cookie, &answer.state) {
        Ok(Some(transaction)) => transaction,
        Ok(None) => return Err(strangers(refusal(Denial::SignInNotUnderWay, client, None))),
        Err(denial) => return Err(strangers(refusal(denial, client, None))),
    };
    let is_over = |denial| SignInRefusal {
        set_cookies: clear(&cookie).into_iter().collect(),
        ..refusal(denial, client, Some(&transaction))
    };
    // A reload may have moved the client to another server since.
    let issuer = live.issuers.by_name(&client.issuer);
    let is_elsewhere = issuer.is_some_and(|issuer| transaction.is_of_another(&registration(client, issuer)));
    if transaction.is_over(gate.clock.now()) || is_elsewhere {
        return Err(is_over(Denial::SignInNotUnderWay));
    }
    if is_strict_here(client) && may_withhold_strict_cookies(head.headers) {
        return Ok(Arrived::Again { client: client.name.clone() });
    }
    let request = ClientRequest { gate, live, client, head };
    let has_expired = answer.says_that_it_expired();
    let result = session(request, login, &transaction, answer).await;
    let is_expired =
        has_expired && matches!(&result, Err(failed) if failed.denial == Denial::SignInNotUnderWay);
    if is_expired && transaction.may_begin_anew(gate.clock.now()) {
        let Transaction { return_to, step_up, .. } = &transaction;
        return Ok(Arrived::Anew {
            goes_to: login_path(&client.client_id, Some(return_to), step_up),
            set_cookies: clear(&cookie).into_iter().collect(),
            client: client.name.clone(),
        });
    }
    gate.metrics.signed_in(&client.name, result.is_ok());
    let made = match result {
        Ok(made) => made,
        Err(Failed { denial, is_final: true }) => return Err(is_over(denial)),
        Err(Failed { denial, is_final: false }) => return Err(refusal(denial, client, Some(&transaction))),
    };
    let set_cookies = clear(&cookie).into_iter().chain(made.set_cookies).collect();
    if let Some(untold) = made.not_as_asked {
        log_not_as_asked(client, &untold);
        let denial = refusal(Denial::StepUpNotDone, client, Some(&transaction));
        return Err(SignInRefusal { set_cookies, signed_in: Some(Box::new(made.whose)), ..denial });
    }
    let (goes_to, client) = (transaction.return_to, client.name.clone());
    Ok(Arrived::SignedIn(Box::new(SignedIn { goes_to, set_cookies, client, whose: made.whose })))
}

/// Logs a refusal, unless it is the user's own doing.
fn log_refusal(client: &Client, denial: &Denial) {
    let Denial::SignInRefused(said) = denial else { return };
    if !said.wants_the_person() {
        let (name, error, error_description) = (&client.name, &said.error, &said.description);
        tracing::warn!(
            client = %name, issuer = %client.issuer, error, error_description,
            "the AS ended a sign-in: it does not take what is configured for this client (clients.{name}.scope, resource, authorize), \
             what a link to /oauth/login added to it, or what is registered for it there"
        );
    }
}

fn log_not_as_asked(client: &Client, untold: &[&'static str]) {
    if untold.is_empty() {
        tracing::warn!(client = %client.name, "the AS did not ask again as the step-up told it to; acr or auth_time of its access token say so");
    } else {
        tracing::warn!(
            client = %client.name,
            absent = untold.join(" "),
            "whether the AS asked again, as the step-up told it to, cannot be known: its access token does not say that; let the \
             AS write these claims into access tokens, or no route can ask for them"
        );
    }
}

/// Whether the client's cookie is `SameSite=Strict` and for this path, so that the browser may have withheld
/// it and would send it otherwise. Without it the previous session could not be ended.
fn is_strict_here(client: &Client) -> bool {
    client.cookie.same_site == SameSite::Strict && !client.cookie.path.starts_with("/oauth/token")
}

/// The refusal of an answer whose sign-in this browser did not begin: whoever began it elsewhere has what its
/// code needs.
fn strangers(refusal: SignInRefusal) -> SignInRefusal {
    SignInRefusal { may_be_strangers: true, ..refusal }
}

fn refusal(denial: Denial, client: &Client, begun: Option<&Transaction>) -> SignInRefusal {
    match begun {
        Some(begun) => SignInRefusal::of(denial, client, Some(&begun.return_to), &begun.step_up),
        None => SignInRefusal::of(denial, client, None, &StepUp::default()),
    }
}

/// The sign-in that this browser began with `state`, if any.
fn read(
    live: &Live,
    client: &Client,
    head: &RequestHead<'_>,
    cookie: &str,
    state: &SecretString,
) -> Result<Option<Transaction>, Denial> {
    let Some(value) = cookie::read(head.headers, cookie)? else { return Ok(None) };
    let plain = std::str::from_utf8(value)
        .ok()
        .and_then(|sealed| live.cookie_keys.open(binding(client, cookie), sealed));
    let transaction = plain.and_then(|plain| Transaction::from_bytes(plain.expose()));
    Ok(transaction.filter(|transaction| transaction.state == *state))
}

struct Failed {
    denial: Denial,
    /// Whether the sign-in is over; if not, the browser may come back once more with the same answer.
    is_final: bool,
}

struct Made {
    set_cookies: Vec<HeaderValue>,
    whose: NewSession,
    /// Set if a step-up was not done: the claims that would have shown it and are absent.
    not_as_asked: Option<Vec<&'static str>>,
}

async fn session(
    request: ClientRequest<'_>,
    login: &Login,
    transaction: &Transaction,
    answer: AuthorizationResponse,
) -> Result<Made, Failed> {
    let over = |denial| Failed { denial, is_final: true };
    let later = |denial| Failed { denial, is_final: false };
    let issuer =
        request.live.issuers.by_name(&request.client.issuer).ok_or_else(|| later(Denial::Internal))?;
    let endpoints = endpoints(request.gate, issuer).await.map_err(later)?;
    if !answer.is_of(&issuer.settings.rules.iss, endpoints.names_itself) {
        tracing::error!(target: SECURITY, event = "security", client = %request.client.name, issuer = %request.client.issuer, "an answer to a sign-in is another authorization server's, or does not say whose it is; its code was not used");
        return Err(over(Denial::AnswerMismatch));
    }
    let code = Code {
        code: answer.code().inspect_err(|denial| log_refusal(request.client, denial)).map_err(over)?,
        verifier: transaction.verifier.clone(),
        by: CodeBearer::Gateway(OwnSignIn {
            nonce: transaction.nonce.clone(),
            needs_id_token: request_of(request.client, login).asks_for_id_token(),
        }),
    };
    let prepared = prepare(request).await.map_err(later)?;
    if !is_first(request.gate, transaction).await.map_err(later)? {
        return Err(over(Denial::SignInNotUnderWay));
    }
    let made = prepared.exchange(request, &code).await.map_err(over)?;
    let session = made.session.ok_or_else(|| over(Denial::NoRefreshToken))?;
    let now = request.gate.clock.now();
    // If the token cannot be verified here, no route asks for more.
    let not_as_asked = made.caller.as_deref().map(Caller::token).and_then(|token| {
        let step_up = &transaction.step_up;
        let began = Began { at: transaction.began_at, clock_skew: issuer.settings.rules.clock_skew };
        (!step_up.is_done(token.into(), began, now)).then(|| step_up.untold(token.into()))
    });
    let whose = NewSession { subject: made.subject.map(|subject| subject.sub), family: session.family };
    Ok(Made { set_cookies: session.set_cookies(request.client, now), whose, not_as_asked })
}

/// Whether this state was not presented before, at any replica. A code must be sent once: at a second time
/// the authorization server revokes what it issued for it (RFC 6749 section 4.1.2).
async fn is_first(gate: &Gate, transaction: &Transaction) -> Result<bool, Denial> {
    let key = StoreKey::new("signin", state_id(&transaction.state));
    let mark = Value {
        bytes: Bytes::from_static(b"done"),
        lifetime: LIFETIME.saturating_add(REPLICA_CLOCK_SKEW),
        keep: Keep::WhileRunning,
    };
    let put = gate.store.put_if(&key, None, mark).await.map_err(|fault| {
        tracing::warn!(%fault, "the store could not be asked about a sign-in");
        Denial::StoreUnavailable
    })?;
    Ok(put.is_some())
}
