//! A store in this process's memory. It ends with the process, so it promises nothing of `Keep::Durably`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::new_version;
use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Found, Store, StoreFault, StoreKey, Value, Version};

/// How often what has ended is taken out, by the calls that pass.
const SWEEP: Duration = Duration::from_secs(60);

/// The port [`Store`] in memory.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    values: DashMap<StoreKey, Held>,
    /// When to sweep next, in milliseconds.
    next_sweep: AtomicI64,
}

#[derive(Debug)]
struct Held {
    version: Version,
    ends: Timestamp,
    bytes: Bytes,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, values: DashMap::new(), next_sweep: AtomicI64::new(i64::MIN) }
    }

    /// How many keys there are, ended ones that were not swept yet included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    fn get_now(&self, key: &StoreKey) -> Found {
        let now = self.clock.now();
        let held = self.values.get(key).filter(|held| now < held.ends);
        Found { value: held.map(|held| (held.version, held.bytes.clone())), now }
    }

    fn put_now(&self, key: &StoreKey, expected: Option<Version>, value: Value) -> Option<Version> {
        let now = self.clock.now();
        self.sweep(now);
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

    fn sweep(&self, now: Timestamp) {
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now.plus(SWEEP).as_millis();
        let is_due = now.as_millis() >= due;
        if is_due && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.values.retain(|_, held| now < held.ends);
        }
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Found, StoreFault>> {
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
