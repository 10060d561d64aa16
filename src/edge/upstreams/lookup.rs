//! The addresses of a server's name. They are looked up off the hot path; only the first request waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

/// How long a resolved name counts as fresh.
const FRESH: Duration = Duration::from_secs(10);

/// The addresses of a name. They stay in use while a new resolution fails.
#[derive(Debug)]
pub(super) struct Lookup {
    name: String,
    port: u16,
    deadline: Duration,
    found: ArcSwapOption<Found>,
    /// Which address is used: the same one until it cannot be reached.
    turn: AtomicUsize,
    running: AtomicBool,
}

#[derive(Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Lookup {
    pub(super) fn new(name: String, port: u16, deadline: Duration) -> Self {
        let (turn, running) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { name, port, deadline, found: ArcSwapOption::empty(), turn, running }
    }

    /// The address to connect to. `None`: the name does not resolve.
    pub(super) async fn address(self: &Arc<Self>) -> Option<SocketAddr> {
        match self.known() {
            Some((address, true)) => Some(address),
            Some((address, false)) => {
                self.look_up_behind();
                Some(address)
            }
            None => self.now().await,
        }
    }

    /// The next address gets its turn. Gives how many there are.
    pub(super) fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed);
        self.found.load().as_ref().map_or(0, |found| found.addresses.len())
    }

    /// The address in use, and whether it is fresh.
    fn known(&self) -> Option<(SocketAddr, bool)> {
        let found = self.found.load();
        let found = found.as_ref()?;
        Some((self.chosen(&found.addresses)?, found.at.elapsed() < FRESH))
    }

    fn chosen(&self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        let turn = self.turn.load(Ordering::Relaxed).checked_rem(addresses.len())?;
        addresses.get(turn).copied()
    }

    fn look_up_behind(self: &Arc<Self>) {
        if !self.running.swap(true, Ordering::AcqRel) {
            let lookup = self.clone();
            tokio::spawn(async move {
                lookup.now().await;
                lookup.running.store(false, Ordering::Release);
            });
        }
    }

    async fn now(&self) -> Option<SocketAddr> {
        let looking = tokio::net::lookup_host((self.name.as_str(), self.port));
        let addresses: Vec<_> = match tokio::time::timeout(self.deadline, looking).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => {
                tracing::warn!(name = %self.name, %error, "an upstream's name does not resolve");
                return None;
            }
            Err(_) => {
                tracing::warn!(name = %self.name, "an upstream's name did not resolve in time");
                return None;
            }
        };
        let chosen = self.chosen(&addresses)?;
        self.found.store(Some(Arc::new(Found { addresses, at: Instant::now() })));
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_resolved_once_and_the_next_address_gets_its_turn() {
        let lookup = Arc::new(Lookup::new("localhost".to_owned(), 81, Duration::from_secs(2)));
        assert!(lookup.known().is_none());
        lookup.address().await.unwrap();
        assert!(lookup.known().unwrap().1, "fresh after the first request");

        let addresses = ["10.0.0.1:80", "10.0.0.2:80"].map(|text| text.parse().unwrap()).to_vec();
        lookup.found.store(Some(Arc::new(Found { addresses, at: Instant::now() })));
        let first = lookup.address().await.unwrap();
        assert_eq!(first, lookup.address().await.unwrap());
        assert_eq!(lookup.next(), 2);
        assert_ne!(first, lookup.address().await.unwrap());
    }

    #[tokio::test]
    async fn addresses_stay_in_use_while_they_are_looked_up_again() {
        let lookup = Arc::new(Lookup::new("no-such-host.invalid".to_owned(), 81, Duration::from_secs(2)));
        assert_eq!(lookup.address().await, None);
        let address = "10.0.0.1:80".parse().unwrap();
        let old = Instant::now().checked_sub(FRESH).unwrap();
        lookup.found.store(Some(Arc::new(Found { addresses: vec![address], at: old })));
        assert_eq!(lookup.address().await, Some(address));
    }
}
