//! Output of `verify` in cosign's format: the checks on standard error, the signatures as JSON on
//! standard output. Lists only checks that were made.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sealgate_core::reject::Reject;
use sealgate_core::verify::{Authority, Check, EvidenceFormat, Verified};
use sealgate_engine::verify::{Outcome, Rejected, Report};
use serde_json::Value;

use super::go_json;
use super::settings::{self, SignatureProofs};
use crate::cli::trust::VerificationSettings;
use crate::failure::{CliError, exit, remedy};

/// Formats cosign's header for a verified image, without the checks that were not made.
pub(crate) fn header(
    name: &str,
    signatures: &[Verified],
    settings: &VerificationSettings,
) -> String {
    let mut text = format!(
        "\nVerification for {name} --\nThe following checks were performed on each of these signatures:\n"
    );
    let made = common_checks(signatures);
    let lines = [
        (Check::Annotations, "The specified annotations were verified."),
        (Check::Claims, "The cosign claims were validated"),
        (Check::Log, "Existence of the claims in the transparency log was verified offline"),
        (Check::KeySignature, "The signatures were verified against the specified public key"),
        (
            Check::Certificate,
            "The code-signing certificate was verified using trusted certificate authority certificates",
        ),
        (Check::Sct, "The signed certificate timestamp (SCT) of the certificate was verified"),
        (Check::Timestamp, "The time of the signatures was verified by signed timestamps"),
    ];
    for (_, line) in lines.iter().filter(|(check, _)| made.contains(check)) {
        let _ = writeln!(text, "  - {line}");
    }
    if !made.contains(&Check::Claims) {
        text.push_str(
            "The claims were NOT compared with the image: --check-claims=false was given.\n",
        );
    }
    let proofs: Vec<_> = signatures.iter().map(SignatureProofs::from).collect();
    text.push_str(&settings::lines(settings, &proofs, &made));
    text
}

/// Returns the checks that were made on every signature.
fn common_checks(signatures: &[Verified]) -> BTreeSet<Check> {
    let mut sets = signatures.iter().map(|s| s.checks().iter().copied().collect::<BTreeSet<_>>());
    let first = sets.next().unwrap_or_default();
    sets.fold(first, |made, more| made.intersection(&more).copied().collect())
}

/// Formats cosign's JSON array of the signatures.
pub(crate) fn cosign_json(name: &str, signatures: &[Verified]) -> String {
    go_json(&signatures.iter().map(|signature| entry(name, signature)).collect())
}

/// Formats a signature as cosign's text output: the payload, and for a bundle the JSON that a
/// legacy signature would have as payload.
pub(crate) fn cosign_text(name: &str, signature: &Verified) -> Vec<u8> {
    match signature.format() {
        EvidenceFormat::Legacy => signature.payload().to_vec(),
        EvidenceFormat::Bundle => go_json(&entry(name, signature)).into_bytes(),
    }
}

/// Formats one entry of the array. Without annotations, cosign prints `null` for a legacy signature
/// of a key and `{}` for a bundle. For a bundle it prints no identity.
fn entry(name: &str, signature: &Verified) -> Value {
    let mut entry = signature.simple_signing_json(name);
    let Some(optional) = entry.get_mut("optional") else { return entry };
    let mut fields = optional.as_object().cloned().unwrap_or_default();
    if signature.format() == EvidenceFormat::Legacy {
        settings::cosign_optional(signature.into(), &mut fields);
    }
    if signature.format() == EvidenceFormat::Bundle || !fields.is_empty() {
        *optional = Value::Object(fields);
    }
    entry
}

/// Formats the failure of an image that was not verified: cosign's line, then the findings.
pub(crate) fn failure(report: &Report, name: &str, settings: &VerificationSettings) -> CliError {
    let error = match &report.outcome {
        // For example an attestation: the candidates and remedies follow.
        Outcome::NoSignatures { .. } if !report.outcome.rejected().is_empty() => {
            CliError::new("no signatures found")
                .code(exit::NO_SIGNATURES)
                .note("the attached documents are not signatures of the image")
        }
        Outcome::NoSignatures { .. } => CliError::new("no signatures found")
            .code(exit::NO_SIGNATURES)
            .note("no bundle and no legacy signature was found")
            .note(
                "what to do: sign this digest (`sealgate sign`); if it was signed, `sealgate tree` \
                 lists its attachments, and COSIGN_REPOSITORY names another repository for them",
            ),
        Outcome::NotFound => CliError::new(format!("image tag not found: {name}"))
            .code(exit::NOT_FOUND)
            .note("the registry does not have this image")
            .note(MISSING_REMEDY),
        Outcome::Fault { fault, .. } => {
            let error = CliError::new(fault.to_string())
                .note("it could not be determined whether the image is signed");
            match remedy(fault) {
                Some(remedy) => error.note(remedy),
                None => error,
            }
        }
        Outcome::NoMatch { rejected } => CliError::new(match most_relevant(rejected) {
            Some(first) => format!("no matching signatures: {}", first.reason),
            None => "no matching signatures".to_owned(),
        })
        .code(exit::NO_MATCH),
        Outcome::Verified { .. } => CliError::new("an image below the index was not verified"),
    };
    let error = with_candidates(error, report, name);
    unlogged(error, report.outcome.rejected().iter().map(|rejected| &rejected.reason), settings)
}

/// The remedy for a missing tag or repository.
pub(crate) const MISSING_REMEDY: &str = "what to do: check the name and the tag, and log in \
     (`sealgate login SERVER`): registries hide private images from users without access";

/// Adds the flag for a key's signature that is not in a log. On the command line only: there, the
/// user decides about one verification, and no policy changes.
pub(crate) fn unlogged<'a>(
    error: CliError,
    mut reasons: impl Iterator<Item = &'a Reject>,
    settings: &VerificationSettings,
) -> CliError {
    let by_key = matches!(settings.authority, Authority::Keys(_));
    match by_key && reasons.any(|reason| matches!(reason, Reject::NotLogged)) {
        true => error.note(
            "`sign --key` uploads to a log only with --tlog-upload or a signing configuration; to \
             accept a signature by this key without a log entry, verify with --insecure-ignore-tlog",
        ),
        false => error,
    }
}

/// Returns the candidate to report first: preferably one with the required kind of signer.
fn most_relevant(rejected: &[Rejected]) -> Option<&Rejected> {
    let of_other_kind =
        |reason: &Reject| matches!(reason, Reject::NoCertificate | Reject::CertificateInBundle);
    rejected.iter().find(|candidate| !of_other_kind(&candidate.reason)).or(rejected.first())
}

/// The maximum number of candidates listed individually.
const SHOWN: usize = 20;

fn with_candidates(mut error: CliError, report: &Report, name: &str) -> CliError {
    if let Some(digest) = &report.digest {
        error = error.note(format!("image: {name} ({digest})"));
    } else {
        error = error.note(format!("image: {name}"));
    }
    let rejected = report.outcome.rejected();
    let repository = report.reference.repository().to_string();
    let is_folder = name != report.reference.to_string();
    for candidate in rejected.iter().take(SHOWN) {
        let origin = place(&candidate.origin);
        // The internal name of an OCI layout is not shown.
        let origin = if is_folder { origin.replacen(&repository, name, 1) } else { origin };
        error = error.note(format!("{origin}: {} [{}]", candidate.reason, candidate.reason.code()));
    }
    if rejected.len() > SHOWN {
        error = error.note(format!("… and {} more", rejected.len() - SHOWN));
    }
    let remedies: BTreeSet<&str> = rejected.iter().map(|r| r.reason.remedy()).collect();
    remedies.into_iter().fold(error, |error, remedy| error.note(format!("what to do: {remedy}")))
}

/// Formats the location of a candidate.
pub(crate) fn place(origin: &sealgate_core::evidence::Origin) -> String {
    match (&origin.manifest, &origin.layer) {
        (Some(manifest), Some(layer)) => format!("{}@{manifest}, layer {layer}", origin.repository),
        (Some(manifest), None) => format!("{}@{manifest}", origin.repository),
        _ => origin.repository.clone(),
    }
}
