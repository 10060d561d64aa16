//! Who waits until a change of their own is in the tables. Each is known by the nonce of its entry: a number
//! may be another's after a failover.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::flows::ports::StoreFault;

#[derive(Default)]
pub(super) struct Awaited(Mutex<HashMap<u64, oneshot::Sender<()>>>);

impl Awaited {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be begun before the entry can be in the log.
    pub(super) fn wait_for(&self, nonce: u64) -> Waiting<'_> {
        let (came, coming) = oneshot::channel();
        self.all().insert(nonce, came);
        Waiting { awaited: self, nonce, coming }
    }

    pub(super) fn is_nobody(&self) -> bool {
        self.all().is_empty()
    }

    /// The tables have these entries.
    pub(super) fn came(&self, nonces: impl IntoIterator<Item = u64>) {
        let mut all = self.all();
        for nonce in nonces {
            if let Some(came) = all.remove(&nonce) {
                let _ = came.send(());
            }
        }
    }
}

/// One who waits.
pub(super) struct Waiting<'a> {
    awaited: &'a Awaited,
    nonce: u64,
    coming: oneshot::Receiver<()>,
}

impl Waiting<'_> {
    /// Whether it came in time.
    pub(super) async fn within(mut self, time: Duration) -> Result<(), StoreFault> {
        match timeout(time, &mut self.coming).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(StoreFault::NotHereYet),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.awaited.all().remove(&self.nonce);
    }
}
