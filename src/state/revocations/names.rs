//! Issuers of several names (`core::token::issuer`). An entry of the list keeps the name that was its
//! issuer's `url` when it was made; tables know marks only, so what is looked up in them is looked up by each
//! name that its issuer has now.

use crate::core::token::TokenRules;

/// The names of each issuer that has several.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Box<[String]>>);

impl Names {
    pub(super) fn of<'r>(rules: impl Iterator<Item = &'r TokenRules>) -> Self {
        let names = rules.map(|rules| rules.names().map(str::to_owned).collect::<Box<[String]>>());
        Self(names.filter(|names| names.len() > 1).collect())
    }

    /// What else the issuer of this name is called.
    pub(super) fn others(&self, iss: &str) -> impl Iterator<Item = &str> {
        let all = self.0.iter().find(|names| names.iter().any(|name| name == iss));
        all.into_iter().flatten().map(String::as_str).filter(move |name| *name != iss)
    }
}
