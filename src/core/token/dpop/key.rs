//! The public key that a proof brings along (RFC 9449 section 4.2, `jwk`). It shows only that whoever made
//! the proof has the private half. Whose key it is, the token says, by its thumbprint (RFC 7638).
//!
//! It must meet what an issuer's keys must meet: one that is too weak, is for another use, or has its private
//! half beside it is refused ([`crate::core::token::jwks`]).

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::core::token::Algorithm;
use crate::core::token::binding::Thumbprint;
use crate::core::token::jwks::{Material, ShownBy, parse_for, read_jwk};

/// A key that somebody brought, and may have signed with.
pub(super) struct BroughtKey {
    algorithm: Algorithm,
    thumbprint: Thumbprint,
    numbers: DecodingKey,
}

impl BroughtKey {
    /// Reads it. Nothing that is costly is done yet.
    ///
    /// # Errors
    /// Why it is no key for this algorithm.
    pub(super) fn read(jwk: &Map<String, Value>, algorithm: Algorithm) -> Result<Self, &'static str> {
        let Material { algorithms, thumbprint, numbers } = read_jwk(jwk, ShownBy::Signer)?;
        if !algorithms.contains(&algorithm) {
            return Err("its alg does not fit its kty and crv");
        }
        let thumbprint = Thumbprint::parse(&thumbprint).ok_or("it has no thumbprint")?;
        Ok(Self { algorithm, thumbprint, numbers })
    }

    pub(super) const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whether it signed this. A point off its curve signed nothing.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = parse_for(self.algorithm, &self.numbers);
        key.is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}
