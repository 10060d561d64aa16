//! A store in this process's memory. It ends with the process, so it promises nothing of `Keep::Durably`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::new_version;
use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Store, StoreFault, StoreKey, Stored, Value, Version};
use crate::io::watched_clock::WatchedClock;

/// How often what has ended is taken out, by the calls that pass.
const SWEEP: Duration = Duration::from_secs(60);

/// The port [`Store`] in memory.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    watched: WatchedClock,
    values: DashMap<StoreKey, Held>,
    /// When to sweep next, in milliseconds that this has run.
    next_sweep: AtomicU64,
}

#[derive(Debug)]
struct Held {
    version: Version,
    ends: Timestamp,
    bytes: Bytes,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let watched = WatchedClock::trusting(clock.clone());
        Self { clock, watched, values: DashMap::new(), next_sweep: AtomicU64::new(0) }
    }

    /// How many keys there are, ended ones that were not swept yet included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    fn get_now(&self, key: &StoreKey) -> Stored {
        let now = self.clock.now();
        let held = self.values.get(key).filter(|held| now < held.ends);
        Stored { value: held.map(|held| (held.version, held.bytes.clone())), now }
    }

    fn put_now(&self, key: &StoreKey, expected: Option<Version>, value: Value) -> Option<Version> {
        let now = self.clock.now();
        self.sweep();
        let version = new_version();
        let held = Held { version, ends: now.plus(value.lifetime), bytes: value.bytes };
        match self.values.entry(key.clone()) {
            Entry::Occupied(mut entry) => {
                let there = Some(entry.get()).filter(|there| now < there.ends);
                (there.map(|there| there.version) == expected).then(|| entry.insert(held))?;
            }
            Entry::Vacant(entry) => {
                expected.is_none().then(|| entry.insert(held))?;
            }
        }
        Some(version)
    }

    fn sweep(&self) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (due, running) = (self.next_sweep.load(Ordering::Relaxed), self.watched.running());
        let next = millis(running + SWEEP);
        let is_due = millis(running) >= due;
        if is_due
            && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && let Some(now) = self.watched.sure()
        {
            self.values.retain(|_, held| now.at() < held.ends);
        }
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        ready(Ok(self.get_now(key))).boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Value,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        ready(Ok(self.put_now(key, expected, value))).boxed()
    }
}
