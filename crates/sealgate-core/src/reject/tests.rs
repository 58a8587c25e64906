//! The catalogue is complete, and the documentation is what the catalogue says.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::*;

#[test]
fn foreign_text_is_one_short_printable_line() {
    let long = Foreign::new(format!("a\nb\u{1b}[31m\u{202e}\u{7f}{}", "x".repeat(1000)));
    assert!(long.as_str().starts_with("a\\nb\\u{1b}[31m\\u{202e}\\u{7f}xx"), "{long}");
    assert!(long.as_str().chars().all(|c| !c.is_control() && c != '\u{202e}'));
    assert!(long.as_str().ends_with('…') && long.as_str().chars().count() < 200);
    assert_eq!(format!("{:?}", Foreign::new(r#"a"b"#)), r#""a"b""#);
}

#[test]
fn every_code_stands_once_and_is_kebab_case() {
    let mut seen = BTreeSet::new();
    for reason in Reject::catalogue() {
        assert!(seen.insert(reason.code), "{} stands twice", reason.code);
        assert!(
            reason.code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
        assert!(reason.meaning.ends_with('.') && reason.remedy.ends_with('.'), "{}", reason.code);
    }
}

fn documentation() -> String {
    let mut page = String::from(
        "# Reject codes\n\n\
         Why a piece of evidence does not count as a signature. The code is stable; the sentence\n\
         that is printed with it may change. What could not be found out (a registry that does not\n\
         answer) is a fault, which is something else.\n\n\
         This page is written from the catalogue in `sealgate-core`:\n\
         `UPDATE_DOCS=1 cargo test -p sealgate-core reject`.\n\n\
         | Code | Meaning | What to do |\n|---|---|---|\n",
    );
    for reason in Reject::catalogue() {
        let _ = writeln!(page, "| `{}` | {} | {} |", reason.code, reason.meaning, reason.remedy);
    }
    page
}

#[test]
fn the_documentation_is_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/reject-codes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, documentation()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == documentation(),
        "stale: run UPDATE_DOCS=1 cargo test -p sealgate-core reject"
    );
}
