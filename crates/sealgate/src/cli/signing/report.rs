//! What was made, for people and in cosign's older form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::bundle::LogMaterial;
use sealgate_core::certificate::pem;
use sealgate_engine::sign::VerificationKey;
use serde_json::{Value, json};

use crate::terminal;

/// cosign's line for each log entry.
pub(crate) fn tell_log_entries(log: &LogMaterial) {
    for entry in &log.entries {
        terminal::say(format!("tlog entry created with index: {}", entry.log_index));
    }
}

/// What verifiers must be told of a signature that no log has: cosign asks for a log's proof by
/// default, and so do we by a trust root that the user has chosen.
pub(super) fn tell_unlogged() {
    terminal::say(
        "No transparency log has this signature:\n  \
         to verify it with cosign, or with sealgate by a trust root that you have configured, add \
         --insecure-ignore-tlog\n  \
         to have it logged, sign with --tlog-upload (the public log) or --signing-config FILE",
    );
}

/// The bundle of cosign 1 and 2: `{"base64Signature","cert","rekorBundle"}`. A key without
/// certificate or log leaves the signature alone.
pub(crate) fn older_bundle(signature: &str, log: &LogMaterial, key: &VerificationKey) -> String {
    let mut bundle = json!({ "base64Signature": signature });
    let leaf = key.certificates().first();
    if leaf.is_some() || !log.entries.is_empty() {
        let text = leaf.map_or_else(|| key.key().to_pem(), |leaf| pem::write(leaf));
        bundle["cert"] = Value::String(STANDARD.encode(text));
    }
    let (entry, _) = log.to_annotations();
    if let Ok(entry) = serde_json::from_str::<Value>(&entry) {
        bundle["rekorBundle"] = entry;
    }
    bundle.to_string()
}
