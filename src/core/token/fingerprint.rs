//! What tells one token from all others without holding it: 128 bits made of its whole text, under a key of
//! this process. It is the tag of AES-256-GCM-SIV (RFC 8452) with the text as associated data, nothing to
//! encrypt, and always the same nonce: this cipher's tag is a pseudorandom function of the text even then
//! (section 9). Without the key nobody can make two texts with one fingerprint, or a text with that of a
//! known token, or slow a table. SHA-256 would tell texts apart as well, in nearly three times the time.
//!
//! It names a text, not a token in the sense of revocation: signatures are malleable, and one token can have
//! several texts. It means nothing outside of its process, and must never be stored.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};

/// How long a fingerprint is, in bytes.
const LENGTH: usize = 16;

/// The key of this process.
pub struct FingerprintKey(Option<LessSafeKey>);

impl FingerprintKey {
    /// From 256 random bits.
    pub fn from_random(bits: &[u8; 32]) -> Self {
        Self(UnboundKey::new(&AES_256_GCM_SIV, bits).ok().map(LessSafeKey::new))
    }

    /// The fingerprint of a token's text.
    pub fn of(&self, token: impl AsRef<[u8]>) -> Fingerprint {
        let text = token.as_ref();
        let tag = self.0.as_ref().and_then(|key| {
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            key.seal_in_place_separate_tag(nonce, Aad::from(text), &mut []).ok()
        });
        let tag = tag.as_ref().and_then(|tag| tag.as_ref().first_chunk());
        Fingerprint(tag.copied().unwrap_or_else(|| without_key(text)))
    }
}

/// Where the cipher fails, as it does over 64 GiB of text: as hard to meet, and slower.
fn without_key(text: &[u8]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes.iter_mut().zip(digest(&SHA256, text).as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// The fingerprint of a token's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; LENGTH]);

impl Fingerprint {
    /// The first 64 bits: where to look for it. Others may have the same.
    pub const fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
impl Fingerprint {
    /// The fingerprint with a key that is nobody's secret.
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        FingerprintKey::from_random(&[7; 32]).of(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_whole_text() {
        let key = FingerprintKey::from_random(&[1; 32]);
        let text = "a.b.c".repeat(2000);
        assert_eq!(key.of(&text), key.of(&text));
        for at in [0, 1, 15, 16, 31, 32, 4999, 9998, 9999] {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            assert_ne!(key.of(&text), key.of(&other), "the byte {at}");
        }
        assert_ne!(key.of(&text), key.of(&text[..9999]));
        assert_ne!(key.of("a"), key.of("a\0"), "what fills the last block is not the text");
        assert_ne!(key.of(""), key.of("\0"));
    }

    #[test]
    fn another_process_has_others() {
        let [one, other] = [[1; 32], [2; 32]].map(|bits| FingerprintKey::from_random(&bits));
        assert_ne!(one.of("a.b.c"), other.of("a.b.c"));
        assert!(!format!("{one:?}").contains('1'));
    }

    #[test]
    fn where_the_cipher_fails_texts_are_told_apart_all_the_same() {
        let key = FingerprintKey(None);
        assert_eq!(key.of("abc").0[..4], [0xba, 0x78, 0x16, 0xbf], "RFC 6234 section 8.5");
        assert_ne!(key.of("a.b.c"), key.of("a.b.d"));
    }
}
