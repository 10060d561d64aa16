//! A code for a session. With `login: page` the page brings `code` and `code_verifier` and gets the tokens;
//! else `flows::sign_in` brings both, and no page gets anything. The refresh token goes into the cookie and
//! nowhere else.
//!
//! An AS that gives no refresh token gives no session: a page gets its access token, no cookie is
//! set, and the log names `offline_access`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::sync::oneshot;

use super::explain_unusable::log_unusable;
pub(in crate::flows) use super::judge::OwnSignIn;
use super::judge::{Exchanged, JudgedTokens, is_our_outage, judge_tokens};
use super::page_key::{self, PageKey};
use super::receipts;
use super::unfilled_headers::warn_of_unfilled;
use super::{log_invalid_client, log_refused, nonce_header, warn_of_long_life};
use crate::config::settings::Client;
use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::revocation::GrantIdentity;
use crate::core::secret::{Secret, SecretString};
use crate::core::session::grant::{Grant, Subject};
use crate::core::session::oauth::Scope;
use crate::core::session::oauth::answer::{PageTokens, ServerAnswer, TokenAnswer};
use crate::core::session::oauth::request::ServerForm;
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::flows::call_authorization_server::{ask_token_endpoint, revoke_in_background};
use crate::flows::client_request::ClientRequest;
use crate::flows::family::record::change;
use crate::flows::family::record::key;
use crate::flows::family::session_cookie;
use crate::flows::family::tokens::{self, SessionTokens};
use crate::flows::oauth_answer::OAuthAnswer;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::ports::random;
use crate::flows::revoke::session_end::Ended;
use crate::flows::revoke::session_end::end_family;
use crate::flows::revoke::{name_tokens_in_background, reach};
use crate::flows::{Gate, brake};
use crate::state::exchanges::{Airborne, WaitPermit};
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

/// For a page, which gets the tokens.
pub(super) async fn exchange_code(
    request: ClientRequest<'_>,
    code: SecretString,
    verifier: SecretString,
    redirect_uri: &str,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let result = sign_in_page(request, code, verifier, redirect_uri).await;
    request.gate.metrics.signed_in(&request.client.name, result.is_ok());
    result.map_err(|denial| OAuthRefusal::of(denial, request.client, None))
}

async fn sign_in_page(
    request: ClientRequest<'_>,
    code: SecretString,
    verifier: SecretString,
    redirect_uri: &str,
) -> Result<OAuthAnswer, Denial> {
    if redirect_uri != request.client.redirect_uri {
        return Err(Denial::InvalidRequest(
            "redirect_uri must be the one that the gateway has for this client.",
        ));
    }
    let prepared = prepare(request).await?;
    let code = Code { code, verifier, by: CodeBearer::Page(page_key::prove_key(request).await?) };
    // Asked before the code is spent: without the store there would be no session to note.
    request.gate.store.get(&key(prepared.family)).await.map_err(|_| Denial::StoreUnavailable)?;
    let made = prepared.exchange(request, &code).await?;
    let now = request.gate.clock.now();
    let set_cookie = match &made.session {
        Some(session) => session.set_cookie(request.client, now),
        // What came along was another sign-in's, and is over.
        None => made.ended_previous.then(|| session_cookie::clear(request.client)).flatten(),
    };
    let ends_in = made.session.as_ref().map(|session| session.ends_at.since(now));
    let body = made.page.to_json(now.since(made.at), request.client.idle_timeout, ends_in);
    let also_clears =
        set_cookie.as_ref().map_or_else(Vec::new, |_| session_cookie::clear_elsewhere(request.client));
    Ok(OAuthAnswer {
        status: StatusCode::OK,
        body: Bytes::from(body),
        set_cookie,
        also_clears,
        dpop_nonce: nonce_header(&made.page),
        client: request.client.name.clone(),
        subject: made.subject.map(|subject| subject.sub),
        family: made.session.map(|session| session.family),
        outcome: RequestOutcome::SignedIn,
    })
}

/// What is exchanged, and what must come back for it.
#[derive(Debug)]
pub(in crate::flows) struct Code {
    pub(in crate::flows) code: SecretString,
    pub(in crate::flows) verifier: SecretString,
    pub(in crate::flows) by: CodeBearer,
}

/// Who brings a code.
#[derive(Clone, Debug)]
pub(in crate::flows) enum CodeBearer {
    /// The gateway, which asked for this.
    Gateway(OwnSignIn),
    /// A page, which checks what came, and may have proven a key.
    Page(Option<PageKey>),
}

impl CodeBearer {
    const fn page_key(&self) -> Option<&PageKey> {
        match self {
            Self::Page(page_key) => page_key.as_ref(),
            Self::Gateway(_) => None,
        }
    }
}

/// Everything that can be said before a code is spent.
pub(in crate::flows) struct Prepared {
    /// The sessions whose cookies came along; several where the cookie's path was changed.
    previous: Vec<Grant>,
    family: FamilyId,
    /// Held for as long as the exchange takes.
    held: (WaitPermit, Airborne),
}

/// Makes ready for a code exchange. The caller asks the store before it goes on.
///
/// # Errors
/// Whatever is against it; the code was not spent then.
pub(in crate::flows) async fn prepare(request: ClientRequest<'_>) -> Result<Prepared, Denial> {
    let previous = session_cookie::read_all(request.live, request.client, request.head.headers);
    brake::before_work(request.gate, request.live, request.head.client_address, request.gate.clock.now())?;
    let airborne = tokio::time::timeout(request.patience(), request.gate.exchanges.take_off()).await;
    let airborne = airborne.map_err(|_| Denial::StoreUnavailable)?;
    let family = FamilyId::from_random(random(&*request.gate.random));
    let Some(place) = request.gate.exchanges.begin_code_exchange(&request.client.issuer) else {
        tracing::error!(client = %request.client.name, "too many code exchanges wait for the AS; another was refused");
        return Err(Denial::AuthorizationServerUnavailable);
    };
    Ok(Prepared { previous, family, held: (place, airborne) })
}

impl Prepared {
    /// Spends the code. The session whose cookie came along is over when there is a new one; also without one
    /// when a page has the tokens, which may be somebody else's.
    ///
    /// # Errors
    /// Why there is no session; the code is of no use any more.
    pub(in crate::flows) async fn exchange(
        self,
        request: ClientRequest<'_>,
        code: &Code,
    ) -> Result<MadeSignIn, Denial> {
        let Self { previous, family, held } = self;
        let (sender, receiver) = oneshot::channel();
        let (redirect_uri, resource) = (&request.client.redirect_uri, request.client.resource.as_deref());
        let exchange = CodeExchange {
            gate: Arc::clone(request.gate),
            live: Arc::clone(request.live),
            client: Arc::clone(request.client),
            family,
            form: ServerForm::code(&code.code, &code.verifier, redirect_uri, resource),
            by: code.by.clone(),
        };
        request.gate.errands.spawn(async move {
            exchange.run(sender).await;
            drop(held);
        });
        let mut new = match tokio::time::timeout(request.patience(), receiver).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) | Err(_) => return Err(Denial::AuthorizationServerUnavailable),
        };
        let takes_its_place = new.session.is_some() || matches!(code.by, CodeBearer::Page(_));
        for previous in previous.iter().filter(|_| takes_its_place) {
            end_previous(request, previous, new.subject.as_ref()).await;
            new.ended_previous = true;
        }
        Ok(new)
    }
}

/// A sign-in ends the family whose cookie came with it: nobody is left in a session that somebody
/// else planted. Its refresh token is revoked only when it is somebody else's: an AS may hang all
/// refresh tokens of one person and client on one grant and end them together (RFC 7009 section
/// 2.1), the new one too.
async fn end_previous(request: ClientRequest<'_>, previous: &Grant, new: Option<&Subject>) {
    let somebody_else = matches!(
        (&previous.subject, new),
        (Some(previous), Some(new)) if previous.source == new.source && previous.sub != new.sub
    );
    let end = if somebody_else { SessionEnd::SignedInAsAnother } else { SessionEnd::SignedInAgain };
    // Should the store fail just now, that session goes on until its timeouts; its cookie is overwritten.
    let Ended { revoke, issued, .. } =
        end_family(request.gate, previous, session_cookie::timeouts(request.client), end).await;
    name_tokens_in_background(request.gate, previous.family, &issued);
    for token in revoke {
        revoke_in_background(request.gate, request.live, request.client, token);
    }
}

/// What a code exchange made of a sign-in.
pub(in crate::flows) struct MadeSignIn {
    page: PageTokens,
    /// `None`: the AS gave no refresh token.
    pub(in crate::flows) session: Option<Session>,
    pub(in crate::flows) subject: Option<Subject>,
    /// The access token, where it was found good.
    pub(in crate::flows) caller: Option<Arc<Caller>>,
    at: Timestamp,
    ended_previous: bool,
}

pub(in crate::flows) struct Session {
    pub(in crate::flows) family: FamilyId,
    cookie: SecretString,
    /// When the session ends if nobody uses it before.
    ends_at: Timestamp,
    cookie_kept_until: Timestamp,
}

impl Session {
    pub(super) fn set_cookie(&self, client: &Client, now: Timestamp) -> Option<HeaderValue> {
        session_cookie::set(client, &self.cookie, self.cookie_kept_until, now)
    }

    /// The same, alone with its name.
    pub(in crate::flows) fn set_cookies(&self, client: &Client, now: Timestamp) -> Vec<HeaderValue> {
        let elsewhere = session_cookie::clear_elsewhere(client);
        self.set_cookie(client, now).into_iter().chain(elsewhere).collect()
    }
}

/// One code exchange, owned by the gateway: the code is spent once it was sent.
struct CodeExchange {
    gate: Arc<Gate>,
    live: Arc<Live>,
    client: Arc<Client>,
    family: FamilyId,
    form: ServerForm,
    by: CodeBearer,
}

impl CodeExchange {
    async fn run(self, waiting: oneshot::Sender<Result<MadeSignIn, Denial>>) {
        let client = self.client.as_ref().into();
        let proof = self.by.page_key().map(|page_key| &page_key.proof);
        let result = match ask_token_endpoint(&self.gate, &self.live, client, &self.form, proof).await {
            ServerAnswer::Tokens(answer) => self.make_session(*answer).await,
            ServerAnswer::InvalidGrant(said) | ServerAnswer::Refused(said) => {
                // A page that brought its code is told itself.
                if matches!(self.by, CodeBearer::Gateway(_)) {
                    log_refused(&self.client, &said, "to exchange the code of a sign-in");
                }
                Err(Denial::of_unproven(said))
            }
            ServerAnswer::InvalidClient(said) => {
                log_invalid_client(&self.live, &self.client, &said);
                Err(Denial::AuthorizationServerUnavailable)
            }
            ServerAnswer::Unusable(outage) => {
                tracing::error!(client = %self.client.name, issuer = %self.client.issuer, why = outage.why, status = outage.status, "a code exchange brought no answer");
                Err(outage.denial())
            }
        };
        // Where nobody waits any more nobody has the tokens: they are not revoked (see `make_session`).
        let _ = waiting.send(result);
    }

    async fn make_session(&self, answer: TokenAnswer) -> Result<MadeSignIn, Denial> {
        let refresh_token = answer.refresh_token.clone();
        let made = self.judge_and_keep(answer).await;
        // After an outage nobody has it, and the person may be signed in already: an AS may hang all refresh
        // tokens of one person and client on one grant, and end them together (RFC 7009 section 2.1).
        let is_outage =
            matches!(&made, Err(Denial::AuthorizationServerUnavailable | Denial::StoreUnavailable))
                || made.as_ref().err().is_some_and(is_our_outage);
        if let (Err(_), Some(token), false) = (&made, refresh_token, is_outage) {
            self.revoke(token);
        }
        made
    }

    async fn judge_and_keep(&self, answer: TokenAnswer) -> Result<MadeSignIn, Denial> {
        let exchanged = match &self.by {
            CodeBearer::Gateway(asked) => Exchanged::OwnCode(asked),
            CodeBearer::Page(page_key) => Exchanged::Code(page_key.as_ref().map(|page_key| page_key.key)),
        };
        let judged = judge_tokens(&self.gate, &self.live, &self.client, &answer, exchanged).await;
        let judged = judged.map_err(|denial| match denial {
            denial if is_our_outage(&denial) => self.cannot_be_judged(&denial),
            denial => denial,
        })?;
        match &judged.unusable {
            None => {}
            Some(denial) if is_our_outage(denial) => return Err(self.cannot_be_judged(denial)),
            Some(Denial::Revoked) => return Err(Denial::SignInRevoked),
            Some(denial) => {
                log_unusable(&self.client, denial, judged.said.as_ref());
                return Err(Denial::AccessTokenUnusable);
            }
        }
        let now = self.gate.clock.now();
        let expires_in = answer.expires_in.or_else(|| judged.expires_at.map(|end| end.since(now)));
        let grant = match &answer.refresh_token {
            Some(token) => Some(self.grant(token, &answer, &judged, now)?),
            None => {
                tracing::warn!(
                    client = %self.client.name,
                    "the AS gave no refresh token, so there is no session and no cookie: ask for the scope \
                     offline_access at the authorization endpoint, and allow it for this client at the AS"
                );
                None
            }
        };
        warn_of_long_life(&self.gate, &self.client, expires_in);
        warn_of_unfilled(&self.gate, &self.live, &self.client, answer.id_token.as_ref());
        let page = PageTokens {
            access_token: answer.access_token,
            token_type: answer.token_type,
            expires_in,
            scope: answer.scope,
            id_token: answer.id_token,
            dpop_nonce: answer.dpop_nonce,
        };
        let session = match grant {
            Some(grant) => {
                self.check_not_taken_back(&grant, &judged)?;
                self.note(&grant, &judged, &page, now).await?;
                // Whoever took it back before it was noted did not find it.
                self.check_not_taken_back(&grant, &judged)?;
                Some(self.seal_session(&grant)?)
            }
            None => None,
        };
        let (subject, caller) = (judged.subject(), judged.verified.map(|found| found as Arc<Caller>));
        Ok(MadeSignIn { page, session, subject, caller, at: now, ended_previous: false })
    }

    fn cannot_be_judged(&self, denial: &Denial) -> Denial {
        let why = denial.facts().title;
        tracing::error!(client = %self.client.name, issuer = %self.client.issuer, why, "a sign-in failed: its tokens cannot be judged");
        Denial::AuthorizationServerUnavailable
    }

    fn grant(
        &self,
        refresh_token: &SecretString,
        answer: &TokenAnswer,
        judged: &JudgedTokens,
        now: Timestamp,
    ) -> Result<Grant, Denial> {
        let issuer = self.live.issuers.by_name(&self.client.issuer).ok_or(Denial::Internal)?;
        let asked = || self.client.scope.as_deref().and_then(Scope::parse);
        Ok(Grant {
            client_id: self.client.client_id.clone(),
            iss: issuer.settings.rules.iss.clone(),
            refresh_token: refresh_token.clone(),
            subject: judged.subject(),
            session_id: judged.session_id.clone(),
            scope: answer.scope.clone().or_else(|| judged.scope.clone()).or_else(asked),
            family: self.family,
            generation: 0,
            seed: Secret::new(random(&*self.gate.random)),
            signed_in_at: now,
            last_used_at: now,
            exchanged_at: now,
        })
    }

    /// Checks the sign-in against what was taken back up to a moment: it is as old as the first of its access
    /// tokens. The browser, or the authorization server, may have taken its time since.
    fn check_not_taken_back(&self, grant: &Grant, judged: &JudgedTokens) -> Result<(), Denial> {
        let now = self.gate.clock.now();
        let facts = GrantIdentity::of(grant);
        let issued_at = judged.verified.as_deref().map(|caller| caller.token().issued_at());
        let signed_in_at =
            issued_at.map_or(facts.signed_in_at, |issued_at| facts.signed_in_at.min(issued_at));
        for sub in [facts.sub, judged.other_name().or(facts.sub)] {
            if !self.gate.revocations.admits_grant(&GrantIdentity { sub, signed_in_at, ..facts }, now)? {
                return Err(Denial::SignInRevoked);
            }
        }
        Ok(())
    }

    /// Notes which access token the new family handed out, and whose the family is where the token does not
    /// say so.
    async fn note(
        &self,
        grant: &Grant,
        judged: &JudgedTokens,
        page: &PageTokens,
        now: Timestamp,
    ) -> Result<(), Denial> {
        let timeouts = session_cookie::timeouts(&self.client);
        let issued = judged.issued(0, Some(page), now, timeouts);
        let token = judged.verified.as_deref().map(Caller::token);
        reach::note(&self.gate, &self.live, grant, token, timeouts, reach::MOST_SESSIONS)
            .await
            .map_err(|_| Denial::StoreUnavailable)?;
        if let Some(name) = judged.other_name() {
            reach::note_other_name(&self.gate, &self.live, grant, name, timeouts)
                .await
                .map_err(|_| Denial::StoreUnavailable)?;
        }
        if self.client.session.is_some() {
            let expires_at = now.plus(page.expires_in.unwrap_or(timeouts.absolute));
            let (access_token, id_token) = (page.access_token.clone(), page.id_token.clone());
            let tokens = SessionTokens { access_token, id_token, expires_at };
            tokens::keep(&self.gate, &self.client, grant, &tokens).await?;
        }
        change(&self.gate, grant, timeouts, |family, now| {
            family.call_its_person(judged.other_name());
            family.begin(issued, now);
        })
        .await?;
        if self.client.session.is_none() {
            receipts::note(&self.gate, grant.family, issued).await;
        }
        Ok(())
    }

    fn seal_session(&self, grant: &Grant) -> Result<Session, Denial> {
        Ok(Session {
            family: self.family,
            cookie: session_cookie::seal(&self.gate, &self.live, &self.client, grant)?,
            ends_at: grant.ends_at(session_cookie::timeouts(&self.client)),
            cookie_kept_until: session_cookie::kept_until(&self.client, grant),
        })
    }

    fn revoke(&self, token: SecretString) {
        revoke_in_background(&self.gate, &self.live, &self.client, token);
    }
}
