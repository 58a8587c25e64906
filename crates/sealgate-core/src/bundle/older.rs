//! The form of a blob's bundle before Sigstore bundles: `{"base64Signature", "cert",
//! "rekorBundle"}`, which cosign still writes with `--new-bundle-format=false`.

use serde_json::Value;

use super::log::{self, LogMaterial};
use super::{MAX_BUNDLE, malformed};
use crate::json::{self, InvalidJson, MAX_SHORT_VALUES, Object};
use crate::reject::{Document, Reject};

/// An older bundle of a blob signature, parsed but unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlderBundle {
    /// The signature.
    pub signature: Vec<u8>,
    /// The signer's certificate or public key, PEM; empty if there is none.
    pub certificate: String,
    /// The log entry.
    pub log: LogMaterial,
}

impl OlderBundle {
    /// Parses one; none if `bytes` are something else (anything with a media type).
    pub fn recognise(bytes: &[u8]) -> Result<Option<Self>, Reject> {
        let value = json::parse_values(bytes, MAX_BUNDLE, MAX_SHORT_VALUES).map_err(malformed)?;
        if value.get("base64Signature").is_none() || value.get("mediaType").is_some() {
            return Ok(None);
        }
        Self::of(&value).map(Some)
    }

    fn of(value: &Value) -> Result<Self, Reject> {
        let known = &["base64Signature", "cert", "rekorBundle"];
        let object = Object::new(value, "bundle", known).map_err(malformed)?;
        let cert = json::text(object.get("cert"), "cert").and_then(pem).map_err(malformed)?;
        let signature = json::bytes(object.get("base64Signature"), "base64Signature");
        let entry = object.get("rekorBundle").map(log::legacy_entry).transpose();
        let entries = entry.map_err(|e| Reject::json(Document::LogEntry, e))?;
        let log = LogMaterial { entries: entries.into_iter().collect(), timestamps: Vec::new() };
        Ok(Self { signature: signature.map_err(malformed)?, certificate: cert, log })
    }
}

/// cosign writes the base64 of PEM.
fn pem(cert: &str) -> Result<String, InvalidJson> {
    let wrong = InvalidJson::Field { field: "cert", want: "base64 of PEM" };
    String::from_utf8(json::base64(cert, "cert")?).map_err(|_| wrong)
}
