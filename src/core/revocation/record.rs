//! The form in which a revocation is kept and sent to replicas.

use super::Revocation;
use crate::core::kept;

const VERSION: u8 = 1;

impl Revocation {
    /// The form that is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        kept::to_bytes(VERSION, self)
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        kept::from_bytes(VERSION, bytes)
    }
}
