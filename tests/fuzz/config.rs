//! A config file that something was done to is read, or every mistake has a place and a remedy; and what
//! nobody knows is never passed over.

use std::io;
use std::path::Path;

use tollgate::config::{self, error::ConfigErrors};

use crate::choices::Choices;

const GOOD: &str = include_str!("../../config.yaml");

fn read(text: &str) -> Result<config::Loaded, ConfigErrors> {
    let env = |name: &str| (name == "WEB_APP_SECRET").then(|| "a secret of the demo, long enough".to_owned());
    let no_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    config::parse(text, Path::new(""), &env, &no_file)
}

fn have_places(errors: &ConfigErrors, text: &str) {
    let lines = text.lines().count().max(1) + 1;
    assert!(!errors.mistakes.is_empty());
    for mistake in &errors.mistakes {
        assert!((1..=lines).contains(&mistake.line), "{mistake:?} in\n{text}");
        assert!(mistake.column >= 1 && !mistake.message.is_empty(), "{mistake:?} in\n{text}");
    }
}

#[test]
fn a_damaged_file_is_read_or_every_mistake_has_a_place() {
    let spare = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        "- ",
        "null",
        "&a ",
        "*a",
        "${X}",
        "${WEB_APP_SECRET}",
        "\"",
        "'",
        "5",
        "-1",
        "true",
        "\n",
        "  ",
        "~",
        "<<: ",
        "!t ",
        "#",
        "|\n",
        "\t",
        "\u{feff}",
        "routes:",
        "99999999999999999999",
        "5M",
        "\u{e9}",
    ];
    bolero::check!().with_iterations(1_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let mut text = GOOD.as_bytes().to_vec();
        for _ in 0..1 + choices.byte() % 3 {
            text = choices.alter(&text, &spare);
        }
        let text = String::from_utf8_lossy(&text);
        match read(&text) {
            // What is read once is read again, and says the same.
            Ok(loaded) => assert_eq!(loaded.warnings, read(&text).unwrap().warnings),
            Err(errors) => have_places(&errors, &text),
        }
        let own = String::from_utf8_lossy(bytes);
        if let Err(errors) = read(&own) {
            assert!(!errors.mistakes.is_empty());
        }
    });
}

#[test]
fn a_key_that_nobody_knows_is_told_wherever_it_stands() {
    bolero::check!().with_iterations(500).with_max_len(8).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        // Before a line that begins with a key: on its level.
        let lines: Vec<&str> = GOOD.split_inclusive('\n').collect();
        let is_key = |line: &str| {
            let key = line.trim_start();
            key.starts_with(|c: char| c.is_ascii_lowercase())
                && key.split(' ').next().is_some_and(|k| k.ends_with(':'))
        };
        let places: Vec<usize> = (0..lines.len()).filter(|at| is_key(lines[*at])).collect();
        let at = places[choices.below(places.len())];
        let indent = lines[at].len() - lines[at].trim_start().len();
        let key: String = (0..1 + choices.byte() % 6).map(|_| choices.any(&['z', 'q', '_', '9'])).collect();
        let text =
            format!("{}{}zz{key}: 1\n{}", lines[..at].concat(), " ".repeat(indent), lines[at..].concat());
        let errors = read(&text).unwrap_err();
        have_places(&errors, &text);
        let told = errors.mistakes.iter().find(|mistake| {
            mistake.path.ends_with(&format!("zz{key}")) || mistake.message.contains(&format!("zz{key}"))
        });
        assert!(
            told.is_some_and(|mistake| mistake.line == at + 1 || mistake.path.contains("zz")),
            "{errors}\n{text}"
        );
    });
}
