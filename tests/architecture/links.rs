//! Links of the documents lead to files and headings that there are, tables of contents are whole, and the
//! glossary names files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{assert_none, project};

/// The documents of a tree: those at its top, and those in `docs/`.
fn documents(root: &Path) -> Vec<PathBuf> {
    let entries = [root.to_owned(), root.join("docs")].into_iter().flat_map(fs::read_dir).flatten();
    let files = entries.map(|entry| entry.expect("a readable entry").path());
    let mut found: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    found.sort();
    found
}

/// A document without what stands in fences, where brackets and `#` mean something else.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// How GitHub names a heading: lower case, letters, digits, `-` and `_`, spaces as `-`.
fn anchor(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    lower.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    let headings =
        text.lines().filter_map(|line| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')));
    headings.map(anchor).collect()
}

/// Where the links of a document lead to, but for other sites.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.contains(' '))
}

/// Every link of a tree that leads nowhere.
fn broken(root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for document in documents(root) {
        let text = prose(&fs::read_to_string(&document).expect("a readable document"));
        for link in links(&text) {
            let (path, wanted) =
                link.split_once('#').map_or((link, None), |(path, wanted)| (path, Some(wanted)));
            let target = match path {
                "" => document.clone(),
                path => document.parent().expect("a folder").join(path),
            };
            let leads = match wanted {
                None => target.exists(),
                Some(wanted) => fs::read_to_string(&target)
                    .is_ok_and(|text| anchors(&prose(&text)).iter().any(|anchor| anchor == wanted)),
            };
            if !leads {
                faults.push(format!("{}: {link} leads nowhere", document.display()));
            }
        }
    }
    faults
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    assert!(documents(project()).len() > 10);
    assert_none(&broken(project()));
}

#[test]
fn the_table_of_contents_of_the_decisions_names_each_of_them() {
    let text = prose(&fs::read_to_string(project().join("docs/decisions.md")).expect("docs/decisions.md"));
    let named: Vec<_> = links(&text).filter_map(|link| link.strip_prefix('#')).collect();
    let missing = anchors(&text).into_iter().skip(1).filter(|anchor| !named.contains(&anchor.as_str()));
    assert_none(
        &missing.map(|anchor| format!("docs/decisions.md does not list #{anchor}")).collect::<Vec<_>>(),
    );
}

/// In the list before its first section.
#[test]
fn the_tables_of_contents_at_the_head_of_long_pages_name_each_section() {
    let mut faults = Vec::new();
    for page in ["docs/configuration.md", "docs/deployment.md", "docs/security.md"] {
        let text = prose(&fs::read_to_string(project().join(page)).expect(page));
        let (head, _) = text.split_once("\n## ").expect("sections");
        let named: Vec<_> = links(head).filter_map(|link| link.strip_prefix('#')).collect();
        let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
        if named != sections {
            faults.push(format!("{page} lists {named:?} and has {sections:?}"));
        }
    }
    assert_none(&faults);
}

#[test]
fn the_glossary_leads_to_files_that_there_are() {
    let text = fs::read_to_string(project().join("docs/glossary.md")).expect("docs/glossary.md");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let named: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let paths: Vec<&&str> = named.iter().filter(|name| name.contains('/')).collect();
    assert!(paths.len() > 50, "{paths:?}");
    for path in paths {
        assert!(project().join("src").join(path).exists(), "docs/glossary.md leads to {path}");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let tree = tempfile::tempdir().expect("a folder");
    fs::create_dir(tree.path().join("docs")).expect("a folder");
    fs::write(tree.path().join("docs/b.md"), "# B\n\n## What `x/y` is, and why\n").expect("a file");
    let broken_of = |text: &str| {
        fs::write(tree.path().join("README.md"), text).expect("a file");
        broken(tree.path()).len()
    };
    let good = "[b](docs/b.md) [why](docs/b.md#what-xy-is-and-why) [self](#here) [out](https://a.test/#x)\n\n# Here\n";
    assert_eq!(broken_of(good), 0);
    assert_eq!(broken_of("```\n[c](c.md)\n```\n"), 0);
    for link in ["docs/c.md", "docs/b.md#what-x-y-is-and-why", "#there", "docs/c.md#b"] {
        assert_eq!(broken_of(&format!("[a]({link})")), 1, "{link}");
    }
}
