//! How one mark stands: what the list says of it, in as few bytes as ten million of them allow. Times are
//! whole seconds; a revocation ends late by less than a second, never early.

use super::{Change, Rule};
use crate::core::time::Timestamp;

/// A moment in whole seconds since 1970, rounded up; 0: never was, the largest: no end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct End(u32);

impl End {
    pub const NEVER_WAS: Self = Self(0);

    pub fn of(until: Option<Timestamp>) -> Self {
        let seconds = |until: Timestamp| until.plus(std::time::Duration::from_millis(999)).as_secs().max(1);
        Self(until.map_or(u32::MAX, |until| u32::try_from(seconds(until)).unwrap_or(u32::MAX)))
    }

    /// Whether it is still to come at `now`.
    pub fn is_ahead(self, now: Timestamp) -> bool {
        self.0 == u32::MAX || i64::from(self.0) > now.as_secs()
    }
}

/// What is said of one mark, each rule with its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    outright: End,
    block: End,
    before_until: End,
    /// Whole seconds since 1970.
    before: u32,
}

impl Standing {
    /// Takes one change in.
    pub fn change(&mut self, change: &Change) {
        let revocation = change.revocation();
        let end = match change {
            Change::Add(_) => End::of(revocation.until),
            Change::Lift(_) => End::NEVER_WAS,
        };
        match revocation.rule {
            Rule::Outright => self.outright = end,
            Rule::Block => self.block = end,
            Rule::Before(before) => {
                let before = u32::try_from(before.as_secs().max(0)).unwrap_or(u32::MAX);
                match change {
                    Change::Add(_) => {
                        self.before = self.before.max(before);
                        self.before_until = self.before_until.max(end);
                    }
                    Change::Lift(_) => (self.before, self.before_until) = (0, end),
                }
            }
        }
    }

    /// Whether something of `since` (when a token was issued, when somebody signed in) is refused.
    pub fn refuses(&self, since: Timestamp, now: Timestamp) -> bool {
        self.outright.is_ahead(now)
            || self.block.is_ahead(now)
            || (self.before_until.is_ahead(now) && since.as_secs() <= i64::from(self.before))
    }

    /// Whether anything of it will still count.
    pub fn is_worth_keeping(&self, now: Timestamp) -> bool {
        self.outright.is_ahead(now) || self.block.is_ahead(now) || self.before_until.is_ahead(now)
    }
}
