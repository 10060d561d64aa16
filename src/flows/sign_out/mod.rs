//! Sign-out. However it is asked for, the session is over at once, for every copy of its cookie and at every
//! replica; its refresh token is revoked at the AS in the background, and so are its access tokens.
//! `everywhere` signs the user out on every device.
//!
//! - `delete_token`: where a page asks, in `token` mode
//! - `logout`: where a browser asks, here and at the authorization server; `lead_on`: its way there
//!
//! A cookie whose session is over must never sign its user out on other devices: copies of such cookies
//! exist, and a thief who was noticed could keep the user out for ever.
//!
//! Tested in `src/flows/tests/sign_in/sign_out.rs`, against an authorization server of its own.

pub mod delete_token;
pub mod lead_on;
pub mod logout;

use std::sync::Arc;

use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::revocation::{GrantIdentity, Revocation};
use crate::core::session::grant::Grant;
use crate::core::session::oauth::request::Parameters;
use crate::core::session::sealed::{Binding, Purpose};
use crate::core::session_end::SessionEnd;
use crate::flows::call_authorization_server::revoke_in_background;
use crate::flows::client_request::ClientRequest;
use crate::flows::exchange::refresh;
use crate::flows::family::session_cookie;
use crate::flows::revoke::session_end::{Ended, end_family};
use crate::flows::revoke::{
    end_later, end_now, name_everything, name_signed_out, name_tokens, reach, watermarks_of,
};

/// What the cookie of a sign-out under way is sealed for: its own name and client alone.
fn binding<'a>(client: &'a Client, cookie: &'a str) -> Binding<'a> {
    Binding { purpose: Purpose::SignOut, cookie, client: client.name.as_str() }
}

/// Whether the user signs out on every device (`everywhere`).
pub(in crate::flows) fn is_everywhere(parameters: &Parameters) -> Result<bool, Denial> {
    match parameters.get("everywhere") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Denial::InvalidRequest("everywhere is true or false.")),
    }
}

/// Ends the session of `grant` for every copy of its cookie, and revokes what it handed out.
///
/// # Errors
/// [`Denial::StoreUnavailable`]: it is not known to be over. With `everywhere` also [`Denial::SessionEnded`],
/// because a session that was over before signs nobody out elsewhere; and those of [`everything_of`].
pub(in crate::flows) async fn end_session(
    request: ClientRequest<'_>,
    grant: &Grant,
    everywhere: bool,
) -> Result<(), Denial> {
    let ClientRequest { gate, live, client, .. } = request;
    let timeouts = session_cookie::timeouts(client);
    // Before the session ends, so that the user may ask again if this fails.
    let everything = if everywhere { everything_of(request, grant).await? } else { Vec::new() };
    // Also if this fails, or the browser leaves.
    end_later(gate, &everything);
    let Ended { revoke, issued, has_gap, other_name, is_stored } =
        end_family(gate, grant, timeouts, SessionEnd::Revoked).await;
    for token in revoke {
        revoke_in_background(gate, live, client, token);
    }
    is_stored?;
    if has_gap {
        name_signed_out(gate, live, grant.family).await.map_err(|_| Denial::StoreUnavailable)?;
    }
    name_tokens(gate, &issued).await.map_err(|_| Denial::StoreUnavailable)?;
    let (late, over) = (Arc::clone(gate), grant.clone());
    gate.errands.spawn(async move { reach::forget(&late, &over, other_name.as_deref()).await });
    end_now(gate, &everything).await.map_err(|_| Denial::StoreUnavailable)
}

/// Adds an entry for everything of the session's user, up to now, and returns the entries for it. If that was
/// done before, returns those entries as they are: they reach no further than they did, and a user who asks
/// again may do so because not all of it was carried out. A session that was over before is ended as an
/// exchange would end it: its cookie is cleared, and a theft is noticed.
///
/// A blocked user whose session is not over is signed out all the same: the block may be lifted.
///
/// # Errors
/// [`Denial::InvalidRequest`]: the session's user is not known. [`Denial::SessionEnded`].
/// [`Denial::StoreUnavailable`] or [`Denial::RevocationsUnavailable`]: it cannot be told now.
async fn everything_of(request: ClientRequest<'_>, grant: &Grant) -> Result<Vec<Revocation>, Denial> {
    const WHOSE: Denial = Denial::InvalidRequest(
        "Nobody knows whose session this is: it can only be ended alone, without everywhere.",
    );
    let GrantIdentity { iss, sub, signed_in_at, .. } = GrantIdentity::of(grant);
    let subject = sub.ok_or(WHOSE)?;
    let gate = request.gate;
    // Revocations of the session itself, not of its user.
    let session = GrantIdentity { sub: None, ..GrantIdentity::of(grant) };
    let admits = || gate.revocations.admits_grant(&session, gate.clock.now());
    // Nothing is done while the list is out of date.
    let _ = admits()?;
    // From the list itself, because another replica may have written it just now.
    let named = watermarks_of(gate, iss, subject, signed_in_at).await;
    let (everything, some): (Vec<_>, Vec<_>) = named
        .map_err(|_| Denial::StoreUnavailable)?
        .into_iter()
        .partition(Revocation::is_up_to_when_it_was_made);
    if !everything.is_empty() {
        return Ok(everything);
    }
    if let Some(end) = refresh::end_if_over(request, grant).await? {
        return Err(Denial::SessionEnded(end));
    }
    if !some.is_empty() || !admits()? {
        refresh::end_revoked(request, grant).await;
        return Err(Denial::SessionEnded(SessionEnd::Revoked));
    }
    let named = name_everything(gate, request.live, iss, subject).await;
    named.map(|named| vec![named]).map_err(|_| Denial::StoreUnavailable)
}
