//! Warnings about policies that are valid, but may not mean what their author thinks.

use super::field_error::{FieldErrors, Level};
use super::{Match, Spec};
use crate::cip::compile::not_yet;
use crate::glob::{Doubt, Glob};

/// Everything doubtful in `spec`, as warnings.
pub(super) fn spec(spec: &Spec) -> FieldErrors {
    let mut warnings = FieldErrors::none();
    for (index, image) in spec.images.iter().enumerate() {
        let doubts = Glob::parse(&image.glob).map(|glob| glob.doubts()).unwrap_or_default();
        for doubt in doubts {
            let warning = FieldErrors::invalid(&image.glob, "glob").details(text(doubt));
            warnings.also(warning.via_field_index("images", index));
        }
    }
    for (index, entry) in spec.r#match.iter().enumerate() {
        warnings.also(object(entry).via_field_index("match", index));
    }
    for (index, authority) in spec.authorities.iter().enumerate() {
        if let Some((_, what)) = not_yet(authority) {
            let warning =
                FieldErrors::generic(format!("{what}: the authority will not hold"), [""]);
            warnings.also(warning.via_field_index("authorities", index));
        }
        let keyless = authority.keyless.as_ref();
        if keyless.is_some_and(|keyless| keyless.insecure_ignore_sct == Some(true)) {
            let message = "certificates count that no certificate log has promised to publish";
            let warning = FieldErrors::generic(message, ["keyless.insecureIgnoreSCT"]);
            warnings.also(warning.via_field_index("authorities", index));
        }
    }
    if spec.policy.is_some() {
        let message = "CUE and Rego are not supported yet: the policy will not hold";
        warnings.also(FieldErrors::generic(message, ["policy"]));
    }
    if spec.is_exemption() {
        warnings.also(FieldErrors::generic(
            "a policy in mode warn without authorities exempts its images: they are let in without any verification, with a warning",
            ["authorities"],
        ));
    }
    warnings.at(Level::Warning)
}

fn text(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Tag => {
            "a tag says nothing about the content: whoever writes a pod can write any tag before a digest; prefer the repository alone"
        }
        Doubt::OpenHost => {
            "a wildcard at the end of the registry also matches other hosts, as registry.io.evil.com; write registry.io/**"
        }
        Doubt::LooseHost => {
            "** before the registry's name also matches paths in other registries; write *"
        }
        Doubt::DockerHub => "the pattern names no registry: Docker Hub is meant",
        Doubt::HostAlone => {
            "without a slash it is a repository of Docker Hub; for a registry write REGISTRY/**"
        }
    }
}

fn object(entry: &Match) -> FieldErrors {
    let mut warnings = FieldErrors::none();
    let typed = [&entry.resource, &entry.group, &entry.version].iter().any(|f| !f.is_empty());
    if !typed && entry.namespaces.is_none() && entry.selector.is_none() {
        warnings.also(FieldErrors::generic("an empty entry matches every object", [""]));
    }
    for (field, value) in [("resource", &entry.resource), ("version", &entry.version)] {
        if typed && value.is_empty() {
            let message = format!(
                "without {field} the entry matches every {field} (policy-controller: none)"
            );
            warnings.also(FieldErrors::generic(message, [field]));
        }
    }
    warnings
}
