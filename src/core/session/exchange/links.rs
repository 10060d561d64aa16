//! How the holder of an older generation of a family reaches what is sealed for later ones.

use serde::{Deserialize, Serialize};

use super::Sealed;
use crate::core::session::grant::Generation;

/// A way from the seed of one generation to that of a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub from: Generation,
    pub to: Generation,
    /// The seed of `to`, sealed for holders of `from`.
    pub seed: Sealed,
}

/// Those of one family: one from each generation to the next, but where the store had lost some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Links(Vec<Link>);

impl Links {
    /// Notes those that lead where none did.
    pub(super) fn add(&mut self, new: Vec<Link>) {
        for link in new {
            if self.way(link.from, link.to).is_none() {
                self.0.push(link);
            }
        }
    }

    /// Nobody comes with a generation before this one any more.
    pub(super) fn keep_from(&mut self, oldest: Generation) {
        self.0.retain(|link| link.from >= oldest);
    }

    /// Those that lead from one generation to another, longest steps first taken.
    pub(super) fn way(&self, from: Generation, to: Generation) -> Option<Vec<&Link>> {
        let (mut at, mut way) = (from, Vec::new());
        while at < to {
            let onward = self.0.iter().filter(|link| link.from == at && link.to <= to);
            let longest = onward.max_by_key(|link| link.to).filter(|link| link.to > at)?;
            at = longest.to;
            way.push(longest);
        }
        (at == to).then_some(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: Generation, to: Generation) -> Link {
        Link { from, to, seed: Sealed(vec![1; 60]) }
    }

    #[test]
    fn a_link_that_leads_nowhere_new_is_not_kept() {
        let mut links = Links::default();
        // As landings bring them: from what was exchanged to what came of it, and from whoever asked.
        for of in 0..10 {
            links.add(
                vec![link(of, of + 1), link(0, of)].into_iter().filter(|link| link.from < link.to).collect(),
            );
        }
        assert_eq!(links.0.len(), 10);
        assert_eq!(links.way(0, 10).map(|way| way.len()), Some(10));
        assert_eq!(links.way(3, 3).map(|way| way.len()), Some(0));
        assert_eq!((links.way(5, 11), links.way(5, 4)), (None, None));
    }

    /// The record of a family was lost while the exchange of a later generation was under way.
    #[test]
    fn whoever_asked_reaches_what_was_exchanged_where_the_links_between_were_lost() {
        let mut links = Links::default();
        links.add(vec![link(7, 8), link(3, 7)]);
        assert_eq!(links.way(3, 8).map(|way| way.len()), Some(2));
        assert_eq!(links.way(5, 8), None);
        links.keep_from(7);
        assert_eq!((links.way(3, 8), links.way(7, 8).map(|way| way.len())), (None, Some(1)));
    }
}
