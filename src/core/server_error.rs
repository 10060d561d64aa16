//! What an authorization server says when it refuses (RFC 6749 sections 4.1.2.1 and 5.2), and whether a
//! person can mend it.

/// An error in an AS's words, as far as they may be shown (section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    pub error: String,
    pub description: Option<String>,
    pub uri: Option<String>,
    /// For the next proof of possession (RFC 9449 section 8).
    pub dpop_nonce: Option<String>,
}

/// Errors that a person mends who signs in again, and no other request of a program: OpenID Connect Core 1.0
/// section 3.1.2.6, which Entra ID says of refresh tokens too; Auth0's `mfa_required`; `access_denied`, by
/// Okta's policies.
const OF_PERSONS: [&str; 6] = [
    "interaction_required",
    "login_required",
    "consent_required",
    "account_selection_required",
    "mfa_required",
    "access_denied",
];

impl ServerError {
    /// What is made of a refusal of a refresh token that says nothing. It may be over, and may be none of the
    /// AS's words: the session stays, and whoever signs in again has a new one.
    pub fn wordless() -> Self {
        let description = "The authorization server refused the session's refresh token without saying why.";
        Self {
            error: "login_required".to_owned(),
            description: Some(description.to_owned()),
            uri: None,
            dpop_nonce: None,
        }
    }

    /// Whether the AS let a sign-in expire whose person is signed in there: Keycloak says so of a page that
    /// is left of before, mostly in another tab, and wants to be asked anew at once.
    pub fn says_that_a_sign_in_expired(&self) -> bool {
        let described = self.description.as_deref();
        (self.error.as_str(), described) == ("temporarily_unavailable", Some("authentication_expired"))
    }

    /// Whether the AS wants the person, at its authorization endpoint.
    pub fn wants_the_person(&self) -> bool {
        OF_PERSONS.contains(&self.error.as_str())
    }
}
