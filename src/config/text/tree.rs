//! Text becomes a tree, and a place in the tree becomes a line of the text again.
//!
//! Decides: syntax, keys and anchors given twice, how large a tree may become (anchors repeat what they stand
//! for). Must never: know any key, or fail on the first key that is given twice. Lines are found by
//! replaying the text down a path and failing there: the YAML reader puts its mark on that error.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::config::text::anchors;
use crate::config::text::unreadable::{REPEATS, Unreadable};

/// The largest text that is read, in bytes.
pub(in crate::config) const TEXT_LIMIT: usize = 1 << 20;
/// How many `[` and `{` may stand in the file, and how many of them open at once. The YAML reader's
/// time grows with the square of their depth, so they are counted before it begins; brackets in
/// text count too.
const BRACKET_LIMIT: usize = 20_000;
const OPEN_LIMIT: usize = 1000;
/// What the tree may hold after every anchor was followed: nodes, and bytes of text.
pub(in crate::config) const NODE_LIMIT: usize = 200_000;
const CONTENT_LIMIT: usize = 8 << 20;

/// What YAML says, before anybody asks what it means.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the file's order; a key given twice keeps its first value.
    Map(Vec<(String, Node)>),
}

/// One step from a node to one below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::config) enum Step {
    /// A key, and which one of several equal ones (0 is the first).
    Key(String, usize),
    Index(usize),
}

/// Where a node stands, from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::config) struct Place(Vec<Step>);

impl Place {
    pub(in crate::config) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned(), 0))
    }

    pub(in crate::config) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// Whether this is a part of what stands at `other`.
    pub(in crate::config) fn is_below(&self, other: &Self) -> bool {
        self.0.len() > other.0.len() && self.0.starts_with(&other.0)
    }

    /// From the root down to this one.
    pub(in crate::config) fn down_to(&self) -> impl Iterator<Item = Self> + '_ {
        (0..=self.0.len()).map(|depth| Self(self.0.iter().take(depth).cloned().collect()))
    }

    pub(in crate::config) const fn depth(&self) -> usize {
        self.0.len()
    }

    pub(in crate::config) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(in crate::config) fn pop(&mut self) {
        self.0.pop();
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key, _) => {
                    let plain = !key.is_empty()
                        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
                    match (plain, depth) {
                        (true, 0) => f.write_str(key)?,
                        (true, _) => write!(f, ".{key}")?,
                        (false, _) => write!(f, "[{key:?}]")?,
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads the text; beside the tree come the paths of the keys that were given twice.
pub(in crate::config) fn read(text: &str) -> Result<(Node, Vec<Place>), Unreadable> {
    if text.len() > TEXT_LIMIT {
        return Err(Unreadable::at((1, 1), "the file is larger than 1 MiB; a configuration is smaller"));
    }
    if let Some(line) = too_many_brackets(text) {
        let message = "up to here the file has too many `[` and `{`; a configuration has fewer";
        return Err(Unreadable::at((line, 1), message));
    }
    let growth = RefCell::new(Growth::default());
    let root = Grow(&growth)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| Unreadable::of(&error, text, || locate(text, &growth.borrow().path)))?;
    if root == Node::Null {
        let message = "the file says nothing; docs/configuration.md begins with a small one";
        return Err(Unreadable::at((1, 1), message));
    }
    if let Some((at, name)) = anchors::given_twice(text) {
        let message = format!(
            "the anchor `{name}` is given twice, so `*{name}` could mean either; give each a name of its own"
        );
        return Err(Unreadable::at(position(text, at), message));
    }
    Ok((root, growth.into_inner().given_twice))
}

/// The line and column (from 1) of a byte of the text.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count().saturating_add(1), line.chars().count().saturating_add(1))
}

/// The line where there are too many of them.
fn too_many_brackets(text: &str) -> Option<usize> {
    let (mut total, mut open) = (0, 0_usize);
    for (index, line) in text.lines().enumerate() {
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => (total, open) = (total + 1, open + 1),
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
        }
        if total > BRACKET_LIMIT || open > OPEN_LIMIT {
            return Some(index + 1);
        }
    }
    None
}

/// The line and column (from 1) where a path stands: its key, or its item.
pub(in crate::config) fn locate(text: &str, path: &Place) -> (usize, usize) {
    let error = Seek(&path.0).deserialize(serde_yaml::Deserializer::from_str(text)).err();
    error.and_then(|error| error.location()).map_or((1, 1), |at| (at.line(), at.column()))
}

#[derive(Default)]
struct Growth {
    path: Place,
    nodes: usize,
    content: usize,
    given_twice: Vec<Place>,
}

impl Growth {
    fn add<E: de::Error>(&mut self, content: usize) -> Result<(), E> {
        self.nodes += 1;
        self.content += content;
        if self.nodes > NODE_LIMIT || self.content > CONTENT_LIMIT {
            return Err(E::custom(REPEATS));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Grow<'g>(&'g RefCell<Growth>);

impl<'de> DeserializeSeed<'de> for Grow<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Grow<'_> {
    fn scalar<E: de::Error>(self, node: Node, content: usize) -> Result<Node, E> {
        self.0.borrow_mut().add(content)?;
        Ok(node)
    }

    fn below(self, step: Step) {
        self.0.borrow_mut().path.push(step);
    }

    fn back(self) {
        self.0.borrow_mut().path.pop();
    }
}

impl<'de> Visitor<'de> for Grow<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false, a list or keys with values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        self.0.borrow_mut().add(0)?;
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut seen = std::collections::HashMap::<String, usize>::new();
        while let Some(key) = map.next_key_seed(KeyText)? {
            self.0.borrow_mut().add(key.len())?;
            let times = seen.entry(key.clone()).and_modify(|times| *times += 1).or_insert(0);
            let times = *times;
            self.below(Step::Key(key.clone(), times));
            let value = map.next_value_seed(self)?;
            if times == 0 {
                entries.push((key, value));
            } else {
                let mut growth = self.0.borrow_mut();
                let path = growth.path.clone();
                growth.given_twice.push(path);
            }
            self.back();
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        self.0.borrow_mut().add(0)?;
        let mut items = Vec::new();
        loop {
            self.below(Step::Index(items.len()));
            let item = list.next_element_seed(self)?;
            self.back();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Node::List(items)),
            }
        }
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(de::Error::custom("a YAML tag (`!…`) means nothing here; remove it, or quote the text"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        self.scalar(Node::Text(text.to_owned()), text.len())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(Node::Bool(value), 0)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(Node::Number(value.into()), 0)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(Node::Number(value.into()), 0)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value)
            .ok_or_else(|| E::custom("this number is not finite; quote it if it is text"))?;
        self.scalar(Node::Number(number), 0)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Node, E> {
        Err(E::custom("this number is too large; quote it if it is text"))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Node, E> {
        Err(E::custom("this number is too large; quote it if it is text"))
    }

    /// A text without any value.
    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Node::Null, 0)
    }
}

/// A key as it is written, whatever YAML would take it for.
struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }
}

/// Walks down a path and fails at its end.
struct Seek<'p>(&'p [Step]);

fn here<T, E: de::Error>() -> Result<T, E> {
    Err(E::custom("here"))
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(want, nth), rest)) = self.0.split_first() else { return here() };
        let mut passed = 0;
        loop {
            let seed = SeekKey { want, skip: passed < *nth, last: rest.is_empty() };
            match map.next_key_seed(seed)? {
                None => return here(),
                Some(true) if passed == *nth => return map.next_value_seed(Seek(rest)),
                Some(found) => {
                    passed += usize::from(found);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Index(index), rest)) = self.0.split_first() else { return here() };
        for _ in 0..*index {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Seek(rest))?;
        here()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        here()
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        here()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        here()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        here()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        here()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        here()
    }
}

struct SeekKey<'p> {
    want: &'p str,
    /// An equal key that is not the one yet.
    skip: bool,
    /// The key ends the path: fail on it, so that the mark is the key's.
    last: bool,
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SeekKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        if key == self.want && self.last && !self.skip {
            return here();
        }
        Ok(key == self.want)
    }
}
