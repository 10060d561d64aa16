//! What a store holds of a session is sealed for those who hold its cookie: under keys derived from the seed
//! in a grant (HKDF-SHA256, RFC 5869) with AES-256-GCM-SIV (RFC 8452), one key for each family, generation
//! and purpose. Never from the refresh token, which an AS may keep for many exchanges.
//!
//! Whoever has the store alone has no token. Whoever has a cookie reaches later generations along the links
//! that a family keeps, for as long as it keeps them.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::{Family, Link, Sealed};
use crate::core::ids::FamilyId;
use crate::core::secret::Secret;
use crate::core::session::grant::{Generation, Grant};
use crate::core::session::sealed::{SealingFailed, SealingNonce, expand};

const SALT: &[u8] = b"tollgate kept v1";
const SEED_LEN: usize = 32;

/// What is sealed; each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What the page got.
    Answer,
    /// The grant of the next generation.
    Grant,
    /// The seed of a later generation.
    Seed,
    /// The access and ID token of a session whose pages hold none.
    Tokens,
}

impl Content {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Answer => b"answer",
            Self::Grant => b"grant",
            Self::Seed => b"seed",
            Self::Tokens => b"tokens",
        }
    }
}

/// Whoever holds the cookie of one generation.
#[derive(Clone, Debug)]
pub struct Holder {
    family: FamilyId,
    generation: Generation,
    seed: Secret<[u8; SEED_LEN]>,
}

impl Holder {
    pub fn of(grant: &Grant) -> Self {
        Self { family: grant.family, generation: grant.generation, seed: grant.seed.clone() }
    }

    pub const fn family(&self) -> FamilyId {
        self.family
    }

    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The form that is sealed for its browser, with room for as many bytes more.
    pub fn to_bytes(&self, more: usize) -> Secret<Vec<u8>> {
        let mut bytes = Secret::with_capacity(16 + 8 + SEED_LEN + more);
        let out = bytes.expose_mut();
        out.extend_from_slice(self.family.as_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(self.seed.expose());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&family, rest) = bytes.split_first_chunk()?;
        let (&generation, seed) = rest.split_first_chunk()?;
        Some(Self {
            family: FamilyId::from_bytes(family),
            generation: Generation::from_be_bytes(generation),
            seed: Secret::new(seed.try_into().ok()?),
        })
    }

    /// The holder of a later generation, reached along the links of the family. `None`: there is no way, or
    /// a link does not open.
    pub fn reach(&self, family: &Family, generation: Generation) -> Option<Self> {
        let mut holder = self.clone();
        for link in family.way(self.generation, generation)? {
            let seed = holder.open(Content::Seed, &link.seed)?;
            let seed = seed.expose().as_slice().try_into().ok()?;
            holder = Self { generation: link.to, seed: Secret::new(seed), ..holder };
        }
        Some(holder)
    }

    /// The grant of a later generation, which is sealed for holders of the one before it.
    pub fn newest(&self, family: &Family, generation: Generation, sealed: &Sealed) -> Option<Grant> {
        let before = self.reach(family, generation.checked_sub(1)?)?;
        Grant::from_bytes(before.open(Content::Grant, sealed)?.expose())
    }

    /// Leads from here to a later generation.
    ///
    /// # Errors
    /// Only when the cipher itself fails.
    pub fn link_to(&self, later: &Grant, nonce: SealingNonce) -> Result<Link, SealingFailed> {
        let seed = self.seal(Content::Seed, later.seed.expose(), nonce)?;
        Ok(Link { from: self.generation, to: later.generation, seed })
    }

    /// Seals `plain` for holders of this generation. `nonce` must be random and used once.
    ///
    /// # Errors
    /// Only when the cipher itself fails.
    pub fn seal(&self, content: Content, plain: &[u8], nonce: SealingNonce) -> Result<Sealed, SealingFailed> {
        let key = self.key(content).ok_or(SealingFailed)?;
        // Encrypted in place: the buffer that held the plain text holds the ciphertext afterwards.
        let mut body = Vec::with_capacity(plain.len() + AES_256_GCM_SIV.tag_len());
        body.extend_from_slice(plain);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body)
            .map_err(|_| SealingFailed)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + body.len());
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Ok(Sealed(sealed))
    }

    /// Opens what was sealed for holders of this generation; `None` for everything else.
    pub fn open(&self, content: Content, sealed: &Sealed) -> Option<Secret<Vec<u8>>> {
        let (&nonce, body) = sealed.0.split_first_chunk::<NONCE_LEN>()?;
        let mut body = Secret::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.key(content)?.open_in_place(nonce, Aad::empty(), body.expose_mut()).ok()?.len();
        body.expose_mut().truncate(length);
        Some(body)
    }

    /// Family, generation and purpose are in the key, so that nothing opens in another place.
    fn key(&self, content: Content) -> Option<LessSafeKey> {
        let prk = Salt::new(HKDF_SHA256, SALT).extract(self.seed.expose());
        let mut info = Vec::with_capacity(32);
        info.extend_from_slice(self.family.as_bytes());
        info.extend_from_slice(&self.generation.to_be_bytes());
        info.extend_from_slice(content.label());
        let key = Secret::new(expand::<32>(&prk, &info).ok()?);
        UnboundKey::new(&AES_256_GCM_SIV, key.expose()).ok().map(LessSafeKey::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::session::grant::tests::grant;

    #[test]
    fn what_is_kept_opens_for_holders_of_its_generation_and_purpose_only() {
        let contents = [Content::Answer, Content::Grant, Content::Seed, Content::Tokens];
        let mine = grant();
        for content in contents {
            let sealed = Holder::of(&mine).seal(content, b"a token", [1; 12]).unwrap();
            for other in contents {
                let found = Holder::of(&mine).open(other, &sealed);
                assert_eq!(found.is_some(), other == content);
            }
            let others = [
                Grant { generation: 1, ..mine.clone() },
                Grant { family: FamilyId::from_random([8; 16]), ..mine.clone() },
                Grant { seed: Secret::new([2; 32]), ..mine.clone() },
            ];
            assert!(others.iter().all(|other| Holder::of(other).open(content, &sealed).is_none()));
            // The refresh token has no part in it: an AS may keep it over many exchanges.
            let same_seed = Grant { refresh_token: "other".into(), ..mine.clone() };
            assert!(Holder::of(&same_seed).open(content, &sealed).is_some());
            for bit in 0..sealed.0.len() * 8 {
                let mut changed = sealed.clone();
                changed.0[bit / 8] ^= 1 << (bit % 8);
                assert!(Holder::of(&mine).open(content, &changed).is_none(), "bit {bit}");
            }
        }
    }
}
