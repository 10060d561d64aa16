//! What callers and the one writer of a file share: whose the file is now, and how it fares. The order of a
//! hand-over is held here: nothing is asked of a file that is closed, and whoever comes meanwhile waits.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::{Phase, ReachedAt, StoreFileError};
use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, HandedTo, StoreFault, StoreHealth};

/// A file that is closed for so long is told to be away: what needs it waits.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// A file's phase and health.
pub(in crate::io) struct Keeping {
    clock: Arc<dyn Clock>,
    phase: watch::Sender<Phase>,
    health: Mutex<StoreHealth>,
    /// When it was closed last, by either clock; `None`: it was never open.
    closed_at: Mutex<Option<(Instant, Timestamp)>>,
}

impl Keeping {
    pub(in crate::io) fn new(clock: Arc<dyn Clock>, phase: Phase) -> Self {
        let phase = watch::Sender::new(phase);
        Self { clock, phase, health: Mutex::default(), closed_at: Mutex::default() }
    }

    pub(in crate::io) fn is_open(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Open)
    }

    /// Notes that the writer has it open.
    pub(in crate::io) fn mark_open(&self) {
        self.phase.send_replace(Phase::Open);
    }

    /// Another process has it open.
    pub(in crate::io) fn mark_handed_over(&self, to: Option<&HandedTo>) {
        self.phase.send_replace(Phase::HandedOver(to.cloned()));
    }

    /// The process that has the file for good, where it can be asked.
    pub(in crate::io) fn handed_to(&self) -> Option<HandedTo> {
        match &*self.phase.borrow() {
            Phase::HandedOver(to) => to.clone(),
            Phase::Open | Phase::Closed => None,
        }
    }

    /// Does `what` while the file is open, waiting as long as it may come back; or gives who has it for good.
    /// What is sent to the writer meanwhile comes before the errand to close the file.
    pub(in crate::io) async fn when_open<T>(
        &self,
        mut what: impl FnMut() -> Result<T, StoreFault>,
    ) -> Result<ReachedAt<T>, StoreFault> {
        loop {
            match &*self.phase.borrow() {
                Phase::Open => return what().map(ReachedAt::Here),
                Phase::HandedOver(Some(to)) => return Ok(ReachedAt::There(to.clone())),
                Phase::HandedOver(None) => {
                    return Err(StoreFault::Unavailable("another process has taken over".to_owned()));
                }
                Phase::Closed => {}
            }
            let mut phases = self.phase.subscribe();
            // The sender is ours, so this ends.
            drop(phases.wait_for(|phase| !matches!(phase, Phase::Closed)).await);
        }
    }

    /// Lets its writer close the file. Nothing is sent to that behind this errand before the file is open
    /// again.
    ///
    /// # Errors
    /// What was not written, as text for people.
    pub(in crate::io) async fn close<E>(&self, writer: &Errands<E>, errand: Errand<E>) -> Result<(), String> {
        self.mark_closed();
        writer.ask(errand).await
    }

    /// Notes that it is closed. Its writer does, too: an errand to open may have stood before the one to
    /// close.
    pub(in crate::io) fn mark_closed(&self) {
        self.phase.send_if_modified(|phase| {
            let was_open = matches!(phase, Phase::Open);
            if was_open {
                *phase = Phase::Closed;
                let now = Some((self.clock.steady(), self.clock.now()));
                *self.closed_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
            was_open
        });
    }

    /// As it fared last, and while it is closed for long away.
    pub(in crate::io) fn health(&self) -> StoreHealth {
        match (self.fared(), self.closed_for_long_since()) {
            (StoreHealth::Up, Some(since)) => {
                StoreHealth::Away { since, why: "another process is taking over".to_owned(), alone: false }
            }
            (fared, _) => fared,
        }
    }

    fn closed_for_long_since(&self) -> Option<Timestamp> {
        let is_closed = matches!(*self.phase.borrow(), Phase::Closed);
        let closed_at = *self.closed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, since) = closed_at.filter(|_| is_closed)?;
        (self.clock.steady().saturating_duration_since(began) >= TOLD_AFTER).then_some(since)
    }

    fn fared(&self) -> StoreHealth {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the file itself does not do what it is asked.
    pub(in crate::io) fn why_away(&self) -> Option<String> {
        self.fared().why_away()
    }

    pub(in crate::io) fn set_away(&self, why: String) {
        let now = self.clock.now();
        self.health.lock().unwrap_or_else(PoisonError::into_inner).set_away(why, now, false);
    }

    pub(in crate::io) fn set_up(&self) {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).set_up();
    }
}

/// An errand that is answered when it is done.
pub(in crate::io) type Errand<E> = fn(oneshot::Sender<Result<(), StoreFileError>>) -> E;

/// The way to the one thread that writes a file.
pub(in crate::io) struct Errands<E> {
    to: mpsc::Sender<E>,
    /// What is said when that thread has ended.
    pub(in crate::io) ended: &'static str,
}

impl<E> Errands<E> {
    pub(in crate::io) fn new(to: mpsc::Sender<E>, ended: &'static str) -> Self {
        Self { to, ended }
    }

    /// # Errors
    /// The thread has ended.
    pub(in crate::io) fn send(&self, errand: E) -> Result<(), &'static str> {
        self.to.send(errand).map_err(|_| self.ended)
    }

    /// Waits until it is done.
    ///
    /// # Errors
    /// Why it was not, as text for people.
    pub(in crate::io) async fn ask(&self, errand: Errand<E>) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        self.send(errand(answer))?;
        let answered = answered.await.map_err(|_| self.ended)?;
        answered.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both stand where the test puts them.
    #[derive(Debug)]
    struct Clocks(Instant, Mutex<Duration>);

    impl Clock for Clocks {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1_700_000_000).plus(*self.1.lock().unwrap())
        }

        fn steady(&self) -> Instant {
            self.0 + *self.1.lock().unwrap()
        }
    }

    #[test]
    fn a_file_that_is_closed_for_long_is_away_until_somebody_has_it() {
        let clocks = Arc::new(Clocks(Instant::now(), Mutex::default()));
        let set = |seconds| *clocks.1.lock().unwrap() = Duration::from_secs(seconds);
        let keeping = Keeping::new(clocks.clone(), Phase::Open);
        let since = |seconds: i64| Timestamp::from_secs(1_700_000_000 + seconds);
        set(10);
        keeping.mark_closed();
        set(14);
        keeping.mark_closed();
        assert_eq!(keeping.health(), StoreHealth::Up, "a hand-over is nothing to tell of");
        set(15);
        let StoreHealth::Away { since: at, why, alone: false } = keeping.health() else { panic!("it is up") };
        assert_eq!((at, why.as_str()), (since(10), "another process is taking over"));
        assert_eq!(keeping.why_away(), None, "nothing is wrong with the file");
        keeping.mark_open();
        assert_eq!(keeping.health(), StoreHealth::Up);
        // What was wrong before is told as before.
        keeping.set_away("it is full".to_owned());
        keeping.mark_closed();
        set(30);
        assert_eq!(keeping.health().why_away().as_deref(), Some("it is full"));
        keeping.set_up();
        assert!(keeping.health().why_away().is_some());
        keeping.mark_handed_over(None);
        assert_eq!(keeping.health(), StoreHealth::Up);
        // Who waits for a file to begin with must not be taken for one that is in trouble.
        let new = Keeping::new(clocks.clone(), Phase::Closed);
        set(100);
        assert_eq!(new.health(), StoreHealth::Up);
    }
}
