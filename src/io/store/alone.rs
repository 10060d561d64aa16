//! `on_outage: serve`: while Redis is away this process coordinates in its own memory. What it learns
//! meanwhile is forgotten when Redis is back, so replays of before and of meanwhile are not noticed, and
//! nothing is exactly once over several replicas. `redis::link` says so loudly.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::memory::MemoryStore;
use super::redis::RedisStore;
use crate::flows::ports::{Clock, Store, StoreFault, StoreHealth, StoreKey, Stored, Value, Version};

/// The port [`Store`] over Redis, or over memory while Redis is away.
#[derive(Debug)]
pub struct RedisOrAlone {
    redis: RedisStore,
    clock: Arc<dyn Clock>,
    /// The memory of one outage, and which outage that is.
    meanwhile: Mutex<(u64, Arc<MemoryStore>)>,
}

impl RedisOrAlone {
    pub fn new(redis: RedisStore, clock: Arc<dyn Clock>) -> Self {
        let first = Arc::new(MemoryStore::new(clock.clone()));
        Self { redis, clock, meanwhile: Mutex::new((0, first)) }
    }

    /// Whether Redis is there, over the connection of before: it has refused one call, and is asked for the
    /// others. An answer from memory would be forgotten by the next.
    fn is_there(&self, times_reached: u64) -> bool {
        self.redis.times_reached() == times_reached && self.redis.health() == StoreHealth::Up
    }

    fn meanwhile(&self) -> Arc<MemoryStore> {
        let outage = self.redis.times_reached();
        let mut meanwhile = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner);
        if meanwhile.0 != outage {
            *meanwhile = (outage, Arc::new(MemoryStore::new(self.clock.clone())));
        }
        meanwhile.1.clone()
    }
}

impl Store for RedisOrAlone {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        async {
            let reached = self.redis.times_reached();
            match self.redis.get(key).await {
                Ok(found) => Ok(found),
                Err(fault) if self.is_there(reached) => Err(fault),
                Err(_) => self.meanwhile().get(key).await,
            }
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
            let reached = self.redis.times_reached();
            match self.redis.put_if(key, expected, value.clone()).await {
                Ok(put) => Ok(put),
                Err(fault) if self.is_there(reached) => Err(fault),
                Err(_) => self.meanwhile().put_if(key, expected, value).await,
            }
        }
        .boxed()
    }

    fn shared(&self) -> Option<&dyn Store> {
        Some(&self.redis)
    }

    fn health(&self) -> StoreHealth {
        self.redis.health()
    }
}
