//! How often addresses were denied lately, in bounded memory. Each address is counted by itself: nobody pays
//! for another, however many there are. When there are too many, those that were denied least often and
//! longest ago are forgotten; counting does not hold back somebody who has that many addresses.

use quick_cache::sync::{Cache, EntryAction, EntryResult};
use std::time::Duration;

use crate::core::address::ClientNetwork;
use crate::core::allowance::{Allowance, Debt};
use crate::core::time::Timestamp;

/// The most addresses that are counted at once: about 6 MB.
const ADDRESSES: usize = 64 * 1024;

/// What addresses owe for their denials.
#[derive(Debug)]
pub struct Denials(Cache<ClientNetwork, Debt>);

impl Default for Denials {
    fn default() -> Self {
        Self(Cache::new(ADDRESSES))
    }
}

impl Denials {
    /// One more denial of this address.
    pub fn note(&self, whose: ClientNetwork, allowance: Allowance, now: Timestamp) {
        let known = self.0.entry(&whose, None, |_, debt| {
            *debt = debt.with_one_more(allowance, now);
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(place) = known {
            let _ = place.insert(Debt::none(now).with_one_more(allowance, now));
        }
    }

    /// How long no work is done for this address; `None`: it is done now.
    pub fn wait(&self, whose: ClientNetwork, allowance: Allowance, now: Timestamp) -> Option<Duration> {
        self.0.get(&whose)?.wait(allowance, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const THREE: Allowance = Allowance { most: 3, window: Duration::from_secs(60) };

    #[test]
    fn each_address_is_counted_by_itself_however_many_there_are() {
        let denials = Denials::default();
        for _ in 0..3 {
            denials.note(ClientNetwork::V4(1), THREE, NOW);
        }
        assert!(denials.wait(ClientNetwork::V4(1), THREE, NOW).is_some());
        for other in 0..150_000 {
            denials.note(ClientNetwork::V6(other), THREE, NOW);
            denials.note(ClientNetwork::V6(other), THREE, NOW);
            if other % 1000 == 0 {
                denials.note(ClientNetwork::V4(1), THREE, NOW);
                assert!(
                    denials.wait(ClientNetwork::V4(1), THREE, NOW).is_some(),
                    "a busy one is not forgotten"
                );
            }
        }
        assert!((0..150_000).all(|other| denials.wait(ClientNetwork::V6(other), THREE, NOW).is_none()));
        assert!(denials.0.len() <= ADDRESSES);
    }

    #[test]
    fn no_denial_is_lost_when_many_come_at_once() {
        let (denials, many) = (Denials::default(), Allowance { most: 8000, window: Duration::from_secs(60) });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| denials.note(ClientNetwork::V4(1), many, NOW)));
            }
        });
        let fewer = Allowance { most: 7999, ..many };
        let debt = denials.0.get(&ClientNetwork::V4(1)).unwrap();
        assert!(debt.wait(many, NOW).is_some() && debt.wait(fewer, NOW).is_some());
    }
}
