//! Judges a logout token, by which an issuer tells its clients who has signed out: OpenID Connect
//! Back-Channel Logout 1.0 (with errata set 1) sections 2.4 and 2.6.
//!
//! [`Unverified`] (its form is right) → [`Plausible`] (no key was touched) → [`VerifiedLogoutToken`] (it is
//! good). Whether it was shown before is not known here.
//!
//! What it must never do: take a token of another kind. `typ` is `logout+jwt`, which section 2.4 recommends,
//! or says nothing (absent, or the `JWT` of issuers older than that); `events` is what no ID token and no
//! access token may have where `typ` says nothing, and `nonce` is what it must not have itself.
//!
//! `aud` is judged as that of an ID token (section 2.6 (4)): one of ours must be named, and nobody whom this
//! gateway does not trust: all of them must be clients of this issuer here. An issuer sends each client a
//! token of its own.
//!
//! An issuer that wrote by a draft of the standard gives it no `exp`. Such a token counts for the two minutes
//! from its `iat` on that section 2.4 recommends: what refuses it would leave the person signed in here.
//!
//! How long it may live is bounded as for an access token (`max_token_lifetime`), although the standard
//! bounds it nowhere: its `jti` is remembered for as long.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;
use crate::core::token::TokenRules;
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::Unverified;
use crate::core::token::to_client::{Kind, Proven, ToClient, Wrong};

/// The member of `events` that makes it one.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

const KIND: Kind = Kind { typ: Some("logout+jwt"), life_without_exp: Some(Duration::from_secs(2 * 60)) };

/// A logout token that would be good if its signature held. Still not to be believed.
#[derive(Debug)]
pub struct Plausible<'t, 'r>(ToClient<'t, 'r>);

/// A logout token that was verified. Only [`Plausible::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedLogoutToken {
    issuer: IssuerName,
    clients: Vec<String>,
    over: Over,
    subject: Option<String>,
    id: String,
    kid: Option<String>,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// What is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// One session at the issuer, by its `sid`.
    Session(String),
    /// All sessions of a `sub`.
    EverySessionOf(String),
}

impl<'t, 'r> Plausible<'t, 'r> {
    /// What can be refused without a key: issuer, algorithm, type and event, times.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(token: Unverified<'t>, rules: &'r TokenRules, now: Timestamp) -> Result<Self, Wrong> {
        let token = ToClient::check(token, KIND, rules, now)?;
        if token.lives_longer_than_allowed() {
            return Err(Denial::TokenLivesTooLong.into());
        }
        check_event(token.claims())?;
        Ok(Self(token))
    }

    /// Whether these keys could decide about it: `false` only for a key that a newer set may have.
    pub fn key_is_known(&self, keys: &KeySet) -> bool {
        self.0.key_is_known(keys)
    }

    /// Signature, then whom it is meant for and what it says.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(self, keys: &KeySet) -> Result<VerifiedLogoutToken, Wrong> {
        let rules = self.0.rules;
        let proven = self.0.verify(keys)?;
        let clients = clients(&proven, rules)?;
        let subject = proven.identifier("sub")?;
        // Section 2.4: with both, the one session is meant.
        let over = match (proven.identifier("sid")?, &subject) {
            (Some(session), _) => Over::Session(session),
            (None, Some(subject)) => Over::EverySessionOf(subject.clone()),
            (None, None) => return Err(Wrong("The token has neither sub nor sid.")),
        };
        let id = proven.identifier("jti")?.ok_or(Wrong("The token has no jti."))?;
        let (issuer, times) = (rules.issuer.clone(), proven.times);
        let (issued_at, expires_at) = (times.issued_at, times.expires_at);
        let kid = proven.kid.clone();
        Ok(VerifiedLogoutToken { issuer, clients, over, subject, id, kid, issued_at, expires_at })
    }
}

impl VerifiedLogoutToken {
    /// The whole judgement. `limit` is in bytes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(
        text: &str,
        limit: usize,
        keys: &KeySet,
        rules: &TokenRules,
        now: Timestamp,
    ) -> Result<Self, Wrong> {
        Plausible::check(Unverified::parse(text, limit)?, rules, now)?.verify(keys)
    }

    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }

    /// The `client_id`s that it is meant for; never none.
    pub fn clients(&self) -> &[String] {
        &self.clients
    }

    pub fn over(&self) -> &Over {
        &self.over
    }

    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `jti`; never empty.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name that its issuer gave the key that signed it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// `exp`, without the clock skew that verification allows.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// Section 2.6 (6) and (7).
fn check_event(claims: &Map<String, Value>) -> Result<(), Wrong> {
    let event = claims.get("events").and_then(|events| events.as_object()?.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(Wrong("The token's events do not tell of a back-channel logout."));
    }
    if claims.contains_key("nonce") {
        return Err(Wrong("A logout token must have no nonce."));
    }
    Ok(())
}

fn clients(proven: &Proven, rules: &TokenRules) -> Result<Vec<String>, Wrong> {
    let audiences = proven.audiences()?;
    let is_client = |name: &&str| rules.client_ids.iter().any(|client| client == name);
    if !audiences.iter().any(is_client) {
        return Err(Wrong("The token's aud names no client of this gateway."));
    }
    if !audiences.iter().all(is_client) {
        return Err(Wrong("The token's aud names others than clients of this gateway."));
    }
    Ok(audiences.into_iter().map(ToOwned::to_owned).collect())
}

#[cfg(test)]
mod tests;
