//! How a value leaves the gateway and comes back unread and unchanged: AES-256-GCM-SIV (RFC 8452)
//! under one subkey per purpose (HKDF-SHA256, RFC 5869).
//!
//! Sealed text is base64url, without padding, of
//! `version (1) ‖ key id (4) ‖ nonce (12) ‖ ciphertext and tag`. Version, key id, purpose, cookie
//! name and client are associated data: a text opens only where it was sealed for. GCM-SIV, because
//! nonces are random and a repeated one must not give the key away.
//!
//! Nothing here chooses a nonce: random bytes are an argument. A text that does not open yields
//! nothing, and no reason.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, KeyType, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::core::secret::Secret;

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;
const KEY_ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + KEY_ID_LEN;
const SALT: &[u8] = b"tollgate sealed v1";

/// 96 random bits, new for each sealing.
pub type SealingNonce = [u8; NONCE_LEN];

/// What a sealed text is for. Each purpose has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The grant in a `token` mode cookie.
    Refresh,
    /// The grant in a `session` mode cookie.
    Session,
    /// A sign-in under way.
    Transaction,
    /// A sign-out under way.
    SignOut,
    /// An answer kept for its window.
    Answer,
    /// An access token kept for a session.
    AccessToken,
}

impl Purpose {
    pub const ALL: [Self; 6] =
        [Self::Refresh, Self::Session, Self::Transaction, Self::SignOut, Self::Answer, Self::AccessToken];

    const fn label(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::SignOut => "sign out",
            Self::Answer => "answer",
            Self::AccessToken => "access token",
        }
    }
}

/// Where a sealed text belongs; it opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    pub purpose: Purpose,
    /// The cookie's name.
    pub cookie: &'a str,
    /// The client's name in config.yaml.
    pub client: &'a str,
}

/// The keys that cookies are sealed with: the first seals, all open. To roll a key, add the new one
/// last everywhere, then move it first.
#[derive(Debug)]
pub struct KeyRing {
    keys: Vec<RingKey>,
}

struct RingKey {
    id: [u8; KEY_ID_LEN],
    subkeys: Vec<(Purpose, LessSafeKey)>,
}

impl std::fmt::Debug for RingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Sealing failed inside the cipher; it has no reason to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value could not be sealed")]
pub struct SealingFailed;

impl KeyRing {
    /// # Errors
    /// When a key is not exactly 32 bytes, two keys are the same, or there is none; the text says which.
    #[allow(clippy::needless_pass_by_value)] // the keys are to be gone afterwards
    pub fn new(keys: Vec<Secret<Vec<u8>>>) -> Result<Self, String> {
        if keys.is_empty() {
            return Err("no cookie key: give at least one key of 32 bytes".to_owned());
        }
        let mut ring = Self { keys: Vec::with_capacity(keys.len()) };
        for (index, key) in keys.iter().enumerate() {
            let length = key.expose().len();
            if length != KEY_LEN {
                return Err(format!("cookie key {index} has {length} bytes; a key has exactly 32"));
            }
            let key = RingKey::derive(key.expose())
                .map_err(|_| format!("cookie key {index}: the subkeys could not be derived"))?;
            if ring.keys.iter().any(|other| other.id == key.id) {
                return Err(format!("cookie key {index} is the same as one before it"));
            }
            ring.keys.push(key);
        }
        Ok(ring)
    }

    /// Seals `plain` with the first key. `nonce` must be random and used once.
    ///
    /// # Errors
    /// Only when the cipher itself fails.
    pub fn seal(
        &self,
        binding: Binding<'_>,
        plain: &[u8],
        nonce: SealingNonce,
    ) -> Result<String, SealingFailed> {
        let key = self.keys.first().ok_or(SealingFailed)?;
        let subkey = key.subkey(binding.purpose).ok_or(SealingFailed)?;
        let mut text = Vec::with_capacity(HEADER_LEN + NONCE_LEN + plain.len() + 16);
        text.push(VERSION);
        text.extend_from_slice(&key.id);
        text.extend_from_slice(&nonce);
        // Encrypted in place: the buffer that held the plain text holds the ciphertext afterwards.
        let mut body = Vec::with_capacity(plain.len() + AES_256_GCM_SIV.tag_len());
        body.extend_from_slice(plain);
        subkey
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data(key.id, binding)),
                &mut body,
            )
            .map_err(|_| SealingFailed)?;
        text.extend_from_slice(&body);
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    /// Opens what [`Self::seal`] made, with any key of the ring; `None` for everything else.
    pub fn open(&self, binding: Binding<'_>, sealed: &str) -> Option<Secret<Vec<u8>>> {
        let text = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (&version, rest) = text.split_first()?;
        let (&id, rest) = rest.split_first_chunk::<KEY_ID_LEN>()?;
        let (&nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        if version != VERSION {
            return None;
        }
        let subkey = self.keys.iter().find(|key| key.id == id)?.subkey(binding.purpose)?;
        let mut body = Secret::new(body.to_vec());
        let length = subkey
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data(id, binding)),
                body.expose_mut(),
            )
            .ok()?
            .len();
        body.expose_mut().truncate(length);
        Some(body)
    }
}

impl RingKey {
    fn derive(key: &[u8]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let prk = Salt::new(HKDF_SHA256, SALT).extract(key);
        let subkeys = Purpose::ALL
            .into_iter()
            .map(|purpose| {
                let bytes = expand::<KEY_LEN>(&prk, purpose.label().as_bytes())?;
                let bytes = Secret::new(bytes);
                Ok((purpose, LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes.expose())?)))
            })
            .collect::<Result<_, aws_lc_rs::error::Unspecified>>()?;
        Ok(Self { id: expand(&prk, b"key id")?, subkeys })
    }

    fn subkey(&self, purpose: Purpose) -> Option<&LessSafeKey> {
        self.subkeys.iter().find(|(of, _)| *of == purpose).map(|(_, key)| key)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

pub(super) fn expand<const N: usize>(
    prk: &Prk,
    info: &[u8],
) -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; N];
    let info = [info];
    let okm: hkdf::Okm<'_, Length> = prk.expand(&info, Length(N))?;
    okm.fill(&mut bytes)?;
    Ok(bytes)
}

/// Each part with its length before it, so that no two bindings have the same bytes.
fn associated_data(key_id: [u8; KEY_ID_LEN], binding: Binding<'_>) -> Vec<u8> {
    let mut data = vec![VERSION];
    data.extend_from_slice(&key_id);
    for part in [binding.purpose.label(), binding.cookie, binding.client] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[u8]) -> KeyRing {
        KeyRing::new(keys.iter().map(|&byte| Secret::new(vec![byte; 32])).collect()).unwrap()
    }

    const BINDING: Binding<'_> =
        Binding { purpose: Purpose::Refresh, cookie: "__Secure-tollgate-web", client: "web" };

    fn opened(ring: &KeyRing, binding: Binding<'_>, text: &str) -> Option<Vec<u8>> {
        ring.open(binding, text).map(|plain| plain.expose().clone())
    }

    #[test]
    fn what_was_sealed_opens_again_and_shows_nothing() {
        bolero::check!().with_type::<(Vec<u8>, [u8; 12])>().for_each(|(plain, nonce)| {
            let ring = ring(&[1]);
            let text = ring.seal(BINDING, plain, *nonce).unwrap();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            assert_eq!(opened(&ring, BINDING, &text).as_ref(), Some(plain));
        });
    }

    #[test]
    fn one_changed_bit_or_a_shorter_text_does_not_open() {
        let ring = ring(&[1]);
        bolero::check!().with_type::<(Vec<u8>, [u8; 12], u16, u8)>().for_each(|(plain, nonce, at, bit)| {
            let text = ring.seal(BINDING, plain, *nonce).unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let at = usize::from(*at) % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
            assert_eq!(opened(&ring, BINDING, &URL_SAFE_NO_PAD.encode(&bytes)), None);
            assert_eq!(opened(&ring, BINDING, &text[..at]), None);
        });
    }

    #[test]
    fn every_bit_of_a_text_counts() {
        let ring = ring(&[1]);
        let text = ring.seal(BINDING, b"refresh token", [7; 12]).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_eq!(opened(&ring, BINDING, &URL_SAFE_NO_PAD.encode(changed)), None, "bit {at}");
        }
        for end in 0..text.len() {
            assert_eq!(opened(&ring, BINDING, &text[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn a_text_opens_for_its_own_purpose_cookie_and_client_only() {
        let ring = ring(&[1]);
        for purpose in Purpose::ALL {
            let text = ring.seal(Binding { purpose, ..BINDING }, b"x", [1; 12]).unwrap();
            for other in Purpose::ALL {
                let found = opened(&ring, Binding { purpose: other, ..BINDING }, &text);
                assert_eq!(found.is_some(), other == purpose, "{purpose:?} as {other:?}");
            }
            assert_eq!(
                opened(&ring, Binding { purpose, cookie: "__Secure-tollgate-we", ..BINDING }, &text),
                None
            );
            assert_eq!(opened(&ring, Binding { purpose, client: "other", ..BINDING }, &text), None);
            // The border between cookie name and client cannot be moved.
            let moved = Binding { purpose, cookie: "__Secure-tollgate-webw", client: "eb" };
            assert_eq!(opened(&ring, moved, &text), None);
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let old = ring(&[1]).seal(BINDING, b"x", [1; 12]).unwrap();
        assert!(opened(&ring(&[2, 1]), BINDING, &old).is_some());
        assert!(opened(&ring(&[2]), BINDING, &old).is_none());
        let new = ring(&[2, 1]).seal(BINDING, b"x", [1; 12]).unwrap();
        assert!(opened(&ring(&[1]), BINDING, &new).is_none());
        assert!(opened(&ring(&[2]), BINDING, &new).is_some());
    }

    #[test]
    fn keys_are_exactly_32_bytes_and_different() {
        for bad in [0, 16, 31, 33, 64] {
            let why = KeyRing::new(vec![Secret::new(vec![1; bad])]).unwrap_err();
            assert!(why.contains("exactly 32"), "{why}");
        }
        assert!(KeyRing::new(Vec::new()).is_err());
        assert!(KeyRing::new(vec![Secret::new(vec![1; 32]), Secret::new(vec![1; 32])]).is_err());
    }
}
