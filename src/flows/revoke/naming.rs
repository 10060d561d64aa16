//! Puts the access tokens that a session handed out into the list of revocations, one by one: a token need
//! not say which session it came from. And the session itself where it was stolen, or where nobody knows all
//! that it handed out: replicas would go on serving its cookie by an access token that they have at hand.
//!
//! Mostly nobody waits for it: one errand a session writes all that is to be named, for as long as the list
//! cannot be written. A spent cookie that is presented over and over meanwhile adds to that errand and leaves
//! none of its own.

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

/// How many are named at once: a list that was away for long must not take as long for all of them as it has
/// for one call.
const NAMED_AT_ONCE: usize = 1000;

/// What of one session is to be named, and is not in the list yet.
#[derive(Debug, Default)]
pub struct Unnamed {
    /// Itself.
    session: Option<Revocation>,
    /// What it handed out.
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

    /// Tries to put it into the list, a piece at a time; what is there is left out when this is tried again.
    /// What has ended meanwhile need not be there.
    async fn write(&mut self, gate: &Gate) -> Result<(), StoreFault> {
        let now = gate.clock.now();
        self.issued.retain(|_, token| now < token.known_until());
        while self.session.is_some() || !self.issued.is_empty() {
            let piece: Vec<_> = self.issued.values().take(NAMED_AT_ONCE).copied().collect();
            let issued = piece.iter().map(|token| change_of(token, now));
            let changes: Vec<_> = self.session.iter().cloned().map(Change::Add).chain(issued).collect();
            match gate.revocation_log.append(&changes).await {
                // Written once is enough where nobody waits for it.
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

/// Names the access tokens that a session handed out, where the list does not name them yet.
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

/// Names a session that was stolen, and the access tokens that it handed out.
pub(in crate::flows) fn name_session(gate: &Arc<Gate>, live: &Live, grant: &Grant, issued: &[Issued]) {
    let session = session_entry(gate, live, grant.family, "a spent session cookie was presented");
    name_in_background(gate, grant.family, Unnamed::of(Some(session), issued));
}

/// Names a session that was signed out, and of which nobody knows all that it handed out.
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

/// Names the access tokens of a session that has ended, or for which it has no room, where the list does not
/// name them yet.
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

/// However long the list cannot be written: whoever ended the session does not wait, and it is over already.
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
