//! Lines on their way to a reader that may be slow, or never read again: those of the access log and our own
//! messages. Whoever has one leaves it here and goes on; a thread (`io::line_writer`) writes what has
//! gathered. When there is room for no more, lines are lost and counted.
//!
//! Whoever leaves a line must never wait: a full pipe would stop every worker, and with them health checks
//! and signals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that may wait for the writer, in bytes.
pub const WAITING: usize = 4 * 1024 * 1024;
/// The part of these that [`Lines::write_ordinary`] leaves free: nothing that a stranger can have said takes
/// the room of what an operator must not miss.
const RESERVE: usize = WAITING / 4;
/// How long lines gather before they are written, so that nobody has to wake the writer for each.
const GATHER: Duration = Duration::from_millis(10);
/// So many bytes are written at once, however short the time that they gathered in.
const ENOUGH: usize = 16 * 1024;
/// How long nobody is told again that lines are lost.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Between those who have lines and the one who writes them.
#[derive(Debug, Default)]
pub struct Lines {
    waiting: Mutex<Waiting>,
    /// The first line waits, or enough of them, or the writer is to end.
    has_work: Condvar,
    /// The writer has written what it took.
    is_written: Condvar,
    /// Lost, and in no metric yet.
    uncounted: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Lines that were lost, of which the log itself says nothing yet.
    lost: u64,
    /// Lines that the writer has taken and not written yet.
    in_hand: u64,
    is_busy: bool,
    stops: bool,
    has_ended: bool,
    told_at: Option<Instant>,
}

/// What the writer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many lines were lost since it was last said.
    pub lost: u64,
    /// Nothing comes after this.
    pub is_last: bool,
}

impl Lines {
    /// Leaves `text`, one line or several that belong together. True: it is lost, and nobody was told lately
    /// that lines are.
    #[must_use]
    pub fn write(&self, text: &[u8]) -> bool {
        self.write_into(WAITING, text)
    }

    /// The same, but that it may be lost while there is still room for what may not.
    #[must_use]
    pub fn write_ordinary(&self, text: &[u8]) -> bool {
        self.write_into(WAITING - RESERVE, text)
    }

    fn write_into(&self, room: usize, text: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.stops {
            // Whoever stopped it knows.
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

    /// So many lines could not be written. True: nobody was told lately.
    #[must_use]
    pub fn lost(&self, lines: u64) -> bool {
        self.lose(&mut self.lock(), lines)
    }

    /// The log could not say yet that so many are missing.
    pub fn say_later(&self, lines: u64) {
        let mut waiting = self.lock();
        waiting.lost = waiting.lost.saturating_add(lines);
    }

    /// True: nobody was told lately.
    fn lose(&self, waiting: &mut Waiting, lines: u64) -> bool {
        waiting.lost = waiting.lost.saturating_add(lines);
        self.uncounted.fetch_add(lines, Ordering::Relaxed);
        let is_news = waiting.told_at.is_none_or(|told_at| told_at.elapsed() >= TELL_AGAIN_AFTER);
        if is_news {
            waiting.told_at = Some(Instant::now());
        }
        is_news
    }

    /// How many lines were lost since this was last asked.
    pub fn newly_lost(&self) -> u64 {
        self.uncounted.swap(0, Ordering::Relaxed)
    }

    /// For the writer: waits for lines and takes what has gathered into `bytes`.
    pub fn take(&self, bytes: &mut Vec<u8>) -> Taken {
        bytes.clear();
        // A reader that was slow for a while costs memory for that while.
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

    /// The writer is done with these lines of what it took.
    pub fn written(&self, lines: u64) {
        let mut waiting = self.lock();
        waiting.in_hand = waiting.in_hand.saturating_sub(lines);
    }

    /// The writer is done with all that it took.
    pub fn all_written(&self, taken: Taken) {
        let mut waiting = self.lock();
        waiting.in_hand = 0;
        waiting.is_busy = false;
        waiting.has_ended = taken.is_last;
        drop(waiting);
        self.is_written.notify_all();
    }

    /// Waits until all is written that was left so far, `patience` at most.
    pub fn wait(&self, patience: Duration) {
        drop(self.written_while(patience, |waiting| !waiting.bytes.is_empty() || waiting.is_busy));
    }

    /// Takes no more lines, and lets the writer end when it has written what there is.
    pub fn stop(&self) {
        self.lock().stops = true;
        self.has_work.notify_one();
    }

    /// Waits until the writer has ended after a [`Self::stop`], `patience` at most. How many lines are not
    /// written.
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
