//! The files that a configuration was read from, and whether one of them changed. Looks at them every few
//! seconds: that works on every file system, and when a whole folder is swapped under a link.
//!
//! Some causes of a failed read leave no trace in a file's metadata when they end. So after such a failure
//! the files are read again after a while, changed or not.
//!
//! A look may hang with its file system. Only whoever asks whether something changed waits for it, and there
//! is one look at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::config::{Noted, Seen, look};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long after a reading that failed they are read again, though nothing is seen to have changed.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(30);

type Look = dyn Fn(&Path) -> Seen + Send + Sync;
/// What was looked at, and what was seen.
type Looked = (Arc<[PathBuf]>, Vec<Seen>);

/// Why they are to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Changed,
    /// They could not be read a while ago.
    Unread,
}

/// The files, as they were just before they were read: what changes meanwhile is not missed.
pub(super) struct Files {
    paths: Arc<[PathBuf]>,
    /// `None`: what they were then is not known; as the next look finds them they count as looked at.
    read: Option<Vec<Seen>>,
    /// When they are read again in any case.
    again_at: Option<Instant>,
    /// A look that has not ended, perhaps at others, for whoever asks next.
    looking: Option<JoinHandle<Looked>>,
    look: Arc<Look>,
}

impl Files {
    pub(super) fn new(files: BTreeMap<PathBuf, Seen>) -> Self {
        let (paths, read): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let (again_at, looking) = (None, None);
        Self { paths: paths.into(), read: Some(read), again_at, looking, look: Arc::new(look) }
    }

    /// Others from here on, or the same as they were before they were read again.
    pub(super) fn replace(&mut self, noted: Noted) {
        let (paths, read): (Vec<_>, Vec<_>) = noted.files.into_iter().unzip();
        (self.paths, self.read) = (paths.into(), Some(read));
        self.again_at = noted.unread.then(|| Instant::now() + READ_AGAIN_AFTER);
    }

    /// They were not read in time, whatever they are.
    pub(super) fn not_read(&mut self) {
        self.read = None;
        self.put_off();
    }

    /// Whether they can be read now is not tried yet.
    pub(super) fn put_off(&mut self) {
        self.again_at = Some(Instant::now() + READ_AGAIN_AFTER);
    }

    /// Waits until one of them has changed and then stands still, so that a file that is being written is
    /// not read by half; or until a while has passed since they could not be read.
    pub(super) async fn due(&mut self) -> Due {
        let mut before = self.read.clone();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let now = self.seen().await;
            let read = self.read.get_or_insert_with(|| now.clone());
            let stands_still = before.as_ref() == Some(&now);
            if stands_still && *read != now {
                return Due::Changed;
            }
            if stands_still && self.again_at.is_some_and(|at| at <= Instant::now()) {
                return Due::Unread;
            }
            before = Some(now);
        }
    }

    /// What they are now. A look that hangs goes on when nobody waits any more, and no other begins before it
    /// has ended.
    async fn seen(&mut self) -> Vec<Seen> {
        loop {
            let (paths, look) = (&self.paths, &self.look);
            let looking = self.looking.get_or_insert_with(|| {
                let (paths, look) = (paths.clone(), look.clone());
                spawn_blocking(move || {
                    let seen = paths.iter().map(|path| look(path)).collect();
                    (paths, seen)
                })
            });
            let seen = looking.await;
            self.looking = None;
            match seen {
                Ok((paths, seen)) if Arc::ptr_eq(&paths, &self.paths) => return seen,
                Ok(_) => {}
                // The runtime ends.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::mpsc;

    use parking_lot::Mutex;

    use super::*;
    use crate::config::FileStamp;

    fn state(length: u64) -> Seen {
        Some(FileStamp { length, ..FileStamp::default() })
    }

    fn noted(name: &str, length: u64, unread: bool) -> Noted {
        Noted { files: BTreeMap::from([(PathBuf::from(name), state(length))]), unread }
    }

    fn files(look: impl Fn(&Path) -> Seen + Send + Sync + 'static) -> Files {
        let read = BTreeMap::from([(PathBuf::from("config.yaml"), state(0))]);
        Files { look: Arc::new(look), ..Files::new(read) }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_look_that_hangs_keeps_nobody_from_hearing_a_signal_and_is_the_only_one() {
        let (ends, hangs) = mpsc::channel::<()>();
        let (hangs, began) = (Mutex::new(hangs), Arc::new(AtomicUsize::new(0)));
        let count = began.clone();
        let mut files = files(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = hangs.lock().recv();
            None
        });
        let (signal, mut signals) = tokio::sync::mpsc::unbounded_channel();
        let hears = tokio::spawn(async move {
            for _ in 0..3 {
                tokio::select! {
                    biased;
                    _ = files.due() => panic!("nobody knows yet"),
                    _ = signals.recv() => files.not_read(),
                }
            }
        });
        let mut waits = tokio::time::interval(Duration::from_millis(1));
        while began.load(Ordering::Relaxed) == 0 {
            waits.tick().await;
        }
        (0..3).for_each(|_| signal.send(()).unwrap());
        tokio::time::timeout(Duration::from_secs(10), hears).await.expect("it hears them").unwrap();
        assert_eq!(began.load(Ordering::Relaxed), 1, "one at a time");
        drop(ends);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changed_and_stands_still_is_told_and_what_was_read_so_is_not() {
        let length = Arc::new(AtomicU64::new(7));
        let now = length.clone();
        let mut files = files(move |_| state(now.load(Ordering::Relaxed)));
        assert_eq!(
            within(LOOK_EVERY * 2, &mut files).await,
            Some(Due::Changed),
            "it is another than was read"
        );
        files.replace(noted("config.yaml", 7, false));
        assert_eq!(within(READ_AGAIN_AFTER * 4, &mut files).await, None, "as it was read");
        length.store(8, Ordering::Relaxed);
        assert_eq!(within(LOOK_EVERY * 2, &mut files).await, Some(Due::Changed));
        files.replace(noted("other.yaml", 8, false));
        assert_eq!(within(READ_AGAIN_AFTER * 4, &mut files).await, None, "as it was read");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_read_is_due_though_it_looks_the_same_and_not_at_every_look() {
        let length = Arc::new(AtomicU64::new(7));
        let now = length.clone();
        let mut files = files(move |_| state(now.load(Ordering::Relaxed)));
        let fail: [fn(&mut Files); 3] =
            [Files::not_read, |files| files.replace(noted("config.yaml", 7, true)), Files::put_off];
        for fail in fail {
            for _ in 0..3 {
                fail(&mut files);
                assert_eq!(
                    within(READ_AGAIN_AFTER - LOOK_EVERY, &mut files).await,
                    None,
                    "not at every look"
                );
                assert_eq!(within(LOOK_EVERY * 3, &mut files).await, Some(Due::Unread));
            }
            fail(&mut files);
            assert_eq!(within(LOOK_EVERY * 2, &mut files).await, None);
            length.store(8, Ordering::Relaxed);
            assert_eq!(within(LOOK_EVERY * 2, &mut files).await, Some(Due::Changed), "at once");
            length.store(7, Ordering::Relaxed);
            files.replace(noted("config.yaml", 7, false));
        }
        assert_eq!(within(READ_AGAIN_AFTER * 4, &mut files).await, None, "it was read");
    }

    /// What is due within this time and half a look more.
    async fn within(time: Duration, files: &mut Files) -> Option<Due> {
        tokio::time::timeout(time + LOOK_EVERY / 2, files.due()).await.ok()
    }
}
