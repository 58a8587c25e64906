//! Import cycles between the top-level modules of a crate: a module may use only modules that do
//! not use it, directly or through others.
//!
//! Reads paths that begin with `crate::` in the sources. Tests and comments are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// The crates whose modules form no cycle.
const ACYCLIC: &[&str] = &[
    "sealgate-core",
    "sealgate-engine",
    "sealgate-http",
    "sealgate-keys",
    "sealgate-kube",
    "sealgate-policy",
    "sealgate-server",
    "sealgate-sigstore",
];

/// The modules that each module of a crate uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// Every import cycle in the crates of the list, one line each.
pub(crate) fn found() -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in ACYCLIC {
        let uses = uses(&crate::root()?.join("crates").join(name).join("src"))?;
        found.extend(cycles(&uses).into_iter().map(|cycle| format!("{name}: {cycle}")));
    }
    Ok(found)
}

fn uses(source: &Path) -> anyhow::Result<Uses> {
    let mut uses = Uses::new();
    for entry in fs::read_dir(source).with_context(|| source.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if !["lib", "main", "tests", "testing"].contains(&name) {
            let used = uses.entry(name.to_owned()).or_default();
            read(&path, used)?;
        }
    }
    let modules: BTreeSet<_> = uses.keys().cloned().collect();
    for (name, used) in &mut uses {
        used.retain(|other| other != name && modules.contains(other));
    }
    Ok(uses)
}

fn read(path: &Path, used: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let name = path.file_stem().unwrap_or_default();
    if name == "tests" {
        return Ok(());
    }
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            read(&entry?.path(), used)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        used.extend(used_in(&text));
    }
    Ok(())
}

/// The modules that a source file names. Tests stand at the end of a file.
fn used_in(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => used.extend(first_names(group)),
            None => used.extend(first_name(rest)),
        }
    }
    used
}

/// The first names of the paths in a group, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut paths) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => paths.push(String::new()),
            c => paths.last_mut().into_iter().for_each(|path| path.push(c)),
        }
    }
    paths.iter().filter_map(|path| first_name(path.trim_start())).collect()
}

fn first_name(path: &str) -> Option<String> {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    path.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// One line for each set of modules that use each other.
fn cycles(uses: &Uses) -> Vec<String> {
    let mut left: BTreeMap<_, _> = uses.clone();
    // Modules that use none of the rest, or that none of the rest uses, are in no cycle.
    loop {
        let used: BTreeSet<_> = left.values().flatten().cloned().collect();
        let free: Vec<_> = left
            .iter()
            .filter(|(name, uses)| uses.is_empty() || !used.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        for name in &free {
            left.remove(name);
            for uses in left.values_mut() {
                uses.remove(name);
            }
        }
    }
    let lines = left.iter().map(|(name, uses)| {
        let uses: Vec<_> = uses.iter().map(String::as_str).collect();
        format!("{name} uses {}", uses.join(", "))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(rows: &[(&str, &[&str])]) -> Uses {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        rows.iter().map(|(name, used)| ((*name).to_owned(), owned(used))).collect()
    }

    #[test]
    fn the_crates_of_the_list_have_no_cycle() {
        assert_eq!(found().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_cycle_is_found_and_what_hangs_on_it_is_not() {
        let none = uses(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
        assert_eq!(cycles(&none), Vec::<String>::new());
        let two = uses(&[("a", &["b"]), ("b", &["c"]), ("c", &["b", "d"]), ("d", &[])]);
        assert_eq!(cycles(&two), ["b uses c", "c uses b"]);
    }

    #[test]
    fn paths_are_read_in_every_spelling() {
        let text = "use crate::one::Thing;\nuse crate::{two, three::{X, Y}, four::Z};\n\
                    // crate::comment\n    /// [`crate::link`]\nlet x = crate::five::six();\n\
                    #[cfg(test)]\nmod tests {\n    use crate::test::X;\n}\n";
        let found: Vec<_> = used_in(text).into_iter().collect();
        assert_eq!(found, ["five", "four", "one", "three", "two"]);
    }
}
