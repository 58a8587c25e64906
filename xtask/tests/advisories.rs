//! Check that the tests named in `docs/reference/advisories.md` exist.

use std::path::Path;

#[test]
fn every_test_that_the_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let table = read("docs/reference/advisories.md");
    let named: Vec<(&str, &str)> =
        table.split('`').filter_map(|text| text.split_once(".rs::")).collect();
    assert!(named.len() > 60, "the table lost its tests: {}", named.len());
    let missing: Vec<String> = named
        .into_iter()
        .filter(|(file, test)| !read(&format!("{file}.rs")).contains(&format!("fn {test}(")))
        .map(|(file, test)| format!("{file}.rs::{test}"))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
