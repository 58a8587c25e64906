use proptest::prelude::*;

use sealgate_core::evidence::Origin;
use sealgate_core::fault::FaultKind;

use super::*;
use crate::facts::{Candidates, Facts, RejectedFact};
use crate::judge::judge;
use crate::rule::{Need, UndecidableReason};
use crate::testing::{facts, rejected, rule, signed, timeout, verified};

const SUBJECT: &str = "ghcr.io/acme/app@sha256:aa";

fn image(index: usize, outcome: Outcome) -> JudgedImage {
    JudgedImage {
        path: format!("spec.containers[{index}].image"),
        image: "ghcr.io/acme/app:v1@sha256:aa".to_owned(),
        subject: SUBJECT.to_owned(),
        effect: Effect::Refuses,
        outcome,
    }
}

fn ruled(name: &str, mode: Mode, candidates: Candidates) -> RuleVerdict {
    let rule = rule(name, Need::Any(vec![signed("authority-0")]), mode);
    let facts = facts(rule.need(), |_| candidates.clone());
    RuleVerdict { verdict: judge(&rule.criterion, &facts), criterion: rule.criterion }
}

fn decision(outcomes: Vec<Outcome>) -> Decision {
    let images: Vec<JudgedImage> =
        outcomes.into_iter().enumerate().map(|(index, outcome)| image(index, outcome)).collect();
    decide(&images, NoMatch::Deny)
}

#[test]
fn a_denial_begins_as_policy_controllers_and_ends_with_remedies() {
    let decision = decision(vec![Outcome::Judged(vec![ruled(
        "signed",
        Mode::Enforce,
        rejected(&["wrong-key", "wrong-digest"]),
    )])]);
    assert!(!decision.allowed);
    assert_eq!(
        decision.message,
        "validation failed: failed policy: signed: spec.containers[0].image\n\
         ghcr.io/acme/app:v1@sha256:aa signature key validation failed for authority authority-0 for ghcr.io/acme/app@sha256:aa: no matching signatures: wrong\n  \
         authority authority-0: 2 candidates found, none valid:\n    \
         [wrong-key] ghcr.io/acme/app@sha256:aa: text of wrong-key\n    \
         [wrong-digest] ghcr.io/acme/app@sha256:aa: text of wrong-digest\n  \
         what to do: remedy of wrong-key\n  \
         what to do: remedy of wrong-digest"
    );
    assert_eq!(decision.images[0].codes, ["wrong-digest", "wrong-key"]);
    assert!(decision.images[0].denies);
}

#[test]
fn the_other_denials_begin_as_policy_controllers() {
    let no_match = decision(vec![Outcome::Judged(vec![])]);
    assert!(no_match.message.starts_with("validation failed: no matching policies: spec.containers[0].image\nghcr.io/acme/app:v1@sha256:aa\n"));
    let rules = vec![ruled("signed", Mode::Enforce, timeout())];
    let tag = decision(vec![Outcome::NotPinned { cause: None, rules }]);
    assert!(tag.message.starts_with("validation failed: invalid value: ghcr.io/acme/app:v1@sha256:aa must be an image digest: spec.containers[0].image\n  policy signed requires an image digest\n"));
    let bad = decision(vec![Outcome::Unreadable {
        error: "could not parse reference: in@valid".to_owned(),
    }]);
    assert!(bad.message.starts_with(
        "validation failed: could not parse reference: in@valid: spec.containers[0].image\n"
    ));
    let slow = decision(vec![Outcome::Judged(vec![ruled("r", Mode::Enforce, timeout())])]);
    assert!(slow.message.contains("could not verify: [unreachable] ghcr.io: could not be reached; the gate's log has the cause"));
    assert_eq!(slow.images[0].outcome, "fault");
    assert_eq!(slow.images[0].codes, ["timeout"], "the record has the true kind");
}

#[test]
fn equal_failures_are_reported_once_and_others_in_order() {
    let fail = |name: &str| Outcome::Judged(vec![ruled(name, Mode::Enforce, rejected(&[]))]);
    let message = decision(vec![fail("b"), fail("a"), fail("b")]).message;
    let heads: Vec<&str> = message.lines().filter(|line| line.contains("failed policy")).collect();
    assert_eq!(
        heads,
        [
            "validation failed: failed policy: a: spec.containers[1].image",
            "failed policy: b: spec.containers[0].image, spec.containers[2].image",
        ]
    );
}

#[test]
fn warn_and_enforce_never_mix() {
    let both = |warn: Candidates, enforce: Candidates| {
        decision(vec![Outcome::Judged(vec![
            ruled("warns", Mode::Warn, warn),
            ruled("enforces", Mode::Enforce, enforce),
        ])])
    };
    let denied = both(rejected(&[]), rejected(&["wrong-key"]));
    assert!(!denied.allowed);
    assert!(denied.message.contains("failed policy: enforces"));
    assert!(!denied.message.contains("warns"));
    assert_eq!(denied.warnings.len(), 1);
    assert!(denied.warnings[0].starts_with("failed policy: warns: spec.containers[0].image: "));
    let warned = both(timeout(), verified());
    assert!(warned.allowed);
    assert_eq!((warned.message.as_str(), warned.warnings.len()), ("", 1));
}

#[test]
fn an_exemption_admits_with_a_warning() {
    let rule = rule("exempts", Need::Exempt, Mode::Warn);
    let verdict = judge(&rule.criterion, &Facts::default());
    let exempt = RuleVerdict { verdict, criterion: rule.criterion };
    let decision = decision(vec![Outcome::Judged(vec![exempt])]);
    assert!(decision.allowed);
    assert!(decision.warnings[0].starts_with("exempted by policy: exempts: "));
}

#[test]
fn no_match_follows_the_configuration() {
    let images = [image(0, Outcome::Judged(vec![]))];
    assert!(!decide(&images, NoMatch::Deny).allowed);
    let warned = decide(&images, NoMatch::Warn);
    assert!(warned.allowed);
    assert_eq!(
        warned.warnings,
        ["no matching policies: spec.containers[0].image: ghcr.io/acme/app:v1@sha256:aa"]
    );
    let allowed = decide(&images, NoMatch::Allow);
    assert!(allowed.allowed && allowed.warnings.is_empty());
    assert_eq!(allowed.images[0].outcome, "no-match");
}

/// In Kyverno, a registry that is down denies pods that no enforcing policy applies to.
#[test]
fn without_a_digest_only_an_applicable_enforcing_rule_denies() {
    let cause = || Some(Fault::new(FaultKind::Unreachable, "ghcr.io", "connection refused"));
    let unresolved = |rules| vec![image(0, Outcome::NotPinned { cause: cause(), rules })];
    let with = |need: Need, mode| {
        let rule = rule("p", need, mode);
        let verdict = judge(&rule.criterion, &Facts::unavailable(cause().unwrap()));
        vec![RuleVerdict { criterion: rule.criterion, verdict }]
    };
    let passes = Need::Always { authority: "a".to_owned() };
    let either = Need::Any(vec![signed("b"), passes.clone()]);
    let table = [
        (with(signed("a"), Mode::Enforce), NoMatch::Allow, false, "not-pinned", 0),
        (with(signed("a"), Mode::Warn), NoMatch::Deny, true, "not-pinned", 1),
        (with(passes.clone(), Mode::Enforce), NoMatch::Deny, true, "pass", 0),
        (with(either, Mode::Enforce), NoMatch::Deny, true, "pass", 0),
        (
            with(Need::All(vec![signed("a"), passes]), Mode::Enforce),
            NoMatch::Allow,
            false,
            "not-pinned",
            0,
        ),
        (with(Need::Exempt, Mode::Warn), NoMatch::Deny, true, "pass", 1),
        (Vec::new(), NoMatch::Deny, false, "no-match", 0),
        (Vec::new(), NoMatch::Warn, true, "no-match", 1),
        (Vec::new(), NoMatch::Allow, true, "no-match", 0),
    ];
    for (number, (rules, no_match, allowed, outcome, warnings)) in table.into_iter().enumerate() {
        let decision = decide(&unresolved(rules), no_match);
        assert_eq!(decision.allowed, allowed, "{number}: {}", decision.message);
        assert_eq!(decision.images[0].outcome, outcome, "{number}");
        assert_eq!(decision.images[0].denies, !allowed, "{number}");
        assert_eq!(decision.warnings.len(), warnings, "{number}: {:?}", decision.warnings);
    }
    let warned = decide(&unresolved(with(signed("a"), Mode::Warn)), NoMatch::Deny);
    let told = warned.warnings[0].contains("[unreachable] ghcr.io: could not be reached");
    assert!(told, "{:?}", warned.warnings);
}

/// A tenant must not learn from a denial which hosts and ports the gate can reach.
#[test]
fn every_failure_to_get_an_answer_makes_the_same_denial_and_warning() {
    let fault = |kind, detail: &str| Fault::new(kind, "10.0.0.1:9", detail);
    let faults = [
        fault(FaultKind::Unreachable, "connection refused"),
        fault(FaultKind::Timeout, "no complete response before the deadline"),
        fault(FaultKind::Tls, "received corrupt message of type InvalidContentType"),
        fault(FaultKind::Tls, "invalid peer certificate: UnknownIssuer"),
        fault(FaultKind::AddressNotAllowed, "10.0.0.1 is not allowed"),
    ];
    let texts = |fault: &Fault| {
        let verdict = |mode| {
            let rule = rule("p", signed("a"), mode);
            let verdict = judge(&rule.criterion, &Facts::unavailable(fault.clone()));
            vec![RuleVerdict { criterion: rule.criterion, verdict }]
        };
        let cause = || Some(fault.clone());
        let unresolved = |mode| Outcome::NotPinned { cause: cause(), rules: verdict(mode) };
        let told = [
            decision(vec![unresolved(Mode::Enforce)]),
            decision(vec![unresolved(Mode::Warn)]),
            decision(vec![Outcome::Judged(verdict(Mode::Enforce))]),
            decision(vec![Outcome::Judged(verdict(Mode::Warn))]),
            decide(
                &[JudgedImage {
                    effect: Effect::WarnsWithoutImages,
                    ..image(0, unresolved(Mode::Enforce))
                }],
                NoMatch::Deny,
            ),
        ];
        told.map(|decision| (decision.message, decision.warnings))
    };
    for fault in &faults {
        assert_eq!(texts(fault), texts(&faults[0]), "{fault}");
    }
}

#[test]
fn an_object_that_runs_nothing_itself_gets_a_warning_about_its_pods() {
    let with = |effect, outcome| JudgedImage { effect, ..image(0, outcome) };
    let refused = || Outcome::Judged(vec![ruled("p", Mode::Enforce, rejected(&[]))]);
    let foretold = decide(&[with(Effect::Warns, refused())], NoMatch::Deny);
    assert!(foretold.allowed && !foretold.images[0].denies);
    assert!(
        foretold.warnings[0]
            .starts_with("pods will be denied: failed policy: p: spec.containers[0].image: "),
        "{:?}",
        foretold.warnings
    );
    // A new image in the same object is still denied.
    let both = [with(Effect::Warns, refused()), with(Effect::Refuses, refused())];
    assert!(!decide(&both, NoMatch::Deny).allowed);
    let no_match = decide(&[with(Effect::Warns, Outcome::Judged(Vec::new()))], NoMatch::Deny);
    assert!(no_match.allowed);
    assert!(no_match.warnings[0].starts_with("pods will be denied: no matching policies: "));
    let open = decide(&[with(Effect::Refuses, Outcome::Placeholder)], NoMatch::Deny);
    assert!(open.allowed);
    assert_eq!(open.images[0].outcome, "placeholder");
    assert!(open.warnings[0].starts_with("placeholder image not verified: "));
}

/// `kubectl` prints `Warning: ` and the text that the API server passes on, at least 256 bytes.
#[test]
fn a_truncated_warning_keeps_its_reason() {
    let long =
        format!("registry.example.com/{}/app:v1@sha256:{}", "team".repeat(20), "a".repeat(64));
    let warned = |name: &str, candidates: Candidates| {
        let outcome = Outcome::Judged(vec![ruled(name, Mode::Warn, candidates)]);
        let image = JudgedImage {
            path: "spec.jobTemplate.spec.template.spec.initContainers[10].image".to_owned(),
            image: long.clone(),
            subject: long.replace(":v1@", "@"),
            effect: Effect::Refuses,
            outcome,
        };
        let warnings = decide(&[image], NoMatch::Deny).warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!("Warning: ".len() + warnings[0].len() <= 256, "{warnings:?}");
        warnings[0].clone()
    };
    let unsigned = warned("signed-by-us", rejected(&[]));
    assert!(
        unsigned.starts_with(
            "failed policy: signed-by-us: \
             spec.jobTemplate.spec.template.spec.initContainers[10].image: \
             no signatures found: registry.example.com/team"
        ),
        "{unsigned}"
    );
    for (name, found, reason) in [
        ("a", rejected(&["wrong-key", "wrong-digest"]), "[wrong-digest, wrong-key] no matching"),
        ("a", timeout(), "could not verify: [unreachable] ghcr.io: could not be reached; the"),
        ("n".repeat(253).as_str(), rejected(&[]), "no signatures found"),
    ] {
        let line = warned(name, found);
        assert!(line.contains(reason), "{line}");
    }
}

#[test]
fn foreign_text_stays_in_its_line_and_its_bounds() {
    let evil = "x\nfailed policy: fake\u{1b}[31m\u{202e}".to_owned() + &"é".repeat(5000);
    let mut found = Candidates::default();
    found.push_reason(evil.clone());
    for _ in 0..50 {
        let repository = evil.clone();
        found.push_rejected_fact(RejectedFact {
            origin: Origin { repository, manifest: None, layer: None },
            code: "a".to_owned(),
            text: evil.clone(),
            remedy: evil.clone(),
        });
    }
    let outcomes = |mode| -> Vec<Outcome> {
        let one = |i| Outcome::Judged(vec![ruled(&format!("r{i:02}"), mode, found.clone())]);
        (0..30).map(one).collect()
    };
    let denied = decision(outcomes(Mode::Enforce));
    assert!(denied.message.len() <= MAX_MESSAGE, "{}", denied.message.len());
    assert!(!denied.message.contains(['\u{1b}', '\u{202e}']));
    assert!(!denied.message.contains("\nfailed policy: fake"));
    let warned = decision(outcomes(Mode::Warn));
    assert_eq!(warned.warnings.len(), MAX_WARNINGS);
    for line in &warned.warnings {
        assert!(line.len() <= MAX_WARNING && !line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn every_entry_is_reported_before_any_explanation() {
    let outcomes = (0..12).map(|i| {
        let found = rejected(&["some-code"; 10]);
        Outcome::Judged(vec![ruled(&format!("policy-{i:02}"), Mode::Enforce, found)])
    });
    let message = decision(outcomes.collect()).message;
    for i in 0..12 {
        assert!(message.contains(&format!("failed policy: policy-{i:02}: ")), "{i}");
    }
    assert!(message.contains("more lines)"), "{message}");
    assert!(message.len() <= MAX_MESSAGE);
}

fn candidates() -> impl Strategy<Value = Candidates> {
    prop_oneof![
        Just(verified()),
        Just(rejected(&["wrong-key"])),
        Just(rejected(&[])),
        Just(timeout()),
    ]
}

fn need() -> impl Strategy<Value = Need> {
    let leaf = prop_oneof![
        4 => (0..4usize).prop_map(|i| signed(&i.to_string())),
        1 => Just(Need::Always { authority: "s".to_owned() }),
        1 => Just(Need::Never { authority: "n".to_owned(), message: String::new() }),
        1 => Just(Need::Exempt),
        1 => Just(Need::Undecidable {
            authority: String::new(), condition: UndecidableReason::Policy, detail: String::new() }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let list = prop::collection::vec(inner, 0..4);
        prop_oneof![list.clone().prop_map(Need::Any), list.prop_map(Need::All)]
    })
}

/// A reference implementation of the need, written as plainly as possible.
fn truth(need: &Need, mode: Mode, found: &[Candidates]) -> bool {
    match need {
        Need::All(needs) => !needs.is_empty() && needs.iter().all(|n| truth(n, mode, found)),
        Need::Any(needs) => needs.iter().any(|n| truth(n, mode, found)),
        Need::Signed(by) => {
            let index: usize = by.authority.parse().unwrap();
            !found[index].verified().is_empty()
        }
        Need::Always { .. } => true,
        Need::Exempt => mode == Mode::Warn,
        Need::Never { .. } | Need::Undecidable { .. } => false,
    }
}

fn mirrored(need: &Need) -> Need {
    match need {
        Need::All(needs) => Need::All(needs.iter().rev().map(mirrored).collect()),
        Need::Any(needs) => Need::Any(needs.iter().rev().map(mirrored).collect()),
        other => other.clone(),
    }
}

fn judged(need: &Need, mode: Mode, found: &[Candidates], index: usize) -> RuleVerdict {
    let rule = rule(&format!("r{index}"), need.clone(), mode);
    let facts = facts(need, |by| found[by.authority.parse::<usize>().unwrap()].clone());
    RuleVerdict { verdict: judge(&rule.criterion, &facts), criterion: rule.criterion }
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Enforce), Just(Mode::Warn)]
}

proptest! {
    #[test]
    fn allowed_is_exactly_that_every_enforcing_rule_holds(
        rules in prop::collection::vec((need(), mode()), 0..5),
        found in prop::collection::vec(candidates(), 4),
    ) {
        let outcome = |rules: &[(Need, Mode)]| Outcome::Judged(
            rules.iter().enumerate().map(|(i, (need, mode))| judged(need, *mode, &found, i)).collect(),
        );
        let expected = !rules.is_empty()
            && rules.iter().all(|(need, mode)| *mode == Mode::Warn || truth(need, *mode, &found));
        let decision = decision(vec![outcome(&rules)]);
        prop_assert_eq!(decision.allowed, expected);
        prop_assert_eq!(decision.message.is_empty(), expected);
        prop_assert_eq!(decision.images.iter().any(|fact| fact.denies), !expected);
        // Each failing rule in mode warn is reported, unless another has the same text.
        let told = rules.iter().any(|(need, mode)| *mode == Mode::Warn && !truth(need, *mode, &found));
        if told {
            prop_assert!(!decision.warnings.is_empty());
        }
    }

    #[test]
    fn order_changes_nothing_that_is_decided(
        rules in prop::collection::vec((need(), mode()), 1..5),
        found in prop::collection::vec(candidates(), 4),
    ) {
        let ruled: Vec<RuleVerdict> =
            rules.iter().enumerate().map(|(i, (n, m))| judged(n, *m, &found, i)).collect();
        let backwards: Vec<RuleVerdict> = ruled.iter().rev().cloned().collect();
        let straight = decision(vec![Outcome::Judged(ruled)]);
        prop_assert_eq!(&straight, &decision(vec![Outcome::Judged(backwards)]));
        let turned: Vec<RuleVerdict> = rules
            .iter()
            .enumerate()
            .map(|(i, (n, m))| judged(&mirrored(n), *m, &found, i))
            .collect();
        prop_assert_eq!(straight.allowed, decision(vec![Outcome::Judged(turned)]).allowed);
    }

    #[test]
    fn one_bad_image_denies_the_object(
        good in 0..4usize,
        bad in prop_oneof![
            Just(Outcome::NotPinned { cause: None, rules: Vec::new() }),
            Just(Outcome::NotPinned {
                cause: None, rules: vec![ruled("r", Mode::Enforce, timeout())] }),
            Just(Outcome::Unreadable { error: "x".to_owned() }),
            Just(Outcome::Judged(Vec::new())),
            candidates().prop_filter("not verified", |found| found.verified().is_empty())
                .prop_map(|f| Outcome::Judged(vec![ruled("r", Mode::Enforce, f)])),
        ],
        at in 0..5usize,
    ) {
        let mut outcomes: Vec<Outcome> = (0..good)
            .map(|_| Outcome::Judged(vec![ruled("r", Mode::Enforce, verified())]))
            .collect();
        prop_assert!(decision(outcomes.clone()).allowed);
        outcomes.insert(at.min(good), bad);
        prop_assert!(!decision(outcomes).allowed);
    }
}

#[test]
fn no_denial_advises_weakening_a_policy() {
    let undecidable = |condition: UndecidableReason| {
        let (authority, detail) = (String::new(), "detail".to_owned());
        Need::Undecidable { authority, condition, detail }
    };
    let never = Need::Never { authority: "a".to_owned(), message: "never".to_owned() };
    let mut needs: Vec<Need> = UndecidableReason::ALL.into_iter().map(undecidable).collect();
    needs.extend([never, Need::Any(Vec::new()), Need::Exempt, signed("a")]);
    let failed = |need: Need, candidates: &Candidates| {
        let rule = rule("p", need, Mode::Enforce);
        let facts = facts(rule.need(), |_| candidates.clone());
        let verdict = judge(&rule.criterion, &facts);
        Outcome::Judged(vec![RuleVerdict { criterion: rule.criterion, verdict }])
    };
    let found = [rejected(&[]), timeout()];
    let mut outcomes: Vec<Outcome> = needs
        .into_iter()
        .flat_map(|need| found.iter().map(move |candidates| failed(need.clone(), candidates)))
        .collect();
    outcomes.push(Outcome::Judged(Vec::new()));
    for outcome in outcomes {
        let Decision { allowed, message, .. } = decision(vec![outcome]);
        let remedies: Vec<&str> =
            message.lines().filter(|line| line.contains("what to do: ")).collect();
        assert!(!allowed && !remedies.is_empty(), "{message}");
        for remedy in remedies {
            assert_eq!(sealgate_testkit::remedy::weakens(remedy), None, "{message}");
        }
    }
}
