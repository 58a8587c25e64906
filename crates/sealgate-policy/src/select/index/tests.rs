use proptest::prelude::*;
use sealgate_core::reference::Reference;

use super::*;
use crate::glob::{Glob, TagMatching};
use crate::object_match::ObjectMatch;
use crate::rule::{Mode, RuleSource, When};
use crate::select::{NoMatch, PolicySet};
use crate::testing::{pod, signed};

const HEX: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd";

/// Spellings of a registry that patterns or references treat specially.
const HOSTS: [&str; 16] = [
    "",
    "ghcr.io/",
    "GHCR.io/",
    "ghcr.io:443/",
    "ghcr.io:5000/",
    "gh.io/",
    "docker.io/",
    "docker.io:443/",
    "index.docker.io/",
    "registry-1.docker.io/",
    "registry.hub.docker.com/",
    "localhost/",
    "localhost:5000/",
    "10.0.0.1:5000/",
    "[2001:db8::a]/",
    "[2001:db8::a]:443/",
];

/// Patterns with a syntax that rarely results from a reference with wildcards.
const ODD: [&str; 30] = [
    "*",
    "**",
    "***",
    "*/*",
    "*/**",
    "**/*",
    "**/b",
    "*.io/**",
    "*.io:443/**",
    "**.io/a",
    "**:5000/a",
    "ghcr.io**",
    "ghcr.io*/**",
    "ghcr.io:*/**",
    "ghcr.io:4*/a",
    "g*.io/a/*",
    "localhost**",
    "local*/**",
    "docker.io**",
    "docker.io*/**",
    "registry-1*/**",
    "library/*",
    "docker.io/*",
    "a**",
    "**:latest",
    "**@sha256:*",
    "ghcr.io/a:v*",
    "ghcr.io/",
    "/a",
    "a:b:c",
];

fn host() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(HOSTS.as_slice())
}

/// A few paths with common beginnings, so that prefixes are nested and names match.
fn path() -> impl Strategy<Value = String> {
    "(library/)?[ab]{1,2}(/[ab][a.-]?[ab]?){0,2}"
}

fn identifier() -> impl Strategy<Value = String> {
    let digest = format!("@sha256:{HEX}");
    prop_oneof![
        3 => Just(String::new()),
        1 => Just(":latest".to_owned()),
        2 => Just(":v1".to_owned()),
        2 => Just(digest.clone()),
        1 => Just(format!(":v1{digest}")),
    ]
}

fn reference() -> impl Strategy<Value = String> {
    (host(), path(), identifier()).prop_map(|(host, path, rest)| format!("{host}{path}{rest}"))
}

/// A reference, with some of its text replaced by wildcards.
fn pattern() -> impl Strategy<Value = String> {
    let cut = (any::<proptest::sample::Index>(), 0usize..20, "\\*{1,3}");
    let cuts = proptest::collection::vec(cut, 0..3);
    let spelled = (reference(), cuts).prop_map(|(mut text, cuts)| {
        for (from, length, stars) in cuts {
            let from = from.index(text.len() + 1);
            let to = text.len().min(from + length);
            text.replace_range(from..to, &stars);
        }
        text
    });
    prop_oneof![
        6 => spelled,
        2 => proptest::sample::select(ODD.as_slice()).prop_map(str::to_owned),
        1 => "[ab*/:.@]{1,8}",
    ]
}

/// A rule with up to four patterns, for objects of any or of another namespace.
fn rule() -> impl Strategy<Value = Rule> {
    let tags = prop_oneof![Just(TagMatching::AsWritten), Just(TagMatching::OnlyWithoutDigest)];
    let (patterns, namespace) = (proptest::collection::vec(pattern(), 0..5), 0..4);
    ("[a-c]", patterns, tags, namespace).prop_map(|(name, patterns, tags, namespace)| {
        let images = patterns.iter().filter_map(|text| Glob::parse(text).ok()).collect();
        let elsewhere = ObjectMatch { namespaces: vec!["other".to_owned()], ..Default::default() };
        let matches = if namespace == 0 { vec![elsewhere] } else { Vec::new() };
        let when = When { images, tags, matches };
        Rule::new(name, RuleSource::default(), when, signed("a"), Mode::Enforce)
    })
}

/// A rule for images that match one pattern.
fn about(glob: &str) -> Rule {
    let images = vec![Glob::parse(glob).unwrap()];
    let when = When { images, tags: TagMatching::AsWritten, matches: Vec::new() };
    Rule::new(glob.to_owned(), RuleSource::default(), when, signed("a"), Mode::Enforce)
}

fn candidates(set: &PolicySet, image: &str) -> Vec<String> {
    let image: Reference = image.parse().unwrap();
    let found = set.rules.index.candidates(image.repository());
    found.into_iter().map(|at| set.rules()[at].name().to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// The rules that the index selects are those that a scan of all rules selects, in the same
    /// order.
    #[test]
    fn the_index_selects_what_asking_every_rule_selects(
        rules in proptest::collection::vec(rule(), 0..20),
        images in proptest::collection::vec(reference(), 1..10),
    ) {
        let set = PolicySet::new(rules, NoMatch::Deny);
        let scope = pod("default");
        let same = |selected: Vec<&Rule>, applies: &dyn Fn(&When) -> bool| {
            let asked = set.rules().iter().filter(|rule| applies(&rule.when));
            let asked: Vec<*const Rule> = asked.map(std::ptr::from_ref).collect();
            asked == selected.into_iter().map(std::ptr::from_ref).collect::<Vec<_>>()
        };
        for image in images.iter().filter_map(|text| text.parse::<Reference>().ok()) {
            let resolved = set.select(&image, &scope);
            prop_assert!(same(resolved, &|when| when.applies(&image, &scope)), "{image}");
            let unresolved = set.select_unresolved(&image, &scope);
            prop_assert!(same(unresolved, &|when| when.may_apply(&image, &scope)), "{image}");
        }
    }

    /// The property that the index relies on.
    #[test]
    fn a_name_that_a_pattern_matches_begins_with_its_literal_prefix(
        pattern in pattern(),
        image in reference(),
    ) {
        let (Ok(glob), Ok(image)) = (Glob::parse(&pattern), image.parse::<Reference>()) else {
            return Ok(());
        };
        let matches = [TagMatching::AsWritten, TagMatching::OnlyWithoutDigest]
            .iter()
            .any(|tags| glob.matches(&image, *tags) || glob.may_match(&image, *tags));
        let name = canonical_name(image.repository());
        prop_assert!(!matches || name.starts_with(glob.literal_prefix()), "{pattern} {image}");
    }
}

#[test]
fn patterns_are_placed_by_registry_and_path() {
    for (pattern, prefix) in [
        ("ghcr.io/acme/app", "ghcr.io/acme/app"),
        ("ghcr.io/acme/app:v1", "ghcr.io/acme/app"),
        ("ghcr.io/acme/app@sha256:*", "ghcr.io/acme/app"),
        ("GHCR.io:443/acme/*", "ghcr.io/acme/"),
        ("ghcr.io/acme*/x", "ghcr.io/acme"),
        ("ghcr.io/**", "ghcr.io/"),
        ("localhost:5000/*/x", "localhost:5000/"),
        ("nginx", "index.docker.io/library/nginx"),
        ("nginx**", "index.docker.io/library/nginx"),
        ("docker.io/nginx", "index.docker.io/library/nginx"),
        ("registry-1.docker.io/acme/**", "index.docker.io/acme/"),
        ("acme/app", "index.docker.io/acme/app"),
        ("acme*/**", "index.docker.io/acme"),
        ("*", "index.docker.io/library/"),
        ("*/*", "index.docker.io/"),
        ("**", ""),
        ("*/**", ""),
        ("*.io/x", ""),
        ("ghcr.io**", ""),
        ("ghcr.io:*/**", ""),
        ("docker.io**", ""),
        ("**:latest", ""),
    ] {
        assert_eq!(Glob::parse(pattern).unwrap().literal_prefix(), prefix, "{pattern}");
    }
}

#[test]
fn rules_about_other_repositories_are_no_candidates() {
    let others = (0..5000).map(|number| about(&format!("ghcr.io/team-{number}/**")));
    let ours = ["ghcr.io/acme/*", "ghcr.io/**", "*.io/acme/**", "**"].map(about);
    let set = PolicySet::new(others.chain(ours).collect(), NoMatch::Deny);
    let acme = ["**", "*.io/acme/**", "ghcr.io/**", "ghcr.io/acme/*"];
    assert_eq!(candidates(&set, "ghcr.io/acme/app"), acme);
    assert_eq!(candidates(&set, "ghcr.io/team/app"), acme[..3]);
    assert_eq!(candidates(&set, "quay.io/acme/app"), acme[..2]);
    let seventh = "ghcr.io/team-7/**";
    assert_eq!(candidates(&set, "ghcr.io:443/team-7/x"), [&acme[..3], &[seventh]].concat());
}

/// Patterns that each begin with the previous one: the longest chain that a look-up can traverse.
#[test]
fn nested_prefixes_are_looked_up_quickly() {
    let nested = |length: usize| format!("ghcr.io/{}", "a".repeat(length));
    let rules = (1..1000).map(|length| about(&format!("{}*", nested(length))));
    let start = std::time::Instant::now();
    let set = PolicySet::new(rules.collect(), NoMatch::Deny);
    for _ in 0..100 {
        assert_eq!(candidates(&set, &nested(200)).len(), 200);
        // Behind all of them in order, and below one.
        assert_eq!(candidates(&set, "ghcr.io/ab").len(), 1);
        assert_eq!(candidates(&set, "quay.io/a"), Vec::<String>::new());
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}
