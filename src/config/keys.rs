//! Keys that stand in the configuration: those that seal cookies, and those that sign a client's
//! assertions (RFC 7518 section 3). Only reads them; the cryptography is aws-lc-rs's.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::config::network::certificates;
use crate::config::settings::PrivateKey;
use crate::config::text::read::{Keys, Value};
use crate::core::secret::Secret;
use crate::core::session::oauth::authentication::{Audience, KeyNames};
use crate::core::signing::SigningKey;

/// The length of a cookie key, in bytes.
pub const COOKIE_KEY_BYTES: usize = 32;

/// A cookie key as `sessions.keys` takes it and `tollgate keys cookie` prints it: 64 hex digits.
pub fn write_cookie_key(key: &[u8; COOKIE_KEY_BYTES]) -> Secret<String> {
    let mut text = String::with_capacity(2 * COOKIE_KEY_BYTES);
    for byte in key {
        let _ = write!(text, "{byte:02x}");
    }
    Secret::new(text)
}

/// Reads 64 hex digits, or the same 32 bytes in base64url.
fn read_cookie_key(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if text.len() == 2 * COOKIE_KEY_BYTES {
        let digits: Vec<u8> = text.iter().map(digit).collect::<Option<_>>()?;
        return Some(
            digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect(),
        );
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64url = GeneralPurpose::new(&base64::alphabet::URL_SAFE, config);
    base64url.decode(text).ok().filter(|key| key.len() == COOKIE_KEY_BYTES)
}

/// `sessions.keys`: the first seals, all open.
pub(super) fn cookie_keys(value: &Value<'_>) -> Vec<Secret<Vec<u8>>> {
    if !value.is_list() {
        return Vec::new();
    }
    let mut keys: Vec<Secret<Vec<u8>>> = Vec::new();
    let items = value.items();
    if items.is_empty() {
        value.wrong(
            "the list is empty; add a key (`tollgate keys cookie` makes one), or remove it and one is made",
        );
    }
    for item in items {
        let Some(text) = item.secret() else { continue };
        match read_cookie_key(text.expose()).map(Secret::new) {
            None => item.wrong(
                "is not a key of 32 bytes in 64 hex digits or base64url; `tollgate keys cookie` makes one",
            ),
            Some(key) if keys.contains(&key) => item.wrong("is in this list already; remove one"),
            Some(key) => keys.push(key),
        }
    }
    keys
}

/// `identity.assertion.keys`: the first signs, all are published.
pub(super) fn assertion_keys(value: &Value<'_>) -> Vec<Secret<Vec<u8>>> {
    if !value.is_list() {
        return Vec::new();
    }
    let mut keys: Vec<Secret<Vec<u8>>> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let items = value.items();
    if items.is_empty() {
        value.wrong(
            "the list is empty; add a key (`tollgate keys assertion` makes one), or remove it and one is made",
        );
    }
    for item in items {
        let Some(pem) = item.secret() else { continue };
        match SigningKey::from_pem(pem.expose()) {
            Err(why) => item.wrong(format!("{why}; `tollgate keys assertion` makes one")),
            Ok(key) if names.iter().any(|name| name == key.kid()) => {
                item.wrong("is in this list already; remove one");
            }
            Ok(key) => {
                names.push(key.kid().to_owned());
                keys.push(pem);
            }
        }
    }
    keys
}

/// A client's `private_key` for `private_key_jwt`, the algorithm that follows from it, by what it is found
/// there, `kid` and `certificate`, and whom its assertions are for.
pub(super) fn private_key(keys: &Keys<'_>) -> Option<PrivateKey> {
    let value = keys.get("private_key")?;
    let pem = value.secret();
    let key = pem.as_ref().map(|pem| SigningKey::from_pem(pem.expose()).map_err(|why| value.wrong(why)).ok());
    let kid = keys.get("kid").map(|value| value.text());
    let certificate = keys.get("certificate").map(|value| certificates::thumbprint(&value, pem.as_ref()));
    let audience = keys.word("assertion_audience", &Audience::NAMES, Audience::default());
    let (pem, key) = (pem?, key??);
    let names = KeyNames {
        kid: match kid {
            Some(kid) => Some(kid?),
            None => None,
        },
        certificate: match certificate {
            Some(thumbprint) => Some(thumbprint?),
            None => None,
        },
    };
    // Who finds certificates by their SHA-256 wants PSS with it: Entra ID.
    let key = if names.certificate.is_some() { key.with_pss() } else { key };
    Some(PrivateKey { pem, algorithm: key.algorithm(), names, audience })
}

/// Where there is no `private_key`.
pub(super) fn no_private_key(keys: &Keys<'_>) {
    for name in ["kid", "certificate", "assertion_audience"] {
        if keys.has(name) {
            keys.wrong(name, "belongs to a `private_key`, and there is none; add that, or remove this");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_key_is_read_as_it_was_written() {
        let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 7).unwrap_or(255));
        let text = write_cookie_key(&key);
        assert_eq!(text.expose().len(), 64);
        assert_eq!(read_cookie_key(text.expose().as_bytes()), Some(key.to_vec()));
        let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key);
        assert_eq!(read_cookie_key(base64.as_bytes()), Some(key.to_vec()));
        let padded = base64::engine::general_purpose::URL_SAFE.encode(key);
        assert_eq!(read_cookie_key(padded.as_bytes()), Some(key.to_vec()));
    }

    #[test]
    fn a_key_of_any_other_length_is_none() {
        for bad in
            ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"A".repeat(42), &"A".repeat(44)]
        {
            assert_eq!(read_cookie_key(bad.as_bytes()), None, "{bad}");
        }
    }
}
