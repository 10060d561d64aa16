//! Who calls: a verified token, and what upstreams are told of it. Their headers are made once, with the
//! token and for all routes, so that the same caller costs nothing the next time, and never gets those of
//! another.

use std::fmt;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::core::identity_headers::{HeaderList, IdentityHeaders, WhichList};
use crate::core::ids::FamilyId;
use crate::core::revocation::marks::TokenMarks;
use crate::core::token::claims::ReadClaims;
use crate::core::token::facts::TokenFacts;
use crate::core::token::json::HEAP;
use crate::core::token::verified::VerifiedToken;

/// Somebody who proved who they are, and inline the notes of whoever remembers them: each further allocation
/// would be a wait for memory in every request.
#[derive(Debug)]
#[repr(C)] // in this order: see `VerifiedToken`
pub struct Caller<B: ?Sized = dyn CallerNotes> {
    identity: IdentityHeaders,
    /// The `client_id` of the session, where the token has none.
    client: Option<String>,
    /// As the session knows it, where it does.
    session: Option<Box<str>>,
    /// Where upstreams are told who calls by the ID token of the session.
    by_id_token: Option<Named>,
    token: VerifiedToken,
    pub notes: B,
}

/// Whatever somebody notes of a caller; rules do not look at it.
pub trait CallerNotes: fmt::Debug + Send + Sync {
    /// What the token is looked up by when it is asked whether it was taken back.
    fn marks(&self) -> Option<&TokenMarks> {
        None
    }

    /// In which session it was handed out, once somebody has said so.
    fn family(&self) -> Option<FamilyId> {
        None
    }

    /// Somebody found out in which.
    fn set_family(&self, family: FamilyId) {
        let _ = family;
    }
}

impl CallerNotes for () {}

/// Whom an ID token names.
#[derive(Debug)]
struct Named {
    subject: Option<String>,
}

impl<B> Caller<B> {
    /// `headers`: the lists of the configuration.
    pub fn new(token: VerifiedToken, headers: &[HeaderList], beside: B) -> Self {
        let identity = IdentityHeaders::of(headers, TokenFacts::from(&token));
        Self { token, identity, client: None, session: None, by_id_token: None, notes: beside }
    }

    /// Keeps of the token's claims only those of these names: see [`VerifiedToken::with_only`].
    #[must_use]
    pub fn with_only(self, names: &ReadClaims) -> Self {
        Self { token: self.token.with_only(names), ..self }
    }
}

impl Caller {
    /// What the token is looked up by when it is asked whether it was taken back, where that was noted.
    pub fn marks(&self) -> Option<&TokenMarks> {
        self.notes.marks()
    }

    /// In which session it was handed out, once somebody has said so.
    pub fn family(&self) -> Option<FamilyId> {
        self.notes.family()
    }

    /// Somebody found out in which.
    pub fn set_family(&self, family: FamilyId) {
        self.notes.set_family(family);
    }
}

impl<B: ?Sized> Caller<B> {
    /// The caller of a session. `client`: to which the AS gave the session's tokens, in case the access token
    /// does not say so. `session`: its `sid` at the AS, where that is known. `id_token`: the claims of the ID
    /// token, where the headers are filled from it.
    #[must_use]
    pub fn of_session(
        &self,
        client: &str,
        session: Option<&str>,
        id_token: Option<&Map<String, Value>>,
        headers: &[HeaderList],
    ) -> Caller<()> {
        let token = self.token.clone();
        let facts = TokenFacts { client: Some(token.client().unwrap_or(client)), ..TokenFacts::from(&token) };
        let claims = id_token.map_or(facts.claims, Into::into);
        let identity = IdentityHeaders::of(headers, TokenFacts { claims, ..facts });
        let client = token.client().is_none().then(|| client.to_owned());
        let subject =
            |claims: &Map<String, Value>| claims.get("sub").and_then(Value::as_str).map(str::to_owned);
        let by_id_token = id_token.map(|claims| Named { subject: subject(claims) });
        Caller { token, identity, client, session: session.map(Into::into), by_id_token, notes: () }
    }

    /// What routes require something of.
    pub fn facts(&self) -> TokenFacts<'_> {
        let facts = TokenFacts::from(&self.token);
        TokenFacts { client: facts.client.or(self.client.as_deref()), ..facts }
    }

    /// Whom upstreams are told of: the subject of the token that the headers are filled from.
    pub fn subject_told(&self) -> Option<&str> {
        match &self.by_id_token {
            Some(named) => named.subject.as_deref(),
            None => self.token.subject(),
        }
    }

    /// The session at the AS: as back-channel logout speaks of it, and else as the access token does.
    pub fn session_told(&self) -> Option<&str> {
        self.session.as_deref().or_else(|| self.token.session())
    }

    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The identity headers by one list, to set after every reserved one was removed.
    pub fn identity(&self, which: WhichList) -> &[(HeaderName, HeaderValue)] {
        self.identity.by(which)
    }

    /// How many bytes of memory it takes with what is beside it, rather too many than too few.
    pub fn size(&self) -> usize {
        let beside = size_of_val(&self.notes);
        let subject = self.by_id_token.as_ref().and_then(|named| named.subject.as_deref());
        let texts = [self.client.as_deref(), self.session.as_deref(), subject].into_iter().flatten();
        let texts = texts.map(|text| HEAP.saturating_add(text.len())).fold(0, usize::saturating_add);
        self.token.size().saturating_add(beside).saturating_add(self.identity.size()).saturating_add(texts)
    }
}
