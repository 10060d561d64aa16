//! Access that is taken back ends what is under way, too: a WebSocket, a feed, a download, a question whose answer is
//! long in coming. And what lasts ends with its token, unless its session has got another one for the same person that the
//! route takes as well.
//!
//! All of them are asked a few times a second, from memory alone. It must never let go on whom `admit` would refuse for
//! what was taken back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::route::permit::Permit;
use crate::core::route::policy::judge;
use crate::core::time::Timestamp;
use crate::core::token::verified::VerifiedToken;
use crate::flows::Gate;
use crate::flows::exchange::receipts;
use crate::state::open_requests::{Ending, Holds, Lasting, OfSession, OpenRequest};

/// How often they are asked: a revocation holds within a second.
const LOOK: Duration = Duration::from_millis(250);
/// What has just begun does not end for its token's age at once: an answer of an instant should not be cut off.
const AT_LEAST: Duration = Duration::from_millis(500);
/// Every so many looks it is forgotten of which sessions nothing lasts any more.
const SWEEP: u32 = 40;

/// Ends what may not go on, until it is told to stop.
pub async fn watch_open_requests(gate: Arc<Gate>, mut stopped: watch::Receiver<bool>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = SWEEP;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            // An error says that the sender is gone.
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        look(&gate);
        left = left.checked_sub(1).unwrap_or(SWEEP);
        if left == 0 {
            gate.open_requests.sweep();
        }
    }
}

pub(in crate::flows) fn look(gate: &Gate) {
    let now = gate.clock.now();
    for open in gate.open_requests.all() {
        if open.ending().is_none()
            && let Some(why) = ends(gate, &open, now)
        {
            gate.metrics.stream_ended(why);
            open.end(why);
        }
    }
}

/// The answer to a request begins, and goes on until somebody ends it.
pub fn lasts(gate: &Gate, open: &Arc<OpenRequest>, permit: &Permit) {
    let now = gate.clock.now();
    let until = end_of(open.token().token(), now).max(now.plus(AT_LEAST));
    open.lasts(permit.route().clone(), permit.path().clone(), until);
    let Some(lasting) = open.lasting() else { return };
    if let Some(session) = open.session() {
        return gate.open_requests.belongs(lasting, session.family);
    }
    let Some(id) = open.token().marks().map(|marks| marks.id) else { return };
    let (store, requests, open) = (gate.store.clone(), gate.open_requests.clone(), Arc::downgrade(open));
    gate.errands.spawn(async move {
        let family = receipts::family_of(&*store, id).await;
        if let (Some((family, _)), Some(open)) = (family, open.upgrade())
            && let Some(lasting) = open.lasting()
        {
            requests.belongs(lasting, family);
        }
    });
}

/// When what goes on by this token ends: with the token; what began when that was over by this clock, where the token is
/// refused.
fn end_of(token: &VerifiedToken, now: Timestamp) -> Timestamp {
    if now < token.expires_at() { token.expires_at() } else { token.good_until() }
}

/// Why it may not go on, if it may not.
fn ends(gate: &Gate, open: &OpenRequest, now: Timestamp) -> Option<Ending> {
    let taken_back = was_taken_back(gate, &open.token(), open.session(), now);
    let lasting = open.lasting();
    match taken_back {
        Ok(true) => return Some(Ending::Revoked),
        Err(_) if lasting.is_some() => return Some(Ending::RevocationsUnavailable),
        // What has its end in itself is not cut off for a doubt.
        Ok(false) | Err(_) => {}
    }
    if open.session().is_some_and(|session| is_over(gate, session, lasting.is_some(), now)) {
        return Some(Ending::SessionOver);
    }
    let lasting = lasting.filter(|lasting| lasting.holds().until <= now)?;
    match another(gate, open, lasting, now) {
        Some(token) => {
            let until = end_of(token.token(), now);
            lasting.goes_on(Holds { token, until });
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

/// Whether its session is over. Time alone ends only what `lasts`.
fn is_over(gate: &Gate, session: &OfSession, lasts: bool, now: Timestamp) -> bool {
    let known = gate.sessions.family(session.family);
    let used_at = known.as_ref().map_or(session.last_used_at, |known| known.used_at());
    let last_used_at = session.last_used_at.max(used_at);
    let timed_out = || session.timeouts.ended(session.signed_in_at, last_used_at, now).is_some();
    known.is_some_and(|known| known.is_over()) || (lasts && timed_out())
}

/// Another token of the same session, for the same person, by which the route would let them in now.
fn another(gate: &Gate, open: &OpenRequest, lasting: &Lasting, now: Timestamp) -> Option<Arc<Caller>> {
    let before = open.token();
    let subject = before.token().subject()?;
    lasting.tokens().into_iter().find(|other| {
        let token = other.token();
        now < token.expires_at()
            && token.issuer() == before.token().issuer()
            && token.subject() == Some(subject)
            && judge(&lasting.route, &lasting.path, Some(other.facts()), now).is_ok()
            && was_taken_back(gate, other, None, now) == Ok(false)
    })
}
