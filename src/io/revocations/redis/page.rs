//! How much of the log is read at once: as much as comes in time. Entries may be large and the way to Redis
//! narrow, and a page that never comes in time would keep a replica from following for ever.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Shared;
use super::scripts::{self, Read};
use crate::flows::ports::StoreFault;

/// How many entries are read at once, at most.
pub(super) const PAGE: usize = 2000;
/// The first is what the reader has already.
const SHORTEST_PAGE: usize = 2;
/// A page that came so soon may be twice as long the next time.
const LENGTHEN_WITHIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Page(AtomicUsize);

impl Default for Page {
    fn default() -> Self {
        Self(AtomicUsize::new(PAGE))
    }
}

impl Page {
    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn came_after(&self, time: Duration) {
        if time <= LENGTHEN_WITHIN {
            self.0.store((2 * self.now()).min(PAGE), Ordering::Relaxed);
        }
    }

    fn did_not_come(&self) {
        self.0.store((self.now() / 2).max(SHORTEST_PAGE), Ordering::Relaxed);
    }
}

impl Shared {
    /// The log from the entry `from` on.
    pub(super) async fn read_log(&self, from: u64) -> Result<Read, StoreFault> {
        let (Self { link, names, page, .. }, began) = (self, Instant::now());
        let count = page.now();
        let read = link.ask(async |line| scripts::read(line, names, from, count).await).await;
        match &read {
            Ok(_) => page.came_after(began.elapsed()),
            // In a cluster the library may be the first to give up.
            Err(StoreFault::Deadline | StoreFault::Unfinished(_)) => page.did_not_come(),
            Err(_) => {}
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_does_not_come_in_time_is_halved_to_one_more_entry_and_grows_again_when_it_comes_soon() {
        let page = Page::default();
        let mut sizes = Vec::new();
        for _ in 0..12 {
            sizes.push(page.now());
            page.did_not_come();
        }
        assert_eq!(sizes, [2000, 1000, 500, 250, 125, 62, 31, 15, 7, 3, 2, 2]);
        page.came_after(LENGTHEN_WITHIN * 2);
        assert_eq!(page.now(), SHORTEST_PAGE, "it came late");
        for _ in 0..12 {
            page.came_after(LENGTHEN_WITHIN);
        }
        assert_eq!(page.now(), PAGE);
    }
}
