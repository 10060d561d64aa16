//! The rules of the house, each a check over the sources of one tree. A check gives the faults it
//! finds as `path:line: what is wrong`.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::circles::{self, Allowed};
use crate::source::Source;

/// Path, module and tokens of one file.
pub(crate) type FileOfSource = (String, Vec<String>, Source);

/// A layer imports only itself and the layers listed before it.
const LAYERS: [&str; 6] = ["core", "config", "state", "flows", "io", "edge"];
/// `io` and `edge` do not see each other.
const STRANGERS: [&str; 2] = ["io", "edge"];

/// Files of tests that declare many modules: they list them as any other file does.
const MAPS_OF_TESTS: [&str; 4] =
    ["src/flows/tests/mod.rs", "tests/config.rs", "tests/it/main.rs", "tests/it/support/mod.rs"];

/// The longest file, in lines before its tests.
const LONGEST_FILE: usize = 500;

/// The widest comment: rustfmt does not wrap them. Rows of tables may be wider.
const WIDEST_COMMENT: usize = 110;

/// How the names of functions begin that ask something.
const QUESTIONS: [&str; 5] = ["can_", "has_", "is_", "may_", "was_"];

/// What `core` must not name, as the beginning of a path.
const NOT_IN_CORE: [&str; 22] = [
    "arc_swap",
    "aws_lc_rs::rand",
    "dashmap",
    "futures_util",
    "getrandom",
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "log",
    "parking_lot",
    "prometheus",
    "rand",
    "std::cell",
    "std::env",
    "std::fs",
    "std::process",
    "std::sync::atomic",
    "std::sync::mpsc",
    "std::thread",
    "tokio",
    "tracing",
    "tracing_subscriber",
];

/// Clocks and locks, which `core` must not name in any way.
const NAMES_NOT_IN_CORE: [&str; 10] = [
    "Condvar",
    "Instant",
    "LazyLock",
    "Mutex",
    "OnceCell",
    "OnceLock",
    "RefCell",
    "RwLock",
    "SystemTime",
    "UnsafeCell",
];

/// What gives a `static` a state of its own.
const INTERIOR_STATE: [&str; 14] = [
    "ArcSwap",
    "Cell",
    "Condvar",
    "DashMap",
    "LazyCell",
    "LazyLock",
    "Lazy",
    "Mutex",
    "Once",
    "OnceCell",
    "OnceLock",
    "RefCell",
    "RwLock",
    "UnsafeCell",
];

/// A type that only one folder may make, because having one is a proof.
const PROOFS: [(&str, &str); 5] = [
    ("VerifiedToken", "src/core/token/"),
    ("VerifiedIdToken", "src/core/token/"),
    ("VerifiedLogoutToken", "src/core/token/"),
    ("VerifiedSecurityEvent", "src/core/token/"),
    ("Permit", "src/core/route/"),
];

/// What the checks would report and is right all the same: where, what the report ends with, why.
/// One that nothing needs any more is itself a fault.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "src/core/signing.rs",
        "core is arithmetic and must not name aws_lc_rs::rand::SystemRandom",
        "ECDSA and RSA-PSS signatures take random bytes inside the library, which accepts no others",
    ),
    (
        "src/edge/request/watched.rs",
        "`is_body_done` asks and changes something; name what it does",
        "the trait is pingora's",
    ),
    (
        "src/edge/request/watched.rs",
        "`is_body_empty` asks and changes something; name what it does",
        "the trait is pingora's",
    ),
];

/// Every fault of the project.
pub(crate) fn faults_of_project(root: &Path) -> Vec<String> {
    let (mut faults, mut needed) = (faults(root, &circles::ALLOWED), HashSet::new());
    faults.retain(|fault| {
        let excuse = EXCEPTIONS
            .iter()
            .find(|(path, what, _)| fault.starts_with(&format!("{path}:")) && fault.ends_with(what));
        excuse.is_none_or(|excuse| {
            needed.insert(excuse);
            false
        })
    });
    let stale = EXCEPTIONS.iter().filter(|exception| !needed.contains(exception));
    faults.extend(stale.map(|(path, what, _)| format!("{path}: no longer an exception: {what}")));
    let gone = MAPS_OF_TESTS.iter().filter(|path| !root.join(path).is_file());
    faults.extend(gone.map(|path| format!("{path}: its list of modules cannot be read")));
    faults
}

/// Faults of the lists of modules in files of tests.
fn faults_of_test_maps(root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for path in MAPS_OF_TESTS {
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        let source = Source::read(&text, &[]);
        check_map(&source, &mut |line, what| faults.push(format!("{path}:{line}: {what}")));
    }
    faults
}

/// Every fault of the tree at `root`, which holds `src`, but for these circles.
pub(crate) fn faults(root: &Path, allowed: &[Allowed<'_>]) -> Vec<String> {
    let mut faults = faults_of_test_maps(root);
    let sources = sources(root);
    assert!(!sources.is_empty(), "no sources under {}", root.display());
    faults.extend(circles::faults(&sources, allowed));
    for (path, module, source) in sources {
        let layer = LAYERS.into_iter().find(|layer| module.first().is_some_and(|first| first == layer));
        let mut report = |line: usize, what: String| faults.push(format!("{path}:{line}: {what}"));
        if let Some(layer) = layer {
            check_layers(&source, layer, &mut report);
        }
        if layer != Some("edge") {
            check_pingora(&source, &mut report);
        }
        if layer == Some("core") {
            check_core(&source, &mut report);
        }
        check_proofs(&source, &path, &mut report);
        check_statics(&source, &mut report);
        check_map(&source, &mut report);
        check_log_targets(&source, &mut report);
        check_questions(&source, &mut report);
        check_comments(&source, &mut report);
        if source.lines_before_tests > LONGEST_FILE {
            let lines = source.lines_before_tests;
            report(1, format!("{lines} lines before its tests; cut it at {LONGEST_FILE}"));
        }
    }
    faults
}

/// Every file; those of test modules are marked as such.
fn sources(root: &Path) -> Vec<FileOfSource> {
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    files.sort();
    let mut sources: Vec<_> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(root).expect("under root").to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(file).expect("readable source");
            let module = module_of(&path);
            let source = Source::read(&text, &module.iter().map(String::as_str).collect::<Vec<_>>());
            (path, module, source)
        })
        .collect();
    let for_tests: Vec<Vec<String>> =
        sources.iter().flat_map(|(_, _, source)| source.test_modules()).collect();
    for (_, module, source) in &mut sources {
        if for_tests.iter().any(|test| module.starts_with(test)) {
            source.mark_all_as_test();
        }
    }
    sources
}

pub(crate) fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/core/token/jwt.rs` and `src/core/token/jwt/mod.rs` are both `core::token::jwt`.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn check_layers(source: &Source, layer: &str, report: &mut impl FnMut(usize, String)) {
    let place = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    for path in source.paths() {
        let [root, target, ..] = path.segments.as_slice() else { continue };
        if root != "crate" && root != "tollgate" {
            continue;
        }
        let strangers = STRANGERS.contains(&layer) && STRANGERS.contains(&target.as_str()) && target != layer;
        let allowed = place(target) <= place(layer) && place(target).is_some() && !strangers;
        if !allowed {
            report(path.line, format!("{layer} must not name {}", path.segments.join("::")));
        }
    }
}

fn check_pingora(source: &Source, report: &mut impl FnMut(usize, String)) {
    for path in source.paths() {
        let root = path.segments.first().map_or("", String::as_str);
        if root == "pingora" || root.starts_with("pingora_") {
            report(path.line, format!("only edge names pingora: {}", path.segments.join("::")));
        }
    }
}

fn check_core(source: &Source, report: &mut impl FnMut(usize, String)) {
    for path in source.paths().iter().filter(|path| !path.in_test) {
        let text = path.segments.join("::");
        let forbidden =
            NOT_IN_CORE.iter().any(|start| text == *start || text.starts_with(&format!("{start}::")));
        if forbidden {
            report(path.line, format!("core is arithmetic and must not name {text}"));
        }
    }
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.in_test) {
        if let Some(name) = NAMES_NOT_IN_CORE.iter().find(|name| source.is_ident(at, name)) {
            report(token.line, format!("core is arithmetic and must not name {name}"));
        }
    }
}

fn check_proofs(source: &Source, path: &str, report: &mut impl FnMut(usize, String)) {
    for (name, home) in PROOFS {
        for (at, token) in source.tokens.iter().enumerate() {
            if !source.is_ident(at, name) || !source.is_punct(at + 1, "{") {
                continue;
            }
            if !path.starts_with(home) && makes_a_value(source, at) {
                report(token.line, format!("{name} is made only in {home}"));
            }
            if path.starts_with(home) && at > 0 && source.is_ident(at - 1, "struct") {
                let end = (at..source.tokens.len()).find(|i| source.is_punct(*i, "}")).unwrap_or(at);
                for field in (at..end).filter(|i| source.is_ident(*i, "pub")) {
                    report(source.tokens[field].line, format!("a field of {name} is not private"));
                }
            }
        }
    }
}

/// Whether the type named at `at`, followed by a brace, is being made (or taken apart) there,
/// and is not the return type of a function or the subject of an `impl`.
fn makes_a_value(source: &Source, at: usize) -> bool {
    let mut before = at;
    while before >= 2 && source.is_punct(before - 1, "::") {
        before -= 2;
    }
    let Some(before) = before.checked_sub(1) else { return true };
    let words = ["struct", "enum", "trait", "impl", "for", "dyn"];
    !(words.iter().any(|word| source.is_ident(before, word))
        || ["->", "&", ">"].iter().any(|text| source.is_punct(before, text))
        || source.tokens[before].token == crate::source::Token::Lifetime)
}

fn check_statics(source: &Source, report: &mut impl FnMut(usize, String)) {
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.in_test) {
        if source.is_ident(at, "thread_local") || source.is_ident(at, "lazy_static") {
            report(
                token.line,
                "state has one owner, built in app.rs: no thread_local, no lazy_static".to_owned(),
            );
        }
        if !source.is_ident(at, "static") {
            continue;
        }
        let end = (at..source.tokens.len()).find(|i| source.is_punct(*i, ";")).unwrap_or(at);
        let has_state = (at..end).any(|i| {
            source.is_ident(i, "mut")
                || INTERIOR_STATE.iter().any(|name| source.is_ident(i, name))
                || matches!(&source.tokens[i].token, crate::source::Token::Ident(name) if name.starts_with("Atomic"))
        });
        if has_state {
            report(token.line, "state has one owner, built in app.rs: no static with a state".to_owned());
        }
    }
}

/// What is an event of the log (`event = "audit"`) is told at every level, so it has a target of its own.
fn check_log_targets(source: &Source, report: &mut impl FnMut(usize, String)) {
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.in_test) {
        let is_field = source.is_ident(at, "event")
            && source.is_punct(at + 1, "=")
            && matches!(
                source.tokens.get(at + 2).map(|next| &next.token),
                Some(crate::source::Token::Literal)
            )
            && at > 1
            && (source.is_punct(at - 1, ",") || source.is_punct(at - 1, "("));
        let has_target =
            || ["AUDIT", "SECURITY"].iter().any(|target| source.is_ident(at.saturating_sub(2), target));
        if is_field && !has_target() {
            let what =
                "an event has its target right before it: `target: AUDIT` or `SECURITY`, state::log_targets";
            report(token.line, what.to_owned());
        }
    }
}

/// A function whose name asks something (`is_empty`) answers: one that gives nothing back does something, and
/// says what.
fn check_questions(source: &Source, report: &mut impl FnMut(usize, String)) {
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !token.in_test) {
        let Some(name) = source.ident(at + 1).filter(|_| source.is_ident(at, "fn")) else { continue };
        // That of an argument (`impl Fn() -> bool`) stands within parentheses, and so does the length of an
        // array.
        let mut depth = 0;
        let answers = (at..source.tokens.len()).find_map(|at| {
            let is = |text: &str| source.is_punct(at, text);
            depth += i32::from(is("(") || is("[")) - i32::from(is(")") || is("]"));
            (depth == 0 && (is("->") || is("{") || is(";"))).then(|| is("->"))
        });
        if !QUESTIONS.iter().any(|word| name.starts_with(word)) {
            continue;
        }
        if answers != Some(true) {
            report(token.line, format!("`{name}` asks and gives no answer; name what it does"));
        }
        let open = (at..source.tokens.len()).find(|at| source.is_punct(*at, "(")).unwrap_or(at);
        let changes = source.is_punct(open + 1, "&") && source.is_ident(open + 2, "mut");
        // Whoever polls must be able to wake.
        let polls = (open..source.tokens.len())
            .take_while(|at| !source.is_punct(*at, "{"))
            .any(|at| source.is_ident(at, "Context"));
        if changes && source.is_ident(open + 3, "self") && !polls {
            report(token.line, format!("`{name}` asks and changes something; name what it does"));
        }
    }
}

/// Words that leave a doc comment without the thing that it is about.
const NO_SUBJECTS: [&str; 4] = ["Of", "By", "With", "Whose"];

/// Comments are as wide as the code, functions return something, and a doc comment names its thing.
fn check_comments(source: &Source, report: &mut impl FnMut(usize, String)) {
    let mut goes_on_at = 0;
    for (line, comment) in &source.comments {
        let doc = comment.trim_start().strip_prefix("///").map(str::trim_start);
        let begins = *line != goes_on_at;
        if let Some(doc) = doc {
            goes_on_at = line + 1;
            let word = doc.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            if begins && NO_SUBJECTS.contains(&word) {
                report(*line, format!("a doc comment names its thing, and does not begin with `{word}`"));
            }
        }
        let text = comment.trim_start().trim_start_matches(['/', '!']).trim_start();
        if comment.chars().count() > WIDEST_COMMENT && !text.starts_with('|') {
            report(*line, format!("a comment is at most {WIDEST_COMMENT} columns wide"));
        }
        if ["Gives whether", ". Gives "].iter().any(|word| text.contains(word)) {
            report(*line, "a function returns something: write `Returns`".to_owned());
        }
    }
}

/// How many modules in files of their own may go without a list of them.
const UNLISTED: usize = 3;

/// A header that lists modules, as
/// ``//! - `name`: what it is`` or as rows of a table, lists them all. With more than [`UNLISTED`] of them
/// there is one.
fn check_map(source: &Source, report: &mut impl FnMut(usize, String)) {
    let modules: Vec<_> = source.modules().collect();
    let items = source.header.split("- `").skip(1).flat_map(|item| item.split('`'));
    let rows = source.header.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.flat_map(|row| row.split(" |").next().unwrap_or_default().split('`'));
    let listed: Vec<&str> = items.chain(cells).collect();
    if listed.is_empty() && modules.len() > UNLISTED {
        report(
            1,
            format!("{} modules, and its header has no list of them: - `name`: what it is", modules.len()),
        );
    }
    for (name, line) in modules.iter().filter(|(name, _)| !listed.is_empty() && !listed.contains(name)) {
        report(*line, format!("the list of modules in the header does not say what `{name}` is"));
    }
    let said = source.header.lines().filter_map(|line| line.strip_prefix("//! - `")?.split_once("`:"));
    let gone = said
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    for name in gone.filter(|name| !modules.is_empty() && !modules.iter().any(|(module, _)| module == name)) {
        report(1, format!("the list of modules in the header says what `{name}` is, and there is none"));
    }
}

/// Every fault of a page of promises: a promise without a test, a test that does not exist.
///
/// A promise is a row of a table or an item of a list. A test is named in backticks as
/// `path.rs::name` (modules between them may be named too) or `path.mjs: title`.
pub(crate) fn promise_faults(root: &Path, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, promise) in promises(page) {
        let named: Vec<&str> =
            promise.split('`').skip(1).step_by(2).filter(|name| names_a_test(name)).collect();
        if named.is_empty() {
            faults.push(format!("line {line}: no test is named for: {promise}"));
        }
        for name in named {
            if let Err(why) = find_test(root, name) {
                faults.push(format!("line {line}: {name}: {why}"));
            }
        }
    }
    faults
}

/// Rows of tables, without their heads, and items of lists with their continuation lines.
fn promises(page: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = page.lines().collect();
    let is_rule = |line: &str| line.starts_with('|') && line.chars().all(|c| "|-: ".contains(c));
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut in_item = false;
    for (index, line) in lines.iter().enumerate() {
        let is_head = lines.get(index + 1).is_some_and(|next| is_rule(next));
        if line.starts_with('|') {
            in_item = false;
            if !is_head && !is_rule(line) {
                found.push((index + 1, (*line).to_owned()));
            }
        } else if line.starts_with("- ") || line.starts_with("* ") {
            in_item = true;
            found.push((index + 1, line[2..].to_owned()));
        } else if in_item && line.starts_with(' ') {
            if let Some((_, item)) = found.last_mut() {
                item.push(' ');
                item.push_str(line.trim());
            }
        } else {
            in_item = false;
        }
    }
    found
}

fn names_a_test(name: &str) -> bool {
    name.contains(".rs::") || name.contains(".mjs: ")
}

fn find_test(root: &Path, name: &str) -> Result<(), String> {
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(|_| "no such file".to_owned());
    if let Some((path, title)) = name.split_once(".mjs: ") {
        let text = read(&format!("{path}.mjs"))?;
        let found = ['\'', '"', '`'].iter().any(|quote| text.contains(&format!("{quote}{title}{quote}")));
        return found.then_some(()).ok_or_else(|| "no test of this title in that file".to_owned());
    }
    let Some((path, test)) = name.split_once(".rs::") else { return Err("not a test".to_owned()) };
    let test = test.rsplit("::").next().unwrap_or(test);
    let source = Source::read(&read(&format!("{path}.rs"))?, &[]);
    let found = source.test_names().iter().any(|name| name == test);
    found.then_some(()).ok_or_else(|| "no test of this name in that file".to_owned())
}
