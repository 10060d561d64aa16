//! The keys of config.yaml as a table: what each is called, what form it has, what holds without
//! it, what it means. A key that is not in here is an unknown key; docs/configuration.md and the JSON Schema
//! are written from here, and a test holds the first to it.
//!
//! A key enters this table when it works, not before.
//!
//! - `table`: the top level, and what has no file of its own below
//! - `parties`: issuers and clients; `signals`: transmitters of shared signals
//! - `upstreams`: servers, and what a route may say of its own; `identity`: what they learn of the caller
//! - `limits`: what clients may take; `store`: what is kept where
//! - `json`: the table as a JSON Schema

mod identity;
mod json;
mod limits;
mod parties;
mod signals;
mod store;
mod table;
mod upstreams;

pub use json::json_schema;
pub use table::ROOT;

use Need::{Default, Otherwise, Required};
use ValueForm::{
    Alternatives, List, Named, NamedSecrets, One, OneOrEntries, OneOrKeys, OneOrMany, Secrets, Section,
    Values,
};

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub form: ValueForm,
    pub need: Need,
    pub meaning: &'static str,
    /// The value as it would stand in the file; empty for keys that only hold others.
    pub example: &'static str,
}

/// The names of the keys at a place, as [`paths`] writes it.
pub(super) fn names_below(place: &str) -> impl Iterator<Item = &'static str> {
    let keys = paths().into_iter().filter(move |(path, key)| {
        path.strip_suffix(key.name).and_then(|above| above.strip_suffix('.')) == Some(place)
    });
    keys.map(|(_, key)| key.name)
}

/// The form of a key's value.
#[derive(Clone, Copy, Debug)]
pub enum ValueForm {
    /// One value; the text names its kind.
    One(&'static str),
    /// One value, or a list of such.
    OneOrMany(&'static str),
    /// Text, or `{ file: … }`.
    Secret,
    /// A list of secrets.
    Secrets,
    /// Names that the operator chose, each with a secret.
    NamedSecrets { name: &'static str },
    /// Names that the operator chose, each with one value or a list of values.
    Values { name: &'static str, value: &'static str },
    /// Keys of its own.
    Section(&'static [Key]),
    /// Keys of its own, or a list of entries with these, of which one is enough.
    Alternatives(&'static [Key]),
    /// Names that the operator chose, each with these keys.
    Named { name: &'static str, keys: &'static [Key] },
    /// A list of entries with these keys.
    List(&'static [Key]),
    /// One value, or keys that say more.
    OneOrKeys(&'static str, &'static [Key]),
    /// One value, or keys that say more, or a list of either.
    OneOrEntries(&'static str, &'static [Key]),
}

/// What holds when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Required,
    /// This value, as it would be written.
    Default(&'static str),
    /// In words.
    Otherwise(&'static str),
}

/// One row of the table.
const fn key(
    name: &'static str,
    form: ValueForm,
    need: Need,
    meaning: &'static str,
    example: &'static str,
) -> Key {
    Key { name, form, need, meaning, example }
}

/// Every key with its whole path, `<name>` for names that the operator chooses, `[]` for entries.
pub fn paths() -> Vec<(String, &'static Key)> {
    let mut found = Vec::new();
    collect("", ROOT, &mut found);
    found
}

fn collect(above: &str, keys: &'static [Key], found: &mut Vec<(String, &'static Key)>) {
    for key in keys {
        let path = if above.is_empty() { key.name.to_owned() } else { format!("{above}.{}", key.name) };
        found.push((path.clone(), key));
        match key.form {
            Section(keys) | Alternatives(keys) | OneOrKeys(_, keys) => collect(&path, keys, found),
            Named { name, keys } => collect(&format!("{path}.<{name}>"), keys, found),
            List(keys) | OneOrEntries(_, keys) => collect(&format!("{path}[]"), keys, found),
            One(_) | OneOrMany(_) | ValueForm::Secret | Secrets | NamedSecrets { .. } | Values { .. } => {}
        }
    }
}

impl ValueForm {
    /// What a value of this form must be, for people.
    pub fn wanted(&self) -> String {
        match self {
            One(kind) => (*kind).to_owned(),
            OneOrMany(kind) => format!("{kind}, or a list"),
            ValueForm::Secret => "text or `{ file: … }`".to_owned(),
            Secrets => "a list; each text or `{ file: … }`".to_owned(),
            NamedSecrets { name } => format!("keys: <{name}>: text or `{{ file: … }}`"),
            Values { name, value } => format!("keys: <{name}>: {value}"),
            Section(_) => "keys".to_owned(),
            Alternatives(_) => "keys, or a list of such".to_owned(),
            Named { name, .. } => format!("<{name}>: keys"),
            List(_) => "a list of entries".to_owned(),
            OneOrKeys(kind, _) => format!("{kind}, or keys"),
            OneOrEntries(kind, _) => format!("{kind}, or keys, or a list of either"),
        }
    }
}

/// What the value at a path of [`paths`] must be, for people.
pub fn wanted(path: &str) -> Option<String> {
    let path = path.strip_suffix("[]").unwrap_or(path);
    paths().into_iter().find(|(known, _)| known == path).map(|(_, key)| match key.form {
        OneOrMany(kind) | OneOrKeys(kind, _) | OneOrEntries(kind, _) => kind.to_owned(),
        form => form.wanted(),
    })
}

/// An example of the value at a path of [`paths`], where there is one.
pub fn example(path: &str) -> Option<&'static str> {
    let path = path.strip_suffix("[]").unwrap_or(path);
    let (_, key) = paths().into_iter().find(|(known, _)| known == path)?;
    (!key.example.is_empty()).then_some(key.example)
}

/// The tables of docs/configuration.md.
pub fn reference() -> String {
    let mut out = String::new();
    table("The file", "", ROOT, &mut out);
    out
}

fn table(title: &str, above: &str, keys: &'static [Key], out: &mut String) {
    out.push_str(&format!(
        "### {title}\n\n| key | value | without it | meaning | example |\n|---|---|---|---|---|\n"
    ));
    for key in keys {
        let path = if above.is_empty() { key.name.to_owned() } else { format!("{above}.{}", key.name) };
        let without = match key.need {
            Required => "required".to_owned(),
            Default(value) => format!("`{value}`"),
            Otherwise(words) => words.to_owned(),
        };
        let example = if key.example.is_empty() { String::new() } else { format!("`{}`", key.example) };
        let row = [format!("`{path}`"), key.form.wanted(), without, key.meaning.to_owned(), example];
        out.push_str(&format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    out.push('\n');
    for key in keys {
        let path = if above.is_empty() { key.name.to_owned() } else { format!("{above}.{}", key.name) };
        match key.form {
            Section(keys) | Alternatives(keys) | OneOrKeys(_, keys) => {
                table(&format!("`{path}`"), &path, keys, out);
            }
            Named { name, keys } => table(&format!("`{path}`"), &format!("{path}.<{name}>"), keys, out),
            List(keys) | OneOrEntries(_, keys) => {
                table(&format!("`{path}`"), &format!("{path}[]"), keys, out);
            }
            _ => {}
        }
    }
}
