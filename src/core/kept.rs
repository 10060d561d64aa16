//! The form in which a store keeps what replicas share: a version, then MessagePack with the names of the
//! fields, so that replicas of two releases can share a store.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The form that is kept.
pub(in crate::core) fn to_bytes(version: u8, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![version];
    // Writing to memory has no reason to fail; what is cut short is not readable.
    if rmp_serde::encode::write_named(&mut bytes, value).is_err() {
        bytes.truncate(1);
    }
    bytes
}

/// Reads what [`to_bytes`] wrote with this version; `None` for everything else.
pub(in crate::core) fn from_bytes<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Option<T> {
    let (&first, rest) = bytes.split_first()?;
    (first == version).then(|| rmp_serde::from_slice(rest).ok()).flatten()
}
