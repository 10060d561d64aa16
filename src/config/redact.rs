//! A configuration for people to look at: as the file says it, variables not replaced, secrets gone.

use serde_json::{Map, Value};

use crate::config::schema::{Key, ValueForm};
use crate::config::text::tree::Node;

/// What stands in place of a secret.
const GONE: &str = "[secret]";

/// The tree as JSON. Only what the schema knows is shown, so that nothing slips through under a name
/// that was mistyped.
pub(super) fn redacted(node: &Node, keys: &'static [Key]) -> Value {
    let Node::Map(entries) = node else { return Value::Null };
    let shown = entries.iter().filter_map(|(name, node)| {
        let key = keys.iter().find(|key| key.name == name)?;
        Some((name.clone(), formed(node, key.form)))
    });
    Value::Object(shown.collect::<Map<_, _>>())
}

fn formed(node: &Node, form: ValueForm) -> Value {
    match (form, node) {
        (ValueForm::Secret, Node::Map(_)) => plain(node),
        (ValueForm::Secret, _) => Value::from(GONE),
        (ValueForm::NamedSecrets { .. }, Node::Map(entries)) => entries
            .iter()
            .map(|(name, node)| (name.clone(), formed(node, ValueForm::Secret)))
            .collect::<Map<_, _>>()
            .into(),
        (_, Node::List(items)) => {
            let item = match form {
                ValueForm::Secrets => ValueForm::Secret,
                ValueForm::List(keys) | ValueForm::OneOrEntries(_, keys) => ValueForm::OneOrKeys("", keys),
                other => other,
            };
            items.iter().map(|node| formed(node, item)).collect()
        }
        (
            ValueForm::Section(keys)
            | ValueForm::Alternatives(keys)
            | ValueForm::OneOrKeys(_, keys)
            | ValueForm::OneOrEntries(_, keys),
            Node::Map(_),
        ) => redacted(node, keys),
        (ValueForm::Named { keys, .. }, Node::Map(entries)) => entries
            .iter()
            .map(|(name, node)| (name.clone(), redacted(node, keys)))
            .collect::<Map<_, _>>()
            .into(),
        _ => plain(node),
    }
}

fn plain(node: &Node) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::from(*value),
        Node::Number(number) => Value::from(number.clone()),
        Node::Text(text) => Value::from(without_user(text)),
        Node::List(items) => items.iter().map(plain).collect(),
        Node::Map(entries) => {
            entries.iter().map(|(name, node)| (name.clone(), plain(node))).collect::<Map<_, _>>().into()
        }
    }
}

/// A URL without user and password; any other text as it is.
fn without_user(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next()?;
        let at = authority.rfind('@')?;
        Some((scheme, rest.get(at..)?))
    });
    parts.map_or_else(|| text.to_owned(), |(scheme, rest)| format!("{scheme}://{GONE}{rest}"))
}
