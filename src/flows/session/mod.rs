//! Requests of clients in `session` mode, whose pages hold a cookie alone while the gateway holds their
//! tokens.
//!
//! In order: is there exactly one cookie, may this request use it (CSRF), does it open, was the session
//! revoked, has it timed out. Then its access token is verified like any other, and exchanged when it is
//! about to expire; the next cookie goes out with the answer to the same request. After a session's first
//! request at this replica only memory is read, except for an exchange.
//!
//! An outage never ends a session and never clears its cookie. While the access token is valid, it does not
//! fail a request either. A request that may not come from one of the client's pages reaches neither store
//! nor AS.
//!
//! - `serve`: the access token of a session, at hand or exchanged for
//! - `uses`: when a session was last used, and which of its cookies arrived
//! - `who`: `GET /oauth/session`
//!
//! Tested in `src/flows/tests/session.rs`, against an authorization server of its own.

mod serve;
mod uses;
pub mod who;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::config::settings::SessionMode;
use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::revocation::GrantIdentity;
use crate::core::session::activity::Activity;
use crate::core::session::cookie;
use crate::core::session::csrf::{Pages, SessionUse, may_use_session};
use crate::core::session::grant::Grant;
use crate::core::session::ride::{MayLeave, Ride};
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::client_request::ClientRequest;
use crate::flows::exchange::refresh;
use crate::flows::family::record::look;
use crate::flows::family::session_cookie;
use crate::state::live::Live;
use crate::state::open_requests::OfSession;
use crate::state::sessions::HeldTokens;
use crate::state::verified_tokens::KnownCaller;

/// What a session cookie adds to the answer and to the line of the log.
#[derive(Debug, Default)]
pub struct SessionSide {
    /// Whether a session cookie came, valid or not.
    pub brought_cookie: bool,
    pub family: Option<FamilyId>,
    /// The subject of the session, if no token names it.
    pub subject: Option<String>,
    /// The session that let the request in, for as long as it is open.
    pub let_in: Option<Box<OfSession>>,
    /// The cookie that goes out with the answer.
    pub ride: Option<Ride>,
}

impl OfSession {
    /// The session as open requests keep it. `token`: its verified access token.
    pub(in crate::flows) fn of(request: ClientRequest<'_>, grant: &Grant, token: Arc<Caller>) -> Self {
        let ClientRequest { gate, client, .. } = request;
        Self {
            family: grant.family,
            marks: gate.revocations.marks_of_grant(&GrantIdentity::of(grant)),
            signed_in_at: grant.signed_in_at,
            last_used_at: grant.last_used_at,
            timeouts: session_cookie::timeouts(client),
            client: Arc::clone(client),
            is_asked_about: AtomicBool::new(false),
            token,
        }
    }
}

/// How long an answer waits for the store to confirm that its cookie is the newest.
const WAIT_FOR_NEWEST: Duration = Duration::from_secs(1);

/// A valid session of a request.
#[derive(Debug)]
pub(in crate::flows) struct InSession {
    /// The caller that upstreams are told of.
    pub caller: Arc<Caller>,
    /// The verified access token.
    pub found: Arc<KnownCaller>,
    pub held: Arc<HeldTokens>,
    pub grant: Grant,
    pub ends_at: Timestamp,
    /// The session's next cookie, if there is one.
    pub ride: Option<Ride>,
}

/// Why a request has no valid session, and what goes out with the answer.
#[derive(Debug)]
pub(in crate::flows) struct NotInSession {
    pub denial: Denial,
    /// Its `ride` clears the cookie if the session is over, or is the next cookie if only the access token is
    /// unusable.
    pub side: SessionSide,
}

impl NotInSession {
    fn before_opening(denial: Denial, brought_cookie: bool) -> Self {
        Self { denial, side: SessionSide { brought_cookie, ..SessionSide::default() } }
    }

    fn of(grant: &Grant, denial: Denial) -> Self {
        let subject = grant.subject.as_ref().map(|subject| subject.sub.clone());
        let family = Some(grant.family);
        let side = SessionSide { brought_cookie: true, family, subject, ..SessionSide::default() };
        Self { denial, side }
    }

    /// The same, with this cookie for the answer.
    fn with_ride(self, ride: Option<Ride>) -> Self {
        Self { side: SessionSide { ride, ..self.side }, ..self }
    }

    /// The session is certainly over: its cookie is cleared.
    fn over(request: ClientRequest<'_>, grant: &Grant, end: SessionEnd) -> Self {
        let until = request.gate.clock.now().plus(request.live.settings.sessions.grace);
        let clears = end.clears_cookie().then(|| session_cookie::clear(request.client)).flatten();
        let ride =
            clears.map(|set_cookie| Ride { set_cookie, family: grant.family, generation: None, until });
        Self::of(grant, Denial::NotSignedIn { ended: Some(end) }).with_ride(ride)
    }
}

/// What a request wants of a session.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct Wants {
    /// Whether the route is a page with `sign_in`.
    pub signs_in: bool,
    pub activity: Activity,
}

/// Returns the session of a request that has no other credential.
///
/// # Errors
/// Why it has no valid session.
pub(in crate::flows) async fn of_request(
    request: ClientRequest<'_>,
    wants: Wants,
) -> Result<InSession, Box<NotInSession>> {
    let grant = presented(request, wants.signs_in)?;
    let facts = GrantIdentity::of(&grant);
    match request.gate.revocations.admits_grant(&facts, request.gate.clock.now()) {
        Ok(true) => serve::serve(request, grant, wants.activity).await,
        Ok(false) => {
            refresh::end_revoked(request, &grant).await;
            Err(Box::new(NotInSession::over(request, &grant, SessionEnd::Revoked)))
        }
        Err(denial) => Err(Box::new(NotInSession::of(&grant, denial))),
    }
}

/// Opens the cookie, if this request may use it.
fn presented(request: ClientRequest<'_>, signs_in: bool) -> Result<Grant, Box<NotInSession>> {
    let none = |brought| NotInSession::before_opening(Denial::NotSignedIn { ended: None }, brought);
    let refused = |denial| Box::new(NotInSession::before_opening(denial, true));
    let headers = request.head.headers;
    if cookie::read(headers, &request.client.cookie.name).map_err(refused)?.is_none() {
        return Err(Box::new(none(false)));
    }
    may_use(request, signs_in).map_err(refused)?;
    let grant = session_cookie::read(request.live, request.client, headers).map_err(refused)?;
    grant.ok_or_else(|| Box::new(none(true)))
}

/// # Errors
/// As [`may_use_session`].
fn may_use(request: ClientRequest<'_>, signs_in: bool) -> Result<(), Denial> {
    let mode = request.client.session.as_ref().ok_or(Denial::Internal)?;
    let asked = SessionUse {
        method: request.head.method,
        headers: request.head.headers,
        upgrades: request.head.upgrades,
        signs_in,
    };
    let own = request.head.asked_at(&request.live.settings.public_url);
    let SessionMode { csrf_header, csrf, .. } = mode;
    may_use_session(asked, Pages { listed: &request.client.origins, own, csrf_header, csrf: *csrf })
}

/// How long after an exchange the tokens of the generation before may still be asked for.
fn grace(live: &Live) -> Duration {
    live.settings.sessions.grace
}

/// Whether a session's next cookie may go out with the answer to its request.
pub async fn may_leave(gate: &Gate, ride: &Ride) -> bool {
    let known = gate.sessions.family(ride.family);
    let is_over = ride.generation.is_some() && known.as_ref().is_some_and(|known| known.is_over());
    match ride.may_leave(known.map(|known| known.newest()), gate.clock.now()) {
        MayLeave::Yes => !is_over,
        MayLeave::IfNewest(generation) if !is_over => {
            let found = timeout(WAIT_FOR_NEWEST, look(&*gate.store, ride.family)).await;
            let family = found.ok().and_then(Result::ok).flatten();
            family.is_some_and(|family| family.over().is_none() && family.latest() == generation)
        }
        MayLeave::IfNewest(_) | MayLeave::No => false,
    }
}

/// The claims of an ID token that was verified when it came from the token endpoint.
type Claims = Map<String, Value>;
