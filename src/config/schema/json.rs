//! The table as a JSON Schema (2020-12), for editors and for checks before Tollgate itself is at hand. It
//! knows forms, words and required keys; what a value says and what contradicts it only `tollgate check`
//! knows.
//!
//! It must take whatever `check` takes: a variable may stand wherever a scalar does.

use serde_json::{Map, Value, json};

use super::Need::{Default, Otherwise, Required};
use super::ValueForm::{
    self, Alternatives, List, Named, NamedSecrets, One, OneOrEntries, OneOrKeys, OneOrMany, Secret, Secrets,
    Section, Values,
};
use super::{Key, ROOT};

/// The whole file.
pub fn json_schema() -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), "config.yaml of Tollgate".into());
    schema.extend(object(section(ROOT)));
    Value::Object(schema)
}

fn section(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.need == Required).map(|key| key.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn property(key: &Key) -> Value {
    let mut property = object(form(key.form));
    let mut description = key.meaning.to_owned();
    match key.need {
        Required => {}
        Default(text) => property.extend(yaml(text).map(|value| ("default".to_owned(), value))),
        Otherwise(words) => description.push_str(&format!(" Without it: {words}.")),
    }
    property.insert("description".to_owned(), description.into());
    let example = Some(key.example).filter(|example| !example.is_empty()).and_then(yaml);
    property.extend(example.map(|example| ("examples".to_owned(), json!([example]))));
    Value::Object(property)
}

fn form(form: ValueForm) -> Value {
    match form {
        One(kind) => scalar(kind),
        OneOrMany(kind) => one_or_many(kind),
        Secret => secret(),
        Secrets => json!({ "type": "array", "items": secret() }),
        NamedSecrets { .. } => json!({ "type": "object", "additionalProperties": secret() }),
        Values { value, .. } => json!({ "type": "object", "additionalProperties": one_or_many(value) }),
        Section(keys) => section(keys),
        Alternatives(keys) => {
            json!({ "anyOf": [section(keys), { "type": "array", "items": section(keys) }] })
        }
        Named { keys, .. } => json!({
            "type": "object",
            "propertyNames": { "maxLength": 64, "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$" },
            "additionalProperties": section(keys),
        }),
        List(keys) => json!({ "type": "array", "items": section(keys) }),
        OneOrKeys(kind, keys) => json!({ "anyOf": [scalar(kind), section(keys)] }),
        OneOrEntries(kind, keys) => {
            let entry = json!({ "anyOf": [scalar(kind), section(keys)] });
            json!({ "anyOf": [scalar(kind), section(keys), { "type": "array", "items": entry }] })
        }
    }
}

fn one_or_many(kind: &str) -> Value {
    json!({ "anyOf": [scalar(kind), { "type": "array", "items": scalar(kind) }] })
}

fn secret() -> Value {
    let file = json!({ "type": "string", "minLength": 1, "description": "A file that holds the secret." });
    let file = json!({ "type": "object", "properties": { "file": file }, "required": ["file"], "additionalProperties": false });
    json!({ "anyOf": [text(), file] })
}

/// One value of a kind, as the table names it.
fn scalar(kind: &str) -> Value {
    let variable = json!({ "type": "string", "pattern": "\\$\\{" });
    match kind {
        "true or false" => json!({ "anyOf": [{ "type": "boolean" }, variable] }),
        // Digits may be quoted, or come from a variable.
        "a number" | "a size" | "a rate" => json!({ "type": ["integer", "string"] }),
        words if words.starts_with('`') => {
            let words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
            json!({ "anyOf": [{ "enum": words }, variable] })
        }
        mixed if mixed.contains("a number, true or false") => {
            json!({ "type": ["string", "number", "boolean"] })
        }
        _ => text(),
    }
}

fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// A value as it would stand in the file.
fn yaml(text: &str) -> Option<Value> {
    serde_yaml::from_str(text).ok()
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}
