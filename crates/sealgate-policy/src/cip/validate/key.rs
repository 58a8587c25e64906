//! Validation of key references.

use std::sync::LazyLock;

use regex::Regex;
use sealgate_core::key::{HashAlgorithm, PublicKey};

use super::super::KeyRef;
use super::super::field_error::FieldErrors;
use super::Context;
use crate::cip::compile::certificate_authority;

const KMS_SCHEMES: [&str; 4] = ["awskms://", "azurekms://", "hashivault://", "gcpkms://"];

const AWS_PARTS: &str = "malformed AWS KMS format 'awskms://$ENDPOINT/$KEYID', should be conformant with KMS standard documented here: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id";
const AWS_FORM: &str =
    "kms key should be in the format awskms://[ENDPOINT]/[ID/ALIAS/ARN] (endpoint optional)";
const AWS_ARN: &str = "failed to parse either key or alias arn: arn: invalid prefix";

pub(super) fn validate(key: &KeyRef, context: &Context) -> FieldErrors {
    let mut errors = reference(key, context);
    if !key.hash_algorithm.is_empty() && hash_algorithm(&key.hash_algorithm).is_none() {
        errors.also(FieldErrors::invalid(&key.hash_algorithm, "hashAlgorithm"));
    }
    if !key.data.is_empty()
        && let Err(error) = PublicKey::from_pem(&key.data)
    {
        errors.also(FieldErrors::invalid(&shown(&key.data), "data").details(error.to_string()));
    }
    errors
}

/// Validates a reference to a CA certificate: the same form as a key, but the content is not a
/// public key.
pub(super) fn validate_certificate(certificate: &KeyRef, context: &Context) -> FieldErrors {
    let mut errors = reference(certificate, context);
    if !certificate.data.is_empty()
        && let Err(error) = certificate_authority(&certificate.data)
    {
        let error = error.to_string();
        errors.also(FieldErrors::invalid(&shown(&certificate.data), "data").details(error));
    }
    errors
}

/// Parses a hash algorithm.
pub(crate) fn hash_algorithm(name: &str) -> Option<HashAlgorithm> {
    match name.trim().to_ascii_lowercase().as_str() {
        "sha224" => Some(HashAlgorithm::Sha224),
        "sha256" => Some(HashAlgorithm::Sha256),
        "sha384" => Some(HashAlgorithm::Sha384),
        "sha512" => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}

fn reference(key: &KeyRef, context: &Context) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let given = [!key.data.is_empty(), !key.kms.is_empty(), key.secret_ref.is_some()];
    match given.iter().filter(|given| **given).count() {
        0 => errors.also(FieldErrors::missing_one_of(["data", "kms", "secretref"])),
        1 => {}
        _ => errors.also(FieldErrors::multiple_one_of(["data", "kms", "secretref"])),
    }
    if !key.kms.is_empty()
        && let Some(details) = kms_error(&key.kms)
    {
        errors.also(FieldErrors::invalid(&key.kms, "kms").details(details));
    }
    if let Some(secret) = &key.secret_ref {
        if secret.name.is_empty() {
            errors.also(FieldErrors::missing(["name"]).via_field("secretref"));
        }
        if !secret.namespace.is_empty() && secret.namespace != context.system_namespace {
            let error = FieldErrors::invalid(&secret.namespace, "namespace").via_field("secretref");
            errors.also(error.details("secretref.namespace is invalid. If set, it should use the same namespace where the policy-controller was deployed"));
        }
    }
    errors
}

/// Formats invalid key data for a message. policy-controller repeats the data in its error; data
/// that could be a private key is not repeated here.
fn shown(data: &str) -> String {
    if data.to_ascii_uppercase().contains("PRIVATE") {
        return "(a private key, not shown)".to_owned();
    }
    data.chars().take(2000).collect()
}

fn kms_error(kms: &str) -> Option<String> {
    if !KMS_SCHEMES.iter().any(|scheme| kms.starts_with(scheme)) {
        let schemes = KMS_SCHEMES.join(" ");
        return Some(format!(
            "malformed KMS format, should be prefixed by any of the supported providers: [{schemes}]"
        ));
    }
    let rest = kms.strip_prefix("awskms://")?;
    aws_error(kms, rest)
}

fn aws_error(kms: &str, rest: &str) -> Option<String> {
    if kms.split('/').count() < 4 {
        return Some(AWS_PARTS.to_owned());
    }
    let (endpoint, key) = rest.split_once('/')?;
    if !is_aws_key(key) || endpoint.starts_with("arn") || endpoint.starts_with("alias") {
        return Some(AWS_FORM.to_owned());
    }
    if !endpoint.is_empty()
        && let Some(why) = endpoint_error(endpoint)
    {
        return Some(format!("malformed endpoint: address {endpoint}: {why}"));
    }
    (!key.starts_with("arn:")).then(|| AWS_ARN.to_owned())
}

fn is_aws_key(key: &str) -> bool {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        const ID: &str =
            "[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}";
        const ARN: &str = "arn:(?:aws|aws-us-gov|aws-cn):kms:[a-z0-9-]+:[0-9]{12}:";
        Regex::new(&format!("^(?:(?:{ARN}key/)?(?:mrk-)?{ID}|(?:{ARN})?alias/.+)$")).ok()
    });
    FORM.as_ref().is_some_and(|form| form.is_match(key))
}

/// Returns Go's `net.SplitHostPort` error for the endpoint.
fn endpoint_error(endpoint: &str) -> Option<&'static str> {
    let host = match endpoint.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, after)) => after,
        None => endpoint,
    };
    match host.matches(':').count() {
        0 => Some("missing port in address"),
        1 => None,
        _ => Some("too many colons in address"),
    }
}
