//! The ports: what flows need from outside, as traits. `io` implements them, and tests may.

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

/// The wall clock, and the monotonic clock.
pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> Timestamp;

    /// The monotonic clock. It may stand still while the machine sleeps.
    fn steady(&self) -> Instant {
        Instant::now()
    }
}

/// A source of unpredictable bytes.
pub trait Randomness: Debug + Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

/// An array of unpredictable bytes.
pub fn random<const N: usize>(source: &dyn Randomness) -> [u8; N] {
    let mut bytes = [0; N];
    source.fill(&mut bytes);
    bytes
}

/// Calls authorization servers. It never repeats a request by itself, follows no redirect, and reads no more
/// than it was told to. `issuer` says which certificates are trusted and by which route the server is
/// reached: the caller's own value counts, whatever is configured under its name by now.
pub trait HttpClient: Debug + Send + Sync {
    fn send(
        &self,
        issuer: &Issuer,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>>;

    /// Keeps connections to these issuers ready from now on.
    ///
    /// # Errors
    /// What of them cannot be used, as text. Nothing changes then.
    fn set_issuers(&self, issuers: &[Arc<Issuer>]) -> Result<(), String> {
        let _ = issuers;
        Ok(())
    }
}

/// How long a call may take in all, and the largest answer, in bytes.
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

    /// Whether the server cannot have received anything of the call.
    pub const fn is_before_the_call(self) -> bool {
        matches!(self, Self::Dns | Self::Connect | Self::Tls | Self::Certificate | Self::Proxy)
    }
}

/// Holds what must outlive a request and what replicas share: values under keys, each with a version and a
/// lifetime. To change a value, read it, change it, and put it back if nobody else did meanwhile.
///
/// Every answer includes the store's own time, so that windows in a value are never compared with the clock
/// of one replica or another.
pub trait Store: Debug + Send + Sync {
    /// Returns what is under `key` now.
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>>;

    /// Puts `value` under `key` if its version is still `expected` (`None`: nothing is there). `Ok(None)`:
    /// somebody else was faster, and nothing was changed.
    ///
    /// After a fault it is not known whether the value was put: read it again.
    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Value,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>>;

    /// The shared store behind a local stand-in, for callers that must not take "not here" for "does not
    /// exist". `None`: this store never has a stand-in.
    fn shared(&self) -> Option<&dyn Store> {
        None
    }

    /// Its health, as far as is known without asking it.
    fn health(&self) -> StoreHealth {
        StoreHealth::Up
    }
}

/// The health of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreHealth {
    #[default]
    Up,
    /// It fails.
    Away {
        since: Timestamp,
        why: String,
        /// Whether this process goes on with its own memory meanwhile.
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

    /// Notes that it is away, since `now` unless it was before.
    pub fn set_away(&mut self, why: String, now: Timestamp, alone: bool) {
        let since = match self {
            Self::Up => now,
            Self::Away { since, .. } => *since,
        };
        *self = Self::Away { since, why, alone };
    }

    /// Notes that it works. Returns why it was away, if it was.
    pub fn set_up(&mut self) -> Option<String> {
        std::mem::replace(self, Self::Up).why_away()
    }
}

/// The key of a value: letters, digits and `:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey(String);

impl StoreKey {
    /// A key. `kind`: a word; `id`: what tells two values of a kind apart.
    pub fn new(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self(format!("{kind}:{id}"))
    }

    /// Reads what [`Self::as_str`] returned; `None` for everything else.
    pub fn parse(text: String) -> Option<Self> {
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b':';
        (!text.is_empty() && text.bytes().all(is_key)).then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The version of a value: another at each change. A key never has the same version twice, not even after its
/// value was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub u64);

/// What a store holds under a key.
#[derive(Clone, Debug)]
pub struct Stored {
    pub value: Option<(Version, Bytes)>,
    /// The time by the store's clock.
    pub now: Timestamp,
}

/// A value to put into a store.
#[derive(Clone, Debug)]
pub struct Value {
    pub bytes: Bytes,
    /// How long it is kept; after that it may be dropped.
    pub lifetime: Duration,
    pub keep: Keep,
}

/// What a value must outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// `put_if` returns once the value would survive a crash of the process and a loss of power.
    Durably,
    /// While the store runs: enough for a lease, or a note that a cookie arrived.
    WhileRunning,
}

/// Why a store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// It was not done.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// What the store holds is not understood. It was not done.
    #[error("the store is not understood: {0}")]
    Unreadable(String),
    /// It was begun, and may have been done.
    #[error("the store did not finish: {0}")]
    Unfinished(String),
    /// It may have been done, or may yet be.
    #[error("the store did not answer within its deadline")]
    Deadline,
    /// It is durable, but this replica does not have it yet.
    #[error("it is written, but did not come back to this replica in time")]
    NotHereYet,
}

/// The list of revocations: durable, and one for all replicas.
///
/// [`Self::follow`] keeps the tables in memory, which requests ask, in step with it. A change by this process
/// is in the tables when [`Self::append`] returns, one by another replica within a second.
pub trait RevocationLog: Debug + Send + Sync {
    /// Makes these changes, all or none.
    ///
    /// On `Ok` they are on the disk, or acknowledged by the server that replicas share.
    ///
    /// # Errors
    /// It is then not known whether they were made; making them again does no harm.
    fn append<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<(), StoreFault>> {
        async move { self.append_if(&[], changes).await.map(drop) }.boxed()
    }

    /// Makes these changes, all or none, if the entries are still as they were seen: a block in all, other
    /// entries at least in their times. Returns whether they were.
    ///
    /// # Errors
    /// As [`Self::append`]. A caller that tries again may find its own changes.
    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>>;

    /// Finds the revocation with this id, in force or ended.
    ///
    /// # Errors
    /// When the list cannot be read now.
    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>>;

    /// Returns a part of the list, in the order of ids.
    ///
    /// # Errors
    /// When the list cannot be read now.
    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>>;

    /// Loads into `tables` what this process holds of the list by itself, so that a short list is known
    /// before any request is admitted. Blocks for at most a second; [`Self::follow`] does the rest.
    fn load(&self, tables: &Arc<Revocations>) {
        let _ = tables;
    }

    /// Loads the list into `tables`, unless that was done, and keeps them in step for as long as the future
    /// is polled. Tells them how current they are ([`Revocations::mark_complete`]).
    fn follow(&self, tables: Arc<Revocations>) -> BoxFuture<'_, ()>;

    /// The health of what it keeps on this machine, as far as is known without asking. Whether replicas can
    /// reach what they share is told by [`Store`].
    fn health(&self) -> StoreHealth {
        StoreHealth::Up
    }
}

/// An entry as [`RevocationLog::find`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryAsSeen {
    pub id: RevocationId,
    pub entry: Option<Revocation>,
}

/// Which entries to return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    pub kind: Option<Kind>,
    pub value: Option<String>,
    /// The issuer's `iss`. Entries for all issuers are returned, too.
    pub iss: Option<String>,
    /// The other names of the issuer that `iss` names, or `value` if only issuers are asked for.
    pub or_called: Vec<String>,
    /// Returns entries after this one.
    pub after: Option<RevocationId>,
    /// The most entries to return.
    pub limit: usize,
}

impl ListQuery {
    /// Whether an entry for this target is asked for.
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
    /// Where the next part begins; `None`: this was the last. A part may have fewer entries than asked for,
    /// or none.
    pub next: Option<RevocationId>,
}

/// Something that only one process at a time may have open, such as the files of a store on this machine.
/// When a gateway hands over to another process, it closes this before the other opens it.
pub trait Exclusive: Debug + Send + Sync {
    /// Opens it, and lets those who wait go on. Does nothing if it is open.
    ///
    /// # Errors
    /// Why it cannot be opened, as text for people.
    fn open(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Finishes what is being written, then closes it, whatever happens. Callers that need it from then on
    /// wait until it is opened again, each up to a deadline of its own.
    ///
    /// # Errors
    /// What was not written, as text for people.
    fn close(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Whether it holds what exchanges bring: then those under way must end before it is closed.
    fn keeps_sessions(&self) -> bool {
        true
    }

    /// Notes that the other process has it open, so that nobody waits any more. Called only while it is
    /// closed. Callers ask that process from then on, if it can be asked (`to`).
    fn mark_handed_over(&self, to: Option<&HandedTo>) {
        let _ = to;
    }
}

/// The store and the list of the process that took over, as this process reaches them from then on.
#[derive(Clone, Debug)]
pub struct HandedTo {
    pub store: Arc<dyn Store>,
    pub revocations: Arc<dyn RevocationLog>,
}
