//! Notices a client that reads nothing of what is written for it, below HTTP: a write, a flush or the end of
//! TLS that waits. pingora has a timeout for a body's pieces alone, not for heads and ends; and its time is
//! for a whole piece, which cuts off whoever reads without pause and slowly.
//!
//! How much room the socket's buffer has says little: the kernel tells of it when a third is free, which may
//! be a megabyte. What the client's side has confirmed of the stream says more (RFC 9293 section 3.8.6: with
//! a closed window it confirms nothing new). Where nobody knows that (`confirmed`), room is all there is to
//! go by, and is waited for much longer, so that nobody who reads is cut off.
//!
//! It must cost nothing where nothing waits: no clock, no timer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Into how many parts the patience is cut: after each it is looked at what was confirmed.
const LOOKS: u32 = 4;

/// A client that confirms this many bytes in that time is reading: 70 a second with what clients are given.
const LEAST: u64 = 4 * 1024;

/// How many times as long it is waited where nobody knows what was confirmed: an hour with what clients are
/// given. A third of the largest buffer that Linux makes by itself, of 4 MiB, is then read at 400 bytes a
/// second.
const UNKNOWN: u32 = 60;

/// How what is written for one client fares.
#[derive(Debug)]
pub(crate) struct Unread {
    patience: Duration,
    /// From the first time on that something waited.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    is_on: bool,
    /// It is waited until all has left: that a buffer takes a little more is no end of it.
    for_all: bool,
    timer: Pin<Box<Sleep>>,
    /// How much of all that was written the client's side had when it last had enough more.
    confirmed: Option<u64>,
    /// How often it was looked since then.
    looks: u32,
    is_over: bool,
}

impl Unread {
    pub(crate) const fn new(patience: Duration) -> Self {
        Self { patience, waiting: None }
    }

    /// What a write came to, or its end when nothing was read for too long. `of_all`: of all that was written
    /// before. `confirmed`: how many bytes the client's side has, where that is known.
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

    /// The first look finds what there was; what comes after that was read.
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
