//! Resolves a server's name off the hot path. A request waits only if there is no address yet, or if the
//! known ones may be wrong by now: nobody asked for long, or all of them failed. All requests that wait share
//! one look-up, each with its own patience; the look-up goes on by itself.
//!
//! An outage of the resolver must never take away addresses that still work.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long resolved addresses are fresh.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// From which age on addresses are not used before the name is resolved again: they may be somebody else's by
/// then.
const TOO_OLD_AFTER: Duration = Duration::from_secs(60);
/// The pause after a failed look-up, if there are addresses. A resolver may refuse at once, each time.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// The longest that a look-up may take. A system's resolver asks one server after another, for 5 seconds
/// each.
const LONGEST_LOOKUP: Duration = Duration::from_secs(60);
/// From which duration on a look-up is logged as slow.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// Finds the addresses of a name and a port.
type Resolver = fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// The addresses of a name. They stay in use while resolving it again fails.
#[derive(Debug)]
pub(super) struct Lookup {
    name: String,
    port: u16,
    resolver: Resolver,
    found: ArcSwapOption<Resolved>,
    looked: Mutex<Looked>,
}

#[derive(Debug)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    at: Instant,
    /// The index of the address in use, which stays until it cannot be reached.
    turn: AtomicUsize,
}

/// The state of look-ups.
#[derive(Debug, Default)]
struct Looked {
    last: Option<Looking>,
    /// When the last one failed, unless one has succeeded since.
    failed_at: Option<Instant>,
}

/// A look-up under way.
#[derive(Clone, Debug)]
struct Looking {
    began: Instant,
    /// Closes when the look-up ends; nothing is ever sent.
    ends: watch::Receiver<()>,
}

impl Resolved {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < FRESH_FOR
    }

    /// All addresses, the one in use first.
    fn in_turn(&self) -> impl Iterator<Item = SocketAddr> {
        let (before, from) = self.addresses.split_at(self.in_use().unwrap_or_default());
        from.iter().chain(before).copied()
    }

    /// The first in turn that is not in `failed`.
    fn but(&self, failed: &[SocketAddr]) -> Option<SocketAddr> {
        self.in_turn().find(|address| !failed.contains(address))
    }

    fn in_use(&self) -> Option<usize> {
        self.turn.load(Ordering::Relaxed).checked_rem(self.addresses.len())
    }
}

impl Lookup {
    pub(super) fn new(name: String, port: u16) -> Self {
        Self::with(name, port, |name, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
        })
    }

    fn with(name: String, port: u16, resolver: Resolver) -> Self {
        Self { name, port, resolver, found: ArcSwapOption::empty(), looked: Mutex::default() }
    }

    /// The address to connect to: the one in use, or the next that did not fail. `None`: none was found
    /// within `patience`.
    pub(super) async fn address(
        self: &Arc<Self>,
        failed: &[SocketAddr],
        patience: Duration,
    ) -> Option<SocketAddr> {
        if let Some(found) = self.found.load().as_ref().filter(|found| found.is_fresh()) {
            return found.but(failed);
        }
        let mut looking = self.under_way();
        let patience = self.patience(failed, patience, &looking);
        if !patience.is_zero() {
            // An error means that it has ended, as expected.
            let _ = timeout(patience, looking.ends.changed()).await;
        }
        self.found.load().as_ref()?.but(failed)
    }

    /// How long a request with this `patience` waits for `looking`.
    fn patience(&self, failed: &[SocketAddr], patience: Duration, looking: &Looking) -> Duration {
        let Some(found) = self.found.load_full() else { return patience };
        let has_another = found.but(failed).is_some();
        if (has_another && found.at.elapsed() < TOO_OLD_AFTER) || self.fails() {
            return Duration::ZERO;
        }
        if has_another {
            // Counted from its start, so that not every request waits for a slow one.
            return patience.saturating_sub(looking.began.elapsed());
        }
        patience
    }

    /// All addresses, the one in use first; none if the name does not resolve.
    pub(super) async fn addresses(self: &Arc<Self>, patience: Duration) -> Vec<SocketAddr> {
        self.address(&[], patience).await;
        self.found.load().as_ref().map(|found| found.in_turn().collect()).unwrap_or_default()
    }

    /// Whether there may be an address that is not in `failed`: a known one, or one that was not looked up
    /// yet.
    pub(super) fn may_have_another(&self, failed: &[SocketAddr]) -> bool {
        let found = self.found.load();
        found.as_ref().is_none_or(|found| found.but(failed).is_some() || !(found.is_fresh() || self.fails()))
    }

    /// Moves on from an address that failed to the next, unless that was done already.
    pub(super) fn next_after(&self, address: SocketAddr) {
        let found = self.found.load();
        let Some(found) = found.as_ref() else { return };
        let turn = found.turn.load(Ordering::Relaxed);
        let in_use = turn.checked_rem(found.addresses.len()).and_then(|at| found.addresses.get(at));
        if in_use == Some(&address) {
            let next = turn.wrapping_add(1);
            let _ = found.turn.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Makes an address that works the one in use.
    pub(super) fn prefer(&self, address: SocketAddr) {
        let found = self.found.load();
        let Some(found) = found.as_ref() else { return };
        if let Some(at) = found.addresses.iter().position(|known| *known == address) {
            found.turn.store(at, Ordering::Relaxed);
        }
    }

    /// Whether the last look-up has just failed, so that no other address can be hoped for.
    fn fails(&self) -> bool {
        self.looked.lock().failed_at.is_some_and(|at| at.elapsed() < FRESH_FOR)
    }

    /// The look-up under way; begins one if there is none. It belongs to no request, so a request that waits
    /// may leave.
    fn under_way(self: &Arc<Self>) -> Looking {
        let mut looked = self.looked.lock();
        let failed_now = self.found.load().is_some()
            && looked.failed_at.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE);
        let is_enough = |last: &&Looking| failed_now || last.ends.has_changed().is_ok();
        if let Some(last) = looked.last.as_ref().filter(is_enough) {
            return last.clone();
        }
        let (ended, ends) = watch::channel(());
        let looking = Looking { began: Instant::now(), ends };
        looked.last = Some(looking.clone());
        let lookup = self.clone();
        tokio::spawn(async move {
            let succeeded = lookup.look_up().await;
            let failed_at = (!succeeded).then(Instant::now);
            lookup.looked.lock().failed_at = failed_at;
            drop(ended);
        });
        looking
    }

    /// Resolves the name once. Returns whether there are addresses.
    async fn look_up(&self) -> bool {
        let began = Instant::now();
        let looking = (self.resolver)(self.name.clone(), self.port);
        let addresses = match timeout(LONGEST_LOOKUP, looking).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
            Ok(Ok(_)) => {
                tracing::warn!(name = %self.name, "an upstream's name has no address");
                return false;
            }
            Ok(Err(error)) => {
                tracing::warn!(name = %self.name, %error, "an upstream's name does not resolve");
                return false;
            }
            Err(_) => {
                tracing::warn!(name = %self.name, "an upstream's name did not resolve in time");
                return false;
            }
        };
        let took = began.elapsed();
        if took >= SLOW_AFTER {
            tracing::warn!(name = %self.name, seconds = took.as_secs(), "an upstream's name resolves slowly");
        }
        self.keep(addresses);
        true
    }

    /// Keeps these addresses. The one in use stays, at whatever index it is now: resolvers often rotate them.
    fn keep(&self, addresses: Vec<SocketAddr>) {
        let before = self.found.load();
        let in_use = before.as_ref().and_then(|found| found.in_turn().next());
        let at = in_use.and_then(|in_use| addresses.iter().position(|address| *address == in_use));
        let turn = AtomicUsize::new(at.unwrap_or_default());
        self.found.store(Some(Arc::new(Resolved { addresses, at: Instant::now(), turn })));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures_util::FutureExt;
    use futures_util::future::{join_all, ready};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);
    const LONG_AGO: Duration = Duration::from_secs(3600);

    /// What a name was found to have just now.
    pub(in crate::edge::upstreams) fn found(addresses: &[SocketAddr]) -> Arc<Lookup> {
        found_before(Duration::ZERO, addresses, |_, _| ready(Err(io::Error::other("nobody knows"))).boxed())
    }

    fn found_before(age: Duration, addresses: &[SocketAddr], resolver: Resolver) -> Arc<Lookup> {
        let lookup = Lookup::with("several.test".to_owned(), 81, resolver);
        let (addresses, at) = (addresses.to_vec(), Instant::now().checked_sub(age).unwrap());
        lookup.found.store(Some(Arc::new(Resolved { addresses, at, turn: AtomicUsize::new(0) })));
        Arc::new(lookup)
    }

    fn at(number: u8) -> SocketAddr {
        ([10, 0, 0, number], 80).into()
    }

    /// The addresses 2 and 3, at once.
    fn others(_: String, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        ready(Ok(vec![at(2), at(3)])).boxed()
    }

    /// The same, after three times as long as anybody here waits.
    fn late(name: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        tokio::time::sleep(3 * PATIENCE).then(move |()| others(name, port)).boxed()
    }

    /// Nothing, after as long.
    fn in_vain(_: String, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        tokio::time::sleep(3 * PATIENCE).map(|()| Ok(Vec::new())).boxed()
    }

    /// Nothing, at once.
    fn no(_: String, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        ready(Err(io::Error::other("no"))).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_says_no_at_once_is_asked_once_a_second() {
        let lookup = found_before(2 * TOO_OLD_AFTER, &[at(1)], no);
        let same = |one: &Looking, other: &Looking| one.ends.same_channel(&other.ends);
        let first = lookup.under_way();
        for _ in 0..100 {
            assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(1)));
        }
        assert!(same(&first, &lookup.under_way()));
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        assert!(!same(&first, &lookup.under_way()));
    }

    async fn waited<T>(future: impl Future<Output = T>) -> (T, Duration) {
        let began = Instant::now();
        (future.await, began.elapsed())
    }

    #[tokio::test]
    async fn an_address_that_will_not_do_loses_its_turn_once_whoever_says_so() {
        let lookup = found(&[at(1), at(2), at(3)]);
        lookup.next_after(at(1));
        lookup.next_after(at(1));
        assert_eq!(lookup.addresses(PATIENCE).await, [at(2), at(3), at(1)]);
        lookup.next_after(at(3));
        assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(2)), "it was not in use");
        lookup.prefer(at(1));
        assert_eq!(lookup.addresses(PATIENCE).await, [at(1), at(2), at(3)]);
        lookup.prefer(at(9));
        assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(1)), "it is none of them");
        let nowhere = Arc::new(Lookup::new("no-such-host.invalid".to_owned(), 81));
        nowhere.next_after(at(1));
        assert_eq!(nowhere.addresses(PATIENCE).await, []);
    }

    #[tokio::test]
    async fn whoever_failed_at_an_address_gets_another_whosever_turn_it_is() {
        let lookup = found(&[at(1), at(2), at(3)]);
        for (failed, next) in
            [(&[at(1)][..], Some(at(2))), (&[at(1), at(2)], Some(at(3))), (&[at(2), at(1), at(3)], None)]
        {
            assert_eq!(lookup.address(failed, PATIENCE).await, next);
            assert_eq!(lookup.may_have_another(failed), next.is_some());
        }
        assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(1)), "nobody said that it will not do");
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_stays_with_one_address() {
        let lookup = Arc::new(Lookup::new("localhost".to_owned(), 81));
        let first = lookup.address(&[], PATIENCE).await.unwrap();
        assert_eq!(lookup.address(&[], PATIENCE).now_or_never(), Some(Some(first)), "fresh");

        lookup.keep(vec![at(1), at(2)]);
        lookup.next_after(at(1));
        for turned in [vec![at(2), at(1)], vec![at(3), at(1), at(2)], vec![at(1), at(2)]] {
            lookup.keep(turned);
            assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(2)), "wherever it stands");
        }
        lookup.keep(vec![at(1), at(3)]);
        assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(1)), "it is gone");
    }

    #[tokio::test]
    async fn requests_without_an_address_wait_for_one_look_up_and_may_leave_it() {
        let lookup = Arc::new(Lookup::new("localhost".to_owned(), 81));
        let same = |one: &Looking, other: &Looking| one.ends.same_channel(&other.ends);
        // Nothing else runs here until this test waits.
        let first = lookup.under_way();
        let waits = lookup.address(&[], PATIENCE);
        let leaves = lookup.address(&[], PATIENCE);
        assert!(same(&first, &lookup.under_way()));
        assert_eq!(leaves.now_or_never(), None);
        assert!(same(&first, &lookup.under_way()), "nobody began another");
        assert!(waits.await.is_some());

        let nowhere = Arc::new(Lookup::new("no-such-host.invalid".to_owned(), 81));
        let first = nowhere.under_way();
        let all = std::iter::repeat_with(|| nowhere.address(&[], PATIENCE)).take(20);
        assert_eq!(join_all(all).await, vec![None; 20]);
        assert!(
            first.ends.has_changed().is_err() && !same(&first, &nowhere.under_way()),
            "and the next begins anew"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_goes_on_when_nobody_waits_for_it_any_more() {
        let lookup = Arc::new(Lookup::with("slow.test".to_owned(), 81, late));
        for _ in 0..2 {
            assert_eq!(waited(lookup.address(&[], PATIENCE)).await, (None, PATIENCE));
        }
        let more = waited(lookup.address(&[], 3 * PATIENCE)).await;
        assert_eq!(
            more,
            (Some(at(2)), PATIENCE),
            "of the look-up that the first began; patience is the caller's"
        );
        assert_eq!(waited(lookup.address(&[], PATIENCE)).await, (Some(at(2)), Duration::ZERO));

        let endless =
            Arc::new(Lookup::with("endless.test".to_owned(), 81, |_, _| std::future::pending().boxed()));
        let first = endless.under_way();
        tokio::time::sleep(LONGEST_LOOKUP + FRESH_FOR).await;
        assert!(first.ends.has_changed().is_err(), "one that never ends is given up");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_stay_in_use_while_they_are_looked_up_again_but_for_old_ones() {
        let known = |age, resolver| found_before(age, &[at(1)], resolver);
        let lookup = known(FRESH_FOR, others);
        assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(1)), "behind the request");
        lookup.under_way().ends.changed().await.unwrap_err();
        assert_eq!(lookup.address(&[], PATIENCE).await, Some(at(2)));

        // It may be somebody else's by now.
        assert_eq!(known(LONG_AGO, others).address(&[], PATIENCE).await, Some(at(2)));
        let lookup = known(LONG_AGO, in_vain);
        assert_eq!(waited(lookup.address(&[], PATIENCE)).await, (Some(at(1)), PATIENCE), "there is no other");
        let again = waited(lookup.address(&[], PATIENCE)).await;
        assert_eq!(again, (Some(at(1)), Duration::ZERO), "a slow one is waited for once");
        lookup.under_way().ends.changed().await.unwrap_err();
        let again = waited(lookup.address(&[], PATIENCE)).await;
        assert_eq!(again, (Some(at(1)), Duration::ZERO), "nor the next while they fail");
        tokio::time::sleep(FRESH_FOR + 3 * PATIENCE).await;
        let again = waited(lookup.address(&[], PATIENCE)).await;
        assert_eq!(again, (Some(at(1)), PATIENCE), "and then it is tried in earnest");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_that_is_known_failed_what_is_new_is_waited_for() {
        let lookup = found_before(FRESH_FOR, &[at(1)], late);
        assert!(lookup.may_have_another(&[at(1)]));
        let (next, took) = waited(lookup.address(&[at(1)], 4 * PATIENCE)).await;
        assert_eq!((next, took), (Some(at(2)), 3 * PATIENCE));
        assert!(!lookup.may_have_another(&[at(1), at(2), at(3)]), "it was asked for just now");
        assert_eq!(waited(lookup.address(&[at(2), at(3)], PATIENCE)).await, (None, Duration::ZERO));

        let lookup = found_before(FRESH_FOR, &[at(1)], in_vain);
        assert_eq!(waited(lookup.address(&[at(1)], 4 * PATIENCE)).await, (None, 3 * PATIENCE));
        assert!(!lookup.may_have_another(&[at(1)]), "no second time while that fails");
    }
}
