//! Asks the issuer of an opaque token whether it is good (RFC 7662). What counts as opaque, and what an
//! answer is worth, is `core::token::introspection`; what is remembered, and how many calls there are at
//! once, is `state::introspections`.
//!
//! A token is shown to one issuer alone: the one that the route, or the client that got it, belongs to.
//! Whoever else saw it could use it. A call belongs to the gateway and not to the request that began it; who
//! waits for it waits no longer than the issuer's `timeout`. Whatever is no answer of the issuer is an outage
//! (503), and never the end of a token.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode};
use url::Url;

use crate::config::settings::Introspection;
use crate::core::denial::Denial;
use crate::core::ids::IssuerName;
use crate::core::metadata::{ClientAuthentication, Endpoints};
use crate::core::revocation::TokenIdentity;
use crate::core::secret::SecretString;
use crate::core::session::oauth::answer::is_json;
use crate::core::session::oauth::authentication::{Audience, AuthenticatedEndpoint, Credential};
use crate::core::session::oauth::request::ServerForm;
use crate::core::token::bearer::Spelled;
use crate::core::token::fingerprint::Fingerprint;
use crate::core::token::introspection::{IntrospectionAnswer, is_opaque};
use crate::core::token::verified::VerifiedToken;
use crate::flows::brought::Brought;
use crate::flows::call_authorization_server::{ClientAtServer, ClientProof, post, send};
use crate::flows::claims_elsewhere::{read_of_access_tokens, warn_of_claims_elsewhere};
use crate::flows::keep_keys_fresh::{Means, endpoints_by};
use crate::flows::ports::{Bounds, Clock, HttpClient, Randomness};
use crate::flows::{Gate, brake};
use crate::state::introspections::{CallOutcome, Flight, Introspections, Lookup, Verdict};
use crate::state::issuer_keys::{IssuerState, Issuers};
use crate::state::live::Live;
use crate::state::metrics::{IntrospectionResult, Metrics, ServerEndpoint};
use crate::state::verified_tokens::{self, Grounds, KnownCaller};

#[cfg(test)]
mod tests;

/// The largest answer that is read: claims of a token with many roles.
const MAX_ANSWER: usize = 64 * 1024;

/// The issuer to ask about a token; `None`: it is judged as a JWT, and refused if it is none. Among several
/// nobody is asked; the configuration sees to it that there is at most one on a route.
pub(in crate::flows) fn whom_to_ask<'a>(
    live: &'a Live,
    token: Spelled<'_>,
    brought: Brought<'_>,
) -> Option<&'a Arc<IssuerState>> {
    let issuer = only_one(&live.issuers, |issuer| match brought {
        Brought::ByRequest { to, .. } => to.takes_issuer(issuer),
        Brought::ByIssuer(name, _) => issuer == name,
    })?;
    token.text().is_ok_and(is_opaque).then_some(issuer)
}

fn only_one(issuers: &Issuers, takes: impl Fn(&IssuerName) -> bool) -> Option<&Arc<IssuerState>> {
    let mut asked = issuers.iter().filter(|issuer| {
        let settings = &issuer.settings;
        settings.introspection.is_some() && takes(&settings.name)
    });
    asked.next().filter(|_| asked.next().is_none())
}

/// Who brings this token, by its issuer's word, remembered or asked for now. `id`: the token's fingerprint.
///
/// # Errors
/// What is wrong with the token; `TooManyDenials` before a call for who had too many;
/// `IntrospectionUnavailable` while it cannot be said.
pub(in crate::flows) async fn introspect(
    gate: &Gate,
    live: &Live,
    issuer: &Arc<IssuerState>,
    token: &str,
    id: Fingerprint,
    brought: Brought<'_>,
) -> Result<Arc<KnownCaller>, Denial> {
    let began = Instant::now();
    let now = gate.clock.now();
    let introspections = issuer.introspections().ok_or(Denial::UnknownIssuer)?;
    let recalled = introspections.recall(id, now);
    let is_recalled = recalled.is_some();
    let verdict = match recalled {
        Some(verdict) => verdict,
        None => {
            if let Brought::ByRequest { from, tally, .. } = brought {
                brake::before_token(gate, live, id, from, tally, now)?;
            }
            ask(gate, issuer, introspections, token, id).await
        }
    };
    let found = found(gate, live, issuer, &verdict?, token, id);
    if is_recalled {
        found.notes.uses.inc();
        gate.metrics.token_recalled(began.elapsed());
    } else {
        gate.metrics.token_introspected(&issuer.settings.name, began.elapsed());
    }
    let verified = found.token();
    gate.revocations.admit_token(&found.notes.marks, verified.issued_at(), now)?;
    brake::remember(gate, live, id);
    Ok(found)
}

async fn ask(
    gate: &Gate,
    issuer: &Arc<IssuerState>,
    introspections: &Introspections,
    token: &str,
    id: Fingerprint,
) -> Verdict {
    match introspections.find(id, gate.clock.now()) {
        Lookup::Known(verdict) => verdict,
        Lookup::UnderWay(landing) => landing.verdict().await,
        Lookup::Begun(flight, landing) => {
            tokio::spawn(Call::new(gate, issuer, token).carry_out(flight));
            landing.verdict().await
        }
        Lookup::Paused => Err(Denial::IntrospectionUnavailable),
        Lookup::Full => {
            gate.metrics.introspected(&issuer.settings.name, IntrospectionResult::Overloaded);
            Err(Denial::IntrospectionUnavailable)
        }
    }
}

/// What is made of a good token once for each answer and configuration.
fn found(
    gate: &Gate,
    live: &Live,
    issuer: &Arc<IssuerState>,
    token: &Arc<VerifiedToken>,
    text: &str,
    id: Fingerprint,
) -> Arc<KnownCaller> {
    let made = gate.verified_tokens.get(&id, &live.issuers, gate.clock.now());
    if let Some(made) = made.filter(|made| made.notes.rests_on(token)) {
        return made;
    }
    warn_of_claims_elsewhere(issuer, token.claims(), read_of_access_tokens(&live.settings, issuer));
    let facts = TokenIdentity::of(token, &issuer.settings.rules.iss, text);
    // One that has an id by its issuer's word was noted by its text where it was handed out while the issuer
    // could not be asked about it.
    let marks = match token.id() {
        Some(_) => gate.revocations.marks_by_text_too(&facts, text),
        None => gate.revocations.marks_by_each_name(&facts, text),
    };
    let uses = gate.metrics.token_recalls(&issuer.settings.name);
    let found = verified_tokens::TokenNotes::new(
        id,
        marks,
        uses,
        Arc::clone(issuer),
        Grounds::Word(Arc::downgrade(token)),
    );
    let settings = &live.settings;
    let made = found.of(VerifiedToken::clone(token), &settings.identity.headers, settings.read_claims());
    gate.verified_tokens.remember(Arc::clone(&made));
    made
}

/// One question to an issuer, on its own.
struct Call {
    http: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    metrics: Metrics,
    issuer: Arc<IssuerState>,
    token: SecretString,
}

/// Asks the issuer about this one token, remembering nothing. Returns what came back, and how the gateway
/// proved itself.
///
/// # Errors
/// Why nothing came back.
pub(in crate::flows) async fn ask_once(
    means: Means<'_>,
    random: &Arc<dyn Randomness>,
    issuer: &Arc<IssuerState>,
    token: SecretString,
) -> Result<(Response<Bytes>, String), String> {
    let call = Call {
        http: Arc::clone(means.http),
        clock: Arc::clone(means.clock),
        random: Arc::clone(random),
        metrics: means.metrics.clone(),
        issuer: Arc::clone(issuer),
        token,
    };
    call.send().await.map_err(|fault| fault.why)
}

/// What an answer says of a token, by [`ask_once`].
///
/// # Errors
/// Why it says nothing.
pub(in crate::flows) fn read_once(
    answer: &Response<Bytes>,
    manner: &str,
) -> Result<IntrospectionAnswer, String> {
    read(answer, manner).map_err(|fault| fault.why)
}

/// Where the issuer is asked.
struct IntrospectionEndpoint {
    url: Url,
    takes: ClientAuthentication,
    token_endpoint: Option<Url>,
}

/// Why there is no answer.
struct Fault {
    why: String,
    /// Whatever the token was.
    of_the_server: bool,
}

impl Fault {
    fn of_the_server(why: impl Into<String>) -> Self {
        Self { why: why.into(), of_the_server: true }
    }

    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), of_the_server: false }
    }
}

impl Call {
    fn new(gate: &Gate, issuer: &Arc<IssuerState>, token: &str) -> Self {
        Self {
            http: Arc::clone(&gate.http),
            clock: Arc::clone(&gate.clock),
            random: Arc::clone(&gate.random),
            metrics: gate.metrics.clone(),
            issuer: Arc::clone(issuer),
            token: token.into(),
        }
    }

    async fn carry_out(self, flight: Flight) {
        let deadline = self.issuer.settings.timeout;
        let late = || Err(Fault::new("no answer within the deadline"));
        let answer = tokio::time::timeout(deadline, self.ask()).await.unwrap_or_else(|_| late());
        let now = self.clock.now();
        let name = &self.issuer.settings.name;
        let (outcome, result) = match answer {
            Ok(answer) => {
                self.tell_recovery();
                let judged = answer.judge(&self.issuer.settings.rules, now).map(Arc::new);
                let result = match &judged {
                    Ok(_) => IntrospectionResult::Active,
                    Err(Denial::TokenInactive { .. }) => IntrospectionResult::Inactive,
                    Err(_) => IntrospectionResult::Refused,
                };
                (CallOutcome::Judged(judged), result)
            }
            Err(fault) => {
                self.tell(&fault);
                (CallOutcome::Failed { of_the_server: fault.of_the_server }, IntrospectionResult::Failed)
            }
        };
        self.metrics.introspected(name, result);
        flight.land_with(outcome, now);
    }

    async fn ask(&self) -> Result<IntrospectionAnswer, Fault> {
        let (answer, manner) = self.send().await?;
        read(&answer, &manner)
    }

    /// What came back, and how the gateway proved itself.
    async fn send(&self) -> Result<(Response<Bytes>, String), Fault> {
        let asked = self.issuer.settings.introspection.as_ref();
        let asked = asked.ok_or_else(|| Fault::of_the_server("the issuer is not asked about tokens"))?;
        let IntrospectionEndpoint { url, takes, token_endpoint } = self.endpoint(asked).await?;
        let client = ClientAtServer {
            client_id: &asked.client_id,
            issuer: &self.issuer.settings.name,
            proof: ClientProof::Ours(&asked.credential),
        };
        let place = AuthenticatedEndpoint {
            url: &url,
            takes: &takes,
            iss: &self.issuer.settings.rules.iss,
            token_endpoint: token_endpoint.as_ref(),
        };
        let form = ServerForm::introspection(self.token.expose());
        let request =
            post(&*self.random, self.clock.now(), place, client, &form).map_err(Fault::of_the_server)?;
        let bounds = Bounds { deadline: self.issuer.settings.timeout, answer_bytes: MAX_ANSWER };
        let means = Means { http: &self.http, clock: &self.clock, metrics: &self.metrics };
        let answer = send(means, &self.issuer, ServerEndpoint::Introspection, request, bounds).await;
        let answer = answer
            .map_err(|fault| Fault { why: fault.to_string(), of_the_server: fault.is_before_the_call() })?;
        Ok((answer, Credential::from(&asked.credential).manner(&takes)))
    }

    async fn endpoint(&self, asked: &Introspection) -> Result<IntrospectionEndpoint, Fault> {
        let audience = Credential::from(&asked.credential).audience();
        let known = match &asked.endpoint {
            Some(_) if audience != Some(Audience::TokenEndpoint) => self.issuer.endpoints(),
            _ => Some(self.published().await?),
        };
        let published = known.as_ref().and_then(|known| known.introspection.clone());
        let url = asked.endpoint.clone().or(published).ok_or_else(|| {
            Fault::of_the_server(
                "its metadata has no introspection_endpoint that may be called; give `endpoint`",
            )
        })?;
        let known = known.as_deref();
        let takes = known.map(|known| known.introspection_auth.clone()).unwrap_or_default();
        Ok(IntrospectionEndpoint { url, takes, token_endpoint: known.and_then(|known| known.token.clone()) })
    }

    async fn published(&self) -> Result<Arc<Endpoints>, Fault> {
        let means = Means { http: &self.http, clock: &self.clock, metrics: &self.metrics };
        endpoints_by(means, &self.issuer).await.map_err(|_| {
            Fault::of_the_server("its endpoints are not known: its metadata could not be read yet")
        })
    }

    fn tell(&self, fault: &Fault) {
        let (issuer, why) = (&self.issuer.settings.name, &fault.why);
        let now = self.clock.now();
        let is_told = self.introspections().is_some_and(|known| {
            if fault.of_the_server { known.failed(why, now) } else { known.failed_for_one(now) }
        });
        match (is_told, fault.of_the_server) {
            (true, true) => tracing::warn!(
                %issuer,
                why,
                "the issuer could not be asked about an opaque token: those that are not remembered get 503"
            ),
            (true, false) => tracing::warn!(
                %issuer,
                why,
                "the issuer did not say whether an opaque token is good: it gets 503, others are asked about"
            ),
            (false, _) => tracing::debug!(%issuer, why, "the issuer was asked about an opaque token in vain"),
        }
    }

    fn tell_recovery(&self) {
        if self.introspections().is_some_and(Introspections::answered) {
            tracing::info!(issuer = %self.issuer.settings.name, "the issuer can be asked about opaque tokens again");
        }
    }

    fn introspections(&self) -> Option<&Introspections> {
        self.issuer.introspections()
    }
}

/// RFC 7662 sections 2.2 and 2.3: 200 and JSON, or no answer. A refusal of our own credentials says nothing
/// of the token. `manner`: how those were shown.
fn read(answer: &Response<Bytes>, manner: &str) -> Result<IntrospectionAnswer, Fault> {
    match answer.status() {
        StatusCode::OK if is_json(answer.headers()) => {
            IntrospectionAnswer::parse(answer.body()).map_err(|unreadable| Fault::new(unreadable.to_string()))
        }
        StatusCode::OK => Err(Fault::new("its answer is not application/json")),
        StatusCode::UNAUTHORIZED => Err(Fault::of_the_server(format!(
            "it answered 401: it does not take `client_id` and credential of `introspection`, or not by {manner}"
        ))),
        status if status.is_redirection() => {
            Err(Fault::new(format!("it answered {status}, and redirects are not followed")))
        }
        status => Err(Fault::new(format!("it answered {status}"))),
    }
}
