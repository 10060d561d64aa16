//! A sign-out under way: by what the gateway finds the ID token of the session that has just ended, when its
//! page leads the browser on. It travels sealed in a cookie of its own.
//!
//! It must never hold the token: that is in the store, may be too long for a cookie, and is taken from there
//! once. `__Host-`, so that nobody else plants one; `Strict`, because the browser comes from a page of ours.

use std::time::Duration;

use crate::core::secret::Secret;
use crate::core::session::cookie::{Attributes, BY_HOST};
use crate::core::session::exchange::seal::Holder;
use crate::core::time::Timestamp;

/// How long a page may take to lead on.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// Where the page leads first.
pub const NEXT: &str = "/oauth/logout/next";

/// The name of a client begins with a letter or a digit, so no cookie that is named after one is called so.
const INFIX: &str = "-out-";

/// A sign-out under way.
#[derive(Clone, Debug)]
pub struct SignOut {
    /// The holder whose tokens in the store they are.
    pub holder: Holder,
    began_at: Timestamp,
}

impl SignOut {
    pub const fn begin(holder: Holder, now: Timestamp) -> Self {
        Self { holder, began_at: now }
    }

    /// Whether the browser comes too late.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.began_at.plus(LIFETIME)
    }

    /// The form that is sealed.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        let mut bytes = self.holder.to_bytes(8);
        bytes.expose_mut().extend_from_slice(&self.began_at.as_millis().to_be_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (holder, began_at) = bytes.split_last_chunk()?;
        let began_at = Timestamp::from_millis(i64::from_be_bytes(*began_at));
        Some(Self { holder: Holder::from_bytes(holder)?, began_at })
    }
}

/// The address that the page leads to.
pub fn next_path(client_id: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", client_id);
    format!("{NEXT}?{}", query.finish())
}

/// The name of a client's cookie.
pub fn cookie_name(client: &str) -> String {
    format!("{BY_HOST}{INFIX}{client}")
}

/// The attributes of the cookie.
pub const fn attributes(name: &str) -> Attributes<'_> {
    Attributes { name, path: "/", same_site: "Strict" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::session::cookie;
    use crate::core::session::exchange::seal::Content;
    use crate::core::session::grant::tests::grant;
    use crate::core::session::transaction;

    #[test]
    fn a_sign_out_is_read_as_it_was_written_and_opens_what_the_session_had() {
        let kept = Holder::of(&grant()).seal(Content::Tokens, b"an ID token", [1; 12]).unwrap();
        let written = SignOut::begin(Holder::of(&grant()), Timestamp::from_secs(1000)).to_bytes();
        let read = SignOut::from_bytes(written.expose()).unwrap();
        assert_eq!(read.holder.open(Content::Tokens, &kept).unwrap().expose(), b"an ID token");
        assert!(!read.is_over(Timestamp::from_millis(1_059_999)) && read.is_over(Timestamp::from_secs(1060)));
        for other in [&written.expose()[1..], &[written.expose().as_slice(), b"x"].concat(), b""] {
            assert!(SignOut::from_bytes(other).is_none());
        }
        bolero::check!().for_each(|bytes: &[u8]| drop(SignOut::from_bytes(bytes)));
    }

    #[test]
    fn its_cookie_is_no_other_client_s_session_nor_a_sign_in() {
        let name = cookie_name("web");
        assert_eq!(name, "__Host-Http-tollgate--out-web");
        assert!(cookie::is_by_default_ours(name.as_bytes()));
        // A client's name begins with a letter or a digit.
        for client in ["web", "out-web", "0"] {
            assert_ne!(name, format!("{BY_HOST}{client}"));
            assert!(!transaction::is_named_for(name.as_bytes(), client), "{client}");
        }
        let set = cookie::set(attributes(&name), "v", LIFETIME).unwrap();
        assert_eq!(set, format!("{name}=v; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict"));
        assert_eq!(next_path("a b&c"), "/oauth/logout/next?client_id=a+b%26c");
    }
}
