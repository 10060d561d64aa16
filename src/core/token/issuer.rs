//! Whose a token is: `iss` (RFC 7519 section 4.1.1), compared byte for byte.
//!
//! An issuer has one name by which its people are known: `url`, which its metadata, its ID tokens and its
//! logout tokens say (OpenID Connect Core 1.0 section 3.1.3.7). Some write another into access tokens, under
//! the same keys: AD FS (its metadata call it `access_token_issuer`), and Entra ID for an API of version 1.0.
//! That name opens this one door. It is replaced as soon as a token was found good, so that nothing behind it
//! (revocations, sessions, routes, identity headers) can take one person for two. No ID token and no logout
//! token may say it.

use serde_json::{Map, Value};

use crate::core::token::TokenRules;

impl TokenRules {
    /// What the `iss` of an access token may be.
    pub fn iss_of_access_tokens(&self) -> &[String] {
        if self.access_token_iss.is_empty() {
            std::slice::from_ref(&self.iss)
        } else {
            &self.access_token_iss
        }
    }

    /// Whether an access token that says `iss` is of this issuer.
    pub fn takes_access_tokens_of(&self, iss: &str) -> bool {
        self.iss_of_access_tokens().iter().any(|own| own == iss)
    }

    /// Whether this is one of its names.
    pub fn is_called(&self, iss: &str) -> bool {
        self.iss == iss || self.access_token_iss.iter().any(|own| own == iss)
    }

    /// All of its names, the one by which its people are known first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.access_token_iss.iter().filter(|own| **own != self.iss);
        std::iter::once(&self.iss).chain(others).map(String::as_str)
    }

    /// Whatever an access token called its issuer, from here on it is of [`Self::iss`].
    pub(super) fn name_issuer(&self, claims: &mut Map<String, Value>) {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.iss) {
            claims.insert("iss".to_owned(), self.iss.clone().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::denial::Denial;
    use crate::core::token::introspection::IntrospectionAnswer;
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{ISS, NOW, claims, jwks, keys, rules, with};
    use crate::core::token::verified::VerifiedToken;

    /// As AD FS: in plain text, since nobody calls it.
    const SAID: &str = "http://as.example/services/trust";

    fn saying(names: &[&str]) -> TokenRules {
        TokenRules { access_token_iss: names.iter().map(ToString::to_string).collect(), ..rules() }
    }

    fn keyset() -> KeySet {
        KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0
    }

    fn judge(rules: &TokenRules, iss: Value) -> Result<VerifiedToken, Denial> {
        let token = keys().p256.sign(&with(claims(), json!({ "iss": iss })));
        Ok(Unverified::parse(&token, 8192)?.verify(&keyset(), rules, NOW)?)
    }

    #[test]
    fn an_access_token_says_what_is_configured_and_url_only_where_that_is_listed() {
        for (rules, good, bad) in [
            (saying(&[]), vec![ISS], vec![SAID]),
            (saying(&[SAID]), vec![SAID], vec![ISS]),
            (saying(&[SAID, ISS]), vec![SAID, ISS], vec![]),
        ] {
            for iss in good {
                assert!(judge(&rules, json!(iss)).is_ok(), "{iss}");
            }
            let never = [
                json!(format!("{SAID}/")),
                json!(SAID.to_uppercase()),
                json!([SAID]),
                json!(""),
                json!(null),
            ];
            for iss in bad.into_iter().map(Value::from).chain(never) {
                assert_eq!(judge(&rules, iss.clone()).unwrap_err(), Denial::UnknownIssuer, "{iss}");
            }
        }
    }

    #[test]
    fn whatever_a_token_says_to_the_rest_it_is_of_the_issuers_one_name() {
        let rules = saying(&[SAID, ISS]);
        for said in [SAID, ISS] {
            let token = judge(&rules, json!(said)).unwrap();
            assert_eq!(token.claims().get("iss"), Some(&json!(ISS)));
            let answer = json!({ "active": true, "token_type": "Bearer", "iss": said });
            let answer = with(claims(), answer).to_string();
            let token = IntrospectionAnswer::parse(answer.as_bytes()).unwrap().judge(&rules, NOW).unwrap();
            assert_eq!(token.claims().get("iss"), Some(&json!(ISS)));
        }
    }

    #[test]
    fn it_says_so_with_the_same_keys_or_is_a_forgery() {
        let stranger = crate::core::token::testing::new_p256("p256");
        let token = stranger.sign(&with(claims(), json!({ "iss": SAID })));
        let judged = Unverified::parse(&token, 8192).unwrap().verify(&keyset(), &saying(&[SAID]), NOW);
        assert_eq!(judged.unwrap_err(), Denial::BadSignature);
    }
}
