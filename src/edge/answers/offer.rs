//! What the answer to a refusal offers a person to do about it.

/// What a person may do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer<'p> {
    Nothing,
    /// Begin a sign-in, at this path or URL.
    SignIn(&'p str),
    /// Sign out by a form to this path, and come back as somebody else.
    SignOut(&'p str),
}

impl<'p> Offer<'p> {
    pub(crate) fn sign_in(at: Option<&'p str>) -> Self {
        at.map_or(Self::Nothing, Self::SignIn)
    }

    /// Where to sign in, where that is what would mend it.
    pub(crate) const fn login_url(self) -> Option<&'p str> {
        match self {
            Self::SignIn(at) => Some(at),
            Self::Nothing | Self::SignOut(_) => None,
        }
    }
}
