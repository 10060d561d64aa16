//! What an access token is known by once it was handed out: `iss` and `jti` where it has one, else the SHA-256 of
//! what was signed, of an opaque token of the whole. Never a signature: those of ECDSA can be altered and still hold
//! (RFC 7515 appendix, malleability), nor a text whose last base64url bits mean nothing.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// 256 bits that name one token; the token cannot be told from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId([u8; 32]);

impl TokenId {
    /// `jti`: the token's id by its issuer's names for it, where it has one that was read.
    pub fn of(iss: &str, jti: Option<&str>, token: &str) -> Self {
        match (jti, token.rsplit_once('.')) {
            (Some(jti), _) => Self::digest(&[b"jti", iss.as_bytes(), jti.as_bytes()]),
            (None, Some((signed, _))) if signed.contains('.') => {
                Self::digest(&[b"signed", iss.as_bytes(), signed.as_bytes()])
            }
            (None, _) => Self::digest(&[b"opaque", iss.as_bytes(), token.as_bytes()]),
        }
    }

    /// Each part with its length before it, so that no two lists have the same bytes.
    fn digest(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut id = [0; 32];
        id.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
}
