//! Whether this gateway is on its way out: readiness fails, answers close their connections.

use std::sync::atomic::{AtomicBool, Ordering};

/// Begins once and does not end.
#[derive(Debug, Default)]
pub(crate) struct Drain(AtomicBool);

impl Drain {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
