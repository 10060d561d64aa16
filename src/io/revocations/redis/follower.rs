//! The task that keeps tables and file in step with the log in Redis. Tables come first; the file is written
//! behind, so that a disk that hangs holds up nobody.
//!
//! It must never say that the list is complete while anything of the log is unread, or cannot be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::hindrance::Hindrance;
use super::log_position::{Resync, way_on};
use super::scripts::{self, Read};
use super::unwritten::Unwritten;
use super::{Progress, Shared};
use crate::core::revocation::Change;
use crate::core::time::Timestamp;
use crate::flows::ports::{StoreFault, StoreHealth};
use crate::io::revocations::file::{Mark, Position};
use crate::state::revocations::{AsOf, Revocations};

/// How many changes may wait for the disk. More are read from Redis again when it goes on.
const MOST_WAITING: usize = 100_000;
/// How often the file says as of when it is complete.
const SAY_EVERY: Duration = Duration::from_secs(15);
/// How often it is looked whether the file is written.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the log may be behind a file that is opened.
const LONGEST_BEHIND_FILE: Duration = Duration::from_secs(1);
/// Pauses between attempts to open a file that cannot be used: what opens it checks all of it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    pub(super) tables: Arc<Revocations>,
    /// From where on the log is read; `None`: nothing is known.
    pub(super) cursor: Option<Position>,
    /// Up to where the tables have it: further than the cursor, while the file catches up.
    pub(super) applied: Option<Position>,
    pub(super) file: File,
    /// Until it is tried to open that again.
    pause: Duration,
    /// What the file lacks up to the cursor, while it is open.
    pub(super) waiting: Vec<Change>,
    /// What it may lack of what the tables have, whatever becomes of it.
    pub(super) unwritten: Unwritten,
    /// As of when all up to the cursor was all that there was.
    pub(super) synced_at: Option<Timestamp>,
    said_at: Option<Instant>,
    pub(super) hindrance: Hindrance,
}

/// What becomes of the replica's own file.
pub(super) enum File {
    /// It is to be opened at this time.
    Shut {
        again: Instant,
    },
    /// It is being opened. That may take long on a disk that hangs.
    Opening {
        opening: JoinHandle<Option<Mark>>,
    },
    /// It is open and further than the log is known here, which mostly is a matter of one more poll.
    Ahead {
        mark: Mark,
        until: Instant,
    },
    Open,
    /// It is being written up to this place.
    Writing {
        writing: JoinHandle<bool>,
        up_to: Option<Position>,
        since: Instant,
    },
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, tables: Arc<Revocations>) -> Self {
        Self {
            shared,
            tables,
            cursor: None,
            applied: None,
            file: File::Shut { again: Instant::now() },
            pause: FIRST_PAUSE,
            waiting: Vec::new(),
            unwritten: Unwritten::default(),
            synced_at: None,
            said_at: None,
            hindrance: Hindrance::default(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.look_after_file().await;
            let has_more = self.try_step().await;
            self.begin_to_write();
            if has_more {
                // A full page may come at once; others have their turn in between.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = sleep(self.shared.tuning.poll) => {}
                () = self.shared.wake.notified() => {}
                // A list that waits for the file is not to wait for the next poll.
                () = until_done(&self.file) => {}
            }
        }
    }

    /// Reads on in the log, unless what it met is waited for. Returns whether there is more.
    async fn try_step(&mut self) -> bool {
        if self.hindrance.rests(self.shared.link.times_reached()) {
            return false;
        }
        match self.step().await {
            Ok(has_more) => has_more,
            Err(fault) => {
                self.report_hindrance(&fault);
                false
            }
        }
    }

    fn report_hindrance(&mut self, fault: &StoreFault) {
        let Shared { link, tuning, clock, .. } = &*self.shared;
        let is_up = || link.health() == StoreHealth::Up;
        let (why, is_told) = match fault {
            StoreFault::Unreadable(why) => (why, false),
            // A call that is refused while others are answered. The link tells that.
            StoreFault::Unfinished(why) if is_up() => (why, true),
            // An outage, which the link tells, or another server: then it goes on as soon as it can.
            _ => return,
        };
        if self.hindrance.record(why, tuning.poll, link.times_reached()) && !is_told {
            tracing::error!(
                why,
                "the list of revocations in Redis is not followed; this process lets in nobody once what it knows is too old"
            );
        }
        self.shared.hindered().set_away(why.clone(), clock.now(), false);
    }

    fn report_followed(&mut self) {
        if self.hindrance.clear() {
            *self.shared.hindered() = StoreHealth::Up;
            tracing::warn!("the list of revocations in Redis is followed again");
        }
    }

    /// Reads on in the log. Returns whether there is more.
    async fn step(&mut self) -> Result<bool, StoreFault> {
        // Where there was no connection yet, the first is waited for.
        let reached = self.shared.link.times_reached().max(1);
        let Some(cursor) = self.cursor else {
            if matches!(self.file, File::Opening { .. }) {
                // What it has is looked at first.
                return Ok(false);
            }
            return self.resync(Resync::Keep, reached).await.map(|()| true);
        };
        let (began, now) = (Instant::now(), self.shared.clock.now());
        let read = self.shared.read_log(cursor.seq).await?;
        let last = read.last;
        match way_on(cursor, self.applied, &read) {
            Err(how) => return self.resync(how, reached).await.map(|()| true),
            Ok(proof) => self.take(cursor, read, proof)?,
        }
        let has_more = self.cursor.is_some_and(|cursor| cursor.seq < last);
        if !has_more {
            self.tables.mark_complete_as_of(AsOf { steady: began, wall: now }, self.shared.max_staleness);
            self.report_followed();
            self.synced_at = Some(now);
            if self.waiting.is_empty() && matches!(self.file, File::Open) {
                self.shared.local.mark_complete_at(now);
            }
        }
        Ok(has_more)
    }

    /// Takes in what was read, behind the first `proof` entries.
    fn take(&mut self, cursor: Position, read: Read, proof: usize) -> Result<(), StoreFault> {
        let (mut at, mut news, mut nonces, mut all) = (cursor, Vec::new(), Vec::new(), Vec::new());
        for entry in read.entries.into_iter().skip(proof) {
            let Some(change) = entry.change else { return Err(scripts::unreadable()) };
            at = Position { epoch: read.epoch, seq: entry.seq, nonce: entry.nonce };
            let is_old = |applied: Position| applied.epoch == at.epoch && at.seq <= applied.seq;
            if !self.applied.is_some_and(is_old) {
                news.push(change.clone());
                nonces.push(entry.nonce);
                self.unwritten.take([(at, change.clone())]);
            }
            all.push(change);
        }
        self.tables.apply(&news);
        self.tell_of_unwritten();
        self.shared.awaited.came(nonces);
        if matches!(self.file, File::Open | File::Writing { .. }) {
            self.waiting.extend(all);
        }
        self.advance_to(at);
        Ok(())
    }

    /// All up to here is in the tables, and in the file or on its way there.
    pub(super) fn advance_to(&mut self, at: Position) {
        self.cursor = Some(at);
        let further = self.applied.filter(|applied| applied.epoch == at.epoch && applied.seq > at.seq);
        self.applied = Some(further.unwrap_or(at));
    }

    fn tell_of_unwritten(&self) {
        let (taken, written) = (self.unwritten.taken(), self.unwritten.written());
        // What is heard while the list is read whole is told before it is here.
        self.tell(|progress| (progress.taken, progress.written) = (progress.taken.max(taken), written));
    }

    fn tell(&self, what: impl FnOnce(&mut Progress)) {
        self.shared.progress.send_if_modified(|progress| {
            let before = *progress;
            what(progress);
            *progress != before
        });
    }

    /// What is due for the file: to open it, to see that it was written, to let go of it.
    async fn look_after_file(&mut self) {
        if !self.shared.local.may_open() {
            // Whoever closes it waits for what is being written.
            self.shut(Duration::ZERO);
            return;
        }
        match &mut self.file {
            File::Shut { again } if *again <= Instant::now() => {
                let local = self.shared.local.clone();
                let opening = tokio::spawn(async move { local.open().await });
                self.file = File::Opening { opening };
            }
            File::Opening { opening } => match opening.now_or_never() {
                None => {}
                Some(opened) => self.on_opened(opened.ok().flatten()).await,
            },
            File::Writing { writing, up_to, since } => {
                let (up_to, is_late) = (*up_to, since.elapsed() > self.shared.tuning.disk);
                match writing.now_or_never() {
                    None if is_late => self.shared.local.tell_no_answer(),
                    None => {}
                    Some(Ok(true)) => {
                        self.file = File::Open;
                        self.shared.local.tell_well();
                        self.note_written(up_to);
                    }
                    Some(_) => self.shut(FIRST_PAUSE),
                }
            }
            File::Ahead { mark, until } => {
                let (mark, until) = (*mark, *until);
                self.go_on_with(mark, until).await;
            }
            File::Shut { .. } | File::Open => {}
        }
        if self.waiting.len() > MOST_WAITING {
            self.shut(FIRST_PAUSE);
        }
    }

    /// The file has all up to here.
    pub(super) fn note_written(&mut self, up_to: Option<Position>) {
        if let Some(up_to) = up_to {
            self.unwritten.drop_written(up_to);
        }
        self.tell_of_unwritten();
    }

    /// The file lacks what waits for it: it is read again from where the file is when that is open again.
    pub(super) fn shut(&mut self, pause: Duration) {
        self.waiting = Vec::new();
        self.file = File::Shut { again: Instant::now() + pause };
    }

    async fn on_opened(&mut self, opened: Option<Mark>) {
        match opened {
            Some(mark) => {
                self.pause = FIRST_PAUSE;
                self.go_on_with(mark, Instant::now() + LONGEST_BEHIND_FILE).await;
            }
            None => {
                self.shut(self.pause);
                self.pause = (2 * self.pause).min(LONGEST_PAUSE);
            }
        }
        self.tell(|progress| progress.openings += 1);
    }

    /// The file is open, and says this of itself. `until`: so long the log may take to be as far.
    async fn go_on_with(&mut self, mark: Mark, until: Instant) {
        (self.synced_at, self.said_at) = (None, None);
        if let Some(cursor) = self.cursor {
            let of_file = mark.position.filter(|position| position.epoch == cursor.epoch);
            if of_file.is_some_and(|position| position.seq > cursor.seq) && Instant::now() < until {
                self.file = File::Ahead { mark, until };
                return;
            }
            // The log is read again from where the file is: its entry there shows whether all that the file
            // has is in Redis, too. One that is further than the log, or where another entry is, was never
            // compared with what Redis has now.
            self.cursor = of_file.filter(|position| position.seq < cursor.seq || *position == cursor);
            self.file = File::Open;
            self.note_written(of_file.filter(|position| *position == cursor));
            return;
        }
        // What the file says comes over what they have.
        self.applied = None;
        let loading = Instant::now();
        if !self.shared.local.load(&self.tables).await {
            return self.shut(FIRST_PAUSE);
        }
        self.file = File::Open;
        if let Some(position) = mark.position {
            self.advance_to(position);
        }
        let (now, staleness) = (self.shared.clock.now(), self.shared.max_staleness);
        // One of the future says that the clock was set back by an unknown time.
        let age =
            mark.synced_at.filter(|at| *at <= now).map(|at| now.since(at).saturating_add(loading.elapsed()));
        let as_of = |age| Some(AsOf { steady: Instant::now().checked_sub(age)?, wall: now.minus(age) });
        if let Some(as_of) = age.filter(|age| *age < staleness).and_then(as_of) {
            self.tables.mark_complete_as_of(as_of, staleness);
        }
    }

    /// Writes what waits, and now and then as of when the file is complete.
    fn begin_to_write(&mut self) {
        let is_due = self.synced_at.is_some() && self.said_at.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if !matches!(self.file, File::Open) || (self.waiting.is_empty() && !is_due) {
            return;
        }
        let mark = Mark { position: self.cursor, synced_at: self.synced_at };
        if mark.synced_at.is_some() {
            self.said_at = Some(Instant::now());
        }
        let writing = self.shared.local.write(std::mem::take(&mut self.waiting), mark);
        self.file = File::Writing { writing, up_to: self.cursor, since: Instant::now() };
    }
}

/// Comes when what goes on with the file is done; never where nothing goes on.
async fn until_done(file: &File) {
    let is_finished = || match file {
        File::Writing { writing, .. } => writing.is_finished(),
        File::Opening { opening } => opening.is_finished(),
        File::Shut { .. } | File::Ahead { .. } | File::Open => false,
    };
    if matches!(file, File::Shut { .. } | File::Ahead { .. } | File::Open) {
        std::future::pending::<()>().await;
    }
    while !is_finished() {
        sleep(LOOK_EVERY).await;
    }
}
