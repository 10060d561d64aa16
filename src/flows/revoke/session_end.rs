//! Ends a session in its record, and says which refresh tokens and access tokens are to be revoked with it.

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

/// What is left to do for a session that has ended.
pub(in crate::flows) struct Ended {
    /// The refresh tokens to revoke at the AS: the presented one, and the newest if it may not have reached
    /// its browser.
    pub(in crate::flows) revoke: Vec<SecretString>,
    /// The access tokens that it handed out.
    pub(in crate::flows) issued: Vec<Issued>,
    /// Whether those may not be all: the store once lost the session's record, or its latest version.
    pub(in crate::flows) has_gap: bool,
    /// Another name of its person.
    pub(in crate::flows) other_name: Option<String>,
    /// Whether the store confirmed the end; if not, it may still have it.
    pub(in crate::flows) is_stored: Result<(), Denial>,
}

/// Ends a family, whether the store knows it or not. The presented refresh token is to be revoked even if the
/// session was over before: perhaps nobody told the AS.
///
/// It is over once the shared store confirms it. If memory stands in for that store (`on_outage: serve`), the
/// session ends there too, for this process and this outage, but that is not a confirmation.
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
        // The shared store never learns of these.
        name_tokens_in_background(gate, grant.family, &here.issued);
    }
    let cookie_is_replaced = matches!(end, SessionEnd::SignedInAgain | SessionEnd::SignedInAsAnother);
    if (ended.is_stored.is_ok() || cookie_is_replaced)
        && let Some(known) = gate.sessions.family(grant.family)
    {
        // Its cookies go out no more: one might replace that of a newer sign-in. The cookie of a session that
        // may go on has to go out, or its browser would look like a thief.
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

/// The refresh tokens of an ended family: the presented one, and the newest if it may not have reached its
/// browser and can be reached from the presented grant.
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
