//! Judges an ID token: OpenID Connect Core 1.0 section 3.1.3.7, with the signature checked although section
//! 3.1.3.7 (6) would let TLS stand in for it: what it says of a person goes to upstreams.
//!
//! [`Unverified`] (its form is right) → [`Plausible`] (no key was touched) → [`VerifiedIdToken`] (it is
//! good).
//!
//! What it must never do: take an access token or a logout token. What would also pass as an access token of
//! its issuer is refused here (`typ` says nothing, an API is among its audiences, and nothing marks it as an
//! ID token).

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::Unverified;
use crate::core::token::kind::mark_of_id_token;
use crate::core::token::to_client::{Kind, Proven, ToClient, Wrong};
use crate::core::token::verified::date;
use crate::core::token::{Algorithm, TokenRules};

const KIND: Kind = Kind { typ: None, life_without_exp: None };

/// What it must fit.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub client_id: &'a str,
    /// What the authorization request said. `None`: there was none that this token must answer (a refresh);
    /// whatever the token says is then not looked at.
    pub nonce: Option<&'a str>,
    /// What came along with it.
    pub access_token: Option<&'a str>,
}

/// An ID token that would be good for some client if its signature held. Still not to be believed.
#[derive(Debug)]
pub struct Plausible<'t, 'r> {
    token: ToClient<'t, 'r>,
    now: Timestamp,
}

/// An ID token that was verified. Only [`Plausible::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedIdToken {
    issuer: IssuerName,
    subject: String,
    session: Option<String>,
    signed_in_at: Option<Timestamp>,
    kid: Option<String>,
    expires_at: Timestamp,
    claims: Map<String, Value>,
}

impl<'t, 'r> Plausible<'t, 'r> {
    /// What can be refused without a key: issuer, algorithm, type, times.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(token: Unverified<'t>, rules: &'r TokenRules, now: Timestamp) -> Result<Self, Wrong> {
        let token = ToClient::check(token, KIND, rules, now)?;
        if token.claims().contains_key("events") {
            return Err(Wrong("The token tells of events; it is no ID token."));
        }
        Ok(Self { token, now })
    }

    /// Whether these keys could decide about it, which came from its issuer itself: `false` only for a key
    /// that a newer set may have.
    pub fn key_is_at_hand(&self, keys: &KeySet) -> bool {
        self.token.key_is_at_hand(keys)
    }

    /// Signature, then everything that it must fit.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(self, keys: &KeySet, expected: Expected<'_>) -> Result<VerifiedIdToken, Wrong> {
        let (rules, now) = (self.token.rules, self.now);
        let proven = self.token.verify(keys)?;
        check_audience(&proven, rules, expected.client_id)?;
        check_nonce(&proven.claims, expected.nonce)?;
        check_access_token_hash(&proven, expected.access_token)?;
        let subject = proven.identifier("sub")?.ok_or(Wrong("The token has no sub."))?;
        let session = proven.identifier("sid")?;
        let Proven { claims, times, kid, .. } = proven;
        let signed_in_at = date(&claims, "auth_time")
            .ok()
            .flatten()
            .filter(|signed_in| *signed_in <= now.plus(rules.clock_skew));
        let (issuer, expires_at) = (rules.issuer.clone(), times.expires_at);
        Ok(VerifiedIdToken { issuer, subject, session, signed_in_at, kid, expires_at, claims })
    }
}

impl VerifiedIdToken {
    /// The whole judgement. `limit` is in bytes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(
        text: &str,
        limit: usize,
        keys: &KeySet,
        rules: &TokenRules,
        expected: Expected<'_>,
        now: Timestamp,
    ) -> Result<Self, Wrong> {
        Plausible::check(Unverified::parse(text, limit)?, rules, now)?.verify(keys, expected)
    }

    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }

    /// `sub`; never empty.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `sid`: what back-channel logout calls the session.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// When its holder last signed in (`auth_time`); `None` when it is absent, unreadable or in the future.
    pub fn signed_in_at(&self) -> Option<Timestamp> {
        self.signed_in_at
    }

    pub fn acr(&self) -> Option<&str> {
        self.claims.get("acr").and_then(Value::as_str)
    }

    /// The name that its issuer gave the key that signed it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// `exp`, without the clock skew that verification allows.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Every claim, as it came.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Section 3.1.3.7 (3) to (5). Another audience is trusted when it is a client of this issuer here too, or
/// when the issuer says that it made the token for this one (`azp`).
fn check_audience(proven: &Proven, rules: &TokenRules, client_id: &str) -> Result<(), Wrong> {
    let audiences = proven.audiences()?;
    if !audiences.contains(&client_id) {
        return Err(Wrong("The token's aud does not name the client."));
    }
    let azp = proven.claims.get("azp");
    if azp.is_some_and(|azp| azp.as_str() != Some(client_id)) {
        return Err(Wrong("The token's azp names another client."));
    }
    let is_client = |name: &&str| *name == client_id || rules.client_ids.iter().any(|client| client == name);
    if audiences.iter().all(is_client) {
        return Ok(());
    }
    if azp.is_none() {
        return Err(Wrong("The token's aud names others whom nobody here knows, and it has no azp."));
    }
    let is_for_an_api = audiences.iter().any(|name| rules.audiences.iter().any(|api| api == name));
    if is_for_an_api && mark_of_id_token(&proven.claims, rules).is_none() {
        return Err(Wrong("The token could be an access token: its aud names an API."));
    }
    Ok(())
}

/// Section 3.1.3.7 (11).
fn check_nonce(claims: &Map<String, Value>, expected: Option<&str>) -> Result<(), Wrong> {
    let said = claims.get("nonce").and_then(Value::as_str);
    match expected {
        Some(expected) if said != Some(expected) => {
            Err(Wrong("The token's nonce is not that of the authorization request."))
        }
        _ => Ok(()),
    }
}

/// Section 3.1.3.8: half of the access token's hash. It may be absent in the code flow.
fn check_access_token_hash(proven: &Proven, access_token: Option<&str>) -> Result<(), Wrong> {
    let (Some(said), Some(access_token)) = (proven.claims.get("at_hash"), access_token) else {
        return Ok(());
    };
    if said.as_str() == Some(&half_hash(proven.algorithm, access_token)) {
        Ok(())
    } else {
        Err(Wrong("The token's at_hash does not fit the access token."))
    }
}

/// The left half of the hash of the token's `alg`; Ed25519 is made with SHA-512 (RFC 8032 section 5.1).
fn half_hash(algorithm: Algorithm, access_token: &str) -> String {
    let hash = match algorithm {
        Algorithm::Hs256 | Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &SHA256,
        Algorithm::Hs384 | Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => &SHA384,
        Algorithm::Hs512 | Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::Es512 | Algorithm::EdDsa => {
            &SHA512
        }
    };
    let digest = digest::digest(hash, access_token.as_bytes());
    let (half, _) = digest.as_ref().split_at(hash.output_len() / 2);
    URL_SAFE_NO_PAD.encode(half)
}

#[cfg(test)]
mod tests;
