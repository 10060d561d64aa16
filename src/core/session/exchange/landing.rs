//! What is remembered of an exchange that has landed: which generations it answers, and how long they get
//! that answer again. The time begins when somebody first gets it. An answer that came when nobody waited any
//! more was given to nobody: it cannot be lost, and there is no copy of its cookie.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FlightId, Sealed, Shape};
use crate::core::session::grant::Generation;
use crate::core::time::Timestamp;

/// The most answers kept of one family; each exchange replaces a lost answer.
pub(super) const ANSWERS: usize = 8;
/// The most landings remembered of one family; the oldest are spent early.
pub(super) const LANDINGS: usize = 64;

/// Which generations a flight answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// The generation that asked.
    pub(super) from: Generation,
    /// The oldest generation that was good in its own right, and so has a window after this flight. One that
    /// was spent and only within its window gets an answer, but no new window.
    pub(super) window_from: Generation,
    /// The generation whose grant is exchanged.
    pub(super) of: Generation,
}

impl Answers {
    pub(super) const fn reaches(&self, generation: Generation) -> bool {
        self.from <= generation && generation <= self.of
    }
    pub(super) const fn opens_window_for(&self, generation: Generation) -> bool {
        self.window_from <= generation && generation <= self.of
    }
}

/// When an answer was first given to somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Given {
    /// When it landed, because somebody waited. The only case in earlier releases.
    #[default]
    WhenLanded,
    NotYet,
    /// At this time of the store's clock.
    At(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Landing {
    pub(super) flight: FlightId,
    pub(super) answers: Answers,
    pub(super) shape: Shape,
    /// When it landed, by the store's clock.
    pub(super) at: Timestamp,
    #[serde(default)]
    pub(super) given: Given,
    /// Whether its exchange was recorded as use of the session.
    pub(super) used: bool,
    /// Until when the answer is worth giving, by the store's clock.
    pub(super) worth_until: Option<Timestamp>,
    pub(super) answer: Option<Sealed>,
}

impl Landing {
    /// Whether its window is open at `now`.
    pub(super) fn is_recent(&self, grace: Duration, now: Timestamp) -> bool {
        now < self.given_at().plus(grace)
    }

    /// When its window began, or the earliest it may begin.
    pub(super) const fn given_at(&self) -> Timestamp {
        match self.given {
            Given::At(given) => given,
            Given::WhenLanded | Given::NotYet => self.at,
        }
    }

    /// Whether nobody has got this answer or a later one. `latest`: the newest generation given out;
    /// `proven`: the newest with a proven receipt.
    pub(super) fn is_nobodys(&self, latest: Generation, proven: Generation) -> bool {
        self.given == Given::NotYet
            && self.answers.of.saturating_add(1) == latest
            && proven <= self.answers.of
    }

    /// Notes that somebody gets the answer. Generations spent by the first time have no window after it.
    /// Returns when the answer was first given, if it was before.
    pub(super) fn give(&mut self, proven: Generation, now: Timestamp) -> Option<Timestamp> {
        if self.given != Given::NotYet {
            return Some(self.given_at());
        }
        self.given = Given::At(now);
        self.answers.window_from = self.answers.window_from.max(proven);
        None
    }

    /// Withdraws the answer. `nobodys`: the time now, if the only one who got it could not use it, so that it
    /// counts as given to nobody. If somebody else has got it meanwhile, their window begins then.
    pub(super) fn withdraw(&mut self, nobodys: Option<Timestamp>) {
        self.answer = None;
        if let Some(now) = nobodys {
            (self.given, self.at) = (Given::NotYet, now);
        }
    }
}
