//! `verify` in cosign's words: what was checked on standard error, the signatures as JSON on
//! standard output. Only checks that were made are claimed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sealgate_core::reject::Reject;
use sealgate_core::verify::{Authority, Check, Format, Verified};
use sealgate_engine::verify::{Outcome, Rejected, Report};
use serde_json::Value;

use super::basis::{self, Vouching};
use super::go_json;
use crate::cli::trust::Basis;
use crate::failure::{CliError, exit, remedy};

/// cosign's header for a verified image, without what was not checked.
pub(crate) fn header(name: &str, signatures: &[Verified], basis: &Basis) -> String {
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
    let vouching: Vec<_> = signatures.iter().map(Vouching::from).collect();
    text.push_str(&basis::lines(basis, &vouching, &made));
    text
}

/// The checks that were made on every one of them.
fn common_checks(signatures: &[Verified]) -> BTreeSet<Check> {
    let mut sets = signatures.iter().map(|s| s.checks().iter().copied().collect::<BTreeSet<_>>());
    let first = sets.next().unwrap_or_default();
    sets.fold(first, |made, more| made.intersection(&more).copied().collect())
}

/// cosign's JSON array of the signatures.
pub(crate) fn cosign_json(name: &str, signatures: &[Verified]) -> String {
    go_json(&signatures.iter().map(|signature| entry(name, signature)).collect())
}

/// What cosign prints of a signature as text: the payload, and of a bundle the JSON that a legacy
/// signature would have for its payload.
pub(crate) fn cosign_text(name: &str, signature: &Verified) -> Vec<u8> {
    match signature.format() {
        Format::Legacy => signature.payload().to_vec(),
        Format::Bundle => go_json(&entry(name, signature)).into_bytes(),
    }
}

/// Without annotations, cosign prints `null` for a legacy signature of a key and `{}` for a
/// bundle. Of a bundle it prints no identity.
fn entry(name: &str, signature: &Verified) -> Value {
    let mut entry = signature.simple_signing_json(name);
    let Some(optional) = entry.get_mut("optional") else { return entry };
    let mut fields = optional.as_object().cloned().unwrap_or_default();
    if signature.format() == Format::Legacy {
        basis::cosign_optional(signature.into(), &mut fields);
    }
    if signature.format() == Format::Bundle || !fields.is_empty() {
        *optional = Value::Object(fields);
    }
    entry
}

/// The failure of an image that was not verified: cosign's line, then what was found.
pub(crate) fn failure(report: &Report, name: &str, basis: &Basis) -> CliError {
    let error = match &report.outcome {
        // An attestation, say: the candidates and what to do follow.
        Outcome::NoSignatures { .. } if !report.outcome.rejected().is_empty() => {
            CliError::new("no signatures found")
                .code(exit::NO_SIGNATURES)
                .note("what was found is no signature of the image")
        }
        Outcome::NoSignatures { .. } => CliError::new("no signatures found")
            .code(exit::NO_SIGNATURES)
            .note("neither a bundle nor a legacy signature was found")
            .note(
                "what to do: sign this digest (`sealgate sign`); if it was signed, `sealgate tree` \
                 shows what lies beside it, and COSIGN_REPOSITORY says where else to look",
            ),
        Outcome::NotFound => CliError::new(format!("image tag not found: {name}"))
            .code(exit::NOT_FOUND)
            .note("the registry has no such image")
            .note(MISSING_REMEDY),
        Outcome::Fault { fault, .. } => {
            let error = CliError::new(fault.to_string())
                .note("whether the image is signed could not be found out");
            match remedy(fault) {
                Some(remedy) => error.note(remedy),
                None => error,
            }
        }
        Outcome::NoMatch { rejected } => CliError::new(match telling(rejected) {
            Some(first) => format!("no matching signatures: {}", first.reason),
            None => "no matching signatures".to_owned(),
        })
        .code(exit::NO_MATCH),
        Outcome::Verified { .. } => CliError::new("an image below the index was not verified"),
    };
    let error = with_candidates(error, report, name);
    unlogged(error, report.outcome.rejected().iter().map(|rejected| &rejected.reason), basis)
}

/// What to do where a tag or a repository is not there.
pub(crate) const MISSING_REMEDY: &str = "what to do: check the name and the tag, and log in \
     (`sealgate login SERVER`): registries hide private images from unknown users";

/// Adds the flag for a key's signature that was never to be logged. The command line only: there a
/// person decides for one verification, and nothing of a policy changes.
pub(crate) fn unlogged<'a>(
    error: CliError,
    mut reasons: impl Iterator<Item = &'a Reject>,
    basis: &Basis,
) -> CliError {
    let by_key = matches!(basis.authority, Authority::Keys(_));
    match by_key && reasons.any(|reason| matches!(reason, Reject::NotLogged)) {
        true => error.note(
            "`sign --key` tells no log unless --tlog-upload or a signing configuration says so: to \
             accept a signature of that key without a log, verify with --insecure-ignore-tlog",
        ),
        false => error,
    }
}

/// The candidate that is told first: one that has what is asked for, a certificate or a key, if
/// there is one.
fn telling(rejected: &[Rejected]) -> Option<&Rejected> {
    let of_other_kind =
        |reason: &Reject| matches!(reason, Reject::NoCertificate | Reject::CertificateInBundle);
    rejected.iter().find(|candidate| !of_other_kind(&candidate.reason)).or(rejected.first())
}

/// Most candidates that are told one by one.
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
        // What a folder is called inside is nobody's business.
        let origin = if is_folder { origin.replacen(&repository, name, 1) } else { origin };
        error = error.note(format!("{origin}: {} [{}]", candidate.reason, candidate.reason.code()));
    }
    if rejected.len() > SHOWN {
        error = error.note(format!("… and {} more", rejected.len() - SHOWN));
    }
    let remedies: BTreeSet<&str> = rejected.iter().map(|r| r.reason.remedy()).collect();
    remedies.into_iter().fold(error, |error, remedy| error.note(format!("what to do: {remedy}")))
}

/// Where a candidate lies, in one line.
pub(crate) fn place(origin: &sealgate_core::evidence::Origin) -> String {
    match (&origin.manifest, &origin.layer) {
        (Some(manifest), Some(layer)) => format!("{}@{manifest}, layer {layer}", origin.repository),
        (Some(manifest), None) => format!("{}@{manifest}", origin.repository),
        _ => origin.repository.clone(),
    }
}
