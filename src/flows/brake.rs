//! The brake: an address that was denied too often (`limits.denials_per_address`) gets no more work done.
//! Tokens not seen before are not judged for it, and codes are not exchanged. Whatever costs no work is
//! answered as always: a token that was valid lately, a session's cookie, a public page. So clients that
//! share an address with an attacker go on.
//!
//! Which denials count is said by [`counts`]. A refusal by the brake itself does not: it cost nothing.
//!
//! Two kinds of denials count apart, with the same limit, and brake only requests of their kind ([`Tally`]):
//! those that a route only reports, because a trial must not affect other routes; and those of pages that no
//! client lists, on routes whose upstream lets them send tokens (`cors: upstream`), because no page may shut
//! its visitor out. Neither is a way around the brake to the signatures and the authorization server that all
//! routes share.
//!
//! An address over `limits.requests_per_address` is refused every request until it is within the limit again.

use std::net::IpAddr;

use crate::core::address::ClientNetwork;
use crate::core::allowance::Allowance;
use crate::core::brake::{Tally, counts};
use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::fingerprint::Fingerprint;
use crate::flows::Gate;
use crate::state::debts::Debts;
use crate::state::known_tokens::KnownTokens;
use crate::state::live::Live;

/// The counts of all addresses.
#[derive(Debug, Default)]
pub struct Brake {
    requests: Debts,
    denials: Debts,
    reported: Debts,
    of_unlisted_pages: Debts,
    known_tokens: KnownTokens,
}

impl Brake {
    const fn by(&self, tally: Tally) -> &Debts {
        match tally {
            Tally::Everybody => &self.denials,
            Tally::Trial => &self.reported,
            Tally::UnlistedPage => &self.of_unlisted_pages,
        }
    }
}

/// Counts a request, before anything else is done for it.
///
/// # Errors
/// [`Denial::TooManyRequests`] when it exceeds the limit; it is not counted then.
pub fn count_request(gate: &Gate, live: &Live, address: IpAddr) -> Result<(), Denial> {
    let Some((most, window)) = live.settings.limits.requests_per_address else { return Ok(()) };
    let (whose, allowance) = (ClientNetwork::from(address), Allowance { most, window });
    match gate.brake.requests.take(whose, allowance, gate.clock.now()) {
        None => Ok(()),
        Some(retry_after) => Err(Denial::TooManyRequests { retry_after }),
    }
}

/// Checks the brake before a token is judged, unless the token was valid lately. An address that is braked
/// for everybody is braked for the other tallies, too.
///
/// # Errors
/// [`Denial::TooManyDenials`]
pub(in crate::flows) fn before_token(
    gate: &Gate,
    live: &Live,
    token: Fingerprint,
    address: IpAddr,
    tally: Tally,
    now: Timestamp,
) -> Result<(), Denial> {
    let mut braked = before_work(gate, live, address, now);
    if tally != Tally::Everybody && braked.is_ok() {
        braked = wait(gate, live, address, tally, now);
    }
    braked.or_else(|denial| if gate.brake.known_tokens.knows(token) { Ok(()) } else { Err(denial) })
}

/// Checks the brake before work for a client that has proven nothing yet.
///
/// # Errors
/// [`Denial::TooManyDenials`]
pub(in crate::flows) fn before_work(
    gate: &Gate,
    live: &Live,
    address: IpAddr,
    now: Timestamp,
) -> Result<(), Denial> {
    wait(gate, live, address, Tally::Everybody, now)
}

fn wait(gate: &Gate, live: &Live, address: IpAddr, tally: Tally, now: Timestamp) -> Result<(), Denial> {
    let Some(allowance) = allowance(live) else { return Ok(()) };
    match gate.brake.by(tally).wait(ClientNetwork::from(address), allowance, now) {
        None => Ok(()),
        Some(retry_after) => {
            Err(Denial::TooManyDenials { retry_after, only_reported: tally == Tally::Trial })
        }
    }
}

/// Remembers that a token was valid.
pub(in crate::flows) fn remember(gate: &Gate, live: &Live, token: Fingerprint) {
    if allowance(live).is_some() {
        gate.brake.known_tokens.remember(token);
    }
}

/// Counts a refusal, or what a route with `report_only` would have refused. Called once for every refusal.
pub fn note(gate: &Gate, live: &Live, address: IpAddr, denial: &Denial, tally: Tally) {
    if counts(denial)
        && let Some(allowance) = allowance(live)
    {
        gate.brake.by(tally).note(ClientNetwork::from(address), allowance, gate.clock.now());
    }
}

fn allowance(live: &Live) -> Option<Allowance> {
    live.settings.limits.denials_per_address.map(|(most, window)| Allowance { most, window })
}
