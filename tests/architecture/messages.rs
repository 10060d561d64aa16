//! The messages of the log, as docs/metrics.md has them: level, text and fields of each, out of the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{project, rules};

/// At most so much of a message stands in the table; its beginning is what one looks for.
const SHOWN: usize = 130;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    /// 0 is the gravest.
    gravity: usize,
    text: String,
    fields: Vec<String>,
}

const LEVELS: [&str; 3] = ["error", "warn", "info"];

/// What stands between the bracket with which `text` begins and the one that ends it, cut at the commas
/// between arguments.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    let mut found = vec![String::new()];
    for sign in text.chars() {
        match sign {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            '(' | '[' | '{' if !in_text => depth += 1,
            ')' | ']' | '}' if !in_text => depth -= 1,
            ',' if !in_text && depth == 1 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        found.last_mut().expect("one").push(sign);
    }
    found.iter().map(|argument| argument.trim_start_matches('(').trim().to_owned()).collect()
}

/// A literal as it is read: continued lines are one, and what is filled in is an ellipsis.
fn read(literal: &str) -> String {
    let lines: Vec<&str> = literal.trim_matches('"').split("\\\n").collect();
    let whole = lines.iter().enumerate().map(|(at, line)| if at == 0 { line } else { line.trim_start() });
    let mut text = String::new();
    for (at, piece) in whole.collect::<String>().replace("\\\"", "\"").split('{').enumerate() {
        match piece.split_once('}') {
            Some((_, rest)) if at > 0 => text.extend(["…", rest]),
            _ => text += piece,
        }
    }
    let text = text.replace('|', "\\|");
    if text.chars().count() <= SHOWN {
        return text;
    }
    let cut: String = text.chars().take(SHOWN).collect();
    format!("{} …", cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words))
}

fn messages_of(text: &str) -> Vec<Message> {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    for (gravity, level) in LEVELS.iter().enumerate() {
        for (at, call) in text.match_indices(&format!("tracing::{level}!(")) {
            let arguments = arguments(&text[at + call.len() - 1..]);
            let message = arguments.iter().position(|argument| argument.starts_with('"')).expect("a message");
            let fields = arguments[..message].iter().filter(|argument| !argument.starts_with("target:"));
            let name = |argument: &String| {
                let (name, value) = argument.split_once(" = ").unwrap_or((argument, ""));
                let word = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                let name = name.trim_start_matches(['%', '?']);
                word.map_or_else(|| format!("`{name}`"), |word| format!("`{name}: {word}`"))
            };
            let fields = fields.map(name).collect();
            found.push(Message { gravity, text: read(&arguments[message]), fields });
        }
    }
    found
}

/// What Tollgate says that is not made of other texts alone.
fn messages(root: &Path) -> BTreeSet<Message> {
    let mut files = Vec::new();
    rules::rust_files(&root.join("src"), &mut files);
    let path =
        |file: &Path| file.strip_prefix(root).expect("under root").to_string_lossy().replace('\\', "/");
    let of_tests = |path: &str| path.split('/').any(|part| part.starts_with("test") || part == "demo");
    let texts = files
        .iter()
        .filter(|file| !of_tests(&path(file)))
        .map(|file| fs::read_to_string(file).expect("readable source"));
    texts.flat_map(|text| messages_of(&text)).filter(|message| message.text != "…").collect()
}

fn table(messages: &BTreeSet<Message>) -> String {
    let mut table = "| level | message | fields |\n|---|---|---|\n".to_owned();
    for Message { gravity, text, fields } in messages {
        let fields = if fields.is_empty() { String::new() } else { format!("{} ", fields.join(", ")) };
        table += &format!("| {} | {text} | {fields}|\n", LEVELS[*gravity]);
    }
    table
}

#[test]
fn the_documentation_names_every_message_of_the_log_and_its_fields() {
    let file = project().join("docs/metrics.md");
    let page = fs::read_to_string(&file).expect("the page");
    let (before, rest) = page.split_once("<!-- messages -->\n").expect("where the table begins");
    let (_, after) = rest.split_once("<!-- /messages -->").expect("where it ends");
    let messages = messages(project());
    assert!(messages.len() > 100, "{}", messages.len());
    let right = format!("{before}<!-- messages -->\n{}<!-- /messages -->{after}", table(&messages));
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&file, &right).expect("the page");
        return;
    }
    assert!(page == right, "docs/metrics.md is not what the sources say; TOLLGATE_BLESS=1 writes it");
}

#[test]
fn a_message_is_read_with_its_level_and_its_fields() {
    let source = r#"
        tracing::warn!(target: AUDIT, event = "audit", %who, kind = a.b(c, "x, y"), "said {} of {what}, \
            and {more}");
        tracing::info!("{}", x);
    "#;
    let text = "said … of …, and …".to_owned();
    let fields = ["`event: audit`", "`who`", "`kind`"].map(str::to_owned).to_vec();
    let plain = Message { gravity: 2, text: "…".to_owned(), fields: vec![] };
    assert_eq!(messages_of(source), [Message { gravity: 1, text, fields }, plain]);
}
