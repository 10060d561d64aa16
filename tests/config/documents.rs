//! The documentation and the schema say the same, and its examples are valid.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tollgate::config;
use tollgate::config::schema;

use super::support::*;

#[test]
fn the_documentation_names_every_key_and_no_other() {
    let file = Path::new(TOP).join("docs/configuration.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- keys -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /keys -->").unwrap();
    let right = format!("{before}<!-- keys -->\n{}<!-- /keys -->{after}", schema::reference());
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&file, &right).unwrap();
        return;
    }
    assert!(text == right, "docs/configuration.md is not what the schema says; TOLLGATE_BLESS=1 writes it");
    for (path, key) in schema::paths() {
        assert!(text.contains(&format!("| `{path}` |")), "{path}");
        assert!(!key.meaning.is_empty() && key.meaning.ends_with('.'), "{path}");
    }
}

/// What a part of a file needs beside it to be a whole one.
const AROUND: &str = "
public_url: https://gate.example.com
listen: 127.0.0.1:8080
trusted_proxies: [127.0.0.1/32]
admin: { address: 127.0.0.1:8081, token: { file: admin } }
issuers: { corp: { url: https://login.example.com, audience: [https://gate.example.com, https://api.example.com] } }
routes: [{ path: /around/*, to: http://127.0.0.1:3000 }]
sessions: { keys: [{ file: cookie }] }
";

/// `example` with all that it leaves out.
fn completed(example: &str) -> String {
    let around: serde_json::Map<String, serde_json::Value> = serde_yaml::from_str(AROUND).unwrap();
    let mut file: serde_json::Map<String, serde_json::Value> = serde_yaml::from_str(example).unwrap();
    for (key, value) in around {
        file.entry(key).or_insert(value);
    }
    serde_json::to_string_pretty(&file).unwrap()
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "gate", &["gate.example.com"]);
    let given = |file: &Path| match file.extension().and_then(|kind| kind.to_str()) {
        Some("key") => fs::read(folder.path().join("gate.key")),
        Some("pem" | "crt") => fs::read(folder.path().join("gate.pem")),
        _ => Ok(b"0123456789abcdef".repeat(4)),
    };
    let (mut whole, mut parts) = (BTreeSet::new(), BTreeSet::new());
    for (page, example) in documented_examples() {
        let is_whole = example.contains("public_url:");
        let text = if is_whole { example } else { completed(&example) };
        let read = config::parse(&text, Path::new(""), &|_| Some("value".to_owned()), &given);
        assert!(read.is_ok(), "{}\n{page}\n{text}", read.unwrap_err());
        let found = if is_whole { &mut whole } else { &mut parts };
        found.insert(page);
    }
    for page in ["README.md", "configuration.md"] {
        assert!(whole.contains(page), "{page}: {whole:?}");
    }
    for page in ["spa.md", "deployment.md"] {
        assert!(parts.contains(page), "{page}: {parts:?}");
    }
}
