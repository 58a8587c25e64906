use sealgate_core::verify::KeyAuthority;

use super::*;
use crate::testing::{rejected, rule, signed, timeout, verified};

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
fn find(signed: &SignedBy) -> Finding {
    match signed.authority.as_str() {
        "good" => verified(),
        "bad" => rejected(&["wrong-key"]),
        "hollow" => Finding::Verified(Vec::new()),
        _ => timeout(),
    }
}

fn code(need: Need, mode: Mode) -> &'static str {
    judge(&rule("r", need, mode), &mut find).code()
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
        (signed("hollow"), "fault"),
        (always(), "pass"),
    ] {
        assert_eq!(code(need.clone(), Mode::Enforce), expected, "{need:?}");
        assert_eq!(code(need.clone(), Mode::Warn), expected, "{need:?}");
    }
    assert_eq!(code(Need::Exempt, Mode::Warn), "pass");
    assert_eq!(code(Need::Exempt, Mode::Enforce), "fault");
}

#[test]
fn an_authority_without_keys_is_never_asked() {
    let Need::Signed(mut keyless) = signed("good") else { unreachable!() };
    keyless.by = KeyAuthority { keys: Vec::new(), hash: None }.into();
    let verdict = judge(&rule("r", Need::Signed(keyless), Mode::Enforce), &mut |_| verified());
    assert_eq!(verdict.reasons()[0].cause, Cause::NoKeys);
    assert_eq!(verdict.reasons()[0].text(""), "there are no public keys for authority good");
    assert_eq!(verdict.code(), "fault");
}

#[test]
fn says_who_held_and_who_did_not() {
    let need = Need::Any(vec![signed("bad"), signed("good"), always()]);
    let Verdict::Pass { authorities } = judge(&rule("r", need, Mode::Enforce), &mut find) else {
        panic!()
    };
    let names: Vec<&str> = authorities.iter().map(|passed| passed.authority.as_str()).collect();
    assert_eq!(names, ["good", "s"]);
    // What passed inside a part that failed did not hold.
    let part = Need::All(vec![signed("good"), signed("bad")]);
    let Verdict::Pass { authorities } =
        judge(&rule("r", Need::Any(vec![part, always()]), Mode::Enforce), &mut find)
    else {
        panic!()
    };
    assert_eq!(authorities.len(), 1);
}

#[test]
fn causes_read_as_the_peers() {
    let need = Need::Any(vec![signed("bad"), never(), undecidable(), signed("slow")]);
    let verdict = judge(&rule("r", need, Mode::Enforce), &mut find);
    let texts: Vec<String> = verdict.reasons().iter().map(|r| r.text("R@D")).collect();
    assert_eq!(
        texts,
        [
            "signature key validation failed for authority bad for R@D: no matching signatures",
            "disallowed by static policy: no",
            "authority u cannot be decided: later (PolicyUnsupported)",
            "signature key validation failed for authority slow for R@D: ghcr.io: no answer within 9s (timeout)",
        ]
    );
}
