//! A session for a new access token.
//!
//! The flight to the AS belongs to the gateway: it goes on when the browser leaves, and its answer
//! is kept for the browser that comes back. A browser is answered after the issuer's `timeout`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::coordinate::{forget_flight, wait_for};
use super::flight::Flight;
use super::{nonce_header, outcome_of_end, page_key, windows};
use crate::core::denial::{Denial, SessionEnd};
use crate::core::revocation::GrantFacts;
use crate::core::secret::SecretString;
use crate::core::session::exchange::answer::Answer;
use crate::core::session::exchange::seal::{Content, Holder};
use crate::core::session::exchange::{Decision, Family, FlightId, Issued, Shape, Successor, With};
use crate::core::session::grant::{Grant, Timeouts};
use crate::core::session::oauth::Scope;
use crate::flows::call_authorization_server::revoke_in_background;
use crate::flows::client_request::At;
use crate::flows::family::record::change;
use crate::flows::family::session_cookie;
use crate::flows::oauth_answer::OAuthAnswer;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::ports::random;
use crate::flows::revoke::name_session;
use crate::flows::revoke::session_end::tokens_of;
use crate::state::exchanges::{Heard, Waiting};
use crate::state::log_targets::SECURITY;
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
    let found = match at.gate.revocations.admits_grant(&GrantFacts::of(&grant), at.gate.clock.now()) {
        Ok(true) => match asked(at, &grant, scope, used).await {
            Ok(asked) => answer_for(at, &grant, &asked, Instant::now() + at.patience()).await,
            Err(found) => found,
        },
        Ok(false) => taken_back(at, &grant).await,
        Err(denial) => Found::new(Err(denial), ExchangeOutcome::Refused),
    };
    found.told(at, &grant)
}

/// What a request of a page asks for. A proof costs work and memory, so none is judged for a session that is over, or for
/// a cookie that would get nothing now.
///
/// # Errors
/// How the request ended, where it comes to no exchange.
async fn asked(at: At<'_>, grant: &Grant, scope: Option<Scope>, used: bool) -> Result<Asked, Found> {
    let refused = |denial| Found::new(Err(denial), ExchangeOutcome::Refused);
    let resource = at.client.resource.clone();
    let Some(brought) = page_key::brought(at).map_err(refused)? else {
        return Ok(Asked { shape: Shape { scope, resource, key: None }, proof: None, used });
    };
    let shape = Shape { scope, resource, key: Some(brought.claimed()) };
    if let Some(found) = over(at, grant, &shape, used).await {
        return Err(found);
    }
    let proof = brought.prove(at, page_key::holder_of(grant)).await.map_err(refused)?.proof;
    Ok(Asked { shape, proof: Some(proof), used })
}

/// How the request ends if its session is over or its cookie was exchanged too often, whoever has the key that it names;
/// `None`: neither, and nothing was changed.
async fn over(at: At<'_>, grant: &Grant, shape: &Shape, used: bool) -> Option<Found> {
    let (windows, no_flight) = (windows(at.live, at.client), FlightId(0));
    let mut presented = None;
    let put = change(at.gate, grant, windows.timeouts, |family, now| {
        let newest = family.successor().cloned();
        let mut tried = family.clone();
        let decision = tried.present(grant, shape, used, windows, now, no_flight);
        presented = match decision {
            Decision::Over { .. } | Decision::Replay => {
                *family = tried;
                Some(Presented::of(decision, newest.as_ref(), family, grant))
            }
            Decision::TooMany => Some(Presented::TooMany),
            _ => None,
        };
    });
    let is_put = matches!(timeout(at.patience(), put).await, Ok(Ok(())));
    if !is_put {
        return Some(unconfirmed(at, grant, windows.timeouts, no_flight, presented));
    }
    match presented? {
        Presented::Replay { revoke, issued } => Some(replayed(at, grant, revoke, &issued)),
        Presented::Over { end, revoke } => Some(ended(at, end, revoke)),
        Presented::TooMany => Some(too_many()),
        _ => None,
    }
}

/// What a request asks for.
pub(super) struct Asked {
    pub(super) shape: Shape,
    /// Of the shape's key, for the AS.
    pub(super) proof: Option<HeaderValue>,
    /// It counts as use of the session.
    pub(super) used: bool,
}

/// A session for a new access token in the middle of a request. `patience`: the request goes on without it then.
pub(in crate::flows) async fn renew(at: At<'_>, grant: &Grant, used: bool, patience: Duration) -> Found {
    let shape = Shape { resource: at.client.resource.clone(), ..Shape::default() };
    let asked = Asked { shape, proof: None, used };
    let found = answer_for(at, grant, &asked, Instant::now() + patience).await;
    at.gate.metrics.exchanged(&at.client.name, found.outcome);
    found
}

/// Ends a session that the list of revocations names and that was used in a request.
pub(in crate::flows) async fn end_taken_back(at: At<'_>, grant: &Grant) {
    let found = taken_back(at, grant).await;
    at.gate.metrics.exchanged(&at.client.name, found.outcome);
}

/// Ends a session that would get nothing any more, as its next exchange would: a spent cookie is logged and ends the whole
/// family. `None`: it goes on, and nothing was done.
///
/// # Errors
/// [`Denial::StoreUnavailable`]; it is then not known whether the store has it.
pub(in crate::flows) async fn end_where_over(
    at: At<'_>,
    grant: &Grant,
) -> Result<Option<SessionEnd>, Denial> {
    let windows = windows(at.live, at.client);
    // Of uses the store hears once in a while.
    let known = at.gate.sessions.family(grant.family);
    let used_at = known.as_ref().map(|known| known.used_at());
    let mut presented = None;
    let put = change(at.gate, grant, windows.timeouts, |family, now| {
        if let Some(used_at) = used_at {
            family.use_at(used_at);
        }
        let newest = family.successor().cloned();
        let decision = family.ends_for(grant, windows, now);
        presented = decision.map(|decision| Presented::of(decision, newest.as_ref(), family, grant));
    });
    let put = put.await;
    let end = match presented {
        Some(Presented::Replay { revoke, issued }) => {
            let found = replayed(at, grant, revoke, &issued);
            at.gate.metrics.exchanged(&at.client.name, found.outcome);
            SessionEnd::ReuseDetected
        }
        Some(Presented::Over { end, revoke }) => {
            revoke_all(at, revoke);
            end
        }
        _ => return put.map(|()| None),
    };
    if let Some(known) = known {
        known.ends();
    }
    put.map(|()| Some(end))
}

fn presented_grant(at: At<'_>, scope: Option<&Scope>) -> Result<Grant, Denial> {
    let grant = session_cookie::read(at.live, at.client, at.head.headers)?.ok_or(Denial::NoSession)?;
    let widens =
        scope.is_some_and(|asked| !grant.scope.as_ref().is_some_and(|granted| asked.is_within(granted)));
    if widens { Err(Denial::InvalidScope) } else { Ok(grant) }
}

/// How one request ended.
#[derive(Debug)]
pub(in crate::flows) struct Found {
    pub result: Result<Arc<Answer>, Denial>,
    outcome: ExchangeOutcome,
    /// Since the AS answered.
    pub age: Duration,
    /// Whether its cookie is still the newest.
    pub with_cookie: bool,
}

impl Found {
    fn new(result: Result<Arc<Answer>, Denial>, outcome: ExchangeOutcome) -> Self {
        let outcome = match &result {
            Ok(answer) if answer.page.is_some() => outcome,
            Err(Denial::SessionEnded(SessionEnd::ReuseDetected))
                if outcome == ExchangeOutcome::ReuseDetected =>
            {
                outcome
            }
            Err(Denial::SessionEnded(end)) => outcome_of_end(*end),
            Err(Denial::AuthorizationServerUnavailable | Denial::AuthorizationServerBusy { .. }) => {
                ExchangeOutcome::AsUnavailable
            }
            Ok(_) | Err(_) => ExchangeOutcome::Refused,
        };
        Self { result, outcome, age: Duration::ZERO, with_cookie: true }
    }

    /// Counted, and as an answer.
    fn told(self, at: At<'_>, grant: &Grant) -> Result<OAuthAnswer, OAuthRefusal> {
        at.gate.metrics.exchanged(&at.client.name, self.outcome);
        let refusal = |denial| OAuthRefusal::of(denial, at.client, Some(grant));
        let answer = self.result.map_err(refusal)?;
        let now = at.gate.clock.now();
        let set_cookie = self
            .with_cookie
            .then(|| session_cookie::set(at.client, &answer.cookie, answer.session_ends_at, now))
            .flatten();
        let Some(page) = &answer.page else {
            return Err(OAuthRefusal { set_cookie, ..refusal(Denial::AccessTokenUnusable) });
        };
        let ends_in = answer.session_ends_at.since(now);
        let body = page.to_json(self.age, at.client.idle_timeout, Some(ends_in));
        Ok(OAuthAnswer {
            status: StatusCode::OK,
            body: Bytes::from(body),
            set_cookie,
            also_clears: Vec::new(),
            dpop_nonce: nonce_header(page),
            client: at.client.name.clone(),
            subject: answer.subject.clone(),
            family: Some(grant.family),
            outcome: self.outcome.label(),
        })
    }
}

/// What the store says of a presented grant, what was sealed for its holder opened.
enum Presented {
    /// This flight is ours to fly; `grant` is what it exchanges.
    Begin {
        grant: Box<Grant>,
        recovers: bool,
    },
    Join(FlightId),
    AskAgainAfter(FlightId),
    AnswerAgain {
        answer: Arc<Answer>,
        age: Duration,
        with_cookie: bool,
    },
    TooMany,
    /// `revoke`: refresh tokens, at the AS.
    Replay {
        revoke: Vec<SecretString>,
        /// Access tokens that the session handed out.
        issued: Vec<Issued>,
    },
    Over {
        end: SessionEnd,
        revoke: Vec<SecretString>,
    },
    /// What is kept does not open with this cookie.
    Unreadable,
}

impl Presented {
    /// `newest`: the newest grant that was kept before the decision.
    fn of(decision: Decision, newest: Option<&Successor>, family: &Family, grant: &Grant) -> Self {
        let holder = Holder::of(grant);
        match decision {
            Decision::Exchange { with: With::Presented, recovers, .. } => {
                Self::Begin { grant: Box::new(grant.clone()), recovers }
            }
            Decision::Exchange { with: With::Newest { grant, generation }, recovers, .. } => {
                let newest = holder.newest(family, generation, &grant).map(Box::new);
                newest.map_or(Self::Unreadable, |grant| Self::Begin { grant, recovers })
            }
            Decision::AnswerAgain { answer, of, age, with_cookie } => {
                let answer = holder
                    .reach(family, of)
                    .and_then(|holder| holder.open(Content::Answer, &answer))
                    .and_then(|plain| Answer::from_bytes(plain.expose()))
                    .map(Arc::new);
                answer.map_or(Self::Unreadable, |answer| Self::AnswerAgain { answer, age, with_cookie })
            }
            Decision::Join(flight) => Self::Join(flight),
            Decision::AskAgainAfter(flight) => Self::AskAgainAfter(flight),
            Decision::TooMany => Self::TooMany,
            Decision::Replay => {
                Self::Replay { revoke: tokens_of(grant, newest, family), issued: family.issued().to_vec() }
            }
            Decision::Over { end, revoke: true } => {
                Self::Over { end, revoke: tokens_of(grant, newest, family) }
            }
            Decision::Over { end, revoke: false } => Self::Over { end, revoke: Vec::new() },
        }
    }
}

/// Presents the grant until there is an answer, or the browser has waited long enough.
pub(super) async fn answer_for(at: At<'_>, grant: &Grant, asked: &Asked, until: Instant) -> Found {
    let (shape, used) = (&asked.shape, asked.used);
    let windows = windows(at.live, at.client);
    loop {
        let Ok(airborne) = timeout_at(until, at.gate.exchanges.take_off()).await else {
            return Found::new(Err(Denial::StoreUnavailable), ExchangeOutcome::Refused);
        };
        // Watched before anybody can see it in the store.
        let new = FlightId(u64::from_be_bytes(random(&*at.gate.random)));
        let (watch, waiting) = at.gate.exchanges.watch(grant.family, new);
        let mut presented = None;
        let put = change(at.gate, grant, windows.timeouts, |family, now| {
            // Of uses the store hears once in a while.
            if let Some(known) = at.gate.sessions.family(grant.family) {
                family.use_at(known.used_at());
            }
            let newest = family.successor().cloned();
            let decision = family.present(grant, shape, used, windows, now, new);
            let found = Presented::of(decision, newest.as_ref(), family, grant);
            if matches!(found, Presented::Unreadable) {
                // Nobody will fly it.
                family.failed(new);
            }
            presented = Some(found);
        });
        let is_put = matches!(timeout_at(until, put).await, Ok(Ok(())));
        let Some(presented) = presented.take_if(|_| is_put) else {
            return unconfirmed(at, grant, windows.timeouts, new, presented);
        };
        // Whoever only waits for another is not in the air.
        let airborne = matches!(presented, Presented::Begin { .. }).then_some(airborne);
        match presented {
            Presented::Begin { grant: exchanged, recovers } => {
                let Some(watch) = watch else { return late() };
                let (presented, shape, proof) = (Holder::of(grant), shape.clone(), asked.proof.clone());
                let flight = Flight { id: new, presented, grant: *exchanged, shape, proof, used, recovers };
                flight.begin(at, windows.timeouts, watch, airborne);
                let outcome = if recovers { ExchangeOutcome::Recovered } else { ExchangeOutcome::Rotated };
                if let Some(found) = heard(at, waiting, until, used, outcome).await {
                    return found;
                }
            }
            Presented::Join(flight) => {
                let waiting = wait_for(at.gate, grant, windows.timeouts, flight);
                if let Some(found) = heard(at, waiting, until, used, ExchangeOutcome::Coalesced).await {
                    return found;
                }
            }
            Presented::AskAgainAfter(flight) => {
                let waiting = wait_for(at.gate, grant, windows.timeouts, flight);
                if timeout_at(until, waiting.heard()).await.is_err() {
                    return late();
                }
            }
            Presented::AnswerAgain { answer, age, with_cookie } => {
                let found = Found::new(Ok(answer), ExchangeOutcome::AnsweredAgain);
                return Found { age, with_cookie, ..found };
            }
            Presented::TooMany => return too_many(),
            Presented::Replay { revoke, issued } => return replayed(at, grant, revoke, &issued),
            Presented::Over { end, revoke } => return ended(at, end, revoke),
            Presented::Unreadable => {
                tracing::error!(family = %grant.family, "what the store holds of a session does not open with its cookie");
                return Found::new(Err(Denial::StoreUnavailable), ExchangeOutcome::Refused);
            }
        }
    }
}

/// What becomes of a request when nobody knows whether the store has what was decided. What cannot be undone is done:
/// an end may be the end for everybody.
fn unconfirmed(
    at: At<'_>,
    grant: &Grant,
    timeouts: Timeouts,
    new: FlightId,
    presented: Option<Presented>,
) -> Found {
    let result = Err(Denial::StoreUnavailable);
    match presented {
        Some(Presented::Replay { revoke, issued }) => {
            return Found { result, ..replayed(at, grant, revoke, &issued) };
        }
        Some(Presented::Over { revoke, .. }) => revoke_all(at, revoke),
        Some(Presented::Begin { .. }) => forget_flight(at.gate, grant, timeouts, new),
        _ => {}
    }
    Found::new(result, ExchangeOutcome::Refused)
}

fn too_many() -> Found {
    Found::new(Err(Denial::TooManyExchanges), ExchangeOutcome::Refused)
}

fn late() -> Found {
    Found::new(Err(Denial::AuthorizationServerUnavailable), ExchangeOutcome::AsUnavailable)
}

/// How a flight that somebody waited for ended this request; `None`: present again.
async fn heard(
    at: At<'_>,
    waiting: Waiting,
    until: Instant,
    used: bool,
    outcome: ExchangeOutcome,
) -> Option<Found> {
    match timeout_at(until, waiting.heard()).await {
        // A poll's, joined too late to make it a use.
        Ok(Heard::Landed(answer)) if used && !answer.used && Instant::now() < until => None,
        // Its time ran out on the way: the session is over, and says so when it is presented again.
        Ok(Heard::Landed(answer)) if at.gate.clock.now() >= answer.session_ends_at => None,
        Ok(Heard::Landed(answer)) => Some(Found::new(Ok(answer), outcome)),
        Ok(Heard::Failed(denial)) => Some(Found::new(Err(denial), outcome)),
        Ok(Heard::PresentAgain) if Instant::now() < until => None,
        Ok(Heard::PresentAgain) | Err(_) => Some(late()),
    }
}

/// The list of revocations names this session: it ends here, whatever the store says, and its refresh token at the AS.
async fn taken_back(at: At<'_>, grant: &Grant) -> Found {
    let mut tokens = vec![grant.refresh_token.clone()];
    let ended = change(at.gate, grant, session_cookie::timeouts(at.client), |family, _| {
        let newest = family.successor().cloned();
        let was_over = family.refuse_and_mark(grant.generation);
        family.end(SessionEnd::Revoked, Some(grant.generation));
        let revokes = was_over.is_none_or(|(_, revoke)| revoke);
        tokens = if revokes { tokens_of(grant, newest.as_ref(), family) } else { Vec::new() };
    });
    // The list decides; a store that is away only does not remember what the AS was told.
    let _ = ended.await;
    revoke_all(at, tokens);
    Found::new(Err(Denial::SessionEnded(SessionEnd::Revoked)), ExchangeOutcome::Revoked)
}

fn revoke_all(at: At<'_>, tokens: Vec<SecretString>) {
    for token in tokens {
        revoke_in_background(at.gate, at.live, at.client, token);
    }
}

fn ended(at: At<'_>, end: SessionEnd, revoke: Vec<SecretString>) -> Found {
    revoke_all(at, revoke);
    Found::new(Err(Denial::SessionEnded(end)), outcome_of_end(end))
}

fn replayed(at: At<'_>, grant: &Grant, revoke: Vec<SecretString>, issued: &[Issued]) -> Found {
    tracing::warn!(
        target: SECURITY,
        event = "security",
        client = %at.client.name,
        family = %grant.family,
        generation = grant.generation,
        address = %at.head.client_address,
        "a spent session cookie was presented: a copy of it is in other hands; the session was ended"
    );
    revoke_all(at, revoke);
    name_session(at.gate, at.live, grant, issued);
    let ended = Err(Denial::SessionEnded(SessionEnd::ReuseDetected));
    Found { with_cookie: false, ..Found::new(ended, ExchangeOutcome::ReuseDetected) }
}
