//! Whether somebody is there: an idle timeout counts from the last use of a session.

/// Whether a request is use of its session, or only sees to it that nothing runs out meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Use,
    Poll,
}

impl Activity {
    /// Use where this holds.
    pub const fn use_if(is_use: bool) -> Self {
        if is_use { Self::Use } else { Self::Poll }
    }

    pub const fn is_use(self) -> bool {
        matches!(self, Self::Use)
    }
}
