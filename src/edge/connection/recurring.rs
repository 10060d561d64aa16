//! What the requests of one connection share, so that each costs less: random bytes for ids, which cost
//! hardly more for several requests than for one, and what upstreams are told of a client that asks for the
//! same host again. Nothing is kept for a connection before its second request.
//!
//! It must never hand out the same bytes twice, nor reuse for one host what was made for another.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::core::forwarded::Told;
use crate::flows::ports::{self, Randomness};

/// Random bytes for the ids of one request.
type ForIds = [u8; 40];
/// How many requests they are made for at once. A connection that waits holds them.
const REQUESTS: usize = 6;

/// What recurs from request to request of one connection.
#[derive(Debug, Default)]
pub(crate) struct Recurring(Mutex<Requests>);

/// How many it had.
#[derive(Debug, Default)]
enum Requests {
    #[default]
    None,
    One,
    More(Box<Kept>),
}

#[derive(Debug)]
struct Kept {
    random: [ForIds; REQUESTS],
    /// How many of these, from the first on, were not given yet.
    left: usize,
    told: Option<Arc<Told>>,
}

impl Recurring {
    /// For the ids of the next request.
    pub(crate) fn random(&self, source: &dyn Randomness) -> ForIds {
        let mut requests = self.0.lock();
        match &mut *requests {
            Requests::None => *requests = Requests::One,
            Requests::One => {
                let mut kept = Kept { random: [[0; _]; REQUESTS], left: 0, told: None };
                let next = kept.next(source);
                *requests = Requests::More(Box::new(kept));
                return next;
            }
            Requests::More(kept) => return kept.next(source),
        }
        ports::random(source)
    }

    /// What is told of this peer, who is no trusted proxy, and asks for this host.
    pub(crate) fn told(&self, peer: IpAddr, host: &str, scheme: &'static str) -> Arc<Told> {
        let fresh = || Arc::new(Told::of_stranger(peer, host, scheme));
        let mut requests = self.0.lock();
        let Requests::More(kept) = &mut *requests else { return fresh() };
        match &kept.told {
            Some(told) if told.is_for(host, scheme) => told.clone(),
            _ => kept.told.insert(fresh()).clone(),
        }
    }
}

impl Kept {
    fn next(&mut self, source: &dyn Randomness) -> ForIds {
        if self.left == 0 {
            source.fill(self.random.as_flattened_mut());
            self.left = REQUESTS;
        }
        self.left = self.left.saturating_sub(1);
        self.random.get(self.left).copied().unwrap_or_else(|| ports::random(source))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    /// Counts, two bytes at a time.
    #[derive(Debug, Default)]
    struct Counts(AtomicU16);

    impl Randomness for Counts {
        fn fill(&self, bytes: &mut [u8]) {
            for pair in bytes.chunks_exact_mut(2) {
                pair.copy_from_slice(&self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1).to_be_bytes());
            }
        }
    }

    #[test]
    fn no_bytes_are_given_twice() {
        let (recurring, source) = (Recurring::default(), Counts::default());
        let mut given = HashSet::new();
        for _ in 0..100 {
            for pair in recurring.random(&source).chunks(2) {
                assert!(given.insert(pair.to_vec()), "{pair:?} was given before");
            }
        }
        assert!(!given.contains([0; 2].as_slice()), "nothing but what its source gave");
    }

    #[test]
    fn each_host_is_told_of_itself() {
        let recurring = Recurring::default();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for host in ["a.example", "a.example", "b.example", "a.example"] {
            for scheme in ["http", "https"] {
                let told = recurring.told(peer, host, scheme);
                assert_eq!(told.headers, Told::of_stranger(peer, host, scheme).headers);
            }
        }
        let again = || recurring.told(peer, "a.example", "http");
        assert!(!Arc::ptr_eq(&again(), &again()), "nothing is kept for a first request");
        for _ in 0..2 {
            recurring.random(&Counts::default());
        }
        assert!(Arc::ptr_eq(&again(), &again()));
        assert_eq!(
            recurring.told(peer, "b.example", "http").headers,
            Told::of_stranger(peer, "b.example", "http").headers
        );
    }
}
