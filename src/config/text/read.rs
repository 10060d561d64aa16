//! Reads single values out of the tree: text with its variables, durations, sizes, words, secrets.
//!
//! Every mistake goes to the report and reading goes on with the default, so that one pass finds
//! them all; with a report that is not clean nothing that was read is used. A node of the wrong form
//! is passed over in silence: `walk` has reported it. Messages repeat what the file says, never what
//! a variable or a file held (but for `public_url`, which everybody sees).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::machine::Machine;
use crate::config::settings::ShownCertificate;
use crate::config::text::expand::{Expanded, expand};
use crate::config::text::report::Report;
use crate::config::text::tree::{Node, Place};
use crate::config::text::values::{self, meant, show_duration, show_size};
use crate::core::secret::Secret;

/// Reads a whole file.
pub(in crate::config) type ReadFile<'a> = dyn Fn(&std::path::Path) -> io::Result<Vec<u8>> + 'a;

/// What reading needs from outside, and where it reports to.
pub(in crate::config) struct Reader<'a> {
    pub(in crate::config) machine: &'a dyn Machine,
    pub(in crate::config) read_file: &'a ReadFile<'a>,
    /// Paths in the file are relative to this folder.
    pub(in crate::config) base: &'a std::path::Path,
    pub(in crate::config) report: Report,
    /// Every key that was asked for, as `schema::paths` writes it: a test holds this against the schema.
    pub(in crate::config) asked: RefCell<BTreeSet<String>>,
}

/// A map of the tree, whose keys are read by name.
#[derive(Clone)]
pub(in crate::config) struct Keys<'a> {
    reader: &'a Reader<'a>,
    entries: &'a [(String, Node)],
    pub(in crate::config) place: Place,
    pattern: String,
}

/// One node of the tree.
#[derive(Clone)]
pub(in crate::config) struct Value<'a> {
    reader: &'a Reader<'a>,
    node: &'a Node,
    pub(in crate::config) place: Place,
    pattern: String,
}

impl<'a> Reader<'a> {
    pub(in crate::config) fn root(&'a self, node: &'a Node) -> Option<Keys<'a>> {
        Value { reader: self, node, place: Place::default(), pattern: String::new() }.keys()
    }
}

impl<'a> Keys<'a> {
    pub(in crate::config) fn get(&self, key: &str) -> Option<Value<'a>> {
        let pattern =
            if self.pattern.is_empty() { key.to_owned() } else { format!("{}.{key}", self.pattern) };
        self.reader.asked.borrow_mut().insert(pattern.clone());
        let (_, node) = self.entries.iter().find(|(name, _)| name == key)?;
        Some(Value { reader: self.reader, node, place: self.place.key(key), pattern })
    }

    pub(in crate::config) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// A path that the file does not give, relative to the config file like those that it gives.
    pub(in crate::config) fn default_path(&self, path: &str) -> PathBuf {
        self.reader.base.join(path)
    }

    pub(in crate::config) fn place_of(&self, key: &str) -> Place {
        if self.has(key) { self.place.key(key) } else { self.place.clone() }
    }

    /// The keys below `key`; none when it is absent.
    pub(in crate::config) fn section(&self, key: &str) -> Keys<'a> {
        let pattern =
            if self.pattern.is_empty() { key.to_owned() } else { format!("{}.{key}", self.pattern) };
        self.get(key).and_then(|value| value.keys()).unwrap_or(Keys {
            reader: self.reader,
            entries: &[],
            place: self.place.clone(),
            pattern,
        })
    }

    pub(in crate::config) fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.text()
    }

    pub(in crate::config) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.flag())
    }

    pub(in crate::config) fn duration(
        &self,
        key: &str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        self.get(key).and_then(|value| value.duration(bounds)).unwrap_or(default)
    }

    pub(in crate::config) fn size(&self, key: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        self.get(key).and_then(|value| value.size(bounds)).unwrap_or(default)
    }

    /// One of these words; `default` where the key is absent.
    pub(in crate::config) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], default: T) -> T {
        self.get(key).and_then(|value| value.word(words)).unwrap_or(default)
    }

    /// A list of texts, none given twice; `None` when the key is absent or cannot be read.
    pub(in crate::config) fn texts(&self, key: &str) -> Option<Vec<(Value<'a>, String)>> {
        self.get(key)?.texts()
    }

    pub(in crate::config) fn wrong(&self, key: &str, message: impl Into<String>) {
        self.reader.report.wrong(&self.place_of(key), message);
    }

    /// At a place that was noted before.
    pub(in crate::config) fn wrong_at(&self, place: &Place, message: impl Into<String>) {
        self.reader.report.wrong(place, message);
    }

    pub(in crate::config) fn warn(&self, key: &str, message: impl Into<String>) {
        self.reader.report.warn(&self.place_of(key), message);
    }

    /// Whether a variable of this name is set, to anything.
    pub(in crate::config) fn is_in_environment(&self, name: &str) -> bool {
        self.reader.machine.variable(name).is_some_and(|held| !held.is_empty())
    }

    /// All that were noted by [`Value::shows`] so far, but for those below `keys`.
    pub(in crate::config) fn certificates_beside(&self, keys: &[&str]) -> Vec<ShownCertificate> {
        let places: Vec<_> = keys.iter().map(|key| self.place.key(key)).collect();
        self.reader.report.certificates_beside(&places)
    }
}

impl<'a> Value<'a> {
    pub(in crate::config) fn wrong(&self, message: impl Into<String>) {
        self.reader.report.wrong(&self.place, message);
    }

    pub(in crate::config) fn warn(&self, message: impl Into<String>) {
        self.reader.report.warn(&self.place, message);
    }

    /// This names a certificate that Tollgate shows.
    pub(in crate::config) fn shows(&self, certificate: ShownCertificate) {
        self.reader.report.shows(&self.place, certificate);
    }

    pub(in crate::config) fn keys(&self) -> Option<Keys<'a>> {
        let Node::Map(entries) = self.node else { return None };
        Some(Keys { reader: self.reader, entries, place: self.place.clone(), pattern: self.pattern.clone() })
    }

    /// Names that the operator chose, and what stands under each.
    pub(in crate::config) fn named(&self, name: &str) -> Vec<(&'a str, Value<'a>)> {
        let Node::Map(entries) = self.node else { return Vec::new() };
        let below = |(key, node): &'a (String, Node)| {
            let pattern = format!("{}.<{name}>", self.pattern);
            (key.as_str(), Value { reader: self.reader, node, place: self.place.key(key), pattern })
        };
        entries.iter().map(below).collect()
    }

    /// The items of a list; a single value is a list of one.
    pub(in crate::config) fn items(&self) -> Vec<Value<'a>> {
        let Node::List(items) = self.node else { return vec![self.clone()] };
        let item = |(index, node)| Value {
            reader: self.reader,
            node,
            place: self.place.index(index),
            pattern: format!("{}[]", self.pattern),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a list, or a single one, under the same keys.
    pub(in crate::config) fn alternatives(&self) -> Vec<Value<'a>> {
        let entry = |item| Value { pattern: self.pattern.clone(), ..item };
        self.items().into_iter().map(entry).collect()
    }

    /// The entries of a list of entries; a single one may stand without a list.
    pub(in crate::config) fn entries(&self) -> Vec<Value<'a>> {
        if self.is_list() {
            self.items()
        } else {
            vec![Value { pattern: format!("{}[]", self.pattern), ..self.clone() }]
        }
    }

    /// Whether no key stands in it.
    pub(in crate::config) fn is_empty_section(&self) -> bool {
        matches!(self.node, Node::Map(entries) if entries.is_empty())
    }

    pub(in crate::config) fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    /// A scalar that is not text, as it is.
    pub(in crate::config) fn literal(&self) -> Option<serde_json::Value> {
        match self.node {
            Node::Bool(value) => Some((*value).into()),
            Node::Number(number) => Some(number.clone().into()),
            _ => None,
        }
    }

    /// What the file says, before variables are replaced. For messages.
    pub(in crate::config) fn written(&self) -> &'a str {
        if let Node::Text(text) = self.node { text } else { "" }
    }

    fn expanded(&self) -> Option<Expanded> {
        match self.node {
            Node::Text(text) => expand(text, self.reader.machine).map_err(|why| self.wrong(why)).ok(),
            Node::Number(_) => {
                self.wrong_scalar("a number");
                None
            }
            Node::Bool(_) => {
                self.wrong_scalar("true or false");
                None
            }
            Node::Null | Node::List(_) | Node::Map(_) => None,
        }
    }

    /// Whether a variable with a default stands before the last `sign`.
    pub(in crate::config) fn has_default_before(&self, sign: char) -> bool {
        let before = self.written().rsplit_once(sign).map_or("", |(before, _)| before);
        // What is cut off in the middle of a variable is a default with the sign in it.
        expand(before, self.reader.machine).map_or(true, |expanded| expanded.has_default)
    }

    /// Says no number again: of `12e45` the tree knows what it is worth, and not how it is written.
    fn wrong_scalar(&self, is: &str) {
        let wanted = crate::config::schema::wanted(&self.pattern).unwrap_or_else(|| "text".to_owned());
        let may_be_digits =
            ["text", "the name", "a scope", "a file", "a folder"].iter().any(|kind| wanted.starts_with(kind));
        let remedy = match crate::config::schema::example(&self.pattern) {
            Some(example) if !may_be_digits => format!("write it like `{example}`"),
            _ => "to make it text, quote it as you mean it".to_owned(),
        };
        self.wrong(format!("is {is}; this must be {wanted}; {remedy}"));
    }

    pub(in crate::config) fn text(&self) -> Option<String> {
        let text = self.expanded()?.text;
        if text.is_empty() {
            self.wrong("is empty; give it a value, or remove the key");
            return None;
        }
        if text.chars().any(char::is_control) {
            self.wrong("has a line break or another control character in it; remove it");
            return None;
        }
        Some(text)
    }

    /// Text that is read as a pattern of a path, or of what is sent for one.
    pub(in crate::config) fn pattern(&self) -> Option<String> {
        let text = self.text()?;
        if self.expanded()?.brings_pattern {
            self.wrong("a variable holds a `{`, `}` or `*`, and what a variable holds is never a `{name}` or a `*` of a path; write those in this file");
            return None;
        }
        Some(text)
    }

    /// Whether whoever connects to this address comes to the machine that this is read on.
    pub(in crate::config) fn is_of_this_machine(&self, address: IpAddr) -> bool {
        self.reader.machine.has_address(address)
    }

    /// One text or several, none twice; with the value of each for messages.
    pub(in crate::config) fn texts(&self) -> Option<Vec<(Value<'a>, String)>> {
        let mut texts: Vec<(Value<'a>, String)> = Vec::new();
        let mut whole = !matches!(self.node, Node::Map(_) | Node::Null);
        for item in self.items() {
            match item.text() {
                Some(text) if texts.iter().any(|(_, other)| *other == text) => {
                    item.wrong(format!("`{}` is in this list already; remove one", item.written()));
                }
                Some(text) => texts.push((item, text)),
                None => whole = false,
            }
        }
        if whole && texts.is_empty() {
            self.wrong("the list is empty; fill it, or remove the key");
        }
        (whole && !texts.is_empty()).then_some(texts)
    }

    pub(in crate::config) fn flag(&self) -> bool {
        match self.node {
            Node::Bool(value) => *value,
            Node::Text(text) => {
                let expanded = expand(text, self.reader.machine).map_err(|why| self.wrong(why));
                match expanded.as_ref().map(|e| e.text.as_str()) {
                    Err(()) => {}
                    Ok("true") if text.contains('$') => return true,
                    Ok("false") if text.contains('$') => {}
                    Ok(_) => self.wrong(format!("`{text}` is neither `true` nor `false` (without quotes)")),
                }
                false
            }
            Node::Number(_) => {
                self.wrong("is a number, neither `true` nor `false`");
                false
            }
            Node::Null | Node::List(_) | Node::Map(_) => false,
        }
    }

    pub(in crate::config) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let remedy = match meant(&text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean `{word}`?"),
            None if known.len() == 1 => format!("only {} works", known.concat()),
            None => format!("write one of {}", known.join(", ")),
        };
        self.wrong(format!("`{}` is not known here; {remedy}", self.written()));
        None
    }

    /// A scalar whose numbers need no quotes: durations and sizes say themselves what they want.
    pub(in crate::config) fn measure(&self) -> Option<String> {
        match self.node {
            Node::Number(number) => Some(number.to_string()),
            _ => self.text(),
        }
    }

    /// A message that says what the file says where it said what a variable held. Where it quotes a part of
    /// that, all that it quotes is left out: what would be right is made of it too.
    pub(in crate::config) fn untold(&self, message: &str, text: &str) -> String {
        let written = self.written();
        if !written.contains('$') {
            return message.to_owned();
        }
        // Only what is quoted is it: a short text is also a part of words. One with the sign of a quotation
        // in it hides its ends.
        let message = if text.contains('`') { message.replace(text, written) } else { message.to_owned() };
        let mut parts: Vec<String> = message.split('`').map(str::to_owned).collect();
        for quoted in parts.iter_mut().skip(1).step_by(2) {
            *quoted = quoted.replace(text, written);
        }
        let held = text.to_lowercase();
        let is_told = |part: &String| {
            !part.is_empty() && !written.contains(part.as_str()) && held.contains(&part.to_lowercase())
        };
        if parts.iter().skip(1).step_by(2).any(is_told) {
            let quoted = parts.iter_mut().skip(1).step_by(2);
            quoted.filter(|part| !written.contains(part.as_str())).for_each(|part| *part = "…".to_owned());
        }
        parts.join("`")
    }

    /// `shown`, or what the file says where a variable holds it.
    fn told(&self, shown: String) -> String {
        if self.written().contains('$') { format!("`{}`", self.written()) } else { shown }
    }

    pub(in crate::config) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.measure()?;
        let duration = values::duration(&text).map_err(|why| self.wrong(self.untold(&why, &text))).ok()?;
        if !bounds.contains(&duration) {
            let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
            let is = self.told(show_duration(duration));
            self.wrong(format!("{is} is out of bounds; from {least} to {most} works"));
            return None;
        }
        Some(duration)
    }

    pub(in crate::config) fn size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let text = self.measure()?;
        let size = values::size(&text).map_err(|why| self.wrong(self.untold(&why, &text))).ok()?;
        if !bounds.contains(&size) {
            let (least, most) = (show_size(*bounds.start()), show_size(*bounds.end()));
            let is = self.told(show_size(size));
            self.wrong(format!("{is} is out of bounds; from {least} to {most} works"));
            return None;
        }
        Some(size)
    }

    /// A whole number.
    pub(in crate::config) fn count(&self, bounds: RangeInclusive<usize>) -> Option<usize> {
        let text = self.measure()?;
        let count = text.parse::<usize>().ok().filter(|count| bounds.contains(count));
        if count.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            self.wrong(format!("must be a whole number from {least} to {most}"));
        }
        count
    }

    /// How often in how long; the inner `None` is no limit.
    #[allow(clippy::option_option)]
    pub(in crate::config) fn rate(&self) -> Option<Option<(u32, Duration)>> {
        let text = self.measure()?;
        values::rate(&text).map_err(|why| self.wrong(self.untold(&why, &text))).ok()
    }

    /// A path in the file system, relative to the config file.
    pub(in crate::config) fn path(&self) -> Option<PathBuf> {
        self.text().map(|text| self.reader.base.join(text))
    }

    /// The path and content of a file that the text names.
    pub(in crate::config) fn file(&self) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.path()?;
        match (self.reader.read_file)(&path) {
            Ok(content) if content.is_empty() => {
                self.wrong(format!("the file `{}` is empty; fill it", self.written()));
                None
            }
            Ok(content) => Some((path, content)),
            Err(error) => {
                let what = "name a readable file; relative paths begin at the config file's folder";
                self.wrong(format!("the file `{}` cannot be read ({error}); {what}", self.written()));
                None
            }
        }
    }

    /// Text, or `{ file: … }` without one newline at its end. Never empty.
    pub(in crate::config) fn secret(&self) -> Option<Secret<Vec<u8>>> {
        if let Node::Map(entries) = self.node {
            let (_, node) = entries.iter().find(|(name, _)| name == "file")?;
            let file =
                Value { reader: self.reader, node, place: self.place.key("file"), pattern: String::new() };
            let (_, mut content) = file.file()?;
            if content.last() == Some(&b'\n') {
                content.pop();
                if content.last() == Some(&b'\r') {
                    content.pop();
                }
            }
            if content.is_empty() {
                file.wrong(format!("the file `{}` has nothing but a newline; fill it", file.written()));
                return None;
            }
            if content.starts_with("\u{feff}".as_bytes()) {
                let why = "begins with a byte order mark, which would be a part of the secret; save it as UTF-8 without one";
                file.wrong(format!("the file `{}` {why}", file.written()));
                return None;
            }
            return Some(Secret::new(content));
        }
        if matches!(self.node, Node::Number(_) | Node::Bool(_)) {
            self.wrong("a secret is text; quote it");
            return None;
        }
        let expanded = self.expanded()?;
        if expanded.has_default {
            self.wrong("a secret must not have a default; write `${NAME}` and set the variable");
            return None;
        }
        if expanded.text.is_empty() {
            self.wrong("the secret is empty; set it");
            return None;
        }
        Some(Secret::new(expanded.text.into_bytes()))
    }
}
