//! Why an honest browser may be signed out, or a replaced refresh token be sent again: what happened that
//! nobody can make up for. It is good for the generations that it concerned and no longer: once the browser
//! has a later one, and nothing of the others is under way, all must be as if nothing had happened.

use tollgate::core::session::exchange::FlightId;
use tollgate::core::session::grant::Generation;

use super::World;
use crate::events::{Change, Event};

#[derive(Clone, Copy, Debug)]
pub(super) struct Excuse {
    /// For whoever reads of a failure.
    #[allow(dead_code)]
    why: &'static str,
    /// The generation with which the browser is over it.
    until: Generation,
}

impl World {
    /// `of`: the newest generation that it concerns.
    pub(super) fn is_excused(&mut self, why: &'static str, of: Generation) {
        let until = self.excuse.map_or(0, |known| known.until).max(of + 1);
        self.excuse = Some(Excuse { why, until });
    }

    /// The same for what a flight should have brought.
    pub(super) fn is_excused_by_loss(&mut self, why: &'static str, flight: FlightId) {
        self.is_excused(why, self.flights[&flight].grant.generation);
    }

    /// Forgets an excuse that is used up.
    pub(super) fn looks_at_excuse(&mut self) {
        let Some(Excuse { until, .. }) = self.excuse else { return };
        // A server that has ended the session says so whenever it is asked next.
        if self.as_revoked || self.jar.generation < until {
            return;
        }
        if !self.asks(until) && !self.flies(until) {
            self.excuse = None;
            self.count("excuse used up");
        }
    }

    /// It costs nobody the session whose browser has the newest cookie, while no exchange is under way.
    pub(super) fn store_is_lost(&mut self) {
        let newest = self.given.last().expect("the first").generation;
        if self.jar.generation < newest || self.asks(newest) || self.flies(newest + 1) {
            self.is_excused("the store was lost", newest);
        } else {
            self.count("store lost without an excuse");
        }
    }

    /// Whether a request is under way with a generation before this one.
    fn asks(&self, before: Generation) -> bool {
        self.requests.values().any(|asked| asked.grant.generation < before)
    }

    /// Whether a generation before this one is being exchanged.
    fn flies(&self, before: Generation) -> bool {
        let flies = |flight: FlightId| {
            self.flights.get(&flight).is_some_and(|flying| flying.grant.generation < before)
        };
        self.queue.values().any(|event| flight_of(event).is_some_and(flies))
    }
}

/// The flight that goes on with this.
fn flight_of(event: &Event) -> Option<FlightId> {
    match event {
        Event::PostLeaves(flight) | Event::AsWorks(flight) | Event::AsAnswers(flight, _) => Some(*flight),
        Event::Read(_, change) | Event::Acted(_, change, _) | Event::Put { change, .. } => match change {
            Change::Sends(flight) | Change::Land(flight) | Change::Ended(flight) => Some(*flight),
            _ => None,
        },
        _ => None,
    }
}
