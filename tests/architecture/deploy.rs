//! `deploy/` says what the documentation and the code say.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::project;

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).expect(path)
}

/// The series that expressions name, without what a histogram appends.
fn series_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let name = |rest: &str| rest.chars().take_while(|c| is_part(*c)).collect::<String>();
    text.split("tollgate_")
        .skip(1)
        .map(|rest| name(rest).trim_end_matches("_bucket").to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// All texts under a key, wherever it stands.
fn all<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key).and_then(Value::as_str));
            members.values().for_each(|value| all(value, key, found));
        }
        Value::Array(members) => members.iter().for_each(|value| all(value, key, found)),
        _ => {}
    }
}

#[test]
fn the_alerts_are_those_of_the_documentation() {
    let page = read("docs/metrics.md");
    let table = page.split("## What to be woken for").nth(1).expect("the section");
    let table = table.split("\n## ").next().expect("its text");
    let documented: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(documented.len() > 5, "{documented:?}");
    let rules: Value = serde_yaml::from_str(&read("deploy/alerts.yml")).expect("YAML");
    let mut written = Vec::new();
    all(&rules, "expr", &mut written);
    assert_eq!(written, documented);
}

#[test]
fn the_dashboard_shows_every_series_and_no_other() {
    let dashboard: Value = serde_json::from_str(&read("deploy/dashboard.json")).expect("JSON");
    let mut expressions = Vec::new();
    all(&dashboard, "expr", &mut expressions);
    let shown = series_in(&expressions.join("\n"));
    let page = read("docs/metrics.md");
    let table = page.split("## ").next().expect("the table");
    let documented: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned))
        .collect();
    assert!(documented.len() > 20);
    let missing: Vec<_> = documented.difference(&shown).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
    let code = read("src/state/metrics.rs");
    let unknown: Vec<_> = shown.iter().filter(|name| !code.contains(&format!("\"{name}\""))).collect();
    assert!(unknown.is_empty(), "no such series: {unknown:?}");
}

#[test]
fn the_image_is_built_by_the_rust_that_is_needed() {
    let manifest = read("Cargo.toml");
    let needed = manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next());
    let from = format!("FROM rust:{}-", needed.expect("rust-version"));
    assert!(read("deploy/Dockerfile").contains(&from), "{from}");
}

#[test]
fn the_documentation_leads_to_every_file() {
    let pages = ["docs/deployment.md", "docs/metrics.md"].map(read).concat();
    for file in fs::read_dir(project().join("deploy")).expect("deploy").flatten() {
        let name = file.file_name().into_string().expect("a name");
        let of = name.strip_suffix(".dockerignore").unwrap_or(&name);
        assert!(pages.contains(&format!("](../deploy/{of})")), "{name}");
    }
}
