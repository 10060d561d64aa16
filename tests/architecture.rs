//! The rules of the house (docs/contributing.md), held by reading the sources, and the proof that the
//! reader sees a broken rule.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "in a test a panic is the verdict")]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/deploy.rs"]
mod deploy;
#[path = "architecture/figures.rs"]
mod figures;
#[path = "architecture/links.rs"]
mod links;
#[path = "architecture/messages.rs"]
mod messages;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use rules::{faults, faults_of_project, promise_faults};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_sources_keep_the_rules_of_the_house() {
    assert_none(&faults_of_project(project()));
}

#[test]
fn the_map_leads_to_files_that_there_are() {
    let map = fs::read_to_string(project().join("src/lib.rs")).expect("src/lib.rs");
    let named = map
        .lines()
        .filter(|line| line.starts_with("//! |"))
        .flat_map(|row| row.split('`').skip(1).step_by(2));
    let paths: Vec<&str> = named.filter(|name| name.contains('/') && !name.contains(' ')).collect();
    assert!(paths.len() > 50, "{paths:?}");
    for path in paths {
        let there = [format!("src/{path}"), path.to_owned()].iter().any(|path| project().join(path).exists());
        assert!(there, "src/lib.rs leads to {path}");
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let page = fs::read_to_string(project().join("docs/promises.md")).expect("docs/promises.md");
    assert!(page.contains(".rs::"), "docs/promises.md names no test at all");
    assert_none(&promise_faults(project(), &page));
}

/// The faults of a tree that holds one file.
fn faults_of(path: &str, text: &str) -> Vec<String> {
    faults_of_tree(&[(path, text)])
}

fn faults_of_tree(files: &[(&str, &str)]) -> Vec<String> {
    faults_but(files, &[])
}

fn faults_but(files: &[(&str, &str)], allowed: &[circles::Allowed<'_>]) -> Vec<String> {
    let tree = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let file = tree.path().join(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("folders");
        fs::write(&file, text).expect("a file");
    }
    faults(tree.path(), allowed)
}

#[test]
fn a_forbidden_import_is_seen() {
    for (path, text) in [
        // A layer that names one listed after it, in every way to write that.
        ("src/core/ids.rs", "use crate::config::settings::Settings;"),
        ("src/core/ids.rs", "use crate::{core::time::Timestamp, io};"),
        ("src/core/ids.rs", "use crate::{core::{ids, time::*}, flows::{admit as a, exchange}};"),
        ("src/core/ids.rs", "pub(crate) use crate :: state :: live :: Live;"),
        ("src/core/ids.rs", "fn f() { crate::flows::admit::admit() }"),
        ("src/core/ids.rs", "type T = Vec<crate::state::Live>;"),
        ("src/core/ids.rs", "use super::super::state::Live;"),
        ("src/core/token/mod.rs", "use super::super::edge::proxy;"),
        ("src/core/token/jwt.rs", "mod inner { use super::super::super::super::io; }"),
        ("src/state/live.rs", "use crate::flows::ports::Clock;"),
        ("src/flows/admit.rs", "use crate::edge::answers::respond;"),
        ("src/io/http_client.rs", "use crate::edge::server;"),
        ("src/edge/server.rs", "use crate::io::clock::SystemClock;"),
        ("src/edge/server.rs", "use crate::app::App;"),
        ("src/flows/mod.rs", "use crate::demo;"),
        // pingora outside edge.
        ("src/flows/admit.rs", "use pingora::prelude::*;"),
        ("src/app.rs", "use pingora;"),
        ("src/app.rs", "use ::pingora::server::Server;"),
        ("src/demo/mod.rs", "fn f(s: &pingora_core::Session) {}"),
        // A clock, randomness, a lock, a log or a runtime in core.
        ("src/core/time.rs", "use std::time::{Duration, SystemTime};"),
        ("src/core/time.rs", "use std::time; fn f() { time::Instant::now(); }"),
        ("src/core/ids.rs", "fn f() { tokio::spawn(g()); }"),
        ("src/core/ids.rs", "fn f() { ::tokio::spawn(g()); }"),
        ("src/core/ids.rs", "use aws_lc_rs::{digest, rand};"),
        ("src/core/ids.rs", "fn f() { log::info!(\"x\"); }"),
        ("src/core/ids.rs", "fn f() { tracing::info!(\"x\"); }"),
        ("src/core/ids.rs", "use std::sync::{Arc, Mutex};"),
        ("src/core/ids.rs", "// a comment\n/* and /* a nested */ one */ use rand::Rng;"),
        ("src/core/ids.rs", "const A: &str = \"// no comment\"; use rand::Rng;"),
        ("src/core/ids.rs", "const A: &str = r#\"a \" b\"#; use rand::Rng;"),
        ("src/core/ids.rs", "const A: char = '\"'; use rand::Rng; const B: char = '\"';"),
        ("src/core/ids.rs", "#[cfg(not(test))] use rand::Rng;"),
    ] {
        assert!(!faults_of(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (path, text) in [
        (
            "src/core/ids.rs",
            "use crate::core::time::Timestamp; use super::secret::Secret; use std::time::Duration;",
        ),
        (
            "src/flows/admit.rs",
            "use crate::{config::settings, core, state::live::Live}; use self::ports::Clock;",
        ),
        (
            "src/edge/proxy/mod.rs",
            "use pingora::prelude::*; use crate::flows::admit; use crate::state::Metrics;",
        ),
        ("src/io/clock.rs", "use std::time::SystemTime; use crate::flows::ports::Clock; use tokio::time;"),
        ("src/app.rs", "use crate::{edge, io, demo};"),
        ("src/core/ids.rs", "//! use pingora::x; crate::io\nconst A: &str = \"crate::io tokio::spawn\";"),
        ("src/core/ids.rs", "const A: &[u8] = b\"crate::io\\\" tokio::spawn\"; fn f<'a>(_: &'a str) {}"),
        ("src/core/ids.rs", "#[cfg(test)]\nmod tests { use super::*; use std::sync::Mutex; use rand::Rng; }"),
        ("src/core/ids.rs", "fn f(log: u8) -> u8 { log }"),
        ("src/core/ids.rs", "fn f() -> impl Iterator<Item = u8> + use<> { [].into_iter() }"),
        ("src/state/live.rs", "static NAMES: [&str; 2] = [\"a\", \"b\"]; use std::sync::Mutex;"),
    ] {
        assert_none(&faults_of(path, text));
    }
}

#[test]
fn the_file_of_a_test_module_is_a_test() {
    let locks = "use std::sync::Mutex; static KEYS: Mutex<u8> = Mutex::new(0);";
    let declared = |text| faults_of_tree(&[("src/core/mod.rs", text), ("src/core/testing.rs", locks)]);
    assert_none(&declared("#[cfg(test)]\nmod testing;"));
    assert!(!declared("mod testing;").is_empty());
    // One within a module that stands in its file, too.
    let within = |text| faults_of_tree(&[("src/core/ids.rs", text), ("src/core/ids/tests/locks.rs", locks)]);
    assert_none(&within("#[cfg(test)]\nmod tests { use super::*; mod locks; }"));
    assert!(!within("mod tests { mod locks; }").is_empty());
    // Layers hold in tests too.
    let later = [("src/core/mod.rs", "#[cfg(test)] mod testing;"), ("src/core/testing.rs", "use crate::io;")];
    assert_eq!(faults_of_tree(&later).len(), 1);
}

#[test]
fn a_circle_of_imports_is_seen() {
    let two = [("src/edge/a.rs", "use crate::edge::b::B;"), ("src/edge/b.rs", "\nfn f(_: super::a::A) {}")];
    let both = "src/edge: a, b import each other; move what they share into a file of its own:\n    \
                src/edge/a.rs:1: crate::edge::b::B\n    src/edge/b.rs:2: crate::edge::a::A";
    assert_eq!(faults_of_tree(&two), [both]);
    // Folders are children like files, and a circle may be of many; whoever imports one of them is not of it.
    let many = [
        ("src/io/a/x.rs", "use crate::{core, io::{b::B, http}};"),
        ("src/io/b/mod.rs", "pub use super::c::{self, C};"),
        ("src/io/c.rs", "type A = crate::io::a::x::A;"),
        ("src/io/d.rs", "use crate::io::{a, c};"),
    ];
    let faults = faults_of_tree(&many);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("src/io: a, b, c import each other;"), "{faults:?}");
    assert_eq!(faults[0].lines().count(), 4, "{faults:?}");
    for no_circle in [
        [("src/io/a.rs", "use crate::io::b::B;"), ("src/io/b.rs", "//! See crate::io::a.\nuse super::C;")],
        [
            ("src/io/a.rs", "use crate::io::b::B;"),
            ("src/io/b.rs", "#[cfg(test)] mod tests { use crate::io::a::A; }"),
        ],
        // A folder and what is in it are one child of the folder around them.
        [("src/io/a/mod.rs", "mod b; use b::B;"), ("src/io/a/b.rs", "use crate::io::a::A;")],
    ] {
        assert_none(&faults_of_tree(&no_circle));
    }
}

#[test]
fn an_allowed_circle_is_allowed_as_it_stands_and_while_it_is_there() {
    let two = [("src/io/a.rs", "use crate::io::b::B;"), ("src/io/b.rs", "use crate::io::a::A;")];
    assert_none(&faults_but(&two, &[("src/io", &["a", "b"], "why")]));
    for (folder, children) in [("src/edge", ["a", "b"]), ("src/io", ["a", "c"])] {
        assert_eq!(faults_but(&two, &[(folder, &children, "why")]).len(), 2, "{folder}: {children:?}");
    }
    let gone = faults_but(&two[..1], &[("src/io", &["a", "b"], "why")]);
    assert_eq!(gone, ["src/io: no longer a circle, so it needs no allowance: a, b"]);
}

#[test]
fn a_proof_made_elsewhere_is_seen() {
    for (path, text) in [
        ("src/flows/admit.rs", "fn f() { let t = VerifiedToken { sub: None }; }"),
        ("src/flows/admit.rs", "fn f() -> Permit { token::jwt::Permit { path } }"),
        ("src/edge/proxy/mod.rs", "fn f() { Some(Permit { path }) }"),
        ("src/core/token/jwt.rs", "pub struct VerifiedToken { pub sub: String, exp: u64 }"),
    ] {
        assert_eq!(faults_of(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        (
            "src/core/token/jwt.rs",
            "pub struct VerifiedToken { sub: String } fn f() { VerifiedToken { sub } }",
        ),
        (
            "src/flows/admit.rs",
            "fn f(p: &Permit) -> Permit { g() } fn h() -> &'static jwt::VerifiedToken { g() }",
        ),
        ("src/flows/admit.rs", "impl Cost for Permit { fn cost(&self) {} }"),
    ] {
        assert_none(&faults_of(path, text));
    }
}

#[test]
fn a_static_with_a_state_is_seen() {
    for text in [
        "static COUNT: AtomicUsize = AtomicUsize::new(0);",
        "static mut COUNT: u8 = 0;",
        "static ALL: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(Vec::new);",
        "thread_local! { static A: u8 = 0; }",
    ] {
        assert_eq!(faults_of("src/state/live.rs", text).len(), 1, "{text}");
    }
}

#[test]
fn an_event_that_log_level_would_silence_is_seen() {
    let said = |fields: &str| format!("fn f() {{ tracing::info!({fields}, \"said\"); }}");
    for fields in
        ["event = \"audit\"", "name, event = \"security\"", "target: \"tollgate::audit\", event = \"audit\""]
    {
        assert_eq!(faults_of("src/flows/heard.rs", &said(fields)).len(), 1, "{fields}");
    }
    for fields in ["target: AUDIT, event = \"audit\"", "target: SECURITY, event = \"security\", why", "why"] {
        assert_none(&faults_of("src/flows/heard.rs", &said(fields)));
    }
}

#[test]
fn a_question_that_gives_no_answer_is_seen() {
    for command in [
        "fn is_complete(&self) {}",
        "fn was_heard(now: Time);",
        "fn may(&self, f: impl Fn() -> bool) { fn has_all() {} }",
    ] {
        assert_eq!(faults_of("src/state/live.rs", command).len(), 1, "{command}");
    }
    let answers = "fn is_complete(&self) -> bool { true } fn is_key(key: [u8; 4]) -> bool { true } fn has<'a>(f: impl Fn(&'a str)) {} fn issue() {}";
    assert_none(&faults_of("src/state/live.rs", answers));
    assert_none(&faults_of("src/state/live.rs", "#[cfg(test)]\nmod tests { fn is_up() {} }"));
    for changes in ["fn is_new(&mut self) -> bool {}", "fn has_come(&mut self, now: Time) -> bool;"] {
        assert_eq!(faults_of("src/state/live.rs", changes).len(), 1, "{changes}");
    }
    assert_none(&faults_of("src/state/live.rs", "fn is_over(&mut self, cx: &mut Context<'_>) -> bool {}"));
}

#[test]
fn a_comment_that_is_too_wide_or_gives_something_is_seen() {
    for comment in
        [&*format!("    /// {}", "a word ".repeat(16)), "/// Reads on. Gives whether there is more."]
    {
        assert_eq!(faults_of("src/state/live.rs", comment).len(), 1, "{comment}");
    }
    let row = format!("//! | {} | b |", "a word ".repeat(16));
    assert_none(&faults_of("src/state/live.rs", &row));
    assert_none(&faults_of("src/state/live.rs", "/// Reads on. Returns whether there is more."));
}

#[test]
fn a_doc_comment_without_its_thing_is_seen() {
    for comment in
        ["/// Of the next grant.", "/// By having it.", "    /// With a proof.", "x;\n/// Whose it is."]
    {
        assert_eq!(faults_of("src/state/live.rs", comment).len(), 1, "{comment}");
    }
    for comment in
        ["/// The seed of it.", "/// What is kept,\n/// By its key.", "// Of these.", "/// Offered."]
    {
        assert_none(&faults_of("src/state/live.rs", comment));
    }
}

#[test]
fn a_file_that_is_too_long_is_seen() {
    let long = "fn f() {}\n".repeat(501);
    assert_eq!(faults_of("src/state/live.rs", &long).len(), 1);
    let tests = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}\n", "fn f() {}\n".repeat(400));
    assert_none(&faults_of("src/state/live.rs", &tests));
}

#[test]
fn a_module_that_is_missing_in_a_list_is_seen() {
    let list = "//! Tokens.\n//!\n//! - `jwt`, `jwks`: judged\n//! - `check`: looked at; `id`: known by\n";
    let all =
        "mod check;\npub mod jwt;\npub(crate) mod jwks;\nmod id;\n#[cfg(test)]\nmod testing;\nmod within {}";
    assert_none(&faults_of("src/core/token/mod.rs", &format!("{list}{all}")));
    assert_eq!(faults_of("src/core/token/mod.rs", &format!("{list}{all}\nmod other;")).len(), 1);
    let gone = format!("{list}//! - `gone`: what is no more\n{all}");
    assert_eq!(faults_of("src/core/token/mod.rs", &gone).len(), 1);
    let table = "//! | part | what it is |\n//! |---|---|\n//! | [`jwt`] | judged |\n//! | `jwks` | read |\n";
    assert_none(&faults_of("src/core/token/mod.rs", &format!("{table}mod jwt;\nmod jwks;")));
    assert_eq!(faults_of("src/core/token/mod.rs", &format!("{table}mod jwt;\nmod judged;")).len(), 1);
    // Few modules need no list.
    let few = "//! Tokens.\nmod a;\nmod b;\nmod c;\n#[cfg(test)]\nmod tests;";
    assert_none(&faults_of("src/core/token/mod.rs", few));
    assert_eq!(faults_of("src/core/token/mod.rs", &format!("{few}\nmod d;")).len(), 1);
}

#[test]
fn a_module_of_tests_that_is_missing_in_a_list_is_seen() {
    for path in ["tests/it/main.rs", "tests/config.rs", "src/flows/tests/mod.rs"] {
        let faults =
            |text: &str| faults_of_tree(&[("src/flows/mod.rs", "#[cfg(test)]\nmod tests;"), (path, text)]);
        let list = "//! Tests.\n//!\n//! - `http1`, `http2`: both versions\n";
        assert_none(&faults(&format!("{list}mod http1;\n#[path = \"http2.rs\"]\nmod http2;")));
        assert_eq!(faults(&format!("{list}mod http1;\nmod http2;\nmod http3;")).len(), 1, "{path}");
        assert_eq!(faults(&format!("{list}//! - `http0`: gone\nmod http1;\nmod http2;")).len(), 1, "{path}");
        assert_eq!(faults("//! Tests.\nmod a;\nmod b;\nmod c;\nmod d;").len(), 1, "{path}");
    }
}

#[test]
fn a_promise_without_a_test_is_seen() {
    let tree = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(tree.path().join("tests/e2e")).expect("folders");
    let rust = "#[test]\nfn it_holds() {}\nfn not_a_test() {}\n#[cfg(test)]\nfn nor_this() {}\n\
                #[tokio::test(flavor = \"current_thread\")]\n#[allow(x)]\nasync fn later() {}\n// fn it_says() {}\n\
                #[test]\n#[ignore]\nfn it_never_holds() {}\n#[ignore = \"slow\"]\n#[test]\nfn nor_today() {}";
    fs::write(tree.path().join("tests/a.rs"), rust).expect("a file");
    fs::write(tree.path().join("tests/e2e/a.test.mjs"), "test('signs in', f);\ntest(`fails by ${x}`, f);")
        .expect("a file");

    let faults = |page: &str| promise_faults(tree.path(), page);
    assert_none(&faults(
        "# Promises\n\n| promise | test |\n|---|---|\n| It holds. | `tests/a.rs::it_holds`, `tests/a.rs::tests::later` |\n\n\
         - It signs in, and\n  fails: `tests/e2e/a.test.mjs: signs in` `tests/e2e/a.test.mjs: fails by ${x}`\n",
    ));
    for page in [
        "| p | t |\n|---|---|\n| It holds. | none |",
        "| p | t |\n|---|---|\n| It holds. | `tests/a.rs` |",
        "- It holds.",
        "- It holds: `tests/a.rs::it_breaks`",
        "- It holds: `tests/b.rs::it_holds`",
        "- It holds: `tests/a.rs::not_a_test`",
        "- It holds: `tests/a.rs::nor_this`",
        "- It holds: `tests/a.rs::it_says`",
        "- It holds: `tests/a.rs::it_never_holds`",
        "- It holds: `tests/a.rs::nor_today`",
        "- It holds: `tests/e2e/a.test.mjs: signs`",
        "- It holds: `tests/e2e/b.test.mjs: signs in`",
    ] {
        assert_eq!(faults(page).len(), 1, "{page}: {:?}", faults(page));
    }
}
