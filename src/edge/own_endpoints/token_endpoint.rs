//! `/oauth/token` on the wire: reads the body, asks the flows, writes what they say. Nothing of it may
//! be stored by anybody (RFC 6749 section 5.1).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::core::denial::Denial;
use crate::core::token::dpop::DPOP_NONCE;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::receiving::receive_body;
use crate::edge::own_endpoints::reply::EndpointReply;
use crate::edge::request::body::{Bound, Unread};
use crate::edge::request::request_head;
use crate::flows::Gate;
use crate::flows::admit::Target;
use crate::flows::oauth_answer::OAuthAnswer;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::flows::token_endpoint;
use crate::state::live::Live;

/// The largest body of a token request.
const BODY: Bound = Bound {
    bytes: 16 * 1024,
    why: "The body of this request exceeds the 16 KiB that a token request may have.",
};

/// RFC 6749 section 3.2 and RFC 6750 section 2.3: what stands in a query is written to logs on its way, and
/// a parameter in both places would be given twice.
const IN_QUERY: Denial = Denial::InvalidRequest("Send the parameters in the body, not in the query.");

/// Answers a request to `/oauth/token`.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn answer(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    target: &Target,
    who: &Identification,
) -> pingora::Result<EndpointReply> {
    let answered = match body_of(session, target).await {
        Ok(body) => token(gate, live, session.req_header(), target, who, body).await,
        Err(Unread::Refused(denial)) => Err(refusal(denial)),
        Err(Unread::ClientGone(error)) => return Err(error),
    };
    Ok(match answered {
        Ok(answer) => granted(answer),
        Err(refusal) => refused(refusal, Form::OAuth, who.ids.request_id.as_str()),
    })
}

/// The body of a request for tokens; `None`: of a sign-out, which has none.
async fn body_of(session: &mut Session, target: &Target) -> Result<Option<Bytes>, Unread> {
    let method = session.req_header().method.clone();
    if method == Method::POST && target.query.as_deref().is_some_and(|query| !query.is_empty()) {
        return Err(IN_QUERY.into());
    }
    OwnEndpoint::Token.takes(&method)?;
    match method {
        Method::POST => receive_body(session, BODY).await.map(Some),
        _ => Ok(None),
    }
}

async fn token(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    request: &RequestHeader,
    target: &Target,
    who: &Identification,
    body: Option<Bytes>,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let host = request_head::host(request).map_err(refusal)?;
    let head = request_head::head(request, &host, who.client).map_err(refusal)?;
    match body {
        Some(body) => token_endpoint::token(gate, live, &head, &body).await,
        None => token_endpoint::sign_out(gate, live, &head, target.query.as_deref()).await,
    }
}

const fn refusal(denial: Denial) -> OAuthRefusal {
    OAuthRefusal::before_client(denial)
}

fn granted(given: OAuthAnswer) -> EndpointReply {
    let mut answer = Answer::json(given.status, given.body).no_store();
    answer.set(header::PRAGMA, HeaderValue::from_static("no-cache"));
    for cookie in given.set_cookie.into_iter().chain(given.also_clears) {
        answer.set(header::SET_COOKIE, cookie);
    }
    if let Some(nonce) = given.dpop_nonce {
        answer.set(DPOP_NONCE, nonce);
    }
    let OAuthAnswer { outcome, client, subject, family, .. } = given;
    EndpointReply { client: Some(client), subject, family, ..EndpointReply::done(answer, outcome) }
}

pub(in crate::edge) fn refused(refusal: OAuthRefusal, form: Form<'_>, request_id: &str) -> EndpointReply {
    let mut answer = Answer::refusal(&refusal.denial, form, request_id);
    if let Some(cookie) = refusal.set_cookie {
        answer.set(header::SET_COOKIE, cookie);
    }
    if matches!(refusal.denial, Denial::ClientCredentialRefused { by_basic: true, .. }) {
        // RFC 6749 section 5.2: in the scheme that the client used.
        answer.set(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"oauth\", charset=\"UTF-8\""),
        );
    }
    if let Denial::FromAuthorizationServer(said)
    | Denial::ProofRefusedThere(said)
    | Denial::ClientCredentialRefused { said, .. } = &refusal.denial
        && let Some(nonce) = said.dpop_nonce.as_deref().and_then(|nonce| HeaderValue::from_str(nonce).ok())
    {
        answer.set(DPOP_NONCE, nonce);
    }
    let session = refusal.session.map(|session| *session);
    let (subject, family) = session.map_or((None, None), |session| (session.subject, Some(session.family)));
    let client = refusal.client;
    EndpointReply { client, subject, family, ..EndpointReply::refused(answer, refusal.denial) }
}
