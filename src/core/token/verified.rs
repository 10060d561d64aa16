//! An access token that was found good, and what Tollgate uses of it, by its issuer's names for it. Nothing
//! outside this folder makes one: a [`VerifiedToken`] in hand is the proof.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;
use crate::core::token::binding::{Thumbprint, bound_to};
use crate::core::token::claims::{Claims, Held, ReadClaims};
use crate::core::token::scope_values::ScopeValues;
use crate::core::token::{TokenRules, json};

/// An access token that was verified: issuer, audience, time, type, and that its issuer made it. Only
/// [`super::jwt::Plausible::verify`] and [`super::introspection::IntrospectionAnswer::judge`] make one.
#[derive(Clone, Debug)]
#[repr(C)] // in this order: what every request looks at lies together, up to what is beside a caller: one wait for memory
pub struct VerifiedToken {
    claims: Held,
    expires_at: Timestamp,
    /// The key whose holder alone it is good for.
    bound_to: Option<Box<Thumbprint>>,
    // At hand without a search among the claims.
    kid: Option<Box<str>>,
    id: Option<Box<str>>,
    session: Option<Box<str>>,
    subject: Option<Box<str>>,
    acr: Option<Box<str>>,
    signed_in_at: Option<Timestamp>,
    client: Option<Box<str>>,
    issuer: IssuerName,
    scope: ScopeValues,
    issued_at: Timestamp,
    /// From when until when it is good by its times, the clock skew allowed.
    good: Range<Timestamp>,
}

impl VerifiedToken {
    /// Makes a token of claims whose truth, audience and times were found good: it has those that Tollgate
    /// uses, read by their names.
    ///
    /// # Errors
    /// `TokenMalformed` for an identifier that would escape comparison; `BindingNotSupported` for a binding
    /// that cannot be checked.
    pub(super) fn of_claims(
        claims: Map<String, Value>,
        kid: Option<String>,
        times: Times,
        rules: &TokenRules,
        now: Timestamp,
    ) -> Result<Self, Denial> {
        check_identifier(claims.get("sub"))?;
        let bound_to = bound_to(&claims)?.map(Box::new);
        let named = |names: &[String]| -> Result<Option<Box<str>>, Denial> {
            let value = first_present(&claims, names);
            check_identifier(value)?;
            Ok(value.and_then(Value::as_str).map(Into::into))
        };
        let (client, session) = (named(&rules.claims.client)?, named(&rules.claims.session)?);
        let id = named(&rules.claims.id)?;
        let scope = first_present(&claims, &rules.claims.scope).map(scope_values).unwrap_or_default();
        let signed_in_at = date(&claims, "auth_time")
            .ok()
            .flatten()
            .filter(|signed_in| *signed_in <= now.plus(rules.clock_skew));
        let issuer = rules.issuer.clone();
        let Times { issued_at, starts_at, expires_at } = times;
        let good = starts_at.minus(rules.clock_skew)..expires_at.plus(rules.clock_skew);
        // No later than it is now: else it would outlive what is taken back until then.
        let issued_at = issued_at.plus(rules.iat_behind).min(now.max(issued_at));
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(Into::into);
        let (subject, acr) = (text("sub"), text("acr"));
        Ok(Self {
            good,
            issued_at,
            scope,
            issuer,
            client,
            subject,
            acr,
            session,
            id,
            kid: kid.map(Into::into),
            expires_at,
            bound_to,
            signed_in_at,
            claims: Held::All(claims),
        })
    }

    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }

    /// Its claims, as they came, or what was kept of them; but `iss` is the one name of its issuer.
    pub fn claims(&self) -> Claims<'_> {
        self.claims.view()
    }

    /// The same with no other claims than those of these names; by what stands beside them it is known as
    /// before.
    #[must_use]
    pub fn with_only(self, names: &ReadClaims) -> Self {
        Self { claims: self.claims.keep(names), ..self }
    }

    /// `sub`; never empty.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The client that the token was issued to, by the issuer's claim names.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// The session that it belongs to (`sid`), by the issuer's claim names.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The token's own id (`jti`), by the issuer's claim names; unique together with its issuer.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The name that its issuer gave the key that signed it, whatever the token's header says: whoever has a
    /// stolen key can leave `kid` out.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key that it is bound to (RFC 9449 section 6): who does not prove that key must not be served by
    /// it.
    pub fn bound_to(&self) -> Option<Thumbprint> {
        self.bound_to.as_deref().copied()
    }

    pub fn scope(&self) -> &ScopeValues {
        &self.scope
    }

    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// `exp`, without the clock skew that verification allows.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// From here on it is refused by its times, the clock skew allowed.
    pub fn good_until(&self) -> Timestamp {
        self.good.end
    }

    /// Whether it is still good by its times, the clock skew allowed: all of the judgement that changes by
    /// itself.
    pub fn is_timely(&self, now: Timestamp) -> bool {
        self.good.contains(&now)
    }

    /// When its holder last signed in (`auth_time`); `None` when it is absent, unreadable or in the
    /// future.
    pub fn signed_in_at(&self) -> Option<Timestamp> {
        self.signed_in_at
    }

    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref()
    }

    /// How many bytes of memory it takes, rather too many than too few.
    pub fn size(&self) -> usize {
        let texts = [&self.subject, &self.acr, &self.client, &self.session, &self.id, &self.kid];
        let texts = texts.into_iter().flatten();
        let texts = texts.map(|text| text.len()).chain([self.scope.heap(), size_of::<Thumbprint>()]);
        texts
            .map(|length| (json::HEAP + size_of::<String>()).saturating_add(length))
            .fold(size_of::<Self>().saturating_add(self.claims.size()), usize::saturating_add)
    }
}

/// When a token was issued, and when it is good.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) issued_at: Timestamp,
    /// The later of `iat` and `nbf`.
    pub(super) starts_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// An identifier that is not a string, or an empty one, would escape every comparison.
fn check_identifier(value: Option<&Value>) -> Result<(), Denial> {
    match value {
        None => Ok(()),
        Some(Value::String(text)) if !text.is_empty() => Ok(()),
        Some(_) => Err(Denial::TokenMalformed(
            "The claims that name subject, client, session and token must be strings, and not empty.",
        )),
    }
}

/// `null` counts as absent.
pub(crate) fn first_present<'c>(claims: &'c Map<String, Value>, names: &[String]) -> Option<&'c Value> {
    names.iter().filter_map(|name| claims.get(name)).find(|value| !value.is_null())
}

/// A list with spaces between (RFC 6749 section 3.3), or an array of strings. Anything else grants
/// nothing.
pub(super) fn scope_values(claim: &Value) -> ScopeValues {
    match claim {
        Value::String(text) => text.split(' ').collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => ScopeValues::default(),
    }
}

/// A `NumericDate`, which may have a fraction; between 1970 and 9999.
pub(super) fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Denial> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let date = value.as_f64().and_then(Timestamp::from_numeric_date);
    date.map(Some).ok_or(Denial::TokenMalformed("exp, iat and nbf must be seconds between 1970 and 9999."))
}
