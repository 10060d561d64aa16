//! Log lines on their way to a reader that may be slow, or gone: those of the access log, and our own
//! messages. Callers leave a line here and go on; one thread (`io::line_writer`) writes what has gathered.
//! When the buffer is full, lines are dropped and counted.
//!
//! Leaving a line must never block: a full pipe would stop every worker, and with them health checks and
//! signals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The size of the buffer, in bytes.
pub const WAITING: usize = 4 * 1024 * 1024;
/// The part of the buffer, in bytes, that [`Lines::write_ordinary`] leaves free, so that lines which
/// strangers can cause do not displace those that an operator must not miss.
const RESERVE: usize = WAITING / 4;
/// How long lines gather before they are written: a writer woken for each line would cost more.
const GATHER: Duration = Duration::from_millis(10);
/// The number of bytes with which the writer no longer waits for more.
const ENOUGH: usize = 16 * 1024;
/// The shortest time between two messages about dropped lines.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The buffer between those who log and the thread that writes.
#[derive(Debug, Default)]
pub struct Lines {
    waiting: Mutex<Waiting>,
    /// Signalled when a first line is left, when there are [`ENOUGH`] bytes, and when the writer is to end.
    has_work: Condvar,
    /// Signalled when the writer has written what it took.
    is_written: Condvar,
    /// Lines dropped since [`Lines::newly_lost`] was last asked.
    uncounted: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Lines dropped that the log itself does not mention yet.
    lost: u64,
    /// Lines that the writer has taken and not yet written.
    in_hand: u64,
    is_busy: bool,
    stops: bool,
    has_ended: bool,
    told_at: Option<Instant>,
}

/// What the writer is to do beside writing the bytes it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How many lines were dropped since the log last said so.
    pub lost: u64,
    /// Nothing comes after this.
    pub is_last: bool,
}

impl Lines {
    /// Leaves `text`: one line, or several that belong together. Returns true if it was dropped and that is
    /// worth a message: none was given for [`TELL_AGAIN_AFTER`].
    #[must_use]
    pub fn write(&self, text: &[u8]) -> bool {
        self.write_into(WAITING, text)
    }

    /// Like [`Self::write`], but drops the text earlier, while [`RESERVE`] is still free.
    #[must_use]
    pub fn write_ordinary(&self, text: &[u8]) -> bool {
        self.write_into(WAITING - RESERVE, text)
    }

    fn write_into(&self, room: usize, text: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.stops {
            // No message: whoever called `stop` knows.
            self.lose(&mut waiting, count(text));
            return false;
        }
        if waiting.bytes.len().saturating_add(text.len()) > room {
            return self.lose(&mut waiting, count(text));
        }
        let before = waiting.bytes.len();
        waiting.bytes.extend_from_slice(text);
        let is_enough = before < ENOUGH && waiting.bytes.len() >= ENOUGH;
        drop(waiting);
        if before == 0 || is_enough {
            self.has_work.notify_one();
        }
        false
    }

    /// Counts lines that could not be written. Returns true if that is worth a message, as [`Self::write`]
    /// does.
    #[must_use]
    pub fn lost(&self, lines: u64) -> bool {
        self.lose(&mut self.lock(), lines)
    }

    /// Notes that the log could not yet mention this many dropped lines.
    pub fn say_later(&self, lines: u64) {
        let mut waiting = self.lock();
        waiting.lost = waiting.lost.saturating_add(lines);
    }

    /// Counts dropped lines. Returns true if that is worth a message.
    fn lose(&self, waiting: &mut Waiting, lines: u64) -> bool {
        waiting.lost = waiting.lost.saturating_add(lines);
        self.uncounted.fetch_add(lines, Ordering::Relaxed);
        let is_news = waiting.told_at.is_none_or(|told_at| told_at.elapsed() >= TELL_AGAIN_AFTER);
        if is_news {
            waiting.told_at = Some(Instant::now());
        }
        is_news
    }

    /// How many lines were dropped since the last call.
    pub fn newly_lost(&self) -> u64 {
        self.uncounted.swap(0, Ordering::Relaxed)
    }

    /// Waits for lines, then moves what has gathered into `bytes`. Called by the writer.
    pub fn take(&self, bytes: &mut Vec<u8>) -> Taken {
        bytes.clear();
        // Gives back what a burst took.
        bytes.shrink_to(2 * ENOUGH);
        let mut waiting = self.lock();
        while waiting.bytes.is_empty() && !waiting.stops {
            waiting = self.has_work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let gathers = |waiting: &mut Waiting| !waiting.stops && waiting.bytes.len() < ENOUGH;
        let waited = self.has_work.wait_timeout_while(waiting, GATHER, gathers);
        waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut waiting.bytes, bytes);
        waiting.in_hand = count(bytes);
        waiting.is_busy = true;
        Taken { lost: std::mem::take(&mut waiting.lost), is_last: waiting.stops }
    }

    /// Counts this many of the taken lines as written. Called by the writer.
    pub fn written(&self, lines: u64) {
        let mut waiting = self.lock();
        waiting.in_hand = waiting.in_hand.saturating_sub(lines);
    }

    /// Counts all that was taken as written. Called by the writer.
    pub fn all_written(&self, taken: Taken) {
        let mut waiting = self.lock();
        waiting.in_hand = 0;
        waiting.is_busy = false;
        waiting.has_ended = taken.is_last;
        drop(waiting);
        self.is_written.notify_all();
    }

    /// Waits until all lines left so far are written, at most for `patience`.
    pub fn wait(&self, patience: Duration) {
        drop(self.written_while(patience, |waiting| !waiting.bytes.is_empty() || waiting.is_busy));
    }

    /// Takes no more lines, and lets the writer end once the rest is written.
    pub fn stop(&self) {
        self.lock().stops = true;
        self.has_work.notify_one();
    }

    /// Waits until the writer has ended after [`Self::stop`], at most for `patience`. Returns how many lines
    /// are still unwritten.
    pub fn end(&self, patience: Duration) -> u64 {
        let waiting = self.written_while(patience, |waiting| !waiting.has_ended);
        if waiting.has_ended { 0 } else { waiting.in_hand.saturating_add(count(&waiting.bytes)) }
    }

    fn written_while(
        &self,
        patience: Duration,
        is_open: impl Fn(&Waiting) -> bool,
    ) -> MutexGuard<'_, Waiting> {
        let waited = self.is_written.wait_timeout_while(self.lock(), patience, |waiting| is_open(waiting));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many lines a text has.
pub fn count(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_once_and_told_once() {
        let lines = Lines::default();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let told: Vec<bool> = (0..WAITING / 1024 + 3).map(|_| lines.write(&line)).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "nobody is flooded with it");
        assert!(told[WAITING / 1024], "the first that had no room");
        assert!(!lines.lost(2));
        assert_eq!((lines.newly_lost(), lines.newly_lost()), (5, 0));
        let mut bytes = Vec::new();
        let taken = lines.take(&mut bytes);
        assert_eq!((bytes.len(), taken), (WAITING, Taken { lost: 5, is_last: false }));
        assert!(!lines.write(&line), "there is room again");
        lines.stop();
        assert!(!lines.write(&line));
        assert_eq!(lines.newly_lost(), 1, "nobody writes it any more");
        lines.written(4000);
        assert_eq!(lines.end(Duration::ZERO), 4096 - 4000 + 1);
    }

    #[test]
    fn where_ordinary_lines_have_no_room_what_must_not_be_missed_has() {
        let lines = Lines::default();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let lost =
            (0..WAITING / 1024).filter(|_| lines.newly_lost() + u64::from(lines.write_ordinary(&line)) > 0);
        assert!(lost.count() > 0, "they fill what is theirs");
        assert!(!lines.write(b"theft\n"));
        let mut bytes = Vec::new();
        let taken = lines.take(&mut bytes);
        assert!(bytes.ends_with(b"theft\n") && taken.lost > 0);
        assert_eq!(bytes.len(), WAITING - RESERVE + b"theft\n".len());
    }

    #[test]
    fn enough_lines_wait_for_no_more() {
        let (lines, mut bytes) = (Lines::default(), Vec::new());
        let (line, began) = ([&[b'x'; 1023][..], b"\n"].concat(), Instant::now());
        for _ in 0..100 {
            while lines.lock().bytes.len() < ENOUGH {
                assert!(!lines.write(&line));
            }
            lines.take(&mut bytes);
        }
        assert!(began.elapsed() < 50 * GATHER, "{:?}", began.elapsed());
    }

    #[test]
    fn the_memory_of_many_lines_is_given_back_when_they_are_written() {
        let (lines, mut bytes) = (Lines::default(), Vec::new());
        assert!(!lines.write(&[b'x'; WAITING / 2]));
        for _ in 0..2 {
            lines.take(&mut bytes);
            assert!(!lines.write(b"x\n"));
        }
        assert!(bytes.capacity() + lines.lock().bytes.capacity() <= 4 * ENOUGH);
    }
}
