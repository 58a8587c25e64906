//! Validation of policies, with policy-controller's messages. Errors reject the object; warnings
//! are shown to its author. Defaults are filled in before validation.

use super::field_error::{FieldErrors, Level};
use super::patterns::Patterns;
use super::{ClusterImagePolicy, LabelSelector, Match, Policy, Spec, bounds, lint};
use crate::glob::{Glob, InvalidGlob};

mod authority;
mod key;

pub(crate) use key::hash_algorithm;

/// The configuration of the gate that validation depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The gate's namespace: the only one whose Secrets a policy may name.
    pub system_namespace: String,
    /// The treatment of enforcing policies without authorities (`fail-on-empty-authorities`).
    pub empty_authorities: EmptyAuthorities,
}

/// The treatment of enforcing policies without authorities. Such a policy admits nothing in either
/// case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyAuthorities {
    /// The policy is invalid.
    #[default]
    Refused,
    /// The policy is valid.
    Accepted,
}

/// The workloads that `match[].resource` may name, with their API groups.
pub const RESOURCES: [(&str, &str); 8] = [
    ("pods", ""),
    ("replicationcontrollers", ""),
    ("replicasets", "apps"),
    ("deployments", "apps"),
    ("statefulsets", "apps"),
    ("daemonsets", "apps"),
    ("jobs", "batch"),
    ("cronjobs", "batch"),
];

impl Default for Context {
    fn default() -> Self {
        Self {
            system_namespace: "cosign-system".to_owned(),
            empty_authorities: EmptyAuthorities::Refused,
        }
    }
}

/// Validates `policy`: errors and warnings. Works on a copy with the defaults filled in, so the
/// result is the same with and without them.
///
/// A policy that exceeds a bound has that error only, whatever else is wrong with it.
pub fn validate(policy: &ClusterImagePolicy, context: &Context) -> FieldErrors {
    let mut patterns = Patterns::default();
    if let Err(excess) = within_bounds(policy, &mut patterns) {
        return excess;
    }
    let mut errors = validate_stored(policy, context, &mut patterns);
    errors.also(impossible_patterns(&policy.spec).via_field("spec"));
    errors
}

/// Checks the bounds of `policy` and the cost of its regular expressions, before any work on it.
///
/// # Errors
/// The first excess.
pub(crate) fn within_bounds(
    policy: &ClusterImagePolicy,
    patterns: &mut Patterns,
) -> Result<(), FieldErrors> {
    bounds::check(policy)?;
    patterns.afford(policy)
}

/// Validates a policy that is [within its bounds](within_bounds) and already stored: a pattern that
/// no image can match does not make the policy invalid for its other patterns.
pub(crate) fn validate_stored(
    policy: &ClusterImagePolicy,
    context: &Context,
    patterns: &mut Patterns,
) -> FieldErrors {
    let mut spec = policy.spec.clone();
    spec.set_defaults();
    let mut errors = spec_errors(&spec, context, patterns);
    errors.also(lint::spec(&spec));
    errors.via_field("spec")
}

/// Returns errors for patterns that no image can match. policy-controller accepts them, and they
/// have no effect.
pub(crate) fn impossible_patterns(spec: &Spec) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, image) in spec.images.iter().enumerate() {
        let found = Glob::parse(&image.glob).ok().and_then(|glob| glob.impossible());
        if let Some(impossible) = found {
            let error = FieldErrors::invalid(&image.glob, "glob")
                .details(format!("glob is invalid: {impossible}"));
            errors.also(error.via_field_index("images", index));
        }
    }
    errors
}

/// Formats these errors as a webhook's denial: `validation failed: …`.
pub fn denial(errors: &FieldErrors) -> String {
    format!("validation failed: {}", errors.filter(Level::Error))
}

fn spec_errors(spec: &Spec, context: &Context, patterns: &mut Patterns) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if spec.images.is_empty() {
        errors.also(FieldErrors::missing(["images"]));
    }
    for (index, image) in spec.images.iter().enumerate() {
        errors.also(glob(&image.glob).via_field_index("images", index));
    }
    let may_be_empty =
        spec.is_exemption() || context.empty_authorities == EmptyAuthorities::Accepted;
    if spec.authorities.is_empty() && !may_be_empty {
        errors.also(FieldErrors::missing(["authorities"]));
    }
    for (index, authority) in spec.authorities.iter().enumerate() {
        let below = authority::validate(authority, context, patterns);
        errors.also(below.via_field_index("authorities", index));
    }
    if let Some(policy) = &spec.policy {
        // policy-controller reports these without `.policy` in the path.
        errors.also(policy_errors(policy));
    }
    if !["enforce", "warn"].contains(&spec.mode.as_str()) {
        errors.also(FieldErrors::invalid(&spec.mode, "mode").details("unsupported mode"));
    }
    for (index, entry) in spec.r#match.iter().enumerate() {
        errors.also(match_errors(entry).via_field_index("match", index));
    }
    errors
}

fn glob(glob: &str) -> FieldErrors {
    if glob.is_empty() {
        return FieldErrors::missing(["glob"]);
    }
    match Glob::parse(glob) {
        Ok(_) => FieldErrors::none(),
        Err(error @ InvalidGlob::TooLong) => {
            FieldErrors::invalid("(too long)", "glob").details(format!("glob is invalid: {error}"))
        }
        Err(error) => {
            FieldErrors::invalid(glob, "glob").details(format!("glob is invalid: {error}"))
        }
    }
}

/// Validates a CUE or Rego policy, of an attestation or of the whole policy.
fn policy_errors(policy: &Policy) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if !["cue", "rego"].contains(&policy.r#type.as_str()) {
        let details = "only [cue,rego] are supported at the moment";
        errors.also(FieldErrors::invalid(&policy.r#type, "type").details(details));
    }
    let given = [!policy.data.is_empty(), policy.remote.is_some(), policy.config_map_ref.is_some()];
    match given.iter().filter(|given| **given).count() {
        0 => errors.also(FieldErrors::missing(["configMapRef", "data", "remote"])),
        1 => {}
        _ => errors.also(FieldErrors::multiple_one_of(["configMapRef", "data", "remote"])),
    }
    if let Some(remote) = &policy.remote {
        errors.also(remote_errors(&remote.url, &remote.sha256sum).via_field("remote"));
    }
    if let Some(reference) = &policy.config_map_ref {
        for (value, name) in [(&reference.name, "name"), (&reference.key, "key")] {
            if value.is_empty() {
                errors.also(FieldErrors::missing([name]).via_field("configMapRef"));
            }
        }
    }
    errors
}

fn remote_errors(url: &str, sum: &str) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let host = url.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next());
    if host.flatten().is_none_or(str::is_empty) {
        let details = "url valid is invalid. host and https scheme are expected";
        errors.also(FieldErrors::invalid(url, "url").details(details));
    }
    if sum.is_empty() {
        errors.also(FieldErrors::missing(["sha256sum"]));
    }
    errors
}

pub(crate) fn match_errors(entry: &Match) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let known = RESOURCES.iter().any(|(resource, _)| *resource == entry.resource);
    if !known && !entry.resource.is_empty() {
        let error = FieldErrors::invalid(&entry.resource, "resource");
        errors.also(error.details("unsupported resource name"));
    }
    let typed = [&entry.resource, &entry.group, &entry.version].iter().any(|f| !f.is_empty());
    if let Some(selector) = &entry.selector {
        if !typed {
            let details = "selector requires a resource type to match the labels";
            errors.also(FieldErrors::invalid("", "selector").details(details));
        }
        errors.also(selector_errors(selector).via_field("selector"));
    }
    if let Some(namespaces) = &entry.namespaces {
        errors.also(namespace_errors(namespaces));
    }
    errors
}

fn namespace_errors(namespaces: &[String]) -> FieldErrors {
    if namespaces.is_empty() {
        return FieldErrors::missing(["namespaces"]);
    }
    let mut errors = FieldErrors::none();
    for (index, name) in namespaces.iter().enumerate() {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(allowed) {
            let error = FieldErrors::invalid(name, "").via_field_index("namespaces", index);
            errors.also(error.details("want the exact name of a namespace"));
        }
    }
    errors
}

/// Validates a label selector by the rules of Kubernetes. policy-controller accepts an invalid
/// selector and then denies every image.
fn selector_errors(selector: &LabelSelector) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (key, value) in &selector.match_labels {
        if !is_label_key(key) {
            errors.also(FieldErrors::invalid(key, "matchLabels").details("not a label key"));
        }
        if !is_label_value(value) {
            errors.also(FieldErrors::invalid(value, "matchLabels").details("not a label value"));
        }
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let mut below = FieldErrors::none();
        if !is_label_key(&requirement.key) {
            below.also(FieldErrors::invalid(&requirement.key, "key").details("not a label key"));
        }
        let wants_values = match requirement.operator.as_str() {
            "In" | "NotIn" => true,
            "Exists" | "DoesNotExist" => false,
            other => {
                let details = "want In, NotIn, Exists or DoesNotExist";
                below.also(FieldErrors::invalid(other, "operator").details(details));
                !requirement.values.is_empty()
            }
        };
        if wants_values && requirement.values.is_empty() {
            below.also(FieldErrors::missing(["values"]));
        } else if !wants_values && !requirement.values.is_empty() {
            below.also(FieldErrors::disallowed(["values"]));
        }
        for value in requirement.values.iter().filter(|value| !is_label_value(value)) {
            below.also(FieldErrors::invalid(value, "values").details("not a label value"));
        }
        errors.also(below.via_field_index("matchExpressions", index));
    }
    errors
}

fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.rsplit_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    !name.is_empty()
        && is_label_value(name)
        && prefix.is_none_or(|p| !p.is_empty() && p.len() <= 253 && p.bytes().all(domain))
}

fn is_label_value(value: &str) -> bool {
    let edge = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    value.len() <= 63
        && value.bytes().all(allowed)
        && edge(value.bytes().next())
        && edge(value.bytes().last())
}

#[cfg(test)]
mod tests;
