//! The form in which a store keeps a family.

use super::Family;
use crate::core::kept;

const VERSION: u8 = 1;

impl Family {
    /// The form that is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        kept::to_bytes(VERSION, self)
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        kept::from_bytes(VERSION, bytes)
    }
}

/// Bytes as bytes: serde writes a `Vec<u8>` as a list of numbers.
pub(super) mod bytes {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(in crate::core::session::exchange) fn serialize<S: Serializer>(
        bytes: &[u8],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(in crate::core::session::exchange) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Bytes)
    }
}
