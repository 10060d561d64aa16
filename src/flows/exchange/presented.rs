//! What comes of a presented grant, opened for whoever presented it: what the decision holds is sealed for
//! holders of a generation.

use std::time::Duration;

use crate::core::secret::SecretString;
use crate::core::session::exchange::answer::ExchangeAnswer;
use crate::core::session::exchange::seal::{Content, Holder};
use crate::core::session::exchange::{Decision, Family, FlightId, Issued, Successor, With};
use crate::core::session::grant::Grant;
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::flows::revoke::session_end::tokens_of;

/// What the store says of a presented grant, what was sealed for its holder opened.
pub(super) enum Presented {
    /// This flight is ours to fly; `grant` is what it exchanges.
    Begin {
        grant: Box<Grant>,
        recovers: bool,
    },
    Join(FlightId),
    AskAgainAfter(FlightId),
    AnswerAgain {
        answer: Box<ExchangeAnswer>,
        age: Duration,
        given_ago: Option<Duration>,
        with_cookie: bool,
        /// When the session was last used.
        used_at: Timestamp,
    },
    TooMany,
    /// `revoke`: refresh tokens, at the AS.
    Replay {
        revoke: Vec<SecretString>,
        /// Access tokens that the session handed out.
        issued: Vec<Issued>,
    },
    Over {
        end: SessionEnd,
        revoke: Vec<SecretString>,
    },
    /// What is kept does not open with this cookie.
    Unreadable,
}

impl Presented {
    /// `newest`: the newest grant that was kept before the decision.
    pub(super) fn of(decision: Decision, newest: Option<&Successor>, family: &Family, grant: &Grant) -> Self {
        let holder = Holder::of(grant);
        match decision {
            Decision::Exchange { with: With::Presented, recovers, .. } => {
                Self::Begin { grant: Box::new(grant.clone()), recovers }
            }
            Decision::Exchange { with: With::Newest { grant, generation }, recovers, .. } => {
                let newest = holder.newest(family, generation, &grant).map(Box::new);
                newest.map_or(Self::Unreadable, |grant| Self::Begin { grant, recovers })
            }
            Decision::AnswerAgain { answer, of, age, given_ago, with_cookie } => {
                let answer = holder
                    .reach(family, of)
                    .and_then(|holder| holder.open(Content::Answer, &answer))
                    .and_then(|plain| ExchangeAnswer::from_bytes(plain.expose()))
                    .map(Box::new);
                let used_at = family.last_use(grant.last_used_at);
                let again = |answer| Self::AnswerAgain { answer, age, given_ago, with_cookie, used_at };
                answer.map_or(Self::Unreadable, again)
            }
            Decision::Join(flight) => Self::Join(flight),
            Decision::AskAgainAfter(flight) => Self::AskAgainAfter(flight),
            Decision::TooMany => Self::TooMany,
            Decision::Replay => {
                Self::Replay { revoke: tokens_of(grant, newest, family), issued: family.issued().to_vec() }
            }
            Decision::Over { end, revoke: true } => {
                Self::Over { end, revoke: tokens_of(grant, newest, family) }
            }
            Decision::Over { end, revoke: false } => Self::Over { end, revoke: Vec::new() },
        }
    }
}
