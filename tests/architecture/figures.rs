//! Figures that a document repeats are those of the document that has them from a measurement.

use std::fs;

use crate::project;

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).expect(path)
}

/// What `make bench` writes into docs/comparison.md, by the name of its mark.
fn written(page: &str, what: &str) -> String {
    let (begin, end) = (format!("<!-- bench: {what} -->"), format!("<!-- /bench: {what} -->"));
    let (_, rest) = page.split_once(&begin).expect("a mark");
    rest.split_once(&end).expect("the end of a mark").0.to_owned()
}

/// Numbers with two places, as ratios are written.
fn ratios(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    words.filter(|word| word.split_once('.').is_some_and(|(_, places)| places.len() == 2)).collect()
}

#[test]
fn the_comparison_has_the_figures_of_the_measurement() {
    let measured = read("docs/performance.md");
    let (_, tables) = measured.split_once("<!-- what follows is written by `make bench`").expect("a mark");
    let table = tables.split("\n\n").find(|part| part.starts_with("| CPU time a request, nginx = 1"));
    let table = table.expect("the table of requests");
    let page = read("docs/comparison.md");
    for (what, systems, count) in [
        (
            "tollgate",
            &["pingora, bare", "Tollgate, tokens seen before**", "Tollgate, every token new, RS256"][..],
            6,
        ),
        ("apache", &["Apache"], 2),
    ] {
        let rows: Vec<_> =
            table.lines().filter(|row| systems.iter().any(|system| row.contains(system))).collect();
        let cells: Vec<_> = rows.iter().flat_map(|row| row.split(" | ").skip(1).take(2)).collect();
        let said = written(&page, what);
        let said = ratios(&said);
        assert_eq!(said.len(), count, "{said:?}");
        for ratio in said {
            assert!(cells.contains(&ratio), "{ratio} of docs/comparison.md is none of {rows:#?}");
        }
    }
    assert!(tables.contains(&format!("\n{}, ", written(&page, "date"))), "of another day");
    let row = page.lines().find(|row| row.starts_with("| **Cost of a request** ([measured]"));
    let rest =
        row.expect("the row").split("<!-- bench: ").map(|part| match part.split_once("<!-- /bench: ") {
            Some((_, after)) => after,
            None => part,
        });
    let unmarked = rest.collect::<String>();
    assert_eq!(ratios(&unmarked), [""; 0], "a figure that no measurement replaces: {unmarked}");
}
