//! Asks whoever runs this gateway to read its configuration again, hears what became of it, and remembers
//! that for `/status`. Who does it is `app`: it knows where the configuration came from.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use crate::core::time::Timestamp;

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It counts from here on, but for these keys.
    TakenOver { after_restart: Vec<&'static str> },
    /// The one before stays; every mistake, as a line for people.
    Refused { mistakes: Vec<String> },
}

/// Why nobody read it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// It came from no file.
    NoFile,
    /// This process is ending, and another one may serve.
    Ending,
}

/// Somebody waits for a reload.
pub type Request = oneshot::Sender<Reloaded>;

/// What the reloads since the start left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadsSoFar {
    /// When the configuration that counts was taken over; `None`: it is that of the start.
    pub taken_over_at: Option<Timestamp>,
    /// The keys in which that one waits for a restart.
    pub after_restart: Vec<&'static str>,
    /// When one was refused, and its mistakes, since the latest that was taken over.
    pub refused: Option<(Timestamp, Vec<String>)>,
}

/// The way to ask for a reload, and what became of those that there were.
#[derive(Debug, Default)]
pub struct Reloads {
    listener: ArcSwapOption<mpsc::Sender<Request>>,
    so_far: Mutex<Arc<ReloadsSoFar>>,
}

impl Reloads {
    /// From here on whoever has the receiver is asked. Once they have dropped it, this process is ending.
    pub fn listen(&self) -> mpsc::Receiver<Request> {
        let (sender, receiver) = mpsc::channel(8);
        self.listener.store(Some(sender.into()));
        receiver
    }

    /// Asks, and waits for what becomes of it.
    ///
    /// # Errors
    /// When nobody reads it again.
    pub async fn ask(&self) -> Result<Reloaded, NotReloaded> {
        let sender = self.listener.load_full().ok_or(NotReloaded::NoFile)?;
        let (answer, told) = oneshot::channel();
        sender.send(answer).await.map_err(|_| NotReloaded::Ending)?;
        told.await.map_err(|_| NotReloaded::Ending)
    }

    /// Remembers what became of a reload. A refused one changes nothing of what counts.
    pub fn note(&self, outcome: &Reloaded, now: Timestamp) {
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        *so_far = Arc::new(match outcome.clone() {
            Reloaded::TakenOver { after_restart } => {
                ReloadsSoFar { taken_over_at: Some(now), after_restart, refused: None }
            }
            Reloaded::Refused { mistakes } => {
                ReloadsSoFar { refused: Some((now, mistakes)), ..(**so_far).clone() }
            }
        });
    }

    pub fn so_far(&self) -> Arc<ReloadsSoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_leaves_what_waits_for_a_restart_and_is_over_with_what_is_taken_over() {
        let reloads = Reloads::default();
        assert_eq!(*reloads.so_far(), ReloadsSoFar::default());
        let [first, second, third] = [1, 2, 3].map(Timestamp::from_secs);
        reloads.note(&Reloaded::TakenOver { after_restart: vec!["listen"] }, first);
        let mistakes = vec!["config.yaml:3: no".to_owned()];
        reloads.note(&Reloaded::Refused { mistakes: mistakes.clone() }, second);
        let waiting = ReloadsSoFar {
            taken_over_at: Some(first),
            after_restart: vec!["listen"],
            refused: Some((second, mistakes)),
        };
        assert_eq!(*reloads.so_far(), waiting);
        reloads.note(&Reloaded::TakenOver { after_restart: vec![] }, third);
        assert_eq!(*reloads.so_far(), ReloadsSoFar { taken_over_at: Some(third), ..Default::default() });
    }

    #[tokio::test]
    async fn that_nobody_ever_listened_is_told_from_that_nobody_listens_any_more() {
        let reloads = Reloads::default();
        assert_eq!(reloads.ask().await, Err(NotReloaded::NoFile));
        let mut listens = reloads.listen();
        let answers = async { listens.recv().await.unwrap().send(Reloaded::Refused { mistakes: vec![] }) };
        let (told, answered) = tokio::join!(reloads.ask(), answers);
        assert_eq!((told, answered), (Ok(Reloaded::Refused { mistakes: vec![] }), Ok(())));
        // Somebody waits while it begins to end, somebody else comes later.
        let ends = async { drop(listens) };
        assert_eq!(tokio::join!(biased; reloads.ask(), ends).0, Err(NotReloaded::Ending));
        assert_eq!(reloads.ask().await, Err(NotReloaded::Ending));
    }
}
