//! A session cookie that goes out with the answer of whatever request made it necessary. That answer may be
//! long in coming, and browsers keep the cookie that arrives last: a cookie that has become old meanwhile is
//! not sent. Its browser then presents the one before, and gets the newer one with that request.
//!
//! Within `grace` of its exchange this process may know it to be the newest. After that another replica may
//! know a newer one, and the store is asked: otherwise a page all of whose answers are slow would never get a
//! cookie, and in the end be taken for a thief.

use http::HeaderValue;

use crate::core::ids::FamilyId;
use crate::core::session::grant::Generation;
use crate::core::time::Timestamp;

/// A cookie that may go out.
#[derive(Clone, Debug)]
pub struct Ride {
    pub set_cookie: HeaderValue,
    pub family: FamilyId,
    /// The generation of the grant in it; `None`: it takes the cookie away.
    pub generation: Option<Generation>,
    /// The end of `grace` after the exchange that made it.
    pub until: Timestamp,
}

/// Whether a cookie may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayLeave {
    Yes,
    No,
    /// If the store knows no generation after this one.
    IfNewest(Generation),
}

impl Ride {
    /// Whether it may leave now. `newest`: the newest generation of the family that this process knows.
    pub fn may_leave(&self, newest: Option<Generation>, now: Timestamp) -> MayLeave {
        let is_newest = self.generation.zip(newest).is_none_or(|(ours, newest)| ours >= newest);
        match self.generation {
            _ if !is_newest => MayLeave::No,
            _ if now < self.until => MayLeave::Yes,
            Some(generation) => MayLeave::IfNewest(generation),
            // The browser may have signed in again.
            None => MayLeave::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_leaves_within_its_window_and_never_over_a_newer_one() {
        let at = Timestamp::from_secs;
        let ride = |generation| Ride {
            set_cookie: HeaderValue::from_static("a=b"),
            family: FamilyId::from_random([1; 16]),
            generation,
            until: at(30),
        };
        for (generation, newest, now, leaves) in [
            (Some(2), Some(2), 29, MayLeave::Yes),
            (Some(2), None, 0, MayLeave::Yes),
            (Some(2), Some(1), 0, MayLeave::Yes),
            (Some(2), Some(2), 30, MayLeave::IfNewest(2)),
            (Some(2), None, 30, MayLeave::IfNewest(2)),
            (Some(2), Some(3), 0, MayLeave::No),
            (Some(2), Some(3), 30, MayLeave::No),
            (None, Some(3), 0, MayLeave::Yes),
            (None, Some(3), 30, MayLeave::No),
        ] {
            assert_eq!(
                ride(generation).may_leave(newest, at(now)),
                leaves,
                "{generation:?} {newest:?} {now}"
            );
        }
    }
}
