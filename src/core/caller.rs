//! Who calls: a verified token, and what upstreams are told of it. Their headers are made once, with the token, so
//! that the same caller costs nothing the next time, and never gets those of another.

use http::{HeaderName, HeaderValue};

use crate::core::identity_headers::identity_headers;
use crate::core::route::policy::TokenFacts;
use crate::core::token::verified::VerifiedToken;

/// Somebody who proved who they are. In one piece: each piece more is a wait for memory in every request.
#[derive(Debug)]
pub struct Caller {
    token: VerifiedToken,
    identity: Vec<(HeaderName, HeaderValue)>,
}

impl Caller {
    /// `headers`: header and the claim that fills it.
    pub fn new(token: VerifiedToken, headers: &[(HeaderName, String)]) -> Self {
        let identity = identity_headers(headers, TokenFacts::from(&token));
        Self { token, identity }
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
