//! What addresses owe for what they did lately, in bounded memory. Each address is counted by itself: nobody
//! pays for another, however many there are. When there are too many, those that did it least often and
//! longest ago are forgotten; counting does not hold back somebody who has that many addresses.

use quick_cache::sync::{Cache, EntryAction, EntryResult};
use std::time::Duration;

use crate::core::address::ClientNetwork;
use crate::core::allowance::{Allowance, Debt};
use crate::core::time::Timestamp;

/// The most addresses that are counted at once: about 6 MB.
const ADDRESSES: usize = 64 * 1024;

/// What addresses owe for one kind of thing.
#[derive(Debug)]
pub struct Debts(Cache<ClientNetwork, Debt>);

impl Default for Debts {
    fn default() -> Self {
        Self(Cache::new(ADDRESSES))
    }
}

impl Debts {
    /// One more of this address, whatever it owes.
    pub fn note(&self, whose: ClientNetwork, allowance: Allowance, now: Timestamp) {
        let known = self.0.entry(&whose, None, |_, debt| {
            *debt = debt.with_one_more(allowance, now);
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(place) = known {
            let _ = place.insert(Debt::none(now).with_one_more(allowance, now));
        }
    }

    /// One more of this address, where that is allowed. After how long it is where it is not: then it does
    /// not count.
    pub fn take(&self, whose: ClientNetwork, allowance: Allowance, now: Timestamp) -> Option<Duration> {
        let known = self.0.entry(&whose, None, |_, debt| {
            // A larger window may have been configured before.
            *debt = debt.within(allowance, now);
            let wait = debt.wait(allowance, now);
            if wait.is_none() {
                *debt = debt.with_one_more(allowance, now);
            }
            EntryAction::Retain(wait)
        });
        match known {
            EntryResult::Retained(wait) => wait,
            EntryResult::Vacant(place) => {
                let _ = place.insert(Debt::none(now).with_one_more(allowance, now));
                None
            }
            _ => None,
        }
    }

    /// After how long this address is allowed one more; `None`: now.
    pub fn wait(&self, whose: ClientNetwork, allowance: Allowance, now: Timestamp) -> Option<Duration> {
        self.0.get(&whose)?.wait(allowance, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const THREE: Allowance = Allowance { most: 3, window: MINUTE };
    const SIXTY: Allowance = Allowance { most: 60, window: MINUTE };

    #[test]
    fn each_address_is_counted_by_itself_however_many_there_are() {
        let denials = Debts::default();
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
    fn no_address_is_refused_for_what_others_ask_however_many_there_are() {
        let (requests, busy) = (Debts::default(), ClientNetwork::V4(1));
        let mut served = 0;
        for other in 0..150_000 {
            for _ in 0..2 {
                assert_eq!(requests.take(ClientNetwork::V6(other), SIXTY, NOW), None, "{other}");
            }
            if other % 1000 == 0 {
                served += u32::from(requests.take(busy, SIXTY, NOW).is_none());
            }
        }
        assert_eq!(served, 60, "and the 61st of one address is refused");
        assert!(requests.0.len() <= ADDRESSES);
    }

    #[test]
    fn what_is_refused_is_not_owed_for() {
        let (requests, whose) = (Debts::default(), ClientNetwork::V4(1));
        let at = |seconds| NOW.plus(Duration::from_secs(seconds));
        assert!((0..3).all(|_| requests.take(whose, THREE, NOW).is_none()));
        for second in 0..20 {
            let wait = Some(Duration::from_secs(20 - second));
            assert_eq!(requests.take(whose, THREE, at(second)), wait);
        }
        assert_eq!(requests.take(whose, THREE, at(20)), None, "one of three in a minute after 20 seconds");
        assert!(requests.take(whose, THREE, at(20)).is_some(), "and no more");
        assert_eq!(requests.take(ClientNetwork::V4(2), THREE, NOW), None);
    }

    #[test]
    fn nothing_is_lost_when_much_comes_at_once() {
        let all = Allowance { most: 8000, window: MINUTE };
        let fewer = Allowance { most: 7999, ..all };
        let (denials, requests, whose) = (Debts::default(), Debts::default(), ClientNetwork::V4(1));
        let served = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        denials.note(whose, all, NOW);
                        let is_served = requests.take(whose, fewer, NOW).is_none();
                        served.fetch_add(is_served.into(), std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        let debt = denials.0.get(&whose).unwrap();
        assert!(debt.wait(all, NOW).is_some() && debt.wait(fewer, NOW).is_some());
        assert_eq!(served.into_inner(), 7999);
    }

    #[test]
    fn a_reload_that_gives_more_is_felt_at_once() {
        let (requests, address) = (Debts::default(), ClientNetwork::V4(1));
        let an_hour = Allowance { most: 3, window: 60 * MINUTE };
        for _ in 0..3 {
            assert_eq!(requests.take(address, an_hour, NOW), None);
        }
        assert_eq!(requests.take(address, an_hour, NOW), Some(20 * MINUTE));
        assert_eq!(requests.take(address, THREE, NOW), Some(MINUTE / 3), "one share of the new window");
    }
}
