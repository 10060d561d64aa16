//! What one client address may have: connections, and requests in a while.

use std::net::IpAddr;
use std::time::Duration;

use dashmap::DashMap;
use pingora_limits::rate::Rate;

use crate::core::address::ClientNetwork;

/// The connections that are open, by address. An address that has none takes no room.
#[derive(Debug, Default)]
pub(crate) struct OpenByAddress(DashMap<ClientNetwork, usize>);

impl OpenByAddress {
    /// One more, unless it has `most`.
    pub(crate) fn take(&self, whose: ClientNetwork, most: usize) -> bool {
        let mut count = self.0.entry(whose).or_insert(0);
        let free = *count < most;
        *count += usize::from(free);
        free
    }

    pub(crate) fn give_back(&self, whose: ClientNetwork) {
        if let dashmap::Entry::Occupied(mut count) = self.0.entry(whose) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// How often addresses ask, in bounded memory: among very many at once one may be taken for a busier one,
/// never for an idler one.
pub(crate) struct AskedByAddress {
    most: isize,
    window: Duration,
    rate: Rate,
}

impl std::fmt::Debug for AskedByAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AskedByAddress").field("most", &self.most).finish_non_exhaustive()
    }
}

impl AskedByAddress {
    pub(crate) fn new((most, window): (u32, Duration)) -> Self {
        Self { most: isize::try_from(most).unwrap_or(isize::MAX), window, rate: Rate::new(window) }
    }

    /// Whether this is what was asked for.
    pub(crate) fn is(&self, (most, window): (u32, Duration)) -> bool {
        self.most == isize::try_from(most).unwrap_or(isize::MAX) && self.window == window
    }

    /// Counts a request. After how long it is worth trying again, when it is one too many.
    pub(crate) fn one_too_many(&self, address: IpAddr) -> Option<Duration> {
        (self.rate.observe(&ClientNetwork::from(address), 1) > self.most).then_some(self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_up_and_down_and_leave_nothing_behind() {
        let (open, whose) = (OpenByAddress::default(), ClientNetwork::V4(1));
        assert!(open.take(whose, 2) && open.take(whose, 2) && !open.take(whose, 2));
        assert!(open.take(ClientNetwork::V4(2), 2), "another address has its own");
        open.give_back(whose);
        assert!(open.take(whose, 2));
        for _ in 0..2 {
            open.give_back(whose);
        }
        open.give_back(ClientNetwork::V4(2));
        assert!(open.0.is_empty());
    }
}
