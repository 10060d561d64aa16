//! A session cookie that goes out with whatever answer the request gets that made it necessary. An answer may be long
//! in coming, and browsers keep the cookie that arrives last: one that has become old meanwhile stays here. Whoever
//! waited for it presents the one before, and gets the newer one with that request.

use http::HeaderValue;

use crate::core::session::grant::{FamilyId, Generation};
use crate::core::time::Timestamp;

/// A cookie that may go out.
#[derive(Clone, Debug)]
pub struct Ride {
    pub set_cookie: HeaderValue,
    pub family: FamilyId,
    /// Of the grant in it; `None`: it takes the cookie away.
    pub generation: Option<Generation>,
    /// The end of `grace` after the exchange that made it.
    pub until: Timestamp,
}

impl Ride {
    /// Whether it may leave now. `newest`: the newest generation of the family that this process knows.
    pub fn may_leave(&self, newest: Option<Generation>, now: Timestamp) -> bool {
        let is_newest = self.generation.zip(newest).is_none_or(|(ours, newest)| ours >= newest);
        is_newest && now < self.until
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
            (Some(2), Some(2), 29, true),
            (Some(2), None, 0, true),
            (Some(2), Some(1), 0, true),
            (Some(2), Some(2), 30, false),
            (Some(2), Some(3), 0, false),
            (None, Some(3), 0, true),
            (None, Some(3), 30, false),
        ] {
            assert_eq!(
                ride(generation).may_leave(newest, at(now)),
                leaves,
                "{generation:?} {newest:?} {now}"
            );
        }
    }
}
