//! The identity of an access token: `iss` and `jti`, else SHA-256 of the signed part (opaque: of the text, in
//! one spelling). Never the signature (ECDSA's are malleable) nor a spelling with unused base64url bits:
//! otherwise a revoked token could be respelled and go on.

use serde::{Deserialize, Serialize};

use crate::core::digest::of_parts;
use crate::core::hex;
use crate::core::token::introspection::is_opaque;

/// 256 bits that name one token; the token cannot be told from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId([u8; 32]);

impl TokenId {
    /// `jti`: the token's id by its issuer's names for it, where it has one that was read.
    pub fn of(iss: &str, jti: Option<&str>, token: &str) -> Self {
        match (jti, token.rsplit_once('.')) {
            (Some(jti), _) => Self(of_parts(&[b"jti", iss.as_bytes(), jti.as_bytes()])),
            (None, Some((signed, _))) if signed.contains('.') && !is_opaque(token) => {
                Self(of_parts(&[b"signed", iss.as_bytes(), signed.as_bytes()]))
            }
            (None, _) => Self(of_parts(&[b"opaque", iss.as_bytes(), &one_spelling(token)])),
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

/// Parts of at least so many digits of base64 are random or encrypted: 128 bits (RFC 6749 section 10.10).
const RANDOM: usize = 22;

/// One for all spellings of an opaque token that some server takes for the same: without padding; in one
/// alphabet of base64; without the last digit of what is random, some bits of which may mean nothing; in one
/// case, for tables that are searched without regard to it; without the prefix that Ory Hydra takes or
/// leaves. What is lost of a random token makes no two of them one.
fn one_spelling(token: &str) -> Vec<u8> {
    let token = token.strip_prefix("ory_at_").unwrap_or(token).trim_end_matches('=');
    let mut spelling = Vec::with_capacity(token.len());
    for part in token.split_inclusive(['.', '~']) {
        let digits = part.trim_end_matches(['.', '~']);
        let kept = if digits.len() < RANDOM { digits.len() } else { digits.len() - 1 };
        spelling.extend(digits.bytes().take(kept).map(|digit| match digit {
            b'+' => b'-',
            b'/' => b'_',
            other => other.to_ascii_lowercase(),
        }));
        spelling.extend(part.bytes().skip(digits.len()));
    }
    spelling
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
        assert_eq!(known("eyJ9.b.c"), known("eyJ9.b.other-signature"));
        assert_ne!(known("eyJ9.b.c"), known("eyJ9.x.c"));
        assert_ne!(known("opaque"), known("opaqu"));
        assert_ne!(known("opaque.1"), known("opaque.2"));
    }

    #[test]
    fn an_opaque_token_with_dots_is_known_by_all_of_it() {
        let known = |token| TokenId::of("https://as", None, token);
        assert_ne!(known("v4.local.QAxIpVe-ECVNI1z4"), known("v4.local.6BwCmeHFZ1oLyX8u"), "PASETO");
        assert_ne!(known("1000.8cb99d.9b8d"), known("1000.8cb99d.7c1e"));
        assert_ne!(known("a.b.c.d.e"), known("a.b.c.d.f"));
    }

    #[test]
    fn other_spellings_that_servers_take_for_the_same_opaque_token_have_its_name() {
        const KEY: &str = "Lq8tNMkwQ2_qC9yv4xIsfWmZ-0eCz3XBPoTUd1KhJ7A";
        const MAC: &str = "b5c0YxEo-9J4ZqTn_kVtUuCwMfRr2Hh7LsGg8PpDd1I";
        let known = |token: &str| TokenId::of("https://as", None, token);
        let token = format!("ory_at_{KEY}.{MAC}");
        let bare = KEY.strip_suffix('A').unwrap();
        for same in [
            format!("{KEY}.{MAC}"),
            format!("ory_at_{bare}B.{MAC}"), // its last two bits mean nothing
            format!("ory_at_{bare}D.{MAC}"),
            format!("{token}=="),
            token.replace("ory_at_", "").replace('-', "+").replace('_', "/"),
            token.to_ascii_uppercase().replace("ORY_AT_", "ory_at_"),
        ] {
            assert_eq!(known(&same), known(&token), "{same}");
        }
        for other in [
            format!("ory_at_{KEY}.{}", MAC.replacen('c', "d", 1)),
            format!("ory_at_{}.{MAC}", KEY.replacen('q', "r", 1)),
            format!("ory_at_{MAC}.{KEY}"),
            format!("ory_at_{KEY}{MAC}"),
            KEY.to_owned(),
        ] {
            assert_ne!(known(&other), known(&token), "{other}");
        }
        assert_ne!(known("short-1"), known("short-2"), "of a short one all counts");
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
