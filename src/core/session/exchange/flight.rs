//! The flight of a family that is under way: what waits for it, whether it lives, and that it is given up.

use super::FlightId;
use super::family::Family;

impl Family {
    /// Whether a request that waits for this flight is a use of the session, not only a poll. A request that
    /// joins later has to check whether the answer counts as use, and else to present again.
    pub fn is_used(&self, flight: FlightId) -> bool {
        self.flight.as_ref().is_some_and(|under_way| under_way.id == flight && under_way.used)
    }

    /// Notes that the request of a flight is about to be sent to the AS. Returns whether it is still the one
    /// under way; if not, nothing may be sent.
    pub fn begin_sending(&mut self, flight: FlightId) -> bool {
        let under_way = self.flight.as_mut().filter(|under_way| under_way.id == flight);
        under_way.map(|flight| flight.sent = true).is_some() && self.beat(flight)
    }

    /// Whether the request of a flight may have reached the AS, which may then have replaced the refresh
    /// token.
    pub fn is_sent(&self, flight: FlightId) -> bool {
        self.flight.as_ref().is_some_and(|under_way| under_way.id == flight && under_way.sent)
    }

    /// Counts up the heartbeat of a flight. Returns whether it is still the one under way.
    pub fn beat(&mut self, flight: FlightId) -> bool {
        let under_way = self.flight.as_mut().filter(|under_way| under_way.id == flight);
        under_way.map(|flight| flight.beat = flight.beat.wrapping_add(1)).is_some()
    }

    /// The heartbeat of a flight; `None`: it is not under way.
    pub fn beat_of(&self, flight: FlightId) -> Option<u64> {
        self.flight.as_ref().filter(|under_way| under_way.id == flight).map(|flight| flight.beat)
    }

    /// Forgets a flight that brought nothing, so that the next request begins another. Returns whether it was
    /// still the one under way.
    pub fn forget_flight(&mut self, flight: FlightId) -> bool {
        self.flight.take_if(|under_way| under_way.id == flight).is_some()
    }
}
