use sealgate_core::verify::KeyAuthority;

use super::*;
use crate::rule::SignatureRequirement;
use crate::testing::{facts, rejected, rule, signed, timeout, verified};

fn always() -> Need {
    Need::Always { authority: "s".to_owned() }
}

fn never() -> Need {
    Need::Never { authority: "n".to_owned(), message: "no".to_owned() }
}

fn undecidable() -> Need {
    let (authority, detail) = ("u".to_owned(), "later".to_owned());
    Need::Undecidable { authority, condition: UndecidableReason::Policy, detail }
}

/// `good` verifies, `bad` does not, anything else times out.
fn candidates(signed: &SignedBy) -> Candidates {
    match signed.authority.as_str() {
        "good" => verified(),
        "bad" => rejected(&["wrong-key"]),
        _ => timeout(),
    }
}

fn code(need: Need, mode: Mode) -> &'static str {
    judged(need, mode).code()
}

fn judged(need: Need, mode: Mode) -> Verdict {
    let facts = facts(&need, candidates);
    judge(&rule("r", need, mode).criterion, &facts)
}

#[test]
fn combines_as_the_header_says() {
    let (good, bad, slow) = (|| signed("good"), || signed("bad"), || signed("slow"));
    for (need, expected) in [
        (Need::Any(vec![good()]), "pass"),
        (Need::Any(vec![bad(), good()]), "pass"),
        (Need::Any(vec![slow(), good()]), "pass"),
        (Need::Any(vec![undecidable(), good()]), "pass"),
        (Need::Any(vec![bad(), bad()]), "fail"),
        (Need::Any(vec![bad(), slow()]), "fault"),
        (Need::Any(vec![bad(), undecidable()]), "fault"),
        (Need::Any(vec![never()]), "fail"),
        (Need::Any(vec![never(), always()]), "pass"),
        (Need::Any(vec![]), "fault"),
        (Need::All(vec![]), "fault"),
        (Need::All(vec![good(), always()]), "pass"),
        (Need::All(vec![good(), undecidable()]), "fault"),
        (Need::All(vec![good(), slow()]), "fault"),
        (Need::All(vec![slow(), bad()]), "fail"),
        (Need::All(vec![Need::Any(vec![]), good()]), "fault"),
        (Need::All(vec![Need::Any(vec![good()]), undecidable()]), "fault"),
        (Need::Any(vec![Need::All(vec![good(), bad()]), bad()]), "fail"),
        (undecidable(), "fault"),
        (always(), "pass"),
    ] {
        assert_eq!(code(need.clone(), Mode::Enforce), expected, "{need:?}");
        assert_eq!(code(need.clone(), Mode::Warn), expected, "{need:?}");
    }
    assert_eq!(code(Need::Exempt, Mode::Warn), "pass");
    assert_eq!(code(Need::Exempt, Mode::Enforce), "fault");
}

#[test]
fn an_authority_without_keys_is_a_fault() {
    let no_keys = KeyAuthority { keys: Vec::new(), hash: None };
    let requirement = SignatureRequirement::new(no_keys.into(), Default::default());
    let need = Need::Signed(SignedBy::new("good".to_owned(), requirement, Formats::Both));
    let verdict = judged(need, Mode::Enforce);
    assert_eq!(verdict.reasons()[0].cause, Cause::NoKeys);
    assert_eq!(verdict.reasons()[0].text(""), "there are no public keys for authority good");
    assert_eq!(verdict.code(), "fault");
}

#[test]
fn reports_satisfied_and_unsatisfied_authorities() {
    let need = Need::Any(vec![signed("bad"), signed("good"), always()]);
    let Verdict::Pass { authorities } = judged(need, Mode::Enforce) else { panic!() };
    let names: Vec<&str> = authorities.iter().map(|passed| passed.authority.as_str()).collect();
    assert_eq!(names, ["good", "s"]);
    // An authority that passed within a failing part does not count as satisfied.
    let part = Need::All(vec![signed("good"), signed("bad")]);
    let Verdict::Pass { authorities } = judged(Need::Any(vec![part, always()]), Mode::Enforce)
    else {
        panic!()
    };
    assert_eq!(authorities.len(), 1);
}

#[test]
fn causes_have_policy_controllers_messages() {
    let need = Need::Any(vec![signed("bad"), never(), undecidable(), signed("slow")]);
    let verdict = judged(need, Mode::Enforce);
    let texts: Vec<String> = verdict.reasons().iter().map(|r| r.text("R@D")).collect();
    assert_eq!(
        texts,
        [
            "signature key validation failed for authority bad for R@D: no matching signatures: wrong",
            "disallowed by static policy: no",
            "authority u cannot be evaluated: later (PolicyUnsupported)",
            "signature key validation failed for authority slow for R@D: ghcr.io: no answer within 9s (timeout)",
        ]
    );
}

/// A rule that was read from a record, without keys, reaches the same verdict.
#[test]
fn a_recorded_criterion_and_facts_give_the_same_verdict() {
    for need in [
        Need::Any(vec![signed("bad"), signed("good"), always()]),
        Need::All(vec![signed("bad"), never(), undecidable()]),
        Need::Any(vec![signed("bad"), signed("slow")]),
        Need::Exempt,
    ] {
        let facts = facts(&need, candidates);
        let criterion = rule("r", need, Mode::Warn).criterion;
        let recorded = serde_json::to_string(&(&criterion, &facts)).unwrap();
        assert!(!recorded.contains("MFkw"), "no key in a record");
        let (read, read_facts): (Criterion, Facts) = serde_json::from_str(&recorded).unwrap();
        assert_eq!(read, *criterion);
        assert_eq!(judge(&read, &read_facts), judge(&criterion, &facts));
    }
}

/// Nothing was verified: never a pass, and never "no signatures".
#[test]
fn without_facts_a_signature_is_a_fault() {
    let criterion = rule("r", signed("good"), Mode::Enforce).criterion;
    assert_eq!(judge(&criterion, &Facts::default()).code(), "fault");
}

#[test]
fn no_remedy_weakens() {
    assert_eq!(sealgate_testkit::remedy::weakens(SIGN_IN_FORMAT), None);
}
