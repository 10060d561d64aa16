//! How the body of one request comes in, and the end of requests whose body does not come.
//!
//! pingora ends a body of HTTP/1.1 that pauses; one of HTTP/2 may stop for ever, and either may trickle. The
//! pace of what comes is judged where it passes (`proxy`). What stops over HTTP/2 is ended from outside (`endable_app`).
//!
//! While an upstream streams its answer nothing is judged: client and upstream are then in a conversation, as
//! in gRPC, and the upstream's own timeouts bound it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora::http::RequestHeader;

use crate::config::settings::{Patience, Timeouts};
use crate::core::pace::Pace;
use crate::edge::endable_app::LetIn;

/// The body of one request.
#[derive(Debug)]
pub(crate) struct Inflow {
    /// Of its stream, where it is one of HTTP/2.
    pub(crate) let_in: LetIn,
    began: Instant,
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// When something last came, or was answered.
    moved: Instant,
    /// After how long without it the request ends.
    stopped_after: Duration,
    /// Where it is watched (`watched`): how long an upstream that is to speak may be silent.
    silence: Option<Duration>,
    is_complete: bool,
    /// The upstream is answering and has not ended.
    is_conversation: bool,
    was_given_up: bool,
    /// The upstream was to answer, and did not, or not to the end.
    upstream_was_silent: bool,
}

impl Inflow {
    pub(crate) fn new(patience: Patience, began: Instant) -> Arc<Self> {
        let state = State {
            pace: Pace::new(patience.body_pause, patience.body_rate, Duration::ZERO),
            moved: began,
            stopped_after: patience.stream_stopped,
            silence: None,
            is_complete: false,
            is_conversation: false,
            was_given_up: false,
            upstream_was_silent: false,
        };
        Arc::new(Self { let_in: LetIn::default(), began, patience, state: Mutex::new(state) })
    }

    /// The one that watches over this request, or a new one.
    pub(crate) fn of(request: &RequestHeader, patience: Patience, began: Instant) -> Arc<Self> {
        request.extensions.get::<Arc<Self>>().cloned().unwrap_or_else(|| Self::new(patience, began))
    }

    /// The request has no body.
    pub(crate) fn has_none(&self) {
        self.state.lock().is_complete = true;
    }

    /// Some of the body came, perhaps with its end. False when it came too slowly.
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

    /// The upstream may leave the body unread for `write`, and it is not the client who stops then: what it may take longer
    /// than others comes on top. Where it is watched all that passes is told from here on, either way.
    pub(crate) fn upstream_may_take(&self, timeouts: Timeouts, is_watched: bool) {
        let more = timeouts.write.saturating_sub(Timeouts::default().write);
        let mut state = self.state.lock();
        state.stopped_after = self.patience.stream_stopped.saturating_add(more);
        state.silence = is_watched.then_some(timeouts.read);
    }

    /// The upstream began to answer.
    pub(crate) fn answer_begins(&self) {
        self.state.lock().is_conversation = true;
    }

    /// The upstream has answered.
    pub(crate) fn answer_ended(&self) {
        let mut state = self.state.lock();
        state.is_conversation = false;
        if state.is_complete && state.silence.is_none() {
            return; // for nothing more
        }
        let now = Instant::now();
        state.moved = now;
        let since = now.saturating_duration_since(self.began);
        state.pace = Pace::new(self.patience.body_pause, self.patience.body_rate, since);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state.lock().is_complete
    }

    /// Something passed, either way.
    pub(crate) fn moves(&self) {
        self.state.lock().moved = Instant::now();
    }

    /// Whether it ended because the upstream was silent.
    pub(crate) fn upstream_was_silent(&self) -> bool {
        self.state.lock().upstream_was_silent
    }

    /// Ends when nothing has passed for as long and it was for the upstream to speak: it has the whole body, or is answering.
    pub(crate) async fn is_silent(&self, patience: Duration) {
        loop {
            let due = {
                let mut state = self.state.lock();
                let now = Instant::now();
                let due = state.moved.checked_add(patience).unwrap_or(now);
                if due > now {
                    due
                } else if state.is_complete || state.is_conversation {
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

    /// Ends when the body has stopped for too long; where it is watched, also when nothing passes and nobody sees it:
    /// pingora looks at the client no more once the upstream takes no more of the body.
    pub(crate) async fn stops(&self) {
        loop {
            let due = {
                let mut state = self.state.lock();
                let now = Instant::now();
                let is_for_upstream = state.is_complete || state.is_conversation;
                let patience = match state.silence {
                    Some(silence) if is_for_upstream => state.stopped_after.saturating_add(silence),
                    _ => state.stopped_after,
                };
                let due = state.moved.checked_add(patience).unwrap_or(now);
                if due > now {
                    due
                } else if is_for_upstream && state.silence.is_none() {
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
