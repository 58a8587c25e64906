//! `match[]` of a policy, compiled: which objects a rule is about.

use std::collections::{BTreeMap, BTreeSet};

use crate::scope::Scope;

/// One entry of `match`. Every condition that is there must hold; what is not there is not asked.
///
/// policy-controller lets an entry without `resource` match nothing, which turns a whole policy
/// off in silence. Here a condition left out is no condition, as in every other Kubernetes
/// selector, and the policy gets a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMatch {
    /// Exact namespaces, any of them; empty means every namespace.
    pub namespaces: Vec<String>,
    /// API group.
    pub group: Option<String>,
    /// API version.
    pub version: Option<String>,
    /// Plural resource.
    pub resource: Option<String>,
    /// On the object's own labels.
    pub selector: Selector,
}

/// A label selector: all requirements must hold, so an empty one holds for every object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub values: BTreeSet<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is not there, or has another value.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl ObjectMatch {
    /// Whether every condition holds for `scope`.
    pub fn matches(&self, scope: &Scope) -> bool {
        let same = |want: &Option<String>, have: &str| want.as_deref().is_none_or(|w| w == have);
        (self.namespaces.is_empty() || self.namespaces.contains(&scope.namespace))
            && same(&self.group, &scope.group)
            && same(&self.version, &scope.version)
            && same(&self.resource, &scope.resource)
            && self.selector.matches(&scope.labels)
    }
}

impl Selector {
    /// A selector of these requirements, in one order whatever order they came in.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort();
        Self { requirements }
    }

    /// The requirements.
    pub(crate) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether all requirements hold for `labels`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}
