//! The files that a configuration was read from, and whether one of them changed. Looks at them every few
//! seconds: that works on every file system, and when a whole folder is swapped under a link.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use std::os::unix::fs::MetadataExt;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What a file was when it was looked at; `None`: not there.
type Seen = Option<(SystemTime, u64, u64)>;

/// The files, as they were when they were read.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, Seen)>);

impl Files {
    pub(super) fn new(files: BTreeSet<PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), look(&file))).collect())
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

fn look(file: &PathBuf) -> Seen {
    let about = fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len(), about.ino()))
}
