//! The scope values of a token (RFC 6749 section 3.3), in one piece of memory: they are looked at with each request, and
//! of ten thousand tokens none is in the processor's cache.

use std::collections::BTreeSet;

/// The values, in the token's order, without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeValues {
    /// Each followed by [`END`].
    text: Box<str>,
}

/// In no value: one that has it is none.
const END: char = '\0';

impl ScopeValues {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.split_terminator(END)
    }

    pub fn contains(&self, value: &str) -> bool {
        self.iter().any(|own| own == value)
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// As one text, a space between two.
    pub fn joined(&self) -> String {
        self.iter().collect::<Vec<_>>().join(" ")
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

impl<'v> FromIterator<&'v str> for ScopeValues {
    fn from_iter<I: IntoIterator<Item = &'v str>>(values: I) -> Self {
        let (mut text, mut known) = (String::new(), BTreeSet::new());
        for value in values {
            if !value.is_empty() && !value.contains(END) && known.insert(value) {
                text.push_str(value);
                text.push(END);
            }
        }
        Self { text: text.into_boxed_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_whole_and_not_repeated() {
        let values: ScopeValues = ["api:read", "", "a b", "api:read", "api"].into_iter().collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), ["api:read", "a b", "api"]);
        assert_eq!(values.joined(), "api:read a b api");
        for (value, has) in [("api", true), ("a b", true), ("a", false), ("api:", false), ("", false)] {
            assert_eq!(values.contains(value), has, "{value:?}");
        }
        assert!(ScopeValues::default().is_empty() && !ScopeValues::default().contains(""));
    }

    #[test]
    fn nothing_in_a_value_makes_two_of_it() {
        let values: ScopeValues = ["a\0admin", "\0", "b"].into_iter().collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), ["b"]);
    }
}
