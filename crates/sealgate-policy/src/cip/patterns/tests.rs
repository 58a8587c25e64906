//! Regular expressions of policies: nothing is compiled beyond the budget, and nothing twice.

use serde_json::{Value, json};

use super::*;
use crate::cip::validate::within_bounds;
use crate::testing::{compile_with, policy};

/// A policy with one authority for each list of expressions.
fn with_subjects(authorities: &[Vec<String>]) -> Value {
    let authority = |subjects: &Vec<String>| {
        let identities: Vec<_> = subjects
            .iter()
            .map(|subject| json!({"issuerRegExp": "^https://i$", "subjectRegExp": subject}))
            .collect();
        json!({"keyless": {"identities": identities}})
    };
    let authorities: Vec<_> = authorities.iter().map(authority).collect();
    json!({"images": [{"glob": "**"}], "authorities": authorities})
}

fn workflows(count: usize) -> Vec<String> {
    let workflow =
        |n| format!(r"^https://github\.com/acme/app{n}/\.github/workflows/r\.yml@refs/tags/v.*$");
    (0..count).map(workflow).collect()
}

fn refusal(spec: Value) -> String {
    let mut patterns = Patterns::default();
    let refused = within_bounds(&policy(spec), &mut patterns);
    assert_eq!(patterns.compilations(), 0);
    refused.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn costly_policies_are_refused_before_anything_is_compiled() {
    let attack = || (0..1_000).map(|n| format!(r"(\pL{{30}}){{20}}{n}"));
    let too_many = with_subjects(&[attack().chain(attack()).chain(attack()).collect()]);
    assert_eq!(refusal(too_many), "more than 1000 entries: spec.authorities[0].keyless.identities");
    let large: Vec<_> = (0..100).map(|n| format!(r"^\pL{{10}}{n}$")).collect();
    let error = refusal(with_subjects(&[workflows(10), large]));
    let message = "the regular expressions of the policy are too large: compiled, they take more than 4 MiB: \
         spec.authorities[1].keyless.identities[25].subjectRegExp";
    assert_eq!(error, message);
}

/// Each of these is refused for itself, and so costs little; a thousand of them still end.
#[test]
fn expressions_that_are_too_large_each_name_their_field() {
    let subjects = vec!["^a$".to_owned(), r"(\pL{30}){20}".to_owned()];
    let found = compile_with(with_subjects(&[subjects]), &mut Patterns::default());
    let text = found.errors.to_string();
    assert!(text.contains("spec.authorities[0].keyless.identities[1].subjectRegExp"), "{text}");
    assert!(text.contains("expression too large"), "{text}");
}

#[test]
fn a_thousand_workflows_are_accepted_and_compiled_once() {
    let spec = with_subjects(&[workflows(500), workflows(1_000)]);
    let mut patterns = Patterns::default();
    let compile = |patterns: &mut Patterns| {
        let found = compile_with(spec.clone(), patterns);
        assert_eq!(found.errors.to_string(), "");
    };
    compile(&mut patterns);
    assert_eq!(patterns.compilations(), 1_001);
    patterns.forget_unused();
    // Another compilation of the same policy.
    compile(&mut patterns);
    assert_eq!(patterns.compilations(), 1_001);
    patterns.forget_unused();
    patterns.forget_unused();
    assert_eq!((patterns.entries.len(), patterns.compiled_cost), (0, 0));
}

#[test]
fn all_policies_together_are_bounded() {
    let mut patterns = Patterns { most: 64 * 1024, ..Patterns::default() };
    let mut compile = |number: usize, subjects: usize| {
        let subjects = (0..subjects).map(|n| format!("^.{{20}}{number}-{n}$")).collect();
        let found = compile_with(with_subjects(&[subjects]), &mut patterns);
        patterns.forget_unused();
        (found.errors.to_string(), patterns.compiled_cost)
    };
    let (errors, cost) = compile(0, 7);
    assert!(errors.is_empty() && cost <= 64 * 1024, "{cost}: {errors}");
    // The expressions of the policy before are forgotten only after the next one is compiled.
    let (errors, cost) = compile(1, 7);
    assert!(errors.contains("spec.authorities[0].keyless.identities[0].subjectRegExp"), "{errors}");
    assert!(errors.contains("of all policies together are too large"), "{errors}");
    assert!(cost <= 64 * 1024);
    assert_eq!(compile(1, 7).0, "");
}
