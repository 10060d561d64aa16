//! Asks whoever runs this gateway to read its configuration again, and hears what became of it. Who
//! does it is `app`: it knows where the configuration came from.

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

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

/// The way to ask for a reload.
#[derive(Debug, Default)]
pub struct Reloads(ArcSwapOption<mpsc::Sender<Request>>);

impl Reloads {
    /// From here on whoever has the receiver is asked. Once they have dropped it, this process is ending.
    pub fn listen(&self) -> mpsc::Receiver<Request> {
        let (sender, receiver) = mpsc::channel(8);
        self.0.store(Some(sender.into()));
        receiver
    }

    /// Asks, and waits for what becomes of it.
    ///
    /// # Errors
    /// When nobody reads it again.
    pub async fn ask(&self) -> Result<Reloaded, NotReloaded> {
        let sender = self.0.load_full().ok_or(NotReloaded::NoFile)?;
        let (answer, told) = oneshot::channel();
        sender.send(answer).await.map_err(|_| NotReloaded::Ending)?;
        told.await.map_err(|_| NotReloaded::Ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
