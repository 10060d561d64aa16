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

/// What docs/metrics.md says of the series that are there before anything has happened: name, and labels if
/// only some are.
fn begin_at_zero() -> Vec<(String, String)> {
    let page = read("docs/metrics.md");
    let said = page.split("So these begin at 0").nth(1).and_then(|rest| rest.split(". ").next());
    let names: Vec<_> =
        said.expect("the sentence").split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 5, "{names:?}");
    let parts = |name: String| match name.split_once('{') {
        Some((name, labels)) => (name.to_owned(), labels.trim_end_matches('}').to_owned()),
        None => (name, String::new()),
    };
    names.into_iter().map(parts).collect()
}

/// What an expression takes the growth of, by one of these functions.
fn growths<'e>(expression: &'e str, functions: &[&str]) -> Vec<&'e str> {
    let of = |function: &&str| {
        let arguments = expression.split(&format!("{function}(tollgate_")).skip(1).collect::<Vec<_>>();
        arguments.into_iter().filter_map(|rest| rest.split('[').next()).collect::<Vec<_>>()
    };
    functions.iter().flat_map(of).collect()
}

#[test]
fn what_is_asked_for_its_first_event_begins_at_zero() {
    let begin = begin_at_zero();
    let begins = |growing: &str| {
        begin.iter().any(|(name, labels)| {
            growing.split('{').next() == Some(name.as_str()) && growing.contains(labels.as_str())
        })
    };
    let rules: Value = serde_yaml::from_str(&read("deploy/alerts.yml")).expect("YAML");
    let dashboard: Value = serde_json::from_str(&read("deploy/dashboard.json")).expect("JSON");
    let (mut alerts, mut panels) = (Vec::new(), Vec::new());
    all(&rules, "expr", &mut alerts);
    all(&dashboard, "expr", &mut panels);
    // A curve may miss a first event, a number or a rule may not.
    let alerts = alerts.iter().flat_map(|rule| growths(rule, &["increase", "rate"]));
    let panels = panels.iter().flat_map(|panel| growths(panel, &["increase"]));
    let growing: Vec<_> = alerts.chain(panels).collect();
    assert!(growing.len() > 4, "{growing:?}");
    for series in growing {
        assert!(begins(series), "tollgate_{series} appears with its first event, which nobody sees");
    }
    assert!(!begins("requests_total{status=\"500\"}"));
    assert!(!begins("denials_total{reason=\"no_credential\"}"));
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
