//! `DELETE /oauth/token?client_id=`: sign-out in `token` mode, under the cookie's path so that the
//! browser sends it.
//!
//! The session is over here at once, for every copy of its cookie and on every replica; the refresh token is
//! revoked at the AS in the background. Signing out twice, or without a session, is 204 all the same.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::config::settings::Client;
use crate::core::denial::{Denial, SessionEnd};
use crate::core::request::RequestHead;
use crate::core::secret::SecretString;
use crate::core::session::exchange::seal::Holder;
use crate::core::session::exchange::{Family, Successor};
use crate::core::session::grant::{Grant, Timeouts};
use crate::core::session::oauth::request::Parameters;
use crate::core::session::origin::may_touch_cookie;
use crate::flows::Gate;
use crate::flows::call_authorization_server::revoke_in_background;
use crate::flows::exchange::coordinate::change;
use crate::flows::exchange::session_cookie;
use crate::flows::token_endpoint::{OAuthAnswer, OAuthRefusal};
use crate::state::live::Live;

/// Ends the session that the cookie stands for. The cookie is cleared even when it does not open:
/// whoever signs out must not be signed in again by a key that comes back.
///
/// # Errors
/// Foreign origin, several cookies, or a parameter that is not supported.
pub(in crate::flows) async fn sign_out(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    client: &Arc<Client>,
    parameters: &Parameters,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let subject = end_session(gate, live, head, client, parameters)
        .await
        .map_err(|denial| OAuthRefusal::of(denial, client, None))?;
    Ok(OAuthAnswer {
        status: StatusCode::NO_CONTENT,
        body: Bytes::new(),
        set_cookie: session_cookie::clear(client),
        client: client.name.clone(),
        subject,
        outcome: "signed_out",
    })
}

/// Gives the subject whose session it was, once its end is in the store.
async fn end_session(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    client: &Arc<Client>,
    parameters: &Parameters,
) -> Result<Option<String>, Denial> {
    may_touch_cookie(head.headers, &client.origins, &live.settings.public_url)?;
    if parameters.get("everywhere").is_some_and(|value| value != "false") {
        return Err(Denial::InvalidRequest("everywhere is not supported yet."));
    }
    let Some(grant) = session_cookie::read(live, client, head.headers)? else { return Ok(None) };
    let timeouts = session_cookie::timeouts(client);
    let (tokens, ended) = end_family(gate, &grant, timeouts, SessionEnd::Revoked).await;
    for token in tokens {
        revoke_in_background(gate, live, client, token);
    }
    ended?;
    Ok(grant.subject.map(|subject| subject.sub))
}

/// Ends a family, known or not. Gives the refresh tokens that are now to be revoked at the AS: the presented one,
/// and the newest where it may not have reached its browser. Also when the store did not confirm the end: it may have
/// it all the same. The presented one also when the session was over before: nobody may have told the AS.
pub(in crate::flows) async fn end_family(
    gate: &Gate,
    grant: &Grant,
    timeouts: Timeouts,
    end: SessionEnd,
) -> (Vec<SecretString>, Result<(), Denial>) {
    let mut tokens = Vec::new();
    let ended = change(gate, grant, timeouts, |family, _| {
        let newest = family.successor().cloned();
        let before = family.refuses(grant.generation).map(|(before, _)| before);
        family.end(end, Some(grant.generation));
        let revokes = end.revokes_tokens() && before.is_none_or(SessionEnd::revokes_tokens);
        tokens = if revokes { tokens_of(grant, newest.as_ref(), family) } else { Vec::new() };
    });
    let ended = ended.await;
    (tokens, ended)
}

/// The refresh tokens of a family that has ended: the presented one, and the newest where it may not have reached
/// its browser and a way from the presented grant leads to it.
pub(in crate::flows) fn tokens_of(
    grant: &Grant,
    newest: Option<&Successor>,
    family: &Family,
) -> Vec<SecretString> {
    let open = |newest: &Successor| {
        Some(Holder::of(grant).newest(family, newest.generation, &newest.grant)?.refresh_token)
    };
    let presented = grant.refresh_token.clone();
    let newest = newest.and_then(open).filter(|newest| *newest != presented);
    std::iter::once(presented).chain(newest).collect()
}
