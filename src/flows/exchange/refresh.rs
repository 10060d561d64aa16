//! Exchanges a session's refresh token for a new access token (RFC 6749 section 6).
//!
//! The flight to the AS belongs to the gateway: it goes on if the browser leaves, and its answer is kept for
//! when the browser comes back. A browser waits for at most the issuer's `timeout`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::coordinate::{forget_flight, wait_for};
use super::flight::Flight;
use super::presented::Presented;
use super::{nonce_header, outcome_of_end, page_key, windows};
use crate::core::denial::Denial;
use crate::core::revocation::GrantIdentity;
use crate::core::secret::SecretString;
use crate::core::session::activity::Activity;
use crate::core::session::exchange::answer::ExchangeAnswer;
use crate::core::session::exchange::seal::Holder;
use crate::core::session::exchange::{Decision, FlightId, Issued, RefreshRequest, Shape, Windows};
use crate::core::session::grant::{Grant, Timeouts};
use crate::core::session::oauth::Scope;
use crate::core::session_end::SessionEnd;
use crate::flows::call_authorization_server::revoke_in_background;
use crate::flows::client_request::ClientRequest;
use crate::flows::family::record::change;
use crate::flows::family::session_cookie;
use crate::flows::oauth_answer::OAuthAnswer;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::ports::random;
use crate::flows::revoke::session_end::tokens_of;
use crate::flows::revoke::{name_session, name_tokens_in_background};
use crate::state::exchanges::{Airborne, FlightEnd, FlightWaiter, Watch};
use crate::state::log_targets::SECURITY;
use crate::state::metrics::{ExchangeOutcome, RequestOutcome};

pub(super) async fn refresh(
    request: ClientRequest<'_>,
    scope: Option<Scope>,
    activity: Activity,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let grant = match presented_grant(request, scope.as_ref()) {
        Ok(grant) => grant,
        Err(denial) => {
            request.gate.metrics.exchanged(&request.client.name, ExchangeOutcome::Refused);
            return Err(OAuthRefusal::of(denial, request.client, None));
        }
    };
    let end =
        match request.gate.revocations.admits_grant(&GrantIdentity::of(&grant), request.gate.clock.now()) {
            Ok(true) => match read_request(request, &grant, scope, activity).await {
                Ok(asked) => answer_for(request, &grant, &asked, Instant::now() + request.patience()).await,
                Err(end) => end,
            },
            Ok(false) => refuse_revoked(request, &grant).await,
            Err(denial) => ExchangeEnd::refused(denial),
        };
    end.count(request);
    end.into_response(request, &grant)
}

/// Reads what a page's request asks for. Verifying a proof costs work and memory, so none is verified for a
/// session that is over, or for a cookie that would get nothing now.
///
/// # Errors
/// How the request ended, if it does not come to an exchange.
async fn read_request(
    request: ClientRequest<'_>,
    grant: &Grant,
    scope: Option<Scope>,
    activity: Activity,
) -> Result<ExchangeRequest, ExchangeEnd> {
    let resource = request.client.resource.clone();
    let Some(brought) = page_key::read_proof(request).map_err(ExchangeEnd::refused)? else {
        return Ok(ExchangeRequest { shape: Shape { scope, resource, key: None }, proof: None, activity });
    };
    let shape = Shape { scope, resource, key: Some(brought.claimed()) };
    if let Some(end) = refuse_if_over(request, grant, &shape, activity).await {
        return Err(end);
    }
    let proof = brought.prove(request, page_key::holder_of(grant)).await.map_err(ExchangeEnd::refused)?.proof;
    Ok(ExchangeRequest { shape, proof: Some(proof), activity })
}

/// Refuses the request if its session is over, or its cookie was exchanged too often, before its proof is
/// looked at. `None`: neither, and nothing was changed.
async fn refuse_if_over(
    request: ClientRequest<'_>,
    grant: &Grant,
    shape: &Shape,
    activity: Activity,
) -> Option<ExchangeEnd> {
    let windows = windows(request.live, request.client);
    let mut presented = None;
    let put = change(request.gate, grant, windows.timeouts, |family, now| {
        let newest = family.successor().cloned();
        let mut tried = family.clone();
        let asked = RefreshRequest { shape, activity, flight: FlightId::NONE };
        let decision = tried.present(grant, asked, windows, now);
        presented = match decision {
            Decision::Over { .. } | Decision::Replay => {
                *family = tried;
                Some(Presented::of(decision, newest.as_ref(), family, grant))
            }
            Decision::TooMany => Some(Presented::TooMany),
            _ => None,
        };
    });
    let is_put = matches!(timeout(request.patience(), put).await, Ok(Ok(())));
    if !is_put {
        return Some(refuse_unconfirmed(request, grant, windows.timeouts, FlightId::NONE, presented));
    }
    match presented? {
        Presented::Replay { revoke, issued } => Some(end_for_replay(request, grant, revoke, &issued)),
        Presented::Over { end, revoke } => Some(end_session(request, end, revoke)),
        Presented::TooMany => Some(ExchangeEnd::too_many()),
        _ => None,
    }
}

/// What a request asks for.
pub(in crate::flows) struct ExchangeRequest {
    pub(in crate::flows) shape: Shape,
    /// A proof of the shape's key, for the AS.
    pub(in crate::flows) proof: Option<HeaderValue>,
    pub(in crate::flows) activity: Activity,
}

/// Gets a new access token for a session in the middle of a request. After `patience` the request goes on
/// without one.
pub(in crate::flows) async fn renew(
    request: ClientRequest<'_>,
    grant: &Grant,
    activity: Activity,
    patience: Duration,
) -> ExchangeEnd {
    let shape = Shape { resource: request.client.resource.clone(), ..Shape::default() };
    let asked = ExchangeRequest { shape, proof: None, activity };
    let end = answer_for(request, grant, &asked, Instant::now() + patience).await;
    end.count(request);
    end
}

/// Ends a session that is revoked and was used in a request.
pub(in crate::flows) async fn end_revoked(request: ClientRequest<'_>, grant: &Grant) {
    refuse_revoked(request, grant).await.count(request);
}

/// Ends a session whose next exchange would end it: a replayed cookie is logged and ends the whole family.
/// `None`: the session goes on, and nothing was done.
///
/// # Errors
/// [`Denial::StoreUnavailable`]; it is then not known whether the store has it.
pub(in crate::flows) async fn end_if_over(
    request: ClientRequest<'_>,
    grant: &Grant,
) -> Result<Option<SessionEnd>, Denial> {
    let windows = windows(request.live, request.client);
    // The store is told of uses only once in a while.
    let known = request.gate.sessions.family(grant.family);
    let used_at = known.as_ref().map(|known| known.used_at());
    let mut presented = None;
    let put = change(request.gate, grant, windows.timeouts, |family, now| {
        if let Some(used_at) = used_at {
            family.use_at(used_at);
        }
        let newest = family.successor().cloned();
        let decision = family.end_if_over(grant, windows, now);
        presented = decision.map(|decision| Presented::of(decision, newest.as_ref(), family, grant));
    });
    let put = put.await;
    let end = match presented {
        Some(Presented::Replay { revoke, issued }) => {
            end_for_replay(request, grant, revoke, &issued).count(request);
            SessionEnd::ReuseDetected
        }
        Some(Presented::Over { end, revoke }) => {
            revoke_all(request, revoke);
            end
        }
        _ => return put.map(|()| None),
    };
    if let Some(known) = known {
        known.mark_over();
    }
    put.map(|()| Some(end))
}

fn presented_grant(request: ClientRequest<'_>, scope: Option<&Scope>) -> Result<Grant, Denial> {
    let grant =
        session_cookie::read(request.live, request.client, request.head.headers)?.ok_or(Denial::NoSession)?;
    let widens =
        scope.is_some_and(|asked| !grant.scope.as_ref().is_some_and(|granted| asked.is_within(granted)));
    if widens { Err(Denial::InvalidScope) } else { Ok(grant) }
}

/// How one request for an exchange ended.
#[derive(Debug)]
pub(in crate::flows) struct ExchangeEnd {
    pub result: Result<Arc<ExchangeAnswer>, Denial>,
    outcome: ExchangeOutcome,
    /// How long ago the AS answered.
    pub age: Duration,
    /// How long ago the answer was first given; `None`: this is the first time.
    pub given_ago: Option<Duration>,
    /// Whether the cookie of the answer is still the newest, and goes out with it.
    pub with_cookie: bool,
}

impl ExchangeEnd {
    fn new(result: Result<Arc<ExchangeAnswer>, Denial>, outcome: ExchangeOutcome) -> Self {
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
        Self { result, outcome, age: Duration::ZERO, given_ago: None, with_cookie: true }
    }

    /// A request that is refused without an exchange.
    fn refused(denial: Denial) -> Self {
        Self::new(Err(denial), ExchangeOutcome::Refused)
    }

    fn too_many() -> Self {
        Self::refused(Denial::TooManyExchanges)
    }

    fn too_late() -> Self {
        Self::new(Err(Denial::AuthorizationServerUnavailable), ExchangeOutcome::AsUnavailable)
    }

    fn count(&self, request: ClientRequest<'_>) {
        request.gate.metrics.exchanged(&request.client.name, self.outcome);
    }

    fn into_response(self, request: ClientRequest<'_>, grant: &Grant) -> Result<OAuthAnswer, OAuthRefusal> {
        let refusal = |denial| OAuthRefusal::of(denial, request.client, Some(grant));
        let answer = self.result.map_err(refusal)?;
        let now = request.gate.clock.now();
        let set_cookie = self
            .with_cookie
            .then(|| session_cookie::set(request.client, &answer.cookie, answer.session_ends_at, now))
            .flatten();
        let Some(page) = &answer.page else {
            return Err(OAuthRefusal { set_cookie, ..refusal(Denial::AccessTokenUnusable) });
        };
        let ends_in = answer.session_ends_at.since(now);
        let body = page.to_json(self.age, request.client.idle_timeout, Some(ends_in));
        Ok(OAuthAnswer {
            status: StatusCode::OK,
            body: Bytes::from(body),
            set_cookie,
            also_clears: Vec::new(),
            dpop_nonce: nonce_header(page),
            client: request.client.name.clone(),
            subject: answer.subject.clone(),
            family: Some(grant.family),
            outcome: RequestOutcome::Exchanged(self.outcome),
        })
    }
}

/// Presents the grant, again if need be, until there is an answer or `until` has come.
pub(in crate::flows) async fn answer_for(
    request: ClientRequest<'_>,
    grant: &Grant,
    asked: &ExchangeRequest,
    until: Instant,
) -> ExchangeEnd {
    let windows = windows(request.live, request.client);
    let attempt = Attempt { request, grant, asked, windows, until };
    loop {
        let end = match attempt.present().await {
            Ok((presented, own)) => attempt.carry_out(presented, own).await,
            Err(end) => return end,
        };
        if let Some(end) = end {
            return end;
        }
    }
}

/// The arguments of each attempt.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    request: ClientRequest<'a>,
    grant: &'a Grant,
    asked: &'a ExchangeRequest,
    windows: Windows,
    until: Instant,
}

/// A flight that this request may begin.
struct OwnFlight {
    id: FlightId,
    watch: Watch,
    waiting: FlightWaiter,
    airborne: Airborne,
}

impl Attempt<'_> {
    /// Presents the grant: applies the decision to the family's record in the store. Returns the decision,
    /// and the flight if one is to begin.
    ///
    /// # Errors
    /// How the request ended, if the store cannot be asked or did not confirm.
    async fn present(self) -> Result<(Presented, Option<OwnFlight>), ExchangeEnd> {
        let Self { request, grant, asked, windows, until } = self;
        let Ok(airborne) = timeout_at(until, request.gate.exchanges.take_off()).await else {
            return Err(ExchangeEnd::refused(Denial::StoreUnavailable));
        };
        // Registered here before other requests can find it in the store.
        let id = FlightId(u64::from_be_bytes(random(&*request.gate.random)));
        let (watch, waiting) = request.gate.exchanges.watch(grant.family, id);
        let mut presented = None;
        let put = change(request.gate, grant, windows.timeouts, |family, now| {
            // The store is told of uses only once in a while.
            if let Some(known) = request.gate.sessions.family(grant.family) {
                family.use_at(known.used_at());
            }
            let newest = family.successor().cloned();
            let ExchangeRequest { shape, activity, .. } = asked;
            let asked = RefreshRequest { shape, activity: *activity, flight: id };
            let decision = family.present(grant, asked, windows, now);
            let found = Presented::of(decision, newest.as_ref(), family, grant);
            if matches!(found, Presented::Unreadable) {
                // This flight will not begin.
                family.forget_flight(id);
            }
            presented = Some(found);
        });
        let is_put = matches!(timeout_at(until, put).await, Ok(Ok(())));
        let Some(presented) = presented.take_if(|_| is_put) else {
            return Err(refuse_unconfirmed(request, grant, windows.timeouts, id, presented));
        };
        // A request that waits for another's flight gives its `airborne` back.
        let own = watch.filter(|_| matches!(presented, Presented::Begin { .. })).map(|watch| OwnFlight {
            id,
            watch,
            waiting,
            airborne,
        });
        Ok((presented, own))
    }

    /// Carries out the decision. `None`: present the grant again.
    async fn carry_out(self, presented: Presented, own: Option<OwnFlight>) -> Option<ExchangeEnd> {
        let Self { request, grant, asked, windows, until } = self;
        match presented {
            Presented::Begin { grant: exchanged, recovers } => {
                let Some(OwnFlight { id, watch, waiting, airborne }) = own else {
                    return Some(ExchangeEnd::too_late());
                };
                let flight = Flight {
                    id,
                    presented: Holder::of(grant),
                    grant: *exchanged,
                    shape: asked.shape.clone(),
                    proof: asked.proof.clone(),
                    activity: asked.activity,
                    recovers,
                };
                flight.begin(request, windows.timeouts, watch, airborne);
                let outcome = if recovers { ExchangeOutcome::Recovered } else { ExchangeOutcome::Rotated };
                self.wait_for_flight(waiting, outcome).await
            }
            Presented::Join(flight) => {
                let waiting = wait_for(request.gate, grant, windows.timeouts, flight);
                self.wait_for_flight(waiting, ExchangeOutcome::Coalesced).await
            }
            Presented::AskAgainAfter(flight) => {
                let waiting = wait_for(request.gate, grant, windows.timeouts, flight);
                timeout_at(until, waiting.heard()).await.is_err().then(ExchangeEnd::too_late)
            }
            Presented::AnswerAgain { mut answer, age, given_ago, with_cookie, used_at } => {
                let ends_at = grant.ends_at_latest(windows.timeouts).min(used_at.plus(windows.timeouts.idle));
                answer.session_ends_at = answer.session_ends_at.max(ends_at);
                let found = ExchangeEnd::new(Ok(Arc::from(answer)), ExchangeOutcome::AnsweredAgain);
                Some(ExchangeEnd { age, given_ago, with_cookie, ..found })
            }
            Presented::TooMany => Some(ExchangeEnd::too_many()),
            Presented::Replay { revoke, issued } => Some(end_for_replay(request, grant, revoke, &issued)),
            Presented::Over { end, revoke } => Some(end_session(request, end, revoke)),
            Presented::Unreadable => {
                tracing::error!(family = %grant.family, "what the store holds of a session does not open with its cookie");
                Some(ExchangeEnd::refused(Denial::StoreUnavailable))
            }
        }
    }

    /// Waits for a flight, and returns how it ended this request. `None`: present the grant again.
    async fn wait_for_flight(self, waiting: FlightWaiter, outcome: ExchangeOutcome) -> Option<ExchangeEnd> {
        let (request, until) = (self.request, self.until);
        match timeout_at(until, waiting.heard()).await {
            // The answer of a poll, joined too late to count as use.
            Ok(FlightEnd::Landed(answer))
                if self.asked.activity.is_use() && !answer.used && Instant::now() < until =>
            {
                None
            }
            // The session has timed out meanwhile, and is told so when it is presented again.
            Ok(FlightEnd::Landed(answer)) if request.gate.clock.now() >= answer.session_ends_at => None,
            Ok(FlightEnd::Landed(answer)) => Some(ExchangeEnd::new(Ok(answer), outcome)),
            Ok(FlightEnd::Failed(denial)) => Some(ExchangeEnd::new(Err(denial), outcome)),
            Ok(FlightEnd::PresentAgain) if Instant::now() < until => None,
            Ok(FlightEnd::PresentAgain) | Err(_) => Some(ExchangeEnd::too_late()),
        }
    }
}

/// Refuses a request when it is not known whether the store has the decision. If that ended the session, what
/// follows is done all the same: the end may count for everybody.
fn refuse_unconfirmed(
    request: ClientRequest<'_>,
    grant: &Grant,
    timeouts: Timeouts,
    new: FlightId,
    presented: Option<Presented>,
) -> ExchangeEnd {
    match presented {
        Some(Presented::Replay { revoke, issued }) => {
            let result = Err(Denial::StoreUnavailable);
            return ExchangeEnd { result, ..end_for_replay(request, grant, revoke, &issued) };
        }
        Some(Presented::Over { revoke, .. }) => revoke_all(request, revoke),
        Some(Presented::Begin { .. }) => forget_flight(request.gate, grant, timeouts, new),
        _ => {}
    }
    ExchangeEnd::refused(Denial::StoreUnavailable)
}

/// Ends a revoked session, here even while the store is away, and revokes its refresh token at the AS.
async fn refuse_revoked(request: ClientRequest<'_>, grant: &Grant) -> ExchangeEnd {
    let (mut tokens, mut issued) = (vec![grant.refresh_token.clone()], Vec::new());
    let ended = change(request.gate, grant, session_cookie::timeouts(request.client), |family, _| {
        let newest = family.successor().cloned();
        issued = family.issued().to_vec();
        let was_over = family.refuse_and_mark(grant.generation);
        family.end(SessionEnd::Revoked, Some(grant.generation));
        let revokes = was_over.is_none_or(|(_, revoke)| revoke);
        tokens = if revokes { tokens_of(grant, newest.as_ref(), family) } else { Vec::new() };
    });
    // The list of revocations decides. A store that is away only fails to remember that the AS was told.
    let _ = ended.await;
    revoke_all(request, tokens);
    // The revocation may not have found this session.
    name_tokens_in_background(request.gate, grant.family, &issued);
    ExchangeEnd::new(Err(Denial::SessionEnded(SessionEnd::Revoked)), ExchangeOutcome::Revoked)
}

fn revoke_all(request: ClientRequest<'_>, tokens: Vec<SecretString>) {
    for token in tokens {
        revoke_in_background(request.gate, request.live, request.client, token);
    }
}

fn end_session(request: ClientRequest<'_>, end: SessionEnd, revoke: Vec<SecretString>) -> ExchangeEnd {
    revoke_all(request, revoke);
    ExchangeEnd::new(Err(Denial::SessionEnded(end)), outcome_of_end(end))
}

fn end_for_replay(
    request: ClientRequest<'_>,
    grant: &Grant,
    revoke: Vec<SecretString>,
    issued: &[Issued],
) -> ExchangeEnd {
    tracing::warn!(
        target: SECURITY,
        event = "security",
        client = %request.client.name,
        family = %grant.family,
        generation = grant.generation,
        address = %request.head.client_address,
        "a spent session cookie was presented: a copy of it is in other hands; the session was ended"
    );
    revoke_all(request, revoke);
    name_session(request.gate, request.live, grant, issued);
    let ended = Err(Denial::SessionEnded(SessionEnd::ReuseDetected));
    ExchangeEnd { with_cookie: false, ..ExchangeEnd::new(ended, ExchangeOutcome::ReuseDetected) }
}
