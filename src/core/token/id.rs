//! What an access token is known by once it was handed out: `iss` and `jti` where it has one, else the SHA-256 of
//! what was signed, of an opaque token of the whole. Never a signature: those of ECDSA can be altered and still hold
//! (RFC 7515 appendix, malleability), nor a text whose last base64url bits mean nothing.

use serde::{Deserialize, Serialize};

use crate::core::digest::of_parts;
use crate::core::hex;

/// 256 bits that name one token; the token cannot be told from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId([u8; 32]);

impl TokenId {
    /// `jti`: the token's id by its issuer's names for it, where it has one that was read.
    pub fn of(iss: &str, jti: Option<&str>, token: &str) -> Self {
        match (jti, token.rsplit_once('.')) {
            (Some(jti), _) => Self(of_parts(&[b"jti", iss.as_bytes(), jti.as_bytes()])),
            (None, Some((signed, _))) if signed.contains('.') => {
                Self(of_parts(&[b"signed", iss.as_bytes(), signed.as_bytes()]))
            }
            (None, _) => Self(of_parts(&[b"opaque", iss.as_bytes(), token.as_bytes()])),
        }
    }

    /// 64 hexadecimal digits, as [`std::fmt::Display`] writes them.
    pub fn parse(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }

    /// What [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        hex::write(f, &self.0)
    }
}

impl std::fmt::Debug for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_issuer_and_id_whatever_its_text() {
        let known = TokenId::of("https://as", Some("1"), "a.b.c");
        assert_eq!(known, TokenId::of("https://as", Some("1"), "a.b.d"));
        for other in [
            TokenId::of("https://as", Some("2"), "a.b.c"),
            TokenId::of("https://other", Some("1"), "a.b.c"),
            TokenId::of("https://as1", Some(""), "a.b.c"),
            TokenId::of("https://as", None, "a.b.c"),
        ] {
            assert_ne!(known, other);
        }
    }

    #[test]
    fn without_an_id_it_is_what_was_signed_or_all_of_an_opaque_one() {
        let known = |token| TokenId::of("https://as", None, token);
        assert_eq!(known("a.b.c"), known("a.b.other-signature"));
        assert_ne!(known("a.b.c"), known("a.x.c"));
        assert_ne!(known("opaque"), known("opaqu"));
        assert_ne!(known("opaque.1"), known("opaque.2"));
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let id = TokenId::of("https://as", Some("1"), "");
        assert_eq!(TokenId::parse(&id.to_string()), Some(id));
        for bad in [
            "",
            "0",
            &id.to_string().to_uppercase(),
            &format!("+{}", &id.to_string()[1..]),
            &format!("{id}00"),
        ] {
            assert_eq!(TokenId::parse(bad), None, "{bad}");
        }
    }
}
