//! What goes to the authorization server and what comes back, as allow-lists (RFC 6749).
//!
//! - `request`: what a page may ask of `/oauth/token`, and the form that goes on to the AS
//! - `authentication`: how the gateway proves that it is the client (RFC 6749 section 2.3, RFC 7523)
//! - `answer`: what the AS said, and the part of it that a page may see

pub mod answer;
pub mod authentication;
pub mod request;

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A set of scope values (RFC 6749 section 3.3); order and repetition mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(BTreeSet<String>);

impl Scope {
    /// `None` when there is no value in it, or a character that a scope value cannot have.
    pub fn parse(text: &str) -> Option<Self> {
        let values: BTreeSet<_> =
            text.split(' ').filter(|value| !value.is_empty()).map(ToOwned::to_owned).collect();
        let fits = |value: &String| value.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        (!values.is_empty() && values.iter().all(fits)).then_some(Self(values))
    }

    /// The scope of these values; `None` under the same conditions as [`Self::parse`].
    pub fn of(values: &[String]) -> Option<Self> {
        Self::parse(&values.join(" "))
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

/// The members of a JSON object. An object with one name twice has two readings, and is not read.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member given twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Once)
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
    fn a_member_given_twice_is_not_read() {
        assert!(serde_json::from_str::<Members>(r#"{"a":1,"b":{"a":1}}"#).is_ok());
        assert!(serde_json::from_str::<Members>(r#"{"a":1,"\u0061":1}"#).is_err());
        assert!(serde_json::from_str::<Members>("[]").is_err());
    }
}
