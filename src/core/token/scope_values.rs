//! The scope values of a token (RFC 6749 section 3.3), in one piece of memory: they are looked at with each
//! request, and of ten thousand tokens none is in the processor's cache.

use std::collections::BTreeSet;

use smallvec::SmallVec;

/// The values, in the token's order, without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeValues {
    /// Each after its length, so that one which is not looked for is passed over in one step. Where they are
    /// not long, without another wait for memory.
    text: SmallVec<[u8; 64]>,
}

/// The length of a value, in bytes. What is longer than it can say is none.
type Length = u16;

impl ScopeValues {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        // Each is text still: it was before they were put together.
        self.values().filter_map(|value| std::str::from_utf8(value).ok())
    }

    pub fn contains(&self, value: &str) -> bool {
        self.values().any(|own| own == value.as_bytes())
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.text[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (value, after) = after.split_at_checked(Length::from_ne_bytes(*length).into())?;
            rest = after;
            Some(value)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// As one text, a space between two (RFC 6749 section 3.3). A value that is no scope there, because
    /// whoever takes the text apart would find several in it, is left out: they could be worth more than it.
    pub fn joined(&self) -> String {
        self.iter().filter(|value| is_one(value)).collect::<Vec<_>>().join(" ")
    }

    /// Bytes of memory beside its own.
    pub(super) fn heap(&self) -> usize {
        if self.text.spilled() { self.text.capacity() } else { 0 }
    }
}

/// Whether a value stays one where it stands between spaces.
pub fn is_one(value: &str) -> bool {
    !value.chars().any(|c| c.is_whitespace() || c.is_control())
}

impl<'v> FromIterator<&'v str> for ScopeValues {
    fn from_iter<I: IntoIterator<Item = &'v str>>(values: I) -> Self {
        let (mut text, mut known) = (SmallVec::new(), Seen::default());
        for value in values {
            let Ok(length) = Length::try_from(value.len()) else { continue };
            if length > 0 && known.insert(value) {
                text.extend_from_slice(&length.to_ne_bytes());
                text.extend_from_slice(value.as_bytes());
            }
        }
        text.shrink_to_fit();
        Self { text }
    }
}

/// As many are compared one by one, which takes no memory.
const FEW: usize = 16;

/// Which values there were. However many a token has, each costs a bounded number of comparisons.
#[derive(Default)]
struct Seen<'v> {
    few: SmallVec<[&'v str; FEW]>,
    more: BTreeSet<&'v str>,
}

impl<'v> Seen<'v> {
    /// Returns whether it is new.
    fn insert(&mut self, value: &'v str) -> bool {
        if self.few.contains(&value) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(value);
            return true;
        }
        self.more.insert(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_there_are_each_stands_once_in_its_order() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|names| {
            // Of few names, so that many come again, before and after there are too many to compare.
            let names: Vec<String> = names.iter().map(|name| format!("v{}", name % 40)).collect();
            let values: ScopeValues = names.iter().map(String::as_str).collect();
            let mut expected: Vec<&str> = Vec::new();
            for name in &names {
                if !expected.contains(&name.as_str()) {
                    expected.push(name);
                }
            }
            assert_eq!(values.iter().collect::<Vec<_>>(), expected);
        });
        let many: Vec<String> = (0..3 * FEW).map(|at| format!("v{}", at % (2 * FEW))).collect();
        let values: ScopeValues = many.iter().map(String::as_str).collect();
        assert_eq!(values.iter().count(), 2 * FEW);
    }

    #[test]
    fn values_are_whole_and_not_repeated() {
        let values: ScopeValues = ["api:read", "", "a b", "api:read", "api"].into_iter().collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), ["api:read", "a b", "api"]);
        assert_eq!(values.joined(), "api:read api", "a text of all would name `a` and `b`");
        for (value, has) in [("api", true), ("a b", true), ("a", false), ("api:", false), ("", false)] {
            assert_eq!(values.contains(value), has, "{value:?}");
        }
        assert!(ScopeValues::default().is_empty() && !ScopeValues::default().contains(""));
    }

    #[test]
    fn nothing_in_a_value_makes_two_of_it() {
        let values: ScopeValues = ["a\0\u{5}admin", "\u{5}\0admin", "\0", "b"].into_iter().collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), ["a\0\u{5}admin", "\u{5}\0admin", "\0", "b"]);
        assert!(!values.contains("admin") && !values.contains("a"));
    }

    #[test]
    fn what_is_too_long_for_any_request_is_no_value() {
        let long = "x".repeat(Length::MAX.into());
        let longer = format!("{long}x");
        let values: ScopeValues = [long.as_str(), &longer, "b"].into_iter().collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), [&long, "b"]);
    }
}
