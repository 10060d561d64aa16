//! What a route requires of a token, and whether a token has it (RFC 6750 section 3.1, RFC 9470).
//!
//! Every requirement must hold; an absent claim does not. A sign-in that is too old or too weak, or that the
//! token does not mention, leads to step-up. What a new sign-in cannot mend is checked first. If a route has
//! alternatives, one that holds is enough; if none does, the caller is told of the first that a new sign-in
//! would mend, or else of the first.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Number, Value};

use crate::core::denial::Denial;
use crate::core::ids::IssuerName;
use crate::core::path::CanonicalPath;
use crate::core::route::{Dpop, Route};
use crate::core::time::Timestamp;
use crate::core::token::claims::said_names;
use crate::core::token::facts::TokenFacts;
use crate::core::token::json::is_exact;
use crate::core::token::scope_values::ScopeValues;

/// Who may use a route.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody. A token that comes along is still verified, and refused if it is not valid.
    Public,
    /// Everybody, but a token that comes along must be from one of these issuers.
    PublicOf(Vec<IssuerName>),
    /// Callers with a valid token that satisfies one of these.
    Protected(Alternatives),
}

/// The alternatives of a route, never empty: one of them must hold.
#[derive(Clone, Debug)]
pub struct Alternatives {
    first: Requirements,
    others: Vec<Requirements>,
}

impl Alternatives {
    pub const fn new(first: Requirements, others: Vec<Requirements>) -> Self {
        Self { first, others }
    }

    /// The alternative that callers are told of, unless another is singled out.
    pub const fn first(&self) -> &Requirements {
        &self.first
    }

    pub fn iter(&self) -> impl Iterator<Item = &Requirements> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// What all of them share: the issuers and clients whose tokens are taken.
    pub fn shared(&self) -> Requirements {
        let Requirements { issuers, clients, .. } = self.first.clone();
        Requirements { issuers, clients, ..Requirements::default() }
    }

    /// Judges a token by the alternatives. `parameter`: returns the path's value of a `{name}`.
    fn accept<'p>(
        &self,
        token: TokenFacts<'_>,
        parameter: impl Fn(&str) -> Option<Cow<'p, str>>,
        now: Timestamp,
    ) -> Result<(), Denial> {
        let Some(mut told) = self.first.first_lack(token, &parameter, now) else { return Ok(()) };
        for other in &self.others {
            let Some(lack) = other.first_lack(token, &parameter, now) else { return Ok(()) };
            if lack.is_sign_in() && !told.is_sign_in() {
                told = lack;
            }
        }
        Err(told.denial(token))
    }
}

impl From<Requirements> for Alternatives {
    fn from(only: Requirements) -> Self {
        Self::new(only, Vec::new())
    }
}

impl Access {
    /// Whether tokens of this client are taken, as far as clients are restricted. `client_id`: at the issuer.
    pub fn takes(&self, issuer: &IssuerName, client_id: &str) -> bool {
        self.takes_where(issuer, |(theirs, id)| theirs == issuer && id == client_id)
    }

    /// Whether tokens of this issuer are taken, as far as issuers are restricted.
    pub fn takes_issuer(&self, issuer: &IssuerName) -> bool {
        self.takes_where(issuer, |(theirs, _)| theirs == issuer)
    }

    /// The same, for clients that `is_listed` accepts.
    fn takes_where(&self, issuer: &IssuerName, is_listed: impl Fn(&(IssuerName, String)) -> bool) -> bool {
        match self {
            Self::Public => true,
            Self::PublicOf(issuers) => issuers.contains(issuer),
            Self::Protected(alternatives) => alternatives.iter().any(|required| {
                required.issuers.as_ref().is_none_or(|issuers| issuers.contains(issuer))
                    && required.clients.as_ref().is_none_or(|clients| clients.iter().any(&is_listed))
            }),
        }
    }

    /// The alternatives; none on a public route.
    pub fn alternatives(&self) -> impl Iterator<Item = &Requirements> {
        let alternatives = match self {
            Self::Public | Self::PublicOf(_) => None,
            Self::Protected(alternatives) => Some(alternatives),
        };
        alternatives.into_iter().flat_map(Alternatives::iter)
    }

    /// The scope that is enough by the first alternative: all of `scope` and the first of `any_scope`.
    pub fn sufficient_scope(&self) -> Vec<String> {
        match self {
            Self::Public | Self::PublicOf(_) => Vec::new(),
            Self::Protected(alternatives) => alternatives.first.needed_scope(&ScopeValues::default()),
        }
    }

    /// Every scope value that the requirements name.
    pub fn named_scope(&self) -> impl Iterator<Item = &str> {
        let named = self.alternatives().flat_map(|required| required.scope.iter().chain(&required.any_scope));
        named.map(String::as_str)
    }

    /// The claims that the requirements look at.
    pub fn named_claims(&self) -> impl Iterator<Item = &str> {
        self.claims().map(|claim| claim.name.as_str())
    }

    fn claims(&self) -> impl Iterator<Item = &ClaimRequirement> {
        self.alternatives().flat_map(|required| &required.claims)
    }

    /// The `{name}`s of the path that the requirements look at.
    pub fn path_parameters(&self) -> impl Iterator<Item = &str> {
        self.claims().flat_map(|claim| &claim.values).filter_map(|value| match value {
            ClaimValue::PathParameter(name) => Some(name.as_str()),
            ClaimValue::Literal(_) => None,
        })
    }
}

/// One alternative: what a protected route requires of a verified token. All of it must hold.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// All of these.
    pub scope: Vec<String>,
    /// One of these, when there are any.
    pub any_scope: Vec<String>,
    pub claims: Vec<ClaimRequirement>,
    /// One of these, when there are any (RFC 9470).
    pub acr: Vec<String>,
    /// At most this long since sign-in (RFC 9470 `max_age`).
    pub signed_in_within: Option<Duration>,
    /// Only tokens of these issuers, when set; all alternatives of a route say the same here, and of clients.
    pub issuers: Option<Vec<IssuerName>>,
    /// Only tokens of these clients, when set: issuer and `client_id`.
    pub clients: Option<Vec<(IssuerName, String)>>,
}

/// `claims: { name: value or list }`. The claim must equal one of `values`, or contain it, if the claim is a
/// list or an object with that member name.
#[derive(Clone, Debug)]
pub struct ClaimRequirement {
    /// Looked up literally first, then dots descend.
    pub name: String,
    pub values: Vec<ClaimValue>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClaimValue {
    /// `"{id}"`: the path's value of that parameter, compared with a string or an integer.
    PathParameter(String),
    /// A string, number or boolean; the claim must be of the same type.
    Literal(Value),
}

/// Judges a request on `route` for `path`. `token`: the one that came along, if any.
///
/// # Errors
/// The first requirement that fails, and what would be needed. Of several alternatives: that of the first
/// that lacks only a step-up, or else of the first.
pub fn judge(
    route: &Route,
    path: &CanonicalPath,
    token: Option<TokenFacts<'_>>,
    now: Timestamp,
) -> Result<(), Denial> {
    if !route.is_served() {
        return Err(Denial::NoRoute);
    }
    if route.dpop == Dpop::Required && token.is_some_and(|token| !token.is_bound) {
        return Err(Denial::BearerNotAllowed);
    }
    match (&route.access, token) {
        (Access::Public, _) | (Access::PublicOf(_), None) => Ok(()),
        (Access::PublicOf(issuers), Some(token)) => {
            if issuers.contains(token.issuer) {
                Ok(())
            } else {
                Err(Denial::IssuerNotAccepted)
            }
        }
        (Access::Protected(_), None) => Err(Denial::NoCredential),
        (Access::Protected(required), Some(token)) => {
            required.accept(token, |name| route.path.parameter(path, name), now)
        }
    }
}

impl Requirements {
    /// Each requirement by itself, in the order of judgement: all hold together if each holds.
    pub fn one_by_one(&self) -> Vec<Self> {
        let Self { scope, any_scope, claims, acr, signed_in_within, issuers, clients } = self;
        let none = Self::default;
        let mut each = Vec::new();
        if issuers.is_some() {
            each.push(Self { issuers: issuers.clone(), ..none() });
        }
        if clients.is_some() {
            each.push(Self { clients: clients.clone(), ..none() });
        }
        if !scope.is_empty() {
            each.push(Self { scope: scope.clone(), ..none() });
        }
        if !any_scope.is_empty() {
            each.push(Self { any_scope: any_scope.clone(), ..none() });
        }
        each.extend(claims.iter().map(|claim| Self { claims: vec![claim.clone()], ..none() }));
        if !acr.is_empty() {
            each.push(Self { acr: acr.clone(), ..none() });
        }
        if signed_in_within.is_some() {
            each.push(Self { signed_in_within: *signed_in_within, ..none() });
        }
        each
    }

    /// The same without what all alternatives share ([`Alternatives::shared`]).
    #[must_use]
    pub fn unshared(&self) -> Self {
        Self { issuers: None, clients: None, ..self.clone() }
    }

    /// The first requirement that fails; first those that a new sign-in cannot mend.
    fn first_lack<'p>(
        &self,
        token: TokenFacts<'_>,
        parameter: &impl Fn(&str) -> Option<Cow<'p, str>>,
        now: Timestamp,
    ) -> Option<Lack<'_>> {
        if !self.takes_issuer(token) {
            return Some(Lack::Issuer);
        }
        if !self.takes_client(token) {
            return Some(Lack::Client);
        }
        if !self.has_scope(token) {
            return Some(Lack::Scope(self));
        }
        let is_lacking = |required: &&ClaimRequirement| !required.holds(token, parameter);
        if let Some(lacking) = self.claims.iter().find(is_lacking) {
            return Some(Lack::Claim(&lacking.name));
        }
        (!self.is_signed_in(token, now)).then_some(Lack::SignIn(self))
    }

    fn takes_issuer(&self, token: TokenFacts<'_>) -> bool {
        self.issuers.as_ref().is_none_or(|issuers| issuers.contains(token.issuer))
    }

    fn takes_client(&self, token: TokenFacts<'_>) -> bool {
        let is_of = |(issuer, client): &(IssuerName, String)| {
            issuer == token.issuer && Some(client.as_str()) == token.client
        };
        self.clients.as_ref().is_none_or(|clients| clients.iter().any(is_of))
    }

    fn has_scope(&self, token: TokenFacts<'_>) -> bool {
        let has = |value: &String| token.scope.contains(value);
        self.scope.iter().all(has) && (self.any_scope.is_empty() || self.any_scope.iter().any(has))
    }

    /// The scope to ask for, in full, because a client asks its AS for the whole scope again. Of `any_scope`
    /// one value that the token has, or else the first.
    fn needed_scope(&self, brought: &ScopeValues) -> Vec<String> {
        let mut needed = self.scope.clone();
        let has = |value: &&String| brought.contains(value);
        let alternative = self.any_scope.iter().find(has).or(self.any_scope.first());
        needed.extend(alternative.filter(|value| !self.scope.contains(value)).cloned());
        needed
    }

    /// Whether the sign-in is recent and strong enough. How far it may lie in the future was judged with the
    /// token, by the issuer's `clock_skew`. Judging that again by another measure would send a user who has
    /// just signed in back to sign-in, over and over.
    pub(in crate::core) fn is_signed_in(&self, token: TokenFacts<'_>, now: Timestamp) -> bool {
        let is_strong = self.acr.is_empty() || token.acr.is_some_and(|acr| self.acr.iter().any(|a| a == acr));
        let is_fresh = self
            .signed_in_within
            .is_none_or(|within| token.signed_in_at.is_some_and(|at| now.since(at) <= within));
        is_strong && is_fresh
    }
}

/// What a token lacks for one alternative. It becomes a denial only if no other alternative holds, so that a
/// caller who passes by the second costs no allocation.
#[derive(Clone, Copy)]
enum Lack<'r> {
    Issuer,
    Client,
    Scope(&'r Requirements),
    /// The claim with this name.
    Claim(&'r str),
    SignIn(&'r Requirements),
}

impl Lack<'_> {
    /// Whether a new sign-in would mend it, as nothing else is lacking.
    const fn is_sign_in(self) -> bool {
        matches!(self, Self::SignIn(_))
    }

    fn denial(self, token: TokenFacts<'_>) -> Denial {
        match self {
            Self::Issuer => Denial::IssuerNotAccepted,
            Self::Client => Denial::ClientNotAccepted,
            Self::Scope(required) => Denial::InsufficientScope { needed: required.needed_scope(token.scope) },
            Self::Claim(name) if token.claims.has_elsewhere(name) => {
                Denial::ClaimElsewhere { claim: name.to_owned() }
            }
            Self::Claim(name) => Denial::ClaimMismatch { claim: name.to_owned() },
            // RFC 9470 section 3: both needs are told at once, so that one sign-in is enough.
            Self::SignIn(required) => {
                Denial::StepUp { acr_values: required.acr.clone(), max_age: required.signed_in_within }
            }
        }
    }
}

impl ClaimRequirement {
    fn holds<'p>(&self, token: TokenFacts<'_>, parameter: &impl Fn(&str) -> Option<Cow<'p, str>>) -> bool {
        let is_one = |claim| self.values.iter().any(|value| value.is_in(claim, parameter));
        token.claims.get(&self.name).is_some_and(is_one)
    }
}

impl ClaimValue {
    fn is_in<'p>(&self, claim: &Value, parameter: &impl Fn(&str) -> Option<Cow<'p, str>>) -> bool {
        match claim {
            Value::Array(members) => members.iter().any(|member| self.is(member, parameter)),
            Value::Object(members) => said_names(members).any(|name| self.is_text(name, parameter)),
            single => self.is(single, parameter),
        }
    }

    fn is<'p>(&self, claim: &Value, parameter: &impl Fn(&str) -> Option<Cow<'p, str>>) -> bool {
        match (self, claim) {
            (_, Value::String(text)) => self.is_text(text, parameter),
            (Self::PathParameter(name), Value::Number(number)) if !number.is_f64() => {
                parameter(name).is_some_and(|p| p == number.to_string())
            }
            (Self::Literal(Value::Number(wanted)), Value::Number(number)) => same_number(wanted, number),
            (Self::Literal(Value::Bool(wanted)), Value::Bool(truth)) => wanted == truth,
            _ => false,
        }
    }

    fn is_text<'p>(&self, text: &str, parameter: &impl Fn(&str) -> Option<Cow<'p, str>>) -> bool {
        match self {
            Self::PathParameter(name) => parameter(name).is_some_and(|p| p == text),
            Self::Literal(wanted) => wanted.as_str() == Some(text),
        }
    }
}

/// Whether two numbers are equal. `3` equals `3.0`; integers are compared exactly, and one whose digits were
/// lost equals none.
#[allow(clippy::float_cmp)]
fn same_number(one: &Number, other: &Number) -> bool {
    if !is_exact(one) || !is_exact(other) {
        return false;
    }
    if one.is_f64() || other.is_f64() { one.as_f64() == other.as_f64() } else { one == other }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::core::route;
    use crate::core::token::claims::Claims;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    struct Brought {
        issuer: IssuerName,
        client: Option<String>,
        scope: ScopeValues,
        acr: Option<String>,
        signed_in_at: Option<Timestamp>,
        claims: Map<String, Value>,
    }

    impl Brought {
        fn new(claims: &Value) -> Self {
            Self {
                issuer: IssuerName::new("demo"),
                client: Some("web-app".to_owned()),
                scope: ["api:read", "openid"].into_iter().collect(),
                acr: None,
                signed_in_at: None,
                claims: claims.as_object().unwrap().clone(),
            }
        }

        fn facts(&self) -> TokenFacts<'_> {
            TokenFacts {
                issuer: &self.issuer,
                client: self.client.as_deref(),
                scope: &self.scope,
                acr: self.acr.as_deref(),
                signed_in_at: self.signed_in_at,
                claims: (&self.claims).into(),
                is_bound: false,
            }
        }
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    fn judged(required: Requirements, brought: &Brought) -> Result<(), Denial> {
        judged_at("/*", "/x", required, brought)
    }

    fn judged_at(pattern: &str, path: &str, required: Requirements, brought: &Brought) -> Result<(), Denial> {
        judge(
            &route(pattern, Access::Protected(required.into())),
            &CanonicalPath::parse(path.as_bytes()).unwrap(),
            Some(brought.facts()),
            NOW,
        )
    }

    fn route(pattern: &str, access: Access) -> Route {
        Route { access, ..route::testing::route(pattern) }
    }

    #[test]
    fn a_public_route_may_say_whose_tokens_come_along() {
        let of_demo = Access::PublicOf(vec![IssuerName::new("demo")]);
        assert!(
            of_demo.takes_issuer(&IssuerName::new("demo"))
                && !of_demo.takes_issuer(&IssuerName::new("other"))
        );
        let (route, path) = (route("/*", of_demo), CanonicalPath::parse(b"/a").unwrap());
        let (claims, scope) = (Map::new(), ScopeValues::default());
        let of = |issuer: &IssuerName| {
            let token = TokenFacts {
                issuer,
                client: None,
                scope: &scope,
                acr: None,
                signed_in_at: None,
                claims: (&claims).into(),
                is_bound: false,
            };
            judge(&route, &path, Some(token), NOW)
        };
        assert_eq!(judge(&route, &path, None, NOW), Ok(()));
        assert_eq!(of(&IssuerName::new("demo")), Ok(()));
        assert_eq!(of(&IssuerName::new("other")), Err(Denial::IssuerNotAccepted));
    }

    #[test]
    fn a_route_that_is_not_public_needs_a_credential_even_without_requirements() {
        let path = CanonicalPath::parse(b"/x").unwrap();
        let protected = route("/*", Access::Protected(Requirements::default().into()));
        assert_eq!(judge(&protected, &path, None, NOW), Err(Denial::NoCredential));
        assert_eq!(judge(&protected, &path, Some(Brought::new(&json!({})).facts()), NOW), Ok(()));
        assert_eq!(judge(&route("/*", Access::Public), &path, None, NOW), Ok(()));
    }

    #[test]
    fn a_route_may_take_only_tokens_that_are_bound_to_a_key() {
        let path = CanonicalPath::parse(b"/x").unwrap();
        let brought = Brought::new(&json!({}));
        let protected = || Access::Protected(Requirements::default().into());
        for (access, without) in [
            (protected(), Err(Denial::NoCredential)),
            (Access::Public, Ok(())),
            (Access::PublicOf(vec![IssuerName::new("demo")]), Ok(())),
        ] {
            let route = Route { dpop: Dpop::Required, ..route("/*", access) };
            let of = |is_bound| judge(&route, &path, Some(TokenFacts { is_bound, ..brought.facts() }), NOW);
            assert_eq!((of(false), of(true)), (Err(Denial::BearerNotAllowed), Ok(())));
            assert_eq!(judge(&route, &path, None, NOW), without, "who brings nothing is another matter");
        }
        let bound = TokenFacts { is_bound: true, ..brought.facts() };
        assert_eq!(judge(&route("/*", protected()), &path, Some(bound), NOW), Ok(()));
    }

    #[test]
    fn scope_means_all_of_and_any_scope_one_of() {
        let brought = Brought::new(&json!({}));
        for (scope, any_scope, needed) in [
            (&["api:read"][..], &[][..], None),
            (&["openid", "api:read"], &["admin", "openid"], None),
            (&["api:read", "admin"], &[], Some(&["api:read", "admin"][..])),
            (&[], &["admin", "ops"], Some(&["admin"])),
            (&["api:read"], &["admin", "ops"], Some(&["api:read", "admin"])),
            (&["admin"], &["ops", "openid"], Some(&["admin", "openid"])),
            (&["api"], &[], Some(&["api"])),
            (&["API:READ"], &[], Some(&["API:READ"])),
        ] {
            let required = Requirements {
                scope: strings(scope),
                any_scope: strings(any_scope),
                ..Requirements::default()
            };
            let expected = match needed {
                None => Ok(()),
                Some(needed) => Err(Denial::InsufficientScope { needed: strings(needed) }),
            };
            assert_eq!(judged(required, &brought), expected, "{scope:?} {any_scope:?}");
        }
    }

    #[test]
    fn claims_are_compared_by_type_and_lists_contain() {
        let brought = Brought::new(&json!({
            "tier": "gold", "level": 3, "ratio": 0.5, "staff": true, "nothing": null, "big": 9_007_199_254_740_993_u64,
            "huge": 18_446_744_073_709_551_616.0, "tiny": -9_223_372_036_854_775_809.0,
            "rounded": 9_007_199_254_740_991.0, "exact": 999_999_999_999_999.0,
            "groups": ["a", 7, true, ["deep"]],
            "https://example.com/roles": ["admin"],
            "realm_access": { "roles": ["ops"], "a.b": { "c.d": 1 } },
            "odd.name": "literal", "odd": { "name": "descended" },
            "urn:zitadel:iam:org:project:roles": { "admin": { "123": "org.example" }, "7": {} },
            "flags": { "on": true, "off": false, "untold": null, "none": 0, "empty": "" },
            "deep": [{ "in": 1 }], "empty": {},
        }));
        for (name, value, holds) in [
            ("tier", json!("gold"), true),
            ("tier", json!("Gold"), false),
            ("level", json!(3), true),
            ("level", json!(3.0), true),
            ("level", json!("3"), false),
            ("ratio", json!(0.5), true),
            ("big", json!(9_007_199_254_740_992_u64), false),
            ("big", json!(9_007_199_254_740_993_u64), true),
            ("big", json!(9_007_199_254_740_992.0), false),
            // What does not fit 64 bits has lost digits by now, and could be any of many.
            ("huge", json!(18_446_744_073_709_551_616.0), false),
            ("huge", json!(u64::MAX), false),
            ("tiny", json!(-9_223_372_036_854_775_809.0), false),
            ("tiny", json!(i64::MIN), false),
            ("rounded", json!(9_007_199_254_740_991.0), false),
            ("rounded", json!(9_007_199_254_740_991_u64), false),
            ("exact", json!(999_999_999_999_999.0), true),
            ("exact", json!(999_999_999_999_999_u64), true),
            ("staff", json!(true), true),
            ("staff", json!(false), false),
            ("staff", json!("true"), false),
            ("nothing", json!("null"), false),
            ("absent", json!("x"), false),
            ("groups", json!("a"), true),
            ("groups", json!(7), true),
            ("groups", json!("7"), false),
            ("groups", json!("deep"), false),
            ("https://example.com/roles", json!("admin"), true),
            ("realm_access.roles", json!("ops"), true),
            ("realm_access.roles", json!("op"), false),
            ("realm_access.roles.ops", json!("ops"), false),
            ("realm_access.a.b", json!(1), false),
            ("odd.name", json!("literal"), true),
            ("odd.name", json!("descended"), false),
            // An object contains the names of its members, but for those that say no, and at no other level.
            ("urn:zitadel:iam:org:project:roles", json!("admin"), true),
            ("urn:zitadel:iam:org:project:roles", json!("Admin"), false),
            ("urn:zitadel:iam:org:project:roles", json!("123"), false),
            ("urn:zitadel:iam:org:project:roles", json!("org.example"), false),
            ("urn:zitadel:iam:org:project:roles", json!("7"), true),
            ("urn:zitadel:iam:org:project:roles", json!(7), false),
            ("urn:zitadel:iam:org:project:roles.admin", json!("123"), true),
            ("urn:zitadel:iam:org:project:roles.admin.123", json!("org.example"), true),
            ("realm_access", json!("roles"), true),
            ("realm_access", json!("ops"), false),
            ("odd", json!("name"), true),
            ("flags", json!("on"), true),
            ("flags", json!("off"), false),
            ("flags", json!("untold"), false),
            ("flags", json!("none"), true),
            ("flags", json!("empty"), true),
            ("flags.on", json!(true), true),
            ("deep", json!("in"), false),
            ("empty", json!(""), false),
        ] {
            let claims = vec![ClaimRequirement {
                name: name.to_owned(),
                values: vec![ClaimValue::Literal(json!("none of it")), ClaimValue::Literal(value.clone())],
            }];
            let expected = if holds { Ok(()) } else { Err(Denial::ClaimMismatch { claim: name.to_owned() }) };
            let required = Requirements { claims, ..Requirements::default() };
            assert_eq!(judged(required, &brought), expected, "{name} {value}");
        }
    }

    #[test]
    fn a_claim_that_stands_elsewhere_is_lacking_in_another_way() {
        let required = |name: &str| Requirements {
            claims: vec![ClaimRequirement {
                name: name.to_owned(),
                values: vec![ClaimValue::Literal(json!("a"))],
            }],
            ..Requirements::default()
        };
        let claim = || "groups".to_owned();
        for (claims, expected) in [
            (json!({ "_claim_names": { "groups": "src1" } }), Err(Denial::ClaimElsewhere { claim: claim() })),
            (json!({ "hasgroups": true }), Err(Denial::ClaimElsewhere { claim: claim() })),
            (json!({ "_claim_names": { "roles": "src1" } }), Err(Denial::ClaimMismatch { claim: claim() })),
            (
                json!({ "_claim_names": { "groups": "src1" }, "groups": ["b"] }),
                Err(Denial::ClaimMismatch { claim: claim() }),
            ),
            (json!({ "_claim_names": { "groups": "src1" }, "groups": ["a"] }), Ok(())),
            (json!({ "_claim_names": { "groups": "a" } }), Err(Denial::ClaimElsewhere { claim: claim() })),
        ] {
            assert_eq!(judged(required("groups"), &Brought::new(&claims)), expected, "{claims}");
        }
        let entra = Brought::new(&json!({ "_claim_names": { "groups": "src1" } }));
        let of_member = Denial::ClaimElsewhere { claim: "groups.a".to_owned() };
        assert_eq!(judged(required("groups.a"), &entra), Err(of_member));
    }

    #[test]
    fn a_claim_is_found_literally_or_by_descending_whatever_has_dots() {
        let claims = json!({
            "https://example.com/roles": ["admin"],
            "https://hasura.example/jwt/claims": { "x-role": "editor", "a.b": { "c": 1 } },
            "resource_access": { "my.app": { "roles": ["r"] }, "my": { "app": { "other": 2 } } },
            "odd.name": "literal", "odd": { "name": "descended", "more": 3 },
            "": { "": "empty" },
        });
        let claims = claims.as_object().unwrap();
        for (name, found) in [
            ("https://example.com/roles", Some(json!(["admin"]))),
            ("https://hasura.example/jwt/claims.x-role", Some(json!("editor"))),
            ("https://hasura.example/jwt/claims.a.b.c", Some(json!(1))),
            ("resource_access.my.app.roles", Some(json!(["r"]))),
            ("resource_access.my.app.other", Some(json!(2))),
            ("odd.name", Some(json!("literal"))),
            ("odd.more", Some(json!(3))),
            (".", Some(json!("empty"))),
            ("https://example.com/roles.0", None),
            ("resource_access.my.none", None),
            ("odd.", None),
            (".odd", None),
        ] {
            assert_eq!(Claims::from(claims).get(name), found.as_ref(), "{name}");
        }
    }

    /// Every reading of a name, plainly: each way to cut it at dots.
    fn readings<'c>(
        value: &'c Value,
        parts: &[&str],
        found: &mut Vec<(usize, &'c Value)>,
        first: Option<usize>,
    ) {
        let (Some(members), false) = (value.as_object(), parts.is_empty()) else {
            if parts.is_empty() {
                found.push((first.unwrap_or_default(), value));
            }
            return;
        };
        for taken in 1..=parts.len() {
            if let Some(inner) = members.get(&parts[..taken].join(".")) {
                readings(inner, &parts[taken..], found, first.or(Some(taken)));
            }
        }
    }

    #[test]
    fn a_claim_is_found_where_any_reading_finds_one_and_the_longest_name_counts() {
        bolero::check!().with_iterations(3_000).with_type::<([u8; 8], [u8; 4])>().for_each(
            |(made, asked)| {
                const NAMES: [&str; 8] = ["a", "b", "a.b", "b.a", "a.a", "a.b.a", "b.b", "."];
                let name = |at: u8| NAMES[usize::from(at) % NAMES.len()].to_owned();
                let mut claims = json!({ "number": 0 });
                for (at, pair) in made.chunks(2).enumerate() {
                    let outer = claims.as_object_mut().unwrap().entry(name(pair[0])).or_insert(json!({}));
                    if let (true, Some(members)) = (pair[1] >= 64, outer.as_object_mut()) {
                        members.insert(name(pair[1]), json!({ "a": at, "b": { "a": at } }));
                    }
                }
                let parts: Vec<&str> = asked
                    .iter()
                    .map(|at| if at % 2 == 0 { "a" } else { "b" })
                    .take(1 + usize::from(asked[0] % 4))
                    .collect();
                let mut found = Vec::new();
                readings(&claims, &parts, &mut found, None);
                let got = Claims::from(claims.as_object().unwrap()).get(&parts.join("."));
                let longest = found.iter().map(|(taken, _)| *taken).max();
                let expected: Vec<&Value> = found
                    .iter()
                    .filter(|(taken, _)| Some(*taken) == longest)
                    .map(|(_, value)| *value)
                    .collect();
                assert_eq!(got.is_some(), !found.is_empty(), "{parts:?} in {claims}");
                assert!(got.is_none_or(|got| expected.contains(&got)), "{parts:?} in {claims}: {got:?}");
            },
        );
    }

    #[test]
    fn what_is_required_holds_exactly_where_each_part_of_it_holds() {
        bolero::check!().with_iterations(3_000).with_type::<([u8; 7], [u8; 6])>().for_each(|(asked, has)| {
            let some = |bits: u8, names: &[&str]| -> Vec<String> {
                names
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| bits >> at & 1 == 1)
                    .map(|(_, n)| (*n).to_owned())
                    .collect()
            };
            let issuers = |bits: u8| some(bits, &["demo", "other"]).into_iter().map(IssuerName::new);
            let required = Requirements {
                scope: some(asked[0], &["a", "b"]),
                any_scope: some(asked[1], &["a", "b", "c"]),
                claims: some(asked[2], &["x", "y"])
                    .into_iter()
                    .map(|name| ClaimRequirement { name, values: vec![ClaimValue::Literal(json!(1))] })
                    .collect(),
                acr: some(asked[3], &["gold", "tin"]),
                signed_in_within: (asked[4] % 3 == 0).then(|| Duration::from_secs(60)),
                issuers: (asked[5] % 3 == 0).then(|| issuers(asked[5] >> 4).collect()),
                clients: (asked[6] % 3 == 0)
                    .then(|| issuers(asked[6] >> 4).map(|issuer| (issuer, "web-app".to_owned())).collect()),
            };
            let mut brought = Brought::new(&json!({ "x": has[0] % 2, "y": has[1] % 2 }));
            brought.scope = some(has[2], &["a", "b", "c"]).iter().map(String::as_str).collect();
            brought.acr = some(has[3], &["gold", "tin"]).pop();
            brought.signed_in_at =
                (has[4] % 3 > 0).then(|| NOW.minus(Duration::from_secs(u64::from(has[4]))));
            brought.client = (has[5] % 2 == 0).then(|| "web-app".to_owned());
            let each: Vec<_> =
                required.one_by_one().into_iter().filter_map(|alone| judged(alone, &brought).err()).collect();
            let all = judged(required, &brought).err();
            let kind = std::mem::discriminant::<Denial>;
            assert_eq!(all.as_ref().map(kind), each.first().map(kind), "{all:?} {each:?}");
        });
    }

    fn judged_by(alternatives: Vec<Requirements>, brought: &Brought) -> Result<(), Denial> {
        let mut each = alternatives.into_iter();
        let access = Access::Protected(Alternatives::new(each.next().unwrap(), each.collect()));
        let path = CanonicalPath::parse(b"/users/alice").unwrap();
        judge(&route("/users/{id}", access), &path, Some(brought.facts()), NOW)
    }

    fn owner() -> Requirements {
        let values = vec![ClaimValue::PathParameter("id".to_owned())];
        Requirements {
            claims: vec![ClaimRequirement { name: "sub".to_owned(), values }],
            ..Requirements::default()
        }
    }

    #[test]
    fn one_of_several_alternatives_is_enough_and_the_denial_is_of_the_one_that_a_sign_in_mends() {
        let scope = |scope: &[&str]| Requirements { scope: strings(scope), ..Requirements::default() };
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        let admin = || Requirements { signed_in_within: minutes(5), ..scope(&["admin"]) };
        let gold =
            || Requirements { acr: strings(&["gold"]), signed_in_within: minutes(10), ..scope(&["admin"]) };
        let mismatch = || Err(Denial::ClaimMismatch { claim: "sub".to_owned() });
        let lacking = |scope: &[&str]| Err(Denial::InsufficientScope { needed: strings(scope) });
        let step_up = |required: Requirements| {
            Err(Denial::StepUp { acr_values: required.acr, max_age: required.signed_in_within })
        };
        let mine = || json!({ "sub": "alice" });
        for (alternatives, claims, scopes, signed_in, expected) in [
            (vec![owner(), scope(&["admin"])], mine(), &["openid"][..], None, Ok(())),
            (vec![owner(), scope(&["admin"])], json!({ "sub": "bob" }), &["admin"], None, Ok(())),
            (vec![owner(), scope(&["admin"])], json!({ "sub": "bob" }), &[], None, mismatch()),
            (vec![scope(&["admin"]), owner()], json!({ "sub": "bob" }), &[], None, lacking(&["admin"])),
            (vec![scope(&["admin"]), scope(&["ops"])], mine(), &[], None, lacking(&["admin"])),
            (vec![owner(), admin()], json!({ "sub": "bob" }), &[], None, mismatch()),
            (vec![owner(), admin()], json!({ "sub": "bob" }), &["admin"], None, step_up(admin())),
            (vec![owner(), admin()], json!({ "sub": "bob" }), &["admin"], Some(301), step_up(admin())),
            (vec![owner(), admin()], json!({ "sub": "bob" }), &["admin"], Some(300), Ok(())),
            (vec![owner(), admin()], mine(), &["admin"], Some(301), Ok(())),
            // Of two that only a sign-in is lacking to the first; the other may hold all the same.
            (vec![admin(), gold()], mine(), &["admin"], None, step_up(admin())),
            (vec![gold(), admin()], mine(), &["admin"], None, step_up(gold())),
            (vec![owner(), gold(), admin()], json!({}), &["admin"], Some(301), step_up(gold())),
            (vec![gold(), admin()], mine(), &["admin"], Some(10), Ok(())),
        ] {
            let told = format!("{alternatives:?} {claims} {scopes:?} {signed_in:?}");
            let mut brought = Brought::new(&claims);
            brought.scope = scopes.iter().copied().collect();
            brought.signed_in_at = signed_in.map(|ago| NOW.minus(Duration::from_secs(ago)));
            assert_eq!(judged_by(alternatives, &brought), expected, "{told}");
        }
    }

    #[test]
    fn alternatives_hold_exactly_where_one_of_them_holds_alone() {
        bolero::check!().with_iterations(2_000).with_type::<([[u8; 4]; 3], u8, [u8; 4])>().for_each(
            |(asked, count, has)| {
                let scope = |bits: u8| -> Vec<String> {
                    let names = ["a", "b"].iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
                    names.map(|(_, name)| (*name).to_owned()).collect()
                };
                let claim = |bits: u8| if bits.is_multiple_of(3) { owner().claims } else { Vec::new() };
                let alternatives: Vec<Requirements> = asked
                    .iter()
                    .take(1 + usize::from(count % 3))
                    .map(|[all, claims, acr, within]| Requirements {
                        scope: scope(*all),
                        claims: claim(*claims),
                        acr: if acr % 3 == 0 { strings(&["gold"]) } else { Vec::new() },
                        signed_in_within: (within % 3 == 0).then(|| Duration::from_secs(u64::from(*within))),
                        ..Requirements::default()
                    })
                    .collect();
                let mut brought =
                    Brought::new(&json!({ "sub": if has[0] % 2 == 0 { "alice" } else { "bob" } }));
                brought.scope = scope(has[1]).iter().map(String::as_str).collect();
                brought.acr = (has[2] % 2 == 0).then(|| "gold".to_owned());
                brought.signed_in_at = Some(NOW.minus(Duration::from_secs(u64::from(has[3]))));
                let alone = alternatives.iter().map(|one| judged_by(vec![one.clone()], &brought));
                let denials: Option<Vec<Denial>> = alone.map(Result::err).collect();
                let expected = denials.map(|denials| {
                    let step_up = denials.iter().find(|denial| matches!(denial, Denial::StepUp { .. }));
                    step_up.or(denials.first()).cloned().unwrap()
                });
                assert_eq!(judged_by(alternatives, &brought).err(), expected);
            },
        );
    }

    #[test]
    fn what_is_said_of_a_route_is_said_of_all_its_alternatives() {
        let issuers = Some(vec![IssuerName::new("demo")]);
        let with = |scope: &[&str], any: &[&str], claims| Requirements {
            scope: strings(scope),
            any_scope: strings(any),
            claims,
            issuers: issuers.clone(),
            ..Requirements::default()
        };
        let others = vec![with(&["b"], &["c"], owner().claims), with(&["a"], &[], Vec::new())];
        let alternatives = Alternatives::new(with(&["a"], &["x", "y"], Vec::new()), others);
        assert!(alternatives.shared().scope.is_empty() && alternatives.shared().issuers == issuers);
        assert!(alternatives.first().unshared().issuers.is_none());
        let access = Access::Protected(alternatives);
        assert!(access.named_scope().eq(["a", "x", "y", "b", "c", "a"]));
        assert_eq!(access.sufficient_scope(), ["a", "x"], "the first is what who brings nothing is told of");
        assert!(access.named_claims().eq(["sub"]) && access.path_parameters().eq(["id"]));
        assert!(
            access.takes_issuer(&IssuerName::new("demo")) && !access.takes_issuer(&IssuerName::new("other"))
        );
        assert_eq!(Access::Public.alternatives().count(), 0);
    }

    #[test]
    fn a_path_parameter_is_compared_decoded() {
        let brought = Brought::new(
            &json!({ "sub": "alice@x", "number": 42, "half": 0.5, "mine": ["a", "b"], "orgs": { "7": {}, "a@x": "" } }),
        );
        for (path, name, holds) in [
            ("/users/alice@x", "sub", true),
            ("/users/alice%40x", "sub", true),
            ("/users/alice@x/", "sub", true),
            ("/users/Alice@x", "sub", false),
            ("/users/bob", "sub", false),
            ("/users/42", "number", true),
            ("/users/042", "number", false),
            ("/users/0.5", "half", false),
            ("/users/b", "mine", true),
            ("/users/c", "mine", false),
            ("/users/7", "orgs", true),
            ("/users/a%40x", "orgs", true),
            ("/users/8", "orgs", false),
            ("/users/x", "absent", false),
        ] {
            let required = Requirements {
                claims: vec![ClaimRequirement {
                    name: name.to_owned(),
                    values: vec![ClaimValue::PathParameter("id".to_owned())],
                }],
                ..Requirements::default()
            };
            assert_eq!(
                judged_at("/users/{id}", path, required.clone(), &brought).is_ok(),
                holds,
                "{path} {name}"
            );
            assert!(
                judged_at("/users/{other}", path, required, &brought).is_err(),
                "an unknown name never holds"
            );
        }
    }

    #[test]
    fn a_sign_in_that_is_old_weak_or_untold_asks_for_another() {
        let secs = |s: i64| Some(Timestamp::from_secs(NOW.as_secs() + s));
        for (acr, at, passes) in [
            (Some("gold"), secs(-300), true),
            (Some("gold"), secs(-301), false),
            // How far ahead its clock may be was judged with the token.
            (Some("gold"), secs(600), true),
            (Some("gold"), None, false),
            (Some("tin"), secs(0), false),
            (None, secs(0), false),
        ] {
            let mut brought = Brought::new(&json!({}));
            brought.acr = acr.map(ToOwned::to_owned);
            brought.signed_in_at = at;
            let within = Some(Duration::from_secs(300));
            let required = Requirements {
                acr: strings(&["silver", "gold"]),
                signed_in_within: within,
                ..Requirements::default()
            };
            let step_up = Denial::StepUp { acr_values: strings(&["silver", "gold"]), max_age: within };
            assert_eq!(
                judged(required, &brought),
                if passes { Ok(()) } else { Err(step_up) },
                "{acr:?} {at:?}"
            );
        }
    }

    #[test]
    fn issuers_and_clients_are_taken_only_as_named() {
        let (demo, other) = (IssuerName::new("demo"), IssuerName::new("other"));
        let with = |issuers: Option<Vec<IssuerName>>, clients: Option<Vec<(IssuerName, String)>>| {
            judged(Requirements { issuers, clients, ..Requirements::default() }, &Brought::new(&json!({})))
        };
        let web_app = "web-app".to_owned();
        assert_eq!(with(None, None), Ok(()));
        assert_eq!(with(Some(vec![other.clone(), demo.clone()]), None), Ok(()));
        assert_eq!(with(Some(vec![other.clone()]), None), Err(Denial::IssuerNotAccepted));
        assert_eq!(with(Some(vec![]), None), Err(Denial::IssuerNotAccepted));
        assert_eq!(with(None, Some(vec![(demo.clone(), web_app.clone())])), Ok(()));
        assert_eq!(with(None, Some(vec![(other, web_app)])), Err(Denial::ClientNotAccepted));
        assert_eq!(with(None, Some(vec![(demo, "web".to_owned())])), Err(Denial::ClientNotAccepted));
        assert_eq!(with(None, Some(vec![])), Err(Denial::ClientNotAccepted));
        let mut nobody = Brought::new(&json!({}));
        nobody.client = None;
        let required = Requirements {
            clients: Some(vec![(IssuerName::new("demo"), String::new())]),
            ..Requirements::default()
        };
        assert_eq!(judged(required, &nobody), Err(Denial::ClientNotAccepted));
    }
}
