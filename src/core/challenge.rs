//! `WWW-Authenticate`: what a refused caller is told to bring (RFC 6750 section 3, RFC 9470 section 3,
//! RFC 9110 section 11.6.1). Without a token there is no `error`: the caller did nothing wrong yet.
//! Refusals that no other token would mend get no challenge, and neither do those of `/oauth/*`.

use std::fmt::Write;

use http::{HeaderValue, StatusCode};

use crate::core::denial::Denial;

/// What is protected: everything behind the gateway is one realm of its origin.
const REALM: &str = "api";

/// The challenge that goes with a refusal of a route, if any.
pub fn www_authenticate(denial: &Denial) -> Option<HeaderValue> {
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
    text.push_str("Bearer realm=");
    quote(REALM, &mut text);
    if let Some(error) = facts.oauth_error {
        parameter("error", error, &mut text);
        parameter("error_description", facts.detail, &mut text);
    }
    match denial {
        Denial::InsufficientScope { needed } => parameter("scope", &needed.join(" "), &mut text),
        Denial::StepUp { acr_values, max_age } => {
            if !acr_values.is_empty() {
                parameter("acr_values", &acr_values.join(" "), &mut text);
            }
            if let Some(max_age) = max_age {
                parameter("max_age", &max_age.as_secs().to_string(), &mut text);
            }
        }
        _ => {}
    }
    HeaderValue::try_from(text).ok()
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

    fn of(denial: &Denial) -> Option<String> {
        www_authenticate(denial).map(|value| value.to_str().unwrap().to_owned())
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
            Denial::InvalidRequest("x"),
            Denial::KeysUnavailable,
            Denial::OriginNotAllowed,
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
