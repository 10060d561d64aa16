//! The one thread that writes the list, and keeps the tables that requests ask in step with it. What waits
//! while it writes goes into the next commit together.
//!
//! After a write that failed nobody knows what the disk holds. The file is opened again until that works;
//! only then the tables get what it says of the changes in question, and until then nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{ENDED, Shared, Tuning};
use crate::core::revocation::Change;
use crate::flows::ports::{EntryAsSeen, StoreFault};
use crate::io::revocations::file::ListFile;
use crate::io::revocations::loading::Loading;
use crate::io::store_file::StoreFileError;
use crate::state::revocations::Revocations;

/// How many changes one commit takes, unless a single caller brings more.
const CHANGES_IN_ONE_COMMIT: usize = 4096;
/// How often a file that failed is opened again.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the writer is asked for, in order.
pub(super) enum Errand {
    Append(Append),
    /// All that stood before it is done.
    Pass(oneshot::Sender<()>),
    /// The sender goes when the whole list is in the tables.
    Follow(Arc<Revocations>, Sender<()>),
    Close(oneshot::Sender<Result<(), StoreFileError>>),
    Open(oneshot::Sender<Result<(), StoreFileError>>),
}

/// Changes that belong together.
pub(super) struct Append {
    /// They are made only if this is what the list has.
    pub(super) found: Vec<EntryAsSeen>,
    pub(super) changes: Vec<Change>,
    /// Whether they were made.
    pub(super) answer: oneshot::Sender<Result<bool, StoreFault>>,
    /// The caller's deadline.
    pub(super) until: Instant,
}

impl Append {
    /// Whether its caller was told that it failed. Who only left was told nothing.
    fn is_given_up(&self) -> bool {
        self.answer.is_closed() && self.until <= Instant::now()
    }
}

/// What becomes of the file, which is on the shelf while it is open.
enum FileState {
    Open,
    /// It failed at this time; these changes are in doubt.
    Failed {
        tried: Instant,
        doubtful: Vec<Change>,
        /// It was not for want of room.
        anew: bool,
    },
    /// Another process may have it.
    GivenUp {
        /// There were so many when it was given up; `None`: it was never open.
        commits: Option<u64>,
        /// It could not be written then.
        failed: bool,
        /// And that was not for want of room.
        anew: bool,
    },
}

/// How far the tables have the list.
enum Loaded {
    InPart(Loading, #[allow(dead_code, reason = "its end is what is waited for")] Option<Sender<()>>),
    Whole,
}

pub(super) struct Writer {
    folder: PathBuf,
    shared: Arc<Shared>,
    errands: Receiver<Errand>,
    tuning: Tuning,
    at: FileState,
    followed: Option<(Arc<Revocations>, Loaded)>,
    next_sweep: Instant,
}

impl Drop for Writer {
    /// A thread that ends by a panic must not leave a list that looks well.
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{ENDED}");
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
        tuning: Tuning,
    ) -> Result<(), StoreFileError> {
        let (folder, place) = (folder.to_owned(), ListFile::place(folder));
        let (tell, told) = sync_channel(1);
        let run = move || {
            let at = FileState::GivenUp { commits: None, failed: false, anew: false };
            let next_sweep = Instant::now() + tuning.sweep;
            let mut writer = Self { folder, shared, errands, tuning, at, followed: None, next_sweep };
            let opens = writer.shared.keeping.is_open();
            let opened = if opens { writer.take_back() } else { Ok(()) };
            let is_open = opened.is_ok();
            let _ = tell.send(opened);
            if is_open {
                writer.run();
            }
        };
        match std::thread::Builder::new().name("revocations".to_owned()).spawn(run) {
            // A thread that says nothing has panicked over the file.
            Ok(_) => told.recv().unwrap_or_else(|_| Err(place.damaged("it cannot be read"))),
            Err(error) => Err(place.other(format!("no thread can be had: {error}"))),
        }
    }

    fn run(mut self) {
        loop {
            match self.errands.recv_timeout(self.pause()) {
                Ok(Errand::Append(first)) => {
                    if let Some(next) = self.write_together(first) {
                        self.carry_out(next);
                    }
                }
                Ok(errand) => self.carry_out(errand),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.give_up() {
                        tracing::error!(%error, "the list of revocations was not closed in good order");
                    }
                    return;
                }
            }
            self.look_after();
        }
    }

    /// How long it has nothing to do unless it is asked.
    fn pause(&self) -> Duration {
        let is_loading = matches!(self.followed, Some((_, Loaded::InPart(..))));
        match self.at {
            FileState::Open if is_loading => Duration::ZERO,
            FileState::Failed { .. } => OPEN_AGAIN_AFTER,
            FileState::GivenUp { .. } => self.tuning.sweep,
            FileState::Open => {
                self.next_sweep.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
            }
        }
    }

    fn carry_out(&mut self, errand: Errand) {
        match errand {
            Errand::Append(append) => drop(self.write_together(append)),
            Errand::Pass(passes) => drop(passes.send(())),
            Errand::Follow(tables, whole) => {
                self.followed = Some((tables, Loaded::InPart(Loading::begin(), Some(whole))));
            }
            Errand::Close(answer) => drop(answer.send(self.give_up())),
            Errand::Open(answer) => {
                let opened = self.take_back();
                let opened = opened.inspect_err(|error| self.shared.keeping.set_away(error.to_string()));
                drop(answer.send(opened));
            }
        }
    }

    /// Writes these changes and those that wait behind them. Returns the errand that ended the row. What
    /// depends on the list is written alone: what comes before it in the row is not there yet. What was given
    /// up is not made when a disk that hung goes on, however much later: nobody counts on it any more.
    fn write_together(&mut self, first: Append) -> Option<Errand> {
        if first.is_given_up() {
            return None;
        }
        if !first.found.is_empty() {
            let written = self.write_if(&first.found, first.changes);
            let _ = first.answer.send(written);
            return None;
        }
        let (mut changes, mut answers, mut next) = (first.changes, vec![first.answer], None);
        while changes.len() < CHANGES_IN_ONE_COMMIT {
            match self.errands.try_recv() {
                Ok(Errand::Append(append)) if append.is_given_up() => {}
                Ok(Errand::Append(append)) if append.found.is_empty() => {
                    changes.extend(append.changes);
                    answers.push(append.answer);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let written = self.write(changes).map(|()| true);
        for answer in answers {
            let _ = answer.send(written.clone());
        }
        next
    }

    fn write_if(&mut self, found: &[EntryAsSeen], changes: Vec<Change>) -> Result<bool, StoreFault> {
        for EntryAsSeen { id, entry } in found {
            let there = match self.shared.shelf.with(|file| file.find(*id)) {
                Some(Ok(there)) => there,
                Some(Err(_)) | None => return Err(self.shared.fault()),
            };
            if there != *entry {
                return Ok(false);
            }
        }
        self.write(changes).map(|()| true)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), StoreFault> {
        if !matches!(self.at, FileState::Open) {
            return Err(self.shared.fault());
        }
        match self.shared.shelf.with(|file| file.write(&changes)) {
            Some(Ok(())) => {
                self.apply(&changes);
                Ok(())
            }
            Some(Err(error)) => {
                self.fail(&error, changes);
                Err(StoreFault::Unfinished(error.to_string()))
            }
            None => Err(self.shared.fault()),
        }
    }

    fn apply(&self, changes: &[Change]) {
        if let Some((tables, _)) = &self.followed {
            tables.apply(changes);
        }
    }

    fn fail(&mut self, error: &StoreFileError, doubtful: Vec<Change>) {
        self.note_away(error);
        // What is left of the file is closed here.
        drop(self.shared.shelf.replace(None));
        let anew = error.leaves_doubt();
        self.at = FileState::Failed { tried: Instant::now(), doubtful, anew };
    }

    fn note_away(&self, error: &StoreFileError) {
        let why = error.to_string();
        if self.shared.keeping.why_away().as_ref() != Some(&why) {
            tracing::error!(%error, "nothing can be revoked until the list can be written; what is revoked stays so");
        }
        self.shared.keeping.set_away(why);
    }

    /// What is due: to open a file that failed, to load a piece, to take out what has ended.
    fn look_after(&mut self) {
        match &mut self.at {
            FileState::Failed { tried, .. } if tried.elapsed() >= OPEN_AGAIN_AFTER => {
                *tried = Instant::now();
                self.open_again();
            }
            FileState::Open => {
                let loaded = self.load_piece().map(drop);
                let swept = loaded.and_then(|()| self.take_out_ended());
                if let Err(error) = swept {
                    self.fail(&error, Vec::new());
                }
            }
            FileState::Failed { .. } | FileState::GivenUp { .. } => {}
        }
    }

    fn open_again(&mut self) {
        let FileState::Failed { doubtful, anew, .. } = &mut self.at else { return };
        let opened = ListFile::open_again(&self.folder, &self.tuning.backend, *anew).and_then(|file| {
            let read = |change: &Change| {
                let there = file.find(change.id())?;
                Ok(there.map_or_else(|| Change::Lift(change.revocation().clone()), Change::Add))
            };
            let there = doubtful.iter().map(read).collect::<Result<Vec<_>, StoreFileError>>()?;
            Ok((file, there))
        });
        match opened {
            Ok((file, there)) => {
                self.apply(&there);
                drop(self.shared.shelf.replace(Some(file)));
                self.at = FileState::Open;
                self.shared.keeping.set_up();
                tracing::warn!("the list of revocations can be written again");
            }
            Err(error) => {
                // There may have been no room first, and then worse.
                *anew |= error.leaves_doubt();
                self.note_away(&error);
            }
        }
    }

    /// Loads a piece of the list, where not all of it is in the tables yet. Returns whether there is more.
    fn load_piece(&mut self) -> Result<bool, StoreFileError> {
        let Some((tables, loaded)) = &mut self.followed else { return Ok(false) };
        let Loaded::InPart(loading, _) = loaded else { return Ok(false) };
        let limit = self.tuning.piece;
        let Some(has_more) = self.shared.shelf.with(|file| loading.go_on(file, tables, limit)) else {
            return Ok(false);
        };
        let has_more = has_more?;
        if !has_more {
            tables.mark_complete();
            *loaded = Loaded::Whole;
        }
        Ok(has_more)
    }

    fn take_out_ended(&mut self) -> Result<(), StoreFileError> {
        if Instant::now() < self.next_sweep {
            return Ok(());
        }
        let limit = self.tuning.piece;
        let take_out = |now| self.shared.shelf.with(|file| file.take_out_ended(now, limit));
        let taken = self.shared.clock.sure().and_then(take_out).unwrap_or(Ok(0))?;
        // Where much has ended the next pass comes soon, but others come between.
        let pause = if taken < limit { self.tuning.sweep } else { self.tuning.sweep / 60 };
        self.next_sweep = Instant::now() + pause;
        Ok(())
    }

    /// Closes the file, whatever happens.
    fn give_up(&mut self) -> Result<(), StoreFileError> {
        self.shared.keeping.mark_closed();
        self.open_again();
        match self.at {
            FileState::GivenUp { .. } => Ok(()),
            FileState::Open => {
                let file = self.shared.shelf.replace(None);
                let commits = file.as_ref().map_or(Ok(0), ListFile::commits);
                let before = Some(*commits.as_ref().unwrap_or(&0));
                let given_up = commits.and(file.map_or(Ok(()), ListFile::close));
                let anew = given_up.as_ref().is_err_and(StoreFileError::leaves_doubt);
                self.at = FileState::GivenUp { commits: before, failed: given_up.is_err(), anew };
                given_up
            }
            FileState::Failed { anew, .. } => {
                self.at = FileState::GivenUp { commits: Some(0), failed: true, anew };
                let why = self.shared.keeping.why_away().unwrap_or_default();
                Err(ListFile::place(&self.folder).other(why))
            }
        }
    }

    /// Opens the file that was given up. What another process wrote meanwhile counts: whoever follows has all
    /// of it when this returns. One that failed before, and still cannot be written, is this process's again,
    /// and is tried over and over as before.
    fn take_back(&mut self) -> Result<(), StoreFileError> {
        let FileState::GivenUp { commits: before, failed, anew } = self.at else { return Ok(()) };
        if anew {
            ListFile::open_again(&self.folder, &self.tuning.backend, true)?.close()?;
        }
        let file = ListFile::open(&self.folder, &self.tuning.backend)?;
        let has_changed = before != Some(file.commits()?);
        if has_changed && self.followed.is_some() {
            match before.map(|before| file.lifted_since(before)).transpose()? {
                Some(Some(lifted)) => self.apply(&lifted),
                Some(None) => tracing::warn!(
                    "what was lifted while another process had the list of revocations is refused here until the next \
                     start"
                ),
                None => {}
            }
            if let Some((_, loaded)) = &mut self.followed {
                *loaded = Loaded::InPart(Loading::begin(), None);
            }
        }
        drop(self.shared.shelf.replace(Some(file)));
        self.at = FileState::Open;
        loop {
            match self.load_piece() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    drop(self.shared.shelf.replace(None));
                    self.at = FileState::GivenUp { commits: before, failed, anew };
                    return Err(error);
                }
            }
        }
        // A full disk can be read.
        let proved = if failed { self.shared.shelf.with(|file| file.write(&[])) } else { None };
        match proved {
            Some(Err(error)) => self.fail(&error, Vec::new()),
            Some(Ok(())) | None => self.shared.keeping.set_up(),
        }
        self.shared.keeping.mark_open();
        Ok(())
    }
}
