//! Requests of a client in `session` mode: its pages hold a cookie alone, and the gateway has their tokens.
//!
//! In order: is there one cookie, may this request use it (CSRF), does it open, was the session taken back,
//! has it timed out. Then its access token is verified like any other, and exchanged where it ends: the next
//! cookie rides on the answer of the same request. After a session's first request on this replica only
//! memory is read, except for an exchange.
//!
//! An outage never ends a session and never clears its cookie; while its access token is good, neither does
//! it fail a request. What is not known to be a request of one of the client's pages reaches neither store
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

/// What a session cookie adds to the answer and to the line of the log, beside the judgement.
#[derive(Debug, Default)]
pub struct SessionSide {
    /// The request had a session cookie, valid or not.
    pub brought_cookie: bool,
    pub family: Option<FamilyId>,
    /// The subject of the session, where no token says it.
    pub subject: Option<String>,
    /// What the request was admitted by, for as long as it is open.
    pub let_in: Option<Box<OfSession>>,
    /// Goes out with the answer.
    pub ride: Option<Ride>,
}

impl OfSession {
    /// `token`: what the session's access token was found to be.
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

/// How long an answer waits for the store to say that its cookie is the newest.
const WAIT_FOR_NEWEST: Duration = Duration::from_secs(1);

/// The session that a request came with, found good.
#[derive(Debug)]
pub(in crate::flows) struct InSession {
    /// Whom upstreams are told of.
    pub caller: Arc<Caller>,
    /// What the access token was found to be.
    pub found: Arc<KnownCaller>,
    pub held: Arc<HeldTokens>,
    pub grant: Grant,
    pub ends_at: Timestamp,
    /// The next cookie, where there is one.
    pub ride: Option<Ride>,
}

/// Why a request is in no session, and what goes along with that.
#[derive(Debug)]
pub(in crate::flows) struct NotInSession {
    pub denial: Denial,
    /// Its ride takes the cookie away where the session is over; it is the next one where only its access
    /// token is of no use.
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

    /// The same with what goes out with the answer.
    fn with_ride(self, ride: Option<Ride>) -> Self {
        Self { side: SessionSide { ride, ..self.side }, ..self }
    }

    /// The session is over, for certain.
    fn over(request: ClientRequest<'_>, grant: &Grant, end: SessionEnd) -> Self {
        let until = request.gate.clock.now().plus(request.live.settings.sessions.grace);
        let clears = end.clears_cookie().then(|| session_cookie::clear(request.client)).flatten();
        let ride =
            clears.map(|set_cookie| Ride { set_cookie, family: grant.family, generation: None, until });
        Self::of(grant, Denial::NotSignedIn { ended: Some(end) }).with_ride(ride)
    }
}

/// What a request is in a session.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct Wants {
    /// The route is a page that signs in.
    pub signs_in: bool,
    pub activity: Activity,
}

/// The session of a request without another credential.
///
/// # Errors
/// Why it is in none.
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

/// The grant in the cookie, where this request may use it.
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

/// How long after their end the tokens of a generation may still be asked for.
fn grace(live: &Live) -> Duration {
    live.settings.sessions.grace
}

/// Whether a cookie that a request made necessary may go out with its answer.
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

/// The claims of an ID token that was judged when it came from the token endpoint.
type Claims = Map<String, Value>;
