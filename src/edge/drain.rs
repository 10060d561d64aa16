//! Whether this gateway is on its way out: answers close their connections, and readiness fails unless
//! another process has taken over.

use std::sync::atomic::{AtomicU8, Ordering};

const SERVING: u8 = 0;
/// Another process serves at the same addresses.
const LEAVING: u8 = 1;
const STOPPING: u8 = 2;

/// Begins once and does not end.
#[derive(Debug, Default)]
pub(crate) struct Drain(AtomicU8);

impl Drain {
    pub(crate) fn begin(&self) {
        self.0.store(STOPPING, Ordering::Release);
    }

    /// For whoever asks at these addresses nothing changes.
    pub(crate) fn begin_unnoticed(&self) {
        self.0.store(LEAVING, Ordering::Release);
    }

    /// Whether connections are to end.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) != SERVING
    }

    /// Whether clients are to go elsewhere.
    pub(crate) fn sends_away(&self) -> bool {
        self.0.load(Ordering::Acquire) == STOPPING
    }
}
