//! `POST /oauth/logout?client_id=`: sign-out by the gateway, here and at the authorization server (OpenID
//! Connect RP-Initiated Logout 1.0).
//!
//! The session whose cookie came along is over here first, as with `DELETE /oauth/token`; then the browser
//! goes to the authorization server, with the session's ID token as hint, which [`super::lead_on`] adds on
//! the way. JavaScript gets an address without it, and nor does one stand in the page that it could read: no
//! token is its business. A cookie that only `/oauth/token` sees is cleared; its session is ended there. So
//! `everywhere` without a session in sight is refused and clears nothing: it would end nothing, and take away
//! the cookie that could.

use std::sync::Arc;

use http::HeaderValue;
use tokio::time::timeout;
use url::Url;

use super::{binding, end_session, is_everywhere};
use crate::config::settings::{Client, Login};
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::ids::FamilyId;
use crate::core::request::RequestHead;
use crate::core::secret::SecretString;
use crate::core::session::authorization::{SignOutRequest, sign_out_url};
use crate::core::session::cookie;
use crate::core::session::exchange::seal::Holder;
use crate::core::session::grant::Grant;
use crate::core::session::oauth::request::Parameters;
use crate::core::session::origin::may_sign_out;
use crate::core::session::return_to::Places;
use crate::core::session::sign_out::{LIFETIME, SignOut, attributes, cookie_name, next_path};
use crate::core::token::bearer;
use crate::flows::Gate;
use crate::flows::client_request::ClientRequest;
use crate::flows::family::record::look;
use crate::flows::family::session_cookie;
use crate::flows::keep_keys_fresh::endpoints;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::ports::random;
use crate::state::live::Live;

/// Who asks to sign out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignOutBy {
    /// A browser that goes where it is told.
    Navigation,
    /// A script, which is told where to go.
    Script,
}

/// Somebody who is signed out here.
#[derive(Debug)]
pub struct SignedOut {
    /// Where the authorization server ends its own session, without a hint; `None`: it has no such place.
    pub end_session: Option<Url>,
    /// Where a browser goes: there, by way of [`super::lead_on`] where a hint is to go along; else to the
    /// client's pages.
    pub goes_to: String,
    pub set_cookies: Vec<HeaderValue>,
    pub client: ClientName,
    pub subject: Option<String>,
    pub family: Option<FamilyId>,
}

/// Ends the session that the cookie stands for, if one came. The cookie is cleared even when it does not
/// open.
///
/// # Errors
/// As for `DELETE /oauth/token`; the cookie stays then.
pub async fn log_out(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    query: Option<&str>,
    by: SignOutBy,
) -> Result<SignedOut, OAuthRefusal> {
    const NOT_IN_SIGHT: Denial = Denial::InvalidRequest(
        "The session's cookie goes to /oauth/token alone: use DELETE /oauth/token with everywhere=true first.",
    );
    bearer::at_most_one(head.headers).map_err(OAuthRefusal::before_client)?;
    let parameters =
        Parameters::from_form(query.unwrap_or_default().as_bytes()).map_err(OAuthRefusal::before_client)?;
    let (client, login) = client_named(live, &parameters)?;
    let refusal = |denial| OAuthRefusal::of(denial, client, None);
    may_sign_out(head.headers, &client.origins, head.asked_at(&live.settings.public_url)).map_err(refusal)?;
    let everywhere = is_everywhere(&parameters).map_err(refusal)?;
    let grant = session_cookie::read(live, client, head.headers).map_err(refusal)?;
    if everywhere && grant.is_none() {
        return Err(refusal(if client.session.is_some() { Denial::NoSession } else { NOT_IN_SIGHT }));
    }
    let request = ClientRequest { gate, live, client, head };
    if let Some(grant) = &grant {
        end_session(request, grant, everywhere).await.map_err(refusal)?;
    }
    let family = grant.as_ref().map(|grant| grant.family);
    let end_session = at_the_server(gate, live, client, login, None).await;
    let has_hint =
        |_: &&Grant| client.session.is_some() && by == SignOutBy::Navigation && end_session.is_some();
    // Without a hint the authorization server asks the person.
    let with_hint = match grant.as_ref().filter(has_hint) {
        Some(grant) => under_way(request, grant).await,
        None => None,
    };
    let goes_to = match (&with_hint, &end_session) {
        (Some(_), _) => next_path(&client.client_id),
        (None, Some(url)) => url.as_str().to_owned(),
        (None, None) => else_to(live, client, login),
    };
    Ok(SignedOut {
        end_session,
        goes_to,
        set_cookies: session_cookie::clear(client).into_iter().chain(with_hint).collect(),
        client: client.name.clone(),
        subject: grant.and_then(|grant| grant.subject).map(|subject| subject.sub),
        family,
    })
}

/// The client that is named, whom the gateway signs in and out.
///
/// # Errors
/// There is none.
pub(super) fn client_named<'l>(
    live: &'l Live,
    parameters: &Parameters,
) -> Result<(&'l Arc<Client>, &'l Login), OAuthRefusal> {
    const BY_PAGE: Denial = Denial::InvalidRequest(
        "This client's own page signs people in and out (login: page): use DELETE /oauth/token.",
    );
    let client_id = parameters.client_id().map_err(OAuthRefusal::before_client)?;
    let known = live.settings.client_by_id(client_id);
    let client = known.ok_or(OAuthRefusal::before_client(Denial::UnknownClient))?;
    let login = client.login.as_ref().ok_or_else(|| OAuthRefusal::of(BY_PAGE, client, None))?;
    Ok((client, login))
}

/// The cookie by which the hint is found on the way.
async fn under_way(request: ClientRequest<'_>, grant: &Grant) -> Option<HeaderValue> {
    let ClientRequest { gate, live, client, .. } = request;
    let name = cookie_name(client.name.as_str());
    let plain = SignOut::begin(newest_holder(request, grant).await, gate.clock.now()).to_bytes();
    let sealed = live.cookie_keys.seal(binding(client, &name), plain.expose(), random(&*gate.random)).ok()?;
    cookie::set(attributes(&name), &sealed, LIFETIME).ok()
}

/// Whoever holds the tokens of the session: they lie with its newest generation, whose cookie may not have
/// reached the browser. Where a newer cookie than the presented one did, this is a spent one, of which copies
/// lie about: it gets no hint, as it gets nothing else. A store that is away leaves the presented one, and at
/// worst there is no hint.
async fn newest_holder(request: ClientRequest<'_>, grant: &Grant) -> Holder {
    let presented = Holder::of(grant);
    let known = timeout(request.patience(), look(&*request.gate.store, grant.family)).await;
    let newest = match known {
        Ok(Ok(Some(family))) if family.is_unspent(grant.generation) => {
            presented.reach(&family, family.latest())
        }
        _ => None,
    };
    newest.unwrap_or(presented)
}

/// Where a browser goes when the authorization server has no place to sign out.
pub(super) fn else_to(live: &Live, client: &Client, login: &Login) -> String {
    let places = || Places { own: &live.settings.public_url, pages: &client.origins, listed: &[] };
    login.post_logout_redirect_uri.clone().unwrap_or_else(|| places().default())
}

/// Where the browser ends its session at the authorization server. One that cannot be found out about holds
/// nobody up.
pub(super) async fn at_the_server(
    gate: &Gate,
    live: &Live,
    client: &Client,
    login: &Login,
    hint: Option<&SecretString>,
) -> Option<Url> {
    let endpoints = endpoints(gate, live.issuers.by_name(&client.issuer)?).await.ok()?;
    let request = SignOutRequest {
        client_id: &client.client_id,
        hint,
        back_to: login.post_logout_redirect_uri.as_deref(),
        more: &login.end_session,
    };
    endpoints.end_session.as_ref().map(|endpoint| sign_out_url(endpoint, request))
}
