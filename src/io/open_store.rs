//! A store that was opened with the list of revocations, and what the beginning and the end of a process need
//! of them.

use std::path::Path;
use std::sync::Arc;

use crate::config::settings::{OnOutage, Store as Settings};
use crate::flows::ports::{Clock, Exclusive, RevocationLog, Store};
use crate::io::revocations::embedded::EmbeddedLog;
use crate::io::revocations::redis::RedisLog;
use crate::io::store::alone::RedisOrAlone;
use crate::io::store::embedded::EmbeddedStore;
use crate::io::store::redis::RedisStore;
use crate::io::store::redis::link::KeptLink;
use crate::io::store_file::StoreFileError;

#[derive(Clone, Debug)]
pub struct OpenStore {
    pub store: Arc<dyn Store>,
    pub revocations: Arc<dyn RevocationLog>,
    exclusive: Vec<Arc<dyn Exclusive>>,
}

/// How a file is opened, or left closed for now.
struct How {
    store: fn(&Path, Arc<dyn Clock>) -> Result<EmbeddedStore, StoreFileError>,
    revocations: fn(&Path, Arc<dyn Clock>) -> Result<EmbeddedLog, StoreFileError>,
    is_closed: bool,
}

impl OpenStore {
    /// Opens what the settings say. Blocks while files are read; does not wait for Redis. Must be called
    /// inside a runtime.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::of(
            settings,
            clock,
            &How { store: EmbeddedStore::open, revocations: EmbeddedLog::open, is_closed: false },
        )
    }

    /// As [`Self::open`], but for what another process has open still; see [`Self::exclusive`].
    ///
    /// # Errors
    /// When it cannot be prepared.
    pub fn closed(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreFileError> {
        Self::of(
            settings,
            clock,
            &How { store: EmbeddedStore::closed, revocations: EmbeddedLog::closed, is_closed: true },
        )
    }

    fn of(settings: &Settings, clock: Arc<dyn Clock>, how: &How) -> Result<Self, StoreFileError> {
        let Some(redis) = &settings.redis else {
            let store = Arc::new((how.store)(&settings.folder, clock.clone())?);
            let revocations = Arc::new((how.revocations)(&settings.folder, clock)?);
            let exclusive: Vec<Arc<dyn Exclusive>> = vec![store.clone(), revocations.clone()];
            return Ok(Self { store, revocations, exclusive });
        };
        let link = KeptLink::start(redis.clone(), clock.clone());
        let (on_outage, max_staleness) = (redis.on_outage, redis.max_staleness);
        let redis = RedisStore::over(link.clone());
        let log = RedisLog::start(link, &settings.folder, max_staleness, clock.clone(), how.is_closed);
        let revocations = Arc::new(log);
        let store: Arc<dyn Store> = match on_outage {
            OnOutage::Refuse => Arc::new(redis),
            OnOutage::Serve => Arc::new(RedisOrAlone::new(redis, clock)),
        };
        Ok(Self { store, revocations: revocations.clone(), exclusive: vec![revocations] })
    }

    /// What of it only one process may have open.
    pub fn exclusive(&self) -> Vec<Arc<dyn Exclusive>> {
        self.exclusive.clone()
    }
}
