//! Warnings about policies that are valid, but may not mean what their author intends.

use super::field_error::{FieldErrors, Level};
use super::{Match, Spec};
use crate::cip::compile::unsupported;
use crate::glob::{Glob, PatternWarning};

/// Returns the warnings about `spec`.
pub(super) fn spec(spec: &Spec) -> FieldErrors {
    let mut warnings = FieldErrors::none();
    for (index, image) in spec.images.iter().enumerate() {
        let pattern_warnings =
            Glob::parse(&image.glob).map(|glob| glob.warnings()).unwrap_or_default();
        for warning in pattern_warnings {
            let error = FieldErrors::invalid(&image.glob, "glob").details(text(warning));
            warnings.also(error.via_field_index("images", index));
        }
    }
    for (index, entry) in spec.r#match.iter().enumerate() {
        warnings.also(object(entry).via_field_index("match", index));
    }
    for (index, authority) in spec.authorities.iter().enumerate() {
        if let Some((_, what)) = unsupported(authority) {
            let warning =
                FieldErrors::generic(format!("{what}: the authority cannot be satisfied"), [""]);
            warnings.also(warning.via_field_index("authorities", index));
        }
        let keyless = authority.keyless.as_ref();
        if keyless.is_some_and(|keyless| keyless.insecure_ignore_sct == Some(true)) {
            let message = "certificates are accepted without a signed certificate timestamp (SCT), which proves publication in a CT log";
            let warning = FieldErrors::generic(message, ["keyless.insecureIgnoreSCT"]);
            warnings.also(warning.via_field_index("authorities", index));
        }
    }
    if spec.policy.is_some() {
        let message = "CUE and Rego are not supported yet: the policy cannot be satisfied";
        warnings.also(FieldErrors::generic(message, ["policy"]));
    }
    if spec.is_exemption() {
        warnings.also(FieldErrors::generic(
            "a policy in mode warn without authorities exempts its images: they are admitted without verification, with a warning",
            ["authorities"],
        ));
    }
    warnings.at(Level::Warning)
}

fn text(warning: PatternWarning) -> &'static str {
    match warning {
        PatternWarning::Tag => {
            "a tag does not identify content: the author of a pod can write any tag before a digest; prefer a pattern without a tag"
        }
        PatternWarning::TrailingHostWildcard => {
            "a wildcard at the end of the registry also matches other hosts, such as registry.io.evil.com; write registry.io/**"
        }
        PatternWarning::LeadingHostWildcard => {
            "** before the registry name also matches paths in other registries; write *"
        }
        PatternWarning::DockerHub => {
            "the pattern names no registry, so it selects images on Docker Hub"
        }
        PatternWarning::RegistryOnly => {
            "without a slash this is a repository on Docker Hub; for a registry, write REGISTRY/**"
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
