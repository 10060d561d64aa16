//! A session's end in its record: the family is over, and the refresh tokens and access tokens are named that
//! are to be revoked because of it.

use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::session::exchange::seal::Holder;
use crate::core::session::exchange::{Family, Issued, Successor};
use crate::core::session::grant::{Grant, Timeouts};
use crate::core::session_end::SessionEnd;
use std::sync::Arc;

use super::{name_tokens_in_background, reach};
use crate::flows::Gate;
use crate::flows::family::record::change_in;
use crate::flows::ports::Store;

/// What is left to do of a session that has ended.
pub(in crate::flows) struct Ended {
    /// Refresh tokens, at the AS: the presented one, and the newest where it may not have reached its
    /// browser.
    pub(in crate::flows) revoke: Vec<SecretString>,
    /// The access tokens that it handed out.
    pub(in crate::flows) issued: Vec<Issued>,
    /// Those may not be all: the store has lost what it knew of the session, or the latest of it.
    pub(in crate::flows) has_gap: bool,
    /// What else its person is called.
    pub(in crate::flows) other_name: Option<String>,
    /// Whether the store confirmed the end; it may have it all the same.
    pub(in crate::flows) is_stored: Result<(), Denial>,
}

/// Ends a family, known or not. The presented refresh token is to be revoked also when the session was over
/// before: nobody may have told the AS.
///
/// It is over once the store that replicas share says so. While memory stands in for that
/// (`on_outage: serve`) it ends there too, for this process and this outage, which is not enough to say so.
pub(in crate::flows) async fn end_family(
    gate: &Arc<Gate>,
    grant: &Grant,
    timeouts: Timeouts,
    end: SessionEnd,
) -> Ended {
    let mut ended = end_in(reach::shared(gate), gate, grant, timeouts, end).await;
    if ended.is_stored.is_err() && gate.store.shared().is_some() {
        let here = end_in(&*gate.store, gate, grant, timeouts, end).await;
        ended.revoke = here.revoke;
        // Of these the store that was away never hears.
        name_tokens_in_background(gate, grant.family, &here.issued);
    }
    let cookie_is_replaced = matches!(end, SessionEnd::SignedInAgain | SessionEnd::SignedInAsAnother);
    if (ended.is_stored.is_ok() || cookie_is_replaced)
        && let Some(known) = gate.sessions.family(grant.family)
    {
        // No cookie of it goes out any more, over the one of a newer sign-in perhaps. One of a session that
        // may go on must: its browser would be taken for a thief.
        known.mark_over();
    }
    ended
}

async fn end_in(store: &dyn Store, gate: &Gate, grant: &Grant, timeouts: Timeouts, end: SessionEnd) -> Ended {
    let (mut revoke, mut issued, mut has_gap) = (vec![grant.refresh_token.clone()], Vec::new(), false);
    let mut other_name = None;
    let is_stored = change_in(store, &*gate.clock, grant, timeouts, |family, _| {
        (issued, has_gap) = (family.issued().to_vec(), family.has_gap_by(grant));
        other_name = family.other_name().map(ToOwned::to_owned);
        let newest = family.successor().cloned();
        let before = family.refuse_and_mark(grant.generation).map(|(before, _)| before);
        family.end(end, Some(grant.generation));
        let revokes = end.revokes_tokens() && before.is_none_or(SessionEnd::revokes_tokens);
        revoke = if revokes { tokens_of(grant, newest.as_ref(), family) } else { Vec::new() };
    });
    let is_stored = is_stored.await;
    Ended { revoke, issued, has_gap, other_name, is_stored }
}

/// The refresh tokens of a family that has ended: the presented one, and the newest where it may not have
/// reached its browser and a way from the presented grant leads to it.
pub(in crate::flows) fn tokens_of(
    grant: &Grant,
    newest: Option<&Successor>,
    family: &Family,
) -> Vec<SecretString> {
    let open = |newest: &Successor| {
        Some(Holder::of(grant).newest(family, newest.generation, &newest.grant)?.refresh_token)
    };
    let presented = grant.refresh_token.clone();
    let newest = newest.and_then(open).filter(|newest| *newest != presented);
    std::iter::once(presented).chain(newest).collect()
}
