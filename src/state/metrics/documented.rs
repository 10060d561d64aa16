//! What docs/metrics.md says of labels is what there is.

use std::fs;
use std::path::Path;

use crate::core::brake::tests::what_counts::every_denial;
use crate::core::denial::Denial;
use crate::core::denial::security_event::{Code, RefusedEvent};
use crate::core::revocation::Kind;
use crate::core::session_end::SessionEnd;
use crate::state::metrics::labels::all;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

const ENDS: [SessionEnd; 7] = all!(
    SessionEnd: IdleTimeout, AbsoluteTimeout, Revoked, ReuseDetected, InvalidGrant, SignedInAgain, SignedInAsAnother
);
const CODES: [Code; 6] = all!(
    Code: InvalidRequest, InvalidKey, InvalidIssuer, InvalidAudience, AuthenticationFailed, AccessDenied
);

/// One of each that has facts of its own: a kind of refusal may have several.
fn each_with_facts(kind: Denial) -> Vec<Denial> {
    match kind {
        Denial::NotSignedIn { .. } => vec![Denial::NotSignedIn { ended: None }],
        Denial::SessionEnded(_) => ENDS
            .into_iter()
            .flat_map(|end| [Denial::SessionEnded(end), Denial::NotSignedIn { ended: Some(end) }])
            .collect(),
        Denial::SecurityEventRefused(_) => {
            CODES.into_iter().map(|code| Denial::SecurityEventRefused(RefusedEvent::new(code, ""))).collect()
        }
        other => vec![other],
    }
}

/// A reason, the statuses that are answered with it, and the title of each in its order.
struct Row {
    label: &'static str,
    statuses: Vec<u16>,
    titles: Vec<&'static str>,
    /// The sentence that says more than the title; empty: each has another.
    detail: &'static str,
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for denial in every_denial().into_iter().flat_map(|(kind, _)| each_with_facts(kind)) {
        let facts = denial.facts();
        let known = rows.iter().position(|row| row.label == facts.label);
        let at = known.unwrap_or_else(|| {
            let (label, detail) = (facts.label, facts.detail);
            rows.push(Row { label, statuses: Vec::new(), titles: Vec::new(), detail });
            rows.len() - 1
        });
        let row = &mut rows[at];
        if !row.statuses.contains(&facts.status.as_u16()) {
            row.statuses.push(facts.status.as_u16());
        }
        if !row.titles.contains(&facts.title) {
            row.titles.push(facts.title);
        }
    }
    rows
}

fn table() -> String {
    let mut table = "| reason | status | what it means |\n|---|---|---|\n".to_owned();
    for Row { label, statuses, titles, detail } in rows() {
        let statuses = statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ");
        let titles = titles.join("; ");
        let more = if detail.is_empty() { "The answer says why." } else { detail };
        table += &format!("| `{label}` | {statuses} | {titles}. {more} |\n");
    }
    table
}

#[test]
fn the_documentation_names_every_reason_and_no_other() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once("<!-- reasons -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /reasons -->").unwrap();
    let right = format!("{before}<!-- reasons -->\n{}<!-- /reasons -->{after}", table());
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(Path::new(PAGE), &right).unwrap();
        return;
    }
    assert!(page == right, "docs/metrics.md is not what the refusals say; TOLLGATE_BLESS=1 writes it");
}

#[test]
fn the_documentation_names_every_kind_of_revocation() {
    let page = fs::read_to_string(PAGE).unwrap();
    let row = page.lines().find(|line| line.starts_with("| `revocations` |")).unwrap();
    for kind in Kind::ALL {
        assert!(row.contains(&format!("`{}`", kind.label())), "{kind:?} is not in {row}");
    }
}
