//! Bounds of a policy: the lengths of its lists and texts, checked before anything in it is parsed
//! or compiled. Each is far above what policies in use need.
//!
//! The first excess ends the check, so that its cost does not depend on the rest of the policy. The
//! cost of regular expressions is bounded in [`crate::cip::patterns`].

use sealgate_core::identity::MAX_PATTERN;

use super::field_error::FieldErrors;
use super::{
    Attestation, Authority, ClusterImagePolicy, Identity, ImagePattern, KeyRef, Keyless,
    LabelSelector, Match, Policy, Remote, SecretRef, SourceRef, Spec,
};
use crate::glob::MAX_GLOB;

/// `spec.images`.
pub const MAX_IMAGES: usize = 1_000;
/// `spec.authorities`.
pub const MAX_AUTHORITIES: usize = 256;
/// `keyless.identities` of one authority.
pub const MAX_IDENTITIES: usize = 1_000;
/// The identities of all authorities.
pub const MAX_IDENTITIES_IN_TOTAL: usize = 2_000;
/// `attestations` of one authority.
pub const MAX_ATTESTATIONS: usize = 64;
/// The attestations of all authorities.
pub const MAX_ATTESTATIONS_IN_TOTAL: usize = 256;
/// `source` of one authority, of which one is valid.
pub const MAX_SOURCES: usize = 8;
/// `source[].signaturePullSecrets`.
pub const MAX_PULL_SECRETS: usize = 32;
/// `spec.match`.
pub const MAX_MATCHES: usize = 256;
/// `match[].namespaces`.
pub const MAX_NAMESPACES: usize = 1_000;
/// `matchLabels` and `matchExpressions` of one selector, each.
pub const MAX_REQUIREMENTS: usize = 64;
/// `matchExpressions[].values`.
pub const MAX_VALUES: usize = 256;
/// Namespaces, labels, expressions and values of all entries of `match`.
pub const MAX_MATCHES_IN_TOTAL: usize = 10_000;
/// A name, or another text that is short.
pub const MAX_NAME: usize = 1_024;
/// An issuer, a subject, an address, a message.
pub const MAX_TEXT: usize = 4_096;
/// `key.data`.
pub const MAX_KEY: usize = 16 * 1024;
/// `ca-cert.data`.
pub const MAX_CERTIFICATES: usize = 64 * 1024;
/// `data` of one CUE or Rego policy.
pub const MAX_POLICY: usize = 256 * 1024;
/// The policies and certificates in a policy object, in total.
pub const MAX_DATA_IN_TOTAL: usize = 1024 * 1024;

// A pattern and an expression have bounds of their own; a field is as long as either.
const _: () = assert!(MAX_GLOB <= MAX_TEXT && MAX_PATTERN <= MAX_TEXT);

/// The result of a check: the first excess.
type Checked = Result<(), FieldErrors>;

/// Checks all bounds of `policy`.
///
/// # Errors
/// The first excess, below `spec`.
pub(crate) fn check(policy: &ClusterImagePolicy) -> Checked {
    let spec = &policy.spec;
    let checked = images(spec).and_then(|()| matches(spec)).and_then(|()| authorities(spec));
    checked.map_err(|error| error.via_field("spec"))
}

/// Replaces the parts of `spec` that exceed their bounds by parts that are not valid, and so select
/// what an invalid part selects.
pub(crate) fn reduce(spec: &mut Spec) {
    if images(spec).is_err() {
        spec.images = vec![ImagePattern::default()];
    }
    if matches(spec).is_err() {
        spec.r#match = vec![Match { namespaces: Some(Vec::new()), ..Match::default() }];
    }
    spec.authorities.clear();
    spec.policy = None;
}

fn images(spec: &Spec) -> Checked {
    count(spec.images.len(), MAX_IMAGES, "images")?;
    each(&spec.images, "images", |image| length(&image.glob, MAX_TEXT, "glob"))
}

fn matches(spec: &Spec) -> Checked {
    count(spec.r#match.len(), MAX_MATCHES, "match")?;
    let mut total = Total::new(MAX_MATCHES_IN_TOTAL, "namespaces, labels and values");
    each(&spec.r#match, "match", |entry| object(entry, &mut total))
}

fn object(entry: &Match, total: &mut Total) -> Checked {
    for (value, field) in
        [(&entry.group, "group"), (&entry.version, "version"), (&entry.resource, "resource")]
    {
        length(value, MAX_NAME, field)?;
    }
    let namespaces = entry.namespaces.as_deref().unwrap_or_default();
    count(namespaces.len(), MAX_NAMESPACES, "namespaces")?;
    total.add(namespaces.len(), "namespaces")?;
    each(namespaces, "namespaces", |name| length(name, MAX_NAME, ""))?;
    match &entry.selector {
        Some(selector) => {
            self::selector(selector, total).map_err(|error| error.via_field("selector"))
        }
        None => Ok(()),
    }
}

fn selector(selector: &LabelSelector, total: &mut Total) -> Checked {
    let LabelSelector { match_labels, match_expressions } = selector;
    count(match_labels.len(), MAX_REQUIREMENTS, "matchLabels")?;
    total.add(match_labels.len(), "matchLabels")?;
    for (key, value) in match_labels {
        length(key, MAX_NAME, "matchLabels")?;
        length(value, MAX_NAME, "matchLabels")?;
    }
    count(match_expressions.len(), MAX_REQUIREMENTS, "matchExpressions")?;
    each(match_expressions, "matchExpressions", |requirement| {
        length(&requirement.key, MAX_NAME, "key")?;
        length(&requirement.operator, MAX_NAME, "operator")?;
        count(requirement.values.len(), MAX_VALUES, "values")?;
        total.add(1 + requirement.values.len(), "values")?;
        each(&requirement.values, "values", |value| length(value, MAX_NAME, ""))
    })
}

/// Checks the authorities, and the policy over all of them.
fn authorities(spec: &Spec) -> Checked {
    length(&spec.mode, MAX_NAME, "mode")?;
    count(spec.authorities.len(), MAX_AUTHORITIES, "authorities")?;
    let mut totals = Totals {
        identities: Total::new(MAX_IDENTITIES_IN_TOTAL, "identities"),
        attestations: Total::new(MAX_ATTESTATIONS_IN_TOTAL, "attestations"),
        data: Total::new(MAX_DATA_IN_TOTAL, "bytes of certificates and policies"),
    };
    each(&spec.authorities, "authorities", |entry| authority(entry, &mut totals))?;
    match &spec.policy {
        Some(policy) => {
            text_of_policy(policy, &mut totals.data).map_err(|error| error.via_field("policy"))
        }
        None => Ok(()),
    }
}

/// The sums over all authorities of a policy.
struct Totals {
    identities: Total,
    attestations: Total,
    data: Total,
}

fn authority(authority: &Authority, totals: &mut Totals) -> Checked {
    length(&authority.name, MAX_NAME, "name")?;
    length(&authority.signature_format, MAX_NAME, "signatureFormat")?;
    if let Some(key) = &authority.key {
        key_reference(key, MAX_KEY).map_err(|error| error.via_field("key"))?;
    }
    if let Some(keyless) = &authority.keyless {
        self::keyless(keyless, totals).map_err(|error| error.via_field("keyless"))?;
    }
    if let Some(decision) = &authority.r#static {
        let checked = length(&decision.action, MAX_NAME, "action")
            .and_then(|()| length(&decision.message, MAX_TEXT, "message"));
        checked.map_err(|error| error.via_field("static"))?;
    }
    if let Some(log) = &authority.ctlog {
        let url = log.url.as_deref().unwrap_or_default();
        let checked = length(url, MAX_TEXT, "url")
            .and_then(|()| length(&log.trust_root_ref, MAX_NAME, "trustRootRef"));
        checked.map_err(|error| error.via_field("ctlog"))?;
    }
    if let Some(timestamp) = &authority.rfc3161timestamp {
        let checked = length(&timestamp.trust_root_ref, MAX_NAME, "trustRootRef");
        checked.map_err(|error| error.via_field("rfc3161timestamp"))?;
    }
    count(authority.source.len(), MAX_SOURCES, "source")?;
    each(&authority.source, "source", source)?;
    count(authority.attestations.len(), MAX_ATTESTATIONS, "attestations")?;
    totals.attestations.add(authority.attestations.len(), "attestations")?;
    each(&authority.attestations, "attestations", |entry| attestation(entry, &mut totals.data))
}

fn keyless(keyless: &Keyless, totals: &mut Totals) -> Checked {
    length(keyless.url.as_deref().unwrap_or_default(), MAX_TEXT, "url")?;
    length(&keyless.trust_root_ref, MAX_NAME, "trustRootRef")?;
    if let Some(certificate) = &keyless.ca_cert {
        key_reference(certificate, MAX_CERTIFICATES)
            .and_then(|()| totals.data.add(certificate.data.len(), "data"))
            .map_err(|error| error.via_field("ca-cert"))?;
    }
    count(keyless.identities.len(), MAX_IDENTITIES, "identities")?;
    totals.identities.add(keyless.identities.len(), "identities")?;
    each(&keyless.identities, "identities", identity)
}

/// Expressions have a bound of their own, with a message of their own.
fn identity(identity: &Identity) -> Checked {
    length(&identity.issuer, MAX_TEXT, "issuer")?;
    length(&identity.subject, MAX_TEXT, "subject")
}

fn key_reference(key: &KeyRef, most: usize) -> Checked {
    length(&key.data, most, "data")?;
    length(&key.kms, MAX_TEXT, "kms")?;
    length(&key.hash_algorithm, MAX_NAME, "hashAlgorithm")?;
    match &key.secret_ref {
        Some(SecretRef { name, namespace }) => length(name, MAX_NAME, "name")
            .and_then(|()| length(namespace, MAX_NAME, "namespace"))
            .map_err(|error| error.via_field("secretRef")),
        None => Ok(()),
    }
}

fn source(source: &SourceRef) -> Checked {
    length(&source.oci, MAX_NAME, "oci")?;
    length(source.tag_prefix.as_deref().unwrap_or_default(), MAX_NAME, "tagPrefix")?;
    let secrets = &source.signature_pull_secrets;
    count(secrets.len(), MAX_PULL_SECRETS, "signaturePullSecrets")?;
    each(secrets, "signaturePullSecrets", |secret| length(&secret.name, MAX_NAME, "name"))
}

fn attestation(attestation: &Attestation, data: &mut Total) -> Checked {
    length(&attestation.name, MAX_NAME, "name")?;
    length(&attestation.predicate_type, MAX_TEXT, "predicateType")?;
    match &attestation.policy {
        Some(policy) => text_of_policy(policy, data).map_err(|error| error.via_field("policy")),
        None => Ok(()),
    }
}

fn text_of_policy(policy: &Policy, data: &mut Total) -> Checked {
    length(&policy.r#type, MAX_NAME, "type")?;
    length(&policy.data, MAX_POLICY, "data")?;
    data.add(policy.data.len(), "data")?;
    if let Some(Remote { url, sha256sum }) = &policy.remote {
        length(url, MAX_TEXT, "url")
            .and_then(|()| length(sha256sum, MAX_NAME, "sha256sum"))
            .map_err(|error| error.via_field("remote"))?;
    }
    if let Some(reference) = &policy.config_map_ref {
        for (value, field) in [
            (&reference.name, "name"),
            (&reference.namespace, "namespace"),
            (&reference.key, "key"),
        ] {
            length(value, MAX_NAME, field).map_err(|error| error.via_field("configMapRef"))?;
        }
    }
    Ok(())
}

/// A sum over a whole policy.
struct Total {
    left: usize,
    most: usize,
    what: &'static str,
}

impl Total {
    fn new(most: usize, what: &'static str) -> Self {
        Self { left: most, most, what }
    }

    fn add(&mut self, number: usize, field: &str) -> Checked {
        match self.left.checked_sub(number) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let message = format!("the policy has more than {} {}", self.most, self.what);
                Err(FieldErrors::generic(message, [field]))
            }
        }
    }
}

/// Checks the length of a list.
pub(crate) fn count(found: usize, most: usize, field: &str) -> Checked {
    match found <= most {
        true => Ok(()),
        false => Err(FieldErrors::generic(format!("more than {most} entries"), [field])),
    }
}

/// Checks the length of a text or of bytes.
pub(crate) fn length(value: impl AsRef<[u8]>, most: usize, field: &str) -> Checked {
    match value.as_ref().len() <= most {
        true => Ok(()),
        false => Err(FieldErrors::generic(format!("longer than {most} bytes"), [field])),
    }
}

/// Checks each element of a list.
pub(crate) fn each<T>(list: &[T], field: &str, mut check: impl FnMut(&T) -> Checked) -> Checked {
    list.iter().enumerate().try_for_each(|(index, element)| {
        check(element).map_err(|error| error.via_field_index(field, index))
    })
}

#[cfg(test)]
mod tests;
