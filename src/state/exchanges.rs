//! Which requests of this process wait for which flight. What becomes of a session is decided in the store
//! ([`crate::core::session::exchange`]); this only spares them asking it over and over.
//!
//! Correctness does not depend on it: after a restart, and on other replicas, a flight is watched in the
//! store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use tokio::sync::watch;

use crate::core::denial::Denial;
use crate::core::ids::{ClientName, FamilyId, IssuerName};
use crate::core::session::exchange::FlightId;
use crate::core::session::exchange::answer::ExchangeAnswer;

/// The most code exchanges at one AS at once. Anybody can begin one, and each may wait a minute for a slow
/// AS: so it has places of its own, and what waits for it takes none of another's.
pub const CODE_EXCHANGES: usize = 1_000;
/// The most pushed authorization requests at one AS at once. Anybody can begin one, and each may wait for a
/// slow AS. They are counted apart, so that they keep out nobody who comes back with a code.
pub const PUSHED_REQUESTS: usize = 1_000;
/// The most refreshes of native clients at one AS at once, each of which may wait a minute too. They are
/// counted apart, so that they keep out nobody who signs in.
pub const PASSED_REFRESHES: usize = 1_000;

/// How a flight ended, for the requests that wait for it.
#[derive(Clone, Debug)]
pub enum FlightEnd {
    /// It landed with this answer.
    Landed(Arc<ExchangeAnswer>),
    /// There is no answer, and asking again now would bring none.
    Failed(Denial),
    /// It is not under way any more: present the cookie again.
    PresentAgain,
}

type Flights = DashMap<(FamilyId, FlightId), watch::Receiver<Option<FlightEnd>>>;
/// How many places are taken at each AS.
type Places = DashMap<IssuerName, Arc<AtomicUsize>>;

/// The flights that requests of this process wait for, how many calls to an AS are under way, and which
/// warnings were given.
#[derive(Debug, Default)]
pub struct Exchanges {
    flights: Arc<Flights>,
    air: Arc<watch::Sender<Air>>,
    code_exchanges: Places,
    pushed_requests: Places,
    passed_refreshes: Places,
    warned: DashSet<ClientName>,
    had_id_token: DashSet<ClientName>,
}

/// The exchanges whose refresh token or code may be spent at the AS while the answer is not yet in the store,
/// and whether more may begin.
#[derive(Debug, Default)]
struct Air {
    /// Numbered in the order in which they began.
    airborne: BTreeSet<u64>,
    next: u64,
    holds: usize,
}

/// Leave to ask an AS and to store its answer. Given back when dropped.
#[derive(Debug)]
pub struct Airborne {
    air: Arc<watch::Sender<Air>>,
    number: u64,
}

impl Drop for Airborne {
    fn drop(&mut self) {
        self.air.send_modify(|air| {
            air.airborne.remove(&self.number);
        });
    }
}

/// Keeps exchanges from beginning until it is dropped.
#[derive(Debug)]
pub struct Hold(Arc<watch::Sender<Air>>);

impl Hold {
    /// How many exchanges are under way.
    pub fn airborne(&self) -> usize {
        self.0.borrow().airborne.len()
    }

    /// Waits until none is under way, at most for `patience`. Returns how many are left.
    pub async fn landed(&self, patience: Duration) -> usize {
        let mut air = self.0.subscribe();
        let none = air.wait_for(|air| air.airborne.is_empty());
        if tokio::time::timeout(patience, none).await.is_ok() { 0 } else { self.airborne() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.send_modify(|air| air.holds -= 1);
    }
}

/// Leave to wait for an AS. Given back when dropped.
#[derive(Debug)]
pub struct WaitPermit(Arc<AtomicUsize>);

impl WaitPermit {
    fn among(places: &Places, at: &IssuerName, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(&places.entry(at.clone()).or_default()));
        // It is given back where there is none.
        (place.0.fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Exchanges {
    /// Joins those who wait for a flight. The first also gets the [`Watch`], and with it the duty to say how
    /// the flight ends; `None`: somebody has it.
    pub fn watch(&self, family: FamilyId, flight: FlightId) -> (Option<Watch>, FlightWaiter) {
        match self.flights.entry((family, flight)) {
            Entry::Occupied(known) => (None, FlightWaiter(known.get().clone())),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver.clone());
                let flights = Arc::clone(&self.flights);
                (Some(Watch { flights, of: (family, flight), sender }), FlightWaiter(receiver))
            }
        }
    }

    /// Waits while exchanges are held back, then counts as under way. Call it before asking the store whether
    /// an exchange may begin.
    pub async fn take_off(&self) -> Airborne {
        loop {
            let mut number = None;
            self.air.send_if_modified(|air| {
                if air.holds == 0 {
                    air.airborne.insert(air.next);
                    number = Some(air.next);
                    air.next += 1;
                }
                number.is_some()
            });
            if let Some(number) = number {
                return Airborne { air: Arc::clone(&self.air), number };
            }
            // `self` has a sender, so the channel cannot close.
            let _ = self.air.subscribe().wait_for(|air| air.holds == 0).await;
        }
    }

    /// Keeps exchanges from beginning for as long as the value lives; those under way go on.
    pub fn hold(&self) -> Hold {
        self.air.send_modify(|air| air.holds += 1);
        Hold(Arc::clone(&self.air))
    }

    /// Waits until all exchanges that are under way now have ended, at most for `patience`. New ones may
    /// begin.
    pub async fn landed(&self, patience: Duration) {
        let mut air = self.air.subscribe();
        let next = air.borrow().next;
        let landed = air.wait_for(|air| air.airborne.first().is_none_or(|first| *first >= next));
        let _ = tokio::time::timeout(patience, landed).await;
    }

    /// A place among the code exchanges at this AS; `None` when there are [`CODE_EXCHANGES`] already.
    pub fn begin_code_exchange(&self, at: &IssuerName) -> Option<WaitPermit> {
        WaitPermit::among(&self.code_exchanges, at, CODE_EXCHANGES)
    }

    /// A place among the authorization requests that are pushed to this AS; `None` when there are
    /// [`PUSHED_REQUESTS`] already.
    pub fn begin_push(&self, at: &IssuerName) -> Option<WaitPermit> {
        WaitPermit::among(&self.pushed_requests, at, PUSHED_REQUESTS)
    }

    /// A place among the refreshes of native clients at this AS; `None` when there are [`PASSED_REFRESHES`]
    /// already.
    pub fn begin_passed_refresh(&self, at: &IssuerName) -> Option<WaitPermit> {
        WaitPermit::among(&self.passed_refreshes, at, PASSED_REFRESHES)
    }

    /// Returns true once for each client: operators are then to be warned that its access tokens outlive its
    /// sessions.
    pub fn claim_warning(&self, client: &ClientName) -> bool {
        self.warned.insert(client.clone())
    }

    /// Returns true once for each client: for the first ID token of a sign-in.
    pub fn claim_first_id_token(&self, client: &ClientName) -> bool {
        self.had_id_token.insert(client.clone())
    }

    /// How many flights are watched.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }
}

/// The duty to say how a flight ended. If it is dropped instead, those who wait take it as failed.
#[derive(Debug)]
pub struct Watch {
    flights: Arc<Flights>,
    of: (FamilyId, FlightId),
    sender: watch::Sender<Option<FlightEnd>>,
}

impl Watch {
    /// Whether anybody waits now.
    pub fn is_awaited(&self) -> bool {
        // One receiver stays in the map, for those who come later.
        self.sender.receiver_count() > 1
    }

    /// Tells all who wait. Those who come later find the outcome in the store.
    pub fn tell(self, heard: FlightEnd) {
        self.sender.send_replace(Some(heard));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.flights.remove(&self.of);
    }
}

/// Waits for a flight.
#[derive(Debug)]
pub struct FlightWaiter(watch::Receiver<Option<FlightEnd>>);

impl FlightWaiter {
    pub async fn heard(mut self) -> FlightEnd {
        let failed = FlightEnd::Failed(Denial::AuthorizationServerUnavailable);
        match self.0.wait_for(Option::is_some).await {
            Ok(heard) => heard.clone().unwrap_or(failed),
            Err(_) => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn nothing_takes_off_while_it_is_held_and_what_is_in_the_air_is_waited_for() {
        let exchanges = Exchanges::default();
        let first = exchanges.take_off().await;
        let hold = exchanges.hold();
        assert_eq!(hold.landed(Duration::ZERO).await, 1);
        let mut second = std::pin::pin!(exchanges.take_off());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(hold.landed(Duration::from_secs(60)).await, 0);
        assert!(second.as_mut().now_or_never().is_none());
        drop(hold);
        let _second = second.await;
        assert_eq!(exchanges.hold().airborne(), 1);
    }

    #[tokio::test]
    async fn those_in_the_air_are_waited_for_while_others_take_off() {
        let exchanges = Exchanges::default();
        let first = exchanges.take_off().await;
        let mut landed = std::pin::pin!(exchanges.landed(Duration::from_secs(60)));
        assert!(landed.as_mut().now_or_never().is_none());
        let _second = exchanges.take_off().await;
        assert!(landed.as_mut().now_or_never().is_none());
        drop(first);
        landed.await;
    }

    #[tokio::test]
    async fn one_watches_and_all_hear_also_when_it_is_dropped() {
        let exchanges = Exchanges::default();
        let of = (FamilyId::from_random([1; 16]), FlightId(7));
        let (watch, first) = exchanges.watch(of.0, of.1);
        let (none, second) = exchanges.watch(of.0, of.1);
        assert!(none.is_none());
        let watch = watch.unwrap();
        assert!(watch.is_awaited());
        watch.tell(FlightEnd::PresentAgain);
        assert!(matches!(first.heard().await, FlightEnd::PresentAgain));
        assert!(matches!(second.heard().await, FlightEnd::PresentAgain));
        assert!(exchanges.is_empty());
        let (watch, waiting) = exchanges.watch(of.0, of.1);
        let watch = watch.unwrap();
        drop(waiting);
        assert!(!watch.is_awaited());
        let waiting = exchanges.watch(of.0, of.1).1;
        assert!(watch.is_awaited());
        drop(watch);
        assert!(matches!(waiting.heard().await, FlightEnd::Failed(Denial::AuthorizationServerUnavailable)));
        assert!(exchanges.is_empty());
    }
}
