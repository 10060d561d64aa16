//! The process that took over answers the questions of the one that leaves, as if they came from a request of
//! its own, and tells it what is taken back.
//!
//! It must never answer a change before it has told all earlier ones: the other's tables would lack them when
//! it answers its client.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Semaphore, mpsc};

use super::questions::{Answer, Changed, Question};
use super::{AT_ONCE, Channel, Hears, Message, QUEUED, Says, line, unexpected};
use crate::core::revocation::Change;
use crate::flows::ports::{EntryAsSeen, HandedTo, Keep, ListQuery, StoreFault, Value, Version};

/// Answers until the other process is gone, is not understood, or `changes` end: then it must not go on by
/// what it knows. `own`: where this process's own requests find their store.
pub async fn answer(channel: Channel, changes: mpsc::Receiver<Change>, own: HandedTo) {
    let (mut hears, mut says) = channel.apart();
    let (answers, answered) = mpsc::channel(QUEUED);
    let ended = tokio::select! {
        ended = hear(&mut hears, answers, own) => ended,
        ended = say(&mut says, changes, answered) => ended,
    };
    if let Err(error) = ended
        && error.kind() == io::ErrorKind::InvalidData
    {
        tracing::error!(%error, "what the process before says is not understood; it gets no answers any more");
    }
    says.end().await;
}

/// What is asked; no more at once than there is room for.
async fn hear(hears: &mut Hears, answers: mpsc::Sender<Vec<u8>>, own: HandedTo) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(room) = room.clone().acquire_owned().await else { return Ok(()) };
        let Message::Ask { id, what } = hears.hear().await? else { return Err(unexpected()) };
        let (answers, own) = (answers.clone(), own.clone());
        // Once it was heard it is done, whoever leaves.
        tokio::spawn(async move {
            if let Ok(line) = answer_line(id, &own, what).await {
                let _ = answers.send(line).await;
            }
            drop(room);
        });
    }
}

async fn say(
    says: &mut Says,
    mut changes: mpsc::Receiver<Change>,
    mut answers: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    loop {
        tokio::select! {
            change = changes.recv() => {
                let Some(change) = change else { return Ok(()) };
                says.say(&changed(&change)?).await?;
            }
            Some(answer) = answers.recv() => {
                // What was made before is told before.
                loop {
                    match changes.try_recv() {
                        Ok(change) => says.say(&changed(&change)?).await?,
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => return Ok(()),
                    }
                }
                says.say(&answer).await?;
            }
        }
    }
}

fn changed(change: &Change) -> io::Result<Vec<u8>> {
    line(&Message::Changed(Changed::from(change)))
}

/// Answers in one line. Where a list is too long for that, it answers the first part that is not.
async fn answer_line(id: u64, own: &HandedTo, mut what: Question) -> io::Result<Vec<u8>> {
    loop {
        let shorter = what.shorter();
        let is = answer_to(own, what).await.unwrap_or_else(Answer::from);
        match (line(&Message::Answer { id, is }), shorter) {
            (Ok(line), _) => return Ok(line),
            (Err(_), Some(shorter)) => what = shorter,
            (Err(error), None) => {
                return line(&Message::Answer { id, is: StoreFault::Unfinished(error.to_string()).into() });
            }
        }
    }
}

async fn answer_to(own: &HandedTo, what: Question) -> Result<Answer, StoreFault> {
    let HandedTo { store, revocations } = own;
    Ok(match what {
        Question::Get { key } => store.get(&key.0).await?.into(),
        Question::PutIf { key, expected, bytes, lifetime, durably } => {
            let keep = if durably { Keep::Durably } else { Keep::WhileRunning };
            let value = Value { bytes: bytes.0, lifetime, keep };
            let put = store.put_if(&key.0, expected.map(Version), value).await?;
            Answer::Put { version: put.map(|version| version.0) }
        }
        Question::AppendIf { found, changes } => {
            let found: Vec<_> = found.into_iter().map(EntryAsSeen::from).collect();
            let changes: Vec<_> = changes.into_iter().map(Change::from).collect();
            Answer::Appended { made: revocations.append_if(&found, &changes).await? }
        }
        Question::Find { id } => Answer::Entry { revocation: revocations.find(id.0).await? },
        Question::List { kind, value, iss, or_called, after, limit } => {
            let part = ListQuery { kind, value, iss, or_called, after: after.map(|after| after.0), limit };
            revocations.list(&part).await?.into()
        }
    })
}
