//! The form of a blob's bundle before Sigstore bundles: `{"base64Signature", "cert",
//! "rekorBundle"}`, which cosign still writes with `--new-bundle-format=false`.

use serde_json::Value;

use super::log::{self, LogMaterial};
use super::{MAX_BUNDLE, malformed};
use crate::json::{self, Object};
use crate::reject::{Document, Reject};

/// An older bundle of a blob signature, well-formed but not believed. Its `cert` (the signer's
/// certificate or public key) is not kept: the verifier's key decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlderBundle {
    /// The signature.
    pub signature: Vec<u8>,
    /// The log entry.
    pub log: LogMaterial,
}

impl OlderBundle {
    /// Reads one, or tells that `bytes` are something else (what has a media type is).
    pub fn recognise(bytes: &[u8]) -> Result<Option<Self>, Reject> {
        let value = json::parse(bytes, MAX_BUNDLE).map_err(malformed)?;
        if value.get("base64Signature").is_none() || value.get("mediaType").is_some() {
            return Ok(None);
        }
        Self::of(&value).map(Some)
    }

    fn of(value: &Value) -> Result<Self, Reject> {
        let known = &["base64Signature", "cert", "rekorBundle"];
        let object = Object::new(value, "bundle", known).map_err(malformed)?;
        json::text(object.get("cert"), "cert").map_err(malformed)?;
        let signature = json::bytes(object.get("base64Signature"), "base64Signature");
        let entry = object.get("rekorBundle").map(log::legacy_entry).transpose();
        let entries = entry.map_err(|e| Reject::json(Document::LogEntry, e))?;
        let log = LogMaterial { entries: entries.into_iter().collect(), timestamps: Vec::new() };
        Ok(Self { signature: signature.map_err(malformed)?, log })
    }
}
