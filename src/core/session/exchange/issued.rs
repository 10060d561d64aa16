//! The access tokens that a family handed out: what is taken back with it.
//!
//! Where the store has lost its record, or the latest of it, those of before are not known any more, but that
//! is noted: whoever ends the family must never take what is here for all that there is.

use super::{Family, Issued, Now};
use crate::core::session::grant::Grant;

/// How many access tokens are remembered; those that end first are forgotten first.
pub(super) const TOKENS: usize = 256;

impl Family {
    /// Somebody signed in, and this is the first access token: nothing was handed out before.
    pub fn begin(&mut self, issued: Option<Issued>, now: Now) {
        self.has_gap = false;
        self.issue(issued, now);
    }

    /// Notes an access token that is handed out. Returns one that still lives and for which there is no room
    /// any more.
    pub fn issue(&mut self, issued: Option<Issued>, now: Now) -> Option<Issued> {
        self.issued.retain(|token| now.here < token.known_until());
        self.issued.extend(issued);
        if self.issued.len() <= TOKENS {
            return None;
        }
        self.issued.sort_by_key(|token| token.expires_at);
        Some(self.issued.remove(0))
    }

    /// Keeps what the ID token calls its person, where that is another name than the access token's.
    pub fn call_its_person(&mut self, name: Option<&str>) {
        self.other_name = name.map(ToOwned::to_owned);
    }

    /// What the ID token calls its person, where that is another name.
    pub fn other_name(&self) -> Option<&str> {
        self.other_name.as_deref()
    }

    /// The access tokens that were handed out, some of which may have expired.
    pub fn issued(&self) -> &[Issued] {
        &self.issued
    }

    /// Whether some of what was handed out is not known.
    pub const fn has_gap(&self) -> bool {
        self.has_gap
    }

    /// The same where `grant` was presented, which may be newer than what is known.
    pub fn has_gap_by(&self, grant: &Grant) -> bool {
        self.has_gap || grant.generation > self.latest()
    }
}
