//! The compiled `match[]` of a policy: selectors of the objects that a rule applies to.

use std::collections::{BTreeMap, BTreeSet};

use crate::scope::Scope;

/// One entry of `match`. Every condition that is present must hold.
///
/// In policy-controller, an entry without `resource` matches nothing, which silently disables the
/// whole policy. Here an absent condition is no condition, as in every other Kubernetes selector,
/// and the policy gets a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMatch {
    /// Exact namespaces; empty means every namespace.
    pub namespaces: Vec<String>,
    /// API group.
    pub group: Option<String>,
    /// API version.
    pub version: Option<String>,
    /// Plural resource.
    pub resource: Option<String>,
    /// Selector of the object's own labels.
    pub selector: Selector,
}

/// A label selector: all requirements must hold, so an empty one matches every object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The operator.
    pub operator: Operator,
    /// The values.
    pub values: BTreeSet<String>,
}

/// An operator of a label requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// The label exists with one of the values.
    In,
    /// The label does not exist, or has another value.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

impl ObjectMatch {
    /// Returns whether every condition holds for `scope`.
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
    /// Creates a selector; the order of the requirements does not matter.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort();
        Self { requirements }
    }

    /// The requirements.
    pub(crate) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Returns whether all requirements hold for `labels`.
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
