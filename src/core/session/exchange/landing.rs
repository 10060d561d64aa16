//! What is remembered of an exchange that landed: which generations it answers, and for how long they get its
//! answer again. That begins when somebody gets it. An answer that came when nobody waited any more is with
//! nobody, so nobody can have lost it, and no copy of its cookie can be elsewhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FlightId, Sealed, Shape};
use crate::core::session::grant::Generation;
use crate::core::time::Timestamp;

/// How many answers of one family are kept within `grace`; an exchange takes the place of a lost one.
pub(super) const ANSWERS: usize = 8;
/// How many landings are remembered within `grace`; the oldest are spent early.
pub(super) const LANDINGS: usize = 64;

/// Which generations a flight answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// The generation that asked.
    pub(super) from: Generation,
    /// The oldest that was good in its own right, and so has a window after this flight. A
    /// generation that was already spent and within its window gets an answer, but no new window.
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
    /// Somebody waited for it; earlier releases knew nothing else.
    #[default]
    WhenLanded,
    NotYet,
    /// This moment of the store's clock.
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
    /// Its exchange was recorded as use of the session.
    pub(super) used: bool,
    /// Until when it is worth something, by the store's clock.
    pub(super) worth_until: Option<Timestamp>,
    pub(super) answer: Option<Sealed>,
}

impl Landing {
    /// Whether its window is open, as far as time goes.
    pub(super) fn is_recent(&self, grace: Duration, now: Timestamp) -> bool {
        now < self.given_at().plus(grace)
    }

    /// When its window began, or will have begun at the earliest.
    pub(super) const fn given_at(&self) -> Timestamp {
        match self.given {
            Given::At(given) => given,
            Given::WhenLanded | Given::NotYet => self.at,
        }
    }

    /// Whether nobody has got its answer, nor any later one. `latest`: the newest generation that was given
    /// out; `proven`: the newest whose receipt is proven.
    pub(super) fn is_nobodys(&self, latest: Generation, proven: Generation) -> bool {
        self.given == Given::NotYet
            && self.answers.of.saturating_add(1) == latest
            && proven <= self.answers.of
    }

    /// Somebody gets its answer. What was spent when the first did has no window after that. Returns when
    /// somebody had got it before.
    pub(super) fn give(&mut self, proven: Generation, now: Timestamp) -> Option<Timestamp> {
        if self.given != Given::NotYet {
            return Some(self.given_at());
        }
        self.given = Given::At(now);
        self.answers.window_from = self.answers.window_from.max(proven);
        None
    }

    /// Nobody gets its answer any more. `nobodys`: whoever was given it first could not use it, so that it
    /// was given to nobody. Another may have got it meanwhile, and has a window from then on.
    pub(super) fn withdraw(&mut self, nobodys: Option<Timestamp>) {
        self.answer = None;
        if let Some(now) = nobodys {
            (self.given, self.at) = (Given::NotYet, now);
        }
    }
}
