//! `deploy/` says what the documentation and the code say.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

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
    let code = read("src/state/metrics/series.rs");
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

/// What the unit says under a key, in order.
fn of_the_unit(key: &str) -> Vec<String> {
    let unit = read("deploy/tollgate.service");
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned)).collect()
}

/// systemd waits by itself only for processes that it started, and the process that serves after SIGQUIT is
/// none of these.
#[test]
#[cfg(target_os = "linux")]
fn a_stop_of_the_unit_waits_for_the_end_of_a_process_that_systemd_did_not_start() {
    let stop = of_the_unit("ExecStop").concat().replace("$$", "$");
    let script = stop.strip_prefix("/bin/sh -c '").and_then(|rest| rest.strip_suffix('\''));
    let script = script.expect("one script").to_owned();
    let run = |process: &str| {
        Command::new("sh").args(["-c", &script]).env("MAINPID", process).stderr(Stdio::piped()).spawn()
    };

    // It drains once it is told to end, until it reads that it has.
    let mut serves = Command::new("sh")
        .args(["-c", "trap 'echo drains' TERM; echo runs; read never; read done; exit 0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh");
    let mut words = BufReader::new(serves.stdout.take().expect("its words")).lines();
    assert_eq!(words.next().expect("a line").expect("text"), "runs");
    let mut stop = run(&serves.id().to_string()).expect("sh");
    assert_eq!(words.next().expect("a line").expect("text"), "drains");
    let requests = serves.stdin.take().expect("its requests");
    let (ended, of_serving) = mpsc::channel();
    thread::spawn(move || ended.send(serves.wait()));
    let does = format!("/proc/{}/comm", stop.id());
    while fs::read_to_string(&does).expect("what it does") != "tail\n" {
        assert!(stop.try_wait().expect("its state").is_none(), "it does not wait");
        thread::yield_now();
    }
    drop(requests);
    assert!(stop.wait().expect("its end").success());
    assert!(of_serving.recv().expect("its end").expect("its status").success(), "it was killed");

    // After a crash there is nobody to wait for.
    let crashed = run("").and_then(std::process::Child::wait_with_output).expect("sh");
    assert!(crashed.status.success() && crashed.stderr.is_empty(), "{crashed:?}");
}

#[test]
fn a_reload_of_the_unit_fails_before_the_process_is_told_where_the_configuration_has_a_mistake() {
    let [checks, tells] = <[String; 2]>::try_from(of_the_unit("ExecReload")).expect("two steps");
    let [runs] = <[String; 1]>::try_from(of_the_unit("ExecStart")).expect("one");
    assert_eq!(checks, runs.replace(" run ", " check "));
    assert_eq!(tells, "/bin/kill -HUP $MAINPID");
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
