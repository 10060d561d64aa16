//! Keys and tokens for tests, here and in the layers that import this one. Keys are made anew in each test
//! process; tokens are signed by `jsonwebtoken`, so that what verifies is not what signed.

use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature as raw;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;
use crate::core::token::{Algorithm, ClaimNames, TokenRules};

pub(crate) const ISS: &str = "https://as.example";
pub(crate) const AUDIENCE: &str = "https://api.example.com";
/// The moment of most tests.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
/// Long enough for each of [`OF_A_SECRET`].
pub(crate) const LONG_SECRET: &[u8; 64] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const OF_A_SECRET: [Algorithm; 3] = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];

/// A private key that a test signs with.
pub(crate) struct TestKey {
    pub(crate) kid: &'static str,
    pub(crate) algorithm: Algorithm,
    key: EncodingKey,
}

/// One key of each kind: RSA 2048 (`rsa`), P-256 (`p256`), P-384 (`p384`), Ed25519 (`ed`).
pub(crate) struct TestKeys {
    pub(crate) rsa: TestKey,
    pub(crate) p256: TestKey,
    pub(crate) p384: TestKey,
    pub(crate) ed: TestKey,
}

pub(crate) fn keys() -> &'static TestKeys {
    static KEYS: OnceLock<TestKeys> = OnceLock::new();
    KEYS.get_or_init(|| TestKeys {
        rsa: new_rsa("rsa"),
        p256: new_p256("p256"),
        p384: {
            let random = aws_lc_rs::rand::SystemRandom::new();
            let der =
                raw::EcdsaKeyPair::generate_pkcs8(&raw::ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
            TestKey { kid: "p384", algorithm: Algorithm::Es384, key: EncodingKey::from_ec_der(der.as_ref()) }
        },
        ed: {
            let der = raw::Ed25519KeyPair::generate().unwrap();
            let der: Pkcs8V1Der<'_> = der.as_der().unwrap();
            TestKey { kid: "ed", algorithm: Algorithm::EdDsa, key: EncodingKey::from_ed_der(der.as_ref()) }
        },
    })
}

/// A new P-256 key, for tests that rotate.
pub(crate) fn new_p256(kid: &'static str) -> TestKey {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let der = raw::EcdsaKeyPair::generate_pkcs8(&raw::ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    TestKey { kid, algorithm: Algorithm::Es256, key: EncodingKey::from_ec_der(der.as_ref()) }
}

/// A new RSA key of 2048 bits.
pub(crate) fn new_rsa(kid: &'static str) -> TestKey {
    let pair = raw::RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    // `RsaKeyPair::from_der` reads PKCS#1, which is what the PKCS#8 of an RSA key wraps.
    let pkcs1 = pkcs8.as_ref().get(26..).unwrap();
    TestKey { kid, algorithm: Algorithm::Rs256, key: EncodingKey::from_rsa_der(pkcs1) }
}

impl TestKey {
    pub(crate) fn kid(&self) -> &'static str {
        self.kid
    }

    /// The public JWK, with `kid` and without `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, of_jsonwebtoken(self.algorithm)).unwrap();
        let mut value = serde_json::to_value(jwk).unwrap();
        let members = value.as_object_mut().unwrap();
        members.remove("alg");
        members.insert("kid".to_owned(), self.kid.into());
        value
    }

    /// A token with this key's `kid` and algorithm, and `typ: at+jwt`.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": self.algorithm.name(), "typ": "at+jwt", "kid": self.kid }), claims)
    }

    /// A token with exactly this header, signed with the algorithm that it names.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let algorithm = Algorithm::parse(header["alg"].as_str().unwrap()).unwrap_or(self.algorithm);
        self.sign_text(algorithm, &header.to_string(), &claims.to_string())
    }

    /// A token over exactly these bytes.
    pub(crate) fn sign_text(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        sign_text(&self.key, algorithm, header, payload)
    }
}

/// A token over exactly these bytes, by HMAC with any secret.
pub(crate) fn sign_hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    sign_hmac(Algorithm::Hs256, secret, header, claims)
}

/// As [`sign_hs256`], with HS384 or HS512 too, whatever the header says.
pub(crate) fn sign_hmac(algorithm: Algorithm, secret: &[u8], header: &Value, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret);
    sign_text(&key, algorithm, &header.to_string(), &claims.to_string())
}

fn sign_text(key: &EncodingKey, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let signed = unsigned(header, payload);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, of_jsonwebtoken(algorithm)).unwrap();
    format!("{signed}.{signature}")
}

/// Header and payload without a signature.
pub(crate) fn unsigned(header: &str, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// A JWK Set of these keys.
pub(crate) fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// Claims of a good token at [`NOW`]: issued a minute ago, good for another nine.
pub(crate) fn claims() -> Value {
    claims_at(NOW)
}

pub(crate) fn claims_at(now: Timestamp) -> Value {
    json!({
        "iss": ISS, "sub": "alice", "aud": AUDIENCE, "client_id": "web-app", "scope": "api:read",
        "iat": now.as_secs() - 60, "exp": now.as_secs() + 540, "jti": "t-1",
    })
}

/// `claims` with members replaced, or, by `null`, removed.
pub(crate) fn with(mut claims: Value, changes: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    claims
}

pub(crate) fn rules() -> TokenRules {
    TokenRules {
        issuer: IssuerName::new("demo"),
        iss: ISS.to_owned(),
        access_token_iss: Vec::new(),
        audiences: vec![AUDIENCE.to_owned()],
        clients_without_audience: Vec::new(),
        algorithms: Algorithm::ALL.into_iter().filter(|a| a.least_secret().is_none()).collect(),
        token_type: None,
        clock_skew: Duration::from_secs(30),
        iat_behind: Duration::ZERO,
        max_token_lifetime: Duration::from_secs(24 * 3600),
        claims: ClaimNames::default(),
        client_ids: vec!["web-app".to_owned()],
    }
}

fn of_jsonwebtoken(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    algorithm.name().parse().unwrap()
}
