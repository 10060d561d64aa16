//! What the process that leaves asks of the store and the list of the one that took over, and what is
//! answered: a line each, with a number that both have. Answers come as they are ready, but none before the
//! changes of the list that were made before it.
//!
//! Whoever takes over names in `serving` what it answers; nothing else is asked. So of two versions one of
//! which does not know this, the old process has no store from then on. What changes the meaning of a line
//! needs another [`WORD`].

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::core::revocation::{Change, Kind, Revocation, RevocationId};
use crate::core::time::Timestamp;
use crate::flows::ports::{
    EntryAsSeen, Keep, ListQuery, Listed, StoreFault, StoreKey, Stored, Value, Version,
};

/// Names these questions and their answers.
const WORD: &str = "store/1";

/// Which questions a process answers, by their words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Answers(Vec<String>);

impl Answers {
    /// Those of this version.
    pub fn ours() -> Self {
        Self(vec![WORD.to_owned()])
    }

    /// Whether it answers these questions.
    pub fn has_ours(&self) -> bool {
        self.0.iter().any(|word| word == WORD)
    }
}

/// What is asked; each is a verb of a port.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    Get {
        key: Key,
    },
    PutIf {
        key: Key,
        expected: Option<u64>,
        bytes: Base64,
        lifetime: Duration,
        durably: bool,
    },
    AppendIf {
        found: Vec<Block>,
        changes: Vec<Changed>,
    },
    Find {
        id: Id,
    },
    List {
        kind: Option<Kind>,
        value: Option<String>,
        iss: Option<String>,
        /// A process that knows nothing of it lists less.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        or_called: Vec<String>,
        after: Option<Id>,
        limit: usize,
    },
}

/// What is answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Found { value: Option<(u64, Base64)>, now: Timestamp },
    Put { version: Option<u64> },
    Appended { made: bool },
    Entry { revocation: Option<Revocation> },
    Listed { revocations: Vec<Revocation>, next: Option<Id> },
    Failed { fault: Fault, why: String },
}

/// Why the other process did not do it, or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Unavailable,
    Unfinished,
    Deadline,
    NotHereYet,
    /// An answer of a later version; nobody knows what was done.
    #[serde(other)]
    Other,
}

/// A change of the list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub lifted: bool,
    pub revocation: Revocation,
}

/// What was found of a block.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    id: Id,
    entry: Option<Revocation>,
}

/// A [`StoreKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(pub StoreKey);

/// A [`RevocationId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(pub RevocationId);

/// Bytes; what is sealed in them is sealed here too.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64(pub Bytes);

impl std::fmt::Debug for Base64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        StoreKey::parse(text).map(Self).ok_or("no key of a store")
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.as_str().to_owned()
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        RevocationId::parse(&text).map(Self).ok_or("no id of a revocation")
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.to_string()
    }
}

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(|bytes| Self(bytes.into()))
    }
}

impl From<Base64> for String {
    fn from(bytes: Base64) -> Self {
        BASE64_STANDARD.encode(bytes.0)
    }
}

impl From<&Change> for Changed {
    fn from(change: &Change) -> Self {
        Self { lifted: matches!(change, Change::Lift(_)), revocation: change.revocation().clone() }
    }
}

impl From<Changed> for Change {
    fn from(Changed { lifted, revocation }: Changed) -> Self {
        if lifted { Self::Lift(revocation) } else { Self::Add(revocation) }
    }
}

impl From<&EntryAsSeen> for Block {
    fn from(seen: &EntryAsSeen) -> Self {
        Self { id: Id(seen.id), entry: seen.entry.clone() }
    }
}

impl From<Block> for EntryAsSeen {
    fn from(Block { id, entry }: Block) -> Self {
        Self { id: id.0, entry }
    }
}

impl Fault {
    /// As this process says it.
    pub fn told(self, why: String) -> StoreFault {
        match self {
            Self::Deadline => StoreFault::Deadline,
            Self::NotHereYet => StoreFault::NotHereYet,
            Self::Unavailable => StoreFault::Unavailable(why),
            Self::Unfinished | Self::Other => StoreFault::Unfinished(why),
        }
    }
}

impl Question {
    pub fn get(key: &StoreKey) -> Self {
        Self::Get { key: Key(key.clone()) }
    }

    pub fn put_if(key: &StoreKey, expected: Option<Version>, value: Value) -> Self {
        let Value { bytes, lifetime, keep } = value;
        Self::PutIf {
            key: Key(key.clone()),
            expected: expected.map(|version| version.0),
            bytes: Base64(bytes),
            lifetime,
            durably: keep == Keep::Durably,
        }
    }

    pub fn append_if(found: &[EntryAsSeen], changes: &[Change]) -> Self {
        Self::AppendIf {
            found: found.iter().map(Block::from).collect(),
            changes: changes.iter().map(Changed::from).collect(),
        }
    }

    pub fn list(part: &ListQuery) -> Self {
        let ListQuery { kind, value, iss, or_called, after, limit } = part.clone();
        Self::List { kind, value, iss, or_called, after: after.map(Id), limit }
    }

    /// The first half of a part of the list; all else is whole or nothing.
    pub fn shorter(&self) -> Option<Self> {
        let Self::List { kind, value, iss, or_called, after, limit: limit @ 2.. } = self else { return None };
        let (value, iss, or_called) = (value.clone(), iss.clone(), or_called.clone());
        Some(Self::List { kind: *kind, value, iss, or_called, after: *after, limit: limit / 2 })
    }
}

impl From<Stored> for Answer {
    fn from(Stored { value, now }: Stored) -> Self {
        Self::Found { value: value.map(|(version, bytes)| (version.0, Base64(bytes))), now }
    }
}

impl From<Listed> for Answer {
    fn from(Listed { revocations, next }: Listed) -> Self {
        Self::Listed { revocations, next: next.map(Id) }
    }
}

impl From<StoreFault> for Answer {
    fn from(fault: StoreFault) -> Self {
        let (fault, why) = match fault {
            // To whoever asks from elsewhere it is all one.
            StoreFault::Unavailable(why) | StoreFault::Unreadable(why) => (Fault::Unavailable, why),
            StoreFault::Unfinished(why) => (Fault::Unfinished, why),
            StoreFault::Deadline => (Fault::Deadline, String::new()),
            StoreFault::NotHereYet => (Fault::NotHereYet, String::new()),
        };
        Self::Failed { fault, why }
    }
}
