//! Writes entries of the list beside what others hold of the same: a block that is there already stays theirs
//! as well (`core::revocation::holders`).
//!
//! What is written depends on what was found, so it is written only while that is still there: of two who
//! change one block at the same moment, at whatever replica, the second sees what the first made of it.

use crate::core::revocation::{Change, Revocation, RevocationId, Rule};
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::ports::{EntryAsSeen, StoreFault};

/// How often somebody else may be faster.
pub(in crate::flows) const TRIES: usize = 16;

/// What the list has of an entry, in force or ended.
///
/// # Errors
/// It cannot be read now.
pub(in crate::flows) async fn see(gate: &Gate, id: RevocationId) -> Result<EntryAsSeen, StoreFault> {
    Ok(EntryAsSeen { id, entry: gate.revocation_log.find(id).await? })
}

/// Adds these, blocks beside whoever holds them already. Returns them as they stand.
///
/// # Errors
/// The list cannot be written now.
pub(super) async fn add(
    gate: &Gate,
    wanted: &[Revocation],
    now: Timestamp,
) -> Result<Vec<Revocation>, StoreFault> {
    for _ in 0..TRIES {
        let (mut found, mut made) = (Vec::new(), Vec::with_capacity(wanted.len()));
        for revocation in wanted {
            if revocation.rule != Rule::Block {
                made.push(revocation.clone());
                continue;
            }
            let seen = see(gate, revocation.id()).await?;
            made.push(revocation.clone().beside(seen.entry.as_ref(), now));
            found.push(seen);
        }
        let changes: Vec<_> = made.iter().cloned().map(Change::Add).collect();
        if gate.revocation_log.append_if(&found, &changes).await? {
            return Ok(made);
        }
    }
    Err(too_often())
}

pub(in crate::flows) fn too_often() -> StoreFault {
    StoreFault::Unavailable("an entry of the list is changed all the time".to_owned())
}
