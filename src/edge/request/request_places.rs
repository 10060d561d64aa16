//! The places of the requests under way: how many there are, and how many of them one client has. Each may
//! need a file towards its upstream, and one connection of HTTP/2 has many. A request takes its place once
//! its header is known to be one, and gives it back with its context, also where it is ended from outside.
//!
//! As long as fewer than a quarter of all places are taken, nobody asks whose they are, and it costs nothing.
//! From then on they are counted by address, and one address gets its share of them and no more. So one
//! address has at most that quarter and its share, and others the rest. Who was refused has no place: however
//! many those are, they keep nobody out.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use pingora_limits::inflight::{Guard, Inflight};

use crate::core::address::ClientNetwork;
use crate::core::denial::Denial;
use crate::core::forwarded::is_trusted;

/// The part of all places that is taken by whoever comes, and the least that is one address's share: a
/// quarter.
const PART: usize = 4;

/// All places.
pub(crate) struct RequestPlaces {
    taken: AtomicUsize,
    most: usize,
    most_of_one: usize,
    /// Those that are counted, in bounded memory, which is taken with the first. An address could be taken
    /// for a busier one where busy ones share each of its four counters, which nobody outside can foretell;
    /// at a share each there are three busy ones at most.
    of_each: OnceLock<Inflight>,
}

impl RequestPlaces {
    /// `connections_per_address`: with one request on each an address never has too many.
    pub(crate) fn new(most: usize, connections_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            most,
            most_of_one: connections_per_address.max(most / PART),
            of_each: OnceLock::new(),
        })
    }

    /// A place for a request of this client. An address of `but_for` stands for many, and so does none.
    ///
    /// # Errors
    /// [`Denial::Overloaded`] where all are taken, [`Denial::TooManyAtOnce`] where the client has its share
    /// of them.
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr, but_for: &[IpNet]) -> Result<RequestPlace, Denial> {
        let before = self.taken.fetch_add(1, Ordering::AcqRel);
        // It is given back where this is refused.
        let mut place = RequestPlace { all: self.clone(), _counted: None };
        if before < self.most / PART {
            return Ok(place);
        }
        if !client.is_unspecified() && !is_trusted(client, but_for) {
            let (counted, count) =
                self.of_each.get_or_init(Inflight::new).incr(ClientNetwork::from(client), 1);
            place._counted = Some(counted);
            if usize::try_from(count).is_ok_and(|count| count > self.most_of_one) {
                return Err(Denial::TooManyAtOnce);
            }
        }
        if before < self.most { Ok(place) } else { Err(Denial::Overloaded) }
    }
}

/// The place of one request.
pub(crate) struct RequestPlace {
    all: Arc<RequestPlaces>,
    /// Among those of its client, for as long as it is there.
    _counted: Option<Guard>,
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.all.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(places: &Arc<RequestPlaces>, client: &str) -> Result<RequestPlace, &'static str> {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        places.take(client.parse().unwrap(), &trusted).map_err(|denial| denial.facts().label)
    }

    /// So many more places as it gets.
    fn fill(places: &Arc<RequestPlaces>, client: &str) -> (Vec<RequestPlace>, &'static str) {
        let mut held = Vec::new();
        loop {
            match outcome(places, client) {
                Ok(place) => held.push(place),
                Err(why) => return (held, why),
            }
        }
    }

    #[test]
    fn one_address_has_the_first_quarter_and_its_share_and_others_have_the_rest() {
        let places = RequestPlaces::new(200, 40);
        let (held, why) = fill(&places, "192.0.2.1");
        assert_eq!((held.len(), why), (50 + 50, "too_many_at_once"));
        let (others, why) = fill(&places, "192.0.2.2");
        assert_eq!((others.len(), why), (50, "too_many_at_once"));
        let (rest, why) = fill(&places, "192.0.2.3");
        assert_eq!((rest.len(), why), (50, "too_many_at_once"), "all are taken, and all of its own");
        assert_eq!(outcome(&places, "192.0.2.4").err(), Some("overloaded"));
        drop(rest);
        assert!(outcome(&places, "192.0.2.4").is_ok());
        drop((held, others));
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
        assert_eq!(fill(&places, "192.0.2.2").0.len(), 100, "nothing is left behind");
    }

    #[test]
    fn whoever_keeps_to_one_request_a_connection_has_never_too_many() {
        let places = RequestPlaces::new(200, 150);
        assert_eq!(fill(&places, "192.0.2.1").0.len(), 200);
        assert_eq!(fill(&RequestPlaces::new(2, 1000), "192.0.2.1").0.len(), 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_trusted_proxies_and_unknown_ones_are_many() {
        let places = RequestPlaces::new(200, 40);
        let held: Vec<_> = fill(&places, "192.0.2.1").0;
        let (network, _) = fill(&places, "2001:db8::1");
        assert_eq!(network.len(), 50);
        assert!(outcome(&places, "2001:db8::2").is_err() && outcome(&places, "2001:db8:0:1::1").is_ok());
        drop(held);
        for many in ["10.1.2.3", "0.0.0.0"] {
            let (held, why) = fill(&places, many);
            assert_eq!((held.len(), why), (150, "overloaded"), "{many}");
        }
    }
}
