//! The holder of a key to which tokens are bound (RFC 9449): one P-256 key, made for the test.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub struct Holder {
    key: EcdsaKeyPair,
    made: std::cell::Cell<u32>,
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

impl Holder {
    pub fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { key, made: std::cell::Cell::new(0) }
    }

    fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({ "crv": "P-256", "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
    }

    /// RFC 7638 section 3; the members of a JSON object are sorted here.
    pub fn thumbprint(&self) -> String {
        hash(&self.jwk().to_string())
    }

    /// A proof that no other is equal to, of this request with this token.
    pub fn proof(&self, method: &str, url: &str, token: &str) -> String {
        self.proof_with(method, url, token, &json!({}), &json!({}))
    }

    /// The same, with these members of header and payload in place of its own; `null` takes one out.
    pub fn proof_with(&self, method: &str, url: &str, token: &str, header: &Value, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.made.set(self.made.get() + 1);
        let jti = format!("{}-{}", self.thumbprint(), self.made.get());
        let payload = json!({ "jti": jti, "htm": method, "htu": url, "iat": now, "ath": hash(token) });
        let parts =
            [(json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() }), header), (payload, claims)]
                .map(|(mut all, changes)| {
                    for (name, value) in changes.as_object().unwrap() {
                        if value.is_null() {
                            all.as_object_mut().unwrap().remove(name);
                        } else {
                            all[name] = value.clone();
                        }
                    }
                    URL_SAFE_NO_PAD.encode(all.to_string())
                });
        let message = parts.join(".");
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
