//! Adds the access tokens that a session handed out to the list of revocations, one by one, because a token
//! need not say which session it came from. Adds the session itself, too, if it was stolen or if not all that
//! it handed out is known: replicas would otherwise go on serving its cookie by an access token in their
//! memory.
//!
//! Usually nobody waits for that. One errand a session writes all that is left, for as long as the list
//! cannot be written. A replayed cookie during an outage adds to that errand and starts no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RETRY, hold};
use crate::core::ids::FamilyId;
use crate::core::revocation::{Change, Revocation, Rule, Target};
use crate::core::session::exchange::Issued;
use crate::core::session::grant::Grant;
use crate::core::time::Timestamp;
use crate::core::token::id::TokenId;
use crate::flows::Gate;
use crate::flows::ports::StoreFault;
use crate::state::backlog::Turn;
use crate::state::live::Live;

/// The most entries written in one call, so that after a long outage no call takes longer than its deadline.
const NAMED_AT_ONCE: usize = 1000;

/// What is still to be added to the list for one session.
#[derive(Debug, Default)]
pub struct Unnamed {
    /// The session itself.
    session: Option<Revocation>,
    /// The access tokens that it handed out.
    issued: BTreeMap<TokenId, Issued>,
}

impl Unnamed {
    fn of(session: Option<Revocation>, issued: &[Issued]) -> Self {
        Self { session, issued: issued.iter().map(|token| (token.id, *token)).collect() }
    }

    fn join(&mut self, mut new: Self) {
        self.session = new.session.or(self.session.take());
        self.issued.append(&mut new.issued);
    }

    /// Writes what is left, in pieces; what was written is not written again. Tokens that have expired
    /// meanwhile are left out.
    async fn write(&mut self, gate: &Gate) -> Result<(), StoreFault> {
        let now = gate.clock.now();
        self.issued.retain(|_, token| now < token.known_until());
        while self.session.is_some() || !self.issued.is_empty() {
            let piece: Vec<_> = self.issued.values().take(NAMED_AT_ONCE).copied().collect();
            let issued = piece.iter().map(|token| change_of(token, now));
            let changes: Vec<_> = self.session.iter().cloned().map(Change::Add).chain(issued).collect();
            match gate.revocation_log.append(&changes).await {
                // Durable is enough: nobody waits for this replica to know it.
                Ok(()) | Err(StoreFault::NotHereYet) => {}
                Err(fault) => return Err(fault),
            }
            self.session = None;
            for token in piece {
                self.issued.remove(&token.id);
            }
        }
        Ok(())
    }
}

/// Adds the access tokens that a session handed out to the list, except those that are there.
///
/// # Errors
/// The list cannot be written now.
pub(in crate::flows) async fn name_tokens(gate: &Gate, issued: &[Issued]) -> Result<(), StoreFault> {
    let now = gate.clock.now();
    let changes: Vec<_> = unnamed(gate, issued, now).map(|token| change_of(token, now)).collect();
    if changes.is_empty() { Ok(()) } else { gate.revocation_log.append(&changes).await }
}

fn unnamed<'i>(gate: &'i Gate, issued: &'i [Issued], now: Timestamp) -> impl Iterator<Item = &'i Issued> {
    let is_named = move |token: &Issued| gate.revocations.names_token(token.id, now);
    issued.iter().filter(move |token| now < token.known_until() && !is_named(token))
}

fn change_of(token: &Issued, now: Timestamp) -> Change {
    Change::Add(Revocation {
        until: Some(token.known_until()),
        ..Revocation::new(Target::token(token.id), Rule::Outright, now)
    })
}

/// Adds a stolen session to the list, with the access tokens that it handed out.
pub(in crate::flows) fn name_session(gate: &Arc<Gate>, live: &Live, grant: &Grant, issued: &[Issued]) {
    let session = session_entry(gate, live, grant.family, "a spent session cookie was presented");
    name_in_background(gate, grant.family, Unnamed::of(Some(session), issued));
}

/// Adds a signed-out session to the list, because not all that it handed out is known.
///
/// # Errors
/// The list cannot be written now.
pub(in crate::flows) async fn name_signed_out(
    gate: &Gate,
    live: &Live,
    family: FamilyId,
) -> Result<(), StoreFault> {
    if gate.revocations.names_family(family, gate.clock.now()) {
        return Ok(());
    }
    let entry = session_entry(gate, live, family, "signed out, and the store had lost what it handed out");
    gate.revocation_log.append(&[Change::Add(entry)]).await
}

fn session_entry(gate: &Gate, live: &Live, family: FamilyId, reason: &str) -> Revocation {
    let (target, now) = (Target::family(family), gate.clock.now());
    Revocation {
        until: Some(hold(live, &target).ends(now)),
        reason: Some(reason.to_owned()),
        ..Revocation::new(target, Rule::Outright, now)
    }
}

/// Adds, in the background, access tokens of a session that has ended or has no room for them in its record,
/// except those that are in the list.
pub(in crate::flows) fn name_tokens_in_background(gate: &Arc<Gate>, family: FamilyId, issued: &[Issued]) {
    let left: Vec<_> = unnamed(gate, issued, gate.clock.now()).copied().collect();
    if !left.is_empty() {
        name_in_background(gate, family, Unnamed::of(None, &left));
    }
}

fn name_in_background(gate: &Arc<Gate>, family: FamilyId, new: Unnamed) {
    if let Some(turn) = gate.unnamed.leave(family, new, Unnamed::join) {
        let late = Arc::clone(gate);
        gate.errands.spawn(async move { write(&late, turn).await });
    }
}

/// Writes what is left for a session, for as long as the list cannot be written. Nobody waits: the session is
/// over already.
async fn write(gate: &Gate, mut turn: Turn<FamilyId, Unnamed>) {
    while let Some(mut left) = turn.take() {
        let mut pause = RETRY.first;
        while let Err(fault) = left.write(gate).await {
            tracing::error!(family = %turn.of(), %fault, "what a session handed out could not be revoked yet");
            tokio::time::sleep(pause).await;
            pause = RETRY.after(pause);
            if let Some(new) = turn.came() {
                left.join(new);
            }
        }
    }
}
