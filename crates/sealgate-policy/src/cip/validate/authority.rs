//! Validation of authorities.

use sealgate_core::identity::InvalidPattern;
use sealgate_core::reference::Repository;

use super::super::field_error::{FieldErrors, Level};
use super::super::patterns::{Patterns, Unusable};
use super::super::{Attestation, Authority, Identity, Keyless, Policy, SourceRef, Static};
use super::{Context, key, policy_errors};

/// The maximum length of `tagPrefix`: with `sha256-<hex>.sig` it must be a valid tag of at most 128
/// characters.
const MAX_TAG_PREFIX: usize = 128 - ("sha256-".len() + 64 + ".sig".len());

const SHORT_PREDICATES: [&str; 7] =
    ["custom", "slsaprovenance", "spdx", "spdxjson", "cyclonedx", "link", "vuln"];

pub(super) fn validate(
    authority: &Authority,
    context: &Context,
    patterns: &mut Patterns,
) -> FieldErrors {
    let given =
        [authority.key.is_some(), authority.keyless.is_some(), authority.r#static.is_some()];
    match given.iter().filter(|given| **given).count() {
        0 => return FieldErrors::missing_one_of(["key", "keyless", "static"]),
        1 => {}
        _ => return FieldErrors::multiple_one_of(["key", "keyless", "static"]),
    }
    let mut errors = FieldErrors::none();
    if let Some(key) = &authority.key {
        errors.also(key::validate(key, context).via_field("key"));
    }
    if let Some(keyless) = &authority.keyless {
        errors.also(keyless_errors(keyless, context, patterns).via_field("keyless"));
    }
    if let Some(action) = &authority.r#static {
        errors.also(static_errors(action).via_field("static"));
        errors.also(beside_static(authority));
    }
    errors.also(sources(&authority.source));
    for attestation in &authority.attestations {
        // policy-controller gives no index here.
        errors.also(attestation_errors(attestation).via_field("attestations"));
    }
    if !["", "legacy", "bundle"].contains(&authority.signature_format.as_str()) {
        let error = FieldErrors::invalid(&authority.signature_format, "signatureFormat");
        errors.also(error.details("unsupported signature format, want legacy or bundle"));
    }
    errors
}

fn static_errors(action: &Static) -> FieldErrors {
    match action.action.as_str() {
        "pass" | "fail" => FieldErrors::none(),
        "" => FieldErrors::missing(["action"]),
        other => FieldErrors::invalid(other, "action").details("unsupported action"),
    }
}

/// Checks `static`: fields that require evidence are not allowed beside it.
fn beside_static(authority: &Authority) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (given, field) in [
        (!authority.attestations.is_empty(), "attestations"),
        (authority.ctlog.is_some(), "ctlog"),
        (authority.rfc3161timestamp.is_some(), "rfc3161timestamp"),
        (!authority.source.is_empty(), "source"),
    ] {
        if given {
            errors.also(FieldErrors::multiple_one_of([field, "static"]));
        }
    }
    errors
}

fn sources(sources: &[SourceRef]) -> FieldErrors {
    if sources.len() > 1 {
        let details = "only single source is supported";
        return FieldErrors::invalid("source", "source").details(details);
    }
    let mut errors = FieldErrors::none();
    for (index, source) in sources.iter().enumerate() {
        errors.also(source_errors(source).via_field_index("source", index));
    }
    errors
}

fn source_errors(source: &SourceRef) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if !source.oci.is_empty()
        && let Err(details) = repository(&source.oci)
    {
        errors.also(FieldErrors::invalid(&source.oci, "oci").details(details));
    }
    for (index, secret) in source.signature_pull_secrets.iter().enumerate() {
        if secret.name.is_empty() {
            let missing = FieldErrors::missing(["name"]);
            errors.also(missing.via_field_index("signaturePullSecrets", index));
        }
    }
    if let Some(prefix) = &source.tag_prefix {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let starts = !prefix.starts_with(['-', '.']);
        if prefix.len() > MAX_TAG_PREFIX || !starts || !prefix.bytes().all(allowed) {
            let error = FieldErrors::invalid(prefix, "tagPrefix");
            errors.also(error.details("cannot be the beginning of a tag"));
        }
    }
    errors
}

/// Parses a repository, with go-containerregistry's error messages.
fn repository(text: &str) -> Result<Repository, String> {
    let host = text.split_once('/').map_or("", |(host, _)| host);
    if host.contains('@') {
        return Err(format!("registries must be valid RFC 3986 URI authorities: {text}"));
    }
    Repository::parse(text).map_err(|error| error.to_string())
}

fn keyless_errors(keyless: &Keyless, context: &Context, patterns: &mut Patterns) -> FieldErrors {
    let mut errors = match (&keyless.url, &keyless.ca_cert) {
        (None, None) => FieldErrors::missing_one_of(["ca-cert", "url"]),
        (Some(_), Some(_)) => FieldErrors::multiple_one_of(["ca-cert", "url"]),
        _ => FieldErrors::none(),
    };
    if let Some(certificate) = &keyless.ca_cert {
        errors.also(key::validate_certificate(certificate, context).via_field("ca-cert"));
    }
    if keyless.identities.is_empty() {
        errors.also(FieldErrors::missing(["identities"]));
    }
    for (index, identity) in keyless.identities.iter().enumerate() {
        errors.also(identity_errors(identity, patterns).via_field_index("identities", index));
    }
    errors
}

fn identity_errors(identity: &Identity, patterns: &mut Patterns) -> FieldErrors {
    let Identity { issuer, subject, issuer_reg_exp, subject_reg_exp } = identity;
    let mut errors = by_text_or_pattern(issuer, issuer_reg_exp, ["issuer", "issuerRegExp"]);
    errors.also(expression_errors(issuer_reg_exp, "issuerRegExp", patterns));
    errors.also(by_text_or_pattern(subject, subject_reg_exp, ["subject", "subjectRegExp"]));
    errors.also(expression_errors(subject_reg_exp, "subjectRegExp", patterns));
    errors
}

fn by_text_or_pattern(text: &str, pattern: &str, fields: [&str; 2]) -> FieldErrors {
    match (text.is_empty(), pattern.is_empty()) {
        (true, true) => FieldErrors::missing(fields),
        (false, false) => FieldErrors::multiple_one_of(fields),
        _ => FieldErrors::none(),
    }
}

fn expression_errors(source: &str, field: &str, patterns: &mut Patterns) -> FieldErrors {
    if source.is_empty() {
        return FieldErrors::none();
    }
    let error = match patterns.get(source) {
        Ok(pattern) if pattern.is_anchored() => return FieldErrors::none(),
        Ok(_) => {
            let details =
                "the regular expression is not anchored: it also matches longer texts; write ^...$";
            let warning = FieldErrors::invalid(source, field).details(details);
            return warning.at(Level::Warning);
        }
        Err(Unusable::Invalid(error)) => go_regexp_error(source, &error),
        Err(error @ Unusable::Total) => error.to_string(),
    };
    let details = format!("regex is invalid: {error}");
    FieldErrors::invalid(&shown(source), field).details(details)
}

fn shown(pattern: &str) -> String {
    pattern.chars().take(400).collect()
}

/// Returns Go's message for an invalid regular expression, if it is known.
fn go_regexp_error(pattern: &str, error: &InvalidPattern) -> String {
    let ours = error.to_string();
    if ours.contains("unclosed group") {
        return format!("error parsing regexp: missing closing ): `{}`", shown(pattern));
    }
    let last = ours.lines().last().unwrap_or_default();
    let last = last.trim_start_matches("error parsing regexp: ").trim_start_matches("error: ");
    format!("error parsing regexp: {last}")
}

fn attestation_errors(attestation: &Attestation) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if attestation.name.is_empty() {
        errors.also(FieldErrors::missing(["name"]));
    }
    let predicate = attestation.predicate_type.as_str();
    if predicate.is_empty() {
        errors.also(FieldErrors::missing(["predicateType"]));
    } else if SHORT_PREDICATES.contains(&predicate) || !is_uri(predicate) {
        let details = "deprecated value, please use RFC 3986 conformant values";
        let warning = FieldErrors::invalid(predicate, "predicateType").details(details);
        errors.also(warning.at(Level::Warning));
    }
    if let Some(policy) = &attestation.policy {
        let mut below = policy_errors(policy);
        below.also(only_for_the_whole_policy(policy));
        errors.also(below.via_field("policy"));
    }
    errors
}

fn only_for_the_whole_policy(policy: &Policy) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (given, field) in [
        (policy.fetch_config_file.is_some(), "fetchConfigFile"),
        (policy.include_spec.is_some(), "includeSpec"),
        (policy.include_object_meta.is_some(), "includeObjectMeta"),
        (policy.include_type_meta.is_some(), "includeTypeMeta"),
    ] {
        if given {
            errors.also(FieldErrors::disallowed([field]));
        }
    }
    errors
}

/// Returns whether Go's `url.ParseRequestURI` accepts the text as a URI with a scheme.
fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(allowed)
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}
