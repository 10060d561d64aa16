//! Names of anchors (YAML 1.2.2 sections 3.2.2.2 and 7.1).
//!
//! An alias means the nearest anchor of its name before it. The YAML reader gets that wrong where a name is
//! given twice: an anchor after the alias may be taken instead, and a route would get another's requirements.
//! So a name that is used may be given only once.
//!
//! Must never: overlook an anchor. Comments, quotes and blocks may hold text that looks like one, and the
//! YAML reader itself tells which is which: in the place of an anchor an alias of nothing is an error, in the
//! place of text it is not.

use std::collections::{HashMap, HashSet};

use serde::Deserialize as _;
use serde::de::IgnoredAny;

/// How often the reader is asked; what is left then counts as an anchor. No configuration needs as many.
const MOST_ASKED: usize = 16;

/// An anchor whose name was given before, and is used: where it stands, in bytes, and the name. `text` is
/// read without an error.
pub(in crate::config) fn given_twice(text: &str) -> Option<(usize, &str)> {
    let used: HashSet<&str> = named(text, '*').map(|(_, name)| name).collect();
    let anchors: Vec<_> = named(text, '&').filter(|(_, name)| used.contains(name)).collect();
    // Longer than any, also of those that nobody uses.
    let longest = named(text, '&').map(|(_, name)| name.len()).max()?;
    let nobody = "x".repeat(longest.saturating_add(1));
    let mut often: HashMap<&str, usize> = HashMap::new();
    anchors.iter().for_each(|(_, name)| *often.entry(name).or_default() += 1);
    let mut given: HashSet<&str> = HashSet::new();
    let mut asked = 0;
    anchors.into_iter().filter(|(_, name)| often.get(name).is_some_and(|often| *often > 1)).find(
        |(at, name)| {
            asked += 1;
            (asked > MOST_ASKED || is_anchor(text, *at, name, &nobody)) && !given.insert(name)
        },
    )
}

/// What looks like the name of an anchor (`&`) or of an alias (`*`), wherever it stands.
fn named(text: &str, sign: char) -> impl Iterator<Item = (usize, &str)> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.match_indices(sign).filter_map(move |(at, sign)| {
        let rest = text.get(at..)?.strip_prefix(sign)?;
        let name = rest.get(..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()))?;
        (!name.is_empty()).then_some((at, name))
    })
}

/// `nobody`: a name that no anchor has.
fn is_anchor(text: &str, at: usize, name: &str, nobody: &str) -> bool {
    let (Some(before), Some(after)) = (text.get(..at), text.get(at.saturating_add(1 + name.len())..)) else {
        return true;
    };
    let probe = [before, "*", nobody, after].concat();
    IgnoredAny::deserialize(serde_yaml::Deserializer::from_str(&probe)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_that_nobody_uses_hides_no_other() {
        let text = "x: &xx 1\nbase: &a {}\no: &a\nthird: &b {}\nr: *a\n";
        assert_eq!(given_twice(text), Some((text.rfind("&a").unwrap(), "a")));
        assert_eq!(given_twice(&text.replace("o: &a", "o: &c")), None);
    }
}
