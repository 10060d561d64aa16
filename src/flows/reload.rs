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

/// Somebody waits for a reload.
pub type Request = oneshot::Sender<Reloaded>;

/// The way to ask for a reload.
#[derive(Debug, Default)]
pub struct Reloads(ArcSwapOption<mpsc::Sender<Request>>);

impl Reloads {
    /// From here on whoever has the receiver is asked.
    pub fn listen(&self) -> mpsc::Receiver<Request> {
        let (sender, receiver) = mpsc::channel(8);
        self.0.store(Some(sender.into()));
        receiver
    }

    /// Asks, and waits for what becomes of it. `None` when nobody listens: the configuration came from no
    /// file.
    pub async fn ask(&self) -> Option<Reloaded> {
        let sender = self.0.load_full()?;
        let (answer, told) = oneshot::channel();
        sender.send(answer).await.ok()?;
        told.await.ok()
    }
}
