//! Whether new tokens may be handed out: they must be what this gateway would accept, and belong to
//! the one who signed in.
//!
//! A token that came straight from the token endpoint over TLS may be read without its signature (OpenID
//! Connect Core 1.0 section 3.1.3.7) to compare whose it is; it is never trusted further than that, and every
//! use of it is judged again by `flows::admit`. An ID token that upstreams may be told by is verified whole:
//! that of a sign-in by the gateway, and one that comes with a refresh in `session` mode.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::explain_unusable::{Said, log_unfit_id_token};
use crate::config::settings::{Client, Issuer};
use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::session::exchange::Issued;
use crate::core::session::grant::{Generation, Grant, Subject, SubjectSource, Timeouts};
use crate::core::session::oauth::Scope;
use crate::core::session::oauth::answer::{
    Identified, LIMIT as ID_TOKEN, PageTokens, TokenAnswer, claims_from_token_endpoint, identified,
};
use crate::core::time::Timestamp;
use crate::core::token::TokenRules;
use crate::core::token::binding::{Thumbprint, names_another};
use crate::core::token::id::TokenId;
use crate::core::token::id_token::{Expected, VerifiedIdToken};
use crate::core::token::introspection::is_opaque;
use crate::core::token::verified::{VerifiedToken, first_present};
use crate::flows::Gate;
use crate::flows::authenticate::authenticate;
use crate::flows::brought::Brought;
use crate::flows::verify_id_token::{NotBelieved, verify_id_token};
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;
use crate::state::log_targets::SECURITY;
use crate::state::verified_tokens::KnownCaller;

/// What new tokens say of themselves.
#[derive(Debug)]
pub(in crate::flows) struct JudgedTokens {
    pub access_token: Option<Subject>,
    pub id_token: Option<Subject>,
    pub session_id: Option<String>,
    pub scope: Option<Scope>,
    /// The access token's own expiry.
    pub expires_at: Option<Timestamp>,
    /// What the access token is known by.
    pub id: TokenId,
    /// The access token, where it was found good.
    pub verified: Option<Arc<KnownCaller>>,
    /// Why nobody is told anything by the ID token that a session's refresh brought, though it is its
    /// person's.
    pub id_token_doubt: Option<NotBelieved>,
    /// Why the access token would be refused here, unless the client allows that.
    pub unusable: Option<Denial>,
    /// The `iss` or `aud` that the token has, where it was refused for that.
    pub(super) said: Option<Said>,
}

impl JudgedTokens {
    /// What is known before the access token is looked at. `id`: what that is known by, whatever it is.
    fn of_id_token(id_token: JudgedIdToken, id: TokenId) -> Self {
        let JudgedIdToken { says, doubt } = id_token;
        Self {
            id,
            access_token: None,
            session_id: says.as_ref().and_then(|id| id.session_id.clone()),
            id_token: says.map(|id| Subject { sub: id.sub, source: SubjectSource::IdToken }),
            scope: None,
            expires_at: None,
            verified: None,
            id_token_doubt: doubt,
            unusable: None,
            said: None,
        }
    }

    /// Who signed in, by the better source.
    pub(super) fn subject(&self) -> Option<Subject> {
        self.access_token.clone().or_else(|| self.id_token.clone())
    }

    /// What the ID token calls its person, where the access token says another name.
    pub(super) fn other_name(&self) -> Option<&str> {
        let (subject, other) = (self.access_token.as_ref()?, self.id_token.as_ref()?);
        Some(other.sub.as_str()).filter(|other| *other != subject.sub)
    }

    /// What is noted of the access token when it is handed out: nothing, when it is not. A token that does
    /// not say when it ends counts as long as its session may.
    pub(super) fn issued(
        &self,
        generation: Generation,
        page: Option<&PageTokens>,
        now: Timestamp,
        timeouts: Timeouts,
    ) -> Option<Issued> {
        let said = page?.expires_in.map(|life| now.plus(life));
        let expires_at = said.max(self.expires_at).unwrap_or_else(|| now.plus(timeouts.absolute));
        Some(Issued { id: self.id, expires_at, generation })
    }
}

/// What was exchanged for the tokens, and the key that was proven with it.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) enum Exchanged<'a> {
    /// A page's, which checks the nonce.
    Code(Option<Thumbprint>),
    /// The code of a sign-in by the gateway, which has no key.
    OwnCode(&'a OwnSignIn),
    RefreshToken(Option<Thumbprint>),
}

impl Exchanged<'_> {
    const fn key(self) -> Option<Thumbprint> {
        match self {
            Self::Code(key) | Self::RefreshToken(key) => key,
            Self::OwnCode(_) => None,
        }
    }
}

/// What the gateway asked for when it signed somebody in.
#[derive(Clone, Debug)]
pub(in crate::flows) struct OwnSignIn {
    pub(in crate::flows) nonce: SecretString,
    /// An ID token must come.
    pub(in crate::flows) needs_id_token: bool,
}

/// Judges what a token endpoint answered.
///
/// # Errors
/// [`Denial::AnswerMismatch`] when a token is of another issuer or client than the one that was asked, or the
/// ID token is not of this sign-in; [`Denial::SignInRevoked`] when the key that signed that one was revoked;
/// what [`is_our_outage`] when it cannot be verified now.
pub(in crate::flows) async fn judge_tokens(
    gate: &Gate,
    live: &Live,
    client: &Client,
    answer: &TokenAnswer,
    exchanged: Exchanged<'_>,
) -> Result<JudgedTokens, Denial> {
    let now = gate.clock.now();
    let issuer = live.issuers.by_name(&client.issuer).ok_or(Denial::Internal)?;
    let rules = &issuer.settings.rules;
    let id_token = judge_id_token(gate, issuer, client, answer, exchanged, now).await?;
    let brought = Brought::ByIssuer(&client.issuer, exchanged.key());
    let verified = authenticate(gate, live, answer.access_token.expose(), brought, now).await;
    let opaque = TokenId::of(&rules.iss, None, answer.access_token.expose());
    let mut judged = JudgedTokens::of_id_token(id_token, opaque);
    match verified {
        Ok(found) => {
            judged.add_verified(client, rules, found.token())?;
            judged.verified = Some(found);
        }
        Err(denial) => {
            let is_taken_back = denial == Denial::Revoked && !matches!(exchanged, Exchanged::RefreshToken(_));
            judged.add_refused(client, &issuer.settings, &answer.access_token, denial)?;
            if is_taken_back {
                // Whatever else the client takes.
                judged.unusable = Some(Denial::Revoked);
            }
            judged.unusable = bound_to_others(&answer.access_token, exchanged.key()).or(judged.unusable);
        }
    }
    if answer.is_bound() && exchanged.key().is_none() {
        judged.unusable = Some(Denial::BoundTokenAsBearer);
    }
    if !answer.is_understood() && !client.accept_any_access_token {
        let token_type = &answer.token_type;
        tracing::error!(client = %client.name, issuer = %client.issuer, token_type, "the AS gave an access token of a type that Tollgate does not know (RFC 6749 section 7.1): it is to be `Bearer` or `DPoP`");
        judged.unusable = Some(Denial::AccessTokenUnusable);
    }
    Ok(judged)
}

/// What an ID token says, where one came, and why nobody is told anything by it.
#[derive(Default)]
struct JudgedIdToken {
    says: Option<Identified>,
    doubt: Option<NotBelieved>,
}

/// Judges the ID token of an answer: whole where the gateway asked for it, or may tell upstreams by it; else
/// by what it says.
///
/// # Errors
/// As [`judge_tokens`]. One that came with a refresh and is not believed is only doubted.
async fn judge_id_token(
    gate: &Gate,
    issuer: &IssuerState,
    client: &Client,
    answer: &TokenAnswer,
    exchanged: Exchanged<'_>,
    now: Timestamp,
) -> Result<JudgedIdToken, Denial> {
    let Some(token) = &answer.id_token else {
        return if matches!(exchanged, Exchanged::OwnCode(OwnSignIn { needs_id_token: true, .. })) {
            Err(mismatch(client, "an ID token was asked for, and none came"))
        } else {
            Ok(JudgedIdToken::default())
        };
    };
    let verify = |nonce| {
        let access_token = Some(answer.access_token.expose().as_str());
        let expected = Expected { client_id: &client.client_id, nonce, access_token };
        verify_id_token(gate, issuer, token.expose(), ID_TOKEN, expected, now)
    };
    if let Exchanged::OwnCode(asked) = exchanged {
        let verified = verify(Some(asked.nonce.expose())).await;
        let verified = verified.map_err(|not| of_sign_in(client, &issuer.settings.rules, token, not))?;
        return Ok(JudgedIdToken { says: Some(verified.into()), doubt: None });
    }
    let rules = &issuer.settings.rules;
    let in_time_at = matches!(exchanged, Exchanged::Code(_)).then_some(now);
    let (client_id, clients) = (&client.client_id, &rules.client_ids);
    let says = identified(token, &rules.iss, client_id, clients, rules.clock_skew, in_time_at);
    let says = says.ok_or_else(|| {
        mismatch(client, "the ID token is not for this client of this issuer, or has expired")
    })?;
    let doubt = if client.session.is_some() { verify(None).await.err() } else { None };
    Ok(JudgedIdToken { says: Some(says), doubt })
}

/// Whether the AS bound the token to a key that was not proven by whoever would get it.
const fn is_bound_to_others(denial: &Denial) -> bool {
    matches!(denial, Denial::BoundTokenAsBearer | Denial::ProofOfAnotherKey)
}

/// A token that is bound to another key is refused whatever else is wrong with it, also where the client
/// accepts any access token.
fn bound_to_others(token: &SecretString, key: Option<Thumbprint>) -> Option<Denial> {
    let names_another = names_another(&claims_from_token_endpoint(token)?, key);
    let denial = if key.is_some() { Denial::ProofOfAnotherKey } else { Denial::BoundTokenAsBearer };
    names_another.then_some(denial)
}

impl JudgedTokens {
    fn add_verified(
        &mut self,
        client: &Client,
        rules: &TokenRules,
        token: &VerifiedToken,
    ) -> Result<(), Denial> {
        if *token.issuer() != client.issuer {
            return Err(mismatch(client, "the access token is another issuer's"));
        }
        if token.client().is_some_and(|named| named != client.client_id) {
            return Err(mismatch(client, "the access token is another client's"));
        }
        self.access_token =
            token.subject().map(|sub| Subject { sub: sub.to_owned(), source: SubjectSource::AccessToken });
        // The ID token's, where it has one: back-channel logout speaks of that (section 2.4).
        self.session_id = self.session_id.take().or_else(|| token.session().map(str::to_owned));
        self.scope = Scope::of(token.scope().iter());
        self.expires_at = Some(token.expires_at());
        if let Some(jti) = token.id() {
            self.id = TokenId::of(&rules.iss, Some(jti), "");
        }
        Ok(())
    }

    fn add_refused(
        &mut self,
        client: &Client,
        issuer: &Issuer,
        token: &SecretString,
        denial: Denial,
    ) -> Result<(), Denial> {
        let rules = &issuer.rules;
        // One that is opaque is known by its text, whatever it looks like.
        let claims = claims_from_token_endpoint(token).filter(|_| !is_opaque(token.expose()));
        if let Some(claims) = claims {
            let is_its_own = claims
                .get("iss")
                .and_then(Value::as_str)
                .is_some_and(|iss| rules.takes_access_tokens_of(iss));
            if is_our_outage(&denial) {
                // Not the token's fault. Whose it is can be compared; each use is judged anyway.
                self.compare(client, rules, &claims, is_its_own)?;
            }
            if is_its_own {
                // It may be good here later: then it is known by this.
                let jti = first_present(&claims, &rules.claims.id).and_then(Value::as_str);
                self.id = TokenId::of(&rules.iss, jti, token.expose());
            }
        }
        self.said = Said::of(&denial, issuer, token);
        self.unusable = (!client.accept_any_access_token || is_bound_to_others(&denial)).then_some(denial);
        Ok(())
    }

    /// Compares what a token says that could not be judged whole.
    fn compare(
        &mut self,
        client: &Client,
        rules: &TokenRules,
        claims: &Map<String, Value>,
        is_its_own: bool,
    ) -> Result<(), Denial> {
        if !is_its_own {
            return Err(mismatch(client, "the access token is another issuer's"));
        }
        let named = first_present(claims, &rules.claims.client);
        if named.is_some_and(|named| named.as_str() != Some(&client.client_id)) {
            return Err(mismatch(client, "the access token is another client's"));
        }
        let sub = claims.get("sub").and_then(Value::as_str);
        self.access_token =
            sub.map(|sub| Subject { sub: sub.to_owned(), source: SubjectSource::AccessToken });
        Ok(())
    }
}

impl From<VerifiedIdToken> for Identified {
    fn from(token: VerifiedIdToken) -> Self {
        Self { sub: token.subject().to_owned(), session_id: token.session().map(ToOwned::to_owned) }
    }
}

/// Checks that the new tokens belong to the one who signed in. Only what one source said is compared:
/// an AS may call one person differently in the two kinds of token.
///
/// # Errors
/// [`Denial::AnswerMismatch`]
pub(super) fn check_subject_of_tokens(
    client: &Client,
    grant: &Grant,
    judged: &JudgedTokens,
) -> Result<(), Denial> {
    let Some(signed_in) = &grant.subject else { return Ok(()) };
    let now = match signed_in.source {
        SubjectSource::AccessToken => &judged.access_token,
        SubjectSource::IdToken => &judged.id_token,
    };
    if now.as_ref().is_some_and(|now| now.sub != signed_in.sub) {
        return Err(mismatch(client, "the new tokens belong to another subject than the session"));
    }
    Ok(())
}

/// Checks that a new ID token is of the person whose session it is, as the one before says (OpenID Connect
/// Core 1.0 section 12.2).
///
/// # Errors
/// [`Denial::AnswerMismatch`]
pub(super) fn check_subject_of_id_token(
    client: &Client,
    before: &SecretString,
    new: &SecretString,
) -> Result<(), Denial> {
    let sub = |token| claims_from_token_endpoint(token).and_then(|mut claims| claims.remove("sub"));
    if sub(before) == sub(new) {
        Ok(())
    } else {
        Err(mismatch(client, "the new ID token belongs to another subject than the session"))
    }
}

fn mismatch(client: &Client, why: &'static str) -> Denial {
    tracing::error!(target: SECURITY, event = "security", client = %client.name, why, "the AS's answer does not fit; it was not handed out");
    Denial::AnswerMismatch
}

/// Why a sign-in comes to nothing whose ID token is not believed.
fn of_sign_in(client: &Client, rules: &TokenRules, token: &SecretString, not: NotBelieved) -> Denial {
    match not {
        NotBelieved::Wrong(wrong) => {
            log_unfit_id_token(client, rules, token, wrong);
            Denial::AnswerMismatch
        }
        NotBelieved::Revoked => {
            tracing::error!(
                client = %client.name,
                issuer = %client.issuer,
                "the AS gave an ID token that is signed with a key which was revoked here, so nobody is signed in: let it sign with another"
            );
            Denial::SignInRevoked
        }
        NotBelieved::KeysUnavailable => Denial::KeysUnavailable,
        NotBelieved::RevocationsUnavailable => Denial::RevocationsUnavailable,
    }
}

/// An outage on our side is not the token's fault; each use of it is judged later anyway.
pub(super) const fn is_our_outage(denial: &Denial) -> bool {
    matches!(
        denial,
        Denial::KeysUnavailable
            | Denial::KeyNotKnownYet { .. }
            | Denial::IntrospectionUnavailable
            | Denial::RevocationsUnavailable
    )
}
