//! What callers and the one writer of a file share: whose the file is now, and how it fares. The order of a
//! hand-over is held here: nothing is asked of a file that is closed, and whoever comes meanwhile waits.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

use super::{Phase, ReachedAt, StoreFileError};
use crate::flows::ports::{Clock, HandedTo, StoreFault, StoreHealth};

/// A file's phase and health.
pub(in crate::io) struct Keeping {
    clock: Arc<dyn Clock>,
    phase: watch::Sender<Phase>,
    health: Mutex<StoreHealth>,
}

impl Keeping {
    pub(in crate::io) fn new(clock: Arc<dyn Clock>, phase: Phase) -> Self {
        Self { clock, phase: watch::Sender::new(phase), health: Mutex::default() }
    }

    pub(in crate::io) fn is_open(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Open)
    }

    /// By its writer, which has it open.
    pub(in crate::io) fn opened(&self) {
        self.phase.send_replace(Phase::Open);
    }

    /// Another process has it open.
    pub(in crate::io) fn handed_over(&self, to: Option<&HandedTo>) {
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
        self.closes();
        writer.ask(errand).await
    }

    /// By its writer, too: an errand to open may have stood before the one to close.
    pub(in crate::io) fn closes(&self) {
        self.phase.send_if_modified(|phase| {
            let was_open = matches!(phase, Phase::Open);
            if was_open {
                *phase = Phase::Closed;
            }
            was_open
        });
    }

    pub(in crate::io) fn health(&self) -> StoreHealth {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::io) fn why_away(&self) -> Option<String> {
        self.health().why_away()
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
