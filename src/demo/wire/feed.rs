//! What was told lately, and whoever listens to it: Server-Sent Events (HTML Living Standard section 9.2).
//!
//! Memory is bounded: the latest [`KEPT`] entries are kept for pages that join, each in its latest state; a
//! listener that does not keep up is let go, and its page joins again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::demo::serve::Payload;

/// How many entries a page that joins gets.
const KEPT: usize = 200;
/// How many events a listener may be behind.
const BEHIND: usize = 1024;
/// How many pages may listen at once.
const LISTENERS: usize = 32;
/// How often something is said, so that nobody takes silence for the end. Below the read timeout of a route.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct EntryId(u64);

/// The feed of one run of the demo.
#[derive(Debug)]
pub(in crate::demo) struct Feed {
    /// Told to each listener, so that a page notices that the demo was started again.
    run: String,
    inner: Mutex<Inner>,
    live: broadcast::Sender<Bytes>,
}

#[derive(Debug)]
struct Inner {
    next_entry: u64,
    next_event: u64,
    /// Entries before this one are forgotten, also when more is told of them.
    first: u64,
    kept: VecDeque<Kept>,
    /// The latest word on the state of things.
    state: Option<Bytes>,
}

#[derive(Debug)]
struct Kept {
    entry: EntryId,
    event: u64,
    text: Bytes,
}

impl Feed {
    pub(in crate::demo) fn new(run: String) -> Self {
        let inner = Inner { next_entry: 1, next_event: 1, first: 1, kept: VecDeque::new(), state: None };
        Self { run, inner: Mutex::new(inner), live: broadcast::Sender::new(BEHIND) }
    }

    /// A name for an entry that begins now.
    pub(super) fn begin(&self) -> EntryId {
        let mut inner = self.inner();
        let entry = EntryId(inner.next_entry);
        inner.next_entry += 1;
        entry
    }

    /// Tells an entry, or its new state.
    pub(super) fn tell(&self, entry: EntryId, what: &impl Serialize) {
        let mut inner = self.inner();
        let is_forgotten = entry.0 < inner.first;
        let event = inner.next_event;
        inner.next_event += 1;
        let Some(text) = event_text("entry", Some((&self.run, event)), what) else { return };
        match inner.kept.iter_mut().rev().find(|kept| kept.entry == entry) {
            Some(kept) => (kept.event, kept.text) = (event, text.clone()),
            None if is_forgotten => return,
            None => inner.kept.push_back(Kept { entry, event, text: text.clone() }),
        }
        if inner.kept.len() > KEPT {
            inner.kept.pop_front();
        }
        let _ = self.live.send(text);
    }

    /// Tells the state of things; a page that joins gets the latest.
    pub(in crate::demo) fn tell_state(&self, what: &impl Serialize) {
        let Some(text) = event_text("state", None, what) else { return };
        let mut inner = self.inner();
        inner.state = Some(text.clone());
        let _ = self.live.send(text);
    }

    /// Forgets the entries so far: pages that join later do not get them.
    pub(in crate::demo) fn forget(&self) {
        let mut inner = self.inner();
        inner.kept.clear();
        inner.first = inner.next_entry;
    }

    /// A body that tells what is kept and was not told before `last` (a `Last-Event-ID`), and then what
    /// comes. `None`: too many listen already.
    pub(in crate::demo) fn join(&self, last: Option<&str>) -> Option<Payload> {
        let after = last.and_then(|id| id.strip_prefix(&*self.run)?.strip_prefix('-')?.parse().ok());
        let inner = self.inner();
        if self.live.receiver_count() >= LISTENERS {
            return None;
        }
        let hello = event_text("hello", None, &json!({ "run": self.run, "fresh": after.is_none() }));
        let entries = inner.kept.iter().filter(|kept| after.is_none_or(|after| kept.event > after));
        let first: VecDeque<Bytes> = hello
            .into_iter()
            .chain(inner.state.clone())
            .chain(entries.map(|kept| kept.text.clone()))
            .collect();
        let events = stream::unfold((first, self.live.subscribe()), async |(mut first, mut live)| {
            let text = match first.pop_front() {
                Some(text) => text,
                None => next(&mut live).await?,
            };
            Some((Ok::<_, Infallible>(Frame::data(text)), (first, live)))
        });
        Some(StreamBody::new(events).boxed_unsync())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next event, or a comment when there is none for long; `None` ends the stream.
async fn next(live: &mut broadcast::Receiver<Bytes>) -> Option<Bytes> {
    match tokio::time::timeout(HEARTBEAT, live.recv()).await {
        Ok(Ok(text)) => Some(text),
        Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => None,
        Err(_) => Some(Bytes::from_static(b": still here\n\n")),
    }
}

fn event_text(name: &str, id: Option<(&str, u64)>, data: &impl Serialize) -> Option<Bytes> {
    // JSON on one line holds no line end, so one `data` line is enough.
    let data = serde_json::to_string(data).ok()?;
    let id = id.map_or_else(String::new, |(run, event)| format!("id: {run}-{event}\n"));
    Some(format!("{id}event: {name}\ndata: {data}\n\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next `count` events of a stream.
    async fn read(body: &mut Payload, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        while events.len() < count {
            let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
            let Some(Ok(frame)) = frame.expect("nothing came") else { break };
            events.push(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap());
        }
        events
    }

    fn data(event: &str) -> &str {
        event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()
    }

    #[tokio::test]
    async fn who_joins_gets_what_was_and_then_what_comes() {
        let feed = Feed::new("run".into());
        let (a, b) = (feed.begin(), feed.begin());
        feed.tell(a, &"a asked");
        feed.tell(b, &"b asked");
        feed.tell(a, &"a answered");
        feed.tell_state(&"fine");
        let mut page = feed.join(None).unwrap();
        let first = read(&mut page, 4).await;
        let told: Vec<&str> = first.iter().map(|event| data(event)).collect();
        assert_eq!(told, [r#"{"fresh":true,"run":"run"}"#, "\"fine\"", "\"a answered\"", "\"b asked\""]);
        assert!(first[2].starts_with("id: run-3\nevent: entry\n"), "{}", first[2]);
        feed.tell(b, &"b answered");
        assert_eq!(data(&read(&mut page, 1).await[0]), "\"b answered\"");
        let mut again = feed.join(Some("run-3")).unwrap();
        let told = read(&mut again, 3).await;
        assert_eq!((data(&told[0]), data(&told[2])), (r#"{"fresh":false,"run":"run"}"#, "\"b answered\""));
        let mut other_run = feed.join(Some("another-3")).unwrap();
        assert_eq!(data(&read(&mut other_run, 1).await[0]), r#"{"fresh":true,"run":"run"}"#);
    }

    #[tokio::test]
    async fn memory_is_bounded_and_who_does_not_read_is_let_go() {
        let feed = Feed::new("run".into());
        let mut slow = feed.join(None).unwrap();
        for number in 0..BEHIND + KEPT {
            feed.tell(feed.begin(), &number);
        }
        assert_eq!(feed.inner().kept.len(), KEPT);
        assert_eq!(read(&mut slow, 10_000).await.len(), 1, "hello, and then the end");
        let mut page = feed.join(None).unwrap();
        assert_eq!(read(&mut page, 1 + KEPT).await.len(), 1 + KEPT);
        let old = feed.begin();
        feed.forget();
        let mut page = feed.join(None).unwrap();
        feed.tell(old, &"old");
        feed.tell(feed.begin(), &"new");
        assert_eq!(data(&read(&mut page, 2).await[1]), "\"new\"");
    }

    #[tokio::test]
    async fn only_so_many_listen_and_a_page_that_left_makes_room() {
        let feed = Feed::new("run".into());
        let mut pages: Vec<Payload> = (0..LISTENERS).map(|_| feed.join(None).unwrap()).collect();
        assert!(feed.join(None).is_none());
        pages.pop();
        assert!(feed.join(None).is_some());
    }
}
