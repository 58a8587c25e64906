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
         A reject code says why a candidate is not a valid signature. The code is stable; the message\n\
         that is printed with it can change. If the result could not be determined (for example\n\
         because a registry does not respond), that is a fault, not a reject; see\n\
         [exit-codes.md](exit-codes.md#codes-of-faults).\n\n\
         This page is generated from the catalogue in `sealgate-core`:\n\
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

#[test]
fn sentences_begin_as_cosigns_do() {
    let digest = Digest::of(b"x");
    let foreign = Foreign::new("found");
    for (reject, sentence) in [
        (Reject::WrongSignature, "invalid signature when validating ASN.1 encoded signature"),
        (Reject::ClaimDigest(foreign.clone()), "invalid or missing digest in claim: found"),
        (
            Reject::OtherDigest { found: digest.clone(), want: digest },
            "invalid or missing digest in claim: sha256:",
        ),
        (Reject::OtherSubject, "no matching subject digest found"),
        (Reject::NoSubject, "no matching subject digest found"),
        (Reject::MissingAnnotation(foreign.clone()), "missing or incorrect annotation"),
        (Reject::WrongAnnotation { key: foreign.clone() }, "missing or incorrect annotation"),
        (
            Reject::NotASignature { found: foreign, want: "wanted" },
            "none of the attestations matched the predicate type: wanted, found: found",
        ),
    ] {
        assert!(reject.to_string().starts_with(sentence), "{reject}");
        assert!(!reject.remedy().is_empty());
    }
}

#[test]
fn every_way_in_which_json_is_refused_has_a_reject() {
    for (error, code) in [
        (InvalidJson::TooLarge(1), "too-large"),
        (InvalidJson::TooDeep, "too-deep"),
        (InvalidJson::TooMany(9), "too-many"),
        (InvalidJson::TooManyEntries { field: "x", limit: 1 }, "too-many"),
        (InvalidJson::DuplicateKey(Foreign::new("x")), "duplicate-key"),
        (InvalidJson::AmbiguousKey { found: Foreign::new("X"), known: "x" }, "ambiguous-key"),
        (InvalidJson::Field { field: "x", want: "y" }, "bad-field"),
        (InvalidJson::Base64("x"), "bad-base64"),
        (InvalidJson::Syntax(Foreign::new("x")), "not-json"),
    ] {
        assert_eq!(Reject::json(Document::Bundle, error).code(), code);
    }
}
