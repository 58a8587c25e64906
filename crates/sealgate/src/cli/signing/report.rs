//! The results of signing: messages for the user, and the bundle format of cosign 1 and 2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::bundle::LogMaterial;
use sealgate_core::certificate::pem;
use sealgate_engine::sign::VerificationKey;
use serde_json::{Value, json};

use super::plan::Progress;
use crate::terminal;

impl Progress {
    /// Prints a step.
    pub(super) fn show(self, text: &str) {
        if self == Self::Shown {
            terminal::say(text);
        }
    }
}

/// Reports each log entry, in cosign's words.
pub(crate) fn log_entries(log: &LogMaterial) {
    for entry in &log.entries {
        terminal::say(format!("tlog entry created with index: {}", entry.log_index));
    }
}

/// Reports the flag that a signature in no log is verified with: cosign requires a log entry by
/// default, and so does `sealgate verify` with a trust root that the user has configured.
pub(super) fn unlogged() {
    terminal::say(
        "No transparency log has this signature:\n  \
         to verify it with cosign, or with sealgate by a trust root that you have configured, add \
         --insecure-ignore-tlog\n  \
         to have it logged, sign with --tlog-upload (the public log) or --signing-config FILE",
    );
}

/// The bundle of cosign 1 and 2: `{"base64Signature","cert","rekorBundle"}`. Without certificate
/// and log entry it has the signature only.
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
