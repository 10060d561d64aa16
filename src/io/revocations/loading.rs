//! How a list gets from its file into the tables that requests ask: in pieces, so that others have their
//! turn, and with all processors, so that a start does not take long.

use std::io;
use std::num::NonZero;
use std::thread::{self, ScopedJoinHandle};

use super::file::{ListFile, Stretch};
use crate::core::revocation::RevocationId;
use crate::io::store_file::StoreFileError;
use crate::state::revocations::Revocations;

/// How many stretches are loaded at once, at most.
const AT_ONCE: usize = 8;

/// What is not loaded yet.
pub(super) struct Loading(Vec<Stretch>);

impl Loading {
    pub(super) fn begin() -> Self {
        let count = thread::available_parallelism().map_or(1, NonZero::get).min(AT_ONCE);
        let mut stretches: Vec<Stretch> = Vec::with_capacity(count);
        // Ids are hashes, so stretches of one length have as many each.
        for number in 1..=count {
            let first = u8::try_from(256 * number / count - 1).unwrap_or(u8::MAX);
            let mut last = [u8::MAX; 16];
            last[0] = first;
            let after = stretches.last().and_then(|before| before.last);
            stretches.push(Stretch { after, last: Some(RevocationId::from_bytes(last)) });
        }
        Self(stretches)
    }

    /// Loads a piece of each stretch. Returns whether there is more.
    pub(super) fn go_on(
        &mut self,
        file: &ListFile,
        tables: &Revocations,
        limit: usize,
    ) -> Result<bool, StoreFileError> {
        let load = |stretch: Stretch| {
            let piece = file.piece(stretch, limit)?;
            tables.apply(&piece.changes);
            Ok(piece.next.map(|next| Stretch { after: Some(next), ..stretch }))
        };
        let stretches = std::mem::take(&mut self.0);
        let loaded: Vec<Result<Option<Stretch>, StoreFileError>> = thread::scope(|scope| {
            let load = &load;
            let begin = |stretch: &Stretch| {
                let stretch = *stretch;
                thread::Builder::new().spawn_scoped(scope, move || load(stretch))
            };
            let threads: Vec<_> = stretches.iter().map(begin).collect();
            let end = |(thread, stretch): (io::Result<ScopedJoinHandle<'_, _>>, &Stretch)| match thread {
                // The library panics over some damages.
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(file.unreadable())),
                // Where no thread can be had it takes longer.
                Err(_) => load(*stretch),
            };
            threads.into_iter().zip(&stretches).map(end).collect()
        });
        let mut left = Vec::with_capacity(loaded.len());
        for (stretch, loaded) in stretches.into_iter().zip(&loaded) {
            match loaded {
                Ok(None) => {}
                Ok(Some(rest)) => left.push(*rest),
                Err(_) => left.push(stretch),
            }
        }
        self.0 = left;
        loaded.into_iter().find_map(Result::err).map_or(Ok(!self.0.is_empty()), Err)
    }
}
