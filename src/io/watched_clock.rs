//! The wall clock as whoever throws away what has ended may use it. See [`ClockWatch`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::clock_watch::{ClockWatch, SureTime};
use crate::core::time::Timestamp;
use crate::flows::ports::Clock;

/// The clock, and what was seen of it. It is to be looked at with every sweep: what it said in between nobody
/// knows.
#[derive(Debug)]
pub(crate) struct WatchedClock {
    clock: Arc<dyn Clock>,
    began: Instant,
    watch: Mutex<ClockWatch>,
}

impl WatchedClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self::watching(clock, ClockWatch::begin)
    }

    /// For whoever begins with nothing.
    pub(crate) fn trusting(clock: Arc<dyn Clock>) -> Self {
        Self::watching(clock, ClockWatch::trusting)
    }

    fn watching(clock: Arc<dyn Clock>, begin: fn(Timestamp) -> ClockWatch) -> Self {
        let (began, watch) = (clock.steady(), begin(clock.now()));
        Self { clock, began, watch: Mutex::new(watch) }
    }

    /// How long it is watched, by the clock that nobody sets.
    pub(crate) fn running(&self) -> Duration {
        self.clock.steady().saturating_duration_since(self.began)
    }

    /// What time it surely is; `None`: nothing is to be thrown away yet.
    pub(crate) fn sure(&self) -> Option<SureTime> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        // In this order: who is held up in between sees a wall clock that is ahead, which is not believed.
        let running = self.running();
        watch.look(self.clock.now(), running)
    }
}
