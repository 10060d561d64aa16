//! The tree against the schema: unknown keys, missing keys, values of the wrong form. Sees the
//! whole tree, whatever it finds on the way.
//!
//! Decides form only. What a scalar says is for `resolve` and the files beside it, which stay
//! silent about a node that was already found to be of the wrong form.

use crate::config::schema::{Key, Need, ValueForm};
use crate::config::text::report::Report;
use crate::config::text::tree::{Node, Place};
use crate::config::text::values::meant;

/// Reports everything in `node` that does not have the form of `keys`.
pub(in crate::config) fn section(node: &Node, keys: &'static [Key], place: &Place, report: &Report) {
    let Node::Map(entries) = node else {
        let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
        let wanted = format!("keys with values: {}", known.join(", "));
        return wrong_form(node, &wanted, place, report);
    };
    let mut taken_for = Vec::new();
    for (name, value) in entries {
        let place = place.key(name);
        if let Some(key) = keys.iter().find(|key| key.name == name) {
            form(value, key.form, &place, report);
            continue;
        }
        let below = sections_with(name, keys);
        let message = match meant(name, keys.iter().map(|key| key.name)) {
            Some(key) => {
                taken_for.push(key);
                let or = below.iter().map(|section| format!(", or `{name}` under {section}"));
                format!("unknown key; did you mean `{key}`{}?", or.collect::<String>())
            }
            None if !below.is_empty() => {
                format!("unknown key here; it belongs under {}", below.join(" or "))
            }
            None if name == "<<" => "merge keys are not taken; write the keys out here".to_owned(),
            None => {
                let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
                format!("unknown key; known here: {}", known.join(", "))
            }
        };
        report.wrong(&place, message);
    }
    for key in keys.iter().filter(|key| key.need == Need::Required) {
        let given = entries.iter().any(|(name, _)| name == key.name) || taken_for.contains(&key.name);
        if !given {
            let example = match key.example {
                "" => format!("{} ({})", key.name, key.form.wanted()),
                example => format!("{}: {example}", key.name),
            };
            report.wrong(place, format!("the key `{}` is missing; add it, like `{example}`", key.name));
        }
    }
}

/// Those of `keys` under which there is a key of this name, one level down.
fn sections_with(name: &str, keys: &[Key]) -> Vec<String> {
    let has = |form: &ValueForm| match form {
        ValueForm::Section(keys) | ValueForm::Alternatives(keys) | ValueForm::OneOrKeys(_, keys) => {
            keys.iter().any(|key| key.name == name)
        }
        _ => false,
    };
    keys.iter().filter(|key| has(&key.form)).map(|key| format!("`{}`", key.name)).collect()
}

fn form(node: &Node, form: ValueForm, place: &Place, report: &Report) {
    let wanted = form.wanted();
    match (form, node) {
        (ValueForm::Alternatives(keys) | ValueForm::List(keys), Node::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                section(item, keys, &place.index(index), report);
            }
        }
        (ValueForm::Section(keys) | ValueForm::Alternatives(keys), _) => section(node, keys, place, report),
        (ValueForm::Named { keys, .. }, Node::Map(entries)) => {
            for (name, value) in entries {
                section(value, keys, &place.key(name), report);
            }
        }
        (ValueForm::OneOrKeys(_, keys), Node::Map(_)) => section(node, keys, place, report),
        (ValueForm::OneOrKeys(..), Node::Text(_) | Node::Number(_) | Node::Bool(_)) => {}
        (ValueForm::OneOrEntries(kind, keys), _) => one_or_entries(node, kind, keys, place, report),
        (ValueForm::Secrets, Node::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                secret(item, &place.index(index), report);
            }
        }
        (ValueForm::Secrets, Node::Map(_)) => {
            report.wrong(place, format!("is keys with values; this must be {wanted}"));
            report.hide_below(place);
        }
        (ValueForm::Secret, _) => secret(node, place, report),
        (ValueForm::NamedSecrets { .. }, Node::Map(entries)) => {
            for (name, node) in entries {
                secret(node, &place.key(name), report);
            }
        }
        (ValueForm::Values { value, .. }, Node::Map(entries)) => {
            for (name, node) in entries {
                one_or_many(node, value, &place.key(name), report);
            }
        }
        (ValueForm::OneOrMany(kind), Node::List(_)) => one_or_many(node, kind, place, report),
        (ValueForm::One(_) | ValueForm::OneOrMany(_), Node::Text(_) | Node::Number(_) | Node::Bool(_)) => {}
        _ => wrong_form(node, &wanted, place, report),
    }
}

fn one_or_entries(node: &Node, kind: &str, keys: &'static [Key], place: &Place, report: &Report) {
    match node {
        Node::Map(_) => section(node, keys, place, report),
        Node::Null => wrong_form(node, kind, place, report),
        Node::Text(_) | Node::Number(_) | Node::Bool(_) => {}
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                match item {
                    Node::List(_) => wrong_form(item, kind, &place.index(index), report),
                    _ => one_or_entries(item, kind, keys, &place.index(index), report),
                }
            }
        }
    }
}

fn one_or_many(node: &Node, kind: &str, place: &Place, report: &Report) {
    match node {
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if matches!(item, Node::Map(_) | Node::List(_) | Node::Null) {
                    wrong_form(item, kind, &place.index(index), report);
                }
            }
        }
        Node::Map(_) | Node::Null => wrong_form(node, kind, place, report),
        Node::Text(_) | Node::Number(_) | Node::Bool(_) => {}
    }
}

fn secret(node: &Node, place: &Place, report: &Report) {
    match node {
        Node::Map(entries) if entries.iter().all(|(name, _)| name == "file") => {
            section(node, FILE, place, report);
        }
        // A secret in braces that nobody quoted: its parts are names of keys.
        Node::Map(_) => {
            report.wrong(place, "has other keys than `file`; write text in quotes, or `{ file: … }`");
            report.hide_below(place);
        }
        Node::List(_) | Node::Null => wrong_form(node, "text or `{ file: … }`", place, report),
        Node::Text(_) | Node::Number(_) | Node::Bool(_) => {}
    }
}

const FILE: &[Key] = &[Key {
    name: "file",
    form: ValueForm::One("a file"),
    need: Need::Required,
    meaning: "Holds the secret; one newline at its end is removed.",
    example: "/run/secrets/name",
}];

fn wrong_form(node: &Node, wanted: &str, place: &Place, report: &Report) {
    let is = match node {
        Node::Null => return report.wrong(place, format!("has no value; give {wanted}, or remove it")),
        Node::List(_) => "is a list",
        Node::Map(_) => "is keys with values",
        Node::Bool(_) => "is true or false",
        Node::Number(_) => "is a number",
        Node::Text(_) => "is text",
    };
    let quote = match node {
        Node::Map(entries) => match entries.as_slice() {
            [(name, Node::Null)] => format!("; to make it text, quote it: `\"{{{name}}}\"`"),
            _ => String::new(),
        },
        _ => String::new(),
    };
    report.wrong(place, format!("{is}; this must be {wanted}{quote}"));
}
