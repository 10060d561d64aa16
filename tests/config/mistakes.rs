//! Mistakes: all are told at once, each with its place, and no text does harm.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tollgate::config;

use super::support::*;

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_line_and_a_remedy() {
    let text = fs::read_to_string(Path::new(TOP).join("tests/data/config/mistakes.yaml")).unwrap();
    let told = config::parse(&text, Path::new(""), &env, &no_file).unwrap_err().to_string() + "\n";
    let golden = Path::new(TOP).join("tests/data/config/mistakes.txt");
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&golden, &told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(golden).unwrap());
}

/// The parser names a line behind the last.
#[test]
fn a_file_that_breaks_off_is_wrong_at_its_last_line() {
    for (text, last) in [("a: b\nc", 2), ("a: b\nc\n", 2), ("a: b\nc\n\n", 3), ("a: {", 1), ("a: \"b\n\n", 2)]
    {
        let errors = parse(text).unwrap_err();
        assert_eq!(
            errors.mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(),
            [last],
            "{text:?}: {errors}"
        );
    }
}

#[test]
fn a_number_where_text_is_due_is_quoted_as_it_is_meant() {
    for number in ["12e45", "7", "0x10", "1.50"] {
        let text = good().client(&format!("client_id: {number}")).text();
        only_error(&text, "clients.web.client_id", "quote it as you mean it");
        let told = errors(&text).concat();
        assert!(!told.contains('+') && !told.contains("`\""), "{told}");
    }
    only_error(
        &good().route("public: 12e45").text(),
        "routes[0].public",
        "is a number, neither `true` nor `false`",
    );
}

#[test]
fn a_mistake_hides_no_other_of_its_route_or_store() {
    let places = |text: &str| -> Vec<String> {
        parse(text).unwrap_err().mistakes.into_iter().map(|mistake| mistake.path).collect()
    };
    let route =
        good().route("host: \"a b\", methods: GOT, sign_in: nobody, strip_prefix: /x, cors: both").text();
    let at = |keys: &[&str]| keys.iter().map(|key| format!("routes[0].{key}")).collect::<Vec<_>>();
    assert_eq!(places(&route), at(&["host", "methods", "sign_in", "strip_prefix", "cors"]));
    let route = good().route("resource: \"/x\", extends_session: false").text();
    assert_eq!(places(&route), at(&["resource", "extends_session"]));
    let misplaced = good().route("host: \"a b\", resource: \"https://gate.example.com/api\"").text();
    assert_eq!(places(&misplaced), at(&["host"]), "where it must be follows from the host");
    let both = ["sessions.keys", "admin.token"];
    for store in ["redis://cache/one", "redis://${NO_SUCH}"] {
        let errors = errors(&good().with(&format!("store: \"{store}\"")).text());
        assert!(errors.len() == 3 && both.iter().all(|key| errors.concat().contains(key)), "{errors:?}");
    }
    let errors = errors(&good().with("store: { url: \"redis://\", username: \"\", password: \"\" }").text());
    assert_eq!(errors.len(), 5, "{errors:?}");
}

#[test]
fn keys_given_twice_are_all_told_with_their_own_lines() {
    let text = "public_url: https://gate.example.com\nlisten: 0.0.0.0:80\nissuers:\n  a: { url: https://a, audience: x }\n  a: { url: https://b, audience: x }\nroutes:\n  - path: /a\n    to: http://u\n    to: http://v\n";
    assert_eq!(
        errors(text),
        [
            "5:3 issuers.a: is given twice; keep one of the two",
            "9:5 routes[0].to: is given twice; keep one of the two"
        ]
    );
}

#[test]
fn a_mark_of_the_byte_order_is_no_part_of_the_file() {
    assert!(parse(&format!("\u{feff}{}", good().text())).is_ok());
    let errors = errors(&format!("\u{feff}nonsense: 1\n{}", good().text()));
    assert!(errors.len() == 1 && errors[0].starts_with("1:"), "{errors:?}");
    assert!(errors[0].contains(" nonsense: unknown key"), "{errors:?}");
}

#[test]
fn text_that_is_no_configuration_is_refused_with_a_line() {
    for (text, line) in [
        ("a: [1, 2\nb: 3\n", 2),
        ("a: *nowhere\n", 1),
        ("a: !tag x\n", 1),
        ("? [a]\n: b\n", 1),
        ("---\na: 1\n---\nb: 2\n", 1),
    ] {
        let found = parse(text).unwrap_err();
        assert_eq!(found.mistakes.len(), 1, "{found}");
        assert!(found.mistakes[0].line >= line, "{text:?}: {found}");
    }
    for empty in ["", "\n", "# nothing\n", "null\n", "[]\n", "text\n", "{}\n", "\u{feff}"] {
        assert!(parse(empty).is_err(), "{empty:?}");
    }
    for (text, remedy) in [
        ("# nothing\n", "the file says nothing; docs/configuration.md"),
        ("a:\n\tb: c\n", "indented with spaces"),
        ("a:\n  - b\n   - c: d\n", "compare the indentation"),
    ] {
        let found = parse(text).unwrap_err().to_string();
        assert!(found.contains(remedy), "{text:?}: {found}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, b"a: b\nc: \xff\n").unwrap();
    assert_eq!(config::load(&file, &env).unwrap_err().mistakes[0].line, 2);
    fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(config::load(&file, &env).unwrap_err().to_string().contains("1 MiB"));
    assert!(config::load(folder.path(), &env).unwrap_err().to_string().contains("cannot be read"));
}

/// Nobody has to correct some before the rest is told, and no harmless warning keeps another back.
#[test]
fn however_many_mistakes_and_warnings_there_are_all_are_told() {
    let unknown: String = (0..320).map(|n| format!("nonsense{n}: 1\n")).collect();
    let found = parse(&format!("{}{unknown}", good().text())).unwrap_err();
    assert_eq!(found.mistakes.len(), 320);
    assert!(found.mistakes.iter().all(|mistake| mistake.path.starts_with("nonsense")), "{found}");
    let lines: Vec<usize> =
        found.mistakes.iter().map(|mistake| mistake.line).filter(|line| *line > 0).collect();
    assert!(lines.len() == 320 && lines.is_sorted(), "{lines:?}");
    let trials: String = (0..260)
        .map(|n| format!("  - {{ path: /{n}/*, to: \"http://10.0.0.1\", report_only: true }}\n"))
        .collect();
    let loaded = parse(&Parts { routes: trials, ..good() }.text()).unwrap();
    let told: std::collections::BTreeSet<_> = loaded.warnings.iter().map(|warning| &warning.path).collect();
    assert_eq!(told.len(), 260);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yaml"), format!("{}{unknown}", good().text())).unwrap();
    let (_, _, err) = command(folder.path(), &["check"]);
    assert!(err.trim_end().ends_with("\n320 mistakes"), "{err}");
}

#[test]
fn a_key_of_a_section_that_stands_beside_it_is_told_where_it_belongs() {
    for key in ["scope: x", "any_scope: [a, b]", "acr: gold", "signed_in_within: 5m"] {
        let at = format!("routes[0].{}", key.split(':').next().unwrap());
        only_error(&good().route(key).text(), &at, "under `require`");
    }
    only_error(&good().with("subject: plain").text(), "subject", "under `log`");
    only_error(&good().route("reqire: { scope: x }").text(), "routes[0].reqire", "did you mean `require`");
}

#[test]
fn anchors_and_depth_cost_a_bounded_time() {
    let begun = Instant::now();
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 10_000].join(","));
    let deep = "[".repeat(500_000);
    let maps = "{a: ".repeat(900);
    let closed = "[a] ".repeat(100_000);
    let lines: String = (0..2000).map(|n| format!("{}a:\n", " ".repeat(n % 500))).collect();
    let mistakes: String = (0..5000).map(|n| format!("k{n}: 1\n")).collect();
    for text in [laughs, long, deep, maps, closed, lines, mistakes] {
        let found = parse(&text).unwrap_err();
        assert!(found.mistakes.len() <= 5010, "{}", found.mistakes.len());
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn no_text_makes_it_panic_and_every_refusal_says_something() {
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Err(errors) = config::parse(&text, Path::new(""), &|_| None, &no_file) {
            assert!(!errors.mistakes.is_empty());
        }
    });
}

/// A good file in which something was put out of place is read or refused, with a reason.
#[test]
fn no_damage_to_a_good_file_makes_it_panic() {
    let good = fs::read_to_string(Path::new(TOP).join("config.yaml")).unwrap();
    let spare = [
        "{", "}", "[", "]", ":", "null", "-", "&a", "*a", "${X}", "\"", "5", "true", "\n", " ", "~", "<<",
        "!t",
    ];
    bolero::check!().with_iterations(2000).with_type::<(u16, u8, u8)>().for_each(|&(at, cut, which)| {
        let lines: Vec<&str> = good.split_inclusive(' ').collect();
        let at = usize::from(at) % lines.len();
        let until = (at + usize::from(cut % 4)).min(lines.len());
        let damaged = format!(
            "{}{}{}",
            lines[..at].concat(),
            spare[usize::from(which) % spare.len()],
            lines[until..].concat()
        );
        if let Err(errors) = config::parse(&damaged, Path::new(""), &env, &no_file) {
            assert!(!errors.mistakes.is_empty());
            assert!(
                !errors.to_string().contains("cannot be read as a configuration"),
                "no reason given:\n{damaged}"
            );
        }
    });
}
