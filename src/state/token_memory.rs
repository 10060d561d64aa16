//! How `limits.token_memory` is shared out among what remembers tokens: docs/configuration.md says how much
//! each may take.

/// For how many a memory of so many bytes is made at first, where each takes some kilobytes. By that a cache
/// decides into how many parts it is cut, and how many it still knows by name that it had no more room for,
/// so that one who comes back stays.
pub(super) fn expected(limit: u64) -> usize {
    usize::try_from(limit / (4 * 1024)).unwrap_or(usize::MAX).max(1024)
}

/// Bytes for each.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    pub verified_tokens: u64,
    pub assertions: u64,
    pub sessions: u64,
    pub used_proofs: u64,
    pub used_page_proofs: u64,
}

impl Shares {
    /// `token_memory`: in bytes.
    pub const fn of(token_memory: u64) -> Self {
        let half = token_memory / 2;
        Self {
            verified_tokens: token_memory,
            assertions: half,
            sessions: half,
            used_proofs: half,
            used_page_proofs: token_memory / 8,
        }
    }
}
