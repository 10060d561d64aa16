//! The one thread that writes the store file. What waits while it writes goes into the next commit together.
//!
//! After a write that failed nobody knows what the disk holds. The file is opened again until that works;
//! only then the keys in question say what the disk says, and until then nobody may change them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::file::{Record, STORE, StoreFile};
use super::{ENDED, Shared, Slot};
use crate::flows::ports::{StoreFault, Version};
use crate::io::store_file::{Backend, Place, StoreFileError};

/// How many puts one commit takes.
const PUTS_IN_ONE_COMMIT: usize = 1024;
/// How often a file that failed is opened again.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the writer is asked for, in order.
pub(super) enum Errand {
    Put(Put),
    Close(oneshot::Sender<Result<(), StoreFileError>>),
    Open(oneshot::Sender<Result<(), StoreFileError>>),
}

/// A value on its way to the disk. Its key is nobody else's until `done` is dropped.
pub(super) struct Put {
    pub(super) key: String,
    pub(super) record: Record,
    #[allow(dead_code, reason = "its end is what is waited for")]
    pub(super) done: watch::Sender<()>,
    pub(super) answer: oneshot::Sender<Result<Version, StoreFault>>,
    /// The caller's deadline.
    pub(super) until: Instant,
}

impl Put {
    /// Whether its caller was told that it failed. Who only left was told nothing.
    fn is_given_up(&self) -> bool {
        self.answer.is_closed() && self.until <= Instant::now()
    }
}

/// Whether there is a file to write to.
enum FileState {
    Open(StoreFile),
    /// It failed at this time; these puts are in doubt.
    Failed {
        tried: Instant,
        doubtful: Vec<Put>,
        /// It was not for want of room.
        anew: bool,
    },
    /// Another process may have it.
    GivenUp {
        /// It could not be written when it was given up.
        failed: bool,
        /// And that was not for want of room.
        anew: bool,
    },
}

pub(super) struct Writer {
    folder: PathBuf,
    backend: Backend,
    shared: Arc<Shared>,
    errands: Receiver<Errand>,
    at: FileState,
    sweep: Duration,
    swept: Instant,
}

impl Drop for Writer {
    /// A thread that ends by a panic must not leave a store that looks well.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.keeping.set_away(ENDED.to_owned());
        }
    }
}

impl Writer {
    /// Starts the thread, which runs until nobody can send errands any more. It opens the file first, unless
    /// that is closed.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn start(
        folder: &Path,
        shared: Arc<Shared>,
        errands: Receiver<Errand>,
        backend: Backend,
        sweep: Duration,
    ) -> Result<(), StoreFileError> {
        let folder = folder.to_owned();
        let place = Place::new(&folder, &STORE);
        let (tell, told) = sync_channel(1);
        let run = move || {
            let swept = Instant::now();
            let mut writer = Self {
                folder,
                backend,
                shared,
                errands,
                at: FileState::GivenUp { failed: false, anew: false },
                sweep,
                swept,
            };
            let opens = writer.shared.keeping.is_open();
            let opened = if opens { writer.take_back() } else { Ok(()) };
            let is_open = opened.is_ok();
            let _ = tell.send(opened);
            if is_open {
                writer.run();
            }
        };
        let started = std::thread::Builder::new().name("store".to_owned()).spawn(run);
        match started {
            // A thread that says nothing has panicked over the file.
            Ok(_) => told.recv().unwrap_or_else(|_| Err(place.damaged("it cannot be read"))),
            Err(error) => Err(place.other(format!("no thread can be had: {error}"))),
        }
    }

    fn run(mut self) {
        loop {
            let pause = if matches!(self.at, FileState::Failed { .. }) {
                OPEN_AGAIN_AFTER.min(self.sweep)
            } else {
                self.sweep
            };
            match self.errands.recv_timeout(pause) {
                Ok(Errand::Put(first)) => {
                    if let Some(next) = self.write_together(first) {
                        self.carry_out(next);
                    }
                }
                Ok(errand) => self.carry_out(errand),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.give_up() {
                        tracing::error!(%error, "the store file is not complete");
                    }
                    return;
                }
            }
            self.look_after();
        }
    }

    fn carry_out(&mut self, errand: Errand) {
        match errand {
            Errand::Put(put) => drop(self.write_together(put)),
            Errand::Close(answer) => drop(answer.send(self.give_up())),
            Errand::Open(answer) => drop(answer.send(self.open_or_say_why())),
        }
    }

    /// Writes this put and those that wait behind it. Returns the errand that ended the row.
    fn write_together(&mut self, first: Put) -> Option<Errand> {
        let (mut puts, mut next) = (vec![first], None);
        while puts.len() < PUTS_IN_ONE_COMMIT {
            match self.errands.try_recv() {
                Ok(Errand::Put(put)) => puts.push(put),
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.write(puts);
        next
    }

    fn write(&mut self, puts: Vec<Put>) {
        let FileState::Open(file) = &self.at else {
            for put in puts {
                self.forget(put);
            }
            return;
        };
        // However much later a disk that hung goes on: nobody counts on it any more.
        let (given_up, puts): (Vec<_>, Vec<_>) = puts.into_iter().partition(Put::is_given_up);
        given_up.iter().for_each(|put| self.settle(&put.key, None));
        let records: Vec<_> = puts.iter().map(|put| (put.key.as_str(), &put.record)).collect();
        match file.write(&records, &[]) {
            Ok(()) => {
                for put in puts {
                    let version = put.record.version;
                    self.settle(&put.key, Some(put.record));
                    let _ = put.answer.send(Ok(version));
                }
            }
            Err(error) => self.fail(error, puts),
        }
    }

    /// Nothing was written of it: its key is as it was.
    fn forget(&self, put: Put) {
        self.settle(&put.key, None);
        let why = self.shared.keeping.why_away().unwrap_or_else(|| "the store file is closed".to_owned());
        let _ = put.answer.send(Err(StoreFault::Unavailable(why)));
    }

    /// The key may be changed again; `written` is on the disk.
    fn settle(&self, key: &str, written: Option<Record>) {
        let Some(mut slot) = self.shared.slots.get_mut(key) else { return };
        slot.writing = None;
        if let Some(record) = written {
            slot.on_file = Some(record.version);
            slot.held = Some(record);
        }
    }

    fn fail(&mut self, error: StoreFileError, puts: Vec<Put>) {
        let why = error.to_string();
        self.note_away(&error);
        let mut doubtful = Vec::with_capacity(puts.len());
        for mut put in puts {
            let (unheard, _) = oneshot::channel();
            let answer = std::mem::replace(&mut put.answer, unheard);
            let _ = answer.send(Err(StoreFault::Unfinished(why.clone())));
            doubtful.push(put);
        }
        // What is left of the file is closed here.
        let anew = error.leaves_doubt();
        self.at = FileState::Failed { tried: Instant::now(), doubtful, anew };
    }

    fn note_away(&self, error: &StoreFileError) {
        let why = error.to_string();
        if self.shared.keeping.why_away().as_ref() != Some(&why) {
            tracing::error!(%error, "the store cannot write; what needs it is refused until it can");
        }
        self.shared.keeping.set_away(why);
    }

    /// What is due: to open a file that failed, to take out what has ended.
    fn look_after(&mut self) {
        if let FileState::Failed { tried, .. } = &mut self.at {
            if tried.elapsed() >= OPEN_AGAIN_AFTER {
                *tried = Instant::now();
                self.open_again();
            }
        } else if self.swept.elapsed() >= self.sweep {
            self.swept = Instant::now();
            self.take_out_ended();
        }
    }

    fn open_again(&mut self) {
        let FileState::Failed { doubtful, anew, .. } = &mut self.at else { return };
        let opened = StoreFile::open_again(&self.folder, &self.backend, *anew).and_then(|file| {
            file.prove()?;
            let read = |put: &Put| file.read(&put.key);
            let records = doubtful.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            Ok((file, records))
        });
        match opened {
            Ok((file, records)) => {
                for (put, record) in std::mem::take(doubtful).into_iter().zip(records) {
                    // The disk has either this value or the one before, which memory has.
                    let written = record.filter(|record| record.version == put.record.version);
                    self.settle(&put.key, written);
                }
                self.at = FileState::Open(file);
                self.shared.keeping.set_up();
                tracing::warn!("the store can write again");
            }
            Err(error) => {
                // There may have been no room first, and then worse.
                *anew |= error.leaves_doubt();
                self.note_away(&error);
            }
        }
    }

    fn take_out_ended(&mut self) {
        let now = self.shared.watched.sure();
        let has_ended = |slot: &Slot| slot.writing.is_none() && slot.lasting(now).is_none();
        let mut ended: Vec<String> = Vec::new();
        let mut on_file: Vec<String> = Vec::new();
        for slot in self.shared.slots.iter().filter(|slot| has_ended(slot)) {
            if slot.on_file.is_some() {
                on_file.push(slot.key().clone())
            } else {
                ended.push(slot.key().clone())
            }
        }
        if let FileState::Open(file) = &self.at {
            for removed in on_file.chunks(PUTS_IN_ONE_COMMIT) {
                if let Err(error) = file.write(&[], removed) {
                    return self.fail(error, Vec::new());
                }
                for key in removed {
                    if let Some(mut slot) = self.shared.slots.get_mut(key) {
                        slot.on_file = None;
                    }
                }
            }
            ended.extend(on_file);
        }
        for key in ended {
            self.shared.slots.remove_if(&key, |_, slot| has_ended(slot) && slot.on_file.is_none());
        }
    }

    /// Writes all that the file does not have yet, and closes it, whatever happens.
    fn give_up(&mut self) -> Result<(), StoreFileError> {
        self.shared.keeping.mark_closed();
        self.open_again();
        let file = match std::mem::replace(&mut self.at, FileState::GivenUp { failed: false, anew: false }) {
            FileState::Open(file) => file,
            given_up @ FileState::GivenUp { .. } => {
                self.at = given_up;
                return Ok(());
            }
            FileState::Failed { anew, .. } => {
                self.at = FileState::GivenUp { failed: true, anew };
                let why = self.shared.keeping.why_away().unwrap_or_default();
                return Err(Place::new(&self.folder, &STORE).other(why));
            }
        };
        let now = self.shared.watched.sure();
        let lacks =
            |slot: &Slot| slot.lasting(now).filter(|held| slot.on_file != Some(held.version)).cloned();
        let slots = self.shared.slots.iter();
        let lacking: Vec<_> = slots.filter_map(|slot| Some((slot.key().clone(), lacks(&slot)?))).collect();
        let records: Vec<_> = lacking.iter().map(|(key, record)| (key.as_str(), record)).collect();
        let written = file.write(&records, &[]);
        if written.is_ok() {
            for (key, record) in lacking {
                self.settle(&key, Some(record));
            }
        }
        let closed = file.close();
        let given_up = written.and(closed);
        let anew = given_up.as_ref().is_err_and(StoreFileError::leaves_doubt);
        self.at = FileState::GivenUp { failed: given_up.is_err(), anew };
        given_up
    }

    /// # Errors
    /// As [`Self::take_back`]; the store is away for that until the file is open.
    fn open_or_say_why(&mut self) -> Result<(), StoreFileError> {
        let opened = self.take_back();
        opened.inspect_err(|error| self.shared.keeping.set_away(error.to_string()))
    }

    /// Opens the file that was given up. What another process wrote meanwhile counts. One that failed before,
    /// and still cannot be written, is this process's again, and is tried over and over as before.
    fn take_back(&mut self) -> Result<(), StoreFileError> {
        let FileState::GivenUp { failed, anew } = self.at else { return Ok(()) };
        if anew {
            StoreFile::open_again(&self.folder, &self.backend, true)?.close()?;
        }
        let (file, held) = StoreFile::open(&self.folder, &self.backend)?;
        let on_file: HashSet<_> = held.iter().map(|(key, _)| key.as_str()).collect();
        for mut slot in self.shared.slots.iter_mut() {
            slot.writing = None;
            // A key is changed or ends; nobody takes it out before.
            if !on_file.contains(slot.key().as_str()) {
                slot.on_file = None;
            }
        }
        drop(on_file);
        for (key, record) in held {
            let mut slot = self.shared.slots.entry(key).or_default();
            // Otherwise memory has the same, or what could not be written when the file was given up.
            if slot.on_file != Some(record.version) {
                *slot = Slot { on_file: Some(record.version), held: Some(record), writing: None };
            }
        }
        // A full disk can be read.
        let proved = if failed { file.prove() } else { Ok(()) };
        self.at = FileState::Open(file);
        match proved {
            Err(error) => self.fail(error, Vec::new()),
            Ok(()) => self.shared.keeping.set_up(),
        }
        self.shared.keeping.mark_open();
        Ok(())
    }
}
