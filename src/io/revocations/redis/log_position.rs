//! Whether the log leads from what a replica knows to what there is, and what it must do where it does not.

use super::scripts::{Entry, Read};
use crate::io::revocations::file::Position;

/// What becomes of what only this replica has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resync {
    /// It was lifted.
    Lift,
    /// It is put into Redis again.
    Keep,
}

/// Whether what was read leads on from `cursor`, and how many entries only prove that. `applied`: what the
/// tables have must be there too, or others may have taken its numbers.
pub(super) fn way_on(cursor: Position, applied: Option<Position>, read: &Read) -> Result<usize, Resync> {
    let is_lost = |known: Position| {
        let is_another = |entry: &Entry| entry.seq == known.seq && entry.nonce != known.nonce;
        read.epoch != known.epoch || read.last < known.seq || read.entries.iter().any(is_another)
    };
    if is_lost(cursor) || applied.is_some_and(is_lost) {
        return Err(Resync::Keep);
    }
    match read.entries.first() {
        // There was nothing before it.
        None if cursor.seq == 0 && read.last == 0 => Ok(0),
        Some(first) if cursor.seq == 0 && first.seq == 1 => Ok(0),
        Some(first) if first.seq == cursor.seq => Ok(1),
        None | Some(_) => Err(Resync::Lift),
    }
}
