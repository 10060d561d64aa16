//! Judges a Security Event Token (SET), by which a transmitter tells that a session, a credential or an
//! account is no longer what it was: RFC 8417, as the OpenID Shared Signals Framework 1.0 (SSF) sections 3
//! and 4 profile it.
//!
//! [`Unverified`] (its form is right) → [`Plausible`] (no key was touched) → [`ProvenEvent`] (its transmitter
//! made it) → [`VerifiedSecurityEvent`] (it is good, and says what happened to whom). Whether it came before
//! is not known here.
//!
//! What it must never do: take a token of another kind. `typ` is `secevent+jwt` and nothing else, `events` is
//! there, and `exp`, which every access token has, and `sub` are not (SSF section 4.1.3). Nor take a word
//! about somebody whom the transmitter has no say over, or of a kind that it may not use: [`SignalRules`].
//!
//! It does not expire, so `iat` bounds its life: what is older than [`MEMORY`] is refused, and what must be
//! known so that an old one does no harm is known for as long.

pub mod event;
pub mod subject;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::core::denial::Denial;
pub use crate::core::denial::security_event::{Code, RefusedEvent};
use crate::core::time::Timestamp;
use crate::core::token::Algorithm;
use crate::core::token::audience::audiences;
use crate::core::token::check::Failed;
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::Unverified;
use crate::core::token::kind::is_type;
use crate::core::token::verified::date;
use event::{Event, EventType};

/// How old one may be that is taken.
pub const MEMORY: Duration = Duration::from_secs(30 * 86_400);

/// What the SETs of one transmitter must be like, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRules {
    /// `iss`, compared byte for byte.
    pub iss: String,
    /// One of these must be in `aud`; never empty.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub clock_skew: Duration,
    /// The `iss` of the issuers whose subjects it has a say over; never empty.
    pub revokes: Vec<String>,
    /// What else access tokens of these say, and which of `revokes` is meant by it.
    pub also_called: Vec<(String, String)>,
    /// What it may use; never empty.
    pub events: Vec<EventType>,
}

impl From<Failed> for RefusedEvent {
    fn from(failed: Failed) -> Self {
        failed.denial.into()
    }
}

/// A SET that would be good if its signature held. Still not to be believed.
#[derive(Debug)]
pub struct Plausible<'t, 'r> {
    token: Unverified<'t>,
    rules: &'r SignalRules,
    issued_at: Timestamp,
    id: String,
}

/// A SET that its transmitter made. It need not be for here, nor say anything that counts.
#[derive(Debug)]
pub struct ProvenEvent<'r> {
    claims: Map<String, Value>,
    rules: &'r SignalRules,
    issued_at: Timestamp,
    id: String,
    kid: Option<String>,
}

/// A SET that was verified. Only [`ProvenEvent::read`] makes one.
#[derive(Debug)]
pub struct VerifiedSecurityEvent {
    id: String,
    kid: Option<String>,
    issued_at: Timestamp,
    events: Vec<Event>,
}

impl<'t, 'r> Plausible<'t, 'r> {
    /// What can be refused without a key: issuer, algorithm, type, times, and what no SET has.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        token: Unverified<'t>,
        rules: &'r SignalRules,
        now: Timestamp,
    ) -> Result<Self, RefusedEvent> {
        if token.iss() != rules.iss {
            return Err(Denial::UnknownIssuer.into());
        }
        let says = token.says();
        if !rules.algorithms.contains(&says.algorithm) {
            return Err(Denial::AlgorithmNotAllowed.into());
        }
        if !says.typ.is_some_and(|typ| is_type(typ, "secevent+jwt")) {
            return Err(RefusedEvent::invalid(
                "The token's typ must be secevent+jwt (RFC 8417 section 2.3).",
            ));
        }
        for (name, why) in [
            ("exp", "A SET must have no exp (Shared Signals Framework 1.0 section 4.1.7)."),
            (
                "sub",
                "A SET must have no sub; sub_id names its subject (Shared Signals Framework 1.0 section 4.1.2).",
            ),
        ] {
            if says.claims.contains_key(name) {
                return Err(RefusedEvent::invalid(why));
            }
        }
        let events = says.claims.get("events").and_then(Value::as_object);
        if events.is_none_or(Map::is_empty) {
            return Err(RefusedEvent::invalid("The token's events must be an object with an event in it."));
        }
        let issued_at = issued_at(says.claims, rules, now)?;
        let id = identifier(says.claims.get("jti"), "The token's jti must be a string, and not empty.")?;
        Ok(Self { token, rules, issued_at, id })
    }

    /// Whether these keys could decide about it: `false` only for a key that a newer set may have.
    pub fn key_is_known(&self, keys: &KeySet) -> bool {
        self.token.key_is_known(keys)
    }

    /// The signature.
    ///
    /// # Errors
    /// When no key of these signed it.
    pub fn prove(self, keys: &KeySet) -> Result<ProvenEvent<'r>, RefusedEvent> {
        let Self { token, rules, issued_at, id } = self;
        let kid = token.signer(keys)?.kid().map(ToOwned::to_owned);
        Ok(ProvenEvent { claims: token.into_claims(), rules, issued_at, id, kid })
    }
}

impl ProvenEvent<'_> {
    /// Whom it is meant for, and what it says.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(self) -> Result<VerifiedSecurityEvent, RefusedEvent> {
        let Self { claims, rules, issued_at, id, kid } = self;
        let audiences = audiences(&claims).map_err(RefusedEvent::from)?;
        if !audiences.iter().any(|name| rules.audiences.iter().any(|own| own == name)) {
            return Err(RefusedEvent::new(
                Code::InvalidAudience,
                "The token's aud does not name this gateway.",
            ));
        }
        let events = event::read(&claims, rules, issued_at)?;
        Ok(VerifiedSecurityEvent { id, kid, issued_at, events })
    }
}

impl VerifiedSecurityEvent {
    /// The whole judgement. `limit` is in bytes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(
        text: &str,
        limit: usize,
        keys: &KeySet,
        rules: &SignalRules,
        now: Timestamp,
    ) -> Result<Self, RefusedEvent> {
        Plausible::check(Unverified::parse(text, limit)?, rules, now)?.prove(keys)?.read()
    }

    /// `jti`; never empty.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name that its transmitter gave the key that signed it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// What happened, in no order; never none.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// RFC 8417 section 2.2: when it was issued, which is long before it happened to arrive, or hardly.
fn issued_at(
    claims: &Map<String, Value>,
    rules: &SignalRules,
    now: Timestamp,
) -> Result<Timestamp, RefusedEvent> {
    let issued_at = date(claims, "iat")?.ok_or(RefusedEvent::invalid("The token has no iat."))?;
    let starts_at = date(claims, "nbf")?.unwrap_or(issued_at).max(issued_at);
    if starts_at > now.plus(rules.clock_skew) {
        return Err(Denial::TokenNotYetValid.into());
    }
    if now.since(issued_at) > MEMORY.saturating_add(rules.clock_skew) {
        return Err(RefusedEvent::invalid("The token was issued more than 30 days ago."));
    }
    Ok(issued_at)
}

/// A text that is not empty: anything else would escape every comparison.
fn identifier(value: Option<&Value>, why: &'static str) -> Result<String, RefusedEvent> {
    let text = value.and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(ToOwned::to_owned).ok_or(RefusedEvent::invalid(why))
}

#[cfg(test)]
mod tests;
