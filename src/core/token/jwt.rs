//! stub: see the design. `Unverified`, `VerifiedToken`.

use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;
use crate::core::token::TokenRules;
use crate::core::token::jwks::KeySet;

/// A token whose form was checked and nothing else. It says which issuer and key to ask, and must
/// not be believed in anything.
#[derive(Debug)]
pub struct Unverified<'a> {
    text: &'a str,
}

impl<'a> Unverified<'a> {
    /// Size before anything else, then form.
    pub fn parse(text: &'a str, limit: usize) -> Result<Self, Denial> {
        let _ = limit;
        Ok(Self { text })
    }

    /// What the token says is its issuer; only good for choosing whose keys to try.
    pub fn iss(&self) -> &str {
        self.text
    }

    pub fn kid(&self) -> Option<&str> {
        None
    }

    /// The judgement. Cheap checks (algorithm, type, claims that need no key) come before the signature.
    pub fn verify(self, keys: &KeySet, rules: &TokenRules, now: Timestamp) -> Result<VerifiedToken, Denial> {
        let _ = (keys, rules, now);
        Err(Denial::BadSignature)
    }
}

/// An access token that was verified: signature, issuer, audience, time, type. Only
/// [`Unverified::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedToken {
    issuer: IssuerName,
    claims: Map<String, Value>,
    scope: Vec<String>,
    client: Option<String>,
    expires_at: Timestamp,
}

impl VerifiedToken {
    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }
    /// Every claim, as it came.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub")?.as_str()
    }
    /// The client that the token was issued to, by the issuer's claim names.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }
    /// The scope values, in the token's order, without repetition.
    pub fn scope(&self) -> &[String] {
        &self.scope
    }
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
    /// When its holder last signed in (`auth_time`).
    pub fn signed_in_at(&self) -> Option<Timestamp> {
        None
    }
    pub fn acr(&self) -> Option<&str> {
        self.claims.get("acr")?.as_str()
    }
}
