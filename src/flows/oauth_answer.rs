//! What is said at `/oauth/token`, for whichever flow says it. Everything of it may be shown to the caller;
//! the log gets names and labels.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::ids::FamilyId;
use crate::core::session::grant::Grant;
use crate::flows::family::session_cookie;
use crate::state::metrics::RequestOutcome;

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
    /// For the access log.
    pub outcome: RequestOutcome,
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

    /// The refusal, with the cookie cleared where the denial says so.
    pub(in crate::flows) fn of(denial: Denial, client: &Client, grant: Option<&Grant>) -> Self {
        let set_cookie = denial.clears_cookie().then(|| session_cookie::clear(client)).flatten();
        let session = grant.map(|grant| {
            let subject = grant.subject.as_ref().map(|subject| subject.sub.clone());
            Box::new(RefusedSession { subject, family: grant.family })
        });
        Self { denial, client: Some(client.name.clone()), set_cookie, session }
    }
}
