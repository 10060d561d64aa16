//! How many connections one client address has.

use dashmap::DashMap;

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
