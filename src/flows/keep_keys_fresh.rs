//! Fetches issuers' keys and endpoints, before they grow old and when a token names an unknown key. Whether
//! to fetch is decided in `core::token::freshness`; `state::issuer_keys` makes sure of one fetch at a time;
//! this file carries it out.
//!
//! A fetch belongs to the gateway, not to the request that caused it: it runs in a task of its own, and
//! requests wait for it with a deadline. It must never empty or shorten what is known, follow a redirect, or
//! read without a bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode};
use tokio::sync::watch;
use url::Url;

use crate::config::settings::{Issuer, KeySource};
use crate::core::denial::Denial;
use crate::core::metadata::{self, Endpoints};
use crate::core::time::Timestamp;
use crate::core::token::freshness::Decision;
use crate::core::token::jwks::{KeySet, Skipped};
use crate::flows::Gate;
use crate::flows::fitting_keys::warn_if_no_key_fits;
use crate::flows::ports::{Bounds, Clock, HttpClient, HttpFault};
use crate::state::issuer_keys::{Flight, IssuerState, Issuers};
use crate::state::metrics::{Metrics, ServerEndpoint};

/// The largest JWK Set that is read, in bytes: a thousand keys with their certificates.
const MAX_JWKS: usize = 4 * 1024 * 1024;
/// The largest metadata document that is read, in bytes.
const MAX_METADATA: usize = 256 * 1024;
/// How often the background task checks whether a fetch is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a fetch needs of the gate.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) http: &'a Arc<dyn HttpClient>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) metrics: &'a Metrics,
}

impl<'a> Means<'a> {
    pub(crate) fn of(gate: &'a Gate) -> Self {
        Self { http: &gate.http, clock: &gate.clock, metrics: &gate.metrics }
    }
}

/// The endpoints of an issuer. If they are not known yet, they are discovered now, in one flight.
///
/// # Errors
/// `AuthorizationServerUnavailable` when it cannot be asked now or publishes none (`jwks_uri` and
/// `jwks_file` issuers have no endpoints).
pub async fn endpoints(gate: &Gate, issuer: &IssuerState) -> Result<Arc<Endpoints>, Denial> {
    endpoints_by(Means::of(gate), issuer).await
}

pub(crate) async fn endpoints_by(means: Means<'_>, issuer: &IssuerState) -> Result<Arc<Endpoints>, Denial> {
    if let Some(known) = issuer.endpoints() {
        return Ok(known);
    }
    if !matches!(issuer.settings.keys, KeySource::Discovery(_)) {
        return Err(Denial::AuthorizationServerUnavailable);
    }
    let discovered = async {
        loop {
            let mut landings = issuer.landings();
            if let Some(known) = issuer.endpoints() {
                return Some(known);
            }
            match consult(means, issuer, false) {
                Decision::Wait | Decision::FetchAndWait => landings.changed().await.ok()?,
                _ => return None,
            }
        }
    };
    let deadline = issuer.settings.timeout;
    let known = tokio::time::timeout(deadline, discovered).await.ok().flatten();
    known.ok_or(Denial::AuthorizationServerUnavailable)
}

/// The keys to verify a token with. `knows` tells whether a key set can decide about it. If the set at hand
/// cannot, waits for one fetch, at most for the issuer's `timeout`.
///
/// # Errors
/// `UnknownKey`; `KeysUnavailable` while there are no keys that are fresh enough.
pub(crate) async fn keys_for(
    means: Means<'_>,
    issuer: &IssuerState,
    now: Timestamp,
    knows: impl Fn(&KeySet) -> bool,
) -> Result<Arc<KeySet>, Denial> {
    look_for_keys(means, issuer, now, knows).await.map_err(|none| match none {
        NoKeys::Unknown { .. } => Denial::UnknownKey,
        NoKeys::Unavailable => Denial::KeysUnavailable,
    })
}

/// Like [`keys_for`], for messages that their sender repeats only after a 503: an unknown key is refused for
/// good only if the issuer was asked after the message arrived.
///
/// # Errors
/// As [`keys_for`]; `KeyNotKnownYet` while the issuer is not asked again.
pub(crate) async fn keys_for_one_time_message(
    means: Means<'_>,
    issuer: &IssuerState,
    now: Timestamp,
    knows: impl Fn(&KeySet) -> bool,
) -> Result<Arc<KeySet>, Denial> {
    look_for_keys(means, issuer, now, knows).await.map_err(|none| match none {
        NoKeys::Unavailable => Denial::KeysUnavailable,
        NoKeys::Unknown { was_asked: true } => Denial::UnknownKey,
        NoKeys::Unknown { was_asked: false } => match issuer.looks_again(means.clock.now()) {
            // In whole seconds, not before.
            Some(rest) => Denial::KeyNotKnownYet { retry_after: rest.max(Duration::from_secs(1)) },
            None => Denial::UnknownKey,
        },
    })
}

/// Why there are no keys to verify a token with.
enum NoKeys {
    /// `was_asked`: whether the issuer was asked after the token arrived.
    Unknown {
        was_asked: bool,
    },
    Unavailable,
}

async fn look_for_keys(
    means: Means<'_>,
    issuer: &IssuerState,
    now: Timestamp,
    knows: impl Fn(&KeySet) -> bool,
) -> Result<Arc<KeySet>, NoKeys> {
    if let Some(keys) = issuer.fresh_keys(now).filter(|keys| knows(keys)) {
        return Ok(keys);
    }
    if issuer.keys().is_some_and(|keys| !knows(&keys)) {
        means.metrics.unknown_kid(&issuer.settings.name);
    }
    let decided = async {
        let mut was_asked = false;
        loop {
            let mut landings = issuer.landings();
            let known = issuer.keys().filter(|keys| knows(keys));
            let decision = consult(means, issuer, known.is_some());
            was_asked |= decision == Decision::FetchAndWait;
            match decision {
                Decision::Use | Decision::UseAndRefresh => return known.ok_or(NoKeys::Unavailable),
                // A fetch that is under way may have begun before the token arrived.
                Decision::Wait | Decision::FetchAndWait => {
                    landings.changed().await.map_err(|_| NoKeys::Unavailable)?;
                }
                Decision::RefuseUnknownKey => return Err(NoKeys::Unknown { was_asked }),
                Decision::RefuseUnavailable => return Err(NoKeys::Unavailable),
            }
        }
    };
    tokio::time::timeout(issuer.settings.timeout, decided).await.unwrap_or(Err(NoKeys::Unavailable))
}

/// Forgets an issuer's answers about opaque tokens, fetches its keys now, whatever their age, and waits for
/// that. Operators ask for it when a key, or what is remembered, must stop working at once.
///
/// # Errors
/// Why there are no new keys, as text for operators. What was remembered is forgotten all the same.
pub async fn refresh_now(gate: &Gate, issuer: &IssuerState) -> Result<Arc<KeySet>, String> {
    if let Some(introspections) = issuer.introspections() {
        introspections.forget();
    }
    if !issuer.is_fetched() {
        let keys = issuer.introspections().and_then(|_| issuer.keys());
        return keys
            .ok_or_else(|| "its keys stand in the configuration; a reload reads them again".to_owned());
    }
    fetch_now(Means::of(gate), issuer).await
}

/// Fetches an issuer's keys and endpoints now, and waits for the end of it.
///
/// # Errors
/// Why there are no new keys, as text for operators.
pub(crate) async fn fetch_now(means: Means<'_>, issuer: &IssuerState) -> Result<Arc<KeySet>, String> {
    let fetched = async {
        loop {
            let mut landings = issuer.landings();
            match issuer.begin_fetch(means.clock.now()) {
                Some(flight) => {
                    Fetch {
                        http: means.http.clone(),
                        metrics: means.metrics.clone(),
                        issuer: issuer.clone(),
                    }
                    .carry_out(flight)
                    .await;
                    return;
                }
                // A fetch that is under way may have begun before the key was removed.
                None if landings.changed().await.is_err() => return,
                None => {}
            }
        }
    };
    let deadline = issuer.settings.timeout.saturating_mul(3);
    if tokio::time::timeout(deadline, fetched).await.is_err() {
        return Err("it did not answer in time".to_owned());
    }
    match (issuer.last_error(), issuer.keys()) {
        (None, Some(keys)) => Ok(keys),
        (error, _) => Err(error.map_or_else(|| "it has no keys".to_owned(), |error| error.to_string())),
    }
}

/// Refreshes the keys of every issuer and transmitter before they grow old, until `stop` is true or its
/// sender is gone.
pub async fn keep_keys_fresh(gate: Arc<Gate>, stop: watch::Receiver<bool>) {
    until(stop, || {
        let live = gate.live.load();
        look(Means::of(&gate), &live.issuers);
        look(Means::of(&gate), live.transmitters.own());
    })
    .await;
}

async fn until(mut stop: watch::Receiver<bool>, look: impl Fn()) {
    loop {
        look();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Begins the fetches that are due.
pub(crate) fn look(means: Means<'_>, issuers: &Issuers) {
    for issuer in issuers.iter() {
        consult(means, issuer, true);
    }
}

/// Decides, and begins the fetch that the decision asks for.
fn consult(means: Means<'_>, issuer: &IssuerState, kid_known: bool) -> Decision {
    let (decision, flight) = issuer.consult(kid_known, means.clock.now());
    if let Some(flight) = flight {
        let fetch =
            Fetch { http: means.http.clone(), metrics: means.metrics.clone(), issuer: issuer.clone() };
        tokio::spawn(fetch.carry_out(flight));
    }
    decision
}

/// One fetch: discovery where the issuer has it, then the keys.
struct Fetch {
    http: Arc<dyn HttpClient>,
    metrics: Metrics,
    issuer: IssuerState,
}

/// The first metadata document that could be read, and where another may be.
struct Discovered {
    endpoints: Endpoints,
    rest: Option<Url>,
}

/// A further metadata document that may say more.
struct Unasked {
    url: Url,
    /// The endpoints of the first document.
    endpoints: Endpoints,
    /// The endpoints in force meanwhile.
    set: Arc<Endpoints>,
}

/// Why a URL brought no document.
enum Fault {
    Http(HttpFault),
    Status(StatusCode),
    Content(String),
}

impl Fetch {
    async fn carry_out(self, flight: Flight) {
        let mut unasked = None;
        let outcome = self.keys(&mut unasked).await;
        self.metrics.keys_fetched(self.name(), outcome.is_ok());
        match outcome {
            Ok((keys, skipped)) => self.report_keys(flight, Arc::new(keys), &skipped),
            Err(error) => self.report_failure(flight, error),
        }
        if let Some(unasked) = unasked {
            self.complete_from_second_document(unasked).await;
        }
    }

    /// Reads the keys. `unasked`: set to the document that is left to read when nobody waits for keys any
    /// more.
    async fn keys(&self, unasked: &mut Option<Unasked>) -> Result<(KeySet, Vec<Skipped>), String> {
        let url = match &self.settings().keys {
            KeySource::JwksUri(url) => url.clone(),
            KeySource::Discovery(document) => {
                match self.discovered_jwks_uri(document.as_ref(), unasked).await? {
                    Some(url) => url,
                    None => return Ok((KeySet::default(), Vec::new())),
                }
            }
            KeySource::JwksFile { .. } | KeySource::SharedSecret(_) => {
                return Err("its keys are not fetched".to_owned());
            }
        };
        let keys = match self.get(ServerEndpoint::Jwks, &url, MAX_JWKS).await {
            Ok(body) => KeySet::parse(&body).map_err(|error| Fault::Content(error.to_string())),
            Err(fault) => Err(fault),
        };
        match keys {
            // An empty set is the issuer's mistake, and no reason to refuse every token.
            Ok((keys, none)) if keys.is_empty() && none.is_empty() => Err(format!("{url}: it has no keys")),
            Ok((keys, skipped)) if keys.is_empty() => {
                let reasons: Vec<_> = skipped.iter().map(|skip| skip.why).collect();
                Err(format!("{url}: none of its {} keys can be used: {}", reasons.len(), reasons.join("; ")))
            }
            Ok(read) => Ok(read),
            Err(fault) => Err(format!("{url}: {fault}")),
        }
    }

    /// Discovers the issuer's metadata anew, because documents change. What was discovered before stays valid
    /// while it cannot be read. `None`: the issuer has no keys, because its tokens are opaque.
    async fn discovered_jwks_uri(
        &self,
        document: Option<&Url>,
        unasked: &mut Option<Unasked>,
    ) -> Result<Option<Url>, String> {
        let known = self.issuer.endpoints();
        let never_had_keys = self.issuer.keys().is_none_or(|keys| keys.is_empty());
        let has_none = self.settings().introspection.is_some() && never_had_keys;
        let Discovered { mut endpoints, mut rest } = match self.discover(document).await {
            Ok(found) => found,
            Err(error) => return known.and_then(|known| known.jwks_uri.clone()).map(Some).ok_or(error),
        };
        let mut why = String::new();
        if let Some(url) = rest.take_if(|_| endpoints.jwks_uri.is_none()) {
            match self.read_second(&url).await {
                Ok(other) => endpoints = endpoints.completed_by(other),
                Err(fault) => {
                    why = format!(" ({url}: {fault})");
                    endpoints = self.issuer.with_second_document(endpoints);
                }
            }
        }
        let jwks_uri = endpoints.jwks_uri.clone();
        let lacks = endpoints.end_session.is_none() || endpoints.pushed_authorization.is_none();
        match rest.filter(|_| lacks && self.settings().signs_in) {
            // What this document said before stays valid until it is read.
            Some(url) => {
                let set = self.issuer.set_endpoints(self.issuer.with_second_document(endpoints.clone()));
                *unasked = Some(Unasked { url, endpoints, set });
            }
            None => drop(self.issuer.set_endpoints(endpoints)),
        }
        if jwks_uri.is_none() && !has_none {
            return Err(format!("its metadata has no jwks_uri{why}; configure jwks_uri or jwks_file"));
        }
        Ok(jwks_uri)
    }

    /// Reads the second document, which may be the only one that names the endpoints for sign-out and for
    /// pushed requests. If it cannot be read, nothing changes.
    async fn complete_from_second_document(&self, unasked: Unasked) {
        let Unasked { url, endpoints, set } = unasked;
        match self.read_second(&url).await {
            Ok(other) => self.issuer.complete_endpoints(&set, endpoints.completed_by(other)),
            Err(fault) => {
                tracing::debug!(issuer = %self.name(), %url, %fault, "the second metadata document was not read");
            }
        }
    }

    async fn discover(&self, document: Option<&Url>) -> Result<Discovered, String> {
        let iss = &self.settings().rules.iss;
        let places = document.map_or_else(|| metadata::locations(iss), |url| vec![url.clone()]);
        let mut errors = Vec::new();
        let mut places = places.into_iter();
        while let Some(url) = places.next() {
            match self.read(&url).await {
                Ok(endpoints) => {
                    let rest = places.next();
                    if rest.is_none() {
                        self.issuer.remember_second_document(endpoints.clone());
                    }
                    return Ok(Discovered { endpoints, rest });
                }
                Err(fault) => {
                    errors.push(format!("{url}: {fault}"));
                    let Fault::Http(fault) = fault else { continue };
                    if fault.is_before_the_call() || fault == HttpFault::Deadline {
                        break; // the next place is on the same server
                    }
                }
            }
        }
        Err(errors.join("; "))
    }

    async fn read_second(&self, url: &Url) -> Result<Endpoints, Fault> {
        let said = self.read(url).await?;
        self.issuer.remember_second_document(said.clone());
        Ok(said)
    }

    /// Reads one metadata document.
    async fn read(&self, url: &Url) -> Result<Endpoints, Fault> {
        let body = self.get(ServerEndpoint::Metadata, url, MAX_METADATA).await?;
        Endpoints::parse(&body, &self.settings().rules.iss).map_err(|error| Fault::Content(error.to_string()))
    }

    async fn get(&self, endpoint: ServerEndpoint, url: &Url, answer_bytes: usize) -> Result<Bytes, Fault> {
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json, application/jwk-set+json;q=0.9, */*;q=0.1")
            .header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::new())
            .map_err(|_| Fault::Content("not a URL that can be asked".to_owned()))?;
        let bounds = Bounds { deadline: self.settings().timeout, answer_bytes };
        let began = Instant::now();
        let answer = self.http.send(self.settings(), request, bounds).await;
        let fault = answer.as_ref().err().map(|fault| fault.label());
        self.metrics.authorization_server_called(self.name(), endpoint, began.elapsed(), fault);
        let answer = answer.map_err(Fault::Http)?;
        if answer.status() == StatusCode::OK {
            Ok(answer.into_body())
        } else {
            Err(Fault::Status(answer.status()))
        }
    }

    fn report_keys(&self, flight: Flight, keys: Arc<KeySet>, skipped: &[Skipped]) {
        let (count, named) = (keys.len(), keys.kids().take(50).collect::<Vec<_>>().join(" "));
        let recovered = self.issuer.last_error().is_some();
        let issuer = self.name();
        match flight.succeeded(keys.clone()) {
            Some(before) if before.same_as(&keys) => {
                if recovered {
                    tracing::info!(%issuer, keys = count, "the issuer's keys can be fetched again");
                }
                return;
            }
            Some(before) => {
                let were = before.kids().take(50).collect::<Vec<_>>().join(" ");
                tracing::info!(%issuer, keys = count, kids = named, were, "the issuer's keys changed");
            }
            None => tracing::info!(%issuer, keys = count, kids = named, "the issuer's keys were read"),
        }
        warn_if_no_key_fits(&self.issuer.settings, &keys);
        for skip in skipped {
            tracing::warn!(%issuer, index = skip.index, why = skip.why, "a key of the issuer is not used");
        }
    }

    fn report_failure(&self, flight: Flight, error: String) {
        let issuer = self.name();
        let ready = self.issuer.keys_ready();
        if !flight.failed(error.clone()) {
            tracing::debug!(%issuer, error, "the issuer's keys could still not be fetched");
        } else if ready {
            tracing::warn!(%issuer, error, "the issuer's keys could not be fetched; those at hand stay in use");
        } else {
            tracing::warn!(
                %issuer,
                error,
                "no keys of this issuer yet: its tokens get 503 until its authorization server answers; trying again"
            );
        }
    }

    fn settings(&self) -> &Issuer {
        &self.issuer.settings
    }

    fn name(&self) -> &crate::core::ids::IssuerName {
        &self.settings().name
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(fault) => fault.fmt(f),
            Self::Status(status) if status.is_redirection() => {
                write!(f, "it answered {status}, and redirects are not followed")
            }
            Self::Status(status) => write!(f, "it answered {status}"),
            Self::Content(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn the_background_looks_at_once_and_again_and_ends_when_it_is_told_to() {
        let looks = Cell::new(0);
        let (stop, stopped) = watch::channel(false);
        let look = || {
            looks.set(looks.get() + 1);
            if looks.get() == 2 {
                stop.send_replace(true);
            }
        };
        until(stopped, look).await;
        assert_eq!(looks.get(), 2);
    }

    #[tokio::test]
    async fn the_background_ends_with_whoever_could_stop_it() {
        let (stop, stopped) = watch::channel(false);
        drop(stop);
        until(stopped, || {}).await;
    }
}
