//! Transmitters of shared signals, as they were asked for.

use std::sync::Arc;

use super::{Issuer, Settings};
use crate::core::ids::{IssuerName, SignalName};
use crate::core::secret::Secret;
use crate::core::token::security_event::SignalRules;

/// A transmitter of shared signals.
#[derive(Debug)]
pub struct Signal {
    pub name: SignalName,
    pub rules: SignalRules,
    pub keys: SignalKeys,
    /// What it sends as `Authorization: Bearer`; `None`: its signature alone says who it is.
    pub token: Option<Secret<Vec<u8>>>,
}

/// The keys that sign what a transmitter sends.
#[derive(Clone, Debug)]
pub enum SignalKeys {
    /// Those of this issuer, who it is.
    OfIssuer(IssuerName),
    /// Its own. It is reached like an issuer, and is none.
    Own(Arc<Issuer>),
}

impl Settings {
    /// All that may be called for keys: the issuers, and transmitters with keys of their own.
    pub fn called(&self) -> Vec<Arc<Issuer>> {
        let transmitters = self.signals.iter().filter_map(|signal| match &signal.keys {
            SignalKeys::Own(called) => Some(called),
            SignalKeys::OfIssuer(_) => None,
        });
        self.issuers.iter().chain(transmitters).cloned().collect()
    }
}
