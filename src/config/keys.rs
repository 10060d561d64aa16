//! Keys that stand in the configuration: those that seal cookies, and those that sign a client's
//! assertions (RFC 7518 section 3). Only reads them; the cryptography is aws-lc-rs's.

use std::fmt::Write as _;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use crate::config::read::Value;
use crate::config::settings::PrivateKey;
use crate::core::secret::Secret;
use crate::core::token::Algorithm;

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

/// A client's key for `private_key_jwt`, and the algorithm that follows from it.
pub(super) fn private_key(value: &Value<'_>) -> Option<PrivateKey> {
    let pem = value.secret()?;
    match algorithm_of(pem.expose()) {
        Ok(algorithm) => Some(PrivateKey { pem, algorithm }),
        Err(why) => {
            value.wrong(why);
            None
        }
    }
}

fn algorithm_of(pem: &[u8]) -> Result<Algorithm, String> {
    const TO_PKCS8: &str = "`openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem` makes it so";
    let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem) else {
        let text = String::from_utf8_lossy(pem);
        let is = ["RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE"]
            .into_iter()
            .find(|label| text.contains(&format!("-----BEGIN {label}-----")));
        return Err(match is {
            Some(label @ ("PUBLIC KEY" | "CERTIFICATE")) => {
                format!("is a {}; the private key is needed", label.to_lowercase())
            }
            Some(label) => {
                format!("is `{label}`; an unencrypted PKCS#8 key (`PRIVATE KEY`) is needed: {TO_PKCS8}")
            }
            None => format!("is not a private key in PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`); {TO_PKCS8}"),
        });
    };
    let der = der.secret_pkcs8_der();
    if rsa::KeyPair::from_pkcs8(der).is_ok_and(|key| key.public_modulus_len() >= 256) {
        Ok(Algorithm::Rs256)
    } else if EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).is_ok() {
        Ok(Algorithm::Es256)
    } else if EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).is_ok() {
        Ok(Algorithm::Es384)
    } else if Ed25519KeyPair::from_pkcs8(der).is_ok() {
        Ok(Algorithm::EdDsa)
    } else {
        Err("is not a key that signs here; use RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519".to_owned())
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
