//! `verify -o sealgate-json`: the full result for each image, `sealgate.dev/verify/v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::evidence::Origin;
use sealgate_core::fault::Fault;
use sealgate_core::verify::{EvidenceFormat, Verified};
use sealgate_engine::verify::{Outcome, Rejected, Report};
use serde_json::{Value, json};

use super::settings;

/// The result for one image, with its children.
pub(crate) fn image(report: &Report) -> Value {
    let outcome = &report.outcome;
    let (signatures, faults) = match outcome {
        Outcome::Verified { signatures, faults, .. } => (signatures.as_slice(), faults.as_slice()),
        Outcome::Fault { fault, .. } => (&[][..], std::slice::from_ref(fault)),
        _ => (&[][..], &[][..]),
    };
    json!({
        "reference": report.reference.to_string(),
        "asked": report.reference.original(),
        "digest": report.digest,
        "platform": report.platform,
        "verified": report.is_verified(),
        "outcome": outcome.code(),
        "signatures": signatures.iter().map(signature).collect::<Vec<_>>(),
        "rejected": outcome.rejected().iter().map(rejected).collect::<Vec<_>>(),
        "faults": faults.iter().map(fault).collect::<Vec<_>>(),
        "children": report.children.iter().map(image).collect::<Vec<_>>(),
    })
}

/// The result for a line of a list that is not a reference.
pub(crate) fn unreadable(text: &str, reason: &str) -> Value {
    json!({
        "reference": null,
        "asked": text,
        "verified": false,
        "outcome": "invalid-reference",
        "faults": [{ "code": "invalid-reference", "target": text, "detail": reason }],
    })
}

/// The result for an OCI layout folder without a readable image.
pub(crate) fn unopened(folder: &str, reason: &Fault) -> Value {
    json!({
        "reference": null,
        "asked": folder,
        "verified": false,
        "outcome": reason.kind.code(),
        "faults": [fault(reason)],
    })
}

fn signature(signature: &Verified) -> Value {
    let checks = signature.checks().iter().map(|check| settings::check(*check));
    let mut found = json!({
        "format": match signature.format() {
            EvidenceFormat::Legacy => "legacy",
            EvidenceFormat::Bundle => "bundle",
        },
        "origin": signature.origin().map(origin),
        "key": signature.key(),
        "checks": checks.collect::<Vec<_>>(),
        "annotations": signature.annotations(),
        "payload": STANDARD.encode(signature.payload()),
        "signature": STANDARD.encode(signature.signature()),
    });
    if let Some(fields) = found.as_object_mut() {
        fields.extend(settings::proof_fields(signature.into()));
    }
    found
}

fn rejected(rejected: &Rejected) -> Value {
    json!({
        "code": rejected.reason.code(),
        "reason": rejected.reason.to_string(),
        "remedy": rejected.reason.remedy(),
        "origin": origin(&rejected.origin),
    })
}

fn fault(fault: &Fault) -> Value {
    json!({ "code": fault.kind.code(), "target": fault.target, "detail": fault.detail })
}

fn origin(origin: &Origin) -> Value {
    json!({
        "repository": origin.repository,
        "manifest": origin.manifest,
        "layer": origin.layer,
    })
}
