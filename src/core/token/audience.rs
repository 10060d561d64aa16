//! Whom a token is for: `aud`, one name or a list of them (RFC 7519 section 4.1.3), and what is accepted of
//! it here.
//!
//! A token that says nothing of it is for anybody, so for nobody here: RFC 9068 section 2.2 requires `aud`.
//! Amazon Cognito writes none into its access tokens. Where the operator names the clients whose tokens are
//! for this gateway, that stands in its place, and only for a token that says what it is: with `aud` goes the
//! mark by which an ID token is told.

use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::token::TokenRules;
use crate::core::token::verified::first_present;

/// All whom it is meant for.
pub(super) fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, Denial> {
    const MALFORMED: Denial = Denial::TokenMalformed("aud must be a string or a list of strings.");
    let audiences = match claims.get("aud") {
        None => return Err(Denial::WrongAudience),
        Some(Value::Array(list)) => list.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    audiences.iter().map(Value::as_str).collect::<Option<_>>().ok_or(MALFORMED)
}

/// RFC 8725 section 3.9: one of ours must be among them. Returns all of them, none where none are needed.
/// `is_access_token`: whether it says so itself.
pub(super) fn check_audience<'c>(
    claims: &'c Map<String, Value>,
    rules: &TokenRules,
    is_access_token: impl FnOnce() -> bool,
) -> Result<Vec<&'c str>, Denial> {
    if !claims.contains_key("aud") && needs_none(claims, rules) && is_access_token() {
        return Ok(Vec::new());
    }
    let names = audiences(claims)?;
    if names.iter().any(|name| rules.audiences.iter().any(|own| own == name)) {
        Ok(names)
    } else {
        Err(Denial::WrongAudience)
    }
}

/// Whether its client's tokens may come without.
fn needs_none(claims: &Map<String, Value>, rules: &TokenRules) -> bool {
    let client = first_present(claims, &rules.claims.client).and_then(Value::as_str);
    client.is_some_and(|client| rules.clients_without_audience.iter().any(|listed| listed == client))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::token::introspection::IntrospectionAnswer;
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{NOW, claims, jwks, keys, with};

    fn rules() -> TokenRules {
        let clients_without_audience = vec!["web-app".to_owned(), "batch".to_owned()];
        TokenRules { clients_without_audience, ..crate::core::token::testing::rules() }
    }

    /// An access token of Amazon Cognito, with these claims changed.
    fn cognito(changes: Value) -> Value {
        with(with(claims(), json!({ "aud": null, "token_use": "access", "version": 2 })), changes)
    }

    fn judge_as(typ: Option<&str>, claims: &Value, rules: &TokenRules) -> Result<(), Denial> {
        let keyset = KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0;
        let mut header = json!({ "alg": "ES256", "kid": "p256" });
        if let Some(typ) = typ {
            header["typ"] = typ.into();
        }
        let token = keys().p256.sign_as(&header, claims);
        Ok(Unverified::parse(&token, 8192)?.verify(&keyset, rules, NOW).map(drop)?)
    }

    fn judge(changes: Value) -> Result<(), Denial> {
        judge_as(None, &cognito(changes), &rules())
    }

    #[test]
    fn an_access_token_without_aud_passes_only_where_its_client_is_listed() {
        assert_eq!(judge(json!({})), Ok(()));
        assert_eq!(judge(json!({ "client_id": "batch" })), Ok(()));
        for client in [json!("portal"), json!(null), json!("web-app "), json!("WEB-APP"), json!(["web-app"])]
        {
            assert_eq!(judge(json!({ "client_id": client })), Err(Denial::WrongAudience), "{client}");
        }
        let unlisted = judge_as(None, &cognito(json!({})), &crate::core::token::testing::rules());
        assert_eq!(unlisted, Err(Denial::WrongAudience));
    }

    #[test]
    fn the_first_claim_that_names_a_client_counts_alone() {
        assert_eq!(judge(json!({ "client_id": "portal", "azp": "web-app" })), Err(Denial::WrongAudience));
        assert_eq!(judge(json!({ "client_id": null, "azp": "web-app" })), Ok(()));
    }

    #[test]
    fn and_only_where_it_says_that_it_is_an_access_token() {
        for (typ, said, judged) in [
            (None, json!("access"), Ok(())),
            (Some("JWT"), json!("access"), Ok(())),
            (Some("at+jwt"), json!(null), Ok(())),
            (Some("application/at+jwt"), json!("access"), Ok(())),
            (None, json!(null), Err(Denial::WrongAudience)),
            (Some("JWT"), json!("Access"), Err(Denial::WrongAudience)),
            (None, json!(["access"]), Err(Denial::WrongAudience)),
            (None, json!("id"), Err(Denial::WrongTokenType)),
            (Some("at+jwt"), json!("id"), Err(Denial::WrongAudience)),
            (Some("at+jwt"), json!("refresh"), Err(Denial::WrongAudience)),
        ] {
            let token = cognito(json!({ "token_use": said }));
            assert_eq!(judge_as(typ, &token, &rules()), judged, "{typ:?} {said}");
        }
        let with_hash = cognito(json!({ "at_hash": "x" }));
        assert_eq!(judge_as(None, &with_hash, &rules()), Err(Denial::WrongTokenType));
    }

    #[test]
    fn a_token_with_aud_is_held_to_it_whoever_its_client_is() {
        for aud in [json!("https://else.example"), json!("web-app"), json!([]), json!("")] {
            assert!(judge(json!({ "aud": aud })).is_err(), "{aud}");
        }
        let null = cognito(json!({})).to_string().replace("\"token_use\"", "\"aud\":null,\"token_use\"");
        let keyset = KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0;
        let header = r#"{"alg":"ES256","kid":"p256"}"#;
        let token = keys().p256.sign_text(crate::core::token::Algorithm::Es256, header, &null);
        let judged = Unverified::parse(&token, 8192).unwrap().verify(&keyset, &rules(), NOW);
        assert!(matches!(judged.unwrap_err().denial, Denial::TokenMalformed(_)));
    }

    /// What a token is the issuer says in its answer too, or it is refused before.
    #[test]
    fn an_opaque_token_is_held_to_the_same() {
        let judge = |changes: Value| {
            let answer =
                with(cognito(json!({ "active": true, "token_type": "Bearer" })), changes).to_string();
            IntrospectionAnswer::parse(answer.as_bytes()).unwrap().judge(&rules(), NOW).map(drop)
        };
        assert_eq!(judge(json!({})), Ok(()));
        assert_eq!(judge(json!({ "client_id": "portal" })), Err(Denial::WrongAudience));
        assert_eq!(judge(json!({ "aud": "https://else.example" })), Err(Denial::WrongAudience));
        assert_eq!(judge(json!({ "token_use": "id" })), Err(Denial::WrongTokenType));
    }
}
