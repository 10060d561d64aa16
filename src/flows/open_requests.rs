//! Access that is taken back ends what is under way, too: a WebSocket, a feed, a download, a request whose
//! answer is long in coming. And what lasts ends with its token, unless its session has got another one for
//! the same person that the route takes as well.
//!
//! All are checked four times a second, from memory. A request that `admit` would now refuse for a revocation
//! must never be left running.
//!
//! Tested in `src/flows/tests/open_requests.rs`, against an authorization server of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::route::permit::Permit;
use crate::core::route::policy::judge;
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::core::token::facts::TokenFacts;
use crate::core::token::verified::VerifiedToken;
use crate::flows::Gate;
use crate::flows::exchange::receipts;
use crate::flows::family::record;
use crate::state::open_requests::{Ending, Holds, Lasting, OfSession, OpenRequest};
use crate::state::sessions::KnownFamily;

/// How often they are asked: a revocation holds within a second.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// What has just begun does not end for its token's age at once: an answer of an instant should not be cut
/// off.
const AT_LEAST: Duration = Duration::from_millis(500);
/// Every so many looks it is forgotten of which sessions nothing lasts any more.
const LOOKS_PER_SWEEP: u32 = 40;

/// Ends what may not go on, until it is told to stop.
pub async fn watch_open_requests(gate: Arc<Gate>, mut stopped: watch::Receiver<bool>) {
    let mut looks = interval(ASK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = LOOKS_PER_SWEEP;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            // An error says that the sender is gone.
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        look(&gate);
        left = left.checked_sub(1).unwrap_or(LOOKS_PER_SWEEP);
        if left == 0 {
            gate.open_requests.sweep();
        }
    }
}

pub(in crate::flows) fn look(gate: &Arc<Gate>) {
    let now = gate.clock.now();
    for open in gate.open_requests.all() {
        if open.ending().is_none()
            && let Some(why) = why_it_ends(gate, &open, now)
        {
            end(gate, &open, why);
        }
    }
}

fn end(gate: &Gate, open: &OpenRequest, why: Ending) {
    gate.metrics.stream_ended(why);
    open.end(why);
}

/// The answer to a request begins, and goes on until somebody ends it.
pub fn mark_lasting(gate: &Gate, open: &Arc<OpenRequest>, permit: &Permit) {
    let now = gate.clock.now();
    let until = end_of(open.token().token(), now).max(now.plus(AT_LEAST));
    open.mark_lasting(permit.route().clone(), permit.path().clone(), until);
    let Some(lasting) = open.lasting() else { return };
    let token = open.token();
    if let Some(family) = open.session().map(|session| session.family).or(token.family()) {
        return gate.open_requests.assign_to_session(lasting, family);
    }
    let Some(marks) = token.marks() else { return };
    let ids: Vec<_> = marks.noted_by().collect();
    let (store, requests, open) = (gate.store.clone(), gate.open_requests.clone(), Arc::downgrade(open));
    gate.errands.spawn(async move {
        for id in ids {
            let Ok(Some((family, _))) = receipts::family_of(&*store, id).await else { continue };
            let Some(open) = open.upgrade() else { return };
            open.token().set_family(family);
            if let Some(lasting) = open.lasting() {
                return requests.assign_to_session(lasting, family);
            }
        }
    });
}

/// When what goes on by this token ends: with the token; what began when that was over by this clock, where
/// the token is refused.
fn end_of(token: &VerifiedToken, now: Timestamp) -> Timestamp {
    if now < token.expires_at() { token.expires_at() } else { token.good_until() }
}

/// Why it may not go on, if it may not.
fn why_it_ends(gate: &Arc<Gate>, open: &Arc<OpenRequest>, now: Timestamp) -> Option<Ending> {
    let taken_back = was_taken_back(gate, &open.token(), open.session(), now);
    let lasting = open.lasting();
    match taken_back {
        Ok(true) => return Some(Ending::Revoked),
        Err(_) if lasting.is_some() => return Some(Ending::RevocationsUnavailable),
        // What has its end in itself is not cut off for a doubt.
        Ok(false) | Err(_) => {}
    }
    if let Some(session) = open.session()
        && is_over(gate, open, session, now)
    {
        return Some(Ending::SessionOver);
    }
    let lasting = lasting.filter(|lasting| lasting.holds().until <= now)?;
    match another(gate, open, lasting, now) {
        Some(token) => {
            let until = end_of(token.token(), now);
            lasting.continue_by(Holds { token, until });
            None
        }
        None => Some(Ending::Expired),
    }
}

/// # Errors
/// [`Denial::RevocationsUnavailable`]: that is not known.
fn was_taken_back(
    gate: &Gate,
    token: &Caller,
    session: Option<&OfSession>,
    now: Timestamp,
) -> Result<bool, Denial> {
    // Who was let in was asked for these before.
    let marks = token.marks().ok_or(Denial::RevocationsUnavailable)?;
    match gate.revocations.admit_token(marks, token.token().issued_at(), now) {
        Ok(()) => {}
        Err(Denial::Revoked) => return Ok(true),
        Err(denial) => return Err(denial),
    }
    let Some(session) = session else { return Ok(false) };
    let admitted = gate.revocations.admits_marked_grant(&session.marks, session.signed_in_at, now)?;
    Ok(!admitted)
}

/// Whether its session is over, as far as that is known here. Time alone ends only what lasts.
fn is_over(gate: &Arc<Gate>, open: &Arc<OpenRequest>, session: &OfSession, now: Timestamp) -> bool {
    let known = gate.sessions.family(session.family);
    if known.as_ref().is_some_and(|known| known.is_over()) {
        return true;
    }
    if open.lasting().is_none() {
        return false;
    }
    let used_at = known.map_or(session.last_used_at, |known| session.last_used_at.max(known.used_at()));
    match session.timeouts.ended(session.signed_in_at, used_at, now) {
        None => false,
        Some(SessionEnd::IdleTimeout) => {
            if !session.is_asked_about.swap(true, Ordering::Relaxed) {
                gate.errands.spawn(end_if_idle(gate.clone(), open.clone()));
            }
            false
        }
        Some(_) => true,
    }
}

/// Nobody used the session here for too long; another replica may have been asked.
async fn end_if_idle(gate: Arc<Gate>, open: Arc<OpenRequest>) {
    let Some(session) = open.session() else { return };
    let Ok(family) = record::look(&*gate.store, session.family).await else {
        // Asked again with the next look: an outage ends nothing.
        return session.is_asked_about.store(false, Ordering::Relaxed);
    };
    // An exchange is in the newest grant, other use beside it.
    let exchanged = family.as_ref().and_then(|family| Some(family.successor()?.last_used_at));
    let used_at = session.last_used_at.max(exchanged.unwrap_or(session.last_used_at));
    let used_at = family.as_ref().map_or(used_at, |family| family.last_use(used_at));
    let is_over = family.as_ref().is_some_and(|family| family.over().is_some());
    let newest = family.map_or(0, |family| family.latest());
    let known = gate.sessions.know(session.family, KnownFamily::new(newest, used_at, is_over));
    known.mark_noted(used_at);
    if is_over {
        known.mark_over();
    }
    let used_at = used_at.max(known.used_at());
    if is_over || session.timeouts.ended(session.signed_in_at, used_at, gate.clock.now()).is_some() {
        end(&gate, &open, Ending::SessionOver);
    }
    session.is_asked_about.store(false, Ordering::Relaxed);
}

/// Another token of the same session, for the same person, by which the route and the token's issuer, as they
/// are now, would let them in.
fn another(gate: &Gate, open: &OpenRequest, lasting: &Lasting, now: Timestamp) -> Option<Arc<Caller>> {
    let before = open.token();
    let subject = before.token().subject()?;
    let live = gate.live.load();
    let route = live.settings.routes.iter().find(|route| route.name == lasting.route.name)?;
    // Where the session says whose it is and not the token.
    let client = open.session().map(|session| session.client.client_id.as_str());
    let another = lasting.tokens().into_iter().find(|other| {
        let (token, facts) = (other.token(), other.facts());
        let facts = TokenFacts { client: facts.client.or(client), ..facts };
        now < token.expires_at()
            && token.issuer() == before.token().issuer()
            && other.is_good_by(&live.issuers)
            && token.subject() == Some(subject)
            // Who else has the session's tokens has not its key.
            && token.bound_to() == before.token().bound_to()
            && judge(route, &lasting.path, Some(facts), now).is_ok()
            && was_taken_back(gate, &**other, None, now) == Ok(false)
    })?;
    Some(another)
}
