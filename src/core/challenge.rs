//! `WWW-Authenticate`: what a refused caller is told to bring (RFC 6750 section 3, RFC 9449 section 7.1, RFC
//! 9470 section 3, RFC 9728 section 5.1, RFC 9110 section 11.6.1). Without a token there is no `error`: the
//! caller did nothing wrong yet. Whoever needs a token, the first or another, learns which scope to ask for,
//! and every caller where the metadata of the resource is. A refusal that no other token would mend gets no
//! challenge. Neither do those of `/oauth/*`, except the 401 of `/oauth/session`: a 401 must carry a
//! challenge (RFC 9110 section 15.5.2), cookies have no HTTP scheme, so it names the routes' schemes, for
//! which no browser prompts.
//!
//! What is wrong is said in the scheme that the caller used. Whoever used `Bearer`, or nothing, is told that
//! `DPoP` would do as well; whoever used `DPoP` is not sent back to tokens that anybody can use.

use std::fmt::Write;

use http::{HeaderValue, StatusCode};

use crate::core::denial::Denial;
use crate::core::request::Origin;
use crate::core::route::{Dpop, Route};
use crate::core::token::bearer::Scheme;
use crate::core::token::dpop::ALGORITHMS;

/// What is protected: everything behind the gateway is one realm of its origin.
const REALM: &str = "api";

/// The field that goes with a refusal, if any: its challenges in one line, as RFC 9110 section 5.3 lets two
/// be combined. Of a 401 with two lines Firefox shows a page neither (seen in 153). `refused_by`: the route,
/// where one was found, and the gateway's origin as it was asked. `used`: the scheme that the caller used.
pub fn www_authenticate(
    denial: &Denial,
    refused_by: Option<(&Route, &Origin)>,
    used: Option<Scheme>,
) -> Option<HeaderValue> {
    let takes_bearer = refused_by.is_none_or(|(route, _)| route.dpop == Dpop::Allowed);
    let told = if takes_bearer { used.unwrap_or(Scheme::Bearer) } else { Scheme::Dpop };
    let mut challenges = challenge(denial, refused_by, told)?;
    // Of what is missing another scheme mends nothing.
    let another_would_do = denial.facts().status == StatusCode::UNAUTHORIZED && told == Scheme::Bearer;
    if another_would_do {
        // Writing to a String cannot fail.
        let _ = write!(challenges, ", DPoP algs=\"{}\"", algs());
    }
    HeaderValue::try_from(challenges).ok()
}

fn algs() -> String {
    ALGORITHMS.join(" ")
}

fn challenge(denial: &Denial, refused_by: Option<(&Route, &Origin)>, scheme: Scheme) -> Option<String> {
    let facts = denial.facts();
    let about_the_credential = facts.status == StatusCode::UNAUTHORIZED
        || matches!(
            denial,
            Denial::InsufficientScope { .. } | Denial::SeveralCredentials | Denial::TokenInQuery
        );
    if !about_the_credential {
        return None;
    }
    let mut text = String::with_capacity(160);
    text.push_str(match scheme {
        Scheme::Bearer => "Bearer realm=",
        Scheme::Dpop => "DPoP realm=",
    });
    quote(REALM, &mut text);
    if scheme == Scheme::Dpop {
        parameter("algs", &algs(), &mut text);
    }
    if let Some((route, at)) = refused_by {
        parameter("resource_metadata", &route.resource.metadata_url(at), &mut text);
    }
    if let Some(error) = facts.oauth_error {
        parameter("error", error, &mut text);
        parameter("error_description", facts.detail, &mut text);
    }
    match (denial, refused_by) {
        (Denial::InsufficientScope { needed }, _) => parameter("scope", &needed.join(" "), &mut text),
        (Denial::StepUp { acr_values, max_age }, _) => {
            if !acr_values.is_empty() {
                parameter("acr_values", &acr_values.join(" "), &mut text);
            }
            if let Some(max_age) = max_age {
                parameter("max_age", &max_age.as_secs().to_string(), &mut text);
            }
        }
        // Whoever has to get a token, the first or another.
        (_, Some((route, _))) if matches!(facts.oauth_error, None | Some("invalid_token")) => {
            let scope = route.access.sufficient_scope();
            if !scope.is_empty() {
                parameter("scope", &scope.join(" "), &mut text);
            }
        }
        _ => {}
    }
    Some(text)
}

fn parameter(name: &str, value: &str, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, ", {name}=");
    quote(value, out);
}

/// A quoted-string (RFC 9110 section 5.6.4). What is not printable ASCII becomes `?`, since these
/// parameters have no encoding for it.
fn quote(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::path::PathPattern;
    use crate::core::route;
    use crate::core::route::policy::{Access, Requirements};
    use crate::core::route::resource::Resource;

    /// What stands between the challenge and the other one, which `DPoP` begins.
    const BESIDE: &str = ", DPoP ";

    /// The challenge without the one beside it.
    fn first_of(challenges: &HeaderValue) -> String {
        challenges.to_str().unwrap().split(BESIDE).next().unwrap().to_owned()
    }

    /// The challenge of a route `/api/*` at https://gate.example with these scopes.
    fn of_route(denial: &Denial, scope: &[&str], any_scope: &[&str], resource: Option<&str>) -> String {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let path = PathPattern::parse("/api/*").unwrap();
        let route = Route {
            resource: resource.map_or_else(|| Resource::of(&path), |text| Resource::parse(text).unwrap()),
            access: Access::Protected(
                Requirements { scope: texts(scope), any_scope: texts(any_scope), ..Requirements::default() }
                    .into(),
            ),
            ..route::testing::route("/api/*")
        };
        let at = Origin::parse("https://gate.example").unwrap();
        let challenges = www_authenticate(denial, Some((&route, &at)), None).unwrap();
        first_of(&challenges)
    }

    #[test]
    fn a_route_says_where_its_metadata_is_and_which_scope_to_ask_for() {
        const METADATA: &str = "https://gate.example/.well-known/oauth-protected-resource";
        let none = Denial::NoCredential;
        assert_eq!(
            of_route(&none, &["read", "write"], &["a", "b"], None),
            format!("Bearer realm=\"api\", resource_metadata=\"{METADATA}/api\", scope=\"read write a\"")
        );
        assert_eq!(
            of_route(&none, &[], &[], Some("https://gate.example")),
            format!("Bearer realm=\"api\", resource_metadata=\"{METADATA}\"")
        );
        let named = of_route(&none, &[], &[], Some("https://api.example/orders"));
        assert!(
            named.ends_with("=\"https://api.example/.well-known/oauth-protected-resource/orders\""),
            "{named}"
        );
        let expired = of_route(&Denial::TokenExpired, &["read"], &[], None);
        assert!(
            expired.starts_with(&format!(
                "Bearer realm=\"api\", resource_metadata=\"{METADATA}/api\", error=\"invalid_token\""
            )),
            "{expired}"
        );
        assert!(expired.ends_with(", scope=\"read\""), "{expired}");
        let proof = of_route(&Denial::ProofOutOfTime, &["read"], &[], None);
        assert!(!proof.contains("scope="), "another token mends nothing: {proof}");
        let lacking = Denial::InsufficientScope { needed: vec!["read".to_owned(), "write".to_owned()] };
        let lacking = of_route(&lacking, &["read", "write"], &[], None);
        assert!(
            lacking.contains("resource_metadata=") && lacking.ends_with(", scope=\"read write\""),
            "{lacking}"
        );
        let step_up = Denial::StepUp { acr_values: vec!["gold".to_owned()], max_age: None };
        assert!(of_route(&step_up, &["read"], &[], None).ends_with(", acr_values=\"gold\""));
    }

    /// RFC 6750 section 3: `error_description` has no quotes and no backslashes, `error` neither.
    #[test]
    fn what_is_said_of_an_error_needs_no_escapes() {
        for denial in [
            Denial::SeveralCredentials,
            Denial::TokenInQuery,
            Denial::UnknownIssuer,
            Denial::AlgorithmNotAllowed,
            Denial::UnsupportedHeader,
            Denial::WrongTokenType,
            Denial::UnknownKey,
            Denial::BadSignature,
            Denial::WrongAudience,
            Denial::TokenExpired,
            Denial::TokenNotYetValid,
            Denial::TokenLivesTooLong,
            Denial::BindingNotSupported,
            Denial::BoundTokenAsBearer,
            Denial::TokenNotBound,
            Denial::BearerNotAllowed,
            Denial::ProofMissing,
            Denial::ProofInvalid("x"),
            Denial::ProofOutOfTime,
            Denial::ProofOfAnotherKey,
            Denial::ProofReplayed,
            Denial::IssuerNotAccepted,
            Denial::ClientNotAccepted,
            Denial::Revoked,
            Denial::InsufficientScope { needed: vec![] },
            Denial::StepUp { acr_values: vec![], max_age: None },
        ] {
            let challenge = of(&denial).unwrap();
            assert!(!challenge.contains('\\'), "{challenge}");
            assert!(challenge.matches('"').count() >= 6, "{challenge}");
        }
    }

    /// Every challenge of a route that takes tokens by this rule, to who used this scheme.
    fn all(denial: &Denial, dpop: Dpop, used: Option<Scheme>) -> Vec<String> {
        let path = PathPattern::parse("/*").unwrap();
        let route = Route { resource: Resource::of(&path), dpop, ..route::testing::route("/*") };
        let at = Origin::parse("https://gate.example").unwrap();
        let challenges = www_authenticate(denial, Some((&route, &at)), used).unwrap();
        let challenges = challenges.to_str().unwrap();
        match challenges.split_once(BESIDE) {
            Some((first, algs)) => vec![first.to_owned(), format!("DPoP {algs}")],
            None => vec![challenges.to_owned()],
        }
    }

    #[test]
    fn whoever_used_a_scheme_is_answered_in_it_and_dpop_is_told_beside_bearer() {
        const ALGS: &str = "algs=\"ES256 ES384 ES512 Ed25519 EdDSA PS256 PS384 PS512 RS256 RS384 RS512\"";
        const METADATA: &str =
            "resource_metadata=\"https://gate.example/.well-known/oauth-protected-resource\"";
        let (bearer, dpop) = (Some(Scheme::Bearer), Some(Scheme::Dpop));
        let none = Denial::NoCredential;
        let both = [format!("Bearer realm=\"api\", {METADATA}"), format!("DPoP {ALGS}")];
        assert_eq!(all(&none, Dpop::Allowed, None), both);
        let only = [format!("DPoP realm=\"api\", {ALGS}, {METADATA}")];
        assert_eq!(all(&none, Dpop::Required, None), only);
        for (denial, rule, used, starts, error, count) in [
            (Denial::TokenExpired, Dpop::Allowed, bearer, "Bearer ", "invalid_token", 2),
            (Denial::BoundTokenAsBearer, Dpop::Allowed, bearer, "Bearer ", "invalid_token", 2),
            (Denial::BearerNotAllowed, Dpop::Required, bearer, "DPoP ", "invalid_token", 1),
            (Denial::TokenExpired, Dpop::Allowed, dpop, "DPoP ", "invalid_token", 1),
            (Denial::ProofReplayed, Dpop::Allowed, dpop, "DPoP ", "invalid_dpop_proof", 1),
            (Denial::ProofOfAnotherKey, Dpop::Required, dpop, "DPoP ", "invalid_token", 1),
            (Denial::TokenNotBound, Dpop::Allowed, dpop, "DPoP ", "invalid_token", 1),
            (Denial::SeveralCredentials, Dpop::Allowed, bearer, "Bearer ", "invalid_request", 1),
            (
                Denial::InsufficientScope { needed: vec![] },
                Dpop::Allowed,
                dpop,
                "DPoP ",
                "insufficient_scope",
                1,
            ),
            (
                Denial::InsufficientScope { needed: vec![] },
                Dpop::Allowed,
                bearer,
                "Bearer ",
                "insufficient_scope",
                1,
            ),
        ] {
            let challenges = all(&denial, rule, used);
            let first = &challenges[0];
            assert!(first.starts_with(starts) && first.contains(&format!("error=\"{error}\"")), "{first}");
            assert_eq!(first.contains(ALGS), starts == "DPoP ", "{first}");
            assert_eq!(challenges.len(), count, "{denial:?}");
            assert!(challenges.get(1).is_none_or(|second| *second == format!("DPoP {ALGS}")));
        }
    }

    fn of(denial: &Denial) -> Option<String> {
        www_authenticate(denial, None, None).map(|challenges| first_of(&challenges))
    }

    #[test]
    fn without_a_token_there_is_no_error() {
        assert_eq!(of(&Denial::NoCredential).unwrap(), "Bearer realm=\"api\"");
    }

    #[test]
    fn a_bad_token_is_an_invalid_token() {
        for denial in
            [Denial::TokenExpired, Denial::BadSignature, Denial::Revoked, Denial::TokenMalformed("x")]
        {
            let challenge = of(&denial).unwrap();
            assert!(
                challenge.starts_with("Bearer realm=\"api\", error=\"invalid_token\", error_description=\""),
                "{challenge}"
            );
        }
    }

    #[test]
    fn a_missing_scope_is_named_in_full() {
        let denial = Denial::InsufficientScope { needed: vec!["api:read".to_owned(), "admin".to_owned()] };
        let challenge = of(&denial).unwrap();
        assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
        assert!(challenge.ends_with(", scope=\"api:read admin\""), "{challenge}");
    }

    #[test]
    fn step_up_says_how_to_sign_in() {
        let step_up = |acr: &[&str], max_age| {
            let acr_values = acr.iter().map(ToString::to_string).collect();
            of(&Denial::StepUp { acr_values, max_age }).unwrap()
        };
        let both = step_up(&["gold", "silver"], Some(Duration::from_secs(300)));
        assert!(both.contains("error=\"insufficient_user_authentication\""), "{both}");
        assert!(both.ends_with(", acr_values=\"gold silver\", max_age=\"300\""), "{both}");
        assert!(!step_up(&["gold"], None).contains("max_age"));
        assert!(!step_up(&[], Some(Duration::ZERO)).contains("acr_values"));
    }

    #[test]
    fn two_credentials_and_a_token_in_the_query_are_invalid_requests() {
        for denial in [Denial::SeveralCredentials, Denial::TokenInQuery] {
            assert!(of(&denial).unwrap().contains("error=\"invalid_request\""));
        }
    }

    #[test]
    fn what_no_token_mends_has_no_challenge() {
        for denial in [
            Denial::NoRoute,
            Denial::UnknownHost,
            Denial::AmbiguousTarget("x"),
            Denial::ClaimMismatch { claim: "sub".to_owned() },
            Denial::ClaimElsewhere { claim: "groups".to_owned() },
            Denial::InvalidRequest("x"),
            Denial::KeysUnavailable,
            Denial::OriginNotAllowed,
            Denial::AddressNotAllowed,
        ] {
            assert_eq!(of(&denial), None, "{denial:?}");
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_quotes() {
        let text =
            of(&Denial::InsufficientScope { needed: vec!["a\", x=\"b\\\r\n\u{e9}".to_owned()] }).unwrap();
        assert!(text.ends_with("scope=\"a\\\", x=\\\"b\\\\???\""), "{text}");
    }
}
