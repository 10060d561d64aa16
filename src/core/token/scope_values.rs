//! The scope values of a token (RFC 6749 section 3.3), in one piece of memory: they are looked at with each request, and
//! of ten thousand tokens none is in the processor's cache.

use std::collections::BTreeSet;

use smallvec::SmallVec;

/// The values, in the token's order, without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeValues {
    /// Each followed by [`END`]; where it is not long, without another wait for memory.
    text: SmallVec<[u8; 64]>,
}

/// In no value: one that has it is none.
const END: u8 = 0;

impl ScopeValues {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        // Each is text still: it was before they were put together, and END is no part of a longer character.
        self.values().filter_map(|value| std::str::from_utf8(value).ok())
    }

    pub fn contains(&self, value: &str) -> bool {
        self.values().any(|own| own == value.as_bytes())
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == END).filter(|value| !value.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// As one text, a space between two.
    pub fn joined(&self) -> String {
        self.iter().collect::<Vec<_>>().join(" ")
    }

    /// Bytes of memory beside its own.
    pub(super) fn heap(&self) -> usize {
        if self.text.spilled() { self.text.capacity() } else { 0 }
    }
}

impl<'v> FromIterator<&'v str> for ScopeValues {
    fn from_iter<I: IntoIterator<Item = &'v str>>(values: I) -> Self {
        let (mut text, mut known) = (SmallVec::new(), BTreeSet::new());
        for value in values {
            if !value.is_empty() && !value.as_bytes().contains(&END) && known.insert(value) {
                text.extend_from_slice(value.as_bytes());
                text.push(END);
            }
        }
        text.shrink_to_fit();
        Self { text }
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
