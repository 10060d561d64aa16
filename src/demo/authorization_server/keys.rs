//! The key that signs the demo's tokens: ES256 (RFC 7518 section 3.4), made at start, kept in memory only.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A signing key and what others verify with.
#[derive(Debug)]
pub(super) struct SigningKey {
    key: EncodingKey,
    kid: String,
    jwk: Value,
}

impl SigningKey {
    /// A new key; `None` when the machine has no randomness.
    pub(super) fn make() -> Option<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
        let point = pair.public_key().as_ref();
        let (x, y) = (point.get(1..33)?, point.get(33..65)?);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638 section 3: the required members in lexicographic order, no white space.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig",
        });
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().ok()?.as_ref());
        Some(Self { key, kid, jwk })
    }

    pub(super) fn id(&self) -> &str {
        &self.kid
    }

    /// The JWK Set that others verify with (RFC 7517 section 5).
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// `claims` as a signed JWT of type `typ`; `None` when signing fails.
    pub(super) fn sign(&self, typ: &str, claims: &Value) -> Option<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).ok()
    }
}

/// `N` bytes that nobody can predict; `None` when the machine has none.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// 128 random bits as text, for `jti` and `sid`.
pub(super) fn random_id() -> Option<String> {
    random::<16>().map(|bits| URL_SAFE_NO_PAD.encode(bits))
}

/// SHA-256 of `text`.
pub(super) fn sha256(text: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    hash
}
