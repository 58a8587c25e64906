//! Compilation of all objects of a policy source, with the contents of their dependencies, to one
//! [`PolicySet`], with a status for each object and the problems to report.
//!
//! Used by every source: a cluster, a folder. A source reads and watches; this module decides which
//! objects are valid and which are problems.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cip::ClusterImagePolicy;
use crate::cip::compile::{Compiled, Condition, Lookups, compile, unreadable};
use crate::cip::patterns::Patterns;
use crate::cip::trust_root::{self, Spec, TrustRootObject};
use crate::cip::validate::Context;
use crate::config::Config;
use crate::select::{NoMatch, PolicySet};

/// The kind of source that a gate's policies come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicySource {
    /// The objects of a cluster. They have a status, and the policy webhook shows warnings when
    /// they are applied.
    #[default]
    Cluster,
    /// The files of a folder; objects of the cluster are not read.
    Folder,
}

/// All objects of a source at one moment.
#[derive(Clone, Debug)]
pub struct Objects<'a> {
    /// The kind of the source.
    pub source: PolicySource,
    /// The gate's namespace, which Secrets are read from.
    pub system_namespace: &'a str,
    /// The entries of the ConfigMap `config-policy-controller`.
    pub config: BTreeMap<String, String>,
    /// `--no-match-policy`, which overrides the ConfigMap.
    pub no_match: Option<NoMatch>,
    /// The ClusterImagePolicies.
    pub policies: Vec<Object<'a, ClusterImagePolicy>>,
    /// The TrustRoots.
    pub trust_roots: Vec<Object<'a, TrustRootObject>>,
}

/// One object of a source.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a, T> {
    /// `metadata.name`.
    pub name: &'a str,
    /// The place that it was read from, which rules record as their origin: `cluster`, or a file.
    pub place: &'a str,
    /// The object, or the reason why it cannot be parsed.
    pub content: Result<&'a T, &'a str>,
}

/// The result of compiling all objects.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// The rules: one for each policy, including undecidable ones.
    pub set: Arc<PolicySet>,
    /// The configuration.
    pub config: Config,
    /// The statuses of the policies, in the order of [`Objects::policies`].
    pub policies: Vec<ObjectStatus>,
    /// The statuses of the TrustRoots, in the order of [`Objects::trust_roots`].
    pub trust_roots: Vec<ObjectStatus>,
    /// The objects that are invalid, one line each.
    pub problems: Vec<String>,
    /// Warnings about the configuration.
    pub config_warnings: Vec<String>,
    /// Warnings about the objects of a folder. Warnings about objects of a cluster are shown by the
    /// policy webhook when they are applied.
    pub warnings: Vec<String>,
}

/// The status of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStatus {
    /// `metadata.name`.
    pub name: String,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// The state that a source publishes at each change.
#[derive(Clone, Debug, Default)]
pub struct PolicyState {
    /// The policies in effect; `None` until they have been loaded: until then nothing is admitted.
    pub set: Option<Arc<PolicySet>>,
    /// The gate's configuration.
    pub config: Config,
    /// The objects and files that are invalid. While `set` is present, it holds their last valid
    /// version, or denies in their place.
    pub problems: Vec<String>,
    /// The kind of the source.
    pub source: PolicySource,
}

impl Objects<'_> {
    /// Returns the specs of the TrustRoots by name, validated and with defaults filled in.
    pub fn trust_root_specs(&self) -> BTreeMap<String, Result<Spec, String>> {
        let spec = |root: &Object<'_, TrustRootObject>| match root.content {
            Ok(object) => object.checked(),
            Err(error) => Err(error.to_owned()),
        };
        self.trust_roots.iter().map(|root| (root.name.to_owned(), spec(root))).collect()
    }
}

impl PolicyState {
    /// Returns the state before anything has been loaded from `source`, with the reason.
    pub fn waiting(source: PolicySource, why: impl Into<String>) -> Self {
        Self { problems: vec![why.into()], source, ..Self::default() }
    }
}

/// Compiles the policies of `objects`. `root_conditions` gives the conditions of a TrustRoot.
/// `patterns` keeps the expressions of these policies for the next time, and forgets all others.
pub fn assemble(
    objects: &Objects<'_>,
    lookups: &Lookups<'_>,
    root_conditions: &dyn Fn(&str) -> Vec<Condition>,
    patterns: &mut Patterns,
) -> Assembly {
    let (config, config_warnings) = Config::read(&objects.config);
    let context = Context {
        system_namespace: objects.system_namespace.to_owned(),
        empty_authorities: config.empty_authorities,
    };
    let mut assembly = Parts::default();
    for policy in &objects.policies {
        let compiled = match policy.content {
            Ok(content) => compile(content, policy.place, &context, lookups, patterns),
            Err(error) => unreadable(policy.name, policy.place, error),
        };
        assembly.add_policy(objects.source, policy, compiled);
    }
    patterns.forget_unused();
    for root in &objects.trust_roots {
        assembly.add_trust_root(objects.source, root, root_conditions(root.name));
    }
    let Parts { rules, policies, trust_roots, problems, warnings } = assembly;
    let set = Arc::new(PolicySet::new(rules, objects.no_match.unwrap_or(config.no_match)));
    Assembly { set, config, policies, trust_roots, problems, config_warnings, warnings }
}

/// The parts of an [`Assembly`] that are extended by each object.
#[derive(Default)]
struct Parts {
    rules: Vec<crate::rule::Rule>,
    policies: Vec<ObjectStatus>,
    trust_roots: Vec<ObjectStatus>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Parts {
    fn add_policy(
        &mut self,
        source: PolicySource,
        policy: &Object<'_, ClusterImagePolicy>,
        compiled: Compiled,
    ) {
        let Compiled { rule, conditions, errors, warnings, impossible } = compiled;
        let failed = conditions.iter().filter(|condition| !condition.holds);
        let about = |text: String| policy.line(source, &text);
        match source {
            // Its status has a condition for each part; Ready sums them up.
            PolicySource::Cluster => {
                let ready = failed.filter(|condition| condition.kind == "Ready");
                self.problems.extend(ready.map(|ready| about(ready.message.clone())));
            }
            PolicySource::Folder => {
                let parts = failed.filter(|condition| condition.kind != "Ready");
                self.problems.extend(parts.map(|part| about(part.reason_and_message())));
                // Only what the configuration of another file makes an error.
                self.problems.extend(errors.messages().into_iter().map(about));
                self.warnings.extend(warnings.warnings().into_iter().map(about));
            }
        }
        self.problems.extend(impossible.messages().into_iter().map(about));
        self.rules.push(rule);
        self.policies.push(ObjectStatus { name: policy.name.to_owned(), conditions });
    }

    /// Adds a TrustRoot. Problems of a cluster's TrustRoot are in its status only.
    fn add_trust_root(
        &mut self,
        source: PolicySource,
        root: &Object<'_, TrustRootObject>,
        conditions: Vec<Condition>,
    ) {
        if source == PolicySource::Folder {
            let about = |text: String| format!("{}: TrustRoot {}: {text}", root.place, root.name);
            let bad = conditions.iter().filter(|condition| condition.is_bad());
            self.problems.extend(bad.map(|bad| about(bad.reason_and_message())));
            let warnings =
                root.content.map(|object| trust_root::validate::validate(object).warnings());
            self.warnings.extend(warnings.into_iter().flatten().map(about));
        }
        self.trust_roots.push(ObjectStatus { name: root.name.to_owned(), conditions });
    }
}

impl<T> Object<'_, T> {
    /// Returns a line about the object that names its place.
    fn line(&self, source: PolicySource, text: &str) -> String {
        match source {
            PolicySource::Cluster => format!("{}: {text}", self.name).replace('\n', " "),
            PolicySource::Folder => format!("{}: {}: {text}", self.place, self.name),
        }
    }
}

impl Condition {
    fn reason_and_message(&self) -> String {
        format!("{}: {}", self.reason, self.message)
    }

    /// Returns whether a TrustRoot is not ready, or ready with an outdated root.
    fn is_bad(&self) -> bool {
        self.holds == (self.kind == "Stale")
    }
}

#[cfg(test)]
mod tests;
