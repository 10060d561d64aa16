//! The store and the list of the process that took over, for the one that leaves: what it still has to answer
//! it answers with these, so that they have one owner and no request is lost.
//!
//! It must never take a change for made that was not answered, nor answer one before it is in this process's
//! own tables. When the other process is gone, store and list are gone too, and the tables close.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::questions::{Answer, Id, Question};
use super::{AT_ONCE, Channel, Hears, Message, QUEUED, Says, line, unexpected};
use crate::core::revocation::{Change, Revocation, RevocationId};
use crate::core::time::Timestamp;
use crate::flows::ports::{
    Clock, EntryAsSeen, HandedTo, ListQuery, Listed, RevocationLog, Store, StoreFault, StoreHealth, StoreKey,
    Stored, Value, Version,
};
use crate::state::revocations::Revocations;

/// How long a call waits at most.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The ports [`Store`] and [`RevocationLog`] at the process that took over.
#[derive(Clone, Debug)]
pub struct Asking(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    patience: Duration,
    /// Questions on their way, as lines.
    to: mpsc::Sender<Vec<u8>>,
    /// For as many as the other process works on at once.
    room: Semaphore,
    asked: Mutex<Pending>,
}

/// Who waits for which answer.
#[derive(Debug, Default)]
struct Pending {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    gone_since: Option<Timestamp>,
}

/// What goes over the channel: to be run for as long as anybody asks.
#[derive(Debug)]
pub struct Conversation {
    shared: Arc<Shared>,
    questions: mpsc::Receiver<Vec<u8>>,
    hears: Hears,
    says: Says,
}

/// Begins to ask the process at the other end, which answers ([`super::answering`]).
pub fn ask(channel: Channel, clock: Arc<dyn Clock>) -> (Asking, Conversation) {
    ask_within(channel, clock, CALL_DEADLINE)
}

pub(super) fn ask_within(
    channel: Channel,
    clock: Arc<dyn Clock>,
    patience: Duration,
) -> (Asking, Conversation) {
    let (to, questions) = mpsc::channel(QUEUED);
    let (room, asked) = (Semaphore::new(AT_ONCE), Mutex::default());
    let shared = Arc::new(Shared { clock, patience, to, room, asked });
    let (hears, says) = channel.apart();
    (Asking(shared.clone()), Conversation { shared, questions, hears, says })
}

impl Conversation {
    /// Runs until the other process is gone, or is not understood. `tables`: those of a list that nobody else
    /// follows.
    pub async fn run(mut self, tables: Option<Arc<Revocations>>) {
        let Self { shared, questions, hears, says } = &mut self;
        let asks = async {
            while let Some(question) = questions.recv().await {
                says.say(&question).await?;
            }
            std::future::pending().await
        };
        let ended: std::io::Result<()> = tokio::select! {
            ended = asks => ended,
            ended = listen(shared, hears, tables.as_deref()) => ended,
        };
        if let Err(error) = ended {
            match &tables {
                Some(_) => tracing::warn!(
                    %error,
                    "the process that took over is gone; nothing that needs it is served here any more"
                ),
                // Of a list that this one follows by itself only parts are asked for.
                None => tracing::info!(%error, "the process that took over is not asked any more"),
            }
        }
        shared.mark_gone();
        if let Some(tables) = tables {
            tables.nobody_follows();
        }
        self.says.end().await;
    }
}

/// A change is in the tables before any answer behind it is given.
async fn listen(shared: &Shared, hears: &mut Hears, tables: Option<&Revocations>) -> std::io::Result<()> {
    loop {
        match hears.hear().await? {
            Message::Changed(changed) => {
                if let Some(tables) = tables {
                    tables.apply(&[changed.into()]);
                }
            }
            Message::Answer { id, is } => {
                let asked = shared.asked().waiting.remove(&id);
                if let Some(asked) = asked {
                    // Whoever asked may have given up.
                    let _ = asked.send(is);
                }
            }
            _ => return Err(unexpected()),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.shared.mark_gone();
    }
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Pending> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits from here on.
    fn mark_gone(&self) {
        let now = self.clock.now();
        let mut asked = self.asked();
        asked.gone_since.get_or_insert(now);
        asked.waiting.clear();
    }

    async fn ask(&self, what: Question) -> Result<Answer, StoreFault> {
        let _room = self.room.acquire().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let waiting = self.register(answer)?;
        let question = line(&Message::Ask { id: waiting.id, what });
        let question = question.map_err(|error| unavailable(error.to_string()))?;
        self.to.send(question).await.map_err(|_| gone())?;
        match answered.await.map_err(|_| lost())? {
            Answer::Failed { fault, why } => Err(fault.told(why)),
            answer => Ok(answer),
        }
    }

    fn register(&self, answer: oneshot::Sender<Answer>) -> Result<Waiting<'_>, StoreFault> {
        let mut asked = self.asked();
        if asked.gone_since.is_some() {
            return Err(gone());
        }
        let id = asked.next;
        asked.next += 1;
        asked.waiting.insert(id, answer);
        Ok(Waiting { shared: self, id })
    }
}

/// Somebody who waits for an answer, until they have it or leave.
struct Waiting<'s> {
    shared: &'s Shared,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.asked().waiting.remove(&self.id);
    }
}

fn unavailable(why: String) -> StoreFault {
    StoreFault::Unavailable(why)
}

fn gone() -> StoreFault {
    unavailable("the process that took over is gone".to_owned())
}

/// It was asked, and may have done it.
fn lost() -> StoreFault {
    StoreFault::Unfinished("the process that took over is gone before it answered".to_owned())
}

fn no_answer() -> StoreFault {
    StoreFault::Unfinished("the process that took over answered something else".to_owned())
}

impl Asking {
    /// As what has handed over knows it.
    pub fn handed_to(&self) -> HandedTo {
        HandedTo { store: Arc::new(self.clone()), revocations: Arc::new(self.clone()) }
    }

    async fn ask(&self, what: Question) -> Result<Answer, StoreFault> {
        timeout(self.0.patience, self.0.ask(what)).await.unwrap_or(Err(StoreFault::Deadline))
    }

    fn health(&self) -> StoreHealth {
        let since = self.0.asked().gone_since;
        since.map_or(StoreHealth::Up, |since| StoreHealth::Away {
            since,
            why: "the process that took over is gone".to_owned(),
            alone: false,
        })
    }
}

impl Store for Asking {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        async {
            let Answer::Found { value, now } = self.ask(Question::get(key)).await? else {
                return Err(no_answer());
            };
            Ok(Stored { value: value.map(|(version, bytes)| (Version(version), bytes.0)), now })
        }
        .boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Value,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        async move {
            match self.ask(Question::put_if(key, expected, value)).await? {
                Answer::Put { version } => Ok(version.map(Version)),
                _ => Err(no_answer()),
            }
        }
        .boxed()
    }

    fn health(&self) -> StoreHealth {
        Self::health(self)
    }
}

impl RevocationLog for Asking {
    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>> {
        async move {
            match self.ask(Question::append_if(found, changes)).await? {
                Answer::Appended { made } => Ok(made),
                _ => Err(no_answer()),
            }
        }
        .boxed()
    }

    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>> {
        async move {
            match self.ask(Question::Find { id: Id(id) }).await? {
                Answer::Entry { revocation } => Ok(revocation),
                _ => Err(no_answer()),
            }
        }
        .boxed()
    }

    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>> {
        async move {
            match self.ask(Question::list(part)).await? {
                Answer::Listed { revocations, next } => {
                    Ok(Listed { revocations, next: next.map(|next| next.0) })
                }
                _ => Err(no_answer()),
            }
        }
        .boxed()
    }

    /// [`Conversation::run`] does.
    fn follow(&self, _tables: Arc<Revocations>) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    fn health(&self) -> StoreHealth {
        Self::health(self)
    }
}
