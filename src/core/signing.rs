//! Keys that the gateway signs with (RFC 7515, RFC 7518 section 3, RFC 8037 section 3.1): read once from
//! PKCS#8 PEM, the algorithm follows from the key, and its name is its thumbprint (RFC 7638), so that two
//! keys never share one. The cryptography is aws-lc-rs's.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::core::token::Algorithm;

/// A private key that signs with one algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    public: Jwk,
    kid: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that was read cannot sign after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private key does not sign")]
pub struct SigningFailed;

impl SigningKey {
    /// Reads a key in PKCS#8 PEM: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519.
    ///
    /// # Errors
    /// What it is instead, and what would be right, as the rest of a sentence for the operator.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem) else { return Err(what_it_is(pem)) };
        let der = der.secret_pkcs8_der();
        let ecdsa = |curve| EcdsaKeyPair::from_pkcs8(curve, der);
        let (algorithm, pair, public) = if let Ok(pair) = RsaKeyPair::from_pkcs8(der)
            && pair.public_modulus_len() >= 256
        {
            let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
            (Algorithm::Rs256, Pair::Rsa(pair), public)
        } else if let Ok(pair) = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING) {
            let public = DecodingKey::from_ec_der(pair.public_key().as_ref());
            (Algorithm::Es256, Pair::Ecdsa(pair), public)
        } else if let Ok(pair) = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING) {
            let public = DecodingKey::from_ec_der(pair.public_key().as_ref());
            (Algorithm::Es384, Pair::Ecdsa(pair), public)
        } else if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            let public = DecodingKey::from_ed_der(pair.public_key().as_ref());
            (Algorithm::EdDsa, Pair::Ed25519(pair), public)
        } else {
            return Err(
                "is not a key that signs here; use RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519"
                    .to_owned(),
            );
        };
        let named = Jwk::from_decoding_key(&public, None)
            .and_then(|public| public.thumbprint(ThumbprintHash::SHA256).map(|kid| (public, kid)));
        let (public, kid) =
            named.map_err(|_| "has a public half that cannot be written as a JWK".to_owned())?;
        Ok(Self { algorithm, pair, public, kid })
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The same key where it is to sign with PSS, of RSA; any other as it is.
    pub fn with_pss(self) -> Self {
        let algorithm = if self.algorithm == Algorithm::Rs256 { Algorithm::Ps256 } else { self.algorithm };
        Self { algorithm, ..self }
    }

    /// Its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its public half, as a JWK for signatures (RFC 7517 section 4).
    pub fn public_jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(&self.public).unwrap_or_default();
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".to_owned(), json!(self.kid));
            members.insert("alg".to_owned(), json!(self.algorithm.name()));
            members.insert("use".to_owned(), json!("sig"));
        }
        jwk
    }

    /// A JWS signature.
    ///
    /// # Errors
    /// When the machine gives no random bits; else never.
    pub fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &dyn signature::RsaEncoding = match self.algorithm {
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                pair.sign(padding, &SystemRandom::new(), input, &mut signature).map_err(|_| SigningFailed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), input).map_err(|_| SigningFailed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(input).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm.name(), self.kid)
    }
}

/// A PKCS#8 key in PEM (RFC 7468 section 10).
pub fn write_pem(der: &[u8]) -> Zeroizing<String> {
    const LINE: usize = 64;
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // Room for all of it: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(base64.len() + base64.len() / LINE + 80));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

fn what_it_is(pem: &[u8]) -> String {
    const TO_PKCS8: &str = "`openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem` makes it so";
    let text = String::from_utf8_lossy(pem);
    let is = ["RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE"]
        .into_iter()
        .find(|label| text.contains(&format!("-----BEGIN {label}-----")));
    match is {
        Some(label @ ("PUBLIC KEY" | "CERTIFICATE")) => {
            format!("is a {}; the private key is needed", label.to_lowercase())
        }
        Some(label) => {
            format!("is `{label}`; an unencrypted PKCS#8 key (`PRIVATE KEY`) is needed: {TO_PKCS8}")
        }
        None => format!("is not a private key in PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`); {TO_PKCS8}"),
    }
}
