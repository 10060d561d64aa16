//! The open connections of a listener: how many there are, whose they are, and what each is doing. A
//! connection takes its place before its first byte is read, and gives it back however it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use ipnet::IpNet;
use pingora::protocols::Digest;
use prometheus::IntGauge;

use crate::core::address::ClientNetwork;
use crate::core::forwarded::is_trusted;
use crate::edge::connection::addresses::OpenByAddress;
use crate::edge::connection::cut_off::CutOff;
use crate::edge::connection::door::Door;
use crate::edge::connection::recurring::Recurring;
use crate::edge::request::inflow::LetIn;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::edge) enum Phase {
    /// Accepted; nothing has come yet.
    Fresh = 0,
    /// A request's header is arriving.
    Header,
    /// A request is being answered.
    Busy,
    /// Answered; the next request may come.
    Idle,
    /// A request is being answered, and has come to its end (HTTP/1.x).
    Complete,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Fresh, Self::Header, Self::Busy, Self::Idle, Self::Complete];

    /// The phase with this stored value.
    fn of(stored: u8) -> Self {
        Self::ALL.into_iter().find(|phase| *phase as u8 == stored).unwrap_or(Self::Busy)
    }

    /// Whether a request is due.
    const fn is_awaited(self) -> bool {
        matches!(self, Self::Fresh | Self::Header)
    }
}

/// The open connections of the listeners that one key of config.yaml asks for.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicUsize,
    /// How many of them wait for a request (see `Phase::is_awaited`).
    awaited: AtomicUsize,
    most: usize,
    gauge: IntGauge,
    by_address: OpenByAddress,
    /// Connections of load balancers that have not yet said for whom, by the balancer's address.
    unintroduced: OpenByAddress,
    most_of_one: MostOfOne,
    pub(crate) cut_off: CutOff,
}

/// The limit for one address.
#[derive(Clone, Debug)]
pub(crate) struct MostOfOne {
    pub(crate) most: usize,
    /// Proxies that stand for many clients.
    pub(crate) but_for: Vec<IpNet>,
}

/// The owner of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Client(IpAddr),
    /// A load balancer, which has yet to say for whom.
    Unintroduced(IpAddr),
    /// No client's: a load balancer's own connection, or one without an address.
    Nobody,
}

/// Which further count a connection is in, beside that of all.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Client(ClientNetwork),
    Unintroduced(ClientNetwork),
    Nowhere,
}

impl Connections {
    /// `most`: connections beyond are closed unanswered.
    pub(crate) fn new(gauge: IntGauge, most: usize, most_of_one: MostOfOne) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
            most,
            gauge,
            by_address: OpenByAddress::default(),
            unintroduced: OpenByAddress::default(),
            most_of_one,
            cut_off: CutOff::default(),
        })
    }

    /// Counts one more connection, unless its owner has too many. A load balancer's connections that are not
    /// introduced yet may be of many clients, but never take all places.
    fn count(&self, whose: Whose) -> Option<Counted> {
        let MostOfOne { most, but_for } = &self.most_of_one;
        match whose {
            Whose::Unintroduced(balancer) => {
                let balancer = ClientNetwork::from(balancer);
                let share = (self.most / 4).max(*most);
                self.unintroduced.take(balancer, share).then_some(Counted::Unintroduced(balancer))
            }
            Whose::Client(client) if !is_trusted(client, but_for) => {
                let client = ClientNetwork::from(client);
                self.by_address.take(client, *most).then_some(Counted::Client(client))
            }
            Whose::Client(_) | Whose::Nobody => Some(Counted::Nowhere),
        }
    }

    fn give_back(&self, counted: Counted) {
        match counted {
            Counted::Client(client) => self.by_address.give_back(client),
            Counted::Unintroduced(balancer) => self.unintroduced.give_back(balancer),
            Counted::Nowhere => {}
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    pub(crate) fn awaited(&self) -> usize {
        self.awaited.load(Ordering::Acquire)
    }
}

/// One connection, as the layers above see it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The entry of its request among the open requests, where it has one request at a time (HTTP/1.x).
    pub(crate) let_in: LetIn,
    pub(crate) recurring: Recurring,
    /// A [`Phase`].
    phase: AtomicU8,
    hears_early: AtomicBool,
    lingers: AtomicBool,
    all: Arc<Connections>,
    door: Arc<Door>,
}

impl Connection {
    /// The door by which it came in.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// The connection that a request came on.
    pub(crate) fn of(digest: Option<&Digest>) -> Option<Arc<Self>> {
        digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Self>>().cloned()
    }

    /// Begins a request: its header is complete.
    pub(crate) fn begin_request(&self) {
        self.enter(Phase::Busy);
    }

    /// Marks the request as complete: all of it has come, and it is being answered.
    pub(crate) fn complete_request(&self) {
        self.enter(Phase::Complete);
    }

    /// Marks that something came that is not of the request that is being answered.
    pub(in crate::edge) fn mark_early(&self) {
        self.hears_early.store(true, Ordering::Release);
    }

    /// Whether something came that is not of the request that is being answered.
    pub(crate) fn hears_early(&self) -> bool {
        self.hears_early.load(Ordering::Acquire)
    }

    /// Whether it was ended because the drain was over.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.all.cut_off.is_done()
    }

    /// Marks that some of the last request's body may still be on its way, and that nobody reads it.
    pub(crate) fn mark_lingering(&self) {
        self.lingers.store(true, Ordering::Release);
    }

    /// Whether bytes may arrive after the last answer. A socket closed with bytes unread is reset, and the
    /// reset may overtake the answer.
    pub(in crate::edge) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Acquire) || self.hears_early()
    }

    /// Ends a request: it was answered.
    pub(crate) fn end_request(&self) {
        self.enter(Phase::Idle);
    }

    pub(in crate::edge) fn enter(&self, phase: Phase) {
        let before = Phase::of(self.phase.swap(phase as u8, Ordering::AcqRel));
        match (before.is_awaited(), phase.is_awaited()) {
            (false, true) => {
                self.all.awaited.fetch_add(1, Ordering::AcqRel);
            }
            (true, false) => {
                self.all.awaited.fetch_sub(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }

    pub(in crate::edge) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Acquire))
    }
}

/// The place that a connection takes among the others, from its first byte to its end.
#[derive(Debug)]
pub(crate) struct ConnectionPlace(pub(in crate::edge) Arc<Connection>, Counted);

impl ConnectionPlace {
    /// Takes a place; `None`: there is none left, or none for this owner.
    pub(crate) fn take(all: &Arc<Connections>, door: &Arc<Door>, whose: Whose) -> Option<Self> {
        if all.open() >= all.most {
            return None;
        }
        let counted = all.count(whose)?;
        all.open.fetch_add(1, Ordering::AcqRel);
        all.awaited.fetch_add(1, Ordering::AcqRel);
        all.gauge.inc();
        let (all, door) = (all.clone(), door.clone());
        let connection = Connection {
            let_in: LetIn::default(),
            recurring: Recurring::default(),
            phase: AtomicU8::new(Phase::Fresh as u8),
            hears_early: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
            all,
            door,
        };
        Some(Self(Arc::new(connection), counted))
    }

    /// Counts the connection as this owner's from now on. `None`: that owner has too many.
    pub(crate) fn pass_to(&mut self, whose: Whose) -> Option<()> {
        let counted = self.0.all.count(whose)?;
        self.0.all.give_back(std::mem::replace(&mut self.1, counted));
        Some(())
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.enter(Phase::Busy);
        self.0.all.gauge.dec();
        self.0.all.give_back(self.1);
        self.0.all.open.fetch_sub(1, Ordering::AcqRel);
    }
}
