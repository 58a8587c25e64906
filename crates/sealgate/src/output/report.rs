//! `verify -o sealgate-json`: everything that was found out about each image, good and bad,
//! `sealgate.dev/verify/v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::evidence::Origin;
use sealgate_core::fault::Fault;
use sealgate_core::verify::{Format, Verified};
use sealgate_engine::verify::{Outcome, Rejected, Report};
use serde_json::{Value, json};

use super::basis;

/// One image, with its children.
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

/// A line of a list that is no reference.
pub(crate) fn unreadable(text: &str, why: &str) -> Value {
    json!({
        "reference": null,
        "asked": text,
        "verified": false,
        "outcome": "invalid-reference",
        "faults": [{ "code": "invalid-reference", "target": text, "detail": why }],
    })
}

/// A folder that holds no image that could be judged.
pub(crate) fn unopened(folder: &str, why: &Fault) -> Value {
    json!({
        "reference": null,
        "asked": folder,
        "verified": false,
        "outcome": why.kind.code(),
        "faults": [fault(why)],
    })
}

fn signature(signature: &Verified) -> Value {
    let checks = signature.checks().iter().map(|check| basis::check(*check));
    let mut found = json!({
        "format": match signature.format() {
            Format::Legacy => "legacy",
            Format::Bundle => "bundle",
        },
        "origin": signature.origin().map(origin),
        "key": signature.key(),
        "checks": checks.collect::<Vec<_>>(),
        "annotations": signature.annotations(),
        "payload": STANDARD.encode(signature.payload()),
        "signature": STANDARD.encode(signature.signature()),
    });
    if let Some(fields) = found.as_object_mut() {
        fields.extend(basis::vouching(signature.into()));
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
