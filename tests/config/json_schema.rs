//! The JSON Schema takes what `check` takes, and tells the mistakes that an editor can tell.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tollgate::cli::Next;
use tollgate::config::schema::{self, json_schema};

use super::support::{TOP, command, documented_examples, full, good};

/// What is wrong with `value`, each with its place. Knows the words of JSON Schema that the schema uses, and
/// no other.
fn wrong(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |is_good: bool, what: String| {
        if !is_good {
            found.push(format!("{at}: {what}"));
        }
    };
    let text = value.as_str().unwrap_or_default();
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let members = || value.as_object().into_iter().flatten();
    let mut inside = Vec::new();
    for (word, says) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" => {}
            "type" => {
                let types = says.as_array().cloned().unwrap_or_else(|| vec![says.clone()]);
                say(types.iter().any(|name| is_of(name.as_str().unwrap(), value)), format!("is no {says}"));
            }
            "enum" => say(says.as_array().unwrap().contains(value), format!("is none of {says}")),
            "minLength" => {
                say(!value.is_string() || text.len() as u64 >= says.as_u64().unwrap(), "is empty".into())
            }
            "maxLength" => say(text.len() as u64 <= says.as_u64().unwrap(), "is too long".into()),
            "pattern" if says == "\\$\\{" => {
                say(!value.is_string() || text.contains("${"), "has no variable".into())
            }
            "pattern" if says == "^[A-Za-z0-9][A-Za-z0-9._-]*$" => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                let fits =
                    text.bytes().all(fits) && text.starts_with(|first: char| first.is_ascii_alphanumeric());
                say(fits, "is no name".into());
            }
            "anyOf" => {
                let each: Vec<_> = says.as_array().unwrap().iter().map(|one| wrong(one, value, at)).collect();
                let closest = each.iter().min_by_key(|wrong| wrong.len()).unwrap();
                say(each.iter().any(Vec::is_empty), closest.join("; "));
            }
            "required" => {
                for name in says.as_array().unwrap() {
                    let name = name.as_str().unwrap();
                    say(!value.is_object() || value.get(name).is_some(), format!("{name} is missing"));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    inside.extend(wrong(says, item, &format!("{at}[{index}]")));
                }
            }
            "propertyNames" => {
                inside.extend(members().flat_map(|(name, _)| wrong(says, &json!(name), &below(name))));
            }
            "properties" => {
                let known = members().filter_map(|(name, value)| Some((says.get(name)?, name, value)));
                inside.extend(known.flat_map(|(says, name, value)| wrong(says, value, &below(name))));
            }
            "additionalProperties" => {
                let known = |name: &String| schema["properties"].get(name).is_some();
                for (name, value) in members().filter(|(name, _)| !known(name)) {
                    say(says.is_object(), format!("{name} is unknown"));
                    if says.is_object() {
                        inside.extend(wrong(says, value, &below(name)));
                    }
                }
            }
            other => panic!("the schema uses `{other}`"),
        }
    }
    found.extend(inside);
    found
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        other => panic!("{other}"),
    }
}

fn wrong_in(text: &str) -> Vec<String> {
    wrong(&json_schema(), &serde_yaml::from_str(text).unwrap(), "")
}

#[test]
fn the_schema_takes_the_shipped_file_and_every_documented_example() {
    let shipped = fs::read_to_string(Path::new(TOP).join("config.yaml")).unwrap();
    assert_eq!(wrong_in(&shipped), Vec::<String>::new());
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(wrong_in(&full(folder.path())), Vec::<String>::new());
    let (mut whole, mut pages) = (0, BTreeSet::new());
    for (page, example) in documented_examples() {
        // One that is a part of the file lacks what the file requires, and nothing else.
        let is_whole = example.contains("public_url:");
        let mut wrong = wrong_in(&example);
        wrong.retain(|wrong| is_whole || !(wrong.starts_with(": ") && wrong.ends_with(" is missing")));
        assert_eq!(wrong, Vec::<String>::new(), "{page}\n{example}");
        whole += usize::from(is_whole);
        pages.insert(page);
    }
    assert!(whole >= 2, "{whole}");
    for page in ["README.md", "configuration.md", "deployment.md", "spa.md"] {
        assert!(pages.contains(page), "{page} has no example: {pages:?}");
    }
}

#[test]
fn every_key_is_in_it_with_its_meaning_its_default_and_its_example() {
    let root = json_schema();
    for (path, key) in schema::paths() {
        let mut at = &root;
        for step in
            path.split('.').flat_map(|step| step.strip_suffix("[]").map_or(vec![step], |key| vec![key, "[]"]))
        {
            let object =
                || at["anyOf"].as_array().into_iter().flatten().find(|one| one.get("properties").is_some());
            let list = || at["anyOf"].as_array().into_iter().flatten().find(|one| one.get("items").is_some());
            at = match step {
                "[]" => at.get("items").or_else(|| list()?.get("items")).unwrap(),
                name if name.starts_with('<') => &at["additionalProperties"],
                name => {
                    at.get("properties").or_else(|| object()?.get("properties")).unwrap().get(name).unwrap()
                }
            };
        }
        assert!(at["description"].as_str().unwrap().starts_with(key.meaning), "{path}");
        if let schema::Need::Default(text) = key.need {
            assert_eq!(at["default"], serde_yaml::from_str::<Value>(text).unwrap(), "{path}");
            assert_eq!(wrong(at, &at["default"], &path), Vec::<String>::new());
        }
        if !key.example.is_empty() {
            assert_eq!(wrong(at, &at["examples"][0], &path), Vec::<String>::new());
        }
    }
}

#[test]
fn it_tells_unknown_and_missing_keys_and_values_of_another_form() {
    let good = good().client("secret: s").route("cors: gateway").text();
    assert_eq!(wrong_in(&good), Vec::<String>::new());
    for (from, to, says) in [
        ("listen:", "listne:", "listne is unknown"),
        ("audience: api", "audiences: api", "audience is missing"),
        ("corp:", "\"co rp\":", "is no name"),
        ("secret: s", "secret: { path: s }", "is"),
        ("cors: gateway", "cors: both", "is none of"),
        ("cors: gateway", "public: 1", "is no"),
        ("cors: gateway", "methods: { GET: true }", "is no"),
        ("mode: token", "mode: [token]", "is none of"),
    ] {
        let text = good.replace(from, to);
        let wrong = wrong_in(&text).concat();
        assert!(wrong.contains(says), "{wrong}\n{text}");
    }
    for variable in [("mode: token", "mode: \"${MODE:-token}\""), ("cors: gateway", "public: \"${PUBLIC}\"")]
    {
        assert_eq!(wrong_in(&good.replace(variable.0, variable.1)), Vec::<String>::new());
    }
}

#[test]
fn the_command_prints_it() {
    let (next, out, err) = command(Path::new(""), &["schema"]);
    assert!(matches!(next, Next::Done(0)) && err.is_empty(), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), json_schema());
}
