//! Matching of identities; expressions mean what they mean to Go.

use proptest::prelude::*;

use super::*;

fn identity() -> Identity {
    Identity {
        subjects: vec![
            Subject::Uri(
                "https://github.com/acme/app/.github/workflows/x.yml@refs/heads/main".into(),
            ),
            Subject::Email("dev@acme.example".into()),
            Subject::Ip([127, 0, 0, 1].into()),
        ],
        issuer: Some("https://token.actions.githubusercontent.com".into()),
        claims: BTreeMap::from([(Claim::GithubWorkflowTrigger, "push".to_owned())]),
    }
}

fn exactly(text: &str) -> Option<Wanted> {
    Some(Wanted::Exactly(text.to_owned()))
}

fn matching(text: &str) -> Option<Wanted> {
    Some(Wanted::Matching(Pattern::new(text).unwrap()))
}

fn outcome(identities: Vec<IdentityMatcher>) -> Result<(), &'static str> {
    let checked = identity().check(&IdentityAuthority { identities });
    checked.map(|_| ()).map_err(|reject| reject.code())
}

fn wanted(issuer: Option<Wanted>, subject: Option<Wanted>) -> IdentityMatcher {
    IdentityMatcher { issuer, subject, claims: BTreeMap::new() }
}

#[test]
fn each_part_must_fit_and_any_name_will_do() {
    let github = || exactly("https://token.actions.githubusercontent.com");
    for subject in ["dev@acme.example", "127.0.0.1"] {
        assert_eq!(outcome(vec![wanted(github(), exactly(subject))]), Ok(()));
    }
    for (issuer, subject) in [
        (github(), exactly("DEV@acme.example")),
        (github(), exactly("")),
        (exactly("https://token.actions.githubusercontent.com/"), exactly("dev@acme.example")),
        (matching("^https://gitlab"), matching("acme")),
        (matching("github"), matching("^acme")),
    ] {
        assert_eq!(outcome(vec![wanted(issuer, subject)]), Err("wrong-identity"));
    }
    assert_eq!(outcome(vec![wanted(matching("github"), matching("acme/app"))]), Ok(()));
    assert_eq!(outcome(vec![wanted(None, exactly("127.0.0.1"))]), Ok(()));
    assert_eq!(outcome(vec![wanted(github(), None)]), Ok(()));
}

#[test]
fn one_of_several_is_enough_but_issuer_and_subject_go_together() {
    let one = wanted(exactly("https://token.actions.githubusercontent.com"), exactly("x"));
    let two = wanted(exactly("https://x"), exactly("dev@acme.example"));
    assert_eq!(outcome(vec![one.clone(), two.clone()]), Err("wrong-identity"));
    assert_eq!(outcome(vec![one, two, wanted(None, matching("acme"))]), Ok(()));
    assert_eq!(outcome(Vec::new()), Err("no-identity"));
}

#[test]
fn claims_are_compared_exactly() {
    let trigger = |value: &str| IdentityMatcher {
        claims: BTreeMap::from([(Claim::GithubWorkflowTrigger, value.to_owned())]),
        ..IdentityMatcher::default()
    };
    assert_eq!(outcome(vec![trigger("push")]), Ok(()));
    assert_eq!(outcome(vec![trigger("pus")]), Err("wrong-claim"));
    assert_eq!(outcome(vec![trigger("")]), Err("wrong-claim"));
    let missing = IdentityMatcher {
        claims: BTreeMap::from([(Claim::GithubWorkflowRef, String::new())]),
        ..IdentityMatcher::default()
    };
    let authority = IdentityAuthority { identities: vec![missing] };
    let reject = identity().check(&authority).unwrap_err();
    assert_eq!(reject.to_string(), "expected GitHub Workflow Ref not found in certificate");
}

#[test]
fn the_sentence_is_cosigns() {
    let reject =
        identity().check(&IdentityAuthority { identities: vec![wanted(None, exactly("x"))] });
    let sentence = reject.unwrap_err().to_string();
    assert!(sentence.starts_with(
        "none of the expected identities matched what was in the certificate, got subjects [https://"
    ));
    assert!(
        sentence.ends_with("with issuer https://token.actions.githubusercontent.com"),
        "{sentence}"
    );
}

#[test]
fn expressions_mean_what_go_makes_of_them() {
    for (pattern, text, want) in [
        ("acme", "https://evil/acme", true),
        ("^acme$", "acme\n", false),
        ("a.c", "a\nc", false),
        ("(?s)a.c", "a\nc", true),
        ("(?i)ACME", "acme", true),
        ("(?i:A)b", "ab", true),
        ("(?m)^b$", "a\nb", true),
        (r"^\d+$", "٣", false),
        (r"^\d+$", "3", true),
        (r"^\w+$", "é", false),
        (r"^[\w]+$", "é", false),
        (r"^\W$", "é", true),
        (r"^[\W]$", "é", true),
        (r"^[^\D]$", "7", true),
        (r"^\s$", "\u{a0}", false),
        (r"^\s$", "\u{b}", false),
        (r"\bacme\b", "x acme y", true),
        (r"\bacme\b", "éacme", true),
        (r"^[[]$", "[", true),
        (r"^[a&&b]+$", "a&b", true),
        (r"^[^a&&b]$", "a", false),
        (r"^[]a]$", "]", true),
        (r"^[^]a]$", "]", false),
        (r"^[a~~b]$", "~", true),
        (r"^[a-]$", "-", true),
        (r"^[-a]$", "-", true),
        (r"^[[:alpha:]_]$", "x", true),
        (r"^\<a\>$", "<a>", true),
        (r"^a\.b\/c\-d$", "a.b/c-d", true),
        (r"^(?P<x>a|b)$", "b", true),
        (r"^(?:a|b)$", "b", true),
        (r"^\x41\x{42}$", "AB", true),
        (r"\b{start}", "a{start}", true),
        ("^a{,2}$", "a{,2}", true),
        ("^a{,2}$", "aa", false),
        ("^a{ 1 }$", "a", false),
        ("^a{1,2}$", "aa", true),
        ("^a{01}$", "a{01}", true),
        (r"^\Qa.b\E+$", "a.bb", true),
        (r"^\Qa.b", "axb", false),
        (r"^[\w-a]$", "-", true),
        (r"^[a-c-e]$", "d", false),
        (r"^[--/]$", ".", true),
        (r"^\pN$", "1", true),
    ] {
        match Pattern::new(pattern) {
            Ok(compiled) => assert_eq!(compiled.is_found_in(text), want, "{pattern} {text:?}"),
            // The tables of Unicode's classes are not built in: refused is not wrong.
            Err(_) => assert_eq!(pattern, r"^\pN$"),
        }
    }
}

#[test]
fn expressions_that_go_refuses_or_that_cost_too_much_are_refused() {
    for pattern in [
        "(",
        "a)",
        "[a",
        "[",
        "\\",
        r"\Z",
        r"\u0041",
        r"\8",
        "(?x)a",
        "(?u)a",
        "(?R)a",
        "(?=a)",
        "(?!a)",
        "(?i",
        r"[a\]",
        "[[:nothing:]]",
        "a{1000}{1000}",
        "a{1001}",
        "a++",
        "a**",
        "a??*",
        r"\p{sc=Greek}",
        r"\p{Lowercase}",
        r"[a-\d]",
        "(?P<a.b>c)",
        r"\x{110000}",
        "[z-a]",
    ] {
        assert!(Pattern::new(pattern).is_err(), "{pattern}");
    }
    assert!(Pattern::new(&"a".repeat(MAX_PATTERN + 1)).is_err());
    assert!(Pattern::new(&format!("{}a{}", "(".repeat(500), ")".repeat(500))).is_err());
}

/// Each of these would take more than a millisecond to expand or to compile.
#[test]
fn costly_expressions_are_refused_before_they_are_expanded() {
    let repeated = |part: &str, count: usize| part.repeat(count);
    for pattern in [
        r"(\pL{30}){20}".to_owned(),
        "((a{10}){10}){1000}".to_owned(),
        "(?:(?:){1000}){1000}".to_owned(),
        ".{1,1000}.{1,1000}".to_owned(),
        repeated(r"\pL", 1_300),
        format!("(?i)[{}]", repeated(r"\PL\pL", 600)),
        format!("(?i){}", repeated(r"[\x00-\x{10ffff}]", 200)),
        format!("(a|(?i:b)){}", repeated(r"[\x{100}-\x{10ffff}]", 2)),
        format!("{}{}", repeated("(?:", 40), repeated("a{2}){2}", 40)),
    ] {
        let error = Expression::parse(&pattern).expect_err(&pattern).to_string();
        assert!(error.contains("too large") || error.contains("nest"), "{pattern}: {error}");
    }
}

#[test]
fn ordinary_expressions_cost_little_and_long_ones_are_accepted() {
    for (pattern, limit) in [
        (r"^https://github\.com/acme/app/\.github/workflows/release\.yml@refs/tags/v.*$", 4),
        (r"^https://github\.com/[^/]+/[^/]+/\.github/workflows/[^/]+@refs/(heads|tags)/.*$", 6),
        (r"(?i)^[a-z0-9._-]{1,64}@acme\.example$", 64),
        (r"^[^@]{1,255}@acme\.example$", 136),
        (r"^\pL+ \pL+$", 40),
    ] {
        let expression = Expression::parse(pattern).unwrap();
        assert!(expression.cost() <= limit * 1024, "{pattern}: {}", expression.cost());
        assert!(expression.compile().is_ok(), "{pattern}");
    }
}

/// An expression that may be compiled does compile: a policy that validation accepts is not found
/// to be too large later.
#[test]
fn the_largest_affordable_expressions_compile() {
    let longest = |part: &str, before: &str| {
        let text = |count: usize| format!("{before}{}", part.repeat(count));
        let mut counts = 1..4000;
        while counts.len() > 1 {
            let middle = counts.start + counts.len() / 2;
            let fits = Expression::parse(&text(middle)).is_ok();
            counts = if fits { middle..counts.end } else { counts.start..middle };
        }
        text(counts.start)
    };
    for before in ["", "(?i)", "^"] {
        for part in [
            ".",
            "[^/]",
            r"\pL",
            r"\PL",
            "[^a]?",
            "(.|a)",
            "a*",
            "()",
            "日.",
            "[a-z]+",
            r"\p{Mn}",
            "a|",
            r"[\x{80}-\x{2ff0}]",
            ".{20}",
            r"[\pL\pM]",
            r"(\pN*)",
        ] {
            let pattern = longest(part, before);
            let compiled = Expression::parse(&pattern).and_then(Expression::compile);
            assert!(compiled.is_ok(), "{before}{part}: {compiled:?}");
        }
    }
}

#[test]
fn unanchored_expressions_are_told() {
    for (pattern, anchored) in [
        ("^https://github.com/acme/.*$", true),
        (r"\Ahttps://x\z", true),
        ("^(a|b)$", true),
        ("^a$|^b$", true),
        ("https://github.com/acme/.*", false),
        ("^https://github.com/acme/", false),
        ("acme$", false),
        ("^a|b$", false),
        ("(?m)^a$", false),
        (".*", false),
        (r"\^a\$", false),
    ] {
        assert_eq!(Pattern::new(pattern).unwrap().is_anchored(), anchored, "{pattern}");
        let matcher = wanted(exactly("x"), matching(pattern));
        assert_eq!(matcher.warnings().is_empty(), anchored, "{pattern}");
    }
}

#[test]
fn every_claim_has_its_own_number() {
    let numbers: std::collections::BTreeSet<_> =
        Claim::ALL.iter().map(|claim| claim.oid().to_string()).collect();
    assert_eq!(numbers.len(), Claim::ALL.len());
    assert_eq!(Claim::GithubWorkflowTrigger.oid().to_string(), "1.3.6.1.4.1.57264.1.2");
    let last = Claim::SourceRepositoryVisibilityAtSigning;
    assert_eq!(last.oid().to_string(), "1.3.6.1.4.1.57264.1.22");
    assert!(Claim::GithubWorkflowRef.is_raw() && !Claim::BuildSignerUri.is_raw());
}

proptest! {
    #[test]
    fn any_expression_is_read_without_panic(pattern: String, text: String) {
        if let Ok(pattern) = Pattern::new(&pattern) {
            let _ = (pattern.is_found_in(&text), pattern.is_anchored());
        }
    }

    #[test]
    fn a_quoted_text_is_found_exactly(text in "[ -~]{0,40}") {
        let quoted: String = text
            .chars()
            .flat_map(|c| c.is_ascii_punctuation().then_some('\\').into_iter().chain([c]))
            .collect();
        let pattern = Pattern::new(&format!("^{quoted}$")).unwrap();
        let longer = format!("{text}x");
        prop_assert!(pattern.is_found_in(&text) && !pattern.is_found_in(&longer));
    }
}
