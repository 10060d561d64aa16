//! What tests of flows have in common: settings, a clock, and a store and a list of revocations in memory,
//! which go away when they are told to.

pub(crate) mod lines;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderName;
use tokio::sync::watch;

use crate::config::settings::{
    self, Admin, Identity, Limits, Log, LogFormat, Patience, Sessions, Settings, SubjectInLog,
};
use crate::core::cors::Sharing;
use crate::core::request::Origin;
use crate::core::revocation::{Change, Revocation, RevocationId};
use crate::core::route::identity::RouteIdentity;
use crate::core::time::Timestamp;
use crate::flows::ports::{
    Clock, EntryAsSeen, Keep, ListQuery, Listed, RevocationLog, Store, StoreFault, StoreKey, Stored, Value,
    Version,
};
use crate::state::revocations::Revocations;

/// The settings of a gateway with neither routes, issuers nor clients, which has the defaults or less.
pub(crate) fn settings(public_url: &str) -> Settings {
    Settings {
        public_url: Origin::parse(public_url).unwrap(),
        listen: vec![],
        admin: Admin { address: "127.0.0.1:0".parse().unwrap(), token: None, hosts: vec![] },
        trusted_proxies: vec![],
        issuers: vec![],
        clients: vec![],
        native_clients: vec![],
        sharing: Sharing::default(),
        sharing_elsewhere: Sharing::default(),
        upstreams: vec![],
        routes: vec![],
        identity: Identity {
            headers: vec![vec![(HeaderName::from_static("x-auth-subject"), "sub".to_owned())]],
            default: RouteIdentity::default(),
            assertion_keys: None,
        },
        sessions: Sessions {
            idle_timeout: Duration::from_secs(3600),
            absolute_timeout: Duration::from_secs(24 * 3600),
            grace: Duration::from_secs(30),
            keys: vec![],
        },
        signals: vec![],
        store: settings::Store::folder("data"),
        limits: Limits {
            token: 8192,
            token_memory: 1 << 20,
            header: 32 * 1024,
            body: 1024 * 1024,
            connections: 1,
            connections_per_address: 1,
            requests_per_address: None,
            denials_per_address: Some((20, Duration::from_secs(60))),
        },
        patience: Patience::default(),
        lame_duck: Duration::ZERO,
        trace_sampled: false,
        log: Log { format: LogFormat::Json, level: tracing::Level::INFO, subject: SubjectInLog::Plain },
        certificates: vec![],
        shown: serde_json::Value::Null,
        reads: OnceLock::new(),
    }
}

/// A clock that stands until a test lets time pass.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_millis()))
    }

    pub(crate) fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Waits until `seen` has counted so many requests, and fails the test when it does not.
pub(crate) async fn arrived(seen: &watch::Sender<usize>, count: usize) {
    let mut seen = seen.subscribe();
    let all = seen.wait_for(|seen| *seen >= count);
    if tokio::time::timeout(Duration::from_secs(60), all).await.is_err() {
        panic!("{} requests came, and the test waits for {count}", *seen.borrow());
    }
}

/// Passes the tests that the real stores pass (`io::store::tests`).
#[derive(Debug)]
pub(crate) struct FakeStore {
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
    away: AtomicBool,
    full: AtomicBool,
    /// The answer to the next durable put gets lost.
    loses: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    puts: u64,
    values: HashMap<StoreKey, (Version, Timestamp, Value)>,
    /// What was last put durably under each key.
    durable: HashMap<StoreKey, (Version, Timestamp, Value)>,
}

impl FakeStore {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let [away, full, loses] = [(); 3].map(|()| AtomicBool::new(false));
        Self { clock, held: Mutex::default(), away, full, loses }
    }

    /// While it is away every call is a fault, and nothing is put.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// While it is full it answers, and nothing is put.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// The next durable put is done, and whoever asked for it hears of a fault.
    pub(crate) fn loses_an_answer(&self) {
        self.loses.store(true, Ordering::SeqCst);
    }

    /// As after the power was cut: of what was put to be kept while this runs nothing is left.
    pub(crate) fn crash(&self) {
        let mut held = self.held.lock().unwrap();
        held.values = held.durable.clone();
    }

    /// What it holds now, for [`Self::go_back_to`].
    pub(crate) fn held(&self) -> Held {
        self.held.lock().unwrap().clone()
    }

    /// As a Redis that lost what was put since, by a failover or because it came back empty.
    pub(crate) fn go_back_to(&self, before: &Held) {
        let mut held = self.held.lock().unwrap();
        let puts = held.puts;
        *held = Held { puts, ..before.clone() };
    }

    /// How many values of a kind have not expired.
    pub(crate) fn len(&self, kind: &str) -> usize {
        let now = self.clock.now();
        let held = self.held.lock().unwrap();
        held.values.iter().filter(|(key, (_, ends, _))| now < *ends && key.as_str().starts_with(kind)).count()
    }

    /// How many bytes the values of a kind have that have not expired.
    pub(crate) fn bytes_of(&self, kind: &str) -> usize {
        let now = self.clock.now();
        let held = self.held.lock().unwrap();
        let of_kind =
            held.values.iter().filter(|(key, (_, ends, _))| now < *ends && key.as_str().starts_with(kind));
        of_kind.map(|(_, (_, _, value))| value.bytes.len()).sum()
    }

    /// How often something was put.
    pub(crate) fn puts(&self) -> u64 {
        self.held.lock().unwrap().puts
    }

    /// All that a thief of the store gets.
    pub(crate) fn all_bytes(&self) -> Vec<u8> {
        self.held.lock().unwrap().values.values().flat_map(|(_, _, value)| value.bytes.to_vec()).collect()
    }

    fn at_hand(&self) -> Result<(), StoreFault> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreFault::Unavailable("it is away in this test".to_owned())),
            false => Ok(()),
        }
    }
}

impl Store for FakeStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        async move {
            self.at_hand()?;
            let now = self.clock.now();
            let held = self.held.lock().unwrap();
            let value = held.values.get(key).filter(|(_, ends, _)| now < *ends);
            Ok(Stored { value: value.map(|(version, _, value)| (*version, value.bytes.clone())), now })
        }
        .boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Value,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        async move {
            self.at_hand()?;
            if self.full.load(Ordering::SeqCst) {
                return Err(StoreFault::Unavailable("it is full in this test".to_owned()));
            }
            let now = self.clock.now();
            let mut held = self.held.lock().unwrap();
            let current = held.values.get(key).filter(|(_, ends, _)| now < *ends);
            if current.map(|(version, ..)| *version) != expected {
                return Ok(None);
            }
            held.puts += 1;
            let version = Version(held.puts);
            let is_durable = value.keep == Keep::Durably;
            let new = (version, now.plus(value.lifetime), value);
            if is_durable {
                held.durable.insert(key.clone(), new.clone());
            }
            held.values.insert(key.clone(), new);
            match is_durable && self.loses.swap(false, Ordering::SeqCst) {
                true => Err(StoreFault::Deadline),
                false => Ok(Some(version)),
            }
        }
        .boxed()
    }
}

/// A list of revocations in memory. Replicas that share it share what it knows at once.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    list: Mutex<BTreeMap<RevocationId, Revocation>>,
    tables: Mutex<Vec<Arc<Revocations>>>,
    away: AtomicBool,
}

impl MemoryLog {
    /// Tables that are complete for good.
    pub(crate) fn tables(&self) -> Arc<Revocations> {
        let tables = Arc::new(Revocations::new([7; 16]));
        self.feeds(&tables);
        tables
    }

    fn feeds(&self, tables: &Arc<Revocations>) {
        let list = self.list.lock().unwrap();
        list.values().for_each(|known| tables.apply(&[Change::Add(known.clone())]));
        tables.mark_complete();
        self.tables.lock().unwrap().push(Arc::clone(tables));
    }

    /// While it is away nothing is appended.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn all(&self) -> Vec<Revocation> {
        self.list.lock().unwrap().values().cloned().collect()
    }
}

impl RevocationLog for MemoryLog {
    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>> {
        async move {
            if self.away.load(Ordering::SeqCst) {
                return Err(StoreFault::Unavailable("it is away in this test".to_owned()));
            }
            let mut list = self.list.lock().unwrap();
            if !found.iter().all(|seen| list.get(&seen.id) == seen.entry.as_ref()) {
                return Ok(false);
            }
            for change in changes {
                match change {
                    Change::Lift(gone) => drop(list.remove(&gone.id())),
                    Change::Add(new) => {
                        let new = match list.get(&new.id()) {
                            Some(old) => new.clone().in_place_of(old),
                            None => new.clone(),
                        };
                        list.insert(new.id(), new);
                    }
                }
            }
            self.tables.lock().unwrap().iter().for_each(|tables| tables.apply(changes));
            Ok(true)
        }
        .boxed()
    }

    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>> {
        async move { Ok(self.list.lock().unwrap().get(&id).cloned()) }.boxed()
    }

    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>> {
        async move {
            let list = self.list.lock().unwrap();
            let behind = list.iter().filter(|(id, _)| part.after.is_none_or(|after| **id > after));
            let taken = behind.filter(|(_, known)| part.takes(&known.target)).take(part.limit);
            let revocations: Vec<_> = taken.map(|(_, known)| known.clone()).collect();
            let is_full = revocations.len() == part.limit;
            let next = revocations.last().filter(|_| is_full).map(Revocation::id);
            Ok(Listed { revocations, next })
        }
        .boxed()
    }

    fn follow(&self, tables: Arc<Revocations>) -> BoxFuture<'_, ()> {
        async move {
            self.feeds(&tables);
            std::future::pending().await
        }
        .boxed()
    }
}
