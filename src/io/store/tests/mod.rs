//! Every store under one suite, and what each promises of its own.

mod elsewhere;
mod embedded;
pub(in crate::io) mod redis;
pub(in crate::io) mod servers;
mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Keep, Store, StoreKey, Value, Version};
use crate::flows::testing::MemoryStore as TestStore;
use crate::io::store::memory::MemoryStore;
use crate::io::system::SystemClock;

/// How long anything may take on a busy machine.
pub(in crate::io) const LONG: Duration = Duration::from_secs(60);
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
pub(in crate::io) struct TestClock(AtomicI64);

impl TestClock {
    pub(in crate::io) fn start() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(SystemClock.now().as_millis())))
    }

    pub(in crate::io) fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_every_promise_of_a_store() {
    suite::holds_for(Arc::new(MemoryStore::new(Arc::new(SystemClock)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_of_the_flows_tests_keeps_every_promise_too() {
    suite::holds_for(Arc::new(TestStore::new(Arc::new(SystemClock)))).await;
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
    clock.pass(Duration::from_secs(120));
    store.put_if(&key("one more"), None, durable("x")).await.unwrap().unwrap();
    assert_eq!(store.len(), 51);
}
