//! What an ID token and a logout token have in common: an issuer makes them for its client, not for an API.
//! Form, header, algorithm, key and signature are judged as those of an access token, by the same code
//! ([`super::jwt`]); then follow what [`super::id_token`] and [`super::logout_token`] add.
//!
//! What it must never do: take a token of another kind. `typ` is absent, `JWT`, or the kind's own; what the
//! claims must and must not have tells apart those that do not say their kind (RFC 8725 section 3.12).
//!
//! As there, whom a token is meant for is told to nobody whose signature does not hold.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::audience::audiences;
use crate::core::token::check::Failed;
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::Unverified;
use crate::core::token::kind::{is_type, is_unspecific};
use crate::core::token::verified::{Times, date};
use crate::core::token::{Algorithm, TokenRules};

/// What is wrong with such a token, in words that may be told to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub(super) &'static str);

impl Wrong {
    /// It may have been good before.
    pub const EXPIRED: Self = Self("The token has expired.");

    pub const fn why(self) -> &'static str {
        self.0
    }
}

impl From<Denial> for Wrong {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::TokenTooLarge => Self("The token exceeds limits.token."),
            Denial::WrongAudience => Self("The token has no aud."),
            Denial::Revoked => Self("The token's key was revoked here."),
            other => Self(other.facts().detail),
        }
    }
}

impl From<Failed> for Wrong {
    fn from(failed: Failed) -> Self {
        failed.denial.into()
    }
}

/// A token of the right issuer, kind and time, if its signature held. Still not to be believed.
#[derive(Debug)]
pub(super) struct ToClient<'t, 'r> {
    token: Unverified<'t>,
    pub(super) rules: &'r TokenRules,
    times: Times,
}

/// Made by its issuer.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) claims: Map<String, Value>,
    pub(super) times: Times,
    pub(super) algorithm: Algorithm,
    /// The name that its issuer gave the key that signed it.
    pub(super) kid: Option<String>,
}

/// What one kind of such tokens has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Its `typ`, where it has one.
    pub(super) typ: Option<&'static str>,
    /// How long one counts from its `iat` on that has no `exp`; `None`: it must have one.
    pub(super) life_without_exp: Option<Duration>,
}

impl<'t, 'r> ToClient<'t, 'r> {
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn check(
        token: Unverified<'t>,
        kind: Kind,
        rules: &'r TokenRules,
        now: Timestamp,
    ) -> Result<Self, Wrong> {
        if token.iss() != rules.iss {
            return Err(Denial::UnknownIssuer.into());
        }
        let says = token.says();
        if !rules.algorithms.contains(&says.algorithm) {
            return Err(Denial::AlgorithmNotAllowed.into());
        }
        let is_own = says.typ.zip(kind.typ).is_some_and(|(typ, own)| is_type(typ, own));
        if !is_own && !is_unspecific(says.typ) {
            return Err(Wrong("The token's typ says that it is of another kind."));
        }
        let times = times(says.claims, kind, rules, now)?;
        Ok(Self { token, rules, times })
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        self.token.says().claims
    }

    pub(super) fn lives_longer_than_allowed(&self) -> bool {
        self.times.expires_at.since(self.times.issued_at) > self.rules.max_token_lifetime
    }

    /// Whether these keys could decide about it: `false` only for a key that a newer set may have.
    pub(super) fn key_is_known(&self, keys: &KeySet) -> bool {
        self.token.key_is_known(keys)
    }

    /// As `jwt::Plausible::key_is_at_hand`.
    pub(super) fn key_is_at_hand(&self, keys: &KeySet) -> bool {
        self.token.key_is_at_hand(keys)
    }

    /// # Errors
    /// When no key of these signed it.
    pub(super) fn verify(self, keys: &KeySet) -> Result<Proven, Wrong> {
        let kid = self.token.signer(keys)?.kid().map(ToOwned::to_owned);
        let algorithm = self.token.says().algorithm;
        Ok(Proven { claims: self.token.into_claims(), times: self.times, algorithm, kid })
    }
}

/// `iat` must be there, and `exp` unless its kind can do without (OpenID Connect Core section 2; Back-Channel
/// Logout section 2.4).
fn times(
    claims: &Map<String, Value>,
    kind: Kind,
    rules: &TokenRules,
    now: Timestamp,
) -> Result<Times, Wrong> {
    let issued_at = date(claims, "iat")?.ok_or(Wrong("The token has no iat."))?;
    let without = || kind.life_without_exp.map(|life| issued_at.plus(life.min(rules.max_token_lifetime)));
    let expires_at = date(claims, "exp")?.or_else(without).ok_or(Wrong("The token has no exp."))?;
    if now >= expires_at.plus(rules.clock_skew) {
        return Err(Wrong::EXPIRED);
    }
    let starts_at = date(claims, "nbf")?.unwrap_or(issued_at).max(issued_at);
    if starts_at > now.plus(rules.clock_skew) {
        return Err(Denial::TokenNotYetValid.into());
    }
    Ok(Times { issued_at, starts_at, expires_at })
}

impl Proven {
    pub(super) fn audiences(&self) -> Result<Vec<&str>, Wrong> {
        Ok(audiences(&self.claims)?)
    }

    /// A claim that names something: a text that is not empty, or, absent or `null`, nothing. Anything else
    /// would escape every comparison.
    pub(super) fn identifier(&self, name: &str) -> Result<Option<String>, Wrong> {
        match self.claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(_) => Err(Wrong("sub, sid and jti must be strings, and not empty.")),
        }
    }
}
