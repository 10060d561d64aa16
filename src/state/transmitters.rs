//! Transmitters of shared signals at work: each with its keys, and when it was last heard. They stand apart
//! from [`Issuers`], so that nothing that they sign counts as an access token.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::config::settings::{Signal, SignalKeys};
use crate::core::ids::SignalName;
use crate::core::time::Timestamp;
use crate::state::issuer_keys::{IssuerState, Issuers};

/// One transmitter.
#[derive(Debug)]
pub struct Transmitter {
    pub settings: Arc<Signal>,
    /// The issuer whose keys sign what it sends: itself, or the issuer that it is.
    pub signer: Arc<IssuerState>,
    /// In milliseconds; 0: never, since this process began.
    heard_at: Arc<AtomicI64>,
}

impl Transmitter {
    /// It sent something good.
    pub fn mark_heard(&self, now: Timestamp) {
        self.heard_at.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// When that was last; `None`: not since this process began.
    pub fn heard_at(&self) -> Option<Timestamp> {
        let at = self.heard_at.load(Ordering::Relaxed);
        (at > 0).then(|| Timestamp::from_millis(at))
    }
}

/// Every configured transmitter.
#[derive(Debug, Default)]
pub struct Transmitters {
    all: Vec<Transmitter>,
    /// Those of them that have keys of their own, as who is asked for these.
    own: Issuers,
}

impl Transmitters {
    /// `issuers`: of the same configuration. `previous`: the transmitters before a reload; what did not
    /// change keeps its keys.
    pub fn new(signals: &[Arc<Signal>], issuers: &Issuers, previous: Option<&Self>) -> Self {
        let called: Vec<_> = signals
            .iter()
            .filter_map(|signal| match &signal.keys {
                SignalKeys::Own(called) => Some(called.clone()),
                SignalKeys::OfIssuer(_) => None,
            })
            .collect();
        let own = Issuers::new(&called, previous.map(|before| &before.own));
        let transmitter = |signal: &Arc<Signal>| {
            let signer = match &signal.keys {
                SignalKeys::OfIssuer(name) => issuers.by_name(name),
                SignalKeys::Own(called) => own.by_name(&called.name),
            };
            let before = previous.and_then(|before| before.by_name(&signal.name));
            let before = before.filter(|before| before.settings.rules.iss == signal.rules.iss);
            let heard_at = before.map(|before| before.heard_at.clone()).unwrap_or_default();
            Some(Transmitter { settings: signal.clone(), signer: signer?.clone(), heard_at })
        };
        Self { all: signals.iter().filter_map(transmitter).collect(), own }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Transmitter> {
        self.all.iter()
    }

    pub fn by_iss(&self, iss: &str) -> Option<&Transmitter> {
        self.all.iter().find(|transmitter| transmitter.settings.rules.iss == iss)
    }

    fn by_name(&self, name: &SignalName) -> Option<&Transmitter> {
        self.all.iter().find(|transmitter| &transmitter.settings.name == name)
    }

    /// The issuers whose keys are fetched for the sake of transmitters alone.
    pub fn own(&self) -> &Issuers {
        &self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Issuer, KeySource};
    use crate::core::ids::IssuerName;
    use crate::core::token::security_event::SignalRules;
    use crate::core::token::security_event::event::EventType;
    use crate::core::token::testing::{ISS, NOW, jwks, keys, rules};
    use crate::state::issuer_keys::testing::issuer;

    const TRANSMITTER: &str = "https://transmitter.example";

    fn signal(keys: SignalKeys, iss: &str) -> Arc<Signal> {
        let rules = SignalRules {
            iss: iss.to_owned(),
            audiences: vec!["gate".to_owned()],
            algorithms: rules().algorithms,
            clock_skew: rules().clock_skew,
            revokes: vec![ISS.to_owned()],
            also_called: Vec::new(),
            events: EventType::USED.to_vec(),
        };
        Arc::new(Signal { name: SignalName::new("t"), rules, keys, token: None })
    }

    fn called() -> SignalKeys {
        let name = IssuerName::new("signals/t");
        SignalKeys::Own(Arc::new(Issuer { name, ..issuer(TRANSMITTER, KeySource::Discovery(None)) }))
    }

    #[test]
    fn a_transmitter_that_is_an_issuer_has_the_keys_of_that_and_is_not_fetched_for_twice() {
        let file = KeySource::JwksFile { path: "keys".into(), text: jwks(&[keys().p256.jwk()]) };
        let issuers = Issuers::new(&[Arc::new(issuer(ISS, file))], None);
        let of_issuer = signal(SignalKeys::OfIssuer(IssuerName::new("demo")), ISS);
        let all = Transmitters::new(&[of_issuer], &issuers, None);
        assert!(Arc::ptr_eq(&all.by_iss(ISS).unwrap().signer, issuers.by_iss(ISS).unwrap()));
        assert_eq!(all.own().iter().count(), 0);
        let own = Transmitters::new(&[signal(called(), TRANSMITTER)], &issuers, None);
        assert!(own.by_iss(ISS).is_none() && !own.by_iss(TRANSMITTER).unwrap().signer.keys_ready());
        assert_eq!(own.own().iter().count(), 1);
        assert!(issuers.by_iss(TRANSMITTER).is_none(), "it is no issuer");
    }

    #[test]
    fn what_is_known_of_one_survives_a_reload_that_leaves_it_as_it_was() {
        let issuers = Issuers::default();
        let before = Transmitters::new(&[signal(called(), TRANSMITTER)], &issuers, None);
        let one = before.by_iss(TRANSMITTER).unwrap();
        assert_eq!(one.heard_at(), None);
        one.mark_heard(NOW);
        let read = crate::core::token::jwks::KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0;
        one.signer.begin_fetch(NOW).unwrap().succeeded(Arc::new(read));
        let after = Transmitters::new(&[signal(called(), TRANSMITTER)], &issuers, Some(&before));
        let one = after.by_iss(TRANSMITTER).unwrap();
        assert!(one.heard_at() == Some(NOW) && one.signer.keys_ready());
        let elsewhere =
            Transmitters::new(&[signal(called(), "https://else.example")], &issuers, Some(&before));
        assert_eq!(elsewhere.by_iss("https://else.example").unwrap().heard_at(), None);
    }
}
