//! What happens in the simulated world, one thing at a time.

use std::time::Duration;

use tollgate::core::ids::FamilyId;
use tollgate::core::session::exchange::{Arrival, FlightId, Issued};
use tollgate::core::session::grant::{Generation, Grant};
use tollgate::core::session_end::SessionEnd;

/// Names a request of a browser, or of the thief.
pub(crate) type Request = u64;

/// A process of one replica; one that was killed and started again is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) replica: usize,
    pub(crate) life: u32,
}

/// A change of the family's record, from reading it to having put it.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Present(Request, FlightId),
    /// The answer that this request was given, and that made this generation, is good no more.
    Withdraw(Request, Generation, Option<Duration>),
    /// The request of this flight is about to leave.
    Sends(FlightId),
    Beat(FlightId),
    Failed(FlightId),
    /// The authorization server said `invalid_grant`.
    Ended(FlightId),
    Land(FlightId),
    /// Of a flight of another process, whose beat stood still.
    BreakLease(FlightId, u64),
    /// Of a flight that may or may not have been noted.
    TakeBack(FlightId),
    /// An access token that was made with this generation was seen.
    Seen(Generation),
    /// The list names the session of this request.
    TakenBack(Request),
    /// The new session of this attempt to sign in.
    SignIn(u64),
    /// What a revocation names is ended.
    Revoke(Look),
}

/// A replica looks for what a revocation names, for the first time or once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) attempt: usize,
    pub(crate) is_second: bool,
}

/// How far a sign-in is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signing {
    Came,
    Notes,
}

/// A record, which says nothing to a reader of a history.
#[derive(Clone)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a change found, to be acted upon once it is in the store.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Begin {
        grant: Box<Grant>,
        recovers: bool,
    },
    Join(FlightId),
    AskAgainAfter(FlightId),
    AnswerAgain {
        next: Box<Grant>,
        age: Duration,
        given_ago: Option<Duration>,
        with_cookie: bool,
        used: bool,
    },
    /// Whoever has a newer cookie is to come with that.
    TooMany,
    Replay,
    /// `revoke`: the presented refresh token, at the authorization server.
    Over {
        end: SessionEnd,
        revoke: bool,
        of: Generation,
    },
    IsIdle,
    /// Access tokens that a session handed out before it was ended.
    Issued(Vec<Issued>),
    Landed {
        next: Box<Grant>,
        arrival: Box<Arrival>,
    },
    /// It landed before, or the session is over.
    PresentAgain,
    GivenUp,
    /// Whether it decided.
    Did(bool),
}

/// What the authorization server says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Token(String),
    InvalidGrant,
    Error,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A tab sends what is in the jar.
    Send {
        used: bool,
        shape: usize,
    },
    Arrive(Request),
    Read(Process, Change),
    Put {
        process: Process,
        change: Change,
        expected: Option<u64>,
        bytes: Bytes,
        outcome: Outcome,
        read_at: i64,
    },
    Acted(Process, Change, Outcome),
    PostLeaves(FlightId),
    AsWorks(FlightId),
    AsAnswers(FlightId, Said),
    /// A flight of another process is looked at.
    Look(Process, FlightId),
    OutOfPatience(Request),
    /// An answer reaches the browser, perhaps without its cookie.
    Receive {
        next: Box<Grant>,
        with_cookie: bool,
        used: bool,
    },
    /// The page uses the access token of an answer.
    UseToken {
        of: Generation,
        with_cookie: bool,
    },
    Steal,
    /// Presents this copy for something that nobody asked for before.
    Hoard(Box<Grant>),
    Kill(usize),
    Start(usize),
    /// For one replica, or for all of them, each for a time of its own.
    StoreAway(Option<usize>),
    StoreLost,
    /// Somebody begins to sign in.
    SignsIn,
    Signing(Process, u64, Signing),
    /// The operator asks for a revocation, again and again until somebody says that it is done.
    Asks(usize),
    Appends(Process, usize),
    LooksFor(Process, Look),
    Names(Process, Look, Vec<Issued>),
    /// The operator takes a revocation back.
    Lifts(usize),
    /// A replica reads on in the list.
    Follow(usize),
    /// The authorization server revokes what belongs to this session.
    AsRevokes(FamilyId),
}
