//! What was measured, as tables: for the terminal, and into docs/performance.md between two marks. What
//! docs/comparison.md says of it stands there between marks, too.

use std::fmt::Write as _;
use std::path::Path;

use crate::part::Part;
use crate::results::{Results, Run, Spread};
use crate::systems::{self, APACHE, BARE, Group, KNOWN, Load, NEW, NEW_WITH_ASSERTION};
use crate::{Failure, chart, tables};

const BEGIN: &str = "<!-- what follows is written by `make bench`, up to the next such mark -->";
const END: &str = "<!-- here ends what `make bench` writes -->";
const CHART: &str = "side-by-side.svg";

/// All tables, as Markdown.
pub(crate) fn text(run: &Run) -> String {
    let parts = run.0.iter().map(|(part, results)| match part {
        Part::Requests => format!("{}\n\n{}\n{}", how(results), beside_nginx(results), beyond_bare(results)),
        Part::Tls => tables::over_tls(results),
        Part::Exchange => tables::exchange(results),
        Part::Memory => tables::memory(results),
        Part::Start => tables::start(results),
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// Writes the tables, and the chart of requests, into this folder of docs.
///
/// # Errors
/// When `performance.md` has no place for them, or `comparison.md` beside it none for what it says of them.
pub(crate) fn write(run: &Run, folder: &Path) -> Result<(), Failure> {
    let file = folder.join("performance.md");
    let docs = std::fs::read_to_string(&file)?;
    let (before, rest) = docs.split_once(BEGIN).ok_or("performance.md has no mark where tables begin")?;
    let (_, after) = rest.split_once(END).ok_or("performance.md has no mark where tables end")?;
    let mut written = String::new();
    if let Some(requests) = run.0.get(&Part::Requests) {
        written = format!("![CPU time a request beside nginx as a plain proxy]({CHART})\n\n");
        std::fs::write(folder.join(CHART), chart::draw(requests))?;
        compare(requests, &folder.join("comparison.md"))?;
    }
    written += &text(run);
    std::fs::write(&file, format!("{before}{BEGIN}\n\n{written}\n{END}{after}"))?;
    Ok(())
}

/// Writes into the page that compares what others say of themselves, where there is one and all was measured
/// that stands there.
fn compare(results: &Results, page: &Path) -> Result<(), Failure> {
    let (Ok(mut text), Some(written)) = (std::fs::read_to_string(page), compared(results)) else {
        return Ok(());
    };
    for (what, written) in written {
        let (begin, end) = (format!("<!-- bench: {what} -->"), format!("<!-- /bench: {what} -->"));
        let (before, rest) = text.split_once(&begin).ok_or("comparison.md lacks a mark")?;
        let (_, after) = rest.split_once(&end).ok_or("comparison.md lacks the end of a mark")?;
        text = format!("{before}{begin}{written}{end}{after}");
    }
    Ok(std::fs::write(page, text)?)
}

/// What stands there, by the names of its marks.
fn compared(results: &Results) -> Option<[(&'static str, String); 3]> {
    let of_many = |name| results.ratio(name, Load::Many).map(|ratio| ratio.median);
    let of_both = |name| {
        let (one, many) = (results.ratio(name, Load::One)?.median, of_many(name)?);
        Some(format!("{:.2} to {:.2}", one.min(many), one.max(many)))
    };
    let tollgate = format!(
        "{} times nginx as a plain proxy (the bare pingora proxy {}); {:.2} where every token is new (RS256), {:.2} where \
         an assertion is made of each besides",
        of_both(KNOWN)?,
        of_both(BARE)?,
        of_many(NEW)?,
        of_many(NEW_WITH_ASSERTION)?,
    );
    let apache = format!("{} times nginx (RS256)", of_both(APACHE)?);
    Some([("date", results.date.clone()), ("tollgate", tollgate), ("apache", apache)])
}

fn how(results: &Results) -> String {
    let Results { date, cores, rounds, seconds, connections, versions, .. } = results;
    let signatures: Vec<String> = crate::tokens::Algorithm::ALL
        .iter()
        .filter_map(|algorithm| {
            Some(format!("{} {:.0} µs", algorithm.name(), results.verification(*algorithm)?.median))
        })
        .collect();
    format!(
        "{date}, {cores} cores, {rounds} rounds of {seconds} s for each, {connections} kept connections; {}, as Debian \
         packs them. One signature's verification by aws-lc took {}.",
        versions.join(", "),
        signatures.join(", "),
    )
}

fn beside_nginx(results: &Results) -> String {
    let mut text = String::from(
        "| CPU time a request, nginx = 1 | one token | 10,000 tokens | least to greatest | CPU |\n|---|---|---|---|---|\n",
    );
    for (name, group) in results.rows() {
        let ratio =
            |load| results.ratio(name, load).map_or_else(String::new, |ratio| format!("{:.2}", ratio.median));
        let (one, many) = (ratio(Load::One), ratio(Load::Many));
        let spread = results.ratio(name, Load::Many).map_or_else(String::new, least_to_greatest);
        let microseconds = results
            .spread(name, Load::Many.name())
            .map_or_else(String::new, |all| format!("{:.0} µs", all.median));
        let name = if group == Group::Tollgate { format!("**{name}**") } else { name.to_owned() };
        let _ = writeln!(text, "| {name} | {one} | {many} | {spread} | {microseconds} |");
    }
    text
}

/// The price of the gate alone: what is beyond a proxy on the same platform that decides nothing.
fn beyond_bare(results: &Results) -> String {
    let mut text = String::from(
        "| beside the bare proxy | ratio | least to greatest | more CPU | without the signature |\n|---|---|---|---|---|\n",
    );
    for system in systems::all().iter().filter(|system| system.group == Group::Tollgate) {
        for load in system.loads {
            let (Some(ratio), Some(beyond)) =
                (results.ratio_to(BARE, system.name, load.name()), results.beyond_bare(system.name, *load))
            else {
                continue;
            };
            let signature = system.verifies_each().then(|| results.verification(system.algorithm)).flatten();
            let rest =
                signature.map_or_else(String::new, |one| format!("{:.1} µs", beyond.median - one.median));
            let _ = writeln!(
                text,
                "| {}, {} | {:.2} | {} | {:.1} µs | {rest} |",
                system.name,
                load.name(),
                ratio.median,
                least_to_greatest(ratio),
                beyond.median,
            );
        }
    }
    text
}

fn least_to_greatest(spread: Spread) -> String {
    format!("{:.2} to {:.2}", spread.least, spread.greatest)
}
