//! One exchange at the AS, from the request to what is kept of the answer. It belongs to the gateway: it goes
//! on if the browser leaves. It is noted in the store before it begins, says there when its request is sent,
//! and renews its lease. It ends once it could not renew that for so long that another replica may soon send
//! the same refresh token.
//!
//! What it brings is stored before anybody gets it. That is retried for as long as an outage of the store may
//! last, because otherwise another replica would send the refresh token that has just been replaced.

mod arrival;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, sleep};

use super::coordinate::{beat, forget_flight};
use super::explain_unusable::log_unusable;
use super::judge::{
    Exchanged, JudgedTokens, check_subject_of_id_token, check_subject_of_tokens, is_our_outage, judge_tokens,
};
use super::receipts;
use super::{log_invalid_client, log_refused, warn_of_long_life};
use crate::config::settings::{Client, IdentityFrom};
use crate::core::denial::Denial;
use crate::core::revocation::GrantIdentity;
use crate::core::secret::SecretString;
use crate::core::server_error::ServerError;
use crate::core::session::activity::Activity;
use crate::core::session::exchange::answer::ExchangeAnswer;
use crate::core::session::exchange::lease::FLIGHT;
use crate::core::session::exchange::seal::Holder;
use crate::core::session::exchange::tokens::SessionTokens;
use crate::core::session::exchange::{Family, FlightId, Issued, Landed, Now, Shape};
use crate::core::session::grant::{Grant, Timeouts};
use crate::core::session::oauth::answer::{ServerAnswer, TokenAnswer, claims_from_token_endpoint};
use crate::core::session::oauth::request::ServerForm;
use crate::core::session_end::SessionEnd;
use crate::flows::Gate;
use crate::flows::backoff::Backoff;
use crate::flows::call_authorization_server::{ask_token_endpoint, revoke_in_background};
use crate::flows::client_request::ClientRequest;
use crate::flows::family::record::change;
use crate::flows::family::tokens;
use crate::flows::ports::random;
use crate::flows::revoke::name_tokens_in_background;
use crate::flows::revoke::reach::{FoundBy, note_again};
use crate::flows::revoke::session_end::{Ended, end_family};
use crate::state::exchanges::{Airborne, FlightEnd, Watch};
use crate::state::live::Live;
use crate::state::sessions::HeldTokens;
use arrival::NewTokens;

/// Pauses between attempts to store what a flight brought.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };
/// How long the end of a session is retried; after that the new tokens are revoked all the same.
const ENDING: Duration = Duration::from_secs(30);

/// What to exchange, and on whose behalf.
pub(super) struct Flight {
    pub id: FlightId,
    /// The holder of the presented grant.
    pub presented: Holder,
    /// The grant that is exchanged.
    pub grant: Grant,
    pub shape: Shape,
    /// The page's proof of possession of the key in `shape`.
    pub proof: Option<HeaderValue>,
    pub activity: Activity,
    pub recovers: bool,
}

/// A flight under way, with all that it needs to finish without its browser.
struct UnderWay {
    gate: Arc<Gate>,
    live: Arc<Live>,
    client: Arc<Client>,
    timeouts: Timeouts,
    flight: Flight,
    watch: Watch,
}

/// What came of storing what a flight brought.
struct InStore {
    landed: Landed,
    /// The answer, if a request here waits for it.
    answer: Option<ExchangeAnswer>,
    issued: Option<Issued>,
    /// Whether the session is in the index of every name of its person. Not where the store knew less of it
    /// than its cookie did, nor where an ID token says a name that is not noted yet.
    is_found: bool,
}

impl Flight {
    /// Begins the flight. `watch` tells those who wait how it ends; `airborne` is held until then.
    pub(super) fn begin(
        self,
        request: ClientRequest<'_>,
        timeouts: Timeouts,
        watch: Watch,
        airborne: Airborne,
    ) {
        let under_way = UnderWay {
            gate: Arc::clone(request.gate),
            live: Arc::clone(request.live),
            client: Arc::clone(request.client),
            timeouts,
            flight: self,
            watch,
        };
        request.gate.errands.spawn(async move {
            let end = under_way.fly().await;
            under_way.watch.tell(end);
            drop(airborne);
        });
    }
}

impl UnderWay {
    async fn fly(&self) -> FlightEnd {
        let Flight { grant, id, .. } = &self.flight;
        tokio::select! {
            biased;
            heard = self.exchange() => heard,
            () = beat(&self.gate, grant, self.timeouts, *id) => FlightEnd::PresentAgain,
        }
    }

    async fn exchange(&self) -> FlightEnd {
        let Flight { grant, id, shape, .. } = &self.flight;
        let scope = shape.scope.as_ref().map(ToString::to_string).or_else(|| self.configured_scope());
        let form = ServerForm::refresh(&grant.refresh_token, scope.as_deref(), shape.resource.as_deref());
        let sends =
            change(&self.gate, grant, self.timeouts, |family, _| (family.begin_sending(*id), family.over()));
        match sends.await {
            Ok((true, _)) => {}
            // The session has ended meanwhile: each request presents its own cookie again, and is told why.
            Ok((false, Some(_))) => return FlightEnd::PresentAgain,
            // The flight was given up, or a later generation overtook it. If the cookie were presented again
            // now, it might look like a replay.
            Ok((false, None)) => return FlightEnd::Failed(Denial::AuthorizationServerUnavailable),
            Err(denial) => return self.fail(denial).await,
        }
        let client = self.client.as_ref().into();
        match ask_token_endpoint(&self.gate, &self.live, client, &form, self.flight.proof.as_ref()).await {
            ServerAnswer::Tokens(answer) => self.receive(*answer).await,
            ServerAnswer::InvalidGrant(_) => {
                self.end(SessionEnd::InvalidGrant, Denial::SessionEnded(SessionEnd::InvalidGrant)).await.0
            }
            ServerAnswer::Refused(said) => self.refused(said).await,
            ServerAnswer::Unusable(outage) if outage.is_wordless_refusal() => {
                self.refused(Box::new(ServerError::wordless())).await
            }
            ServerAnswer::InvalidClient(said) => {
                log_invalid_client(&self.live, &self.client, &said);
                self.fail(Denial::AuthorizationServerUnavailable).await
            }
            ServerAnswer::Unusable(outage) => {
                tracing::error!(client = %self.client.name, issuer = %self.client.issuer, why = outage.why, status = outage.status, "an exchange brought no answer; the session is kept");
                self.fail(outage.denial()).await
            }
        }
    }

    async fn refused(&self, said: Box<ServerError>) -> FlightEnd {
        // In `session` mode the requests that wait for the exchange log it.
        if self.client.session.is_none() {
            log_refused(
                &self.client,
                &said,
                "to exchange a refresh token: the session is kept, and the page is told",
            );
        }
        self.fail(Denial::FromAuthorizationServer(said)).await
    }

    /// The scope to ask for if the page names none: the configured one if all of it was granted, else none,
    /// which means all that was granted (RFC 6749 section 6). Part of the configured scope would cut off what
    /// the AS granted without naming it, or under another name.
    fn configured_scope(&self) -> Option<String> {
        let (wanted, granted) = (self.client.scope.as_deref(), self.flight.grant.scope.as_ref());
        wanted.filter(|wanted| granted.is_none_or(|granted| granted.covers(wanted))).map(ToOwned::to_owned)
    }

    /// Ends a flight that failed; the store forgets it.
    async fn fail(&self, denial: Denial) -> FlightEnd {
        let Flight { grant, id, .. } = &self.flight;
        if change(&self.gate, grant, self.timeouts, |family, _| family.forget_flight(*id)).await.is_err() {
            forget_flight(&self.gate, grant, self.timeouts, *id);
        }
        FlightEnd::Failed(denial)
    }

    /// Ends the session because of what the AS answered, unless the flight was given up: then that is about a
    /// grant nobody holds any more. Also returns whether to revoke the new tokens: yes if the session is
    /// over, by this or before, or nobody knows; no if it goes on.
    async fn end(&self, end: SessionEnd, denial: Denial) -> (FlightEnd, bool) {
        let Flight { grant, id, .. } = &self.flight;
        let ended = self.change_within(ENDING, |family, _| {
            let decides = family.forget_flight(*id);
            if decides {
                family.end(end, Some(grant.generation));
            }
            (decides, family.over())
        });
        match ended.await {
            Ok((true, _)) => (FlightEnd::Failed(denial), true),
            Ok((false, Some(over))) => (FlightEnd::Failed(Denial::SessionEnded(over)), over.revokes_tokens()),
            // A later generation goes on, and its cookie must not be cleared.
            Ok((false, None)) => (FlightEnd::Failed(Denial::AuthorizationServerUnavailable), false),
            Err(denial) => {
                forget_flight(&self.gate, grant, self.timeouts, *id);
                (FlightEnd::Failed(denial), true)
            }
        }
    }

    /// Judges the answer and stores it. An answer that nobody may get ends the session.
    async fn receive(&self, answer: TokenAnswer) -> FlightEnd {
        let refresh_token =
            answer.refresh_token.clone().unwrap_or_else(|| self.flight.grant.refresh_token.clone());
        let landed = match self.judge(&answer).await {
            Ok(judged) => {
                let (refresh_token, seed) = (refresh_token.clone(), random(&*self.gate.random));
                self.land(&NewTokens { answer, judged, refresh_token, seed }).await
            }
            Err(denial) => Err(denial),
        };
        match landed {
            Ok(heard) => heard,
            Err(denial) => {
                let end = match denial {
                    Denial::SessionEnded(end) => end,
                    _ => SessionEnd::Revoked,
                };
                let (heard, revoke) = self.end(end, denial).await;
                if revoke {
                    self.revoke(refresh_token);
                }
                heard
            }
        }
    }

    async fn judge(&self, answer: &TokenAnswer) -> Result<JudgedTokens, Denial> {
        let exchanged = Exchanged::RefreshToken(self.flight.shape.key);
        let judged = judge_tokens(&self.gate, &self.live, &self.client, answer, exchanged).await?;
        check_subject_of_tokens(&self.client, &self.flight.grant, &judged)?;
        self.check_not_taken_back(&judged)?;
        Ok(judged)
    }

    /// Checks that the session was not revoked while the AS was asked. A list of revocations that went out of
    /// date meanwhile does not cost anybody the answer.
    fn check_not_taken_back(&self, judged: &JudgedTokens) -> Result<(), Denial> {
        let (facts, now) = (GrantIdentity::of(&self.flight.grant), self.gate.clock.now());
        for sub in [facts.sub, judged.other_name().or(facts.sub)] {
            if self.gate.revocations.admits_grant(&GrantIdentity { sub, ..facts }, now) == Ok(false) {
                return Err(Denial::SessionEnded(SessionEnd::Revoked));
            }
        }
        Ok(())
    }

    /// Changes the family's record in the store, retrying through an outage of this length.
    async fn change_within<T>(
        &self,
        outage: Duration,
        mut step: impl FnMut(&mut Family, Now) -> T + Send,
    ) -> Result<T, Denial> {
        let until = Instant::now() + outage;
        let mut pause = RETRY.first;
        loop {
            match change(&self.gate, &self.flight.grant, self.timeouts, &mut step).await {
                Err(_) if Instant::now() < until => {}
                result => return result,
            }
            sleep(pause).await;
            pause = RETRY.after(pause);
        }
    }

    /// Stores the answer, retrying for the time of a flight.
    ///
    /// # Errors
    /// Why nobody gets the new tokens, and the session ends.
    async fn land(&self, new: &NewTokens) -> Result<FlightEnd, Denial> {
        let Flight { grant, id, activity, .. } = &self.flight;
        warn_of_long_life(&self.gate, &self.client, new.life(self.gate.clock.now()));
        if let Some(denial) = &new.judged.unusable
            && !is_our_outage(denial)
        {
            log_unusable(&self.client, denial, new.judged.said.as_ref());
        }
        let tokens = match self.keep_tokens(new).await {
            Ok(tokens) => tokens,
            Err(Denial::AnswerMismatch) => return Err(Denial::AnswerMismatch),
            // The store is still away, and the next step will say so.
            Err(_) => None,
        };
        let put = self.change_within(FLIGHT, |family, now| {
            let name = new.judged.other_name();
            let is_noted = name.is_none() || family.other_name() == name;
            let is_found = is_noted && !family.has_gap_by(&self.flight.grant);
            let used = activity.is_use() || family.is_used(*id);
            let grant = Grant { last_used_at: family.last_use(grant.last_used_at), ..grant.clone() };
            let (arrival, answer) = self.make_arrival(&grant, new, used)?;
            let (issued, answer) = (arrival.issued, arrival.is_awaited.then_some(answer));
            Ok(InStore { landed: family.land(arrival, now), answer, issued, is_found })
        });
        match put.await {
            Ok(Ok(in_store)) => Ok(self.conclude(new, tokens, in_store).await),
            Ok(Err(denial)) => Err(denial),
            Err(denial) => {
                tracing::error!(
                    client = %self.client.name,
                    family = %grant.family,
                    "the store did not take an exchange within its time; the session is lost unless the AS keeps refresh tokens"
                );
                Ok(FlightEnd::Failed(denial))
            }
        }
    }

    /// Carries out what follows from the stored outcome. `tokens`: those that this process keeps at hand.
    async fn conclude(&self, new: &NewTokens, tokens: Option<SessionTokens>, in_store: InStore) -> FlightEnd {
        let (family, InStore { landed, answer, issued, is_found }) = (self.flight.grant.family, in_store);
        if let Landed::Kept { pushed_out: Some(token) } = &landed {
            name_tokens_in_background(&self.gate, family, &[*token]);
        }
        if !is_found
            && matches!(landed, Landed::Kept { .. } | Landed::Before)
            && let Err(denial) = self.let_be_found(&new.judged).await
        {
            return FlightEnd::Failed(denial);
        }
        match landed {
            Landed::Kept { .. } => {
                self.note_receipt(issued).await;
                self.hold_tokens(tokens);
                if let Some(verified) = &new.judged.verified {
                    self.gate.open_requests.renewed(family, verified, self.gate.clock.now());
                }
                // A request that began to wait meanwhile gets the answer from the store, which then knows
                // that it was given.
                answer.map_or(FlightEnd::PresentAgain, |answer| FlightEnd::Landed(Arc::new(answer)))
            }
            Landed::Before => {
                self.note_receipt(issued).await;
                FlightEnd::PresentAgain
            }
            Landed::TooLate { revoke } => {
                if revoke {
                    self.revoke(new.refresh_token.clone());
                }
                // Each request presents its own cookie again, and is told why.
                FlightEnd::PresentAgain
            }
            Landed::GivenUp => FlightEnd::Failed(Denial::AuthorizationServerUnavailable),
        }
    }

    /// Puts the session into the index of every name of its person, and only then notes the new name in its
    /// record: if this is cut short in between, the next exchange finds the name missing.
    ///
    /// # Errors
    /// [`Denial::StoreUnavailable`]. [`Denial::SessionEnded`]: a revocation by one of these names came before
    /// the session was in its index and did not find it, so it ends now.
    async fn let_be_found(&self, judged: &JudgedTokens) -> Result<(), Denial> {
        let (grant, name) = (&self.flight.grant, judged.other_name());
        let token = judged.verified.as_deref().map(|found| found.token());
        let found_by = FoundBy { token, other_name: name };
        note_again(&self.gate, &self.live, grant, found_by, self.timeouts, FLIGHT)
            .await
            .map_err(|_| Denial::StoreUnavailable)?;
        if let Err(denial) = self.check_not_taken_back(judged) {
            let Ended { revoke, issued, .. } =
                end_family(&self.gate, grant, self.timeouts, SessionEnd::Revoked).await;
            name_tokens_in_background(&self.gate, grant.family, &issued);
            revoke.into_iter().for_each(|token| self.revoke(token));
            return Err(denial);
        }
        if name.is_some() {
            // If this fails, the next exchange does it again.
            let _ = change(&self.gate, grant, self.timeouts, |family, _| family.call_its_person(name)).await;
        }
        Ok(())
    }

    /// Notes the receipt of an access token. In `session` mode the gateway alone uses the token, so its use
    /// would not prove that the cookie arrived.
    async fn note_receipt(&self, issued: Option<Issued>) {
        if self.client.session.is_none() {
            receipts::note(&self.gate, self.flight.grant.family, issued).await;
        }
    }

    /// Stores the tokens that a session's requests are served with, before anybody has the cookie that goes
    /// with them. `None`: the client's pages hold their tokens themselves, or the token is unusable.
    async fn keep_tokens(&self, new: &NewTokens) -> Result<Option<SessionTokens>, Denial> {
        if self.client.session.is_none() || !new.is_usable() {
            return Ok(None);
        }
        let next = self.flight.grant.successor(None, new.seed, self.gate.clock.now(), false);
        let until = Instant::now() + FLIGHT;
        let mut pause = RETRY.first;
        loop {
            let kept = self.try_to_keep(new, &next).await;
            match kept {
                Err(Denial::StoreUnavailable) if Instant::now() < until => {}
                Ok(kept) => {
                    self.warn_of_doubt(new, &kept);
                    return Ok(Some(kept));
                }
                Err(denial) => return Err(denial),
            }
            sleep(pause).await;
            pause = RETRY.after(pause);
        }
    }

    async fn try_to_keep(&self, new: &NewTokens, next: &Grant) -> Result<SessionTokens, Denial> {
        let (grant, NewTokens { answer, judged, .. }) = (&self.flight.grant, new);
        let at_hand = self.gate.sessions.tokens(grant.family, grant.generation);
        let before = match at_hand.and_then(|held| held.id_token.clone()) {
            // There may be none if the store lost its data, or memory stands in for it.
            Some(before) => Some(before),
            None => tokens::of(&self.gate, grant).await?.and_then(|before| before.id_token),
        };
        if let (Some(before), Some(new)) = (&before, &answer.id_token) {
            check_subject_of_id_token(&self.client, before, new)?;
        }
        let now = self.gate.clock.now();
        let ends = new.life(now).map(|life| now.plus(life));
        let believed = answer.id_token.as_ref().filter(|_| judged.id_token_doubt.is_none());
        let tokens = SessionTokens {
            access_token: answer.access_token.clone(),
            id_token: believed.cloned().or(before),
            expires_at: ends.unwrap_or_else(|| grant.signed_in_at.plus(self.timeouts.absolute)),
        };
        tokens::keep(&self.gate, &self.client, next, &tokens).await?;
        Ok(tokens)
    }

    /// Warns that the identity headers stay filled from the previous ID token. The session does not end for
    /// that: the previous one was valid, and an AS may return it again at each refresh, even expired (OpenID
    /// Connect Core 1.0 section 12.2).
    fn warn_of_doubt(&self, new: &NewTokens, kept: &SessionTokens) {
        let Some(why) = &new.judged.id_token_doubt else { return };
        if kept.id_token != new.answer.id_token {
            tracing::warn!(
                client = %self.client.name,
                issuer = %self.client.issuer,
                %why,
                "the AS gave an ID token with a refresh that is not believed; what the one before said of the person stays"
            );
        }
    }

    /// Puts the new tokens into this process's memory, and drops the old ones.
    fn hold_tokens(&self, new: Option<SessionTokens>) {
        let (grant, sessions) = (&self.flight.grant, &self.gate.sessions);
        sessions.drop_tokens(grant.family, grant.generation);
        let Some(new) = new else { return };
        let next = grant.generation.saturating_add(1);
        let is_told_by_id_token =
            self.client.session.as_ref().is_some_and(|mode| mode.identity == IdentityFrom::IdToken);
        let claims =
            new.id_token.as_ref().filter(|_| is_told_by_id_token).and_then(claims_from_token_endpoint);
        if claims.is_some() || !is_told_by_id_token {
            sessions.hold(grant.family, next, HeldTokens::new(&new, self.gate.clock.now(), claims));
        }
        let (gate, grant, grace) = (Arc::clone(&self.gate), grant.clone(), self.live.settings.sessions.grace);
        self.gate.errands.spawn(async move { tokens::forget(&gate, &grant, grace).await });
    }

    fn revoke(&self, token: SecretString) {
        revoke_in_background(&self.gate, &self.live, &self.client, token);
    }
}
