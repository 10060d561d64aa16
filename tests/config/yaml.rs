//! What the reader of YAML lets through, or says without a remedy: names of anchors, spellings that need
//! quotes, documents.

use std::time::{Duration, Instant};

use super::support::{errors, good, parse, settings};

/// The routes of `text`, each in a line, under what every configuration needs.
fn with_routes(lines: &str) -> String {
    good().text().replace("  - { path: /api/*, to: \"http://10.0.0.1:3000\" }\n", lines)
}

const TWICE: &str = r#"  - { path: /a/*, to: "http://10.0.0.1:3000", require: &r { scope: api:read } }
  - { path: /b/*, to: "http://10.0.0.1:3000", require: &r { scope: admin } }
  - { path: /admin/*, to: "http://10.0.0.1:3000", require: *r }
  - { path: /c/*, to: "http://10.0.0.1:3000", require: &s { any_scope: [guest] } }
"#;

#[test]
fn an_anchor_that_is_used_is_given_once() {
    let found = errors(&with_routes(TWICE));
    let line = with_routes(TWICE).lines().position(|line| line.contains("/b/*")).unwrap() + 1;
    let column = TWICE.lines().nth(1).unwrap().find('&').unwrap() + 1;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&format!("{line}:{column} : the anchor `r` is given twice")), "{found:?}");
    for more in [
        "  - { path: /d, to: \"http://10.0.0.1:3000\" } # &r once\n  - {path: /d/e, to: &r \"http://10.0.0.1:3000\"}\n",
        "  - path: /d\n    name: 'it''s &r'\n    to: \"http://10.0.0.1:3000\"\n    require:\n      &r\n      scope: x\n",
        "  - { path: /d, name: \"a # \\\" b\", to: &r \"http://10.0.0.1:3000\" }\n",
        "  - path: /d\n    to: >-\n      &r\n    name: &r x\n",
    ] {
        let once = with_routes(&TWICE.replace("require: &r { scope: admin }", "require: { scope: admin }"));
        assert!(parse(&once).is_ok());
        let text = once.replace("trusted_proxies:", &format!("{more}trusted_proxies:"));
        let found = errors(&text);
        assert!(found.concat().contains("the anchor `r` is given twice"), "{found:?}\n{text}");
    }
}

#[test]
fn what_only_looks_like_an_anchor_given_twice_is_good() {
    let distinct = TWICE.replacen(
        "/b/*, to: \"http://10.0.0.1:3000\", require: &r",
        "/b/*, to: \"http://10.0.0.1:3000\", require: &b",
        1,
    );
    let read = settings(&with_routes(&distinct));
    let required = |route| format!("{:?}", super::support::requirements(&read, route));
    assert_eq!(required(2), required(0));
    assert_ne!(required(2), required(1));
    let unused = TWICE.replace("*r }", "{ scope: root } }");
    assert!(parse(&with_routes(&unused)).is_ok());
    let texts = distinct.replace("path: /c/*", "name: \"a &r and *r\", path: /c/*") + "  # &r was &r\n";
    assert!(parse(&with_routes(&texts)).is_ok(), "{texts}");
}

/// However many there are, the time is bounded; a doubt is an error.
#[test]
fn many_that_look_like_anchors_cost_a_bounded_time() {
    let begun = Instant::now();
    let looks = "# &r\n".repeat(100_000);
    let text = with_routes(&format!("{TWICE}{looks}"));
    assert!(errors(&text).concat().contains("given twice"));
    let names: String = (0..20_000).map(|n| format!("# &a{n} &a{n} *a{n}\n")).collect();
    assert!(errors(&with_routes(&names)).len() == 1);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_spelling_that_needs_quotes_is_told_so_and_repeated_by_no_message() {
    for (line, mark) in [
        ("listen: [::]:8080", "[::]:8080"),
        ("listen: { address: [::1]:8080 }", "[::]:8080"),
        ("listen: [[::]:8080]", "[::]:8080"),
        ("trusted_proxies: [fe80::1]:8080", "[::]:8080"),
        ("admin: { hosts: [*.example.com] }", "`*`"),
        ("admin: { token: *hunter2 }", "`*`"),
        ("admin:\n  token: &hunter2!", "`&`"),
        ("admin:\n  token: @hunter2", "quoted"),
    ] {
        let text = good().with(line).text().replacen(
            "listen: 0.0.0.0:8080\n",
            "",
            usize::from(line.starts_with("listen")),
        );
        let found = errors(&text);
        let at = text.lines().position(|other| line.ends_with(other)).unwrap() + 1;
        assert!(found.len() == 1 && found[0].starts_with(&format!("{at}:")), "{line}: {found:?}");
        assert!(found[0].contains("quoted") && found[0].contains(mark), "{line}: {found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
    let route = good().text().replace("path: /api/*,", "path: /api/*, host: *.example.com,");
    assert!(
        errors(&route)[0].contains("`*` or `&` is quoted, like `\"*.example.com\"`"),
        "{:?}",
        errors(&route)
    );
    // A list that is not closed is none of these.
    assert!(!errors(&good().with("trusted_proxies: [10.0.0.1").text())[0].contains("quoted"));
}

#[test]
fn what_the_parser_says_in_its_own_words_has_what_would_be_right_behind_it() {
    for (line, right) in [
        ("admin: { token: ${TOKEN} }", "`\"${NAME}\"`"),
        ("trusted_proxies: [127.0.0.1, ::1]", "`\"::1\"`"),
        ("admin:127.0.0.1:8081", "a colon and a space"),
        ("admin:\u{a0}127.0.0.1:8081", "U+00A0"),
        ("limits:\n  <<: { body: 1MiB }", "merge keys are not taken"),
    ] {
        let found = errors(&good().with(line).text());
        assert!(found.concat().contains(right), "{line}: {found:?}");
    }
    let found = errors(&with_routes("  - { path: /users/{id}/*, to: \"http://10.0.0.1:3000\" }\n"));
    assert!(found[0].contains("quoted, like `\"/users/{id}/*\"`"), "{found:?}");
    let found = errors(&(good().text() + "store: \"data\n"));
    assert!(found[0].contains("a quote that was begun has no end"), "{found:?}");
}

#[test]
fn a_second_document_is_told_where_it_begins() {
    for (text, line) in [
        ("a: 1\n---\nb: 2\n", 2),
        ("%YAML 1.1\n--- # one\na: 1\n\n--- # two\nb: 2\n", 5),
        ("---\na: |\n  ---\n  x\n---\n", 5),
        ("a: 1\n...\n# and\nb: 2\n", 4),
    ] {
        let found = errors(text);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{line}:1 : a second document")),
            "{found:?}"
        );
    }
    assert!(parse(&format!("# first\n---\n{}", good().text())).is_ok());
}

#[test]
fn what_repeats_too_much_is_told_where_that_shows() {
    let mut text = good().text() + "\nx0: &x0 [x, x, x, x, x, x, x, x, x, x]\n";
    for level in 1..12 {
        let list = vec![format!("*x{}", level - 1); 10].join(", ");
        text.push_str(&format!("x{level}: &x{level} [{list}]\n"));
    }
    let found = errors(&text);
    assert!(found.len() == 1 && found[0].contains("repeat too much"), "{found:?}");
    assert!(!found[0].starts_with("1:"), "{found:?}");
}

/// As many as there may be, in a file as large as one may be: all have their lines, in a bounded time.
#[test]
fn every_mistake_has_its_line_however_large_the_file_is() {
    let padding = "#".repeat(1000);
    let route = |at: usize| format!("  - path: /r{at}\n    # {padding}\n    tto: \"http://10.0.0.1:3000\"\n");
    let text = with_routes(&(0..200).map(route).collect::<String>());
    assert!(text.len() > 200_000);
    let begun = Instant::now();
    let found = parse(&text).unwrap_err().mistakes;
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let expected = text.lines().zip(1..).filter(|(line, _)| line.contains("tto:")).map(|(_, number)| number);
    let unknown = found.iter().filter(|mistake| mistake.path.ends_with(".tto")).map(|mistake| mistake.line);
    assert_eq!(unknown.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert!(found.iter().all(|mistake| mistake.line > 0) && found.len() >= 200, "{}", found.len());
}
