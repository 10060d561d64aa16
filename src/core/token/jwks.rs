//! Reads an issuer's public keys (RFC 7517, RFC 7518 section 6, RFC 8037), key by key: one broken
//! key never spoils the set. It decides which keys may verify what, once, at load.
//!
//! It must never make a key of `kty: oct` (a published secret is none), of a key that says it is for
//! something else (`use`, `key_ops`), of one that leaks its private half, or of one that is too weak
//! (RFC 8725 section 3.5); and it never reads `x5c` or `x5u`.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self as raw, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, ThumbprintHash};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::core::token::{Algorithm, json};

/// Keys beyond this many are not loaded.
pub const MAX_KEYS: usize = 1000;
/// Keys of one `kid` beyond this many are not loaded (RFC 7517 section 4.5 allows several), and where a token
/// has no `kid` no more than this are tried.
pub const MAX_KEYS_PER_KID: usize = 4;

/// The keys of one issuer, as last read, in the order of their `kid`.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// A shared secret belongs to no `kid`; whatever a token says there is not looked at.
    any_kid: bool,
}

/// One key, and what it may verify.
pub struct Key {
    kid: Option<String>,
    /// RFC 7638, SHA-256; empty for a shared secret.
    thumbprint: String,
    verifier: Verifier,
}

enum Verifier {
    /// One parsed key for each algorithm that it may verify.
    Public(Vec<(Algorithm, ParsedPublicKey)>),
    /// One key for each algorithm that the operator listed; all of one secret.
    Secret(Vec<(Algorithm, hmac::Key)>),
}

/// A key that was not loaded, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in `keys`, from 0.
    pub index: usize,
    pub why: &'static str,
}

/// Why there is no key set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("not a JWK Set: {0}")]
    NotAJwks(String),
    #[error("the shared secret is too short for {}", .0.name())]
    SecretTooShort(Algorithm),
    #[error("{} is not made with a shared secret", .0.name())]
    NotOfASecret(Algorithm),
}

/// Why no key of the set is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No such `kid`, or without a `kid` no key that fits: a newer set may have it.
    Unknown,
    /// No `kid`, and more keys would fit than are tried.
    Ambiguous,
    /// The `kid` is known, and none of its keys may verify this algorithm.
    WrongAlgorithm,
}

impl KeySet {
    /// Reads a JWK Set. Keys that cannot be used are left out and named. The caller bounds the size.
    ///
    /// # Errors
    /// When the whole is no JSON object with one array `keys`.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<Skipped>), JwksError> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let document: Document<'_> =
            serde_json::from_slice(bytes).map_err(|error| JwksError::NotAJwks(error.to_string()))?;
        let mut keys: Vec<Key> = Vec::new();
        let mut skipped = Vec::new();
        for (index, text) in document.keys.iter().enumerate() {
            let read =
                if keys.len() < MAX_KEYS { Key::parse(text.get()) } else { Err("more than 1000 keys") };
            match read.and_then(|key| fits_beside(&keys, key)) {
                Ok(Some(key)) => keys.push(key),
                Ok(None) => {}
                Err(why) => skipped.push(Skipped { index, why }),
            }
        }
        keys.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok((Self { keys, any_kid: false }, skipped))
    }

    /// The one key of an issuer that signs with a secret, by one of `algorithms`.
    ///
    /// # Errors
    /// When the secret is shorter than [`Algorithm::least_secret`] of one of them, or one has none.
    pub fn shared_secret(secret: &[u8], algorithms: &[Algorithm]) -> Result<Self, JwksError> {
        let keyed = |algorithm: &Algorithm| {
            let hash = hash_of(*algorithm).ok_or(JwksError::NotOfASecret(*algorithm))?;
            if algorithm.least_secret().is_none_or(|least| secret.len() < least) {
                return Err(JwksError::SecretTooShort(*algorithm));
            }
            Ok((*algorithm, hmac::Key::new(hash, secret)))
        };
        let verifier = Verifier::Secret(algorithms.iter().map(keyed).collect::<Result<_, _>>()?);
        Ok(Self { keys: vec![Key { kid: None, thumbprint: String::new(), verifier }], any_kid: true })
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The `kid`s, sorted, for the log; a key without one is `-`.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.kid.as_deref().unwrap_or("-"))
    }

    /// Whether one of them has this name.
    pub fn has(&self, kid: &str) -> bool {
        !self.named(kid).is_empty()
    }

    /// Whether one of them may verify signatures of one of these.
    pub fn verifies_any_of(&self, algorithms: &[Algorithm]) -> bool {
        self.keys.iter().any(|key| algorithms.iter().any(|algorithm| key.verifies(*algorithm)))
    }

    /// For what they are, in the order of their names, each once.
    pub fn algorithms(&self) -> BTreeSet<&'static str> {
        self.keys.iter().flat_map(|key| key.algorithms().map(Algorithm::name)).collect()
    }

    /// Whether both hold the same keys under the same names, for the same algorithms.
    pub fn same_as(&self, other: &Self) -> bool {
        let names = |set: &Self| {
            let mut names: Vec<_> = set
                .keys
                .iter()
                .map(|key| {
                    let algorithms: Vec<_> = key.algorithms().map(Algorithm::name).collect();
                    (key.kid.clone(), key.thumbprint.clone(), algorithms)
                })
                .collect();
            names.sort();
            names
        };
        self.any_kid == other.any_kid && names(self) == names(other)
    }

    /// The keys that a token may have been signed with: of those with its `kid`, or, without one, of all,
    /// whichever may verify `algorithm`. At least one, and never more than [`MAX_KEYS_PER_KID`].
    ///
    /// # Errors
    /// See [`Miss`].
    pub fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = &Key> + fmt::Debug, Miss> {
        let kid = if self.any_kid { None } else { kid };
        let among = match kid {
            None => self.keys.as_slice(),
            Some(kid) => self.named(kid),
        };
        let fitting = || among.iter().filter(move |key| key.verifies(algorithm));
        match fitting().take(MAX_KEYS_PER_KID + 1).count() {
            0 if kid.is_none() || among.is_empty() => Err(Miss::Unknown),
            0 => Err(Miss::WrongAlgorithm),
            many if many > MAX_KEYS_PER_KID => Err(Miss::Ambiguous),
            _ => Ok(fitting()),
        }
    }

    fn named(&self, kid: &str) -> &[Key] {
        let start = self.keys.partition_point(|key| key.kid.as_deref() < Some(kid));
        let rest = self.keys.get(start..).unwrap_or_default();
        let same = rest.iter().take_while(|key| key.kid.as_deref() == Some(kid)).count();
        rest.get(..same).unwrap_or_default()
    }
}

/// `None` for a key that is already there.
fn fits_beside(keys: &[Key], key: Key) -> Result<Option<Key>, &'static str> {
    let same_kid = || keys.iter().filter(|other| other.kid == key.kid);
    if same_kid().any(|other| other.thumbprint == key.thumbprint && other.algorithms().eq(key.algorithms())) {
        return Ok(None);
    }
    if key.kid.is_some() && same_kid().count() >= MAX_KEYS_PER_KID {
        return Err("more than 4 keys have this kid");
    }
    Ok(Some(key))
}

impl Key {
    /// Its name in tokens' headers.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether this key may verify signatures of this algorithm.
    pub fn verifies(&self, algorithm: Algorithm) -> bool {
        self.algorithms().any(|own| own == algorithm)
    }

    /// Whether `signature` is this key's, over `message`, with `algorithm`. An algorithm that the key
    /// is not for never holds.
    pub fn signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Public(parsed) => parsed
                .iter()
                .find(|(own, _)| *own == algorithm)
                .is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok()),
            Verifier::Secret(keyed) => keyed
                .iter()
                .find(|(own, _)| *own == algorithm)
                .is_some_and(|(_, key)| hmac::verify(key, message, signature).is_ok()),
        }
    }

    fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        let (parsed, keyed): (&[_], &[_]) = match &self.verifier {
            Verifier::Public(parsed) => (parsed, &[]),
            Verifier::Secret(keyed) => (&[], keyed),
        };
        parsed.iter().map(|(own, _)| *own).chain(keyed.iter().map(|(own, _)| *own))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let jwk = json::object(text.as_bytes()).map_err(|_| "not a JSON object without repeated members")?;
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("kid is not a string"),
        };
        let Material { algorithms, thumbprint, numbers } = read_jwk(&jwk, ShownBy::Issuer)?;
        let parsed = algorithms
            .into_iter()
            .map(|algorithm| Ok((algorithm, parse_for(algorithm, &numbers)?)))
            .collect::<Result<_, &'static str>>()?;
        Ok(Self { kid, thumbprint, verifier: Verifier::Public(parsed) })
    }
}

/// What a JWK for signatures holds, before any of it is made a key.
pub(super) struct Material {
    /// Which it may verify, by its `kty`, `crv` and `alg`.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) thumbprint: String,
    pub(super) numbers: DecodingKey,
}

/// Who shows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShownBy {
    /// Its issuer, which says by it what it is for.
    Issuer,
    /// Whoever signed with its other half. Browsers export that public key with a `key_ops` of nothing, where
    /// it was not made to verify there (Web Cryptography API, «export key»).
    Signer,
}

/// Reads a JWK.
///
/// # Errors
/// Why it is no key that verifies.
pub(super) fn read_jwk(jwk: &Map<String, Value>, by: ShownBy) -> Result<Material, &'static str> {
    check_purpose(jwk, by)?;
    let (family, thumbprint, numbers) = read_material(jwk)?;
    let algorithms = match jwk.get("alg") {
        None => family.algorithms().to_vec(),
        Some(Value::String(name)) => {
            let pinned = Algorithm::parse(name).ok_or("its alg is not one that Tollgate verifies")?;
            if !family.algorithms().contains(&pinned) {
                return Err("its alg does not fit its kty and crv");
            }
            vec![pinned]
        }
        Some(_) => return Err("alg is not a string"),
    };
    Ok(Material { algorithms, thumbprint, numbers })
}

/// `use`, `key_ops` (RFC 7517 sections 4.2 and 4.3), and no private half.
fn check_purpose(jwk: &Map<String, Value>, by: ShownBy) -> Result<(), &'static str> {
    match jwk.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(_) => return Err("use is not sig"),
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.is_empty() && by == ShownBy::Signer => {}
        Some(Value::Array(operations)) => check_operations(operations, jwk.contains_key("use"))?,
        Some(_) => return Err("key_ops does not name verify"),
    }
    // RFC 7518 section 6.3.2: from each of an RSA key's private members the others follow.
    if ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|name| jwk.contains_key(*name)) {
        return Err("it publishes its private key: whoever read it can sign");
    }
    Ok(())
}

fn check_operations(operations: &[Value], has_use: bool) -> Result<(), &'static str> {
    let mut names = operations.iter().map(Value::as_str);
    let repeats = operations.iter().enumerate().any(|(at, own)| operations.iter().take(at).any(|o| o == own));
    if repeats || names.clone().any(|name| name.is_none()) {
        return Err("key_ops is not a list of different names");
    }
    if !names.clone().any(|name| name == Some("verify")) {
        return Err("key_ops does not name verify");
    }
    // Beside `use` it must say the same.
    if has_use && !names.all(|name| matches!(name, Some("sign" | "verify"))) {
        return Err("its use and its key_ops contradict each other");
    }
    Ok(())
}

/// What a key's type and curve allow.
#[derive(Clone, Copy)]
enum Family {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Family {
    const fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::{EdDsa, Es256, Es384, Es512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa => &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512],
            Self::P256 => &[Es256],
            Self::P384 => &[Es384],
            Self::P521 => &[Es512],
            Self::Ed25519 => &[EdDsa],
        }
    }
}

const WRONG_SIZE: &str = "its coordinates do not have the size of its crv";

/// `kty`, `crv` and the numbers, through `jsonwebtoken`; nothing else of the JWK is shown to it.
fn read_material(jwk: &Map<String, Value>) -> Result<(Family, String, DecodingKey), &'static str> {
    let kty = jwk.get("kty").and_then(Value::as_str).ok_or("kty is not a string")?;
    match kty {
        "RSA" | "EC" | "OKP" => {}
        "oct" => return Err("kty is oct: a published secret is no key"),
        _ => return Err("its kty is not one that Tollgate verifies with"),
    }
    let only = |name: &str| jwk.get(name).map(|value| (name.to_owned(), value.clone()));
    let plain = ["kty", "crv", "x", "y", "n", "e"].into_iter().filter_map(only).collect();
    let jwk: Jwk = serde_json::from_value(Value::Object(plain)).map_err(|_| "its members cannot be read")?;
    let key =
        DecodingKey::from_jwk(&jwk).map_err(|_| "its members are not base64url, or not those of its kty")?;
    let thumbprint =
        jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| "its members are not those of its kty")?;
    let family = match (&jwk.algorithm, kty) {
        (AlgorithmParameters::RSA(_), "RSA") => {
            check_rsa(&key)?;
            Family::Rsa
        }
        (AlgorithmParameters::EllipticCurve(ec), "EC") => {
            // RFC 7518 section 6.2.1.2: coordinates have the full size of the curve's field.
            let (family, chars) = match ec.curve {
                EllipticCurve::P256 => (Family::P256, 43),
                EllipticCurve::P384 => (Family::P384, 64),
                EllipticCurve::P521 => (Family::P521, 88),
                _ => return Err("its crv is not P-256, P-384 or P-521"),
            };
            if ec.x.len() != chars || ec.y.len() != chars {
                return Err(WRONG_SIZE);
            }
            family
        }
        (AlgorithmParameters::OctetKeyPair(okp), "OKP") if okp.curve == EllipticCurve::Ed25519 => {
            if okp.x.len() != 43 {
                return Err(WRONG_SIZE); // RFC 8037 section 2: 32 bytes
            }
            Family::Ed25519
        }
        (AlgorithmParameters::OctetKeyPair(_), "OKP") => return Err("its crv is not Ed25519"),
        _ => return Err("its members are not those of its kty"),
    };
    Ok((family, thumbprint, key))
}

/// At least 2048 bits, and an odd exponent of at least 65537 (RFC 7518 section 3.3, RFC 8725
/// section 3.5, FIPS 186-5 section 5.4).
fn check_rsa(key: &DecodingKey) -> Result<(), &'static str> {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else {
        return Err("its members are not those of its kty");
    };
    let n = without_leading_zeros(n);
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if bits < 2048 {
        return Err("an RSA key below 2048 bits is too weak");
    }
    if bits > 8192 {
        return Err("an RSA key above 8192 bits costs too much");
    }
    if n.last().is_some_and(|last| last % 2 == 0) {
        return Err("an even RSA modulus is no key");
    }
    let e = without_leading_zeros(e);
    let exponent = e.iter().try_fold(0_u32, |sum, byte| {
        sum.checked_mul(256).and_then(|shifted| shifted.checked_add(u32::from(*byte)))
    });
    match exponent {
        None => Err("its RSA exponent has more than 32 bits"),
        Some(exponent) if exponent < 65_537 => Err("an RSA exponent below 65537 is too weak"),
        Some(exponent) if exponent % 2 == 0 => Err("an even RSA exponent is no key"),
        Some(_) => Ok(()),
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// Parsed once here, so that no request pays for it. A point off its curve fails here.
pub(super) fn parse_for(algorithm: Algorithm, key: &DecodingKey) -> Result<ParsedPublicKey, &'static str> {
    const BAD: &str = "its numbers are no public key";
    if let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() {
        let components = RsaPublicKeyComponents { n: without_leading_zeros(n), e: without_leading_zeros(e) };
        let parameters = rsa_parameters(algorithm).ok_or(BAD)?;
        return components.to_parsed_public_key(parameters).map_err(|_| BAD);
    }
    let bytes = key.try_get_as_bytes().map_err(|_| BAD)?;
    match algorithm {
        Algorithm::Es256 => ParsedPublicKey::new(&raw::ECDSA_P256_SHA256_FIXED, bytes),
        Algorithm::Es384 => ParsedPublicKey::new(&raw::ECDSA_P384_SHA384_FIXED, bytes),
        Algorithm::Es512 => ParsedPublicKey::new(&raw::ECDSA_P521_SHA512_FIXED, bytes),
        Algorithm::EdDsa => ParsedPublicKey::new(&raw::ED25519, bytes),
        _ => return Err(BAD),
    }
    .map_err(|_| BAD)
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &raw::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &raw::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &raw::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &raw::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &raw::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &raw::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// `None` for the algorithms of public keys.
fn hash_of(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    Some(match algorithm {
        Algorithm::Hs256 => hmac::HMAC_SHA256,
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        Algorithm::Hs512 => hmac::HMAC_SHA512,
        _ => return None,
    })
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::core::token::testing::{self, jwks, with};

    /// The set of one key, or why it was not loaded.
    fn load(jwk: Value) -> Result<KeySet, &'static str> {
        let (set, skipped) = KeySet::parse(&jwks(&[jwk])).unwrap();
        match skipped.first() {
            None => Ok(set),
            Some(skip) => {
                assert!(set.is_empty());
                Err(skip.why)
            }
        }
    }

    #[test]
    fn every_kind_of_key_is_read_and_fits_its_own_algorithms_only() {
        let keys = testing::keys();
        for (key, fits) in [(&keys.rsa, 6), (&keys.p256, 1), (&keys.p384, 1), (&keys.ed, 1)] {
            let set = load(key.jwk()).unwrap();
            let fitting = Algorithm::ALL.into_iter().filter(|a| set.candidates(Some(key.kid), *a).is_ok());
            assert_eq!(fitting.count(), fits, "{}", key.kid);
            assert!(set.candidates(Some(key.kid), key.algorithm).is_ok());
        }
    }

    #[test]
    fn one_broken_key_spoils_no_other() {
        let broken = [
            json!(null),
            json!("x"),
            json!({}),
            json!({"kty": 1}),
            json!({"kty": "EC", "crv": "P-256", "x": "!", "y": "!"}),
            with(testing::keys().p256.jwk(), json!({"kid": 5})),
            with(testing::keys().p256.jwk(), json!({"alg": 5})),
        ];
        let mut all = broken.to_vec();
        all.push(with(testing::keys().ed.jwk(), json!({"x5c": "not an array", "x5u": 7})));
        let (set, skipped) = KeySet::parse(&jwks(&all)).unwrap();
        assert_eq!(set.kids().collect::<Vec<_>>(), ["ed"]);
        assert_eq!(skipped.iter().map(|skip| skip.index).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_jwk_set_is_an_error() {
        for bad in ["", "{}", "[]", "<html>", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[{"#] {
            assert!(matches!(KeySet::parse(bad.as_bytes()), Err(JwksError::NotAJwks(_))), "{bad}");
        }
    }

    #[test]
    fn a_published_secret_is_never_a_key() {
        let oct = json!({"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode([7; 32])});
        assert_eq!(load(oct).unwrap_err(), "kty is oct: a published secret is no key");
    }

    #[test]
    fn a_key_for_another_purpose_is_not_loaded() {
        let good = testing::keys().p256.jwk();
        for (change, why) in [
            (json!({"use": "enc"}), "use is not sig"),
            (json!({"use": 1}), "use is not sig"),
            (json!({"key_ops": ["sign"]}), "key_ops does not name verify"),
            (json!({"key_ops": "verify"}), "key_ops does not name verify"),
            (json!({"use": "SIG"}), "use is not sig"),
            (json!({"use": ["sig"]}), "use is not sig"),
            (json!({"key_ops": []}), "key_ops does not name verify"),
            (json!({"key_ops": ["Verify"]}), "key_ops does not name verify"),
            (json!({"key_ops": ["verify", "verify"]}), "key_ops is not a list of different names"),
            (json!({"key_ops": ["verify", 1]}), "key_ops is not a list of different names"),
            (
                json!({"use": "sig", "key_ops": ["verify", "encrypt"]}),
                "its use and its key_ops contradict each other",
            ),
            (json!({"d": "AA"}), "it publishes its private key: whoever read it can sign"),
            (json!({"p": "AA"}), "it publishes its private key: whoever read it can sign"),
            (json!({"dq": "AA"}), "it publishes its private key: whoever read it can sign"),
            (json!({"oth": []}), "it publishes its private key: whoever read it can sign"),
            (json!({"alg": "ECDH-ES"}), "its alg is not one that Tollgate verifies"),
            (json!({"alg": "RS256"}), "its alg does not fit its kty and crv"),
            (json!({"alg": "ES384"}), "its alg does not fit its kty and crv"),
            (json!({"alg": "HS256"}), "its alg does not fit its kty and crv"),
            (json!({"alg": "HS512"}), "its alg does not fit its kty and crv"),
        ] {
            assert_eq!(load(with(good.clone(), change.clone())).unwrap_err(), why, "{change}");
        }
        for fine in [json!(["verify"]), json!(["sign", "verify"])] {
            assert!(load(with(good.clone(), json!({"use": "sig", "key_ops": fine, "alg": "ES256"}))).is_ok());
        }
        assert!(load(with(good, json!({"key_ops": ["verify", "deriveKey"]}))).is_ok());
    }

    #[test]
    fn the_curve_of_a_key_is_obeyed() {
        let (p256, p384, ed) =
            (testing::keys().p256.jwk(), testing::keys().p384.jwk(), testing::keys().ed.jwk());
        for bad in [
            with(p256.clone(), json!({"crv": "P-384"})),
            with(p256.clone(), json!({"crv": "P-521"})),
            with(p256.clone(), json!({"crv": "secp256k1"})),
            with(p256.clone(), json!({"crv": "Ed25519"})),
            with(p256.clone(), json!({"kty": "OKP"})),
            with(p384, json!({"crv": "P-256"})),
            with(ed.clone(), json!({"crv": "Ed448"})),
            with(ed.clone(), json!({"crv": "X25519"})),
            with(ed.clone(), json!({"crv": "P-256"})),
            with(ed, json!({"x": URL_SAFE_NO_PAD.encode([1; 31])})),
            with(p256, json!({"kty": "RSA"})),
        ] {
            assert!(load(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn coordinates_have_the_size_of_the_curve_each() {
        let (p256, ed) = (testing::keys().p256.jwk(), testing::keys().ed.jwk());
        let decode = |jwk: &Value, name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        // The same 64 bytes, with the boundary moved by one.
        let both = [decode(&p256, "x"), decode(&p256, "y")].concat();
        let moved = |at| {
            let (x, y) = both.split_at(at);
            with(p256.clone(), json!({"x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)}))
        };
        assert!(load(moved(32)).is_ok());
        assert_eq!(load(moved(31)).unwrap_err(), WRONG_SIZE);
        assert_eq!(load(moved(33)).unwrap_err(), WRONG_SIZE);
        // A whole SubjectPublicKeyInfo (RFC 8410) in place of the 32 bytes.
        let prefix = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
        let spki = URL_SAFE_NO_PAD.encode([&prefix[..], &decode(&ed, "x")].concat());
        assert_eq!(load(with(ed, json!({"x": spki}))).unwrap_err(), WRONG_SIZE);
    }

    #[test]
    fn a_point_off_its_curve_is_no_key() {
        let p256 = testing::keys().p256.jwk();
        let one = URL_SAFE_NO_PAD.encode([[0; 31].as_slice(), &[1]].concat());
        for change in [json!({"x": one}), json!({"y": one}), json!({"x": one, "y": one})] {
            assert_eq!(load(with(p256.clone(), change)).unwrap_err(), "its numbers are no public key");
        }
    }

    #[test]
    fn weak_rsa_keys_are_not_loaded() {
        let rsa = |bytes: usize, e: &[u8]| {
            let mut n = vec![0xc3; bytes];
            *n.last_mut().unwrap() |= 1;
            let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
            load(json!({"kty": "RSA", "kid": "r", "n": n, "e": e}))
        };
        let good: &[u8] = &[1, 0, 1];
        assert_eq!(rsa(128, good).unwrap_err(), "an RSA key below 2048 bits is too weak");
        assert_eq!(rsa(255, good).unwrap_err(), "an RSA key below 2048 bits is too weak");
        assert_eq!(rsa(1025, good).unwrap_err(), "an RSA key above 8192 bits costs too much");
        assert!(rsa(256, good).is_ok());
        for weak in [&[1][..], &[3], &[17], &[0xff, 0xff], &[0, 0, 3], &[]] {
            assert_eq!(rsa(256, weak).unwrap_err(), "an RSA exponent below 65537 is too weak", "{weak:?}");
        }
        assert_eq!(rsa(256, &[1, 0, 0, 0, 1]).unwrap_err(), "its RSA exponent has more than 32 bits");
        assert_eq!(rsa(256, &[1, 0, 2]).unwrap_err(), "an even RSA exponent is no key");
        let even = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xc4; 256]), "e": "AQAB"});
        assert_eq!(load(even).unwrap_err(), "an even RSA modulus is no key");
        // Leading zeros do not make a short modulus long.
        let padded = [vec![0; 128], vec![0xc3; 128]].concat();
        let jwk = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(padded), "e": "AQAB"});
        assert_eq!(load(jwk).unwrap_err(), "an RSA key below 2048 bits is too weak");
    }

    #[test]
    fn alg_pins_the_algorithm() {
        let pinned = with(testing::keys().rsa.jwk(), json!({"alg": "PS256"}));
        let set = load(pinned).unwrap();
        assert!(set.candidates(Some("rsa"), Algorithm::Ps256).is_ok());
        assert_eq!(set.candidates(Some("rsa"), Algorithm::Rs256).unwrap_err(), Miss::WrongAlgorithm);
        for name in ["EdDSA", "Ed25519"] {
            let set = load(with(testing::keys().ed.jwk(), json!({ "alg": name }))).unwrap();
            assert!(set.candidates(Some("ed"), Algorithm::EdDsa).is_ok(), "RFC 9864: {name}");
        }
        assert!(load(with(testing::keys().ed.jwk(), json!({"alg": "Ed448"}))).is_err());
    }

    #[test]
    fn without_a_kid_every_key_that_fits_is_tried_unless_they_are_too_many() {
        let keys = testing::keys();
        let (set, _) = KeySet::parse(&jwks(&[keys.rsa.jwk(), keys.p256.jwk()])).unwrap();
        let kids = |set: &KeySet| -> Result<Vec<String>, Miss> {
            let found = set.candidates(None, Algorithm::Es256)?;
            Ok(found.filter_map(|key| key.kid().map(ToOwned::to_owned)).collect())
        };
        assert_eq!(kids(&set).unwrap(), ["p256"]);
        assert_eq!(set.candidates(None, Algorithm::EdDsa).unwrap_err(), Miss::Unknown);
        let mut published = vec![keys.rsa.jwk(), keys.p256.jwk()];
        for number in 2..=MAX_KEYS_PER_KID {
            published.push(with(testing::new_p256("x").jwk(), json!({ "kid": format!("p{number}") })));
        }
        let (set, _) = KeySet::parse(&jwks(&published)).unwrap();
        assert_eq!(kids(&set).unwrap(), ["p2", "p256", "p3", "p4"]);
        published.push(testing::new_p256("fifth").jwk());
        let (set, _) = KeySet::parse(&jwks(&published)).unwrap();
        assert_eq!(kids(&set), Err(Miss::Ambiguous));
        assert_eq!(set.candidates(Some("fifth"), Algorithm::Es256).unwrap().count(), 1);
    }

    #[test]
    fn keys_may_share_a_kid_and_repeated_ones_count_once() {
        let keys = testing::keys();
        let named = |jwk: Value| with(jwk, json!({"kid": "one"}));
        let (set, skipped) = KeySet::parse(&jwks(&[
            named(keys.rsa.jwk()),
            named(keys.p256.jwk()),
            named(keys.p256.jwk()),
            keys.ed.jwk(),
        ]))
        .unwrap();
        assert_eq!((set.len(), skipped.len()), (3, 0));
        let fitting = set.candidates(Some("one"), Algorithm::Es256).unwrap();
        assert_eq!(fitting.count(), 1, "the other is for another algorithm");
        assert_eq!(set.candidates(Some("on"), Algorithm::Es256).unwrap_err(), Miss::Unknown);
        let many: Vec<_> = (0..6).map(|_| named(testing::new_p256("x").jwk())).collect();
        let (set, skipped) = KeySet::parse(&jwks(&many)).unwrap();
        assert_eq!((set.len(), skipped.len()), (MAX_KEYS_PER_KID, 2));
    }

    #[test]
    fn five_hundred_keys_are_all_found_and_the_thousand_and_first_is_not_loaded() {
        let key = testing::keys().p256.jwk();
        let many = |count: usize| {
            jwks(&(0..count).map(|i| with(key.clone(), json!({"kid": i.to_string()}))).collect::<Vec<_>>())
        };
        let (set, skipped) = KeySet::parse(&many(500)).unwrap();
        assert!(skipped.is_empty());
        assert!((0..500).all(|i| set.candidates(Some(&i.to_string()), Algorithm::Es256).is_ok()));
        let (set, skipped) = KeySet::parse(&many(1001)).unwrap();
        assert_eq!((set.len(), skipped.len()), (MAX_KEYS, 1));
    }

    #[test]
    fn a_shared_secret_is_as_long_as_the_hash_of_each_algorithm_or_is_none() {
        use Algorithm::{Hs256, Hs384, Hs512};
        for (algorithm, least) in [(Hs256, 32), (Hs384, 48), (Hs512, 64)] {
            let short = vec![1; least - 1];
            let why = JwksError::SecretTooShort(algorithm);
            assert_eq!(KeySet::shared_secret(&short, &[algorithm]).unwrap_err(), why);
            let set = KeySet::shared_secret(&vec![1; least], &[algorithm]).unwrap();
            for other in Algorithm::ALL {
                let found = set.candidates(Some("whatever"), other);
                assert_eq!(found.is_ok(), other == algorithm, "{} as {}", algorithm.name(), other.name());
            }
            assert!(!format!("{set:?}").contains("1, 1"));
        }
        let why = JwksError::SecretTooShort(Hs512);
        assert_eq!(KeySet::shared_secret(&[1; 63], &[Hs256, Hs384, Hs512]).unwrap_err(), why);
        assert!(KeySet::shared_secret(&[1; 64], &[Hs256, Hs384, Hs512]).is_ok());
    }

    #[test]
    fn a_shared_secret_is_never_for_an_algorithm_of_public_keys() {
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.least_secret().is_none()) {
            for list in [&[algorithm][..], &[Algorithm::Hs256, algorithm]] {
                let why = JwksError::NotOfASecret(algorithm);
                assert_eq!(KeySet::shared_secret(&[1; 8192], list).unwrap_err(), why);
            }
        }
    }

    #[test]
    fn sets_compare_by_their_keys_and_not_by_their_order() {
        let keys = testing::keys();
        let read = |list: &[Value]| KeySet::parse(&jwks(list)).unwrap().0;
        let both = read(&[keys.rsa.jwk(), keys.ed.jwk()]);
        assert!(both.same_as(&read(&[keys.ed.jwk(), keys.rsa.jwk()])));
        assert!(!both.same_as(&read(&[keys.ed.jwk()])));
        assert!(!read(&[keys.p256.jwk()]).same_as(&read(&[testing::new_p256("p256").jwk()])));
    }

    #[test]
    fn whatever_is_read_nothing_panics_and_no_key_verifies_by_a_secret() {
        let template = jwks(&[testing::keys().rsa.jwk(), testing::keys().ed.jwk()]);
        bolero::check!().with_type::<(Vec<u8>, u16)>().for_each(|(noise, at)| {
            let mut bytes = template.clone();
            let at = usize::from(*at) % bytes.len();
            bytes.splice(at..(at + noise.len()).min(template.len()), noise.iter().copied());
            for document in [&bytes, noise] {
                if let Ok((set, _)) = KeySet::parse(document) {
                    let of_a_secret = Algorithm::ALL.into_iter().filter(|own| own.least_secret().is_some());
                    let keys = || set.keys.iter();
                    assert!(of_a_secret.into_iter().all(|own| keys().all(|key| !key.verifies(own))));
                }
            }
        });
    }
}
