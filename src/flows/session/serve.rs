//! The access token for a session's request: the one at hand or, if that is gone, about to expire, or revoked
//! by itself, the one from an exchange.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Claims, InSession, NotInSession, grace, uses};
use crate::config::settings::IdentityFrom;
use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::session::activity::Activity;
use crate::core::session::exchange::answer::ExchangeAnswer;
use crate::core::session::exchange::tokens::SessionTokens;
use crate::core::session::grant::{Generation, Grant};
use crate::core::session::oauth::answer::claims_from_token_endpoint;
use crate::core::session::ride::Ride;
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::flows::authenticate::authenticate;
use crate::flows::brought::Brought;
use crate::flows::client_request::ClientRequest;
use crate::flows::exchange::refresh::renew;
use crate::flows::family::record::change;
use crate::flows::family::session_cookie;
use crate::flows::family::tokens;
use crate::state::sessions::{HeldTokens, KnownFamily, Pause};
use crate::state::verified_tokens::KnownCaller;

/// How long before the expiry of the token at hand a request stops waiting for a new one.
const BEFORE_ITS_END: Duration = Duration::from_secs(1);

type Served = Result<InSession, Box<NotInSession>>;

/// Serves a session whose grant is not revoked.
pub(super) async fn serve(request: ClientRequest<'_>, grant: Grant, activity: Activity) -> Served {
    let refused = |denial| Box::new(NotInSession::of(&grant, denial));
    let at_hand = at_hand(request, &grant);
    let known = uses::known(request, &grant, at_hand.is_some()).await.map_err(refused)?;
    let is_over = is_over(request, &grant, &known).await.map_err(refused)?;
    let held = match at_hand {
        _ if is_over => None,
        Some(held) => Some(held),
        None => match paused(request, &known, request.gate.clock.now()) {
            Some(Pause::NoIdToken) => return Err(refused(denial_of(Pause::NoIdToken))),
            _ => kept(request, &grant, &known).await.map_err(refused)?,
        },
    };
    let now = request.gate.clock.now();
    if let Some(held) = &held
        && !is_due(request, &grant, &known, held, now)
    {
        match verify(request, held, now).await {
            Ok(found) => {
                uses::note(request, &grant, &known, activity, now);
                return Ok(in_session(request, grant, &known, Arc::clone(held), found));
            }
            Err(denial) if is_mended_by_another(&denial) => {}
            Err(denial) => return Err(refused(denial)),
        }
    }
    let meanwhile = held.filter(|held| now < held.expires_at);
    let failed = if let Some(why) = paused(request, &known, now) {
        refused(denial_of(why))
    } else {
        let left = meanwhile.as_ref().map(|held| held.expires_at.since(now).saturating_sub(BEFORE_ITS_END));
        let patience = request.patience().min(left.unwrap_or(Duration::MAX));
        match exchanged(request, &grant, &known, activity, patience).await {
            Ok(served) => return Ok(served),
            Err(failed) => {
                if let Some(held) = &meanwhile {
                    known.delay_early(request.gate.clock.now(), held.expires_at);
                }
                failed
            }
        }
    };
    // A valid token serves, while it is not known that the session is over.
    match meanwhile {
        Some(held) if !matches!(failed.denial, Denial::NotSignedIn { ended: Some(_) }) => {
            match verify(request, &held, request.gate.clock.now()).await {
                Ok(found) => {
                    uses::note(request, &grant, &known, activity, now);
                    Ok(InSession {
                        ride: failed.side.ride,
                        ..in_session(request, grant, &known, held, found)
                    })
                }
                Err(_) => Err(failed),
            }
        }
        _ => Err(failed),
    }
}

/// Whether the tokens at hand are due for an exchange. They are earlier while a long-lived response of the
/// session is open, which ends with them unless there is another access token by then.
fn is_due(
    request: ClientRequest<'_>,
    grant: &Grant,
    known: &KnownFamily,
    held: &HeldTokens,
    now: Timestamp,
) -> bool {
    let early = || known.may_be_early(now) && request.gate.open_requests.has_lasting(grant.family);
    now >= held.due_at || (now >= held.due_early_at && early())
}

/// Whether the session has timed out, by the latest use that cookie, memory and store know.
async fn is_over(request: ClientRequest<'_>, grant: &Grant, known: &KnownFamily) -> Result<bool, Denial> {
    let ended = || ended(request, grant, known);
    if ended() == Some(SessionEnd::IdleTimeout) {
        uses::look_again(request, grant, known).await?;
    }
    Ok(known.is_over() || ended().is_some())
}

fn ended(request: ClientRequest<'_>, grant: &Grant, known: &KnownFamily) -> Option<SessionEnd> {
    let last_used_at = grant.last_used_at.max(known.used_at());
    session_cookie::timeouts(request.client).ended(grant.signed_in_at, last_used_at, request.gate.clock.now())
}

/// The tokens of a generation, from memory. Not if a reload changed `identity` since: they are then read from
/// the store again.
fn at_hand(request: ClientRequest<'_>, grant: &Grant) -> Option<Arc<HeldTokens>> {
    let held = request.gate.sessions.tokens(grant.family, grant.generation)?;
    (held.id_claims.is_some() == is_told_by_id_token(request)).then_some(held)
}

/// The tokens of a generation, from the store. `None`: they are gone.
async fn kept(
    request: ClientRequest<'_>,
    grant: &Grant,
    known: &KnownFamily,
) -> Result<Option<Arc<HeldTokens>>, Denial> {
    let found = timeout(request.patience(), tokens::of(request.gate, grant)).await;
    match found.map_err(|_| Denial::StoreUnavailable)?? {
        None => Ok(None),
        // An exchange is due anyway, and may bring an ID token.
        Some(tokens) if tokens.id_token.is_none() && tokens.expires_at <= request.gate.clock.now() => {
            Ok(None)
        }
        Some(tokens) => hold(request, grant, known, &tokens).map(Some),
    }
}

fn hold(
    request: ClientRequest<'_>,
    grant: &Grant,
    known: &KnownFamily,
    tokens: &SessionTokens,
) -> Result<Arc<HeldTokens>, Denial> {
    let claims = id_claims(request, known, tokens)?;
    let held = HeldTokens::new(tokens, grant.exchanged_at, claims);
    Ok(request.gate.sessions.hold(grant.family, grant.generation, held))
}

/// The claims that the identity headers are filled from, if that is not the access token. If they are
/// missing, because the ID token is gone or was never asked for, a sign-in brings them; the session and its
/// cookie stay until then.
fn id_claims(
    request: ClientRequest<'_>,
    known: &KnownFamily,
    tokens: &SessionTokens,
) -> Result<Option<Claims>, Denial> {
    if !is_told_by_id_token(request) {
        return Ok(None);
    }
    if let Some(claims) = tokens.id_token.as_ref().and_then(claims_from_token_endpoint) {
        return Ok(Some(claims));
    }
    tracing::error!(
        client = %request.client.name,
        "a session has no ID token, and upstreams are told who calls by that; its person is asked to sign in. It began before \
         clients.{}.identity was id_token, or the store has lost the token, and the AS gives none with a refresh",
        request.client.name,
    );
    known.pause(Pause::NoIdToken, request.gate.clock.now());
    Err(denial_of(Pause::NoIdToken))
}

fn is_told_by_id_token(request: ClientRequest<'_>) -> bool {
    request.client.session.as_ref().is_some_and(|mode| mode.identity == IdentityFrom::IdToken)
}

async fn verify(
    request: ClientRequest<'_>,
    held: &HeldTokens,
    now: Timestamp,
) -> Result<Arc<KnownCaller>, Denial> {
    let brought = Brought::ByIssuer(&request.client.issuer, None);
    authenticate(request.gate, request.live, held.access_token.expose(), brought, now).await
}

/// Whether another access token would make up for this denial.
const fn is_mended_by_another(denial: &Denial) -> bool {
    matches!(
        denial,
        Denial::TokenExpired
            | Denial::Revoked
            | Denial::TokenInactive { .. }
            | Denial::UnknownKey
            | Denial::KeyNotKnownYet { .. }
            | Denial::BadSignature
    )
}

/// Serves the request with the access token from an exchange of the presented grant. That does not prove that
/// the next cookie arrives.
async fn exchanged(
    request: ClientRequest<'_>,
    grant: &Grant,
    known: &Arc<KnownFamily>,
    activity: Activity,
    patience: Duration,
) -> Served {
    let refused = |denial| Box::new(NotInSession::of(grant, denial));
    let found = renew(request, grant, activity, patience).await;
    let answer = match &found.result {
        Ok(answer) => answer,
        Err(Denial::SessionEnded(end)) => {
            known.mark_over();
            request.gate.sessions.drop_tokens(grant.family, grant.generation);
            return Err(Box::new(NotInSession::over(request, grant, *end)));
        }
        Err(denial) => return Err(refused(said_of_a_request(request, known, denial))),
    };
    let next = session_cookie::open(request.live, request.client, answer.cookie.expose());
    let next = next.ok_or_else(|| refused(Denial::Internal))?;
    known.note_generation(next.generation);
    // The store learnt of this use with the answer, or the answer stands for it.
    let now = request.gate.clock.now();
    known.mark_noted(if activity.is_use() { next.last_used_at.max(now) } else { next.last_used_at });
    let ride = found
        .with_cookie
        .then(|| ride(request, &next, answer, found.given_ago.unwrap_or_default()))
        .flatten();
    let served = with_answer(request, next.clone(), known, answer, found.age).await;
    // An answer that waited for somebody may be out of date, and there is time for another. The browser's own
    // cookie is presented for that, as the next one has reached nobody.
    if matches!(served, Err(Denial::AuthorizationServerUnavailable))
        && found.age >= grace(request.live)
        && withdraw(request, grant, next.generation, found.given_ago).await.is_ok()
    {
        return Box::pin(exchanged(request, grant, known, activity, patience)).await;
    }
    match served {
        Ok(served) => Ok(InSession { ride, ..served }),
        Err(denial) => Err(Box::new(refused(denial).with_ride(ride))),
    }
}

/// Withdraws the answer that made this generation.
async fn withdraw(
    request: ClientRequest<'_>,
    grant: &Grant,
    made: Generation,
    given_ago: Option<Duration>,
) -> Result<(), Denial> {
    let timeouts = session_cookie::timeouts(request.client);
    let withdrawn =
        change(request.gate, grant, timeouts, |family, now| family.withdraw_answer(made, given_ago, now));
    timeout(request.patience(), withdrawn).await.map_err(|_| Denial::StoreUnavailable)?
}

/// Serves the request with the answer of an exchange. `next`: the grant that the exchange made.
async fn with_answer(
    request: ClientRequest<'_>,
    next: Grant,
    known: &Arc<KnownFamily>,
    answer: &ExchangeAnswer,
    age: Duration,
) -> Result<InSession, Denial> {
    let now = request.gate.clock.now();
    let Some(page) = &answer.page else {
        known.pause(Pause::AccessTokenUnusable, now);
        return Err(Denial::AccessTokenUnusable);
    };
    let held = match at_hand(request, &next) {
        Some(held) => held,
        None if is_told_by_id_token(request) => {
            kept(request, &next, known).await?.ok_or(Denial::StoreUnavailable)?
        }
        None => {
            let life = page.expires_in.map(|life| now.plus(life.saturating_sub(age)));
            let tokens = SessionTokens {
                access_token: page.access_token.clone(),
                id_token: None,
                expires_at: life.unwrap_or(answer.session_ends_at),
            };
            hold(request, &next, known, &tokens)?
        }
    };
    match verify(request, &held, now).await {
        Ok(found) => Ok(in_session(request, next, known, held, found)),
        Err(Denial::KeyNotKnownYet { .. }) => {
            known.pause(Pause::KeyNotKnownYet, now);
            Err(denial_of(Pause::KeyNotKnownYet))
        }
        // Revoked within `grace`. A request with the next cookie gets another.
        Err(denial) if is_mended_by_another(&denial) => Err(Denial::AuthorizationServerUnavailable),
        Err(denial) => Err(denial),
    }
}

/// The next cookie, to go out with the answer. `given_ago`: how long ago the exchange's answer was first
/// given.
fn ride(
    request: ClientRequest<'_>,
    next: &Grant,
    answer: &ExchangeAnswer,
    given_ago: Duration,
) -> Option<Ride> {
    let now = request.gate.clock.now();
    let kept_until = session_cookie::kept_until(request.client, next);
    let set_cookie = session_cookie::set(request.client, &answer.cookie, kept_until, now)?;
    let until = now.plus(grace(request.live).saturating_sub(given_ago));
    Some(Ride { set_cookie, family: next.family, generation: Some(next.generation), until })
}

/// A session that is served. `grant`: its newest.
fn in_session(
    request: ClientRequest<'_>,
    grant: Grant,
    known: &KnownFamily,
    held: Arc<HeldTokens>,
    found: Arc<KnownCaller>,
) -> InSession {
    if request.gate.open_requests.sessions() > 0 {
        request.gate.open_requests.renewed(grant.family, &found, request.gate.clock.now());
    }
    let timeouts = session_cookie::timeouts(request.client);
    let last_used_at = grant.last_used_at.max(known.used_at());
    let ends_at = grant.ends_at_latest(timeouts).min(last_used_at.plus(timeouts.idle));
    let caller = caller(request, &grant, &held, found.clone());
    InSession { caller, found, held, grant, ends_at, ride: None }
}

/// The caller that upstreams are told of. Nearly always the access token says it all; only assertions name
/// the session.
fn caller(request: ClientRequest<'_>, grant: &Grant, held: &HeldTokens, token: Arc<Caller>) -> Arc<Caller> {
    let session = grant.session_id.as_deref();
    let names_session =
        request.live.assertions.is_none() || session.is_none() || session == token.session_told();
    if held.id_claims.is_none() && token.token().client().is_some() && names_session {
        return token;
    }
    let headers = &request.live.settings.identity.headers;
    let make = || token.of_session(&request.client.client_id, session, held.id_claims.as_ref(), headers);
    request.gate.sessions.caller((grant.family, grant.generation), held, &token, make)
}

/// What a request is told when its exchange was refused: not the AS's words, because the page asked for
/// something else. If signing in would help, it is told as if nobody were signed in; session and cookie stay,
/// in case the AS changes its mind. Also pauses further exchanges.
fn said_of_a_request(request: ClientRequest<'_>, known: &KnownFamily, denial: &Denial) -> Denial {
    let Denial::FromAuthorizationServer(said) = denial else { return denial.clone() };
    let (client, issuer) = (&request.client.name, &request.client.issuer);
    let (error, error_description) = (&said.error, &said.description);
    let why = if said.wants_the_person() {
        tracing::warn!(
            %client, %issuer, error, error_description,
            "the AS exchanges a session's refresh token no more until its person signs in again; they are asked to"
        );
        Pause::WantsThePerson
    } else {
        tracing::error!(
            %client, %issuer, error, error_description,
            "the AS refused to exchange a session's refresh token; the session is kept"
        );
        Pause::Refused
    };
    known.pause(why, request.gate.clock.now());
    denial_of(why)
}

/// Why the session is not exchanged again now, if it is not. A reload may have changed whether an ID token is
/// needed.
fn paused(request: ClientRequest<'_>, known: &KnownFamily, now: Timestamp) -> Option<Pause> {
    known.paused(now).filter(|why| *why != Pause::NoIdToken || is_told_by_id_token(request))
}

const fn denial_of(why: Pause) -> Denial {
    match why {
        Pause::AccessTokenUnusable => Denial::AccessTokenUnusable,
        Pause::Refused => Denial::AuthorizationServerUnavailable,
        Pause::WantsThePerson | Pause::NoIdToken => Denial::NotSignedIn { ended: None },
        Pause::KeyNotKnownYet => Denial::KeysUnavailable,
    }
}
