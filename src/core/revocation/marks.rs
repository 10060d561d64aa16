//! Lookup keys of tokens and grants: for each thing a revocation can name, a 128-bit SipHash-2-4 under a key
//! of this process, so nobody can construct collisions or slow a table. Made once, at verification.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::{GrantIdentity, Kind, Target, TokenIdentity, Whose};
use crate::core::token::id::TokenId;

/// The key of this process.
#[derive(Clone)]
pub struct MarkKey(SipHasher24);

impl MarkKey {
    /// From 128 random bits.
    pub fn from_random(bits: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(bits))
    }

    fn mark(&self, kind: Kind, whose: Option<&str>, value: &[u8]) -> Mark {
        self.value(kind, value).whose(whose)
    }

    fn pair(&self, kind: Kind, iss: &str, value: &str) -> Pair {
        let value = self.value(kind, value.as_bytes());
        Pair { here: value.whose(Some(iss)), anywhere: value.whose(None) }
    }

    fn value(&self, kind: Kind, value: &[u8]) -> Begun {
        let mut hasher = self.0;
        hasher.write_u8(kind as u8);
        hasher.write_usize(value.len());
        hasher.write(value);
        Begun(hasher)
    }
}

impl std::fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MarkKey(..)")
    }
}

/// A mark but for whose it is: a value of one issuer and of all is read once.
struct Begun(SipHasher24);

impl Begun {
    fn whose(&self, whose: Option<&str>) -> Mark {
        let mut hasher = self.0;
        hasher.write_u8(u8::from(whose.is_some()));
        hasher.write(whose.unwrap_or_default().as_bytes());
        Mark(hasher.finish128().as_bytes())
    }
}

/// Stands for one thing that can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; 16]);

impl std::hash::Hash for Mark {
    /// It is a hash already, and its key is secret.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.high_bits());
    }
}

impl Mark {
    /// What [`std::hash::Hash`] uses.
    #[inline]
    pub const fn high_bits(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// Bits that [`std::hash::Hash`] does not use.
    #[inline]
    pub const fn low_bits(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    pub fn of(key: &MarkKey, target: &Target) -> Self {
        let whose = match &target.whose {
            Whose::Of(iss) => Some(iss.as_str()),
            Whose::All => None,
        };
        match target.kind {
            Kind::Token => match TokenId::parse(&target.value) {
                Some(id) => Self::of_token(key, id),
                None => key.mark(Kind::Token, whose, target.value.as_bytes()),
            },
            kind => key.mark(kind, whose, target.value.as_bytes()),
        }
    }

    fn of_token(key: &MarkKey, id: TokenId) -> Self {
        key.mark(Kind::Token, None, id.as_bytes())
    }
}

/// The same value, of one issuer and of all.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub here: Mark,
    pub anywhere: Mark,
}

/// The marks of one token.
#[derive(Clone, Debug)]
pub struct TokenMarks {
    /// What it was noted by where it was handed out.
    pub id: TokenId,
    /// The same by its text, where it has an id that was not known when it was handed out.
    pub by_text: Option<(TokenId, Mark)>,
    pub token: Mark,
    pub jti: Option<Pair>,
    pub sid: Option<Pair>,
    pub sub: Option<Pair>,
    pub client: Option<Pair>,
    pub kid: Option<Pair>,
    pub issuer: Mark,
    /// The same by what else its issuer is called.
    pub by_other_names: Box<[Self]>,
}

impl TokenMarks {
    /// It may also be named as of its issuer's other names.
    #[must_use]
    pub fn or_by_names(self, by_other_names: impl Iterator<Item = Self>) -> Self {
        Self { by_other_names: by_other_names.collect(), ..self }
    }

    /// It may also be named by its text.
    #[must_use]
    pub fn or_by_text(self, key: &MarkKey, id: TokenId) -> Self {
        Self { by_text: Some((id, Mark::of_token(key, id))), ..self }
    }

    /// What it may have been noted by where it was handed out.
    pub fn noted_by(&self) -> impl Iterator<Item = TokenId> + use<> {
        [Some(self.id), self.by_text.map(|(id, _)| id)].into_iter().flatten()
    }

    pub fn of(key: &MarkKey, token: &TokenIdentity<'_>) -> Self {
        let pair = |kind, value: Option<&str>| value.map(|value| key.pair(kind, token.iss, value));
        Self {
            id: token.id,
            by_text: None,
            token: Mark::of_token(key, token.id),
            jti: pair(Kind::Jti, token.jti),
            sid: pair(Kind::Sid, token.sid),
            sub: pair(Kind::Sub, token.sub),
            client: pair(Kind::Client, token.client),
            kid: pair(Kind::Kid, token.kid),
            issuer: key.mark(Kind::Issuer, None, token.iss.as_bytes()),
            by_other_names: Box::default(),
        }
    }
}

/// The marks of one grant.
#[derive(Clone, Debug)]
pub struct GrantMarks {
    pub family: Mark,
    pub sid: Option<Pair>,
    pub sub: Option<Pair>,
    pub client: Pair,
    pub issuer: Mark,
    /// The same by what else its issuer is called.
    pub by_other_names: Box<[Self]>,
}

impl GrantMarks {
    pub fn of(key: &MarkKey, grant: &GrantIdentity<'_>) -> Self {
        let pair = |kind, value: &str| key.pair(kind, grant.iss, value);
        Self {
            family: Mark::of(key, &Target::family(grant.family)),
            sid: grant.sid.map(|sid| pair(Kind::Sid, sid)),
            sub: grant.sub.map(|sub| pair(Kind::Sub, sub)),
            client: pair(Kind::Client, grant.client),
            issuer: key.mark(Kind::Issuer, None, grant.iss.as_bytes()),
            by_other_names: Box::default(),
        }
    }

    /// It may also be named as of its issuer's other names.
    #[must_use]
    pub fn or_by_names(self, by_other_names: impl Iterator<Item = Self>) -> Self {
        Self { by_other_names: by_other_names.collect(), ..self }
    }
}

/// The marks of one who signs.
#[derive(Clone, Debug)]
pub struct SignerMarks {
    pub kid: Option<Pair>,
    pub issuer: Mark,
}

impl SignerMarks {
    pub fn of(key: &MarkKey, iss: &str, kid: Option<&str>) -> Self {
        Self {
            kid: kid.map(|kid| key.pair(Kind::Kid, iss, kid)),
            issuer: key.mark(Kind::Issuer, None, iss.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thing_has_a_mark_of_its_own_and_another_under_another_key() {
        let (key, other) = (MarkKey::from_random(&[1; 16]), MarkKey::from_random(&[2; 16]));
        let targets = [
            (Kind::Sub, Whose::Of("https://as".into()), "alice"),
            (Kind::Sub, Whose::Of("https://as".into()), "alic"),
            (Kind::Sub, Whose::Of("ehttps://as".into()), "alic"),
            (Kind::Sub, Whose::Of(String::new()), "alice"),
            (Kind::Sub, Whose::All, "alice"),
            (Kind::Client, Whose::Of("https://as".into()), "alice"),
        ];
        let marks = targets.map(|(kind, whose, value)| {
            let target = Target { kind, whose, value: value.to_owned() };
            assert_eq!(Mark::of(&key, &target), Mark::of(&key, &target));
            assert_ne!(Mark::of(&key, &target), Mark::of(&other, &target));
            Mark::of(&key, &target)
        });
        for (at, mark) in marks.iter().enumerate() {
            assert!(!marks[..at].contains(mark));
        }
        assert!(!format!("{key:?}").contains('1'));
    }

    #[test]
    fn of_one_issuer_and_of_all_a_value_has_the_marks_by_which_each_is_taken_back() {
        let key = MarkKey::from_random(&[1; 16]);
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Token) {
            let pair = key.pair(kind, "https://as", "alice");
            let of = |whose| Mark::of(&key, &Target { kind, whose, value: "alice".to_owned() });
            assert_eq!(pair.here, of(Whose::Of("https://as".into())), "{kind:?}");
            assert_eq!(pair.anywhere, of(Whose::All), "{kind:?}");
            assert_ne!(pair.here, pair.anywhere, "{kind:?}");
        }
    }
}
