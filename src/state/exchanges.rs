//! Who in this process waits for which flight. What becomes of a session is decided in the store
//! ([`crate::core::session::exchange`]); this only spares those who wait here from asking it again and again.
//!
//! Memory only, and none of it is needed to be right: after a restart, and on other replicas, a flight is
//! watched in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use tokio::sync::watch;

use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::session::exchange::FlightId;
use crate::core::session::exchange::answer::Answer;
use crate::core::session::grant::FamilyId;

/// The most code exchanges at once. Anybody can begin one, and each may wait a minute for a slow AS.
pub const CODE_EXCHANGES: usize = 1_000;

/// What those hear who wait for a flight.
#[derive(Clone, Debug)]
pub enum Heard {
    /// It landed with this answer.
    Landed(Arc<Answer>),
    /// There is no answer, and asking again now would bring none.
    Failed(Denial),
    /// It is not under way any more: present the cookie again.
    PresentAgain,
}

type Flights = DashMap<(FamilyId, FlightId), watch::Receiver<Option<Heard>>>;

/// The flights that somebody waits for, and what else is known of exchanges in this process alone.
#[derive(Debug, Default)]
pub struct Exchanges {
    flights: Arc<Flights>,
    code_exchanges: Arc<AtomicUsize>,
    warned: DashSet<ClientName>,
}

/// Leave to exchange a code at the AS; it is given back when dropped.
#[derive(Debug)]
pub struct CodeExchanging(Arc<AtomicUsize>);

impl Drop for CodeExchanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Exchanges {
    /// Watches a flight for all who wait for it here, and whoever gets the [`Watch`] says how it ends; `None`:
    /// somebody else watches it already.
    pub fn watch(&self, family: FamilyId, flight: FlightId) -> (Option<Watch>, Waiting) {
        match self.flights.entry((family, flight)) {
            Entry::Occupied(known) => (None, Waiting(known.get().clone())),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver.clone());
                let flights = Arc::clone(&self.flights);
                (Some(Watch { flights, of: (family, flight), sender }), Waiting(receiver))
            }
        }
    }

    /// A place among the code exchanges; `None` when there are [`CODE_EXCHANGES`] already.
    pub fn begin_code_exchange(&self) -> Option<CodeExchanging> {
        let place = CodeExchanging(Arc::clone(&self.code_exchanges));
        (self.code_exchanges.fetch_add(1, Ordering::AcqRel) < CODE_EXCHANGES).then_some(place)
    }

    /// Whether nobody was told yet that this client's access tokens outlive its sessions. Says so once.
    pub fn first_warning_of(&self, client: &ClientName) -> bool {
        self.warned.insert(client.clone())
    }

    /// How many flights are watched.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }
}

/// The duty to tell how a flight ended. Dropped without a word, those who wait are told that it failed.
#[derive(Debug)]
pub struct Watch {
    flights: Arc<Flights>,
    of: (FamilyId, FlightId),
    sender: watch::Sender<Option<Heard>>,
}

impl Watch {
    /// Tells all who wait; who comes later finds what is in the store.
    pub fn tell(self, heard: Heard) {
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
pub struct Waiting(watch::Receiver<Option<Heard>>);

impl Waiting {
    pub async fn heard(mut self) -> Heard {
        let failed = Heard::Failed(Denial::AuthorizationServerUnavailable);
        match self.0.wait_for(Option::is_some).await {
            Ok(heard) => heard.clone().unwrap_or(failed),
            Err(_) => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_watches_and_all_hear_also_when_it_is_dropped() {
        let exchanges = Exchanges::default();
        let of = (FamilyId::from_random([1; 16]), FlightId(7));
        let (watch, first) = exchanges.watch(of.0, of.1);
        let (none, second) = exchanges.watch(of.0, of.1);
        assert!(none.is_none());
        watch.unwrap().tell(Heard::PresentAgain);
        assert!(matches!(first.heard().await, Heard::PresentAgain));
        assert!(matches!(second.heard().await, Heard::PresentAgain));
        assert!(exchanges.is_empty());
        let (watch, waiting) = exchanges.watch(of.0, of.1);
        drop(watch);
        assert!(matches!(waiting.heard().await, Heard::Failed(Denial::AuthorizationServerUnavailable)));
        assert!(exchanges.is_empty());
    }
}
