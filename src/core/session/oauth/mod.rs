//! What goes to the authorization server and what comes back, as allow-lists (RFC 6749).
//!
//! - `grant_type`: the grants that there are
//! - `request`: what a page may ask of `/oauth/token`, and the form that goes on to the AS
//! - `native`: what a native client may ask, with credentials of its own or with ours
//! - `authentication`: how the gateway proves that it is the client (RFC 6749 section 2.3, RFC 7523)
//! - `answer`: what the AS said, and the part of it that a page may see
//! - `pushed`: what the AS said to a pushed authorization request (RFC 9126)
//! - `outage`: that the AS cannot be used, and when it wants to be asked again

pub mod answer;
pub mod authentication;
pub mod grant_type;
pub mod native;
pub mod outage;
pub mod pushed;
pub mod request;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of scope values (RFC 6749 section 3.3); order and repetition mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Scope(BTreeSet<String>);

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl TryFrom<String> for Scope {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a scope (RFC 6749 section 3.3)")
    }
}

impl Scope {
    /// `None` when there is no value in it, or a character that a scope value cannot have.
    pub fn parse(text: &str) -> Option<Self> {
        let values: BTreeSet<_> =
            text.split(' ').filter(|value| !value.is_empty()).map(ToOwned::to_owned).collect();
        let fits = |value: &String| value.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        (!values.is_empty() && values.iter().all(fits)).then_some(Self(values))
    }

    /// The scope of these values; `None` under the same conditions as [`Self::parse`].
    pub fn of<'v>(values: impl Iterator<Item = &'v str>) -> Option<Self> {
        Self::parse(&values.collect::<Vec<_>>().join(" "))
    }

    /// Whether all of `wanted` was granted, as far as the AS says. `openid` and `offline_access` count as
    /// granted: where a grant is known by its access token, and at some servers, nobody names them.
    pub fn covers(&self, wanted: &str) -> bool {
        let is_granted = |value| self.0.contains(value) || matches!(value, "openid" | "offline_access");
        wanted.split(' ').filter(|value| !value.is_empty()).all(is_granted)
    }

    /// Whether this asks for nothing that `granted` lacks.
    pub fn is_within(&self, granted: &Self) -> bool {
        self.0.is_subset(&granted.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_narrows_and_never_widens() {
        let scope = |text| Scope::parse(text).unwrap();
        assert!(scope("a").is_within(&scope("b a")));
        assert!(scope("a b a").is_within(&scope("b a")));
        assert!(!scope("a c").is_within(&scope("a b")));
        assert!(!scope("A").is_within(&scope("a")));
        assert_eq!(scope("b  a b").to_string(), "a b");
        for bad in ["", " ", "a\"b", "a\\b", "a\nb", "é"] {
            assert_eq!(Scope::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_grant_covers_what_it_names_and_what_no_server_need_name() {
        let granted = Scope::parse("a b").unwrap();
        for covered in ["", "a", "b  a", "openid a offline_access b"] {
            assert!(granted.covers(covered), "{covered}");
        }
        for more in ["c", "a b c", "openid A"] {
            assert!(!granted.covers(more), "{more}");
        }
    }
}
