//! Which rules apply to an image: the set of all policies, asked with an image and its scope.

use sealgate_core::digest::Digest;
use sealgate_core::reference::Reference;

use crate::fingerprint;
use crate::rule::Rule;
use crate::scope::Scope;

/// What happens to an image that no rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NoMatch {
    /// It is refused. Also what an unknown word in the configuration means.
    #[default]
    Deny,
    /// It is let in with a warning.
    Warn,
    /// It is let in.
    Allow,
}

/// All rules that are in force, with what happens where none applies.
#[derive(Clone, Debug)]
pub struct PolicySet {
    rules: Vec<Rule>,
    no_match: NoMatch,
    fingerprint: Digest,
}

impl NoMatch {
    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Warn => "warn",
            Self::Allow => "allow",
        }
    }
}

impl PolicySet {
    /// A set of `rules`, put into one order whatever order they came in. Two rules of one name
    /// both stand: each must hold.
    pub fn new(mut rules: Vec<Rule>, no_match: NoMatch) -> Self {
        rules.sort_by(|a, b| (&a.name, &a.fingerprint).cmp(&(&b.name, &b.fingerprint)));
        let prints: Vec<String> = rules.iter().map(|rule| rule.fingerprint.to_string()).collect();
        let parts = prints.iter().map(String::as_str).chain([no_match.name()]);
        let fingerprint = fingerprint::of_parts(parts.collect::<Vec<_>>().into_iter());
        Self { rules, no_match, fingerprint }
    }

    /// The rules, ordered by name.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What happens to an image that no rule is about.
    pub fn no_match(&self) -> NoMatch {
        self.no_match
    }

    /// SHA-256 over all rules and the no-match policy.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// The rules that `image`, in an object of `scope`, must satisfy: each of them. Empty means
    /// that no policy is about the image, and [`PolicySet::no_match`] decides.
    pub fn select(&self, image: &Reference, scope: &Scope) -> Vec<&Rule> {
        self.rules.iter().filter(|rule| rule.when.applies(image, scope)).collect()
    }
}
