//! How `limits.token_memory` is shared out among what remembers tokens: docs/configuration.md says how much each may take.

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
