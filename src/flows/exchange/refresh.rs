//! A session for a new access token.
//!
//! The flight to the AS belongs to the gateway: it goes on when the browser leaves, and its answer
//! is kept for the browser that comes back. A browser is answered after the issuer's `timeout`.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::judge::{judge, log_unusable, same_subject};
use super::{
    At, OAuthAnswer, OAuthRefusal, log_invalid_client, outcome_of_end, session_cookie, warn_of_long_life,
    windows,
};
use crate::config::settings::Client;
use crate::core::denial::{Denial, SessionEnd};
use crate::core::secret::SecretString;
use crate::core::session::exchange::{Landed, Shape};
use crate::core::session::grant::Grant;
use crate::core::session::oauth::Scope;
use crate::core::session::oauth::answer::{PageTokens, ServerAnswer, TokenAnswer};
use crate::core::session::oauth::request::ServerForm;
use crate::flows::Gate;
use crate::flows::call_authorization_server::{ask_token_endpoint, revoke_in_background};
use crate::flows::ports::random;
use crate::state::exchanges::{Exchanged, Presented, UnderWay, Waiting};
use crate::state::live::Live;
use crate::state::metrics::ExchangeOutcome;

/// `used`: the request counts as use of the session.
pub(super) async fn refresh(
    at: At<'_>,
    scope: Option<Scope>,
    used: bool,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let grant = match presented_grant(at, scope.as_ref()) {
        Ok(grant) => grant,
        Err(denial) => {
            at.gate.metrics.exchanged(&at.client.name, ExchangeOutcome::Refused);
            return Err(OAuthRefusal::of(denial, at.client, None));
        }
    };
    let shape = Shape { scope, resource: at.client.resource.clone() };
    let found = answer_for(at, &grant, &shape, used).await;
    at.gate.metrics.exchanged(&at.client.name, found.outcome);
    found.answer(at, &grant)
}

fn presented_grant(at: At<'_>, scope: Option<&Scope>) -> Result<Grant, Denial> {
    let grant = session_cookie::read(at.live, at.client, at.head.headers)?.ok_or(Denial::NoSession)?;
    let widens =
        scope.is_some_and(|asked| !grant.scope.as_ref().is_some_and(|granted| asked.is_within(granted)));
    if widens { Err(Denial::InvalidScope) } else { Ok(grant) }
}

/// How one request ended.
struct Found {
    result: Result<Arc<Exchanged>, Denial>,
    outcome: ExchangeOutcome,
    with_cookie: bool,
}

impl Found {
    fn new(result: Result<Arc<Exchanged>, Denial>, outcome: ExchangeOutcome) -> Self {
        let outcome = match &result {
            Ok(exchanged) if exchanged.page.is_ok() => outcome,
            Err(Denial::SessionEnded(end)) => outcome_of_end(*end),
            Err(Denial::AuthorizationServerUnavailable) => ExchangeOutcome::AsUnavailable,
            Ok(_) | Err(_) => ExchangeOutcome::Refused,
        };
        Self { result, outcome, with_cookie: true }
    }

    fn answer(self, at: At<'_>, grant: &Grant) -> Result<OAuthAnswer, OAuthRefusal> {
        let subject = || grant.subject.as_ref().map(|subject| subject.sub.clone());
        let exchanged = self.result.map_err(|denial| OAuthRefusal::of(denial, at.client, subject()))?;
        let now = at.gate.clock.now();
        let set_cookie = self
            .with_cookie
            .then(|| session_cookie::set(at.client, &exchanged.cookie, exchanged.session_ends_at, now))
            .flatten();
        let page = match &exchanged.page {
            Ok(page) => page,
            Err(denial) => {
                let refusal = OAuthRefusal::of(denial.clone(), at.client, subject());
                return Err(OAuthRefusal { set_cookie, ..refusal });
            }
        };
        let age = now.since(exchanged.landed_at);
        let ends_in = exchanged.session_ends_at.since(now);
        let body = page.to_json(age, at.client.idle_timeout, Some(ends_in));
        Ok(OAuthAnswer {
            status: StatusCode::OK,
            body: Bytes::from(body),
            set_cookie,
            client: at.client.name.clone(),
            subject: exchanged.subject.clone(),
            outcome: self.outcome.label(),
        })
    }
}

/// Presents the grant until there is an answer, or the browser has waited long enough.
async fn answer_for(at: At<'_>, grant: &Grant, shape: &Shape, used: bool) -> Found {
    let until = Instant::now() + at.patience();
    let windows = windows(at.live, at.client);
    loop {
        let now = at.gate.clock.now();
        match at.gate.exchanges.present(grant, shape, used, windows, now) {
            Presented::Begin { flight, waiting, grant, recovers } => {
                let fly = Flight {
                    gate: Arc::clone(at.gate),
                    live: Arc::clone(at.live),
                    client: Arc::clone(at.client),
                    grant: *grant,
                    shape: shape.clone(),
                };
                at.gate.errands.spawn(fly.fly(flight));
                let outcome = if recovers { ExchangeOutcome::Recovered } else { ExchangeOutcome::Rotated };
                return Found::new(landed_by(waiting, until).await, outcome);
            }
            Presented::Join(waiting) => match landed_by(waiting, until).await {
                // A poll's, joined too late to make it a use.
                Ok(exchanged) if used && !exchanged.used && Instant::now() < until => {}
                result => return Found::new(result, ExchangeOutcome::Coalesced),
            },
            Presented::AskAgain(waiting) => {
                let _ = landed_by(waiting, until).await;
                if Instant::now() >= until {
                    let late = Err(Denial::AuthorizationServerUnavailable);
                    return Found::new(late, ExchangeOutcome::AsUnavailable);
                }
            }
            Presented::AnswerAgain { answer, with_cookie, .. } => {
                let found = Found::new(Ok(answer), ExchangeOutcome::AnsweredAgain);
                return Found { with_cookie, ..found };
            }
            Presented::Replay => return replayed(at, grant),
            Presented::Over { end, revoke } => {
                if revoke {
                    revoke_in_background(at.gate, at.live, at.client, grant.refresh_token.clone());
                }
                return Found::new(Err(Denial::SessionEnded(end)), outcome_of_end(end));
            }
        }
    }
}

async fn landed_by(waiting: Waiting, until: Instant) -> Result<Arc<Exchanged>, Denial> {
    timeout_at(until, waiting.landed()).await.unwrap_or(Err(Denial::AuthorizationServerUnavailable))
}

fn replayed(at: At<'_>, grant: &Grant) -> Found {
    tracing::warn!(
        event = "security",
        client = %at.client.name,
        family = %grant.family,
        generation = grant.generation,
        address = %at.head.client_address,
        "a spent session cookie was presented: a copy of it is in other hands; the session was ended"
    );
    revoke_in_background(at.gate, at.live, at.client, grant.refresh_token.clone());
    Found {
        result: Err(Denial::SessionEnded(SessionEnd::ReuseDetected)),
        outcome: ExchangeOutcome::ReuseDetected,
        with_cookie: false,
    }
}

/// One exchange at the AS, from the request to what is kept of the answer.
struct Flight {
    gate: Arc<Gate>,
    live: Arc<Live>,
    client: Arc<Client>,
    grant: Grant,
    shape: Shape,
}

impl Flight {
    async fn fly(self, flight: UnderWay) {
        let asked = self.shape.scope.as_ref().map(ToString::to_string);
        let scope = asked.as_deref().or(self.client.scope.as_deref());
        let form = ServerForm::refresh(&self.grant.refresh_token, scope, self.shape.resource.as_deref());
        match ask_token_endpoint(&self.gate, &self.live, self.client.as_ref().into(), &form).await {
            ServerAnswer::Tokens(answer) => self.land(flight, *answer).await,
            ServerAnswer::InvalidGrant(_) => {
                let end = SessionEnd::InvalidGrant;
                flight.end(end, &self.grant, Denial::SessionEnded(end));
            }
            ServerAnswer::Refused(said) => flight.fail(Denial::FromAuthorizationServer(said)),
            ServerAnswer::InvalidClient(_) => {
                log_invalid_client(&self.client);
                flight.fail(Denial::AuthorizationServerUnavailable);
            }
            ServerAnswer::Unusable(why) => {
                tracing::error!(client = %self.client.name, issuer = %self.client.issuer, why, "an exchange brought no answer; the session is kept");
                flight.fail(Denial::AuthorizationServerUnavailable);
            }
        }
    }

    async fn land(self, flight: UnderWay, answer: TokenAnswer) {
        match self.successor(&flight, answer).await {
            Ok((successor, exchanged)) => {
                let newest = successor.refresh_token.clone();
                let page = exchanged.page.as_ref().ok();
                let token_worth = page.and_then(|page| page.worth_until(exchanged.landed_at));
                let session = exchanged.session_ends_at;
                let worth_until = token_worth.map_or(session, |token| token.min(session));
                if flight.land(successor, exchanged, Some(worth_until)) == Landed::TooLate {
                    revoke_in_background(&self.gate, &self.live, &self.client, newest);
                }
            }
            Err((denial, newest)) => {
                let end = match denial {
                    Denial::SessionEnded(end) => end,
                    _ => SessionEnd::Revoked,
                };
                if flight.end(end, &self.grant, denial) {
                    revoke_in_background(&self.gate, &self.live, &self.client, newest);
                }
            }
        }
    }

    /// The next grant and what browsers get with it; or why the new tokens go to nobody, and which
    /// refresh token to revoke then.
    async fn successor(
        &self,
        flight: &UnderWay,
        answer: TokenAnswer,
    ) -> Result<(Grant, Exchanged), (Denial, SecretString)> {
        let TokenAnswer { refresh_token, .. } = &answer;
        let newest = refresh_token.clone().unwrap_or_else(|| self.grant.refresh_token.clone());
        let refused = |denial| (denial, newest.clone());
        let judged = judge(&self.gate, &self.live, &self.client, &answer).await.map_err(refused)?;
        same_subject(&self.client, &self.grant, &judged).map_err(refused)?;
        let now = self.gate.clock.now();
        let mut successor =
            self.grant.successor(Some(newest.clone()), random(&*self.gate.random), now, flight.is_used());
        if let Some(end) = successor.ended(session_cookie::timeouts(&self.client), now) {
            // Its time ran out while the AS was asked.
            return Err(refused(Denial::SessionEnded(end)));
        }
        if successor.scope.is_none() && self.shape.scope.is_none() {
            successor.scope = answer.scope.clone().or(judged.scope);
        }
        let cookie =
            session_cookie::seal(&self.gate, &self.live, &self.client, &successor).map_err(refused)?;
        let expires_in = answer.expires_in.or_else(|| judged.expires_at.map(|end| end.since(now)));
        warn_of_long_life(&self.gate, &self.client, expires_in);
        let page = match judged.unusable {
            // Keys that cannot be fetched now are no fault of the token; its use is judged anyway.
            None | Some(Denial::KeysUnavailable) => Ok(PageTokens {
                access_token: answer.access_token,
                token_type: answer.token_type,
                expires_in,
                scope: answer.scope,
                id_token: None,
            }),
            Some(denial) => {
                log_unusable(&self.client, &denial);
                Err(Denial::AccessTokenUnusable)
            }
        };
        let exchanged = Exchanged {
            page,
            used: successor.counts_as_use(),
            cookie,
            session_ends_at: successor.ends_at(session_cookie::timeouts(&self.client)),
            landed_at: now,
            subject: successor.subject.as_ref().map(|subject| subject.sub.clone()),
        };
        Ok((successor, exchanged))
    }
}
