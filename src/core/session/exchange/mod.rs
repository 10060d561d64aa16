//! What becomes of a presented generation: the state of one family, as a value, and its
//! transitions. A store keeps the value; whoever changes it reads it, applies one transition, puts it
//! back if nobody else did meanwhile, and only then carries out what the transition says.
//!
//! The words: a **flight** is an exchange under way. A flight that lands makes the next generation;
//! the one before is **answered** (the same answer again within `grace`), then **unproven** until
//! its successor is presented, then **spent**. A spent generation that comes back is a stolen
//! cookie, and ends the family.
//!
//! One session, with `grace: 30s`: sign-in seals generation 0 into the cookie. Two tabs present 0 at once;
//! the first begins a flight, the second joins it, both get generation 1 and the same access token: 0 is
//! answered, and a third tab that comes within 30 seconds gets that answer too. After them 0 is unproven: if
//! the answer was lost, the browser comes with 0 again and gets generation 2, made with the refresh token
//! of 1. Had it come with 1, or used 1's access token, 0 would be spent; whoever then comes with 0 holds a
//! copy, and the family is over.
//!
//! An answer replaced by a recovery counts as lost. Presenting it after all proves its receipt but does not
//! reset the count, or a thief and a browser taking turns would never be noticed.
//!
//! An answer that came when nobody waited any more (the AS was slow, or the browser had left) is with
//! nobody: it was not lost, and there is no copy of its cookie. While it is the newest it waits for whoever
//! presents a generation that it is for, and `grace` begins when they get it.
//!
//! A use of the session is never lost: an answer that a poll got is not given again to a use, which gets an
//! exchange of its own, made with the successor's grant. An answer that was a use stands for the uses within
//! `grace` after it, and a later one is noted; so a session may go idle early, by at most that.
//!
//! A flight has no deadline here. Whoever flies it shows that it lives ([`Family::beat`]); whoever waits
//! declares it failed after seeing no beat for long enough, by its own clock and from a store that answered
//! all the while. How long that is depends on whether its request has left ([`Family::begin_sending`]): what
//! was sent may have replaced the refresh token. So no clock is compared with another's, and an outage of the
//! store ends no flight.
//!
//! Promises: a refresh token that a landed flight replaced is never used again; one flight a family
//! at a time; two lost answers in a row are forgiven, the third is not; what is kept is bounded by
//! the session's timeouts, and in size, whatever cookies its holder presents; what is kept that
//! could become a token is sealed for holders of the cookie.
//!
//! Known limit: browsers keep the cookie that arrives last. When an answer is overtaken on the way
//! by a later generation *and* that one was already presented, the browser goes back to a spent
//! generation, which looks like theft. Answers on one connection keep their order.
//!
//! - `family`: the state and its transitions; `flight`: what is under way in it
//! - `landing`: what is remembered of an exchange that landed; `issued`: the access tokens that were handed
//!   out; `record`: the form in which a store keeps them
//! - `lease`: by what replicas agree that an exchange is under way
//! - `seal`: how what a store holds is sealed; `links`: how holders of an older generation open what is
//!   sealed for later ones
//! - `answer`: what browsers get; `tokens`: the tokens of a session whose pages hold none

pub mod answer;
mod family;
mod flight;
mod issued;
mod landing;
pub mod lease;
mod links;
mod record;
pub mod seal;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::family::Family;
pub use self::links::Link;
use crate::core::session::activity::Activity;
use crate::core::session::grant::{Generation, Timeouts};
use crate::core::session::oauth::Scope;
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::core::token::LARGEST_CLOCK_SKEW;
use crate::core::token::binding::Thumbprint;
use crate::core::token::id::TokenId;

/// The largest difference between the clocks of replicas. What one keeps for another, or for its own
/// successor, is kept for this much longer than it is needed.
pub const REPLICA_CLOCK_SKEW: Duration = Duration::from_secs(300);
/// How long after its expiry an access token may still be accepted somewhere.
pub const SLACK: Duration = LARGEST_CLOCK_SKEW.saturating_add(REPLICA_CLOCK_SKEW);

/// What an exchange asks for. Only requests of one shape share an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    pub scope: Option<Scope>,
    pub resource: Option<String>,
    /// The key that the access token is bound to (RFC 9449 section 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Thumbprint>,
}

/// The random name of a flight, so that one that was given up cannot end a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlightId(pub u64);

impl FlightId {
    /// The name for requests that are never to begin a flight.
    pub const NONE: Self = Self(0);
}

/// What comes with a presented grant (RFC 6749 section 6).
#[derive(Clone, Copy, Debug)]
pub struct RefreshRequest<'a> {
    pub shape: &'a Shape,
    pub activity: Activity,
    /// Names the flight, if one begins.
    pub flight: FlightId,
}

/// A value that only a holder of the right generation can read ([`seal`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(#[serde(with = "record::bytes")] pub Vec<u8>);

/// The durations that decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub grace: Duration,
    pub timeouts: Timeouts,
}

/// The time, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The store's clock, by which windows are measured.
    pub store: Timestamp,
    /// This process's clock, by which sessions are dated.
    pub here: Timestamp,
}

/// What to do with a presented generation.
#[derive(Debug)]
pub enum Decision {
    /// Begin this flight, for this request and all that join.
    Exchange { flight: FlightId, with: With, recovers: bool },
    /// Wait for this flight; its answer is for this request, too.
    Join(FlightId),
    /// Wait for this flight, which is of another shape, then ask again.
    AskAgainAfter(FlightId),
    /// Give this answer again. `of`: the generation for whose holders it is sealed. `age`: how long ago it
    /// came. `given_ago`: how long ago it was first given; `None`: not yet. `with_cookie`: no later
    /// generation is known, so its cookie is still the newest.
    AnswerAgain {
        answer: Sealed,
        of: Generation,
        age: Duration,
        given_ago: Option<Duration>,
        with_cookie: bool,
    },
    /// Refuse for now: too many answers were given lately whose receipt is not proven. A browser that got one
    /// presents its cookie; one that got none comes again after `grace`.
    TooMany,
    /// The generation was spent, so the cookie is stolen. The family is over now; revoke the presented
    /// refresh token.
    Replay,
    /// The session is over. `revoke`: the presented refresh token is still to be revoked at the AS.
    Over { end: SessionEnd, revoke: bool },
}

/// Which grant a flight exchanges.
#[derive(Debug)]
pub enum With {
    Presented,
    /// The newest, sealed for holders of the generation before it.
    Newest {
        grant: Sealed,
        generation: Generation,
    },
}

/// An access token that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub id: TokenId,
    pub expires_at: Timestamp,
    /// The generation whose cookie came with it.
    pub generation: Generation,
}

impl Issued {
    /// Until when some replica may accept it, if its clock is behind and whatever `clock_skew` its issuer
    /// has, by a clock that is ahead. It must be known until then, and be in the list of revocations if it
    /// was taken back.
    pub fn known_until(&self) -> Timestamp {
        self.expires_at.plus(SLACK)
    }
}

/// What a flight brought.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub flight: FlightId,
    /// The generation that asked.
    pub from: Generation,
    /// The generation whose grant was exchanged.
    pub of: Generation,
    pub shape: Shape,
    /// Whether it makes up for a lost answer.
    pub recovers: bool,
    /// Whether somebody waits for the answer. If not, nobody has it before the cookie is presented again.
    pub is_awaited: bool,
    pub successor: Successor,
    /// Sealed for holders of `of`.
    pub answer: Sealed,
    pub links: Vec<Link>,
    /// How long the answer is worth giving again.
    pub worth_for: Option<Duration>,
    pub issued: Option<Issued>,
}

/// The grant that an exchange made, sealed for holders of the generation before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    pub generation: Generation,
    pub last_used_at: Timestamp,
    /// Its exchange was recorded as use of the session.
    pub used: bool,
    pub grant: Sealed,
}

/// What became of a flight that wanted to land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The answer may be handed out. `pushed_out`: an access token that still lives and for which there is no
    /// room in the record any more. It is to be put into the list of revocations by itself, or it could not
    /// be taken back with its session.
    Kept { pushed_out: Option<Issued> },
    /// The flight had landed, but its caller did not learn of it. The stored answer counts; it is sealed
    /// under a seed that this call does not have.
    Before,
    /// The family has ended meanwhile. `revoke`: the new tokens are to be revoked.
    TooLate { revoke: bool },
    /// A later generation has overtaken the flight: nobody gets its answer, and the session goes on. The new
    /// tokens are not to be revoked, because an AS may end more with them.
    GivenUp,
}
