//! A sign-in that must be stronger or fresher than the last one (RFC 9470), as it is asked for and judged
//! afterwards.

use std::time::Duration;

use crate::core::denial::Denial;
use crate::core::route::policy::Requirements;
use crate::core::time::Timestamp;
use crate::core::token::facts::TokenFacts;

/// The longest list of `acr_values`, in bytes with a space between: it travels in a cookie, beside where the
/// sign-in leads.
pub const LONGEST_ACR_VALUES: usize = 600;
/// Ten years. More is no wish for a fresh sign-in.
const LARGEST_MAX_AGE: u64 = 10 * 365 * 24 * 3600;

/// When a sign-in began.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    pub at: Timestamp,
    /// How far the server's clock may be behind.
    pub clock_skew: Duration,
}

impl Began {
    /// Whether the person showed who they are after it. A clock that is behind is allowed for where no age at
    /// all will do, which no route asks for: what a route refuses must not pass here, or a server that does
    /// not go by `max_age` would be asked over and over.
    fn is_followed_by(self, token: TokenFacts<'_>, max_age: Duration) -> bool {
        let skew = if max_age.is_zero() { self.clock_skew } else { Duration::ZERO };
        token.signed_in_at.is_some_and(|at| at.as_secs() >= self.at.minus(skew).as_secs())
    }
}

/// Whether it is one authentication context that can be asked for and answered: they stand in a list with
/// spaces between (OpenID Connect Core 1.0 section 3.1.2.1), in a quoted string too (RFC 9470 section 3).
pub fn is_acr(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// How a person must sign in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepUp {
    /// One of these, when there are any.
    pub acr_values: Vec<String>,
    /// At most so long before.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// Reads the parameters of an authorization request (OpenID Connect Core 1.0 section 3.1.2.1).
    ///
    /// # Errors
    /// [`Denial::InvalidRequest`] when one of them is not what it should be.
    pub fn read(acr_values: Option<&str>, max_age: Option<&str>) -> Result<Self, Denial> {
        const ACR: Denial =
            Denial::InvalidRequest("acr_values are visible words with one space between them.");
        const LENGTH: Denial = Denial::InvalidRequest("acr_values have 600 bytes together at most.");
        const AGE: Denial = Denial::InvalidRequest("max_age is a number of seconds, of ten years at most.");
        let acr_values = acr_values.unwrap_or_default();
        if acr_values.len() > LONGEST_ACR_VALUES {
            return Err(LENGTH);
        }
        let words = acr_values.split(' ').filter(|word| !word.is_empty());
        if !words.clone().all(is_acr) {
            return Err(ACR);
        }
        let max_age = match max_age {
            None => None,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let seconds = text.parse().ok().filter(|seconds| *seconds <= LARGEST_MAX_AGE).ok_or(AGE)?;
                Some(Duration::from_secs(seconds))
            }
            Some(_) => return Err(AGE),
        };
        Ok(Self { acr_values: words.map(ToOwned::to_owned).collect(), max_age })
    }

    /// The parameters that ask for it.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, String)> {
        let acr_values = (!self.acr_values.is_empty()).then(|| ("acr_values", self.acr_values.join(" ")));
        let max_age = self.max_age.map(|age| ("max_age", age.as_secs().to_string()));
        acr_values.into_iter().chain(max_age)
    }

    /// Whether a token shows that a person signed in so, as a route would judge it; or since the sign-in
    /// began here: the server measures `max_age` when it is asked (OpenID Connect Core 1.0 section 3.1.2.1),
    /// and the person, or a page on the way, may take longer than that.
    pub fn is_done(&self, token: TokenFacts<'_>, sign_in: Began, now: Timestamp) -> bool {
        let within = self.max_age.filter(|max_age| !sign_in.is_followed_by(token, *max_age));
        let required = Requirements {
            acr: self.acr_values.clone(),
            signed_in_within: within,
            ..Requirements::default()
        };
        required.is_signed_in(token, now)
    }

    /// The claims without which no token can show it.
    pub fn untold(&self, token: TokenFacts<'_>) -> Vec<&'static str> {
        let acr = !self.acr_values.is_empty() && token.acr.is_none();
        let auth_time = self.max_age.is_some() && token.signed_in_at.is_none();
        [("acr", acr), ("auth_time", auth_time)]
            .into_iter()
            .filter_map(|(name, untold)| untold.then_some(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::core::ids::IssuerName;
    use crate::core::token::TokenRules;
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::scope_values::ScopeValues;
    use crate::core::token::testing::{NOW, claims, jwks, keys, rules, with};

    #[test]
    fn what_is_asked_for_is_read_and_asked_again_as_it_came() {
        for (acr_values, max_age, parameters) in [
            (None, None, vec![]),
            (Some(""), None, vec![]),
            (Some("gold silver"), Some("300"), vec![("acr_values", "gold silver"), ("max_age", "300")]),
            (Some("urn:a:b"), None, vec![("acr_values", "urn:a:b")]),
            (None, Some("0"), vec![("max_age", "0")]),
        ] {
            let read = StepUp::read(acr_values, max_age).unwrap();
            let parameters = parameters.into_iter().map(|(name, value)| (name, value.to_owned()));
            assert!(read.parameters().eq(parameters), "{read:?}");
        }
        let long = "a".repeat(LONGEST_ACR_VALUES + 1);
        let says = |acr_values| match StepUp::read(Some(acr_values), None) {
            Err(Denial::InvalidRequest(why)) => why,
            read => panic!("{read:?}"),
        };
        assert!(says(&long).contains("600 bytes") && LONGEST_ACR_VALUES == 600);
        assert!(says("a\tb").contains("visible words"));
        assert!(StepUp::read(Some(&long[1..]), None).is_ok());
        for (acr_values, max_age) in [
            (Some("a\nb"), None),
            (Some("\u{e9}"), None),
            (Some(long.as_str()), None),
            (None, Some("")),
            (None, Some("-1")),
            (None, Some("+1")),
            (None, Some("5m")),
            (None, Some("99999999999999999999")),
        ] {
            assert!(StepUp::read(acr_values, max_age).is_err(), "{acr_values:?} {max_age:?}");
        }
    }

    #[test]
    fn a_route_and_the_sign_in_judge_alike() {
        let (issuer, claims, now) =
            (IssuerName::new("demo"), Map::<String, Value>::new(), Timestamp::from_secs(1000));
        let scope = ScopeValues::default();
        let step_up = StepUp::read(Some("gold silver"), Some("60")).unwrap();
        for (acr, signed_in_at, is_done) in [
            (Some("silver"), Some(950), true),
            (Some("bronze"), Some(950), false),
            (Some("gold"), Some(900), false),
            (None, Some(950), false),
            (Some("gold"), None, false),
        ] {
            let facts = TokenFacts {
                issuer: &issuer,
                client: None,
                scope: &scope,
                acr,
                signed_in_at: signed_in_at.map(Timestamp::from_secs),
                claims: (&claims).into(),
                is_bound: false,
            };
            let began = Began { at: now, clock_skew: Duration::from_secs(30) };
            assert_eq!(step_up.is_done(facts, began, now), is_done, "{acr:?} {signed_in_at:?}");
            assert!(StepUp::default().is_done(facts, began, now), "nothing was asked");
        }
    }

    /// Else who has just signed in would go round between the two.
    #[test]
    fn a_route_and_the_sign_in_judge_alike_however_far_ahead_the_servers_clock_may_be() {
        let key = &keys().p256;
        let (set, _) = KeySet::parse(&jwks(&[key.jwk()])).unwrap();
        let step_up = StepUp::read(None, Some("300")).unwrap();
        let route = Requirements { signed_in_within: step_up.max_age, ..Requirements::default() };
        for clock_skew in [0, 30, 90, 300, 600] {
            let rules = TokenRules { clock_skew: Duration::from_secs(clock_skew), ..rules() };
            let skew = i64::try_from(clock_skew).unwrap();
            for ahead in -300..=skew + 1 {
                let told = serde_json::json!({ "auth_time": NOW.as_secs() + ahead });
                let text = key.sign(&with(claims(), told));
                let token = Unverified::parse(&text, 8192).unwrap().verify(&set, &rules, NOW).unwrap();
                let began = Began { at: NOW.minus(Duration::from_secs(20)), clock_skew: rules.clock_skew };
                let is_let_in = route.is_signed_in((&token).into(), NOW);
                assert_eq!(is_let_in, ahead <= skew, "{ahead} of {skew}");
                assert_eq!(step_up.is_done((&token).into(), began, NOW), is_let_in, "{ahead} of {skew}");
            }
        }
    }

    #[test]
    fn who_showed_who_they_are_since_the_sign_in_began_is_fresh_enough_however_long_it_took() {
        let (issuer, claims) = (IssuerName::new("demo"), Map::<String, Value>::new());
        let scope = ScopeValues::default();
        let began = Began { at: Timestamp::from_millis(1_000_900), clock_skew: Duration::from_secs(30) };
        for (max_age, signed_in_at, now, is_done) in [
            ("0", Some(1010), 1010, true),
            ("0", Some(1010), 1500, true),
            ("0", Some(1000), 1100, true),
            ("0", Some(970), 1010, true), // its clock is behind
            ("0", Some(969), 1010, false),
            ("0", Some(0), 1010, false),
            ("0", None, 1010, false),
            ("5", Some(1010), 1500, true),
            ("5", Some(1000), 1500, true),
            ("5", Some(999), 1500, false),
            ("5", Some(999), 1002, true), // as a route would judge it
            ("5", Some(990), 1002, false),
            ("5", None, 1002, false),
        ] {
            let facts = TokenFacts {
                issuer: &issuer,
                client: None,
                scope: &scope,
                acr: None,
                signed_in_at: signed_in_at.map(Timestamp::from_secs),
                claims: (&claims).into(),
                is_bound: false,
            };
            let step_up = StepUp::read(None, Some(max_age)).unwrap();
            let done = step_up.is_done(facts, began, Timestamp::from_secs(now));
            assert_eq!(done, is_done, "{max_age} {signed_in_at:?} {now}");
            let strong = StepUp::read(Some("gold"), Some(max_age)).unwrap();
            assert!(!strong.is_done(facts, began, Timestamp::from_secs(now)), "acr is asked for as well");
        }
    }
}
