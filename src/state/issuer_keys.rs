//! stub
use std::sync::Arc;

use crate::config::settings::Issuer;
use crate::core::ids::IssuerName;

/// One issuer: what was asked, and what is known of it now.
#[derive(Debug)]
pub struct IssuerState {
    pub settings: Arc<Issuer>,
}

/// Every configured issuer with its keys and endpoints.
#[derive(Debug, Default)]
pub struct Issuers {
    all: Vec<Arc<IssuerState>>,
}

impl Issuers {
    /// `previous`: the issuers before a reload; what did not change keeps its keys.
    pub fn new(settings: &[Arc<Issuer>], previous: Option<&Self>) -> Self {
        let _ = previous;
        Self { all: settings.iter().map(|s| Arc::new(IssuerState { settings: s.clone() })).collect() }
    }
    pub fn by_iss(&self, iss: &str) -> Option<&Arc<IssuerState>> {
        self.all.iter().find(|issuer| issuer.settings.rules.iss == iss)
    }
    pub fn by_name(&self, name: &IssuerName) -> Option<&Arc<IssuerState>> {
        self.all.iter().find(|issuer| &issuer.settings.name == name)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Arc<IssuerState>> {
        self.all.iter()
    }
}
