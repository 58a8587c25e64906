//! Selection of the rules that apply to an image in an object of some scope.
//!
//! An index by literal prefix ([`index`]) finds the candidates, so that the cost does not grow with
//! rules for other repositories. Only [`When`] decides whether a rule applies.

use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::reference::Reference;
use serde::{Deserialize, Serialize};

use crate::rule::{Rule, When, fingerprint};
use crate::scope::Scope;

mod index;

use index::PrefixIndex;

/// The result for an image that no rule applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoMatch {
    /// Deny; also the meaning of an unknown value in the configuration.
    #[default]
    Deny,
    /// Admit with a warning.
    Warn,
    /// Admit.
    Allow,
}

/// All rules in effect, with the no-match policy. Clones share the rules.
#[derive(Clone, Debug)]
pub struct PolicySet {
    rules: Arc<IndexedRules>,
    no_match: NoMatch,
    fingerprint: Digest,
}

/// Rules ordered by name, and the index that holds their positions.
#[derive(Debug)]
struct IndexedRules {
    rules: Vec<Rule>,
    index: PrefixIndex,
}

impl NoMatch {
    /// The value in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Warn => "warn",
            Self::Allow => "allow",
        }
    }
}

impl PolicySet {
    /// Creates a set of `rules`; their order does not matter. Two rules of the same name are both
    /// kept: each must hold.
    pub fn new(mut rules: Vec<Rule>, no_match: NoMatch) -> Self {
        rules.sort_by(|a, b| (a.name(), a.fingerprint()).cmp(&(b.name(), b.fingerprint())));
        let index = PrefixIndex::new(&rules);
        let fingerprint = fingerprint::of_set(&rules, no_match.name());
        Self { rules: Arc::new(IndexedRules { rules, index }), no_match, fingerprint }
    }

    /// The rules, ordered by name.
    pub fn rules(&self) -> &[Rule] {
        &self.rules.rules
    }

    /// The result for an image that no rule applies to.
    pub fn no_match(&self) -> NoMatch {
        self.no_match
    }

    /// SHA-256 over all rules and the no-match policy.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Returns the rules that apply to `image` in an object of `scope`; all of them must hold. If
    /// none does, [`PolicySet::no_match`] decides.
    pub fn select(&self, image: &Reference, scope: &Scope) -> Vec<&Rule> {
        self.rules.select(image, |when| when.applies(image, scope))
    }

    /// Returns the rules for an image whose tag could not be resolved: those that
    /// [`PolicySet::select`] may return once the digest is known. A rule that only holds for signed
    /// content applies whatever digest its pattern names; one that admits unsigned content does not
    /// apply if its pattern names a digest, or a tag, which is ignored beside a digest.
    pub fn select_unresolved(&self, image: &Reference, scope: &Scope) -> Vec<&Rule> {
        self.rules.select(image, |when| when.may_apply(image, scope))
    }
}

impl IndexedRules {
    /// Returns the rules for which `applies` holds, in their order. It may hold only for rules with
    /// a pattern that matches `image`.
    fn select(&self, image: &Reference, applies: impl Fn(&When) -> bool) -> Vec<&Rule> {
        let candidates = self.index.candidates(image.repository());
        let candidates = candidates.into_iter().map(|at| &self.rules[at]);
        let selected: Vec<&Rule> = candidates.filter(|rule| applies(&rule.when)).collect();
        // A rule missed by the index would not be enforced: every test, in any crate, that selects
        // rules compares the index with a scan of all rules.
        debug_assert!(
            self.rules
                .iter()
                .filter(|rule| applies(&rule.when))
                .map(std::ptr::from_ref)
                .eq(selected.iter().map(|rule| std::ptr::from_ref(*rule))),
            "the index and the rules disagree about {image}"
        );
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::{Glob, TagMatching};
    use crate::rule::{Mode, Need, RuleSource, When};
    use crate::testing::{pod, rule, signed};

    fn about(name: &str, glob: &str) -> Rule {
        let Rule { when, .. } = rule(name, signed("a"), Mode::Enforce);
        let when = When { images: vec![Glob::parse(glob).unwrap()], ..when };
        Rule::new(name.to_owned(), RuleSource::default(), when, Need::Any(vec![]), Mode::Enforce)
    }

    fn names(set: &PolicySet, image: &str) -> Vec<String> {
        let rules = set.select(&image.parse().unwrap(), &pod("x"));
        rules.into_iter().map(|rule| rule.name().to_owned()).collect()
    }

    #[test]
    fn selects_every_rule_that_applies_in_one_order() {
        let rules = || vec![about("c", "ghcr.io/**"), about("a", "**"), about("b", "quay.io/**")];
        let set = PolicySet::new(rules(), NoMatch::Deny);
        assert_eq!(names(&set, "ghcr.io/a/b"), ["a", "c"]);
        assert_eq!(names(&set, "quay.io/a/b"), ["a", "b"]);
        assert_eq!(names(&PolicySet::new(vec![], NoMatch::Deny), "x"), Vec::<String>::new());
        let turned = PolicySet::new(rules().into_iter().rev().collect(), NoMatch::Deny);
        assert_eq!(turned.fingerprint(), set.fingerprint());
        assert_eq!(names(&turned, "ghcr.io/a/b"), ["a", "c"]);
    }

    #[test]
    fn two_rules_of_one_name_both_stand() {
        let set = PolicySet::new(vec![about("a", "ghcr.io/**"), about("a", "**")], NoMatch::Deny);
        assert_eq!(names(&set, "ghcr.io/a/b"), ["a", "a"]);
    }

    /// Rules that restrict a tag's digest apply before it is known; rules that permit do not.
    #[test]
    fn an_unresolved_tag_has_every_restriction_and_no_permission_of_a_digest_or_tag() {
        let digest = format!("ghcr.io/acme/app@sha256:{}", "a".repeat(64));
        let globs = ["ghcr.io/acme/*", &digest, "ghcr.io/acme/app:v1", "ghcr.io/acme/app:v2"];
        let selected = |tags: TagMatching| {
            let rules = globs.iter().map(|glob| {
                let Rule { source, when, criterion } = about(glob, glob);
                let (name, need) = (criterion.name.clone(), criterion.need.clone());
                Rule::new(name, source, When { tags, ..when }, need, criterion.mode)
            });
            let set = PolicySet::new(rules.collect(), NoMatch::Deny);
            let image = "ghcr.io/acme/app:v1".parse().unwrap();
            let rules = set.select_unresolved(&image, &pod("x"));
            rules.into_iter().map(|rule| rule.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            selected(TagMatching::AsWritten),
            ["ghcr.io/acme/*", "ghcr.io/acme/app:v1", digest.as_str()]
        );
        assert_eq!(selected(TagMatching::OnlyWithoutDigest), ["ghcr.io/acme/*"]);
    }

    #[test]
    fn the_fingerprint_follows_rules_and_no_match() {
        let print = |rules, no_match| PolicySet::new(rules, no_match).fingerprint().clone();
        let one = print(vec![about("a", "**")], NoMatch::Deny);
        assert_ne!(one, print(vec![about("a", "**")], NoMatch::Allow));
        assert_ne!(one, print(vec![about("b", "**")], NoMatch::Deny));
        assert_ne!(one, print(vec![], NoMatch::Deny));
    }
}
