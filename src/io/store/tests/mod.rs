//! Every store under one suite, and what each promises of its own.

mod elsewhere;
mod embedded;
pub(in crate::io) mod redis;
pub(in crate::io) mod servers;
mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Keep, Store, StoreKey, Value, Version};
use crate::flows::testing::FakeStore;
use crate::io::store::memory::MemoryStore;
use crate::io::system::SystemClock;

/// How long anything may take on a busy machine.
pub(in crate::io) const LONG: Duration = Duration::from_secs(60);
pub(in crate::io) const HOUR: Duration = Duration::from_secs(3600);
pub(in crate::io) const DAY: Duration = Duration::from_secs(86_400);

fn key(id: impl std::fmt::Display) -> StoreKey {
    StoreKey::new("test", id)
}

fn value(bytes: impl Into<Bytes>, lifetime: Duration, keep: Keep) -> Value {
    Value { bytes: bytes.into(), lifetime, keep }
}

fn durable(bytes: impl Into<Bytes>) -> Value {
    value(bytes, DAY, Keep::Durably)
}

fn passing(bytes: impl Into<Bytes>) -> Value {
    value(bytes, DAY, Keep::WhileRunning)
}

async fn held(store: &dyn Store, key: &StoreKey) -> Option<(Version, Bytes)> {
    store.get(key).await.unwrap().value
}

async fn bytes_of(store: &dyn Store, key: &StoreKey) -> Option<Bytes> {
    held(store, key).await.map(|(_, bytes)| bytes)
}

/// Waits until `ready`, looking at it over and over.
pub(in crate::io) async fn until(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !ready().await {
        assert!(began.elapsed() < LONG, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A clock that tests move.
#[derive(Debug)]
pub(in crate::io) struct TestClock {
    began: Instant,
    /// In milliseconds, by the clock that nobody sets.
    passed: AtomicU64,
    wall: AtomicI64,
    /// How often the clock that nobody sets was read: only whoever takes out what has ended reads it.
    looks: AtomicUsize,
}

impl TestClock {
    pub(in crate::io) fn start() -> Arc<Self> {
        let wall = AtomicI64::new(SystemClock.now().as_millis());
        Arc::new(Self { began: Instant::now(), passed: AtomicU64::new(0), wall, looks: AtomicUsize::new(0) })
    }

    /// Time passes, and both clocks know.
    pub(in crate::io) fn pass(&self, time: Duration) {
        // In this order nobody sees a wall clock that was put back.
        self.is_ahead(time);
        self.passed.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Waits until everybody who takes out what has ended has done so by this clock as it is now.
    pub(in crate::io) async fn is_swept_by(&self) {
        let before = self.looks.load(Ordering::SeqCst);
        until("some sweeps", async || self.looks.load(Ordering::SeqCst) >= before + 12).await;
    }

    /// The wall clock is put forward.
    pub(in crate::io) fn is_ahead(&self, by: Duration) {
        self.wall.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The wall clock is put back.
    pub(in crate::io) fn is_back(&self, by: Duration) {
        self.wall.fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Instant {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.began + Duration::from_millis(self.passed.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_every_promise_of_a_store() {
    suite::holds_for(Arc::new(MemoryStore::new(Arc::new(SystemClock)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_of_the_flows_tests_keeps_every_promise_too() {
    suite::holds_for(Arc::new(FakeStore::new(Arc::new(SystemClock)))).await;
}

#[tokio::test]
async fn memory_forgets_what_has_ended_and_nothing_else() {
    let clock = TestClock::start();
    let store = MemoryStore::new(clock.clone());
    for id in 0..100 {
        let lifetime = if id % 2 == 0 { DAY } else { Duration::from_secs(1) };
        store.put_if(&key(id), None, value("x", lifetime, Keep::Durably)).await.unwrap().unwrap();
    }
    assert_eq!(store.len(), 100);
    for ahead in [2 * DAY, 100 * DAY] {
        clock.is_ahead(ahead);
        clock.pass(Duration::from_secs(61));
        store.put_if(&key(format!("{ahead:?}")), None, durable("x")).await.unwrap().unwrap();
        clock.is_back(ahead);
    }
    clock.pass(Duration::from_secs(120));
    store.put_if(&key("one more"), None, durable("x")).await.unwrap().unwrap();
    assert_eq!(store.len(), 53);
}
