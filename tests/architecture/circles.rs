//! Circles of imports between the children of one folder: files and folders that cannot be read, moved or
//! understood one after the other. What is under `#[cfg(test)]` does not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::FileOfSource;

/// A folder, the children of it that import each other, and why that stays for now.
pub(crate) type Allowed<'a> = (&'a str, &'a [&'a str], &'a str);

/// Circles that are older than the rule. One that is no longer there as it stands here is itself a fault.
pub(crate) const ALLOWED: [Allowed<'_>; 0] = [];

/// From which child to which, and the line that says so.
type Imports<'a> = BTreeMap<(&'a str, &'a str), String>;

/// Each circle that is not allowed, with one import for each step, and each allowance that nothing needs.
pub(crate) fn faults(files: &[FileOfSource], allowed: &[Allowed<'_>]) -> Vec<String> {
    let (mut faults, mut needed) = (Vec::new(), BTreeSet::new());
    for (folder, imports) in imports(files) {
        for circle in circles(&imports) {
            let members: Vec<&str> = circle.iter().copied().collect();
            let is_this = |(place, children, _): &&Allowed<'_>| *place == folder && *children == members;
            if let Some(allowance) = allowed.iter().find(is_this) {
                needed.insert(allowance);
                continue;
            }
            let steps = imports
                .iter()
                .filter(|((from, to), _)| circle.contains(from) && circle.contains(to))
                .map(|(_, line)| format!("\n    {line}"));
            faults.push(format!(
                "{folder}: {} import each other; move what they share into a file of its own:{}",
                members.join(", "),
                steps.collect::<String>()
            ));
        }
    }
    let stale = allowed.iter().filter(|allowance| !needed.contains(allowance));
    faults.extend(stale.map(|(folder, children, _)| {
        format!("{folder}: no longer a circle, so it needs no allowance: {}", children.join(", "))
    }));
    faults
}

/// By folder, the imports between its direct children.
fn imports(files: &[FileOfSource]) -> BTreeMap<String, Imports<'_>> {
    // Every module, and every folder of one.
    let known: BTreeSet<&[String]> =
        files.iter().flat_map(|(_, module, _)| (1..=module.len()).map(|length| &module[..length])).collect();
    let mut found: BTreeMap<String, Imports<'_>> = BTreeMap::new();
    for (path, module, source) in files {
        for named in source.paths().into_iter().filter(|named| !named.in_test) {
            let target = match named.segments.as_slice() {
                [root, rest @ ..] if root == "crate" || root == "tollgate" => rest.to_vec(),
                // A child of this module, or a name that was brought in by an import of its own.
                rest => module.iter().chain(rest).cloned().collect(),
            };
            let shared = module.iter().zip(&target).take_while(|(ours, theirs)| ours == theirs).count();
            let (Some(from), true) = (module.get(shared), target.len() > shared) else { continue };
            let Some(to) = known.get(&target[..=shared]).and_then(|module| module.last()) else { continue };
            let folder = ["src"].into_iter().chain(module[..shared].iter().map(String::as_str));
            found
                .entry(folder.collect::<Vec<_>>().join("/"))
                .or_default()
                .entry((from, to))
                .or_insert_with(|| format!("{path}:{}: {}", named.line, named.segments.join("::")));
        }
    }
    found
}

/// The sets of children of which each leads to each.
fn circles<'a>(imports: &Imports<'a>) -> BTreeSet<BTreeSet<&'a str>> {
    let from: BTreeSet<&str> = imports.keys().map(|(from, _)| *from).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        from.into_iter().map(|child| (child, reached(imports, child))).collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|reached| reached.contains(to));
    let with = |child: &'a str| reached[child].iter().copied().filter(|other| leads(other, child)).collect();
    reached.keys().copied().filter(|child| leads(child, child)).map(with).collect()
}

/// All to which a child leads by one import or more.
fn reached<'a>(imports: &Imports<'a>, child: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![child]);
    while let Some(child) = next.pop() {
        let further = imports.keys().filter(|(from, _)| *from == child).map(|(_, to)| *to);
        next.extend(further.filter(|to| reached.insert(*to)));
    }
    reached
}
