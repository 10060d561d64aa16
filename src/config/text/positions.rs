//! Where places stand in the text, however many are asked for: in one pass. (`tree::locate` finds one by a
//! pass of its own, also in a text that cannot be read whole.)
//!
//! The YAML reader puts its mark on errors alone. So whoever is to read a key or a scalar refuses it here,
//! and the walk goes on behind it. Lists and keys with values have no such mark: they begin where their first
//! part does, or at the bracket before that. Only an empty one among the items of a list is looked for by
//! itself. What is walked must have been read whole before (`tree::read`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::config::text::tree::{self, Place, Step};

/// Line and column, from 1.
type Position = (usize, usize);

/// So many empty items are looked for by themselves, each by a pass over the text.
const EMPTY_ITEMS: usize = 50;

/// The longest line, in bytes, on which it is looked for the bracket before a first part: that costs a pass
/// over what stands before. In a text without line breaks it says little anyway.
const LONGEST_LINE: usize = 1000;
/// So many blank lines and comments may stand between a bracket and what it opens.
const LINES_BETWEEN: usize = 100;

/// Where these places stand, as [`tree::locate`] says it of each.
pub(in crate::config) struct Positions<'t> {
    text: &'t str,
    standing: HashMap<Place, Standing>,
    empty_items: usize,
}

/// Where a node stands.
#[derive(Clone, Copy, Default)]
struct Standing {
    is_there: bool,
    /// Its key.
    key: Option<Position>,
    value: Option<Position>,
}

impl<'t> Positions<'t> {
    pub(in crate::config) fn of<'p>(text: &'t str, places: impl Iterator<Item = &'p Place>) -> Self {
        let standing: HashMap<_, _> =
            places.flat_map(Place::down_to).map(|place| (place, Standing::default())).collect();
        if standing.is_empty() {
            return Self { text, standing, empty_items: 0 };
        }
        let found = RefCell::new(Found { standing, path: Place::default(), left: 2 * tree::NODE_LIMIT });
        let lines: Vec<_> = text.lines().collect();
        let begins =
            Walk { found: &found, lines: &lines }.deserialize(serde_yaml::Deserializer::from_str(text));
        let mut standing = found.into_inner().standing;
        let value = begins.unwrap_or_else(|refused| Some(mark(&refused)));
        standing.insert(Place::default(), Standing { is_there: true, key: None, value });
        Self { text, standing, empty_items: 0 }
    }

    /// The position of what is missing: that of its nearest parent that is there.
    pub(in crate::config) fn find(&mut self, place: &Place) -> Position {
        let mut holder = (1, 1);
        for (depth, at) in place.down_to().enumerate() {
            match self.standing.get(&at) {
                Some(standing) if standing.is_there => {
                    let Some(position) = standing.value.or(standing.key) else {
                        return self.seek(place, holder);
                    };
                    holder = position;
                    if depth == place.depth() {
                        return standing.key.unwrap_or(position);
                    }
                }
                _ => break,
            }
        }
        holder
    }

    fn seek(&mut self, place: &Place, near: Position) -> Position {
        self.empty_items += 1;
        if self.empty_items > EMPTY_ITEMS { near } else { tree::locate(self.text, place) }
    }
}

struct Found {
    standing: HashMap<Place, Standing>,
    path: Place,
    /// How many nodes more there can be.
    left: usize,
}

impl Found {
    fn note(&mut self, key: Option<Position>, value: Option<Position>) {
        if let Some(standing) = self.standing.get_mut(&self.path) {
            *standing = Standing { is_there: true, key, value };
        }
    }

    /// # Errors
    /// When the reader does not get on.
    fn count<E: de::Error>(&mut self) -> Result<(), E> {
        self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("more nodes than there can be"))?;
        Ok(())
    }
}

/// Reads a node and all below. Returns where it begins, unless it is empty; of a scalar the error says it.
#[derive(Clone, Copy)]
struct Walk<'w> {
    found: &'w RefCell<Found>,
    lines: &'w [&'w str],
}

impl<'w> Walk<'w> {
    /// The opening bracket right before `first`, where there is one, or the anchor before that. A dash opens
    /// what stands on its own line.
    fn opening(self, first: Position, bracket: char, is_list: bool) -> Position {
        let (line, column) = first;
        let text = self.line(line);
        let end = text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
        let before = text.get(..end).unwrap_or_default().trim_end();
        if !before.is_empty() {
            let opens = if is_list { &[bracket, '-'][..] } else { &[bracket][..] };
            return before.strip_suffix(opens).map_or(first, |before| (line, 1 + beginning(before)));
        }
        let above = (1..line).rev().take(LINES_BETWEEN).map(|line| (line, self.line(line).trim_end()));
        let says_something =
            |(_, text): &(usize, &str)| !text.is_empty() && !text.trim_start().starts_with('#');
        let Some((line, text)) = { above }.find(says_something) else { return first };
        let text = text.split_once(" #").map_or(text, |(text, _)| text.trim_end());
        match text.strip_suffix(bracket) {
            Some(before) => (line, 1 + beginning(before)),
            None => anchor(text).map_or(first, |before| (line, 2 + before)),
        }
    }

    /// Empty, where it is too long.
    fn line(self, number: usize) -> &'w str {
        let line = number.checked_sub(1).and_then(|at| self.lines.get(at)).copied();
        line.filter(|line| line.len() <= LONGEST_LINE).unwrap_or_default()
    }
}

/// How many characters stand before a node that begins behind `before`: at its anchor, if it has one.
fn beginning(before: &str) -> usize {
    anchor(before.trim_end()).map_or(before.chars().count(), |before| before + 1)
}

/// How many characters stand before the blank before the anchor that `text` ends with.
fn anchor(text: &str) -> Option<usize> {
    let (before, _) = text.rsplit_once(char::is_whitespace).filter(|(_, word)| word.starts_with('&'))?;
    Some(before.chars().count())
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<Position>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Every scalar is refused, as a visitor does by itself.
impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<Position>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut first = None;
        let mut seen = HashMap::<String, usize>::new();
        loop {
            let mut key = None;
            let Err(refused) = map.next_key_seed(Key(&mut key)) else { break };
            let Some(key) = key else { return Err(refused) };
            let at = mark(&refused);
            first.get_or_insert(at);
            let times = *seen.entry(key.clone()).and_modify(|times| *times += 1).or_insert(0);
            self.found.borrow_mut().count()?;
            self.found.borrow_mut().path.push(Step::Key(key, times));
            let value = map.next_value_seed(self).unwrap_or_else(|refused| Some(mark(&refused)));
            let mut found = self.found.borrow_mut();
            found.note(Some(at), value);
            found.path.pop();
        }
        Ok(first.map(|first| self.opening(first, '{', false)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut first = None;
        for index in 0.. {
            self.found.borrow_mut().count()?;
            self.found.borrow_mut().path.push(Step::Index(index));
            let item = list.next_element_seed(self);
            let is_one = !matches!(item, Ok(None));
            let value = item.map_or_else(|refused| Some(mark(&refused)), Option::flatten);
            let mut found = self.found.borrow_mut();
            if is_one {
                found.note(None, value);
            }
            found.path.pop();
            if !is_one {
                break;
            }
            first = first.or(value);
        }
        Ok(first.map(|first| self.opening(first, '[', true)))
    }
}

/// Takes the text of a key, and refuses it.
struct Key<'k>(&'k mut Option<String>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Infallible, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Infallible, E> {
        *self.0 = Some(key.to_owned());
        Err(E::custom("here"))
    }
}

/// What the reader wrote on its error; at the very beginning of a text it writes nothing.
fn mark(refused: &impl fmt::Display) -> Position {
    let text = refused.to_string();
    let read = || {
        let (line, column) = text.rsplit_once(" at line ")?.1.split_once(" column ")?;
        Some((line.parse().ok()?, column.parse().ok()?))
    };
    read().unwrap_or((1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::text::tree::Node;

    /// All places of a tree, and below each that is no list a key that is not there; beside each whether its
    /// node is an empty one.
    fn places(node: &Node, at: &Place, all: &mut Vec<(Place, bool)>) {
        let is_empty = *node == Node::Map(vec![]) || *node == Node::List(vec![]);
        all.push((at.clone(), is_empty));
        if !matches!(node, Node::List(_)) {
            all.extend([at.key("none"), at.key("none").index(3)].map(|place| (place, is_empty)));
        }
        match node {
            Node::Map(entries) => entries.iter().for_each(|(key, node)| places(node, &at.key(key), all)),
            Node::List(items) => {
                items.iter().enumerate().for_each(|(index, node)| places(node, &at.index(index), all));
            }
            _ => {}
        }
    }

    #[test]
    fn all_stand_where_each_is_found_by_itself() {
        for text in [
            include_str!("../../../config.yaml"),
            include_str!("../../../tests/data/config/mistakes.yaml"),
            "a: 1\nb:\n  - x\n  - c: [1, { d: null }, ~, [e, \"f\"]]\n    g:\nh: { i: {}, j: [] , k : { l: m } }\n",
            "# first\n\n\"a b\": &one { c: 1 }\nd: [*one, *one]\n'e': *one\nä ö: { ü: [ß, { x: y }] }\n",
            "- a\n- b: 1\n  c: 2\n-\n  d: 3\n",
            "a: {}\nb: [{}, 1, {}]\nc:\n  - {}\n  - x\n",
            "a: |\n  text at line 7 column 9\nb at line 3 column 4: 1\n",
            "a: [\n  {\n    b: 1\n  }, { # one more\n\n    # and a comment\n    c: [\n      2\n    ]\n  }\n]\n",
            "a:\n  - &x\n    b: 1\n  - &y { c: 2 }\nd: &z\n  e: 3\n",
        ] {
            let (root, _) = tree::read(text).unwrap();
            let mut all = Vec::new();
            places(&root, &Place::default(), &mut all);
            let mut positions = Positions::of(text, all.iter().map(|(place, _)| place));
            for (place, is_empty) in &all {
                let (line, column) = tree::locate(text, place);
                let found = positions.find(place);
                // What is not there below an empty one stands at the key of that, on the same line here.
                let column = if *is_empty { found.1 } else { column };
                assert_eq!(found, (line, column), "{place} of\n{text}");
            }
        }
    }

    #[test]
    fn a_text_without_line_breaks_costs_one_pass() {
        let text = format!("{{\"a\": [{}]}}", vec!["{\"b\": {\"c\": 1}}"; 20_000].join(", "));
        let place = Place::default().key("a").index(19_999).key("b");
        let began = std::time::Instant::now();
        assert_eq!(Positions::of(&text, std::iter::once(&place)).find(&place).0, 1);
        // A hundredth of this; each bracket by a pass over all before it: minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn each_of_several_equal_keys_has_its_own() {
        let text = "a: 1\nb: 2\na: { c: 3 }\na: 4\n";
        let (_, twice) = tree::read(text).unwrap();
        let mut positions = Positions::of(text, twice.iter());
        assert_eq!(twice.iter().map(|place| positions.find(place)).collect::<Vec<_>>(), [(3, 1), (4, 1)]);
    }
}
