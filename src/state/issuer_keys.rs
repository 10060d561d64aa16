//! What is known of each issuer: its keys, its endpoints, and how fresh they are. Memory only;
//! `flows::keep_keys_fresh` fetches. A key set is swapped as a whole and never emptied by a failed fetch.
//! What the issuer answered about opaque tokens is in [`Introspections`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::config::settings::{Issuer, KeySource};
use crate::core::ids::IssuerName;
use crate::core::metadata::Endpoints;
use crate::core::time::Timestamp;
use crate::core::token::freshness::{Decision, Freshness, Limits};
use crate::core::token::jwks::{KeySet, Skipped};
use crate::state::introspections::Introspections;

/// One issuer: its configuration, and what is known of it now. Clones share what is known.
#[derive(Clone, Debug)]
pub struct IssuerState {
    pub settings: Arc<Issuer>,
    limits: Limits,
    known: Arc<Known>,
    /// Its index among the issuers of its configuration.
    place: usize,
    introspections: Option<Arc<Introspections>>,
}

/// What survives a reload that leaves the issuer as it was.
#[derive(Debug)]
struct Known {
    keys: ArcSwapOption<KeySet>,
    endpoints: ArcSwapOption<Endpoints>,
    /// What its second metadata document said when it was last read.
    second_document: ArcSwapOption<Endpoints>,
    freshness: Mutex<Freshness>,
    /// Until when the keys at hand are used without asking `freshness`, in milliseconds.
    fresh_until: AtomicI64,
    /// The number of fetches that have ended.
    landed: watch::Sender<u64>,
    last_error: Mutex<Option<Arc<str>>>,
    /// Whether the log has said that its tokens keep claims elsewhere.
    is_told_of: AtomicBool,
}

impl IssuerState {
    fn new(settings: Arc<Issuer>, previous: Option<&Self>) -> Self {
        let limits = Limits::new(settings.keys_refresh);
        let kept = previous.filter(|before| is_same_source(&before.settings, &settings));
        let known = match kept {
            None => Arc::new(Known::of(&settings)),
            Some(before) if is_another_way(&before.settings, &settings) => Arc::new(before.known.apart()),
            Some(before) => before.known.clone(),
        };
        let asked = settings.introspection.as_ref().map(|introspection| {
            let kept = previous.filter(|before| is_judged_alike(&before.settings, &settings));
            let kept = kept.and_then(|before| before.introspections.clone());
            kept.unwrap_or_else(|| Arc::new(Introspections::new(introspection.cache)))
        });
        Self { settings, limits, known, introspections: asked, place: 0 }
    }

    /// Its answers about opaque tokens; `None`: it is not asked about any.
    pub fn introspections(&self) -> Option<&Introspections> {
        self.introspections.as_deref()
    }

    /// Returns true once: the log is then to say that its tokens leave out claims that are read here, and
    /// that those stand elsewhere.
    pub fn claim_word_of_claims_elsewhere(&self) -> bool {
        !self.known.is_told_of.swap(true, Ordering::Relaxed)
    }

    /// The keys at hand, however old.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.known.keys.load_full()
    }

    /// The keys at hand, if they are fresh: the common case, without a lock.
    pub fn fresh_keys(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        self.is_fresh(now).then(|| self.keys()).flatten()
    }

    /// Whether the keys at hand can be used without a decision.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.as_millis() < self.known.fresh_until.load(Ordering::Acquire)
    }

    /// Whether the keys at hand are these.
    pub fn has_keys(&self, keys: &Weak<KeySet>) -> bool {
        self.known.keys.load().as_ref().is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), keys.as_ptr()))
    }

    /// The endpoints, once they were discovered.
    pub fn endpoints(&self) -> Option<Arc<Endpoints>> {
        self.known.endpoints.load_full()
    }

    pub fn set_endpoints(&self, endpoints: Endpoints) -> Arc<Endpoints> {
        let endpoints = Arc::new(endpoints);
        self.known.endpoints.store(Some(endpoints.clone()));
        endpoints
    }

    /// Replaces the endpoints, unless others than `before` were discovered meanwhile.
    pub fn complete_endpoints(&self, before: &Arc<Endpoints>, endpoints: Endpoints) {
        self.known.endpoints.compare_and_swap(before, Some(Arc::new(endpoints)));
    }

    pub fn remember_second_document(&self, said: Endpoints) {
        self.known.second_document.store(Some(Arc::new(said)));
    }

    /// Completes a first metadata document with what the second said when it was last read, for the members
    /// that the second is read for.
    pub fn with_second_document(&self, first: Endpoints) -> Endpoints {
        let Some(second) = self.known.second_document.load_full() else { return first };
        Endpoints {
            jwks_uri: first.jwks_uri.or_else(|| second.jwks_uri.clone()),
            end_session: first.end_session.or_else(|| second.end_session.clone()),
            pushed_authorization: first.pushed_authorization.or_else(|| second.pushed_authorization.clone()),
            requires_pushed: first.requires_pushed || second.requires_pushed,
            ..first
        }
    }

    /// Whether it ever had keys (`/readyz`).
    pub fn keys_ready(&self) -> bool {
        self.known.keys.load().is_some()
    }

    /// Whether tokens are verified with its keys: there are some, and they are not too old.
    pub fn keys_usable(&self, now: Timestamp) -> bool {
        self.keys_ready() && (!self.is_fetched() || self.freshness().is_usable(&self.limits, now))
    }

    /// How long ago its keys were last read; `None`: never, or they are not fetched.
    pub fn keys_age(&self, now: Timestamp) -> Option<Duration> {
        self.freshness().age(now)
    }

    /// Why the latest fetch failed; `None`: it did not. Names URLs, nothing secret.
    pub fn last_error(&self) -> Option<Arc<str>> {
        lock(&self.known.last_error).clone()
    }

    /// Whether its keys come from the network.
    pub fn is_fetched(&self) -> bool {
        matches!(self.settings.keys, KeySource::Discovery(_) | KeySource::JwksUri(_))
    }

    /// What to do with a token whose key is known, or is not. If the decision begins a fetch, the caller gets
    /// the [`Flight`] and must carry it out; there is never more than one.
    pub fn consult(&self, kid_known: bool, now: Timestamp) -> (Decision, Option<Flight>) {
        if !self.is_fetched() {
            let decision = match (kid_known, self.keys_ready()) {
                (true, true) => Decision::Use,
                (false, true) => Decision::RefuseUnknownKey,
                (_, false) => Decision::RefuseUnavailable,
            };
            return (decision, None);
        }
        let mut freshness = self.freshness();
        let decision = freshness.decide(&self.limits, kid_known, now);
        let flight = decision.begins_fetch().then(|| {
            freshness.begin(now);
            Flight { known: self.known.clone(), began: now, limits: self.limits, is_open: true }
        });
        (decision, flight)
    }

    /// How long until an unknown key may cause another fetch; `None`: the keys are not fetched.
    pub fn looks_again(&self, now: Timestamp) -> Option<Duration> {
        self.is_fetched().then(|| self.freshness().rest(&self.limits, now))
    }

    /// Begins a fetch, whatever the age of the keys. `None`: one is under way, or the keys are not fetched.
    pub fn begin_fetch(&self, now: Timestamp) -> Option<Flight> {
        let mut freshness = self.freshness();
        if !self.is_fetched() || freshness.is_in_flight() {
            return None;
        }
        freshness.begin(now);
        Some(Flight { known: self.known.clone(), began: now, limits: self.limits, is_open: true })
    }

    /// Makes the next fetch due, however young the keys are. They count until it succeeds.
    fn doubt_keys(&self, now: Timestamp) {
        self.freshness().doubt(now);
    }

    /// Changes whenever a fetch ends. Subscribe before [`Self::consult`], so that no end is missed.
    pub fn landings(&self) -> watch::Receiver<u64> {
        self.known.landed.subscribe()
    }

    fn freshness(&self) -> MutexGuard<'_, Freshness> {
        lock(&self.known.freshness)
    }
}

impl Known {
    fn of(settings: &Issuer) -> Self {
        let read: Option<Result<(KeySet, Vec<Skipped>), _>> = match &settings.keys {
            KeySource::Discovery(_) | KeySource::JwksUri(_) => None,
            KeySource::JwksFile { text, .. } => Some(KeySet::parse(text)),
            KeySource::SharedSecret(secret) => {
                let keys = KeySet::shared_secret(secret.expose(), &settings.rules.algorithms);
                Some(keys.map(|keys| (keys, Vec::new())))
            }
        };
        let (keys, error) = match read {
            None => (None, None),
            Some(Err(error)) => (None, Some(Arc::from(error.to_string()))),
            Some(Ok((keys, _))) if keys.is_empty() => {
                (None, Some(Arc::from("no key of the file can be used")))
            }
            Some(Ok((keys, _))) => (Some(Arc::new(keys)), None),
        };
        let fresh_until = if keys.is_some() { i64::MAX } else { i64::MIN };
        Self {
            keys: ArcSwapOption::new(keys),
            endpoints: ArcSwapOption::empty(),
            second_document: ArcSwapOption::empty(),
            freshness: Mutex::default(),
            // Keys that are not fetched do not grow old.
            fresh_until: AtomicI64::new(fresh_until),
            landed: watch::Sender::new(0),
            last_error: Mutex::new(error),
            is_told_of: AtomicBool::new(false),
        }
    }

    /// A copy of what is known now, cut off from fetches under way: those go by the trust or the route of the
    /// configuration before.
    fn apart(&self) -> Self {
        Self {
            keys: ArcSwapOption::new(self.keys.load_full()),
            endpoints: ArcSwapOption::new(self.endpoints.load_full()),
            second_document: ArcSwapOption::new(self.second_document.load_full()),
            freshness: Mutex::new(lock(&self.freshness).apart()),
            fresh_until: AtomicI64::new(self.fresh_until.load(Ordering::Acquire)),
            landed: watch::Sender::new(0),
            last_error: Mutex::new(lock(&self.last_error).clone()),
            is_told_of: AtomicBool::new(self.is_told_of.load(Ordering::Relaxed)),
        }
    }
}

/// Whether the keys come from the same issuer and the same place, and so are kept over a reload. A changed
/// `ca` says nothing about whose keys they are; see [`Issuers::doubt_changed`].
fn is_same_source(before: &Issuer, now: &Issuer) -> bool {
    let same_place = match (&before.keys, &now.keys) {
        (KeySource::Discovery(a), KeySource::Discovery(b)) => a == b,
        (KeySource::JwksUri(a), KeySource::JwksUri(b)) => a == b,
        _ => false,
    };
    same_place && before.rules.iss == now.rules.iss
}

/// Whether calls go by another trust (`ca`) or another route (`proxy`, `connect_to`).
fn is_another_way(before: &Issuer, now: &Issuer) -> bool {
    before.ca != now.ca || before.connection != now.connection
}

/// Whether opaque tokens would be asked about and judged as before, so that the answers are kept over a
/// reload.
fn is_judged_alike(before: &Issuer, now: &Issuer) -> bool {
    let is_discovered = |issuer: &Issuer| matches!(issuer.keys, KeySource::Discovery(_));
    let same_place = is_same_source(before, now) || !is_discovered(before) && !is_discovered(now);
    same_place
        && before.rules == now.rules
        && !is_another_way(before, now)
        && before.introspection == now.introspection
}

/// A fetch under way. If it is dropped without an end, it counts as failed.
#[derive(Debug)]
pub struct Flight {
    known: Arc<Known>,
    began: Timestamp,
    limits: Limits,
    is_open: bool,
}

impl Flight {
    /// Ends the fetch with these keys. Returns those that were there before.
    pub fn succeeded(mut self, keys: Arc<KeySet>) -> Option<Arc<KeySet>> {
        let before = self.known.keys.load_full();
        // An equal set is not swapped in: tokens verified with the old one stay verified.
        if before.as_ref().is_none_or(|before| !before.same_as(&keys)) {
            self.known.keys.store(Some(keys));
        }
        *lock(&self.known.last_error) = None;
        let until = self.began.plus(self.limits.refresh).as_millis();
        self.known.fresh_until.store(until, Ordering::Release);
        self.land(Freshness::succeeded);
        before
    }

    /// Ends the fetch without keys. Returns whether that is news: the error differs from the last.
    pub fn failed(mut self, error: String) -> bool {
        self.fail(error)
    }

    fn fail(&mut self, error: String) -> bool {
        let error: Arc<str> = error.into();
        let before = lock(&self.known.last_error).replace(error.clone());
        self.land(Freshness::failed);
        before.as_ref() != Some(&error)
    }

    fn land(&mut self, end: fn(&mut Freshness)) {
        self.is_open = false;
        end(&mut lock(&self.known.freshness));
        self.known.landed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.is_open {
            self.fail("the fetch was cut short".to_owned());
        }
    }
}

/// No invariant spans a panic: every change under these locks is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every configured issuer with its keys and endpoints.
#[derive(Debug, Default)]
pub struct Issuers {
    all: Vec<Arc<IssuerState>>,
}

impl Issuers {
    /// Makes the issuers of a configuration. `previous`: those before a reload; what did not change keeps its
    /// keys.
    pub fn new(settings: &[Arc<Issuer>], previous: Option<&Self>) -> Self {
        let state = |(place, issuer): (usize, &Arc<Issuer>)| {
            let before = previous.and_then(|issuers| issuers.by_name(&issuer.name));
            Arc::new(IssuerState { place, ..IssuerState::new(issuer.clone(), before.map(Arc::as_ref)) })
        };
        Self { all: settings.iter().enumerate().map(state).collect() }
    }

    /// Makes a fetch due for every issuer whose `ca`, `proxy` or `connect_to` differs from `before`. To be
    /// called once the new configuration counts.
    pub fn doubt_changed(&self, before: &Self, now: Timestamp) {
        for issuer in &self.all {
            let was = before.by_name(&issuer.settings.name);
            if was.is_some_and(|was| is_another_way(&was.settings, &issuer.settings)) {
                issuer.doubt_keys(now);
            }
        }
    }

    /// Whether this very value is one of these, not only one of the same name.
    pub fn has(&self, issuer: &Arc<IssuerState>) -> bool {
        self.all.get(issuer.place).is_some_and(|own| Arc::ptr_eq(own, issuer))
    }

    /// The issuer with this `iss` in its ID tokens and logout tokens, under which everything about it is
    /// remembered.
    pub fn by_iss(&self, iss: &str) -> Option<&Arc<IssuerState>> {
        self.all.iter().find(|issuer| issuer.settings.rules.iss == iss)
    }

    /// The issuer that has this among its names.
    pub fn called(&self, iss: &str) -> Option<&Arc<IssuerState>> {
        self.all.iter().find(|issuer| issuer.settings.rules.is_called(iss))
    }

    /// The issuer with this `iss` in its access tokens.
    pub fn of_access_tokens(&self, iss: &str) -> Option<&Arc<IssuerState>> {
        self.all.iter().find(|issuer| issuer.settings.rules.takes_access_tokens_of(iss))
    }

    pub fn by_name(&self, name: &IssuerName) -> Option<&Arc<IssuerState>> {
        self.all.iter().find(|issuer| &issuer.settings.name == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<IssuerState>> {
        self.all.iter()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::config::settings::IssuerConnection;
    use crate::core::token::TokenRules;
    use crate::core::token::testing::rules;

    /// An issuer named `demo` with the rules of the token tests and this `iss`.
    pub(crate) fn issuer(iss: &str, keys: KeySource) -> Issuer {
        Issuer {
            name: IssuerName::new("demo"),
            rules: TokenRules { iss: iss.to_owned(), ..rules() },
            keys,
            timeout: Duration::from_secs(5),
            ca: None,
            connection: IssuerConnection::default(),
            keys_refresh: Duration::from_secs(600),
            introspection: None,
            signs_in: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::issuer;
    use super::*;
    use crate::config::settings::{HostPort, IssuerConnection, Proxy};
    use crate::core::secret::Secret;
    use crate::core::token::testing::{ISS, NOW, jwks, keys};
    use crate::core::token::{Algorithm, TokenRules};

    fn discovered() -> IssuerState {
        IssuerState::new(Arc::new(issuer(ISS, KeySource::Discovery(None))), None)
    }

    fn some_keys() -> Arc<KeySet> {
        Arc::new(KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0)
    }

    fn succeed(state: &IssuerState) {
        state.consult(false, NOW).1.unwrap().succeeded(some_keys());
    }

    #[test]
    fn there_is_one_flight_and_everybody_hears_of_its_end() {
        let state = discovered();
        let landings = state.landings();
        let (decision, flight) = state.consult(false, NOW);
        assert_eq!(decision, Decision::FetchAndWait);
        let (decision, second) = state.consult(false, NOW);
        assert_eq!(decision, Decision::Wait);
        assert!(second.is_none() && !state.keys_ready() && !landings.has_changed().unwrap());
        flight.unwrap().succeeded(some_keys());
        assert!(state.keys_ready() && landings.has_changed().unwrap());
        assert_eq!(state.consult(true, NOW).0, Decision::Use);
        assert_eq!(state.keys_age(NOW.plus(Duration::from_secs(3))), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_flight_that_is_dropped_counts_as_failed_and_frees_the_next() {
        let state = discovered();
        drop(state.consult(false, NOW));
        assert_eq!(state.last_error().as_deref(), Some("the fetch was cut short"));
        assert!(state.consult(false, NOW.plus(Duration::from_secs(2))).1.is_some());
    }

    #[test]
    fn a_failed_fetch_leaves_the_keys_and_names_its_error_once() {
        let state = discovered();
        succeed(&state);
        let fail = |seconds, error: &str| {
            let (_, flight) = state.consult(false, NOW.plus(Duration::from_secs(seconds)));
            flight.unwrap().failed(error.to_owned())
        };
        assert!(fail(20, "down"));
        assert!(!fail(40, "down"));
        assert!(fail(60, "slow"));
        assert_eq!(state.last_error().as_deref(), Some("slow"));
        assert_eq!(state.keys().unwrap().len(), 1);
        assert_eq!(state.consult(true, NOW.plus(Duration::from_secs(61))).0, Decision::Use);
    }

    #[test]
    fn fresh_keys_need_no_decision_and_old_ones_do() {
        let state = discovered();
        assert!(state.fresh_keys(NOW).is_none());
        succeed(&state);
        assert!(state.fresh_keys(NOW.plus(Duration::from_secs(599))).is_some());
        assert!(state.fresh_keys(NOW.plus(Duration::from_secs(600))).is_none());
    }

    #[test]
    fn keys_that_are_not_fetched_are_there_at_once_and_never_fetched() {
        let text = jwks(&[keys().p256.jwk()]);
        let file = KeySource::JwksFile { path: "keys.json".into(), text };
        let secret = KeySource::SharedSecret(Secret::new(vec![7; 32]));
        let of_a_secret = |issuer: Issuer| Issuer {
            rules: TokenRules { algorithms: vec![Algorithm::Hs256], ..issuer.rules },
            ..issuer
        };
        for settings in [issuer(ISS, file), of_a_secret(issuer(ISS, secret))] {
            let state = IssuerState::new(Arc::new(settings), None);
            assert!(state.keys_ready());
            assert!(matches!(state.consult(true, NOW), (Decision::Use, None)));
            assert!(matches!(state.consult(false, NOW), (Decision::RefuseUnknownKey, None)));
        }
        for text in [&b"<html>"[..], b"{\"keys\":[]}"] {
            let broken = KeySource::JwksFile { path: "keys.json".into(), text: text.to_vec() };
            let state = IssuerState::new(Arc::new(issuer(ISS, broken)), None);
            assert!(matches!(state.consult(false, NOW), (Decision::RefuseUnavailable, None)));
            assert!(state.last_error().is_some());
        }
    }

    /// A way to the issuer that is not the straight one.
    fn elsewhere() -> IssuerConnection {
        let proxy = Proxy { at: HostPort::new("proxy", 3128), credentials: None };
        IssuerConnection { proxy: Some(proxy), connect_to: None }
    }

    #[test]
    fn a_reload_keeps_what_was_said_of_opaque_tokens_only_while_it_would_be_judged_alike() {
        use crate::config::settings::{ClientCredential, Introspection};
        let asked = |cache| Introspection {
            client_id: "gateway".to_owned(),
            credential: ClientCredential::Secret("s3cret".into()),
            endpoint: None,
            cache: Duration::from_secs(cache),
        };
        let same = || Issuer { introspection: Some(asked(30)), ..issuer(ISS, KeySource::Discovery(None)) };
        let before = Issuers::new(&[Arc::new(same())], None);
        let of = |issuers: &Issuers| issuers.iter().next().unwrap().introspections.clone();
        let kept = |changed: Issuer| {
            let after = of(&Issuers::new(&[Arc::new(changed)], Some(&before)));
            after.is_some_and(|after| Arc::ptr_eq(&after, &of(&before).unwrap()))
        };
        assert!(kept(same()));
        assert!(kept(Issuer { timeout: Duration::from_secs(1), ..same() }));
        let other_audience = TokenRules { audiences: vec!["https://other".to_owned()], ..same().rules };
        for changed in [
            Issuer { rules: other_audience, ..same() },
            Issuer { introspection: Some(asked(10)), ..same() },
            Issuer { introspection: None, ..same() },
            Issuer { keys: KeySource::Discovery(Some("https://as.example/meta".parse().unwrap())), ..same() },
            Issuer { ca: Some(vec![1]), ..same() },
            Issuer { connection: elsewhere(), ..same() },
        ] {
            assert!(!kept(changed));
        }
    }

    #[test]
    fn a_reload_keeps_the_keys_of_an_issuer_that_did_not_change() {
        let before = Issuers::new(&[Arc::new(issuer(ISS, KeySource::Discovery(None)))], None);
        succeed(before.iter().next().unwrap());
        let after = |changed: Issuer| {
            let issuers = Issuers::new(&[Arc::new(changed)], Some(&before));
            issuers.by_name(&IssuerName::new("demo")).unwrap().keys_ready()
        };
        let same = || issuer(ISS, KeySource::Discovery(None));
        assert!(after(same()));
        assert!(after(Issuer { timeout: Duration::from_secs(1), ..same() }));
        assert!(!after(issuer("https://other.example", KeySource::Discovery(None))));
        assert!(after(Issuer { ca: Some(vec![1]), ..same() }));
        assert!(after(Issuer { connection: elsewhere(), ..same() }));
        assert!(!after(issuer(ISS, KeySource::JwksUri("https://as.example/jwks".parse().unwrap()))));
    }

    #[test]
    fn what_was_fetched_by_the_trust_or_the_way_of_before_does_not_come_in_after_a_reload() {
        for changed in [
            Issuer { ca: Some(vec![1]), ..issuer(ISS, KeySource::Discovery(None)) },
            Issuer { connection: elsewhere(), ..issuer(ISS, KeySource::Discovery(None)) },
        ] {
            let all = Issuers::new(&[Arc::new(issuer(ISS, KeySource::Discovery(None)))], None);
            let before = all.iter().next().unwrap();
            let (_, under_way) = before.consult(false, NOW);
            let after = Issuers::new(&[Arc::new(changed)], Some(&all));
            let after = after.iter().next().unwrap();
            under_way.unwrap().succeeded(some_keys());
            assert!(before.keys_ready() && !after.keys_ready());
            assert!(after.consult(false, NOW.plus(Duration::from_secs(2))).1.is_some(), "it asks by itself");
        }
    }

    #[test]
    fn another_ca_or_way_has_the_keys_fetched_again_with_the_next_look_and_any_other_change_does_not() {
        let later = NOW.plus(Duration::from_secs(11));
        let decided = |changed: Issuer| {
            let before = Issuers::new(&[Arc::new(issuer(ISS, KeySource::Discovery(None)))], None);
            succeed(before.iter().next().unwrap());
            let after = Issuers::new(&[Arc::new(changed)], Some(&before));
            after.doubt_changed(&before, NOW.plus(Duration::from_secs(1)));
            after.iter().next().unwrap().consult(true, later).0
        };
        let same = || issuer(ISS, KeySource::Discovery(None));
        assert_eq!(decided(Issuer { ca: Some(vec![1]), ..same() }), Decision::UseAndRefresh);
        assert_eq!(decided(Issuer { connection: elsewhere(), ..same() }), Decision::UseAndRefresh);
        assert_eq!(decided(Issuer { timeout: Duration::from_secs(1), ..same() }), Decision::Use);
    }
}
