//! The addresses of a server's name. They are looked up off the hot path; only while there are none yet do requests wait,
//! all of them for one look-up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::watch;

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
    /// Of the look-up that began last; it closes when that ends.
    running: Mutex<Option<watch::Receiver<()>>>,
}

#[derive(Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Lookup {
    pub(super) fn new(name: String, port: u16, deadline: Duration) -> Self {
        let (found, turn, running) = (ArcSwapOption::empty(), AtomicUsize::new(0), Mutex::new(None));
        Self { name, port, deadline, found, turn, running }
    }

    /// The same name with another deadline: its addresses, and whose turn it is, stay.
    pub(super) fn within(&self, deadline: Duration) -> Self {
        let found = ArcSwapOption::new(self.found.load_full());
        let turn = AtomicUsize::new(self.turn.load(Ordering::Relaxed));
        Self { name: self.name.clone(), port: self.port, deadline, found, turn, running: Mutex::new(None) }
    }

    pub(super) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The address to connect to. `None`: the name does not resolve.
    pub(super) async fn address(self: &Arc<Self>) -> Option<SocketAddr> {
        match self.known() {
            Some((address, true)) => Some(address),
            Some((address, false)) => {
                drop(self.under_way());
                Some(address)
            }
            None => {
                // Nothing is ever sent: that it has ended is what comes.
                let _ = self.under_way().changed().await;
                self.known().map(|(address, _)| address)
            }
        }
    }

    /// The next address gets its turn. Gives how many there are.
    pub(super) fn next(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed);
        self.found.load().as_ref().map_or(0, |found| found.addresses.len())
    }

    /// All of them, the one in use first; none where the name does not resolve.
    pub(super) async fn addresses(self: &Arc<Self>) -> Vec<SocketAddr> {
        self.address().await;
        let Some(found) = self.found.load_full() else { return Vec::new() };
        let mut addresses = found.addresses.clone();
        let turn = self.turn.load(Ordering::Relaxed).checked_rem(addresses.len());
        addresses.rotate_left(turn.unwrap_or_default());
        addresses
    }

    /// This address will not do: the next one gets its turn, unless somebody saw to that already.
    pub(super) fn next_after(&self, address: SocketAddr) {
        let turn = self.turn.load(Ordering::Relaxed);
        let found = self.found.load();
        let has_it = |found: &Arc<Found>| {
            let at = turn.checked_rem(found.addresses.len());
            at.and_then(|at| found.addresses.get(at)) == Some(&address)
        };
        if found.as_ref().is_some_and(has_it) {
            let next = turn.wrapping_add(1);
            let _ = self.turn.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed);
        }
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

    /// The look-up that is under way; one begins where none is. It belongs to no request: whoever waits may go.
    fn under_way(self: &Arc<Self>) -> watch::Receiver<()> {
        let mut running = self.running.lock();
        if let Some(running) = running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return running.clone();
        }
        let (ends, waits) = watch::channel(());
        let lookup = self.clone();
        tokio::spawn(async move {
            lookup.look_up().await;
            drop(ends);
        });
        *running = Some(waits.clone());
        waits
    }

    async fn look_up(&self) {
        let looking = tokio::net::lookup_host((self.name.as_str(), self.port));
        let addresses: Vec<_> = match tokio::time::timeout(self.deadline, looking).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => {
                tracing::warn!(name = %self.name, %error, "an upstream's name does not resolve");
                return;
            }
            Err(_) => {
                tracing::warn!(name = %self.name, "an upstream's name did not resolve in time");
                return;
            }
        };
        if !addresses.is_empty() {
            self.found.store(Some(Arc::new(Found { addresses, at: Instant::now() })));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// What a name was found to have.
    pub(in crate::edge::upstreams) fn found(addresses: &[SocketAddr]) -> Arc<Lookup> {
        let lookup = Lookup::new("several.test".to_owned(), 81, Duration::from_secs(2));
        lookup.found.store(Some(Arc::new(Found { addresses: addresses.to_vec(), at: Instant::now() })));
        Arc::new(lookup)
    }

    #[tokio::test]
    async fn an_address_that_will_not_do_loses_its_turn_once_whoever_says_so() {
        let [one, two, three] =
            ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(|text| text.parse().unwrap());
        let lookup = found(&[one, two, three]);
        lookup.next_after(one);
        lookup.next_after(one);
        assert_eq!(lookup.addresses().await, [two, three, one]);
        lookup.next_after(three);
        assert_eq!(lookup.address().await, Some(two), "it was not in use");
        let nowhere = Arc::new(Lookup::new("no-such-host.invalid".to_owned(), 81, Duration::from_secs(2)));
        nowhere.next_after(one);
        assert_eq!(nowhere.addresses().await, []);
    }

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
    async fn requests_without_an_address_wait_for_one_look_up_and_may_leave_it() {
        let lookup = Arc::new(Lookup::new("localhost".to_owned(), 81, Duration::from_secs(2)));
        // Nothing else runs here until this test waits.
        let first = lookup.under_way();
        let waits = lookup.address();
        let leaves = lookup.address();
        assert!(first.same_channel(&lookup.under_way()));
        assert_eq!(leaves.now_or_never(), None);
        assert!(first.same_channel(&lookup.under_way()), "nobody began another");
        assert!(waits.await.is_some());
        assert_eq!(lookup.known().map(|(_, is_fresh)| is_fresh), Some(true));

        let nowhere = Arc::new(Lookup::new("no-such-host.invalid".to_owned(), 81, Duration::from_secs(2)));
        let first = nowhere.under_way();
        let all = std::iter::repeat_with(|| nowhere.address()).take(20);
        assert_eq!(futures_util::future::join_all(all).await, vec![None; 20]);
        assert!(
            first.has_changed().is_err() && !first.same_channel(&nowhere.under_way()),
            "and the next begins anew"
        );
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
