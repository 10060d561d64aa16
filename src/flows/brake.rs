//! An address that was denied too often (`limits.denials_per_address`) gets no more work done: no token that
//! was never seen is judged for it, no code exchanged. Whatever needs no work is answered as ever: a token
//! that was found good lately, a session's cookie, a public page. So whoever shares an address with an attacker
//! goes on.
//!
//! What counts is said by [`counts`]. That a request was refused here does not count:
//! it cost nothing.
//!
//! Denials that a route only reports count apart, as often, and only on such routes: a trial keeps nobody from anything
//! elsewhere, and is no way around the brake to the signatures and the authorization server that all routes share.

use std::net::IpAddr;

use crate::core::address::Whose;
use crate::core::brake::{Allowance, counts};
use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::fingerprint::Fingerprint;
use crate::flows::Gate;
use crate::state::denials::Denials;
use crate::state::known_tokens::KnownTokens;
use crate::state::live::Live;

/// What is remembered for it.
#[derive(Debug, Default)]
pub struct Brake {
    denials: Denials,
    reported: Denials,
    known_tokens: KnownTokens,
}

/// Before anything is done for a token. `only_reports`: the route refuses nobody, and whoever had too many reports there is
/// one more.
///
/// # Errors
/// [`Denial::TooManyDenials`]
pub(in crate::flows) fn before_token(
    gate: &Gate,
    live: &Live,
    token: Fingerprint,
    address: IpAddr,
    only_reports: bool,
    now: Timestamp,
) -> Result<(), Denial> {
    let mut braked = before_work(gate, live, address, now);
    if only_reports && braked.is_ok() {
        braked = wait(&gate.brake.reported, live, address, true, now);
    }
    braked.or_else(|denial| if gate.brake.known_tokens.knows(token) { Ok(()) } else { Err(denial) })
}

/// Before work for somebody who has not proven anything yet.
///
/// # Errors
/// [`Denial::TooManyDenials`]
pub(in crate::flows) fn before_work(
    gate: &Gate,
    live: &Live,
    address: IpAddr,
    now: Timestamp,
) -> Result<(), Denial> {
    wait(&gate.brake.denials, live, address, false, now)
}

fn wait(
    denials: &Denials,
    live: &Live,
    address: IpAddr,
    only_reported: bool,
    now: Timestamp,
) -> Result<(), Denial> {
    let Some(allowance) = allowance(live) else { return Ok(()) };
    match denials.wait(Whose::from(address), allowance, now) {
        None => Ok(()),
        Some(retry_after) => Err(Denial::TooManyDenials { retry_after, only_reported }),
    }
}

/// This token was found good.
pub(in crate::flows) fn remember(gate: &Gate, live: &Live, token: Fingerprint) {
    if allowance(live).is_some() {
        gate.brake.known_tokens.remember(token);
    }
}

/// A request was refused. Every refusal, of whatever kind, comes through here once.
pub fn note(gate: &Gate, live: &Live, address: IpAddr, denial: &Denial) {
    note_in(&gate.brake.denials, gate, live, address, denial);
}

/// A request would have been refused, but its route only reports that.
pub fn note_reported(gate: &Gate, live: &Live, address: IpAddr, denial: &Denial) {
    note_in(&gate.brake.reported, gate, live, address, denial);
}

fn note_in(denials: &Denials, gate: &Gate, live: &Live, address: IpAddr, denial: &Denial) {
    if counts(denial)
        && let Some(allowance) = allowance(live)
    {
        denials.note(Whose::from(address), allowance, gate.clock.now());
    }
}

fn allowance(live: &Live) -> Option<Allowance> {
    live.settings.limits.denials_per_address.map(|(most, window)| Allowance { most, window })
}
