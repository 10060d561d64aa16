//! Where what must outlive a request is kept: the port [`Store`].
//!
//! - `embedded`: a file in the store folder, for one replica
//! - `redis`: what several replicas share
//! - `alone`: this process's memory while Redis is away (`on_outage: serve`)
//! - `memory`: in this process alone

pub mod alone;
pub mod embedded;
pub mod memory;
pub mod redis;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::config::settings::{OnOutage, Store as Settings};
use crate::flows::ports::{Clock, Exclusive, Store, Version, random};
use crate::io::store_file::StoreFileError;
use crate::io::system::SystemRandomness;
use alone::RedisOrAlone;
use embedded::EmbeddedStore;
use redis::RedisStore;

/// A store that was opened, and what the beginning and the end of a process need of it.
#[derive(Clone, Debug)]
pub struct OpenStore {
    pub store: Arc<dyn Store>,
    embedded: Option<Arc<EmbeddedStore>>,
}

impl OpenStore {
    /// Opens what the settings say. Blocks while a file is read; does not wait for Redis. Must be called inside a
    /// runtime.
    ///
    /// # Errors
    /// When the store file cannot be used.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::of(settings, clock, EmbeddedStore::open)
    }

    /// As [`Self::open`], but for what another process has open still; see [`Self::exclusive`].
    ///
    /// # Errors
    /// When it cannot be prepared.
    pub fn closed(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::of(settings, clock, EmbeddedStore::closed)
    }

    fn of(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        embedded: fn(&Path, Arc<dyn Clock>) -> Result<EmbeddedStore, StoreFileError>,
    ) -> Result<Self, StoreFileError> {
        let Some(settings) = &settings.redis else {
            let embedded = Arc::new(embedded(&settings.folder, clock)?);
            return Ok(Self { store: embedded.clone(), embedded: Some(embedded) });
        };
        let redis = RedisStore::start(settings.clone(), clock.clone());
        let store: Arc<dyn Store> = match settings.on_outage {
            OnOutage::Refuse => Arc::new(redis),
            OnOutage::Serve => Arc::new(RedisOrAlone::new(redis, clock)),
        };
        Ok(Self { store, embedded: None })
    }

    /// What of it only one process may have open.
    pub fn exclusive(&self) -> Option<Arc<dyn Exclusive>> {
        let embedded = self.embedded.clone()?;
        Some(embedded)
    }
}

/// A version that no other put has: drawn at random, so that none comes again after a restart, after its
/// key was gone, or from another store.
fn new_version() -> Version {
    Version(u64::from_be_bytes(random(&SystemRandomness)))
}
