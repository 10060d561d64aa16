//! Sign-in by the gateway (`login: gateway`): no page's script ever sees state, nonce, verifier or code, and
//! no token reaches anybody.
//!
//! - `login`: sends the browser to the authorization server
//! - `push`: tells the authorization server beforehand what a browser will ask for
//! - `callback`: takes it back, with a session
//!
//! Both take browser navigations only. They change no session, except that a new one replaces the one before.
//!
//! Tested in `src/flows/tests/sign_in.rs`, against an authorization server of its own.

pub mod callback;
pub mod login;
mod push;

use std::sync::Arc;

use http::HeaderValue;

use crate::config::settings::{Client, Login};
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::ids::FamilyId;
use crate::core::secret::Secret;
use crate::core::session::authorization::{AuthorizationRequest, login_path};
use crate::core::session::cookie;
use crate::core::session::oauth::request::{Parameters, ServerForm};
use crate::core::session::sealed::{Binding, Purpose};
use crate::core::session::step_up::StepUp;
use crate::core::session::transaction::{self, Registration, Transaction, attributes};
use crate::core::time::Timestamp;
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;

/// Why somebody is not signed in.
#[derive(Debug)]
pub struct SignInRefusal {
    pub denial: Denial,
    pub client: Option<ClientName>,
    /// The path of ours that begins again, where it is known for whom.
    pub again: Option<String>,
    pub set_cookies: Vec<HeaderValue>,
    /// Whether the code, if there is one, may be of another browser's sign-in, and good there.
    pub may_be_strangers: bool,
    /// Who is signed in all the same, only not as was asked.
    pub signed_in: Option<Box<NewSession>>,
}

/// What the log says of a new session.
#[derive(Debug)]
pub struct NewSession {
    pub subject: Option<String>,
    pub family: FamilyId,
}

impl From<Denial> for SignInRefusal {
    /// Before it is known whose sign-in it is.
    fn from(denial: Denial) -> Self {
        Self {
            denial,
            client: None,
            again: None,
            set_cookies: Vec::new(),
            may_be_strangers: false,
            signed_in: None,
        }
    }
}

impl SignInRefusal {
    fn of(denial: Denial, client: &Client, return_to: Option<&str>, step_up: &StepUp) -> Self {
        let again = Some(login_path(&client.client_id, return_to, step_up));
        Self { client: Some(client.name.clone()), again, ..Self::from(denial) }
    }
}

/// What a person is told who was led away from the callback. `query`: `client_id`, where it is known.
pub fn not_under_way(live: &Live, query: Option<&str>) -> SignInRefusal {
    let parameters = Parameters::from_form(query.unwrap_or_default().as_bytes()).ok();
    let client_id = parameters.as_ref().and_then(|parameters| parameters.get("client_id"));
    match clients(live).find(|(client, _)| Some(client.client_id.as_str()) == client_id) {
        Some((client, _)) => SignInRefusal::of(Denial::SignInNotUnderWay, client, None, &StepUp::default()),
        None => SignInRefusal { again: only_way_in(live), ..Denial::SignInNotUnderWay.into() },
    }
}

/// The login of the only client that there is, when nothing else says whose sign-in it was.
fn only_way_in(live: &Live) -> Option<String> {
    let mut clients = clients(live);
    let (client, _) = clients.next()?;
    clients.next().is_none().then(|| login_path(&client.client_id, None, &StepUp::default()))
}

/// The clients that the gateway signs people in for.
fn clients(live: &Live) -> impl Iterator<Item = (&Arc<Client>, &Login)> {
    live.settings.clients.iter().filter_map(|client| Some((client, client.login.as_ref()?)))
}

fn request_of<'a>(client: &'a Client, login: &'a Login) -> AuthorizationRequest<'a> {
    AuthorizationRequest {
        client_id: &client.client_id,
        redirect_uri: &client.redirect_uri,
        scope: client.scope.as_deref(),
        resource: client.resource.as_deref(),
        more: &login.authorize,
        from_page: &[],
    }
}

/// The authorization request of a sign-in that nobody begins, to see whether it is taken where requests are
/// pushed. `bits`: nobody knows them afterwards, so no browser can end it.
pub(in crate::flows) fn nobodys_request(
    client: &Client,
    login: &Login,
    issuer: &IssuerState,
    bits: &Secret<[u8; transaction::RANDOM]>,
    now: Timestamp,
) -> ServerForm {
    let at = registration(client, issuer);
    let begun = Transaction::begin(client.name.as_str(), bits, "/".to_owned(), StepUp::default(), at, now);
    request_of(client, login).pushed(&begun)
}

/// Where a sign-in of the client begins.
fn registration(client: &Client, issuer: &IssuerState) -> Registration {
    Registration { iss: issuer.settings.rules.iss.clone(), client_id: client.client_id.clone() }
}

/// A transaction opens under its own name and for its own client alone.
fn binding<'a>(client: &'a Client, cookie: &'a str) -> Binding<'a> {
    Binding { purpose: Purpose::Transaction, cookie, client: client.name.as_str() }
}

fn clear(cookie: &str) -> Option<HeaderValue> {
    cookie::clear(attributes(cookie)).ok()
}
