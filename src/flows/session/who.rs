//! `GET /oauth/session?client_id=`: who is signed in, and until when; what a page of a `session` client asks
//! when it starts. Asking does not count as use of the session: a page that asks on a timer lets it go idle.
//! It gives no token.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Claims, InSession, NotInSession, Wants, may_use, of_request};
use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::request::RequestHead;
use crate::core::session::activity::Activity;
use crate::core::session::oauth::request::Parameters;
use crate::core::time::Timestamp;
use crate::core::token::bearer;
use crate::flows::Gate;
use crate::flows::client_request::ClientRequest;
use crate::flows::session::SessionSide;
use crate::state::live::Live;

/// What an ID token says of itself and of the sign-in, and not of the person.
const NOT_OF_A_PERSON: [&str; 15] = [
    "iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash", "sid",
    "amr", "typ",
];

/// Who is signed in.
#[derive(Debug)]
pub struct WhoIsSignedIn {
    /// JSON.
    pub body: Bytes,
    pub client: ClientName,
    pub side: SessionSide,
}

/// Why nobody is, as far as can be said.
#[derive(Debug)]
pub struct NobodySignedIn {
    pub denial: Denial,
    pub client: Option<Arc<Client>>,
    pub side: SessionSide,
}

impl From<Denial> for NobodySignedIn {
    fn from(denial: Denial) -> Self {
        Self { denial, client: None, side: SessionSide::default() }
    }
}

/// # Errors
/// Every refusal; [`Denial::NotSignedIn`] without a session.
pub async fn who(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    query: Option<&str>,
) -> Result<WhoIsSignedIn, NobodySignedIn> {
    bearer::at_most_one(head.headers)?;
    let client = client_asked_for(live, query)?;
    let request = ClientRequest { gate, live, client, head };
    let nobody = |denial| NobodySignedIn { client: Some(Arc::clone(client)), ..NobodySignedIn::from(denial) };
    may_use(request, false).map_err(nobody)?;
    match of_request(request, Wants { signs_in: false, activity: Activity::Poll }).await {
        Ok(session) => Ok(said_of(request, session)),
        Err(not) => {
            let NotInSession { denial, side } = *not;
            Err(NobodySignedIn { side, ..nobody(denial) })
        }
    }
}

fn client_asked_for<'l>(live: &'l Live, query: Option<&str>) -> Result<&'l Arc<Client>, Denial> {
    let parameters = Parameters::from_form(query.unwrap_or_default().as_bytes())?;
    let client_id =
        parameters.get("client_id").ok_or(Denial::InvalidRequest("Name the client: client_id."))?;
    let client = live.settings.client_by_id(client_id);
    client.ok_or(Denial::UnknownClient)?;
    client.filter(|client| client.session.is_some()).ok_or(Denial::InvalidRequest(
        "This client is not in session mode: its page has the token, and asks POST /oauth/token.",
    ))
}

fn said_of(request: ClientRequest<'_>, session: InSession) -> WhoIsSignedIn {
    let InSession { held, grant, ends_at, ride, .. } = session;
    let now = request.gate.clock.now();
    let left = |end: Timestamp| end.since(now).as_secs();
    let told = held.id_claims.as_ref();
    let by_id_token = told.and_then(|claims| claims.get("sub")?.as_str()).map(ToOwned::to_owned);
    let subject = by_id_token.or_else(|| grant.subject.as_ref().map(|subject| subject.sub.clone()));
    let mut body = Map::new();
    body.insert("client_id".to_owned(), request.client.client_id.as_str().into());
    body.insert("sub".to_owned(), subject.clone().into());
    body.insert("expires_in".to_owned(), left(held.expires_at).into());
    body.insert("session_expires_in".to_owned(), left(ends_at).into());
    if let Some(claims) = told {
        body.insert("claims".to_owned(), json!(of_the_person(claims)));
    }
    WhoIsSignedIn {
        body: Value::Object(body).to_string().into(),
        client: request.client.name.clone(),
        side: SessionSide { brought_cookie: true, family: Some(grant.family), subject, let_in: None, ride },
    }
}

fn of_the_person(claims: &Claims) -> Claims {
    let of_the_person = |name: &str| !NOT_OF_A_PERSON.contains(&name);
    claims
        .iter()
        .filter(|(name, _)| of_the_person(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
