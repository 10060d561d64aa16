//! The checks of a token, in their order, so that a refusal can say how far the token came. `explain` shows
//! that to people; a caller learns the denial alone.

use crate::core::denial::Denial;

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Before anything is read.
    Size,
    /// Three parts, signed and not encrypted.
    Form,
    /// What its header says, and that no more is asked for than is understood.
    Header,
    /// That the payload is one JSON object.
    Payload,
    Issuer,
    Algorithm,
    Type,
    Times,
    /// That it is bound to nothing, or to a key whose proof can be checked.
    Binding,
    /// That its issuer publishes the key.
    Key,
    Signature,
    Audience,
    /// The claims that name subject, client, session and token.
    Identifiers,
}

impl Check {
    /// In the order in which they are made.
    pub const ALL: [Self; 13] = [
        Self::Size,
        Self::Form,
        Self::Header,
        Self::Payload,
        Self::Issuer,
        Self::Algorithm,
        Self::Type,
        Self::Times,
        Self::Binding,
        Self::Key,
        Self::Signature,
        Self::Audience,
        Self::Identifiers,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Form => "form",
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Times => "times",
            Self::Binding => "binding",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Identifiers => "identifiers",
        }
    }

    /// This did not hold.
    pub const fn failed(self, denial: Denial) -> Failed {
        Failed { check: self, denial }
    }
}

/// What did not hold; everything before it in [`Check::ALL`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub check: Check,
    pub denial: Denial,
}

impl From<Failed> for Denial {
    fn from(failed: Failed) -> Self {
        failed.denial
    }
}

#[cfg(test)]
impl PartialEq<Denial> for Failed {
    fn eq(&self, other: &Denial) -> bool {
        self.denial == *other
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{NOW, claims, jwks, keys, rules};
    use crate::core::token::{Algorithm, TokenRules};

    /// A token, and what it is judged by, with some of it broken.
    struct Token {
        header: Value,
        claims: Value,
        payload: Option<&'static str>,
        parts: usize,
        signature: bool,
        limit: usize,
        rules: TokenRules,
    }

    impl Token {
        fn broken(checks: &[Check]) -> Self {
            let mut token = Self {
                header: json!({ "alg": "ES256", "typ": "at+jwt", "kid": "p256" }),
                claims: claims(),
                payload: None,
                parts: 3,
                signature: true,
                limit: 8192,
                rules: rules(),
            };
            for check in checks {
                match check {
                    Check::Size => token.limit = 10,
                    Check::Form => token.parts = 4,
                    Check::Header => token.header["crit"] = json!(["x"]),
                    Check::Payload => token.payload = Some("[]"),
                    Check::Issuer => token.rules.iss = "https://else".to_owned(),
                    Check::Algorithm => token.rules.algorithms = vec![Algorithm::Rs256],
                    Check::Type => token.header["typ"] = json!("logout+jwt"),
                    Check::Times => token.rules.max_token_lifetime = Duration::from_secs(1),
                    Check::Binding => token.claims["cnf"] = json!({}),
                    Check::Key => token.header["kid"] = json!("unknown"),
                    Check::Signature => token.signature = false,
                    Check::Audience => token.claims["aud"] = json!("else"),
                    Check::Identifiers => token.claims["sub"] = json!(5),
                }
            }
            token
        }

        fn judged(&self) -> Result<(), Failed> {
            let payload = self.payload.map_or_else(|| self.claims.to_string(), str::to_owned);
            let text = keys().p256.sign_text(Algorithm::Es256, &self.header.to_string(), &payload);
            let (signed, signature) = text.rsplit_once('.').unwrap();
            let signature = if self.signature { signature.to_owned() } else { "A".repeat(86) };
            let text = format!("{signed}{}.{signature}", ".x".repeat(self.parts - 3));
            let (set, _) = KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap();
            Unverified::parse(&text, self.limit)?.verify(&set, &self.rules, NOW).map(drop)
        }
    }

    #[test]
    fn each_check_can_fail_alone_and_says_so() {
        assert_eq!(Token::broken(&[]).judged(), Ok(()));
        for check in Check::ALL {
            let failed = Token::broken(&[check]).judged().unwrap_err();
            assert_eq!(failed.check, check, "{failed:?}");
        }
    }

    #[test]
    fn checks_are_made_in_the_order_in_which_they_are_listed() {
        assert!(Check::ALL.is_sorted());
        for (at, earlier) in Check::ALL.into_iter().enumerate() {
            for later in Check::ALL.into_iter().skip(at + 1) {
                let failed = Token::broken(&[earlier, later]).judged().unwrap_err();
                assert_eq!(failed.check, earlier, "and not {later:?}: {failed:?}");
            }
        }
    }
}
