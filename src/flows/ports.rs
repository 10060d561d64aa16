//! What the flows need of the world outside, as traits; `io` implements them, tests may too.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::config::settings::Issuer;
use crate::core::revocation::{Change, Kind, Revocation, RevocationId, Target, Whose};
use crate::core::time::Timestamp;
use crate::state::revocations::Revocations;

/// Reads the wall clock, and beside it the one that nobody sets.
pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> Timestamp;

    /// It may stand still while the machine sleeps.
    fn steady(&self) -> Instant {
        Instant::now()
    }
}

/// Fills with bytes that nobody can predict.
pub trait Randomness: Debug + Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

/// Fills an array with bytes that nobody can predict.
pub fn random<const N: usize>(source: &dyn Randomness) -> [u8; N] {
    let mut bytes = [0; N];
    source.fill(&mut bytes);
    bytes
}

/// Calls an authorization server. Never repeats a request by itself, follows no redirect, and reads
/// no more than it was told to. `issuer` says which certificates are trusted and which way leads there: the
/// caller's own, whatever is configured under its name by now.
pub trait HttpClient: Debug + Send + Sync {
    fn send(
        &self,
        issuer: &Issuer,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>>;

    /// From here on it keeps connections to these issuers ready.
    ///
    /// # Errors
    /// What cannot be used of them, as text; nothing changes then.
    fn set_issuers(&self, issuers: &[Arc<Issuer>]) -> Result<(), String> {
        let _ = issuers;
        Ok(())
    }
}

/// How long a call may take in all, and how many bytes its answer may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub deadline: Duration,
    pub answer_bytes: usize,
}

/// Why a call brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFault {
    #[error("its name has no address: the look-up (DNS) failed")]
    Dns,
    #[error("no connection could be made")]
    Connect,
    #[error("no TLS could be agreed on")]
    Tls,
    #[error("its certificate is not trusted, has ended, or is for another name")]
    Certificate,
    #[error("the proxy on the way there opened no tunnel")]
    Proxy,
    #[error("no complete answer within the deadline")]
    Deadline,
    #[error("the connection broke before the answer was complete")]
    Broken,
    #[error("the answer is larger than allowed")]
    TooLarge,
}

impl HttpFault {
    /// The label `reason` of `as_call_failures_total`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Proxy => "proxy",
            Self::Deadline => "deadline",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether nothing of the call can have reached the server.
    pub const fn is_before_the_call(self) -> bool {
        matches!(self, Self::Dns | Self::Connect | Self::Tls | Self::Certificate | Self::Proxy)
    }
}

/// What must outlive a request, and what replicas share: values under keys, each with a version and a
/// lifetime. A value is changed by reading it, changing it, and putting it back if nobody else did.
///
/// Every answer comes with the store's own clock, so that windows kept in a value are never compared
/// with the clock of one replica or another.
pub trait Store: Debug + Send + Sync {
    /// What is under `key` now.
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>>;

    /// Puts `value` under `key` if what is there still has the version `expected` (`None`: nothing is
    /// there). `Ok(None)`: somebody else was faster, and nothing was changed.
    ///
    /// After a fault it is not known whether the value was put: read it again.
    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Value,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>>;

    /// The shared store behind a local stand-in, for callers that must not mistake "not here" for "does not
    /// exist". `None`: nothing ever stands in for it.
    fn shared(&self) -> Option<&dyn Store> {
        None
    }

    /// How it fares, as far as it knows without being asked now.
    fn health(&self) -> StoreHealth {
        StoreHealth::Up
    }
}

/// How a store fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreHealth {
    #[default]
    Up,
    /// It does not do what it is asked.
    Away {
        since: Timestamp,
        why: String,
        /// This process goes on in its own memory meanwhile.
        alone: bool,
    },
}

impl StoreHealth {
    pub fn why_away(self) -> Option<String> {
        match self {
            Self::Up => None,
            Self::Away { why, .. } => Some(why),
        }
    }

    /// Away since `now`, or since before where it was away already.
    pub fn set_away(&mut self, why: String, now: Timestamp, alone: bool) {
        let since = match self {
            Self::Up => now,
            Self::Away { since, .. } => *since,
        };
        *self = Self::Away { since, why, alone };
    }

    /// Returns why it was away.
    pub fn set_up(&mut self) -> Option<String> {
        std::mem::replace(self, Self::Up).why_away()
    }
}

/// The name of a value: letters, digits and `:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey(String);

impl StoreKey {
    /// `kind`: a word; `id`: what tells two of a kind apart.
    pub fn new(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self(format!("{kind}:{id}"))
    }

    /// What [`Self::as_str`] gave; `None` for everything else.
    pub fn parse(text: String) -> Option<Self> {
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b':';
        (!text.is_empty() && text.bytes().all(is_key)).then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A new one at each change; no two of one key are ever the same, not even after it was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub u64);

/// What a store holds under a key.
#[derive(Clone, Debug)]
pub struct Stored {
    pub value: Option<(Version, Bytes)>,
    /// The store's clock.
    pub now: Timestamp,
}

/// A value to put.
#[derive(Clone, Debug)]
pub struct Value {
    pub bytes: Bytes,
    /// It may be forgotten after this, and not before.
    pub lifetime: Duration,
    pub keep: Keep,
}

/// What a value must outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// `put_if` answers once the value would survive the end of the process and of its machine's power.
    Durably,
    /// Enough for those who share the store now: a lease, a mark that a cookie arrived.
    WhileRunning,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// Nothing of it was done.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// It answers, and what it has is not understood. Nothing of it was done.
    #[error("the store is not understood: {0}")]
    Unreadable(String),
    /// It was begun, and may have been done.
    #[error("the store did not finish: {0}")]
    Unfinished(String),
    /// It may have been done, or be done yet.
    #[error("the store did not answer within its deadline")]
    Deadline,
    /// It is durable, and this replica does not have it yet.
    #[error("it is written, but did not come back to this replica in time")]
    NotHereYet,
}

/// The list of revocations: durable, and one for all replicas.
///
/// [`Self::follow`] keeps the tables that requests ask in step with it. A change of this process is in them
/// when [`Self::append`] answers; one of another replica is within a second.
pub trait RevocationLog: Debug + Send + Sync {
    /// Makes these changes, all or none.
    ///
    /// `Ok`: they are on the disk, or the server that replicas share has acknowledged them.
    ///
    /// # Errors
    /// Whether they were made is then not known; to make them again does no harm.
    fn append<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<(), StoreFault>> {
        async move { self.append_if(&[], changes).await.map(drop) }.boxed()
    }

    /// Makes these changes, all or none, if each of these entries still is what was found of it: a block all
    /// of it, others at least their moments. Returns whether they were unchanged.
    ///
    /// # Errors
    /// As [`Self::append`]. Whoever asks again may find what they made.
    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>>;

    /// The revocation of this id, in force or ended.
    ///
    /// # Errors
    /// When the list cannot be read now.
    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>>;

    /// A part of the list in the order of ids.
    ///
    /// # Errors
    /// When the list cannot be read now.
    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>>;

    /// Loads into `tables` what this process has of the list by itself, so that a short list is known before
    /// anybody is let in. Blocks for a second at most; [`Self::follow`] does the rest.
    fn load(&self, tables: &Arc<Revocations>) {
        let _ = tables;
    }

    /// Loads the list into `tables`, where that did not happen yet, and keeps them in step for as long as it
    /// is polled. Says to them how current they are ([`Revocations::mark_complete`]).
    fn follow(&self, tables: Arc<Revocations>) -> BoxFuture<'_, ()>;

    /// How what it keeps on this machine fares, as far as it knows without being asked now. Whether replicas
    /// can reach what they share the [`Store`] says.
    fn health(&self) -> StoreHealth {
        StoreHealth::Up
    }
}

/// What [`RevocationLog::find`] found of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryAsSeen {
    pub id: RevocationId,
    pub entry: Option<Revocation>,
}

/// Which part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    pub kind: Option<Kind>,
    pub value: Option<String>,
    /// The issuer's `iss`; those of all issuers count.
    pub iss: Option<String>,
    /// What else the issuer is called that `iss` names, or `value` where only issuers are asked for.
    pub or_called: Vec<String>,
    /// Begins behind this one.
    pub after: Option<RevocationId>,
    /// How many at most.
    pub limit: usize,
}

impl ListQuery {
    /// Whether this is one that is asked for.
    pub fn takes(&self, target: &Target) -> bool {
        let of = |iss: &String| match &target.whose {
            Whose::Of(whose) => whose == iss || self.or_called.contains(whose),
            Whose::All => true,
        };
        let is_called = || self.kind == Some(Kind::Issuer) && self.or_called.contains(&target.value);
        self.kind.is_none_or(|kind| kind == target.kind)
            && self.value.as_ref().is_none_or(|value| *value == target.value || is_called())
            && self.iss.as_ref().is_none_or(of)
    }
}

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub revocations: Vec<Revocation>,
    /// Where the next part begins; `None`: this was the last. A part may have fewer than were asked for, and
    /// none.
    pub next: Option<RevocationId>,
}

/// What only one process at a time may have open, such as the files of a store on this machine. When a
/// gateway hands over to another process, it closes this before the other opens it.
pub trait Exclusive: Debug + Send + Sync {
    /// Opens it, and whoever waited goes on. Changes nothing when it is open.
    ///
    /// # Errors
    /// Why it cannot be opened, as text for people.
    fn open(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Finishes what is being written, then closes it, whatever happens. Whoever needs it from here on waits
    /// for it to be opened again, but not beyond a deadline of its own.
    ///
    /// # Errors
    /// What was not written, as text for people.
    fn close(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Whether what an exchange brings is kept in it: then those under way must have ended before it is
    /// closed.
    fn keeps_sessions(&self) -> bool {
        true
    }

    /// The other process has it open: nobody needs to wait any more. Told only while it is closed. Whoever
    /// needs it asks that process from here on, where it can be asked (`to`).
    fn mark_handed_over(&self, to: Option<&HandedTo>) {
        let _ = to;
    }
}

/// The store and the list of the process that took over, as this one reaches them from then on.
#[derive(Clone, Debug)]
pub struct HandedTo {
    pub store: Arc<dyn Store>,
    pub revocations: Arc<dyn RevocationLog>,
}
