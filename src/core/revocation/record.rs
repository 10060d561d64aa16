//! The form in which a revocation is kept and sent to replicas: a version, then MessagePack with the names of the
//! fields, so that replicas of two releases can share a list.

use super::Revocation;

const VERSION: u8 = 1;

impl Revocation {
    /// The form that is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        // Writing to memory has no reason to fail; what is cut short is not readable.
        if rmp_serde::encode::write_named(&mut bytes, self).is_err() {
            bytes.truncate(1);
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        (version == VERSION).then(|| rmp_serde::from_slice(rest).ok()).flatten()
    }
}
