//! Paths and patterns without regard to upper and lower case, which only those ask about who look for doubt.
//!
//! Letters beyond ASCII count too: services that decode a path and then ignore case (ASP.NET, files on NTFS)
//! do not stop at `Z`.

use std::mem::discriminant;

use super::own::is_own;
use super::{CanonicalPath, PathPattern, PatternSegment};

/// A text in lower case, by what its letters have for upper case: `ſ` is `s`, and the sign for Kelvin `k`.
pub(in crate::core) fn lower_case(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().map(one_for_one).flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// The two letters whose lower case is another where a reader takes one letter for each (Java, .NET and Go
/// do: `Simple_Lowercase_Mapping` of the Unicode Character Database) than where it takes several.
const fn one_for_one(letter: char) -> char {
    match letter {
        'İ' => 'i',
        'ẞ' => 'ß',
        other => other,
    }
}

/// Whether no other text without capital letters is the same in another case. Beyond ASCII nobody looks: `ß`
/// is `ss`.
pub(in crate::core) fn is_lower_case(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

pub(super) fn is_same(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        one.eq_ignore_ascii_case(other)
    } else {
        lower_case(one).eq(lower_case(other))
    }
}

impl CanonicalPath {
    /// Whether a letter in it may be a capital. Beyond ASCII every letter has one in its escape (`%C3%A9`).
    pub(in crate::core) fn has_capitals(&self) -> bool {
        // To the end whatever is found, which compilers make fast.
        self.text.bytes().fold(false, |found, byte| found | byte.is_ascii_uppercase())
    }

    /// As [`Self::is_own`], in any case.
    pub(in crate::core) fn is_own_but_for_case(&self) -> bool {
        is_own(self.segments(), is_same)
    }
}

impl PathPattern {
    /// As [`Self::covers_own_paths`], in any case.
    pub(in crate::core) fn covers_own_paths_but_for_case(&self) -> bool {
        is_own(self.first_literals(), is_same)
    }

    /// As [`Self::covers_all_of`], in any case.
    pub(in crate::core) fn covers_all_of_but_for_case(&self, other: &Self) -> bool {
        self.covers_all_of_by(other, is_same)
    }

    /// Whether both have a literal, a `{name}` or `*` at the same places. Of two that cover one path but for
    /// case, such differ by case alone.
    pub(in crate::core) fn has_shape_of(&self, other: &Self) -> bool {
        self.segments.iter().map(discriminant).eq(other.segments.iter().map(discriminant))
    }

    /// Whether both have the same literals, in the same case.
    pub(in crate::core) fn has_literals_of(&self, other: &Self) -> bool {
        fn literals(pattern: &PathPattern) -> impl Iterator<Item = &PatternSegment> {
            pattern.segments.iter().filter(|segment| matches!(segment, PatternSegment::Literal(_)))
        }
        literals(self).eq(literals(other))
    }
}
