//! What tells one token from all others without holding it: SHA-256 of its whole text (RFC 6234). Two texts
//! with one fingerprint cannot be made.
//!
//! It names a text, not a token in the sense of revocation: signatures are malleable, and one token can have
//! several texts.

use aws_lc_rs::digest::{SHA256, digest};

/// The fingerprint of a token's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_ref()).as_ref());
        Self(bytes)
    }

    /// Whether this is the SHA-256.
    pub fn is(&self, digest: &[u8; 32]) -> bool {
        self.0 == *digest
    }

    /// The first 64 bits: where to look for it. Others may have the same.
    pub const fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_whole_text() {
        assert_eq!(Fingerprint::of("a.b.c"), Fingerprint::of("a.b.c"));
        assert_ne!(Fingerprint::of("a.b.c"), Fingerprint::of("a.b.d"));
        assert_eq!(Fingerprint::of("abc").0[..4], [0xba, 0x78, 0x16, 0xbf], "RFC 6234 section 8.5");
    }
}
