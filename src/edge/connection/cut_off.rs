//! Cuts off the connections that a drain waits for no longer, whatever they are doing: pingora keeps no
//! handle on the tasks that serve them.
//!
//! It must never take a lock that a connection needs to go on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::RandomState;
use dashmap::DashMap;
use futures_util::future::{AbortHandle, Abortable};

#[derive(Debug, Default)]
pub(crate) struct CutOff {
    next: AtomicU64,
    /// The handles that abort the connections being served.
    served: DashMap<u64, AbortHandle, RandomState>,
    is_done: AtomicBool,
}

/// Keeps a connection registered while it lives.
struct Served<'a>(&'a CutOff, u64);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.served.remove(&self.1);
    }
}

impl CutOff {
    /// Serves a connection until that is over or it is cut off.
    pub(crate) async fn unless<T>(&self, serving: impl Future<Output = Option<T>>) -> Option<T> {
        let (ends, registration) = AbortHandle::new_pair();
        let served = Served(self, self.next.fetch_add(1, Ordering::Relaxed));
        self.served.insert(served.1, ends.clone());
        if self.is_done() {
            ends.abort();
        }
        Abortable::new(serving, registration).await.ok().flatten()
    }

    /// Cuts off all connections, and every later one. Returns whether this was the first call: several
    /// listeners may end at once.
    pub(crate) fn all(&self) -> bool {
        let is_first = !self.is_done.swap(true, Ordering::SeqCst);
        self.served.iter().for_each(|ends| ends.abort());
        is_first
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn who_is_served_or_comes_late_is_cut_off_and_who_is_done_is_forgotten() {
        let cut_off = CutOff::default();
        assert_eq!(cut_off.unless(ready(Some(1))).await, Some(1));
        assert!(cut_off.served.is_empty() && !cut_off.is_done());
        let cuts = async {
            assert_eq!(cut_off.served.len(), 1);
            assert!(cut_off.all() && !cut_off.all(), "it is told once");
        };
        assert_eq!(tokio::join!(biased; cut_off.unless(pending::<Option<()>>()), cuts).0, None);
        assert_eq!(cut_off.unless(ready(Some(1))).await, None);
        assert!(cut_off.served.is_empty() && cut_off.is_done());
    }
}
