//! The parts of what is measured: what a request costs, the same over TLS, an exchange, memory, and the
//! start.

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::systems::{self, System};

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Part {
    Requests,
    Tls,
    Exchange,
    Memory,
    Start,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Requests, Self::Tls, Self::Exchange, Self::Memory, Self::Start];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tls => "tls",
            Self::Exchange => "exchange",
            Self::Memory => "memory",
            Self::Start => "start",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|part| part.name() == name);
        found.ok_or_else(|| format!("no part {name}; there are {:?}", Self::ALL.map(Self::name)).into())
    }

    /// Whether once in three rounds is enough beside requests.
    pub(crate) const fn takes_long(self) -> bool {
        matches!(self, Self::Tls | Self::Memory)
    }

    pub(crate) fn systems(self) -> Vec<System> {
        match self {
            Self::Requests => systems::all(),
            Self::Tls => systems::few_over_tls().collect(),
            Self::Exchange => systems::exchanging(),
            Self::Memory => systems::few().collect(),
            Self::Start => systems::few_with_many_routes().collect(),
        }
    }
}
