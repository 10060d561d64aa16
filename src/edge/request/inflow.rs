//! Watches how the body of one request arrives, and ends requests whose body does not.
//!
//! pingora ends a request body over HTTP/1.1 that pauses. One over HTTP/2 may stop for ever, and either may
//! trickle. The pace of a body is judged where its pieces pass (`proxy`); a body over HTTP/2 that stops is
//! ended from outside (`endable_app`).
//!
//! While an upstream streams its answer, the body is not judged: client and upstream are in a conversation,
//! as in gRPC, and the upstream's timeouts bound it. Once the answer has ended, however it did, what is left
//! of the body is judged again.
//!
//! `LetIn` is in this file because the two refer to each other: an [`Inflow`] over HTTP/2 holds the `LetIn`
//! of its stream, and the `LetIn` of an HTTP/1.1 connection holds an [`Inflow`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora::http::RequestHeader;

use crate::config::settings::{Patience, Timeouts};
use crate::core::pace::Pace;
use crate::state::open_requests::OpenRequest;

/// How much longer than the upstream's own timeouts a body waits for it, so that pingora ends the request
/// first, with a status of its own.
const AFTER_UPSTREAM: Duration = Duration::from_secs(5);

/// Hands a request's entry among the open requests from the proxy to the app that can end it (`endable_app`).
#[derive(Debug, Default)]
pub(crate) struct LetIn {
    open: Mutex<Option<Arc<OpenRequest>>>,
    /// The body over HTTP/1.1, if its upstream may stop taking it. One over HTTP/2 is known from the start.
    body: Mutex<Option<Arc<Inflow>>>,
    has_body: AtomicBool,
}

impl LetIn {
    /// Hands over the entry: the request ends when `open` says so.
    pub(crate) fn tell(&self, open: Arc<OpenRequest>) {
        *self.open.lock() = Some(open);
    }

    /// Hands over the body: the request also ends when that stops.
    pub(crate) fn tell_of_body(&self, inflow: Arc<Inflow>) {
        *self.body.lock() = Some(inflow);
        self.has_body.store(true, Ordering::Release);
    }

    pub(in crate::edge) fn take(&self) -> Option<Arc<OpenRequest>> {
        self.open.lock().take()
    }

    pub(in crate::edge) fn take_body(&self) -> Option<Arc<Inflow>> {
        if !self.has_body.load(Ordering::Acquire) {
            return None;
        }
        self.has_body.store(false, Ordering::Release);
        self.body.lock().take()
    }

    /// Drops what the request before left here: it may have ended before anybody took it.
    pub(in crate::edge) fn forget(&self) {
        self.take();
        self.take_body();
    }
}

/// How an upstream may take a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    /// Whether it may go over HTTP/1.1, where pingora gives up on an upstream that is silent for too long.
    pub(crate) may_be_http1: bool,
    /// Whether it may go over HTTP/2 while some of it is still to come: see `watched`.
    pub(crate) is_watched: bool,
}

/// The body of one request.
#[derive(Debug)]
pub(crate) struct Inflow {
    /// The entry among the open requests, if this is a stream of HTTP/2.
    pub(crate) let_in: LetIn,
    began: Instant,
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// When something last passed, either way.
    moved: Instant,
    /// How long after that the request ends.
    stopped_after: Duration,
    /// The same once the answer is complete.
    stopped_after_answer: Duration,
    /// How long the upstream may be silent while it is to speak, if the body is watched (`watched`).
    silence: Option<Duration>,
    is_complete: bool,
    /// The upstream is answering and has not ended.
    is_conversation: bool,
    /// Part of the answer is being written. How long the client takes for that is bounded by `answer_unread`.
    is_written_to: bool,
    was_given_up: bool,
    /// The upstream gave no answer, or stopped in the middle of one.
    upstream_was_silent: bool,
}

impl State {
    fn is_for_upstream(&self) -> bool {
        self.is_complete || self.is_conversation
    }

    /// How long nothing may pass before the request ends. A silent upstream is usually seen earlier
    /// (`watched`), but not while pingora reads from neither side because the upstream takes no more.
    fn patience(&self) -> Duration {
        match self.silence {
            Some(silence) if self.is_for_upstream() => self.stopped_after_answer.saturating_add(silence),
            _ => self.stopped_after,
        }
    }
}

impl Inflow {
    pub(crate) fn new(patience: Patience, began: Instant) -> Arc<Self> {
        let state = State {
            pace: Pace::new(patience.body_pause, patience.body_rate, Duration::ZERO),
            moved: began,
            stopped_after: patience.stream_stopped,
            stopped_after_answer: patience.stream_stopped,
            silence: None,
            is_complete: false,
            is_conversation: false,
            is_written_to: false,
            was_given_up: false,
            upstream_was_silent: false,
        };
        Arc::new(Self { let_in: LetIn::default(), began, patience, state: Mutex::new(state) })
    }

    /// Returns the inflow that already watches this request, or a new one. `None`: the request has no body,
    /// and nobody watches it.
    pub(crate) fn of(
        request: &RequestHeader,
        is_bodiless: bool,
        patience: Patience,
        began: Instant,
    ) -> Option<Arc<Self>> {
        let watching = request.extensions.get::<Arc<Self>>().cloned();
        if !is_bodiless {
            return watching.or_else(|| Some(Self::new(patience, began)));
        }
        watching.inspect(|inflow| inflow.mark_bodiless())
    }

    /// Notes that the request has no body.
    fn mark_bodiless(&self) {
        self.state.lock().is_complete = true;
    }

    /// Notes a piece of the body. Returns false if the body comes too slowly.
    pub(crate) fn came(&self, bytes: usize, is_end: bool) -> bool {
        let mut state = self.state.lock();
        if state.is_complete && bytes == 0 {
            return true; // the end of no body may pass by
        }
        let now = Instant::now();
        state.moved = now;
        state.is_complete |= is_end;
        let in_time = state.pace.came(bytes, now.saturating_duration_since(self.began));
        in_time || state.is_conversation || state.is_complete
    }

    /// The upstream may leave the body unread for `write`; only what exceeds the default is added to the
    /// client's patience, as it is not the client who stops then. An HTTP/1.1 upstream may after that be
    /// silent for `read`, before pingora answers for it. If the body is watched, progress in either direction
    /// counts, and both sides may pause for `read`, as in a conversation that the client begins and then
    /// waits in, its own side still open.
    pub(crate) fn upstream_may_take(&self, timeouts: Timeouts, taking: Taking) {
        let Taking { may_be_http1, is_watched } = taking;
        let more = timeouts.write.saturating_sub(Timeouts::default().write);
        let mut state = self.state.lock();
        state.stopped_after_answer = self.patience.stream_stopped.saturating_add(more);
        state.stopped_after = state.stopped_after_answer;
        if may_be_http1 {
            let until_answered = timeouts.write.saturating_add(timeouts.read).saturating_add(AFTER_UPSTREAM);
            state.stopped_after = state.stopped_after.max(until_answered);
        }
        if is_watched {
            state.stopped_after = state.stopped_after.max(timeouts.read.saturating_add(AFTER_UPSTREAM));
        }
        state.silence = is_watched.then_some(timeouts.read);
    }

    /// Begins the upstream's answer. `is_whole`: its head is all of the answer.
    pub(crate) fn begin_answer(&self, is_whole: impl FnOnce() -> bool) {
        let is_complete = {
            let mut state = self.state.lock();
            state.is_conversation = true;
            state.is_complete
        };
        if !is_complete && is_whole() {
            self.end_answer();
        }
    }

    /// Ends the upstream's answer.
    pub(crate) fn end_answer(&self) {
        let mut state = self.state.lock();
        state.is_conversation = false;
        if state.is_complete {
            return; // for nothing more
        }
        let now = Instant::now();
        state.moved = now;
        state.stopped_after = state.stopped_after_answer;
        let since = now.saturating_duration_since(self.began);
        state.pace = Pace::new(self.patience.body_pause, self.patience.body_rate, since);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state.lock().is_complete
    }

    /// Notes that something passed, either way.
    pub(crate) fn note_movement(&self) {
        self.state.lock().moved = Instant::now();
    }

    /// Notes whether part of the answer is being written to the client.
    pub(crate) fn set_written_to(&self, is_written_to: bool) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_written_to, is_written_to) {
            state.moved = Instant::now();
        }
    }

    /// Whether the request ended because the upstream was silent.
    pub(crate) fn upstream_was_silent(&self) -> bool {
        self.state.lock().upstream_was_silent
    }

    /// Completes when nothing has passed for `patience` while the upstream was to speak: it has the whole
    /// body, or is answering.
    pub(crate) async fn until_silent(&self, patience: Duration) {
        loop {
            let due = {
                let mut state = self.state.lock();
                let now = Instant::now();
                let due = state.moved.checked_add(patience).unwrap_or(now);
                if due > now {
                    due
                } else if state.is_for_upstream() {
                    state.upstream_was_silent = true;
                    return;
                } else {
                    now.checked_add(patience).unwrap_or(now)
                }
            };
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// Whether the request was ended because its body stopped.
    pub(crate) fn was_given_up(&self) -> bool {
        self.state.lock().was_given_up
    }

    /// Completes when the body has stopped for too long. If the body is watched, also when nothing passes and
    /// pingora would not notice, because it stops reading from the client once the upstream takes no more.
    pub(crate) async fn until_stopped(&self) {
        loop {
            let due = {
                let mut state = self.state.lock();
                let now = Instant::now();
                let (is_for_upstream, patience) = (state.is_for_upstream(), state.patience());
                let due = state.moved.checked_add(patience).unwrap_or(now);
                if due > now {
                    // The answer may become complete meanwhile, which shortens the wait.
                    now.checked_add(state.stopped_after_answer).map_or(due, |look| look.min(due))
                } else if state.is_written_to || is_for_upstream && state.silence.is_none() {
                    now.checked_add(patience).unwrap_or(now)
                } else {
                    state.was_given_up = true;
                    state.upstream_was_silent |= is_for_upstream;
                    return;
                }
            };
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http::Method;

    use super::*;

    /// So a request of HTTP/1.1 without a body does without one: see where `Downstream::inflow` is asked.
    #[tokio::test]
    async fn the_inflow_of_a_bodiless_request_answers_as_no_inflow_does() {
        let inflow = Inflow::new(Patience::default(), Instant::now());
        inflow.mark_bodiless();
        let says_nothing = |when: &str| {
            assert!(inflow.is_complete(), "{when}");
            assert!(!inflow.upstream_was_silent() && !inflow.was_given_up(), "{when}");
            for is_end in [false, true] {
                assert!(inflow.came(0, is_end), "{when}");
            }
        };
        says_nothing("as it begins");
        let timeouts = Timeouts::default();
        for may_be_http1 in [false, true] {
            inflow.upstream_may_take(timeouts, Taking { may_be_http1, is_watched: false });
            says_nothing("as it is sent");
        }
        inflow.begin_answer(|| unreachable!("nobody cares"));
        says_nothing("as it is answered");
        inflow.end_answer();
        says_nothing("when it was answered");
        assert!(inflow.until_stopped().now_or_never().is_none() && inflow.let_in.take_body().is_none());
    }

    #[test]
    fn a_request_with_a_body_or_a_watch_has_an_inflow() {
        let mut request = RequestHeader::build(Method::GET, b"/", None).unwrap();
        let of = |request: &RequestHeader, is_bodiless| {
            Inflow::of(request, is_bodiless, Patience::default(), Instant::now())
        };
        assert!(of(&request, true).is_none());
        assert!(of(&request, false).is_some_and(|inflow| !inflow.is_complete()));
        let watching = Inflow::new(Patience::default(), Instant::now());
        request.extensions_mut().insert(watching.clone());
        assert!(of(&request, false).is_some_and(|inflow| Arc::ptr_eq(&inflow, &watching)));
        assert!(!watching.is_complete());
        assert!(of(&request, true).is_some_and(|inflow| Arc::ptr_eq(&inflow, &watching)));
        assert!(watching.is_complete());
    }

    fn stopped_after(timeouts: Timeouts, taking: Taking) -> (Duration, Duration) {
        let inflow = Inflow::new(Patience::default(), Instant::now());
        inflow.upstream_may_take(timeouts, taking);
        let before = inflow.state.lock().stopped_after;
        inflow.end_answer();
        let after = inflow.state.lock().stopped_after;
        (before, after)
    }

    #[test]
    fn an_upstream_has_all_its_time_before_the_client_is_the_one_who_stopped() {
        let (none, second, day) = (Duration::ZERO, Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        let shortest = Patience::default().stream_stopped;
        let over_http2 = Taking { may_be_http1: false, is_watched: true };
        for read in [none, second, second * 60, second * 61, day] {
            for write in [none, second, second * 60, second * 61, day] {
                let timeouts = Timeouts { read, write, ..Timeouts::default() };
                for is_watched in [false, true] {
                    let (before, after) = stopped_after(timeouts, Taking { may_be_http1: true, is_watched });
                    assert!(before > read + write && before >= shortest, "{timeouts:?}: {before:?}");
                    assert!(after > write && after >= shortest && after <= before, "{timeouts:?}: {after:?}");
                    assert_eq!(stopped_after(timeouts, Taking { may_be_http1: false, is_watched }).1, after);
                }
                let (before, after) = stopped_after(timeouts, over_http2);
                assert!(before > read && before >= after, "{timeouts:?}: {before:?}");
                // Where pingora looks at neither side, it answers for nobody.
                assert_eq!(
                    stopped_after(timeouts, Taking { is_watched: false, ..over_http2 }),
                    (after, after)
                );
            }
        }
        let (before, after) = stopped_after(Timeouts::default(), over_http2);
        assert_eq!(
            (before, after),
            (shortest, shortest),
            "with what upstreams have by default it is as it was"
        );
    }

    /// What it may be silent counts once, and what it may leave unread.
    #[test]
    fn an_upstream_that_takes_no_more_has_all_its_time_once() {
        let hour = Duration::from_secs(60 * 60);
        for write in [Duration::from_secs(1), Duration::from_secs(60), hour] {
            for may_be_http1 in [false, true] {
                let timeouts = Timeouts { read: hour, write, ..Timeouts::default() };
                let all = hour + write.max(Timeouts::default().write);
                let of = |passes: fn(&Inflow)| {
                    let inflow = Inflow::new(Patience::default(), Instant::now());
                    inflow.upstream_may_take(timeouts, Taking { may_be_http1, is_watched: true });
                    passes(&inflow);
                    inflow.state.lock().patience()
                };
                let asked = of(|inflow| assert!(inflow.came(1, true)));
                let answering = of(|inflow| inflow.begin_answer(|| false));
                for patience in [asked, answering] {
                    assert!(patience > all && patience < all + Duration::from_secs(60), "{patience:?}");
                }
                assert!(of(|inflow| assert!(inflow.came(1, false))) > hour, "nobody knows whose turn it is");
                let answered = of(|inflow| {
                    inflow.begin_answer(|| false);
                    inflow.end_answer();
                });
                assert!(answered < hour || write == hour, "it is the client's turn: {answered:?}");
            }
        }
    }
}
