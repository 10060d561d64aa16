//! Keys and tokens: good ones in thousands, and those that no gateway may pass.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::Failure;

pub(crate) const ISSUER: &str = "https://login.example.com";
pub(crate) const AUDIENCE: &str = "https://api.example.com";
/// Tokens of each algorithm.
pub(crate) const MANY: usize = 10_000;

/// By which a token is signed (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// What no gateway may pass that claims to check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    Absent,
    /// Signed by a key of the same name that is not the issuer's.
    Forged,
    /// `alg: none` (RFC 8725 section 3.1).
    Unsigned,
    /// HMAC with the public key as the secret (RFC 8725 section 2.1).
    Confused,
    Expired,
    NotYetValid,
    OfAnotherIssuer,
    ForAnotherAudience,
}

enum Signer {
    Rsa(Box<rsa::KeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn new(algorithm: Algorithm) -> Result<Self, Failure> {
        let random = SystemRandom::new();
        Ok(match algorithm {
            Algorithm::Rs256 => Self::Rsa(Box::new(rsa::KeyPair::generate(KeySize::Rsa2048)?)),
            Algorithm::Es256 => {
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
                Self::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref())?)
            }
            Algorithm::EdDsa => {
                Self::Ed25519(Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random)?.as_ref())?)
            }
        })
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Failure> {
        let random = SystemRandom::new();
        Ok(match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)?;
                signature
            }
            Self::Ecdsa(key) => key.sign(&random, text)?.as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(text).as_ref().to_vec(),
        })
    }

    /// The public key as an entry of a JWKS (RFC 7517).
    fn jwk(&self, algorithm: Algorithm) -> Value {
        let name = algorithm.name();
        match self {
            Self::Rsa(key) => {
                let public = key.public_key();
                let [n, e] = [public.modulus(), public.exponent()]
                    .map(|part| encode(part.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "alg": name, "use": "sig", "kid": name, "n": n, "e": e })
            }
            Self::Ecdsa(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "alg": name, "use": "sig", "kid": name, "x": encode(x), "y": encode(y) })
            }
            Self::Ed25519(key) => {
                let x = encode(key.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "alg": name, "use": "sig", "kid": name, "x": x })
            }
        }
    }

    /// The public key as PEM (RFC 7468).
    fn pem(&self) -> Result<String, Failure> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Rsa(key) => key.public_key().as_der()?,
            Self::Ecdsa(key) => key.public_key().as_der()?,
            Self::Ed25519(key) => key.public_key().as_der()?,
        };
        let text = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            writeln!(pem, "{}", String::from_utf8_lossy(line))?;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> Result<(), Failure> {
        let (algorithm, key): (&'static dyn VerificationAlgorithm, &[u8]) = match self {
            Self::Rsa(key) => (&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref()),
            Self::Ecdsa(key) => (&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref()),
            Self::Ed25519(key) => (&ED25519, key.public_key().as_ref()),
        };
        Ok(UnparsedPublicKey::new(algorithm, key).verify(text, signature)?)
    }
}

/// Everything that was made, and the files it is in.
pub(crate) struct Tokens {
    folder: PathBuf,
    signers: Vec<(Algorithm, Signer)>,
    now: u64,
}

impl Tokens {
    /// Writes `jwks.json`, and for each algorithm `<name>.pem` and `<name>.tokens`.
    pub(crate) fn make(folder: &Path) -> Result<Self, Failure> {
        let mut signers = Vec::new();
        for algorithm in Algorithm::ALL {
            signers.push((algorithm, Signer::new(algorithm)?));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let tokens = Self { folder: folder.to_owned(), signers, now };
        let keys: Vec<Value> =
            tokens.signers.iter().map(|(algorithm, signer)| signer.jwk(*algorithm)).collect();
        std::fs::write(folder.join("jwks.json"), json!({ "keys": keys }).to_string())?;
        for (algorithm, signer) in &tokens.signers {
            std::fs::write(folder.join(format!("{}.pem", algorithm.name())), signer.pem()?)?;
            let mut lines = String::new();
            for number in 0..MANY {
                writeln!(lines, "{}", token(*algorithm, signer, &tokens.claims(number))?)?;
            }
            std::fs::write(tokens.file(*algorithm), lines)?;
        }
        Ok(tokens)
    }

    /// A token a line.
    pub(crate) fn file(&self, algorithm: Algorithm) -> PathBuf {
        self.folder.join(format!("{}.tokens", algorithm.name()))
    }

    /// What an access token says (RFC 9068).
    fn claims(&self, number: usize) -> Value {
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{number:06}"), "client_id": "web-app",
            "scope": "api:read profile", "jti": format!("5d1f0c9e7a42{number:06}"), "sid": format!("0f8fad5bd9cb{number:06}"),
            "acr": "urn:example:password", "auth_time": self.now - 600, "email": format!("user-{number:06}@example.com"),
            "iat": self.now - 60, "nbf": self.now - 60, "exp": self.now + 4 * 3600,
        })
    }

    fn signer(&self, algorithm: Algorithm) -> Result<&Signer, Failure> {
        Ok(&self.signers.iter().find(|(of, _)| *of == algorithm).ok_or("no such key")?.1)
    }

    /// One that every system must pass.
    pub(crate) fn good(&self, algorithm: Algorithm) -> Result<String, Failure> {
        token(algorithm, self.signer(algorithm)?, &self.claims(0))
    }

    /// One that must be refused; `None`: no token at all.
    pub(crate) fn bad(&self, algorithm: Algorithm, bad: Bad) -> Result<Option<String>, Failure> {
        let signer = self.signer(algorithm)?;
        let mut claims = self.claims(0);
        let made = match bad {
            Bad::Absent => return Ok(None),
            Bad::Forged => token(algorithm, &Signer::new(algorithm)?, &claims),
            Bad::Unsigned => Ok(format!("{}.", unsigned("none", algorithm.name(), &claims))),
            Bad::Confused => {
                let text = unsigned("HS256", algorithm.name(), &claims);
                let secret = hmac::Key::new(hmac::HMAC_SHA256, signer.pem()?.as_bytes());
                Ok(format!("{text}.{}", encode(hmac::sign(&secret, text.as_bytes()).as_ref())))
            }
            Bad::Expired => {
                claims["exp"] = json!(self.now - 600);
                claims["iat"] = json!(self.now - 1200);
                claims["nbf"] = json!(self.now - 1200);
                token(algorithm, signer, &claims)
            }
            Bad::NotYetValid => {
                claims["nbf"] = json!(self.now + 3600);
                token(algorithm, signer, &claims)
            }
            Bad::OfAnotherIssuer => {
                claims["iss"] = json!("https://elsewhere.example.com");
                token(algorithm, signer, &claims)
            }
            Bad::ForAnotherAudience => {
                claims["aud"] = json!("https://elsewhere.example.com");
                token(algorithm, signer, &claims)
            }
        };
        made.map(Some)
    }

    /// What aws-lc takes to verify one token's signature, in microseconds, as [`Algorithm::ALL`]: the least
    /// of short tries, since what disturbs one only adds.
    pub(crate) fn time_verifications(&self) -> Result<[f64; 3], Failure> {
        const TRIES: u32 = 20;
        const AT_ONCE: u32 = 25;
        let mut least = [f64::MAX; 3];
        for (slot, (algorithm, signer)) in least.iter_mut().zip(&self.signers) {
            let good = self.good(*algorithm)?;
            let (text, signature) = good.rsplit_once('.').ok_or("not a token")?;
            let signature = URL_SAFE_NO_PAD.decode(signature)?;
            for _ in 0..TRIES {
                let begun = Instant::now();
                for _ in 0..AT_ONCE {
                    signer.verify(text.as_bytes(), &signature)?;
                }
                *slot = slot.min(begun.elapsed().as_secs_f64() * 1e6 / f64::from(AT_ONCE));
            }
        }
        Ok(least)
    }
}

fn token(algorithm: Algorithm, signer: &Signer, claims: &Value) -> Result<String, Failure> {
    let text = unsigned(algorithm.name(), algorithm.name(), claims);
    Ok(format!("{text}.{}", encode(&signer.sign(text.as_bytes())?)))
}

fn unsigned(algorithm: &str, key: &str, claims: &Value) -> String {
    let header = json!({ "alg": algorithm, "typ": "at+jwt", "kid": key });
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
