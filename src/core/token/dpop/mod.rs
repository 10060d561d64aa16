//! Proofs of possession (DPoP, RFC 9449): a JWT that the holder of a key makes for one request, and that says
//! which.
//!
//! A proof is judged by all of section 4.3, in an order in which what is cheap comes first: whoever has no
//! token that is bound to the proof's own key never has a signature looked at. What it must never do: take a
//! key's word for whose it is (the token says that, by its thumbprint), let a proof choose an algorithm that
//! is not of public keys, or take one proof for two requests; the last is up to whoever remembers
//! [`ValidProof::id`].
//!
//! Not asked for is a `nonce` of ours (section 9): there is none, and so a proof made in advance counts
//! within its window whoever brings it. One for the authorization server (section 8) is that server's
//! business.

mod key;
#[cfg(test)]
mod tests;
pub mod uri;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Map, Value};

use self::key::BroughtKey;
use self::uri::HttpUri;
use crate::core::denial::{Denial, PROOF_FORGED, PROOF_OF_ANOTHER_KEY, PROOF_OUT_OF_TIME};
use crate::core::digest::of_parts;
use crate::core::time::Timestamp;
use crate::core::token::binding::Thumbprint;
use crate::core::token::kind::is_type;
use crate::core::token::verified::date;
use crate::core::token::{Algorithm, json};

/// The header field that carries a proof (section 4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The header field in which a server hands out a nonce (section 8.1).
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// The algorithms that a proof may be signed by, as they are announced: all of public keys that Tollgate
/// verifies. `Ed25519` is another name of `EdDSA` here (RFC 9864).
pub const ALGORITHMS: [&str; 11] =
    ["ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// How old a proof may be, beside what clocks may differ by.
pub const LIFE: Duration = Duration::from_secs(60);
/// The longest proof: one of RSA with 8192 bits, with room for claims of others.
const LONGEST_PROOF: usize = 8 * 1024;
/// The largest signature that can hold: RSA of 8192 bits, in bytes.
const MAX_SIGNATURE: usize = 1024;

/// What is wrong with a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is none, or not of this request; says why.
    Invalid(&'static str),
    /// It is of another place.
    WrongUri,
    /// Nobody who has its key made it.
    Forged,
    /// It was made too long ago, or in the future.
    OutOfTime,
    /// The token is bound to another key (section 4.3, point 12).
    OfAnotherKey,
}

impl Wrong {
    /// The same in words.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Invalid(why) => why,
            Self::WrongUri => {
                "The proof's htu must be the URL of this request as its caller sees it, without query and fragment."
            }
            Self::Forged => PROOF_FORGED,
            Self::OutOfTime => PROOF_OUT_OF_TIME,
            Self::OfAnotherKey => PROOF_OF_ANOTHER_KEY,
        }
    }
}

impl From<Wrong> for Denial {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Invalid(_) | Wrong::WrongUri | Wrong::Forged => Self::ProofInvalid(wrong.why()),
            Wrong::OutOfTime => Self::ProofOutOfTime,
            Wrong::OfAnotherKey => Self::ProofOfAnotherKey,
        }
    }
}

/// A proof whose form is right, and nothing else.
pub struct Proof<'t> {
    /// Header and payload, as they were signed.
    signed: &'t str,
    signature: &'t str,
    key: BroughtKey,
    claims: Map<String, Value>,
}

/// The request that a proof must be of.
#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a Method,
    pub uri: &'a HttpUri,
    /// The text of the access token that comes with it, and the key that this is bound to.
    pub token: Option<(&'a [u8], Thumbprint)>,
    /// The most by which two clocks may differ.
    pub clock_skew: Duration,
    /// Somebody else gave out nonces and looks at them: one says better than any clock when the proof was
    /// made (section 4.3, point 11).
    pub has_nonces: bool,
}

/// A proof that holds for a request by all that it says; who made it is not known yet.
#[derive(Debug)]
pub struct Plausible<'t> {
    proof: Proof<'t>,
    id: [u8; 16],
    made_at: Timestamp,
}

/// A proof that holds for a request, unless it was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidProof {
    pub key: Thumbprint,
    /// What tells it from all other proofs: of its key and its `jti`.
    pub id: [u8; 16],
    /// When it was made, by its `iat`: it is refused for its age once [`LIFE`] and what clocks may differ by
    /// are over. Where a nonce stands in for that, when it came; then nobody here knows until when it may
    /// come again.
    pub made_at: Timestamp,
}

impl std::fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proof(of {})", self.key.thumbprint())
    }
}

/// The text of the one proof that a request carries; `None` when there is none.
///
/// # Errors
/// [`Wrong::Invalid`] for two (section 4.3, point 1), and for what is no text.
pub fn carried(headers: &HeaderMap) -> Result<Option<&str>, Wrong> {
    let mut fields = headers.get_all(DPOP).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(field), None) => match field.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Wrong::Invalid(NO_JWT)),
        },
        (Some(_), Some(_)) => Err(Wrong::Invalid("Send one DPoP header with one proof.")),
    }
}

const NO_JWT: &str = "The DPoP header must hold one signed JWT, three base64url parts with dots between.";

impl<'t> Proof<'t> {
    /// Reads a proof (section 4.3, points 2 to 7 but for its signature): its header, with the key, and its
    /// claims.
    ///
    /// # Errors
    /// [`Wrong::Invalid`], with what would be right.
    pub fn parse(text: &'t str) -> Result<Self, Wrong> {
        const CLAIMS: Wrong =
            Wrong::Invalid("The proof's payload must be a JSON object without repeated members.");
        if text.len() > LONGEST_PROOF {
            return Err(Wrong::Invalid("The proof is larger than any needs to be: 8 KiB."));
        }
        let no_jwt = Wrong::Invalid(NO_JWT);
        let (signed, signature) = text.rsplit_once('.').ok_or(no_jwt)?;
        let (header, payload) =
            signed.split_once('.').filter(|(_, rest)| !rest.contains('.')).ok_or(no_jwt)?;
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| no_jwt);
        let key = read_header(&decode(header)?)?;
        let claims = json::object(&decode(payload)?).map_err(|_| CLAIMS)?;
        Ok(Self { signed, signature, key, claims })
    }

    /// The thumbprint of the key in the proof's header.
    pub const fn key(&self) -> Thumbprint {
        self.key.thumbprint()
    }

    /// The judgement but for its signature, for this request and now.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(self, request: &Request<'_>, now: Timestamp) -> Result<Plausible<'t>, Wrong> {
        if request.token.is_some_and(|(_, bound_to)| bound_to != self.key()) {
            return Err(Wrong::OfAnotherKey);
        }
        self.is_of(request)?;
        let made_at = match self.text("nonce") {
            Some(_) if request.has_nonces => now,
            _ => self.is_in_time(request.clock_skew, now)?,
        };
        let id = self.id()?;
        Ok(Plausible { proof: self, id, made_at })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Points 8, 9 and 12a.
    fn is_of(&self, request: &Request<'_>) -> Result<(), Wrong> {
        if self.text("htm") != Some(request.method.as_str()) {
            return Err(Wrong::Invalid("The proof's htm must be the method of this request."));
        }
        if self.text("htu").and_then(HttpUri::parse).as_ref() != Some(request.uri) {
            return Err(Wrong::WrongUri);
        }
        let Some((token, _)) = &request.token else { return Ok(()) };
        // One spelling: what stands behind the last byte is refused with the rest.
        let mut hash = [0; 32];
        let is_of_token = self
            .text("ath")
            .and_then(|ath| URL_SAFE_NO_PAD.decode_slice(ath, &mut hash).ok())
            .is_some_and(|length| length == hash.len() && is_hash_of(token, &hash));
        if is_of_token {
            Ok(())
        } else {
            Err(Wrong::Invalid("The proof's ath must be the base64url of the access token's SHA-256."))
        }
    }

    /// Point 11. When it was made.
    fn is_in_time(&self, clock_skew: Duration, now: Timestamp) -> Result<Timestamp, Wrong> {
        const NO_DATE: Wrong = Wrong::Invalid("The proof's iat must be a number of seconds.");
        let made_at = date(&self.claims, "iat").ok().flatten().ok_or(NO_DATE)?;
        let ends = date(&self.claims, "exp").map_err(|_| Wrong::Invalid("The proof's exp is no date."))?;
        let until = made_at.plus(LIFE).plus(clock_skew);
        let begins = date(&self.claims, "nbf").map_err(|_| Wrong::Invalid("The proof's nbf is no date."))?;
        let is_too_old = now >= until || ends.is_some_and(|ends| now >= ends.plus(clock_skew));
        if is_too_old || made_at.max(begins.unwrap_or(made_at)) > now.plus(clock_skew) {
            Err(Wrong::OutOfTime)
        } else {
            Ok(made_at)
        }
    }

    /// Section 11.1: of key and `jti`, so that nobody uses up the names of others.
    fn id(&self) -> Result<[u8; 16], Wrong> {
        let jti = self.text("jti").filter(|jti| !jti.is_empty());
        let jti = jti.ok_or(Wrong::Invalid("The proof's jti must be a text of its own, not empty."))?;
        let digest = of_parts(&[self.key.thumbprint().bytes(), jti.as_bytes()]);
        digest.first_chunk().copied().ok_or(Wrong::Invalid("The proof's jti has no digest."))
    }

    fn is_signed(&self) -> bool {
        let mut buffer = [0; MAX_SIGNATURE];
        let decoded = URL_SAFE_NO_PAD.decode_slice(self.signature, &mut buffer);
        let signature = decoded.ok().and_then(|length| buffer.get(..length));
        signature.is_some_and(|signature| self.key.signed(self.signed.as_bytes(), signature))
    }
}

impl Plausible<'_> {
    /// As [`ValidProof::id`]. Anybody can name another's: that it was used may be told of it, and it counts
    /// as used only by what [`Self::verify`] gives.
    pub const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// The costly part, at last.
    ///
    /// # Errors
    /// [`Wrong::Forged`]
    pub fn verify(self) -> Result<ValidProof, Wrong> {
        let Self { proof, id, made_at } = self;
        if proof.is_signed() { Ok(ValidProof { key: proof.key(), id, made_at }) } else { Err(Wrong::Forged) }
    }
}

/// `ath` (section 4.2).
fn is_hash_of(token: &[u8], hash: &[u8]) -> bool {
    digest(&SHA256, token).as_ref() == hash
}

/// Points 4 to 7.
fn read_header(bytes: &[u8]) -> Result<BroughtKey, Wrong> {
    const HEADER: Wrong =
        Wrong::Invalid("The proof's header must be a JSON object without repeated members.");
    let members = json::object(bytes).map_err(|_| HEADER)?;
    // Extensions that must be understood (RFC 7515 section 4.1.11), and what is no signed JWT.
    if ["crit", "b64", "zip", "enc"].iter().any(|name| members.contains_key(*name)) {
        return Err(Wrong::Invalid("The proof's header asks for something that is not supported."));
    }
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if !text("typ").is_some_and(|typ| is_type(typ, "dpop+jwt")) {
        return Err(Wrong::Invalid("The proof's typ must be dpop+jwt."));
    }
    let algorithm = text("alg").filter(|name| ALGORITHMS.contains(name)).and_then(Algorithm::parse).ok_or(
        Wrong::Invalid("The proof's alg must be one of public keys that the challenge names, like ES256."),
    )?;
    let jwk = members.get("jwk").and_then(Value::as_object);
    let jwk = jwk.ok_or(Wrong::Invalid("The proof's header must have the public key as jwk."))?;
    BroughtKey::read(jwk, algorithm).map_err(|_| {
        Wrong::Invalid("The proof's jwk must be a public key for signatures by its alg, strong enough, and for verifying where it has key_ops.")
    })
}
