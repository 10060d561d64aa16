//! The files that a configuration was read from, and whether one of them changed. Looks at them every few
//! seconds: that works on every file system, and when a whole folder is swapped under a link.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Seen, look};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The files, as they were just before they were read: what changes meanwhile is not missed.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, Seen)>);

impl Files {
    pub(super) fn new(files: BTreeMap<PathBuf, Seen>) -> Self {
        Self(files.into_iter().collect())
    }

    /// Takes them for read as they are now.
    pub(super) fn look_again(&mut self) {
        for (file, seen) in &mut self.0 {
            *seen = look(file);
        }
    }

    /// Waits until one of them has changed and then stands still, so that a file that is being written is
    /// not read by half.
    pub(super) async fn changed(&self) {
        let mut before: Vec<Seen> = self.0.iter().map(|(_, seen)| *seen).collect();
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let now: Vec<Seen> = self.0.iter().map(|(file, _)| look(file)).collect();
            let changed = self.0.iter().zip(&now).any(|((_, seen), now)| seen != now);
            if changed && now == before {
                return;
            }
            before = now;
        }
    }
}
