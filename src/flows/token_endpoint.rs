//! `POST` and `DELETE /oauth/token`: whose request it is decides what becomes of it. A client with a cookie
//! goes to `exchange` and `sign_out`; a native client goes to `pass_through`, and has nothing to sign out of.

use std::sync::Arc;

use http::HeaderMap;

use crate::config::settings::{Client, NativeClient};
use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::core::session::oauth::native::named_client;
use crate::core::session::oauth::request::Parameters;
use crate::flows::oauth_answer::{OAuthAnswer, OAuthRefusal};
use crate::flows::sign_out::delete_token::delete_token;
use crate::flows::{Gate, exchange, pass_through};
use crate::state::live::Live;

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
    let client_id = &named_client(headers, parameters)?;
    let settings = &live.settings;
    let with_cookie = settings.client_by_id(client_id);
    let native = settings.native_client_by_id(client_id);
    with_cookie
        .map(|client| Named::WithCookie(Arc::clone(client)))
        .or_else(|| native.map(|client| Named::Native(Arc::clone(client))))
        .ok_or(Denial::UnknownClient)
}
