//! The files that a configuration was read from, and whether one of them changed. Looks at them every few
//! seconds: that works on every file system, and when a whole folder is swapped under a link.
//!
//! A look may hang with its file system. Nobody waits for it but whoever asks whether something changed, and there is one at a
//! time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::{Seen, look};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

type Look = dyn Fn(&Path) -> Seen + Send + Sync;
/// What was looked at, and what was seen.
type Looked = (Arc<[PathBuf]>, Vec<Seen>);

/// The files, as they were just before they were read: what changes meanwhile is not missed.
pub(super) struct Files {
    paths: Arc<[PathBuf]>,
    /// `None`: they are taken for read as the next look finds them.
    read: Option<Vec<Seen>>,
    /// A look that has not ended, perhaps at others, for whoever asks next.
    looking: Option<JoinHandle<Looked>>,
    look: Arc<Look>,
}

impl Files {
    pub(super) fn new(files: BTreeMap<PathBuf, Seen>) -> Self {
        let (paths, read): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        Self { paths: paths.into(), read: Some(read), looking: None, look: Arc::new(look) }
    }

    /// Others from here on, or the same as they were before they were read again.
    pub(super) fn replace(&mut self, files: BTreeMap<PathBuf, Seen>) {
        let (paths, read): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        (self.paths, self.read) = (paths.into(), Some(read));
    }

    /// Takes them for read as they are now.
    pub(super) fn look_again(&mut self) {
        self.read = None;
    }

    /// Waits until one of them has changed and then stands still, so that a file that is being written is
    /// not read by half.
    pub(super) async fn changed(&mut self) {
        let mut before = self.read.clone();
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let now = self.seen().await;
            let read = self.read.get_or_insert_with(|| now.clone());
            if *read != now && before.as_ref() == Some(&now) {
                return;
            }
            before = Some(now);
        }
    }

    /// What they are now. A look that hangs goes on when nobody waits any more, and no other begins before it has ended.
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
    use std::time::SystemTime;

    use parking_lot::Mutex;

    use super::*;

    fn state(length: u64) -> Seen {
        Some((SystemTime::UNIX_EPOCH, length, 1))
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
                    () = files.changed() => panic!("nobody knows yet"),
                    _ = signals.recv() => files.look_again(),
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
    async fn what_changed_and_stands_still_is_told_and_what_was_taken_for_read_is_not() {
        let length = Arc::new(AtomicU64::new(7));
        let now = length.clone();
        let mut files = files(move |_| state(now.load(Ordering::Relaxed)));
        let within = |looks: u32| LOOK * looks + LOOK / 2;
        tokio::time::timeout(within(2), files.changed()).await.expect("it is another than was read");
        files.look_again();
        assert!(tokio::time::timeout(within(5), files.changed()).await.is_err(), "as it is now");
        length.store(8, Ordering::Relaxed);
        tokio::time::timeout(within(2), files.changed()).await.expect("changed since");
        files.replace(BTreeMap::from([(PathBuf::from("other.yaml"), state(8))]));
        assert!(tokio::time::timeout(within(5), files.changed()).await.is_err(), "as it was read");
    }
}
