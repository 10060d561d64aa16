//! Notices a client that does not read what is written to it, below HTTP: when a write, a flush or the end of
//! TLS waits. pingora's own write timeout covers only pieces of a body, not heads and ends, and it is for a
//! whole piece, which would cut off a client that reads slowly but without pause.
//!
//! Free room in the socket's buffer says little: the kernel reports it only when a third is free, which may
//! be a megabyte. What the client's side has acknowledged says more (RFC 9293 section 3.8.6: with a closed
//! window it acknowledges nothing new). Where the kernel does not tell (`confirmed`), room is all there is to
//! go by, and the wait is much longer, so that no client that reads is cut off.
//!
//! It must cost nothing while nothing waits: no clock, no timer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How many equal parts the patience is cut into. After each one the acknowledged bytes are looked at.
const LOOKS: u32 = 4;

/// A client that acknowledges this many bytes within the patience is reading: with the default patience 70
/// bytes a second.
const LEAST: u64 = 4 * 1024;

/// How many times longer the wait is where acknowledgements are not known: an hour with the default patience.
/// In that time a third of the largest buffer that Linux makes by itself (4 MiB) is read at 400 bytes a
/// second.
const UNKNOWN: u32 = 60;

/// Watches what is written to one client.
#[derive(Debug)]
pub(crate) struct Unread {
    patience: Duration,
    /// Made when a write first has to wait.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    is_on: bool,
    /// Whether the wait is for everything to leave: that the buffer takes a little more does not end it.
    for_all: bool,
    timer: Pin<Box<Sleep>>,
    /// How many bytes were acknowledged when there last were [`LEAST`] more.
    confirmed: Option<u64>,
    /// How many looks there were since then.
    looks: u32,
    is_over: bool,
}

impl Unread {
    pub(crate) const fn new(patience: Duration) -> Self {
        Self { patience, waiting: None }
    }

    /// Passes on the outcome of a write, or a timeout if the client has read nothing for too long. `of_all`:
    /// whether the write is a flush or an end, which waits for everything written before. `confirmed`:
    /// returns the number of acknowledged bytes, where known.
    pub(crate) fn observe_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        of_all: bool,
        confirmed: impl Fn() -> Option<u64>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if let Some(waiting) = &mut self.waiting {
                waiting.is_on &= waiting.for_all && !of_all;
            }
            return written;
        }
        if self.is_over(cx, of_all, confirmed) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was read in time")));
        }
        Poll::Pending
    }

    fn is_over(&mut self, cx: &mut Context<'_>, of_all: bool, confirmed: impl Fn() -> Option<u64>) -> bool {
        let between = self.patience / LOOKS;
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting::new(between)));
        if !waiting.is_on {
            waiting.begin(between);
        }
        waiting.for_all |= of_all;
        while !waiting.is_over && waiting.timer.as_mut().poll(cx).is_ready() {
            waiting.look(confirmed());
            waiting.begin_look(between);
        }
        waiting.is_over
    }
}

impl Waiting {
    fn new(between: Duration) -> Self {
        let timer = Box::pin(sleep(between));
        Self { is_on: true, for_all: false, timer, confirmed: None, looks: 0, is_over: false }
    }

    fn begin(&mut self, between: Duration) {
        (self.is_on, self.for_all, self.confirmed, self.looks, self.is_over) = (true, false, None, 0, false);
        self.begin_look(between);
    }

    fn begin_look(&mut self, between: Duration) {
        let now = Instant::now();
        self.timer.as_mut().reset(now.checked_add(between).unwrap_or(now));
    }

    /// Judges one look. The first one only notes how many bytes were acknowledged before.
    fn look(&mut self, confirmed: Option<u64>) {
        self.looks = self.looks.saturating_add(1);
        match (self.confirmed, confirmed) {
            (_, None) => self.is_over = self.looks > LOOKS.saturating_mul(UNKNOWN),
            (Some(before), Some(now)) if now < before.saturating_add(LEAST) => {
                self.is_over = self.looks > LOOKS
            }
            (_, Some(_)) => (self.looks, self.confirmed) = (1, confirmed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// For how long nothing but this is confirmed before it ends: asked each time how much it is, by the
    /// number of the look.
    async fn ends_after(confirmed: impl Fn(u64) -> Option<u64>) -> Duration {
        let (mut unread, looks, began) = (Unread::new(PATIENCE), Cell::new(0), Instant::now());
        let confirmed = || {
            looks.set(looks.get() + 1);
            confirmed(looks.get())
        };
        let judged = poll_fn(|cx| unread.observe_write::<()>(cx, Poll::Pending, true, confirmed));
        assert_eq!(judged.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        began.elapsed()
    }

    /// Up to a millisecond for each timer.
    fn assert_about(ended: Duration, wanted: Duration) {
        assert!((wanted..wanted + wanted / 100).contains(&ended), "{ended:?}, not {wanted:?}");
    }

    /// As with HTTP/2, where answers to pings are written while all else is stuck.
    #[tokio::test(start_paused = true)]
    async fn a_buffer_that_takes_a_little_more_is_no_end_of_the_waiting() {
        for confirmed in [Some(7), None] {
            let mut unread = Unread::new(PATIENCE);
            let judged = poll_fn(|cx| {
                let written = unread.observe_write(cx, Poll::Ready(Ok(1)), false, || confirmed);
                assert!(matches!(written, Poll::Ready(Ok(1))));
                unread.observe_write::<()>(cx, Poll::Pending, true, || confirmed)
            });
            let ended = tokio::time::timeout(PATIENCE * 100, judged).await.unwrap();
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_confirms_enough_is_waited_for_and_a_trickle_is_not() {
        const STOPS: u64 = 10_000;
        for (each_time, is_enough) in [(LEAST, true), (LEAST / 3, true), (LEAST / 5, false), (1, false)] {
            let ended = ends_after(|look| Some(look.min(STOPS) * each_time)).await;
            assert_eq!(ended > PATIENCE / LOOKS * 9_000, is_enough, "{each_time} bytes each time: {ended:?}");
        }
        assert_about(ends_after(|_| Some(0)).await, PATIENCE / LOOKS * (LOOKS + 1));
    }

    /// What a kernel does not tell is nothing that a client did not read.
    #[tokio::test(start_paused = true)]
    async fn where_nobody_knows_what_was_confirmed_it_is_waited_an_hour() {
        let hour = Duration::from_secs(60 * 60);
        assert_about(ends_after(|_| None).await, hour + PATIENCE / LOOKS);
    }

    /// For want of a file, for instance.
    #[tokio::test(start_paused = true)]
    async fn what_is_not_known_for_a_while_counts_once_it_is() {
        let while_unknown = |look, known| (!(3..100).contains(&look)).then_some(known);
        let after = |looks: u32| PATIENCE / LOOKS * looks;
        assert_about(ends_after(|look| while_unknown(look, 7)).await, after(100));
        assert_about(ends_after(|look| while_unknown(look, look.min(110) * LEAST)).await, after(110 + LOOKS));
    }

    #[tokio::test]
    async fn what_does_not_wait_costs_no_timer() {
        let mut unread = Unread::new(PATIENCE);
        poll_fn(|cx| unread.observe_write(cx, Poll::Ready(Ok(())), false, || Some(1))).await.unwrap();
        assert!(unread.waiting.is_none());
    }
}
