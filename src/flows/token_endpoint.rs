//! `POST` and `DELETE /oauth/token`: whose request it is decides what becomes of it. A client with a cookie
//! goes to `exchange` and `sign_out`; a native client goes to `pass_through`, and has nothing to sign out of.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::config::settings::{Client, NativeClient};
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::request::RequestHead;
use crate::core::session::grant::{FamilyId, Grant};
use crate::core::session::oauth::native::named_client;
use crate::core::session::oauth::request::Parameters;
use crate::flows::exchange::session_cookie;
use crate::flows::sign_out::delete_token::delete_token;
use crate::flows::{Gate, exchange, pass_through};
use crate::state::live::Live;

/// What `/oauth/token` answers. Everything of it may be shown to the caller; the log gets names and labels.
#[derive(Debug)]
pub struct OAuthAnswer {
    pub status: StatusCode,
    /// JSON; empty with 204.
    pub body: Bytes,
    pub set_cookie: Option<HeaderValue>,
    /// What lies under the cookie's name at other paths, after a sign-in.
    pub also_clears: Vec<HeaderValue>,
    /// For the caller's next proof of possession (RFC 9449 section 8.2).
    pub dpop_nonce: Option<HeaderValue>,
    pub client: ClientName,
    pub subject: Option<String>,
    /// The session that it concerns, by the name under which it can be revoked.
    pub family: Option<FamilyId>,
    /// For the access log: an `ExchangeOutcome` label, or `signed_in`, `signed_out`.
    pub outcome: &'static str,
}

/// A refusal of `/oauth/token`.
#[derive(Debug)]
pub struct OAuthRefusal {
    pub denial: Denial,
    pub client: Option<ClientName>,
    /// Clears the cookie where the session is over; carries the next one where only the access
    /// token is of no use.
    pub set_cookie: Option<HeaderValue>,
    /// For the access log; in a box, because most refusals have none.
    pub session: Option<Box<RefusedSession>>,
}

/// The session that a refusal concerns.
#[derive(Debug)]
pub struct RefusedSession {
    pub subject: Option<String>,
    /// The name under which it can be revoked.
    pub family: FamilyId,
}

impl OAuthRefusal {
    /// Before it is known whose request it is.
    pub const fn before_client(denial: Denial) -> Self {
        Self { denial, client: None, set_cookie: None, session: None }
    }

    /// With the cookie cleared where the denial says so.
    pub(in crate::flows) fn of(denial: Denial, client: &Client, grant: Option<&Grant>) -> Self {
        let set_cookie = denial.clears_cookie().then(|| session_cookie::clear(client)).flatten();
        let session = grant.map(|grant| {
            let subject = grant.subject.as_ref().map(|subject| subject.sub.clone());
            Box::new(RefusedSession { subject, family: grant.family })
        });
        Self { denial, client: Some(client.name.clone()), set_cookie, session }
    }
}

/// The client that a request names.
enum Named {
    WithCookie(Arc<Client>),
    Native(Arc<NativeClient>),
}

/// `POST /oauth/token`. `body` is whole and within its limit. The clock is read anew at each step: one may
/// wait for the AS.
///
/// # Errors
/// Every refusal, with what becomes of the cookie.
pub async fn token(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    body: &[u8],
) -> Result<OAuthAnswer, OAuthRefusal> {
    let parameters = Parameters::read(head.headers, body).map_err(OAuthRefusal::before_client)?;
    match find_client(live, head.headers, &parameters).map_err(OAuthRefusal::before_client)? {
        Named::WithCookie(client) => exchange::exchange(gate, live, head, &client, &parameters).await,
        Named::Native(client) => pass_through::pass_through(gate, live, head, &client, &parameters).await,
    }
}

/// `DELETE /oauth/token?client_id=`.
///
/// # Errors
/// Every refusal; a native client has no session here.
pub async fn sign_out(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    query: Option<&str>,
) -> Result<OAuthAnswer, OAuthRefusal> {
    const NO_SESSION: Denial = Denial::InvalidRequest(
        "A native client has no session here; revoke its refresh token at the authorization server.",
    );
    let parameters =
        Parameters::from_form(query.unwrap_or_default().as_bytes()).map_err(OAuthRefusal::before_client)?;
    match find_client(live, &HeaderMap::new(), &parameters).map_err(OAuthRefusal::before_client)? {
        Named::WithCookie(client) => delete_token(gate, live, head, &client, &parameters).await,
        Named::Native(client) => {
            Err(OAuthRefusal { client: Some(client.name.clone()), ..OAuthRefusal::before_client(NO_SESSION) })
        }
    }
}

fn find_client(live: &Live, headers: &HeaderMap, parameters: &Parameters) -> Result<Named, Denial> {
    let client_id = named_client(headers, parameters)?;
    let settings = &live.settings;
    let with_cookie = settings.clients.iter().find(|client| client.client_id == client_id);
    let native = settings.native_clients.iter().find(|client| client.client_id == client_id);
    with_cookie
        .map(|client| Named::WithCookie(Arc::clone(client)))
        .or_else(|| native.map(|client| Named::Native(Arc::clone(client))))
        .ok_or(Denial::UnknownClient)
}
