//! `DELETE /oauth/token?client_id=`: sign-out in `token` mode, under the cookie's path so that the
//! browser sends it. Signing out twice, or without a session, is 204 all the same.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::{end_session, is_everywhere};
use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::core::session::grant::Grant;
use crate::core::session::oauth::request::Parameters;
use crate::core::session::origin::may_touch_cookie;
use crate::core::token::bearer;
use crate::flows::Gate;
use crate::flows::client_request::ClientRequest;
use crate::flows::family::session_cookie;
use crate::flows::oauth_answer::OAuthAnswer;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

/// Ends the session that the cookie stands for. The cookie is cleared even when it does not open:
/// whoever signs out must not be signed in again by a key that comes back.
///
/// # Errors
/// Foreign origin, several cookies, a parameter that is not supported, or `everywhere` without a session; and
/// those of [`end_session`].
pub(in crate::flows) async fn delete_token(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    client: &Arc<Client>,
    parameters: &Parameters,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let grant = end_presented_session(gate, live, head, client, parameters)
        .await
        .map_err(|denial| OAuthRefusal::of(denial, client, None))?;
    let family = grant.as_ref().map(|grant| grant.family);
    Ok(OAuthAnswer {
        dpop_nonce: None,
        status: StatusCode::NO_CONTENT,
        body: Bytes::new(),
        set_cookie: session_cookie::clear(client),
        also_clears: Vec::new(),
        client: client.name.clone(),
        subject: grant.and_then(|grant| grant.subject).map(|subject| subject.sub),
        family,
        outcome: RequestOutcome::SignedOut,
    })
}

/// Gives the grant whose session it was, once its end is in the store.
async fn end_presented_session(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    client: &Arc<Client>,
    parameters: &Parameters,
) -> Result<Option<Grant>, Denial> {
    bearer::at_most_one(head.headers)?;
    may_touch_cookie(head.headers, &client.origins, head.asked_at(&live.settings.public_url))?;
    let everywhere = is_everywhere(parameters)?;
    let Some(grant) = session_cookie::read(live, client, head.headers)? else {
        return if everywhere { Err(Denial::NoSession) } else { Ok(None) };
    };
    end_session(ClientRequest { gate, live, client, head }, &grant, everywhere).await?;
    Ok(Some(grant))
}
