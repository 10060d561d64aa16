//! Who calls: a verified token, and what upstreams are told of it. Their headers are made once, with the token, so
//! that the same caller costs nothing the next time, and never gets those of another.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::core::identity_headers::identity_headers;
use crate::core::route::policy::TokenFacts;
use crate::core::token::verified::VerifiedToken;

/// Somebody who proved who they are. In one piece: each piece more is a wait for memory in every request.
#[derive(Debug)]
pub struct Caller {
    token: VerifiedToken,
    identity: Vec<(HeaderName, HeaderValue)>,
    /// Where the session says it and not the token.
    client: Option<String>,
}

impl Caller {
    /// `headers`: header and the claim that fills it.
    pub fn new(token: VerifiedToken, headers: &[(HeaderName, String)]) -> Self {
        let identity = identity_headers(headers, TokenFacts::from(&token));
        Self { token, identity, client: None }
    }

    /// Whose session it is. `client`: to which the AS gave the session's tokens, in case the access token does not say
    /// so. `id_token`: the claims of the ID token, where the headers are filled from it.
    #[must_use]
    pub fn of_session(
        &self,
        client: &str,
        id_token: Option<&Map<String, Value>>,
        headers: &[(HeaderName, String)],
    ) -> Self {
        let token = self.token.clone();
        let facts = TokenFacts { client: Some(token.client().unwrap_or(client)), ..TokenFacts::from(&token) };
        let claims = id_token.unwrap_or(facts.claims);
        let identity = identity_headers(headers, TokenFacts { claims, ..facts });
        let client = token.client().is_none().then(|| client.to_owned());
        Self { token, identity, client }
    }

    /// What routes require something of.
    pub fn facts(&self) -> TokenFacts<'_> {
        let facts = TokenFacts::from(&self.token);
        TokenFacts { client: facts.client.or(self.client.as_deref()), ..facts }
    }

    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The identity headers to set, after every reserved one was removed.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.identity
    }

    /// How many bytes of memory it takes, rather too many than too few.
    pub fn size(&self) -> usize {
        let values = self.identity.iter().map(|(_, value)| value.len().saturating_add(120));
        self.token.size().saturating_add(values.fold(0, usize::saturating_add))
    }
}
