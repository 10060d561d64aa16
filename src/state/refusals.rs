//! The latest refusal of each kind, for the people who look at `/status`. Which kinds there are is fixed
//! by `core::denial`, so that nobody outside can make it grow.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::core::ids::RouteName;
use crate::core::time::Timestamp;

/// How often a request was refused for one reason, and the latest time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    pub count: u64,
    pub at: Timestamp,
    pub route: RouteName,
}

/// The latest refusal of each reason, under the reason's label.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<&'static str, Latest>>);

impl Refusals {
    pub fn note(&self, reason: &'static str, route: &RouteName, at: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.get(reason).map_or(0, |before| before.count);
        all.insert(reason, Latest { count: count.saturating_add(1), at, route: route.clone() });
    }

    pub fn all(&self) -> BTreeMap<&'static str, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
